package limiter

import (
	"math"
	"time"

	"golang.org/x/time/rate"
)

// A size is what one bucket is made for: a limit times a multiple.
type size struct {
	rate  float64 // tokens a second
	burst int     // tokens
}

// times returns the size of a limit's buckets in a tier that carries a
// multiple of it.
func (s size) times(multiple int) size {
	return size{rate: s.rate * float64(multiple), burst: s.burst * multiple}
}

// sizeOf returns what a bucket was made for.
func sizeOf(b *rate.Limiter) size { return size{float64(b.Limit()), b.Burst()} }

// fill makes b a bucket of the size with that many tokens in it at now. A
// rate.Limiter cannot be given tokens, but it can have been empty earlier.
func fill(b *rate.Limiter, sz size, tokens float64, now time.Time) {
	*b = rate.Limiter{}
	empty := now.Add(-seconds(tokens/sz.rate) - 1)
	b.SetBurstAt(empty, sz.burst)
	b.SetLimitAt(empty, rate.Limit(sz.rate))
}

// drain takes n tokens, or what is left of them: a bucket is never in debt.
func drain(b *rate.Limiter, n int, now time.Time) {
	if b.AllowN(now, n) {
		return
	}
	b.AllowN(now, min(n, int(b.TokensAt(now))))
}

// refund puts n tokens back, as far as there is room for them.
func refund(b *rate.Limiter, n int, now time.Time) {
	sz := sizeOf(b)
	fill(b, sz, min(float64(sz.burst), b.TokensAt(now)+float64(n)), now)
}

// lack returns how long a bucket with so many tokens takes to hold as many as
// are needed; 0 if it does. What is missing for less than a nanosecond is not
// missing, here as in package rate.
func (s size) lack(tokens float64, need int) time.Duration {
	if tokens >= float64(need) {
		return 0
	}
	return seconds((float64(need) - tokens) / s.rate)
}

// full returns how long a bucket with so many tokens takes to fill.
func (s size) full(tokens float64) time.Duration {
	if tokens >= float64(s.burst) {
		return 0
	}
	return seconds((float64(s.burst)-tokens)/s.rate) + 1
}

// seconds converts without overflow; what is too long is a hundred years.
func seconds(s float64) time.Duration {
	const century = 100 * 365 * 24 * time.Hour
	if d := s * float64(time.Second); d < float64(century) {
		return time.Duration(math.Max(d, 0))
	}
	return century
}

// window is how long an empty bucket takes to fill, as a policy states it.
func (s size) window() time.Duration { return seconds(float64(s.burst) / s.rate) }

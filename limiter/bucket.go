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

// times returns the limit's size in a tier that carries a multiple of it.
func (l Limit) times(multiple int) size {
	return size{rate: l.Rate * float64(multiple), burst: l.Burst * multiple}
}

// fill makes b a bucket of the size with that many tokens in it at now. A
// rate.Limiter cannot be given tokens, but it can have been empty earlier.
func fill(b *rate.Limiter, sz size, tokens float64, now time.Time) {
	*b = rate.Limiter{}
	empty := now.Add(-seconds(tokens/sz.rate) - 1)
	b.SetBurstAt(empty, sz.burst)
	b.SetLimitAt(empty, rate.Limit(sz.rate))
}

// lack returns how long a bucket with so many tokens takes to hold one; 0 if
// it does. What is missing for less than a nanosecond is not missing, here as
// in package rate.
func (sz size) lack(tokens float64) time.Duration {
	if tokens >= 1 {
		return 0
	}
	return seconds((1 - tokens) / sz.rate)
}

// full returns how long a bucket with so many tokens takes to fill.
func (sz size) full(tokens float64) time.Duration {
	if tokens >= float64(sz.burst) {
		return 0
	}
	return seconds((float64(sz.burst)-tokens)/sz.rate) + 1
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
func (sz size) window() time.Duration { return seconds(float64(sz.burst) / sz.rate) }

package proxy

import (
	"fmt"
	"time"

	"sallyport/internal/gate"
)

// failed notes that the backend failed a request: it could not be reached,
// answered too late, broke off, or did not speak HTTP. With eject.errors of
// them within eject.within it is taken out for a while, unless as many as
// eject.at_most allows are out already: with the whole pool in trouble, asking
// a bad backend is better than asking none. The share is rounded down, so a
// single backend is never ejected.
func (p *pool) failed(b *backend) {
	b.failures.Add(1)
	if p.eject.Errors <= 0 {
		return
	}
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.readmit(now)
	if !b.out.IsZero() {
		return // of a request that was under way when the backend was ejected
	}
	if over := len(b.errors) - p.eject.Errors + 1; over > 0 {
		b.errors = append(b.errors[:0], b.errors[over:]...)
	}
	b.errors = append(b.errors, now)
	if len(b.errors) < p.eject.Errors || now.Sub(b.errors[0]) > p.eject.Within || !p.mayEject() {
		return
	}
	b.errors = b.errors[:0]
	b.out, b.since = now.Add(p.eject.For), now
	level(p.backends)
	p.changed(b, now, gate.BackendEjected, fmt.Sprintf("%d errors within %v, out for %v", p.eject.Errors, p.eject.Within, p.eject.For))
}

// mayEject reports whether one more backend may be out.
func (p *pool) mayEject() bool {
	out := 0
	for _, b := range p.backends {
		if !b.out.IsZero() {
			out++
		}
	}
	const rounding = 1e-9 // 0.7 of ten are seven
	return out+1 <= int(p.eject.AtMost*float64(len(p.backends))+rounding)
}

// readmit brings back the backends whose time is over. The caller holds the
// lock.
func (p *pool) readmit(now time.Time) {
	for _, b := range p.backends {
		if b.out.IsZero() || now.Before(b.out) {
			continue
		}
		b.out, b.since, b.began = time.Time{}, now, now
		level(p.backends)
		p.changed(b, now, b.state(), "its ejection is over")
	}
}

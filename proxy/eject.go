package proxy

import (
	"fmt"
	"net/http"
	"time"

	"sallyport/internal/gate"
)

const (
	// ejectGrowth bounds how much longer than eject.for an ejection becomes
	// when a backend fails its trials.
	ejectGrowth = 10
	// windowSlots is how finely eject.within is divided for eject.ratio.
	windowSlots = 10
)

// An ejection is what is held against a backend for the way it serves requests.
// The lock of the roster guards it.
type ejection struct {
	errors []time.Time   // of the failures within eject.within, at most eject.errors
	window window        // of answers, failures included, for eject.ratio
	out    time.Time     // out until then, and after it until a trial goes well; zero: not out
	trial  bool          // a request is under way that decides
	length time.Duration // of the last one
	ended  time.Time     // when that was
}

// A window counts answers over a time that slides in steps of a slot.
type window [windowSlots]struct {
	number   int64 // of the slot of time
	all, bad int
}

func (w *window) add(now time.Time, within time.Duration, bad bool) (all, failed int) {
	slot := max(1, within/windowSlots)
	number := now.UnixNano() / int64(slot)
	s := &w[number%windowSlots]
	if s.number != number {
		s.number, s.all, s.bad = number, 0, 0
	}
	s.all++
	if bad {
		s.bad++
	}
	for i := range w {
		if w[i].number > number-windowSlots {
			all, failed = all+w[i].all, failed+w[i].bad
		}
	}
	return all, failed
}

// An errand is how fit a request is to try a backend whose ejection is over.
type errand uint8

const (
	unsafe errand = iota // the request could not go to another backend when it fails
	safe                 // it could
	last                 // there is no other backend: asking a bad one is better than asking none
)

// admits reports whether an ejection allows a request: none is in force, or its
// time is over and nobody tries the backend yet. One that is unsafe waits for as
// long again, in case that no other kind comes.
func (e *ejection) admits(now time.Time, c errand) bool {
	switch {
	case e.out.IsZero() || c == last:
		return true
	case c == unsafe:
		return !e.trial && !now.Before(e.out.Add(e.length))
	}
	return !e.trial && !now.Before(e.out)
}

// begin notes that a request goes to the backend, and reports whether it is the
// one that decides.
func (e *ejection) begin(now time.Time) bool {
	if e.out.IsZero() || e.trial || now.Before(e.out) {
		return false
	}
	e.trial = true
	return true
}

// failed notes that the backend failed a request: it could not be reached,
// answered too late, broke off, or did not speak HTTP. With eject.errors of
// them within eject.within it is taken out for a while, unless as many as
// eject.at_most allows are out already. The share is rounded down, so a single
// backend is never ejected.
func (p *pool) failed(b *backend) {
	b.failures.Add(1)
	if p.eject.Errors <= 0 && p.eject.Ratio <= 0 {
		return
	}
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	e := &b.ejection
	if !e.out.IsZero() {
		return // of a request that was under way when the backend was ejected
	}
	share := p.share(e, now, true)
	if p.eject.Errors > 0 {
		if over := len(e.errors) - p.eject.Errors + 1; over > 0 {
			e.errors = append(e.errors[:0], e.errors[over:]...)
		}
		e.errors = append(e.errors, now)
	}
	switch many := p.eject.Errors > 0 && len(e.errors) == p.eject.Errors && now.Sub(e.errors[0]) <= p.eject.Within; {
	case !p.mayEject():
	case many:
		p.expel(b, now, fmt.Sprintf("%d errors within %v", p.eject.Errors, p.eject.Within))
	case share != "":
		p.expel(b, now, share)
	}
}

// served notes that the backend has answered with a status. One of 5xx counts
// for eject.ratio only: it may be the application's word about that request.
func (p *pool) served(b *backend, status int) {
	if p.eject.Ratio <= 0 {
		return
	}
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if !b.out.IsZero() {
		return
	}
	if share := p.share(&b.ejection, now, status >= http.StatusInternalServerError); share != "" && p.mayEject() {
		p.expel(b, now, share)
	}
}

// decide ends a trial: the backend comes back, or stays out for longer.
func (p *pool) decide(b *backend, well bool) {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if !well {
		b.trial = true
		p.expel(b, now, "it failed the request that tried it")
		return
	}
	b.ejection = ejection{errors: b.errors[:0], length: b.length, ended: now}
	b.since, b.began = now, now
	level(p.backends)
	p.changed(b, now, b.state(), "it has answered the request that tried it")
	p.serve(now)
}

// undecided ends a trial that said nothing about the backend.
func (p *pool) undecided(b *backend) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b.trial = false
}

// share counts an answer and says so when too large a share of them is bad.
func (p *pool) share(e *ejection, now time.Time, bad bool) string {
	if p.eject.Ratio <= 0 {
		return ""
	}
	all, failed := e.window.add(now, p.eject.Within, bad)
	if !bad || all < p.eject.MinRequests || float64(failed) < p.eject.Ratio*float64(all) {
		return ""
	}
	return fmt.Sprintf("%d of %d answers within %v are 5xx or missing", failed, all, p.eject.Within)
}

// expel ejects a backend: for eject.for, and for twice as long as the last time
// when it has failed a trial, or has not lasted as long since. The lock of the
// roster is held.
func (p *pool) expel(b *backend, now time.Time, why string) {
	e := &b.ejection
	length := p.eject.For
	if e.trial || e.length > 0 && now.Sub(e.ended) < e.length {
		length = min(2*e.length, ejectGrowth*p.eject.For)
	}
	*e = ejection{errors: e.errors[:0], out: now.Add(length), length: length}
	b.since = now
	level(p.backends)
	p.changed(b, now, gate.BackendEjected, fmt.Sprintf("%s, out for %v", why, length))
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

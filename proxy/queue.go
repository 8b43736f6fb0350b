package proxy

import (
	"context"
	"errors"
	"slices"
	"time"

	"sallyport/internal/gate"
)

var (
	errLineFull = errors.New("every backend is full, and so is the line")
	errLineLate = errors.New("every backend was full for too long")
)

// A waiter is a request that waits for a place on a backend.
type waiter struct {
	pool  *pool
	ask   *ask
	ready chan struct{} // closed when got is set
	got   *backend      // guarded by the lock of the roster until then
}

// acquire finds a backend and takes a place on it, which release gives back.
// Where all that might be asked are full it waits, in the order of arrival,
// until one has room, the time is over, or the client is gone. It returns nil
// and no failure when no backend might be asked at all.
func (p *pool) acquire(ctx context.Context, a *ask) (*backend, *failure) {
	now := time.Now()
	b, w, fail := p.enter(a, now)
	if w == nil {
		return b, fail
	}
	defer func() { a.waited += max(1, time.Since(now)) }()
	return p.wait(ctx, w)
}

// enter takes a place on a backend, or in the line.
func (p *pool) enter(a *ask, now time.Time) (*backend, *waiter, *failure) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.serve(now)
	b, busy := p.find(a, now)
	if b != nil || !busy {
		return b, nil, nil
	}
	if len(p.roster.line) < p.queue.Length {
		w := &waiter{pool: p, ask: a, ready: make(chan struct{})}
		p.roster.line = append(p.roster.line, w)
		return nil, w, nil
	}
	a.pressing = true
	if b, _ = p.find(a, now); b != nil {
		return b, nil, nil
	}
	p.roster.full.Add(1)
	return nil, nil, noRoom(gate.PoolQueueFull, errLineFull)
}

func noRoom(reason gate.Reason, err error) *failure {
	v := gate.Failure(reason, err)
	v.RetryAfter = retryLater
	return &failure{verdict: v, final: true}
}

// wait waits in the line.
func (p *pool) wait(ctx context.Context, w *waiter) (*backend, *failure) {
	timer := time.NewTimer(p.queue.Wait)
	defer timer.Stop()
	select {
	case <-w.ready:
		return w.got, nil
	case <-ctx.Done():
	case <-timer.C:
	}
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.roster.line, w); i >= 0 {
		p.roster.line = slices.Delete(p.roster.line, i, i+1)
	}
	switch {
	case ctx.Err() != nil:
		if w.got != nil {
			p.unfind(w.got, w.ask, now)
		}
		reason := gate.PoolClientGone
		if errors.Is(context.Cause(ctx), errRouteTime) {
			reason = gate.PoolTimeout
		}
		return nil, &failure{verdict: gate.Failure(reason, context.Cause(ctx)), final: true}
	case w.got == nil: // a sticky client may go elsewhere, and an ejection may be over
		w.ask.pressing = true
		w.got, _ = p.find(w.ask, now)
	}
	if w.got == nil {
		p.roster.timeouts.Add(1)
		return nil, noRoom(gate.PoolQueueTimeout, errLineLate)
	}
	return w.got, nil
}

// serve gives places to those who wait, the first one first. The lock of the
// roster is held.
func (p *pool) serve(now time.Time) {
	line := p.roster.line
	if len(line) == 0 {
		return
	}
	var room [2]*pool
	stuck := room[:0] // that have no room for a request without wishes
	p.roster.line = slices.DeleteFunc(line, func(w *waiter) bool {
		if slices.Contains(stuck, w.pool) && w.ask.own == nil {
			return false
		}
		b, _ := w.pool.find(w.ask, now)
		if b == nil {
			if w.ask.own == nil && len(w.ask.tried) == 0 {
				stuck = append(stuck, w.pool)
			}
			return false
		}
		w.got = b
		close(w.ready)
		return true
	})
}

// release gives a place back.
func (p *pool) release(b *backend) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leave(b, time.Now())
}

// giveUp gives back a place that was found and is not going to be used.
func (p *pool) giveUp(b *backend, a *ask) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unfind(b, a, time.Now())
}

func (p *pool) unfind(b *backend, a *ask, now time.Time) {
	if a.trial {
		b.trial, a.trial = false, false
	}
	p.leave(b, now)
}

func (p *pool) leave(b *backend, now time.Time) {
	b.busy--
	p.serve(now)
}

package proxy

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"
)

// errRouteTime is why a request ends that was not answered within the timeout
// of its route.
var errRouteTime = errors.New("the timeout of the route has passed")

// A deadline bounds the way to the head of an answer: by the timeout of the
// route, and by how long a backend may take nothing of a body that is there for
// it. Neither runs while the client is waited for, or while bytes are on the
// move.
type deadline struct {
	v      *visit
	route  time.Duration // 0: no limit
	idle   time.Duration // likewise
	cancel context.CancelCauseFunc

	mu    sync.Mutex // held while the timer is set
	timer *time.Timer
	began time.Time
	over  bool
}

// newDeadline begins to count for the request, and puts the context that ends
// with it into the visit. It returns nil, which is a deadline that never comes,
// where nothing is bounded.
func newDeadline(v *visit) *deadline {
	v.way = v.req.HTTP.Context()
	idle := time.Duration(0)
	if v.upload != nil && !v.upload.here() {
		idle = v.arm.timeout.Idle
	}
	if v.site.timeout <= 0 && idle <= 0 {
		return nil
	}
	d := &deadline{v: v, route: v.site.timeout, idle: idle}
	v.way, d.cancel = context.WithCancelCause(v.way)
	d.began = time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.timer = time.AfterFunc(d.left(), d.watch)
	return d
}

// left is how long the request may still take as things are.
func (d *deadline) left() time.Duration {
	since, streams := d.began, false
	if u := d.v.upload; u != nil {
		moved, waits := u.moving()
		if waits {
			moved = time.Now()
		}
		if moved.After(since) {
			since = moved
		}
		streams = !u.over.Load()
	}
	limit := d.route
	if d.idle > 0 && streams && (limit <= 0 || d.idle < limit) {
		limit = d.idle
	}
	if limit <= 0 { // the body is out, and what is left to wait for is the transport's to bound
		return time.Hour
	}
	return limit - time.Since(since)
}

// watch runs when the time may be up.
func (d *deadline) watch() {
	d.mu.Lock()
	defer d.mu.Unlock()
	left := d.left()
	switch {
	case d.over:
	case left > 0:
		d.timer.Reset(left)
	case d.route > 0 && time.Since(d.began) >= d.route:
		d.cancel(errRouteTime)
	default:
		d.cancel(os.ErrDeadlineExceeded)
	}
}

// met is called when the head is there, or will not come.
func (d *deadline) met() {
	if d == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.over = true
	d.timer.Stop()
}

// end releases the context, unless a tunnel goes on with it.
func (d *deadline) end() {
	if d != nil && d.v.tunnel == nil {
		d.cancel(errAnswerOver)
	}
}

// late reports whether the request ended by a deadline of its own.
func (v *visit) late() bool { return errors.Is(context.Cause(v.way), errRouteTime) }

// hadTime reports whether the attempt had enough of the route's time for its
// end to be the backend's fault.
func (a *attempt) hadTime() bool { return 2*time.Since(a.began) >= a.v.site.timeout }

// expires reports whether the client has told the backend how long it waits, as
// those who speak gRPC do.
func (v *visit) expires() bool {
	_, told := v.req.Head.Get("Grpc-Timeout")
	return told
}

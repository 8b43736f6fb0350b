package proxy

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"sallyport/internal/gate"
)

// How much of a body is read before a backend hears of the request, and for
// how long that may be waited for. A body that ends within these bounds is
// complete, so that nothing at all of one that breaks reaches a backend; a
// longer or slower one streams from there on, and is broken off where it
// breaks.
const (
	holdBytes = 64 << 10
	// holdTail is how much is read at a time, and all that a client pins that
	// falls silent once its body streams.
	holdTail = 4 << 10
	// holdPause is longer than the gaps within a body that is on its way, and
	// shorter than what a person notices: a client that has sent a part and
	// waits for the backend's word is held up so long, once.
	holdPause = 200 * time.Millisecond
	// holdTime bounds the wait as a whole, for clients that never pause for so
	// long. It is also what a client has for the way from our 100 to the first
	// byte of its body.
	holdTime = time.Second
)

var (
	tails  = sync.Pool{New: func() any { return new([holdTail]byte) }}
	fronts = sync.Pool{New: func() any { return new([holdBytes - holdTail]byte) }}
)

// hold reads the beginning of the body, or all of it, so that what breaks in it
// is refused before a backend hears of the request. What the rules have held
// is not held again.
func (h *Handler) hold(v *visit) gate.Verdict {
	head := v.req.Head
	if v.body == nil || head.Length == 0 {
		return gate.Passes(gate.StageHTTP)
	}
	v.upload = &upload{src: v.req.HTTP.Body, length: head.Length} // the rules may have put theirs in front of it
	if v.http1() {
		_ = v.rw.control.EnableFullDuplex() // else net/http reads the rest of the body before it sends an early answer
	}
	if !v.body.complete() && v.body.received() < holdBytes && !converses(head) {
		v.lap()
		defer v.spent("pool") // as the time is in which the rest streams
		_, expects := head.Get("Expect")
		if err := v.upload.hold(expects); err != nil {
			return unread(err)
		}
	}
	if v.body.complete() { // the backend need not know that the client did not know the length
		v.upload.length = v.body.received()
		v.upload.arrived = v.upload.length <= holdBytes
	}
	return gate.Passes(gate.StageHTTP)
}

// converses reports whether the two sides of a request may talk in turns. Its
// body has no end to wait for.
func converses(head *gate.Head) bool {
	kind, _ := head.Get("Content-Type")
	return head.Length < 0 && hasPrefixFold(kind, "application/grpc")
}

// unread is the verdict of a body that could not be read.
func unread(err error) gate.Verdict {
	if ve, ok := errors.AsType[*gate.VerdictError](err); ok {
		return ve.Verdict
	}
	return gate.Failure(gate.PoolClientGone, err)
}

// hold reads ahead until the body is whole, the bound is reached, or the client
// takes its time. expects tells that the client waits for our 100 before it
// begins. An error is the body's.
func (u *upload) hold(expects bool) error {
	b := &beginning{src: u.src, tail: tails.Get().(*[holdTail]byte), done: make(chan struct{}), last: time.Now()}
	limit := b.last.Add(holdTime)
	if expects {
		b.last = limit.Add(-holdPause)
	}
	u.ahead = b
	go b.fill()
	b.wait(limit)
	select {
	case <-b.done:
	default:
		return nil
	}
	if u.whole = b.err == io.EOF; !u.whole && b.err != nil {
		return b.err
	}
	return nil
}

// A beginning is what was read ahead of a body. It is filled by a goroutine of
// its own, since a Read that waits for a client cannot be called off without
// losing the connection: when it takes too long, it is left to end, and whoever
// reads on waits for it.
type beginning struct {
	src  io.Reader
	done chan struct{} // closed when nothing more is read ahead

	mu       sync.Mutex // guards what follows until done is closed; not held while a Read waits
	front    *[holdBytes - holdTail]byte
	tail     *[holdTail]byte // what came behind front
	inFront  int
	inTail   int
	last     time.Time // when something came
	released bool      // the Read that is under way is the last one
	err      error     // of the last Read; io.EOF: the body is whole
}

func (b *beginning) fill() {
	defer close(b.done)
	for b.more() {
	}
}

// more reads once and reports whether to go on.
func (b *beginning) more() bool {
	n, err := readBody(b.src, b.tail[b.inTail:]) // only this goroutine moves inTail
	b.mu.Lock()
	defer b.mu.Unlock()
	b.inTail, b.err = b.inTail+n, err
	if n > 0 {
		b.last = time.Now()
	}
	switch {
	case err != nil || b.released:
		return false
	case b.inTail < holdTail:
		return true
	case b.inFront == holdBytes-holdTail:
		return false
	case b.front == nil:
		b.front = fronts.Get().(*[holdBytes - holdTail]byte)
	}
	b.inFront += copy(b.front[b.inFront:], b.tail[:])
	b.inTail = 0
	return true
}

// wait returns when nothing more is read ahead, or shall be.
func (b *beginning) wait(limit time.Time) {
	timer := time.NewTimer(holdPause)
	defer timer.Stop()
	for {
		select {
		case <-b.done:
			return
		case <-timer.C:
		}
		left := b.release(limit)
		if left <= 0 {
			return
		}
		timer.Reset(left)
	}
}

// release ends the reading ahead when the client has paused or the time is up,
// and else returns how long it may still take.
func (b *beginning) release(limit time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	left := min(time.Until(b.last.Add(holdPause)), time.Until(limit))
	b.released = left <= 0
	return left
}

// read reads the body from an offset on: what was read ahead, then what the
// Read under way brings, then the rest.
func (b *beginning) read(p []byte, at int, whole bool) (int, error) {
	if n := b.copy(p, at); n > 0 {
		return n, nil
	}
	if !whole {
		b.yield()
	}
	<-b.done
	if n := b.copy(p, at); n > 0 {
		return n, nil
	}
	if b.err != nil {
		return 0, b.err
	}
	b.free()
	return readBody(b.src, p)
}

// copy copies what was read ahead from an offset on.
func (b *beginning) copy(p []byte, at int) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if at < b.inFront {
		return copy(p, b.front[at:b.inFront])
	}
	if at -= b.inFront; at < b.inTail {
		return copy(p, b.tail[at:b.inTail])
	}
	return 0
}

// yield gives back the front, which was read and is not read again.
func (b *beginning) yield() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.front != nil {
		fronts.Put(b.front)
		b.front = nil
	}
}

// free gives back all memory. It is called when nothing is read ahead any more,
// and nothing of what was is read again.
func (b *beginning) free() {
	b.yield()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.tail != nil {
		tails.Put(b.tail)
		b.tail, b.inFront, b.inTail = nil, 0, 0
	}
}

// readBody reads from what the stages have left of a body, on a goroutine where
// a panic of a stage that streams would end the process.
func readBody(src io.Reader, p []byte) (n int, err error) {
	defer func() {
		if p := recover(); p != nil {
			n, err = 0, &gate.VerdictError{Verdict: gate.Failure(gate.GatewayPanic, fmt.Errorf("panic in the request body: %v", p))}
		}
	}()
	return src.Read(p)
}

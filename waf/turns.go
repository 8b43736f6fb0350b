package waf

import (
	"context"
	"runtime"
	"time"

	"golang.org/x/sync/semaphore"

	"sallyport/internal/gate"
)

const (
	// heavy is from how many bytes on a head or body waits for its turn. What
	// the rules cost grows with what they look at: 1 MiB of a form takes
	// seconds, and a few of them at once would keep everybody waiting.
	heavy = 8 << 10
	// turnWait is how long a turn is waited for before the request is shed.
	turnWait = 5 * time.Second
)

// turns lets as many heavy requests be judged at once as there are processors,
// so that ordinary ones, which never wait here, keep their share.
type turns struct{ free *semaphore.Weighted }

func newTurns() *turns { return &turns{semaphore.NewWeighted(int64(runtime.GOMAXPROCS(0)))} }

// turn waits until size bytes may be judged, and reports false when that takes
// too long: the request is then shed. A transaction takes one turn at most;
// endTurn gives it back.
func (t *Transaction) turn(size int64) bool {
	if size < heavy || t.inTurn {
		return true
	}
	ctx, cancel := context.WithTimeout(t.req.HTTP.Context(), turnWait)
	defer cancel()
	if t.engine.turns.free.Acquire(ctx, 1) != nil {
		v := gate.Failure(gate.WAFBusy, nil)
		v.RetryAfter = turnWait
		t.take(v)
		return false
	}
	t.inTurn = true
	return true
}

// endTurn gives the turn back, if there is one.
func (t *Transaction) endTurn() {
	if t.inTurn {
		t.inTurn = false
		t.engine.turns.free.Release(1)
	}
}

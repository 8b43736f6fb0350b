package waf

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"sallyport/internal/cores"
	"sallyport/internal/gate"
)

const (
	// heavy is from how many bytes on a head or body waits for its turn. What
	// the rules cost grows with what they look at: 1 MiB of a form takes
	// seconds, and a few of them at once would keep everybody waiting.
	heavy = 8 << 10
	// dear is from how many bytes times rules on the engine waits for its turn:
	// from about a millisecond.
	dear = 20 << 10
	// turnWait is how long a turn is waited for before the request is shed, and
	// turnQueue how many may wait for each that runs. turnSoon is how long one is
	// waited for that is not needed.
	turnWait  = 5 * time.Second
	turnQueue = 256
	turnSoon  = 100 * time.Millisecond
)

// errShed ends what did not get its turn; the verdict is there.
var errShed = errors.New("no turn to be judged")

// errCostly ends what would take too much; the verdict is there.
var errCostly = errors.New("too costly to be judged")

// turns lets as many heavy requests be looked at at once as there are
// processors, and half as many be run through many rules, so that ordinary ones,
// which never wait here, keep their share: looking gives way every now and then,
// but what the engine has begun with a long text it goes on with.
type turns struct {
	free, engine *semaphore.Weighted
	waiting      atomic.Int64
	most         int64
}

func newTurns() *turns {
	procs := int64(cores.Number())
	return &turns{free: semaphore.NewWeighted(procs), engine: semaphore.NewWeighted(max(1, procs/2)), most: turnQueue * procs}
}

// turn waits until size bytes may be judged, and reports false when that takes
// too long: the request is then shed. A transaction takes one turn at most;
// endTurn gives it back.
func (t *Transaction) turn(size int64) bool {
	if size < heavy || t.inTurn {
		return true
	}
	t.inTurn = t.await(t.engine.turns.free)
	return t.inTurn
}

// heavyTurn is turn for a request that has turned out to be heavy.
func (t *Transaction) heavyTurn() bool { return t.turn(heavy) }

// engineTurn is the same for a run of rules over bytes of values.
func (t *Transaction) engineTurn(rules, bytes int) bool {
	if t.inEngine || rules*bytes < dear {
		return true
	}
	if t.inTurn { // others may look meanwhile
		t.inTurn = false
		t.engine.turns.free.Release(1)
	}
	if t.inEngine = t.await(t.engine.turns.engine); !t.inEngine {
		return false
	}
	t.inTurn = t.await(t.engine.turns.free) // nobody keeps one while waiting
	return t.inTurn
}

// soonTurn is engineTurn for what can be left out: it waits for a moment, and
// reports false without a verdict.
func (t *Transaction) soonTurn(rules, bytes int) bool {
	if t.inEngine || rules*bytes < dear {
		return true
	}
	ctx, cancel := context.WithTimeout(t.req.HTTP.Context(), turnSoon)
	defer cancel()
	all := t.engine.turns
	if all.engine.Acquire(ctx, 1) != nil {
		return false
	}
	if !t.inTurn && all.free.Acquire(ctx, 1) != nil {
		all.engine.Release(1)
		return false
	}
	t.inTurn, t.inEngine = true, true
	return true
}

// await takes one of the turns, or a verdict.
func (t *Transaction) await(turns *semaphore.Weighted) bool {
	if turns.TryAcquire(1) {
		return true
	}
	all := t.engine.turns
	t.shed = true
	if all.waiting.Add(1) <= all.most {
		ctx, cancel := context.WithTimeout(t.req.HTTP.Context(), turnWait)
		defer cancel()
		began := time.Now()
		if turns.Acquire(ctx, 1) == nil {
			if time.Since(began) > cores.Long {
				cores.Press()
			}
			all.waiting.Add(-1)
			t.shed = false
			return true
		}
	}
	all.waiting.Add(-1)
	t.take(busy())
	return false
}

// busy is the verdict on what did not get its turn.
func busy() gate.Verdict {
	v := gate.Failure(gate.WAFBusy, nil)
	v.RetryAfter = turnWait
	return v
}

// endTurn gives the turns back, if there are any.
func (t *Transaction) endTurn() {
	if t.inTurn {
		t.inTurn = false
		t.engine.turns.free.Release(1)
	}
	if t.inEngine {
		t.inEngine = false
		t.engine.turns.engine.Release(1)
	}
}

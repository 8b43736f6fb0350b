package waf

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
)

// memoryWait is how long a body waits for others to give memory back.
const memoryWait = time.Second

// errMemory says that the memory for held bodies is spent.
var errMemory = errors.New("the memory for held bodies is spent")

// A budget bounds the held bodies of the whole process.
type budget struct {
	free *semaphore.Weighted
	held atomic.Int64 // for the metrics; the semaphore decides
}

func newBudget(size int64) *budget { return &budget{free: semaphore.NewWeighted(size)} }

// give returns bytes to the budget.
func (b *budget) give(n int64) {
	b.held.Add(-n)
	b.free.Release(n)
}

// A lease is what one transaction has taken from the budget. Its methods may
// be called from several goroutines.
type lease struct {
	from *budget
	mu   sync.Mutex
	held int64
	over bool // given back; nothing more is taken
}

// take takes n more bytes, waiting briefly when they are not there.
func (l *lease) take(ctx context.Context, n int64) error {
	if n <= 0 {
		return nil
	}
	if !l.from.free.TryAcquire(n) {
		ctx, cancel := context.WithTimeout(ctx, memoryWait)
		defer cancel()
		if l.from.free.Acquire(ctx, n) != nil {
			return errMemory
		}
	}
	l.from.held.Add(n)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		l.from.give(n)
		return errMemory
	}
	l.held += n
	return nil
}

// release gives everything back.
func (l *lease) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
	if l.held > 0 {
		l.from.give(l.held)
		l.held = 0
	}
}

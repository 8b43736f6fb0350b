package selftest

import (
	"context"
	"sync"

	"sallyport/internal/gate"
)

// Records keeps the reasons of a gateway in this process, by the id of the
// request, until they are asked for. It is given to the gateway as a recorder.
type Records struct {
	mu   sync.Mutex
	by   map[string]gate.Reason
	more *sync.Cond
}

// NewRecords returns one that has heard of nothing.
func NewRecords() *Records {
	r := &Records{by: map[string]gate.Reason{}}
	r.more = sync.NewCond(&r.mu)
	return r
}

// maxRecords bounds what nobody asks for.
const maxRecords = 10_000

// Record implements proxy.Recorder.
func (r *Records) Record(rec gate.Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if rec.Event == "" && len(r.by) < maxRecords {
		r.by[rec.ID] = rec.Reason
		r.more.Broadcast()
	}
}

// Reason returns, once, the reason of the request with the id. It waits for the
// record, which is written when the answer has ended; the client may have it
// by then. known is false when ctx ends before.
func (r *Records) Reason(ctx context.Context, id string) (reason gate.Reason, known bool) {
	stop := context.AfterFunc(ctx, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.more.Broadcast()
	})
	defer stop()
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		if reason, known = r.by[id]; known || ctx.Err() != nil {
			delete(r.by, id)
			return reason, known
		}
		r.more.Wait()
	}
}

package selftest

import (
	"context"
	"sync"
	"time"

	"sallyport/internal/gate"
)

// Records keeps the reasons of a gateway in this process until they are asked
// for: of requests by their id, of connections that were ended by the address
// of the client. It is given to the gateway as a recorder.
type Records struct {
	mu    sync.Mutex
	by    map[string]gate.Reason
	peers map[string]farewell
	more  *sync.Cond
}

// A farewell is the record of something that is no request.
type farewell struct {
	at     time.Time
	reason gate.Reason
}

// NewRecords returns one that has heard of nothing.
func NewRecords() *Records {
	r := &Records{by: map[string]gate.Reason{}, peers: map[string]farewell{}}
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
		if rec.Request.Method == "" {
			r.peers[rec.Client.Peer] = farewell{time.Now(), rec.Reason}
		}
		r.more.Broadcast()
	}
}

// Reason returns, once, the reason of the request with the id. It waits for the
// record, which is written when the answer has ended; the client may have it
// by then. known is false when ctx ends before.
func (r *Records) Reason(ctx context.Context, id string) (reason gate.Reason, known bool) {
	r.await(ctx, func() bool {
		reason, known = r.by[id]
		delete(r.by, id)
		return known
	})
	return reason, known
}

// Ended returns, once, why the connection from an address was ended. What was
// recorded before it was made is about another one that had the address.
func (r *Records) Ended(ctx context.Context, peer string, since time.Time) (reason gate.Reason, known bool) {
	r.await(ctx, func() bool {
		f, ok := r.peers[peer]
		if known = ok && f.at.After(since); known {
			reason = f.reason
			delete(r.peers, peer)
		}
		return known
	})
	return reason, known
}

// await calls found, with the lock held, until it reports true or ctx ends.
func (r *Records) await(ctx context.Context, found func() bool) {
	stop := context.AfterFunc(ctx, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.more.Broadcast()
	})
	defer stop()
	r.mu.Lock()
	defer r.mu.Unlock()
	for !found() && ctx.Err() == nil {
		r.more.Wait()
	}
}

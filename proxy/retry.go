package proxy

import (
	"net/http"
	"sync"

	"sallyport/internal/gate"
)

const (
	// retryReserve is what a pool may retry before it has served anything, so
	// that a backend that is dead from the start costs no client an error.
	retryReserve = 10
	// retryCeiling bounds what a quiet day can save up for a bad minute.
	retryCeiling = 100
)

// A budget keeps retries from multiplying the load on a pool in trouble: each
// request earns a share of a retry, each retry costs one. A share of zero
// allows no retries at all.
type budget struct {
	share  float64
	mu     sync.Mutex
	tokens float64
}

func newBudget(share float64) *budget {
	b := &budget{share: share}
	if share > 0 {
		b.tokens = retryReserve
	}
	return b
}

func (b *budget) earn() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tokens = min(b.tokens+b.share, retryCeiling)
}

// spend reports whether one retry may be made, and pays for it.
func (b *budget) spend() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

func (b *budget) left() float64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.tokens
}

// idempotent reports whether sending a request twice does what sending it
// once does (RFC 9110 section 9.2.2). Methods that are not known are not.
func idempotent(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPut, http.MethodDelete,
		"PROPFIND", "REPORT", "SEARCH":
		return true
	}
	return false
}

// A failure is how an attempt ended without an answer.
type failure struct {
	verdict gate.Verdict
	// sent is false when no connection was there to send the request on: the
	// backend has seen nothing of it.
	sent bool
	// heard is set once the backend has begun to answer.
	heard bool
	// stale is set when a connection that had been idle turned out to be
	// closed; the same backend may well answer on another one.
	stale bool
	// final is set when the failure is the client's or ours.
	final bool
}

// retryable reports whether the request may be sent again. What was never
// sent may, whatever it is; what was sent may have been acted upon, so only if
// that makes no difference. A body that is not held is gone once a byte of it
// was asked for.
func (f *failure) retryable(method string, body *upload) bool {
	if f.final || f.heard || body != nil && body.spent() {
		return false
	}
	return !f.sent || idempotent(method)
}

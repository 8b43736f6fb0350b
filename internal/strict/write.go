package strict

import (
	"sync"
	"time"

	"sallyport/internal/gate"
)

// A writer limits how slowly a client may read. Time spent in Write runs up a
// debt, bytes that the client takes pay it off, and the debt may not exceed
// the grace.
type writer struct {
	mu      sync.Mutex // guards what follows; not held while the socket is written
	rate    int64      // bytes a second; 0: no limit
	grace   time.Duration
	debt    time.Duration
	user    time.Time
	own     time.Time // of the Write in progress; zero: there is none
	tooSlow error
}

// writePiece is how many bytes are written under one deadline.
const writePiece = 16 << 10

// unlimitWrites lets a client read as slowly as it likes.
func (c *Conn) unlimitWrites() {
	w := &c.write
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rate = 0
	_ = c.nc.SetWriteDeadline(w.user) // fails only when the socket is closed, as the next write will say
}

// Write passes bytes on as they are. A client that reads slower than the limit
// makes it fail with a *gate.VerdictError for http.reader_too_slow.
func (c *Conn) Write(p []byte) (int, error) {
	c.answer()
	total := 0
	for {
		n, err := c.writeSome(p[:min(len(p), writePiece)])
		total, p = total+n, p[n:]
		if err != nil || len(p) == 0 {
			return total, err
		}
	}
}

// writeSome writes one piece under one deadline.
func (c *Conn) writeSome(p []byte) (int, error) {
	w := &c.write
	w.mu.Lock()
	if w.tooSlow != nil {
		w.mu.Unlock()
		return 0, w.tooSlow
	}
	if w.rate <= 0 {
		w.mu.Unlock()
		return c.nc.Write(p)
	}
	start := time.Now()
	w.own = start.Add(w.grace - w.debt + w.worth(len(p)))
	err := c.nc.SetWriteDeadline(earlier(w.user, w.own))
	w.mu.Unlock()
	if err != nil {
		return 0, err
	}
	n, err := c.nc.Write(p)
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil && isTimeout(err) && !now.Before(w.own) {
		err = &gate.VerdictError{Verdict: gate.Refusal(gate.HTTPReaderTooSlow, gate.Enforce, "the client reads its answer too slowly")}
		w.tooSlow = err
	}
	w.debt = max(0, w.debt+now.Sub(start)-w.worth(n))
	w.own = time.Time{}
	return n, err
}

// worth is how long n bytes may take.
func (w *writer) worth(n int) time.Duration {
	if w.rate <= 0 {
		return 0
	}
	return time.Duration(int64(n) * int64(time.Second) / w.rate)
}

// SetWriteDeadline ends writes at t, also one that is in progress.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	w := &c.write
	w.mu.Lock()
	defer w.mu.Unlock()
	w.user = t
	if w.rate > 0 && w.own.IsZero() {
		return nil // the next Write sets it
	}
	return c.nc.SetWriteDeadline(earlier(t, w.own))
}

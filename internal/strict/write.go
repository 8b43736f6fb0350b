package strict

import (
	"sync"
	"time"
)

// A writer limits how slowly a client may read.
type writer struct {
	mu      sync.Mutex // guards what follows; not held while the socket is written
	pace    Pace
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
	w.pace.rate = 0
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
	if !w.pace.Limited() {
		w.mu.Unlock()
		return c.nc.Write(p)
	}
	start := time.Now()
	w.own = start.Add(w.pace.Allow(len(p)))
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
		err = TooSlow()
		w.tooSlow = err
	}
	w.pace.Wrote(n, now.Sub(start))
	w.own = time.Time{}
	return n, err
}

// SetWriteDeadline ends writes at t, also one that is in progress.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	w := &c.write
	w.mu.Lock()
	defer w.mu.Unlock()
	w.user = t
	if w.pace.Limited() && w.own.IsZero() {
		return nil // the next Write sets it
	}
	return c.nc.SetWriteDeadline(earlier(t, w.own))
}

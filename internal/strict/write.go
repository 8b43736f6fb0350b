package strict

import (
	"sync"
	"time"
)

// A writer limits how slowly a client may read.
type writer struct {
	gathered *[]byte // what is kept until Send; nil: nothing is kept. Of the goroutine that writes
	kept     int     // how much of it is

	mu      sync.Mutex // guards what follows; not held while the socket is written
	pace    Pace
	user    time.Time
	own     time.Time // of the Write in progress; zero: there is none
	tooSlow error
}

const (
	// writePiece is how many bytes a client is given time for at once.
	writePiece = 16 << 10
	// writeMost is how many are written at once where a write that was
	// interrupted can go on, as it cannot over TLS.
	writeMost = 32 << 10
)

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
	if w := &c.write; w.gathered != nil {
		if w.kept+len(p) <= len(*w.gathered) {
			w.kept += copy((*w.gathered)[w.kept:], p)
			return len(p), nil
		}
		if err := c.Send(); err != nil {
			return 0, err
		}
	}
	return c.writeAll(p)
}

// Gather has what is written from now on wait for Send, as long as it is no
// more than a buffer takes: net/http writes the head of an answer and the end of
// its body apart, and each write to a socket costs more than all that led to it.
// It is called by the goroutine that writes, and so is Send.
func (c *Conn) Gather() {
	if c.write.gathered == nil {
		c.write.gathered, c.write.kept = largeBuffers.get(), 0
	}
}

// Send writes what was gathered, all at once, and ends the gathering.
func (c *Conn) Send() error {
	w := &c.write
	if w.gathered == nil {
		return nil
	}
	b := w.gathered
	w.gathered = nil
	defer largeBuffers.put(b)
	if w.kept == 0 {
		return nil
	}
	_, err := c.writeAll((*b)[:w.kept])
	return err
}

func (c *Conn) writeAll(p []byte) (int, error) {
	total, most := 0, writePiece
	if c.socket {
		most = writeMost
	}
	for {
		n, err := c.writeSome(p[:min(len(p), most)])
		total, p = total+n, p[n:]
		if err != nil || len(p) == 0 {
			return total, err
		}
	}
}

// writeSome writes under one deadline, not all of p when the client has earned
// more time by what it took.
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
	w.own = start.Add(w.pace.Allow(min(len(p), writePiece)))
	err := c.nc.SetWriteDeadline(earlier(w.user, w.own))
	w.mu.Unlock()
	if err != nil {
		return 0, err
	}
	n, err := c.nc.Write(p)
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pace.Wrote(n, now.Sub(start))
	if err != nil && isTimeout(err) && !now.Before(w.own) {
		if err = nil; n < writePiece {
			err = TooSlow()
			w.tooSlow = err
		}
	}
	w.own = time.Time{}
	return n, err
}

// Congested reports whether a Write would wait: the client has yet to take what
// the system holds for it. False where that cannot be told. It is called by the
// goroutine that writes.
func (c *Conn) Congested() bool {
	if c.full == nil {
		c.full = newWritable(c.nc)
	}
	return c.full.waits()
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

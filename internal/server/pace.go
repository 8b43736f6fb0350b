package server

import (
	"net/http"
	"sync"
	"time"

	"sallyport/internal/strict"
)

const (
	// writePiece is how many bytes are written under one deadline.
	writePiece = 16 << 10
	// lastFlush is how much of an answer net/http may still hold when the
	// handler has returned.
	lastFlush = 4 << 10
)

// A paced is the answer to an HTTP/2 request. A client that takes it slower
// than http.write_rate loses the stream: it may hold a flow-control window
// shut for ever (RFC 9113 section 10.5), and net/http only minds connections
// that take no bytes at all.
type paced struct {
	http.ResponseWriter
	control *http.ResponseController
	pace    strict.Pace // used by the goroutine of the handler only
	wrote   bool

	timer *time.Timer // runs while something is written
	mu    sync.Mutex  // guards what follows
	slow  bool
	ended bool
}

// newPaced returns w as it is where there is no limit. The function must be
// called when the handler is done.
func newPaced(w http.ResponseWriter, lim strict.Limits) (http.ResponseWriter, func()) {
	p := &paced{ResponseWriter: w, control: http.NewResponseController(w), pace: lim.Pace()}
	if !p.pace.Limited() {
		return w, func() {}
	}
	return p, p.end
}

// Unwrap leads http.ResponseController to what this does not change.
func (p *paced) Unwrap() http.ResponseWriter { return p.ResponseWriter }

// Write implements http.ResponseWriter. Its error is a *gate.VerdictError when
// the client was too slow.
func (p *paced) Write(b []byte) (int, error) {
	p.wrote = true
	total := 0
	for {
		piece := b[:min(len(b), writePiece)]
		n, err := p.timed(len(piece), func() (int, error) { return p.ResponseWriter.Write(piece) })
		total, b = total+n, b[n:]
		if err != nil || len(b) == 0 {
			return total, err
		}
	}
}

// FlushError is what http.ResponseController flushes by.
func (p *paced) FlushError() error {
	_, err := p.timed(0, func() (int, error) { return 0, p.control.Flush() })
	return err
}

// timed resets the stream when f takes too long for n bytes.
func (p *paced) timed(n int, f func() (int, error)) (int, error) {
	allow := p.pace.Allow(n)
	if p.timer == nil {
		p.timer = time.AfterFunc(allow, p.cut)
	} else {
		p.timer.Reset(allow)
	}
	start := time.Now()
	n, err := f()
	p.timer.Stop()
	p.pace.Wrote(n, time.Since(start))
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil && p.slow {
		err = strict.TooSlow()
	}
	return n, err
}

// cut resets the stream, as net/http does with one whose deadline has passed.
func (p *paced) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.ended {
		p.slow = true
		_ = p.control.SetWriteDeadline(time.Unix(1, 0)) // the write in progress fails, or has ended by itself
	}
}

// end leaves the rest to net/http, which writes what it still holds after the
// handler has returned.
func (p *paced) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	if p.timer != nil {
		p.timer.Stop()
	}
	if p.wrote && !p.slow {
		_ = p.control.SetWriteDeadline(time.Now().Add(p.pace.Allow(lastFlush))) // fails for a stream that is gone
	}
}

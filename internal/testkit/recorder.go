package testkit

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
)

// A Recorder is a backend that keeps every byte that reaches it, and answers
// each whole request with a 200. It speaks TCP, so that also bytes that are no
// request are seen.
type Recorder struct {
	l net.Listener

	mu    sync.Mutex
	quiet sync.Cond   // on mu: no request is half read
	busy  int         // connections on which one is
	conns []*recorded // in the order of their first byte since the last Take
	open  map[*recorded]bool
}

// recorded is one connection to the backend.
type recorded struct {
	net.Conn
	r      *Recorder
	stream []byte // since the last Take
	busy   bool
}

// NewRecorder starts the backend; it ends with the test.
func NewRecorder(t testing.TB) *Recorder {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &Recorder{l: l, open: map[*recorded]bool{}}
	r.quiet.L = &r.mu
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			c := &recorded{Conn: nc, r: r}
			r.mu.Lock()
			r.open[c] = true
			r.mu.Unlock()
			serving.Go(c.serve)
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		r.mu.Lock()
		for c := range r.open {
			_ = c.Close()
		}
		r.mu.Unlock()
		serving.Wait()
	})
	return r
}

// Addr is where the backend listens.
func (r *Recorder) Addr() string { return r.l.Addr().String() }

// Take returns what arrived since the last call, one stream for each
// connection that brought any, in the order of their first bytes, once every
// request that has begun is complete or broken off.
func (r *Recorder) Take() [][]byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.busy > 0 {
		r.quiet.Wait()
	}
	var streams [][]byte
	for _, c := range r.conns {
		streams = append(streams, c.stream)
		c.stream = nil
	}
	r.conns = nil
	return streams
}

func (c *recorded) serve() {
	defer func() {
		c.settle(false)
		c.r.mu.Lock()
		delete(c.r.open, c)
		c.r.mu.Unlock()
		_ = c.Close()
	}()
	br := bufio.NewReader(c)
	for {
		req, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			return
		}
		c.settle(br.Buffered() > 0)
		if _, err := io.WriteString(c.Conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"); err != nil {
			return
		}
	}
}

// Read keeps what it reads.
func (c *recorded) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.r.mu.Lock()
		defer c.r.mu.Unlock()
		if len(c.stream) == 0 {
			c.r.conns = append(c.r.conns, c)
		}
		c.stream = append(c.stream, p[:n]...)
		if !c.busy {
			c.busy = true
			c.r.busy++
		}
	}
	return n, err
}

// settle notes that what was read so far is done with, unless more of it waits.
func (c *recorded) settle(more bool) {
	c.r.mu.Lock()
	defer c.r.mu.Unlock()
	if c.busy && !more {
		c.busy = false
		c.r.busy--
		c.r.quiet.Broadcast()
	}
}

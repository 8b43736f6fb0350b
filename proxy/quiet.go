package proxy

import (
	"errors"
	"net"
	"net/http"
	"sync"
)

var errUnasked = errors.New("the backend said something that nobody asked for")

// A quietConn is a connection to a backend on which every byte belongs to the
// request that was sent last. What a backend says beyond the end of its answer,
// as a body after a 204, would be taken for the answer to the next request, of
// another client: net/http looks for such bytes when a connection lies idle,
// but may hand it out before it has looked.
type quietConn struct {
	net.Conn
	mu      sync.Mutex
	changed sync.Cond // on mu
	reading bool      // a Read waits, so nothing that came before is left over
	quiet   bool      // nothing was sent since the connection was handed out
	closed  bool
}

func newQuietConn(c net.Conn) *quietConn {
	q := &quietConn{Conn: c}
	q.changed.L = &q.mu
	return q
}

// hush is called when an idle connection is handed out, before anything is
// sent. It returns when net/http has looked for bytes that are left over, and
// false when it has closed the connection, as it does if there are any. From
// then on none may come until something is sent.
func (q *quietConn) hush() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for !q.reading && !q.closed {
		q.changed.Wait()
	}
	q.quiet = true
	return !q.closed
}

// Read implements net.Conn.
func (q *quietConn) Read(p []byte) (int, error) {
	q.mu.Lock()
	q.reading = true
	q.changed.Broadcast()
	q.mu.Unlock()
	n, err := q.Conn.Read(p)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.reading = false
	if n > 0 && q.quiet {
		return 0, errUnasked
	}
	return n, err
}

// Write implements net.Conn.
func (q *quietConn) Write(p []byte) (int, error) {
	q.mu.Lock()
	q.quiet = false
	q.mu.Unlock()
	return q.Conn.Write(p)
}

// Close implements net.Conn.
func (q *quietConn) Close() error {
	q.mu.Lock()
	q.closed = true
	q.changed.Broadcast()
	q.mu.Unlock()
	return q.Conn.Close()
}

// CloseWrite ends one direction, for tunnels.
func (q *quietConn) CloseWrite() error {
	if half, ok := q.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return http.ErrNotSupported
}

package http1

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// headBuffer is what a head is read into. Most answers fit as a whole.
const headBuffer = 16 << 10

var headBuffers = sync.Pool{New: func() any { return new([headBuffer]byte) }}

// A conn is a connection to a backend, used for one exchange at a time.
type conn struct {
	net.Conn
	t     *Transport
	key   key
	since time.Time // idle since
	ear   *ear      // asks the socket; nil: not needed so far

	pooled *[headBuffer]byte // nil: none is held
	buf    []byte            // what was read beyond the last head
}

// rawRead reads what follows the head: first what was read with it.
func (c *conn) rawRead(p []byte) (int, error) {
	if len(c.buf) == 0 {
		return c.Conn.Read(p)
	}
	n := copy(p, c.buf)
	if c.buf = c.buf[n:]; len(c.buf) == 0 {
		c.release()
	}
	return n, nil
}

// release gives the buffer back. What was in it is gone.
func (c *conn) release() {
	if c.pooled != nil {
		headBuffers.Put(c.pooled)
	}
	c.pooled, c.buf = nil, nil
}

// raw is the connection beneath any wrapping.
func (c *conn) raw() net.Conn {
	nc := c.Conn
	for {
		w, ok := nc.(interface{ NetConn() net.Conn })
		if !ok {
			return nc
		}
		nc = w.NetConn()
	}
}

const (
	// momentTLS is how long a record that has begun to come is waited for.
	momentTLS = 10 * time.Millisecond
	// moment is the same where a socket cannot be asked what it has.
	moment = time.Millisecond
)

// quiet reports whether an idle connection can be used: it is open, and the
// backend has said nothing on it since its last answer. What it says before it
// is asked, as a body after a 204, would be taken for the answer to the next
// request, of another client.
func (c *conn) quiet() bool {
	if _, wrapped := c.Conn.(*tls.Conn); !wrapped {
		return c.silent()
	}
	// It may have decrypted bytes already, and its socket may hold messages
	// that are no data, such as tickets.
	return nothing(c.Conn, time.Unix(1, 0)) && (c.silent() || nothing(c.Conn, time.Now().Add(momentTLS)))
}

// silent reports whether the socket is open and holds no bytes, without taking
// any.
func (c *conn) silent() bool {
	if c.ear == nil {
		c.ear = newEar(c.raw())
	}
	return c.ear.silent()
}

// nothing reports whether a Read finds nothing until the deadline.
func nothing(nc net.Conn, until time.Time) bool {
	if nc.SetReadDeadline(until) != nil {
		return false
	}
	var b [1]byte
	n, err := nc.Read(b[:])
	if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	return nc.SetReadDeadline(time.Time{}) == nil
}

// CloseWrite ends one direction, for tunnels.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return http.ErrNotSupported
}

package strict

import (
	"errors"
	"io"
	"net"
	"time"
)

// discard ends all reading of HTTP.
func (c *Conn) discard() {
	c.mode = discarding
	c.refused = true
	c.out = nil
	c.raw.drop(c.raw.len())
	c.wake.Broadcast()
}

// readNothing throws away what comes after a refusal, so that the answer to
// it is not lost in a reset. The background read never sees the end: a client
// that has said its last byte still gets its answer.
func (c *Conn) readNothing(background bool) error {
	if !background {
		return io.EOF
	}
	c.read.own = time.Time{}
	err := c.more()
	c.raw.drop(c.raw.len())
	if err != nil && !isTimeout(err) {
		return c.park()
	}
	return err
}

// halfCloseTime is how long a client that has ended its sending side is taken
// for one that still reads. Whether it does, only a write can tell.
const halfCloseTime = 3 * time.Second

// stay keeps the end of the client's side from net/http while a request is
// served: net/http would take the client for gone, and a client that says its
// last and then reads is lawful (RFC 9112 section 9.6). It returns nil when
// the time is over, and an error when the wait is.
func (c *Conn) stay() error {
	end := c.quiet.Add(halfCloseTime)
	timer := time.AfterFunc(time.Until(end), func() {
		c.mu.Lock() // not before the wait has begun
		defer c.mu.Unlock()
		c.wake.Broadcast()
	})
	defer timer.Stop()
	for time.Now().Before(end) {
		if err := c.park(); err != nil {
			return err
		}
	}
	return nil
}

// Close ends the connection. After a refusal, and when requests wait that were
// pipelined behind the last one, it first lets the client read the answers:
// closing a socket with unread bytes in it resets the connection, and the
// answers with it (RFC 9112 section 9.6).
func (c *Conn) Close() error {
	c.mu.Lock()
	first := !c.closed && !c.inRead
	refused, unread := c.refused && first, c.mode != tunnelling && len(c.out)+c.raw.len() > 0 && first
	c.closed = true
	c.wake.Broadcast()
	if !c.inRead {
		c.release()
	}
	c.mu.Unlock()
	switch {
	case refused:
		c.linger()
	case unread:
		// Not here: a server that is closed closes one connection after the
		// other, and may not be held up by clients that pipeline.
		go func() {
			c.linger()
			_ = c.nc.Close() // nobody is left to be told
		}()
		return nil
	}
	return c.nc.Close()
}

// What is read of a client that may still be sending, before the connection is
// closed.
const (
	lingerTime  = 500 * time.Millisecond
	lingerBytes = 256 << 10
)

// linger says that nothing more will be written, and reads until the client
// agrees.
func (c *Conn) linger() {
	if c.CloseWrite() != nil {
		return
	}
	if c.nc.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
		return
	}
	b := smallBuffers.get()
	defer smallBuffers.put(b)
	for rest := lingerBytes; rest > 0; {
		n, err := c.nc.Read(*b)
		if err != nil {
			return
		}
		rest -= n
	}
}

// CloseWrite ends the sending direction, where the connection has such a thing.
func (c *Conn) CloseWrite() error { return closeWrite(c.nc) }

func closeWrite(c net.Conn) error {
	if w, ok := c.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return errors.ErrUnsupported
}

// release gives the buffers back.
func (c *Conn) release() {
	c.raw.release()
	c.out = nil
	if c.err == nil {
		c.err = net.ErrClosed
	}
}

package selftest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

const (
	maxCaptured    = 256 << 10        // bytes of one connection that are kept between two looks
	maxConnections = 256              // open at a time
	captureIdle    = 90 * time.Second // how long a connection may be silent
)

// A Capture is a backend that writes down every byte that reaches it, and
// answers every request with the same 200. It reads requests only to know when
// to answer. Its methods may be called from any goroutine.
type Capture struct {
	listener net.Listener
	serving  sync.WaitGroup

	mu    sync.Mutex
	idle  *sync.Cond // signalled when no request is under way any more
	busy  int        // connections with a request under way
	conns map[*caught]struct{}
	ended []Stream // of connections that have ended, since the last Take
}

// A Stream is what came over one connection since the last look.
type Stream struct {
	Bytes    []byte    // at most maxCaptured
	Total    int       // how many there were
	Messages []Message // what the bytes are
	Odd      string    // why they are not, or not all, plain requests; empty when they are
}

// caught is one connection to the capture.
type caught struct {
	conn    net.Conn
	pending []byte // of a request that is under way
	busy    bool
	odd     bool
	now     Stream
}

// Listen starts a capture. It ends with Close.
func Listen(ctx context.Context, address string) (*Capture, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen as the capture backend: %w", err)
	}
	c := &Capture{listener: l, conns: map[*caught]struct{}{}}
	c.idle = sync.NewCond(&c.mu)
	c.serving.Go(c.accept)
	return c, nil
}

// Address is where it listens.
func (c *Capture) Address() string { return c.listener.Addr().String() }

// Close ends it with every connection.
func (c *Capture) Close() error {
	err := c.listener.Close()
	c.mu.Lock()
	for k := range c.conns {
		_ = k.conn.Close() // its reader notices
	}
	c.mu.Unlock()
	c.serving.Wait()
	return err
}

func (c *Capture) accept() {
	slots := make(chan struct{}, maxConnections)
	for {
		slots <- struct{}{}
		conn, err := c.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			<-slots
			time.Sleep(10 * time.Millisecond) // out of descriptors, most likely
			continue
		}
		k := &caught{conn: conn}
		c.mu.Lock()
		c.conns[k] = struct{}{}
		c.mu.Unlock()
		c.serving.Go(func() {
			c.serve(k)
			<-slots
		})
	}
}

// serve reads one connection to its end.
func (c *Capture) serve(k *caught) {
	buf := make([]byte, 32<<10)
	for {
		_ = k.conn.SetReadDeadline(time.Now().Add(captureIdle)) // fails on a closed connection, and so does Read
		n, err := k.conn.Read(buf)
		answers, last := c.note(k, buf[:n])
		if len(answers) > 0 {
			if _, werr := k.conn.Write(answers); werr != nil {
				err = werr
			}
		}
		if last && err == nil {
			// What follows is written down, not answered.
			if w, ok := k.conn.(interface{ CloseWrite() error }); ok {
				err = w.CloseWrite()
			}
		}
		if err != nil {
			c.leave(k)
			return
		}
	}
}

// note writes down what came, before it is answered, and returns the answers
// that it calls for. last tells that the sending direction is to end.
func (c *Capture) note(k *caught, p []byte) (answers []byte, last bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k.now.Total += len(p)
	k.now.Bytes = append(k.now.Bytes, p[:min(len(p), maxCaptured-len(k.now.Bytes))]...)
	if k.odd {
		return nil, false
	}
	k.pending = append(k.pending, p...)
	for len(k.pending) > 0 && !last {
		m, size, err := readMessage(k.pending)
		if errors.Is(err, errIncomplete) {
			break
		}
		if err != nil {
			k.now.Odd, last = err.Error(), true
			answers = append(answers, canned(m.Method, true)...)
			break
		}
		k.now.Messages = append(k.now.Messages, m)
		k.pending, last = k.pending[size:], m.Close
		answers = append(answers, canned(m.Method, m.Close)...)
	}
	if last {
		if len(k.pending) > 0 && k.now.Odd == "" {
			k.now.Odd = "bytes behind the last request"
		}
		k.odd, k.pending = true, nil
	}
	c.mark(k, len(k.pending) > 0)
	return answers, last
}

// leave ends a connection. A request whose head was whole is one that was cut;
// anything less is odd.
func (c *Capture) leave(k *caught) {
	_ = k.conn.Close() // nothing is to be told any more
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(k.pending) > 0 {
		switch m, _, err := readMessage(k.pending); {
		case errors.Is(err, errIncomplete) && m.Method != "":
			m.Cut = true
			k.now.Messages = append(k.now.Messages, m)
		default:
			k.now.Odd = "a head that does not end"
		}
	}
	if k.now.any() {
		c.ended = append(c.ended, k.now)
	}
	delete(c.conns, k)
	c.mark(k, false)
}

// mark notes whether a request is under way on the connection.
func (c *Capture) mark(k *caught, busy bool) {
	if k.busy == busy {
		return
	}
	if k.busy = busy; busy {
		c.busy++
	} else {
		c.busy--
	}
	if c.busy == 0 {
		c.idle.Broadcast()
	}
}

// Take returns what arrived since the last Take, once no request is under way,
// or when ctx ends.
func (c *Capture) Take(ctx context.Context) []Stream {
	stop := context.AfterFunc(ctx, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.idle.Broadcast()
	})
	defer stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.busy > 0 && ctx.Err() == nil {
		c.idle.Wait()
	}
	streams := c.ended
	c.ended = nil
	for k := range c.conns {
		if k.busy {
			k.now.Odd = "a request that is still under way"
		}
		if k.now.any() {
			streams = append(streams, k.now)
			k.now = Stream{}
		}
	}
	return streams
}

func (s *Stream) any() bool { return s.Total > 0 || s.Odd != "" || len(s.Messages) > 0 }

// canned is the answer to every request.
func canned(method string, last bool) []byte {
	b := bytes.NewBufferString("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n")
	if last {
		b.WriteString("Connection: close\r\n")
	}
	b.WriteString("\r\n")
	if method != "HEAD" {
		b.WriteString("ok")
	}
	return b.Bytes()
}

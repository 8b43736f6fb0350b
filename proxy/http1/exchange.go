package http1

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/textproto"
	"sync"
	"time"
)

// lastWord is how long an answer is waited for when the rest of the request
// cannot be sent: a backend that refuses a body may have said so.
const lastWord = 500 * time.Millisecond

// sendGrace is how much longer than its answer a request may take to be sent.
// Most are sent by then, and the sender has yet to say so.
const sendGrace = 50 * time.Millisecond

var (
	errNoAnswer = errors.New("the backend closed the connection without an answer")
	errSwitched = errors.New("the backend changed the protocol, and nobody had asked for it")
)

// An exchange is one request and its answer on one connection. The request is
// sent and the answer read at the same time; whoever ends last gives the
// connection back, or closes it.
type exchange struct {
	c       *conn
	request outgoing
	watcher Watcher
	detach  func() bool // of the request's context
	head    head        // the last that was read
	content body        // the body behind it

	mu      sync.Mutex
	sent    bool        // the request is sent, or will not be
	sendErr error       // why it was not
	heard   bool        // the head of the answer has come
	read    bool        // the answer was read to its end
	broken  bool        // the connection is closed, or will be
	why     error       // it was aborted; nil: it was not
	late    *time.Timer // of sendGrace
}

// run sends the request and reads the head of the answer.
func (x *exchange) run() (*http.Response, error) {
	ctx := x.request.Context()
	x.detach = context.AfterFunc(ctx, x.abort)
	if !x.request.hasBody() || x.request.short() {
		x.send()
	} else {
		go x.send()
	}
	resp, err := x.answer()
	if err == nil {
		return resp, nil
	}
	x.end(false)
	x.c.release()
	x.mu.Lock()
	defer x.mu.Unlock()
	if body, ok := errors.AsType[bodyError](x.sendErr); ok {
		err = body.error
	} else if x.sendErr != nil {
		err = x.sendErr
	}
	return nil, cause(ctx, err)
}

// cause is why reading the body has failed.
func (x *exchange) cause(err error) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.why != nil {
		return x.why
	}
	return cause(x.request.Context(), err)
}

// abort ends the connection; whoever reads or writes on it learns of it.
func (x *exchange) abort() { _ = x.c.raw().Close() }

// send writes the request. It does not wait for the answer.
func (x *exchange) send() {
	s := sender{w: x.c, request: x.request}
	err := s.send()
	x.request.closeBody()
	x.mu.Lock()
	defer x.mu.Unlock()
	x.sent, x.sendErr = true, err
	if x.late != nil {
		x.late.Stop()
	}
	switch {
	case err == nil && x.read && !x.broken:
		x.c.t.put(x.c)
	case err == nil && !x.heard && x.c.t.cfg.HeaderTimeout > 0:
		_ = x.c.SetReadDeadline(time.Now().Add(x.c.t.cfg.HeaderTimeout)) // it fails where the read does
	case err == nil:
	case x.read:
		x.breakOff()
	default:
		if _, ours := errors.AsType[bodyError](err); ours { // the request cannot become whole any more
			x.breakOff()
		} else if x.broken = true; !x.heard {
			_ = x.c.SetReadDeadline(time.Now().Add(lastWord))
		}
	}
}

// breakOff ends the connection. The exchange is locked.
func (x *exchange) breakOff() {
	x.broken = true
	x.abort()
}

// tooLate ends the sending of a request that was answered.
func (x *exchange) tooLate() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.sent {
		x.breakOff()
	}
}

// end is called when nothing more is read. whole: the answer has come to its
// end, and the connection may be used again.
func (x *exchange) end(whole bool) {
	if !x.detach() {
		whole = false // the context has ended the connection
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.read = true
	switch {
	case !whole || x.broken || x.sendErr != nil:
		x.breakOff()
	case x.sent:
		x.c.t.put(x.c)
	default:
		x.late = time.AfterFunc(sendGrace, x.tooLate)
	}
}

// answer reads heads until one is not interim.
func (x *exchange) answer() (*http.Response, error) {
	for {
		if err := x.readHead(); err != nil {
			return nil, err
		}
		h := &x.head
		chunked, err := h.frame(x.request.Method)
		if err != nil {
			return nil, err
		}
		h.Request = x.request.Request
		switch {
		case h.StatusCode == http.StatusSwitchingProtocols:
			return x.switched(h)
		case h.StatusCode < 200:
			if err := x.watcher.Interim(h.StatusCode, textproto.MIMEHeader(h.Header)); err != nil {
				return nil, err
			}
			continue
		}
		x.hear()
		x.body(chunked)
		return &h.Response, nil
	}
}

// hear takes away the time limit of the head.
func (x *exchange) hear() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.heard = true
	_ = x.c.SetReadDeadline(time.Time{}) // the next Read fails if this did
}

// readHead reads one head. What came behind it stays in the buffer.
func (x *exchange) readHead() (err error) {
	c := x.c
	if c.pooled == nil {
		c.pooled = headBuffers.Get().(*[headBuffer]byte)
		c.buf = c.pooled[:0]
	} else if len(c.buf) == 0 {
		c.buf = c.pooled[:0]
	}
	for scanned := 0; ; {
		if end := endOfHead(c.buf, &scanned); end > 0 && end <= c.t.cfg.MaxHead {
			text := string(c.buf[:end])
			c.buf = c.buf[end:]
			x.head, err = parseHead(text)
			return err
		}
		if len(c.buf) >= c.t.cfg.MaxHead {
			return errEndless
		}
		if len(c.buf) == cap(c.buf) {
			c.buf = append(make([]byte, 0, min(2*cap(c.buf), c.t.cfg.MaxHead)+headBuffer), c.buf...)
		}
		n, err := c.Read(c.buf[len(c.buf):cap(c.buf)])
		if n > 0 {
			x.watcher.FirstByte()
		}
		c.buf = c.buf[:len(c.buf)+n]
		if err == nil || n > 0 {
			continue
		}
		if err == io.EOF {
			err = errNoAnswer
			if len(c.buf) > 0 {
				err = io.ErrUnexpectedEOF
			}
		}
		return err
	}
}

// endOfHead returns where the empty line ends; 0: it has not come yet. scanned
// is up to where was looked.
func endOfHead(b []byte, scanned *int) int {
	for {
		i := bytes.IndexByte(b[*scanned:], '\n')
		if i < 0 {
			*scanned = len(b)
			return 0
		}
		at := *scanned + i
		line := b[:at]
		if n := len(line); n > 0 && line[n-1] == '\r' {
			line = line[:n-1]
		}
		if *scanned = at + 1; at > 0 && (len(line) == 0 || line[len(line)-1] == '\n') {
			return at + 1
		}
	}
}

// body makes the reader of the body.
func (x *exchange) body(chunked bool) {
	h, b := &x.head, &x.content
	*b = body{x: x, odd: h.odd || !h.stay, left: h.ContentLength}
	switch {
	case x.request.Method == http.MethodHead, h.ContentLength == 0:
		b.finish()
		h.Body = http.NoBody
		return
	case chunked:
		b.chunks = &chunkReader{trailer: h.addTrailer}
	case h.ContentLength < 0:
		b.close = true
	}
	h.Body = b
}

// addTrailer adds what came behind the body. Framing has no place there (RFC
// 9110 section 6.5.1).
func (h *head) addTrailer(fields http.Header) {
	for name, values := range fields {
		if isFraming(name) {
			continue
		}
		if h.Trailer == nil {
			h.Trailer = http.Header{}
		}
		h.Trailer[name] = values
	}
}

// switched hands the connection over to whoever asked for another protocol
// (RFC 9110 section 7.8).
func (x *exchange) switched(h *head) (*http.Response, error) {
	if !x.request.upgrades() {
		return nil, errSwitched
	}
	if x.hear(); !x.detach() {
		return nil, cause(x.request.Context(), errNoAnswer)
	}
	h.Body = &upgraded{conn: x.c}
	return &h.Response, nil
}

// An upgraded is a connection that no longer speaks HTTP.
type upgraded struct{ *conn }

// Read implements io.Reader: first comes what was read with the head.
func (u *upgraded) Read(p []byte) (int, error) { return u.rawRead(p) }

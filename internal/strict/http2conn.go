package strict

import (
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/net/http2/hpack"

	"sallyport/internal/gate"
)

// An HTTP2Conn stands between the socket and net/http's HTTP/2 server. It ends
// the compression of header fields (RFC 7541) here: each field list is decoded,
// judged as it was sent, and kept, and net/http is told the method and the
// number of the stream and nothing else. So nothing that a client wrote in a
// field is read by anybody before it was judged. Head and the body that it puts
// in place pair each request of net/http with what was judged.
//
// A field list that is refused becomes a synthetic request that carries the
// refusal. Frames are handed on as they came; what is malformed about them
// net/http answers, and answers well. What costs the sender nothing (resets,
// control frames, empty frames) is counted, and a connection that sends more of
// it than requests need is cut.
//
// The server must be set up for it: HTTP/2 only, frames of at most 16 KiB
// (MaxReadFrameSize), no read timeout of its own.
//
// One goroutine may read and one may write at a time, as net/http does; all
// other methods may be called at any time.
type HTTP2Conn struct {
	nc    net.Conn
	lim   Limits
	hooks Hooks

	// Of the goroutine that reads.
	raw   buffer
	out   []byte // bytes that are still to be handed on
	store []byte // what out is cut from
	pass  int    // bytes of the frame in hand that are handed on unseen
	begun time.Time
	took  time.Duration // spent on the field list that is being read
	block fieldBlock
	spans []span   // scratch of judging
	held  *opening // a request of which it is not known yet whether it has a body
	err   error    // what every further Read returns

	deadlines struct { // of reading
		mu        sync.Mutex
		user, own time.Time
	}

	mu      sync.Mutex // guards what follows
	streams map[uint32]*http2Stream
	late    lateStreams
	highest uint32 // number of the newest stream
	resets  allowance
	idle    allowance // frames that ask for nothing
	cut     bool      // by us: the client is told before the connection closes
	told    bool      // the owner knows why the connection ends
	last    uint32    // net/http serves no stream beyond it

	write frameWriter
}

// An http2Stream is one request from its field list to the end of both sides.
type http2Stream struct {
	head     *gate.Head // nil once the handler has taken it
	method   string     // that net/http was told
	declared int64      // content-length; -1: not declared
	received int64      // bytes of content
	ended    bool       // the client's side, by END_STREAM
	bodiless bool       // ended with the field list
	answered bool       // our side ended
	broken   *gate.VerdictError
}

// NewHTTP2Conn guards c from now on. The client's preface (RFC 9113 section
// 3.4) is still to be read from it.
func NewHTTP2Conn(c net.Conn, lim Limits, hooks Hooks) *HTTP2Conn {
	g := &HTTP2Conn{nc: c, lim: lim.orDefault(), hooks: hooks, pass: prefaceLength, streams: map[uint32]*http2Stream{}, last: math.MaxInt32}
	g.block.decoder = hpack.NewDecoder(tableSize, g.block.add)
	// Longer strings than the whole list may be are cut off by the length of
	// the block; the decoder's own limit would lose its state.
	g.block.decoder.SetMaxStringLength(4 * g.lim.MaxHeader)
	g.block.maxBytes, g.block.maxFields = g.lim.MaxHeader, g.lim.MaxFields+pseudoFields
	now := time.Now()
	g.resets, g.idle = newAllowance(now, resetsAtOnce, resetsPerSecond), newAllowance(now, idleAtOnce, idlePerSecond)
	return g
}

const (
	prefaceLength = len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	tableSize     = 4096 // of HPACK, which net/http announces too (RFC 9113 section 6.5.2)
	pseudoFields  = 4
)

// NetConn is the connection underneath.
func (c *HTTP2Conn) NetConn() net.Conn { return c.nc }

// LocalAddr is that of the connection underneath.
func (c *HTTP2Conn) LocalAddr() net.Addr { return c.nc.LocalAddr() }

// RemoteAddr is that of the connection underneath.
func (c *HTTP2Conn) RemoteAddr() net.Addr { return c.nc.RemoteAddr() }

// Head takes the head that belongs to r and puts a body in place of r's that
// ends only where the client's does. A request that the client has already
// taken back has a head that is refused as pool.client_gone; one that was never
// handed on is refused as gateway.unpaired.
func (c *HTTP2Conn) Head(r *http.Request) *gate.Head {
	c.mu.Lock()
	defer c.mu.Unlock()
	id, ok := ticketNumber(r.RequestURI)
	st := c.streams[id]
	if ok && st != nil && st.head != nil && st.method == r.Method {
		h := st.head
		st.head = nil
		if st.bodiless {
			r.Body = http.NoBody
		} else {
			r.Body = &http2Body{conn: c, stream: st, src: r.Body, left: st.declared}
		}
		return h
	}
	h := &gate.Head{Method: r.Method, Proto: "HTTP/2.0"}
	if ok && st == nil && id%2 == 1 && id <= c.highest {
		h.Rejection = &gate.Rejection{Reason: gate.PoolClientGone, Offset: -1, Detail: "the stream was reset before it was served"}
		return h
	}
	h.Rejection = &gate.Rejection{Reason: gate.GatewayUnpaired, Offset: -1, Detail: "the request is not one whose field list was judged"}
	return h
}

// Read hands on frames, one after the other.
func (c *HTTP2Conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		if len(c.out) > 0 {
			n := copy(p, c.out)
			c.out = c.out[n:]
			return n, nil
		}
		if c.pass > 0 {
			n, err := c.passOn(p)
			return n, c.ending(err)
		}
		if c.err != nil {
			c.raw.release()
			return 0, c.err
		}
		c.err = c.ending(c.next())
	}
}

// ending is the error that net/http is told: nothing worth a line in a log
// when we have cut the connection ourselves.
func (c *HTTP2Conn) ending(err error) error {
	if err == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cut {
		return io.EOF
	}
	return err
}

// passOn hands on what is not looked at, directly from the socket if it can.
func (c *HTTP2Conn) passOn(p []byte) (int, error) {
	p = p[:min(len(p), c.pass)]
	if c.raw.len() == 0 {
		c.deadline(time.Time{}) // how slow content may be is the handler's to say
	}
	if c.raw.len() > 0 || len(p) < smallBuffer {
		for c.raw.len() == 0 {
			if err := c.more(); err != nil {
				return 0, err
			}
		}
		p = p[:copy(p, c.raw.bytes())]
		c.raw.drop(len(p))
		c.pass -= len(p)
		return len(p), nil
	}
	n, err := c.nc.Read(p)
	c.pass -= n
	return n, err
}

// more reads from the socket into raw.
func (c *HTTP2Conn) more() error {
	c.raw.shrink()
	n, err := c.nc.Read(c.raw.room())
	c.raw.w += n
	if n > 0 {
		return nil
	}
	return err
}

// errHeld ends the wait for the frame that tells whether a request has a body.
var errHeld = errors.New("the request goes on without knowing whether it has a body")

// need waits until n bytes are in raw. A frame or field block that has begun
// has to end in time; between two of them the waiting is net/http's.
func (c *HTTP2Conn) need(n int) ([]byte, error) {
	for c.raw.len() < n {
		switch {
		case c.held != nil && c.raw.len() == 0:
			c.deadline(c.held.since.Add(holdTime))
		case c.raw.len() > 0 || c.block.open:
			if c.begun.IsZero() {
				c.begun = time.Now()
			}
			c.deadline(c.begun.Add(c.lim.HeaderTimeout))
		default:
			c.begun = time.Time{}
			c.deadline(time.Time{})
		}
		err := c.more()
		switch {
		case err == nil:
		case !isTimeout(err) || !c.overdue():
			return nil, err
		case c.held != nil && c.raw.len() == 0:
			return nil, errHeld
		default:
			return nil, c.cutOff(gate.HTTPHeadTimeout, "a frame or field block did not arrive in time")
		}
	}
	return c.raw.bytes(), nil
}

// next looks at the next frame and says what of it is handed on.
func (c *HTTP2Conn) next() error {
	b, err := c.need(frameHeaderLength)
	if errors.Is(err, errHeld) {
		return c.release()
	}
	if err != nil {
		return err
	}
	f := parseFrameHeader(b)
	switch {
	case f.length > maxFrame: // refused for its header alone
		c.pass = frameHeaderLength + f.length
		return nil
	case f.kind == frameData && !c.block.open:
		return c.data(f)
	}
	if b, err = c.need(frameHeaderLength + f.length); err != nil {
		return err
	}
	payload := b[frameHeaderLength : frameHeaderLength+f.length]
	if !c.block.open {
		c.begun = time.Time{}
	}
	switch {
	case c.block.open && (f.kind != frameContinuation || f.stream != c.block.stream):
		return c.interrupted(f)
	case f.kind == frameHeaders:
		return c.headers(f, payload)
	case f.kind == frameContinuation:
		return c.continuation(f, payload)
	}
	if c.held != nil && c.held.stream == f.stream {
		if err := c.release(); err != nil {
			return err
		}
	}
	if err := c.control(f); err != nil {
		return err
	}
	c.passFrame(f)
	return nil
}

// passFrame hands on the frame in raw as it is, behind what is in out.
func (c *HTTP2Conn) passFrame(f frameHeader) { c.pass = frameHeaderLength + f.length }

// data counts the content of a DATA frame (RFC 9113 section 6.1).
func (c *HTTP2Conn) data(f frameHeader) error {
	size := f.length
	if f.has(flagPadded) {
		if f.length == 0 {
			return c.misfit()
		}
		b, err := c.need(frameHeaderLength + 1)
		if err != nil {
			return err
		}
		if size -= 1 + int(b[frameHeaderLength]); size < 0 { // net/http ends the connection
			c.passFrame(f)
			return nil
		}
	}
	c.begun = time.Time{}
	if c.held != nil && c.held.stream == f.stream {
		if size == 0 && f.has(flagEndStream) {
			c.held.ended = true // as if it had stood on the field list
		}
		if err := c.release(); err != nil {
			return err
		}
	}
	c.mu.Lock()
	if st := c.streams[f.stream]; st != nil && !st.ended {
		st.received += int64(size)
		if st.declared >= 0 && st.received > st.declared {
			st.fail(gate.HTTPLengthInvalid, "more content than content-length says")
		}
		if f.has(flagEndStream) {
			c.endOf(f.stream, st)
		}
	}
	c.mu.Unlock()
	c.passFrame(f)
	if size > 0 {
		c.earn(1)
		return nil
	}
	if f.has(flagEndStream) {
		return nil
	}
	return c.spend(1, "empty DATA frames")
}

// endOf ends the client's side of a stream.
func (c *HTTP2Conn) endOf(id uint32, st *http2Stream) {
	st.ended = true
	if st.declared >= 0 && st.received < st.declared {
		st.fail(gate.HTTPLengthInvalid, "less content than content-length says")
	}
	if st.answered {
		delete(c.streams, id)
	}
}

// fail notes why the body of a stream is refused. The first reason stays.
func (st *http2Stream) fail(r gate.Reason, detail string) {
	if st.broken == nil {
		st.broken = &gate.VerdictError{Verdict: gate.Refusal(r, gate.Enforce, detail)}
	}
}

// control counts the frames that cost the sender nothing.
func (c *HTTP2Conn) control(f frameHeader) error {
	switch f.kind {
	case frameReset:
		return c.clientReset(f.stream)
	case frameWindowUpdate:
		return c.spend(1, "WINDOW_UPDATE frames")
	case framePing:
		return c.spend(1, "PING frames")
	case frameSettings:
		return c.spend(1, "SETTINGS frames")
	case framePriority:
		return c.spend(1, "PRIORITY frames")
	case framePush, frameGoAway: // the first ends the connection, the second all new streams
		return c.spend(1, "GOAWAY frames")
	}
	return c.spend(1, "frames of unknown types")
}

// clientReset ends a stream that the client no longer wants.
func (c *HTTP2Conn) clientReset(id uint32) error {
	c.mu.Lock()
	st := c.streams[id]
	delete(c.streams, id)
	over := false
	if st != nil && !st.answered {
		over = !c.resets.spend(time.Now(), 1)
	}
	c.mu.Unlock()
	if over {
		return c.cutOff(gate.HTTPH2Flood, "requests that the client took back")
	}
	if st == nil {
		return c.spend(1, "RST_STREAM frames")
	}
	return nil
}

// spend takes from what the connection may waste.
func (c *HTTP2Conn) spend(n float64, what string) error {
	c.mu.Lock()
	over := !c.idle.spend(time.Now(), n)
	c.mu.Unlock()
	if over {
		return c.cutOff(gate.HTTPH2Flood, what)
	}
	return nil
}

func (c *HTTP2Conn) earn(n float64) {
	c.mu.Lock()
	c.idle.earn(n)
	c.mu.Unlock()
}

// cutOff ends the connection and tells the owner why. What was judged before
// is still handed on.
func (c *HTTP2Conn) cutOff(r gate.Reason, detail string) error {
	c.mu.Lock()
	c.cut = true
	c.mu.Unlock()
	c.tell(r, detail)
	return io.EOF
}

// tell makes one record of the connection's end, and no second one.
func (c *HTTP2Conn) tell(r gate.Reason, detail string) {
	c.mu.Lock()
	told := c.told
	c.told = true
	c.mu.Unlock()
	if f := c.hooks.Cut; f != nil && !told {
		f(r, errors.New(detail))
	}
}

// SetReadDeadline ends reads at t, also one that is in progress.
func (c *HTTP2Conn) SetReadDeadline(t time.Time) error {
	d := &c.deadlines
	d.mu.Lock()
	defer d.mu.Unlock()
	d.user = t
	return c.nc.SetReadDeadline(earlier(d.user, d.own))
}

// deadline is when the read that comes has to end, as the limits say. It is
// left alone while it stays the same: setting it costs more than most frames.
func (c *HTTP2Conn) deadline(t time.Time) {
	d := &c.deadlines
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.own.Equal(t) {
		d.own = t
		_ = c.nc.SetReadDeadline(earlier(d.user, d.own)) // fails only when the socket is closed, as the read will say
	}
}

// overdue reports whether it was our own deadline that passed.
func (c *HTTP2Conn) overdue() bool {
	d := &c.deadlines
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.own.IsZero() && !time.Now().Before(d.own)
}

// SetDeadline sets both deadlines.
func (c *HTTP2Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetWriteDeadline ends writes at t, also one that is in progress.
func (c *HTTP2Conn) SetWriteDeadline(t time.Time) error { return c.nc.SetWriteDeadline(t) }

// CloseWrite ends the sending direction, where the connection has such a thing.
func (c *HTTP2Conn) CloseWrite() error { return closeWrite(c.nc) }

package strict

import (
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"sallyport/internal/gate"
)

// Hooks tell the owner of a connection what no request can carry.
type Hooks struct {
	// NoHead is called at most once, when the connection ends without having
	// had a readable head, or in the middle of one: r is gate.HTTPNoHead and
	// err is what ended it, net.ErrClosed when the gateway itself did. May be
	// nil.
	NoHead func(r gate.Reason, err error)
	// Cut is called at most once, when an HTTP/2 connection is ended for what
	// no single request can be blamed for: broken frames, floods, a field block
	// that does not come to its end. May be nil.
	Cut func(r gate.Reason, err error)
}

// What a connection keeps at most.
const (
	maxAside = 4 << 10 // bytes that came behind a WebSocket handshake
	maxQueue = 16      // heads that no request has taken yet
)

// A mode is what the next bytes of a connection are.
type mode uint8

const (
	readingHead   mode = iota
	readingLength      // a body with a Content-Length
	readingChunks      // a chunked body
	upgrading          // bytes behind a WebSocket handshake that is not answered yet
	tunnelling         // no longer HTTP
	discarding         // a head was refused: nothing more is read as HTTP
)

// A Conn stands between the socket and net/http's HTTP/1 server. It reads
// strictly and hands on canonical bytes only; a head that it refuses becomes
// one synthetic request, which carries the refusal and after which nothing
// more of the connection is read as HTTP. Head pairs each request of net/http
// with what was judged.
//
// The server must be set up for it: no read, write, header or idle timeouts of
// its own, DisableGeneralOptionsHandler, HTTP/1 only, and a MaxHeaderBytes that
// is not below Limits.MaxHeader.
//
// A framing error inside a body comes out of Body.Read as a
// *gate.VerdictError. Because net/http cancels the request's context at the
// same moment, whoever waits for the context should ask BodyError first.
//
// One goroutine may read and one may write at a time, as net/http does; all
// other methods may be called at any time.
type Conn struct {
	nc    net.Conn
	lim   Limits
	hooks Hooks

	mu   sync.Mutex // guards what follows; not held while the socket is read
	wake sync.Cond  // on mu: a deadline, the mode or the end has changed

	mode     mode
	raw      buffer
	empty    *readable // waits until there is something to read; nil: reading waits
	got      int       // how much was read into raw the last time
	full     *writable // nil: not asked so far
	socket   bool      // nc is one, and no TLS over one
	out      []byte    // canonical bytes that are still to be handed on
	store    []byte    // what out is cut from
	scanner  scanner
	decoder  decoder
	left     int64 // bytes that are still to come of a body with a length
	declared int64 // how many that were
	queue    []pending

	took    time.Duration // spent on the head that is being read
	opened  time.Time
	begun   time.Time // when the first byte of the head came; zero: none yet
	idle    time.Time // since when net/http waits for a request; zero: it does not
	heads   uint32    // handed on so far
	refused bool      // a head or body was: close with care
	plain   bool      // tunnelling, and the handler has the connection

	answered bool // upgrading: the answer has begun
	early    bool // upgrading: bytes had come by then
	inRead   bool
	closed   bool

	quiet time.Time // when the client ended its side between two heads; zero: it has not
	err   error     // what every further Read returns
	late  error     // what the socket returned together with bytes
	body  *gate.VerdictError
	read  deadline
	write writer
}

// A pending is a head that was handed on, with what net/http will make of it.
type pending struct {
	head   *gate.Head
	method string
	number uint32
}

// NewConn guards c from now on: the time for the first head begins to run.
func NewConn(c net.Conn, lim Limits, hooks Hooks) *Conn {
	lim = lim.orDefault()
	g := &Conn{nc: c, lim: lim, hooks: hooks, opened: time.Now(), empty: newReadable(c)}
	_, g.socket = c.(syscall.Conn)
	g.wake.L = &g.mu
	g.scanner.lim = lim
	g.write.pace = lim.Pace()
	return g
}

// NetConn is the connection underneath.
func (c *Conn) NetConn() net.Conn { return c.nc }

// LocalAddr is that of the connection underneath.
func (c *Conn) LocalAddr() net.Addr { return c.nc.LocalAddr() }

// RemoteAddr is that of the connection underneath.
func (c *Conn) RemoteAddr() net.Addr { return c.nc.RemoteAddr() }

// Head takes the head that belongs to r, which must be the next request on
// the connection. When the two do not agree, the answer is a head that is
// refused as gateway.unpaired, and so are all later ones: a request is never
// judged by another one's head.
func (c *Conn) Head(r *http.Request) *gate.Head {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.queue) > 0 {
		p := c.queue[0]
		if n, ok := ticketNumber(r.RequestURI); ok && n == p.number && r.Method == p.method {
			n := copy(c.queue, c.queue[1:])
			c.queue[n] = pending{}
			c.queue = c.queue[:n]
			return p.head
		}
	}
	c.queue = nil
	c.discard()
	return &gate.Head{
		Method: r.Method, Proto: r.Proto,
		Rejection: &gate.Rejection{Reason: gate.GatewayUnpaired, Offset: -1, Detail: "the request is not the one whose head was judged"},
	}
}

// BodyError is why the body that is being read was refused, or nil. It is set
// before net/http learns of it, and stays: the connection is over.
func (c *Conn) BodyError() *gate.VerdictError {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.body
}

// Read hands on canonical bytes, never those of more than one request at once.
func (c *Conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inRead, c.read.kicked = true, false
	n, err := c.next(p)
	c.inRead = false
	if c.closed {
		c.release()
	}
	return n, err
}

// next is Read with the lock held.
//
// net/http reads a single byte in the background while a request is served, to
// notice that the client goes away; all its other reads have more room. This
// is how a wait between two requests is told from one during a request.
func (c *Conn) next(p []byte) (int, error) {
	background := len(p) == 1
	for {
		if len(c.out) > 0 {
			n := copy(p, c.out)
			if c.out = c.out[n:]; len(c.out) == 0 && cap(c.store) > smallBuffer {
				c.store, c.out = nil, nil
			}
			return n, nil
		}
		if c.err != nil {
			if background && !c.quiet.IsZero() {
				if err := c.stay(); err != nil {
					return 0, err
				}
			}
			return 0, c.err
		}
		var n int
		var err error
		switch c.mode {
		case readingHead:
			err = c.readHead(background)
		case readingLength:
			n, err = c.readLength(p)
		case readingChunks:
			n, err = c.readChunks(p)
		case upgrading:
			err = c.readAside(background)
		case tunnelling:
			n, err = c.readTunnel(p, background)
		case discarding:
			err = c.readNothing(background)
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

// expectHead makes ready for the next head.
func (c *Conn) expectHead() {
	c.mode = readingHead
	c.scanner.reset()
	c.begun, c.idle, c.took = time.Time{}, time.Time{}, 0
}

// readHead waits for a head and hands it on. It returns nil as soon as
// something has changed.
func (c *Conn) readHead(background bool) error {
	if c.raw.len() > 0 {
		now := time.Now()
		if c.begun.IsZero() && c.partial() {
			c.begun = now
		}
		done := c.scanner.scan(c.raw.bytes())
		if done {
			h := c.scanner.head(c.raw.bytes())
			h.Took = c.took + time.Since(now)
			c.handOn(h)
			return nil
		}
		c.took += time.Since(now)
	}
	switch {
	case c.heads == 0:
		c.read.own = c.opened.Add(c.lim.HeaderTimeout)
	case c.partial():
		c.read.own = c.begun.Add(c.lim.HeaderTimeout)
	case background:
		c.read.own = time.Time{}
	default:
		if c.idle.IsZero() {
			c.idle = time.Now()
		}
		c.read.own = c.idle.Add(c.lim.IdleTimeout)
	}
	c.raw.shrink()
	var err error
	if c.empty != nil { // who says little takes little meanwhile
		c.raw.tuck()
		_, err = c.pull(nil)
	}
	if err == nil {
		err = c.more()
	}
	switch {
	case err == nil:
	case errors.Is(err, errOwnDeadline):
		c.headTimeout()
		return nil
	case isTimeout(err):
		return err
	case c.heads == 0 || c.partial():
		if errors.Is(err, io.EOF) && c.partial() {
			err = io.ErrUnexpectedEOF
		}
		c.noHead(err)
		c.err = io.EOF
	default:
		if errors.Is(err, io.EOF) {
			c.quiet = time.Now()
		}
		c.err = io.EOF
	}
	return nil
}

// partial reports whether a head has begun. An empty line alone is none.
func (c *Conn) partial() bool {
	b := c.raw.bytes()
	return len(b) > 2 || len(b) > 0 && b[0] != '\r'
}

// headTimeout ends the wait for a head. Who began one is told (408); who did
// not is left in peace.
func (c *Conn) headTimeout() {
	if !c.partial() {
		if c.heads == 0 {
			c.noHead(errOwnDeadline)
		}
		c.err = io.EOF
		return
	}
	at := c.raw.len()
	c.scanner.refuse(gate.HTTPHeadTimeout, at, "the head did not arrive in time")
	h := c.scanner.head(c.raw.bytes())
	h.Took = c.took
	c.handOn(h)
}

// noHead tells the owner, once, and without the lock.
func (c *Conn) noHead(err error) {
	if f := c.hooks.NoHead; f != nil {
		c.hooks.NoHead = nil
		c.mu.Unlock()
		defer c.mu.Lock()
		f(gate.HTTPNoHead, err)
	}
}

// handOn queues a head and makes its canonical bytes ready, those of a
// synthetic request when it was refused.
func (c *Conn) handOn(h *gate.Head) {
	c.read.own = time.Time{}
	c.heads++
	p := pending{head: h, method: h.Method, number: c.heads}
	if len(c.queue) == maxQueue {
		// Cannot happen while every request takes its head.
		c.err = io.EOF
		return
	}
	if h.Rejection != nil {
		p.method = refusalMethod(h)
		c.store = appendRefusal(c.store[:0], p.method, h.Proto, p.number)
		c.queue = append(c.queue, p)
		c.discard()
		c.out = c.store
		return
	}
	c.store = appendHead(c.store[:0], h, p.number, c.scanner.stays, c.scanner.expects)
	c.queue = append(c.queue, p)
	c.out = c.store
	c.raw.drop(c.scanner.pos)
	switch {
	case h.Upgrade:
		c.mode, c.answered, c.early = upgrading, false, false
	case h.Length > 0:
		c.mode, c.left, c.declared = readingLength, h.Length, h.Length
	case h.Length < 0:
		c.mode, c.decoder = readingChunks, decoder{lim: c.lim}
	default:
		c.expectHead()
	}
}

// more reads from the socket into raw, behind what is there.
func (c *Conn) more() error {
	n, err := c.pull(c.raw.room())
	c.raw.w += n
	c.got = n
	return err
}

// pull reads from the socket, without the lock while it waits. The mode may
// have changed when it returns. A deadline that was moved meanwhile is not an
// error. Without a place for the bytes it waits until there are some.
func (c *Conn) pull(b []byte) (int, error) {
	for {
		if err := c.late; err != nil {
			c.late = nil
			return 0, err
		}
		c.arm()
		c.mu.Unlock()
		var n int
		var err error
		if b == nil {
			err = c.empty.wait()
		} else {
			n, err = c.nc.Read(b)
		}
		c.mu.Lock()
		switch {
		case n > 0:
			c.late = err
			return n, nil
		case err == nil && b == nil:
			return 0, nil
		case err == nil:
		case !isTimeout(err):
			return 0, err
		default:
			c.read.stale = true
			if err := c.read.expired(err); err != nil {
				return 0, err
			}
		}
	}
}

package strict

import (
	"io"
	"slices"
	"time"

	"golang.org/x/net/http2/hpack"

	"sallyport/internal/gate"
)

// What a field block may cost beyond the fields in it.
const (
	maxFragments      = 256 // frames that a block may be cut into
	maxEmptyFragments = 8
	// holdTime is how long a request is kept that seems to have no body and has
	// not ended its side: the end may come in a frame of its own.
	holdTime = time.Second
)

// A fieldBlock is the field block in hand (RFC 9113 section 4.3). Its fields
// are decoded as they come, also those that will not be kept: the decoder must
// see every block whole, or it understands none after it.
type fieldBlock struct {
	decoder             *hpack.Decoder
	sizes               sizeWatch
	maxBytes, maxFields int
	open                bool
	stream              uint32
	flags               byte
	priority            [priorityLen]byte
	wire                int // bytes of the block so far
	fragments, empty    int
	sent                []gate.Field // as decoded, pseudo-fields included; scratch
	bytes               int          // of the fields so far
	tooLarge, tooMany   bool
}

// begin makes ready for the next block.
func (k *fieldBlock) begin(f frameHeader, priority []byte) {
	k.open, k.stream, k.flags = true, f.stream, f.flags
	copy(k.priority[:], priority)
	k.wire, k.fragments, k.empty, k.bytes = 0, 0, 0, 0
	k.tooLarge, k.tooMany, k.sizes = false, false, sizeWatch{}
	clear(k.sent)
	k.sent = k.sent[:0]
	k.decoder.SetEmitEnabled(true)
}

// add takes a field from the decoder.
func (k *fieldBlock) add(f hpack.HeaderField) {
	k.bytes += len(f.Name) + len(f.Value) + len(": \r\n")
	switch {
	case k.bytes > k.maxBytes:
		k.tooLarge = true
	case len(k.sent) == k.maxFields:
		k.tooMany = true
	default:
		k.sent = append(k.sent, gate.Field{Name: f.Name, Value: f.Value})
		return
	}
	k.decoder.SetEmitEnabled(false)
}

// headers begins a field block.
func (c *HTTP2Conn) headers(f frameHeader, payload []byte) error {
	block, priority, ok := fragment(f, payload)
	if !ok {
		return c.misfit()
	}
	c.took = 0
	c.block.begin(f, priority)
	return c.extend(f, block)
}

// continuation goes on with a field block.
func (c *HTTP2Conn) continuation(f frameHeader, payload []byte) error {
	if !c.block.open { // net/http ends the connection for it
		c.passFrame(f)
		return nil
	}
	return c.extend(f, payload)
}

// extend decodes a fragment, and hands on what the whole block amounts to when
// that was the last.
func (c *HTTP2Conn) extend(f frameHeader, part []byte) error {
	k := &c.block
	began := time.Now()
	k.wire += len(part)
	k.fragments++
	if len(part) == 0 {
		k.empty++
	}
	switch {
	case k.wire > 2*k.maxBytes+maxFrame:
		return c.cutOff(gate.HTTPHeadTooLarge, "a field block that is longer than any list within the limit")
	case k.fragments > maxFragments || k.empty > maxEmptyFragments:
		return c.cutOff(gate.HTTPH2Flood, "CONTINUATION frames")
	}
	_, err := k.decoder.Write(part)
	broken := err != nil || k.sizes.late(part)
	last := f.has(flagEndHeaders)
	if last && !broken {
		broken = k.decoder.Close() != nil
	}
	c.took += time.Since(began)
	c.raw.drop(frameHeaderLength + f.length)
	switch {
	case broken:
		return c.undecodable()
	case !last:
		return nil
	}
	k.open = false
	c.begun = time.Time{}
	return c.complete()
}

// undecodable makes net/http end the connection with COMPRESSION_ERROR
// (RFC 9113 section 4.3): it is given a block that nobody can decode either.
func (c *HTTP2Conn) undecodable() error {
	c.store = frameHeader{length: 1, kind: frameHeaders, flags: flagEndHeaders, stream: c.block.stream}.append(c.store[:0])
	c.out = append(c.store, 0x80) // index 0, RFC 7541 section 6.1
	c.discard()
	return io.EOF
}

// misfit makes net/http end the connection for a frame whose padding or
// priority does not fit into it (RFC 9113 sections 6.1 and 6.2). By itself it
// would end the stream only, though the field block is lost, or say nothing.
func (c *HTTP2Conn) misfit() error {
	c.store = frameHeader{kind: frameHeaders, flags: flagEndHeaders}.append(append(c.store[:0], c.out...)) // on stream 0
	c.out = c.store
	c.discard()
	return io.EOF
}

// interrupted hands on a frame that stands where only a CONTINUATION of the
// open block may (RFC 9113 section 6.10), for net/http to end the connection.
func (c *HTTP2Conn) interrupted(f frameHeader) error {
	c.store = frameHeader{kind: frameHeaders, stream: c.block.stream}.append(c.store[:0])
	c.out = append(c.store, c.raw.bytes()[:frameHeaderLength+f.length]...)
	c.discard()
	return io.EOF
}

// complete hands on what a whole field block amounts to.
func (c *HTTP2Conn) complete() error {
	k := &c.block
	if c.held != nil && c.held.stream == k.stream {
		if err := c.release(); err != nil {
			return err
		}
	}
	c.mu.Lock()
	st, newest, late := c.streams[k.stream], c.highest, c.late.has(k.stream)
	c.mu.Unlock()
	switch {
	case st != nil && !st.ended:
		return c.trailers(st)
	case late:
		return c.spend(1, "trailers of streams that were reset")
	case k.stream%2 == 0 || k.stream <= newest:
		// Not a request and not its end: net/http says what it is.
		c.store = appendOpening(append(c.store[:0], c.out...), k.stream, k.flags, k.priority[:], "GET", false)
		c.out = c.store
		return nil
	}
	o := &opening{stream: k.stream, flags: k.flags, ended: k.flags&flagEndStream != 0, sent: k.sent, took: c.took}
	copy(o.priority[:], k.priority[:])
	o.bytes, o.tooLarge, o.tooMany = k.bytes, k.tooLarge, k.tooMany
	if c.held != nil { // numbers only rise
		if err := c.release(); err != nil {
			return err
		}
	}
	if !o.ended && o.bodiless() {
		o.since, o.sent = time.Now(), slices.Clone(k.sent)
		c.held = o
		return nil
	}
	return c.begin(o)
}

// An opening is a field list that opens a stream.
type opening struct {
	stream            uint32
	flags             byte
	priority          [priorityLen]byte
	ended             bool // no content comes
	sent              []gate.Field
	bytes             int
	tooLarge, tooMany bool
	since             time.Time // when it came, for one that is held
	took              time.Duration

	// Found out by judging it.
	declared int64 // content-length; -1: none
	expects  bool  // the client waits for 100 (Continue)
}

// bodiless reports whether a request is not expected to have content, by its
// method or by its own word.
func (o *opening) bodiless() bool {
	for i := range o.sent {
		switch f := &o.sent[i]; f.Name {
		case ":method":
			if f.Value == "GET" || f.Value == "HEAD" {
				return true
			}
		case "content-length":
			return f.Value == "0"
		}
	}
	return false
}

// release goes on with the request that is held.
func (c *HTTP2Conn) release() error {
	o := c.held
	c.held = nil
	return c.begin(o)
}

// begin judges a request and hands it on, or what stands for it.
func (c *HTTP2Conn) begin(o *opening) error {
	began := time.Now()
	h := judgeHTTP2(o, c.lim, &c.spans)
	h.Took = o.took + time.Since(began)
	st := &http2Stream{head: h, method: h.Method, declared: o.declared, ended: o.flags&flagEndStream != 0, bodiless: o.ended}
	if h.Rejection != nil {
		st.method, st.declared, o.expects = refusalMethod(h), -1, false
	}
	c.mu.Lock()
	c.highest = o.stream
	if o.stream <= c.last {
		c.streams[o.stream] = st
	}
	over := len(c.streams) > 2*c.lim.MaxStreams+maxLate
	c.mu.Unlock()
	if over {
		return c.cutOff(gate.HTTPH2Flood, "streams beyond the limit")
	}
	c.store = appendOpening(append(c.store[:0], c.out...), o.stream, o.flags, o.priority[:], st.method, o.expects)
	c.out = c.store
	c.earn(2)
	return nil
}

// trailers judges a trailer section (RFC 9113 section 8.1) and hands on the end
// of the content in its place: trailers are dropped.
func (c *HTTP2Conn) trailers(st *http2Stream) error {
	k := &c.block
	r, detail := judgeTrailers(k, c.lim)
	c.mu.Lock()
	if r != "" {
		st.fail(r, detail)
	}
	c.endOf(k.stream, st)
	c.mu.Unlock()
	c.store = frameHeader{kind: frameData, flags: flagEndStream, stream: k.stream}.append(append(c.store[:0], c.out...))
	c.out = c.store
	return nil
}

// discard ends all reading: what is in out is handed on, and nothing after it.
func (c *HTTP2Conn) discard() { c.raw.drop(c.raw.len()) }

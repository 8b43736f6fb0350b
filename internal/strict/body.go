package strict

import (
	"errors"
	"io"
	"strconv"

	"sallyport/internal/gate"
)

// framingRoom is what a chunk costs around its data, the last chunk included.
const framingRoom = len("7fffffff\r\n") + len("\r\n") + len(lastChunk)

const lastChunk = "0\r\n\r\n"

// readLength passes on a body with a Content-Length. Into large reads the
// socket is read directly.
func (c *Conn) readLength(p []byte) (int, error) {
	p = p[:min(int64(len(p)), c.left)]
	n := copy(p, c.raw.bytes())
	c.raw.drop(n)
	if n == 0 {
		c.raw.release() // it is empty
		var err error
		if n, err = c.pull(p); err != nil {
			return 0, c.cut(err)
		}
		if c.mode != readingLength {
			return 0, nil
		}
	}
	if c.left -= int64(n); c.left == 0 {
		c.expectHead()
	}
	return n, nil
}

// readChunks passes on a chunked body, framed anew: one chunk for what there
// is, without extensions and trailers. The last chunk and its empty line are
// handed on together and only when the trailer section is over, because
// net/http hides what goes wrong between the two.
func (c *Conn) readChunks(p []byte) (int, error) {
	if len(p) <= framingRoom {
		if cap(c.store) < 512 {
			c.store = make([]byte, 512)
		}
		n, err := c.readChunks(c.store[:512])
		c.out = c.store[:n]
		return 0, err
	}
	if c.raw.len() > 0 {
		if n, err := c.reframe(p); n > 0 || err != nil {
			return n, err
		}
	}
	if c.empty != nil && c.raw.len() == 0 && c.got < smallBuffer { // a slow client pins no large buffer
		c.raw.release()
		if _, err := c.pull(nil); err != nil {
			return 0, c.cut(err)
		}
	}
	c.raw.enlarge()
	if err := c.more(); err != nil {
		return 0, c.cut(err)
	}
	return 0, nil
}

// reframe decodes what is in raw into one chunk in p.
func (c *Conn) reframe(p []byte) (int, error) {
	src := c.raw.bytes()
	room := len(p) - framingRoom
	// The size is written before the data and known after it. It mostly has
	// as many digits as it can have; if not, the data is moved.
	guess := hexDigits(min(room, len(src))) + 2
	before := c.decoder.offset
	n, read, f := c.decoder.decode(p[guess:guess+room], src)
	if f.reason != "" {
		c.fail(f, before, src)
	} else {
		c.raw.drop(read)
	}
	size := 0
	if n > 0 {
		head := hexDigits(n) + 2
		if head != guess {
			copy(p[head:], p[guess:guess+n])
		}
		b := strconv.AppendUint(p[:0], uint64(n), 16)
		b = append(b, "\r\n"...)
		b = append(p[:len(b)+n], "\r\n"...)
		size = len(b)
	}
	if c.decoder.done {
		size = len(append(p[:size], lastChunk...))
		c.expectHead()
	}
	if size == 0 && c.body != nil {
		return 0, c.body
	}
	return size, nil
}

// hexDigits is how many hexadecimal digits n is written in.
func hexDigits(n int) int {
	d := 1
	for n >>= 4; n > 0; n >>= 4 {
		d++
	}
	return d
}

// fail ends the connection's reading for broken framing.
func (c *Conn) fail(f flaw, before int64, src []byte) {
	r := rejection(f, src)
	r.Offset += int(before)
	c.spoil(r.Verdict(gate.Enforce))
}

// spoil makes a verdict of every further Read.
func (c *Conn) spoil(v gate.Verdict) {
	c.body = &gate.VerdictError{Verdict: v}
	c.err = c.body
	c.refused = true
	c.raw.drop(c.raw.len())
}

// cut is the error of a body that ends before its end. A deadline is not an
// end: who set it knows what it means.
func (c *Conn) cut(err error) error {
	if isTimeout(err) {
		return err
	}
	f := flaw{gate.HTTPBodyCut, 0, "the connection ended inside the body"}
	before, rest := c.declared-c.left, []byte(nil)
	if c.mode == readingChunks {
		before, rest = c.decoder.offset, c.raw.bytes()
		f.at = len(rest)
	}
	r := rejection(f, rest)
	r.Offset += int(before)
	v := r.Verdict(gate.Enforce)
	if !errors.Is(err, io.EOF) {
		v.Err = err
	}
	c.spoil(v)
	return c.err
}

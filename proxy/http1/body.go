package http1

import (
	"errors"
	"io"
	"net/http"
)

const (
	// maxSizeDigits bounds the size of a chunk to what fits 60 bits.
	maxSizeDigits = 15
	// maxExtensions bounds what may follow the size of a chunk on its line.
	maxExtensions = 4 << 10
	// maxTrailers bounds the lines after the last chunk.
	maxTrailers = 64 << 10
)

var (
	errBodyClosed = errors.New("the answer's body was closed")
	errChunk      = errors.New("a malformed chunk")
)

// A body is that of an answer. It is read by one goroutine.
type body struct {
	x      *exchange
	left   int64        // of one with a length
	chunks *chunkReader // nil: it does not come in chunks
	close  bool         // it ends with the connection
	odd    bool         // the connection is not used again
	err    error        // what every further Read returns
}

// Read implements io.Reader. It returns what there is, without waiting for
// more.
func (b *body) Read(p []byte) (int, error) {
	if b.err != nil || len(p) == 0 {
		return 0, b.err
	}
	var n int
	var err error
	if b.chunks != nil {
		n, err = b.readChunks(p)
	} else {
		n, err = b.readPlain(p)
	}
	switch {
	case err == io.EOF:
		b.finish()
		b.err = io.EOF
	case err != nil:
		b.err = b.x.cause(err)
		b.x.end(false)
		b.x.c.release()
	}
	return n, b.err
}

// Held reports whether the next Read does not wait for the backend: what it
// returns came with the head.
func (b *body) Held() bool { return b.chunks == nil && len(b.x.c.buf) > 0 }

// readPlain reads a body that has a length or ends with the connection.
func (b *body) readPlain(p []byte) (int, error) {
	if !b.close && int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.x.c.rawRead(p)
	if b.close {
		return n, err
	}
	switch b.left -= int64(n); {
	case b.left == 0:
		return n, io.EOF
	case err == io.EOF:
		return n, io.ErrUnexpectedEOF
	}
	return n, err
}

// readChunks reads into p what comes, and takes the chunks apart where it
// lies.
func (b *body) readChunks(p []byte) (int, error) {
	for {
		raw, err := b.x.c.rawRead(p)
		n, read, cerr := b.chunks.decode(p[:raw])
		switch {
		case cerr == io.EOF:
			if read < raw { // nobody asked for that
				b.odd = true
			}
			return n, io.EOF
		case cerr != nil:
			return n, cerr
		case err == io.EOF:
			return n, io.ErrUnexpectedEOF
		case err != nil || n > 0:
			return n, err
		}
	}
}

// finish ends the exchange after the last byte.
func (b *body) finish() {
	whole := !b.odd && !b.close && len(b.x.c.buf) == 0
	b.x.c.release()
	b.x.end(whole)
}

// Abort ends the exchange, from whatever goroutine: a Read that waits fails with
// the cause. It does nothing once the body was read to its end.
func (b *body) Abort(cause error) {
	b.x.mu.Lock()
	defer b.x.mu.Unlock()
	if !b.x.read {
		b.x.why = cause
		b.x.breakOff()
	}
}

// Close implements io.Closer. A connection with an unread answer is of no use.
func (b *body) Close() error {
	if b.err == nil {
		b.err = errBodyClosed
		b.x.end(false)
		b.x.c.release()
	}
	return nil
}

type chunkState uint8

const (
	atSize      chunkState = iota // in the size, or before it
	spaces                        // behind it, where some write spaces
	afterSize                     // in the extensions
	sizeEnd                       // the LF of the line is due
	inData                        // in the content
	dataCR                        // the CR after it is due
	dataLF                        // the LF after that
	inTrailers                    // after the last chunk
	afterChunks                   // at the end
)

// A chunkReader takes the chunked coding apart (RFC 9112 section 7.1), strictly:
// line ends are CRLF, sizes are hexadecimal digits and nothing else.
type chunkReader struct {
	state      chunkState
	digits     int
	left       int64 // of the chunk
	extensions int   // bytes that followed the size
	lines      []byte
	trailer    func(http.Header)
}

// decode takes b apart where it lies: the content moves to its beginning. It
// returns how long the content is and how much of b was looked at, all of it
// unless the body ends there (io.EOF).
func (r *chunkReader) decode(b []byte) (n, read int, err error) {
	for read < len(b) {
		if r.state == inData {
			m := int(min(int64(len(b)-read), r.left))
			if n != read {
				copy(b[n:], b[read:read+m])
			}
			n, read = n+m, read+m
			if r.left -= int64(m); r.left == 0 {
				r.state = dataCR
			}
			continue
		}
		c := b[read]
		read++
		if err := r.step(c); err != nil {
			return n, read, err
		}
		if r.state == afterChunks {
			return n, read, io.EOF
		}
	}
	return n, read, nil
}

// step reads one byte of the framing.
func (r *chunkReader) step(c byte) error {
	switch r.state {
	case atSize:
		return r.size(c)
	case spaces:
		return r.space(c)
	case afterSize:
		if r.extensions++; c == '\n' || c < ' ' && c != '\t' && c != '\r' || r.extensions > maxExtensions {
			return errChunk
		}
		if c == '\r' {
			r.state = sizeEnd
		}
	case sizeEnd:
		if c != '\n' {
			return errChunk
		}
		r.digits, r.extensions = 0, 0
		if r.state = inData; r.left == 0 {
			r.state = inTrailers
		}
	case dataCR:
		if c != '\r' {
			return errChunk
		}
		r.state = dataLF
	case dataLF:
		if c != '\n' {
			return errChunk
		}
		r.state = atSize
	case inTrailers:
		return r.trailers(c)
	case inData, afterChunks:
	}
	return nil
}

// size reads a byte of the size, or the one that ends it.
func (r *chunkReader) size(c byte) error {
	digit := -1
	switch {
	case '0' <= c && c <= '9':
		digit = int(c - '0')
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		digit = int(c|0x20-'a') + 10
	}
	switch {
	case digit >= 0 && r.digits < maxSizeDigits:
		r.digits++
		r.left = r.left<<4 | int64(digit)
	case digit >= 0 || r.digits == 0:
		return errChunk
	default:
		r.state = spaces
		return r.space(c)
	}
	return nil
}

// space reads a byte between the size and what ends it.
func (r *chunkReader) space(c byte) error {
	switch r.extensions++; {
	case c == '\r':
		r.state = sizeEnd
	case c == ';':
		r.state = afterSize
	case c != ' ' && c != '\t' || r.extensions > maxExtensions:
		return errChunk
	}
	return nil
}

// trailers reads a byte of the lines after the last chunk.
func (r *chunkReader) trailers(c byte) error {
	if len(r.lines) == maxTrailers {
		return errEndless
	}
	r.lines = append(r.lines, c)
	if c != '\n' {
		return nil
	}
	n := len(r.lines)
	if n < 2 || r.lines[n-2] != '\r' {
		return errChunk
	}
	if n > 2 && r.lines[n-3] != '\n' {
		return nil // a line has ended, not the section
	}
	r.state = afterChunks
	if n == 2 {
		return nil
	}
	fields, odd, err := parseFields(string(r.lines))
	if err != nil || odd {
		return errChunk
	}
	r.trailer(fields)
	return nil
}

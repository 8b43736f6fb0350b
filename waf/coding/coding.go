// Package coding decodes content codings (RFC 9110 section 8.4.1) as a strict
// reader: a body is exactly one member, frame or stream, from its first byte
// to its last, and the backend's decoder cannot make another content of it.
// Growth, windows and memory are bounded. It knows nothing of rules.
package coding

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"sync"
)

// A Coding is a content coding, by its name in HTTP.
type Coding string

// The codings that can be decoded.
const (
	Gzip    Coding = "gzip"    // RFC 1952; x-gzip is the same
	Deflate Coding = "deflate" // zlib, RFC 1950; never the bare RFC 1951, which some call so too
	Brotli  Coding = "br"      // RFC 7932
	Zstd    Coding = "zstd"    // RFC 8878, as RFC 9659 restricts it
)

// All are the codings that can be decoded.
var All = []Coding{Gzip, Deflate, Brotli, Zstd}

// Named returns the coding that a name stands for, in any letter case (RFC
// 9110 section 8.4.1).
func Named(name string) (Coding, bool) {
	name = strings.ToLower(name)
	if name == "x-gzip" { // RFC 9110 section 8.4.1.3
		return Gzip, true
	}
	for _, c := range All {
		if name == string(c) {
			return c, true
		}
	}
	return "", false
}

const (
	// Ratio is how many times larger than its coded form content may be, beyond
	// RatioFloor. Text comes to 3 to 20, repetitive logs and tables to 50;
	// deflate cannot do more than 1032, the others reach millions.
	Ratio = 100
	// RatioFloor is how many decoded bytes have no ratio to keep, so that a
	// small body of one repeated line passes.
	RatioFloor = 1 << 20
)

// overheads is how many bytes a decoder takes beside its window: tables, and a
// block or two.
var overheads = map[Coding]int64{Gzip: 96 << 10, Deflate: 96 << 10, Brotli: 512 << 10, Zstd: 512 << 10}

// An Error says why a body is not what its coding promises.
type Error struct{ what string }

// Error returns the reason, which never quotes the body.
func (e *Error) Error() string { return e.what }

var (
	errTrailing = &Error{"something after the end"}
	errCut      = &Error{"cut off before its end"}
	errRatio    = &Error{fmt.Sprintf("content of more than %d times its size", Ratio)}
)

// Limits bound one decoding.
type Limits struct {
	// Most is how much memory in bytes a decoder may take at most, beyond what
	// the coding itself bounds; 0: no such limit.
	Most int64
	// Memory is asked before a decoder takes so many bytes, and may refuse with
	// an error, which Read returns. nil: it is always there.
	Memory func(bytes int64) error
}

// A decoder decodes one coded body. Its Read returns io.EOF when the body is
// complete, and whatever follows is still in the reader that it was given.
type decoder interface {
	io.Reader
	// settle gives the decoder back to where it came from. It may be reused
	// unless it is spoilt.
	settle(spoilt bool)
}

// A Reader decodes one body. It is used by one goroutine at a time and must be
// closed.
type Reader struct {
	coding Coding
	limits Limits
	src    io.Reader
	failed error         // of src, other than io.EOF
	in     *bufio.Reader // reads this Reader's source; nil: not begun, or closed
	dec    decoder
	coded  int64 // bytes read from src
	out    int64 // bytes returned
	err    error

	settled int64 // see Settled
	marks   [maxMarks]mark
	marked  int // how many of marks there are
}

// A mark says that the first coded bytes of a body are settled once so many
// bytes were returned.
type mark struct{ coded, out int64 }

// maxMarks is how many marks wait at a time. With so many, the settled bytes
// are never much older than they have to be.
const maxMarks = 8

// inputs are the readers in front of the decoders.
var inputs = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 4<<10) }}

// NewReader returns a reader of the content of src. An error of src is returned
// as it is, and a defect of the body as an *Error.
func NewReader(c Coding, src io.Reader, limits Limits) *Reader {
	return &Reader{coding: c, src: src, limits: limits}
}

// Read implements io.Reader. io.EOF says that the body was complete, its
// checksums right, and nothing came after it.
func (r *Reader) Read(p []byte) (n int, err error) {
	if r.err != nil || len(p) == 0 {
		return 0, r.err
	}
	defer func() {
		if v := recover(); v != nil { // the decoder's; its state is nobody's to use again
			r.release(true)
			n, err = 0, &Error{fmt.Sprintf("a decoder that panicked: %v", v)}
		}
		r.err = err
	}()
	if r.dec == nil {
		if err := r.begin(); err != nil {
			return 0, r.explain(err)
		}
	}
	n, err = r.dec.Read(p)
	r.out += int64(n)
	for r.marked > 0 && r.out >= r.marks[0].out {
		r.settled = r.marks[0].coded
		r.marked = copy(r.marks[:], r.marks[1:r.marked])
	}
	switch {
	case r.out > RatioFloor+Ratio*r.coded:
		return n, errRatio
	case err == io.EOF:
		return n, r.end()
	case err != nil:
		return n, r.explain(err)
	}
	return n, nil
}

// begin reads as much as tells how much memory is needed, and gets a decoder.
func (r *Reader) begin() error {
	r.in = inputs.Get().(*bufio.Reader)
	r.in.Reset((*input)(r))
	var window int64
	var err error
	switch r.coding {
	case Gzip, Deflate:
		window = deflateWindow
	case Brotli:
		window, err = brotliWindow(r.in)
	case Zstd:
		window, err = zstdWindow(r.in)
	default:
		err = &Error{"an unknown coding"}
	}
	if err != nil {
		return err
	}
	need := window + overheads[r.coding]
	if most := r.limits.Most; most > 0 && need > most {
		return &Error{fmt.Sprintf("a decoder needs %d bytes, more than %d", need, most)}
	}
	if r.limits.Memory != nil {
		if err := r.limits.Memory(need); err != nil {
			r.failed = err
			return err
		}
	}
	switch r.coding {
	case Gzip:
		r.dec, err = newGzip(r.in)
	case Deflate:
		r.dec, err = newZlib(r.in)
	case Brotli:
		r.dec = newBrotli(r.in, window)
	case Zstd:
		r.dec, err = newZstd(r.in, window)
	}
	return err
}

// end makes sure that nothing follows.
func (r *Reader) end() error {
	switch _, err := r.in.ReadByte(); err {
	case nil:
		return errTrailing
	case io.EOF:
		return io.EOF
	default:
		return r.explain(err)
	}
}

// explain tells a source that failed from a body that is not well formed.
func (r *Reader) explain(err error) error {
	if r.failed != nil {
		return r.failed
	}
	if own, ok := err.(*Error); ok { //nolint:errorlint // ours are never wrapped
		return own
	}
	if err == io.EOF || err == io.ErrUnexpectedEOF { //nolint:errorlint // nor are these
		return errCut
	}
	return &Error{"not valid: " + err.Error()}
}

// Settled returns how many bytes of the coded body hold nothing that was not
// returned by Read: whoever gets no more than those can decode no more than
// that. It lags behind, because a decoder holds back some of what it decoded.
func (r *Reader) Settled() int64 { return r.settled }

// lags is how much content a decoder may hold back when it asks for more to
// read: a window of deflate, whatever is in the buffer of the caller and the
// block after it in zstd, nothing in br. Each is doubled.
var lags = map[Coding]int64{Gzip: 64 << 10, Deflate: 64 << 10, Brotli: 64 << 10, Zstd: 512 << 10}

// input is the source of a Reader as its decoder sees it.
type input Reader

// Read implements io.Reader. It is called when the decoder has used up what it
// got.
func (i *input) Read(p []byte) (int, error) {
	lag := lags[i.coding]
	if m := i.marked; m == 0 || m < maxMarks && i.out+lag-i.marks[m-1].out >= lag/(maxMarks-1) {
		i.marks[m] = mark{i.coded, i.out + lag}
		i.marked++
	}
	n, err := i.src.Read(p)
	i.coded += int64(n)
	if err != nil && err != io.EOF {
		i.failed = err
	}
	return n, err
}

// Close gives back what decoding took. Calling it again does nothing.
func (r *Reader) Close() {
	if r.err == nil {
		r.err = io.ErrClosedPipe
	}
	r.release(false)
}

func (r *Reader) release(spoilt bool) {
	if r.dec != nil {
		r.dec.settle(spoilt)
		r.dec = nil
	}
	if r.in != nil {
		if !spoilt {
			r.in.Reset(nil)
			inputs.Put(r.in)
		}
		r.in = nil
	}
}

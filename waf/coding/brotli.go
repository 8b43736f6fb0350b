package coding

import (
	"bufio"
	"io"
	"sync"

	"github.com/andybalholm/brotli"
)

// largeWindow is from where on a decoder is left to the garbage collector, so
// that idle ones do not pin their windows. What encoders choose by themselves is
// smaller, and making such a window anew takes longer than most bodies.
const largeWindow = 8 << 20

// brotlis are unused decoders.
var brotlis = sync.Pool{New: func() any { return brotli.NewReader(nil) }}

// brotliWindow reads the size of the window out of the first byte (RFC 7932
// section 9.1).
func brotliWindow(in *bufio.Reader) (int64, error) {
	first, err := in.Peek(1)
	if err != nil {
		return 0, err
	}
	b, bits := first[0], 16
	switch {
	case b&1 == 0:
	case b>>1&7 != 0:
		bits = 17 + int(b>>1&7)
	case b>>4&7 == 0:
		bits = 17
	case b>>4&7 == 1: // reserved; some read a larger window after it
		return 0, &Error{"a window that RFC 7932 does not know"}
	default:
		bits = 8 + int(b>>4&7)
	}
	return 1 << bits, nil
}

// A brotliDecoder reads a stream of br. The library sees to it that nothing
// follows.
type brotliDecoder struct {
	*brotli.Reader
	window int64
}

func newBrotli(in *bufio.Reader, window int64) decoder {
	d := brotlis.Get().(*brotli.Reader)
	_ = d.Reset(in) // documented to be nil
	return &brotliDecoder{d, window}
}

func (b *brotliDecoder) settle(spoilt bool) {
	if spoilt || b.window > largeWindow {
		return
	}
	_ = b.Reset(nothing{})
	brotlis.Put(b.Reader)
}

// nothing is an empty source.
type nothing struct{}

// Read returns io.EOF.
func (nothing) Read([]byte) (int, error) { return 0, io.EOF }

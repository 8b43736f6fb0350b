package coding

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// zstdMaxWindow is the largest window of a zstd content coding (RFC 9659
// section 3).
const zstdMaxWindow = 8 << 20

// zstds are unused decoders. They have no goroutines.
var zstds = sync.Pool{New: func() any {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(zstdMaxWindow))
	if err != nil {
		panic(fmt.Sprintf("zstd decoder: %v", err)) // the options are constants
	}
	return d
}}

// zstdHeader reads the header of the frame without consuming it.
func zstdHeader(in *bufio.Reader) (zstd.Header, error) {
	var h zstd.Header
	head, err := in.Peek(zstd.HeaderMaxSize)
	if err != nil && err != io.EOF { //nolint:errorlint // never wrapped
		return h, err
	}
	switch bad := h.Decode(head); {
	case errors.Is(bad, io.ErrUnexpectedEOF):
		return h, errCut
	case bad != nil:
		return h, &Error{"not zstd"}
	}
	return h, nil
}

// zstdWindow returns the memory that the frame needs to be decoded, and
// refuses what is not a frame of its own (RFC 8878 section 3.1).
func zstdWindow(in *bufio.Reader) (int64, error) {
	h, err := zstdHeader(in)
	if err != nil {
		return 0, err
	}
	window := h.WindowSize
	if h.SingleSegment {
		window = h.FrameContentSize
	}
	switch {
	case h.Skippable:
		return 0, &Error{"a zstd frame without content"}
	case h.DictionaryID != 0:
		return 0, &Error{"zstd with a dictionary"}
	case window > zstdMaxWindow:
		return 0, &Error{fmt.Sprintf("a window of %d bytes, more than %d", window, int64(zstdMaxWindow))}
	}
	return int64(window), nil
}

// A zstdDecoder reads one frame. The library would go on with the next one, so
// it gets to see this one only.
type zstdDecoder struct {
	*zstd.Decoder
	window int64
}

func newZstd(in *bufio.Reader, window int64) (decoder, error) {
	h, err := zstdHeader(in)
	if err != nil {
		return nil, err
	}
	d := zstds.Get().(*zstd.Decoder)
	if err := d.Reset(&zstdFrame{in: in, left: h.HeaderSize, sum: h.HasCheckSum}); err != nil {
		return nil, err
	}
	return &zstdDecoder{d, window}, nil
}

func (z *zstdDecoder) settle(spoilt bool) {
	if spoilt || z.window > largeWindow {
		return // it holds no goroutine
	}
	if z.Reset(nil) == nil {
		zstds.Put(z.Decoder)
	}
}

// A zstdFrame reads the bytes of one frame: the header, blocks up to the one
// that says that it is the last, and the checksum if there is one.
type zstdFrame struct {
	in   *bufio.Reader
	left int  // bytes of the header or block that is being read
	sum  bool // a checksum follows the last block
	last bool // the last block was begun
}

// Read implements io.Reader.
func (f *zstdFrame) Read(p []byte) (int, error) {
	if f.left == 0 {
		if err := f.next(); err != nil {
			return 0, err
		}
	}
	n, err := f.in.Read(p[:min(len(p), f.left)])
	f.left -= n
	return n, short(err)
}

// next finds out how long the next block is (RFC 8878 section 3.1.1.2).
func (f *zstdFrame) next() error {
	if f.last {
		return io.EOF
	}
	head, err := f.in.Peek(3)
	if err != nil {
		return short(err)
	}
	h := int(head[0]) | int(head[1])<<8 | int(head[2])<<16
	f.left = 3 + h>>3
	if h>>1&3 == 1 { // one byte, repeated
		f.left = 4
	}
	if f.last = h&1 == 1; f.last && f.sum {
		f.left += 4
	}
	return nil
}

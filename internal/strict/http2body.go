package strict

import (
	"io"
)

// An http2Body is the content of one request. It ends only where the client
// ended its side as it should have: what net/http delivers is held against what
// the guard saw, and of content with a declared length the last byte is kept
// back until the stream has ended there. So no backend takes content for
// complete that is refused a moment later (RFC 9113 section 8.1.1).
//
// One goroutine may read at a time.
type http2Body struct {
	conn   *HTTP2Conn
	stream *http2Stream
	src    io.ReadCloser
	left   int64   // of the declared length; -1: not declared
	last   [1]byte // the last byte, when it has come
	kept   bool
}

// Read implements io.Reader. Content that is refused ends in a
// *gate.VerdictError.
func (b *http2Body) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if b.left == 0 || b.left == 1 {
		return b.end(p)
	}
	if b.left > 0 {
		p = p[:min(int64(len(p)), b.left-1)]
	}
	n, err := b.judged(b.src.Read(p))
	if b.left > 0 {
		b.left -= int64(n)
		err = b.early(err)
	}
	return n, err
}

// early makes an error of an end that comes before the last byte. The guard
// would have said so before; this holds should the two ever disagree.
func (b *http2Body) early(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// end reads the last byte, and hands it out when nothing comes behind it.
func (b *http2Body) end(p []byte) (int, error) {
	for b.left == 1 && !b.kept {
		n, err := b.judged(b.src.Read(b.last[:]))
		b.kept = n == 1
		if !b.kept && err != nil {
			return 0, b.early(err)
		}
	}
	var more [1]byte
	for {
		_, err := b.judged(b.src.Read(more[:]))
		switch {
		case err == io.EOF && b.kept:
			p[0], b.kept, b.left = b.last[0], false, 0
			return 1, io.EOF
		case err != nil:
			return 0, err
		}
	}
}

// judged puts the guard's word in place of what net/http delivers.
func (b *http2Body) judged(n int, err error) (int, error) {
	b.conn.mu.Lock()
	defer b.conn.mu.Unlock()
	if b.stream.broken != nil {
		return 0, b.stream.broken
	}
	return n, err
}

// Close implements io.Closer.
func (b *http2Body) Close() error { return b.src.Close() }

var _ io.ReadCloser = (*http2Body)(nil)

package coding

import (
	"bufio"
	"encoding/binary"
	"hash"
	"hash/adler32"
	"hash/crc32"
	"io"
	"sync"

	"github.com/klauspost/compress/flate"
)

// deflateWindow is the largest window of RFC 1951.
const deflateWindow = 32 << 10

// maxGzipHeader bounds the optional fields of a gzip header together. What
// clients send there is a file name.
const maxGzipHeader = 1 << 10

// The flags of a gzip header (RFC 1952 section 2.3.1).
const (
	gzipText    = 1 << 0
	gzipExtra   = 1 << 2
	gzipName    = 1 << 3
	gzipComment = 1 << 4
)

// inflaters are unused decoders.
var inflaters = sync.Pool{New: func() any { return flate.NewReader(nil) }}

// An inflater reads deflated data and then the checksum behind it.
type inflater struct {
	in   *bufio.Reader
	data io.ReadCloser
	sum  hash.Hash32
	size uint32
	gzip bool // else zlib
}

// newGzip reads the header of a member (RFC 1952 section 2.3). Whatever has
// had different meanings is refused: the reserved flags, and the header's own
// checksum, whose flag older programs took for a sign of several parts.
func newGzip(in *bufio.Reader) (decoder, error) {
	var fixed [10]byte
	if _, err := io.ReadFull(in, fixed[:]); err != nil {
		return nil, err
	}
	flags := fixed[3]
	switch {
	case fixed[0] != 0x1f || fixed[1] != 0x8b || fixed[2] != 8:
		return nil, &Error{"not gzip"}
	case flags&^(gzipText|gzipExtra|gzipName|gzipComment) != 0:
		return nil, &Error{"a gzip header with flags that are reserved or not always understood"}
	}
	left := maxGzipHeader
	if flags&gzipExtra != 0 {
		var length [2]byte
		if _, err := io.ReadFull(in, length[:]); err != nil {
			return nil, err
		}
		n := int(binary.LittleEndian.Uint16(length[:]))
		if left -= n; left < 0 {
			return nil, errGzipHeader
		}
		if _, err := in.Discard(n); err != nil {
			return nil, err
		}
	}
	for _, flag := range [...]byte{gzipName, gzipComment} {
		for flags&flag != 0 {
			c, err := in.ReadByte()
			if err != nil {
				return nil, err
			}
			if c == 0 {
				break
			}
			if left--; left < 0 {
				return nil, errGzipHeader
			}
		}
	}
	return newInflater(in, crc32.NewIEEE(), true)
}

var errGzipHeader = &Error{"a gzip header that is too long"}

// newZlib reads the header of zlib (RFC 1950 section 2.2). A preset dictionary
// is one that the rules do not have.
func newZlib(in *bufio.Reader) (decoder, error) {
	var header [2]byte
	if _, err := io.ReadFull(in, header[:]); err != nil {
		return nil, err
	}
	switch h := binary.BigEndian.Uint16(header[:]); {
	case header[0]&0x0f != 8 || header[0]>>4 > 7 || h%31 != 0:
		return nil, &Error{"not zlib"}
	case header[1]&0x20 != 0:
		return nil, &Error{"zlib with a preset dictionary"}
	}
	return newInflater(in, adler32.New(), false)
}

func newInflater(in *bufio.Reader, sum hash.Hash32, gzip bool) (decoder, error) {
	data := inflaters.Get().(io.ReadCloser)
	if err := data.(flate.Resetter).Reset(in, nil); err != nil {
		return nil, err
	}
	return &inflater{in: in, data: data, sum: sum, gzip: gzip}, nil
}

// Read implements io.Reader.
func (f *inflater) Read(p []byte) (int, error) {
	n, err := f.data.Read(p)
	f.sum.Write(p[:n]) //nolint:errcheck // a hash never fails
	f.size += uint32(n)
	if err == io.EOF {
		err = f.check()
	}
	return n, err
}

// check reads the checksum, and the length behind that of gzip.
func (f *inflater) check() error {
	var tail [8]byte
	if !f.gzip {
		if _, err := io.ReadFull(f.in, tail[:4]); err != nil {
			return short(err)
		}
		if binary.BigEndian.Uint32(tail[:]) != f.sum.Sum32() {
			return &Error{"a wrong checksum"}
		}
		return io.EOF
	}
	if _, err := io.ReadFull(f.in, tail[:]); err != nil {
		return short(err)
	}
	if binary.LittleEndian.Uint32(tail[:]) != f.sum.Sum32() || binary.LittleEndian.Uint32(tail[4:]) != f.size {
		return &Error{"a wrong checksum or length"}
	}
	return io.EOF
}

// short keeps the end of the source from passing for that of the body.
func short(err error) error {
	if err == io.EOF { //nolint:errorlint // never wrapped
		return io.ErrUnexpectedEOF
	}
	return err
}

func (f *inflater) settle(spoilt bool) {
	if !spoilt {
		inflaters.Put(f.data)
	}
}

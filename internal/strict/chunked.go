package strict

import (
	"bytes"
	"math"

	"sallyport/internal/gate"
)

// What a chunked body may cost beyond its data.
const (
	// maxChunk is the largest chunk. Larger ones are lawful and nobody sends
	// them; a reader that keeps sizes in 32 bits takes them for small ones.
	maxChunk      = math.MaxInt32
	maxSizeDigits = 16      // leading zeros included
	maxExtension  = 256     // bytes of the extensions of one chunk
	maxExtensions = 4 << 10 // and of all chunks of a body
)

// A decoder takes a chunked body apart (RFC 9112 section 7.1). Extensions and
// trailers are judged and dropped. It keeps no bytes: what it does not consume
// must be given to it again, with more behind it.
type decoder struct {
	lim        Limits
	left       int  // bytes of the current chunk that are still to come
	ending     bool // the CRLF after a chunk's data is next
	trailing   bool // the last chunk was read: trailer lines are next
	done       bool
	extensions int   // bytes of extensions so far
	trailer    int   // bytes of the trailer section so far
	fields     int   // lines of it
	offset     int64 // bytes of framing and data consumed
}

// decode reads from src and writes data to dst, until one of them is used up,
// a line goes on behind src, or the body ends. It returns how much of both was
// used, and a flaw with a reason when the framing is broken, its place counted
// from src[0].
func (d *decoder) decode(dst, src []byte) (written, read int, f flaw) {
	for !d.done {
		switch {
		case d.left > 0:
			n := copy(dst[written:], src[read:min(len(src), read+d.left)])
			written, read, d.left = written+n, read+n, d.left-n
			if d.left > 0 {
				return d.used(written, read, f)
			}
			d.ending = true
		case d.ending:
			rest := src[read:]
			switch {
			case len(rest) >= 2 && rest[0] == '\r' && rest[1] == '\n':
				read += 2
				d.ending = false
			case len(rest) == 0 || len(rest) == 1 && rest[0] == '\r':
				return d.used(written, read, f)
			default:
				return d.used(written, read, flaw{gate.HTTPChunkEnd, read, "no CRLF after the data of a chunk"})
			}
		case d.trailing:
			n, f := d.trailerLine(src[read:])
			f.at += read
			if read += n; n == 0 || f.reason != "" {
				return d.used(written, read, f)
			}
		case written == len(dst):
			return d.used(written, read, f)
		default:
			n, f := d.sizeLine(src[read:])
			f.at += read
			if read += n; n == 0 || f.reason != "" {
				return d.used(written, read, f)
			}
		}
	}
	return d.used(written, read, f)
}

func (d *decoder) used(written, read int, f flaw) (int, int, flaw) {
	d.offset += int64(read)
	return written, read, f
}

// sizeLine reads chunk-size [ chunk-ext ] CRLF and returns how long the line
// is, 0 when it is not complete.
func (d *decoder) sizeLine(b []byte) (int, flaw) {
	i, size, extended := 0, 0, 0
	for ; i < len(b) && is(b[i], hexByte); i++ {
		if size = size<<4 | int(unhex(b[i])); size > maxChunk || i == maxSizeDigits {
			return 0, flaw{gate.HTTPChunkSize, i, "a chunk size that is too large or too long"}
		}
	}
	if i == len(b) {
		return 0, flaw{}
	}
	switch {
	case i == 0:
		return 0, flaw{gate.HTTPChunkSize, 0, "no chunk size"}
	case b[i] == ';':
		n, f := extension(b[i:])
		if n == 0 {
			f.at += i
			return 0, f
		}
		i, extended = i+n, n
	case b[i] == '\n':
		return 0, flaw{gate.HTTPBareLF, i, "a chunk size that ends in LF alone"}
	case b[i] != '\r':
		return 0, flaw{gate.HTTPChunkSize, i, "a byte behind the chunk size that does not belong there"}
	}
	if i+1 >= len(b) {
		return 0, flaw{}
	}
	if b[i+1] != '\n' {
		return 0, flaw{gate.HTTPBareCR, i, "a chunk size that ends in CR alone"}
	}
	if d.extensions += extended; d.extensions > maxExtensions {
		return 0, flaw{gate.HTTPChunkExtension, i - extended, "more extensions than data could need"}
	}
	d.left, d.trailing = size, size == 0
	return i + 2, flaw{}
}

// extension reads chunk-ext up to the CR of its line (RFC 9112 section 7.1.1)
// and returns how long it is, 0 when the line goes on behind b. White space is
// allowed where the grammar has BWS, except between the size and the first
// semicolon, where some readers stop.
func extension(b []byte) (int, flaw) {
	bad := func(at int) (int, flaw) {
		return 0, flaw{gate.HTTPChunkExtension, at, "not a chunk extension"}
	}
	b = b[:min(len(b), maxExtension+2)]
	i := 0
	for {
		i = skipBWS(b, i+1) // the semicolon
		name := skipToken(b, i)
		at := skipBWS(b, name)
		switch {
		case at >= len(b):
			return goesOn(b)
		case name == i:
			return bad(i)
		}
		if b[at] == '=' {
			i = skipBWS(b, at+1)
			var value int
			if i < len(b) && b[i] == '"' {
				value = skipQuoted(b, i)
			} else {
				value = skipToken(b, i)
			}
			at = skipBWS(b, value)
			switch {
			case value < 0:
				return bad(i)
			case at >= len(b):
				return goesOn(b)
			case value == i:
				return bad(i)
			}
		} else if at > name && b[at] != ';' {
			return bad(name)
		}
		i = at
		switch {
		case i > maxExtension:
			return 0, flaw{gate.HTTPChunkExtension, 0, "a chunk extension longer than 256 bytes"}
		case b[i] == '\r' && !isBWS(b[i-1]):
			if i+1 < len(b) && b[i+1] != '\n' {
				return bad(i)
			}
			return i, flaw{}
		case b[i] != ';':
			return bad(i)
		}
	}
}

// goesOn is the answer when an extension does not end in b, which holds no
// more than the longest one and its line end.
func goesOn(b []byte) (int, flaw) {
	if len(b) == maxExtension+2 {
		return 0, flaw{gate.HTTPChunkExtension, 0, "a chunk extension longer than 256 bytes"}
	}
	return 0, flaw{}
}

func isBWS(c byte) bool { return c == ' ' || c == '\t' }

func skipBWS(b []byte, i int) int {
	for i >= 0 && i < len(b) && isBWS(b[i]) {
		i++
	}
	return i
}

func skipToken(b []byte, i int) int {
	for i < len(b) && is(b[i], tokenByte) {
		i++
	}
	return i
}

// skipQuoted returns where the quoted string at b[i] ends, len(b) when it goes
// on behind b, and -1 when it is malformed. It holds printable ASCII only.
func skipQuoted(b []byte, i int) int {
	for i++; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			return i + 1
		case isControl(c) || c >= 0x80:
			return -1
		case c == '\\':
			if i++; i < len(b) && (isControl(b[i]) || b[i] >= 0x80) {
				return -1
			}
		}
	}
	return len(b)
}

// trailerLine reads one line behind the last chunk (RFC 9112 section 7.1.2)
// and returns how long it is, 0 when it is not complete.
func (d *decoder) trailerLine(b []byte) (int, flaw) {
	room := d.lim.MaxHeader - d.trailer
	end := bytes.IndexByte(b[:min(len(b), room)], '\n')
	if end < 0 {
		i := bytes.IndexByte(b[:min(len(b), room)], '\r')
		switch {
		case i >= 0 && i+1 < min(len(b), room):
			return 0, flaw{gate.HTTPBareCR, i, "a CR without LF"}
		case len(b) > room:
			return 0, flaw{gate.HTTPHeadTooLarge, 0, "a trailer section larger than the limit"}
		}
		return 0, flaw{}
	}
	line, ok := bytes.CutSuffix(b[:end], []byte("\r"))
	if i := bytes.IndexByte(line, '\r'); i >= 0 {
		return 0, flaw{gate.HTTPBareCR, i, "a CR without LF"}
	}
	if !ok {
		return 0, flaw{gate.HTTPBareLF, end, "a line that ends in LF alone"}
	}
	d.trailer += end + 1
	if len(line) == 0 {
		d.done = true
		return end + 1, flaw{}
	}
	// The rules of a field line in the head hold here too.
	s := scanner{lim: d.lim}
	if f := s.fieldLine(line); f != nil {
		return 0, flaw{gate.HTTPTrailer, f.at, f.detail}
	}
	if d.fields++; d.fields > d.lim.MaxFields {
		return 0, flaw{gate.HTTPTooManyFields, 0, "more trailer fields than the limit"}
	}
	if forbiddenTrailer(string(line[:s.fields[0].colon])) {
		return 0, flaw{gate.HTTPTrailer, 0, "a field that may not be a trailer"}
	}
	return end + 1, flaw{}
}

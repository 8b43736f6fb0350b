package strict

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"sallyport/internal/gate"
	"sallyport/internal/wire"
)

// corpus is the bytes of every wire case in HTTP/1.
func corpus(t testing.TB) [][]byte {
	t.Helper()
	cases, err := wire.In(wire.HTTP1)
	if err != nil {
		t.Fatal(err)
	}
	var raws [][]byte
	for _, c := range cases {
		raws = append(raws, c.Raw)
	}
	return raws
}

// FuzzParseHead holds that whatever is accepted, net/http reads as the same
// request when it is told what it acts on, and that the bytes it is told are a
// fixed point.
func FuzzParseHead(f *testing.F) {
	for _, raw := range corpus(f) {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		h, n, err := ParseHead(raw, Limits{})
		if err != nil {
			if h != nil || n != 0 || !errors.Is(err, ErrIncomplete) {
				t.Fatalf("ParseHead = %v, %d, %v", h, n, err)
			}
			return
		}
		if r := h.Rejection; r != nil {
			if n != len(raw) || r.Reason.Info().Class == gate.ClassFailure || r.Reason.Info().Class == gate.ClassHygiene || r.Offset > len(raw) || len(r.Excerpt) > 64 {
				t.Fatalf("%d bytes taken of %d, rejection %+v", n, len(raw), r)
			}
			return
		}
		if h.Bytes != n || n > len(raw) || bytes.Contains(raw[:n], []byte("\n\n")) {
			t.Fatalf("%d bytes taken of %d, head says %d", n, len(raw), h.Bytes)
		}
		for _, f := range h.Hygiene {
			if f.Reason.Info().Class != gate.ClassHygiene {
				t.Fatalf("%s is no matter of hygiene", f.Reason)
			}
		}
		once := told(t, raw)
		if again := told(t, once); !bytes.Equal(once, again) {
			t.Fatalf("no fixed point: %q, then %q", once, again)
		}
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(once)))
		if err != nil {
			t.Fatalf("net/http refuses %q: %v", once, err)
		}
		chunked := slices.Equal(r.TransferEncoding, []string{"chunked"})
		if r.Method != h.Method || r.RequestURI != "/7" || r.Host != guardHost || r.Proto != h.Proto || r.ContentLength != h.Length || chunked != (h.Length < 0) {
			t.Fatalf("net/http reads %q as %s %s %s %s %d %v", once, r.Method, r.RequestURI, r.Host, r.Proto, r.ContentLength, r.TransferEncoding)
		}
	})
}

// told is what net/http is told of an accepted head.
func told(t *testing.T, raw []byte) []byte {
	s := scanner{lim: Limits{}.orDefault()}
	if !s.scan(raw) {
		t.Fatalf("%q is incomplete", raw)
	}
	h := s.head(raw)
	if h.Rejection != nil {
		t.Fatalf("%q is refused: %+v", raw, h.Rejection)
	}
	return appendHead(nil, h, 7, s.stays, s.expects)
}

// simpleChunks is an independent reader of chunked bodies: it wants the whole
// body at once and is slow and plain.
func simpleChunks(b []byte) (data []byte, rest []byte, ok bool) {
	total := 0
	for {
		line, after, found := bytes.Cut(b, []byte("\r\n"))
		m := sizeLine.FindSubmatch(line)
		if !found || m == nil {
			return nil, nil, false
		}
		n, err := strconv.ParseUint(string(m[1]), 16, 31)
		if total += len(m[2]); err != nil || len(m[2]) > 256 || total > 4096 {
			return nil, nil, false
		}
		if b = after; n == 0 {
			break
		}
		if len(b) < int(n)+2 || string(b[n:n+2]) != "\r\n" {
			return nil, nil, false
		}
		data, b = append(data, b[:n]...), b[n+2:]
	}
	for range 101 {
		line, after, found := bytes.Cut(b, []byte("\r\n"))
		if !found {
			return nil, nil, false
		}
		if b = after; len(line) == 0 {
			return data, b, true
		}
		m := trailerLine.FindSubmatch(line)
		if m == nil || bytes.ContainsFunc(m[2], func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) || len(m[1]) > 256 || forbiddenTrailer(string(m[1])) {
			return nil, nil, false
		}
	}
	return nil, nil, false
}

var (
	sizeLine = regexp.MustCompile(`^([0-9a-fA-F]{1,16})((?:;[ \t]*` + tokenPattern + `(?:[ \t]*=[ \t]*(?:` + tokenPattern + `|"(?:[\t !#-\[\]-~]|\\[\t -~])*"))?` +
		`(?:[ \t]+;[ \t]*` + tokenPattern + `(?:[ \t]*=[ \t]*(?:` + tokenPattern + `|"(?:[\t !#-\[\]-~]|\\[\t -~])*"))?)*)*)$`)
	trailerLine = regexp.MustCompile(`^(` + tokenPattern + `):((?s:.*))$`)
)

const tokenPattern = "[!#$%&'*+.^_`|~0-9A-Za-z-]+"

// cutter yields pieces of b whose lengths depend on seed; a zero seed yields
// all of it.
func cutter(b []byte, seed uint32) func() []byte {
	return func() []byte {
		n := len(b)
		if seed != 0 {
			seed = seed*1664525 + 1013904223
			n = min(n, 1+int(seed>>24)%7)
			if seed>>20&7 == 0 {
				n = min(len(b), 1+int(seed>>8)%600)
			}
		}
		piece := b[:n]
		b = b[n:]
		return piece
	}
}

// decodeInPieces decodes b as it would arrive, with little room for data.
func decodeInPieces(b []byte, seed uint32) (data []byte, read int, f flaw, done bool) {
	d := decoder{lim: Limits{}.orDefault()}
	next := cutter(b, seed)
	var held []byte
	for {
		piece := next()
		held = append(held, piece...)
		for {
			dst := make([]byte, 16+int(seed%100))
			before := d.offset
			w, r, f := d.decode(dst, held)
			data, held, read = append(data, dst[:w]...), held[r:], read+r
			if int(d.offset) != read {
				panic("offset")
			}
			if f.reason != "" {
				f.at += int(before)
				return data, read, f, false
			}
			if d.done {
				return data, read, flaw{}, true
			}
			if w == 0 && r == 0 {
				break
			}
		}
		if len(piece) == 0 {
			return data, read, flaw{}, false
		}
	}
}

// FuzzChunked holds the decoder against a simple reader, and against itself
// when the body arrives in other pieces.
func FuzzChunked(f *testing.F) {
	for i, raw := range corpus(f) {
		if _, body, ok := bytes.Cut(raw, []byte("\r\n\r\n")); ok && len(body) > 0 {
			f.Add(body, uint32(i))
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte, seed uint32) {
		if len(raw) > 32<<10 {
			return
		}
		data, read, bad, done := decodeInPieces(raw, 0)
		want, rest, ok := simpleChunks(raw)
		if ok != done || ok && (!bytes.Equal(data, want) || read != len(raw)-len(rest)) {
			t.Fatalf("decode(%q) = %q, %d, %+v, %v, want %q, %d, %v", raw, data, read, bad, done, want, len(raw)-len(rest), ok)
		}
		data2, read2, bad2, done2 := decodeInPieces(raw, seed|1)
		if !bytes.Equal(data, data2) || read != read2 || bad.reason != bad2.reason || bad.at != bad2.at || done != done2 {
			t.Fatalf("decode(%q) = %q, %d, %+v, %v, in pieces %q, %d, %+v, %v", raw, data, read, bad, done, data2, read2, bad2, done2)
		}
	})
}

// A scriptConn yields what a function says, then the end.
type scriptConn struct {
	net.Conn
	next  func() []byte
	piece []byte
}

func (c *scriptConn) Read(p []byte) (int, error) {
	if len(c.piece) == 0 {
		if c.piece = c.next(); len(c.piece) == 0 {
			return 0, io.EOF
		}
	}
	n := copy(p, c.piece)
	c.piece = c.piece[n:]
	return n, nil
}

func (c *scriptConn) Close() error                    { return nil }
func (c *scriptConn) SetReadDeadline(time.Time) error { return nil }

// readAll reads every request of a connection as net/http would and says, in
// words, what came out.
func readAll(raw []byte, seed uint32) []string { return readPieces(cutter(raw, seed)) }

// readPieces is readAll for pieces that a function yields, the last one empty.
func readPieces(next func() []byte) []string {
	g := NewConn(&scriptConn{next: next}, Limits{}, Hooks{})
	defer g.Close()
	r := bufio.NewReader(g)
	var seen []string
	for {
		req, err := http.ReadRequest(r)
		if err != nil {
			if !errors.Is(err, io.EOF) {
				seen = append(seen, "error "+err.Error())
			}
			return seen
		}
		h := g.Head(req)
		if h.Rejection != nil {
			return append(seen, fmt.Sprintf("refused %s at %d", h.Rejection.Reason, h.Rejection.Offset))
		}
		body, err := io.ReadAll(req.Body)
		seen = append(seen, fmt.Sprintf("%s %s %s %q %d %q", h.Method, h.Target, h.Host, h.Fields, h.Bytes, body))
		if err != nil {
			if ve, ok := errors.AsType[*gate.VerdictError](err); ok && ve == g.BodyError() {
				return append(seen, fmt.Sprintf("broken %s at %d", ve.Verdict.Reason, ve.Verdict.Offset))
			}
			return append(seen, "body "+err.Error())
		}
		if h.Upgrade {
			return seen
		}
	}
}

// readPure says the same, from the pure grammar alone.
func readPure(raw []byte) []string {
	var seen []string
	for {
		h, n, err := ParseHead(raw, Limits{})
		if err != nil {
			return seen
		}
		if h.Rejection != nil {
			return append(seen, fmt.Sprintf("refused %s at %d", h.Rejection.Reason, h.Rejection.Offset))
		}
		raw = raw[n:]
		var body []byte
		broken := ""
		switch {
		case h.Length > 0:
			body = raw[:min(h.Length, int64(len(raw)))]
			if raw = raw[len(body):]; int64(len(body)) < h.Length {
				broken = fmt.Sprintf("broken %s at %d", gate.HTTPBodyCut, len(body))
			}
		case h.Length < 0:
			data, read, bad, done := decodeInPieces(raw, 0)
			size := len(raw)
			body, raw = data, raw[read:]
			if bad.reason != "" {
				broken = fmt.Sprintf("broken %s at %d", bad.reason, bad.at)
			} else if !done {
				broken = fmt.Sprintf("broken %s at %d", gate.HTTPBodyCut, size)
			}
		}
		seen = append(seen, fmt.Sprintf("%s %s %s %q %d %q", h.Method, h.Target, h.Host, h.Fields, h.Bytes, body))
		if broken != "" {
			return append(seen, broken)
		}
		if h.Upgrade {
			return seen
		}
	}
}

// FuzzConn holds that a connection yields the same requests however it is cut,
// that these are the ones that the pure grammar reads, and that every request
// of net/http is paired with its own head.
func FuzzConn(f *testing.F) {
	for i, raw := range corpus(f) {
		f.Add(raw, uint32(i))
		f.Add(append([]byte("POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\n\r\n"), raw...), uint32(i))
	}
	f.Fuzz(func(t *testing.T, raw []byte, seed uint32) {
		if len(raw) > 32<<10 {
			return
		}
		whole := readAll(raw, 0)
		if pure := readPure(raw); !slices.Equal(whole, pure) {
			t.Fatalf("%q is read as\n%q, and by the pure grammar as\n%q", raw, whole, pure)
		}
		if cut := readAll(raw, seed|1); !slices.Equal(whole, cut) {
			t.Fatalf("%q is read as\n%q, and in pieces as\n%q", raw, whole, cut)
		}
	})
}

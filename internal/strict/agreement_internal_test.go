package strict

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"slices"
	"testing"

	"sallyport/internal/testkit"
)

// handedOn reads a whole connection as net/http would, and returns the bytes
// that the guard handed on, the requests that were judged in them, the
// synthetic one of a refusal included, and whether a body broke at their end.
func handedOn(t *testing.T, raw []byte, seed uint32) (stream []byte, judged []testkit.Message, broken bool) {
	g := NewConn(&scriptConn{next: cutter(raw, seed)}, Limits{}, Hooks{})
	defer g.Close()
	var seen bytes.Buffer
	r := bufio.NewReader(io.TeeReader(g, &seen))
	for {
		req, err := http.ReadRequest(r)
		if errors.Is(err, io.EOF) {
			return seen.Bytes(), judged, false
		}
		if err != nil {
			t.Fatalf("net/http cannot read %q: %v", seen.Bytes(), err)
		}
		h := g.Head(req)
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return seen.Bytes(), judged, true
		}
		m := testkit.Message{Method: h.Method, Target: req.RequestURI, Body: string(body)} // the ticket stands for the target
		if h.Rejection != nil {
			m.Method = req.Method
		}
		judged = append(judged, m)
	}
}

// FuzzAgreement holds that whoever reads what the guard hands on, net/http or
// a reader that is careless in its own way, finds the requests that were
// judged, with the same bodies, and nothing else.
func FuzzAgreement(f *testing.F) {
	for i, raw := range corpus(f) {
		f.Add(raw, uint32(i))
		f.Add(slices.Concat([]byte("PUT /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n0\r\n\r\nGET "), raw), uint32(i))
		f.Add(slices.Concat([]byte("POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n9;x\r\n0\r\n\r\nGET \r\n0\r\nA: b\r\n\r\n"), raw), uint32(i))
	}
	f.Fuzz(func(t *testing.T, raw []byte, seed uint32) {
		if len(raw) > 32<<10 {
			return
		}
		stream, judged, broken := handedOn(t, raw, seed)
		for _, reader := range testkit.Readers() {
			got, err := reader.Read(stream)
			if !slices.Equal(got, judged) || (err != nil) != broken {
				t.Fatalf("%s reads %q as\n%q, %v, judged were\n%q, broken: %v", reader.Name, stream, got, err, judged, broken)
			}
		}
	})
}

// TestEveryCut cuts every connection of the corpus at every byte: the requests
// on it, their bodies and what is refused, and where, stay the same.
func TestEveryCut(t *testing.T) {
	t.Parallel()
	for _, raw := range corpus(t) {
		if len(raw) > 2<<10 {
			continue // as TestWire, at random places
		}
		want := readAll(raw, 0)
		for at := 1; at < len(raw); at++ {
			pieces := [][]byte{raw[:at], raw[at:], nil}
			got := readPieces(func() []byte {
				piece := pieces[0]
				if len(pieces) > 1 {
					pieces = pieces[1:]
				}
				return piece
			})
			if !slices.Equal(got, want) {
				t.Fatalf("%q cut at %d is read as\n%q, whole as\n%q", raw, at, got, want)
			}
		}
	}
}

// TestReadersDisagree shows that the readers are no copies of each other: they
// differ about what the guard would never hand on.
func TestReadersDisagree(t *testing.T) {
	t.Parallel()
	for rule, raw := range map[string]string{
		"two framings":              "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
		"two lengths":               "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 34\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
		"a space before the colon":  "POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 34\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
		"a field behind a CR":       "POST / HTTP/1.1\r\nHost: a\r\nX: y\rContent-Length: 34\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
		"a folded coding":           "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
		"a coding that is a list":   "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, x\r\n\r\n0\r\n\r\n",
		"a size with a prefix":      "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n",
		"a size that ends in LF":    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\na\r\n0\r\n\r\n",
		"an extension with a CR":    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;x\ry\r\na\r\n0\r\n\r\n",
		"a length with more behind": "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1,1\r\n\r\na",
	} {
		var first []testkit.Message
		var stopped, differ bool
		for i, reader := range testkit.Readers() {
			got, err := reader.Read([]byte(raw))
			if i == 0 {
				first, stopped = got, err != nil
			}
			differ = differ || !slices.Equal(got, first) || (err != nil) != stopped
		}
		if !differ {
			t.Errorf("%s: all readers read %q as %q", rule, raw, first)
		}
	}
}

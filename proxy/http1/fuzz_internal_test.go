package http1

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"
)

// FuzzHead: what is read without doubt is what net/http reads.
func FuzzHead(f *testing.F) {
	for _, seed := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nA: b\r\nA: c\r\n\r\n",
		"HTTP/1.0 301 Moved\r\nLocation: /\r\nConnection: keep-alive\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: A\r\n\r\n",
		"HTTP/1.1 200\r\n\r\n", "HTTP/1.1 200 OK\nA : b\n c\n\n", "HTTP/1.1 304 x\r\nContent-Length: 5,5\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
	} {
		f.Add(seed, "GET")
		f.Add(seed, "HEAD")
	}
	f.Fuzz(func(t *testing.T, text, method string) {
		scanned := 0
		end := endOfHead([]byte(text), &scanned)
		if end == 0 || end != len(text) {
			return
		}
		h, err := parseHead(text)
		if err != nil {
			return
		}
		chunked, err := h.frame(method)
		if err != nil || h.odd || h.StatusCode < 200 {
			return
		}
		theirs, err := http.ReadResponse(bufio.NewReader(strings.NewReader(text)), &http.Request{Method: method})
		if err != nil {
			t.Fatalf("%q is read, and net/http says %v", text, err)
		}
		// Without a body nothing depends on how it is framed.
		bodyless := method == http.MethodHead || h.StatusCode == http.StatusNoContent || h.StatusCode == http.StatusNotModified
		if theirs.StatusCode != h.StatusCode || !bodyless && (theirs.ContentLength != h.ContentLength || (len(theirs.TransferEncoding) > 0) != chunked) {
			t.Fatalf("%q: %d, length %d, chunked %v; net/http: %d, %d, %v", text, h.StatusCode, h.ContentLength, chunked, theirs.StatusCode, theirs.ContentLength, theirs.TransferEncoding)
		}
		for _, name := range []string{"Transfer-Encoding", "Trailer", "Connection", "Content-Length"} {
			delete(theirs.Header, name)
			delete(h.Header, name)
		}
		if !reflect.DeepEqual(theirs.Header, h.Header) {
			t.Fatalf("%q: fields %q, net/http: %q", text, h.Header, theirs.Header)
		}
	})
}

// unchunk reads all of it, in pieces of at most step bytes.
func unchunk(b []byte, step int) (content []byte, rest int, trailer http.Header, err error) {
	r := &chunkReader{trailer: func(fields http.Header) { trailer = fields }}
	for at := 0; at < len(b); {
		piece := bytes.Clone(b[at:min(at+step, len(b))])
		n, read, err := r.decode(piece)
		content = append(content, piece[:n]...)
		at += read
		if err != nil {
			return content, len(b) - at, trailer, err
		}
	}
	return content, 0, trailer, io.ErrUnexpectedEOF
}

// FuzzChunks: cutting the input in another way changes nothing, and what is
// read as a whole is what net/http reads.
func FuzzChunks(f *testing.F) {
	for _, seed := range []string{
		"2\r\nok\r\n0\r\n\r\n", "2;a=b\r\nok\r\n0\r\nA: b\r\n\r\n", "a\r\n0123456789\r\n00\r\n\r\nrest", "1 \r\na\r\n0\r\n\r\n", "1 ;a\r\n0\r\n0\r\n\r\n",
		"2\nok\r\n0\r\n\r\n", "2\r\nokk\r\n0\r\n\r\n", "0\r\n\r\n", "0\r\nA: b\n\r\n", "fffffffffffffff\r\nabc",
	} {
		f.Add([]byte(seed), 1)
		f.Add([]byte(seed), 3)
	}
	f.Fuzz(func(t *testing.T, b []byte, step int) {
		whole, rest, trailer, err := unchunk(b, max(len(b), 1))
		again, restAgain, _, errAgain := unchunk(b, 1+max(step, 0)%16)
		if !bytes.Equal(whole, again) || rest != restAgain || !errors.Is(errAgain, err) {
			t.Fatalf("%q: %q, %d left, %v; in pieces: %q, %d, %v", b, whole, rest, err, again, restAgain, errAgain)
		}
		if err != io.EOF {
			return
		}
		resp, err := http.ReadResponse(bufio.NewReader(io.MultiReader(strings.NewReader("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), bytes.NewReader(b))), nil)
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := io.ReadAll(resp.Body)
		stricter := strings.Contains(string(b), " ;") || strings.Contains(string(b), "\t;")        // RFC 9112 section 7.1.1 allows them there
		if err != nil && !stricter && len(trailer) == 0 && !strings.Contains(err.Error(), "too") { // its own limits, and its own idea of trailers
			t.Fatalf("%q is read, and net/http says %v", b, err)
		}
		if err == nil && !bytes.Equal(theirs, whole) {
			t.Fatalf("%q: %q, net/http: %q", b, whole, theirs)
		}
	})
}

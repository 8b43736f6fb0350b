//go:build integration

package gateway_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// A sight is one request as somebody saw it.
type sight struct {
	id     string // X-Request-Id, by which the gateway names it
	method string
	target string
	body   string
}

func (s sight) String() string {
	return fmt.Sprintf("%.80q %.200q, body %.80q", s.method, s.target, s.body)
}

// An origin is what stands behind a peer. It reads with a small strict reader
// of its own, so that what it says does not depend on any code of ours or of
// net/http's, answers 200 to each request and writes down what it saw.
type origin struct {
	address string

	mu     sync.Mutex
	seen   map[string][]sight // by id
	faults []string           // what was no plain HTTP/1.1
}

func newOrigin(t *testing.T) *origin {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o := &origin{address: l.Addr().String(), seen: map[string][]sight{}}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { c.Close() })
			wg.Go(func() { o.serve(c) })
		}
	})
	t.Cleanup(func() { l.Close() })
	return o
}

func (o *origin) serve(c net.Conn) {
	defer c.Close()
	for r := bufio.NewReaderSize(c, 128<<10); ; {
		s, err := readSight(r)
		o.mu.Lock()
		switch {
		case err == nil:
			o.seen[s.id] = append(o.seen[s.id], s)
		case !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed):
			o.faults = append(o.faults, fmt.Sprintf("%v after %v", err, s))
		}
		o.mu.Unlock()
		if err != nil {
			return
		}
		answer := "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
		if s.method != "HEAD" {
			answer += "ok"
		}
		if _, err := io.WriteString(c, answer); err != nil {
			return
		}
	}
}

// take returns the requests with an id, and forgets them.
func (o *origin) take(id string) []sight {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.seen[id]
	delete(o.seen, id)
	return s
}

// left returns what nobody has asked for: requests that no accepted one of the
// gateway explains, and what could not be read.
func (o *origin) left() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	all := o.faults
	for id, list := range o.seen {
		for _, s := range list {
			all = append(all, fmt.Sprintf("id %q: %v", id, s))
		}
	}
	return all
}

// readSight reads one request and nothing that could be read in two ways. The
// error is io.EOF when the connection ends before another begins.
func readSight(r *bufio.Reader) (sight, error) {
	var s sight
	if _, err := r.Peek(1); err != nil {
		return s, io.EOF // a reset of a kept connection is an end too
	}
	line, err := readLine(r)
	if err != nil {
		return s, err
	}
	parts := strings.Split(line, " ")
	if len(parts) != 3 || parts[0] == "" || parts[1] == "" || parts[2] != "HTTP/1.1" {
		return s, fmt.Errorf("request line %q", line)
	}
	s.method, s.target = parts[0], parts[1]
	length, chunked := -1, false
	for {
		line, err := readLine(r)
		if err != nil {
			return s, err
		}
		if line == "" {
			break
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || name == "" || strings.ContainsAny(name, " \t") {
			return s, fmt.Errorf("field line %q", line)
		}
		value = strings.Trim(value, " \t")
		switch strings.ToLower(name) {
		case "x-request-id":
			if s.id != "" {
				return s, fmt.Errorf("a second %s", line)
			}
			s.id = value
		case "content-length":
			n, err := strconv.ParseUint(value, 10, 31)
			if err != nil || length >= 0 {
				return s, fmt.Errorf("length %q", line)
			}
			length = int(n)
		case "transfer-encoding":
			if value != "chunked" || chunked {
				return s, fmt.Errorf("coding %q", line)
			}
			chunked = true
		}
	}
	switch {
	case chunked && length >= 0:
		return s, errors.New("a coding and a length")
	case chunked:
		s.body, err = readChunkedBody(r)
	case length > 0:
		b := make([]byte, length)
		_, err = io.ReadFull(r, b)
		s.body = string(b)
	}
	return s, noEOF(err)
}

func readChunkedBody(r *bufio.Reader) (string, error) {
	var body strings.Builder
	for {
		line, err := readLine(r)
		if err != nil {
			return "", err
		}
		size, err := strconv.ParseUint(line, 16, 31)
		if err != nil {
			return "", fmt.Errorf("chunk size %q", line)
		}
		if _, err := io.CopyN(&body, r, int64(size)); err != nil {
			return "", noEOF(err)
		}
		if end, err := readLine(r); err != nil || end != "" {
			return "", fmt.Errorf("end of a chunk %q, %v", end, err)
		}
		if size == 0 {
			return body.String(), nil
		}
	}
}

// readLine reads up to CRLF; no other CR or LF may stand in it.
func readLine(r *bufio.Reader) (string, error) {
	b, err := r.ReadSlice('\n')
	if err != nil {
		return "", noEOF(err)
	}
	line, ok := strings.CutSuffix(string(b), "\r\n")
	if !ok || strings.ContainsAny(line, "\r\x00") {
		return "", fmt.Errorf("line %q", b)
	}
	return line, nil
}

// noEOF says of an end that it came in the middle.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// TestReadSight holds the reader of the origin to what it is for: one reading
// or none.
func TestReadSight(t *testing.T) {
	t.Parallel()
	const head = "POST /a HTTP/1.1\r\nX-Request-Id: 1\r\n"
	for _, tc := range []struct{ rule, sent, body string }{
		{"no body", head + "\r\n", ""},
		{"a length", head + "Content-Length: 5\r\n\r\nhello", "hello"},
		{"chunks", head + "Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", "hello"},
	} {
		r := bufio.NewReader(strings.NewReader(tc.sent))
		s, err := readSight(r)
		if want := (sight{"1", "POST", "/a", tc.body}); err != nil || s != want {
			t.Errorf("%s: readSight(%q) = %v, %v, want %v", tc.rule, tc.sent, s, err, want)
		}
		if _, err := readSight(r); err != io.EOF {
			t.Errorf("%s: behind it: %v, want io.EOF", tc.rule, err)
		}
	}
	for _, tc := range []struct{ rule, sent string }{
		{"a bare LF", "GET / HTTP/1.1\nX: y\r\n\r\n"},
		{"two spaces", "GET  / HTTP/1.1\r\n\r\n"},
		{"another version", "GET / HTTP/1.0\r\n\r\n"},
		{"a folded line", "GET / HTTP/1.1\r\nX: y\r\n z\r\n\r\n"},
		{"a space before the colon", "GET / HTTP/1.1\r\nX : y\r\n\r\n"},
		{"two ids", head + "X-Request-Id: 1\r\n\r\n"},
		{"two lengths", head + "Content-Length: 1\r\nContent-Length: 1\r\n\r\na"},
		{"a length with a sign", head + "Content-Length: +1\r\n\r\na"},
		{"a length and a coding", head + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
		{"an unknown coding", head + "Transfer-Encoding: gzip\r\n\r\n0\r\n\r\n"},
		{"a chunk extension", head + "Transfer-Encoding: chunked\r\n\r\n0;a\r\n\r\n"},
		{"a chunk that is longer", head + "Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n"},
		{"a trailer", head + "Transfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n\r\n"},
		{"a cut body", head + "Content-Length: 5\r\n\r\nhell"},
		{"a cut head", "GET / HT"},
	} {
		if s, err := readSight(bufio.NewReader(strings.NewReader(tc.sent))); err == nil || err == io.EOF {
			t.Errorf("%s: readSight(%q) = %v, %v, want an error", tc.rule, tc.sent, s, err)
		}
	}
}

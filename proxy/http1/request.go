package http1

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
)

const (
	// sendBuffer is how much of a body is sent at a time.
	sendBuffer = 32 << 10
	// slowBuffer is the same for a body that comes in small pieces, and all
	// that a client pins who falls silent.
	slowBuffer = 2 << 10
	// chunkHead is the room for the size of a chunk and its CRLF.
	chunkHead = 8
	// inline is how long a body may be that is sent before the answer is read:
	// less than what sockets hold, so that a backend that answers first cannot
	// keep both sides from reading.
	inline = 32 << 10
)

var (
	sendBuffers = sync.Pool{New: func() any { return new([sendBuffer]byte) }}
	slowBuffers = sync.Pool{New: func() any { return new([slowBuffer]byte) }}
)

var (
	errShortBody = errors.New("the request body is shorter than its length")
	errLongBody  = errors.New("the request body is longer than its length")
)

// An outgoing is a request on its way to a backend.
type outgoing struct {
	*http.Request
	fields []Field // in place of those of its Header
}

// listed are the fields of a header, by name.
func listed(header http.Header) []Field {
	names := make([]string, 0, len(header))
	for name, values := range header {
		if name != "User-Agent" || len(values) != 1 || values[0] != "" { // else it is how net/http is told to write none
			names = append(names, name)
		}
	}
	slices.Sort(names)
	list := make([]Field, 0, len(names))
	for _, name := range names {
		for _, value := range header[name] {
			list = append(list, Field{name, value})
		}
	}
	return list
}

// upgrades reports whether the request asks for another protocol.
func (r outgoing) upgrades() bool {
	return slices.ContainsFunc(r.fields, func(f Field) bool {
		return strings.EqualFold(f.Name, "Connection") && hasToken([]string{f.Value}, "upgrade")
	})
}

// hasBody reports whether there is one to send.
func (r outgoing) hasBody() bool { return r.Body != nil && r.Body != http.NoBody }

func (r outgoing) closeBody() {
	if r.Body != nil {
		_ = r.Body.Close()
	}
}

// chunked reports whether the length of the body is not known.
func (r outgoing) chunked() bool {
	return r.hasBody() && (r.ContentLength < 0 || slices.Contains(r.TransferEncoding, "chunked"))
}

// check refuses what could not be written as one request.
func (r outgoing) check() error {
	if r.URL == nil {
		return errors.New("a request without URL")
	}
	if !isToken(r.Method) {
		return fmt.Errorf("method %q", r.Method)
	}
	if target := r.URL.RequestURI(); target == "" || strings.ContainsFunc(target, func(c rune) bool { return c <= ' ' || c == 0x7f }) {
		return fmt.Errorf("target %q", target)
	}
	if r.Host == "" || !isValue(r.Host) || strings.ContainsAny(r.Host, " \t,/") {
		return fmt.Errorf("host %q", r.Host)
	}
	for i := range r.fields {
		switch f := &r.fields[i]; {
		case !isToken(f.Name):
			return fmt.Errorf("field name %q", f.Name)
		case !isValue(f.Value):
			return fmt.Errorf("value of field %q", f.Name)
		}
	}
	return nil
}

// appendHead writes the request line and the fields. The framing is ours: no
// field of it is taken from the list.
func (r outgoing) appendHead(b []byte) []byte {
	b = append(b, r.Method...)
	b = append(b, ' ')
	b = append(b, r.URL.RequestURI()...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, r.Host...)
	b = append(b, "\r\n"...)
	switch {
	case r.chunked():
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	case r.hasBody() && r.ContentLength > 0, r.Method == http.MethodPost, r.Method == http.MethodPut, r.Method == http.MethodPatch:
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, max(0, r.ContentLength), 10)
		b = append(b, "\r\n"...)
	}
	if r.chunked() && len(r.Trailer) > 0 {
		b = appendField(b, "Trailer", strings.Join(trailerNames(r.Trailer), ", "))
	}
	for i := range r.fields {
		if f := &r.fields[i]; !isFraming(f.Name) {
			b = appendField(b, f.Name, f.Value)
		}
	}
	return append(b, "\r\n"...)
}

func appendField(b []byte, name, value string) []byte {
	b = append(b, name...)
	b = append(b, ": "...)
	b = append(b, value...)
	return append(b, "\r\n"...)
}

// trailerNames are the trailers that are announced and sent.
func trailerNames(trailer http.Header) []string {
	var names []string
	for name := range trailer {
		if isToken(name) && !isFraming(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// isFraming tells the fields that say where a message ends or whom it is for.
func isFraming(name string) bool {
	switch len(name) {
	case len("Host"):
		return strings.EqualFold(name, "Host")
	case len("Trailer"):
		return strings.EqualFold(name, "Trailer")
	case len("Content-Length"):
		return strings.EqualFold(name, "Content-Length")
	case len("Transfer-Encoding"):
		return strings.EqualFold(name, "Transfer-Encoding")
	}
	return false
}

// A held body is one whose Reads never wait for anybody.
type held interface{ Held() bool }

// short reports whether the whole request can be sent before its answer is
// read.
func (r outgoing) short() bool {
	h, ok := r.Body.(held)
	return ok && h.Held() && 0 <= r.ContentLength && r.ContentLength <= inline && !r.chunked()
}

// A bodyError is why the body of the request could not be read. It is not the
// backend's fault.
type bodyError struct{ error }

// Unwrap returns what the body said.
func (e bodyError) Unwrap() error { return e.error }

// A sender writes one request.
type sender struct {
	w       io.Writer
	request outgoing
	large   *[sendBuffer]byte // one of both
	small   *[slowBuffer]byte
	left    int64 // of a body with a length
}

// send writes the request, head and body. An error is a bodyError or one of
// the connection.
func (s *sender) send() error {
	defer s.free()
	s.large = sendBuffers.Get().(*[sendBuffer]byte)
	head := s.request.appendHead(s.large[:0])
	switch {
	case !s.request.hasBody():
		_, err := s.w.Write(head)
		return err
	case s.request.chunked():
		if _, err := s.w.Write(head); err != nil {
			return err
		}
		return s.chunks()
	}
	s.left = s.request.ContentLength
	if !s.request.short() || len(head) > sendBuffer/2 {
		if _, err := s.w.Write(head); err != nil {
			return err
		}
		head = head[:0]
	}
	return s.plain(head)
}

// buffer is what the next part of the body is read into.
func (s *sender) buffer() []byte {
	if s.large != nil {
		return s.large[:]
	}
	return s.small[:]
}

// fit changes to the buffer that fits to how the body comes: n bytes were read
// where room for more was.
func (s *sender) fit(n, room int) {
	switch {
	case s.large != nil && n <= slowBuffer/2:
		s.free()
		s.small = slowBuffers.Get().(*[slowBuffer]byte)
	case s.small != nil && n == room:
		s.free()
		s.large = sendBuffers.Get().(*[sendBuffer]byte)
	}
}

func (s *sender) free() {
	if s.large != nil {
		sendBuffers.Put(s.large)
	}
	if s.small != nil {
		slowBuffers.Put(s.small)
	}
	s.large, s.small = nil, nil
}

// plain sends a body of known length, behind what is waiting in pending, which
// lies in the buffer.
func (s *sender) plain(pending []byte) error {
	at := len(pending)
	for {
		b := s.buffer()
		room := b[at:]
		if int64(len(room)) > s.left { // one byte more shows a body that is too long before it is complete
			room = room[:s.left+1]
		}
		n, err := s.request.Body.Read(room)
		if int64(n) > s.left {
			return bodyError{errLongBody}
		}
		s.left -= int64(n)
		if at+n > 0 {
			if _, werr := s.w.Write(b[:at+n]); werr != nil {
				return werr
			}
		}
		switch {
		case err == io.EOF && s.left > 0:
			return bodyError{errShortBody}
		case err == io.EOF:
			return nil
		case err != nil:
			return bodyError{err}
		}
		if at == 0 && s.left > 0 {
			s.fit(n, len(room))
		}
		at = 0
	}
}

// chunks sends a body in chunks, each written as a whole.
func (s *sender) chunks() error {
	for {
		b := s.buffer()
		room := b[chunkHead : len(b)-2]
		n, err := s.request.Body.Read(room)
		if n > 0 {
			from := chunkSize(b, n)
			end := append(b[:chunkHead+n], '\r', '\n')
			if _, werr := s.w.Write(end[from:]); werr != nil {
				return werr
			}
		}
		if err == io.EOF {
			return s.trailers()
		}
		if err != nil {
			return bodyError{err}
		}
		s.fit(n, len(room))
	}
}

// chunkSize writes the size of a chunk right before it and returns where.
func chunkSize(b []byte, n int) int {
	at := chunkHead - 2
	b[at], b[at+1] = '\r', '\n'
	for ; n > 0; n >>= 4 {
		at--
		b[at] = "0123456789abcdef"[n&15]
	}
	return at
}

// trailers ends a body in chunks.
func (s *sender) trailers() error {
	b := append(make([]byte, 0, 256), "0\r\n"...)
	for _, name := range trailerNames(s.request.Trailer) {
		for _, value := range s.request.Trailer[name] {
			if isValue(value) {
				b = appendField(b, name, value)
			}
		}
	}
	_, err := s.w.Write(append(b, "\r\n"...))
	return err
}

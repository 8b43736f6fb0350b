package selftest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A Message is one request as the capture read it.
type Message struct {
	Method string
	Target string
	Body   string
	Fields map[string]string // by name in lower case; several values joined
	Close  bool              // the connection ends after the answer
	Cut    bool              // the connection ended inside the body
}

// errIncomplete tells that more bytes are needed.
var errIncomplete = errors.New("incomplete")

// An oddError says why bytes are not the one plain form of a request.
type oddError string

func (e oddError) Error() string { return string(e) }

func oddf(format string, args ...any) error { return oddError(fmt.Sprintf(format, args...)) }

const (
	maxCapturedHead = 128 << 10
	maxCapturedBody = 1 << 20
)

// readMessage reads one request from the beginning of b and returns how many
// bytes it took. It knows the one form that no two readers can take for
// different requests, and calls everything else odd: it is written for this
// purpose and shares nothing with the grammar that is under test.
//
// When only the body is incomplete, the Message has its head.
func readMessage(b []byte) (Message, int, error) {
	head, size, err := cutHead(b)
	if err != nil {
		return Message{}, 0, err
	}
	lines := strings.Split(head, "\r\n")
	m, version, err := readRequestLine(lines[0])
	if err != nil {
		return m, 0, err
	}
	fields, err := readFields(lines[1:])
	if err != nil {
		return m, 0, err
	}
	if n := len(fields["host"]); n > 1 || n == 0 && version == "HTTP/1.1" {
		return m, 0, oddf("%d Host fields", n)
	}
	persistence := strings.ToLower(strings.Join(fields["connection"], ","))
	m.Close = strings.Contains(persistence, "close") || version == "HTTP/1.0" && !strings.Contains(persistence, "keep-alive")
	m.Fields = make(map[string]string, len(fields))
	for name, values := range fields {
		m.Fields[name] = strings.Join(values, ", ")
	}
	body, used, err := readBody(b[size:], version, fields)
	m.Body = string(body)
	return m, size + used, err
}

// cutHead returns the head without its last empty line, and its size with it.
func cutHead(b []byte) (string, int, error) {
	end := bytes.Index(b, []byte("\r\n\r\n"))
	head := b
	if end >= 0 {
		head = b[:end]
	}
	for i, c := range head {
		switch {
		case c == '\n' && (i == 0 || head[i-1] != '\r'):
			return "", 0, oddf("an LF without CR")
		case c == '\r' && i+1 < len(head) && head[i+1] != '\n':
			return "", 0, oddf("a CR without LF")
		}
	}
	switch {
	case bytes.HasPrefix(head, []byte("\r\n")):
		return "", 0, oddf("an empty line before the request")
	case len(head) > maxCapturedHead:
		return "", 0, oddf("a head of more than %d bytes", maxCapturedHead)
	case end < 0:
		return "", 0, errIncomplete
	}
	return string(head), end + len("\r\n\r\n"), nil
}

func readRequestLine(s string) (Message, string, error) {
	words := strings.Split(s, " ")
	if len(words) != 3 {
		return Message{}, "", oddf("a request line of %d words", len(words))
	}
	m := Message{Method: words[0], Target: words[1]}
	switch {
	case !isToken(m.Method):
		return m, "", oddf("a method that is no token")
	case m.Target == "" || strings.ContainsFunc(m.Target, func(r rune) bool { return r <= ' ' || r >= 0x7f }):
		return m, "", oddf("a target with bytes that it may not hold")
	case words[2] != "HTTP/1.1" && words[2] != "HTTP/1.0":
		return m, "", oddf("a version that is not HTTP/1.0 or HTTP/1.1")
	}
	return m, words[2], nil
}

// readFields returns the values by the name in lower case.
func readFields(lines []string) (map[string][]string, error) {
	fields := map[string][]string{}
	for _, l := range lines {
		name, value, ok := strings.Cut(l, ":")
		value = strings.Trim(value, " \t")
		switch {
		case !ok:
			return nil, oddf("a field line without a colon")
		case !isToken(name):
			return nil, oddf("a field name that is no token")
		case strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }):
			return nil, oddf("a control in a field value")
		}
		name = strings.ToLower(name)
		fields[name] = append(fields[name], value)
	}
	return fields, nil
}

// readBody reads a body that has one framing, or none.
func readBody(b []byte, version string, fields map[string][]string) (body []byte, used int, err error) {
	lengths, codings := fields["content-length"], fields["transfer-encoding"]
	switch {
	case len(lengths)+len(codings) == 0:
		return nil, 0, nil
	case len(lengths)+len(codings) > 1:
		return nil, 0, oddf("%d Content-Length and %d Transfer-Encoding fields", len(lengths), len(codings))
	case len(codings) == 1:
		if !strings.EqualFold(codings[0], "chunked") || version == "HTTP/1.0" {
			return nil, 0, oddf("a Transfer-Encoding that is not chunked in HTTP/1.1")
		}
		return readChunks(b)
	}
	n, err := strconv.Atoi(lengths[0])
	switch {
	case err != nil || n < 0 || strconv.Itoa(n) != lengths[0]:
		return nil, 0, oddf("a Content-Length that is not a plain number")
	case n > maxCapturedBody:
		return nil, 0, oddf("a body of more than %d bytes", maxCapturedBody)
	case n > len(b):
		return b, len(b), errIncomplete
	}
	return b[:n], n, nil
}

// readChunks reads the chunked coding, without extensions and trailers.
func readChunks(b []byte) (body []byte, used int, err error) {
	for {
		line, rest, ok := bytes.Cut(b[used:], []byte("\r\n"))
		if slices.ContainsFunc(line, func(c byte) bool { return !isHex(c) && (ok || c != '\r') }) || ok && len(line) == 0 || len(line) > 8 {
			return body, used, oddf("a chunk size that is not plain hexadecimal")
		}
		if !ok {
			return body, used, errIncomplete
		}
		n, err := strconv.ParseUint(string(line), 16, 32)
		if err != nil || n > maxCapturedBody || len(body) > maxCapturedBody {
			return body, used, oddf("a body of more than %d bytes", maxCapturedBody)
		}
		size := int(n)
		if end := rest[min(size, len(rest)):]; !bytes.HasPrefix(end, []byte("\r\n")) {
			if len(end) > 1 || len(end) == 1 && end[0] != '\r' {
				return body, used, oddf("chunk data, or the last chunk, without CRLF behind it")
			}
			return append(body, rest[:min(size, len(rest))]...), used, errIncomplete
		}
		used += len(line) + size + 2*len("\r\n")
		body = append(body, rest[:size]...)
		if size == 0 {
			return body, used, nil
		}
	}
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	})
}

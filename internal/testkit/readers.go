package testkit

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// A Message is one request as a backend understands it.
type Message struct{ Method, Target, Body string }

// A Reader splits a stream of bytes into requests as some backend would. The
// error says why it stopped before the end of the stream.
type Reader struct {
	Name string
	Read func(stream []byte) ([]Message, error)
}

var errCut = errors.New("the stream ends inside a request")

// Readers are net/http's reader and three naive ones, each careless in its own
// way, as real backends are. Where they differ about a stream, somebody can be
// made to believe in a request that nobody judged; where all of them agree,
// nothing is left to be careless about.
func Readers() []Reader {
	return []Reader{
		{"net/http", readNetHTTP},
		{"length-first", readLengthFirst},
		{"coding-first", readCodingFirst},
		{"LF-tolerant", readLFTolerant},
	}
}

func readNetHTTP(stream []byte) ([]Message, error) {
	r := bufio.NewReader(bytes.NewReader(stream))
	var all []Message
	for {
		req, err := http.ReadRequest(r)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return all, err
		}
		all = append(all, Message{req.Method, req.RequestURI, string(body)})
	}
}

// readLengthFirst looks for a Content-Length anywhere in the head, takes the
// first, and reads its digits as far as they go. Only without one does it ask
// for a coding.
func readLengthFirst(stream []byte) ([]Message, error) {
	s := string(stream)
	var all []Message
	for s != "" {
		head, rest, ok := strings.Cut(s, "\r\n\r\n")
		if !ok {
			return all, errCut
		}
		lines := strings.Split(strings.TrimLeft(head, "\r\n"), "\r\n")
		m, err := startLine(lines[0])
		if err != nil {
			return all, err
		}
		length, chunked := -1, false
		for _, l := range lines[1:] {
			name, value, _ := strings.Cut(strings.ToLower(l), ":")
			switch name {
			case "content-length":
				if length < 0 {
					length = leadingNumber(strings.Trim(value, " \t"))
				}
			case "transfer-encoding":
				chunked = chunked || strings.Contains(value, "chunked")
			}
		}
		switch {
		case length >= 0:
			if length > len(rest) {
				return all, errCut
			}
			m.Body, s = rest[:length], rest[length:]
		case chunked:
			if m.Body, s, err = strictChunks(rest); err != nil {
				return all, err
			}
		default:
			s = rest
		}
		all = append(all, m)
	}
	return all, nil
}

// strictChunks cuts at CRLF and reads what stands before the first semicolon.
func strictChunks(s string) (body, rest string, err error) {
	var b strings.Builder
	for {
		line, after, ok := strings.Cut(s, "\r\n")
		if !ok {
			return "", "", errCut
		}
		digits, _, _ := strings.Cut(line, ";")
		n, err := strconv.ParseUint(digits, 16, 31)
		switch {
		case err != nil:
			return "", "", err
		case n == 0:
			for line = "x"; line != ""; {
				if line, after, ok = strings.Cut(after, "\r\n"); !ok {
					return "", "", errCut
				}
			}
			return b.String(), after, nil
		case len(after) < int(n)+2:
			return "", "", errCut
		}
		b.WriteString(after[:n])
		s = after[n+2:]
	}
}

// readCodingFirst believes in chunks as soon as the word stands in a
// Transfer-Encoding, wherever, and reads sizes as strtol does. It trims names,
// and what it does not know it skips.
func readCodingFirst(stream []byte) ([]Message, error) {
	var all []Message
	for at := 0; at < len(stream); {
		end := bytes.Index(stream[at:], []byte("\r\n\r\n"))
		if end < 0 {
			return all, errCut
		}
		head := string(stream[at : at+end])
		at += end + 4
		first, fields, _ := strings.Cut(strings.TrimLeft(head, "\r\n"), "\r\n")
		m, err := startLine(first)
		if err != nil {
			return all, err
		}
		chunked, length := false, 0
		for l := range strings.SplitSeq(fields, "\r\n") {
			name, value, _ := strings.Cut(l, ":")
			switch strings.ToLower(strings.TrimSpace(name)) {
			case "transfer-encoding":
				chunked = chunked || strings.Contains(strings.ToLower(value), "chunked")
			case "content-length":
				length, _ = strconv.Atoi(strings.TrimSpace(value))
			}
		}
		var body []byte
		for chunked {
			nl := bytes.IndexByte(stream[at:], '\n')
			if nl < 0 {
				return all, errCut
			}
			n := strtol(stream[at:])
			if at += nl + 1; at+n+2 > len(stream) {
				return all, errCut
			}
			if n > 0 {
				body = append(body, stream[at:at+n]...)
				at += n + 2
				continue
			}
			for chunked { // trailers, to the first empty line
				nl := bytes.Index(stream[at:], []byte("\r\n"))
				if nl < 0 {
					return all, errCut
				}
				at += nl + 2
				chunked = nl > 0
			}
			length = 0
		}
		if length > 0 {
			if at+length > len(stream) {
				return all, errCut
			}
			body = stream[at : at+length]
			at += length
		}
		m.Body = string(body)
		all = append(all, m)
	}
	return all, nil
}

// readLFTolerant ends lines at LF, and at a CR alone; joins folded lines; lets
// the last of several fields win; and reads a request line of two words.
func readLFTolerant(stream []byte) ([]Message, error) {
	var all []Message
	var failure error
	next := func() string {
		i := bytes.IndexAny(stream, "\r\n")
		if i < 0 {
			failure = errCut
			return ""
		}
		line := string(stream[:i])
		if stream = stream[i+1:]; len(stream) > 0 && stream[0] == '\n' {
			stream = stream[1:]
		}
		return line
	}
	take := func(n int) string {
		if n > len(stream) {
			failure = errCut
			return ""
		}
		part := string(stream[:n])
		stream = stream[n:]
		return part
	}
	for len(stream) > 0 {
		first := ""
		for first == "" && failure == nil && len(stream) > 0 {
			first = next()
		}
		if first == "" {
			return all, failure
		}
		m, err := startLine(first)
		if err != nil {
			return all, err
		}
		values, last := map[string]string{}, ""
		for line := next(); line != ""; line = next() {
			if line[0] == ' ' || line[0] == '\t' {
				values[last] += " " + strings.TrimSpace(line)
				continue
			}
			name, value, _ := strings.Cut(line, ":")
			last = strings.ToLower(strings.TrimSpace(name))
			values[last] = strings.TrimSpace(value)
		}
		if strings.HasSuffix(strings.ToLower(values["transfer-encoding"]), "chunked") {
			for failure == nil {
				n := strtol([]byte(next()))
				if n == 0 {
					for failure == nil && next() != "" {
						continue
					}
					break
				}
				m.Body += take(n)
				next()
			}
		} else if length := values["content-length"]; length != "" {
			m.Body = take(leadingNumber(length))
		}
		if failure != nil {
			return all, failure
		}
		all = append(all, m)
	}
	return all, nil
}

// startLine takes the first two words of a request line.
func startLine(line string) (Message, error) {
	words := strings.Fields(line)
	if len(words) < 2 {
		return Message{}, fmt.Errorf("no request line: %q", line)
	}
	return Message{Method: words[0], Target: words[1]}, nil
}

// leadingNumber reads decimal digits as far as they go.
func leadingNumber(s string) int {
	end := 0
	for end < len(s) && end < 9 && '0' <= s[end] && s[end] <= '9' {
		end++
	}
	n, _ := strconv.Atoi(s[:end]) // no digits are a zero
	return n
}

// strtol reads a hexadecimal number as C does: white space and a prefix
// before it, anything behind it.
func strtol(b []byte) int {
	s := strings.TrimLeft(string(b[:min(len(b), 24)]), " \t\v\f")
	s = strings.TrimPrefix(strings.TrimPrefix(s, "+"), "0x")
	end := 0
	for end < len(s) && end < 7 && strings.IndexByte("0123456789abcdefABCDEF", s[end]) >= 0 {
		end++
	}
	n, _ := strconv.ParseUint(s[:end], 16, 31) // no digits are a zero
	return int(n)
}

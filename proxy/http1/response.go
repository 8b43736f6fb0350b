package http1

import (
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
)

var (
	errStatusLine  = errors.New("a malformed status line")
	errField       = errors.New("a malformed field line")
	errLength      = errors.New("a Content-Length that is none, or several that differ")
	errCoding      = errors.New("a transfer coding other than chunked")
	errTwoFramings = errors.New("both Transfer-Encoding and Content-Length")
	errEndless     = errors.New("a head or trailers without an end")
)

// maxFields bounds the field lines of one head.
const maxFields = 1000

// A head is what was read before a body.
type head struct {
	http.Response
	// odd says that something was read that others would read in another way:
	// the answer is good, but the connection is not used again.
	odd  bool
	stay bool // the connection may be used again
}

// parseHead reads a status line and its fields, up to the empty line. What
// RFC 9112 lets a proxy mend is mended: line ends without CR (section 2.2), a
// space before the colon (section 5.1), folded lines (section 5.2).
func parseHead(text string) (head, error) {
	line, rest, odd := cutLine(text)
	h := head{Response: http.Response{ProtoMajor: 1}, odd: odd}
	switch {
	case strings.HasPrefix(line, "HTTP/1.1 "):
		h.Proto, h.ProtoMinor = "HTTP/1.1", 1
	case strings.HasPrefix(line, "HTTP/1.0 "):
		h.Proto = "HTTP/1.0"
	default:
		return head{}, errStatusLine
	}
	h.Status = line[len("HTTP/1.1 "):]
	if len(h.Status) < 3 || len(h.Status) > 3 && h.Status[3] != ' ' || strings.ContainsFunc(h.Status[:3], func(c rune) bool { return c < '0' || c > '9' }) {
		return head{}, errStatusLine
	}
	h.StatusCode, _ = strconv.Atoi(h.Status[:3]) // three digits
	if h.StatusCode < 100 {
		return head{}, errStatusLine
	}
	var err error
	if h.Header, odd, err = parseFields(rest); err != nil {
		return head{}, err
	}
	h.odd = h.odd || odd
	h.stay = !hasToken(h.Header["Connection"], "close") && (h.ProtoMinor == 1 || hasToken(h.Header["Connection"], "keep-alive"))
	return h, nil
}

// cutLine returns a line without its end, and what follows. odd: the end was
// no CRLF, or a CR stands elsewhere.
func cutLine(text string) (line, rest string, odd bool) {
	line, rest, _ = strings.Cut(text, "\n")
	line, found := strings.CutSuffix(line, "\r")
	return line, rest, !found || strings.IndexByte(line, '\r') >= 0
}

// parseFields reads field lines up to the empty line.
func parseFields(text string) (fields http.Header, odd bool, err error) {
	lines := strings.Count(text, "\n")
	if lines > maxFields {
		return nil, false, errEndless
	}
	fields = make(http.Header, lines)
	single := make([]string, 0, lines) // one allocation for all fields that come once
	last := ""
	for {
		line, rest, strange := cutLine(text)
		odd, text = odd || strange, rest
		if line == "" {
			return fields, odd, nil
		}
		if line[0] == ' ' || line[0] == '\t' {
			values := fields[last]
			if len(values) == 0 || !isValue(line) {
				return nil, false, errField
			}
			values[len(values)-1] += " " + strings.Trim(line, " \t")
			odd = true
			continue
		}
		name, value, found := strings.Cut(line, ":")
		if trimmed := strings.TrimRight(name, " \t"); trimmed != name {
			name, odd = trimmed, true
		}
		if !found || !isToken(name) {
			return nil, false, fmt.Errorf("%w: %.40q", errField, name)
		}
		if !isValue(value) {
			return nil, false, fmt.Errorf("%w: a control in %.40q", errField, name)
		}
		last = textproto.CanonicalMIMEHeaderKey(name)
		value = strings.Trim(value, " \t")
		if have, again := fields[last]; again {
			fields[last] = append(have, value)
			continue
		}
		single = append(single, value)
		fields[last] = single[len(single)-1 : len(single) : len(single)]
	}
}

// frame finds out how the body ends (RFC 9112 section 6.3). Its length is -1
// when it comes in chunks or ends with the connection.
func (h *head) frame(method string) (chunked bool, err error) {
	codings := h.Header["Transfer-Encoding"]
	length, several, err := contentLength(h.Header["Content-Length"])
	h.odd = h.odd || several
	h.ContentLength = length
	switch {
	case h.StatusCode < 200:
		h.ContentLength = 0
		return false, nil
	case err != nil:
		return false, err
	case len(codings) > 1, len(codings) == 1 && (h.ProtoMinor == 0 || !strings.EqualFold(codings[0], "chunked")):
		return false, errCoding
	case h.StatusCode == http.StatusNoContent || h.StatusCode == http.StatusNotModified:
		h.ContentLength = 0
		return false, nil
	case method == http.MethodHead, len(codings) == 0:
		return false, nil
	case length >= 0:
		return false, errTwoFramings
	}
	h.TransferEncoding = []string{"chunked"}
	delete(h.Header, "Transfer-Encoding")
	h.Trailer = announced(h.Header["Trailer"])
	return true, nil
}

// contentLength reads the length; -1: none is given. The same one several
// times is one (RFC 9110 section 8.6).
func contentLength(lines []string) (length int64, several bool, err error) {
	if len(lines) == 0 {
		return -1, false, nil
	}
	length = -1
	for _, line := range lines {
		for member := range strings.SplitSeq(line, ",") {
			member = strings.Trim(member, " \t")
			n, err := strconv.ParseUint(member, 10, 63)
			if err != nil || length >= 0 && int64(n) != length {
				return -1, false, errLength
			}
			several = several || length >= 0
			length = int64(n)
		}
	}
	return length, several, nil
}

// announced makes room for the trailers that are announced.
func announced(lines []string) http.Header {
	var trailer http.Header
	for _, line := range lines {
		for name := range strings.SplitSeq(line, ",") {
			name = textproto.CanonicalMIMEHeaderKey(strings.Trim(name, " \t"))
			if !isToken(name) || isFraming(name) {
				continue
			}
			if trailer == nil {
				trailer = http.Header{}
			}
			trailer[name] = nil
		}
	}
	return trailer
}

// inToken tells the bytes of tokens (RFC 9110 section 5.6.2).
var inToken = func() (in [256]bool) {
	for c := range in {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		in[c] = letter || '0' <= c && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", byte(c)) >= 0
	}
	return in
}()

func isToken(s string) bool {
	for i := range len(s) {
		if !inToken[s[i]] {
			return false
		}
	}
	return s != ""
}

// isValue: no controls but the tab (RFC 9110 section 5.5). Eight bytes without
// any are passed over at once.
func isValue(s string) bool {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	for len(s) >= 8 {
		x := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
			uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
		del := x ^ 0x7f*ones
		// A byte below a space, or that is 0x7f, borrows from its highest bit; so
		// may the one behind it, which is looked at for nothing.
		if ((x-' '*ones)&^x|(del-ones)&^del)&highs != 0 && !plain(s[:8]) {
			return false
		}
		s = s[8:]
	}
	return plain(s)
}

// plain is isValue, byte by byte.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// hasToken looks for a token in a list that may stand in several lines.
func hasToken(lines []string, token string) bool {
	for _, line := range lines {
		for member := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.Trim(member, " \t"), token) {
				return true
			}
		}
	}
	return false
}

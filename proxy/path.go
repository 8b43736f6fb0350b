package proxy

import (
	"bytes"
	"strings"
)

// canonicalPath is the path of a target in the form that routes are matched
// against: unreserved characters decoded (RFC 3986 section 6.2.2.2), the
// letters of other escapes in upper case, dot segments resolved (RFC 3986
// section 5.2.4), empty segments and the parameters of segments left out, as
// many servers do. It is for matching only: a backend receives the target as
// it was sent. An encoded slash stays encoded.
func canonicalPath(target string) string {
	path, _, _ := strings.Cut(target, "?")
	if path == "" || path[0] != '/' || plainPath(path) {
		return path
	}
	rest := decodeUnreserved(path)[1:]
	out := make([]byte, 0, len(path)+1)
	for more := true; more; {
		var segment string
		segment, rest, more = strings.Cut(rest, "/")
		segment, _, _ = strings.Cut(segment, ";")
		switch segment {
		case "", ".":
		case "..":
			out = out[:max(0, bytes.LastIndexByte(out, '/'))]
		default:
			out = append(append(out, '/'), segment...)
			continue
		}
		if !more { // what ends in a slash or a dot segment names a directory
			out = append(out, '/')
		}
	}
	return string(out)
}

// plainPath reports whether the path is canonical already, as nearly all are.
func plainPath(path string) bool {
	for i := 0; i < len(path); i++ {
		switch path[i] {
		case '%', ';':
			return false
		case '/':
			if i+1 < len(path) && (path[i+1] == '/' || path[i+1] == '.') {
				return false
			}
		}
	}
	return true
}

// decodeUnreserved decodes the escapes that need not be there, and writes the
// others in upper case. A percent sign that begins no escape stays.
func decodeUnreserved(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '%' || i+2 >= len(s) || !isHex(s[i+1]) || !isHex(s[i+2]) {
			b.WriteByte(s[i])
			continue
		}
		if c := unhex(s[i+1])<<4 | unhex(s[i+2]); isUnreserved(c) {
			b.WriteByte(c)
		} else {
			b.WriteString(strings.ToUpper(s[i : i+3]))
		}
		i += 2
	}
	return b.String()
}

func isAlnum(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// isUnreserved: RFC 3986 section 2.3.
func isUnreserved(c byte) bool {
	return isAlnum(c) || c == '-' || c == '.' || c == '_' || c == '~'
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func unhex(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c <= 'F':
		return c - 'A' + 10
	default:
		return c - 'a' + 10
	}
}

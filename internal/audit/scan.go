package audit

import (
	"bytes"
	"slices"
)

// maxName is how far back from a separator a name is looked for.
const maxName = 256

// scan finds the secrets in a text that give themselves away, by the name that
// stands before them or by their shape, and notes where they are.
func (r *redactor) scan(l *level, k kind) {
	t := l.text
	r.dotless = 0
	for i := 0; i < len(t); i++ {
		c := t[i]
		if !telling[c] {
			continue
		}
		end := 0
		switch {
		case c == '=' || c == ':':
			end = r.assigned(l, i, k)
		case c == '>':
			end = r.element(l, i)
		case c == '-':
			end = r.keyBlock(l, i)
		case i == 0 || !alnum(t[i-1]) || digit(c) && !digit(t[i-1]):
			end = r.shape(l, i)
		}
		if end > i {
			i = end - 1
		}
	}
}

// assigned looks at a separator between a name and a value, in forms, headers,
// cookies, JSON, XML attributes and multipart heads. It returns the end of the
// secret value that follows, or 0.
func (r *redactor) assigned(l *level, i int, k kind) int {
	t := l.text
	if t[i] == ':' && bytes.HasPrefix(t[i:], []byte("://")) {
		return r.userinfo(l, i+3)
	}
	from, to, quoted := nameBefore(t, i)
	name := t[from:to]
	if len(name) == 0 {
		return 0
	}
	r.low = appendLower(r.low[:0], name)
	header := t[i] == ':' && !quoted && r.names.headers[string(r.low)]
	// An excerpt may begin within a name.
	secret := header || r.names.field(name) || k == excerpt && from == 0 && !slices.Contains(framing, string(r.low))
	if !secret {
		if t[i] == '=' && string(r.low) == "name" {
			return r.part(l, i+1)
		}
		return 0
	}
	start := i + 1
	form := t[i] == '=' && !quoted && (from == 0 || t[from-1] == '&' || t[from-1] == '?')
	for start < len(t) && (t[start] == ' ' || t[start] == '\t') && !form {
		start++
	}
	var end int
	switch {
	case k == path:
		end = until(t, start, "/;?&")
	case form:
		end = until(t, start, "&\r\n")
	case start < len(t) && (t[start] == '"' || t[start] == '\''):
		end = closing(t, start)
		start++
	case t[i] == ':' && start < len(t) && (t[start] == '{' || t[start] == '['):
		end = r.bracketed(t, start)
	case t[i] == ':' && quoted:
		end = until(t, start, ",}] \t\r\n")
	case t[i] == ':' && (header || start > i+1):
		end = until(t, start, "\r\n")
	default:
		end = until(t, start, "&;\"'<> \t\r\n")
	}
	if n := card(t, start); n > end {
		end = n // its groups may be apart
	}
	r.found(l, start, end, minNamed)
	return end
}

// framing are the fields that most refusals of a head are about.
var framing = []string{"host", "content-length", "transfer-encoding", "te", "trailer", "connection", "upgrade", "expect", "content-type", "accept", "user-agent"}

// nameBefore finds the name that ends before the separator at i.
func nameBefore(t []byte, i int) (from, to int, quoted bool) {
	to = i
	for to > 0 && (t[to-1] == ' ' || t[to-1] == '\t') && i-to < 4 {
		to--
	}
	if to > 0 && (t[to-1] == '"' || t[to-1] == '\'') {
		q := t[to-1]
		to--
		quoted = true
		low := max(0, to-64)
		if open := bytes.LastIndexByte(t[low:to], q); open >= 0 {
			return low + open + 1, to, true
		}
		if to > 0 && t[to-1] == '\\' {
			to--
		}
	}
	from = to
	for from > 0 && to-from < maxName && nameByte[t[from-1]] {
		from--
	}
	return from, to, quoted
}

// until returns where the first of the stop bytes stands at or after i, or the
// end of the text.
func until(t []byte, i int, stops string) int {
	if i >= len(t) {
		return len(t)
	}
	if n := bytes.IndexAny(t[i:], stops); n >= 0 {
		return i + n
	}
	return len(t)
}

// closing returns where the quotation that begins at i ends: at the next such
// mark that is not escaped and that is followed by something that may follow a
// value. Without one, it is the end of the text.
func closing(t []byte, i int) int {
	q := t[i]
	for j := i + 1; j < len(t); j++ {
		switch t[j] {
		case '\\':
			j++
		case q:
			if j+1 == len(t) || bytes.IndexByte([]byte("&;,>/)]}: \t\r\n\\"), t[j+1]) >= 0 {
				return j
			}
		}
	}
	return len(t)
}

// bracketed returns the end of the JSON object or array that begins at i, and
// learns the strings in it.
func (r *redactor) bracketed(t []byte, i int) int {
	depth := 0
	for j := i; j < len(t); j++ {
		switch t[j] {
		case '"':
			end := closing(t, j)
			if end+1 >= len(t) || t[end+1] != ':' {
				r.learn(t[j+1:end], minNamed)
			}
			j = end
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return j + 1
			}
		}
	}
	return len(t)
}

// part finds the content of a multipart part whose name, which begins at i, is
// a secret's (RFC 7578 section 4.2).
func (r *redactor) part(l *level, i int) int {
	t := l.text
	if i >= len(t) || t[i] != '"' {
		return 0
	}
	end := closing(t[:min(len(t), i+maxName)], i)
	if !r.names.field(t[i+1 : end]) {
		return 0
	}
	start, stop := min(end+1, len(t)), "\r\n--"
	if n := bytes.Index(t[start:], []byte("\r\n\r\n")); n >= 0 {
		start += n + 4
	} else if n := bytes.Index(t[start:], []byte("\n\n")); n >= 0 {
		start, stop = start+n+2, "\n--"
	} else {
		stop = " --" // white space was compressed
	}
	end = len(t)
	if n := bytes.Index(t[start:], []byte(stop)); n >= 0 {
		end = start + n
	}
	r.found(l, start, end, minNamed)
	return end
}

// element looks at the end of a start tag, and finds the content of an element
// whose name is a secret's.
func (r *redactor) element(l *level, i int) int {
	t := l.text
	low := max(0, i-maxName)
	open := bytes.LastIndexAny(t[low:i], "<>")
	if open < 0 || t[low+open] == '>' || t[i-1] == '/' {
		return 0
	}
	tag := t[low+open+1 : i]
	if len(tag) == 0 || !alnum(tag[0]) && tag[0] != '_' {
		return 0
	}
	if n := bytes.IndexAny(tag, " \t\r\n"); n >= 0 {
		tag = tag[:n]
	}
	if !r.names.field(tag) {
		return 0
	}
	end := len(t)
	if n := bytes.Index(t[i:], []byte("</")); n >= 0 {
		end = i + n
	}
	content := t[i+1 : end]
	if data, ok := bytes.CutPrefix(bytes.TrimSpace(content), []byte("<![CDATA[")); ok {
		r.learn(bytes.TrimSuffix(data, []byte("]]>")), minNamed)
	}
	r.found(l, i+1, end, minNamed)
	return end
}

// userinfo finds "user:password@" of a URL whose authority begins at i, as in
// RFC 3986 section 3.2.1.
func (r *redactor) userinfo(l *level, i int) int {
	t := l.text
	authority := t[i:until(t, i, "/?#\\\"'<> \t\r\n")]
	at := bytes.LastIndexByte(authority, '@')
	colon := bytes.IndexByte(authority, ':')
	if colon < 0 || colon > at {
		return 0
	}
	r.learn(authority[colon+1:at], minNamed)
	r.found(l, i, i+at, minShaped)
	return i + at
}

var (
	nameByte = nameBytes()
	telling  = tellingBytes()
)

// nameBytes tells which bytes may stand in a name.
func nameBytes() (t [256]bool) {
	for c := range t {
		t[c] = c > ' ' && c != 0x7f && bytes.IndexByte([]byte("&?:;,{}<>()=\"'|#/\\"), byte(c)) < 0
	}
	return t
}

// tellingBytes tells at which bytes scan has to look closer.
func tellingBytes() (t [256]bool) {
	for _, c := range []byte("=:>-bB23456") { // b: Basic; digits: of cards
		t[c] = true
	}
	for _, s := range shapes {
		t[s.prefix[0]], t[s.prefix[0]-'a'+'A'] = true, true
	}
	return t
}

package strict

import (
	"strings"

	"sallyport/internal/gate"
)

// A target is a request target taken apart (RFC 9112 section 3.2).
type target struct {
	form      string // origin-form, or "*"
	scheme    string // "http" or "https" for the absolute form, else empty
	authority string // of the absolute form
	at        int    // where form begins in what was received
	odd       bool   // a percent sign or a semicolon stands in it
}

// A flaw is a reason with the place in a string that it was found at.
type flaw struct {
	reason gate.Reason
	at     int
	detail string
}

// parseTarget judges the target of a request with the method. Its second
// result has a reason only when the target is refused.
func parseTarget(method, s string) (target, flaw) {
	var seen uint8
	for i := 0; i < len(s); i++ {
		c := classes[s[i]]
		if c&targetByte == 0 {
			return target{}, flaw{gate.HTTPTargetByte, i, "a byte that no target may hold"}
		}
		seen |= c
	}
	t := target{form: s, odd: seen&oddByte != 0}
	switch {
	case s == "":
		return t, flaw{gate.HTTPTargetForm, 0, "empty target"}
	case s[0] == '/':
	case s == "*":
		if method != "OPTIONS" {
			return t, flaw{gate.HTTPTargetForm, 0, "\"*\" with a method other than OPTIONS"}
		}
		return t, flaw{}
	default:
		if f := t.absolute(method, s); f.reason != "" {
			return t, f
		}
	}
	return t, t.judgePath()
}

// absolute takes an absolute-form target apart. What the backend gets is the
// origin form (RFC 9112 section 3.2.2).
func (t *target) absolute(method, s string) flaw {
	scheme, rest, ok := strings.Cut(s, "://")
	switch {
	case ok && foldEqual(scheme, "http"):
		t.scheme = "http"
	case ok && foldEqual(scheme, "https"):
		t.scheme = "https"
	default:
		return flaw{gate.HTTPTargetForm, 0, "neither a path nor an http or https URI"}
	}
	end := strings.IndexAny(rest, "/?")
	if end < 0 {
		end = len(rest)
	}
	t.authority, t.form = rest[:end], rest[end:]
	t.at = len(s) - len(t.form)
	if !validHost(t.authority) {
		return flaw{gate.HTTPHostInvalid, len(s) - len(rest), "the authority of the target is not a host with an optional port"}
	}
	switch {
	case t.form == "" && method == "OPTIONS":
		t.form = "*" // RFC 9112 section 3.2.4
	case t.form == "" || t.form[0] == '?':
		t.form = "/" + t.form
		t.at-- // so that offsets into form stay offsets into s
	}
	return flaw{}
}

// judgePath refuses paths that could not be forwarded as they came: behind two
// slashes net/url writes these bytes in another way.
func (t *target) judgePath() flaw {
	p, _, _ := strings.Cut(t.form, "?")
	if !strings.HasPrefix(p, "//") {
		return flaw{}
	}
	at := strings.IndexAny(p, "^`{|}")
	if at < 0 {
		at = badPercent(p)
	}
	if at >= 0 {
		return flaw{gate.HTTPTargetByte, t.at + at, "a path that begins with two slashes and cannot be forwarded byte for byte"}
	}
	return flaw{}
}

// badPercent returns the index of the first percent sign without two
// hexadecimal digits behind it (RFC 3986 section 2.1), or -1.
func badPercent(p string) int {
	for i := strings.IndexByte(p, '%'); i >= 0 && i < len(p); i++ {
		if p[i] == '%' && !encoded(p, i) {
			return i
		}
	}
	return -1
}

// encoded reports whether a whole percent-encoding stands at p[i].
func encoded(p string, i int) bool {
	return i+2 < len(p) && p[i] == '%' && is(p[i+1], hexByte) && is(p[i+2], hexByte)
}

// octet decodes the byte at p[i] and returns how long it is written.
func octet(p string, i int) (c byte, size int) {
	if encoded(p, i) {
		return unhex(p[i+1])<<4 | unhex(p[i+2]), 3
	}
	return p[i], 1
}

// pathFlaws calls add with what is suspicious in a path without its query.
func pathFlaws(p string, add func(r gate.Reason, at int, detail string)) {
	if at := climbs(p); at >= 0 {
		add(gate.HTTPPathDots, at, "a segment that climbs")
	}
	for i, size := 0, 0; i < len(p); i += size {
		var c byte
		if c, size = octet(p, i); size == 1 {
			switch c {
			case '%':
				add(gate.HTTPPathPercent, i, "a percent sign without two hexadecimal digits")
			case ';':
				add(gate.HTTPPathParameter, i, "a semicolon")
			}
			continue
		}
		switch {
		case c == 0:
			add(gate.HTTPPathNul, i, "an encoded NUL")
		case c == '\\':
			add(gate.HTTPPathBackslash, i, "an encoded backslash")
		case c >= 0xc0 && overlong(p, i):
			add(gate.HTTPPathOverlong, i, "UTF-8 in more bytes than needed")
		case c == '/':
			add(gate.HTTPPathSlash, i, "an encoded slash")
		case c == '%' && encodes(p, i+size):
			add(gate.HTTPPathDoubleEncoding, i, "an encoding that is encoded")
		}
	}
}

// encodes reports whether the two octets at p[i], decoded, are hexadecimal
// digits: behind a percent sign they encode a byte.
func encodes(p string, i int) bool {
	if i >= len(p) {
		return false
	}
	first, size := octet(p, i)
	if i += size; i >= len(p) {
		return false
	}
	second, _ := octet(p, i)
	return is(first, hexByte) && is(second, hexByte)
}

// climbs returns the index of the first segment that is "..", plain or
// encoded, or -1. Encoded separators and backslashes end a segment too, as
// they do for the backends that the attack is meant for, and parameters do not
// belong to it ("/..;x=1/" climbs in a servlet container).
func climbs(p string) int {
	start, dots, other, params := 0, 0, false, false
	for i, size := 0, 0; i <= len(p); i += size {
		c := byte('/')
		size = 1
		if i < len(p) {
			c, size = octet(p, i)
		}
		switch {
		case c == '/' || c == '\\':
			if dots == 2 && !other {
				return start
			}
			start, dots, other, params = i+size, 0, false, false
		case params:
		case c == ';':
			params = true
		case c == '.':
			dots++
		default:
			other = true
		}
	}
	return -1
}

// overlong reports whether the encoded byte at p[i] leads an overlong UTF-8
// sequence (RFC 3629 section 3), the forms of five and six bytes included,
// which are never the shortest. A lead without a continuation is some other
// character set and not overlong.
func overlong(p string, i int) bool {
	lead, _ := octet(p, i)
	if !encoded(p, i+3) {
		return false
	}
	next, _ := octet(p, i+3)
	if next&0xc0 != 0x80 {
		return false
	}
	switch {
	case lead <= 0xc1:
		return true
	case lead == 0xe0:
		return next < 0xa0
	case lead == 0xf0:
		return next < 0x90
	}
	return 0xf8 <= lead && lead <= 0xfd
}

package client

import (
	"net/netip"
	"strings"
)

// lastHop splits the last hop off the text of X-Forwarded-For.
func lastHop(text string) (hop, rest string, more bool) {
	i := strings.LastIndexByte(text, ',')
	if i < 0 {
		return trim(text), "", false
	}
	return trim(text[i+1:]), text[:i], true
}

// lastElement splits the last element off the text of Forwarded (RFC 7239
// section 4).
//
// It reads from the right, so that a quote which the client left open cannot
// swallow what a proxy appended. In what the proxy wrote each quote inside a
// quoted string has a backslash before it (RFC 9110 section 5.6.4), so the
// string begins at the nearest quote that has not.
func lastElement(text string) (element, rest string, more bool) {
	quoted := false
	for i := len(text) - 1; i >= 0; i-- {
		switch text[i] {
		case ',':
			if !quoted {
				return trim(text[i+1:]), text[:i], true
			}
		case '"':
			if !quoted || !escaped(text[:i]) {
				quoted = !quoted
			}
		}
	}
	return trim(text), "", false
}

// escaped reports whether the byte after text has a backslash before it that
// is not itself escaped.
func escaped(text string) bool {
	n := 0
	for n < len(text) && text[len(text)-1-n] == '\\' {
		n++
	}
	return n%2 == 1
}

// parseElement returns the address in the for parameter of one element of
// Forwarded; false when there is none, more than one, or the element is
// malformed.
func parseElement(element string) (netip.Addr, bool) {
	var node string
	found := false
	for more := true; more; {
		var name, value string
		var ok bool
		if name, value, element, more, ok = cutPair(element); !ok {
			return netip.Addr{}, false
		}
		if strings.EqualFold(name, "for") {
			if found {
				return netip.Addr{}, false
			}
			node, found = value, true
		}
	}
	return parseNode(node)
}

// cutPair splits the first name=value off an element. An empty pair is skipped
// over by its empty name, as the grammar allows it. A quoted value that
// contains a backslash comes out as it stands: no address has one.
func cutPair(element string) (name, value, rest string, more, ok bool) {
	element = trim(element)
	end := strings.IndexAny(element, "=;")
	if end < 0 || element[end] == ';' {
		// No value. Only the empty pair is allowed to have none.
		empty := element == "" || end == 0
		if end < 0 {
			return "", "", "", false, empty
		}
		return "", "", element[end+1:], true, empty
	}
	name, rest = element[:end], element[end+1:]
	if !strings.HasPrefix(rest, `"`) {
		value, rest, more = strings.Cut(rest, ";")
		value = trim(value)
		return name, value, rest, more, validFieldName(name) && !strings.ContainsAny(value, "\" \t")
	}
	for end = 1; ; end++ {
		if end >= len(rest) {
			return "", "", "", false, false
		}
		if rest[end] == '\\' {
			end++
		} else if rest[end] == '"' {
			break
		}
	}
	value, rest = rest[1:end], trim(rest[end+1:])
	if rest != "" && rest[0] != ';' {
		return "", "", "", false, false
	}
	more = rest != ""
	return name, value, strings.TrimPrefix(rest, ";"), more, validFieldName(name)
}

// parseNode reads one hop: an address, ip:port or [v6]:port. It is false for
// unknown, for an obfuscated identifier (RFC 7239 section 6.3), for the
// unspecified address, and for anything else that names nobody.
func parseNode(s string) (netip.Addr, bool) {
	host := s
	if strings.HasPrefix(s, "[") {
		inner, after, closed := strings.Cut(s[1:], "]")
		if !closed || !strings.Contains(inner, ":") || after != "" && (after[0] != ':' || !validPort(after[1:])) {
			return netip.Addr{}, false
		}
		host = inner
	} else if i := strings.IndexByte(s, ':'); i >= 0 && i == strings.LastIndexByte(s, ':') {
		if !validPort(s[i+1:]) {
			return netip.Addr{}, false
		}
		host = s[:i]
	}
	addr, err := netip.ParseAddr(host)
	if addr = clean(addr); err != nil || addr.IsUnspecified() {
		return netip.Addr{}, false
	}
	return addr, true
}

// validPort reports whether s is a port or an obfuscated one (RFC 7239 section
// 6). Its value is of no use to anybody here.
func validPort(s string) bool {
	if obf, ok := strings.CutPrefix(s, "_"); ok {
		for i := range len(obf) {
			if c := obf[i]; !isAlphanumeric(c) && c != '.' && c != '_' && c != '-' {
				return false
			}
		}
		return obf != ""
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != "" && len(s) <= 5
}

// trim removes the white space that may stand around a list element (RFC 9110
// section 5.6.3), and no other.
func trim(s string) string { return strings.Trim(s, " \t") }

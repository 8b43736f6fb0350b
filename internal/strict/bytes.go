package strict

import "strings"

// The classes of bytes that the grammar tells apart.
const (
	tokenByte  uint8 = 1 << iota // tchar, RFC 9110 section 5.6.2
	hostByte                     // of a registered name, as far as host names use it
	targetByte                   // of a request target
	hexByte                      // HEXDIG
	scoreByte                    // of a token, and none that names are usually made of: underscores and the like
	oddByte                      // of a target: what may mean something else in it than it seems to
)

// classes holds the classes of every byte.
//
// A target may hold what RFC 3986 section 2 allows in a URI, and of what it
// does not allow only `^`, "`", "{", "|" and "}", which browsers send raw and which every
// server reads alike. Quotes, angle brackets, the backslash and the fragment
// sign are in no URI, and are cut or rewritten differently by every server.
var classes = func() (t [256]uint8) {
	mark := func(class uint8, set string) {
		for _, c := range []byte(set) {
			t[c] |= class
		}
	}
	const alnum = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	mark(tokenByte, alnum+"!#$%&'*+-.^_`|~")
	mark(hostByte, alnum+"-._~")
	mark(targetByte, alnum+"-._~:/?[]@!$&'()*+,;=%"+"^`{|}")
	mark(hexByte, "0123456789ABCDEFabcdef")
	mark(scoreByte, "!#$%&'*+.^_`|~")
	mark(oddByte, "%;")
	return t
}()

func is(c byte, class uint8) bool { return classes[c]&class != 0 }

// isToken reports whether s is a token (RFC 9110 section 5.6.2).
func isToken(s string) bool {
	for i := 0; i < len(s); i++ {
		if !is(s[i], tokenByte) {
			return false
		}
	}
	return s != ""
}

// badValueByte returns the index of the first byte that a field value may not
// hold (RFC 9110 section 5.5): any control but the tab. It returns -1 when
// there is none. Eight bytes are looked at together.
func badValueByte[T string | []byte](b T) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	i := 0
	for ; i+8 <= len(b); i += 8 {
		x := uint64(b[i]) | uint64(b[i+1])<<8 | uint64(b[i+2])<<16 | uint64(b[i+3])<<24 |
			uint64(b[i+4])<<32 | uint64(b[i+5])<<40 | uint64(b[i+6])<<48 | uint64(b[i+7])<<56
		del := x ^ 0x7f*ones
		// Bytes below 0x20, and bytes that are 0x7f; a borrow can only flag
		// too much, and what is flagged is looked at again.
		if ((x-0x20*ones)&^x|(del-ones)&^del)&highs == 0 {
			continue
		}
		for j := i; j < i+8; j++ {
			if isControl(b[j]) {
				return j
			}
		}
	}
	for ; i < len(b); i++ {
		if isControl(b[i]) {
			return i
		}
	}
	return -1
}

// isControl reports whether c is a control that no field value holds.
func isControl(c byte) bool { return c < 0x20 && c != '\t' || c == 0x7f }

// foldEqual compares s with a word in lower case, without regard to ASCII
// letter case. (Unicode folding would take U+212A for a k.)
func foldEqual(s, word string) bool {
	if len(s) != len(word) {
		return false
	}
	for i := 0; i < len(s); i++ {
		if lower(s[i]) != word[i] {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// unhex is the value of a hexadecimal digit.
func unhex(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c <= 'F':
		return c - 'A' + 10
	}
	return c - 'a' + 10
}

// trimOWS removes optional white space from both ends (RFC 9110 section 5.6.3).
func trimOWS(s string) string { return strings.Trim(s, " \t") }

// members calls f for every member of a comma-separated list, trimmed, until
// f returns false. Empty members are passed as empty strings.
func members(list string, f func(string) bool) bool {
	for more := true; more; {
		var m string
		m, list, more = strings.Cut(list, ",")
		if !f(trimOWS(m)) {
			return false
		}
	}
	return true
}

// around returns what an excerpt of size bytes shows of those around one.
func around(size, at int) (from, to int) {
	from = max(0, min(at, size)-24)
	return from, min(size, from+64)
}

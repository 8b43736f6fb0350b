package audit

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// hidden reports whether a character is one that a terminal obeys, that changes
// the direction of text, or that cannot be seen: controls (C0, DEL and C1),
// line and paragraph separators, and the format characters, among which are the
// bidi controls, zero-width characters and tags.
func hidden(r rune) bool {
	switch {
	case r < ' ' || 0x7f <= r && r < 0xa0:
		return true
	case r < 0xad:
		return false
	}
	return r == 0x2028 || r == 0x2029 || r == utf8.RuneError || unicode.Is(unicode.Cf, r) ||
		0xfe00 <= r && r <= 0xfe0f || 0xe0100 <= r && r <= 0xe01ef || unicode.Is(unicode.Co, r)
}

// Printable returns s in a form that is safe to print: one line, without
// characters that a terminal obeys or hides. Bytes that are not UTF-8 and
// controls are written \xNN, other hidden characters \uNNNN.
func Printable(s string) string {
	safe := true
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] >= 0x7f {
			safe = false
			break
		}
	}
	if safe {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n <= 1, r < 0x80 && hidden(r):
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case r > 0xffff && hidden(r):
			fmt.Fprintf(&b, `\U%08x`, r)
		case hidden(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	return b.String()
}

// escapeBytes writes the bytes of s that are not UTF-8 as \xNN, and a backslash
// as \x5c, so that the bytes can be had back.
func escapeBytes(s string) string {
	if utf8.ValidString(s) && !strings.Contains(s, `\`) {
		return s
	}
	const hex = "0123456789abcdef"
	b := make([]byte, 0, len(s)+16)
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 || r == '\\' {
			b = append(b, '\\', 'x', hex[s[i]>>4], hex[s[i]&15])
		} else {
			b = append(b, s[i:i+n]...)
		}
		i += n
	}
	return string(b)
}

// cut shortens s to about limit bytes, at a character, and marks the cut.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	return s[:runeStart(s, limit)] + ellipsis
}

// ellipsis marks where a value was cut.
const ellipsis = "…"

// runeStart returns the place at or shortly before i where a character begins.
func runeStart(s string, i int) int {
	for j := i; j > i-utf8.UTFMax && j > 0; j-- {
		if utf8.RuneStart(s[j]) {
			return j
		}
	}
	return i
}

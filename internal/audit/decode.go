package audit

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

// A level is a text of which one layer of encoding was undone, and where each
// byte of it came from.
type level struct {
	text []byte
	from []int32 // text[i] came from from[i] of the original; one more entry for its end; empty: the same place
}

// origin returns where the byte at i came from in the original text.
func (l *level) origin(i int) int {
	if len(l.from) == 0 {
		return i
	}
	return int(l.from[i])
}

// peel undoes one layer of percent-encoding, backslash escapes and character
// references of in, whichever occur, and reports whether there was anything to
// undo. Plus signs stay: they are compared as spaces.
func (l *level) peel(in *level) bool {
	src := in.text
	at := bytes.IndexAny(src, `%\&`)
	if at < 0 {
		return false
	}
	l.text, l.from = l.text[:0], l.from[:0]
	changed := false
	for i := 0; i < len(src); {
		r, n := rune(-1), 0
		switch src[i] {
		case '%':
			r, n = percent(src[i:])
		case '\\':
			r, n = backslash(src[i:])
		case '&':
			r, n = reference(src[i:])
		}
		from := int32(in.origin(i))
		if n == 0 {
			l.text, l.from = append(l.text, src[i]), append(l.from, from)
			i++
			continue
		}
		changed = true
		i += n
		if r < 0 { // one byte, stored as its complement
			l.text, l.from = append(l.text, byte(^r)), append(l.from, from)
			continue
		}
		before := len(l.text)
		l.text = utf8.AppendRune(l.text, r)
		for range len(l.text) - before {
			l.from = append(l.from, from)
		}
	}
	l.from = append(l.from, int32(in.origin(len(src))))
	return changed
}

// percent reads %XX, a byte, or %uXXXX, a character, at the start of b. The
// byte is returned as its complement, which is negative; n is 0 for neither.
func percent(b []byte) (r rune, n int) {
	if len(b) >= 6 && b[1]|0x20 == 'u' {
		if v := number(b[2:6], 16); v >= 0 {
			return v, 6
		}
	}
	if len(b) >= 3 {
		if v := number(b[1:3], 16); v >= 0 {
			return ^v, 3
		}
	}
	return 0, 0
}

// backslash reads an escape of JSON, JavaScript or Go.
func backslash(b []byte) (r rune, n int) {
	if len(b) < 2 {
		return 0, 0
	}
	switch b[1] {
	case 'u':
		if len(b) >= 6 {
			if v := number(b[2:6], 16); v >= 0 {
				if len(b) >= 12 && b[6] == '\\' && b[7] == 'u' {
					if pair := utf16.DecodeRune(v, number(b[8:12], 16)); pair != utf8.RuneError {
						return pair, 12
					}
				}
				return v, 6
			}
		}
	case 'x':
		if len(b) >= 4 {
			if v := number(b[2:4], 16); v >= 0 {
				return ^v, 4
			}
		}
	case 'n':
		return '\n', 2
	case 'r':
		return '\r', 2
	case 't':
		return '\t', 2
	case '"', '\'', '\\', '/':
		return rune(b[1]), 2
	}
	return 0, 0
}

// reference reads a character reference of HTML or XML.
func reference(b []byte) (r rune, n int) {
	end := bytes.IndexByte(b[:min(len(b), 10)], ';')
	if end < 3 {
		return 0, 0
	}
	name := b[1:end]
	if name[0] == '#' {
		v := rune(-1)
		if name[1]|0x20 == 'x' {
			v = number(name[2:], 16)
		} else {
			v = number(name[1:], 10)
		}
		if v < 0 {
			return 0, 0
		}
		return v, end + 1
	}
	switch string(name) {
	case "amp":
		return '&', end + 1
	case "lt":
		return '<', end + 1
	case "gt":
		return '>', end + 1
	case "quot":
		return '"', end + 1
	case "apos":
		return '\'', end + 1
	}
	return 0, 0
}

// number reads all of b as a number, or returns -1.
func number(b []byte, base rune) rune {
	if len(b) == 0 || len(b) > 6 {
		return -1
	}
	v := rune(0)
	for _, c := range b {
		d := rune(99)
		switch {
		case digit(c):
			d = rune(c - '0')
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			d = rune(c|0x20-'a') + 10
		}
		if d >= base {
			return -1
		}
		v = v*base + d
	}
	return v
}

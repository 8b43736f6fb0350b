package transform

import (
	"unicode/utf8"

	"golang.org/x/net/html"
)

// digits reads the hexadecimal digits at the start of s, at most n of them.
func digits(s string, n int) (value rune, width int) {
	for width < min(n, len(s)) {
		d, ok := digit(s[width])
		if !ok {
			break
		}
		value = value<<4 | rune(d)
		width++
	}
	return value, width
}

func digit(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return c | 0x20 - 'a' + 10, true
	}
	return 0, false
}

// octal reads the octal digits at the start of s, at most n of them.
func octal(s string, n int) (value, width int) {
	for width < min(n, len(s)) && '0' <= s[width] && s[width] <= '7' {
		value = value<<3 | int(s[width]-'0')
		width++
	}
	return value, width
}

// lowByte is what remains of a character where one byte has to do: the low one,
// but for the fullwidth forms of ASCII that letter itself.
func lowByte(code rune) byte {
	if 0xff01 <= code && code <= 0xff5e {
		return byte(code) + 0x20
	}
	return byte(code)
}

func urlDecode(dst []byte, value string) []byte {
	for i := 0; i < len(value); i++ {
		switch c := value[i]; c {
		case '+':
			dst = append(dst, ' ')
		case '%':
			if code, width := digits(value[i+1:], 2); width == 2 {
				dst = append(dst, byte(code))
				i += 2
				continue
			}
			dst = append(dst, c)
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

func urlDecodeUni(dst []byte, value string) []byte {
	for i := 0; i < len(value); i++ {
		c := value[i]
		rest := value[i+1:]
		switch {
		case c == '+':
			dst = append(dst, ' ')
		case c == '%' && rest != "" && rest[0]|0x20 == 'u':
			if code, width := digits(rest[1:], 4); width == 4 {
				dst = append(dst, bestFit(code))
				i += 5
				continue
			}
			dst = append(dst, c, rest[0])
			i++
		case c == '%':
			if code, width := digits(rest, 2); width == 2 {
				dst = append(dst, byte(code))
				i += 2
				continue
			}
			dst = append(dst, c)
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

// htmlEntityDecode is the engine's own, from the package that the engine uses.
func htmlEntityDecode(dst []byte, value string) []byte {
	return append(dst, html.UnescapeString(value)...)
}

// escaped are the letters that stand for control characters behind a backslash.
func escaped(c byte) (byte, bool) {
	switch c {
	case 'a':
		return '\a', true
	case 'b':
		return '\b', true
	case 'f':
		return '\f', true
	case 'n':
		return '\n', true
	case 'r':
		return '\r', true
	case 't':
		return '\t', true
	case 'v':
		return '\v', true
	}
	return c, false
}

func jsDecode(dst []byte, value string) []byte {
	for i := 0; i < len(value); {
		if value[i] != '\\' || i+1 == len(value) {
			dst = append(dst, value[i])
			i++
			continue
		}
		b, width := jsEscape(value[i+1:])
		dst = append(dst, b)
		i += 1 + width
	}
	return dst
}

// jsEscape reads what follows a backslash.
func jsEscape(s string) (b byte, width int) {
	switch s[0] {
	case 'u':
		if len(s) > 1 && s[1] == '{' {
			if code, n := digits(s[2:], 6); n > 0 && len(s) > 2+n && s[2+n] == '}' {
				return lowByte(code), n + 3
			}
		}
		if code, n := digits(s[1:], 4); n == 4 {
			return lowByte(code), 5
		}
	case 'x':
		if code, n := digits(s[1:], 2); n == 2 {
			return byte(code), 3
		}
	}
	if code, n := octal(s, 3); n > 0 {
		if code > 0xff {
			code, n = code>>3, n-1
		}
		return byte(code), n
	}
	b, _ = escaped(s[0])
	return b, 1
}

func escapeSeqDecode(dst []byte, value string) []byte {
	for i := 0; i < len(value); {
		if value[i] != '\\' || i+1 == len(value) {
			dst = append(dst, value[i])
			i++
			continue
		}
		rest := value[i+1:]
		if b, ok := escaped(rest[0]); ok {
			dst = append(dst, b)
			i += 2
			continue
		}
		if rest[0]|0x20 == 'x' {
			if code, n := digits(rest[1:], 2); n == 2 {
				dst = append(dst, byte(code))
				i += 4
				continue
			}
		}
		if code, n := octal(rest, 3); n > 0 {
			dst = append(dst, byte(code))
			i += 1 + n
			continue
		}
		dst = append(dst, rest[0])
		i += 2
	}
	return dst
}

func cssDecode(dst []byte, value string) []byte {
	for i := 0; i < len(value); {
		if value[i] != '\\' {
			dst = append(dst, value[i])
			i++
			continue
		}
		i++
		code, n := digits(value[i:], 6)
		switch {
		case n > 0:
			if i += n; i < len(value) && isBreak(value[i]) {
				i++ // ends the digits
			}
			switch {
			case code == 0:
				code = utf8.RuneError
			case 0xff01 <= code && code <= 0xff5e:
				code -= 0xfee0
			}
			dst = utf8.AppendRune(dst, code)
		case i == len(value):
		case value[i] == '\n':
			i++
		default:
			dst = append(dst, value[i])
			i++
		}
	}
	return dst
}

// isBreak reports whether c is white space in ASCII.
func isBreak(c byte) bool { return kindOf[c]&(kindBreak|kindSpace) != 0 }

// base64Decode stops at the first byte outside the alphabet, but for line ends,
// which it skips.
func base64Decode(dst []byte, value string) []byte {
	var bits uint32
	n := 0
	for i := range len(value) {
		c := value[i]
		if c == '\r' || c == '\n' {
			continue
		}
		var six byte
		switch {
		case 'A' <= c && c <= 'Z':
			six = c - 'A'
		case 'a' <= c && c <= 'z':
			six = c - 'a' + 26
		case '0' <= c && c <= '9':
			six = c - '0' + 52
		case c == '+':
			six = 62
		case c == '/':
			six = 63
		default:
			return base64Rest(dst, bits, n)
		}
		bits = bits<<6 | uint32(six)
		if n++; n == 4 {
			dst = append(dst, byte(bits>>16), byte(bits>>8), byte(bits))
			bits, n = 0, 0
		}
	}
	return base64Rest(dst, bits, n)
}

// base64Rest adds the whole bytes of the last n digits.
func base64Rest(dst []byte, bits uint32, n int) []byte {
	switch n {
	case 2:
		return append(dst, byte(bits>>4))
	case 3:
		return append(dst, byte(bits>>10), byte(bits>>2))
	}
	return dst
}

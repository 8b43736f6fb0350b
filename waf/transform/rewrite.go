package transform

import (
	"crypto/sha1" // #nosec G505 -- what t:sha1 is, not a protection
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

func appendAll(dst []byte, value string) []byte { return append(dst, value...) }

// lowercase is strings.ToLower: all of Unicode, and U+FFFD for invalid bytes
// where there is anything but ASCII.
func lowercase(dst []byte, value string) []byte {
	if KindsOf(value)&kindHigh == 0 {
		for i := range len(value) {
			c := value[i]
			if 'A' <= c && c <= 'Z' {
				c += 'a' - 'A'
			}
			dst = append(dst, c)
		}
		return dst
	}
	for _, r := range value {
		dst = utf8.AppendRune(dst, unicode.ToLower(r))
	}
	return dst
}

func removeNulls(dst []byte, value string) []byte {
	for i := range len(value) {
		if value[i] != 0 {
			dst = append(dst, value[i])
		}
	}
	return dst
}

func removeWhitespace(dst []byte, value string) []byte {
	for _, r := range value {
		if !unicode.IsSpace(r) {
			dst = utf8.AppendRune(dst, r)
		}
	}
	return dst
}

// compressWhitespace makes one space of each run of white space. A byte 0xA0
// that is no part of a rune is white space too; other invalid bytes stay.
func compressWhitespace(dst []byte, value string) []byte {
	inside := false
	for i := 0; i < len(value); {
		r, width := utf8.DecodeRuneInString(value[i:])
		blank := r < utf8.RuneSelf && isBreak(byte(r)) || r == '\u0085' || r == '\u00a0' || value[i] == 0xa0
		switch {
		case !blank:
			dst = append(dst, value[i:i+width]...)
		case !inside:
			dst = append(dst, ' ')
		}
		inside = blank
		i += width
	}
	return dst
}

// utf8toUnicode writes %uhhhh for each rune beyond ASCII; an invalid byte is
// U+FFFD, and runes beyond U+FFFF have more digits.
func utf8toUnicode(dst []byte, value string) []byte {
	for _, r := range value {
		if r < utf8.RuneSelf {
			dst = append(dst, byte(r))
			continue
		}
		dst = append(dst, "%u"...)
		for limit := rune(0x1000); limit > r; limit >>= 4 {
			dst = append(dst, '0')
		}
		dst = strconv.AppendInt(dst, int64(r), 16)
	}
	return dst
}

// cmdLine undoes what shells overlook: quotes, backslashes, carets, case, white
// space in runs and before a slash or a bracket.
func cmdLine(dst []byte, value string) []byte {
	space := false
	for i := range len(value) {
		switch c := value[i]; c {
		case '"', '\'', '\\', '^':
		case ' ', ',', ';', '\t', '\r', '\n':
			if !space {
				dst, space = append(dst, ' '), true
			}
		case '/', '(':
			if space {
				dst = dst[:len(dst)-1]
			}
			dst, space = append(dst, c), false
		default:
			if 'A' <= c && c <= 'Z' {
				c += 'a' - 'A'
			}
			dst, space = append(dst, c), false
		}
	}
	return dst
}

// replaceComments makes a space of each C comment, one that does not end
// included.
func replaceComments(dst []byte, value string) []byte {
	for {
		before, rest, found := strings.Cut(value, "/*")
		dst = append(dst, before...)
		if !found {
			return dst
		}
		dst = append(dst, ' ')
		if _, value, found = strings.Cut(rest, "*/"); !found {
			return dst
		}
	}
}

func removeCommentsChar(dst []byte, value string) []byte {
	for i := 0; i < len(value); {
		rest := value[i:]
		width := 0
		for _, mark := range [...]string{"/*", "*/", "<!--", "-->", "--", "#"} {
			if strings.HasPrefix(rest, mark) {
				width = len(mark)
				break
			}
		}
		if i += width; width == 0 {
			dst = append(dst, rest[0])
			i++
		}
	}
	return dst
}

func trim(dst []byte, value string) []byte {
	return append(dst, strings.Trim(value, " \t\n\r\f\v")...)
}

func hexEncode(dst []byte, value string) []byte {
	const table = "0123456789abcdef"
	for i := range len(value) {
		dst = append(dst, table[value[i]>>4], table[value[i]&15])
	}
	return dst
}

func sha1Sum(dst []byte, value string) []byte {
	n := len(dst)
	dst = append(dst, value...)
	sum := sha1.Sum(dst[n:]) // #nosec G401 -- what t:sha1 is
	return append(dst[:n], sum[:]...)
}

func length(dst []byte, value string) []byte { return strconv.AppendInt(dst, int64(len(value)), 10) }

package waf

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// literal reads true, false, null or a number (RFC 8259 section 6).
func (j *jsonReader) literal(c byte) error {
	for _, word := range [...]string{"true", "false", "null"} {
		if c == word[0] {
			rest := j.s[j.i:]
			if len(rest) < len(word) && rest == word[:len(rest)] {
				j.i = len(j.s)
				return errCut
			}
			if len(rest) < len(word) || rest[:len(word)] != word {
				return errors.New("not a JSON value")
			}
			j.i += len(word)
			return nil
		}
	}
	if j.loose {
		for _, word := range [...]string{"NaN", "Infinity", "-Infinity"} { // to Python these are numbers
			if strings.HasPrefix(j.s[j.i:], word) {
				j.i += len(word)
				j.lax = true
				return nil
			}
		}
	}
	digits := func() bool {
		start := j.i
		for j.i < len(j.s) && '0' <= j.s[j.i] && j.s[j.i] <= '9' {
			j.i++
		}
		return j.i > start
	}
	has := func(set string) bool {
		for k := range len(set) {
			if j.i < len(j.s) && j.s[j.i] == set[k] {
				j.i++
				return true
			}
		}
		return false
	}
	bad := func() error {
		if j.i >= len(j.s) {
			return errCut
		}
		return errors.New("not a JSON value")
	}
	start := j.i
	has("-")
	if !has("0") && !digits() {
		return bad()
	}
	if has(".") && !digits() {
		return bad()
	}
	if has("eE") {
		has("+-")
		exponent := j.i
		if !digits() {
			return bad()
		}
		if j.i-exponent > maxExponent {
			return fmt.Errorf("%w: an exponent of more than %d digits", errBound, maxExponent)
		}
	}
	if j.i-start > maxNumber {
		return fmt.Errorf("%w: a number of more than %d bytes", errBound, maxNumber)
	}
	return nil
}

// text reads a string (RFC 8259 section 7) and decodes it. A string without
// escapes shares its memory with the body. When the body ends inside the
// string, what is there is returned with errCut.
func (j *jsonReader) text() (string, error) {
	j.i++
	start := j.i
	for j.plain(); j.i < len(j.s); j.plain() {
		switch c := j.s[j.i]; {
		case c == j.quote:
			j.i++
			return j.s[start : j.i-1], nil
		case c == '\\':
			return j.escaped(start)
		case !j.loose:
			return "", errors.New("a control in a string")
		}
		j.i++
	}
	return j.s[start:], errCut
}

// plain goes on to the next byte of a string that may mean something else than
// itself: a quote of the kind that ends it, a backslash, a control.
func (j *jsonReader) plain() {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	quotes := ones * uint64(j.quote)
	s, i := j.s, j.i
	for ; len(s)-i >= 8; i += 8 {
		b := s[i : i+8]
		w := uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16 | uint64(b[3])<<24 | uint64(b[4])<<32 | uint64(b[5])<<40 | uint64(b[6])<<48 | uint64(b[7])<<56
		// The highest bit of the first byte that is zero, or less than a space,
		// and of none before it.
		quote, backslash := w^quotes, w^ones*'\\'
		if ((quote-ones)&^quote|(backslash-ones)&^backslash|(w-ones*' ')&^w)&highs != 0 {
			break
		}
	}
	for i < len(s) && s[i] >= ' ' && s[i] != j.quote && s[i] != '\\' {
		i++
	}
	j.i = i
}

// escaped decodes a string that begins at start and has its first escape where
// the reader is.
func (j *jsonReader) escaped(start int) (string, error) {
	b := append(make([]byte, 0, j.textEnd()-start), j.s[start:j.i]...)
	for j.i < len(j.s) {
		run := j.i
		j.plain()
		b = append(b, j.s[run:j.i]...)
		if j.i == len(j.s) {
			break
		}
		c := j.s[j.i]
		j.i++
		switch {
		case c == j.quote:
			return view(b), nil
		case c == '\\':
		case !j.loose:
			return "", errors.New("a control in a string")
		default:
			b = append(b, c)
			continue
		}
		if j.i >= len(j.s) {
			break
		}
		c = j.s[j.i]
		j.i++
		switch c {
		case '"', '\\', '/':
			b = append(b, c)
		case 'b':
			b = append(b, '\b')
		case 'f':
			b = append(b, '\f')
		case 'n':
			b = append(b, '\n')
		case 'r':
			b = append(b, '\r')
		case 't':
			b = append(b, '\t')
		case 'u':
			start := j.i
			r, err := j.unicode()
			switch {
			case err == nil:
				b = utf8.AppendRune(b, r)
			case j.loose:
				b, j.i = append(b, 'u'), start
			default:
				return view(b), err
			}
		default:
			if j.loose {
				b = append(b, c)
				continue
			}
			return "", fmt.Errorf("unknown escape \\%c", c)
		}
	}
	return view(b), errCut
}

// textEnd is where the string ends that the reader is in; the end of the body
// when it does not.
func (j *jsonReader) textEnd() int {
	ahead := jsonReader{s: j.s, i: j.i, quote: j.quote}
	for ahead.plain(); ahead.i < len(j.s) && j.s[ahead.i] != j.quote; ahead.plain() {
		if j.s[ahead.i] == '\\' {
			ahead.i++
		}
		ahead.i = min(ahead.i+1, len(j.s))
	}
	return ahead.i
}

// unicode reads the four digits after \u and, for a high surrogate, the low
// one that must follow. A lone surrogate becomes U+FFFD.
func (j *jsonReader) unicode() (rune, error) {
	four := func() (rune, error) {
		if len(j.s)-j.i < 4 {
			j.i = len(j.s)
			return 0, errCut
		}
		var r rune
		for range 4 {
			d := hexValue(j.s[j.i])
			if d < 0 {
				return 0, errors.New("\\u without four hex digits")
			}
			r = r<<4 | rune(d)
			j.i++
		}
		return r, nil
	}
	high, err := four()
	if err != nil || high < 0xD800 || high > 0xDFFF {
		return high, err
	}
	if high > 0xDBFF || j.i+1 >= len(j.s) || j.s[j.i] != '\\' || j.s[j.i+1] != 'u' {
		j.lone = true
		return utf8.RuneError, nil
	}
	mark := j.i
	j.i += 2
	low, err := four()
	if err != nil {
		return 0, err
	}
	if low < 0xDC00 || low > 0xDFFF {
		j.i, j.lone = mark, true // not its other half: it speaks for itself
		return utf8.RuneError, nil
	}
	return (high-0xD800)<<10 + (low - 0xDC00) + 0x10000, nil
}

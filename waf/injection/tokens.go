package injection

import (
	"strings"
	"unicode/utf8"
)

// next reads a token and tells whether there was one.
func (s *scan) next(k *token) bool {
	*k = token{}
	if s.pos == 0 && s.quote != 0 {
		s.pos = s.text(k, 0, s.quote)
		k.open = 0
		s.count++
		return true
	}
	for s.pos < len(s.in) {
		c := s.in[s.pos]
		switch s.class[c] {
		case beginsNothing:
			s.pos++
			continue
		case beginsWord:
			s.word(k)
		case beginsPrefixed:
			s.prefixed(k, c)
		case beginsNumber:
			s.number(k)
			if k.kind == 0 {
				continue
			}
		case beginsOperator:
			s.take(k, 'o', 1)
		case beginsLongOperator:
			s.operator(k, c)
		case beginsItself:
			s.take(k, c, 1)
		case beginsUnknown:
			s.take(k, '?', 1)
		case beginsString:
			s.pos = s.text(k, s.pos+1, c)
		case beginsTick:
			s.tick(k)
		case beginsHash:
			s.again = true
			if s.mysql {
				s.line(k)
			} else {
				s.take(k, 'o', 1)
			}
		case beginsMoney:
			s.money(k)
		case beginsDash:
			s.dash(k)
		case beginsSlash:
			s.slash(k)
		case beginsBackslash:
			if s.at(1) == 'N' {
				s.take(k, '1', 2)
			} else {
				s.take(k, '\\', 1)
			}
		case beginsVariable:
			s.variable(k)
		case beginsBracket:
			rest := s.in[s.pos:]
			if end := strings.IndexByte(rest, ']'); end >= 0 {
				rest = rest[:end+1]
			}
			s.take(k, 'n', len(rest))
		}
		s.count++
		return true
	}
	return false
}

// at returns the byte n behind the current one, 0 behind the end.
func (s *scan) at(n int) byte {
	if s.pos+n < len(s.in) {
		return s.in[s.pos+n]
	}
	return 0
}

// take makes a token of the next n bytes.
func (s *scan) take(k *token, kind byte, n int) {
	k.set(kind, s.in[s.pos:s.pos+n])
	s.pos += n
}

func (s *scan) word(k *token) {
	rest := s.in[s.pos:]
	n, marks := 0, byte(0)
	for n < len(rest) {
		m := s.inWord[rest[n]]
		if m&wordEnd != 0 {
			break
		}
		marks |= m
		n++
	}
	text := rest[:min(n, maxText)]
	if marks&wordSplit != 0 {
		for i := range len(text) {
			if text[i] != '.' && text[i] != '`' {
				continue
			}
			if e := s.find(text[:i]); e != nil && e.kind != 0 && e.kind != 'n' {
				k.kind, k.text, k.head = e.kind, text[:i], e.head
				s.pos += i
				return
			}
		}
	}
	s.pos += n
	k.kind, k.text = 'n', text
	if n > maxText {
		return
	}
	k.head = headNo
	var e *entry
	if marks&wordHigh != 0 {
		e = s.findHigh(text)
	} else {
		e = s.findASCII(text)
	}
	if e != nil {
		k.head = e.head
		if e.kind != 0 {
			k.kind = e.kind
		}
	}
}

// prefixed reads what begins with a letter that may stand before a string.
func (s *scan) prefixed(k *token, c byte) {
	second := s.at(1)
	if second != '\'' && second != '&' && second != 'q' && second != 'Q' {
		s.word(k)
		return
	}
	last := s.pos+2 >= len(s.in)
	switch c | 0x20 {
	case 'b', 'x':
		digits := "01"
		if c|0x20 == 'x' {
			digits = "0123456789abcdefABCDEF"
		}
		if !last && second == '\'' {
			n := 2 + span(s.in[s.pos+2:], digits)
			if s.pos+n < len(s.in) && s.in[s.pos+n] == '\'' {
				s.take(k, '1', n+1)
				return
			}
		}
	case 'e':
		if !last && second == '\'' {
			s.pos = s.text(k, s.pos+2, '\'')
			return
		}
	case 'n':
		if !last && second == '\'' {
			s.pos = s.text(k, s.pos+2, '\'')
			return
		}
		if second|0x20 == 'q' && s.delimited(k, s.pos+1) {
			return
		}
	case 'q':
		if s.delimited(k, s.pos) {
			return
		}
	case 'u':
		if !last && second == '&' && s.in[s.pos+2] == '\'' {
			s.pos = s.text(k, s.pos+3, '\'')
			k.open = 'u'
			if k.close == '\'' {
				k.close = 'u'
			}
			return
		}
	}
	s.word(k)
}

// delimited reads a string of Oracle, q'[...]', and tells whether there is one
// whose q is at from.
func (s *scan) delimited(k *token, from int) bool {
	if from+2 >= len(s.in) || s.in[from+1] != '\'' {
		return false
	}
	c := s.in[from+2]
	if c <= ' ' {
		return false
	}
	switch c {
	case '(':
		c = ')'
	case '[':
		c = ']'
	case '{':
		c = '}'
	case '<':
		c = '>'
	}
	// The library takes a byte beyond ASCII for the character of that number.
	var end [4]byte
	n := utf8.EncodeRune(end[:], rune(c))
	end[n] = '\''
	text := s.in[from+3:]
	k.open = 'q'
	if i := strings.Index(text, string(end[:n+1])); i >= 0 {
		k.set('s', text[:i])
		k.close = 'q'
		s.pos = from + 3 + i + 2
		return true
	}
	k.set('s', text)
	s.pos = len(s.in)
	return true
}

// text reads a string whose first byte is at from, and returns where it ends.
func (s *scan) text(k *token, from int, quote byte) int {
	in := s.in[from:]
	k.open = quote
	slash := -2 // the first backslash, once it is looked for
	for at := 0; ; {
		i := strings.IndexByte(in[at:], quote)
		if i < 0 {
			k.set('s', in)
			return len(s.in)
		}
		at += i
		if slash == -2 {
			slash = strings.IndexByte(in, '\\')
		}
		// The library counts the backslashes not before the quote but before the
		// first place where the text from the quote to the end is found.
		if slash >= 0 && slash < at && backslashes(in[:strings.Index(in, in[at:])])%2 != 0 {
			at++
			continue
		}
		if at+1 < len(in) && in[at+1] == quote {
			at += 2
			continue
		}
		k.set('s', in[:at])
		k.close = quote
		return from + at + 1
	}
}

// backslashes counts those at the end.
func backslashes(s string) int {
	n := 0
	for n < len(s) && s[len(s)-1-n] == '\\' {
		n++
	}
	return n
}

// span is the length of the beginning of s that consists of bytes of set.
func span(s, set string) int {
	for i := range len(s) {
		if strings.IndexByte(set, s[i]) < 0 {
			return i
		}
	}
	return len(s)
}

// tick reads a name in backticks, which is a function or else a bare word.
func (s *scan) tick(k *token) {
	s.pos = s.text(k, s.pos+1, '`')
	k.kind = 'n'
	if e := s.find(k.text); e != nil && e.kind == 'f' {
		k.kind = 'f'
	}
}

func digit(c byte) bool { return c-'0' <= 9 }

func (s *scan) number(k *token) {
	in, start := s.in, s.pos
	if in[start] == '0' {
		digits := ""
		switch s.at(1) {
		case 'x', 'X':
			digits = "0123456789ABCDEFabcdef"
		case 'b', 'B':
			digits = "01"
		}
		if digits != "" {
			if n := span(in[start+2:], digits); n > 0 {
				s.take(k, '1', 2+n)
			} else {
				s.take(k, 'n', 2)
			}
			return
		}
	}
	pos := start
	for pos < len(in) && digit(in[pos]) {
		pos++
	}
	if pos < len(in) && in[pos] == '.' {
		pos++
		for pos < len(in) && digit(in[pos]) {
			pos++
		}
		if pos-start == 1 {
			s.take(k, '.', 1)
			return
		}
	}
	void := false // an exponent without digits
	if pos < len(in) && in[pos]|0x20 == 'e' {
		void = true
		pos++
		if pos < len(in) && (in[pos] == '+' || in[pos] == '-') {
			pos++
		}
		for pos < len(in) && digit(in[pos]) {
			void = false
			pos++
		}
	}
	if pos < len(in) && (in[pos]|0x20 == 'd' || in[pos]|0x20 == 'f') {
		// Oracle's suffix of a float or double.
		if pos+1 == len(in) {
			pos++
		} else if c := in[pos+1]; white(c) || c == ';' || c|0x20 == 'u' {
			pos++
		}
	}
	s.pos = pos
	if !void {
		k.set('1', in[start:pos])
	}
}

func white(c byte) bool {
	return c == ' ' || '\t' <= c && c <= '\r' || c == 0xa0 || c == 0
}

func (s *scan) operator(k *token, c byte) {
	rest := s.in[s.pos:]
	if len(rest) < 2 {
		s.take(k, 'o', 1)
		return
	}
	if c == '<' && strings.HasPrefix(rest, "<=>") {
		s.take(k, 'o', 3)
		return
	}
	if e := s.find(rest[:2]); e != nil && e.kind != 0 {
		s.take(k, e.kind, 2)
		return
	}
	if c == ':' {
		s.take(k, ':', 1)
		return
	}
	s.take(k, 'o', 1)
}

// line reads a comment that goes to the end of the line.
func (s *scan) line(k *token) {
	rest := s.in[s.pos:]
	if i := strings.IndexByte(rest, '\n'); i >= 0 {
		s.take(k, 'c', i)
		s.pos++
		return
	}
	s.take(k, 'c', len(rest))
}

func (s *scan) dash(k *token) {
	if s.at(1) != '-' {
		s.take(k, 'o', 1)
		return
	}
	if s.pos+2 == len(s.in) || white(s.in[s.pos+2]) {
		s.line(k)
		return
	}
	if s.mysql {
		s.take(k, 'o', 1)
		return
	}
	s.again = true
	s.line(k)
}

func (s *scan) slash(k *token) {
	if s.at(1) != '*' {
		s.take(k, 'o', 1)
		return
	}
	rest := s.in[s.pos:]
	kind := byte('c')
	if end := strings.Index(rest[2:], "*/"); end >= 0 {
		// PostgreSQL nests comments.
		if strings.Contains(rest[2:2+end+1], "/*") {
			kind = 'X'
		}
		rest = rest[:end+4]
	}
	if s.at(2) == '!' { // MySQL runs what is in such a comment
		kind = 'X'
	}
	s.take(k, kind, len(rest))
}

const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

func (s *scan) money(k *token) {
	rest := s.in[s.pos:]
	n := span(rest[1:], "0123456789.,")
	switch {
	case n == 1 && rest[1] == '.':
		s.word(k)
		return
	case n > 0:
		s.take(k, '1', n+1)
		return
	}
	// A string of PostgreSQL, $$...$$ or $name$...$name$.
	n = 1
	if len(rest) > 1 && rest[1] != '$' {
		n += span(rest[1:], letters)
		if n == 1 {
			n = len(rest)
		}
	}
	if n == len(rest) || rest[n] != '$' {
		s.take(k, 'n', 1)
		return
	}
	mark, text := rest[:n+1], rest[n+1:]
	k.open = '$'
	if i := strings.Index(text, mark); i >= 0 {
		k.set('s', text[:i])
		k.close = '$'
		s.pos += len(mark) + i + len(mark)
		return
	}
	k.set('s', text)
	s.pos = len(s.in)
}

func (s *scan) variable(k *token) {
	s.pos++
	if s.at(0) == '@' {
		s.pos++
	}
	if s.pos == len(s.in) {
		k.kind = 'v'
		return
	}
	switch c := s.in[s.pos]; c {
	case '`', '\'', '"':
		s.pos = s.text(k, s.pos+1, c)
		k.kind = 'v'
		return
	}
	rest := s.in[s.pos:]
	n := 0
	for n < len(rest) && !s.inVar[rest[n]] {
		n++
	}
	s.take(k, 'v', n)
}

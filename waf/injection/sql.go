package injection

import "strings"

// A token is a piece of SQL. Its kind is the library's letter for it.
type token struct {
	text        string // the first maxText bytes
	kind        byte
	open, close byte // the quotes of a string, 0 for one that is not there
	head        byte
}

func (k *token) set(kind byte, text string) {
	k.kind, k.text = kind, text[:min(len(text), maxText)]
}

// unary tells whether the token is an operator with one operand.
func (k *token) unary() bool {
	if k.kind != 'o' {
		return false
	}
	switch len(k.text) {
	case 1:
		return k.text[0] == '+' || k.text[0] == '-' || k.text[0] == '!' || k.text[0] == '~'
	case 2:
		return k.text == "!!"
	case 3:
		return k.text[0]|0x20 == 'n' && k.text[1]|0x20 == 'o' && k.text[2]|0x20 == 't'
	}
	return false
}

func (k *token) arithmetic() bool {
	return k.kind == 'o' && len(k.text) == 1 && strings.IndexByte("*/+-%", k.text[0]) >= 0
}

// A scan reads one value as SQL, once for each way in which it may be meant:
// as it is or from inside a string, by the rules of ANSI or of MySQL. It lives
// on the stack.
type scan struct {
	*tables
	in     string
	pos    int
	tokens [maxTokens + 2]token
	count  int  // of tokens, comments and those folded away included
	quote  byte // of the string that the value begins in, or 0
	mysql  bool
	again  bool // there was something that MySQL reads another way
}

func (t *tables) sqli(value string) bool {
	if value == "" {
		return false
	}
	s := scan{tables: t, in: value}
	if s.found(0, false) || s.again && s.found(0, true) {
		return true
	}
	if strings.IndexByte(value, '\'') >= 0 && (s.found('\'', false) || s.again && s.found('\'', true)) {
		return true
	}
	return strings.IndexByte(value, '"') >= 0 && s.found('"', true)
}

// found tells whether the value, read in one way, is an injection.
func (s *scan) found(quote byte, mysql bool) bool {
	if s.pos > 0 {
		s.tokens, s.pos, s.count, s.again = [maxTokens + 2]token{}, 0, 0, false
	}
	s.quote, s.mysql = quote, mysql
	n := s.fold()
	if n == 0 {
		return false
	}
	if n > 2 {
		// A backtick with nothing behind it ends a statement of PHP and MySQL.
		if last := &s.tokens[n-1]; last.kind == 'n' && last.open == '`' && last.text == "" && last.close == 0 {
			last.kind = 'c'
		}
	}
	var print uint32
	for i := range n {
		kind := s.tokens[i].kind
		if kind == 'X' {
			print, n = uint32(s.code['X']), 1
			break
		}
		print |= uint32(s.code[kind]) << (5 * i)
	}
	return s.known(print) && s.meant(n)
}

// meant takes those fingerprints of n tokens back that harmless text has, too.
func (s *scan) meant(n int) bool {
	a, b, c := &s.tokens[0], &s.tokens[1], &s.tokens[2]
	if n > 1 && s.tokens[n-1].kind == 'c' && strings.Contains(s.in, "sp_password") {
		return true
	}
	switch n {
	case 2:
		if b.kind == 'U' {
			return s.count != 2
		}
		if b.text[0] == '#' {
			return false
		}
		if b.kind == 'c' {
			if a.kind == 'n' && b.text[0] != '/' {
				return false
			}
			if a.kind == '1' {
				if b.text[0] != '/' || s.count > 2 {
					return true
				}
				// The library looks for the comment where it would be if the number
				// were the beginning of the value.
				rest := s.in[len(a.text):]
				return rest[0] <= ' ' || strings.HasPrefix(rest, "/*") || strings.HasPrefix(rest, "--")
			}
		}
		return len(b.text) <= 2 || b.text[0] != '-'
	case 3:
		switch [3]byte{a.kind, b.kind, c.kind} {
		case [3]byte{'s', 'o', 's'}, [3]byte{'s', '&', 's'}:
			return a.open == 0 && c.close == 0 && a.close == c.open
		case [3]byte{'s', '&', 'n'}, [3]byte{'n', '&', '1'}, [3]byte{'1', '&', '1'}, [3]byte{'1', '&', 'v'}, [3]byte{'1', '&', 's'}:
			if s.count == 3 {
				return false
			}
		}
		if b.kind == 'k' && (len(b.text) < 5 || !s.same(b.text[:4], "INTO")) {
			return false
		}
	}
	return true
}

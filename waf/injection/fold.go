package injection

import "strings"

// merge makes one token of two that are a phrase, such as UNION and ALL.
func (s *scan) merge(a, b *token) bool {
	if a.head == headNo || !s.mergeLeft[a.kind] || !s.mergeRight[b.kind] {
		return false
	}
	n := len(a.text) + 1 + len(b.text)
	if n > maxPhrase {
		return false
	}
	if a.head == headUnknown {
		e := s.find(a.text)
		a.head = headNo
		if e != nil {
			a.head = e.head
		}
		if a.head == headNo {
			return false
		}
	}
	var phrase [maxPhrase]byte
	copy(phrase[copy(phrase[:], a.text)+1:], b.text)
	phrase[len(a.text)] = ' '
	e := s.find(string(phrase[:n]))
	if e == nil || e.kind == 0 {
		return false
	}
	text := e.text
	if len(text) != n { // a letter beyond ASCII counts for two
		text = string(phrase[:n])
	}
	a.set(e.kind, text)
	a.head = e.head
	return true
}

// column tells whether text is a function that may be the name of a column.
func (s *scan) column(text string) bool {
	switch len(text) {
	case 4:
		return s.same(text, "USER")
	case 7:
		return s.same(text, "USER_ID")
	case 8:
		return s.same(text, "DATABASE") || s.same(text, "PASSWORD")
	case 9:
		return s.same(text, "USER_NAME") || s.same(text, "LOCALTIME")
	case 12:
		return s.same(text, "CURRENT_USER") || s.same(text, "CURRENT_DATE") || s.same(text, "CURRENT_TIME")
	case 14:
		return s.same(text, "LOCALTIMESTAMP")
	case 17:
		return s.same(text, "CURRENT_TIMESTAMP")
	}
	return false
}

// dull tells whether the first five tokens are one of four forms that say
// nothing, so that the reading goes on behind them.
func (s *scan) dull() bool {
	t := &s.tokens
	a, b, c, d, e := t[0].kind, t[1].kind, t[2].kind, t[3].kind, t[4].kind
	switch a {
	case '1':
		return (b == 'o' || b == ',') && c == '(' && d == '1' && e == ')' ||
			b == ')' && c == ',' && d == '(' && e == '1'
	case 'n':
		return b == 'o' && c == '(' && (d == 'n' || d == '1') && e == ')' ||
			b == ')' && c == 'o' && d == '(' && e == 'n'
	}
	return false
}

// A step is what is to be done after two or three tokens were looked at.
type step byte

const (
	onward  step = iota // nothing folded
	redo                // begin again with the tokens there are
	three               // no other rule for two tokens is to be tried
	settled             // the fingerprint is known
)

// fold reads tokens and folds those away that make no difference to what a
// statement does, until there are five or no more are left. It returns how many
// are in the fingerprint. The arithmetic of pos and left is the library's: pos
// is where the next token goes, left the first that is not settled. Tokens
// behind those folded are dropped with them now and then, as they are there.
func (s *scan) fold() int {
	t := &s.tokens
	var comment token
	more := true
	for more {
		more = s.next(&t[0])
		if k := t[0].kind; k != 'c' && k != '(' && k != 't' && !t[0].unary() {
			break
		}
	}
	if !more {
		return 0
	}
	pos, left := 1, 0
	for {
		if pos >= maxTokens && s.dull() {
			if pos > maxTokens {
				t[1] = t[maxTokens]
				pos, left = 2, 1
			} else {
				pos, left = 1, 0
			}
		}
		if !more || left >= maxTokens {
			left = pos
			break
		}
		for more && pos <= maxTokens && pos-left < 2 {
			if more = s.next(&t[pos]); more {
				if t[pos].kind == 'c' {
					comment = t[pos]
				} else {
					comment.kind = 0
					pos++
				}
			}
		}
		if pos-left < 2 {
			left = pos
			continue
		}
		what := onward
		what, pos, left = s.two(pos, left)
		if what == redo {
			continue
		}
		if what == settled {
			return left + 2
		}
		for more && pos <= maxTokens && pos-left < 3 {
			if more = s.next(&t[pos]); more {
				if t[pos].kind == 'c' {
					comment = t[pos]
				} else {
					comment.kind = 0
					pos++
				}
			}
		}
		if pos-left < 3 {
			left = pos
			continue
		}
		if what, pos = s.three(pos, left); what == redo {
			left = 0
			continue
		}
		left++
	}
	if left < maxTokens && comment.kind == 'c' {
		t[left] = comment
		left++
	}
	return min(left, maxTokens)
}

// two folds two tokens.
func (s *scan) two(pos, left int) (what step, newPos, newLeft int) {
	a, b := &s.tokens[left], &s.tokens[left+1]
	if (a.kind == 'o' || a.kind == '&') && (b.kind == 't' || b.unary()) {
		return redo, pos - 1, 0
	}
	if s.merge(a, b) {
		return redo, pos - 1, max(left-1, 0)
	}
	switch a.kind {
	case 's':
		if b.kind == 's' {
			return redo, pos - 1, left
		}
	case ';':
		if b.kind == ';' {
			return redo, pos - 1, left
		}
		if b.kind == 'f' && len(b.text) > 1 && b.text[0]|0x20 == 'i' && b.text[1]|0x20 == 'f' {
			b.kind = 'T'
			return redo, pos, left
		}
	case 'o':
		if s.same(a.text, "LIKE") || s.same(a.text, "NOT LIKE") {
			if b.kind == '(' {
				a.kind = 'f'
			}
			return three, pos, left
		}
	case '(':
		if b.unary() {
			return redo, pos - 1, max(left-1, 0)
		}
		if b.kind == '(' {
			return redo, pos - 1, 0
		}
	case ')':
		if b.kind == ')' {
			return redo, pos - 1, 0
		}
	case 'n', 'v':
		if b.kind == '(' && s.column(a.text) {
			a.kind = 'f'
			return redo, pos, left
		}
	case 'k':
		if s.same(a.text, "IN") || s.same(a.text, "NOT IN") {
			a.kind = 'n'
			if b.kind == '(' {
				a.kind = 'o'
			}
			return redo, pos, left
		}
	case 't':
		switch b.kind {
		case 'n', '1', 't', '(', 'f', 'v', 's':
			*a = *b
			return redo, pos - 1, 0
		}
	case 'A':
		if b.kind == 'n' {
			if strings.IndexByte(b.text, '_') >= 0 {
				b.kind = 't'
				return three, pos, 0
			}
			return three, pos, left
		}
	case '\\':
		if b.arithmetic() {
			a.kind = '1'
			return redo, pos, 0
		}
		*a = *b
		return redo, pos - 1, 0
	case '{':
		if b.kind == 'n' {
			if b.text == "" {
				b.kind = 'X'
				return settled, pos, left
			}
			return redo, pos - 2, 0
		}
	}
	if b.kind == '}' {
		return redo, pos - 1, 0
	}
	return onward, pos, left
}

// three folds three tokens; the reading begins at the first again if it did.
func (s *scan) three(pos, left int) (what step, newPos int) {
	a, b, c := &s.tokens[left], &s.tokens[left+1], &s.tokens[left+2]
	switch a.kind {
	case '1', 'n', 'v', 's':
		switch b.kind {
		case 'o':
			switch c.kind {
			case '1', 'n':
				if a.kind != 's' {
					return redo, pos - 2
				}
			case 'v':
				if a.kind == 'v' {
					return redo, pos - 2
				}
			case 't':
				if b.text == "::" {
					return redo, pos - 2
				}
			}
		case ',':
			switch c.kind {
			case '1', 'n', 's', 'v':
				return redo, pos - 2
			}
		case '.':
			if a.kind == 'n' && c.kind == 'n' {
				return redo, pos - 2
			}
		}
	case 'o':
		if b.kind != '(' && c.kind == 'o' {
			return redo, pos - 2
		}
	case '&':
		if c.kind == '&' {
			return redo, pos - 2
		}
	case 'E', 'B', 'k', ',':
		if b.unary() {
			switch c.kind {
			case '(':
				if a.kind != 'k' {
					*b = *c
					return redo, pos - 1
				}
			case '1', 'n', 'v', 's':
				*b = *c
				if a.kind == ',' {
					return redo, pos - 3
				}
				return redo, pos - 1
			case 'f':
				*b = *c
				return redo, pos - 1
			}
		}
		if a.kind == 'E' && b.kind == '.' && c.kind == 'n' {
			*b = *c
			return redo, pos - 1
		}
	case 'f':
		if b.kind == '(' && c.kind != ')' && s.same(a.text, "USER") {
			a.kind = 'n'
		}
	}
	return onward, pos
}

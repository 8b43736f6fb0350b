package waf

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// The kinds of tokens that are no punctuation; punctuation stands for itself,
// and zero for the end.
const (
	graphQLName       = 'n'
	graphQLNumber     = 'd'
	graphQLString     = 's'
	graphQLSpreadMark = '.'
)

// A graphQLLexer cuts a document into tokens (section 2.1).
type graphQLLexer struct {
	s      string
	i      int
	kind   byte   // of the token
	text   string // of a name or number, or what a string stands for
	nested int
	notes  []string // comments
}

// unexpected is the error about a token that cannot stand where it does.
func (l *graphQLLexer) unexpected() error {
	if l.kind == 0 {
		return errCut
	}
	return errGraphQL
}

// expect takes one token of punctuation.
func (l *graphQLLexer) expect(kind byte) error {
	if l.kind != kind {
		return l.unexpected()
	}
	return l.advance()
}

// advance reads the next token.
func (l *graphQLLexer) advance() error {
	l.skip()
	l.kind, l.text = 0, ""
	if l.i >= len(l.s) {
		return nil
	}
	start := l.i
	switch c := l.s[l.i]; {
	case strings.IndexByte("!$&():=@[]{|}", c) >= 0:
		l.kind = c
		l.i++
	case c == '.':
		if !strings.HasPrefix(l.s[l.i:], "...") {
			return errGraphQL
		}
		l.kind = graphQLSpreadMark
		l.i += 3
	case c == '_' || alphanumeric(c) && c > '9':
		for l.i < len(l.s) && (l.s[l.i] == '_' || alphanumeric(l.s[l.i])) {
			l.i++
		}
		l.kind, l.text = graphQLName, l.s[start:l.i]
	case c == '-' || alphanumeric(c):
		for l.i < len(l.s) && (alphanumeric(l.s[l.i]) || strings.IndexByte("+-._", l.s[l.i]) >= 0) {
			l.i++
		}
		if l.i-start > maxNumber {
			return fmt.Errorf("%w: a number of more than %d bytes", errBound, maxNumber)
		}
		l.kind, l.text = graphQLNumber, l.s[start:l.i]
	case c == '"':
		return l.quoted()
	default:
		return errGraphQL
	}
	return nil
}

// skip skips white space, commas, comments and byte order marks.
func (l *graphQLLexer) skip() {
	for l.i < len(l.s) {
		switch c := l.s[l.i]; {
		case c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == ',':
			l.i++
		case c == '#':
			end := strings.IndexAny(l.s[l.i:], "\r\n")
			if end < 0 {
				end = len(l.s) - l.i
			}
			l.notes = append(l.notes, l.s[l.i+1:l.i+end])
			l.i += end
		case strings.HasPrefix(l.s[l.i:], byteOrderMark):
			l.i += len(byteOrderMark)
		default:
			return
		}
	}
}

// quoted reads a string (section 2.9.4) and decodes it.
func (l *graphQLLexer) quoted() error {
	l.kind = graphQLString
	if strings.HasPrefix(l.s[l.i:], `"""`) {
		return l.block()
	}
	var b []byte
	for l.i++; l.i < len(l.s); {
		c := l.s[l.i]
		l.i++
		switch {
		case c == '"':
			l.text = view(b)
			return nil
		case c == '\r' || c == '\n':
			return errors.New("a line end in a string")
		case c != '\\':
			b = append(b, c)
			continue
		case l.i == len(l.s):
			return errCut
		}
		c = l.s[l.i]
		l.i++
		if c == 'u' {
			r, err := l.unicode()
			if err != nil {
				return err
			}
			b = utf8.AppendRune(b, r)
			continue
		}
		at := strings.IndexByte(`"\/bfnrt`, c)
		if at < 0 {
			return fmt.Errorf("unknown escape \\%c", c)
		}
		b = append(b, "\"\\/\b\f\n\r\t"[at])
	}
	return errCut
}

// unicode reads what follows \u: four digits, with the other half of a
// surrogate pair, or any number of them in braces.
func (l *graphQLLexer) unicode() (rune, error) {
	if !strings.HasPrefix(l.s[l.i:], "{") {
		j := jsonReader{s: l.s, i: l.i}
		r, err := j.unicode()
		l.i = j.i
		return r, err
	}
	digits, _, closed := strings.Cut(l.s[l.i+1:], "}")
	if !closed {
		return 0, errCut
	}
	l.i += len(digits) + 2
	r := rune(0)
	for n := range len(digits) {
		d := hexValue(digits[n])
		if r = r<<4 | rune(d); d < 0 || r > utf8.MaxRune {
			return 0, errors.New("no code point in \\u{}")
		}
	}
	if digits == "" {
		return 0, errors.New("no code point in \\u{}")
	}
	return r, nil
}

// block reads a block string: lines without the white space that all of them
// begin with, and without empty ones at either end (section 2.9.4).
func (l *graphQLLexer) block() error {
	l.i += 3
	var raw strings.Builder
	for {
		end := strings.Index(l.s[l.i:], `"""`)
		if end < 0 {
			return errCut
		}
		piece := l.s[l.i : l.i+end]
		l.i += end + 3
		escaped, ok := strings.CutSuffix(piece, `\`)
		raw.WriteString(escaped)
		if !ok {
			break
		}
		raw.WriteString(`"""`)
	}
	l.text = unindented(raw.String())
	return nil
}

// unindented is what a block string stands for.
func unindented(raw string) string {
	lines := strings.Split(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(raw), "\n")
	blank := func(line string) bool { return strings.Trim(line, " \t") == "" }
	indent := -1
	for _, line := range lines[1:] {
		if own := len(line) - len(strings.TrimLeft(line, " \t")); !blank(line) && (indent < 0 || own < indent) {
			indent = own
		}
	}
	for i, line := range lines {
		if i > 0 && indent > 0 {
			lines[i] = line[min(indent, len(line)):]
		}
	}
	for len(lines) > 0 && blank(lines[0]) {
		lines = lines[1:]
	}
	for len(lines) > 0 && blank(lines[len(lines)-1]) {
		lines = lines[:len(lines)-1]
	}
	return strings.Join(lines, "\n")
}

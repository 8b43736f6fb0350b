package demo

import (
	"slices"
	"strconv"
	"strings"
)

// A table is a few rows of text.
type table struct {
	columns []string
	rows    [][]string
}

const (
	maxTokens  = 4096
	maxDepth   = 32 // of parentheses
	maxSelects = 16 // joined by UNION
)

// A fault is an error in the words of a well-known database, which are neither
// lower case nor ours: they are what a leaked error looks like.
type fault string

func (f fault) Error() string { return string(f) }

// syntaxError is the fault of a statement that breaks off or goes wrong near a
// place.
func syntaxError(near string) error {
	return fault("You have an error in your SQL syntax; check the manual that corresponds to your MySQL server version for the right syntax to use near '" +
		near[:min(len(near), 80)] + "' at line 1")
}

// query runs a statement the way a database would: just enough SQL that an
// injected one does what the attacker meant. It knows SELECT with columns and
// literals, WHERE with AND, OR, NOT, comparisons and LIKE, UNION, and comments.
func (s *shop) query(statement string) (columns []string, rows [][]string, err error) {
	tokens, err := lex(statement)
	if err != nil {
		return nil, nil, err
	}
	p := &parser{tokens: tokens, tables: s.tables}
	for n := 0; ; n++ {
		if n == maxSelects {
			return nil, nil, p.unexpected()
		}
		cols, more, err := p.selectStatement()
		if err != nil {
			return nil, nil, err
		}
		if columns == nil {
			columns = cols
		}
		if len(cols) != len(columns) {
			return nil, nil, fault("The used SELECT statements have a different number of columns")
		}
		rows = append(rows, more...)
		if !p.word("union") {
			break
		}
		p.word("all")
	}
	if p.symbol(";"); p.at < len(p.tokens) {
		return nil, nil, p.unexpected()
	}
	return columns, rows, nil
}

// A token is one word of a statement.
type token struct {
	kind byte // 'w' word, 'n' number, 's' string, 'p' punctuation
	text string
	rest string // the statement from here on, for error messages
}

// lex splits a statement into tokens and drops comments.
func lex(s string) ([]token, error) {
	var tokens []token
	for {
		s = strings.TrimLeft(s, " \t\r\n")
		if s == "" {
			return tokens, nil
		}
		if len(tokens) == maxTokens {
			return nil, syntaxError(s)
		}
		kind, text, length := byte('p'), "", 1
		switch c := s[0]; {
		case strings.HasPrefix(s, "--") || c == '#':
			return tokens, nil
		case strings.HasPrefix(s, "/*"):
			_, after, ok := strings.Cut(s[2:], "*/")
			if !ok {
				return nil, syntaxError(s)
			}
			s = after
			continue
		case c == '\'' || c == '"':
			kind = 's'
			if text, length = quoted(s); length == 0 {
				return nil, syntaxError(s)
			}
		case isWord(c):
			length = len(s) - len(strings.TrimLeftFunc(s, func(r rune) bool { return r < 128 && isWord(byte(r)) }))
			kind, text = 'w', s[:length]
			if _, err := strconv.ParseFloat(text, 64); err == nil {
				kind = 'n'
			}
		default:
			if two := s[:min(2, len(s))]; two == "<>" || two == "!=" || two == "<=" || two == ">=" || two == "||" || two == "&&" {
				length = 2
			}
			text = s[:length]
		}
		tokens = append(tokens, token{kind: kind, text: text, rest: s})
		s = s[length:]
	}
}

// quoted reads a string literal; a doubled quote stands for one. The length is
// 0 when it does not end.
func quoted(s string) (text string, length int) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		if s[i] == s[0] {
			if i+1 >= len(s) || s[i+1] != s[0] {
				return b.String(), i + 1
			}
			i++
		}
		b.WriteByte(s[i])
	}
	return "", 0
}

func isWord(c byte) bool {
	return c == '_' || c == '.' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// A parser evaluates while it reads: conditions become functions of a row.
type parser struct {
	tokens []token
	at     int
	depth  int
	tables map[string]table
	from   table // of the SELECT being read
}

// A value takes an operand from a row; a condition judges one.
type (
	value     func(row []string) string
	condition func(row []string) bool
)

func (p *parser) unexpected() error {
	if p.at < len(p.tokens) {
		return syntaxError(p.tokens[p.at].rest)
	}
	return syntaxError("")
}

// word takes a keyword if it comes next.
func (p *parser) word(w string) bool { return p.take('w', w) }

// symbol takes a punctuation mark if it comes next.
func (p *parser) symbol(s string) bool { return p.take('p', s) }

func (p *parser) take(kind byte, text string) bool {
	if p.at < len(p.tokens) && p.tokens[p.at].kind == kind && strings.EqualFold(p.tokens[p.at].text, text) {
		p.at++
		return true
	}
	return false
}

// selectStatement reads SELECT list [FROM table [WHERE condition]] and runs it.
func (p *parser) selectStatement() (columns []string, rows [][]string, err error) {
	if !p.word("select") {
		return nil, nil, p.unexpected()
	}
	list := p.at
	p.skipList()
	listEnd := p.at
	p.from = table{rows: [][]string{{}}} // SELECT without FROM has one row
	if p.word("from") {
		if p.at == len(p.tokens) {
			return nil, nil, p.unexpected()
		}
		t, ok := p.tables[strings.ToLower(p.tokens[p.at].text)]
		if !ok {
			return nil, nil, fault("Table 'shop." + p.tokens[p.at].text + "' doesn't exist")
		}
		p.from = t
		p.at++
	}
	where := p.at
	p.at = list
	columns, values, err := p.list()
	if err != nil {
		return nil, nil, err
	}
	if p.at != listEnd {
		return nil, nil, p.unexpected()
	}
	p.at = where
	holds := condition(func([]string) bool { return true })
	if p.word("where") {
		if holds, err = p.or(); err != nil {
			return nil, nil, err
		}
	}
	for _, row := range p.from.rows {
		if !holds(row) {
			continue
		}
		out := make([]string, len(values))
		for i, v := range values {
			out[i] = v(row)
		}
		rows = append(rows, out)
	}
	return columns, rows, nil
}

// skipList moves past the select list, whose columns are known only after FROM.
func (p *parser) skipList() {
	for p.at < len(p.tokens) && !slices.Contains([]string{"from", "union", "where", ";"}, strings.ToLower(p.tokens[p.at].text)) {
		p.at++
	}
}

// list reads the select list.
func (p *parser) list() (columns []string, values []value, err error) {
	for {
		if p.symbol("*") {
			for i, c := range p.from.columns {
				columns = append(columns, c)
				values = append(values, func(row []string) string { return row[i] })
			}
		} else {
			name := ""
			if p.at < len(p.tokens) {
				name = p.tokens[p.at].text
			}
			v, err := p.operand()
			if err != nil {
				return nil, nil, err
			}
			columns, values = append(columns, name), append(values, v)
		}
		if !p.symbol(",") {
			return columns, values, nil
		}
	}
}

// or reads conditions joined by OR.
func (p *parser) or() (condition, error) {
	left, err := p.and()
	for err == nil && (p.word("or") || p.symbol("||")) {
		var right condition
		if right, err = p.and(); err == nil {
			a, b := left, right
			left = func(row []string) bool { return a(row) || b(row) }
		}
	}
	return left, err
}

// and reads conditions joined by AND.
func (p *parser) and() (condition, error) {
	left, err := p.not()
	for err == nil && (p.word("and") || p.symbol("&&")) {
		var right condition
		if right, err = p.not(); err == nil {
			a, b := left, right
			left = func(row []string) bool { return a(row) && b(row) }
		}
	}
	return left, err
}

// not reads one condition, its negation, or one in parentheses.
func (p *parser) not() (condition, error) {
	if p.depth++; p.depth > maxDepth {
		return nil, p.unexpected()
	}
	defer func() { p.depth-- }()
	if p.word("not") || p.symbol("!") {
		c, err := p.not()
		return func(row []string) bool { return !c(row) }, err
	}
	if p.symbol("(") {
		c, err := p.or()
		if err == nil && !p.symbol(")") {
			err = p.unexpected()
		}
		return c, err
	}
	return p.comparison()
}

// comparison reads two operands and what stands between them; an operand alone
// is true unless it is 0 or empty.
func (p *parser) comparison() (condition, error) {
	left, err := p.operand()
	if err != nil {
		return nil, err
	}
	for _, op := range []struct {
		text  string
		holds func(a, b string) bool
	}{
		{"=", strings.EqualFold},
		{"<>", func(a, b string) bool { return !strings.EqualFold(a, b) }},
		{"!=", func(a, b string) bool { return !strings.EqualFold(a, b) }},
		{"<=", func(a, b string) bool { return compare(a, b) <= 0 }},
		{">=", func(a, b string) bool { return compare(a, b) >= 0 }},
		{"<", func(a, b string) bool { return compare(a, b) < 0 }},
		{">", func(a, b string) bool { return compare(a, b) > 0 }},
		{"like", like},
	} {
		if !p.symbol(op.text) && !p.word(op.text) {
			continue
		}
		right, err := p.operand()
		return func(row []string) bool { return op.holds(left(row), right(row)) }, err
	}
	return func(row []string) bool { v := left(row); return v != "" && v != "0" }, nil
}

// operand reads a literal or the name of a column.
func (p *parser) operand() (value, error) {
	if p.at == len(p.tokens) {
		return nil, p.unexpected()
	}
	t := p.tokens[p.at]
	switch t.kind {
	case 's', 'n':
		p.at++
		return func([]string) string { return t.text }, nil
	case 'w':
		if strings.EqualFold(t.text, "null") {
			p.at++
			return func([]string) string { return "" }, nil
		}
		name := strings.ToLower(t.text[strings.LastIndexByte(t.text, '.')+1:])
		i := slices.Index(p.from.columns, name)
		if i < 0 {
			return nil, fault("Unknown column '" + t.text + "' in 'field list'")
		}
		p.at++
		return func(row []string) string { return row[i] }, nil
	}
	return nil, p.unexpected()
}

// compare orders two values, as numbers when both are.
func compare(a, b string) int {
	x, errA := strconv.ParseFloat(a, 64)
	y, errB := strconv.ParseFloat(b, 64)
	switch {
	case errA != nil || errB != nil:
		return strings.Compare(a, b)
	case x < y:
		return -1
	case x > y:
		return 1
	}
	return 0
}

// like matches a text with a pattern in which % stands for anything and _ for
// one byte, without regard to letter case. It never tries more than one % again,
// so that no pattern takes long.
func like(text, pattern string) bool {
	text, pattern = strings.ToLower(text), strings.ToLower(pattern)
	t, p, star, mark := 0, 0, -1, 0
	for t < len(text) {
		switch {
		case p < len(pattern) && pattern[p] == '%':
			star, mark = p, t
			p++
		case p < len(pattern) && (pattern[p] == '_' || pattern[p] == text[t]):
			t, p = t+1, p+1
		case star >= 0:
			mark++
			t, p = mark, star+1
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "%") == ""
}

package injection

import (
	"slices"
	"strings"
)

// Kinds of tokens of HTML that something depends on.
const (
	htmlOther = iota
	htmlDoctype
	htmlTag       // opened, or closed with something behind its name
	htmlAttribute // the name
	htmlValue
	htmlComment
)

// What the reader of HTML looks for next.
const (
	inData = iota
	inTagOpen
	inTagEnd // the > behind a name, or behind a value without quotes
	inAttributes
	inSelfClosing
	afterName
	beforeValue
	afterQuoted
	inQuoted
	atEnd
)

// What the name of an attribute says about its value. The numbers are the
// library's.
const (
	plain = iota
	black
	blackURL
	blackStyle
	blackIndirect
)

// xss reads value as HTML in up to five ways: as text, as what stands in a tag,
// and as what stands in a quoted value, of three kinds of quotes.
func (t *tables) xss(value string) bool {
	if !t.suspicious(value) {
		return false
	}
	if strings.IndexByte(value, '<') >= 0 && t.parse(value, inData, 0) {
		return true
	}
	if t.parse(value, inAttributes, 0) {
		return true
	}
	for _, quote := range [...]byte{'\'', '"', '`'} {
		// Without its end the value of an unknown attribute is all there is.
		if strings.IndexByte(value, quote) >= 0 && t.parse(value, inQuoted, quote) {
			return true
		}
	}
	return false
}

// suspicious tells whether anything in value could be found in any of the five
// ways. There are four things that can: a document type, and a comment, which
// begin with <!, <?, <% or with </ and what is no letter; a tag, whose name is
// what follows < or </ until white space, / or >; and the value of an
// attribute.
//
// A value begins behind =, before which stands, perhaps with white space and
// NULs between, its name. No name that matters has other bytes than letters
// and the colon, NULs in it not counted (newTables looks). So it is within the
// run of such bytes before the =. It is all of the run: a name begins at the
// beginning of the value, behind white space, a slash or a quote, NULs between
// skipped, and none of these may be in a run. What stands before the run is
// hence one of them.
func (t *tables) suspicious(value string) bool {
	for rest := value; ; {
		i := strings.IndexByte(rest, '<')
		if i < 0 || i+1 == len(rest) {
			break
		}
		rest = rest[i+1:]
		switch c := rest[0]; {
		case c == '!', c == '?', c == '%':
			return true
		case c == '/':
			if len(rest) == 1 {
				break
			}
			if t.html[rest[1]]&htmlLetter == 0 {
				if rest[1] != '>' {
					return true
				}
			} else if t.beginsTag(rest[1:]) {
				return true
			}
		case c == 0, t.html[c]&htmlLetter != 0:
			if t.beginsTag(rest) {
				return true
			}
		}
	}
	for from := 0; ; {
		i := strings.IndexByte(value[from:], '=')
		if i < 0 {
			return false
		}
		end := from + i
		from = end + 1
		for end > 0 && t.html[value[end-1]]&(htmlWhite|htmlNull) != 0 {
			end--
		}
		start := end
		for start > 0 && t.html[value[start-1]]&htmlInName != 0 {
			start--
		}
		if end-start >= 2 && (start == 0 || t.html[value[start-1]]&htmlBefore != 0) && t.attribute(value[start:end]) != plain {
			return true
		}
	}
}

// beginsTag tells whether s begins as the name of a tag does that is an attack:
// with the same three letters. More of it is not read, for in a long value with
// many < and no > the names would overlap.
func (t *tables) beginsTag(s string) bool {
	var begin [3]byte
	n := 0
	for i := 0; i < len(s) && t.html[s[i]]&htmlEndsTag == 0; i++ {
		if s[i] == 0 {
			continue
		}
		begin[n] = t.upper[s[i]]
		if n++; n == len(begin) {
			return slices.Contains(t.tagBegins, begin)
		}
	}
	return false
}

// name is the length of the name of a tag at the beginning of s.
func (t *tables) name(s string) int {
	n := 0
	for n < len(s) && t.html[s[n]]&htmlEndsTag == 0 {
		n++
	}
	return n
}

// capitals writes s without NULs and in capitals; ok is false if it is too long
// for a name that matters.
func (t *tables) capitals(to *[maxName]byte, s string) (n int, ok bool) {
	for i := range len(s) {
		if s[i] == 0 {
			continue
		}
		if n == len(to) {
			return n, false
		}
		to[n] = t.upper[s[i]]
		n++
	}
	return n, true
}

// blackTag tells whether a tag of this name is an attack.
func (t *tables) blackTag(name string) bool {
	if len(name) < 3 {
		return false
	}
	var buf [maxName]byte
	n, ok := t.capitals(&buf, name)
	if !ok || n < 3 {
		return false
	}
	switch string(buf[:3]) {
	case "SVG", "XSL":
		return true
	}
	for _, tag := range t.tags {
		if len(tag) == n && tag[0] == buf[0] && tag == string(buf[:n]) {
			return true
		}
	}
	return false
}

// attribute tells what the name of an attribute says about its value.
func (t *tables) attribute(name string) int {
	var buf [maxName]byte
	n, ok := t.capitals(&buf, name)
	if !ok || n < 2 {
		return plain
	}
	if n >= 5 {
		switch string(buf[:n]) {
		case "XMLNS", "XLINK":
			return black
		}
		if buf[0] == 'O' && buf[1] == 'N' {
			if kind, ok := t.events[string(buf[2:n])]; ok {
				return kind
			}
		}
	}
	return t.attributes[string(buf[:n])]
}

func (t *tables) parse(value string, state int, quote byte) bool {
	m := markup{tables: t, in: value, state: state, quote: quote}
	kind := plain
	for m.next() {
		if m.kind != htmlValue {
			kind = plain
		}
		switch m.kind {
		case htmlDoctype:
			return true
		case htmlTag:
			if t.blackTag(m.token) {
				return true
			}
		case htmlAttribute:
			kind = t.attribute(m.token)
		case htmlValue:
			switch kind {
			case black, blackStyle:
				return true
			case blackURL:
				if t.url(m.token) {
					return true
				}
			case blackIndirect:
				if t.attribute(m.token) == black {
					return true
				}
			}
			kind = plain
		case htmlComment:
			if t.comment(m.token) {
				return true
			}
		}
	}
	return false
}

// comment tells whether a comment is one that some browser takes for more.
func (t *tables) comment(text string) bool {
	if strings.IndexByte(text, '`') >= 0 {
		return true
	}
	if len(text) >= 4 && (text[0] == '[' && t.same(text[1:3], "IF") || t.same(text[:3], "XML")) {
		return true
	}
	if len(text) < 6 {
		return false
	}
	var begin [6]byte
	n := 0
	for i := 0; i < len(text) && n < len(begin); i++ {
		if text[i] != 0 {
			begin[n] = t.upper[text[i]]
			n++
		}
	}
	switch string(begin[:n]) {
	case "IMPORT", "ENTITY":
		return true
	}
	return false
}

// url tells whether the value of an attribute is an address that runs code.
func (t *tables) url(s string) bool {
	s = strings.TrimLeftFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f })
	for _, scheme := range [...]string{"DATA", "VIEW-SOURCE", "VBSCRIPT", "JAVA"} {
		if t.begins(s, scheme) {
			return true
		}
	}
	return false
}

// begins tells whether s, its references to characters resolved, begins with
// prefix, which is in capitals. Control characters and blanks before it do not
// count, nor do NULs and ends of lines within.
func (t *tables) begins(s, prefix string) bool {
	for first := true; s != ""; {
		c, n := reference(s)
		s = s[n:]
		if first && c <= ' ' {
			continue
		}
		first = false
		if c == 0 || c == '\n' {
			continue
		}
		if prefix == "" {
			return true
		}
		if t.upper[byte(c)] != prefix[0] || c > 0xff && byte(c)-'a' < 26 {
			return false
		}
		prefix = prefix[1:]
	}
	return prefix == ""
}

// reference reads a character, which may be written as &#106; or &#x6a;, and
// returns how many bytes it takes.
func reference(s string) (c, n int) {
	if len(s) < 3 || s[0] != '&' || s[1] != '#' {
		return int(s[0]), 1
	}
	base, n := 10, 2
	if s[2]|0x20 == 'x' {
		base, n = 16, 3
	}
	for first := true; ; first = false {
		d := base
		if n < len(s) {
			d = value(s[n])
			if s[n] == ';' && !first {
				return c, n + 1
			}
		}
		if d >= base {
			if first {
				return '&', 1
			}
			return c, n
		}
		c = c*base + d
		n++
		if c > 0x1000ff {
			return '&', 1
		}
	}
}

// value is that of a hexadecimal digit, or more than any has.
func value(c byte) int {
	switch {
	case digit(c):
		return int(c - '0')
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return 99
}

package injection

import "strings"

// A markup reads one value as HTML.
type markup struct {
	*tables
	in      string
	pos     int
	state   int
	quote   byte
	closing bool // the tag is one with </, or an earlier </> was
	kind    int
	token   string
}

// emit makes a token of the next n bytes; the reading goes on behind skip more.
func (m *markup) emit(kind, n, skip, state int) bool {
	m.kind, m.token, m.state = kind, m.in[m.pos:m.pos+n], state
	m.pos += n + skip
	return true
}

// rest makes a token of all there is.
func (m *markup) rest(kind int) bool { return m.emit(kind, len(m.in)-m.pos, 0, atEnd) }

// next reads a token and tells whether there was one.
func (m *markup) next() bool {
	switch m.state {
	case inData:
		return m.data()
	case inTagOpen:
		return m.tag()
	case inTagEnd:
		m.closing = false
		m.emit(htmlOther, 1, 0, inData)
		if m.pos >= len(m.in) {
			m.state = atEnd
		}
		return true
	case inAttributes:
		return m.inside()
	case inSelfClosing:
		return m.selfClosing()
	case afterName:
		switch m.skip() {
		case end:
			return false
		case '/':
			m.pos++
			return m.selfClosing()
		case '=':
			m.pos++
			return m.value()
		case '>':
			m.state = inTagEnd
			return m.next()
		}
		return m.attributeName()
	case beforeValue:
		return m.value()
	case afterQuoted:
		if m.pos >= len(m.in) {
			return false
		}
		switch c := m.in[m.pos]; {
		case c == '/':
			m.pos++
			return m.selfClosing()
		case c == '>':
			return m.emit(htmlOther, 1, 0, inData)
		}
		return m.inside()
	case inQuoted:
		return m.quoted()
	}
	return false
}

const end = -1

// skip skips white space and NULs and returns the byte behind, or end.
func (m *markup) skip() int {
	for ; m.pos < len(m.in); m.pos++ {
		if c := m.in[m.pos]; m.html[c]&(htmlWhite|htmlNull) == 0 {
			return int(c)
		}
	}
	return end
}

func (m *markup) data() bool {
	i := strings.IndexByte(m.in[m.pos:], '<')
	if i < 0 {
		return m.pos < len(m.in) && m.rest(htmlOther)
	}
	m.emit(htmlOther, i, 1, inTagOpen)
	return i > 0 || m.tag()
}

func (m *markup) tag() bool {
	if m.pos >= len(m.in) {
		return false
	}
	switch c := m.in[m.pos]; {
	case c == '!':
		m.pos++
		return m.declaration()
	case c == '/':
		m.pos++
		m.closing = true
		if m.pos >= len(m.in) {
			return false
		}
		if m.in[m.pos] == '>' {
			return m.data()
		}
		if m.html[m.in[m.pos]]&htmlLetter != 0 {
			return m.tagName()
		}
		m.closing = false
		return m.remark()
	case c == '?':
		m.pos++
		return m.remark()
	case c == '%':
		m.pos++
		return m.percent()
	case c == 0, m.html[c]&htmlLetter != 0:
		return m.tagName()
	}
	m.kind, m.state = htmlOther, inData // the < was text
	return true
}

func (m *markup) tagName() bool {
	n := m.name(m.in[m.pos:])
	if m.pos+n == len(m.in) {
		return m.rest(htmlTag)
	}
	switch m.in[m.pos+n] {
	case '/':
		return m.emit(htmlTag, n, 1, inSelfClosing)
	case '>':
		if m.closing {
			m.closing = false
			return m.emit(htmlOther, n, 1, inData)
		}
		return m.emit(htmlTag, n, 0, inTagEnd)
	}
	return m.emit(htmlTag, n, 1, inAttributes)
}

// inside reads what stands in a tag behind its name.
func (m *markup) inside() bool {
	for {
		switch m.skip() {
		case end:
			return false
		case '/':
			m.pos++
			if m.pos < len(m.in) && m.in[m.pos] != '>' {
				continue
			}
			return m.selfClosing()
		case '>':
			return m.emit(htmlOther, 1, 0, inData)
		}
		return m.attributeName()
	}
}

func (m *markup) selfClosing() bool {
	if m.pos >= len(m.in) {
		return false
	}
	if m.in[m.pos] == '>' {
		return m.emit(htmlOther, 1, 0, inData)
	}
	return m.inside()
}

func (m *markup) attributeName() bool {
	n := 1 // whatever it is
	for m.pos+n < len(m.in) && m.html[m.in[m.pos+n]]&htmlEndsName == 0 {
		n++
	}
	if m.pos+n >= len(m.in) {
		return m.rest(htmlAttribute)
	}
	switch m.in[m.pos+n] {
	case '/':
		return m.emit(htmlAttribute, n, 1, inSelfClosing)
	case '=':
		return m.emit(htmlAttribute, n, 1, beforeValue)
	case '>':
		return m.emit(htmlAttribute, n, 0, inTagEnd)
	}
	return m.emit(htmlAttribute, n, 1, afterName)
}

func (m *markup) value() bool {
	switch c := m.skip(); c {
	case end:
		return false
	case '"', '\'', '`':
		m.quote = byte(c)
		return m.quoted()
	}
	rest := m.in[m.pos:]
	for n := range len(rest) {
		if rest[n] == '>' {
			return m.emit(htmlValue, n, 0, inTagEnd)
		}
		if m.html[rest[n]]&htmlWhite != 0 {
			return m.emit(htmlValue, n, 1, inAttributes)
		}
	}
	return m.rest(htmlValue)
}

func (m *markup) quoted() bool {
	if m.pos > 0 {
		m.pos++ // the quote; there is none before a value that begins in quotes
	}
	i := strings.IndexByte(m.in[m.pos:], m.quote)
	if i < 0 {
		return m.rest(htmlValue)
	}
	return m.emit(htmlValue, i, 1, afterQuoted)
}

// declaration reads what begins with <!.
func (m *markup) declaration() bool {
	rest := m.in[m.pos:]
	switch {
	case len(rest) >= 7 && m.same(rest[:7], "DOCTYPE"):
		return m.rest(htmlDoctype)
	case strings.HasPrefix(rest, "[CDATA["):
		m.pos += 7
		if i := strings.Index(m.in[m.pos:], "]]>"); i >= 0 {
			return m.emit(htmlOther, i, 3, inData)
		}
		return m.rest(htmlOther)
	case strings.HasPrefix(rest, "--"):
		m.pos += 2
		return m.dashes()
	}
	return m.remark()
}

// remark reads a comment that ends with >.
func (m *markup) remark() bool {
	if i := strings.IndexByte(m.in[m.pos:], '>'); i >= 0 {
		return m.emit(htmlComment, i, 1, inData)
	}
	return m.rest(htmlComment)
}

// percent reads a comment that ends with %>. The library looks for the > not
// where it found the percent sign but as far from the beginning of the comment
// as the sign was from where it last began to look, and takes as much for the
// text of the comment.
func (m *markup) percent() bool {
	for from := m.pos; ; {
		i := strings.IndexByte(m.in[from:], '%')
		if i < 0 || from+i+1 >= len(m.in) {
			return m.rest(htmlComment)
		}
		if m.in[m.pos+i+1] == '>' {
			behind := from + i + 2
			m.emit(htmlComment, i, 0, inData)
			m.pos = behind
			return true
		}
		from += i + 1
	}
}

// dashes reads a comment that ends with -->, with -!>, or so with NULs behind
// the first dash.
func (m *markup) dashes() bool {
	for from := m.pos; ; {
		i := strings.IndexByte(m.in[from:], '-')
		if i < 0 || from+i+3 > len(m.in) {
			return m.rest(htmlComment)
		}
		at := from + i
		next := at + 1
		for next < len(m.in) && m.in[next] == 0 {
			next++
		}
		if next == len(m.in) {
			return m.rest(htmlComment)
		}
		from = at + 1
		if m.in[next] != '-' && m.in[next] != '!' {
			continue
		}
		if next+1 == len(m.in) {
			return m.rest(htmlComment)
		}
		if m.in[next+1] == '>' {
			n := at - m.pos
			return m.emit(htmlComment, n, next+2-at, inData)
		}
	}
}

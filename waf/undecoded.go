package waf

import (
	"bytes"
	"slices"
	"strings"
)

// Many applications know nothing of Content-Encoding and take the coded bytes
// for the body. Whoever makes those bytes can write into them: a file name in a
// gzip header, a block of br that has no content, codes that happen to spell an
// attack. So what can be read in them, and is not content, is judged too.

const (
	// strayRun is from how many characters in a row on coded bytes count as
	// text. By chance, four such runs stand in a megabyte.
	strayRun = 12
	// maxStrays is how many runs of text coded bytes may hold that their content
	// does not.
	maxStrays = 64
)

// readable reports whether coded bytes that begin with c may be a body of the
// kind to somebody who does not decode them.
func readable(k kind, c byte) bool {
	switch k {
	case kindJSON:
		return strings.IndexByte(" \t\r\n{[\"\xef", c) >= 0
	case kindXML:
		return strings.IndexByte(" \t\r\n<\xef", c) >= 0
	default:
		return true
	}
}

// strays calls f with the runs of text in coded bytes that are not, in the same
// order, in the content. It reports whether there are no more than maxStrays.
func strays(coded, content string, f func(run string)) bool {
	count := 0
	for start := 0; start < len(coded); {
		end := start
		for end < len(coded) && textual(coded[end]) {
			end++
		}
		run := coded[start:end]
		if start = end + 1; len(run) < strayRun {
			continue
		}
		// What compression left as it was stands in the content as well, and
		// was judged there.
		if at := strings.Index(content, run); at >= 0 {
			content = content[at+len(run):]
			continue
		}
		if count++; count > maxStrays {
			return false
		}
		f(run)
	}
	return true
}

// textual reports whether c is what text in ASCII consists of.
func textual(c byte) bool { return ' ' <= c && c <= '~' || c == '\t' || c == '\r' || c == '\n' }

// strayText says that coded bytes hold more such text than is judged.
func (t *Transaction) strayText() string {
	return string(t.coding) + ": too much text in the coded bytes that is not in their content"
}

// readStrays hands on what can be read in coded bytes. It reports whether that
// was all of it.
func readStrays(coded, content string, to *sink) bool {
	return strays(coded, content, func(run string) {
		pairs(run, func(_ int, name, value string) bool {
			to.add(name, value)
			return !to.full
		})
	})
}

// Bounds of what is looked at of a form in coded bytes.
const (
	// plainNear is how far behind the head of a field any run of text counts;
	// from there on it must be longer, since by chance there are many.
	plainNear   = 64 << 10
	plainFarRun = 2 * strayRun
	// maxPlainRuns and maxPlainText bound what is kept.
	maxPlainRuns = 256
	maxPlainText = 256 << 10
)

// plainParts looks for parts of a form in coded bytes: for its boundary at the
// beginning of a line, a head, and the text of the field behind it, in
// whatever form a lenient application may take. Where compression gained
// nothing, it leaves parts as they are, whole or in pieces.
type plainParts struct {
	delimiter []byte // two dashes, boundary
	wait      []byte // what cannot be told yet
	state     plainState
	size      int64 // of the field so far
	run       []byte
	runs      []string
	text      int
	full      bool // there was more than can be kept
}

type plainState uint8

const (
	plainOutside plainState = iota // before any part, or in a file
	plainHead
	plainField
)

// feed reads the next coded bytes.
func (p *plainParts) feed(b []byte) {
	room := windows.Get().(*[uploadWindow]byte)
	b = append(append(room[:0], p.wait...), b...)
	for more := true; more; {
		var n int
		n, more = p.step(b)
		b = b[n:]
	}
	p.wait = append(p.wait[:0], b...)
	windows.Put(room)
}

// step reads the beginning of b, and tells how much, and whether to go on.
func (p *plainParts) step(b []byte) (n int, more bool) {
	if p.state == plainHead {
		return p.head(b)
	}
	at := bytes.Index(b, p.delimiter)
	if at < 0 {
		at = max(0, len(b)-len(p.delimiter)+1)
		p.data(b[:at])
		return at, false
	}
	p.data(b[:at])
	end := at + len(p.delimiter)
	if end == len(b) {
		return at, false
	}
	p.keep()
	if p.state = plainOutside; b[end] == '\r' || b[end] == '\n' {
		p.state = plainHead
	}
	return end, true
}

// head reads the head of a part.
func (p *plainParts) head(b []byte) (n int, more bool) {
	end, size := bytes.Index(b, []byte("\r\n\r\n")), 4
	if lf := bytes.Index(b, []byte("\n\n")); lf >= 0 && (end < 0 || lf < end) {
		end, size = lf, 2
	}
	switch {
	case end < 0 && len(b) <= maxPartHead:
		return 0, false
	case end < 0 || end > maxPartHead: // to somebody it may be a field all the same
		p.state, p.size = plainField, 0
		return 0, true
	}
	head := b[:end]
	p.state, p.size = plainField, 0
	for line := range bytes.SplitSeq(head, []byte("\n")) {
		if _, value, ok := bytes.Cut(line, []byte(":")); ok {
			p.data(bytes.TrimSpace(value))
			p.keep()
		}
	}
	if bytes.Contains(bytes.ToLower(head), []byte("filename")) {
		p.state = plainOutside
	}
	return end + size, true
}

// data reads what stands in a part, of which only fields matter.
func (p *plainParts) data(b []byte) {
	if p.state != plainField {
		return
	}
	for _, c := range b {
		if p.size++; textual(c) && len(p.run) < maxPlainText {
			p.run = append(p.run, c)
		} else {
			p.keep()
		}
	}
}

// keep ends a run of text.
func (p *plainParts) keep() {
	shortest := strayRun
	if p.size > plainNear {
		shortest = plainFarRun
	}
	if len(p.run) >= shortest {
		p.add(p.run)
	}
	p.run = p.run[:0]
}

func (p *plainParts) add(run []byte) {
	if p.text += len(run); len(p.runs) == maxPlainRuns || p.text > maxPlainText {
		p.full = true
		return
	}
	p.runs = append(p.runs, string(run))
}

// held is how much of it is held.
func (p *plainParts) held() int64 { return int64(p.text + len(p.run) + len(p.wait)) }

// addTo hands on the text that is not that of the form's own heads and fields.
// It reports whether that was all of it.
func (p *plainParts) addTo(form *formReader, to *sink) bool {
	for _, run := range p.strays(form, 0) {
		to.add("", run)
	}
	return !p.full
}

// strays is that text, but for the first runs.
func (p *plainParts) strays(form *formReader, from int) []string {
	runs := slices.Clone(p.runs[from:])
	if len(p.run) >= strayRun { // whose end is not there yet
		runs = append(runs, string(p.run))
	}
	if len(runs) == 0 {
		return nil
	}
	var content strings.Builder
	for i := range form.parts {
		for _, h := range form.parts[i].headers {
			content.WriteString(h + "\n")
		}
		if !form.parts[i].file() {
			content.Write(form.parts[i].data)
			content.WriteByte('\n')
		}
	}
	known := content.String()
	return slices.DeleteFunc(runs, func(run string) bool { return strings.Contains(known, strings.TrimSpace(run)) })
}

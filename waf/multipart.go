package waf

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	vars "github.com/corazawaf/coraza/v3/types/variables"

	"sallyport/waf/prover"
)

const (
	// maxPartHead is how large the header fields of one part may be.
	maxPartHead = 16 << 10
	// usualPartHead and usualParts are more than most forms with a file have.
	usualPartHead, usualParts = 256, 4
	// fileSample is how much of a file is kept for rules to look at.
	fileSample = 512
	// maxEpilogue is how many bytes of line ends may follow the last boundary.
	maxEpilogue = 4
)

// errManyParts says that a body has more parts than arguments are judged.
var errManyParts = errors.New("too many parts")

// A formReader takes a multipart/form-data body (RFC 7578, RFC 2046 section
// 5.1.1) apart as it streams by. It keeps fields, part headers and file names;
// of a file's content it keeps the first bytes and the length. It is strict:
// line ends are CRLF, nothing stands before the first or after the last
// boundary, nothing follows a boundary on its line, no boundary stands after a
// line end of another kind or right after a head, where some applications find
// it, and every part says what it is. What it does not accept is a defect, and
// it reads on where it can, so that rules judge what is there all the same.
type formReader struct {
	delimiter []byte // CRLF, two dashes, boundary
	state     formState
	matched   int       // bytes of the delimiter that were seen
	ending    lineBreak // what stands for the CRLF of the delimiter
	line      []byte    // what is being collected: two bytes after a boundary, or a part's head
	parts     []formPart
	most      int   // parts that are read
	content   int64 // bytes of files
	total     int64 // bytes in all
	epilogue  int
	defect    error // the first
}

type formState uint8

const (
	formStart formState = iota // before the first boundary
	formAfter                  // right after a boundary
	formHead                   // in the header fields of a part
	formBody                   // in the content of a part
	formEnd                    // after the last boundary
	formLost                   // beyond repair; nothing more is read
)

// A lineBreak is what stands before what may be a boundary. Only breakCRLF
// makes it one, but there is an application for each of the others.
type lineBreak uint8

const (
	breakCRLF lineBreak = iota
	breakLF
	breakCR
	breakNone // right after the head of the part
)

// newFormReader takes the boundary from the Content-Type. It reads most parts.
func newFormReader(contentType string, most int) (*formReader, error) {
	boundary, err := boundaryOf(contentType)
	if err != nil {
		return nil, err
	}
	return &formReader{delimiter: []byte("\r\n--" + boundary), matched: 2, most: most, line: make([]byte, 0, usualPartHead)}, nil
}

// boundaryOf reads the one boundary parameter of a Content-Type.
func boundaryOf(contentType string) (string, error) {
	if essence(contentType) != "multipart/form-data" {
		return "", errors.New("not multipart/form-data")
	}
	_, rest, _ := strings.Cut(contentType, ";")
	boundary, found := "", false
	err := parameters(rest, func(name, value string, quoted bool) error {
		name = strings.ToLower(name)
		switch {
		case strings.HasPrefix(name, "boundary*"):
			return errors.New("an encoded boundary, which not everybody decodes")
		case name != "boundary":
			// Some applications look for the word wherever it stands.
			if strings.Contains(name+strings.ToLower(value), "boundary") {
				return errors.New("a parameter that speaks of another boundary")
			}
			return nil
		case found:
			return errors.New("two boundaries")
		case !quoted && value != "" && !token(value):
			// Some end it at the first comma (RFC 2045 section 5.1).
			return errors.New("a boundary that must be quoted")
		}
		boundary, found = value, true
		return nil
	})
	if err != nil {
		return "", err
	}
	if len(boundary) == 0 || len(boundary) > 70 || strings.HasSuffix(boundary, " ") {
		return "", errors.New("no boundary of 1 to 70 characters")
	}
	for i := range len(boundary) {
		if c := boundary[i]; !alphanumeric(c) && !strings.ContainsRune("'()+_,-./:=? ", rune(c)) {
			return "", fmt.Errorf("the character %q in the boundary", c)
		}
	}
	return boundary, nil
}

// alphanumeric reports whether c is an ASCII letter or digit.
func alphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// held is how many bytes must be held to be judged: all that is not the
// content of a file.
func (f *formReader) held() int64 { return f.total - f.content }

// inFile reports whether the next byte belongs to a file, so that the body
// cannot be complete.
func (f *formReader) inFile() bool {
	return f.state == formBody && f.parts[len(f.parts)-1].file()
}

// flaw keeps the first defect.
func (f *formReader) flaw(err error) {
	if f.defect == nil && err != nil {
		f.defect = fmt.Errorf("multipart at byte %d: %w", f.total, err)
	}
}

// lose gives up on the rest of the body.
func (f *formReader) lose(err error) {
	f.flaw(err)
	f.state = formLost
}

// feed reads the next bytes of the body.
func (f *formReader) feed(b []byte) {
	for len(b) > 0 {
		n := 0
		switch f.state {
		case formStart:
			n = f.start(b)
		case formAfter:
			n = f.after(b)
		case formHead:
			n = f.head(b)
		case formBody:
			n = f.body(b)
		case formEnd:
			n = f.end(b)
		case formLost:
			n = len(b)
		}
		f.total += int64(n)
		b = b[n:]
	}
}

// finish is told that the body ended, and returns the first defect.
func (f *formReader) finish() error {
	if f.state != formEnd || f.epilogue%2 != 0 {
		f.lose(errors.New("the body ends before its last boundary, or in the middle of a line end"))
	}
	return f.defect
}

// start reads the first boundary, which may have its own CRLF before it.
func (f *formReader) start(b []byte) int {
	if f.total == 0 && b[0] == '\r' {
		f.matched = 0
	}
	if b[0] != f.delimiter[f.matched] {
		if looks := shapeOf(string(b[:min(len(b), 1024)])); f.total == 0 && looks != shapeOther && looks != shapeMultipart {
			f.lose(disagrees("a multipart form", looks))
		}
		f.lose(errors.New("something before the first boundary"))
		return len(b)
	}
	if f.matched++; f.matched == len(f.delimiter) {
		f.state, f.line = formAfter, f.line[:0]
	}
	return 1
}

// after reads the two bytes that tell whether another part follows.
func (f *formReader) after(b []byte) int {
	f.line = append(f.line, b[0])
	if len(f.line) < 2 {
		return 1
	}
	switch string(f.line) {
	case "\r\n":
		if len(f.parts) == f.most {
			f.lose(errManyParts)
			break
		}
		f.state = formHead
		if f.parts == nil {
			f.parts = make([]formPart, 0, usualParts)
		}
		f.parts = append(f.parts, formPart{})
	case "--":
		f.state = formEnd
	default:
		f.lose(errors.New("something after a boundary on its line"))
	}
	f.line = f.line[:0]
	return 1
}

// head collects the header fields of a part up to the empty line.
func (f *formReader) head(b []byte) int {
	n := bytes.IndexByte(b, '\n') + 1
	if n == 0 {
		n = len(b)
	}
	f.line = append(f.line, b[:n]...)
	switch {
	case bytes.HasSuffix(f.line, []byte("\r\n\r\n")) || string(f.line) == "\r\n":
		f.flaw(f.parts[len(f.parts)-1].read(string(f.line)))
		f.line = f.line[:0]
		f.state, f.matched, f.ending = formBody, 2, breakNone
	case len(f.line) > maxPartHead:
		f.lose(fmt.Errorf("more than %d bytes of part headers", maxPartHead))
	}
	return n
}

// body reads content up to the next boundary. A boundary begins with a line
// end, and holds no other, so that a mismatch is content and the search goes on
// with the byte that did not match.
func (f *formReader) body(b []byte) int {
	if f.matched == 0 {
		n := f.plain(b)
		f.data(b[:n])
		if n == len(b) {
			return n
		}
		if f.matched, f.ending = 1, breakCRLF; b[n] == '\n' {
			f.matched, f.ending = 2, breakLF
		}
		return n + 1
	}
	if f.matched == 1 && b[0] == '-' {
		f.matched, f.ending = 2, breakCR
	}
	if b[0] != f.delimiter[f.matched] {
		f.mismatch()
		return 0
	}
	if f.matched++; f.matched == len(f.delimiter) {
		f.state, f.line = formAfter, f.line[:0]
		if f.ending != breakCRLF {
			f.lose(errors.New("a boundary without a CRLF of its own before it"))
		}
	}
	return 1
}

// plain is how much of b is content, whatever follows: all up to the line end
// of a boundary, or else to the first line end so near the end of b that the
// rest of a boundary may still come. No line end stands right before b.
func (f *formReader) plain(b []byte) int {
	dashed := f.delimiter[2:]
	for at := 0; ; at += len(dashed) {
		next := bytes.Index(b[at:], dashed)
		if next < 0 {
			break
		}
		if at += next; at == 0 || !lineEnd(b[at-1]) {
			continue
		}
		if at > 1 && b[at-2] == '\r' && b[at-1] == '\n' {
			return at - 2
		}
		return at - 1
	}
	n := max(0, len(b)-len(f.delimiter))
	for n < len(b) && !lineEnd(b[n]) {
		n++
	}
	return n
}

// lineEnd reports whether c ends a line, or is half of what does.
func lineEnd(c byte) bool { return c == '\r' || c == '\n' }

// mismatch takes as content what looked like a boundary so far.
func (f *formReader) mismatch() {
	switch dashes := f.delimiter[2:max(2, f.matched)]; f.ending {
	case breakCRLF:
		f.data(f.delimiter[:f.matched])
	case breakLF:
		f.data(f.delimiter[1:f.matched])
	case breakCR:
		f.data(f.delimiter[:1])
		f.data(dashes)
	case breakNone:
		f.data(dashes)
	}
	f.matched = 0
}

// data takes content of the part.
func (f *formReader) data(b []byte) {
	p := &f.parts[len(f.parts)-1]
	p.size += int64(len(b))
	if p.file() {
		f.content += int64(len(b))
		b = b[:min(len(b), fileSample-len(p.data))]
	}
	p.data = append(p.data, b...)
}

// end reads what follows the last boundary: nothing but line ends.
func (f *formReader) end(b []byte) int {
	if f.epilogue == maxEpilogue || b[0] != "\r\n"[f.epilogue%2] {
		f.lose(errors.New("something after the last boundary"))
	}
	f.epilogue++
	return 1
}

// addTo adds everything that was taken out of the body to the facts, in the
// variables that the engine's own reader fills.
func (f *formReader) addTo(to *sink) {
	facts := to.facts
	var combined int64
	var sizes fileSizes
	for i := range f.parts {
		p := &f.parts[i]
		for _, h := range p.headers {
			facts.Add(vars.MultipartPartHeaders, p.name, h)
		}
		names := append([]string{p.name}, p.otherNames...)
		for _, name := range names {
			facts.Add(vars.MultipartName, name, name)
		}
		if p.duplicate {
			facts.Set(vars.MultipartDuplicatePartHeader, "1")
		}
		if p.quoted {
			facts.Set(vars.MultipartInvalidQuoting, "1")
		}
		if p.extended {
			facts.Add(vars.MultipartFilenameCharset, p.name, p.charset)
			facts.Add(vars.MultipartFilenameLanguage, p.name, p.lang)
		}
		combined += p.size
		if !p.file() {
			if !f.json(p, to) {
				for _, name := range names {
					to.add(name, view(p.data))
				}
			}
			if p.filename == "" && len(p.otherFilenames) == 0 {
				continue
			}
		}
		for _, filename := range append([]string{p.filename}, p.otherFilenames...) {
			if filename == "" {
				continue
			}
			facts.Add(vars.MultipartFilename, p.name, filename)
			facts.Add(vars.Files, "", filename)
			sizes.set(filename, strconv.FormatInt(p.size, 10))
		}
		for _, name := range names {
			facts.Add(vars.FilesNames, "", name)
		}
		facts.Add(vars.FilesTmpContent, p.name, view(p.data))
	}
	for _, size := range sizes.list {
		facts.Add(vars.FilesSizes, size.Key, size.Value)
	}
	facts.Set(vars.FilesCombinedSize, strconv.FormatInt(combined, 10))
}

// fileSizes are the sizes of files by their names, as the engine's own reader
// has them: of several files of one name, in whatever case, the last counts.
type fileSizes struct {
	list []prover.Fact
	at   map[string]int // by name in lower case
}

func (s *fileSizes) set(name, size string) {
	lower := strings.ToLower(name)
	if at, known := s.at[lower]; known {
		s.list[at] = prover.Fact{Key: name, Value: size}
		return
	}
	if s.at == nil {
		s.at = map[string]int{}
	}
	s.at[lower] = len(s.list)
	s.list = append(s.list, prover.Fact{Key: name, Value: size})
}

// json hands on a field that is said to be JSON, and reports whether it is.
func (f *formReader) json(p *formPart, to *sink) bool {
	if kind, _ := typeKind(p.contentType); kind != kindJSON {
		return false
	}
	err := readNamedJSON(view(p.data), p.name, to)
	f.flaw(err)
	return err == nil
}

package waf

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"

	vars "github.com/corazawaf/coraza/v3/types/variables"

	"sallyport/waf/prover"
)

// maxXMLDepth is how deep an XML body may nest, as in most XML libraries.
const maxXMLDepth = 256

// readXML takes an XML text apart: the values of attributes become XML://@*,
// and XML:/* too unless they only name a namespace, because most rules look
// nowhere else; text becomes XML:/*, joined between two tags as applications read it,
// whatever comments and CDATA sections cut it into, and so does what processing
// instructions say. Unlike the engine's own
// reader it also hands on a document type that declares something or names an
// external subset, as it is written, because entities hide there, and knows no
// elements without an end, such as the <param> and <link> of HTML. Nothing is
// resolved or fetched.
//
// Texts and attributes beyond the bound of arguments each are joined to one value, so
// that the cost of the rules is bounded and nothing stays unseen.
//
// Where a value stands is remembered in places, for the record: an element
// named password says what nothing else would.
func readXML(body string, to *sink, places xmlPlaces) error {
	if encoding := declaredEncoding(body); !readableCharset(encoding) {
		return inCharset(fmt.Sprintf("encoding %.40q", encoding))
	}
	d := xml.NewDecoder(strings.NewReader(body))
	// The lenient mode sees more: it goes on where a strict reader stops, and
	// so judges what a lenient application would read.
	d.Strict = false
	d.Entity = xml.HTMLEntity
	d.CharsetReader = charset
	attributes := xmlValues{to: to.facts, most: to.arguments, name: "//@*"}
	texts := xmlValues{to: to.facts, most: to.arguments, name: "/*"}
	var text strings.Builder
	var open []string // elements
	flush := func() {
		if s := strings.TrimSpace(text.String()); s != "" {
			places.add(s, open, "")
			texts.add(s)
		}
		text.Reset()
	}
	defer func() { flush(); attributes.finish(); texts.finish() }()
	for {
		token, err := d.Token()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			if syntax, ok := errors.AsType[*xml.SyntaxError](err); ok && syntax.Msg == "unexpected EOF" {
				err = errCut
			}
			return fmt.Errorf("xml at byte %d: %w", d.InputOffset(), err)
		}
		switch t := token.(type) {
		case xml.StartElement:
			flush()
			if open = append(open, t.Name.Local); len(open) > maxXMLDepth {
				return fmt.Errorf("xml at byte %d: %w: nested deeper than %d", d.InputOffset(), errBound, maxXMLDepth)
			}
			for _, a := range t.Attr {
				places.add(a.Value, open, a.Name.Local)
				attributes.add(a.Value)
				if !namespace(a.Name) {
					texts.add(a.Value)
				}
			}
		case xml.EndElement:
			flush()
			open = open[:max(0, len(open)-1)]
		case xml.CharData:
			text.Write(t)
		case xml.ProcInst:
			if t.Target != "xml" && len(t.Inst) > 0 {
				// No text to most applications, code or an address to some.
				places.add(string(t.Inst), []string{"?" + t.Target}, "")
				texts.add(string(t.Inst))
			}
		case xml.Directive:
			if declares(string(t)) {
				places.add("<!"+string(t)+">", []string{"!DOCTYPE"}, "")
				texts.add("<!" + string(t) + ">")
			}
		}
	}
}

// namespace reports whether an attribute declares a name space (Namespaces in
// XML 1.0 section 3). That of XHTML alone would make rule 941130 match.
func namespace(attribute xml.Name) bool {
	return attribute.Space == "xmlns" || attribute.Local == "xmlns"
}

// declares reports whether a document type does more than name the document.
func declares(directive string) bool {
	return strings.ContainsRune(directive, '[') || strings.Contains(strings.ToUpper(directive), "SYSTEM") || strings.Contains(strings.ToUpper(directive), "PUBLIC")
}

// xmlPlaces tells where the texts and attributes of a body stand.
type xmlPlaces map[string]string

// unplaced is the place of a value that is not known, because a rule has
// transformed it, or that stands at several places.
const unplaced = "?"

// maxPlaces is how many values have their place remembered.
const maxPlaces = 2000

// add remembers the innermost elements around a value, and its attribute.
func (p xmlPlaces) add(value string, open []string, attribute string) {
	before, known := p[value]
	if !known && len(p) == maxPlaces {
		return // the record can do without
	}
	place := ""
	for _, name := range open[max(0, len(open)-4):] {
		place += "/" + name[:min(len(name), 64)]
	}
	if attribute != "" {
		place += "/@" + attribute[:min(len(attribute), 64)]
	}
	place = strings.TrimPrefix(place, "/")
	if known && before != place {
		place = unplaced
	}
	p[value] = place
}

// of returns the value with its place before it, as in <login/password>x.
func (p xmlPlaces) of(value string) string {
	place, known := p[value]
	if !known {
		place = unplaced
	}
	return "<" + place + ">" + value
}

// xmlValues hands on values under one name.
type xmlValues struct {
	to    *prover.Facts
	name  string
	most  int // values, the last of which holds the rest
	count int
	rest  strings.Builder
}

func (v *xmlValues) add(value string) {
	if v.count++; v.count < v.most {
		v.to.Add(vars.RequestXML, v.name, value)
		return
	}
	v.rest.WriteString(value + "\n")
}

func (v *xmlValues) finish() {
	if v.rest.Len() > 0 {
		v.to.Add(vars.RequestXML, v.name, v.rest.String())
	}
}

// charset reads the encodings of a single byte that XML from older systems
// declares: all of them as ISO 8859-1, as it is ASCII that rules look for.
// Whatever else is declared cannot be judged and is refused.
func charset(label string, input io.Reader) (io.Reader, error) {
	switch name := strings.ToLower(label); {
	case !readableCharset(name):
		return nil, inCharset(fmt.Sprintf("encoding %.40q", label))
	case name == "" || strings.HasPrefix(name, "utf") || strings.HasSuffix(name, "ascii"):
		return input, nil
	}
	return &latin1{r: input}, nil
}

// latin1 turns ISO 8859-1 into UTF-8.
type latin1 struct {
	r    io.Reader
	left byte // second byte of a pair that did not fit; 0: none
}

// Read fills p with UTF-8.
func (l *latin1) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if l.left != 0 {
		p[0], l.left = l.left, 0
		return 1, nil
	}
	var one [1]byte
	if _, err := io.ReadFull(l.r, one[:]); err != nil {
		return 0, err
	}
	c := one[0]
	if c < 0x80 {
		p[0] = c
		return 1, nil
	}
	p[0], c = 0xC0|c>>6, 0x80|c&0x3F
	if len(p) == 1 {
		l.left = c
		return 1, nil
	}
	p[1] = c
	return 2, nil
}

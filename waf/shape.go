package waf

import (
	"cmp"
	"errors"
	"regexp"
	"strings"

	"sallyport/internal/gate"
)

// Many applications read a body as what they expect, whatever its Content-Type
// says, and many clients send JSON as text or as a form: sendBeacon, curl -d,
// small SDKs. So a body that is said to be text, a form, or nothing at all is
// judged as what it looks like too. It is refused only where it cannot be what
// it is said to be, or where no honest client sends it.

// A shape is what a body looks like.
type shape uint8

const (
	shapeOther shape = iota
	shapeJSON
	shapeXML
	shapeForm // a name and an equals sign; only to find out what is not JSON or XML
	shapeMultipart
)

// formPartHead finds the head of a part of a form.
var formPartHead = regexp.MustCompile(`(?i)(?:^|[\r\n])content-disposition[ \t]*:[^\r\n]*(?:form-data|[;\s]name\*?\s*=)`)

// formLike reports whether a text begins like a form: with a name of no more
// than 256 characters, and an equals sign.
func formLike(s string) bool {
	end := strings.IndexByte(s[:min(len(s), 257)], '=')
	for i := range max(end, 0) {
		if c := s[i]; !alphanumeric(c) && strings.IndexByte("_.~%+*[]-", c) < 0 {
			return false
		}
	}
	return end > 0
}

// byteOrderMark is what some clients put before UTF-8.
const byteOrderMark = "\uFEFF"

// shapeOf tells what a body looks like from how it begins.
func shapeOf(body string) shape {
	start := strings.TrimLeft(strings.TrimPrefix(body, byteOrderMark), " \t\r\n")
	switch {
	case start == "":
		return shapeOther
	case start[0] == '{' || start[0] == '[' || start[0] == '"':
		return shapeJSON
	case start[0] == '<':
		return shapeXML
	case strings.HasPrefix(start, "--") && formPartHead.MatchString(start):
		return shapeMultipart
	case formLike(start):
		return shapeForm
	}
	return shapeOther
}

// String returns the words for a shape.
func (s shape) String() string {
	return [...]string{"something else", "JSON", "XML", "a form", "a multipart form"}[s]
}

// disagrees is the finding about a body that is not what it is said to be.
func disagrees(said string, looks shape) error {
	return &finding{gate.WAFBodyType, "said to be " + said + ", looks like " + looks.String()}
}

// alsoRead judges a body that is said to be a form or text as what it looks
// like too, and reports whether all of it is JSON. Whatever can be read is shown
// to the rules; that the rest cannot be read is no fault of a body that was
// never said to be JSON or XML.
func (t *Transaction) alsoRead(body string, to *sink) (json bool, err error) {
	looks := shapeOf(body)
	// Several frameworks read every multipart type as a form.
	if looks == shapeOther && strings.HasPrefix(essence(t.contentType), "multipart/") && formPartHead.MatchString(body) {
		looks = shapeMultipart
	}
	switch looks {
	case shapeJSON:
		return readJSONLoosely(strings.TrimPrefix(body, byteOrderMark), to)
	case shapeXML:
		if t.places == nil {
			t.places = xmlPlaces{}
		}
		err := readXML(body, to, t.places)
		if _, ok := errors.AsType[*finding](err); ok || errors.Is(err, errBound) {
			return false, err
		}
	case shapeMultipart:
		return false, disagrees(cmp.Or(essence(t.contentType), "nothing"), looks)
	case shapeForm, shapeOther:
	}
	return false, nil
}

// contradicted returns the error of a body that could not be read as what it
// is said to be, and shows the rules what a lenient reader may find in it: that
// is the reason to refuse or, where the policy lets such bodies pass, all that
// there is between it and the application.
func (t *Transaction) contradicted(body string, said shape, err error, to *sink) error {
	looks := shapeOf(body)
	if looks == shapeJSON {
		readJSONLoosely(body, to) //nolint:errcheck // refused for what is worse
	} else {
		readRaw(body, to)
	}
	if said == looks || looks == shapeOther {
		return err
	}
	if looks == shapeXML {
		t.alsoRead(body, to) //nolint:errcheck // refused for what is worse
	}
	return disagrees(said.String(), looks)
}

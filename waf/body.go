package waf

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"unicode/utf8"

	vars "github.com/corazawaf/coraza/v3/types/variables"

	"sallyport/internal/gate"
)

// firstHold is how much of a body is held to begin with. What is held doubles
// from there, as the bytes come, so that a client who only announces a large
// body takes no memory from others.
const firstHold = 1 << 10

// An ahead is a body that was read as far as it is held.
type ahead struct {
	held []byte
	more bool // there is more of it
}

// readAhead reads a body that is going to be judged as a whole before the
// engine makes a transaction: that takes tens of kilobytes, which must not
// depend on how slowly a client sends. It reports whether the request goes on.
//
// Where the rules may refuse the request for its head, they are asked first.
func (t *Transaction) readAhead() bool {
	if t.policy.EarlyBlocking || !hasBody(t.req) {
		return true
	}
	contentType, _ := t.req.Head.Get("Content-Type")
	kind, _ := typeKind(contentType)
	if kind == kindOpaque || kind == kindMultipart || t.req.Head.Length > t.policy.Inspect {
		return true
	}
	return t.readHeld()
}

// readHeld reads as much of the body as is held, unless that was done, and puts
// it back. It reports whether the request goes on.
func (t *Transaction) readHeld() bool {
	if t.ahead != nil {
		return true
	}
	body := t.req.HTTP.Body
	held, more, err := readUpTo(t.req.HTTP.Context(), &t.lease, body, t.policy.Inspect, t.req.Head.Length)
	if err != nil {
		t.inspected = "none"
		t.unread(err)
		return false
	}
	t.ahead = &ahead{held, more}
	t.req.HTTP.Body = restored(held, more, body)
	return true
}

// noBody reports whether there is nothing to read.
func noBody(b io.ReadCloser) bool { return b == nil || b == http.NoBody }

// hold reads a body that is judged as a whole, up to what the policy allows,
// judges it, and puts it back.
func (t *Transaction) hold() {
	// Of a coded body neither form may be larger.
	limit, length := t.policy.Inspect, t.req.Head.Length
	// A body of unknown type is never refused for its size: nothing says that
	// an application looks for anything in it.
	reject := t.kind != kindRaw && !t.policy.OverHead
	if reject && length > limit && t.tooLarge() {
		return
	}
	if !t.readHeld() {
		return
	}
	held, more := t.ahead.held, t.ahead.more
	if reject && more && length <= limit && t.tooLarge() {
		return
	}
	empty := len(held) == 0
	if t.coding != "" && !empty {
		var stop bool
		if held, more, stop = t.decodeBody(held, more, reject); stop {
			return
		}
	}
	t.inspected = "full"
	if more {
		t.inspected, held = "head", held[:min(int64(len(held)), limit)]
		t.facts.Set(vars.InboundDataError, "1")
	}
	if len(held) == 0 {
		switch {
		case empty:
			t.inspected = ""
		case more: // nothing of it could be decoded
			t.inspected = "none"
		}
		t.judge(nil)
		return
	}
	if !t.turn(int64(len(held))) {
		return
	}
	stop, err := t.parse(view(held), more)
	if !stop {
		t.judge(err)
	}
}

// tooLarge takes the refusal of a body that must be held and is larger than
// the policy allows. It reports whether the request ends here.
func (t *Transaction) tooLarge() bool {
	return t.find(gate.WAFBodyTooLarge, fmt.Sprintf("more than %d bytes", t.policy.Inspect))
}

// parse takes a held body apart and adds what is in it to the facts; it needs
// no engine. cut says that there is more of it than that.
// The error says why it cannot be read to its end; stop, that the request ends
// here for another reason.
func (t *Transaction) parse(body string, cut bool) (stop bool, err error) {
	to, also := newSink(t.facts, t.policy), newSink(t.facts, t.policy)
	text, utf16 := body, wide(body, t.kind != kindRaw || strings.HasPrefix(essence(t.contentType), "text/"))
	if utf16 {
		text = narrow(body)
	}
	err = t.read(text, cut, to, also)
	if utf16 {
		err = inCharset("UTF-16 or UTF-32")
	} else if flaw := cmp.Or(to.flaw, also.flaw); flaw != nil {
		err = flaw
	}
	if cut && errors.Is(err, errCut) {
		err = nil
	}
	if !readStrays(view(t.undecoded), body, to) && t.find(gate.WAFEncoding, t.strayText()) {
		return true, nil
	}
	if t.exceeds(to, "arguments in the body") || t.exceeds(also, "arguments in the body") {
		return true, nil
	}
	if errors.Is(err, errDuplicate) {
		return t.find(gate.WAFDuplicateName, err.Error()), nil
	}
	return false, err
}

// read takes a held body apart as what it is said to be and, where it looks
// like something else, as that too: also takes the arguments of that reading.
func (t *Transaction) read(body string, cut bool, to, also *sink) error {
	switch t.kind {
	case kindForm:
		json, err := t.alsoRead(body, also)
		readForm(body, to, json)
		return err
	case kindJSON:
		// Operators that look at the whole text find it here.
		t.facts.Add(vars.TX, "json_request_body", body)
		reader := readJSON
		if manyTexts(t.contentType) {
			reader = readJSONTexts
		}
		switch err := reader(body, to); {
		case err == nil && !cut && !utf8.ValidString(body):
			// Whoever reads it replaces, drops or decodes leniently what is not
			// UTF-8 (RFC 8259 section 8.1), and each gets another text.
			return errors.New("json that is not UTF-8")
		case err != nil && !errors.Is(err, errDuplicate) && !errors.Is(err, errCut):
			return t.contradicted(body, shapeJSON, err, also)
		default:
			return err
		}
	case kindXML:
		t.places = xmlPlaces{}
		err := readXML(body, to, t.places)
		if shapeOf(body) != shapeXML && err == nil {
			return t.contradicted(body, shapeXML, errors.New("xml without an element"), also)
		}
		return err
	case kindGraphQL:
		putBody(t.facts, body)
		err := to.document(body)
		if err == nil {
			return nil
		}
		if whole, _ := readJSONLoosely(body, to); whole && shapeOf(body) == shapeJSON {
			return disagrees("GraphQL", shapeJSON)
		}
		readRaw(body, also)
		return err
	default:
		// The Core Rule Set forces the form reader on such bodies.
		t.facts.Set(vars.ReqbodyProcessor, "URLENCODED")
		json, err := t.alsoRead(body, also)
		if json {
			putBody(t.facts, body)
		} else {
			readRaw(body, to)
		}
		return err
	}
}

// readUpTo reads at most limit bytes and one more, which tells whether there
// is more. length is what was announced, -1 when nothing was.
func readUpTo(ctx context.Context, l *lease, r io.Reader, limit, length int64) (held []byte, more bool, err error) {
	most := limit + 1
	if length >= 0 && length < limit {
		most = length + 1
	}
	for empty := 0; ; {
		if len(held) == cap(held) {
			if int64(len(held)) == most {
				return held, int64(len(held)) > limit, nil
			}
			size := min(max(int64(2*cap(held)), firstHold), most)
			if err := l.take(ctx, size-int64(cap(held))); err != nil {
				return nil, false, err
			}
			larger := append(newHold(size), held...)
			outgrow(held)
			held = larger
		}
		n, err := r.Read(held[len(held):cap(held)])
		held = held[:len(held)+n]
		switch {
		case err == io.EOF:
			return held, int64(len(held)) > limit, nil
		case err != nil:
			return held, false, err
		case n > 0:
			empty = 0
		default:
			if empty++; empty == 100 {
				return held, false, io.ErrNoProgress
			}
		}
	}
}

// outgrown are buffers of bodies that were held in larger ones then, of
// firstHold bytes and each twice the one before. What a body is held in at last
// is not among them: the facts are made of it.
var outgrown [8]sync.Pool

// newHold is a buffer for a body.
func newHold(size int64) []byte {
	for i := range outgrown {
		if size == firstHold<<i {
			if b, ok := outgrown[i].Get().(*[]byte); ok {
				return *b
			}
		}
	}
	return make([]byte, 0, size)
}

// outgrow takes a buffer back that nobody uses any more.
func outgrow(b []byte) {
	for i := range outgrown {
		if cap(b) == firstHold<<i {
			b = b[:0]
			outgrown[i].Put(&b)
		}
	}
}

// restored is a body that reads what was held and then, when there is more,
// the rest.
func restored(held []byte, more bool, body io.ReadCloser) io.ReadCloser {
	var r io.Reader = bytes.NewReader(held)
	if more {
		r = io.MultiReader(r, body)
	}
	return struct {
		io.Reader
		io.Closer
	}{r, body}
}

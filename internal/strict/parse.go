package strict

import (
	"bytes"
	"errors"
	"sync"

	"sallyport/internal/gate"
)

// ErrIncomplete means that a head goes on in bytes that have not come yet.
var ErrIncomplete = errors.New("incomplete head")

// What no limit of the configuration bounds.
const (
	maxMethod = 32  // bytes of a method
	maxName   = 256 // bytes of a field name
)

// ParseHead reads one request head from the beginning of b and returns it with
// the number of bytes that it took. When the head does not end in b, the error
// is ErrIncomplete and there is no head; more bytes never change an answer that
// was given with fewer.
//
// A head that is refused is no error: its Rejection says why, at the first
// byte of the stream from which it was certain, and what follows in b must not
// be read as HTTP.
func ParseHead(b []byte, lim Limits) (*gate.Head, int, error) {
	s := scanners.get()
	defer scanners.put(s)
	s.lim = lim.orDefault()
	if !s.scan(b) {
		return nil, 0, ErrIncomplete
	}
	h := s.head(b)
	if h.Rejection != nil {
		return h, len(b), nil
	}
	return h, s.pos, nil
}

// A span is one field line, as offsets into the head.
type span struct{ name, colon, value, end int }

// A scanner finds the lines of a head and judges each by itself. It can be
// given the same bytes again with more behind them and goes on where it was,
// so that a head which arrives byte by byte costs no more than one that comes
// at once.
type scanner struct {
	lim  Limits
	pos  int // where the next line begins; in the end, where the head ends
	seen int // up to where no line end was found

	blank   bool // one empty line before the request line was skipped
	started bool // the request line was read
	start   int  // of the request line
	method  int  // where the method ends
	target  int  // where the target ends
	version int  // where the version ends
	fields  []span
	scores  bool // a field name has an underscore, or a mark like it

	refusal flaw // reason is empty unless refused

	// What net/http is told of the whole head, when it is accepted.
	stays   persistence
	expects bool
}

// A scannerPool keeps the memory of scanners that no connection owns.
type scannerPool struct{ pool sync.Pool }

var scanners scannerPool

func (p *scannerPool) get() *scanner {
	if s, ok := p.pool.Get().(*scanner); ok {
		return s
	}
	return &scanner{}
}

func (p *scannerPool) put(s *scanner) {
	s.reset()
	p.pool.Put(s)
}

// reset makes the scanner ready for the next head.
func (s *scanner) reset() { *s = scanner{lim: s.lim, fields: s.fields[:0]} }

// scan reports whether the head is complete, or refused.
func (s *scanner) scan(b []byte) bool {
	over := len(b) > s.lim.MaxHeader
	if over {
		b = b[:s.lim.MaxHeader]
	}
	for {
		window, long := b, false
		if !s.started {
			if s.pos < len(b) && !is(b[s.pos], tokenByte) && b[s.pos] != '\r' && b[s.pos] != '\n' {
				return s.refuse(gate.HTTPRequestLine, s.pos, "the line does not begin with a method")
			}
			// No request line is longer than this.
			if most := s.pos + maxMethod + s.lim.MaxTarget + len("  HTTP/1.1\r\n"); len(b) > most {
				window, long = b[:most], true
			}
		}
		i := bytes.IndexByte(window[s.seen:], '\n')
		if i < 0 {
			return s.waits(window, long, over)
		}
		line := window[s.pos : s.seen+i]
		next := s.seen + i + 1
		if done := s.line(line, next); done {
			return true
		}
		s.pos, s.seen = next, next
	}
}

// waits looks at the beginning of a line whose end is not in b, and reports
// whether it is refused already.
func (s *scanner) waits(b []byte, long, over bool) bool {
	if i := bytes.IndexByte(b[s.seen:], '\r'); i >= 0 && s.seen+i < len(b)-1 {
		return s.refuse(gate.HTTPBareCR, s.seen+i, "a CR without LF")
	}
	switch {
	case long:
		return s.refuse(gate.HTTPTargetTooLong, s.pos, "the request line is longer than the limit allows")
	case over:
		return s.refuse(gate.HTTPHeadTooLarge, s.pos, "the head is larger than the limit")
	}
	if s.seen = len(b); s.seen > s.pos && b[s.seen-1] == '\r' {
		s.seen-- // what follows it decides
	}
	return false
}

// line judges one line without its LF, which ends before next. It reports
// whether that was the last of the head.
func (s *scanner) line(line []byte, next int) bool {
	text, ok := bytes.CutSuffix(line, []byte("\r"))
	if !ok || !s.started {
		if i := bytes.IndexByte(text, '\r'); i >= 0 {
			return s.refuse(gate.HTTPBareCR, s.pos+i, "a CR without LF")
		}
	}
	if !ok {
		return s.refuse(gate.HTTPBareLF, next-1, "a line that ends in LF alone")
	}
	switch {
	case !s.started && len(text) == 0:
		// RFC 9112 section 2.2 lets one empty line pass before the request
		// line, which old clients sent after a body. Nobody sends two.
		if s.blank {
			return s.refuse(gate.HTTPRequestLine, s.pos, "more than one empty line before the request line")
		}
		s.blank = true
		return false
	case !s.started:
		s.started = true
		return s.requestLine(text)
	case len(text) == 0:
		s.pos = next
		return true
	}
	f := s.fieldLine(text)
	if f == nil {
		return false
	}
	if i := bytes.IndexByte(text, '\r'); i >= 0 {
		f = &flaw{gate.HTTPBareCR, i, "a CR without LF"}
	}
	return s.refuse(f.reason, s.pos+f.at, f.detail)
}

// requestLine judges method SP target SP version (RFC 9112 section 3).
func (s *scanner) requestLine(text []byte) bool {
	s.start = s.pos
	s.method, s.target, s.version = s.pos, s.pos, s.pos
	first, last := bytes.IndexByte(text, ' '), bytes.LastIndexByte(text, ' ')
	if first < 0 || first == last {
		return s.refuse(gate.HTTPRequestLine, s.pos, "not three words")
	}
	s.method, s.target, s.version = s.pos+first, s.pos+last, s.pos+len(text)
	method, target, version := text[:first], text[first+1:last], text[last+1:]
	for i, c := range method {
		if !is(c, tokenByte) {
			return s.refuse(gate.HTTPMethod, s.pos+i, "a byte that no method may hold")
		}
	}
	switch {
	case len(method) > maxMethod:
		return s.refuse(gate.HTTPMethod, s.pos, "longer than 32 bytes")
	case len(target) == 0 || target[0] == ' ' || target[len(target)-1] == ' ':
		return s.refuse(gate.HTTPRequestLine, s.method, "more than one space between the words")
	case len(target) > s.lim.MaxTarget:
		return s.refuse(gate.HTTPTargetTooLong, s.method+1, "longer than the limit")
	}
	switch v := string(version); {
	case v == "HTTP/1.1" || v == "HTTP/1.0":
	case v == "HTTP/2.0" && string(method) == "PRI" && string(target) == "*":
		return s.refuse(gate.HTTPPreface, s.start, "")
	case len(v) == 8 && v[:5] == "HTTP/" && '0' <= v[5] && v[5] <= '9' && v[6] == '.' && '0' <= v[7] && v[7] <= '9':
		return s.refuse(gate.HTTPVersion, s.target+1, "")
	default:
		return s.refuse(gate.HTTPRequestLine, s.target+1, "not an HTTP version")
	}
	return false
}

// fieldLine judges name ":" OWS value OWS (RFC 9112 section 5). It returns nil
// when there is nothing against it.
func (s *scanner) fieldLine(text []byte) *flaw {
	if len(s.fields) == s.lim.MaxFields {
		return &flaw{gate.HTTPTooManyFields, 0, "more fields than the limit"}
	}
	if text[0] == ' ' || text[0] == '\t' {
		return &flaw{gate.HTTPObsFold, 0, "a line that begins with white space"}
	}
	colon := 0
	var seen uint8
	for ; colon < len(text); colon++ {
		c := classes[text[colon]]
		if c&tokenByte == 0 {
			break
		}
		seen |= c
	}
	s.scores = s.scores || seen&scoreByte != 0
	switch {
	case colon == len(text):
		return &flaw{gate.HTTPFieldLine, 0, "no colon"}
	case text[colon] != ':':
		if bytes.IndexByte(text[colon:], ':') < 0 {
			return &flaw{gate.HTTPFieldLine, 0, "no colon"}
		}
		return &flaw{gate.HTTPFieldName, colon, "a byte that no field name may hold"}
	case colon == 0:
		return &flaw{gate.HTTPFieldLine, 0, "no name before the colon"}
	case colon > maxName:
		return &flaw{gate.HTTPHeadTooLarge, 0, "a field name longer than 256 bytes"}
	}
	from, to := colon+1, len(text)
	for from < to && (text[from] == ' ' || text[from] == '\t') {
		from++
	}
	for from < to && (text[to-1] == ' ' || text[to-1] == '\t') {
		to--
	}
	if i := badValueByte(text[from:to]); i >= 0 {
		return &flaw{gate.HTTPFieldValue, from + i, "a control in a field value"}
	}
	s.fields = append(s.fields, span{s.pos, s.pos + colon, s.pos + from, s.pos + to})
	return nil
}

// refuse notes the first reason found. It returns true: the scan is over.
func (s *scanner) refuse(r gate.Reason, at int, detail string) bool {
	s.refusal = flaw{r, at, detail}
	return true
}

// A block is a head with room for its fields and for one finding that nobody
// may ask for, so that most requests cost two allocations: this, and the text
// that all strings in it are cut from.
type block struct {
	head     gate.Head
	fields   [23]gate.Field
	optional [1]gate.Rejection
}

// head makes the head of what was scanned in b, and judges it as a whole.
func (s *scanner) head(b []byte) *gate.Head {
	if s.refusal.reason != "" {
		return s.refused(b)
	}
	text := string(b[:s.pos])
	m := &block{}
	h := &m.head
	h.Optional = m.optional[:0]
	s.fill(h, text, m.fields[:0])
	j := judgement{head: h, spans: s.fields, scores: s.scores}
	if f := j.judge(s.method + 1); f.reason != "" {
		h.Rejection = rejection(f, b[:s.pos])
		h.Host, _ = h.Get("Host")
	}
	s.stays, s.expects = j.stays, j.expect != 0
	show(h.Hygiene, text)
	show(h.Optional, text)
	return h
}

// fill takes over the request line and the fields.
func (s *scanner) fill(h *gate.Head, text string, fields []gate.Field) {
	if s.started && s.version > s.start {
		h.Method = text[s.start:s.method]
		h.Received = text[s.method+1 : s.target]
		h.Proto = text[s.target+1 : s.version]
	}
	h.Target = h.Received
	h.Bytes = len(text)
	if len(s.fields) > cap(fields) {
		fields = make([]gate.Field, 0, len(s.fields))
	}
	for _, f := range s.fields {
		fields = append(fields, gate.Field{Name: text[f.name:f.colon], Value: text[f.value:f.end]})
	}
	h.Fields = fields
}

// show gives findings their excerpts, which are cut from the text of the head.
func show(found []gate.Rejection, text string) {
	for i := range found {
		from, to := around(len(text), found[i].Offset)
		found[i].Excerpt, found[i].Mark = text[from:to], found[i].Offset-from
	}
}

// refused makes the head of what could be read before the refusal.
func (s *scanner) refused(b []byte) *gate.Head {
	h, whole := &gate.Head{}, b
	b = b[:min(len(b), max(s.pos, s.version, s.refusal.at+1))]
	s.fill(h, string(b), nil)
	h.Rejection = rejection(s.refusal, whole)
	h.Host, _ = h.Get("Host")
	if h.Proto != "HTTP/1.0" {
		h.Proto = "HTTP/1.1"
	}
	return h
}

// rejection is a flaw found in head, with the bytes around it.
func rejection(f flaw, head []byte) *gate.Rejection {
	from, to := around(len(head), f.at)
	return &gate.Rejection{Reason: f.reason, Offset: f.at, Excerpt: string(head[from:to]), Mark: max(0, f.at-from), Detail: f.detail}
}

package audit

import (
	"bytes"
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"hash"
	"slices"
	"strings"
	"unicode/utf8"

	"sallyport/internal/gate"
)

// How much of a value is written at most, in bytes.
const (
	maxTarget   = 8 << 10
	maxValue    = 1 << 10 // of a header field
	maxMatched  = 512     // of a matched value
	maxText     = 1 << 10 // messages, data, details
	maxShort    = 256     // names, hosts, ids
	maxExcerpt  = 256     // 64 bytes, each of which may take four when escaped
	maxFields   = 200     // header fields
	maxMatches  = 200     // rule matches
	maxObserved = 50
	// maxSecret is how much of a text that is secret is looked at.
	maxSecret = 64 << 10
	// overlap is how far beyond its limit a value is looked at, so that what
	// begins before the limit is recognised.
	overlap = 1 << 10
	// engineCut is where the rule engine cuts messages and data in its log
	// lines. Texts as long as that may end within a secret.
	engineCut = 280
	// layers is how many layers of encoding are looked through.
	layers = 2
)

// A kind says how a text is read.
type kind uint8

const (
	free     kind = iota // anything
	label                // a name, host or id; written even when free text is left out
	target               // a path and a query
	path                 // the part of a target up to the question mark
	whole                // a secret from end to end
	placed               // likewise, after its place in angle brackets
	header               // a secret, but for the scheme of credentials
	cookie               // name=value; name=value
	excerpt              // raw bytes that may begin and end anywhere
	fragment             // what a rule captured of something
	sums                 // numbers of the Core Rule Set's own, under names such as SESS
)

// A text is one string of a record on its way through the redactor.
type text struct {
	p     *string
	kind  kind
	limit int
	from  int // its spans are spans[from:to]
	to    int
}

// A span is a part of a text that must not be written.
type span struct {
	from, to int
	secret   int // index, or -1
}

// A redactor replaces the secrets in records. It reuses its buffers and belongs
// to one goroutine at a time.
//
// It reads each record twice. First it finds what is secret by its name, by the
// header field it stands in, or by its shape, and learns the values. Then it
// looks for these values in every other text of the record, in whatever
// encoding, since rules quote what they match.
type redactor struct {
	names *names
	mac   hash.Hash

	rec      gate.Record
	waf      gate.RecordWAF
	tls      gate.RecordTLS
	mark     int // where the mark of rec points to
	headers  []gate.RecordField
	matches  []gate.RecordMatch
	observed []gate.RecordObserved

	texts   []text
	spans   []span
	secrets []secret
	notes   []string // what was left out, for the detail
	blind   bool     // more secrets than can be followed
	cut     bool     // the text that is looked at may end within a secret
	needles []needle
	heads   [buckets]int32 // first needle by bucket, plus one
	dotless int            // up to where base64 without a dot was seen

	levels [layers + 1]level
	peeled [layers + 1]level
	out    []byte
	padded []byte
	coded  []byte
	low    []byte
	sum    []byte
}

func newRedactor(n *names, key []byte) *redactor {
	// Empty lists are written as lists, not as null.
	return &redactor{names: n, mac: hmac.New(sha256.New, key), headers: []gate.RecordField{}, matches: []gate.RecordMatch{}}
}

// record returns a copy of the record that may be written. It is valid until
// the next call; the record itself is not modified.
func (r *redactor) record(in *gate.Record) *gate.Record {
	r.begin(in)
	r.collect()
	r.seek()
	for i := range r.texts {
		r.rewrite(&r.texts[i])
	}
	r.escape()
	if len(r.notes) > 0 {
		if r.rec.Detail != "" {
			r.notes = slices.Insert(r.notes, 0, r.rec.Detail)
		}
		r.rec.Detail = strings.Join(r.notes, "; ")
	}
	return &r.rec
}

// collect finds what is secret by name, place or shape.
func (r *redactor) collect() {
	for i := range r.texts {
		t := &r.texts[i]
		t.from = len(r.spans)
		r.read(t)
		t.to = len(r.spans)
	}
}

// read finds the secrets of one text.
func (r *redactor) read(t *text) {
	l := r.open(t)
	switch t.kind {
	case sums:
		return
	case whole:
		r.found(l, 0, len(l.text), minNamed)
		return
	case placed:
		r.found(l, bytes.IndexByte(l.text, '>')+1, len(l.text), minNamed)
		return
	case header:
		r.readCredentials(l)
		return
	case cookie:
		r.readCookies(l)
		return
	}
	for i := 0; ; i++ {
		if t.kind == target {
			r.scanTarget(l)
		} else {
			r.scan(l, t.kind)
		}
		if i == layers || !r.levels[i+1].peel(l) {
			return
		}
		l = &r.levels[i+1]
	}
}

// open makes the first level of a text, cut where nothing of it will be
// written. What is secret anyway is read further, so that it is known.
func (r *redactor) open(t *text) *level {
	s := *t.p
	r.cut = len(s) >= engineCut && t.kind != target
	limit := t.limit + overlap
	if t.kind == whole || t.kind == placed || t.kind == header || t.kind == cookie {
		limit = maxSecret
	}
	if len(s) > limit {
		s, r.cut = s[:runeStart(s, limit)], true
	}
	l := &r.levels[0]
	l.text, l.from = append(l.text[:0], s...), nil
	return l
}

// scanTarget reads a path and a query apart: a parameter in the path ends where
// the segment does (RFC 3986 section 3.3).
func (r *redactor) scanTarget(l *level) {
	q := bytes.IndexByte(l.text, '?')
	if q < 0 {
		r.scan(l, path)
		return
	}
	head := level{text: l.text[:q], from: l.from}
	r.scan(&head, path)
	tail := level{text: l.text[q:]}
	if len(l.from) > 0 {
		tail.from = l.from[q:]
		r.scan(&tail, free)
		return
	}
	// Without a map, places in the tail are counted from the question mark.
	n := len(r.spans)
	r.scan(&tail, free)
	for i := range r.spans[n:] {
		r.spans[n+i].from += q
		r.spans[n+i].to += q
	}
}

// readCredentials keeps the scheme of credentials and hides the rest, as in
// RFC 9110 section 11.4.
func (r *redactor) readCredentials(l *level) {
	scheme, rest, ok := bytes.Cut(l.text, []byte(" "))
	if !ok || !slices.Contains(schemes, string(bytes.ToLower(scheme))) {
		if ok {
			r.learn(rest, minNamed) // what follows a scheme that we do not know
		}
		r.found(l, 0, len(l.text), minNamed)
		return
	}
	if strings.EqualFold(string(scheme), "basic") {
		r.learnBasic(bytes.TrimSpace(rest))
	}
	r.found(l, len(scheme)+1, len(l.text), minNamed)
}

var schemes = []string{"basic", "bearer", "digest", "negotiate", "ntlm", "dpop", "hoba", "mutual", "scram-sha-256", "aws4-hmac-sha256", "token", "apikey", "hawk", "signature"}

// readCookies hides the value of each cookie and keeps the names, as in
// RFC 6265 section 4.2.
func (r *redactor) readCookies(l *level) {
	for at := 0; at <= len(l.text); {
		end := until(l.text, at, ";")
		pair := l.text[at:end]
		name, value, ok := bytes.Cut(pair, []byte("="))
		shortest := minShaped
		switch {
		case !ok:
			value = bytes.TrimLeft(pair, " \t")
		case r.names.field(name):
			shortest = minNamed
		}
		if len(value) > 0 {
			r.found(l, end-len(value), end, shortest)
		}
		at = end + 1
	}
}

// found notes that a part of a text is secret, and learns it.
func (r *redactor) found(l *level, from, to, shortest int) {
	if from >= to {
		return
	}
	i := r.learn(l.text[from:to], shortest)
	if i >= 0 && r.cut && to == len(l.text) {
		r.secrets[i].open = true
	}
	r.spans = append(r.spans, span{l.origin(from), l.origin(to), i})
}

// rewrite replaces the secrets of one text and cuts it to its limit.
func (r *redactor) rewrite(t *text) {
	l := r.open(t)
	own := len(r.spans)
	r.spans = append(r.spans, r.spans[t.from:t.to]...)
	switch {
	case r.blind && t.kind != target && t.kind != label && t.kind != cookie && t.kind != header:
		r.spans = append(r.spans[:own], span{0, len(l.text), -1})
	case t.kind == whole, t.kind == placed:
	case t.kind == fragment:
		if s := r.within(l.text); s >= 0 {
			r.spans = append(r.spans, span{0, len(l.text), s})
		}
		r.seekIn(l)
	case t.kind == excerpt:
		r.edges(l)
		r.seekRuns(l)
		r.seekIn(l)
	default:
		r.seekIn(l)
	}
	out := r.replace(r.levels[0].text, r.spans[own:])
	if t.kind == excerpt && r.rec.Mark != nil {
		r.moveMark(r.spans[own:])
	}
	r.spans = r.spans[:own]
	long := len(r.levels[0].text) < len(*t.p)
	switch {
	case len(out) > t.limit:
		*t.p = cut(string(out), t.limit)
	case long:
		*t.p = string(out) + ellipsis
	case len(out) != len(*t.p) || string(out) != *t.p:
		*t.p = string(out)
	}
}

// seekIn looks for what was learnt, through the layers of encoding.
func (r *redactor) seekIn(l *level) {
	if len(r.needles) == 0 {
		return
	}
	for i := 0; ; i++ {
		r.search(l)
		if i == layers || !r.levels[i+1].peel(l) {
			return
		}
		l = &r.levels[i+1]
	}
}

// seekRuns hides what an excerpt shows of a secret that began before it or ends
// after it: runs that are part of one, and runs that look drawn by lot.
func (r *redactor) seekRuns(l *level) {
	t := l.text
	for i := 0; i < len(t); i++ {
		j, digits, letters := i, 0, 0
		for j < len(t) && (alnum(t[j]) || t[j] == '_' || t[j] == '+' || t[j] == '=') {
			if digit(t[j]) {
				digits++
			} else {
				letters++
			}
			j++
		}
		if j == i {
			continue
		}
		if s := r.within(t[i:j]); s >= 0 {
			r.spans = append(r.spans, span{i, j, s})
		} else if j-i >= 16 && digits > 0 && letters > 0 {
			r.found(l, i, j, len(t)+1)
		}
		i = j
	}
}

// wholeExcerpt is how long an excerpt is that may end before what it shows does.
const wholeExcerpt = 64

// edges hides the two ends of an excerpt where they are cuts. What stands there
// may be the end of a secret whose name is not shown, or the beginning of one
// that cannot be told by its shape so soon.
func (r *redactor) edges(l *level) {
	if r.rec.Mark == nil || r.rec.Offset == nil {
		return
	}
	t, mark := l.text, min(r.mark, len(l.text))
	if end := min(until(t, 0, "&;\"'<>\r\n"), mark); *r.rec.Offset > r.mark && end > 0 {
		r.spans = append(r.spans, span{0, end, -1})
	}
	if len(t) >= wholeExcerpt {
		from := min(mark+1, len(t))
		from += bytes.LastIndexAny(t[from:], "&;\"'<>=:\r\n") + 1
		if from < len(t) {
			r.spans = append(r.spans, span{from, len(t), -1})
		}
	}
}

// moveMark moves the mark of the excerpt to where it stands when the spans,
// sorted, have been replaced; a mark within one, to the beginning of what stands
// in for it.
func (r *redactor) moveMark(spans []span) {
	old := r.mark
	for i := 0; i < len(spans); {
		var one span
		if one, i = union(spans, i); one.from > old {
			break
		}
		if old < one.to {
			r.mark -= old - one.from
			break
		}
		r.mark += len(r.marker(one.secret)) - (one.to - one.from)
	}
}

// replace returns t with markers in place of the spans, of which overlapping
// ones become one. The result is valid until the next call.
func (r *redactor) replace(t []byte, spans []span) []byte {
	if len(spans) == 0 {
		return t
	}
	slices.SortFunc(spans, func(a, b span) int { return cmp.Or(a.from-b.from, b.to-a.to) })
	r.out = r.out[:0]
	at := 0
	for i := 0; i < len(spans); {
		var one span
		one, i = union(spans, i)
		r.out = append(append(r.out, t[at:one.from]...), r.marker(one.secret)...)
		at = one.to
	}
	return append(r.out, t[at:]...)
}

// union is the sorted span at i with those that overlap it, of which the
// longest gives its marker, and the index of the next one.
func union(spans []span, i int) (span, int) {
	one, size := spans[i], spans[i].to-spans[i].from
	for i++; i < len(spans) && spans[i].from < one.to; i++ {
		one.to = max(one.to, spans[i].to)
		if n := spans[i].to - spans[i].from; n > size {
			one.secret, size = spans[i].secret, n
		}
	}
	return one, i
}

// escape writes bytes that are not UTF-8 as text, throughout the record when
// there is one, so that one reading of backslashes holds for all of it.
func (r *redactor) escape() {
	for i := range r.texts {
		if !utf8.ValidString(*r.texts[i].p) {
			r.rec.Escaped = true
			break
		}
	}
	if !r.rec.Escaped {
		return
	}
	if r.rec.Mark != nil {
		r.mark = min(r.mark, len(r.rec.Excerpt))
		if r.mark < len(r.rec.Excerpt) {
			r.mark = runeStart(r.rec.Excerpt, r.mark)
		}
		r.mark = len(escapeBytes(r.rec.Excerpt[:r.mark]))
	}
	for i := range r.texts {
		*r.texts[i].p = escapeBytes(*r.texts[i].p)
	}
}

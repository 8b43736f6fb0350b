package audit

import (
	"fmt"
	"slices"
	"strings"

	"sallyport/internal/gate"
)

// begin copies the record, as far as it will be changed, and lists its texts.
func (r *redactor) begin(in *gate.Record) {
	clear(r.secrets)
	r.texts, r.spans, r.secrets, r.notes, r.blind = r.texts[:0], r.spans[:0], r.secrets[:0], r.notes[:0], false
	r.rec = *in
	rec := &r.rec

	r.headers = append(r.headers[:0], rec.Request.Headers[:min(len(rec.Request.Headers), maxFields)]...)
	if n := len(rec.Request.Headers) - maxFields; n > 0 {
		r.notes = append(r.notes, fmt.Sprintf("%d more header fields not written", n))
	}
	rec.Request.Headers = r.headers
	for i := range r.headers {
		r.addHeader(&r.headers[i])
	}
	r.add(&rec.Request.Target, target, maxTarget)
	r.add(&rec.Request.Rewritten, target, maxTarget)
	r.add(&rec.Request.Host, label, maxShort)
	if !slices.Contains(methods, rec.Request.Method) {
		r.add(&rec.Request.Method, label, maxShort)
	}
	r.add(&rec.Request.Protocol, label, maxShort)
	r.add(&rec.Request.ClientID, label, maxShort)
	r.add(&rec.Excerpt, excerpt, maxExcerpt)
	if rec.Mark != nil {
		r.mark = max(0, *rec.Mark)
		rec.Mark = &r.mark
	}
	r.add(&rec.Detail, free, maxText)
	if rec.TLS != nil {
		r.tls = *rec.TLS
		rec.TLS = &r.tls
		r.add(&r.tls.SNI, label, maxShort)
	}
	if rec.WAF != nil {
		r.waf = *rec.WAF
		rec.WAF = &r.waf
		r.matches = append(r.matches[:0], r.waf.Matches[:min(len(r.waf.Matches), maxMatches)]...)
		if n := len(r.waf.Matches) - maxMatches; n > 0 {
			r.notes = append(r.notes, fmt.Sprintf("%d more matches not written", n))
		}
		r.waf.Matches = r.matches
		if r.waf.Excluded == nil {
			r.waf.Excluded = []int{}
		}
		for i := range r.matches {
			r.addMatch(&r.matches[i])
		}
	}
	r.observed = append(r.observed[:0], rec.Observed[:min(len(rec.Observed), maxObserved)]...)
	if n := len(rec.Observed) - maxObserved; n > 0 {
		r.notes = append(r.notes, fmt.Sprintf("%d more observations not written", n))
	}
	rec.Observed = r.observed
	for i := range r.observed {
		r.add(&r.observed[i].Detail, free, maxText)
	}
}

// methods are written as they are, even where one is also somebody's password.
var methods = []string{"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE"}

// add lists a text.
func (r *redactor) add(p *string, k kind, limit int) {
	if *p != "" {
		r.texts = append(r.texts, text{p: p, kind: k, limit: limit})
	}
}

func (r *redactor) addHeader(f *gate.RecordField) {
	r.add(&f.Name, label, maxShort)
	k := free
	switch {
	case strings.EqualFold(f.Name, "Cookie") || strings.EqualFold(f.Name, "Set-Cookie"):
		k = cookie
	case r.names.header(f.Name):
		k = header
	}
	r.add(&f.Value, k, maxValue)
}

func (r *redactor) addMatch(m *gate.RecordMatch) {
	r.add(&m.Variable, label, maxShort)
	value, data := free, free
	switch {
	case r.secretVariable(m.Variable):
		value, data = whole, whole
	case r.secretElement(m.Variable, m.Value):
		value, data = placed, whole
	case collective(m.Variable):
		value = fragment
	}
	if data == free && r.quotesSecret(m.Data) {
		data = whole
	}
	r.add(&m.Value, value, maxMatched)
	r.add(&m.Data, data, maxText)
	message := free
	if m.Rule == scoresRule {
		message = sums
	}
	r.add(&m.Message, message, maxText)
}

// scoresRule is the rule of the Core Rule Set that only tells the scores.
const scoresRule = 980170

// secretVariable reports whether all of a variable, as ARGS:password, is
// secret. Every cookie is.
func (r *redactor) secretVariable(v string) bool {
	collection, key, named := strings.Cut(v, ":")
	switch {
	case strings.HasPrefix(v, "MATCHED_VAR"):
		return named && r.secretVariable(key)
	case strings.HasSuffix(collection, "_NAMES"):
		return false
	case strings.HasSuffix(collection, "COOKIES"):
		return true
	case strings.HasSuffix(collection, "HEADERS"):
		return named && r.names.header(key)
	}
	return named && r.names.field([]byte(key))
}

// secretElement reports whether a value of an XML body stands in an element or
// attribute with a secret's name, or where nobody knows. The place stands before
// the value, as in <login/password>x.
func (r *redactor) secretElement(variable, value string) bool {
	if !strings.HasPrefix(variable, "REQUEST_XML") {
		return false
	}
	place, _, ok := strings.Cut(strings.TrimPrefix(value, "<"), ">")
	return !ok || place == "?" || r.names.field([]byte(place))
}

// collective reports whether a variable does not say by its name where its
// value came from.
func collective(v string) bool {
	return strings.HasPrefix(v, "TX") || strings.HasPrefix(v, "MATCHED_VAR")
}

// quotesSecret reports whether the data of a match says that it was found in a
// secret variable, in the words of the Core Rule Set.
func (r *redactor) quotesSecret(data string) bool {
	for {
		_, after, ok := strings.Cut(data, " found within ")
		if !ok {
			return false
		}
		name, _, _ := strings.Cut(after, ": ")
		if r.secretVariable(strings.TrimSpace(name)) {
			return true
		}
		data = after
	}
}

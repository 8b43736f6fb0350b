package strict

import (
	"slices"
	"strings"

	"sallyport/internal/gate"
)

// A fieldList is a head with room for its fields, and for one finding that
// nobody may ask for.
type fieldList struct {
	head     gate.Head
	fields   [23]gate.Field
	optional [1]gate.Rejection
}

// judgeHTTP2 makes the head of a field list as it was sent, and asks of it what
// RFC 9113 section 8 requires and, since the backend gets it in HTTP/1.1, what
// RFC 9112 does. Offsets count in the list written out as lines of "name:
// value". What spans holds is scratch.
func judgeHTTP2(o *opening, lim Limits, spans *[]span) *gate.Head {
	m := &fieldList{}
	h := &m.head
	h.Proto, h.Bytes, h.Optional = "HTTP/2.0", o.bytes, m.optional[:0]
	l := listing{head: h, lim: lim, fields: m.fields[:0], spans: (*spans)[:0]}
	f := l.take(o.sent)
	switch {
	case o.tooLarge:
		f = flaw{gate.HTTPHeadTooLarge, -1, "the field list is larger than the limit"}
	case o.tooMany:
		f = flaw{gate.HTTPTooManyFields, -1, "more fields than the limit"}
	case f.reason == "":
		f = l.judge(o)
	}
	*spans = l.spans
	if f.reason != "" {
		h.Rejection = rejection(f, written(o.sent))
	}
	if len(h.Hygiene)+len(h.Optional) > 0 {
		text := string(written(o.sent))
		show(h.Hygiene, text)
		show(h.Optional, text)
	}
	return h
}

// written is a field list as lines.
func written(list []gate.Field) []byte {
	var b []byte
	for i := range list {
		b = append(append(b, list[i].Name...), ": "...)
		b = append(append(b, list[i].Value...), "\r\n"...)
	}
	return b
}

// A listing is a field list that is taken apart.
type listing struct {
	head      *gate.Head
	lim       Limits
	fields    []gate.Field
	spans     []span // where each of fields stands
	authority string
	scheme    string
	seen      uint8 // which pseudo-fields came
	path      int   // where the value of :path stands
	// authorityAt is where the line of :authority begins.
	authorityAt int
	hosts       int // host fields
	crumbs      []string
	cookie      int // index of the first of them in fields
	scores      bool
}

// The pseudo-fields of a request (RFC 9113 section 8.3.1).
const (
	pseudoMethod uint8 = 1 << iota
	pseudoScheme
	pseudoAuthority
	pseudoPath
)

// take reads the pseudo-fields, judges each field by itself, and leaves the
// head's fields as an HTTP/1.1 request would have them: Host first, then the
// others in their order, cookie crumbs joined (RFC 9113 section 8.2.3).
func (l *listing) take(sent []gate.Field) flaw {
	first := flaw{}
	at, regular := 0, false
	for i := range sent {
		f := &sent[i]
		var found flaw
		switch {
		case !regular && strings.HasPrefix(f.Name, ":"):
			found = l.pseudo(f, at)
		default:
			if regular = true; i == 0 || strings.HasPrefix(sent[i-1].Name, ":") {
				l.host()
			}
			found = l.regular(f, at)
		}
		if first.reason == "" && found.reason != "" {
			found.at += at
			first = found
		}
		at += len(f.Name) + len(": ") + len(f.Value) + len("\r\n")
	}
	if !regular {
		l.host()
	}
	if len(l.crumbs) > 1 {
		l.fields[l.cookie].Value = strings.Join(l.crumbs, "; ")
	}
	h := l.head
	h.Target, h.Fields = h.Received, l.fields
	if first.reason == "" {
		first = l.required()
	}
	return first
}

// host puts what :authority says in the place of Host.
func (l *listing) host() {
	if l.seen&pseudoAuthority != 0 && len(l.fields) == 0 {
		l.fields = append(l.fields, gate.Field{Name: "Host", Value: l.authority})
		l.spans = append(l.spans, span{name: l.authorityAt})
	}
}

// pseudo judges one pseudo-field, which stands at a place. What it can read it
// keeps, for the record.
func (l *listing) pseudo(f *gate.Field, at int) flaw {
	var which uint8
	switch f.Name {
	case ":method":
		which, l.head.Method = pseudoMethod, f.Value
	case ":scheme":
		which, l.scheme = pseudoScheme, f.Value
	case ":authority":
		which, l.authority, l.head.Host, l.authorityAt = pseudoAuthority, f.Value, f.Value, at
	case ":path":
		which, l.head.Received, l.path = pseudoPath, f.Value, at+len(":path: ")
	default:
		return flaw{gate.HTTPH2Pseudo, 0, "a pseudo-field that requests do not have"}
	}
	if l.seen&which != 0 {
		return flaw{gate.HTTPH2Pseudo, 0, "the pseudo-field stands twice"}
	}
	l.seen |= which
	return flaw{}
}

// regular keeps one field, and judges it by itself (RFC 9113 section 8.2).
func (l *listing) regular(f *gate.Field, at int) flaw {
	bad := l.form(f)
	switch f.Name {
	case "host":
		if l.hosts++; l.hosts > 1 {
			return flaw{gate.HTTPHostDuplicate, 0, "the field stands twice"}
		}
		if l.seen&pseudoAuthority != 0 {
			if bad.reason == "" && !sameHost(f.Value, l.authority, l.scheme) {
				bad = flaw{gate.HTTPHostMismatch, 0, "host names another host than :authority"}
			}
			return bad
		}
		l.head.Host = f.Value
		l.fields = slices.Insert(l.fields, 0, *f)
		l.spans = slices.Insert(l.spans, 0, span{name: at})
		l.cookie++
		return bad
	case "cookie":
		if l.crumbs = append(l.crumbs, f.Value); len(l.crumbs) > 1 {
			return bad
		}
		l.cookie = len(l.fields)
	case "connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade", "http2-settings":
		bad = flaw{gate.HTTPH2Field, 0, f.Name + " belongs to HTTP/1"}
	case "te":
		if f.Value != "trailers" {
			bad = flaw{gate.HTTPH2Field, 0, "te other than trailers"}
		}
	}
	l.fields = append(l.fields, *f)
	l.spans = append(l.spans, span{name: at})
	return bad
}

// form judges the bytes of a field.
func (l *listing) form(f *gate.Field) flaw {
	var seen uint8
	for i := 0; i < len(f.Name); i++ {
		c := f.Name[i]
		switch {
		case i == 0 && c == ':':
			return flaw{gate.HTTPH2Pseudo, 0, "a pseudo-field behind a regular field"}
		case !is(c, tokenByte):
			return flaw{gate.HTTPFieldName, i, "a byte that no field name may hold"}
		case 'A' <= c && c <= 'Z':
			return flaw{gate.HTTPH2Field, i, "an upper-case letter in a field name"}
		}
		seen |= classes[c]
	}
	l.scores = l.scores || seen&scoreByte != 0
	value := len(f.Name) + len(": ")
	switch v := f.Value; {
	case f.Name == "":
		return flaw{gate.HTTPFieldName, 0, "an empty field name"}
	case len(f.Name) > maxName:
		return flaw{gate.HTTPHeadTooLarge, 0, "a field name longer than 256 bytes"}
	case badValueByte(v) >= 0:
		return flaw{gate.HTTPFieldValue, value + badValueByte(v), "a control in a field value"}
	case v != "" && isBWS(v[0]):
		return flaw{gate.HTTPH2Field, value, "white space before a field value"}
	case v != "" && isBWS(v[len(v)-1]):
		return flaw{gate.HTTPH2Field, value + len(v) - 1, "white space behind a field value"}
	}
	return flaw{}
}

// required asks for the pseudo-fields that every request has.
func (l *listing) required() flaw {
	missing := func(name string) flaw { return flaw{gate.HTTPH2Pseudo, -1, name + " is missing"} }
	switch {
	case l.seen&pseudoMethod == 0:
		return missing(":method")
	case l.head.Method == "CONNECT": // has neither :scheme nor :path
		return flaw{gate.HTTPConnect, -1, ""}
	case l.seen&pseudoScheme == 0:
		return missing(":scheme")
	case l.seen&pseudoPath == 0:
		return missing(":path")
	case l.scheme != "http" && l.scheme != "https":
		return flaw{gate.HTTPH2Pseudo, -1, ":scheme is neither http nor https"}
	}
	return flaw{}
}

// judge asks of the whole list what HTTP/1 asks of a head.
func (l *listing) judge(o *opening) flaw {
	h := l.head
	for i := 0; i < len(h.Method); i++ {
		if !is(h.Method[i], tokenByte) {
			return flaw{gate.HTTPMethod, -1, "a byte that no method may hold"}
		}
	}
	switch {
	case h.Method == "" || len(h.Method) > maxMethod:
		return flaw{gate.HTTPMethod, -1, "empty, or longer than 32 bytes"}
	case len(h.Received) > l.lim.MaxTarget:
		return flaw{gate.HTTPTargetTooLong, -1, "longer than the limit"}
	case len(h.Fields) > l.lim.MaxFields:
		return flaw{gate.HTTPTooManyFields, -1, "more fields than the limit"}
	case h.Received != "" && h.Received[0] != '/' && h.Received != "*":
		return flaw{gate.HTTPTargetForm, l.path, ":path is neither a path nor \"*\""}
	}
	if !o.ended {
		h.Length = -1
	}
	j := judgement{head: h, spans: l.spans, scores: l.scores}
	if f := j.judge(l.path); f.reason != "" {
		return f
	}
	o.declared, o.expects = -1, j.expect != 0
	if j.length != 0 {
		o.declared = h.Length
	}
	switch {
	case o.ended && h.Length > 0:
		return flaw{gate.HTTPLengthInvalid, -1, "the stream ends where content-length says that content comes"}
	case !o.ended && h.Length == 0:
		h.Length = -1 // whether it is true shows when the stream ends
	}
	return flaw{}
}

// judgeTrailers returns why a trailer section is refused, if it is.
func judgeTrailers(k *fieldBlock, lim Limits) (gate.Reason, string) {
	switch {
	case k.flags&flagEndStream == 0:
		return gate.HTTPTrailer, "a trailer section that does not end the stream"
	case k.tooLarge:
		return gate.HTTPHeadTooLarge, "a trailer section larger than the limit"
	case k.tooMany || len(k.sent) > lim.MaxFields:
		return gate.HTTPTooManyFields, "more trailer fields than the limit"
	}
	l := listing{}
	for i := range k.sent {
		f := &k.sent[i]
		if strings.HasPrefix(f.Name, ":") {
			return gate.HTTPTrailer, "a pseudo-field in a trailer section"
		}
		if bad := l.form(f); bad.reason != "" {
			return gate.HTTPTrailer, bad.detail
		}
		if forbiddenTrailer(f.Name) {
			return gate.HTTPTrailer, "a field that may not be a trailer"
		}
	}
	return "", ""
}

package strict

import (
	"slices"
	"strings"

	"sallyport/internal/gate"
)

// judgeHTTP2 makes the head of a field list as it was sent, and asks of it what
// RFC 9113 section 8 requires and, since the backend gets it in HTTP/1.1, what
// RFC 9112 does.
func judgeHTTP2(o *opening, lim Limits) *gate.Head {
	h := &o.list.head
	h.Proto, h.Bytes = "HTTP/2.0", o.bytes
	l := listing{head: h, lim: lim}
	f := l.take(o.list.fields)
	switch {
	case o.tooLarge:
		f = flaw{gate.HTTPHeadTooLarge, -1, "the field list is larger than the limit"}
	case o.tooMany:
		f = flaw{gate.HTTPTooManyFields, -1, "more fields than the limit"}
	case f.reason == "":
		f = l.judge(o)
	}
	if f.reason != "" {
		h.Rejection = &gate.Rejection{Reason: f.reason, Offset: -1, Detail: f.detail, Excerpt: l.excerpt(f)}
	}
	for i := range h.Hygiene {
		if s := &h.Hygiene[i]; s.Offset >= 0 {
			s.Excerpt, s.Offset = excerpt([]byte(h.Received), s.Offset), -1
		}
	}
	return h
}

// A listing is a field list that is taken apart.
type listing struct {
	head      *gate.Head
	lim       Limits
	authority string
	scheme    string
	seen      uint8 // which pseudo-fields came
	host      int   // index of the host field in the list, plus one
	crumbs    int   // cookie fields
	scores    bool
	field     *gate.Field // that the flaw is about; nil: the target, or nothing
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
func (l *listing) take(list []gate.Field) flaw {
	first := flaw{}
	note := func(i int, f flaw) {
		if first.reason == "" && f.reason != "" {
			first, l.field = f, &gate.Field{Name: list[i].Name, Value: list[i].Value}
		}
	}
	n := 0
	for n < len(list) && strings.HasPrefix(list[n].Name, ":") {
		note(n, l.pseudo(&list[n]))
		n++
	}
	for i := n; i < len(list); i++ {
		note(i, l.regular(i, &list[i]))
	}
	h := l.head
	h.Target = h.Received
	if first.reason == "" {
		first = l.required()
	}
	if first.reason == "" && l.host > 0 && l.seen&pseudoAuthority != 0 && !sameHost(list[l.host-1].Value, l.authority, l.scheme) {
		note(l.host-1, flaw{gate.HTTPHostMismatch, -1, "host names another host than :authority"})
	}
	fields := list[n:]
	switch {
	case l.seen&pseudoAuthority != 0:
		if l.host > 0 && first.reason == "" {
			fields = slices.Delete(fields, l.host-1-n, l.host-n)
		}
		if n > 0 {
			fields = list[n-1 : n+len(fields)]
			fields[0] = gate.Field{Name: "Host", Value: l.authority}
		}
	case l.host > 0:
		host := fields[l.host-1-n]
		copy(fields[1:l.host-n], fields[:l.host-1-n])
		fields[0] = host
	}
	h.Fields = l.joinCrumbs(fields)
	return first
}

// pseudo judges one pseudo-field. What it can read it keeps, for the record.
func (l *listing) pseudo(f *gate.Field) flaw {
	var which uint8
	switch f.Name {
	case ":method":
		which, l.head.Method = pseudoMethod, f.Value
	case ":scheme":
		which, l.scheme = pseudoScheme, f.Value
	case ":authority":
		which, l.authority, l.head.Host = pseudoAuthority, f.Value, f.Value
	case ":path":
		which, l.head.Received = pseudoPath, f.Value
	default:
		return flaw{gate.HTTPH2Pseudo, -1, "a pseudo-field that requests do not have"}
	}
	if l.seen&which != 0 {
		return flaw{gate.HTTPH2Pseudo, -1, "the pseudo-field stands twice"}
	}
	l.seen |= which
	return flaw{}
}

// regular judges one field by itself (RFC 9113 section 8.2).
func (l *listing) regular(i int, f *gate.Field) flaw {
	var seen uint8
	for j := 0; j < len(f.Name); j++ {
		c := f.Name[j]
		switch {
		case j == 0 && c == ':':
			return flaw{gate.HTTPH2Pseudo, -1, "a pseudo-field behind a regular field"}
		case !is(c, tokenByte):
			return flaw{gate.HTTPFieldName, -1, "a byte that no field name may hold"}
		case 'A' <= c && c <= 'Z':
			return flaw{gate.HTTPH2Field, -1, "an upper-case letter in a field name"}
		}
		seen |= classes[c]
	}
	l.scores = l.scores || seen&scoreByte != 0
	switch v := f.Value; {
	case f.Name == "":
		return flaw{gate.HTTPFieldName, -1, "an empty field name"}
	case len(f.Name) > maxName:
		return flaw{gate.HTTPHeadTooLarge, -1, "a field name longer than 256 bytes"}
	case badValueByte(v) >= 0:
		return flaw{gate.HTTPFieldValue, badValueByte(v), "a control in a field value"}
	case v != "" && (isBWS(v[0]) || isBWS(v[len(v)-1])):
		return flaw{gate.HTTPH2Field, -1, "white space around a field value"}
	}
	switch f.Name {
	case "host":
		if l.host != 0 {
			return flaw{gate.HTTPHostDuplicate, -1, "the field stands twice"}
		}
		l.host = i + 1
		if l.seen&pseudoAuthority == 0 {
			l.head.Host = f.Value
		}
	case "cookie":
		l.crumbs++
	case "connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade", "http2-settings":
		return flaw{gate.HTTPH2Field, -1, f.Name + " belongs to HTTP/1"}
	case "te":
		if f.Value != "trailers" {
			return flaw{gate.HTTPH2Field, -1, "te other than trailers"}
		}
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

// joinCrumbs makes one Cookie field of several, where the first stood.
func (l *listing) joinCrumbs(fields []gate.Field) []gate.Field {
	if l.crumbs < 2 {
		return fields
	}
	crumbs := make([]string, 0, l.crumbs)
	first, kept := -1, fields[:0]
	for _, f := range fields {
		if f.Name == "cookie" {
			if crumbs = append(crumbs, f.Value); len(crumbs) > 1 {
				continue
			}
			first = len(kept)
		}
		kept = append(kept, f)
	}
	kept[first].Value = strings.Join(crumbs, "; ")
	return kept
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
		return flaw{gate.HTTPTargetForm, 0, ":path is neither a path nor \"*\""}
	}
	if !o.ended {
		h.Length = -1
	}
	j := judgement{head: h, scores: l.scores}
	if f := j.judge(0); f.reason != "" {
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

// excerpt is what was found fault with: the field, or the target around the
// place.
func (l *listing) excerpt(f flaw) string {
	switch {
	case l.field != nil:
		line := l.field.Name + ": " + l.field.Value
		return excerpt([]byte(line), max(0, len(l.field.Name)+len(": ")+f.at))
	case f.at >= 0:
		return excerpt([]byte(l.head.Received), f.at)
	}
	return ""
}

// judgeTrailers returns why a trailer section is refused, if it is.
func judgeTrailers(k *fieldBlock, lim Limits) (gate.Reason, string) {
	switch {
	case k.flags&flagEndStream == 0:
		return gate.HTTPTrailer, "a trailer section that does not end the stream"
	case k.tooLarge:
		return gate.HTTPHeadTooLarge, "a trailer section larger than the limit"
	case k.tooMany || len(k.list.fields) > lim.MaxFields:
		return gate.HTTPTooManyFields, "more trailer fields than the limit"
	}
	l := listing{head: &k.list.head}
	for i := range k.list.fields {
		f := &k.list.fields[i]
		if strings.HasPrefix(f.Name, ":") {
			return gate.HTTPTrailer, "a pseudo-field in a trailer section"
		}
		if bad := l.regular(i, f); bad.reason != "" {
			return gate.HTTPTrailer, bad.detail
		}
		if forbiddenTrailer(f.Name) {
			return gate.HTTPTrailer, "a field that may not be a trailer"
		}
	}
	return "", ""
}

package strict

import (
	"net/http"
	"slices"
	"strconv"

	"sallyport/internal/gate"
)

// JudgeHTTP2 asks of a request that net/http read from HTTP/2 what RFC 9113
// section 8 requires and can still be seen: the target, the authority, the
// method, the fields and the declared length. The grammar is the one of
// HTTP/1, for that is what the backend gets.
//
// What net/http has dropped or tidied before is out of reach here: which of
// :authority and Host was sent, white space around values, letter case, and
// the order of the fields. Host stands first, then the others by name.
func JudgeHTTP2(r *http.Request, lim Limits) *gate.Head {
	lim = lim.orDefault()
	h := &gate.Head{
		Method: r.Method, Target: r.RequestURI, Received: r.RequestURI, Proto: "HTTP/2.0", Host: r.Host, Length: r.ContentLength,
	}
	h.Fields = collect(r)
	for _, f := range h.Fields {
		h.Bytes += len(f.Name) + len(f.Value) + len(": \r\n")
	}
	h.Bytes += len(h.Method) + len(h.Received)
	if f := judgeHTTP2(h, r, lim); f.reason != "" {
		h.Rejection = &gate.Rejection{Reason: f.reason, Offset: -1, Detail: f.detail}
		if f.at >= 0 {
			h.Rejection.Excerpt = excerpt([]byte(h.Received), f.at)
		}
	}
	for _, found := range [...][]gate.Rejection{h.Hygiene, h.Optional} {
		for i := range found {
			if f := &found[i]; f.Offset >= 0 {
				f.Excerpt, f.Offset = excerpt([]byte(h.Received), f.Offset), -1
			}
		}
	}
	return h
}

// collect lists the fields of a parsed request in an order that is always the
// same.
func collect(r *http.Request) []gate.Field {
	names := make([]string, 0, len(r.Header))
	for name := range r.Header {
		if name != "Host" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	fields := make([]gate.Field, 0, len(names)+1)
	if r.Host != "" {
		fields = append(fields, gate.Field{Name: "Host", Value: r.Host})
	}
	for _, name := range names {
		for _, v := range r.Header[name] {
			fields = append(fields, gate.Field{Name: name, Value: v})
		}
	}
	return fields
}

// judgeHTTP2 returns the first reason against the head. The flaw's place is in
// the target, or nowhere.
func judgeHTTP2(h *gate.Head, r *http.Request, lim Limits) flaw {
	nowhere := func(r gate.Reason, detail string) flaw { return flaw{r, -1, detail} }
	for i := 0; i < len(h.Method); i++ {
		if !is(h.Method[i], tokenByte) {
			return nowhere(gate.HTTPMethod, "a byte that no method may hold")
		}
	}
	switch {
	case h.Method == "" || len(h.Method) > maxMethod:
		return nowhere(gate.HTTPMethod, "empty, or longer than 32 bytes")
	case len(h.Received) > lim.MaxTarget:
		return nowhere(gate.HTTPTargetTooLong, "longer than the limit")
	case len(h.Fields) > lim.MaxFields:
		return nowhere(gate.HTTPTooManyFields, "more fields than the limit")
	case h.Bytes > lim.MaxHeader:
		return nowhere(gate.HTTPHeadTooLarge, "the head is larger than the limit")
	}
	for i := range h.Fields {
		if f := http2Field(&h.Fields[i]); f.reason != "" {
			return f
		}
	}
	if h.Received != "" && h.Received[0] != '/' && h.Received != "*" && h.Method != http.MethodConnect {
		return flaw{gate.HTTPTargetForm, 0, ":path is neither a path nor \"*\""}
	}
	switch hosts := r.Header["Host"]; {
	case len(hosts) > 1:
		return nowhere(gate.HTTPHostDuplicate, "host stands twice")
	case len(hosts) == 1 && hosts[0] != r.Host:
		return nowhere(gate.HTTPHostMismatch, "host differs from :authority")
	}
	declared := r.ContentLength
	j := judgement{head: h, scores: true}
	if f := j.judge(0); f.reason != "" {
		return f
	}
	for name := range r.Trailer {
		if forbiddenTrailer(name) {
			return nowhere(gate.HTTPTrailer, "a trailer is announced that may not be one")
		}
	}
	// What net/http could not read as a length, or what is not the length of a
	// stream that has ended already, differs from what it made of the field
	// (RFC 9113 section 8.1.1).
	if j.length != 0 && h.Length != declared {
		return nowhere(gate.HTTPLengthInvalid, "content-length "+strconv.Quote(j.value(j.length))+" is not the length of the body")
	}
	return flaw{}
}

// http2Field judges one field by itself (RFC 9113 section 8.2).
func http2Field(f *gate.Field) flaw {
	switch {
	case !isToken(f.Name):
		return flaw{gate.HTTPFieldName, -1, "a byte that no field name may hold"}
	case len(f.Name) > maxName:
		return flaw{gate.HTTPHeadTooLarge, -1, "a field name longer than 256 bytes"}
	case badValueByte([]byte(f.Value)) >= 0:
		return flaw{gate.HTTPFieldValue, -1, "a control in a field value"}
	case trimOWS(f.Value) != f.Value:
		return flaw{gate.HTTPH2Field, -1, "white space around the value of " + f.Name}
	}
	for _, name := range [...]string{"connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade", "http2-settings"} {
		if foldEqual(f.Name, name) {
			return flaw{gate.HTTPH2Field, -1, name + " belongs to HTTP/1"}
		}
	}
	if foldEqual(f.Name, "te") && !foldEqual(f.Value, "trailers") {
		return flaw{gate.HTTPH2Field, -1, "te other than trailers"}
	}
	return flaw{}
}

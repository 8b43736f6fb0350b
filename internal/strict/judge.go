package strict

import (
	"strconv"
	"strings"

	"sallyport/internal/gate"
)

// A judgement asks of a head what no single line can answer: framing, host,
// connection, and what the target means. HTTP/1 and HTTP/2 share it.
type judgement struct {
	head  *gate.Head
	spans []span // where the field lines stand; nil: nowhere
	// scores tells that a field name may have an underscore, or a mark like it.
	scores bool
	stays  persistence // that Connection asks for

	// Index of the field, plus one; 0: there is none.
	host, length, coding, expect, upgrade, socketKey, socketVersion int
	upgrades                                                        bool // Connection names upgrade
}

// judge completes the head and returns the first reason against it.
func (j *judgement) judge(targetAt int) flaw {
	h := j.head
	switch h.Method {
	case "CONNECT":
		return flaw{gate.HTTPConnect, 0, ""}
	case "TRACE":
		return flaw{gate.HTTPTrace, 0, ""}
	}
	t, f := parseTarget(h.Method, h.Received)
	if f.reason != "" {
		f.at += targetAt
		return f
	}
	h.Target = t.form
	for i := range h.Fields {
		k := kindOf(h.Fields[i].Name)
		if k == kindOther {
			continue
		}
		if f := j.field(i, k); f.reason != "" {
			return f
		}
	}
	if f := j.judgeHost(t, targetAt); f.reason != "" {
		return f
	}
	if f := j.framing(); f.reason != "" {
		return f
	}
	if f := j.expectation(); f.reason != "" {
		return f
	}
	if f := j.switching(); f.reason != "" {
		return f
	}
	j.hygiene(t, targetAt)
	return flaw{}
}

// at is where field i begins in the head, or -1.
func (j *judgement) at(i int) int {
	if j.spans == nil {
		return -1
	}
	return j.spans[i].name
}

// field notes the fields that have a rule of their own, and refuses those
// that may stand only once.
func (j *judgement) field(i int, k kind) flaw {
	value := j.head.Fields[i].Value
	switch k {
	case kindHost:
		return j.once(&j.host, i, gate.HTTPHostDuplicate)
	case kindLength:
		return j.once(&j.length, i, gate.HTTPLengthDuplicate)
	case kindCoding:
		return j.once(&j.coding, i, gate.HTTPTEDuplicate)
	case kindExpect:
		return j.once(&j.expect, i, gate.HTTPExpectation)
	case kindUpgrade:
		return j.once(&j.upgrade, i, gate.HTTPUpgrade)
	case kindSocketKey:
		return j.once(&j.socketKey, i, gate.HTTPUpgrade)
	case kindSocketVersion:
		return j.once(&j.socketVersion, i, gate.HTTPUpgrade)
	case kindConnection:
		return j.options(i, value)
	case kindTrailer:
		return j.announced(i, value)
	case kindOther:
	}
	return flaw{}
}

// once notes where a field stands and refuses a second one.
func (j *judgement) once(where *int, i int, r gate.Reason) flaw {
	if *where != 0 {
		return j.flaw(i, r, "the field stands twice")
	}
	*where = i + 1
	return flaw{}
}

// flaw is a reason against field i.
func (j *judgement) flaw(i int, r gate.Reason, detail string) flaw { return flaw{r, j.at(i), detail} }

// value is the value of a field noted by once.
func (j *judgement) value(where int) string { return j.head.Fields[where-1].Value }

// options judges a Connection field (RFC 9110 section 7.6.1). A proxy removes
// what it names, so that a client could delete what the backend relies on.
func (j *judgement) options(i int, list string) flaw {
	f := flaw{}
	members(list, func(m string) bool {
		switch {
		case m == "": // RFC 9110 section 5.6.1 has empty members ignored
		case foldEqual(m, "close"):
			j.stays = closes
		case foldEqual(m, "keep-alive"):
			j.stays = max(j.stays, keeps) // close counts more
		case foldEqual(m, "upgrade"):
			j.upgrades = true
		case !isToken(m):
			f = j.flaw(i, gate.HTTPConnection, "a member that is not a token")
		case endToEnd(strings.ToLower(m)):
			f = j.flaw(i, gate.HTTPConnection, "it names a field that must not be removed")
		}
		return f.reason == ""
	})
	return f
}

// announced judges a Trailer field: what it may not announce is refused here,
// before a body has been read.
func (j *judgement) announced(i int, list string) flaw {
	f := flaw{}
	members(list, func(m string) bool {
		switch {
		case m == "":
		case !isToken(m):
			f = j.flaw(i, gate.HTTPTrailer, "it announces what is no field name")
		case forbiddenTrailer(m):
			f = j.flaw(i, gate.HTTPTrailer, "it announces a field that may not be a trailer")
		}
		return f.reason == ""
	})
	return f
}

// judgeHost holds the host to RFC 9112 section 3.2: exactly one, valid, and
// the same as the authority of an absolute target.
func (j *judgement) judgeHost(t target, targetAt int) flaw {
	h := j.head
	if j.host == 0 {
		if h.Proto != "HTTP/1.0" {
			return flaw{gate.HTTPHostMissing, -1, "no Host field"}
		}
		h.Host = t.authority
		return flaw{}
	}
	h.Host = j.value(j.host)
	switch {
	case !validHost(h.Host):
		return j.flaw(j.host-1, gate.HTTPHostInvalid, "not a host with an optional port")
	case t.authority != "" && !sameHost(t.authority, h.Host, t.scheme):
		return flaw{gate.HTTPHostMismatch, targetAt, "the target names another host than Host"}
	}
	return flaw{}
}

// framing finds out how the body is delimited (RFC 9112 section 6.3).
func (j *judgement) framing() flaw {
	h := j.head
	switch {
	case j.coding != 0:
		switch {
		case j.length != 0:
			return j.flaw(max(j.coding, j.length)-1, gate.HTTPTEAndCL, "two framings")
		case h.Proto == "HTTP/1.0":
			return j.flaw(j.coding-1, gate.HTTPTEVersion, "HTTP/1.0 has no transfer codings")
		case !foldEqual(j.value(j.coding), "chunked"):
			return j.codings()
		}
		h.Length = -1
	case j.length != 0:
		n, ok := parseLength(j.value(j.length))
		if !ok {
			return j.flaw(j.length-1, gate.HTTPLengthInvalid, "not one plain decimal number")
		}
		h.Length = n
	}
	return flaw{}
}

// codings tells a list in which chunked stands, and more behind it, from one
// that names something unknown, which has a status of its own (RFC 9112
// sections 6.1 and 6.3).
func (j *judgement) codings() flaw {
	value, last, known, followed := j.value(j.coding), "", true, false
	members(value, func(m string) bool {
		followed = followed || foldEqual(last, "chunked")
		known = known && (m == "" || foldEqual(m, "chunked"))
		last = m
		return true
	})
	if value != "" && (known || followed) {
		return j.flaw(j.coding-1, gate.HTTPTEDuplicate, "a list where one coding belongs")
	}
	return j.flaw(j.coding-1, gate.HTTPTEUnknown, "not chunked")
}

// parseLength reads a Content-Length: decimal digits and nothing else
// (RFC 9110 section 8.6). A leading zero is refused: to some readers it
// announces octal.
func parseLength(s string) (int64, bool) {
	if s == "" || len(s) > 1 && s[0] == '0' {
		return 0, false
	}
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || '9' < s[i] {
			return 0, false
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}

// expectation lets only 100-continue through (RFC 9110 section 10.1.1).
func (j *judgement) expectation() flaw {
	if j.expect != 0 && !foldEqual(j.value(j.expect), "100-continue") {
		return j.flaw(j.expect-1, gate.HTTPExpectation, "not 100-continue")
	}
	return flaw{}
}

// switching lets only a complete opening handshake of the WebSocket protocol
// change protocols (RFC 6455 section 4.2.1).
func (j *judgement) switching() flaw {
	if j.upgrade == 0 {
		return flaw{}
	}
	h, detail := j.head, ""
	switch {
	case !foldEqual(j.value(j.upgrade), "websocket"):
		detail = "not websocket"
	case h.Proto != "HTTP/1.1" || h.Method != "GET":
		detail = "a WebSocket handshake is a GET in HTTP/1.1"
	case !j.upgrades:
		detail = "Connection does not name upgrade"
	case j.socketVersion == 0 || j.value(j.socketVersion) != "13":
		detail = "Sec-WebSocket-Version is not 13"
	case j.socketKey == 0 || !validSocketKey(j.value(j.socketKey)):
		detail = "Sec-WebSocket-Key is not the base64 form of 16 bytes"
	case h.Length != 0:
		detail = "a WebSocket handshake has no body"
	}
	if detail != "" {
		return j.flaw(j.upgrade-1, gate.HTTPUpgrade, detail)
	}
	h.Upgrade = true
	return flaw{}
}

// validSocketKey reports whether s is the base64 form of 16 bytes: 22 digits,
// the last of which carries two bits, and the padding.
func validSocketKey(s string) bool {
	if len(s) != 24 || s[22:] != "==" {
		return false
	}
	for i := 0; i < 22; i++ {
		c := s[i]
		if lower(c) < 'a' || 'z' < lower(c) {
			if (c < '0' || '9' < c) && c != '+' && c != '/' {
				return false
			}
		}
	}
	return strings.IndexByte("AQgw", s[21]) >= 0
}

// hygiene lists what is well framed and suspicious nevertheless.
func (j *judgement) hygiene(t target, targetAt int) {
	h := j.head
	path, query, _ := strings.Cut(t.form, "?")
	if t.odd || strings.Contains(path, "..") { // in most targets there is neither
		pathFlaws(path, func(r gate.Reason, at int, detail string) { j.suspect(r, targetAt+t.at+at, detail) })
	}
	if at := strings.Index(path, "//"); at >= 0 {
		j.suspect(gate.HTTPPathEmptySegment, targetAt+t.at+at+1, "an empty segment")
	}
	if t.odd {
		if at := badPercent(query); at >= 0 {
			j.suspect(gate.HTTPQueryPercent, targetAt+t.at+len(path)+1+at, "a percent sign without two hexadecimal digits")
		}
	}
	for i := 0; j.scores && i < len(h.Fields); i++ {
		if dashed, ok := shadows(h.Fields[i].Name); ok {
			j.suspect(gate.HTTPHeaderUnderscore, j.at(i), "some servers take it for "+dashed)
		} else if strings.IndexByte(h.Fields[i].Name, '_') >= 0 {
			j.suspect(gate.HTTPFieldUnderscore, j.at(i), "some servers take the underscore for a dash")
		}
	}
	if h.Length != 0 {
		switch h.Method {
		case "GET", "HEAD":
			j.suspect(gate.HTTPBodyUnexpected, j.framed(), "a "+h.Method+" with a body")
		case "DELETE":
			j.suspect(gate.HTTPBodyOnDelete, j.framed(), "a DELETE with a body")
		}
	}
}

// framed is where the field stands that announces a body, or -1.
func (j *judgement) framed() int {
	if where := max(j.length, j.coding); where > 0 {
		return j.at(where - 1)
	}
	return -1
}

// suspect adds a finding to the list that its reason belongs to, unless the
// reason stands there already.
func (j *judgement) suspect(r gate.Reason, at int, detail string) {
	list := &j.head.Hygiene
	if r.Optional() {
		list = &j.head.Optional
	}
	for i := range *list {
		if (*list)[i].Reason == r {
			return
		}
	}
	*list = append(*list, gate.Rejection{Reason: r, Offset: at, Detail: detail})
}

package strict

import (
	"slices"
	"strings"
	"testing"

	"sallyport/internal/gate"
)

// sent is a field list as a client sends it: names and values in turn.
func sent(pairs ...string) []gate.Field {
	var list []gate.Field
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, gate.Field{Name: pairs[i], Value: pairs[i+1]})
	}
	return list
}

// request is a plain request with the pseudo-fields changed, and more fields
// behind them.
func request(method, authority, path string, more ...string) []gate.Field {
	return append(sent(":method", method, ":scheme", "https", ":authority", authority, ":path", path), sent(more...)...)
}

func get(more ...string) []gate.Field { return request("GET", "a.example", "/a?b=c", more...) }

// judged is the head of a list; ended tells that no content comes.
func judged(list []gate.Field, ended bool) *gate.Head {
	size := 0
	for _, f := range list {
		size += len(f.Name) + len(f.Value) + len(": \r\n")
	}
	lim := Limits{}.orDefault()
	o := &opening{ended: ended, sent: list, bytes: size, tooLarge: size > lim.MaxHeader, tooMany: len(list) > lim.MaxFields+pseudoFields}
	return judgeHTTP2(o, lim, new([]span))
}

func TestJudgeHTTP2(t *testing.T) {
	t.Parallel()
	many := func(n int) (pairs []string) {
		for range n {
			pairs = append(pairs, "x", "1")
		}
		return pairs
	}
	for _, tc := range []struct {
		rule  string
		list  []gate.Field
		ended bool
		want  gate.Reason // of the rejection, or else of the first finding of hygiene
	}{
		{"a plain request passes", get("user-agent", "test", "accept", "*/*"), true, ""},
		{"te: trailers passes", get("te", "trailers"), true, ""},
		{"te with a coding is refused", get("te", "gzip"), true, gate.HTTPH2Field},
		{"te with trailers and more is refused", get("te", "trailers, deflate"), true, gate.HTTPH2Field},
		{"te in other letters is refused", get("te", "Trailers"), true, gate.HTTPH2Field},
		{"http2-settings is refused", get("http2-settings", "AAMAAABk"), true, gate.HTTPH2Field},
		{"connection is refused", get("connection", "close"), true, gate.HTTPH2Field},
		{"keep-alive is refused", get("keep-alive", "5"), true, gate.HTTPH2Field},
		{"proxy-connection is refused", get("proxy-connection", "close"), true, gate.HTTPH2Field},
		{"transfer-encoding is refused", get("transfer-encoding", "chunked"), true, gate.HTTPH2Field},
		{"upgrade is refused", get("upgrade", "websocket"), true, gate.HTTPH2Field},
		{"a space before a value is refused", get("x", " a"), true, gate.HTTPH2Field},
		{"a tab behind a value is refused", get("x", "a\t"), true, gate.HTTPH2Field},
		{"a value of white space is refused", get("x", " "), true, gate.HTTPH2Field},
		{"an empty value passes", get("x", ""), true, ""},
		{"a tab inside a value passes", get("x", "a\tb"), true, ""},
		{"a line end in a value is refused", get("x", "a\r\ny: b"), true, gate.HTTPFieldValue},
		{"a NUL in a value is refused", get("x", "a\x00"), true, gate.HTTPFieldValue},
		{"bytes above 127 in a value pass", get("x", "caf\xc3\xa9"), true, ""},
		{"a name that is no token is refused", get("x y", "a"), true, gate.HTTPFieldName},
		{"a name with a colon is refused", get("x:y", "a"), true, gate.HTTPFieldName},
		{"an empty name is refused", get("", "a"), true, gate.HTTPFieldName},
		{"an upper-case name is refused", get("X-Upper", "a"), true, gate.HTTPH2Field},
		{"a very long name is refused", get(strings.Repeat("x", 257), "a"), true, gate.HTTPHeadTooLarge},
		{"crumbs of a cookie pass", get("cookie", "a=b", "cookie", "c=d"), true, ""},
		{"100-continue passes", request("POST", "a.example", "/", "expect", "100-continue"), false, ""},
		{"another expectation is refused", request("POST", "a.example", "/", "expect", "later"), false, gate.HTTPExpectation},
		{"no method is refused", sent(":scheme", "https", ":authority", "a", ":path", "/"), true, gate.HTTPH2Pseudo},
		{"no scheme is refused", sent(":method", "GET", ":authority", "a", ":path", "/"), true, gate.HTTPH2Pseudo},
		{"no path is refused", sent(":method", "GET", ":scheme", "https", ":authority", "a"), true, gate.HTTPH2Pseudo},
		{"a scheme that is not HTTP is refused", sent(":method", "GET", ":scheme", "ftp", ":authority", "a", ":path", "/"), true, gate.HTTPH2Pseudo},
		{"a repeated path is refused", get(":path", "/b"), true, gate.HTTPH2Pseudo},
		{"an unknown pseudo-field is refused", append(sent(":status", "200"), get()...), true, gate.HTTPH2Pseudo},
		{":protocol is refused", append(sent(":protocol", "websocket"), get()...), true, gate.HTTPH2Pseudo},
		{"a pseudo-field behind a regular one is refused", append(sent("x", "1"), get()...), true, gate.HTTPH2Pseudo},
		{"pseudo-fields in another order pass", sent(":path", "/", ":authority", "a", ":scheme", "http", ":method", "GET"), true, ""},
		{"neither authority nor host is refused", sent(":method", "GET", ":scheme", "https", ":path", "/"), true, gate.HTTPHostMissing},
		{"an empty authority is refused", request("GET", "", "/"), true, gate.HTTPHostInvalid},
		{"an invalid authority is refused", request("GET", "a.example:80a", "/"), true, gate.HTTPHostInvalid},
		{"an authority with a path is refused", request("GET", "a.example/x", "/"), true, gate.HTTPHostInvalid},
		{"an authority with a user is refused", request("GET", "u@a.example", "/"), true, gate.HTTPHostInvalid},
		{"an authority with a port passes", request("GET", "[2001:db8::1]:8443", "/"), true, ""},
		{"host alone passes", sent(":method", "GET", ":scheme", "https", ":path", "/", "x", "1", "host", "a.example"), true, ""},
		{"a host that agrees passes", get("x", "1", "host", "a.example"), true, ""},
		{"a host that agrees but for the port of the scheme passes", get("host", "A.example:443"), true, ""},
		{"a host that differs is refused", get("host", "b.example"), true, gate.HTTPHostMismatch},
		{"a host with another port is refused", get("host", "a.example:80"), true, gate.HTTPHostMismatch},
		{"two hosts are refused", get("host", "a.example", "host", "a.example"), true, gate.HTTPHostDuplicate},
		{"CONNECT is refused", sent(":method", "CONNECT", ":authority", "a.example:443"), true, gate.HTTPConnect},
		{"TRACE is refused", request("TRACE", "a", "/"), true, gate.HTTPTrace},
		{"an empty method is refused", request("", "a", "/"), true, gate.HTTPMethod},
		{"a method that is no token is refused", request("G T", "a", "/"), true, gate.HTTPMethod},
		{"a long method is refused", request(strings.Repeat("A", 33), "a", "/"), true, gate.HTTPMethod},
		{"OPTIONS * passes", request("OPTIONS", "a", "*"), true, ""},
		{"GET * is refused", request("GET", "a", "*"), true, gate.HTTPTargetForm},
		{"an absolute :path is refused", request("GET", "a", "http://a/"), true, gate.HTTPTargetForm},
		{"an empty :path is refused", request("GET", "a", ""), true, gate.HTTPTargetForm},
		{"a space in :path is refused", request("GET", "a", "/a b"), true, gate.HTTPTargetByte},
		{"a fragment in :path is refused", request("GET", "a", "/a#b"), true, gate.HTTPTargetByte},
		{"8-bit in :path is refused", request("GET", "a", "/caf\xc3\xa9"), true, gate.HTTPTargetByte},
		{"a backslash in :path is refused", request("GET", "a", "/a\\b"), true, gate.HTTPTargetByte},
		{"a semicolon in the query passes", request("GET", "a", "/?a;b=%zz"), true, ""},
		{"a long :path is refused", request("GET", "a", "/"+strings.Repeat("a", 16<<10)), true, gate.HTTPTargetTooLong},
		{"a climbing :path is suspicious", request("GET", "a", "/a/%2e%2e/b"), true, gate.HTTPPathDots},
		{"a shadowing name is suspicious", get("x_forwarded_for", "127.0.0.1"), true, gate.HTTPHeaderUnderscore},
		{"a GET with content is suspicious", get(), false, gate.HTTPBodyUnexpected},
		{"a POST with a length passes", request("POST", "a", "/", "content-length", "5"), false, ""},
		{"a POST without a length passes", request("POST", "a", "/"), false, ""},
		{"a POST that ends with length 0 passes", request("POST", "a", "/", "content-length", "0"), true, ""},
		{"a POST that has yet to end with length 0 passes", request("POST", "a", "/", "content-length", "0"), false, ""},
		{"a length that is no number is refused", request("POST", "a", "/", "content-length", "abc"), false, gate.HTTPLengthInvalid},
		{"a length on an ended stream is refused", request("POST", "a", "/", "content-length", "5"), true, gate.HTTPLengthInvalid},
		{"a length with a sign is refused", request("POST", "a", "/", "content-length", "+5"), false, gate.HTTPLengthInvalid},
		{"a length with a leading zero is refused", request("POST", "a", "/", "content-length", "05"), false, gate.HTTPLengthInvalid},
		{"a length beyond 63 bits is refused", request("POST", "a", "/", "content-length", "18446744073709551616"), false, gate.HTTPLengthInvalid},
		{"two lengths are refused", request("POST", "a", "/", "content-length", "5", "content-length", "5"), false, gate.HTTPLengthDuplicate},
		{"a forbidden trailer is refused", get("trailer", "host"), true, gate.HTTPTrailer},
		{"another trailer passes", get("trailer", "x-sum"), true, ""},
		{"the last field within the limit passes", get(many(99)...), true, ""},
		{"too many fields are refused", get(many(100)...), true, gate.HTTPTooManyFields},
		{"too large a head is refused", get("x", strings.Repeat("x", 64<<10)), true, gate.HTTPHeadTooLarge},
	} {
		h := judged(tc.list, tc.ended)
		got := gate.Reason("")
		if h.Rejection != nil {
			got = h.Rejection.Reason
		} else if len(h.Hygiene) > 0 {
			got = h.Hygiene[0].Reason
		}
		if got != tc.want {
			t.Errorf("%s: judgeHTTP2 = %q, want %q", tc.rule, got, tc.want)
		}
	}
}

func TestFieldsOfHTTP2(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		rule string
		list []gate.Field
		want []gate.Field
	}{
		{"the authority stands first, as Host", get("x", "1", "y", "2", "x", "3"), sent("Host", "a.example", "x", "1", "y", "2", "x", "3")},
		{"a host that agrees is not repeated", get("x", "1", "host", "a.example", "y", "2"), sent("Host", "a.example", "x", "1", "y", "2")},
		{"a host alone is moved to the front", sent(":method", "GET", ":path", "/", ":scheme", "http", "x", "1", "y", "2", "host", "b", "z", "3"), sent("host", "b", "x", "1", "y", "2", "z", "3")},
		{"crumbs are joined where the first stood", get("x", "1", "cookie", "a=b", "y", "2", "cookie", "c=d", "cookie", ""), sent("Host", "a.example", "x", "1", "cookie", "a=b; c=d; ", "y", "2")},
	} {
		h := judged(tc.list, true)
		if h.Rejection != nil || !slices.Equal(h.Fields, tc.want) {
			t.Errorf("%s: %q, rejection %+v, want %q", tc.rule, h.Fields, h.Rejection, tc.want)
		}
	}
	h := judged(get("te", "trailers"), true)
	if h.Proto != "HTTP/2.0" || h.Method != "GET" || h.Target != "/a?b=c" || h.Received != "/a?b=c" || h.Host != "a.example" {
		t.Errorf("head = %+v", h)
	}
}

func TestExcerptsOfHTTP2(t *testing.T) {
	t.Parallel()
	const lines = ":method: GET\r\n:scheme: https\r\n:authority: a.example\r\n:path: /a?b=c\r\n"
	for _, tc := range []struct {
		rule string
		list []gate.Field
		at   string // what stands from the offset on, as far as the excerpt shows it
		from int
	}{
		{"a control in a value", get("x", "a\r\ny: b"), "\r\ny: b\r\n", len(lines) + len("x: a")},
		{"an upper-case letter", get("x-Up", "1"), "Up: 1\r\n", len(lines) + len("x-")},
		{"a field that belongs to HTTP/1", get("x", "1", "upgrade", "h2c", "y", "2"), "upgrade: h2c\r\ny: 2\r\n", len(lines) + len("x: 1\r\n")},
		{"a control far inside a value", get("x", strings.Repeat("-", 100)+"\x00"+strings.Repeat("+", 100)), "\x00" + strings.Repeat("+", 39), len(lines) + len("x: ") + 100},
		{"a byte of the target", request("GET", "a", "/aaa#"), "#\r\n", len(":method: GET\r\n:scheme: https\r\n:authority: a\r\n:path: /aaa")},
		{"a length", request("POST", "a", "/", "x", "1", "content-length", "+5"), "content-length: +5\r\n", len(":method: POST\r\n:scheme: https\r\n:authority: a\r\n:path: /\r\nx: 1\r\n")},
		{"an authority", request("GET", "u@a", "/"), ":authority: u@a\r\n:path: /\r\n", len(":method: GET\r\n:scheme: https\r\n")},
		{"a second path", get("x", "1", ":path", "/b"), ":path: /b\r\n", len(lines) + len("x: 1\r\n")},
	} {
		r := judged(tc.list, tc.list[0].Value == "GET").Rejection
		if r == nil || r.Offset != tc.from || r.Excerpt[r.Mark:] != tc.at {
			t.Errorf("%s: %+v, want %q at %d", tc.rule, r, tc.at, tc.from)
		}
	}
	h := judged(request("GET", "a", "/x/../y", "x_forwarded_for", "b"), true)
	for i, want := range []string{"../y\r\nx_forwarded_for: b\r\n", "x_forwarded_for: b\r\n"} {
		if f := h.Hygiene[i]; f.Excerpt[f.Mark:] != want {
			t.Errorf("finding %d: %+v, want %q", i, f, want)
		}
	}
}

// In HTTP/2 the same is found in the same judgement.
func TestOptionalFindingsInHTTP2(t *testing.T) {
	t.Parallel()
	h := judged(request("DELETE", "a.example", "/a%2Fb;//%252e?%", "my_field", "1"), false)
	if h.Rejection != nil || len(h.Hygiene) > 0 {
		t.Fatalf("%v, %v", h.Rejection, h.Hygiene)
	}
	var got []gate.Reason
	for _, f := range h.Optional {
		got = append(got, f.Reason)
	}
	want := []gate.Reason{gate.HTTPPathSlash, gate.HTTPPathParameter, gate.HTTPPathDoubleEncoding, gate.HTTPPathEmptySegment, gate.HTTPQueryPercent, gate.HTTPFieldUnderscore, gate.HTTPBodyOnDelete}
	if !slices.Equal(got, want) {
		t.Errorf("optional %q, want %q", got, want)
	}
	if f := h.Optional[0]; f.Excerpt[f.Mark:] != "%2Fb;//%252e?%\r\nmy_field: 1\r\n" {
		t.Errorf("excerpt %+v", f)
	}
}

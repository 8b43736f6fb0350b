package strict_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"sallyport/internal/gate"
	"sallyport/internal/strict"
)

// parsed is a request as net/http's HTTP/2 server hands it to a handler.
func parsed(change func(*http.Request)) *http.Request {
	r := &http.Request{
		Method: "GET", RequestURI: "/a?b=c", Host: "a.example", Proto: "HTTP/2.0", ProtoMajor: 2, Body: http.NoBody,
		Header: http.Header{"User-Agent": {"test"}, "Accept": {"*/*"}},
	}
	change(r)
	return r
}

func TestJudgeHTTP2(t *testing.T) {
	t.Parallel()
	set := func(name string, values ...string) func(*http.Request) {
		return func(r *http.Request) { r.Header[name] = values }
	}
	target := func(s string) func(*http.Request) { return func(r *http.Request) { r.RequestURI = s } }
	host := func(s string) func(*http.Request) { return func(r *http.Request) { r.Host = s } }
	method := func(s string) func(*http.Request) { return func(r *http.Request) { r.Method = s } }
	length := func(n int64, declared ...string) func(*http.Request) {
		return func(r *http.Request) {
			r.Method, r.ContentLength = "POST", n
			if len(declared) > 0 {
				r.Header["Content-Length"] = declared
			}
		}
	}
	for _, tc := range []struct {
		rule   string
		change func(*http.Request)
		want   gate.Reason // of the rejection, or else of the first finding of hygiene
	}{
		{"a plain request passes", func(*http.Request) {}, ""},
		{"te: trailers passes", set("Te", "trailers"), ""},
		{"te with a coding is refused", set("Te", "gzip"), gate.HTTPH2Field},
		{"te with trailers and more is refused", set("Te", "trailers, deflate"), gate.HTTPH2Field},
		{"http2-settings is refused", set("Http2-Settings", "AAMAAABk"), gate.HTTPH2Field},
		{"connection is refused", set("Connection", "close"), gate.HTTPH2Field},
		{"transfer-encoding is refused", set("Transfer-Encoding", "chunked"), gate.HTTPH2Field},
		{"upgrade is refused", set("Upgrade", "websocket"), gate.HTTPH2Field},
		{"white space around a value is refused", set("X", " a"), gate.HTTPH2Field},
		{"a tab inside a value passes", set("X", "a\tb"), ""},
		{"a line end in a value is refused", set("X", "a\r\nY: b"), gate.HTTPFieldValue},
		{"a NUL in a value is refused", set("X", "a\x00"), gate.HTTPFieldValue},
		{"bytes above 127 in a value pass", set("X", "caf\xc3\xa9"), ""},
		{"a name that is no token is refused", set("X Y", "a"), gate.HTTPFieldName},
		{"a very long name is refused", set(strings.Repeat("x", 257), "a"), gate.HTTPHeadTooLarge},
		{"joined cookies pass", set("Cookie", "a=b; c=d"), ""},
		{"100-continue passes", set("Expect", "100-continue"), ""},
		{"another expectation is refused", set("Expect", "later"), gate.HTTPExpectation},
		{"no authority is refused", host(""), gate.HTTPHostMissing},
		{"an invalid authority is refused", host("a.example:80a"), gate.HTTPHostInvalid},
		{"an authority with a path is refused", host("a.example/x"), gate.HTTPHostInvalid},
		{"an authority with a user is refused", host("u@a.example"), gate.HTTPHostInvalid},
		{"an authority with a port passes", host("[2001:db8::1]:8443"), ""},
		{"a host field that agrees passes", set("Host", "a.example"), ""},
		{"a host field that differs is refused", set("Host", "b.example"), gate.HTTPHostMismatch},
		{"two host fields are refused", set("Host", "a.example", "a.example"), gate.HTTPHostDuplicate},
		{"CONNECT is refused", func(r *http.Request) { r.Method, r.RequestURI = "CONNECT", "a.example:443" }, gate.HTTPConnect},
		{"TRACE is refused", method("TRACE"), gate.HTTPTrace},
		{"a method that is no token is refused", method("G T"), gate.HTTPMethod},
		{"a long method is refused", method(strings.Repeat("A", 33)), gate.HTTPMethod},
		{"OPTIONS * passes", func(r *http.Request) { r.Method, r.RequestURI = "OPTIONS", "*" }, ""},
		{"GET * is refused", target("*"), gate.HTTPTargetForm},
		{"an absolute :path is refused", target("http://a.example/"), gate.HTTPTargetForm},
		{"an empty :path is refused", target(""), gate.HTTPTargetForm},
		{"a space in :path is refused", target("/a b"), gate.HTTPTargetByte},
		{"a fragment in :path is refused", target("/a#b"), gate.HTTPTargetByte},
		{"8-bit in :path is refused", target("/caf\xc3\xa9"), gate.HTTPTargetByte},
		{"a backslash in :path is refused", target("/a\\b"), gate.HTTPTargetByte},
		{"a semicolon in the query passes", target("/?a;b=%zz"), ""},
		{"a long :path is refused", target("/" + strings.Repeat("a", 16<<10)), gate.HTTPTargetTooLong},
		{"a climbing :path is suspicious", target("/a/%2e%2e/b"), gate.HTTPPathDots},
		{"a shadowing name is suspicious", set("X_Forwarded_For", "127.0.0.1"), gate.HTTPHeaderUnderscore},
		{"a GET with a body is suspicious", func(r *http.Request) { r.ContentLength = -1 }, gate.HTTPBodyUnexpected},
		{"a POST with a length passes", length(5, "5"), ""},
		{"a POST without a length passes", length(-1), ""},
		{"a length that net/http did not take is refused", length(0, "abc"), gate.HTTPLengthInvalid},
		{"a length on an ended stream is refused", length(0, "5"), gate.HTTPLengthInvalid},
		{"a length with a sign is refused", length(5, "+5"), gate.HTTPLengthInvalid},
		{"a length with a leading zero is refused", length(5, "05"), gate.HTTPLengthInvalid},
		{"two lengths are refused", length(5, "5", "5"), gate.HTTPLengthDuplicate},
		{"a forbidden trailer is refused", func(r *http.Request) { r.Trailer = http.Header{"Host": nil} }, gate.HTTPTrailer},
		{"another trailer passes", func(r *http.Request) { r.Trailer = http.Header{"X-Sum": nil} }, ""},
		{"too many fields are refused", set("X", make([]string, 100)...), gate.HTTPTooManyFields},
		{"too large a head is refused", set("X", strings.Repeat("x", 64<<10)), gate.HTTPHeadTooLarge},
	} {
		h := strict.JudgeHTTP2(parsed(tc.change), strict.Limits{})
		got := reasonOf(h)
		if got == "" && len(h.Hygiene) > 0 {
			got = h.Hygiene[0].Reason
		}
		if got != tc.want {
			t.Errorf("%s: JudgeHTTP2 = %q, want %q", tc.rule, got, tc.want)
		}
	}
}

func TestJudgeHTTP2Fields(t *testing.T) {
	t.Parallel()
	h := strict.JudgeHTTP2(parsed(func(r *http.Request) { r.Header["X"] = []string{"1", "2"} }), strict.Limits{})
	want := []gate.Field{{Name: "Host", Value: "a.example"}, {Name: "Accept", Value: "*/*"}, {Name: "User-Agent", Value: "test"}, {Name: "X", Value: "1"}, {Name: "X", Value: "2"}}
	if len(h.Fields) != len(want) {
		t.Fatalf("Fields = %q, want %q", h.Fields, want)
	}
	for i := range want {
		if h.Fields[i] != want[i] {
			t.Errorf("Fields[%d] = %q, want %q", i, h.Fields[i], want[i])
		}
	}
	if h.Proto != "HTTP/2.0" || h.Target != "/a?b=c" || h.Host != "a.example" {
		t.Errorf("head = %+v", h)
	}
}

// TestJudgeHTTP2OverTheWire judges what a real HTTP/2 server makes of a real
// client's requests.
func TestJudgeHTTP2OverTheWire(t *testing.T) {
	t.Parallel()
	heads := make(chan *gate.Head, 1)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		heads <- strict.JudgeHTTP2(r, strict.Limits{})
	}))
	srv.EnableHTTP2 = true
	srv.StartTLS()
	defer srv.Close()
	for _, tc := range []struct {
		method, body string
		length       int64
	}{{"GET", "", 0}, {"POST", "hello", 5}, {"HEAD", "", 0}, {"DELETE", "", 0}} {
		u, err := url.Parse(srv.URL + "/x?y;z=%zz")
		if err != nil {
			t.Fatal(err)
		}
		req := (&http.Request{Method: tc.method, URL: u, Header: http.Header{"Te": {"trailers"}}}).WithContext(context.Background())
		if tc.body != "" {
			req.Body, req.ContentLength = io.NopCloser(strings.NewReader(tc.body)), int64(len(tc.body))
		}
		resp, err := srv.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		h := <-heads
		if h.Rejection != nil || len(h.Hygiene) > 0 || h.Proto != "HTTP/2.0" || h.Target != "/x?y;z=%zz" || h.Length != tc.length {
			t.Errorf("%s: %+v, rejection %+v", tc.method, h, h.Rejection)
		}
	}
}

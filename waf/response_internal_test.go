package waf

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"sallyport/internal/gate"
)

// leak is what a broken application tells.
const leak = "<html>You have an error in your SQL syntax; check the manual that corresponds to your MySQL server version near ''1''' at line 1</html>"

func answer(status int, body string, fields ...string) *http.Response {
	r := &http.Response{StatusCode: status, Proto: "HTTP/1.1", Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body))}
	for i := 0; i < len(fields); i += 2 {
		r.Header.Add(fields[i], fields[i+1])
	}
	return r
}

// TestResponses holds which answers are judged, and that what passes reaches
// the client unchanged.
func TestResponses(t *testing.T) {
	e := sharedEngine(t)
	html := []string{"Content-Type", "text/html; charset=utf-8"}
	for _, tc := range []struct {
		name, policy string
		resp         *http.Response
		body         string
		action       gate.Action
		inspected    string
	}{
		{"a leak in an error", "default", answer(500, leak, html...), leak, gate.Refuse, "full"},
		{"a leak in an error, observed", "observe", answer(500, leak, html...), leak, gate.Observe, "full"},
		{"a harmless error", "default", answer(500, "sorry", html...), "sorry", gate.Pass, "full"},
		{"a leak in a success, errors only", "default", answer(200, leak, html...), leak, gate.Pass, "none"},
		{"a leak in a success, all", "all", answer(200, leak, html...), leak, gate.Refuse, "full"},
		{"json", "all", answer(200, `{"error":"`+leak+`"}`, "Content-Type", "application/json"), `{"error":"` + leak + `"}`, gate.Refuse, "full"},
		{"problem+json", "default", answer(400, `{"error":"`+leak+`"}`, "Content-Type", "application/problem+json"), `{"error":"` + leak + `"}`, gate.Refuse, "full"},
		{"an image", "all", answer(500, leak, "Content-Type", "image/png"), leak, gate.Pass, "none"},
		{"no type", "all", answer(500, leak), leak, gate.Pass, "none"},
		{"an event stream", "all", answer(200, leak, "Content-Type", "text/event-stream"), leak, gate.Pass, "none"},
		{"a call", "all", answer(200, leak, "Content-Type", "application/grpc"), leak, gate.Pass, "none"},
		{"a call in json", "all", answer(200, leak, "Content-Type", "application/grpc+json"), leak, gate.Pass, "none"},
		{"a call from a browser", "all", answer(200, leak, "Content-Type", "application/grpc-web-text+json; charset=utf-8"), leak, gate.Pass, "none"},
		{"a range without its status", "all", answer(200, leak, append(html, "Content-Range", "bytes 0-1/2")...), leak, gate.Pass, "none"},
		{"a range", "all", answer(206, leak, append(html, "Content-Range", "bytes 0-1/2")...), leak, gate.Pass, "none"},
		{"a download", "all", answer(200, leak, append(html, "Content-Disposition", "Attachment; filename=a.html")...), leak, gate.Pass, "none"},
		{"called gzip, and not gzip", "all", answer(500, leak, append(html, "Content-Encoding", "gzip")...), leak, gate.Pass, "none"},
		{"a coding that nobody knows", "all", answer(500, leak, append(html, "Content-Encoding", "compress")...), leak, gate.Pass, "none"},
		{"two codings", "all", answer(500, leak, append(html, "Content-Encoding", "gzip, br")...), leak, gate.Pass, "none"},
		{"identity", "all", answer(500, leak, append(html, "Content-Encoding", "identity")...), leak, gate.Refuse, "full"},
		{"empty", "all", answer(500, "", html...), "", gate.Pass, ""},
		{"beyond the limit", "all", answer(200, strings.Repeat("x", 600<<10)+leak, html...), strings.Repeat("x", 600<<10) + leak, gate.Pass, "head"},
		{"leak before the limit", "all", answer(200, leak+strings.Repeat("x", 600<<10), html...), leak + strings.Repeat("x", 600<<10), gate.Refuse, "head"},
	} {
		_, tx, v := begin(e, get("/").under(tc.policy))
		if !v.Passed() {
			t.Fatalf("%s: %v", tc.name, v)
		}
		v = tx.Response(tc.resp)
		body, err := io.ReadAll(tc.resp.Body)
		if v.Action != tc.action || v.Action != gate.Pass && v.Reason != gate.WAFOutboundScore {
			t.Errorf("%s: %v %q, want %v", tc.name, v.Action, v.Reason, tc.action)
		}
		if err != nil || string(body) != tc.body {
			t.Errorf("%s: the client reads %d bytes (%v), want the %d of the backend", tc.name, len(body), err, len(tc.body))
		}
		in := tx.Close()
		if in.ResponseInspected != tc.inspected {
			t.Errorf("%s: inspected %q, want %q", tc.name, in.ResponseInspected, tc.inspected)
		}
		if tc.action != gate.Pass && (in.Score < 4 || in.Threshold != 4) {
			t.Errorf("%s: score %d of %d, want at least 4 of 4", tc.name, in.Score, in.Threshold)
		}
	}
}

// TestResponseRules covers decisions on response fields, repeated ones
// included, and a body that breaks off.
func TestResponseRules(t *testing.T) {
	e := miniature(t, gate.Enforce, `
SecRule RESPONSE_HEADERS "@contains first-rule" "id:1,phase:3,t:lowercase,pass,nolog"
SecRule RESPONSE_HEADERS "@contains evil" "id:2,phase:3,t:lowercase,deny,status:502"
SecRule RESPONSE_BODY "@contains secret" "id:3,phase:4,deny"
SecRule RESPONSE_STATUS "@streq 418" "id:4,phase:3,drop"
`)
	for range 500 {
		_, tx, _ := begin(e, get("/"))
		if v := tx.Response(answer(200, "", "Link", "EVIL", "Link", "good", "X-A", "1", "X-B", "2", "X-C", "3")); v.Reason != gate.WAFRule || v.Status != 502 {
			t.Fatalf("a repeated field: %v, want it refused with 502", v)
		}
		tx.Close()
	}
	_, tx, _ := begin(e, get("/"))
	if v := tx.Response(answer(418, "")); !v.Close {
		t.Errorf("drop: %v, want the connection closed", v)
	}
	tx.Close()

	broken := errors.New("reset")
	for body, refused := range map[string]bool{"fine": false, "secret": true} {
		_, tx, _ = begin(e, get("/"))
		r := answer(500, "", "Content-Type", "text/plain")
		r.Body, r.ContentLength = io.NopCloser(io.MultiReader(strings.NewReader(body), failing{broken})), -1
		v := tx.Response(r)
		if v.Passed() == refused {
			t.Errorf("a body that breaks off after %q: %v", body, v)
		}
		if got, err := io.ReadAll(r.Body); string(got) != body || !errors.Is(err, broken) {
			t.Errorf("a body that breaks off reads as %q, %v, want %q and the error", got, err, body)
		}
		if in := tx.Close(); in.ResponseInspected != "head" {
			t.Errorf("a body that breaks off: inspected %q, want head", in.ResponseInspected)
		}
	}
}

// TestResponseAfterRequest tells every observed verdict once: that of the
// request by Request, that of the response by Response, and that of a body
// that streamed by Response too.
func TestResponseAfterRequest(t *testing.T) {
	e := sharedEngine(t)
	_, tx, v := begin(e, get("/?a=%3Cscript%3Ealert(1)%3C/script%3E").under("observe"))
	if v.Reason != gate.WAFInboundScore {
		t.Errorf("the request: %v", v)
	}
	if v := tx.Response(answer(200, "")); v.Action != gate.Pass {
		t.Errorf("a harmless response after it: %v, want a plain pass", v)
	}
	tx.Close()
	_, tx, _ = begin(e, get("/?a=%3Cscript%3Ealert(1)%3C/script%3E").under("observe"))
	if v := tx.Response(answer(500, leak, "Content-Type", "text/html")); v.Reason != gate.WAFOutboundScore {
		t.Errorf("a leak after it: %v, want %s", v, gate.WAFOutboundScore)
	}
	tx.Close()
	req, tx, v := begin(e, multi(field("c", "<script>alert(1)</script>")+file("f", "a.txt", big)+last).under("observe"))
	if _, err := io.Copy(io.Discard, req.HTTP.Body); err != nil || v.Action != gate.Pass {
		t.Errorf("an upload: %v, %v", v, err)
	}
	if v := tx.Response(answer(200, "")); v.Reason != gate.WAFInboundScore || v.Action != gate.Observe {
		t.Errorf("after it: %v, want what was observed of the body", v)
	}
	tx.Close()
}

// TestConcurrentTransactions runs every kind of body at the same time; it is
// for the race detector.
func TestConcurrentTransactions(t *testing.T) {
	e := sharedEngine(t)
	calls := []call{get("/?a=1"), post(formType, "a=b&c=d"), post("application/json", `{"a":[1,2]}`), post("text/xml", `<a b="c">d</a>`),
		multi(field("a", "b") + file("f", "x.txt", big) + last), get("/?a=%3Cscript%3Ealert(1)%3C/script%3E")}
	for worker := range 4 {
		t.Run(strconv.Itoa(worker), func(t *testing.T) {
			t.Parallel()
			for i := range 60 {
				c := calls[(i+worker)%len(calls)]
				if o := run(e, c); o.verdict.Passed() != (c.target != "/?a=%3Cscript%3Ealert(1)%3C/script%3E") {
					t.Errorf("%s %s: %v", c.method, c.target, o.verdict)
				}
			}
		})
	}
}

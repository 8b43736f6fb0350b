package gateway_test

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"sallyport/internal/gate"
	"sallyport/internal/testkit"
)

const actionRules = `
SecRule ARGS:do "@streq deny" "id:1,phase:1,deny"
SecRule ARGS:do "@streq status" "id:2,phase:1,deny,status:451"
SecRule ARGS:do "@streq drop" "id:3,phase:2,drop"
SecRule ARGS:do "@streq redirect" "id:4,phase:1,redirect:https://example.org/sorry"
SecRule ARGS:do "@streq moved" "id:5,phase:2,redirect:/moved,status:301"
SecRule ARGS:do "@streq allow" "id:6,phase:1,allow"
SecRule ARGS:do "@streq pass" "id:7,phase:1,pass"
SecRule ARGS:do "@streq header" "id:8,phase:3,deny,status:502"
SecRule RESPONSE_BODY "@contains secret" "id:9,phase:4,deny"
SecRule REMOTE_ADDR "@ipMatch 2001:db8::/32" "id:10,phase:1,deny,status:410"
SecRule REQUEST_HEADERS:Transfer-Encoding "@streq chunked" "id:11,phase:1,deny,status:411,chain"
SecRule REQUEST_HEADERS:Host "@streq LocalHost" "t:none"
SecRule REQUEST_URI_RAW "@streq /a%2Fb//c?x=%41&&" "id:12,phase:1,deny,status:412"
SecRule ARGS:do "@streq boom" "id:13,phase:1,pass,nolog,ctl:requestBodyProcessor=JSON"
SecAction "id:99,phase:5,pass,log,msg:'the end'"
`

// TestActionsOnTheWire holds what a client gets for each action, which a stock
// middleware gets wrong: drop and redirect answered as 200, and a body that
// cannot be read as an empty 200.
func TestActionsOnTheWire(t *testing.T) {
	e := open(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		w.Header().Set("Content-Type", "text/plain")
		if r.URL.Query().Get("do") == "leak" {
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = io.WriteString(w, "the secret")
			return
		}
		_, _ = io.WriteString(w, "backend:"+string(body))
	}), strings.Replace(small, "limits: [{name: per-client, rate: 10/s, burst: 20}]", "limits: []\npolicies: {default: {inbound_threshold: 1000, rules_before: [actions.conf]}}", 1), "actions.conf", actionRules)
	for _, tc := range []struct {
		rule, request string
		status        int
		reason        gate.Reason
		location      string
		closes        bool
	}{
		{"deny", "GET /?do=deny", 403, gate.WAFRule, "", false},
		{"a status", "GET /?do=status", 451, gate.WAFRule, "", false},
		{"drop", "GET /?do=drop", 403, gate.WAFRule, "", true},
		{"redirect", "GET /?do=redirect", 302, gate.WAFRedirect, "https://example.org/sorry", false},
		{"redirect with a status", "GET /?do=moved", 301, gate.WAFRedirect, "/moved", false},
		{"allow", "GET /?do=allow&q=%3Cscript%3Ealert(1)%3C/script%3E", 200, "", "", false},
		{"pass", "GET /?do=pass", 200, "", "", false},
		{"deny in phase 3", "GET /?do=header", 502, gate.WAFRule, "", false},
		{"deny in phase 4", "GET /?do=leak", 403, gate.WAFRule, "", false},
		{"an IPv6 client", "GET /\nX-Forwarded-For: 2001:db8::7", 410, gate.WAFRule, "", false},
		{"another IPv6 client", "GET /\nX-Forwarded-For: 2001:db9::7", 200, "", "", false},
		{"framing fields and the host as received", "POST /\nHost: LocalHost\nTransfer-Encoding: chunked\n\n0\r\n\r\n", 411, gate.WAFRule, "", false},
		{"a length in place of chunks", "POST /\nHost: LocalHost\nContent-Length: 0", 200, "", "", false},
		{"the target as received", "GET /a%2Fb//c?x=%41&&", 412, gate.WAFRule, "", false},
		{"the target in another spelling", "GET /a%2Fb//c?x=A&&", 200, "", "", false},
		{"a body that no processor can read", "POST /?do=boom\nContent-Type: application/x-www-form-urlencoded\nContent-Length: 4\n\n[1,,", 400, gate.WAFBodyUnreadable, "", true},
		{"a body that is cut", "POST /\nContent-Type: application/x-www-form-urlencoded\nContent-Length: 9\n\na=b", 400, gate.HTTPBodyCut, "", true},
	} {
		head, body, _ := strings.Cut(tc.request, "\n\n")
		lines := strings.Split(head, "\n")
		raw := lines[0] + " HTTP/1.1\r\nUser-Agent: x\r\nAccept: */*\r\n"
		if !strings.Contains(head, "\nHost:") {
			raw += "Host: localhost\r\n"
		}
		raw += strings.Join(append(lines[1:], "", ""), "\r\n")
		conn := testkit.DialRaw(t, e.address)
		conn.Send([]byte(raw + body))
		conn.HalfClose()
		a := conn.MustAnswer("GET")
		r := e.notes.find(t, a.Header.Get("X-Request-Id"))
		if a.Status != tc.status || r.Reason != tc.reason || a.Header.Get("Location") != tc.location || tc.closes && !a.Close {
			t.Errorf("%s: %d %q (%s), to %q, closes %v; want %d %q, to %q, closes %v", tc.rule, a.Status, r.Reason, r.Detail, a.Header.Get("Location"), a.Close, tc.status, tc.reason, tc.location, tc.closes)
		}
		if passed := strings.HasPrefix(a.Body, "backend:"); passed != (tc.reason == "") || strings.Contains(a.Body, "secret") {
			t.Errorf("%s: the client reads %q", tc.rule, a.Body)
		}
		if r.WAF == nil || !slices.ContainsFunc(r.WAF.Matches, func(m gate.RecordMatch) bool { return m.Rule == 99 }) {
			t.Errorf("%s: phase 5 left no trace: %+v", tc.rule, r.WAF)
		}
	}
}

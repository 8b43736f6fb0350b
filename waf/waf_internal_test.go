package waf

import (
	"cmp"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"go.uber.org/zap"

	"sallyport/internal/gate"
	"sallyport/waf/coding"
	"sallyport/waf/prover"
)

// bounds are those of a policy that sets none.
var bounds = policy{Policy: Policy{}.bounded(), rules: &ruleset{}}

// standard is the policy that configuration fills in when nothing is written.
func standard() Policy {
	return Policy{Mode: gate.Enforce, Paranoia: 1, InboundThreshold: 5, OutboundThreshold: 4,
		Inspect: 1 << 20, Decode: coding.All, ResponseBody: "errors", ResponseLimit: 512 << 10}.bounded()
}

// shared builds the engine that most tests use once; compiling the rules
// takes longer than all of them.
var shared = sync.OnceValues(func() (*Engine, error) {
	observe, all, head, tolerant := standard(), standard(), standard(), standard()
	observe.Mode = gate.Watch
	all.ResponseBody = "all"
	head.OverHead, head.Inspect = true, 4<<10
	short := all
	short.ResponseLimit = 16 << 10
	small := standard()
	small.Inspect = 4 << 10
	watchSmall := small
	watchSmall.Mode = gate.Watch
	tolerant.PassOnError = true
	return New(Config{Memory: 64 << 20, LogLines: true, Policies: map[string]Policy{
		"default": standard(), "observe": observe, "all": all, "short": short, "head": head, "small": small, "observe-small": watchSmall,
		"tolerant": tolerant, "off": {Mode: gate.Off},
	}}, zap.NewNop())
})

func sharedEngine(tb testing.TB) *Engine {
	tb.Helper()
	e, err := shared()
	if err != nil {
		tb.Fatal(err)
	}
	return e
}

// engineWith builds an engine with one policy, default, and rule files after
// the Core Rule Set.
func engineWith(tb testing.TB, change func(*Policy), rules ...string) *Engine {
	tb.Helper()
	p := standard()
	for i, text := range rules {
		p.RulesAfter = append(p.RulesAfter, writeFile(tb, filepath.Join(tb.TempDir(), "after"+string(rune('0'+i))+".conf"), text))
	}
	if change != nil {
		change(&p)
	}
	return engineOf(tb, p, nil)
}

// engineOf is an engine with one policy, which remembers verdicts or not.
func engineOf(tb testing.TB, p Policy, verdicts *prover.Verdicts) *Engine {
	tb.Helper()
	e, err := newEngine(Config{Memory: 64 << 20, LogLines: true, Policies: map[string]Policy{"default": p}}, zap.NewNop(), verdicts)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { e.Close() })
	return e
}

func writeFile(tb testing.TB, name, text string) string {
	tb.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
	return name
}

// A call is a request to be judged.
type call struct {
	policy  string
	client  string
	method  string
	target  string
	fields  []gate.Field
	body    string
	chunked bool      // no declared length
	source  io.Reader // instead of body; undeclared
}

// browser are the fields that a browser sends and the rules expect.
func browser(more ...string) []gate.Field {
	f := []gate.Field{{Name: "Host", Value: "shop.example.org"}, {Name: "User-Agent", Value: "Mozilla/5.0"}, {Name: "Accept", Value: "text/html,*/*"}}
	for i := 0; i < len(more); i += 2 {
		f = append(f, gate.Field{Name: more[i], Value: more[i+1]})
	}
	return f
}

func get(target string, fields ...string) call {
	return call{method: "GET", target: target, fields: browser(fields...)}
}

func post(contentType, body string, fields ...string) call {
	fields = append(fields, "Content-Type", contentType, "Content-Length", strconv.Itoa(len(body)))
	return call{method: "POST", target: "/post", fields: browser(fields...), body: body}
}

func (c call) under(policy string) call { c.policy = policy; return c }

// request makes the request that the strict reader would have made.
func (c call) request() *gate.Request {
	h := &http.Request{Method: c.method, Header: http.Header{}, Body: http.NoBody, Proto: "HTTP/1.1"}
	head := &gate.Head{Method: c.method, Target: c.target, Received: c.target, Proto: "HTTP/1.1", Host: "shop.example.org", Fields: c.fields}
	switch {
	case c.source != nil:
		h.Body, head.Length = io.NopCloser(c.source), -1
	case c.body != "":
		h.Body, head.Length = io.NopCloser(strings.NewReader(c.body)), int64(len(c.body))
	}
	if c.chunked {
		head.Length = -1
	}
	return &gate.Request{HTTP: h, Head: head, ID: "test", Client: netip.MustParseAddr(cmp.Or(c.client, "203.0.113.7")),
		Peer: netip.MustParseAddrPort("203.0.113.7:4321"), Route: &gate.Route{Name: "test", Policy: cmp.Or(c.policy, "default")}}
}

// An outcome is what became of a call.
type outcome struct {
	verdict gate.Verdict // of the request, or of its body when that came later
	late    bool         // the verdict came out of the body
	passed  string       // what the backend could read of the body
	result  gate.Inspection
}

// run judges a request and reads its body as a backend would.
func run(e *Engine, c call) outcome {
	req := c.request()
	t := e.Begin(req)
	var o outcome
	if o.verdict = t.Request(); o.verdict.Passed() {
		body, err := io.ReadAll(req.HTTP.Body)
		o.passed = string(body)
		if ve, ok := err.(*gate.VerdictError); ok {
			o.verdict, o.late = ve.Verdict, true
		} else if err != nil {
			o.verdict = gate.Failure(gate.PoolClientGone, err)
		} else if v := t.Response(&http.Response{StatusCode: 200, Proto: "HTTP/1.1", Header: http.Header{}, Body: http.NoBody}); o.verdict.Action == gate.Pass {
			o.verdict = v
		}
	}
	o.result = t.Close()
	return o
}

func (o outcome) rules() []int {
	var ids []int
	for _, h := range o.result.Hits {
		ids = append(ids, h.Rule)
	}
	return ids
}

// expect fails unless the verdict is the action for the reason.
func (o outcome) expect(tb testing.TB, name string, action gate.Action, reason gate.Reason) {
	tb.Helper()
	if o.verdict.Action != action || o.verdict.Reason != reason {
		tb.Errorf("%s: %s %q (%s), rules %v; want %s %q", name, o.verdict.Action, o.verdict.Reason, o.verdict.Detail, o.rules(), action, reason)
	}
}

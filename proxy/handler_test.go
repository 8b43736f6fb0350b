package proxy_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"sallyport/internal/gate"
	"sallyport/proxy"
)

func TestEveryStageRefuses(t *testing.T) {
	b := saying(t, ok)
	geo := gate.Refusal(gate.GeoCountry, gate.Enforce, "KP")
	limit := gate.Refusal(gate.LimitOverBudget, gate.Enforce, "")
	limit.RetryAfter = 1500 * time.Millisecond
	limit.Limit = &gate.LimitHit{Name: "per-client", RetryAfter: limit.RetryAfter, Quota: 400, Window: 4 * time.Second}
	waf := gate.Refusal(gate.WAFInboundScore, gate.Enforce, "")
	for _, tc := range []struct {
		rule   string
		set    func(*rig)
		status int
		reason gate.Reason
	}{
		{"the strict reader", func(g *rig) {
			g.in.change = func(_ *http.Request, h *gate.Head) {
				h.Rejection = &gate.Rejection{Reason: gate.HTTPTEAndCL, Offset: 17, Excerpt: "Transfer"}
			}
		}, 400, gate.HTTPTEAndCL},
		{"client", func(g *rig) {
			g.stages.Client = checker(func(*gate.Request) gate.Verdict { return gate.Refusal(gate.HTTPConnection, gate.Enforce, "") })
		}, 400, gate.HTTPConnection},
		{"geo", func(g *rig) { g.stages.Geo = checker(func(*gate.Request) gate.Verdict { return geo }) }, 403, gate.GeoCountry},
		{"limit", func(g *rig) { g.stages.Limit = checker(func(*gate.Request) gate.Verdict { return limit }) }, 429, gate.LimitOverBudget},
		{"waf", func(g *rig) { g.waf.request = func(*gate.Request) gate.Verdict { return waf } }, 403, gate.WAFInboundScore},
	} {
		t.Run(tc.rule, func(t *testing.T) {
			g := newRig(b.addr)
			tc.set(g)
			g.start(t)
			a := g.ask(t, get, "")
			if a.status != tc.status {
				t.Errorf("status %d, want %d", a.status, tc.status)
			}
			rec := g.records.last(t, 1)
			if rec.Action != "refuse" || rec.Reason != tc.reason || rec.Stage != tc.reason.Stage() || rec.Status != tc.status || rec.Mode != gate.Enforce {
				t.Errorf("record says %s %s %s %d %s, want a refusal for %s", rec.Action, rec.Stage, rec.Reason, rec.Status, rec.Mode, tc.reason)
			}
			if a.header.Get("X-Request-Id") != rec.ID {
				t.Errorf("X-Request-Id %q, record %q", a.header.Get("X-Request-Id"), rec.ID)
			}
			if n := g.waf.open.Load(); n != 0 {
				t.Errorf("%d inspections left open", n)
			}
			b.none(t, tc.rule)
		})
	}
	t.Run("none of them", func(t *testing.T) {
		g := newRig(b.addr).start(t)
		if a := g.ask(t, get, ""); a.status != 200 || a.body != "hi" {
			t.Errorf("answer %d %q, want the backend's", a.status, a.body)
		}
		rec := g.records.last(t, 1)
		if rec.Action != "pass" || rec.Stage != gate.StagePool || rec.Reason != "" || rec.Status != 200 || rec.Response.Bytes != 2 {
			t.Errorf("record %+v, want a plain pass", rec)
		}
		if p := rec.Pool; p == nil || *p != (gate.RecordPool{Name: "app", Backend: "app-1", Status: 200, Attempts: 1}) {
			t.Errorf("record of the pool: %+v", p)
		}
	})
}

func TestUndecidedRefuses(t *testing.T) {
	b := saying(t, ok)
	zero := checker(func(*gate.Request) gate.Verdict { return gate.Verdict{} })
	odd := checker(func(*gate.Request) gate.Verdict { return gate.Verdict{Action: 77} })
	for _, tc := range []struct {
		rule string
		set  func(*rig)
	}{
		{"client", func(g *rig) { g.stages.Client = zero }},
		{"geo", func(g *rig) { g.stages.Geo = zero }},
		{"limit", func(g *rig) { g.stages.Limit = zero }},
		{"an action that does not exist", func(g *rig) { g.stages.Limit = odd }},
		{"waf request", func(g *rig) { g.waf.request = func(*gate.Request) gate.Verdict { return gate.Verdict{} } }},
		{"no connection", func(g *rig) { g.bare = true }},
	} {
		t.Run(tc.rule, func(t *testing.T) {
			g := newRig(b.addr)
			tc.set(g)
			g.start(t)
			if a := g.ask(t, get, ""); a.status != 500 {
				t.Errorf("status %d, want 500", a.status)
			}
			if rec := g.records.last(t, 1); rec.Action != "fail" || rec.Stage != gate.StageGateway {
				t.Errorf("record %s %s %s, want a failure of the gateway", rec.Action, rec.Stage, rec.Reason)
			}
			b.none(t, tc.rule)
		})
	}
	t.Run("waf response", func(t *testing.T) {
		g := newRig(b.addr)
		g.waf.response = func(*http.Response) gate.Verdict { return gate.Verdict{} }
		g.start(t)
		if a := g.ask(t, get, ""); a.status != 500 || a.body == "hi" {
			t.Errorf("answer %d %q, want 500 and nothing of the backend", a.status, a.body)
		}
	})
}

func TestPanicInAnyStage(t *testing.T) {
	b := saying(t, ok)
	boom := checker(func(*gate.Request) gate.Verdict { panic("boom") })
	for _, tc := range []struct {
		rule string
		set  func(*rig)
		want int
	}{
		{"head", func(g *rig) { g.in.change = func(*http.Request, *gate.Head) { panic("boom") } }, 500},
		{"client", func(g *rig) { g.stages.Client = boom }, 500},
		{"geo", func(g *rig) { g.stages.Geo = boom }, 500},
		{"limit", func(g *rig) { g.stages.Limit = boom }, 500},
		{"covers", func(g *rig) { g.in.covers = func(string) bool { panic("boom") } }, 500},
		{"waf begin", func(g *rig) { g.waf.begin = func(*gate.Request) { panic("boom") } }, 500},
		{"waf request", func(g *rig) { g.waf.request = func(*gate.Request) gate.Verdict { panic("boom") } }, 500},
		{"waf response", func(g *rig) { g.waf.response = func(*http.Response) gate.Verdict { panic("boom") } }, 500},
		{"waf close", func(g *rig) { g.waf.close = func() gate.Inspection { panic("boom") } }, 200},
		{"a recorder", func(g *rig) {
			g.stages.Recorders = append([]proxy.Recorder{recorder(func(gate.Record) { panic("boom") })}, g.stages.Recorders...)
		}, 200},
	} {
		t.Run(tc.rule, func(t *testing.T) {
			g := newRig(b.addr)
			tc.set(g)
			g.start(t)
			for n := 1; n <= 2; n++ { // the process lives, and so does the handler
				if a := g.ask(t, get, ""); a.status != tc.want {
					t.Errorf("status %d, want %d", a.status, tc.want)
				}
				rec := g.records.last(t, n)
				if tc.want == 500 && rec.Reason != gate.GatewayPanic {
					t.Errorf("record says %s, want %s", rec.Reason, gate.GatewayPanic)
				}
			}
			if n := g.waf.open.Load(); n != 0 {
				t.Errorf("%d inspections left open", n)
			}
		})
	}
}

type recorder func(gate.Record)

func (r recorder) Record(rec gate.Record) { r(rec) }

func TestPanicWhileAnswering(t *testing.T) {
	b := saying(t, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"+strings.Repeat("x", 100000))
	g := newRig(b.addr)
	g.waf.response = func(r *http.Response) gate.Verdict {
		r.Body = &explosive{r.Body}
		return gate.Passes(gate.StageWAF)
	}
	g.start(t)
	if a := g.ask(t, get, ""); a.err == nil {
		t.Error("the answer looks complete, want it cut off")
	}
	if rec := g.records.last(t, 1); rec.Reason != gate.GatewayPanic || rec.Response.Status != 200 {
		t.Errorf("record says %s, response %d", rec.Reason, rec.Response.Status)
	}
}

// explosive is a body that panics after its first read.
type explosive struct {
	body interface {
		Read([]byte) (int, error)
		Close() error
	}
}

func (e *explosive) Read(p []byte) (int, error) {
	if e.body == nil {
		panic("boom")
	}
	n, err := e.body.Read(p)
	e.body = nil
	return n, err
}

func (e *explosive) Close() error { return nil }

func TestObserve(t *testing.T) {
	b := saying(t, ok)
	head := "GET /a?b=c HTTP/1.1\nHost: shop.example.org\nX-A: 1\nConnection: close"
	plain := newRig(b.addr).start(t)
	plain.ask(t, head, "")
	want := mask(b.got(t))

	g := newRig(b.addr)
	g.cfg.Mode = gate.Watch
	g.in.change = func(_ *http.Request, h *gate.Head) {
		h.Hygiene = []gate.Rejection{{Reason: gate.HTTPPathPercent, Offset: 5, Excerpt: "%zz"}}
	}
	g.stages.Geo = checker(func(*gate.Request) gate.Verdict { return gate.Refusal(gate.GeoCountry, gate.Watch, "KP") })
	g.stages.Limit = checker(func(*gate.Request) gate.Verdict {
		v := gate.Refusal(gate.LimitOverBudget, gate.Watch, "")
		v.Limit = &gate.LimitHit{Name: "per-client", RetryAfter: 2500 * time.Millisecond}
		return v
	})
	g.waf.request = func(*gate.Request) gate.Verdict { return gate.Refusal(gate.WAFInboundScore, gate.Watch, "") }
	g.waf.response = func(*http.Response) gate.Verdict { return gate.Refusal(gate.WAFOutboundScore, gate.Watch, "") }
	g.start(t)
	if a := g.ask(t, head, ""); a.status != 200 {
		t.Fatalf("status %d, want 200", a.status)
	}
	if got := mask(b.got(t)); got != want {
		t.Errorf("the backend received %q, want as without observing %q", got, want)
	}
	rec := g.records.last(t, 1)
	if rec.Action != "observe" || rec.Mode != gate.Watch || rec.Stage != gate.StageGeo || rec.Reason != gate.GeoCountry || rec.Status != 200 {
		t.Errorf("record %s %s %s %s %d, want what was observed first", rec.Action, rec.Mode, rec.Stage, rec.Reason, rec.Status)
	}
	var also []string
	for _, o := range rec.Observed {
		also = append(also, string(o.Reason))
	}
	if got := strings.Join(also, " "); got != "limit.over_budget http.path_percent waf.inbound_score waf.outbound_score" {
		t.Errorf("also observed: %s", got)
	}
}

// mask hides what differs between any two requests.
func mask(raw string) string {
	lines := strings.Split(raw, "\r\n")
	for i, l := range lines {
		if strings.HasPrefix(l, "X-Request-Id: ") {
			lines[i] = "X-Request-Id: *"
		}
	}
	return strings.Join(lines, "\r\n")
}

func TestObserveStillRefusesFraming(t *testing.T) {
	b := saying(t, ok)
	g := newRig(b.addr)
	g.cfg.Mode = gate.Watch
	g.in.change = func(_ *http.Request, h *gate.Head) {
		h.Rejection = &gate.Rejection{Reason: gate.HTTPObsFold, Offset: -1}
	}
	g.start(t)
	if a := g.ask(t, get, ""); a.status != 400 {
		t.Errorf("status %d, want 400", a.status)
	}
	b.none(t, "a folded field")
}

func TestAdmit(t *testing.T) {
	b := saying(t, ok)
	route := func(name string, hosts, paths, methods []string) proxy.RouteConfig {
		return proxy.RouteConfig{Hosts: hosts, Paths: paths, Route: gate.Route{
			Name: name, Pool: "app", Methods: methods, MaxBody: 10, MaskErrors: "uniform",
			Waive:  map[gate.Reason]bool{gate.HTTPPathNul: true},
			Refuse: map[gate.Reason]bool{gate.HTTPPathSlash: true},
		}}
	}
	setup := func(g *rig) {
		g.cfg.Routes = []proxy.RouteConfig{
			route("dav", []string{"shop.example.org"}, []string{"/dav"}, []string{"PROPFIND"}),
			route("shop", []string{"shop.example.org"}, []string{"/shop", "/put"}, nil),
		}
		g.in.change = func(r *http.Request, h *gate.Head) {
			switch r.Header.Get("Suspicious") {
			case "percent":
				h.Hygiene = []gate.Rejection{{Reason: gate.HTTPPathPercent, Offset: -1}}
			case "waived":
				h.Hygiene = []gate.Rejection{{Reason: gate.HTTPPathNul, Offset: -1}}
			case "asked for":
				h.Optional = []gate.Rejection{{Reason: gate.HTTPQueryPercent, Offset: -1}, {Reason: gate.HTTPPathSlash, Offset: -1}}
			case "optional":
				h.Optional = []gate.Rejection{{Reason: gate.HTTPQueryPercent, Offset: -1}}
			}
		}
		g.in.covers = func(host string) bool { return host == "shop.example.org" }
	}
	for _, tc := range []struct {
		rule, head, body string
		status           int
		reason           gate.Reason
		allow            string
		watch            bool
	}{
		{rule: "a route that takes it", head: "GET /shop HTTP/1.1\nHost: shop.example.org", status: 200},
		{rule: "an unknown host", head: "GET /shop HTTP/1.1\nHost: other.example", status: 421, reason: gate.RouteUnknownHost},
		{rule: "an unknown host when observing", head: "GET /shop HTTP/1.1\nHost: other.example", status: 421, reason: gate.RouteUnknownHost, watch: true},
		{rule: "an unknown path", head: "GET /x HTTP/1.1\nHost: shop.example.org", status: 404, reason: gate.RouteUnknownPath},
		{rule: "a method of the route", head: "PROPFIND /dav HTTP/1.1\nHost: shop.example.org", status: 200},
		{rule: "a global method on a route with methods", head: "GET /dav HTTP/1.1\nHost: shop.example.org", status: 200},
		{rule: "a method of nobody", head: "BREW /shop HTTP/1.1\nHost: shop.example.org", status: 405, reason: gate.HTTPMethodNotAllowed,
			allow: "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"},
		{rule: "a method of nobody on a route with methods", head: "BREW /dav HTTP/1.1\nHost: shop.example.org", status: 405, reason: gate.HTTPMethodNotAllowed,
			allow: "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PROPFIND, PUT"},
		{rule: "a method of nobody when observing", head: "BREW /shop HTTP/1.1\nHost: shop.example.org", status: 200, reason: gate.HTTPMethodNotAllowed, watch: true},
		{rule: "suspicious", head: "GET /shop HTTP/1.1\nHost: shop.example.org\nSuspicious: percent", status: 400, reason: gate.HTTPPathPercent},
		{rule: "suspicious but waived", head: "GET /shop HTTP/1.1\nHost: shop.example.org\nSuspicious: waived", status: 200},
		{rule: "suspicious only to those who ask, and the route asks", head: "GET /shop HTTP/1.1\nHost: shop.example.org\nSuspicious: asked for", status: 400, reason: gate.HTTPPathSlash},
		{rule: "suspicious only to those who ask, and nobody asks", head: "GET /shop HTTP/1.1\nHost: shop.example.org\nSuspicious: optional", status: 200},
		{rule: "asked for when observing", head: "GET /shop HTTP/1.1\nHost: shop.example.org\nSuspicious: asked for", status: 200, reason: gate.HTTPPathSlash, watch: true},
		{rule: "suspicious when observing", head: "GET /shop HTTP/1.1\nHost: shop.example.org\nSuspicious: percent", status: 200, reason: gate.HTTPPathPercent, watch: true},
		{rule: "a body that is as long as allowed", head: "PUT /put HTTP/1.1\nHost: shop.example.org\nContent-Length: 10", body: "0123456789", status: 200},
		{rule: "a body that is declared too long", head: "PUT /put HTTP/1.1\nHost: shop.example.org\nContent-Length: 11", body: "0123456789a", status: 413, reason: gate.HTTPBodyTooLarge},
		{rule: "too long when observing", head: "PUT /put HTTP/1.1\nHost: shop.example.org\nContent-Length: 11", body: "0123456789a", status: 413, reason: gate.HTTPBodyTooLarge, watch: true},
		{rule: "a chunked body that is as long as allowed", head: "PUT /put HTTP/1.1\nHost: shop.example.org\nTransfer-Encoding: chunked", body: "a\r\n0123456789\r\n0\r\n\r\n", status: 200},
		{rule: "a chunked body that turns out too long", head: "PUT /put HTTP/1.1\nHost: shop.example.org\nTransfer-Encoding: chunked", body: "b\r\n0123456789a\r\n0\r\n\r\n", status: 413, reason: gate.HTTPBodyTooLarge},
	} {
		t.Run(tc.rule, func(t *testing.T) {
			g := newRig(b.addr)
			setup(g)
			if tc.watch {
				g.cfg.Mode = gate.Watch
			}
			limited := 0
			g.stages.Limit = checker(func(*gate.Request) gate.Verdict { limited++; return gate.Passes(gate.StageLimit) })
			g.start(t)
			a := g.ask(t, tc.head, tc.body)
			if a.status != tc.status || a.header.Get("Allow") != tc.allow {
				t.Errorf("answer %d, Allow %q, want %d, %q", a.status, a.header.Get("Allow"), tc.status, tc.allow)
			}
			if rec := g.records.last(t, 1); rec.Reason != tc.reason {
				t.Errorf("reason %q, want %q", rec.Reason, tc.reason)
			}
			if limited != 1 {
				t.Errorf("the limits were asked %d times, want once", limited)
			}
		})
	}
	t.Run("a name that the connection was not opened for", func(t *testing.T) {
		g := newRig(b.addr)
		setup(g)
		g.in.covers = func(host string) bool { return host != "shop.example.org" }
		g.start(t)
		if a := g.ask(t, "GET /shop HTTP/1.1\nHost: SHOP.example.org.:8443", ""); a.status != 421 {
			t.Errorf("status %d, want 421", a.status)
		}
		if rec := g.records.last(t, 1); rec.Reason != gate.RouteSNIMismatch {
			t.Errorf("reason %q", rec.Reason)
		}
	})
}

func TestAnswers(t *testing.T) {
	refusing := func(v gate.Verdict) *rig {
		g := newRig("192.0.2.1:1")
		g.stages.Limit = checker(func(*gate.Request) gate.Verdict { return v })
		return g.start(t)
	}
	limit := gate.Refusal(gate.LimitOverBudget, gate.Enforce, "secret detail")
	limit.RetryAfter = 1500 * time.Millisecond
	limit.Limit = &gate.LimitHit{Name: `per "client"`, RetryAfter: limit.RetryAfter, Quota: 400, Window: 4 * time.Second}
	g := refusing(limit)

	t.Run("a program gets a problem document", func(t *testing.T) {
		a := g.ask(t, "GET / HTTP/1.1\nHost: a.example\nConnection: close", "")
		var doc struct {
			Type, Title, Detail string
			Status              int
			RequestID           string `json:"request_id"`
		}
		if err := json.Unmarshal([]byte(a.body), &doc); err != nil {
			t.Fatalf("%q: %v", a.body, err)
		}
		if a.header.Get("Content-Type") != "application/problem+json" || doc.Status != 429 || doc.RequestID != a.header.Get("X-Request-Id") || doc.Title != "Too Many Requests" {
			t.Errorf("answer %v %+v", a.header, doc)
		}
		for name, want := range map[string]string{
			"Retry-After": "2", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff",
			"Ratelimit": `"per \"client\"";r=0;t=2`, "Ratelimit-Policy": `"per \"client\"";q=400;w=4`, "Server": "",
		} {
			if got := a.header.Get(name); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		if strings.Contains(a.body, "secret") {
			t.Error("the body tells what only the record may")
		}
	})
	t.Run("a browser gets a page", func(t *testing.T) {
		a := g.ask(t, "GET / HTTP/1.1\nHost: a.example\nAccept: application/xhtml+xml,text/HTML;q=0.9", "")
		if a.header.Get("Content-Type") != "text/html; charset=utf-8" || !strings.Contains(a.body, "<h1>Too Many Requests</h1>") || !strings.Contains(a.body, a.header.Get("X-Request-Id")) {
			t.Errorf("answer %v %q", a.header, a.body)
		}
		if a.close {
			t.Error("a refusal that need not close does")
		}
	})
	t.Run("HEAD gets no body", func(t *testing.T) {
		raw := g.raw(t, "HEAD / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n")
		if !strings.HasPrefix(raw, "HTTP/1.1 429 ") || !strings.HasSuffix(raw, "\r\n\r\n") || strings.Contains(raw, "Content-Length: 0") {
			t.Errorf("answer %q", raw)
		}
	})
	t.Run("gRPC gets its own status", func(t *testing.T) {
		a := g.ask(t, "POST /svc/M HTTP/1.1\nHost: a.example\nContent-Type: application/grpc+proto\nContent-Length: 0", "")
		if a.status != 200 || a.header.Get("Grpc-Status") != "8" || a.header.Get("Content-Type") != "application/grpc" || a.body != "" {
			t.Errorf("answer %d %v %q", a.status, a.header, a.body)
		}
	})
	t.Run("a redirecting rule", func(t *testing.T) {
		v := gate.Refusal(gate.WAFRedirect, gate.Enforce, "")
		v.Location = "https://help.example/"
		a := refusing(v).ask(t, "GET / HTTP/1.1\nHost: a.example", "")
		if a.status != 302 || a.header.Get("Location") != v.Location {
			t.Errorf("answer %d %v", a.status, a.header)
		}
	})
	t.Run("a verdict that closes", func(t *testing.T) {
		v := gate.Refusal(gate.HTTPObsFold, gate.Enforce, "")
		if a := refusing(v).ask(t, "GET / HTTP/1.1\nHost: a.example", ""); !a.close {
			t.Errorf("answer %v", a.header)
		}
	})
	t.Run("a status that nobody can send", func(t *testing.T) {
		v := gate.Refusal(gate.GeoCountry, gate.Enforce, "")
		v.Status = 42
		if a := refusing(v).ask(t, "GET / HTTP/1.1\nHost: a.example", ""); a.status != 500 {
			t.Errorf("status %d, want 500", a.status)
		}
	})
}

func TestRecord(t *testing.T) {
	b := saying(t, ok)
	g := newRig(b.addr)
	g.stages.Client = checker(func(req *gate.Request) gate.Verdict {
		req.ClientID, req.ChosenBy = "theirs", "X-Forwarded-For"
		return gate.Passes(gate.StageClient)
	})
	g.stages.Geo = checker(func(req *gate.Request) gate.Verdict {
		req.Place = gate.Place{Country: "NL", ASN: 64500}
		return gate.Passes(gate.StageGeo)
	})
	g.in.change = func(_ *http.Request, h *gate.Head) { h.Took = 9 * time.Microsecond }
	g.waf.close = func() gate.Inspection {
		return gate.Inspection{Policy: "default", Ruleset: "sha256:1", Score: 3, Threshold: 5, Inspected: "full",
			Hits: []gate.RuleHit{{Rule: 942100, Variable: "ARGS:q", Value: "x", LogLine: "line"}}}
	}
	g.start(t)
	g.ask(t, "POST /login?x=1 HTTP/1.1\nHost: shop.example.org\nContent-Length: 5\nX-Request-Id: theirs", "12345")
	rec := g.records.last(t, 1)
	if rec.V != 1 || rec.Gateway != (gate.RecordGateway{Host: "edge-1", Version: "0.1.0", Generation: 3}) || rec.Listener != ":8080" || rec.Route != "site" {
		t.Errorf("record %+v", rec)
	}
	if want := (gate.RecordClient{IP: "192.0.2.7", Peer: "192.0.2.7:40122", ChosenBy: "X-Forwarded-For", Country: "NL", ASN: 64500}); rec.Client != want {
		t.Errorf("client %+v, want %+v", rec.Client, want)
	}
	q := rec.Request
	if q.Method != "POST" || q.Target != "/login?x=1" || q.Host != "shop.example.org" || q.Bytes != 5 || q.ClientID != "theirs" || len(q.Headers) != 3 {
		t.Errorf("request %+v", q)
	}
	if w := rec.WAF; w == nil || w.Score != 3 || len(w.Matches) != 1 || w.Matches[0].Rule != 942100 || w.Excluded == nil || rec.Policy != "default" {
		t.Errorf("waf %+v", w)
	}
	for _, stage := range []string{"strict", "client", "route", "geo", "limit", "waf", "pool", "total"} {
		if _, ok := rec.Micros[stage]; !ok {
			t.Errorf("micros %v, without %s", rec.Micros, stage)
		}
	}
	if rec.Micros["strict"] != 9 || rec.Micros["total"] < rec.Micros["pool"] {
		t.Errorf("micros %v", rec.Micros)
	}
}

func TestNewRefusesWhatCannotWork(t *testing.T) {
	for _, tc := range []struct {
		rule string
		set  func(*rig)
	}{
		{"a missing stage", func(g *rig) { g.stages.Geo = nil }},
		{"a route to a pool that is not there", func(g *rig) { g.route().Route.Pool = "ap" }},
		{"a pool without backends", func(g *rig) { g.pool().Backends = nil }},
		{"two pools of one name", func(g *rig) { g.cfg.Pools = append(g.cfg.Pools, g.cfg.Pools[0]) }},
		{"an authority file that is not there", func(g *rig) { g.pool().TLS.CA = "testdata/none.pem" }},
		{"a certificate without its key", func(g *rig) { g.pool().TLS.Cert = "testdata/none.pem" }},
		{"a way of balancing that does not exist", func(g *rig) { g.pool().Balance = "roundrobin" }},
		{"a backend that is not http", func(g *rig) { g.pool().Backends[0].URL.Scheme = "ftp" }},
	} {
		g := newRig("127.0.0.1:1")
		tc.set(g)
		if h, err := proxy.New(g.cfg, g.stages, proxy.Identity{}, g.log); err == nil {
			t.Errorf("%s: New returned no error", tc.rule)
			_ = h.Close()
		}
		if err := proxy.Check(g.cfg); (err == nil) != (g.stages.Geo == nil) { // which is not of the configuration
			t.Errorf("%s: Check returned %v", tc.rule, err)
		}
	}
}

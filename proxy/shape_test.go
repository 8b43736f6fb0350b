package proxy_test

import (
	"bufio"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sallyport/internal/gate"
	"sallyport/proxy"
)

// echo is a backend that answers with the name of its pool.
func echo(t testing.TB, name string) *backend {
	t.Helper()
	return saying(t, "HTTP/1.1 200 OK\r\nX-Pool: "+name+"\r\nLocation: /next\r\nSet-Cookie: a=b; Path=/\r\nContent-Length: 2\r\n\r\nhi")
}

// second adds a pool with one backend.
func (g *rig) second(name, addr string) {
	p := g.cfg.Pools[0]
	p.Name, p.Backends = name, []proxy.BackendConfig{{Name: name + "-1", URL: &url.URL{Scheme: "http", Host: addr}, Weight: 1}}
	g.cfg.Pools = append(g.cfg.Pools, p)
}

// What is rewritten is what the rules judge and the backend gets; the route,
// the record and the client know it as it was asked for.
func TestRewrite(t *testing.T) {
	t.Parallel()
	b := echo(t, "app")
	g := newRig(b.addr)
	g.route().Hosts, g.route().Paths = []string{"shop.example.org"}, []string{"/shop"}
	g.route().Rewrite = proxy.RewriteConfig{StripPrefix: "/shop", AddPrefix: "/v2", Host: "app.example"}
	judged := make(chan [2]string, 1)
	g.waf.begin = func(req *gate.Request) {
		host, _ := req.Head.Get("Host")
		judged <- [2]string{req.Head.Target, host}
	}
	g.start(t)
	a := g.ask(t, "GET /shop/cart?id=7 HTTP/1.1\nHost: shop.example.org\nX-Forwarded-Prefix: /evil\nConnection: close", "")
	if a.status != 200 || a.header.Get("Location") != "/next" || a.header.Get("Set-Cookie") != "a=b; Path=/" {
		t.Errorf("%d %v", a.status, a.header)
	}
	if saw := <-judged; saw != [2]string{"/v2/cart?id=7", "app.example"} {
		t.Errorf("the rules judged %q", saw)
	}
	seen := b.got(t)
	for _, want := range []string{"GET /v2/cart?id=7 HTTP/1.1\r\n", "Host: app.example\r\n", "X-Forwarded-Host: shop.example.org\r\n", "X-Forwarded-Prefix: /shop\r\n"} {
		if !strings.Contains(seen, want) {
			t.Errorf("the backend was sent\n%s\nwithout %q", seen, want)
		}
	}
	if rec := g.records.last(t, 1); rec.Request.Target != "/shop/cart?id=7" || rec.Request.Rewritten != "/v2/cart?id=7" || rec.Request.Host != "shop.example.org" {
		t.Errorf("recorded %q, %q of %q", rec.Request.Target, rec.Request.Rewritten, rec.Request.Host)
	}
	if a := g.ask(t, "GET /v2/cart HTTP/1.1\nHost: shop.example.org\nConnection: close", ""); a.status != 404 {
		t.Errorf("the backend's own path is answered %d", a.status)
	}
}

func TestRewriteHost(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ rule, host, want string }{
		{"the client's", "", "shop.example.org"},
		{"the backend's", proxy.HostBackend, "@"},
		{"a name", "app.example:81", "app.example:81"},
	} {
		b := leaky(t, "HTTP/1.1 302 Found\r\nLocation: http://app.example:81/x\r\nContent-Length: 0\r\n\r\n")
		g := newRig(b.addr)
		g.route().Rewrite.Host = tc.host
		a := g.start(t).ask(t, get, "")
		if seen, want := b.got(t), "Host: "+strings.ReplaceAll(tc.want, "@", b.addr)+"\r\n"; !strings.Contains(seen, want) {
			t.Errorf("%s: the backend was sent\n%s\nwithout %q", tc.rule, seen, want)
		}
		if want := map[bool]string{true: "http://shop.example.org/x", false: "http://app.example:81/x"}[tc.host == tc.want]; a.header.Get("Location") != want {
			t.Errorf("%s: Location is %q, want %q", tc.rule, a.header.Get("Location"), want)
		}
	}
}

func TestRedirect(t *testing.T) {
	t.Parallel()
	b := echo(t, "app")
	g := newRig(b.addr)
	g.route().Hosts = []string{"shop.example.org", "www.shop.example.org", "*.w.example"}
	g.route().Rewrite.Redirect = proxy.RedirectConfig{HTTPS: true, WWW: proxy.CutWWW}
	g.cfg.Routes = append(g.cfg.Routes, proxy.RouteConfig{Route: gate.Route{Name: "rest", Pool: "app"}, Rewrite: proxy.RewriteConfig{Redirect: proxy.RedirectConfig{HTTPS: true}}})
	g.start(t)
	records := 0
	for _, tc := range []struct {
		rule, head, location string
		status               int
	}{
		{"to https", "GET /a?b=//c HTTP/1.1\nHost: shop.example.org", "https://shop.example.org/a?b=//c", 301},
		{"HEAD alike", "HEAD /a HTTP/1.1\nHost: WWW.shop.example.org:8080", "https://shop.example.org/a", 301},
		{"a method that must not change", "POST /a HTTP/1.1\nHost: shop.example.org\nContent-Length: 0", "https://shop.example.org/a", 308},
		{"a target like a host stays one of ours", "GET //evil.example/ HTTP/1.1\nHost: shop.example.org", "https://shop.example.org//evil.example/", 301},
		{"a name below ours", "GET / HTTP/1.1\nHost: a.w.example", "https://a.w.example/", 301},
		{"never to a host that a catch-all let in", "GET / HTTP/1.1\nHost: evil.example", "", 200},
	} {
		a := g.ask(t, tc.head+"\nConnection: close", "")
		records++
		rec := g.records.last(t, records)
		if a.status != tc.status || tc.location != "" && a.header.Get("Location") != tc.location {
			t.Errorf("%s: %d to %q, want %d to %q", tc.rule, a.status, a.header.Get("Location"), tc.status, tc.location)
		}
		if redirected := tc.status != 200; rec.Action != "pass" || (rec.Stage == gate.StageRoute) != redirected || (rec.Pool == nil) != redirected {
			t.Errorf("%s: recorded as %s of %s, pool %v", tc.rule, rec.Action, rec.Stage, rec.Pool)
		}
	}
	if n := b.requests.Load(); n != 1 {
		t.Errorf("the backend got %d requests, want the one of the catch-all", n)
	}
}

func TestSplit(t *testing.T) {
	t.Parallel()
	app, canary := echo(t, "app"), echo(t, "canary")
	g := newRig(app.addr)
	g.second("canary", canary.addr)
	g.route().Route.Pool = ""
	g.route().Split = []proxy.SplitConfig{{Pool: "app", Weight: 90}, {Pool: "canary", Weight: 10}}
	g.route().Override = proxy.OverrideConfig{Header: "X-Arm", Cookie: "arm"}
	g.cfg.SplitKey = []byte("key")
	next := netip.MustParseAddr("198.51.100.0")
	g.stages.Client = checker(func(req *gate.Request) gate.Verdict {
		req.Client = next
		return gate.Passes(gate.StageClient)
	})
	g.start(t)
	counts := map[string]int{}
	n := 0
	for range 200 {
		next = next.Next()
		arms := map[string]bool{}
		for range 2 {
			a := g.ask(t, get, "")
			n++
			rec := g.records.last(t, n)
			arms[a.header.Get("X-Pool")] = true
			counts[a.header.Get("X-Pool")]++
			if rec.Pool.Name != a.header.Get("X-Pool") {
				t.Fatalf("recorded as %s", rec.Pool.Name)
			}
		}
		if len(arms) != 1 {
			t.Fatalf("client %s was in %v", next, arms)
		}
	}
	if counts["app"] < 320 || counts["canary"] < 16 {
		t.Errorf("shares are %v", counts)
	}
	for _, tc := range []struct{ rule, field, want string }{
		{"a field chooses", "X-Arm: canary", "canary"},
		{"a cookie chooses", "Cookie: a=b; arm=canary", "canary"},
		{"a field chooses the large one too", "X-Arm: app", "app"},
	} {
		if a := g.ask(t, get+"\n"+tc.field, ""); a.header.Get("X-Pool") != tc.want {
			t.Errorf("%s: %s", tc.rule, a.header.Get("X-Pool"))
		}
	}
	plain := g.ask(t, get, "").header.Get("X-Pool")
	for _, field := range []string{"X-Arm: other", "X-Arm: Canary", "Cookie: arm=", "Cookie: xarm=canary", "X-Armx: canary"} {
		if a := g.ask(t, get+"\n"+field, ""); a.header.Get("X-Pool") != plain {
			t.Errorf("%q chose %s", field, a.header.Get("X-Pool"))
		}
	}
}

func TestFieldEdits(t *testing.T) {
	t.Parallel()
	b := saying(t, "HTTP/1.1 200 OK\r\nX-Old: 1\r\nX-Mine: theirs\r\nVary: Accept\r\nContent-Length: 2\r\n\r\nhi")
	g := newRig(b.addr)
	g.stages.Geo = checker(func(req *gate.Request) gate.Verdict {
		if strings.Contains(req.Head.Target, "nl") {
			req.Place.Country = "NL"
		}
		return gate.Passes(gate.StageGeo)
	})
	g.route().Headers = proxy.HeaderConfig{
		Request: proxy.FieldEdits{
			Set:    []proxy.FieldValue{{Name: "X-Client", Value: "ip={client.ip}"}, {Name: "X-Place", Value: "{geo.country}"}},
			Add:    []proxy.FieldValue{{Name: "X-Trace", Value: "{request.id}"}},
			Remove: []string{"X-Secret"},
		},
		Response: proxy.FieldEdits{
			Set:    []proxy.FieldValue{{Name: "X-Mine", Value: "ours"}, {Name: "Server", Value: "shop"}},
			Add:    []proxy.FieldValue{{Name: "Vary", Value: "X-Arm"}, {Name: "X-Id", Value: "{request.id}"}},
			Remove: []string{"X-Old"},
		},
	}
	g.start(t)
	const evil = "\nX-Client: evil\nx_client: evil\nX-PLACE: evil\nX-Secret: a\nX-Trace: theirs"
	a := g.ask(t, strings.Replace(get, "/ ", "/nl ", 1)+evil, "")
	seen := b.got(t)
	id := a.header.Get("X-Request-Id")
	for _, want := range []string{"X-Client: ip=192.0.2.7\r\n", "X-Place: NL\r\n", "X-Trace: theirs\r\n", "X-Trace: " + id + "\r\n"} {
		if !strings.Contains(seen, want) {
			t.Errorf("the backend was sent\n%s\nwithout %q", seen, want)
		}
	}
	if strings.Contains(seen, "evil") || strings.Contains(seen, "X-Secret") {
		t.Errorf("the backend was sent\n%s", seen)
	}
	if got := a.header; got.Get("X-Old") != "" || got.Get("X-Mine") != "ours" || got.Get("Server") != "shop" || got.Get("X-Id") != id || strings.Join(got["Vary"], ",") != "Accept,X-Arm" {
		t.Errorf("the client got %v", got)
	}
	g.ask(t, get+evil, "")
	if seen := b.got(t); strings.Contains(strings.ToLower(seen), "x-place") {
		t.Errorf("of an unknown place the backend was sent\n%s", seen)
	}
}

func TestSecurePreset(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		rule, backend, proto string
		want                 http.Header // "" for none
	}{
		{"everything, over TLS", "", "https", http.Header{"Strict-Transport-Security": {"max-age=31536000"}, "X-Content-Type-Options": {"nosniff"},
			"Referrer-Policy": {"strict-origin-when-cross-origin"}, "X-Frame-Options": {"SAMEORIGIN"}, "Content-Security-Policy": {"frame-ancestors 'self'"}}},
		{"no HSTS without TLS", "", "http", http.Header{"Strict-Transport-Security": {""}, "X-Content-Type-Options": {"nosniff"}}},
		{"the backend's own stay", "Strict-Transport-Security: max-age=1\r\nReferrer-Policy: no-referrer\r\nX-Frame-Options: DENY\r\n", "https",
			http.Header{"Strict-Transport-Security": {"max-age=1"}, "Referrer-Policy": {"no-referrer"}, "X-Frame-Options": {"DENY"}}},
		{"a policy about frames is enough", "Content-Security-Policy: frame-ancestors https://x.example\r\n", "https",
			http.Header{"Content-Security-Policy": {"frame-ancestors https://x.example"}, "X-Frame-Options": {""}}},
		{"another policy stays, frames are another matter", "Content-Security-Policy: default-src 'self'\r\n", "https",
			http.Header{"Content-Security-Policy": {"default-src 'self'"}, "X-Frame-Options": {"SAMEORIGIN"}}},
	} {
		g := newRig(saying(t, "HTTP/1.1 200 OK\r\n"+tc.backend+"Content-Length: 2\r\n\r\nhi").addr)
		g.route().Headers.Preset = proxy.PresetSecure
		g.stages.Client = checker(func(req *gate.Request) gate.Verdict {
			req.Trusted = true
			return gate.Passes(gate.StageClient)
		})
		a := g.start(t).ask(t, get+"\nX-Forwarded-Proto: "+tc.proto, "")
		for name, want := range tc.want {
			if got := a.header.Get(name); got != want[0] || len(a.header[name]) > 1 {
				t.Errorf("%s: %s is %q, want %q", tc.rule, name, a.header[name], want[0])
			}
		}
	}
}

func TestPages(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "403.html")
	if err := os.WriteFile(name, []byte("<!doctype html><title>Halt</title><p>{request.id} {client.ip} {request.id}"), 0o600); err != nil {
		t.Fatal(err)
	}
	g := newRig(saying(t, "HTTP/1.1 403 No\r\nContent-Length: 4\r\n\r\nmine").addr)
	g.route().Mask.Pages = map[int]string{403: name}
	refusing := true
	g.waf.request = func(*gate.Request) gate.Verdict {
		if refusing {
			return gate.Refusal(gate.WAFRule, gate.Enforce, "")
		}
		return gate.Passes(gate.StageWAF)
	}
	g.start(t)
	a := g.ask(t, get+"\nAccept: text/html", "")
	id := a.header.Get("X-Request-Id")
	if want := "<!doctype html><title>Halt</title><p>" + id + " {client.ip} " + id; a.status != 403 || a.body != want || a.header.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Errorf("%d %q, want %q", a.status, a.body, want)
	}
	if a := g.ask(t, get, ""); !strings.Contains(a.body, `"status":403`) {
		t.Errorf("a client that does not ask for HTML got %q", a.body)
	}
	refusing = false
	if a := g.ask(t, get+"\nAccept: text/html", ""); a.body != "mine" {
		t.Errorf("the application's own 403 became %q", a.body)
	}
	g.route().Hosts = []string{"shop.example.org"}
	g.cfg.Pages = g.route().Mask.Pages
	g.cfg.Pages[421] = name
	g.start(t)
	if a := g.ask(t, "GET / HTTP/1.1\nHost: other.example\nAccept: text/html\nConnection: close", ""); a.status != 421 || !strings.Contains(a.body, "Halt") {
		t.Errorf("a host that nobody knows: %d %q", a.status, a.body)
	}
	g.cfg.Routes[0].Mask.Pages = map[int]string{403: filepath.Join(t.TempDir(), "gone.html")}
	if err := proxy.Check(g.cfg); err == nil {
		t.Error("a page that is not there is no problem")
	}
}

// An unknown host never gets the first site, in whichever form it is asked
// for; a known one is found in each.
func TestManySites(t *testing.T) {
	t.Parallel()
	one, two, three := echo(t, "one"), echo(t, "two"), echo(t, "three")
	g := newRig(one.addr)
	g.second("two", two.addr)
	g.second("three", three.addr)
	g.route().Hosts = []string{"shop.example.org"}
	g.cfg.Routes = append(g.cfg.Routes,
		proxy.RouteConfig{Hosts: []string{"*.shop.example.org"}, Route: gate.Route{Name: "below", Pool: "two"}},
		proxy.RouteConfig{Hosts: []string{"xn--bcher-kva.example"}, Route: gate.Route{Name: "idn", Pool: "three"}})
	g.start(t)
	for host, want := range map[string]string{
		"shop.example.org": "one", "SHOP.Example.ORG": "one", "shop.example.org.": "one", "shop.example.org:8443": "one", "Shop.example.org.:80": "one",
		"a.shop.example.org": "two", "A.b.Shop.example.org.:8080": "two", "xn--bcher-kva.example": "three", "XN--BCHER-KVA.example:1": "three",
		"example.org": "", "xshop.example.org": "", "shop.example.org.evil.example": "", "127.0.0.1": "", "[::1]:80": "", "shop": "", "localhost": "",
	} {
		a := g.ask(t, "GET / HTTP/1.1\nHost: "+host+"\nConnection: close", "")
		if status := map[bool]int{true: 421, false: 200}[want == ""]; a.status != status || a.header.Get("X-Pool") != want {
			t.Errorf("%s: %d from %q, want %d from %q", host, a.status, a.header.Get("X-Pool"), status, want)
		}
	}
}

// Whatever went wrong behind the gateway, the answers to one status are the
// same bytes but for the id of the request.
func TestRefusalsDoNotDependOnTheBackend(t *testing.T) {
	t.Parallel()
	for _, accept := range []string{"text/html", "*/*"} {
		seen := map[string]string{}
		for what, addr := range map[string]string{
			"nobody listens":    closedPort(t),
			"no HTTP":           saying(t, "garbage\r\n\r\n").addr,
			"closes":            script(t, func(*backend, net.Conn, *bufio.Reader) {}).addr,
			"a 502 of its own":  saying(t, "HTTP/1.1 502 Oh no\r\nServer: leaky/1\r\nX-A: b\r\nContent-Length: 900\r\n\r\n"+strings.Repeat("x", 900)).addr,
			"an address":        leaky(t, "HTTP/1.1 200 OK\r\nX-Where: @\r\nContent-Length: 2\r\n\r\nhi").addr,
			"a length of words": saying(t, "HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n").addr,
		} {
			g := newRig(addr)
			g.route().Mask.Leaks.Headers = proxy.LeakBlock
			raw := g.start(t).raw(t, "GET / HTTP/1.1\r\nHost: shop.example.org\r\nAccept: "+accept+"\r\nConnection: close\r\n\r\n")
			rec := g.records.last(t, 1)
			if rec.Status != 502 {
				t.Errorf("%s: recorded as %d %s", what, rec.Status, rec.Reason)
			}
			raw = strings.ReplaceAll(raw, rec.ID, "ID")
			if at := strings.Index(raw, "Date: "); at >= 0 {
				raw = raw[:at] + raw[at+strings.Index(raw[at:], "\r\n")+2:]
			}
			seen[raw] = what
		}
		if len(seen) != 1 {
			t.Errorf("%d forms of one refusal: %v", len(seen), seen)
		}
	}
}

// A HEAD is told no more than the GET would be.
func TestHeadOfASearchedBody(t *testing.T) {
	t.Parallel()
	g := newRig(saying(t, "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nEtag: \"1\"\r\nContent-Length: 99\r\n\r\n").addr)
	g.route().Mask.Leaks.Bodies = proxy.LeakRedact
	if raw := g.start(t).raw(t, "HEAD / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n"); strings.Contains(raw, "Etag") || strings.Contains(raw, "Content-Length") {
		t.Errorf("answer %q", raw)
	}
}

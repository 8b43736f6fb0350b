package proxy_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/internal/gate"
	"sallyport/proxy"
)

// named starts a backend that says its name.
func named(t testing.TB, name string) *backend {
	return saying(t, fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\nSet-Cookie: app=1\r\n\r\n%s", len(name), name))
}

// sessions is a rig of three backends with a sticky cookie.
func sessions(t *testing.T, set func(*rig)) (*rig, []*backend) {
	t.Helper()
	var all []*backend
	var addrs []string
	for _, name := range []string{"one", "two", "three"} {
		b := named(t, name)
		all, addrs = append(all, b), append(addrs, b.addr)
	}
	g := newRig(addrs...)
	g.cfg.Secret = []byte("a secret that is long enough for it")
	g.pool().Sticky = proxy.StickyConfig{Cookie: "sp", For: time.Hour}
	if set != nil {
		set(g)
	}
	return g.start(t), all
}

// stickyOf returns the sticky cookie of an answer.
func stickyOf(a answer) string {
	for _, c := range a.header["Set-Cookie"] {
		if value, ok := strings.CutPrefix(c, "sp="); ok {
			value, _, _ = strings.Cut(value, ";")
			return value
		}
	}
	return ""
}

func TestSticky(t *testing.T) {
	var judged sync.Map // what the rules saw of cookies
	g, all := sessions(t, func(g *rig) {
		g.waf.begin = func(req *gate.Request) {
			cookies, _ := req.Head.Get("Cookie")
			judged.Store(cookies, true)
		}
	})
	first := g.ask(t, get, "")
	value := stickyOf(first)
	if cookies := first.header["Set-Cookie"]; value == "" || len(cookies) != 2 || cookies[0] != "app=1" || cookies[1] != "sp="+value+"; Path=/; HttpOnly; SameSite=Lax" {
		t.Fatalf("cookies %q", cookies)
	}
	for range 5 {
		a := g.ask(t, get+"\nCookie: a=1; sp="+value+"; b=2", "")
		if a.body != first.body {
			t.Errorf("with the cookie of %s: %s", first.body, a.body)
		}
		if again := stickyOf(a); again != "" {
			t.Errorf("a cookie that is good is given anew")
		}
	}
	seen := map[string]bool{}
	for range 6 {
		a := g.ask(t, get+"\nCookie: sp=foreign", "")
		seen[a.body] = true
		if stickyOf(a) == "" || stickyOf(a) == value {
			t.Errorf("a foreign cookie is not replaced")
		}
	}
	if len(seen) != 3 {
		t.Errorf("clients with foreign cookies go to %v only", seen)
	}
	for i, b := range all {
		for len(b.seen) > 0 {
			if raw := b.got(t); strings.Contains(raw, "sp=") || strings.Contains(raw, "Cookie") && !strings.Contains(raw, "Cookie: a=1; b=2\r\n") {
				t.Errorf("backend %d got %q", i, raw)
			}
		}
	}
	judged.Range(func(cookies, _ any) bool {
		if cookies != "" && cookies != "a=1; b=2" {
			t.Errorf("the rules saw %q", cookies)
		}
		return true
	})
	secure := g.ask(t, get+"\nX-Forwarded-Proto: https", "")
	if c := secure.header["Set-Cookie"][1]; strings.Contains(c, "Secure") {
		t.Errorf("anybody can say that the site is secure: %q", c)
	}
}

// TestStickyIsSecure where the client uses TLS, as far as the gateway or a
// trusted proxy knows.
func TestStickyIsSecure(t *testing.T) {
	g, _ := sessions(t, func(g *rig) {
		g.stages.Client = checker(func(req *gate.Request) gate.Verdict {
			req.Trusted = true
			return gate.Passes(gate.StageClient)
		})
	})
	a := g.ask(t, get+"\nX-Forwarded-Proto: https", "")
	if c := a.header["Set-Cookie"][1]; !strings.HasSuffix(c, "; SameSite=Lax; Secure") {
		t.Errorf("cookie %q", c)
	}
}

// TestStickyDrain lets those go on whom a draining backend knows, and sends
// everybody elsewhere once it is out.
func TestStickyDrain(t *testing.T) {
	g, _ := sessions(t, nil)
	first := g.ask(t, get, "")
	mine := get + "\nCookie: sp=" + stickyOf(first)
	own := map[string]string{"one": "app-1", "two": "app-2", "three": "app-3"}[first.body]
	if s, err := g.handler.Drain("app", own, true); err != nil || !s.Draining {
		t.Fatalf("%+v %v", s, err)
	}
	for range 6 {
		if a := g.ask(t, get, ""); a.body == first.body {
			t.Error("a new client goes to a backend that is drained")
		}
	}
	if a := g.ask(t, mine, ""); a.body != first.body || stickyOf(a) != "" {
		t.Errorf("a client that it knows goes to %s, with the cookie %q", a.body, stickyOf(a))
	}
	if s, err := g.handler.SetWeight("app", own, 0); err != nil || s.Weight != 0 || s.Configured != 1 {
		t.Fatalf("%+v %v", s, err)
	}
	a := g.ask(t, mine, "")
	if a.body == first.body || stickyOf(a) == "" {
		t.Errorf("once it is out: %s, cookie %q", a.body, stickyOf(a))
	}
	if b := g.ask(t, get+"\nCookie: sp="+stickyOf(a), ""); b.body != a.body {
		t.Errorf("the new cookie leads to %s, not %s", b.body, a.body)
	}
	if _, err := g.handler.SetWeight("app", own, 1); err != nil {
		t.Fatal(err)
	}
	if _, err := g.handler.Drain("app", own, false); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for range 6 {
		seen[g.ask(t, get, "").body] = true
	}
	if !seen[first.body] {
		t.Error("it gets nobody after the drain")
	}
	if got := g.changes(); got != own+" draining, "+own+" weight, "+own+" weight, "+own+" up" {
		t.Errorf("records %s", got)
	}
	for _, tc := range [][2]string{{"nope", own}, {"app", "nope"}} {
		if _, err := g.handler.Drain(tc[0], tc[1], true); err == nil || !strings.Contains(err.Error(), "nope") {
			t.Errorf("%v: %v", tc, err)
		}
	}
}

// changes lists the changes of backends that were recorded.
func (g *rig) changes() string {
	g.records.mu.Lock()
	defer g.records.mu.Unlock()
	var all []string
	for _, r := range g.records.changes {
		all = append(all, r.Pool.Backend+" "+r.Pool.State)
	}
	return strings.Join(all, ", ")
}

// TestStickyGoesOn to another backend when its own does not answer.
func TestStickyGoesOn(t *testing.T) {
	down := script(t, func(_ *backend, c net.Conn, _ *bufio.Reader) { _ = c.Close() })
	up := named(t, "up")
	g := newRig(up.addr)
	g.cfg.Secret = []byte("a secret that is long enough for it")
	g.pool().Sticky = proxy.StickyConfig{Cookie: "sp", For: time.Hour}
	g.start(t)
	value := stickyOf(g.ask(t, get, "")) // of app-1
	h := newRig(down.addr, up.addr)
	h.cfg.Secret, h.pool().Sticky = g.cfg.Secret, g.pool().Sticky
	h.start(t)
	a := h.ask(t, get+"\nCookie: sp="+value, "")
	if a.status != 200 || a.body != "up" || stickyOf(a) == "" {
		t.Errorf("%d %q, cookie %q", a.status, a.body, stickyOf(a))
	}
	if r := h.records.last(t, 1); r.Pool.Attempts != 2 || r.Pool.Backend != "app-2" {
		t.Errorf("record %+v", r.Pool)
	}
}

// TestStickyCookiesOfOtherPools are kept from backends too.
func TestStickyCookiesOfOtherPools(t *testing.T) {
	b := named(t, "one")
	g := newRig(b.addr)
	other := *g.pool()
	other.Name, other.Sticky = "other", proxy.StickyConfig{Cookie: "theirs", For: time.Hour}
	g.cfg.Pools = append(g.cfg.Pools, other)
	g.start(t)
	if a := g.ask(t, get+"\nCookie: theirs=x; a=1", ""); len(a.header["Set-Cookie"]) != 1 {
		t.Errorf("a pool without a cookie gives %q", a.header["Set-Cookie"])
	}
	if raw := b.got(t); strings.Contains(raw, "theirs") || !strings.Contains(raw, "Cookie: a=1\r\n") {
		t.Errorf("the backend got %q", raw)
	}
}

// TestLine holds what does not fit, in order, and tells who waits too long.
func TestLine(t *testing.T) {
	let := make(chan struct{})
	slow := script(t, func(b *backend, c net.Conn, br *bufio.Reader) {
		for b.take(br) {
			<-let
			_, _ = io.WriteString(c, ok)
		}
	})
	g := newRig(slow.addr)
	g.pool().MaxConnections, g.pool().Queue = 1, proxy.QueueConfig{Length: 2, Wait: 20 * time.Second}
	g.start(t)
	send := func() *bufio.Reader {
		c := g.dial(t)
		_, _ = io.WriteString(c, strings.ReplaceAll(get, "\n", "\r\n")+"\r\n\r\n")
		return bufio.NewReader(c)
	}
	waiting := func(n, busy int) {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
			s := g.handler.Pools()[0]
			if s.Queue.Waiting == n && s.Backends[0].InFlight == busy {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%+v, want %d waiting and %d busy", s, n, busy)
			}
		}
	}
	first := send()
	waiting(0, 1)
	second := send()
	waiting(1, 1)
	gone := g.dial(t)
	_, _ = io.WriteString(gone, strings.ReplaceAll(get, "\n", "\r\n")+"\r\n\r\n")
	waiting(2, 1)
	if a := g.ask(t, get, ""); a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
		t.Errorf("one too many: %d %v", a.status, a.header)
	}
	_ = gone.Close()
	waiting(1, 1)
	let <- struct{}{}
	if a := read(t, first, "GET"); a.status != 200 {
		t.Errorf("the first gets %d", a.status)
	}
	let <- struct{}{}
	if a := read(t, second, "GET"); a.status != 200 {
		t.Errorf("the second gets %d", a.status)
	}
	waiting(0, 0)
	reasons := map[gate.Reason]int{}
	waited := false
	for _, r := range g.records.wait(t, 4) {
		reasons[r.Reason]++
		waited = waited || r.Pool.Waited > 0 && r.Action == "pass"
	}
	if reasons[""] != 2 || reasons[gate.PoolQueueFull] != 1 || reasons[gate.PoolClientGone] != 1 || !waited {
		t.Errorf("reasons %v, waited: %t", reasons, waited)
	}
	if n := slow.requests.Load(); n != 2 {
		t.Errorf("the backend got %d requests", n)
	}
}

// TestLineTimeout answers who has waited in vain.
func TestLineTimeout(t *testing.T) {
	let := make(chan struct{})
	slow := script(t, func(b *backend, c net.Conn, br *bufio.Reader) {
		for b.take(br) {
			<-let
			_, _ = io.WriteString(c, ok)
		}
	})
	t.Cleanup(func() { close(let) })
	g := newRig(slow.addr)
	g.pool().MaxConnections, g.pool().Queue = 1, proxy.QueueConfig{Length: 2, Wait: 20 * time.Millisecond}
	g.start(t)
	c := g.dial(t)
	_, _ = io.WriteString(c, strings.ReplaceAll(get, "\n", "\r\n")+"\r\n\r\n")
	slow.got(t)
	if a := g.ask(t, get, ""); a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
		t.Errorf("%d %v", a.status, a.header)
	}
	if r := g.records.last(t, 1); r.Reason != gate.PoolQueueTimeout || r.Pool.Waited < 20 || r.Pool.Attempts != 0 {
		t.Errorf("record %s %+v", r.Reason, r.Pool)
	}
}

// TestTunnelTakesAPlace until it ends, and its client a cookie.
func TestTunnelTakesAPlace(t *testing.T) {
	b := script(t, func(b *backend, c net.Conn, br *bufio.Reader) {
		for b.take(br) {
			if raw := b.got(t); !strings.HasPrefix(raw, "GET /chat") {
				_, _ = io.WriteString(c, ok)
				continue
			}
			_, _ = io.WriteString(c, switching+"\r\n")
			_, _ = io.Copy(c, br)
			return
		}
	})
	g := newRig(b.addr)
	g.pool().MaxConnections, g.pool().Queue = 1, proxy.QueueConfig{}
	g.pool().Sticky = proxy.StickyConfig{Cookie: "sp", For: time.Hour}
	g.start(t)
	c := g.dial(t)
	_, _ = io.WriteString(c, handshake)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols || !strings.HasPrefix(resp.Header.Get("Set-Cookie"), "sp=") {
		t.Fatalf("%+v %v", resp, err)
	}
	if a := g.ask(t, get, ""); a.status != http.StatusServiceUnavailable {
		t.Errorf("beside a tunnel: %d", a.status)
	}
	_ = c.Close()
	g.records.wait(t, 3) // two of the tunnel
	if a := g.ask(t, get, ""); a.status != http.StatusOK {
		t.Errorf("after the tunnel: %d", a.status)
	}
}

// TestPlaceAfterPanic gives the place back when a stage panics over an answer.
func TestPlaceAfterPanic(t *testing.T) {
	b := named(t, "one")
	g := newRig(b.addr)
	g.pool().MaxConnections, g.pool().Queue = 1, proxy.QueueConfig{}
	broken := true
	g.waf.response = func(*http.Response) gate.Verdict {
		if broken {
			panic("made for the test")
		}
		return gate.Passes(gate.StageWAF)
	}
	g.start(t)
	if a := g.ask(t, get, ""); a.status != http.StatusInternalServerError {
		t.Errorf("status %d", a.status)
	}
	g.records.wait(t, 1)
	broken = false
	if a := g.ask(t, get, ""); a.status != http.StatusOK {
		t.Errorf("the place is lost: %d", a.status)
	}
}

// TestLatencyIsTheBackends: what a client takes to send its body says nothing
// about the backend.
func TestLatencyIsTheBackends(t *testing.T) {
	g := newRig(named(t, "one").addr).start(t)
	latency := func() float64 { return g.handler.Pools()[0].Backends[0].Latency }
	big := strings.Repeat("x", 100<<10)
	if a := g.ask(t, fmt.Sprintf("POST / HTTP/1.1\nHost: h\nConnection: close\nContent-Length: %d", len(big)), big); a.status != 200 || latency() != 0 {
		t.Errorf("after an upload: %d, %v ms", a.status, latency())
	}
	if a := g.ask(t, "POST / HTTP/1.1\nHost: h\nConnection: close\nContent-Length: 2", "hi"); a.status != 200 || latency() == 0 {
		t.Errorf("after a body that was held: %d, %v ms", a.status, latency())
	}
}

package proxy_test

import (
	"bufio"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/internal/gate"
	"sallyport/proxy"
)

// unixBackend answers on a Unix socket, and keeps what it received.
func unixBackend(t *testing.T, answer string) (*backend, *url.URL) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "app.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	b := &backend{seen: make(chan string, 64)}
	var open sync.WaitGroup
	open.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			b.conns.Add(1)
			open.Go(func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(20 * time.Second))
				for br := bufio.NewReader(c); b.take(br); {
					if _, err := io.WriteString(c, answer); err != nil {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() { _ = l.Close() })
	return b, &url.URL{Scheme: "unix", Opaque: path}
}

func TestBackendOnAUnixSocket(t *testing.T) {
	b, at := unixBackend(t, ok)
	g := newRig()
	g.pool().Backends = []proxy.BackendConfig{{Name: "app-1", URL: at}}
	g.start(t)
	for range 3 {
		if a := g.ask(t, get, ""); a.status != 200 || a.body != "hi" {
			t.Fatalf("status %d, body %q", a.status, a.body)
		}
		if raw := b.got(t); !strings.Contains(raw, "\r\nHost: shop.example.org\r\n") {
			t.Errorf("the backend received %q, want the name that the client asked for", raw)
		}
	}
	if got := g.raw(t, "GET / HTTP/1.0\r\n\r\n"); !strings.Contains(got, " 200 ") {
		t.Errorf("without Host: %q", got)
	}
	if raw := b.got(t); !strings.Contains(raw, "\r\nHost: localhost\r\n") || strings.Contains(raw, "invalid") || strings.Contains(raw, "X-Forwarded-Host") {
		t.Errorf("without Host the backend received %q", raw)
	}
	if got := g.handler.Pools()[0].Backends[0].URL; got != at.String() {
		t.Errorf("operators see %q, want %q", got, at)
	}
	rec := g.records.last(t, 4)
	if rec.Pool == nil || rec.Pool.Backend != "app-1" {
		t.Errorf("the record names %+v", rec.Pool)
	}
}

// Backends on several sockets are not mixed up, and one that is gone is as any
// other that cannot be connected to.
func TestSeveralUnixSockets(t *testing.T) {
	one, at1 := unixBackend(t, ok)
	two, at2 := unixBackend(t, ok)
	g := newRig()
	g.pool().Backends = []proxy.BackendConfig{{Name: "one", URL: at1}, {Name: "two", URL: at2}}
	g.start(t)
	for range 4 {
		g.ask(t, get, "")
	}
	if a, b := one.requests.Load(), two.requests.Load(); a != 2 || b != 2 {
		t.Errorf("%d and %d requests, want 2 and 2", a, b)
	}

	gone := filepath.Join(t.TempDir(), "gone.sock")
	g = newRig()
	g.pool().Backends = []proxy.BackendConfig{{Name: "one", URL: &url.URL{Scheme: "unix", Opaque: gone}}}
	g.start(t)
	a := g.ask(t, get, "")
	if a.status != 502 || strings.Contains(a.body, "gone") {
		t.Errorf("status %d, body %q", a.status, a.body)
	}
	if rec := g.records.last(t, 1); rec.Reason != gate.PoolConnect {
		t.Errorf("recorded as %s", rec.Reason)
	}
}

func TestHealthOfAUnixSocket(t *testing.T) {
	b, at := unixBackend(t, ok)
	g := newRig()
	g.pool().Backends = []proxy.BackendConfig{{Name: "one", URL: at}}
	g.pool().Health = proxy.HealthConfig{Path: "/health", Interval: time.Hour, Timeout: 5 * time.Second, Healthy: 1, Unhealthy: 1,
		Status: []proxy.StatusRange{{From: 200, To: 399}}}
	g.start(t)
	if raw := b.got(t); !strings.HasPrefix(raw, "GET /health HTTP/1.1\r\nHost: localhost\r\n") {
		t.Errorf("the check was %q", raw)
	}
}

// What a backend says of itself is masked as that of any other is.
func TestAUnixSocketIsMasked(t *testing.T) {
	dir := t.TempDir()
	for _, tc := range []struct{ rule, location, want string }{
		{"the name that it was given", "http://localhost/a", "http://shop.example.org/a"},
		{"with its port", "http://localhost:80/a", "http://shop.example.org/a"},
		{"the socket itself", "http://unix:$SOCKET:/a", ""},
		{"the socket, encoded", "/login?next=unix%3A$SOCKET", ""},
		{"a path", "/a", "/a"},
		{"elsewhere", "https://www.example.com/", "https://www.example.com/"},
	} {
		path := filepath.Join(dir, "app.sock")
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			if (&backend{seen: make(chan string, 1)}).take(bufio.NewReader(c)) {
				_, _ = io.WriteString(c, "HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: "+strings.ReplaceAll(tc.location, "$SOCKET", path)+
					"\r\nSet-Cookie: a=b; Domain=localhost\r\n\r\n")
			}
		}()
		g := newRig()
		g.pool().Backends = []proxy.BackendConfig{{Name: "one", URL: &url.URL{Scheme: "unix", Opaque: path}}}
		g.start(t)
		a := g.ask(t, get, "")
		if got := a.header.Get("Location"); got != tc.want || a.status != 302 {
			t.Errorf("%s: %d, Location %q, want %q", tc.rule, a.status, got, tc.want)
		}
		if got := a.header.Get("Set-Cookie"); got != "a=b" {
			t.Errorf("%s: Set-Cookie %q", tc.rule, got)
		}
		_ = l.Close()
		_ = os.Remove(path)
	}
}

// A client that came by a Unix socket has no address: nobody is named to the
// backend, and the record says what is known.
func TestAClientWithoutAnAddress(t *testing.T) {
	b := saying(t, ok)
	g := newRig(b.addr)
	g.in.origin = &gate.Origin{Unix: true, ChosenBy: gate.ByPeer}
	g.start(t)
	if a := g.ask(t, get, ""); a.status != 200 {
		t.Fatalf("status %d", a.status)
	}
	if raw := b.got(t); strings.Contains(raw, "X-Forwarded-For") || strings.Contains(raw, "X-Real-Ip") || !strings.Contains(raw, "X-Forwarded-Proto: http\r\n") {
		t.Errorf("the backend received %q", raw)
	}
	if rec := g.records.last(t, 1); rec.Client != (gate.RecordClient{Peer: "unix", ChosenBy: "peer"}) {
		t.Errorf("the record says %+v of the client", rec.Client)
	}
}

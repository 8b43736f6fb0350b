package proxy

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"sallyport/internal/gate"
)

// probing returns the pool of one backend whose checks are as set says.
func probing(t *testing.T, target string, set func(*HealthConfig)) *pool {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	cfg := PoolConfig{Name: "app", Backends: []BackendConfig{{Name: "a", URL: u}},
		Health: HealthConfig{Path: "/health", Timeout: time.Second, Status: []StatusRange{{200, 399}}}}
	set(&cfg.Health)
	p, err := newPool(cfg, make([]byte, 32), zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.close)
	return p
}

func TestProbe(t *testing.T) {
	far := strings.Repeat("x", maxProbeBody-2)
	b := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Token") == "t" {
			_, _ = io.WriteString(w, r.Host+" "+r.UserAgent())
			return
		}
		_, _ = io.WriteString(w, far+"ok!")
	}))
	t.Cleanup(b.Close)
	for _, tc := range []struct {
		rule string
		set  func(*HealthConfig)
		well bool
	}{
		{"any body", func(*HealthConfig) {}, true},
		{"a text at the end of what is read", func(h *HealthConfig) { h.Body = "xok" }, true},
		{"a text beyond it", func(h *HealthConfig) { h.Body = "ok!" }, false},
		{"an expression", func(h *HealthConfig) { h.Body = "/^x+ok$/" }, true},
		{"an expression that does not match", func(h *HealthConfig) { h.Body = "/^ok$/" }, false},
		{"one slash is a text", func(h *HealthConfig) { h.Body = "/" }, false},
		{"fields", func(h *HealthConfig) {
			h.Headers = []gate.Field{{Name: "x-token", Value: "t"}, {Name: "host", Value: "app.example.org"}, {Name: "User-Agent", Value: "mine"}}
			h.Body = "/^app.example.org mine$/"
		}, true},
		{"a status that is not good, whatever the body", func(h *HealthConfig) {
			h.Status = []StatusRange{{204, 204}}
			h.Body = "ok"
		}, false},
	} {
		t.Run(tc.rule, func(t *testing.T) {
			p := probing(t, b.URL, tc.set)
			if err := p.probe(t.Context(), p.backends[0]); (err == nil) != tc.well {
				t.Errorf("probe: %v, want well: %v", err, tc.well)
			}
		})
	}
}

// TestProbeOfAnEndlessBody: no check waits for more than its time.
func TestProbeOfAnEndlessBody(t *testing.T) {
	b := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			_, _ = io.WriteString(w, "x")
			_ = http.NewResponseController(w).Flush()
			time.Sleep(time.Millisecond)
		}
	}))
	t.Cleanup(b.Close)
	p := probing(t, b.URL, func(h *HealthConfig) { h.Timeout, h.Body = 50*time.Millisecond, "ok" })
	if err := p.probe(t.Context(), p.backends[0]); err == nil {
		t.Error("a body without an end is well")
	}
}

func TestProbeByTCP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_, err = c.Read(make([]byte, 1))
		closed <- err
	}()
	p := probing(t, "https://"+l.Addr().String(), func(h *HealthConfig) { h.Path, h.TCP = "", true })
	if err := p.probe(t.Context(), p.backends[0]); err != nil {
		t.Errorf("a port that is listened on: %v", err)
	}
	if err := <-closed; err != io.EOF {
		t.Errorf("the connection ended with %v, want closed without a byte", err)
	}
	_ = l.Close()
	if err := p.probe(t.Context(), p.backends[0]); err == nil {
		t.Error("a closed port is well")
	}
	if !p.health.checks() || (HealthConfig{}).checks() {
		t.Error("tcp: true is a check, and nothing is none")
	}
}

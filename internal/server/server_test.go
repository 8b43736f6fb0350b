package server_test

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"sallyport/internal/gate"
	"sallyport/internal/server"
	"sallyport/internal/strict"
	"sallyport/internal/testkit"
)

// generation is a configuration that answers with its number.
type generation struct {
	number    uint64
	cfg       server.Config
	handler   http.HandlerFunc
	trusted   netip.Prefix
	trustUnix bool
	banned    []string
	turned    *netip.Prefix // banned, with answer: close
	turns     atomic.Int64
	active    atomic.Bool
	closed    atomic.Bool
}

func (g *generation) ServeHTTP(w http.ResponseWriter, r *http.Request) { g.handler(w, r) }
func (g *generation) Server() server.Config                            { return g.cfg }
func (g *generation) Turn(a netip.Addr) (away, record bool) {
	if g.turned == nil || !g.turned.Contains(a) {
		return false, false
	}
	return true, g.turns.Add(1) == 1
}
func (g *generation) Bans() any { return g.banned }
func (g *generation) Ban(a netip.Addr, d time.Duration, why string) (any, error) {
	if a == netip.MustParseAddr("10.0.0.1") {
		return nil, errors.New("never banned")
	}
	g.banned = append(g.banned, fmt.Sprintf("%s %s %s", a, d, why))
	return g.banned, nil
}
func (g *generation) Unban(a netip.Addr) error {
	if len(g.banned) == 0 {
		return errors.New("not banned")
	}
	g.banned = nil
	return nil
}
func (g *generation) TrustedPeer(a netip.Addr, unix bool) bool {
	return g.trusted.Contains(a) || unix && !a.IsValid() && g.trustUnix
}
func (g *generation) Status() any { return map[string]uint64{"number": g.number} }
func (g *generation) Pools() any  { return []string{"app"} }
func (g *generation) SetWeight(pool, backend string, weight int) (any, error) {
	return g.operate(fmt.Sprintf("%s %s weight %d", pool, backend, weight))
}
func (g *generation) Drain(pool, backend string, drain bool) (any, error) {
	return g.operate(fmt.Sprintf("%s %s drain %t", pool, backend, drain))
}
func (g *generation) operate(what string) (any, error) {
	if !strings.HasPrefix(what, "app one ") {
		return nil, errors.New("no such backend")
	}
	return what, nil
}
func (g *generation) Activate()    { g.active.Store(true) }
func (g *generation) Close() error { g.closed.Store(true); return nil }

// house is a server under test, with the generations that it was given.
type house struct {
	*server.Server
	mu      sync.Mutex
	built   []*generation
	records []gate.Record
	next    func(*generation) error // changes what is built next
}

func config(t *testing.T) server.Config {
	t.Helper()
	return server.Config{
		Listeners: []server.Listener{{Address: "127.0.0.1:0", HTTP1: true}},
		Limits: strict.Limits{MaxTarget: 16 << 10, MaxHeader: 64 << 10, MaxFields: 100, HeaderTimeout: 5 * time.Second,
			IdleTimeout: 30 * time.Second, WriteRate: 500, WriteGrace: 10 * time.Second},
		MaxConnections: 100, MaxPerClient: 50, HTTP2: server.HTTP2{MaxStreams: 100, Window: 1 << 18, StreamWindow: 1 << 17},
		Admin:           server.Admin{Address: "127.0.0.1:0", TokenFile: filepath.Join(t.TempDir(), "state", "admin-token")},
		ShutdownTimeout: 5 * time.Second,
	}
}

func start(t *testing.T, cfg server.Config, handler http.HandlerFunc) *house {
	t.Helper()
	return startTrusting(t, cfg, handler, netip.Prefix{})
}

// startTrusting starts a server whose generations trust the proxies in a prefix.
func startTrusting(t *testing.T, cfg server.Config, handler http.HandlerFunc, trusted netip.Prefix) *house {
	t.Helper()
	return startWith(t, cfg, handler, &generation{trusted: trusted})
}

// startUnix starts a server whose generations trust Unix peers, or do not.
func startUnix(t *testing.T, cfg server.Config, handler http.HandlerFunc, trust bool) {
	t.Helper()
	startWith(t, cfg, handler, &generation{trustUnix: trust})
}

// startWith starts a server whose generations trust as one does.
func startWith(t *testing.T, cfg server.Config, handler http.HandlerFunc, like *generation) *house {
	t.Helper()
	h := &house{}
	h.Server = server.New(server.Options{
		Build: func(n uint64) (server.Generation, error) {
			h.mu.Lock()
			defer h.mu.Unlock()
			g := &generation{number: n, cfg: cfg, handler: handler, trusted: like.trusted, trustUnix: like.trustUnix}
			if h.next != nil {
				if err := h.next(g); err != nil {
					return nil, err
				}
			}
			h.built = append(h.built, g)
			return g, nil
		},
		Record: func(r gate.Record) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.records = append(h.records, r)
		},
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "up 1\n") }),
		Version: "test",
		Log:     zap.NewNop(),
	})
	if err := h.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Shutdown() })
	return h
}

// address is where the only listener listens.
func (h *house) address(t *testing.T) string {
	t.Helper()
	for _, a := range h.Addresses() {
		return a.String()
	}
	t.Fatal("nothing listens")
	return ""
}

func (h *house) generation(i int) *generation {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.built[i]
}

func (h *house) recorded(reason gate.Reason) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for _, r := range h.records {
		if r.Reason == reason {
			n++
		}
	}
	return n
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return do(t, http.DefaultClient, req)
}

func do(t *testing.T, c *http.Client, req *http.Request) (int, string) {
	t.Helper()
	resp, err := c.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", req.Method, req.URL, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// eventually waits for something that another goroutine does.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if holds() {
			return
		}
	}
	t.Errorf("%s: not within 10 s", what)
}

func TestReloadSwapsOrKeeps(t *testing.T) {
	release := make(chan struct{})
	entered := make(chan struct{}, 1)
	h := start(t, config(t), func(w http.ResponseWriter, r *http.Request) {
		if gate.InboundOf(r.Context()).Head(r).Target == "/slow" {
			entered <- struct{}{}
			<-release
		}
		_, _ = io.WriteString(w, "one")
	})
	base := "http://" + h.address(t)
	answer := make(chan string)
	go func() {
		resp, err := http.Get(base + "/slow")
		if err != nil {
			answer <- err.Error()
			return
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		answer <- string(body)
	}()
	<-entered

	h.next = func(g *generation) error { return errors.New("a broken file") }
	if err := h.Reload(); err == nil {
		t.Error("a reload that cannot be built was taken")
	}
	if _, body := get(t, base); body != "one" {
		t.Errorf("after a bad reload the answer is %q, want that of the running generation", body)
	}

	h.next = func(g *generation) error {
		g.handler = func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "two") }
		return nil
	}
	if err := h.Reload(); err != nil {
		t.Fatal(err)
	}
	if _, body := get(t, base); body != "two" {
		t.Errorf("after a reload the answer is %q, want that of the new generation", body)
	}
	if h.generation(0).closed.Load() {
		t.Error("a generation was closed while a request still used it")
	}
	close(release)
	if got := <-answer; got != "one" {
		t.Errorf("the request in flight got %q, want the generation that it began on", got)
	}
	eventually(t, "the old generation is closed", h.generation(0).closed.Load)
	if h.generation(1).closed.Load() || !h.generation(1).active.Load() {
		t.Error("the new generation is not active")
	}
}

func TestReloadChangesListeners(t *testing.T) {
	cfg := config(t)
	h := start(t, cfg, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.next = func(g *generation) error {
		g.cfg.Listeners = append([]server.Listener{{Address: taken.Addr().String(), HTTP1: true}}, cfg.Listeners...)
		return nil
	}
	if err := h.Reload(); err == nil || !strings.Contains(err.Error(), taken.Addr().String()) {
		t.Errorf("a port in use: Reload = %v, want an error that names it", err)
	}
	if !h.generation(1).closed.Load() {
		t.Error("the generation that could not listen was not closed")
	}
	if err := taken.Close(); err != nil {
		t.Fatal(err)
	}
	if err := h.Reload(); err != nil {
		t.Fatal(err)
	}
	if _, body := get(t, "http://"+taken.Addr().String()); body != "ok" {
		t.Errorf("the new listener answers %q", body)
	}
	h.next = nil
	if err := h.Reload(); err != nil {
		t.Fatal(err)
	}
	if c, err := net.Dial("tcp", taken.Addr().String()); err == nil {
		c.Close()
		t.Error("a listener that the configuration no longer names is still open")
	}
	if _, body := get(t, "http://"+h.address(t)); body != "ok" {
		t.Errorf("the listener that stayed answers %q", body)
	}
}

func TestPortInUseStartsNothing(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	cfg := config(t)
	cfg.Listeners = append(cfg.Listeners, server.Listener{Address: taken.Addr().String(), HTTP1: true})
	var g *generation
	s := server.New(server.Options{
		Build: func(n uint64) (server.Generation, error) { g = &generation{cfg: cfg}; return g, nil },
		Log:   zap.NewNop(),
	})
	if err := s.Start(); err == nil || !strings.Contains(err.Error(), taken.Addr().String()) {
		t.Errorf("Start = %v, want an error that names the port", err)
	}
	if !g.closed.Load() || g.active.Load() || len(s.Addresses()) > 0 {
		t.Error("something was left running")
	}
}

func TestShutdownLetsRequestsFinish(t *testing.T) {
	entered, release := make(chan struct{}, 1), make(chan struct{})
	h := start(t, config(t), func(w http.ResponseWriter, _ *http.Request) {
		entered <- struct{}{}
		<-release
		_, _ = io.WriteString(w, "finished")
	})
	base := "http://" + h.address(t)
	answer := make(chan string)
	go func() {
		resp, err := http.Get(base)
		if err != nil {
			answer <- err.Error()
			return
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		answer <- string(body)
	}()
	<-entered
	ended := make(chan error)
	go func() { ended <- h.Shutdown() }()
	eventually(t, "no longer accepting", func() bool {
		c, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	close(release)
	if got := <-answer; got != "finished" {
		t.Errorf("the request in flight got %q", got)
	}
	if err := <-ended; err != nil {
		t.Errorf("Shutdown = %v, want nil: nothing was cut off", err)
	}
	if !h.generation(0).closed.Load() {
		t.Error("the generation is not closed")
	}
}

func TestShutdownCutsWhatDoesNotFinish(t *testing.T) {
	cfg := config(t)
	cfg.ShutdownTimeout = 50 * time.Millisecond
	entered := make(chan struct{}, 1)
	h := start(t, cfg, func(_ http.ResponseWriter, r *http.Request) {
		entered <- struct{}{}
		<-r.Context().Done()
	})
	base := "http://" + h.address(t)
	go func() {
		if resp, err := http.Get(base); err == nil {
			resp.Body.Close()
		}
	}()
	<-entered
	if err := h.Shutdown(); err == nil {
		t.Error("Shutdown = nil, want an error that says that a request was cut off")
	}
}

func TestConnectionLimits(t *testing.T) {
	for _, tc := range []struct {
		rule           string
		total, client  int
		trusted        string
		opened, served int
	}{
		{"per client", 100, 3, "192.0.2.0/24", 5, 3},
		{"in total", 4, 50, "192.0.2.0/24", 6, 4},
		{"trusted proxies count in total only", 100, 1, "127.0.0.0/8", 5, 5},
	} {
		cfg := config(t)
		cfg.MaxConnections, cfg.MaxPerClient = tc.total, tc.client
		h := startTrusting(t, cfg, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }, netip.MustParsePrefix(tc.trusted))
		served := 0
		var conns []net.Conn
		for range tc.opened {
			c, err := net.Dial("tcp", h.address(t))
			if err != nil {
				t.Fatal(err)
			}
			conns = append(conns, c)
			_ = c.SetDeadline(time.Now().Add(5 * time.Second))
			_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			if line, _ := bufio.NewReader(c).ReadString('\n'); strings.HasPrefix(line, "HTTP/1.1 200") {
				served++
			}
		}
		if served != tc.served {
			t.Errorf("%s: %d of %d connections were served, want %d", tc.rule, served, tc.opened, tc.served)
		}
		eventually(t, tc.rule+": each refusal is recorded", func() bool { return h.recorded(gate.HTTPTooManyConnections) == tc.opened-tc.served })
		for _, c := range conns {
			c.Close()
		}
		eventually(t, tc.rule+": places are given back", func() bool { return h.Connections() == 0 })
	}
}

// certificate makes a self-signed certificate for names.
func certificate(t *testing.T, names ...string) server.Certificate {
	t.Helper()
	return server.Certificate{Loaded: testkit.Certificate(t, time.Now().Add(time.Hour), names...)}
}

func tlsClient(sni string, h2 bool) *http.Client {
	tr := &http.Transport{TLSClientConfig: &tls.Config{ServerName: sni, InsecureSkipVerify: true}, ForceAttemptHTTP2: h2, DisableKeepAlives: true}
	return &http.Client{Transport: tr, Timeout: 10 * time.Second}
}

func TestTLSProtocolsAndCertificates(t *testing.T) {
	cfg := config(t)
	cfg.Listeners = []server.Listener{{Address: "127.0.0.1:0", HTTP1: true, HTTP2: true, MinVersion: tls.VersionTLS12,
		Certificates: []server.Certificate{certificate(t, "a.example"), certificate(t, "b.example", "*.b.example")}}}
	h := start(t, cfg, func(w http.ResponseWriter, r *http.Request) {
		in := gate.InboundOf(r.Context())
		head := in.Head(r)
		_ = json.NewEncoder(w).Encode(map[string]any{"proto": r.Proto, "tls": r.TLS != nil, "sni": r.TLS.ServerName,
			"covers": in.Covers(head.Host), "target": head.Target})
	})
	for _, tc := range []struct {
		rule, sni, host string
		h2, covers      bool
	}{
		{"HTTP/1.1 by ALPN", "a.example", "a.example", false, true},
		{"HTTP/2 by ALPN", "a.example", "a.example", true, true},
		{"the certificate is chosen by SNI", "b.example", "b.example", true, true},
		{"a wildcard covers", "x.b.example", "x.b.example", false, true},
		{"another site on the same connection is not covered", "a.example", "b.example", false, false},
		{"nor over HTTP/2", "a.example", "b.example", true, false},
		{"an unknown name gets the first certificate", "c.example", "a.example", false, true},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+h.address(t)+"/x?y", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = tc.host
		_, body := do(t, tlsClient(tc.sni, tc.h2), req)
		var got struct {
			Proto, SNI, Target string
			TLS, Covers        bool
		}
		if err := json.Unmarshal([]byte(body), &got); err != nil {
			t.Fatalf("%s: %v in %q", tc.rule, err, body)
		}
		proto := "HTTP/1.1"
		if tc.h2 {
			proto = "HTTP/2.0"
		}
		if got.Proto != proto || !got.TLS || got.SNI != tc.sni || got.Covers != tc.covers || got.Target != "/x?y" {
			t.Errorf("%s: got %+v", tc.rule, got)
		}
	}

	c, err := net.Dial("tcp", h.address(t))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	eventually(t, "plain HTTP on a TLS port is recorded", func() bool { return h.recorded(gate.HTTPTLSHandshake) == 1 })
}

func TestH2COnlyWhereWritten(t *testing.T) {
	for _, tc := range []struct {
		rule string
		l    server.Listener
		h1   bool
		h2   bool
	}{
		{"by default only HTTP/1", server.Listener{HTTP1: true}, true, false},
		{"h2c beside HTTP/1", server.Listener{HTTP1: true, H2C: true}, true, true},
		{"h2c alone", server.Listener{H2C: true}, false, true},
	} {
		cfg := config(t)
		tc.l.Address = "127.0.0.1:0"
		cfg.Listeners = []server.Listener{tc.l}
		h := start(t, cfg, func(w http.ResponseWriter, r *http.Request) {
			if head := gate.InboundOf(r.Context()).Head(r); head.Rejection != nil {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			_, _ = io.WriteString(w, r.Proto)
		})
		for want, on := range map[string]bool{"HTTP/1.1": tc.h1, "HTTP/2.0": tc.h2} {
			p := new(http.Protocols)
			p.SetHTTP1(want == "HTTP/1.1")
			p.SetUnencryptedHTTP2(want == "HTTP/2.0")
			client := &http.Client{Transport: &http.Transport{Protocols: p, DisableKeepAlives: true}, Timeout: 10 * time.Second}
			resp, err := client.Get("http://" + h.address(t))
			got := ""
			if err == nil {
				body, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				got = string(body)
			}
			if (got == want) != on {
				t.Errorf("%s: %s answered %q (%v)", tc.rule, want, got, err)
			}
		}
	}
}

func TestReloadChangesTheLimitsOfHTTP2(t *testing.T) {
	cfg := config(t)
	cfg.Listeners = []server.Listener{{Address: "127.0.0.1:0", H2C: true}}
	h := start(t, cfg, func(w http.ResponseWriter, r *http.Request) {
		if head := gate.InboundOf(r.Context()).Head(r); head.Rejection != nil {
			w.WriteHeader(http.StatusTeapot)
		}
	})
	ask := func() int {
		p := new(http.Protocols)
		p.SetUnencryptedHTTP2(true)
		client := &http.Client{Transport: &http.Transport{Protocols: p, DisableKeepAlives: true}, Timeout: 10 * time.Second}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+h.address(t), nil)
		if err != nil {
			t.Fatal(err)
		}
		for range 10 {
			req.Header.Add("X-Large", strings.Repeat("x", 10_000))
		}
		resp, err := client.Do(req)
		if err != nil {
			return 0 // net/http ends the connection
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	if got := ask(); got == http.StatusOK {
		t.Error("a head over max_header was served")
	}
	h.next = func(g *generation) error { g.cfg.Limits.MaxHeader = 200_000; return nil }
	if err := h.Reload(); err != nil {
		t.Fatal(err)
	}
	if got := ask(); got != http.StatusOK {
		t.Errorf("with a larger max_header: status %d", got)
	}
}

func TestHTTP2MustBeginInTime(t *testing.T) {
	const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	for _, tc := range []struct {
		rule, sent string
		refused    bool
	}{
		{"nothing is sent", "", true},
		{"half a preface", preface[:10], true},
		{"another protocol", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", true},
		{"a preface and settings", preface + "\x00\x00\x00\x04\x00\x00\x00\x00\x00", false},
	} {
		for _, secured := range []bool{true, false} {
			cfg := config(t)
			cfg.Limits.HeaderTimeout = 200 * time.Millisecond
			cfg.Listeners = []server.Listener{{Address: "127.0.0.1:0", H2C: true}}
			if secured {
				cfg.Listeners = []server.Listener{{Address: "127.0.0.1:0", HTTP1: true, HTTP2: true, MinVersion: tls.VersionTLS12,
					Certificates: []server.Certificate{certificate(t, "a.example")}}}
			}
			h := start(t, cfg, func(http.ResponseWriter, *http.Request) {})
			c, err := net.Dial("tcp", h.address(t))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(10 * time.Second))
			if secured {
				c = tls.Client(c, &tls.Config{ServerName: "a.example", InsecureSkipVerify: true, NextProtos: []string{"h2"}})
			}
			_, _ = io.WriteString(c, tc.sent)
			n, err := c.Read(make([]byte, 1))
			if refused := n == 0; refused != tc.refused || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s, TLS %t: read %d bytes, %v", tc.rule, secured, n, err)
			}
			if tc.refused {
				eventually(t, tc.rule+" is recorded", func() bool { return h.recorded(gate.HTTPNoHead) == 1 })
			}
		}
	}
}

func TestHalfCloseBesideH2C(t *testing.T) {
	cfg := config(t)
	cfg.Listeners[0].H2C = true
	h := start(t, cfg, func(w http.ResponseWriter, r *http.Request) {
		in := gate.InboundOf(r.Context())
		in.Head(r)
		in.Tunnel()
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, "bye")
		if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
			t.Errorf("CloseWrite: %v", err)
		}
		_, _ = io.Copy(io.Discard, c)
	})
	c, err := net.Dial("tcp", h.address(t))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	if got, err := io.ReadAll(c); string(got) != "bye" || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
}

func TestTunnelGivesItsGenerationUp(t *testing.T) {
	entered := make(chan net.Conn, 1)
	h := start(t, config(t), func(w http.ResponseWriter, r *http.Request) {
		in := gate.InboundOf(r.Context())
		if !in.Head(r).Upgrade {
			_, _ = io.WriteString(w, "plain")
			return
		}
		in.Tunnel()
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
		entered <- c
		_, _ = io.Copy(c, c)
	})
	c, err := net.Dial("tcp", h.address(t))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	<-entered
	if err := h.Reload(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the generation ends while its tunnel lives", h.generation(0).closed.Load)
	r := bufio.NewReader(c)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if line == "\r\n" {
			break
		}
	}
	_, _ = io.WriteString(c, "echo\n")
	if line, err := r.ReadString('\n'); line != "echo\n" {
		t.Errorf("through the tunnel came %q, %v", line, err)
	}
	if err := h.Shutdown(); err != nil {
		t.Errorf("Shutdown = %v", err)
	}
	if _, err := r.ReadString('\n'); err == nil {
		t.Error("the tunnel is still open after Shutdown")
	}
}

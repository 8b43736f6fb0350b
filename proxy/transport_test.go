package proxy_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"sallyport/internal/gate"
	"sallyport/internal/testkit"
	"sallyport/proxy"
)

// pair makes a self-signed certificate for a name and returns its files.
func pair(t *testing.T, name string) (cert, key string) {
	t.Helper()
	certPEM, keyPEM := testkit.CertificatePEM(t, time.Now().Add(time.Hour), name)
	dir := t.TempDir()
	write := func(file string, content []byte) string {
		path := filepath.Join(dir, file)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write("cert.pem", certPEM), write("key.pem", keyPEM)
}

func TestTLSToBackends(t *testing.T) {
	cert, key := pair(t, "app.internal")
	clientCert, clientKey := pair(t, "gateway")
	loaded, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	clientPEM, err := os.ReadFile(clientCert)
	if err != nil {
		t.Fatal(err)
	}
	pool.AppendCertsFromPEM(clientPEM)
	b := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.TLS.ServerName+" "+r.Proto)
	}))
	b.TLS = &tls.Config{Certificates: []tls.Certificate{loaded}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
	b.EnableHTTP2 = true
	b.Config.ErrorLog = zap.NewStdLog(zap.NewNop())
	b.StartTLS()
	t.Cleanup(b.Close)
	good := proxy.TLSConfig{CA: cert, Cert: clientCert, Key: clientKey, ServerName: "app.internal"}
	for _, tc := range []struct {
		rule   string
		change func(*proxy.TLSConfig)
		status int
	}{
		{"verified with the pool's authority, as the name of the pool", func(*proxy.TLSConfig) {}, 200},
		{"an authority that nobody knows", func(c *proxy.TLSConfig) { c.CA = "" }, 502},
		{"another name", func(c *proxy.TLSConfig) { c.ServerName = "other.internal" }, 502},
		{"the host of the URL is the name by default", func(c *proxy.TLSConfig) { c.ServerName = "" }, 502},
		{"no client certificate", func(c *proxy.TLSConfig) { c.Cert, c.Key = "", "" }, 502},
		{"not verified, when told so", func(c *proxy.TLSConfig) { c.CA, c.SkipVerify = "", true }, 200},
	} {
		t.Run(tc.rule, func(t *testing.T) {
			g := newRig(b.Listener.Addr().String())
			g.pool().Backends[0].URL.Scheme = "https"
			g.pool().TLS = good
			tc.change(&g.pool().TLS)
			g.start(t)
			a := g.ask(t, get, "")
			if a.status != tc.status || tc.status == 200 && a.body != "app.internal HTTP/2.0" {
				t.Errorf("answer %d %q (%s)", a.status, a.body, g.records.last(t, 1).Detail)
			}
			if strings.Contains(a.body, "x509") || strings.Contains(a.body, "certificate") {
				t.Errorf("the body tells of the certificate: %q", a.body)
			}
		})
	}
}

func TestTransportsOwnRefusalIsNoBackendsFault(t *testing.T) {
	b := saying(t, ok)
	g := newRig(b.addr)
	g.pool().Eject.Errors, g.pool().Eject.Within, g.pool().Eject.For, g.pool().Eject.AtMost = 1, time.Second, time.Hour, 1
	g.in.change = fields("Host: shop.example.org", "X-Odd: a\x7fb")
	g.start(t)
	if a := g.ask(t, get, ""); a.status != 400 {
		t.Errorf("status %d, want 400", a.status)
	}
	if rec := g.records.last(t, 1); rec.Reason != gate.HTTPFieldValue || rec.Pool.Attempts != 1 {
		t.Errorf("record %s, %+v", rec.Reason, rec.Pool)
	}
	if s := g.handler.Pools()[0].Backends[0]; s.State != "up" || s.Failures != 0 {
		t.Errorf("backend %+v", s)
	}
	b.none(t, "a value that cannot be sent")
}

// TestBytesAfterAnAnswer shows that what a backend says beyond the end of its
// answer to one client is not the answer to another.
func TestBytesAfterAnAnswer(t *testing.T) {
	b := script(t, func(_ *backend, c net.Conn, br *bufio.Reader) {
		for {
			r, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			answer := ok
			if r.URL.Path == "/odd" {
				answer = "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nPOISON"
			}
			if _, err := io.WriteString(c, answer); err != nil {
				return
			}
		}
	})
	g := newRig(b.addr).start(t)
	var clients sync.WaitGroup
	var poisoned, served atomic.Int64
	for i := range 8 {
		clients.Go(func() {
			path := "/odd"
			if i%2 == 0 {
				path = "/"
			}
			c := g.dial(t)
			br := bufio.NewReader(c)
			for range 1000 {
				_, _ = io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: a.example\r\n\r\n")
				switch a := read(t, br, "GET"); {
				case path == "/" && a.body == "POISON":
					poisoned.Add(1)
				case path == "/" && a.status == 200:
					served.Add(1)
				}
			}
		})
	}
	clients.Wait()
	if poisoned.Load() > 0 || served.Load() < 3500 {
		t.Errorf("of 4000 requests %d got their answer, %d that of somebody else", served.Load(), poisoned.Load())
	}
}

// TestWhatABackendMustProve: a certificate that is over, one for an address, a
// version of TLS that is broken, and checks that are verified like requests.
func TestWhatABackendMustProve(t *testing.T) {
	serve := func(t *testing.T, c *tls.Config, name string, end time.Time) *rig {
		t.Helper()
		certPEM, keyPEM := testkit.CertificatePEM(t, end, name)
		ca := filepath.Join(t.TempDir(), "ca.pem")
		if err := os.WriteFile(ca, certPEM, 0o600); err != nil {
			t.Fatal(err)
		}
		loaded, err := tls.X509KeyPair(certPEM, keyPEM)
		if err != nil {
			t.Fatal(err)
		}
		b := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hi") }))
		c.Certificates = []tls.Certificate{loaded}
		b.TLS = c
		b.Config.ErrorLog = zap.NewStdLog(zap.NewNop())
		b.StartTLS()
		t.Cleanup(b.Close)
		g := newRig(b.Listener.Addr().String())
		g.pool().Backends[0].URL.Scheme = "https"
		g.pool().TLS.CA = ca
		return g
	}
	hour := time.Now().Add(time.Hour)
	for _, tc := range []struct {
		rule   string
		rig    func(*testing.T) *rig
		status int
	}{
		{"a certificate for the address", func(t *testing.T) *rig { return serve(t, &tls.Config{}, "127.0.0.1", hour) }, 200},
		{"a certificate that is over", func(t *testing.T) *rig { return serve(t, &tls.Config{}, "127.0.0.1", time.Now().Add(-time.Minute)) }, 502},
		{"TLS 1.1", func(t *testing.T) *rig {
			return serve(t, &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, "127.0.0.1", hour) //nolint:gosec // what is tested
		}, 502},
		{"TLS 1.2", func(t *testing.T) *rig { return serve(t, &tls.Config{MaxVersion: tls.VersionTLS12}, "127.0.0.1", hour) }, 200},
	} {
		t.Run(tc.rule, func(t *testing.T) {
			g := tc.rig(t)
			h := &g.pool().Health
			h.Path, h.Interval, h.Timeout, h.Unhealthy, h.Healthy = "/", 10*time.Millisecond, 5*time.Second, 1, 1
			h.Status = []proxy.StatusRange{{From: 200, To: 299}}
			g.start(t)
			if a := g.ask(t, get, ""); a.status != tc.status && (tc.status != 502 || a.status != 503) {
				t.Errorf("status %d, want %d (%s)", a.status, tc.status, g.records.last(t, 1).Detail)
			}
			want := map[int]string{200: "up", 502: "down"}[tc.status]
			for end := time.Now().Add(10 * time.Second); g.handler.Pools()[0].Backends[0].State != want; time.Sleep(time.Millisecond) {
				if time.Now().After(end) {
					t.Fatalf("the check says %s, want %s", g.handler.Pools()[0].Backends[0].State, want)
				}
			}
		})
	}
}

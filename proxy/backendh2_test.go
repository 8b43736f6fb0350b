package proxy_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"sallyport/internal/gate"
	"sallyport/proxy"
)

// serveH2 starts a backend that speaks HTTP/2 without TLS.
func serveH2(t testing.TB, conf *http.HTTP2Config, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	b := httptest.NewUnstartedServer(h)
	b.Config.Protocols = new(http.Protocols)
	b.Config.Protocols.SetHTTP1(true)
	b.Config.Protocols.SetUnencryptedHTTP2(true)
	b.Config.HTTP2 = conf
	b.Config.DisableGeneralOptionsHandler = true
	b.Config.ErrorLog = zap.NewStdLog(zap.NewNop())
	b.Start()
	t.Cleanup(b.Close)
	return b
}

// h2cRig is a rig with one backend over h2c.
func h2cRig(addr string) *rig {
	g := newRig(addr)
	g.pool().Backends[0].URL.Scheme = "h2c"
	return g
}

// serveTLS starts a backend with TLS and returns a rig in front of it.
func serveTLS(t *testing.T, http2 bool, h http.HandlerFunc) *rig {
	t.Helper()
	cert, key := pair(t, "app.internal")
	loaded, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	b := httptest.NewUnstartedServer(h)
	b.TLS = &tls.Config{Certificates: []tls.Certificate{loaded}}
	b.EnableHTTP2 = http2
	b.Config.ErrorLog = zap.NewStdLog(zap.NewNop())
	b.StartTLS()
	t.Cleanup(b.Close)
	g := newRig(b.Listener.Addr().String())
	g.pool().Backends[0].URL.Scheme = "https"
	g.pool().TLS = proxy.TLSConfig{CA: cert, ServerName: "app.internal"}
	return g
}

func TestProtocolOfABackend(t *testing.T) {
	tells := func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) }
	for _, tc := range []struct {
		rule  string
		start func(*testing.T) *rig
		want  string
	}{
		{"https: HTTP/2 where the backend chooses it", func(t *testing.T) *rig { return serveTLS(t, true, tells) }, "HTTP/2.0"},
		{"https: HTTP/1.1 where it does not", func(t *testing.T) *rig { return serveTLS(t, false, tells) }, "HTTP/1.1"},
		{"https with http2: false", func(t *testing.T) *rig {
			g := serveTLS(t, true, tells)
			g.pool().TLS.HTTP1 = true
			return g
		}, "HTTP/1.1"},
		{"h2c", func(t *testing.T) *rig { return h2cRig(serveH2(t, nil, tells).Listener.Addr().String()) }, "HTTP/2.0"},
		{"http", func(t *testing.T) *rig { return newRig(serveH2(t, nil, tells).Listener.Addr().String()) }, "HTTP/1.1"},
	} {
		t.Run(tc.rule, func(t *testing.T) {
			g := tc.start(t).start(t)
			for range 3 {
				if a := g.ask(t, get, ""); a.status != 200 || a.body != tc.want {
					t.Errorf("answer %d %q, want %q", a.status, a.body, tc.want)
				}
			}
		})
	}
}

// TestSameRequestOverHTTP2 shows that a backend sees the same request whatever
// it is spoken to in.
func TestSameRequestOverHTTP2(t *testing.T) {
	var mu sync.Mutex
	var seen []string
	b := serveH2(t, nil, func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var all bytes.Buffer
		_ = r.Header.WriteSubset(&all, map[string]bool{"X-Request-Id": true, "Transfer-Encoding": true})
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, fmt.Sprintf("%s %s %s %d %q %v\n%s", r.Method, r.RequestURI, r.Host, r.ContentLength, body, err, all.String()))
	})
	addr := b.Listener.Addr().String()
	for _, tc := range []struct{ head, body string }{
		{"GET /a//b/%2e?x=1;y=%zz&z HTTP/1.1\nHost: shop.example.org\nCookie: a=1; b=2\nx-Odd_name: 1\nX-Twice: 1\nx-twice: 2", ""},
		{"POST /up HTTP/1.1\nHost: shop.example.org\nContent-Length: 5\nTE: trailers\nConnection: TE", "12345"},
		{"POST /empty HTTP/1.1\nHost: shop.example.org\nContent-Length: 0", ""},
		{"POST /grpc HTTP/1.1\nHost: shop.example.org\nContent-Length: 5\nTE: trailers\nContent-Type: application/grpc", "12345"},
		{"PUT /long HTTP/1.1\nHost: shop.example.org\nContent-Length: 100000", strings.Repeat("x", 100000)},
		{"OPTIONS * HTTP/1.1\nHost: shop.example.org", ""},
		{"DELETE // HTTP/1.1\nHost: shop.example.org\nUser-Agent: one", ""},
	} {
		seen = nil
		for _, scheme := range []string{"http", "h2c"} {
			g := newRig(addr)
			g.pool().Backends[0].URL.Scheme = scheme
			g.start(t)
			if a := g.ask(t, tc.head, tc.body); a.status != 200 {
				t.Errorf("%s over %s: status %d (%s)", tc.head, scheme, a.status, g.records.last(t, 1).Detail)
			}
		}
		if len(seen) != 2 || seen[0] != seen[1] {
			t.Errorf("%s\nthe backend saw\n%s", tc.head, strings.Join(seen, "\n"))
		}
		if te := strings.Contains(strings.Join(seen, ""), "Te: trailers"); te != strings.Contains(tc.head, "grpc") {
			t.Errorf("%s: te is passed on: %v", tc.head, te)
		}
	}
}

func TestTrailersOverHTTP2(t *testing.T) {
	b := serveH2(t, nil, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		if r.URL.Path == "/announced" {
			w.Header().Set("Trailer", "Grpc-Status, Server")
		}
		if r.URL.Path == "/length" {
			w.Header().Set("Content-Length", "5")
		}
		if r.URL.Path == "/only" { // as gRPC servers refuse: one head, no body
			w.Header().Set("Grpc-Status", "7")
			return
		}
		_, _ = io.WriteString(w, "hello")
		prefix := http.TrailerPrefix
		if r.URL.Path == "/announced" {
			prefix = ""
		}
		w.Header().Set(prefix+"Grpc-Status", "0")
		w.Header().Set(prefix+"Server", "leaky")
	})
	g := h2cRig(b.Listener.Addr().String())
	cl := h2(t, g)
	for _, path := range []string{"/announced", "/unannounced", "/length", "/only"} {
		resp, err := cl.Get("http://" + g.addr + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		status := resp.Trailer.Get("Grpc-Status")
		if path == "/only" {
			if resp.Header.Get("Grpc-Status") != "7" || len(body) > 0 || err != nil {
				t.Errorf("%s: %v %q %v", path, resp.Header, body, err)
			}
			continue
		}
		if string(body) != "hello" || err != nil || status != "0" || resp.Trailer.Get("Server") != "" {
			t.Errorf("%s: body %q, trailers %v, %v", path, body, resp.Trailer, err)
		}
	}
}

func TestWebSocketBesideHTTP2(t *testing.T) {
	answers := func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 1 || r.Header.Get("Upgrade") != "websocket" {
			_, _ = io.WriteString(w, r.Proto)
			return
		}
		c, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, switching+"\r\n")
		_, _ = io.Copy(c, buffered)
	}
	for name, start := range map[string]func(*testing.T) *rig{
		"https": func(t *testing.T) *rig { return serveTLS(t, true, answers) },
		"h2c":   func(t *testing.T) *rig { return h2cRig(serveH2(t, nil, answers).Listener.Addr().String()) },
	} {
		t.Run(name, func(t *testing.T) {
			g := start(t).start(t)
			if a := g.ask(t, get, ""); a.body != "HTTP/2.0" {
				t.Errorf("a request goes over %q", a.body)
			}
			c := g.dial(t)
			_, _ = io.WriteString(c, handshake)
			br := bufio.NewReader(c)
			resp, err := http.ReadResponse(br, nil)
			if err != nil || resp.StatusCode != 101 {
				t.Fatalf("answer %+v, %v", resp, err)
			}
			_, _ = io.WriteString(c, "ping")
			echo := make([]byte, 4)
			if _, err := io.ReadFull(br, echo); err != nil || string(echo) != "ping" {
				t.Errorf("echo %q, %v", echo, err)
			}
		})
	}
}

// TestMoreRequestsThanStreams: when a connection is full, the next request gets
// another one, and none is sent again for it.
func TestMoreRequestsThanStreams(t *testing.T) {
	const streams, clients = 100, 150
	var here atomic.Int64
	full := make(chan struct{})
	b := serveH2(t, &http.HTTP2Config{MaxConcurrentStreams: streams}, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/" && here.Add(1) == clients {
			close(full)
		}
		<-full
		_, _ = io.WriteString(w, "hi")
	})
	g := h2cRig(b.Listener.Addr().String())
	g.pool().Retry.Attempts = 1
	g.start(t)
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			if a := g.ask(t, get, ""); a.status != 200 {
				t.Errorf("status %d", a.status)
			}
		})
	}
	all.Wait()
	if n := g.handler.Pools()[0].Retries; n > 0 {
		t.Errorf("%d retries", n)
	}
}

func TestClientGoneOverHTTP2(t *testing.T) {
	arrived, left := make(chan struct{}), make(chan error, 1)
	b := serveH2(t, nil, func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
		left <- context.Cause(r.Context())
	})
	g := h2cRig(b.Listener.Addr().String()).start(t)
	c := g.dial(t)
	_, _ = io.WriteString(c, strings.ReplaceAll(get, "\n", "\r\n")+"\r\n\r\n")
	<-arrived
	_ = c.Close()
	select {
	case <-left:
	case <-time.After(10 * time.Second):
		t.Fatal("the backend's request goes on without its client")
	}
	if rec := g.records.last(t, 1); rec.Reason != gate.PoolClientGone {
		t.Errorf("reason %s", rec.Reason)
	}
}

// TestStreamsOverHTTP2: hints, parts of a whole, and events reach the client as
// they come.
func TestStreamsOverHTTP2(t *testing.T) {
	heard := make(chan struct{})
	b := serveH2(t, nil, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/hints":
			w.Header().Set("Link", "</a>; rel=preload")
			w.Header().Set("Server", "leaky")
			w.WriteHeader(http.StatusEarlyHints)
			_, _ = io.WriteString(w, "hi")
		case "/range":
			http.ServeContent(w, r, "a.txt", time.Unix(1e9, 0), strings.NewReader("0123456789"))
		case "/events":
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, "data: one\n\n")
			_ = http.NewResponseController(w).Flush()
			<-heard
			_, _ = io.WriteString(w, "data: two\n\n")
		}
	})
	g := h2cRig(b.Listener.Addr().String()).start(t)
	raw := g.raw(t, strings.Replace(getRaw, "GET / ", "GET /hints ", 1))
	if !strings.HasPrefix(raw, "HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\n") {
		t.Errorf("hints: %q", raw)
	}
	a := g.ask(t, "GET /range HTTP/1.1\nHost: shop.example.org\nRange: bytes=2-4", "")
	if a.status != 206 || a.body != "234" || a.header.Get("Content-Range") != "bytes 2-4/10" || a.header.Get("Content-Length") != "3" {
		t.Errorf("a range: %d %q %v", a.status, a.body, a.header)
	}
	c := g.dial(t)
	_, _ = io.WriteString(c, strings.Replace(getRaw, "GET / ", "GET /events ", 1))
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	event := make([]byte, len("data: one\n\n"))
	if _, err := io.ReadFull(resp.Body, event); err != nil || string(event) != "data: one\n\n" {
		t.Errorf("the first event: %q, %v", event, err)
	}
	close(heard)
	if rest, err := io.ReadAll(resp.Body); string(rest) != "data: two\n\n" || err != nil {
		t.Errorf("the second event: %q, %v", rest, err)
	}
}

package proxy_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
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

// A rawH2 speaks HTTP/2 in frames that are written by hand.
type rawH2 struct {
	net.Conn
	br *bufio.Reader
}

func (c rawH2) frame(kind, flags byte, stream uint32, payload []byte) {
	head := binary.BigEndian.AppendUint32(nil, uint32(len(payload))<<8|uint32(kind))
	head = binary.BigEndian.AppendUint32(append(head, flags), stream)
	_, _ = c.Write(append(head, payload...))
}

// fields encodes name and value by turns, without compression (RFC 7541 section
// 6.2.2).
func fields2(pairs ...string) []byte {
	var out []byte
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, 0)
		for _, s := range pairs[i : i+2] {
			if n := len(s); n < 127 {
				out = append(out, byte(n))
			} else {
				out = append(out, 127)
				for n -= 127; n >= 128; n >>= 7 {
					out = append(out, byte(n)|0x80)
				}
				out = append(out, byte(n))
			}
			out = append(out, s...)
		}
	}
	return out
}

// next reads frames until a HEADERS frame, and returns its stream.
func (c rawH2) next() (stream uint32, ok bool) {
	for {
		var head [9]byte
		if _, err := io.ReadFull(c.br, head[:]); err != nil {
			return 0, false
		}
		if _, err := c.br.Discard(int(head[0])<<16 | int(head[1])<<8 | int(head[2])); err != nil {
			return 0, false
		}
		switch {
		case head[3] == 4 && head[4] == 0: // SETTINGS
			c.frame(4, 1, 0, nil)
		case head[3] == 1:
			return binary.BigEndian.Uint32(head[5:]), true
		}
	}
}

// scriptH2 starts a backend that plays a script for each HTTP/2 request, with a
// first SETTINGS frame of its own.
func scriptH2(t *testing.T, settings []byte, play func(b *backend, c rawH2, stream uint32)) *backend {
	t.Helper()
	return script(t, func(b *backend, c net.Conn, br *bufio.Reader) {
		if _, err := br.Discard(len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")); err != nil {
			return
		}
		raw := rawH2{c, br}
		raw.frame(4, 0, 0, settings)
		for {
			stream, ok := raw.next()
			if !ok {
				return
			}
			b.requests.Add(1)
			play(b, raw, stream)
		}
	})
}

const (
	endStream  = 1
	endHeaders = 4
)

func TestMisbehavingHTTP2Backends(t *testing.T) {
	head := func(flags byte, pairs ...string) func(*backend, rawH2, uint32) {
		return func(_ *backend, c rawH2, stream uint32) { c.frame(1, endHeaders|flags, stream, fields2(pairs...)) }
	}
	then := func(first func(*backend, rawH2, uint32), more ...func(*backend, rawH2, uint32)) func(*backend, rawH2, uint32) {
		return func(b *backend, c rawH2, stream uint32) {
			first(b, c, stream)
			for _, f := range more {
				f(b, c, stream)
			}
		}
	}
	data := func(flags byte, body string) func(*backend, rawH2, uint32) {
		return func(_ *backend, c rawH2, stream uint32) { c.frame(0, flags, stream, []byte(body)) }
	}
	for _, tc := range []struct {
		rule   string
		play   func(*backend, rawH2, uint32)
		status int // 0: the connection is cut
		reason gate.Reason
	}{
		{"a plain answer", then(head(0, ":status", "200", "content-length", "2"), data(endStream, "hi")), 200, ""},
		{"two lengths", then(head(0, ":status", "200", "content-length", "2", "content-length", "3"), data(endStream, "hi")), 502, gate.PoolBadAnswer},
		{"a length that is none", then(head(0, ":status", "200", "content-length", "0x2"), data(endStream, "hi")), 502, gate.PoolBadAnswer},
		{"connection", head(endStream, ":status", "200", "connection", "close"), 502, gate.PoolBadAnswer},
		{"transfer-encoding", then(head(0, ":status", "200", "transfer-encoding", "chunked"), data(endStream, "0\r\n\r\n")), 502, gate.PoolBadAnswer},
		{"upgrade", head(endStream, ":status", "200", "upgrade", "h2c"), 502, gate.PoolBadAnswer},
		{"a 101", head(endStream, ":status", "101"), 502, gate.PoolBadAnswer},
		{"no status", head(endStream, "server", "x"), 502, gate.PoolBadAnswer},
		{"an upper-case name", head(endStream, ":status", "200", "X-Odd", "1"), 502, gate.PoolBadAnswer},
		{"a line break in a value", head(endStream, ":status", "200", "x-odd", "1\r\nset-cookie: a=b"), 502, gate.PoolBadAnswer},
		{"less than declared", then(head(0, ":status", "200", "content-length", "5"), data(endStream, "hi")), 0, gate.PoolBroken},
		{"more than declared", then(head(0, ":status", "200", "content-length", "2"), data(endStream, "hi there")), 0, gate.PoolBroken},
		{"reset in the middle", then(head(0, ":status", "200"), data(0, "hi"), func(_ *backend, c rawH2, stream uint32) {
			c.frame(3, 0, stream, []byte{0, 0, 0, 2})
		}), 0, gate.PoolBroken},
		{"reset at once", func(_ *backend, c rawH2, stream uint32) { c.frame(3, 0, stream, []byte{0, 0, 0, 2}) }, 502, gate.PoolBadAnswer},
		{"the connection breaks", func(_ *backend, c rawH2, _ uint32) { _ = c.Close() }, 502, gate.PoolBadAnswer},
		{"a broken frame", func(_ *backend, c rawH2, _ uint32) { c.frame(8, 0, 0, []byte("odd")) }, 502, gate.PoolBadAnswer},
		{"a large head", func(_ *backend, c rawH2, stream uint32) {
			c.frame(1, 0, stream, fields2(":status", "200"))
			for range 100 {
				c.frame(9, 0, stream, fields2("x-large", strings.Repeat("x", 10000)))
			}
			c.frame(9, endHeaders, stream, fields2("x-large", "x"))
		}, 502, gate.PoolBadAnswer},
		{"endless interim answers", func(_ *backend, c rawH2, stream uint32) {
			for range 100 {
				c.frame(1, endHeaders, stream, fields2(":status", "102", "link", "</a>"))
			}
		}, 502, gate.PoolBadAnswer},
		{"no answer", func(*backend, rawH2, uint32) {}, 504, gate.PoolTimeout},
		{"a body on 204", then(head(0, ":status", "204"), data(endStream, "hi")), 204, ""},
	} {
		t.Run(tc.rule, func(t *testing.T) {
			b := scriptH2(t, nil, tc.play)
			g := h2cRig(b.addr)
			g.pool().Retry.Attempts = 1
			g.pool().Timeout.Header, g.pool().Timeout.Idle = 200*time.Millisecond, 200*time.Millisecond
			g.start(t)
			var a answer
			if raw := g.raw(t, getRaw); tc.status != 0 {
				a = read(t, bufio.NewReader(strings.NewReader(raw)), "GET")
			} else if strings.HasSuffix(raw, "\r\n0\r\n\r\n") || strings.Contains(raw, "hi there") {
				t.Errorf("the answer %q looks complete, want it cut off", raw)
			}
			rec := g.records.last(t, 1)
			if a.status != tc.status {
				t.Errorf("status %d, want %d (%s)", a.status, tc.status, rec.Detail)
			}
			if rec.Reason != tc.reason || b.requests.Load() != 1 || a.header.Get("Set-Cookie") != "" {
				t.Errorf("reason %q (%s) after %d requests, want %q; %v", rec.Reason, rec.Detail, b.requests.Load(), tc.reason, a.header)
			}
		})
	}
}

// TestRetriesOfHTTP2 shows that what the transport sends again by itself is in
// the record and in the budget.
func TestRetriesOfHTTP2(t *testing.T) {
	refuse := func(c rawH2, stream uint32) { c.frame(3, 0, stream, []byte{0, 0, 0, 7}) } // REFUSED_STREAM
	for _, tc := range []struct {
		rule     string
		attempts int
		refusals int64
		status   int
		seen     int64
	}{
		{"refused once, and sent again", 2, 1, 200, 2},
		{"refused once, with one attempt", 1, 1, 502, 1},
		{"refused for ever", 3, 99, 502, 3},
	} {
		t.Run(tc.rule, func(t *testing.T) {
			b := scriptH2(t, nil, func(b *backend, c rawH2, stream uint32) {
				if b.requests.Load() <= tc.refusals {
					refuse(c, stream)
					return
				}
				c.frame(1, endHeaders|endStream, stream, fields2(":status", "200"))
			})
			g := h2cRig(b.addr)
			g.pool().Retry.Attempts = tc.attempts
			g.start(t)
			a := g.ask(t, "POST / HTTP/1.1\nHost: shop.example.org\nContent-Length: 0\nConnection: close", "")
			rec := g.records.last(t, 1)
			// One that is called off may be on its way already.
			if seen := b.requests.Load(); a.status != tc.status || seen < tc.seen || seen > tc.seen+1 || rec.Pool.Attempts != int(tc.seen) {
				t.Errorf("status %d, %d attempts in the record, the backend saw %d; want %d, %d (%s)", a.status, rec.Pool.Attempts, seen, tc.status, tc.seen, rec.Detail)
			}
			if got := g.handler.Pools()[0]; got.Retries != uint64(tc.seen-1) {
				t.Errorf("%d retries counted, want %d", got.Retries, tc.seen-1)
			}
		})
	}
}

// TestDeadlineOfTheClient: a backend that keeps the time that a client gives it
// has not failed, or any client could have it ejected.
func TestDeadlineOfTheClient(t *testing.T) {
	b := scriptH2(t, nil, func(_ *backend, c rawH2, stream uint32) { c.frame(3, 0, stream, []byte{0, 0, 0, 8}) }) // CANCEL
	for _, tc := range []struct {
		field    string
		reason   gate.Reason
		failures uint64
	}{
		{"Grpc-Timeout: 1n", gate.PoolTimeout, 0},
		{"X-Other: 1", gate.PoolBadAnswer, 1},
	} {
		g := h2cRig(b.addr)
		g.pool().Retry.Attempts = 1
		g.start(t)
		a := g.ask(t, "POST / HTTP/1.1\nHost: shop.example.org\nContent-Length: 0\n"+tc.field, "")
		rec := g.records.last(t, 1)
		if got := g.handler.Pools()[0].Backends[0].Failures; a.status < 502 || rec.Reason != tc.reason || got != tc.failures {
			t.Errorf("%s: status %d, reason %s, %d failures; want %s, %d", tc.field, a.status, rec.Reason, got, tc.reason, tc.failures)
		}
	}
}

// TestBackendThatTakesNoBody: over HTTP/2 a backend can hold up a body without
// the connection noticing.
func TestBackendThatTakesNoBody(t *testing.T) {
	b := scriptH2(t, []byte{0, 4, 0, 0, 0, 0}, func(*backend, rawH2, uint32) {}) // SETTINGS_INITIAL_WINDOW_SIZE: 0
	g := h2cRig(b.addr)
	g.pool().Timeout.Header, g.pool().Timeout.Idle = time.Minute, 200*time.Millisecond
	g.start(t)
	a := g.ask(t, "POST / HTTP/1.1\nHost: shop.example.org\nContent-Length: 200000\nConnection: close", strings.Repeat("x", 200000))
	if rec := g.records.last(t, 1); a.status != 504 || rec.Reason != gate.PoolTimeout {
		t.Errorf("status %d, reason %s (%s)", a.status, rec.Reason, rec.Detail)
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

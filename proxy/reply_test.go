package proxy_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"sallyport/internal/gate"
)

// relayed returns the raw answer that a client gets for a raw answer of the
// backend.
func relayed(t *testing.T, set func(*rig), request, answer string) string {
	t.Helper()
	b := script(t, func(b *backend, c net.Conn, br *bufio.Reader) {
		if b.take(br) {
			_, _ = io.WriteString(c, strings.ReplaceAll(answer, "BACKEND", c.LocalAddr().String()))
		}
	})
	g := newRig(b.addr)
	if set != nil {
		set(g)
	}
	g.start(t)
	return g.raw(t, request)
}

const getRaw = "GET / HTTP/1.1\r\nHost: shop.example.org\r\nConnection: close\r\n\r\n"

func TestAnswerFields(t *testing.T) {
	const start = "HTTP/1.1 200 OK\r\n"
	const end = "Content-Length: 2\r\n\r\nhi"
	for _, tc := range []struct {
		rule, answer string
		want, never  []string
	}{
		{"what reveals nothing passes", "ETag: \"1\"\r\nX-App: a\r\nX-App: b\r\nServer-Timing: db;dur=1\r\n",
			[]string{"Etag: \"1\"\r\n", "X-App: a\r\n", "X-App: b\r\n", "Server-Timing: db;dur=1\r\n"}, []string{"Content-Type"}},
		{"software", "Server: nginx/1.22\r\nx-powered-by: PHP/5\r\nX-Powered-By-Plesk: PleskLin\r\nX-AspNet-Version: 4\r\nX-AspNetMvc-Version: 5\r\nX-Drupal-Cache: HIT\r\nLiferay-Portal: 7\r\n", nil,
			[]string{"nginx", "PHP", "Plesk", "Asp", "Drupal", "Liferay"}},
		{"hops", "Via: 1.1 varnish\r\nX-Served-By: web-3\r\nX-Backend-Server: BACKEND\r\nX-Upstream: web-3\r\nX-Cache-Hits: 1\r\nX-Varnish: 1 2\r\nX-Envoy-Upstream-Service-Time: 5\r\n", nil,
			[]string{"Via", "web-3", "127.0.0.1", "Cache", "Varnish", "Envoy"}},
		{"hop-by-hop fields, named ones too", "Connection: X-Hop, keep-alive\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\nUpgrade: h2c\r\n", nil,
			[]string{"X-Hop", "Keep-Alive", "Proxy-Auth", "Upgrade"}},
		{"the clock and the id are ours", "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\nX-Request-Id: theirs\r\n", []string{"Date: ", "X-Request-Id: "}, []string{"1970", "theirs"}},
		{"what the operator names", "X-Secret-Sauce: 1\r\nX-Sauce: 2\r\n", []string{"X-Sauce: 2"}, []string{"Secret"}},
		{"a redirect to ourselves", "Location: http://BACKEND/next?a=b\r\n", []string{"Location: http://shop.example.org/next?a=b\r\n"}, nil},
		{"a redirect elsewhere", "Location: https://other.example/BACKENDx\r\n", []string{"Location: https://other.example/shop.example.orgx\r\n"}, nil},
		{"links", "Link: <http://BACKEND/a>; rel=next, </b>; rel=prev\r\nRefresh: 5; url=http://BACKEND/\r\nContent-Location: //BACKEND/c\r\n",
			[]string{"Link: <http://shop.example.org/a>; rel=next, </b>; rel=prev\r\n", "Refresh: 5; url=http://shop.example.org/\r\n", "Content-Location: //shop.example.org/c\r\n"}, nil},
		{"cookies", "Set-Cookie: a=1; Path=/; Domain=127.0.0.1; HttpOnly\r\nSet-Cookie: BIGipServerpool=1677787402.20480.0000; path=/\r\nSet-Cookie: b=2\r\n",
			[]string{"Set-Cookie: a=1; Path=/; HttpOnly\r\n", "Set-Cookie: b=2\r\n"}, []string{"BIGip", "Domain"}},
	} {
		t.Run(tc.rule, func(t *testing.T) {
			got := relayed(t, func(g *rig) { g.cfg.MaskRemove = []string{"x-secret-sauce"} }, getRaw, start+tc.answer+end)
			head, body, _ := strings.Cut(got, "\r\n\r\n")
			head += "\r\n"
			if body != "hi" || !strings.HasPrefix(got, start) {
				t.Errorf("answer %q", got)
			}
			for _, w := range tc.want {
				if !strings.Contains(head, w) {
					t.Errorf("head %q, without %q", head, w)
				}
			}
			for _, n := range tc.never {
				if strings.Contains(head, n) {
					t.Errorf("head %q, with %q", head, n)
				}
			}
			if strings.Contains(head, "127.0.0.1") {
				t.Errorf("head %q reveals the backend", head)
			}
		})
	}
}

func TestErrorPages(t *testing.T) {
	const boom = "HTTP/1.1 503 Oh no\r\nRetry-After: 7\r\nX-App: leaky\r\nSet-Cookie: a=b\r\nContent-Length: 9\r\n\r\nTraceback"
	t.Run("uniform", func(t *testing.T) {
		got := relayed(t, nil, getRaw, boom)
		if !strings.HasPrefix(got, "HTTP/1.1 503 Service Unavailable\r\n") || !strings.Contains(got, "Retry-After: 7\r\n") || !strings.Contains(got, "X-Request-Id: ") {
			t.Errorf("answer %q", got)
		}
		if strings.Contains(got, "Traceback") || strings.Contains(got, "leaky") || strings.Contains(got, "Set-Cookie") {
			t.Errorf("answer %q reveals the backend", got)
		}
	})
	t.Run("pass", func(t *testing.T) {
		got := relayed(t, func(g *rig) { g.route().Route.MaskErrors = "pass" }, getRaw, boom)
		if !strings.HasPrefix(got, "HTTP/1.1 503 ") || !strings.HasSuffix(got, "\r\n\r\nTraceback") || !strings.Contains(got, "X-App: leaky") {
			t.Errorf("answer %q", got)
		}
	})
	t.Run("an error of the client's passes", func(t *testing.T) {
		if got := relayed(t, nil, getRaw, "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nours"); !strings.HasSuffix(got, "\r\n\r\nours") {
			t.Errorf("answer %q", got)
		}
	})
	t.Run("refused by the rules", func(t *testing.T) {
		got := relayed(t, func(g *rig) {
			g.waf.response = func(*http.Response) gate.Verdict { return gate.Refusal(gate.WAFOutboundScore, gate.Enforce, "") }
		}, getRaw, "HTTP/1.1 200 OK\r\nX-App: leaky\r\nContent-Length: 6\r\n\r\nsecret")
		if !strings.HasPrefix(got, "HTTP/1.1 403 ") || strings.Contains(got, "secret") || strings.Contains(got, "leaky") {
			t.Errorf("answer %q", got)
		}
	})
}

func TestRulesThatWaitForABody(t *testing.T) {
	b := saying(t, "HTTP/1.1 404 Not Found\r\nContent-Length: 10\r\n\r\nshort")
	g := newRig(b.addr)
	g.pool().Timeout.Idle = 100 * time.Millisecond
	g.waf.response = func(r *http.Response) gate.Verdict {
		if _, err := io.ReadAll(r.Body); err != nil {
			return gate.Failure(gate.WAFEngine, err)
		}
		return gate.Passes(gate.StageWAF)
	}
	g.start(t)
	if a := g.ask(t, get, ""); a.status != 504 {
		t.Errorf("status %d, want 504", a.status)
	}
	if rec := g.records.last(t, 1); rec.Reason != gate.PoolTimeout {
		t.Errorf("reason %s, want the backend's failure, not the rules'", rec.Reason)
	}
}

// TestRulesEndBeforeASlowAnswer counts transactions while the client still
// waits for the rest of its answer: one that the rules have done with must not
// cost what they hold.
func TestRulesEndBeforeASlowAnswer(t *testing.T) {
	for _, tc := range []struct {
		rule, request string
		hold          bool // the rules put a body of theirs in place
		open          int64
	}{
		{"no body", getRaw, false, 0},
		{"a body that was read", "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 2\r\n\r\nhi", false, 0},
		{"a body that is still coming", "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 9\r\n\r\nhi", false, 1},
		{"an answer that the rules still read", getRaw, true, 1},
	} {
		t.Run(tc.rule, func(t *testing.T) {
			rest := make(chan struct{})
			b := script(t, func(b *backend, c net.Conn, br *bufio.Reader) {
				if strings.HasSuffix(tc.request, "\r\n\r\n") && !b.take(br) {
					return
				}
				if body := strings.HasPrefix(tc.request, "POST"); body {
					for line := ""; line != "\r\n"; {
						line, _ = br.ReadString('\n')
					}
					_, _ = io.ReadFull(br, make([]byte, 2))
				}
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc")
				<-rest
				_, _ = io.WriteString(c, "def")
			})
			g := newRig(b.addr)
			g.waf.response = func(r *http.Response) gate.Verdict {
				if tc.hold {
					r.Body = io.NopCloser(r.Body)
				}
				return gate.Passes(gate.StageWAF)
			}
			g.start(t)
			c := g.dial(t)
			_, _ = io.WriteString(c, tc.request)
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(resp.Body, make([]byte, 3)); err != nil {
				t.Fatal(err)
			}
			if n := g.waf.open.Load(); n != tc.open {
				t.Errorf("%d transactions are open, want %d", n, tc.open)
			}
			close(rest)
			if b, err := io.ReadAll(resp.Body); string(b) != "def" || err != nil {
				t.Errorf("the rest is %q, %v", b, err)
			}
			g.records.last(t, 1)
			if n := g.waf.open.Load(); n != 0 {
				t.Errorf("%d transactions are left", n)
			}
		})
	}
}

func TestInterimAnswers(t *testing.T) {
	const answer = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" +
		"HTTP/1.1 103 Early Hints\r\nLink: <http://BACKEND/a.css>; rel=preload\r\nServer: leaky\r\nX-Backend: x\r\n\r\n" +
		"HTTP/1.1 200 OK\r\nServer: leaky\r\nContent-Length: 2\r\n\r\nhi"
	got := relayed(t, nil, getRaw, answer)
	if !strings.HasPrefix(got, "HTTP/1.1 103 Early Hints\r\nLink: <http://shop.example.org/a.css>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\n") {
		t.Errorf("answer %q, want masked hints, and no other interim answer", got)
	}
	_, final, _ := strings.Cut(got, "HTTP/1.1 200")
	if strings.Contains(got, "leaky") || strings.Contains(final, "Link") || !strings.HasSuffix(got, "\r\n\r\nhi") {
		t.Errorf("answer %q", got)
	}
	old := relayed(t, nil, "GET / HTTP/1.0\r\nHost: shop.example.org\r\n\r\n", answer)
	if !strings.HasPrefix(old, "HTTP/1.0 200 OK\r\n") && !strings.HasPrefix(old, "HTTP/1.1 200 OK\r\n") || strings.Contains(old, " 103 ") {
		t.Errorf("answer to HTTP/1.0: %q", old)
	}
}

func TestTrailers(t *testing.T) {
	const answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, X-Backend\r\n\r\n2\r\nhi\r\n0\r\n" +
		"X-Sum: 1\r\nX-Backend: BACKEND\r\nX-Late: 2\r\nServer: leaky\r\n\r\n"
	got := relayed(t, nil, getRaw, answer)
	head, body, _ := strings.Cut(got, "\r\n\r\n")
	if !strings.Contains(head, "Trailer: X-Sum\r\n") && !strings.HasSuffix(head, "Trailer: X-Sum") {
		t.Errorf("head %q does not announce what comes", head)
	}
	if !strings.Contains(body, "X-Sum: 1\r\n") || !strings.Contains(body, "X-Late: 2\r\n") || strings.Contains(got, "Backend") || strings.Contains(got, "leaky") {
		t.Errorf("body %q, want masked trailers", body)
	}
	old := relayed(t, nil, "GET / HTTP/1.0\r\nHost: a.example\r\n\r\n", answer)
	if !strings.HasSuffix(old, "\r\n\r\nhi") {
		t.Errorf("answer to HTTP/1.0: %q", old)
	}
}

func TestBodylessAnswers(t *testing.T) {
	for _, tc := range []struct{ rule, request, answer, want string }{
		{"HEAD keeps the length", strings.Replace(getRaw, "GET", "HEAD", 1), "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n", "Content-Length: 1234\r\n"},
		{"HEAD of an error", strings.Replace(getRaw, "GET", "HEAD", 1), "HTTP/1.1 500 Oh no\r\nContent-Length: 1234\r\n\r\n", "HTTP/1.1 500 "},
		{"304", getRaw, "HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\n\r\n", "Etag: \"1\"\r\n"},
		{"204", getRaw, "HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 204 "},
	} {
		got := relayed(t, nil, tc.request, tc.answer)
		if !strings.Contains(got, tc.want) || !strings.HasSuffix(got, "\r\n\r\n") || strings.Count(got, "\r\n\r\n") != 1 {
			t.Errorf("%s: answer %q, want %q and no body", tc.rule, got, tc.want)
		}
	}
}

func TestRangesPass(t *testing.T) {
	b := saying(t, "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 2-3/10\r\nContent-Length: 2\r\n\r\nhi")
	g := newRig(b.addr).start(t)
	a := g.ask(t, get+"\nRange: bytes=2-3\nIf-Range: \"1\"", "")
	if a.status != 206 || a.header.Get("Content-Range") != "bytes 2-3/10" || a.body != "hi" {
		t.Errorf("answer %d %v %q", a.status, a.header, a.body)
	}
	if raw := b.got(t); !strings.Contains(raw, "Range: bytes=2-3\r\n") || strings.Contains(raw, "Accept-Encoding") {
		t.Errorf("the backend received %q", raw)
	}
}

// TestStreamsAreFlushed has a backend that writes its next part only when the
// client has the one before.
func TestStreamsAreFlushed(t *testing.T) {
	for _, tc := range []struct{ rule, head, part string }{
		{"server-sent events", "Content-Type: text/event-stream\r\n\r\n", "data: x\n\n"},
		{"chunked", "Transfer-Encoding: chunked\r\n\r\n", "3\r\nabc\r\n"},
		{"a known length that trickles", "Content-Length: 1000\r\n\r\n", "abc"},
	} {
		t.Run(tc.rule, func(t *testing.T) {
			next := make(chan struct{})
			b := script(t, func(b *backend, c net.Conn, br *bufio.Reader) {
				if !b.take(br) {
					return
				}
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n"+tc.head)
				for range next {
					_, _ = io.WriteString(c, tc.part)
				}
			})
			g := newRig(b.addr).start(t)
			c := g.dial(t)
			_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
			br := bufio.NewReader(c)
			if strings.HasPrefix(tc.head, "Content-Length") {
				next <- struct{}{} // the head of a known length may wait for its body
			}
			resp, err := http.ReadResponse(br, nil)
			if err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, 100)
			for i := range 3 {
				if i > 0 || !strings.HasPrefix(tc.head, "Content-Length") {
					next <- struct{}{}
				}
				if n, err := resp.Body.Read(buf); n == 0 {
					t.Fatalf("part %d: %v", i, err)
				}
			}
			close(next)
		})
	}
}

func TestLargeDownloadAtConstantMemory(t *testing.T) {
	const size = 256 << 20
	b := script(t, func(b *backend, c net.Conn, br *bufio.Reader) {
		if !b.take(br) {
			return
		}
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", size)
		block := make([]byte, 1<<20)
		for range size >> 20 {
			if _, err := c.Write(block); err != nil {
				return
			}
		}
	})
	g := newRig(b.addr).start(t)
	c := g.dial(t)
	_, _ = io.WriteString(c, getRaw)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	n, _ := io.Copy(io.Discard, c)
	runtime.ReadMemStats(&after)
	if n < size {
		t.Errorf("%d bytes, want %d", n, size)
	}
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 8<<20 {
		t.Errorf("%d bytes were allocated on the way", grown)
	}
	if rec := g.records.last(t, 1); rec.Response.Bytes != size {
		t.Errorf("record says %d bytes", rec.Response.Bytes)
	}
}

func TestSlowReaderIsNotTheBackendsFault(t *testing.T) {
	const size = 8 << 20
	b := script(t, func(b *backend, c net.Conn, br *bufio.Reader) {
		if b.take(br) {
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", size)
			_, _ = c.Write(make([]byte, size))
		}
	})
	g := newRig(b.addr)
	g.pool().Timeout.Idle = 100 * time.Millisecond
	g.start(t)
	c := g.dial(t)
	_, _ = io.WriteString(c, getRaw)
	time.Sleep(300 * time.Millisecond) // a client that is busy with something else
	if n, _ := io.Copy(io.Discard, c); n < size {
		t.Errorf("%d bytes, want %d", n, size)
	}
	if rec := g.records.last(t, 1); rec.Action != "pass" {
		t.Errorf("record %s %s", rec.Action, rec.Reason)
	}
}

func TestClientThatStopsReading(t *testing.T) {
	g := newRig(saying(t, "HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n"+strings.Repeat("x", 10<<20)).addr).start(t)
	c := g.dial(t)
	_, _ = io.WriteString(c, getRaw)
	_, _ = bufio.NewReader(c).ReadString('\n')
	_ = c.Close()
	if rec := g.records.last(t, 1); rec.Reason != gate.PoolClientGone || rec.Response.Status != 200 {
		t.Errorf("record %s %d", rec.Reason, rec.Response.Status)
	}
}

// stuck is a client's connection that the guard has given up on.
type stuck struct {
	*httptest.ResponseRecorder
	err error
}

func (s stuck) Write([]byte) (int, error) { return 0, s.err }

func TestReaderThatIsTooSlow(t *testing.T) {
	g := newRig(saying(t, ok).addr).start(t)
	r := httptest.NewRequest(http.MethodGet, "/", nil).WithContext(gate.WithInbound(t.Context(), g.in))
	err := fmt.Errorf("write: %w", &gate.VerdictError{Verdict: gate.Refusal(gate.HTTPReaderTooSlow, gate.Enforce, "")})
	func() {
		defer func() {
			if p := recover(); p != http.ErrAbortHandler {
				t.Errorf("the handler ends with %v, want the connection cut", p)
			}
		}()
		g.handler.ServeHTTP(stuck{httptest.NewRecorder(), err}, r)
	}()
	if rec := g.records.last(t, 1); rec.Reason != gate.HTTPReaderTooSlow || rec.Action != "refuse" {
		t.Errorf("record %s %s", rec.Action, rec.Reason)
	}
}

// h2 serves HTTP/2 without TLS and returns a client for it.
func h2(t *testing.T, g *rig) *http.Client {
	t.Helper()
	g.protocol = func(s *http.Server) {
		s.Protocols = new(http.Protocols)
		s.Protocols.SetUnencryptedHTTP2(true)
	}
	g.start(t)
	tr := &http.Transport{Protocols: new(http.Protocols), DisableCompression: true}
	tr.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func TestHTTP2(t *testing.T) {
	ask := func(t *testing.T, cl *http.Client, g *rig, method, path string, body io.Reader) (*http.Response, string, error) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		t.Cleanup(cancel)
		r, err := http.NewRequestWithContext(ctx, method, "http://"+g.addr+path, body)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = "shop.example.org"
		resp, err := cl.Do(r)
		if err != nil {
			return nil, "", err
		}
		defer resp.Body.Close()
		all, err := io.ReadAll(resp.Body)
		return resp, string(all), err
	}
	t.Run("a request and its trailers", func(t *testing.T) {
		b := saying(t, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nServer: leaky\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 1\r\n\r\n")
		g := newRig(b.addr)
		cl := h2(t, g)
		resp, body, err := ask(t, cl, g, "POST", "/a?b", io.MultiReader(strings.NewReader("12345")))
		if err != nil || resp.StatusCode != 200 || body != "hi" || resp.Trailer.Get("X-Sum") != "1" || resp.Header.Get("Server") != "" {
			t.Fatalf("answer %+v %q %v", resp, body, err)
		}
		raw := b.got(t)
		if !strings.HasPrefix(raw, "POST /a?b HTTP/1.1\r\nHost: shop.example.org\r\n") || !strings.Contains(raw, "Content-Length: 5\r\n") || !strings.HasSuffix(raw, "\r\n\r\n12345") {
			t.Errorf("the backend received %q", raw)
		}
	})
	t.Run("a refusal does not end the connection", func(t *testing.T) {
		g := newRig(saying(t, ok).addr)
		g.in.change = func(r *http.Request, h *gate.Head) {
			if r.URL.Path == "/bad" {
				h.Rejection = &gate.Rejection{Reason: gate.HTTPTargetByte, Offset: -1}
			}
		}
		cl := h2(t, g)
		for _, path := range []string{"/bad", "/good", "/bad"} {
			resp, _, err := ask(t, cl, g, "GET", path, nil)
			if err != nil || (resp.StatusCode == 200) != (path == "/good") || resp.Header.Get("Connection") != "" {
				t.Fatalf("%s: %+v %v", path, resp, err)
			}
		}
	})
	t.Run("a body that turns out too long", func(t *testing.T) {
		g := newRig(saying(t, ok).addr)
		g.route().Route.MaxBody = 1000
		cl := h2(t, g)
		resp, _, err := ask(t, cl, g, "POST", "/", io.MultiReader(strings.NewReader(strings.Repeat("x", 100000))))
		if err != nil || resp.StatusCode != 413 {
			t.Fatalf("answer %+v %v", resp, err)
		}
	})
	t.Run("a body that is too slow", func(t *testing.T) {
		g := newRig(saying(t, ok).addr)
		g.cfg.BodyRate, g.cfg.BodyGrace = 1000, 100*time.Millisecond
		cl := h2(t, g)
		slow, end := io.Pipe()
		defer end.Close()
		resp, _, err := ask(t, cl, g, "POST", "/", slow)
		if err != nil || resp.StatusCode != 408 {
			t.Fatalf("answer %+v %v", resp, err)
		}
		if rec := g.records.last(t, 1); rec.Reason != gate.HTTPBodyTooSlow {
			t.Errorf("reason %s", rec.Reason)
		}
	})
	t.Run("an answer that breaks off", func(t *testing.T) {
		g := newRig(saying(t, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\nzz\r\n").addr)
		cl := h2(t, g)
		if _, body, err := ask(t, cl, g, "GET", "/", nil); err == nil {
			t.Errorf("the answer %q looks complete", body)
		}
		if rec := g.records.last(t, 1); rec.Reason != gate.PoolBroken {
			t.Errorf("reason %s", rec.Reason)
		}
	})
}

// A body that is there as a whole goes out together with its head.
func TestWholeAnswersGatherWithTheirHead(t *testing.T) {
	long := strings.Repeat("x", 40<<10)
	for _, tc := range []struct {
		rule, request, answer string
		want                  int64
	}{
		{"a short body", getRaw, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", 1},
		{"no body", getRaw, "HTTP/1.1 204 No Content\r\n\r\n", 0},
		{"nothing but a head", strings.Replace(getRaw, "GET", "HEAD", 1), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", 0},
		{"a body in parts", getRaw, "HTTP/1.1 200 OK\r\nContent-Length: 40960\r\n\r\n" + long, 0},
		{"a stream", getRaw, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", 0},
	} {
		t.Run(tc.rule, func(t *testing.T) {
			var in *inbound
			got := relayed(t, func(g *rig) { in = g.in }, tc.request, tc.answer)
			if !strings.HasPrefix(got, tc.answer[:len("HTTP/1.1 200")]) {
				t.Errorf("answer %.60q", got)
			}
			if n := in.gathered.Load(); n != tc.want || in.sent.Load() != n {
				t.Errorf("gathered %d times, sent %d times, want %d", n, in.sent.Load(), tc.want)
			}
		})
	}
}

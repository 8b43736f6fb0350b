package proxy_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"sallyport/internal/gate"
)

// fields makes the head carry exactly these field lines.
func fields(lines ...string) func(*http.Request, *gate.Head) {
	return func(_ *http.Request, h *gate.Head) {
		h.Fields = nil
		for _, l := range lines {
			name, value, _ := strings.Cut(l, ": ")
			h.Fields = append(h.Fields, gate.Field{Name: name, Value: value})
		}
	}
}

// sent sends a request whose head has the field lines and returns the field
// lines that the backend received, without X-Request-Id, sorted behind the first.
func sent(t *testing.T, set func(*rig), lines ...string) []string {
	t.Helper()
	b := saying(t, ok)
	g := newRig(b.addr)
	g.in.change = fields(lines...)
	if set != nil {
		set(g)
	}
	g.start(t)
	if a := g.ask(t, get, ""); a.status != 200 {
		t.Fatalf("status %d", a.status)
	}
	head, _, _ := strings.Cut(b.got(t), "\r\n\r\n")
	var out []string
	for _, l := range strings.Split(head, "\r\n")[1:] {
		if !strings.HasPrefix(l, "X-Request-Id: ") {
			out = append(out, l)
		}
	}
	slices.Sort(out[1:])
	return out
}

func TestFieldsForBackend(t *testing.T) {
	const host = "Host: shop.example.org"
	added := []string{"X-Forwarded-For: 192.0.2.7", "X-Forwarded-Host: shop.example.org", "X-Forwarded-Port: 80", "X-Forwarded-Proto: http", "X-Real-Ip: 192.0.2.7"}
	trustingBy := func(field, client string) func(*rig) {
		return func(g *rig) {
			g.in.peer = netip.MustParseAddrPort("10.0.0.5:1")
			g.stages.Client = checker(func(req *gate.Request) gate.Verdict {
				req.Trusted, req.Client, req.ChosenBy = true, netip.MustParseAddr(client), field
				return gate.Passes(gate.StageClient)
			})
		}
	}
	trusting := func(client string) func(*rig) { return trustingBy("X-Forwarded-For", client) }
	naming := func(field string, also func(*rig)) func(*rig) {
		return func(g *rig) {
			g.cfg.ClientHeader = field
			if also != nil {
				also(g)
			}
		}
	}
	for _, tc := range []struct {
		rule string
		set  func(*rig)
		in   []string
		want []string // beside host; added stands for the five above
	}{
		{"nothing is added but what the backend must know", nil, []string{host}, []string{"added"}},
		{"names keep the client's spelling", nil, []string{"hOST: shop.example.org", "x-lower: 1", "X-UPPER: 2"}, []string{"added", "X-UPPER: 2", "x-lower: 1"}},
		{"each line of a name, too", nil, []string{host, "x-a: 1", "X-A: 2", "x-a: 3"}, []string{"added", "x-a: 1", "X-A: 2", "x-a: 3"}},
		{"the client's own User-Agent", nil, []string{host, "User-Agent: ua"}, []string{"User-Agent: ua", "added"}},
		{"a User-Agent in another spelling", nil, []string{host, "user-agent: ua"}, []string{"added", "user-agent: ua"}},
		{"two User-Agents", nil, []string{host, "User-Agent: a", "User-Agent: b"}, []string{"added", "User-Agent: a", "User-Agent: b"}},
		{"an empty User-Agent", nil, []string{host, "User-Agent: "}, []string{"added", "User-Agent: "}},
		{"an empty value is a value", nil, []string{host, "X-Empty: "}, []string{"X-Empty: ", "added"}},
		{"hop-by-hop fields end here", nil, []string{host, "Connection: keep-alive, X-Hop", "X-Hop: 1", "Keep-Alive: 5", "TE: trailers", "trailer: x",
			"Proxy-Connection: close", "Proxy-Authorization: Basic x", "upgrade: h2c", "HTTP2-Settings: x"}, []string{"added"}},
		{"the framing and expectation are ours", nil, []string{host, "expect: 100-continue", "content-length: 0", "transfer-encoding: x"}, []string{"added"}},
		{"Proxy becomes HTTP_PROXY elsewhere", nil, []string{host, "proxy: http://evil.example"}, []string{"added"}},
		{"gRPC keeps its trailers", nil, []string{host, "te: trailers", "content-type: application/grpc"}, []string{"Te: trailers", "added", "content-type: application/grpc"}},
		{"nobody else can say who the client is", nil, []string{host, "X-Forwarded-For: 1.2.3.4", "x-forwarded-proto: https", "X-Forwarded-Host: evil", "X-Forwarded-Port: 1", "X-Forwarded-Prefix: /x",
			"Forwarded: for=1.2.3.4", "X-Real-IP: 1.2.3.4", "X-Request-ID: x", "CF-Connecting-IP: 1.2.3.4", "True-Client-IP: 1.2.3.4", "X-Original-URL: /admin", "Client-Cert: :x:",
			"X-Forwarded: for=1.2.3.4", "Front-End-Https: on", "X-Url-Scheme: https", "X-SSL-Cert: x", "X-ARR-ClientCert: x", "X-Amzn-Mtls-Clientcert: x", "Remote-User: admin"}, []string{"added"}},
		{"nor by the names that application servers look for", nil, []string{host, "Proxy-Client-IP: 1.2.3.4", "WL-Proxy-Client-IP: 1.2.3.4", "HTTP_X_FORWARDED_FOR: 1.2.3.4", "HTTP_CLIENT_IP: 1.2.3.4", "X-Envoy-External-Address: 1.2.3.4",
			"CloudFront-Viewer-Country: NL", "X-AppEngine-Country: NL", "X-MS-CLIENT-PRINCIPAL-NAME: admin", "X-ARR-SSL: x"}, []string{"added"}},
		{"nor with other marks for dashes", nil, []string{host, "X.Forwarded.For: 1.2.3.4", "X!Real~Ip: 1.2.3.4", "Transfer.Encoding: chunked", "X.Own: 1"}, []string{"added", "X.Own: 1"}},
		{"nor with underscores for dashes", nil, []string{host, "X_Azure_ClientIP: 1.2.3.4", "Client_Cert: :x:", "x_forwarded_for: 1.2.3.4", "X_Request-Id: x", "X_Own: 1"}, []string{"added", "X_Own: 1"}},
		{"nor in the field that is configured to", naming("x-edge-client", nil), []string{host, "X-Edge-Client: 1.2.3.4", "X_EDGE_CLIENT: 1.2.3.4", "X-Edge-Clients: 1"}, []string{"X-Edge-Clients: 1", "added"}},
		{"a trusted proxy can in that field, and a client cannot have it removed", naming("x-edge-client", trustingBy("x-edge-client", "203.0.113.9")), []string{host, "Connection: X-Edge-Client", "X-Edge-Client: 203.0.113.9"},
			[]string{"X-Edge-Client: 203.0.113.9", "X-Forwarded-For: 203.0.113.9, 10.0.0.5", "X-Forwarded-Host: shop.example.org", "X-Forwarded-Port: 80", "X-Forwarded-Proto: http", "X-Real-Ip: 203.0.113.9"}},
		{"a trusted proxy can", trusting("203.0.113.9"), []string{host, "X-Forwarded-For: 6.6.6.6, 203.0.113.9", "X-Forwarded-Proto: https", "X-Forwarded-Host: www.example.org", "X-Forwarded-Prefix: /x", "CF-Connecting-IP: 203.0.113.9", "Forwarded: for=x"},
			[]string{"CF-Connecting-IP: 203.0.113.9", "X-Forwarded-For: 203.0.113.9, 10.0.0.5", "X-Forwarded-Host: www.example.org", "X-Forwarded-Port: 443", "X-Forwarded-Prefix: /x", "X-Forwarded-Proto: https", "X-Real-Ip: 203.0.113.9"}},
		{"trusted hops are passed on, the client's own talk is not", trusting("203.0.113.9"), []string{host, "X-Forwarded-For: 6.6.6.6", "X-Forwarded-For: 203.0.113.9:99, [2001:db8::1]", "X-Forwarded-Port: 8443"},
			[]string{"X-Forwarded-For: 203.0.113.9, 2001:db8::1, 10.0.0.5", "X-Forwarded-Host: shop.example.org", "X-Forwarded-Port: 8443", "X-Forwarded-Proto: http", "X-Real-Ip: 203.0.113.9"}},
		{"a hop in a field that did not name the client may be the client's own talk", trustingBy("CF-Connecting-IP", "203.0.113.9"), []string{host, "CF-Connecting-IP: 203.0.113.9", "X-Forwarded-For: 203.0.113.9, 6.6.6.6"},
			[]string{"CF-Connecting-IP: 203.0.113.9", "X-Forwarded-For: 203.0.113.9, 10.0.0.5", "X-Forwarded-Host: shop.example.org", "X-Forwarded-Port: 80", "X-Forwarded-Proto: http", "X-Real-Ip: 203.0.113.9"}},
		{"a trusted proxy that asks for itself", trusting("10.0.0.5"), []string{host},
			[]string{"X-Forwarded-For: 10.0.0.5", "X-Forwarded-Host: shop.example.org", "X-Forwarded-Port: 80", "X-Forwarded-Proto: http", "X-Real-Ip: 10.0.0.5"}},
		{"of two lines one was not written by the proxy", trusting("203.0.113.9"), []string{host, "X-Forwarded-Proto: https", "X-Forwarded-Proto: http", "X-Forwarded-Host: evil.example", "x-forwarded-host: www.example.org", "X-Forwarded-Port: 1", "X-Forwarded-Port: 2"},
			[]string{"X-Forwarded-For: 203.0.113.9, 10.0.0.5", "X-Forwarded-Host: shop.example.org", "X-Forwarded-Port: 80", "X-Forwarded-Proto: http", "X-Real-Ip: 203.0.113.9"}},
		{"nonsense of a trusted proxy is not passed on", trusting("203.0.113.9"), []string{host, "X-Forwarded-Proto: gopher", "X-Forwarded-Host: a/b", "X-Forwarded-Port: x"},
			[]string{"X-Forwarded-For: 203.0.113.9, 10.0.0.5", "X-Forwarded-Host: shop.example.org", "X-Forwarded-Port: 80", "X-Forwarded-Proto: http", "X-Real-Ip: 203.0.113.9"}},
		{"IPv6 without zone", func(g *rig) { g.in.peer = netip.MustParseAddrPort("[fe80::1%eth0]:1") }, []string{host},
			[]string{"X-Forwarded-For: fe80::1", "X-Forwarded-Host: shop.example.org", "X-Forwarded-Port: 80", "X-Forwarded-Proto: http", "X-Real-Ip: fe80::1"}},
	} {
		t.Run(tc.rule, func(t *testing.T) {
			want := []string{host}
			for _, l := range tc.want {
				if l == "added" {
					want = append(want, added...)
				} else {
					want = append(want, l)
				}
			}
			slices.Sort(want[1:])
			if got := sent(t, tc.set, tc.in...); strings.Join(got, "\n") != strings.Join(want, "\n") {
				t.Errorf("the backend received\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}

// The client's lines come in its order, and ours behind them.
func TestFieldsKeepTheirOrder(t *testing.T) {
	b := saying(t, ok)
	g := newRig(b.addr)
	g.in.change = fields("Host: shop.example.org", "x-b: 1", "Accept: a", "X-B: 2", "Connection: close", "Cookie: c", "a: z")
	g.start(t)
	g.ask(t, get, "")
	id := g.records.last(t, 1).ID
	head, _, _ := strings.Cut(b.got(t), "\r\n\r\n")
	want := []string{
		"GET / HTTP/1.1", "Host: shop.example.org", "x-b: 1", "Accept: a", "X-B: 2", "Cookie: c", "a: z", "X-Forwarded-For: 192.0.2.7", "X-Real-Ip: 192.0.2.7",
		"X-Request-Id: " + id, "X-Forwarded-Proto: http", "X-Forwarded-Port: 80", "X-Forwarded-Host: shop.example.org",
	}
	if head != strings.Join(want, "\r\n") {
		t.Errorf("the backend received\n%s\nwant\n%s", head, strings.Join(want, "\n"))
	}
}

// TestMaxForwards: RFC 9110 section 7.6.2.
func TestMaxForwards(t *testing.T) {
	for _, tc := range []struct {
		rule, method, field string
		status              int
		want                string // at the backend
	}{
		{"one hop is gone", "OPTIONS", "Max-Forwards: 5", 200, "Max-Forwards: 4"},
		{"the last hop is the backend", "OPTIONS", "max-forwards: 1", 200, "max-forwards: 0"},
		{"the gateway is the last hop", "OPTIONS", "Max-Forwards: 0", 405, ""},
		{"what is no number is no limit", "OPTIONS", "Max-Forwards: x", 200, "Max-Forwards: x"},
		{"a number that is too large is no limit", "OPTIONS", "Max-Forwards: 99999999999999999999", 200, "Max-Forwards: 99999999999999999999"},
		{"nor is an empty one", "OPTIONS", "Max-Forwards: ", 200, "Max-Forwards: "},
		{"other methods do not count", "GET", "Max-Forwards: 0", 200, "Max-Forwards: 0"},
	} {
		t.Run(tc.rule, func(t *testing.T) {
			b := saying(t, ok)
			g := newRig(b.addr)
			g.in.change = fields("Host: shop.example.org", tc.field)
			g.start(t)
			a := g.ask(t, strings.Replace(get, "GET", tc.method, 1), "")
			if a.status != tc.status {
				t.Fatalf("status %d, want %d", a.status, tc.status)
			}
			if tc.want == "" {
				if a.header.Get("Allow") == "" {
					t.Error("the answer does not say what is allowed")
				}
				b.none(t, tc.rule)
			} else if got := b.got(t); !strings.Contains(got, "\r\n"+tc.want+"\r\n") {
				t.Errorf("the backend received %q, want %q in it", got, tc.want)
			}
		})
	}
}

// TestSchemeOfTheTarget: RFC 9110 section 7.4.
func TestSchemeOfTheTarget(t *testing.T) {
	for _, tc := range []struct {
		rule, received string
		trusted        bool
		status         int
	}{
		{"https over a connection that is not encrypted", "https://shop.example.org/", false, 400},
		{"in whatever letter case", "HTTPS://shop.example.org/", false, 400},
		{"a trusted proxy may have decrypted it", "https://shop.example.org/", true, 200},
		{"http", "http://shop.example.org/", false, 200},
		{"a path that begins like a scheme", "/https:", false, 200},
	} {
		t.Run(tc.rule, func(t *testing.T) {
			b := saying(t, ok)
			g := newRig(b.addr)
			g.in.change = func(_ *http.Request, h *gate.Head) { h.Received = tc.received }
			g.stages.Client = checker(func(req *gate.Request) gate.Verdict {
				req.Trusted = tc.trusted
				return gate.Passes(gate.StageClient)
			})
			g.start(t)
			if a := g.ask(t, get, ""); a.status != tc.status {
				t.Fatalf("status %d, want %d", a.status, tc.status)
			}
			if tc.status == 400 {
				if rec := g.records.last(t, 1); rec.Reason != gate.HTTPTargetForm {
					t.Errorf("reason %s", rec.Reason)
				}
				b.none(t, tc.rule)
			}
		})
	}
}

func TestTargetsByteForByte(t *testing.T) {
	for _, target := range []string{
		"/", "/?", "/a?b", "/a?b=c&d;e=%zz|{}[]^", "/a|b{}^`\"<>", "/a//b/../c", "//", "//a/b?c", "//a;b=1/%2F%41?", "//[x]/:@!$&'()*+,=",
		"/%zz", "/%", "/a%2Fb%2fc%00", "/a;jsessionid=1", "/~user", "/a?b?c", "/http://other.example/", "*", "/:80", "/a#b",
	} {
		t.Run(target, func(t *testing.T) {
			b := script(t, func(b *backend, c net.Conn, br *bufio.Reader) {
				line, _ := br.ReadString('\n') // which need not be one that net/http can read
				b.seen <- strings.TrimSuffix(line, "\r\n")
				_, _ = io.WriteString(c, ok)
				_, _ = io.Copy(io.Discard, br)
			})
			g := newRig(b.addr)
			method := "GET"
			if target == "*" {
				method = "OPTIONS"
			}
			g.in.change = func(_ *http.Request, h *gate.Head) { h.Target, h.Received, h.Method = target, target, method }
			g.start(t)
			if a := g.ask(t, get, ""); a.status != 200 {
				t.Fatalf("status %d", a.status)
			}
			if line, want := b.got(t), method+" "+target+" HTTP/1.1"; line != want {
				t.Errorf("the backend received %q, want %q", line, want)
			}
		})
	}
	for _, target := range []string{"//a|b", "//a%zz", "//a\"b", ""} {
		t.Run("refused: "+target, func(t *testing.T) {
			b := saying(t, ok)
			g := newRig(b.addr)
			g.in.change = func(_ *http.Request, h *gate.Head) { h.Target = target }
			g.start(t)
			if a := g.ask(t, get, ""); a.status != 400 {
				t.Errorf("status %d, want 400", a.status)
			}
			b.none(t, "a target that would be changed")
		})
	}
}

func TestFraming(t *testing.T) {
	for _, tc := range []struct{ rule, head, body, want string }{
		{"a length stays a length", "POST / HTTP/1.1\nHost: a.example\nContent-Length: 5", "12345", "Content-Length: 5|12345"},
		{"no body", "GET / HTTP/1.1\nHost: a.example", "", "|"},
		{"an empty body of a POST", "POST / HTTP/1.1\nHost: a.example\nContent-Length: 0", "", "Content-Length: 0|"},
		{"chunks that are whole have a length", "POST / HTTP/1.1\nHost: a.example\nTransfer-Encoding: chunked", "2;x=y\r\n12\r\n3\r\n345\r\n0\r\nX-T: 1\r\n\r\n", "Content-Length: 5|12345"},
		{"chunks that hold nothing", "POST / HTTP/1.1\nHost: a.example\nTransfer-Encoding: chunked", "0\r\n\r\n", "Content-Length: 0|"},
		{"chunks that hold nothing where no body is usual", "DELETE / HTTP/1.1\nHost: a.example\nTransfer-Encoding: chunked", "0\r\n\r\n", "|"},
		{"more chunks than are held are framed anew", "POST / HTTP/1.1\nHost: a.example\nTransfer-Encoding: chunked",
			"2;x=y\r\n12\r\n11170\r\n" + strings.Repeat("x", 70000) + "\r\n0\r\nX-T: 1\r\n\r\n", "Transfer-Encoding: chunked|"},
		{"what came in turns is framed anew", "POST / HTTP/1.1\nHost: a.example\nContent-Type: application/grpc\nTransfer-Encoding: chunked", "1\r\n1\r\n0\r\n\r\n", "Transfer-Encoding: chunked|"},
		{"a body where none is usual", "DELETE / HTTP/1.1\nHost: a.example\nTransfer-Encoding: chunked", "1\r\n1\r\n0\r\n\r\n", "Content-Length: 1|1"},
	} {
		t.Run(tc.rule, func(t *testing.T) {
			b := saying(t, ok)
			g := newRig(b.addr).start(t)
			if a := g.ask(t, tc.head, tc.body); a.status != 200 {
				t.Fatalf("status %d", a.status)
			}
			raw := b.got(t)
			head, body, _ := strings.Cut(raw, "\r\n\r\n")
			framing := ""
			for l := range strings.SplitSeq(head, "\r\n") {
				if strings.HasPrefix(l, "Content-Length") || strings.HasPrefix(l, "Transfer-Encoding") {
					framing += l
				}
			}
			want, wantBody, _ := strings.Cut(tc.want, "|")
			if framing != want || wantBody != "" && body != wantBody {
				t.Errorf("the backend received %q", raw)
			}
			if strings.Contains(raw, "x=y") || strings.Contains(raw, "X-T") {
				t.Errorf("extensions and trailers go on: %q", raw)
			}
		})
	}
}

// failing is what a stage leaves of a body that breaks after some bytes.
type failing struct {
	bytes int
	err   error
}

func (f *failing) Read(p []byte) (int, error) {
	if f.bytes == 0 {
		return 0, f.err
	}
	n := min(f.bytes, len(p))
	f.bytes -= n
	return n, nil
}

func (f *failing) Close() error { return nil }

func TestBrokenBodies(t *testing.T) {
	for _, tc := range []struct {
		rule   string
		err    error
		status int
		reason gate.Reason
	}{
		{"broken framing", &gate.VerdictError{Verdict: gate.Refusal(gate.HTTPChunkSize, gate.Enforce, "")}, 400, gate.HTTPChunkSize},
		{"refused while it streams", fmt.Errorf("wrapped: %w", &gate.VerdictError{Verdict: gate.Refusal(gate.WAFRule, gate.Enforce, "")}), 403, gate.WAFRule},
	} {
		t.Run(tc.rule, func(t *testing.T) {
			complete := make(chan bool, 1)
			b := script(t, func(_ *backend, c net.Conn, br *bufio.Reader) {
				var raw bytes.Buffer
				br = bufio.NewReader(io.TeeReader(br, &raw))
				r, err := http.ReadRequest(br)
				if err == nil {
					_, err = io.Copy(io.Discard, r.Body)
				}
				complete <- err == nil || strings.HasSuffix(raw.String(), "0\r\n\r\n")
			})
			g := newRig(b.addr)
			g.waf.request = func(req *gate.Request) gate.Verdict {
				req.HTTP.Body = &failing{70000, tc.err}
				return gate.Passes(gate.StageWAF)
			}
			g.start(t)
			a := g.ask(t, "POST / HTTP/1.1\nHost: a.example\nTransfer-Encoding: chunked", "0\r\n\r\n")
			if a.status != tc.status || !a.close {
				t.Errorf("status %d, close %v, want %d and the end of the connection", a.status, a.close, tc.status)
			}
			if <-complete {
				t.Error("the backend took the body for complete")
			}
			if rec := g.records.last(t, 1); rec.Reason != tc.reason {
				t.Errorf("reason %s, want %s", rec.Reason, tc.reason)
			}
		})
	}
	t.Run("within what is held, no backend hears of it", func(t *testing.T) {
		b := saying(t, ok)
		g := newRig(b.addr)
		g.waf.request = func(req *gate.Request) gate.Verdict {
			req.HTTP.Body = &failing{60000, &gate.VerdictError{Verdict: gate.Refusal(gate.HTTPChunkSize, gate.Enforce, "")}}
			return gate.Passes(gate.StageWAF)
		}
		g.start(t)
		if a := g.ask(t, "POST / HTTP/1.1\nHost: a.example\nTransfer-Encoding: chunked", "0\r\n\r\n"); a.status != 400 || !a.close {
			t.Errorf("status %d, close %v", a.status, a.close)
		}
		if rec := g.records.last(t, 1); rec.Reason != gate.HTTPChunkSize || rec.Pool != nil {
			t.Errorf("reason %s, pool %v", rec.Reason, rec.Pool)
		}
		b.none(t, "a body that breaks")
	})
	t.Run("a panic while it streams", func(t *testing.T) {
		g := newRig(saying(t, ok).addr)
		g.waf.request = func(req *gate.Request) gate.Verdict {
			req.HTTP.Body = &explosive{io.NopCloser(strings.NewReader("x"))}
			return gate.Passes(gate.StageWAF)
		}
		g.start(t)
		if a := g.ask(t, "POST / HTTP/1.1\nHost: a.example\nTransfer-Encoding: chunked", "0\r\n\r\n"); a.status != 500 {
			t.Errorf("status %d, want 500", a.status)
		}
		if rec := g.records.last(t, 1); rec.Reason != gate.GatewayPanic {
			t.Errorf("reason %s", rec.Reason)
		}
	})
	t.Run("a client that goes away in the middle", func(t *testing.T) {
		g := newRig(saying(t, ok).addr).start(t)
		c := g.dial(t)
		if _, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 10\r\n\r\n12345"); err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
		if rec := g.records.last(t, 1); rec.Reason != gate.PoolClientGone || rec.Status != 499 || rec.Response.Status != 0 {
			t.Errorf("record %s %d", rec.Reason, rec.Status)
		}
	})
}

// TestRefusalsAreNoErrorsOfOurs: a client must not be able to fill the
// operational log.
func TestRefusalsAreNoErrorsOfOurs(t *testing.T) {
	refusal := gate.Refusal(gate.HTTPBodyCut, gate.Enforce, "")
	refusal.Err = errors.New("connection reset")
	for _, tc := range []struct {
		rule    string
		verdict gate.Verdict
		lines   int
	}{
		{"a body that the client breaks off", refusal, 0},
		{"a stage that fails", gate.Failure(gate.WAFEngine, errors.New("engine")), 1},
	} {
		core, logged := observer.New(zap.ErrorLevel)
		g := newRig(saying(t, ok).addr)
		g.log = zap.New(core)
		g.waf.request = func(*gate.Request) gate.Verdict { return tc.verdict }
		g.start(t)
		g.ask(t, get, "")
		g.records.last(t, 1)
		if got := logged.Len(); got != tc.lines {
			t.Errorf("%s: %d lines, want %d", tc.rule, got, tc.lines)
		}
	}
}

func TestSlowBody(t *testing.T) {
	b := saying(t, ok)
	g := newRig(b.addr)
	g.cfg.BodyRate, g.cfg.BodyGrace = 1000, 100*time.Millisecond
	g.start(t)
	a := g.ask(t, "POST / HTTP/1.1\nHost: a.example\nContent-Length: 10", "12345")
	if a.status != 408 || !a.close {
		t.Errorf("status %d, close %v, want 408 and the end of the connection", a.status, a.close)
	}
	if rec := g.records.last(t, 1); rec.Reason != gate.HTTPBodyTooSlow || rec.Request.Bytes != 5 {
		t.Errorf("record %s after %d bytes", rec.Reason, rec.Request.Bytes)
	}
	if n := b.requests.Load(); n != 0 {
		t.Errorf("the backend saw %d whole requests", n)
	}
}

func TestSlowBackendIsNotTheClientsFault(t *testing.T) {
	const size = 8 << 20 // more than the sockets in between hold
	b := script(t, func(b *backend, c net.Conn, br *bufio.Reader) {
		r, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		time.Sleep(400 * time.Millisecond) // four times what the client may take
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n%08d", n)
	})
	g := newRig(b.addr)
	g.cfg.BodyRate, g.cfg.BodyGrace = 1<<30, 100*time.Millisecond
	g.route().Route.MaxBody = size
	g.start(t)
	a := g.ask(t, fmt.Sprintf("POST / HTTP/1.1\nHost: a.example\nContent-Length: %d", size), strings.Repeat("x", size))
	if a.status != 200 || a.body != fmt.Sprintf("%08d", size) {
		t.Errorf("answer %d %q", a.status, a.body)
	}
}

func TestRefusalReachesAnEagerClient(t *testing.T) {
	g := newRig("192.0.2.1:1")
	g.stages.Geo = checker(func(*gate.Request) gate.Verdict { return gate.Refusal(gate.GeoCountry, gate.Enforce, "") })
	g.start(t)
	for range 20 {
		a := g.ask(t, "POST / HTTP/1.1\nHost: a.example\nContent-Length: 200000", strings.Repeat("x", 200000))
		if a.status != 403 || a.err != nil || !a.close {
			t.Fatalf("answer %d, close %v, %v", a.status, a.close, a.err)
		}
	}
}

func TestExpectContinue(t *testing.T) {
	const head = "POST / HTTP/1.1\r\nHost: a.example\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
	t.Run("answered by us when the body is wanted", func(t *testing.T) {
		b := saying(t, ok)
		g := newRig(b.addr).start(t)
		c := g.dial(t)
		_, _ = io.WriteString(c, head)
		br := bufio.NewReader(c)
		if line, _ := br.ReadString('\n'); line != "HTTP/1.1 100 Continue\r\n" {
			t.Fatalf("first line %q", line)
		}
		_, _ = br.ReadString('\n')
		_, _ = io.WriteString(c, "12345")
		if a := read(t, br, "POST"); a.status != 200 || a.close {
			t.Errorf("status %d, close %v", a.status, a.close)
		}
		if raw := b.got(t); strings.Contains(raw, "Expect") || !strings.HasSuffix(raw, "12345") {
			t.Errorf("the backend received %q", raw)
		}
	})
	t.Run("not when it is refused", func(t *testing.T) {
		g := newRig(saying(t, ok).addr)
		g.stages.Limit = checker(func(*gate.Request) gate.Verdict { return gate.Refusal(gate.LimitOverBudget, gate.Enforce, "") })
		g.start(t)
		if a := g.ask(t, strings.TrimSuffix(strings.ReplaceAll(head, "\r\n", "\n"), "\n\n"), ""); a.status != 429 || !a.close {
			t.Errorf("status %d, close %v", a.status, a.close)
		}
	})
}

func TestHTTP10WithoutHost(t *testing.T) {
	b := saying(t, "HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: /next\r\n\r\n")
	g := newRig(b.addr).start(t)
	got := g.raw(t, "GET / HTTP/1.0\r\n\r\n")
	if !strings.Contains(got, " 302 ") || !strings.Contains(got, "Location: /next\r\n") {
		t.Errorf("answer %q", got)
	}
	if raw := b.got(t); strings.Contains(raw, "X-Forwarded-Host") {
		t.Errorf("the backend received %q", raw)
	}
}

func TestEarlyAnswer(t *testing.T) {
	b := script(t, func(_ *backend, c net.Conn, br *bufio.Reader) {
		if _, err := br.ReadString('\n'); err != nil {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno")
		_, _ = io.Copy(io.Discard, br)
	})
	g := newRig(b.addr).start(t)
	a := g.ask(t, "POST / HTTP/1.1\nHost: a.example\nContent-Length: 100000", "the rest never comes")
	if a.status != 401 || a.body != "no" || !a.close {
		t.Errorf("answer %d %q, close %v, want the backend's at once, and the end of the connection", a.status, a.body, a.close)
	}
}

func TestBackendFailures(t *testing.T) {
	hang := func(_ *backend, _ net.Conn, br *bufio.Reader) { _, _ = io.Copy(io.Discard, br) }
	say := func(what string) func(*backend, net.Conn, *bufio.Reader) {
		return func(b *backend, c net.Conn, br *bufio.Reader) {
			if b.take(br) {
				_, _ = io.WriteString(c, what)
			}
		}
	}
	for _, tc := range []struct {
		rule   string
		play   func(*backend, net.Conn, *bufio.Reader)
		status int // 0: the connection is cut
		reason gate.Reason
	}{
		{"nobody listens", nil, 502, gate.PoolConnect},
		{"closed without a word", say(""), 502, gate.PoolBadAnswer},
		{"garbage", say("SSH-2.0-OpenSSH\r\n"), 502, gate.PoolBadAnswer},
		{"half a head", say("HTTP/1.1 200 OK\r\nContent-Le"), 502, gate.PoolBadAnswer},
		{"two lengths", say("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nhi"), 502, gate.PoolBadAnswer},
		{"a status that is none", say("HTTP/1.1 099 Odd\r\nContent-Length: 0\r\n\r\n"), 502, gate.PoolBadAnswer},
		{"a status beyond all", say("HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n"), 502, gate.PoolBadAnswer},
		{"an endless head", func(b *backend, c net.Conn, br *bufio.Reader) {
			if b.take(br) {
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n")
				for range 10000 {
					if _, err := io.WriteString(c, "X-Endless: "+strings.Repeat("x", 1000)+"\r\n"); err != nil {
						return
					}
				}
			}
		}, 502, gate.PoolBadAnswer},
		{"endless interim answers", func(b *backend, c net.Conn, br *bufio.Reader) {
			if b.take(br) {
				for range 10000 {
					if _, err := io.WriteString(c, "HTTP/1.1 102 Processing\r\n\r\n"); err != nil {
						return
					}
				}
			}
		}, 502, gate.PoolBadAnswer},
		{"a 101 that nobody asked for", say("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"), 502, gate.PoolBadAnswer},
		{"no head in time", hang, 504, gate.PoolTimeout},
		{"a body that is shorter than declared", say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort"), 0, gate.PoolBroken},
		{"a broken chunk", say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n"), 0, gate.PoolBroken},
		{"a body that stops coming", func(b *backend, c net.Conn, br *bufio.Reader) {
			if b.take(br) {
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort")
				_, _ = io.Copy(io.Discard, br)
			}
		}, 0, gate.PoolBroken},
		{"a longer body than declared", say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi there"), 200, ""},
		{"bodies where none may be", say("HTTP/1.1 204 No Content\r\n\r\nhi"), 204, ""},
	} {
		t.Run(tc.rule, func(t *testing.T) {
			addr := closedPort(t)
			if tc.play != nil {
				addr = script(t, tc.play).addr
			}
			g := newRig(addr)
			g.pool().Retry.Attempts = 1
			g.pool().Timeout.Header, g.pool().Timeout.Idle = 200*time.Millisecond, 200*time.Millisecond
			g.start(t)
			a := g.ask(t, get, "")
			switch {
			case tc.status == 0 && a.err == nil:
				t.Errorf("the answer %d %q looks complete, want it cut off", a.status, a.body)
			case tc.status != 0 && a.status != tc.status:
				t.Errorf("status %d, want %d", a.status, tc.status)
			}
			if strings.Contains(a.body, "127.0.0.1") || strings.Contains(a.body, "app-1") {
				t.Errorf("the body reveals the backend: %q", a.body)
			}
			rec := g.records.last(t, 1)
			if rec.Reason != tc.reason {
				t.Errorf("reason %q (%s), want %q", rec.Reason, rec.Detail, tc.reason)
			}
			if tc.reason != "" && (rec.Action != "fail" || rec.Stage != gate.StagePool || rec.Pool.Backend != "app-1") {
				t.Errorf("record %+v", rec)
			}
		})
	}
}

func TestNoBackend(t *testing.T) {
	b := saying(t, "HTTP/1.1 500 Broken\r\nContent-Length: 0\r\n\r\n")
	g := newRig(b.addr)
	h := &g.pool().Health
	h.Path, h.Interval, h.Timeout, h.Unhealthy, h.Healthy = "/healthz", 10*time.Millisecond, time.Second, 1, 1
	h.Status = append(h.Status, struct{ From, To int }{200, 399})
	g.start(t)
	for g.handler.Pools()[0].Backends[0].State != "down" {
		runtime.Gosched()
	}
	if a := g.ask(t, get, ""); a.status != 503 || a.header.Get("Retry-After") == "" {
		t.Errorf("answer %d %v", a.status, a.header)
	}
	if rec := g.records.last(t, 1); rec.Reason != gate.PoolNone || rec.Pool.Attempts != 0 {
		t.Errorf("record %s %+v", rec.Reason, rec.Pool)
	}
}

func TestClientGone(t *testing.T) {
	arrived := make(chan struct{}, 1)
	left := make(chan struct{})
	b := script(t, func(b *backend, _ net.Conn, br *bufio.Reader) {
		if b.take(br) {
			arrived <- struct{}{}
			_, _ = br.ReadByte() // ends when the gateway gives up
			close(left)
		}
	})
	g := newRig(b.addr).start(t)
	c := g.dial(t)
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-arrived
	_ = c.Close()
	<-left
	if rec := g.records.last(t, 1); rec.Reason != gate.PoolClientGone || rec.Status != 499 || rec.Pool.Attempts != 1 {
		t.Errorf("record %s %d %+v", rec.Reason, rec.Status, rec.Pool)
	}
}

// TestBothSidesInTurns: a client that goes on only when the backend has said
// something is held up for a moment at most, and one that speaks gRPC is not.
func TestBothSidesInTurns(t *testing.T) {
	for _, kind := range []string{"application/grpc", "application/octet-stream"} {
		t.Run(kind, func(t *testing.T) {
			b := script(t, func(_ *backend, c net.Conn, br *bufio.Reader) {
				r, err := http.ReadRequest(br)
				if err != nil {
					return
				}
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
				word := make([]byte, 5)
				for {
					if _, err := io.ReadFull(r.Body, word); err != nil {
						break
					}
					_, _ = fmt.Fprintf(c, "5\r\n%s\r\n", word)
				}
				_, _ = io.WriteString(c, "0\r\n\r\n")
			})
			g := newRig(b.addr)
			cl := h2(t, g)
			words, say := io.Pipe()
			go func() { _, _ = io.WriteString(say, "word0") }()
			r, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+g.addr+"/", words)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Content-Type", kind)
			resp, err := cl.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			heard := make([]byte, 5)
			for i := range 3 {
				if _, err := io.ReadFull(resp.Body, heard); err != nil || string(heard) != fmt.Sprintf("word%d", i) {
					t.Fatalf("heard %q, %v", heard, err)
				}
				_, _ = fmt.Fprintf(say, "word%d", i+1)
			}
			_ = say.Close()
			if rest, err := io.ReadAll(resp.Body); string(rest) != "word3" || err != nil {
				t.Errorf("at the end %q, %v", rest, err)
			}
		})
	}
}

// closing reads a whole request and closes the connection.
func closing(b *backend, _ net.Conn, br *bufio.Reader) { b.take(br) }

func TestRetries(t *testing.T) {
	for _, tc := range []struct {
		rule  string
		first func(*testing.T) string
		head  string
		body  string
		want  int
		tries int
	}{
		{"not connected: any method", closedPort2, "GET / HTTP/1.1\nHost: a.example", "", 200, 2},
		{"not connected: with a body that nobody has read", closedPort2, "POST / HTTP/1.1\nHost: a.example\nContent-Length: 5", "12345", 200, 2},
		{"sent and lost: an idempotent method", scripted(closing), "GET / HTTP/1.1\nHost: a.example", "", 200, 2},
		{"sent and lost: DELETE without a body", scripted(closing), "DELETE / HTTP/1.1\nHost: a.example", "", 200, 2},
		{"sent and lost: POST may have been acted upon", scripted(closing), "POST / HTTP/1.1\nHost: a.example\nContent-Length: 0", "", 502, 1},
		{"sent and lost: PUT with a body that is held", scripted(closing), "PUT / HTTP/1.1\nHost: a.example\nContent-Length: 5", "12345", 200, 2},
		{"sent and lost: PUT with as much as is held", scripted(closing), "PUT / HTTP/1.1\nHost: a.example\nContent-Length: 65535", strings.Repeat("x", 65535), 200, 2},
		{"sent and lost: POST with a body that is held", scripted(closing), "POST / HTTP/1.1\nHost: a.example\nContent-Length: 5", "12345", 502, 1},
		{"sent and lost: the body is gone", scripted(closing), "PUT / HTTP/1.1\nHost: a.example\nContent-Length: 65537", strings.Repeat("x", 65537), 502, 1},
		{"the answer has begun", scripted(func(b *backend, c net.Conn, br *bufio.Reader) {
			if b.take(br) {
				_, _ = io.WriteString(c, "HTTP/1.1 2")
			}
		}), "GET / HTTP/1.1\nHost: a.example", "", 502, 1},
		{"too late: an idempotent method", scripted(hanging), "GET / HTTP/1.1\nHost: a.example", "", 200, 2},
		{"too late: POST", scripted(hanging), "POST / HTTP/1.1\nHost: a.example\nContent-Length: 0", "", 504, 1},
	} {
		t.Run(tc.rule, func(t *testing.T) {
			good := saying(t, ok)
			g := newRig(tc.first(t), good.addr)
			g.pool().Timeout.Header = 200 * time.Millisecond
			g.start(t)
			if a := g.ask(t, tc.head, tc.body); a.status != tc.want {
				t.Errorf("status %d, want %d", a.status, tc.want)
			}
			rec := g.records.last(t, 1)
			if rec.Pool.Attempts != tc.tries {
				t.Errorf("%d attempts, want %d", rec.Pool.Attempts, tc.tries)
			}
			if tc.want == 200 {
				if raw := good.got(t); !strings.HasSuffix(raw, tc.body) || rec.Pool.Backend != "app-2" {
					t.Errorf("backend %s received %q", rec.Pool.Backend, raw)
				}
			} else if n := good.conns.Load(); n != 0 {
				t.Error("the request was sent twice")
			}
		})
	}
}

func closedPort2(t *testing.T) string { return closedPort(t) }

func scripted(play func(*backend, net.Conn, *bufio.Reader)) func(*testing.T) string {
	return func(t *testing.T) string { return script(t, play).addr }
}

func hanging(_ *backend, _ net.Conn, br *bufio.Reader) { _, _ = io.Copy(io.Discard, br) }

func TestAttemptsAndBudgetBound(t *testing.T) {
	t.Run("attempts", func(t *testing.T) {
		g := newRig(closedPort(t), closedPort(t), closedPort(t))
		g.start(t)
		g.ask(t, get, "")
		if rec := g.records.last(t, 1); rec.Pool.Attempts != 2 {
			t.Errorf("%d attempts, want two", rec.Pool.Attempts)
		}
	})
	t.Run("budget", func(t *testing.T) {
		dead := closedPort(t)
		g := newRig(dead, dead, dead)
		g.pool().Retry.Attempts, g.pool().Retry.Budget = 3, 0.1
		g.start(t)
		total := 0
		for n := range 30 {
			g.ask(t, get, "")
			total += g.records.last(t, n+1).Pool.Attempts
		}
		// 30 requests, a reserve of 10, and a tenth of 30.
		if total > 43 || total < 40 {
			t.Errorf("%d attempts in all", total)
		}
	})
}

// TestNoSilentRetry shows that a request is sent as often as the record says.
func TestNoSilentRetry(t *testing.T) {
	for _, tc := range []struct{ attempts, status, seen int }{{1, 502, 2}, {2, 200, 3}} {
		b := script(t, func(b *backend, c net.Conn, br *bufio.Reader) {
			if !b.take(br) {
				return
			}
			_, _ = io.WriteString(c, ok)
			b.take(br) // the second one is read, and lost
		})
		g := newRig(b.addr)
		g.pool().Retry.Attempts = tc.attempts
		g.start(t)
		if a := g.ask(t, get, ""); a.status != 200 {
			t.Fatalf("first answer %d", a.status)
		}
		if a := g.ask(t, get, ""); a.status != tc.status {
			t.Errorf("with %d attempts: status %d, want %d", tc.attempts, a.status, tc.status)
		}
		if n := b.requests.Load(); n != int64(tc.seen) {
			t.Errorf("with %d attempts the backend saw %d requests, want %d", tc.attempts, n, tc.seen)
		}
		if rec := g.records.last(t, 2); rec.Pool.Attempts != tc.attempts {
			t.Errorf("the record says %d attempts, want %d", rec.Pool.Attempts, tc.attempts)
		}
	}
}

// TestDeadAndHangingBackendsCostNothing is what a user tries first: of three
// backends one is dead and one hangs, and no client notices.
func TestDeadAndHangingBackendsCostNothing(t *testing.T) {
	var stopped atomic.Bool
	resume := make(chan struct{})
	pausing := script(t, func(b *backend, c net.Conn, br *bufio.Reader) {
		for b.take(br) {
			if stopped.Load() {
				<-resume
			}
			if _, err := io.WriteString(c, ok); err != nil {
				return
			}
		}
	})
	defer close(resume)
	good := saying(t, ok)
	g := newRig(closedPort(t), pausing.addr, good.addr)
	p := g.pool()
	p.Retry.Attempts, p.Retry.Budget = 3, 0.5
	p.Eject.Errors, p.Eject.Within, p.Eject.For, p.Eject.AtMost = 3, 5*time.Second, 2*time.Second, 0.7
	p.Timeout.Header = 200 * time.Millisecond
	g.start(t)
	var clients sync.WaitGroup
	var failed atomic.Int64
	load := func(n int) {
		for range 4 {
			clients.Go(func() {
				for range n {
					if a := g.ask(t, get, ""); a.status != 200 {
						failed.Add(1)
					}
				}
			})
		}
		clients.Wait()
	}
	load(25)
	stopped.Store(true)
	load(15)
	if n := failed.Load(); n > 0 {
		t.Errorf("%d of 160 requests failed", n)
	}
	states := map[string]int{}
	for _, b := range g.handler.Pools()[0].Backends {
		states[b.State]++
	}
	if states["ejected"] != 2 {
		t.Errorf("states %v, want two ejected", states)
	}
}

func TestNoGoroutineIsLeftBehind(t *testing.T) {
	b := script(t, func(_ *backend, c net.Conn, br *bufio.Reader) {
		r, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		if r.URL.Path == "/stream" {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
		}
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.Copy(io.Discard, br) // never a whole answer
	})
	g := newRig(b.addr)
	g.cfg.BodyRate = 500
	g.start(t)
	settle := func() int {
		last := runtime.NumGoroutine()
		for range 200 {
			time.Sleep(10 * time.Millisecond)
			n := runtime.NumGoroutine()
			if n == last {
				break
			}
			last = n
		}
		return last
	}
	abort := func(n int) {
		for i := range n {
			c, err := net.Dial("tcp", g.addr)
			if err != nil {
				t.Fatal(err)
			}
			switch i % 3 {
			case 0:
				_, _ = io.WriteString(c, "GET /wait HTTP/1.1\r\nHost: a.example\r\n\r\n")
			case 1:
				_, _ = io.WriteString(c, "POST /wait HTTP/1.1\r\nHost: a.example\r\nContent-Length: 10\r\n\r\n12345")
			case 2:
				_, _ = io.WriteString(c, "GET /stream HTTP/1.1\r\nHost: a.example\r\n\r\n")
				_, _ = bufio.NewReader(c).ReadString('\n')
			}
			_ = c.Close()
		}
	}
	// A connection that was dialled for a client that left is kept for the
	// next one; Close ends it.
	idle := func() {
		if err := g.handler.Close(); err != nil {
			t.Fatal(err)
		}
	}
	abort(30)
	g.records.wait(t, 30)
	idle()
	before := settle()
	abort(2000)
	g.records.wait(t, 2030)
	idle()
	deadline := time.Now().Add(10 * time.Second)
	for runtime.NumGoroutine() > before+5 && time.Now().Before(deadline) {
		time.Sleep(20 * time.Millisecond)
	}
	if n := runtime.NumGoroutine(); n > before+5 {
		buf := make([]byte, 1<<16)
		t.Errorf("%d goroutines, %d before:\n%s", n, before, buf[:runtime.Stack(buf, true)])
	}
	if n := g.handler.Pools()[0].Backends[0].InFlight; n != 0 {
		t.Errorf("%d requests in flight", n)
	}
}

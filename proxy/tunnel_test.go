package proxy_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"sallyport/internal/gate"
)

// The key and its answer are those of RFC 6455 section 1.3.
const (
	handshake = "GET /chat HTTP/1.1\r\nHost: shop.example.org\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: chat, superchat\r\n\r\n"
	switching = "HTTP/1.1 101 Whatever\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
)

func TestTunnel(t *testing.T) {
	heads := make(chan string, 1)
	b := script(t, func(b *backend, c net.Conn, br *bufio.Reader) {
		if !b.take(br) {
			return
		}
		heads <- b.got(t)
		_, _ = io.WriteString(c, switching+"Sec-WebSocket-Protocol: chat\r\nServer: leaky\r\n\r\nfirst ")
		_, _ = io.Copy(c, br) // an echo, until the client has said all
		_, _ = io.WriteString(c, " last")
	})
	g := newRig(b.addr)
	g.start(t)
	c := g.dial(t)
	_, _ = io.WriteString(c, handshake+"early ") // comes with the handshake
	br := bufio.NewReader(c)
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != 101 || resp.Header.Get("Upgrade") != "websocket" || resp.Header.Get("Sec-Websocket-Protocol") != "chat" ||
		resp.Header.Get("Sec-Websocket-Accept") == "" || resp.Header.Get("Server") != "" || resp.Header.Get("X-Request-Id") == "" {
		t.Errorf("answer %d %v", resp.StatusCode, resp.Header)
	}
	first := g.records.last(t, 1)
	if first.Event != "" || first.Action != "pass" || first.Status != 101 || first.Pool.Status != 101 || g.in.tunnels.Load() != 1 || g.waf.open.Load() != 0 {
		t.Errorf("first record %+v", first)
	}
	if n := g.handler.Pools()[0].Backends[0].InFlight; n != 1 {
		t.Errorf("%d in flight, want the tunnel", n)
	}
	_, _ = io.WriteString(c, "hello")
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(br)
	if string(all) != "first early hello last" || err != nil {
		t.Errorf("the tunnel carried %q, %v", all, err)
	}
	second := g.records.last(t, 2)
	if second.Event != "closed" || second.ID != first.ID || second.Tunnel == nil || second.Tunnel.Received != 11 || second.Tunnel.Sent != 22 {
		t.Errorf("second record %+v %+v", second, second.Tunnel)
	}
	if n := g.handler.Pools()[0].Backends[0].InFlight; n != 0 {
		t.Errorf("%d in flight after the end", n)
	}
	if head := <-heads; !strings.Contains(head, "\r\nConnection: Upgrade\r\n") || !strings.Contains(head, "\r\nUpgrade: websocket\r\n") || !strings.Contains(head, "\r\nSec-Websocket-Key: ") {
		t.Errorf("the backend received %q", head)
	}
}

func TestTunnelEndsWithItsBackend(t *testing.T) {
	b := script(t, func(b *backend, c net.Conn, br *bufio.Reader) {
		if b.take(br) {
			_, _ = io.WriteString(c, switching+"\r\n")
			_, _ = br.ReadByte()
			_ = c.(*net.TCPConn).SetLinger(0) // resets
		}
	})
	g := newRig(b.addr).start(t)
	c := g.dial(t)
	_, _ = io.WriteString(c, handshake)
	br := bufio.NewReader(c)
	if _, err := http.ReadResponse(br, nil); err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(c, "x")
	if _, err := io.ReadAll(br); err != nil {
		t.Logf("ended with %v", err)
	}
	g.records.wait(t, 2)
}

func TestUpgradesThatAreNotMade(t *testing.T) {
	for _, tc := range []struct {
		rule, answer string
		status       int
		reason       gate.Reason
	}{
		{"the backend does not switch", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", 200, ""},
		{"the backend refuses", "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", 403, ""},
		{"the backend breaks", "HTTP/1.1 500 Oh no\r\nContent-Length: 2\r\n\r\nno", 500, ""},
		{"the wrong answer to the key", strings.Replace(switching, "s3pPLM", "xxxxxx", 1) + "\r\n", 502, gate.PoolBadAnswer},
		{"no answer to the key", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", 502, gate.PoolBadAnswer},
		{"another protocol", strings.Replace(switching, "WebSocket\r\nC", "h2c\r\nC", 1) + "\r\n", 502, gate.PoolBadAnswer},
		{"a subprotocol that nobody offered", switching + "Sec-WebSocket-Protocol: mqtt\r\n\r\n", 502, gate.PoolBadAnswer},
		{"no Connection", strings.Replace(switching, "Connection: Upgrade\r\n", "", 1) + "\r\n", 502, gate.PoolBadAnswer},
	} {
		t.Run(tc.rule, func(t *testing.T) {
			g := newRig(saying(t, tc.answer).addr).start(t)
			g.pool()
			c := g.dial(t)
			_, _ = io.WriteString(c, handshake)
			br := bufio.NewReader(c)
			if a := read(t, br, "GET"); a.status != tc.status {
				t.Errorf("status %d, want %d", a.status, tc.status)
			}
			if rec := g.records.last(t, 1); rec.Reason != tc.reason {
				t.Errorf("reason %q, want %q", rec.Reason, tc.reason)
			}
			if g.in.resumes.Load() != 1 || g.in.tunnels.Load() != 0 {
				t.Errorf("%d resumed, %d tunnels", g.in.resumes.Load(), g.in.tunnels.Load())
			}
			// The connection goes on, with HTTP.
			_, _ = io.WriteString(c, strings.Replace(getRaw, "Connection: close\r\n", "", 1))
			if a := read(t, br, "GET"); a.status == 0 {
				t.Error("no second answer")
			}
		})
	}
	t.Run("refused before the backend", func(t *testing.T) {
		g := newRig("192.0.2.1:1")
		g.stages.Limit = checker(func(*gate.Request) gate.Verdict { return gate.Refusal(gate.LimitOverBudget, gate.Enforce, "") })
		g.start(t)
		c := g.dial(t)
		_, _ = io.WriteString(c, handshake)
		if a := read(t, bufio.NewReader(c), "GET"); a.status != 429 || g.in.resumes.Load() != 1 {
			t.Errorf("status %d, %d resumed", a.status, g.in.resumes.Load())
		}
	})
	t.Run("refused by the rules about the answer", func(t *testing.T) {
		g := newRig(saying(t, switching+"\r\n").addr)
		g.waf.response = func(*http.Response) gate.Verdict { return gate.Refusal(gate.WAFRule, gate.Enforce, "") }
		g.start(t)
		c := g.dial(t)
		_, _ = io.WriteString(c, handshake)
		if a := read(t, bufio.NewReader(c), "GET"); a.status != 403 || g.in.tunnels.Load() != 0 {
			t.Errorf("status %d, %d tunnels", a.status, g.in.tunnels.Load())
		}
	})
}

package proxy_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"sallyport/internal/gate"
)

func TestRouteTimeout(t *testing.T) {
	const limit = 200 * time.Millisecond
	late := func(t *testing.T, g *rig, head, body string, attempts int) {
		t.Helper()
		began := time.Now()
		a := g.ask(t, head, body)
		rec := g.records.last(t, 1)
		if a.status != 504 || rec.Reason != gate.PoolTimeout || rec.Pool.Attempts != attempts {
			t.Errorf("status %d, %s after %d attempts (%s)", a.status, rec.Reason, rec.Pool.Attempts, rec.Detail)
		}
		if took := time.Since(began); took < limit {
			t.Errorf("answered after %v", took)
		}
	}
	t.Run("no answer", func(t *testing.T) {
		g := newRig(script(t, hanging).addr, saying(t, ok).addr)
		g.route().Timeout = limit
		g.start(t)
		late(t, g, get, "", 1)
		if s := g.handler.Pools()[0].Backends[0]; s.Failures != 1 {
			t.Errorf("the backend has %d failures", s.Failures)
		}
	})
	t.Run("retries included", func(t *testing.T) {
		slowly := func(b *backend, _ net.Conn, br *bufio.Reader) {
			if b.take(br) {
				time.Sleep(150 * time.Millisecond)
			}
		}
		g := newRig(script(t, slowly).addr, script(t, slowly).addr)
		g.route().Timeout = limit
		g.pool().Retry.Attempts = 9
		g.start(t)
		late(t, g, get, "", 2)
		for i, want := range []uint64{1, 0} { // the second had too little time for it to be its fault
			if s := g.handler.Pools()[0].Backends[i]; s.Failures != want {
				t.Errorf("backend %d has %d failures, want %d", i, s.Failures, want)
			}
		}
	})
	t.Run("a body that the backend does not take", func(t *testing.T) {
		g := newRig(script(t, func(_ *backend, c net.Conn, br *bufio.Reader) {
			_, _ = br.ReadString('\n')
			_ = c.(*net.TCPConn).SetReadBuffer(1 << 10)
			<-t.Context().Done()
		}).addr)
		g.route().Timeout, g.route().Route.MaxBody = limit, 64<<20
		g.start(t)
		c := g.dial(t)
		go func() {
			_, _ = io.WriteString(c, "PUT / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 60000000\r\n\r\n")
			_, _ = c.Write(make([]byte, 60000000))
		}()
		if a := read(t, bufio.NewReader(c), "PUT"); a.status != 504 {
			t.Errorf("status %d", a.status)
		}
	})
	t.Run("an answer that moves on is not cut", func(t *testing.T) {
		g := newRig(script(t, func(b *backend, c net.Conn, br *bufio.Reader) {
			if !b.take(br) {
				return
			}
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
			for range 8 {
				time.Sleep(50 * time.Millisecond)
				_, _ = io.WriteString(c, "1\r\nx\r\n")
			}
			_, _ = io.WriteString(c, "0\r\n\r\n")
		}).addr)
		g.route().Timeout = limit
		g.start(t)
		if a := g.ask(t, get, ""); a.status != 200 || a.body != "xxxxxxxx" || a.err != nil {
			t.Errorf("answer %d %q %v", a.status, a.body, a.err)
		}
	})
	t.Run("nor is a body on its way, however slow its client", func(t *testing.T) {
		g := newRig(script(t, func(b *backend, c net.Conn, br *bufio.Reader) {
			if b.take(br) {
				_, _ = io.WriteString(c, ok)
			}
		}).addr)
		g.route().Timeout = limit
		g.start(t)
		c := g.dial(t)
		_, _ = io.WriteString(c, "PUT / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 4\r\n\r\n")
		for range 4 {
			time.Sleep(150 * time.Millisecond)
			_, _ = io.WriteString(c, "x")
		}
		if a := read(t, bufio.NewReader(c), "PUT"); a.status != 200 {
			t.Errorf("status %d (%s)", a.status, g.records.last(t, 1).Detail)
		}
	})
	t.Run("nor a tunnel", func(t *testing.T) {
		g := newRig(script(t, func(b *backend, c net.Conn, br *bufio.Reader) {
			if b.take(br) {
				_, _ = io.WriteString(c, switching+"\r\n")
				_, _ = io.Copy(c, br)
			}
		}).addr)
		g.route().Timeout = limit
		g.start(t)
		c := g.dial(t)
		_, _ = io.WriteString(c, handshake)
		br := bufio.NewReader(c)
		if resp, err := http.ReadResponse(br, nil); err != nil || resp.StatusCode != 101 {
			t.Fatalf("answer %+v %v", resp, err)
		}
		time.Sleep(2 * limit)
		_, _ = io.WriteString(c, "ping")
		echo := make([]byte, 4)
		if _, err := io.ReadFull(br, echo); err != nil || string(echo) != "ping" {
			t.Errorf("echo %q %v", echo, err)
		}
	})
	t.Run("none", func(t *testing.T) {
		g := newRig(script(t, func(b *backend, c net.Conn, br *bufio.Reader) {
			if b.take(br) {
				time.Sleep(2 * limit)
				_, _ = io.WriteString(c, ok)
			}
		}).addr).start(t)
		if a := g.ask(t, get, ""); a.status != 200 {
			t.Errorf("status %d", a.status)
		}
	})
}

// TestIdleUploadOverHTTP1: what a backend has not taken within timeout.idle ends
// the request; one that takes a little at a time is left alone.
func TestIdleUploadOverHTTP1(t *testing.T) {
	const size = 24 << 20
	g := newRig(script(t, func(_ *backend, c net.Conn, br *bufio.Reader) {
		buf := make([]byte, 1<<20)
		for read := 0; read < size; {
			n, err := br.Read(buf)
			if err != nil {
				return
			}
			if read += n; read%(4<<20) < n {
				time.Sleep(40 * time.Millisecond)
			}
		}
		_, _ = io.WriteString(c, ok)
	}).addr)
	g.pool().Timeout.Idle, g.route().Route.MaxBody = 150*time.Millisecond, size
	g.start(t)
	a := g.ask(t, fmt.Sprintf("PUT / HTTP/1.1\nHost: a.example\nContent-Length: %d", size), strings.Repeat("x", size))
	if a.status != 200 {
		t.Errorf("status %d (%s)", a.status, g.records.last(t, 1).Detail)
	}
}

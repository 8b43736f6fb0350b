package strict_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/internal/strict"
	"sallyport/internal/testkit"
)

// browserGet is what a browser sends for a page.
const browserGet = "GET /shop/list?category=shoes&sort=price&page=2 HTTP/1.1\r\n" +
	"Host: shop.example.org\r\n" +
	"Connection: keep-alive\r\n" +
	"Cache-Control: max-age=0\r\n" +
	"sec-ch-ua: \"Chromium\";v=\"140\", \"Not=A?Brand\";v=\"24\", \"Google Chrome\";v=\"140\"\r\n" +
	"sec-ch-ua-mobile: ?0\r\n" +
	"sec-ch-ua-platform: \"Linux\"\r\n" +
	"Upgrade-Insecure-Requests: 1\r\n" +
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36\r\n" +
	"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n" +
	"Sec-Fetch-Site: same-origin\r\n" +
	"Sec-Fetch-Mode: navigate\r\n" +
	"Sec-Fetch-User: ?1\r\n" +
	"Sec-Fetch-Dest: document\r\n" +
	"Referer: https://shop.example.org/shop/list?category=shoes\r\n" +
	"Accept-Encoding: gzip, deflate, br, zstd\r\n" +
	"Accept-Language: en-GB,en;q=0.9,nl;q=0.8\r\n" +
	"Cookie: session=0f8fad5bd9cb469fa16570867728950e; theme=dark; consent=1\r\n" +
	"\r\n"

func BenchmarkParseHead(b *testing.B) {
	raw := []byte(browserGet)
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		h, n, err := strict.ParseHead(raw, strict.Limits{})
		if err != nil || n != len(raw) || h.Rejection != nil {
			b.Fatalf("ParseHead = %v, %d, %v", h, n, err)
		}
	}
}

// BenchmarkConn answers keep-alive requests through the guard and without it.
func BenchmarkConn(b *testing.B) {
	for _, guarded := range []bool{false, true} {
		b.Run(map[bool]string{false: "stock", true: "guarded"}[guarded], func(b *testing.B) {
			b.ReportAllocs()
			benchmarkServer(b, guarded, []byte(browserGet))
		})
	}
}

// BenchmarkConnBody posts a chunked body on every request.
func BenchmarkConnBody(b *testing.B) {
	for _, size := range []int{16, 16 << 10} {
		body := strings.Repeat(fmt.Sprintf("%x\r\n%s\r\n", size, strings.Repeat("x", size)), max(1, (256<<10)/size)) + "0\r\n\r\n"
		raw := []byte("POST /upload HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n" + body)
		for _, guarded := range []bool{false, true} {
			b.Run(fmt.Sprintf("%dB/%s", size, map[bool]string{false: "stock", true: "guarded"}[guarded]), func(b *testing.B) {
				b.SetBytes(256 << 10)
				b.ReportAllocs()
				benchmarkServer(b, guarded, raw)
			})
		}
	}
}

// benchmarkServer answers raw again and again over one connection in memory.
func benchmarkServer(b *testing.B, guarded bool, raw []byte) {
	l := newPipeListener()
	srv := newServer(b, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if g := guardOf(r); g != nil {
			if h := g.Head(r); h.Rejection != nil {
				b.Errorf("refused: %v", h.Rejection)
			}
		}
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			b.Errorf("body: %v", err)
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	c := newLoopConn(raw)
	if guarded {
		l.conns <- strict.NewConn(c, strict.Limits{WriteRate: 500}, strict.Hooks{})
	} else {
		l.conns <- c
	}
	began := testkit.CPU(b)
	for b.Loop() {
		c.request()
	}
	b.ReportMetric(float64(testkit.CPU(b)-began)/float64(b.N), "cpu-ns/op")
	_ = srv.Close()
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		b.Error(err)
	}
}

// A loopConn yields the same request whenever it is asked to, and
// waits for the answer. It lives in memory, so that what is measured is not
// the kernel.
type loopConn struct {
	net.Conn
	raw      []byte
	mu       sync.Mutex
	changed  sync.Cond
	rest     []byte // of the request
	deadline bool   // has passed
	closed   bool
	answered chan struct{}
}

func newLoopConn(raw []byte) *loopConn {
	c := &loopConn{raw: raw, answered: make(chan struct{})}
	c.changed.L = &c.mu
	return c
}

func (c *loopConn) request() {
	c.mu.Lock()
	c.rest = c.raw
	c.mu.Unlock()
	c.changed.Broadcast()
	<-c.answered
}

func (c *loopConn) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		switch {
		case c.closed:
			return 0, net.ErrClosed
		case c.deadline:
			return 0, os.ErrDeadlineExceeded
		case len(c.rest) > 0:
			n := copy(p, c.rest)
			c.rest = c.rest[n:]
			return n, nil
		}
		c.changed.Wait()
	}
}

func (c *loopConn) Write(p []byte) (int, error) {
	if bytes.HasSuffix(p, []byte("\r\n\r\n")) {
		c.answered <- struct{}{}
	}
	return len(p), nil
}

func (c *loopConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = !t.IsZero() && t.Before(time.Now())
	c.changed.Broadcast()
	return nil
}

func (c *loopConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.changed.Broadcast()
	return nil
}

func (c *loopConn) SetWriteDeadline(time.Time) error { return nil }
func (c *loopConn) SetDeadline(time.Time) error      { return nil }
func (c *loopConn) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (c *loopConn) RemoteAddr() net.Addr             { return &net.TCPAddr{} }

// A pipeListener hands out connections that a test makes.
type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn, 16), done: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	close(l.done)
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

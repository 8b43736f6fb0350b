package gateway_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"sallyport/internal/gate"
	"sallyport/internal/testkit"
	"sallyport/internal/wire"
)

// A tap is a backend that keeps every byte that reaches it, and answers what is
// a request.
type tap struct {
	addr string
	mu   sync.Mutex
	raw  bytes.Buffer
}

func (p *tap) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.raw.Write(b)
}

// take returns what came since the last call.
func (p *tap) take() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.raw.Reset()
	return p.raw.String()
}

func openTap(t *testing.T) *tap {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &tap{addr: l.Addr().String()}
	var open sync.WaitGroup
	open.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			open.Go(func() { p.serve(c) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		open.Wait()
	})
	return p
}

func (p *tap) serve(c net.Conn) {
	defer c.Close()
	br := bufio.NewReader(io.TeeReader(c, p))
	for {
		r, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return
		}
		if _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"); err != nil {
			return
		}
	}
}

// whole counts the requests in raw, and returns what is left behind them.
func whole(raw string) (requests int, left string) {
	src := strings.NewReader(raw)
	br := bufio.NewReader(src)
	for at := 0; ; requests++ {
		r, err := http.ReadRequest(br)
		if err == nil {
			_, err = io.Copy(io.Discard, r.Body)
		}
		if err != nil {
			return requests, raw[at:]
		}
		at = len(raw) - src.Len() - br.Buffered()
	}
}

// TestNothingOfARefusedRequestReachesABackend sends every case of the corpus
// in which something is refused, with the rules off: nobody holds its body but
// the gateway itself. What the backend gets is the requests before the refused
// one, and not one byte more.
func TestNothingOfARefusedRequestReachesABackend(t *testing.T) {
	cases, err := wire.In(wire.HTTP1)
	if err != nil {
		t.Fatal(err)
	}
	p := openTap(t)
	e := open(t, http.NotFoundHandler(), `
listeners: [{address: "127.0.0.1:0"}]
limits: []
policies: {default: {mode: "off"}}
http: {header_timeout: 1s, max_body: 1MiB, methods: [GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS]}
pools: {app: {backends: [{name: one, url: "http://`+p.addr+`"}], eject: {errors: 0}}}
routes: [{name: site, pool: app}]
audit: {path: audit.jsonl}
admin: {address: ""}
`)
	random := rand.New(rand.NewPCG(1, 2))
	bodies := 0
	for _, c := range cases {
		if len(c.Refuse) > 0 {
			continue
		}
		ways := map[string]func(*testkit.RawConn){"whole": func(conn *testkit.RawConn) { conn.Send(c.Raw) }}
		if c.Refused() && !c.Whole && len(c.Raw) < 4<<10 {
			ways["bytewise"] = func(conn *testkit.RawConn) { conn.SendBytewise(c.Raw) }
			ways["cut"] = func(conn *testkit.RawConn) {
				for rest := c.Raw; len(rest) > 0; {
					n := 1 + random.IntN(len(rest))
					conn.Send(rest[:n])
					rest = rest[n:]
				}
			}
		}
		for way, send := range ways {
			if accepted := tapped(t, e, p, c, way, send); c.Refused() && bytes.Contains(c.Raw, []byte("\r\n\r\n")) && accepted == 0 {
				bodies++
			}
		}
	}
	if bodies < 100 {
		t.Errorf("%d refusals behind a whole head, want many", bodies)
	}
}

// tapped sends one case one way, holds what the backend got to what it was to
// get, and returns how many requests that was.
func tapped(t *testing.T, e *edge, p *tap, c wire.Case, way string, send func(*testkit.RawConn)) int {
	t.Helper()
	conn := testkit.DialRaw(t, e.address)
	defer conn.Close() //nolint:errcheck // the gateway has closed its side
	sent := make(chan struct{})
	go func() { // a refusal may end the connection before all is sent
		defer close(sent)
		send(conn)
		if c.HalfClose {
			conn.HalfClose()
		}
	}()
	accepted := 0
	for i, want := range c.Answers {
		a, err := conn.Answer(want.Method)
		if err != nil {
			t.Errorf("%s, %s: answer %d: %v", c.Name, way, i+1, err)
			break
		}
		r := e.notes.find(t, a.Header.Get("X-Request-Id"))
		if r.Reason == "" {
			accepted++
		}
		if r.Reason != want.Reason && r.Reason != gate.HTTPMethodNotAllowed {
			t.Errorf("%s, %s: answer %d is %d %q, want %q", c.Name, way, i+1, a.Status, r.Reason, want.Reason)
		}
	}
	<-sent
	if n, left := whole(p.take()); n != accepted || left != "" {
		t.Errorf("%s, %s: the backend got %d requests and %s, want %d and nothing", c.Name, way, n, fmt.Sprintf("%.80q", left), accepted)
	}
	return accepted
}

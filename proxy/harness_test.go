package proxy_test

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"sallyport/internal/gate"
	"sallyport/proxy"
)

// inbound stands in for the guarded connection: it believes net/http.
type inbound struct {
	peer     netip.AddrPort
	origin   *gate.Origin // nil: a socket with the peer at its other end
	change   func(*http.Request, *gate.Head)
	covers   func(string) bool
	tunnels  atomic.Int64
	resumes  atomic.Int64
	full     atomic.Bool // the client takes nothing more
	gathered atomic.Int64
	sent     atomic.Int64
	listener string
}

func (in *inbound) Head(r *http.Request) *gate.Head {
	h := &gate.Head{
		Method: r.Method, Target: r.RequestURI, Received: r.RequestURI, Proto: r.Proto, Host: r.Host, Length: r.ContentLength,
		Upgrade: strings.EqualFold(r.Header.Get("Upgrade"), "websocket"),
	}
	if r.Host != "" {
		h.Fields = append(h.Fields, gate.Field{Name: "Host", Value: r.Host})
	}
	for name, values := range r.Header {
		for _, v := range values {
			h.Fields = append(h.Fields, gate.Field{Name: name, Value: v})
		}
	}
	slices.SortStableFunc(h.Fields, func(a, b gate.Field) int { return strings.Compare(a.Name, b.Name) })
	if in.change != nil {
		in.change(r, h)
	}
	return h
}

func (in *inbound) Origin() gate.Origin {
	if in.origin != nil {
		return *in.origin
	}
	return gate.Origin{Socket: in.peer, Peer: in.peer, ChosenBy: gate.ByPeer}
}
func (in *inbound) Listener() string     { return in.listener }
func (in *inbound) Covers(h string) bool { return in.covers == nil || in.covers(h) }
func (in *inbound) Tunnel()              { in.tunnels.Add(1) }
func (in *inbound) Resume()              { in.resumes.Add(1) }
func (in *inbound) Congested() bool      { return in.full.Load() }
func (in *inbound) Gather()              { in.gathered.Add(1) }
func (in *inbound) Send() error          { in.sent.Add(1); return nil }

// checker is a stage that does as it is told.
type checker func(*gate.Request) gate.Verdict

func (c checker) Check(req *gate.Request) gate.Verdict { return c(req) }

func passing(s gate.Stage) checker {
	return func(*gate.Request) gate.Verdict { return gate.Passes(s) }
}

// inspector is a WAF that does as it is told; nil functions pass.
type inspector struct {
	begin    func(*gate.Request)
	request  func(*gate.Request) gate.Verdict
	response func(*http.Response) gate.Verdict
	close    func() gate.Inspection
	open     atomic.Int64
}

type inspection struct {
	*inspector
	req *gate.Request
}

func (i *inspector) Begin(req *gate.Request) proxy.Inspection {
	if i.begin != nil {
		i.begin(req)
	}
	i.open.Add(1)
	return inspection{i, req}
}

func (i inspection) Request() gate.Verdict {
	if i.request != nil {
		return i.request(i.req)
	}
	return gate.Passes(gate.StageWAF)
}

func (i inspection) Response(r *http.Response) gate.Verdict {
	if i.response != nil {
		return i.response(r)
	}
	return gate.Passes(gate.StageWAF)
}

func (i inspection) Close() gate.Inspection {
	i.open.Add(-1)
	if i.close != nil {
		return i.close()
	}
	return gate.Inspection{}
}

// records keeps what was recorded, in order, and changes of backends apart.
type records struct {
	mu      sync.Mutex
	all     []gate.Record
	changes []gate.Record
	more    chan struct{}
}

func (r *records) Record(rec gate.Record) {
	rec.Measure()
	r.mu.Lock()
	defer r.mu.Unlock()
	if rec.Event == gate.EventBackend {
		r.changes = append(r.changes, rec)
		return
	}
	r.all = append(r.all, rec)
	select {
	case r.more <- struct{}{}:
	default:
	}
}

func (r *records) snapshot() []gate.Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.all)
}

// wait returns the records when there are n of them. One more is noticed too.
func (r *records) wait(t testing.TB, n int) []gate.Record {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		if all := r.snapshot(); len(all) >= n {
			if len(all) > n {
				t.Fatalf("%d records, want %d: %+v", len(all), n, all)
			}
			return all
		}
		select {
		case <-r.more:
		case <-deadline:
			t.Fatalf("%d records, want %d", len(r.snapshot()), n)
		}
	}
}

// last waits for the n-th record and returns it.
func (r *records) last(t testing.TB, n int) gate.Record {
	t.Helper()
	return r.wait(t, n)[n-1]
}

// A rig is a handler behind a real server.
type rig struct {
	cfg      proxy.Config
	stages   proxy.Stages
	waf      *inspector
	in       *inbound
	records  *records
	bare     bool // no connection in the context
	log      *zap.Logger
	protocol func(*http.Server)

	handler *proxy.Handler
	addr    string
}

func newRig(backends ...string) *rig {
	g := &rig{
		in:      &inbound{peer: netip.MustParseAddrPort("192.0.2.7:40122"), listener: ":8080"},
		records: &records{more: make(chan struct{}, 1)},
		waf:     &inspector{},
		log:     zap.NewNop(),
		cfg: proxy.Config{
			Mode: gate.Enforce, Hygiene: gate.Enforce,
			Methods: []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"},
			MaxBody: 1 << 20,
			Routes:  []proxy.RouteConfig{{Route: gate.Route{Name: "site", Pool: "app", Policy: "default", MaxBody: 1 << 20, MaskErrors: "uniform"}}},
			Pools: []proxy.PoolConfig{{
				Name:    "app",
				Retry:   proxy.RetryConfig{Attempts: 2, Budget: 0.2},
				Timeout: proxy.TimeoutConfig{Connect: 2 * time.Second, Header: 10 * time.Second, Idle: 10 * time.Second},
			}},
		},
	}
	for i, b := range backends {
		g.cfg.Pools[0].Backends = append(g.cfg.Pools[0].Backends,
			proxy.BackendConfig{Name: "app-" + string(rune('1'+i)), URL: &url.URL{Scheme: "http", Host: b}, Weight: 1})
	}
	g.stages = proxy.Stages{
		Client: passing(gate.StageClient), Ban: passing(gate.StageBan), Geo: passing(gate.StageGeo), Limit: passing(gate.StageLimit),
		WAF: g.waf, Recorders: []proxy.Recorder{g.records},
	}
	return g
}

func (g *rig) pool() *proxy.PoolConfig   { return &g.cfg.Pools[0] }
func (g *rig) route() *proxy.RouteConfig { return &g.cfg.Routes[0] }

// start builds the handler and serves it.
func (g *rig) start(t testing.TB) *rig {
	t.Helper()
	h, err := proxy.New(g.cfg, g.stages, proxy.Identity{Host: "edge-1", Version: "0.1.0", Generation: 3}, g.log)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h, DisableGeneralOptionsHandler: true, ErrorLog: zap.NewStdLog(zap.NewNop())}
	if !g.bare {
		srv.ConnContext = func(ctx context.Context, _ net.Conn) context.Context { return gate.WithInbound(ctx, g.in) }
	}
	if g.protocol != nil {
		g.protocol(srv)
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = srv.Serve(l) })
	g.handler, g.addr = h, l.Addr().String()
	t.Cleanup(func() {
		_ = srv.Close()
		serving.Wait()
		if err := h.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return g
}

// dial opens a raw connection that closes with the test.
func (g *rig) dial(t testing.TB) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", g.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

// raw sends bytes and returns everything that comes back until the end of the
// connection.
func (g *rig) raw(t testing.TB, request string) string {
	t.Helper()
	c := g.dial(t)
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	answer, _ := io.ReadAll(c) // a connection that is cut has an end too
	return string(answer)
}

// answer is what came back for one request.
type answer struct {
	status int
	header http.Header
	body   string
	err    error // of reading the body
	close  bool
}

// ask sends a raw head (lines separated by newlines) and body, and reads one
// answer.
func (g *rig) ask(t testing.TB, head, body string) answer {
	t.Helper()
	c := g.dial(t)
	method, _, _ := strings.Cut(head, " ")
	request := strings.ReplaceAll(strings.TrimSpace(head), "\n", "\r\n") + "\r\n\r\n" + body
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	return read(t, bufio.NewReader(c), method)
}

func read(t testing.TB, br *bufio.Reader, method string) answer {
	t.Helper()
	resp, err := http.ReadResponse(br, &http.Request{Method: method})
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	return answer{resp.StatusCode, resp.Header, string(body), err, resp.Close}
}

const get = "GET / HTTP/1.1\nHost: shop.example.org\nConnection: close"

// A backend is a server that plays a script on each connection.
type backend struct {
	addr     string
	conns    atomic.Int64
	requests atomic.Int64
	seen     chan string // head and body as received, when it reads whole requests
}

// script starts a backend that hands each connection to play.
func script(t testing.TB, play func(b *backend, c net.Conn, br *bufio.Reader)) *backend {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &backend{addr: l.Addr().String(), seen: make(chan string, 4096)}
	var open sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	open.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			b.conns.Add(1)
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			open.Go(func() {
				defer c.Close()
				play(b, c, bufio.NewReader(c))
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for _, c := range conns {
			_ = c.Close()
		}
		mu.Unlock()
		open.Wait()
	})
	return b
}

// saying starts a backend that answers every request with the same bytes.
func saying(t testing.TB, answer string) *backend {
	t.Helper()
	return script(t, func(b *backend, c net.Conn, br *bufio.Reader) {
		for b.take(br) {
			if _, err := io.WriteString(c, answer); err != nil {
				return
			}
		}
	})
}

const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"

// take reads one whole request and keeps its bytes.
func (b *backend) take(br *bufio.Reader) bool {
	var raw bytes.Buffer
	tee := bufio.NewReader(io.TeeReader(br, &raw))
	r, err := http.ReadRequest(tee)
	if err != nil {
		return false
	}
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return false
	}
	b.requests.Add(1)
	select {
	case b.seen <- raw.String():
	default:
	}
	return true
}

// got returns the next request that the backend received.
func (b *backend) got(t testing.TB) string {
	t.Helper()
	select {
	case raw := <-b.seen:
		return raw
	case <-time.After(10 * time.Second):
		t.Fatal("the backend received nothing")
		return ""
	}
}

// none fails when the backend has received anything.
func (b *backend) none(t testing.TB, rule string) {
	t.Helper()
	select {
	case raw := <-b.seen:
		t.Errorf("%s: the backend received %q", rule, raw)
	default:
	}
	if n := b.conns.Load(); n > 0 {
		t.Errorf("%s: the backend was connected to %d times", rule, n)
	}
}

// closedPort is an address that nobody listens on.
func closedPort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

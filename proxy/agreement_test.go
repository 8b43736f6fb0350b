package proxy_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"sallyport/internal/gate"
	"sallyport/internal/strict"
	"sallyport/internal/testkit"
	"sallyport/internal/wire"
	"sallyport/proxy"
)

// guarded is a connection as the server makes it: read by the strict guard.
type guarded struct{ *strict.Conn }

func (guarded) Origin() gate.Origin {
	peer := netip.MustParseAddrPort("192.0.2.7:40122")
	return gate.Origin{Socket: peer, Peer: peer, ChosenBy: gate.ByPeer}
}
func (guarded) Listener() string   { return ":8080" }
func (guarded) Covers(string) bool { return true }

type guardListener struct{ net.Listener }

func (l guardListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return strict.NewConn(c, strict.Limits{}, strict.Hooks{}), nil
}

// A judge stands in for the rules: it holds each body until it has seen the
// whole of it, and notes what it passed.
type judge struct {
	mu     sync.Mutex
	passed []testkit.Message
}

func (j *judge) request(req *gate.Request) gate.Verdict {
	if slices.ContainsFunc(req.Head.Hygiene, func(r gate.Rejection) bool { return r.Reason == gate.HTTPPathPercent }) {
		return gate.Refusal(gate.HTTPPathPercent, gate.Enforce, "net/http would not read it")
	}
	m := testkit.Message{Method: req.Head.Method, Target: req.Head.Target}
	if req.HTTP.Body != nil && req.Head.Length != 0 {
		body, err := io.ReadAll(req.HTTP.Body)
		if ve, ok := errors.AsType[*gate.VerdictError](err); ok {
			return ve.Verdict
		} else if err != nil {
			return gate.Failure(gate.GatewayUndecided, err)
		}
		m.Body = string(body)
		req.HTTP.Body = io.NopCloser(bytes.NewReader(body))
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.passed = append(j.passed, m)
	return gate.Passes(gate.StageWAF)
}

// take returns what was passed since the last call.
func (j *judge) take() []testkit.Message {
	j.mu.Lock()
	defer j.mu.Unlock()
	passed := j.passed
	j.passed = nil
	return passed
}

// serveGuarded puts guard, server and handler in front of a backend.
func serveGuarded(f *testing.F, backend *testkit.Recorder, j *judge) string {
	g := newRig(backend.Addr())
	g.waf.request = j.request
	g.cfg.Hygiene = gate.Watch // so that also what is only suspicious gets through
	g.stages.Recorders = nil
	g.pool().Retry.Attempts = 1
	h, err := proxy.New(g.cfg, g.stages, proxy.Identity{}, zap.NewNop())
	if err != nil {
		f.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.Fatal(err)
	}
	srv := &http.Server{Handler: h, DisableGeneralOptionsHandler: true, ErrorLog: zap.NewStdLog(zap.NewNop()),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return gate.WithInbound(ctx, guarded{c.(*strict.Conn)})
		}}
	var serving sync.WaitGroup
	serving.Go(func() { _ = srv.Serve(guardListener{l}) })
	f.Cleanup(func() {
		_ = srv.Close()
		serving.Wait()
		if err := h.Close(); err != nil {
			f.Errorf("Close: %v", err)
		}
	})
	return l.Addr().String()
}

// bytesConn yields some bytes and then the end.
type bytesConn struct {
	net.Conn
	r io.Reader
}

func (c bytesConn) Read(p []byte) (int, error)     { return c.r.Read(p) }
func (bytesConn) Close() error                     { return nil }
func (bytesConn) SetReadDeadline(time.Time) error  { return nil }
func (bytesConn) SetWriteDeadline(time.Time) error { return nil }
func (bytesConn) Write(p []byte) (int, error)      { return len(p), nil }

// the last request of every connection: the server closes behind it.
const ending = "GET /end HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"

// ends reports whether a server that reads the bytes closes by itself: it gets
// to the ending, or refuses something before.
func ends(raw []byte) bool {
	g := strict.NewConn(bytesConn{r: bytes.NewReader(raw)}, strict.Limits{}, strict.Hooks{})
	r := bufio.NewReader(g)
	for {
		req, err := http.ReadRequest(r)
		if err != nil {
			return false
		}
		h := g.Head(req)
		if h.Rejection != nil || h.Target == "/end" {
			return true
		}
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			return g.BodyError() != nil && g.BodyError().Verdict.Reason != gate.HTTPBodyCut
		}
	}
}

// FuzzForwarding holds that backends get what was judged: the bytes that
// reach one are, to net/http and to three careless readers, exactly the
// requests that the rules passed, with the same bodies, and nothing of those
// that were refused.
func FuzzForwarding(f *testing.F) {
	cases, err := wire.In(wire.HTTP1)
	if err != nil {
		f.Fatal(err)
	}
	for _, c := range cases {
		if len(c.Raw) < 4<<10 {
			f.Add(c.Raw)
			f.Add(slices.Concat([]byte("POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n9;x\r\n0\r\n\r\nGET \r\n0\r\nA: b\r\n\r\n"), c.Raw))
		}
	}
	backend, j := testkit.NewRecorder(f), &judge{}
	addr := serveGuarded(f, backend, j)
	f.Fuzz(func(t *testing.T, raw []byte) {
		raw = append(bytes.Clone(raw), ending...)
		if len(raw) > 8<<10 || !ends(raw) {
			return
		}
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write(raw); err != nil {
			t.Fatal(err)
		}
		answers, err := io.ReadAll(c)
		if err != nil {
			t.Fatalf("%q is answered %q, then %v", raw, answers, err)
		}
		passed := j.take()
		stream := bytes.Join(backend.Take(), nil)
		for _, reader := range testkit.Readers() {
			got, err := reader.Read(stream)
			if err != nil || !slices.Equal(got, passed) {
				t.Fatalf("of %q a backend (%s) gets %q, that is\n%q, %v, and what was passed is\n%q", raw, reader.Name, stream, got, err, passed)
			}
		}
		for _, flaw := range testkit.OutgoingFlaws(stream) {
			t.Fatalf("of %q a backend gets %s", raw, flaw)
		}
		if n := strings.Count(string(answers), "X-Request-Id: "); n < len(passed) {
			t.Fatalf("of %q %d requests reached the backend, and %d were answered: %s", raw, len(passed), n, fmt.Sprintf("%q", answers))
		}
	})
}

package strict_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"sallyport/internal/gate"
	"sallyport/internal/strict"
)

type guardKey struct{}

// guardOf is the guarded connection of a request.
func guardOf(r *http.Request) *strict.Conn {
	g, _ := r.Context().Value(guardKey{}).(*strict.Conn)
	return g
}

// newServer is net/http's server, set up as Conn asks for.
func newServer(t testing.TB, h http.Handler) *http.Server {
	protocols := &http.Protocols{}
	protocols.SetHTTP1(true)
	return &http.Server{
		Handler:                      h,
		Protocols:                    protocols,
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     log.New(io.Discard, "", 0),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, guardKey{}, c)
		},
	}
}

// A guardListener guards every connection that it accepts.
type guardListener struct {
	net.Listener
	lim   strict.Limits
	hooks strict.Hooks
}

func (l guardListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return strict.NewConn(c, l.lim, l.hooks), nil
}

// serve runs a guarded server on loopback until the test ends and returns its
// address.
func serve(t testing.TB, h http.Handler, lim strict.Limits, hooks strict.Hooks) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return run(t, h, guardListener{l, lim, hooks})
}

// run serves on a listener until the test ends.
func run(t testing.TB, h http.Handler, l net.Listener) string {
	t.Helper()
	srv := newServer(t, h)
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	t.Cleanup(func() {
		_ = srv.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("Serve: %v", err)
		}
	})
	return l.Addr().String()
}

// A certificate is one that a test made up, and the pool that believes it.
type certificate struct {
	tls.Certificate
	pool *x509.CertPool
}

// newCertificate borrows the one of net/http's test server, for example.com.
func newCertificate(t testing.TB) certificate {
	t.Helper()
	srv := httptest.NewTLSServer(http.NotFoundHandler())
	defer srv.Close()
	pool := x509.NewCertPool()
	pool.AddCert(srv.Certificate())
	return certificate{srv.TLS.Certificates[0], pool}
}

// A tlsListener speaks TLS beneath the guard.
type tlsListener struct {
	net.Listener
	cfg *tls.Config
}

func (l tlsListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return strict.NewConn(tls.Server(c, l.cfg), strict.Limits{WriteRate: 500}, strict.Hooks{}), nil
}

// serveTLS is serve over TLS.
func serveTLS(t testing.TB, h http.Handler, c certificate) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return run(t, h, tlsListener{l, &tls.Config{Certificates: []tls.Certificate{c.Certificate}}})
}

// judge is a handler that answers as the gateway would in front of a backend
// that echoes: the refusal's status and reason, or the body and the target.
func judge(w http.ResponseWriter, r *http.Request) { judging(nil)(w, r) }

// judging is judge where optional reasons are asked for.
func judging(asked []gate.Reason) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { respond(w, r, guardOf(r).Head(r), asked) }
}

// respond is what judging does, for a handler that has taken the head already.
func respond(w http.ResponseWriter, r *http.Request, h *gate.Head, asked []gate.Reason) {
	g := guardOf(r)
	defer g.Resume() // this backend grants no upgrade
	found := h.Rejection
	if found == nil && len(h.Hygiene) > 0 {
		found = &h.Hygiene[0]
	}
	for i := range h.Optional {
		if found == nil && slices.Contains(asked, h.Optional[i].Reason) {
			found = &h.Optional[i]
		}
	}
	if found != nil {
		refuse(w, found.Verdict(gate.Enforce))
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		ve, ok := errors.AsType[*gate.VerdictError](err)
		if !ok {
			ve = &gate.VerdictError{Verdict: gate.Failure(gate.GatewayUndecided, err)}
		}
		if ve != g.BodyError() {
			ve = &gate.VerdictError{Verdict: gate.Failure(gate.GatewayPanic, errors.New("BodyError is another error"))}
		}
		refuse(w, ve.Verdict)
		return
	}
	w.Header().Set("X-Target", h.Target)
	w.Header().Set("Content-Type", "text/plain")
	_, _ = io.Copy(w, bytes.NewReader(body))
}

// refuse answers a verdict.
func refuse(w http.ResponseWriter, v gate.Verdict) {
	w.Header().Set("X-Reason", string(v.Reason))
	w.Header().Set("Connection", "close")
	w.WriteHeader(v.Status)
	_, _ = io.Copy(w, strings.NewReader("refused\n"))
}

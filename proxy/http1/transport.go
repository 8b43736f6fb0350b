// Package http1 speaks HTTP/1.1 to backends (RFC 9112). It is what the pipeline
// ends in, and as strict about answers as the other end is about requests: one
// framing, no byte of one answer that could be taken for another, and a
// connection that said anything odd is not used again.
//
// Beside net/http's client it does without goroutines and buffers for each
// connection, of which a slow client would pin a set, it never sends a request
// twice by itself, and it looks for bytes that nobody asked for right before a
// connection is used again.
package http1

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/textproto"
	"slices"
	"sync"
	"time"
)

// Config is what a Transport needs to know.
type Config struct {
	// Dial opens a connection to an address of an http URL, DialTLS one to that
	// of an https URL, handshake done. Both are bounded by themselves.
	Dial, DialTLS func(ctx context.Context, addr string) (net.Conn, error)
	// HeaderTimeout is how long a backend may take from the end of the request
	// to the head of its answer. 0: no limit.
	HeaderTimeout time.Duration
	// MaxHead bounds the head of an answer in bytes.
	MaxHead int
	// MaxIdle is how many connections wait for their next request, for each
	// backend, and IdleTime how long.
	MaxIdle  int
	IdleTime time.Duration
}

// A Transport sends requests to backends and keeps connections for the next
// ones. It may be used by several goroutines, and is a http.RoundTripper. The
// caller has to read a body to its end, close it, or end the request's context.
type Transport struct {
	cfg Config

	mu    sync.Mutex
	idle  map[key][]*conn // the one used last at the end
	sweep *time.Timer     // nil: nothing is idle
}

// A key tells which connections may be used for a request.
type key struct{ scheme, host string }

// A Watcher is told how a request fares. The context of the request carries it
// under WatcherKey.
type Watcher interface {
	// GetConn is called before a connection is looked for, GotConn when there is
	// one and nothing is written yet.
	GetConn()
	GotConn(c net.Conn, reused bool)
	// FirstByte is called with each part of a head, Interim with each interim
	// answer; its error ends the request.
	FirstByte()
	Interim(status int, fields textproto.MIMEHeader) error
}

// A Field is a field line of a request.
type Field struct{ Name, Value string }

// A Lister is a Watcher that knows the fields of its request in the order in
// which they are to be sent. Without one they are those of the request's Header,
// by name.
type Lister interface{ Fields() []Field }

// WatcherKey is the key of a Watcher in a context.
type WatcherKey struct{}

// unwatched is a Watcher that nobody has.
type unwatched struct{}

func (unwatched) GetConn()                                {}
func (unwatched) GotConn(net.Conn, bool)                  {}
func (unwatched) FirstByte()                              {}
func (unwatched) Interim(int, textproto.MIMEHeader) error { return nil }

// New makes a transport without connections.
func New(cfg Config) *Transport {
	return &Transport{cfg: cfg, idle: map[key][]*conn{}}
}

// RoundTrip implements http.RoundTripper. When the context of the request ends,
// the connection does, and the error is the context's cause. An error of the
// request's body is returned as it is; one of the backend may be a timeout (see
// net.Error).
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	watcher, ok := r.Context().Value(WatcherKey{}).(Watcher)
	if !ok {
		watcher = unwatched{}
	}
	sent := outgoing{Request: r}
	if l, ok := watcher.(Lister); ok {
		sent.fields = l.Fields()
	} else {
		sent.fields = listed(r.Header)
	}
	if err := sent.check(); err != nil {
		sent.closeBody()
		return nil, err
	}
	watcher.GetConn()
	c, reused, err := t.get(r)
	if err != nil {
		sent.closeBody()
		return nil, cause(r.Context(), err)
	}
	watcher.GotConn(c.Conn, reused)
	x := &exchange{c: c, request: sent, watcher: watcher}
	return x.run()
}

// cause is why a request failed: the end of its context, if it has ended.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

var errScheme = errors.New("neither an http nor an https URL")

// get returns a connection on which nothing is under way.
func (t *Transport) get(r *http.Request) (c *conn, reused bool, err error) {
	ctx := r.Context()
	if err := ctx.Err(); err != nil {
		return nil, false, err
	}
	dial := t.cfg.Dial
	switch r.URL.Scheme {
	case "http":
	case "https":
		dial = t.cfg.DialTLS
	default:
		return nil, false, errScheme
	}
	k := key{r.URL.Scheme, r.URL.Host}
	for {
		c := t.take(k)
		if c == nil {
			break
		}
		if c.quiet() {
			return c, true, nil
		}
		_ = c.Close() // it is closed on the other side, or worse
	}
	nc, err := dial(ctx, r.URL.Host)
	if err != nil {
		return nil, false, err
	}
	return &conn{Conn: nc, t: t, key: k}, false, nil
}

// take removes the idle connection that was used last.
func (t *Transport) take(k key) *conn {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := t.idle[k]
	if len(list) == 0 {
		return nil
	}
	c := list[len(list)-1]
	list[len(list)-1] = nil
	t.idle[k] = list[:len(list)-1]
	return c
}

// put keeps a connection for the next request.
func (t *Transport) put(c *conn) {
	if !t.keep(c) {
		_ = c.Close()
	}
}

func (t *Transport) keep(c *conn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.idle[c.key]) >= t.cfg.MaxIdle {
		return false
	}
	c.since = time.Now()
	t.idle[c.key] = append(t.idle[c.key], c)
	if t.sweep == nil {
		t.sweep = time.AfterFunc(t.cfg.IdleTime, t.clean)
	}
	return true
}

// clean closes what has been idle for too long.
func (t *Transport) clean() {
	for _, c := range t.expired(time.Now()) {
		_ = c.Close()
	}
}

// expired removes what has been idle for too long, and has clean run again
// when the next one will have been.
func (t *Transport) expired(now time.Time) []*conn {
	t.mu.Lock()
	defer t.mu.Unlock()
	var old []*conn
	var next time.Time
	for k, list := range t.idle {
		n := 0
		for n < len(list) && now.Sub(list[n].since) >= t.cfg.IdleTime {
			n++
		}
		old = append(old, list[:n]...)
		if list = slices.Delete(list, 0, n); len(list) == 0 {
			delete(t.idle, k)
			continue
		}
		if t.idle[k] = list; next.IsZero() || list[0].since.Before(next) {
			next = list[0].since
		}
	}
	if t.sweep = nil; !next.IsZero() {
		t.sweep = time.AfterFunc(next.Add(t.cfg.IdleTime).Sub(now), t.clean)
	}
	return old
}

// CloseIdleConnections closes the connections that wait for a request.
func (t *Transport) CloseIdleConnections() {
	t.mu.Lock()
	idle := t.idle
	t.idle = map[key][]*conn{}
	if t.sweep != nil {
		t.sweep.Stop()
		t.sweep = nil
	}
	t.mu.Unlock()
	for _, list := range idle {
		for _, c := range list {
			_ = c.Close()
		}
	}
}

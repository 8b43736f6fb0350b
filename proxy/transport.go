package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"sallyport/proxy/http1"
)

const (
	defaultConnect = 2 * time.Second
	// idleConns and idleConnTime bound the connections that wait for the next
	// request, per backend.
	idleConns    = 256
	idleConnTime = time.Minute
	// maxAnswerHead bounds the head of an answer.
	maxAnswerHead = 256 << 10
)

// Over HTTP/2, what a backend may send ahead of a slow client, per request, and
// how long a connection may be silent before it is asked whether it is still
// there, and may take to say so.
const (
	streamWindow = 256 << 10
	pingAfter    = 15 * time.Second
	pingTime     = 5 * time.Second
)

// agreed is how long it holds that a backend with TLS has chosen HTTP/1.1. One
// that learns HTTP/2 is spoken to in it a little later.
const agreed = time.Minute

// transports are the connections to the backends of a pool, by protocol. None
// changes anything on the way or asks the environment where to connect to.
type transports struct {
	http1 *http1.Transport // http, every WebSocket, and https where the backend chooses it
	tls2  *http.Transport  // https, where the backend chooses HTTP/2; nil: it is not offered
	h2c   *http.Transport  // HTTP/2 without TLS
	dial  dialer

	mu     sync.Mutex
	choice map[string]*choice // of backends with TLS, by address
}

// A choice is what a backend has agreed to.
type choice struct {
	asking chan struct{} // holds the one who finds out; the lock of the transports guards the rest
	known  bool
	http2  bool
	until  time.Time // for HTTP/1.1
	parked *tls.Conn // opened to find out, and not used yet; nil: none
	since  time.Time // when it was opened
	failed time.Time // when the last one could not be opened
	err    error     // why
}

func newTransports(cfg PoolConfig, names []*name) (*transports, error) {
	secure, err := tlsConfig(cfg.TLS)
	if err != nil {
		return nil, err
	}
	connect := cfg.Timeout.Connect
	if connect <= 0 {
		connect = defaultConnect
	}
	d := dialer{connect: connect, idle: cfg.Timeout.Idle, tls: secure, sockets: sockets(cfg.Backends), names: names}
	t := &transports{dial: d, h2c: newHTTP2(cfg), choice: map[string]*choice{}}
	t.http1 = http1.New(http1.Config{
		Dial: d.plain, DialTLS: t.secure1, HeaderTimeout: cfg.Timeout.Header,
		MaxHead: maxAnswerHead, MaxIdle: idleConns, IdleTime: idleConnTime,
	})
	t.h2c.Protocols.SetUnencryptedHTTP2(true)
	t.h2c.DialContext = func(ctx context.Context, _, addr string) (net.Conn, error) { return d.forHTTP2(ctx, addr) }
	if !cfg.TLS.HTTP1 {
		t.tls2 = newHTTP2(cfg)
		t.tls2.Protocols.SetHTTP2(true)
		t.tls2.DialTLSContext = func(ctx context.Context, _, addr string) (net.Conn, error) { return t.secure2(ctx, addr) }
	}
	return t, nil
}

func newHTTP2(cfg PoolConfig) *http.Transport {
	return &http.Transport{
		Proxy:                  nil,
		DisableCompression:     true,
		MaxIdleConns:           0, // bounded per backend
		MaxIdleConnsPerHost:    idleConns,
		IdleConnTimeout:        idleConnTime,
		ResponseHeaderTimeout:  cfg.Timeout.Header,
		MaxResponseHeaderBytes: maxAnswerHead,
		Protocols:              new(http.Protocols),
		HTTP2: &http.HTTP2Config{
			MaxReceiveBufferPerStream: streamWindow,
			SendPingTimeout:           pingAfter,
			PingTimeout:               pingTime,
		},
	}
}

// RoundTrip implements http.RoundTripper. It knows one scheme more, h2c. A
// WebSocket is opened over HTTP/1.1, whatever else the backend speaks: few
// servers take one over HTTP/2 (RFC 8441).
func (t *transports) RoundTrip(r *http.Request) (*http.Response, error) {
	a, _ := r.Context().Value(http1.WatcherKey{}).(*attempt) // nil: a health check
	upgrade := a != nil && a.v.req.Head.Upgrade
	switch r.URL.Scheme {
	case "https":
		if t.tls2 == nil || upgrade {
			break
		}
		if a != nil {
			a.GetConn()
		}
		http2, err := t.chooses(r.Context(), r.URL.Host)
		if err != nil {
			if r.Body != nil {
				_ = r.Body.Close() // a RoundTripper always does
			}
			return nil, err
		}
		if http2 {
			if a != nil {
				r = a.traced(r)
			}
			return t.tls2.RoundTrip(r)
		}
	case "h2c":
		u := *r.URL
		u.Scheme = "http"
		r = r.WithContext(r.Context())
		r.URL = &u
		if !upgrade {
			if a != nil {
				r = a.traced(r)
			}
			return t.h2c.RoundTrip(r)
		}
	}
	return t.http1.RoundTrip(r)
}

// chooses finds out whether a backend chooses HTTP/2 (RFC 7301). Where that is
// not known one request opens a connection, which is left for whoever needs one
// next, and the others wait for it.
func (t *transports) chooses(ctx context.Context, addr string) (http2 bool, err error) {
	t.mu.Lock()
	c := t.choice[addr]
	if c == nil {
		c = &choice{asking: make(chan struct{}, 1)}
		t.choice[addr] = c
	}
	t.mu.Unlock()
	if http2, known := t.known(c); known {
		return http2, nil
	}
	began := time.Now()
	select {
	case c.asking <- struct{}{}:
		defer func() { <-c.asking }()
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
	if http2, known := t.known(c); known { // somebody else has found out
		return http2, nil
	}
	if err := t.failed(c, began); err != nil { // or has tried, and so has this one
		return false, err
	}
	conn, err := t.dial.secure(ctx, addr, "h2", "http/1.1")
	if err != nil {
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		c.failed, c.err = time.Now(), err
		return false, err
	}
	http2, now := chosen(conn), time.Now()
	t.mu.Lock()
	old := c.parked
	c.known, c.http2, c.until, c.parked, c.since = true, http2, now.Add(agreed), conn, now
	t.mu.Unlock()
	if old != nil {
		_ = old.Close()
	}
	return http2, nil
}

func (t *transports) known(c *choice) (http2, known bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return c.http2, c.known && (c.http2 || time.Now().Before(c.until))
}

// failed is why no connection could be opened since then, or nil.
func (t *transports) failed(c *choice, since time.Time) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c.failed.After(since) {
		return c.err
	}
	return nil
}

// parkedTime is how long a connection may lie there before it is used: backends
// close those on which nothing is asked.
const parkedTime = 2 * time.Second

// take returns the connection that was opened to find out what a backend
// chooses, or nil.
func (t *transports) take(addr string, http2 bool) *tls.Conn {
	t.mu.Lock()
	c := t.choice[addr]
	if c == nil || c.parked == nil || c.http2 != http2 {
		t.mu.Unlock()
		return nil
	}
	conn, old := c.parked, time.Since(c.since) > parkedTime
	c.parked = nil
	t.mu.Unlock()
	if old {
		_ = conn.Close()
		return nil
	}
	return conn
}

// secure1 opens a connection for HTTP/1.1 with TLS.
func (t *transports) secure1(ctx context.Context, addr string) (net.Conn, error) {
	if c := t.take(addr, false); c != nil {
		return c, nil
	}
	return t.dial.secure(ctx, addr, "http/1.1")
}

var errNotHTTP2 = errors.New("the backend no longer chooses HTTP/2")

// secure2 opens one for HTTP/2.
func (t *transports) secure2(ctx context.Context, addr string) (net.Conn, error) {
	if c := t.take(addr, true); c != nil {
		return c, nil
	}
	c, err := t.dial.secure(ctx, addr, "h2", "http/1.1")
	if err != nil {
		return nil, err
	}
	if !chosen(c) {
		t.mu.Lock()
		if known := t.choice[addr]; known != nil {
			known.known = false
		}
		t.mu.Unlock()
		return nil, errors.Join(errNotHTTP2, c.Close())
	}
	return c, nil
}

// reach opens a connection to a backend, without TLS, and closes it.
func (t *transports) reach(ctx context.Context, b *backend) error {
	c, err := t.dial.plain(ctx, b.authority())
	if err != nil {
		return err
	}
	return c.Close()
}

// CloseIdleConnections closes the connections that no request uses.
func (t *transports) CloseIdleConnections() {
	t.http1.CloseIdleConnections()
	t.h2c.CloseIdleConnections()
	if t.tls2 != nil {
		t.tls2.CloseIdleConnections()
	}
	t.mu.Lock()
	all := t.choice
	t.choice = map[string]*choice{} // addresses that are gone must not stay for ever
	var parked []*tls.Conn
	for _, c := range all {
		if c.parked != nil {
			parked = append(parked, c.parked)
			c.parked = nil
		}
	}
	t.mu.Unlock()
	for _, c := range parked {
		_ = c.Close()
	}
}

// maxAnswerFields bounds the field lines of an answer: a head that is not large
// can still hold more of them than any client reads.
const maxAnswerFields = 1000

// malformed says what is wrong with the head of an answer that net/http has
// let pass. Over HTTP/2 the framing is not in the fields, and those that would
// speak of it are forbidden (RFC 9113 sections 8.2.2 and 8.1.1).
func malformed(resp *http.Response) error {
	lines := 0
	for _, values := range resp.Header {
		lines += len(values)
	}
	if lines > maxAnswerFields {
		return fmt.Errorf("%d fields", lines)
	}
	if resp.ProtoMajor < 2 {
		return nil
	}
	for _, name := range [...]string{"Connection", "Keep-Alive", "Proxy-Connection", "Transfer-Encoding", "Upgrade"} {
		if len(resp.Header[name]) > 0 {
			return fmt.Errorf("%s over HTTP/2", name)
		}
	}
	switch lengths := resp.Header["Content-Length"]; {
	case len(lengths) > 1:
		return errors.New("two lengths")
	case len(lengths) == 1 && strconv.FormatInt(resp.ContentLength, 10) != lengths[0]:
		return errors.New("a length that is not a number")
	}
	return nil
}

// tlsConfig reads the files that https backends are spoken to with.
func tlsConfig(cfg TLSConfig) (*tls.Config, error) {
	c := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		ServerName:         cfg.ServerName,
		InsecureSkipVerify: cfg.SkipVerify, // said in words in the configuration, and a warning there
		ClientSessionCache: tls.NewLRUClientSessionCache(0),
	}
	if cfg.CA != "" {
		pem, err := os.ReadFile(cfg.CA)
		if err != nil {
			return nil, fmt.Errorf("read the authorities of the backends: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read the authorities of the backends: no certificate in %s", cfg.CA)
		}
	}
	switch {
	case cfg.Cert == "" && cfg.Key == "":
	case cfg.Cert == "" || cfg.Key == "":
		return nil, errors.New("a client certificate needs both cert and key")
	default:
		pair, err := tls.LoadX509KeyPair(cfg.Cert, cfg.Key)
		if err != nil {
			return nil, fmt.Errorf("read the client certificate: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// Why a backend gives up a request over HTTP/2 (RFC 9113 section 7).
const (
	resetNone    = 1 << 32 // it does not
	resetRefused = 7
	resetCancel  = 8
)

// A streamError is what net/http's HTTP/2 calls by the same name; it converts
// its own to any type with these fields.
type streamError struct {
	StreamID uint32
	Code     uint32
	Cause    error
}

// Error implements error.
func (e streamError) Error() string { return fmt.Sprintf("stream %d: code %d", e.StreamID, e.Code) }

// resetCode is the code with which a backend has reset the stream of a request.
func resetCode(err error) uint64 {
	if e, ok := errors.AsType[streamError](err); ok {
		return uint64(e.Code)
	}
	return resetNone
}

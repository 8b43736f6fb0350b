package server

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"sallyport/internal/gate"
	"sallyport/internal/strict"
)

// A listener is one open socket. Its settings change with the generation; the
// socket stays.
type listener struct {
	address  string // as configured
	socket   net.Listener
	server   *Server
	settings atomic.Pointer[settings]
	closed   atomic.Bool
}

// settings are what a generation says of a listener. Never modified.
type settings struct {
	tls       *tls.Config // nil: none
	certs     []tls.Certificate
	http1     bool
	http2     bool // with TLS, by ALPN
	h2c       bool
	limits    strict.Limits
	handshake time.Duration
	proxied   []netip.Prefix // peers that must send a PROXY header
	proxyUnix bool           // so must whoever connects by the Unix socket
}

func newSettings(l Listener, cfg Config) *settings {
	set := &settings{
		http1: l.HTTP1, http2: l.HTTP2, h2c: l.H2C, limits: cfg.Limits, handshake: cfg.Limits.HeaderTimeout,
		proxied: l.ProxyProtocol, proxyUnix: l.ProxyProtocolUnix,
	}
	set.limits.MaxStreams = cfg.HTTP2.MaxStreams
	if len(l.Certificates) == 0 {
		return set
	}
	for _, c := range l.Certificates {
		set.certs = append(set.certs, c.Loaded)
	}
	set.tls = &tls.Config{
		Certificates: set.certs,
		MinVersion:   l.MinVersion,
		// Only AEAD suites with forward secrecy for TLS 1.2; TLS 1.3 has no
		// others (RFC 9325 section 4.2).
		CipherSuites: []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		},
	}
	if l.HTTP2 {
		set.tls.NextProtos = append(set.tls.NextProtos, "h2")
	}
	if l.HTTP1 {
		set.tls.NextProtos = append(set.tls.NextProtos, "http/1.1")
	}
	return set
}

// covers reports whether the certificate that a client was shown for an SNI is
// valid for host. With one certificate there is nothing to confuse.
func (set *settings) covers(sni, host string) bool {
	if len(set.certs) < 2 {
		return true
	}
	shown := set.certs[0] // what crypto/tls falls back to
	for _, c := range set.certs {
		if sni != "" && c.Leaf != nil && c.Leaf.VerifyHostname(sni) == nil {
			shown = c
			break
		}
	}
	return shown.Leaf != nil && shown.Leaf.VerifyHostname(host) == nil
}

// expectsHeader reports whether a connection has to begin with a PROXY header.
func (set *settings) expectsHeader(o gate.Origin) bool {
	if o.Unix {
		return set.proxyUnix
	}
	return slices.ContainsFunc(set.proxied, func(p netip.Prefix) bool { return p.Contains(o.Socket.Addr()) })
}

func (l *listener) close() {
	if !l.closed.Swap(true) {
		_ = l.socket.Close() // only ends the accept loop
	}
}

// accept takes connections until the socket is closed. It never reads: each
// connection is opened in a goroutine of its own, which net/http takes over or
// which ends within the handshake's time.
func (l *listener) accept() {
	var wait time.Duration
	for {
		raw, err := l.socket.Accept()
		if err == nil {
			wait = 0
			l.admit(raw)
			continue
		}
		if l.closed.Load() || errors.Is(err, net.ErrClosed) {
			return
		}
		// Out of descriptors, most likely: waiting is all that helps.
		wait = min(max(2*wait, 5*time.Millisecond), time.Second)
		l.server.log.Warn("accept failed", zap.String("listener", l.address), zap.Error(err), zap.Duration("retry_in", wait))
		time.Sleep(wait)
	}
}

// admit counts the connection and opens it, or closes it at once when there
// are too many. Whose a balancer's connection is tells only its PROXY header:
// until then it counts in total.
func (l *listener) admit(raw net.Conn) {
	origin, set := originOf(raw), l.settings.Load()
	counted := !set.expectsHeader(origin) && !l.trusts(origin)
	if !l.server.conns.add(raw, origin.Peer.Addr(), counted) {
		_ = raw.Close() // nothing was promised
		l.refuse(origin, gate.HTTPTooManyConnections, nil)
		return
	}
	l.server.accepts.Go(func() {
		boundUnsent(raw)
		l.pass(l.open(raw, origin, set))
	})
}

// turns closes the connection of a banned client and reports that it did. One
// that nobody named is not the balancer's doing.
func (l *listener) turns(base connBase) bool {
	run, peer := l.server.current.Load(), base.origin.Peer.Addr()
	if run == nil || !peer.IsValid() || base.origin.Unnamed {
		return false
	}
	away, record := run.Turn(peer)
	if away {
		base.drop()
		if record {
			base.refuse(gate.BanActive, nil)
		}
	}
	return away
}

// trusts reports whether who connected is a trusted proxy.
func (l *listener) trusts(o gate.Origin) bool {
	run := l.server.current.Load()
	return run != nil && run.TrustedPeer(o.Peer.Addr(), o.Unix)
}

// introduce reads the PROXY header of a balancer's connection, within the time
// for a head, and counts the connection for the client that it names. The
// balancer's own connections, and those of clients it cannot name, count in
// total only, as a trusted proxy's do. It reports false when it has ended the
// connection.
func (l *listener) introduce(raw net.Conn, base *connBase) (net.Conn, bool) {
	err := raw.SetReadDeadline(time.Now().Add(base.set.handshake))
	var source netip.AddrPort
	c := raw
	if err == nil {
		source, c, err = readProxyHeader(raw)
	}
	if err == nil {
		err = raw.SetReadDeadline(time.Time{})
	}
	if err != nil {
		base.drop()
		if !errors.Is(err, io.EOF) { // else it only looked whether we are there
			base.refuse(gate.HTTPProxyProtocol, err)
		}
		return nil, false
	}
	if !source.IsValid() {
		base.origin.Unnamed = true
		return c, true
	}
	base.origin.Peer, base.origin.ChosenBy = source, gate.ByPROXY
	if !l.trusts(base.origin) && !base.table().assign(raw, source.Addr()) {
		base.drop()
		base.refuse(gate.HTTPTooManyConnections, nil)
		return nil, false
	}
	return c, true
}

// open makes a raw connection ready for net/http: who it is from, TLS,
// protocol, guard. nil: it has ended. The guard is that of an HTTP/1 connection.
func (l *listener) open(raw net.Conn, origin gate.Origin, set *settings) (net.Conn, *conn1) {
	base, c := connBase{listener: l, origin: origin, set: set, raw: raw}, raw
	if set.expectsHeader(origin) {
		var ok bool
		if c, ok = l.introduce(raw, &base); !ok {
			return nil, nil
		}
	}
	if l.turns(base) {
		return nil, nil
	}
	if set.tls == nil {
		switch {
		case set.h2c:
			return l.sniff(c, base, nil)
		case set.http1:
			g := newConn1(c, base)
			return g, g
		}
		base.drop()
		return nil, nil
	}
	secured, err := l.secure(c, set)
	if err != nil {
		base.drop()
		base.refuse(gate.HTTPTLSHandshake, err)
		return nil, nil
	}
	state := secured.ConnectionState()
	base.sni = state.ServerName
	base.secured = true
	switch {
	case state.NegotiatedProtocol == "h2":
		return l.sniff(secured, base, &state)
	case set.http1:
		g := newConn1(secured, base)
		return &tlsConn1{conn1: g, secured: secured}, g
	}
	base.drop()
	base.refuse(gate.HTTPTLSHandshake, errors.New("the client does not speak HTTP/2"))
	return nil, nil
}

// sniff opens a connection that begins with the HTTP/2 preface, within its
// time: net/http would wait for the preface for ever. Without TLS (state is
// nil) it may be HTTP/1 instead, where the listener speaks that.
func (l *listener) sniff(c net.Conn, base connBase, state *tls.ConnectionState) (net.Conn, *conn1) {
	conn, two, err := sniff(c, base.set.handshake)
	switch {
	case err == nil && two:
		return newConn2(conn, base, state), nil
	case err == nil && state == nil && base.set.http1:
		g := newConn1(conn, base)
		return g, g
	}
	if err == nil {
		err = errNoPreface
	}
	base.drop()
	base.refuse(gate.HTTPNoHead, err)
	return nil, nil
}

// secure runs the TLS handshake within its time.
func (l *listener) secure(raw net.Conn, set *settings) (*tls.Conn, error) {
	conn := tls.Server(raw, set.tls)
	ctx, cancel := context.WithTimeout(context.Background(), set.handshake)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	return conn, nil
}

// pass gives a connection to the net/http server that speaks its protocol, an
// HTTP/1 connection once it has a head to serve: a client who is slow with its
// head holds a guard and a small stack, and no buffers of net/http's.
func (l *listener) pass(c net.Conn, guard *conn1) {
	switch {
	case c == nil:
		return
	case guard != nil && !guard.Await():
		_ = c.Close() // recorded by the guard
		return
	}
	for e := l.server.engines.Load(); ; {
		q := e.queue1
		if guard == nil {
			q = e.queue2
		}
		if q.put(c) {
			return
		}
		next := l.server.engines.Load()
		if next == e {
			_ = c.Close() // shutting down
			return
		}
		e = next // a reload has replaced the pair just now
	}
}

// refuse records a connection that never became a request.
func (l *listener) refuse(from gate.Origin, reason gate.Reason, err error) {
	v := gate.Refusal(reason, gate.Enforce, "")
	if err != nil {
		v.Detail = err.Error()
	}
	now := time.Now()
	address := ""
	if from.Peer.IsValid() {
		address = from.Peer.Addr().String()
	}
	l.server.opt.Record(gate.Record{
		V: gate.RecordVersion, Time: now, ID: gate.NewID(now),
		Action: v.Action.String(), Stage: v.Stage, Reason: v.Reason, Mode: gate.Enforce, Detail: v.Detail,
		Gateway:  gate.RecordGateway{Version: l.server.opt.Version, Generation: l.server.Generation()},
		Listener: l.address,
		Client:   gate.RecordClient{IP: address, Peer: from.SocketText(), ChosenBy: from.ChosenBy},
		Request:  gate.RecordRequest{Headers: []gate.RecordField{}},
		Micros:   map[string]int64{},
	})
}

// originOf tells where a connection comes from: unmapped and without zone, and
// without an address where the other end is a Unix socket or in memory.
func originOf(c net.Conn) gate.Origin {
	o := gate.Origin{ChosenBy: gate.ByPeer}
	switch addr := c.RemoteAddr().(type) {
	case *net.TCPAddr:
		ap := addr.AddrPort()
		o.Socket = netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
	case *net.UnixAddr:
		o.Unix = true
	}
	o.Peer = o.Socket
	return o
}

// preface is how an HTTP/2 client begins (RFC 9113 section 3.4).
var preface = []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")

var errNoPreface = errors.New("the connection does not begin with the HTTP/2 preface")

// sniff reads until the connection has shown whether it begins with the HTTP/2
// preface, and returns one that yields those bytes again.
func sniff(c net.Conn, within time.Duration) (net.Conn, bool, error) {
	if err := c.SetReadDeadline(time.Now().Add(within)); err != nil {
		return nil, false, err
	}
	head := make([]byte, 0, len(preface))
	for len(head) < len(preface) && bytes.HasPrefix(preface, head) {
		n, err := c.Read(head[len(head):cap(head)])
		head = head[:len(head)+n]
		if err != nil {
			return nil, false, err
		}
	}
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		return nil, false, err
	}
	return &replayed{Conn: c, head: head}, bytes.Equal(head, preface), nil
}

// replayed yields some bytes before those of the connection.
type replayed struct {
	net.Conn
	head []byte
}

func (r *replayed) Read(p []byte) (int, error) {
	if len(r.head) == 0 {
		return r.Conn.Read(p)
	}
	n := copy(p, r.head)
	r.head = r.head[n:]
	return n, nil
}

// CloseWrite ends the sending direction, where the connection has such a thing.
func (r *replayed) CloseWrite() error {
	if half, ok := r.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// A queue is the net.Listener through which net/http gets connections that
// are already open.
type queue struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newQueue() *queue { return &queue{conns: make(chan net.Conn), done: make(chan struct{})} }

// put reports false when the queue is closed.
func (q *queue) put(c net.Conn) bool {
	select {
	case q.conns <- c:
		return true
	case <-q.done:
		return false
	}
}

// Accept returns the next connection, io.EOF-like net.ErrClosed after Close.
func (q *queue) Accept() (net.Conn, error) {
	select {
	case c := <-q.conns:
		return c, nil
	case <-q.done:
		return nil, net.ErrClosed
	}
}

// Close ends Accept and put.
func (q *queue) Close() error {
	q.once.Do(func() { close(q.done) })
	return nil
}

// Addr is asked for by net/http and means nothing here.
func (q *queue) Addr() net.Addr { return &net.TCPAddr{} }

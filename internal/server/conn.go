package server

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"

	"sallyport/internal/gate"
	"sallyport/internal/strict"
)

// connBase is what every client connection knows of itself.
type connBase struct {
	listener *listener
	origin   gate.Origin
	set      *settings
	raw      net.Conn // what the connection table counts
	sni      string
	secured  bool
}

// Origin implements gate.Inbound.
func (b *connBase) Origin() gate.Origin { return b.origin }

// Listener implements gate.Inbound.
func (b *connBase) Listener() string { return b.listener.address }

// Covers implements gate.Inbound.
func (b *connBase) Covers(host string) bool { return !b.secured || b.set.covers(b.sni, host) }

// drop ends a connection that net/http never saw.
func (b *connBase) drop() {
	_ = b.raw.Close() // the client gets nothing either way
	b.table().remove(b.raw)
}

// refuse records that the connection never became a request, or is cut. That a
// balancer's own says nothing is no news: it only looks whether we are there.
func (b *connBase) refuse(reason gate.Reason, err error) {
	silent := reason == gate.HTTPNoHead || reason == gate.HTTPTLSHandshake && (errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET))
	if b.origin.Unnamed && silent {
		return
	}
	b.listener.refuse(b.origin, reason, err)
}

func (b *connBase) table() *connTable { return &b.listener.server.conns }

// conn1 is a guarded HTTP/1 connection. It is both what net/http reads from
// and what the handler asks about the connection.
type conn1 struct {
	*strict.Conn
	connBase
	lease atomic.Pointer[lease] // of the request that is being served
}

func newConn1(c net.Conn, base connBase) *conn1 {
	l := &conn1{connBase: base}
	l.Conn = strict.NewConn(c, base.set.limits, strict.Hooks{NoHead: base.refuse})
	return l
}

// hold lends the connection the lease of the request that it serves, so that
// Tunnel can give it up early; nil takes it back.
func (c *conn1) hold(l *lease) { c.lease.Store(l) }

// Tunnel implements gate.Inbound. The tunnel no longer needs the generation
// that opened it, so that old generations end while tunnels live on.
func (c *conn1) Tunnel() {
	c.Conn.Tunnel()
	if l := c.lease.Load(); l != nil {
		l.release()
	}
}

// Close closes the connection and gives up its place in the table.
func (c *conn1) Close() error {
	c.table().remove(c.raw)
	return c.Conn.Close()
}

// tlsConn1 is a conn1 behind TLS. net/http fills Request.TLS from a connection
// that has a ConnectionState method.
type tlsConn1 struct {
	*conn1
	secured *tls.Conn
}

// ConnectionState tells net/http how the connection is secured.
func (c *tlsConn1) ConnectionState() tls.ConnectionState { return c.secured.ConnectionState() }

// conn2 is a guarded HTTP/2 connection. It has no ConnectionState method, or
// net/http would not look for the preface; the server hands Request.TLS on
// itself.
type conn2 struct {
	*strict.HTTP2Conn
	connBase
	state *tls.ConnectionState // nil without TLS
}

func newConn2(c net.Conn, base connBase, state *tls.ConnectionState) *conn2 {
	l := &conn2{connBase: base, state: state}
	l.HTTP2Conn = strict.NewHTTP2Conn(c, base.set.limits, strict.Hooks{Cut: base.refuse})
	return l
}

// Tunnel implements gate.Inbound; HTTP/2 has no tunnels here.
func (c *conn2) Tunnel() {}

// Resume implements gate.Inbound.
func (c *conn2) Resume() {}

// Congested implements gate.Inbound: each stream has a window of its own, which
// only net/http knows.
func (c *conn2) Congested() bool { return false }

// Gather implements gate.Inbound: net/http gathers the frames by itself.
func (c *conn2) Gather() {}

// Send implements gate.Inbound.
func (c *conn2) Send() error { return nil }

// Close closes the connection and gives up its place in the table.
func (c *conn2) Close() error {
	c.table().remove(c.raw)
	return c.HTTP2Conn.Close()
}

// tableEntry says whom an open connection is counted for.
type tableEntry struct {
	key     netip.Prefix
	counted bool // false: a trusted proxy's, or not known yet whose; it counts in total only
}

// connTable bounds the open connections, in total and per client. It holds an
// entry per open connection and no more.
type connTable struct {
	mu        sync.Mutex
	open      map[net.Conn]tableEntry
	perClient map[netip.Prefix]int
	max       int
	maxClient int
}

func (t *connTable) limit(total, perClient int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.max, t.maxClient = total, perClient
}

// add reports false when there is no room for the connection.
func (t *connTable) add(c net.Conn, peer netip.Addr, counted bool) bool {
	key := clientKey(peer)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open == nil {
		t.open, t.perClient = map[net.Conn]tableEntry{}, map[netip.Prefix]int{}
	}
	if len(t.open) >= t.max || counted && t.perClient[key] >= t.maxClient {
		return false
	}
	t.open[c] = tableEntry{key, counted}
	if counted {
		t.perClient[key]++
	}
	return true
}

// assign counts an open connection for a client too, when it has become known
// whose it is. It reports false when that client has too many; the connection
// then still counts in total.
func (t *connTable) assign(c net.Conn, client netip.Addr) bool {
	key := clientKey(client)
	t.mu.Lock()
	defer t.mu.Unlock()
	entry, ok := t.open[c]
	if !ok || entry.counted || t.perClient[key] >= t.maxClient {
		return false
	}
	t.open[c] = tableEntry{key, true}
	t.perClient[key]++
	return true
}

func (t *connTable) remove(c net.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	entry, ok := t.open[c]
	delete(t.open, c)
	if !ok || !entry.counted {
		return
	}
	if t.perClient[entry.key]--; t.perClient[entry.key] == 0 {
		delete(t.perClient, entry.key)
	}
}

func (t *connTable) total() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.open)
}

// closeAll cuts every connection that is still open: tunnels, and what did
// not finish in time.
func (t *connTable) closeAll() {
	t.mu.Lock()
	left := make([]net.Conn, 0, len(t.open))
	for c := range t.open {
		left = append(left, c)
	}
	t.mu.Unlock()
	for _, c := range left {
		_ = c.Close() // they are being cut on purpose
	}
}

// clientKey is what connections are counted by: the address for IPv4, the /64
// for IPv6, whose low half one host chooses at will (RFC 4291 section 2.5.1).
func clientKey(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, err := a.Prefix(bits)
	if err != nil { // the zero Addr
		return netip.Prefix{}
	}
	return p
}

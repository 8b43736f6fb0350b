package server

import (
	"crypto/tls"
	"io/fs"
	"net/netip"
	"time"

	"sallyport/internal/strict"
)

// Config says where the gateway listens and what a connection may cost.
type Config struct {
	Listeners []Listener
	// Limits bound one connection (http.*).
	Limits strict.Limits
	// MaxConnections bounds all open client connections
	// (http.max_connections); default 10000.
	MaxConnections int
	// MaxPerClient bounds those of one address, IPv6 by /64
	// (http.max_connections_per_client); default 256. Behind a balancer that
	// speaks the PROXY protocol those of the source that it names. Not applied
	// to trusted proxies.
	MaxPerClient int
	HTTP2        HTTP2
	Admin        Admin
	// ShutdownTimeout is how long requests in flight may take after SIGTERM
	// (shutdown.timeout); default 30 s.
	ShutdownTimeout time.Duration
}

// A Listener is one address that clients connect to.
type Listener struct {
	Address string // host:port, or :port for all addresses, or unix:PATH
	// Mode is the permissions of a Unix socket; default 0660.
	Mode fs.FileMode
	// ProxyProtocol lists the peers that must begin each connection with a
	// PROXY header, version 1 or 2, and ProxyProtocolUnix says so of whoever
	// connects by the Unix socket. A header from anybody else is not HTTP.
	ProxyProtocol     []netip.Prefix
	ProxyProtocolUnix bool
	// Certificates are PEM files; empty: no TLS. Several are chosen by SNI.
	Certificates []Certificate
	MinVersion   uint16 // tls.VersionTLS12 (default) or tls.VersionTLS13
	// HTTP1, HTTP2 say which protocols are spoken; with TLS by ALPN. Default:
	// both with TLS, HTTP1 without.
	HTTP1, HTTP2 bool
	// H2C speaks HTTP/2 without TLS to clients that begin with its preface.
	H2C bool
}

// A Certificate is a pair of PEM files, and what was read from them.
type Certificate struct {
	Cert, Key string
	Loaded    tls.Certificate // set by the configuration's check
}

// HTTP2 bounds an HTTP/2 connection.
type HTTP2 struct {
	MaxStreams   int // http2.max_streams; default 100
	Window       int // bytes of the connection's receive window (http2.window); default 256 KiB
	StreamWindow int // bytes of a stream's (http2.stream_window); default 128 KiB
}

// Admin is the endpoint for operators.
type Admin struct {
	Address string   // host:port or unix:PATH; empty: none
	Hosts   []string // further Host values that are answered
	// MetricsOpen serves /metrics without the token off loopback
	// (admin.metrics: open).
	MetricsOpen bool
	// TokenFile holds the token for what changes state; made at first start.
	TokenFile string
}

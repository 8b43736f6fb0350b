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

// newTransport makes the connections to the backends of a pool. It asks nobody
// in the environment where to connect to.
func newTransport(cfg PoolConfig) (*http1.Transport, error) {
	secure, err := tlsConfig(cfg.TLS)
	if err != nil {
		return nil, err
	}
	connect := cfg.Timeout.Connect
	if connect <= 0 {
		connect = defaultConnect
	}
	d := &dialer{connect: connect, idle: cfg.Timeout.Idle, tls: secure, sockets: sockets(cfg.Backends)}
	return http1.New(http1.Config{
		Dial: d.plain, DialTLS: d.secure, HeaderTimeout: cfg.Timeout.Header,
		MaxHead: maxAnswerHead, MaxIdle: idleConns, IdleTime: idleConnTime,
	}), nil
}

// tlsConfig reads the files that https backends are spoken to with.
func tlsConfig(cfg TLSConfig) (*tls.Config, error) {
	c := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		ServerName:         cfg.ServerName,
		InsecureSkipVerify: cfg.SkipVerify, // said in words in the configuration, and a warning there
		NextProtos:         []string{"http/1.1"},
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

// A dialer opens connections to backends.
type dialer struct {
	connect time.Duration // TCP and TLS together
	idle    time.Duration // how long a backend may refuse to take bytes
	tls     *tls.Config
	sockets map[string]string // paths of Unix sockets, by address
}

func (d *dialer) plain(ctx context.Context, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.connect)
	defer cancel()
	return d.dial(ctx, addr)
}

func (d *dialer) dial(ctx context.Context, addr string) (net.Conn, error) {
	network := "tcp"
	if path, ok := d.sockets[addr]; ok {
		network, addr = "unix", path
	}
	c, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	if d.idle <= 0 {
		return c, nil
	}
	return &backendConn{Conn: c, idle: d.idle}, nil
}

func (d *dialer) secure(ctx context.Context, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.connect)
	defer cancel()
	c, err := d.dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	cfg := d.tls
	if cfg.ServerName == "" {
		cfg = cfg.Clone()
		if cfg.ServerName, _, err = net.SplitHostPort(addr); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	tc := tls.Client(c, cfg)
	if err := tc.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return tc, nil
}

// A backendConn bounds the time in which a backend takes no bytes: a process
// that is stopped while a large body is sent to it would hold the request for
// ever.
type backendConn struct {
	net.Conn
	idle time.Duration
}

// Write implements net.Conn. A deadline that passes while bytes are going,
// however slowly, is renewed.
func (c *backendConn) Write(p []byte) (int, error) {
	written := 0
	for {
		if err := c.SetWriteDeadline(time.Now().Add(c.idle)); err != nil {
			return written, err
		}
		n, err := c.Conn.Write(p[written:])
		written += n
		if n == 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return written, err
		}
	}
}

// NetConn returns the connection that it bounds.
func (c *backendConn) NetConn() net.Conn { return c.Conn }

// CloseWrite ends one direction, for tunnels.
func (c *backendConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return http.ErrNotSupported
}

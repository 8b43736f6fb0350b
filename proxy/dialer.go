package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"os"
	"time"
)

// A dialer opens connections to backends.
type dialer struct {
	connect time.Duration // TCP and TLS together
	idle    time.Duration // how long a backend may refuse to take bytes
	tls     *tls.Config
	sockets map[string]string // paths of Unix sockets, by address
	names   []*name
}

// plain opens a connection without TLS.
func (d dialer) plain(ctx context.Context, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.connect)
	defer cancel()
	c, err := d.dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// forHTTP2 opens one that many requests share.
func (d dialer) forHTTP2(ctx context.Context, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.connect)
	defer cancel()
	c, err := d.dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	c.shared = true
	return c, nil
}

func (d dialer) dial(ctx context.Context, addr string) (*backendConn, error) {
	network := "tcp"
	connect := func(ctx context.Context, addr string) (net.Conn, error) {
		return aside(func() (net.Conn, error) { return new(net.Dialer).DialContext(ctx, network, addr) })
	}
	var c net.Conn
	var err error
	if path, ok := d.sockets[addr]; ok {
		network = "unix"
		c, err = connect(ctx, path)
	} else if n := named(d.names, addr); n != nil {
		c, err = n.dial(ctx, addr, connect)
	} else {
		c, err = connect(ctx, addr)
	}
	if err != nil {
		return nil, err
	}
	return &backendConn{Conn: c, idle: d.idle}, nil
}

// aside runs f on a goroutine of its own. What opens a connection needs a deep
// stack, and that of the request would stay so large for as long as its client
// takes for the answer. f must not panic.
func aside[T any](f func() (T, error)) (T, error) {
	type result struct {
		got T
		err error
	}
	done := make(chan result, 1)
	go func() {
		got, err := f()
		done <- result{got, err}
	}()
	r := <-done
	return r.got, r.err
}

// secure opens a connection with TLS, and offers protocols.
func (d dialer) secure(ctx context.Context, addr string, protocols ...string) (*tls.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.connect)
	defer cancel()
	c, err := d.dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	cfg := d.tls.Clone()
	cfg.NextProtos = protocols
	if cfg.ServerName == "" {
		if n := named(d.names, addr); n != nil {
			cfg.ServerName = n.host
		} else if cfg.ServerName, _, err = net.SplitHostPort(addr); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	tc := tls.Client(c, cfg)
	if err := tc.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	c.shared = chosen(tc)
	return tc, nil
}

// chosen reports whether the backend has chosen HTTP/2.
func chosen(c *tls.Conn) bool { return c.ConnectionState().NegotiatedProtocol == "h2" }

// A backendConn bounds the time in which a backend takes no bytes: a process
// that is stopped while a large body is sent to it would hold the request for
// ever.
type backendConn struct {
	net.Conn
	idle   time.Duration // 0: no limit
	shared bool          // by many requests at a time
}

// shared reports whether a connection carries many requests at a time.
func shared(c net.Conn) bool {
	if secure, ok := c.(*tls.Conn); ok {
		c = secure.NetConn()
	}
	b, ok := c.(*backendConn)
	return ok && b.shared
}

// Write implements net.Conn. A deadline that passes while bytes are going,
// however slowly, is renewed.
func (c *backendConn) Write(p []byte) (int, error) {
	if c.idle <= 0 {
		return c.Conn.Write(p)
	}
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

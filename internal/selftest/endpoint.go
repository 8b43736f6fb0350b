package selftest

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
)

// An Endpoint is a server that is spoken to.
type Endpoint struct {
	Address string      // host:port
	TLS     *tls.Config // nil: plain
}

// ParseURL reads what --target and --backend name. The URL has no path: the
// corpus brings the targets. The server is asked for the certificate of the
// host that the requests will carry, if one is given; with insecure that is not
// verified.
func ParseURL(raw, host string, insecure bool) (Endpoint, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return Endpoint{}, err
	case u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return Endpoint{}, fmt.Errorf("%q is not http://HOST[:PORT] or https://HOST[:PORT]", raw)
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		return Endpoint{}, fmt.Errorf("%q has more than a host and a port; the cases bring their own targets", raw)
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	e := Endpoint{Address: net.JoinHostPort(u.Hostname(), port)}
	if u.Scheme == "https" {
		name, _, err := net.SplitHostPort(host)
		if err != nil {
			name = host // without a port
		}
		e.TLS = &tls.Config{
			ServerName:         cmp.Or(name, u.Hostname()),
			NextProtos:         []string{"http/1.1"},
			InsecureSkipVerify: insecure, //nolint:gosec // the operator asks for it, for a certificate of their own
		}
	}
	return e, nil
}

// OffersHTTP2 returns the endpoint as one that HTTP/2 is spoken to, if the
// server chooses that by ALPN from what it is offered; otherwise nil.
func (e Endpoint) OffersHTTP2(ctx context.Context) (*Endpoint, error) {
	e.TLS = e.TLS.Clone()
	e.TLS.NextProtos = []string{"h2", "http/1.1"}
	conn, err := e.dial(ctx)
	if err != nil {
		return nil, err
	}
	c, ok := conn.(*tls.Conn)
	chosen := ok && c.ConnectionState().NegotiatedProtocol == "h2"
	if err := conn.Close(); err != nil || !chosen {
		return nil, err
	}
	e.TLS.NextProtos = []string{"h2"}
	return &e, nil
}

// Loopback reports whether every address of the endpoint's name is one of this
// machine only.
func (e Endpoint) Loopback(ctx context.Context) (bool, error) {
	host, _, err := net.SplitHostPort(e.Address)
	if err != nil {
		return false, err
	}
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return false, err
	}
	for _, a := range found {
		if !a.Unmap().IsLoopback() {
			return false, nil
		}
	}
	return len(found) > 0, nil
}

// dial opens a connection, with its TLS handshake done.
func (e Endpoint) dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	if e.TLS == nil {
		return d.DialContext(ctx, "tcp", e.Address)
	}
	return (&tls.Dialer{NetDialer: &d, Config: e.TLS}).DialContext(ctx, "tcp", e.Address)
}

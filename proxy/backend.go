package proxy

import (
	"fmt"
	"net/url"
	"time"
)

// A backend on a Unix socket has no name of its own, and a request needs one
// where the client gave none. Applications take this one for themselves.
const socketName = "localhost"

// isSocket tells whether a backend is reached by a Unix socket, whose path is
// the opaque part of its URL.
func isSocket(u *url.URL) bool { return u.Scheme == "unix" && u.Opaque != "" }

// socketHost is the host that the transport knows the backend with an index by
// when it is reached by a Unix socket. Nobody else has such a name (RFC 6761
// section 6.4), and it is never sent.
func socketHost(index int) string { return fmt.Sprintf("unix-%d.invalid:80", index) }

// sockets are the paths of the backends on Unix sockets, by the address that
// the transport asks its dialer for.
func sockets(backends []BackendConfig) map[string]string {
	paths := map[string]string{}
	for i, bc := range backends {
		if bc.URL != nil && isSocket(bc.URL) {
			paths[socketHost(i)] = bc.URL.Opaque
		}
	}
	return paths
}

// newBackend makes the backend with an index in its pool.
func newBackend(index int, bc BackendConfig, now time.Time) (*backend, error) {
	weight := max(1, bc.Weight)
	b := &backend{
		name: bc.Name, wanted: weight, backup: bc.Backup, zone: bc.Zone.fix(), seed: seedOf(bc.Name), mark: markOf(bc.Name),
		server: &server{configured: weight, weight: weight, since: now},
	}
	switch {
	case bc.URL == nil:
	case isSocket(bc.URL):
		b.url = &url.URL{Scheme: "http", Host: socketHost(index)}
		b.host, b.shown = socketName, bc.URL.String()
		return b, nil
	case bc.URL.Host != "" && (bc.URL.Scheme == "http" || bc.URL.Scheme == "https" || bc.URL.Scheme == "h2c"):
		b.url = &url.URL{Scheme: bc.URL.Scheme, Host: bc.URL.Host}
		b.host, b.shown = bc.URL.Host, b.url.String()
		b.dns = newName(index, b.host)
		return b, nil
	}
	return nil, fmt.Errorf("backend %s: neither an http, https or h2c URL with a host nor a Unix socket", bc.Name)
}

// authority is the host and port by which the transport reaches the backend for
// the next request.
func (b *backend) authority() string {
	if b.dns != nil {
		return b.dns.pick()
	}
	return b.url.Host
}

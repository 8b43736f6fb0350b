package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"sallyport/proxy"
)

// newPool is a pool with every default and no backend.
func newPool(name string) proxy.PoolConfig {
	return proxy.PoolConfig{
		Name:    name,
		Balance: proxy.RoundRobin, HashOn: proxy.HashClient,
		Sticky: proxy.StickyConfig{For: 24 * time.Hour},
		Queue:  proxy.QueueConfig{Length: 100, Wait: 2 * time.Second},
		Health: proxy.HealthConfig{Interval: 5 * time.Second, Timeout: 2 * time.Second, Healthy: 2, Unhealthy: 3,
			Status: []proxy.StatusRange{{From: 200, To: 399}}},
		Eject:   proxy.EjectConfig{Errors: 5, Within: 10 * time.Second, For: 30 * time.Second, AtMost: 0.5, MinRequests: 20},
		Retry:   proxy.RetryConfig{Attempts: 2, Budget: 0.2},
		Timeout: proxy.TimeoutConfig{Connect: 2 * time.Second, Header: time.Minute, Idle: time.Minute},
	}
}

func (r *reader) pool(o *object, name string) proxy.PoolConfig {
	p := newPool(name)
	o.each("backends", func(o *object, i int) {
		b := proxy.BackendConfig{Name: fmt.Sprintf("%s-%d", name, i+1), Weight: 1}
		set(o, "name", &b.Name, parseName)
		o.require("url", set(o, "url", &b.URL, r.backend))
		set(o, "weight", &b.Weight, integer(1, 1000))
		set(o, "zone", &b.Zone, parseZone)
		set(o, "backup", &b.Backup, flag("false", "true"))
		r.unique(o.join("name"), "backend of the pool", b.Name, len(p.Backends), func(i int) string { return p.Backends[i].Name })
		p.Backends = append(p.Backends, b)
	})
	if path := o.join("backends"); len(p.Backends) == 0 && !r.wrong[path] && !r.wrong[o.path] {
		r.fail(path, "no backend", `write [{url: "http://127.0.0.1:3000"}]`)
	}
	r.balancing(o, &p)
	o.section("health", func(o *object) { r.health(o, &p.Health) })
	o.section("eject", func(o *object) {
		set(o, "errors", &p.Eject.Errors, integer(0, 1_000_000))
		set(o, "within", &p.Eject.Within, duration(time.Millisecond, 24*time.Hour))
		set(o, "for", &p.Eject.For, duration(time.Millisecond, 24*time.Hour))
		set(o, "at_most", &p.Eject.AtMost, percent)
		set(o, "ratio", &p.Eject.Ratio, percent)
		set(o, "min_requests", &p.Eject.MinRequests, integer(1, 1_000_000))
	})
	o.section("retry", func(o *object) {
		set(o, "attempts", &p.Retry.Attempts, integer(1, 10))
		set(o, "budget", &p.Retry.Budget, percent)
	})
	o.section("tls", func(o *object) { r.poolTLS(o, &p.TLS) })
	o.section("timeout", func(o *object) {
		set(o, "connect", &p.Timeout.Connect, duration(time.Millisecond, time.Hour))
		set(o, "header", &p.Timeout.Header, duration(0, 24*time.Hour))
		set(o, "idle", &p.Timeout.Idle, duration(0, 24*time.Hour))
	})
	return p
}

func (r *reader) poolTLS(o *object, t *proxy.TLSConfig) {
	set(o, "ca", &t.CA, r.file)
	set(o, "cert", &t.Cert, r.file)
	set(o, "key", &t.Key, r.file)
	set(o, "server_name", &t.ServerName, func(s string) (string, error) {
		if _, err := netip.ParseAddr(s); err != nil && s != "" && !isHost(s) {
			return "", &problem{fmt.Sprintf("bad host %q", s), "write a host name without a port"}
		}
		return s, nil
	})
	http2 := true
	set(o, "http2", &http2, flag("false", "true"))
	t.HTTP1 = !http2
	verify := true
	set(o, "verify", &verify, flag("false", "true"))
	t.SkipVerify = !verify
	switch {
	case t.Cert != "" && t.Key == "":
		r.fail(o.join("cert"), "a certificate without its key", "write key too")
	case t.Cert == "" && t.Key != "":
		r.fail(o.join("key"), "a key without its certificate", "write cert too")
	}
	if t.SkipVerify {
		r.warn(o.join("verify"), "the backends' certificates are not verified: whoever stands between can read and change everything",
			"write ca for an authority of your own")
	}
}

// backend accepts where a backend is: a URL, or a Unix socket.
func (r *reader) backend(s string) (*url.URL, error) {
	if path, ok := strings.CutPrefix(s, unixPrefix); ok {
		return r.socketBackend(path)
	}
	for _, theirs := range []string{"http://unix:", "http+unix:", "unix/", "unix@"} { // as others write it
		if strings.HasPrefix(s, theirs) {
			return nil, &problem{fmt.Sprintf("bad URL %q", s), "write a Unix socket as unix:/path/of/socket"}
		}
	}
	return parseBackend(s)
}

// parseBackend accepts the URL of a backend: scheme, host and port. The result
// always has a port.
func parseBackend(s string) (*url.URL, error) {
	bad := func(why, hint string) (*url.URL, error) {
		return nil, &problem{fmt.Sprintf("bad URL %q: %s", s, why), hint}
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Scheme == "" || u.Host == "" && u.Opaque != "":
		return bad("not an absolute URL", "write http://host:port or https://host:port")
	case u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "h2c":
		return bad("the scheme is not http, https or h2c", "write http://host:port, https://host:port, or h2c://host:port for HTTP/2 without TLS")
	case u.User != nil:
		// The password is not repeated: diagnostics end in logs.
		return nil, &problem{"a URL with a user name", "remove it"}
	case u.Hostname() == "":
		return bad("no host", "write http://host:port or https://host:port")
	case u.Path != "" && u.Path != "/":
		return bad("it has a path", "remove it: requests keep the path that they came with")
	case u.RawQuery != "" || u.ForceQuery || strings.Contains(s, "#"):
		return bad("it has a query or a fragment", "remove it")
	}
	host, port := u.Hostname(), u.Port()
	if addr, err := netip.ParseAddr(host); (err != nil || addr.Zone() != "") && !isHost(host) {
		return bad("not a host", "write a host name or an address")
	}
	if port == "" {
		port = map[string]string{"http": "80", "h2c": "80", "https": "443"}[u.Scheme]
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || strings.HasSuffix(u.Host, ":") {
		return bad("not a port", "write a port from 1 to 65535")
	}
	return &url.URL{Scheme: u.Scheme, Host: net.JoinHostPort(strings.ToLower(host), port)}, nil
}

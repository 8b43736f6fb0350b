package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"sallyport/internal/gate"
	"sallyport/proxy"
	"sallyport/waf"
)

// check judges what only several keys together can tell.
func (r *reader) check(c *Config) {
	r.checkListeners(c)
	r.checkAdmin(c)
	r.checkClients(c)
	r.checkSockets(c)
	r.checkGeo(c)
	r.checkLimits(c)
	r.checkPolicies(c)
	r.checkRedirects(c)
	r.checkFieldValues(c)
	for i, p := range c.Proxy.Pools {
		r.checkPool(c, p, slices.ContainsFunc(c.Proxy.Pools[:i], func(q proxy.PoolConfig) bool { return q.Name == p.Name }))
	}
	if c.Audit.RulesLog != "" && c.Audit.RulesLog == c.Audit.Path {
		r.fail("audit.rules_log", "the same file as audit.path", "records and rule lines need a file each")
	}
}

func (r *reader) checkListeners(c *Config) {
	for i, l := range c.Server.Listeners {
		for j, above := range c.Server.Listeners[:i] {
			if overlap(l.Address, above.Address) {
				r.fail(fmt.Sprintf("listeners[%d].address", i), fmt.Sprintf("%s is taken by listeners[%d], %s", l.Address, j, above.Address), "")
				break
			}
		}
		if overlap(l.Address, c.Server.Admin.Address) {
			path, what := "admin.address", fmt.Sprintf("%s is taken by listeners[%d], %s", c.Server.Admin.Address, i, l.Address)
			if !r.written(path) {
				path, what = fmt.Sprintf("listeners[%d].address", i), fmt.Sprintf("%s is taken by the admin endpoint, %s", l.Address, c.Server.Admin.Address)
			}
			r.fail(path, what, "choose another one")
		}
	}
}

func (r *reader) checkAdmin(c *Config) {
	a := c.Server.Admin
	host, port, err := net.SplitHostPort(a.Address)
	if a.Address == "" || err != nil || strings.HasPrefix(a.Address, "unix:") {
		return
	}
	if a.MetricsOpen && !isLoopback(host) {
		r.warn("admin.metrics", "whoever reaches "+a.Address+" reads the metrics", "write token, or a loopback address")
	}
	if isWildcard(host) && len(a.Hosts) == 0 {
		r.warn("admin.address", "only requests for localhost will be answered: no other name is known for all addresses",
			"list the names or addresses that are used in admin.hosts, as in gateway.internal:"+port)
	}
}

func (r *reader) checkClients(c *Config) {
	if len(c.Client.Trusted) == 0 && !c.Client.TrustUnix {
		for key, changed := range map[string]bool{
			"clients.header":     !strings.EqualFold(c.Client.Header, r.defaults().Client.Header),
			"clients.request_id": c.Client.TrustRequestID,
		} {
			if changed && !r.within("clients.trusted_proxies") {
				r.warn(key, "without effect: no proxy is trusted", "list the proxies in clients.trusted_proxies")
			}
		}
	}
}

// checkGeo refuses rules that no database can answer and that would therefore
// let everybody pass. An allow list that nobody can be found on refuses
// everybody instead, which is safe, and hardly meant.
func (r *reader) checkGeo(c *Config) {
	r.checkGeoHeaders(c)
	if c.Geo.Mode == gate.Off {
		return
	}
	r.checkGeoRules(c, "geo", c.Geo.Global)
	for i, rc := range c.Proxy.Routes {
		r.checkGeoRules(c, fmt.Sprintf("routes[%d].geo", i), c.Geo.Routes[rc.Route.Name])
	}
}

func (r *reader) checkPolicies(c *Config) {
	used := map[string]bool{}
	for _, rc := range c.Proxy.Routes {
		used[rc.Route.Policy] = true
	}
	for _, name := range policyNames(c) {
		path := "policies." + name
		if !used[name] && name != defaultPolicy && r.written(path) && !r.within("routes") {
			r.warn(path, "no route uses this policy", "")
		}
		if c.WAF.Policies[name].Inspect > c.WAF.Memory {
			r.inspectFits(path+".request_body.inspect", c.WAF, name)
		}
	}
}

// inspectFits reports a body that could never be held.
func (r *reader) inspectFits(path string, w waf.Config, name string) {
	if !r.written(path) {
		path = "waf.memory"
	}
	r.fail(path, fmt.Sprintf("one body of policy %s, %s, does not fit into waf.memory, %s", name, writeSize(w.Policies[name].Inspect), writeSize(w.Memory)), "")
}

func (r *reader) checkPool(c *Config, p proxy.PoolConfig, repeated bool) {
	if repeated {
		return // a duplicate key, reported as such
	}
	r.checkBalance(c, p)
	path := "pools." + p.Name
	secure := false
	for i, b := range p.Backends {
		if b.URL == nil {
			secure = true // reported; it may have been one
			continue
		}
		secure = secure || b.URL.Scheme == "https"
		at := fmt.Sprintf("%s.backends[%d].url", path, i)
		r.checkLoop(c, at, b.URL)
		for j, above := range p.Backends[:i] {
			if above.URL != nil && *above.URL == *b.URL {
				r.warn(at, fmt.Sprintf("the same server as backends[%d]", j), "a larger weight does the same, and counts errors in one place")
				break
			}
		}
	}
	if p.TLS != (proxy.TLSConfig{}) && !secure {
		r.warn(path+".tls", "without effect: no backend of the pool is https", "")
	}
	if p.Health.Timeout > p.Health.Interval {
		at := path + ".health.timeout"
		if !r.written(at) {
			at = path + ".health.interval"
		}
		r.fail(at, fmt.Sprintf("a check may take %s, but one starts every %s", writeDuration(p.Health.Timeout), writeDuration(p.Health.Interval)),
			"write a timeout that is not longer than the interval")
	}
	if !r.within("routes") && !slices.ContainsFunc(c.Proxy.Routes, func(rc proxy.RouteConfig) bool { return usesPool(rc, p.Name) }) {
		r.warn(path, "no route uses this pool", "")
	}
}

// checkLoop refuses a backend that is the gateway itself: requests would go
// round until something breaks, or reach the admin endpoint from outside.
func (r *reader) checkLoop(c *Config, path string, backend *url.URL) {
	target := backend.Host
	if backend.Opaque != "" { // a Unix socket
		target = backend.String()
	}
	if r.reaches(target, c.Server.Admin.Address) {
		r.fail(path, "this is the gateway's own admin endpoint, "+c.Server.Admin.Address, "name the application's address")
		return
	}
	for i, l := range c.Server.Listeners {
		if r.reaches(target, l.Address) {
			r.fail(path, fmt.Sprintf("this is the gateway itself: listeners[%d], %s", i, l.Address), "name the application's address")
			return
		}
	}
}

// reaches tells whether a connection to target arrives at a socket that
// listens on address.
func (r *reader) reaches(target, address string) bool {
	if strings.HasPrefix(target, unixPrefix) || strings.HasPrefix(address, unixPrefix) {
		return target == address
	}
	host, port, err := net.SplitHostPort(target)
	if err != nil {
		return false
	}
	at, listens, err := net.SplitHostPort(address)
	if err != nil || port != listens {
		return false
	}
	if isWildcard(at) {
		addr, err := netip.ParseAddr(host)
		return isLoopback(host) || isWildcard(host) || err == nil && slices.Contains(r.local, addr.Unmap())
	}
	return sameHost(host, at) || isWildcard(host) && isLoopback(at)
}

// overlap tells whether two addresses cannot both be listened on.
func overlap(a, b string) bool {
	if strings.HasPrefix(a, unixPrefix) || strings.HasPrefix(b, unixPrefix) {
		return a == b
	}
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	if errA != nil || errB != nil || portA != portB || portA == "0" {
		return false
	}
	if isWildcard(hostA) || isWildcard(hostB) {
		return !(hostA == "0.0.0.0" && strings.Contains(hostB, ":") && !isWildcard(hostB)) &&
			!(hostB == "0.0.0.0" && strings.Contains(hostA, ":") && !isWildcard(hostA))
	}
	return sameHost(hostA, hostB)
}

func isWildcard(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "" || err == nil && addr.IsUnspecified()
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && addr.Unmap().IsLoopback()
}

// sameHost tells whether two names are the same host as far as they show it.
func sameHost(a, b string) bool {
	if strings.EqualFold(a, b) {
		return true
	}
	if strings.EqualFold(a, "localhost") || strings.EqualFold(b, "localhost") {
		return isLoopback(a) && isLoopback(b)
	}
	x, errX := netip.ParseAddr(a)
	y, errY := netip.ParseAddr(b)
	return errX == nil && errY == nil && x.Unmap() == y.Unmap()
}

package config

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"sallyport/internal/gate"
	"sallyport/limiter"
	"sallyport/proxy"
)

// routes reads the routes; what they refer to has been read before.
func (r *reader) routes(o *object, c *Config) {
	o.each("routes", func(o *object, _ int) {
		rc := r.route(o, c)
		r.unique(o.join("name"), "route", rc.Route.Name, len(c.Proxy.Routes), func(i int) string { return c.Proxy.Routes[i].Route.Name })
		for i, above := range c.Proxy.Routes {
			if above.Route.Name != rc.Route.Name && covers(above, rc) {
				r.warn(o.path, fmt.Sprintf("never reached: route %s (routes[%d]) takes all that this one would", above.Route.Name, i),
					"move it up, or remove it")
				break
			}
		}
		c.Proxy.Routes = append(c.Proxy.Routes, rc)
	})
	if len(c.Proxy.Routes) == 0 && !r.wrong["routes"] {
		r.fail("routes", "no route: nothing would be forwarded", "write [{name: all, pool: NAME}] to send everything to one pool")
	}
}

func (r *reader) route(o *object, c *Config) proxy.RouteConfig {
	rc := proxy.RouteConfig{
		Route:  gate.Route{Policy: defaultPolicy, MaskErrors: c.MaskErrors},
		Tunnel: proxy.TunnelConfig{Idle: 10 * time.Minute},
		Mask:   c.Mask,
	}
	rt := &rc.Route
	o.require("name", set(o, "name", &rt.Name, parseName))
	setList(o, "hosts", &rc.Hosts, parseRouteHost)
	setList(o, "paths", &rc.Paths, parseRoutePath)
	setList(o, "methods", &rt.Methods, parseMethod)
	set(o, "pool", &rt.Pool, reference("pool", "pools", poolNames(c.Proxy.Pools)))
	r.split(o, &rc, poolNames(c.Proxy.Pools))
	set(o, "policy", &rt.Policy, reference("policy", "policies", policyNames(c)))
	rt.Limits = limitNames(c.Limiter.Limits)
	setList(o, "limits", &rt.Limits, reference("limit", "limits", limitNames(c.Limiter.Limits)))
	if rt.Limits == nil {
		rt.Limits = []string{} // none; nil would be all
	}
	o.section("geo", func(o *object) {
		if g := r.geoRules(o); len(g.Deny)+len(g.Allow)+len(g.DenyFiles)+len(g.AllowFiles) > 0 || g.DenyUnknown {
			c.Geo.Routes[rt.Name] = g
		}
	})
	rt.Waive, rt.Refuse = r.choices(o, c.Proxy.Waive, c.Proxy.Refuse)
	set(o, "max_body", &rt.MaxBody, size[int64](0, 1<<40))
	if rt.MaxBody == 0 {
		rt.MaxBody = c.Proxy.MaxBody
	}
	set(o, "timeout", &rc.Timeout, duration(0, 24*time.Hour))
	o.section("tunnel", func(o *object) {
		set(o, "idle", &rc.Tunnel.Idle, duration(0, 7*24*time.Hour))
		set(o, "max", &rc.Tunnel.Max, duration(0, 30*24*time.Hour))
	})
	r.shape(o, &rc)
	o.section("mask", func(o *object) { r.mask(o, &rt.MaskErrors, &rc.Mask, nil) })
	return rc
}

// reference accepts the name of something that is defined elsewhere.
func reference(what, where string, names []string) func(string) (string, error) {
	return func(s string) (string, error) {
		if slices.Contains(names, s) {
			return s, nil
		}
		hint := didYouMean(s, names)
		if hint == "" {
			hint = "define it under " + where
			if len(names) > 0 && len(names) <= 8 {
				hint += ", or use " + strings.Join(names, ", ")
			}
		}
		return "", &problem{fmt.Sprintf("no such %s %q", what, s), hint}
	}
}

func poolNames(pools []proxy.PoolConfig) []string {
	names := make([]string, len(pools))
	for i, p := range pools {
		names[i] = p.Name
	}
	return names
}

func policyNames(c *Config) []string { return slices.Sorted(maps.Keys(c.WAF.Policies)) }

func limitNames(limits []limiter.Limit) []string {
	names := make([]string, len(limits))
	for i, l := range limits {
		names[i] = l.Name
	}
	return names
}

// parseRouteHost accepts a host name, an address, or "*.name" for everything
// below a name. A name with other letters than ASCII is turned into the form
// that clients ask for.
func parseRouteHost(s string) (string, error) {
	bad := &problem{fmt.Sprintf("bad host %q", s), "write a host name as shop.example.org, or \"*.example.org\""}
	if name, wild := strings.CutPrefix(s, "*."); strings.ContainsFunc(s, func(c rune) bool { return c > 0x7e }) && !strings.ContainsAny(s, ":/") {
		ascii, err := asciiHost(name)
		if wild && err == nil {
			ascii = "*." + ascii
		}
		return ascii, err
	}
	name := strings.TrimPrefix(s, "*.")
	switch {
	case s == "*":
		bad.hint = "leave hosts out to take every host"
	case strings.Contains(s, "://"):
		bad.hint = "write the host alone, without a scheme"
	case isHost(name):
		return strings.ToLower(s), nil
	case strings.HasSuffix(s, ".") && isHost(strings.TrimSuffix(name, ".")):
		bad.hint = "remove the dot at the end"
	case strings.Count(s, ":") == 1:
		bad.hint = "write the host alone, without a port"
	}
	if literal, ok := strings.CutPrefix(s, "["); ok {
		if addr, err := netip.ParseAddr(strings.TrimSuffix(literal, "]")); err == nil && "["+addr.String()+"]" == s {
			return s, nil
		}
	} else if addr, err := netip.ParseAddr(s); err == nil && addr.Is4() {
		return s, nil
	} else if err == nil {
		bad.hint = fmt.Sprintf("did you mean [%s]?", addr)
	}
	return "", bad
}

// parseRoutePath accepts a prefix of paths, or "=/path" for one path.
func parseRoutePath(s string) (string, error) {
	if path, exact := strings.CutPrefix(s, "="); exact {
		path, err := parsePrefixPath(path)
		return "=" + path, err
	}
	return parsePrefixPath(s)
}

// parsePrefixPath accepts a path in the canonical form that paths are matched
// in: without dot segments, and with nothing encoded that need not be (RFC
// 3986 section 6.2.2).
func parsePrefixPath(s string) (string, error) {
	bad := &problem{fmt.Sprintf("bad path %q", s), ""}
	if !strings.HasPrefix(s, "/") {
		bad.hint = "write a path that begins with /"
		return "", bad
	}
	if strings.Contains(s, "//") {
		bad.hint = "paths are matched without empty segments; write one / for //"
		return "", bad
	}
	for segment := range strings.SplitSeq(s[1:], "/") {
		if segment == "." || segment == ".." {
			bad.hint = "paths are matched without dot segments; remove them"
			return "", bad
		}
	}
	for i := 0; i < len(s); i++ {
		c := rune(s[i])
		switch {
		case c == '%':
			if hint := badTriplet(s[i:]); hint != "" {
				bad.hint = hint
				return "", bad
			}
			i += 2
		case c == '*':
			bad.hint = "a path is a prefix; leave the * out"
			return "", bad
		case c == '?' || c == '#' || c == ';':
			bad.hint = "only paths are matched; remove what follows " + string(c)
			return "", bad
		case !isUnreserved(byte(c)) && !strings.ContainsRune("/!$&'()+,=:@", c):
			bad.hint = fmt.Sprintf("write %%%02X for the byte %q", s[i], s[i:i+1])
			return "", bad
		}
	}
	return s, nil
}

// badTriplet says what is wrong with a percent-encoded byte at the start of s.
func badTriplet(s string) string {
	const hex = "0123456789ABCDEF"
	if len(s) < 3 {
		return "write two hex digits after %"
	}
	up := strings.ToUpper(s[1:3])
	hi, lo := strings.IndexByte(hex, up[0]), strings.IndexByte(hex, up[1])
	if hi < 0 || lo < 0 {
		return "write two hex digits after %"
	}
	if c := byte(hi<<4 | lo); isUnreserved(c) {
		return fmt.Sprintf("write %c for %s", c, s[:3])
	}
	if up != s[1:3] {
		return fmt.Sprintf("write %%%s for %s", up, s[:3])
	}
	return ""
}

func isUnreserved(c byte) bool {
	return isAlnum(rune(c)) || strings.IndexByte("-._~", c) >= 0
}

// covers tells whether a route above takes every request that one below it
// would take.
func covers(above, below proxy.RouteConfig) bool {
	if len(above.Route.Methods) > 0 {
		return false // it leaves the methods that it does not name to those below
	}
	return all(below.Hosts, above.Hosts, hostCovers) && all(orRoot(below.Paths), orRoot(above.Paths), pathCovers)
}

// all tells whether each entry of below has one of above that covers it. An
// empty list takes everything.
func all(below, above []string, covers func(above, below string) bool) bool {
	if len(above) == 0 {
		return true
	}
	for _, b := range below {
		if !slices.ContainsFunc(above, func(a string) bool { return covers(a, b) }) {
			return false
		}
	}
	return len(below) > 0
}

// orRoot is what a list of paths stands for when it is empty.
func orRoot(paths []string) []string {
	if len(paths) == 0 {
		return []string{"/"}
	}
	return paths
}

func hostCovers(above, below string) bool {
	suffix, wild := strings.CutPrefix(above, "*")
	return above == below || wild && strings.HasSuffix(strings.TrimPrefix(below, "*"), suffix)
}

func pathCovers(above, below string) bool {
	if above == "/" || above == below {
		return true
	}
	if strings.HasPrefix(above, "=") {
		return false
	}
	below = strings.TrimPrefix(below, "=")
	return below == above || strings.HasPrefix(below, strings.TrimSuffix(above, "/")+"/")
}

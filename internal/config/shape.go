package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/net/idna"

	"sallyport/proxy"
)

// shape reads how a route changes what passes through it.
func (r *reader) shape(o *object, rc *proxy.RouteConfig) {
	o.section("rewrite", func(o *object) {
		rw := &rc.Rewrite
		set(o, "strip_prefix", &rw.StripPrefix, parseRewritePrefix)
		set(o, "add_prefix", &rw.AddPrefix, parseRewritePrefix)
		set(o, "host", &rw.Host, parseRewriteHost)
		set(o, "redirect", &rw.Redirect, parseRedirect)
		if at := o.join("strip_prefix"); rw.StripPrefix != "" && len(rc.Paths) > 0 && !r.wrong[at] &&
			!slices.ContainsFunc(rc.Paths, func(p string) bool { return pathCovers(rw.StripPrefix, p) }) {
			r.warn(at, "without effect: no path of the route begins with it", "")
		}
	})
	o.section("headers", func(o *object) {
		set(o, "preset", &rc.Headers.Preset, func(s string) (string, error) {
			word, err := choice("none", proxy.PresetSecure)(s)
			if word == "none" {
				word = ""
			}
			return word, err
		})
		o.section("request", func(o *object) { r.fieldEdits(o, &rc.Headers.Request, proxy.RequestFieldIsOurs) })
		o.section("response", func(o *object) { r.fieldEdits(o, &rc.Headers.Response, proxy.ResponseFieldIsOurs) })
	})
}

// fieldEdits reads changes to fields, none of which may be the gateway's own.
func (r *reader) fieldEdits(o *object, e *proxy.FieldEdits, ours func(string) bool) {
	name := func(s string) (string, error) {
		if ours(s) {
			return "", &problem{fmt.Sprintf("field %s is written by the gateway", s), "remove it: framing, the connection and what backends are told of the client are its own"}
		}
		return parseField(s)
	}
	pairs := func(key string, into *[]proxy.FieldValue) {
		o.pairs(key, func(field, path string, n *node) {
			if _, err := name(field); err != nil {
				r.reject(path, err)
				return
			}
			f := proxy.FieldValue{Name: field}
			if slices.ContainsFunc(*into, func(other proxy.FieldValue) bool { return strings.EqualFold(other.Name, field) }) {
				r.fail(path, "the same field in other letters stands above", "")
			} else if value(r, n, path, &f.Value, parseFieldValue) {
				*into = append(*into, f)
			}
		})
	}
	pairs("set", &e.Set)
	pairs("add", &e.Add)
	setList(o, "remove", &e.Remove, name)
}

func parseFieldValue(s string) (string, error) {
	if err := proxy.CheckFieldValue(s); err != nil {
		return "", &problem{err.Error(), "the named values are {client.ip}, {geo.country} and {request.id}"}
	}
	if strings.Trim(s, " \t") != s {
		return "", &problem{"white space around the value", "remove it: it does not belong to a field's value"}
	}
	return s, nil
}

// parseRewritePrefix accepts a path without a slash at its end, or nothing.
func parseRewritePrefix(s string) (string, error) {
	if s == "" {
		return s, nil
	}
	path, err := parsePrefixPath(s)
	if err == nil && strings.HasSuffix(path, "/") {
		return "", &problem{fmt.Sprintf("bad prefix %q", s), "remove the slash at the end; nothing is written as \"\""}
	}
	return path, err
}

// parseRewriteHost accepts what the backend is asked for.
func parseRewriteHost(s string) (string, error) {
	switch s {
	case "preserve":
		return "", nil
	case proxy.HostBackend:
		return s, nil
	}
	host, port, named := strings.Cut(s, ":")
	if !isHost(host) || named && parsePort(port) != nil {
		return "", &problem{fmt.Sprintf("bad host %q", s), "write preserve, backend, or a host name"}
	}
	return strings.ToLower(s), nil
}

// redirectWords are the forms of rewrite.redirect that name no host.
var redirectWords = map[string]proxy.RedirectConfig{
	"":           {},
	"https":      {HTTPS: true},
	"www":        {WWW: proxy.AddWWW},
	"bare":       {WWW: proxy.CutWWW},
	"https+www":  {HTTPS: true, WWW: proxy.AddWWW},
	"https+bare": {HTTPS: true, WWW: proxy.CutWWW},
}

// parseRedirect accepts where requests are meant to come: one of the words, or
// an origin.
func parseRedirect(s string) (proxy.RedirectConfig, error) {
	if c, ok := redirectWords[s]; ok {
		return c, nil
	}
	bad := &problem{fmt.Sprintf("bad redirect %q", s), "write https, www, bare, https+www, https+bare, or an origin as https://shop.example.org"}
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok || scheme != "http" && scheme != "https" {
		return proxy.RedirectConfig{}, bad
	}
	host, port, named := strings.Cut(rest, ":")
	host, err := parseRouteHost(host)
	if err != nil || strings.HasPrefix(host, "*") || named && parsePort(port) != nil {
		return proxy.RedirectConfig{}, bad
	}
	return proxy.RedirectConfig{Scheme: scheme, Host: host, Port: port}, nil
}

func writeRedirect(c proxy.RedirectConfig) string {
	if c.Host != "" {
		if c.Port != "" {
			return c.Scheme + "://" + c.Host + ":" + c.Port
		}
		return c.Scheme + "://" + c.Host
	}
	for word, same := range redirectWords {
		if same == c {
			return word
		}
	}
	return ""
}

// parsePort accepts a port that a connection can have.
func parsePort(s string) error {
	if _, err := netip.ParseAddrPort("0.0.0.0:" + s); err != nil || s[0] == '0' {
		return &problem{fmt.Sprintf("bad port %q", s), "write 1 to 65535"}
	}
	return nil
}

// split reads the arms of a route.
func (r *reader) split(o *object, rc *proxy.RouteConfig, pools []string) {
	total := 0
	written := o.each("split", func(o *object, i int) {
		arm := proxy.SplitConfig{Weight: 1}
		o.require("pool", set(o, "pool", &arm.Pool, reference("pool", "pools", pools)))
		set(o, "weight", &arm.Weight, integer(0, 1_000_000))
		r.unique(o.join("pool"), "arm of the split", arm.Pool, len(rc.Split), func(i int) string { return rc.Split[i].Pool })
		total += arm.Weight
		rc.Split = append(rc.Split, arm)
	})
	path := o.join("split")
	o.section("split_override", func(o *object) {
		set(o, "header", &rc.Override.Header, func(s string) (string, error) {
			if s == "" {
				return s, nil
			}
			if proxy.RequestFieldIsOurs(s) || strings.EqualFold(s, "Cookie") {
				return "", &problem{fmt.Sprintf("field %s cannot choose an arm", s), "write a field of your own, as X-Arm"}
			}
			return parseField(s)
		})
		set(o, "cookie", &rc.Override.Cookie, func(s string) (string, error) {
			if s == "" {
				return s, nil
			}
			return parseCookieName(s)
		})
	})
	switch {
	case !written:
		o.require("pool", rc.Route.Pool != "")
		if rc.Override != (proxy.OverrideConfig{}) {
			r.warn(o.join("split_override"), "without effect: there is no split", "")
		}
	case len(rc.Split) > 0 && rc.Route.Pool != "":
		r.fail(path, "both pool and split", "write one of them")
	case len(rc.Split) == 0 && !r.wrong[path]:
		if rc.Route.Pool == "" {
			o.require("pool", false)
		}
	case total == 0 && !r.wrong[path]:
		r.fail(path, "no arm has a weight", "give one of them a weight of 1 or more")
	}
}

// usesPool tells whether a route sends anything to a pool.
func usesPool(rc proxy.RouteConfig, name string) bool {
	return rc.Route.Pool == name || slices.ContainsFunc(rc.Split, func(arm proxy.SplitConfig) bool { return arm.Pool == name })
}

// checkRedirects refuses redirects to a host that no route names: a client
// would be sent where it is not served, or where a stranger's Host field says.
func (r *reader) checkRedirects(c *Config) {
	secure := len(c.Client.Trusted) > 0 || c.Client.TrustUnix
	for _, l := range c.Server.Listeners {
		secure = secure || len(l.Certificates) > 0
	}
	wrong := r.within("routes")
	for i, rc := range c.Proxy.Routes {
		rd := rc.Rewrite.Redirect
		if rd == (proxy.RedirectConfig{}) {
			continue
		}
		at := fmt.Sprintf("routes[%d].rewrite.redirect", i)
		if rd.Host == "" && len(rc.Hosts) == 0 {
			if !r.within(fmt.Sprintf("routes[%d].hosts", i)) {
				r.fail(at, "the route takes every host, and a redirect must not name whichever a client sends", "name the hosts of the route, or the origin to go to")
			}
			continue
		}
		for _, host := range redirectTargets(rc) {
			if !wrong && !slices.ContainsFunc(c.Proxy.Routes, func(rc proxy.RouteConfig) bool {
				return slices.ContainsFunc(rc.Hosts, func(above string) bool { return hostCovers(above, host) })
			}) {
				r.fail(at, fmt.Sprintf("no route names %s, where it leads", host), "add it to the hosts of a route")
			}
		}
		if (rd.HTTPS || rd.Scheme == "https") && !secure && !r.within("listeners") {
			r.warn(at, "no listener has TLS and no proxy is trusted that could: nobody here answers https", "")
		}
	}
}

// redirectTargets are the hosts that a redirect leads to, as far as they are
// known beforehand.
func redirectTargets(rc proxy.RouteConfig) []string {
	rd := rc.Rewrite.Redirect
	if rd.Host != "" {
		return []string{rd.Host}
	}
	var all []string
	for _, host := range rc.Hosts {
		bare, www := strings.CutPrefix(host, "www.")
		switch {
		case strings.HasPrefix(host, "*"):
		case rd.WWW == proxy.AddWWW && !www:
			all = append(all, "www."+host)
		case rd.WWW == proxy.CutWWW && www:
			all = append(all, bare)
		}
	}
	return all
}

// asciiHost is the form in which a host name with other letters is asked for:
// its labels begin with xn-- (RFC 5891 section 4.4).
func asciiHost(name string) (string, error) {
	ascii, err := idna.Lookup.ToASCII(name)
	if err != nil || !isHost(ascii) {
		return "", &problem{fmt.Sprintf("bad host %q", name), "it is no host name in any form"}
	}
	return ascii, nil
}

// shape prints how a route changes what passes through it.
func (p *printer) shape(rc proxy.RouteConfig) {
	rw := rc.Rewrite
	host := rw.Host
	if host == "" {
		host = "preserve"
	}
	p.line(2, "rewrite: {strip_prefix: %s, add_prefix: %s, host: %s, redirect: %s}",
		text(rw.StripPrefix), text(rw.AddPrefix), text(host), text(writeRedirect(rw.Redirect)))
	p.line(2, "headers:")
	p.line(3, "preset: %s", pick(rc.Headers.Preset == "", "none", rc.Headers.Preset))
	p.fieldEdits("request", rc.Headers.Request)
	p.fieldEdits("response", rc.Headers.Response)
}

func (p *printer) fieldEdits(name string, e proxy.FieldEdits) {
	pairs := func(fields []proxy.FieldValue) string {
		out := make([]string, len(fields))
		for i, f := range fields {
			out[i] = text(f.Name) + ": " + text(f.Value)
		}
		return strings.Join(out, ", ")
	}
	p.line(3, "%s: {set: {%s}, add: {%s}, remove: %s}", name, pairs(e.Set), pairs(e.Add), texts(e.Remove, same))
}

// arms prints where a route's requests go.
func (p *printer) arms(rc proxy.RouteConfig) {
	if len(rc.Split) == 0 {
		p.line(2, "pool: %s", text(rc.Route.Pool))
		return
	}
	arms := make([]string, len(rc.Split))
	for i, arm := range rc.Split {
		arms[i] = fmt.Sprintf("{pool: %s, weight: %d}", text(arm.Pool), arm.Weight)
	}
	p.line(2, "split: [%s]", strings.Join(arms, ", "))
	p.line(2, "split_override: {header: %s, cookie: %s}", text(rc.Override.Header), text(rc.Override.Cookie))
}

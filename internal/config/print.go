package config

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"sallyport/internal/gate"
	"sallyport/internal/geo"
	"sallyport/internal/server"
	"sallyport/limiter"
	"sallyport/proxy"
	"sallyport/waf"
)

// Print writes the effective configuration as YAML, in the order of the
// documentation and with every default filled in. Loading it yields an equal
// Config. It holds names of key files, and no secret.
func (c *Config) Print(w io.Writer) error {
	var p printer
	p.line(0, "mode: %s", c.Mode)
	p.listeners(c.Server.Listeners)
	p.http(c)
	h2 := c.Server.HTTP2
	p.line(0, "http2: {max_streams: %d, window: %s, stream_window: %s}", h2.MaxStreams, writeSize(int64(h2.Window)), writeSize(int64(h2.StreamWindow)))
	p.line(0, "clients:")
	p.line(1, "trusted_proxies: %s", writePeers(c.Client.Trusted, c.Client.TrustUnix))
	p.line(1, "header: %s", text(c.Client.Header))
	p.line(1, "request_id: %s", pick(c.Client.TrustRequestID, "trusted", "generate"))
	p.line(0, "geo:")
	p.line(1, "mode: %s", c.Geo.Mode)
	p.line(1, "country: %s", text(c.Geo.Country))
	p.line(1, "asn: %s", text(c.Geo.ASN))
	p.line(1, "max_age: %s", writeDays(c.Geo.MaxAge))
	p.geoRules(1, c.Geo.Global)
	p.line(1, "exempt_paths: %s", texts(c.Geo.ExemptPaths, same))
	p.line(1, "headers: %s", texts(c.Proxy.GeoHeaders, same))
	p.limits(c)
	p.bans(c.Bans)
	p.line(0, "waf: {memory: %s}", writeSize(c.WAF.Memory))
	p.line(0, "policies:")
	for _, name := range policyNames(c) {
		p.policy(name, c.WAF.Policies[name])
	}
	p.line(0, "pools:")
	for _, pool := range c.Proxy.Pools {
		p.pool(pool)
	}
	p.line(0, "routes:")
	for _, rc := range c.Proxy.Routes {
		p.route(rc, c.Geo.Routes)
	}
	p.line(0, "mask:")
	p.line(1, "remove: %s", texts(c.Proxy.MaskRemove, same))
	p.mask(1, c.MaskErrors, c.Mask, ", also: "+texts(c.Proxy.MaskAlso, same))
	p.rest(c)
	_, err := w.Write(p.Bytes())
	return err
}

// A printer gathers lines of YAML.
type printer struct{ bytes.Buffer }

func (p *printer) line(depth int, format string, args ...any) {
	p.WriteString(strings.Repeat("  ", depth))
	fmt.Fprintf(p, format, args...)
	p.WriteByte('\n')
}

func (p *printer) listeners(ls []server.Listener) {
	p.line(0, "listeners:")
	for _, l := range ls {
		p.line(1, "- address: %s", text(l.Address))
		if l.Mode != 0 {
			p.line(2, "mode: \"%04o\"", l.Mode)
		}
		p.line(2, "proxy_protocol: %s", writePeers(l.ProxyProtocol, l.ProxyProtocolUnix))
		if len(l.Certificates) > 0 {
			p.line(2, "tls:")
			p.line(3, "certificates:")
			for _, pair := range l.Certificates {
				p.line(4, "- {cert: %s, key: %s}", text(pair.Cert), text(pair.Key))
			}
			p.line(3, "min_version: %q", pick(l.MinVersion == tls.VersionTLS13, "1.3", "1.2"))
		}
		var protocols []string
		for _, proto := range []struct {
			name string
			on   bool
		}{{"http1", l.HTTP1}, {"http2", l.HTTP2}, {"h2c", l.H2C}} {
			if proto.on {
				protocols = append(protocols, proto.name)
			}
		}
		p.line(2, "protocols: %s", texts(protocols, same))
	}
}

func (p *printer) http(c *Config) {
	lim := c.Server.Limits
	p.line(0, "http:")
	p.line(1, "hygiene: %s", c.Proxy.Hygiene)
	p.line(1, "waive: %s", reasons(c.Proxy.Waive))
	p.line(1, "refuse: %s", reasons(c.Proxy.Refuse))
	p.line(1, "methods: %s", texts(c.Proxy.Methods, same))
	p.line(1, "max_target: %s", writeSize(int64(lim.MaxTarget)))
	p.line(1, "max_header: %s", writeSize(int64(lim.MaxHeader)))
	p.line(1, "max_fields: %d", lim.MaxFields)
	p.line(1, "max_body: %s", writeSize(c.Proxy.MaxBody))
	p.line(1, "header_timeout: %s", writeDuration(lim.HeaderTimeout))
	p.line(1, "body_rate: %s/s", writeSize(c.Proxy.BodyRate))
	p.line(1, "write_rate: %s/s", writeSize(lim.WriteRate))
	p.line(1, "idle_timeout: %s", writeDuration(lim.IdleTimeout))
	p.line(1, "max_connections: %d", c.Server.MaxConnections)
	p.line(1, "max_connections_per_client: %d", c.Server.MaxPerClient)
}

func (p *printer) geoRules(depth int, g geo.Rules) {
	p.line(depth, "deny: %s", texts(g.Deny, geo.Rule.String))
	p.line(depth, "allow: %s", texts(g.Allow, geo.Rule.String))
	p.line(depth, "deny_files: %s", texts(g.DenyFiles, same))
	p.line(depth, "allow_files: %s", texts(g.AllowFiles, same))
	p.line(depth, "unknown: %s", pick(g.DenyUnknown, "deny", "allow"))
}

func (p *printer) limits(c *Config) {
	if len(c.Limiter.Limits) == 0 {
		p.line(0, "limits: []")
	} else {
		p.line(0, "limits:")
	}
	for _, l := range c.Limiter.Limits {
		p.limit(l)
	}
	var tiers []string
	for _, length := range slices.Backward(slices.Sorted(maps.Keys(c.Limiter.IPv6Tiers))) {
		tiers = append(tiers, fmt.Sprintf("%d: %d", length, c.Limiter.IPv6Tiers[length]))
	}
	p.line(0, "limiter:")
	p.line(1, "ipv6_tiers: {%s}", strings.Join(tiers, ", "))
	p.line(1, "max_clients: %d", c.Limiter.MaxClients)
	p.line(1, "headers: %s", pick(c.Limiter.AllHeaders, "all", "refused"))
	s := c.Limiter.Store
	p.line(1, "store: {url: %s, password_file: %s, ca: %s, timeout: %s, failure: %s}",
		text(s.URL), text(s.PasswordFile), text(s.CA), writeDuration(s.Timeout), s.Failure)
}

func (p *printer) limit(l limiter.Limit) {
	p.line(1, "- name: %s", text(l.Name))
	p.line(2, "paths: %s", texts(l.Match.Paths, same))
	p.line(2, "methods: %s", texts(l.Match.Methods, same))
	p.line(2, "hosts: %s", texts(l.Match.Hosts, same))
	p.line(2, "routes: %s", texts(l.Match.Routes, same))
	p.line(2, "key: %s", text(writeLimitKey(l.Key)))
	switch {
	case l.Concurrent > 0:
		p.line(2, "concurrent: %d", l.Concurrent)
	case len(l.OnStatus) > 0:
		p.line(2, "rate: %s", writeRate(l.Rate))
		p.line(2, "burst: %d", l.Burst)
		p.line(2, "on_status: %s", texts(l.OnStatus, func(s limiter.StatusRange) string { return writeStatus(proxy.StatusRange(s)) }))
	default:
		p.line(2, "rate: %s", writeRate(l.Rate))
		p.line(2, "burst: %d", l.Burst)
		p.line(2, "cost: %d", l.Cost)
	}
	p.line(2, "exempt: %s", texts(l.Exempt, writePrefix))
	p.line(2, "mode: %s", l.Mode)
	if l.Failure != "" {
		p.line(2, "failure: %s", l.Failure)
	}
}

func (p *printer) policy(name string, w waf.Policy) {
	p.line(1, "%s:", text(name))
	p.line(2, "mode: %s", w.Mode)
	p.line(2, "engine: %s", w.Engine)
	p.line(2, "compare_share: %s", writePercent(w.CompareShare))
	p.line(2, "cpu_budget: %s", writeDuration(w.CPUBudget))
	p.line(2, "crs: %s", text(w.CRS))
	p.line(2, "paranoia: %d", w.Paranoia)
	p.line(2, "detection_paranoia: %d", w.DetectionParanoia)
	p.line(2, "inbound_threshold: %d", w.InboundThreshold)
	p.line(2, "outbound_threshold: %d", w.OutboundThreshold)
	p.line(2, "early_blocking: %t", w.EarlyBlocking)
	p.line(2, "content_types: %s", texts(w.ContentTypes, same))
	p.line(2, "on_error: %s", pick(w.PassOnError, "pass", "refuse"))
	p.line(2, "request_body:")
	p.line(3, "inspect: %s", writeSize(w.Inspect))
	p.line(3, "over: %s", pick(w.OverHead, "head", "reject"))
	p.line(3, "decode: %s", texts(w.Decode, word))
	p.line(3, "arguments: %d", w.Arguments)
	p.line(3, "json_depth: %d", w.JSONDepth)
	p.line(3, "graphql: {depth: %d, aliases: %d, batch: %d}", w.GraphQL.Depth, w.GraphQL.Aliases, w.GraphQL.Batch)
	p.line(2, "response_body: {inspect: %s, limit: %s}", text(w.ResponseBody), writeSize(w.ResponseLimit))
	p.line(2, "rules_before: %s", texts(w.RulesBefore, same))
	p.line(2, "rules_after: %s", texts(w.RulesAfter, same))
	p.line(2, "exclusions: %s", texts(w.ExclusionFiles, same))
}

func (p *printer) pool(pc proxy.PoolConfig) {
	p.line(1, "%s:", text(pc.Name))
	p.line(2, "backends:")
	for _, b := range pc.Backends {
		p.line(3, "- {name: %s, url: %s, weight: %d, zone: %s, backup: %t}", text(b.Name), text(b.URL.String()), b.Weight, text(b.Zone.String()), b.Backup)
	}
	p.line(2, "balance: %s", pc.Balance)
	p.line(2, "hash_on: %s", text(pc.HashOn))
	p.line(2, "sticky: {cookie: %s, for: %s}", text(pc.Sticky.Cookie), writeDuration(pc.Sticky.For))
	p.line(2, "slow_start: %s", writeDuration(pc.SlowStart))
	p.line(2, "max_connections: %d", pc.MaxConnections)
	p.line(2, "queue: {length: %d, wait: %s}", pc.Queue.Length, writeDuration(pc.Queue.Wait))
	h := pc.Health
	p.line(2, "health:")
	p.line(3, "path: %s", text(h.Path))
	p.line(3, "tcp: %t", h.TCP)
	p.line(3, "interval: %s", writeDuration(h.Interval))
	p.line(3, "timeout: %s", writeDuration(h.Timeout))
	p.line(3, "healthy: %d", h.Healthy)
	p.line(3, "unhealthy: %d", h.Unhealthy)
	p.line(3, "status: %s", texts(h.Status, writeStatus))
	p.line(3, "body: %s", text(h.Body))
	fields := make([]string, len(h.Headers))
	for i, f := range h.Headers {
		fields[i] = text(f.Name) + ": " + text(shownValue(f))
	}
	p.line(3, "headers: {%s}", strings.Join(fields, ", "))
	e := pc.Eject
	p.line(2, "eject: {errors: %d, within: %s, for: %s, at_most: %s, ratio: %s, min_requests: %d}",
		e.Errors, writeDuration(e.Within), writeDuration(e.For), writePercent(e.AtMost), writePercent(e.Ratio), e.MinRequests)
	p.line(2, "retry: {attempts: %d, budget: %s}", pc.Retry.Attempts, writePercent(pc.Retry.Budget))
	t := pc.TLS
	p.line(2, "tls: {ca: %s, cert: %s, key: %s, server_name: %s, verify: %t, http2: %t}",
		text(t.CA), text(t.Cert), text(t.Key), text(t.ServerName), !t.SkipVerify, !t.HTTP1)
	p.line(2, "timeout: {connect: %s, header: %s, idle: %s}",
		writeDuration(pc.Timeout.Connect), writeDuration(pc.Timeout.Header), writeDuration(pc.Timeout.Idle))
}

func (p *printer) route(rc proxy.RouteConfig, places map[string]geo.Rules) {
	rt := rc.Route
	p.line(1, "- name: %s", text(rt.Name))
	p.line(2, "hosts: %s", texts(rc.Hosts, same))
	p.line(2, "paths: %s", texts(rc.Paths, same))
	p.line(2, "methods: %s", texts(rt.Methods, same))
	p.arms(rc)
	p.line(2, "policy: %s", text(rt.Policy))
	p.line(2, "limits: %s", texts(rt.Limits, same))
	if g, ok := places[rt.Name]; ok {
		p.line(2, "geo:")
		p.geoRules(3, g)
	}
	p.line(2, "waive: %s", reasons(rt.Waive))
	p.line(2, "refuse: %s", reasons(rt.Refuse))
	p.line(2, "max_body: %s", writeSize(rt.MaxBody))
	p.line(2, "timeout: %s", writeDuration(rc.Timeout))
	p.line(2, "tunnel: {idle: %s, max: %s}", writeDuration(rc.Tunnel.Idle), writeDuration(rc.Tunnel.Max))
	p.shape(rc)
	p.line(2, "mask:")
	p.mask(3, rt.MaskErrors, rc.Mask, "")
}

func (p *printer) rest(c *Config) {
	p.line(0, "audit:")
	p.line(1, "path: %s", text(c.Audit.Path))
	p.line(1, "log: %s", pick(c.Audit.All, "all", "relevant"))
	p.line(1, "redact: {fields: %s, headers: %s}", texts(c.Audit.RedactFields, same), texts(c.Audit.RedactHeaders, same))
	p.line(1, "rules_log: %s", text(c.Audit.RulesLog))
	a := c.Server.Admin
	p.line(0, "admin:")
	p.line(1, "address: %s", text(a.Address))
	p.line(1, "hosts: %s", texts(a.Hosts, same))
	p.line(1, "metrics: %s", pick(a.MetricsOpen, "open", "token"))
	p.line(0, "log: {level: %s, format: %s}", c.Log.Level, pick(c.Log.JSON, "json", "console"))
	p.line(0, "shutdown: {timeout: %s}", writeDuration(c.Server.ShutdownTimeout))
	p.line(0, "state: {dir: %s, key_file: %s}", text(c.State.Dir), text(c.State.KeyFile))
}

func same(s string) string { return s }

func word[T ~string](s T) string { return string(s) }

// writePeers writes a list of those who connect.
func writePeers(prefixes []netip.Prefix, unix bool) string {
	var words []string
	for _, p := range prefixes {
		words = append(words, writePrefix(p))
	}
	if unix {
		words = append(words, unixPeers)
	}
	return texts(words, same)
}

func pick(yes bool, a, b string) string {
	if yes {
		return a
	}
	return b
}

// text writes a plain value, quoted unless it is a bare word: a bare word
// begins with a letter and has nothing in it that YAML gives a meaning to.
func text(s string) string {
	if s != "" && len(s) <= 64 && isAlnum(rune(s[0])) && !strings.ContainsFunc(s, func(c rune) bool {
		return !isAlnum(c) && c != '-' && c != '_' && c != '.' && c != '/'
	}) && s != "null" && s != "Null" && s != "NULL" {
		return s
	}
	return strconv.Quote(strings.ReplaceAll(s, "${", "$${"))
}

// texts writes a list.
func texts[T any](list []T, write func(T) string) string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = text(write(v))
	}
	return "[" + strings.Join(out, ", ") + "]"
}

// reasons writes a set of reasons.
func reasons(set map[gate.Reason]bool) string {
	return texts(slices.Sorted(maps.Keys(set)), func(r gate.Reason) string { return string(r) })
}

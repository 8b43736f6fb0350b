package config

import (
	"crypto/tls"
	"path/filepath"
	"slices"
	"time"

	"sallyport/internal/audit"
	"sallyport/internal/client"
	"sallyport/internal/gate"
	"sallyport/internal/geo"
	"sallyport/internal/server"
	"sallyport/internal/strict"
	"sallyport/limiter"
	"sallyport/proxy"
	"sallyport/waf"
)

// defaultPolicy is the name of the policy that always exists.
const defaultPolicy = "default"

// defaults is the configuration of an empty file.
func (r *reader) defaults() *Config {
	return &Config{
		Mode: gate.Enforce,
		Server: server.Config{
			Listeners: []server.Listener{{Address: ":8080", MinVersion: tls.VersionTLS12, HTTP1: true}},
			Limits: strict.Limits{
				MaxTarget: int(16 * kib), MaxHeader: int(64 * kib), MaxFields: 100,
				HeaderTimeout: 10 * time.Second, IdleTimeout: 75 * time.Second,
				WriteRate: 500, WriteGrace: 10 * time.Second,
			},
			MaxConnections: 10000, MaxPerClient: 256,
			HTTP2:           server.HTTP2{MaxStreams: 100, Window: int(256 * kib), StreamWindow: int(128 * kib)},
			Admin:           server.Admin{Address: "127.0.0.1:9090"},
			ShutdownTimeout: 30 * time.Second,
		},
		Client: client.Config{Header: "X-Forwarded-For"},
		Geo:    geo.Config{Mode: gate.Enforce, MaxAge: 45 * 24 * time.Hour, Routes: map[string]geo.Rules{}},
		Limiter: limiter.Config{
			Mode:       gate.Enforce,
			Limits:     []limiter.Limit{{Name: "per-client", Key: limiter.By{Kind: limiter.ByClient}, Rate: 100, Burst: 400, Cost: 1, Mode: gate.Enforce}},
			IPv6Tiers:  map[int]int{64: 1, 56: 4, 48: 16},
			MaxClients: 200000,
			Store:      limiter.Store{Timeout: 5 * time.Millisecond, Failure: limiter.FailLocal},
		},
		Bans: defaultBans(),
		WAF:  waf.Config{Memory: 512 * mib, Policies: map[string]waf.Policy{defaultPolicy: newPolicy()}},
		Proxy: proxy.Config{
			Mode: gate.Enforce, Hygiene: gate.Enforce, Waive: map[gate.Reason]bool{}, Refuse: map[gate.Reason]bool{},
			Methods: []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"},
			MaxBody: 100 * mib, BodyRate: 500, BodyGrace: 10 * time.Second,
		},
		MaskErrors: "uniform", Mask: newMask(),
		Audit: audit.Config{Path: "-", Queue: 8192},
		Log:   LogConfig{Level: "info"},
	}
}

// read judges the text and builds the configuration that it asks for: nil when
// the text is no mapping, and not complete after another fatal diagnostic.
func (r *reader) read(src []byte) *Config {
	root := r.parse(src)
	if root == nil {
		return nil
	}
	o := r.object(root, "", "")
	if r.wrong[""] {
		return nil
	}
	c := r.defaults()
	set(o, "mode", &c.Mode, choice(gate.Enforce, gate.Watch))
	r.listeners(o, c)
	o.section("http", func(o *object) { r.http(o, c) })
	o.section("http2", func(o *object) {
		h := &c.Server.HTTP2
		set(o, "max_streams", &h.MaxStreams, integer(1, 10000))
		// The bounds are those of net/http, which takes its own default beyond.
		set(o, "window", &h.Window, size[int](64*kib, 4*mib-kib))
		set(o, "stream_window", &h.StreamWindow, size[int](kib, 4*mib-kib))
	})
	o.section("clients", func(o *object) { r.clients(o, c) })
	o.section("geo", func(o *object) { r.geo(o, c) })
	r.limits(o, c)
	o.section("limiter", func(o *object) { r.limiter(o, c) })
	o.section("bans", func(o *object) { r.bans(o, c) })
	c.Bans.MaxClients = c.Limiter.MaxClients
	o.section("waf", func(o *object) { set(o, "memory", &c.WAF.Memory, size[int64](mib, 1<<40)) })
	o.named("policies", func(o *object, name string) { c.WAF.Policies[name] = r.policy(o) })
	o.named("pools", func(o *object, name string) { c.Proxy.Pools = append(c.Proxy.Pools, r.pool(o, name)) })
	o.section("mask", func(o *object) {
		setList(o, "remove", &c.Proxy.MaskRemove, parseMaskField)
		r.mask(o, &c.MaskErrors, &c.Mask, &c.Proxy.MaskAlso)
	})
	c.Proxy.Pages = c.Mask.Pages
	r.routes(o, c)
	o.section("audit", func(o *object) { r.audit(o, c) })
	o.section("admin", func(o *object) { r.admin(o, c) })
	o.section("log", func(o *object) {
		set(o, "level", &c.Log.Level, choice("debug", "info", "warn", "error"))
		set(o, "format", &c.Log.JSON, flag("console", "json"))
	})
	o.section("shutdown", func(o *object) {
		set(o, "timeout", &c.Server.ShutdownTimeout, duration(0, 24*time.Hour))
	})
	o.section("state", func(o *object) { r.state(o, c) })
	o.done()
	r.reportUnknown()
	r.allow(c)
	if c.Mode == gate.Watch {
		c.Observe()
	}
	r.check(c)
	return c
}

func (r *reader) clients(o *object, c *Config) {
	c.Client.Trusted, c.Client.TrustUnix = r.peers(o, "trusted_proxies")
	set(o, "header", &c.Client.Header, parseField)
	set(o, "request_id", &c.Client.TrustRequestID, flag("generate", "trusted"))
}

func (r *reader) geo(o *object, c *Config) {
	set(o, "mode", &c.Geo.Mode, choice(gate.Enforce, gate.Watch, gate.Off))
	set(o, "country", &c.Geo.Country, r.file)
	set(o, "asn", &c.Geo.ASN, r.file)
	set(o, "max_age", &c.Geo.MaxAge, days(0, 3650))
	c.Geo.Global = r.geoRules(o)
	setList(o, "exempt_paths", &c.Geo.ExemptPaths, parsePrefixPath)
	setList(o, "headers", &c.Proxy.GeoHeaders, choice(proxy.GeoCountry, proxy.GeoContinent, proxy.GeoASN))
}

// geoRules reads the rules that geo and each route's geo share.
func (r *reader) geoRules(o *object) geo.Rules {
	var g geo.Rules
	setList(o, "deny", &g.Deny, parseGeoRule)
	setList(o, "allow", &g.Allow, parseGeoRule)
	setList(o, "deny_files", &g.DenyFiles, r.namedFile)
	setList(o, "allow_files", &g.AllowFiles, r.namedFile)
	// Who lists countries means these and no others: an address of which the
	// country is not known is not among them. A list in a file may name networks.
	listed := len(g.AllowFiles) > 0 || slices.ContainsFunc(g.Allow, func(x geo.Rule) bool { return !x.Prefix.IsValid() && x.Class == "" })
	g.DenyUnknown = namesUnknown(g.Deny) || listed && !namesUnknown(g.Allow)
	set(o, "unknown", &g.DenyUnknown, flag("allow", "deny"))
	return g
}

func (r *reader) audit(o *object, c *Config) {
	set(o, "path", &c.Audit.Path, func(s string) (string, error) {
		switch s {
		case "":
			return "", &problem{"no file name", `write "-" for standard output`}
		case "-":
			return s, nil
		}
		return r.file(s)
	})
	set(o, "log", &c.Audit.All, flag("relevant", "all"))
	o.section("redact", func(o *object) {
		setList(o, "fields", &c.Audit.RedactFields, parseText)
		setList(o, "headers", &c.Audit.RedactHeaders, parseField)
	})
	set(o, "rules_log", &c.Audit.RulesLog, r.file)
}

func (r *reader) admin(o *object, c *Config) {
	a := &c.Server.Admin
	set(o, "address", &a.Address, func(s string) (string, error) {
		if s == "" {
			return s, nil
		}
		return r.socketAddress(s)
	})
	setList(o, "hosts", &a.Hosts, parseAdminHost)
	set(o, "metrics", &a.MetricsOpen, flag("token", "open"))
}

func (r *reader) state(o *object, c *Config) {
	set(o, "dir", &c.State.Dir, r.file)
	set(o, "key_file", &c.State.KeyFile, r.file)
	if c.State.Dir == "" {
		c.State.Dir = r.stateDirectory()
	}
	c.Server.Admin.TokenFile = filepath.Join(c.State.Dir, "admin-token")
}

// stateDirectory is the default of state.dir. A service manager may name
// several directories, with colons between them.
func (r *reader) stateDirectory() string {
	if dirs, ok := r.env("STATE_DIRECTORY"); ok {
		if list := filepath.SplitList(dirs); len(list) > 0 && filepath.IsAbs(list[0]) {
			return filepath.Clean(list[0])
		}
	}
	return filepath.Join(r.dir, "state")
}

// allow gives every policy what may reach it: the global methods and those of
// its routes, and the versions that the listeners speak.
func (r *reader) allow(c *Config) {
	versions := []string{"HTTP/1.0", "HTTP/1.1"}
	if slices.ContainsFunc(c.Server.Listeners, func(l server.Listener) bool { return l.HTTP2 || l.H2C }) {
		versions = append(versions, "HTTP/2.0")
	}
	for name, p := range c.WAF.Policies {
		p.Versions = slices.Clone(versions)
		for _, rt := range c.Proxy.Routes {
			if rt.Route.Policy == name {
				p.Routes = append(p.Routes, rt.Route.Name)
			}
		}
		p.Methods = slices.Clone(c.Proxy.Methods)
		for _, rt := range c.Proxy.Routes {
			for _, m := range rt.Route.Methods {
				if rt.Route.Policy == name && !slices.Contains(p.Methods, m) {
					p.Methods = append(p.Methods, m)
				}
			}
		}
		c.WAF.Policies[name] = p
	}
}

// unique reports a name that one of the n entries before it has.
func (r *reader) unique(path, what, name string, n int, of func(int) string) {
	for i := range n {
		if name != "" && of(i) == name {
			r.fail(path, "another "+what+" is called "+name, "names are unique")
			return
		}
	}
}

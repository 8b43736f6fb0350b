package config

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"sallyport/internal/gate"
	"sallyport/limiter"
	"sallyport/proxy"
)

// maxBurst is how large a budget may be.
const maxBurst = 1_000_000_000

func (r *reader) limits(o *object, c *Config) {
	var limits []limiter.Limit
	if !o.each("limits", func(o *object, _ int) {
		l := r.limit(o)
		r.unique(o.join("name"), "limit", l.Name, len(limits), func(i int) string { return limits[i].Name })
		limits = append(limits, l)
	}) {
		return
	}
	c.Limiter.Limits = limits
}

func (r *reader) limit(o *object) limiter.Limit {
	l := limiter.Limit{Key: limiter.By{Kind: limiter.ByClient}, Mode: gate.Enforce}
	o.require("name", set(o, "name", &l.Name, parseName))
	setList(o, "paths", &l.Match.Paths, parseRoutePath)
	setList(o, "methods", &l.Match.Methods, parseMethod)
	setList(o, "hosts", &l.Match.Hosts, parseRouteHost)
	setList(o, "routes", &l.Match.Routes, parseName) // the routes are read later
	set(o, "key", &l.Key, parseLimitKey)
	r.budget(o, &l)
	setList(o, "exempt", &l.Exempt, parsePrefix)
	set(o, "mode", &l.Mode, choice(gate.Enforce, gate.Watch))
	set(o, "failure", &l.Failure, choice(limiter.FailLocal, limiter.FailOpen, limiter.FailClosed))
	return l
}

// budget reads how much a limit grants: a rate, or a number at once.
func (r *reader) budget(o *object, l *limiter.Limit) {
	var rt rate
	rated := set(o, "rate", &rt, parseRate)
	counted := set(o, "concurrent", &l.Concurrent, integer(1, maxBurst))
	l.Rate, l.Burst = rt.perSecond(), min(max(1, int(rt.count)), maxBurst)
	burst := set(o, "burst", &l.Burst, integer(1, maxBurst))
	var statuses []proxy.StatusRange
	answered := setList(o, "on_status", &statuses, parseStatus)
	for _, s := range statuses {
		l.OnStatus = append(l.OnStatus, limiter.StatusRange(s))
	}
	l.Cost = 1
	cost := set(o, "cost", &l.Cost, integer(1, maxBurst))

	if r.written(o.join("concurrent")) {
		const why = "concurrent counts requests at once, and has no use for it"
		for _, key := range []struct {
			name string
			set  bool
		}{{"rate", rated}, {"burst", burst}, {"on_status", answered}, {"cost", cost}} {
			if key.set {
				r.fail(o.join(key.name), why, "remove one of the two, or write two limits")
			}
		}
		if counted {
			l.Rate, l.Burst = 0, 0
		}
		return
	}
	if !o.require("rate", rated) {
		return
	}
	if answered && len(statuses) == 0 && !r.within(o.join("on_status")) {
		r.fail(o.join("on_status"), "no status: the limit would never be charged", "write [401, 403], or remove the key to charge every request")
	}
	switch {
	case !cost:
	case answered:
		r.fail(o.join("cost"), "an answer listed in on_status always takes one", "remove cost")
	case l.Cost > l.Burst:
		r.fail(o.join("cost"), fmt.Sprintf("more than a full budget, %d, holds: every request would be refused", l.Burst), fmt.Sprintf("write 1 to %d, or a larger burst", l.Burst))
	}
}

// parseLimitKey accepts who shares a budget.
func parseLimitKey(s string) (limiter.By, error) {
	kind, name, named := strings.Cut(s, ":")
	switch k := limiter.Kind(kind); k {
	case limiter.ByClient, limiter.ByClientRoute, limiter.ByCountry, limiter.ByASN, limiter.ByPath:
		if !named {
			return limiter.By{Kind: k}, nil
		}
		return limiter.By{}, &problem{fmt.Sprintf("bad key %q", s), "did you mean " + kind + "?"}
	case limiter.ByHeader, limiter.ByCookie:
		if !isToken(name) {
			return limiter.By{}, &problem{fmt.Sprintf("bad key %q", s), fmt.Sprintf("write a name, as in %q", kind+":X-Api-Key")}
		}
		return limiter.By{Kind: k, Name: name}, nil
	}
	words := []string{"client", "client+route", "country", "asn", "header:NAME", "cookie:NAME", "path"}
	hint := didYouMean(s, words)
	if hint == "" {
		hint = "write " + strings.Join(words, ", ")
	}
	return limiter.By{}, &problem{fmt.Sprintf("bad key %q", s), hint}
}

// writeLimitKey is how a key is written.
func writeLimitKey(b limiter.By) string {
	if b.Name == "" {
		return string(b.Kind)
	}
	return string(b.Kind) + ":" + b.Name
}

func (r *reader) limiter(o *object, c *Config) {
	o.section("ipv6_tiers", func(o *object) { r.tiers(o, c) })
	set(o, "max_clients", &c.Limiter.MaxClients, integer(1000, 100_000_000))
	set(o, "headers", &c.Limiter.AllHeaders, flag("refused", "all"))
	o.section("store", func(o *object) {
		s := &c.Limiter.Store
		set(o, "url", &s.URL, parseStoreURL)
		set(o, "password_file", &s.PasswordFile, r.file)
		set(o, "ca", &s.CA, r.file)
		set(o, "timeout", &s.Timeout, duration(time.Millisecond, time.Second))
		set(o, "failure", &s.Failure, choice(limiter.FailLocal, limiter.FailOpen, limiter.FailClosed))
		if s.CA != "" && s.URL != "" && !strings.HasPrefix(s.URL, "rediss:") {
			r.fail(o.join("ca"), "without effect: the url is not rediss://", "write rediss:// for TLS, or remove ca")
		}
	})
}

// parseStoreURL accepts the place of a Redis or Valkey server.
func parseStoreURL(s string) (string, error) {
	if s == "" {
		return s, nil
	}
	bad := &problem{"bad url", "write redis://host:6379/0, rediss:// for TLS, or unix:///path/to/socket?db=0"}
	u, err := url.Parse(s)
	if err != nil {
		return "", bad // what it holds may be secret
	}
	if _, has := u.User.Password(); has {
		return "", &problem{"a password in the url", "write it to a file, and name that in password_file"}
	}
	bad.what = fmt.Sprintf("bad url %q", u.Scheme+"://"+u.Host+u.Path)
	switch u.Scheme {
	case "redis", "rediss":
		db := strings.TrimPrefix(u.Path, "/")
		if u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "" || db != "" && !isDigits(db) || len(db) > 4 {
			return "", bad
		}
	case "unix":
		query := u.Query()
		db := query.Get("db")
		query.Del("db")
		if u.Host != "" || u.Path == "" || len(query) > 0 || u.Fragment != "" || db != "" && !isDigits(db) || len(db) > 4 {
			return "", bad
		}
	case "valkey", "valkeys":
		bad.hint = "valkey speaks the same protocol: write redis:// or rediss://"
		return "", bad
	default:
		return "", bad
	}
	return s, nil
}

func (r *reader) tiers(o *object, c *Config) {
	if o.node == nil {
		return
	}
	tiers := map[int]int{}
	for _, f := range o.node.fields {
		path := o.join(f.name)
		o.asked = append(o.asked, f.name)
		// A client is its /64, and shorter than a /16 is no customer's.
		length, err := integer(16, 64)(f.name)
		multiple := 0
		if value(r, f.value, path, &multiple, integer(1, 1_000_000)) && err == nil {
			tiers[length] = multiple
		}
		if err != nil {
			r.places.at[path] = f.at
			r.fail(path, "bad prefix length "+f.name, "write 16 to 64")
		}
	}
	if len(o.node.fields) == 0 {
		r.fail(o.path, "no tier: IPv6 clients would have no limit", "write {64: 1} at least")
	}
	r.risingTiers(o, tiers)
	c.Limiter.IPv6Tiers = tiers
}

// risingTiers refuses a wider prefix that has less than a narrower one inside
// it: the narrower one's budget could never be used.
func (r *reader) risingTiers(o *object, tiers map[int]int) {
	lengths := slices.Sorted(maps.Keys(tiers))
	for i := 1; i < len(lengths); i++ {
		if wide, narrow := lengths[i-1], lengths[i]; tiers[wide] < tiers[narrow] {
			r.fail(o.join(itoa(wide)), "a /"+itoa(wide)+" has less than a /"+itoa(narrow)+" inside it", "write at least "+itoa(tiers[narrow]))
		}
	}
}

// checkLimits judges limits by what stands elsewhere in the file.
func (r *reader) checkLimits(c *Config) {
	for i, l := range c.Limiter.Limits {
		path := fmt.Sprintf("limits[%d]", i)
		switch l.Key.Kind {
		case limiter.ByCountry:
			r.checkPlace(c, path+".key", c.Geo.Country, "countries", "geo.country")
		case limiter.ByASN:
			r.checkPlace(c, path+".key", c.Geo.ASN, "networks", "geo.asn")
		case limiter.ByHeader, limiter.ByCookie, limiter.ByPath:
			if c.Limiter.Store.URL != "" && c.State.KeyFile == "" {
				r.warn(path+".key", "each gateway hashes the values with a key of its own: in the store they have a budget each",
					"give the gateways one state.key_file")
			}
		case limiter.ByClient, limiter.ByClientRoute:
		}
		if l.Failure != "" && c.Limiter.Store.URL == "" && !r.within("limiter") {
			r.warn(path+".failure", "without effect: there is no limiter.store", "")
		}
		r.checkMatch(c, path, l)
	}
}

// checkPlace reports a key that nothing looks up.
func (r *reader) checkPlace(c *Config, path, database, what, key string) {
	switch {
	case database == "" && !r.within(key):
		r.fail(path, "no database that knows "+what, "name one in "+key)
	case c.Geo.Mode == gate.Off:
		r.fail(path, "geo.mode is off: nobody looks up "+what, "write observe or enforce")
	}
}

// checkMatch reports a limit that no request can meet.
func (r *reader) checkMatch(c *Config, path string, l limiter.Limit) {
	if r.within("routes") {
		return
	}
	known := make([]string, len(c.Proxy.Routes))
	for i, rc := range c.Proxy.Routes {
		known[i] = rc.Route.Name
	}
	wrong := false
	for i, name := range l.Match.Routes {
		if _, err := reference("route", "routes", known)(name); err != nil {
			r.reject(fmt.Sprintf("%s.routes[%d]", path, i), err)
			wrong = true
		}
	}
	if wrong || slices.ContainsFunc(c.Proxy.Routes, func(rc proxy.RouteConfig) bool { return mayMeet(rc, l) }) {
		return
	}
	what := "only requests that no route takes draw from this limit"
	switch m := l.Match; {
	case len(m.Routes)+len(m.Paths)+len(m.Hosts) == 0:
		return // it is for what no route takes, or not used yet
	case len(m.Routes) > 0:
		what = "never drawn from: none of its routes takes such a request, or they do not list the limit"
	}
	r.warn(path, what, "compare its paths, hosts and routes with the routes, and their limits")
}

// mayMeet tells whether a request of the route can draw from the limit.
func mayMeet(rc proxy.RouteConfig, l limiter.Limit) bool {
	if !slices.Contains(rc.Route.Limits, l.Name) || len(l.Match.Routes) > 0 && !slices.Contains(l.Match.Routes, rc.Route.Name) {
		return false
	}
	return meet(rc.Hosts, l.Match.Hosts, hostCovers) && meet(rc.Paths, l.Match.Paths, pathCovers)
}

// meet tells whether something may be in both lists: an entry of one covers
// one of the other. An empty list takes everything.
func meet(a, b []string, covers func(above, below string) bool) bool {
	if len(a) == 0 || len(b) == 0 {
		return true
	}
	for _, x := range a {
		for _, y := range b {
			if covers(x, y) || covers(y, x) {
				return true
			}
		}
	}
	return false
}

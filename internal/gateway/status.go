package gateway

import (
	"time"

	"sallyport/internal/gate"
	"sallyport/internal/metrics"
	"sallyport/limiter"
	"sallyport/proxy"
	"sallyport/waf"
)

// Status is what GET /status shows of a generation.
type Status struct {
	Mode     gate.Mode               `json:"mode"`
	Policies map[string]PolicyStatus `json:"policies"`
	Geo      []DatabaseStatus        `json:"geo"`
	Lists    []ListStatus            `json:"geo_lists"`
	Limiter  LimiterStatus           `json:"limiter"`
	Bans     BanStatus               `json:"bans"`
	Audit    AuditStatus             `json:"audit"`
	Pools    []proxy.PoolStatus      `json:"pools"`
	// Warnings are what check would warn about.
	Warnings []string `json:"warnings"`
}

// PolicyStatus is one policy of the WAF.
type PolicyStatus struct {
	Mode     gate.Mode `json:"mode"`
	Paranoia int       `json:"paranoia"`
	CRS      string    `json:"crs,omitempty"` // its version, as OWASP_CRS/4.25.0
	Rules    int       `json:"rules"`
	Ruleset  string    `json:"ruleset"`
	// Engine is how its rules are run. Full says that all of them run for every
	// request, and Unproven which ones keep requests from being proven, and why.
	Engine   waf.EngineKind `json:"engine,omitempty"`
	Full     bool           `json:"full,omitempty"`
	Unproven []string       `json:"unproven,omitempty"`
}

// DatabaseStatus is one geo database.
type DatabaseStatus struct {
	Kind    string    `json:"kind"` // country or asn
	Path    string    `json:"path"`
	Type    string    `json:"type"`
	Built   time.Time `json:"built"`
	Loaded  time.Time `json:"loaded"`
	Old     bool      `json:"old,omitempty"`     // built longer ago than geo.max_age
	Problem string    `json:"problem,omitempty"` // why a newer file is not in use
}

// ListStatus is one list of networks.
type ListStatus struct {
	Path    string    `json:"path"`
	Entries int       `json:"entries"` // that count
	Written int       `json:"written"` // that the file holds, repeated and ended ones included
	Loaded  time.Time `json:"loaded"`
	Problem string    `json:"problem,omitempty"` // why a newer file is not in use
}

// LimiterStatus is the tables of budgets.
type LimiterStatus struct {
	Clients    int           `json:"clients"` // keys in the fullest table
	Evicted    uint64        `json:"evicted"`
	Refused    uint64        `json:"refused"`
	Overflowed uint64        `json:"overflowed"`
	Limits     []LimitStatus `json:"limits"`
	Store      *StoreStatus  `json:"store,omitempty"`
}

// LimitStatus is one limit.
type LimitStatus struct {
	Name       string `json:"name"`
	Keys       int    `json:"keys"`
	Refused    uint64 `json:"refused"`
	Observed   uint64 `json:"observed"` // would have been refused
	Evicted    uint64 `json:"evicted"`
	Overflowed uint64 `json:"overflowed"`
}

// StoreStatus is the server that gateways share budgets by.
type StoreStatus struct {
	Up      bool      `json:"up"`
	Since   time.Time `json:"since"`
	Problem string    `json:"problem,omitempty"` // why it is down
	Asked   uint64    `json:"asked"`
	Failed  uint64    `json:"failed"` // not answered in time
	Changes uint64    `json:"changes"`
}

// BanStatus is who is kept out, in numbers; GET /bans lists them.
type BanStatus struct {
	Mode      gate.Mode `json:"mode"`
	Active    int       `json:"active"`
	Clients   int       `json:"clients"` // that are remembered, banned or refused of late
	Turned    uint64    `json:"turned"`  // connections closed unread
	Evicted   uint64    `json:"evicted"`
	Untracked uint64    `json:"untracked"` // refusals of clients for whom there was no room
}

// AuditStatus is how the audit log keeps up.
type AuditStatus struct {
	Path    string `json:"path"`
	Dropped uint64 `json:"dropped"`
}

// Status implements server.Generation.
func (g *Generation) Status() any {
	s := Status{
		Mode: g.cfg.Mode, Policies: map[string]PolicyStatus{}, Geo: []DatabaseStatus{}, Lists: []ListStatus{}, Limiter: limiterStatus(g.limiter.Stats()),
		Audit: AuditStatus{Path: g.cfg.Audit.Path, Dropped: g.audit.Dropped()}, Pools: g.handler.Pools(), Warnings: []string{},
	}
	b := g.bans.Stats()
	s.Bans = BanStatus{g.cfg.Bans.Mode, b.Active, b.Clients, b.Turned, b.Evicted, b.Untracked}
	for name, info := range g.waf.Policies() {
		p := g.cfg.WAF.Policies[name]
		s.Policies[name] = PolicyStatus{Mode: p.Mode, Paranoia: p.Paranoia, CRS: info.CRS, Rules: info.Rules, Ruleset: info.Ruleset, Engine: info.Engine, Full: info.Full, Unproven: info.First()}
	}
	for _, d := range g.geo.Databases() {
		s.Geo = append(s.Geo, DatabaseStatus(d))
	}
	for _, l := range g.geo.Lists() {
		s.Lists = append(s.Lists, ListStatus(l))
	}
	for _, d := range g.waf.Warnings() {
		s.Warnings = append(s.Warnings, d.String())
	}
	return s
}

func limiterStatus(s limiter.Stats) LimiterStatus {
	out := LimiterStatus{Clients: s.Clients, Evicted: s.Evicted, Refused: s.Refused, Overflowed: s.Overflowed, Limits: make([]LimitStatus, len(s.Limits))}
	for i, l := range s.Limits {
		out.Limits[i] = LimitStatus(l)
	}
	if s.Store != nil {
		store := StoreStatus(*s.Store)
		out.Store = &store
	}
	return out
}

// Pools implements server.Generation.
func (g *Generation) Pools() any { return g.handler.Pools() }

// SetWeight implements server.Generation.
func (g *Generation) SetWeight(pool, backend string, weight int) (any, error) {
	return g.handler.SetWeight(pool, backend, weight)
}

// Drain implements server.Generation.
func (g *Generation) Drain(pool, backend string, drain bool) (any, error) {
	return g.handler.Drain(pool, backend, drain)
}

// Traffic is what the server counts.
type Traffic interface {
	Connections() int
	InFlight() int64
}

// Watch tells the metrics where traffic is counted. It is called once, before
// the first generation.
func (g *Gateway) Watch(t Traffic) {
	g.metrics.Observe(func() metrics.Snapshot { return g.snapshot(t) })
}

func (g *Gateway) snapshot(t Traffic) metrics.Snapshot {
	s := metrics.Snapshot{
		InFlight: t.InFlight(), Connections: int64(t.Connections()),
		Reloads: metrics.ReloadSnapshot{Succeeded: g.reloads.good.Load(), Failed: g.reloads.bad.Load(), LastOK: g.reloads.lastOK.Load()},
	}
	if last := g.reloads.lastGood.Load(); last > 0 {
		s.Reloads.LastGood = time.Unix(last, 0)
	}
	gen := g.current.Load()
	if gen == nil {
		return s
	}
	s.Generation = gen.number
	stats := gen.limiter.Stats()
	s.Limiter = metrics.LimiterSnapshot{Clients: stats.Clients, Evicted: stats.Evicted, Overflowed: stats.Overflowed}
	for _, l := range stats.Limits {
		s.Limiter.Limits = append(s.Limiter.Limits, metrics.LimitSnapshot(l))
	}
	if st := stats.Store; st != nil {
		s.Limiter.Store = &metrics.StoreSnapshot{Up: st.Up, Asked: st.Asked, Failed: st.Failed, Changes: st.Changes}
	}
	b := gen.bans.Stats()
	s.Bans = metrics.BanSnapshot{Active: b.Active, Turned: b.Turned, Evicted: b.Evicted, Untracked: b.Untracked}
	s.AuditDropped = gen.audit.Dropped()
	s.WAFHeld, s.WAFMemory = gen.waf.Held(), gen.cfg.WAF.Memory
	for _, d := range gen.geo.Databases() {
		s.Geo = append(s.Geo, metrics.GeoSnapshot{Database: d.Kind, Built: d.Built, Problem: d.Problem != ""})
	}
	s.GeoMaxAge = gen.cfg.Geo.MaxAge
	for _, l := range gen.geo.Lists() {
		s.GeoLists = append(s.GeoLists, metrics.GeoListSnapshot{Path: l.Path, Entries: l.Entries, Problem: l.Problem != ""})
	}
	for _, p := range gen.handler.Pools() {
		pool := metrics.PoolSnapshot{Name: p.Name, Retries: p.Retries, Waiting: p.Queue.Waiting, Full: p.Queue.Full, Timeouts: p.Queue.Timeouts}
		for _, b := range p.Backends {
			pool.Backends = append(pool.Backends, metrics.BackendSnapshot{
				Name: b.Name, Up: b.State == "up", Ejected: b.State == "ejected", Draining: b.Draining, Weight: b.Weight, InFlight: int64(b.InFlight),
				Latency: time.Duration(b.Latency * float64(time.Millisecond)), Requests: b.Requests, Failures: b.Failures,
			})
		}
		s.Pools = append(s.Pools, pool)
	}
	return s
}

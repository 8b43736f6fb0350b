package metrics

import (
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// A Snapshot is what the stages know of themselves at one moment, in plain
// numbers. Names come from the configuration.
type Snapshot struct {
	Generation  uint64 // number of the running configuration, from 1
	InFlight    int64  // requests that are being served
	Connections int64  // open client connections

	Pools   []PoolSnapshot
	Limiter LimiterSnapshot
	Bans    BanSnapshot
	Geo     []GeoSnapshot
	Reloads ReloadSnapshot
	// GeoMaxAge is how old a database may be (geo.max_age); 0: as old as it likes.
	GeoMaxAge time.Duration
	GeoLists  []GeoListSnapshot

	AuditDropped uint64 // records that were not written, since the start
	WAFHeld      int64  // bytes of bodies held for judging
	WAFMemory    int64  // bytes that may be held (waf.memory)
}

// PoolSnapshot is one pool.
type PoolSnapshot struct {
	Name     string
	Backends []BackendSnapshot
	Retries  uint64
	Waiting  int    // requests in line for a backend with room
	Full     uint64 // requests for which there was no place in the line
	Timeouts uint64 // requests that waited in vain
}

// BackendSnapshot is one backend of a pool.
type BackendSnapshot struct {
	Name     string
	Up       bool // healthy and not ejected: requests may go there
	Ejected  bool // out for a while after errors
	Draining bool // gets no new clients
	Weight   int  // in effect
	InFlight int64
	Latency  time.Duration // recent peaks of the time to the head of an answer; 0: not known
	Requests uint64        // attempts made
	Failures uint64        // attempts that it failed
}

// LimiterSnapshot is the tables of budgets.
type LimiterSnapshot struct {
	Clients    int    // in the fullest table, idle ones included
	Evicted    uint64 // idle ones that made room for others
	Overflowed uint64 // requests that shared a budget because a table was full
	Limits     []LimitSnapshot
	Store      *StoreSnapshot // nil: there is none
}

// LimitSnapshot is one limit.
type LimitSnapshot struct {
	Name       string
	Keys       int    // in its table
	Refused    uint64 // requests that it refused
	Observed   uint64 // requests that it would have refused
	Evicted    uint64
	Overflowed uint64
}

// StoreSnapshot is the server that gateways share budgets by.
type StoreSnapshot struct {
	Up      bool
	Asked   uint64 // requests that it was asked about
	Failed  uint64 // those that it did not answer in time
	Changes uint64 // how often it went down or came back
}

// BanSnapshot is who is kept out.
type BanSnapshot struct {
	Active    int    // bans that have not ended
	Turned    uint64 // connections closed unread
	Evicted   uint64 // clients that were forgotten to make room
	Untracked uint64 // refusals of clients for whom there was no room
}

// GeoSnapshot is one database.
type GeoSnapshot struct {
	Database string    // "country" or "asn"
	Built    time.Time // by its maker; zero: not known
	Problem  bool      // a newer file, or none, is not in use
}

// GeoListSnapshot is one list of networks.
type GeoListSnapshot struct {
	Path    string // as configured
	Entries int    // that count
	Problem bool   // a newer file, or none, is not in use
}

// ReloadSnapshot is how configurations were taken.
type ReloadSnapshot struct {
	Succeeded uint64    // the start included
	Failed    uint64    // the old configuration was kept
	LastOK    bool      // of the last attempt
	LastGood  time.Time // when the running configuration was taken; zero: never
}

// snapshots collects a Snapshot at each scrape.
type snapshots struct {
	m                                                  *Metrics
	generation, inFlight, connections                  *prometheus.Desc
	backendUp, backendEjected, backendInFlight         *prometheus.Desc
	backendDraining, backendWeight, backendLatency     *prometheus.Desc
	backendRequests, backendFailures                   *prometheus.Desc
	poolRetries, poolWaiting, poolFull, poolTimeouts   *prometheus.Desc
	limiterClients, limiterEvictions, limiterOverflows *prometheus.Desc
	bansActive, bansTurned, bansEvicted, bansUntracked *prometheus.Desc
	limitKeys, limitRefused, limitObserved             *prometheus.Desc
	limitEvictions, limitOverflows                     *prometheus.Desc
	storeUp, storeAsked, storeFailed, storeChanges     *prometheus.Desc
	geoBuilt, geoAge, geoMaxAge, geoProblem            *prometheus.Desc
	listEntries, listProblem                           *prometheus.Desc
	reloads, reloadOK, reloadTime                      *prometheus.Desc
	auditDropped, wafHeld, wafMemory                   *prometheus.Desc
}

func newSnapshots(m *Metrics) *snapshots {
	d := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("sallyport_"+name, help, labels, nil)
	}
	return &snapshots{
		m:                m,
		generation:       d("config_generation", "Number of the running configuration."),
		inFlight:         d("requests_in_flight", "Requests that are being served."),
		connections:      d("connections", "Open client connections."),
		backendUp:        d("backend_up", "1 when requests may go to the backend.", "pool", "backend"),
		backendEjected:   d("backend_ejected", "1 while the backend is out after errors.", "pool", "backend"),
		backendInFlight:  d("backend_requests_in_flight", "Requests that wait for the backend.", "pool", "backend"),
		backendDraining:  d("backend_draining", "1 while the backend gets no new clients.", "pool", "backend"),
		backendWeight:    d("backend_weight", "The weight of the backend, as configured or as an operator has set it.", "pool", "backend"),
		backendLatency:   d("backend_latency_seconds", "Recent peaks of the time to the head of an answer.", "pool", "backend"),
		backendRequests:  d("backend_attempts_total", "Requests that were sent to the backend, each attempt counted.", "pool", "backend"),
		backendFailures:  d("backend_failures_total", "Attempts that the backend failed.", "pool", "backend"),
		poolRetries:      d("pool_retries_total", "Requests that were tried again.", "pool"),
		poolWaiting:      d("pool_queue_waiting", "Requests that wait for a backend with room.", "pool"),
		poolFull:         d("pool_queue_full_total", "Requests for which there was no place in the line.", "pool"),
		poolTimeouts:     d("pool_queue_timeouts_total", "Requests that waited in vain.", "pool"),
		limiterClients:   d("limiter_clients", "Clients in the fullest table of budgets."),
		limiterEvictions: d("limiter_evictions_total", "Idle clients that made room for others."),
		limiterOverflows: d("limiter_overflows_total", "Requests that shared a budget because a table was full."),
		bansActive:       d("bans_active", "Clients that are kept out."),
		bansTurned:       d("bans_connections_closed_total", "Connections of banned clients that were closed unread."),
		bansEvicted:      d("bans_evictions_total", "Clients without a ban that were forgotten to make room for others."),
		bansUntracked:    d("bans_untracked_total", "Refusals that no ban could count, since the table was full."),
		limitKeys:        d("limit_keys", "Keys in the table of a limit.", "limit"),
		limitRefused:     d("limit_refused_total", "Requests that the limit refused.", "limit"),
		limitObserved:    d("limit_observed_total", "Requests that the limit would have refused, but only observes.", "limit"),
		limitEvictions:   d("limit_evictions_total", "Idle keys of the limit that made room for others.", "limit"),
		limitOverflows:   d("limit_overflows_total", "Requests that shared a budget because the table of the limit was full.", "limit"),
		storeUp:          d("limiter_store_up", "1 while the store of the limits is asked."),
		storeAsked:       d("limiter_store_asked_total", "Requests that the store was asked about."),
		storeFailed:      d("limiter_store_failed_total", "Requests that the store did not answer in time."),
		storeChanges:     d("limiter_store_changes_total", "How often the store went down or came back."),
		geoBuilt:         d("geo_database_build_timestamp_seconds", "When the database was built.", "database"),
		geoAge:           d("geo_database_age_seconds", "How long ago the database was built.", "database"),
		geoMaxAge:        d("geo_database_max_age_seconds", "The age from which on the log warns of a database; 0: none."),
		geoProblem:       d("geo_database_problem", "1 while what the file holds is not in use.", "database"),
		listEntries:      d("geo_list_entries", "Entries of the list that count.", "list"),
		listProblem:      d("geo_list_problem", "1 while what the file holds is not in use.", "list"),
		reloads:          d("config_reloads_total", "Configurations that were taken or turned down, the first included.", "result"),
		reloadOK:         d("config_last_reload_success", "1 when the last configuration was taken."),
		reloadTime:       d("config_last_reload_success_timestamp_seconds", "When the running configuration was taken."),
		auditDropped:     d("audit_dropped_total", "Audit records that were not written."),
		wafHeld:          d("waf_held_bytes", "Bytes of bodies held for judging."),
		wafMemory:        d("waf_memory_bytes", "Bytes of bodies that may be held."),
	}
}

// Describe names every metric that Collect may send.
func (s *snapshots) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		s.generation, s.inFlight, s.connections, s.backendUp, s.backendEjected, s.backendInFlight,
		s.backendDraining, s.backendWeight, s.backendLatency, s.backendRequests, s.backendFailures,
		s.poolRetries, s.poolWaiting, s.poolFull, s.poolTimeouts,
		s.limiterClients, s.limiterEvictions, s.limiterOverflows,
		s.bansActive, s.bansTurned, s.bansEvicted, s.bansUntracked,
		s.limitKeys, s.limitRefused, s.limitObserved, s.limitEvictions, s.limitOverflows,
		s.storeUp, s.storeAsked, s.storeFailed, s.storeChanges, s.geoBuilt, s.geoAge, s.geoMaxAge, s.geoProblem, s.listEntries, s.listProblem,
		s.reloads, s.reloadOK, s.reloadTime,
		s.auditDropped, s.wafHeld, s.wafMemory,
	} {
		ch <- d
	}
}

// Collect asks for a snapshot. Before Observe there is none.
func (s *snapshots) Collect(ch chan<- prometheus.Metric) {
	ask := s.m.snap.Load()
	if ask == nil {
		return
	}
	snap := (*ask)()
	put := func(d *prometheus.Desc, t prometheus.ValueType, v float64, labels ...string) {
		for i := range labels {
			labels[i] = strings.ToValidUTF8(labels[i], "?")
		}
		ch <- prometheus.MustNewConstMetric(d, t, v, labels...)
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) { put(d, prometheus.GaugeValue, v, labels...) }
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		put(d, prometheus.CounterValue, float64(v), labels...)
	}

	gauge(s.generation, float64(snap.Generation))
	gauge(s.inFlight, float64(snap.InFlight))
	gauge(s.connections, float64(snap.Connections))
	s.pools(snap.Pools, gauge, counter)
	gauge(s.limiterClients, float64(snap.Limiter.Clients))
	counter(s.limiterEvictions, snap.Limiter.Evicted)
	counter(s.limiterOverflows, snap.Limiter.Overflowed)
	gauge(s.bansActive, float64(snap.Bans.Active))
	counter(s.bansTurned, snap.Bans.Turned)
	counter(s.bansEvicted, snap.Bans.Evicted)
	counter(s.bansUntracked, snap.Bans.Untracked)
	for i, l := range snap.Limiter.Limits {
		if slices.ContainsFunc(snap.Limiter.Limits[:i], func(o LimitSnapshot) bool { return o.Name == l.Name }) {
			continue
		}
		gauge(s.limitKeys, float64(l.Keys), l.Name)
		counter(s.limitRefused, l.Refused, l.Name)
		counter(s.limitObserved, l.Observed, l.Name)
		counter(s.limitEvictions, l.Evicted, l.Name)
		counter(s.limitOverflows, l.Overflowed, l.Name)
	}
	if st := snap.Limiter.Store; st != nil {
		gauge(s.storeUp, truth(st.Up))
		counter(s.storeAsked, st.Asked)
		counter(s.storeFailed, st.Failed)
		counter(s.storeChanges, st.Changes)
	}
	for i, g := range snap.Geo {
		twice := slices.ContainsFunc(snap.Geo[:i], func(o GeoSnapshot) bool { return o.Database == g.Database })
		if twice {
			continue
		}
		if !g.Built.IsZero() {
			gauge(s.geoBuilt, float64(g.Built.Unix()), g.Database)
			gauge(s.geoAge, time.Since(g.Built).Seconds(), g.Database)
		}
		gauge(s.geoProblem, truth(g.Problem), g.Database)
	}
	gauge(s.geoMaxAge, snap.GeoMaxAge.Seconds())
	for i, l := range snap.GeoLists {
		if !slices.ContainsFunc(snap.GeoLists[:i], func(o GeoListSnapshot) bool { return o.Path == l.Path }) {
			gauge(s.listEntries, float64(l.Entries), l.Path)
			gauge(s.listProblem, truth(l.Problem), l.Path)
		}
	}
	counter(s.reloads, snap.Reloads.Succeeded, "taken")
	counter(s.reloads, snap.Reloads.Failed, "kept_old")
	gauge(s.reloadOK, truth(snap.Reloads.LastOK))
	if !snap.Reloads.LastGood.IsZero() {
		gauge(s.reloadTime, float64(snap.Reloads.LastGood.Unix()))
	}
	counter(s.auditDropped, snap.AuditDropped)
	gauge(s.wafHeld, float64(snap.WAFHeld))
	gauge(s.wafMemory, float64(snap.WAFMemory))
}

// pools tells of pools and their backends. A series that is told twice would
// spoil the whole answer.
func (s *snapshots) pools(all []PoolSnapshot, gauge func(*prometheus.Desc, float64, ...string), counter func(*prometheus.Desc, uint64, ...string)) {
	for i, p := range all {
		if slices.ContainsFunc(all[:i], func(o PoolSnapshot) bool { return o.Name == p.Name }) {
			continue
		}
		counter(s.poolRetries, p.Retries, p.Name)
		gauge(s.poolWaiting, float64(p.Waiting), p.Name)
		counter(s.poolFull, p.Full, p.Name)
		counter(s.poolTimeouts, p.Timeouts, p.Name)
		for j, b := range p.Backends {
			if slices.ContainsFunc(p.Backends[:j], func(o BackendSnapshot) bool { return o.Name == b.Name }) {
				continue
			}
			gauge(s.backendUp, truth(b.Up), p.Name, b.Name)
			gauge(s.backendEjected, truth(b.Ejected), p.Name, b.Name)
			gauge(s.backendDraining, truth(b.Draining), p.Name, b.Name)
			gauge(s.backendWeight, float64(b.Weight), p.Name, b.Name)
			gauge(s.backendInFlight, float64(b.InFlight), p.Name, b.Name)
			if b.Latency > 0 {
				gauge(s.backendLatency, b.Latency.Seconds(), p.Name, b.Name)
			}
			counter(s.backendRequests, b.Requests, p.Name, b.Name)
			counter(s.backendFailures, b.Failures, p.Name, b.Name)
		}
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// Package metrics counts what the records tell and shows what the stages know
// of themselves, in the text format of Prometheus.
//
// It decides nothing. No label ever takes a value that a client can choose: the
// values come from closed sets, from the configuration, or are folded into
// "other". It is the only package that knows the client library.
package metrics

import (
	"net/http"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"sallyport/internal/gate"
)

const (
	// maxRules is how many rules have a series of their own; hits of further
	// ones are counted under "other".
	maxRules = 300
	other    = "other"
	// maxArms is how many pairs of a route and a pool have series of their own.
	// Names come from the configuration, which may change many times.
	maxArms = 500
	// maxPolicies is how many policies have series of their own, likewise.
	maxPolicies = 200
	// maxScrapes is how many scrapes are answered at once.
	maxScrapes = 4
)

// Metrics counts records. Its methods may be called from any goroutine.
type Metrics struct {
	registry *prometheus.Registry

	requests  *prometheus.CounterVec
	observed  *prometheus.CounterVec
	responses *prometheus.CounterVec
	duration  prometheus.Histogram
	stages    *prometheus.HistogramVec
	ruleHits  *prometheus.CounterVec
	inspected *prometheus.CounterVec
	runs      *prometheus.CounterVec
	compared  *prometheus.CounterVec
	differs   *prometheus.CounterVec
	arms      *prometheus.CounterVec
	armTime   *prometheus.HistogramVec
	leaks     *prometheus.CounterVec

	// The series that every request counts in.
	decided  *memo[[3]string, prometheus.Counter] // by action, stage, reason
	answered *memo[string, prometheus.Counter]    // by class
	spent    *memo[string, prometheus.Observer]   // by stage
	ways     *memo[[3]string, prometheus.Counter] // by route, pool, class
	wayTime  *memo[[2]string, prometheus.Observer]
	seen     *memo[string, prometheus.Counter] // by inspected

	reasons map[gate.Reason]bool // the closed set
	snap    atomic.Pointer[func() Snapshot]

	mu       sync.RWMutex
	rules    map[int]prometheus.Counter // at most maxRules
	rest     prometheus.Counter
	pairs    map[[2]string]bool // of routes and pools; at most maxArms
	policies map[string]bool    // at most maxPolicies
}

// New returns metrics with a registry of their own. The version is told in
// sallyport_build_info.
func New(version string) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sallyport_requests_total",
			Help: "Decisions, by what was done, the stage that decided and its reason (empty for a pass).",
		}, []string{"action", "stage", "reason"}),
		observed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sallyport_observed_total",
			Help: "Findings of stages in observe mode beyond the one that a request is counted under.",
		}, []string{"stage", "reason"}),
		responses: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sallyport_response_status_total",
			Help: "Answers to clients, by class of status; none: the connection ended without one.",
		}, []string{"class"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "sallyport_request_duration_seconds",
			Help:    "From the arrival of a request to the end of its answer.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}),
		stages: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "sallyport_stage_duration_seconds",
			Help:    "How long a request spent in one stage.",
			Buckets: []float64{.00001, .000025, .00005, .0001, .00025, .0005, .001, .0025, .005, .01, .05, .25, 1, 10},
		}, []string{"stage"}),
		ruleHits: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sallyport_waf_rule_hits_total",
			Help: "Matches of WAF rules, by rule id; the first " + strconv.Itoa(maxRules) + " ids have a series each.",
		}, []string{"rule"}),
		inspected: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sallyport_waf_request_bodies_total",
			Help: "Request bodies, by how much of them the rules saw: full, head or none.",
		}, []string{"inspected"}),
		runs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sallyport_waf_requests_total",
			Help: "Requests that rules judged, by policy and by how they were run: proven (none can match), guided (those that can) or full (all).",
		}, []string{"policy", "run"}),
		compared: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sallyport_waf_compared_total",
			Help: "Requests of policies with engine: compare that all rules judged as well.",
		}, []string{"policy"}),
		differs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sallyport_waf_differences_total",
			Help: "Those of them about which all rules found something else; a defect.",
		}, []string{"policy"}),
		arms: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sallyport_route_requests_total",
			Help: "Requests that went to a pool, by route, pool and class of the status that the client got: the arms of a split.",
		}, []string{"route", "pool", "class"}),
		armTime: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "sallyport_route_duration_seconds",
			Help:    "Of the same requests, from their arrival to the end of their answer.",
			Buckets: []float64{.005, .025, .1, .5, 1, 5, 30},
		}, []string{"route", "pool"}),
		leaks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sallyport_mask_leaks_total",
			Help: "Names and addresses of backends that were found in answers, by place and by what was done about them.",
		}, []string{"where", "action"}),
		reasons:  map[gate.Reason]bool{"": true},
		rules:    map[int]prometheus.Counter{},
		pairs:    map[[2]string]bool{},
		policies: map[string]bool{},
	}
	for _, info := range gate.Reasons() {
		m.reasons[info.Reason] = true
	}
	m.rest = m.ruleHits.WithLabelValues(other)
	counter := func(v *prometheus.CounterVec) func(string) prometheus.Counter {
		return func(label string) prometheus.Counter { return v.WithLabelValues(label) }
	}
	counter3 := func(v *prometheus.CounterVec) func([3]string) prometheus.Counter {
		return func(labels [3]string) prometheus.Counter { return v.WithLabelValues(labels[:]...) }
	}
	m.decided, m.ways = newMemo(counter3(m.requests)), newMemo(counter3(m.arms))
	m.answered, m.seen = newMemo(counter(m.responses)), newMemo(counter(m.inspected))
	m.spent = newMemo(func(stage string) prometheus.Observer { return m.stages.WithLabelValues(stage) })
	m.wayTime = newMemo(func(labels [2]string) prometheus.Observer { return m.armTime.WithLabelValues(labels[:]...) })
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "sallyport_build_info",
		Help:        "Always 1; the labels tell what runs.",
		ConstLabels: prometheus.Labels{"version": version, "go": runtime.Version()},
	})
	build.Set(1)
	m.registry.MustRegister(m.requests, m.observed, m.responses, m.duration, m.stages, m.ruleHits, m.inspected, m.runs, m.compared, m.differs, m.arms, m.armTime, m.leaks, build, newSnapshots(m),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Record counts one record. The end of a tunnel and the audit log's own records
// are no requests and are left out.
func (m *Metrics) Record(r gate.Record) {
	if r.Event != "" {
		return
	}
	m.decided.of([3]string{actionLabel(r.Action), stageLabel(r.Stage), m.reasonLabel(r.Reason)}).Inc()
	for _, o := range r.Observed {
		m.observed.WithLabelValues(stageLabel(o.Stage), m.reasonLabel(o.Reason)).Inc()
	}
	m.answered.of(classLabel(r.Response.Status)).Inc()
	var total time.Duration
	for _, s := range r.Spent {
		if s.Stage == gate.Total {
			total = s.Took
			m.duration.Observe(total.Seconds())
			continue
		}
		m.spent.of(spanLabel(s.Stage)).Observe(s.Took.Seconds())
	}
	if r.Pool != nil {
		route, pool := m.armLabels(r.Route, r.Pool.Name)
		m.ways.of([3]string{route, pool, classLabel(r.Response.Status)}).Inc()
		m.wayTime.of([2]string{route, pool}).Observe(total.Seconds())
	}
	if r.Mask != nil {
		for _, l := range r.Mask.Leaks {
			m.leaks.WithLabelValues(placeLabel(l.Where), leakLabel(l.Action)).Add(float64(l.Count))
		}
	}
	if r.WAF != nil {
		if seen := r.WAF.Inspected; seen != "" {
			m.seen.of(inspectedLabel(seen)).Inc()
		}
		m.engine(r.Policy, r.WAF)
		for i := range r.WAF.Matches {
			m.rule(r.WAF.Matches[i].Rule).Inc()
		}
	}
}

// engine counts how the rules of a policy were run.
func (m *Metrics) engine(policy string, w *gate.RecordWAF) {
	if w.Run == "" {
		return
	}
	policy = m.policyLabel(policy)
	m.runs.WithLabelValues(policy, runLabel(w.Run)).Inc()
	if w.Compared {
		m.compared.WithLabelValues(policy).Inc()
	}
	if w.Differs {
		m.differs.WithLabelValues(policy).Inc()
	}
}

// Policy makes room for the requests of a policy. Of others than those that the
// configuration names, requests are counted under "other".
func (m *Metrics) Policy(name string, compares bool) {
	m.mu.Lock()
	if len(m.policies) < maxPolicies {
		m.policies[name] = true
	}
	m.mu.Unlock()
	if label := m.policyLabel(name); compares { // from 0 on, so that an alert sees the first
		m.compared.WithLabelValues(label)
		m.differs.WithLabelValues(label)
	}
}

func (m *Metrics) policyLabel(name string) string {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if !m.policies[name] {
		return other
	}
	return name
}

// rule returns the counter of a rule: its own, as long as there is room.
func (m *Metrics) rule(id int) prometheus.Counter {
	m.mu.RLock()
	c, ok := m.rules[id]
	full := len(m.rules) >= maxRules
	m.mu.RUnlock()
	switch {
	case ok:
		return c
	case full:
		return m.rest
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if c, ok := m.rules[id]; ok {
		return c
	}
	if len(m.rules) >= maxRules {
		return m.rest
	}
	c = m.ruleHits.WithLabelValues(strconv.Itoa(id))
	m.rules[id] = c
	return c
}

// Route makes room for the requests of a route that go to a pool. Others than
// those that the configuration names are counted under "other".
func (m *Metrics) Route(route, pool string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.pairs) < maxArms {
		m.pairs[[2]string{route, pool}] = true
	}
}

func (m *Metrics) armLabels(route, pool string) (string, string) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if !m.pairs[[2]string{route, pool}] {
		return other, other
	}
	return route, pool
}

// Handler serves the metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: maxScrapes,
	})
}

// Observe sets the function that is asked for the state of the stages at each
// scrape. A later call replaces an earlier one.
func (m *Metrics) Observe(snapshot func() Snapshot) { m.snap.Store(&snapshot) }

package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
)

// A pool is a set of backends that are the same to a client, as one
// configuration has it. What is known of them is in its roster.
type pool struct {
	name      string
	health    HealthConfig
	eject     EjectConfig
	attempts  int
	timeout   TimeoutConfig
	slow      time.Duration // slow_start
	most      int           // requests that a backend may have at once; 0: any number
	queue     QueueConfig
	sticky    *sticky // nil: no cookie
	transport http.RoundTripper
	lookup    lookup
	reach     func(context.Context, *backend) error // opens a connection and closes it
	expect    *regexp.Regexp                        // of health.body; nil: it is none
	idle      func()                                // closes idle connections
	origin    *origin
	budget    *budget
	log       *zap.Logger

	stop    context.CancelFunc // ends the health checks
	watches sync.WaitGroup

	backends []*backend    // never changed
	tiers    [2][]*backend // those that are no backups, and those that are
	balance  balancer
	roster   *roster
	mu       sync.Locker // that of the roster
	ready    []candidate // room for one choice; guarded by the lock
}

// A backend is one server of a pool, as one configuration has it.
type backend struct {
	name   string
	url    *url.URL // scheme and host, as the transport knows it
	dns    *name    // nil: the host is an address
	host   string   // for requests that name none
	shown  string   // to operators: the URL as configured
	wanted int      // its weight as configured
	backup bool
	zone   Zone
	seed   uint64 // of its hashes
	mark   mark   // in sticky cookies

	*server

	current int // of smooth; guarded by the lock of the roster
}

func (b *backend) key() serverKey { return serverKey{b.name, b.shown} }

func newPool(cfg PoolConfig, secret []byte, log *zap.Logger) (*pool, error) {
	if len(cfg.Backends) == 0 {
		return nil, errors.New("no backends")
	}
	r := &roster{}
	p := &pool{
		name: cfg.Name, health: cfg.Health, eject: cfg.Eject, attempts: max(1, cfg.Retry.Attempts), timeout: cfg.Timeout,
		slow: cfg.SlowStart, most: cfg.MaxConnections, queue: cfg.Queue,
		lookup: resolver{new(net.Dialer).DialContext}.lookup,
		budget: newBudget(cfg.Retry.Budget), log: log.With(zap.String("pool", cfg.Name)),
		stop: func() {}, roster: r, mu: r,
	}
	var err error
	if p.balance, err = newBalancer(cfg, secret); err != nil {
		return nil, err
	}
	if p.sticky, err = newSticky(cfg, secret); err != nil {
		return nil, err
	}
	if expr, ok := BodyPattern(cfg.Health.Body); ok {
		if p.expect, err = regexp.Compile(expr); err != nil {
			return nil, fmt.Errorf("health.body: %w", err)
		}
	}
	now := time.Now()
	var names []*name
	urls := make([]*url.URL, 0, len(cfg.Backends))
	for i, bc := range cfg.Backends {
		b, err := newBackend(i, bc, now)
		if err != nil {
			return nil, err
		}
		p.backends = append(p.backends, b)
		tier := 0
		if b.backup {
			tier = 1
		}
		p.tiers[tier] = append(p.tiers[tier], b)
		urls = append(urls, bc.URL)
		if b.dns != nil {
			names = append(names, b.dns)
		}
	}
	p.ready = make([]candidate, 0, len(p.backends))
	transport, err := newTransports(cfg, names)
	if err != nil {
		return nil, err
	}
	p.transport, p.reach, p.idle = transport, transport.reach, transport.CloseIdleConnections
	p.origin = newOrigin(urls)
	return p, nil
}

// start begins the health checks and the lookups, one goroutine a backend for
// each. stop ends them.
func (p *pool) start() {
	ctx, stop := context.WithCancel(context.Background())
	p.stop = stop
	for _, b := range p.backends {
		if p.health.checks() {
			p.watches.Go(func() { p.watch(ctx, b) })
		}
		if b.dns != nil {
			p.watches.Go(func() { b.dns.keep(ctx, p.lookup, func(left bool) { p.learned(b, left) }, p.log) })
		}
	}
}

// learned keeps what a backend's name stands for, for the next configuration
// too, and closes idle connections when an address was left.
func (p *pool) learned(b *backend, left bool) {
	if left {
		p.idle()
	}
	addrs := b.dns.known()
	p.mu.Lock()
	defer p.mu.Unlock()
	b.addrs = addrs
}

func (p *pool) close() {
	p.stop()
	p.watches.Wait()
	p.idle()
}

// An ask is what the choice of a backend depends on beside the backends.
type ask struct {
	tried    []*backend // not to be asked again
	own      *backend   // the one that a sticky client is to go to; nil: any
	errand   errand     // on a backend that may come back from an ejection
	trial    bool       // the backend that was found is on trial with it
	pressing bool       // a sticky client cannot wait for its own any longer
	waited   time.Duration
	key      uint64 // of what the pool hashes on
	from     Zone   // where the client is
}

// find chooses the backend for an attempt, and takes a place on it: one that is
// up, not ejected, not tried yet, and not full. It returns nil when there is
// none, and whether that is because they are full. The lock is held.
func (p *pool) find(a *ask, now time.Time) (b *backend, busy bool) {
	a.trial = false
	if own := a.own; own != nil && own.may(a.errand, now) && !slices.Contains(a.tried, own) {
		if p.room(own) {
			own.busy++
			a.trial = own.begin(now)
			return own, false
		}
		if !a.pressing {
			return nil, true
		}
	}
	from, busy := p.candidates(a, a.errand, now)
	if len(from) == 0 && !busy {
		from, busy = p.candidates(a, last, now)
	}
	if len(from) == 0 {
		return nil, busy
	}
	b = p.balance.choose(from, a)
	b.busy++
	a.trial = b.begin(now)
	return b, false
}

// candidates returns who may be asked. Backups are, when nobody else is up: one
// that has room does not help a pool that is only busy.
func (p *pool) candidates(a *ask, c errand, now time.Time) (from []candidate, busy bool) {
	for _, tier := range p.tiers {
		from = p.ready[:0]
		for _, b := range tier {
			switch {
			case !b.may(c, now) || b.draining || len(a.tried) > 0 && slices.Contains(a.tried, b):
			case !p.room(b):
				busy = true
			default:
				from = append(from, candidate{b, b.portion(p.slow, now)})
			}
		}
		if len(from) > 0 || busy {
			return from, busy
		}
	}
	return nil, false
}

// room reports whether a backend can take one more request.
func (p *pool) room(b *backend) bool { return p.most <= 0 || b.busy < p.most }

// fullShare is the share of a backend of weight 1 that has been up for long.
const fullShare = 1000

// portion is the weight of a backend, in thousandths. While slow_start lasts it
// grows from a twentieth to the whole.
func (b *backend) portion(slow time.Duration, now time.Time) int {
	whole := b.weight * fullShare
	if b.began == (time.Time{}) {
		return whole
	}
	return b.warming(whole, slow, now)
}

func (b *backend) warming(whole int, slow time.Duration, now time.Time) int {
	passed := now.Sub(b.began)
	if passed >= slow {
		b.began = time.Time{}
		return whole
	}
	return int(float64(whole) * max(0.05, float64(passed)/float64(slow)))
}

// PoolStatus is what is known about a pool at one moment.
type PoolStatus struct {
	Name     string          `json:"name"`
	Balance  string          `json:"balance"`
	Backends []BackendStatus `json:"backends"`
	Retries  uint64          `json:"retries"`
	// Budget is how many retries could be made now.
	Budget float64     `json:"budget"`
	Queue  QueueStatus `json:"queue"`
}

// QueueStatus is who waits for a backend with room.
type QueueStatus struct {
	Waiting  int    `json:"waiting"`
	Length   int    `json:"length"`   // how many may
	Full     uint64 `json:"full"`     // requests that found no place
	Timeouts uint64 `json:"timeouts"` // requests that waited in vain
}

// BackendStatus is what is known about a backend. It is for operators: a
// client is told nothing of it.
type BackendStatus struct {
	Name string `json:"name"`
	URL  string `json:"url"`
	// Addresses are what a host name stands for; empty for an address.
	Addresses []string `json:"addresses,omitempty"`
	Weight    int      `json:"weight"` // in effect; 0: it gets nothing
	// Configured is the weight in the configuration, where an operator has set
	// another one.
	Configured int `json:"configured_weight,omitempty"`
	// State is "up", "down" (the health checks say so) or "ejected" (requests
	// met errors, and none has been answered since).
	State    string    `json:"state"`
	Since    time.Time `json:"since"` // of the state
	Draining bool      `json:"draining"`
	Backup   bool      `json:"backup"`
	Zone     string    `json:"zone,omitempty"`
	// SlowStart is what the backend gets of its share, in percent, while it
	// grows.
	SlowStart int     `json:"slow_start_percent,omitempty"`
	InFlight  int     `json:"in_flight"` // requests and tunnels
	Most      int     `json:"max_connections,omitempty"`
	Latency   float64 `json:"latency_ms"` // recent peaks of the time to the head of an answer; 0: not known
	Requests  uint64  `json:"requests"`   // attempts made
	Failures  uint64  `json:"failures"`   // attempts that it failed
}

// Pools returns the state of every pool, in the order of the configuration.
func (h *Handler) Pools() []PoolStatus {
	all := make([]PoolStatus, len(h.pools))
	for i, p := range h.pools {
		all[i] = p.status(time.Now())
	}
	return all
}

func (p *pool) status(now time.Time) PoolStatus {
	r := p.roster
	s := PoolStatus{
		Name: p.name, Balance: p.balance.name(), Retries: r.retries.Load(), Budget: p.budget.left(), Backends: make([]BackendStatus, len(p.backends)),
		Queue: QueueStatus{Length: p.queue.Length, Full: r.full.Load(), Timeouts: r.timeouts.Load()},
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s.Queue.Waiting = len(r.line)
	for i, b := range p.backends {
		s.Backends[i] = p.show(b, now)
	}
	return s
}

// show is the state of a backend. The lock is held.
func (p *pool) show(b *backend, now time.Time) BackendStatus {
	s := BackendStatus{
		Name: b.name, URL: b.shown, Weight: b.weight, State: b.state(), Since: b.since, Draining: b.draining,
		Backup: b.backup, Zone: b.zone.String(), InFlight: b.busy, Most: p.most, Latency: b.latency.milliseconds(),
		Requests: b.requests.Load(), Failures: b.failures.Load(),
	}
	if b.dns != nil {
		s.Addresses = b.dns.addresses()
	}
	if b.weight != b.configured {
		s.Configured = b.configured
	}
	if share := b.portion(p.slow, now); !b.began.IsZero() && b.weight > 0 {
		s.SlowStart = share * 100 / (b.weight * fullShare)
	}
	return s
}

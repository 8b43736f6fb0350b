package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// A pool is a set of backends that are the same to a client.
type pool struct {
	name      string
	health    HealthConfig
	eject     EjectConfig
	attempts  int
	timeout   TimeoutConfig
	transport http.RoundTripper
	idle      func() // closes idle connections
	origin    *origin
	budget    *budget
	retries   atomic.Uint64
	log       *zap.Logger

	stop    context.CancelFunc // ends the health checks
	watches sync.WaitGroup

	backends []*backend // never changed
	mu       sync.Mutex // guards what changes in them
}

// A backend is one server of a pool.
type backend struct {
	name     string
	url      *url.URL // scheme and host, as the transport knows it
	host     string   // for requests that name none
	shown    string   // to operators: the URL as configured
	weight   int
	requests atomic.Uint64 // attempts made
	failures atomic.Uint64 // attempts that it failed
	inFlight atomic.Int64

	// What follows is guarded by the lock of the pool.
	current int         // of smooth
	down    bool        // by the health checks
	streak  int         // answers in a row that speak against down
	errors  []time.Time // of the failures within eject.within, at most eject.errors
	out     time.Time   // ejected until then; zero: not ejected
	since   time.Time   // of the present state
}

func newPool(cfg PoolConfig, log *zap.Logger) (*pool, error) {
	if len(cfg.Backends) == 0 {
		return nil, errors.New("no backends")
	}
	if cfg.Balance != "" && cfg.Balance != "round_robin" {
		return nil, fmt.Errorf("balance %q is not known", cfg.Balance)
	}
	transport, err := newTransport(cfg)
	if err != nil {
		return nil, err
	}
	p := &pool{
		name: cfg.Name, health: cfg.Health, eject: cfg.Eject, attempts: max(1, cfg.Retry.Attempts), timeout: cfg.Timeout,
		transport: transport, idle: transport.CloseIdleConnections,
		budget: newBudget(cfg.Retry.Budget), log: log.With(zap.String("pool", cfg.Name)),
		stop: func() {},
	}
	now := time.Now()
	urls := make([]*url.URL, 0, len(cfg.Backends))
	for i, bc := range cfg.Backends {
		b, err := newBackend(i, bc, now)
		if err != nil {
			return nil, err
		}
		if p.eject.Errors > 0 {
			b.errors = make([]time.Time, 0, p.eject.Errors)
		}
		p.backends = append(p.backends, b)
		urls = append(urls, bc.URL)
	}
	p.origin = newOrigin(urls)
	return p, nil
}

// start begins the health checks, one goroutine a backend. close ends them.
func (p *pool) start() {
	if p.health.Path == "" {
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	p.stop = stop
	for _, b := range p.backends {
		p.watches.Go(func() { p.watch(ctx, b) })
	}
}

func (p *pool) close() {
	p.stop()
	p.watches.Wait()
	p.idle()
}

// pick chooses the backend for the next attempt: one that is up, not ejected
// and not tried yet. It returns nil when there is none.
func (p *pool) pick(tried []*backend) *backend {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.readmit(now)
	return smooth(p.backends, func(b *backend) bool {
		return !b.down && b.out.IsZero() && !slices.Contains(tried, b)
	})
}

// PoolStatus is what is known about a pool at one moment.
type PoolStatus struct {
	Name     string          `json:"name"`
	Backends []BackendStatus `json:"backends"`
	Retries  uint64          `json:"retries"`
	// Budget is how many retries could be made now.
	Budget float64 `json:"budget"`
}

// BackendStatus is what is known about a backend. It is for operators: a
// client is told nothing of it.
type BackendStatus struct {
	Name   string `json:"name"`
	URL    string `json:"url"`
	Weight int    `json:"weight"`
	// State is "up", "down" (the health checks say so) or "ejected" (requests
	// met errors).
	State    string    `json:"state"`
	Since    time.Time `json:"since"` // of the state
	InFlight int64     `json:"in_flight"`
	Requests uint64    `json:"requests"` // attempts made
	Failures uint64    `json:"failures"` // attempts that it failed
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
	s := PoolStatus{Name: p.name, Retries: p.retries.Load(), Budget: p.budget.left(), Backends: make([]BackendStatus, len(p.backends))}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.readmit(now)
	for i, b := range p.backends {
		s.Backends[i] = BackendStatus{
			Name: b.name, URL: b.shown, Weight: b.weight, State: b.state(), Since: b.since,
			InFlight: b.inFlight.Load(), Requests: b.requests.Load(), Failures: b.failures.Load(),
		}
	}
	return s
}

func (b *backend) state() string {
	switch {
	case b.down:
		return "down"
	case !b.out.IsZero():
		return "ejected"
	}
	return "up"
}

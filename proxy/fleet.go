package proxy

import (
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"sallyport/internal/gate"
)

// A Fleet is what is known of backends beyond one configuration: whether they
// are well, how fast they answer, how many requests they have, what operators
// have done with them, and who waits for them. Handlers that are made one after
// the other with the same Fleet take it over for every backend that stays the
// same: the same pool, name and URL. It may be used by any number of
// goroutines.
type Fleet struct {
	mu      sync.Mutex
	rosters map[string]*roster // of the pools in use, by their name
	pools   []*pool            // in use: those whose health checks run
}

// NewFleet returns a Fleet that knows nothing.
func NewFleet() *Fleet { return &Fleet{rosters: map[string]*roster{}} }

// adopt lets the pools go on with what is known of their backends. It changes
// nothing for those that are in use.
func (f *Fleet) adopt(pools []*pool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range pools {
		if r := f.rosters[p.name]; r != nil {
			p.adopt(r)
		}
	}
}

// use makes the pools those in use, whose health checks run and whose weights
// count, and forgets what belonged to others only.
func (f *Fleet) use(pools []*pool, tell func(change)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.pools {
		p.stop() // close waits for the checks to end
	}
	f.pools = pools
	clear(f.rosters)
	for _, p := range pools {
		f.rosters[p.name] = p.roster
		p.rule(time.Now(), tell)
		p.start()
	}
}

// A roster is what is known of the backends of one pool over all generations
// that have it. Its lock guards what changes in its servers, in the pools that
// share it, and in the line of who waits. It is never held while anybody is
// waited for.
type roster struct {
	sync.Mutex
	servers map[serverKey]*server // of the pool in use
	line    []*waiter             // in the order in which they came
	tell    func(change)          // nil: nobody is told
	pending []change              // not told yet

	retries  atomic.Uint64
	full     atomic.Uint64 // requests for which there was no place in the line
	timeouts atomic.Uint64 // requests that waited in vain
}

// Unlock tells of what has changed after it has given the lock back: whoever is
// told may take other locks.
func (r *roster) Unlock() {
	pending, tell := r.pending, r.tell
	r.pending = nil
	r.Mutex.Unlock()
	if tell == nil {
		return
	}
	for _, c := range pending {
		tell(c)
	}
}

// A serverKey tells whether a backend is still the same one.
type serverKey struct{ name, url string }

// A server is what is known of one backend. It outlives configurations.
type server struct {
	requests atomic.Uint64 // attempts made
	failures atomic.Uint64 // attempts that it failed

	// What follows is guarded by the lock of the roster.
	configured int       // its weight in the configuration in use
	weight     int       // that, or what an operator has set; 0: it gets nothing
	draining   bool      // it gets no new clients
	busy       int       // requests and tunnels that it has
	latency    latency   // of its answers
	down       bool      // by the health checks
	streak     int       // answers in a row that speak against down
	since      time.Time // of the present state
	ejection
	addrs []netip.Addr // that its name stood for; nil: it was not found yet
	began time.Time    // when it came back, while slow_start lasts; zero: it is warm
}

// may reports whether the backend may be asked by clients that it knows, and by
// all others unless it is draining. The lock of the roster is held, here and
// below. (Comparing costs less than IsZero, and every pick asks every backend.)
func (s *server) may(c errand, now time.Time) bool {
	return !s.down && s.weight > 0 && (s.out == (time.Time{}) || s.admits(now, c))
}

// state is what an operator calls its health.
func (s *server) state() string {
	switch {
	case s.down:
		return "down"
	case !s.out.IsZero():
		return "ejected"
	}
	return "up"
}

// adopt takes over what is known of the pool's backends.
func (p *pool) adopt(r *roster) {
	r.Lock()
	defer r.Unlock()
	p.roster, p.mu = r, r
	for _, b := range p.backends {
		if s := r.servers[b.key()]; s != nil {
			b.server = s
			if b.dns != nil && len(s.addrs) > 0 {
				b.dns.learn(s.addrs, 0, nil, p.log) // until it is looked up
			}
		}
	}
}

// rule makes the pool the one in use: what its configuration says counts.
func (p *pool) rule(now time.Time, tell func(change)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.roster.servers
	p.roster.tell = tell
	p.roster.servers = make(map[serverKey]*server, len(p.backends))
	for _, b := range p.backends {
		p.roster.servers[b.key()] = b.server
		if old != nil && old[b.key()] == nil {
			b.began = now // its caches are cold, and others can carry the load
		}
		p.settle(b, now)
	}
	level(p.backends)
	p.serve(now)
}

// settle puts an end to what the configuration no longer bears out: a weight
// that an operator set before the file was changed, and a state out of which
// nobody would take the backend any more.
func (p *pool) settle(b *backend, now time.Time) {
	if b.configured != b.wanted {
		if b.weight != b.wanted {
			p.changed(b, now, gate.BackendWeight, fmt.Sprintf("weight %d by the configuration, was %d", b.wanted, b.weight))
		}
		b.configured, b.weight = b.wanted, b.wanted
	}
	before := b.state()
	if !p.health.checks() {
		b.down, b.streak = false, 0
	}
	if p.eject.Errors <= 0 && p.eject.Ratio <= 0 {
		b.ejection = ejection{}
	}
	if after := b.state(); after != before {
		b.since, b.began = now, now
		p.changed(b, now, after, "the configuration no longer asks for what took it out")
	}
}

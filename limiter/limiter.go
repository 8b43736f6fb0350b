// Package limiter decides whether a request is within its budgets: token
// buckets (golang.org/x/time/rate) and counts of requests in flight, for each
// limit and key, in tables of bounded size; alone, or together with other
// gateways over a Redis or Valkey server.
//
// A request draws from each limit that is for it, in each tier of prefixes
// that its address lies in, all at one instant: when one bucket refuses, none
// is charged. What depends on the answer, or lasts until it, is settled when
// the request ends. The package never waits but for the store, and for it no
// longer than Store.Timeout; and it never forgets a bucket that is not full:
// whoever churns addresses cannot refill anybody's budget. Refusals carry what
// 429 (RFC 6585 section 4) and the RateLimit fields need.
package limiter

import (
	"net/netip"
	"slices"
	"sync"

	"go.uber.org/zap"

	"sallyport/internal/gate"
)

// A Limiter holds every client to its budgets. It is safe for concurrent use.
type Limiter struct {
	mode       gate.Mode
	allHeaders bool
	secret     []byte
	root       *root
	limits     []limit
	tiers      []tier
	rows       int // of each table
	begin      sync.Once
	store      *store // nil: none
}

// Stats is what the tables hold, and what happened since the process started;
// reloads do not reset the counts.
type Stats struct {
	Clients    int    // keys in the fullest table, idle ones included
	Evicted    uint64 // idle keys that made room for others
	Refused    uint64 // requests refused, those only observed included
	Overflowed uint64 // requests that found a table full and drew from a shared bucket
	Limits     []LimitStats
	Store      *StoreStats // nil: there is none
}

// LimitStats is the same of one limit.
type LimitStats struct {
	Name       string
	Keys       int    // in its table
	Refused    uint64 // requests that it refused
	Observed   uint64 // requests that it would have refused
	Evicted    uint64
	Overflowed uint64
}

// New returns a limiter. It shares the buckets of old, which may be nil, for
// limits of which name, key, rate and burst did not change, whichever of the
// two is asked; old may go on serving. An error is about the store's files:
// that the server does not answer is none.
func New(cfg Config, old *Limiter, log *zap.Logger) (*Limiter, error) {
	l := &Limiter{mode: cfg.Mode, allHeaders: cfg.AllHeaders, secret: cfg.Secret, tiers: newTiers(cfg.IPv6Tiers), rows: cfg.MaxClients}
	if l.rows <= 0 {
		l.rows = defaultMaxClients
	}
	var before []limit
	if old != nil {
		l.root, before = old.root, old.limits
	} else {
		l.root = newRoot(l.rows)
	}
	for _, lim := range cfg.Limits {
		if lim.Failure == "" {
			lim.Failure = cfg.Store.Failure
		}
		l.limits = append(l.limits, newLimit(l.root, lim, cfg.Mode, before))
	}
	if cfg.Store.URL == "" {
		return l, nil
	}
	var err error
	l.store, err = openStore(cfg.Store, old, log)
	return l, err
}

// Close ends the limiter's use of the store, which goes on while another
// limiter uses it. What requests still hold is settled nevertheless.
func (l *Limiter) Close() error {
	if l.store == nil {
		return nil
	}
	return l.store.release()
}

// Check draws what the request costs from its budgets, or refuses. The
// request's route selects the limits; where there is none all apply.
func (l *Limiter) Check(req *gate.Request) gate.Verdict {
	var names []string
	if req.Route != nil {
		names = req.Route.Limits
	}
	if l.mode == gate.Off || len(l.limits) == 0 || names != nil && len(names) == 0 {
		return gate.Passes(gate.StageLimit)
	}
	l.begin.Do(l.resize)
	d := draws.Get().(*draw)
	d.root, d.req, d.tells = l.root, req, l.allHeaders
	if d.gather(l, names); len(d.uses) == 0 {
		d.free()
		return gate.Passes(gate.StageLimit)
	}
	v := l.decide(d)
	if !v.Passed() {
		d.giveUp()
	}
	if len(d.held) > 0 || d.lease != nil {
		req.Held = d
	} else {
		d.free()
	}
	return v
}

// Settle implements proxy.Settler: it gives back what the request held, and
// charges limits that depend on the status, which is what the client got. The
// limiter that checked the request need not be the one that settles it.
func (l *Limiter) Settle(req *gate.Request, status int) {
	d, ok := req.Held.(*draw)
	if !ok {
		return
	}
	req.Held = nil
	d.settle(status)
	if d.lease != nil {
		d.lease.end(status)
	}
	d.free()
}

// resize fits the tables to this configuration, with the first request that
// meets it: a configuration that never serves changes nothing.
func (l *Limiter) resize() {
	l.frozen(func() {
		at := l.root.instant()
		for i := range l.limits {
			l.limits[i].table.resize(l.rows, at)
		}
	})
}

// frozen runs f while nothing is drawn.
func (l *Limiter) frozen(f func()) {
	for i := range l.root.stripes {
		l.root.stripes[i].Lock()
		defer l.root.stripes[i].Unlock()
	}
	f()
}

// decide asks the tables of this process, and the store where there is one
// that answers. Both have to agree: what this gateway alone has let through is
// never more than all have, so that where the tables refuse the store need not
// be asked, and where it does not answer in time they have decided already.
func (l *Limiter) decide(d *draw) gate.Verdict {
	asks := l.store != nil && l.store.up()
	if l.store != nil && !asks {
		if u := d.withoutStore(); u != nil {
			return l.closed(u)
		}
	}
	u := d.draw()
	if u != nil || !asks {
		return l.verdict(d, u)
	}
	if !l.store.ask(l, d) {
		if u = d.closed(); u != nil {
			d.giveBack()
			return l.closed(u)
		}
		return l.verdict(d, nil)
	}
	if u = d.refused(); u != nil {
		d.giveBack()
	}
	return l.verdict(d, u)
}

// draw decides by the tables: it takes what the request costs, or nothing and
// returns the use that refuses.
func (d *draw) draw() *use {
	d.lock()
	defer d.unlock()
	d.look()
	u := d.refused()
	if u == nil {
		d.place()
		if u = d.refused(); u == nil {
			d.take()
		}
	}
	return u
}

// closed returns a use that refuses when the store does not answer.
func (d *draw) closed() *use {
	for i := range d.uses {
		if u := &d.uses[i]; u.limit.Failure == FailClosed && !u.limit.watch {
			return u
		}
	}
	return nil
}

// withoutStore leaves out the limits that do not apply while the store does
// not answer. It returns the one that then refuses everything, if any does.
func (d *draw) withoutStore() *use {
	d.uses = slices.DeleteFunc(d.uses, func(u use) bool { return u.limit.Failure == FailOpen })
	return d.closed()
}

// Stats counts what the tables hold and did.
func (l *Limiter) Stats() Stats {
	t := &l.root.total
	sum := Stats{Evicted: t.evicted.Load(), Refused: t.refused.Load(), Overflowed: t.overflowed.Load(), Limits: make([]LimitStats, len(l.limits))}
	l.frozen(func() {
		for i := range l.limits {
			sum.Limits[i].Keys = l.limits[i].table.rows()
		}
	})
	for i := range l.limits {
		s, seen := &sum.Limits[i], l.limits[i].seen
		s.Name = l.limits[i].Name
		s.Refused, s.Observed = seen.refused.Load(), seen.observed.Load()
		s.Evicted, s.Overflowed = seen.evicted.Load(), seen.overflowed.Load()
		sum.Clients = max(sum.Clients, s.Keys)
	}
	if l.store != nil {
		s := l.store.stats()
		sum.Store = &s
	}
	return sum
}

// Key returns the prefix that is one client: its own address for IPv4, and its
// /64 for IPv6, whose low 64 bits one host may choose at will (RFC 4291
// section 2.5.1); a budget for each of them would limit nothing.
//
// An IPv4-mapped address (RFC 4291 section 2.5.5.2) is unmapped first, so that
// one client cannot hold two budgets over a dual-stack listener. A zone is
// dropped. The zero Addr yields the zero Prefix: clients whose address is not
// known share one budget, they are never exempt.
func Key(client netip.Addr) netip.Prefix {
	client = client.Unmap()
	bits := 64
	if client.Is4() {
		bits = 32
	}
	p, err := client.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

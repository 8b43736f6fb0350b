// Package limiter decides whether a client is within its budgets: token
// buckets (golang.org/x/time/rate) for each client and limit, in a table of
// bounded size.
//
// A request draws one token from each limit of its route, in each tier of
// prefixes that its address lies in, all at one instant: when one bucket
// refuses, none is charged. The package never waits, starts no goroutine, and
// never forgets a bucket that is not full: whoever churns addresses cannot
// refill anybody's budget. Refusals carry what 429 (RFC 6585 section 4) and
// the RateLimit fields need.
package limiter

import (
	"net/netip"

	"sallyport/internal/gate"
)

// A Limiter holds every client to its budgets. It is safe for concurrent use.
type Limiter struct {
	mode  gate.Mode
	table *table
}

// Stats is what the table holds, and what happened since it was first made;
// reloads do not reset the counts.
type Stats struct {
	Clients    int    // prefixes in the table, idle ones included
	Evicted    uint64 // idle prefixes that made room for others
	Refused    uint64 // requests refused, those only observed included
	Overflowed uint64 // requests that found the table full and drew from a shared bucket
}

// New returns a limiter. From old, which may be nil, it takes over the buckets
// of limits whose name, rate and burst did not change; old may still serve the
// requests that it has begun with.
func New(cfg Config, old *Limiter) *Limiter {
	plan := newPlan(cfg)
	l := &Limiter{mode: cfg.Mode}
	switch {
	case old == nil:
		l.table = newTable(plan)
	case old.table.plan.equal(plan):
		l.table = old.table
	default:
		l.table = newTable(plan)
		l.table.carry(old.table)
	}
	return l
}

// Check draws what the request costs from the client's buckets, or refuses.
// The request's route selects the limits; where there is none all apply.
func (l *Limiter) Check(req *gate.Request) gate.Verdict {
	var names []string
	if req.Route != nil {
		names = req.Route.Limits
	}
	if l.mode == gate.Off || len(l.table.plan.limits) == 0 || names != nil && len(names) == 0 {
		return gate.Passes(gate.StageLimit)
	}
	r := l.table.draw(req.Client, names)
	if r == nil {
		return gate.Passes(gate.StageLimit)
	}
	v := gate.Refusal(r.reason, l.mode, r.hit.Name+" of "+r.who)
	v.RetryAfter, v.Limit = r.hit.RetryAfter, &r.hit
	return v
}

// Stats counts what the table holds and did.
func (l *Limiter) Stats() Stats { return l.table.stats() }

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

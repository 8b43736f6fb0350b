package limiter

import (
	"hash/maphash"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/time/rate"

	"sallyport/internal/gate"
)

const (
	// maxShards spreads clients over locks; a small table has fewer.
	maxShards = 64
	// minShardRows keeps shards large enough to share rows fairly.
	minShardRows = 128
	// blockRows is how many rows' buckets are allocated at a time.
	blockRows = 64
	// overflowMultiple is the multiple of every budget that all the clients
	// who find a shard full share: enough for a few to be served, far too
	// little for a flood to get through.
	overflowMultiple = 8
)

// A table remembers prefixes and their buckets, at most plan.max of them.
type table struct {
	plan   plan
	start  time.Time    // what row.idle counts from
	seed   maphash.Seed // random, so that nobody can choose a shard to crowd
	shards []shard
	before Stats // the counts of the tables before this one
}

// newTable returns an empty table.
func newTable(p plan) *table {
	n := 1
	for n < maxShards && p.max/(2*n) >= minShardRows {
		n *= 2
	}
	t := &table{plan: p, start: time.Now(), seed: maphash.MakeSeed(), shards: make([]shard, n)}
	for i := range t.shards {
		s := &t.shards[i]
		s.plan, s.seed, s.capacity = &t.plan, t.seed, p.max/n
		s.index = make(map[uint64]int32)
		s.shared = make([]rate.Limiter, len(p.limits))
		for j, limit := range p.limits {
			sz := limit.times(overflowMultiple)
			fill(&s.shared[j], sz, float64(sz.burst), t.start)
		}
	}
	return t
}

// shardOf returns the shard of an address or prefix. All tiers of an address
// lie in the shard of the widest, so that one lock covers a request.
func (t *table) shardOf(k key) *shard {
	h := maphash.Comparable(t.seed, k.in(t.plan.tiersOf(k)[0]))
	return &t.shards[h%uint64(len(t.shards))]
}

// A refusal is a bucket that held no token.
type refusal struct {
	reason gate.Reason
	who    string // for the operator
	hit    gate.LimitHit
}

// draw takes one token from each bucket of the address, for the named limits
// (nil: all), or none at all and says which bucket waits longest.
func (t *table) draw(addr netip.Addr, names []string) *refusal {
	k := newKey(addr)
	s := t.shardOf(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	// Read under the lock: the instants of a shard never run backwards, which
	// would credit its buckets with the same time twice.
	return s.draw(k, names, t.instant())
}

// carry takes over the state of what did not change between the tables. Full
// buckets need no carrying; a table that shrank keeps what it has room for.
func (t *table) carry(old *table) {
	t.before = old.stats()
	same := make([]int, len(t.plan.limits)) // index of the limit in the old plan, or -1
	for j, limit := range t.plan.limits {
		same[j] = slices.Index(old.plan.limits, limit)
	}
	for i := range old.shards {
		t.carryShard(&old.shards[i], same)
	}
}

func (t *table) carryShard(from *shard, same []int) {
	from.mu.Lock()
	defer from.mu.Unlock()
	at := t.instant()
	for i := range from.used {
		r := from.row(i)
		if !slices.Contains(t.plan.tiersOf(r.key), r.tier) {
			continue
		}
		s, to := t.shardOf(r.key), none
		s.found = s.found[:0]
		for j, limit := range t.plan.limits {
			if same[j] < 0 {
				continue
			}
			sz := limit.times(r.tier.multiple)
			tokens := from.bucket(i, same[j]).TokensAt(at.now)
			if tokens >= float64(sz.burst) {
				continue
			}
			if to == none {
				if to = s.place(r.key, r.tier, at); to == none {
					break
				}
			}
			fill(s.bucket(to, j), sz, tokens, at.now)
			s.row(to).busy(at.since + sz.full(tokens))
		}
	}
}

func (t *table) stats() Stats {
	sum := t.before
	sum.Clients = 0
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		sum.Clients += s.used
		sum.Evicted += s.evicted
		sum.Refused += s.refused
		sum.Overflowed += s.overflowed
		s.mu.Unlock()
	}
	return sum
}

// An instant is one moment, as the clock shows it and as rows remember it.
type instant struct {
	now   time.Time
	since time.Duration // the table's start
}

func (t *table) instant() instant {
	now := time.Now()
	return instant{now, now.Sub(t.start)}
}

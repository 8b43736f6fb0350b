package limiter

import (
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gaissmai/bart"

	"sallyport/internal/gate"
)

const (
	// defaultMaxClients is what MaxClients is when it is not positive.
	defaultMaxClients = 200_000
	// maxStripes spreads keys over locks; small tables have fewer.
	maxStripes = 64
	// minStripeRows keeps the parts of a table large enough to share its rows
	// fairly.
	minStripeRows = 128
)

// A tier is a prefix length and the multiple of every budget that a prefix of
// that length carries.
type tier struct{ bits, multiple int }

// alone is the tier of what is not IPv6.
var alone = tier{multiple: 1}

// newTiers reads limiter.ipv6_tiers, the widest prefix first.
func newTiers(lengths map[int]int) []tier {
	var tiers []tier
	for bits, multiple := range lengths {
		if bits >= 0 && bits <= 128 && multiple >= 1 {
			tiers = append(tiers, tier{bits, multiple})
		}
	}
	if len(tiers) == 0 {
		return []tier{{48, 16}, {56, 4}, {64, 1}}
	}
	slices.SortFunc(tiers, func(a, b tier) int { return a.bits - b.bits })
	return tiers
}

// A usage is how a limit is drawn from.
type usage uint8

const (
	spends  usage = iota // each request takes its cost
	charges              // answers with certain statuses take a token
	counts               // requests in flight are counted
)

// A limit is a Limit in the form that requests meet it.
type limit struct {
	Limit
	usage  usage
	size   size
	cost   int
	match  *matcher
	exempt *bart.Lite // nil: nobody
	watch  bool       // it only observes
	table  *table
	seen   *tally
}

// A tally counts what happened to one limit, over reloads.
type tally struct{ refused, observed, evicted, overflowed atomic.Uint64 }

// A root is what the limiters of one process share, from one reload to the
// next: how keys are hashed, and the locks.
//
// A stripe guards, in every table, the rows whose keys fall to it. A request
// locks the stripes of all its keys, in order, and then looks at the clock:
// so all its limits are drawn from at one instant, and the instants of a row
// never run backwards, which would credit its bucket with the same time twice.
type root struct {
	seed    maphash.Seed // random, so that nobody can choose a stripe to crowd
	start   time.Time    // what block.idle counts from
	stripes []stripe     // as many as the first configuration asked for
	// overflow guards the buckets that requests share when a table is full; it
	// is locked after the stripes.
	overflow sync.Mutex
	total    tally
}

type stripe struct {
	sync.Mutex
	_ [56]byte // a cache line each
}

func newRoot(rows int) *root {
	n := 1
	for n < maxStripes && rows/(2*n) >= minStripeRows {
		n *= 2
	}
	return &root{seed: maphash.MakeSeed(), start: time.Now(), stripes: make([]stripe, n)}
}

// newLimit compiles a limit. It takes over the table of the one in old that
// draws on the same buckets: with the same name, key, rate and burst. A change
// of anything else does not refill them.
func newLimit(r *root, cfg Limit, mode gate.Mode, old []limit) limit {
	if cfg.Key.Kind == "" {
		cfg.Key.Kind = ByClient
	}
	l := limit{
		Limit: cfg, size: size{cfg.Rate, cfg.Burst}, cost: max(1, cfg.Cost), match: newMatcher(cfg.Match),
		watch: cfg.Mode == gate.Watch || mode == gate.Watch,
	}
	switch {
	case cfg.Concurrent > 0:
		l.usage, l.size = counts, size{burst: cfg.Concurrent}
	case len(cfg.OnStatus) > 0:
		l.usage = charges
	}
	if len(cfg.Exempt) > 0 {
		l.exempt = new(bart.Lite)
		for _, p := range cfg.Exempt {
			l.exempt.Insert(p.Masked())
		}
	}
	for i := range old {
		if o := &old[i]; o.Name == l.Name {
			l.seen = o.seen
			if o.Key == l.Key && o.usage == l.usage && (o.size == l.size || l.usage == counts) {
				l.table = o.table
			}
		}
	}
	if l.seen == nil {
		l.seen = new(tally)
	}
	if l.table == nil {
		l.table = newTable(r, l.usage, l.size)
	}
	return l
}

// statuses reports whether an answer with the status takes a token.
func (l *limit) statuses(status int) bool {
	return slices.ContainsFunc(l.OnStatus, func(r StatusRange) bool { return r.From <= status && status <= r.To })
}

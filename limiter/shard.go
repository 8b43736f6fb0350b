package limiter

import (
	"hash/maphash"
	"math"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"sallyport/internal/gate"
)

// none is the row of a prefix that has none.
const none = -1

// A shard is a part of the table with a lock of its own. Its methods need the
// lock held.
type shard struct {
	mu       sync.Mutex
	plan     *plan
	seed     maphash.Seed
	capacity int              // rows
	used     int              // rows
	index    map[uint64]int32 // hash of a key -> row
	blocks   []block
	hand     int // the row that is asked next whether it is idle
	// noneIdle is the instant before which no row becomes idle, as the last
	// search found: a full table is searched once, not once a request.
	noneIdle time.Duration
	shared   []rate.Limiter // what clients without a row draw from

	// Scratch of one draw.
	drawn   []int    // the limits that the request draws from
	found   []int    // the row of each tier
	charges []charge // the buckets that the request draws from

	evicted, refused, overflowed uint64
}

// A block is blockRows rows, or fewer at the end of a shard, and their buckets:
// one for every limit, row after row.
type block struct {
	rows    []row
	buckets []rate.Limiter
}

// A row is one remembered prefix.
type row struct {
	key  key
	tier tier
	// idle is when every bucket of the row will be full, counted from the
	// table's start. From then on forgetting the row changes nothing.
	idle time.Duration
}

// busy notes that a bucket of the row will not be full before the instant.
func (r *row) busy(until time.Duration) { r.idle = max(r.idle, until) }

// hash returns the number that stands for the key in the index. Two keys with
// one number share a row, and nobody who does not know the seed can find two.
func (s *shard) hash(k key) uint64 { return maphash.Comparable(s.seed, k) }

func (s *shard) row(i int) *row { return &s.blocks[i/blockRows].rows[i%blockRows] }

// bucket returns the bucket of a row for a limit; without a row the one that
// is shared.
func (s *shard) bucket(row, limit int) *rate.Limiter {
	if row == none {
		return &s.shared[limit]
	}
	return &s.blocks[row/blockRows].buckets[row%blockRows*len(s.plan.limits)+limit]
}

// A charge is one bucket that a request draws from, and what it holds.
type charge struct {
	bucket *rate.Limiter
	row    *row // nil: the bucket is shared
	limit  int
	tier   tier
	size   size
	tokens float64
}

// A shortage is the charge that has to wait longest for a token, if any has.
type shortage struct {
	charge charge
	wait   time.Duration
}

// draw does what table.draw promises.
func (s *shard) draw(k key, names []string, at instant) *refusal {
	s.drawn, s.found, s.charges = s.drawn[:0], s.found[:0], s.charges[:0]
	for j := range s.plan.limits {
		if names == nil || slices.Contains(names, s.plan.limits[j].Name) {
			s.drawn = append(s.drawn, j)
		}
	}
	if len(s.drawn) == 0 {
		return nil
	}
	var worst shortage
	tiers := s.plan.tiersOf(k)
	for _, tr := range tiers {
		i, known := s.index[s.hash(k.in(tr))]
		if !known {
			i = none
		} else {
			s.charge(&worst, int(i), tr, at)
		}
		s.found = append(s.found, int(i))
	}
	if worst.wait > 0 {
		return s.refuse(gate.LimitOverBudget, worst, k.in(worst.charge.tier).String())
	}
	full := false
	for i, tr := range tiers {
		if s.found[i] != none {
			continue
		}
		if s.found[i] = s.place(k.in(tr), tr, at); s.found[i] == none {
			full = true
		} else {
			s.charge(&worst, s.found[i], tr, at)
		}
	}
	if full {
		s.overflowed++
		s.charge(&worst, none, tier{multiple: overflowMultiple}, at)
	}
	if worst.wait > 0 {
		return s.refuse(gate.LimitTableFull, worst, "the clients beyond limiter.max_clients")
	}
	for i := range s.charges {
		c := &s.charges[i]
		c.bucket.AllowN(at.now, 1)
		if c.row != nil {
			c.row.busy(at.since + c.size.full(c.tokens-1))
		}
	}
	return nil
}

// charge adds the row's buckets to what the request draws from, and notes in
// worst whichever waits longest.
func (s *shard) charge(worst *shortage, row int, t tier, at instant) {
	for _, j := range s.drawn {
		c := charge{bucket: s.bucket(row, j), limit: j, tier: t, size: s.plan.limits[j].times(t.multiple)}
		c.tokens = c.bucket.TokensAt(at.now)
		if row != none {
			c.row = s.row(row)
		}
		if wait := c.size.lack(c.tokens); wait > worst.wait {
			*worst = shortage{c, wait}
		}
		s.charges = append(s.charges, c)
	}
}

// refuse counts and describes a refusal.
func (s *shard) refuse(reason gate.Reason, worst shortage, who string) *refusal {
	s.refused++
	c, wait := worst.charge, worst.wait+1 // rounded down so far
	return &refusal{reason: reason, who: who, hit: gate.LimitHit{
		Name: s.plan.limits[c.limit].Name, RetryAfter: wait, Quota: c.size.burst, Window: c.size.window(), Reset: wait,
	}}
}

// place gives the prefix a row of full buckets: a new one while there is room,
// else that of an idle prefix. It returns none when all are busy.
func (s *shard) place(k key, t tier, at instant) int {
	i := s.used
	switch {
	case i == s.capacity:
		if i = s.evict(at.since); i == none {
			return none
		}
	case i%blockRows == 0:
		n := min(blockRows, s.capacity-i)
		s.blocks = append(s.blocks, block{make([]row, n), make([]rate.Limiter, n*len(s.plan.limits))})
		fallthrough
	default:
		s.used++
	}
	s.index[s.hash(k)] = int32(i)
	*s.row(i) = row{key: k, tier: t}
	for j := range s.plan.limits {
		sz := s.plan.limits[j].times(t.multiple)
		fill(s.bucket(i, j), sz, float64(sz.burst), at.now)
	}
	return i
}

// evict forgets an idle prefix, the oldest first, and returns its row; none
// when all are busy. The rows of the present draw are not idle.
func (s *shard) evict(since time.Duration) int {
	if since < s.noneIdle {
		return none
	}
	earliest := time.Duration(math.MaxInt64)
	for range s.used {
		i := s.hand
		s.hand = (s.hand + 1) % s.used
		r := s.row(i)
		if r.idle <= since && !slices.Contains(s.found, i) {
			delete(s.index, s.hash(r.key))
			s.evicted++
			return i
		}
		earliest = min(earliest, r.idle)
	}
	s.noneIdle = earliest
	return none
}

package limiter

import (
	"math"
	"slices"
	"time"

	"golang.org/x/time/rate"
)

const (
	// none is the row of a key that has none.
	none = -1
	// blockRows is how many rows are allocated at a time: their buckets, of 80
	// bytes each, fill 8 KiB.
	blockRows = 102
	// overflowMultiple is the multiple of a budget that all the keys share that
	// find the table full: enough for a few to be served, far too little for a
	// flood to get through.
	overflowMultiple = 8
	// tick is how finely a row remembers when it becomes idle, in 32 bits that
	// last thirteen years.
	tick = 100 * time.Millisecond
)

// A table remembers the keys of one limit and their buckets. It outlives
// reloads, as long as the limit draws on the same buckets.
type table struct {
	usage  usage
	shards []shard // one for each stripe of the root

	// What keys without a row draw from; guarded by root.overflow.
	shared       rate.Limiter
	sharedFlying int
}

func newTable(r *root, u usage, sz size) *table {
	t := &table{usage: u, shards: make([]shard, len(r.stripes))}
	for i := range t.shards {
		t.shards[i].usage = u
	}
	if sz = sz.times(overflowMultiple); u != counts {
		fill(&t.shared, sz, float64(sz.burst), r.start)
	}
	return t
}

// resize changes how many rows the table may have. Of a table that shrinks,
// the rows stay that are not idle, as far as there is room for them. All
// stripes are locked.
func (t *table) resize(rows int, at instant) {
	for i := range t.shards {
		n := rows / len(t.shards)
		if i < rows%len(t.shards) {
			n++
		}
		t.shards[i].resize(n, at)
	}
}

// rows counts the keys in the table. All stripes are locked.
func (t *table) rows() (n int) {
	for i := range t.shards {
		n += t.shards[i].used
	}
	return n
}

// A shard is the part of a table that one stripe guards.
type shard struct {
	usage    usage
	capacity int     // rows
	used     int     // rows
	index    []int32 // row + 1 by id, open addressing; 0: free
	blocks   []block
	hand     int // the row that is asked next whether it is idle
	// noneIdle is the instant before which no row becomes idle, as the last
	// search found: a full table is searched once, not once a request.
	noneIdle time.Duration
}

// A block is blockRows rows. What a usage does not need is not there.
type block struct {
	ids     []uint64
	idle    []uint32       // the tick of the root from which the bucket is full: forgetting the row then changes nothing
	buckets []rate.Limiter // spends, charges
	flying  []int32        // charges, counts
}

func (s *shard) at(row int) (*block, int) { return &s.blocks[row/blockRows], row % blockRows }

func (s *shard) id(row int) uint64 { return s.blocks[row/blockRows].ids[row%blockRows] }

// find returns the row of an id, or none. Two keys with one id share a row,
// and nobody who does not know the seed can find two.
func (s *shard) find(id uint64) int {
	if s.used == 0 {
		return none
	}
	mask := len(s.index) - 1
	for i := int(id) & mask; ; i = (i + 1) & mask {
		row := int(s.index[i]) - 1
		if row < 0 || s.id(row) == id {
			return row
		}
	}
}

// enter makes an id lead to a row. The index has room for it.
func (s *shard) enter(id uint64, row int) {
	mask := len(s.index) - 1
	i := int(id) & mask
	for s.index[i] != 0 {
		i = (i + 1) & mask
	}
	s.index[i] = int32(row + 1)
}

// add returns a new row.
func (s *shard) add() int {
	if s.used == len(s.blocks)*blockRows {
		s.blocks = append(s.blocks, s.newBlock())
	}
	if s.used++; 8*s.used > 7*len(s.index) {
		s.index = make([]int32, max(64, 2*len(s.index)))
		for row := range s.used - 1 {
			s.enter(s.id(row), row)
		}
	}
	return s.used - 1
}

// leave takes an id out of the index, and moves what had to step aside for it.
func (s *shard) leave(id uint64) {
	mask := len(s.index) - 1
	hole := int(id) & mask
	for s.id(int(s.index[hole])-1) != id {
		hole = (hole + 1) & mask
	}
	for i := (hole + 1) & mask; s.index[i] != 0; i = (i + 1) & mask {
		home := int(s.id(int(s.index[i])-1)) & mask
		if (i-home)&mask >= (i-hole)&mask {
			s.index[hole] = s.index[i]
			hole = i
		}
	}
	s.index[hole] = 0
}

// place gives an id a row with a full bucket: a new one while there is room,
// else that of an idle key. It returns none when all are busy. The rows in
// keep are not idle: the request that asks draws from them. Forgot tells
// whether a key was forgotten.
func (s *shard) place(id uint64, sz size, keep []mark, at instant) (row int, forgot bool) {
	if s.used < s.capacity {
		row = s.add()
	} else {
		if row = s.idle(keep, at.since); row == none {
			return none, false
		}
		s.leave(s.id(row))
		forgot = true
	}
	b, i := s.at(row)
	b.ids[i], b.idle[i] = id, 0
	s.enter(id, row)
	if b.buckets != nil {
		fill(&b.buckets[i], sz, float64(sz.burst), at.now)
	}
	return row, forgot
}

func (s *shard) newBlock() block {
	b := block{ids: make([]uint64, blockRows), idle: make([]uint32, blockRows)}
	if s.usage != counts {
		b.buckets = make([]rate.Limiter, blockRows)
	}
	if s.usage != spends {
		b.flying = make([]int32, blockRows)
	}
	return b
}

// idle returns an idle row, the oldest first, or none.
func (s *shard) idle(keep []mark, since time.Duration) int {
	if since < s.noneIdle || s.used == 0 {
		return none
	}
	earliest := uint32(math.MaxUint32)
	now := uint32(since / tick)
	for range s.used {
		row := s.hand
		s.hand = (s.hand + 1) % s.used
		b, i := s.at(row)
		if b.flying != nil && b.flying[i] > 0 {
			continue
		}
		if b.idle[i] <= now && !slices.ContainsFunc(keep, func(m mark) bool { return m.row == row }) {
			return row
		}
		earliest = min(earliest, b.idle[i])
	}
	s.noneIdle = time.Duration(earliest) * tick
	return none
}

// busy notes that the bucket of a row will not be full before an instant.
func (b *block) busy(i int, until time.Duration) {
	b.idle[i] = max(b.idle[i], uint32(min(until/tick+1, math.MaxUint32)))
}

// landed notes that one request less is in flight.
func (s *shard) landed(b *block, i int) {
	if b.flying[i] > 0 {
		b.flying[i]--
	}
	if b.flying[i] == 0 {
		s.noneIdle = 0
	}
}

// resize does what table.resize promises.
func (s *shard) resize(capacity int, at instant) {
	s.noneIdle = 0
	if s.used <= capacity {
		s.capacity = capacity
		return
	}
	old := *s
	*s = shard{usage: old.usage, capacity: capacity}
	for row := range old.used {
		from, i := old.at(row)
		idle := from.idle[i] <= uint32(at.since/tick) && (from.flying == nil || from.flying[i] == 0)
		if idle || s.used == s.capacity {
			continue
		}
		row := s.add()
		to, j := s.at(row)
		to.ids[j], to.idle[j] = from.ids[i], from.idle[i]
		s.enter(to.ids[j], row)
		if to.buckets != nil {
			b := &from.buckets[i]
			fill(&to.buckets[j], sizeOf(b), b.TokensAt(at.now), at.now)
		}
		if to.flying != nil {
			to.flying[j] = from.flying[i]
		}
	}
}

// An instant is one moment, as the clock shows it and as rows remember it.
type instant struct {
	now   time.Time
	since time.Duration // the root's start
}

func (r *root) instant() instant {
	now := time.Now()
	return instant{now, now.Sub(r.start)}
}

package limiter

import (
	"hash/maphash"
	"math/bits"
	"slices"
	"sync"
	"time"

	"sallyport/internal/gate"
)

// A draw is what one request takes from its budgets: first a plan of what it
// would take, then, until the request is settled, what it holds. It is reused.
type draw struct {
	root *root
	req  *gate.Request
	at   instant

	tells bool // clients are told of what is left

	uses    []use
	subs    []subject
	marks   []mark
	stripes uint64 // those that are locked
	crowd   bool   // root.overflow is locked

	held  []hold
	lease *lease // what the store was told of; nil: nothing
}

// A use is one limit that the request draws from.
type use struct {
	limit       *limit
	first, last int    // its subjects
	worst       bucket // the one that waits longest, or that has least left
	crowded     bool   // a table is full: it draws from the shared bucket
	spared      bool   // it takes nothing: it would have been refused, but only observes
}

// A subject is one key that the request counts for.
type subject struct {
	key    key
	tier   tier
	id     uint64
	stripe int
}

// A mark is the row of a subject, and what its bucket held when it was found.
type mark struct {
	sub, row int
	tokens   float64
}

// A hold is what has to be given back, or charged, when the request ends.
type hold struct {
	limit  *limit
	id     uint64 // of the row; unused when it is shared
	stripe int
	crowd  bool // it is shared
}

// A bucket is what a limit keeps for one key, at the instant of the draw.
type bucket struct {
	sub    int // none: it is shared
	size   size
	tokens float64
	flying int
	left   float64       // of what the request wants
	wait   time.Duration // until it would let the request pass
}

// brief is what is told to wait for requests in flight: nobody knows when they
// end.
const brief = time.Second

var draws = sync.Pool{New: func() any { return new(draw) }}

// free gives the draw back when nothing is held.
func (d *draw) free() {
	clear(d.uses)
	clear(d.held)
	d.root, d.req, d.lease = nil, nil, nil
	d.uses, d.subs, d.marks, d.held, d.stripes = d.uses[:0], d.subs[:0], d.marks[:0], d.held[:0], 0
	draws.Put(d)
}

// gather finds the limits that the request draws from and their keys. The
// names are those of the route; nil: all.
func (d *draw) gather(l *Limiter, names []string) {
	first, last := 0, 0 // the client's subjects: most limits share them
	for i := range l.limits {
		lim := &l.limits[i]
		if names != nil && !slices.Contains(names, lim.Name) || !lim.match.takes(d.req) ||
			lim.exempt != nil && lim.exempt.Contains(d.req.Client) {
			continue
		}
		if lim.Key.Kind == ByClient {
			if last == 0 {
				first = len(d.subs)
				d.addresses(l, 0)
				last = len(d.subs)
			}
			d.uses = append(d.uses, use{limit: lim, first: first, last: last})
			continue
		}
		from := len(d.subs)
		d.subjects(l, lim)
		d.uses = append(d.uses, use{limit: lim, first: from, last: len(d.subs)})
	}
}

// subjects adds the keys that the request has for a limit.
func (d *draw) subjects(l *Limiter, lim *limit) {
	switch lim.Key.Kind {
	case ByClientRoute:
		salt := uint64(1)
		if d.req.Route != nil {
			salt = maphash.String(l.root.seed, d.req.Route.Name)
		}
		d.addresses(l, salt)
	case ByCountry:
		k := key{bits: bitsCountry}
		for _, c := range []byte(d.req.Place.Country) {
			k.lo = k.lo<<8 | uint64(c)
		}
		d.subject(k)
	case ByASN:
		d.subject(key{lo: uint64(d.req.Place.ASN), bits: bitsASN})
	case ByPath:
		d.subject(key{lo: maphash.String(l.root.seed, d.req.Path), bits: bitsText})
	case ByHeader, ByCookie:
		if value := lim.Key.only(d.req.Head); value != "" {
			d.subject(key{lo: maphash.String(l.root.seed, value), bits: bitsText})
		} else {
			d.addresses(l, 0)
		}
	}
}

// addresses adds the tiers that the client's address lies in.
func (d *draw) addresses(l *Limiter, salt uint64) {
	k, tiers := newKey(d.req.Client), l.tiers
	if k.bits > 128 {
		d.salted(k, salt, alone, -1)
		return
	}
	stripe := -1
	for _, t := range tiers {
		stripe = d.salted(k.in(t), salt, t, stripe)
	}
}

func (d *draw) subject(k key) { d.salted(k, 0, alone, -1) }

// salted adds a subject. All tiers of an address lie in the stripe of the
// widest, so that one lock covers them.
func (d *draw) salted(k key, salt uint64, t tier, stripe int) int {
	id := maphash.Comparable(d.root.seed, [5]uint64{k.hi, k.lo, k.bits, salt, uint64(t.multiple)})
	if stripe < 0 {
		stripe = int(id>>32) & (len(d.root.stripes) - 1)
	}
	d.subs = append(d.subs, subject{k, t, id, stripe})
	return stripe
}

// lock locks the stripes of all subjects, in order, and then looks at the
// clock.
func (d *draw) lock() {
	d.stripes = 0
	for i := range d.subs {
		d.stripes |= 1 << d.subs[i].stripe
	}
	for left := d.stripes; left != 0; left &= left - 1 {
		d.root.stripes[bits.TrailingZeros64(left)].Lock()
	}
	d.at = d.root.instant()
}

func (d *draw) unlock() {
	if d.crowd {
		d.crowd = false
		d.root.overflow.Unlock()
	}
	for left := d.stripes; left != 0; left &= left - 1 {
		d.root.stripes[bits.TrailingZeros64(left)].Unlock()
	}
}

// look finds the rows that there are, and what each limit would have to wait
// for. It changes nothing.
func (d *draw) look() {
	d.marks = d.marks[:0]
	for i := range d.uses {
		u := &d.uses[i]
		u.worst = bucket{}
		for j := u.first; j < u.last; j++ {
			sub := &d.subs[j]
			m := mark{sub: j, row: u.limit.table.shards[sub.stripe].find(sub.id)}
			if m.row != none {
				d.weigh(u, &m)
			}
			d.marks = append(d.marks, m)
		}
	}
}

// weigh finds out whether the bucket of a row lets the request pass.
func (d *draw) weigh(u *use, m *mark) {
	sub := &d.subs[m.sub]
	b, i := u.limit.table.shards[sub.stripe].at(m.row)
	if b.buckets != nil {
		m.tokens = b.buckets[i].TokensAt(d.at.now)
	}
	if u.limit.usage == spends && m.tokens >= float64(u.limit.cost) && !d.tells {
		return // as most do, and nobody wants to know more
	}
	k := bucket{sub: m.sub, size: u.limit.size.times(sub.tier.multiple), tokens: m.tokens}
	if b.flying != nil {
		k.flying = int(b.flying[i])
	}
	u.note(k)
}

// note keeps the bucket that waits longest, or has least left.
func (u *use) note(k bucket) {
	switch u.limit.usage {
	case spends:
		k.left = k.tokens
		k.wait = k.size.lack(k.tokens, u.limit.cost)
	case charges:
		k.left = k.tokens - float64(k.flying)
		if k.wait = k.size.lack(k.tokens, 1); k.wait == 0 && k.left < 1 {
			k.wait = brief
		}
	case counts:
		k.left = float64(k.size.burst - k.flying)
		if k.left < 1 {
			k.wait = brief
		}
	}
	u.keep(k)
}

func (u *use) keep(k bucket) {
	if w := &u.worst; w.size.burst == 0 || k.wait > w.wait || k.wait == w.wait && k.left < w.left {
		*w = k
	}
}

// refused returns the use that has to wait longest of those that enforce; nil
// when none has to. What only observes and would be refused is spared.
func (d *draw) refused() *use {
	var worst *use
	for i := range d.uses {
		u := &d.uses[i]
		switch {
		case u.worst.wait == 0:
		case u.limit.watch:
			u.spared = true
		case worst == nil || u.worst.wait > worst.worst.wait:
			worst = u
		}
	}
	return worst
}

// marksOf returns the marks of the use; those before it end where it begins.
func (u *use) marksOf(marks []mark) (own, rest []mark) {
	n := u.last - u.first
	return marks[:n:n], marks[n:]
}

// place gives rows to subjects that have none. Where there is no room, the
// limit draws from its shared bucket as well, and the clock is looked at
// again.
func (d *draw) place() {
	marks, rest := []mark(nil), d.marks
	for i := range d.uses {
		u := &d.uses[i]
		marks, rest = u.marksOf(rest)
		for j := range marks {
			if marks[j].row == none && !u.spared {
				d.placeOne(u, marks, &marks[j])
			}
		}
	}
	if !d.crowd {
		return
	}
	d.at = d.root.instant()
	d.root.total.overflowed.Add(1)
	for i := range d.uses {
		u := &d.uses[i]
		if !u.crowded {
			continue
		}
		u.limit.seen.overflowed.Add(1)
		t := u.limit.table
		k := bucket{sub: none, size: u.limit.size.times(overflowMultiple), flying: t.sharedFlying}
		if t.usage != counts {
			k.tokens = t.shared.TokensAt(d.at.now)
		}
		u.note(k)
	}
}

func (d *draw) placeOne(u *use, marks []mark, m *mark) {
	sub := &d.subs[m.sub]
	sz := u.limit.size.times(sub.tier.multiple)
	row, forgot := u.limit.table.shards[sub.stripe].place(sub.id, sz, marks, d.at)
	if forgot {
		u.limit.seen.evicted.Add(1)
		d.root.total.evicted.Add(1)
	}
	if m.row = row; row != none {
		m.tokens = float64(sz.burst)
		u.note(bucket{sub: m.sub, size: sz, tokens: m.tokens})
		return
	}
	u.crowded = true
	if !d.crowd {
		d.crowd = true
		d.root.overflow.Lock()
	}
}

// take draws from every bucket, and notes what has to be settled.
func (d *draw) take() {
	marks, rest := []mark(nil), d.marks
	for i := range d.uses {
		u := &d.uses[i]
		marks, rest = u.marksOf(rest)
		if u.spared {
			continue
		}
		for j := range marks {
			if marks[j].row != none {
				d.takeOne(u, &marks[j])
			}
		}
		if u.crowded {
			d.takeShared(u)
		}
	}
}

func (d *draw) takeOne(u *use, m *mark) {
	sub := &d.subs[m.sub]
	b, i := u.limit.table.shards[sub.stripe].at(m.row)
	if u.limit.usage == spends {
		drain(&b.buckets[i], u.limit.cost, d.at.now)
		sz := u.limit.size.times(sub.tier.multiple)
		b.busy(i, d.at.since+sz.full(m.tokens-float64(u.limit.cost)))
		return
	}
	b.flying[i]++
	d.held = append(d.held, hold{limit: u.limit, id: sub.id, stripe: sub.stripe})
}

func (d *draw) takeShared(u *use) {
	if u.limit.usage == spends {
		drain(&u.limit.table.shared, u.limit.cost, d.at.now)
		return
	}
	u.limit.table.sharedFlying++
	d.held = append(d.held, hold{limit: u.limit, crowd: true})
}

// giveBack returns what was taken for a request that the store refuses. The
// limiters of package rate take nothing back later, so theirs are filled anew.
func (d *draw) giveBack() {
	d.settle(0)
	d.held = d.held[:0]
	d.lock()
	defer d.unlock()
	for i := range d.uses {
		u := &d.uses[i]
		if u.spared || u.limit.usage != spends {
			continue
		}
		for _, sub := range d.subs[u.first:u.last] {
			s := &u.limit.table.shards[sub.stripe]
			if row := s.find(sub.id); row != none {
				b, j := s.at(row)
				refund(&b.buckets[j], u.limit.cost, d.at.now)
			}
		}
		if u.crowded {
			d.root.overflow.Lock()
			refund(&u.limit.table.shared, u.limit.cost, d.at.now)
			d.root.overflow.Unlock()
		}
	}
}

// settle gives back what the request held, and charges what its answer costs.
func (d *draw) settle(status int) {
	d.lock()
	defer d.unlock()
	for i := range d.held {
		h := &d.held[i]
		costs := h.limit.usage == charges && h.limit.statuses(status)
		if h.crowd {
			d.settleShared(h.limit.table, costs)
			continue
		}
		s := &h.limit.table.shards[h.stripe]
		row := s.find(h.id)
		if row == none {
			continue // the table has shrunk
		}
		b, j := s.at(row)
		s.landed(b, j)
		if costs {
			drain(&b.buckets[j], 1, d.at.now)
			b.busy(j, d.at.since+sizeOf(&b.buckets[j]).full(b.buckets[j].TokensAt(d.at.now)))
		}
	}
}

func (d *draw) settleShared(t *table, costs bool) {
	d.root.overflow.Lock()
	defer d.root.overflow.Unlock()
	t.sharedFlying = max(0, t.sharedFlying-1)
	if costs {
		drain(&t.shared, 1, time.Now())
	}
}

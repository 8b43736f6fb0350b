package limiter

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gaissmai/bart"
	"golang.org/x/time/rate"

	"sallyport/internal/gate"
)

// BanConfig says when a client that is refused again and again is kept out
// altogether.
type BanConfig struct {
	// Mode is off (default), observe (bans are recorded and not enforced) or
	// enforce (bans.mode).
	Mode gate.Mode
	// Refusals within Within lead to a ban (bans.after). Default 50 within a
	// minute. They are counted as a budget that refills evenly, so that it does
	// not matter where a minute begins.
	Refusals int
	Within   time.Duration
	// Weights is how much a refusal of each stage counts (bans.weights);
	// default 1 each. 0: refusals of the stage do not count.
	Weights Weights
	// For is how long a first ban lasts (bans.for); each one that follows lasts
	// twice as long, up to Max (bans.max). Default 5 minutes and 24 hours. After
	// Max without another ban, the next one is a first one again.
	For, Max time.Duration
	// Close ends connections of banned clients when they are accepted, before
	// TLS (bans.answer: close). Default: they are answered 429 (page).
	Close bool
	// Exempt are clients that are never banned (bans.exempt). Trusted proxies
	// never are either.
	Exempt []netip.Prefix
	// MaxClients bounds how many clients are remembered, those that are banned
	// and those that were refused of late (limiter.max_clients). Default 200000.
	MaxClients int
}

// Weights is how much a refusal of each stage counts towards a ban.
type Weights struct{ HTTP, Limit, WAF int }

// of returns the weight of a stage; 0 for those that never count.
func (w Weights) of(s gate.Stage) int {
	switch s {
	case gate.StageHTTP:
		return w.HTTP
	case gate.StageLimit:
		return w.Limit
	case gate.StageWAF:
		return w.WAF
	default: // geo refuses by place, route and pool are nobody's offence
		return 0
	}
}

// withDefaults fills in what was left out.
func (c BanConfig) withDefaults() BanConfig {
	c.Mode = cmp.Or(c.Mode, gate.Off)
	c.Refusals, c.Within = cmp.Or(c.Refusals, 50), cmp.Or(c.Within, time.Minute)
	c.For, c.Max = cmp.Or(c.For, 5*time.Minute), cmp.Or(c.Max, 24*time.Hour)
	c.Max = max(c.Max, c.For)
	c.MaxClients = cmp.Or(c.MaxClients, defaultMaxClients)
	if c.Weights == (Weights{}) {
		c.Weights = Weights{1, 1, 1}
	}
	return c
}

// A Ban is one client that is kept out.
type Ban struct {
	Client netip.Prefix `json:"client"` // as Key returns it
	Since  time.Time    `json:"since"`
	Until  time.Time    `json:"until"`
	// Repeats is how many bans the client had before this one and within
	// bans.max.
	Repeats int `json:"repeats"`
	// Reason is that of the refusal that led to the ban, "manual" for one that
	// an operator made.
	Reason string `json:"reason"`
}

// Bans keep clients out for a while who were refused too often, each time for
// longer. What it remembers is bounded; it never bans a client that is not
// known, a trusted proxy, or who is exempt. It is safe for concurrent use.
type Bans struct {
	cfg     BanConfig
	trusted func(netip.Addr) bool
	exempt  bart.Lite
	book    *banBook
}

// NewBans returns bans under a configuration. trusted tells which addresses
// are trusted proxies. From old, which may be nil, it takes over who is banned
// and who was refused; old may still serve the requests that it has begun with.
func NewBans(cfg BanConfig, trusted func(netip.Addr) bool, old *Bans) *Bans {
	b := &Bans{cfg: cfg.withDefaults(), trusted: trusted}
	for _, p := range b.cfg.Exempt {
		b.exempt.Insert(p)
	}
	if old != nil {
		b.book = old.book
	} else {
		b.book = &banBook{pages: map[netip.Prefix]*offender{}}
	}
	return b
}

// A banBook is what outlives a configuration.
type banBook struct {
	mu    sync.Mutex
	pages map[netip.Prefix]*offender
	// noneIdle is the instant before which no page can be torn out, as the last
	// search found.
	noneIdle time.Time
	banned   atomic.Int64 // pages of clients that were ever banned
	changed  bool         // since it was last saved
	restored bool         // what a file held has been taken over
	shared   bool         // with other gateways: changes are noted in journal
	journal  []banWord

	turned, evicted, untracked atomic.Uint64
}

// An offender is a client that was refused of late, is banned, or was.
type offender struct {
	budget   rate.Limiter // of refusals
	full     time.Time    // when the budget is full again
	since    time.Time
	until    time.Time // of the last ban; zero: none so far
	bans     int       // so far
	reason   string
	recorded time.Time // when a closed connection was last recorded
}

// banned reports whether the ban has not ended.
func (o *offender) banned(now time.Time) bool { return now.Before(o.until) }

// idle is when forgetting the client changes nothing.
func (o *offender) idle(keep time.Duration) time.Time {
	if o.bans > 0 {
		return later(o.full, o.until.Add(keep))
	}
	return o.full
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// Check refuses the request of a banned client.
func (b *Bans) Check(req *gate.Request) gate.Verdict {
	until, reason, ok := b.find(req.Client)
	if !ok {
		return gate.Passes(gate.StageBan)
	}
	v := gate.Refusal(gate.BanActive, b.cfg.Mode, Key(req.Client).String()+" after "+reason)
	v.RetryAfter = time.Until(until)
	return v
}

// find returns the ban of a client that is not exempt.
func (b *Bans) find(client netip.Addr) (until time.Time, reason string, ok bool) {
	if b.cfg.Mode == gate.Off || b.book.banned.Load() == 0 || b.spared(client) {
		return time.Time{}, "", false
	}
	now := time.Now()
	b.book.mu.Lock()
	defer b.book.mu.Unlock()
	o := b.book.pages[Key(client)]
	if o == nil || !o.banned(now) {
		return time.Time{}, "", false
	}
	return o.until, o.reason, true
}

// spared reports whether an address can be banned at all. One that is not
// known stands for many.
func (b *Bans) spared(client netip.Addr) bool {
	client = client.Unmap().WithZone("")
	return !client.IsValid() || b.exempt.Contains(client) || b.trusted != nil && b.trusted(client)
}

// Turn reports whether a connection from the address is to be closed unread,
// and whether that is to be recorded: once a minute for each client. Call it
// only where the peer is the client.
func (b *Bans) Turn(peer netip.Addr) (away, record bool) {
	if !b.cfg.Close || b.cfg.Mode != gate.Enforce {
		return false, false
	}
	if _, _, ok := b.find(peer); !ok {
		return false, false
	}
	b.book.turned.Add(1)
	now := time.Now()
	b.book.mu.Lock()
	defer b.book.mu.Unlock()
	o := b.book.pages[Key(peer)]
	if o == nil || now.Sub(o.recorded) < time.Minute {
		return true, false
	}
	o.recorded = now
	return true, true
}

// Settle counts how a request ended, and bans its client when that was one
// refusal too many. Refusals of a client that nobody named count for nobody:
// the address is then that of a balancer. It returns the ban that begins, or nil. In observe mode a
// ban begins too; Check then only observes it.
func (b *Bans) Settle(req *gate.Request) *Ban {
	if b.cfg.Mode == gate.Off || b.spared(req.Client) || req.Origin.Unnamed {
		return nil
	}
	for i := len(req.Trail) - 1; i >= 0; i-- {
		if v := &req.Trail[i]; v.Action == gate.Refuse {
			if w := b.cfg.Weights.of(v.Stage); w > 0 && !harmless(v.Reason) {
				return b.count(Key(req.Client), w, string(v.Reason))
			}
			return nil
		}
	}
	return nil
}

// harmless are refusals that say nothing about the client: it was slow, or we
// were busy.
func harmless(r gate.Reason) bool {
	switch r {
	case gate.HTTPHeadTimeout, gate.HTTPBodyTooSlow, gate.HTTPReaderTooSlow, gate.HTTPNoHead, gate.LimitTableFull, gate.LimitStoreDown, gate.WAFMemory, gate.WAFBusy, gate.WAFEngine:
		return true
	}
	return false
}

// count takes a refusal from the client's budget.
func (b *Bans) count(client netip.Prefix, weight int, reason string) *Ban {
	now := time.Now()
	k := b.book
	k.mu.Lock()
	defer k.mu.Unlock()
	o := k.pages[client]
	if o == nil {
		if o = k.page(client, b.cfg, now); o == nil {
			return nil
		}
	}
	if o.banned(now) {
		return nil // what was under way when the ban began
	}
	sz := b.cfg.budget()
	if o.budget.Limit() != rate.Limit(sz.rate) || o.budget.Burst() != sz.burst { // new, or configured anew
		fill(&o.budget, sz, float64(sz.burst), now)
	}
	within := o.budget.AllowN(now, min(weight, sz.burst)) && o.budget.TokensAt(now) >= 1
	o.full = now.Add(sz.full(o.budget.TokensAt(now)))
	if within {
		return nil
	}
	return k.begin(client, o, b.cfg, now, reason)
}

// budget is how many refusals a client has.
func (c BanConfig) budget() size {
	return size{rate: float64(c.Refusals) / c.Within.Seconds(), burst: c.Refusals}
}

// begin bans a client. Called with the lock.
func (k *banBook) begin(client netip.Prefix, o *offender, cfg BanConfig, now time.Time, reason string) *Ban {
	if o.bans > 0 && now.Sub(o.until) > cfg.Max {
		o.bans = 0
	}
	length := cfg.For
	for i := 0; i < o.bans && length < cfg.Max; i++ {
		length *= 2
	}
	k.put(o, now, now.Add(min(length, cfg.Max)), reason)
	o.bans++
	fill(&o.budget, cfg.budget(), float64(cfg.Refusals), now) // afterwards the count begins anew
	o.full = now
	ban := o.ban(client)
	k.note(banWord{Ban: ban})
	return &ban
}

// put sets the ban of a page. Called with the lock.
func (k *banBook) put(o *offender, now, until time.Time, reason string) {
	if o.until.IsZero() {
		k.banned.Add(1)
	}
	if !o.banned(now) {
		o.since = now
	}
	o.until, o.reason = until, reason
	k.changed = true
}

func (o *offender) ban(client netip.Prefix) Ban {
	return Ban{Client: client, Since: o.since, Until: o.until, Repeats: max(0, o.bans-1), Reason: o.reason}
}

// page opens a page for a client: a new one while there is room, else in the
// place of one whose client need not be remembered. nil: there is no room.
func (k *banBook) page(client netip.Prefix, cfg BanConfig, now time.Time) *offender {
	if len(k.pages) >= cfg.MaxClients && !k.sweep(cfg, now) {
		k.untracked.Add(1)
		return nil
	}
	o := &offender{}
	k.pages[client] = o
	return o
}

// sweep forgets everybody who need not be remembered, and reports whether that
// made room.
func (k *banBook) sweep(cfg BanConfig, now time.Time) bool {
	if now.Before(k.noneIdle) {
		return false
	}
	earliest := now.Add(time.Hour)
	for client, o := range k.pages {
		at := o.idle(cfg.Max)
		if at.After(now) {
			if at.Before(earliest) {
				earliest = at
			}
			continue
		}
		k.drop(client, o)
		k.evicted.Add(1)
	}
	k.noneIdle = earliest
	return len(k.pages) < cfg.MaxClients
}

// drop forgets a client. Called with the lock.
func (k *banBook) drop(client netip.Prefix, o *offender) {
	if !o.until.IsZero() {
		k.banned.Add(-1)
	}
	delete(k.pages, client)
	k.changed = true
}

// List returns the bans that have not ended, those that end first first.
func (b *Bans) List() []Ban {
	now := time.Now()
	b.book.mu.Lock()
	defer b.book.mu.Unlock()
	list := []Ban{}
	for client, o := range b.book.pages {
		if o.banned(now) {
			list = append(list, o.ban(client))
		}
	}
	slices.SortFunc(list, func(a, b Ban) int {
		return cmp.Or(a.Until.Compare(b.Until), a.Client.Addr().Compare(b.Client.Addr()))
	})
	return list
}

// Add bans a client by an operator's hand, or changes its ban. It reports
// false for one that is never banned, and when there is no room.
func (b *Bans) Add(client netip.Addr, length time.Duration, reason string) (Ban, bool) {
	if b.spared(client) {
		return Ban{}, false
	}
	now, key := time.Now(), Key(client)
	b.book.mu.Lock()
	defer b.book.mu.Unlock()
	o := b.book.pages[key]
	if o == nil {
		if o = b.book.page(key, b.cfg, now); o == nil {
			return Ban{}, false
		}
	}
	b.book.put(o, now, now.Add(length), reason)
	o.bans = max(o.bans, 1)
	ban := o.ban(key)
	b.book.note(banWord{Ban: ban})
	return ban, true
}

// Remove ends the ban of a client and forgets what led to it. It reports
// whether there was one.
func (b *Bans) Remove(client netip.Addr) bool {
	now, key := time.Now(), Key(client)
	b.book.mu.Lock()
	defer b.book.mu.Unlock()
	o := b.book.pages[key]
	if o == nil {
		return false
	}
	was := o.banned(now)
	b.book.note(banWord{Ban: o.ban(key), Removed: true})
	b.book.drop(key, o)
	return was
}

// BanStats is what is remembered, and what happened since the start.
type BanStats struct {
	Active    int    // bans that have not ended
	Clients   int    // that are remembered, banned or refused of late
	Turned    uint64 // connections closed unread
	Evicted   uint64 // clients that were forgotten to make room
	Untracked uint64 // refusals of clients for whom there was no room
}

// Stats counts.
func (b *Bans) Stats() BanStats {
	now := time.Now()
	k := b.book
	k.mu.Lock()
	defer k.mu.Unlock()
	s := BanStats{Clients: len(k.pages), Turned: k.turned.Load(), Evicted: k.evicted.Load(), Untracked: k.untracked.Load()}
	for _, o := range k.pages {
		if o.banned(now) {
			s.Active++
		}
	}
	return s
}

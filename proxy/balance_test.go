package proxy

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/internal/gate"
	"sallyport/internal/testkit"
)

// seeded is a source of random numbers that is the same in every run.
func seeded(seed uint64) func(uint64) uint64 {
	return rand.New(rand.NewPCG(seed, seed)).Uint64N
}

// chiSquare measures how far counts are from what weights would have. Of a
// thousand fair series one is above the bound for its degrees of freedom.
func chiSquare(counts []int, weights []float64) (got, bound float64) {
	total, sum := 0, 0.0
	for i := range counts {
		total += counts[i]
		sum += weights[i]
	}
	degrees := -1
	for i := range counts {
		want := float64(total) * weights[i] / sum
		if want == 0 {
			if counts[i] > 0 {
				return math.Inf(1), 0
			}
			continue
		}
		degrees++
		got += (float64(counts[i]) - want) * (float64(counts[i]) - want) / want
	}
	return got, []float64{0, 10.83, 13.82, 16.27, 18.47, 20.52}[degrees]
}

// draws counts the choices of n asks, each of which is over at once.
func draws(p *pool, n int, a func(i int) *ask) []int {
	counts := make([]int, len(p.backends))
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range n {
		b, _ := p.find(a(i), now)
		if b == nil {
			continue
		}
		p.leave(b, now)
		for j := range p.backends {
			if p.backends[j] == b {
				counts[j]++
			}
		}
	}
	return counts
}

func plain(int) *ask { return &ask{} }

// TestDistribution makes 100,000 choices by each algorithm.
func TestDistribution(t *testing.T) {
	const n = 100_000
	address := func(i int) *ask {
		h := hashing{seed: 7}
		return &ask{key: h.client(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}))}
	}
	paths := func(i int) *ask { return &ask{key: hashing{seed: 7}.text(fmt.Sprintf("/item/%d", i))} }
	for _, tc := range []struct {
		rule    string
		balance balancer
		ask     func(int) *ask
		set     func(*pool)
		want    []float64
	}{
		{"in turn", roundRobin{}, plain, nil, []float64{5, 3, 2}},
		{"an idle pool shares by weight", leastRequests{}, plain, nil, []float64{5, 3, 2}},
		{"the least loaded for its weight gets all", leastRequests{}, plain, func(p *pool) {
			p.backends[0].busy, p.backends[1].busy, p.backends[2].busy = 5, 3, 1
		}, []float64{0, 0, 1}},
		{"at random", randomly{random: seeded(1)}, plain, nil, []float64{5, 3, 2}},
		{"of two that are alike, by weight", twoChoices{random: seeded(2)}, plain, nil, []float64{5, 3, 2}},
		{"the slowest is only asked when it is drawn twice, which it never is", twoChoices{random: seeded(3)}, plain, func(p *pool) {
			for i, b := range p.backends {
				b.latency.value = float64(i+1) * 1e6
			}
			for _, b := range p.backends {
				b.weight = 1
			}
		}, []float64{2, 1, 0}},
		{"addresses", newHashing(PoolConfig{}, nil), address, nil, []float64{5, 3, 2}},
		{"paths", newHashing(PoolConfig{}, nil), paths, nil, []float64{5, 3, 2}},
		{"the weights of the nearest", nearest{}, func(int) *ask { return &ask{from: Zone{Country: "NL", Continent: "EU"}} }, func(p *pool) {
			p.backends[0].zone, p.backends[1].zone, p.backends[2].zone = Zone{Country: "NL"}, Zone{Country: "US"}, Zone{Country: "NL"}
		}, []float64{5, 0, 2}},
	} {
		p := testPool(t, nil, 5, 3, 2)
		p.balance = tc.balance
		if tc.set != nil {
			tc.set(p)
		}
		counts := draws(p, n, tc.ask)
		if got, bound := chiSquare(counts, tc.want); got > bound {
			t.Errorf("%s: %v of %s, chi-square %.1f, want at most %.1f", tc.rule, counts, tc.balance.name(), got, bound)
		}
	}
}

// TestHashMovesLittle takes a backend away and brings it back: only its own
// keys move, spread over the others, and return.
func TestHashMovesLittle(t *testing.T) {
	const n = 20_000
	p := testPool(t, func(c *PoolConfig) { c.Balance = Hash }, 1, 1, 2, 1)
	where := func(i int) *backend {
		a := &ask{key: mix(uint64(i))}
		now := time.Now()
		p.mu.Lock()
		defer p.mu.Unlock()
		b, _ := p.find(a, now)
		p.leave(b, now)
		return b
	}
	before := make([]*backend, n)
	for i := range before {
		before[i] = where(i)
	}
	gone := p.backends[1]
	gone.down = true
	took := map[*backend]int{}
	for i := range before {
		switch now := where(i); {
		case before[i] != gone && now != before[i]:
			t.Fatalf("key %d moved from %s, which is still there, to %s", i, before[i].name, now.name)
		case before[i] == gone:
			took[now]++
		}
	}
	counts := []int{took[p.backends[0]], took[p.backends[2]], took[p.backends[3]]}
	if got, bound := chiSquare(counts, []float64{1, 2, 1}); got > bound {
		t.Errorf("the keys of the one that left went to %v, chi-square %.1f", counts, got)
	}
	gone.down = false
	p.backends[0].weight = 3
	for i := range before {
		if now := where(i); now != before[i] && now != p.backends[0] {
			t.Fatalf("key %d is at %s, not back at %s, nor at the one that gained weight", i, now.name, before[i].name)
		}
	}
}

// TestHashIsBounded sends one key again and again, while nothing ends.
func TestHashIsBounded(t *testing.T) {
	p := testPool(t, func(c *PoolConfig) { c.Balance = Hash }, 1, 1, 1)
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	var first *backend
	for i := range 300 {
		b, _ := p.find(&ask{key: 42}, now)
		if first == nil {
			first = b
		}
		if i < hashSlack && b != first {
			t.Fatalf("request %d goes to another backend, though the first has hardly anything to do", i)
		}
	}
	for _, b := range p.backends {
		if b.busy > 126 || b.busy < 50 {
			t.Errorf("backend %s has %d of 300 requests, want at most 125 by the bound", b.name, b.busy)
		}
	}
}

func TestHashKeys(t *testing.T) {
	visitTo := func(client, path string, fields ...string) *visit {
		v := &visit{req: &gate.Request{Path: path, Head: &gate.Head{}}}
		if client != "" {
			v.req.Client = netip.MustParseAddr(client)
		}
		for i := 0; i < len(fields); i += 2 {
			v.req.Head.Fields = append(v.req.Head.Fields, gate.Field{Name: fields[i], Value: fields[i+1]})
		}
		return v
	}
	key := func(on string, v *visit) uint64 {
		var a ask
		newHashing(PoolConfig{Name: "app", HashOn: on}, []byte("secret")).describe(v, &a)
		return a.key
	}
	for _, tc := range []struct {
		rule string
		on   string
		x, y *visit
		same bool
	}{
		{"two addresses", "client", visitTo("192.0.2.1", "/"), visitTo("192.0.2.2", "/"), false},
		{"one address", "client", visitTo("192.0.2.1", "/a"), visitTo("192.0.2.1", "/b"), true},
		{"one /64", "", visitTo("2001:db8::1", "/"), visitTo("2001:db8::ffff:2", "/"), true},
		{"two /64", "client", visitTo("2001:db8::1", "/"), visitTo("2001:db8:0:1::1", "/"), false},
		{"no address", "client", visitTo("", "/"), visitTo("192.0.2.1", "/"), false},
		{"one path", "path", visitTo("192.0.2.1", "/a"), visitTo("192.0.2.2", "/a"), true},
		{"two paths", "path", visitTo("192.0.2.1", "/a"), visitTo("192.0.2.1", "/b"), false},
		{"one field", "header:X-Tenant", visitTo("192.0.2.1", "/", "x-tenant", "a"), visitTo("192.0.2.2", "/", "X-Tenant", "a"), true},
		{"two fields", "header:X-Tenant", visitTo("192.0.2.1", "/", "X-Tenant", "a"), visitTo("192.0.2.1", "/", "X-Tenant", "b"), false},
		{"no field: the client", "header:X-Tenant", visitTo("192.0.2.1", "/a"), visitTo("192.0.2.1", "/b"), true},
		{"no field, two clients", "header:X-Tenant", visitTo("192.0.2.1", "/"), visitTo("192.0.2.2", "/"), false},
		{"one cookie", "cookie:sid", visitTo("192.0.2.1", "/", "Cookie", "a=1; sid=7"), visitTo("192.0.2.2", "/", "cookie", "sid=7;b=2"), true},
		{"two cookies", "cookie:sid", visitTo("192.0.2.1", "/", "Cookie", "sid=7"), visitTo("192.0.2.1", "/", "Cookie", "sid=8"), false},
		{"a cookie that only ends alike", "cookie:sid", visitTo("192.0.2.1", "/", "Cookie", "xsid=7"), visitTo("192.0.2.2", "/", "Cookie", "xsid=7"), false},
	} {
		if got := key(tc.on, tc.x) == key(tc.on, tc.y); got != tc.same {
			t.Errorf("%s: the keys are the same: %t, want %t", tc.rule, got, tc.same)
		}
	}
	v := visitTo("192.0.2.1", "/")
	var a, b ask
	newHashing(PoolConfig{Name: "app"}, []byte("secret")).describe(v, &a)
	newHashing(PoolConfig{Name: "app"}, []byte("another")).describe(v, &b)
	if a.key == b.key {
		t.Error("a client can work out its key without the secret")
	}
}

// TestNearest goes to the nearest backend that can be asked.
func TestNearest(t *testing.T) {
	amsterdam := gate.Place{Country: "NL", Continent: "EU", Located: true, Latitude: 52.4, Longitude: 4.9}
	sydney := gate.Place{Country: "AU", Continent: "OC", Located: true, Latitude: -33.9, Longitude: 151.2}
	codes := []Zone{{Country: "DE", Continent: "EU"}, {Country: "NL", Continent: "EU"}, {Country: "US", Continent: "NA"}, {}}
	points := []Zone{
		{Located: true, Latitude: 50.1, Longitude: 8.7},    // Frankfurt
		{Located: true, Latitude: 51.5, Longitude: -0.1},   // London
		{Located: true, Latitude: 1.35, Longitude: 103.8},  // Singapore
		{Located: true, Latitude: 40.7, Longitude: -74},    // New York
		{Located: true, Latitude: 35.7, Longitude: 139.7},  // Tokyo
		{Located: true, Latitude: -37.8, Longitude: 144.9}, // Melbourne
	}
	for _, tc := range []struct {
		rule  string
		from  gate.Place
		zones []Zone
		out   string // not to be asked
		full  string
		want  string // of the next picks, as a set
	}{
		{"the same country", amsterdam, codes, "", "", "b"},
		{"then the same continent", amsterdam, codes, "b", "", "a"},
		{"also when the nearest is full", amsterdam, codes, "", "b", "a"},
		{"then anywhere", amsterdam, codes, "ab", "", "cd"},
		{"a country nobody is in", gate.Place{Country: "FR", Continent: "EU"}, codes, "", "", "ab"},
		{"another continent", sydney, codes, "", "", "abcd"},
		{"a place that is not known", gate.Place{}, codes, "", "", "abcd"},
		{"Frankfurt is nearer to Amsterdam than London is not", amsterdam, points, "", "", "b"},
		{"then Frankfurt", amsterdam, points, "b", "", "a"},
		{"then New York", amsterdam, points, "ab", "", "d"},
		{"Melbourne", sydney, points, "", "", "f"},
		{"then Singapore", sydney, points, "f", "", "c"},
		{"a database without coordinates", gate.Place{Country: "NL", Continent: "EU"}, points, "", "", "abcdef"},
	} {
		p := testPool(t, func(c *PoolConfig) {
			c.Balance, c.MaxConnections, c.Backends = Nearest, 100, c.Backends[:len(tc.zones)]
			for i := range c.Backends {
				c.Backends[i].Zone = tc.zones[i]
			}
		}, 1, 1, 1, 1, 1, 1)
		for _, b := range p.backends {
			for _, name := range tc.out {
				b.down = b.down || b.name == string(name)
			}
			for _, name := range tc.full {
				if b.name == string(name) {
					b.busy = 100
				}
			}
		}
		got := ""
		var a ask
		nearest{}.describe(&visit{req: &gate.Request{Place: tc.from}}, &a)
		for i, n := range draws(p, 60, func(int) *ask { return &ask{from: a.from} }) {
			if n > 0 {
				got += p.backends[i].name
			}
		}
		if got != tc.want {
			t.Errorf("%s: %q, want %q", tc.rule, got, tc.want)
		}
	}
}

// TestP2CFindsTheSlow tells how p2c takes what it sees.
func TestP2CFindsTheSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := testPool(t, func(c *PoolConfig) { c.Balance = P2C }, 1, 1)
		a, b := p.backends[0], p.backends[1]
		p.answered(a, 200, 10*time.Millisecond, time.Now())
		p.answered(b, 200, 10*time.Millisecond, time.Now())
		p.answered(b, 200, 80*time.Millisecond, time.Now())
		if counts := draws(p, 1000, plain); counts[1] != 0 {
			t.Errorf("one slow answer is not noticed: %v", counts)
		}
		p.answered(b, 503, time.Microsecond, time.Now())
		if got := b.latency.milliseconds(); got != 80 {
			t.Errorf("an error that comes soon makes it look fast: %v ms", got)
		}
		time.Sleep(time.Minute)
		p.answered(b, 200, 5*time.Millisecond, time.Now())
		if counts := draws(p, 1000, plain); counts[0] != 0 {
			t.Errorf("an old slow answer still counts: %v", counts)
		}
		p.slowed(b, time.Microsecond, time.Now())
		if counts := draws(p, 1000, plain); counts[1] != 0 {
			t.Errorf("one that refuses connections looks fast: %v", counts)
		}
		b.latency, a.busy = a.latency, 3
		if counts := draws(p, 1000, plain); counts[0] != 0 {
			t.Errorf("of two that are as fast, the busy one is asked: %v", counts)
		}
	})
}

// TestBackups are asked when nobody else is up, and not when others are busy.
func TestBackups(t *testing.T) {
	p := testPool(t, func(c *PoolConfig) { c.MaxConnections, c.Backends[2].Backup = 2, true }, 1, 1, 1)
	if got := picks(p, 4); got != "abab" {
		t.Errorf("with all up: %s", got)
	}
	p.backends[0].busy, p.backends[1].busy = 2, 2
	if got := picks(p, 2); got != "--" {
		t.Errorf("with the others busy: %s", got)
	}
	p.backends[0].busy, p.backends[1].down = 0, true
	if got := picks(p, 2); got != "aa" {
		t.Errorf("with one down: %s", got)
	}
	p.backends[0].draining = true
	if got := picks(p, 2); got != "cc" {
		t.Errorf("with one down and the other drained: %s", got)
	}
	p.backends[0].draining = false
	if b := p.pick(p.backends[:1]); b != p.backends[2] {
		t.Errorf("after the last one failed: %v", b)
	}
}

// TestSlowStart gives a backend that came back a growing share.
func TestSlowStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := testPool(t, func(c *PoolConfig) {
			c.SlowStart = 100 * time.Second
			c.Health = HealthConfig{Path: "/", Healthy: 1, Unhealthy: 1}
		}, 1, 1)
		b := p.backends[1]
		p.judge(b, errNoBackend)
		p.judge(b, nil)
		for _, tc := range []struct {
			after time.Duration
			low   int
			high  int
			shown int
		}{
			{0, 40, 55, 5}, {25 * time.Second, 190, 210, 25}, {25 * time.Second, 320, 350, 50}, {50 * time.Second, 500, 500, 0},
		} {
			time.Sleep(tc.after)
			counts := draws(p, 1000, plain)
			if counts[1] < tc.low || counts[1] > tc.high {
				t.Errorf("after %v more: %d of 1000, want %d to %d", tc.after, counts[1], tc.low, tc.high)
			}
			if got := p.status(time.Now()).Backends[1].SlowStart; got != tc.shown {
				t.Errorf("after %v more: %d percent are shown, want %d", tc.after, got, tc.shown)
			}
		}
	})
}

// BenchmarkPick measures a choice and its end, by algorithm and size of pool.
func BenchmarkPick(b *testing.B) {
	for _, size := range []int{3, 10} {
		for _, name := range []string{RoundRobin, LeastRequests, P2C, Hash, Random, Nearest} {
			b.Run(fmt.Sprintf("%s/%d", name, size), func(b *testing.B) {
				weights := make([]int, size)
				for i := range weights {
					weights[i] = 1 + i%2
				}
				p := testPool(b, func(c *PoolConfig) {
					c.Balance = name
					for i := range c.Backends {
						c.Backends[i].Zone = Zone{Located: true, Latitude: float64(i), Longitude: 5}
					}
				}, weights...)
				for _, be := range p.backends {
					be.latency.value = 1e6
				}
				a := &ask{key: 1, from: Zone{Located: true, Latitude: 3, Longitude: 4}.fix()}
				now := time.Now()
				b.ReportAllocs()
				began := testkit.CPU(b) // the machine may have other work
				defer func() { b.ReportMetric(float64(testkit.CPU(b)-began)/float64(b.N), "cpu-ns/op") }()
				for b.Loop() {
					a.key++
					p.mu.Lock()
					got, _ := p.find(a, now)
					p.leave(got, now)
					p.mu.Unlock()
				}
			})
		}
	}
}

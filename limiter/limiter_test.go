package limiter_test

import (
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"sallyport/internal/gate"
	"sallyport/limiter"
)

func config(limits ...limiter.Limit) limiter.Config {
	return limiter.Config{Mode: gate.Enforce, Limits: limits}
}

func open(tb testing.TB, cfg limiter.Config, old *limiter.Limiter) *limiter.Limiter {
	tb.Helper()
	l, err := limiter.New(cfg, old, zap.NewNop())
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

// ask sends one request of the client and reports whether it passed.
func ask(l *limiter.Limiter, client string) bool {
	return l.Check(from(client)).Passed()
}

func from(client string) *gate.Request {
	return &gate.Request{Client: netip.MustParseAddr(client)}
}

// drain sends requests until one is refused, and returns how many passed.
func drain(tb testing.TB, l *limiter.Limiter, client string) int {
	tb.Helper()
	for n := range 100_000 {
		if !ask(l, client) {
			return n
		}
	}
	tb.Fatalf("%s is never refused", client)
	return 0
}

func TestKey(t *testing.T) {
	for _, tc := range []struct{ rule, client, want string }{
		{"ipv4 is its own bucket", "192.0.2.7", "192.0.2.7/32"},
		{"ipv4-mapped joins its ipv4 bucket", "::ffff:192.0.2.7", "192.0.2.7/32"},
		{"ipv6 shares its /64", "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"},
		{"a zone is dropped", "fe80::1%eth0", "fe80::/64"},
	} {
		if got := limiter.Key(netip.MustParseAddr(tc.client)); got.String() != tc.want {
			t.Errorf("%s: Key(%s) = %s, want %s", tc.rule, tc.client, got, tc.want)
		}
	}
	if got := limiter.Key(netip.Addr{}); got != (netip.Prefix{}) {
		t.Errorf("Key of no address = %v, want the zero prefix", got)
	}
}

func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := open(t, config(limiter.Limit{Name: "slow", Rate: 0.25, Burst: 3}), nil)
		if got := drain(t, l, "192.0.2.1"); got != 3 {
			t.Errorf("a full bucket let %d requests pass, want its burst of 3", got)
		}
		v := l.Check(from("192.0.2.1"))
		if v.Action != gate.Refuse || v.Reason != gate.LimitOverBudget || v.Status != 429 || v.Stage != gate.StageLimit {
			t.Errorf("Check = %v %s %d, want a refusal limit.over_budget 429", v.Action, v.Reason, v.Status)
		}
		want := gate.LimitHit{Name: "slow", Quota: 3, RetryAfter: 4*time.Second + 1, Reset: 4*time.Second + 1, Window: 12 * time.Second}
		if v.Limit == nil || *v.Limit != want || v.RetryAfter != want.RetryAfter {
			t.Errorf("Check says %+v, retry after %v, want %+v", v.Limit, v.RetryAfter, want)
		}
		if !strings.Contains(v.Detail, "slow of 192.0.2.1") {
			t.Errorf("detail %q does not name limit and client", v.Detail)
		}
		time.Sleep(v.RetryAfter - 2*time.Millisecond)
		if ask(l, "192.0.2.1") {
			t.Error("a request before Retry-After passed")
		}
		if !ask(l, "192.0.2.2") || !l.Check(&gate.Request{}).Passed() {
			t.Error("another client shares the bucket")
		}
		time.Sleep(2 * time.Millisecond)
		if !ask(l, "192.0.2.1") {
			t.Error("a request at Retry-After was refused")
		}
		if ask(l, "192.0.2.1") {
			t.Error("one token let two requests pass")
		}
		time.Sleep(time.Hour)
		if got := drain(t, l, "192.0.2.1"); got != 3 {
			t.Errorf("after an hour %d requests passed, want no more than the burst of 3", got)
		}
		if got := l.Stats(); got.Refused != 5 || got.Clients != 3 {
			t.Errorf("Stats = %+v, want 5 refused, 3 clients", got)
		}
	})
}

func TestUnknownAddressesShareOneBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := open(t, config(limiter.Limit{Name: "l", Rate: 1, Burst: 1}), nil)
		if !l.Check(&gate.Request{}).Passed() || l.Check(&gate.Request{}).Passed() {
			t.Error("requests without an address are exempt, or refused at once")
		}
	})
}

// TestAnHour holds one client, however it times its requests, to rate times
// time plus burst, and grants it no less.
func TestAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rate, burst = 7.3, 20
		l := open(t, config(limiter.Limit{Name: "l", Rate: rate, Burst: burst}), nil)
		rnd := rand.New(rand.NewPCG(1, 2))
		start, passed := time.Now(), 0
		for time.Since(start) < time.Hour {
			for range rnd.IntN(4) {
				if ask(l, "192.0.2.1") {
					passed++
				}
			}
			time.Sleep(time.Duration(rnd.Int64N(int64(200 * time.Millisecond))))
			if most := rate*time.Since(start).Seconds() + burst; float64(passed) > most+1e-6 {
				t.Fatalf("%d requests passed in %v, want at most %.2f", passed, time.Since(start), most)
			}
		}
		if least := rate * 3500; float64(passed) < least {
			t.Errorf("%d requests passed in an hour, want at least %.0f", passed, least)
		}
	})
}

func TestAllLimitsOrNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := open(t, config(
			limiter.Limit{Name: "wide", Rate: 1, Burst: 10},
			limiter.Limit{Name: "narrow", Rate: 0.1, Burst: 2},
			limiter.Limit{Name: "middle", Rate: 1, Burst: 2},
		), nil)
		if got := drain(t, l, "192.0.2.1"); got != 2 {
			t.Errorf("%d requests passed, want the smallest burst, 2", got)
		}
		for range 100 {
			if v := l.Check(from("192.0.2.1")); v.Limit.Name != "narrow" {
				t.Fatalf("%s decided, want the limit that waits longest", v.Limit.Name)
			}
		}
		wide := from("192.0.2.1")
		wide.Route = &gate.Route{Limits: []string{"wide"}}
		passed := 0
		for l.Check(wide).Passed() {
			passed++
		}
		if passed != 8 {
			t.Errorf("the wide limit had %d tokens left, want 8: refused requests must cost nothing elsewhere", passed)
		}
	})
}

func TestRouteSelects(t *testing.T) {
	limits := []limiter.Limit{{Name: "a", Rate: 1, Burst: 1}, {Name: "b", Rate: 1, Burst: 2}}
	for _, tc := range []struct {
		rule   string
		route  *gate.Route
		passed int // of 5
	}{
		{"no route: all limits", nil, 1},
		{"a route without a list: all limits", &gate.Route{}, 1},
		{"an empty list: no limit", &gate.Route{Limits: []string{}}, 5},
		{"a list: the named limits", &gate.Route{Limits: []string{"b"}}, 2},
		{"a list of all", &gate.Route{Limits: []string{"b", "a"}}, 1},
		{"a list of other names: no limit", &gate.Route{Limits: []string{"c"}}, 5},
	} {
		synctest.Test(t, func(t *testing.T) {
			l := open(t, config(limits...), nil)
			passed := 0
			for range 5 {
				req := from("192.0.2.1")
				req.Route = tc.route
				if l.Check(req).Passed() {
					passed++
				}
			}
			if passed != tc.passed {
				t.Errorf("%s: %d of 5 passed, want %d", tc.rule, passed, tc.passed)
			}
			if got := l.Stats().Clients; (got == 0) != (tc.passed == 5) {
				t.Errorf("%s: %d clients are remembered", tc.rule, got)
			}
		})
	}
}

func TestModes(t *testing.T) {
	for _, tc := range []struct {
		mode gate.Mode
		want gate.Action
	}{{gate.Enforce, gate.Refuse}, {gate.Watch, gate.Observe}, {gate.Off, gate.Pass}} {
		synctest.Test(t, func(t *testing.T) {
			cfg := config(limiter.Limit{Name: "l", Rate: 1, Burst: 1})
			cfg.Mode = tc.mode
			l := open(t, cfg, nil)
			ask(l, "192.0.2.1")
			if got := l.Check(from("192.0.2.1")).Action; got != tc.want {
				t.Errorf("mode %s: over budget is %v, want %v", tc.mode, got, tc.want)
			}
		})
	}
	if !ask(open(t, config(), nil), "192.0.2.1") {
		t.Error("a request was refused without any limit")
	}
}

func TestIPv6Tiers(t *testing.T) {
	one := limiter.Limit{Name: "l", Rate: 0.001, Burst: 5}
	for _, tc := range []struct {
		rule    string
		tiers   map[int]int
		clients []string
		passed  int
		decides string
	}{
		{"addresses of a /64 are one client", nil,
			[]string{"2001:db8::1", "2001:db8::2", "2001:db8::ffff:0:0:3"}, 5, "2001:db8::/64"},
		{"a /56 carries 4 budgets, whichever /64 spends them", nil,
			[]string{"2001:db8:0:1::1", "2001:db8:0:2::1", "2001:db8:0:3::1", "2001:db8:0:4::1", "2001:db8:0:5::1", "2001:db8:0:6::1"}, 20, "2001:db8::/56"},
		{"/56s of different /48s do not share", nil,
			[]string{"2001:db8:1::1", "2001:db8:2::1", "2001:db8:3::1", "2001:db8:4::1", "2001:db8:5::1", "2001:db8:6::1"}, 30, "2001:db8:6::/64"},
		{"the longest tier is the client, /64 or not", map[int]int{128: 1, 32: 3},
			[]string{"2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8::4"}, 15, "2001:db8::/32"},
	} {
		synctest.Test(t, func(t *testing.T) {
			cfg := config(one)
			cfg.IPv6Tiers = tc.tiers
			l := open(t, cfg, nil)
			passed, last := 0, ""
			for _, c := range tc.clients {
				passed += drain(t, l, c)
				last = l.Check(from(c)).Detail
			}
			if passed != tc.passed || !strings.HasSuffix(last, tc.decides) {
				t.Errorf("%s: %d passed until %q, want %d until %s", tc.rule, passed, last, tc.passed, tc.decides)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		l := open(t, config(one), nil)
		passed := 0
		for i := range 256 {
			a := netip.MustParseAddr("2001:db8::1").As16()
			a[6] = byte(i)
			passed += drain(t, l, netip.AddrFrom16(a).String())
		}
		if passed != 80 {
			t.Errorf("rotating /56s inside a /48: %d passed, want 16 budgets of 5", passed)
		}
		if got := l.Stats().Clients; got != 33 {
			t.Errorf("%d prefixes are remembered, want 33: refused ones take no room", got)
		}
	})
}

// TestBounded sends a million addresses through a small table.
func TestBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most = 5000
		cfg := config(limiter.Limit{Name: "l", Rate: 1, Burst: 10})
		cfg.MaxClients = most
		l := open(t, cfg, nil)
		victim := "198.51.100.1"
		drain(t, l, victim)
		start, granted := time.Now(), 0
		rnd := rand.New(rand.NewPCG(3, 4))
		for i := range 1_000_000 {
			var a [16]byte
			for j := range a {
				a[j] = byte(rnd.Uint32())
			}
			addr := netip.AddrFrom16(a)
			if i%2 == 0 {
				addr = netip.AddrFrom4([4]byte(a[:4]))
			}
			l.Check(&gate.Request{Client: addr})
			if i%1000 == 0 {
				time.Sleep(time.Millisecond)
				if ask(l, victim) {
					granted++
				}
				if got := l.Stats().Clients; got > most {
					t.Fatalf("after %d addresses the table holds %d prefixes, want at most %d", i, got, most)
				}
			}
		}
		if elapsed := int(time.Since(start).Seconds()); granted > elapsed {
			t.Errorf("churning refilled a busy client's bucket: %d requests in %d s at 1/s", granted, elapsed)
		}
		if s := l.Stats(); s.Overflowed == 0 || s.Refused == 0 || s.Clients == 0 {
			t.Errorf("Stats = %+v, want overflows and refusals to be counted", s)
		}
	})
}

func TestFullTable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config(limiter.Limit{Name: "l", Rate: 1, Burst: 2})
		cfg.MaxClients = 3
		l := open(t, cfg, nil)
		for _, c := range []string{"192.0.2.1", "192.0.2.2", "192.0.2.2", "192.0.2.3", "192.0.2.3"} {
			if !ask(l, c) {
				t.Fatalf("%s is refused while there is room", c)
			}
		}
		// All three are busy: newcomers share 8 budgets of 2.
		var v gate.Verdict
		passed := 0
		for i := range 20 {
			req := &gate.Request{Client: netip.AddrFrom4([4]byte{203, 0, 113, byte(i)})}
			if v = l.Check(req); v.Passed() {
				passed++
			}
		}
		if passed != 16 || v.Reason != gate.LimitTableFull || v.Limit == nil || v.Limit.Quota != 16 || v.RetryAfter <= 0 {
			t.Errorf("%d newcomers passed, then %s %+v, want 16, then limit.table_full with a quota of 16", passed, v.Reason, v.Limit)
		}
		if s := l.Stats(); s.Overflowed != 20 || s.Evicted != 0 || s.Clients != 3 {
			t.Errorf("Stats = %+v, want 20 overflows, no eviction, 3 clients", s)
		}
		if !ask(l, "192.0.2.1") {
			t.Error("a client with a bucket of its own suffers from the crowd")
		}
		drain(t, l, "192.0.2.1")
		drain(t, l, "192.0.2.3")
		time.Sleep(time.Second)
		// Now 192.0.2.2 has 1 of 2, as the others: nobody is idle.
		ask(l, "192.0.2.1")
		ask(l, "192.0.2.3")
		time.Sleep(1100 * time.Millisecond)
		// Only 192.0.2.2 is full: it, though not the oldest, makes room.
		if !ask(l, "203.0.113.77") || l.Stats().Evicted != 1 {
			t.Errorf("Stats = %+v, want the one idle client evicted", l.Stats())
		}
		if got := drain(t, l, "192.0.2.1"); got != 1 {
			t.Errorf("a busy client had %d tokens, want 1", got)
		}
		time.Sleep(time.Minute)
		// All are idle: the oldest goes first.
		for i, c := range []string{"203.0.113.1", "203.0.113.2", "203.0.113.3"} {
			if drain(t, l, c) != 2 || l.Stats().Evicted != uint64(2+i) || l.Stats().Clients != 3 {
				t.Errorf("%s: Stats = %+v, want one more eviction", c, l.Stats())
			}
		}
	})
}

// TestTiersNeedRoomTogether: a table too small for the tiers of one address
// must still limit it.
func TestTiersNeedRoomTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config(limiter.Limit{Name: "l", Rate: 0.001, Burst: 2})
		cfg.MaxClients = 1
		l := open(t, cfg, nil)
		if got := drain(t, l, "2001:db8::1"); got != 16 {
			t.Errorf("%d requests passed, want the shared bucket's 16", got)
		}
	})
}

func TestReload(t *testing.T) {
	keep, change := limiter.Limit{Name: "keep", Rate: 1, Burst: 10}, limiter.Limit{Name: "change", Rate: 1, Burst: 20}
	synctest.Test(t, func(t *testing.T) {
		old := open(t, config(keep, change), nil)
		for range 8 {
			ask(old, "192.0.2.1")
			ask(old, "2001:db8::1")
		}
		time.Sleep(500 * time.Millisecond)

		same := open(t, config(keep, change), old)
		if got := drain(t, same, "192.0.2.1"); got != 2 {
			t.Errorf("after a reload without changes %d requests passed, want 2", got)
		}
		if ask(old, "192.0.2.1") {
			t.Error("a request of the old generation found a bucket of its own")
		}

		before := same.Stats().Refused
		changed := change
		changed.Burst = 4
		next := open(t, config(changed, keep), same)
		if v := next.Check(from("192.0.2.1")); v.Passed() || v.Limit.Name != "keep" || v.RetryAfter > 500*time.Millisecond+2 || v.RetryAfter < 499*time.Millisecond {
			t.Errorf("the unchanged limit forgot: %v %+v", v.Action, v.Limit)
		}
		time.Sleep(500 * time.Millisecond)
		if !ask(next, "192.0.2.1") {
			t.Error("a bucket that was carried over does not refill in time")
		}
		// keep: 2.5 + 0.5 left of 10 for the client; change starts afresh with 4.
		if got := drain(t, next, "2001:db8::1"); got != 3 {
			t.Errorf("the IPv6 client found %d tokens, want 3", got)
		}
		only := from("192.0.2.9")
		only.Route = &gate.Route{Limits: []string{"change"}}
		passed := 0
		for next.Check(only).Passed() {
			passed++
		}
		if passed != 4 {
			t.Errorf("the changed limit has %d tokens, want 4", passed)
		}
		if got := next.Stats().Refused; before == 0 || got <= before {
			t.Errorf("counts went from %d to %d over a reload", before, got)
		}
	})
}

func TestReloadIntoSmallerTable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config(limiter.Limit{Name: "l", Rate: 0.01, Burst: 2})
		old := open(t, cfg, nil)
		for i := range 1000 {
			old.Check(&gate.Request{Client: netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})})
		}
		cfg.MaxClients = 100
		next := open(t, cfg, old)
		if got := old.Stats().Clients; got != 1000 {
			t.Errorf("%d prefixes are left by a configuration that does not serve yet, want 1000", got)
		}
		ask(next, "10.0.0.0")
		if got := next.Stats().Clients; got != 100 {
			t.Errorf("%d prefixes were carried over, want 100", got)
		}
		time.Sleep(time.Hour)
		cfg.MaxClients = 50
		last := open(t, cfg, next)
		ask(last, "10.0.0.0")
		if got := last.Stats().Clients; got > 50 {
			t.Errorf("%d prefixes were carried over, want no more than 50", got)
		}
	})
}

func TestCheckAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("with the race detector, sync.Pool forgets on purpose")
	}
	var limits []limiter.Limit
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		limits = append(limits, limiter.Limit{Name: name, Rate: 1e9, Burst: 1e9})
	}
	l := open(t, config(limits...), nil)
	for _, client := range []string{"192.0.2.1", "2001:db8::1"} {
		req := from(client)
		req.Route = &gate.Route{Limits: []string{"a", "b", "c", "d", "e"}}
		l.Check(req)
		if n := testing.AllocsPerRun(1000, func() { l.Check(req) }); n != 0 {
			t.Errorf("%s: Check allocates %v times, want 0", client, n)
		}
	}
}

// TestParallel lets many goroutines draw from few buckets while the
// configuration is reloaded: together they get the burst and not one more.
func TestParallel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config(limiter.Limit{Name: "l", Rate: 0.001, Burst: 500})
		cfg.MaxClients = 1000
		l := open(t, cfg, nil)
		var mu sync.Mutex
		passed := make(map[int]int)
		var wg sync.WaitGroup
		for range 64 {
			wg.Go(func() {
				for i := range 300 {
					c := i % 4
					if l.Check(&gate.Request{Client: netip.AddrFrom4([4]byte{192, 0, 2, byte(c)})}).Passed() {
						mu.Lock()
						passed[c]++
						mu.Unlock()
					}
				}
			})
		}
		wg.Go(func() {
			for range 20 {
				open(t, cfg, l).Stats()
				bigger := cfg
				bigger.MaxClients++
				open(t, bigger, l).Stats()
			}
		})
		wg.Wait()
		for c, n := range passed {
			if n != 500 {
				t.Errorf("client %d: %d requests passed, want 500", c, n)
			}
		}
	})
}

package limiter_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/internal/gate"
	"sallyport/limiter"
)

// banning is a configuration that bans after five refusals in ten seconds.
func banning() limiter.BanConfig {
	return limiter.BanConfig{Mode: gate.Enforce, Refusals: 5, Within: 10 * time.Second, For: time.Minute, Max: 10 * time.Minute}
}

var proxies = netip.MustParsePrefix("10.0.0.0/8")

func newBans(cfg limiter.BanConfig) *limiter.Bans {
	return limiter.NewBans(cfg, proxies.Contains, nil)
}

// caller is a request of a client; of an unknown one when client is empty.
func caller(client string) *gate.Request {
	if client == "" {
		return &gate.Request{}
	}
	return from(client)
}

// refused is the end of a request that was refused for a reason.
func refused(client string, r gate.Reason) *gate.Request {
	req := caller(client)
	req.Trail = []gate.Verdict{gate.Refusal(gate.GeoCountry, gate.Watch, ""), gate.Refusal(r, gate.Enforce, "")}
	return req
}

// offend settles n refusals and returns the last ban that began.
func offend(b *limiter.Bans, client string, n int, r gate.Reason) (ban *limiter.Ban) {
	for range n {
		if got := b.Settle(refused(client, r)); got != nil {
			ban = got
		}
	}
	return ban
}

func isBanned(b *limiter.Bans, client string) bool {
	return b.Check(caller(client)).Action == gate.Refuse
}

func TestBanAfterRefusals(t *testing.T) {
	for _, tc := range []struct {
		rule, client string
		reason       gate.Reason
		refusals     int
		change       func(*limiter.BanConfig)
		want         bool
	}{
		{"four refusals of five are no ban", "192.0.2.1", gate.WAFInboundScore, 4, nil, false},
		{"the fifth is", "192.0.2.1", gate.WAFInboundScore, 5, nil, true},
		{"broken HTTP counts", "192.0.2.1", gate.HTTPTEAndCL, 5, nil, true},
		{"an exhausted budget counts", "192.0.2.1", gate.LimitOverBudget, 5, nil, true},
		{"an unknown path never counts", "192.0.2.1", gate.RouteUnknownPath, 50, nil, false},
		{"an unknown host never counts", "192.0.2.1", gate.RouteUnknownHost, 50, nil, false},
		{"a country is no offence", "192.0.2.1", gate.GeoCountry, 50, nil, false},
		{"a full table is not the client's fault", "192.0.2.1", gate.LimitTableFull, 50, nil, false},
		{"a slow head is no offence", "192.0.2.1", gate.HTTPHeadTimeout, 50, nil, false},
		{"a client that is not known is nobody", "", gate.WAFInboundScore, 50, nil, false},
		{"a trusted proxy is never banned", "10.1.2.3", gate.WAFInboundScore, 50, nil, false},
		{"nor in the form of an IPv6 address", "::ffff:10.1.2.3", gate.WAFInboundScore, 50, nil, false},
		{"an exempt network is never banned", "203.0.113.9", gate.WAFInboundScore, 50, func(c *limiter.BanConfig) {
			c.Exempt = []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}
		}, false},
		{"a stage without weight does not count", "192.0.2.1", gate.WAFInboundScore, 50, func(c *limiter.BanConfig) {
			c.Weights = limiter.Weights{HTTP: 1, Limit: 1}
		}, false},
		{"a heavy stage counts for more", "192.0.2.1", gate.WAFInboundScore, 1, func(c *limiter.BanConfig) {
			c.Weights = limiter.Weights{WAF: 5}
		}, true},
		{"off counts nothing", "192.0.2.1", gate.WAFInboundScore, 50, func(c *limiter.BanConfig) { c.Mode = gate.Off }, false},
	} {
		cfg := banning()
		if tc.change != nil {
			tc.change(&cfg)
		}
		b := newBans(cfg)
		ban := offend(b, tc.client, tc.refusals, tc.reason)
		if (ban != nil) != tc.want || isBanned(b, tc.client) != tc.want || len(b.List()) > 0 != tc.want {
			t.Errorf("%s: ban %+v, banned %v, list %v, want %v", tc.rule, ban, isBanned(b, tc.client), b.List(), tc.want)
		}
		if tc.want && (ban.Reason != string(tc.reason) || ban.Repeats != 0) {
			t.Errorf("%s: ban %+v", tc.rule, ban)
		}
	}
}

func TestBanLimitsWhoItMeets(t *testing.T) {
	b := newBans(banning())
	offend(b, "2001:db8:1:2::1", 5, gate.WAFRule)
	for client, want := range map[string]bool{
		"2001:db8:1:2::1": true, "2001:db8:1:2:ffff::9": true, // one host chooses the rest at will
		"2001:db8:1:3::1": false, "192.0.2.1": false, "": false,
	} {
		if got := isBanned(b, client); got != want {
			t.Errorf("%q is banned: %v, want %v", client, got, want)
		}
	}
	v := b.Check(from("2001:db8:1:2::1"))
	if v.Reason != gate.BanActive || v.Status != 429 || !v.Close || v.RetryAfter <= 59*time.Second || v.RetryAfter > time.Minute || !strings.Contains(v.Detail, "2001:db8:1:2::/64 after waf.rule") {
		t.Errorf("verdict %+v", v)
	}
}

func TestBanObserves(t *testing.T) {
	cfg := banning()
	cfg.Mode = gate.Watch
	b := newBans(cfg)
	if offend(b, "192.0.2.1", 5, gate.WAFRule) == nil {
		t.Error("no ban began")
	}
	if v := b.Check(from("192.0.2.1")); v.Action != gate.Observe || v.Reason != gate.BanActive {
		t.Errorf("verdict %+v, want it observed", v)
	}
	if away, _ := b.Turn(netip.MustParseAddr("192.0.2.1")); away {
		t.Error("a connection is closed that should only be watched")
	}
}

// TestBanEscalates follows one client through bans that get longer, and
// through the quiet after which it begins anew.
func TestBanEscalates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBans(banning())
		const client = "192.0.2.1"
		for i, want := range []time.Duration{1, 2, 4, 8, 10, 10} {
			ban := offend(b, client, 5, gate.WAFRule)
			if ban == nil || ban.Until.Sub(ban.Since) != want*time.Minute || ban.Repeats != i {
				t.Fatalf("ban %d is %+v, want %d minutes", i, ban, want)
			}
			if again := offend(b, client, 5, gate.WAFRule); again != nil {
				t.Errorf("what was under way made another ban: %+v", again)
			}
			time.Sleep(want*time.Minute - time.Nanosecond)
			if !isBanned(b, client) {
				t.Errorf("ban %d ended early", i)
			}
			time.Sleep(time.Nanosecond)
			if isBanned(b, client) {
				t.Errorf("ban %d did not end", i)
			}
		}
		time.Sleep(10*time.Minute + time.Second)
		if ban := offend(b, client, 5, gate.WAFRule); ban == nil || ban.Repeats != 0 || ban.Until.Sub(ban.Since) != time.Minute {
			t.Errorf("after a quiet time the ban is %+v, want a first one", ban)
		}
	})
}

// TestRefusalsFarApartAreNoBan holds the rate: nobody is banned who is refused
// no more often than the budget refills.
func TestRefusalsFarApartAreNoBan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBans(banning())
		for range 1000 {
			if ban := offend(b, "192.0.2.1", 1, gate.WAFRule); ban != nil {
				t.Fatalf("banned: %+v", ban)
			}
			time.Sleep(2 * time.Second)
		}
	})
}

func TestTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := banning()
		cfg.Close, cfg.For = true, time.Hour
		b := newBans(cfg)
		addr := netip.MustParseAddr("192.0.2.1")
		if away, _ := b.Turn(addr); away {
			t.Error("a client without a ban is turned away")
		}
		offend(b, "192.0.2.1", 5, gate.WAFRule)
		records := 0
		for range 180 {
			away, record := b.Turn(addr)
			if !away {
				t.Fatal("a banned client is let in")
			}
			if record {
				records++
			}
			time.Sleep(time.Second)
		}
		if s := b.Stats(); records != 3 || s.Turned != 180 || s.Active != 1 {
			t.Errorf("%d records in three minutes, stats %+v", records, s)
		}
		if away, _ := b.Turn(netip.MustParseAddr("10.1.1.1")); away {
			t.Error("a trusted proxy is turned away")
		}
	})
}

func TestBansByHand(t *testing.T) {
	b := newBans(banning())
	addr := netip.MustParseAddr("2001:db8::7")
	ban, ok := b.Add(addr, time.Hour, "manual")
	if !ok || ban.Client != netip.MustParsePrefix("2001:db8::/64") || !isBanned(b, "2001:db8::8") {
		t.Errorf("added %+v, %v", ban, ok)
	}
	if _, ok := b.Add(netip.MustParseAddr("10.0.0.1"), time.Hour, "manual"); ok {
		t.Error("a trusted proxy was banned by hand")
	}
	if _, ok := b.Add(netip.Addr{}, time.Hour, "manual"); ok {
		t.Error("nobody was banned by hand")
	}
	if !b.Remove(addr) || b.Remove(addr) || isBanned(b, "2001:db8::7") {
		t.Error("the ban was not removed, or twice")
	}
}

func TestBansOutliveAReload(t *testing.T) {
	old := newBans(banning())
	offend(old, "192.0.2.1", 5, gate.WAFRule)
	offend(old, "192.0.2.2", 4, gate.WAFRule)
	next := limiter.NewBans(banning(), proxies.Contains, old)
	if !isBanned(next, "192.0.2.1") {
		t.Error("the ban is forgotten")
	}
	if offend(next, "192.0.2.2", 1, gate.WAFRule) == nil {
		t.Error("the refusals before the reload are forgotten")
	}
	cfg := banning()
	cfg.Exempt = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	if isBanned(limiter.NewBans(cfg, nil, old), "192.0.2.1") {
		t.Error("who is exempt now stays banned")
	}
}

func TestBansOutliveARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		name := filepath.Join(t.TempDir(), "state", "bans.json")
		b := newBans(banning())
		if err := b.Restore(name); err != nil {
			t.Fatalf("without a file: %v", err)
		}
		if err := b.Save(name); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(name); err == nil {
			t.Error("a file was written although there is nothing to say")
		}
		offend(b, "192.0.2.1", 5, gate.WAFRule)
		b.Add(netip.MustParseAddr("2001:db8::1"), time.Hour, "manual")
		if err := b.Save(name); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(name)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Fatalf("%v, %v", info.Mode(), err)
		}
		next := newBans(banning())
		if err := next.Restore(name); err != nil {
			t.Fatal(err)
		}
		same := func(a, b limiter.Ban) bool {
			return a.Client == b.Client && a.Since.Equal(b.Since) && a.Until.Equal(b.Until) && a.Repeats == b.Repeats && a.Reason == b.Reason
		}
		if !slices.EqualFunc(next.List(), b.List(), same) || !isBanned(next, "192.0.2.1") {
			t.Errorf("restored %v, want %v", next.List(), b.List())
		}
		time.Sleep(2 * time.Minute)
		if ban := offend(next, "192.0.2.1", 5, gate.WAFRule); ban == nil || ban.Repeats != 1 {
			t.Errorf("after the restart the next ban is %+v, want a second one", ban)
		}
		entries, err := os.ReadDir(filepath.Dir(name))
		if err != nil || len(entries) != 1 {
			t.Errorf("%v, %v are left in the directory", entries, err)
		}
	})
}

func TestRestoreRefusesWhatItCannotRead(t *testing.T) {
	for rule, text := range map[string]string{"no JSON": "x", "another version": `{"v":2}`, "half a file": `{"v":1,"bans":[{`} {
		name := filepath.Join(t.TempDir(), "bans.json")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := newBans(banning()).Restore(name); err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "remove the file") {
			t.Errorf("%s: %v", rule, err)
		}
	}
}

// TestBanBookIsBounded refuses a million clients once, and looks at who is
// remembered.
func TestBanBookIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := banning()
		cfg.MaxClients = 1000
		b := newBans(cfg)
		offend(b, "192.0.2.1", 5, gate.WAFRule)
		req := refused("192.0.2.1", gate.WAFRule)
		for i := range uint64(1_000_000) {
			req.Client = numbered(i + 1<<24)
			b.Settle(req)
			if i%5000 == 0 {
				time.Sleep(time.Second)
			}
		}
		s := b.Stats()
		if s.Clients > 1000 || s.Untracked == 0 || s.Evicted == 0 {
			t.Errorf("stats %+v", s)
		}
		if !isBanned(b, "192.0.2.1") && s.Active != 0 {
			t.Errorf("stats %+v", s)
		}
	})
}

// TestChurnDoesNotEndABan floods the book while a ban runs.
func TestChurnDoesNotEndABan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := banning()
		cfg.MaxClients, cfg.For, cfg.Max = 100, time.Hour, time.Hour
		b := newBans(cfg)
		offend(b, "192.0.2.1", 5, gate.WAFRule)
		for i := range uint64(10_000) {
			req := refused("192.0.2.1", gate.WAFRule)
			req.Client = numbered(i + 1<<24)
			b.Settle(req)
			time.Sleep(100 * time.Millisecond)
		}
		if !isBanned(b, "192.0.2.1") {
			t.Error("churn ended the ban")
		}
	})
}

func TestBansTogether(t *testing.T) {
	cfg := banning()
	cfg.MaxClients, cfg.Close = 50, true
	b := newBans(cfg)
	name := filepath.Join(t.TempDir(), "bans.json")
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			for j := range 200 {
				addr := numbered(uint64(i*j%100) + 1<<24)
				req := refused("192.0.2.1", gate.WAFRule)
				req.Client = addr
				b.Settle(req)
				b.Check(req)
				b.Turn(addr)
				switch j % 50 {
				case 1:
					b.List()
				case 2:
					b.Remove(addr)
				case 3:
					b.Add(addr, time.Second, "manual")
				}
			}
		})
	}
	for range 20 {
		if err := b.Save(name); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
	if s := b.Stats(); s.Clients > 50 {
		t.Errorf("stats %+v", s)
	}
}

func BenchmarkBanCheck(b *testing.B) {
	bans := newBans(banning())
	offend(bans, "192.0.2.1", 5, gate.WAFRule)
	req := from("198.51.100.7")
	b.ReportAllocs()
	for b.Loop() {
		if !bans.Check(req).Passed() {
			b.Fatal("banned")
		}
	}
}

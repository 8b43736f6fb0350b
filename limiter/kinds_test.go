package limiter_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/internal/gate"
	"sallyport/limiter"
)

// A request says what a case asks.
type request struct {
	client, method, path, host, route, country string
	asn                                        uint32
	fields                                     []gate.Field
}

func (r request) build() *gate.Request {
	if r.client == "" {
		r.client = "192.0.2.1"
	}
	req := from(r.client)
	req.Head = &gate.Head{Method: r.method, Fields: r.fields}
	req.Path, req.Host = r.path, r.host
	req.Place = gate.Place{Country: r.country, ASN: r.asn}
	if r.route != "" {
		req.Route = &gate.Route{Name: r.route}
	}
	return req
}

func cookies(lines ...string) (out []gate.Field) {
	for _, l := range lines {
		out = append(out, gate.Field{Name: "Cookie", Value: l})
	}
	return out
}

func header(values ...string) (out []gate.Field) {
	for _, v := range values {
		out = append(out, gate.Field{Name: "X-Api-Key", Value: v})
	}
	return out
}

// TestKeys spends a budget of one and asks who shares it.
func TestKeys(t *testing.T) {
	apiKey, session := limiter.By{Kind: limiter.ByHeader, Name: "x-api-key"}, limiter.By{Kind: limiter.ByCookie, Name: "session"}
	for _, tc := range []struct {
		rule          string
		key           limiter.By
		first, second request
		shared        bool
		detail        string // of a shared one
	}{
		{"client: another address has its own", limiter.By{}, request{}, request{client: "192.0.2.2"}, false, ""},
		{"client: whatever it asks for", limiter.By{}, request{path: "/a", route: "a"}, request{path: "/b", route: "b"}, true, "l of 192.0.2.1"},
		{"client+route: one route", limiter.By{Kind: limiter.ByClientRoute}, request{route: "a"}, request{route: "a"}, true, "l of 192.0.2.1 on route a"},
		{"client+route: another route has its own", limiter.By{Kind: limiter.ByClientRoute}, request{route: "a"}, request{route: "b"}, false, ""},
		{"client+route: what no route takes is one more", limiter.By{Kind: limiter.ByClientRoute}, request{route: "a"}, request{}, false, ""},
		{"client+route: another client has its own", limiter.By{Kind: limiter.ByClientRoute}, request{route: "a"}, request{route: "a", client: "192.0.2.2"}, false, ""},
		{"client+route: IPv6 by tiers", limiter.By{Kind: limiter.ByClientRoute}, request{route: "a", client: "2001:db8::1"}, request{route: "a", client: "2001:db8::2"}, true, "l of 2001:db8::/64 on route a"},
		{"country: all its clients", limiter.By{Kind: limiter.ByCountry}, request{country: "NL"}, request{country: "NL", client: "198.51.100.1"}, true, "l of NL"},
		{"country: not those of another", limiter.By{Kind: limiter.ByCountry}, request{country: "NL"}, request{country: "BE"}, false, ""},
		{"country: all that are unknown", limiter.By{Kind: limiter.ByCountry}, request{}, request{client: "198.51.100.1"}, true, "l of an unknown country"},
		{"asn: all its clients", limiter.By{Kind: limiter.ByASN}, request{asn: 64496}, request{asn: 64496, client: "198.51.100.1"}, true, "l of AS64496"},
		{"asn: not those of another", limiter.By{Kind: limiter.ByASN}, request{asn: 64496}, request{asn: 64497}, false, ""},
		{"asn: all that are unknown", limiter.By{Kind: limiter.ByASN}, request{}, request{client: "198.51.100.1"}, true, "l of an unknown network"},
		{"path: all who ask for it", limiter.By{Kind: limiter.ByPath}, request{path: "/a"}, request{path: "/a", client: "198.51.100.1"}, true, "l of path /a"},
		{"path: not those of another", limiter.By{Kind: limiter.ByPath}, request{path: "/a"}, request{path: "/a/b"}, false, ""},
		{"header: who sends the value", apiKey, request{fields: header("s3cret")}, request{fields: header("s3cret"), client: "198.51.100.1"}, true, "l of header x-api-key #"},
		{"header: another value has its own", apiKey, request{fields: header("s3cret")}, request{fields: header("other")}, false, ""},
		{"header: without it the client counts", apiKey, request{}, request{fields: header("")}, true, "l of 192.0.2.1"},
		{"header: without it clients do not share", apiKey, request{}, request{client: "198.51.100.1"}, false, ""},
		{"header: several values are none", apiKey, request{}, request{fields: header("new", "newer")}, true, "l of 192.0.2.1"},
		{"cookie: who sends the value", session, request{fields: cookies("a=b; session=s3cret")}, request{fields: cookies("session=s3cret;c=d"), client: "198.51.100.1"}, true, "l of cookie session #"},
		{"cookie: another value has its own", session, request{fields: cookies("session=s3cret")}, request{fields: cookies("session=other")}, false, ""},
		{"cookie: another name is none", session, request{}, request{fields: cookies("Session=s3cret; xsession=a; session")}, true, "l of 192.0.2.1"},
		{"cookie: several of the name are none", session, request{}, request{fields: cookies("session=a", "session=b")}, true, "l of 192.0.2.1"},
	} {
		synctest.Test(t, func(t *testing.T) {
			cfg := config(limiter.Limit{Name: "l", Rate: 0.001, Burst: 1, Key: tc.key})
			cfg.Secret = []byte("a key")
			l := open(t, cfg, nil)
			if v := l.Check(tc.first.build()); !v.Passed() {
				t.Fatalf("%s: the first request: %v", tc.rule, v)
			}
			v := l.Check(tc.second.build())
			if v.Passed() == tc.shared || tc.shared && !strings.HasPrefix(v.Detail, tc.detail) {
				t.Errorf("%s: the second request passed: %t (%q), want %t, %q", tc.rule, v.Passed(), v.Detail, !tc.shared, tc.detail)
			}
			if strings.Contains(v.Detail, "s3cret") {
				t.Errorf("%s: the record would hold the value: %q", tc.rule, v.Detail)
			}
		})
	}
	t.Run("a long path is cut in the record", func(t *testing.T) {
		l := open(t, config(limiter.Limit{Name: "l", Rate: 0.001, Burst: 1, Key: limiter.By{Kind: limiter.ByPath}}), nil)
		long := request{path: "/" + strings.Repeat("é", 4000)}
		l.Check(long.build())
		if v := l.Check(long.build()); v.Passed() || len(v.Detail) > 150 {
			t.Errorf("detail has %d bytes", len(v.Detail))
		}
	})
	t.Run("without a key for hashes there is none", func(t *testing.T) {
		l := open(t, config(limiter.Limit{Name: "l", Rate: 0.001, Burst: 1, Key: apiKey}), nil)
		r := request{fields: header("s3cret")}
		l.Check(r.build())
		if v := l.Check(r.build()); v.Detail != "l of header x-api-key" {
			t.Errorf("detail %q", v.Detail)
		}
	})
}

func TestMatch(t *testing.T) {
	for _, tc := range []struct {
		rule  string
		match limiter.Match
		req   request
		taken bool
	}{
		{"everything", limiter.Match{}, request{}, true},
		{"a path", limiter.Match{Paths: []string{"/login"}}, request{path: "/login"}, true},
		{"below a path", limiter.Match{Paths: []string{"/login"}}, request{path: "/login/x"}, true},
		{"a prefix with a last slash", limiter.Match{Paths: []string{"/login/"}}, request{path: "/login"}, true},
		{"an encoded slash is a border", limiter.Match{Paths: []string{"/login"}}, request{path: "/login%2Fx"}, true},
		{"a longer segment is another", limiter.Match{Paths: []string{"/login"}}, request{path: "/logins"}, false},
		{"the root is everything", limiter.Match{Paths: []string{"/"}}, request{path: "*"}, true},
		{"one exact path", limiter.Match{Paths: []string{"=/a", "/b"}}, request{path: "/a"}, true},
		{"an exact path is no prefix", limiter.Match{Paths: []string{"=/a", "/b"}}, request{path: "/a/"}, false},
		{"a method", limiter.Match{Methods: []string{"POST"}}, request{method: "POST"}, true},
		{"another method", limiter.Match{Methods: []string{"POST"}}, request{method: "GET"}, false},
		{"a host", limiter.Match{Hosts: []string{"a.example.org"}}, request{host: "a.example.org"}, true},
		{"another host", limiter.Match{Hosts: []string{"a.example.org"}}, request{host: "b.example.org"}, false},
		{"below a host", limiter.Match{Hosts: []string{"*.example.org"}}, request{host: "b.a.example.org"}, true},
		{"below is not the host", limiter.Match{Hosts: []string{"*.example.org"}}, request{host: "example.org"}, false},
		{"a route", limiter.Match{Routes: []string{"r", "s"}}, request{route: "s"}, true},
		{"another route", limiter.Match{Routes: []string{"r"}}, request{route: "s"}, false},
		{"no route", limiter.Match{Routes: []string{"r"}}, request{}, false},
		{"all of it", limiter.Match{Paths: []string{"/x"}, Methods: []string{"GET"}}, request{path: "/x", method: "GET"}, true},
		{"not only part of it", limiter.Match{Paths: []string{"/x"}, Methods: []string{"GET"}}, request{path: "/x", method: "PUT"}, false},
	} {
		l := open(t, config(limiter.Limit{Name: "l", Rate: 0.001, Burst: 1, Match: tc.match}), nil)
		l.Check(tc.req.build())
		if passed := l.Check(tc.req.build()).Passed(); passed == tc.taken {
			t.Errorf("%s: two requests passed: %t", tc.rule, passed)
		}
	}
}

func TestExempt(t *testing.T) {
	l := open(t, config(
		limiter.Limit{Name: "l", Rate: 0.001, Burst: 1, Exempt: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")}},
		limiter.Limit{Name: "all", Rate: 0.001, Burst: 3},
	), nil)
	for client, want := range map[string]int{"10.1.2.3": 3, "2001:db8::1": 3, "11.0.0.1": 1, "2001:db9::1": 1} {
		if got := drain(t, l, client); got != want {
			t.Errorf("%s: %d passed, want %d", client, got, want)
		}
	}
}

func TestCost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := open(t, config(limiter.Limit{Name: "l", Rate: 1, Burst: 10, Cost: 4}), nil)
		if got := drain(t, l, "192.0.2.1"); got != 2 {
			t.Errorf("%d requests of 4 tokens passed, want 2 of 10", got)
		}
		v := l.Check(from("192.0.2.1"))
		if v.RetryAfter != 2*time.Second+1 {
			t.Errorf("told to wait %v for the 2 tokens that are missing", v.RetryAfter)
		}
		time.Sleep(v.RetryAfter)
		if got := drain(t, l, "192.0.2.1"); got != 1 {
			t.Errorf("%d requests passed then, want 1", got)
		}
	})
}

// begin checks a request of the client that stays in flight.
func begin(l *limiter.Limiter, client string) (*gate.Request, bool) {
	req := from(client)
	return req, l.Check(req).Passed()
}

func TestConcurrent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := open(t, config(limiter.Limit{Name: "flying", Concurrent: 3}, limiter.Limit{Name: "tokens", Rate: 0.001, Burst: 6}), nil)
		var flying []*gate.Request
		for range 3 {
			req, passed := begin(l, "192.0.2.1")
			if !passed {
				t.Fatal("one of three was refused")
			}
			flying = append(flying, req)
		}
		time.Sleep(time.Hour) // time gives nothing back
		v := l.Check(from("192.0.2.1"))
		want := gate.LimitHit{Name: "flying", Quota: 3, RetryAfter: time.Second + 1, Reset: time.Second + 1, Concurrent: true}
		if v.Action != gate.Refuse || v.Limit == nil || *v.Limit != want {
			t.Errorf("the fourth: %v %+v, want %+v", v.Action, v.Limit, want)
		}
		if _, passed := begin(l, "192.0.2.2"); !passed {
			t.Error("another client was refused")
		}
		for range 2 {
			l.Settle(flying[0], 200)
		}
		if _, passed := begin(l, "192.0.2.1"); !passed {
			t.Error("none passed after one had ended")
		}
		if _, passed := begin(l, "192.0.2.1"); passed {
			t.Error("settling twice gave back two")
		}
		for _, req := range flying[1:] {
			l.Settle(req, 0) // broken off
		}
		// What the tokens refuse is not in flight.
		refused := 0
		for range 20 {
			req, passed := begin(l, "192.0.2.1")
			if !passed {
				refused++
			}
			l.Settle(req, 200)
		}
		time.Sleep(time.Hour)
		if _, passed := begin(l, "192.0.2.1"); !passed || refused < 10 {
			t.Errorf("requests that another limit refused (%d) count as in flight", refused)
		}
	})
}

func TestOnStatus(t *testing.T) {
	failed := limiter.Limit{Name: "failed", Rate: 0.01, Burst: 3, OnStatus: []limiter.StatusRange{{From: 401, To: 403}, {From: 500, To: 599}}}
	synctest.Test(t, func(t *testing.T) {
		l := open(t, config(failed), nil)
		for range 100 {
			req, passed := begin(l, "192.0.2.1")
			if !passed {
				t.Fatal("answers that are not listed were charged")
			}
			l.Settle(req, 200)
		}
		for i, status := range []int{401, 403, 500} {
			req, passed := begin(l, "192.0.2.1")
			if !passed {
				t.Fatalf("%d charged answers of 3 refuse", i)
			}
			l.Settle(req, status)
		}
		req, passed := begin(l, "192.0.2.1")
		if passed {
			t.Error("a request passed after three charged answers of three")
		}
		l.Settle(req, 429) // its own refusal
		v := l.Check(from("192.0.2.1"))
		if v.RetryAfter != 100*time.Second+1 {
			t.Errorf("told to wait %v, want the 100 s of a token: refusals are not charged", v.RetryAfter)
		}
		if _, passed := begin(l, "192.0.2.2"); !passed {
			t.Error("another client was charged")
		}
	})
	t.Run("those in flight count as if they failed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := open(t, config(failed), nil)
			var flying []*gate.Request
			for range 10 {
				if req, passed := begin(l, "192.0.2.1"); passed {
					flying = append(flying, req)
				}
			}
			if len(flying) != 3 {
				t.Fatalf("%d passed at once, want 3", len(flying))
			}
			if v := l.Check(from("192.0.2.1")); v.RetryAfter != time.Second+1 {
				t.Errorf("told to wait %v for those in flight", v.RetryAfter)
			}
			for _, req := range flying {
				l.Settle(req, 401)
			}
			// Never below zero: one token is back after its 100 s, not later.
			time.Sleep(100*time.Second + 1)
			req, passed := begin(l, "192.0.2.1")
			if !passed {
				t.Error("parallel failures ran into a debt")
			}
			l.Settle(req, 200)
		})
	})
}

func TestObserve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := open(t, config(
			limiter.Limit{Name: "watched", Rate: 0.001, Burst: 2, Mode: gate.Watch},
			limiter.Limit{Name: "flying", Concurrent: 1, Mode: gate.Watch},
			limiter.Limit{Name: "enforced", Rate: 0.001, Burst: 5},
		), nil)
		var actions []string
		var last gate.Verdict
		for range 6 {
			last = l.Check(from("192.0.2.1"))
			name := ""
			if last.Limit != nil {
				name = " " + last.Limit.Name
			}
			actions = append(actions, last.Action.String()+name)
		}
		want := "pass, observe flying, observe watched, observe watched, observe watched, refuse enforced"
		if got := strings.Join(actions, ", "); got != want {
			t.Errorf("six requests: %s, want %s", got, want)
		}
		if !strings.Contains(last.Detail, "observed: watched of 192.0.2.1, flying of 192.0.2.1") {
			t.Errorf("detail %q does not name what observes", last.Detail)
		}
		s := l.Stats()
		if s.Limits[0].Observed != 4 || s.Limits[1].Observed != 5 || s.Limits[2].Refused != 1 || s.Limits[0].Refused != 0 {
			t.Errorf("Stats = %+v", s.Limits)
		}
	})
	t.Run("a gateway that observes still counts", func(t *testing.T) {
		cfg := config(limiter.Limit{Name: "l", Rate: 0.001, Burst: 1})
		cfg.Mode, cfg.AllHeaders = gate.Watch, true
		l := open(t, cfg, nil)
		req := from("192.0.2.1")
		if l.Check(req); req.Budget != nil {
			t.Error("clients are told of limits that only observe")
		}
		if v := l.Check(from("192.0.2.1")); v.Action != gate.Observe {
			t.Errorf("the second of one: %v, want observe", v.Action)
		}
	})
}

func TestBudgetIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config(
			limiter.Limit{Name: "wide", Rate: 1, Burst: 100},
			limiter.Limit{Name: "narrow", Rate: 0.5, Burst: 10, Cost: 3},
			limiter.Limit{Name: "watched", Rate: 1, Burst: 1, Mode: gate.Watch},
			limiter.Limit{Name: "flying", Concurrent: 50},
		)
		ask := func(all bool) *gate.LimitHit {
			cfg.AllHeaders = all
			l := open(t, cfg, nil)
			req := request{route: "other"}.build()
			req.Route.Limits = []string{"watched"}
			l.Check(req)
			req = from("192.0.2.1")
			if v := l.Check(req); v.Action != gate.Observe {
				t.Errorf("%v, want what only observes to be told beside it", v.Action)
			}
			return req.Budget
		}
		want := gate.LimitHit{Name: "narrow", Quota: 10, Window: 20 * time.Second, Remaining: 7, Reset: 2*time.Second + 1}
		if got := ask(true); got == nil || *got != want {
			t.Errorf("told %+v, want %+v", got, want)
		}
		if got := ask(false); got != nil {
			t.Errorf("told %+v without being asked to", got)
		}
	})
}

// TestReloadKeepsWhatIsInFlight changes everything about limits that leaves
// their buckets the same.
func TestReloadKeepsWhatIsInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config(
			limiter.Limit{Name: "flying", Concurrent: 2},
			limiter.Limit{Name: "failed", Rate: 0.001, Burst: 2, OnStatus: []limiter.StatusRange{{From: 401, To: 401}}},
		)
		old := open(t, cfg, nil)
		first, _ := begin(old, "192.0.2.1")
		second, _ := begin(old, "192.0.2.1")

		cfg.Limits[0].Concurrent, cfg.Limits[0].Match.Paths = 3, []string{"/"}
		cfg.Limits[1].Mode, cfg.Limits[1].Burst = gate.Watch, 2
		cfg.MaxClients = 100_000
		next := open(t, cfg, old)
		third, passed := begin(next, "192.0.2.1")
		if !passed {
			t.Error("two in flight of three refuse")
		}
		if _, passed := begin(next, "192.0.2.1"); passed {
			t.Error("requests in flight were forgotten")
		}
		old.Settle(first, 401)
		next.Settle(second, 401)
		if v := next.Check(from("192.0.2.1")); v.Action != gate.Observe || v.Limit.Name != "failed" {
			t.Errorf("%v %+v, want what the old configuration's requests were answered to be charged", v.Action, v.Limit)
		}
		next.Settle(third, 200)
	})
}

// TestReloadStartsAfresh: a limit that draws on other buckets has them full.
func TestReloadStartsAfresh(t *testing.T) {
	base := limiter.Limit{Name: "l", Rate: 0.001, Burst: 2}
	for _, tc := range []struct {
		rule   string
		change func(*limiter.Limit)
		passed int
	}{
		{"nothing", func(*limiter.Limit) {}, 0},
		{"what it matches", func(l *limiter.Limit) { l.Match.Methods = []string{"GET"} }, 0},
		{"its cost", func(l *limiter.Limit) { l.Cost = 2 }, 0},
		{"its name", func(l *limiter.Limit) { l.Name = "other" }, 2},
		{"its burst", func(l *limiter.Limit) { l.Burst = 3 }, 3},
		{"its rate", func(l *limiter.Limit) { l.Rate = 0.002 }, 2},
		{"its key", func(l *limiter.Limit) { l.Key.Kind = limiter.ByClientRoute }, 2},
		{"what charges it", func(l *limiter.Limit) { l.OnStatus = []limiter.StatusRange{{From: 401, To: 401}} }, 2},
	} {
		synctest.Test(t, func(t *testing.T) {
			old := open(t, config(base), nil)
			drain(t, old, "192.0.2.1")
			changed := base
			tc.change(&changed)
			next := open(t, config(changed), old)
			passed := 0
			for range 5 {
				if next.Check(request{method: "GET"}.build()).Passed() {
					passed++
				}
			}
			if passed != tc.passed {
				t.Errorf("%s changed: %d requests passed, want %d", tc.rule, passed, tc.passed)
			}
		})
	}
}

// TestBusyIsInFlight: a key with a request in flight is never forgotten, and
// is forgotten when it has ended.
func TestBusyIsInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config(limiter.Limit{Name: "flying", Concurrent: 1})
		cfg.MaxClients = 2
		l := open(t, cfg, nil)
		one, _ := begin(l, "192.0.2.1")
		two, _ := begin(l, "192.0.2.2")
		var crowd []*gate.Request
		for i := range 12 {
			req := &gate.Request{Client: netip.AddrFrom4([4]byte{203, 0, 113, byte(i)})}
			if v := l.Check(req); v.Passed() {
				crowd = append(crowd, req)
			} else if v.Reason != gate.LimitTableFull {
				t.Errorf("refused for %s", v.Reason)
			}
		}
		if len(crowd) != 8 {
			t.Errorf("%d newcomers at once passed, want 8 that share", len(crowd))
		}
		time.Sleep(24 * time.Hour)
		if ask(l, "192.0.2.1") || ask(l, "203.0.113.99") {
			t.Error("what is in flight was forgotten")
		}
		for _, req := range append(crowd, two) {
			l.Settle(req, 200)
		}
		if s := l.Stats(); s.Evicted != 0 {
			t.Errorf("%d keys were forgotten, want none yet", s.Evicted)
		}
		if !ask(l, "203.0.113.1") || l.Stats().Evicted != 1 {
			t.Errorf("%+v, want the one that ended to have made room", l.Stats())
		}
		if ask(l, "192.0.2.1") {
			t.Error("the one in flight was forgotten")
		}
		l.Settle(one, 200)
		if !ask(l, "192.0.2.1") {
			t.Error("none passed after it had ended")
		}
	})
}

// TestAnHourOfCunning searches for a schedule that gets more than rate times
// time plus burst: random pauses and bursts, rotation inside an IPv6 /48,
// invented and forgotten keys, answers that are charged, churn from other
// addresses, and reloads.
func TestAnHourOfCunning(t *testing.T) {
	for seed := range uint64(6) {
		synctest.Test(t, func(t *testing.T) { cunning(t, seed) })
	}
}

func cunning(t *testing.T, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 7))
	rate, burst := 0.2+3*rnd.Float64(), 1+rnd.IntN(30)
	cfg := config(
		limiter.Limit{Name: "client", Rate: rate, Burst: burst},
		limiter.Limit{Name: "failed", Rate: rate / 2, Burst: burst, OnStatus: []limiter.StatusRange{{From: 401, To: 401}}},
		limiter.Limit{Name: "flying", Concurrent: 3},
		limiter.Limit{Name: "key", Rate: rate, Burst: burst, Key: limiter.By{Kind: limiter.ByHeader, Name: "X-Api-Key"}},
	)
	cfg.MaxClients = 40 + rnd.IntN(400)
	l := open(t, cfg, nil)
	type spent struct{ all, failed, flying int }
	// What each tier of each prefix, or client, may have had: by how many
	// times a budget it carries.
	got := map[netip.Prefix]*spent{}
	multiple := map[int]int{32: 1, 64: 1, 56: 4, 48: 16}
	var flying []*gate.Request
	start := time.Now()
	account := func(addr netip.Addr, add func(*spent)) {
		lengths := []int{48, 56, 64}
		if addr.Is4() {
			lengths = []int{32}
		}
		for _, bits := range lengths {
			p, _ := addr.Prefix(bits)
			if got[p] == nil {
				got[p] = new(spent)
			}
			add(got[p])
			elapsed := time.Since(start).Seconds()
			m := float64(multiple[bits])
			if s := got[p]; float64(s.all) > m*(rate*elapsed+float64(burst))+1e-6 ||
				float64(s.failed) > m*(rate/2*elapsed+float64(burst))+1e-6 || s.flying > 3*multiple[bits] {
				t.Fatalf("seed %d: %s had %+v after %.3f s, at %g/s and %d, times %g", seed, p, *s, elapsed, rate, burst, m)
			}
		}
	}
	land := func(i, status int) {
		req := flying[i]
		flying[i] = flying[len(flying)-1]
		flying = flying[:len(flying)-1]
		l.Settle(req, status)
		account(req.Client, func(s *spent) {
			s.flying--
			if status == 401 {
				s.failed++
			}
		})
	}
	for time.Since(start) < time.Hour {
		for range rnd.IntN(3 * burst) {
			addr := netip.MustParseAddr("192.0.2.1")
			switch rnd.IntN(6) {
			case 0: // elsewhere in the same /48
				a := [16]byte{0x20, 0x01, 0x0d, 0xb8, 0, 1, byte(rnd.IntN(4)), byte(rnd.IntN(8)), 15: byte(rnd.Uint32())}
				addr = netip.AddrFrom16(a)
			case 1: // churn
				req := &gate.Request{Client: netip.AddrFrom4([4]byte{203, byte(rnd.IntN(4)), byte(rnd.Uint32()), byte(rnd.Uint32())}), Head: &gate.Head{}}
				l.Check(req)
				l.Settle(req, 200)
				continue
			}
			req := &gate.Request{Client: addr, Head: &gate.Head{}}
			if rnd.IntN(2) == 0 {
				req.Head.Fields = header(fmt.Sprint(rnd.IntN(5)))
			}
			before := l.Stats().Overflowed
			v := l.Check(req)
			if !v.Passed() {
				if req.Held != nil {
					t.Fatal("a refused request holds something")
				}
				continue
			}
			if l.Stats().Overflowed > before { // it had a share of the crowd's as well, which is another budget
				l.Settle(req, 200)
				continue
			}
			flying = append(flying, req)
			account(addr, func(s *spent) { s.all++; s.flying++ })
		}
		for len(flying) > 0 && rnd.IntN(4) > 0 {
			land(rnd.IntN(len(flying)), []int{200, 401, 0}[rnd.IntN(3)])
		}
		if rnd.IntN(50) == 0 {
			cfg.MaxClients = 40 + rnd.IntN(400)
			l = open(t, cfg, l)
		}
		time.Sleep(time.Duration(math.Pow(10, 4*rnd.Float64()) * float64(time.Millisecond)))
	}
	if len(got) < 10 {
		t.Errorf("seed %d: only %d prefixes were ever served", seed, len(got))
	}
}

// TestNeverBeyond has 64 goroutines draw from few keys of every usage while
// the configuration is reloaded.
func TestNeverBeyond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config(
			limiter.Limit{Name: "tokens", Rate: 0.0001, Burst: 4000},
			limiter.Limit{Name: "flying", Concurrent: 7},
			limiter.Limit{Name: "failed", Rate: 0.0001, Burst: 500, OnStatus: []limiter.StatusRange{{From: 401, To: 401}}},
			limiter.Limit{Name: "country", Rate: 0.0001, Burst: 9000, Key: limiter.By{Kind: limiter.ByCountry}},
			limiter.Limit{Name: "path", Rate: 1e6, Burst: 1e9, Key: limiter.By{Kind: limiter.ByPath}},
		)
		var current atomic.Pointer[limiter.Limiter]
		current.Store(open(t, cfg, nil))
		var passed, failed, flying [4]atomic.Int64
		var wg sync.WaitGroup
		for g := range 64 {
			wg.Go(func() {
				rnd := rand.New(rand.NewPCG(uint64(g), 1))
				for range 400 {
					c := rnd.IntN(4)
					req := request{client: fmt.Sprintf("192.0.2.%d", c), path: fmt.Sprint("/", rnd.IntN(9)), country: []string{"NL", "BE"}[c%2]}.build()
					l := current.Load()
					if !l.Check(req).Passed() {
						continue
					}
					passed[c].Add(1)
					if n := flying[c].Add(1); n > 7 {
						t.Errorf("%d requests of one client in flight, want 7 at most", n)
					}
					time.Sleep(time.Duration(rnd.IntN(3)) * time.Millisecond)
					status := 200
					if rnd.IntN(3) == 0 {
						status = 401
						failed[c].Add(1)
					}
					flying[c].Add(-1)
					l.Settle(req, status)
				}
			})
		}
		wg.Go(func() {
			for i := range 50 {
				next := cfg
				next.MaxClients = 1000 + 100*(i%3)
				current.Store(open(t, next, current.Load()))
				time.Sleep(5 * time.Millisecond)
			}
		})
		wg.Wait()
		for c := range passed {
			p, f := passed[c].Load(), failed[c].Load()
			if p > 4000 || f > 500 || p == 0 || f == 0 {
				t.Errorf("client %d: %d passed, %d failed, want at most 4000 and 500, and some", c, p, f)
			}
		}
		// Nothing is in flight any more: each client has its 7 again.
		l := current.Load()
		for c := range 4 {
			if n := flying[c].Load(); n != 0 {
				t.Fatalf("the test lost count: %d", n)
			}
			free := 0
			for range 10 {
				req := request{client: fmt.Sprintf("192.0.2.%d", c), country: "DE"}.build()
				req.Route = &gate.Route{Limits: []string{"flying"}}
				if l.Check(req).Passed() {
					free++
				}
			}
			if free != 7 {
				t.Errorf("client %d has %d free places after all have ended, want 7", c, free)
			}
		}
	})
}

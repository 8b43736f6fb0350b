package limiter_test

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"sallyport/internal/gate"
	"sallyport/internal/testkit"
	"sallyport/limiter"
)

// A redisServer is a real one, on loopback, that nothing outlives.
type redisServer struct {
	t    testing.TB
	dir  string
	port int
	args []string
	cmd  *exec.Cmd
}

// startRedis starts a server. Where there is none the test is skipped, unless
// SALLYPORT_NEED_REDIS says that there has to be one, as it does in CI.
func startRedis(t testing.TB, args ...string) *redisServer {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		if os.Getenv("SALLYPORT_NEED_REDIS") != "" {
			t.Fatal("redis-server is missing, and SALLYPORT_NEED_REDIS is set")
		}
		t.Skip("redis-server is not installed")
	}
	r := &redisServer{t: t, dir: t.TempDir(), port: freePort(t), args: args}
	r.start()
	t.Cleanup(r.stop)
	return r
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func (r *redisServer) start() {
	r.t.Helper()
	args := append([]string{"--port", fmt.Sprint(r.port), "--bind", "127.0.0.1", "--save", "", "--dir", r.dir, "--daemonize", "no"}, r.args...)
	var out bytes.Buffer
	r.cmd = exec.Command("redis-server", args...)
	r.cmd.Stdout, r.cmd.Stderr = &out, &out
	if err := r.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	eventually(r.t, "redis-server listens", func() bool {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", r.port))
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

func (r *redisServer) signal(s os.Signal) {
	r.t.Helper()
	if err := r.cmd.Process.Signal(s); err != nil {
		r.t.Fatal(err)
	}
}

func (r *redisServer) stop() {
	if r.cmd == nil {
		return
	}
	_ = r.cmd.Process.Kill() // also of one that was paused
	_ = r.cmd.Wait()         // it was killed
	r.cmd = nil
}

func (r *redisServer) url() string { return fmt.Sprintf("redis://127.0.0.1:%d/0", r.port) }

// eventually waits for something that another process does.
func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if done() {
			return
		}
	}
	t.Fatalf("after 20 s: not yet: %s", what)
}

// patient is a store for tests of what is decided, not of how soon: the
// machine may be busy.
func patient(r *redisServer) limiter.Store {
	return limiter.Store{URL: r.url(), Timeout: time.Second, Failure: limiter.FailLocal}
}

// connected opens a limiter and waits until its store answers.
func connected(t testing.TB, cfg limiter.Config) *limiter.Limiter {
	t.Helper()
	l := open(t, cfg, nil)
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	eventually(t, "the store answers", func() bool { return l.Stats().Store.Up })
	return l
}

// TestOneBudget lets three gateways spend one budget, under load, and holds
// them to it within two in a hundred.
func TestOneBudget(t *testing.T) {
	r := startRedis(t)
	const rate, burst = 400, 200
	cfg := config(limiter.Limit{Name: "l", Rate: rate, Burst: burst})
	cfg.Store = patient(r)
	var gateways []*limiter.Limiter
	for range 3 {
		gateways = append(gateways, connected(t, cfg))
	}
	var passed atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for i := range 6 {
		wg.Go(func() {
			for time.Since(start) < 3*time.Second {
				if ask(gateways[i%3], "192.0.2.1") {
					passed.Add(1)
				} else {
					time.Sleep(time.Millisecond)
				}
			}
		})
	}
	wg.Wait()
	took := time.Since(start)
	want := rate*took.Seconds() + burst
	if got := float64(passed.Load()); got > 1.02*want || got < 0.98*want {
		t.Errorf("%.0f requests passed in %v, want %.0f within 2 %%", got, took, want)
	}
	for i, l := range gateways {
		if s := l.Stats().Store; s.Failed > 0 || s.Changes != 1 || s.Asked == 0 {
			t.Errorf("gateway %d: %+v, want a store that was asked and always answered", i, s)
		}
	}
}

// TestSharedUsages draws from one gateway what another one holds.
func TestSharedUsages(t *testing.T) {
	r := startRedis(t)
	cfg := config(
		limiter.Limit{Name: "tokens", Rate: 0.001, Burst: 10, Cost: 4, Match: limiter.Match{Paths: []string{"/cost"}}},
		limiter.Limit{Name: "flying", Concurrent: 2, Match: limiter.Match{Paths: []string{"/flying"}}},
		limiter.Limit{Name: "failed", Rate: 0.001, Burst: 3, OnStatus: []limiter.StatusRange{{From: 401, To: 403}}, Match: limiter.Match{Paths: []string{"/login"}}},
		limiter.Limit{Name: "key", Rate: 0.001, Burst: 1, Key: limiter.By{Kind: limiter.ByHeader, Name: "X-Api-Key"}, Match: limiter.Match{Paths: []string{"/key"}}},
		limiter.Limit{Name: "seen", Rate: 0.001, Burst: 1, Mode: gate.Watch, Match: limiter.Match{Paths: []string{"/cost"}}},
	)
	cfg.Store, cfg.Secret = patient(r), []byte("one for both")
	one, two := connected(t, cfg), connected(t, cfg)
	at := func(path string, fields ...gate.Field) *gate.Request {
		req := from("192.0.2.1")
		req.Path, req.Head = path, &gate.Head{Method: "GET", Fields: fields}
		return req
	}

	if !one.Check(at("/cost")).Passed() || !two.Check(at("/cost")).Passed() {
		t.Error("two requests of 4 tokens do not fit into a budget of 10")
	}
	if v := one.Check(at("/cost")); v.Action != gate.Refuse || v.Limit.Name != "tokens" || v.RetryAfter < 1900*time.Second || v.RetryAfter > 2001*time.Second {
		t.Errorf("the third: %v %+v, want tokens to refuse for 2000 s", v.Action, v.Limit)
	}
	if s := two.Stats().Limits[4]; s.Observed != 1 || s.Refused != 0 {
		t.Errorf("seen, of the second gateway: %+v, want one request observed", s)
	}

	held, other := at("/flying"), at("/flying")
	if !one.Check(held).Passed() || !two.Check(other).Passed() {
		t.Error("two at once do not fit into two")
	}
	if one.Check(at("/flying")).Passed() || two.Check(at("/flying")).Passed() {
		t.Error("a third at once passed")
	}
	two.Settle(other, 200)
	eventually(t, "what one gateway gave back can be had on the other", func() bool {
		req := at("/flying")
		defer one.Settle(req, 200)
		return one.Check(req).Passed()
	})
	one.Settle(held, 200)

	for i := range 3 {
		req := at("/login")
		if !one.Check(req).Passed() {
			t.Fatalf("failed login %d was refused", i+1)
		}
		one.Settle(req, 401)
	}
	eventually(t, "failed logins on one gateway are known on the other", func() bool {
		req := at("/login")
		defer two.Settle(req, 200)
		return !two.Check(req).Passed()
	})

	if !one.Check(at("/key", gate.Field{Name: "x-api-key", Value: "secret value"})).Passed() {
		t.Error("the first request of a key was refused")
	}
	if v := two.Check(at("/key", gate.Field{Name: "X-API-Key", Value: "secret value"})); v.Passed() || strings.Contains(v.Detail, "secret") || !strings.Contains(v.Detail, "header X-Api-Key #") {
		t.Errorf("the second: %v %q, want a refusal that names the field and a hash", v.Action, v.Detail)
	}
	if !two.Check(at("/key", gate.Field{Name: "X-Api-Key", Value: "another"})).Passed() {
		t.Error("another key shares the budget")
	}
	names := strings.Fields(r.cli("keys", "*"))
	if len(names) < 4 {
		t.Errorf("the store has the keys %q, want one of each limit", names)
	}
	for _, name := range names {
		if !strings.HasPrefix(name, "sallyport:") || strings.Contains(name, "secret") {
			t.Errorf("a key in the store is called %q", name)
		}
		if ttl := r.cli("pttl", name); strings.HasPrefix(ttl, "-1") {
			t.Errorf("key %s does not expire: %s", name, ttl)
		}
	}
}

// TestLeases: what is in flight is believed for a while only, unless it is
// renewed, and what ended while the store was away is told to it later.
func TestLeases(t *testing.T) {
	r := startRedis(t)
	cfg := config(
		limiter.Limit{Name: "flying", Concurrent: 2},
		limiter.Limit{Name: "failed", Rate: 0.001, Burst: 3, OnStatus: []limiter.StatusRange{{From: 401, To: 401}}},
	)
	cfg.Store = patient(r)
	one, two := connected(t, cfg), connected(t, cfg)
	const set = "sallyport:flying:192.0.2.1|flying"
	now := func() int64 { return time.Now().UnixMicro() }
	r.cli("zadd", set, fmt.Sprint(now()-1), "a-gateway-that-died")
	r.cli("zadd", set, fmt.Sprint(now()+60e6), "a-gateway-that-lives")
	held, passed := begin(one, "192.0.2.1")
	if !passed {
		t.Fatal("a request in flight on a gateway that died counts for ever")
	}
	if _, passed := begin(two, "192.0.2.1"); passed {
		t.Error("the leases of others do not count")
	}

	end := func() int64 {
		for line := range strings.Lines(r.cli("zrange", set, "0", "-1", "withscores")) {
			if v, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64); err == nil && v < now()+31e6 {
				return v
			}
		}
		t.Fatal("the lease is gone")
		return 0
	}
	first := end()
	if left := first - now(); left < 25e6 || left > 30e6 {
		t.Errorf("the lease runs for %d µs, want nearly 30 s", left)
	}
	time.Sleep(2 * time.Millisecond)
	if err := limiter.RenewNow(one); err != nil {
		t.Fatal(err)
	}
	if again := end(); again <= first {
		t.Errorf("renewed, the lease ends at %d, want after %d", again, first)
	}

	r.signal(syscall.SIGSTOP)
	_ = ask(one, "192.0.2.9") // notices, within the timeout
	eventually(t, "the pause is noticed", func() bool { return !one.Stats().Store.Up })
	one.Settle(held, 401)
	r.signal(syscall.SIGCONT)
	eventually(t, "what ended meanwhile is given back", func() bool {
		req, passed := begin(two, "192.0.2.1")
		two.Settle(req, 401) // and charged: two more, and the three are spent
		return passed
	})
	eventually(t, "and charged", func() bool {
		for range 2 {
			req, passed := begin(two, "192.0.2.1")
			if two.Settle(req, 401); !passed {
				return two.Check(from("192.0.2.1")).Limit.Name == "failed"
			}
		}
		return false
	})
}

// TestStoreTroubles stops, pauses, slows and restarts the server while load
// runs. Nothing waits longer than the timeout and what the machine's scheduler
// adds; a client that is within its budget is never refused, and one that is
// far over it never passes unlimited.
func TestStoreTroubles(t *testing.T) {
	r := startRedis(t)
	const rate, burst, timeout = 300, 100, 20 * time.Millisecond
	cfg := config(limiter.Limit{Name: "l", Rate: rate, Burst: burst})
	cfg.Store = limiter.Store{URL: r.url(), Timeout: timeout, Failure: limiter.FailLocal}
	logged, logs := observer.New(zap.InfoLevel)
	var gateways []*limiter.Limiter
	for range 2 {
		l, err := limiter.New(cfg, nil, zap.New(logged))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		gateways = append(gateways, l)
	}
	up := func(want bool) func() bool {
		return func() bool { return gateways[0].Stats().Store.Up == want && gateways[1].Stats().Store.Up == want }
	}
	eventually(t, "both stores answer", up(true))

	var passed, refusedByAccident, worst atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	timed := func(l *limiter.Limiter, client string) bool {
		began := time.Now()
		ok := ask(l, client)
		if took := int64(time.Since(began)); took > worst.Load() {
			worst.Store(took)
		}
		return ok
	}
	for i := range 4 {
		wg.Go(func() { // far over its budget
			for {
				select {
				case <-stop:
					return
				default:
				}
				if timed(gateways[i%2], "192.0.2.1") {
					passed.Add(1)
				} else {
					time.Sleep(500 * time.Microsecond)
				}
			}
		})
	}
	wg.Go(func() { // well within it
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			case <-time.After(10 * time.Millisecond):
			}
			if !timed(gateways[n%2], "192.0.2.2") {
				refusedByAccident.Add(1)
			}
		}
	})
	start := time.Now()
	pause := func(d time.Duration) { time.Sleep(d) }
	pause(300 * time.Millisecond)
	for _, trouble := range []struct {
		name       string
		begin, end func()
	}{
		{"paused", func() { r.signal(syscall.SIGSTOP) }, func() { r.signal(syscall.SIGCONT) }},
		{"stopped", r.stop, r.start},
		{"slowed", func() { r.cli("client", "pause", "600", "all") }, func() { pause(600 * time.Millisecond) }},
		{"restarted", func() { r.stop(); r.start() }, func() {}},
	} {
		before := gateways[0].Stats().Store.Changes
		trouble.begin()
		eventually(t, trouble.name+": both notice", func() bool {
			return gateways[0].Stats().Store.Changes > before && gateways[1].Stats().Store.Failed > 0
		})
		pause(200 * time.Millisecond)
		trouble.end()
		eventually(t, trouble.name+": both are back", up(true))
		pause(200 * time.Millisecond)
	}
	close(stop)
	wg.Wait()
	took := time.Since(start).Seconds()

	if n := refusedByAccident.Load(); n > 0 {
		t.Errorf("%d requests of a client within its budget were refused", n)
	}
	// Each gateway alone never lets more through than one budget, and together
	// they always let through one.
	if got, most, least := float64(passed.Load()), 2*(rate*took+burst), 0.9*rate*took; got > most || got < least {
		t.Errorf("%.0f requests passed in %.1f s, want %.0f to %.0f", got, took, least, most)
	}
	if w := time.Duration(worst.Load()); w > timeout+500*time.Millisecond {
		t.Errorf("a decision took %v, with a timeout of %v", w, timeout)
	}
	changes := gateways[0].Stats().Store.Changes + gateways[1].Stats().Store.Changes
	if n := uint64(logs.Len()); n != changes {
		t.Errorf("%d lines were logged about %d changes of state", n, changes)
	}
	t.Logf("%d passed in %.1f s, the longest decision took %v, %d changes", passed.Load(), took, time.Duration(worst.Load()), changes)
}

func (r *redisServer) cli(args ...string) string {
	r.t.Helper()
	out, err := exec.Command("redis-cli", append([]string{"-p", fmt.Sprint(r.port)}, args...)...).CombinedOutput()
	if err != nil {
		r.t.Fatalf("redis-cli %v: %v %s", args, err, out)
	}
	return string(out)
}

// TestFailures says what each limit does while nobody answers.
func TestFailures(t *testing.T) {
	for _, tc := range []struct {
		rule    string
		store   limiter.Failure
		limit   limiter.Failure
		passed  int // of 5, with a budget of 2
		reason  gate.Reason
		watched bool
	}{
		{"local goes on alone", limiter.FailLocal, "", 2, gate.LimitOverBudget, false},
		{"open does not apply", limiter.FailOpen, "", 5, "", false},
		{"closed refuses", limiter.FailClosed, "", 0, gate.LimitStoreDown, false},
		{"a limit may differ from the store", limiter.FailClosed, limiter.FailLocal, 2, gate.LimitOverBudget, false},
		{"what observes refuses nothing", limiter.FailClosed, "", 5, gate.LimitOverBudget, true},
	} {
		lim := limiter.Limit{Name: "l", Rate: 0.001, Burst: 2, Failure: tc.limit}
		if tc.watched {
			lim.Mode = gate.Watch
		}
		cfg := config(lim)
		cfg.Store = limiter.Store{URL: fmt.Sprintf("redis://127.0.0.1:%d/0", freePort(t)), Failure: tc.store}
		l := open(t, cfg, nil)
		passed := 0
		var last gate.Verdict
		for range 5 {
			if last = l.Check(from("192.0.2.1")); last.Passed() {
				passed++
			}
		}
		if passed != tc.passed || last.Reason != tc.reason {
			t.Errorf("%s: %d of 5 passed, the last with %q, want %d and %q", tc.rule, passed, last.Reason, tc.passed, tc.reason)
		}
		if last.Reason == gate.LimitStoreDown && (last.Status != 503 || last.RetryAfter <= 0) {
			t.Errorf("%s: answered %d, retry after %v", tc.rule, last.Status, last.RetryAfter)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestStoreAccess speaks TLS, as an ACL user with a password from a file that
// may touch our keys only.
func TestStoreAccess(t *testing.T) {
	dir := t.TempDir()
	cert, key := testkit.CertificatePEM(t, time.Now().Add(time.Hour), "localhost")
	write := func(name string, text []byte) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	certFile, keyFile := write("cert.pem", cert), write("key.pem", key)
	r := startRedis(t, "--tls-port", fmt.Sprint(freePort(t)), "--tls-cert-file", certFile, "--tls-key-file", keyFile, "--tls-auth-clients", "no",
		"--user", "default", "off",
		"--user", "gateway", "on", ">hunter2", "~sallyport:*", "+eval", "+evalsha", "+script|load", "+ping", "+select", "+time", "+get", "+set", "+zadd", "+zrem", "+zcount", "+zremrangebyscore", "+pexpire")
	cfg := config(
		limiter.Limit{Name: "l", Rate: 0.001, Burst: 2},
		limiter.Limit{Name: "flying", Concurrent: 5},
		limiter.Limit{Name: "failed", Rate: 0.001, Burst: 5, OnStatus: []limiter.StatusRange{{From: 401, To: 401}}},
	)
	cfg.Store = patient(r)
	cfg.Store.URL = fmt.Sprintf("rediss://gateway@localhost:%s/0", r.args[1])
	cfg.Store.CA, cfg.Store.PasswordFile = certFile, write("password", []byte("hunter2\n"))
	one, two := connected(t, cfg), connected(t, cfg)
	for i, l := range []*limiter.Limiter{one, two, one, two} {
		req := from("192.0.2.1")
		if got := l.Check(req).Passed(); got != (i < 2) {
			t.Errorf("request %d passed: %t", i+1, got)
		}
		l.Settle(req, 401)
	}
	if s := one.Stats().Store; s.Failed > 0 {
		t.Errorf("%+v", s)
	}

	cfg.Store.PasswordFile = write("wrong", []byte("hunter3\n"))
	l := open(t, cfg, nil)
	defer l.Close()
	eventually(t, "a wrong password shows", func() bool { return strings.Contains(l.Stats().Store.Problem, "WRONGPASS") })
	if l.Stats().Store.Up || !ask(l, "192.0.2.9") {
		t.Error("without access, the limiter should go on alone")
	}
	cfg.Store.CA = write("other.pem", []byte("no certificate"))
	if _, err := limiter.New(cfg, nil, zap.NewNop()); err == nil {
		t.Error("a CA file without a certificate was accepted")
	}
}

// TestStoreOutlivesReload keeps one connection while the store's part of the
// configuration stays, and what requests hold of it.
func TestStoreOutlivesReload(t *testing.T) {
	r := startRedis(t)
	cfg := config(limiter.Limit{Name: "flying", Concurrent: 1})
	cfg.Store = patient(r)
	first := open(t, cfg, nil)
	eventually(t, "the store answers", func() bool { return first.Stats().Store.Up })
	held := from("192.0.2.1")
	if !first.Check(held).Passed() {
		t.Fatal("the first request was refused")
	}
	second := open(t, cfg, first)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if !second.Stats().Store.Up {
		t.Error("the store was opened anew")
	}
	other := connected(t, cfg)
	if ask(second, "192.0.2.1") || ask(other, "192.0.2.1") {
		t.Error("a request in flight was forgotten")
	}
	first.Settle(held, 200)
	eventually(t, "it is given back", func() bool {
		req := from("192.0.2.1")
		defer other.Settle(req, 200)
		return other.Check(req).Passed()
	})
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	second.Settle(from("192.0.2.1"), 200)
	if !second.Check(&gate.Request{Client: netip.MustParseAddr("192.0.2.5")}).Passed() {
		t.Error("a closed limiter refuses")
	}
}

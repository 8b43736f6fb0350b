package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
)

func testPool(t testing.TB, set func(*PoolConfig), weights ...int) *pool {
	t.Helper()
	cfg := PoolConfig{Name: "app", Retry: RetryConfig{Attempts: 2, Budget: 0.2}}
	for i, w := range weights {
		name := string(rune('a' + i))
		cfg.Backends = append(cfg.Backends, BackendConfig{Name: name, URL: &url.URL{Scheme: "http", Host: name + ".internal:8080"}, Weight: w})
	}
	if set != nil {
		set(&cfg)
	}
	p, err := newPool(cfg, []byte("a secret of thirty-two bytes or so"), zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range p.backends {
		b.dns = nil // nobody is asked for its address
	}
	return p
}

// pick is a request that is over at once.
func (p *pool) pick(tried []*backend) *backend {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	a := &ask{tried: tried, errand: safe}
	b, _ := p.find(a, now)
	if b != nil {
		p.unfind(b, a, now)
	}
	return b
}

// try is a request that is over at once but for what it says of the backend,
// and tells whether it is on trial with it.
func (p *pool) try(tried []*backend, c errand) (*backend, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	a := &ask{tried: tried, errand: c}
	b, _ := p.find(a, now)
	if b != nil {
		p.leave(b, now)
	}
	return b, a.trial
}

// picks returns the names of the next n picks.
func picks(p *pool, n int) string {
	var b strings.Builder
	for range n {
		if got := p.pick(nil); got != nil {
			b.WriteString(got.name)
		} else {
			b.WriteByte('-')
		}
	}
	return b.String()
}

func TestSmoothWeights(t *testing.T) {
	p := testPool(t, nil, 2, 1, 1)
	all := picks(p, 400)
	for i := 0; i+4 <= len(all); i++ {
		run := all[i : i+4]
		if strings.Count(run, "a") != 2 || strings.Count(run, "b") != 1 || strings.Count(run, "c") != 1 {
			t.Fatalf("picks %d to %d are %s, want 2:1:1", i, i+3, run)
		}
	}
	if strings.Contains(all, "aaa") {
		t.Error("the picks of the heavy backend are not spread out")
	}
}

func TestPickLeavesOutTheTried(t *testing.T) {
	p := testPool(t, nil, 1, 1)
	first := p.pick(nil)
	second := p.pick([]*backend{first})
	if second == nil || second == first {
		t.Fatalf("second pick %v after %v", second, first)
	}
	if third := p.pick([]*backend{first, second}); third != nil {
		t.Errorf("third pick %s, want none", third.name)
	}
}

func TestEjection(t *testing.T) {
	eject := func(atMost float64) func(*PoolConfig) {
		return func(c *PoolConfig) {
			c.Eject = EjectConfig{Errors: 3, Within: 10 * time.Second, For: 30 * time.Second, AtMost: atMost}
		}
	}
	synctest.Test(t, func(t *testing.T) {
		p := testPool(t, eject(0.5), 2, 1, 1)
		a, b := p.backends[0], p.backends[1]
		p.failed(a)
		p.failed(a)
		time.Sleep(10*time.Second + time.Millisecond)
		p.failed(a)
		if got := a.state(); got != "up" {
			t.Fatalf("two errors that are too old count: %s", got)
		}
		p.failed(a)
		p.failed(a)
		if got := p.status(time.Now()).Backends[0]; got.State != "ejected" || got.Failures != 5 {
			t.Fatalf("after three errors within the time: %+v", got)
		}
		if got := picks(p, 4); got != "bcbc" {
			t.Errorf("picks without a: %s", got)
		}
		for range 5 {
			p.failed(b)
		}
		if got := b.state(); got != "up" {
			t.Errorf("a second of three is %s, want up: only half of them may be out", got)
		}
		time.Sleep(30*time.Second - time.Millisecond)
		if got := picks(p, 2); strings.Contains(got, "a") {
			t.Errorf("a is back too early: %s", got)
		}
		time.Sleep(time.Millisecond)
		if got, trial := p.try([]*backend{b, p.backends[2]}, safe); got != a || !trial {
			t.Fatalf("after its time: %v, on trial %v, want a on trial", got, trial)
		}
		if got := picks(p, 4); strings.Contains(got, "a") {
			t.Errorf("a is on trial with more than one request: %s", got)
		}
		p.decide(a, true)
		if got := picks(p, 4); strings.Count(got, "a") != 2 {
			t.Errorf("a is not back by its weight: %s", got)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		p := testPool(t, eject(0.5), 1)
		for range 9 {
			p.failed(p.backends[0])
		}
		if got := picks(p, 3); got != "aaa" {
			t.Errorf("a single backend was ejected: %s", got)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		p := testPool(t, eject(0.7), 1, 1, 1, 1, 1, 1, 1, 1, 1, 1)
		for _, b := range p.backends {
			for range 3 {
				p.failed(b)
			}
		}
		out := 0
		for _, b := range p.status(time.Now()).Backends {
			if b.State == "ejected" {
				out++
			}
		}
		if out != 7 {
			t.Errorf("%d of ten are out, want seven", out)
		}
	})
	p := testPool(t, func(c *PoolConfig) { c.Eject = EjectConfig{AtMost: 1} }, 1, 1)
	for range 100 {
		p.failed(p.backends[0])
	}
	if got := picks(p, 2); got != "ab" {
		t.Errorf("errors: 0 ejects: %s", got)
	}
}

// asked is a transport that answers health checks by host.
type asked struct {
	mu     sync.Mutex
	answer map[string]func(*http.Request) (*http.Response, error)
	times  map[string][]time.Time
}

func (a *asked) RoundTrip(r *http.Request) (*http.Response, error) {
	a.mu.Lock()
	a.times[r.URL.Host] = append(a.times[r.URL.Host], time.Now())
	answer := a.answer[r.URL.Host]
	a.mu.Unlock()
	return answer(r)
}

func (a *asked) set(host string, answer func(*http.Request) (*http.Response, error)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answer[host] = answer
}

// asks returns when the host was asked so far. A check that hangs may write
// at any time, so nobody reads the times without the lock.
func (a *asked) asks(host string) []time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.times[host])
}

func status(code int) func(*http.Request) (*http.Response, error) {
	return func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: code, Body: io.NopCloser(strings.NewReader("x"))}, nil
	}
}

func TestHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := testPool(t, func(c *PoolConfig) {
			c.Health = HealthConfig{Path: "/healthz?x=1", Interval: 5 * time.Second, Timeout: 2 * time.Second,
				Healthy: 2, Unhealthy: 3, Status: []StatusRange{{200, 204}, {301, 301}}}
		}, 1, 1)
		tr := &asked{answer: map[string]func(*http.Request) (*http.Response, error){}, times: map[string][]time.Time{}}
		p.transport = tr
		const a, b = "a.internal:8080", "b.internal:8080"
		tr.set(a, func(r *http.Request) (*http.Response, error) {
			if r.URL.Path != "/healthz" || r.URL.RawQuery != "x=1" || r.Method != "GET" {
				t.Errorf("asked for %s %s", r.Method, r.URL)
			}
			return status(204)(r)
		})
		tr.set(b, status(500))
		p.start()
		defer p.close()
		synctest.Wait()
		if got := picks(p, 2); got != "ab" {
			t.Errorf("picks before the third bad answer: %s", got)
		}
		time.Sleep(11 * time.Second)
		if got := picks(p, 4); got != "aaaa" {
			t.Errorf("picks after three bad answers: %s", got)
		}
		if got := p.status(time.Now()).Backends[1].State; got != "down" {
			t.Errorf("state %s, want down", got)
		}
		tr.set(b, status(301))
		time.Sleep(5500 * time.Millisecond)
		if got := picks(p, 4); got != "aaaa" {
			t.Errorf("picks after one good answer: %s", got)
		}
		time.Sleep(5500 * time.Millisecond)
		if got := picks(p, 4); got != "abab" {
			t.Errorf("picks after two good answers: %s", got)
		}
		// One that hangs and one that cannot be reached are bad answers too,
		// and a good one in between starts the count anew.
		tr.set(a, func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, context.Cause(r.Context())
		})
		refused := func(*http.Request) (*http.Response, error) { return nil, errors.New("refused") }
		for _, answer := range []func(*http.Request) (*http.Response, error){refused, status(200), refused, status(200)} {
			tr.set(b, answer) // for one or two checks each
			time.Sleep(6 * time.Second)
		}
		if got := picks(p, 2); got != "bb" {
			t.Errorf("picks while one hangs and the other comes and goes: %s", got)
		}
		tr.set(b, refused)
		time.Sleep(17 * time.Second)
		if got := picks(p, 2); got != "--" {
			t.Errorf("picks with nobody left: %s", got)
		}
		spread := map[time.Duration]bool{}
		times := tr.asks(b)
		for i, at := range times[1:] {
			gap := at.Sub(times[i])
			if gap < 4500*time.Millisecond || gap > 5500*time.Millisecond {
				t.Errorf("asked again after %v", gap)
			}
			spread[gap] = true
		}
		if len(spread) < 2 {
			t.Error("the intervals do not vary")
		}
	})
}

func TestProbeThatSwitchesProtocols(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := testPool(t, func(c *PoolConfig) {
			c.Health = HealthConfig{Path: "/", Interval: time.Second, Timeout: time.Second, Status: []StatusRange{{100, 399}}}
		}, 1)
		endless, w := io.Pipe()
		defer w.Close()
		p.transport = &asked{times: map[string][]time.Time{}, answer: map[string]func(*http.Request) (*http.Response, error){
			"a.internal:8080": func(*http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: 101, Body: endless}, nil
			},
		}}
		if err := p.probe(t.Context(), p.backends[0]); err == nil {
			t.Error("a backend that switches protocols is well")
		}
	})
}

func TestBudget(t *testing.T) {
	b := newBudget(0.25)
	for i := range retryReserve {
		if !b.spend() {
			t.Fatalf("the reserve ends after %d", i)
		}
	}
	if b.spend() {
		t.Fatal("a retry beyond the reserve")
	}
	for range 4 {
		b.earn()
	}
	if !b.spend() || b.spend() {
		t.Error("four requests did not earn exactly one retry")
	}
	for range 10 * retryCeiling {
		b.earn()
	}
	if got := b.left(); got != retryCeiling {
		t.Errorf("saved up %v, want %v", got, retryCeiling)
	}
	none := newBudget(0)
	none.earn()
	if none.spend() {
		t.Error("a budget of nothing allows a retry")
	}
}

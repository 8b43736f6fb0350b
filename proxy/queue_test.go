package proxy

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/internal/gate"
)

// queueing is a pool of two backends with room for one request each.
func queueing(t *testing.T, length int) *pool {
	return testPool(t, func(c *PoolConfig) {
		c.MaxConnections, c.Queue = 1, QueueConfig{Length: length, Wait: 2 * time.Second}
	}, 1, 1)
}

// A claim is a request for a place, made by a goroutine of its own.
type claim struct {
	ask  *ask
	b    *backend
	fail *failure
	took time.Duration
	done chan struct{}
}

func (p *pool) claim(ctx context.Context, a *ask) *claim {
	c := &claim{ask: a, done: make(chan struct{})}
	go func() {
		defer close(c.done)
		began := time.Now()
		c.b, c.fail = p.acquire(ctx, a)
		c.took = time.Since(began)
	}()
	synctest.Wait()
	return c
}

// over reports whether the claim was met or refused.
func (c *claim) over() bool {
	synctest.Wait()
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

func (c *claim) reason() gate.Reason {
	if c.fail == nil {
		return ""
	}
	return c.fail.verdict.Reason
}

func waiting(p *pool) int { return p.status(time.Now()).Queue.Waiting }

func TestQueueIsFair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := queueing(t, 3)
		x, y := p.claim(t.Context(), &ask{}), p.claim(t.Context(), &ask{})
		if !x.over() || !y.over() || x.b == nil || y.b == nil || x.b == y.b {
			t.Fatalf("two requests for two places: %+v %+v", x, y)
		}
		first, second, third := p.claim(t.Context(), &ask{}), p.claim(t.Context(), &ask{}), p.claim(t.Context(), &ask{})
		if first.over() || second.over() || third.over() || waiting(p) != 3 {
			t.Fatalf("%d wait, want 3", waiting(p))
		}
		if one := p.claim(t.Context(), &ask{}); !one.over() || one.reason() != gate.PoolQueueFull || one.fail.verdict.Status != 503 || one.fail.verdict.RetryAfter <= 0 {
			t.Fatalf("one too many: %+v", one.fail)
		}
		time.Sleep(time.Second)
		p.release(y.b)
		if !first.over() || first.b != y.b || first.took != time.Second || second.over() {
			t.Fatalf("the place that became free: %+v", first)
		}
		p.release(x.b)
		if !second.over() || second.b != x.b || third.over() {
			t.Fatal("not the second one's turn")
		}
		time.Sleep(time.Second)
		if !third.over() || third.reason() != gate.PoolQueueTimeout || third.fail.verdict.Status != 503 || third.took != 2*time.Second {
			t.Fatalf("who waits in vain: %+v", third.fail)
		}
		p.release(first.b)
		p.release(second.b)
		if s := p.status(time.Now()); s.Queue.Waiting != 0 || s.Queue.Full != 1 || s.Queue.Timeouts != 1 || s.Backends[0].InFlight != 0 || s.Backends[1].InFlight != 0 {
			t.Errorf("at the end: %+v", s)
		}
	})
}

// TestQueueIsLeft by a client that goes away: at once, and without its place.
func TestQueueIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := queueing(t, 10)
		x, y := p.claim(t.Context(), &ask{}), p.claim(t.Context(), &ask{})
		ctx, leave := context.WithCancel(t.Context())
		gone, next := p.claim(ctx, &ask{}), p.claim(t.Context(), &ask{})
		leave()
		if !gone.over() || gone.reason() != gate.PoolClientGone || waiting(p) != 1 {
			t.Fatalf("a client that is gone: %+v, %d wait", gone.fail, waiting(p))
		}
		p.release(x.b)
		if !next.over() || next.b != x.b {
			t.Fatal("the place went to nobody")
		}
		// A place that is given to a client that leaves at that moment comes back.
		ctx, leave = context.WithCancel(t.Context())
		w := &waiter{pool: p, ask: &ask{}, ready: make(chan struct{})}
		leave()
		p.mu.Lock()
		w.got = next.b
		p.mu.Unlock()
		if b, fail := p.wait(ctx, w); b != nil || fail.verdict.Reason != gate.PoolClientGone {
			t.Fatalf("%v %+v", b, fail)
		}
		p.release(y.b)
		for _, b := range p.status(time.Now()).Backends {
			if b.InFlight != 0 {
				t.Errorf("%s has %d requests, and nobody is there", b.Name, b.InFlight)
			}
		}
	})
}

// TestQueueHears of backends that come back.
func TestQueueHears(t *testing.T) {
	for rule, free := range map[string]func(*pool){
		"health checks": func(p *pool) { p.judge(p.backends[1], nil) },
		"a drain that is over": func(p *pool) {
			p.operate(p.backends[1], func(_ *pool, b *backend, _ time.Time) { b.draining, b.down = false, false })
		},
		"an ejection that is over": func(p *pool) {
			p.mu.Lock()
			p.backends[1].down, p.backends[1].out = false, time.Now().Add(900*time.Millisecond)
			p.mu.Unlock()
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := queueing(t, 10)
			p.health = HealthConfig{Healthy: 1, Unhealthy: 1}
			p.judge(p.backends[1], errNoBackend)
			x := p.claim(t.Context(), &ask{})
			w := p.claim(t.Context(), &ask{})
			if x.b != p.backends[0] || w.over() {
				t.Fatalf("%s: with one backend down: %+v %+v", rule, x, w)
			}
			time.Sleep(time.Second)
			free(p)
			time.Sleep(time.Second)
			if !w.over() || w.b != p.backends[1] {
				t.Errorf("%s: not noticed: %+v", rule, w)
			}
		})
	}
}

// TestQueueOfSticky waits for the client's own backend, and goes elsewhere when
// that takes too long, or when there is no room to wait.
func TestQueueOfSticky(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := queueing(t, 1)
		own, other := p.backends[0], p.backends[1]
		mine := func() *ask { return &ask{own: own} }
		x := p.claim(t.Context(), mine())
		w := p.claim(t.Context(), mine())
		if x.b != own || w.over() {
			t.Fatalf("does not wait for its own: %+v %+v", x, w)
		}
		if pushed := p.claim(t.Context(), mine()); pushed.b != other {
			t.Errorf("with no room to wait: %+v", pushed)
		}
		p.release(other)
		if passing := p.claim(t.Context(), &ask{}); passing.b != other {
			t.Errorf("somebody else waits for a place that is of no use to those in line: %+v", passing)
		}
		p.release(own)
		if !w.over() || w.b != own {
			t.Errorf("its own has room now: %+v", w)
		}
		late := p.claim(t.Context(), mine())
		time.Sleep(time.Second)
		p.release(other)
		if late.over() {
			t.Fatal("it does not wait for its own")
		}
		time.Sleep(time.Second)
		if !late.over() || late.b != other {
			t.Errorf("after the wait: %+v", late)
		}
	})
}

// TestPlacesAreCounted sends many requests at once through two configurations
// that share a roster. No backend ever has more than it may, and nothing is
// left when all are done.
func TestPlacesAreCounted(t *testing.T) {
	const most, clients, each = 3, 40, 100
	fleet := NewFleet()
	built := func(balance string) *pool {
		p := testPool(t, func(c *PoolConfig) {
			c.Balance, c.MaxConnections, c.Queue = balance, most, QueueConfig{Length: clients / 2, Wait: time.Second}
		}, 2, 1, 1)
		fleet.adopt([]*pool{p})
		return p
	}
	first := built(LeastRequests)
	fleet.use([]*pool{first}, nil)
	next := built(Hash)
	var busy [3]atomic.Int64
	var served, refused, gone atomic.Int64
	var all sync.WaitGroup
	for i := range clients {
		p := first
		if i%2 == 0 {
			p = next
		}
		all.Go(func() {
			for j := range each {
				ctx, leave := context.WithCancel(t.Context())
				a := &ask{key: mix(uint64(i*each + j))}
				if j%5 == 0 {
					a.own = p.backends[j%3]
				}
				if j%7 == 0 {
					go leave()
				}
				b, fail := p.acquire(ctx, a)
				switch {
				case b != nil:
					served.Add(1)
					k := slices.Index(p.backends, b)
					if n := busy[k].Add(1); n > most {
						t.Errorf("backend %s has %d requests, want at most %d", b.name, n, most)
					}
					runtime.Gosched()
					busy[k].Add(-1)
					p.release(b)
				case fail.verdict.Reason == gate.PoolClientGone:
					gone.Add(1)
				default:
					refused.Add(1)
				}
				leave()
			}
		})
	}
	all.Wait()
	if served.Load() == 0 || served.Load()+refused.Load()+gone.Load() != clients*each {
		t.Errorf("%d served, %d refused, %d gone of %d", served.Load(), refused.Load(), gone.Load(), clients*each)
	}
	s := next.status(time.Now())
	for _, b := range s.Backends {
		if b.InFlight != 0 {
			t.Errorf("%s has %d requests in the end", b.Name, b.InFlight)
		}
	}
	if s.Queue.Waiting != 0 || s.Queue.Full+s.Queue.Timeouts != uint64(refused.Load()) {
		t.Errorf("in the end %+v, with %d refused", s.Queue, refused.Load())
	}
}

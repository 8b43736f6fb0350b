package proxy

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// hanging is a backend that never answers a health check.
type hanging struct{}

func (hanging) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// TestFleet carries what is known of backends from one configuration to the
// next.
func TestFleet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fleet := NewFleet()
		var told []string
		tell := func(c change) { told = append(told, c.backend+" "+c.state+": "+c.detail) }
		built := func(set func(*PoolConfig), weights ...int) *pool {
			p := testPool(t, func(c *PoolConfig) {
				c.Eject = EjectConfig{Errors: 2, Within: time.Minute, For: time.Hour, AtMost: 0.5}
				c.Health = HealthConfig{Path: "/", Interval: 2 * time.Hour, Timeout: 2 * time.Hour, Healthy: 1, Unhealthy: 1}
				c.MaxConnections, c.SlowStart = 2, time.Hour
				if set != nil {
					set(c)
				}
			}, weights...)
			p.transport = hanging{}
			fleet.adopt([]*pool{p})
			t.Cleanup(p.close)
			return p
		}
		use := func(p *pool) { fleet.use([]*pool{p}, tell) }

		first := built(nil, 1, 1, 1, 1)
		use(first)
		for _, b := range first.status(time.Now()).Backends {
			if b.SlowStart != 0 {
				t.Errorf("at the start nobody can carry the load for %s", b.Name)
			}
		}
		first.failed(first.backends[0])
		first.failed(first.backends[0])
		first.judge(first.backends[1], errNoBackend)
		first.operate(first.backends[2], func(_ *pool, b *backend, _ time.Time) { b.weight, b.draining = 7, true })
		first.answered(first.backends[3], 200, 30*time.Millisecond, time.Now())
		for range 2 {
			if b, _ := first.acquire(t.Context(), &ask{}); b != first.backends[3] {
				t.Fatalf("got %v", b)
			}
		}

		next := built(nil, 1, 1, 1, 1, 1)
		known := next.status(time.Now()).Backends
		if known[0].State != "ejected" || known[1].State != "down" || known[2].Weight != 7 || !known[2].Draining || known[3].Latency != 30 || known[3].InFlight != 2 {
			t.Errorf("the next configuration knows %+v", known)
		}
		if b, _ := next.acquire(t.Context(), &ask{}); b != next.backends[4] {
			t.Errorf("room beyond the bound of both configurations: %v", b)
		}
		next.release(next.backends[4])
		use(next)
		if got := next.status(time.Now()).Backends; got[4].SlowStart != 5 || got[3].SlowStart != 0 || got[1].State != "down" || got[2].Weight != 7 {
			t.Errorf("in use: %+v", got)
		}
		first.release(first.backends[3]) // of a request that began before
		if got := next.status(time.Now()).Backends[3].InFlight; got != 1 {
			t.Errorf("%d requests under way, want 1", got)
		}
		first.release(first.backends[3])

		// The file has another weight for c, a has moved, d and e are gone, and
		// nobody checks b any more.
		last := built(func(c *PoolConfig) {
			c.Health.Path = ""
			c.Backends[0].URL.Host = "elsewhere:80"
		}, 1, 1, 2)
		use(last)
		if got := last.status(time.Now()).Backends; got[0].State != "up" || got[1].State != "up" || got[2].Weight != 2 || !got[2].Draining {
			t.Errorf("after the changes: %+v", got)
		}
		if got := built(nil, 1, 1, 2, 1).status(time.Now()).Backends[3]; got.Latency != 0 {
			t.Errorf("who was gone is still known: %+v", got)
		}
		if got := strings.Join(told, "; "); got != "a ejected: 2 errors within 1m0s, out for 1h0m0s; b down: 1 bad checks, the last one: no backend is up; "+
			"b up: the configuration no longer asks for what took it out; c weight: weight 2 by the configuration, was 7" {
			t.Errorf("told %q", got)
		}
	})
}

// TestFleetChecksOnce asks each backend for its health on behalf of the
// configuration in use only.
func TestFleetChecksOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fleet := NewFleet()
		tr := &asked{times: map[string][]time.Time{}, answer: map[string]func(*http.Request) (*http.Response, error){}}
		tr.set("a.internal:8080", status(200))
		built := func() *pool {
			p := testPool(t, func(c *PoolConfig) {
				c.Health = HealthConfig{Path: "/", Interval: 10 * time.Second, Timeout: time.Second, Healthy: 1, Unhealthy: 1, Status: []StatusRange{{200, 299}}}
			}, 1)
			p.transport = tr
			fleet.adopt([]*pool{p})
			t.Cleanup(p.close)
			return p
		}
		fleet.use([]*pool{built()}, nil)
		built() // never in use
		time.Sleep(time.Second)
		if n := len(tr.asks("a.internal:8080")); n != 1 {
			t.Errorf("asked %d times at first, want once", n)
		}
		fleet.use([]*pool{built()}, nil)
		time.Sleep(100 * time.Second)
		if n := len(tr.asks("a.internal:8080")); n < 10 || n > 13 {
			t.Errorf("asked %d times within 100 s, want about 12 times", n)
		}
	})
}

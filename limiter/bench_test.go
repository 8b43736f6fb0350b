package limiter_test

import (
	"net/netip"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/time/rate"

	"sallyport/internal/gate"
	"sallyport/limiter"
)

// plain is what the limiter is measured against: a map, a mutex, no bound.
type plain struct {
	mu      sync.Mutex
	clients map[netip.Addr]*rate.Limiter
}

func (p *plain) allow(addr netip.Addr) bool {
	p.mu.Lock()
	l := p.clients[addr]
	if l == nil {
		l = rate.NewLimiter(1e9, 1e9)
		p.clients[addr] = l
	}
	p.mu.Unlock()
	return l.Allow()
}

func generous(limits int) limiter.Config {
	cfg := config()
	for i := range limits {
		cfg.Limits = append(cfg.Limits, limiter.Limit{Name: "limit-" + strconv.Itoa(i), Rate: 1e9, Burst: 1e9})
	}
	return cfg
}

func numbered(i uint64) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)})
}

func BenchmarkCheckHit(b *testing.B) {
	for _, bc := range []struct {
		name, client string
		limits       int
	}{
		{"ipv4/1", "192.0.2.1", 1},
		{"ipv4/5", "192.0.2.1", 5},
		{"ipv6/1", "2001:db8::1", 1},
		{"ipv6/5", "2001:db8::1", 5},
	} {
		b.Run(bc.name, func(b *testing.B) {
			l, req := open(b, generous(bc.limits), nil), from(bc.client)
			b.ReportAllocs()
			for b.Loop() {
				l.Check(req)
			}
		})
	}
	b.Run("route/5", func(b *testing.B) { // which names its limits, as every configured one does
		cfg := generous(5)
		l, req := open(b, cfg, nil), request{route: "site"}.build()
		for _, lim := range cfg.Limits {
			req.Route.Limits = append(req.Route.Limits, lim.Name)
		}
		b.ReportAllocs()
		for b.Loop() {
			l.Check(req)
		}
	})
	// Five limits of five kinds: what settling costs is part of it.
	b.Run("kinds", func(b *testing.B) {
		cfg := generous(5)
		cfg.Limits[1] = limiter.Limit{Name: "flying", Concurrent: 1e9}
		cfg.Limits[2].OnStatus = []limiter.StatusRange{{From: 401, To: 403}}
		cfg.Limits[3].Key = limiter.By{Kind: limiter.ByHeader, Name: "X-Api-Key"}
		cfg.Limits[4].Match = limiter.Match{Paths: []string{"/login", "/admin"}, Methods: []string{"POST"}}
		l, req := open(b, cfg, nil), request{path: "/admin/x", method: "POST", fields: header("5f3a9c1e77b2")}.build()
		b.ReportAllocs()
		for b.Loop() {
			l.Check(req)
			l.Settle(req, 200)
		}
	})
	b.Run("plain", func(b *testing.B) {
		p, addr := plain{clients: make(map[netip.Addr]*rate.Limiter)}, netip.MustParseAddr("192.0.2.1")
		b.ReportAllocs()
		for b.Loop() {
			p.allow(addr)
		}
	})
}

// BenchmarkCheckNew gives every request an address that was not seen before;
// once the table is full, each takes the place of an idle one or shares.
func BenchmarkCheckNew(b *testing.B) {
	b.Run("limiter", func(b *testing.B) {
		l, req := open(b, generous(1), nil), new(gate.Request)
		i := uint64(0)
		b.ReportAllocs()
		for b.Loop() {
			req.Client = numbered(i)
			l.Check(req)
			i++
		}
	})
	b.Run("busy", func(b *testing.B) {
		cfg := config(limiter.Limit{Name: "slow", Rate: 0.1, Burst: 10})
		l, req := open(b, cfg, nil), new(gate.Request)
		i := uint64(0)
		b.ReportAllocs()
		for b.Loop() {
			req.Client = numbered(i)
			l.Check(req)
			i++
		}
	})
	b.Run("plain", func(b *testing.B) {
		p := plain{clients: make(map[netip.Addr]*rate.Limiter)}
		i := uint64(0)
		b.ReportAllocs()
		for b.Loop() {
			p.allow(numbered(i))
			i++
		}
	})
}

// BenchmarkCheckParallel has every processor ask for many clients.
func BenchmarkCheckParallel(b *testing.B) {
	const clients = 10_000
	b.Run("limiter", func(b *testing.B) {
		l := open(b, generous(1), nil)
		var seed atomic.Uint64
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			req, i := new(gate.Request), seed.Add(7919)
			for pb.Next() {
				req.Client = numbered(i % clients)
				l.Check(req)
				i++
			}
		})
	})
	b.Run("plain", func(b *testing.B) {
		p := plain{clients: make(map[netip.Addr]*rate.Limiter)}
		var seed atomic.Uint64
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			i := seed.Add(7919)
			for pb.Next() {
				p.allow(numbered(i % clients))
				i++
			}
		})
	})
}

// BenchmarkCheckStore asks a real server on this machine: alone, and with many
// requests at once, which share round trips; and one that is gone.
func BenchmarkCheckStore(b *testing.B) {
	r := startRedis(b)
	for _, limits := range []int{1, 5} {
		cfg := generous(limits)
		cfg.Limits[0].Rate = 1e6 // the store counts in microseconds
		cfg.Store = patient(r)
		l := connected(b, cfg)
		b.Run("alone/"+strconv.Itoa(limits), func(b *testing.B) {
			req := from("192.0.2.1")
			for b.Loop() {
				l.Check(req)
			}
		})
		b.Run("parallel/"+strconv.Itoa(limits), func(b *testing.B) {
			b.SetParallelism(32)
			b.RunParallel(func(pb *testing.PB) {
				req := from("192.0.2.1")
				for pb.Next() {
					l.Check(req)
				}
			})
		})
		if s := l.Stats().Store; s.Failed > 0 {
			b.Errorf("%+v", s)
		}
	}
	b.Run("gone", func(b *testing.B) {
		r := startRedis(b)
		cfg := generous(1)
		cfg.Store = patient(r)
		l := connected(b, cfg)
		r.stop()
		eventually(b, "that the server is gone shows", func() bool {
			ask(l, "192.0.2.1")
			return !l.Stats().Store.Up
		})
		req := from("192.0.2.1")
		for b.Loop() {
			l.Check(req)
		}
	})
}

// BenchmarkMemory reports what 200,000 clients cost.
func BenchmarkMemory(b *testing.B) {
	for _, limits := range []int{1, 5} {
		b.Run(strconv.Itoa(limits), func(b *testing.B) {
			for b.Loop() {
				before := heap()
				l, req := open(b, generous(limits), nil), new(gate.Request)
				for i := range uint64(300_000) {
					req.Client = numbered(i)
					l.Check(req)
				}
				b.ReportMetric(float64(heap()-before)/(1<<20), "MiB")
				if got := l.Stats().Clients; got < 199_000 || got > 200_000 {
					b.Errorf("the table holds %d clients", got)
				}
			}
		})
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

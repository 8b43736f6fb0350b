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

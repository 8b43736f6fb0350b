package proxy

import (
	"testing"
	"testing/synctest"
	"time"
)

func ejecting(set func(*EjectConfig)) func(*PoolConfig) {
	return func(c *PoolConfig) {
		c.Eject = EjectConfig{Errors: 3, Within: 10 * time.Second, For: 30 * time.Second, AtMost: 0.5}
		set(&c.Eject)
	}
}

func TestEjectionByRatio(t *testing.T) {
	ratio := ejecting(func(e *EjectConfig) { e.Errors, e.Ratio, e.MinRequests = 0, 0.5, 20 })
	state := func(p *pool) string { return p.status(time.Now()).Backends[0].State }
	for _, tc := range []struct {
		rule  string
		serve func(p *pool, b *backend)
		want  string
	}{
		{"half of twenty", func(p *pool, b *backend) {
			for i := range 20 {
				p.served(b, 200+i%2*300)
			}
		}, "ejected"},
		{"too few", func(p *pool, b *backend) {
			for range 19 {
				p.served(b, 500)
			}
		}, "up"},
		{"less than half", func(p *pool, b *backend) {
			for i := range 100 {
				status := 200
				if i%5 > 2 {
					status = 503
				}
				p.served(b, status)
			}
		}, "up"},
		{"refusals are answers", func(p *pool, b *backend) {
			for range 100 {
				p.served(b, 429)
			}
		}, "up"},
		{"failures count with them", func(p *pool, b *backend) {
			for range 10 {
				p.served(b, 200)
				p.failed(b)
			}
		}, "ejected"},
		{"what is older does not count", func(p *pool, b *backend) {
			for range 15 {
				p.served(b, 500)
			}
			time.Sleep(11 * time.Second)
			for range 10 {
				p.served(b, 500)
			}
		}, "up"},
		{"what is within the time does", func(p *pool, b *backend) {
			for range 25 {
				time.Sleep(350 * time.Millisecond)
				p.served(b, 500)
			}
		}, "ejected"},
	} {
		t.Run(tc.rule, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := testPool(t, ratio, 1, 1)
				tc.serve(p, p.backends[0])
				if got := state(p); got != tc.want {
					t.Errorf("state %s, want %s", got, tc.want)
				}
			})
		})
	}
	t.Run("a single backend stays", func(t *testing.T) {
		p := testPool(t, ratio, 1)
		for range 100 {
			p.served(p.backends[0], 500)
		}
		if got := state(p); got != "up" {
			t.Errorf("state %s", got)
		}
	})
	t.Run("5xx do not count without a ratio", func(t *testing.T) {
		p := testPool(t, ejecting(func(*EjectConfig) {}), 1, 1)
		for range 100 {
			p.served(p.backends[0], 500)
		}
		if got := state(p); got != "up" {
			t.Errorf("state %s", got)
		}
	})
}

// TestTrials follows a backend through ejections that last longer each time
// until it is well again.
func TestTrials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := testPool(t, ejecting(func(*EjectConfig) {}), 1, 1)
		a, b := p.backends[0], p.backends[1]
		eject := func() {
			for range 3 {
				p.failed(a)
			}
		}
		try := func(c errand) (*backend, bool) { return p.try([]*backend{b}, c) }
		// out reports how long a stays out.
		out := func() time.Duration {
			began := time.Now()
			for range 1000 {
				if got, _ := p.try(nil, safe); got == a {
					return time.Since(began)
				}
				time.Sleep(time.Second)
			}
			return -1
		}
		eject()
		for i, want := range []int{30, 60, 120, 240, 300, 300} {
			if got := out(); got != time.Duration(want)*time.Second {
				t.Fatalf("ejection %d lasts %v, want %d seconds", i, got, want)
			}
			p.decide(a, false)
		}
		if got := out(); got < 0 {
			t.Fatal("never tried again")
		}
		p.undecided(a) // the client went away
		if got, trial := try(safe); got != a || !trial {
			t.Errorf("after a trial that decided nothing: %v, %v", got, trial)
		}
		p.decide(a, true)
		if got := p.status(time.Now()).Backends[0].State; got != "up" {
			t.Errorf("state %s after a good trial", got)
		}
		time.Sleep(time.Minute)
		eject()
		if got := out(); got != 300*time.Second {
			t.Errorf("an ejection soon after the last one lasts %v", got)
		}
		p.decide(a, true)
		time.Sleep(301 * time.Second)
		eject()
		if got := out(); got != 30*time.Second {
			t.Errorf("an ejection long after the last one lasts %v", got)
		}
	})
}

func TestWhoTriesABackend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := testPool(t, ejecting(func(*EjectConfig) {}), 1, 1)
		a, b := p.backends[0], p.backends[1]
		for range 3 {
			p.failed(a)
		}
		time.Sleep(30 * time.Second)
		for range 4 {
			if got, _ := p.try(nil, unsafe); got != b {
				t.Error("a request that could not be sent again tries the backend")
			}
		}
		time.Sleep(30 * time.Second)
		if got, trial := p.try([]*backend{b}, unsafe); got != a || !trial {
			t.Errorf("where no other kind comes, it is tried by one that could not: %v, %v", got, trial)
		}
		b.down = true
		if got, trial := p.try(nil, safe); got != a || trial {
			t.Errorf("with nobody else left: %v, on trial %v", got, trial)
		}
		p.decide(a, false)
		if got, trial := p.try(nil, safe); got != a || trial {
			t.Errorf("before its time is over, with nobody else left: %v, on trial %v", got, trial)
		}
		b.down = false
		if got, _ := p.try(nil, safe); got != b {
			t.Error("a backend is asked before its time is over, though there is another one")
		}
		if got := p.status(time.Now()).Backends[0].State; got != "ejected" {
			t.Errorf("state %s", got)
		}
	})
}

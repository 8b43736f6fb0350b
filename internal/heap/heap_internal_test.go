package heap

import (
	"context"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"
)

// second is what a second of two processors counts, of which the collector
// takes a share in so many cycles, with so much garbage each.
func second(share, cycles, garbage float64) usage {
	return usage{gc: 2 * share, seconds: 1, cycles: cycles, allocated: cycles * garbage}
}

func TestPercent(t *testing.T) {
	for _, tc := range []struct {
		rule        string
		live, roots float64
		seconds     []usage
		want        int
	}{
		{"nothing is known", 0, 0, nil, 100},
		{"little lives: the slack is there all the same", Slack / 2, 0, nil, 200},
		{"next to nothing lives", Slack / 100, 0, nil, 400},
		{"and collecting is dear", Slack / 2, 0, repeat(second(0.2, 8, Slack), 9), 200},
		{"as much as the slack", Slack, 0, nil, 100},
		{"twice as much", 2 * Slack, 0, nil, 50},
		{"as much, and stacks", Slack, Slack, nil, 50},
		{"much lives", 6 * Slack, 0, nil, 16},
		{"never less", 60 * Slack, 0, nil, 15},
		{"collecting is cheap", 4 * Slack, 0, repeat(second(0.01, 8, Slack), 9), 25},
		{"collecting is dear, and half as often would not be", 4 * Slack, 0, repeat(second(2*dear, 8, Slack), 9), 50},
		{"which holds when it is half as often", 4 * Slack, 0, append(repeat(second(2*dear, 8, Slack), 9), repeat(second(dear, 4, 2*Slack), 9)...), 50},
		{"however dear, no more than lives", 4 * Slack, 0, repeat(second(0.5, 8, Slack), 9), 100},
		{"a dear second is not the rule", 4 * Slack, 0, append(repeat(second(0.01, 1, Slack), 60), second(0.08, 1, Slack)), 25},
		{"it was dear, and is over", 4 * Slack, 0, append(repeat(second(0.2, 8, Slack), 60), repeat(second(0.01, 1, Slack), 60)...), 25},
	} {
		g := governor{}
		now := usage{live: tc.live, roots: tc.roots, processors: 2}
		got := g.percent(now)
		for _, s := range tc.seconds {
			s = s.plus(now)
			s.live, s.roots, s.processors = now.live, now.roots, now.processors
			now = s
			got = g.percent(now)
			if again := g.percent(now); again != got {
				t.Errorf("%s: %d %%, and %d when nothing was collected since", tc.rule, got, again)
			}
		}
		if got != tc.want {
			t.Errorf("%s: %d %%, want %d", tc.rule, got, tc.want)
		}
	}
}

func repeat(s usage, n int) []usage {
	list := make([]usage, n)
	for i := range list {
		list[i] = s
	}
	return list
}

func TestMeasure(t *testing.T) {
	runtime.GC()
	if u := measure(); u.live <= 0 || u.roots <= 0 || u.processors <= 0 || u.seconds <= 0 || u.gc <= 0 || u.allocated <= 0 || u.cycles <= 0 {
		t.Errorf("the runtime tells %+v", u)
	}
}

// It acts after a collection, and what it has set is set back.
func TestGovern(t *testing.T) {
	t.Setenv("GOGC", "")
	ballast := make([]byte, 200<<20)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); Govern(ctx) }()
	during := standard
	for end := time.Now().Add(10 * time.Second); during == standard && time.Now().Before(end); time.Sleep(interval / 100) {
		runtime.GC()
		s := []metrics.Sample{{Name: "/gc/gogc:percent"}}
		metrics.Read(s)
		during = int(s[0].Value.Uint64())
	}
	stop()
	<-done
	after := debug.SetGCPercent(100)
	if during >= standard || during < least || after != standard {
		t.Errorf("%d %% while 200 MiB live, %d %% after it; want less than %d, and %d", during, after, standard, standard)
	}
	runtime.KeepAlive(ballast)
}

// The bell rings after each collection, and no more when it is over.
func TestAnnounce(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	c := make(chan struct{}, 1)
	announce(ctx, c)
	for i := range 3 {
		runtime.GC()
		select {
		case <-c:
		case <-time.After(10 * time.Second):
			t.Fatalf("collection %d was not announced", i+1)
		}
	}
	stop()
	runtime.GC() // a bell that rang is rung once more, or not at all
	select {
	case <-c:
	case <-time.After(interval / 10):
	}
	runtime.GC()
	select {
	case <-c:
		t.Error("a collection was announced after the end")
	case <-time.After(interval / 10):
	}
}

func TestTheOperatorDecides(t *testing.T) {
	t.Setenv("GOGC", "200")
	Govern(t.Context()) // returns
}

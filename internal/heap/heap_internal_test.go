package heap

import (
	"context"
	"runtime"
	"runtime/debug"
	"testing"
	"testing/synctest"
	"time"
)

func TestPercent(t *testing.T) {
	for _, tc := range []struct {
		rule   string
		live   uint64
		shares []float64
		want   int
	}{
		{"nothing is known", 0, []float64{0}, 100},
		{"little lives: the slack is there all the same", Slack / 2, []float64{0}, 200},
		{"next to nothing lives", Slack / 100, []float64{0}, 400},
		{"and collecting is dear", Slack / 2, []float64{0.2, 0.2}, 200},
		{"as much as the slack", Slack, []float64{0}, 100},
		{"twice as much", 2 * Slack, []float64{0}, 50},
		{"much lives", 6 * Slack, []float64{0}, 16},
		{"never less", 60 * Slack, []float64{0}, 15},
		{"collecting is dear", 4 * Slack, []float64{0.2}, 50},
		{"and stays so", 4 * Slack, []float64{0.2, 0.2}, 100},
		{"it is neither dear nor cheap", 4 * Slack, []float64{0.2, 0.03, 0.03}, 50},
		{"it is cheap again for a while", 4 * Slack, []float64{0.2, 0, 0, 0, 0, 0, 0, 0}, 25},
		{"from however wide", 128 * Slack, append(repeat(0.2, 100), repeat(0, 50)...), 15},
	} {
		g := governor{factor: 1}
		got := 0
		for _, share := range tc.shares {
			got = g.percent(tc.live, share)
		}
		if got != tc.want {
			t.Errorf("%s: %d %%, want %d", tc.rule, got, tc.want)
		}
	}
}

func repeat(share float64, n int) []float64 {
	list := make([]float64, n)
	for i := range list {
		list[i] = share
	}
	return list
}

func TestShare(t *testing.T) {
	for _, tc := range []struct {
		now, before usage
		want        float64
	}{
		{usage{gc: 1, total: 10}, usage{}, 0.1},
		{usage{gc: 2, total: 20}, usage{gc: 1, total: 10}, 0.1},
		{usage{gc: 1, total: 10}, usage{gc: 1, total: 10}, 0}, // no collection
	} {
		if got := tc.now.share(tc.before); got != tc.want {
			t.Errorf("%+v after %+v: %v, want %v", tc.now, tc.before, got, tc.want)
		}
	}
}

func TestMeasure(t *testing.T) {
	runtime.GC()
	if u := measure(); u.live == 0 || u.total <= 0 || u.gc <= 0 {
		t.Errorf("the runtime tells %+v", u)
	}
}

// What it has set is set back.
func TestGovern(t *testing.T) {
	t.Setenv("GOGC", "")
	synctest.Test(t, func(t *testing.T) {
		ballast := make([]byte, 200<<20)
		runtime.GC()
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); Govern(ctx) }()
		time.Sleep(interval + time.Millisecond)
		synctest.Wait()
		during := debug.SetGCPercent(77)
		debug.SetGCPercent(during)
		stop()
		<-done
		after := debug.SetGCPercent(100)
		if during >= standard || during < least || after != standard {
			t.Errorf("%d %% while 200 MiB live, %d %% after it; want less than %d, and %d", during, after, standard, standard)
		}
		runtime.KeepAlive(ballast)
	})
}

func TestTheOperatorDecides(t *testing.T) {
	t.Setenv("GOGC", "200")
	Govern(t.Context()) // returns
}

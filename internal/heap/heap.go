// Package heap decides how much the garbage collector leaves lying about. Go's
// default is as much as lives, so that ten thousand slow clients take twice what
// they hold, and a gateway that holds nearly nothing is forever collecting. Here
// it is the same amount, whatever lives, for as long as collecting so often is
// cheap. Where a control group bounds the process, the collector keeps it below
// that.
package heap

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// Slack is how much garbage may lie about, in bytes.
	Slack = 32 << 20
	// least and most bound it in percent of what lives, and standard is the
	// default of Go (GOGC), which is also the most while collecting is dear.
	least, standard, most = 15, 100, 400
	// interval is how often is looked.
	interval = time.Second
	// Below cheap, the collector's share of the processors is no reason to
	// spare it; above dear it is.
	cheap, dear = 0.02, 0.05
	// widest is how many times Slack may lie about when collecting is dear.
	widest = 64
)

// tenths of what a control group grants are Go's. The rest is for the program
// itself, and for what the system keeps for it.
const tenths = 9

// Bound has the collector work harder when the process comes near to what its
// control group grants: a container, or MemoryMax of systemd. It returns the
// limit, 0 where there is none, or where GOMEMLIMIT is set in the environment:
// the operator has decided.
func Bound() int64 {
	if os.Getenv("GOMEMLIMIT") != "" {
		return 0
	}
	limit := granted() / 10 * tenths
	if limit > 0 {
		debug.SetMemoryLimit(limit)
	}
	return limit
}

// A governor decides from what it is told once an interval.
type governor struct{ factor float64 } // of Slack, 1 to widest

// percent is what GOGC should be when live bytes live and the collector has
// taken a share of the processors since the last time.
func (g *governor) percent(live uint64, share float64) int {
	switch {
	case share > dear:
		g.factor = min(2*g.factor, widest)
	case share < cheap:
		g.factor = max(0.9*g.factor, 1)
	}
	if live == 0 {
		return standard
	}
	percent := 100 * Slack / float64(live)
	return int(max(least, min(most, max(percent, min(standard, g.factor*percent)))))
}

// Govern sets the garbage collector's target until ctx ends, and then sets it
// back. It does nothing when GOGC is set in the environment: the operator has
// decided. A process calls it once.
func Govern(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	defer debug.SetGCPercent(standard)
	tick := time.NewTicker(interval)
	defer tick.Stop()
	g := governor{factor: 1}
	var last usage
	now := standard
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		u := measure()
		next := g.percent(u.live, u.share(last))
		if last = u; next != now {
			debug.SetGCPercent(next)
			now = next
		}
	}
}

// A usage is what the runtime has counted so far.
type usage struct {
	live      uint64  // bytes, at the end of the last collection
	gc, total float64 // processor seconds of the collector, and that there were
}

func measure() usage {
	s := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/cpu/classes/gc/total:cpu-seconds"}, {Name: "/cpu/classes/total:cpu-seconds"}}
	metrics.Read(s)
	var u usage
	if s[0].Value.Kind() == metrics.KindUint64 {
		u.live = s[0].Value.Uint64()
	}
	if s[1].Value.Kind() == metrics.KindFloat64 && s[2].Value.Kind() == metrics.KindFloat64 {
		u.gc, u.total = s[1].Value.Float64(), s[2].Value.Float64()
	}
	return u
}

// share is the collector's share of the processors since an earlier usage. The
// runtime counts when a collection ends; without one there was none.
func (u usage) share(before usage) float64 {
	if u.total <= before.total {
		return 0
	}
	return (u.gc - before.gc) / (u.total - before.total)
}

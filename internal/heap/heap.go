// Package heap decides how much the garbage collector leaves lying about. Go's
// default is as much as lives, so that ten thousand slow clients take twice what
// they hold, and a gateway that holds nearly nothing is forever collecting. Here
// it is the same amount, whatever lives, and more only as far as collecting so
// often would be dear. Where a control group bounds the process, the collector keeps it below
// that.
package heap

import (
	"context"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"sallyport/internal/cores"
)

const (
	// Slack is how much garbage may lie about, in bytes, where that is enough.
	Slack = 20 << 20
	// least and most bound it in percent of what is looked at to find it, and
	// standard is the default of Go (GOGC), which is also the most where
	// Slack is not enough.
	least, standard, most = 15, 100, 400
	// dear is what the collector may take of the processors before more than
	// Slack may lie about.
	dear = 0.04
	// span is over how long is averaged what collecting takes.
	span = 10 * time.Second
	// interval is how often is looked, at least.
	interval = time.Second
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

// A governor decides from what it is told.
type governor struct {
	last usage
	// What was counted lately: what is longer ago counts for less.
	spent usage
}

// percent is what GOGC should be: Slack may lie about, or as much as it takes
// for collecting not to be dear. How much that is follows from what it has taken
// with what there was: half as often is half as dear.
func (g *governor) percent(now usage) int {
	if since := now.less(g.last); since.seconds > 0 {
		g.last = now
		g.spent = since.plus(g.spent.times(math.Exp(-since.seconds / span.Seconds())))
	}
	if now.live == 0 {
		return standard
	}
	of := now.live + now.roots
	percent := 100 * Slack / of
	if g.spent.cycles > 0 && g.spent.seconds > 0 {
		garbage := g.spent.allocated / g.spent.cycles // each time
		needed := garbage * g.spent.gc / (g.spent.seconds * now.processors) / dear
		percent = max(percent, min(standard, 100*needed/of))
	}
	return int(max(least, min(most, percent)))
}

// Govern sets the garbage collector's target until ctx ends, and then sets it
// back. It does nothing when GOGC is set in the environment: the operator has
// decided. A process calls it once.
//
// It looks after each collection, so that what lives for a moment, as a large
// body does, has not as much lie about beside it.
func Govern(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	defer debug.SetGCPercent(standard)
	tick := time.NewTicker(interval)
	defer tick.Stop()
	collected := make(chan struct{}, 1)
	announce(ctx, collected)
	g := governor{last: measure()}
	now := standard
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-collected:
		}
		next := g.percent(measure())
		if near := now / 16; next < now-near || next > now+near { // to set it stops the world for a moment
			debug.SetGCPercent(next)
			now = next
		}
	}
}

// A bell is garbage that rings when it is collected. Without a pointer it would
// share its memory with other small objects, and ring when the last is garbage.
type bell struct{ _ *bell }

// announce sends to c after each collection, until ctx ends, where there is room.
func announce(ctx context.Context, c chan<- struct{}) {
	var ring func(*bell)
	ring = func(b *bell) {
		if ctx.Err() != nil {
			return
		}
		select {
		case c <- struct{}{}:
		default:
		}
		runtime.SetFinalizer(b, ring)
	}
	runtime.SetFinalizer(&bell{}, ring)
}

// A usage is what the runtime has counted so far. But for what lives it counts
// when a collection ends.
type usage struct {
	live, roots float64 // bytes, at the end of the last collection; roots are what else it looks at
	processors  float64

	seconds   float64
	gc        float64 // processor seconds that the collector took from others
	allocated float64 // bytes
	cycles    float64
}

func (u usage) less(o usage) usage {
	return usage{seconds: u.seconds - o.seconds, gc: u.gc - o.gc, allocated: u.allocated - o.allocated, cycles: u.cycles - o.cycles}
}

func (u usage) plus(o usage) usage {
	return usage{seconds: u.seconds + o.seconds, gc: u.gc + o.gc, allocated: u.allocated + o.allocated, cycles: u.cycles + o.cycles}
}

func (u usage) times(f float64) usage {
	return usage{seconds: u.seconds * f, gc: u.gc * f, allocated: u.allocated * f, cycles: u.cycles * f}
}

// began is from when on seconds are counted.
var began = time.Now()

// measure asks the runtime. What it does not know is 0.
func measure() usage {
	var u usage
	var stacks, globals, idle float64
	to := [...]*float64{&u.live, &stacks, &globals, &u.gc, &idle, &u.allocated, &u.cycles}
	samples := [len(to)]metrics.Sample{
		{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}, {Name: "/gc/scan/globals:bytes"},
		{Name: "/cpu/classes/gc/total:cpu-seconds"}, {Name: "/cpu/classes/gc/mark/idle:cpu-seconds"},
		{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/cycles/total:gc-cycles"},
	}
	metrics.Read(samples[:])
	for i := range samples {
		switch v := samples[i].Value; v.Kind() {
		case metrics.KindUint64:
			*to[i] = float64(v.Uint64())
		case metrics.KindFloat64:
			*to[i] = v.Float64()
		}
	}
	u.roots, u.processors = stacks+globals, float64(cores.Number())
	u.gc -= idle // nobody else wanted the processor
	u.seconds = time.Since(began).Seconds()
	return u
}

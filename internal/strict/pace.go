package strict

import (
	"time"

	"sallyport/internal/gate"
)

// A Pace says how long a client may take to read what is written to it. Time
// spent in writes runs up a debt, bytes that the client takes pay it off, and
// the debt may not exceed the grace. It is not safe for concurrent use.
type Pace struct {
	rate  int64 // bytes a second; 0: no limit
	grace time.Duration
	debt  time.Duration
}

// Pace returns a new pace under the limits, without debt.
func (l Limits) Pace() Pace {
	l = l.orDefault()
	return Pace{rate: l.WriteRate, grace: l.WriteGrace}
}

// Limited reports whether there is a limit at all.
func (p *Pace) Limited() bool { return p.rate > 0 }

// Allow is how long a write of n bytes may take from now on.
func (p *Pace) Allow(n int) time.Duration { return p.grace - p.debt + p.worth(n) }

// Wrote notes that the client has taken n bytes, and how long it took for them.
func (p *Pace) Wrote(n int, took time.Duration) { p.debt = max(0, p.debt+took-p.worth(n)) }

// worth is how long n bytes may take.
func (p *Pace) worth(n int) time.Duration {
	if p.rate <= 0 {
		return 0
	}
	return time.Duration(int64(n) * int64(time.Second) / p.rate)
}

// TooSlow is the error of a write that took longer than the pace allows. It is
// not inlined: the room for a verdict would be on the stack of every writer.
//
//go:noinline
func TooSlow() *gate.VerdictError {
	return &gate.VerdictError{Verdict: gate.Refusal(gate.HTTPReaderTooSlow, gate.Enforce, "the client reads its answer too slowly")}
}

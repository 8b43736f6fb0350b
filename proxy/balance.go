package proxy

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"
)

// How a pool chooses (balance).
const (
	RoundRobin    = "round_robin"    // in turn, by weight, spread out
	LeastRequests = "least_requests" // who has fewest requests for its weight
	P2C           = "p2c"            // of two at random, who answers sooner
	Hash          = "hash"           // the same one for the same client, header, cookie or path
	Random        = "random"         // by weight
	Nearest       = "nearest"        // by the place of the client
)

// A balancer chooses among the backends that may be asked.
type balancer interface {
	// name is the algorithm's, as configured.
	name() string
	// describe notes what the choice depends on in a request. No lock is held.
	describe(v *visit, a *ask)
	// choose returns one of from, which is never empty. The lock of the roster
	// is held.
	choose(from []candidate, a *ask) *backend
}

// A candidate is a backend that may be asked, and its share of the requests.
type candidate struct {
	*backend
	share int // its weight in thousandths, at least 1
}

func newBalancer(cfg PoolConfig, secret []byte) (balancer, error) {
	switch cfg.Balance {
	case "", RoundRobin:
		return roundRobin{}, nil
	case LeastRequests:
		return leastRequests{}, nil
	case P2C:
		return twoChoices{random: rand.Uint64N}, nil
	case Random:
		return randomly{random: rand.Uint64N}, nil
	case Hash:
		return newHashing(cfg, secret), nil
	case Nearest:
		return nearest{}, nil
	}
	return nil, fmt.Errorf("balance %q is not known", cfg.Balance)
}

// anybody is what balancers share that treat all requests alike.
type anybody struct{}

func (anybody) describe(*visit, *ask) {}

// roundRobin goes round.
type roundRobin struct{ anybody }

func (roundRobin) name() string                             { return RoundRobin }
func (roundRobin) choose(from []candidate, _ *ask) *backend { return smooth(from) }

// smooth picks by smooth weighted round robin: each candidate gains its share,
// the richest is picked and pays what all gained. Over any run of picks as long
// as the sum of the weights, with the same candidates, each is picked exactly
// as often as its weight says, and the picks of a heavy one are spread out.
func smooth(from []candidate) *backend {
	best, total := from[0].backend, 0
	for i := range from {
		c := &from[i]
		c.current += c.share
		total += c.share
		if c.current > best.current {
			best = c.backend
		}
	}
	best.current -= total
	return best
}

// level makes smooth start anew. It is called when the set of backends in use
// changes, so that the next picks follow the weights exactly.
func level(backends []*backend) {
	for _, b := range backends {
		b.current = 0
	}
}

// leastRequests asks who has fewest requests for its weight; of several, each
// in its turn, so that an idle pool shares by weight.
type leastRequests struct{ anybody }

func (leastRequests) name() string { return LeastRequests }

func (leastRequests) choose(from []candidate, _ *ask) *backend {
	least := &from[0]
	for i := range from[1:] {
		if c := &from[1+i]; c.busy*least.share < least.busy*c.share {
			least = c
		}
	}
	busy, share := least.busy, least.share
	even := from[:0]
	for _, c := range from {
		if c.busy*share == busy*c.share {
			even = append(even, c)
		}
	}
	return smooth(even)
}

// randomly throws a die with a side for each thousandth of a weight.
type randomly struct {
	anybody
	random func(n uint64) uint64
}

func (randomly) name() string { return Random }

func (r randomly) choose(from []candidate, _ *ask) *backend {
	return from[draw(from, r.random, -1)].backend
}

// draw returns the index of a candidate by weight, but not that of except.
func draw(from []candidate, random func(uint64) uint64, except int) int {
	total := 0
	for i := range from {
		if i != except {
			total += from[i].share
		}
	}
	n, last := int(random(uint64(total))), 0
	for i := range from {
		if i == except {
			continue
		}
		if n -= from[i].share; n < 0 {
			return i
		}
		last = i
	}
	return last
}

// twoChoices draws two by weight and takes the one that is likely to answer
// sooner: by how long it took of late, and by how many requests it has for its
// weight. Drawing two keeps a gateway from sending everything to whoever looks
// best at the moment. (Mitzenmacher, The Power of Two Choices in Randomized Load
// Balancing, 2001.)
type twoChoices struct {
	anybody
	random func(n uint64) uint64
}

func (twoChoices) name() string { return P2C }

func (t twoChoices) choose(from []candidate, _ *ask) *backend {
	i := draw(from, t.random, -1)
	if len(from) == 1 {
		return from[i].backend
	}
	a, b := &from[i], &from[draw(from, t.random, i)]
	x, y := a.latency.value, b.latency.value
	if x == 0 || y == 0 { // of one that was never asked nothing is known
		x, y = 1, 1
	}
	if y*b.load() < x*a.load() {
		a = b
	}
	return a.backend
}

// load is 1 for an idle backend, and grows by each request that it has, for its
// weight.
func (c *candidate) load() float64 { return 1 + float64(c.busy)*fullShare/float64(c.share) }

const (
	// latencyFades is the time in which an observation loses two thirds of its
	// weight.
	latencyFades = 10 * time.Second
	// failureTakes is what a failed attempt counts as. Whoever refuses
	// connections does so in no time, and would look like the best one.
	failureTakes = time.Second
)

// A latency is a moving average of how long answers take, that goes up at once
// and comes down slowly: a backend in trouble is found out by one slow answer.
type latency struct {
	value float64 // nanoseconds; 0: not known
	at    time.Time
}

// observe takes in one answer.
func (l *latency) observe(took time.Duration, now time.Time) {
	seen := max(float64(took), 1)
	if seen < l.value {
		keep := math.Exp(-float64(now.Sub(l.at)) / float64(latencyFades))
		seen = l.value*keep + seen*(1-keep)
	}
	l.value, l.at = seen, now
}

func (l *latency) milliseconds() float64 { return math.Round(l.value/1e4) / 100 }

// answered notes how long a backend took to the head of an answer. One that
// says that something is wrong may have come soon for that very reason.
func (p *pool) answered(b *backend, status int, took time.Duration, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if status >= 500 && float64(took) < b.latency.value {
		return
	}
	b.latency.observe(took, now)
}

// slowed notes a failed attempt.
func (p *pool) slowed(b *backend, took time.Duration, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b.latency.observe(max(took, failureTakes), now)
}

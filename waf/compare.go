package waf

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"go.uber.org/zap"

	"sallyport/internal/gate"
)

const (
	// maxDifferences bounds how many differences of one request are logged, of
	// each side.
	maxDifferences = 20
	// maxAgain is how often all rules judge a request again before a difference is
	// told, and againFor how long; once they always do.
	maxAgain = 1000
	againFor = 200 * time.Millisecond
)

// compares decides whether a request is judged both ways, where there are two.
func (p *policy) compares() bool {
	return p.Engine == CompareEngine && !p.prover.Declines() && rand.Float64() < p.CompareShare //nolint:gosec // which ones is no secret
}

// stricter reports whether a verdict refuses more than another one.
func stricter(v, than gate.Verdict) bool {
	rank := func(v gate.Verdict) int {
		switch {
		case !v.Passed():
			return 2
		case v.Action == gate.Observe:
			return 1
		}
		return 0
	}
	return rank(v) > rank(than)
}

// accompanied reports whether all rules run a phase beside those that were chosen.
// Where they would have to wait for their turn, or take longer than the rules may,
// the comparison is given up: no request is kept for one, or shed.
func (t *Transaction) accompanied(n int) bool {
	if t.shadow == nil {
		return false
	}
	rules, bytes, budget := len(t.policy.rules.rules), t.facts.Bytes(), t.policy.CPUBudget
	if t.shed || n != phaseLogging && (budget > 0 && time.Duration(rules*bytes)*perByte > budget || !t.soonTurn(rules, bytes)) {
		t.shadow.close()
		t.shadow = nil
	}
	return t.shadow != nil
}

// compare tells whether all rules have found the same as those that were chosen.
// Where they have not, that is an error of ours.
func (t *Transaction) compare() {
	t.result.Compared = true
	chosen, all := t.run.findings(), t.shadow.findings()
	if maps.Equal(chosen, all) {
		return
	}
	most, least := maps.Clone(all), maps.Clone(all)
	if t.engine.turns.engine.TryAcquire(1) {
		defer t.engine.turns.engine.Release(1)
		if t.vary(chosen, most, least) {
			return
		}
	}
	more, fewer := chosen.above(most), least.above(chosen)
	if len(more) == 0 && len(fewer) == 0 {
		return
	}
	t.result.Differs = true
	t.engine.log.Error("the fast engine and the stock one differ; please report it", zap.String("request", t.req.ID), zap.String("policy", t.policy.name),
		zap.String("run", t.result.Run), zap.Strings("fast_only", more), zap.Strings("stock_only", fewer))
}

// vary has all rules judge the request again and again, until they find what the
// chosen ones have found, and reports whether they do. The engine keeps values
// in maps of random order, and a chain looks at the last that matched: some requests
// it judges now so and now otherwise. What some run has may be there, and what each
// has must be; most and least are made to say so.
func (t *Transaction) vary(chosen, most, least findings) bool {
	began := time.Now()
	for n := 0; n == 0 || n < maxAgain && time.Since(began) < againFor; n++ {
		again, err := t.again()
		if err != nil {
			t.engine.log.Error("all rules could not be run again", zap.String("request", t.req.ID), zap.Error(err))
			return false
		}
		if maps.Equal(chosen, again) {
			return true
		}
		for line, n := range again {
			most[line] = max(most[line], n)
		}
		for line, n := range least {
			least[line] = min(n, again[line])
		}
	}
	return false
}

// again has all rules judge the request once more, from its facts, and returns
// what they have found.
func (t *Transaction) again() (findings, error) {
	last := len(t.shadow.past) - 1
	r := &evaluation{t: t, past: slices.Clone(t.shadow.past[:last]), reads: t.shadow.reads}
	defer r.end()
	if _, err := r.phase(t.shadow.past[last]); err != nil {
		return nil, err
	}
	return r.findings(), nil
}

// findings are what a run has found and decided, each with how often, without
// anything that a client has sent: rules, variables without the names in them,
// scores.
type findings map[string]int

func (r *evaluation) findings() findings {
	out := findings{}
	for _, direction := range [...]string{"inbound", "outbound"} {
		out[fmt.Sprintf("%s score %d of %d", direction, r.score(direction), r.threshold(direction))]++
	}
	for _, d := range r.decisions {
		out[fmt.Sprintf("%s by rule %d", d.action, d.rule)]++
	}
	if r.reads != "" {
		out["the body is read as "+r.reads]++
	}
	if r.tx == nil {
		return out
	}
	for _, m := range r.tx.MatchedRules() {
		if !r.t.shows(m) {
			continue
		}
		for _, data := range m.MatchedDatas() {
			out[fmt.Sprintf("rule %d, link %d, at %s", m.Rule().ID(), data.ChainLevel(), data.Variable().Name())]++
		}
	}
	return out
}

// above returns what is in f more often than in o, bounded.
func (f findings) above(o findings) []string {
	var out []string
	for _, line := range slices.Sorted(maps.Keys(f)) {
		if n := f[line] - o[line]; n > 0 && len(out) < maxDifferences {
			if n > 1 {
				line += fmt.Sprintf(", %d times", n)
			}
			out = append(out, line)
		}
	}
	return out
}

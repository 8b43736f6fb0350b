package waf

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"go.uber.org/zap"

	"sallyport/internal/gate"
)

// maxDifferences bounds how many differences of one request are logged.
const maxDifferences = 20

// compares decides whether a request is judged both ways.
func (p *policy) compares() bool {
	return p.Engine == CompareEngine && rand.Float64() < p.CompareShare //nolint:gosec // which ones is no secret
}

// compare tells whether all rules have found the same as those that were chosen.
// Where they have not, that is an error of ours, and what all of them have found
// is recorded.
func (t *Transaction) compare() {
	t.result.Compared = true
	fast, stock := findings(&t.run, t.result.Hits), findings(t.shadow, t.shadow.hits())
	if slices.Equal(fast, stock) {
		return
	}
	t.result.Differs = true
	t.result.Hits, t.result.Score, t.result.Threshold = t.shadow.hits(), t.shadow.score("inbound"), t.shadow.threshold("inbound")
	t.engine.log.Error("the fast engine and the stock one differ; please report it", zap.String("request", t.req.ID), zap.String("policy", t.policy.name),
		zap.String("run", t.result.Run), zap.Strings("fast_only", without(fast, stock)), zap.Strings("stock_only", without(stock, fast)))
}

// findings are what a run has found and decided, without anything that a client
// has sent: rules, the names of variables, and scores.
func findings(r *evaluation, hits []gate.RuleHit) []string {
	var out []string
	for i := range hits {
		h := &hits[i]
		variable, key, _ := strings.Cut(h.Variable, ":")
		if variable == "TX" {
			key = "" // the engine numbers them in random order
		}
		out = append(out, fmt.Sprintf("rule %d %s %s", h.Rule, variable, strings.Repeat("*", min(len(key), 1))))
	}
	slices.Sort(out)
	for _, direction := range [...]string{"inbound", "outbound"} {
		out = append(out, fmt.Sprintf("%s score %d of %d", direction, r.score(direction), r.threshold(direction)))
	}
	if r.decided != nil {
		out = append(out, fmt.Sprintf("%s by rule %d", r.decided.action, r.decided.rule))
	}
	return out
}

// without returns what of a is not in b, as often as it is there more often.
func without(a, b []string) []string {
	rest := slices.Clone(b)
	var out []string
	for _, s := range a {
		if at := slices.Index(rest, s); at >= 0 {
			rest = slices.Delete(rest, at, at+1)
		} else if len(out) < maxDifferences {
			out = append(out, s)
		}
	}
	return out
}

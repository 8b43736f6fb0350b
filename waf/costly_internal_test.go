package waf

import (
	"strings"
	"testing"
	"time"

	"sallyport/internal/gate"
)

// TestCPUBudget refuses what the rules would take too long for, and lets the same
// pass where the policy allows more, or does not look.
func TestCPUBudget(t *testing.T) {
	const rules = `SecRule ARGS "@rx (?:needle|pin)\d" "id:1,phase:2,deny"
SecRule ARGS "@contains needle x" "id:2,phase:2,pass,log"`
	policy := func(budget time.Duration, kind EngineKind, mode gate.Mode) *Engine {
		return engineWith(t, func(p *Policy) { p.CPUBudget, p.Engine, p.Mode = budget, kind, mode }, rules)
	}
	long := post(formType, "a=needle+x"+strings.Repeat("+hay", 50_000))
	run(policy(time.Millisecond, FastEngine, gate.Enforce), long).expect(t, "a long text", gate.Refuse, gate.WAFTooCostly)
	run(policy(time.Millisecond, FastEngine, gate.Watch), long).expect(t, "while observing", gate.Observe, gate.WAFTooCostly)
	run(policy(time.Minute, FastEngine, gate.Enforce), long).expect(t, "with a larger budget", gate.Pass, "")
	run(policy(0, FastEngine, gate.Enforce), long).expect(t, "with none", gate.Pass, "")
	run(policy(time.Millisecond, StockEngine, gate.Enforce), long).expect(t, "all rules", gate.Pass, "")
	few := policy(time.Millisecond, FastEngine, gate.Enforce)
	run(few, post(formType, "a=needle+x")).expect(t, "a short text", gate.Pass, "")
	run(few, post(formType, "a=needle1")).expect(t, "an attack in a short text", gate.Refuse, gate.WAFRule)
	run(few, post(formType, "a="+strings.Repeat("+hay", 50_000))).expect(t, "a long text that no rule can match", gate.Pass, "")
	found := run(policy(time.Millisecond, FastEngine, gate.Watch), long).result
	if len(found.Hits) == 0 {
		t.Error("what is only observed was not judged")
	}
}

package waf

import (
	"fmt"
	"slices"

	"sallyport/waf/prover"
)

// shownVariables are the TX variables that records show. A rule that sets one has
// an effect.
var shownVariables = func() []string {
	out := []string{thresholdNames["inbound"], thresholdNames["outbound"]}
	for level := range scoreNames["inbound"] {
		out = append(out, scoreNames["inbound"][level], scoreNames["outbound"][level])
	}
	return out
}()

// maxUnproven bounds how many rules are named that keep requests from being
// proven.
const maxUnproven = 10

// Runs tells in a line how the rules of the policy are run, without the rules that
// are in the way.
func (i PolicyInfo) Runs() string {
	out := "engine " + string(i.Engine)
	if i.Engine == CompareEngine {
		out += fmt.Sprintf(" (%.4g%% of the requests)", 100*i.CompareShare)
	}
	switch {
	case i.Full:
		out += "; every request runs all rules"
	case len(i.Unproven) > 0:
		out += "; few requests or none can be proven"
	default:
		out += "; requests that no rule can match are proven"
	}
	return out
}

// First returns the first of what keeps requests from being proven, and how many
// more there are.
func (i PolicyInfo) First() []string {
	if len(i.Unproven) <= maxUnproven {
		return i.Unproven
	}
	return append(slices.Clone(i.Unproven[:maxUnproven]), fmt.Sprintf("%d more", len(i.Unproven)-maxUnproven))
}

// unproven lists the rules that keep requests from being proven, each once.
func unproven(p *prover.Prover) []prover.Reason {
	var out []prover.Reason
	for _, r := range p.Reasons() {
		if !slices.ContainsFunc(out, func(o prover.Reason) bool { return o == r || r.Rule != 0 && o.Rule == r.Rule }) {
			out = append(out, r)
		}
	}
	return out
}

// prove makes the prover of the policy, unless all of its rules are to be run.
func (p *policy) prove(from plan, verdicts *prover.Verdicts) error {
	if p.Engine == StockEngine {
		return nil
	}
	return p.proveBy(from.proverRules(), from.proverSettings(), verdicts)
}

// proveBy makes it of rules that were read.
func (p *policy) proveBy(rules []prover.Rule, settings []prover.Setting, verdicts *prover.Verdicts) error {
	made, err := prover.New(rules, settings, shownVariables, verdicts)
	if err != nil {
		return fmt.Errorf("what its rules look for: %w", err)
	}
	p.prover = made
	for phase := range p.starts {
		for clean := range 2 {
			for _, s := range made.Start(phase, clean == 1) {
				p.starts[phase][clean] = append(p.starts[phase][clean], setting{s.Name, []string{s.Value}})
			}
		}
	}
	return nil
}

// begins returns what is set when a phase begins of a run with some of the rules,
// by those that are left out, and with clean by all.
func (p *policy) begins(phase int, clean bool) []setting {
	if clean {
		return p.starts[phase][1]
	}
	return p.starts[phase][0]
}

// prover makes the prover of the plan.
func (p plan) prover(verdicts *prover.Verdicts) (*prover.Prover, error) {
	return prover.New(p.proverRules(), p.proverSettings(), shownVariables, verdicts)
}

// proverSettings are the settings of the plan as the prover takes them.
func (p plan) proverSettings() (settings []prover.Setting) {
	for _, s := range p.settings() {
		settings = append(settings, prover.Setting{Name: s.name, Value: s.value[0]})
	}
	return settings
}

package waf

import (
	"fmt"

	"sallyport/waf/prover"
)

// shownVariables are the TX variables that records show. A rule that sets one has
// an effect.
var shownVariables = func() []string {
	out := []string{"inbound_anomaly_score_threshold", "outbound_anomaly_score_threshold"}
	for level := 1; level <= 4; level++ {
		out = append(out, fmt.Sprintf("inbound_anomaly_score_pl%d", level), fmt.Sprintf("outbound_anomaly_score_pl%d", level))
	}
	return out
}()

// prove makes the prover of the policy, unless all of its rules are to be run.
func (p *policy) prove(from plan, verdicts *prover.Verdicts) error {
	if p.Engine == StockEngine {
		return nil
	}
	var settings []prover.Setting
	for _, s := range p.settings {
		settings = append(settings, prover.Setting{Name: s.name, Value: s.value[0]})
	}
	made, err := prover.New(from.proverRules(), settings, shownVariables, verdicts)
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

package waf

import (
	"fmt"
	"slices"
	"strings"

	"github.com/corazawaf/coraza/v3/types"

	"sallyport/internal/gate"
)

// Bounds of what a record keeps of the matches: a request with a thousand bad
// arguments is refused for the first as well as for all of them.
const (
	maxHits        = 100 // of a transaction
	maxHitsPerRule = 10
	maxValue       = 1024 // bytes of a matched value, message or log data
)

// summarise turns what matched into the inspection's hits and scores.
func (t *Transaction) summarise() {
	t.result.Run = t.run.how()
	t.result.Excluded = t.excluded()
	r := &t.run
	if t.shadow != nil && !t.chosen {
		r = t.shadow
	}
	direction := "inbound"
	if t.verdict.Reason == gate.WAFOutboundScore {
		direction = "outbound"
	}
	t.result.Score, t.result.Threshold, t.result.Hits = r.score(direction), r.threshold(direction), r.hits()
}

// hits are the entries of all matched rules.
func (r *evaluation) hits() []gate.RuleHit {
	if r.tx == nil {
		return nil
	}
	var all []gate.RuleHit
	for _, m := range r.tx.MatchedRules() {
		all = append(all, r.t.hits(m, len(all))...)
	}
	return all
}

// confirmed tells which values of a chain's head the rest of the chain is about.
// A head that picks out every field name, for a link that forbids some of
// them, would otherwise name fields that have nothing to do with the match.
// Where the links speak of none of the head's values, all of them count.
func confirmed(m types.MatchedRule) func(value string) bool {
	var heads, links []string
	for _, data := range m.MatchedDatas() {
		if data.ChainLevel() == 0 {
			heads = append(heads, data.Value())
		} else {
			links = append(links, strings.ToLower(strings.Trim(data.Value(), "/")))
		}
	}
	about := func(value string) bool { return slices.Contains(links, strings.ToLower(value)) }
	if !slices.ContainsFunc(heads, about) {
		return func(string) bool { return true }
	}
	return about
}

// hits are the entries of one matched rule: one for each variable that it
// matched. A rule without an effect, that is one that neither scores nor logs
// nor decides, has none: it is bookkeeping. before is how many entries there are.
func (t *Transaction) hits(m types.MatchedRule, before int) []gate.RuleHit {
	id := m.Rule().ID()
	r := t.policy.rules.rules[id]
	points := r.points
	if r.paranoia > t.policy.Paranoia {
		points = 0 // found above the level that the policy blocks at
	}
	logged, disruptive := logs(m), t.disrupts(m)
	if !t.shows(m) {
		return nil
	}
	first := gate.RuleHit{
		Rule: id, Phase: int(m.Rule().Phase()), Severity: severity(m.Rule().Severity()), Paranoia: r.paranoia,
		Message: bounded(m.Message()), Data: bounded(m.Data()), File: r.file, Line: r.line, Tags: m.Rule().Tags(), Disruptive: disruptive,
	}
	var hits []gate.RuleHit
	times := 0 // that the rule scored
	confirms := confirmed(m)
	for _, data := range m.MatchedDatas() {
		if data.ChainLevel() == r.link {
			times++
		}
		if data.ChainLevel() != 0 || !confirms(data.Value()) || len(hits) == maxHitsPerRule || before+len(hits) >= maxHits && len(hits) > 0 {
			continue
		}
		hit := first
		if r.link == 0 {
			hit.Score = points
		}
		if variable := data.Variable().Name(); variable != "UNKNOWN" {
			hit.Variable, hit.Value = variable, bounded(data.Value())
			if variable == "REQUEST_XML" {
				hit.Value = bounded(t.places.of(data.Value()))
			}
			if data.Key() != "" {
				hit.Variable += ":" + bounded(data.Key())
			}
		}
		hits = append(hits, hit)
	}
	if len(hits) == 0 {
		hits = append(hits, first)
	}
	if r.link > 0 {
		hits[0].Score = points * max(times, 1)
	}
	if logged && t.engine.logLines {
		hits[0].LogLine = logLine(m, r)
	}
	if before >= maxHits && !logged && !disruptive {
		return nil
	}
	return hits
}

// shows reports whether a record shows the match of a rule: one that scores,
// logs or decides.
func (t *Transaction) shows(m types.MatchedRule) bool {
	return t.policy.rules.rules[m.Rule().ID()].points != 0 || logs(m) || t.disrupts(m)
}

// disrupts reports whether a rule that matched decides, or would if the policy
// did not only observe.
func (t *Transaction) disrupts(m types.MatchedRule) bool {
	decision := t.policy.rules.rules[m.Rule().ID()].decision
	return m.Disruptive() && decision != "" || t.mode() == gate.Watch && decision != "" && decision != "allow"
}

// logs reports whether the rule's actions include log.
func logs(m types.MatchedRule) bool {
	l, ok := m.(interface{ Log() bool })
	return ok && l.Log()
}

// logLine is the engine's error-log line, with the file and line in which the
// rule really stands: the engine counts lines across all files.
func logLine(m types.MatchedRule, r meta) string {
	engine := fmt.Sprintf("[file %q] [line \"%d\"]", m.Rule().File(), m.Rule().Line())
	real := fmt.Sprintf("[file %q] [line \"%d\"]", r.file, r.line)
	return strings.Replace(m.ErrorLog(), engine, real, 1)
}

// severity is the word for a severity; empty when the rule has none.
func severity(s types.RuleSeverity) string {
	if s == types.RuleSeverityUnset {
		return ""
	}
	return s.String()
}

// bounded copies s, at most maxValue bytes of it, so that a record does not
// keep a whole body alive.
func bounded(s string) string {
	return strings.Clone(s[:min(len(s), maxValue)])
}

package waf

import (
	"fmt"
	"strings"

	"sallyport/internal/gate"
)

// A RuleInfo is one rule as a policy has it, for people who tune.
type RuleInfo struct {
	ID       int    `json:"id"`
	Phase    int    `json:"phase"` // 1 and 2 judge requests, 3 and 4 responses, 5 runs after the answer
	File     string `json:"file"`
	Line     int    `json:"line"`
	Severity string `json:"severity,omitempty"` // in lower case
	// Paranoia is the level from which it runs; 0: at every one.
	Paranoia int `json:"paranoia,omitempty"`
	// Score is what one match adds to the score of its level.
	Score int `json:"score,omitempty"`
	// Decision is deny, drop, redirect or allow; empty: it decides nothing by
	// itself.
	Decision string   `json:"decision,omitempty"`
	Tags     []string `json:"tags,omitempty"`
	Message  string   `json:"message,omitempty"`
	// Removed tells what takes it out for every request, Changed what changes
	// it, each as file:line, and Excluded the exclusions that touch it, with
	// their conditions.
	Removed  string   `json:"removed,omitempty"`
	Changed  []string `json:"changed,omitempty"`
	Excluded []string `json:"excluded,omitempty"`
	// Unproven tells why the rule keeps all or most requests from being proven.
	Unproven string `json:"unproven,omitempty"`
	// Links are the rule and what is chained to it. All have to match.
	Links []LinkInfo `json:"links"`
}

// A LinkInfo is one SecRule or SecAction of a rule.
type LinkInfo struct {
	Line            int      `json:"line"`
	Variables       []string `json:"variables,omitempty"`       // as written; none for SecAction
	Operator        string   `json:"operator,omitempty"`        // without @ and !
	Negated         bool     `json:"negated,omitempty"`         // it matches what the operator does not
	Argument        string   `json:"argument,omitempty"`        // of the operator
	Transformations []string `json:"transformations,omitempty"` // done to each value before, in order
	Source          string   `json:"source"`
}

// Rules lists the rules of a policy in the order in which they are loaded,
// those that are removed too. It reads what New would read; the engine compiles
// nothing of it. Fatal diagnostics say why a policy has none.
func Rules(name string, p Policy) ([]RuleInfo, gate.Diagnostics, error) {
	if err := p.validate(); err != nil {
		return nil, nil, fmt.Errorf("policy %s: %w", name, err)
	}
	if p.Mode == gate.Off {
		return nil, nil, nil
	}
	plan, diags, err := planFor(name, p)
	if err != nil || diags.Fatal() {
		return nil, diags, err
	}
	metas := indexOf(plan.sources)
	whys := map[int]string{}
	if p.Engine != StockEngine {
		if made, err := plan.prover(nil); err == nil { // else New says so
			for _, r := range unproven(made) {
				whys[r.Rule] = r.Why
			}
		}
	}
	var out []RuleInfo
	for _, e := range catalogue(plan.sources) {
		info := describe(e, metas[e.id], plan.exclusions)
		info.Unproven = whys[e.id]
		out = append(out, info)
	}
	return out, diags, nil
}

func describe(e *entry, m meta, exclusions []*exclusion) RuleInfo {
	head := e.links[0]
	r := RuleInfo{ID: e.id, Phase: e.phase(), File: head.file, Line: head.line, Paranoia: m.paranoia, Score: m.points, Decision: m.decision, Tags: e.tags()}
	r.Message, _ = head.action("msg")
	severity, _ := head.action("severity")
	r.Severity = severityWord(severity)
	if e.removed != nil && e.removed.file != exclusionsFile {
		r.Removed = fmt.Sprintf("%s:%d", e.removed.file, e.removed.line)
	}
	for _, d := range e.changed {
		if d.file != exclusionsFile {
			r.Changed = append(r.Changed, fmt.Sprintf("%s:%d", d.file, d.line))
		}
	}
	for _, x := range exclusions {
		if x.touches(e.id) {
			r.Excluded = append(r.Excluded, x.String())
		}
	}
	for _, l := range e.links {
		r.Links = append(r.Links, describeLink(l))
	}
	return r
}

func describeLink(l link) LinkInfo {
	if l.was != nil {
		l = link{*l.was, parseRule(*l.was)}
	}
	out := LinkInfo{Line: l.line, Operator: l.operator, Negated: l.negated, Argument: l.argument, Source: l.raw}
	for _, look := range l.looks() {
		out.Variables = append(out.Variables, look.String())
	}
	for _, a := range l.actions {
		switch {
		case a.name != "t":
		case a.value == "none":
			out.Transformations = nil
		default:
			out.Transformations = append(out.Transformations, a.value)
		}
	}
	return out
}

// String writes what is looked at as SecLang does.
func (l look) String() string {
	s := l.variable
	if l.key != "" {
		s += ":" + l.key
	}
	if l.count {
		s = "&" + s
	}
	if l.except {
		s = "!" + s
	}
	return s
}

// severities are the numbers that SecLang has for them, from 0.
var severities = [...]string{"emergency", "alert", "critical", "error", "warning", "notice", "info", "debug"}

func severityWord(s string) string {
	if len(s) == 1 && '0' <= s[0] && s[0] <= '7' {
		return severities[s[0]-'0']
	}
	return strings.ToLower(s)
}

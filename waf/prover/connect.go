package prover

import (
	"fmt"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"

	vars "github.com/corazawaf/coraza/v3/types/variables"
)

// connect finds what rules have to do with each other: which of them set what
// others read, and which do more than to match.
func (lo *lowering) connect() {
	for n, r := range lo.out.rules {
		lo.writers(n, r)
		if r.Unclear != "" {
			continue
		}
		for k := range r.Links {
			for _, c := range r.Links[k].Ctls {
				if kindOfCtl(c) == ctlNarrows && lo.disturbs(c) {
					r.whole = true
				}
			}
		}
		if what := leftover(r.Rule); what != "" {
			r.whole = true
		}
		if r.class == narrowing && r.skipTo() == "" {
			r.affects, r.idle = lo.affected(r.Rule)
		}
	}
}

// affected returns the rules that the ctl actions of a rule are about, and reports
// whether all of them are such that the request decides about.
func (lo *lowering) affected(r *Rule) (out []int, all bool) {
	for k := range r.Links {
		for _, text := range r.Links[k].Ctls {
			c, ok := parseCtl(text)
			if !ok || !strings.HasPrefix(c.name, "ruleremove") {
				return nil, kindOfCtl(text) == ctlHarmless
			}
			for i := range lo.walk.rules {
				o := &lo.walk.rules[i]
				if o.Marker != "" || lo.walk.class[i] == dead || !o.named(c.name, c.which) || c.variable != 0 && !o.looksAt(c.variable) {
					continue
				}
				n := slices.IndexFunc(lo.out.rules, func(r *rule) bool { return r.Rule == o })
				if n < 0 {
					return nil, false
				}
				out = append(out, n)
			}
		}
	}
	return out, true
}

// looksAt reports whether a link looks at the variable.
func (r *Rule) looksAt(v Variable) bool {
	return slices.ContainsFunc(r.Links, func(l Link) bool {
		return slices.ContainsFunc(l.Targets, func(t Target) bool { return t.Variable == v && !t.Except })
	})
}

// A ctl is a ctl action that takes rules or targets out.
type ctl struct {
	name     string // in lower case
	which    string // rules
	variable Variable
}

// parseCtl takes such an action apart. It reports false for what it does not know.
func parseCtl(text string) (ctl, bool) {
	name, value, _ := strings.Cut(text, "=")
	c := ctl{name: strings.ToLower(strings.TrimSpace(name))}
	which, target, targeted := strings.Cut(strings.TrimSpace(value), ";")
	if c.which = which; !targeted {
		return c, true
	}
	variable, _, _ := strings.Cut(target, ":")
	var err error
	c.variable, err = vars.Parse(strings.TrimSpace(variable))
	return c, err == nil
}

// declines tells why no rule of the set can be left out of any request: one of
// them may do anything. Empty: there is none.
func (w *walk) declines() []Reason {
	var out []Reason
	for i := range w.rules {
		r := &w.rules[i]
		if r.Marker != "" || w.class[i] == dead && w.links[i] == nil { // never reached
			continue
		}
		if r.Unclear != "" {
			out = append(out, Reason{r.ID, r.Place, r.Unclear})
			continue
		}
		for k := range r.Links {
			l := &r.Links[k]
			switch o := l.Operator.Name; {
			case l.Unclear != "":
				out = append(out, Reason{r.ID, r.Place, l.Unclear})
			case len(l.Targets) > 0 && scanned[o] == 0 && !pure[o] && plainTest(o, "") == nil:
				out = append(out, Reason{r.ID, r.Place, fmt.Sprintf("what @%s does is not known", o)})
			}
		}
	}
	return out
}

// writers finds the rules that set what a rule reads.
func (lo *lowering) writers(n int, r *rule) {
	if r.chain == nil {
		return
	}
	u := r.uses()
	u.names = slices.DeleteFunc(u.names, func(name string) bool { return r.chain.known[name].c != dynamic || len(name) == 1 && name[0] <= '9' })
	reads := func(w *Rule) bool { return w.writes(u) }
	for i, class := range lo.walk.class {
		if class == summing && reads(&lo.walk.rules[i]) {
			r.chain.followed = false
		}
	}
	for _, w := range lo.out.rules[:n] {
		if w.Unclear != "" || !reads(w.Rule) {
			continue
		}
		c := w.chain
		if c == nil {
			c = lo.chain(w.Rule)
		}
		if c == nil || !c.followed {
			r.chain.followed = false
			continue
		}
		for _, of := range c.writers {
			if !slices.ContainsFunc(r.chain.writers, func(other writer) bool { return other.of == of.of }) {
				r.chain.writers = append(r.chain.writers, of)
			}
		}
		if !slices.ContainsFunc(r.chain.writers, func(other writer) bool { return other.of == w }) {
			r.chain.writers = append(r.chain.writers, writer{w, c})
		}
	}
	at := func(w writer) int { return slices.Index(lo.out.rules, w.of) }
	slices.SortFunc(r.chain.writers, func(a, b writer) int { return at(a) - at(b) })
	if !r.chain.followed && r.class == depending && !slices.ContainsFunc(r.conds, func(c condition) bool { return !c.open && !c.certain }) {
		lo.reasons = append(lo.reasons, Reason{r.ID, r.Place, "what other rules set for it cannot be followed"})
	}
}

// writes reports whether the rule sets a variable that is used.
func (r *Rule) writes(u *use) bool {
	for k := range r.Links {
		for _, text := range r.Links[k].SetVars {
			a, _ := parseSetVar(text)
			if name, fixed := a.name.literal(); fixed && u.touches(strings.ToLower(name)) || !fixed && u.meets(strings.ToLower(a.name.prefix())) {
				return true
			}
		}
	}
	return false
}

// disturbs reports whether a ctl action that takes rules or targets out may let
// other rules match that would not have: by removing a rule that sets up what
// they compare with, or a target that they count.
func (lo *lowering) disturbs(text string) bool {
	c, ok := parseCtl(text)
	if c.name == "ruleengine" {
		return false
	}
	if !ok || strings.HasSuffix(c.name, "byid") && (&Rule{}).named(c.name, c.which) { // markers have the id 0
		return true
	}
	for i := range lo.walk.rules {
		r := &lo.walk.rules[i]
		if r.Marker != "" || lo.walk.class[i] == dead || !r.named(c.name, c.which) {
			continue
		}
		if c.variable == 0 {
			sets := slices.ContainsFunc(r.Links, func(l Link) bool { return len(l.SetVars) > 0 })
			if class := lo.walk.class[i]; class == folded || class == setting || class == summing || r.skipTo() != "" || sets && !lo.scores(r) {
				return true
			}
			continue
		}
		for k := range r.Links {
			for _, t := range r.Links[k].Targets {
				if t.Variable == c.variable && (t.Count || c.variable == vars.TX) {
					return true
				}
			}
		}
	}
	return false
}

// scores reports whether all that the rule sets is set by its last link.
func (lo *lowering) scores(r *Rule) bool {
	for k := range r.Links[:max(len(r.Links)-1, 0)] {
		if len(r.Links[k].SetVars) > 0 {
			return false
		}
	}
	return true
}

// named reports whether a ctl action that names rules by id, tag or message means
// the rule.
func (r *Rule) named(ctl, which string) bool {
	which = strings.Trim(strings.TrimSpace(which), `'"`)
	switch {
	case strings.HasSuffix(ctl, "byid"):
		first, last, isRange := strings.Cut(which, "-")
		a, errA := strconv.Atoi(strings.TrimSpace(first))
		b, errB := a, error(nil)
		if isRange {
			b, errB = strconv.Atoi(strings.TrimSpace(last))
		}
		return errA != nil || errB != nil || a <= r.ID && r.ID <= b
	case strings.HasSuffix(ctl, "bytag"):
		return slices.Contains(r.Tags, which) || strings.Contains(which, "%{")
	}
	return true
}

// leftover tells what of a match the rule shows or sets that an earlier rule has
// left behind; empty: nothing. That earlier rule may be one that cannot match as
// a whole.
func leftover(r *Rule) string {
	groups := -1 // captured by the links so far
	for k := range r.Links {
		l := &r.Links[k]
		m, _ := parseMacro(l.Operator.Argument)
		if !expands[l.Operator.Name] {
			m = nil
		}
		if k == 0 && looksBack(l) {
			return "what matched before"
		}
		for _, t := range l.Targets {
			if t.Variable == vars.TX && len(t.Key) == 1 && t.Key[0] <= '9' {
				m = append(m, piece{variable: vars.TX, key: t.Key})
			}
		}
		if what := shows(m, groups); what != "" {
			return what
		}
		groups = max(groups, l.captures())
		after := groups
		if k == 0 { // its texts are expanded when all links have matched
			for i := range r.Links {
				after = max(after, r.Links[i].captures())
			}
		}
		for _, text := range l.Texts {
			m, _ := parseMacro(text)
			if what := shows(m, after); what != "" {
				return what
			}
		}
		for _, text := range l.SetVars {
			a, _ := parseSetVar(text)
			if what := shows(append(slices.Clone(a.name), a.value...), groups); what != "" {
				return what
			}
		}
		for _, text := range l.Ctls {
			if strings.Contains(text, "%{") {
				return "a ctl action with a macro"
			}
		}
	}
	return ""
}

// shows tells what of a macro is left from an earlier rule, when groups, counted
// from 0, were captured by this one.
func shows(m macro, groups int) string {
	for _, p := range m {
		switch {
		case p.variable == vars.Rule, p.variable == vars.HighestSeverity:
			return p.text
		case p.variable == vars.TX && len(p.key) == 1 && '0' <= p.key[0] && p.key[0] <= '9' && int(p.key[0]-'0') > groups:
			return p.text
		}
	}
	return ""
}

// captures returns the highest number of a group that a match of the link
// captures; -1: none.
func (l *Link) captures() int {
	if !l.Capture || l.Operator.Not {
		return -1
	}
	switch l.Operator.Name {
	case "rx":
		re, err := syntax.Parse(l.Operator.Argument, syntax.Perl|syntax.DotNL)
		if err != nil {
			return 0
		}
		return re.MaxCap()
	case "pm", "pmfromfile", "pmf", "detectsqli":
		return 0
	}
	return -1
}

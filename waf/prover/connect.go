package prover

import (
	"fmt"
	"regexp"
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
	for i := range lo.walk.rules {
		if lo.fixed(i) {
			lo.out.fixed[lo.walk.rules[i].ID] = true
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

// fixed reports whether others take the rule for one that is always run.
func (lo *lowering) fixed(i int) bool {
	r, class := &lo.walk.rules[i], lo.walk.class[i]
	return r.Marker == "" && class != dead && (class == folded || class == summing || lo.walk.sure[i] || r.skipTo() != "")
}

// declines tells why no rule of the set can be left out of any request: one of
// them may do anything. Empty: there is none.
func (w *walk) declines() []Reason {
	out := slices.Clone(w.endless)
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
	lo.gather(n, r, r.chain)
	if !r.chain.followed && r.class == depending && !slices.ContainsFunc(r.conds, func(c condition) bool { return !c.open && !c.certain }) {
		lo.reasons = append(lo.reasons, Reason{r.ID, r.Place, "what other rules set for it cannot be followed"})
	}
}

// gather finds the rules before the nth that set what it reads, and those that set
// what these read.
func (lo *lowering) gather(n int, r *rule, c *chain) {
	u := r.uses()
	u.names = slices.DeleteFunc(u.names, func(name string) bool { return c.known[name].c != dynamic || len(name) == 1 && name[0] <= '9' })
	reads := func(w *Rule) bool { return w.writes(u) }
	for i, class := range lo.walk.class {
		if class == summing && reads(&lo.walk.rules[i]) {
			c.followed = false
		}
	}
	for k, w := range lo.out.rules[:n] {
		if w.Unclear != "" || !reads(w.Rule) {
			continue
		}
		from := lo.setter(k, w)
		if from == nil || !from.followed {
			c.followed = false
			continue
		}
		for _, of := range from.writers {
			if !slices.ContainsFunc(c.writers, func(other writer) bool { return other.of == of.of }) {
				c.writers = append(c.writers, of)
			}
		}
		if !slices.ContainsFunc(c.writers, func(other writer) bool { return other.of == w }) {
			c.writers = append(c.writers, writer{w, from})
		}
	}
	at := func(w writer) int { return slices.Index(lo.out.rules, w.of) }
	slices.SortFunc(c.writers, func(a, b writer) int { return at(a) - at(b) })
}

// setter returns the chain of a rule that others read from, which its own
// conditions may not need; nil: it cannot be followed.
func (lo *lowering) setter(n int, r *rule) *chain {
	if r.chain != nil {
		return r.chain
	}
	c, known := lo.setters[r]
	if !known {
		if c = lo.chain(r.Rule); c != nil {
			lo.gather(n, r, c)
		}
		lo.setters[r] = c
	}
	return c
}

// showing notes whether the rule sets what somebody looks at in the end, and when.
func (r *rule) showing(shown *use) {
	for k := range r.Links {
		if (&Rule{Links: r.Links[k : k+1]}).writes(shown) {
			r.shown = true
			if k < len(r.Links)-1 && r.shownEarly == 0 {
				r.shownEarly = k + 1
			}
		}
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
	if !ok || strings.HasSuffix(c.name, "byid") && (&Rule{}).named(c.name, c.which) { // markers have the id 0
		return true
	}
	for i := range lo.walk.rules {
		r := &lo.walk.rules[i]
		if r.Marker != "" || lo.walk.class[i] == dead || !r.named(c.name, c.which) {
			continue
		}
		if lo.fixed(i) && c.variable == 0 || lo.feeds(r) {
			return true
		}
		if c.variable == 0 {
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

// feeds reports whether another rule, or a link of this one, reads what the rule
// sets: as long as it is only added up, scores are what is missing without it.
func (lo *lowering) feeds(r *Rule) bool {
	if lo.reads == nil {
		for i := range lo.walk.rules {
			reader := &lo.walk.rules[i]
			if class := lo.walk.class[i]; reader.Marker == "" && class != dead && class != summing && class != folded {
				lo.reads = append(lo.reads, reader.reads())
			}
		}
	}
	return slices.ContainsFunc(lo.reads, r.writes)
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
			switch {
			case t.Variable == vars.HighestSeverity, t.Variable == vars.Rule:
				return t.Name
			case t.Variable != vars.TX || t.Except:
			case t.Key == "" && findsCaptures(t.Pattern):
				return "what was captured"
			case len(t.Key) == 1 && t.Key[0] <= '9':
				m = append(m, piece{text: t.Name + ":" + t.Key, variable: vars.TX, key: t.Key})
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
			m, ok := parseMacro(text)
			if !ok {
				return text
			}
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

// findsCaptures reports whether a pattern of the names of TX variables finds what
// was captured. No pattern finds all.
func findsCaptures(pattern string) bool {
	p, err := regexp.Compile(strings.ToLower(pattern))
	if err != nil {
		return true
	}
	for i := range 10 {
		if p.MatchString(strconv.Itoa(i)) {
			return true
		}
	}
	return false
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

// maxCaptured is the highest number of a group that the engine keeps of a match.
const maxCaptured = 8

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
		return min(re.MaxCap(), maxCaptured)
	case "pm", "pmfromfile", "pmf", "detectsqli":
		return 0
	}
	return -1
}

package prover

import (
	"regexp"
	"slices"
	"strings"
	"sync"

	vars "github.com/corazawaf/coraza/v3/types/variables"

	"sallyport/waf/transform"
)

// A chain follows a rule link by link, with what its links hand on to the next:
// captures, matched values, variables that they set. It is asked about rules
// whose first links often match and whose last ones decide, and answers whether
// the rule may match. The engine keeps values in maps of random order, so where
// the last of several matches counts, any of them may be it.
type chain struct {
	phase int
	links []chainLink
	known map[string]knowledge // of the variables that it reads, before it
	facts []Variable           // that it looks at, and that may change
	grows []Variable           // and of those, the ones of which it matters that there are more
	// writers are the rules before it that set what it reads, in order, and
	// followed says that these are all.
	writers  []writer
	followed bool
}

// A writer is a rule that sets variables which another one reads.
type writer struct {
	of *rule
	*chain
}

// A chainLink is a link that can be followed.
type chainLink struct {
	*Link
	targets  []chainTarget
	by       []*transform.Transformation
	test     test // nil: its argument has macros that depend on the request
	argument macro
	captures func() *regexp.Regexp // nil: nobody needs them
	sets     []assignment
	last     bool // what matches last matters to later links
}

// A chainTarget is one thing that a link looks at.
type chainTarget struct {
	Target
	from    []source
	pattern *regexp.Regexp
	except  []chainTarget
}

// Bounds of following a chain; beyond them the rule may match.
const (
	maxFollowed = 3000      // values
	maxBytes    = 256 << 10 // of them
	maxChoices  = 16        // of what was matched last
)

// chain makes a rule one that can be followed; nil when it is not.
func (lo *lowering) chain(r *Rule) *chain {
	c := &chain{phase: r.Phase, known: lo.walk.seen[r], followed: true}
	for k := range r.Links {
		l := &r.Links[k]
		by, ok := transformations(l.Transformations)
		if !ok || l.Unclear != "" || k == 0 && looksBack(l) {
			return nil
		}
		link := chainLink{Link: l, by: by}
		for t := range l.Targets {
			if l.Targets[t].Except {
				continue
			}
			target, ok := lo.chainTarget(l.Targets[t:])
			if !ok {
				return nil
			}
			link.targets = append(link.targets, target)
		}
		for _, text := range l.SetVars {
			a, ok := parseSetVar(text)
			if value, fixed := a.value.literal(); !ok || l.MultiMatch && (!fixed || relative(value)) { // it is done for each step that changes something
				return nil
			}
			link.sets = append(link.sets, a)
		}
		if len(l.Targets) > 0 {
			a := lo.walk.args[l]
			if a.c == firm {
				if link.test, ok = l.Operator.single(a.text); !ok {
					return nil
				}
			} else if link.argument, ok = parseMacro(l.Operator.Argument); !ok || plainTest(l.Operator.Name, "") == nil {
				return nil
			}
		}
		c.links = append(c.links, link)
	}
	c.facts, c.grows = c.changing()
	for k := range c.links {
		l := &c.links[k]
		if !c.needsCaptures(k) {
			l.last = c.needsLast(k)
			continue
		}
		l.last = true
		if !l.Capture {
			continue
		}
		if l.Operator.Name != "rx" || l.Operator.Not || namesBytes.MatchString(l.Operator.Argument) {
			return nil
		}
		text := "(?sm)" + l.Operator.Argument
		if _, err := regexp.Compile(text); err != nil {
			return nil
		}
		l.captures = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(text) })
	}
	return c
}

// changing finds the variables made of facts that the chain looks at, but for those
// that never change, and those of several values that it counts or makes a value
// of: there, it is not the same whether there are more by now.
func (c *chain) changing() (facts, grows []Variable) {
	add := func(from []source, grow bool) {
		for _, s := range from {
			if !settled[s.facts] && !slices.Contains(facts, s.facts) {
				facts = append(facts, s.facts)
			}
			if grow && !singles[s.facts] && !slices.Contains(grows, s.facts) {
				grows = append(grows, s.facts)
			}
		}
	}
	for k := range c.links {
		l := &c.links[k]
		for i := range l.targets {
			add(l.targets[i].from, l.targets[i].Count)
		}
		macros := []macro{l.argument}
		for _, a := range l.sets {
			macros = append(macros, a.name, a.value)
		}
		for _, p := range slices.Concat(macros...) {
			add(sources[p.variable], true)
		}
	}
	return facts, grows
}

// looksBack reports whether a link looks at what the rule before it matched,
// which is not known.
func looksBack(l *Link) bool {
	m, _ := parseMacro(l.Operator.Argument)
	return slices.ContainsFunc(l.Targets, func(t Target) bool { return isMatched(t.Variable) }) ||
		expands[l.Operator.Name] && slices.ContainsFunc(m, func(p piece) bool { return isMatched(p.variable) })
}

func isMatched(v Variable) bool {
	return v == vars.MatchedVar || v == vars.MatchedVarName || v == vars.MatchedVars || v == vars.MatchedVarsNames
}

// namesBytes finds patterns that may be about bytes instead of characters.
var namesBytes = regexp.MustCompile(`\\x\{?[89a-fA-F]`)

// chainTarget makes the first of the targets one that can be followed, but for
// what those behind it take out.
func (lo *lowering) chainTarget(targets []Target) (chainTarget, bool) {
	t := chainTarget{Target: targets[0]}
	switch t.Variable {
	case vars.MatchedVar, vars.MatchedVars, vars.MatchedVarsNames:
		return t, !t.Count && t.Key == "" && t.Pattern == "" && !slices.ContainsFunc(targets[1:], func(e Target) bool { return e.Except && e.Variable == t.Variable })
	case vars.TX:
		if t.Count || t.Key == "" && t.Pattern == "" || slices.ContainsFunc(targets[1:], func(e Target) bool { return e.Except && e.Variable == t.Variable }) {
			return t, false
		}
	default:
		if t.from = sources[t.Variable]; t.from == nil {
			return t, false
		}
	}
	compile := func(t *chainTarget) bool {
		if t.Pattern == "" {
			return true
		}
		pattern := t.Pattern
		if !caseSensitive[t.Variable] {
			pattern = strings.ToLower(pattern)
		}
		var err error
		t.pattern, err = regexp.Compile(pattern)
		return err == nil
	}
	if !compile(&t) {
		return t, false
	}
	if t.Variable == vars.TX && t.pattern != nil {
		for name := range lo.walk.valued { // what it finds besides what is followed
			if t.pattern.MatchString(name) {
				return t, false
			}
		}
		if findsCaptures(t.Pattern) {
			return t, false
		}
	}
	for _, e := range targets[1:] {
		if e.Except && e.Variable == t.Variable {
			x := chainTarget{Target: e}
			if !compile(&x) {
				return t, false
			}
			t.except = append(t.except, x)
		}
	}
	return t, true
}

// needsCaptures reports whether what link k captures is looked at.
func (c *chain) needsCaptures(k int) bool {
	reads := func(m macro) bool {
		return slices.ContainsFunc(m, func(p piece) bool { return p.variable == vars.TX && len(p.key) == 1 && p.key[0] <= '9' })
	}
	for i := k; i < len(c.links); i++ {
		l := &c.links[i]
		for _, a := range l.sets {
			if reads(a.name) || reads(a.value) {
				return true
			}
		}
		if i == k {
			continue
		}
		if reads(l.argument) || slices.ContainsFunc(l.targets, func(t chainTarget) bool {
			return t.Variable == vars.TX && len(t.Key) == 1 && t.Key[0] <= '9'
		}) {
			return true
		}
	}
	return false
}

// needsLast reports whether it matters which value link k matches last.
func (c *chain) needsLast(k int) bool {
	reads := func(m macro) bool {
		return slices.ContainsFunc(m, func(p piece) bool { return p.variable == vars.MatchedVar || p.variable == vars.MatchedVarName })
	}
	for i := k + 1; i < len(c.links); i++ {
		l := &c.links[i]
		if reads(l.argument) || slices.ContainsFunc(l.targets, func(t chainTarget) bool { return t.Variable == vars.MatchedVar }) ||
			slices.ContainsFunc(l.sets, func(a assignment) bool { return reads(a.name) || reads(a.value) }) {
			return true
		}
	}
	return false
}

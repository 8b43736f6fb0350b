package prover

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	vars "github.com/corazawaf/coraza/v3/types/variables"

	"sallyport/waf/rx"
	"sallyport/waf/transform"
)

// compiled is what a set of rules comes to. It never changes, but for the plans
// of keys and kinds of bytes that were not met before.
type compiled struct {
	sets            []*rx.Set
	keySet          int // which of them holds the patterns of keys
	tests           []test
	transformations []*transform.Transformation
	acts            [33]kept // of each kind of byte, the transformations that act on it; last, those that act on any value
	lowering        kept     // transformations that make small letters of A to Z
	looks           []look
	atoms           int
	plans           []*sourcePlan
	steps           atomic.Int64 // that states have made
	most            int64        // of them, from which all are forgotten
	shared          shared       // of their states and scans
	rules           []*rule      // those that the request decides about, in the order in which they run
	// fixed are the ids of rules that others take for run: what they set is set from
	// the start, or what they skip is never looked at.
	fixed map[int]bool
}

// A sourcePlan is the plan of a source.
type sourcePlan struct {
	source
	plan
	single bool  // its variable holds one value, always
	phases uint8 // bits of those whose rules look at it
	// usual is what the usual values of a variable with one value match.
	usual []verdict
}

// A verdict is what a value matches.
type verdict struct {
	value string
	atoms []atom
}

// A rule is one that the request decides about.
type rule struct {
	*Rule
	n     int // its place among them
	class class
	conds []condition // of each link
	// early is how many links from the first on have to match for something to
	// be set or narrowed before all of them have; 0: nothing is.
	early int
	whole bool // where it may match, all rules have to run
	loose bool // it may be skipped
	// stirs is how many links have to match for the rule to change something that
	// what is added up depends on; 0: it never does.
	stirs int
	shown bool // it sets what somebody looks at in the end
	// shownEarly is how many links have to match for that to be set before all of
	// them have; 0: it is not.
	shownEarly int
	chain      *chain // decides where conds cannot; nil: nothing does
	// affects are the rules that a match takes out, or takes targets from, where
	// it does nothing else, and idle says that there are no others.
	affects []int
	idle    bool
}

// A condition is what a link asks, as far as it can be told before the rule runs.
// It holds where one of its parts does.
type condition struct {
	certain bool // it holds
	atom    atom // -1: no value is asked
	counts  []count
	open    bool // it may hold for reasons that are not looked at
}

// A count is a target that counts.
type count struct {
	from  []source
	where selector
	set   *patternSet
	holds test // of the number, as text
	// small holds what it says of small numbers.
	small [16]bool
}

// A patternSet are the key patterns of a count, which are few.
type patternSet struct{ patterns []*regexp.Regexp }

// A lowering turns rules into looks and conditions.
type lowering struct {
	walk      *walk
	out       *compiled
	operators [][]rx.Operator // of each set
	index     []map[string]int
	tests     map[string]int
	chains    map[string]int // transformations by name
	patterns  map[string]int
	plans     map[source]*sourcePlan
	setters   map[*rule]*chain // of rules that are only followed for what they set
	reads     []*use           // of rules that the request decides about
	sums      *sums
	reasons   []Reason
}

// The sets of operators. Those of the Core Rule Set are apart, because policies
// share them.
const (
	coreSet = iota
	ownSet
	keyPatterns
)

// compileRules lowers what the walk has left to the request.
func compileRules(w *walk) (*compiled, []Reason, error) {
	lo := &lowering{walk: w, out: &compiled{keySet: keyPatterns, most: maxSteps, fixed: map[int]bool{}}, operators: make([][]rx.Operator, 3), tests: map[string]int{}, chains: map[string]int{}, patterns: map[string]int{}, plans: map[source]*sourcePlan{}, setters: map[*rule]*chain{}, reasons: slices.Clone(w.reasons), sums: w.sums()}
	for range lo.operators {
		lo.index = append(lo.index, map[string]int{})
	}
	for _, i := range w.order {
		switch w.class[i] {
		case depending, setting, narrowing:
			lo.rule(i)
		}
	}
	lo.connect()
	for n, ops := range lo.operators {
		if len(ops) == 0 {
			lo.out.sets = append(lo.out.sets, nil)
			continue
		}
		set, err := sharedSet(ops)
		if err != nil {
			return nil, nil, fmt.Errorf("operators of set %d: %w", n, err)
		}
		lo.out.sets = append(lo.out.sets, set)
	}
	if err := lo.finish(); err != nil {
		return nil, nil, err
	}
	return lo.out, lo.reasons, nil
}

// rule lowers one rule.
func (lo *lowering) rule(i int) {
	src := &lo.walk.rules[i]
	r := &rule{Rule: src, n: len(lo.out.rules), class: lo.walk.class[i], whole: lo.walk.whole[i], loose: lo.walk.loose[i], stirs: lo.sums.stirredBy(src)}
	lo.out.rules = append(lo.out.rules, r)
	if src.Unclear != "" {
		return
	}
	if c, ok := lo.names(src); ok {
		r.conds = []condition{c}
		return
	}
	open, decides := false, false
	for k := range src.Links {
		l := &src.Links[k]
		if o := lo.walk.links[i][k]; o == always || o == cleanAlways {
			r.conds = append(r.conds, condition{certain: true})
		} else {
			c := lo.link(l, src)
			open, decides = open || c.open, decides || !c.open
			r.conds = append(r.conds, c)
		}
		if r.early == 0 && k < len(src.Links)-1 && (len(l.SetVars) > 0 || slices.ContainsFunc(l.Ctls, func(c string) bool { return kindOfCtl(c) != ctlHarmless })) {
			r.early = k + 1
		}
	}
	if open || !decides {
		r.chain = lo.chain(src)
	}
	if r.class == depending && r.chain == nil && !decides {
		lo.reasons = append(lo.reasons, Reason{src.ID, src.Place, lo.unknown(src)})
	}
}

// link lowers one link of a rule to a condition.
func (lo *lowering) link(l *Link, r *Rule) condition {
	c := condition{atom: -1}
	for t := range l.Targets {
		target := &l.Targets[t]
		if target.Except {
			continue
		}
		from, known := sources[target.Variable]
		where, ok := lo.selector(*target)
		if !known || !ok {
			c.open = true
			continue
		}
		for _, e := range l.Targets[t+1:] {
			if except, ok := lo.selector(e); e.Except && e.Variable == target.Variable && ok {
				where.except = append(where.except, except)
			}
		}
		if target.Count {
			if n, ok := lo.count(l, from, *target); ok {
				c.counts = append(c.counts, n)
			} else {
				c.open = true
			}
			continue
		}
		c.open = !lo.look(&c, l, r, from, where) || c.open
	}
	return c
}

// selector turns a target into a selector. It reports false for a pattern that is
// not one.
func (lo *lowering) selector(t Target) (selector, bool) {
	s := selector{pattern: -1, keyed: t.Key != "" || t.Pattern != ""}
	if t.Pattern != "" {
		text, ok := keyPattern(t.Pattern, t.Variable)
		if !ok {
			return s, false
		}
		s.pattern = lo.operator(keyPatterns, rx.Operator{Kind: rx.Pattern, Text: text})
		return s, true
	}
	s.key = strings.ToLower(t.Key)
	// Names are looked up as the rule has them, among keys in lower case.
	if len(sources[t.Variable]) > 0 && sources[t.Variable][0].form == ofName && !t.Except && s.key != t.Key && caseSensitive[t.Variable] {
		s.key = noKey
	}
	return s, true
}

// Keys in lower case are text, which these are not: one that nothing has, and one
// that stands for all that no target speaks of.
const (
	noKey    = "\xfe"
	otherKey = "\xff"
)

// look adds what a target asks of values. It reports false where that is not
// known.
func (lo *lowering) look(c *condition, l *Link, r *Rule, from []source, where selector) bool {
	chain, ok := lo.transformations(l.Transformations)
	if !ok {
		return false
	}
	set, op, ok := lo.find(l, r.Core)
	if !ok {
		return false
	}
	if c.atom < 0 {
		c.atom = atom(lo.out.atoms)
		lo.out.atoms++
	}
	first := len(chain)
	if l.MultiMatch {
		first = 0
	}
	for done := first; done <= len(chain); done++ {
		for _, s := range from {
			lo.add(s, r, look{c.atom, chain[:done:done], set, op, where})
		}
	}
	return true
}

// find numbers the operator of a link: in one of the sets, or among the tests
// (set -1).
func (lo *lowering) find(l *Link, core bool) (set, op int, ok bool) {
	o := l.Operator
	if kind, ok := scanned[o.Name]; ok && !(kind == rx.ByteRange && o.Argument == "") {
		set = ownSet
		if core {
			set = coreSet
		}
		operator := o.matcher()
		if !o.searchable() {
			return 0, 0, false
		}
		return set, lo.operator(set, operator), true
	}
	a := lo.walk.args[l]
	if a.c != firm {
		return 0, 0, false
	}
	name := fmt.Sprintf("%t %s %s", o.Not, o.Name, a.text)
	if n, known := lo.tests[name]; known {
		return -1, n, true
	}
	t, ok := testOf(o.Name, a.text, o.Not)
	if !ok {
		return 0, 0, false
	}
	lo.tests[name] = len(lo.out.tests)
	lo.out.tests = append(lo.out.tests, t)
	return -1, lo.tests[name], true
}

// operator numbers an operator of a set.
func (lo *lowering) operator(set int, o rx.Operator) int {
	name := fmt.Sprintf("%d %t %q %q", o.Kind, o.Not, o.Text, o.List)
	if n, known := lo.index[set][name]; known {
		return n
	}
	n := len(lo.operators[set])
	lo.index[set][name] = n
	lo.operators[set] = append(lo.operators[set], o)
	return n
}

func (lo *lowering) transformations(names []string) ([]int, bool) {
	var chain []int
	for _, name := range names {
		n, known := lo.chains[name]
		if !known {
			t, ok := transform.Find(name)
			if !ok || len(lo.out.transformations) == maxTransformations {
				return nil, false
			}
			n = len(lo.out.transformations)
			lo.chains[name] = n
			lo.out.transformations = append(lo.out.transformations, t)
		}
		chain = append(chain, n)
	}
	return chain, true
}

// maxTransformations is how many a set may use: there are bits for so many.
const maxTransformations = 64

// transformations finds those with the names.
func transformations(names []string) ([]*transform.Transformation, bool) {
	var chain []*transform.Transformation
	for _, name := range names {
		t, ok := transform.Find(name)
		if !ok {
			return nil, false
		}
		chain = append(chain, t)
	}
	return chain, true
}

// add adds a look of a rule to the plan of a source.
func (lo *lowering) add(s source, r *Rule, l look) {
	p := lo.plans[s]
	if p == nil {
		p = &sourcePlan{source: s, plan: plan{c: lo.out, keys: map[string]bool{}}, single: singles[s.facts]}
		lo.plans[s] = p
		lo.out.plans = append(lo.out.plans, p)
	}
	p.phases |= 1 << r.Phase
	p.looks = append(p.looks, len(lo.out.looks))
	lo.out.looks = append(lo.out.looks, l)
}

// count lowers a target that counts.
func (lo *lowering) count(l *Link, from []source, t Target) (count, bool) {
	if len(l.Transformations) > 0 || scanned[l.Operator.Name] != 0 || slices.ContainsFunc(l.Targets, func(e Target) bool { return e.Except && e.Variable == t.Variable }) {
		return count{}, false
	}
	n := count{from: from, where: selector{key: strings.ToLower(t.Key), pattern: -1, keyed: t.Key != ""}}
	if t.Pattern != "" {
		pattern := t.Pattern
		if !caseSensitive[t.Variable] {
			pattern = strings.ToLower(pattern)
		}
		re, err := regexp.Compile(pattern)
		if err != nil {
			return n, false
		}
		n.set = &patternSet{[]*regexp.Regexp{re}}
	}
	_, op, ok := lo.find(l, false)
	if !ok {
		return n, false
	}
	n.holds = lo.out.tests[op]
	for i := range n.small {
		n.small[i] = n.holds(strconv.Itoa(i))
	}
	return n, true
}

// is reports whether the count matches when there are so many values.
func (n *count) is(number int) bool {
	if number < len(n.small) {
		return n.small[number]
	}
	return n.holds(strconv.Itoa(number))
}

// number is how many values the count finds.
func (n *count) number(f *Facts, r *reader) int {
	total := 0
	for _, s := range n.from {
		if singles[s.facts] {
			total++
			continue
		}
		if !n.where.keyed && n.set == nil {
			total += len(f.of[s.facts])
			continue
		}
		for i := range f.of[s.facts] {
			key := f.of[s.facts][i].Key
			if n.set != nil {
				if n.set.patterns[0].MatchString(r.lower(key)) {
					total++
				}
			} else if len(key) == len(n.where.key) && r.lower(key) == n.where.key || !ascii(key) && r.lower(key) == n.where.key {
				total++
			}
		}
	}
	return total
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// names recognises a rule that collects names, each in a variable of its own, and
// then compares the variables with a list: it is lowered to the comparison. The
// Core Rule Set forbids header fields so, and every request has some.
func (lo *lowering) names(r *Rule) (condition, bool) {
	if len(r.Links) != 2 {
		return condition{}, false
	}
	head, last := &r.Links[0], &r.Links[1]
	if head.Operator.Name != "rx" || head.Operator.Not || head.Operator.Argument != "^.*$" || !head.Capture || head.MultiMatch || len(head.SetVars) != 1 ||
		last.Operator.Name != "within" || last.Operator.Not || len(last.Transformations) > 0 || len(last.Targets) != 1 || last.Targets[0].Variable != vars.TX || last.Targets[0].Count {
		return condition{}, false
	}
	a, ok := parseSetVar(head.SetVars[0])
	if !ok || a.remove || len(a.name) != 2 || a.name[1].variable != vars.TX || a.name[1].key != "0" || last.Targets[0].Pattern != "^"+a.name[0].text {
		return condition{}, false
	}
	if len(a.value) != 3 || a.value[1].variable != vars.TX || a.value[1].key != "0" || a.value[0].variable != vars.Unknown || a.value[2].variable != vars.Unknown || strings.ContainsAny(a.value[0].text[:1], "+-") {
		return condition{}, false
	}
	prefix := strings.ToLower(a.name[0].text)
	others, ok := lo.sharers(r, prefix)
	if !ok {
		return condition{}, false
	}
	list := lo.walk.args[last]
	if list.c != firm {
		return condition{}, false
	}
	before, after := a.value[0].text, a.value[2].text
	n := len(lo.out.tests)
	lo.out.tests = append(lo.out.tests, func(name string) bool {
		return between(list.text, before, name, after) || slices.ContainsFunc(others, func(p *regexp.Regexp) bool { return p.MatchString(prefix + strings.ToLower(name)) })
	})
	out := condition{atom: atom(lo.out.atoms)}
	lo.out.atoms++
	chain, ok := lo.transformations(head.Transformations)
	if !ok {
		return condition{}, false
	}
	for t := range head.Targets {
		target := head.Targets[t]
		from, known := sources[target.Variable]
		where, ok := lo.selector(target)
		if !known || !ok || target.Except || target.Count {
			return condition{}, false
		}
		for _, s := range from {
			lo.add(s, r, look{out.atom, chain, -1, n, where})
		}
	}
	return out, true
}

// between reports whether before, name and after stand in list one after the
// other.
func between(list, before, name, after string) bool {
	for {
		at := strings.Index(list, name)
		if at < 0 {
			return false
		}
		if strings.HasSuffix(list[:at], before) && strings.HasPrefix(list[at+len(name):], after) {
			return true
		}
		list = list[at+1:]
	}
}

// sharers returns the patterns of names by which other rules read variables that
// may have the prefix. It reports false where they read or set them otherwise.
func (lo *lowering) sharers(r *Rule, prefix string) ([]*regexp.Regexp, bool) {
	var out []*regexp.Regexp
	for i := range lo.walk.rules {
		other := &lo.walk.rules[i]
		if other == r || other.Marker != "" || lo.walk.class[i] == dead {
			continue
		}
		u := other.uses()
		out, u.patterns = append(out, u.patterns...), nil
		if u.meets(prefix) {
			return nil, false
		}
	}
	return out, true
}

// finish makes the plans ready.
func (lo *lowering) finish() error {
	lo.out.tabulate()
	for _, p := range lo.out.plans {
		patterns := map[int]bool{}
		var each func(s selector)
		each = func(s selector) {
			switch {
			case s.pattern >= 0:
				patterns[s.pattern] = true
			case s.keyed:
				p.keys[s.key] = true
			}
			for _, e := range s.except {
				each(e)
			}
		}
		for _, i := range p.looks {
			each(lo.out.looks[i].where)
		}
		if len(patterns) > 0 {
			class, err := lo.out.sets[keyPatterns].Class(slices.Sorted(maps.Keys(patterns))...)
			if err != nil {
				return err
			}
			p.patterns = class
		}
		p.plainAny = p.patterns == nil && len(p.keys) == 0
	}
	lo.out.renew()
	return nil
}

// keyPattern returns the pattern of keys as package rx takes it: the engine
// compiles it without the flags that it gives to operators.
func keyPattern(pattern string, v Variable) (string, bool) {
	if !caseSensitive[v] {
		pattern = strings.ToLower(pattern)
	}
	if _, err := regexp.Compile(pattern); err != nil {
		return "", false
	}
	return "(?-sm:" + pattern + ")", true
}

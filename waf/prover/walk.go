package prover

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	vars "github.com/corazawaf/coraza/v3/types/variables"
)

// A class is what a rule comes to before any request is there.
type class uint8

const (
	dead      class = iota // it never runs, never matches, or a match does nothing
	folded                 // it matches in every request, and all it sets is set from the start
	depending              // the request decides, and somebody sees a match
	setting                // the request decides, and a match sets variables that other rules look at
	narrowing              // the request decides, and a match only takes rules or targets out
	summing                // scores decide: it does nothing in a request that no other rule matches
)

// A walk goes through the rules in the order in which the engine evaluates them,
// and finds out what does not depend on the request.
type walk struct {
	rules []Rule
	order []int // indexes into rules: by phase, then as loaded
	state *txState
	class []class
	links [][]outcome // of each rule: what its links come to
	// start is what the folded rules of each phase set. It is set when the phase
	// begins; touched is what rules that are left have read or set by then, so that
	// nothing about it can be set earlier.
	start   [numPhases + 1]map[string]string
	touched *use
	// clean is what the rules of each phase set, those that sum included, in a
	// request that none with an effect has matched. Nil: it is not known.
	clean  [numPhases + 1]map[string]string
	open   bool            // the phase sets something that is not known
	valued map[string]bool // variables that have a value somewhere before a request is there
	last   bool            // it is about phase 5, whose rules may run after any other phase
	// ended says that a score may have decided something in this phase, so that
	// later phases cannot be sure of what rules behind it have set: the late ones.
	ended bool
	late  []string
	// whole are the rules whose match changes what other rules see: where one may
	// match, all rules have to run.
	whole map[int]bool
	// loose are the rules that may be skipped where they stand, and sure those that
	// set something in every request, or in each that nothing matches, even if they
	// do not match as a whole.
	loose, sure map[int]bool
	shown       *use // what somebody looks at in the end
	// args are what the arguments of the operators of links come to where they
	// stand, and seen what is known there of the variables that a rule reads.
	args    map[*Link]argument
	seen    map[*Rule]map[string]knowledge
	own     *use     // what the links so far of the rule at hand set
	endless []Reason // skips that no marker ends
	reasons []Reason
}

// An argument is that of an operator, its macros expanded.
type argument struct {
	text string
	c    certainty // dynamic: it is not known
}

// A knowledge is what is known of a TX variable.
type knowledge struct {
	value string
	set   bool
	c     certainty
}

// An outcome is what a link comes to before a request is there.
type outcome uint8

const (
	never       outcome = iota // in no request
	cleanNever                 // in no request that nothing matches
	asked                      // the request decides
	cleanAlways                // in each request that nothing matches
	always                     // in each request
)

// walkRules walks through all phases. The first four run one after the other, as
// far as they run, and the last after any of them.
func walkRules(rules []Rule, settings map[string]string, shown []string) *walk {
	w := &walk{rules: rules, shown: &use{names: shown}, state: newTXState(settings), valued: map[string]bool{beyondCaptures: true}}
	w.forget()
	for name, value := range settings {
		name = strings.ToLower(name)
		w.start[0][name], w.valued[name] = value, true
	}
	var ends []*txState
	for phase := 1; phase < numPhases; phase++ {
		before := maps.Clone(w.state.values)
		w.open = false
		w.phase(phase)
		w.clean[phase] = w.changes(before)
		ends = append(ends, w.state.clone())
	}
	var ways []*walk
	for _, end := range ends {
		way := &walk{rules: rules, shown: w.shown, state: end.clone(), valued: w.valued, last: true}
		way.forget()
		way.phase(numPhases)
		ways = append(ways, way)
	}
	w.merge(ways)
	w.state = ends[0]
	return w
}

// changes returns what the variables were set to that had other values before; nil
// when it is not known.
func (w *walk) changes(before map[string]string) map[string]string {
	out := map[string]string{}
	for name, value := range w.state.values {
		if was, ok := before[name]; ok && was == value {
			continue
		}
		if _, _, c := w.state.get(name); c == dynamic {
			return nil
		}
		out[name] = value
	}
	for name := range before {
		if _, left := w.state.values[name]; !left {
			return nil // it was removed
		}
	}
	if w.open {
		return nil
	}
	return out
}

// forget makes what is remembered of rules empty.
func (w *walk) forget() {
	w.class, w.links = make([]class, len(w.rules)), make([][]outcome, len(w.rules))
	w.args, w.seen = map[*Link]argument{}, map[*Rule]map[string]knowledge{}
	w.whole, w.loose, w.sure = map[int]bool{}, map[int]bool{}, map[int]bool{}
	for phase := range w.start {
		w.start[phase] = map[string]string{}
	}
}

// merge takes over what walks through the last phase have found that began after
// different ones. Only what all of them say is known.
func (w *walk) merge(ways []*walk) {
	first := ways[0]
	w.order = append(w.order, first.order...)
	for _, i := range first.order {
		r := &w.rules[i]
		w.class[i], w.links[i] = first.class[i], first.links[i]
		for _, way := range ways[1:] {
			switch was, is := w.class[i], way.class[i]; {
			case was == is:
			case was == depending || is == depending:
				w.class[i] = depending
			case was == setting || is == setting:
				w.class[i] = setting
			case was == narrowing || is == narrowing:
				w.class[i] = narrowing
			default:
				w.class[i] = summing
			}
			if w.links[i] == nil {
				w.links[i] = way.links[i]
			}
			for k := range way.links[i] {
				if w.links[i][k] != way.links[i][k] {
					w.links[i][k] = asked
				}
			}
		}
		w.seen[r] = map[string]knowledge{}
		for _, way := range ways {
			w.whole[i], w.loose[i], w.sure[i] = w.whole[i] || way.whole[i], w.loose[i] || way.loose[i], w.sure[i] || way.sure[i]
			for name, k := range way.seen[r] {
				if before, known := w.seen[r][name]; known && before != k {
					k = knowledge{set: true, c: dynamic}
				}
				w.seen[r][name] = k
			}
			for k := range r.Links {
				a, known := way.args[&r.Links[k]]
				if before, ok := w.args[&r.Links[k]]; ok && known && before != a {
					a = argument{c: dynamic}
				}
				if known {
					w.args[&r.Links[k]] = a
				}
			}
		}
	}
	for _, way := range ways {
		w.endless = append(w.endless, way.endless...)
		for _, reason := range way.reasons {
			if !slices.Contains(w.reasons, reason) {
				w.reasons = append(w.reasons, reason)
			}
		}
	}
}

// A region is where rules stand that may be skipped.
type region struct {
	by    *Rule  // that skips to its end
	end   string // marker
	at    int    // where it stands
	doubt outcome
}

// phase walks through one phase.
func (w *walk) phase(phase int) {
	var open []region
	w.touched, w.ended, w.late = &use{}, false, nil
	first := len(w.order)
	for i := range w.rules {
		r := &w.rules[i]
		if r.Marker != "" {
			open = slices.DeleteFunc(open, func(o region) bool { return o.end == r.Marker })
			continue
		}
		if r.Phase != phase {
			continue
		}
		skipped := never
		for _, o := range open {
			skipped = max(skipped, o.doubt)
		}
		w.order = append(w.order, i)
		w.loose[i] = skipped != never
		if skipped == always {
			w.class[i] = dead
			continue
		}
		to, at := r.skipTo(), len(w.rules)
		if to != "" {
			if n := slices.IndexFunc(w.rules[i:], func(m Rule) bool { return m.Marker == to }); n >= 0 {
				at = i + n
			}
		}
		// Whoever skips this rule skips what it would skip.
		inside := !slices.ContainsFunc(open, func(o region) bool { return o.at < at })
		if doubt := w.rule(i, skipped, inside); doubt != never {
			open = append(open, region{r, to, at, doubt})
		}
	}
	w.close(w.order[first:])
	for _, o := range open {
		if o.doubt != never { // the engine goes on skipping in the next phases
			w.endless = append(w.endless, Reason{o.by.ID, o.by.Place, fmt.Sprintf("no marker %q ends what is skipped in phase %d", o.end, phase)})
		}
	}
}

// scoring reports whether only TX variables decide about the rule.
func (r *Rule) scoring() bool {
	return !slices.ContainsFunc(r.Links, func(l Link) bool {
		return slices.ContainsFunc(l.Targets, func(t Target) bool { return t.Variable != vars.TX })
	})
}

// close ends a phase. A rule that decides something keeps those behind it from
// running, and later phases, if only the last, from finding what they would have
// set: where it may match, all rules have to run. Of one that looks at scores
// nobody can tell, and what is set behind it is not sure.
func (w *walk) close(rules []int) {
	for _, name := range w.late {
		w.state.weaken(name, soft)
	}
	sets := false
	for _, i := range slices.Backward(rules) {
		r := &w.rules[i]
		if w.class[i] == dead || r.Unclear != "" {
			continue
		}
		if sets && !w.last && w.class[i] == depending && r.Links[0].Decision != "" && !r.scoring() {
			w.whole[i] = true
		}
		sets = sets || slices.ContainsFunc(r.Links, func(l Link) bool { return len(l.SetVars) > 0 })
	}
}

// skipTo is the marker that a match skips to; empty: there is none.
func (r *Rule) skipTo() string {
	if len(r.Links) == 0 {
		return ""
	}
	return r.Links[0].SkipAfter
}

// rule finds the class of a rule. skipped tells whether it is skipped, and inside
// that what it skips itself is then skipped, too. It returns whether that is.
func (w *walk) rule(i int, skipped outcome, inside bool) outcome {
	r := &w.rules[i]
	if r.Unclear != "" {
		w.blame(r, r.Unclear)
		w.class[i] = depending
		return never
	}
	all := always
	w.links[i] = make([]outcome, len(r.Links))
	reach := make([]outcome, len(r.Links)) // of this link and those before it
	w.remember(r)
	w.own = &use{}
	for k := range r.Links {
		o := w.link(&r.Links[k])
		w.own.add(r.Links[k].sets())
		w.links[i][k] = o
		all = and(all, o)
		reach[k] = all
	}
	// What may be skipped does not always happen.
	when := func(o outcome) outcome {
		switch {
		case o == never || skipped == never:
			return o
		case skipped == cleanNever:
			return min(o, cleanAlways)
		case skipped == cleanAlways:
			return cleanNever
		default:
			return min(o, asked)
		}
	}
	matches := all
	all = when(all)
	effect := all != never && r.effect()
	flow := r.Links[0].SkipAfter != "" && all != never
	writes, ctl, early, shows := false, false, false, false
	for k := range r.Links {
		l := &r.Links[k]
		if when(reach[k]) == never {
			continue
		}
		if l.Unclear != "" {
			w.blame(r, l.Unclear)
			effect = true
		}
		for _, c := range l.Ctls {
			switch kindOfCtl(c) {
			case ctlNarrows:
				ctl = true
			case ctlChanges:
				ctl, effect = true, true
				w.whole[i] = true
			}
		}
		writes = writes || len(l.SetVars) > 0
		w.sure[i] = w.sure[i] || when(reach[k]) >= cleanAlways && len(l.SetVars) > 0
		early = early || when(reach[k]) != all && len(l.SetVars) > 0
		// Of a request that is proven the variables of phase 1 are shown.
		shows = shows || r.Phase > 1 && when(reach[k]) >= cleanAlways && (&Rule{Links: r.Links[k : k+1]}).writes(w.shown)
	}
	switch {
	case all == never && !writes && !ctl, !effect && !flow && !writes && !ctl:
		w.class[i] = dead
		return never
	case matches == always && inside && flow && !effect && !writes && !ctl:
		w.class[i] = folded // nothing but the rules that it skips would notice
	case (all == always || all == cleanAlways) && (effect || shows):
		w.blame(r, "it has an effect on every request")
		w.class[i] = depending
	case all == always && !ctl:
		if w.class[i] = folded; !w.fold(r) {
			w.class[i] = summing
		}
	case (all == cleanAlways || all == cleanNever) && !ctl && !early:
		w.class[i] = summing
	case effect:
		w.class[i] = depending
	case writes:
		w.class[i] = setting
	default:
		w.class[i] = narrowing
	}
	if all == always && ctl && !effect {
		w.blame(r, "what it does to the engine applies to every request")
	}
	if w.class[i] != folded {
		w.touched.add(r.uses())
		for k := range r.Links {
			known := w.write(r, &r.Links[k], when(reach[k]), k == len(r.Links)-1 && effect)
			w.open = w.open || w.class[i] == summing && (!known || ctl)
		}
		w.ended = w.ended || r.Links[0].Decision != "" && (w.class[i] == summing || r.scoring())
	}
	switch {
	case !flow:
		return never
	case inside:
		return matches
	}
	return all
}

// remember notes what is known where the rule stands, before it runs.
func (w *walk) remember(r *Rule) {
	own := &use{}
	for k := range r.Links {
		l := &r.Links[k]
		a := argument{text: l.Operator.Argument}
		if expands[l.Operator.Name] {
			m, ok := parseMacro(a.text)
			a.text, a.c = w.state.expand(m)
			if !ok || slices.ContainsFunc(m, func(p piece) bool { return p.variable == vars.TX && own.touches(p.key) }) {
				a.c = dynamic
			}
		}
		w.args[l] = a
		own.add(l.sets())
	}
	known := map[string]knowledge{}
	for _, name := range r.uses().names {
		value, set, c := w.state.get(name)
		known[name] = knowledge{value, set, c}
	}
	w.seen[r] = known
}

func (w *walk) blame(r *Rule, why string) {
	w.reasons = append(w.reasons, Reason{r.ID, r.Place, why})
}

// and is what two links of a chain come to together.
func and(a, b outcome) outcome {
	if a == never || b == never {
		return never
	}
	return min(a, b) // what nothing matches is never asked further
}

// or is what two targets of a link come to together.
func or(a, b outcome) outcome {
	switch {
	case a == always || b == always:
		return always
	case a == cleanAlways || b == cleanAlways:
		return cleanAlways
	}
	return max(a, b)
}

// link finds out what a link comes to.
func (w *walk) link(l *Link) outcome {
	if len(l.Targets) == 0 {
		return always
	}
	out := never
	for t := range l.Targets {
		target := &l.Targets[t]
		if target.Except {
			continue
		}
		if target.Variable != vars.TX {
			out = or(out, asked)
			continue
		}
		excepted := slices.ContainsFunc(l.Targets[t+1:], func(e Target) bool { return e.Except && e.Variable == vars.TX })
		if target.Key == "" || excepted {
			out = or(out, asked)
			continue
		}
		value, set, c := w.state.get(target.Key)
		if c == dynamic || w.own.touches(strings.ToLower(target.Key)) {
			out = or(out, asked)
			continue
		}
		switch {
		case target.Count && set:
			value = "1"
		case target.Count:
			value = "0"
		case !set:
			out = or(out, known(false, c))
			continue
		}
		matched, ca, ok := w.constant(l, value)
		if !ok {
			out = or(out, asked)
			continue
		}
		out = or(out, known(matched, max(c, ca)))
	}
	return out
}

// known is what a comparison of known values comes to.
func known(matched bool, c certainty) outcome {
	switch {
	case matched && c == firm:
		return always
	case matched:
		return cleanAlways
	case c == firm:
		return never
	}
	return cleanNever
}

// constant compares a value with the operator of the link. It reports false where
// that cannot be said before the request is there.
func (w *walk) constant(l *Link, value string) (matched bool, c certainty, ok bool) {
	a := w.args[l]
	if a.c == dynamic {
		return false, a.c, false
	}
	chain, ok := transformations(l.Transformations)
	if !ok {
		return false, a.c, false
	}
	values := []string{value}
	for _, t := range chain {
		value = string(t.Append(nil, value))
		values = append(values, value)
	}
	if !l.MultiMatch {
		values = values[len(values)-1:]
	}
	t, ok := l.Operator.single(a.text)
	if !ok {
		return false, a.c, false
	}
	return slices.ContainsFunc(values, t), a.c, true
}

// fold does what a rule sets that matches in every request, when the phase begins
// instead of where it stands. It reports whether that is the same.
func (w *walk) fold(r *Rule) bool {
	if w.ended {
		return false
	}
	saved := maps.Clone(w.state.values)
	var names []string
	for k := range r.Links {
		for _, text := range r.Links[k].SetVars {
			a, ok := parseSetVar(text)
			name, fixed := a.name.literal()
			name = strings.ToLower(name)
			value, c := w.state.expand(a.value)
			if relative(value) && !r.Links[k].once() {
				c = dynamic
			}
			if _, _, known := w.state.get(name); !ok || !fixed || a.remove || c != firm || known != firm || w.last || w.touched.touches(name) {
				w.state.values = saved
				return false
			}
			w.state.assign(name, value, false, firm)
			names = append(names, name)
		}
	}
	for _, name := range names {
		if value, set := w.state.values[name]; set { // the engine leaves some alone
			w.start[r.Phase][name], w.valued[name] = value, true
		}
	}
	return true
}

// write notes what the setvar actions of a link leave of the certainty of
// variables. when tells what decides whether they are done, and last that
// somebody then sees a match as well. It reports whether it is known what they
// come to in a request that no rule with an effect matches.
func (w *walk) write(r *Rule, l *Link, when outcome, last bool) bool {
	if when == never {
		return true
	}
	sure := true
	for _, text := range l.SetVars {
		a, ok := parseSetVar(text)
		if !ok {
			w.blame(r, fmt.Sprintf("setvar:%s is not understood", text))
			sure = false
			continue
		}
		name, fixed := a.name.literal()
		if !fixed {
			prefix := strings.ToLower(a.name.prefix())
			if prefix == "" {
				w.blame(r, fmt.Sprintf("setvar:%s may set any variable", text))
			}
			w.state.prefixes = append(w.state.prefixes, prefix)
			sure = sure && when == cleanNever
			continue
		}
		name = strings.ToLower(name)
		if w.ended {
			w.late = append(w.late, name)
		}
		value, c := w.state.expand(a.value)
		if relative(value) && !l.once() {
			c = dynamic
		}
		w.valued[name] = w.valued[name] || when == always || when == cleanAlways
		_, _, before := w.state.get(name)
		switch {
		case (when == always || when == cleanAlways) && c != dynamic && before != dynamic:
			if when == always {
				w.state.assign(name, value, a.remove, max(c, before))
			} else {
				w.state.assign(name, value, a.remove, soft)
			}
		case when == always || when == cleanAlways:
			w.state.weaken(name, dynamic)
			sure = false
		case when == cleanNever || last:
			w.state.weaken(name, soft)
		default:
			w.state.weaken(name, dynamic)
			sure = false
		}
	}
	return sure
}

// once reports whether the link, where it matches, matches one value: a setvar
// action is done for each.
func (l *Link) once() bool {
	looks := 0
	for _, t := range l.Targets {
		if !t.Except {
			looks++
		}
	}
	return len(l.Targets) == 0 || looks == 1 && !l.MultiMatch
}

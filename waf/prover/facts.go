// Package prover decides of a request, before any rule is run, which rules can
// match it.
package prover

import (
	"strings"

	vars "github.com/corazawaf/coraza/v3/types/variables"
)

// A Variable is a variable of SecLang, by the engine's number for it.
type Variable = vars.RuleVariable

// maxVariables is more than the engine has variables.
const maxVariables = 128

// A Fact is one value of a variable.
type Fact struct {
	Key   string // empty for a variable that holds one value
	Value string
}

// Facts are what the rules get to see of one request, as it is handed to the
// engine: the same names, keys and values. Variables that the engine makes of
// others (ARGS of ARGS_GET and ARGS_POST, the *_NAMES) are not among them.
// A variable that has a default is not among them until it is set.
// They are for one goroutine at a time.
type Facts struct {
	of     [maxVariables][]Fact
	sets   [maxVariables]int32 // of a variable that holds one value: how often it was set
	used   []Variable
	seen   [numPhases + 1][]seen // what each phase that was marked has
	phase  int                   // the last that was marked
	former []former
	gone   []gone
}

// numPhases is the number of phases of SecLang.
const numPhases = 5

// seen is how many values a variable had when a phase began.
type seen struct {
	v Variable
	n int
}

// A former is a value that was replaced, which phases up to one have seen.
type former struct {
	v     Variable
	value string
	phase int
}

// A gone value is one that was removed, under a key in lower case, and that the
// phases from first to last have seen.
type gone struct {
	v           Variable
	key         string
	fact        Fact
	first, last int
}

// Defaults are what variables that hold one value are to the engine until they
// are set: all others are empty. The engine makes those of the time by itself,
// and MATCHED_VAR and the like while it runs the rules; nothing is said of them
// here.
var Defaults = [maxVariables]string{
	vars.ArgumentsLimitReached: "0", vars.Duration: "0", vars.FilesCombinedSize: "0", vars.FullRequestLength: "0", vars.HighestSeverity: "255",
	vars.MultipartDataAfter: "0", vars.MultipartDuplicatePartHeader: "0", vars.MultipartInvalidQuoting: "0", vars.OutboundDataError: "0",
	vars.ReqbodyError: "0", vars.ReqbodyProcessorError: "0", vars.RequestBodyLength: "0", vars.URIParseError: "0", vars.UrlencodedError: "0",
}

// Add adds a value to a variable that holds several.
func (f *Facts) Add(v Variable, key, value string) {
	if len(f.of[v]) == 0 {
		f.used = append(f.used, v)
	}
	f.of[v] = append(f.of[v], Fact{key, value})
}

// Set replaces the value of a variable that holds one.
func (f *Facts) Set(v Variable, value string) {
	f.sets[v]++
	if len(f.of[v]) == 0 {
		f.Add(v, "", value)
		return
	}
	if f.phase > 0 && f.of[v][0].Value != value {
		f.former = append(f.former, former{v, f.of[v][0].Value, f.phase})
	}
	f.of[v][0].Value = value
}

// Remove removes the values under a key, which is given in lower case, from what
// later phases see.
func (f *Facts) Remove(v Variable, key string) {
	kept := f.of[v][:0]
	for _, fact := range f.of[v] {
		if !SameKey(fact.Key, key) {
			kept = append(kept, fact)
			continue
		}
		at, g := len(kept), gone{v: v, key: key, fact: fact, first: f.phase + 1, last: f.phase}
		for phase := range f.seen {
			for n := range f.seen[phase] {
				if s := &f.seen[phase][n]; s.v == v && at < s.n {
					s.n--
					g.first = min(g.first, phase)
				}
			}
		}
		f.gone = append(f.gone, g)
	}
	clear(f.of[v][len(kept):])
	f.of[v] = kept
}

// Mark tells that a phase, 1 to 5, sees what the facts hold now.
func (f *Facts) Mark(phase int) {
	f.phase, f.seen[phase] = phase, f.seen[phase][:0]
	for _, v := range f.used {
		f.seen[phase] = append(f.seen[phase], seen{v, len(f.of[v])})
	}
}

// Get returns the value of a variable that holds one: its default when it was
// not set.
func (f *Facts) Get(v Variable) string {
	if len(f.of[v]) == 0 {
		return Defaults[v]
	}
	return f.of[v][0].Value
}

// All returns the values of a variable, in the order in which they were added.
// They must not be changed.
func (f *Facts) All(v Variable) []Fact { return f.of[v] }

// Used returns the variables that have a value, in the order in which they got
// their first.
func (f *Facts) Used() []Variable { return f.used }

// A Cursor remembers which of the facts of a request somebody was told. The
// zero Cursor was told nothing.
type Cursor struct {
	phase  int // the last that was told of
	values [maxVariables]int
	sets   [maxVariables]int32
	gone   int // how many values were gone by then
}

// News calls add with the values that a phase that was marked sees and that the
// cursor was not told, variable by variable, and before that remove with keys
// whose values it does not see any more. Phases come in their order.
func (f *Facts) News(c *Cursor, phase int, add func(v Variable, facts []Fact), remove func(v Variable, key string)) {
	for i := range f.gone {
		g := &f.gone[i]
		if c.phase < g.first || c.phase > g.last {
			continue // it is not there
		}
		if i >= c.gone { // it was told among the others
			c.values[g.v]--
		}
		if g.last < phase {
			remove(g.v, g.key)
		}
	}
	c.gone = len(f.gone)
	for _, s := range f.seen[phase] {
		v := s.v
		if f.sets[v] > 0 {
			fact, sets := f.of[v][:1], f.sets[v]
			for i := range f.former {
				if was := &f.former[i]; was.v == v && was.phase >= phase {
					fact, sets = []Fact{{Value: was.value}}, 0 // the last is still to be told
					break
				}
			}
			if c.sets[v] != f.sets[v] {
				add(v, fact)
			}
			c.sets[v] = sets
			continue
		}
		if c.values[v] < s.n {
			add(v, f.of[v][c.values[v]:s.n])
			c.values[v] = s.n
		}
	}
	// Of somebody who is told late, what is gone by now was there.
	for i := range f.gone {
		if g := &f.gone[i]; c.phase < g.first && g.first <= phase && phase <= g.last {
			add(g.v, []Fact{g.fact})
		}
	}
	c.phase = phase
}

// count is how many values of a variable, of those that are left, a phase sees.
func (f *Facts) count(phase int, v Variable) int {
	for _, s := range f.seen[phase] {
		if s.v == v {
			return s.n
		}
	}
	return 0
}

// Bytes is how long all values are together.
func (f *Facts) Bytes() int {
	n := 0
	for _, v := range f.used {
		for i := range f.of[v] {
			n += len(f.of[v][i].Value)
		}
	}
	return n
}

// changed reports whether a variable is not any more what the phase saw of it, but
// for values that were added to several.
func (f *Facts) changed(v Variable, phase int) bool {
	for i := range f.gone {
		if g := &f.gone[i]; g.v == v && g.first <= phase && phase <= g.last {
			return true
		}
	}
	if !singles[v] {
		return false
	}
	for i := range f.former {
		if was := &f.former[i]; was.v == v && was.phase >= phase {
			return true
		}
	}
	return f.count(phase, v) == 0 && f.Get(v) != Defaults[v]
}

// grown reports whether a variable has more values than the phase saw of it.
func (f *Facts) grown(v Variable, phase int) bool { return f.count(phase, v) < len(f.of[v]) }

// Each calls yield with the keys and values of a variable as rules see it, and
// with the empty key for one that holds one value. It reports false for a
// variable that is not made of facts.
func (f *Facts) Each(v Variable, yield func(key, value string)) bool {
	from := sources[v]
	for _, s := range from {
		if singles[s.facts] {
			yield("", f.Get(s.facts))
			continue
		}
		for i := range f.of[s.facts] {
			if fact := &f.of[s.facts][i]; s.form == ofName {
				yield(fact.Key, fact.Key)
			} else {
				yield(fact.Key, fact.Value)
			}
		}
	}
	return len(from) > 0
}

// Reset forgets all values. Their memory is kept, and nothing of what they
// held.
func (f *Facts) Reset() {
	for _, v := range f.used {
		clear(f.of[v])
		f.of[v], f.sets[v] = f.of[v][:0], 0
	}
	for i := range f.seen {
		f.seen[i] = f.seen[i][:0]
	}
	clear(f.former)
	clear(f.gone)
	f.used, f.phase, f.former, f.gone = f.used[:0], 0, f.former[:0], f.gone[:0]
}

// SameKey reports whether the engine takes a key for the same as one in lower
// case, which is ASCII.
func SameKey(key, lower string) bool {
	if len(key) == len(lower) {
		return strings.EqualFold(key, lower)
	}
	// Some letters that are not ASCII are in lower case.
	return len(key) > len(lower) && strings.IndexFunc(key, func(r rune) bool { return r >= 0x80 }) >= 0 && strings.ToLower(key) == lower
}

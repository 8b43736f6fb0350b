// Package prover decides of a request, before any rule is run, which rules can
// match it.
package prover

import (
	"iter"
	"slices"
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
	of   [maxVariables][]Fact
	old  [maxVariables]int // how many of them are no news
	used []Variable
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
	if len(f.of[v]) == 0 {
		f.Add(v, "", value)
		return
	}
	f.of[v][0].Value, f.old[v] = value, 0
}

// Remove removes the values under a key, which is given in lower case.
func (f *Facts) Remove(v Variable, key string) {
	kept := f.of[v][:0]
	for i, fact := range f.of[v] {
		if !SameKey(fact.Key, key) {
			kept = append(kept, fact)
		} else if i < f.old[v] {
			f.old[v]--
		}
	}
	clear(f.of[v][len(kept):])
	if f.of[v] = kept; len(kept) == 0 {
		f.used = slices.DeleteFunc(f.used, func(u Variable) bool { return u == v })
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

// News yields the variables that have got values since they were yielded last,
// with these values.
func (f *Facts) News() iter.Seq2[Variable, []Fact] {
	return func(yield func(Variable, []Fact) bool) {
		for _, v := range f.used {
			news := f.of[v][f.old[v]:]
			f.old[v] = len(f.of[v])
			if len(news) > 0 && !yield(v, news) {
				return
			}
		}
	}
}

// Reset forgets all values. Their memory is kept, and nothing of what they
// held.
func (f *Facts) Reset() {
	for _, v := range f.used {
		clear(f.of[v])
		f.of[v], f.old[v] = f.of[v][:0], 0
	}
	f.used = f.used[:0]
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

// Package prover decides of a request, before any rule is run, which rules can
// match it.
package prover

import vars "github.com/corazawaf/coraza/v3/types/variables"

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
// They are for one goroutine at a time.
type Facts struct {
	of   [maxVariables][]Fact
	used []Variable
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
	f.of[v][0].Value = value
}

// Get returns the value of a variable that holds one; empty when it was not
// set.
func (f *Facts) Get(v Variable) string {
	if len(f.of[v]) == 0 {
		return ""
	}
	return f.of[v][0].Value
}

// All returns the values of a variable, in the order in which they were added.
// They must not be changed.
func (f *Facts) All(v Variable) []Fact { return f.of[v] }

// Used returns the variables that have a value, in the order in which they got
// their first.
func (f *Facts) Used() []Variable { return f.used }

// Reset forgets all values. Their memory is kept, and nothing of what they
// held.
func (f *Facts) Reset() {
	for _, v := range f.used {
		clear(f.of[v])
		f.of[v] = f.of[v][:0]
	}
	f.used = f.used[:0]
}

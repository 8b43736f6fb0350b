package prover

import (
	"strings"

	vars "github.com/corazawaf/coraza/v3/types/variables"
)

// A macro is a text with variables in it, as %{tx.score}.
type macro []piece

// A piece is literal text, or a variable of a macro.
type piece struct {
	text     string   // literal, or what stands in the braces
	variable Variable // vars.Unknown: a literal
	key      string   // in lower case
}

// parseMacro takes a text apart as the engine does. It reports false for what
// the engine does not take.
func parseMacro(s string) (macro, bool) {
	var m macro
	for s != "" {
		open := strings.Index(s, "%{")
		if open < 0 {
			return append(m, piece{text: s}), true
		}
		if open > 0 {
			m = append(m, piece{text: s[:open]})
		}
		inner, rest, closed := strings.Cut(s[open+2:], "}")
		if !closed {
			return nil, false
		}
		name, key, _ := strings.Cut(inner, ".")
		v, err := vars.Parse(name)
		if err != nil {
			return nil, false
		}
		m = append(m, piece{text: inner, variable: v, key: strings.ToLower(key)})
		s = rest
	}
	return m, true
}

// literal returns the text of a macro that has no variables.
func (m macro) literal() (string, bool) {
	switch {
	case len(m) == 0:
		return "", true
	case len(m) == 1 && m[0].variable == vars.Unknown:
		return m[0].text, true
	}
	return "", false
}

// prefix returns what stands before the first variable.
func (m macro) prefix() string {
	if len(m) > 0 && m[0].variable == vars.Unknown {
		return m[0].text
	}
	return ""
}

// An assignment is a setvar action.
type assignment struct {
	name   macro // of the TX variable
	value  macro
	remove bool
}

// parseSetVar takes a setvar action apart. It reports false for what the engine
// does not take.
func parseSetVar(s string) (assignment, bool) {
	var a assignment
	s, a.remove = strings.CutPrefix(s, "!")
	key, value, _ := strings.Cut(s, "=")
	collection, name, ok := strings.Cut(key, ".")
	if !ok || !strings.EqualFold(collection, "TX") {
		return a, false
	}
	var okName, okValue bool
	a.name, okName = parseMacro(name)
	a.value, okValue = parseMacro(value)
	return a, okName && okValue && len(a.name) > 0
}

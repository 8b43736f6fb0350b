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

// parseMacro takes a text apart as the engine does: what stands between %{ and
// another %{ is literal. It reports false for what the engine does not take.
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
		s = s[open+2:]
		for s != "" { // what only begins at the end is nothing
			end := strings.IndexFunc(s, func(c rune) bool { return !strings.ContainsRune(macroLetters, c) })
			if end < 0 {
				return nil, false
			}
			inner := s[:end]
			switch {
			case s[end] == '}':
				name, key, _ := strings.Cut(inner, ".")
				v, err := vars.Parse(name)
				if err != nil || strings.HasSuffix(inner, ".") {
					return nil, false
				}
				m, s = append(m, piece{text: inner, variable: v, key: strings.ToLower(key)}), s[end+1:]
			case strings.HasPrefix(s[end:], "%{"):
				if inner != "" {
					m = append(m, piece{text: inner})
				}
				s = s[end+2:]
				continue
			default:
				return nil, false
			}
			break
		}
	}
	return m, true
}

// macroLetters may stand in a macro.
const macroLetters = "[]._-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

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

package prover

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	vars "github.com/corazawaf/coraza/v3/types/variables"
)

// A certainty tells how far the value of a TX variable is known before a request
// is there.
type certainty uint8

const (
	firm    certainty = iota // it has this value in every request
	soft                     // it has this value in a request that no rule with an effect matches
	dynamic                  // it depends on the request
)

// A txState is what is known of the TX variables at one point of the rules.
type txState struct {
	values   map[string]string // in a request that nothing matches; absent: unset
	doubt    map[string]certainty
	prefixes []string // of names that are dynamic
}

// factNames are the TX variables that come with the facts, in lower case.
var factNames = [...]string{"json_request_body"}

// beyondCaptures is the TX variable that the engine begins with, empty, and that no
// operator captures to.
const beyondCaptures = "10"

func newTXState(settings map[string]string) *txState {
	s := &txState{values: map[string]string{beyondCaptures: ""}, doubt: map[string]certainty{}}
	for i := range 10 { // what captures leave
		s.doubt[strconv.Itoa(i)] = dynamic
	}
	for _, name := range factNames {
		s.doubt[name] = dynamic
	}
	for name, value := range settings {
		s.values[strings.ToLower(name)] = value
	}
	return s
}

func (s *txState) clone() *txState {
	return &txState{maps.Clone(s.values), maps.Clone(s.doubt), slices.Clone(s.prefixes)}
}

// get returns the value of a variable, whether it has one, and how certain both
// are.
func (s *txState) get(name string) (value string, set bool, c certainty) {
	name = strings.ToLower(name)
	value, set = s.values[name]
	c = s.doubt[name]
	for _, p := range s.prefixes {
		if strings.HasPrefix(name, p) {
			c = dynamic
		}
	}
	return value, set, c
}

// weaken makes a variable no more certain than c.
func (s *txState) weaken(name string, c certainty) {
	name = strings.ToLower(name)
	s.doubt[name] = max(s.doubt[name], c)
}

// expand returns what a macro comes to.
func (s *txState) expand(m macro) (string, certainty) {
	var b strings.Builder
	c := firm
	for _, p := range m {
		switch p.variable {
		case vars.Unknown:
			b.WriteString(p.text)
		case vars.TX:
			value, set, known := s.get(p.key)
			if c = max(c, known); !set {
				value = p.text // as the engine has it
			}
			b.WriteString(value)
		default:
			return "", dynamic
		}
	}
	return b.String(), c
}

// assign does a setvar action that is certain to happen, and reports how certain
// the variable is then.
func (s *txState) assign(name, value string, remove bool, c certainty) {
	name = strings.ToLower(name)
	if remove {
		delete(s.values, name)
	} else if result, ok := assigned(s.values[name], value); ok {
		s.values[name] = result
	}
	if s.doubt[name] = c; c == firm {
		delete(s.doubt, name)
	}
}

// relative reports whether a setvar action with the value depends on what the
// variable holds.
func relative(value string) bool { return value != "" && (value[0] == '+' || value[0] == '-') }

// assigned is what a setvar action makes of a variable: a sign before a number
// adds to it. It reports false where the engine leaves the variable alone.
func assigned(current, value string) (string, bool) {
	if !relative(value) {
		return value, true
	}
	number := 0
	if len(value) > 1 {
		n, err := strconv.Atoi(value[1:])
		if err != nil {
			return value, !strings.HasPrefix(value[1:], "tx.")
		}
		number = n
	}
	sum := 0
	if current != "" {
		n, err := strconv.Atoi(current)
		if err != nil {
			return "", false
		}
		sum = n
	}
	if value[0] == '+' {
		return strconv.Itoa(sum + number), true
	}
	return strconv.Itoa(sum - number), true
}

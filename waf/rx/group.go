package rx

import (
	"cmp"
	"regexp/syntax"
	"slices"
)

// A group is a few patterns that are often verified for the same value. Their
// common dfa reads the value once: where it finds nothing, none of them matches.
// Where it finds something, each is asked by itself.
type group struct {
	prog *program
}

// Patterns in a group, and instructions of all together: the states of a dfa
// for many patterns can be as many as the product of theirs.
const (
	groupMembers = 4
	groupInsts   = 12000
)

// groupRate is the rate of literals from which a pattern is put into a group.
const groupRate = 0.002

// A candidate is a pattern that may be put into a group.
type candidate struct {
	operator int
	prog     *program
	tree     *syntax.Regexp
	trigger  string // the commonest literal that it is verified for; empty if it always is
}

// consider returns the candidate that a pattern with its ways makes, if values
// lead to it often enough.
func consider(operator int, p *program, tree *syntax.Regexp, ways []way) (candidate, bool) {
	c := candidate{operator: operator, prog: p, tree: tree}
	if p == nil || p.always {
		return c, false
	}
	sum, most := 0.0, 0.0
	for _, w := range ways {
		sum += w[0].rate()
		for _, text := range w[0] {
			if r := (factor{text}).rate(); r > most {
				most, c.trigger = r, text
			}
		}
	}
	return c, len(ways) == 0 || sum >= groupRate
}

// form puts together what the same literals lead to.
func (s *Set) form(candidates []candidate, with tool) {
	slices.SortStableFunc(candidates, func(a, b candidate) int {
		if a.prog.bytes != b.prog.bytes {
			if a.prog.bytes {
				return 1
			}
			return -1
		}
		return cmp.Compare(a.trigger, b.trigger)
	})
	for len(candidates) > 0 {
		n, insts := 0, 0
		for n < min(len(candidates), groupMembers) && candidates[n].prog.bytes == candidates[0].prog.bytes &&
			(n == 0 || insts+len(candidates[n].prog.insts) <= groupInsts) {
			insts += len(candidates[n].prog.insts)
			n++
		}
		s.join(candidates[:n], with)
		candidates = candidates[n:]
	}
}

// join makes one group, if that is more than one pattern. Where the union is
// too large for a program, its members stay alone.
func (s *Set) join(members []candidate, with tool) {
	if len(members) < 2 {
		return
	}
	union := &syntax.Regexp{Op: syntax.OpAlternate}
	for _, m := range members {
		union.Sub = append(union.Sub, m.tree)
	}
	prog, err := syntax.Compile(union.Simplify())
	if err != nil {
		return
	}
	p := with.program(prog, members[0].prog.bytes)
	if p == nil {
		return
	}
	for _, m := range members {
		s.operators[m.operator].group = len(s.groups)
	}
	s.groups = append(s.groups, group{p})
	s.number(p)
}

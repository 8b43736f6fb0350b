package rx

import "regexp/syntax"

// A group is a few patterns that are often verified for the same value. Their
// common dfa reads the value once: where it finds nothing, none of them matches.
// Where it finds something, each is asked by itself.
type group struct {
	members int
	prog    *program
}

// Patterns in a group, and instructions of all together: the states of a dfa
// for many patterns can be as many as the product of theirs.
const (
	groupMembers = 4
	groupInsts   = 12000
)

// groupRate is the rate of literals from which a pattern is put into a group.
const groupRate = 0.01

// A grouping collects patterns for groups while a set is compiled.
type grouping struct {
	set   *Set
	with  tool
	bytes bool
	trees []*syntax.Regexp
	ids   []int
	insts int
}

// add puts a pattern with its ways into the group that is being collected.
func (g *grouping) add(id int, p *program, tree *syntax.Regexp, ways []way) {
	rate := 0.0
	for _, w := range ways {
		rate += w[0].rate()
	}
	if p == nil || p.always || len(ways) > 0 && rate < groupRate {
		return
	}
	if len(g.ids) == groupMembers || g.insts+len(p.insts) > groupInsts || p.bytes != g.bytes {
		g.close()
	}
	g.bytes = p.bytes
	g.ids, g.trees, g.insts = append(g.ids, id), append(g.trees, tree), g.insts+len(p.insts)
}

// close makes the group, if that is more than one pattern.
func (g *grouping) close() {
	if len(g.ids) > 1 {
		union := &syntax.Regexp{Op: syntax.OpAlternate, Sub: g.trees}
		if prog, err := syntax.Compile(union.Simplify()); err == nil {
			if p := g.with.program(prog, g.bytes); p != nil {
				for _, id := range g.ids {
					g.set.operators[id].group = len(g.set.groups)
				}
				g.set.groups = append(g.set.groups, group{len(g.ids), p})
			}
		}
	}
	g.ids, g.trees, g.insts = nil, nil, 0
}

package rx

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
)

// A Class is a part of a set: the operators that apply to one kind of value. Who
// asks for the same operators gets the same class. Its operators never change.
type Class struct {
	set      *Set
	members  Bits
	negated  Bits
	direct   []uint32 // members that no literal rules out
	gated    Bits     // the others
	literals int      // of those
	// automaton finds the literals of the gated members; nil: there are none. It is
	// the set's, or a smaller one, and may find those of other operators as well.
	automaton atomic.Pointer[automaton]
}

// Class makes a class of the operators with the indices.
func (s *Set) Class(operators ...int) (*Class, error) {
	c := &Class{set: s, members: s.newBits(), negated: s.newBits(), gated: s.newBits()}
	for _, i := range operators {
		if i < 0 || i >= len(s.operators) {
			return nil, fmt.Errorf("no operator %d in a set of %d", i, len(s.operators))
		}
		if c.members.Has(i) {
			continue
		}
		c.members.set(i)
		if s.operators[i].Not {
			c.negated.set(i)
		}
		if s.operators[i].gated {
			c.gated.set(i)
			c.literals += len(s.literals[i])
		} else {
			c.direct = append(c.direct, uint32(i))
		}
	}
	return s.classes.share(c), nil
}

// Set returns the set that the class is a part of.
func (c *Class) Set() *Set { return c.set }

// Bounds of what a set keeps of its classes. Automata of so few literals fit into
// the nearest caches.
const (
	maxShared     = 1024 // classes
	maxSmall      = 256  // automata
	smallLiterals = 1500
)

// classes are those of a set, and the automata that were made for them. Most classes
// are like others with an operator more or less: they share an automaton.
type classes struct {
	mu    sync.Mutex
	known map[string]*Class // by members
	small []*automaton
}

// share returns the class that c is, if it is known, or c, ready to be used.
func (k *classes) share(c *Class) *Class {
	var key []byte
	for _, word := range c.members {
		key = binary.LittleEndian.AppendUint64(key, word)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if known := k.known[string(key)]; known != nil {
		return known
	}
	k.serve(c)
	if k.known == nil {
		k.known = map[string]*Class{}
	}
	if len(k.known) < maxShared {
		k.known[string(key)] = c
	}
	return c
}

// serve gives the class its automaton.
func (k *classes) serve(c *Class) {
	switch {
	case c.literals == 0:
		return
	case c.literals > smallLiterals:
		c.automaton.Store(c.set.automaton)
		return
	}
	var best *automaton
	for _, a := range k.small {
		if a.serves(c) && (best == nil || a.count < best.count) {
			best = a
		}
	}
	if best == nil && len(k.small) < maxSmall {
		best = c.set.automatonOf(c.gated)
		k.small = append(k.small, best)
		defer k.spread(best)
	}
	if best == nil {
		best = c.set.automaton
	}
	c.automaton.Store(best)
}

// spread gives a new automaton to the classes that it serves as well, and forgets
// the automata that serve none any more. Who is at work goes on with the old one.
func (k *classes) spread(a *automaton) {
	used := map[*automaton]bool{a: true}
	for _, c := range k.known {
		old := c.automaton.Load()
		if old != nil && old != c.set.automaton && a.serves(c) {
			c.automaton.Store(a)
			old = a
		}
		used[old] = true
	}
	k.small = slices.DeleteFunc(k.small, func(a *automaton) bool { return !used[a] })
}

// serves reports whether the automaton finds the literals of the class, and not many
// others.
func (a *automaton) serves(c *Class) bool {
	return a.count <= c.literals+c.literals/4 && c.gated.within(a.of)
}

// automatonOf makes the automaton for the operators.
func (s *Set) automatonOf(operators Bits) *automaton {
	var all []literal
	for i, literals := range s.literals {
		if operators.Has(i) {
			all = append(all, literals...)
		}
	}
	a := newAutomaton(all)
	a.of, a.count = operators, len(all)
	return a
}

// Bits are a set of operators, by index.
type Bits []uint64

func (s *Set) newBits() Bits { return make(Bits, (len(s.operators)+63)/64) }

// Has reports whether the operator is in b.
func (b Bits) Has(operator int) bool { return b[operator>>6]>>(operator&63)&1 != 0 }

// Any reports whether any operator is in b.
func (b Bits) Any() bool {
	for _, w := range b {
		if w != 0 {
			return true
		}
	}
	return false
}

// within reports whether all operators of b are in of.
func (b Bits) within(of Bits) bool {
	for w, word := range b {
		if word&^of[w] != 0 {
			return false
		}
	}
	return true
}

func (b Bits) set(operator int) { b[operator>>6] |= 1 << (operator & 63) }

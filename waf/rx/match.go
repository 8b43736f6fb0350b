package rx

import (
	"iter"
	"math/bits"
	"slices"
	"strings"
	"sync"
)

// A Scratch is the memory that the matching of a value needs, and the states
// that its dfas have learned. It is for one goroutine at a time. It holds
// nothing of the values that it has seen.
type Scratch struct {
	set     *Set
	members Bits // of the class at work

	seen   []uint8 // of each output: the scan that it was seen in
	scan   uint8
	folded bool     // the text being scanned is not the value itself
	got    []uint8  // of each trail: factors seen
	open   []uint32 // trails with any
	todo   []uint32 // operators to verify
	asked  []uint8  // of each group: members to verify
	copy   []byte   // a value with letters replaced

	raw, hits, unsure Bits

	dfas     []*dfa    // of each program
	early    []verdict // of each program: what its dfa said about the value
	answered []uint32  // programs that have said something
	ws       *workspace
	used     int // bytes of the dfas
}

// NewScratch makes a scratch for the set.
func (s *Set) NewScratch() *Scratch {
	return &Scratch{
		set: s, seen: make([]uint8, len(s.automaton.outs)), got: make([]uint8, len(s.trails)),
		asked: make([]uint8, len(s.groups)),
		raw:   s.newBits(), hits: s.newBits(), unsure: s.newBits(),
		dfas: make([]*dfa, s.programs), early: make([]verdict, s.programs), ws: newWorkspace(s.insts),
	}
}

// Acquire returns a scratch that was released, which knows what it has
// learned, or a new one.
func (s *Set) Acquire() *Scratch {
	if sc := s.idle.take(); sc != nil {
		return sc
	}
	return s.NewScratch()
}

// Release keeps the scratch for the next Acquire. Answers that it gave are void.
func (s *Set) Release(sc *Scratch) { s.idle.put(sc) }

// idleScratches are those that wait to be used again; the one that was used last is
// the first to be taken. As many are kept as processors. More goroutines than that
// may run for a while, and one whose scratch begins anew each time is half as fast:
// the others wait until the garbage collector takes them.
type idleScratches struct {
	mu    sync.Mutex
	list  []*Scratch
	most  int
	spare sync.Pool
}

// take returns one; nil if there is none.
func (i *idleScratches) take() *Scratch {
	i.mu.Lock()
	if last := len(i.list) - 1; last >= 0 {
		defer i.mu.Unlock()
		sc := i.list[last]
		i.list = i.list[:last]
		return sc
	}
	i.mu.Unlock()
	sc, _ := i.spare.Get().(*Scratch)
	return sc
}

func (i *idleScratches) put(sc *Scratch) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.list) < i.most {
		i.list = append(i.list, sc)
	} else {
		i.spare.Put(sc)
	}
}

// An Answer says which operators of a class match a value. It is valid until
// the scratch is used again.
type Answer struct {
	Hits   Bits // those that match, and those that may
	Unsure Bits // those that were not decided; empty after Match
}

// Match returns the operators of the class that match value. The scratch must be
// one of the class's set.
func (c *Class) Match(sc *Scratch, value string) Answer { return c.match(sc, value, true) }

// MayMatch is Match at a bounded price: an operator whose verification would
// need package regexp is reported as one that may match.
func (c *Class) MayMatch(sc *Scratch, value string) Answer { return c.match(sc, value, false) }

// A Found is what a screen has found in a value: of which of its operators the literals
// are there. It holds nothing of the value.
type Found struct {
	todo []uint32 // to be verified
	raw  Bits     // that match
}

// Of reports whether operators of the class were found.
func (f *Found) Of(c *Class) bool {
	for w, word := range f.raw {
		if word&c.members[w] != 0 {
			return true
		}
	}
	return slices.ContainsFunc(f.todo, func(i uint32) bool { return c.members.Has(int(i)) })
}

// Clear makes it one of nothing.
func (f *Found) Clear() { f.todo, f.raw = f.todo[:0], f.raw[:0] }

// Screen finds the operators of the class that may match the value, or a text
// that differs from it in the case of ASCII letters only, as far as literals tell: no
// others do. The members must be such that Set.Screens says yes.
func (c *Class) Screen(sc *Scratch, value string, into *Found) {
	sc.look(c, value)
	if into.Clear(); len(sc.todo) > 0 || sc.raw.Any() {
		into.todo, into.raw = append(into.todo, sc.todo...), append(into.raw, sc.raw...)
	}
}

// MatchFound is Match for what a screen has found, in the value or in one that differs
// from it in the case of ASCII letters only. The members must be members of the
// screen.
func (c *Class) MatchFound(sc *Scratch, value string, found *Found) Answer {
	return c.matchFound(sc, value, found, true)
}

// MayMatchFound is MayMatch for the same.
func (c *Class) MayMatchFound(sc *Scratch, value string, found *Found) Answer {
	return c.matchFound(sc, value, found, false)
}

func (c *Class) matchFound(sc *Scratch, value string, found *Found, exact bool) Answer {
	sc.members = c.members
	clear(sc.raw)
	for w, word := range found.raw {
		sc.raw[w] = word & c.members[w]
	}
	sc.todo = sc.todo[:0]
	for _, i := range found.todo {
		if c.members.Has(int(i)) {
			sc.todo = append(sc.todo, i)
		}
	}
	return c.verify(sc, value, exact)
}

// look notes which operators of the class have to be verified for the value.
func (sc *Scratch) look(c *Class, value string) {
	sc.members = c.members
	clear(sc.raw)
	sc.todo = append(sc.todo[:0], c.direct...)
	if a := c.automaton.Load(); a != nil {
		sc.read(a, value)
		sc.collect()
	}
}

func (c *Class) match(sc *Scratch, value string, exact bool) Answer {
	sc.look(c, value)
	return c.verify(sc, value, exact)
}

// verify decides about the operators that are to be verified for the value.
func (c *Class) verify(sc *Scratch, value string, exact bool) Answer {
	clear(sc.unsure)
	if len(sc.todo) == 0 {
		sc.tell(c)
		return Answer{sc.hits, sc.unsure}
	}
	clear(sc.asked)
	for _, id := range sc.answered {
		sc.early[id] = unasked
	}
	sc.answered = sc.answered[:0]
	for _, i := range sc.todo {
		if g := c.set.operators[i].group; g >= 0 {
			sc.asked[g]++
		}
	}
	sc.prepare(value)
	for _, i := range sc.todo {
		sc.verify(i, value, exact)
	}
	sc.tell(c)
	return Answer{sc.hits, sc.unsure}
}

// tell makes hits of what was found.
func (sc *Scratch) tell(c *Class) {
	for w := range sc.hits {
		sc.hits[w] = (sc.raw[w]^c.negated[w])&c.members[w] | sc.unsure[w]
	}
}

// collect adds to todo, once, each operator of which a whole trail was seen.
func (sc *Scratch) collect() {
	for _, t := range sc.open {
		// Until operators are verified, raw holds those that are in todo.
		if tr := &sc.set.trails[t]; sc.got[t] == tr.need && !sc.raw.Has(int(tr.operator)) {
			sc.raw.set(int(tr.operator))
			sc.todo = append(sc.todo, tr.operator)
		}
		sc.got[t] = 0
	}
	for _, t := range sc.open {
		op := sc.set.trails[t].operator
		sc.raw[op>>6] &^= 1 << (op & 63)
	}
	sc.open = sc.open[:0]
}

// read looks for literals in value, and once more in a copy with s and k where
// it has the two runes that (?i) takes for them.
func (sc *Scratch) read(a *automaton, value string) {
	if len(value) < a.least {
		return
	}
	if sc.scan++; sc.scan == 0 {
		clear(sc.seen)
		sc.scan = 1
	}
	sc.folded = false
	scan(a, value, sc)
	if strings.IndexByte(value, longSText[0]) < 0 && strings.IndexByte(value, kelvinText[0]) < 0 {
		return
	}
	if copied, ok := sc.set.fold(sc.copy[:0], value); ok {
		sc.folded = true
		scan(a, copied, sc)
		clear(copied) // nothing of a value stays
		if sc.copy = copied; cap(copied) > maxCopy {
			sc.copy = nil
		}
	}
}

// maxCopy is the largest copy whose memory is kept, in bytes.
const maxCopy = 64 << 10

const (
	longSText  = string(longS)
	kelvinText = string(kelvin)
)

// foldLetters appends value to dst with the long s and the Kelvin sign
// replaced, and reports whether there were any.
func foldLetters(dst []byte, value string) ([]byte, bool) {
	found, done := false, 0 // so much of value is in dst
	for i := 0; i < len(value); i++ {
		letter, width := byte('s'), len(longSText)
		switch value[i] {
		case longSText[0]:
			if !strings.HasPrefix(value[i:], longSText) {
				continue
			}
		case kelvinText[0]:
			if !strings.HasPrefix(value[i:], kelvinText) {
				continue
			}
			letter, width = 'k', len(kelvinText)
		default:
			continue
		}
		dst = append(append(dst, value[done:i]...), letter)
		found, done = true, i+width
		i = done - 1
	}
	if !found {
		return dst, false // and nobody needs the copy
	}
	return append(dst, value[done:]...), true
}

// found notes the owners of an output, and of those that end with it.
func (sc *Scratch) found(a *automaton, o uint32) {
	for o != 0 && sc.seen[o] != sc.scan {
		sc.seen[o] = sc.scan
		out := &a.outs[o]
		for _, own := range a.owners[out.first:out.end] {
			if !sc.members.Has(int(own.operator)) {
				continue
			}
			if own.bit == wholeMatch {
				// Phrases know no case beyond ASCII.
				if !sc.folded {
					sc.raw.set(int(own.operator))
				}
				continue
			}
			if sc.got[own.trail] == 0 {
				sc.open = append(sc.open, own.trail)
			}
			sc.got[own.trail] |= own.bit
		}
		o = out.suffix
	}
}

// verify decides about one operator.
func (sc *Scratch) verify(i uint32, value string, exact bool) {
	op := &sc.set.operators[i]
	matched := false
	switch op.Kind {
	case Pattern:
		switch sc.decide(op, value) {
		case matches:
			matched = true
		case undecided:
			if !exact {
				sc.unsure.set(int(i))
				return
			}
			matched = op.engine().MatchString(value)
		}
	case Contains:
		matched = strings.Contains(value, op.Text)
	case BeginsWith:
		matched = strings.HasPrefix(value, op.Text)
	case EndsWith:
		matched = strings.HasSuffix(value, op.Text)
	case Equal:
		matched = value == op.Text
	case Within:
		matched = strings.Contains(op.Text, value)
	case ByteRange:
		matched = op.outside(value)
	}
	if matched {
		sc.raw.set(int(i))
	}
}

// prepare runs, two at a time, the dfas that decide will ask first.
func (sc *Scratch) prepare(value string) {
	var waiting *program
	for _, i := range sc.todo {
		p := sc.first(&sc.set.operators[i])
		if p == nil || p == waiting || sc.early[p.id] != unasked {
			continue
		}
		if waiting == nil {
			waiting = p
			continue
		}
		a, b := sc.dfa(waiting), sc.dfa(p)
		before := a.bytes + b.bytes
		va, vb := runBoth(a, b, value, sc.set.limits.budget(value))
		sc.early[a.prog.id], sc.early[b.prog.id] = va, vb
		sc.answered = append(sc.answered, uint32(a.prog.id), uint32(b.prog.id))
		sc.account(a.bytes + b.bytes - before)
		waiting = nil
	}
}

// first returns the program that decide asks first; nil if there is none.
func (sc *Scratch) first(op *compiled) *program {
	switch {
	case op.group >= 0 && sc.asked[op.group] > 1:
		return sc.set.groups[op.group].prog
	case op.loose != nil:
		return op.loose
	}
	return op.prog
}

// decide lets the dfas of a pattern decide, within the limits.
func (sc *Scratch) decide(op *compiled, value string) verdict {
	if op.group >= 0 && sc.asked[op.group] > 1 && sc.run(sc.set.groups[op.group].prog, value) == clean {
		return clean
	}
	if op.loose != nil {
		if v := sc.run(op.loose, value); v != matches {
			return v
		}
	}
	if op.prog == nil {
		return undecided
	}
	return sc.run(op.prog, value)
}

// run returns what the dfa of the program makes of value. It is asked once.
func (sc *Scratch) run(p *program, value string) verdict {
	if v := sc.early[p.id]; v != unasked {
		return v
	}
	d := sc.dfa(p)
	before := d.bytes
	v := d.run(value, sc.set.limits.budget(value))
	sc.early[p.id] = v
	sc.answered = append(sc.answered, uint32(p.id))
	sc.account(d.bytes - before)
	return v
}

func (sc *Scratch) dfa(p *program) *dfa {
	if sc.dfas[p.id] == nil {
		sc.dfas[p.id] = newDFA(p, sc.ws)
	}
	return sc.dfas[p.id]
}

// account adds to what the dfas take, and forgets it all where that is too much.
func (sc *Scratch) account(bytes int) {
	if sc.used += bytes; sc.used > sc.set.limits.memory {
		for _, d := range sc.dfas {
			if d != nil {
				d.reset()
			}
		}
		sc.used = 0
	}
}

// outside reports whether a byte of value is in none of the ranges.
func (c *compiled) outside(value string) bool {
	for i := range len(value) {
		if !c.ranges.Has(value[i]) {
			return true
		}
	}
	return false
}

// All yields the operators in b, in order.
func (b Bits) All() iter.Seq[int] {
	return func(yield func(int) bool) {
		for w, word := range b {
			for ; word != 0; word &= word - 1 {
				if !yield(w<<6 + bits.TrailingZeros64(word)) {
					return
				}
			}
		}
	}
}

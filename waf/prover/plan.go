package prover

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"sallyport/waf/rx"
	"sallyport/waf/transform"
)

// An atom is a condition on values: it holds once a value of one of its targets
// matches. Links of rules are made of them.
type atom = int32

// bitset is a set of atoms.
type bitset []uint64

func (b bitset) has(a atom) bool { return b[a>>6]>>(a&63)&1 != 0 }
func (b bitset) set(a atom)      { b[a>>6] |= 1 << (a & 63) }

// A look is what one target of a link asks of the values of a source.
type look struct {
	atom  atom
	chain []int // transformations, by index into the compiler's
	set   int   // of package rx; -1: tests decide
	op    int   // in that set, or a test
	where selector
}

// A selector says which values of a source a target is about.
type selector struct {
	key     string // in lower case
	pattern int    // of keys; -1: none
	keyed   bool   // only values with the key, or whose key matches the pattern
	except  []selector
}

// Bounds of what is compiled while requests are judged: combinations of patterns
// that keys match, beyond which a coarser plan answers, at a price but no less
// exactly, kinds of values at one state, steps of all states together, beyond
// which all are forgotten: a few megabytes, and soon made again, and states that are
// shared.
const (
	maxCombinations = 64
	maxKinds        = 512
	maxSteps        = 4096
	maxStates       = 2 * maxSteps
)

// A plan says for the values of one source what to look for in them.
type plan struct {
	c     *compiled
	looks []int // indexes into those of c
	// keys are the keys that targets name, and patterns what they ask of others:
	// a class of package rx, whose hits choose the plan of a key.
	keys     map[string]bool
	patterns *rx.Class
	states   atomic.Pointer[states]
	plainAny bool // there are neither keys nor patterns
}

// states are those of a plan.
type states struct {
	any   *state   // of a key that no target speaks of
	byKey sync.Map // key or combination to *state
	built atomic.Int32
}

// A state is the looks at a value that is the same to all of them, from where
// they stand in their transformations.
type state struct {
	c     *compiled
	id    uint64 // of all states of the process
	at    []position
	needs transform.Kinds                 // a value without any of them comes to nothing
	uses  kept                            // transformations that are still to be done
	near  [nearSteps]atomic.Pointer[step] // some of steps, by their shape
	steps atomic.Pointer[map[shape]*step]
	mu    sync.Mutex
}

// nearSteps is how many steps of a state are found without looking into a map.
const nearSteps = 8

// kept are transformations that leave a value as it is, as bits by index.
type kept uint64

// A shape is what transformations do to a value, and what can be found in it, as far
// as its kinds of bytes tell.
type shape struct {
	kept   kept
	lowers kept  // those that do nothing but make small letters of A to Z
	over   uint8 // the alphabet that it is of
}

// of returns the part of the shape that a state with these transformations cares
// about.
func (k shape) of(uses kept) shape { return shape{k.kept & uses, k.lowers & uses, k.over} }

// near is where a state looks for the step first.
func (k shape) near() uint64 {
	return (uint64(k.kept^k.lowers<<1) + uint64(k.over)<<56) * 0x9e3779b97f4a7c15 >> 32 % nearSteps
}

// shape returns the shape of all values of these kinds.
func (c *compiled) shape(kinds transform.Kinds) shape {
	var acts kept
	small := kinds.Lowered()
	for k := uint32(small); k != 0; k &= k - 1 {
		acts |= c.acts[bits.TrailingZeros32(k)]
	}
	keeps := ^(acts | c.acts[len(c.acts)-1])
	if small == kinds {
		return shape{kept: keeps, over: alphabetOf(kinds)}
	}
	return shape{keeps &^ c.lowering, keeps & c.lowering, alphabetOf(kinds)}
}

// tabulate fills in which transformations act on which kinds of bytes, and, last,
// on all values.
func (c *compiled) tabulate() {
	for i, t := range c.transformations {
		for kind := range len(c.acts) - 1 {
			if !t.Keeps(1 << kind) {
				c.acts[kind] |= 1 << i
			}
		}
		if !t.Keeps(0) {
			c.acts[len(c.acts)-1] |= 1 << i
		}
		if t.Lowers() {
			c.lowering |= 1 << i
		}
	}
}

// A position is a look and how many of its transformations are done.
type position struct{ look, done int }

// A step is what is done with a value of a shape.
type step struct {
	shape shape
	scans []scan
	tests []tested
	edges []edge
	// lowered are the edges of transformations that do nothing but make small
	// letters. Operators are looked for by literals in either case, so that one
	// pass, over the value itself, mostly tells that none of them matches either:
	// screens are those that it can be told of, of the scans and of those behind
	// lowered.
	lowered []lowered
	screens []scan
}

// A scan is a class of operators, and the atoms behind each.
type scan struct {
	class *rx.Class
	tells *rx.Class // those of which a screen can tell; nil: there are none
	rest  *rx.Class // the others; nil: there are none
	set   int
	atoms map[int][]atom
	needs transform.Kinds // in a value without any of them nothing is found
}

// shared are the states of all plans and the scans of all steps, by what they are
// made of.
type shared struct {
	sync.Mutex
	states map[string]*state
	scans  map[string]scan
}

func (s *shared) forget() {
	s.Lock()
	defer s.Unlock()
	s.states, s.scans = map[string]*state{}, map[string]scan{}
}

type tested struct {
	test  test
	atoms []atom
}

// An edge leads to what a transformation makes of a value.
type edge struct {
	by    *transform.Transformation
	n     int // its index
	next  *state
	needs transform.Kinds // what is made of a value without any of them comes to nothing
}

// A lowered edge leads to the value in small letters.
type lowered struct {
	edge
	step *step // what is done with it
	// silent says that it is not needed where the screens have found nothing of it.
	silent bool
}

// stateFor returns the state of the values with the key.
func (p *plan) stateFor(r *reader, key string) *state {
	all := p.states.Load()
	if p.plainAny {
		return all.any
	}
	lower := r.lower(key)
	var hits rx.Bits
	if p.patterns != nil {
		hits = p.patterns.Match(r.of(p.c.keySet), lower).Hits
		if !hits.Any() {
			hits = nil
		}
	}
	named := p.keys[lower]
	if !named && hits == nil {
		return all.any
	}
	id := ""
	if named {
		id = lower
	}
	id += "\x00"
	for i := range hits.All() {
		id += strconv.Itoa(i) + ","
	}
	if s, ok := all.byKey.Load(id); ok {
		return s.(*state)
	}
	exact := true
	if int(all.built.Load()) >= maxCombinations+len(p.keys) {
		exact = false // exceptions are left out: that finds more, never less
	}
	s := p.compile(strings.Clone(lower), hits, exact)
	if exact {
		if _, loaded := all.byKey.LoadOrStore(strings.Clone(id), s); !loaded {
			all.built.Add(1)
		}
	}
	return s
}

// compile makes the state of a key. hits are the patterns that it matches; where
// it is not exact, no value is taken out.
func (p *plan) compile(lower string, hits rx.Bits, exact bool) *state {
	var at []position
	is := func(w selector) bool {
		if w.pattern >= 0 {
			return hits != nil && hits.Has(w.pattern)
		}
		return w.key == lower
	}
	for _, i := range p.looks {
		w := &p.c.looks[i].where
		if w.keyed && !is(*w) || exact && slices.ContainsFunc(w.except, func(e selector) bool { return !e.keyed || is(e) }) {
			continue
		}
		at = append(at, position{i, 0})
	}
	return p.c.state(at)
}

// stateIDs are the ids of states that were given out.
var stateIDs atomic.Uint64

// state returns the state of the positions, and makes it unless there is one: many
// values come to the same looks on different ways.
func (c *compiled) state(at []position) *state {
	var key []byte
	for _, p := range at {
		key = binary.AppendUvarint(binary.AppendUvarint(key, uint64(p.look)), uint64(p.done))
	}
	c.shared.Lock()
	defer c.shared.Unlock()
	if s := c.shared.states[string(key)]; s != nil {
		return s
	}
	s := &state{c: c, id: stateIDs.Add(1), at: at}
	for _, p := range at {
		s.needs |= c.needs(p)
		for _, t := range c.looks[p.look].chain[p.done:] {
			s.uses |= 1 << t
		}
	}
	if len(c.shared.states) < maxStates {
		c.shared.states[string(key)] = s
	}
	return s
}

// step returns what is done with a value of the shape.
func (s *state) step(k shape) *step {
	near := &s.near[k.near()]
	if st := near.Load(); st != nil && st.shape == k {
		return st
	}
	if m := s.steps.Load(); m != nil {
		if st := (*m)[k]; st != nil {
			near.Store(st)
			return st
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	known := map[shape]*step{}
	if m := s.steps.Load(); m != nil {
		if st := (*m)[k]; st != nil {
			return st
		}
		if len(*m) < maxKinds { // else all are forgotten, and the usual ones are soon back
			maps.Copy(known, *m)
		}
	}
	st := s.resolve(k)
	known[k] = st
	s.steps.Store(&known)
	if s.c.steps.Add(1) == s.c.most {
		s.c.renew()
	}
	return st
}

// renew makes the states of all plans anew. Who is at work goes on with the old
// ones.
func (c *compiled) renew() {
	c.shared.forget()
	for _, p := range c.plans {
		p.states.Store(&states{any: p.compile(otherKey, nil, true)})
	}
	c.steps.Store(0)
}

// resolve finds which looks see a value as it is, and what becomes of it for the
// others.
func (s *state) resolve(k shape) *step {
	st := &step{shape: k}
	found := make([]map[int][]atom, len(s.c.sets)) // by set and operator
	tests := map[int][]atom{}
	edges := map[int][]position{}
	var order []int
	for _, at := range s.at {
		l := s.c.looks[at.look]
		for at.done < len(l.chain) && k.kept>>l.chain[at.done]&1 != 0 {
			at.done++
		}
		if !s.c.possible(at, k) {
			continue
		}
		if at.done < len(l.chain) {
			t := l.chain[at.done]
			if edges[t] == nil {
				order = append(order, t)
			}
			edges[t] = append(edges[t], position{at.look, at.done + 1})
			continue
		}
		if l.set < 0 {
			tests[l.op] = append(tests[l.op], l.atom)
			continue
		}
		if found[l.set] == nil {
			found[l.set] = map[int][]atom{}
		}
		if atoms := found[l.set][l.op]; !slices.Contains(atoms, l.atom) {
			found[l.set][l.op] = append(atoms, l.atom)
		}
	}
	for set, atoms := range found {
		if len(atoms) > 0 {
			st.scans = append(st.scans, s.c.scan(set, atoms))
		}
	}
	for op, found := range tests {
		slices.Sort(found)
		st.tests = append(st.tests, tested{s.c.tests[op], slices.Compact(found)})
	}
	for _, t := range order {
		next := s.c.state(edges[t])
		e := edge{s.c.transformations[t], t, next, before(s.c.transformations[t], next.needs)}
		if k.lowers>>t&1 == 0 {
			st.edges = append(st.edges, e)
			continue
		}
		after := next.step(shape{kept: k.kept | k.lowers, over: k.over}.of(next.uses))
		st.lowered = append(st.lowered, lowered{e, after, after.quiet()})
	}
	if len(st.lowered) > 0 {
		st.screens = s.c.screens(st)
	}
	return st
}

// scan returns the scan for operators of a set, and makes it unless another step
// has the same.
func (c *compiled) scan(set int, atoms map[int][]atom) scan {
	operators := slices.Sorted(maps.Keys(atoms))
	key := strconv.AppendInt(nil, int64(set), 10)
	for _, op := range operators {
		key = fmt.Appendf(key, " %d%v", op, atoms[op])
	}
	c.shared.Lock()
	defer c.shared.Unlock()
	if sc, ok := c.shared.scans[string(key)]; ok {
		return sc
	}
	sc := scan{set: set, atoms: atoms, class: c.class(set, operators)}
	var tells, rest []int
	for _, op := range operators {
		sc.needs |= c.need(set, op)
		if c.sets[set].Screens(op) {
			tells = append(tells, op)
		} else {
			rest = append(rest, op)
		}
	}
	if len(tells) > 0 {
		sc.tells = c.class(set, tells)
	}
	if len(rest) > 0 {
		sc.rest = c.class(set, rest)
	}
	c.shared.scans[string(key)] = sc
	return sc
}

func (c *compiled) class(set int, operators []int) *rx.Class {
	class, err := c.sets[set].Class(operators...)
	if err != nil {
		panic("prover: " + err.Error()) // the operators are those of the set
	}
	return class
}

// screens returns what is to be looked for in a value for its scans and for those
// of its lowered edges, by set.
func (c *compiled) screens(st *step) (screens []scan) {
	operators := make([][]int, len(c.sets))
	needs := make([]transform.Kinds, len(c.sets))
	add := func(scans []scan) {
		for i := range scans {
			for op := range scans[i].atoms {
				if set := scans[i].set; c.sets[set].Screens(op) {
					operators[set] = append(operators[set], op)
					needs[set] |= c.need(set, op)
				}
			}
		}
	}
	add(st.scans)
	for i := range st.lowered {
		add(st.lowered[i].step.scans)
	}
	for set, ops := range operators {
		if len(ops) > 0 {
			screens = append(screens, scan{set: set, class: c.class(set, ops), needs: needs[set]})
		}
	}
	return screens
}

// quiet reports whether nothing is done but scans of which a screen tells.
func (st *step) quiet() bool {
	return len(st.tests)+len(st.edges)+len(st.lowered) == 0 && !slices.ContainsFunc(st.scans, func(sc scan) bool { return sc.rest != nil })
}

package prover

import (
	"runtime"
	"strings"
	"unsafe"

	"sallyport/waf/rx"
	"sallyport/waf/transform"
)

// A reader looks at values. It is for one goroutine at a time.
type reader struct {
	fired   bitset
	alone   bitset // for what one value comes to
	unsure  bool   // an atom was noted only because a budget ended
	sets    []*rx.Set
	scratch []*rx.Scratch // of each set, from its first use to shut
	made    [][][]byte    // of each depth, what each transformation made
	found   [][]rx.Found  // of each depth, what screens have found, by set
	low     []byte
	budget  int         // bytes that may still be looked at
	turn    int         // bytes until others get their turn
	heavy   func() bool // asked at the first time; false: nothing more is read
	asked   bool
	exact   int // bytes about which what is undecided may still be decided
	spent   bool
}

// of returns the scratch of a set, which the reader has until shut.
func (r *reader) of(set int) *rx.Scratch {
	if r.scratch[set] == nil {
		r.scratch[set] = r.sets[set].Acquire()
	}
	return r.scratch[set]
}

// shut gives the scratches back.
func (r *reader) shut() {
	for i, sc := range r.scratch {
		if sc != nil {
			r.sets[i].Release(sc)
			r.scratch[i] = nil
		}
	}
}

// lower returns the key in lower case, as the engine files it. It is valid until
// the next call.
func (r *reader) lower(key string) string {
	for i := range len(key) {
		if c := key[i]; c >= 0x80 {
			return strings.ToLower(key)
		} else if 'A' <= c && c <= 'Z' {
			r.low = append(r.low[:0], key...)
			for j, c := range r.low {
				if 'A' <= c && c <= 'Z' {
					r.low[j] = c | 0x20
				} else if c >= 0x80 {
					return strings.ToLower(key)
				}
			}
			return view(r.low)
		}
	}
	return key
}

// view returns the bytes as a string without a copy. They must not change as long
// as it is used.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// read looks at a value and notes the atoms that it matches.
func (r *reader) read(s *state, value string, depth int) {
	if !r.charge(value) {
		return
	}
	if kinds := transform.KindsOf(value) | whatever; kinds&s.needs != 0 {
		r.run(s, s.step(s.c.shape(kinds&^whatever).of(s.uses)), value, kinds, depth, nil)
	}
}

// charge takes a value off what may still be read, and reports whether it may.
func (r *reader) charge(value string) bool {
	if r.budget -= len(value) + 16; r.budget < 0 {
		r.spent = true
		return false
	}
	if r.turn -= len(value) + 16; r.turn < 0 {
		r.pause()
	}
	return !r.spent
}

// turnBytes is after how many bytes the reader lets others run: it takes some tenths
// of a millisecond. Go itself would let them wait for ten. heavyBytes is from how
// many on a request is a heavy one.
const (
	turnBytes  = 32 << 10
	heavyBytes = 64 << 10
)

// pause lets others run, and asks once whether a heavy request may go on. Meanwhile
// they have its scratches: what those have learned is shared by those who run, and
// not by all who wait.
func (r *reader) pause() {
	r.shut()
	r.turn = turnBytes
	if !r.asked && r.heavy != nil {
		r.asked = true
		r.spent = !r.heavy()
	}
	runtime.Gosched()
}

// run does what a step says with a value that has these kinds of bytes. With found, a
// screen has told, by set, which operators of the scans may match, of those of which
// one can tell.
func (r *reader) run(s *state, st *step, value string, kinds transform.Kinds, depth int, found []rx.Found) {
	if len(st.edges)+len(st.lowered) > 0 {
		for len(r.made) <= depth {
			r.made = append(r.made, make([][]byte, len(s.c.transformations)))
		}
		if made := r.make(s, st, value, kinds, depth); made != st {
			st, found = made, nil // there is more to look for
		}
	}
	lower := kinds.Lowered()
	if found == nil && len(st.lowered) > 0 {
		found = r.screen(st, value, kinds|lower, depth)
	}
	for i := range st.scans {
		sc := &st.scans[i]
		switch {
		case kinds&sc.needs == 0:
		case found == nil:
			r.match(sc, sc.class, value, nil)
		default:
			if f := &found[sc.set]; sc.tells != nil && f.Of(sc.tells) {
				r.match(sc, sc.tells, value, f)
			}
			if sc.rest != nil {
				r.match(sc, sc.rest, value, nil)
			}
		}
	}
	for i := range st.tests {
		if t := &st.tests[i]; !r.all(t.atoms) && t.test(value) {
			r.note(t.atoms)
		}
	}
	for i := range st.lowered {
		e := &st.lowered[i]
		if e.silent && !e.wanted(found) || lower&e.next.needs == 0 {
			continue
		}
		made := &r.made[depth][e.n]
		*made = e.by.Append((*made)[:0], value)
		if r.charge(value) {
			r.run(e.next, e.step, view(*made), lower, depth+1, found)
		}
	}
	for i := range st.edges {
		e := &st.edges[i]
		if kinds&e.needs == 0 {
			continue
		}
		r.read(e.next, view(r.made[depth][e.n]), depth+1)
	}
}

// match notes the atoms of the operators of a class of the scan that match a value:
// of all, or of those that a screen has found.
func (r *reader) match(sc *scan, class *rx.Class, value string, found *rx.Found) {
	ask := func(exact bool) rx.Answer {
		switch with := r.of(sc.set); {
		case found == nil && exact:
			return class.Match(with, value)
		case found == nil:
			return class.MayMatch(with, value)
		case exact:
			return class.MatchFound(with, value, found)
		default:
			return class.MayMatchFound(with, value, found)
		}
	}
	answer := ask(false)
	if answer.Unsure.Any() && len(value) <= r.exact {
		r.exact -= len(value)
		answer = ask(true)
	}
	if answer.Hits.Any() {
		r.unsure = r.unsure || answer.Unsure.Any()
		for op := range answer.Hits.All() {
			r.note(sc.atoms[op])
		}
	}
}

// screen finds, by set, the operators of the screens that may match a value which has
// these kinds of bytes, or has them in small letters.
func (r *reader) screen(st *step, value string, kinds transform.Kinds, depth int) []rx.Found {
	for len(r.found) <= depth {
		r.found = append(r.found, make([]rx.Found, len(r.sets)))
	}
	found := r.found[depth]
	for i := range found {
		found[i].Clear()
	}
	for i := range st.screens {
		if sc := &st.screens[i]; kinds&sc.needs != 0 {
			sc.class.Screen(r.of(sc.set), value, &found[sc.set])
		}
	}
	return found
}

// wanted reports whether a scan of the step that the edge leads to has to look at what
// was found.
func (e *lowered) wanted(found []rx.Found) bool {
	for i := range e.step.scans {
		if sc := &e.step.scans[i]; sc.tells != nil && found[sc.set].Of(sc.tells) {
			return true
		}
	}
	return false
}

// make makes what the edges of a step need for a value that has these kinds of bytes.
// A transformation that leaves the value as it is leads to no other value: its looks
// are done with the others at this one. It returns the step that is left then.
func (r *reader) make(s *state, st *step, value string, kinds transform.Kinds, depth int) *step {
	made, k := r.made[depth], st.shape
	var done uint64
	for {
		before := k
		for i := range st.edges {
			e := &st.edges[i]
			if done>>e.n&1 != 0 || kinds&e.needs == 0 {
				continue
			}
			done |= 1 << e.n
			if made[e.n] = e.by.Append(made[e.n][:0], value); view(made[e.n]) == value {
				k.kept |= 1 << e.n
			}
		}
		if k == before {
			return st
		}
		st = s.step(k)
	}
}

// maxBuffer is how large a buffer may be that is kept for the next request.
const maxBuffer = 64 << 10

// forget wipes what is left of the values.
func (r *reader) forget() {
	for _, made := range r.made {
		for i, b := range made {
			if b = b[:cap(b)]; len(b) > maxBuffer {
				b = nil
			}
			clear(b)
			made[i] = b
		}
	}
	r.spent, r.fired, r.heavy, r.asked = false, nil, nil, false
}

func (r *reader) note(atoms []atom) {
	for _, a := range atoms {
		r.fired.set(a)
	}
}

// all reports whether all of the atoms hold already.
func (r *reader) all(atoms []atom) bool {
	for _, a := range atoms {
		if !r.fired.has(a) {
			return false
		}
	}
	return true
}

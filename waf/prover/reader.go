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
	if r.charge(value) {
		r.run(s, s.step(s.c.shape(transform.KindsOf(value)).of(s.uses)), value, depth, false)
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

// run does what a step says. With screened, a screen has told that no operator of
// the scans matches but those of which none can tell.
func (r *reader) run(s *state, st *step, value string, depth int, screened bool) {
	if len(st.edges)+len(st.lowered) > 0 {
		for len(r.made) <= depth {
			r.made = append(r.made, make([][]byte, len(s.c.transformations)))
		}
		if made := r.make(s, st, value, depth); made != st {
			st, screened = made, false // there is more to look for
		}
	}
	if !screened && len(st.lowered) > 0 {
		screened = r.screen(st, value)
	}
	for i := range st.scans {
		sc := &st.scans[i]
		class := sc.class
		if screened {
			if class = sc.rest; class == nil {
				continue
			}
		}
		answer := class.MayMatch(r.of(sc.set), value)
		if answer.Unsure.Any() && len(value) <= r.exact {
			r.exact -= len(value)
			answer = class.Match(r.of(sc.set), value)
		}
		if answer.Hits.Any() {
			r.unsure = r.unsure || answer.Unsure.Any()
			for op := range answer.Hits.All() {
				r.note(sc.atoms[op])
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
		if screened && e.silent {
			continue
		}
		made := &r.made[depth][e.n]
		*made = e.by.Append((*made)[:0], value)
		if r.charge(value) {
			r.run(e.next, e.step, view(*made), depth+1, screened)
		}
	}
	for i := range st.edges {
		e := &st.edges[i]
		r.read(e.next, view(r.made[depth][e.n]), depth+1)
	}
}

// screen reports whether no operator of the screens can match a value.
func (r *reader) screen(st *step, value string) bool {
	for i := range st.screens {
		if sc := &st.screens[i]; sc.class.Screen(r.of(sc.set), value) {
			return false
		}
	}
	return true
}

// make makes what the edges of a step need. A transformation that leaves the value
// as it is leads to no other value: its looks are done with the others at this
// one. It returns the step that is left then.
func (r *reader) make(s *state, st *step, value string, depth int) *step {
	made, k := r.made[depth], st.shape
	var done uint64
	for {
		before := k
		for i := range st.edges {
			e := &st.edges[i]
			if done>>e.n&1 != 0 {
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

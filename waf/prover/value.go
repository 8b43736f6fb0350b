package prover

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"

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
// that keys match, and kinds of bytes that values have. Beyond them a coarser
// plan answers, at a price but no less exactly.
const (
	maxCombinations = 64
	maxKinds        = 512
)

// A plan says for the values of one source what to look for in them.
type plan struct {
	c     *compiled
	looks []int // indexes into those of c
	// keys are the keys that targets name, and patterns what they ask of others:
	// a class of package rx, whose hits choose the plan of a key.
	keys     map[string]bool
	patterns *rx.Class
	byKey    sync.Map // key or combination to *state
	built    atomic.Int32
	any      *state // of a key that no target speaks of
	plainAny bool   // there are neither keys nor patterns
}

// A state is the looks at a value that is the same to all of them, from where
// they stand in their transformations.
type state struct {
	c       *compiled
	at      []position
	byKinds atomic.Pointer[map[transform.Kinds]*step]
	mu      sync.Mutex
}

// A position is a look and how many of its transformations are done.
type position struct{ look, done int }

// A step is what is done with a value of certain kinds of bytes.
type step struct {
	scans []scan
	tests []tested
	edges []edge
}

// A scan is a class of operators, and the atoms behind each.
type scan struct {
	class *rx.Class
	set   int
	atoms map[int][]atom
}

type tested struct {
	test  test
	atoms []atom
}

// An edge leads to what a transformation makes of a value.
type edge struct {
	by   *transform.Transformation
	next *state
}

// stateFor returns the state of the values with the key.
func (p *plan) stateFor(r *reader, key string) *state {
	if p.plainAny {
		return p.any
	}
	lower := r.lower(key)
	var hits rx.Bits
	if p.patterns != nil {
		hits = p.patterns.Match(r.scratch[p.c.keySet], lower).Hits
		if !hits.Any() {
			hits = nil
		}
	}
	named := p.keys[lower]
	if !named && hits == nil {
		return p.any
	}
	id := ""
	if named {
		id = lower
	}
	id += "\x00"
	for i := range hits.All() {
		id += strconv.Itoa(i) + ","
	}
	if s, ok := p.byKey.Load(id); ok {
		return s.(*state)
	}
	exact := true
	if int(p.built.Load()) >= maxCombinations+len(p.keys) {
		exact = false // exceptions are left out: that finds more, never less
	}
	s := p.compile(strings.Clone(lower), hits, exact)
	if exact {
		if _, loaded := p.byKey.LoadOrStore(strings.Clone(id), s); !loaded {
			p.built.Add(1)
		}
	}
	return s
}

// compile makes the state of a key. hits are the patterns that it matches; where
// it is not exact, no value is taken out.
func (p *plan) compile(lower string, hits rx.Bits, exact bool) *state {
	s := &state{c: p.c}
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
		s.at = append(s.at, position{i, 0})
	}
	return s
}

// step returns what is done with a value of these kinds.
func (s *state) step(kinds transform.Kinds) *step {
	if m := s.byKinds.Load(); m != nil {
		if st := (*m)[kinds]; st != nil {
			return st
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	known := map[transform.Kinds]*step{}
	if m := s.byKinds.Load(); m != nil {
		if st := (*m)[kinds]; st != nil {
			return st
		}
		if len(*m) >= maxKinds {
			kinds = anyKinds
			if st := (*m)[kinds]; st != nil {
				return st
			}
		}
		for k, v := range *m {
			known[k] = v
		}
	}
	st := s.resolve(kinds)
	known[kinds] = st
	s.byKinds.Store(&known)
	return st
}

// anyKinds are all kinds of bytes: no transformation keeps a value that may have
// them all.
const anyKinds = ^transform.Kinds(0)

// resolve finds what transformations leave a value of these kinds as it is, and
// so which looks see it.
func (s *state) resolve(kinds transform.Kinds) *step {
	st := &step{}
	classes := make([][]int, len(s.c.sets))
	atoms := make([]map[int][]atom, len(s.c.sets))
	tests := map[int][]atom{}
	edges := map[int]*state{}
	var order []int
	for _, at := range s.at {
		l := s.c.looks[at.look]
		for at.done < len(l.chain) && s.c.transformations[l.chain[at.done]].Keeps(kinds) {
			at.done++
		}
		if at.done < len(l.chain) {
			t := l.chain[at.done]
			if edges[t] == nil {
				edges[t] = &state{c: s.c}
				order = append(order, t)
			}
			edges[t].at = append(edges[t].at, position{at.look, at.done + 1})
			continue
		}
		if l.set < 0 {
			tests[l.op] = append(tests[l.op], l.atom)
			continue
		}
		if atoms[l.set] == nil {
			atoms[l.set] = map[int][]atom{}
		}
		if atoms[l.set][l.op] == nil {
			classes[l.set] = append(classes[l.set], l.op)
		}
		if !slices.Contains(atoms[l.set][l.op], l.atom) {
			atoms[l.set][l.op] = append(atoms[l.set][l.op], l.atom)
		}
	}
	for set, ops := range classes {
		if len(ops) == 0 {
			continue
		}
		class, err := s.c.sets[set].Class(ops...)
		if err != nil {
			panic("prover: " + err.Error()) // the operators are those of the set
		}
		st.scans = append(st.scans, scan{class, set, atoms[set]})
	}
	for op, found := range tests {
		slices.Sort(found)
		st.tests = append(st.tests, tested{s.c.tests[op], slices.Compact(found)})
	}
	for _, t := range order {
		st.edges = append(st.edges, edge{s.c.transformations[t], edges[t]})
	}
	return st
}

// A reader looks at values. It is for one goroutine at a time.
type reader struct {
	fired   bitset
	scratch []*rx.Scratch // of each set
	buffers [][]byte      // of each depth of transformations
	low     []byte
	budget  int // bytes that may still be looked at
	spent   bool
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
	if r.budget -= len(value) + 16; r.budget < 0 {
		r.spent = true
		return
	}
	st := s.step(transform.KindsOf(value))
	for i := range st.scans {
		sc := &st.scans[i]
		answer := sc.class.MayMatch(r.scratch[sc.set], value)
		if answer.Hits.Any() {
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
	if len(st.edges) == 0 {
		return
	}
	for len(r.buffers) <= depth {
		r.buffers = append(r.buffers, nil)
	}
	for i := range st.edges {
		e := &st.edges[i]
		made := e.by.Append(r.buffers[depth][:0], value)
		r.buffers[depth] = made
		r.read(e.next, view(made), depth+1)
	}
}

// maxBuffer is how large a buffer may be that is kept for the next request.
const maxBuffer = 64 << 10

// forget wipes what is left of the values.
func (r *reader) forget() {
	for i, b := range r.buffers {
		if b = b[:cap(b)]; len(b) > maxBuffer {
			b = nil
		}
		clear(b)
		r.buffers[i] = b
	}
	r.spent, r.fired = false, nil
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

// keyPattern returns the pattern of keys as package rx takes it: the engine
// compiles it without the flags that it gives to operators.
func keyPattern(pattern string, v Variable) (string, bool) {
	if !caseSensitive[v] {
		pattern = strings.ToLower(pattern)
	}
	if _, err := regexp.Compile(pattern); err != nil {
		return "", false
	}
	return "(?-sm:" + pattern + ")", true
}

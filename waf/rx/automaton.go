package rx

import (
	"cmp"
	"slices"
	"unsafe"
)

// An automaton finds literals in a text in one pass, case-insensitively for
// ASCII (Aho and Corasick, 1975). It never changes once built.
//
// States near the root, where ordinary text spends its time, have a row with
// the next state for every class of bytes. The many states further down have
// their few children and the state to fall back to. A text of n bytes costs at
// most 2n steps, whatever it is made of.
type automaton struct {
	class  [256]uint8 // of each byte, the common ones first; class 0 is in no literal
	stride int        // length of a row
	dense  uint32     // states below have rows
	rows   []uint16   // next states, rowEnds added where a literal ends
	nodes  []node     // the other states
	forks  []fork     // children of nodes that have several
	starts [256]bool  // bytes that begin a literal
	few    bool       // there are so few of them that most of a text has none
	least  int        // bytes of the shortest literal
	output []uint32   // per state: index into outputs; 0: no literal ends here
	outs   []output   // from 1
	owners []owner
	of     Bits // the operators whose literals they are
	count  int  // of these; the same literal of two operators counts twice
}

// A node is a state without a row.
type node struct {
	fail  uint32
	child uint32 // the only child, or the first of its forks
	count uint8  // children
	class uint8  // that leads to the only child
}

type fork struct {
	child uint32
	class uint8
}

// An output is a literal, and the longest other literal that ends where it ends.
type output struct {
	first, end uint32 // its owners
	suffix     uint32 // another output; 0: none
}

// An owner is what a literal belongs to.
type owner struct {
	operator uint32
	trail    uint32 // one of the set's trails
	bit      uint8  // of the trail's factor that the literal is in; wholeMatch: the literal is a match
}

// wholeMatch marks a literal that needs no verification.
const wholeMatch = 1 << 7

// ends marks a state, where it is the target of a step, at which a literal ends,
// and rowEnds does in rows.
const (
	ends    = 1 << 31
	rowEnds = 1 << 15
)

// A literal is a text to find, in the folded alphabet, and whose it is.
type literal struct {
	text string
	owner
}

// A trie is the automaton while it is built. Children are lists of siblings.
type trie struct {
	class   []uint8
	child   []uint32 // first
	next    []uint32 // sibling
	count   []uint8
	depth   []uint8 // up to 255
	fail    []uint32
	output  []uint32
	classes int
}

// rowDepth is the depth down to which each state has a row, and rowChildren
// the number of children from which a state has one anywhere. Where rows would
// lead to more states than they can name, there are fewer of them.
const (
	rowDepth    = 2
	rowChildren = 5
)

// newAutomaton builds the automaton for literals, none of which is empty.
func newAutomaton(literals []literal) *automaton {
	slices.SortFunc(literals, func(a, b literal) int {
		switch {
		case a.text < b.text:
			return -1
		case a.text > b.text:
			return 1
		case a.trail != b.trail:
			return int(a.trail) - int(b.trail)
		}
		return int(a.bit) - int(b.bit)
	})
	literals = slices.Compact(literals)
	a := &automaton{outs: make([]output, 1)}
	for i, l := range literals {
		if i == 0 || len(l.text) < a.least {
			a.least = len(l.text)
		}
	}
	classes := a.classify(literals)
	t := &trie{classes: classes}
	t.grow(0, 0)
	for i := 0; i < len(literals); {
		state := t.insert(&a.class, literals[i].text)
		first := len(a.owners)
		for text := literals[i].text; i < len(literals) && literals[i].text == text; i++ {
			a.owners = append(a.owners, literals[i].owner)
		}
		t.output[state] = uint32(len(a.outs))
		a.outs = append(a.outs, output{first: uint32(first), end: uint32(len(a.owners))})
	}
	a.lay(t, t.link(a.outs))
	return a
}

// classify gives each byte that literals use a class of its own, both cases of
// a letter the same, and returns the number of classes. Bytes that texts are full
// of have the first ones, so that what is needed of the rows is close together.
func (a *automaton) classify(literals []literal) int {
	var used [256]bool
	for _, l := range literals {
		for i := range len(l.text) {
			used[l.text[i]] = true
		}
	}
	var bytes []byte
	for b, is := range used {
		if is {
			bytes = append(bytes, byte(b))
		}
	}
	slices.SortStableFunc(bytes, func(a, b byte) int { return cmp.Compare(frequency(b), frequency(a)) })
	for i, b := range bytes {
		a.class[b], a.class[upper(b)] = uint8(i+1), uint8(i+1)
	}
	a.stride = len(bytes) + 1
	count := 0
	for _, l := range literals {
		for _, b := range [...]byte{l.text[0], upper(l.text[0])} {
			if !a.starts[b] {
				a.starts[b] = true
				count++
			}
		}
	}
	a.few = count <= fewStarts
	return a.stride
}

// fewStarts is how many bytes may begin a literal for it to pay to look for them.
const fewStarts = 24

func upper(b byte) byte {
	if 'a' <= b && b <= 'z' {
		return b - 'a' + 'A'
	}
	return b
}

func (t *trie) grow(class uint8, depth uint8) uint32 {
	t.class = append(t.class, class)
	t.child = append(t.child, 0)
	t.next = append(t.next, 0)
	t.count = append(t.count, 0)
	t.depth = append(t.depth, depth)
	t.output = append(t.output, 0)
	return uint32(len(t.child) - 1)
}

func (t *trie) step(state uint32, class uint8) (uint32, bool) {
	for c := t.child[state]; c != 0; c = t.next[c] {
		if t.class[c] == class {
			return c, true
		}
	}
	return 0, false
}

func (t *trie) insert(class *[256]uint8, text string) uint32 {
	state := uint32(0)
	for i := range len(text) {
		c := class[text[i]]
		next, ok := t.step(state, c)
		if !ok {
			next = t.grow(c, min(t.depth[state], 254)+1)
			t.next[next], t.child[state] = t.child[state], next
			t.count[state]++
		}
		state = next
	}
	return state
}

// link finds for each state the longest other one whose text ends its own, and
// hands on the outputs along these links. It returns the states by depth.
func (t *trie) link(outs []output) []uint32 {
	t.fail = make([]uint32, len(t.child))
	order := make([]uint32, 1, len(t.child))
	for i := 0; i < len(order); i++ {
		state := order[i]
		for c := t.child[state]; c != 0; c = t.next[c] {
			order = append(order, c)
			if state != 0 {
				t.fail[c] = t.follow(t.fail[state], t.class[c])
			}
			inherited := t.output[t.fail[c]]
			if own := t.output[c]; own != 0 {
				outs[own].suffix = inherited
			} else {
				t.output[c] = inherited
			}
		}
	}
	return order
}

// follow is the step of the finished automaton, through failed states.
func (t *trie) follow(state uint32, class uint8) uint32 {
	for {
		if next, ok := t.step(state, class); ok {
			return next
		}
		if state == 0 {
			return 0
		}
		state = t.fail[state]
	}
}

// lay turns the trie into tables: the states with rows first, then those that rows
// lead to.
func (a *automaton) lay(t *trie, order []uint32) {
	number, sorted := a.sort(t, order, func(s uint32) bool { return t.depth[s] <= rowDepth || t.count[s] >= rowChildren })
	for depth := uint8(rowDepth); sorted == nil; depth-- { // at the root, it is at most 256
		number, sorted = a.sort(t, order, func(s uint32) bool { return t.depth[s] < depth })
	}
	target := func(old uint32) uint32 {
		if t.output[old] != 0 {
			return number[old] | ends
		}
		return number[old]
	}
	a.output = make([]uint32, len(sorted))
	a.rows = make([]uint16, int(a.dense)*a.stride)
	a.nodes = make([]node, len(sorted)-int(a.dense))
	for n, old := range sorted {
		a.output[n] = t.output[old]
		if n < int(a.dense) {
			row := a.rows[n*a.stride : (n+1)*a.stride]
			for c := 1; c < t.classes; c++ {
				to := target(t.follow(old, uint8(c)))
				row[c] = uint16(to&^ends | to>>31*rowEnds)
			}
			continue
		}
		nd := node{fail: number[t.fail[old]], count: t.count[old]}
		switch nd.count {
		case 0:
		case 1:
			nd.child, nd.class = target(t.child[old]), t.class[t.child[old]]
		default:
			nd.child = uint32(len(a.forks))
			for c := t.child[old]; c != 0; c = t.next[c] {
				a.forks = append(a.forks, fork{target(c), t.class[c]})
			}
		}
		a.nodes[n-int(a.dense)] = nd
	}
}

// sort orders the states for lay, and returns the new number of each, and the old
// one; nil where rows for those of which is says so would lead to too many others.
func (a *automaton) sort(t *trie, order []uint32, is func(uint32) bool) (number, sorted []uint32) {
	const row, led, other = 0, 1, 2
	place := make([]uint8, len(order))
	for i := range place {
		place[i] = other
	}
	for _, s := range order {
		if is(s) {
			place[s] = row
			for c := t.child[s]; c != 0; c = t.next[c] {
				place[c] = min(place[c], led)
			}
		}
	}
	number = make([]uint32, len(order))
	for rank := uint8(row); rank <= other; rank++ {
		for _, s := range order {
			if place[s] == rank {
				number[s] = uint32(len(sorted))
				sorted = append(sorted, s)
			}
		}
		switch {
		case rank == row:
			a.dense = uint32(len(sorted))
		case rank == led && len(sorted) > rowEnds:
			return nil, nil
		}
	}
	return number, sorted
}

// size is what the tables take, in bytes.
func (a *automaton) size() int {
	return 2*len(a.rows) + int(unsafe.Sizeof(node{}))*len(a.nodes) + int(unsafe.Sizeof(fork{}))*len(a.forks) +
		4*len(a.output) + int(unsafe.Sizeof(output{}))*len(a.outs) + int(unsafe.Sizeof(owner{}))*len(a.owners)
}

// scan reads text and hands sc each output that ends somewhere in it, at least
// once.
func scan[T string | []byte](a *automaton, text T, sc *Scratch) {
	state := uint32(0)
	for i := 0; i < len(text); i++ {
		class := a.class[text[i]]
		if class == 0 {
			if state = 0; !a.few {
				continue
			}
			for i++; i < len(text) && !a.starts[text[i]]; i++ {
			}
			i--
			continue
		}
		for state >= a.dense {
			n := &a.nodes[state-a.dense]
			if n.count == 1 {
				if n.class == class {
					state = n.child
					goto stepped
				}
			} else if n.count > 1 {
				for _, f := range a.forks[n.child : n.child+uint32(n.count)] {
					if f.class == class {
						state = f.child
						goto stepped
					}
				}
			}
			state = n.fail
		}
		state = uint32(a.rows[int(state)*a.stride+int(class)])
		if state < rowEnds {
			continue
		}
		state = state - rowEnds | ends
	stepped:
		if state&ends != 0 {
			state &^= ends
			sc.found(a, a.output[state])
		}
	}
}

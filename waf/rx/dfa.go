package rx

import (
	"encoding/binary"
	"regexp/syntax"
	"slices"
	"unicode/utf8"
)

// A dfa is the part of one program's deterministic automaton that values have
// needed so far. It belongs to one Scratch. A state is the set of instructions
// that wait for a character or for an assertion; which of them regexp would
// prefer does not matter to whether there is a match. The instructions at which
// a new match could begin are in every state and therefore in none.
type dfa struct {
	prog   *program
	ws     *workspace
	stride uint32
	next   []uint32 // rows of the states: class, or end of text, to the target's row
	sets   [][]uint16
	before []syntax.EmptyOp // of each state: what holds of the character read last
	index  map[string]uint32
	starts map[startKey]arrival
	start  uint32
	stays  [256]bool // bytes that leave the idle state as it is; none that begins a longer rune
	bytes  int       // what all this takes, roughly
	credit int       // see spend
}

// A startKey says where a match would begin: which assertions hold there, and
// the class of the character that follows.
type startKey struct {
	holds syntax.EmptyOp
	class uint8
}

// An arrival is what instructions become when a character has been read.
type arrival struct {
	set     []uint16
	matched bool
}

// Targets that are no states.
const (
	unknown uint32    = iota // not yet computed
	dead                     // nothing can match any more
	match                    // there is a match
	targets                  // the first state's row begins behind these
	idle    = targets        // the first state: nothing before matters, and no match has begun
)

// A verdict is what a dfa finds out.
type verdict uint8

const (
	unasked   verdict = iota
	undecided         // the budget ended
	clean
	matches
)

// A state costs about as much as package regexp needs for 16 characters, and is
// paid for with characters read before: a dfa whose values are always new grows
// by no more than a state for every 16 of them, whatever they are.
const (
	statePrice = 16
	mostCredit = 512 * statePrice
)

// maxBytes is what one dfa may take; with the next value it begins anew.
const maxBytes = 1 << 20

func newDFA(p *program, ws *workspace) *dfa {
	d := &dfa{prog: p, ws: ws, stride: uint32(len(p.traits) + 1), credit: mostCredit}
	d.reset()
	return d
}

// reset forgets every state. What has been paid for them stays paid.
func (d *dfa) reset() {
	d.next = make([]uint32, targets)
	d.sets, d.before = nil, nil
	d.index, d.starts = map[string]uint32{}, map[startKey]arrival{}
	d.stays = [256]bool{}
	d.bytes = 0
}

// run decides about value. It adds at most budget states.
func (d *dfa) run(value string, budget int) verdict {
	if !d.ready(len(value), &budget) {
		return undecided
	}
	return d.from(d.start, value, 0, budget)
}

// ready makes the first states, and lets a value of n bytes pay for others.
func (d *dfa) ready(n int, budget *int) bool {
	d.credit = min(d.credit+n, mostCredit)
	if d.bytes > maxBytes {
		d.reset()
	}
	if len(d.sets) == 0 {
		if !d.spend(budget) {
			return false
		}
		d.intern(nil, 0) // the idle state
		d.start = d.intern(nil, syntax.EmptyBeginText|syntax.EmptyBeginLine)
	}
	return true
}

// runBoth is run for two dfas at once. Each step of a dfa waits for the one
// before; those of two do not wait for each other.
func runBoth(a, b *dfa, value string, budget int) (verdict, verdict) {
	budgetA, budgetB := budget, budget
	readyA, readyB := a.ready(len(value), &budgetA), b.ready(len(value), &budgetB)
	stateA, stateB, i := a.start, b.start, 0
	if readyA && readyB {
		rowsA, rowsB, classA, classB := a.next, b.next, &a.prog.ascii, &b.prog.ascii
		for ; i < len(value) && value[i] < utf8.RuneSelf; i++ {
			nextA, nextB := rowsA[stateA+uint32(classA[value[i]])], rowsB[stateB+uint32(classB[value[i]])]
			if nextA < targets || nextB < targets {
				break
			}
			stateA, stateB = nextA, nextB
		}
	}
	verdictA, verdictB := undecided, undecided
	if readyA {
		verdictA = a.from(stateA, value, i, budgetA)
	}
	if readyB {
		verdictB = b.from(stateB, value, i, budgetB)
	}
	return verdictA, verdictB
}

// from is run from the character at i on, in the state that has been reached.
func (d *dfa) from(state uint32, value string, i, budget int) verdict {
	p := d.prog
	if p.always {
		return matches
	}
	single := rune(utf8.RuneSelf) // bytes below are characters
	if p.bytes {
		single = 1 << 8
	}
	rows := d.next
	for i < len(value) {
		var class uint8
		if b := value[i]; rune(b) < single {
			class = p.ascii[b]
			i++
		} else {
			r, width := utf8.DecodeRuneInString(value[i:])
			class = p.find(r)
			i += width
		}
		next := rows[state+uint32(class)]
		if next <= idle {
			if next == unknown {
				if !d.spend(&budget) {
					return undecided
				}
				next = d.grow(state, class)
				rows = d.next
			}
			switch next {
			case match:
				return matches
			case dead:
				return clean
			case idle:
				for i < len(value) && d.stays[value[i]] {
					i++
				}
			}
		}
		state = next
	}
	end := d.stride - 1
	next := d.next[state+end]
	if next == unknown {
		if !d.spend(&budget) {
			return undecided
		}
		next = d.grow(state, uint8(end))
	}
	if next == match {
		return matches
	}
	return clean
}

// spend pays for one step that is not known yet.
func (d *dfa) spend(budget *int) bool {
	if *budget <= 0 || d.credit < statePrice || d.bytes > maxBytes {
		return false
	}
	*budget--
	d.credit -= statePrice
	return true
}

// intern returns the row of the state with the set and what holds before it.
func (d *dfa) intern(set []uint16, before syntax.EmptyOp) uint32 {
	if !d.prog.asserts && !d.prog.asserting(set) {
		before = 0 // nobody asks
	}
	key := append(d.ws.key[:0], byte(before))
	for _, pc := range set {
		key = binary.LittleEndian.AppendUint16(key, pc)
	}
	d.ws.key = key
	if row, ok := d.index[string(key)]; ok {
		return row
	}
	row := uint32(len(d.next))
	d.next = append(d.next, make([]uint32, d.stride)...)
	d.sets = append(d.sets, slices.Clone(set))
	d.before = append(d.before, before)
	d.index[string(key)] = row
	d.bytes += 4*int(d.stride) + 4*len(set) + 128
	return row
}

// grow computes the step from the state with the row over a class.
func (d *dfa) grow(row uint32, class uint8) uint32 {
	n := (row - targets) / d.stride
	atEnd := class == uint8(d.stride-1)
	holds := d.holds(d.before[n], class)
	begin := d.begin(startKey{holds, class})
	ws := d.ws
	ws.begin()
	target := dead
	switch {
	case begin.matched || ws.advance(d.prog, d.sets[n], holds, class, atEnd):
		target = match
	case atEnd:
	default:
		ws.add(begin.set)
		if len(ws.work) > 0 || !d.prog.onlyTop {
			slices.Sort(ws.work)
			target = d.intern(ws.work, d.after(class))
		}
	}
	d.next[row+uint32(class)] = target
	if row == idle && target == idle {
		for b, c := range d.prog.ascii {
			if c == class && (b < utf8.RuneSelf || d.prog.bytes) {
				d.stays[b] = true
			}
		}
	}
	return target
}

// begin returns what a match that begins before a character of the class has
// become behind it.
func (d *dfa) begin(key startKey) arrival {
	if known, ok := d.starts[key]; ok {
		return known
	}
	d.ws.begin()
	a := arrival{matched: d.ws.advance(d.prog, d.prog.waiting, key.holds, key.class, key.class == uint8(d.stride-1))}
	a.set = slices.Clone(d.ws.work)
	d.starts[key] = a
	d.bytes += 2*len(a.set) + 64
	return a
}

// holds returns the assertions that hold between what was read and a
// character of the class. In before, WordBoundary stands for a word character.
func (d *dfa) holds(before syntax.EmptyOp, class uint8) syntax.EmptyOp {
	flags := before & (syntax.EmptyBeginText | syntax.EmptyBeginLine)
	var word syntax.EmptyOp
	if class == uint8(d.stride-1) {
		flags |= syntax.EmptyEndText | syntax.EmptyEndLine
	} else {
		after := d.after(class)
		word = after & syntax.EmptyWordBoundary
		if after&syntax.EmptyBeginLine != 0 {
			flags |= syntax.EmptyEndLine
		}
	}
	if before&syntax.EmptyWordBoundary != word {
		flags |= syntax.EmptyWordBoundary
	} else {
		flags |= syntax.EmptyNoWordBoundary
	}
	return flags & d.prog.context
}

// after returns what holds behind a character of the class: BeginLine behind a
// newline, and WordBoundary to stand for a word character.
func (d *dfa) after(class uint8) syntax.EmptyOp {
	var flags syntax.EmptyOp
	if d.prog.traits[class]&isNewline != 0 {
		flags |= syntax.EmptyBeginLine
	}
	if d.prog.traits[class]&isWord != 0 {
		flags |= syntax.EmptyWordBoundary
	}
	return flags
}

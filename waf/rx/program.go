package rx

import (
	"encoding/binary"
	"regexp/syntax"
	"slices"
	"sort"
	"unicode"
	"unicode/utf8"
)

// A program is a compiled pattern over classes of characters: two characters
// that no instruction tells apart are one class.
type program struct {
	id      int // in its set
	insts   []inst
	start   uint32
	waiting []uint16       // instructions at which a match begins
	asserts bool           // some of them assert something
	always  bool           // there is a match without any of them
	context syntax.EmptyOp // assertions that the pattern makes
	onlyTop bool           // matches can begin at the start of the text only
	bytes   bool           // characters are bytes, not runes

	ascii   [256]uint8 // class of a byte, of those from 0x80 only where bytes is set
	bounds  []rune     // where a range of runes of one class begins
	classOf []uint8    // of each range
	traits  []trait    // of each class
	accept  [][]uint64 // sets of classes, as bits
}

// An inst is an instruction of regexp/syntax with the characters as classes.
type inst struct {
	op  syntax.InstOp
	set uint16 // into accept; of instructions that read a character
	out uint32
	arg uint32
}

// A trait is what assertions look at in a character.
type trait uint8

const (
	isWord trait = 1 << iota
	isNewline
)

// maxClasses leaves one for the end of the text; instructions have 16 bits.
const (
	maxClasses = 254
	maxInsts   = 1 << 16
)

// newProgram prepares a compiled pattern; nil if it is too large.
func newProgram(prog *syntax.Prog, onBytes bool) *program {
	if len(prog.Inst) > maxInsts {
		return nil
	}
	p := &program{insts: make([]inst, len(prog.Inst)), start: uint32(prog.Start), bytes: onBytes,
		onlyTop: prog.StartCond()&syntax.EmptyBeginText != 0}
	var (
		sets    [][]rune // distinct sets of characters that instructions accept
		known   = map[string]int{}
		keyText []byte
	)
	for i, in := range prog.Inst {
		p.insts[i] = inst{op: in.Op, out: in.Out, arg: in.Arg}
		switch in.Op {
		case syntax.InstEmptyWidth:
			p.context |= syntax.EmptyOp(in.Arg)
		case syntax.InstRune, syntax.InstRune1, syntax.InstRuneAny, syntax.InstRuneAnyNotNL:
			ranges := accepted(&in)
			keyText = keyText[:0]
			for _, r := range ranges {
				keyText = binary.LittleEndian.AppendUint32(keyText, uint32(r))
			}
			n, ok := known[string(keyText)]
			if !ok {
				n = len(sets)
				known[string(keyText)] = n
				sets = append(sets, ranges)
			}
			p.insts[i].op, p.insts[i].set = syntax.InstRune, uint16(n)
		}
	}
	if !p.partition(sets) {
		return nil
	}
	ws := newWorkspace(len(p.insts))
	ws.begin()
	p.always = ws.follow(p, p.start, 0, false)
	p.waiting = slices.Clone(ws.work)
	p.asserts = p.asserting(p.waiting)
	return p
}

// accepted returns the ranges of runes that an instruction accepts.
func accepted(in *syntax.Inst) []rune {
	switch in.Op {
	case syntax.InstRuneAny:
		return []rune{0, unicode.MaxRune}
	case syntax.InstRuneAnyNotNL:
		return []rune{0, '\n' - 1, '\n' + 1, unicode.MaxRune}
	}
	if len(in.Rune) != 1 {
		return in.Rune
	}
	var ranges []rune
	for _, r := range orbit(in.Rune[0], syntax.Flags(in.Arg)) {
		ranges = append(ranges, r, r)
	}
	return ranges
}

// partition finds the classes: characters that the same sets accept, and, where
// the pattern asserts something about neighbours, that have the same traits. It
// reports false if there are too many.
func (p *program) partition(sets [][]rune) bool {
	cuts := []rune{0, utf8.RuneSelf}
	add := func(lo, hi rune) { cuts = append(cuts, lo, hi+1) }
	for _, s := range sets {
		for i := 0; i+1 < len(s); i += 2 {
			add(s[i], s[i+1])
		}
	}
	if p.context&(syntax.EmptyWordBoundary|syntax.EmptyNoWordBoundary) != 0 {
		for _, r := range [...][2]rune{{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}} {
			add(r[0], r[1])
		}
	}
	if p.context&(syntax.EmptyBeginLine|syntax.EmptyEndLine) != 0 {
		add('\n', '\n')
	}
	slices.Sort(cuts)
	cuts = slices.Compact(cuts)
	if last := cuts[len(cuts)-1]; last > unicode.MaxRune {
		cuts = cuts[:len(cuts)-1]
	}
	words := (len(sets) + 7) / 8
	members := make([]byte, len(cuts)*(words+1)) // per range: a bit for each set, then the traits
	for n, s := range sets {
		for i := 0; i+1 < len(s); i += 2 {
			from, _ := slices.BinarySearch(cuts, s[i])
			for ; from < len(cuts) && cuts[from] <= s[i+1]; from++ {
				members[from*(words+1)+n/8] |= 1 << (n % 8)
			}
		}
	}
	known := map[string]uint8{}
	p.bounds, p.classOf = cuts, make([]uint8, len(cuts))
	var first []int // range of each class
	for i, lo := range cuts {
		key := members[i*(words+1) : (i+1)*(words+1)]
		var t trait
		if p.context&(syntax.EmptyWordBoundary|syntax.EmptyNoWordBoundary) != 0 && syntax.IsWordChar(lo) {
			t |= isWord
		}
		if p.context&(syntax.EmptyBeginLine|syntax.EmptyEndLine) != 0 && lo == '\n' {
			t |= isNewline
		}
		key[words] = byte(t)
		class, ok := known[string(key)]
		if !ok {
			if len(known) == maxClasses {
				return false
			}
			class = uint8(len(known))
			known[string(key)] = class
			first, p.traits = append(first, i), append(p.traits, t)
		}
		p.classOf[i] = class
	}
	for b := range p.ascii {
		p.ascii[b] = p.find(rune(b))
	}
	p.accept = make([][]uint64, len(sets))
	for n := range p.accept {
		p.accept[n] = make([]uint64, (len(first)+63)/64)
		for class, i := range first {
			if members[i*(words+1)+n/8]>>(n%8)&1 != 0 {
				p.accept[n][class/64] |= 1 << (class % 64)
			}
		}
	}
	return true
}

// find returns the class of a rune.
func (p *program) find(r rune) uint8 {
	return p.classOf[sort.Search(len(p.bounds), func(i int) bool { return p.bounds[i] > r })-1]
}

// asserting reports whether one of the instructions makes an assertion.
func (p *program) asserting(set []uint16) bool {
	return slices.ContainsFunc(set, func(pc uint16) bool { return p.insts[pc].op == syntax.InstEmptyWidth })
}

// takes reports whether an instruction that reads a character takes the class.
func (p *program) takes(in *inst, class uint8) bool {
	return p.accept[in.set][class/64]>>(class%64)&1 != 0
}

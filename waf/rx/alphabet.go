package rx

import (
	"regexp/syntax"
	"slices"
	"unicode/utf8"
)

// A ByteSet holds byte values. Its zero value is empty.
type ByteSet [4]uint64

// Add puts c into the set.
func (b *ByteSet) Add(c byte) { b[c>>6] |= 1 << (c & 63) }

// Has reports whether c is in the set.
func (b *ByteSet) Has(c byte) bool { return b[c>>6]>>(c&63)&1 != 0 }

func (b ByteSet) or(other ByteSet) ByteSet {
	for w := range b {
		b[w] |= other[w]
	}
	return b
}

// Bytes is how a caller tells values apart by the bytes that they are made of.
type Bytes struct {
	Alphabets []ByteSet // Set.Possible knows them by their index
	// Kinds are what Set.Needs answers with, the commonest first. No byte is of two
	// of them, and there are no more than 63.
	Kinds []ByteSet
}

// An alphabet is what the bytes of values are of, and which operators that leaves.
type alphabet struct {
	bytes    ByteSet
	folded   ByteSet // in the alphabet of literals
	high     bool    // there are bytes from 0x80 on
	possible Bits    // operators that match a text of it, or may
}

func newAlphabet(bytes ByteSet) *alphabet {
	a := &alphabet{bytes: bytes, folded: bytes}
	for c := byte('A'); c <= 'Z'; c++ {
		if bytes.Has(c) {
			a.folded.Add(c + 'a' - 'A')
		}
	}
	for c := utf8.RuneSelf; c <= 0xff; c++ {
		a.high = a.high || bytes.Has(byte(c))
	}
	if a.high { // the long s and the Kelvin sign are read as letters
		a.folded.Add('s')
		a.folded.Add('k')
	}
	return a
}

// leaves reports whether an operator may match a text of a. The tree is that of a
// pattern, or matches more.
func (a *alphabet) leaves(s *Set, operator int, tree *syntax.Regexp, with tool) bool {
	c := &s.operators[operator]
	if c.Not {
		return true
	}
	switch c.Kind {
	case Pattern:
		return with.allows(a, tree, namesBytes(c.Text)) && (!c.gated || a.passable(s, operator))
	case Phrases:
		return a.passable(s, operator)
	case Contains, BeginsWith, EndsWith, Equal:
		return a.writes(c.Text)
	case ByteRange:
		for w := range a.bytes {
			if a.bytes[w]&^c.ranges[w] != 0 {
				return true
			}
		}
		return false
	}
	return true
}

// passable reports whether a text of a can have a literal of each factor of one of
// the ways of an operator.
func (a *alphabet) passable(s *Set, operator int) bool {
	seen := map[uint32]uint8{}
	for _, l := range s.literals[operator] {
		if !a.spells(l.text) {
			continue
		}
		if seen[l.trail] |= l.bit; l.bit == wholeMatch || seen[l.trail] == s.trails[l.trail].need {
			return true
		}
	}
	return false
}

// spells reports whether a literal, in the folded alphabet, is made of bytes of a.
func (a *alphabet) spells(literal string) bool {
	for i := range len(literal) {
		if !a.folded.Has(literal[i]) {
			return false
		}
	}
	return true
}

// writes reports whether a text is made of bytes of a.
func (a *alphabet) writes(text string) bool {
	for i := range len(text) {
		if !a.bytes.Has(text[i]) {
			return false
		}
	}
	return true
}

// any reports whether a character from first to last may be one of a text of a.
func (a *alphabet) any(first, last rune, onBytes bool) bool {
	most := rune(utf8.RuneSelf)
	if onBytes {
		most = 0x100
	}
	for r := first; r <= min(last, most-1); r++ {
		if a.bytes.Has(byte(r)) {
			return true
		}
	}
	return last >= most && a.high && !onBytes
}

// allows reports whether a match of the tree may be made of bytes of a: false means
// that there is none.
func (a *alphabet) allows(re *syntax.Regexp, onBytes bool) bool {
	sub := func(re *syntax.Regexp) bool { return a.allows(re, onBytes) }
	switch re.Op {
	case syntax.OpNoMatch:
		return false
	case syntax.OpLiteral:
		return !slices.ContainsFunc(re.Rune, func(r rune) bool {
			return !slices.ContainsFunc(orbit(r, re.Flags), func(r rune) bool { return a.any(r, r, onBytes) })
		})
	case syntax.OpCharClass:
		for i := 0; i+1 < len(re.Rune); i += 2 {
			if a.any(re.Rune[i], re.Rune[i+1], onBytes) {
				return true
			}
		}
		return false
	case syntax.OpCapture, syntax.OpPlus:
		return sub(re.Sub[0])
	case syntax.OpRepeat:
		return re.Min == 0 || sub(re.Sub[0])
	case syntax.OpConcat:
		return !slices.ContainsFunc(re.Sub, func(re *syntax.Regexp) bool { return !sub(re) })
	case syntax.OpAlternate:
		return slices.ContainsFunc(re.Sub, sub)
	}
	return true
}

// nothing marks an operator that matches texts without any of the kinds.
const nothing = 1 << 63

// need returns kinds of bytes of which each match of an operator has at least one:
// none that can be done without, and rather those that are rare.
func (s *Set) need(operator int, tree *syntax.Regexp, kinds []ByteSet, with tool) uint64 {
	var without ByteSet
	for _, kind := range kinds {
		without = without.or(kind)
	}
	for w := range without { // begin with the bytes of no kind
		without[w] = ^without[w]
	}
	if newAlphabet(without).leaves(s, operator, tree, with) {
		return nothing
	}
	needs := uint64(0)
	for i, kind := range kinds {
		more := without.or(kind)
		if newAlphabet(more).leaves(s, operator, tree, with) {
			needs |= 1 << i
		} else {
			without = more
		}
	}
	return needs
}

// Possible reports whether an operator may match a text that is made of nothing but
// bytes of an alphabet: false means that it matches none.
func (s *Set) Possible(operator, alphabet int) bool {
	return s.alphabets[alphabet].possible.Has(operator)
}

// Needs returns kinds of bytes, as bits by their index: a text that has none of them
// does not match the operator. It reports false where there are no such kinds.
func (s *Set) Needs(operator int) (kinds uint64, ok bool) {
	return s.needs[operator], s.needs[operator] != nothing
}

package prover

import (
	"math/bits"
	"slices"

	"sallyport/waf/rx"
	"sallyport/waf/transform"
)

// alphabets are what values are told apart by: an operator that matches no text of
// the smallest one that a value is made of is not looked for in it, nor is the value
// transformed for its sake. They are few, so that whoever makes up values does not
// have the prover make up steps, and go from the smaller to the larger ones.
var alphabets = [...]transform.Kinds{
	transform.Word, transform.Words, transform.URL, transform.Pairs, transform.Text, transform.Any,
}

// alphabetOf returns the index of the smallest alphabet that has all of the kinds.
func alphabetOf(kinds transform.Kinds) uint8 {
	for i, a := range alphabets {
		if kinds&^a == 0 {
			return uint8(i)
		}
	}
	return uint8(len(alphabets) - 1)
}

// rarities are bytes, one of each kind, from what values are full of to what they
// seldom have.
const rarities = "eE0\xc3 -.,/_\n:=?&+%\"(@#[<$*\\\x00"

// kindsOf are the kinds of bytes, by rarity.
var kindsOf = func() (kinds []transform.Kinds) {
	for i := range len(rarities) {
		kinds = append(kinds, transform.KindsOf(rarities[i:i+1]))
	}
	return kinds
}()

// bytesOf is the same and the alphabets, as package rx takes them.
func bytesOf() rx.Bytes {
	sets := func(of []transform.Kinds) []rx.ByteSet {
		sets := make([]rx.ByteSet, len(of))
		for i, kinds := range of {
			for c := range kinds.Bytes() {
				sets[i].Add(c)
			}
		}
		return sets
	}
	return rx.Bytes{Alphabets: sets(alphabets[:]), Kinds: sets(kindsOf)}
}

// whatever is of every value, whatever it is made of.
const whatever transform.Kinds = 1 << 31

// need returns kinds of bytes of which a value has one if an operator of a set matches
// it; whatever where there are none.
func (c *compiled) need(set, op int) (kinds transform.Kinds) {
	needs, ok := c.sets[set].Needs(op)
	if !ok {
		return whatever
	}
	for ; needs != 0; needs &= needs - 1 {
		kinds |= kindsOf[bits.TrailingZeros64(needs)]
	}
	return kinds
}

// needs is the same for a look at a value for which so many of its transformations
// are done.
func (c *compiled) needs(at position) transform.Kinds {
	l := &c.looks[at.look]
	if l.set < 0 {
		return whatever
	}
	kinds := c.need(l.set, l.op)
	for _, t := range slices.Backward(l.chain[at.done:]) {
		kinds = before(c.transformations[t], kinds)
	}
	return kinds
}

// before returns kinds of bytes of which a value has one if what t makes of it has one
// of the kinds.
func before(t *transform.Transformation, kinds transform.Kinds) transform.Kinds {
	if kinds&whatever != 0 || t.Makes(0)&kinds != 0 {
		return whatever
	}
	var out transform.Kinds
	for _, k := range kindsOf {
		if t.Makes(k)&kinds != 0 {
			out |= k
		}
	}
	return out
}

// possible reports whether a look may find anything in a value of a shape for which
// so many of its transformations are done.
func (c *compiled) possible(at position, k shape) bool {
	l := &c.looks[at.look]
	if l.set < 0 {
		return true
	}
	kinds := alphabets[k.over]
	for _, t := range l.chain[at.done:] {
		if k.lowers>>t&1 != 0 {
			kinds = kinds.Lowered()
		} else {
			kinds = c.transformations[t].Makes(kinds)
		}
	}
	return c.sets[l.set].Possible(l.op, int(alphabetOf(kinds)))
}

package prover

import (
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

// alphabetBytes are the alphabets as package rx takes them.
func alphabetBytes() []rx.ByteSet {
	out := make([]rx.ByteSet, len(alphabets))
	for i, a := range alphabets {
		for c := range a.Bytes() {
			out[i].Add(c)
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

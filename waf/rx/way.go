package rx

import (
	"regexp/syntax"
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	maxFactors  = 12 // requirements kept while a tree is read
	keptFactors = 3  // requirements of a way that are looked for in values
	maxWays     = 32 // ways to match that are told apart
)

// Rates of factors, see factor.rate.
const (
	commonRate = 0.03   // from which nearly every value has one
	extraRate  = 0.01   // below which a second or third factor is worth looking for
	rareRate   = 0.0005 // below which few values have one
)

// A factor is a set of literals of which each match contains at least one.
// Literals are in the folded alphabet: see fold.
type factor []string

// A way is how a value may come to match: a match goes one of the ways of its
// pattern, and has a literal of each factor of that way.
type way []factor

// ways returns the ways of a pattern. None means that any value can match.
func (x extractor) ways(re *syntax.Regexp) []way {
	whole := x.requirements(re)
	if len(whole) > 0 && whole[0].rate() < rareRate {
		return []way{whole}
	}
	var ways []way
	for _, b := range branches(re, maxWays) {
		w := x.requirements(b)
		if len(w) == 0 {
			if len(whole) == 0 {
				return nil
			}
			return []way{whole}
		}
		ways = append(ways, w)
	}
	return ways
}

// branches writes the tree as an alternative of at most n others.
func branches(re *syntax.Regexp, n int) []*syntax.Regexp {
	switch re.Op {
	case syntax.OpCapture:
		return branches(re.Sub[0], n)
	case syntax.OpAlternate:
		if len(re.Sub) > n {
			break
		}
		var all []*syntax.Regexp
		for i, sub := range re.Sub {
			all = append(all, branches(sub, n-len(all)-(len(re.Sub)-1-i))...)
		}
		return all
	case syntax.OpConcat:
		all := []*syntax.Regexp{{Op: syntax.OpConcat}}
		for _, sub := range re.Sub {
			parts := branches(sub, n/len(all))
			if len(parts) == 1 {
				for _, left := range all {
					left.Sub = append(left.Sub, parts[0])
				}
				continue
			}
			var product []*syntax.Regexp
			for _, left := range all {
				for _, part := range parts {
					product = append(product, &syntax.Regexp{Op: syntax.OpConcat, Sub: append(slices.Clone(left.Sub), part)})
				}
			}
			all = product
		}
		return all
	}
	return []*syntax.Regexp{re}
}

// requirements returns the factors of a tree that are worth looking for, the
// rarest first. None means that any text can match.
func (x extractor) requirements(re *syntax.Regexp) way {
	var kept way
	for _, f := range rarest(all(x.shape(re))) {
		if r := f.rate(); r > commonRate || len(kept) > 0 && r > extraRate || len(kept) == keptFactors {
			break
		}
		if !slices.ContainsFunc(kept, func(k factor) bool { return k.implies(f) }) {
			kept = append(kept, f)
		}
	}
	return kept
}

// rarest sorts factors by how often they are found in ordinary text, and keeps
// the first of them.
func rarest(factors []factor) []factor {
	if len(factors) < 2 {
		return factors
	}
	type rated struct {
		factor
		rate float64
	}
	list := make([]rated, len(factors))
	for i, f := range factors {
		list[i] = rated{f, f.rate()}
	}
	slices.SortStableFunc(list, func(a, b rated) int {
		switch {
		case a.rate < b.rate:
			return -1
		case a.rate > b.rate:
			return 1
		}
		return len(a.factor) - len(b.factor)
	})
	out := make([]factor, min(len(list), maxFactors))
	for i := range out {
		out[i] = list[i].factor
	}
	return out
}

// implies reports that a value with one of f always has one of other.
func (f factor) implies(other factor) bool {
	if len(f)*len(other) > 1<<14 {
		return false
	}
	return !slices.ContainsFunc(f, func(literal string) bool {
		return !slices.ContainsFunc(other, func(part string) bool { return strings.Contains(literal, part) })
	})
}

// rate estimates at how many positions of a text one of the literals begins.
func (f factor) rate() float64 {
	sum := 0.0
	for _, literal := range f {
		p := 1.0
		for i := range len(literal) {
			p *= frequency(literal[i])
		}
		sum += p
	}
	return sum
}

// letters are a to z, as often as they are in English, in thousandths.
const letters = "\x48\x0d\x19\x24\x66\x14\x14\x29\x3c\x02\x07\x24\x19\x3c\x42\x14\x01\x33\x38\x52\x19\x08\x11\x02\x11\x01"

// frequency is a rough share of the byte in what applications are sent.
func frequency(b byte) float64 {
	switch {
	case 'a' <= b && b <= 'z':
		return float64(letters[b-'a']) / 1000
	case b == ' ':
		return 0.12
	case '0' <= b && b <= '9':
		return 0.02
	case b < ' ':
		return 0.001
	case b >= utf8.RuneSelf:
		return 0.01
	case strings.IndexByte(`.,-/"'=&:_`, b) >= 0:
		return 0.01
	}
	return 0.003
}

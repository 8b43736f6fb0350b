package rx

import (
	"regexp/syntax"
	"slices"
	"unicode"
	"unicode/utf8"
)

// What follows takes from a pattern's syntax tree what every match must
// contain. It only ever weakens: where it does not understand a part, or where
// the alternatives become too many, the part requires nothing.

const (
	maxAlternatives = 128     // strings that a concatenation may multiply to
	maxClassRunes   = 128     // runes of a class that is still spelled out
	maxClassStrings = 12      // strings that it may be spelled as
	maxLiteral      = 24      // bytes of a literal, from where it is cut in two
	maxTexts        = 1 << 14 // texts of an alternation, or literals of a factor
)

// A shape is what is known about the texts that a subtree matches.
type shape struct {
	exact   []string // each text matched is one of these, folded; nil: not known
	factors []factor // each text matched contains one of every factor
}

// An extractor reads the trees of one alphabet.
type extractor struct {
	bytes bool                     // the pattern is matched byte by byte, not by runes
	known map[*syntax.Regexp]shape // subtrees are shared between ways
}

func (x extractor) shape(re *syntax.Regexp) shape {
	s, ok := x.known[re]
	if !ok {
		s = x.read(re)
		x.known[re] = s
	}
	return s
}

func (x extractor) read(re *syntax.Regexp) shape {
	switch re.Op {
	case syntax.OpEmptyMatch, syntax.OpBeginLine, syntax.OpEndLine, syntax.OpBeginText, syntax.OpEndText,
		syntax.OpWordBoundary, syntax.OpNoWordBoundary:
		return shape{exact: []string{""}}
	case syntax.OpLiteral:
		var c concatenation
		for _, r := range re.Rune {
			c.add(shape{exact: x.spell(orbit(r, re.Flags))})
		}
		return c.shape()
	case syntax.OpCharClass:
		return shape{exact: x.spell(spread(re.Rune))}
	case syntax.OpCapture:
		return x.shape(re.Sub[0])
	case syntax.OpConcat:
		var c concatenation
		for _, sub := range re.Sub {
			c.add(x.shape(sub))
		}
		return c.shape()
	case syntax.OpAlternate:
		shapes := make([]shape, len(re.Sub))
		for i, sub := range re.Sub {
			shapes[i] = x.shape(sub)
		}
		return alternation(shapes)
	case syntax.OpQuest:
		if sub := x.shape(re.Sub[0]); sub.exact != nil {
			return shape{exact: unique(append([]string{""}, sub.exact...))}
		}
	case syntax.OpPlus:
		return shape{factors: all(x.shape(re.Sub[0]))}
	case syntax.OpRepeat:
		return x.repeat(re)
	}
	return shape{} // anything
}

// repeat is a shape for x{n,m}: the first copies are written out.
func (x extractor) repeat(re *syntax.Regexp) shape {
	const copies = 3
	if re.Min == 0 {
		return shape{}
	}
	var c concatenation
	sub := x.shape(re.Sub[0])
	for range min(re.Min, copies) {
		c.add(sub)
	}
	if re.Max != re.Min || re.Min > copies {
		c.add(shape{})
	}
	return c.shape()
}

// A concatenation multiplies the exact shapes of neighbours, and turns what it
// has into a factor where that ends.
type concatenation struct {
	run     []string // texts since the last break; nil stands for the empty text
	broken  bool
	factors []factor
}

func (c *concatenation) add(s shape) {
	switch {
	case s.exact == nil:
		c.flush()
		c.factors = append(c.factors, s.factors...)
		c.broken = true
	case c.run == nil:
		c.run = s.exact
	case len(c.run)*len(s.exact) > max(maxAlternatives, len(c.run), len(s.exact)) || longest(c.run) >= maxLiteral:
		c.flush()
		c.run, c.broken = s.exact, true
	default:
		product := make([]string, 0, len(c.run)*len(s.exact))
		for _, left := range c.run {
			for _, right := range s.exact {
				product = append(product, left+right)
			}
		}
		c.run = unique(product)
	}
}

func (c *concatenation) flush() {
	c.factors = append(c.factors, asFactor(c.run)...)
	c.run = nil
}

func (c *concatenation) shape() shape {
	if !c.broken {
		if c.run == nil {
			return shape{exact: []string{""}}
		}
		return shape{exact: c.run}
	}
	c.flush()
	return shape{factors: rarest(c.factors)}
}

// alternation joins branches: a text of the whole is a text of one of them.
func alternation(branches []shape) shape {
	var exact []string
	for i, b := range branches {
		if b.exact == nil {
			break
		}
		if exact = append(exact, b.exact...); len(exact) > maxTexts {
			break
		}
		if i == len(branches)-1 {
			return shape{exact: unique(exact)}
		}
	}
	var out []factor
	ranked := make([][]factor, len(branches))
	most := 0
	for i, b := range branches {
		if ranked[i] = rarest(all(b)); len(ranked[i]) == 0 {
			return shape{}
		}
		most = max(most, len(ranked[i]))
	}
	for n := range min(most, keptFactors) {
		var f factor
		for _, r := range ranked {
			f = append(f, r[min(n, len(r)-1)]...)
		}
		if f = unique(f); len(f) <= maxTexts {
			out = append(out, f)
		}
	}
	return shape{factors: out}
}

// all returns everything that a shape requires.
func all(s shape) []factor {
	return append(asFactor(s.exact), s.factors...)
}

// asFactor makes a factor of texts, unless one of them is empty or there are none.
func asFactor(texts []string) []factor {
	if len(texts) == 0 || slices.Contains(texts, "") {
		return nil
	}
	return []factor{texts}
}

// spell returns the texts of one character, folded; nil when they are too many
// or not known.
func (x extractor) spell(runes []rune) []string {
	var out []string
	for _, r := range runes {
		if x.bytes && r > 0xff {
			continue // no byte is this rune
		}
		text, ok := x.fold(r)
		if !ok {
			return nil
		}
		out = append(out, text)
	}
	out = unique(out)
	if len(out) > maxClassStrings {
		return nil
	}
	return out
}

// fold puts a rune into the alphabet of literals: bytes, ASCII letters in lower
// case. Two runes beyond ASCII equal ASCII letters under (?i), and take their
// place: a value that has them is read a second time, with them replaced.
//
// The replacement character has no spelling: every invalid byte matches it.
func (x extractor) fold(r rune) (string, bool) {
	switch {
	case 'A' <= r && r <= 'Z':
		return string(r + 'a' - 'A'), true
	case x.bytes:
		return string([]byte{byte(r)}), true
	case r == longS:
		return "s", true
	case r == kelvin:
		return "k", true
	case r == utf8.RuneError || !utf8.ValidRune(r):
		return "", false
	}
	return string(r), true
}

const (
	longS  = 'ſ'      // U+017F, equals s under (?i)
	kelvin = '\u212a' // the Kelvin sign, equals k under (?i)
)

// orbit returns the runes that a literal rune matches.
func orbit(r rune, flags syntax.Flags) []rune {
	runes := []rune{r}
	if flags&syntax.FoldCase != 0 {
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			runes = append(runes, f)
		}
	}
	return runes
}

// spread returns the runes of ranges; for too many one without a spelling.
func spread(ranges []rune) []rune {
	var out []rune
	for i := 0; i+1 < len(ranges); i += 2 {
		if int(ranges[i+1]-ranges[i])+len(out) >= maxClassRunes {
			return []rune{utf8.MaxRune + 1}
		}
		for r := ranges[i]; r <= ranges[i+1]; r++ {
			out = append(out, r)
		}
	}
	return out
}

// unique sorts texts and drops what occurs twice.
func unique(texts []string) []string {
	slices.Sort(texts)
	return slices.Compact(texts)
}

func longest(texts []string) int {
	n := 0
	for _, t := range texts {
		n = max(n, len(t))
	}
	return n
}

package rx

import (
	"math/rand/v2"
	"regexp/syntax"
	"slices"
	"testing"
)

// but is the whole tool with a part changed.
func but(change func(*tool)) tool {
	t := tools
	change(&t)
	return t
}

// broken tools, each as a plausible mistake would make it.
var broken = map[string]tool{
	"a literal is lost": but(func(t *tool) {
		t.ways = func(x extractor, re *syntax.Regexp) []way {
			out := x.ways(re)
			for _, w := range out {
				if len(w[0]) > 1 {
					w[0] = w[0][1:]
				}
			}
			return out
		}
	}),
	"case is folded in ASCII only": but(func(t *tool) {
		t.program = func(p *syntax.Prog, bytes bool) *program {
			for i := range p.Inst {
				if in := &p.Inst[i]; in.Op >= syntax.InstRune && len(in.Rune) == 1 && syntax.Flags(in.Arg)&syntax.FoldCase != 0 {
					var ascii []rune
					for _, r := range orbit(in.Rune[0], syntax.FoldCase) {
						if r < 0x80 {
							ascii = append(ascii, r, r)
						}
					}
					if len(ascii) == 4 {
						in.Op, in.Rune, in.Arg = syntax.InstRune, []rune{min(ascii[0], ascii[2]), min(ascii[0], ascii[2]), max(ascii[0], ascii[2]), max(ascii[0], ascii[2])}, 0
					}
				}
			}
			return newProgram(p, bytes)
		}
	}),
	"word boundaries are ignored": but(func(t *tool) {
		t.program = func(p *syntax.Prog, bytes bool) *program {
			for i := range p.Inst {
				if in := &p.Inst[i]; in.Op == syntax.InstEmptyWidth && syntax.EmptyOp(in.Arg) == syntax.EmptyWordBoundary {
					in.Op = syntax.InstNop
				}
			}
			return newProgram(p, bytes)
		}
	}),
	"the start of a line is the start of the text": but(func(t *tool) {
		t.program = func(p *syntax.Prog, bytes bool) *program {
			for i := range p.Inst {
				if in := &p.Inst[i]; in.Op == syntax.InstEmptyWidth && syntax.EmptyOp(in.Arg) == syntax.EmptyBeginLine {
					in.Arg = uint32(syntax.EmptyBeginText)
				}
			}
			return newProgram(p, bytes)
		}
	}),
	"invalid bytes are skipped": but(func(t *tool) {
		t.program = func(p *syntax.Prog, bytes bool) *program {
			out := newProgram(p, bytes)
			if out != nil && !bytes {
				for b := 0x80; b < 0x100; b++ {
					out.ascii[b] = out.ascii['a']
				}
				out.bytes = true
			}
			return out
		}
	}),
	"a looser pattern is a stricter one": but(func(t *tool) {
		t.loosen = func(re *syntax.Regexp) (*syntax.Regexp, bool) {
			loose, changed := loosen(re)
			shorten(loose)
			return loose, changed
		}
	}),
	"values are not read a second time": but(func(t *tool) {
		t.fold = func(dst []byte, _ string) ([]byte, bool) { return dst, false }
	}),
	"an alphabet has letters of one case": but(func(t *tool) {
		t.allows = func(a *alphabet, re *syntax.Regexp, onBytes bool) bool {
			return re.Op != syntax.OpLiteral || !slices.ContainsFunc(re.Rune, func(r rune) bool { return !a.any(r, r, onBytes) })
		}
	}),
	"an alphabet has to have all branches": but(func(t *tool) {
		t.allows = func(a *alphabet, re *syntax.Regexp, onBytes bool) bool {
			return re.Op != syntax.OpAlternate || !slices.ContainsFunc(re.Sub, func(re *syntax.Regexp) bool { return !a.allows(re, onBytes) })
		}
	}),
	"no alphabet has bytes beyond ASCII": but(func(t *tool) {
		t.allows = func(a *alphabet, re *syntax.Regexp, onBytes bool) bool {
			less := *a
			less.high, less.bytes[2], less.bytes[3] = false, 0, 0
			return less.allows(re, onBytes)
		}
	}),
}

// shorten makes of each x{n,} in the tree an x{n}.
func shorten(re *syntax.Regexp) {
	if re.Op == syntax.OpRepeat && re.Max == -1 {
		re.Max = max(re.Min, 1)
	}
	for _, sub := range re.Sub {
		shorten(sub)
	}
}

// TestSabotage breaks one part at a time: the comparisons that the other tests
// make must notice each.
func TestSabotage(t *testing.T) {
	if testing.Short() {
		t.Skip("exhaustive, and on one goroutine")
	}
	t.Parallel()
	short := texts([]string{"a", "s", "\n", "ſ", "\xff", " "}, 3)
	var small []string
	for i, p := range smallPatterns() {
		if i%4 == 0 {
			small = append(small, p)
		}
	}
	all := payloads(t)
	for name, with := range broken {
		caught := 0
		for from := 0; from < len(small); from += 300 {
			var ops []Operator
			for _, p := range small[from:min(len(small), from+300)] {
				ops = append(ops, Operator{Kind: Pattern, Text: p})
			}
			j := newJudge(t, with, ops...)
			for _, value := range short {
				caught += len(j.check(value, defaultLimits))
			}
		}
		rules, _, class := crsSet(t, with)
		trees := treesOf(t, with, operatorsOf(rules))
		_, _, right := crsSet(t, tools)
		random := rand.New(rand.NewPCG(1, 2))
		broken, whole := class.set.NewScratch(), right.set.NewScratch()
		found := 0
		for range 600 {
			value := mutate(random, all[random.IntN(len(all))], all)
			got, want := class.Match(broken, value).Hits, right.Match(whole, value).Hits
			over := made(class.set, value)
			for i := range rules {
				if got.Has(i) != want.Has(i) || want.Has(i) && !over.leaves(class.set, i, trees[i], with) {
					found++
				}
			}
		}
		t.Logf("%s: %d wrong answers about small patterns, %d about the core rules", name, caught, found)
		if caught == 0 && found == 0 {
			t.Errorf("nobody noticed that %s", name)
		}
	}
}

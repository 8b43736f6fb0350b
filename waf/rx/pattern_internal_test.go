package rx

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"rsc.io/binaryregexp"
)

// budgets are none, hardly any, one that leaves no memory, and the usual one.
var budgets = []limits{{0, 1 << 30, 1 << 20}, {1, 1 << 30, 1 << 20}, {2, 1 << 30, 1 << 20}, {3, 2, 600}, defaultLimits}

// A judge holds a class to its oracles.
type judge struct {
	set     *Set
	class   *Class
	scratch *Scratch
	ops     []Operator
	oracles []oracle
	trees   []*syntax.Regexp
	with    tool
}

func newJudge(tb testing.TB, with tool, ops ...Operator) *judge {
	tb.Helper()
	s, err := compile(ops, Bytes{Kinds: someKinds}, with)
	if err != nil {
		tb.Fatal(err)
	}
	every := make([]int, len(ops))
	oracles := make([]oracle, len(ops))
	for i, op := range ops {
		every[i], oracles[i] = i, newOracle(tb, op)
	}
	c, err := s.Class(every...)
	if err != nil {
		tb.Fatal(err)
	}
	return &judge{s, c, s.NewScratch(), ops, oracles, treesOf(tb, with, ops), with}
}

// treesOf are the trees by which compile finds out what an alphabet leaves.
func treesOf(tb testing.TB, with tool, ops []Operator) (trees []*syntax.Regexp) {
	tb.Helper()
	for _, op := range ops {
		_, tree, _, err := prepare(op, with)
		if err != nil {
			tb.Fatal(err)
		}
		trees = append(trees, tree)
	}
	return trees
}

// made is the alphabet of what a value is made of.
func made(s *Set, value string) *alphabet {
	var bytes ByteSet
	for i := range len(value) {
		bytes.Add(value[i])
	}
	return newAlphabet(bytes)
}

// someKinds are kinds of bytes, so that each character that is special is of its own.
var someKinds = func() []ByteSet {
	kinds := make([]ByteSet, 8, 63)
	for c := range 256 {
		switch c := byte(c); {
		case c == 'a':
			kinds[1].Add(c)
		case c == 's':
			kinds[2].Add(c)
		case 'a' <= c && c <= 'z':
			kinds[0].Add(c)
		case 'A' <= c && c <= 'Z':
			kinds[3].Add(c)
		case '0' <= c && c <= '9':
			kinds[4].Add(c)
		case c >= utf8.RuneSelf:
			kinds[5].Add(c)
		case c == '\n':
			kinds[6].Add(c)
		case c < ' ' || c == 0x7f:
			kinds[7].Add(c)
		default:
			kinds = append(kinds, only(string(rune(c))))
		}
	}
	return kinds
}()

// kindsOf are those of a value, as bits.
func kindsOf(value string) (kinds uint64) {
	for i := range len(value) {
		kinds |= 1 << slices.IndexFunc(someKinds, func(k ByteSet) bool { return k.Has(value[i]) })
	}
	return kinds
}

// check compares both kinds of answer with the oracles under the limits, and
// returns what differs.
func (j *judge) check(value string, lim limits) []string {
	j.set.limits = lim
	var wrong []string
	exact := j.class.Match(j.scratch, value)
	hits, unsure := slices.Clone(exact.Hits), exact.Unsure.Any()
	if unsure {
		wrong = append(wrong, fmt.Sprintf("Match(%q) left operators undecided", value))
	}
	may := j.class.MayMatch(j.scratch, value)
	over := made(j.set, value)
	for i, o := range j.oracles {
		want := o(value)
		if needs, some := j.set.Needs(i); want && some && kindsOf(value)&needs == 0 {
			wrong = append(wrong, fmt.Sprintf("%+v matches %q, which has nothing that it needs", j.ops[i], value))
		}
		if want && !over.leaves(j.set, i, j.trees[i], j.with) {
			wrong = append(wrong, fmt.Sprintf("%+v matches %q, and no text made of its bytes", j.ops[i], value))
		}
		if hits.Has(i) != want {
			wrong = append(wrong, fmt.Sprintf("%+v: Match(%q) = %v, want %v", j.ops[i], value, !want, want))
		}
		switch {
		case may.Unsure.Has(i):
			if !may.Hits.Has(i) {
				wrong = append(wrong, fmt.Sprintf("%+v: MayMatch(%q): undecided, and yet no hit", j.ops[i], value))
			}
		case may.Hits.Has(i) != want:
			wrong = append(wrong, fmt.Sprintf("%+v: MayMatch(%q) = %v, want %v", j.ops[i], value, !want, want))
		}
	}
	return wrong
}

// texts returns every text of up to n of the letters.
func texts(letters []string, n int) []string {
	all, last := []string{""}, []string{""}
	for range n {
		var next []string
		for _, text := range last {
			for _, l := range letters {
				next = append(next, text+l)
			}
		}
		all, last = append(all, next...), next
	}
	return all
}

// smallPatterns are all patterns of two parts, in all the ways to put two together.
func smallPatterns() []string {
	atoms := []string{`a`, `s`, `(?i:S)`, `(?i:k)`, `.`, `(?-s:.)`, `\b`, `\B`, `^`, `$`, `\A`, `\z`, `(?-m:$)`, `[^a]`, `\w`, `\W`, `\n`, `aa`, `é`, `[éſ]`, "\ufffd", ``}
	var all []string
	for _, x := range atoms {
		all = append(all, x, `(?:`+x+`)*a`, `^(?:`+x+`)+$`, `\A(?:`+x+`)?\z`, `(?:`+x+`a){2}`, `(?:`+x+`a){2,}?$`)
		for _, y := range atoms {
			all = append(all, x+y, x+`|`+y+`s`, `^(?:`+x+`|`+y+`)$`, x+`*`+y+`s`, `(?:`+x+`a|`+y+`)+\b`)
		}
	}
	return slices.DeleteFunc(all, func(p string) bool { _, err := regexp.Compile(p); return err != nil })
}

// TestSmallPatterns compares exhaustively: small patterns over all short texts
// of an alphabet that has everything that is special.
func TestSmallPatterns(t *testing.T) {
	if testing.Short() {
		t.Skip("exhaustive, and on one goroutine")
	}
	t.Parallel()
	values := texts([]string{"a", "s", "\n", "ſ", "é", "\xff", " "}, 4)
	for part := range slices.Chunk(smallPatterns(), 300) {
		var ops []Operator
		for i, p := range part {
			ops = append(ops, Operator{Kind: Pattern, Text: p, Not: i%7 == 0})
		}
		j := newJudge(t, tools, ops...)
		for n, value := range values {
			if n%5 > 0 { // every budget in turn, the usual one most often
				n = len(budgets) - 1
			}
			for _, wrong := range j.check(value, budgets[n%len(budgets)]) {
				t.Error(wrong)
			}
			if t.Failed() {
				return
			}
		}
	}
}

// A grammar makes patterns out of bytes: the same bytes, the same pattern.
type grammar struct {
	bytes []byte
	depth int
}

func (g *grammar) choose(n int) int {
	if len(g.bytes) == 0 {
		return 0
	}
	b := g.bytes[0]
	g.bytes = g.bytes[1:]
	return int(b) % n
}

var grammarAtoms = []string{
	`a`, `b`, `s`, `k`, `A`, `K`, `select`, `union`, `<script`, `ab`, ` `, `\n`, `.`, `\w`, `\W`, `\s`, `\S`, `\d`, `[a-c]`, `[^a-c]`, `[sk]`, `[^\n]`,
	`é`, `É`, `[à-ö]`, `ſ`, `\x{212a}`, "\ufffd", "[\ufffd-\uffff]", `\x00`, `\x7f`, `\pL`, `\PL`, `[[:punct:]]`, `\b`, `\B`, `^`, `$`, `\A`, `\z`, `(?-m:^)`, `(?-m:$)`, `世`, `[^世]`, `\.`, `/`, `""`,
}

func (g *grammar) pattern() string {
	if g.depth++; g.depth > 12 {
		return grammarAtoms[g.choose(len(grammarAtoms))]
	}
	switch g.choose(12) {
	case 0, 1, 2, 3:
		return grammarAtoms[g.choose(len(grammarAtoms))]
	case 4, 5, 6:
		return g.pattern() + g.pattern()
	case 7:
		return `(?:` + g.pattern() + `|` + g.pattern() + `)`
	case 8:
		return `(?:` + g.pattern() + `|` + g.pattern() + `|` + g.pattern() + `)`
	case 9:
		return `(` + g.pattern() + `)` + []string{`*`, `+`, `?`, `*?`, `+?`, `??`}[g.choose(6)]
	case 10:
		return `(?:` + g.pattern() + `)` + []string{`{2}`, `{1,3}`, `{2,}`, `{0,2}`, `{4,5}?`, `{6}`, `{1,8}`}[g.choose(7)]
	default:
		return []string{`(?i:`, `(?-s:`, `(?U:`, `(?i-m:`}[g.choose(4)] + g.pattern() + `)`
	}
}

// valueFor makes a value that has to do with the pattern.
func valueFor(r *rand.Rand, pattern string) string {
	var b strings.Builder
	for range r.IntN(12) {
		switch r.IntN(8) {
		case 0:
			if pattern != "" {
				at := r.IntN(len(pattern))
				b.WriteString(pattern[at:min(len(pattern), at+1+r.IntN(6))])
			}
		case 1:
			b.WriteByte(byte(r.Uint32()))
		case 2:
			b.WriteString([]string{"ſ", "\u212a", "é", "É", "世", "\ufffd", "\xc5", "\xe2\x84"}[r.IntN(8)])
		default:
			b.WriteString([]string{"a", "b", "s", "S", "k", "K", " ", "\n", "select", "UNION", "<script", "c", "1", ".", "/"}[r.IntN(15)])
		}
	}
	return b.String()
}

// TestRandomPatterns compares sets of patterns from the grammar.
func TestRandomPatterns(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 4))
	for range values(t, 60) {
		var ops []Operator
		var joined string
		for len(ops) < 25 {
			raw := make([]byte, 40)
			for i := range raw {
				raw[i] = byte(r.Uint32())
			}
			p := (&grammar{bytes: raw}).pattern()
			if _, err := regexp.Compile(p); err != nil {
				continue
			}
			joined += p
			ops = append(ops, Operator{Kind: Pattern, Text: p, Not: r.IntN(5) == 0})
		}
		j := newJudge(t, tools, ops...)
		for n := range 200 {
			value := valueFor(r, joined)
			for _, wrong := range j.check(value, budgets[n%len(budgets)]) {
				t.Error(wrong)
			}
			if t.Failed() {
				return
			}
		}
	}
}

// FuzzPattern makes a pattern out of bytes and compares both kinds of answer
// with package regexp, with every budget.
func FuzzPattern(f *testing.F) {
	f.Add([]byte{7, 6, 4, 0, 7}, "1 UNION ſelect", byte(0))
	f.Add([]byte{11, 0, 4, 0, 2, 0, 3}, "ſ\u212a", byte(1))
	f.Add([]byte{4, 0, 33, 0, 6}, "a select\n", byte(2))
	f.Add([]byte{9, 4, 0, 31, 0, 22, 1}, "\xff\xfe世é", byte(3))
	f.Add([]byte{10, 8, 0, 35, 0, 0, 0, 36, 2}, "\n\na\n", byte(4))
	f.Fuzz(func(t *testing.T, raw []byte, value string, budget byte) {
		if len(raw) > 64 || len(value) > 512 {
			return
		}
		p := (&grammar{bytes: raw}).pattern()
		if _, err := regexp.Compile(p); err != nil {
			return
		}
		j := newJudge(t, tools, Operator{Kind: Pattern, Text: p}, Operator{Kind: Pattern, Text: p, Not: true})
		for range 2 { // cold and warm
			for _, wrong := range j.check(value, budgets[int(budget)%len(budgets)]) {
				t.Error(wrong)
			}
		}
	})
}

// FuzzSource takes any pattern text, those of bytes too.
func FuzzSource(f *testing.F) {
	f.Add(`\xac\xed\x00\x05`, "\xac\xed\x00\x05")
	f.Add(`\x{bc}[^>\x{be}]*[>\x{be}]|<[^\x{be}]*\x{be}`, "\xbcscript\xbe")
	f.Add(`(?i)\x{e9}K|k[\x80-\xff]`, "\xc9k\xe9")
	f.Add(`(?i)(?:\bselect\b.+from|union\s+all)`, "a ſelect 1 from")
	f.Add(`\C\pL`, "é")
	f.Fuzz(func(t *testing.T, p, value string) {
		if len(p) > 200 || len(value) > 512 {
			return
		}
		op := Operator{Kind: Pattern, Text: p}
		_, err := Compile([]Operator{op}, Bytes{})
		var want error
		if namesBytes(p) {
			_, want = binaryregexp.Compile(p)
		} else {
			_, want = regexp.Compile("(?sm)" + p)
		}
		if (err == nil) != (want == nil) {
			t.Fatalf("Compile(%q) = %v, the engine's says %v", p, err, want)
		}
		if err != nil {
			return
		}
		j := newJudge(t, tools, op)
		for _, lim := range budgets {
			for _, wrong := range j.check(value, lim) {
				t.Error(wrong)
			}
		}
	})
}

// FuzzOperators holds the comparisons that are no patterns to their oracles.
func FuzzOperators(f *testing.F) {
	f.Add("Select union", "a ſelect", "9,32-126")
	f.Add("sleep k", "SLEEP", "1-255")
	f.Add("\xc5\xbf é", "x\xc5\xbfy", "0")
	f.Fuzz(func(t *testing.T, text, value, ranges string) {
		if len(text) > 256 || len(value) > 512 {
			return
		}
		ops := []Operator{{Kind: Contains, Text: text}, {Kind: BeginsWith, Text: text}, {Kind: EndsWith, Text: text}, {Kind: Equal, Text: text}, {Kind: Within, Text: text}}
		if list := SplitPhrases(text); !slices.Contains(list, "") {
			ops = append(ops, Operator{Kind: Phrases, List: list})
		}
		if _, err := parseRanges(ranges); err == nil {
			ops = append(ops, Operator{Kind: ByteRange, Text: ranges})
		}
		for _, op := range slices.Clone(ops) {
			op.Not = true
			ops = append(ops, op)
		}
		j := newJudge(t, tools, ops...)
		for _, v := range []string{value, text, text + value, value + text + value, ""} {
			for _, wrong := range j.check(v, defaultLimits) {
				t.Error(wrong)
			}
		}
	})
}

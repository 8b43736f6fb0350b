package rx

import (
	"math/rand/v2"
	"testing"
)

// only is a set of bytes.
func only(text string) (b ByteSet) {
	for i := range len(text) {
		b.Add(text[i])
	}
	return b
}

// TestPossible: what no text of an alphabet can match, and a twin that one can.
func TestPossible(t *testing.T) {
	const letters, digits = "abcdefghijklmnopqrstuvwxyz", "0123456789"
	for _, tc := range []struct {
		op       Operator
		alphabet string
		want     bool
	}{
		{Operator{Kind: Pattern, Text: `<script`}, letters, false},
		{Operator{Kind: Pattern, Text: `<script`}, letters + "<", true},
		{Operator{Kind: Pattern, Text: `(?i)SELECT`}, letters, true},
		{Operator{Kind: Pattern, Text: `SELECT`}, letters, false},
		{Operator{Kind: Pattern, Text: `[0-9]{3}`}, letters, false},
		{Operator{Kind: Pattern, Text: `[0-9]*x`}, letters, true},
		{Operator{Kind: Pattern, Text: `a(?:<|b)`}, letters, true},
		{Operator{Kind: Pattern, Text: `a(?:<|>)`}, letters, false},
		{Operator{Kind: Pattern, Text: `a(?:<|>)?`}, letters, true},
		{Operator{Kind: Pattern, Text: `a(?:<|>)+`}, letters, false},
		{Operator{Kind: Pattern, Text: `[^a-z]`}, letters, false},
		{Operator{Kind: Pattern, Text: `[^a-z]`}, letters + "\xff", true},
		{Operator{Kind: Pattern, Text: `(?i)s`}, digits, false},
		{Operator{Kind: Pattern, Text: `(?i)s`}, digits + "ſ", true},
		{Operator{Kind: Pattern, Text: `\xac\xed`}, letters, false},
		{Operator{Kind: Pattern, Text: `\xac\xed`}, "\xac\xed", true},
		{Operator{Kind: Pattern, Text: `\xac\xed`}, "\xac", false},
		{Operator{Kind: Pattern, Text: `<script`, Not: true}, letters, true},
		{Operator{Kind: Phrases, List: []string{"union select", "sleep("}}, letters, false},
		{Operator{Kind: Phrases, List: []string{"union select", "sleep("}}, letters + " ", true},
		{Operator{Kind: Contains, Text: "a.b"}, letters, false},
		{Operator{Kind: Contains, Text: "a.b"}, letters + ".", true},
		{Operator{Kind: Equal, Text: ""}, digits, true},
		{Operator{Kind: Within, Text: "GET POST"}, digits, true}, // an empty value is
		{Operator{Kind: ByteRange, Text: "32-126"}, letters, false},
		{Operator{Kind: ByteRange, Text: "32-126"}, letters + "\x00", true},
	} {
		s, err := Compile([]Operator{tc.op}, only(tc.alphabet))
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Possible(0, 0); got != tc.want {
			t.Errorf("%+v over %q: possible: %v, want %v", tc.op, tc.alphabet, got, tc.want)
		}
	}
}

// TestPossibleCore: whatever matches an operator of the Core Rule Set is possible in
// what it is made of, and ordinary texts leave few operators.
func TestPossibleCore(t *testing.T) {
	if testing.Short() {
		t.Skip("many values, on one goroutine")
	}
	rules, s, class := crsSet(t, tools)
	ops, all := operatorsOf(rules), payloads(t)
	trees := treesOf(t, tools, ops)
	random, sc := rand.New(rand.NewPCG(3, 4)), s.NewScratch()
	matched := 0
	for range values(t, 3000) {
		value := mutate(random, all[random.IntN(len(all))], all)
		over := made(s, value)
		for i := range class.Match(sc, value).Hits.All() {
			if matched++; !over.leaves(s, i, trees[i], tools) {
				t.Errorf("%+v matches %q, and no text made of its bytes", ops[i], value)
			}
		}
	}
	if matched < 3000 {
		t.Errorf("%d matches", matched)
	}
	left := 0
	for i := range ops {
		if made(s, "A plain-text_1.").leaves(s, i, trees[i], tools) {
			left++
		}
	}
	if t.Logf("%d of %d operators are possible in plain words", left, len(ops)); left > len(ops)/2 {
		t.Error("too many")
	}
}

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
		s, err := Compile([]Operator{tc.op}, Bytes{Alphabets: []ByteSet{only(tc.alphabet)}})
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Possible(0, 0); got != tc.want {
			t.Errorf("%+v over %q: possible: %v, want %v", tc.op, tc.alphabet, got, tc.want)
		}
	}
}

// TestNeeds: what each match of an operator has one of, the rarest that there is.
func TestNeeds(t *testing.T) {
	var high ByteSet
	for c := 0x80; c < 0x100; c++ {
		high.Add(byte(c))
	}
	kinds := []ByteSet{only("abcdefghijklmnopqrstuvwxyz"), only("ABCDEFGHIJKLMNOPQRSTUVWXYZ"), high, only(" "), only("0123456789"), only("<"), only("("), only("\x00")}
	for _, tc := range []struct {
		op   Operator
		want string // a byte of each kind; "any": there are no such kinds
	}{
		{Operator{Kind: Pattern, Text: `<script`}, "<"},
		{Operator{Kind: Pattern, Text: `<?script`}, "a"},
		{Operator{Kind: Pattern, Text: `script(?:<|\()`}, "<("},
		{Operator{Kind: Pattern, Text: `script(?:<|\(|x)`}, "a"},
		{Operator{Kind: Pattern, Text: `<[^(]+\(`}, "("},
		{Operator{Kind: Pattern, Text: `(?:<){2,}[0-9]`}, "<"},
		{Operator{Kind: Pattern, Text: `<*[0-9]`}, "0"},
		{Operator{Kind: Pattern, Text: `(?i)s`}, "aA\xff"},
		{Operator{Kind: Pattern, Text: `\xac\xed`}, "\xff"},
		{Operator{Kind: Pattern, Text: `[A-Z<]`}, "A<"},
		{Operator{Kind: Pattern, Text: `[^a-z]`}, "any"},
		{Operator{Kind: Pattern, Text: `^`}, "any"},
		{Operator{Kind: Pattern, Text: `!`}, "any"}, // which is of none of them
		{Operator{Kind: Pattern, Text: `<script`, Not: true}, "any"},
		{Operator{Kind: Phrases, List: []string{"union select", "sleep("}}, " ("},
		{Operator{Kind: Phrases, List: []string{"benchmark(", "sleep("}}, "("},
		{Operator{Kind: Contains, Text: "a b"}, " "},
		{Operator{Kind: BeginsWith, Text: "x"}, "a"},
		{Operator{Kind: Equal, Text: ""}, "any"},
		{Operator{Kind: Within, Text: "GET POST"}, "any"},
		{Operator{Kind: ByteRange, Text: "1-255"}, "\x00"},
	} {
		s, err := Compile([]Operator{tc.op}, Bytes{Kinds: kinds})
		if err != nil {
			t.Fatal(err)
		}
		var want uint64
		for i, kind := range kinds {
			for c := range len(tc.want) {
				if tc.want != "any" && kind.Has(tc.want[c]) {
					want |= 1 << i
				}
			}
		}
		if got, some := s.Needs(0); some != (tc.want != "any") || some && got != want {
			t.Errorf("%+v: needs %b, %t; want %b", tc.op, got, some, want)
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

package rx

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// TestScreen holds that no operator matches a text, in whichever case, of which a
// screen has told so, and that it can tell so of ordinary texts.
func TestScreen(t *testing.T) {
	_, s, _ := crsSet(t, tools)
	var operators []int
	for i := range s.operators {
		if s.Screens(i) {
			operators = append(operators, i)
		}
	}
	if len(operators) == len(s.operators) || len(operators) < len(s.operators)/2 {
		t.Fatalf("%d of %d operators can be screened", len(operators), len(s.operators))
	}
	r, sc := rand.New(rand.NewPCG(1, 2)), s.NewScratch() //nolint:gosec // it makes test data
	texts := append(payloads(t), "plain", "Hello World", "4F1C2d3e", "ſcript", "Kill", "")
	clear, matched := 0, 0
	var found Found
	for n := range values(t, 4000) {
		// A few operators at a time, as in the classes of values.
		class, err := s.Class(some(r, operators, 1+r.IntN(12))...)
		if err != nil {
			t.Fatal(err)
		}
		text := texts[n%len(texts)]
		if r.IntN(2) == 0 {
			text = mutate(r, text, texts)
		}
		if class.Screen(sc, text, &found); found.Of(class) {
			matched++
		} else {
			clear++
		}
		part, err := s.Class(some(r, slices.Collect(class.members.All()), 1+r.IntN(3))...)
		if err != nil {
			t.Fatal(err)
		}
		for _, same := range []string{text, toLower(text), toUpper(text), swap(r, text)} {
			for _, of := range []*Class{class, part} {
				want := slices.Clone(of.Match(sc, same).Hits)
				if got := of.MatchFound(sc, same, &found).Hits; !slices.Equal(got, want) {
					t.Fatalf("%q was screened, and of %q is said that it matches %v, not %v", text, same, slices.Collect(got.All()), slices.Collect(want.All()))
				}
				may := of.MayMatchFound(sc, same, &found)
				for i := range want.All() {
					if !may.Hits.Has(i) {
						t.Fatalf("%q was screened, and of %q is said that it cannot match %d", text, same, i)
					}
				}
			}
		}
	}
	if clear < 500 || matched < 500 {
		t.Errorf("%d texts were told to match nothing, and %d were not", clear, matched)
	}
}

func some(r *rand.Rand, from []int, n int) (out []int) {
	for range n {
		out = append(out, from[r.IntN(len(from))])
	}
	return out
}

// toLower changes ASCII letters only, as toUpper and swap do.
func toLower(s string) string { return mapASCII(s, func(b byte) byte { return lower(string(b))[0] }) }

func toUpper(s string) string {
	return mapASCII(s, func(b byte) byte { return upper(lower(string(b))[0]) })
}

func swap(r *rand.Rand, s string) string {
	return mapASCII(s, func(b byte) byte {
		if r.IntN(2) == 0 {
			return lower(string(b))[0]
		}
		return upper(b)
	})
}

func mapASCII(s string, f func(byte) byte) string {
	b := []byte(s)
	for i, c := range b {
		if c < 0x80 {
			b[i] = f(c)
		}
	}
	return string(b)
}

// TestScreens: what a literal does not rule out, or what matches where it finds
// nothing, is not for a screen.
func TestScreens(t *testing.T) {
	s, err := Compile([]Operator{{Kind: Pattern, Text: "needle"}, {Kind: Pattern, Text: "needle", Not: true}, {Kind: Pattern, Text: "^[a-z]+$"}, {Kind: Within, Text: "needle"}, {Kind: Phrases, List: []string{"needle"}}}, Bytes{})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{true, false, false, false, true} {
		if got := s.Screens(i); got != want {
			t.Errorf("operator %d: %t, want %t", i, got, want)
		}
	}
}

// TestManyStates builds automata whose rows would lead to more states than they can
// name: with fewer rows, they find the same.
func TestManyStates(t *testing.T) {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789-."
	var texts []string
	for _, a := range letters {
		for _, b := range letters {
			for _, c := range letters {
				texts = append(texts, string([]rune{a, b, c}))
			}
		}
	}
	if len(texts) <= rowEnds {
		t.Fatalf("%d literals are too few", len(texts))
	}
	r := rand.New(rand.NewPCG(3, 4)) //nolint:gosec // it makes test data
	r.Shuffle(len(texts), func(i, j int) { texts[i], texts[j] = texts[j], texts[i] })
	left := map[string]bool{}
	for _, text := range texts[:200] { // not looked for
		left[text] = true
	}
	s, err := Compile([]Operator{{Kind: Phrases, List: texts[200:]}}, Bytes{})
	if err != nil {
		t.Fatal(err)
	}
	if a := s.automaton; a.dense > uint32(len(letters))+1 {
		t.Errorf("%d states have rows", a.dense)
	}
	class, err := s.Class(0)
	if err != nil {
		t.Fatal(err)
	}
	sc := s.NewScratch()
	for range 20000 {
		text := strings.ToUpper(randomText(r, letters, r.IntN(6)))
		want := false
		for i := 0; i+3 <= len(text); i++ {
			want = want || !left[lower(text[i:i+3])]
		}
		if got := class.Match(sc, text).Hits.Any(); got != want {
			t.Fatalf("%q: %t, want %t", text, got, want)
		}
	}
	for text := range left {
		if class.Match(sc, text).Hits.Any() {
			t.Errorf("%q is found, and is not looked for", text)
		}
	}
}

func randomText(r *rand.Rand, letters string, n int) string {
	var b strings.Builder
	for range n {
		fmt.Fprintf(&b, "%c", letters[r.IntN(len(letters))])
	}
	return b.String()
}

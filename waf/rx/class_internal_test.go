package rx

import (
	"fmt"
	"testing"
)

// listed makes a set of operators with some phrases each.
func listed(t *testing.T, operators, phrases int) *Set {
	t.Helper()
	var ops []Operator
	for i := range operators {
		var list []string
		for p := range phrases {
			list = append(list, fmt.Sprintf("phrase%c%c", 'a'+i, 'a'+p))
		}
		ops = append(ops, Operator{Kind: Phrases, List: list})
	}
	s, err := Compile(ops, Bytes{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func class(t *testing.T, s *Set, operators ...int) *Class {
	t.Helper()
	c, err := s.Class(operators...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// span returns the numbers from first to last.
func span(first, last int) (out []int) {
	for i := first; i <= last; i++ {
		out = append(out, i)
	}
	return out
}

// TestSharing holds who shares a class and an automaton, in whatever order they come,
// and that a class answers for its own operators only.
func TestSharing(t *testing.T) {
	s := listed(t, 16, 8)
	if class(t, s, 1, 2) != class(t, s, 2, 1, 2) {
		t.Error("the same operators are two classes")
	}
	some, most := class(t, s, span(0, 7)...), class(t, s, span(0, 8)...)
	few, other, large := class(t, s, 0), class(t, s, span(1, 9)...), class(t, s, span(0, 15)...)
	after := class(t, s, span(1, 8)...)
	for _, tc := range []struct {
		name string
		a, b *Class
		want bool
	}{
		{"one more, which came later", some, most, true},
		{"one more, which came before", after, most, true},
		{"one of nine", few, most, false},
		{"most of both, but not all of one", some, other, false},
		{"nine of sixteen", most, large, false},
	} {
		if got := tc.a.automaton.Load() == tc.b.automaton.Load(); got != tc.want {
			t.Errorf("%s: shared: %t", tc.name, got)
		}
	}
	for _, a := range s.classes.small {
		if a.of.Has(7) && !a.of.Has(8) {
			t.Error("what serves no class any more is kept")
		}
	}
	sc := s.NewScratch()
	for _, c := range []*Class{some, most, few, other, large, after} {
		for i := range 16 {
			hits := c.Match(sc, fmt.Sprintf("a phrase%cd", 'a'+i)).Hits
			if hits.Any() != c.members.Has(i) || hits.Any() && !hits.Has(i) {
				t.Errorf("operator %d: hits %b, members %b", i, hits, c.members)
			}
		}
	}
}

// TestSharingIsBounded holds that what is kept of classes is bounded, and that those
// beyond the bounds answer as the others do.
func TestSharingIsBounded(t *testing.T) {
	s := listed(t, 12, 3)
	sc := s.NewScratch()
	for bits := 1; bits < 1<<12; bits++ {
		var operators []int
		for i := range 12 {
			if bits>>i&1 != 0 {
				operators = append(operators, i)
			}
		}
		c := class(t, s, operators...)
		for _, i := range []int{0, 7, 11} {
			if got := c.Match(sc, fmt.Sprintf("phrase%cb", 'a'+i)).Hits.Any(); got != (bits>>i&1 != 0) {
				t.Fatalf("%b: operator %d: %t", bits, i, got)
			}
		}
	}
	if classes, small := len(s.classes.known), len(s.classes.small); classes != maxShared || small > maxSmall {
		t.Errorf("%d classes and %d automata", classes, small)
	}
}

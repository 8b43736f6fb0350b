package rx

import (
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// explosive has a state for every way in which the last letters can have been a.
const explosive = `(?:a|b)*a(?:a|b){4}(?:a|b){4}(?:a|b){4}c`

func coin(r *rand.Rand, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = "ab"[r.IntN(2)]
	}
	return string(b)
}

// TestGrowth: values that are always new cannot make a dfa grow faster than
// they pay for.
func TestGrowth(t *testing.T) {
	t.Parallel()
	j := newJudge(t, tools, Operator{Kind: Pattern, Text: explosive})
	p := j.set.operators[0].prog
	d := newDFA(p, newWorkspace(len(p.insts)))
	r := rand.New(rand.NewPCG(1, 1))
	made, read, undecidedValues, resets := 0, 0, 0, 0
	for range 6000 {
		value := coin(r, 200)
		before, bytes := len(d.sets), d.bytes
		if d.run(value, 1<<30) == undecided {
			undecidedValues++
		}
		if read += len(value); d.bytes < bytes {
			before = 0
			resets++
		}
		if d.bytes > maxBytes+2048 {
			t.Fatalf("%d bytes", d.bytes)
		}
		if made += len(d.sets) - before; made > mostCredit/statePrice+read/statePrice {
			t.Fatalf("%d states after %d bytes", made, read)
		}
	}
	if undecidedValues == 0 || resets == 0 {
		t.Error("the pattern is not explosive: the test shows nothing")
	}
}

// TestBudget: where the budget ends, Match decides by the engine's package and
// MayMatch says so.
func TestBudget(t *testing.T) {
	t.Parallel()
	j := newJudge(t, tools, Operator{Kind: Pattern, Text: explosive}, Operator{Kind: Pattern, Text: explosive, Not: true})
	j.set.limits.states, j.set.limits.perByte = 20, 1<<30
	r := rand.New(rand.NewPCG(2, 2))
	unsure := 0
	for range 50 {
		value := coin(r, 300) + "c"
		for _, wrong := range j.check(value, j.set.limits) {
			t.Fatal(wrong)
		}
		for i := range 2 {
			if j.class.MayMatch(j.scratch, value).Unsure.Has(i) {
				unsure++
			}
		}
	}
	if unsure == 0 {
		t.Error("no budget ended: the test shows nothing")
	}
}

// TestMemory: what a scratch has learned stays within the limit, whatever the
// values, and so does its account of it.
func TestMemory(t *testing.T) {
	t.Parallel()
	_, s, class := crsSet(t, tools)
	s.limits.memory = 300 << 10
	sc := s.NewScratch()
	r := rand.New(rand.NewPCG(3, 3))
	next := salad(s, 200)
	resets, last := 0, 0
	for range 150 {
		class.MayMatch(sc, next(r))
		sum := 0
		for _, d := range sc.dfas {
			if d != nil {
				sum += d.bytes
			}
		}
		if sum != sc.used || sc.used > s.limits.memory {
			t.Fatalf("%d bytes counted, %d held, %d allowed", sc.used, sum, s.limits.memory)
		}
		if sc.used < last {
			resets++
		}
		last = sc.used
	}
	if resets == 0 {
		t.Error("the limit was never met: the test shows nothing")
	}
}

// TestAllocations: once a scratch knows the kind of value, it allocates nothing.
func TestAllocations(t *testing.T) {
	_, s, class := crsSet(t, tools)
	sc := s.NewScratch()
	for _, value := range []string{"", "name", "John O'Neil, 12 Mill Road", "a ſmall \u212aiosk", strings.Repeat("plain text (with brackets); ", 20), "\xff\x00\x01"} {
		for range 3 {
			class.Match(sc, value)
		}
		if n := testing.AllocsPerRun(20, func() { class.Match(sc, value) }); n != 0 {
			t.Errorf("Match(%q) allocates %v times", value, n)
		}
	}
}

// TestSameAnswers: what a scratch has seen before changes no answer.
func TestSameAnswers(t *testing.T) {
	t.Parallel()
	_, s, class := crsSet(t, tools)
	all := payloads(t)
	r := rand.New(rand.NewPCG(4, 4))
	warm := s.NewScratch()
	for range values(t, 40) {
		value := mutate(r, all[r.IntN(len(all))], all)
		fresh := class.Match(s.NewScratch(), value).Hits
		got := class.Match(warm, value).Hits
		for i := range s.operators {
			if got.Has(i) != fresh.Has(i) {
				t.Fatalf("operator %d: %q = %v by a scratch in use, %v by a new one", i, value, got.Has(i), fresh.Has(i))
			}
		}
	}
}

// TestIdle: who has learned most is used again first, as many are kept as there are
// processors, and the others until the garbage collector takes them.
func TestIdle(t *testing.T) {
	s, err := Compile([]Operator{{Kind: Pattern, Text: "a+b"}}, Bytes{})
	if err != nil {
		t.Fatal(err)
	}
	kept := runtime.GOMAXPROCS(0)
	var all []*Scratch
	for range kept + 5 {
		all = append(all, s.Acquire())
	}
	for _, sc := range all {
		s.Release(sc)
	}
	if len(s.idle.list) != kept {
		t.Errorf("%d are kept, want %d", len(s.idle.list), kept)
	}
	taken := map[*Scratch]bool{}
	for i := kept - 1; i >= 0; i-- {
		sc := s.Acquire()
		if taken[sc] = true; sc != all[i] {
			t.Errorf("number %d is not used again in its turn", i)
		}
	}
	runtime.GC() // twice, and the spare ones are gone
	runtime.GC()
	for range 5 {
		if sc := s.Acquire(); taken[sc] || slices.Contains(all, sc) {
			t.Error("one is used twice at once, or was kept")
		} else {
			taken[sc] = true
		}
	}
}

package rx

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"sallyport/internal/testkit"
)

const prose = "The committee met on Tuesday to talk about the new site for the library. After some discussion they agreed that the old " +
	"station, which has been empty since 1998, would be the better place: it is close to the market, and there is room for a garden. " +
	"We don't want to wait another ten years, said one of the members, and the price is right. Everyone is invited to come by and have " +
	"a look; please send questions by e-mail or ring the office. The work begins in March (if the weather allows), and it will take " +
	"about 18 months. Until then the books stay where they are, at 12 Mill Road, open from 9 to 5. Children read for free, as ever. "

// A sample is a kind of value. Nearly every one that next returns is new.
type sample struct {
	name string
	next func(*rand.Rand) string
}

var samples = []sample{
	{"26 B", func(r *rand.Rand) string { return pick(r, prose, 26) }},
	{"prose 1 KB", func(r *rand.Rand) string { return text(r, strings.SplitAfter(prose, ". ")) }},
	{"SQL words 1 KB", func(r *rand.Rand) string {
		return text(r, strings.SplitAfter(prose+"select one of the union members and have it by order or drop all or update where 'it' is not like \"this\"; ", " "))
	}},
	{"base64 1 KB", func(r *rand.Rand) string { return base64.StdEncoding.EncodeToString(noise(r, 768)) }},
	{"UTF-8 1 KB", func(r *rand.Rand) string {
		var b strings.Builder
		for b.Len() < 1024 {
			for range 2 + r.IntN(8) {
				b.WriteRune('а' + rune(r.IntN(32)))
			}
			b.WriteByte(' ')
		}
		return b.String()[:1024]
	}},
	{"random ASCII 26 B", func(r *rand.Rand) string { return printable(r, 26) }},
	{"random ASCII 1 KB", func(r *rand.Rand) string { return printable(r, 1024) }},
	{"random bytes 1 KB", func(r *rand.Rand) string { return string(noise(r, 1024)) }},
}

// text puts parts together at random, 1 KB of them.
func text(r *rand.Rand, parts []string) string {
	var b strings.Builder
	for b.Len() < 1024 {
		b.WriteString(parts[r.IntN(len(parts))])
	}
	return b.String()[:1024]
}

func pick(r *rand.Rand, text string, n int) string {
	at := r.IntN(len(text) - n)
	return text[at : at+n]
}

func noise(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func printable(r *rand.Rand, n int) string {
	b := noise(r, n)
	for i := range b {
		b[i] = ' ' + b[i]%95
	}
	return string(b)
}

// salad is a text made of the literals that the set looks for.
func salad(s *Set, n int) func(*rand.Rand) string {
	literals := literalsOf(s)
	return func(r *rand.Rand) string {
		var b strings.Builder
		for b.Len() < n {
			b.WriteString(literals[r.IntN(len(literals))])
			if r.IntN(2) == 0 {
				b.WriteByte(" \n;'\"=("[r.IntN(7)])
			}
		}
		return b.String()[:n]
	}
}

// literalsOf compiles the operators again for their literals.
func literalsOf(s *Set) []string {
	var literals []string
	for _, c := range s.operators {
		if _, _, ways, err := prepare(c.Operator, tools); err == nil {
			for _, w := range ways {
				for _, f := range w {
					literals = append(literals, f...)
				}
			}
		}
	}
	return unique(literals)
}

// measure runs op in a loop and reports its CPU time too: wall time says little
// on a machine that is shared.
func measure(b *testing.B, op func(n int)) {
	b.Helper()
	b.ReportAllocs()
	began := testkit.CPU(b)
	n := 0
	for ; b.Loop(); n++ {
		op(n)
	}
	b.ReportMetric(float64(testkit.CPU(b)-began)/float64(n), "cpu-ns/op")
}

// BenchmarkMatch measures the operators that look at argument values, of the
// rules at level 1 and at all levels: by rx with what it has learned from values
// of the same kind (warm), from values that it has never seen (new), by a
// scratch that knows nothing (cold), and by the engine's packages one after the
// other.
func BenchmarkMatch(b *testing.B) {
	rules, s, _ := crsSet(b, tools)
	all := append(samples[:len(samples):len(samples)],
		sample{"literals 100 B", salad(s, 100)}, sample{"literals 1 KB", salad(s, 1024)}, sample{"literals 10 KB", salad(s, 10240)})
	for level := 1; level <= 4; level += 3 {
		var members []int
		var oracles []oracle
		for i, r := range rules {
			if r.args && r.level <= level {
				members, oracles = append(members, i), append(oracles, newOracle(b, r.Operator))
			}
		}
		class, err := s.Class(members...)
		if err != nil {
			b.Fatal(err)
		}
		b.Logf("level %d: %d operators", level, len(members))
		for _, sample := range all {
			name := fmt.Sprintf("level %d/%s/", level, sample.name)
			values := make([]string, 256)
			r := rand.New(rand.NewPCG(5, 6))
			for i := range values {
				values[i] = sample.next(r)
			}
			b.Run(name+"warm", func(b *testing.B) {
				sc := s.NewScratch()
				for range 8 {
					for _, v := range values {
						class.Match(sc, v)
					}
				}
				measure(b, func(n int) { class.Match(sc, values[n%len(values)]) })
			})
			b.Run(name+"new", func(b *testing.B) {
				sc := s.NewScratch()
				r := rand.New(rand.NewPCG(7, 8))
				measure(b, func(int) { class.Match(sc, sample.next(r)) })
			})
			b.Run(name+"may", func(b *testing.B) {
				sc := s.NewScratch()
				r := rand.New(rand.NewPCG(7, 8))
				measure(b, func(int) { class.MayMatch(sc, sample.next(r)) })
			})
			b.Run(name+"cold", func(b *testing.B) {
				measure(b, func(n int) { class.Match(s.NewScratch(), values[n%len(values)]) })
			})
			b.Run(name+"regexp", func(b *testing.B) {
				measure(b, func(n int) {
					for _, o := range oracles {
						o(values[n%len(values)])
					}
				})
			})
		}
	}
}

// BenchmarkCompile makes the set of all operators of the Core Rule Set.
func BenchmarkCompile(b *testing.B) {
	var ops []Operator
	for _, r := range coreRules(b) {
		ops = append(ops, r.Operator)
	}
	measure(b, func(int) {
		if _, err := Compile(ops, Bytes{}); err != nil {
			b.Fatal(err)
		}
	})
}

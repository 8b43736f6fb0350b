package rx

import (
	"io/fs"
	"math/rand/v2"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	crstests "github.com/corazawaf/coraza-coreruleset/v4/tests"
)

// payloads are the values in the regression tests of the Core Rule Set: each
// scalar of the files, as it is and with %-escapes resolved.
func payloads(tb testing.TB) []string {
	tb.Helper()
	var all []string
	err := fs.WalkDir(crstests.FS, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(name, ".yaml") {
			return err
		}
		text, err := fs.ReadFile(crstests.FS, name)
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(text)) {
			key, value, ok := strings.Cut(strings.TrimSpace(line), ": ")
			if !ok {
				key, value = "", strings.TrimSpace(line)
			}
			if slices.Contains([]string{"desc", "test_id", "rule_id", "author", "dest_addr", "port", "id", "ids"}, strings.TrimLeft(key, "- ")) {
				continue
			}
			if plain, err := strconv.Unquote(value); err == nil {
				value = plain
			}
			value = strings.Trim(value, `'`)
			all = append(all, value)
			if plain, err := url.QueryUnescape(value); err == nil {
				all = append(all, plain)
				for part := range strings.SplitSeq(plain, "&") {
					_, v, _ := strings.Cut(part, "=")
					all = append(all, v)
				}
			}
		}
		return nil
	})
	all = unique(all)
	if err != nil || len(all) < 1000 {
		tb.Fatalf("%d payloads: %v", len(all), err)
	}
	return all
}

// crsSet compiles the operators of the Core Rule Set with a class of all.
func crsSet(tb testing.TB, with tool) ([]named, *Set, *Class) {
	tb.Helper()
	rules := coreRules(tb)
	s, err := compile(operatorsOf(rules), Bytes{Kinds: someKinds}, with)
	if err != nil {
		tb.Fatal(err)
	}
	every := make([]int, len(rules))
	for i := range every {
		every[i] = i
	}
	c, err := s.Class(every...)
	if err != nil {
		tb.Fatal(err)
	}
	return rules, s, c
}

func operatorsOf(rules []named) []Operator {
	ops := make([]Operator, len(rules))
	for i, r := range rules {
		ops[i] = r.Operator
	}
	return ops
}

// values is how many values a comparison takes: n, or RX_VALUES times as many.
func values(tb testing.TB, n int) int {
	text := os.Getenv("RX_VALUES")
	if text == "" {
		return n
	}
	times, err := strconv.Atoi(text)
	if err != nil {
		tb.Fatal(err)
	}
	return n * times
}

// mutate changes a value the ways that attackers and encodings do.
func mutate(r *rand.Rand, value string, all []string) string {
	for range 1 + r.IntN(3) {
		at := r.IntN(len(value) + 1)
		switch r.IntN(12) {
		case 0:
			value = strings.ToUpper(value)
		case 1:
			value = strings.NewReplacer("s", "ſ", "S", "ſ").Replace(value)
		case 2:
			value = strings.NewReplacer("k", "\u212a", "K", "\u212a").Replace(value)
		case 3:
			value = strings.Map(func(c rune) rune {
				if '!' <= c && c <= '~' && r.IntN(3) > 0 {
					return c + 0xfee0 // fullwidth
				}
				return c
			}, value)
		case 4:
			value = value[:at] + "\x00" + value[at:]
		case 5:
			value = value[:at] + []string{"\xff", "\xc5", "\xe2\x84", "\xbf", "\xac\xed\x00\x05", "\xbc", "\xbe", "\xed\xa0\x80", "\ufffd"}[r.IntN(9)] + value[at:]
		case 6:
			value = value[:at] + "/**/" + value[at:]
		case 7:
			value = value[:at] + "\n" + value[at:]
		case 8:
			value = value[at:]
		case 9:
			value = value[:at]
		case 10:
			value += " " + all[r.IntN(len(all))]
		case 11:
			b := []byte(value)
			if len(b) > 0 {
				b[r.IntN(len(b))] = byte(r.Uint32())
			}
			value = string(b)
		}
	}
	return value[:min(len(value), 4096)]
}

// TestStats holds the set of all operators to what its user counts on.
func TestStats(t *testing.T) {
	_, s, _ := crsSet(t, tools)
	stats := s.Stats()
	t.Logf("%+v", stats)
	if stats.Table > 13<<20 || stats.Ungated > 60 || stats.Literals < 5000 {
		t.Errorf("a set for the Core Rule Set is %+v", stats)
	}
	for i, op := range s.operators {
		if op.Kind == Pattern && op.prog == nil {
			t.Errorf("operator %d has no program", i)
		}
	}
}

// TestCoreRules holds every operator of the Core Rule Set to the packages that
// the engine uses, over the payloads of its own tests and mutations of them.
func TestCoreRules(t *testing.T) {
	if testing.Short() {
		t.Skip("exhaustive, and on one goroutine")
	}
	t.Parallel()
	rules := coreRules(t)
	ops := make([]Operator, len(rules))
	for i, r := range rules {
		ops[i] = r.Operator
	}
	j := newJudge(t, tools, ops...)
	all := payloads(t)
	random := rand.New(rand.NewPCG(1, 2))
	for n := range values(t, 900) {
		value := all[random.IntN(len(all))]
		if n%4 > 0 {
			value = mutate(random, value, all)
		}
		lim := defaultLimits
		if n%8 == 0 {
			lim = budgets[n/8%len(budgets)]
		}
		for _, wrong := range j.check(value, lim) {
			t.Error(wrong)
		}
		if t.Failed() {
			return
		}
	}
}

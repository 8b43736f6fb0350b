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
	"time"

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
	var ops []Operator
	var every []int
	for i, r := range rules {
		ops, every = append(ops, r.Operator), append(every, i)
	}
	s, err := compile(ops, with)
	if err != nil {
		tb.Fatal(err)
	}
	c, err := s.Class(every...)
	if err != nil {
		tb.Fatal(err)
	}
	return rules, s, c
}

// differential is how long the long comparison takes: RX_DIFFERENTIAL=10m, or
// 12 s.
func differential(tb testing.TB) time.Duration {
	text := os.Getenv("RX_DIFFERENTIAL")
	if text == "" {
		return 12 * time.Second
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		tb.Fatal(err)
	}
	return d
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

func TestStats(t *testing.T) {
	_, s, _ := crsSet(t, tools)
	t.Logf("%+v insts %d rows %d nodes %d forks %d", s.Stats(), s.insts, s.automaton.dense, len(s.automaton.nodes), len(s.automaton.forks))
}

// TestCoreRules holds every operator of the Core Rule Set to the packages that
// the engine uses, over the payloads of its own tests and mutations of them.
func TestCoreRules(t *testing.T) {
	rules, s, class := crsSet(t, tools)
	oracles := make([]oracle, len(rules))
	for i, r := range rules {
		oracles[i] = newOracle(t, r.Operator)
	}
	all := payloads(t)
	sc := s.NewScratch()
	random := rand.New(rand.NewPCG(1, 2))
	end := time.Now().Add(differential(t))
	values, hits := 0, 0
	for ; time.Now().Before(end); values++ {
		value := all[random.IntN(len(all))]
		if values%4 > 0 {
			value = mutate(random, value, all)
		}
		answer := class.Match(sc, value)
		if answer.Unsure.Any() {
			t.Fatalf("Match(%q) left operators undecided", value)
		}
		for i, o := range oracles {
			got, want := answer.Hits.Has(i), o(value)
			if got != want {
				t.Errorf("%s: %q = %v, want %v", rules[i].rule, value, got, want)
			}
			if want {
				hits++
			}
		}
		if t.Failed() {
			return
		}
	}
	t.Logf("%d values, %d operators, %d matches", values, len(rules), hits)
}

package rx

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	coreruleset "github.com/corazawaf/coraza-coreruleset/v4"
	"github.com/corazawaf/coraza/v3"
)

// An engine runs operators the way a rule does: each is the operator of one rule
// that looks at one argument.
type engine struct {
	waf coraza.WAF
}

// names are the kinds as rules write them.
var names = map[Kind]string{Pattern: "rx", Phrases: "pm", Contains: "contains", BeginsWith: "beginsWith", EndsWith: "endsWith", Equal: "streq", Within: "within", ByteRange: "validateByteRange"}

func newEngine(tb testing.TB, rules []named) *engine {
	tb.Helper()
	var text strings.Builder
	for i, r := range rules {
		not := ""
		if r.Not {
			not = "!"
		}
		operator := names[r.Kind] + " " + r.Text
		if r.file {
			operator = "pmFromFile @owasp_crs/" + r.Text
		}
		fmt.Fprintf(&text, "SecRule ARGS:v \"%s@%s\" \"id:%d,phase:1,pass,nolog\"\n", not, strings.ReplaceAll(operator, `"`, `\"`), i+1)
	}
	w, err := coraza.NewWAF(coraza.NewWAFConfig().WithRootFS(coreruleset.FS).WithDirectives(text.String()))
	if err != nil {
		tb.Fatal(err)
	}
	return &engine{w}
}

// match returns the rules that match value, by index.
func (e *engine) match(value string) []int {
	tx := e.waf.NewTransaction()
	defer tx.Close()
	tx.AddGetRequestArgument("v", value)
	tx.ProcessRequestHeaders()
	var ids []int
	for _, m := range tx.MatchedRules() {
		ids = append(ids, m.Rule().ID()-1)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// TestEngine compares with the engine itself, and so what the other tests take
// for granted: which package a pattern is for, what @pm does with its phrases.
func TestEngine(t *testing.T) {
	t.Parallel()
	rules, s, class := crsSet(t, tools)
	sc := s.NewScratch()
	e := newEngine(t, rules)
	all := payloads(t)
	random := rand.New(rand.NewPCG(9, 10))
	matched := map[int]bool{}
	for range values(t, 150) {
		value := mutate(random, all[random.IntN(len(all))], all)
		want := e.match(value)
		for _, i := range want {
			matched[i] = true
		}
		if got := slices.Collect(class.Match(sc, value).Hits.All()); !slices.Equal(got, want) {
			for i := range rules {
				if g, w := slices.Contains(got, i), slices.Contains(want, i); g != w {
					t.Errorf("%s: %q = %v, the engine says %v", rules[i].rule, value, g, w)
				}
			}
			return
		}
	}
	if len(matched) < len(rules)/3 {
		t.Errorf("only %d of %d rules ever matched: the comparison shows little", len(matched), len(rules))
	}
}

// TestNamesBytes: the engine's answer to a byte tells whether it took a pattern
// for one of bytes.
func TestNamesBytes(t *testing.T) {
	t.Parallel()
	matched := 0
	for pattern, want := range map[string]bool{
		`a`: false, `é`: false, `\xe9`: true, `\x{e9}`: true, `\xc3\xa9`: false, `\x{c3}\x{a9}`: false, `\xC3`: true, `\x{C3}`: true,
		`\x41`: false, `\x{41}`: false, `\x{e9`: false, `\xg9`: false, `\x{fffd}`: true, `\x{00e9}`: false, `\x{a}`: false, `\x{0a}`: false,
		`\\xe9`: true, `\d\xff`: true, `\xf`: false, `[\x80-\xff]`: true, `\x{e9}\x{e9}x}`: true, `\x`: false, `\xff}`: true, `\x{zz}\xe9`: true, "": false,
	} {
		if got := namesBytes(pattern); got != want {
			t.Errorf("namesBytes(%s) = %v, want %v", pattern, got, want)
		}
		// Where the pattern compiles, the engine agrees.
		op := Operator{Kind: Pattern, Text: pattern}
		if _, err := Compile([]Operator{op}, Bytes{}); err != nil || strings.HasSuffix(pattern, `\`) {
			continue
		}
		j, e := newJudge(t, tools, op), newEngine(t, []named{{Operator: op}})
		for _, value := range []string{"\xe9", "é", "\xff", "\xc3", "\xc3\xa9", "\ufffd", "a", "A", `\é`, `\` + "\xe9", "\n", "\x80", "1\xff", "\xff}", "e9"} {
			want := len(e.match(value)) > 0
			if got := j.class.Match(j.scratch, value).Hits.Has(0); got != want {
				t.Errorf("%s: %q = %v, the engine says %v", pattern, value, got, want)
			}
			if want {
				matched++
			}
		}
	}
	if matched < 20 {
		t.Errorf("only %d matches: the comparison shows little", matched)
	}
}

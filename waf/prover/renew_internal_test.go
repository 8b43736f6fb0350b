package prover

import (
	"testing"

	vars "github.com/corazawaf/coraza/v3/types/variables"
)

// TestRenew holds that what is learned of values is forgotten before it grows
// without end, and that nothing is answered otherwise then.
func TestRenew(t *testing.T) {
	rule := Rule{ID: 1, Phase: 1, Links: []Link{{Log: true,
		Targets:         []Target{{Name: "ARGS_GET", Variable: vars.ArgsGet}, {Name: "ARGS_GET", Variable: vars.ArgsGet, Pattern: "^a"}},
		Transformations: []string{"urlDecodeUni", "htmlEntityDecode", "jsDecode", "cssDecode", "lowercase", "compressWhitespace", "removeNulls", "cmdLine", "normalizePath"},
		Operator:        Operator{Name: "rx", Argument: "needle"}}}}
	p, err := New([]Rule{rule}, nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	p.most = 300
	ask := func(value string) Answer {
		var f Facts
		f.Add(vars.ArgsGet, "a", value)
		j := p.Judge(&f, nil)
		defer j.Close()
		return j.Phase(1)
	}
	kinds := []string{"%", "+", "&", `\`, "A", "  ", "\x00", "'", ",", "/", ".", "\xc3\xa9"}
	most := int64(0)
	for i := range 1 << len(kinds) {
		value := "x"
		for k, kind := range kinds {
			if i>>k&1 != 0 {
				value += kind
			}
		}
		if got := ask(value); got != Proven {
			t.Fatalf("%q: %d", value, got)
		}
		if got := ask("a needle " + value); got != Guided {
			t.Fatalf("a needle and %q: %d", value, got)
		}
		most = max(most, p.steps.Load())
	}
	if most < 250 || most > 300 {
		t.Errorf("%d steps at most", most)
	}
	p.renew()
	if ask("needle") != Guided || ask("hay") != Proven {
		t.Error("after all was forgotten, another answer")
	}
}

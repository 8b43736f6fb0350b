package prover

import (
	"math/bits"
	"testing"

	vars "github.com/corazawaf/coraza/v3/types/variables"

	"sallyport/waf/transform"
)

// ask judges a parameter.
func ask(p *Prover, value string) Answer {
	var f Facts
	f.Add(vars.ArgsGet, "a", value)
	j := p.Judge(&f, nil)
	defer j.Close()
	return j.Phase(1)
}

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
	kinds := []string{"%", "+", "&", `\`, "A", "  ", "\x00", "'", ",", "/", ".", "\xc3\xa9"}
	most := int64(0)
	for i := range 1 << len(kinds) {
		value := "x"
		for k, kind := range kinds {
			if i>>k&1 != 0 {
				value += kind
			}
		}
		if got := ask(p, value); got != Proven {
			t.Fatalf("%q: %d", value, got)
		}
		if got := ask(p, "a needle "+value); got != Guided {
			t.Fatalf("a needle and %q: %d", value, got)
		}
		most = max(most, p.steps.Load())
	}
	if most < 250 || most > 300 {
		t.Errorf("%d steps at most", most)
	}
	p.renew()
	if ask(p, "needle") != Guided || ask(p, "hay") != Proven {
		t.Error("after all was forgotten, another answer")
	}
}

// TestShared holds that values that come to the same looks on different ways are at
// the same state, and that steps which look for the same share how.
func TestShared(t *testing.T) {
	rule := Rule{ID: 1, Phase: 1, Links: []Link{{Log: true,
		Targets:         []Target{{Name: "ARGS_GET", Variable: vars.ArgsGet}},
		Transformations: []string{"urlDecodeUni", "htmlEntityDecode"},
		Operator:        Operator{Name: "rx", Argument: "needle"}}}}
	p, err := New([]Rule{rule}, nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for value, want := range map[string]Answer{"hay": Proven, "%20hay": Proven, "%20&amp;hay": Proven, "&amp;hay": Proven, "n%65edle": Guided, "needl&#101;": Guided, "n&#x65;edl%65": Guided} {
		if got := ask(p, value); got != want {
			t.Errorf("%q: %d, not %d", value, got, want)
		}
	}
	// As it is, with the first transformation done, with both.
	if states := len(p.shared.states); states != 3 {
		t.Errorf("%d states", states)
	}
	if scans := len(p.shared.scans); scans != 1 {
		t.Errorf("%d scans", scans)
	}
	p.renew()
	if states, scans := len(p.shared.states), len(p.shared.scans); states != 1 || scans != 0 {
		t.Errorf("after all was forgotten, %d states and %d scans", states, scans)
	}
}

// TestNeeds holds that a value which has nothing of what looks need is not looked at,
// and that all others are.
func TestNeeds(t *testing.T) {
	rule := Rule{ID: 1, Phase: 1, Links: []Link{{Log: true,
		Targets:         []Target{{Name: "ARGS_GET", Variable: vars.ArgsGet}},
		Transformations: []string{"urlDecodeUni", "lowercase"},
		Operator:        Operator{Name: "rx", Argument: `needle\(`}}}}
	p, err := New([]Rule{rule}, nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, value := range []string{"", "hay", "a needle", "Needles; 5", "a+needle", "<needle>"} {
		if got := ask(p, value); got != Proven {
			t.Errorf("%q: %d", value, got)
		}
		if steps := p.steps.Load(); steps != 0 {
			t.Errorf("%q has been looked at", value)
		}
	}
	for value, want := range map[string]Answer{"needle(": Guided, "NEEDLE(": Guided, "needle%28": Guided, "%4eeedle(": Guided, "n(eedle": Proven, "need%6ce": Proven} {
		if got := ask(p, value); got != want {
			t.Errorf("%q: %d, not %d", value, got, want)
		}
	}
}

// TestBefore: what a value has to have for a transformation to make something of it.
func TestBefore(t *testing.T) {
	for _, tc := range []struct {
		name  string
		kinds string // a byte of each kind that is needed after it
		want  string // and before; "any": it may come of whatever
	}{
		{"urlDecodeUni", "(", "(%"},
		{"urlDecodeUni", " ", " %+"},
		{"lowercase", "a", "aA\xc3"},
		{"lowercase", "(", "("},
		{"utf8toUnicode", "%", "%\xc3"},
		{"removeWhitespace", "(", "("},
		{"jsDecode", "<", `<\`},
		{"replaceComments", " ", " *"},
		{"base64Decode", "(", "any"},
		{"length", "0", "any"},
		{"length", "(", "("},
		{"hexEncode", "a", "any"},
	} {
		by, ok := transform.Find(tc.name)
		if !ok {
			t.Fatal(tc.name)
		}
		want := transform.KindsOf(tc.want)
		if tc.want == "any" {
			want = whatever
		}
		if got := before(by, transform.KindsOf(tc.kinds)); got != want {
			t.Errorf("%q after %s needs %b before, not %b", tc.kinds, tc.name, got, want)
		}
		if before(by, whatever) != whatever {
			t.Errorf("%s has to have something", tc.name)
		}
	}
	var all transform.Kinds
	for _, k := range kindsOf {
		all |= k
	}
	if all != transform.Any || len(kindsOf) != bits.OnesCount32(uint32(all)) {
		t.Errorf("of the kinds %b, %b have their rarity, in %d", transform.Any, all, len(kindsOf))
	}
}

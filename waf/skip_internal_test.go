package waf

import (
	"path/filepath"
	"strings"
	"testing"

	"sallyport/internal/gate"
)

// TestSkipsMeanTheRulesBehind holds that removing one of the rules that are
// skipped makes no other rule be skipped in its place.
func TestSkipsMeanTheRulesBehind(t *testing.T) {
	const rules = `
SecRule ARGS:skip "@streq 1" "id:1,phase:2,pass,nolog,skip:2"
SecRule ARGS:b "@streq evil" "id:2,phase:2,deny,chain"
SecRule ARGS:c "@streq evil" "t:none"
SecRule ARGS:other "@streq evil" "id:3,phase:1,deny"
SecRule ARGS:d "@streq evil" "id:4,phase:2,deny"
SecRule ARGS:e "@streq evil" "id:5,phase:2,deny"
`
	for _, tc := range []struct {
		name, remove string
	}{
		{"none removed", ""},
		{"one removed by a directive", "SecRuleRemoveById 4\n"},
		{"both removed by a directive", "SecRuleRemoveById 2 4\n"},
		{"one removed for this request", `SecAction "id:6,phase:1,pass,nolog,ctl:ruleRemoveById=2"`},
	} {
		e := engineWith(t, nil, rules+tc.remove)
		run(e, get("/?skip=1&b=evil&c=evil&d=evil")).expect(t, tc.name+", the rules behind", gate.Pass, "")
		run(e, get("/?skip=1&e=evil")).expect(t, tc.name+", the rule behind them", gate.Refuse, gate.WAFRule)
		run(e, get("/?skip=1&other=evil")).expect(t, tc.name+", a rule of another phase", gate.Refuse, gate.WAFRule)
		run(e, get("/?skip=0&e=evil")).expect(t, tc.name+", without the skip", gate.Refuse, gate.WAFRule)
	}
	far := engineWith(t, nil, `
SecRule ARGS:skip "@streq 1" "id:1,phase:2,pass,nolog,skip:9"
SecRule ARGS:d "@streq evil" "id:2,phase:2,deny"
SecRule RESPONSE_STATUS "@streq 200" "id:3,phase:3,deny,chain"
SecRule ARGS:e "@streq evil" "t:none"
`)
	run(far, get("/?skip=1&d=evil")).expect(t, "more than there are", gate.Pass, "")
	run(far, get("/?skip=1&e=evil")).expect(t, "more than there are, a later phase", gate.Refuse, gate.WAFRule)
	run(engineWith(t, nil, rules), get("/?b=evil&c=evil")).expect(t, "without the skip, the rules behind", gate.Refuse, gate.WAFRule)
}

// TestCoreRulesSkip holds that the skips of the Core Rule Set are replaced too.
func TestCoreRulesSkip(t *testing.T) {
	p, _, err := planFor("default", standard())
	if err != nil {
		t.Fatal(err)
	}
	left, replaced := 0, 0
	for _, s := range withoutSkips(p.sources) {
		for _, d := range s.directives {
			if _, ok := parseRule(d).action("skip"); ok && (d.name == "secrule" || d.name == "secaction") {
				left++
			}
			if d.name == "secmarker" && strings.HasPrefix(d.args, "SALLYPORT-SKIP-") {
				replaced++
			}
		}
	}
	if left != 0 || replaced == 0 {
		t.Errorf("%d skips are left and %d were replaced, want none left and some replaced", left, replaced)
	}
}

// TestSkipsIntoTheCoreRules holds that a skip which reaches into the Core Rule Set
// ends where it should, and not never.
func TestSkipsIntoTheCoreRules(t *testing.T) {
	dir := t.TempDir()
	file := writeFile(t, filepath.Join(dir, "before.conf"), `SecRule ARGS:skip "@streq 1" "id:1,phase:2,pass,nolog,skip:1"`)
	for _, engine := range []EngineKind{StockEngine, FastEngine} {
		e := policies(t, map[string]func(*Policy){"default": func(p *Policy) { p.Engine, p.RulesBefore = engine, []string{file} }})
		const attack = "q=1'%20UNION%20SELECT%20password%20FROM%20users--"
		run(e, get("/?skip=0&"+attack)).expect(t, string(engine)+", nothing skipped", gate.Refuse, gate.WAFInboundScore)
		run(e, get("/?skip=1&"+attack)).expect(t, string(engine)+", one rule skipped", gate.Refuse, gate.WAFInboundScore)
	}
}

package waf

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// TestPoliciesTellHowTheyRun holds what operators read of a policy: whether its
// requests can be proven, and which rules keep them from it, and why.
func TestPoliciesTellHowTheyRun(t *testing.T) {
	const sound = `SecRule ARGS "@streq evil" "id:1,phase:2,deny"` + "\n"
	rule := func(text string) string { return sound + text + "\n" }
	for _, tc := range []struct {
		name, rules string
		engine      EngineKind
		want        string
	}{
		{"sound rules", sound, FastEngine, "engine fast; requests that no rule can match are proven"},
		{"by default", sound, "", "engine fast; requests that no rule can match are proven"},
		{"stock", rule(`SecRule ARGS:a "@streq b" "id:2,phase:2,deny,t:md5"`), StockEngine, "engine stock; every request runs all rules"},
		{"compare", sound, CompareEngine, "engine compare (7% of the requests); requests that no rule can match are proven"},
		{"an operator that does more", rule(`SecRule REQUEST_FILENAME "@restpath /{a}" "id:2,phase:1,deny"`), FastEngine,
			"engine fast; every request runs all rules: rule 2 (rules.conf:2): what @restpath does is not known"},
		{"an operator that may match anything", rule(`SecRule ARGS:a "@validateNid us [0-9]+" "id:2,phase:2,deny"`), FastEngine,
			"engine fast; few requests or none can be proven: rule 2 (rules.conf:2): what @validatenid looks for is not known"},
		{"a transformation", rule(`SecRule ARGS:a "@streq b" "id:2,phase:2,deny,t:lowercase,t:md5"`), FastEngine,
			"engine fast; few requests or none can be proven: rule 2 (rules.conf:2): what t:md5 makes of a value is not known"},
		{"a variable", rule(`SecRule TIME_HOUR "@lt 5" "id:2,phase:1,deny"`), FastEngine,
			"engine fast; few requests or none can be proven: rule 2 (rules.conf:2): what TIME_HOUR holds is not known before it runs"},
		{"a rule that always logs", rule(`SecAction "id:2,phase:1,pass,log"`), FastEngine,
			"engine fast; few requests or none can be proven: rule 2 (rules.conf:2): it has an effect on every request"},
		{"a rule that does the same without a log", rule(`SecAction "id:2,phase:1,pass,nolog,setvar:tx.a=1"`), FastEngine, "engine fast; requests that no rule can match are proven"},
	} {
		file := writeFile(t, filepath.Join(t.TempDir(), "rules.conf"), tc.rules)
		core, logs := observer.New(zap.WarnLevel)
		p := standard()
		p.CRS, p.Engine, p.CompareShare, p.RulesAfter = crsOff, tc.engine, 0.07, []string{file}
		e, err := New(Config{Memory: 1 << 20, Policies: map[string]Policy{"api": p}}, zap.New(core))
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		info := e.Policies()["api"]
		text := info.Runs()
		if len(info.Unproven) > 0 {
			text += ": " + strings.Join(info.First(), "; ")
		}
		if got := strings.ReplaceAll(text, filepath.Dir(file)+"/", ""); got != tc.want {
			t.Errorf("%s: %s\nwant %s", tc.name, got, tc.want)
		}
		if want := strings.Contains(tc.want, "every request runs all rules"); info.Full != want {
			t.Errorf("%s: full %v, want %v", tc.name, info.Full, want)
		}
		if told := logs.FilterField(zap.String("problem", "policy api: "+text)).Len(); (told == 1) != (len(info.Unproven) > 0) {
			t.Errorf("%s: the log tells %d times", tc.name, told)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestDocumentedObstacles holds docs/tune.md to what keeps requests from being
// proven: each operator, transformation and variable that it names does.
func TestDocumentedObstacles(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join("..", "docs", "tune.md"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "list.txt"), "10.0.0.1\n")
	_, section, _ := strings.Cut(string(doc), "\n## How the rules are run\n")
	row := regexp.MustCompile(`(?m)^\| an operator, a transformation.*$`).FindString(section)
	named := regexp.MustCompile("`(@|t:|[A-Z]+_)([A-Za-z0-9_]+)`").FindAllStringSubmatch(row, -1)
	if len(named) < 14 {
		t.Fatalf("%d are named, want more", len(named))
	}
	arguments := map[string]string{"pmFromDataset": "set", "ipMatchFromFile": "list.txt", "validateNid": "us [0-9]+", "validateSchema": "schema.json"}
	writeFile(t, filepath.Join(dir, "schema.json"), `{"type":"object"}`)
	for _, m := range named {
		rule := "SecRule " + m[1] + m[2] + ` "@streq a" "id:1,phase:2,deny"`
		switch m[1] {
		case "@":
			rule = "SecDataset set `\nevil\n`\nSecRule ARGS \"@" + m[2] + " " + arguments[m[2]] + `" "id:1,phase:2,deny"`
		case "t:":
			rule = `SecRule ARGS "@streq a" "id:1,phase:2,deny,t:` + m[2] + `"`
		}
		file := writeFile(t, filepath.Join(dir, "rules.conf"), rule+"\n")
		p := standard()
		p.CRS, p.RulesAfter = crsOff, []string{file}
		e, err := New(Config{Memory: 1 << 20, Policies: map[string]Policy{"default": p}}, zap.NewNop())
		if err != nil {
			t.Errorf("%s: %v", m[0], err)
			continue
		}
		if info := e.Policies()["default"]; info.Full || len(info.Unproven) != 1 {
			t.Errorf("%s: full %v, unproven %v, want one rule that is in the way", m[0], info.Full, info.Unproven)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestManyUnproven does not flood anybody with rules.
func TestManyUnproven(t *testing.T) {
	var rules strings.Builder
	for i := range 15 {
		fmt.Fprintf(&rules, "SecRule ARGS:a%d \"@streq b\" \"id:%d,phase:2,deny,t:md5\"\n", i, i+1)
	}
	e := engineWith(t, func(p *Policy) { p.CRS = crsOff }, rules.String())
	info := e.Policies()["default"]
	if first := info.First(); len(info.Unproven) != 15 || len(first) != maxUnproven+1 || first[maxUnproven] != "5 more" {
		t.Errorf("%d rules, of which %d are named: %v", len(info.Unproven), len(first), first)
	}
}

// TestShippedPoliciesAreProven holds that no rule of the Core Rule Set keeps requests
// from being proven, at any level.
func TestShippedPoliciesAreProven(t *testing.T) {
	e := policies(t, map[string]func(*Policy){
		"1": func(*Policy) {}, "2": func(p *Policy) { p.Paranoia = 2 }, "3": func(p *Policy) { p.Paranoia = 3 }, "4": func(p *Policy) { p.Paranoia = 4 }, "1 to 4": func(p *Policy) { p.DetectionParanoia = 4 },
	})
	for name, info := range e.Policies() {
		if info.Full || len(info.Unproven) > 0 {
			t.Errorf("level %s: %s: %v", name, info.Runs(), info.Unproven)
		}
	}
}

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sallyport/waf"
)

// excluding writes a configuration with a rule file, exclusions and a policy of
// higher paranoia.
func excluding(t *testing.T, exclusions string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"sallyport.yaml": good + "policies:\n  default: {detection_paranoia: 2, rules_after: [after.conf], exclusions: [ex.yaml]}\n  idle: {mode: off}\n",
		"after.conf":     "SecRuleRemoveById 941100\nSecRuleUpdateTargetById 941110 \"!ARGS:a\"\nSecRule ARGS \"@contains \u202eevil\" \"id:7,phase:2,deny,msg:'\u202eodd'\"\nSecRule ARGS:sum \"@streq 0\" \"id:8,phase:2,deny,t:md5\"\n",
		"ex.yaml":        exclusions,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "sallyport.yaml")
}

// TestRulesList lists the rules of a policy with what touches them.
func TestRulesList(t *testing.T) {
	file := excluding(t, "exclusions: [{rule: 942100, target: ARGS:q, path: /search, reason: a test, expires: 2999-12-31}]\n")
	code, out, errs := sallyport(t, "rules", "list", "-c", file)
	if code != 0 || !strings.Contains(errs, "no route uses this policy") {
		t.Fatal(code, errs)
	}
	for _, want := range []string{
		"ID        PHASE  LEVEL  SEVERITY  WHERE",
		"942100    2      1      critical  REQUEST-942-APPLICATION-ATTACK-SQLI.conf:12",
		"removed by " + filepath.Dir(file) + "/after.conf:1\n",
		"changed by " + filepath.Dir(file) + "/after.conf:2\n",
		"excluded by " + filepath.Dir(file) + "/ex.yaml:1: ARGS:q, path /search, to the end of 2999-12-31\n",
		" 3 off ", `\u202eodd`, "keeps requests from being proven: what t:md5 makes of a value is not known\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("the list lacks %q", want)
		}
	}
	if strings.Contains(out, "\u202e") || strings.Contains(out, " 2 off ") {
		t.Error("the list holds a bidirectional mark, or calls level 2 off")
	}
	code, out, _ = sallyport(t, "rules", "list", "--json")
	var list []waf.RuleInfo
	if err := json.Unmarshal([]byte(out), &list); code != 0 || err != nil || len(list) < 500 {
		t.Fatalf("list --json = %d, %d rules, %v", code, len(list), err)
	}
	for _, r := range list {
		if r.ID == 0 || r.Phase < 1 || r.Phase > 5 || r.File == "" || r.Line == 0 || len(r.Links) == 0 {
			t.Fatalf("rule %+v", r)
		}
	}
}

// TestShippedRules runs the tests of the rules that are shipped.
func TestShippedRules(t *testing.T) {
	code, out, errs := sallyport(t, "rules", "test", "-c", "../../testdata/rules/sallyport.yaml", "../../rules/tests")
	if code != 0 || !strings.Contains(out, " 0 failed, 0 skipped") || !strings.HasPrefix(out, "ok: ") {
		t.Errorf("rules test = %d\n%s%s", code, out, errs)
	}
}

// TestRulesExplain tells what a rule does, and its exclusion works as it is
// printed.
func TestRulesExplain(t *testing.T) {
	file := excluding(t, "exclusions: []\n")
	for _, tc := range []struct {
		rule string
		want []string
	}{
		{"942100", []string{"rule 942100: SQL Injection", "paranoia level 1", "  ARGS ", "looks like SQL to libinjection", "urlDecodeUni", "5 points to the score of the request, which is refused at 5 (policies.default.inbound_threshold)", "    target: ARGS:NAME\n", "    route: site\n", "\n# REQUEST-942-APPLICATION-ATTACK-SQLI.conf:12\nSecRule REQUEST_COOKIES|"}},
		{"920170", []string{"and then, of the same request:\n", "does not do this: fits the pattern ^0?$", "target: REQUEST_HEADERS:Content-Length"}},
		{"942200", []string{"It runs in policy default and scores nothing there: paranoia is 1, detection_paranoia 2."}},
		{"942420", []string{"It does not run in policy default, whose paranoia is 2."}},
		{"941100", []string{"It does not run in policy default: ", "after.conf:1 removes it."}},
		{"949110", []string{"It cannot be excluded: it adds up the score", "it is refused at once"}},
		{"7", []string{`\u202eodd`, "contains \\u202eevil"}},
		{"8", []string{"It keeps requests of policy default from being proven: what t:md5 makes of a value is not known.\n"}},
		{"901100", []string{"nothing is decided"}},
	} {
		code, out, _ := sallyport(t, "rules", "explain", tc.rule, "-c", file)
		for _, want := range tc.want {
			if code != 0 || !strings.Contains(out, want) {
				t.Errorf("rules explain %s = %d, lacks %q:\n%s", tc.rule, code, want, out)
			}
		}
		_, rest, found := strings.Cut(out, "\nexclusions:\n")
		if !found {
			continue
		}
		yaml, _, _ := strings.Cut(rest, "\n\n")
		again := excluding(t, "exclusions:\n"+strings.ReplaceAll(yaml, "NAME", "q")+"\n")
		if code, out, errs := sallyport(t, "check", "-c", again); code != 0 {
			t.Errorf("the exclusion for %s is refused: %s%s", tc.rule, out, errs)
		}
	}
	for _, tc := range []struct {
		args []string
		code int
		err  string
	}{
		{[]string{"explain"}, 2, "needs the id of a rule"}, {[]string{"explain", "x"}, 2, `"x" is not the id of a rule`},
		{[]string{"explain", "942101942"}, 1, "policy default has no rule 942101942"}, {[]string{"list", "--policy", "none"}, 2, `there is no policy "none", only default`},
		{[]string{"list", "-c", file, "--policy", "idle"}, 1, "policy idle is off"}, {[]string{"list", "x"}, 2, "takes no arguments"},
	} {
		if code, _, err := sallyport(t, append([]string{"rules"}, tc.args...)...); code != tc.code || !strings.Contains(err, tc.err) {
			t.Errorf("rules %v = %d %s, want %d %s", tc.args, code, err, tc.code, tc.err)
		}
	}
}

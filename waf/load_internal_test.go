package waf

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"go.uber.org/zap"

	"sallyport/internal/gate"
)

// open builds an engine from rule files in a directory of their own and
// returns the diagnostics with the directory cut off.
func open(t *testing.T, files map[string]string, patterns ...string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(dir, name), text)
	}
	p := standard()
	for _, pattern := range patterns {
		p.RulesAfter = append(p.RulesAfter, filepath.Join(dir, pattern))
	}
	e, err := New(Config{Memory: 1 << 20, Policies: map[string]Policy{"default": p}}, zap.NewNop())
	if err == nil {
		text := e.Warnings().Error()
		if err := e.Close(); err != nil {
			t.Error(err)
		}
		return strings.ReplaceAll(text, dir+"/", "")
	}
	if _, ok := errors.AsType[gate.Diagnostics](err); !ok {
		t.Errorf("New: %v is not gate.Diagnostics", err)
	}
	return strings.ReplaceAll(err.Error(), dir+"/", "")
}

// TestDiagnostics holds every mistake in a rule file to its file, line and
// words. Each has a twin that loads.
func TestDiagnostics(t *testing.T) {
	sharedEngine(t) // alive, so that the Core Rule Set's patterns are compiled once
	for _, tc := range []struct {
		name, bad, want, good string
	}{
		{"the engine's switch belongs to the configuration", "# mine\n\nSecRuleEngine DetectionOnly\n",
			"a.conf:3: the configuration owns SecRuleEngine; use policies.NAME.mode", `SecMarker "HERE"`},
		{"so does its log", "SecAuditLog /var/log/modsec.log\n", "a.conf:1: the configuration owns SecAuditLog; use audit.path", `SecMarker "HERE"`},
		{"letter case does not matter", "secruleENGINE Off\n", "a.conf:1: the configuration owns secruleENGINE; use policies.NAME.mode", `SecMarker "HERE"`},
		{"nor does a rule switch the engine off", `SecAction "id:1,phase:1,pass,nolog,ctl:ruleEngine=Off"`,
			"a.conf:1: the configuration owns ctl:ruleEngine; give the requests a route of their own, with a policy in another mode", `SecAction "id:1,phase:1,pass,nolog,ctl:ruleRemoveById=942100"`},
		{"a chained rule neither", "SecRule ARGS \"@rx a\" \\\n  \"id:1,phase:1,pass,nolog,chain\"\n  SecRule ARGS \"@rx b\" \\\n  \"ctl:requestBodyAccess=Off\"",
			"a.conf:3: the configuration owns ctl:requestBodyAccess; give the requests a route of their own, with another policy", "SecRule ARGS \"@rx a\" \\\n  \"id:1,phase:1,pass,nolog,chain\"\n  SecRule ARGS \"@rx b\" \"t:none\""},
		{"collections do not persist", `SecAction "id:1,phase:1,pass,nolog,initcol:ip=%{REMOTE_ADDR}"`,
			"a.conf:1: the action initcol is not available; there are no persistent collections; use limits", `SecAction "id:1,phase:1,pass,nolog,setvar:tx.a=1"`},
		{"none is none in lower case only", `SecRule ARGS "@rx a" "id:1,phase:2,deny,t:lowercase,t:None"`,
			"a.conf:1: warning: t:None takes no transformation out: the engine knows none in lower case only; write t:none", `SecRule ARGS "@rx a" "id:1,phase:2,deny,t:lowercase,t:none"`},
		{"the engine mistakes a text for another", "SecRule ARGS \"@rx \\x81\\x80\" \"id:1,deny\"\nSecRule ARGS:/\\x81\\x80/ \"@rx a\" \"id:2,deny\"",
			"a.conf:2: the engine has compiled the same text as something else, for this policy or another one; write the pattern with (?:) around it",
			"SecRule ARGS \"@rx \\x81\\x82\" \"id:1,deny\"\nSecRule ARGS:/(?:\\x81\\x82)/ \"@rx a\" \"id:2,deny\""},
		{"so are the names of phases", `SecRule ARGS "@rx a" "id:1,phase:Logging,deny"`,
			"a.conf:1: failed to init action phase: invalid phase Logging", `SecRule ARGS "@rx a" "id:1,phase:logging,pass"`},
		{"a variable is set to something", `SecAction "id:1,phase:1,pass,nolog,setvar:'tx.a='"`,
			"a.conf:1: setvar:tx.a= has no value; write one, or setvar:!tx.a to remove the variable", `SecAction "id:1,phase:1,pass,nolog,setvar:'tx.a',setvar:!tx.a"`},
		{"no program is run", `SecRule FILES_TMPNAMES "@inspectFile /bin/scan" "id:1,phase:2,deny"`,
			"a.conf:1: the operator @inspectFile is not available; no program is run for a request, and no upload is stored", `SecRule FILES "@contains scan" "id:1,phase:2,deny"`},
		{"every rule has an id", `SecRule ARGS "@rx a" "phase:2,deny"`,
			"a.conf:1: a rule without an id; give it one below 100000, which are free for local use", `SecRule ARGS "@rx a" "id:1,phase:2,deny"`},
		{"an id is given once", "SecAction \"id:7,phase:1,pass,nolog\"\nSecAction \"id:'7',phase:1,pass,nolog\"",
			"a.conf:2: id 7 is taken by a.conf:1; use one below 100000", `SecAction "id:7,phase:1,pass,nolog"`},
		{"also by the Core Rule Set", `SecAction "id:942100,phase:1,pass,nolog"`,
			"a.conf:1: id 942100 is taken by REQUEST-942-APPLICATION-ATTACK-SQLI.conf:12; use one below 100000", `SecAction "id:942,phase:1,pass,nolog"`},
		{"the shipped range is ours", `SecAction "id:88000999,phase:1,pass,nolog"`,
			"a.conf:1: id 88000999 is in the range of the shipped rules; use one below 100000", `SecAction "id:88001000,phase:1,pass,nolog"`},
		{"a broken pattern is found among sound ones", "SecAction \"id:1,phase:1,pass,nolog\"\nSecRule ARGS \"@rx a(\" \\\n  \"id:2,phase:2,deny\"\nSecAction \"id:3,phase:1,pass,nolog\"",
			"a.conf:2: error parsing regexp: missing closing ): `(?sm)a(`", "SecAction \"id:1,phase:1,pass,nolog\"\nSecRule ARGS \"@rx a()\" \\\n  \"id:2,phase:2,deny\"\nSecAction \"id:3,phase:1,pass,nolog\""},
		{"all broken rules are found in one run", "SecRule ARGS \"@nosuch a\" \"id:1,deny\"\nSecAction \"id:2,phase:1,pass,nolog\"\nSecRule NOSUCH \"@rx a\" \"id:3,deny\"",
			"a.conf:1: operator nosuch not found\na.conf:3: unknown variable", `SecRule ARGS "@rx a" "id:1,deny"`},
		{"a rule is changed below it", "SecRuleUpdateTargetById 7 \"!ARGS:x\"\nSecRule ARGS \"@rx a\" \"id:7,deny\"\n",
			"a.conf:1: SecRuleUpdateTargetById: rule \"7\" not found; a rule can be changed only below it: those of the Core Rule Set in rules_after",
			"SecRule ARGS \"@rx a\" \"id:7,deny\"\nSecRuleUpdateTargetById 7 \"!ARGS:x\"\nSecRuleUpdateTargetById 942100 \"!ARGS:x\"\n"},
		{"an unknown directive", "SecRul ARGS \"@rx a\" \"id:1,deny\"", "a.conf:1: unknown directive \"SecRul\"", `SecRule ARGS "@rx a" "id:1,deny"`},
		{"the file does not end in a continuation", "SecAction \"id:1,phase:1,pass,nolog\"\nSecRule ARGS \"@rx a\" \\\n",
			"a.conf:2: the file ends in the middle of a directive; remove the backslash at the end of its last line, or close the backtick", `SecAction "id:1,phase:1,pass,nolog"`},
		{"a chain is finished in its file", "SecRule ARGS \"@rx a\" \"id:1,deny,chain\"\n",
			"a.conf:1: a chain without its next rule; write the next SecRule right below, in the same file", "SecRule ARGS \"@rx a\" \"id:1,deny,chain\"\nSecRule ARGS \"@rx b\" \"t:none\""},
		{"a line that the engine would cut", "SecMarker \"" + strings.Repeat("a", maxLine) + "\"\n",
			fmt.Sprintf("a.conf:1: a line of %d bytes; the engine reads at most %d; break it with a backslash at the end", maxLine+12, maxLine), `SecMarker "a"`},
		{"a status is final", `SecRule ARGS "@rx a" "id:1,deny,status:100"`, "a.conf:1: status \"100\" is not a final HTTP status; use a number from 200 to 599", `SecRule ARGS "@rx a" "id:1,deny,status:451"`},
		{"a redirect is taken as it is", `SecRule ARGS "@rx a" "id:1,redirect:/x?%{ARGS.a}"`,
			"a.conf:1: the target of a redirect is taken as it is written; write a plain URL or path without macros", `SecRule ARGS "@rx a" "id:1,redirect:/x"`},
		{"a body processor exists", `SecAction "id:1,phase:1,pass,nolog,ctl:requestBodyProcessor=YAML"`,
			"a.conf:1: unknown body processor \"YAML\"; use URLENCODED, MULTIPART, JSON, XML or RAW", `SecAction "id:1,phase:1,pass,nolog,ctl:requestBodyProcessor=JSON"`},
		{"what the engine ignores is a warning", "SecAction \"id:1,phase:1,pass,nolog\"\nSecPcreMatchLimit 1000\n",
			"a.conf:2: warning: the engine does nothing with SecPcreMatchLimit; remove it", `SecAction "id:1,phase:1,pass,nolog"`},
		{"a removal that removes nothing is a warning", "SecRuleRemoveById 942100 7 900-999\nSecAction \"id:7,phase:1,pass,nolog\"\n",
			"a.conf:1: warning: no rule above it has the id 7; a rule can be removed only below it: those of the Core Rule Set in rules_after\n" +
				"a.conf:1: warning: no rule above it has the id 900-999; a rule can be removed only below it: those of the Core Rule Set in rules_after",
			"SecRuleRemoveById 942100 941100-941999\nSecRuleRemoveById \"942140 942151\"\n"},
		{"a removal by tag likewise", "SecRuleRemoveByTag attack-sql\n", "a.conf:1: warning: no rule above it is meant; a rule can be removed only below it: those of the Core Rule Set in rules_after", "SecRuleRemoveByTag attack-sqli\n"},
		{"the engine panics over a removal by message", "SecRuleRemoveByMsg \"XSS\"\n", "a.conf:1: the engine cannot remove rules by their message; remove them by id or by tag", "SecRuleRemoveById 941100\n"},
		{"a change by tag likewise", "SecRuleUpdateTargetByTag attack-sql \"!ARGS:a\"\n", "a.conf:1: warning: no rule above it is meant; a rule can be changed only below it: those of the Core Rule Set in rules_after",
			"SecRuleUpdateTargetByTag attack-sqli \"!ARGS:a\"\n"},
		{"a change of a range likewise", "SecRuleUpdateTargetById 7-9 \"!ARGS:a\"\n", "a.conf:1: warning: no rule above it is meant; a rule can be changed only below it: those of the Core Rule Set in rules_after",
			"SecRuleUpdateTargetById 942100-942199 \"!ARGS:a\"\n"},
		{"what was removed is not there", "SecRuleRemoveById 942100\nSecRuleRemoveById 942100\n", "a.conf:2: warning: no rule above it has the id 942100; a rule can be removed only below it: those of the Core Rule Set in rules_after",
			"SecRuleRemoveById 942100\nSecRuleRemoveById 942101\n"},
		{"of several ids the engine changes one", "SecRuleUpdateTargetById 942100 942140 \"!ARGS:a\"\n", "a.conf:1: the engine would change only rule 942100; write one directive for each id, or a range",
			"SecRuleUpdateTargetById 942100 \"!ARGS:a\"\nSecRuleUpdateTargetById 942140 \"!ARGS:a\"\n"},
		{"of a change the engine reads the last word", "SecRuleUpdateActionById 942100 \"pass,msg:'a b'\"\n", "a.conf:1: the engine reads only what follows the last space; write it without spaces", "SecRuleUpdateActionById 942100 \"pass,msg:'a-b'\"\n"},
		{"without its scoring the Core Rule Set refuses nothing", "SecRuleRemoveById 949100-949200\n",
			"a.conf:1: warning: without rule 949110 nothing that the Core Rule Set finds in a request is refused; set policies.NAME.mode: observe, or exclude the rules that matched", "SecRuleRemoveById 949160\n"},
		{"a skip ends at a marker", "SecAction \"id:1,phase:1,pass,nolog,skipAfter:ED\"\nSecMarker END\n", "a.conf:1: no SecMarker \"ED\" below it: every rule that follows would be skipped; write the marker, in this file or one that is loaded later",
			"SecAction \"id:1,phase:1,pass,nolog,skipAfter:END\"\nSecMarker \"END\"\n"},
		{"a marker above is none", "SecMarker END\nSecAction \"id:1,phase:1,pass,nolog,skipAfter:END\"\n", "a.conf:2: no SecMarker \"END\" below it: every rule that follows would be skipped; write the marker, in this file or one that is loaded later",
			"SecMarker END\nSecAction \"id:1,phase:1,pass,nolog,skipAfter:END\"\nSecMarker END\n"},
		{"a control comes before what it controls", `SecAction "id:1,phase:2,pass,nolog,ctl:ruleRemoveTargetById=942100;ARGS:a"`,
			"a.conf:1: warning: ctl:ruleRemoveTargetById=942100 comes too late: the rules have run by then; move it to a file of rules_before, and to the phase of the rules or an earlier one",
			`SecAction "id:1,phase:1,pass,nolog,ctl:ruleRemoveTargetById=942100;ARGS:a"`},
		{"a control controls something", `SecAction "id:1,phase:1,pass,nolog,ctl:ruleRemoveByTag=attack-sql"`, "a.conf:1: warning: ctl:ruleRemoveByTag=attack-sql: there is no such rule", `SecAction "id:1,phase:1,pass,nolog,ctl:ruleRemoveByTag=attack-sqli"`},
		{"a control takes one id", `SecAction "id:1,phase:1,pass,nolog,ctl:ruleRemoveById=942100 942140"`, "a.conf:1: ctl:ruleRemoveById takes one id or a range, not \"942100 942140\"; write one ctl action for each", `SecAction "id:1,phase:1,pass,nolog,ctl:ruleRemoveById=942100-942140"`},
		{"a control knows its variable", `SecAction "id:1,phase:1,pass,nolog,ctl:ruleRemoveTargetById=942100;ARG:a"`, "a.conf:1: ctl:ruleRemoveTargetById of the unknown variable \"ARG\"", `SecAction "id:1,phase:1,pass,nolog,ctl:ruleRemoveTargetById=942100;ARGS:a"`},
		{"a pattern of a control is in lower case", `SecAction "id:1,phase:1,pass,nolog,ctl:ruleRemoveTargetById=942100;ARGS:/^userName$/"`, "a.conf:1: warning: the pattern of a ctl action is compared with names in lower case; write it in lower case",
			`SecAction "id:1,phase:1,pass,nolog,ctl:ruleRemoveTargetById=942100;ARGS:/^username$/"`},
		{"nothing is refused after the answer", `SecRule RESPONSE_STATUS "@eq 500" "id:1,phase:5,deny"`, "a.conf:1: warning: a rule of phase 5 refuses nothing: the answer has been sent by then; write it for an earlier phase, or pass", `SecRule RESPONSE_STATUS "@eq 500" "id:1,phase:5,pass"`},
		{"the engine's audit log is never written", `SecRule ARGS "@rx a" "id:1,phase:2,pass,noauditlog"`, "a.conf:1: warning: noauditlog does nothing: the gateway writes its own audit record; remove it; audit.log says which requests are recorded", `SecRule ARGS "@rx a" "id:1,phase:2,pass,nolog"`},
		{"quotes are closed", `SecRule ARGS "@rx a" "id:1,phase:2,deny,msg:'it's'"`, "a.conf:1: a quote in the actions is not closed; write another ' at its end, or \\' for one that is meant", `SecRule ARGS "@rx a" "id:1,phase:2,deny,msg:'it\'s'"`},
		{"a word list exists", `SecRule ARGS "@pmFromFile words.txt" "id:1,deny"`,
			"a.conf:1: cannot read words.txt: no such file or directory; the path is relative to the rule file", `SecRule ARGS "@pmFromFile there.txt" "id:1,deny"`},
		{"a data set exists", `SecRule ARGS "@pmFromDataset words" "id:1,deny"`, "a.conf:1: no SecDataset \"words\" above this rule",
			"SecDataset words `\nevil\n`\nSecRule ARGS \"@pmFromDataset words\" \"id:1,deny\""},
		{"an included file is held to the same", "Include sub/b.conf\n", "sub/b.conf:2: the configuration owns SecRuleEngine; use policies.NAME.mode", "Include sub/c.conf\n"},
		{"an include that matches nothing", "\nInclude sub/none*.conf\n", "a.conf:2: no file matches sub/none*.conf; the path is relative to the file that includes it", "Include sub/c*.conf\n"},
		{"an include in a circle", "Include sub/d.conf\n", "sub/d.conf:1: sub/d.conf is included in a circle, or more than 10 files deep", "Include sub/c.conf\n"},
	} {
		files := map[string]string{"there.txt": "evil\n", "sub/b.conf": "\nSecRuleEngine Off\n", "sub/c.conf": "SecAction \"id:5,phase:1,pass,nolog\"\n", "sub/d.conf": "Include d.conf\n"}
		files["a.conf"] = tc.bad
		if got := open(t, files, "a.conf"); got != tc.want {
			t.Errorf("%s:\ngot  %s\nwant %s", tc.name, got, tc.want)
		}
		files["a.conf"] = tc.good
		if got := open(t, files, "a.conf"); got != "" {
			t.Errorf("%s: the twin: %s", tc.name, got)
		}
	}
	if got, want := open(t, nil, "*.conf"), "*.conf: policies.default.rules_after[0]: no file matches; check the path; it is relative to the configuration file"; got != want {
		t.Errorf("a pattern that matches nothing: %s, want %s", got, want)
	}
}

// TestWordListsAfterReload builds an engine with a changed list while the one
// with the old list is still alive, as a reload does: the engine remembers
// lists by name, and would go on with the old one.
func TestWordListsAfterReload(t *testing.T) {
	dir := t.TempDir()
	rules := writeFile(t, filepath.Join(dir, "a.conf"), `
SecRule ARGS "@pmFromFile words.txt" "id:1,phase:2,deny"
SecRule REMOTE_ADDR "@ipMatchFromFile addresses.txt" "id:2,phase:1,deny"
`)
	load := func(words, addresses, dataset string) *Engine {
		writeFile(t, filepath.Join(dir, "words.txt"), words)
		writeFile(t, filepath.Join(dir, "addresses.txt"), addresses)
		set := writeFile(t, filepath.Join(dir, "b.conf"), "SecDataset set `\n"+dataset+"\n`\nSecRule ARGS \"@pmFromDataset set\" \"id:3,phase:2,deny\"\n")
		return engineWith(t, func(p *Policy) { p.RulesBefore = []string{rules, set} })
	}
	first := load("oldword", "198.51.100.1", "oldset")
	second := load("newword", "2001:db8::/32", "newset")
	from := func(client string) call { c := get("/"); c.client = client; return c }
	for _, tc := range []struct {
		name     string
		old, new call
	}{
		{"pmFromFile", get("/?a=oldword"), get("/?a=newword")},
		{"ipMatchFromFile", from("198.51.100.1"), from("2001:db8::7")},
		{"pmFromDataset", get("/?a=oldset"), get("/?a=newset")},
	} {
		run(first, tc.old).expect(t, tc.name+", old list, old word", gate.Refuse, gate.WAFRule)
		run(first, tc.new).expect(t, tc.name+", old list, new word", gate.Pass, "")
		run(second, tc.old).expect(t, tc.name+", new list, old word", gate.Pass, "")
		run(second, tc.new).expect(t, tc.name+", new list, new word", gate.Refuse, gate.WAFRule)
	}
}

// TestPoliciesShareRules builds one rule set for policies that come to the
// same rules, and names each.
func TestPoliciesShareRules(t *testing.T) {
	e := sharedEngine(t)
	infos := e.Policies()
	if a, b := infos["default"], infos["small"]; !reflect.DeepEqual(a, b) || a.Rules < 400 || !strings.HasPrefix(a.Ruleset, "sha256:") {
		t.Errorf("default is %+v and small %+v, want the same rules", a, b)
	}
	if infos["default"].Ruleset == infos["observe"].Ruleset {
		t.Error("default and observe share a rule set, want different ones")
	}
	if !reflect.DeepEqual(infos["off"], PolicyInfo{}) {
		t.Errorf("off is %+v, want no rules", infos["off"])
	}
	if len(e.rulesets) != 2 {
		t.Errorf("%d rule sets for %d policies, want 2", len(e.rulesets), len(infos))
	}
}

// TestPolicyBounds refuses policies that configuration never produces, and
// values that could leave the set-up's quotes.
func TestPolicyBounds(t *testing.T) {
	for name, change := range map[string]func(*Policy){
		"mode": func(p *Policy) { p.Mode = "" }, "engine": func(p *Policy) { p.Engine = "slow" }, "share": func(p *Policy) { p.CompareShare = 1.5 }, "paranoia": func(p *Policy) { p.Paranoia = 5 }, "threshold": func(p *Policy) { p.InboundThreshold = 0 },
		"inspect": func(p *Policy) { p.Inspect = 0 }, "response body": func(p *Policy) { p.ResponseBody = "some" },
		"method": func(p *Policy) { p.Methods = []string{"GET'\"\nSecRuleEngine Off"} }, "type": func(p *Policy) { p.ContentTypes = []string{"a/b|'"} },
	} {
		p := standard()
		change(&p)
		if e, err := New(Config{Memory: 1 << 20, Policies: map[string]Policy{"default": p}}, zap.NewNop()); err == nil {
			e.Close()
			t.Errorf("%s: New accepted %+v", name, p)
		}
	}
}

// FuzzSplit holds the reader of rule files to its bounds: no directive begins
// outside the file, and everything that is not a comment is kept.
func FuzzSplit(f *testing.F) {
	f.Add("SecRule ARGS \"@rx a\" \\\n  \"id:1,deny\"\n# c\nSecMarker A")
	f.Add("SecDataset a `\nb\n`\nSecAction \"id:1\"\\")
	f.Fuzz(func(t *testing.T, src string) {
		directives, _ := split("f", src)
		lines := strings.Count(src, "\n") + 1
		for _, d := range directives {
			if d.line < 1 || d.line > lines {
				t.Fatalf("a directive in line %d of %d", d.line, lines)
			}
			if d.raw == "" {
				t.Fatal("an empty directive")
			}
			check(d, false)
		}
	})
}

// TestForeignActions refuses the actions that other engines have and this one
// does not, each at its place: a rule that lacks what it was written for must
// not pass for one that works.
func TestForeignActions(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.conf")
	for action, want := range map[string]string{
		"append:x": "", "prepend:x": "", "proxy:http://a": "", "pause:100": "", "xmlns:a=b": "", "deprecatevar:ip.a=1/2": "", "setuid:a": "", "setsid:a": "", "setrsc:a": "",
		"sanitiseArg:password": "", "sanitiseMatched": "", "sanitiseMatchedBytes": "", "sanitiseRequestHeader:A": "", "sanitiseResponseHeader:A": "", "logging": "",
		"expirevar:tx.a=1": "the action expirevar is not available; there are no persistent collections; use limits",
		"exec:/bin/a":      "the action exec is not available; remove it; no program is run",
		"setenv:a=b":       "the action setenv is not available; remove it; the environment is not changed",
	} {
		name, _, _ := strings.Cut(action, ":")
		want = cmp.Or(want, fmt.Sprintf("invalid action %q", strings.ToLower(name)))
		writeFile(t, file, "SecAction \"id:1,phase:1,pass,nolog\"\nSecAction \"id:2,phase:1,pass,nolog,"+action+"\"\n")
		p := standard()
		p.CRS, p.RulesAfter = crsOff, []string{file}
		e, err := New(Config{Memory: 1 << 20, Policies: map[string]Policy{"default": p}}, zap.NewNop())
		if err == nil {
			e.Close()
			t.Errorf("%s is accepted", action)
		} else if err.Error() != file+":2: "+want {
			t.Errorf("%s: %v, want %s", action, err, want)
		}
	}
}

// TestSkipWithoutMarker shows why a skip to a marker that is not there is
// refused: the engine would skip the Core Rule Set.
func TestSkipWithoutMarker(t *testing.T) {
	e := miniature(t, gate.Enforce, `
SecAction "id:1,phase:1,pass,nolog,skipAfter:NOWHERE"
SecRule ARGS "@streq evil" "id:2,phase:2,deny"
`)
	run(e, get("/?a=evil")).expect(t, "the rule below", gate.Pass, "")
}

// TestSetvarWithoutValue sets variables and removes them as the manual of SecLang
// has it, over which the engine by itself panics.
func TestSetvarWithoutValue(t *testing.T) {
	const rules = `
SecAction "id:1,phase:1,pass,nolog,setvar:tx.kept=7,setvar:'tx.flag' , setvar:tx.other"
SecRule ARGS:drop "@streq 1" \
    "id:2,\
    phase:1,\
    pass,nolog,\
    setvar:!tx.flag,\
    setvar:'!tx.kept'"
SecRule ARGS:update "@streq 1" "id:3,phase:1,pass,nolog"
SecRuleUpdateActionById 3 "setvar:!tx.other,nolog"
SecRule TX:flag "@streq 1" "id:4,phase:2,pass,log,msg:'flag'"
SecRule &TX:kept "@eq 0" "id:5,phase:2,pass,log,msg:'kept is gone'"
SecRule &TX:other "@eq 0" "id:6,phase:2,pass,log,msg:'other is gone'"
`
	dir := t.TempDir()
	file := writeFile(t, filepath.Join(dir, "a.conf"), rules)
	for _, engine := range []EngineKind{StockEngine, FastEngine} {
		e := policies(t, map[string]func(*Policy){"default": func(p *Policy) { p.CRS, p.Engine, p.RulesAfter = crsOff, engine, []string{file} }})
		for target, want := range map[string]string{"/": "[4]", "/?drop=1": "[5]", "/?update=1": "[4 6]", "/?drop=1&update=1": "[5 6]"} {
			o := run(e, get(target))
			o.expect(t, target, gate.Pass, "")
			if got := fmt.Sprint(o.rules()); got != want {
				t.Errorf("%s, %s: rules %s, want %s", engine, target, got, want)
			}
		}
	}
	p := standard()
	p.CRS, p.RulesAfter = crsOff, []string{file}
	list, _, err := Rules("default", p)
	if i := slices.IndexFunc(list, func(r RuleInfo) bool { return r.ID == 2 }); err != nil || i < 0 || !strings.HasSuffix(list[i].Links[0].Source, "setvar:!tx.flag,\\\nsetvar:'!tx.kept'\"") {
		t.Errorf("%v, %+v: want rule 2 as it is written", err, list)
	}
}

// TestPhrasesWithTheTextOfAPattern loads lists of phrases beside patterns with
// the same text, which the engine by itself mistakes for each other: in one
// policy, and in two that live at a time.
func TestPhrasesWithTheTextOfAPattern(t *testing.T) {
	load := func(text string) *Engine {
		return engineWith(t, func(p *Policy) { p.CRS = crsOff }, text)
	}
	for i, pair := range [][2]string{
		{`SecRule ARGS:x "@pm foo%d" "id:1,phase:2,deny"`, `SecRule ARGS:/foo%d/ "@streq evil" "id:2,phase:2,deny"`},
		{`SecRule ARGS:x "@pm  Foo%d " "id:1,phase:2,deny"`, "SecRule ARGS \"@streq evil\" \"id:2,phase:2,deny\"\nSecRuleUpdateTargetById 2 \"!ARGS:/foo%d/\""},
		{`SecRule ARGS:x "@pm Foo%d bar" "id:1,phase:2,deny"`, "SecAction \"id:3,phase:1,pass,nolog,ctl:ruleRemoveTargetById=2;ARGS:/foo%[1]d bar/\"\nSecRule ARGS \"@streq evil\" \"id:2,phase:2,deny\""},
		{`SecRule ARGS:x "@pm foo%d" "id:1,phase:2,deny"`, `SecRule REQUEST_FILENAME "@restpath foo%d" "id:2,phase:1,deny"`},
	} {
		a, b := fmt.Sprintf(pair[0], i)+"\n", fmt.Sprintf(pair[1], i)+"\n"
		for name, text := range map[string]string{"phrases first": a + b, "pattern first": b + a} {
			e := load(text)
			run(e, get(fmt.Sprintf("/?x=a+fOO%d", i))).expect(t, name+", "+text, gate.Refuse, gate.WAFRule)
			run(e, get("/?x=fo")).expect(t, name+", "+text, gate.Pass, "")
		}
		load(a)
		load(b)
	}
}

// TestPhrasesWrittenTwice holds that what a list of phrases finds and captures
// does not change with the text that it is given.
func TestPhrasesWrittenTwice(t *testing.T) {
	for phrases, want := range map[string]string{
		"foo": `"foo foo"`, "foo bar": `"foo bar bar"`, "  a  ab b ": `"  a  ab b b "`, `\"q\"`: `"\"q\" \"q\""`, "": `""`,
	} {
		text := `SecRule ARGS:x "@pm ` + phrases + `" "id:1,phase:2,pass,log,capture,msg:'%{TX.0},%{TX.1},%{TX.2},%{TX.3}'"` + "\n"
		name := filepath.Join(t.TempDir(), "a.conf")
		p := standard()
		p.CRS, p.RulesAfter = crsOff, []string{writeFile(t, name, text)}
		plan, _, err := planFor("default", p)
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(plan.sources, func(s source) bool { return s.name == name })
		if got := strings.Replace(plan.sources[i].directives[0].args, "@pm ", "", 1); !strings.HasPrefix(got, "ARGS:x "+want) {
			t.Errorf("%q has become %s, want %s", phrases, got, want)
		}
		as, written := engineWith(t, func(p *Policy) { p.CRS, p.Engine = crsOff, StockEngine }, text), miniature(t, gate.Enforce, text)
		for _, value := range []string{"", "foo", "a+foo+bar+BAR+foo", "xabab+b+a", `say+"Q"`, "fo", "foobarfoofoobar"} {
			one, two := messages(run(as, get("/?x="+value))), messages(run(written, get("/?x="+value)))
			if !slices.Equal(one, two) {
				t.Errorf("%q in %q: %q, as it is written %q", phrases, value, one, two)
			}
		}
	}
}

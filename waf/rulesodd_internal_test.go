package waf

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	vars "github.com/corazawaf/coraza/v3/types/variables"

	"sallyport/waf/prover"
)

// rulesOf are the rules of a text, held against the engine's.
func rulesOf(t *testing.T, text string, files map[string][]byte) []prover.Rule {
	t.Helper()
	src, err := parse("@test/rules.conf", text)
	if err != nil {
		t.Fatal(err)
	}
	p := plan{sources: []source{src}, data: files}
	rules := p.proverRules()
	c := &comparison{t: t, where: text, lists: map[string]any{}, by: map[string]uintptr{}, counted: map[string]int{}}
	c.all(compileText(t, text, files), rules, indexOf(p.sources))
	return rules
}

// TestOddTargets reads targets as the engine does, where that is not how they
// look.
func TestOddTargets(t *testing.T) {
	args := func(key, pattern string) prover.Target {
		return prover.Target{Name: "ARGS", Variable: vars.Args, Key: key, Pattern: pattern}
	}
	except := func(t prover.Target) prover.Target { t.Except = true; return t }
	for text, want := range map[string][]prover.Target{
		`ARGS:Name`:                  {args("Name", "")},
		`args:Name`:                  {{Name: "args", Variable: vars.Args, Key: "Name"}},
		`REQUEST_HEADERS:X-Name`:     {{Name: "REQUEST_HEADERS", Variable: vars.RequestHeaders, Key: "x-name"}},
		`REQUEST_HEADERS:/^X-\W/`:    {{Name: "REQUEST_HEADERS", Variable: vars.RequestHeaders, Pattern: `^x-\w`}},
		`ARGS:/^X|y/|ARGS:z`:         {args("", "^X|y"), args("z", "")},
		`ARGS:'/a\/b|c/'|ARGS:z`:     {args("", `a\/b|c`), args("z", "")},
		`ARGS:/ab`:                   {args("", "a")},
		`ARGS:a/b/`:                  {args("", "ab")},
		`ARGS:a/`:                    {args("a", "")},
		`ARGS:'a'`:                   {args("a'", "")},
		`ARGS://`:                    {args("", "")},
		`XML:/*`:                     {{Name: "XML", Variable: vars.XML, Key: "/*"}},
		`XML:/a|TX:b`:                {{Name: "XML", Variable: vars.XML, Key: "/a"}, {Name: "TX", Variable: vars.TX, Key: "b"}},
		`!ARGS:a|ARGS|!ARGS:B|ARGS`:  {except(args("a", "")), args("", ""), except(args("B", "")), args("", "")},
		`!REQUEST_HEADERS:A|!ARGS`:   {except(prover.Target{Name: "REQUEST_HEADERS", Variable: vars.RequestHeaders, Key: "A"}), except(args("", ""))},
		`&ARGS:a|!&ARGS:b`:           {{Name: "ARGS", Variable: vars.Args, Key: "a", Count: true}, except(args("b", ""))},
		`REQUEST_URI:/a/|&TX:/^B_/`:  {{Name: "REQUEST_URI", Pattern: "a"}, {Name: "TX", Variable: vars.TX, Pattern: "^b_", Count: true}},
		`!REQUEST_URI:/A/`:           {except(prover.Target{Name: "REQUEST_URI", Variable: vars.RequestURI, Pattern: "a"})},
		`JSON:/a/|ARGS`:              {{Name: "JSON", Variable: vars.JSON, Pattern: "a"}, args("", "")},
		`REQUEST_COOKIES:/a\\/|ARGS`: {{Name: "REQUEST_COOKIES", Variable: vars.RequestCookies, Pattern: `a\\`}, args("", "")},
	} {
		got, err := engineTargets(text)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v, want %+v", text, got, err, want)
		}
	}
}

// TestRandomTargets makes targets up and holds what is read of them against what
// the engine reads.
func TestRandomTargets(t *testing.T) {
	parts := []string{"ARGS", "ARGS", "xml", "XML", "JSON", "REQUEST_URI", "TX", "REQUEST_HEADERS", ":", ":", ":", "/", "/", "/", "'", "|", "|", "|", "!", "&", `\`, `\/`, "qa", "qZ", "*", ".", "(qb|qC)"}
	random := rand.New(rand.NewPCG(1, 2))
	taken := 0
	for range 10_000 {
		var b strings.Builder
		for range 1 + random.IntN(12) {
			b.WriteString(parts[random.IntN(len(parts))])
		}
		text := b.String()
		got, ours := engineTargets(text)
		theirs, err := tryText(fmt.Sprintf("SecRule %s \"@rx a\" \"id:1\"\n", text), nil)
		switch {
		case err == nil && ours != nil:
			t.Fatalf("%s: %v, the engine takes it", text, ours)
		case err != nil && ours == nil && !strings.Contains(err.Error(), "error parsing regexp"):
			t.Fatalf("%s: %+v, the engine: %v", text, got, err)
		case err != nil:
			continue
		}
		taken++
		for i := range got {
			if got[i].Variable == vars.Unknown {
				got[i].Variable, _ = vars.Parse(got[i].Name)
			}
		}
		c := &comparison{t: t, where: text, counted: map[string]int{}}
		c.targets(&prover.Link{Targets: got}, engineRules(theirs.waf)[0], 0)
		theirs.close() //nolint:errcheck // it is not the one that is tested
		if t.Failed() {
			return
		}
	}
	if taken < 300 {
		t.Errorf("the engine took %d of them, want more", taken)
	}
}

// tryText compiles rules that may be none.
func tryText(text string, files map[string][]byte) (*ruleset, error) {
	src, err := parse("@test/rules.conf", text)
	if err != nil {
		return nil, err
	}
	w, err := compile([]source{src}, files)
	return &ruleset{waf: w}, err
}

// TestRandomActions makes action lists up and holds what is read of them against
// what the engine reads, in rules with default actions and with changes.
func TestRandomActions(t *testing.T) {
	parts := []string{"pass", "deny", "block", "allow", "drop", "redirect:/a", "log", "nolog", "auditlog", "noauditlog", "t:none", "t:lowercase", "t:Trim", "T:urlDecode", "capture", "multiMatch", "phase:1", "phase:4", "phase:response", "msg:'a'", "msg:'b,c'", `msg:'d\'e,f'`, "msg:g:h", "logdata:%{tx.a}", "tag:a", "t:sallyport7", "tag:'b'", "tag:'\"c\"'", "setvar:tx.a=1", "setvar:'tx.b=a,b'", "setvar:'!tx.c=1'", "ctl:ruleEngine=Off", "skipAfter:X", "skipAfter:\"'Y'\"", "status:404", "severity:2", "skip:1", "initcol:ip=a", "exec", "'", `\`, ":", " ", "rev:'1'", "ver:''2''"}
	random := rand.New(rand.NewPCG(3, 4))
	list := func(id string) string {
		all := []string{id}
		for range random.IntN(7) {
			all = append(all, parts[random.IntN(len(parts))])
		}
		random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		text := strings.Join(all, ",")
		if random.IntN(6) == 0 {
			text = strings.Replace(text, ",", []string{", ", "\\,", "',", ":"}[random.IntN(4)], 1)
		}
		return strings.Trim(text, ",")
	}
	taken := 0
	c := &comparison{t: t, lists: map[string]any{}, by: map[string]uintptr{}, counted: map[string]int{}}
	for range 10_000 {
		text := ""
		for _, d := range []string{"phase:1,log,auditlog,deny", "phase:2,nolog,drop,status:404,setvar:tx.of_default=1", "phase:4,pass,ctl:ruleEngine=On,capture"} {
			if random.IntN(2) == 0 {
				text += "SecDefaultAction \"" + d + "\"\n"
			}
		}
		text += fmt.Sprintf("SecRule ARGS \"@rx a\" \"%s\"\nSecAction \"%s\"\nSecMarker X\n", list("id:1"), list("id:2"))
		if random.IntN(2) == 0 {
			text += fmt.Sprintf("SecRuleUpdateActionById %s %s\n", []string{"1", "2", "1-2"}[random.IntN(3)], list("log"))
		}
		src, err := parse("@test/rules.conf", text)
		if err != nil {
			continue
		}
		sources := []source{src}
		w, err := compile(sources, nil)
		if err != nil {
			continue
		}
		taken++
		if c.where = text; !strings.Contains(text, "skip:1") { // which withoutSkips replaces
			c.all(w, plan{sources: sources}.proverRules(), indexOf(sources))
		}
		(&ruleset{waf: w}).close() //nolint:errcheck // it is not the one that is tested
		if t.Failed() {
			t.Fatal(text)
		}
	}
	if taken < 300 {
		t.Errorf("the engine took %d of them, want more", taken)
	}
}

// TestOddOperators takes operators apart.
func TestOddOperators(t *testing.T) {
	files := map[string][]byte{"/lists/a": []byte("#no\r\n  One \r\n\r\nTWO #three\n" + strings.Repeat("x", 70_000) + "\nbehind it\n")}
	for text, want := range map[string]prover.Operator{
		``:                        {Name: "rx"},
		`plain  text `:            {Name: "rx", Argument: "plain  text"},
		`!plain`:                  {Name: "rx", Argument: "plain", Not: true},
		`!`:                       {Name: "rx", Not: true},
		`!@rx`:                    {Name: "rx", Not: true},
		`@rx  a\"b\\ `:            {Name: "rx", Argument: `a"b\\`},
		`@rx \\\"`:                {Name: "rx", Argument: `\\"`},
		`!@detectSQLi`:            {Name: "detectsqli", Not: true},
		`@pm Ab |41 42| c  d`:     {Name: "pm", Argument: "Ab |41 42| c  d", List: []string{"ab", "|41", "42|", "c", "", "d"}},
		`@pmFromFile /lists/a`:    {Name: "pmfromfile", Argument: "/lists/a", List: []string{"one", "two #three"}},
		`!@pmf /lists/a`:          {Name: "pmf", Argument: "/lists/a", Not: true, List: []string{"one", "two #three"}},
		`@within %{tx.a} %{TX.B}`: {Name: "within", Argument: "%{tx.a} %{TX.B}"},
	} {
		rules := rulesOf(t, fmt.Sprintf("SecRule ARGS \"%s\" \"id:1\"\n", text), files)
		if got := rules[0].Links[0].Operator; !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, want %+v", text, got, want)
		}
	}
}

// TestDecisions resolves block and the default actions, and says what is shown.
func TestDecisions(t *testing.T) {
	const defaults = "SecDefaultAction \"phase:1,nolog,deny,status:404\"\nSecDefaultAction \"phase:3,log,drop\"\n"
	for _, tc := range []struct {
		rule, decision string
		log            bool
	}{
		{`SecRule ARGS "a" "id:1,phase:1"`, "deny", false}, // it decides, and that is enough
		{`SecRule ARGS "a" "id:1,phase:1,block"`, "deny", false},
		{`SecRule ARGS "a" "id:1,phase:1,deny"`, "deny", true}, // records show it
		{`SecRule ARGS "a" "id:1,phase:1,pass"`, "", false},
		{`SecRule ARGS "a" "id:1,phase:1,pass,log"`, "", true},
		{`SecRule ARGS "a" "id:1,phase:1,deny,pass"`, "", false},
		{`SecRule ARGS "a" "id:1,phase:1,drop,block,nolog"`, "deny", false},
		{`SecRule ARGS "a" "id:1,phase:1,pass,setvar:tx.inbound_anomaly_score_pl1=+5"`, "", true},
		{`SecRule ARGS "a" "id:1"`, "", true},
		{`SecRule ARGS "a" "id:1,noauditlog"`, "", true},
		{`SecRule ARGS "a" "id:1,nolog,auditlog"`, "", false},
		{`SecRule ARGS "a" "id:1,phase:3,nolog,block"`, "drop", false},
		{`SecRule ARGS "a" "id:1,phase:4,block"`, "", false}, // without defaults nothing is logged
		{`SecAction "id:1,phase:1,allow:request"`, "allow", true},
		{"SecRule ARGS \"a\" \"id:1,phase:1,pass,chain\"\nSecRule ARGS \"b\" \"t:none\"", "", false},
		{"SecRule ARGS \"a\" \"id:1,phase:1\"\nSecRuleUpdateActionById 1 \"block\"", "", false},
		{"SecRule ARGS \"a\" \"id:1,phase:1,deny\"\nSecRuleUpdateActionById 1 \"nolog\"", "deny", true},
	} {
		rules := rulesOf(t, defaults+tc.rule+"\n", nil)
		if l := rules[0].Links[0]; l.Decision != tc.decision || l.Log != tc.log {
			t.Errorf("%s: decision %q, log %t, want %q, %t", tc.rule, l.Decision, l.Log, tc.decision, tc.log)
		}
	}
}

// TestRemovedAndChanged applies directives to the rules above them, and to no
// others.
func TestRemovedAndChanged(t *testing.T) {
	const head = `
SecRule ARGS "a" "id:1,tag:x,chain"
 SecRule ARGS "b" "t:none,setvar:tx.a=1"
SecMarker M
SecRule ARGS "c" "id:2,tag:x,tag:y"
SecAction "id:3,tag:y"
`
	for directives, want := range map[string]string{
		"":                          "1M23",
		"SecRuleRemoveById 1":       "M23",
		"SecRuleRemoveById 1 2-3":   "M",
		"SecRuleRemoveById 2-2":     "1M3",
		"SecRuleRemoveById \"1 2\"": "M3",
		"SecRuleRemoveById 0":       "123",
		"SecRuleRemoveById 0-1":     "23",
		"SecRuleRemoveByTag x":      "M3",
		"SecRuleRemoveByTag \"y\"":  "1M",
		"SecRuleRemoveById 1\nSecRule ARGS \"d\" \"id:1\"":    "M231",
		"SecRuleRemoveById 4\nSecRule ARGS \"d\" \"id:4\"":    "1M234",
		"SecRuleUpdateActionById 3 \"id:5\"":                  "1M25",
		"SecRuleUpdateActionById 1 \"tag:z,phase:4\"":         "1M23",
		"SecRuleUpdateActionById 1-3 \"t:lowercase,deny\"":    "1M23",
		"SecRuleUpdateTargetById 1-3 \"!ARGS:a|TX:B\"":        "1M23",
		"SecRuleUpdateTargetById 1 2 \"!ARGS:a\"":             "1M23",
		"SecRuleUpdateTargetById 2-3 1 \"!ARGS:a|&ARGS:/B/\"": "1M23",
		"SecRuleUpdateTargetByTag y \"!ARGS:/A/\"":            "1M23",
	} {
		got := ""
		for _, r := range rulesOf(t, head+directives+"\n", nil) {
			if got += r.Marker; r.ID != 0 {
				got += fmt.Sprint(r.ID)
			}
		}
		if got != want {
			t.Errorf("%s: %s, want %s", directives, got, want)
		}
	}
}

// TestUnclear says where nothing is known.
func TestUnclear(t *testing.T) {
	read := func(text string) []prover.Rule {
		src, err := parse("@test/rules.conf", text)
		if err != nil {
			t.Fatal(err)
		}
		return plan{sources: []source{src}}.proverRules()
	}
	for text, want := range map[string]string{
		`SecRule NOTHING "a" "id:1"`:                                     `the variable "NOTHING" is not known`,
		`SecRule ARGS:'/a/|TX "a" "id:1"`:                                "a quote in the targets ARGS:'/a/|TX is not closed",
		`SecRule REQUEST_URI:a "a" "id:1"`:                               "the variable REQUEST_URI has no keys",
		`SecRule ARGS "@pmFromFile a.data" "id:1"`:                       "no word list /a.data",
		`SecRule ARGS "a" "id:1,phase:7"`:                                "phase 7",
		"SecRule ARGS \"a\" \"pass,chain\"\nSecRule ARGS \"b\"":          "a chain without an id",
		`SecSomething On`:                                                "the directive secsomething is not known",
		`SecRuleRemoveByMsg a`:                                           "the directive secruleremovebymsg is not known",
		"SecMarker A\nSecRuleUpdateActionById 0-5 \"deny\"":              "it gives actions to a marker",
		`SecAction "id:1,setenv:a=b"`:                                    "the action setenv",
		`SecAction "id:1,append:a"`:                                      "the action append",
		`SecAction "id:1,setvar:!tx.a"`:                                  "the engine panics over setvar without a value",
		`SecAction "id:1,exec:/bin/a,expirevar:ip.a=1"`:                  "",
		`SecAction "id:1,initcol:ip=%{REMOTE_ADDR}"`:                     "",
		"SecAction \"id:1,skipAfter:A,skip:1\"\nSecMarker A":             "",
		"SecAction \"id:1,skip:2,chain\"\nSecRule ARGS \"a\" \"t:none\"": "",
	} {
		found := ""
		for _, r := range read(text + "\n") {
			found += r.Unclear
			for _, l := range r.Links {
				found += l.Unclear
			}
		}
		if found != want {
			t.Errorf("%s: %q, want %q", text, found, want)
		}
	}
}

// TestCountedSkips holds that a skip is a marker in the list, and that a rule with
// one that could not be replaced is one of which not all is known.
func TestCountedSkips(t *testing.T) {
	src, err := parse("@test/rules.conf", `
SecAction "id:1,phase:2,pass,nolog,skip:2"
SecAction "id:2,phase:1"
SecAction "id:3,phase:2"
SecAction "id:4,phase:2"
SecAction "id:5,phase:2"
SecAction "id:6,phase:2,pass,msg:'skip:1',skip:1"
`)
	if err != nil {
		t.Fatal(err)
	}
	src.text = src.join() // as the embedded rules have it
	var got []string
	rules := plan{sources: []source{src}}.proverRules()
	for _, r := range rules {
		if got = append(got, r.Marker); r.ID != 0 {
			got[len(got)-1] = strconv.Itoa(r.ID)
		}
	}
	if want := []string{"1", "2", "3", "4", "SALLYPORT-SKIP-1", "5", "6"}; !slices.Equal(got, want) {
		t.Errorf("rules and markers %q, want %q", got, want)
	}
	if to := rules[0].Links[0].SkipAfter; to != "SALLYPORT-SKIP-1" || rules[0].Links[0].Unclear != "" {
		t.Errorf("rule 1 skips to %q, unclear: %q", to, rules[0].Links[0].Unclear)
	}
	if last := rules[len(rules)-1].Links[0]; last.Unclear == "" {
		t.Error("a skip that is counted is taken for understood")
	}
}

package waf

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unsafe"

	coreruleset "github.com/corazawaf/coraza-coreruleset/v4"
	"github.com/corazawaf/coraza/v3"
	vars "github.com/corazawaf/coraza/v3/types/variables"

	"sallyport/internal/gate"
	"sallyport/waf/prover"
	"sallyport/waf/transform"
)

// inner returns a field of one of the engine's structs, wherever the engine does
// not show it.
func inner(v reflect.Value, names ...string) reflect.Value {
	for _, name := range names {
		for v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface {
			v = v.Elem()
		}
		v = v.FieldByName(name)
	}
	return v
}

// unlocked returns the value of a field that the engine does not show.
func unlocked(v reflect.Value) any {
	return reflect.NewAt(v.Type(), unsafe.Pointer(v.UnsafeAddr())).Elem().Interface()
}

// engineRules are the rules that an engine has, as its own structs.
func engineRules(w coraza.WAF) []reflect.Value {
	list := inner(reflect.ValueOf(w), "waf", "Rules", "rules")
	var out []reflect.Value
	for i := range list.Len() {
		out = append(out, list.Index(i))
	}
	return out
}

// compileText compiles rules without anything around them.
func compileText(t *testing.T, text string, files map[string][]byte) coraza.WAF {
	t.Helper()
	src, err := parse("@test/rules.conf", text)
	if err != nil {
		t.Fatal(err)
	}
	w, err := compile([]source{src}, files)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { (&ruleset{waf: w}).close() }) //nolint:errcheck // it is not the one that is tested
	return w
}

// A comparison holds rules of the plan against those of the engine.
type comparison struct {
	t       *testing.T
	where   string
	lists   map[string]any     // automata, by their phrases
	by      map[string]uintptr // transformations, by name
	counted map[string]int
}

func (c *comparison) errorf(format string, args ...any) {
	c.t.Helper()
	c.t.Errorf(c.where+": "+format, args...)
}

// transformation is the function that the engine has under a name.
func (c *comparison) transformation(name string) uintptr {
	if p, ok := c.by[name]; ok {
		return p
	}
	rule := engineRules(compileText(c.t, fmt.Sprintf("SecRule ARGS \"a\" \"id:1,t:%s\"\n", name), nil))[0]
	c.by[name] = inner(inner(rule, "transformations").Index(0), "Function").Pointer()
	return c.by[name]
}

// automaton is what the engine builds of phrases.
func (c *comparison) automaton(operator string, list []string) any {
	key := operator + "\n" + strings.Join(list, "\n")
	if c.lists[key] == nil {
		file := "/lists/test-" + digest([]byte(key))
		argument, files := strings.Join(list, " "), map[string][]byte{}
		if operator != "pm" { // pmf is short for it
			operator = "pmFromFile"
			argument, files = file, map[string][]byte{file: []byte(strings.Join(list, "\n"))}
		}
		rule := engineRules(compileText(c.t, fmt.Sprintf("SecRule ARGS \"@%s %s\" \"id:1\"\n", operator, argument), files))[0]
		c.lists[key] = unlocked(inner(rule, "operator", "Operator").Elem().Elem().FieldByName("matcher"))
	}
	return c.lists[key]
}

// all compares the whole list.
func (c *comparison) all(w coraza.WAF, ours []prover.Rule, metas index) {
	c.t.Helper()
	theirs := engineRules(w)
	if len(ours) != len(theirs) {
		c.errorf("%d rules and markers, the engine has %d", len(ours), len(theirs))
		return
	}
	for i := range ours {
		c.where = fmt.Sprintf("%s, rule %d (%s)", strings.Split(c.where, ",")[0], ours[i].ID, ours[i].Place)
		c.rule(&ours[i], theirs[i], metas)
	}
}

func (c *comparison) rule(r *prover.Rule, theirs reflect.Value, metas index) {
	c.t.Helper()
	if r.Unclear != "" {
		c.errorf("it is unclear: %s", r.Unclear)
	}
	if marker := inner(theirs, "SecMark_").String(); marker != "" || r.Marker != "" {
		if marker != r.Marker || len(r.Links) > 0 {
			c.errorf("marker %q, the engine's %q", r.Marker, marker)
		}
		c.counted["markers"]++
		return
	}
	if id, phase := int(inner(theirs, "ID_").Int()), int(inner(theirs, "Phase_").Int()); r.ID != id || r.Phase != phase {
		c.errorf("id %d in phase %d, the engine's %d in %d", r.ID, r.Phase, id, phase)
	}
	tags := inner(theirs, "Tags_")
	for i := range tags.Len() {
		if i >= len(r.Tags) || r.Tags[i] != tags.Index(i).String() || len(r.Tags) != tags.Len() {
			c.errorf("tags %q, the engine's %v", r.Tags, unlocked(tags))
			break
		}
	}
	c.counted["rules"]++
	m := metas[r.ID]
	if log := r.ID != 0 && (inner(theirs, "Log").Bool() || m.points != 0 || m.decision != ""); r.Links[0].Log != log {
		c.errorf("logs: %t, the engine's %t", r.Links[0].Log, log)
	}
	n := 0
	for link := theirs; ; {
		if n == len(r.Links) {
			c.errorf("%d links, the engine has more", n)
			return
		}
		c.link(&r.Links[n], link, n, r.ID)
		n++
		next := inner(link, "Chain")
		if next.IsNil() {
			break
		}
		link = next.Elem()
	}
	if n != len(r.Links) {
		c.errorf("%d links, the engine has %d", len(r.Links), n)
	}
}

func (c *comparison) link(l *prover.Link, theirs reflect.Value, n, id int) {
	c.t.Helper()
	c.counted["links"]++
	if n > 0 && (l.Log || l.Decision != "" || l.SkipAfter != "") {
		c.errorf("link %d logs, decides or skips", n)
	}
	if l.Unclear != "" {
		c.errorf("link %d is unclear: %s", n, l.Unclear)
	}
	for name, ours := range map[string]bool{"Capture": l.Capture, "MultiMatch": l.MultiMatch} {
		if inner(theirs, name).Bool() != ours {
			c.errorf("link %d: %s is %t", n, name, ours)
		}
	}
	var texts []string
	for _, name := range []string{"Msg", "LogData"} {
		if m := inner(theirs, name); !m.IsNil() {
			texts = append(texts, inner(m, "original").String())
		}
	}
	if !slices.Equal(texts, l.Texts) {
		c.errorf("link %d: texts %q, the engine's %q", n, l.Texts, texts)
	}
	c.operator(l, theirs, n)
	c.targets(l, theirs, n)
	c.transformations(l, theirs, n)
	c.actions(l, theirs, n, id)
}

func (c *comparison) operator(l *prover.Link, theirs reflect.Value, n int) {
	c.t.Helper()
	op := inner(theirs, "operator")
	if op.IsNil() {
		if len(l.Targets) > 0 || !reflect.DeepEqual(l.Operator, prover.Operator{}) {
			c.errorf("link %d: operator %+v, the engine has none", n, l.Operator)
		}
		return
	}
	if len(l.Targets) == 0 {
		c.errorf("link %d has no targets", n)
	}
	function := inner(op, "Function").String()
	name := strings.ToLower(strings.TrimPrefix(strings.TrimPrefix(function, "!"), "@"))
	if l.Operator.Name != name || l.Operator.Not != inner(op, "Negation").Bool() || l.Operator.Argument != inner(op, "Data").String() {
		c.errorf("link %d: operator %+v, the engine's %s %q", n, l.Operator, function, inner(op, "Data").String())
	}
	switch name {
	case "pm", "pmfromfile", "pmf":
		c.counted["lists"]++
		if theirs := unlocked(inner(op, "Operator").Elem().Elem().FieldByName("matcher")); !reflect.DeepEqual(theirs, c.automaton(name, l.Operator.List)) {
			c.errorf("link %d: its %d phrases make another automaton than the engine's", n, len(l.Operator.List))
		}
	default:
		if l.Operator.List != nil {
			c.errorf("link %d: a list for %s", n, name)
		}
	}
}

// targets compares the targets that the engine has, with the exceptions of each.
func (c *comparison) targets(l *prover.Link, theirs reflect.Value, n int) {
	c.t.Helper()
	if inner(theirs, "operator").IsNil() {
		return
	}
	pattern := func(v reflect.Value) string {
		if v.IsNil() {
			return ""
		}
		return inner(v, "expr").String()
	}
	key := func(v reflect.Value) string {
		if !inner(v, "KeyRx").IsNil() {
			return ""
		}
		return inner(v, "KeyStr").String()
	}
	var want, got []string
	list := inner(theirs, "variables")
	for i := range list.Len() {
		v := list.Index(i)
		line := fmt.Sprintf("%d key %q pattern %q count %t", inner(v, "Variable").Uint(), key(v), pattern(inner(v, "KeyRx")), inner(v, "Count").Bool())
		exceptions := inner(v, "Exceptions")
		for j := range exceptions.Len() {
			e := exceptions.Index(j)
			line += fmt.Sprintf(" but key %q pattern %q", key(e), pattern(inner(e, "KeyRx")))
		}
		want = append(want, line)
	}
	for i, t := range l.Targets {
		if v, err := vars.Parse(t.Name); err != nil || v != t.Variable {
			c.errorf("link %d: %s is variable %d", n, t.Name, t.Variable)
		}
		if t.Except {
			continue
		}
		line := fmt.Sprintf("%d key %q pattern %q count %t", t.Variable, t.Key, t.Pattern, t.Count)
		for _, e := range l.Targets[i:] {
			if e.Except && e.Variable == t.Variable {
				line += fmt.Sprintf(" but key %q pattern %q", e.Key, e.Pattern)
			}
		}
		got = append(got, line)
	}
	c.counted["targets"] += len(want)
	if !slices.Equal(want, got) {
		c.errorf("link %d: targets\n%s\nthe engine's\n%s", n, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func (c *comparison) transformations(l *prover.Link, theirs reflect.Value, n int) {
	c.t.Helper()
	var want, got []uintptr
	list := inner(theirs, "transformations")
	for i := range list.Len() {
		if p := inner(list.Index(i), "Function").Pointer(); p != c.transformation("sallyport0") {
			want = append(want, p)
		}
	}
	for _, name := range l.Transformations {
		got = append(got, c.transformation(name))
	}
	c.counted["transformations"] += len(want)
	if !slices.Equal(want, got) {
		c.errorf("link %d: transformations %q, the engine's %v", n, l.Transformations, want)
	}
}

// actions compares what the actions of a link come to.
func (c *comparison) actions(l *prover.Link, theirs reflect.Value, n, id int) {
	c.t.Helper()
	var sets, ctls []string
	skipAfter, decision := "", ""
	list := inner(theirs, "actions")
	for i := range list.Len() {
		name, f := inner(list.Index(i), "Name").String(), inner(list.Index(i), "Function").Elem().Elem()
		switch name {
		case "setvar":
			text := "tx." + inner(f, "key", "original").String() + "=" + inner(f, "value", "original").String()
			if inner(f, "isRemove").Bool() {
				text = "!" + text
			}
			sets = append(sets, text)
		case "ctl":
			key := inner(f, "colKey").String()
			if rx := inner(f, "colKeyRx"); !rx.IsNil() {
				key = "/" + inner(rx, "expr").String() + "/"
			}
			ctls = append(ctls, fmt.Sprintf("%s %d %s", inner(f, "value").String(), inner(f, "collection").Uint(), key))
		case "skip":
			c.errorf("link %d: a skip that is counted", n)
		case "skipafter":
			skipAfter = inner(f, "data").String()
		case "allow", "deny", "drop", "redirect":
			decision = name
		case "pass", "block":
			decision = ""
		case "auditlog", "capture", "chain", "exec", "initcol", "log", "logdata", "multimatch", "noauditlog", "nolog", "status", "t":
		default:
			c.errorf("link %d has the action %s", n, name)
		}
	}
	if n == 0 && (l.SkipAfter != skipAfter || l.Decision != decision) {
		c.errorf("it skips to %q and decides %q, the engine's to %q and %q", l.SkipAfter, l.Decision, skipAfter, decision)
	}
	ours := slices.Clone(l.SetVars)
	for i := range ours {
		if text, is := strings.CutPrefix(ours[i], "TX."); is {
			ours[i] = "tx." + text
		}
	}
	c.counted["setvars"] += len(sets)
	if !slices.Equal(ours, sets) {
		c.errorf("link %d: setvar %q, the engine's %q", n, ours, sets)
	}
	var read []string
	for _, text := range l.Ctls {
		_, text, _ = strings.Cut(text, "=")
		value, target, _ := strings.Cut(text, ";")
		name, key, _ := strings.Cut(target, ":")
		v, _ := vars.Parse(strings.TrimSpace(name))
		if key = strings.TrimSpace(key); !strings.HasPrefix(key, "/") {
			key = strings.ToLower(key)
		}
		read = append(read, fmt.Sprintf("%s %d %s", value, v, key))
	}
	c.counted["ctls"] += len(ctls)
	if !slices.Equal(read, ctls) {
		c.errorf("link %d: ctl %q, the engine's %q", n, l.Ctls, ctls)
	}
}

// everyFeature are rules that use what rules can be written with.
const everyFeature = `
SecComponentSignature "mine/1.0"
SecRule ARGS "@rx a\"b\\\\c" "id:1,phase:2,deny,status:451,msg:'a \'quoted\' text, with a comma: and %{tx.a}',logdata:'%{MATCHED_VAR}',tag:'one',tag:two"
SecRule ARGS:/^a|b$/|!ARGS:/^aX|\/c$/|ARGS_NAMES|REQUEST_HEADERS:/^X-(A|B)/|!REQUEST_HEADERS:X-A1|REQUEST_COOKIES:'/^s|t/'|&REQUEST_HEADERS:Host|!ARGS:Late "!@rx ^\d+$" "id:2,phase:request,t:none,pass"
SecRule !ARGS:early|ARGS|!ARGS:late|ARGS|args_get:Id|XML:/*|XML://@*|!XML:/*|&ARGS "@streq A" "id:3"
SecRule ARGS "no operator" "id:4,block,t:lowercase,t:none,t:urlDecode,t:removeNulls,t:NONE,multiMatch,capture"
SecRule ARGS "!not this" "id:5,phase:1,drop,nolog"
SecRule ARGS "!" "id:6,phase:1,allow:phase,noauditlog"
SecRule ARGS "" "id:7,phase:1,redirect:'https://example.org/a,b',log,nolog,auditlog"
SecRule ARGS "@pm  Evil |AA| Two  words" "id:8,phase:1,deny,pass,skipAfter:'END'"
SecRule ARGS|REQUEST_URI "@pmFromFile words.txt" \
    "id:9,\
    phase:logging,\
    # a comment in between
    t:none,t:sha1,t:hexEncode,\
    pass,nolog,\
    setvar:'tx.inbound_anomaly_score_pl1=+%{tx.critical_anomaly_score}'"
SecRule ARGS "!@pmf words.txt" "id:10,phase:response"
SecRule ARGS "@unconditionalMatch" "id:11,phase:2,chain,log,setvar:tx.a=1,skipAfter:END"
  SecRule MATCHED_VAR|TX:/^a/ "@within %{tx.b} c" "t:lowercase,capture,chain,setvar:'TX.b=%{MATCHED_VAR}',msg:'of a link'"
  SecAction "t:none,chain,setvar:tx.c_%{tx.0}=-1"
  SecRule TX:A "@gt 0"
SecAction "id:12,phase:3,pass,nolog,ctl:ruleRemoveTargetById=1;ARGS:Name,ctl:'ruleRemoveTargetByTag=one;REQUEST_COOKIES:/^A,b/',ctl:ruleRemoveById=3-4,ctl:requestBodyProcessor=JSON"
SecAction "id:13,nolog,phase:4"
SecMarker "END"
SecMarker OTHER
SecDataset names ` + "`\none\ntwo\n`" + `
SecRule ARGS "@pmFromDataset names" "id:14,t:none"
SecRule ARGS:skip "@streq 1" "id:15,phase:1,pass,nolog,skip:2"
SecRule ARGS "@ipMatch 192.0.2.0/24,2001:db8::1" "id:16,phase:1"
SecRule HIGHEST_SEVERITY|RULE:id "@validateByteRange 1-255" "id:17,phase:1,t:none,t:lowercase"
SecRule ARGS "@contains  spaces around " "id:18,phase:1"
SecRule ARGS "@rx gone" "id:20,tag:gone,chain"
  SecRule ARGS "@rx too" "t:none"
SecRule ARGS "@rx gone" "id:21,tag:gone,tag:other"
SecRule ARGS "@rx gone" "id:22"
SecRule ARGS "@rx gone" "id:23"
SecRule ARGS "@rx stays" "id:24,tag:other,deny,chain"
  SecRule ARGS "@rx too" "t:none"
SecRuleRemoveByTag gone
SecRuleRemoveById 22-23
SecRuleUpdateTargetById 24 "!ARGS:x,REQUEST_URI"
SecRuleUpdateTargetById 24 "REQUEST_URI|!ARGS:/Y|Z/"
SecRuleUpdateTargetById 1-4 "&REQUEST_COOKIES|!ARGS:One"
SecRuleUpdateTargetByTag other "!ARGS:tagged"
SecRuleUpdateTargetByTag "other" "ARGS_NAMES"
SecRuleUpdateTargetById 13 "ARGS"
SecRuleUpdateActionById 24 "pass,t:lowercase,msg:'other',tag:new,phase:1"
SecRuleUpdateActionById 16-17 "nolog,ctl:ruleRemoveById=5"
SecRuleUpdateActionById 5 "block"
SecRuleUpdateActionById 12 "log,skipAfter:OTHER"
SecRule ARGS "@rx a" "id:25,setvar:'!tx.gone=1'"
`

// compareRules holds the rules of a policy against the engine's.
func compareRules(t *testing.T, name string, p Policy) (plan, []prover.Rule, map[string]int) {
	t.Helper()
	plan, diags, err := planFor(name, p.bounded())
	if err != nil || diags.Fatal() {
		t.Fatal(name, err, diags)
	}
	set, err := plan.build()
	if err != nil {
		t.Fatal(name, err)
	}
	t.Cleanup(func() { set.close() }) //nolint:errcheck // it is not the one that is tested
	rules := plan.proverRules()
	c := &comparison{t: t, where: name, lists: map[string]any{}, by: map[string]uintptr{}, counted: map[string]int{}}
	c.all(set.waf, rules, set.rules)
	return plan, rules, c.counted
}

// TestProverRulesAreTheEngines compares every link of every rule with what the
// engine has compiled.
func TestProverRulesAreTheEngines(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "words.txt"), "# words\n\n  Evil Words \nÄrger\n#more\nevil\n")
	feature := writeFile(t, filepath.Join(dir, "rules.conf"), strings.Replace(everyFeature, "SecRuleUpdateTargetById 24 \"!ARGS:x,REQUEST_URI\"\n", "", 1))
	example, err := fs.ReadFile(coreruleset.FS, "@crs-setup.conf.example")
	if err != nil {
		t.Fatal(err)
	}
	own := release(t, "rules")
	writeFile(t, filepath.Join(own, "crs-setup.conf"), string(example))
	after := writeFile(t, filepath.Join(dir, "after.conf"), "SecRuleUpdateTargetByTag attack-sqli \"!ARGS:sql\"\nSecRuleUpdateActionById 949110 \"drop\"\nSecRuleRemoveByTag attack-xss\nSecRuleRemoveById 930000-930999 913100\n")
	for name, change := range map[string]func(*Policy){
		"level 1":     func(*Policy) {},
		"level 4":     func(p *Policy) { p.Paranoia = 4; p.RulesBefore = []string{feature} },
		"changes":     func(p *Policy) { p.RulesAfter = []string{feature, after}; p.Mode = gate.Watch },
		"exclusions":  func(p *Policy) { p.Exclusions = []Exclusion{exclude(t, "942100", "ARGS:q"), exclude(t, "942430", "")} },
		"own rules":   func(p *Policy) { p.CRS = own },
		"without CRS": func(p *Policy) { p.CRS = crsOff; p.RulesAfter = []string{feature} },
	} {
		p := standard()
		change(&p)
		_, rules, counted := compareRules(t, name, p)
		t.Logf("%s: %v", name, counted)
		core := 0
		for _, r := range rules {
			if r.Core {
				core++
				for _, l := range r.Links {
					for _, by := range l.Transformations {
						if _, ok := transform.Find(by); !ok {
							t.Errorf("%s: rule %d transforms by %s, which package transform has not", name, r.ID, by)
						}
					}
				}
			}
			if r.Place == "" || r.Marker == "" && r.Phase == 0 {
				t.Errorf("%s: rule %d stands at %q in phase %d", name, r.ID, r.Place, r.Phase)
			}
		}
		if got := core > 400; got != (p.CRS != crsOff) {
			t.Errorf("%s: %d rules are of the Core Rule Set", name, core)
		}
	}
}

package prover

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func (c class) String() string {
	return [...]string{"dead", "folded", "depending", "setting", "narrowing", "summing"}[c]
}

func (o outcome) String() string {
	return [...]string{"never", "cleanNever", "asked", "cleanAlways", "always"}[o]
}

// TestWalk holds what rules come to before a request is there.
func TestWalk(t *testing.T) {
	for _, tc := range []struct {
		name, rules string
		want        string // id class and what its links come to, for each
		start       string // what is set when phases begin
	}{
		{"what the request decides", `
ARGS "@rx a" "id:1,log"
ARGS "@rx a" "id:2"
ARGS "@rx a" "id:3,setvar:tx.a=1"
ARGS "@rx a" "id:4,ctl:ruleRemoveById=1"
ARGS "@rx a" "id:5,ctl:auditEngine=Off"
ARGS "@rx a" "id:6,deny"
ARGS "@rx a" "id:7,skipAfter:M"
M`, "1 depending asked; 2 dead asked; 3 setting asked; 4 narrowing asked; 5 dead asked; 6 depending asked; 7 narrowing asked", ""},
		{"what is known", `
- "" "id:1,setvar:tx.a=1"
TX:a "@eq 1" "id:2,setvar:tx.b=2"
TX:b "@eq 3" "id:3,log"
TX:c "@eq 0" "id:4,log"
&TX:c "@eq 0" "id:5,setvar:tx.c=%{tx.b}3"
TX:c "@streq 23" "id:6,setvar:tx.d=1"
&TX:d|TX:nothing "@eq 1" "id:7,setvar:tx.e=1"
TX:A "!@eq 1" "id:8,log"`, "1 folded always; 2 folded always; 3 dead never; 4 dead never; 5 folded always; 6 folded always; 7 folded always; 8 dead never", "2: a=1 b=2 c=23 d=1 e=1"},
		{"what depends on the request", `
ARGS "@rx a" "id:1,setvar:tx.a=1"
TX:a "@eq 1" "id:2,setvar:tx.b=1"
&TX:a "@eq 0" "id:3,setvar:tx.b=1"
- "" "id:4,setvar:tx.c=%{tx.a}"
TX:c "@eq 1" "id:5,log"`, "1 setting asked; 2 setting asked; 3 setting asked; 4 summing always; 5 depending asked", ""},
		{"what only matches set", `
ARGS "@rx a" "id:1,log,setvar:tx.a=+1"
TX:a "@eq 1" "id:2,log"
&TX:a "@eq 0" "id:3,setvar:tx.b=1"
TX:b "@eq 1" "id:4,log"`, "1 depending asked; 2 summing cleanNever; 3 summing cleanAlways; 4 depending cleanAlways", ""},
		{"what is only seen as a match", `
ARGS "@rx a" "id:1,log,setvar:tx.a=1"
 ARGS "@rx b" ""
TX:a "@eq 1" "id:2,log"`, "1 depending asked asked; 2 depending asked", ""},
		{"skips that are certain", `
- "" "id:1,setvar:tx.level=1"
TX:level "@lt 2" "id:2,skipAfter:END"
ARGS "@rx a" "id:3,log"
- "" "id:4,setvar:tx.a=1"
END
TX:level "@lt 1" "id:5,skipAfter:LATER"
ARGS "@rx a" "id:6,log"
LATER
&TX:a "@eq 0" "id:7,setvar:tx.b=1"`, "1 folded always; 2 folded always; 3 dead ; 4 dead ; 5 dead never; 6 depending asked; 7 folded always", "2: b=1 level=1"},
		{"skips that the request decides", `
ARGS "@rx a" "id:1,skipAfter:END"
- "" "id:2,setvar:tx.a=1"
ARGS "@rx a" "id:3,log"
END
TX:a "@eq 1" "id:4,log"
- "" "id:5,setvar:tx.b=1"
TX:b "@eq 1" "id:6,setvar:tx.c=1"`, "1 narrowing asked; 2 setting always; 3 depending asked; 4 depending asked; 5 folded always; 6 folded always", "2: b=1 c=1"},
		{"skips within skips", `
ARGS "@rx a" "id:1,skipAfter:OUTER"
ARGS "@rx b" "id:2,skipAfter:INNER"
- "" "id:3,setvar:tx.a=1"
INNER
- "" "id:4,setvar:tx.b=1"
OUTER
- "" "id:5,setvar:tx.c=1"`, "1 narrowing asked; 2 narrowing asked; 3 setting always; 4 setting always; 5 folded always", "2: c=1"},
		{"skips that overlap", `
ARGS "@rx a" "id:1,skipAfter:FIRST"
ARGS "@rx b" "id:2,skipAfter:SECOND"
FIRST
- "" "id:3,setvar:tx.a=1"
SECOND
- "" "id:4,setvar:tx.b=1"`, "1 narrowing asked; 2 narrowing asked; 3 setting always; 4 folded always", "2: b=1"},
		{"certain skips in those that are not", `
- "" "id:1,setvar:tx.level=1"
ARGS "@rx a" "id:2,skipAfter:OUTER"
TX:level "@lt 2" "id:3,skipAfter:INNER"
ARGS "@rx b" "id:4,log"
INNER
ARGS "@rx c" "id:5,log"
OUTER
TX:level "@lt 2" "id:6,skipAfter:END"
ARGS "@rx d" "id:7,log"
END`, "1 folded always; 2 narrowing asked; 3 folded always; 4 dead ; 5 depending asked; 6 folded always; 7 dead ", "2: level=1"},
		{"a certain skip that leaves one that is not", `
ARGS "@rx a" "id:1,skipAfter:INNER"
- "" "id:2,skipAfter:OUTER"
INNER
ARGS "@rx c" "id:3,log"
OUTER`, "1 narrowing asked; 2 narrowing always; 3 depending asked", ""},
		{"chains that set for themselves", `
ARGS "@rx a" "id:1,log,setvar:tx.a=1"
 TX:a "@eq 1" ""
ARGS "@rx a" "id:2,log,setvar:tx.b=1"
 ARGS "@streq %{tx.b}" ""
- "" "id:3,setvar:tx.c=1"
 TX:c "@eq 1" "setvar:tx.d=1"`, "1 depending asked asked; 2 depending asked asked; 3 setting always asked", ""},
		{"what is added", `
- "" "id:1,setvar:tx.a=1"
- "" "id:2,setvar:tx.a=+2"
- "" "id:3,setvar:tx.a=-1"
- "" "id:4,setvar:tx.B=+%{tx.A}"
TX:a|TX:b "@eq 2" "id:5,setvar:tx.c=+1"
TX:c "@eq 2" "id:6,log"
- "" "id:7,setvar:tx.d=5"
- "" "id:8,setvar:!tx.d=0"
&TX:d "@eq 0" "id:9,setvar:tx.e=1"`, "1 folded always; 2 folded always; 3 folded always; 4 folded always; 5 summing always; 6 depending asked; 7 folded always; 8 summing always; 9 folded always", "2: a=2 b=2 d=5 e=1"},
		{"the order of what is set and looked at", `
ARGS "@rx x" "id:1,log"
&TX:a "@eq 0" "id:2,setvar:tx.b=1,ctl:ruleRemoveById=1"
- "" "id:3,setvar:tx.a=1"
TX:a "@eq 1" "id:4,setvar:tx.c=1"`, "1 depending asked; 2 setting always; 3 summing always; 4 folded always", "2: c=1"},
		{"phases", `
- "" "id:1,phase:1,setvar:tx.a=1"
- "" "id:2,phase:2,setvar:tx.b=%{tx.a}"
- "" "id:3,phase:3,setvar:tx.c=1"
TX:b "@eq 1" "id:4,phase:5,log"
TX:c "@eq 1" "id:5,phase:5,log"
TX:a "@eq 1" "id:6,phase:5,setvar:tx.d=1"
- "" "id:7,phase:5,setvar:tx.e=1"
&TX:a "@eq 0" "id:8,phase:5,log"`, "1 folded always; 2 folded always; 3 folded always; 4 depending asked; 5 depending asked; 6 summing always; 7 summing always; 8 dead never", "1: a=1; 2: b=1; 3: c=1"},
		{"phases that end early", `
ARGS "@rx a" "id:1,phase:1,deny"
- "" "id:2,phase:1,setvar:tx.a=1"
TX:score "@ge 5" "id:3,phase:2,deny"
- "" "id:4,phase:2,setvar:tx.b=1"
TX:b "@eq 1" "id:5,phase:3,setvar:tx.c=1"
ARGS "@rx a" "id:6,phase:2,log,setvar:tx.score=+5"
 ARGS "@rx b" ""`, "1 depending asked; 2 folded always; 3 dead never; 4 folded always; 5 folded always; 6 depending asked asked", "1: a=1; 2: b=1; 3: c=1"},
		{"scores that end a phase", `
ARGS "@rx a" "id:1,phase:2,log,setvar:tx.score=+5"
TX:score "@ge 5" "id:2,phase:2,deny"
- "" "id:3,phase:2,setvar:tx.a=1"
TX:a "@eq 1" "id:4,phase:2,setvar:tx.b=1"
TX:a "@eq 1" "id:5,phase:3,setvar:tx.c=1"`, "1 depending asked; 2 summing cleanNever; 3 summing always; 4 summing always; 5 summing cleanAlways", ""},
		{"names that are made up", `
ARGS "@rx a" "id:1,setvar:tx.a_%{MATCHED_VAR}=1"
TX:a_b "@eq 1" "id:2,log"
&TX:a_b "@eq 0" "id:3,log"
TX:b "@eq 1" "id:4,log"
TX:/^a/ "@eq 1" "id:5,log"
TX "@eq 1" "id:6,log"`, "1 setting asked; 2 depending asked; 3 depending asked; 4 dead never; 5 depending asked; 6 depending asked", ""},
		{"captures and facts", `
TX:1 "@eq 1" "id:1,log"
TX:json_request_body "@eq 1" "id:2,log"
&TX:0 "@eq 0" "id:3,log"`, "1 depending asked; 2 depending asked; 3 depending asked", ""},
		{"every request", `
- "" "id:1,log"
- "" "id:2,ctl:ruleRemoveById=1"`, "1 depending always; 2 narrowing always", ""},
		{"what a link sets before scores decide", `
ARGS "@rx a" "id:1,log,setvar:tx.a=1"
ARGS "@rx b" "id:2,setvar:tx.b=1"
 TX:a "@eq 1" ""
ARGS "@rx b" "id:3"
 TX:a "@eq 1" "setvar:tx.b=1"`, "1 depending asked; 2 setting asked cleanNever; 3 summing asked cleanNever", ""},
		{"exceptions", `
- "" "id:1,setvar:tx.a=1"
TX:a|!TX:b "@eq 1" "id:2,log"`, "1 folded always; 2 depending asked", "2: a=1"},
		{"transformations and operators of what is known", `
- "" "id:1,setvar:tx.a=AbC"
TX:a "@streq abc" "id:2,t:lowercase,setvar:tx.b=1"
TX:a "@rx ^A" "id:3,t:lowercase,log"
TX:a "@rx ^A" "id:4,t:lowercase,multiMatch,setvar:tx.c=1"
TX:a "@pm bc zz" "id:5,setvar:tx.d=1"
TX:a "@streq abc" "id:6,t:unheard,log"
TX:a "@unheard abc" "id:7,log"`, "1 folded always; 2 folded always; 3 dead never; 4 folded always; 5 folded always; 6 depending asked; 7 depending asked", "2: a=AbC b=1 c=1 d=1"},
	} {
		w := walkRules(sec(t, tc.rules), map[string]string{}, nil)
		var got, start []string
		for i := range w.rules {
			if r := &w.rules[i]; r.Marker == "" {
				got = append(got, fmt.Sprintf("%d %s %s", r.ID, w.class[i], strings.Trim(fmt.Sprint(w.links[i]), "[]")))
			}
		}
		for phase, set := range w.start {
			var names []string
			for _, name := range slices.Sorted(maps.Keys(set)) {
				names = append(names, name+"="+set[name])
			}
			if len(names) > 0 {
				start = append(start, fmt.Sprintf("%d: %s", phase, strings.Join(names, " ")))
			}
		}
		if s := strings.Join(got, "; "); s != tc.want {
			t.Errorf("%s:\n%s\nwant\n%s", tc.name, s, tc.want)
		}
		if s := strings.Join(start, "; "); s != tc.start {
			t.Errorf("%s: begins with %q, want %q", tc.name, s, tc.start)
		}
	}
}

// TestWhole tells which rules make all of them run where they may match.
func TestWhole(t *testing.T) {
	for _, tc := range []struct {
		rules string
		want  []int
	}{
		{`ARGS "@rx a" "id:1,ctl:requestBodyProcessor=JSON"`, []int{1}},
		{`ARGS "@rx a" "id:1,ctl:forceRequestBodyVariable=On"`, nil},
		{`ARGS "@rx a" "id:1,ctl:ruleEngine=Off"`, []int{1}}, // rules behind it may have set what people see
		{`ARGS "@rx a" "id:1,ctl:ruleEngine=DetectionOnly"`, []int{1}},
		{`ARGS "@rx a" "id:1,ctl:ruleRemoveById=2"
ARGS "@rx b" "id:2,log"`, nil},
		{`ARGS "@rx a" "id:1,ctl:ruleRemoveById=2"
- "" "id:2,setvar:tx.a=1"`, []int{1}}, // who is always run
		{`ARGS "@rx a" "id:1,ctl:ruleRemoveById=2"
ARGS "@rx b" "id:2,log,setvar:tx.score=+5"
TX:score "@ge 5" "id:3,deny"`, nil}, // scores that are missing
		{`ARGS "@rx a" "id:1,ctl:ruleRemoveById=2"
ARGS "@rx b" "id:2,setvar:tx.a=1"
TX:a "!@eq 1" "id:3,log"`, []int{1}},
		{`ARGS "@rx a" "id:1,ctl:ruleRemoveTargetById=2;ARGS:x"
ARGS "@rx b" "id:2,setvar:tx.a=1"
TX:a "!@eq 1" "id:3,log"`, []int{1}},
		{`ARGS "@rx a" "id:1,ctl:ruleRemoveTargetById=2;ARGS:x"
&ARGS "@eq 0" "id:2,log"`, []int{1}},
		{`ARGS "@rx a" "id:1,ctl:ruleRemoveTargetById=2;ARGS:x"
ARGS|&REQUEST_COOKIES "@eq 0" "id:2,log"`, nil},
		{`ARGS "@rx a" "id:1,ctl:ruleRemoveTargetById=2;NOSUCH:x"
ARGS "@eq 0" "id:2,log"`, []int{1}},
		{`- "" "id:1,ctl:ruleRemoveById=2"
ARGS "@rx b" "id:2,setvar:tx.a=1"
TX:a "!@eq 1" "id:3,log"`, []int{1}}, // in every request
		{`- "" "id:1,ctl:ruleRemoveById=2"
ARGS "@rx b" "id:2,log"`, nil},
		{`ARGS "@rx a" "id:1,ctl:ruleRemoveByTag=x"
ARGS "@rx b" "id:2,log,tag:x"
ARGS "@rx b" "id:3,tag:y,skipAfter:M"
M`, nil},
		{`ARGS "@rx a" "id:1,ctl:ruleRemoveByTag=y"
ARGS "@rx b" "id:3,tag:y,skipAfter:M"
ARGS "@rx b" "id:4,log"
M`, []int{1}},
		{`ARGS "@rx a" "id:1,ctl:ruleRemoveByMsg=anything"
- "" "id:2,setvar:tx.a=1"`, []int{1}},
		{`ARGS "@rx a" "id:1,ctl:ruleRemoveById=5-9"
- "" "id:2,setvar:tx.a=1"`, nil},
		{`ARGS "@rx a" "id:1,ctl:ruleRemoveById=1-9"
- "" "id:2,setvar:tx.a=1"`, []int{1}},
		{`ARGS "@rx a" "id:1,ctl:ruleRemoveById=%{tx.a}"`, []int{1}},
		{`ARGS "@rx a" "id:1,log,msg:%{TX.1}"`, []int{1}},
		{`ARGS "@rx (a)" "id:1,log,capture,msg:%{TX.1}"`, nil},
		{`ARGS "@rx (a)" "id:1,log,capture,msg:%{TX.2}"`, []int{1}},
		{`ARGS "!@rx (a)" "id:1,log,capture,msg:%{TX.1}"`, []int{1}},
		{`ARGS "@rx (a)(b)(c)(d)(e)(f)(g)(h)(i)" "id:1,log,capture,msg:%{TX.8}"`, nil},
		{`ARGS "@rx (a)(b)(c)(d)(e)(f)(g)(h)(i)" "id:1,log,capture,msg:%{TX.9}"`, []int{1}},
		{`ARGS "@pm a b" "id:1,log,capture,msg:%{TX.0}"`, nil},
		{`ARGS "@pm a b" "id:1,log,capture,msg:%{TX.1}"`, []int{1}},
		{`ARGS "@detectXSS" "id:1,log,capture,msg:%{TX.0}"`, []int{1}},
		{`ARGS "@rx a" "id:1,log,msg:%{MATCHED_VAR}"`, nil},
		{`MATCHED_VAR "@rx a" "id:1,log"`, []int{1}},
		{`ARGS "@streq %{MATCHED_VAR}" "id:1,log"`, []int{1}},
		{`ARGS "@rx a" "id:1,log,msg:%{RULE.id}"`, []int{1}},
		{`ARGS "@rx a" "id:1,log,msg:%{HIGHEST_SEVERITY}"`, []int{1}},
		{`HIGHEST_SEVERITY "@le 2" "id:1,log"`, []int{1}},
		{`TX "@rx a" "id:1,log"`, []int{1}},
		{`TX:/./ "@rx a" "id:1,log"`, []int{1}},
		{`TX:/^a/ "@rx a" "id:1,log"`, nil},
		{`TX:1 "@rx a" "id:1,log"`, []int{1}},
		{`ARGS "@rx (a)" "id:1,capture,log"
 TX:1 "@rx a" ""`, nil},
		{`ARGS "@rx (a)" "id:1,capture,setvar:tx.a=%{TX.1}"`, nil},
		{`ARGS "@rx a" "id:1,setvar:tx.a=%{TX.1}"`, []int{1}},
		{`ARGS "@rx a" "id:1,phase:1,deny"
- "" "id:2,phase:1,setvar:tx.a=1"`, []int{1}},
		{`- "" "id:2,phase:1,setvar:tx.a=1"
ARGS "@rx a" "id:1,phase:1,deny"`, nil},
		{`ARGS "@rx a" "id:1,phase:1,allow"
- "" "id:2,phase:2,setvar:tx.a=1"`, nil},
		{`ARGS "@rx a" "id:1,phase:5,deny"
- "" "id:2,phase:5,setvar:tx.a=1"`, nil},
	} {
		p := proverOf(t, tc.rules)
		var got []int
		for _, r := range p.rules {
			if r.whole {
				got = append(got, r.ID)
			}
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s:\n%v make all run, want %v", tc.rules, got, tc.want)
		}
	}
}

// TestReasons tells why requests are not proven, or not even guided.
func TestReasons(t *testing.T) {
	for _, tc := range []struct {
		rules    string
		declines bool
		want     string // part of the reasons; empty: there is none
	}{
		{`ARGS "@rx a" "id:1,log"`, false, ""},
		{`ARGS "@verifyCC a" "id:1,log"`, true, "what @verifycc does is not known"},
		{`ARGS "@verifyCC a" "id:1"`, true, "what @verifycc does is not known"},
		{`ARGS "@validateNid us a" "id:1,log"`, false, "what @validatenid looks for is not known"},
		{`ARGS "@inspectFile a" "id:1,log"`, true, "what @inspectfile does is not known"}, // it runs a program
		{`REMOTE_ADDR "@rbl a" "id:1"`, true, "what @rbl does is not known"},              // it fills TX:httpbl_msg
		{`REMOTE_ADDR "@rbl a" "id:1"
TX:httpbl_msg "@rx ." "id:2,log"`, true, "what @rbl does is not known"},
		{`NOSUCH "@rx a" "id:1,log"`, false, "what NOSUCH holds is not known before it runs"},
		{`TIME "@rx a" "id:1,log"`, false, "what TIME holds is not known before it runs"},
		{`TIME "@rx a" "id:1,log"
 ARGS "@rx a" ""`, false, ""},
		{`ARGS "@rx a" "id:1,log,t:unheard"`, false, "what t:unheard makes of a value is not known"},
		{`ARGS "@rx a" "id:1,t:unheard,setvar:tx.a=1"`, false, ""},
		{`ARGS "@rx a" "id:1,odd:an odd action"`, true, "an odd action"},
		{`ARGS "@rx a" "id:1,unclear:nobody knows"`, true, "nobody knows"},
		{`ARGS "@rx a" "id:1,skipAfter:NOWHERE"`, true, `rule 1 (test): no marker "NOWHERE" ends what is skipped in phase 2`},
		{`ARGS "@rx a" "skipAfter:NOWHERE"`, true, `test: no marker "NOWHERE" ends`}, // it has no id
		{`HERE
ARGS "@rx a" "id:1,skipAfter:HERE"`, true, `no marker "HERE"`},
		{`TX:a "@rx a" "id:1,skipAfter:NOWHERE"`, false, ""}, // never
		{`- "" "id:1,log"`, false, "it has an effect on every request"},
		{`- "" "id:1,ctl:ruleRemoveById=5"`, false, "applies to every request"},
		{`ARGS "@rx a" "id:1,setvar:%{MATCHED_VAR}=1"`, false, "is not understood"},
		{`ARGS "@rx a" "id:1,setvar:tx.%{MATCHED_VAR}=1"`, false, "may set any variable"},
		{`ARGS "@rx a" "id:1,setvar:tx.a=1"
&TX:a "@eq 0" "id:2,log"`, false, "what it looks at is not known"},
		{`TIME "@rx a" "id:1,setvar:tx.a=1,t:unheard"
TX:a "@eq 1" "id:2,log"`, false, "what other rules set for it cannot be followed"},
	} {
		p := proverOf(t, tc.rules)
		var all []string
		for _, r := range p.Reasons() {
			all = append(all, r.String())
		}
		text := strings.Join(all, "\n")
		if p.Declines() != tc.declines || !strings.Contains(text, tc.want) || (text == "") != (tc.want == "") {
			t.Errorf("%s:\ndeclines %v, %q; want %v, %q", tc.rules, p.Declines(), text, tc.declines, tc.want)
		}
		if answer, _ := judged(t, p, []string{"ARGS_GET:x=y"}, nil); tc.declines != (answer == Full) {
			t.Errorf("%s:\nthe answer is %d", tc.rules, answer)
		}
	}
}

// TestValue tells what variables hold when nothing has matched.
func TestValue(t *testing.T) {
	p := proverOf(t, `
- "" "id:1,phase:1,setvar:tx.a=1"
ARGS "@rx a" "id:2,phase:1,setvar:tx.b=1"
- "" "id:3,phase:2,setvar:tx.c=1"
ARGS "@rx a" "id:4,phase:1,log,setvar:tx.d=1"`, Setting{"Level", "2"}, Setting{"d", "7"})
	for name, want := range map[string]string{"A": "1", "b": "", "c": "", "level": "2", "d": "7", "e": ""} {
		if got, ok := p.Value(name); got != want && ok || ok != (want != "") {
			t.Errorf("%s is %q, %v, want %q", name, got, ok, want)
		}
	}
	if want := []Setting{{"d", "7"}, {"level", "2"}}; !reflect.DeepEqual(p.Start(0, false), want) {
		t.Errorf("begins with %v, want %v", p.Start(0, false), want)
	}
}

package prover

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	vars "github.com/corazawaf/coraza/v3/types/variables"
)

func (a Answer) String() string { return [...]string{"proven", "guided", "full"}[a] }

// TestJudge asks about requests: the answer, and of those that are not left out,
// the rules that look at requests.
func TestJudge(t *testing.T) {
	args := func(pairs ...string) []string {
		for i := range pairs {
			pairs[i] = "ARGS_GET:" + pairs[i]
		}
		return pairs
	}
	for _, tc := range []struct {
		name, rules string
		asked       []struct {
			head, body []string
			want       string // the answer, and the rules that are kept
		}
	}{
		{"values", `
ARGS "@rx ^evil$" "id:1,log"
ARGS:named "@streq x" "id:2,log"
ARGS:/^pre/|!ARGS:preX|!ARGS:/Y$/ "@contains x" "id:3,log"
ARGS_NAMES "@streq name" "id:4,log"
ARGS_NAMES:Key "@rx ." "id:5,log"
REQUEST_HEADERS:x-a "@rx ." "id:6,log"
ARGS "@rx ^%65vil$" "id:7,log,multiMatch,t:urlDecode,t:lowercase"`, []struct {
			head, body []string
			want       string
		}{
			{args("a=b"), nil, "proven []"},
			{args("a=evil"), nil, "guided [1]"},
			{nil, []string{"ARGS_POST:a=evil"}, "guided [1]"},
			{args("a=b", "named=x"), nil, "guided [2]"},
			{args("NAMED=x"), nil, "guided [2]"}, // names are filed in lower case
			{args("prefix=x"), nil, "guided [3]"},
			{args("prex=x"), nil, "proven []"},
			{args("PREFIX=x"), nil, "guided [3]"},
			{args("pre_y=x"), nil, "guided [3]"}, // the pattern is as it is written
			{args("name=b"), nil, "guided [4]"},
			{args("key=b", "Key=c"), nil, "proven []"}, // no name is in capitals
			{[]string{"REQUEST_HEADERS:X-A=1"}, nil, "guided [6]"},
			{args("a=%65vil"), nil, "guided [7]"},
			{args("a=EVIL"), nil, "proven []"},
		}},
		{"in small letters", `
ARGS "@rx ab(?:c|d)" "id:1,log,t:lowercase"
ARGS "@rx AB(?:C|D)" "id:2,log"
ARGS "@rx ^ab-12$" "id:3,log,t:lowercase,t:removeCommentsChar"
ARGS:word "!@rx ^[a-z]+$" "id:4,log,t:lowercase"
ARGS "@within axe ayes" "id:5,log,t:lowercase,t:none,t:cmdLine"
ARGS "@pm needle hay" "id:6,log,t:cmdLine"
ARGS "@validateByteRange 32-126" "id:7,log,t:lowercase"`, []struct {
			head, body []string
			want       string
		}{
			{args("a=xyz"), nil, "proven []"},
			{args("a=Xyz"), nil, "proven []"},
			{args("a=abc"), nil, "guided [1]"},
			{args("a=Abc"), nil, "guided [1]"},
			{args("a=ABC"), nil, "guided [1 2]"},
			{args("a=AB-12"), nil, "guided [3]"},
			{args("a=AB-1-2"), nil, "proven []"},
			{args("word=Abz"), nil, "proven []"},
			{args("word=Ab1"), nil, "guided [4]"},
			{args("a=AXE"), nil, "guided [5]"},
			{args("a=A XE"), nil, "proven []"},
			{args("a=a NEEDLE"), nil, "guided [6]"},
			{args("a=a NEE^DLE"), nil, "guided [6]"},
			{args("a=A\x01"), nil, "guided [7]"},
			{args("a=\u212a"), nil, "proven []"}, // which lowercase makes a k of
		}},
		{"counts", `
&ARGS "@eq 2" "id:1,log"
&ARGS:a "@gt 1" "id:2,log"
&ARGS:/^x/ "@ge 2" "id:3,log"
&REQUEST_HEADERS:Host "@eq 0" "id:4,log"
&REQUEST_COOKIES "@gt 16" "id:5,log"
&REQUEST_METHOD "@eq 0" "id:6,log"`, []struct {
			head, body []string
			want       string
		}{
			{[]string{"REQUEST_HEADERS:host=a"}, nil, "proven []"},
			{nil, nil, "guided [4]"},
			{append(args("a=1", "b=2"), "REQUEST_HEADERS:HOST=a"), nil, "guided [1]"},
			{append(args("a=1", "A=2", "c=3"), "REQUEST_HEADERS:HOST=a"), nil, "guided [2]"},
			{append(args("x=1", "Xy=2", "c=3"), "REQUEST_HEADERS:HOST=a"), nil, "guided [3]"},
			{append(strings.Split(strings.Repeat("REQUEST_COOKIES:c=1 ", 17), " ")[:17], "REQUEST_HEADERS:HOST=a"), nil, "guided [5]"},
			{append(strings.Split(strings.Repeat("REQUEST_COOKIES:c=1 ", 16), " ")[:16], "REQUEST_HEADERS:HOST=a"), nil, "proven []"},
		}},
		{"chains", `
ARGS:a "@rx ^(\w+)-(\w+)$" "id:1,log,capture"
 TX:2 "@streq %{TX.1}" ""
ARGS:b "@rx ^x" "id:2,log"
 MATCHED_VAR "@rx z$" ""
ARGS:c "@rx ^x" "id:3,log"
 MATCHED_VARS "!@rx z$" ""
ARGS:d "@rx ." "id:4,log"
 &ARGS:e "@eq 0" ""
ARGS:f "@rx ." "id:5,log"
 ARGS:g "@streq %{MATCHED_VAR}" ""
ARGS:h "@rx ." "id:6,log,setvar:tx.sum=+%{MATCHED_VAR}"
 TX:sum "@gt 4" ""
ARGS:i "@rx ^(.)" "id:7,log,capture,setvar:tx.name_%{TX.1}=%{MATCHED_VAR}"
 TX:/^name_b/ "@streq b9" ""
ARGS:j "@streq %{REQUEST_HEADERS.host}" "id:8,log"
ARGS:k "@rx ." "id:9,log"
 MATCHED_VARS_NAMES "@streq ARGS:k" ""`, []struct {
			head, body []string
			want       string
		}{
			{args("a=x-y"), nil, "proven []"},
			{args("a=x-x"), nil, "guided [1]"},
			{args("a=x-x", "a=x-y"), nil, "guided [1]"}, // which of them is the last is not known
			{args("b=xy"), nil, "proven []"},
			{args("b=xz", "b=xy"), nil, "guided [2]"},
			{args("c=xz"), nil, "proven []"},
			{args("c=xz", "c=xy"), nil, "guided [3]"},
			{args("d=1"), nil, "guided [4]"},
			{args("d=1", "e=1"), nil, "proven []"},
			{args("f=1", "g=2"), nil, "proven []"},
			{args("f=1", "g=1"), nil, "guided [5]"},
			{args("h=2", "h=2"), nil, "proven [6]"}, // it sets something before it matches
			{args("h=2", "h=3"), nil, "guided [6]"},
			{args("i=a9"), nil, "proven [7]"},
			{args("i=b9"), nil, "guided [7]"},
			{append(args("j=x"), "REQUEST_HEADERS:Host=y"), nil, "proven []"},
			{append(args("j=x"), "REQUEST_HEADERS:Host=x"), nil, "guided [8]"},
			{args("j=REQUEST_HEADERS.host"), nil, "guided [8]"},
			{args("k=1"), nil, "guided [9]"},
		}},
		{"who sets and who reads", `
ARGS:a "@rx ." "id:1,phase:1,setvar:tx.a=%{MATCHED_VAR}"
ARGS:b "@rx ." "id:2,phase:1,setvar:tx.b=%{tx.a}"
TX:b "@streq x" "id:3,phase:1,log"
ARGS:c "@rx ." "id:4,phase:1,setvar:tx.c=1"
 ARGS:d "@rx ." "setvar:tx.c=2"
TX:c "@eq 1" "id:5,phase:1,log"
TX:c "@eq 2" "id:6,phase:2,log"
- "" "id:7,phase:1,setvar:tx.e=5"
ARGS:e "@rx ." "id:8,phase:1,setvar:tx.e=1"
TX:e "@eq 5" "id:9,phase:1,log"
 ARGS:e "@rx ." ""
TX:e "@eq 5" "id:10,phase:2,log"
 ARGS:e "@rx ." ""`, []struct {
			head, body []string
			want       string
		}{
			{args("z=1"), nil, "proven []"},
			{args("a=x"), nil, "proven [1]"},
			{args("a=x", "b=1"), nil, "guided [1 2 3]"},
			{args("a=y", "b=1"), nil, "proven [1 2]"},
			{args("c=1"), nil, "guided [4 5]"},
			{args("c=1", "d=1"), nil, "guided [4 5 6]"}, // 5: it may have one value or the other
			{args("e=1"), nil, "guided [8 10]"},         // 10: the other phase may not have run
		}},
		{"where it may be skipped", `
- "" "id:1,phase:1,setvar:tx.a=5"
ARGS:s "@rx ." "id:2,phase:2,skipAfter:END"
ARGS:a "@rx ." "id:3,phase:2,setvar:tx.a=1"
ARGS:x "@rx ." "id:4,phase:2,log"
END
TX:a "@eq 5" "id:5,phase:2,log"
 ARGS:a "@rx ." ""`, []struct {
			head, body []string
			want       string
		}{
			{args("z=1"), nil, "proven []"},
			{args("a=1"), nil, "guided [3 5]"},
			{args("s=1"), nil, "proven [2]"},
			{args("s=1", "x=1"), nil, "guided [2 4]"},
		}},
		{"all of them", `
ARGS:force "@streq json" "id:1,phase:1,ctl:requestBodyProcessor=JSON"
ARGS:a "@rx ." "id:2,phase:2,log"`, []struct {
			head, body []string
			want       string
		}{
			{args("force=xml"), nil, "proven []"},
			{args("force=json"), nil, "full [1]"},
			{args("a=1"), nil, "guided [2]"},
		}},
		{"a list of names", `
REQUEST_HEADERS_NAMES "@rx ^.*$" "id:1,phase:1,log,capture,t:lowercase,setvar:tx.h_%{tx.0}=/%{tx.0}/"
 TX:/^h_/ "@within /proxy-x/ /proxy/ /if/" ""`, []struct {
			head, body []string
			want       string
		}{
			{[]string{"REQUEST_HEADERS:Host=a"}, nil, "proven []"},
			{[]string{"REQUEST_HEADERS:Proxy=a"}, nil, "guided [1]"},
			{[]string{"REQUEST_HEADERS:IF=a"}, nil, "guided [1]"},
			{[]string{"REQUEST_HEADERS:prox=a", "REQUEST_HEADERS:/ /=a"}, nil, "proven []"},
		}},
	} {
		p := proverOf(t, tc.rules)
		if p.Declines() {
			t.Errorf("%s: %v", tc.name, p.Reasons())
		}
		for _, q := range tc.asked {
			answer, kept := judged(t, p, q.head, q.body)
			kept = slices.DeleteFunc(kept, func(id int) bool { _, asked := p.byID[id]; return !asked })
			if got := fmt.Sprintf("%s %v", answer, kept); got != q.want {
				t.Errorf("%s, %v and %v: %s, want %s", tc.name, q.head, q.body, got, q.want)
			}
		}
	}
}

// TestShown keeps rules that set what records show.
func TestShown(t *testing.T) {
	p, err := New(sec(t, `ARGS:a "@rx ." "id:1,phase:1,setvar:tx.shown=1"
ARGS:b "@rx ." "id:2,phase:1,setvar:tx.hidden=1"
ARGS:c "@rx ." "id:3,phase:1,setvar:tx.sho%{MATCHED_VAR}=1"`), nil, []string{"shown"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]Answer{"a": Guided, "b": Proven, "c": Guided, "d": Proven} {
		if answer, _ := judged(t, p, []string{"ARGS_GET:" + name + "=x"}, nil); answer != want {
			t.Errorf("%s: %s, want %s", name, answer, want)
		}
	}
}

// TestEarly follows rules that set something before they match as a whole: they are
// kept from the first link on that sets something, and where that is shown, it
// counts.
func TestEarly(t *testing.T) {
	p, err := New(sec(t, `
ARGS:a "@rx ." "id:1,phase:1,setvar:tx.a=1"
 ARGS:b "@rx ." "setvar:tx.b=1"
 ARGS:c "@rx ." ""
ARGS:d "@rx ." "id:2,phase:1,setvar:tx.shown=1"
 ARGS:e "@rx ." ""
ARGS:f "@rx ." "id:3,phase:1"
 ARGS:g "@rx ." "setvar:tx.shown=1"
 ARGS:h "@rx ." ""
ARGS:i "@rx ." "id:4,phase:1,setvar:tx.b=1"
 ARGS:k "@rx ." "setvar:tx.shown=1"
ARGS:z "@rx ." "id:5,phase:1,log"`), nil, []string{"shown"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ names, want string }{
		{"", "proven []"},
		{"z", "guided [5]"},
		{"az", "guided [1 5]"}, // its first link sets something, which its second does, too
		{"bz", "guided [5]"},
		{"a", "proven [1]"},
		{"d", "guided [2]"},
		{"e", "proven []"},
		{"f", "proven []"},
		{"fg", "guided [3]"},
		{"fh", "proven []"},
		{"i", "proven [4]"},
		{"ik", "guided [4]"},
	} {
		var head []string
		for _, name := range tc.names {
			head = append(head, "ARGS_GET:"+string(name)+"=x")
		}
		answer, kept := judged(t, p, head, nil)
		if got := fmt.Sprint(answer, " ", kept); got != tc.want {
			t.Errorf("%q: %s, want %s", tc.names, got, tc.want)
		}
	}
}

// TestAlways holds that what happens in every request that nothing matches, and what
// is left alone then, is known for what it is.
func TestAlways(t *testing.T) {
	// An effect in each request that no rule matches is one in most requests.
	p := proverOf(t, `
ARGS:a "@rx ." "id:1,phase:1,log,setvar:tx.a=1"
&TX:a "@eq 0" "id:2,phase:1,log"
&TX:a "@eq 1" "id:3,phase:1,log"`)
	if answer, kept := judged(t, p, []string{"ARGS_GET:b=1"}, nil); answer != Guided || !slices.Contains(kept, 2) {
		t.Errorf("a rule that logs where nothing else does: %s, kept %v", answer, kept)
	}
	// What a setvar action leaves alone is not set from the start either.
	p = proverOf(t, `
- "" "id:1,phase:1,setvar:tx.a=+%{tx.none}"
- "" "id:2,phase:1,setvar:tx.b=+%{tx.one},setvar:tx.c=+1"`, Setting{"one", "1"})
	if want := []Setting{{"b", "1"}, {"c", "1"}}; !slices.Equal(p.Start(1, false), want) {
		t.Errorf("phase 1 begins with %v, want %v", p.Start(1, false), want)
	}
	// What is set in every request may not be taken out, even if it is set by a rule
	// that shows something, or that does not match as a whole.
	p = proverOf(t, `
- "" "id:1,phase:1,log,setvar:tx.a=1"
- "" "id:2,phase:1,setvar:tx.b=1"
 TX:none "@eq 1" ""
- "" "id:3,phase:1,log"
ARGS:a "@rx ." "id:4,phase:1,setvar:tx.c=1"`)
	for id, want := range map[int]Answer{1: Full, 2: Full, 3: Guided, 4: Guided, 5: Guided} {
		j := p.Judge(facts(t, "ARGS_GET:b=1"), nil)
		j.Exclude(id)
		if got := j.Phase(1); got != want {
			t.Errorf("without rule %d: %s, want %s", id, got, want)
		}
		j.Close()
	}
}

// TestShownAlways counts what is shown and set in every request behind the head, as
// of a request that is proven the variables after the head are told.
func TestShownAlways(t *testing.T) {
	for _, tc := range []struct {
		rules string
		want  Answer
	}{
		{`- "" "id:1,phase:1,setvar:tx.shown=1"`, Proven},
		{`- "" "id:1,phase:2,setvar:tx.shown=1"`, Guided},
		{`- "" "id:1,phase:2,setvar:tx.hidden=1"`, Proven},
		{`- "" "id:1,phase:2,setvar:tx.shown=1"
 TX:none "@eq 1" ""`, Guided},
		{`ARGS:b "@rx ." "id:1,phase:1,log,setvar:tx.a=1"
- "" "id:2,phase:2,setvar:tx.shown=1"
 TX:a "@eq 1" ""`, Guided},
		{`ARGS:b "@rx ." "id:1,phase:1,log,setvar:tx.a=1"
- "" "id:2,phase:2,setvar:tx.hidden=1"
 TX:a "@eq 1" ""`, Proven},
	} {
		p, err := New(sec(t, tc.rules), nil, []string{"shown"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := judged(t, p, []string{"ARGS_GET:a=1"}, nil); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.rules, got, tc.want)
		}
	}
}

// TestExclude leaves rules out, takes targets from some, and has no opinion where a
// rule is left out that others take for run.
func TestExclude(t *testing.T) {
	p := proverOf(t, `
- "" "id:1,phase:1,setvar:tx.a=5"
ARGS:x "@rx ." "id:2,phase:1,log"
ARGS:y "@rx ." "id:3,phase:1,setvar:tx.a=1"
TX:a "@eq 5" "id:4,phase:1,log"
 ARGS:y "@rx ." ""
ARGS:/^n/ "@rx ^\d$" "id:5,phase:1,log,setvar:tx.n=+%{MATCHED_VAR}"
 TX:n "@lt 3" ""
TX:a "@eq 5" "id:6,phase:1,skipAfter:END"
END`)
	for _, tc := range []struct {
		head             []string
		exclude, narrow_ []int
		want             Answer
	}{
		{[]string{"ARGS_GET:x=1"}, nil, nil, Guided},
		{[]string{"ARGS_GET:x=1"}, []int{2}, nil, Proven},
		{[]string{"ARGS_GET:y=1"}, nil, nil, Proven},
		{[]string{"ARGS_GET:y=1"}, []int{3}, nil, Guided},
		{[]string{"ARGS_GET:y=1"}, nil, []int{3}, Guided},
		{[]string{"ARGS_GET:z=1"}, []int{1}, nil, Full},
		{[]string{"ARGS_GET:z=1"}, []int{6}, nil, Full},
		{[]string{"ARGS_GET:z=1"}, []int{77}, []int{77}, Proven},
		{[]string{"ARGS_GET:n1=2", "ARGS_GET:n2=2"}, nil, nil, Proven},
		{[]string{"ARGS_GET:n1=2", "ARGS_GET:n2=2"}, nil, []int{5}, Guided},
	} {
		j := p.Judge(facts(t, tc.head...), nil)
		for _, id := range tc.exclude {
			j.Exclude(id)
		}
		for _, id := range tc.narrow_ {
			j.Narrow(id)
		}
		if got := j.Phase(1); got != tc.want {
			t.Errorf("%v without %v, less of %v: %s, want %s", tc.head, tc.exclude, tc.narrow_, got, tc.want)
		}
		j.Close()
	}
}

// TestPhases judges values that come and go between phases.
func TestPhases(t *testing.T) {
	p := proverOf(t, `
REQUEST_BODY "@contains x" "id:1,phase:2,log"
REQBODY_PROCESSOR "@streq XML" "id:2,phase:1,log"
REQBODY_PROCESSOR "@streq XML" "id:3,phase:2,log"
RESPONSE_HEADERS:a "@rx ." "id:4,phase:4,log"
RESPONSE_HEADERS "@streq y" "id:5,phase:3,log"
&RESPONSE_HEADERS "@eq 2" "id:6,phase:4,log"
RESPONSE_STATUS "@eq 500" "id:7,phase:5,log"
RESPONSE_HEADERS:a "@streq coded" "id:8,phase:3,setvar:tx.coded=1"
TX:coded "@eq 1" "id:9,phase:4,log"
INBOUND_DATA_ERROR "@streq " "id:10,phase:1,setvar:tx.whole=1"
TX:whole "@eq 1" "id:11,phase:2,log"
 INBOUND_DATA_ERROR "@eq 1" ""
REQUEST_BODY "@contains z" "id:12,phase:2,setvar:tx.z=1"
TX:z "@eq 1" "id:13,phase:3,log"
&ARGS "@lt 1" "id:14,phase:1,setvar:tx.few=1"
TX:few "@eq 1" "id:15,phase:2,log"
 ARGS:few "@rx ." ""
ARGS:put "@rx ." "id:16,phase:1,setvar:tx.put=a%{ARGS_POST.a}"
TX:put "@streq aARGS_POST.a" "id:17,phase:2,log"`)
	type step struct {
		phase  int
		facts  []string
		remove string
		want   Answer
	}
	for name, steps := range map[string][]step{
		"nothing":                         {{1, []string{"REQBODY_PROCESSOR=JSON"}, "", Proven}, {2, []string{"REQUEST_BODY=y"}, "", Proven}, {3, []string{"RESPONSE_HEADERS:b=1"}, "", Proven}, {4, nil, "", Proven}, {5, nil, "", Proven}},
		"a body":                          {{1, nil, "", Proven}, {2, []string{"REQUEST_BODY=x"}, "", Guided}},
		"a body that changes what it is":  {{1, []string{"REQBODY_PROCESSOR=JSON"}, "", Proven}, {2, []string{"REQBODY_PROCESSOR=XML"}, "", Guided}},
		"one that was something else":     {{1, []string{"REQBODY_PROCESSOR=XML"}, "", Guided}, {2, []string{"REQBODY_PROCESSOR=JSON"}, "", Guided}},
		"a header that goes":              {{1, nil, "", Proven}, {3, []string{"RESPONSE_HEADERS:A=1", "RESPONSE_HEADERS:b=1"}, "", Proven}, {4, nil, "a", Guided}}, // 4: what was there may have been seen
		"a header that stays":             {{1, nil, "", Proven}, {3, []string{"RESPONSE_HEADERS:A=1", "RESPONSE_HEADERS:b=1"}, "", Proven}, {4, nil, "", Guided}},
		"a header that was seen and goes": {{1, nil, "", Proven}, {3, []string{"RESPONSE_HEADERS:A=coded"}, "", Proven}, {4, nil, "a", Guided}},
		"a header that comes":             {{1, nil, "", Proven}, {3, []string{"RESPONSE_HEADERS:c=y"}, "", Guided}},
		"a body that was seen":            {{1, nil, "", Proven}, {2, []string{"REQUEST_BODY=z"}, "", Proven}, {3, nil, "", Guided}},
		"a body that was not":             {{1, nil, "", Proven}, {2, []string{"REQUEST_BODY=y"}, "", Proven}, {3, nil, "", Proven}},
		"few that become more":            {{1, nil, "", Proven}, {2, []string{"ARGS_POST:few=1", "ARGS_POST:b=1"}, "", Guided}},
		"more from the start":             {{1, []string{"ARGS_GET:few=1"}, "", Proven}, {2, nil, "", Proven}},
		"a value that comes later":        {{1, []string{"ARGS_GET:put=1"}, "", Proven}, {2, []string{"ARGS_POST:a=1"}, "", Guided}},
		"a value that was there":          {{1, []string{"ARGS_GET:put=1", "ARGS_POST:a=1"}, "", Proven}, {2, nil, "", Proven}},
		"a status":                        {{1, nil, "", Proven}, {3, []string{"RESPONSE_STATUS=500"}, "", Proven}, {5, nil, "", Guided}},
		"a body that was cut":             {{1, nil, "", Proven}, {2, []string{"INBOUND_DATA_ERROR=1"}, "", Guided}},
	} {
		f := &Facts{}
		j := p.Judge(f, nil)
		for _, s := range steps {
			if s.remove != "" {
				f.Remove(vars.ResponseHeaders, s.remove)
			}
			more(t, f, s.facts...)
			f.Mark(s.phase)
			if got := j.Phase(s.phase); got != s.want {
				t.Errorf("%s, phase %d: %s, want %s", name, s.phase, got, s.want)
			}
		}
		j.Close()
	}
}

// TestIncremental reads values once, and all of them: those that come in a later
// phase, behind those that were read.
func TestIncremental(t *testing.T) {
	p := proverOf(t, `
ARGS "@streq x" "id:1,phase:1,log"
ARGS "@streq y" "id:2,phase:2,log"
ARGS_NAMES "@streq z" "id:3,phase:3,log"`)
	f := facts(t, "ARGS_GET:a=1", "ARGS_GET:b=2")
	j := p.Judge(f, nil)
	defer j.Close()
	if got := j.Phase(1); got != Proven {
		t.Fatal(got)
	}
	more(t, f, "ARGS_GET:c=y")
	f.Mark(2)
	if got := j.Phase(2); got != Guided {
		t.Errorf("a value that came later: %s", got)
	}
	more(t, f, "ARGS_GET:z=1")
	f.Mark(3)
	if j.Phase(3); !slices.Contains(keptBy(p, j, 3), 3) {
		t.Error("a name that came later was not found")
	}
	budget := j.reader.budget
	f.Mark(4)
	if j.Phase(4); j.reader.budget != budget {
		t.Errorf("%d bytes were read again", budget-j.reader.budget)
	}
}

// TestBudget ends with no answer where too much would have to be looked at.
func TestBudget(t *testing.T) {
	p := proverOf(t, `ARGS "@rx a{5}b" "id:1,phase:1,log,t:lowercase,t:urlDecode"
ARGS "@rx a{5}c" "id:2,phase:1,log,t:urlDecode"`)
	j := p.Judge(facts(t, "ARGS_GET:a="+strings.Repeat("%41A", 1000)), nil)
	if got := j.Phase(1); got != Proven {
		t.Errorf("with the whole budget: %s", got)
	}
	j.Close()
	for _, budget := range []int{0, 100, 4000, 8000} {
		j := p.Judge(facts(t, "ARGS_GET:a="+strings.Repeat("%41A", 1000)), nil)
		j.reader.budget = budget
		if got := j.Phase(1); got != Full {
			t.Errorf("with %d bytes: %s, want full", budget, got)
		}
		if j.Phase(2) != Full {
			t.Error("the next phase knows more")
		}
		j.Close()
	}
}

// TestUnsure decides for certain what the automata do not know any more, as long as
// there is not too much of it.
func TestUnsure(t *testing.T) {
	p := proverOf(t, `ARGS "@rx (?i),.*?['\)0-9`+"`"+`-f]+.{3,9}(?:x|y)z$" "id:1,phase:1,log"`)
	r := rand.New(rand.NewPCG(1, 2))
	long := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = ",0)'xyz`fF\n"[r.IntN(11)]
		}
		return string(b) + "!"
	}
	for range 400 { // they use up what the automata may learn
		judged(t, p, []string{"ARGS_GET:a=" + long(60)}, nil)
	}
	short, large := 0, 0
	for range 50 {
		if answer, _ := judged(t, p, []string{"ARGS_GET:a=" + long(60)}, nil); answer != Proven {
			short++
		}
		if answer, _ := judged(t, p, []string{"ARGS_GET:a=" + long(maxExact+1)}, nil); answer != Proven {
			large++
		}
	}
	if short > 0 {
		t.Errorf("%d of 50 short values were not decided", short)
	}
	t.Logf("%d of 50 long values were not decided", large)
}

// TestPool has a judge that was used before know nothing of what it has judged.
func TestPool(t *testing.T) {
	p := proverOf(t, `
ARGS "@rx evil" "id:1,phase:1,log,t:urlDecode"
REQUEST_METHOD "@streq GET" "id:2,phase:1,log"
&ARGS "@eq 3" "id:3,phase:1,log"
ARGS "@rx ^(.)" "id:4,phase:1,capture,setvar:tx.a=%{TX.1}"
 TX:a "@streq e" ""
TX:a "@streq q" "id:5,phase:2,log"`)
	secret := "evil-secret"
	j := p.Judge(facts(t, "ARGS_GET:a=%65vil-secret", "ARGS_GET:b="+secret, "ARGS_GET:c=e", "REQUEST_METHOD=GET"), nil)
	j.Exclude(1)
	j.Narrow(4)
	j.Phase(1)
	j.Remove(func(int, int) {})
	j.reader.spent = true
	j.Close()
	for name, left := range map[string]bool{
		"facts": j.f != nil, "atoms": slices.ContainsFunc(j.firm, func(w uint64) bool { return w != 0 }), "volatile atoms": slices.ContainsFunc(j.volatile, func(w uint64) bool { return w != 0 }),
		"how far it has read": slices.ContainsFunc(j.seen, func(n int) bool { return n != 0 }), "what was gone": slices.ContainsFunc(j.gone, func(n int) bool { return n != 0 }),
		"kept rules": slices.Contains(j.keep, true), "excluded rules": len(j.excluded) > 0, "narrowed rules": len(j.narrowed) > 0, "phases": j.decided|j.removed|j.dirty != 0 || j.early,
		"an answer": j.answer != Proven, "an end of its budget": j.reader.spent || j.reader.fired != nil,
	} {
		if left {
			t.Errorf("%s are left", name)
		}
	}
	for _, b := range slices.Concat(j.reader.made...) {
		if strings.Trim(string(b[:cap(b)]), "\x00") != "" {
			t.Errorf("a buffer holds %q", b[:cap(b)])
		}
	}
	for i := range 100 { // the pool may have thrown it away
		again := p.Judge(facts(t, "ARGS_GET:a=1", "REQUEST_METHOD=POST"), nil)
		if got := again.Phase(1); got != Proven {
			t.Fatalf("use %d after it: %s", i, got)
		}
		if again.reader.budget > maxWork || again.reader.budget < maxWork-1000 {
			t.Fatalf("it begins with %d bytes", again.reader.budget)
		}
		again.Close()
	}
}

// TestRemove holds the ranges of rules that are left out: of no rule that was kept,
// was not decided about or always runs, and of all others.
func TestRemove(t *testing.T) {
	var text strings.Builder
	r := rand.New(rand.NewPCG(5, 6))
	for id := 1; id <= 300; id += 1 + r.IntN(3) {
		phase := 1 + r.IntN(5)
		switch r.IntN(6) {
		case 0:
			fmt.Fprintf(&text, "- \"\" \"id:%d,phase:%d,setvar:tx.v%d=1\"\n", id, phase, id)
		case 1:
			fmt.Fprintf(&text, "TX:score \"@ge 5\" \"id:%d,phase:%d,log\"\n", id, phase)
		case 2:
			fmt.Fprintf(&text, "ARGS \"@contains %c\" \"id:%d,phase:%d,setvar:tx.s%d=1\"\n", 'a'+r.IntN(6), id, phase, id)
		default:
			fmt.Fprintf(&text, "ARGS \"@contains %c\" \"id:%d,phase:%d,log,setvar:tx.score=+5\"\n", 'a'+r.IntN(6), id, phase)
		}
	}
	p := proverOf(t, text.String())
	always := 0
	for _, id := range p.ids {
		if id.always {
			always++
		}
	}
	if always < 10 || len(p.rules) < 50 {
		t.Fatalf("%d rules that always run, %d that requests decide about", always, len(p.rules))
	}
	for range 500 {
		f := facts(t)
		j := p.Judge(f, nil)
		gone := map[int]bool{}
		last := 0
		for phase := 1; phase <= 5; phase++ {
			if r.IntN(4) == 0 {
				continue
			}
			if r.IntN(3) == 0 {
				more(t, f, fmt.Sprintf("ARGS_GET:x=%c", 'a'+r.IntN(6)))
			}
			f.Mark(phase)
			j.Phase(phase)
			if r.IntN(3) > 0 { // else the engine has not begun
				continue
			}
			last = phase
			j.Remove(func(first, last int) {
				if first < 1 || last < first {
					t.Fatalf("a range from %d to %d", first, last)
				}
				for id := first; id <= last; id++ {
					gone[id] = true
				}
			})
			for _, id := range p.ids {
				decided := j.decided>>id.phase&1 != 0
				kept := id.always && !(decided && j.Clean(id.phase)) || id.rule >= 0 && (!decided || j.keep[id.rule] && !j.idle(p.rules[id.rule]))
				if kept && gone[id.id] {
					t.Fatalf("rule %d of phase %d is left out", id.id, id.phase)
				}
				if !kept && !gone[id.id] {
					t.Fatalf("rule %d of phase %d is not left out in phase %d", id.id, id.phase, last)
				}
			}
		}
		j.Close()
	}
}

// TestBounds has keys of all kinds, and texts of all kinds of bytes, crowd the plans:
// the answers stay right, or say more than there is.
func TestBounds(t *testing.T) {
	rules := ""
	for i := range 40 {
		rules += fmt.Sprintf("ARGS:/k%d_/|!ARGS:/x%d_/ \"@streq v%d\" \"id:%d,phase:1,log,t:urlDecode,t:removeWhitespace,t:cmdLine,t:lowercase\"\n", i, i, i, i+1)
	}
	p := proverOf(t, rules)
	r := rand.New(rand.NewPCG(7, 8))
	more, right := 0, 0
	for range 6000 {
		key, except := "", map[int]bool{}
		in := map[int]bool{}
		n := r.IntN(40)
		for range 1 + r.IntN(4) {
			if r.IntN(3) > 0 {
				n = r.IntN(40)
			}
			if r.IntN(4) == 0 {
				key += fmt.Sprintf("x%d_", n)
				except[n] = true
			} else {
				key += fmt.Sprintf("k%d_", n)
				in[n] = true
			}
		}
		value := []string{"", "%20", "\t", "\"", "^", "%09", "\\", "'", "\n"}[r.IntN(9)] + fmt.Sprintf("v%d", n) + []string{"", "%20", "\x00", "é", ",", "/"}[r.IntN(6)]
		made := value
		for _, name := range []string{"urlDecode", "removeWhitespace", "cmdLine", "lowercase"} {
			chain, _ := transformations([]string{name})
			made = string(chain[0].Append(nil, made))
		}
		want := Proven
		for i := range 40 {
			if in[i] && !except[i] && made == fmt.Sprintf("v%d", i) {
				want = Guided
			}
		}
		answer, _ := judged(t, p, []string{"ARGS_GET:" + key + "=" + value}, nil)
		switch {
		case answer == want:
			right++
		case answer < want:
			t.Fatalf("%s=%q: %s, want %s", key, value, answer, want)
		default:
			more++
		}
	}
	if right < 5000 || more == 0 {
		t.Errorf("%d answers are right, %d too careful: no bound was met", right, more)
	}
	t.Logf("%d answers are right, %d too careful", right, more)
}

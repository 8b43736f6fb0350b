package prover

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/corazawaf/coraza/v3"
	"github.com/corazawaf/coraza/v3/experimental"
	vars "github.com/corazawaf/coraza/v3/types/variables"
)

// An operation is an operator of the engine's, and a value that it matches.
type operation struct{ operator, value string }

// operations are those of all operators that the engine has, but for the two of
// apart. Some are there more than once, for what they capture.
var operations = []operation{
	{"beginsWith a", "ab"}, {"contains b", "abc"}, {"detectSQLi", "1' or 1=1--"}, {"detectXSS", "<script>"}, {"endsWith b", "ab"}, {"eq 1", "1"}, {"ge 1", "2"}, {"geoLookup", "192.0.2.1"}, {"gt 1", "2"},
	{"ipMatch 192.0.2.0/24", "192.0.2.1"}, {"ipMatchF nets.data", "192.0.2.1"}, {"ipMatchFromDataset nets", "192.0.2.1"}, {"ipMatchFromFile nets.data", "192.0.2.1"}, {"le 1", "1"}, {"lt 1", "0"}, {"noMatch", ""},
	{"pm a b", "xb"}, {"pm a b c", "cab"}, {"pmf words.data", "xb"}, {"pmFromDataset words", "xb"}, {"pmFromFile words.data", "xb"}, {"restpath /a/{id}", "/a/7"}, {"rx ^a", "ab"}, {"rx (a)(b)?(c)", "ac"}, {`rx (\xff)(a)`, "\xffa"},
	{"rx (a)(b)(c)(d)(e)(f)(g)(h)(i)(j)", "abcdefghij"}, {"streq a", "a"}, {"strmatch a", "ab"}, {"unconditionalMatch", "a"}, {"validateByteRange 97", "b"}, {"validateNid us [0-9-]+", "078-05-1120"}, {"validateNid us [0-9-]+", "1 078-05-1120"},
	{"validateSchema schema.json", `"text"`}, {"validateUrlEncoding", "%zz"}, {"validateUtf8Encoding", "\xff"}, {"within abc", "b"},
}

// apart are the operators that no test can ask: one asks name servers, one runs a
// program.
var apart = []string{"rbl a.example", "inspectFile /bin/true"}

// asked has the engine ask the value, capturing, and returns the transaction, and
// whether it matches; written is the operator with what stands in front of it.
func (o operation) asked(t *testing.T, written string) (tx engineState, matches bool) {
	t.Helper()
	root := fstest.MapFS{"nets.data": {Data: []byte("192.0.2.0/24\n")}, "words.data": {Data: []byte("a\nb\n")}, "schema.json": {Data: []byte(`{"type":"number"}`)}}
	w, err := coraza.NewWAF(coraza.NewWAFConfig().WithRootFS(root).WithDirectives("SecRuleEngine On\nSecRxPreFilter Off\nSecDataset nets `\n192.0.2.0/24\n`\nSecDataset words `\na\nb\n`\n" +
		fmt.Sprintf("SecRule ARGS_GET:x \"%s%s\" \"id:1,phase:1,pass,nolog,capture\"", written, o.operator)))
	if err != nil {
		t.Fatalf("@%s: %v", o.operator, err)
	}
	tx = w.NewTransactionWithID("test").(engineState)
	t.Cleanup(func() {
		tx.Close()                         //nolint:errcheck // of a test
		w.(experimental.WAFCloser).Close() //nolint:errcheck // of a test
	})
	for n := range 11 {
		tx.Variables().TX().Set(strconv.Itoa(n), []string{untouched})
	}
	tx.AddGetRequestArgument("x", o.value)
	tx.ProcessRequestHeaders()
	return tx, len(tx.MatchedRules()) > 0
}

// untouched is what a group holds that the operator has not captured.
const untouched = "left by an earlier rule"

// left are the variables of a transaction, but for what was captured, and what the
// engine itself notes of a match and of the time.
func left(tx engineState) map[string]string {
	out := map[string]string{}
	for v := range Variable(128) {
		c := tx.Collection(v)
		if c == nil || isMatched(v) || v == vars.Rule || strings.HasPrefix(v.Name(), "TIME") || v == vars.Duration {
			continue
		}
		for _, m := range c.FindAll() {
			if n, err := strconv.Atoi(m.Key()); v == vars.TX && err == nil && 0 <= n && n <= 9 {
				continue
			}
			out[v.Name()+":"+m.Key()] += m.Value() + "\n"
		}
	}
	return out
}

// link is a link with the operator, as rules have it.
func (o operation) link(not bool) *Link {
	name, argument, _ := strings.Cut(o.operator, " ")
	l := &Link{Operator: Operator{Name: strings.ToLower(name), Argument: argument, Not: not}, Capture: true, Targets: []Target{{Name: "ARGS", Variable: vars.Args}}}
	switch l.Operator.Name {
	case "pm":
		l.Operator.List = strings.Split(argument, " ")
	case "pmf", "pmfromfile":
		l.Operator.List = []string{"a", "b"}
	}
	return l
}

// declined reports whether a rule with the link has all rules run.
func declined(t *testing.T, l *Link) bool {
	t.Helper()
	p, err := New([]Rule{{ID: 1, Phase: 1, Links: []Link{*l}}}, nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p.Declines()
}

// TestEffectsOfOperators runs each operator, and holds that those with an effect
// beyond their answer and what they capture have all rules run.
func TestEffectsOfOperators(t *testing.T) {
	plain, _ := operation{"unconditionalMatch", ""}.asked(t, "@")
	// What the argument itself leaves is no effect of the operator.
	nothing := func(value string) map[string]string {
		tx, _ := operation{"unconditionalMatch", value}.asked(t, "@")
		return left(tx)
	}
	if len(left(plain)) < 10 {
		t.Fatalf("%d variables are looked at", len(left(plain)))
	}
	var found []string
	for _, o := range operations {
		for _, written := range []string{"@", "!@"} {
			tx, matches := o.asked(t, written)
			if name, _, _ := strings.Cut(o.operator, " "); matches != (written == "@" != (name == "noMatch")) {
				t.Errorf("%s%s of %q: matches %v", written, o.operator, o.value, matches)
			}
			changes, declines := !maps.Equal(left(tx), nothing(o.value)), declined(t, o.link(written == "!@"))
			if changes && !declines {
				t.Errorf("%s%s leaves more behind than what it captures, and is taken for one that only answers", written, o.operator)
			}
			if changes && written == "@" {
				found = append(found, o.operator)
			}
			if name := o.link(false).Operator.Name; !changes && declines && name != "geolookup" { // which would look something up elsewhere
				t.Errorf("%s%s is not known", written, o.operator)
			}
		}
	}
	if want := []string{"restpath /a/{id}"}; !slices.Equal(found, want) {
		t.Errorf("%q leave something behind, want %q", found, want)
	}
	for _, operator := range apart {
		if !declined(t, operation{operator: operator}.link(false)) {
			t.Errorf("@%s is taken for one that only answers", operator)
		}
	}
}

// TestCaptures holds that the engine captures at least what is said of a link that
// matches, and nothing for one that says so: what it does not capture was left by an
// earlier rule.
func TestCaptures(t *testing.T) {
	claimed := 0
	for _, o := range operations {
		for _, written := range []string{"@", "!@"} {
			value := o.value
			if written == "!@" {
				value = "" // most match it
			}
			tx, matches := operation{o.operator, value}.asked(t, written)
			if !matches {
				continue
			}
			highest := o.link(written == "!@").captures()
			for n := range highest + 1 {
				claimed++
				if tx.Variables().TX().Get(strconv.Itoa(n))[0] == untouched {
					t.Errorf("%s%s of %q: group %d is said to be captured, and is not", written, o.operator, value, n)
				}
			}
			if name := o.link(false).Operator.Name; name == "rx" && tx.Variables().TX().Get(strconv.Itoa(maxCaptured + 1))[0] != untouched {
				t.Errorf("%s%s of %q: a group above %d is captured", written, o.operator, value, maxCaptured)
			}
		}
	}
	if claimed < 15 {
		t.Errorf("%d groups were looked at", claimed)
	}
}

// TestOperatorsThatLookElsewhere does not set what an operator looks at by itself
// before the operator had its look.
func TestOperatorsThatLookElsewhere(t *testing.T) {
	for _, tc := range []struct{ rules, want string }{
		{`ARGS "@validateSchema a.json" "id:1,log,phase:4"
- "" "id:2,phase:4,setvar:tx.json_response_body=5"`, ""},
		{`- "" "id:2,phase:4,setvar:tx.json_response_body=5"
ARGS "@validateSchema a.json" "id:1,log,phase:4"`, "json_response_body"},
		{`ARGS "@validateSchema a.json" "id:1,log,phase:4"
- "" "id:2,phase:4,setvar:tx.another=5"`, "another"},
		{`- "" "id:2,phase:4,setvar:tx.json_request_body=5"`, ""}, // the body may set it, too
	} {
		var set []string
		for _, s := range proverOf(t, tc.rules).Start(4, false) {
			set = append(set, s.Name)
		}
		if got := strings.Join(set, " "); got != tc.want {
			t.Errorf("%s:\nphase 4 begins with %q, want %q", tc.rules, got, tc.want)
		}
	}
}

// TestTXBegins holds what is known of TX variables before any rule to what the
// engine begins with.
func TestTXBegins(t *testing.T) {
	begins := newTXState(nil)
	theirs := map[string]string{}
	for _, m := range engineOf(t, "")().Variables().TX().FindAll() {
		theirs[m.Key()] = m.Value()
	}
	if len(theirs) == 0 {
		t.Fatal("the engine begins with none")
	}
	for name, value := range theirs {
		if got, set, c := begins.get(name); c == firm && (!set || got != value) {
			t.Errorf("TX:%s is %q in the engine, and %q, set %v, here", name, value, got, set)
		}
	}
	for name := range begins.values {
		if _, ok := theirs[name]; !ok {
			t.Errorf("TX:%s is not there in the engine", name)
		}
	}
	for _, tc := range []struct {
		rules string
		want  Answer
	}{
		{`&TX:10 "@eq 1" "id:1,log"`, Guided},
		{`&TX:11 "@eq 1" "id:1,log"`, Proven},
		{`TX:10 "@rx ^$" "id:1,log"`, Guided},
		{`TX:10 "@rx a" "id:1,log"`, Proven},
		{`TX:/^1\d$/ "@rx ^$" "id:1,log"`, Guided},
		{`ARGS "@rx x" "id:1,log"
 TX:/^1\d$/ "@rx ^$" ""`, Guided},
		{`ARGS "@rx x" "id:1,log"
 TX:/^2\d$/ "@rx ^$" ""`, Proven},
		{`ARGS "@streq %{TX.10}" "id:1,log"`, Guided},
		{`ARGS "@streq %{TX.11}" "id:1,log"`, Proven},
	} {
		if got, _ := judged(t, proverOf(t, tc.rules), []string{"ARGS_GET:a=", "ARGS_GET:b=x"}, nil); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.rules, got, tc.want)
		}
	}
}

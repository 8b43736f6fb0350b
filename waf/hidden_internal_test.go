package waf

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/corazawaf/coraza/v3"
	"go.uber.org/zap"

	"sallyport/internal/gate"
)

// miniature is an engine with nothing but the given rules.
func miniature(tb testing.TB, mode gate.Mode, text string) *Engine {
	tb.Helper()
	p := standard()
	p.Mode = mode
	base, err := render("base.conf", p, false)
	if err != nil {
		tb.Fatal(err)
	}
	own, err := parse("@test/rules.conf", text)
	if err != nil {
		tb.Fatal(err)
	}
	set, err := plan{sources: []source{base, own}}.build()
	if err != nil {
		tb.Fatal(err)
	}
	e := &Engine{log: zap.NewNop(), memory: newBudget(64 << 20), decoders: newDecoders(64 << 20), turns: newTurns(), rulesets: []*ruleset{set}, policies: map[string]*policy{"default": {Policy: p, name: "default", rules: set}}}
	tb.Cleanup(func() { e.Close() })
	return e
}

// hiding are two rules that transform alike: the first fills the engine's
// cache of transformed values, the second reads from it.
const hiding = `
SecRule REQUEST_HEADERS|REQUEST_COOKIES|ARGS|ARGS_NAMES|XML|MULTIPART_PART_HEADERS|FILES "@contains first-rule" "id:1,phase:2,t:lowercase,pass,nolog"
SecRule REQUEST_HEADERS|REQUEST_COOKIES|ARGS|ARGS_NAMES|XML|MULTIPART_PART_HEADERS|FILES "@contains evil" "id:2,phase:2,t:lowercase,log,deny"
`

// TestNothingHides sends an attack beside harmless values of the same name, by
// every way in which names repeat, 100,000 times in all. The engine's cache of
// transformed values confuses values that share the string of their name, at
// random; here each has its own.
func TestNothingHides(t *testing.T) {
	e, watch := miniature(t, gate.Enforce, hiding), miniature(t, gate.Watch, hiding)
	total := 100_000
	if testing.Short() {
		total = 10_000
	}
	pad := func(n int, sep string) string {
		var all []string
		for i := range n {
			all = append(all, fmt.Sprintf("p%d=%d", i, i))
		}
		return strings.Join(all, sep)
	}
	other := pad(6, "&")
	cases := map[string]call{
		"header":                        get("/", "X-A", "EVIL", "X-A", "good", "X-B", "1", "X-C", "2", "X-D", "3"),
		"header, other case":            get("/", "x-a", "good", "X-A", "EVIL", "X-B", "1", "X-C", "2", "X-D", "3"),
		"cookie":                        get("/", "Cookie", "a=EVIL; a=good; "+pad(6, "; ")),
		"cookie, two fields":            get("/", "Cookie", "a=good; "+pad(6, "; "), "Cookie", "a=EVIL"),
		"cookie, no name":               get("/", "Cookie", "=EVIL; =good; "+pad(6, "; ")),
		"cookie, escaped":               get("/", "Cookie", "a=good; a=%45VIL; "+pad(6, "; ")),
		"query":                         get("/?a=EVIL&a=good&" + other),
		"query, no name":                get("/?=EVIL&=good&" + other),
		"query, no value":               get("/?EVIL&a&b&" + other),
		"query, semicolon":              get("/?a=good;a=EVIL&" + other),
		"form":                          post(formType, "a=EVIL&a=good&"+other),
		"form, no name":                 post(formType, "=EVIL&=good&"+other),
		"form, escaped name":            post(formType, "%61=EVIL&a=good&"+other),
		"form, the last that is judged": post(formType, strings.Repeat("a=1&", 50)+"a=EVIL"),
		"text":                          post("text/plain", "=EVIL&=good&"+other),
		"json, array":                   post("application/json", `{"a":["EVIL","good"],"b":[1,2,3],"c":{"d":"e"},"a.0":"good"}`),
		"json, key":                     post("application/json", `{"EVIL":1,"good":2,"c":{"EVIL":1}}`),
		"json, empty keys":              post("application/json", `{"":{"":"EVIL"},"a":{"":"good"},"b":[{"":"good"}]}`),
		"json, dots":                    post("application/json", `{"a.b":"good","a":{"b":"EVIL"},"c":1}`),
		"json, called a form":           post(formType, `{"a":["EVIL","good"],"b":[1,2,3]}`),
		"graphql":                       post("application/graphql", `{a(b:"good") c:a(b:"EVIL") d(e:["good","good"])}`),
		"xml":                           post("text/xml", `<a b="x" c="y"><d>EVIL</d><d>good</d><e>1</e><e>2</e></a>`),
		"multipart":                     multi(field("a", "EVIL") + field("a", "good") + field("b", "1") + field("c", "2") + last),
		"part header":                   multi("--b0undary\r\nContent-Disposition: form-data; name=\"a\"\r\nX-A: EVIL\r\nX-B: good\r\n\r\n1\r\n" + field("b", "1") + field("c", "2") + last),
		"file name":                     multi(file("a", "EVIL.txt", "1") + file("a", "good.txt", "2") + file("b", "c.txt", "3") + last),
	}
	// An object that names a key twice is refused before the rules run, so only
	// a policy that observes shows whether they see both.
	observed := map[string]call{
		"json, a key twice":       post("application/json", `{"a":"EVIL","a":"good","b":1,"c":2,"d":3}`),
		"json, a key three times": post("application/json", `{"a":"good","a":"EVIL","a":"good","b":1,"c":2,"d":3}`),
	}
	rounds := total/(len(cases)+len(observed)) + 1
	sent := 0
	for _, set := range []struct {
		engine *Engine
		calls  map[string]call
		seen   func(o outcome) bool
	}{
		{e, cases, func(o outcome) bool { return o.verdict.Reason == gate.WAFRule }},
		{watch, observed, func(o outcome) bool { return slices.Contains(o.rules(), 2) }},
	} {
		for name, c := range set.calls {
			var missed atomic.Int64
			var all sync.WaitGroup
			workers := runtime.GOMAXPROCS(0)
			for range workers {
				all.Go(func() {
					for range rounds/workers + 1 {
						if !set.seen(run(set.engine, c)) {
							missed.Add(1)
						}
					}
				})
			}
			all.Wait()
			sent += (rounds/workers + 1) * workers
			if n := missed.Load(); n > 0 {
				t.Errorf("%s: the rule missed the attack in %d of %d requests, want 0", name, n, rounds)
			}
		}
	}
	if sent < total {
		t.Errorf("%d requests were sent, want %d", sent, total)
	}
}

// TestEngineHidesSharedNames shows the defect that TestNothingHides guards
// against, in the engine alone. When this test fails, the engine was mended
// and own can go.
func TestEngineHidesSharedNames(t *testing.T) {
	w, err := coraza.NewWAF(coraza.NewWAFConfig().WithDirectives("SecRuleEngine On\n" + hiding))
	if err != nil {
		t.Fatal(err)
	}
	missed := 0
	for range 2000 {
		tx := w.NewTransaction()
		tx.ProcessURI("/", "GET", "HTTP/1.1")
		name := "X-A"
		for _, value := range []string{"EVIL", "good"} {
			tx.AddRequestHeader(name, value)
		}
		for i := range 4 {
			tx.AddRequestHeader(fmt.Sprintf("X-%d", i), "1")
		}
		tx.ProcessRequestHeaders()
		if it, err := tx.ProcessRequestBody(); err != nil || it == nil {
			missed++
		}
		tx.Close()
	}
	t.Logf("without names of their own: missed in %d of 2000", missed)
	if missed == 0 {
		t.Error("the engine no longer confuses values that share the string of their name, want it to miss some")
	}
}

// TestDuplicateKeys refuses a JSON object that names a key twice, whatever
// the spelling, and lets equal keys of different objects pass.
func TestDuplicateKeys(t *testing.T) {
	e := sharedEngine(t)
	many := `{`
	for i := range 40 {
		many += fmt.Sprintf(`"k%d":1,`, i)
	}
	for body, refused := range map[string]bool{
		`{"a":1,"a":2}`:                true,
		`{"a":1,"\u0061":2}`:           true,
		`{"b":{"a":1,"c":[],"a":1}}`:   true,
		many + `"k39":2}`:              true,
		`{"a":{"a":1},"b":{"a":2}}`:    false,
		`[{"a":1},{"a":2}]`:            false,
		`{"a":1,"A":2}`:                false,
		many + `"k40":2}`:              false,
		`{"a":{"b":1},"a.b":2,"c":{}}`: false,
	} {
		o := run(e, post("application/json", body))
		if refused {
			o.expect(t, body, gate.Refuse, gate.WAFDuplicateName)
			run(e, post("application/json", body).under("observe")).expect(t, body, gate.Observe, gate.WAFDuplicateName)
		} else {
			o.expect(t, body, gate.Pass, "")
		}
	}
}

// TestTooManyArguments refuses what the engine would not look at.
func TestTooManyArguments(t *testing.T) {
	e := sharedEngine(t)
	list := func(n int) string {
		return strings.TrimSuffix(strings.Repeat("a=1&", n), "&")
	}
	array := func(n int) string { return "[" + strings.TrimSuffix(strings.Repeat("1,", n), ",") + "]" }
	// Policies with a limit on arguments of their own would refuse earlier;
	// the Core Rule Set has none by default.
	for _, tc := range []struct {
		name         string
		exact, above call
	}{
		{"query", get("/?" + list(defaultArguments)), get("/?" + list(defaultArguments+1))},
		{"form", post(formType, list(defaultArguments)), post(formType, list(defaultArguments+1))},
		{"json", post("application/json", array(defaultArguments)), post("application/json", array(defaultArguments+1))},
		{"cookies", get("/", "Cookie", strings.ReplaceAll(list(defaultArguments), "&", ";")), get("/", "Cookie", strings.ReplaceAll(list(defaultArguments+1), "&", ";"))},
		{"multipart", multi(strings.Repeat(field("a", "1"), defaultArguments) + last), multi(strings.Repeat(field("a", "1"), defaultArguments+1) + last)},
	} {
		run(miniature(t, gate.Enforce, hiding), tc.exact).expect(t, tc.name, gate.Pass, "")
		run(e, tc.above).expect(t, tc.name, gate.Refuse, gate.WAFTooManyArguments)
	}
	// In a text, ampersands are not separators, and the last value holds the rest.
	m := miniature(t, gate.Enforce, hiding)
	run(m, post("text/plain", strings.Repeat("a&", 5000))).expect(t, "text", gate.Pass, "")
	run(m, post("text/plain", strings.Repeat("a&", 5000)+"evil")).expect(t, "text", gate.Refuse, gate.WAFRule)
}

// TestBounds holds a request to the bounds of its policy, not to the defaults.
func TestBounds(t *testing.T) {
	e := engineWith(t, func(p *Policy) { p.Arguments, p.JSONDepth = 3, 2 })
	for name, c := range map[string]struct {
		exact, above call
		reason       gate.Reason
	}{
		"query":      {get("/?a=1&b=2&c=3"), get("/?a=1&b=2&c=3&d=4"), gate.WAFTooManyArguments},
		"cookies":    {get("/", "Cookie", "a=1; b=2; c=3"), get("/", "Cookie", "a=1; b=2; c=3; d=4"), gate.WAFTooManyArguments},
		"form":       {post(formType, "a=1&b=2&c=3"), post(formType, "a=1&b=2&c=3&d=4"), gate.WAFTooManyArguments},
		"json":       {post("application/json", "[1,2,3]"), post("application/json", "[1,2,3,4]"), gate.WAFTooManyArguments},
		"json depth": {post("application/json", `{"a":[1]}`), post("application/json", `{"a":[[1]]}`), gate.WAFBodyUnreadable},
		"multipart":  {multi(strings.Repeat(field("a", "1"), 3) + last), multi(strings.Repeat(field("a", "1"), 4) + last), gate.WAFTooManyArguments},
	} {
		run(e, c.exact).expect(t, name, gate.Pass, "")
		run(e, c.above).expect(t, name, gate.Refuse, c.reason)
	}
}

// TestMatchedVarIsFresh lets a rule see what its own chain matched, and not
// what an earlier rule with the same transformations saw.
func TestMatchedVarIsFresh(t *testing.T) {
	for _, variable := range []string{"MATCHED_VAR", "MATCHED_VARS", "&ARGS|MATCHED_VAR"} {
		for _, transformations := range []string{"t:lowercase", "t:lowercase,t:NONE", "t:none,t:lowercase", "msg:'t:none, t:none',t:urlDecode,t:none,t:trim,t:lowercase"} {
			text := fmt.Sprintf(`
SecRule ARGS:a "@rx one" "id:1,phase:2,pass,nolog,chain"
SecRule %[1]s "@contains zzz" "%[2]s"
SecRule ARGS:b "@rx two" "id:2,phase:2,deny,chain"
SecRule %[1]s "@contains evil" "%[2]s"
`, variable, transformations)
			e := engineWith(t, func(p *Policy) { p.CRS, p.Engine = crsOff, StockEngine }, text) // which runs the first rule, too
			run(e, get("/?a=one&b=two+EVIL")).expect(t, variable+" "+transformations, gate.Refuse, gate.WAFRule)
			run(e, get("/?a=one+EVIL&b=two")).expect(t, variable+" "+transformations+", twin", gate.Pass, "")
		}
	}
}

// TestCountsAreFresh lets a rule count what it names, and not what an earlier rule
// with the same transformations counted of the same variable.
func TestCountsAreFresh(t *testing.T) {
	for _, counted := range []string{"&ARGS|!ARGS:b", "&ARGS:/^a/"} {
		e := engineWith(t, func(p *Policy) { p.CRS, p.Engine = crsOff, StockEngine }, `
SecRule &ARGS "@eq 9" "id:1,phase:2,pass,nolog,t:trim"
SecRule `+counted+` "@eq 1" "id:2,phase:2,deny,t:trim"
`)
		run(e, get("/?a=1&b=2")).expect(t, counted, gate.Refuse, gate.WAFRule)
		run(e, get("/?a=1&ab=2&b=2")).expect(t, counted+", twin", gate.Pass, "")
	}
}

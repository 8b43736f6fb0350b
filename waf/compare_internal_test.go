package waf

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/corazawaf/coraza/v3/experimental/plugins"
	"github.com/corazawaf/coraza/v3/experimental/plugins/plugintypes"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/sync/semaphore"

	"sallyport/internal/gate"
	"sallyport/waf/prover"
)

// comparing builds an engine whose policy, default, judges every request both ways,
// from rules of its own.
func comparing(t *testing.T, rules string, changes ...func(*Policy)) (*Engine, *observer.ObservedLogs) {
	t.Helper()
	p := standard()
	p.CRS, p.Engine, p.CompareShare, p.ResponseBody = crsOff, CompareEngine, 1, "all"
	p.RulesAfter = []string{writeFile(t, filepath.Join(t.TempDir(), "rules.conf"), rules)}
	for _, change := range changes {
		change(&p)
	}
	core, logs := observer.New(zap.WarnLevel)
	e, err := New(Config{Memory: 64 << 20, Policies: map[string]Policy{"default": p}}, zap.New(core))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e, logs
}

// blind makes the prover of a policy one that knows only some of its rules: what
// the others find, it misses.
func blind(t *testing.T, e *Engine, policy string, knows func(*prover.Rule) bool) {
	t.Helper()
	p := e.policies[policy]
	plan, _, err := planFor(policy, p.Policy)
	if err != nil {
		t.Fatal(err)
	}
	rules := slices.DeleteFunc(plan.proverRules(), func(r prover.Rule) bool { return r.Marker == "" && !knows(&r) })
	if p.prover, err = prover.New(rules, nil, shownVariables, nil); err != nil {
		t.Fatal(err)
	}
}

// doubtful makes the prover of a policy one that has every rule run for every
// request, so that the stock engine is compared with itself.
func doubtful(t *testing.T, e *Engine, policy string) {
	t.Helper()
	var err error
	if e.policies[policy].prover, err = prover.New([]prover.Rule{{ID: 1, Phase: 1, Links: []prover.Link{{Ctls: []string{"anything=on"}}}}}, nil, shownVariables, nil); err != nil {
		t.Fatal(err)
	}
}

// agreed fails unless the inspection tells of a comparison without a difference.
func agreed(t *testing.T, name string, in gate.Inspection) {
	t.Helper()
	if !in.Compared || in.Differs {
		t.Errorf("%s: compared %v, differs %v; want a comparison without a difference", name, in.Compared, in.Differs)
	}
}

// TestCompareAgrees judges requests of every kind both ways, and finds nothing.
func TestCompareAgrees(t *testing.T) {
	e, logs := comparing(t, decidingRules)
	for name, want := range map[string]struct {
		call
		run    string
		reason gate.Reason
	}{
		"clean":            {get("/?a=fine"), gate.RunProven, ""},
		"clean form":       {post(formType, "a=fine"), gate.RunProven, ""},
		"attack":           {get("/?a=1+union+select+2"), gate.RunGuided, gate.WAFRule},
		"attack in a form": {post(formType, "a=union+select"), gate.RunGuided, gate.WAFRule},
		"upload":           {multi(field("a", "fine") + file("f", "a.txt", strings.Repeat("x", 2*smallUpload)) + last), gate.RunProven, ""},
		"attack behind an upload": {multi(file("f", "a.txt", strings.Repeat("x", 2*smallUpload)) + field("a", "union select") + last),
			gate.RunGuided, gate.WAFRule},
		"unreadable":         {post("application/json", `{"a":`), gate.RunGuided, gate.WAFBodyUnreadable},
		"too many arguments": {get("/?" + strings.Repeat("a&", defaultArguments+1)), gate.RunFull, gate.WAFTooManyArguments},
	} {
		o := run(e, want.call)
		agreed(t, name, o.result)
		if o.verdict.Reason != want.reason || o.result.Run != want.run {
			t.Errorf("%s: reason %q, run %q, want %q and %q", name, o.verdict.Reason, o.result.Run, want.reason, want.run)
		}
	}
	if logs.Len() > 0 {
		t.Errorf("it is logged: %v", logs.All())
	}
}

// TestCompareTransactions compares whatever course a request takes: answers that
// come early or leak, bodies that break, requests that nobody ends.
func TestCompareTransactions(t *testing.T) {
	e, logs := comparing(t, decidingRules)
	page := func(body string) *http.Response {
		return &http.Response{StatusCode: 200, Proto: "HTTP/1.1", Header: http.Header{"Content-Type": {"text/html"}}, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body))}
	}
	upload := multi(file("f", "a.txt", strings.Repeat("x", 2*smallUpload)) + field("a", "union select") + last)
	broken := post(formType, "")
	broken.source = io.MultiReader(strings.NewReader("a=union+select&b="), failing{io.ErrUnexpectedEOF})
	for name, course := range map[string]func(*testing.T) gate.Inspection{
		"a leak": func(t *testing.T) gate.Inspection {
			_, tx, _ := begin(e, get("/"))
			if v := tx.Response(page("<pre>Stack Trace: x</pre>")); v.Reason != gate.WAFRule {
				t.Errorf("the leak: %v, want a refusal", v)
			}
			return tx.Close()
		},
		"no leak": func(t *testing.T) gate.Inspection {
			_, tx, _ := begin(e, get("/"))
			if v := tx.Response(page("<p>fine</p>")); v.Action != gate.Pass {
				t.Errorf("the page: %v, want a pass", v)
			}
			return tx.Close()
		},
		"an early answer": func(t *testing.T) gate.Inspection {
			req, tx, _ := begin(e, upload)
			if v := tx.Response(page("<p>fine</p>")); !v.Passed() {
				t.Errorf("the early answer: %v, want a pass", v)
			}
			if _, err := io.Copy(io.Discard, req.HTTP.Body); err == nil {
				t.Error("the rest of the body came through, want a refusal")
			}
			return tx.Close()
		},
		"a body that nobody reads": func(*testing.T) gate.Inspection {
			_, tx, _ := begin(e, upload)
			return tx.Close()
		},
		"a body that breaks": func(t *testing.T) gate.Inspection {
			o := run(e, broken)
			o.expect(t, "a body that breaks", gate.Refuse, gate.HTTPBodyCut)
			return o.result
		},
		"a request that is not even looked at": func(*testing.T) gate.Inspection {
			return e.Begin(get("/").request()).Close()
		},
	} {
		agreed(t, name, course(t))
		if held := e.Held(); held != 0 {
			t.Errorf("%s: %d bytes are held", name, held)
		}
	}
	if logs.Len() > 0 {
		t.Errorf("it is logged: %v", logs.All())
	}
}

// TestCompareDiffers makes the fast engine miss what all rules find, and find what
// they do not: the stricter verdict holds, the record has what led to it, and the
// log tells once per request, without a word of the client's.
func TestCompareDiffers(t *testing.T) {
	const marked = "xx-secret-xx"
	attack := "/?" + marked + "=union+select+" + marked // which 3000 alone finds
	blinded := func(t *testing.T, changes ...func(*Policy)) (*Engine, *observer.ObservedLogs) {
		e, logs := comparing(t, decidingRules, changes...)
		blind(t, e, "default", func(r *prover.Rule) bool { return r.ID != 3000 && r.ID != 3009 })
		return e, logs
	}
	differs := func(t *testing.T, name string, in gate.Inspection, logs *observer.ObservedLogs) {
		t.Helper()
		if !in.Compared || !in.Differs {
			t.Errorf("%s: compared %v, differs %v, want both", name, in.Compared, in.Differs)
		}
		told := logs.TakeAll()
		if len(told) != 1 || told[0].Level != zap.ErrorLevel {
			t.Fatalf("%s: %d lines are logged, want one error: %v", name, len(told), told)
		}
		text, err := json.Marshal(told[0].ContextMap())
		if err != nil || strings.Contains(string(text), marked) || strings.Contains(string(text), "union") {
			t.Errorf("%s: the log holds what the client has sent: %s, %v", name, text, err)
		}
		if !strings.Contains(string(text), `"policy":"default"`) || !strings.Contains(string(text), "rule 3") {
			t.Errorf("%s: the log does not tell what differs: %s", name, text)
		}
	}
	t.Run("missed", func(t *testing.T) {
		e, logs := blinded(t)
		o := run(e, get(attack))
		o.expect(t, "the attack", gate.Refuse, gate.WAFRule)
		differs(t, "the attack", o.result, logs)
		if o.result.Run != gate.RunProven || !slices.Contains(o.rules(), 3000) {
			t.Errorf("run %q, rules %v, want proven, and what all rules have found", o.result.Run, o.rules())
		}
		o = run(e, get("/?a=fine"))
		agreed(t, "a clean request", o.result)
		o = run(e, get("/?a='+or+1=1--"))
		agreed(t, "what both find", o.result)
		if logs.Len() > 0 {
			t.Errorf("it is logged: %v", logs.All())
		}
	})
	t.Run("missed behind an upload", func(t *testing.T) {
		e, logs := blinded(t)
		o := run(e, multi(file("f", "a.txt", strings.Repeat("x", 2*smallUpload))+field(marked, "union select")+last))
		o.expect(t, "the upload", gate.Refuse, gate.WAFRule)
		if !o.late {
			t.Error("the refusal did not come with the end of the body")
		}
		differs(t, "the upload", o.result, logs)
	})
	t.Run("missed in an answer", func(t *testing.T) {
		e, logs := blinded(t)
		_, tx, _ := begin(e, get("/?"+marked))
		const body = "stack trace " + marked
		v := tx.Response(&http.Response{StatusCode: 500, Proto: "HTTP/1.1", Header: http.Header{"Content-Type": {"text/html"}}, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body))})
		if v.Reason != gate.WAFRule {
			t.Errorf("the answer: %v, want a refusal", v)
		}
		differs(t, "the answer", tx.Close(), logs)
	})
	t.Run("missed while observing", func(t *testing.T) {
		e, logs := blinded(t, func(p *Policy) { p.Mode = gate.Watch })
		o := run(e, get(attack))
		o.expect(t, "the attack", gate.Observe, gate.WAFRule)
		differs(t, "the attack", o.result, logs)
	})
	t.Run("found by the fast one alone", func(t *testing.T) {
		e, logs := comparing(t, decidingRules+`SecRule TX:guided "@streq 1" "id:300,phase:2,deny,log"`)
		blind(t, e, "default", func(r *prover.Rule) bool { return r.ID != 300 })
		p := e.policies["default"]
		for clean := range p.starts[phaseRequest] {
			p.starts[phaseRequest][clean] = append(p.starts[phaseRequest][clean], setting{"guided", []string{"1"}})
		}
		o := run(e, get("/?"+marked+"='+or+1=1--")) // rule 3002 finds it, and lets it pass
		o.expect(t, "the request", gate.Refuse, gate.WAFRule)
		differs(t, "the request", o.result, logs)
		if o.result.Run != gate.RunGuided || !slices.Contains(o.rules(), 300) {
			t.Errorf("run %q, rules %v, want guided, and what led to the refusal", o.result.Run, o.rules())
		}
	})
	t.Run("another way to read the body", func(t *testing.T) {
		e, logs := comparing(t, decidingRules+`SecRule REQUEST_HEADERS:X-Json "@streq 1" "id:3998,phase:1,pass,nolog,ctl:requestBodyProcessor=JSON"`)
		blind(t, e, "default", func(r *prover.Rule) bool { return r.ID != 3998 })
		o := run(e, post("text/plain", `{"a":"union\u0020select"}`, "X-Json", "1"))
		o.expect(t, "the body", gate.Refuse, gate.WAFRule)
		if !o.result.Differs || logs.Len() != 1 {
			t.Errorf("differs %v, %d lines are logged, want a difference and one line", o.result.Differs, logs.Len())
		}
	})
}

// TestCompareScore holds the score and the threshold in the record of a difference
// to those of all rules, in the direction that decided.
func TestCompareScore(t *testing.T) {
	core, logs := observer.New(zap.ErrorLevel)
	p := standard()
	p.Engine, p.CompareShare, p.ResponseBody = CompareEngine, 1, "all"
	e, err := New(Config{Memory: 64 << 20, Policies: map[string]Policy{"default": p}}, zap.New(core))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	blind(t, e, "default", func(r *prover.Rule) bool { return r.ID < 930000 || r.ID >= 960000 })
	o := run(e, get("/?id=1'+UNION+SELECT+password+FROM+users--"))
	o.expect(t, "the attack", gate.Refuse, gate.WAFInboundScore)
	if in := o.result; !in.Differs || in.Score < 5 || in.Threshold != 5 || !slices.Contains(o.rules(), 942100) {
		t.Errorf("the attack: differs %v, score %d of %d, rules %v, want what all rules have found", in.Differs, in.Score, in.Threshold, o.rules())
	}
	_, tx, _ := begin(e, get("/"))
	const body = "You have an error in your SQL syntax; check the manual that corresponds to your MySQL server version near ''1'' at line 1"
	v := tx.Response(&http.Response{StatusCode: 500, Proto: "HTTP/1.1", Header: http.Header{"Content-Type": {"text/html"}}, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body))})
	if v.Reason != gate.WAFOutboundScore {
		t.Errorf("the leak: %v, want a refusal by its score", v)
	}
	if in := tx.Close(); !in.Differs || in.Score < 4 || in.Threshold != 4 {
		t.Errorf("the leak: differs %v, score %d of %d, want that of all rules, of the answer", in.Differs, in.Score, in.Threshold)
	}
	if logs.Len() != 2 {
		t.Errorf("%d errors are logged, want one for each", logs.Len())
	}
}

// TestCompareShare compares the share of the requests that is asked for.
func TestCompareShare(t *testing.T) {
	for _, tc := range []struct {
		share              float64
		engine             EngineKind
		requests, min, max int
	}{
		{0, CompareEngine, 300, 0, 0}, {1, CompareEngine, 300, 300, 300}, {0.01, CompareEngine, 30_000, 200, 400}, {1, FastEngine, 50, 0, 0}, {1, StockEngine, 50, 0, 0},
	} {
		e, _ := comparing(t, `SecRule ARGS "@streq evil" "id:1,phase:2,deny"`, func(p *Policy) { p.Engine, p.CompareShare = tc.engine, tc.share })
		n := 0
		for range tc.requests {
			tx := e.Begin(get("/?a=b").request())
			tx.Request()
			if tx.Close().Compared {
				n++
			}
		}
		if n < tc.min || n > tc.max {
			t.Errorf("engine %s, share %v: %d of %d requests were compared, want %d to %d", tc.engine, tc.share, n, tc.requests, tc.min, tc.max)
		}
	}
	e, _ := comparing(t, "SecRule ARGS \"@streq evil\" \"id:1,phase:2,deny\"\nSecRule ARGS \"@restpath /{a}\" \"id:2,phase:2,pass\"\n")
	if in := run(e, get("/")).result; in.Compared || in.Run != gate.RunFull {
		t.Errorf("a policy whose rules all run: compared %v, run %q, want nothing compared with itself", in.Compared, in.Run)
	}
}

// TestCompareWaitsForNobody leaves out comparisons for which there is no room: a
// request is not shed, nor kept, for what is only compared.
func TestCompareWaitsForNobody(t *testing.T) {
	e, logs := comparing(t, decidingRules)
	long := post(formType, "a="+strings.Repeat("fine ", 4<<10))
	agreed(t, "with room", run(e, long).result)
	for _, tc := range []struct {
		name  string
		turns *semaphore.Weighted
	}{{"no turn of the engine", e.turns.engine}, {"no turn to look", e.turns.free}} {
		n := int64(0)
		for tc.turns.TryAcquire(1) {
			n++
		}
		if tc.turns == e.turns.free { // one for the request itself
			tc.turns.Release(1)
			n--
		}
		began := time.Now()
		o := run(e, long)
		o.expect(t, tc.name, gate.Pass, "")
		if took := time.Since(began); o.result.Compared != (tc.turns == e.turns.free) || took > turnWait/2 {
			t.Errorf("%s: compared %v in %s", tc.name, o.result.Compared, took)
		}
		agreed(t, tc.name+", a light request", run(e, get("/?a=b")).result)
		tc.turns.Release(n)
	}
	if logs.Len() > 0 {
		t.Errorf("it is logged: %v", logs.All())
	}
	agreed(t, "with room again", run(e, long).result)

	e, logs = comparing(t, decidingRules, func(p *Policy) { p.CPUBudget = time.Millisecond })
	agreed(t, "within the budget", run(e, get("/?a=b")).result)
	if o := run(e, long); o.verdict.Action != gate.Pass || o.result.Compared || o.result.Run != gate.RunProven {
		t.Errorf("over the budget: %v, compared %v, run %q, want a pass that is proven and not compared", o.verdict, o.result.Compared, o.result.Run)
	}
	if logs.Len() > 0 {
		t.Errorf("it is logged: %v", logs.All())
	}
}

// TestCompareFails makes failures of the stock side what failures of the engine ever are.
func TestCompareFails(t *testing.T) {
	plugins.RegisterOperator("testPanic", func(plugintypes.OperatorOptions) (plugintypes.Operator, error) { return panicking{}, nil })
	for _, phase := range []string{"1", "2", "3", "5"} {
		for _, tolerant := range []bool{false, true} {
			name := fmt.Sprintf("phase %s, on_error pass: %v", phase, tolerant)
			e, _ := comparing(t, `SecRule ARGS:boom "@testPanic" "id:1,phase:`+phase+`,pass,nolog"`+"\n"+decidingRules, func(p *Policy) { p.PassOnError = tolerant })
			blind(t, e, "default", func(r *prover.Rule) bool { return r.ID != 1 })
			o := run(e, get("/?boom=1"))
			switch {
			case phase == "5": // the answer is out
				o.expect(t, name, gate.Pass, "")
			case tolerant:
				o.expect(t, name, gate.Observe, gate.WAFEngine)
			default:
				o.expect(t, name, gate.Fail, gate.WAFEngine)
			}
			if o.result.Run != gate.RunFull {
				t.Errorf("%s: run %q, want full", name, o.result.Run)
			}
			agreed(t, name+", the next request", run(e, get("/?fine=1")).result)
		}
	}
}

// TestCompareByChance lets a chain look at the last of several values, which the
// engine takes at random: whatever it comes to, the two do not differ.
func TestCompareByChance(t *testing.T) {
	for _, values := range []int{2, 12} {
		e, logs := comparing(t, `
SecRule ARGS "@rx ^x(.)" "id:1,phase:2,deny,log,capture,chain"
SecRule TX:1 "@streq a" "chain"
SecRule MATCHED_VAR "@streq a"
`)
		target := "/?v=xa"
		for i := range values - 1 {
			target += fmt.Sprintf("&v%d=xb", i)
		}
		refused := 0
		for range 400 {
			o := run(e, get(target))
			agreed(t, target, o.result)
			if o.verdict.Reason == gate.WAFRule {
				refused++
			}
		}
		if refused == 0 || refused == 400 {
			t.Errorf("%d of 400 requests are refused: nothing is left to chance here", refused)
		}
		if logs.Len() > 0 {
			t.Errorf("%d lines are logged: %v", logs.Len(), logs.All()[0])
		}
	}
}

// TestStockAgreesWithItself compares the stock engine with itself, and then the
// fast one with it, over what the corpora of the differential tests hold. An alarm
// that is none would make the mode useless.
func TestStockAgreesWithItself(t *testing.T) {
	requests, seed := wanted(t)
	requests = max(requests/20, 100)
	core, logs := observer.New(zap.ErrorLevel)
	e := &Engine{log: zap.New(core), memory: newBudget(1 << 30), decoders: newDecoders(1 << 30), turns: newTurns(), policies: map[string]*policy{}}
	e.turns.free, e.turns.engine = semaphore.NewWeighted(100), semaphore.NewWeighted(100) // nothing is left out
	for name, c := range contests(t) {
		fast, stock := *c.fast.engine.policies[c.fast.policy], *c.fast.engine.policies[c.fast.policy]
		fast.Engine, fast.CompareShare = CompareEngine, 1
		stock.Engine, stock.CompareShare = CompareEngine, 1
		e.policies[name], e.policies["stock "+name] = &fast, &stock
		doubtful(t, e, "stock "+name)
	}
	for _, c := range corpora(t, requests, seed) {
		var next atomic.Int64
		var workers sync.WaitGroup
		for range runtime.GOMAXPROCS(0) {
			workers.Go(func() {
				for i := int(next.Add(1)) - 1; i < c.size; i = int(next.Add(1)) - 1 {
					tr, policy := c.make(i)
					for _, policy := range []string{policy, "stock " + policy} {
						req := tr.request(policy)
						tx := e.Begin(req)
						if v := tx.Request(); v.Passed() && rand.IntN(8) > 0 {
							s := seen{}
							s.body(req, tr.answer.respond(tx, &s))
						}
						if in := tx.Close(); in.Compared == e.policies[policy].prover.Declines() || in.Differs || strings.HasPrefix(policy, "stock ") && in.Run != gate.RunFull {
							t.Errorf("%s, policy %s: compared %v, differs %v, run %q\n%s", tr.name, policy, in.Compared, in.Differs, in.Run, tr)
						}
					}
				}
			})
		}
		workers.Wait()
	}
	for _, l := range logs.All() {
		t.Errorf("%s: %v", l.Message, l.ContextMap())
	}
}

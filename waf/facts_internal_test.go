package waf

import (
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/corazawaf/coraza/v3/collection"
	vars "github.com/corazawaf/coraza/v3/types/variables"
	"go.uber.org/zap"

	"sallyport/internal/gate"
	"sallyport/waf/coding"
	"sallyport/waf/prover"
)

// manyVariables is more than the engine has variables.
const manyVariables = 128

// engines are what the engine makes by itself: the time, and what its rules
// leave behind. Of TX the facts hold but a part.
var engines = map[prover.Variable]bool{
	vars.Time: true, vars.TimeDay: true, vars.TimeEpoch: true, vars.TimeHour: true, vars.TimeMin: true, vars.TimeMon: true, vars.TimeSec: true, vars.TimeWday: true, vars.TimeYear: true,
	vars.MatchedVar: true, vars.MatchedVarName: true, vars.MatchedVars: true, vars.MatchedVarsNames: true, vars.Rule: true, vars.HighestSeverity: true, vars.TX: true,
}

// factsEngine is an engine whose rules find nothing but name parameters that
// applications may know under other names, under policies with few bounds and
// with narrow ones.
func factsEngine(tb testing.TB) *Engine {
	tb.Helper()
	file := writeFile(tb, filepath.Join(tb.TempDir(), "names.conf"), `SecRule ARGS:user_id|ARGS:query|REQUEST_COOKIES:user_id "@streq this is never there" "id:1,phase:2,pass,nolog"
SecRule REQUEST_HEADERS:X-Processor "@streq json" "id:2,phase:1,pass,nolog,ctl:requestBodyProcessor=JSON"`)
	p := standard()
	p.Engine, p.CRS, p.RulesAfter, p.ResponseBody, p.Mode = StockEngine, crsOff, []string{file}, "all", gate.Watch
	few, small := p, p
	few.Mode, few.Arguments, few.JSONDepth, few.GraphQL = gate.Enforce, 3, 3, GraphQL{Depth: 2, Aliases: 1, Batch: 1}
	small.Inspect, small.OverHead, small.ResponseLimit, small.PassOnError = 64, true, 16, true
	e, err := New(Config{Memory: 64 << 20, LogLines: true, Policies: map[string]Policy{"default": p, "few": few, "small": small}}, zap.NewNop())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { e.Close() })
	return e
}

// implied are the values that a variable must have in the engine.
func implied(f *prover.Facts, v prover.Variable) []prover.Fact {
	names := func(facts []prover.Fact) []prover.Fact {
		var out []prover.Fact
		for _, fact := range facts {
			out = append(out, prover.Fact{Key: fact.Key, Value: fact.Key})
		}
		return out
	}
	args := slices.Concat(f.All(vars.ArgsGet), f.All(vars.ArgsPost), f.All(vars.ArgsPath))
	switch v {
	case vars.Args:
		return args
	case vars.ArgsNames:
		return names(args)
	case vars.ArgsGetNames:
		return names(f.All(vars.ArgsGet))
	case vars.ArgsPostNames:
		return names(f.All(vars.ArgsPost))
	case vars.RequestHeadersNames:
		return names(f.All(vars.RequestHeaders))
	case vars.RequestCookiesNames:
		return names(f.All(vars.RequestCookies))
	case vars.ResponseHeadersNames:
		return names(f.All(vars.ResponseHeaders))
	case vars.XML:
		return f.All(vars.RequestXML)
	case vars.ArgsCombinedSize:
		size := 0
		for _, fact := range slices.Concat(f.All(vars.ArgsGet), f.All(vars.ArgsPost)) {
			size += len(fact.Key) + len(fact.Value)
		}
		return []prover.Fact{{Value: strconv.Itoa(size)}}
	}
	return f.All(v)
}

// lines are facts in an order of their own.
func lines(facts []prover.Fact) []string {
	var out []string
	for _, f := range facts {
		out = append(out, fmt.Sprintf("%q=%q", f.Key, f.Value))
	}
	slices.Sort(out)
	return out
}

// held are the values that a variable has in the engine.
func held(tx state, v prover.Variable) []prover.Fact {
	var out []prover.Fact
	if c := tx.Collection(v); c != nil {
		for _, m := range c.FindAll() {
			out = append(out, prover.Fact{Key: m.Key(), Value: m.Value()})
		}
	}
	return out
}

// same fails unless the variables of the engine are what the facts say.
func same(t *testing.T, what string, f *prover.Facts, tx state) {
	t.Helper()
	for v := range prover.Variable(manyVariables) {
		want, got := implied(f, v), held(tx, v)
		if single, ok := tx.Collection(v).(collection.Single); ok {
			if len(want) > 1 {
				t.Errorf("%s: %d values of %s", what, len(want), v.Name())
			}
			want, got = []prover.Fact{{Value: f.Get(v)}}, []prover.Fact{{Value: single.Get()}}
		}
		if engines[v] {
			continue
		}
		if want, got := lines(want), lines(got); !slices.Equal(got, want) {
			t.Errorf("%s: %s is %.2000s in the engine, and %.2000s among the facts", what, v.Name(), got, want)
		}
	}
	for _, fact := range f.All(vars.TX) {
		if got := tx.Variables().TX().Get(fact.Key); !slices.Equal(got, []string{fact.Value}) {
			t.Errorf("%s: TX:%s is %.2000q in the engine, and %.2000q among the facts", what, fact.Key, got, fact.Value)
		}
	}
}

// holdHead fails unless the head among the facts is what the engine makes of
// it when nothing of ours is between.
func holdHead(t *testing.T, e *Engine, c call) {
	t.Helper()
	req := c.request()
	p := e.policies[req.Route.Policy]
	tx := p.rules.waf.NewTransaction().(state)
	defer tx.Close()
	tx.ProcessURI(req.Head.Target, req.Head.Method, req.Head.Proto)
	line := new(prover.Facts)
	line.Set(vars.UniqueID, tx.ID())
	readTarget(line, req.Head, p.Arguments)
	same(t, fmt.Sprintf("the target %.1000q", c.target), line, tx)
	for _, fact := range line.All(vars.ArgsGet) { // in the same order, too
		lower := strings.ToLower(fact.Key) // which is not the same as to fold it
		var want []string
		for _, other := range line.All(vars.ArgsGet) {
			if strings.ToLower(other.Key) == lower {
				want = append(want, other.Value)
			}
		}
		if got := tx.Variables().ArgsGet().Get(fact.Key); !slices.Equal(got, want) {
			t.Errorf("the target %.1000q: ARGS_GET:%s is %.1000q in the engine, and %.1000q among the facts", c.target, fact.Key, got, want)
		}
	}

	tr := e.Begin(req)
	tr.readHead()
	defer tr.dropFacts()
	tx.ProcessConnection(req.Client.String(), int(req.Peer.Port()), "", 0)
	tx.SetServerName(req.Head.Host)
	for _, f := range req.Head.Fields {
		if !strings.EqualFold(f.Name, "Expect") {
			tx.AddRequestHeader(f.Name, f.Value)
		}
	}
	for _, v := range []prover.Variable{vars.RemoteAddr, vars.RemotePort, vars.ServerAddr, vars.ServerPort, vars.ServerName} {
		if got, want := tr.facts.Get(v), tx.Collection(v).(collection.Single).Get(); got != want {
			t.Errorf("%s is %q among the facts, want %q", v.Name(), got, want)
		}
	}
	if got, want := lines(tr.facts.All(vars.RequestHeaders)), lines(held(tx, vars.RequestHeaders)); !slices.Equal(got, want) {
		t.Errorf("the fields are %q among the facts, want %q", got, want)
	}
	if want := tx.Variables().RequestBodyProcessor().Get(); want != "" && tr.facts.Get(vars.ReqbodyProcessor) != want {
		t.Errorf("%.1000q is read as %q among the facts, want %q", tr.contentType, tr.facts.Get(vars.ReqbodyProcessor), want)
	}
	if tr.cookies > p.Arguments {
		return
	}
	found := lines(tr.facts.All(vars.RequestCookies))
	cookies := lines(held(tx, vars.RequestCookies))
	for _, cookie := range cookies {
		if _, ok := slices.BinarySearch(found, cookie); !ok {
			t.Errorf("the cookie %s is not among the facts: %q", cookie, found)
		}
	}
	plain := func(f gate.Field) bool {
		return !strings.EqualFold(f.Name, "Cookie") || !strings.ContainsFunc(f.Value, func(r rune) bool { return r >= 0x7F || !alphanumeric(byte(r)) && !strings.ContainsRune("=;", r) }) && !strings.Contains(f.Value, "==")
	}
	equals := func(f gate.Field) bool {
		for pair := range strings.SplitSeq(f.Value, ";") {
			if strings.Count(pair, "=") > 1 {
				return true
			}
		}
		return false
	}
	if !slices.ContainsFunc(req.Head.Fields, func(f gate.Field) bool { return !plain(f) || strings.EqualFold(f.Name, "Cookie") && equals(f) }) && !slices.Equal(found, cookies) {
		t.Errorf("the cookies are %q among the facts, want %q", found, cookies)
	}
}

// holdFacts judges a request and its response, and fails where the engine has
// something else than the facts say, or of the head something else than it
// would find by itself.
func holdFacts(t *testing.T, e *Engine, c call, resp *http.Response) {
	t.Helper()
	holdHead(t, e, c)
	what := fmt.Sprintf("%s %.1000q %.1000q %.1000q", c.policy, c.target, c.fields, c.body)
	req, tr, v := begin(e, c)
	defer tr.Close()
	if v.Passed() {
		io.Copy(io.Discard, req.HTTP.Body)
	}
	if tr.run.tx == nil && v.Action == gate.Refuse {
		return // before the engine began
	}
	if tr.run.tx == nil || tr.broken {
		t.Fatalf("%s: the engine has not begun, or broke: %+v", what, tr.verdict)
	}
	tell(tr, phaseRequest)
	same(t, what, tr.facts, tr.run.tx)
	if tr.Response(resp).Passed() {
		io.Copy(io.Discard, resp.Body)
	}
	tell(tr, phaseResponse)
	same(t, what+", answered", tr.facts, tr.run.tx)
}

// tell tells the engine all facts, as those that a phase sees.
func tell(tr *Transaction, phase int) {
	tr.facts.Mark(phase)
	tr.run.tell(phase)
}

// codedAnswer is a response in a coding.
func codedAnswer(as, body string, fields ...string) *http.Response {
	h := http.Header{"Content-Type": {"text/html; charset=utf-8"}, "Set-Cookie": {"a=b", "c=d"}, "x-Lower": {"e"}}
	for i := 0; i < len(fields); i += 2 {
		h.Add(fields[i], fields[i+1])
	}
	if as != "" {
		h.Set("Content-Encoding", as)
	}
	return &http.Response{StatusCode: 404, Proto: "HTTP/1.1", Header: h, Body: io.NopCloser(strings.NewReader(body)), ContentLength: -1}
}

// requestTargets are such as must be read as the engine reads them, and some that no
// client sends.
func requestTargets() []string {
	out := []string{"/", "*", "", "?", "/?", "/??", "/?a", "/a?b?c", "/a/b.c", "/a/b/", "//a/b?c", "/a//b", "/%41%2f%20?%41=%42", "/%", "/%zz?a=b", "/%4?a=b", "/a b?c d", "/\x00?a=b", "/?a=\x01&b=c", "/\x7f", "/a#b?c=d", "/a?b=c#d=e",
		"http://a/b?c=d", "a:b?c=d", "a/b:c?d=e", "/a:b/c", `/a\b\c?d=e`, `/a\`, "/é/ü?é=ü", "/\xff?\xff=\xfe", `/"<>^{|}?"<>^{|}`, "/~a-b_c.d!$&'()*+,;=:@[]", "/`", "/a%5B%5D[]", "/?&&=&a&=b&&", "/?a=1&A=2&a=3&=4&=5", "/?user.id=1&user+id=2&USER[ID=3",
		"/?a=b;c=d&e;f=g", "/?a[b=c]=d&a]=e=f", "/?a%5bb%5d=c=d", "/?query={a(b:\"c\")}&QUERY={d}&variables={\"e\":1}&extens%C4%B0ons={\"f\":2}&_charset_=utf-16", "/?a=1&b=2&c=3&", "/?a=1&b=2&c=3&d", "/?+=+&%20=%20", "/?a=%u0041", "/a/?b/c", "/?" + strings.Repeat("a=b&", 1001)}
	for _, form := range forms {
		out = append(out, "/a?"+form)
	}
	return out
}

// TestFacts holds the facts to what the engine is told, and to what it makes of
// the head by itself.
func TestFacts(t *testing.T) {
	e := factsEngine(t)
	for _, policy := range []string{"default", "few", "small"} {
		hold := func(c call, resp *http.Response) { t.Helper(); holdFacts(t, e, c.under(policy), resp) }
		plain := func(c call) { t.Helper(); hold(c, codedAnswer("", "<html>an answer</html>")) }
		for _, target := range requestTargets() {
			plain(get(target))
		}
		for _, line := range fieldLines {
			plain(get("/", "Cookie", line))
		}
		plain(get("/", "cookie", "a=b", "Cookie", "a=c; user.id=d", "Expect", "100-continue", "X-A", "b", "x-a", "c", "", "nameless"))
		for _, contentType := range []string{formType, "text/plain", "application/json", "application/x-ndjson", "text/xml", "application/graphql", "multipart/form-data; boundary=b0undary", "multipart/form-data", "image/png", "", "\u00a0multipart/form-data"} {
			for _, body := range slices.Concat(forms, texts, bodies(), []string{
				`{a(b:"c") d:e # note` + "\n}", `<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x "y">]><a b="c">d<!-- e -->f</a>`, "<a>" + strings.Repeat("<b>c</b>", 5) + "<d>", "\xff\xfea\x00=\x00b\x00", "a", "{", "[[[[1]]]]", "\x00\xff",
			}) {
				plain(post(contentType, body))
				plain(post(contentType, body, "X-Processor", "json"))
				plain(post(contentType, body).in(t, "gzip"))
			}
		}
		plain(multi(file("f", "A.txt", "1") + file("f", "a.TXT", "22") + file("g", "b.txt", "333") + file("h", strings.Repeat("c", 300), strings.Repeat("d", 600)) + field("user.id", "e") + last))
		plain(multi(file("f", "film.mp4", strings.Repeat("d", smallUpload+uploadChunk)) + field("a", "b") + last))
		for _, tc := range []struct {
			name string
			resp *http.Response
		}{
			{"nothing", codedAnswer("", "")}, {"long", codedAnswer("", strings.Repeat("a", 100))}, {"coded", codedAnswer("gzip", encoded(t, coding.Gzip, "<html>"+strings.Repeat("b", 100)))},
			{"badly coded", codedAnswer("gzip", "no gzip")}, {"two types", codedAnswer("", "c", "content-type", "application/json")}, {"json", codedAnswer("", "{}", "X-A", "")},
		} {
			hold(get("/"), tc.resp)
		}
	}
}

// TestDefaults holds the defaults to those of the engine.
func TestDefaults(t *testing.T) {
	tx := factsEngine(t).policies["default"].rules.waf.NewTransactionWithID("").(state)
	defer tx.Close()
	count := 0
	for v := range prover.Variable(manyVariables) {
		if single, ok := tx.Collection(v).(collection.Single); ok && v != vars.UniqueID && !strings.HasPrefix(v.Name(), "TIME") {
			count++
			if got := single.Get(); got != prover.Defaults[v] {
				t.Errorf("%s begins as %q, want %q", v.Name(), got, prover.Defaults[v])
			}
		}
	}
	if count < 40 {
		t.Errorf("%d variables with one value", count)
	}
}

// TestFactsWithoutEngine reads a head and a body before any engine has begun,
// and tells them all at once.
func TestFactsWithoutEngine(t *testing.T) {
	e := factsEngine(t)
	for _, c := range []call{post(formType, "a=b&user.id=c"), post("application/json", `{"a":["b"]}`), post("text/xml", "<a>b</a>"), post("text/plain", "a")} {
		c.target = "/?d=e"
		tr := e.Begin(c.request())
		if !tr.readAhead() {
			t.Fatal("the body was not read")
		}
		tr.readHead()
		tr.prepare()
		if !tr.settleKind() {
			t.Fatalf("%+v", tr.verdict)
		}
		stop, err := tr.parse(view(tr.ahead.held), tr.ahead.more)
		if stop || err != nil || tr.run.tx != nil {
			t.Fatalf("%q: stopped %v, %v, engine %v", c.body, stop, err, tr.run.tx != nil)
		}
		if err := tr.run.begin(); err != nil {
			t.Fatal(err)
		}
		tell(tr, phaseHead)
		same(t, c.body, tr.facts, tr.run.tx)
		tr.facts.Set(vars.InboundDataError, "1")
		tr.facts.Add(vars.ArgsPost, "more", "f")
		tell(tr, phaseRequest)
		same(t, c.body+", and more", tr.facts, tr.run.tx)
		tr.Close()
	}
}

// FuzzFacts does what TestFacts does with any request.
func FuzzFacts(f *testing.F) {
	for i, target := range requestTargets() {
		f.Add(target, "a=b; c=d", formType, "a=b", uint8(i))
	}
	for i, line := range fieldLines {
		f.Add("/?a=b", line, "text/plain", "a", uint8(i))
	}
	for i, body := range bodies() {
		f.Add("/", "", "multipart/form-data; boundary=b0undary", body, uint8(i))
	}
	for i, text := range texts {
		f.Add("/", "", "application/json", text, uint8(i))
	}
	f.Add("/", "", "text/xml", "<a b=\"c\">d</a>", uint8(0))
	f.Add("/", "", "application/graphql", `{a(b:"c")}`, uint8(1))
	f.Add("0", "", "text/plain", "", uint8(0x18))
	e := factsEngine(f)
	f.Fuzz(func(t *testing.T, target, cookie, contentType, body string, how uint8) {
		c := call{method: "POST", target: target, fields: browser("Cookie", cookie, "Content-Type", contentType), body: body, policy: []string{"default", "few", "small", "default"}[how&3]}
		if how&4 != 0 {
			c = c.in(t, coding.Gzip)
		}
		if how&8 != 0 {
			c.fields = append(c.fields, gate.Field{Name: "X-Processor", Value: "json"})
		}
		resp := codedAnswer("", body, "X-A", cookie)
		if how&16 != 0 {
			resp = codedAnswer("gzip", body, "Content-Type", contentType)
		}
		holdFacts(t, e, c, resp)
	})
}

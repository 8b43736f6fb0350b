package waf

import (
	"strings"
	"testing"

	"github.com/corazawaf/coraza/v3/types"

	"sallyport/internal/gate"
)

// What an application reads must be among what the rules were shown, or the
// request must have been refused: where an application reads more than the
// rules do is where attacks go.

// A sight is what the rules were shown of a request.
type sight struct{ names, values []string }

// shown judges a request and returns what its rules could look at. A request
// that was refused has none.
func shown(e *Engine, c call) (v sight, passed bool) {
	_, t, verdict := begin(e, c)
	defer t.Close()
	if !verdict.Passed() {
		return v, false
	}
	vars := t.run.tx.Variables()
	for _, c := range []interface{ FindAll() []types.MatchData }{
		vars.ArgsGet(), vars.ArgsPost(), vars.RequestCookies(), vars.RequestHeaders(), vars.MultipartName(), vars.Files(), vars.RequestXML(),
	} {
		for _, m := range c.FindAll() {
			v.names, v.values = append(v.names, m.Key()), append(v.values, m.Value())
		}
	}
	return v, true
}

// missing is the first name or value of a reading that the rules were not
// shown; empty when there is none. Some differences are none to a rule: what is
// not UTF-8 is replaced or dropped by whoever decodes it; white space may end a value
// or a name, and equals signs begin a value; a parameter that cannot be
// decoded whole stays encoded to some; and names are found inside the names
// that they were taken out of, whatever a language does to their punctuation.
func (v sight) missing(r reading) string {
	valid := func(s string) string { return strings.ReplaceAll(strings.ToValidUTF8(s, ""), "\uFFFD", "") }
	for _, value := range r.values {
		value = strings.TrimLeft(value, "=")
		found := value == ""
		for _, s := range v.values {
			s = strings.TrimLeft(s, "=")
			found = found || strings.TrimRight(s, " \t\r\n") == strings.TrimRight(value, " \t\r\n") || valid(s) == valid(value) || strings.Contains(value, "%") && s == strings.TrimLeft(percent(value, false), "=")
		}
		if !found {
			return "value " + value
		}
	}
	alike := func(s string) string { return strings.TrimRight(phpName(valid(s)), "_ \t\r\n") }
	for _, name := range r.names {
		found := false
		for _, s := range append(v.names, v.values...) {
			found = found || strings.Contains(phpName(valid(s)), alike(name)) || strings.Contains(name, "%") && strings.Contains(phpName(valid(s)), alike(percent(name, false)))
		}
		if !found {
			return "name " + name
		}
	}
	return ""
}

// silent is an engine whose rules never match.
func silent(tb testing.TB) *Engine {
	return miniature(tb, gate.Enforce, `SecRule ARGS "@streq this is never there" "id:1,phase:2,pass,nolog"`)
}

// formReaders are the applications that take a query or a form apart.
var formReaders = map[string]func(string) reading{
	"go": goForm, "php": phpForm, "node querystring": nodeQuerystring, "node qs": nodeQS,
	"python":     func(s string) reading { return pythonForm(s, false) },
	"old python": func(s string) reading { return pythonForm(s, true) },
}

var cookieReaders = map[string]func(string) reading{
	"go": func(s string) reading { return goCookies([]string{s}) }, "node": nodeCookies, "python": pythonCookies, "java": javaCookies,
	"php":     func(s string) reading { return phpCookies(s, false) },
	"old php": func(s string) reading { return phpCookies(s, true) },
}

// compare fails when an application reads what the rules were not shown.
func compare(t *testing.T, e *Engine, c call, readings map[string]reading) {
	t.Helper()
	v, passed := shown(e, c)
	if !passed {
		return
	}
	for application, r := range readings {
		if what := v.missing(r); what != "" {
			t.Errorf("%s reads the %.300q of a request that the rules see as %.1000q, %.1000q", application, what, v.names, v.values)
		}
	}
}

func read(readers map[string]func(string) reading, s string) map[string]reading {
	out := map[string]reading{}
	for name, f := range readers {
		out[name] = f(s)
	}
	return out
}

// forms are queries and forms that applications take apart in different ways.
var forms = []string{
	"a=1&b=2", "a[b]=1&a[c][]=2&a[][d]=3", "a.b=1&c d=2&a+b=3", "a[b=1&[c]=2&a]b=3", "%61=%62&a%5Bb%5D=c", "+a=b&%20%20c=d", "a%00b=c&d=e%00f",
	"a=1&a=2&A=3", "=x&&a&b=", "a=1;b=2;c", ";a=1&b=2;", "a=%3Bb%3D2", "a=%u0041&b=%zz&c=%4", "a=%41%zz+b", "a=%E9&b=%C3%A9&%E9=c", "a==b&c=d=e", "a]=b=c&d=]=e",
	"a=b%26c=d", "a=<script>&b=%3Cscript%3E", "__proto__[a]=b&constructor.c=d", "a[0]=b&a[1]=c&a[b]=d", "a=1&a[]=2", "utf8=%E2%9C%93&a=%26%2360%3B", "a=b;c=d&e=f;g", "a%3Bb=c;d%3De=f",
	strings.Repeat("a=1&", 999) + "b=2", "_charset_=utf-8&a=b", "query={a(b:\"c\")}&variables={\"d\":\"e\"}",
}

// fieldLines are values of a Cookie field.
var fieldLines = []string{
	"a=1; b=2", "a=1;b=2;", "a=1, b=2", "a=1,b=2; c=3", "$Version=1; a=\"b\"; $Path=/", `a="b;c"; d=e`, `a="b\073c\"d"`, `a="b`, `a="b"c; d="`, "=a; b; c=", "a=b=c", "a = b ; c= d", "a=b c=d",
	"a=%3Cscript%3E", "%61=b+c", "a=b%2Bc+d", "a=%zz%41", `a="%41"`, "a=b\xa0; c=\xa0d", "a=\xc3\xa9", "a.b=c; d[e]=f; g h=i", "a=b;\tc=d", `a={"b":"c","d":"e=f"}`, "a=Wed, 09-Jun-2021 10:18:14 GMT; b=c", "a=1; A=2; a=3", "a,b=c", "a=b\tc d", "a\tb=c\td, e=f", "= a= b c",
}

// bodies are multipart forms, of which most are refused.
func bodies() []string {
	one := field("a", "b")
	return []string{
		one + last, one + field("c", "d") + last, file("f", "g.txt", "h") + one + last, file("f", `g\".txt`, "h") + last, file("f", "g%22.txt", "h") + last,
		strings.ReplaceAll(one+last, "\r\n", "\n"), strings.Replace(one, "form-data;", "form-data;\r\n", 1) + last, strings.Replace(one, `"a"`, `'a;filename=b;c'`, 1) + last,
		strings.Replace(one, `"a"`, `a; filename*=UTF-8''b`, 1) + last, strings.Replace(one, `"a"`, `"a\\"; filename="b"`, 1) + last, strings.Replace(one, "--b0undary", "--b0undary ", 1) + last,
		strings.Replace(one, `"a"`, "\"a\"\r\nContent-Transfer-Encoding: quoted-printable", 1) + last, "x" + one + last, one + "--b0undary--x", one,
		strings.Replace(one, `"a"`, `"a"; filename=""`, 1) + last, strings.Replace(one, `"a"`, `"a"; filename="b"; filename="c"`, 1) + last,
		strings.Replace(one, "\r\nb\r\n", "\r\nb\n--b0undary\nc\r\n", 1) + last, strings.Replace(one, `"a"`, "\"a\"\r\nContent-Type: application/json", 1) + last,
	}
}

// texts are bodies that some read as JSON.
var texts = []string{
	`{"a":"b","c":{"d":["e",1,null]}}`, `{"a":1,"a":"b"}`, `{"\u0061":"\u003c\ud83d\ude00\ud800"}`, `[NaN,Infinity,"\u0041"]`, `{"a":-Infinity,"b":"\u0041"}`, `{"a":Infinity,"a":"b","c":[NaN,-Infinity,"d"]}`, "{\"a\":1}\n{\"b\":\"c\"}", "\ufeff{\"a\":\"b\"}",
	`{"a":"b&c=%41"}`, `{"":{"":"a"}}`, `[[["a"]],{}]`, `{"a.b":"c"}`, `{"a":"b"} x`, `{"a":"\n\t\\\"\/"}`, `[1e5,-0.5,12345678901234567890]`, `{"query":"{a(b:\"\u0041\")}","variables":{"c":"d"}}`,
}

// TestDifferential compares with every application.
func TestDifferential(t *testing.T) {
	e := silent(t)
	for _, form := range forms {
		compare(t, e, get("/?"+form), read(formReaders, form))
		compare(t, e, post(formType, form), read(formReaders, form))
	}
	for _, line := range fieldLines {
		compare(t, e, get("/", "Cookie", line), read(cookieReaders, line))
	}
	for _, body := range bodies() {
		compareForm(t, e, body)
	}
	for _, text := range texts {
		compareJSON(t, e, text)
	}
	for _, fields := range [][]string{
		{"X-A", "b", "X-A", "c"}, {"x-a", "b", "X-A", "c"}, {"X-A", ""}, {"Accept-Language", "nl", "X-Forwarded-Host", "a, b"}, {"Cookie", "a=b", "Cookie", "c=d"}, {"Range", "bytes=0-1"}, {"Expect-Not", "x"},
	} {
		var r reading
		for i := 0; i < len(fields); i += 2 {
			r.add(fields[i], fields[i+1])
		}
		compare(t, e, get("/", fields...), map[string]reading{"anybody": r})
	}
}

// TestDifferentialFinds holds that the comparison can fail: each application
// reads something that a simpler view would not hold.
func TestDifferentialFinds(t *testing.T) {
	simple := sight{names: []string{"a", "b"}, values: []string{"1", "2", "a=1;b=2", "%3Cscript%3E", `"b\074"`, "1, c=3"}}
	for application, r := range map[string]reading{
		"old python":    pythonForm("a=1;b=3", true),
		"php":           phpForm("a[c]=3"),
		"php cookies":   phpCookies("a=%3Cscript%3E", false),
		"python cookie": pythonCookies(`a="b\074"`),
		"java cookies":  javaCookies("a=1, b=3"),
		"node cookies":  nodeCookies(`a="%3Cscript%3E"`),
		"json":          anyJSON(`{"a":"\u003c"}`),
		"form":          formStyles[0].read(field("a", "x")+last, "b0undary"),
	} {
		if simple.missing(r) == "" {
			t.Errorf("%s reads %q, and nothing of it is missed", application, r)
		}
	}
}

// compareForm compares with the readers of multipart forms.
func compareForm(t *testing.T, e *Engine, body string) {
	t.Helper()
	readings := map[string]reading{}
	for _, s := range formStyles {
		readings[s.name] = s.read(body, "b0undary")
	}
	compare(t, e, multi(body), readings)
}

// compareJSON compares with the readers of JSON, under every type that such
// bodies come with.
func compareJSON(t *testing.T, e *Engine, body string) {
	t.Helper()
	readings := map[string]reading{"json": anyJSON(body), "python": pythonJSON(body)}
	for _, contentType := range []string{"application/json", "text/plain", formType} {
		compare(t, e, post(contentType, body), readings)
	}
}

// printable reports whether the strict reader lets every byte through.
func printable(s string, also string) bool {
	return !strings.ContainsFunc(s, func(c rune) bool { return (c <= ' ' || c == 0x7F) && !strings.ContainsRune(also, c) })
}

func FuzzDifferentialForm(f *testing.F) {
	for _, form := range forms {
		f.Add(form)
	}
	e := silent(f)
	f.Fuzz(func(t *testing.T, form string) {
		if form == "" {
			return
		}
		compare(t, e, post(formType, form), read(formReaders, form))
		if printable(form, "") && !strings.ContainsAny(form, "\"#\\<>") && !strings.ContainsFunc(form, func(c rune) bool { return c >= 0x80 }) {
			compare(t, e, get("/?"+form), read(formReaders, form))
		}
	})
}

func FuzzDifferentialCookies(f *testing.F) {
	for _, line := range fieldLines {
		f.Add(line)
	}
	e := silent(f)
	f.Fuzz(func(t *testing.T, line string) {
		if line = strings.Trim(line, " \t"); printable(line, " \t") {
			compare(t, e, get("/", "Cookie", line), read(cookieReaders, line))
		}
	})
}

func FuzzDifferentialMultipart(f *testing.F) {
	for _, body := range bodies() {
		f.Add(body)
	}
	e := silent(f)
	f.Fuzz(func(t *testing.T, body string) {
		if body != "" {
			compareForm(t, e, body)
		}
	})
}

func FuzzDifferentialJSON(f *testing.F) {
	for _, text := range texts {
		f.Add(text)
	}
	e := silent(f)
	f.Fuzz(func(t *testing.T, body string) {
		if body != "" {
			compareJSON(t, e, body)
		}
	})
}

package waf

import (
	"encoding/json"
	"errors"
	"io"
	"mime/multipart"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"

	vars "github.com/corazawaf/coraza/v3/types/variables"

	"sallyport/internal/gate"
	"sallyport/waf/prover"
)

// arguments are the ARGS_POST among the facts, sorted.
func arguments(facts *prover.Facts) []string {
	var all []string
	for _, f := range facts.All(vars.ArgsPost) {
		all = append(all, f.Key+"="+f.Value)
	}
	slices.Sort(all)
	return all
}

// keyed are the values of a variable under a key.
func keyed(facts *prover.Facts, v prover.Variable, key string) []string {
	var values []string
	for _, f := range facts.All(v) {
		if f.Key == key {
			values = append(values, f.Value)
		}
	}
	return values
}

// TestReadJSON holds names and values to those of the engine's own reader, but
// for empty elements, which that one leaves out.
func TestReadJSON(t *testing.T) {
	for body, want := range map[string][]string{
		`{"a":{"b":"c"},"d":[1,{"e":null}],"f":true}`: {"json.a.b=c", "json.d.0=1", "json.d.1.e=", "json.d=2", "json.f=true"},
		`[]`:                                    nil,
		`{}`:                                    nil,
		` "x" `:                                 {"json.0=x", "json=1"},
		`-1.5e+3`:                               {"json.0=-1.5e+3", "json=1"},
		`[[1],[]]`:                              {"json.0.0=1", "json.0=1", "json.1=", "json=2"},
		`{"\u0061\n":"\ud83d\ude00\ud800\"\/"}`: {"json.a\n=😀\"/", "json.a\n=😀\ufffd\"/"}, // half a character may be dropped,
		`{"":1}`:                                {"json.=1"},
	} {
		facts := new(prover.Facts)
		to := newSink(facts, &bounds)
		if err := readJSON(body, to); err != nil {
			t.Errorf("readJSON(%s): %v", body, err)
		}
		if got := arguments(facts); !reflect.DeepEqual(got, want) {
			t.Errorf("readJSON(%s) = %q, want %q", body, got, want)
		}
	}
}

// FuzzJSON holds the strict reader to the standard library's: what it accepts
// is valid, and what is valid it accepts, but for its bounds and duplicates.
func FuzzJSON(f *testing.F) {
	for _, s := range []string{`{"a":[1,2.5e-3,null,true],"b":"\u00e9\\"}`, `[`, `"\ud800\udc00"`, `{"a":1,"a":2}`, "[\"\x00\"]", `01`, `[-]`, `[1.]`, `{"a" : {} , "b":[ ]}`, `tru`, `"a`} {
		f.Add(s)
	}
	facts := new(prover.Facts)
	f.Fuzz(func(t *testing.T, body string) {
		to := newSink(facts, &bounds)
		err := readJSON(body, to)
		facts.Reset()
		valid := json.Valid([]byte(body))
		bounded := to.full || err != nil && (errors.Is(err, errDuplicate) || errors.Is(err, errBound))
		if !bounded && (err == nil) != valid {
			t.Errorf("readJSON(%q) = %v, valid: %v", body, err, valid)
		}
		if errors.Is(err, errCut) && valid {
			t.Errorf("readJSON(%q) = %v, want no cut in a valid text", body, err)
		}
		loose := newSink(facts, &bounds)
		if whole, err := readJSONLoosely(body, loose); valid && !whole && err == nil && !loose.full {
			t.Errorf("readJSONLoosely(%q) does not take the whole text", body)
		}
		facts.Reset()
	})
}

// TestPairs holds the reader of forms to its leniency.
func TestPairs(t *testing.T) {
	for form, want := range map[string][]string{
		"a=1&b=2":             {"a=1", "b=2"},
		"a=1&a=2&a[]=3":       {"a=1", "a=2", "a[]=3"},
		"&&a&=b&c=&":          {"=b", "a=", "c="},
		"a+b=%41%zz%4&c=1%":   {"a b=A%zz%4", "c=1%"},
		"a=b=c;d=e":           {"a=b=c", "a=b=c;d=e", "d=e"},
		"a=1;2&b=3;":          {"a=1", "a=1;2", "b=3", "b=3;"},
		"a=%3Bb=c&;":          {";=", "a=;b=c"},
		"a[b=c]=d&a[b]=c":     {"a[b=c]=d", "a[b=c]=d", "a[b]=c"},
		"a=b%5d=c":            {"a=b]=c", "a=b]=c"},
		"%61=1&%3d=%26&x=%00": {"==&", "a=1", "x=\x00"},
	} {
		facts := new(prover.Facts)
		readForm(form, newSink(facts, &bounds), false)
		if got := arguments(facts); !reflect.DeepEqual(got, want) {
			t.Errorf("readForm(%q) = %q, want %q", form, got, want)
		}
		if got := facts.Get(vars.RequestBody); got != form {
			t.Errorf("REQUEST_BODY = %q, want %q", got, form)
		}
	}
}

// FuzzUnescape agrees with the standard library wherever that decodes at all.
func FuzzUnescape(f *testing.F) {
	f.Add("a+b%20%41")
	f.Add("%")
	f.Fuzz(func(t *testing.T, s string) {
		got := unescape(s)
		if want, err := url.QueryUnescape(s); err == nil && got != want {
			t.Errorf("unescape(%q) = %q, want %q", s, got, want)
		}
	})
}

// TestCookies holds the reader of cookies to what applications make of them.
func TestCookies(t *testing.T) {
	for value, want := range map[string][]string{
		"a=1; b=2":               {"a=1", "b=2"},
		" a = 1 ;;b":             {"a=1", "a= 1 ", "b="},
		"a=1=2; =x; = ;":         {"a=1=2", "=x"},
		"a\v=\tx\x7f":            {"a=x", "a=\tx\x7f"},
		`a="1;2"`:                {`a="1`, `a=`, `2"=`, `a="1;2"`, `a=1;2`},
		`a="1\073\"2"; b="c\"`:   {`a="1\073\"2"`, `a=1\073\"2`, `a=1;"2`, `b="c\"`, `b=c\`},
		"a=%41; %62=c":           {"a=%41", "a=A", "%62=c", "b=c"},
		"a=b+%2b":                {"a=b+%2b", "a=b +", "a=b++"},
		"a=b+c":                  {"a=b+c", "a=b c"},
		"a=%zz":                  {"a=%zz"},
		"$Version=1; a=b, c = d": {"$Version=1", "a=b, c = d", "a=b", "c=d", "a=b,"},
		"a=b c=d":                {"a=b c=d", "a=b", "c=d"},
		"a=\"%41\"":              {`a="%41"`, `a="A"`, "a=%41", "a=A"},
		"a=\xa0b":                {"a=\xa0b", "a=b"},
		`a={"b":1,"c":2}`:        {`a={"b":1,"c":2}`, `a={"b":1`},
	} {
		var got []string
		count := cookies(value, 100, func(name, value string) { got = append(got, name+"="+value) })
		if !reflect.DeepEqual(got, want) {
			t.Errorf("cookies(%q) = %q, want %q", value, got, want)
		}
		some := 0
		if again := cookies(value, 1, func(string, string) { some++ }); again != count || count > 1 && some >= len(got) {
			t.Errorf("cookies(%q), one of them: %d of %d handed on, %d counted, want %d", value, some, len(got), again, count)
		}
	}
}

// TestFormReader holds the strict reader of multipart bodies to its grammar.
func TestFormReader(t *testing.T) {
	const crlf = "\r\n"
	disposition := func(params string) string {
		return "--b" + crlf + "Content-Disposition: form-data; " + params + crlf + crlf + "v" + crlf + "--b--" + crlf
	}
	for _, tc := range []struct{ rule, body, defect, name, file, other string }{
		{"a field", disposition(`name="a"`), "", "a", "", ""},
		{"a token as name", disposition(`name=a`), "", "a", "", ""},
		{"a file", disposition(`name="a"; filename="b.txt"`), "", "a", "b.txt", ""},
		{"no file chosen", disposition(`name="a"; filename=""`), "", "a", "", ""},
		{"a line end before the first boundary", crlf + disposition(`name="a"`), "", "a", "", ""},
		{"no line end after the last boundary", strings.TrimSuffix(disposition(`name="a"`), crlf), "", "a", "", ""},
		{"a semicolon in quotes", disposition(`name="a;b"; filename="c;d"`), "", "a;b", "c;d", ""},
		{"an escaped quote: both readings", disposition(`name="a"; filename="b\".php"`), "", "a", `b".php`, `b\".php b\`},
		{"a Windows path: both readings", disposition(`name="a"; filename="C:\dir\b.txt"`), "", "a", `C:dirb.txt`, `C:\dir\b.txt`},
		{"filename*", disposition(`name="a"; filename*=UTF-8''b%2Ephp`), "", "a", "b.php", ""},
		{"filename* in Latin 1", disposition(`name="a"; filename*=iso-8859-1'en'b%2Ephp`), "", "a", "b.php", ""},
		{"filename* in UTF-7", disposition(`name="a"; filename*=UTF-7''b+AC4-php`), "charset", "a", "b+AC4-php", ""},
		{"filename* in no charset", disposition(`name="a"; filename*=''b%2Ephp`), "charset", "a", "b.php", ""},
		{"filename* and filename: both readings", disposition(`name="a"; filename="c.txt"; filename*=utf-8'en'b.php`), "", "a", "b.php", "c.txt"},
		{"filename* of another charset", disposition(`name="a"; filename*=iso-8859-1''b%2ephp`), "", "a", "b.php", ""},
		{"filename* in quotes", disposition(`name="a"; filename*="utf-8''b.php"`), "in quotes", "a", "b.php", ""},
		{"a single quote in filename*", disposition(`name="a"; filename*=utf-8''b'c; filename="d"`), "malformed filename*", "a", "d", ""},
		{"a malformed filename*", disposition(`name="a"; filename="c"; filename*=b.php`), "malformed filename*", "a", "c", ""},
		{"a name in pieces", disposition(`name="a"; filename*0="b"; filename*1=".php"`), "several pieces", "a", "", ""},
		{"two file names", disposition(`name="a"; filename="b.txt"; filename="c.php"`), "appears twice", "a", "b.txt", "c.php"},
		{"two names", disposition(`name="a"; name="b"`), "appears twice", "a", "", ""},
		{"no name", disposition(`filename="b"`), "without a name", "", "b", ""},
		{"not form-data", "--b" + crlf + "Content-Disposition: attachment; name=a" + crlf + crlf + "v" + crlf + "--b--", "not form-data", "a", "", ""},
		{"no disposition", "--b" + crlf + "X-A: 1" + crlf + crlf + "v" + crlf + "--b--", "without Content-Disposition", "", "", ""},
		{"no headers", "--b" + crlf + crlf + "v" + crlf + "--b--", "without Content-Disposition", "", "", ""},
		{"a quote that is not closed", disposition(`name="a`), "not closed", "", "", ""},
		{"something after a quoted value", disposition(`name="a"b`), "malformed parameter", "", "", ""},
		{"a header twice", "--b" + crlf + "Content-Disposition: form-data; name=a" + crlf + "content-disposition: form-data; name=b" + crlf + crlf + "v" + crlf + "--b--", "twice", "b", "", ""},
		{"a folded header", "--b" + crlf + "Content-Disposition: form-data; name=a;" + crlf + " filename=b.php" + crlf + crlf + "v" + crlf + "--b--", "continued", "a", "", ""},
		{"a space before the colon", "--b" + crlf + "Content-Disposition : form-data; name=a" + crlf + crlf + "v" + crlf + "--b--", "valid name", "", "", ""},
		{"a lone LF", strings.ReplaceAll(disposition(`name="a"`), crlf, "\n"), "after a boundary", "", "", ""},
		{"something before the first boundary", "x" + disposition(`name="a"`), "before the first boundary", "", "", ""},
		{"something after the last boundary", disposition(`name="a"`) + "--b", "after the last boundary", "a", "", ""},
		{"white space after a boundary", strings.Replace(disposition(`name="a"`), "--b", "--b ", 1), "after a boundary", "", "", ""},
		{"a boundary after a lone LF", strings.Replace(disposition(`name="a"; filename="f"`), "v", "v\n--b\nX: 1\n\nw", 1), "without a CRLF", "a", "f", ""},
		{"a boundary after a lone CR", strings.Replace(disposition(`name="a"; filename="f"`), "v", "v\r--b\rX: 1\r\rw", 1), "without a CRLF", "a", "f", ""},
		{"a boundary right after a head", strings.Replace(disposition(`name="a"; filename="f"`), "v", "--b\r\nX: 1\r\n\r\nw", 1), "without a CRLF", "a", "f", ""},
		{"lines that only begin like a boundary", strings.Replace(disposition(`name="a"; filename="f"`), "v", "--c\n--c\n-b\r--c\r\n--c\r\r\n\n\r-", 1), "", "a", "f", ""},
		{"a part that has parts itself", strings.Replace(disposition(`name="a"; filename="f"`), "\"f\"", "\"f\"\r\nContent-Type: Multipart/Mixed; boundary=c", 1), "has parts itself", "a", "f", ""},
		{"a page with its pictures as a file", strings.Replace(disposition(`name="a"; filename="f"`), "\"f\"", "\"f\"\r\nContent-Type: multipart/related; boundary=c", 1), "", "a", "f", ""},
		{"no end", "--b" + crlf + "Content-Disposition: form-data; name=a" + crlf + crlf + "v", "before its last boundary", "a", "", ""},
		{"an endless header", "--b" + crlf + "X: " + strings.Repeat("a", maxPartHead), "bytes of part headers", "", "", ""},
	} {
		for _, cut := range []int{len(tc.body), 1, 3, 7} {
			f, err := newFormReader("multipart/form-data; boundary=b", defaultArguments)
			if err != nil {
				t.Fatal(err)
			}
			for i := 0; i < len(tc.body); i += cut {
				f.feed([]byte(tc.body[i:min(i+cut, len(tc.body))]))
			}
			err = f.finish()
			if (err == nil) != (tc.defect == "") || err != nil && !strings.Contains(err.Error(), tc.defect) {
				t.Errorf("%s, %d bytes at a time: %v, want %q", tc.rule, cut, err, tc.defect)
			}
			var p formPart
			if len(f.parts) > 0 {
				p = f.parts[len(f.parts)-1]
			}
			if p.name != tc.name || p.filename != tc.file || strings.Join(p.otherFilenames, " ") != tc.other {
				t.Errorf("%s: name %q, file %q, other %q, want %q, %q, %q", tc.rule, p.name, p.filename, p.otherFilenames, tc.name, tc.file, tc.other)
			}
		}
	}
	for contentType, valid := range map[string]bool{
		"multipart/form-data; boundary=b": true, `Multipart/Form-Data; charset=utf-8; boundary="b c"`: true, "multipart/form-data;boundary=----WebKitFormBoundaryABC": true,
		"multipart/form-data": false, "multipart/form-data; boundary=": false, "multipart/form-data; boundary=b; boundary=c": false,
		"multipart/form-data; boundary=b\"": false, `multipart/form-data; boundary="b `: false, `multipart/form-data; boundary="b "`: false,
		"multipart/form-data; boundary=" + strings.Repeat("b", 71): false, `multipart/form-data; boundary="b@"`: false, "multipart/form-datax; boundary=b": false,
		"multipart/form-data; boundary=b; boundary*=utf-8''c": false,
		"multipart/form-data; boundary=b,c":                   false, `multipart/form-data; boundary="b,c"`: true, "multipart/form-data; boundary=a'b": true,
		"multipart/form-data; version=boundary=c; boundary=b": false, "multipart/form-data; x-boundary=c; boundary=b": false,
		"multipart/form-data; version=1; boundary=----boundary": true,
	} {
		if _, err := newFormReader(contentType, defaultArguments); (err == nil) != valid {
			t.Errorf("newFormReader(%q): %v, want valid: %v", contentType, err, valid)
		}
	}
}

// TestFormFiles holds that only what is a file to every application is one:
// the content of the rest is judged.
func TestFormFiles(t *testing.T) {
	e := sharedEngine(t)
	for _, tc := range []struct {
		rule, params string
		file         bool
	}{
		{"a file name", `name="a"; filename="f.txt"`, true},
		{"a file name without quotes", `name=a; filename=f.txt`, true},
		{"both forms of it", `name="a"; filename="f.txt"; filename*=UTF-8''f%2Etxt`, true},
		{"a quote in the file name", `name="a"; filename="f\".txt"`, true},
		{"a Windows path", `name="a"; filename="C:\dir\f.txt"`, true},
		{"no file name", `name="a"`, false},
		{"no file chosen", `name="a"; filename=""`, false},
		{"filename* alone, which many do not know", `name="a"; filename*=UTF-8''f.txt`, false},
		{"filename* beside an empty name", `name="a"; filename=""; filename*=UTF-8''f.txt`, false},
		{"an escape at the end of a value", `name="a\\"; filename="f.txt"`, false},
		{"an escape at the end of the file name", `name="a"; filename="f\\"`, false},
		{"an escaped quote in another value", `name="a"; x="\" "; filename="f.txt"; y=" "`, false},
		{"single quotes around a semicolon", `name='a;filename=f.txt;x='`, false},
		{"a single quote in a parameter name", `name="a"; x'=1; filename="f.txt"`, false},
	} {
		body := func(content string) string {
			return "--b0undary\r\nContent-Disposition: form-data; " + tc.params + "\r\n\r\n" + content + "\r\n" + last
		}
		f, err := newFormReader("multipart/form-data; boundary=b0undary", defaultArguments)
		if err != nil {
			t.Fatal(err)
		}
		f.feed([]byte(body("x")))
		if err := f.finish(); err != nil || len(f.parts) != 1 || f.parts[0].file() != tc.file {
			t.Errorf("%s: %v, %+v, want a file: %v", tc.rule, err, f.parts, tc.file)
		}
		if o := run(e, multi(body("<script>alert(1)</script>"))); !tc.file && o.verdict.Reason != gate.WAFInboundScore {
			t.Errorf("%s: the content passes: %v", tc.rule, o.verdict)
		}
	}
}

// FuzzFormReader compares with the standard library's reader: what the strict
// reader accepts, both understand alike, however the bytes are cut.
func FuzzFormReader(f *testing.F) {
	f.Add("--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nv\r\n--b--\r\n", 3)
	f.Add("--b\r\nContent-Disposition: form-data; name=a; filename=\"f\"\r\nContent-Type: text/plain\r\n\r\n\r\n-\r\n--\r\n--b\r\nContent-Disposition: form-data; name=c\r\n\r\n\r\n--b--", 1)
	f.Add("--b\r\nContent-Disposition: form-data; name=a; filename=f\r\n\r\n--b\r\nContent-Disposition: form-data; name=c\r\n\r\nv\r\n--b--", 4)
	f.Add("--b\r\nContent-Disposition: form-data; name=a\r\n\r\nv\n--\r--\n--c\r\n-\r\n--b--", 2)
	f.Fuzz(func(t *testing.T, body string, cut int) {
		whole, _ := newFormReader("multipart/form-data; boundary=b", defaultArguments)
		whole.feed([]byte(body))
		err := whole.finish()
		if cut > 0 {
			parts, _ := newFormReader("multipart/form-data; boundary=b", defaultArguments)
			for i := 0; i < len(body); i += cut {
				parts.feed([]byte(body[i:min(i+cut, len(body))]))
			}
			if again := parts.finish(); (again == nil) != (err == nil) || err == nil && !reflect.DeepEqual(parts.parts, whole.parts) {
				t.Fatalf("%q: whole %v, in pieces of %d %v", body, err, cut, again)
			}
		}
		if err != nil {
			return
		}
		r := multipart.NewReader(strings.NewReader(body), "b")
		for i := range whole.parts {
			p, err := r.NextRawPart()
			if err != nil {
				t.Fatalf("%q: part %d: %v", body, i, err)
			}
			content, err := io.ReadAll(p)
			if err != nil {
				t.Fatalf("%q: part %d: %v", body, i, err)
			}
			mine := whole.parts[i]
			if int64(len(content)) != mine.size || !mine.file() && string(content) != string(mine.data) {
				t.Fatalf("%q: part %d holds %q, want %q", body, i, mine.data, content)
			}
			if name := p.FormName(); name != "" && name != mine.name && !strings.ContainsAny(body, "\\*") {
				t.Fatalf("%q: part %d is %q, want %q", body, i, mine.name, name)
			}
		}
		if _, err := r.NextRawPart(); err != io.EOF {
			t.Fatalf("%q: one more part: %v", body, err)
		}
	})
}

// TestReadXML hands on text, attributes and declarations, and bounds how many
// values the rules see without hiding any.
func TestReadXML(t *testing.T) {
	body := `<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x SYSTEM "file:///x">]><a b="c"><![CDATA[<d>]]>e&amp;<!-- no --></a>`
	facts := new(prover.Facts)
	if err := readXML(body, newSink(facts, &bounds), xmlPlaces{}); err != nil {
		t.Fatal(err)
	}
	want := []string{`<!DOCTYPE a [<!ENTITY x SYSTEM "file:///x">]>`, "c", "<d>e&"}
	if got := keyed(facts, vars.RequestXML, "/*"); !reflect.DeepEqual(got, want) {
		t.Errorf("XML:/* = %q, want %q", got, want)
	}
	if got := keyed(facts, vars.RequestXML, "//@*"); !reflect.DeepEqual(got, []string{"c"}) {
		t.Errorf("XML://@* = %q, want [c]", got)
	}
	for body, want := range map[string][]string{
		"<a>UN<!-- -->ION<![CDATA[ SEL]]><?x?>ECT</a>": {"UNION SELECT"}, // one text to the application
		"<a>b<c/>d<e>f</e></a>":                        {"b", "d", "f"},
		// Names that have no end in HTML have one everywhere else.
		"<rss><link>x</link><params><param><value>y</value></param></params><meta>z</meta></rss>": {"x", "y", "z"},
		// Nearly all rules look at texts alone; a name space is neither.
		`<a b="c" d:e="f" xmlns="g" xmlns:d="h">i</a>`: {"c", "f", "i"},
		"<a><br>b<p>c</a>": {"b", "c"}, // read on, as a lenient application does
	} {
		facts := new(prover.Facts)
		if err := readXML(body, newSink(facts, &bounds), xmlPlaces{}); err != nil {
			t.Errorf("%s: %v", body, err)
		}
		if got := keyed(facts, vars.RequestXML, "/*"); !slices.Equal(got, want) {
			t.Errorf("%s: XML:/* = %q, want %q", body, got, want)
		}
	}
	for depth, readable := range map[int]bool{maxXMLDepth: true, maxXMLDepth + 1: false} {
		if err := readXML(strings.Repeat("<a>", depth)+strings.Repeat("</a>", depth), newSink(new(prover.Facts), &bounds), xmlPlaces{}); (err == nil) != readable {
			t.Errorf("nested %d deep: %v, want it read: %v", depth, err, readable)
		}
	}
	facts.Reset()
	if err := readXML("<a>"+strings.Repeat("<b>x</b>", 3000)+"<b>evil</b></a>", newSink(facts, &bounds), xmlPlaces{}); err != nil {
		t.Fatal(err)
	}
	if got := keyed(facts, vars.RequestXML, "/*"); len(got) != defaultArguments || !strings.Contains(got[defaultArguments-1], "evil") {
		t.Errorf("%d values, the last of %d bytes, want %d and the rest in the last", len(got), len(got[len(got)-1]), defaultArguments)
	}
	for _, small := range []int{1, 2, 5} {
		in := &latin1{r: strings.NewReader("a\xe9\xffz")}
		var out []byte
		buf := make([]byte, small)
		for {
			n, err := in.Read(buf)
			out = append(out, buf[:n]...)
			if err != nil {
				break
			}
		}
		if string(out) != "aéÿz" {
			t.Errorf("latin1, %d bytes at a time: %q", small, out)
		}
	}
}

// TestLooseTextsEnd reads texts that may be JSON with more values in them than are
// taken: the reading has to end all the same.
func TestLooseTextsEnd(t *testing.T) {
	e := policies(t, map[string]func(*Policy){"default": func(p *Policy) { p.Arguments = 3 }})
	for _, body := range []string{`[1,2,3,4,5] {"a":"b"} "c"`, strings.Repeat(`{"a":1} `, 9), `"\u0041" "\u0042" "\u0043" "\u0044" "\u0045"`} {
		for _, contentType := range []string{"text/plain", formType, "application/graphql"} {
			run(e, post(contentType, body)).expect(t, contentType+" "+body, gate.Refuse, gate.WAFTooManyArguments)
		}
	}
}

package waf

import (
	"strings"
	"testing"

	vars "github.com/corazawaf/coraza/v3/types/variables"

	"sallyport/internal/gate"
	"sallyport/waf/prover"
)

const (
	script  = "<script>alert(1)</script>"
	escaped = `\u003cscript\u003ealert(1)\u003c\/script\u003e`
)

// typed is an engine whose rules look for an attack as an application would
// see it, decoded, and at nothing else.
func plainEngine(tb testing.TB, mode gate.Mode) *Engine {
	return miniature(tb, mode, `SecRule ARGS|ARGS_NAMES|XML:/*|XML://@* "@contains <script>" "id:1,phase:2,t:none,log,deny"`)
}

// TestBodiesOfAnotherType judges a body as what it is said to be and as what
// it looks like, so that an application may take it for either.
func TestBodiesOfAnotherType(t *testing.T) {
	e := plainEngine(t, gate.Enforce)
	for _, contentType := range []string{formType, "text/plain", "text/plain;charset=UTF-8", "", "application/x-own", "application/jsonrequest"} {
		for name, tc := range map[string]struct{ bad, good string }{
			"json":                     {`{"a":"` + escaped + `"}`, `{"a":"b & c=d"}`},
			"json array":               {` [1,{"a":["` + escaped + `"]}]`, " [1,{\"a\":\n[]}]"},
			"json behind a mark":       {"\ufeff{\"a\":\"" + escaped + `"}`, "\ufeff{}"},
			"a json string":            {`"` + escaped + `"`, `"it's", he said`},
			"json lines":               {"{\"a\":1}\n{\"a\":\"" + escaped + "\"}\n", "{\"a\":1}\n{\"a\":2}\n"},
			"json with NaN":            {`{"a":NaN,"b":"` + escaped + `"}`, `{"a":NaN,"b":"\u0041"}`},
			"json with comments":       {`{/* it's */"a":"` + escaped + `"}`, `{/* it's */"a":"\u0041"}`},
			"json, single quotes":      {`{'a':'` + escaped + `'}`, `{'a':'\u0041'}`},
			"json, a control":          {"{\"a\x01\":1,\"b\":\"" + escaped + "\"}", "{\"a\x01\":1,\"b\":\"\\u0041\"}"},
			"json, a bad escape":       {`{"a\x41":"` + escaped + `"}`, `{"a\x41\u12":"\u0041"}`},
			"json, cut":                {`{"a":"` + escaped, `{"a":"\u0041`},
			"json, cut in an escape":   {`{"a":"` + escaped + `\u00`, `{"a":"\u004`},
			"json, a duplicate key":    {`{"a":"` + escaped + `","a":1}`, `{"a":1,"a":2}`},
			"json, half a character":   {`{"a":"<scr\ud800ipt>"}`, `{"a":"\ud800"}`},
			"xml, character reference": {`<a>&#60;script&#62;</a>`, `<a>&#60;b&#62;</a>`},
			"xml, attribute":           {`<?xml version="1.0"?><a b="&lt;script&gt;"/>`, `<?xml version="1.0"?><a b="&lt;b&gt;"/>`},
			"form":                     {"x=%3Cscript%3E", "x=%3Cb%3E"},
			"json that is a form":      {`{"a":"b&c=%3Cscript%3E&d"}`, `{"a":"b&c=%3Cb%3E&d"}`},
			"text":                     {script, "it's <b>"},
		} {
			if name == "json that is a form" && contentType != formType {
				continue // no application reads a form of another type
			}
			run(e, post(contentType, tc.bad)).expect(t, contentType+" "+name, gate.Refuse, gate.WAFRule)
			run(e, post(contentType, tc.good)).expect(t, contentType+" "+name+", twin", gate.Pass, "")
		}
	}
}

// TestBodyType refuses what cannot be what it is said to be, with a name.
func TestBodyType(t *testing.T) {
	e := plainEngine(t, gate.Enforce)
	form := field("a", "b") + last
	related := "--b\r\nContent-Type: application/json\r\n\r\n{}\r\n--b\r\nContent-Type: image/png\r\n\r\nx\r\n--b--\r\n"
	for _, tc := range []struct{ name, contentType, bad, good string }{
		{"a multipart form called a form", formType, form, "--a=b"},
		{"a multipart form called text", "text/plain", form, "-- \r\na signature"},
		{"a multipart form called nothing", "", form, "--"},
		{"a multipart form called JSON", "application/json", form, "{}"},
		{"a multipart form called XML", "text/xml", form, "<a/>"},
		{"a multipart form called mixed", "multipart/mixed; boundary=b0undary", form, related},
		{"a multipart form called mixed, with a preamble", "multipart/mixed; boundary=b0undary", "x\r\n" + form, "x\r\n" + related},
		{"a multipart form called related", "multipart/related; boundary=b0undary", strings.ReplaceAll(form, "form-data", "attachment"), related},
		{"a form called JSON", "application/json", "a=b&c=d", `["a=b&c=d"]`},
		{"XML called JSON", "application/json", "<a/>", `"<a/>"`},
		{"JSON called XML", "text/xml", `{"a":1}`, `<a>{"a":1}</a>`},
		{"a form called XML", "application/soap+xml", "a=b", " \r\n<a/>"},
		{"JSON called a multipart form", "multipart/form-data; boundary=b0undary", `{"a":1}`, form},
		{"a form called a multipart form", "multipart/form-data; boundary=b0undary", "a=b&c=d", form},
		{"XML called a multipart form", "multipart/form-data; boundary=b0undary", "<a/>", form},
	} {
		run(e, post(tc.contentType, tc.bad)).expect(t, tc.name, gate.Refuse, gate.WAFBodyType)
		run(e, post(tc.contentType, tc.good)).expect(t, tc.name+", twin", gate.Pass, "")
		run(plainEngine(t, gate.Watch), post(tc.contentType, tc.bad)).expect(t, tc.name+", observed", gate.Observe, gate.WAFBodyType)
	}
	// What is refused for its type is judged all the same, for where it passes.
	for _, tc := range []struct{ contentType, body string }{
		{"application/json", "a=%3Cscript%3E"}, {"application/json", "<a>&lt;script&gt;</a>"}, {"application/json", `{'a':'` + escaped + `'}`},
		{"text/xml", `{"a":"` + escaped + `"}`}, {"text/xml", `a=%3Cscript%3E`},
	} {
		run(e, post(tc.contentType, tc.body)).expect(t, tc.contentType+" "+tc.body, gate.Refuse, gate.WAFRule)
	}
	// What exceeds the bounds of JSON is refused whatever it is called.
	deep := strings.Repeat("[", defaultJSONDepth+1)
	run(e, post("text/plain", deep)).expect(t, "deep JSON called text", gate.Refuse, gate.WAFBodyUnreadable)
	run(e, post("text/plain", deep[1:])).expect(t, "deep JSON called text, twin", gate.Pass, "")
}

// TestManyTexts reads the types that hold one JSON text after the other.
func TestManyTexts(t *testing.T) {
	e := plainEngine(t, gate.Enforce)
	for _, contentType := range []string{"application/x-ndjson", "application/json-seq", "application/jsonlines", "application/geo+json-seq"} {
		for name, tc := range map[string]struct {
			body   string
			action gate.Action
			reason gate.Reason
		}{
			"lines":         {"{\"a\":1}\n{\"a\":[2]}\n", gate.Pass, ""},
			"separators":    {"\x1e{\"a\":1}\n\x1e3\n", gate.Pass, ""},
			"attack":        {"{\"a\":1}\n{\"a\":\"" + escaped + "\"}", gate.Refuse, gate.WAFRule},
			"duplicate key": {"{\"a\":1}\n{\"a\":1,\"a\":2}", gate.Refuse, gate.WAFDuplicateName},
			"broken":        {"{\"a\":1}\nx", gate.Refuse, gate.WAFBodyUnreadable},
		} {
			run(e, post(contentType, tc.body)).expect(t, contentType+" "+name, tc.action, tc.reason)
		}
	}
	run(e, post("application/json", "{}\x1e{}")).expect(t, "json", gate.Refuse, gate.WAFBodyUnreadable)
}

// TestShippedTypesPass sends what real clients send under the type that they
// send it under, to the whole rule set.
func TestShippedTypesPass(t *testing.T) {
	e := engineWith(t, func(p *Policy) {
		p.ContentTypes = []string{"application/x-www-form-urlencoded", "multipart/form-data", "text/xml", "application/xml", "application/json", "text/plain", "application/csp-report", "application/x-ndjson"}
	})
	pretty := "{\n  \"event\": \"page view\",\n  \"count\": 3,\n  \"tags\": [\n    \"a\",\n    \"b\"\n  ]\n}\n"
	for name, c := range map[string]call{
		"sendBeacon":             post("text/plain;charset=UTF-8", pretty),
		"curl -d":                post(formType, `{"user":"ann","age":30}`),
		"curl -d, pretty":        post(formType, pretty),
		"curl --data-binary":     post(formType, "{\"index\":1}\n{\"index\":2}\n"),
		"csp-report":             post("application/csp-report", `{"csp-report":{"document-uri":"https://shop.example.org/","blocked-uri":"inline"}}`),
		"text":                   post("text/plain", "Dear all,\nsee you on Friday.\n"),
		"lines":                  post("application/x-ndjson", "{\"index\":{}}\n{\"a\":1}\n"),
		"latin-1 in a form":      post(formType, "name=Ren%E9"),
		"latin-1, declared":      post(formType+"; charset=iso-8859-1", "name=Ren%E9"),
		"upper case charset":     post("application/json; charset=UTF-8", `{"a":"é"}`),
		"an empty JSON document": post("application/json", "{}"),
	} {
		run(e, c).expect(t, name, gate.Pass, "")
	}
}

// TestXML shows what stands in the corners of an XML document.
func TestXML(t *testing.T) {
	e := sharedEngine(t)
	for _, tc := range []struct{ name, bad, good string }{
		{"processing instruction", `<a><?php ` + script + `?></a>`, `<?xml-stylesheet type="text/css"?><a/>`},
		{"CDATA", `<a><![CDATA[` + script + `]]></a>`, `<a><![CDATA[<b>]]></a>`},
		{"CDATA in pieces", `<a><![CDATA[<scr]]><![CDATA[ipt>alert(1)</script>]]></a>`, `<a><![CDATA[<]]><![CDATA[b>]]></a>`},
		{"character references", `<a>&#x3c;script&#62;alert(1)&#60;/script></a>`, `<a>&#x263a;</a>`},
		{"another namespace", `<x:a xmlns:x="urn:x"><x:b x:c="` + strings.ReplaceAll(script, "<", "&lt;") + `"/></x:a>`, `<x:a xmlns:x="urn:x"><x:b x:c="d"/></x:a>`},
		{"XInclude", `<a xmlns:xi="http://www.w3.org/2001/XInclude"><xi:include href="http://10.0.0.1/"/></a>`, `<a xmlns:xi="urn:XInclude"><xi:include href="part.xml"/></a>`},
		{"external entity", `<!DOCTYPE a [<!ENTITY x SYSTEM "file:///x">]><a>&x;</a>`, `<!DOCTYPE a><a>&amp;</a>`},
		{"external subset", `<!DOCTYPE a SYSTEM "http://10.0.0.1/x.dtd"><a/>`, `<!DOCTYPE html><a/>`},
	} {
		run(e, post("text/xml", tc.bad)).expect(t, tc.name, gate.Refuse, gate.WAFInboundScore)
		run(e, post("text/xml", tc.good)).expect(t, tc.name+", twin", gate.Pass, "")
	}
	// An entity is never resolved, neither what it is called nor what it stands for.
	facts := new(prover.Facts)
	if err := readXML(`<!DOCTYPE a [<!ENTITY x "resolved">]><a>&x;</a>`, newSink(facts, &bounds), xmlPlaces{}); err != nil {
		t.Fatal(err)
	}
	if got := keyed(facts, vars.RequestXML, "/*"); len(got) != 2 || got[1] != "&x;" {
		t.Errorf("XML:/* = %q, want the entity left as it is", got)
	}
}

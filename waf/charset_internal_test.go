package waf

import (
	"strings"
	"testing"
	"unicode/utf16"

	"sallyport/internal/gate"
)

// inUTF16 writes a text in UTF-16, with or without a byte order mark.
func inUTF16(text string, big, mark bool) string {
	units := utf16.Encode([]rune(text))
	if mark {
		units = append([]uint16{0xFEFF}, units...)
	}
	var b strings.Builder
	for _, u := range units {
		low, high := byte(u), byte(u>>8)
		if big {
			low, high = high, low
		}
		b.WriteByte(low)
		b.WriteByte(high)
	}
	return b.String()
}

// TestCharsets refuses text in charsets in which a rule does not see what the
// application sees, however the charset is named, and lets pass what is ASCII
// where it looks like ASCII.
func TestCharsets(t *testing.T) {
	e := engineWith(t, func(p *Policy) { p.InboundThreshold = 1000 })
	typed := func(contentType, body string) call { return post(contentType, body) }
	part := func(contentType, value string) string {
		return "--b0undary\r\nContent-Disposition: form-data; name=\"a\"\r\nContent-Type: " + contentType + "\r\n\r\n" + value + "\r\n"
	}
	json, form := "application/json", formType
	for _, tc := range []struct {
		name      string
		bad, good call
	}{
		{"utf-7", typed(form+"; charset=utf-7", "a=+ADw-"), typed(form+"; charset=UTF-8", "a=b")},
		{"utf-16", typed(form+";charset=UTF-16", "a=b"), typed(form+";charset=\"utf-8\"", "a=b")},
		{"utf-16 in quotes", typed(json+`; charset="utf-16"`, "{}"), typed(json+`; charset="UTF-8"`, "{}")},
		{"utf-32", typed(json+"; charset=utf-32le", "{}"), typed(json+"; charset=us-ascii", "{}")},
		{"ebcdic", typed(form+"; charset=ibm037", "a=b"), typed(form+"; charset=ISO-8859-1", "a=b")},
		{"shift_jis", typed(form+"; charset=shift_jis", "a=b"), typed(form+"; charset=windows-1252", "a=b")},
		{"iso-2022-kr", typed(form+"; charset=iso-2022-kr", "a=b"), typed(form+"; charset=iso-8859-15", "a=b")},
		{"an unknown one", typed(form+"; charset=x-user-defined", "a=b"), typed(form+"; charset=windows-1251", "a=b")},
		{"nearly a known one", typed(form+"; charset=iso-8859-100", "a=b"), typed(form+"; charset=iso-8859-9", "a=b")},
		{"single quotes", typed(form+"; charset='utf-7'", "a=b"), typed(form+"; charset='utf-8'", "a=b")},
		{"white space", typed(form+"; charset = utf-7", "a=b"), typed(form+"; charset = utf-8", "a=b")},
		{"two charsets", typed(form+"; charset=utf-8; charset=iso-8859-1", "a=b"), typed(form+"; charset=utf-8; charset=utf-8", "a=b")},
		{"the second counts", typed(form+"; charset=utf-8; charset=utf-7", "a=b"), typed(form, "a=b")},
		{"an encoded parameter", typed(form+"; charset*=utf-8''utf-7", "a=b"), typed(form+"; charset=", "a=b")},
		{"inside another parameter", typed(form+"; x=\"charset=utf-7\"", "a=b"), typed(form+"; x=\"charset\"", "a=b")},
		{"text", typed("text/plain; charset=utf-7", "+ADw-"), typed("text/plain; charset=utf-8", "x")},
		{"multipart", func() call {
			c := multi(field("a", "b") + last)
			c.fields = browser("Content-Type", "multipart/form-data; charset=utf-7; boundary=b0undary")
			return c
		}(), multi(field("a", "b") + last)},
		{"a part", multi(part("text/plain; charset=utf-7", "x") + last), multi(part("text/plain; charset=utf-8", "x") + last)},
		{"a part that is not the last", multi(part("text/plain; charset=UTF-16", "x") + field("b", "c") + last), multi(part("text/plain; charset=iso-8859-1", "x") + field("b", "c") + last)},
		{"_charset_ in a form", typed(form, "a=b&_charset_=utf-7"), typed(form, "a=b&_charset_=UTF-8")},
		{"_charset_ in capitals", typed(form, "_CHARSET_=utf-7"), typed(form, "_charset_=")},
		{"_charset_ in a multipart form", multi(field("_charset_", "utf-7") + last), multi(field("_charset_", "windows-1252") + last)},
		{"_charset_ in the query", get("/?a=b&_charset_=utf-7"), get("/?a=b&_charset_=utf-8")},
		{"json in utf-16 with a mark", typed(json, inUTF16(`{"a":1}`, false, true)), typed(json, `{"a":1}`)},
		{"json in utf-16, big endian", typed(json, inUTF16(`{"a":1}`, true, true)), typed(json, `{"a":"\ufeff"}`)},
		{"json in utf-16 without a mark", typed(json, inUTF16(`{"a":1}`, false, false)), typed(json, `[]`)},
		{"json in utf-32", typed(json, "\x00\x00\x00{\x00\x00\x00}"), typed(json, "{}")},
		{"form in utf-16", typed(form, inUTF16(`a=b`, false, true)), typed(form, "\ufeffa=b")},
		{"xml in utf-16", typed("text/xml", inUTF16(`<a/>`, true, true)), typed("text/xml", "\ufeff<a/>")},
		{"xml in utf-16 without a mark", typed("text/xml", inUTF16(`<a/>`, true, false)), typed("text/xml", "<a/>")},
		{"xml that declares utf-7", typed("text/xml", `<?xml version="1.0" encoding="UTF-7"?><a/>`), typed("text/xml", `<?xml version="1.0" encoding="utf-8"?><a/>`)},
		{"xml that declares it with white space", typed("text/xml", `<?xml version="1.0" encoding = 'utf-16'?><a/>`), typed("text/xml", `<?xml version="1.0" encoding = 'ISO-8859-1'?><a/>`)},
		{"xml that declares ebcdic", typed("application/soap+xml", `<?xml version='1.0' encoding='ibm037'?><a/>`), typed("text/xml", `<?xml version='1.0' encoding='windows-1252'?><a>`+"\xe9"+`</a>`)},
		{"xml that is called text", typed("text/plain", `<?xml version="1.0" encoding="UTF-7"?><a/>`), typed("text/plain", `<?xml version="1.0" encoding="UTF-8"?><a/>`)},
		{"json in utf-16 that is called text", typed("text/plain", inUTF16(`{"a":1}`, false, true)), typed("application/x-own", "\xff\xfe\x01\x02\x03")},
		{"json in utf-16 of any type", typed("application/x-own", inUTF16(`{"a":1}`, false, false)), typed("application/x-own", "\x08\x00\x00\x01binary")},
	} {
		run(e, tc.bad).expect(t, tc.name, gate.Refuse, gate.WAFCharset)
		run(e, tc.good).expect(t, tc.name+", twin", gate.Pass, "")
	}
	shared := sharedEngine(t)
	run(shared, typed(form+"; charset=utf-7", "a=b").under("observe")).expect(t, "observed", gate.Observe, gate.WAFCharset)
	run(shared, typed(form+"; charset=utf-7", "a=b").under("tolerant")).expect(t, "on_error: pass", gate.Refuse, gate.WAFInboundScore) // rule 920480
	run(engineWith(t, func(p *Policy) { p.InboundThreshold, p.PassOnError = 1000, true }), typed(form+"; charset=utf-7", "a=b")).expect(t, "on_error: pass, no rule", gate.Observe, gate.WAFCharset)
	// What nobody reads may say what it likes.
	run(e, typed("application/octet-stream; charset=utf-7", "x")).expect(t, "opaque", gate.Pass, "")
	run(e, get("/", "Content-Type", "text/plain; charset=utf-7")).expect(t, "no body", gate.Pass, "")
	// Where it passes by policy, the rules look at what is ASCII in it.
	plain := plainEngine(t, gate.Watch)
	for name, c := range map[string]call{
		"json": typed(json, inUTF16(`{"a":"<script>"}`, false, true)), "form": typed(form, inUTF16("a=<script>", true, true)), "xml": typed("text/xml", inUTF16("<a>&lt;script></a>", false, false)),
	} {
		if o := run(plain, c); len(o.rules()) == 0 {
			t.Errorf("%s in UTF-16, observed: %v, rules %v, want the attack in the record", name, o.verdict, o.rules())
		}
	}
	run(sharedEngine(t), typed(json, inUTF16(`{"a":1}`, false, true))).expect(t, "all rules", gate.Refuse, gate.WAFCharset)
}

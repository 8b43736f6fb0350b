package waf

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"fmt"
	"slices"
	"strings"
	"testing"

	"sallyport/internal/gate"
	"sallyport/waf/coding"
)

// named is content in gzip, with a file name in its header.
func named(tb testing.TB, name, content string, level int) string {
	tb.Helper()
	var b strings.Builder
	w, err := gzip.NewWriterLevel(&b, level)
	if err != nil {
		tb.Fatal(err)
	}
	w.Name = "x"
	if _, err := w.Write([]byte(content)); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return strings.Replace(b.String(), "x\x00", name+"\x00", 1)
}

// skipped is content in br, behind blocks that are none (RFC 7932 section 9.2).
func skipped(tb testing.TB, content string, blocks ...string) string {
	tb.Helper()
	var b []byte
	for i, block := range blocks {
		if len(block) > 256 {
			tb.Fatal("too long")
		}
		head := 1<<1 | 1<<2 | 1<<4 | (len(block)-1)<<6
		if i == 0 {
			head <<= 1 // the size of the window
		}
		b = append(append(b, byte(head), byte(head>>8)), block...)
	}
	plain := (len(content)-1)<<3 | 1<<19
	b = append(append(b, byte(plain), byte(plain>>8), byte(plain>>16)), content...)
	return string(append(b, 3))
}

// TestUndecodedForms judges what an application finds in a coded body that it
// does not decode.
func TestUndecodedForms(t *testing.T) {
	e := sharedEngine(t)
	const attack, fine = "<script>alert(document.cookie)</script>", "a very harmless file name"
	inside := func(value string) string { return "\r\n" + field("q", value) + last }
	upload := field("q", "fine") + file("f", "a.bin", noise(200<<10)) + last
	few := slices.Repeat([]string{"&some=text, here."}, maxStrays)
	for _, tc := range []struct {
		name, coding, kind, body string
		reason                   gate.Reason
	}{
		{"a name", "gzip", formType, named(t, "&q="+attack+"&", "a=1", 6), gate.WAFInboundScore},
		{"a harmless name", "gzip", formType, named(t, "&q="+fine+"&", "a=1", 6), ""},
		{"an encoded name", "gzip", formType, named(t, "&q=%3Cscript%3Ealert%281%29%3C%2Fscript%3E&", "a=1", 6), gate.WAFInboundScore},
		{"a skipped block", "br", formType, skipped(t, "a=1", "&q="+attack+"&"), gate.WAFInboundScore},
		{"a harmless skipped block", "br", formType, skipped(t, "a=1", "&q="+fine+"&"), ""},
		{"a skipped block before json", "br", "application/json", skipped(t, "{}", attack), ""}, // no parser of JSON begins there
		{"as much text as is judged", "br", formType, skipped(t, "a=1", few...), ""},
		{"more", "br", formType, skipped(t, "a=1", append(few, few[0])...), gate.WAFEncoding},
		{"much text of a form", "br", "multipart/form-data; boundary=b0undary", skipped(t, field("q", "fine")+last, append(slices.Repeat(few, 5), "--b0undary\r\n\r\n")...), ""},
		{"more text of a form", "br", "multipart/form-data; boundary=b0undary", skipped(t, field("q", "fine")+last, append([]string{"--b0undary\n\n"}, slices.Repeat(few, 5)...)...), gate.WAFEncoding},
		{"stored", "gzip", formType, named(t, "x", strings.Repeat("name=the+same+value&", 600), flate.NoCompression), ""},
		{"stored, with an attack", "gzip", formType, named(t, "x", "a="+attack, flate.NoCompression), gate.WAFInboundScore},

		{"a form in the name", "gzip", "multipart/form-data; boundary=b0undary", named(t, inside(attack), upload, 6), gate.WAFInboundScore},
		{"a harmless form in the name", "gzip", "multipart/form-data; boundary=b0undary", named(t, inside(fine), upload, 6), ""},
		{"with line feeds", "gzip", "multipart/form-data; boundary=b0undary", named(t, strings.ReplaceAll(inside(attack), "\r", ""), upload, 6), gate.WAFInboundScore},
		{"in a part's name", "gzip", "multipart/form-data; boundary=b0undary", named(t, "\r\n"+field(attack, "x")+last, upload, 6), gate.WAFInboundScore},
		{"in a skipped block", "br", "multipart/form-data; boundary=b0undary", skipped(t, field("q", "fine")+last, inside(attack)), gate.WAFInboundScore},
		{"harmless in a skipped block", "br", "multipart/form-data; boundary=b0undary", skipped(t, field("q", "fine")+last, inside(fine)), ""},
		{"a stored form", "gzip", "multipart/form-data; boundary=b0undary", named(t, "x", upload, flate.NoCompression), ""},
		{"a stored form with an attack", "gzip", "multipart/form-data; boundary=b0undary", named(t, "x", field("q", attack)+upload, flate.NoCompression), gate.WAFInboundScore},
		{"a boundary by chance", "gzip", "multipart/form-data; boundary=b0undary", named(t, "x", file("f", "a.bin", "\x00--b0undary\r\x01\x02\x03: \x00\xff\x00\xfe\x0bbinary\x00"+noise(70<<10)+"\n\n"+noise(70<<10))+last, flate.NoCompression), ""},
		{"one without a head that ends", "gzip", "multipart/form-data; boundary=b0undary", named(t, "--b0undary\r\nq: "+attack, upload, 6), gate.WAFInboundScore},
	} {
		o := run(e, post(tc.kind, "").as(tc.coding, tc.body))
		if tc.reason != "" {
			o.expect(t, tc.name, gate.Refuse, tc.reason)
			continue
		}
		o.expect(t, tc.name, gate.Pass, "")
		if o.passed != tc.body || o.result.Inspected != "full" || len(o.result.Hits) > 0 {
			t.Errorf("%s: %d bytes of %d passed, inspected %q, rules %v", tc.name, len(o.passed), len(tc.body), o.result.Inspected, o.rules())
		}
	}
	given(t, e)
}

// TestStrays tells text in coded bytes from what compression left as it was.
func TestStrays(t *testing.T) {
	var many strings.Builder
	for i := range maxStrays {
		fmt.Fprintf(&many, "\x80some text, number %d", i)
	}
	for _, tc := range []struct {
		coded, content string
		count          int
		all            bool
	}{
		{"\x1fshort\x80too short\x80just enough.", "", 1, true},
		{"\x80a run of text\x80and another one", "a run of text and another one", 0, true},
		{"\x80and another one\x80a run of text", "a run of text and another one", 1, true}, // in another order
		{many.String(), "", maxStrays, true},
		{many.String() + "\x80and one too many", "", maxStrays, false},
		{many.String() + "\x80and one that is content", "and one that is content", maxStrays, true},
		{"", "", 0, true},
	} {
		count := 0
		if all := strays(tc.coded, tc.content, func(string) { count++ }); count != tc.count || all != tc.all {
			t.Errorf("%q: %d runs, all %v, want %d and %v", tc.coded[:min(40, len(tc.coded))], count, all, tc.count, tc.all)
		}
	}
}

// TestPlainParts finds the same however the bytes come.
func TestPlainParts(t *testing.T) {
	body := "\x1f\x8b--bb\r\nContent-Disposition: form-data; name=\"the field\"\r\n\r\nvalue of a field\x80another run of text\r\n--bb\r\n" +
		"Content-Disposition: form-data; name=f; filename=x\r\n\r\nthe content of a file\r\n--bb\nx: the head of a part\n\n" +
		strings.Repeat("\x80", plainNear+1) + "too short by now" + "\x80and this one is long enough\x80--bb--the end of the form"
	want := []string{`form-data; name="the field"`, "value of a field", "another run of text\r\n", "form-data; name=f; filename=x", "the head of a part", "and this one is long enough"}
	for _, size := range []int{1, 2, 3, 7, 64, 1 << 20} {
		p := plainParts{delimiter: []byte("--bb")}
		for rest := []byte(body); len(rest) > 0; {
			n := min(size, len(rest))
			p.feed(bytes.Clone(rest[:n]))
			rest = rest[n:]
		}
		if p.keep(); fmt.Sprintf("%q", p.runs) != fmt.Sprintf("%q", want) || p.full {
			t.Errorf("in pieces of %d: %q, want %q", size, p.runs, want)
		}
	}
}

// TestReadable leaves coded bytes alone that no parser of the kind begins with.
func TestReadable(t *testing.T) {
	for _, c := range coding.All {
		first := encoded(t, c, strings.Repeat(`{"a":"some json text"}`, 40))[0]
		if readable(kindJSON, first) && c != coding.Brotli || readable(kindXML, first) {
			t.Errorf("%s begins with %q", c, first)
		}
	}
	for _, first := range "{[ \n\"" {
		if !readable(kindJSON, byte(first)) || !readable(kindForm, byte(first)) {
			t.Errorf("%q is the beginning of no body", first)
		}
	}
}

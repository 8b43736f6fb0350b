package waf

import (
	"slices"
	"strings"
	"testing"

	"sallyport/internal/gate"
)

// TestMultipartEvasions refuses forms that applications take apart in different
// ways, and shows the rules what may be read in more than one.
func TestMultipartEvasions(t *testing.T) {
	e := sharedEngine(t)
	part := func(head, content string) string { return "--b0undary\r\n" + head + "\r\n\r\n" + content + "\r\n" }
	named := func(params string) string {
		return part("Content-Disposition: form-data; "+params, "x") + last
	}
	typed := func(params string) call {
		c := multi(field("a", "b") + last)
		c.fields = browser("Content-Type", "multipart/form-data; "+params)
		return c
	}
	disposition := `Content-Disposition: form-data; name="a"`
	for _, tc := range []struct {
		name   string
		bad    call
		reason gate.Reason // empty: unreadable
		good   call
	}{
		{name: "base64", bad: multi(part(disposition+"\r\nContent-Transfer-Encoding: base64", "PHNjcmlwdD4=") + last), good: multi(field("a", "PHNjcmlwdD4=") + last)},
		{name: "quoted-printable", bad: multi(part(disposition+"\r\nContent-Transfer-Encoding: Quoted-Printable", "=3Cscript>") + last), good: multi(field("a", "=3C") + last)},
		{name: "an unknown transfer encoding", bad: multi(part(disposition+"\r\nContent-Transfer-Encoding: x-uuencode", "x") + last), good: multi(field("a", "x") + last)},
		{name: "two boundaries", bad: typed("boundary=b0undary; boundary=c"), good: typed("boundary=b0undary")},
		{name: "the second boundary in capitals", bad: typed("boundary=c; BOUNDARY=b0undary"), good: typed(`BOUNDARY="b0undary"`)},
		{name: "a boundary too long", bad: typed("boundary=" + strings.Repeat("b", 71)), good: typed(`boundary="b0undary"; charset=utf-8`)},
		{name: "a boundary that ends at a comma", bad: typed("boundary=b0undary,c"), good: typed("boundary=b0undary")},
		{name: "no name", bad: multi(named(`filename="f.txt"`)), good: multi(named(`name="a"; filename="f.txt"`))},
		{name: "a NUL in the file name", bad: multi(named("name=\"a\"; filename=\"f.php\x00.txt\"")), good: multi(named(`name="a"; filename="f.txt"`))},
		{name: "the file name in pieces", bad: multi(named(`name="a"; filename*0="f.p"; filename*1="hp"`)), good: multi(named(`name="a"; filename*=UTF-8''f.txt`))},
		{name: "the name encoded", bad: multi(named(`name*=UTF-8''a`)), good: multi(named(`name="a"`))},
		{name: "two names", bad: multi(named(`name="a"; name="b"`)), good: multi(named(`name="a"; x="b"`))},
		{name: "white space before the colon", bad: multi(part("Content-Disposition : form-data; name=a", "x") + last), good: multi(part("Content-Disposition: form-data; name=a", "x") + last)},
		{name: "a folded head", bad: multi(part("Content-Disposition: form-data;\r\n name=a", "x") + last), good: multi(part("Content-Disposition: form-data; name=a", "x") + last)},
		{name: "two dispositions", bad: multi(part(disposition+"\r\n"+disposition, "x") + last), good: multi(part(disposition, "x") + last)},
		{name: "no last boundary", bad: multi(strings.TrimSuffix(field("a", "b"), "\r\n")), good: multi(field("a", "b") + last)},
		{name: "lines that end in LF", bad: multi(strings.ReplaceAll(field("a", "b")+last, "\r\n", "\n")), good: multi(field("a", "b\nc") + last)},
		{name: "a part with parts", bad: multi(part(disposition+"\r\nContent-Type: multipart/mixed; boundary=c", "--c\r\n\r\nx\r\n--c--") + last), good: multi(part(disposition+"\r\nContent-Type: text/plain", "--c\r\n\r\nx\r\n--c--") + last)},
		{name: "a field that is broken JSON", bad: multi(part(disposition+"\r\nContent-Type: application/json", `{"a":`) + last), good: multi(part(disposition+"\r\nContent-Type: application/json", `{"a":1}`) + last)},
		{name: "a field that is JSON with a key twice", reason: gate.WAFDuplicateName, bad: multi(part(disposition+"\r\nContent-Type: application/json", `{"a":1,"a":2}`) + last), good: multi(part(disposition+"\r\nContent-Type: application/json", `{"a":1,"b":2}`) + last)},
		{name: "a field with JSON escapes", reason: gate.WAFInboundScore, bad: multi(part(disposition+"\r\nContent-Type: application/vnd.x+json", `{"a":"`+escaped+`"}`) + last), good: multi(part(disposition+"\r\nContent-Type: application/json", `"\u0041"`) + last)},
		{name: "a percent sign in the file name", reason: gate.WAFInboundScore, bad: multi(named(`name="a"; filename="shell%2ephp"`)), good: multi(named(`name="a"; filename="100%25.txt"`))},
		{name: "an encoded word", reason: gate.WAFInboundScore, bad: multi(named(`name="a"; filename="=?utf-8?B?c2hlbGwucGhw?="`)), good: multi(named(`name="a"; filename="café.txt"`))},
		{name: "a percent sign in the name", reason: gate.WAFInboundScore, bad: multi(named(`name="%3Cscript%3Ealert(1)%3C/script%3E"`)), good: multi(named(`name="a%5B%5D"`))},
		{name: "a path in the file name", reason: gate.WAFInboundScore, bad: multi(named(`name="a"; filename="../../etc/passwd"`)), good: multi(named(`name="a"; filename="dir/f.txt"`))},
	} {
		reason := tc.reason
		if reason == "" {
			reason = gate.WAFBodyUnreadable
		}
		o := run(e, tc.bad)
		// The Core Rule Set knows some of these too; then the score has the say.
		if o.verdict.Action != gate.Refuse || o.verdict.Reason != reason && o.verdict.Reason != gate.WAFInboundScore {
			t.Errorf("%s: %v (%s), rules %v, want refused as %s", tc.name, o.verdict, o.verdict.Detail, o.rules(), reason)
		}
		if o := run(miniature(t, gate.Enforce, hiding), tc.bad); reason != gate.WAFInboundScore {
			o.expect(t, tc.name+", without the rules", gate.Refuse, reason)
		}
		run(e, tc.good).expect(t, tc.name+", twin", gate.Pass, "")
	}
	// Transfer encodings that change nothing pass the reader.
	for _, encoding := range []string{"binary", "8bit", "7BIT"} {
		run(miniature(t, gate.Enforce, hiding), multi(part(disposition+"\r\nContent-Transfer-Encoding: "+encoding, "x")+last)).expect(t, encoding, gate.Pass, "")
	}
}

// TestJSONPartCut lets a form pass that is judged before all of a field that is
// JSON has come: by policy, no more of it is held.
func TestJSONPartCut(t *testing.T) {
	body := "--b0undary\r\nContent-Disposition: form-data; name=\"a\"\r\nContent-Type: application/json\r\n\r\n[" + strings.Repeat(quote(strings.Repeat("x", 99))+",", 600) + "1]\r\n" + last
	o := run(sharedEngine(t), multi(body).under("head"))
	o.expect(t, "cut", gate.Pass, "")
	if o.result.Inspected != "head" || o.passed != body {
		t.Errorf("inspected %q, %d bytes passed, want head and %d", o.result.Inspected, len(o.passed), len(body))
	}
}

// TestDecodedNames finds what others make of a name.
func TestDecodedNames(t *testing.T) {
	for _, tc := range []struct {
		name   string
		others []string
		want   []string
	}{
		{"a", nil, nil},
		{"a", []string{"a", "b", ""}, []string{"b"}},
		{"%41", nil, []string{"A"}},
		{"a%zz+", nil, nil},
		{"a", []string{"%62"}, []string{"%62", "b"}},
		{"=?utf-8?B?YQ==?=", nil, []string{"a"}},
		{"=?x?Q?a?=", nil, nil},
		{"%3D?utf-8?Q?=2541?=", nil, []string{"=?utf-8?Q?=2541?=", "%41", "A"}},
	} {
		if got := decodedNames(tc.name, tc.others); !slices.Equal(got, tc.want) {
			t.Errorf("decodedNames(%q, %q) = %q, want %q", tc.name, tc.others, got, tc.want)
		}
	}
}

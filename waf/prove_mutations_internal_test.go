package waf

import (
	"math/rand/v2"
	"strings"
	"testing"

	"sallyport/internal/gate"
	"sallyport/waf/coding"
)

// contentTypes are what a body may be called.
var contentTypes = []string{
	formType, formType + "; charset=utf-8", "application/json", "application/vnd.api+json", "application/json; charset=utf-7", "application/graphql", "text/xml", "application/xml", "application/soap+xml; charset=utf-8", "application/x-ndjson", "application/json-seq",
	"multipart/form-data; boundary=b0undary", "multipart/form-data", `multipart/form-data; boundary="b0undary"; charset=utf-8`, "multipart/mixed; boundary=b0undary", "multipart/related; boundary=b0undary", "text/plain", "text/html", "application/octet-stream", "image/png", "application/pdf", "application/csp-report", "application/x-own", "", "x", "text/plain; charset=utf-16", "APPLICATION/JSON",
}

// salad is what is thrown in: parts of attacks, what rules of the contests wait
// for, and characters that somebody gives a meaning to.
var salad = []string{
	"'", "\"", "<", ">", "\\", "/", "..", "../", "%", "%00", "%27", "%3C", "%u0027", "&", "&amp;", "&#39;", ";", "=", "==", "--", "#", "/*", "*/", "(", ")", "$(", "${", "`", "|", "||", "\x00", "\r\n", "\n", "\t", "\u00a0", "\ufeff", "\x80", "\xff", "\xc0\xaf", "ſ", "K", "ı", "İ", "ß", "！", "😀", "\u202e", "\\u0027", "\\x27",
	"union", "select", " or ", " and 1=1", "script", "onerror=", "javascript:", "etc/passwd", "cmd", "bash", "curl ", "exec", "eval(", "system(", "sleep(5)", "php", ".exe", ".svg", "http://", "file://", "null", "true", "0x", "1e9", "{", "}", "[", "]", "[]", "{{", "}}", "<?", "?>", "<!--", "<![CDATA[", "<!DOCTYPE a [", "]]>", "--b0undary", "--b0undary--", "Content-Disposition: form-data; name=\"z\"",
	"needle", "secret-abc-def", "do=deny", "do=teapot", "do=drop", "do=go", "do=block", "allow=all", "allow=request", "allow=phase", "skip=1", "skip=all", "token=1&token=2", "later=3", "later=5", "a=x&b=x", "list=200", "email=x", "hash=", "coded=ZXZpbA==", "sql=1'+or+1=1", "q=1'+or+1=1", "html=<script>", "file=../../etc/passwd", "confidential", "=?utf-8?B?PHNjcmlwdD4=?=",
}

// spices are field lines that change how a request is judged.
var spices = fieldsOf(
	"X-Body", "json", "X-Body", "xml", "X-Body", "form", "X-Body", "raw", "X-Allow", "the monitor", "X-Twice", "1", "X-Form", "NOT A FORM", "X-Debug-Level", "1", "Cookie", "_ga=GA1.2; trusted=yes", "Cookie", "pref=;cat /etc/passwd", "Content-Encoding", "gzip", "Content-Encoding", "identity", "Expect", "100-continue",
	"Range", "bytes=0-1,2-3,4-5,6-7,8-9,10-11", "Content-Length", "7", "Transfer-Encoding", "chunked", "X-Forwarded-For", "127.0.0.1", "User-Agent", "sqlmap/1.5", "User-Agent", "", "Host", "10.0.0.1", "Accept-Charset", "utf-7", "Request-Range", "bytes=0-", "Content-Type", "text/plain", "Proxy", "x", "X-Http-Method-Override", "PUT", "If", "x", "Referer", "https://evil.example/?<script>",
	"Accept-Encoding", "xyz", "Authorization", "Basic YWRtaW46YWRtaW4=", "Cache-Control", "max-age=abc", "Upgrade", "h2c", "Connection", "keep-alive, close", "x-a", strings.Repeat("a", 9000),
)

// mutate changes a request in one to four ways.
func mutate(r *rand.Rand, tr *trial) *trial {
	tr = tr.clone()
	c := &tr.call
	for range 1 + r.IntN(4) {
		switch r.IntN(15) {
		case 0, 1, 2:
			c.target = scrambled(r, c.target, true)
		case 3, 4, 5:
			if c.body == "" {
				c.method, c.body = "POST", payloads[r.IntN(len(payloads))]
				tr.set("Content-Type", contentTypes[r.IntN(len(contentTypes))])
			} else {
				c.body = scrambled(r, c.body, false)
			}
		case 6:
			if i := len(c.fields); i > 0 {
				f := &c.fields[r.IntN(i)]
				f.Value = inField(scrambled(r, f.Value, false))
			}
		case 7, 8:
			f := spices[r.IntN(len(spices))]
			c.fields = append(c.fields, f)
			if f.Name == "Transfer-Encoding" {
				c.chunked = true
			}
		case 9:
			if i := len(c.fields); i > 0 {
				c.fields = append(c.fields, c.fields[r.IntN(i)])
			}
		case 10:
			if i := len(c.fields); i > 0 {
				i = r.IntN(i)
				c.fields = append(c.fields[:i], c.fields[i+1:]...)
			}
		case 11:
			tr.set("Content-Type", contentTypes[r.IntN(len(contentTypes))])
		case 12:
			if i := len(c.fields); i > 0 {
				f := &c.fields[r.IntN(i)]
				f.Name = []string{strings.ToUpper(f.Name), strings.ToLower(f.Name), mixedCase(r, f.Name)}[r.IntN(3)]
			}
		case 13:
			c.method = []string{"GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "get", "FOO"}[r.IntN(10)]
		case 14:
			c.target += []string{"?", "&"}[r.IntN(2)] + salad[r.IntN(len(salad))]
		}
	}
	c.target = inTarget(c.target)
	if r.IntN(10) > 0 {
		tr.setLength()
	}
	return tr
}

// scrambled is a text with one thing done to it.
func scrambled(r *rand.Rand, s string, target bool) string {
	at := r.IntN(len(s) + 1)
	switch r.IntN(12) {
	case 0, 1, 2, 3: // something thrown in
		return s[:at] + salad[r.IntN(len(salad))] + s[at:]
	case 4: // a bit
		if at == len(s) {
			return s
		}
		b := []byte(s)
		b[at] ^= 1 << r.IntN(8)
		return string(b)
	case 5: // cut
		return s[:at]
	case 6: // a piece taken out
		return s[:at] + s[min(len(s), at+1+r.IntN(8)):]
	case 7: // a piece twice
		end := min(len(s), at+1+r.IntN(20))
		return s[:end] + s[at:]
	case 8: // grown
		n := 1 + r.IntN(3000)
		if target {
			n = 1 + r.IntN(600)
		}
		what := salad[r.IntN(len(salad))]
		return s[:at] + strings.Repeat(what, n/len(what)+1) + s[at:]
	case 9: // another case
		return mixedCase(r, s)
	case 10: // bytes
		b := make([]byte, 1+r.IntN(12))
		for i := range b {
			b[i] = byte(r.IntN(256))
		}
		return s[:at] + string(b) + s[at:]
	}
	return s[:at] + payloads[r.IntN(len(payloads))] + s[at:]
}

// joined is the one request with the body, or the query, of the other.
func joined(r *rand.Rand, a, b *trial) *trial {
	a = a.clone()
	switch {
	case b.call.body != "" && r.IntN(2) == 0:
		a.call.body += b.call.body
		if a.call.method == "GET" {
			a.call.method = "POST"
		}
		if t, ok := (&gate.Head{Fields: b.call.fields}).Get("Content-Type"); ok {
			a.set("Content-Type", t)
		}
		a.setLength()
	default:
		_, query, _ := strings.Cut(b.call.target, "?")
		a.call.target = inTarget(a.call.target + "&" + query)
	}
	a.call.fields = append(a.call.fields, b.call.fields[len(b.call.fields)/2:]...)
	return a
}

// varied changes what is around a request: how its body comes, what course it
// takes, who sends it, where it goes, what is answered.
func varied(t testing.TB, r *rand.Rand, tr *trial) *trial {
	t.Helper()
	tr = tr.clone()
	if r.IntN(12) == 0 && tr.call.body != "" {
		as := coding.All[r.IntN(len(coding.All))]
		tr.call = tr.call.in(t, as)
	}
	if r.IntN(12) == 0 {
		tr.call.chunked = true
	}
	if r.IntN(8) == 0 {
		tr.flow = flow(r.IntN(int(flows)))
	}
	if r.IntN(16) == 0 {
		tr.proto = []string{"HTTP/1.0", "HTTP/2.0", "HTTP/1.1"}[r.IntN(3)]
	}
	if r.IntN(8) == 0 {
		tr.route = "admin"
	}
	if r.IntN(8) == 0 {
		tr.call.client = []string{"198.51.100.7", "2001:db8::9", "127.0.0.1", "10.0.0.1"}[r.IntN(4)]
	}
	if r.IntN(6) == 0 {
		tr.call.target = []string{"/free", "/free/x", "/lax/y", "/soap", "/manual/z", "/a.raw"}[r.IntN(6)] + strings.TrimPrefix(tr.call.target, "/")
	}
	if tr.answer.status == 0 && r.IntN(3) == 0 {
		tr.answer = answered(t, r)
	}
	return tr
}

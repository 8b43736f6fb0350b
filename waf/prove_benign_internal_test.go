package waf

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"sallyport/internal/gate"
	"sallyport/waf/coding"
)

// agents are browsers, libraries and machines.
var agents = []string{
	"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
	"Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:127.0) Gecko/20100101 Firefox/127.0",
	"Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1",
	"Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "okhttp/4.12.0", "MyApp/3.2.1 (Android 14; Pixel 8)", "Dart/3.4 (dart:io)",
}

// phrases are what people look for and write, in several languages.
var phrases = []string{
	"red shoes", "wool socks size 42", "how to fix a bike", "Müller & Söhne", "crème brûlée", "¿dónde está la biblioteca?", "東京 ホテル", "купить билет", "مرحبا بالعالم", "שלום", "안녕하세요 세계", "ยินดีต้อนรับ", "Ελληνικά", "čeština", "tiếng Việt",
	"it's late, isn't it?", "O'Neill", "rock 'n' roll", "the \"best\" one", "50% off", "C++ vs. C#", "a+b", "5 > 3", "AT&T", "e-mail: ann@example.org", "https://example.org/a?b=c", "1,000.00 €", "#1", "yes/no", "f(x) = x^2", "10:30-11:45", "+44 20 7946 0000",
	"Dear all,\n\nplease find the minutes of yesterday's meeting below; we'll go on from there.\n\nBest,\nAnn", "I can't select a date from the calendar. Could you drop me a line?", "Union Street 5, Aberdeen", "order by Friday", "update: where is my parcel?",
	"😀 great!", "naïve café", "Ça va?", "“typographic” – quotes…", "null", "true", "undefined", "0", "-1", "1e10", "2026-11-27T10:00:00Z", "a1b2c3d4-e5f6-4789-abcd-ef0123456789", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
	"SGVsbG8gd29ybGQ=", "d41d8cd98f00b204e9800998ecf8427e", "<b>bold</b>", "for (let i = 0; i < n; i++) { sum += a[i]; }", "def f(x):\n    return x * 2", "if err != nil {\n\treturn err\n}", "the keyword is called select", "docker run -p 80:80 nginx", "line one\r\nline two", "",
}

// routesOf are paths that sites have.
var routesOf = []string{
	"/", "/index.html", "/shop/list", "/api/v1/users/42", "/assets/app.3f9a.js", "/img/logo.png", "/search", "/about-us", "/de/über-uns", "/blog/2026/11/hello-world/", "/favicon.ico", "/users/ann/settings", "/.well-known/security.txt", "/a/b/c/d/e", "/graphql", "/free/lunch", "/soap", "/manual/x",
}

// visitor are the fields of a browser, with a random choice of the others.
func visitor(r *rand.Rand) []gate.Field {
	f := fieldsOf("Host", "shop.example.org", "User-Agent", agents[r.IntN(len(agents))], "Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
	for _, more := range [][2]string{
		{"Accept-Language", "en-GB,en;q=0.9,de;q=0.7"}, {"Accept-Encoding", "gzip, deflate, br, zstd"}, {"Connection", "keep-alive"}, {"Referer", "https://shop.example.org/shop/list?page=1"},
		{"Cookie", "sid=5f2b9c1a77; theme=dark; cart=3; _ga=GA1.2.3.4; consent=yes"}, {"Upgrade-Insecure-Requests", "1"}, {"Sec-Fetch-Site", "same-origin"}, {"Sec-Ch-Ua", `"Chromium";v="126", "Not.A/Brand";v="24"`},
		{"If-Modified-Since", "Fri, 27 Nov 2026 10:00:00 GMT"}, {"If-None-Match", `W/"5f2b9c"`}, {"Authorization", "Bearer eyJhbGciOiJIUzI1NiJ9.e30.abc"}, {"X-Requested-With", "XMLHttpRequest"}, {"Origin", "https://shop.example.org"}, {"Cache-Control", "no-cache"}, {"DNT", "1"},
	} {
		if r.IntN(3) == 0 {
			f = append(f, gate.Field{Name: more[0], Value: more[1]})
		}
	}
	return f
}

// words are what people look for and write where the rules of higher levels take
// much of what is in phrases for an attack: of level 2 and 3, and of level 4, which
// allows no space.
var words = [...][]string{
	2: {"blue shoes", "wool socks size 42", "how to mend a bike", "Müller and Söhne", "crème brûlée", "東京 ホテル", "купить билет", "שלום", "Ελληνικά", "čeština", "C and D", "e-mail ann at example.org", "1000.00", "10:30 to 11:45", "Castle Street 5, Aberdeen",
		"where is my parcel", "naïve café", "null", "true", "0", "-1", "2026-11-27T10:00:00Z", "a1b2c3d4-e5f6-4789-abcd-ef0123456789", "d41d8cd98f00b204e9800998ecf8427e", ""},
	3: {"blue shoes", "wool socks", "mend a bike", "blue 42", "Aberdeen", "where is my parcel", "a long coat", "true", "0", "12.5", "27 November 2026", "d41d8cd98f00b204e9800998ecf8427e", "size M", "green tea", ""},
	4: {"shoes", "socks", "bike", "42", "Aberdeen", "parcel", "true", "0", "12.5", "November", "d41d8cd98f00b204e9800998ecf8427e", "M", "tea", "GreenTea", "coat_1"},
}

// benign makes a request of an ordinary client.
func benign(r *rand.Rand) *trial { return benignAt(r, 1) }

// benignAt makes one whose texts and forms are plain enough for a level of
// paranoia.
func benignAt(r *rand.Rand, level int) *trial {
	said, paths, names, statuses := phrases, routesOf, []string{"q", "page", "name", "comment", "email", "lang", "items[]", "user[name]"}, 8
	if level > 1 {
		said, statuses = words[level], 6
	}
	if level > 2 {
		paths, names = slices.DeleteFunc(slices.Clone(routesOf), func(path string) bool { return !plainPath(path) }), []string{"q", "page", "name", "comment", "mail", "lang", "sort", "size"}
	}
	phrase := func() string { return said[r.IntN(len(said))] }
	pairs := func() string {
		var out []string
		from := r.IntN(len(names))
		for i := range 1 + r.IntN(8) {
			if level == 1 {
				from = r.IntN(3)
			}
			out = append(out, names[(i+from)%len(names)]+"="+strings.ReplaceAll(eachByte(phrase(), "%%%02X", func(c byte) bool { return plainByte(c) || c == ' ' }), " ", "+"))
		}
		return strings.Join(out, "&")
	}
	object := func() string {
		var out []string
		for i := range 1 + r.IntN(12) {
			kinds := []string{quote(phrase()), "12.5", "true", "null", `{"a":` + quote(phrase()) + `}`, "[1,2," + quote(phrase()) + "]"}
			if level > 2 {
				kinds = kinds[:5]
			}
			out = append(out, fmt.Sprintf(`"field%d":%s`, i, kinds[r.IntN(len(kinds))]))
		}
		return "{" + strings.Join(out, ",") + "}"
	}
	tr := &trial{call: call{method: "GET", target: eachByte(paths[r.IntN(len(paths))], "%%%02X", func(c byte) bool { return plainByte(c) || c == '/' }), fields: visitor(r)}}
	kind := r.IntN(14)
	send := func(name, contentType, body string) {
		tr.name, tr.call.method, tr.call.body = name, "POST", body
		tr.call.fields = append(tr.call.fields, fieldsOf("Content-Type", contentType, "Content-Length", fmt.Sprint(len(body)))...)
	}
	switch kind {
	case 0, 1:
		tr.name = "page"
	case 2, 3:
		tr.name = "search"
		tr.call.target += "?" + pairs()
	case 4, 5:
		send("form", formType, pairs())
	case 6, 7:
		send("API", "application/json", object())
		tr.call.method = []string{"POST", "PUT", "PATCH"}[r.IntN(3)]
	case 8:
		parts := ""
		for i := range 1 + r.IntN(4) {
			parts += field(fmt.Sprintf("f%d", i), phrase())
		}
		if r.IntN(2) == 0 {
			parts += file("file", "holiday photo.jpg", strings.Repeat("\xff\xd8\xff\xe0", r.IntN(30<<10)))
		}
		send("upload", "multipart/form-data; boundary=b0undary", parts+last)
	case 9:
		if level > 1 {
			send("form", formType, pairs())
			break
		}
		send("GraphQL", "application/json", `{"operationName":"List","query":`+quote("query List($q: String!, $n: Int) {\n  items(search: $q, first: $n) { id title author { name } }\n}")+`,"variables":{"q":`+quote(phrase())+`,"n":10}}`)
	case 10:
		send("XML", "text/xml; charset=utf-8", `<?xml version="1.0" encoding="UTF-8"?><soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/"><soap:Body><m:Find xmlns:m="urn:shop"><m:Name>`+inXML(phrase())+`</m:Name><m:Id kind="sku">42</m:Id></m:Find></soap:Body></soap:Envelope>`)
	case 11:
		lines := object() + "\n"
		if level < 3 { // the second has the names of the first
			lines += object() + "\n"
		}
		send("lines", "application/x-ndjson", lines)
	case 12:
		send("prose", "text/plain; charset=utf-8", strings.Join([]string{phrase(), phrase(), phrase()}, []string{". ", "."}[level/4]))
	case 13:
		tr.name, tr.call.method = "HEAD or OPTIONS", []string{"HEAD", "OPTIONS"}[r.IntN(2)]
	}
	if r.IntN(6) == 0 {
		tr.answer = harmlessReply(r)
		tr.answer.status = []int{200, 200, 201, 204, 301, 404, 500, 503}[r.IntN(statuses)]
	}
	return tr
}

// plainPath reports whether a path is of letters, digits and hyphens.
func plainPath(path string) bool {
	return !strings.ContainsFunc(path, func(c rune) bool { return c >= 0x80 || c != '/' && c != '_' && !plainByte(byte(c)) })
}

// leaks are what pages of applications in trouble show.
var leaks = []string{
	"You have an error in your SQL syntax; check the manual that corresponds to your MySQL server version near ''1'' at line 1", "ORA-00933: SQL command not properly ended", "Microsoft OLE DB Provider for ODBC Drivers error '80040e14'", "PG::SyntaxError: ERROR: syntax error at or near", "SQLite3::SQLException: near \"x\": syntax error", "Warning: mysql_fetch_array() expects parameter 1", "[Microsoft][ODBC SQL Server Driver]",
	"<b>Fatal error</b>: Uncaught Error: Call to undefined function x() in /var/www/html/index.php on line 3", "<?php $db_password = 'x'; ?>", "java.lang.NullPointerException\n\tat com.example.Shop.main(Shop.java:12)", "Traceback (most recent call last):\n  File \"/app/main.py\", line 1", "goroutine 1 [running]:\nmain.main()", "at Object.<anonymous> (/srv/app/index.js:10:15)",
	"<title>Index of /</title>", "<h1>Server Error in '/' Application.</h1>", "c:\\inetpub\\wwwroot\\default.aspx", "<title>r57 shell</title>", "<title>c99shell</title>", "ActiveRecord::RecordNotFound (Couldn't find User)", "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA" + strings.Repeat("abcd", 20) + "\n-----END RSA PRIVATE KEY-----",
	"aws_secret_access_key = wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY12", "postgres://app:hunter2@db.internal/shop", "APP_KEY=base64:" + strings.Repeat("A", 43) + "=", "#!/bin/bash\nrm -rf", "GIF89a", "wp-config", "<%@ page language=\"java\" %>", "ASP.NET is configured to show verbose error messages", "Zend\\Db\\Adapter stack trace",
}

// pages are answers that give nothing away.
var pages = []string{
	"<!doctype html><html><head><title>Shop</title></head><body><h1>Welcome</h1><p>It's a fine day; select your size below.</p></body></html>", `{"items":[{"id":1,"name":"red shoes"}],"total":1}`, "<html><body><h1>404 Not Found</h1></body></html>", "plain words", "<?xml version=\"1.0\"?><a><b>1</b></a>", `{"error":"not found"}`,
}

// harmlessReply is an answer without a leak.
func harmlessReply(r *rand.Rand) reply {
	return reply{status: []int{200, 200, 201, 204, 301, 404, 500, 503}[r.IntN(8)], fields: fieldsOf("Content-Type", []string{"text/html; charset=utf-8", "application/json", "text/plain", "image/png", "text/xml"}[r.IntN(5)], "X-Frame-Options", "DENY"), body: pages[r.IntN(len(pages))]}
}

// answered is any answer: pages and leaks, whole, cut and coded.
func answered(t testing.TB, r *rand.Rand) reply {
	t.Helper()
	a := harmlessReply(r)
	switch r.IntN(4) {
	case 0:
		a.body = leaks[r.IntN(len(leaks))]
	case 1:
		a.body = a.body + leaks[r.IntN(len(leaks))] + strings.Repeat("<p>more</p>", r.IntN(400))
	case 2:
		a.body = strings.Repeat("lorem ipsum ", r.IntN(300)) + leaks[r.IntN(len(leaks))]
	}
	for _, f := range [][2]string{{"X-Powered-By", "PHP/8.1"}, {"Location", "http://internal.example/"}, {"Set-Cookie", "sid=1; Path=/"}, {"Content-Disposition", "attachment; filename=a.csv"}, {"Server", "Apache"}, {"X-Debug", "<script>"}} {
		if r.IntN(8) == 0 {
			a.fields = append(a.fields, gate.Field{Name: f[0], Value: f[1]})
		}
	}
	switch r.IntN(10) {
	case 0:
		a.cut = true
	case 1, 2:
		as := coding.All[r.IntN(len(coding.All))]
		a.fields = append(a.fields, gate.Field{Name: "Content-Encoding", Value: string(as)})
		a.body = encoded(t, as, a.body)
	case 3:
		a.fields = append(a.fields, gate.Field{Name: "Content-Encoding", Value: "gzip"}) // it is not
	}
	return a
}

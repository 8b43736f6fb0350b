package traffic

import (
	"fmt"
	"strings"
)

// literals are what the rules look for first. Thrown together they make every
// rule look closely, and most find nothing.
var literals = strings.Fields(`select union from where insert into delete update drop table having group by order by sleep( benchmark(
	waitfor delay pg_sleep load_file outfile information_schema sysdatabases xp_cmdshell exec( execute char( chr( concat( ascii( substring(
	0x7e @@version null true like rlike regexp between and or xor not ' " -- # /* */ ; ' or '1'='1 <script </script> javascript: vbscript:
	onerror= onload= onclick= alert( document.cookie <iframe <svg <img src= style= expression( data:text/html fromcharcode eval( ../ ..\ /etc/passwd
	/proc/self /bin/sh /bin/bash cmd.exe powershell wget curl nc netcat python perl ruby php:// file:// ftp:// http:// ldap:// gopher:// dict://
	phar:// expect:// ${jndi: ${ }} {{ <%= %> $( ) | || & && > < base64_decode( system( passthru( shell_exec( popen( proc_open( assert( preg_replace(
	$_get $_post $_server globals __proto__ constructor prototype child_process require( process.env java.lang.runtime processbuilder
	classloader freemarker ognl #context .htaccess .htpasswd .git/ .env web.config wp-config id ls cat echo uname whoami ifconfig ping sh
	bash $ifs $path %0d%0a set-cookie: content-type: content-length: transfer-encoding: http/1.1 <?php ?> <? xml <!doctype <!entity
	system select( if( case when then end else while( for( function( return var let => == != !== === <= >= * + - / % ^ ~ [ ] { } ( ) ,`)

// salad is n bytes of literals.
func (s *source) salad(n int) string {
	var b strings.Builder
	for b.Len() < n {
		b.WriteString(pick(s, literals))
		switch s.IntN(4) {
		case 0:
		case 1:
			b.WriteString(s.hex(2))
		default:
			b.WriteByte(' ')
		}
	}
	return b.String()
}

// drawn are n bytes out of an alphabet.
func (s *source) drawn(n int, alphabet string) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = alphabet[s.IntN(len(alphabet))]
	}
	return string(b)
}

// printable is every character of ASCII that shows, and the space.
var printable = func() string {
	var b strings.Builder
	for c := byte(' '); c < 0x7f; c++ {
		b.WriteByte(c)
	}
	return b.String()
}()

func hostile(s *source, n int) Request {
	inForm := func(pairs ...pair) Request { return post("/post", s.browser(submit), formType, []byte(encode(pairs))) }
	inJSON := func(v any) Request { return post("/post", s.sender(), jsonType, marshal(v)) }
	switch n % 9 {
	case 0:
		return Request{Method: "GET", Target: "/search?" + encode([]pair{{"q", s.salad(s.between(1000, 2000))}}), Fields: s.browser(document)}
	case 1:
		return inForm(pair{"text", s.salad(s.between(1<<10, 10<<10))})
	case 2:
		return inJSON(map[string]any{"text": s.salad(s.between(1<<10, 10<<10))})
	case 3:
		return inJSON(map[string]any{"text": s.drawn(s.between(1<<10, 10<<10), printable)})
	case 4:
		var v any = s.salad(200)
		for i := range 59 {
			v = map[string]any{fmt.Sprintf("%s%d", pick(s, nouns), i): v, "n": i}
		}
		return inJSON(v)
	case 5:
		pairs := make([]pair, 1000)
		for i := range pairs {
			pairs[i] = pair{fmt.Sprintf("f%d", i), s.words(1)}
		}
		return inForm(pairs...)
	case 6:
		return inForm(pair{"blob", s.base64(10 << 10)})
	case 7:
		return inForm(pair{"text", s.drawn(s.between(1<<10, 4<<10), "'\"`()[]{}<>;,=\\/*-#|&$%a1 ")})
	}
	f := s.browser(document)
	replace(f, "Cookie", "a="+escape(s.salad(600))+"; b="+s.base64url(200))
	replace(f, "Referer", "https://"+Host+"/?q="+escape(s.salad(600)))
	return Request{Method: "GET", Target: "/", Fields: f}
}

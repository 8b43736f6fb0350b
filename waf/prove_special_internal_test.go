package waf

import (
	"fmt"
	"strings"
	"testing"

	"sallyport/waf/coding"
)

// specialRules use, one by one, what the prover treats in a way of its own. They
// stand behind those of afterRules.
const specialRules = `
SecRule TX:/_own_probe$/ "@rx ." "id:2070,phase:2,pass,log,msg:'a name that another rule collected'"
SecRule RESPONSE_HEADERS:Content-Encoding "@rx ." "id:2072,phase:4,pass,log,msg:'still coded'"
SecRule RESPONSE_HEADERS:X-Debug "@contains script" "id:2074,phase:4,pass,log"
SecRule REQUEST_HEADERS:X-Level "@within 1 2 3" "id:2075,phase:1,pass,nolog,setvar:tx.own_level=%{MATCHED_VAR}"
SecRule TX:own_level "@ge 2" "id:2076,phase:2,pass,log,msg:'level %{TX.own_level}'"
SecRule ARGS:expect "@streq %{REQUEST_HEADERS.X-Token}" "id:2077,phase:2,pass,log,msg:'the token in an argument'"
SecAction "id:2078,phase:1,pass,nolog,setvar:tx.own_sum=2,setvar:tx.own_mark=1,setvar:tx.own_marks=1,setvar:tx.own_word_list=a needle b"
SecRule ARGS:fast "@streq lane" "id:2083,phase:2,pass,nolog,skipAfter:OWN-END"
SecRule ARGS:fast "@rx ." "id:2085,phase:2,pass,log,msg:'not in the lane'"
SecRule ARGS:inner "@streq lane" "id:2086,phase:2,pass,nolog,skipAfter:OWN-INNER"
SecRule ARGS:inner "@rx ." "id:2087,phase:2,pass,log,msg:'not in the inner lane'"
SecMarker OWN-INNER
SecRule REQUEST_HEADERS:X-Lane "@rx ." "id:2088,phase:2,pass,log"
SecMarker OWN-END
SecAction "id:2090,phase:3,pass,nolog,setvar:tx.own_answered=1"
SecRule TX:own_answered "@eq 1" "id:2091,phase:5,pass,log,chain,msg:'with an answer'"
SecRule ARGS_GET:later "@streq merge" "t:none"
SecRule &TX:own_answered "@eq 0" "id:2092,phase:5,pass,log,chain,msg:'without an answer'"
SecRule ARGS_GET:later "@streq merge" "t:none"
SecRule REQUEST_BODY "@contains marked" "id:2093,phase:1,pass,log,msg:'too early'"
SecRule REQUEST_BODY "@contains marked" "id:2094,phase:2,pass,log,msg:'in time'"
SecRule ARGS:calm "@streq 1" "id:2097,phase:1,pass,nolog,ctl:ruleRemoveById=2098"
SecAction "id:2098,phase:1,pass,nolog,setvar:tx.own_calm=1"
SecRule &TX:own_calm "@eq 0" "id:2099,phase:2,pass,nolog,chain"
SecRule ARGS:calm "@rx ." "log,setvar:'tx.inbound_anomaly_score_pl1=+1'"
SecRule ARGS:left "@streq over" "id:2100,phase:2,pass,log,msg:'of an earlier one: %{TX.1}',logdata:'%{TX.3}'"
SecRule ARGS_GET:one "@rx ^(\d)" "id:2101,phase:1,pass,nolog,capture,setvar:tx.own_first=%{TX.1},chain"
SecRule ARGS_GET:two "@streq go" "t:none,setvar:tx.own_second=%{TX.1}"
SecRule TX:own_first "@ge 5" "id:2102,phase:2,pass,log,msg:'%{TX.own_first}'"
SecRule REQUEST_FILENAME "@beginsWith /half" "id:2103,phase:1,pass,nolog,ctl:ruleRemoveTargetById=942100;ARGS:q,ctl:ruleRemoveTargetById=942190;ARGS:q,ctl:ruleRemoveTargetById=942270;ARGS:q,chain"
SecRule ARGS_GET:never "@streq x" "t:none"
SecRule &ARGS:/^x_/ "@gt 2" "id:2105,phase:2,pass,log,msg:'many of x'"
SecRule &REQUEST_HEADERS:X-MANY "@ge 2" "id:2106,phase:1,pass,log,msg:'X-Many, twice'"
SecRule ARGS|!ARGS:/^quiet_/|!ARGS:note "@contains loud" "id:2107,phase:2,pass,log"
SecRule ARGS:MixedCase|ARGS:/^Pre[A-Z]x$/ "@streq found" "id:2108,phase:2,pass,log"
SecRule ARGS_NAMES:MixedCase|ARGS_NAMES:lower|ARGS_GET_NAMES:/Odd/ "@rx (?i)case|lower|odd" "id:2109,phase:2,pass,log"
SecRule ARGS:late "@streq widen" "id:2110,phase:2,pass,nolog,ctl:ruleRemoveById=2078-2098"
SecRule ARGS:late "@streq force" "id:2111,phase:2,pass,nolog,ctl:forceRequestBodyVariable=On"
SecRule ARGS:/^word/ "@within %{tx.own_word_list}" "id:2116,phase:2,pass,log,t:none,t:lowercase,chain,msg:'%{MATCHED_VAR}'"
SecRule MATCHED_VAR "!@rx ^ *$" "t:none"
SecRule ARGS:pair "@rx ^(\w+):(\w+):(\w+)$" "id:2117,phase:2,pass,log,capture,chain,setvar:tx.own_pair=%{TX.2}"
SecRule TX:2 "@streq b" "t:none,chain"
SecRule TX:own_pair "@rx ." "t:none,setvar:'tx.own_last_%{TX.3}=%{TX.1}'"
SecRule TX:/^own_last_/ "@streq deep" "id:2118,phase:2,pass,log"
SecRule ARGS_GET:mark "@rx ^(?:a|b)$" "id:2119,phase:1,pass,nolog,setvar:'tx.own_dyn_%{MATCHED_VAR}=1'"
SecRule TX:own_dyn_b "@eq 1" "id:2120,phase:1,pass,log"
SecRule REQUEST_HEADERS:X-Step "@eq 7" "id:2121,phase:1,pass,log"
SecRule REQUEST_HEADERS:X-Step "@lt 3" "id:2122,phase:1,pass,log,chain"
SecRule REQUEST_HEADERS:X-Step "@rx ." "t:none"
SecRule REQUEST_HEADERS:X-Step "@le -20" "id:2123,phase:1,pass,log"
SecRule REQUEST_HEADERS:X-Step "@gt 900" "id:2124,phase:1,pass,log"
SecRule REQUEST_HEADERS:X-Step "!@ge 0" "id:2125,phase:1,pass,log"
SecRule REQUEST_HEADERS:X-Word "@strmatch *odd" "id:2126,phase:1,pass,log"
SecRule REQUEST_HEADERS:X-Word "@streq even" "id:2127,phase:1,pass,log"
SecRule REQUEST_HEADERS:X-Word "!@beginsWith w" "id:2128,phase:1,pass,log,t:none,t:lowercase,chain"
SecRule REQUEST_HEADERS:X-Word "@endsWith d" "t:none,t:trim"
SecRule REQUEST_HEADERS:X-Word "!@endsWith d" "id:2129,phase:1,pass,log,chain"
SecRule REQUEST_HEADERS:X-Word "!@contains v" "t:none"
SecRule REQUEST_HEADERS:X-Word "!@pm odd even" "id:2130,phase:1,pass,log"
SecRule REQUEST_HEADERS:X-Word "!@within even odd" "id:2131,phase:1,pass,log"
SecRule ARGS:agreed "@unconditionalMatch" "id:2132,phase:2,pass,log"
SecRule ARGS:agreed "!@noMatch" "id:2133,phase:2,pass,log"
SecRule ARGS:bytes "!@validateByteRange 97-122" "id:2134,phase:2,pass,log"
SecRule ARGS:code "@rx ^[0-9a-f]{40}$" "id:2135,phase:2,pass,log,t:none,t:sha1,t:hexEncode"
SecRule ARGS:size "@gt 9" "id:2136,phase:2,pass,log,t:none,t:length"
SecRule ARGS:text "@rx ^a b c$" "id:2137,phase:2,pass,log,t:none,t:removeNulls,t:compressWhitespace,t:trim"
SecRule ARGS:text "@streq abc" "id:2138,phase:2,pass,log,t:none,t:removeWhitespace,t:removeCommentsChar"
SecRule ARGS:text "@streq ab c" "id:2139,phase:2,pass,log,t:none,t:replaceComments"
SecRule ARGS:path "@beginsWith /etc/" "id:2140,phase:2,pass,log,t:none,t:normalizePath"
SecRule ARGS:path "@endsWith c:/boot.ini" "id:2141,phase:2,pass,log,t:none,t:normalizePathWin,t:lowercase"
SecRule ARGS:seq "@contains <a>" "id:2142,phase:2,pass,log,t:none,t:escapeSeqDecode"
SecRule ARGS:seq "@contains <b>" "id:2143,phase:2,pass,log,t:none,t:cssDecode"
SecRule ARGS:seq "@contains <c>" "id:2144,phase:2,pass,log,t:none,t:jsDecode"
SecRule ARGS:seq "@contains <d>" "id:2145,phase:2,pass,log,t:none,t:htmlEntityDecode"
SecRule ARGS:seq "@contains %u00e9" "id:2146,phase:2,pass,log,t:none,t:utf8toUnicode"
SecRule ARGS:seq "@contains hello" "id:2147,phase:2,pass,log,t:none,t:base64Decode"
SecRule ARGS:seq "@contains 68656c" "id:2148,phase:2,pass,log,t:none,t:hexEncode"
SecRule ARGS:seq "@contains a b" "id:2149,phase:2,pass,log,t:none,t:urlDecode"
SecRule ARGS:seq "@contains ls -l" "id:2150,phase:2,pass,log,t:none,t:cmdLine"
SecRule ARGS:list "@rx ^9" "id:2151,phase:2,pass,log,multiMatch,t:none,t:urlDecode,t:hexEncode"
SecRule ARGS:both "@rx ^x" "id:2152,phase:2,pass,log,chain"
SecRule MATCHED_VARS "@rx y$" "t:none"
SecRule ARGS:/^both/ "@rx ^x" "id:2153,phase:2,pass,log,chain"
SecRule MATCHED_VAR "@rx z$" "t:none"
SecRule ARGS:/^named/ "@rx ." "id:2154,phase:2,pass,log,chain"
SecRule MATCHED_VARS_NAMES "@rx named_c$" "t:none"
SecRule ARGS:sum_a "@rx ^\d+$" "id:2155,phase:2,pass,log,setvar:tx.own_total=+%{MATCHED_VAR},chain"
SecRule TX:own_total "@ge 4" "t:none"
SecRule REQUEST_HEADERS|!REQUEST_HEADERS:/^x-free/ "@contains sesame" "id:2156,phase:1,pass,log,chain"
SecRule REQUEST_HEADERS|!REQUEST_HEADERS:X-Free-A "@contains open" "t:none"
SecRule REQUEST_HEADERS:X-Given "@rx ." "id:2157,phase:1,pass,log,chain"
SecRule &REQUEST_HEADERS:X-Other "@eq 0" "t:none"
SecRule ARGS:stage "@rx ^(1|2)$" "id:2158,phase:2,pass,nolog,capture,setvar:tx.own_stage=%{TX.1}"
SecRule TX:own_stage "@eq 2" "id:2159,phase:3,pass,log,msg:'stage two'"
SecRule RESPONSE_STATUS "@eq 404" "id:2160,phase:3,pass,nolog,setvar:tx.own_missing=%{RESPONSE_STATUS}"
SecRule TX:own_missing "@eq 404" "id:2161,phase:4,pass,log,chain"
SecRule RESPONSE_BODY "@contains more" "t:none"
SecRule ARGS:bait "@streq taken" "id:2162,phase:2,deny,status:403,log"
SecRule TX:own_mark|ARGS:mixed "@streq 7" "id:2163,phase:2,pass,log"
SecRule ARGS:wide "@rx ^(?:\xe9|\x80)+$" "id:2164,phase:2,pass,log,msg:'bytes'"
SecRule REQUEST_COOKIES_NAMES:Sid|REQUEST_COOKIES:SID "@rx (?i)evil|sid" "id:2165,phase:1,pass,log"
SecRule RESPONSE_STATUS "@eq 418" "id:2170,phase:5,pass,log"
SecAction "id:2172,phase:1,pass,nolog,setvar:tx.own_default=5,setvar:tx.own_other=5"
SecRule REQUEST_HEADERS:X-Calm "@streq 1" "id:2173,phase:1,pass,nolog,ctl:ruleRemoveById=2174"
SecRule REQUEST_HEADERS:X-Default "@rx ." "id:2174,phase:1,pass,nolog,setvar:tx.own_default=1"
SecRule TX:own_default "@eq 5" "id:2175,phase:1,pass,log,chain"
SecRule REQUEST_HEADERS:X-Default "@rx ." "t:none"
SecRule REQUEST_HEADERS:X-First "@rx ^\w+$" "id:2176,phase:1,pass,nolog,setvar:tx.own_a=%{MATCHED_VAR}"
SecRule ARGS:chainup "@streq 1" "id:2177,phase:2,pass,nolog,setvar:tx.own_b=%{tx.own_a}"
SecRule TX:own_b "@streq deep" "id:2178,phase:2,pass,log"
SecRule REQUEST_HEADERS:X-Halt "@streq 1" "id:2179,phase:1,allow:phase,nolog"
SecRule REQUEST_HEADERS:X-Other-Default "@rx ." "id:2180,phase:1,pass,nolog,setvar:tx.own_other=1"
SecRule TX:own_other "@eq 5" "id:2181,phase:2,pass,log,chain"
SecRule REQUEST_HEADERS:X-Other-Default "@rx ." "t:none"
SecRule ARGS:/^cnt/ "@rx ^([0-9])$" "id:2183,phase:2,pass,log,capture,chain"
SecRule &ARGS:/^cnt/ "@eq %{TX.1}" "t:none"
SecRule ARGS:mm "@rx ^(\w)%25" "id:2184,phase:2,pass,log,capture,multiMatch,t:none,t:urlDecode,chain"
SecRule TX:1 "@streq q" "t:none"
SecRule RESPONSE_HEADERS:Content-Encoding "@streq gzip" "id:2185,phase:3,pass,nolog,setvar:tx.own_coded=1"
SecRule TX:own_coded "@eq 1" "id:2186,phase:4,pass,log,chain"
SecRule RESPONSE_BODY "@contains only later" "t:none"
SecRule &TX:own_mark "@eq 0" "id:2187,phase:5,pass,log,msg:'the head was not judged'"
SecRule ARGS:kinds "@rx ^(?:dir|a b)$" "id:2188,phase:2,pass,log,t:none,t:cmdLine"
SecRule ARGS:kinds "@streq a/b" "id:2189,phase:2,pass,log,t:none,t:normalizePath"
SecRule ARGS:dots "!@contains ." "id:2190,phase:2,pass,log,t:none,t:normalizePath"
SecRule ARGS:kinds "@streq ab" "id:2191,phase:2,pass,log,t:none,t:removeCommentsChar"
SecRule ARGS:kinds "@streq boot" "id:2192,phase:2,pass,log,t:none,t:normalizePathWin"
SecRule ARGS:choice "@rx ^(a|b)" "id:2193,phase:2,pass,nolog,chain"
SecRule MATCHED_VAR "@rx b$" "t:none,setvar:tx.own_choice=2"
SecAction "id:2194,phase:1,pass,nolog,setvar:tx.own_choice=7"
SecRule TX:own_choice "@eq 7" "id:2195,phase:2,pass,log,chain"
SecRule ARGS:choice "@rx ." "t:none"
SecRule TX:own_mark|TX:own_marks "@eq 1" "id:2197,phase:1,pass,nolog,setvar:tx.own_twice=+1"
SecRule TX:own_twice "@eq 2" "id:2198,phase:2,pass,log,chain"
SecRule ARGS:twice "@rx ." "t:none"
SecRule ARGS:coded "@contains <i" "id:2222,phase:2,pass,log,t:none,t:urlDecodeUni,t:htmlEntityDecode"
SecRule ARGS:coded "@streq <%69" "id:2223,phase:2,pass,log,t:none,t:htmlEntityDecode"
SecRule ARGS:compared "@rx ^(\w+)-" "id:2199,phase:2,pass,log,setvar:tx.own_compared=%{TX.own_first}x,setvar:tx.own_with=a,chain"
SecRule ARGS:compared "@endsWith -%{tx.own_with}" "t:none"
SecAction "id:2200,phase:2,pass,nolog,setvar:tx.own_end=1"
SecRule &TX:own_end "@eq 0" "id:2201,phase:5,pass,log,msg:'phase 2 ended early',chain"
SecRule ARGS_GET:ended "@rx ." "t:none"
SecRule ARGS:seen "@streq %{tx.own_a}" "id:2202,phase:1,pass,nolog,setvar:tx.own_seen=1"
SecRule TX:own_seen "@eq 1" "id:2203,phase:2,pass,log"
SecRule INBOUND_DATA_ERROR "@streq %{tx.own_a}" "id:2204,phase:1,pass,nolog,setvar:tx.own_short=1"
SecRule TX:own_short "@eq 1" "id:2205,phase:2,pass,log"
SecRule INBOUND_DATA_ERROR "@eq 0" "id:2209,phase:1,pass,nolog,setvar:tx.own_inbound=1"
SecRule TX:own_inbound "@eq 1" "id:2210,phase:2,pass,log,chain"
SecRule INBOUND_DATA_ERROR "@eq 1" "t:none"
SecRule ARGS:seen "@rx ." "id:2211,phase:1,pass,nolog,t:none,t:md5,ctl:ruleRemoveTargetById=942100;ARGS:q"
SecRule REQBODY_PROCESSOR "@streq 5ae559f984b793ab6cd12695703e2045" "id:2215,phase:1,pass,nolog,t:none,t:md5,t:hexEncode,ctl:ruleRemoveTargetById=942100;ARGS:q"
SecRule ARGS:/^sum_[cd]/ "@rx ^\d+$" "id:2212,phase:2,pass,log,setvar:tx.own_less=+%{MATCHED_VAR},chain"
SecRule TX:own_less "@lt 4" "t:none"
SecAction "id:2216,phase:1,pass,nolog,setvar:tx.own_third=5,setvar:tx.own_fourth=5"
SecRule REQUEST_HEADERS:X-Third "@rx ." "id:2213,phase:1,pass,nolog,setvar:tx.own_third=1"
SecRule TX:own_third "@eq 5" "id:2214,phase:1,pass,log,chain"
SecRule REQUEST_HEADERS:X-Third "@rx ." "t:none"
SecRule REQUEST_HEADERS:X-Fourth "@rx ." "id:2217,phase:2,pass,nolog,setvar:tx.own_fourth=1"
SecRule TX:own_fourth "@eq 5" "id:2218,phase:5,pass,log,chain"
SecRule REQUEST_HEADERS:X-Fourth "@rx ." "t:none"
SecAction "id:2219,phase:1,pass,nolog,setvar:tx.own_fifth=5"
SecRule ARGS:fifth "@rx ." "id:2220,phase:1,pass,nolog,chain"
SecRule ARGS_POST:later "@rx ." "t:none,setvar:tx.own_fifth=1"
SecRule TX:own_fifth "@eq 5" "id:2221,phase:2,pass,log,chain"
SecRule ARGS:fifth "@rx ." "t:none"
SecRule REQUEST_HEADERS:X-Lane "@streq skip" "id:2206,phase:2,pass,nolog,skipAfter:SHORT-END"
SecRule ARGS:inlane "@rx ." "id:2207,phase:2,pass,nolog,setvar:tx.own_other=2"
SecMarker SHORT-END
SecRule TX:own_other "@eq 5" "id:2208,phase:2,pass,log,chain"
SecRule ARGS:inlane "@rx ." "t:none"
SecRule REMOTE_ADDR "!@ipMatch 203.0.113.0/24, 198.51.100.0/24" "id:2166,phase:1,pass,log,chain"
SecRule REQUEST_HEADERS:X-Who "@rx ." "t:none"
`

// openRules depend on what other rules set in ways that the prover does not
// follow: they run in every request.
const openRules = `
SecRule RESPONSE_HEADERS_NAMES "@streq content-encoding" "id:2071,phase:3,pass,log,t:lowercase"
SecRule &RESPONSE_HEADERS:Content-Encoding "@eq 1" "id:2073,phase:3,pass,log,msg:'coded'"
SecRule ARGS_GET:add "@streq 1" "id:2079,phase:1,pass,nolog,setvar:tx.own_sum=+3"
SecRule TX:own_sum "@gt 4" "id:2080,phase:2,pass,log,msg:'%{TX.own_sum}'"
SecRule TX:deleting "@eq 1" "id:2168,phase:2,pass,log,setvar:'!tx.deleting=0'"
SecRule &TX:deleting "@eq 0" "id:2169,phase:2,pass,nolog,chain"
SecRule TX:deleted "@streq DELETE" "log,setvar:'tx.inbound_anomaly_score_pl1=+2'"
SecRule ARGS_GET:unmark "@streq 1" "id:2081,phase:1,pass,nolog,setvar:'!tx.own_mark=0'"
SecRule &TX:own_mark "@eq 0" "id:2082,phase:2,pass,log,msg:'the mark is gone'"
SecRule ARGS:fast "@streq lane" "id:2167,phase:2,pass,nolog,skipAfter:OPEN-END"
SecRule ARGS:inner "@streq lane" "id:2182,phase:2,pass,nolog,skipAfter:OPEN-INNER"
SecRule ARGS:inner "@streq never" "id:2196,phase:2,pass,log"
SecMarker OPEN-INNER
SecAction "id:2084,phase:2,pass,nolog,setvar:tx.own_inside=1"
SecMarker OPEN-END
SecRule &TX:own_inside "@eq 0" "id:2089,phase:2,pass,log,msg:'nothing inside'"
SecRule &TX:own_fold "@eq 0" "id:2112,phase:1,pass,nolog,chain"
SecRule ARGS_GET:fold "@streq 1" "t:none,setvar:tx.own_unset=1"
SecAction "id:2113,phase:1,pass,nolog,setvar:tx.own_fold=1"
SecAction "id:2171,phase:1,pass,nolog,setvar:tx.own_copy=%{tx.own_level}"
SecRule TX:own_unset "@eq 1" "id:2114,phase:2,pass,log"
SecRule TX:own_copy "@ge 3" "id:2115,phase:2,pass,log,msg:'%{TX.own_copy}'"
`

// specialTrials are requests that the rules above, those of the contests and the
// peculiar ones of the Core Rule Set wait for, each next to one that they do not.
// Their names say what they are about.
func specialTrials(t testing.TB) []*trial {
	t.Helper()
	var out []*trial
	add := func(name string, c call, change ...func(*trial)) {
		tr := &trial{name: name, call: c}
		for _, f := range change {
			f(tr)
		}
		out = append(out, tr)
	}
	answer := func(a reply) func(*trial) { return func(tr *trial) { tr.answer = a } }
	course := func(f flow) func(*trial) { return func(tr *trial) { tr.flow = f } }
	client := func(address string) func(*trial) { return func(tr *trial) { tr.call.client = address } }
	route := func(name string) func(*trial) { return func(tr *trial) { tr.route = name } }
	method := func(name string) func(*trial) { return func(tr *trial) { tr.call.method = name } }
	form := func(body string, fields ...string) call { return post(formType, body, fields...) }
	page := func(body string, fields ...string) reply {
		return reply{status: 200, fields: fieldsOf(append(fields, "Content-Type", "text/html")...), body: body}
	}

	// What policies with rule files of their own look for.
	for _, do := range []string{"deny", "teapot", "drop", "go", "moved", "block", "none"} {
		add("do "+do, get("/?do="+do))
		add("do "+do+" in a form", form("do="+do))
	}
	for _, what := range []string{"all", "request", "phase"} {
		add("allow "+what, get("/?allow="+what+"&q=1'+or+1=1--"))
		add("allow "+what+" in a form", form("allow="+what+"&q=<script>alert(1)</script>&do=teapot"))
	}
	add("allow by field", get("/?q=1'+or+1=1--&do=deny", "X-Allow", "the MONITOR"))
	for _, skip := range []string{"1", "all", "most", "2"} {
		add("skip "+skip, get("/?skip="+skip+"&token=1&token=2", "User-Agent", "\xffodd"), method("PUT"))
	}
	add("skip nothing", get("/?token=1&token=2"))
	add("odd agent", form("a=b"), func(tr *trial) { tr.call.fields[1].Value = "b\xe9" })
	add("PUT", form("a=b"), method("PUT"))
	add("DELETE", get("/x"), method("DELETE"))
	add("own word", form("a=b&c=needle"))
	add("own word in a cookie", get("/", "Cookie", "a=a+needle"))
	add("secrets", get("/?a=secret-abc-def&b=x"))
	add("secrets, another", get("/?a=secret-xyz-needle"))
	add("secrets, two", get("/?a=secret-abc-def&b=secret-zzz-yyy&c=needle"))
	for _, q := range []string{"a=x1&b=x2", "a=x1&b=y", "a=x&a=x2"} {
		add("both of a and b", get("/?"+q))
	}
	for _, q := range []string{"list=101", "list=100", "list=5&list=300", "list=9", "list=%2539", "list=a"} {
		add("list", get("/?"+q))
	}
	add("many times", get("/?z=a%2520b&y=%2561"))
	add("many cookies", get("/", "Cookie", strings.Repeat("c=1; ", 14)))
	add("twice", get("/", "X-Twice", "1", "x-twice", "2"))
	add("field form", get("/", "X-Form", "Not a form"))
	add("a path in a field", get("/", "X-Path", "see /etc/hosts", "Referer", "/etc/"))
	add("a path in a field that is left out", get("/", "Referer", "/etc/", "Cookie", "a=/etc/"))
	add("long body", form("a="+strings.Repeat("b ", 3000)))
	add("NUL", get("/a%00b"))
	add("a program", multi(file("f", "a.EXE", "x")+last))
	add("a picture", multi(file("f", "a.SVG", "<svg/>")+last))
	add("a picture of ours", multi(file("f", "AB-12.PNG", "x")+last))
	add("confidential XML", post("text/xml", `<a b="internal"><c>this is Confidential</c></a>`))
	add("addresses, known", get("/"), client("198.51.100.9"))
	add("addresses, known v6", get("/", "X-Who", "me"), client("2001:db8::1"))
	add("addresses, mapped", get("/", "X-Who", "me"), client("::ffff:198.51.100.9"))
	add("addresses, own", get("/", "X-Who", "me"), client("203.0.113.200"))
	add("addresses, other", get("/", "X-Who", "me"), client("192.0.2.1"))
	add("cookie names", get("/", "Cookie", "X-DEBUG-1=a; b=c"))
	add("field names", get("/", "X-Debug-Level", "1"))
	add("hash", get("/?hash="))
	add("coded", get("/?coded=ZXZpbA%3D%3D"))
	add("trusted", get("/", "Cookie", "trusted=yes"), answer(page("<title>Index of /</title>")))
	add("not trusted", get("/"), answer(page("<title>Index of /</title>")))
	for _, status := range []int{200, 404, 500, 503} {
		add(fmt.Sprint("status ", status), get("/"), answer(reply{status: status, fields: fieldsOf("Content-Type", "text/html"), body: "no more"}))
	}
	add("status 418", get("/"), answer(reply{status: 418, fields: fieldsOf("Content-Type", "text/html"), body: "x"}))
	add("location", get("/"), answer(reply{status: 302, fields: fieldsOf("Location", "http://internal.example/", "X-Powered-By", "PHP")}))
	add("page", get("/"), answer(page("<p>wp-config</p>")))
	add("later", get("/?later=3"), answer(page("x")))
	add("in the end", get("/?later=5"))
	add("nearly", get("/?q=%20"+strings.Repeat("x", 10)+"&sql=union", "X-Level", "2"))
	add("large", form("a="+strings.Repeat("b", 2500)))
	for _, body := range []string{"json", "xml", "form", "raw"} {
		add("body "+body, post("text/plain", `{"a":"<script>alert(1)</script>"}`, "X-Body", body))
		add("body "+body+", a form", post("application/octet-stream", "a=<script>alert(1)</script>&do=teapot", "X-Body", body))
	}
	add("free", get("/free?q=1'+or+1=1--&r=<script>alert(1)</script>"))
	add("lax", get("/LAX/?note=1'+or+1=1--", "Cookie", "a=;cat /etc/passwd"))
	add("raw", get("/a.raw?q=<script>alert(1)</script>"))

	// What specialRules look for.
	add("names", get("/", "X_Own_Probe", "1"))
	add("names, forbidden", get("/", "Proxy", "x"))
	add("names, forbidden, odd case", get("/", "pROXY", "x"))
	add("names, more", get("/", "Content-Range", "1", "If", "x", "LOCK-token", "y"))
	add("names, extended", get("/", "Accept-Charset", "utf-8"))
	add("names, part of another", get("/", "X-HTTP-Method", "PUT"))
	add("names, part of one", get("/", "Pro", "x", "xy", "y"))
	coded := reply{status: 200, fields: fieldsOf("Content-Type", "text/html", "Content-Encoding", "gzip", "X-Debug", "<script>"), body: encoded(t, coding.Gzip, "<b>stack trace</b> ORA-00933: SQL command not properly ended wp-config")}
	add("coded answer", get("/"), answer(coded))
	add("coded answer, only later", get("/"), answer(reply{status: 200, fields: fieldsOf("Content-Type", "text/html", "Content-Encoding", "gzip"), body: encoded(t, coding.Gzip, "the backend says wp-config, <title>Index of /")}))
	add("coded answer, followed", get("/"), answer(reply{status: 200, fields: fieldsOf("Content-Type", "text/html", "Content-Encoding", "gzip"), body: encoded(t, coding.Gzip, "the backend says so only later")}))
	add("coded answer, after a match", get("/?agreed=1", "X-Step", "7"), answer(coded))
	add("plain answer", get("/"), answer(reply{status: 200, fields: fieldsOf("Content-Type", "text/html", "X-Debug", "<script>"), body: "words"}))
	for _, level := range []string{"1", "2", "3", "4"} {
		add("level "+level, get("/", "X-Level", level))
	}
	add("coded twice, in two ways", get("/?coded=%26lt%3B%2569"))
	add("token", form("expect=abc", "X-Token", "abc"))
	add("token, not this", form("expect=abc", "X-Token", "abd"))
	add("token, none", form("expect=REQUEST_HEADERS.X-Token"))
	add("sum", get("/?add=1"))
	add("unmark", get("/?unmark=1"))
	for _, q := range []string{"fast=lane", "fast=other", "fast=lane&inner=lane", "fast=x&inner=lane", "inner=lane", "inner=x"} {
		add("lane "+q, form(q, "X-Lane", "1"))
	}
	for f := range flows {
		add(fmt.Sprintf("merge, course %d", f), form("a=b"), func(tr *trial) { tr.call.target = "/?later=merge" }, course(f), answer(page("x")))
	}
	add("seen", form("seen=deep", "X-First", "deep"))
	add("seen in time", get("/?seen=deep", "X-First", "deep"))
	for _, first := range []string{"0", "1"} {
		add("short, "+first, form("a="+strings.Repeat("b", 2500)+"&c="+strings.Repeat("d", 2500), "X-First", first))
		add("ended, "+first, form("q=1'+or+1=1--&do=teapot"), func(tr *trial) { tr.call.target = "/?ended=1&allow=all&list=" + first })
	}
	add("ended", form("q=1'+or+1=1--"), func(tr *trial) { tr.call.target = "/?ended=1" })
	add("in the lane", form("inlane=1"))
	add("in the lane, skipped", form("inlane=1", "X-Lane", "skip"))
	add("default, another, of an admin", get("/", "X-Other-Default", "1"), route("admin"))
	add("default, of an admin", get("/", "X-Default", "1"), route("admin"))
	add("third, of an admin", get("/", "X-Third", "1"), route("admin"))
	add("third", get("/", "X-Third", "1"))
	add("fourth, of a body that nobody reads", post(formType+"; charset=utf-16", "a=b", "X-Fourth", "1"))
	add("fourth", form("a=b", "X-Fourth", "1"))
	add("fifth, of a body that came later", form("later=1"), func(tr *trial) { tr.call.target = "/?fifth=1" })
	add("fifth, not this", form("later=1"))
	add("less, of an admin", form("sum_d=2&sum_c=5"), route("admin"))
	add("less", form("sum_d=2&sum_c=5"))
	add("bare", get("/bare"), route("admin"))
	add("seen too late", form("seen=1&q=1'+or+1=1--"))
	add("seen early", get("/?seen=1&q=1'+or+1=1--"))
	add("read as a form, too late", post("text/plain", "q=1'+or+1=1--"))
	add("observed, and answered", get("/?q=1'+or+1=1--"), answer(reply{status: 302, fields: fieldsOf("Location", "http://internal.example/", "Content-Type", "text/html"), body: "x"}))
	add("no error of a database", get("/"), answer(page("Exception 363. Transaction rollback.")))
	add("compared", form("compared=b-a"))
	add("compared, not this", form("compared=b-c"))
	add("twice set", get("/?twice=1"))
	add("default", get("/", "X-Default", "1"))
	add("default, calm", get("/", "X-Default", "1", "X-Calm", "1"))
	add("default, another", get("/", "X-Other-Default", "1"))
	add("default, another, halted", get("/", "X-Other-Default", "1", "X-Halt", "1"))
	add("sets what another sets", form("chainup=1", "X-First", "deep"))
	add("sets what another sets, not this", form("chainup=1", "X-First", "shallow"))
	add("marked", post("text/plain", "a marked text"))
	add("marked form", form("a=marked"))
	for _, calm := range []string{"calm=1", "calm=2", "calm=1&q=a"} {
		add(calm, get("/?"+calm))
		add(calm+" in a form", form(calm))
	}
	add("left over", get("/?left=over&q=1'+or+1=1--", "Cookie", "a=<script>alert(1)</script>"))
	add("left over, alone", form("left=over"))
	for _, q := range []string{"one=7", "one=3", "one=8&two=go", "one=4&two=go"} {
		add("half a chain, "+q, get("/?"+q))
	}
	add("half a chain that looks away", get("/half?q=1'+or+'1'='1"))
	add("half a chain that looks away, all", get("/half?q=1'+or+'1'='1&never=x"))
	add("not looked away", get("/whole?q=1'+or+'1'='1"))
	add("strict", get("/?q=a", "X-Strict", "1"))
	add("strict, odd agent", get("/?q=a", "X-Strict", "1"), func(tr *trial) { tr.call.fields[1].Value = "b\xe9" })
	for n := range 5 {
		add(fmt.Sprint("counts ", n), get("/?"+strings.Repeat("x_a=1&X_b=2&", n)))
	}
	add("counts a field", get("/", "x-many", "1", "X-MANY", "2"))
	for _, q := range []string{"a=loud", "quiet_a=loud", "note=loud", "Quiet_a=loud", "anote=loud", "NOTE=loud"} {
		add("exceptions, "+q, form(q))
	}
	for _, q := range []string{"MixedCase=found", "mixedcase=found", "PreAx=found", "preax=found", "preAx=found", "MixedCase=x", "lower=x", "LOWER=x", "anOddName=x", "oddname=x"} {
		add("keys, "+q, form(q))
		add("keys in the query, "+q, get("/?"+q))
	}
	add("late, widen", form("late=widen&add=1", "X-Level", "2", "X-Step", "7"))
	add("late, widen, proven before", form("late=widen"))
	add("late, force", form("late=force"))
	add("fold", get("/?fold=1"))
	add("fold, copies", get("/", "X-Level", "3"))
	for _, q := range []string{"word=needle", "word=needles", "wordy=B", "word=+"} {
		add("a word within, "+q, get("/?"+q))
	}
	for _, q := range []string{"pair=a:b:c", "pair=deep:b:x", "pair=deep:c:x", "pair=deep:b:x&pair=a:b:c", "pair=a:b:c&pair=deep:b:x"} {
		add("captures, "+q, form(q))
	}
	for _, q := range []string{"mark=a", "mark=b", "mark=c", "mark=a&mark=b"} {
		add("made-up names, "+q, get("/?"+q))
	}
	for _, step := range []string{"7", "07", "+7", "seven", "-21", "-20", "901", "900", "99999999999999999999", "-1", "0", "", " 7", "7.0"} {
		add("step "+step, get("/", "X-Step", step))
	}
	for _, word := range []string{"odd", "the *odd one", "even", "EVEN", "word", "Wide", "void", "oddly", "x"} {
		add("words, "+word, get("/", "X-Word", word))
	}
	add("agreed", form("agreed="))
	add("bytes", form("bytes=abc"))
	add("bytes, others", form("bytes=aBc"))
	add("code", form("code=x"))
	for _, q := range []string{"size=1234567890", "size=123456789", "text=a%00+%09b++c+", "text=a%20%0Ab/*c*/", "text=ab/*x*/c", "text=a-b--c", "text=%20a%20b%20c", "path=/x/../etc/passwd", "path=C:%5Cx%5C..%5Cboot.ini", "path=/a/./etc/",
		"seq=%5Cx3ca%3E", "seq=%5C00003cb%3E", "seq=%5Cu003cc%3E", "seq=%26lt%3Bd%3E", "seq=%C3%A9", "seq=aGVsbG8%3D", "seq=hel", "seq=a%2520b", "seq=L%5Es%2C-L", "wide=%E9%80", "wide=%C3%A9", "seq=%EF%BD%81", "kinds=d%22i%22r", "kinds=a%2Cb", "kinds=a//b", "dots=.", "dots=..", "kinds=a--b", "kinds=a%23b", "kinds=boot%3Ax", "kinds=boot+", "kinds=boot.", "text=a%09b%0Ac", "seq=a%2Bb"} {
		add("transformed, "+q, form(q))
	}
	for _, q := range []string{"both=xy", "both=xz", "both=x&both=ay", "both=xy&both=xz", "cnt=1", "cnt=2", "cnt=2&cntb=2", "mm=q%252541", "mm=r%252541", "choice=a&choice=b", "choice=b&choice=a", "choice=a", "choice=b", "choice=ab&choice=ba", "both=xz&bothy=xy", "both=xy&bothy=xz", "bothz=z", "named_a=1&named_c=1", "named_a=1", "sum_a=5", "sum_a=2&sum_a=2", "sum_a=3"} {
		add("chains, "+q, form(q))
	}
	// The engine comes upon one of the first seven last in seven of eight runs.
	add("chains, eight", form("both=xz&botha=xz&bothb=xz&bothc=xz&bothd=xz&bothe=xz&bothf=xz&bothg=xy"))
	add("chains, exceptions", get("/", "X-Free", "sesame", "X-Other", "open"))
	add("chains, exceptions, another", get("/", "X-Say", "open sesame"))
	add("chains, exceptions of the link", get("/", "X-Say", "sesame", "X-Free-A", "open"))
	add("chains, counts", get("/", "X-Given", "1"))
	add("chains, counts one", get("/", "X-Given", "1", "X-Other", "1"))
	for _, stage := range []string{"1", "2", "3"} {
		add("stage "+stage, form("stage="+stage), answer(reply{status: 404, fields: fieldsOf("Content-Type", "text/html"), body: "no more"}))
	}
	add("bait", form("bait=taken", "X-Step", "7"))
	add("mixed", form("mixed=7"))
	add("cookies, keys", get("/", "Cookie", "sid=evil"))
	add("cookies, keys, upper", get("/", "Cookie", "SID=evil; Other=evil"))

	// Exclusions: those of one request must not hold for the next.
	add("excluded for admins", get("/?a=;cat+/etc/passwd", "X-Custom", "GET /x HTTP/1.1"), route("admin"))
	add("excluded for nobody", get("/?a=;cat+/etc/passwd", "X-Custom", "GET /x HTTP/1.1"))
	add("excluded by target", get("/?q=1'+or+1=1--"))
	add("excluded by target, another", get("/?r=1'+or+1=1--"))
	add("excluded by method", form("note=1'+or+1=1--"))
	add("excluded by method, another", get("/?note=1'+or+1=1--"))
	add("excluded by path", post("text/xml", "<a>1' or '1'='1</a>"), func(tr *trial) { tr.call.target = "/soap/x" })
	add("excluded by path, another", post("text/xml", "<a>1' or '1'='1</a>"))

	// Peculiar rules of the Core Rule Set.
	add("range, backwards", get("/", "Range", "bytes=10-5"))
	add("range, forwards", get("/", "Range", "bytes=5-10"))
	add("range, many", get("/", "Range", "bytes=0-1,2-3,4-5,6-7,8-9,10-11,12-13"))
	add("polluted", get("/?id=1&id=2"))
	add("polluted, three", get("/?id=1&x=2&id=3&x=1"))
	add("not polluted", get("/?id=1&ID=2"))
	add("polluted arrays", get("/?a[]=1&a[]=2&a[1]=3"))
	add("parts", multi("--b0undary\r\nContent-Disposition: form-data; name=\"a\"\r\nContent-Type: text/plain; charset=utf-7\r\n\r\n1\r\n"+last))
	add("parts, two types", multi("--b0undary\r\nContent-Disposition: form-data; name=\"a\"\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n1\r\n--b0undary\r\nContent-Disposition: form-data; name=\"b\"\r\nContent-Type: text/plain; charset=utf-7\r\n\r\n1\r\n"+last))
	add("parts, odd names", multi("--b0undary\r\nContent-Disposition: form-data; name=\"a\"\r\nX\x80: y\r\n\r\n1\r\n"+last))
	add("off the site", get("/?x=http://evil.example/a.txt"))
	add("on the site", get("/?x=http://shop.example.org/a.txt"))
	add("off the site, two", get("/?x=http://shop.example.org/a.txt&y=https://evil.example/b"))
	add("session, fixed", get("/?jsessionid=1", "Referer", "http://evil.example/"))
	add("session, not fixed", get("/?jsessionid=1", "Referer", "http://shop.example.org/"))
	add("session, no referer", get("/?jsessionid=1"))
	add("static", get("/a.png"))
	add("script in a name", get("/a<script>alert(1)</script>.png"))
	add("script in a static name", get("/img/a.png?<script>alert(1)</script>"))
	add("charset twice", post(formType+"; charset=utf-8; charset=utf-7", "a=b"))
	add("type", post("application/x-own", "a=b"))
	add("version", get("/"), func(tr *trial) { tr.proto = "HTTP/0.9" })
	add("no agent", call{method: "GET", target: "/", fields: fieldsOf("Host", "shop.example.org", "Accept", "*/*")})
	add("no agent, no accept", call{method: "GET", target: "/", fields: fieldsOf("Host", "shop.example.org")})
	add("address as host", call{method: "GET", target: "/", fields: fieldsOf("Host", "10.0.0.1", "Accept", "*/*", "User-Agent", "x")})
	add("GET with a body", call{method: "GET", target: "/", fields: browser("Content-Length", "3"), body: "a=b"})
	add("no length", call{method: "POST", target: "/", fields: browser("Content-Type", formType)})
	add("two types", post(formType, "a=b", "Content-Type", "text/plain"))
	add("too many arguments for the gateway", get("/?later=merge&"+strings.Repeat("a=1&", 1100)))
	add("too many arguments", get("/?"+strings.Repeat("a=1&", 300)))
	add("a long argument", get("/?a="+strings.Repeat("b", 3500)))
	add("extension", get("/a.bak"))
	add("extension, allowed", get("/a.html"))
	add("broken escape", get("/?a=%zz&b=%4"))
	add("broken escape in a form", post(formType, "a=%zz"))
	add("no UTF-8", get("/?a=%c0%af"))
	add("full width", get("/?a=%uff1cscript%uff1ealert(1)"))
	add("byte range", get("/?a=%01"))
	add("byte range, level 3", get("/?a=%c3%a9", "X-Custom", "\x80"))
	add("method override", get("/?_method=PUT", "X-HTTP-Method-Override", "PUT"))
	for i := range out {
		out[i].name = "special: " + out[i].name
	}
	return out
}

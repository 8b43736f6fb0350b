package demo

import "strings"

// A Try is something to try on the demo: a shell command that needs nothing
// but curl, and what it shows.
type Try struct {
	Title   string
	Command string
	Expect  string
}

// Addresses are where the parts of a running demo are reached.
type Addresses struct {
	Gateway string // URL of the gateway, as http://localhost:8080
	Admin   string // URL of the admin endpoint
	Backend string // URL of an instance, which outside of a demo nobody could reach
}

// Tries lists what to try, from the plain to the wicked. Commands that need
// exact bytes send them through curl's telnet, since curl would mend or refuse
// them otherwise.
func Tries(at Addresses) []Try {
	hostPort := strings.TrimPrefix(at.Gateway, "http://")
	fill := strings.NewReplacer("GATEWAY", at.Gateway, "ADMIN", at.Admin, "BACKEND", at.Backend, "HOSTPORT", hostPort).Replace
	tries := []Try{
		{"An ordinary request", `curl -i 'GATEWAY/search?q=portcullis'`,
			"200 and two portcullises. No Server, no X-Powered-By, no X-Backend-Server: nobody can tell which instance answered."},
		{"The same without the gateway", `curl -i 'BACKEND/search?q=portcullis'`,
			"200, and everything that the gateway hid."},
		{"A smuggled request: two lengths for one body",
			`(printf 'POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG'; sleep 1) | curl -s -m 3 telnet://HOSTPORT`,
			"400 http.te_and_cl, and the connection closes: the G that would have begun the next visitor's request is never read."},
		{"A smuggled request: a field name with a space before the colon",
			`(printf 'POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding : chunked\r\nContent-Length: 3\r\n\r\n0\r\n'; sleep 1) | curl -s -m 3 telnet://HOSTPORT`,
			"400 http.field_name."},
		{"A path that climbs out", `curl -i --path-as-is GATEWAY/../../etc/passwd`,
			"400 http.path_dots."},
		{"A field that poses as another", `curl -i -H 'X_Forwarded_For: 192.0.2.1' GATEWAY/echo`,
			"400 http.header_underscore: many applications read it as X-Forwarded-For."},
		{"A visitor from a denied country", `curl -i -H 'X-Forwarded-For: 198.51.100.7' GATEWAY/`,
			"403 geo.country. The demo believes X-Forwarded-For from loopback; its database puts 198.51.100.0/24 into KP."},
		{"A visitor from a denied network", `curl -i -H 'X-Forwarded-For: 203.0.113.9' GATEWAY/`,
			"403 geo.asn."},
		{"A flood", `curl -s -o /dev/null -w '%{http_code}\n' -H 'X-Forwarded-For: 192.0.2.66' 'GATEWAY/healthz?n=[1-300]' | sort | uniq -c`,
			"About 60 times 200, then 429 limit.over_budget for the rest. Other visitors notice nothing: run the first command again."},
		{"SQL injection", `curl -i -G GATEWAY/search --data-urlencode "q=' UNION SELECT name, password, email FROM users -- "`,
			"403 waf.inbound_score; the record names the rules and the bytes that matched."},
		{"The same without the gateway", `curl -s -G BACKEND/search --data-urlencode "q=' UNION SELECT name, password, email FROM users -- "`,
			"Every password of the shop."},
		{"Logging in without a password, as JSON", `curl -i -H 'Content-Type: application/json' -d "{\"user\": \"admin' OR '1'='1' -- \", \"password\": \"x\"}" GATEWAY/login`,
			"403 waf.inbound_score. Without the gateway (BACKEND): welcome, alice."},
		{"Cross-site scripting", `curl -i -G GATEWAY/search --data-urlencode 'q=<script>alert(document.cookie)</script>'`,
			"403 waf.inbound_score."},
		{"A comment that is an attack", `curl -i -d 'text=<img src=x onerror=alert(1)>' GATEWAY/comments`,
			"403 waf.inbound_score, and no new comment."},
		{"A comment that is none", `curl -i -d 'text=The drawbridge squeaks a little.' GATEWAY/comments`,
			"303 to /comments."},
		{"An upload", `head -c 5000000 /dev/urandom | curl -i -F 'file=@-;filename=moat.jpg;type=image/jpeg' GATEWAY/upload`,
			"200 and 5000000 bytes counted. The file streamed through; only what rules can judge was held."},
		{"A crash with a stack trace", `curl -i GATEWAY/boom`,
			"403 waf.outbound_score: the rules know a stack trace when they see one. The host name and the password in it stay inside."},
		{"A crash that no rule knows", `curl -i 'GATEWAY/boom?how=quiet'`,
			"500 with a page of the gateway: the bodies of errors are replaced in any case."},
		{"Leaked source", `curl -i 'GATEWAY/leak?kind=php'`,
			"403 waf.outbound_score: the policy of this route judges answers too."},
		{"A redirect that tells too much", `curl -i GATEWAY/redirect`,
			"302 whose Location names this gateway, not the address of the instance."},
		{"A page that tells too much", `curl -i GATEWAY/about`,
			"200, but X-Rendered-By and the comment in the page say redacted.invalid: mask.leak in the record, with what and where. To compare: sallyport mask check GATEWAY/about, and BACKEND/about."},
		{"Events as they happen", `curl -N GATEWAY/stream`,
			"One event a second; nothing is held back."},
		{"A WebSocket", `curl -i -N -m 3 -H 'Connection: Upgrade' -H 'Upgrade: websocket' -H 'Sec-WebSocket-Version: 13' -H 'Sec-WebSocket-Key: c2FsbHlwb3J0LWRlbW8tMQ==' GATEWAY/ws`,
			"101, and curl waits until its three seconds are over. Two records: one at the handshake, one at the end."},
		{"A part of something large", `curl -s -r 1073741760-1073741823 'GATEWAY/download?size=2GiB'`,
			"64 bytes from the middle."},
		{"What the backend is told", `curl -s -H 'X-Forwarded-For: 192.0.2.9' -H 'X-Real-Ip: 10.0.0.1' GATEWAY/echo`,
			"X-Real-Ip is the 192.0.2.9 that the trusted X-Forwarded-For names, not what the client made up; X-Request-Id is that of the record."},
		{"Numbers", `curl -s ADMIN/metrics | grep '^sallyport_' | head -20`,
			"Requests by action, stage and reason, backends, rules."},
	}
	for i := range tries {
		tries[i].Command, tries[i].Expect = fill(tries[i].Command), fill(tries[i].Expect)
	}
	return tries
}

package gate

import "strings"

// ForwardingField reports whether a field says what only a proxy in front of
// us can know: who the client is, by which name, path and scheme it asked, its
// certificate, its user, its place. Only a trusted proxy is believed about
// them, no client may have them removed, and no other name may stand in for
// one.
//
// Letter case does not count, and neither which mark separates the words:
// CGI-style servers write an underscore for a dash (RFC 3875 section 4.1.18),
// some for every byte that is neither letter nor digit.
func ForwardingField(name string) bool {
	if name == "" || strings.IndexByte(forwardingFirst, name[0]) < 0 {
		return false // as most fields of most requests
	}
	var b [longestForwarding]byte
	n := copy(b[:], name)
	for i, c := range b[:n] {
		switch {
		case 'A' <= c && c <= 'Z':
			b[i] = c + 'a' - 'A'
		case mark(c):
			b[i] = '-'
		}
	}
	if len(name) == n && forwardingNames[string(b[:n])] {
		return true
	}
	for _, p := range forwardingPrefixes {
		if b[0] == p[0] && n >= len(p) && string(b[:len(p)]) == p {
			return true
		}
	}
	return false
}

// longestForwarding is as long as the longest name and prefix below.
const longestForwarding = 24

// forwardingFirst are the letters that the names and prefixes below begin
// with, in both cases.
const forwardingFirst = "CcDdFfGgHhIiPpRrSsTtWwXx"

// forwardingNames are the fields by their whole names.
var forwardingNames = map[string]bool{
	"forwarded": true, "x-forwarded": true,
	// The address of the client, as content networks and proxies name it.
	"x-real-ip": true, "x-real-port": true, "client-ip": true, "x-client-ip": true, "x-client-port": true, "true-client-ip": true,
	"x-cluster-client-ip": true, "x-originating-ip": true, "x-remote-ip": true, "x-remote-addr": true, "x-proxyuser-ip": true,
	"x-azure-clientip": true, "x-azure-socketip": true, "fastly-client-ip": true, "fly-client-ip": true,
	"do-connecting-ip": true, "incap-client-ip": true, "x-sucuri-clientip": true, "proxy-client-ip": true,
	"http-client-ip": true, "http-forwarded": true, "http-forwarded-for": true,
	// The name, path, method and scheme that it asked for.
	"x-host": true, "x-scheme": true, "x-url-scheme": true, "front-end-https": true, "cf-visitor": true, "x-rewrite-url": true,
	"x-original-url": true, "x-original-uri": true, "x-original-host": true, "x-original-path": true, "x-original-method": true,
	"x-original-forwarded-for": true, "x-envoy-original-path": true, "x-waws-unencoded-url": true,
	// Its name, as proxies that ask for passwords report it.
	"remote-user": true, "x-remote-user": true, "x-authenticated-user": true,
	// Its certificate (RFC 9440) and its place.
	"client-cert": true, "client-cert-chain": true, "x-client-cert": true, "x-client-verify": true, "x-client-dn": true,
	"x-country-code": true, "x-country-name": true, "x-continent-code": true, "x-nf-geo": true, "x-akamai-edgescape": true,
	"cf-region": true, "cf-region-code": true,
}

// forwardingPrefixes are those that whole families begin with.
var forwardingPrefixes = [...]string{
	"x-forwarded-", "http-x-forwarded", "cf-connecting-", "cf-ip", "wl-proxy-", "x-vercel-forwarded-", "x-envoy-external-",
	"x-ssl-", "ssl-client-", "x-client-cert-", "x-tls-client-", "x-arr-", "x-amzn-mtls-",
	"x-geo-", "x-geoip-", "geoip-", "x-client-geo-", "x-vercel-ip-", "cloudfront-viewer-", "x-appengine-",
	"x-auth-request-", "x-ms-client-principal", "x-goog-authenticated-",
}

// Dashed returns the field that a CGI-style server would take the name for
// (RFC 3875 section 4.1.18), in the letter case that it has: every mark that
// is not a dash becomes one. It reports false when there is none.
func Dashed(name string) (string, bool) {
	for i := 0; i < len(name); i++ {
		if c := name[i]; c != '-' && mark(c) {
			return strings.Map(func(r rune) rune {
				if r < 0x80 && mark(byte(r)) {
					return '-'
				}
				return r
			}, name), true
		}
	}
	return "", false
}

// mark reports whether c is neither a letter nor a digit.
func mark(c byte) bool {
	return c < '0' || '9' < c && c < 'A' || 'Z' < c && c < 'a' || 'z' < c
}

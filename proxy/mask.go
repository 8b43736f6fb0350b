package proxy

import (
	"net/http"
	"net/textproto"
	"slices"
	"strings"
)

// What becomes of a response field on its way to the client.
type answerFate uint8

const (
	pass    answerFate = iota
	drop               // reveals what is behind us, or belongs to the connection
	address            // holds URLs, which may point at a backend
	source             // lists origins, also as hosts without a scheme
	local              // a path as the backend knows it
	cookie
)

// answerFates is the shipped list, by canonical name. Each group says why it
// cannot be missed by an application: fields that scripts in browsers or API
// clients read (ETag, Server-Timing, X-Amz-Version-Id, Deprecation …) are not
// in it. mask.remove adds to it.
var answerFates = map[string]answerFate{
	// RFC 9110 section 7.6.1: they end with the connection they came by. The
	// framing is written anew.
	"Connection":         drop,
	"Keep-Alive":         drop,
	"Proxy-Connection":   drop,
	"Proxy-Authenticate": drop,
	"Te":                 drop,
	"Trailer":            drop,
	"Transfer-Encoding":  drop,
	"Upgrade":            drop,
	"Http2-Settings":     drop,
	"Content-Length":     drop,
	"Proxy-Agent":        drop,
	"Alt-Svc":            drop, // offers a connection past us (RFC 7838 section 3)
	"X-Firefox-Spdy":     drop,
	"X-Request-Id":       drop, // ours is the one that the record knows
	"Date":               drop, // two clocks are two backends; ours is written
	// Names and versions of software, which nothing but scanners reads.
	"Server":                          drop,
	"X-Generator":                     drop,
	"X-Turbo-Charged-By":              drop,
	"X-Php-Version":                   drop,
	"X-Cf-Powered-By":                 drop,
	"X-Umbraco-Version":               drop,
	"X-Owa-Version":                   drop,
	"X-Feserver":                      drop,
	"X-Diaginfo":                      drop,
	"X-Litespeed-Cache":               drop,
	"X-Mod-Pagespeed":                 drop,
	"X-Page-Speed":                    drop,
	"Liferay-Portal":                  drop,
	"Microsoftofficewebserver":        drop,
	"Microsoftsharepointteamservices": drop,
	"Sprequestduration":               drop,
	"Spiislatency":                    drop,
	"X-Sharepointhealthscore":         drop,
	// Files and debuggers of the server: instructions to a proxy, or left on
	// by mistake.
	"X-Sendfile":          drop,
	"X-Sourcefiles":       drop,
	"X-Debug-Token":       drop,
	"X-Debug-Token-Link":  drop,
	"X-Chromelogger-Data": drop,
	"X-Chromephp-Data":    drop,
	// How long, and where, the request was worked on.
	"X-Runtime":             drop,
	"X-Rack-Cache":          drop,
	"X-Server":              drop,
	"X-Server-Name":         drop,
	"X-Server-Id":           drop,
	"X-Server-Ip":           drop,
	"X-Server-Addr":         drop,
	"X-Server-Hostname":     drop,
	"X-Host":                drop,
	"X-Hostname":            drop,
	"X-Node":                drop,
	"X-Node-Id":             drop,
	"X-Instance":            drop,
	"X-Instance-Id":         drop,
	"X-Pod":                 drop,
	"X-Pod-Name":            drop,
	"X-Container-Id":        drop,
	"X-Real-Server":         drop,
	"X-Webserver":           drop,
	"X-Served-By":           drop,
	"X-Served-From":         drop,
	"X-Forwarded-Server":    drop,
	"X-Origin-Server":       drop,
	"X-Application-Context": drop, // Spring Boot: name, profile and port
	// Proxies and caches between us and the application.
	"Via":                 drop,
	"Forwarded":           drop,
	"Cache-Status":        drop,
	"Proxy-Status":        drop,
	"X-Proxy-Cache":       drop,
	"X-Proxy-Id":          drop,
	"X-Cacheable":         drop,
	"X-Hits":              drop,
	"X-Timer":             drop,
	"X-Fastly-Request-Id": drop,
	"X-Azure-Ref":         drop,
	"X-Msedge-Ref":        drop,
	"X-Vercel-Id":         drop,
	"Cf-Ray":              drop,
	"Cf-Cache-Status":     drop,
	// May point at a backend.
	"Location":         address, // RFC 9110 section 10.2.2
	"Content-Location": address, // RFC 9110 section 8.7
	"Link":             address, // RFC 8288
	"Refresh":          address,
	"Www-Authenticate": address, // the realm of token schemes is a URL
	"Sourcemap":        address, // ECMA-426
	"X-Sourcemap":      address,
	"X-Pingback":       address,
	"X-Frame-Options":  address, // ALLOW-FROM
	"Set-Cookie":       cookie,
	// Who may embed, read or be told: with a backend's origin in them browsers
	// would refuse what the application means to allow.
	"Access-Control-Allow-Origin":         address, // Fetch section 3.3.3
	"Timing-Allow-Origin":                 address,
	"Content-Security-Policy":             source, // CSP level 3
	"Content-Security-Policy-Report-Only": source,
	"Report-To":                           source,
	"Reporting-Endpoints":                 source,
	"Service-Worker-Allowed":              local,
}

// droppedPrefixes begin the names of families of fields, of the same groups.
// X-Amz-Cf- is the content network's; the other X-Amz- fields are the API of
// object stores, and applications need them. All of them begin with X-.
var droppedPrefixes = []string{
	"X-Powered-", "X-Aspnet", "X-Backend", "X-Upstream", "X-Varnish", "X-Cache", "X-Drupal-", "X-Envoy-", "X-Kong-",
	"X-Accel-", "X-Amz-Cf-", "X-Nginx-", "X-Haproxy-", "X-Traefik-", "X-Litespeed-", "X-Magento-Cache-", "X-Forwarded-",
}

// A mask lets only those response fields through that reveal nothing of what
// is behind us.
type mask struct {
	remove map[string]bool // mask.remove, by canonical name
}

func newMask(remove []string) *mask {
	m := &mask{remove: make(map[string]bool, len(remove))}
	for _, name := range remove {
		m.remove[textproto.CanonicalMIMEHeaderKey(name)] = true
	}
	return m
}

func (m *mask) fate(name string) answerFate {
	if m.remove[name] {
		return drop
	}
	if f, ok := answerFates[name]; ok {
		return f
	}
	if !strings.HasPrefix(name, "X-") {
		return pass
	}
	for _, p := range droppedPrefixes {
		if strings.HasPrefix(name, p) {
			return drop
		}
	}
	return pass
}

// A public is the address by which the client knows the site: what stands in
// the place of a backend's.
type public struct{ scheme, authority string }

// A lens is how one client sees what the backends of its route say.
type lens struct {
	origin  *origin  // what is replaced
	as      public   // by what
	paths   *pathMap // nil: the backend knows paths as the client does
	cookies CookieConfig
}

// copy adds the fields of from that may be seen to to. Values that could not
// have been received over a clean connection are left out.
func (m *mask) copy(to, from http.Header, through lens) {
	var named []string
	for _, value := range from["Connection"] {
		for token := range strings.SplitSeq(value, ",") {
			named = append(named, textproto.CanonicalMIMEHeaderKey(strings.Trim(token, " \t")))
		}
	}
	room := make([]string, 0, len(from)) // one allocation for all fields that come once
	for name, values := range from {
		fate := m.fate(name)
		if fate == drop || !validName(name) || slices.Contains(named, name) {
			continue
		}
		for _, value := range values {
			if !validValue(value) {
				continue
			}
			value, ok := through.see(fate, name, value)
			if !ok {
				continue
			}
			if have, again := to[name]; again {
				to[name] = append(have, value)
				continue
			}
			room = append(room, value)
			to[name] = room[len(room)-1 : len(room) : len(room)]
		}
	}
}

// see returns a value as the client may see it, and false when it may not.
func (l lens) see(fate answerFate, name, value string) (string, bool) {
	switch fate {
	case address:
		value, ok := l.origin.rewrite(value, l.as)
		return l.paths.field(name, value, l.as), ok
	case source:
		return l.origin.rewriteSources(value, l.as)
	case local:
		return l.paths.back(value), true
	case cookie:
		return l.cookie(value)
	case pass, drop:
	}
	return value, true
}

// validName: a token (RFC 9110 section 5.6.2). net/http lets names with spaces
// pass in answers.
func validName(s string) bool {
	for i := 0; i < len(s); i++ {
		if !isAlnum(s[i]) && strings.IndexByte("!#$%&'*+-.^_`|~", s[i]) < 0 {
			return false
		}
	}
	return s != ""
}

// validValue: no controls but the tab (RFC 9110 section 5.5).
func validValue(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < 0x20 && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

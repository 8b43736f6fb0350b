package proxy

import "strings"

// CookieConfig is what is added to the cookies that backends set. The zero
// CookieConfig adds nothing.
type CookieConfig struct {
	// Secure adds the attribute where the client's connection is encrypted;
	// over one that is not, a browser would refuse the cookie.
	Secure bool
	// HTTPOnly adds the attribute.
	HTTPOnly bool
	// SameSite is the least that every cookie has: "lax", "strict", or nothing.
	SameSite string
	// Except are names of cookies that are left as they are, for those that
	// scripts read or other sites need.
	Except []string
}

// cookie judges a Set-Cookie value (RFC 6265 section 5.2): a Domain that names
// a backend is taken out, so that the cookie belongs to the host that the
// client asked, and a cookie in which a load balancer writes down a backend is
// not shown at all. The path becomes the client's, and what the configuration
// asks for is added.
func (l lens) cookie(value string) (string, bool) {
	pair, attributes, more := strings.Cut(value, ";")
	name, _, _ := strings.Cut(pair, "=")
	name = strings.Trim(name, " \t")
	if balancerCookie(name) {
		return "", false
	}
	c := cookieAttributes{out: pair}
	for more {
		var attribute string
		attribute, attributes, more = strings.Cut(attributes, ";")
		key, val, _ := strings.Cut(attribute, "=")
		switch key, val = asciiLower(strings.Trim(key, " \t")), strings.Trim(val, " \t\""); key {
		case "domain":
			if l.origin.owns(val, l.as) {
				continue
			}
		case "path":
			if !strings.HasPrefix(name, "__Host-") { // whose path is / (RFC 6265bis section 4.1.3)
				attribute = l.paths.cookiePath(attribute, val)
			}
		case "secure":
			c.secure = true
		case "httponly":
			c.httpOnly = true
		case "samesite":
			c.sameSite = asciiLower(val)
			if l.cookies.tightens(name, c.sameSite) {
				continue
			}
		}
		c.out += ";" + attribute
	}
	c.enforce(name, l.cookies, l.as.scheme == "https")
	return c.out, true
}

// cookieAttributes is a Set-Cookie value that is being written anew.
type cookieAttributes struct {
	out              string
	secure, httpOnly bool
	sameSite         string // the last one counts (RFC 6265 section 5.3)
}

// enforce adds what the configuration asks for and the cookie has not.
func (c *cookieAttributes) enforce(name string, want CookieConfig, encrypted bool) {
	if want.spares(name) {
		return
	}
	if want.Secure && encrypted && !c.secure {
		c.out += "; Secure"
	}
	if want.HTTPOnly && !c.httpOnly {
		c.out += "; HttpOnly"
	}
	if want.tightens(name, c.sameSite) {
		c.out += "; SameSite=" + map[string]string{"lax": "Lax", "strict": "Strict"}[want.SameSite]
	}
}

// tightens reports whether a cookie's SameSite, empty for none, is less than
// what is asked for.
func (c CookieConfig) tightens(name, has string) bool {
	if c.SameSite == "" || c.spares(name) || has == c.SameSite {
		return false
	}
	return c.SameSite == "strict" || has != "strict"
}

// spares reports whether a cookie is left as it is.
func (c CookieConfig) spares(name string) bool {
	for _, s := range c.Except {
		if s == name {
			return true
		}
	}
	return false
}

// owns reports whether a cookie's Domain speaks of a backend: its host, or a
// domain above it that the client's name for the site is not part of. A
// browser would refuse that one, and the name need not be told.
func (o *origin) owns(domain string, as public) bool {
	domain = strings.TrimSuffix(strings.TrimPrefix(asciiLower(domain), "."), ".")
	domain, _ = splitAuthority(domain)
	domain = strings.Trim(domain, "[]")
	if domain == "" {
		return false
	}
	public, _ := splitAuthority(asciiLower(as.authority))
	for _, h := range o.hosts {
		if h == domain || strings.HasSuffix(h, "."+domain) && public != domain && !strings.HasSuffix(public, "."+domain) {
			return true
		}
	}
	return false
}

// balancerCookie reports whether the cookie is one in which a load balancer
// keeps the address or the name of a server: F5 BIG-IP and Citrix encode
// address and port, HAProxy and Apache write the name.
func balancerCookie(name string) bool {
	return hasPrefixFold(name, "BIGipServer") || strings.HasPrefix(name, "NSC_") ||
		strings.EqualFold(name, "SERVERID") || strings.EqualFold(name, "ROUTEID") || strings.EqualFold(name, "BALANCEID")
}

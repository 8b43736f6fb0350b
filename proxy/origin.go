package proxy

import (
	"net/url"
	"slices"
	"strings"
)

// An origin knows the addresses of a pool's backends, so that they can be
// found in what the backends say of themselves.
type origin struct {
	// full are authorities with a port, as host:8080, with the colon plain or
	// percent-encoded. They are found wherever they stand.
	full []string
	// bare are the hosts of backends on a default port. They may be ordinary
	// words, so they count only where a URL has its host.
	bare []string
	// hosts are all hosts, for the Domain of cookies; dotted are those of them
	// that no ordinary word can be, with brackets.
	hosts, dotted []string
	// sockets are Unix sockets, as unix:/run/app.sock, with the colon plain or
	// percent-encoded. No client has a use for a value that holds one.
	sockets []string
	// leaks finds what is left of all that.
	leaks *lookout
}

func newOrigin(backends []*url.URL) *origin {
	o := &origin{leaks: newLookout(backends, nil)}
	add := func(list *[]string, s string) {
		for _, have := range *list {
			if have == s {
				return
			}
		}
		*list = append(*list, s)
	}
	for _, u := range backends {
		if isSocket(u) {
			add(&o.sockets, "unix:"+strings.ToLower(u.Opaque))
			add(&o.sockets, "unix%3a"+strings.ToLower(u.Opaque))
			u = &url.URL{Scheme: "http", Host: socketName}
		}
		host, port := splitAuthority(strings.ToLower(u.Host))
		byDefault := "80"
		if u.Scheme == "https" {
			byDefault = "443"
		}
		if port == "" {
			port = byDefault
		}
		add(&o.full, host+":"+port)
		add(&o.full, host+"%3a"+port)
		if port == byDefault {
			add(&o.bare, host)
		}
		add(&o.hosts, strings.Trim(host, "[]"))
		if strings.ContainsAny(host, ".:") {
			add(&o.dotted, host)
		}
	}
	return o
}

// maxRewrites bounds how often a value is gone through again. A backend that
// nests its address deeper than that loses the field.
const maxRewrites = 32

// rewrite replaces each address of a backend in the value by the one that the
// client knows; the scheme in front of it too. Without a public authority
// (HTTP/1.0 without Host) the URL becomes relative. It reports false when the
// field cannot be shown. An address that the client itself named is no secret.
func (o *origin) rewrite(value string, as public) (string, bool) {
	return o.replace(value, as, false)
}

// rewriteSources does the same for lists of sources, where a host with a dot
// counts without a scheme in front of it too (CSP level 3 section 2.3.1).
func (o *origin) rewriteSources(value string, as public) (string, bool) {
	return o.replace(value, as, true)
}

func (o *origin) replace(value string, as public, sources bool) (string, bool) {
	for _, s := range o.sockets {
		if containsFold(value, s) {
			return "", false
		}
	}
	for range maxRewrites {
		if start, _ := o.find(value, 0, as.authority, sources); start < 0 {
			return value, true
		}
		if value = o.replaceAll(value, as, sources); value == "" {
			value = "/"
		}
	}
	return "", false
}

// replaceAll replaces each address in one pass from left to right.
func (o *origin) replaceAll(value string, as public, sources bool) string {
	var b strings.Builder
	done := 0
	for {
		start, end := o.find(value, done, as.authority, sources)
		if start < 0 {
			b.WriteString(value[done:])
			return b.String()
		}
		prefix := value[done:start]
		scheme, slashes := schemeBefore(prefix)
		b.WriteString(prefix[:len(prefix)-len(scheme)-len(slashes)])
		if as.authority != "" {
			if scheme != "" {
				scheme = publicScheme(scheme, as.scheme)
			}
			authority := as.authority
			if containsFold(value[start:end], "%3a") {
				authority = strings.ReplaceAll(authority, ":", "%3A")
			}
			b.WriteString(scheme + slashes + authority)
		}
		done = end
	}
}

// schemeBefore returns the scheme and the slashes that a text ends in, as
// "http" and "://", which may be percent-encoded; either may be empty.
func schemeBefore(s string) (scheme, slashes string) {
	lower := asciiLower(s)
	for _, form := range []string{"://", "%3a%2f%2f", ":%2f%2f", "%3a//"} {
		head, ok := strings.CutSuffix(lower, form)
		if !ok {
			continue
		}
		for _, name := range []string{"https", "http", "wss", "ws"} {
			if strings.HasSuffix(head, name) && border(lower, len(head)-len(name)) {
				return s[len(head)-len(name) : len(head)], s[len(head):]
			}
		}
	}
	for _, form := range []string{"//", "%2f%2f"} {
		if strings.HasSuffix(lower, form) {
			return "", s[len(s)-len(form):]
		}
	}
	return "", ""
}

// publicScheme is the client's scheme, for WebSocket URLs the one that goes
// with it.
func publicScheme(was, is string) string {
	if hasPrefixFold(was, "ws") {
		return "ws" + strings.TrimPrefix(is, "http")
	}
	return is
}

// find returns where the first address of a backend stands at or after from,
// or -1. It looks past the one that is called except.
func (o *origin) find(value string, from int, except string, sources bool) (start, end int) {
	lower, except := asciiLower(value), asciiLower(except)
	start = -1
	look := func(names []string, stands func(i, j int) bool) {
		for _, name := range names {
			if strings.Replace(name, "%3a", ":", 1) == except {
				continue
			}
			for at := from; ; at++ {
				i := strings.Index(lower[at:], name)
				if i < 0 || start >= 0 && at+i >= start {
					break
				}
				at += i
				if stands(at, at+len(name)) {
					start, end = at, at+len(name)
					break
				}
			}
		}
	}
	look(o.full, func(i, j int) bool { return border(lower, i) && (j == len(lower) || !isDigit(lower[j])) })
	look(o.bare, func(i, j int) bool { return atHost(lower, i) && hostEnds(lower, j) })
	if sources {
		host, _ := splitAuthority(except)
		if host != "" && slices.Contains(o.dotted, host) {
			return start, end // the client's own name for the site
		}
		look(o.dotted, func(i, j int) bool { return border(lower, i) && hostEnds(lower, j) })
	}
	return start, end
}

// border reports whether a host can begin at i: no other host reaches into it
// from the left.
func border(s string, i int) bool {
	if i == 0 || !isHostByte(s[i-1]) {
		return true
	}
	return i >= 3 && s[i-3] == '%' && isHex(s[i-2]) && isHex(s[i-1])
}

// atHost reports whether the host of a URL begins at i, after two slashes or
// after a user name.
func atHost(s string, i int) bool {
	before := s[:i]
	return strings.HasSuffix(before, "//") || strings.HasSuffix(before, "%2f%2f") ||
		strings.HasSuffix(before, "@") || strings.HasSuffix(before, "%40")
}

// hostEnds reports whether a host without a port ends at j. A last dot is
// part of the host (RFC 1034 section 3.1) and names the same one.
func hostEnds(s string, j int) bool {
	if j < len(s) && s[j] == '.' {
		j++
	}
	if j == len(s) {
		return true
	}
	if s[j] == ':' || strings.HasPrefix(s[j:], "%3a") {
		rest := strings.TrimPrefix(strings.TrimPrefix(s[j:], "%3a"), ":")
		return rest == "" || !isDigit(rest[0])
	}
	return !isHostByte(s[j])
}

// asciiLower keeps every byte where it is, unlike strings.ToLower, which may
// change the length of what is not ASCII.
func asciiLower(s string) string {
	for i := 0; i < len(s); i++ {
		if 'A' <= s[i] && s[i] <= 'Z' {
			b := []byte(s)
			for j := i; j < len(b); j++ {
				if 'A' <= b[j] && b[j] <= 'Z' {
					b[j] += 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return s
}

func containsFold(s, lower string) bool { return strings.Contains(asciiLower(s), lower) }

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// isHostByte reports whether c can be part of a host name.
func isHostByte(c byte) bool {
	return isAlnum(c) || c == '-' || c == '.' || c == '_' || c >= 0x80
}

package strict

import (
	"net/netip"
	"strconv"
	"strings"
)

// maxHost is the longest host that is accepted: 253 bytes of name, a final
// dot, and a port.
const maxHost = 253 + 1 + 6

// validHost reports whether s is a host with an optional port (RFC 9110
// section 7.2) as names and addresses really are. RFC 3986 section 3.2.2 would
// also let percent-encodings, commas, quotes and the like into a name; no
// server has such a name, and in links, caches and log lines they turn into
// another host.
func validHost(s string) bool {
	if s == "" || len(s) > maxHost {
		return false
	}
	if s[0] == '[' {
		end := strings.IndexByte(s, ']')
		if end < 0 || strings.IndexByte(s[:end], '%') >= 0 {
			return false
		}
		a, err := netip.ParseAddr(s[1:end])
		return err == nil && a.Is6() && validPort(s[end+1:])
	}
	name := s
	if i := strings.IndexByte(s, ':'); i >= 0 {
		name = s[:i]
		if !validPort(s[i:]) {
			return false
		}
	}
	dot := true // a label must follow
	for i := 0; i < len(name); i++ {
		switch {
		case name[i] == '.':
			if dot {
				return false
			}
			dot = true
		case !is(name[i], hostByte):
			return false
		default:
			dot = false
		}
	}
	return name != "" && name != "." && len(name) <= 254
}

// validPort reports whether s is empty or a colon with a port that a
// connection can have. The port may be left out after the colon (RFC 3986
// section 3.2.3).
func validPort(s string) bool {
	if s == "" || s == ":" {
		return true
	}
	if s[0] != ':' || len(s) > 6 {
		return false
	}
	for i := 1; i < len(s); i++ {
		if s[i] < '0' || '9' < s[i] {
			return false
		}
	}
	n, err := strconv.Atoi(s[1:])
	return err == nil && 0 < n && n <= 65535
}

// sameHost compares two valid authorities after the normalisation of RFC 9110
// section 4.2.3: letter case and the scheme's default port do not count.
func sameHost(a, b, scheme string) bool {
	return foldEqual(withoutPort(a, scheme), strings.ToLower(withoutPort(b, scheme)))
}

func withoutPort(host, scheme string) string {
	port := ":80"
	if scheme == "https" {
		port = ":443"
	}
	if s, ok := strings.CutSuffix(host, port); ok {
		return s
	}
	return strings.TrimSuffix(host, ":")
}

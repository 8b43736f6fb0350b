package strict

import (
	"strings"

	"sallyport/internal/gate"
)

// A kind is a field that the grammar itself has a rule for.
type kind uint8

const (
	kindOther kind = iota
	kindHost
	kindLength
	kindCoding
	kindConnection
	kindUpgrade
	kindExpect
	kindTrailer
	kindSocketKey
	kindSocketVersion
)

// kindOf tells which rule a field name falls under.
func kindOf(name string) kind {
	k, word := kindOther, ""
	switch len(name) {
	case 4:
		k, word = kindHost, "host"
	case 6:
		k, word = kindExpect, "expect"
	case 7:
		if lower(name[0]) == 'u' {
			k, word = kindUpgrade, "upgrade"
		} else {
			k, word = kindTrailer, "trailer"
		}
	case 10:
		k, word = kindConnection, "connection"
	case 14:
		k, word = kindLength, "content-length"
	case 17:
		if lower(name[0]) == 't' {
			k, word = kindCoding, "transfer-encoding"
		} else {
			k, word = kindSocketKey, "sec-websocket-key"
		}
	case 21:
		k, word = kindSocketVersion, "sec-websocket-version"
	}
	if word == "" || !foldEqual(name, word) {
		return kindOther
	}
	return k
}

// endToEnd reports whether a field, named in lower case, decides about
// framing, routing, credentials, content or forwarding. Connection may not
// nominate such a field (RFC 9110 section 7.6.1), and neither a trailer
// (RFC 9110 section 6.5.1) nor an alias with underscores may stand in for it.
func endToEnd(name string) bool {
	switch name {
	case "content-length", "transfer-encoding", "trailer", "expect", "connection",
		"host", "max-forwards", "origin", "referer",
		"x-http-method", "x-http-method-override", "x-method-override",
		"authorization", "proxy-authorization", "cookie", "set-cookie",
		"cache-control", "range", "via", "proxy", "x-request-id":
		return true
	}
	return strings.HasPrefix(name, "content-") || strings.HasPrefix(name, "sec-") || gate.ForwardingField(name)
}

// hopByHop reports whether a field, named in lower case, is about the
// connection itself.
func hopByHop(name string) bool {
	switch name {
	case "connection", "keep-alive", "proxy-connection", "te", "upgrade", "http2-settings":
		return true
	}
	return false
}

// forbiddenTrailer reports whether a field may not stand in a trailer section
// (RFC 9110 section 6.5.1): servers that merge trailers into the head would
// take it for the real one. A digest of the content is known only then, and
// may (RFC 9530 section 2).
func forbiddenTrailer(name string) bool {
	name = strings.ToLower(name)
	switch name {
	case "content-digest":
		return false
	case "pragma", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range",
		"proxy-authenticate", "www-authenticate":
		return true
	}
	return endToEnd(name) || hopByHop(name)
}

// shadows returns the field that a CGI-style server would take the name for
// because it writes underscores for dashes (RFC 3875 section 4.1.18), or for
// every mark, and whether that field is one that matters.
func shadows(name string) (string, bool) {
	dashed, ok := gate.Dashed(name)
	if !ok {
		return "", false
	}
	dashed = strings.ToLower(dashed)
	return dashed, endToEnd(dashed) || hopByHop(dashed)
}

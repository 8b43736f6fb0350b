package proxy

import (
	"net/http"
	"net/netip"
	"net/textproto"
	"net/url"
	"slices"
	"strings"

	"sallyport/internal/gate"
)

// What becomes of a request field on its way to a backend.
type requestFate uint8

const (
	keep       requestFate = iota
	hop                    // belongs to the connection, or is written anew
	forwarding             // says who the client is: only a trusted proxy may
)

// requestFates holds the fields that do not simply go on, by canonical name.
// The rest of the forwarding fields share a prefix.
var requestFates = map[string]requestFate{
	// RFC 9110 section 7.6.1, and what older proxies sent.
	"Connection":          hop,
	"Keep-Alive":          hop,
	"Te":                  hop,
	"Trailer":             hop,
	"Transfer-Encoding":   hop,
	"Upgrade":             hop,
	"Http2-Settings":      hop,
	"Proxy-Connection":    hop,
	"Proxy-Authorization": hop,
	// Proxy becomes HTTP_PROXY in CGI programs, which then send their own
	// requests where a client wants them.
	"Proxy": hop,
	// The framing, host and expectation are written from what was judged.
	"Content-Length": hop,
	"Host":           hop,
	"Expect":         hop,
	// Written anew for every request.
	"Forwarded":         hop, // X-Forwarded-* say the same; two chains that differ would not
	"X-Forwarded-For":   hop,
	"X-Forwarded-Proto": hop,
	"X-Forwarded-Host":  hop,
	"X-Forwarded-Port":  hop,
	"X-Real-Ip":         hop,
	"X-Request-Id":      hop,
	// The address of the client, as content networks and proxies name it.
	"True-Client-Ip":           forwarding,
	"Client-Ip":                forwarding,
	"X-Client-Ip":              forwarding,
	"X-Cluster-Client-Ip":      forwarding,
	"X-Original-Forwarded-For": forwarding,
	"X-Originating-Ip":         forwarding,
	"X-Remote-Ip":              forwarding,
	"X-Remote-Addr":            forwarding,
	"X-Real-Port":              forwarding,
	"X-Proxyuser-Ip":           forwarding,
	"X-Azure-Clientip":         forwarding,
	"X-Azure-Socketip":         forwarding,
	"X-Appengine-User-Ip":      forwarding,
	"Fastly-Client-Ip":         forwarding,
	"Fly-Client-Ip":            forwarding,
	"X-Forwarded":              forwarding,
	"X-Host":                   forwarding,
	"X-Scheme":                 forwarding,
	"X-Url-Scheme":             forwarding,
	"Front-End-Https":          forwarding,
	// Its name, as proxies that ask for passwords report it.
	"Remote-User":   forwarding,
	"X-Remote-User": forwarding,
	// Another path than the one that was judged.
	"X-Original-Url":  forwarding,
	"X-Original-Uri":  forwarding,
	"X-Original-Host": forwarding,
	"X-Rewrite-Url":   forwarding,
	// Client certificates (RFC 9440) and places, as proxies report them.
	"Client-Cert":       forwarding,
	"Client-Cert-Chain": forwarding,
	"X-Client-Cert":     forwarding,
	"X-Arr-Clientcert":  forwarding,
	"X-Country-Code":    forwarding,
}

// forwardingPrefixes are those that whole families of forwarding fields begin
// with.
var forwardingPrefixes = []string{"X-Forwarded-", "Cf-Connecting-", "Cf-Ip", "X-Ssl-", "Ssl-Client-", "X-Amzn-Mtls-", "X-Geo-", "X-Geoip-"}

// fateOf is the fate of a field by its canonical name. An underscore counts as
// a dash, since CGI-style servers tell no difference (RFC 3875 section 4.1.18)
// and the strict reader may have been told to let such names pass.
func fateOf(canonical string) requestFate {
	if strings.IndexByte(canonical, '_') >= 0 {
		canonical = textproto.CanonicalMIMEHeaderKey(strings.ReplaceAll(canonical, "_", "-"))
	}
	if f, ok := requestFates[canonical]; ok {
		return f
	}
	for _, p := range forwardingPrefixes {
		if strings.HasPrefix(canonical, p) {
			return forwarding
		}
	}
	return keep
}

// outgoing builds what backends are sent, but for the address: from the head
// that was judged, not from what net/http made of it. It reports false when
// the target cannot be written as it was judged.
func (h *Handler) outgoing(v *visit) (*http.Request, bool) {
	head := v.req.Head
	target, ok := targetURL(head.Target)
	if !ok {
		return nil, false
	}
	out := &http.Request{
		Method: head.Method, URL: target, Host: head.Host, Header: forwardedFields(v),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}
	if v.upload != nil {
		if out.ContentLength = v.upload.length; out.ContentLength < 0 {
			out.TransferEncoding = []string{"chunked"}
		}
	}
	return out, true
}

// targetURL makes a URL whose request target is byte for byte the one given.
// The URL's opaque part is written as it is, unless it begins with two
// slashes; then the path is, if it needs no other escapes than it has.
func targetURL(target string) (*url.URL, bool) {
	if !strings.HasPrefix(target, "//") {
		return &url.URL{Opaque: target}, target != ""
	}
	raw, query, asked := strings.Cut(target, "?")
	path, err := url.PathUnescape(raw)
	if err != nil {
		return nil, false
	}
	u := &url.URL{Path: path, RawPath: raw, RawQuery: query, ForceQuery: asked && query == ""}
	return u, u.RequestURI() == target
}

// forwardedFields copies the fields that go on, in the client's spelling, and
// adds what the backend is told about the client.
func forwardedFields(v *visit) http.Header {
	head := v.req.Head
	out := make(http.Header, len(head.Fields)+8)
	named := nominated(head.Fields)
	// spelled holds the spelling that each name came with first: fields of one
	// name stay together and in order, however the others were spelled.
	var room [32]spelling
	spelled := room[:0]
	values := make([]string, 0, len(head.Fields)) // one allocation for all fields that come once
	trailers, grpc := false, false
	for _, f := range head.Fields {
		canonical := textproto.CanonicalMIMEHeaderKey(f.Name)
		switch fateOf(canonical) {
		case hop:
			trailers = trailers || canonical == "Te" && hasToken(f.Value, "trailers")
			continue
		case forwarding:
			if !v.req.Trusted {
				continue
			}
		case keep:
		}
		if slices.Contains(named, canonical) {
			continue
		}
		grpc = grpc || canonical == "Content-Type" && hasPrefixFold(f.Value, "application/grpc")
		key := f.Name
		for i := range spelled {
			if spelled[i].canonical == canonical {
				key = spelled[i].key
				break
			}
		}
		if have, again := out[key]; again {
			out[key] = append(have, f.Value)
			continue
		}
		spelled = append(spelled, spelling{canonical, key})
		values = append(values, f.Value)
		out[key] = values[len(values)-1 : len(values) : len(values)]
	}
	userAgent(out)
	if trailers && grpc {
		out["Te"] = []string{"trailers"}
	}
	if head.Upgrade {
		out["Connection"] = []string{"Upgrade"}
		out["Upgrade"] = []string{"websocket"}
	}
	v.introduce(out)
	return out
}

type spelling struct{ canonical, key string }

// userAgent keeps net/http from adding a User-Agent of its own, and from
// dropping all but the first of several: it writes the canonical spelling by
// its own rules, any other as it is.
func userAgent(out http.Header) {
	const key = "User-Agent"
	values := out[key]
	if len(values) == 1 && values[0] != "" {
		return
	}
	if len(values) > 0 {
		out["user-agent"] = values
	}
	out[key] = []string{""}
}

// nominated lists the fields that Connection makes hop-by-hop, by canonical
// name.
func nominated(fields []gate.Field) []string {
	var names []string
	for _, f := range fields {
		if !strings.EqualFold(f.Name, "Connection") {
			continue
		}
		for token := range strings.SplitSeq(f.Value, ",") {
			if token = strings.Trim(token, " \t"); token != "" {
				names = append(names, textproto.CanonicalMIMEHeaderKey(token))
			}
		}
	}
	return names
}

// introduce tells the backend who asks, by which name and over what. The word
// of a trusted proxy is passed on, where it is one.
func (v *visit) introduce(out http.Header) {
	host := v.authority()
	values := [...]string{v.chain(), addrText(v.req.Client), v.req.ID, v.scheme(), v.port(), host}
	out["X-Forwarded-For"] = values[0:1:1]
	out["X-Real-Ip"] = values[1:2:2]
	out["X-Request-Id"] = values[2:3:3]
	out["X-Forwarded-Proto"] = values[3:4:4]
	out["X-Forwarded-Port"] = values[4:5:5]
	if host != "" {
		out["X-Forwarded-Host"] = values[5:6:6]
	}
}

// chain is the value of X-Forwarded-For: the client, then the trusted proxies
// between the client and us. What stood before the client is its own talk.
func (v *visit) chain() string {
	client := addrText(v.req.Client)
	peer := v.req.Peer.Addr().Unmap().WithZone("")
	if !v.req.Trusted {
		return client
	}
	hops := v.believedHops()
	if len(hops) == 0 && peer == v.req.Client {
		return client
	}
	var b strings.Builder
	b.WriteString(client)
	for _, a := range hops {
		b.WriteString(", " + a.String())
	}
	b.WriteString(", " + addrText(peer))
	return b.String()
}

// believedHops are the addresses that trusted proxies added to
// X-Forwarded-For after that of the client. Where another field named the
// client, nobody has checked who wrote this one.
func (v *visit) believedHops() []netip.Addr {
	if !hasPrefixFold(v.req.ChosenBy, "X-Forwarded-For") {
		return nil
	}
	var all []netip.Addr
	for _, f := range v.req.Head.Fields {
		if !strings.EqualFold(f.Name, "X-Forwarded-For") {
			continue
		}
		for hop := range strings.SplitSeq(f.Value, ",") {
			all = append(all, hopAddr(hop)) // the zero Addr where there is none
		}
	}
	for i := len(all) - 1; i >= 0; i-- {
		if !all[i].IsValid() {
			return nil
		}
		if all[i] == v.req.Client {
			return all[i+1:]
		}
	}
	return nil
}

// hopAddr reads one member of X-Forwarded-For: an address, with a port or
// brackets as some proxies write them.
func hopAddr(s string) netip.Addr {
	s = strings.Trim(s, " \t")
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap().WithZone("")
	}
	s = strings.TrimSuffix(strings.TrimPrefix(s, "["), "]")
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}
	}
	return a.Unmap().WithZone("")
}

// told returns what a trusted proxy says in a field, or nothing.
func (v *visit) told(name string) string {
	if !v.req.Trusted {
		return ""
	}
	value, _ := v.req.Head.Get(name)
	return value
}

// scheme is how the client reaches the site.
func (v *visit) scheme() string {
	switch proto := strings.ToLower(v.told("X-Forwarded-Proto")); proto {
	case "http", "https":
		return proto
	}
	if v.secure() {
		return "https"
	}
	return "http"
}

// authority is the name by which the client knows the site.
func (v *visit) authority() string {
	if host := v.told("X-Forwarded-Host"); validAuthority(host) {
		return host
	}
	return v.req.Head.Host
}

// port is the port that the client connects to, as it sees it.
func (v *visit) port() string {
	if port := v.told("X-Forwarded-Port"); port != "" && len(port) <= 5 && strings.Trim(port, "0123456789") == "" {
		return port
	}
	if _, port := splitAuthority(v.authority()); port != "" {
		return port
	}
	if v.scheme() == "https" {
		return "443"
	}
	return "80"
}

// validAuthority reports whether s can stand in a URL as host and port.
func validAuthority(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; !isAlnum(c) && strings.IndexByte("-._~:[]", c) < 0 {
			return false
		}
	}
	return s != ""
}

// hasToken reports whether a comma-separated list holds the token, without
// regard to letter case.
func hasToken(list, token string) bool {
	for member := range strings.SplitSeq(list, ",") {
		if strings.EqualFold(strings.Trim(member, " \t"), token) {
			return true
		}
	}
	return false
}

package proxy

import (
	"net/http"
	"net/netip"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
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

// requestFates holds the fields that never simply go on, by canonical name.
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
}

// usual tells fields that most requests have, and that simply go on.
func usual(canonical string) bool {
	switch canonical {
	case "Accept", "Accept-Encoding", "Accept-Language", "Authorization", "Cache-Control", "Content-Encoding", "Content-Type", "Cookie", "Dnt",
		"If-Match", "If-Modified-Since", "If-None-Match", "If-Range", "Origin", "Pragma", "Priority", "Range", "Referer",
		"Sec-Ch-Ua", "Sec-Ch-Ua-Mobile", "Sec-Ch-Ua-Platform", "Sec-Fetch-Dest", "Sec-Fetch-Mode", "Sec-Fetch-Site", "Sec-Fetch-User", "Sec-Gpc",
		"Traceparent", "Upgrade-Insecure-Requests", "User-Agent", "X-Requested-With":
		return true
	}
	return false
}

// fateOf is the fate of a field by its canonical name. Another mark counts as
// a dash, since CGI-style servers tell no difference (RFC 3875 section 4.1.18)
// and the strict reader may have been told to let such names pass.
func (h *Handler) fateOf(canonical string) requestFate {
	if usual(canonical) && canonical != h.clientHeader {
		return keep
	}
	if dashed, ok := gate.Dashed(canonical); ok {
		canonical = textproto.CanonicalMIMEHeaderKey(dashed)
	}
	if f, ok := requestFates[canonical]; ok {
		return f
	}
	if canonical == h.clientHeader || gate.ForwardingField(canonical) {
		return forwarding
	}
	return keep
}

// outgoing builds what backends are sent, but for the address: from the head
// that was judged, not from what net/http made of it. It reports false when
// the target cannot be written as it was judged.
func (h *Handler) outgoing(v *visit, out *http.Request) bool {
	head := v.req.Head
	target, ok := targetURL(head.Target)
	if !ok {
		return false
	}
	out.Method, out.URL, out.Host = head.Method, target, head.Host
	out.Proto, out.ProtoMajor, out.ProtoMinor = "HTTP/1.1", 1, 1
	v.fields = h.forwardedFields(v)
	h.locate(v.req.Place, &v.fields)
	v.site.shape(v, out)
	if v.upload != nil {
		if out.ContentLength = v.upload.length; out.ContentLength < 0 {
			out.TransferEncoding = []string{"chunked"}
		}
	}
	return true
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

// forwardedFields copies the fields that go on, as the client wrote them, and
// adds what the backend is told about the client.
func (h *Handler) forwardedFields(v *visit) fieldList {
	head := v.req.Head
	out := make(fieldList, 0, len(head.Fields)+ownFields)
	named := nominated(head.Fields)
	trailers, grpc := false, false
	for _, f := range head.Fields {
		canonical := textproto.CanonicalMIMEHeaderKey(f.Name)
		switch h.fateOf(canonical) {
		case hop:
			trailers = trailers || canonical == "Te" && hasToken(f.Value, "trailers")
			continue
		case forwarding:
			if !v.req.Trusted {
				continue
			}
		case keep:
			if slices.Contains(named, canonical) {
				continue
			}
		}
		if canonical == maxForwards && head.Method == http.MethodOptions {
			f.Value = oneHopLess(f.Value)
		}
		grpc = grpc || canonical == "Content-Type" && hasPrefixFold(f.Value, "application/grpc")
		out.add(f.Name, f.Value)
	}
	if trailers && grpc {
		out.add("Te", "trailers")
	}
	if head.Upgrade {
		out.add("Connection", "Upgrade")
		out.add("Upgrade", "websocket")
	}
	v.introduce(&out)
	return out
}

// ownFields is how many fields come to those of the client.
const ownFields = 8

// maxForwards bounds the proxies that an OPTIONS may pass, and is counted down
// by each (RFC 9110 section 7.6.2). With TRACE it never gets here.
const maxForwards = "Max-Forwards"

// lastHop reports whether the request may not be passed on.
func lastHop(head *gate.Head) bool {
	value, _ := head.Get(maxForwards)
	n, err := strconv.ParseUint(value, 10, 31)
	return err == nil && n == 0
}

// oneHopLess counts down. What is not a number bounds nothing.
func oneHopLess(value string) string {
	n, err := strconv.ParseUint(value, 10, 31)
	if err != nil || n == 0 {
		return value
	}
	return strconv.FormatUint(n-1, 10)
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
func (v *visit) introduce(out *fieldList) {
	if v.req.Client.IsValid() { // else nobody can be named: a Unix socket has no address
		out.add("X-Forwarded-For", v.chain())
		out.add("X-Real-Ip", v.req.ClientText())
	}
	out.add("X-Request-Id", v.req.ID)
	out.add("X-Forwarded-Proto", v.scheme())
	out.add("X-Forwarded-Port", v.port())
	if host := v.authority(); host != "" {
		out.add("X-Forwarded-Host", host)
	}
}

// chain is the value of X-Forwarded-For: the client, then the trusted proxies
// between the client and us. What stood before the client is its own talk.
func (v *visit) chain() string {
	client := v.req.ClientText()
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
	if peer.IsValid() {
		b.WriteString(", " + peer.String())
	}
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

// told returns what a trusted proxy says in a field, or nothing. Of two lines
// one may be the client's own, so they say nothing either.
func (v *visit) told(name string) string {
	if !v.req.Trusted {
		return ""
	}
	value, lines := "", 0
	for i := range v.req.Head.Fields {
		if f := &v.req.Head.Fields[i]; strings.EqualFold(f.Name, name) {
			value, lines = f.Value, lines+1
		}
	}
	if lines > 1 {
		return ""
	}
	return value
}

// scheme is how the client reaches the site. Some proxies name the scheme of
// the WebSocket that a request is about to open.
func (v *visit) scheme() string {
	switch strings.ToLower(v.told("X-Forwarded-Proto")) {
	case "http", "ws":
		return "http"
	case "https", "wss":
		return "https"
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
	return v.asked().Host
}

// port is the port that the client connects to, as it sees it.
func (v *visit) port() string {
	if port := v.told("X-Forwarded-Port"); validPort(port) {
		return port
	}
	if _, port := splitAuthority(v.authority()); validPort(port) {
		return port
	}
	if v.scheme() == "https" {
		return "443"
	}
	return "80"
}

// validAuthority reports whether s is a host name or an address, with a port
// or without, that can stand in a URL.
func validAuthority(s string) bool {
	host, port := splitAuthority(s)
	if len(host) < len(s) && !validPort(port) {
		return false
	}
	if literal, ok := strings.CutPrefix(host, "["); ok {
		addr, err := netip.ParseAddr(strings.TrimSuffix(literal, "]"))
		return err == nil && addr.Is6() && addr.Zone() == "" && strings.HasSuffix(literal, "]")
	}
	const longest = 255 // RFC 1035 section 2.3.4
	for i := 0; i < len(host); i++ {
		if c := host[i]; !isAlnum(c) && strings.IndexByte("-._~", c) < 0 {
			return false
		}
	}
	return host != "" && len(host) <= longest && host[0] != '.' && !strings.Contains(host, "..")
}

// validPort reports whether s is a port, 1 to 65535.
func validPort(s string) bool {
	if s == "" || s[0] == '0' { // most have none, and an error costs more than the rest
		return false
	}
	_, err := strconv.ParseUint(s, 10, 16)
	return err == nil
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

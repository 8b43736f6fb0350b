package proxy

import (
	"net/http"
	"strings"

	"sallyport/internal/gate"
)

// redirect sends a client on to the address that the site is meant to be asked
// at. It never names a host that no route names.
func (h *Handler) redirect(v *visit) gate.Verdict {
	r := v.site.redirect
	if r == nil || !strings.HasPrefix(v.req.Head.Target, "/") {
		return gate.Passes(gate.StageRoute)
	}
	base, ok := r.base(v.scheme(), v.req.Host, v.asked().Host)
	if !ok || !h.router.names(hostName(base[strings.Index(base, "//")+2:])) {
		return gate.Passes(gate.StageRoute)
	}
	// For all but these two a client may make a GET of what it was told with
	// 301 (RFC 9110 section 15.4.2).
	status := http.StatusPermanentRedirect
	if m := v.req.Head.Method; m == http.MethodGet || m == http.MethodHead {
		status = http.StatusMovedPermanently
	}
	header := v.fresh()
	header["Location"] = []string{base + v.req.Head.Target}
	v.page(status, false)
	return gate.Passes(gate.StageRoute)
}

// RedirectConfig is the address that a route is meant to be asked at. The zero
// RedirectConfig redirects nobody.
type RedirectConfig struct {
	// HTTPS sends requests that came without TLS to https and its own port.
	HTTPS bool
	// WWW is "www" to put it in front of the host, "bare" to take it away.
	WWW string
	// Scheme, Host and Port name the one address instead; Port is empty for the
	// scheme's own.
	Scheme, Host, Port string
}

// What RedirectConfig.WWW may be.
const (
	AddWWW = "www"
	CutWWW = "bare"
)

// base is the scheme and authority to go on at, and false when the request is
// where it belongs. The host is without its port, the authority may have one.
func (r *RedirectConfig) base(scheme, host, authority string) (string, bool) {
	_, port := splitAuthority(authority)
	wantScheme, wantHost, wantPort := scheme, host, port
	switch {
	case r.Host != "":
		wantScheme, wantHost, wantPort = r.Scheme, r.Host, r.Port
	case r.HTTPS && scheme == "http":
		wantScheme, wantPort = "https", ""
	}
	switch bare, www := strings.CutPrefix(wantHost, "www."); {
	case r.WWW == AddWWW && !www:
		wantHost = "www." + wantHost
	case r.WWW == CutWWW && www:
		wantHost = bare
	}
	own := map[string]string{"http": "80", "https": "443"}
	if port == own[scheme] {
		port = ""
	}
	if wantPort == own[wantScheme] {
		wantPort = ""
	}
	if wantScheme == scheme && wantHost == host && wantPort == port {
		return "", false
	}
	if wantPort != "" {
		wantHost += ":" + wantPort
	}
	return wantScheme + "://" + wantHost, true
}

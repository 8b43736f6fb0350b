package config

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"sallyport/internal/gate"
	"sallyport/internal/server"
)

func itoa(n int) string { return strconv.Itoa(n) }

func (r *reader) listeners(o *object, c *Config) {
	var out []server.Listener
	if !o.each("listeners", func(o *object, _ int) { out = append(out, r.listener(o)) }) {
		return
	}
	if len(out) == 0 && !r.wrong["listeners"] {
		r.fail("listeners", "no listener", `remove the key for the default, ":8080"`)
	}
	c.Server.Listeners = out
}

func (r *reader) listener(o *object) server.Listener {
	l := server.Listener{MinVersion: tls.VersionTLS12}
	o.require("address", set(o, "address", &l.Address, r.socketAddress))
	r.socket(o, &l)
	secure := false
	o.section("tls", func(o *object) {
		secure = r.written(o.path)
		o.each("certificates", func(o *object, _ int) {
			var pair server.Certificate
			o.require("cert", set(o, "cert", &pair.Cert, r.namedFile))
			o.require("key", set(o, "key", &pair.Key, r.namedFile))
			l.Certificates = append(l.Certificates, pair)
		})
		if path := o.join("certificates"); secure && len(l.Certificates) == 0 && !r.wrong[path] {
			r.fail(path, "no certificate", "write [{cert: site.pem, key: site.key}]")
		}
		new13 := false
		if set(o, "min_version", &new13, flag("1.2", "1.3")) && new13 {
			l.MinVersion = tls.VersionTLS13
		}
	})
	l.HTTP1, l.HTTP2 = true, secure
	var words []string
	if !setList(o, "protocols", &words, choice("http1", "http2", "h2c")) {
		return l
	}
	path := o.join("protocols")
	l.HTTP1, l.HTTP2, l.H2C = slices.Contains(words, "http1"), slices.Contains(words, "http2"), slices.Contains(words, "h2c")
	switch {
	case len(words) == 0 && !r.within(path):
		r.fail(path, "no protocol", "write http1, http2 or h2c")
	case l.H2C && secure:
		r.fail(path, "h2c is HTTP/2 without TLS, and this listener has TLS", "write http2")
	case l.HTTP2 && !secure:
		r.fail(path, "http2 needs TLS", "write h2c for HTTP/2 without TLS")
	}
	return l
}

// within tells whether a problem was already reported about the list at path
// or something in it.
func (r *reader) within(path string) bool {
	for wrong := range r.wrong {
		if wrong == path || strings.HasPrefix(wrong, path+"[") {
			return true
		}
	}
	return false
}

func (r *reader) http(o *object, c *Config) {
	lim, p := &c.Server.Limits, &c.Proxy
	set(o, "hygiene", &p.Hygiene, choice(gate.Enforce, gate.Watch))
	p.Waive, p.Refuse = r.choices(o, nil, nil)
	if setList(o, "methods", &p.Methods, parseMethod) && len(p.Methods) == 0 && !r.within("http.methods") {
		r.fail("http.methods", "no method", "remove the key for the default")
	}
	set(o, "max_target", &lim.MaxTarget, size[int](256, mib))
	set(o, "max_header", &lim.MaxHeader, size[int](kib, 16*mib))
	set(o, "max_fields", &lim.MaxFields, integer(8, 10000))
	set(o, "max_body", &p.MaxBody, size[int64](1, 1<<40))
	set(o, "header_timeout", &lim.HeaderTimeout, duration(time.Millisecond, time.Hour))
	set(o, "body_rate", &p.BodyRate, byteRate)
	set(o, "write_rate", &lim.WriteRate, byteRate)
	set(o, "idle_timeout", &lim.IdleTimeout, duration(time.Millisecond, 24*time.Hour))
	set(o, "max_connections", &c.Server.MaxConnections, integer(1, 10_000_000))
	set(o, "max_connections_per_client", &c.Server.MaxPerClient, integer(1, 10_000_000))
	if lim.MaxTarget > lim.MaxHeader {
		path := "http.max_target"
		if !r.written(path) {
			path = "http.max_header"
		}
		r.fail(path, fmt.Sprintf("max_target %s does not fit into max_header %s", writeSize(int64(lim.MaxTarget)), writeSize(int64(lim.MaxHeader))),
			"the target is part of the head")
	}
}

// namedFile resolves the name of a file that must be given.
func (r *reader) namedFile(text string) (string, error) {
	if text == "" {
		return "", &problem{"no file name", ""}
	}
	return r.file(text)
}

// parseAddress accepts host:port and :port. Port 0 takes any free one.
func parseAddress(s string) (string, error) {
	bad := &problem{fmt.Sprintf("bad address %q", s), `write host:port, or ":8080" for all addresses`}
	if isDigits(s) {
		bad.hint = fmt.Sprintf(`did you mean ":%s"?`, s)
		return "", bad
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return "", bad
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || !isDigits(port) || itoa(int(n)) != port {
		bad.hint = "write a port from 1 to 65535"
		return "", bad
	}
	if _, err := netip.ParseAddr(host); err != nil && host != "" && !isHost(host) {
		return "", bad
	}
	return s, nil
}

// socketAddress accepts what can be listened on: an address and port, or the
// file of a Unix socket.
func (r *reader) socketAddress(s string) (string, error) {
	if path, ok := strings.CutPrefix(s, unixPrefix); ok {
		path, err := r.socketFile(path)
		return unixPrefix + path, err
	}
	return parseAddress(s)
}

// parseAdminHost accepts a Host value: a host or an address, with a port or
// without.
func parseAdminHost(s string) (string, error) {
	host := s
	if h, port, err := net.SplitHostPort(s); err == nil && isDigits(port) {
		host = h
	}
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err != nil && !isHost(host) {
		return "", &problem{fmt.Sprintf("bad host %q", s), "write a host name, with a port or without"}
	}
	return strings.ToLower(s), nil
}

// isHost tells whether s is a host name in ASCII: labels of letters, digits,
// dashes and underscores (which the names of containers have), separated by
// dots (RFC 1123 section 2.1). The last one is not a number: what looks like
// an address is one, or is wrong.
func isHost(s string) bool {
	if s == "" || len(s) > 253 || isDigits(s[strings.LastIndexByte(s, '.')+1:]) {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.ContainsFunc(label, func(c rune) bool { return !isAlnum(c) && c != '-' && c != '_' }) {
			return false
		}
	}
	return true
}

package waf

import (
	"net/url"
	"strings"

	vars "github.com/corazawaf/coraza/v3/types/variables"

	"sallyport/internal/gate"
	"sallyport/waf/prover"
)

// readTarget reads the request line into the facts, the target taken apart as
// the engine does it. It takes most parameters of the query.
func readTarget(f *prover.Facts, head *gate.Head, most int) {
	f.Set(vars.RequestMethod, head.Method)
	f.Set(vars.RequestProtocol, head.Proto)
	f.Set(vars.RequestURIRaw, head.Target)
	f.Set(vars.RequestLine, head.Method+" "+head.Target+" "+head.Proto)
	uri, _, _ := strings.Cut(head.Target, "#")
	shown, path, query, err := splitTarget(uri)
	if err != nil {
		f.Set(vars.URIParseError, "1")
	}
	f.Set(vars.RequestURI, shown)
	f.Set(vars.RequestFilename, path)
	basename := path
	if at := strings.LastIndexAny(path, `/\`); at >= 0 && at+1 < len(path) {
		basename = path[at+1:]
	}
	f.Set(vars.RequestBasename, basename)
	f.Set(vars.QueryString, query)
	count := 0
	pairs(query, func(_ int, name, value string) bool {
		if count == most {
			f.Set(vars.ArgumentsLimitReached, "1")
			return false
		}
		count++
		f.Add(vars.ArgsGet, name, value)
		return true
	})
}

// splitTarget takes a target apart: its path, decoded, its query, and what it
// looks like when it is put together again, for which characters that must not
// stand in a path are encoded. The error says that it cannot be decoded; then
// it is only cut.
func splitTarget(uri string) (shown, path, query string, err error) {
	end := 0
	for end < len(uri) && plainInPath[uri[end]] {
		end++
	}
	if strings.HasPrefix(uri, "/") && (end == len(uri) || uri[end] == '?') && !hasControl(uri[end:]) {
		return uri, uri[:end], strings.TrimPrefix(uri[end:], "?"), nil
	}
	u, err := url.ParseRequestURI(uri)
	if err != nil {
		path, query, _ = strings.Cut(uri, "?")
		return uri, path, query, err
	}
	return u.String(), u.Path, u.RawQuery, nil
}

// plainInPath are the characters of a path that neither decoding nor encoding
// changes (RFC 3986 section 3.3, and the brackets that are left alone).
var plainInPath = func() (plain [256]bool) {
	for c := range plain {
		plain[c] = alphanumeric(byte(c)) || strings.IndexByte("/-._~!$&'()*+,;=:@[]", byte(c)) >= 0
	}
	return plain
}()

// hasControl reports whether there is an ASCII control in s.
func hasControl(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7F {
			return true
		}
	}
	return false
}

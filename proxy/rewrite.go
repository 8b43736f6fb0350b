package proxy

import (
	"strings"

	"sallyport/internal/gate"
)

// HostBackend is the value of RewriteConfig.Host for the backend's own name.
const HostBackend = "backend"

// RewriteConfig is how a route's requests change before the rules judge them.
type RewriteConfig struct {
	// StripPrefix is taken off the path, where it stands on a segment border;
	// AddPrefix is put in front of what is left. Empty: neither.
	StripPrefix, AddPrefix string
	// Host is the name that the backend is asked for: empty for the one that
	// the client asked for, HostBackend for the backend's own, or a name.
	Host     string
	Redirect RedirectConfig
}

// rewrite gives the request the path and the name that the backend knows the
// site by. From here on they are the request's: the rules judge what the
// backend gets.
func (h *Handler) rewrite(v *visit) gate.Verdict {
	s := v.site
	named := s.host != "" && s.host != HostBackend
	if s.paths == nil && !named {
		return gate.Passes(gate.StageRoute)
	}
	head := *v.req.Head
	if head.Target = s.paths.target(head.Target); head.Received == "" || head.Received == v.req.Head.Target {
		head.Received = head.Target
	}
	if named {
		head.Host = s.host
		head.Fields = append([]gate.Field(nil), head.Fields...)
		for i := range head.Fields {
			if strings.EqualFold(head.Fields[i].Name, "Host") {
				head.Fields[i].Value = s.host
			}
		}
	}
	v.original, v.req.Head = v.req.Head, &head
	return gate.Passes(gate.StageRoute)
}

// A pathMap is how a route's paths differ from those that its backends know:
// the client's begin with strip, theirs with add. Neither ends in a slash;
// either may be empty. A nil pathMap changes nothing.
type pathMap struct{ strip, add string }

// newPathMap returns nil where there is nothing to do.
func newPathMap(strip, add string) *pathMap {
	m := &pathMap{strings.TrimSuffix(strip, "/"), strings.TrimSuffix(add, "/")}
	if m.strip == "" && m.add == "" {
		return nil
	}
	return m
}

// target is what the backend is asked for. What the prefix does not stand in
// front of keeps its path. The result begins with exactly one slash: a second
// one would make a host of the first segment (RFC 3986 section 4.2).
func (m *pathMap) target(target string) string {
	if m == nil || target == "" || target[0] != '/' { // OPTIONS *
		return target
	}
	path, query, asked := strings.Cut(target, "?")
	if m.strip != "" {
		if rest, ok := cutPathPrefix(path, m.strip); ok {
			path = rest
		} else if rest, ok := cutPathPrefix(canonicalPath(path), m.strip); ok {
			path = rest // the route took it by its canonical form
		}
	}
	path = m.add + "/" + strings.TrimLeft(path, "/")
	if asked {
		path += "?" + query
	}
	return path
}

// cutPathPrefix cuts a prefix off on a segment border.
func cutPathPrefix(path, prefix string) (string, bool) {
	rest, ok := strings.CutPrefix(path, prefix)
	return rest, ok && (rest == "" || rest[0] == '/')
}

// back is the client's form of a path that a backend names. One that begins
// as the client's paths do is the client's already: the application has been
// told of the prefix.
func (m *pathMap) back(path string) string {
	if m == nil || path == "" || path[0] != '/' {
		return path
	}
	end := strings.IndexAny(path, "?#")
	if end < 0 {
		end = len(path)
	}
	path, rest := path[:end], path[end:]
	if m.add != "" {
		inner, ok := cutPathPrefix(path, m.add)
		if !ok {
			return path + rest
		}
		path = "/" + strings.TrimLeft(inner, "/")
	} else if _, ok := cutPathPrefix(path, m.strip); ok {
		return path + rest
	}
	return m.strip + path + rest
}

// cookiePath is back for the Path of a cookie, which has no slash at its end:
// with one it would not be sent with the prefix alone (RFC 6265 section 5.1.4).
func (m *pathMap) cookiePath(attribute, path string) string {
	if m == nil || path == "" || path[0] != '/' {
		return attribute
	}
	path = m.back(path)
	if len(path) > 1 {
		path = strings.TrimSuffix(path, "/")
	}
	return " Path=" + path
}

// field maps the URLs of a response field back, where they point at the site.
func (m *pathMap) field(name, value string, as public) string {
	if m == nil {
		return value
	}
	switch name {
	case "Location", "Content-Location", "Sourcemap", "X-Sourcemap":
		return m.url(value, as)
	case "Link": // RFC 8288 section 3
		var b strings.Builder
		for {
			before, rest, open := strings.Cut(value, "<")
			target, after, closed := strings.Cut(rest, ">")
			if !open || !closed {
				b.WriteString(value)
				return b.String()
			}
			b.WriteString(before + "<" + m.url(target, as) + ">")
			value = after
		}
	case "Refresh":
		i := strings.Index(asciiLower(value), "url=")
		if i < 0 {
			return value
		}
		i += len("url=")
		for i < len(value) && strings.IndexByte(` "'`, value[i]) >= 0 {
			i++
		}
		return value[:i] + m.url(value[i:], as)
	}
	return value
}

// url maps the path of a URL reference back, if it points at the site.
func (m *pathMap) url(ref string, as public) string {
	head, rest := "", ref
	if scheme, after, ok := strings.Cut(ref, "//"); ok && (scheme == "" || strings.EqualFold(scheme, "http:") || strings.EqualFold(scheme, "https:")) {
		end := strings.IndexAny(after, "/?#")
		if end < 0 {
			end = len(after)
		}
		if as.authority == "" || !strings.EqualFold(after[:end], as.authority) {
			return ref
		}
		head, rest = ref[:len(ref)-len(after)+end], after[end:]
		if rest == "" || rest[0] != '/' {
			rest = "/" + rest
		}
	}
	return head + m.back(rest)
}

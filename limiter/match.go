package limiter

import (
	"slices"
	"strings"

	"sallyport/internal/gate"
)

// A matcher is a Match in the form that requests are compared with.
type matcher struct {
	exact, prefixes []string // prefixes without the last slash
	methods         []string
	hosts, suffixes []string
	routes          []string
	anyPath         bool
	anyHost         bool
}

func newMatcher(m Match) *matcher {
	c := &matcher{
		methods: m.Methods, routes: m.Routes,
		anyPath: len(m.Paths) == 0, anyHost: len(m.Hosts) == 0,
	}
	for _, path := range m.Paths {
		if exact, ok := strings.CutPrefix(path, "="); ok {
			c.exact = append(c.exact, exact)
			continue
		}
		prefix := strings.TrimSuffix(path, "/")
		c.anyPath = c.anyPath || prefix == ""
		c.prefixes = append(c.prefixes, prefix)
	}
	for _, host := range m.Hosts {
		if suffix, ok := strings.CutPrefix(host, "*"); ok {
			c.suffixes = append(c.suffixes, suffix)
		} else {
			c.hosts = append(c.hosts, host)
		}
	}
	if c.anyPath && c.anyHost && len(c.methods) == 0 && len(c.routes) == 0 {
		return nil
	}
	return c
}

// takes reports whether the limit is for the request. A nil matcher takes all.
func (m *matcher) takes(req *gate.Request) bool {
	switch {
	case m == nil:
		return true
	case len(m.methods) > 0 && !slices.Contains(m.methods, req.Head.Method):
		return false
	case len(m.routes) > 0 && (req.Route == nil || !slices.Contains(m.routes, req.Route.Name)):
		return false
	}
	return (m.anyPath || m.takesPath(req.Path)) && (m.anyHost || m.takesHost(req.Host))
}

// takesPath compares as routes do: a prefix ends where a segment does, and a
// server that decodes %2F sees a border where it stands.
func (m *matcher) takesPath(path string) bool {
	if slices.Contains(m.exact, path) {
		return true
	}
	for _, prefix := range m.prefixes {
		if rest, ok := strings.CutPrefix(path, prefix); ok && (rest == "" || rest[0] == '/' || strings.HasPrefix(rest, "%2F")) {
			return true
		}
	}
	return false
}

func (m *matcher) takesHost(host string) bool {
	if slices.Contains(m.hosts, host) {
		return true
	}
	for _, suffix := range m.suffixes {
		if len(host) > len(suffix) && strings.HasSuffix(host, suffix) {
			return true
		}
	}
	return false
}

// only returns the one value that a field or cookie of the request has. One
// that is absent, empty or given twice has none: which of two a backend reads
// is not known here.
func (b By) only(head *gate.Head) string {
	found := ""
	for i := range head.Fields {
		f := &head.Fields[i]
		if b.Kind == ByHeader {
			if strings.EqualFold(f.Name, b.Name) {
				if found != "" {
					return ""
				}
				found = f.Value
			}
			continue
		}
		if !strings.EqualFold(f.Name, "Cookie") {
			continue
		}
		for pair := range strings.SplitSeq(f.Value, ";") {
			name, value, _ := strings.Cut(strings.Trim(pair, " \t"), "=")
			if name != b.Name || value == "" {
				continue
			}
			if found != "" {
				return ""
			}
			found = value
		}
	}
	return found
}

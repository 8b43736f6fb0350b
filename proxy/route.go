package proxy

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"sallyport/internal/gate"
)

// found says how far the search for a route came.
type found uint8

const (
	noHost   found = iota // no route takes the host
	noPath                // routes take the host, but not the path
	noMethod              // a route takes host and path, but not the method
	taken
)

// A router finds the route of a request: the first one that matches.
type router struct {
	sites   []*site
	methods []string // http.methods
}

// A site is a route and what it takes.
type site struct {
	config  *RouteConfig
	route   *gate.Route
	pool    *pool  // nil: split decides
	split   *split // nil: there is one pool
	maxBody int64
	timeout time.Duration // to the head of the answer; 0: no limit
	tunnel  TunnelConfig
	allow   string // the value of Allow

	mask     MaskConfig
	pages    map[int]page
	headers  HeaderConfig
	paths    *pathMap
	host     string          // RewriteConfig.Host
	redirect *RedirectConfig // nil: none
	names    map[string]bool // hosts that routes name, which are no secret
	// origins are the pools' own, with the name that the backends know the
	// site by.
	origins map[*pool]*origin

	hosts    []string // exact, lower case
	suffixes []string // ".example.org" for *.example.org
	exact    []string // canonical paths
	prefixes []string // canonical paths without the last slash
	anyHost  bool
	anyPath  bool
}

func newRouter(cfg Config, pools map[string]*pool) (*router, error) {
	r := &router{methods: cfg.Methods}
	names := map[string]bool{}
	for i := range cfg.Routes {
		rc := &cfg.Routes[i]
		s, err := newSite(cfg, rc, pools)
		if err != nil {
			return nil, err
		}
		s.names = names
		for _, host := range rc.Hosts {
			host = strings.TrimSuffix(strings.ToLower(host), ".")
			if suffix, ok := strings.CutPrefix(host, "*"); ok {
				s.suffixes = append(s.suffixes, suffix)
			} else {
				s.hosts = append(s.hosts, host)
				names[host] = true
			}
		}
		for _, path := range rc.Paths {
			if exact, ok := strings.CutPrefix(path, "="); ok {
				s.exact = append(s.exact, canonicalPath(exact))
				continue
			}
			prefix := strings.TrimSuffix(canonicalPath(path), "/")
			s.anyPath = s.anyPath || prefix == ""
			s.prefixes = append(s.prefixes, prefix)
		}
		r.sites = append(r.sites, s)
	}
	return r, nil
}

// newSite is a route without what it takes.
func newSite(cfg Config, rc *RouteConfig, pools map[string]*pool) (*site, error) {
	s := &site{
		config: rc, route: &rc.Route, pool: pools[rc.Route.Pool], maxBody: rc.Route.MaxBody, timeout: rc.Timeout, tunnel: rc.Tunnel,
		anyHost: len(rc.Hosts) == 0, anyPath: len(rc.Paths) == 0,
		allow: allowValue(cfg.Methods, rc.Route.Methods),
		mask:  rc.Mask, headers: rc.Headers, paths: newPathMap(rc.Rewrite.StripPrefix, rc.Rewrite.AddPrefix), host: rc.Rewrite.Host,
		origins: map[*pool]*origin{},
	}
	if rc.Rewrite.Redirect != (RedirectConfig{}) {
		s.redirect = &rc.Rewrite.Redirect
	}
	if s.maxBody <= 0 {
		s.maxBody = cfg.MaxBody
	}
	var err error
	if s.split, err = newSplit(rc, pools, cfg.SplitKey); err != nil {
		return nil, err
	}
	if s.pool == nil && s.split == nil {
		return nil, fmt.Errorf("route %s: there is no pool %q", rc.Route.Name, rc.Route.Pool)
	}
	if s.pages, err = readPages(rc.Mask.Pages); err != nil {
		return nil, fmt.Errorf("route %s: %w", rc.Route.Name, err)
	}
	if s.host != "" && s.host != HostBackend {
		for _, pc := range cfg.Pools {
			s.origins[pools[pc.Name]] = originAs(pc.Backends, s.host, pools[pc.Name].origin.leaks)
		}
	}
	return s, nil
}

func backendURLs(backends []BackendConfig) []*url.URL {
	urls := make([]*url.URL, len(backends))
	for i, b := range backends {
		urls[i] = b.URL
	}
	return urls
}

// originAs knows the backends by a name of the site too, which they may take
// for their own. It is not looked for elsewhere.
func originAs(backends []BackendConfig, name string, leaks *lookout) *origin {
	urls := backendURLs(backends)
	for _, scheme := range []string{"http", "https"} {
		urls = append(urls, &url.URL{Scheme: scheme, Host: name})
	}
	o := newOrigin(urls)
	o.leaks = leaks
	return o
}

// origin is how the backends of a pool may name themselves.
func (s *site) origin(p *pool) *origin {
	if o := s.origins[p]; o != nil {
		return o
	}
	return p.origin
}

// names reports whether a route names the host; a catch-all does not.
func (r *router) names(host string) bool {
	return slices.ContainsFunc(r.sites, func(s *site) bool { return !s.anyHost && s.takesHost(host) })
}

// allowValue lists methods for the Allow field, each once.
func allowValue(global, own []string) string {
	all := slices.Concat(global, own)
	slices.Sort(all)
	return strings.Join(slices.Compact(all), ", ")
}

// find returns the first route that takes host, path and method. A route that
// names methods takes those and the global ones only; others take every
// method, and answer the ones that are not allowed with 405. With noMethod it
// returns the route that would have taken another method.
func (r *router) find(host, path, method string) (*site, found) {
	best, other := noHost, (*site)(nil)
	for _, s := range r.sites {
		switch {
		case !s.takesHost(host):
			continue
		case !s.takesPath(path):
			best = max(best, noPath)
			continue
		case len(s.route.Methods) > 0 && !slices.Contains(s.route.Methods, method) && !slices.Contains(r.methods, method):
			if best = noMethod; other == nil {
				other = s
			}
			continue
		}
		return s, taken
	}
	return other, best
}

func (s *site) takesHost(host string) bool {
	if s.anyHost || slices.Contains(s.hosts, host) {
		return true
	}
	return slices.ContainsFunc(s.suffixes, func(suffix string) bool {
		return len(host) > len(suffix) && strings.HasSuffix(host, suffix)
	})
}

func (s *site) takesPath(path string) bool {
	if s.anyPath || slices.Contains(s.exact, path) {
		return true
	}
	return slices.ContainsFunc(s.prefixes, func(prefix string) bool {
		rest, ok := strings.CutPrefix(path, prefix)
		// A server that decodes %2F sees a border where it stands.
		return ok && (rest == "" || rest[0] == '/' || strings.HasPrefix(rest, "%2F"))
	})
}

// hostName is the host of an authority in the form that routes and
// certificates are compared with: lower case, without port and trailing dot.
func hostName(authority string) string {
	host, _ := splitAuthority(authority)
	return strings.TrimSuffix(strings.ToLower(host), ".")
}

// splitAuthority cuts the port off an authority that has been judged already.
// The brackets of an IPv6 literal stay.
func splitAuthority(authority string) (host, port string) {
	i := strings.LastIndexByte(authority, ':')
	if i < 0 || strings.IndexByte(authority[i:], ']') >= 0 {
		return authority, ""
	}
	return authority[:i], authority[i+1:]
}

package proxy

import (
	"testing"

	"sallyport/internal/gate"
)

func TestCanonicalPath(t *testing.T) {
	for _, tc := range []struct{ rule, target, want string }{
		{"plain", "/a/b.c", "/a/b.c"},
		{"the query is no part of it", "/a?b=/../c", "/a"},
		{"a last slash stays", "/a/", "/a/"},
		{"unreserved characters are decoded", "/%61dmin/%7Eme", "/admin/~me"},
		{"others are not, but in one spelling", "/a%2fb%3a", "/a%2Fb%3A"},
		{"decoded once only", "/%2561", "/%2561"},
		{"dot segments", "/a/./b/../c", "/a/c"},
		{"dot segments in disguise", "/a/%2e%2E/c", "/c"},
		{"above the root is the root", "/../../a", "/a"},
		{"a dot segment at the end names a directory", "/a/b/..", "/a/"},
		{"a dot segment at the end names the root", "/a/..", "/"},
		{"dots that are no segment", "/...a/.b/..c", "/...a/.b/..c"},
		{"empty segments", "//a///b//", "/a/b/"},
		{"parameters of segments", "/a;x=1/b;y", "/a/b"},
		{"parameters that hide dots", "/x/..;/admin", "/admin"},
		{"a segment of parameters only", "/;x/a", "/a"},
		{"a broken escape stays", "/a%zz%4", "/a%zz%4"},
		{"asterisk", "*", "*"},
		{"the root", "/", "/"},
		{"nothing but slashes", "///", "/"},
	} {
		if got := canonicalPath(tc.target); got != tc.want {
			t.Errorf("%s: canonicalPath(%q) = %q, want %q", tc.rule, tc.target, got, tc.want)
		}
	}
}

func FuzzCanonicalPath(f *testing.F) {
	for _, s := range []string{"/", "/a/../b", "/%2e%2e/", "//;/..;/%2F%61", "*", "/a%zz"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, target string) {
		once := canonicalPath(target)
		if len(once) > len(target)+1 {
			t.Errorf("canonicalPath(%q) = %q is longer than what it came from", target, once)
		}
		if len(target) == 0 || target[0] != '/' {
			return
		}
		if once == "" || once[0] != '/' {
			t.Errorf("canonicalPath(%q) = %q, want a path", target, once)
		}
		for i := 0; i+1 < len(once); i++ {
			if once[i:i+2] == "//" || i+4 <= len(once) && once[i:i+4] == "/../" {
				t.Errorf("canonicalPath(%q) = %q, with empty or dot segments", target, once)
			}
		}
	})
}

func TestRoutes(t *testing.T) {
	pools := map[string]*pool{"app": {}}
	rc := func(name string, hosts, paths, methods []string) RouteConfig {
		return RouteConfig{Hosts: hosts, Paths: paths, Route: gate.Route{Name: name, Pool: "app", Methods: methods}}
	}
	r, err := newRouter(Config{Methods: []string{"GET", "POST"}, Routes: []RouteConfig{
		rc("exact", []string{"shop.example.org"}, []string{"=/health"}, nil),
		rc("admin", []string{"shop.example.org", "*.shop.example.org"}, []string{"/admin"}, nil),
		rc("dav", []string{"shop.example.org"}, []string{"/dav/"}, []string{"PROPFIND"}),
		rc("v6", []string{"[2001:db8::1]"}, nil, nil),
		rc("shop", []string{"shop.example.org"}, []string{"/"}, nil),
		rc("later", []string{"shop.example.org"}, []string{"/admin/x"}, nil),
	}}, pools)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		rule, host, target, method, want string
		found                            found
	}{
		{"the catch-all path", "shop.example.org", "/any", "GET", "shop", taken},
		{"letter case, port and last dot of the host do not count", "SHOP.Example.org.:8443", "/any", "GET", "shop", taken},
		{"an IPv6 literal with port", "[2001:DB8::1]:80", "/", "GET", "v6", taken},
		{"an IPv6 literal", "[2001:db8::1]", "/", "GET", "v6", taken},
		{"one exact path", "shop.example.org", "/health", "GET", "exact", taken},
		{"an exact path is no prefix", "shop.example.org", "/health/", "GET", "shop", taken},
		{"a prefix ends where a segment does", "shop.example.org", "/admin/x", "GET", "admin", taken},
		{"a prefix that is the path", "shop.example.org", "/admin", "GET", "admin", taken},
		{"a longer segment is another one", "shop.example.org", "/administrator", "GET", "shop", taken},
		{"an encoded slash is a border", "shop.example.org", "/admin%2fx", "GET", "admin", taken},
		{"a disguised prefix", "shop.example.org", "//%61dmin;x/y", "GET", "admin", taken},
		{"a wildcard takes one label", "a.shop.example.org", "/admin", "GET", "admin", taken},
		{"a wildcard takes more labels", "a.b.shop.example.org", "/admin", "GET", "admin", taken},
		{"a wildcard takes no other end", "ashop.example.org", "/admin", "GET", "", noHost},
		{"a wildcard wants a label", ".shop.example.org", "/admin", "GET", "", noHost},
		{"the host is taken but not the path", "a.shop.example.org", "/x", "GET", "", noPath},
		{"an unknown host", "example.org", "/", "GET", "", noHost},
		{"no host", "", "/", "GET", "", noHost},
		{"a route with methods takes its own", "shop.example.org", "/dav/x", "PROPFIND", "dav", taken},
		{"a prefix may be written with a last slash", "shop.example.org", "/dav", "PROPFIND", "dav", taken},
		{"a route with methods takes global ones", "shop.example.org", "/dav/x", "GET", "dav", taken},
		{"a route with methods leaves others to the next", "shop.example.org", "/dav/x", "MKCOL", "shop", taken},
		{"the asterisk meets routes for every path", "shop.example.org", "*", "OPTIONS", "shop", taken},
		{"the asterisk is no path", "a.shop.example.org", "*", "OPTIONS", "", noPath},
	} {
		s, how := r.find(hostName(tc.host), canonicalPath(tc.target), tc.method)
		name := ""
		if s != nil {
			name = s.route.Name
		}
		if name != tc.want || how != tc.found {
			t.Errorf("%s: find(%s%s, %s) = %q, %d, want %q, %d", tc.rule, tc.host, tc.target, tc.method, name, how, tc.want, tc.found)
		}
	}
}

func TestRouteWithoutHostsTakesAll(t *testing.T) {
	r, err := newRouter(Config{Routes: []RouteConfig{{Route: gate.Route{Name: "all", Pool: "app"}}}}, map[string]*pool{"app": {}})
	if err != nil {
		t.Fatal(err)
	}
	if s, how := r.find("", "/x", "GET"); s == nil || how != taken {
		t.Errorf("the catch-all does not take a request without a host: %d", how)
	}
}

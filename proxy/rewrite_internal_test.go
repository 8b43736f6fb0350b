package proxy

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

func TestTargets(t *testing.T) {
	for _, tc := range []struct{ rule, strip, add, target, want string }{
		{"a prefix is taken off", "/shop", "", "/shop/cart?a=/shop", "/cart?a=/shop"},
		{"alone it leaves the root", "/shop", "", "/shop", "/"},
		{"with a query too", "/shop", "", "/shop?x", "/?x"},
		{"an empty query stays", "/shop", "", "/shop/?", "/?"},
		{"on a segment border only", "/shop", "", "/shops/1", "/shops/1"},
		{"what is left begins with one slash", "/shop", "", "/shop//evil.example/x", "/evil.example/x"},
		{"however many there were", "/shop", "", "/shop////x", "/x"},
		{"elsewhere slashes stay", "/shop", "", "/shop/a//b", "/a//b"},
		{"also in another spelling", "/shop", "", "/%73hop/a%2Fb", "/a%2Fb"},
		{"and behind empty segments", "/shop", "", "//shop/a", "/a"},
		{"a deeper prefix", "/a/b", "", "/a/b/c", "/c"},
		{"one is put in front", "", "/app", "/x?y", "/app/x?y"},
		{"before the root", "", "/app", "/", "/app/"},
		{"and never makes two slashes", "", "/app", "//x", "/app/x"},
		{"one for the other", "/shop", "/app/v2", "/shop/x", "/app/v2/x"},
		{"no path, no change", "/shop", "/app", "*", "*"},
		{"escapes stay", "/shop", "", "/shop/%41%2f%zz;a=b", "/%41%2f%zz;a=b"},
	} {
		if got := newPathMap(tc.strip, tc.add).target(tc.target); got != tc.want {
			t.Errorf("%s: %q becomes %q, want %q", tc.rule, tc.target, got, tc.want)
		}
	}
}

// FuzzTargets: whatever is asked for, the result begins with exactly one
// slash, and what stood behind the prefix is still its end.
func FuzzTargets(f *testing.F) {
	for _, s := range []string{"/shop/x", "//shop//x", "/shop/../x", "/%73hop", "/shop?//", "/", "///", "/shop/%2f%2fx", "/;/shop//x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, target string) {
		if !strings.HasPrefix(target, "/") {
			return
		}
		_, query, asked := strings.Cut(target, "?")
		for _, m := range []*pathMap{newPathMap("/shop", ""), newPathMap("", "/app"), newPathMap("/shop", "/app")} {
			got := m.target(target)
			if !strings.HasPrefix(got, "/") || strings.HasPrefix(got, "//") {
				t.Fatalf("%+v: %q becomes %q", *m, target, got)
			}
			if _, q, a := strings.Cut(got, "?"); q != query || a != asked {
				t.Fatalf("%+v: the query of %q becomes that of %q", *m, target, got)
			}
		}
	})
}

func TestPathsComeBack(t *testing.T) {
	as := public{"https", "shop.example.org"}
	for _, tc := range []struct{ rule, strip, add, name, value, want string }{
		{"a path", "/shop", "", "Location", "/login?next=/x", "/shop/login?next=/x"},
		{"the site's own address", "/shop", "", "Location", "https://shop.example.org/a#b", "https://shop.example.org/shop/a#b"},
		{"without a path", "/shop", "", "Location", "https://shop.example.org", "https://shop.example.org/shop/"},
		{"without a scheme", "/shop", "", "Location", "//Shop.example.org/a", "//Shop.example.org/shop/a"},
		{"elsewhere", "/shop", "", "Location", "https://www.example.com/a", "https://www.example.com/a"},
		{"elsewhere without a scheme", "/shop", "", "Location", "//www.example.com/a", "//www.example.com/a"},
		{"a relative one", "/shop", "", "Location", "../a", "../a"},
		{"one that has the prefix already", "/shop", "", "Location", "/shop/a", "/shop/a"},
		{"one that only looks so", "/shop", "", "Location", "/shops", "/shop/shops"},
		{"an added prefix goes", "", "/app", "Content-Location", "/app/x", "/x"},
		{"and its root", "", "/app", "Location", "/app", "/"},
		{"what is outside of it stays", "", "/app", "Location", "/other", "/other"},
		{"one for the other", "/shop", "/app", "Location", "/app/x", "/shop/x"},
		{"links", "/shop", "", "Link", `</a.css>; rel="preload", <https://cdn.example/b>; rel=x, <c>`, `</shop/a.css>; rel="preload", <https://cdn.example/b>; rel=x, <c>`},
		{"a refresh", "/shop", "", "Refresh", "5; URL=/a", "5; URL=/shop/a"},
		{"a refresh in quotes", "/shop", "", "Refresh", `0;url="/a"`, `0;url="/shop/a"`},
		{"a refresh of the page itself", "/shop", "", "Refresh", "5", "5"},
		{"another field", "/shop", "", "X-Frame-Options", "/a", "/a"},
	} {
		if got := newPathMap(tc.strip, tc.add).field(tc.name, tc.value, as); got != tc.want {
			t.Errorf("%s: %s: %q becomes %q, want %q", tc.rule, tc.name, tc.value, got, tc.want)
		}
	}
}

func TestCookieAttributes(t *testing.T) {
	o := testOrigin(t, "http://10.0.0.11:8080", "https://app.svc.cluster.local")
	all := CookieConfig{Secure: true, HTTPOnly: true, SameSite: "lax", Except: []string{"XSRF-TOKEN"}}
	for _, tc := range []struct {
		rule        string
		want        CookieConfig
		paths       *pathMap
		scheme      string
		value, seen string
	}{
		{"nothing is asked for", CookieConfig{}, nil, "https", "a=b; Path=/", "a=b; Path=/"},
		{"everything is added", all, nil, "https", "a=b; Path=/", "a=b; Path=/; Secure; HttpOnly; SameSite=Lax"},
		{"what is there stays once", all, nil, "https", "a=b; secure; HTTPONLY; samesite=lax", "a=b; secure; HTTPONLY; samesite=lax"},
		{"Secure never without TLS", all, nil, "http", "a=b", "a=b; HttpOnly; SameSite=Lax"},
		{"None becomes Lax", CookieConfig{SameSite: "lax"}, nil, "https", "a=b; SameSite=None; Secure", "a=b; Secure; SameSite=Lax"},
		{"Strict is more than Lax", CookieConfig{SameSite: "lax"}, nil, "https", "a=b; SameSite=Strict", "a=b; SameSite=Strict"},
		{"Lax is less than Strict", CookieConfig{SameSite: "strict"}, nil, "https", "a=b; SameSite=Lax", "a=b; SameSite=Strict"},
		{"a cookie that is left alone", all, nil, "https", "XSRF-TOKEN=x; SameSite=None", "XSRF-TOKEN=x; SameSite=None"},
		{"a value that looks like an attribute", all, nil, "https", "secure=httponly", "secure=httponly; Secure; HttpOnly; SameSite=Lax"},
		{"a domain above a backend's", CookieConfig{}, nil, "https", "a=b; Domain=.cluster.local; Path=/", "a=b; Path=/"},
		{"a domain above ours", CookieConfig{}, nil, "https", "a=b; Domain=example.org", "a=b; Domain=example.org"},
		{"a domain of somebody else", CookieConfig{}, nil, "https", "a=b; Domain=example.com", "a=b; Domain=example.com"},
		{"a path", CookieConfig{}, newPathMap("/shop", ""), "https", "a=b; Path=/cart; Secure", "a=b; Path=/shop/cart; Secure"},
		{"the root", CookieConfig{}, newPathMap("/shop", ""), "https", "a=b; Path=/", "a=b; Path=/shop"},
		{"an added prefix", CookieConfig{}, newPathMap("", "/app"), "https", "a=b; path=/app", "a=b; Path=/"},
		{"a cookie of the whole host", CookieConfig{}, newPathMap("/shop", ""), "https", "__Host-a=b; Path=/; Secure", "__Host-a=b; Path=/; Secure"},
	} {
		l := lens{origin: o, as: public{tc.scheme, "shop.example.org"}, paths: tc.paths, cookies: tc.want}
		if got, ok := l.cookie(tc.value); got != tc.seen || !ok {
			t.Errorf("%s: %q becomes %q, want %q", tc.rule, tc.value, got, tc.seen)
		}
	}
}

func TestPoliciesNameTheSite(t *testing.T) {
	o := testOrigin(t, "http://10.0.0.11:8080", "https://app.internal", "http://app:80")
	through := lens{origin: o, as: public{"https", "shop.example.org"}}
	for _, tc := range []struct{ name, value, want string }{
		{"Content-Security-Policy", "default-src 'self' http://10.0.0.11:8080 app.internal; report-uri https://app.internal/csp", "default-src 'self' https://shop.example.org shop.example.org; report-uri https://shop.example.org/csp"},
		{"Content-Security-Policy-Report-Only", "img-src 10.0.0.11:8080", "img-src shop.example.org"},
		{"Content-Security-Policy", "img-src app my-app.internal app.internal.example", "img-src app my-app.internal app.internal.example"},
		{"Report-To", `{"group":"a","endpoints":[{"url":"https://app.internal/r"}]}`, `{"group":"a","endpoints":[{"url":"https://shop.example.org/r"}]}`},
		{"Reporting-Endpoints", `main="https://app.internal/r"`, `main="https://shop.example.org/r"`},
		{"Access-Control-Allow-Origin", "https://app.internal", "https://shop.example.org"},
		{"Access-Control-Allow-Origin", "https://other.example", "https://other.example"},
		{"Timing-Allow-Origin", "https://app.internal, https://x.example", "https://shop.example.org, https://x.example"},
		{"Www-Authenticate", `Bearer realm="http://10.0.0.11:8080/token"`, `Bearer realm="https://shop.example.org/token"`},
		{"X-Frame-Options", "ALLOW-FROM https://app.internal", "ALLOW-FROM https://shop.example.org"},
		{"Sourcemap", "http://app/a.js.map", "https://shop.example.org/a.js.map"},
	} {
		to := http.Header{}
		newMask(nil).copy(to, http.Header{tc.name: {tc.value}}, through)
		if got := to.Get(tc.name); got != tc.want {
			t.Errorf("%s: %q becomes %q, want %q", tc.name, tc.value, got, tc.want)
		}
	}
}

func TestRedirectBase(t *testing.T) {
	origin := RedirectConfig{Scheme: "https", Host: "www.example.org"}
	for _, tc := range []struct {
		rule                    string
		r                       RedirectConfig
		scheme, host, authority string
		want                    string // empty: none
	}{
		{"to https", RedirectConfig{HTTPS: true}, "http", "example.org", "example.org:80", "https://example.org"},
		{"from any port", RedirectConfig{HTTPS: true}, "http", "example.org", "example.org:8080", "https://example.org"},
		{"there already", RedirectConfig{HTTPS: true}, "https", "example.org", "example.org:8443", ""},
		{"www", RedirectConfig{WWW: AddWWW}, "http", "example.org", "example.org:8080", "http://www.example.org:8080"},
		{"www already", RedirectConfig{WWW: AddWWW}, "http", "www.example.org", "www.example.org", ""},
		{"bare", RedirectConfig{WWW: CutWWW}, "https", "www.example.org", "www.example.org:443", "https://example.org"},
		{"both at once", RedirectConfig{HTTPS: true, WWW: CutWWW}, "http", "www.example.org", "www.example.org", "https://example.org"},
		{"an origin by its name", origin, "https", "example.org", "example.org", "https://www.example.org"},
		{"by its scheme", origin, "http", "www.example.org", "www.example.org", "https://www.example.org"},
		{"by its port", origin, "https", "www.example.org", "www.example.org:8443", "https://www.example.org"},
		{"the origin itself", origin, "https", "www.example.org", "www.example.org:443", ""},
		{"an origin with a port", RedirectConfig{Scheme: "https", Host: "a.example", Port: "8443"}, "http", "a.example", "a.example", "https://a.example:8443"},
		{"that origin itself", RedirectConfig{Scheme: "https", Host: "a.example", Port: "8443"}, "https", "a.example", "a.example:8443", ""},
	} {
		if got, ok := tc.r.base(tc.scheme, tc.host, tc.authority); got != tc.want || ok != (tc.want != "") {
			t.Errorf("%s: %q, %t, want %q", tc.rule, got, ok, tc.want)
		}
	}
}

func testSplit(t testing.TB, key string, weights ...int) *split {
	t.Helper()
	rc := &RouteConfig{}
	rc.Route.Name = "shop"
	pools := map[string]*pool{}
	for i, w := range weights {
		name := fmt.Sprintf("p%d", i)
		pools[name] = &pool{name: name}
		rc.Split = append(rc.Split, SplitConfig{Pool: name, Weight: w})
	}
	s, err := newSplit(rc, pools, []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// clients are 100,000 addresses next to each other.
func clients(do func(netip.Addr)) {
	for i := range 100_000 {
		do(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})) //nolint:gosec // cut on purpose
	}
}

// TestSplitShares judges the shares by chi-square: 13.8 is exceeded by one fair
// choice among three in a thousand, and this one never changes.
func TestSplitShares(t *testing.T) {
	weights := []int{90, 9, 1}
	s := testSplit(t, "key", weights...)
	counts := map[*pool]int{}
	clients(func(a netip.Addr) { counts[s.of(a)]++ })
	chi := 0.0
	for i, w := range weights {
		want := 1000 * float64(w)
		off := float64(counts[s.arms[i]]) - want
		chi += off * off / want
	}
	if chi > 13.8 {
		t.Errorf("chi-square is %.1f over %v", chi, counts)
	}
}

func TestSplitIsSticky(t *testing.T) {
	before, after, other := testSplit(t, "key", 95, 5), testSplit(t, "key", 90, 10), testSplit(t, "another", 95, 5)
	moved, same := 0, 0
	clients(func(a netip.Addr) {
		was, is := before.of(a), after.of(a)
		switch {
		case was.name == "p1" && is.name == "p0":
			t.Fatalf("%s left an arm that grew", a)
		case was.name != is.name:
			moved++
		}
		if before.of(a).name == "p1" && other.of(a).name == "p1" {
			same++
		}
	})
	if moved < 4500 || moved > 5500 {
		t.Errorf("%d of 100000 clients moved, want about 5000", moved)
	}
	if same > 500 {
		t.Errorf("%d clients are in the small arm under both keys", same)
	}
	for _, pair := range [][2]string{
		{"2001:db8:1:2::1", "2001:db8:1:2:ffff::9"}, {"192.0.2.7", "::ffff:192.0.2.7"}, {"fe80::1", "fe80::1%eth0"},
	} {
		a, b := netip.MustParseAddr(pair[0]), netip.MustParseAddr(pair[1])
		if before.point(a) != before.point(b) {
			t.Errorf("%s and %s are one client and have two places", a, b)
		}
	}
	if before.of(netip.Addr{}) == nil {
		t.Error("a client without an address has no arm")
	}
}

func TestNamedValues(t *testing.T) {
	for value, want := range map[string]string{
		"plain": "", "{client.ip}/{geo.country}/{request.id}": "", `{"a": {"b": 1}}`: "", "{}": "", "{ client.ip }": "",
		"{client.port}": "no such named value {client.port}", "x{host.name}": "no such named value {host.name}", "a\nb": "a control character in the value",
	} {
		if err := CheckFieldValue(value); fmt.Sprint(err) != want && !(err == nil && want == "") {
			t.Errorf("CheckFieldValue(%q) = %v, want %q", value, err, want)
		}
	}
}

func TestFieldsThatAreOurs(t *testing.T) {
	for name, want := range map[string]bool{
		"Host": true, "connection": true, "Transfer-Encoding": true, "transfer_encoding": true, "X-Forwarded-For": true, "X_Real_IP": true,
		"Content-Length": true, "X-Request-Id": true, "Forwarded": true, "X-Geo-Country": true, "Te": true, "Max-Forwards": true, "Expect": true,
		"X-Client": false, "Authorization": false, "Accept": false, "Cookie": false, "Content-Type": false,
	} {
		if got := RequestFieldIsOurs(name); got != want {
			t.Errorf("RequestFieldIsOurs(%q) = %t", name, got)
		}
	}
	for name, want := range map[string]bool{
		"Connection": true, "content-length": true, "Content-Encoding": true, "Trailer": true, "X-Request-Id": true, "Date": true, "Upgrade": true,
		"Server": false, "X-Frame-Options": false, "Location": false, "Set-Cookie": false, "Content-Type": false, "Via": false,
	} {
		if got := ResponseFieldIsOurs(name); got != want {
			t.Errorf("ResponseFieldIsOurs(%q) = %t", name, got)
		}
	}
}

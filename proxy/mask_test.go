package proxy

import (
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
)

func testOrigin(t testing.TB, urls ...string) *origin {
	t.Helper()
	var all []*url.URL
	for _, s := range urls {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, u)
	}
	return newOrigin(all)
}

func TestRewrite(t *testing.T) {
	o := testOrigin(t, "http://10.0.0.11:8080", "https://app.internal", "http://[2001:db8::5]:81", "http://app:80")
	for _, tc := range []struct{ rule, value, want string }{
		{"a backend with its port", "http://10.0.0.11:8080/a?b=c#d", "https://shop.example.org/a?b=c#d"},
		{"letter case", "HTTP://APP.Internal/a", "https://shop.example.org/a"},
		{"the root", "http://10.0.0.11:8080", "https://shop.example.org"},
		{"a default port that is left out", "https://app.internal/a", "https://shop.example.org/a"},
		{"a default port that is written", "https://app.internal:443/a", "https://shop.example.org/a"},
		{"a host with its last dot", "https://app.internal./a", "https://shop.example.org./a"},
		{"an IPv6 literal", "http://[2001:DB8::5]:81/a", "https://shop.example.org/a"},
		{"without a scheme", "//10.0.0.11:8080/a", "//shop.example.org/a"},
		{"with a user", "http://u:p@10.0.0.11:8080/a", "http://u:p@shop.example.org/a"},
		{"a WebSocket", "ws://10.0.0.11:8080/a", "wss://shop.example.org/a"},
		{"within a query", "/login?next=http://10.0.0.11:8080/a", "/login?next=https://shop.example.org/a"},
		{"within a query, encoded", "/login?next=http%3A%2F%2F10.0.0.11%3A8080%2Fa", "/login?next=https%3A%2F%2Fshop.example.org%2Fa"},
		{"a bare address", "/at/10.0.0.11:8080/x", "/at/shop.example.org/x"},
		{"several", "<http://10.0.0.11:8080/a>, <http://app/b>", "<https://shop.example.org/a>, <https://shop.example.org/b>"},
		{"a longer port is another one", "http://10.0.0.11:80801/", "http://10.0.0.11:80801/"},
		{"another port is another one", "http://10.0.0.11:9090/", "http://10.0.0.11:9090/"},
		{"a longer host is another one", "http://110.0.0.11:8080/", "http://110.0.0.11:8080/"},
		{"a host in front is another one", "http://x.app.internal/", "http://x.app.internal/"},
		{"a host behind is another one", "http://app.internal.example/", "http://app.internal.example/"},
		{"a host with a port that is not a backend's", "http://app.internal:8443/", "http://app.internal:8443/"},
		{"an ordinary word is no host", "/app/app?app=app", "/app/app?app=app"},
		{"a path", "/next", "/next"},
		{"elsewhere", "https://www.example.com/", "https://www.example.com/"},
		{"nothing", "", ""},
	} {
		if got, ok := o.rewrite(tc.value, public{"https", "shop.example.org"}); got != tc.want || !ok {
			t.Errorf("%s: rewrite(%q) = %q, %v, want %q", tc.rule, tc.value, got, ok, tc.want)
		}
	}
	for _, tc := range []struct {
		rule, value, want string
		as                public
	}{
		{"without a public name the URL becomes relative", "http://10.0.0.11:8080/a", "/a", public{"http", ""}},
		{"and never empty", "http://10.0.0.11:8080", "/", public{"http", ""}},
		{"what its removal uncovers goes too", "///10.0.0.11:8080/app/", "/", public{"http", ""}},
		{"a public name with a port, encoded where it stands so", "?u=http%3a%2f%2f10.0.0.11%3a8080", "?u=https%3a%2f%2fx.example%3A8443", public{"https", "x.example:8443"}},
		{"the address that the client itself used", "http://10.0.0.11:8080/a", "http://10.0.0.11:8080/a", public{"http", "10.0.0.11:8080"}},
		{"but no other", "http://app/a", "http://10.0.0.11:8080/a", public{"http", "10.0.0.11:8080"}},
	} {
		if got, ok := o.rewrite(tc.value, tc.as); got != tc.want || !ok {
			t.Errorf("%s: rewrite(%q) = %q, %v, want %q", tc.rule, tc.value, got, ok, tc.want)
		}
	}
}

func TestCookies(t *testing.T) {
	o := testOrigin(t, "http://10.0.0.11:8080", "https://app.internal")
	for _, tc := range []struct{ rule, value, want string }{
		{"an ordinary cookie", "a=b; Path=/; HttpOnly", "a=b; Path=/; HttpOnly"},
		{"a domain that is ours", "a=b; Domain=example.org", "a=b; Domain=example.org"},
		{"a backend's domain", "a=b; Domain=app.internal; Secure", "a=b; Secure"},
		{"in other letters, with dots and spaces", "a=b; Secure ; DOMAIN = .App.Internal. ", "a=b; Secure "},
		{"an address", "a=b;domain=10.0.0.11", "a=b"},
		{"a value that says domain", "domain=app.internal; Path=/", "domain=app.internal; Path=/"},
		{"F5", "BIGipServer~Common~pool=123.456.0000; path=/", ""},
		{"Citrix", "NSC_abc=ffffffff; path=/", ""},
		{"HAProxy", "SERVERID=web-3; path=/", ""},
		{"Apache", "ROUTEID=.node1; path=/", ""},
	} {
		if got, ok := (lens{origin: o}).cookie(tc.value); got != tc.want || ok != (tc.want != "") {
			t.Errorf("%s: cookie(%q) = %q, %v, want %q", tc.rule, tc.value, got, ok, tc.want)
		}
	}
}

func TestMaskCopiesOnlyWhatCanBeSent(t *testing.T) {
	to := http.Header{}
	newMask(nil).copy(to, http.Header{
		"X-Good": {"a", "b\tc", "ü"}, "X-Control": {"a\x00b", "a\rb", "ok"}, "X Space": {"1"}, "": {"1"}, "X-Empty": {""},
	}, lens{origin: testOrigin(t, "http://10.0.0.11:8080")})
	want := http.Header{"X-Good": {"a", "b\tc", "ü"}, "X-Control": {"ok"}, "X-Empty": {""}}
	if !reflect.DeepEqual(to, want) {
		t.Errorf("copied %v, want %v", to, want)
	}
}

// TestShippedListIsCanonical: a name that is not in the spelling of net/http
// would never match.
func TestShippedListIsCanonical(t *testing.T) {
	for name := range answerFates {
		if http.CanonicalHeaderKey(name) != name {
			t.Errorf("answerFates: %q is %q in canonical form", name, http.CanonicalHeaderKey(name))
		}
	}
	for name := range requestFates {
		if http.CanonicalHeaderKey(name) != name {
			t.Errorf("requestFates: %q is %q in canonical form", name, http.CanonicalHeaderKey(name))
		}
	}
	for _, p := range droppedPrefixes {
		if !strings.HasPrefix(http.CanonicalHeaderKey(p+"x"), p) {
			t.Errorf("prefix %q is not in canonical form", p)
		}
	}
}

// FuzzMask: whatever a backend says, no address of a backend is left in the
// fields that may hold one, unless the client itself came by it.
func FuzzMask(f *testing.F) {
	for _, s := range []string{
		"http://10.0.0.11:8080/a", "//app/", "http%3A%2F%2F10.0.0.11%3A8080%2Fa", "a=b; Domain=app.internal", "///10.0.0.11:8080/app/",
		"http://10.0.0.11:810.0.0.11:8080080/", "//ap//app/p/", "<http://[2001:db8::5]:81/>; rel=next", "//app.internal.", "http://u@app:/",
	} {
		f.Add(s, "shop.example.org")
		f.Add(s, "")
	}
	backends := []string{"http://10.0.0.11:8080", "https://app.internal", "http://[2001:db8::5]:81", "http://app"}
	o := testOrigin(f, backends...)
	m := newMask(nil)
	f.Fuzz(func(t *testing.T, value, authority string) {
		if authority != "" && !validAuthority(authority) {
			return
		}
		from := http.Header{"Set-Cookie": {value}, "Server": {value}, "Via": {value}}
		fields := []string{"Location", "Content-Location", "Link", "Refresh"}
		for _, name := range fields {
			from[name] = []string{value}
		}
		to := http.Header{}
		m.copy(to, from, lens{origin: o, as: public{"https", authority}})
		if to["Server"] != nil || to["Via"] != nil {
			t.Errorf("%v passes", to)
		}
		for _, name := range fields {
			for _, got := range to[name] {
				if hit := survivor(got, authority); hit != "" {
					t.Errorf("%s: %q becomes %q, which holds %s", name, value, got, hit)
				}
			}
		}
		for _, got := range to["Set-Cookie"] {
			if _, attributes, _ := strings.Cut(got, ";"); attributes != "" {
				for a := range strings.SplitSeq(strings.ToLower(attributes), ";") {
					key, domain, _ := strings.Cut(a, "=")
					if strings.Trim(key, " \t") != "domain" {
						continue
					}
					switch strings.Trim(domain, " \t\".") {
					case "10.0.0.11", "app.internal", "app":
						t.Errorf("cookie %q becomes %q", value, got)
					}
				}
			}
		}
	})
}

// survivor looks for addresses in another way than the mask does: it splits
// the text at everything that cannot be part of an authority.
func survivor(value, authority string) string {
	lower := strings.ToLower(value)
	for {
		plain := strings.NewReplacer("%3a", ":", "%2f", "/", "%40", "@").Replace(lower)
		if plain == lower {
			break
		}
		lower = plain
	}
	for _, token := range strings.FieldsFunc(lower, func(r rune) bool {
		return r < 0x80 && !isHostByte(byte(r)) && r != ':'
	}) {
		for _, backend := range []string{"10.0.0.11:8080", "app.internal:443", "app:80"} {
			if token == backend && !strings.EqualFold(authority, backend) {
				return backend
			}
		}
	}
	return ""
}

package proxy

import (
	"bytes"
	"encoding/base64"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/internal/gate"
)

func testSticky(t testing.TB, pool, secret string) *sticky {
	t.Helper()
	s, err := newSticky(PoolConfig{Name: pool, Sticky: StickyConfig{Cookie: "sp", For: time.Hour}}, []byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestSealed opens what was sealed for the same pool with the same secret, for
// as long as it lasts, and nothing else.
func TestSealed(t *testing.T) {
	now := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	const secret = "a secret that is long enough for it"
	s := testSticky(t, "app", secret)
	m := markOf("app-1")
	value := s.seal(m, now)
	raw, err := base64.RawURLEncoding.DecodeString(value)
	if err != nil {
		t.Fatal(err)
	}
	flip := func(i int) string {
		other := bytes.Clone(raw)
		other[i] ^= 1
		return base64.RawURLEncoding.EncodeToString(other)
	}
	for _, tc := range []struct {
		rule  string
		by    *sticky
		value string
		after time.Duration
		good  bool
	}{
		{"at once", s, value, 0, true},
		{"just before its end", s, value, time.Hour - time.Second, true},
		{"at its end", s, value, time.Hour, false},
		{"another gateway with the same secret", testSticky(t, "app", secret), value, 0, true},
		{"another secret", testSticky(t, "app", "another secret that is long enough"), value, 0, false},
		{"another pool", testSticky(t, "api", secret), value, 0, false},
		{"no secret", testSticky(t, "app", ""), value, 0, false},
		{"another nonce", s, flip(0), 0, false},
		{"another text", s, flip(30), 0, false},
		{"another seal", s, flip(len(raw) - 1), 0, false},
		{"cut", s, value[:len(value)-1], 0, false},
		{"more behind it", s, value + "A", 0, false},
		{"bits that nothing reads", s, value[:len(value)-1] + string(value[len(value)-1]+1), 0, false},
		{"nothing", s, "", 0, false},
		{"no base64", s, strings.Repeat("%", len(value)), 0, false},
	} {
		got, ends, ok := tc.by.open(tc.value, now.Add(tc.after))
		if ok != tc.good || ok && (got != m || !ends.Equal(now.Add(time.Hour))) {
			t.Errorf("%s: opened %t %x until %v, want %t", tc.rule, ok, got, ends, tc.good)
		}
	}
}

// TestSealedTellsNothing about the pool behind it: whatever the backend and
// however often, values have one length, and none comes twice.
func TestSealedTellsNothing(t *testing.T) {
	s := testSticky(t, "app", "a secret that is long enough for it")
	now := time.Now()
	seen := map[string]bool{}
	length := len(s.seal(markOf("a"), now))
	for range 500 {
		for _, name := range []string{"a", "a-backend-with-a-very-long-name-indeed", ""} {
			v := s.seal(markOf(name), now)
			if len(v) != length {
				t.Fatalf("%q has %d characters, that of another backend %d", v, len(v), length)
			}
			if seen[v[:16]] {
				t.Fatalf("%q begins as another one does", v)
			}
			seen[v[:16]] = true
		}
	}
	for _, secure := range []bool{true, false} {
		got := s.cookie(markOf("a"), now, secure)
		if !strings.HasPrefix(got, "sp=") || !strings.Contains(got, "; Path=/; HttpOnly; SameSite=Lax") || strings.HasSuffix(got, "; Secure") != secure {
			t.Errorf("cookie %q", got)
		}
	}
}

func TestWithoutCookies(t *testing.T) {
	for _, tc := range []struct{ rule, cookies, want string }{
		{"none of ours", "a=1; b=2", "a=1; b=2"},
		{"the only one", "sp=x", ""},
		{"the first", "sp=x; a=1", "a=1"},
		{"the last", "a=1; sp=x", "a=1"},
		{"in the middle", "a=1; sp=x; b=2", "a=1; b=2"},
		{"twice", "sp=x; a=1; sp=y", "a=1"},
		{"without spaces", "a=1;sp=x;b=2", "a=1;b=2"},
		{"another of ours", "other=1; a=1", "a=1"},
		{"without a value", "sp; a=1", "a=1"},
		{"with spaces around", "a=1; sp = x ; b=2", "a=1; b=2"},
		{"a name that contains it", "asp=1; spa=2; SP=3", "asp=1; spa=2; SP=3"},
		{"a value that contains it", `a="sp=1"; b=sp=2`, `a="sp=1"; b=sp=2`},
		{"what stays is not touched", "  a=1;;  b=2  ;", "  a=1;;  b=2  ;"},
	} {
		fields := []gate.Field{{Name: "Host", Value: "h"}, {Name: "cookie", Value: tc.cookies}, {Name: "Accept", Value: "sp=1"}}
		before := slices.Clone(fields)
		got := withoutCookies(fields, func(name, _ string) bool { return name == "sp" || name == "other" })
		want := []gate.Field{fields[0], {Name: "cookie", Value: tc.want}, fields[2]}
		if tc.want == "" {
			want = []gate.Field{fields[0], fields[2]}
		}
		if !reflect.DeepEqual(got, want) || !reflect.DeepEqual(fields, before) {
			t.Errorf("%s: %q becomes %v, want %v", tc.rule, tc.cookies, got, want)
		}
	}
}

// TestWhoKeepsItsCookie: a cookie is given anew when it leads elsewhere, or has
// grown old.
func TestWhoKeepsItsCookie(t *testing.T) {
	for _, tc := range []struct {
		rule  string
		set   func(v *visit, own, other *backend) *backend // returns who has answered
		keeps bool
	}{
		{"no cookie", func(v *visit, own, _ *backend) *backend { v.ask.own = nil; return own }, false},
		{"its own", func(_ *visit, own, _ *backend) *backend { return own }, true},
		{"its own, past the middle", func(v *visit, own, _ *backend) *backend { v.renew = true; return own }, false},
		{"its own, which is draining, past the middle", func(v *visit, own, _ *backend) *backend { v.renew, own.draining = true, true; return own }, true},
		{"another one, since its own was full", func(_ *visit, _, other *backend) *backend { return other }, true},
		{"another one, since its own is down", func(_ *visit, own, other *backend) *backend { own.down = true; return other }, false},
		{"another one, since its own has failed", func(v *visit, own, other *backend) *backend { v.ask.tried = []*backend{own}; return other }, false},
	} {
		p := testPool(t, nil, 1, 1)
		own, other := p.backends[0], p.backends[1]
		v := &visit{ask: ask{own: own}}
		answered := tc.set(v, own, other)
		if got := v.keeps(answered); got != tc.keeps {
			t.Errorf("%s: keeps = %t, want %t", tc.rule, got, tc.keeps)
		}
	}
}

// FuzzWithoutCookies: what is left holds none of the cookies, and all others as
// they were.
func FuzzWithoutCookies(f *testing.F) {
	for _, seed := range []string{"", "sp=x", "a=1; sp=x; b=2", "sp=x;sp=y", "a=1;;\tsp\t=\tx;", "=;sp", "a=sp=1; \x00sp=2"} {
		f.Add(seed)
	}
	drop := func(name, _ string) bool { return name == "sp" }
	pairs := func(s string) (ours, others []string) {
		for p := range strings.SplitSeq(s, ";") {
			p = strings.Trim(p, " \t")
			name, _, _ := strings.Cut(p, "=")
			switch {
			case strings.TrimRight(name, " \t") == "sp":
				ours = append(ours, p)
			case p != "":
				others = append(others, p)
			}
		}
		return ours, others
	}
	f.Fuzz(func(t *testing.T, cookies string) {
		ours, others := pairs(cookies)
		rest, dropped := withoutPairs(cookies, drop)
		left, kept := pairs(rest)
		if len(left) > 0 || dropped != (len(ours) > 0) || !slices.Equal(kept, others) || !dropped && rest != cookies {
			t.Errorf("%q becomes %q", cookies, rest)
		}
	})
}

package strict

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// TestBadValueByte holds the eight-at-once search against the plain one.
func TestBadValueByte(t *testing.T) {
	t.Parallel()
	plain := func(b []byte) int {
		for i, c := range b {
			if c < 0x20 && c != '\t' || c == 0x7f {
				return i
			}
		}
		return -1
	}
	for c := range 256 {
		for n := range 20 {
			for at := range n {
				b := []byte(strings.Repeat("a", n))
				b[at] = byte(c)
				if got, want := badValueByte(b), plain(b); got != want {
					t.Fatalf("badValueByte(%q) = %d, want %d", b, got, want)
				}
			}
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		b := make([]byte, r.IntN(40))
		for i := range b {
			// The edges of what is allowed, next to each other.
			b[i] = []byte{0x09, 0x1f, 0x20, 0x21, 0x7e, 0x7f, 0x80, 0xa0, 0xff, 0x00, 0x20, 0x80}[r.IntN(12)]
		}
		if got, want := badValueByte(b), plain(b); got != want {
			t.Fatalf("badValueByte(%q) = %d, want %d", b, got, want)
		}
	}
}

func TestKindOf(t *testing.T) {
	t.Parallel()
	names := map[string]kind{
		"Host": kindHost, "Content-Length": kindLength, "Transfer-Encoding": kindCoding, "Connection": kindConnection, "Upgrade": kindUpgrade,
		"Expect": kindExpect, "Trailer": kindTrailer, "Sec-WebSocket-Key": kindSocketKey, "Sec-WebSocket-Version": kindSocketVersion,
	}
	for name, want := range names {
		for _, s := range []string{name, strings.ToLower(name), strings.ToUpper(name)} {
			if got := kindOf(s); got != want {
				t.Errorf("kindOf(%q) = %d, want %d", s, got, want)
			}
			for i := range s {
				if near := s[:i] + "x" + s[i+1:]; kindOf(near) != kindOther && !strings.EqualFold(near, name) {
					t.Errorf("kindOf(%q) = %d, want none", near, kindOf(near))
				}
			}
		}
	}
	if kindOf("Sec-Web\u212aocket-Key") != kindOther || kindOf("") != kindOther {
		t.Error("a name of other letters is taken for a known one")
	}
}

func TestSameHost(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		rule, a, b, scheme string
		want               bool
	}{
		{"letter case", "a.EXAMPLE", "A.example", "http", true},
		{"the default port of http", "a:80", "a", "http", true},
		{"the default port of https", "a", "a:443", "https", true},
		{"the default port of the other scheme", "a", "a:443", "http", false},
		{"an empty port", "a:", "a:80", "http", true},
		{"another port", "a:8080", "a", "http", false},
		{"an address that ends like a port", "[::80]", "[:]", "http", false},
		{"an address with the default port", "[::1]:80", "[::1]", "http", true},
		{"another host", "a", "b", "http", false},
	} {
		if got := sameHost(tc.a, tc.b, tc.scheme); got != tc.want {
			t.Errorf("%s: sameHost(%q, %q, %q) = %v, want %v", tc.rule, tc.a, tc.b, tc.scheme, got, tc.want)
		}
	}
}

// TestCanonicalBytes shows what net/http is given.
func TestCanonicalBytes(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ rule, raw, want string }{
		{"white space around values is gone, names and order are kept", "\r\nGET / HTTP/1.1\r\nhOST:\ta \r\nX:\r\n\r\n", "GET / HTTP/1.1\r\nhOST: a\r\nX: \r\n\r\n"},
		{"an absolute target becomes a path", "GET HTTP://a:80/x?y HTTP/1.1\r\nHost: A\r\n\r\n", "GET /x?y HTTP/1.1\r\nHost: A\r\n\r\n"},
		{"so does one of https, whose default port does not count", "GET https://a/x HTTP/1.1\r\nHost: a:443\r\n\r\n", "GET /x HTTP/1.1\r\nHost: a:443\r\n\r\n"},
		{"HTTP/1.0 gets the host of the target", "GET http://a/ HTTP/1.0\r\nX: y\r\n\r\n", "GET / HTTP/1.0\r\nX: y\r\nHost: a\r\n\r\n"},
		{"framing is spelled in one way", "POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding:  CHUNKED\r\n\r\n", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"},
		{"a length is spelled in one way", "POST / HTTP/1.1\r\nHost: a\r\ncontent-length:5\r\n\r\n", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"},
		{"trailers are not announced", "POST / HTTP/1.1\r\nHost: a\r\nTrailer: X\r\nContent-Length: 0\r\n\r\n", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"},
		{"an expectation is spelled in one way", "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-CONTINUE\r\n\r\n", "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n"},
	} {
		h, n, err := ParseHead([]byte(tc.raw), Limits{})
		if err != nil || n != len(tc.raw) || h.Rejection != nil {
			t.Errorf("%s: ParseHead = %+v, %d, %v", tc.rule, h, n, err)
			continue
		}
		if got := string(appendHead(nil, h, h.Target)); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.rule, got, tc.want)
		}
	}
}

// TestLimitsAreNeverUnbounded shows what is left out.
func TestLimitsAreNeverUnbounded(t *testing.T) {
	t.Parallel()
	l := Limits{}.orDefault()
	if l.MaxTarget <= 0 || l.MaxHeader <= 0 || l.MaxFields <= 0 || l.HeaderTimeout <= 0 || l.IdleTimeout <= 0 || l.WriteGrace <= 0 {
		t.Errorf("Limits{}.orDefault() = %+v", l)
	}
	if l := (Limits{MaxTarget: 10, MaxHeader: 20, MaxFields: 3}).orDefault(); l.MaxTarget != 10 || l.MaxHeader != 20 || l.MaxFields != 3 {
		t.Errorf("given limits are changed: %+v", l)
	}
}

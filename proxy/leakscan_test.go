package proxy

import (
	"bytes"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"
)

const tokenStandIn = "<gone>"

func testLeakSet(t testing.TB, urls ...string) *leakSet {
	t.Helper()
	var all []*url.URL
	for _, s := range urls {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		if path, ok := strings.CutPrefix(s, "unix:"); ok { // as the configuration reads it
			u = &url.URL{Scheme: "unix", Opaque: path}
		}
		all = append(all, u)
	}
	return newLeakSet(all)
}

// scanned runs pieces through a scanner and returns what came out, and the
// most that was held between two of them.
func scanned(set *leakSet, pieces ...[]byte) (string, int) {
	s := leakScanner{set: set, edit: func(leakToken) (string, bool) { return tokenStandIn, true }}
	var out []byte
	held := 0
	for _, p := range pieces {
		out = s.feed(out, p, false)
		held = max(held, len(s.held))
	}
	return string(s.feed(out, nil, true)), held
}

func TestLeaksAreFoundAtBorders(t *testing.T) {
	set := testLeakSet(t, "http://10.0.0.11:8080", "https://app.internal:443", "http://[2001:db8::5]:81", "http://web:3000", "unix:/run/app.sock")
	for _, tc := range []struct{ rule, text, want string }{
		{"an address", "at 10.0.0.11.", "at <gone>."},
		{"an address with its port, as one", "at 10.0.0.11:8080!", "at <gone>!"},
		{"an address with another port", "at 10.0.0.11:9090", "at <gone>:9090"},
		{"behind a dash", "node-10.0.0.11:8080 node_10.0.0.11", "node-<gone> node_<gone>"},
		{"a longer port is another one", "at 10.0.0.11:80801", "at <gone>:80801"},
		{"encoded", "u=http%3A%2F%2F10.0.0.11%3A8080%2F", "u=http%3A%2F%2F<gone>%2F"},
		{"a name", "by app.internal", "by <gone>"},
		{"a name in other letters", "by App.INTERNAL:443", "by <gone>"},
		{"a name with its last dot", "by app.internal. ", "by <gone>. "},
		{"a cookie's domain", "Domain=.app.internal; x", "Domain=.<gone>; x"},
		{"IPv6", "[2001:db8::5]:81 2001:DB8::5 [2001:db8::5]", "<gone> <gone> [<gone>]"},
		{"IPv6 written out", "2001:0db8:0000:0000:0000:0000:0000:0005", "<gone>"},
		{"IPv6 with a port and no brackets", "2001:db8::5:81", "<gone>"},
		{"IPv6 at the end of a clause", "2001:db8::5: refused", "<gone>: refused"},
		{"one IPv6 address after the other", "2001:db8::5.2001:db8::5:2001:db8::5", "<gone>.<gone>:<gone>"},
		{"a socket", "open unix:/run/app.sock: no", "open <gone>: no"},
		{"after an escape of JSON", `{"a":"x\n10.0.0.11"}`, `{"a":"x\n<gone>"}`},
		{"after an escape of JavaScript", `\u002f10.0.0.11`, `\u002f<gone>`},
		{"one after the other", "10.0.0.11,10.0.0.11", "<gone>,<gone>"},
		{"alone", "10.0.0.11", "<gone>"},
		{"a longer address", "110.0.0.11 10.0.0.110 10.0.0.11.5 1.10.0.0.11", "110.0.0.11 10.0.0.110 10.0.0.11.5 1.10.0.0.11"},
		{"a longer name", "my-app.internal x.app.internal app.internals app.internal.example app.internal-2", "my-app.internal x.app.internal app.internals app.internal.example app.internal-2"},
		{"a longer IPv6", "2001:db8::51 2001:db8::5:1", "2001:db8::51 2001:db8::5:1"},
		{"a word", "web web:3000 app internal", "web web:3000 app internal"},
		{"nothing", "", ""},
	} {
		if got, _ := scanned(set, []byte(tc.text)); got != tc.want {
			t.Errorf("%s: %q became %q, want %q", tc.rule, tc.text, got, tc.want)
		}
		var bytewise [][]byte
		for i := range len(tc.text) {
			bytewise = append(bytewise, []byte(tc.text[i:i+1]))
		}
		got, held := scanned(set, bytewise...)
		if got != tc.want {
			t.Errorf("%s: byte by byte %q became %q, want %q", tc.rule, tc.text, got, tc.want)
		}
		if held > set.longest+2 {
			t.Errorf("%s: %d bytes were held, want at most %d", tc.rule, held, set.longest+2)
		}
	}
}

func TestAWholeEventIsNotHeld(t *testing.T) {
	set := testLeakSet(t, "http://10.0.0.11:8080", "http://app.internal:80")
	s := leakScanner{set: set, edit: func(leakToken) (string, bool) { return "", true }}
	for _, event := range []string{"data: 1\n\n", "data: at 10.0.0.11\n\n", "data: app\n\n", ": 10.0.0.1\r\n\r\n"} {
		if s.feed(nil, []byte(event), false); len(s.held) > 0 {
			t.Errorf("%q of the event %q is held", s.held, event)
		}
	}
}

// survivors are the tokens that a text still holds, by a search that knows
// nothing of the automaton: every place is tried with every token.
func survivors(set *leakSet, text string) []string {
	var all []string
	lower := asciiLower(text)
	for _, token := range set.tokens {
		for at := 0; ; at++ {
			i := strings.Index(lower[at:], token.text)
			if i < 0 {
				break
			}
			at += i
			before := []byte(text[max(0, at-leakBefore):at])
			if yes, _ := set.bordered(token, before, []byte(text[at+len(token.text):]), true); yes {
				all = append(all, token.text)
			}
		}
	}
	return all
}

// FuzzLeakScanner: no token survives, whatever stands around it and wherever
// the pieces end; what is no token stays as it was.
func FuzzLeakScanner(f *testing.F) {
	for _, s := range []string{
		"http://10.0.0.11:8080/ and app.internal", "10.0.0.1110.0.0.11", "[2001:db8::5]:81:2001:db8::5", "app.internal.app.internal",
		"10.0.0.11:10.0.0.11:8080", "%3a10.0.0.11%3a80", "unix:/run/app.sock10.0.0.11", "::5:81", "\\u00e410.0.0.11", "10.0.0.1.10.0.0.11", " 2001:db8::5.2001:db8::5", "2001:db8::5:2001:db8::5",
	} {
		for set := range uint64(5) {
			f.Add(s, 5*uint64(len(s))+set)
		}
	}
	sets := []*leakSet{ // no byte in all of their tokens, then one that lies ever farther from where they begin
		testLeakSet(f, "http://10.0.0.11:8080", "http://10.0.0.1:80", "https://app.internal:443", "http://[2001:db8::5]:81", "unix:/run/app.sock"),
		testLeakSet(f, "http://10.0.0.11:8080", "http://10.0.0.1:80"),
		testLeakSet(f, "http://10.0.0.11:8080", "https://app.internal:443"),
		testLeakSet(f, "unix:/run/app.sock"),
		testLeakSet(f, "https://application.internal:443"),
	}
	f.Fuzz(func(t *testing.T, text string, seed uint64) {
		set := sets[seed%uint64(len(sets))]
		whole, _ := scanned(set, []byte(text))
		random := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // it cuts test data
		var pieces [][]byte
		for rest := []byte(text); len(rest) > 0; {
			n := 1 + random.IntN(min(len(rest), 40))
			pieces = append(pieces, rest[:n])
			rest = rest[n:]
		}
		cut, held := scanned(set, pieces...)
		if cut != whole {
			t.Fatalf("%q in pieces %q became %q, as a whole %q", text, pieces, cut, whole)
		}
		if held > 2*set.longest+2 {
			t.Fatalf("%d bytes were held", held)
		}
		if left := survivors(set, whole); len(left) > 0 {
			t.Fatalf("%q became %q, which still holds %q", text, whole, left)
		}
		if len(survivors(set, text)) == 0 && whole != text {
			t.Fatalf("%q holds no token and became %q", text, whole)
		}
	})
}

// The byte that a text is passed over by.
func TestRarest(t *testing.T) {
	for _, tc := range []struct {
		rule     string
		backends []string
		want     rareByte
	}{
		{"a digit that is in the address", []string{"http://127.0.0.1:8080"}, rareByte{'7', 2}},
		{"of two addresses one that is in both", []string{"http://10.0.0.11:8080", "http://10.0.0.1:80"}, rareByte{'1', 0}},
		{"a name has a dot, or it would be a word", []string{"https://app.internal:443"}, rareByte{'.', 3}},
		{"an address and a name", []string{"http://10.0.0.11:8080", "https://app.internal:443"}, rareByte{'.', 3}},
		{"nothing in common", []string{"https://app.internal:443", "http://[2001:db8::5]:81"}, rareByte{}},
		{"nothing to find", []string{"http://web:80"}, rareByte{}},
	} {
		got := testLeakSet(t, tc.backends...).rare
		if got.c != tc.want.c || got.c != 0 && got.reach != tc.want.reach {
			t.Errorf("%s: %q within %d bytes, want %q within %d", tc.rule, got.c, got.reach, tc.want.c, tc.want.reach)
		}
	}
}

func BenchmarkLeakScanner(b *testing.B) {
	set := testLeakSet(b, "http://10.0.0.11:8080", "https://app-1.shop.internal:443", "https://app-2.shop.internal:443")
	page := bytes.Repeat([]byte("<p>Lorem ipsum dolor sit amet, 1 234,00 &euro; and a map of the world.</p>\n"), 220)[:16<<10]
	s := leakScanner{set: set, edit: func(leakToken) (string, bool) { return "", false }}
	var out []byte
	b.SetBytes(int64(len(page)))
	for b.Loop() {
		out = s.feed(out[:0], page, false)
	}
}

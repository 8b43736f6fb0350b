package injection_test

import (
	"strings"
	"testing"

	"github.com/corazawaf/libinjection-go"

	"sallyport/waf/injection"
)

var kinds = []struct{ name, value string }{
	{"word", "dashboard"},
	{"number", "1234567"},
	{"name", "Anna-Maria Schmidt"},
	{"flag", "true"},
	{"keyword", "select"},
	{"sentence", "The quick brown fox jumps over the lazy dog and runs away."},
	{"prose", strings.Repeat("It is a truth universally acknowledged, that a single man in possession of a good fortune must be in want of a wife. ", 10)},
	{"apostrophe", "I don't think it's what you're looking for, isn't it?"},
	{"quoted prose", strings.Repeat(`"We'll see," said she; "he isn't here, and that's that." `, 20)},
	{"utf8", "Über den Wölken muß die Freiheit wohl grenzenlos sein"},
	{"chinese", strings.Repeat("世界人权宣言，人人生而自由，在尊严和权利上一律平等。", 4)},
	{"email", "anna.schmidt@example.com"},
	{"url", "https://www.example.com/shop/items/view?id=1234&lang=en&page=2#top"},
	{"uuid", "550e8400-e29b-41d4-a716-446655440000"},
	{"base64", strings.Repeat("QmFzZTY0IGVuY29kZWQgdGV4dCBmb3IgYmVuY2htYXJrcw", 8) + "=="},
	{"jwt", "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIiwiaWF0IjoxNTE2MjM5MDIyfQ.SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c"},
	{"date", "2024-06-01T12:34:56Z"},
	{"user agent", "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"},
	{"accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"},
	{"cookie", "_ga=GA1.2.1234567890.1718000000; _gid=GA1.2.987654321; session=abcdef0123456789; theme=dark"},
	{"json", `{"id":1234,"name":"Anna","tags":["a","b"],"price":9.99,"active":true}`},
	{"long json", `[` + strings.Repeat(`{"id":1234,"name":"Anna","note":"a \"b\" c","price":9.99},`, 20) + `{}]`},
	{"search", "cheap flights to new york from london"},
	{"price", "$1,299.00"},
	{"list", strings.Repeat("1234,5678,", 40) + "1"},
	{"html", `<p class="intro">Hello <b>world</b>, see <a title="x" rel="nofollow">this</a></p>`},
	{"long html", strings.Repeat(`<div id="a" class="b c"><p>Some text, and <em>more</em> of it.</p></div>`, 20)},
	{"formula", "a = b + c * (d - e) / 2"},
	{"sqli", "1' OR '1'='1' UNION SELECT username, password FROM users --"},
	{"xss", `"><script>alert(document.cookie)</script>`},
	{"xss attribute", `" onmouseover="alert(1)`},
}

func bench(b *testing.B, ours, library func(string) bool) {
	for _, k := range kinds {
		for _, f := range []struct {
			name string
			call func(string) bool
		}{{"ours", ours}, {"library", library}} {
			b.Run(k.name+"/"+f.name, func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(len(k.value)))
				for b.Loop() {
					f.call(k.value)
				}
			})
		}
	}
}

func BenchmarkSQLi(b *testing.B) {
	bench(b, injection.SQLi, func(value string) bool {
		found, _ := libinjection.IsSQLi(value)
		return found
	})
}

func BenchmarkXSS(b *testing.B) { bench(b, injection.XSS, libinjection.IsXSS) }

// TestAllocations demands that nothing is allocated for values without an
// attack, and nothing for attacks either.
func TestAllocations(t *testing.T) {
	for _, k := range kinds {
		if n := testing.AllocsPerRun(100, func() {
			injection.SQLi(k.value)
			injection.XSS(k.value)
		}); n != 0 {
			t.Errorf("%s: %g allocations", k.name, n)
		}
	}
}

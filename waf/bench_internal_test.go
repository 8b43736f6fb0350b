package waf

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	corazahttp "github.com/corazawaf/coraza/v3/http"

	"sallyport/internal/gate"
	"sallyport/internal/traffic"
	"sallyport/waf/coding"
)

// benchCalls are the requests that are measured.
func benchCalls() map[string]call {
	tiny := call{method: "GET", target: "/", fields: browser()}
	full := call{method: "GET", target: "/shop/list?page=2&sort=price&dir=asc&q=red+shoes&lang=en", fields: []gate.Field{
		{Name: "Host", Value: "shop.example.org"}, {Name: "Connection", Value: "keep-alive"}, {Name: "Cache-Control", Value: "max-age=0"},
		{Name: "Sec-Ch-Ua", Value: `"Chromium";v="126", "Not.A/Brand";v="24"`}, {Name: "Sec-Ch-Ua-Mobile", Value: "?0"}, {Name: "Sec-Ch-Ua-Platform", Value: `"Linux"`},
		{Name: "Upgrade-Insecure-Requests", Value: "1"}, {Name: "User-Agent", Value: "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"},
		{Name: "Accept", Value: "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"}, {Name: "Sec-Fetch-Site", Value: "same-origin"},
		{Name: "Sec-Fetch-Mode", Value: "navigate"}, {Name: "Sec-Fetch-User", Value: "?1"}, {Name: "Sec-Fetch-Dest", Value: "document"}, {Name: "Referer", Value: "https://shop.example.org/shop/"},
		{Name: "Accept-Encoding", Value: "gzip, deflate, br"}, {Name: "Accept-Language", Value: "en-GB,en;q=0.9"},
		{Name: "Cookie", Value: "sid=5f2b9c1a77; theme=dark; cart=3; _ga=GA1.2.3.4; consent=yes; lang=en"}}}
	var form, items []string
	for i := range 10 {
		form = append(form, fmt.Sprintf("field%d=some+value+number+%d", i, i))
		items = append(items, fmt.Sprintf(`{"id":%d,"name":"item number %d","price":%d.50,"stock":%d,"tags":["red","sale"]}`, i, i, i, i*3))
	}
	return map[string]call{
		"tiny": tiny, "browser": full, "form": post(formType, strings.Join(form, "&")),
		"json1k": post("application/json", `{"items":[`+strings.Join(items, ",")+`]}`),
	}
}

// BenchmarkTransaction measures phases 1, 2 and 5 of a harmless request: the
// adapter alone (the engine has no rules), with the Core Rule Set, and the
// engine's own middleware with the same rules beside both.
func BenchmarkTransaction(b *testing.B) {
	bare := miniature(b, gate.Enforce, `SecMarker "NOTHING"
SecAction "id:1,phase:5,pass,nolog"`)
	// The middleware reads JSON only where a rule says so, and nobody but a rule
	// tells it that the Core Rule Set was set up.
	setUp := func(p *Policy) {
		p.RulesBefore = []string{writeFile(b, filepath.Join(b.TempDir(), "before.conf"), `SecAction "id:2,phase:1,pass,nolog,setvar:tx.crs_setup_version=4250"`)}
	}
	crs := engineWith(b, setUp, `SecRule REQUEST_HEADERS:Content-Type "@beginsWith application/json" "id:1,phase:1,pass,nolog,ctl:requestBodyProcessor=JSON"`)
	for _, name := range []string{"tiny", "browser", "form", "json1k"} {
		c := benchCalls()[name]
		for _, variant := range []struct {
			name   string
			engine *Engine
		}{{"bare", bare}, {"crs", crs}} {
			b.Run(name+"/"+variant.name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					req := c.request()
					t := variant.engine.Begin(req)
					if v := t.Request(); v.Action != gate.Pass {
						b.Fatal(v)
					}
					io.Copy(io.Discard, req.HTTP.Body)
					t.Close()
				}
			})
			b.Run(name+"/"+variant.name+"-stock", func(b *testing.B) {
				h := corazahttp.WrapHandler(variant.engine.policies["default"].rules.waf, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) }))
				b.ReportAllocs()
				for b.Loop() {
					r := httptest.NewRequest(c.method, c.target, strings.NewReader(c.body))
					for _, f := range c.fields {
						r.Header.Add(f.Name, f.Value)
					}
					w := httptest.NewRecorder()
					if h.ServeHTTP(w, r); w.Code != http.StatusOK {
						b.Fatal(w.Code)
					}
				}
			})
		}
	}
}

// BenchmarkReadHead measures how long it takes to read a head into facts.
func BenchmarkReadHead(b *testing.B) {
	e := sharedEngine(b)
	for _, name := range []string{"tiny", "browser"} {
		b.Run(name, func(b *testing.B) {
			req := benchCalls()[name].request()
			b.ReportAllocs()
			for b.Loop() {
				t := Transaction{engine: e, policy: e.policies["default"], req: req}
				t.readHead()
				t.dropFacts()
			}
		})
	}
}

// BenchmarkReadBody measures how long it takes to read the head and a body that
// is held into facts, for the mixes that have one.
func BenchmarkReadBody(b *testing.B) {
	e := sharedEngine(b)
	for _, mix := range []string{traffic.Form, traffic.JSON1K, traffic.JSONFields, traffic.JSONText, traffic.Hostile} {
		b.Run(mix, func(b *testing.B) {
			generator := traffic.New(mix, traffic.Fresh, 1)
			var asked []*gate.Request
			var bodies [][]byte
			for i := range 16 {
				r := generator.Request(i)
				asked, bodies = append(asked, received(&r)), append(bodies, r.Body)
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				t := Transaction{engine: e, policy: e.policies["default"], req: asked[i%len(asked)]}
				t.readHead()
				if t.kind != kindMultipart {
					t.parse(view(bodies[i%len(bodies)]), false)
				}
				t.dropFacts()
			}
		})
	}
}

// BenchmarkUpload measures a file that streams through, in bytes per second.
func BenchmarkUpload(b *testing.B) {
	e := miniature(b, gate.Enforce, `SecAction "id:1,phase:2,pass,nolog"`)
	const size = 16 << 20
	b.SetBytes(size)
	b.ReportAllocs()
	for b.Loop() {
		c := call{method: "POST", target: "/", fields: browser("Content-Type", "multipart/form-data; boundary=b0undary"),
			source: &generated{head: strings.TrimSuffix(file("f", "film.mp4", ""), "\r\n"), size: size, tail: "\r\n" + last}}
		req, t, v := begin(e, c)
		if n, err := io.Copy(io.Discard, req.HTTP.Body); err != nil || n < size || !v.Passed() {
			b.Fatal(n, err, v)
		}
		t.Close()
	}
}

// BenchmarkDecoding measures the adapter alone with a form of 64 KiB that comes
// as it is and in each coding, and with a file of 1 MiB that streams.
func BenchmarkDecoding(b *testing.B) {
	bare := miniature(b, gate.Enforce, `SecMarker "NOTHING"
SecAction "id:1,phase:5,pass,nolog"`)
	words := strings.Repeat("the quick brown fox jumps over the lazy dog ", 400)
	for name, c := range map[string]call{
		"form": post(formType, "a="+strings.ReplaceAll(words+noisyText(48<<10), " ", "+")), "file": multi(file("f", "a.txt", noisyText(1<<20)) + last),
	} {
		for _, as := range append([]coding.Coding{"identity"}, coding.All...) {
			coded := c
			if as != "identity" {
				coded = c.in(b, as)
			}
			b.Run(name+"/"+string(as), func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(len(c.body)))
				for b.Loop() {
					req := coded.request()
					t := bare.Begin(req)
					if v := t.Request(); v.Action != gate.Pass {
						b.Fatal(v)
					}
					if _, err := io.Copy(io.Discard, req.HTTP.Body); err != nil {
						b.Fatal(err)
					}
					t.Close()
				}
			})
		}
	}
}

// noisyText compresses to some three quarters.
func noisyText(n int) string { return base64.StdEncoding.EncodeToString([]byte(noise(n)))[:n] }

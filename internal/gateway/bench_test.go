package gateway_test

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	coreruleset "github.com/corazawaf/coraza-coreruleset/v4"
	"github.com/corazawaf/coraza/v3"
	corazahttp "github.com/corazawaf/coraza/v3/http"
	"go.uber.org/zap"

	"sallyport/internal/config"
	"sallyport/internal/gate"
	"sallyport/internal/gateway"
	"sallyport/internal/server"
	"sallyport/internal/testkit"
)

// BenchmarkPipeline sends requests through the whole gateway over loopback,
// with no rules and with the Core Rule Set, beside the stock alternatives:
// ReverseProxy, bare and behind Coraza's middleware with the same rules.
// "direct" asks the backend without a proxy: it is what the client, the
// backend and the kernel cost in every other figure. Client and backend do not
// allocate, so that the allocations are the proxy's.
func BenchmarkPipeline(b *testing.B) {
	backend := listen(b, answerRaw)
	requests := benchRequests()
	for _, front := range []struct {
		name    string
		refuses bool // attacks
		start   func(*testing.B) string
	}{
		{"direct", false, func(*testing.B) string { return backend }},
		{"off/sallyport", false, func(b *testing.B) string { return startGateway(b, backend, "off") }},
		{"off/stock", false, func(b *testing.B) string { return startStock(b, stockProxy(backend)) }},
		{"crs/sallyport", true, func(b *testing.B) string { return startGateway(b, backend, "enforce") }},
		{"crs/stock", true, func(b *testing.B) string {
			return startStock(b, corazahttp.WrapHandler(stockRules(b), stockProxy(backend)))
		}},
	} {
		b.Run(front.name, func(b *testing.B) {
			addr := front.start(b)
			if refused := ask(b, addr, attack) == '4'; refused != front.refuses {
				b.Fatalf("an attack was refused: %t, want %t", refused, front.refuses)
			}
			for _, r := range requests {
				b.Run(r.name, func(b *testing.B) { drive(b, addr, r) })
			}
		})
	}
}

// attack is what only rules refuse. That they do shows that they are at work:
// rules that were not loaded would look like speed.
var attack = benchRequest{raw: []byte("GET /?id=1%27%20UNION%20SELECT%20password%20FROM%20users-- HTTP/1.1\r\nHost: shop.example.org\r\nAccept: */*\r\nUser-Agent: test\r\n\r\n")}

// ask sends one request and returns the first digit of the status.
func ask(b *testing.B, addr string, r benchRequest) byte {
	b.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write(r.raw); err != nil {
		b.Fatal(err)
	}
	first, err := readMessage(bufio.NewReader(conn))
	if err != nil {
		b.Fatal(err)
	}
	return first
}

// A benchRequest is one request as bytes.
type benchRequest struct {
	name  string
	raw   []byte
	moved int64 // body bytes, where they are what costs
}

func benchRequests() []benchRequest {
	const (
		host    = "Host: shop.example.org\r\nAccept: */*\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n"
		browser = "GET /shop/list?page=2&sort=price&dir=asc&q=red+shoes&lang=en HTTP/1.1\r\nHost: shop.example.org\r\nConnection: keep-alive\r\n" +
			"Cache-Control: max-age=0\r\nSec-Ch-Ua: \"Chromium\";v=\"140\", \"Not=A?Brand\";v=\"24\"\r\nSec-Ch-Ua-Mobile: ?0\r\n" +
			"Sec-Ch-Ua-Platform: \"Linux\"\r\nUpgrade-Insecure-Requests: 1\r\n" +
			"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36\r\n" +
			"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n" +
			"Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-User: ?1\r\nSec-Fetch-Dest: document\r\n" +
			"Referer: https://shop.example.org/shop/\r\nAccept-Encoding: gzip, deflate, br\r\nAccept-Language: en-GB,en;q=0.9\r\n" +
			"Cookie: sid=5f2b9c1a77; theme=dark; cart=3; _ga=GA1.2.3.4; consent=yes; lang=en\r\n\r\n"
		boundary = "----WebKitFormBoundary7MA4YWxk"
	)
	post := func(contentType, body string) []byte {
		return fmt.Appendf(nil, "POST /shop/order HTTP/1.1\r\n%sContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", host, contentType, len(body), body)
	}
	var form, items []string
	for i := range 10 {
		form = append(form, fmt.Sprintf("field%d=some+value+number+%d", i, i))
		items = append(items, fmt.Sprintf(`{"id":%d,"name":"item number %d","price":%d.50,"stock":%d,"tags":["red","sale"],"note":"in the shop"}`, i, i, i, i*3))
	}
	film := make([]byte, bigBody)
	for i := range film { // what a film looks like: neither text nor zeros
		film[i] = byte(i * i >> 7)
	}
	upload := "--" + boundary + "\r\nContent-Disposition: form-data; name=\"title\"\r\n\r\nholiday\r\n--" + boundary +
		"\r\nContent-Disposition: form-data; name=\"film\"; filename=\"film.mp4\"\r\nContent-Type: video/mp4\r\n\r\n" + string(film) + "\r\n--" + boundary + "--\r\n"
	return []benchRequest{
		{"tiny", []byte("GET / HTTP/1.1\r\n" + host + "\r\n"), 0},
		{"browser", []byte(browser), 0},
		{"form", post("application/x-www-form-urlencoded", strings.Join(form, "&")), 0},
		{"json1k", post("application/json", `{"items":[`+strings.Join(items, ",")+`]}`), 0},
		{"upload1M", post("multipart/form-data; boundary="+boundary, upload), bigBody},
		{"download1M", []byte("GET /download HTTP/1.1\r\n" + host + "\r\n"), bigBody},
	}
}

// bigBody is the size of what is uploaded and downloaded.
const bigBody = 1 << 20

// drive sends one request again and again over kept connections, and does with
// the answers as little as can be.
func drive(b *testing.B, addr string, r benchRequest) {
	b.SetBytes(r.moved)
	b.SetParallelism(8)
	b.ReportAllocs()
	b.ResetTimer()
	began := testkit.CPU(b)
	b.RunParallel(func(pb *testing.PB) {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			b.Error(err)
			return
		}
		defer conn.Close()
		br := bufio.NewReaderSize(conn, 16<<10)
		for pb.Next() {
			if _, err := conn.Write(r.raw); err != nil {
				b.Error(err)
				return
			}
			if first, err := readMessage(br); err != nil || first != '2' {
				b.Errorf("status %c.., %v", first, err)
				return
			}
		}
	})
	b.ReportMetric(float64(testkit.CPU(b)-began)/float64(b.N), "cpu-ns/op")
}

// readMessage reads the head of a request or an answer and discards the body
// that it announces. Of an answer it returns the first digit of the status, of
// a request 'd' for the download and a slash for everything else.
func readMessage(br *bufio.Reader) (first byte, err error) {
	size := 0
	for n := 0; ; n++ {
		line, err := br.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		line = bytes.TrimSuffix(line, []byte("\r\n"))
		if n == 0 {
			if i := bytes.IndexByte(line, ' '); i >= 0 && i+1 < len(line) {
				first = line[i+1]
			}
			if bytes.HasPrefix(line, []byte("GET /download ")) {
				first = 'd'
			}
			continue
		}
		if len(line) == 0 {
			_, err = br.Discard(size)
			return first, err
		}
		const field = "content-length: "
		if len(line) > len(field) && bytes.EqualFold(line[:len(field)], []byte(field)) {
			size = 0
			for _, d := range line[len(field):] {
				size = size*10 + int(d-'0')
			}
		}
	}
}

// answerRaw is the backend: it reads a message and writes a canned answer.
func answerRaw(conn net.Conn) {
	defer conn.Close()
	page := cannedAnswer("text/html", 4<<10)
	film := cannedAnswer("application/octet-stream", bigBody)
	br := bufio.NewReaderSize(conn, 16<<10)
	for {
		first, err := readMessage(br)
		if err != nil {
			return
		}
		answer := page
		if first == 'd' {
			answer = film
		}
		if _, err := conn.Write(answer); err != nil {
			return
		}
	}
}

func cannedAnswer(contentType string, size int) []byte {
	return append([]byte("HTTP/1.1 200 OK\r\nServer: origin/1.0\r\nDate: Mon, 23 Nov 2026 08:00:00 GMT\r\nCache-Control: max-age=60\r\n"+
		"Content-Type: "+contentType+"\r\nContent-Length: "+strconv.Itoa(size)+"\r\n\r\n"), make([]byte, size)...)
}

// listen has a function answer every connection.
func listen(b *testing.B, answer func(net.Conn)) string {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go answer(conn)
		}
	}()
	return l.Addr().String()
}

// startGateway starts the gateway as serve does, with every stage at work and
// budgets that nobody exhausts.
func startGateway(b *testing.B, backend, policy string) string {
	b.Helper()
	dir := b.TempDir()
	file := filepath.Join(dir, "sallyport.yaml")
	text := "listeners: [{address: \"127.0.0.1:0\"}]\n" +
		"geo: {deny: [198.51.100.0/24]}\n" +
		"limits: [{name: per-client, rate: 1000000/s, burst: 1000000}]\n" +
		"pools: {app: {backends: [{name: one, url: \"http://" + backend + "\"}]}}\n" +
		"routes: [{name: site, hosts: [shop.example.org], pool: app}]\n" +
		"policies: {default: {mode: " + policy + ", paranoia: 1}}\n" +
		"audit: {path: audit.jsonl}\nadmin: {address: \"\"}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	g := gateway.New(gateway.Options{
		Load:    func() (*config.Config, gate.Diagnostics) { return config.Load(file) },
		Version: "bench", Log: zap.NewNop(),
	})
	s := server.New(server.Options{
		Build:  func(n uint64) (server.Generation, error) { return g.Build(n) },
		Record: g.Record, Metrics: g.Metrics(), Version: "bench", Log: zap.NewNop(),
	})
	if err := s.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Shutdown(); err != nil {
			b.Errorf("Shutdown: %v", err)
		}
		if err := g.Close(); err != nil {
			b.Errorf("Close: %v", err)
		}
	})
	for _, a := range s.Addresses() {
		return a.String()
	}
	b.Fatal("the gateway listens nowhere")
	return ""
}

// stockProxy is what the standard library offers.
func stockProxy(backend string) http.Handler {
	target := &url.URL{Scheme: "http", Host: backend}
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.SetXForwarded()
			r.Out.Host = r.In.Host
		},
		Transport: &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true},
	}
}

// stockRules is the Core Rule Set at paranoia 1 as Coraza documents it, with
// the bodies of responses left alone, as the gateway leaves those that are no
// errors.
func stockRules(b *testing.B) coraza.WAF {
	b.Helper()
	w, err := coraza.NewWAF(coraza.NewWAFConfig().WithRootFS(coreruleset.FS).WithDirectives(strings.Join([]string{
		"Include @coraza.conf-recommended",
		"SecRuleEngine On",
		"SecAuditEngine Off",
		"SecResponseBodyAccess Off",
		"Include @crs-setup.conf.example",
		"Include @owasp_crs/*.conf",
	}, "\n")))
	if err != nil {
		b.Fatal(err)
	}
	return w
}

func startStock(b *testing.B, h http.Handler) string {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	srv := &http.Server{Handler: h}
	go func() { _ = srv.Serve(l) }()
	b.Cleanup(func() { _ = srv.Close() })
	return l.Addr().String()
}

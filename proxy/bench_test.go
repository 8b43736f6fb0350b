package proxy_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"sallyport/internal/testkit"
)

const browserGet = "GET /products/shoes?size=42&colour=red HTTP/1.1\r\nHost: shop.example.org\r\n" +
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n" +
	"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en-US,en;q=0.5\r\n" +
	"Accept-Encoding: gzip, deflate, br, zstd\r\nReferer: https://shop.example.org/products\r\nDnt: 1\r\nConnection: keep-alive\r\n" +
	"Cookie: session=0123456789abcdef; theme=dark\r\nUpgrade-Insecure-Requests: 1\r\nSec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\n" +
	"Sec-Fetch-Site: same-origin\r\nSec-Fetch-User: ?1\r\nPriority: u=0, i\r\n\r\n"

// BenchmarkHandler compares the whole line, rules off, with the standard
// library's ReverseProxy: same client, same backend, one run.
func BenchmarkHandler(b *testing.B) {
	page := make([]byte, 4096)
	origin := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("Content-Length", "4096")
		_, _ = w.Write(page)
	})}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	go func() { _ = origin.Serve(l) }()
	b.Cleanup(func() { _ = origin.Close() })

	b.Run("sallyport", func(b *testing.B) {
		g := newRig(l.Addr().String())
		g.stages.Recorders = nil
		g.start(b)
		drive(b, g.addr, browserGet)
	})
	b.Run("ReverseProxy", func(b *testing.B) {
		target := &url.URL{Scheme: "http", Host: l.Addr().String()}
		rp := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.SetXForwarded()
			r.Out.Host = r.In.Host
		}, Transport: &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true}}
		front, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		srv := &http.Server{Handler: rp}
		go func() { _ = srv.Serve(front) }()
		b.Cleanup(func() { _ = srv.Close() })
		drive(b, front.Addr().String(), browserGet)
	})
}

// BenchmarkBody measures requests with a body, rules off: what fits into what
// is read ahead, and what does not.
func BenchmarkBody(b *testing.B) {
	origin := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("Content-Length", "4096")
		_, _ = w.Write(make([]byte, 4096))
	})}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	go func() { _ = origin.Serve(l) }()
	b.Cleanup(func() { _ = origin.Close() })
	for _, tc := range []struct {
		name string
		size int
	}{{"200B", 200}, {"32KiB", 32 << 10}, {"1MiB", 1 << 20}} {
		b.Run(tc.name, func(b *testing.B) {
			g := newRig(l.Addr().String())
			g.stages.Recorders = nil
			g.start(b)
			b.SetBytes(int64(tc.size))
			drive(b, g.addr, fmt.Sprintf("POST /in HTTP/1.1\r\nHost: shop.example.org\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n%s",
				tc.size, strings.Repeat("x", tc.size)))
		})
	}
}

// drive sends requests over kept connections, reading with as little work as
// can be, so that what is measured is the proxy.
func drive(b *testing.B, addr, request string) {
	b.Helper()
	b.ReportAllocs()
	b.ResetTimer()
	began := testkit.CPU(b)
	defer func() { b.ReportMetric(float64(testkit.CPU(b)-began)/float64(b.N), "cpu-ns/op") }()
	b.RunParallel(func(pb *testing.PB) {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			b.Error(err)
			return
		}
		defer c.Close()
		br := bufio.NewReaderSize(c, 64<<10)
		for pb.Next() {
			if _, err := io.WriteString(c, request); err != nil {
				b.Error(err)
				return
			}
			for {
				line, err := br.ReadSlice('\n')
				if err != nil {
					b.Error(err)
					return
				}
				if len(line) == 2 {
					break
				}
			}
			if _, err := br.Discard(4096); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

package http1_test

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// BenchmarkRoundTrip compares with net/http's client, set up as the gateway
// had it: one kept connection to a backend on loopback.
func BenchmarkRoundTrip(b *testing.B) {
	answer := "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nDate: Thu, 26 Nov 2026 10:00:00 GMT\r\nContent-Length: 4096\r\n\r\n" + strings.Repeat("x", 4096)
	stock := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 4, IdleConnTimeout: time.Minute, ResponseHeaderTimeout: 10 * time.Second, ReadBufferSize: 16 << 10,
		DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", addr)
		}}
	b.Cleanup(stock.CloseIdleConnections)
	content := bytes.Repeat([]byte("y"), 1<<10)
	for _, kind := range []string{"get", "post", "stream"} {
		for _, tr := range []struct {
			name string
			http.RoundTripper
		}{{"ours", transport(b)}, {"stock", stock}} {
			b.Run(kind+"/"+tr.name, func(b *testing.B) {
				server := listen(b, func(c net.Conn, br *bufio.Reader, _ int64) {
					for {
						r, err := http.ReadRequest(br)
						if err != nil {
							return
						}
						_, _ = io.Copy(io.Discard, r.Body)
						_, _ = io.WriteString(c, answer)
					}
				})
				b.ReportAllocs()
				buf := make([]byte, 16<<10)
				for b.Loop() {
					r := request(b.Context(), "GET", server.addr, nil, 0)
					r.Header = http.Header{"User-Agent": {"x"}, "Accept": {"*/*"}, "Cookie": {"a=b"}}
					if kind != "get" {
						r.Method, r.ContentLength = "POST", int64(len(content))
						if r.Body = (wholeBody{bytes.NewReader(content)}); kind == "stream" {
							r.Body = io.NopCloser(bytes.NewReader(content))
						}
					}
					resp, err := tr.RoundTrip(r)
					if err != nil {
						b.Fatal(err)
					}
					if _, err := io.CopyBuffer(io.Discard, onlyReader{resp.Body}, buf); err != nil {
						b.Fatal(err)
					}
					_ = resp.Body.Close()
				}
			})
		}
	}
}

type onlyReader struct{ io.Reader }

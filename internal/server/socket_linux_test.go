package server_test

import (
	"crypto/tls"
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"

	"sallyport/internal/server"
	"sallyport/internal/testkit"
)

// TestWhatAClientDoesNotReadStaysWithUs counts what can be written to a client
// that reads nothing before a write blocks: what the client's own system takes,
// and the bound.
func TestWhatAClientDoesNotReadStaysWithUs(t *testing.T) {
	for _, secured := range []bool{false, true} {
		cfg := config(t)
		cfg.Limits.WriteRate, cfg.Limits.WriteGrace = 1<<30, 300*time.Millisecond
		if secured {
			cfg.Listeners[0].Certificates = []server.Certificate{certificate(t, "a.example")}
		}
		wrote := make(chan int, 1)
		h := start(t, cfg, func(w http.ResponseWriter, _ *http.Request) {
			total, piece := 0, make([]byte, 16<<10)
			for total < 64<<20 {
				n, err := w.Write(piece)
				if total += n; err != nil {
					break
				}
			}
			wrote <- total
		})
		d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
			return c.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 16<<10) })
		}}
		raw, err := d.DialContext(t.Context(), "tcp", h.address(t))
		if err != nil {
			t.Fatal(err)
		}
		c := raw
		if secured {
			c = tls.Client(raw, &tls.Config{InsecureSkipVerify: true})
		}
		conn := testkit.NewRawConn(t, c)
		conn.Send([]byte("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"))
		if n := <-wrote; n > 384<<10 {
			t.Errorf("secured %t: %d KiB were taken for a client that reads nothing, want at most 384", secured, n>>10)
		}
		_ = conn.Close()
	}
}

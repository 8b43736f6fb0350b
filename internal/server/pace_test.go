package server_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"sallyport/internal/gate"
	"sallyport/internal/server"
)

// slowStream opens an HTTP/2 connection whose streams get a window of so many
// bytes, asks for a page, and returns how the stream ended and what came of it.
// The connection itself stays lively.
func slowStream(t *testing.T, address string, window uint32) (got int, reset bool) {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = io.WriteString(c, http2.ClientPreface)
	fr := http2.NewFramer(c, c)
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for _, f := range [][2]string{{":method", "GET"}, {":scheme", "http"}, {":authority", "a"}, {":path", "/"}} {
		_ = enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	if err := errors.Join(fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: window}),
		fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndStream: true, EndHeaders: true})); err != nil {
		t.Fatal(err)
	}
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			t.Fatalf("after %d bytes: %v", got, err)
		}
		switch f := f.(type) {
		case *http2.PingFrame:
			if !f.IsAck() {
				_ = fr.WritePing(true, f.Data)
			}
		case *http2.DataFrame:
			if got += len(f.Data()); f.StreamEnded() {
				return got, false
			}
		case *http2.RSTStreamFrame:
			return got, true
		}
	}
}

func TestSlowReaderOfHTTP2(t *testing.T) {
	for _, tc := range []struct {
		rule   string
		size   int
		window uint32
		pause  time.Duration // of the handler, before its last byte
		reset  bool
		told   bool // the handler still writes by then
	}{
		{"a window that stays shut", 64 << 10, 0, 0, true, true},
		{"one that stays shut when the handler is done", 100, 0, 0, true, false},
		{"one that stays shut for a flush", 100, 0, time.Millisecond, true, true},
		{"one that opens for a part only", 64 << 10, 1 << 10, 0, true, true},
		{"one that is wide open", 50_000, 60_000, 0, false, false},
		{"a handler that takes its time", 10_000, 60_000, time.Second, false, false},
	} {
		cfg := config(t)
		cfg.Listeners = []server.Listener{{Address: "127.0.0.1:0", H2C: true}}
		cfg.Limits.WriteRate, cfg.Limits.WriteGrace = 1<<20, 300*time.Millisecond
		wrote := make(chan error, 1)
		h := start(t, cfg, func(w http.ResponseWriter, _ *http.Request) {
			_, err := w.Write(make([]byte, tc.size-1))
			if tc.pause > 0 {
				err = errors.Join(err, http.NewResponseController(w).Flush())
				time.Sleep(tc.pause)
			}
			if err == nil {
				_, err = w.Write([]byte{'.'})
			}
			wrote <- err
		})
		got, reset := slowStream(t, h.address(t), tc.window)
		if reset != tc.reset || !reset && got != tc.size {
			t.Errorf("%s: got %d bytes, reset %t", tc.rule, got, reset)
		}
		ve, slow := errors.AsType[*gate.VerdictError](<-wrote)
		if slow != tc.told || slow && ve.Verdict.Reason != gate.HTTPReaderTooSlow {
			t.Errorf("%s: the handler was told %v", tc.rule, ve)
		}
	}
}

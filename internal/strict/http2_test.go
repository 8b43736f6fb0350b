package strict_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"sallyport/internal/gate"
	"sallyport/internal/strict"
	"sallyport/internal/testkit"
)

type guard2Key struct{}

// newServer2 is net/http's server, set up as HTTP2Conn asks for.
func newServer2(h http.Handler) *http.Server {
	protocols := &http.Protocols{}
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler: h, Protocols: protocols, ErrorLog: log.New(io.Discard, "", 0),
		HTTP2: &http.HTTP2Config{MaxReadFrameSize: 16 << 10, MaxConcurrentStreams: 100},
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, guard2Key{}, c)
		},
	}
}

// A guardListener2 guards every connection that it accepts.
type guardListener2 struct {
	net.Listener
	lim   strict.Limits
	hooks strict.Hooks
}

func (l guardListener2) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return strict.NewHTTP2Conn(c, l.lim, l.hooks), nil
}

// serve2 runs a guarded HTTP/2 server on loopback until the test ends.
func serve2(t testing.TB, h http.Handler, lim strict.Limits, hooks strict.Hooks) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := newServer2(h)
	done := make(chan error, 1)
	go func() { done <- srv.Serve(guardListener2{l, lim, hooks}) }()
	t.Cleanup(func() {
		_ = srv.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("Serve: %v", err)
		}
	})
	return l.Addr().String()
}

// client2 is a well-behaved client of HTTP/2 without TLS.
func client2(t testing.TB) *http.Client {
	tr := &http.Transport{Protocols: &http.Protocols{}}
	tr.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// told is a handler that answers what it knows of a request: the head that was
// judged, and the content.
func told(w http.ResponseWriter, r *http.Request) {
	g, _ := r.Context().Value(guard2Key{}).(*strict.HTTP2Conn)
	h := g.Head(r)
	found := h.Rejection
	if found == nil && len(h.Hygiene) > 0 {
		found = &h.Hygiene[0]
	}
	if found != nil {
		refuse(w, found.Verdict(gate.Enforce))
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		ve, ok := errors.AsType[*gate.VerdictError](err)
		if !ok {
			ve = &gate.VerdictError{Verdict: gate.Failure(gate.GatewayUndecided, err)}
		}
		refuse(w, ve.Verdict)
		return
	}
	w.Header().Set("X-Seen", fmt.Sprintf("%s %s %s %d", h.Method, h.Target, h.Host, h.Length))
	_, _ = w.Write(body)
}

// TestHTTP2Conn serves a real client.
func TestHTTP2Conn(t *testing.T) {
	t.Parallel()
	addr := serve2(t, http.HandlerFunc(told), strict.Limits{}, strict.Hooks{Cut: func(r gate.Reason, err error) {
		t.Errorf("the connection was cut: %s, %v", r, err)
	}})
	client := client2(t)
	big := strings.Repeat("0123456789abcdef", 64<<10)
	for range 3 { // the tables of the compression fill
		for _, tc := range []struct {
			method, target, body string
			length               int64
		}{
			{"GET", "/x?y;z=%zz", "", 0}, {"HEAD", "/h", "", 0}, {"DELETE", "/d", "", 0}, {"PROPFIND", "/p", "", 0},
			{"POST", "/five", "hello", 5}, {"POST", "/none", "", 0}, {"PUT", "/chunked", "hello", -1}, {"POST", "/one", "h", 1},
			{"POST", "/big", big, int64(len(big))}, {"POST", "/stream", big, -1},
		} {
			var body io.Reader
			if tc.body != "" {
				body = strings.NewReader(tc.body)
			}
			r, err := http.NewRequestWithContext(t.Context(), tc.method, "http://"+addr+tc.target, body)
			if err != nil {
				t.Fatal(err)
			}
			if tc.length < 0 {
				r.ContentLength = -1
			}
			resp, err := client.Do(r)
			if err != nil {
				t.Fatalf("%s %s: %v", tc.method, tc.target, err)
			}
			got, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			want := fmt.Sprintf("%s %s %s %d", tc.method, tc.target, addr, tc.length)
			if seen := resp.Header.Get("X-Seen"); err != nil || resp.ProtoMajor != 2 || seen != want || string(got) != tc.body {
				t.Errorf("%s %s: seen %q, %d bytes, %v, want %q", tc.method, tc.target, seen, len(got), err, want)
			}
		}
	}
}

// TestHTTP2Expect shows that a client which waits for 100 gets it.
func TestHTTP2Expect(t *testing.T) {
	t.Parallel()
	addr := serve2(t, http.HandlerFunc(told), strict.Limits{}, strict.Hooks{})
	client := client2(t)
	r, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+addr+"/", strings.NewReader("hello"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Expect", "100-continue")
	client.Transport.(*http.Transport).ExpectContinueTimeout = 1 << 40
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err != nil || string(b) != "hello" || resp.StatusCode != 200 {
		t.Errorf("%d %q, %v", resp.StatusCode, b, err)
	}
}

// BenchmarkHTTP2Conn answers a browser's request, its fields in the table of
// the compression, through the guard and without it.
func BenchmarkHTTP2Conn(b *testing.B) {
	for _, guarded := range []bool{false, true} {
		b.Run(map[bool]string{false: "stock", true: "guarded"}[guarded], func(b *testing.B) {
			b.ReportAllocs()
			l := newPipeListener()
			srv := newServer2(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if g, ok := r.Context().Value(guard2Key{}).(*strict.HTTP2Conn); ok {
					if h := g.Head(r); h.Rejection != nil {
						b.Errorf("refused: %v", h.Rejection)
					}
				}
				w.WriteHeader(http.StatusNoContent)
			}))
			done := make(chan error, 1)
			go func() { done <- srv.Serve(l) }()
			c := newLoopConn2()
			if guarded {
				l.conns <- strict.NewHTTP2Conn(c, strict.Limits{}, strict.Hooks{})
			} else {
				l.conns <- c
			}
			c.request() // fills the table
			began := testkit.CPU(b)
			for b.Loop() {
				c.request()
			}
			b.ReportMetric(float64(testkit.CPU(b)-began)/float64(b.N), "cpu-ns/op")
			_ = srv.Close()
			if err := <-done; !errors.Is(err, http.ErrServerClosed) {
				b.Error(err)
			}
		})
	}
}

// A loopConn2 is a client of HTTP/2 in memory, which sends one request after
// the other.
type loopConn2 struct {
	*loopConn
	enc    *hpack.Encoder
	block  bytes.Buffer
	out    bytes.Buffer
	framer *http2.Framer
	stream uint32
	walk   []byte
}

func newLoopConn2() *loopConn2 {
	c := &loopConn2{loopConn: newLoopConn(nil), stream: 1}
	c.enc = hpack.NewEncoder(&c.block)
	c.framer = http2.NewFramer(&c.out, nil)
	c.out.WriteString(http2.ClientPreface)
	_ = c.framer.WriteSettings()
	_ = c.framer.WriteSettingsAck()
	return c
}

// request sends the next request and waits for its answer.
func (c *loopConn2) request() {
	c.block.Reset()
	head, _, _ := strings.Cut(browserGet, "\r\n\r\n")
	lines := strings.Split(head, "\r\n")
	_ = c.enc.WriteField(hpack.HeaderField{Name: ":method", Value: "GET"})
	_ = c.enc.WriteField(hpack.HeaderField{Name: ":scheme", Value: "https"})
	_ = c.enc.WriteField(hpack.HeaderField{Name: ":authority", Value: "shop.example.org"})
	_ = c.enc.WriteField(hpack.HeaderField{Name: ":path", Value: strings.Fields(lines[0])[1]})
	for _, line := range lines[2:] {
		name, value, _ := strings.Cut(line, ": ")
		if name != "Connection" {
			_ = c.enc.WriteField(hpack.HeaderField{Name: strings.ToLower(name), Value: value})
		}
	}
	_ = c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: c.stream, BlockFragment: c.block.Bytes(), EndStream: true, EndHeaders: true})
	c.stream += 2
	c.mu.Lock()
	c.rest = append([]byte(nil), c.out.Bytes()...)
	c.mu.Unlock()
	c.out.Reset()
	c.changed.Broadcast()
	<-c.answered
}

// Write looks for the end of an answer.
func (c *loopConn2) Write(p []byte) (int, error) {
	c.walk = append(c.walk, p...)
	for len(c.walk) >= 9 {
		size := 9 + (int(c.walk[0])<<16 | int(c.walk[1])<<8 | int(c.walk[2]))
		if len(c.walk) < size {
			break
		}
		ends := c.walk[3] == 1 && c.walk[4]&1 != 0
		c.walk = c.walk[size:]
		if ends {
			c.answered <- struct{}{}
		}
	}
	return len(p), nil
}

// TestHTTP2SlowContent shows that the time of a head is not the time of
// content: the first piece begins late, behind half of its frame's header.
func TestHTTP2SlowContent(t *testing.T) {
	t.Parallel()
	lim := strict.Limits{HeaderTimeout: 200 * time.Millisecond}
	addr := serve2(t, http.HandlerFunc(told), lim, strict.Hooks{Cut: func(r gate.Reason, err error) {
		t.Errorf("the connection was cut: %s, %v", r, err)
	}})
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	l := newLoopConn2()
	_ = l.enc.WriteField(hpack.HeaderField{Name: ":method", Value: "POST"})
	_ = l.enc.WriteField(hpack.HeaderField{Name: ":scheme", Value: "http"})
	_ = l.enc.WriteField(hpack.HeaderField{Name: ":authority", Value: "a.example"})
	_ = l.enc.WriteField(hpack.HeaderField{Name: ":path", Value: "/slow"})
	_ = l.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: l.block.Bytes(), EndHeaders: true})
	head := l.out.Len()
	_ = l.framer.WriteData(1, true, []byte("hello"))
	raw := l.out.Bytes()
	for _, piece := range [][]byte{raw[:head+4], raw[head+4 : head+10], raw[head+10:]} {
		if _, err := c.Write(piece); err != nil {
			t.Fatal(err)
		}
		if len(piece) != head+4 {
			time.Sleep(2 * lim.HeaderTimeout)
		}
	}
	fr := http2.NewFramer(nil, c)
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if d, ok := f.(*http2.DataFrame); ok {
			if string(d.Data()) != "hello" {
				t.Errorf("answered %q", d.Data())
			}
			return
		}
	}
}

// TestHTTP2HeadTimeout shows that a frame, or a field block, has to end in time.
func TestHTTP2HeadTimeout(t *testing.T) {
	t.Parallel()
	for rule, more := range map[string]string{
		"part of a frame's header":      "\x00\x00\x05",
		"part of a PING":                "\x00\x00\x08\x06\x00\x00\x00\x00\x00half",
		"part of a field block":         "\x00\x00\x03\x01\x00\x00\x00\x00\x01\x82\x86\x84",
		"a field block, piece by piece": "",
	} {
		cut := make(chan gate.Reason, 2)
		addr := serve2(t, http.HandlerFunc(told), strict.Limits{HeaderTimeout: 300 * time.Millisecond}, strict.Hooks{Cut: func(r gate.Reason, _ error) { cut <- r }})
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		l := newLoopConn2()
		if _, err := c.Write(append(l.out.Bytes(), more...)); err != nil {
			t.Fatal(err)
		}
		if more == "" {
			go func() {
				_, err := io.WriteString(c, "\x00\x00\x03\x01\x00\x00\x00\x00\x01\x82\x86\x84")
				for err == nil {
					time.Sleep(50 * time.Millisecond)
					_, err = io.WriteString(c, "\x00\x00\x01\x09\x00\x00\x00\x00\x01\x82")
				}
			}()
		}
		select {
		case r := <-cut:
			if r != gate.HTTPHeadTimeout {
				t.Errorf("%s: cut for %s", rule, r)
			}
		case <-time.After(10 * time.Second):
			t.Errorf("%s: not cut", rule)
		}
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		var last http2.ErrCode
		for fr := http2.NewFramer(nil, c); ; {
			f, err := fr.ReadFrame()
			if err != nil {
				break
			}
			if g, ok := f.(*http2.GoAwayFrame); ok {
				last = g.ErrCode
			}
		}
		if last != http2.ErrCodeEnhanceYourCalm {
			t.Errorf("%s: the client was told %v", rule, last)
		}
	}
}

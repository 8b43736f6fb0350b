package strict_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/internal/gate"
	"sallyport/internal/strict"
	"sallyport/internal/testkit"
)

// toldGet is what net/http is told of a first request without content.
const toldGet = "GET /1 HTTP/1.1\r\nHost: judged.invalid\r\n\r\n"

const plainGet = "GET /x HTTP/1.1\r\nHost: a.example\r\n\r\n"

// A lost notes what Hooks.NoHead was told.
type lost struct {
	mu   sync.Mutex
	errs []error
}

func (l *lost) hooks() strict.Hooks {
	return strict.Hooks{NoHead: func(r gate.Reason, err error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		if r != gate.HTTPNoHead {
			err = fmt.Errorf("reason %s", r)
		}
		l.errs = append(l.errs, err)
	}}
}

func (l *lost) all() []error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.errs
}

// servePipe serves one guarded connection in memory and returns its other end
// and a function that waits for the server's end.
func servePipe(t *testing.T, h http.Handler, lim strict.Limits, hooks strict.Hooks) (net.Conn, func()) {
	t.Helper()
	client, server := net.Pipe()
	l := newPipeListener()
	srv := newServer(t, h)
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	l.conns <- strict.NewConn(server, lim, hooks)
	return client, func() {
		_ = client.Close()
		_ = srv.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("Serve: %v", err)
		}
	}
}

// answer reads one response.
func answer(t *testing.T, r *bufio.Reader) *http.Response {
	t.Helper()
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatalf("reading the answer: %v", err)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatalf("reading the answer's body: %v", err)
	}
	return resp
}

func send(t *testing.T, w io.Writer, s string) {
	t.Helper()
	if _, err := io.WriteString(w, s); err != nil {
		t.Errorf("sending: %v", err)
	}
}

func TestHeadDeadlines(t *testing.T) {
	const second = time.Second
	for _, tc := range []struct {
		rule   string
		steps  []any // string: send; time.Duration: wait; int: read an answer with the status
		end    time.Duration
		noHead int
	}{
		{"who sends nothing is closed after the header timeout", []any{}, 10 * second, 1},
		{"an empty line is nothing", []any{"\r\n"}, 10 * second, 1},
		{"a head that stops is told after the header timeout", []any{3 * second, "GET / HT", 408}, 10 * second, 0},
		{"a head that drips is told after the header timeout", []any{"G", 4 * second, "E", 4 * second, "T", 408}, 10 * second, 0},
		{"a head in time is answered", []any{9 * second, plainGet, 200}, 84 * second, 0},
		{"who sends no other request is closed after the idle timeout", []any{plainGet, 200}, 75 * second, 0},
		{"an empty line is no other request", []any{plainGet, 200, 5 * second, "\r\n"}, 75 * second, 0},
		{"the second head has the header timeout from its first byte", []any{plainGet, 200, 70 * second, "GET /", 408}, 80 * second, 0},
		{"the second head may come late and slowly", []any{plainGet, 200, 70 * second, "GET /", 9 * second, " HTTP/1.1\r\nHost: a.example\r\n\r\n", 200}, 154 * second, 0},
		{"the idle time begins anew after every answer", []any{plainGet, 200, 70 * second, plainGet, 200, 70 * second, plainGet, 200}, 215 * second, 0},
		{"a long answer is no idle time", []any{"GET /slow HTTP/1.1\r\nHost: a.example\r\n\r\n", 200, plainGet, 200}, 375 * second, 0},
		{"a head that stops behind a long answer is told after it", []any{"GET /slow HTTP/1.1\r\nHost: a.example\r\n\r\nGET /", 200, 408}, 300 * second, 0},
	} {
		t.Run(tc.rule, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var l lost
				h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					head := guardOf(r).Head(r)
					if head.Target == "/slow" {
						select {
						case <-time.After(300 * time.Second):
						case <-r.Context().Done():
							t.Error("the context of a request that is served was cancelled")
						}
					}
					respond(w, r, head, nil)
				})
				start := time.Now()
				c, stop := servePipe(t, h, strict.Limits{}, l.hooks())
				defer stop()
				r := bufio.NewReader(c)
				for _, s := range tc.steps {
					switch s := s.(type) {
					case string:
						send(t, c, s)
					case time.Duration:
						time.Sleep(s)
					case int:
						if got := answer(t, r); got.StatusCode != s {
							t.Fatalf("status %d, want %d", got.StatusCode, s)
						}
					}
				}
				if b, err := r.ReadByte(); !errors.Is(err, io.EOF) {
					t.Fatalf("at the end: %q, %v, want EOF", b, err)
				}
				if got := time.Since(start); got != tc.end {
					t.Errorf("closed after %v, want %v", got, tc.end)
				}
				if got := l.all(); len(got) != tc.noHead {
					t.Errorf("NoHead was told %v, want %d calls", got, tc.noHead)
				}
			})
		})
	}
}

func TestNoHeadSaysWhatEndedTheConnection(t *testing.T) {
	for _, tc := range []struct {
		rule, sent string
		want       error
	}{
		{"nothing", "", io.EOF},
		{"part of a head", "GET / HTTP/1.1\r\nHo", io.ErrUnexpectedEOF},
		{"part of a second head", plainGet + "GET /", io.ErrUnexpectedEOF},
		{"a whole head", plainGet, nil},
	} {
		synctest.Test(t, func(t *testing.T) {
			var l lost
			c, stop := servePipe(t, http.HandlerFunc(judge), strict.Limits{}, l.hooks())
			go func() { _, _ = io.Copy(io.Discard, c) }()
			send(t, c, tc.sent)
			synctest.Wait()
			_ = c.Close()
			synctest.Wait()
			got := l.all()
			if tc.want == nil && len(got) != 0 || tc.want != nil && (len(got) != 1 || !errors.Is(got[0], tc.want)) {
				t.Errorf("%s: NoHead was told %v, want %v", tc.rule, got, tc.want)
			}
			stop()
		})
	}
}

func TestReadDeadlineKeepsPartialInput(t *testing.T) {
	for _, tc := range []struct{ rule, first, second, want string }{
		{"a head", "GET /x HT", "TP/1.1\r\nHost: a.example\r\n\r\n", toldGet},
		{"a body with a length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab", "cd", "POST /1 HTTP/1.1\r\nHost: judged.invalid\r\nContent-Length: 4\r\n\r\nabcd"},
		{"a chunk size", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1", "0\r\n0123456789abcdef\r\n0\r\n\r\n",
			"POST /1 HTTP/1.1\r\nHost: judged.invalid\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n"},
	} {
		synctest.Test(t, func(t *testing.T) {
			client, server := net.Pipe()
			g := strict.NewConn(server, strict.Limits{}, strict.Hooks{})
			defer g.Close()
			go func() {
				send(t, client, tc.first)
				time.Sleep(5 * time.Second)
				send(t, client, tc.second)
				_ = client.Close()
			}()
			if err := g.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
				t.Fatal(err)
			}
			var got []byte
			p := make([]byte, 1<<10)
			timeouts := 0
			for {
				n, err := g.Read(p)
				got = append(got, p[:n]...)
				if errors.Is(err, os.ErrDeadlineExceeded) {
					if timeouts++; timeouts > 1 {
						t.Fatalf("%s: a second timeout", tc.rule)
					}
					if err := g.SetReadDeadline(time.Time{}); err != nil {
						t.Fatal(err)
					}
					continue
				}
				if err != nil {
					break
				}
			}
			if timeouts != 1 || string(got) != tc.want {
				t.Errorf("%s: %d timeouts, read %q, want %q", tc.rule, timeouts, got, tc.want)
			}
		})
	}
}

func TestReadDeadlineInThePastWakesARead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		defer client.Close()
		g := strict.NewConn(server, strict.Limits{}, strict.Hooks{})
		defer g.Close()
		woken := make(chan error)
		go func() {
			_, err := g.Read(make([]byte, 1))
			woken <- err
		}()
		send(t, client, "GE")
		synctest.Wait()
		_ = g.SetReadDeadline(time.Unix(1, 0))
		if err := <-woken; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Read = %v, want a timeout", err)
		}
		_ = g.SetReadDeadline(time.Time{})
		go send(t, client, "T / HTTP/1.1\r\nHost: a\r\n\r\n")
		p := make([]byte, 100)
		n, err := g.Read(p)
		if string(p[:n]) != toldGet || err != nil {
			t.Errorf("Read = %q, %v, want %q", p[:n], err, toldGet)
		}
	})
}

// TestReadDeadlineInThePastWakesAReadAlthoughItIsTakenBack is what net/http
// does when it stops its background read, seen by a reader that is slow to
// wake.
func TestReadDeadlineInThePastWakesAReadAlthoughItIsTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		defer client.Close()
		g := strict.NewConn(server, strict.Limits{}, strict.Hooks{})
		woken := make(chan error, 1)
		go func() {
			_, err := g.Read(make([]byte, 1))
			woken <- err
		}()
		synctest.Wait()
		_ = g.SetReadDeadline(time.Unix(1, 0))
		_ = g.SetReadDeadline(time.Time{})
		synctest.Wait()
		select {
		case err := <-woken:
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("Read = %v, want a timeout", err)
			}
		default:
			t.Error("the read goes on")
			_ = g.Close()
		}
	})
}

// A lastConn yields some bytes together with an error, and nothing twice.
type lastConn struct {
	net.Conn
	t    *testing.T
	data string
}

func (c *lastConn) Read(p []byte) (int, error) {
	if c.data == "" {
		c.t.Error("the socket is read after its end")
	}
	n := copy(p, c.data)
	c.data = c.data[n:]
	return n, io.EOF
}

func (c *lastConn) SetReadDeadline(time.Time) error { return nil }

func TestErrorTogetherWithBytesIsNotLost(t *testing.T) {
	t.Parallel()
	g := strict.NewConn(&lastConn{t: t, data: plainGet}, strict.Limits{}, strict.Hooks{})
	p := make([]byte, 1<<10)
	if n, err := g.Read(p); err != nil || string(p[:n]) != toldGet {
		t.Errorf("Read = %q, %v, want %q", p[:n], err, toldGet)
	}
	if n, err := g.Read(p); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("Read = %q, %v, want EOF", p[:n], err)
	}
}

func TestSlowReader(t *testing.T) {
	const size = 64 << 10
	for _, tc := range []struct {
		rule string
		rate int64         // bytes that the client takes each second
		max  time.Duration // until the write fails; 0: it does not
	}{
		{"who reads nothing is given up after the grace", 0, 60 * time.Second},
		{"who reads less than the rate is given up later", 300, 240 * time.Second},
		{"who reads a little more than the rate is served", 600, 0},
		{"who reads fast is served", 1 << 20, 0},
	} {
		t.Run(tc.rule, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, server := net.Pipe()
				g := strict.NewConn(server, strict.Limits{WriteRate: 500}, strict.Hooks{})
				stop := make(chan struct{})
				go func() {
					for p := make([]byte, max(tc.rate, 1)); ; {
						select {
						case <-time.After(time.Second):
						case <-stop:
							return
						}
						if tc.rate > 0 {
							if _, err := io.ReadFull(client, p); err != nil {
								return
							}
						}
					}
				}()
				start := time.Now()
				n, err := g.Write(make([]byte, size))
				ve, slow := errors.AsType[*gate.VerdictError](err)
				switch {
				case tc.max == 0:
					if n != size || err != nil {
						t.Errorf("Write = %d, %v, want %d", n, err, size)
					}
				case !slow || ve.Verdict.Reason != gate.HTTPReaderTooSlow || time.Since(start) > tc.max:
					t.Errorf("Write = %d, %v after %v, want a verdict within %v", n, err, time.Since(start), tc.max)
				default:
					if _, err := g.Write([]byte("x")); !errors.As(err, &ve) {
						t.Errorf("the next Write = %v, want the verdict again", err)
					}
				}
				close(stop)
				_ = g.Close()
				_ = client.Close()
			})
		})
	}
}

func TestWriteDeadlineOfTheUserIsNoVerdict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		defer client.Close()
		g := strict.NewConn(server, strict.Limits{WriteRate: 500}, strict.Hooks{})
		defer g.Close()
		_ = g.SetWriteDeadline(time.Now().Add(time.Second))
		_, err := g.Write([]byte("x"))
		if _, verdict := errors.AsType[*gate.VerdictError](err); verdict || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Write = %v, want a plain timeout", err)
		}
	})
}

const handshake = "GET /ws HTTP/1.1\r\nHost: a.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

// TestTunnel takes a connection over after a handshake, with bytes that came
// too early, in pieces that make net/http's background read busy.
func TestTunnel(t *testing.T) {
	t.Parallel()
	for _, early := range []string{"", "e", "early bytes", strings.Repeat("0123456789abcdef", 1<<10)} {
		addr := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			g := guardOf(r)
			if h := g.Head(r); !h.Upgrade {
				t.Errorf("not an upgrade: %v", h.Rejection)
			}
			g.Tunnel()
			c, rw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Errorf("Hijack: %v", err)
				return
			}
			defer c.Close()
			if n := rw.Reader.Buffered(); n != 0 {
				t.Errorf("net/http has taken %d bytes of the tunnel", n)
			}
			_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			_, _ = io.Copy(c, c)
		}), strict.Limits{HeaderTimeout: time.Minute, WriteRate: 500}, strict.Hooks{})
		conn := testkit.DialRaw(t, addr)
		conn.Send([]byte(handshake + early))
		if a := conn.MustAnswer(http.MethodGet); a.Status != http.StatusSwitchingProtocols {
			t.Fatalf("status %d", a.Status)
		}
		conn.Send([]byte("GET / HTTP/1.1\r\n\x00\xff"))
		conn.HalfClose()
		got, err := io.ReadAll(conn.Reader())
		if want := early + "GET / HTTP/1.1\r\n\x00\xff"; err != nil || string(got) != want {
			t.Errorf("echo of %d early bytes = %d bytes, %v, want %d", len(early), len(got), err, len(want))
		}
	}
}

func TestUpgradeThatIsNotGrantedGoesOnInHTTP(t *testing.T) {
	t.Parallel()
	addr := serve(t, http.HandlerFunc(judge), strict.Limits{}, strict.Hooks{})
	conn := testkit.DialRaw(t, addr)
	for range 3 {
		conn.Send([]byte(handshake))
		if a := conn.MustAnswer(http.MethodGet); a.Status != 200 {
			t.Fatalf("status %d, want 200", a.Status)
		}
	}
}

func TestUpgradeThatNobodyResumesGoesOnInHTTP(t *testing.T) {
	t.Parallel()
	addr := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { guardOf(r).Head(r) }), strict.Limits{}, strict.Hooks{})
	conn := testkit.DialRaw(t, addr)
	for _, s := range []string{handshake, plainGet, handshake} {
		conn.Send([]byte(s))
		if a := conn.MustAnswer(http.MethodGet); a.Status != 200 {
			t.Fatalf("status %d, want 200", a.Status)
		}
	}
}

// TestNextRequestAfterARefusedUpgrade sends it as soon as the answer is there,
// while the handler is not yet done: these are no early bytes.
func TestNextRequestAfterARefusedUpgrade(t *testing.T) {
	for _, tc := range []struct {
		rule  string
		early string
		next  string
		want  gate.Reason
	}{
		{"after the answer", "", plainGet, ""},
		{"before the answer", "x", plainGet, gate.HTTPEarlyBytes},
	} {
		synctest.Test(t, func(t *testing.T) {
			c, stop := servePipe(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				h := guardOf(r).Head(r)
				if h.Rejection != nil {
					refuse(w, h.Rejection.Verdict(gate.Enforce))
					return
				}
				if h.Upgrade {
					time.Sleep(time.Second) // the early bytes come
					w.Header().Set("Content-Length", "0")
					_ = http.NewResponseController(w).Flush()
					time.Sleep(time.Second) // the next request comes
				}
			}), strict.Limits{}, strict.Hooks{})
			defer stop()
			r := bufio.NewReader(c)
			send(t, c, handshake+tc.early)
			if got := answer(t, r); got.StatusCode != 200 {
				t.Errorf("%s: status %d, want 200", tc.rule, got.StatusCode)
			}
			go func() { _, _ = io.WriteString(c, tc.next) }() // nobody reads it after a refusal
			if got := answer(t, r); got.Header.Get("X-Reason") != string(tc.want) {
				t.Errorf("%s: the next answer is %d %q, want %q", tc.rule, got.StatusCode, got.Header.Get("X-Reason"), tc.want)
			}
		})
	}
}

// TestAsideIsBounded fills what is kept behind a handshake; a read that waits
// with it full still honours its deadline.
func TestAsideIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		g := strict.NewConn(server, strict.Limits{}, strict.Hooks{})
		var sent atomic.Int64
		done := make(chan struct{})
		go func() {
			defer close(done)
			n, _ := io.WriteString(client, handshake+strings.Repeat("x", 64<<10))
			sent.Store(int64(n))
		}()
		p := make([]byte, 4<<10)
		if n, err := g.Read(p); err != nil || string(p[:n]) != toldGet {
			t.Fatalf("Read = %q, %v", p[:n], err)
		}
		start := time.Now()
		_ = g.SetReadDeadline(start.Add(3 * time.Second))
		if n, err := g.Read(p[:1]); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != 3*time.Second {
			t.Errorf("Read = %d, %v after %v, want a timeout after 3s", n, err, time.Since(start))
		}
		_ = g.Close()
		<-done
		if n := sent.Load(); n > int64(len(handshake)+4<<10) {
			t.Errorf("%d bytes were taken, want at most a head and 4 KiB", n)
		}
	})
}

func TestClientThatGoesAwayIsNoticed(t *testing.T) {
	t.Parallel()
	for rule, sent := range map[string]string{"during a request": plainGet, "before an upgrade is answered": handshake} {
		gone := make(chan struct{})
		began := make(chan struct{})
		addr := serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			guardOf(r).Head(r)
			close(began)
			select {
			case <-r.Context().Done():
				close(gone)
			case <-t.Context().Done():
			}
		}), strict.Limits{}, strict.Hooks{})
		conn := testkit.DialRaw(t, addr)
		conn.Send([]byte(sent))
		<-began
		_ = conn.Close()
		select {
		case <-gone:
		case <-time.After(10 * time.Second):
			t.Errorf("%s: the context was not cancelled", rule)
		}
	}
}

// TestPairing takes heads in the wrong order and not at all.
func TestPairing(t *testing.T) {
	t.Parallel()
	var n atomic.Int32
	addr := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1) == 1 {
			return // the first head stays in the queue
		}
		refuse(w, guardOf(r).Head(r).Rejection.Verdict(gate.Enforce))
	}), strict.Limits{}, strict.Hooks{})
	conn := testkit.DialRaw(t, addr)
	conn.Send([]byte(plainGet + "GET /other HTTP/1.1\r\nHost: a.example\r\n\r\n" + plainGet))
	conn.MustAnswer(http.MethodGet)
	if a := conn.MustAnswer(http.MethodGet); a.Status != 500 || a.Header.Get("X-Reason") != string(gate.GatewayUnpaired) {
		t.Errorf("answer = %d %s, want 500 %s", a.Status, a.Header.Get("X-Reason"), gate.GatewayUnpaired)
	}
	if !conn.AtEnd() {
		t.Error("the connection goes on")
	}
}

func TestHeadTakenTwiceIsUnpaired(t *testing.T) {
	t.Parallel()
	got := make(chan *gate.Head, 2)
	addr := serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		got <- guardOf(r).Head(r)
		got <- guardOf(r).Head(r)
	}), strict.Limits{}, strict.Hooks{})
	testkit.DialRaw(t, addr).Send([]byte(plainGet))
	if h := <-got; h.Rejection != nil || h.Took <= 0 {
		t.Errorf("the first is refused or took no time: %+v", h)
	}
	if h := <-got; reasonOf(h) != gate.GatewayUnpaired {
		t.Errorf("the second is %q, want %q", reasonOf(h), gate.GatewayUnpaired)
	}
}

// TestUnpairedDuringABodyIsTheEnd asks for a wrong head while a read of the
// body waits: what then comes is never read as HTTP.
func TestUnpairedDuringABodyIsTheEnd(t *testing.T) {
	for _, head := range []string{
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
	} {
		synctest.Test(t, func(t *testing.T) {
			client, server := net.Pipe()
			g := strict.NewConn(server, strict.Limits{}, strict.Hooks{})
			defer g.Close()
			go func() {
				_, _ = io.WriteString(client, head)
				time.Sleep(time.Second)
				_, _ = io.WriteString(client, "hello"+plainGet)
				_ = client.Close()
			}()
			p := make([]byte, 4<<10)
			if n, err := g.Read(p); err != nil || !strings.HasPrefix(string(p[:n]), "POST /1 ") {
				t.Fatalf("Read = %q, %v", p[:n], err)
			}
			go func() {
				time.Sleep(time.Second / 2)
				if h := g.Head(&http.Request{Method: "PUT"}); reasonOf(h) != gate.GatewayUnpaired {
					t.Errorf("Head = %q, want %q", reasonOf(h), gate.GatewayUnpaired)
				}
			}()
			for range 3 {
				if n, err := g.Read(p); err == nil && n > len("hello") {
					t.Errorf("Read = %q", p[:n])
				}
			}
			if n, err := g.Read(p); n != 0 || !errors.Is(err, io.EOF) {
				t.Errorf("Read = %q, %v, want EOF", p[:n], err)
			}
		})
	}
}

// TestBodyErrorReachesTheHandlerBeforeTheContext reads a broken body in one
// goroutine while another waits for the context, as a proxy does.
func TestBodyErrorReachesTheHandlerBeforeTheContext(t *testing.T) {
	t.Parallel()
	for rule, raw := range map[string]string{
		"chunked":         "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nx\r\n",
		"expect-continue": "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nx\r\n",
	} {
		errs := make(chan error, 2)
		addr := serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			g := guardOf(r)
			g.Head(r)
			var wg sync.WaitGroup
			wg.Go(func() {
				<-r.Context().Done()
				if g.BodyError() == nil {
					errs <- errors.New("the context ended and BodyError is nil")
					return
				}
				errs <- g.BodyError()
			})
			b, err := io.ReadAll(r.Body)
			if string(b) != "abc" {
				err = fmt.Errorf("read %q", b)
			}
			errs <- err
			wg.Wait()
		}), strict.Limits{}, strict.Hooks{})
		testkit.DialRaw(t, addr).Send([]byte(raw))
		for range 2 {
			err := <-errs
			ve, ok := errors.AsType[*gate.VerdictError](err)
			if !ok || ve.Verdict.Reason != gate.HTTPChunkSize || ve.Verdict.Offset != 8 || !strings.Contains(ve.Verdict.Excerpt, "x\r\n") {
				t.Errorf("%s: %v, want %s at 8 with an excerpt", rule, err, gate.HTTPChunkSize)
			}
		}
	}
}

// TestRefusalSurvivesWhatFollows sends a megabyte behind a bad head: closing
// with that unread would reset the connection and lose the answer.
func TestRefusalSurvivesWhatFollows(t *testing.T) {
	t.Parallel()
	addr := serve(t, http.HandlerFunc(judge), strict.Limits{}, strict.Hooks{})
	for rule, head := range map[string]string{
		"a bad head": "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n",
		"a bad body": "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
	} {
		for range 20 {
			conn := testkit.DialRaw(t, addr)
			conn.Send([]byte(head + strings.Repeat("x", 200<<10)))
			if a, err := conn.Answer(http.MethodPost); err != nil || a.Status != 400 {
				t.Fatalf("%s: answer = %d, %v, want 400", rule, a.Status, err)
			}
			if b, err := conn.Reader().ReadByte(); !errors.Is(err, io.EOF) {
				t.Fatalf("%s: after the answer: %q, %v, want a close without a reset", rule, b, err)
			}
			_ = conn.Close()
		}
	}
}

func TestRefusalOfAClientThatHasSaidItsLast(t *testing.T) {
	t.Parallel()
	addr := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select { // a client that half-closes must not cancel its own refusal
		case <-r.Context().Done():
			t.Error("the context of a refusal was cancelled")
		case <-time.After(20 * time.Millisecond):
		}
		judge(w, r)
	}), strict.Limits{}, strict.Hooks{})
	conn := testkit.DialRaw(t, addr)
	conn.Send([]byte("GET /\r\n\r\n"))
	conn.HalfClose()
	if a := conn.MustAnswer(http.MethodGet); a.Status != 400 {
		t.Errorf("status %d, want 400", a.Status)
	}
}

// TestTicket shows that net/http need not be able to read a target.
func TestTicket(t *testing.T) {
	t.Parallel()
	addr := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := guardOf(r).Head(r)
		if h.Rejection != nil || h.Target != "/%zz?a=%" || h.Host != "a" || r.Host == "a" || len(r.Header) > 0 {
			t.Errorf("head %q %v, request %q %v", h.Target, h.Rejection, r.Host, r.Header)
		}
	}), strict.Limits{}, strict.Hooks{})
	conn := testkit.DialRaw(t, addr)
	for range 2 {
		conn.Send([]byte("GET /%zz?a=% HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n"))
		if a := conn.MustAnswer(http.MethodGet); a.Status != 200 {
			t.Errorf("status %d, want 200", a.Status)
		}
	}
}

func TestServerCloseEndsEveryConnection(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	began := make(chan struct{}, 3)
	srv := newServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		guardOf(r).Head(r)
		began <- struct{}{}
		<-r.Context().Done()
	}))
	done := make(chan error, 1)
	go func() { done <- srv.Serve(guardListener{l, strict.Limits{}, strict.Hooks{}}) }()
	for _, s := range []string{plainGet, handshake, plainGet + plainGet} {
		testkit.DialRaw(t, l.Addr().String()).Send([]byte(s))
		<-began
	}
	_ = srv.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := srv.Shutdown(ctx); err != nil {
		t.Errorf("connections are left: %v", err)
	}
	<-done
}

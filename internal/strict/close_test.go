package strict_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/internal/strict"
	"sallyport/internal/testkit"
)

// TestAnswersSurviveWhatIsPipelinedBehindClose: a client that goes on after it
// asked for the end still gets the answers up to there (RFC 9112 section 9.6).
func TestAnswersSurviveWhatIsPipelinedBehindClose(t *testing.T) {
	t.Parallel()
	addr := serve(t, http.HandlerFunc(judge), strict.Limits{}, strict.Hooks{})
	raw := strings.Repeat(plainGet, 20) + "GET /last HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n" + strings.Repeat(plainGet, 500)
	for range 50 {
		conn := testkit.DialRaw(t, addr)
		conn.Send([]byte(raw))
		for range 20 {
			conn.MustAnswer("GET")
		}
		if a := conn.MustAnswer("GET"); a.Header.Get("X-Target") != "/last" || !a.Close {
			t.Fatalf("the last answer is about %q, close: %v", a.Header.Get("X-Target"), a.Close)
		}
		if _, err := conn.Reader().ReadByte(); !errors.Is(err, io.EOF) {
			t.Fatalf("after the last answer: %v, want a close without a reset", err)
		}
	}
}

// TestServerCloseDoesNotWaitForWhatIsPipelined: each client could hold up the
// end of the server otherwise.
func TestServerCloseDoesNotWaitForWhatIsPipelined(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	began := make(chan struct{})
	srv := newServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		guardOf(r).Head(r)
		began <- struct{}{}
		<-r.Context().Done()
	}))
	done := make(chan error, 1)
	go func() { done <- srv.Serve(guardListener{l, strict.Limits{}, strict.Hooks{}}) }()
	for range 40 {
		testkit.DialRaw(t, l.Addr().String()).Send([]byte(plainGet + plainGet))
		<-began
	}
	from := time.Now()
	_ = srv.Close()
	if took := time.Since(from); took > 10*time.Second {
		t.Errorf("closing took %v", took)
	}
	<-done
}

// TestHalfCloseIsNoFarewell shows that a client which ends its side behind a
// request gets its answer, and that one which does not read it is taken for
// gone in the end.
func TestHalfCloseIsNoFarewell(t *testing.T) {
	for _, tc := range []struct {
		rule   string
		answer time.Duration // that the handler takes for it
		served bool
	}{
		{"an answer at once", 0, true},
		{"an answer after two seconds", 2 * time.Second, true},
		{"no answer for longer than anybody waits", time.Hour, false},
	} {
		t.Run(tc.rule, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				var gone atomic.Int64
				l := newPipeListener()
				srv := newServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					guardOf(r).Head(r)
					select {
					case <-time.After(tc.answer):
						w.WriteHeader(http.StatusNoContent)
					case <-r.Context().Done():
						gone.Store(int64(time.Since(began)))
					}
				}))
				done := make(chan error, 1)
				go func() { done <- srv.Serve(l) }()
				client, server := net.Pipe()
				l.conns <- strict.NewConn(&halfClosed{Conn: server, rest: len(plainGet)}, strict.Limits{}, strict.Hooks{})
				go func() { _, _ = io.WriteString(client, plainGet) }()
				if tc.served {
					if a := answer(t, bufio.NewReader(client)); a.StatusCode != http.StatusNoContent {
						t.Errorf("status %d", a.StatusCode)
					}
				} else {
					time.Sleep(time.Minute)
					if got := time.Duration(gone.Load()); got != 3*time.Second {
						t.Errorf("the client counted as gone after %v, want 3s", got)
					}
				}
				_ = client.Close()
				_ = srv.Close()
				<-done
			})
		})
	}
}

// A halfClosed connection ends its client's side after some bytes.
type halfClosed struct {
	net.Conn
	rest int
}

func (c *halfClosed) Read(p []byte) (int, error) {
	if c.rest == 0 {
		return 0, io.EOF
	}
	n, err := c.Conn.Read(p)
	c.rest -= n
	return n, err
}

package strict_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
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

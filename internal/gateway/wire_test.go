package gateway_test

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/internal/gate"
	"sallyport/internal/testkit"
	"sallyport/internal/wire"
)

// capture is a backend that writes down what reaches it.
type capture struct {
	mu      sync.Mutex
	begun   []string // targets of the requests whose head arrived
	whole   []string // targets of those that arrived to the end
	pending int
}

func (c *capture) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	c.begun = append(c.begun, r.RequestURI)
	c.pending++
	c.mu.Unlock()
	_, err := io.Copy(io.Discard, r.Body)
	c.mu.Lock()
	if c.pending--; err == nil {
		c.whole = append(c.whole, r.RequestURI)
	}
	c.mu.Unlock()
	_, _ = io.WriteString(w, "ok")
}

// take returns what arrived since the last call, once nothing is under way.
func (c *capture) take() (begun, whole []string) {
	for {
		c.mu.Lock()
		if c.pending == 0 {
			begun, whole, c.begun, c.whole = c.begun, c.whole, nil, nil
			c.mu.Unlock()
			return begun, whole
		}
		c.mu.Unlock()
		time.Sleep(time.Millisecond)
	}
}

// testWire sends one case of the corpus and compares every answer, its record,
// and what reached the backend with what the case expects.
func testWire(t *testing.T, e *edge, c wire.Case, seen *capture) {
	t.Helper()
	t.Run(c.Name, func(t *testing.T) {
		conn := testkit.DialRaw(t, e.address)
		conn.Send(c.Raw)
		if c.HalfClose {
			conn.HalfClose()
		}
		method := http.MethodGet
		if strings.HasPrefix(string(c.Raw), "HEAD ") {
			method = http.MethodHead
		}
		var want []string
		for i, expected := range c.Answers {
			a, err := conn.Answer(method)
			if err != nil {
				t.Fatalf("%s: answer %d: %v", c.About, i+1, err)
			}
			r := e.notes.find(t, a.Header.Get("X-Request-Id"))
			switch {
			case expected.Reason == "" && r.Reason == gate.HTTPMethodNotAllowed:
				continue // the grammar accepts any method; this gateway does not
			case expected.Reason != r.Reason || r.Reason != "" && a.Status != expected.Status:
				t.Errorf("%s: answer %d is %d %q (%s), want %d %q", c.About, i+1, a.Status, r.Reason, r.Detail, expected.Status, expected.Reason)
			case r.Reason == "":
				want = append(want, expected.Target)
			}
		}
		begun, whole := seen.take()
		if len(whole) != len(want) || len(begun) != len(want) {
			t.Fatalf("%s: %d requests reached the backend, %d of them whole, want %d", c.About, len(begun), len(whole), len(want))
		}
		for i := range want {
			if want[i] != "" && whole[i] != want[i] {
				t.Errorf("%s: the backend got %q, want %q", c.About, whole[i], want[i])
			}
		}
	})
}

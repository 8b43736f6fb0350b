package gateway_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"sallyport/internal/gate"
	"sallyport/internal/testkit"
)

// TestTimesOfTheConfiguration holds connections to http.header_timeout and
// http.idle_timeout of a file, over TCP.
func TestTimesOfTheConfiguration(t *testing.T) {
	const head, idle = 300 * time.Millisecond, 700 * time.Millisecond
	e := open(t, http.HandlerFunc(leaky), strings.Replace(small, "limits:", "http: {header_timeout: 300ms, idle_timeout: 700ms}\nlimits:", 1))
	for _, tc := range []struct {
		rule, first, then string
		answers           []int
		least             time.Duration // until the gateway closes
	}{
		{"a head that has begun is told", "", "GET / HT", []int{408}, head},
		{"who says nothing is closed", "", "", nil, head},
		{"a connection without another request is closed", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "", []int{200}, idle},
		{"a second head has the time of a head", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HT", []int{200, 408}, head},
	} {
		t.Run(tc.rule, func(t *testing.T) {
			t.Parallel()
			begun := time.Now()
			c := testkit.DialRaw(t, e.address)
			c.Send([]byte(tc.first))
			for _, want := range tc.answers {
				if want == 408 {
					begun = time.Now()
					c.Send([]byte(tc.then))
				}
				a := c.MustAnswer("GET")
				if a.Status != want {
					t.Fatalf("status %d, want %d", a.Status, want)
				}
				if want != 408 {
					begun = time.Now()
					continue
				}
				if r := e.notes.find(t, a.Header.Get("X-Request-Id")); r.Reason != gate.HTTPHeadTimeout {
					t.Errorf("recorded as %q", r.Reason)
				}
			}
			if !c.AtEnd() {
				t.Error("the connection stays open")
			}
			if took := time.Since(begun); took < tc.least-50*time.Millisecond || took > tc.least+5*time.Second {
				t.Errorf("closed after %v, want %v", took, tc.least)
			}
		})
	}
}

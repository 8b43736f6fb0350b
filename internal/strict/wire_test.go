package strict_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"sallyport/internal/gate"
	"sallyport/internal/strict"
	"sallyport/internal/testkit"
	"sallyport/internal/wire"
)

// loadWire is the corpus.
func loadWire(t testing.TB) []wire.Case {
	t.Helper()
	cases, err := wire.All()
	if err != nil {
		t.Fatal(err)
	}
	return cases
}

// loadHTTP1 is the part of the corpus that is in HTTP/1. The tests of
// internal/gateway send the other one.
func loadHTTP1(t testing.TB) []wire.Case {
	t.Helper()
	cases, err := wire.In(wire.HTTP1)
	if err != nil {
		t.Fatal(err)
	}
	return cases
}

// TestWire sends every case of the corpus to a real server behind the guard,
// whole, byte by byte, at twenty random cuts, and through TLS.
func TestWire(t *testing.T) {
	t.Parallel()
	addr := serve(t, http.HandlerFunc(judge), strict.Limits{}, strict.Hooks{})
	certificate := newCertificate(t)
	secure := serveTLS(t, http.HandlerFunc(judge), certificate)
	dialTLS := func(t *testing.T, secure string) *testkit.RawConn {
		conn, err := tls.Dial("tcp", secure, &tls.Config{RootCAs: certificate.pool, ServerName: "example.com"})
		if err != nil {
			t.Fatal(err)
		}
		return testkit.NewRawConn(t, conn)
	}
	for i, c := range loadHTTP1(t) {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			addr, secure := addr, secure
			if len(c.Refuse) > 0 {
				addr, secure = serve(t, judging(c.Refuse), strict.Limits{}, strict.Hooks{}), serveTLS(t, judging(c.Refuse), certificate)
			}
			t.Run("whole", func(t *testing.T) { exchange(t, testkit.DialRaw(t, addr), c, (*testkit.RawConn).Send) })
			if !c.Whole && len(c.Raw) < 4<<10 {
				t.Run("bytewise", func(t *testing.T) { exchange(t, testkit.DialRaw(t, addr), c, (*testkit.RawConn).SendBytewise) })
			}
			t.Run("tls", func(t *testing.T) { exchange(t, dialTLS(t, secure), c, (*testkit.RawConn).Send) })
			if c.Whole {
				return
			}
			// One cut at each of twenty places, then all twenty at once.
			for seed := range uint64(20) {
				t.Run(fmt.Sprintf("cut %d", seed), func(t *testing.T) { exchange(t, testkit.DialRaw(t, addr), c, cutter(seed, 1)) })
			}
			t.Run("cuts", func(t *testing.T) { exchange(t, testkit.DialRaw(t, addr), c, cutter(20, 20)) })
			if i%8 == 0 {
				t.Run("cuts, tls", func(t *testing.T) { exchange(t, dialTLS(t, secure), c, cutter(21, 20)) })
			}
		})
	}
}

// cutter sends in pieces.
func cutter(seed uint64, cuts int) func(*testkit.RawConn, []byte) {
	return func(c *testkit.RawConn, b []byte) { c.SendCut(b, seed, cuts) }
}

// exchange sends one case and compares the answers.
func exchange(t *testing.T, conn *testkit.RawConn, c wire.Case, send func(*testkit.RawConn, []byte)) {
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		send(conn, c.Raw)
		if c.HalfClose {
			conn.HalfClose()
		}
	}()
	defer func() { <-sent }()
	for i, want := range c.Answers {
		got, err := conn.Answer(want.Method)
		if err != nil {
			t.Fatalf("answer %d: %v, want %d %s", i, err, want.Status, want.Reason)
		}
		if reason := got.Header.Get("X-Reason"); got.Status != want.Status || reason != string(want.Reason) {
			t.Fatalf("answer %d = %d %s, want %d %s", i, got.Status, reason, want.Status, want.Reason)
		}
		if want.Target != "" && got.Header.Get("X-Target") != want.Target {
			t.Errorf("answer %d: target %q, want %q", i, got.Header.Get("X-Target"), want.Target)
		}
		if want.HasBody && want.Method != http.MethodHead && got.Body != want.Body {
			t.Errorf("answer %d: body %q, want %q", i, got.Body, want.Body)
		}
	}
	if last := c.Answers[len(c.Answers)-1]; last.Reason == "" {
		conn.HalfClose() // the server closes a connection that it would keep
	}
	if !conn.AtEnd() {
		t.Error("the server did not close the connection")
	}
}

// TestParseHeadAtEveryCut gives the grammar every beginning of every case: it
// must ask for more or say what it says of the whole.
func TestParseHeadAtEveryCut(t *testing.T) {
	t.Parallel()
	for _, c := range loadHTTP1(t) {
		want, size, err := strict.ParseHead(c.Raw, strict.Limits{})
		if errors.Is(err, strict.ErrIncomplete) {
			t.Errorf("%s: the first head is incomplete", c.Name)
			continue
		}
		step := max(1, len(c.Raw)/2000)
		decided := false
		for n := 0; n <= len(c.Raw); n += step {
			h, took, err := strict.ParseHead(c.Raw[:n], strict.Limits{})
			if errors.Is(err, strict.ErrIncomplete) {
				if decided {
					t.Fatalf("%s: %d bytes are incomplete after fewer were not", c.Name, n)
				}
				continue
			}
			decided = true
			if r := reasonOf(h); r != reasonOf(want) {
				t.Fatalf("%s: %d bytes are %q, all are %q", c.Name, n, r, reasonOf(want))
			}
			if h.Rejection == nil && took != size {
				t.Fatalf("%s: %d bytes took %d, all took %d", c.Name, n, took, size)
			}
			if h.Rejection != nil && h.Rejection.Offset != want.Rejection.Offset {
				t.Fatalf("%s: with %d bytes the offset is %d, with all %d", c.Name, n, h.Rejection.Offset, want.Rejection.Offset)
			}
		}
	}
}

// reasonOf is why a head is refused; empty when it is not.
func reasonOf(h *gate.Head) gate.Reason {
	if h.Rejection == nil {
		return ""
	}
	return h.Rejection.Reason
}

// TestEveryReasonHasCases holds the corpus against the table of reasons: what
// can be said in bytes must be refused somewhere, and have an accepted twin.
func TestEveryReasonHasCases(t *testing.T) {
	t.Parallel()
	elsewhere := map[gate.Reason]string{
		gate.HTTPH2Flood:            "more frames than a case should hold",
		gate.HTTPHeadTimeout:        "time",
		gate.HTTPBodyTooSlow:        "time, and not the guard's",
		gate.HTTPReaderTooSlow:      "time",
		gate.HTTPNoHead:             "time",
		gate.HTTPBodyTooLarge:       "the route's limit",
		gate.HTTPMethodNotAllowed:   "the route's methods",
		gate.HTTPTLSHandshake:       "TLS",
		gate.HTTPProxyProtocol:      "before HTTP, and not the guard's",
		gate.HTTPTooManyConnections: "the listener's limit",
	}
	refused, accepted := map[gate.Reason]int{}, map[gate.Reason]int{}
	protocols := map[string]int{}
	for _, c := range loadWire(t) {
		protocols[c.Protocol]++
		folder, name, _ := strings.Cut(c.Name, "/")
		if c.About == "" {
			t.Errorf("%s says not what it is about", c.Name)
		}
		if strings.HasPrefix(name, "ok-") == c.Refused() && folder != "connection" {
			t.Errorf("%s: the name does not go with what is expected", c.Name)
		}
		if strings.HasPrefix(folder, "h2.") { // what is broken there is the connection
			folder = string(gate.HTTPH2Frame)
		}
		if !c.Refused() {
			accepted[gate.Reason(folder)]++
		}
		for _, a := range c.Answers {
			refused[a.Reason]++
		}
		for _, o := range c.Outcomes {
			refused[o.Any[0].Reason]++
		}
	}
	// A handshake that is answered before anything else comes is the twin.
	accepted[gate.HTTPEarlyBytes] = accepted[gate.HTTPUpgrade]
	for _, info := range gate.Reasons() {
		if info.Reason.Stage() != gate.StageHTTP || elsewhere[info.Reason] != "" {
			continue
		}
		if refused[info.Reason] == 0 || accepted[info.Reason] == 0 {
			t.Errorf("%s: %d cases refused, %d accepted twins", info.Reason, refused[info.Reason], accepted[info.Reason])
		}
	}
	if protocols[wire.HTTP1] < 400 || protocols[wire.HTTP2] < 400 {
		t.Errorf("%v cases, want at least 400 in each protocol", protocols)
	}
}

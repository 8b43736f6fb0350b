package gateway_test

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"

	"sallyport/internal/gate"
	"sallyport/internal/testkit"
	"sallyport/internal/wire"
)

// TestWireCorpus sends every HTTP/1 case to the whole gateway, whole and cut
// at twenty places. A refused request must not reach the backend, not
// with one byte: bodies are held to be judged, so that one that breaks off
// later is refused as a whole.
func TestWireCorpus(t *testing.T) {
	cases, err := wire.In(wire.HTTP1)
	if err != nil {
		t.Fatal(err)
	}
	backend := testkit.NewRecorder(t)
	edges := map[string]*edge{} // by what is asked for
	for i, c := range cases {
		asked := strings.Trim(fmt.Sprint(c.Refuse), "[]")
		if edges[asked] == nil {
			edges[asked] = openTo(t, backend.Addr(), `
listeners: [{address: "127.0.0.1:0"}]
limits: []
policies: {default: {inbound_threshold: 1000}}
http: {header_timeout: 1s, max_body: 1MiB, refuse: [`+strings.ReplaceAll(asked, " ", ", ")+`]}
pools: {app: {backends: [{name: one, url: "http://$BACKEND"}], eject: {errors: 0}}}
routes: [{name: site, pool: app}]
audit: {path: audit.jsonl}
admin: {address: ""}
`)
		}
		e := edges[asked]
		t.Run(c.Name, func(t *testing.T) {
			testWire(t, e, c, backend, func(conn *testkit.RawConn) { conn.Send(c.Raw) })
			if !c.Whole {
				testWire(t, e, c, backend, func(conn *testkit.RawConn) { conn.SendCut(c.Raw, uint64(i), 20) })
			}
		})
	}
}

// testWire sends a case and compares every answer, its record, and what
// reached the backend with what the case expects.
func testWire(t *testing.T, e *edge, c wire.Case, backend *testkit.Recorder, send func(*testkit.RawConn)) {
	t.Helper()
	conn := testkit.DialRaw(t, e.address)
	var sending sync.WaitGroup
	defer sending.Wait()
	sending.Go(func() { // a refusal may come before the last byte is gone
		send(conn)
		if c.HalfClose {
			conn.HalfClose()
		}
	})
	var want []wire.Answer
	for i, expected := range c.Answers {
		a, err := conn.Answer(expected.Method)
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
			want = append(want, expected)
		}
	}
	stream := bytes.Join(backend.Take(), nil)
	if len(want) == 0 {
		if len(stream) > 0 {
			t.Errorf("%s: of what was refused the backend got %q", c.About, stream)
		}
		return
	}
	for _, reader := range testkit.Readers() {
		got, err := reader.Read(stream)
		if err != nil || len(got) != len(want) {
			t.Fatalf("%s: a backend (%s) reads %q as %d requests, %v, want %d", c.About, reader.Name, stream, len(got), err, len(want))
		}
		for i := range want {
			if want[i].Target != "" && got[i].Target != want[i].Target {
				t.Errorf("%s: a backend (%s) got %q, want %q", c.About, reader.Name, got[i].Target, want[i].Target)
			}
			if want[i].HasBody && got[i].Body != want[i].Body {
				t.Errorf("%s: a backend (%s) got the body %q, want %q", c.About, reader.Name, got[i].Body, want[i].Body)
			}
		}
	}
	for _, flaw := range testkit.OutgoingFlaws(stream) {
		t.Errorf("%s: the backend got %s", c.About, flaw)
	}
}

// TestClientHeaderIsNotForged: the field that clients.header names comes from
// trusted proxies, or not at all.
func TestClientHeaderIsNotForged(t *testing.T) {
	for _, tc := range []struct {
		rule, trusted string
		want          bool
	}{
		{"from a trusted proxy it goes on", "[127.0.0.0/8]", true},
		{"from anybody else it does not", "[]", false},
	} {
		backend := testkit.NewRecorder(t)
		e := openTo(t, backend.Addr(), `
listeners: [{address: "127.0.0.1:0"}]
clients: {header: X-Edge-Client, trusted_proxies: `+tc.trusted+`}
pools: {app: {backends: [{name: one, url: "http://$BACKEND"}]}}
routes: [{name: site, pool: app}]
audit: {path: audit.jsonl}
admin: {address: ""}
`)
		if a := e.send(t, "GET /\nX-Edge-Client: 203.0.113.9"); a.status != 200 {
			t.Fatalf("%s: status %d", tc.rule, a.status)
		}
		if stream := bytes.Join(backend.Take(), nil); bytes.Contains(stream, []byte("X-Edge-Client: 203.0.113.9")) != tc.want {
			t.Errorf("%s: the backend got %q", tc.rule, stream)
		}
	}
}

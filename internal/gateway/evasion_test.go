package gateway_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/internal/gate"
	"sallyport/internal/testkit"
	"sallyport/internal/wire"
)

// evasionConfig is the gateway as it is by default, over HTTP/1 and HTTP/2,
// and a second site at paranoia level 2.
const evasionConfig = `
listeners:
  - {address: "127.0.0.1:0"}
  - {address: "localhost:0", protocols: [h2c]}
limits: []
policies: {default: {}, level2: {paranoia: 2}}
pools: {app: {backends: [{name: one, url: "http://$BACKEND"}], eject: {errors: 0}}}
routes:
  - {name: level2, hosts: [level2.example], pool: app, policy: level2}
  - {name: site, pool: app}
audit: {path: audit.jsonl}
admin: {address: ""}
`

// An arrived is what a backend got of a request.
type arrived struct {
	method, target, host string
	header               http.Header
	body                 []byte
	err                  error
}

// arrivals keeps what a backend got, by the id of the request.
type arrivals struct{ sync.Map }

// ServeHTTP takes a request in, and enters it before its body is read.
func (a *arrivals) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	id := r.Header.Get("X-Request-Id")
	got := &arrived{method: r.Method, target: r.RequestURI, host: r.Host, header: r.Header}
	a.Store(id, got)
	body, err := io.ReadAll(r.Body)
	header := r.Header.Clone()
	for name, values := range r.Trailer {
		header[name] = append(header[name], values...)
	}
	a.Store(id, &arrived{got.method, got.target, got.host, header, body, err})
}

func (a *arrivals) get(id string) *arrived {
	if got, ok := a.Load(id); ok {
		return got.(*arrived)
	}
	return nil
}

// TestEvasions sends every row of testdata/evasions through the whole gateway,
// over HTTP/1 and HTTP/2: the attack must be refused for the reason that the
// row names, and not one byte of it reach the backend; its twin must pass, and
// the backend get it as it was sent.
func TestEvasions(t *testing.T) {
	rows := evasions(t)
	if len(rows) < 150 {
		t.Errorf("%d rows, want at least 150", len(rows))
	}
	backend := &arrivals{}
	e := open(t, backend, evasionConfig)
	t.Run("rows", func(t *testing.T) {
		seen := map[string]bool{}
		for _, row := range rows {
			if seen[row.name] {
				t.Errorf("%s: there are two cases of the name", row.at)
			}
			seen[row.name] = true
			t.Run(row.name, func(t *testing.T) {
				t.Parallel()
				if row.only != "h2" {
					row.hold(t, "HTTP/1", e, backend, e.http1)
				}
				if row.only != "http1" {
					row.hold(t, "HTTP/2", e, backend, e.http2)
				}
			})
		}
	})
}

// hold sends the two requests of a row and compares.
func (row *evasion) hold(t *testing.T, protocol string, e *edge, backend *arrivals, send func(*testing.T, *evasion, *message) (int, string)) {
	t.Helper()
	attack := row.attack
	if row.level2 {
		attack.fields = slices.Clone(attack.fields)
		for i := range attack.fields {
			if attack.fields[i].Name == "Host" {
				attack.fields[i].Value = "level2.example"
			}
		}
	}
	status, id := send(t, row, &attack)
	r := e.notes.find(t, id)
	got := backend.get(id)
	switch problem := row.judge(status, &r); {
	case row.removed != "":
		if status != http.StatusOK || got == nil || got.header.Get(row.removed) != "" {
			t.Errorf("%s: the attack over %s is answered %d, and the backend got %v", row.at, protocol, status, got)
		}
	case problem != "":
		t.Errorf("%s: the attack over %s is %s", row.at, protocol, problem)
	}
	if got != nil && row.removed == "" {
		t.Errorf("%s: of the attack over %s the backend got %s %.100q with %.100q", row.at, protocol, got.method, got.target, got.body)
	}

	status, id = send(t, row, &row.twin)
	if r = e.notes.find(t, id); status != http.StatusOK || r.Reason != "" {
		t.Errorf("%s: the twin over %s is answered %d %s %s (%s), rules %v", row.at, protocol, status, r.Action, r.Reason, r.Detail, matched(&r))
		return
	}
	if differs := row.twin.differs(backend.get(id)); differs != "" {
		t.Errorf("%s: of the twin over %s the backend got %s", row.at, protocol, differs)
	}
}

// judge compares the refusal of the attack with what the row expects, and
// tells what is wrong.
func (row *evasion) judge(status int, r *gate.Record) string {
	rules := matched(r)
	if r.Action == "refuse" && r.Reason == row.reason && status == row.reason.Info().Status &&
		(row.rule == "" || slices.ContainsFunc(rules, func(id string) bool { return strings.HasPrefix(id, row.rule) })) {
		return ""
	}
	return fmt.Sprintf("answered %d %s %s (%s), rules %v; want %s %s", status, r.Action, r.Reason, r.Detail, rules, row.reason, row.rule)
}

// matched lists the rules that add to the score.
func matched(r *gate.Record) (ids []string) {
	if r.WAF == nil {
		return nil
	}
	for _, m := range r.WAF.Matches {
		if m.Score > 0 {
			ids = append(ids, strconv.Itoa(m.Rule))
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// differs tells what of the message did not arrive as it was sent.
func (m *message) differs(got *arrived) string {
	switch want := strings.TrimPrefix(m.target, "http://"+m.field("Host")); {
	case got == nil:
		return "nothing"
	case got.err != nil:
		return fmt.Sprintf("a body that breaks: %v", got.err)
	case got.method != m.method || got.target != want:
		return fmt.Sprintf("%s %q, want %s %q", got.method, got.target, m.method, want)
	case got.host != m.field("Host"):
		return fmt.Sprintf("the host %q", got.host)
	}
	sent := http.Header{}
	for _, f := range m.fields {
		sent.Add(f.Name, strings.Trim(f.Value, " \t"))
	}
	for name, values := range sent {
		switch name {
		case "Host", "Content-Length", "Transfer-Encoding", "Connection", "Te":
			continue
		case "Cookie": // HTTP/2 may carry one cookie in each field
			values = []string{strings.Join(values, "; ")}
		}
		if arrived := got.header.Values(name); !slices.Equal(arrived, values) && !slices.Equal(arrived, sent[name]) {
			return fmt.Sprintf("the field %s as %q, want %q", name, arrived, values)
		}
	}
	body := string(m.body)
	if m.chunked() && strings.HasSuffix(body, "\r\n0\r\n\r\n") { // written in chunks
		_, body, _ = strings.Cut(strings.TrimSuffix(body, "\r\n0\r\n\r\n"), "\r\n")
	}
	if string(got.body) != body {
		return fmt.Sprintf("the body %.200q", got.body)
	}
	return ""
}

// http1 sends a message and returns the status and the id of the request.
func (e *edge) http1(t *testing.T, row *evasion, m *message) (int, string) {
	t.Helper()
	conn := testkit.DialRaw(t, e.Addresses()["127.0.0.1:0"].String())
	defer conn.Close()
	var sending sync.WaitGroup
	defer sending.Wait()
	sending.Go(func() { conn.Send(m.http1(row)) }) // a refusal may come before the last byte is gone
	a := conn.MustAnswer(m.method)
	return a.Status, a.Header.Get("X-Request-Id")
}

// http2 does the same over HTTP/2.
func (e *edge) http2(t *testing.T, row *evasion, m *message) (int, string) {
	t.Helper()
	c, err := m.http2(row)
	if err != nil {
		t.Fatalf("%s: %v", row.at, err)
	}
	conn, err := net.Dial("tcp", e.Addresses()["localhost:0"].String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	var x wire.Exchange
	if err := x.Play(conn, &c, nil); err != nil || x.Stream(1) == nil {
		t.Fatalf("%s: no answer over HTTP/2: %v, %v", row.at, x.Ending(1), err)
	}
	return x.Stream(1).Status, x.Stream(1).Get("x-request-id")
}

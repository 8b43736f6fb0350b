//go:build integration

package gateway_test

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/internal/gate"
	"sallyport/internal/testkit"
	"sallyport/internal/wire"
)

// An exception is a request that the gateway accepts and a peer answers by
// itself instead of passing it on. That is no disagreement: it saw one request.
type exception struct {
	status int
	why    string
}

// exceptions are under review: a peer that answers otherwise than listed fails
// the test, and one that no longer does so fails it as well. They are named by
// their case, with #N behind it for the Nth request of one that has several.
var exceptions = map[string]map[string]exception{
	"nginx": {
		"http.target_form/ok-options-asterisk":     {400, "it does not know the asterisk form"},
		"connection/ok-options-asterisk-between#2": {400, "the same"},
		"http.target_form/ok-options-absolute":     {400, "the same: an OPTIONS without a path becomes one of the server (RFC 9112 section 3.2.4)"},
	},
	"haproxy": {
		"http.head_too_large/ok-longest-name": {400, "it takes names of fields up to 255 bytes"},
	},
	"apache": {
		"http.host_invalid/ok-empty-port":          {400, "it wants digits behind the colon, which RFC 3986 section 3.2.3 does not"},
		"http.target_form/ok-options-asterisk":     {200, "it answers for itself, being asked about the server (RFC 9110 section 9.3.7)"},
		"http.target_form/ok-options-absolute":     {200, "the same"},
		"connection/ok-options-asterisk-between#2": {200, "the same"},
		"http.host_invalid/ok-ipv6-empty-port":     {400, "digits behind the colon, as above"},
	},
}

// behindPeers is the configuration of the gateway in front of a peer: every
// method of the corpus that may be forwarded at all is, and bodies are held to
// be judged, so that nothing of a refused request may go out.
const behindPeers = `
listeners: [{address: "127.0.0.1:0"}]
limits: []
policies: {default: {inbound_threshold: 1000}}
http:
  header_timeout: 1s
  max_body: 1MiB
  methods: [GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, M-SEARCH, AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA]
pools: {app: {backends: [{name: one, url: "http://$BACKEND"}], eject: {errors: 0}}}
routes: [{name: site, pool: app}]
audit: {path: audit.jsonl}
admin: {address: ""}
`

// TestPeersSeeTheSameRequests puts real servers behind the gateway and sends
// them the wire corpus. What the gateway judged, what the server wrote into its
// own access log and what it passed on to an origin must be the same requests,
// one by one, and of a refused request there must be no trace.
func TestPeersSeeTheSameRequests(t *testing.T) {
	cases, err := wire.In(wire.HTTP1)
	if err != nil {
		t.Fatal(err)
	}
	// What has to be asked for is refused as the rest is; it needs no peer.
	cases = slices.DeleteFunc(cases, func(c wire.Case) bool { return len(c.Refuse) > 0 })
	for _, p := range []peer{nginx, haproxy, apache} {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			p.demand(t)
			v := &view{peer: p.name, origin: newOrigin(t), excepted: map[string]bool{}}
			run := p.start(t, v.origin.address)
			v.log = run.log
			v.edge = openTo(t, run.address, behindPeers)
			for i := range cases {
				v.look(t, &cases[i])
			}
			run.stop(t)
			v.end(t)
			if t.Failed() {
				return
			}
			t.Logf("%s: %d cases; %d accepted requests, of which its log and the origin behind it saw %d alike and it answered %d itself, as listed; %d refused requests, of which it saw none",
				p.version(t), len(cases), v.accepted, v.accepted-len(v.excepted), len(v.excepted), v.kept)
		})
	}
}

// A view is what one peer saw of the corpus.
type view struct {
	peer   string
	edge   *edge
	origin *origin
	log    *accessLog

	accepted, kept int             // requests that went on to the peer, and that did not
	excepted       map[string]bool // by name: what the peer answered itself
}

// look sends one case and compares what everybody saw of it.
func (v *view) look(t *testing.T, c *wire.Case) {
	t.Helper()
	var want []judged
	for i, a := range sendCase(t, v.edge, c) {
		r := v.edge.notes.find(t, a.Header.Get("X-Request-Id"))
		switch expected := c.Answers[i]; {
		case expected.Reason == "" && r.Reason == gate.HTTPMethodNotAllowed:
			v.kept++ // the grammar accepts any method; no configuration allows this one
		case expected.Reason != r.Reason:
			t.Errorf("%s: answer %d is %d %q (%s), want %q", c.Name, i+1, a.Status, r.Reason, r.Detail, expected.Reason)
		case r.Reason != "":
			v.kept++
		default:
			// The record has the target as it was received. Where that is not
			// what was judged, in the absolute form, the case says what was.
			r.Request.Target = cmp.Or(expected.Target, r.Request.Target)
			name := c.Name
			if len(c.Answers) > 1 {
				name = fmt.Sprintf("%s#%d", c.Name, i+1)
			}
			want = append(want, judged{r, name, expected})
		}
	}
	v.accepted += len(want)
	lines := v.log.take(len(want))
	for _, w := range want {
		at := slices.IndexFunc(lines, func(l logLine) bool { return l.id == w.ID })
		if at < 0 { // a head that the peer refused: the line has no id
			at = slices.IndexFunc(lines, func(l logLine) bool { return l.id == "-" })
		}
		if at < 0 {
			t.Errorf("%s: %s did not see %q %q", w.name, v.peer, w.Request.Method, w.Request.Target)
			continue
		}
		v.compare(t, w, lines[at])
		lines = slices.Delete(lines, at, at+1)
	}
	if len(lines) > 0 {
		t.Errorf("%s: %s saw more than was judged: %v", c.Name, v.peer, lines)
	}
}

// judged is a request that the gateway accepted.
type judged struct {
	gate.Record
	name     string
	expected wire.Answer
}

// compare holds one line of the peer's log, and what arrived behind the peer,
// against what was judged.
func (v *view) compare(t *testing.T, w judged, l logLine) {
	t.Helper()
	name, r, expected := w.name, w.Record, w.expected
	behind := v.origin.take(r.ID)
	// What a peer cannot parse it does not log in full.
	if method, rest, _ := strings.Cut(l.request, " "); l.request != "<BADREQ>" && (method != r.Request.Method || !strings.HasPrefix(rest, r.Request.Target+" ")) {
		t.Errorf("%s: %s saw %q, judged was %q %q", name, v.peer, l.request, r.Request.Method, r.Request.Target)
	}
	if e, ok := exceptions[v.peer][name]; ok {
		v.excepted[name] = true
		if l.status != e.status || len(behind) != 0 {
			t.Errorf("%s: %s answered %d and passed on %v, want %d and nothing: %s", name, v.peer, l.status, behind, e.status, e.why)
		}
		return
	}
	if l.status != 200 || l.id != r.ID {
		t.Errorf("%s: %s answered %d to %q with the id %q, want 200 and %q", name, v.peer, l.status, l.request, l.id, r.ID)
	}
	if len(behind) != 1 {
		t.Errorf("%s: behind %s arrived %d requests, want 1: %v", name, v.peer, len(behind), behind)
		return
	}
	s := behind[0]
	if s.method != r.Request.Method || s.target != r.Request.Target || int64(len(s.body)) != r.Request.Bytes || expected.HasBody && s.body != expected.Body {
		t.Errorf("%s: behind %s arrived %v, judged was %q %.200q, a body of %d bytes, want %.80q",
			name, v.peer, s, r.Request.Method, r.Request.Target, r.Request.Bytes, expected.Body)
	}
}

// end looks for what nobody has accounted for.
func (v *view) end(t *testing.T) {
	t.Helper()
	if lines := v.log.take(0); len(lines) > 0 {
		t.Errorf("%s saw requests that nobody sent: %v", v.peer, lines)
	}
	if left := v.origin.left(); len(left) > 0 {
		t.Errorf("behind %s arrived what was not judged: %v", v.peer, left)
	}
	for _, name := range slices.Sorted(maps.Keys(exceptions[v.peer])) {
		if !v.excepted[name] {
			t.Errorf("%s was never asked %s: remove it from the exceptions", v.peer, name)
		}
	}
	for _, err := range v.log.errs {
		t.Errorf("the log of %s: %v", v.peer, err)
	}
}

// sendCase sends a case as its protocol asks, and returns one answer for each
// that is expected.
func sendCase(t *testing.T, e *edge, c *wire.Case) []testkit.RawAnswer {
	t.Helper()
	conn := testkit.DialRaw(t, e.address)
	defer conn.Close()
	conn.Send(c.Raw)
	if c.HalfClose {
		conn.HalfClose()
	}
	var got []testkit.RawAnswer
	for i, expected := range c.Answers {
		a, err := conn.Answer(expected.Method)
		if err != nil {
			t.Errorf("%s: answer %d: %v", c.Name, i+1, err)
			break
		}
		got = append(got, a)
	}
	return got
}

// A logLine is one request in a peer's access log.
type logLine struct {
	id      string // "" or "-" where the peer did not get as far
	status  int
	request string // the request line
}

// An accessLog is the growing file that a peer writes one line for each
// request to: the id, the status and the request line, with a space between.
type accessLog struct {
	read   func() ([]byte, error) // what was written since the last call
	decode func(string) string    // undoes what the peer escapes

	rest []byte
	errs []error
}

// take returns the lines that came since the last call, waiting for n of them
// as long as that may take: a peer writes when the answer has gone out, which
// the client may see first.
func (l *accessLog) take(n int) []logLine {
	var lines []logLine
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		b, err := l.read()
		if err != nil {
			l.errs = append(l.errs, err)
		}
		l.rest = append(l.rest, b...)
		for {
			line, rest, ok := bytes.Cut(l.rest, []byte("\n"))
			if !ok {
				break
			}
			l.rest = rest
			lines = append(lines, l.parse(string(line)))
		}
		if len(lines) >= n || time.Now().After(end) {
			return lines
		}
	}
}

func (l *accessLog) parse(line string) logLine {
	id, rest, _ := strings.Cut(line, " ")
	status, request, _ := strings.Cut(rest, " ")
	out := logLine{id: cmp.Or(id, "-"), request: l.decode(request)}
	if _, err := fmt.Sscanf(status, "%3d", &out.status); err != nil {
		l.errs = append(l.errs, fmt.Errorf("log line %q: %w", line, err))
	}
	return out
}

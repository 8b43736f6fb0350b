package gateway_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/internal/gate"
	"sallyport/internal/testkit"
	"sallyport/internal/wire"
)

// arrivalsOf reads what came on one connection to the backend. The error says
// that something there is no whole request.
func arrivalsOf(stream []byte) (all []wire.Arrival, err error) {
	br := bufio.NewReader(bytes.NewReader(stream))
	for {
		r, err := http.ReadRequest(br)
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return all, err
		}
		a := wire.Arrival{Target: r.RequestURI, Body: string(body), Fields: map[string]string{"host": r.Host}}
		for _, h := range []http.Header{r.Header, r.Trailer} {
			for name, values := range h {
				a.Fields[strings.ToLower(name)] = strings.Join(values, ", ")
			}
		}
		all = append(all, a)
	}
}

// A player sends the HTTP/2 cases of the corpus to a gateway, one after the
// other, and holds everything that happens against what they expect.
type player struct {
	edge     *edge
	backend  *testkit.Recorder
	plain    string // address of the listener with h2c
	secure   string // and of the one with TLS
	roots    *x509.CertPool
	answered map[string]string // by the id of the record, the case
	played   map[string]*fate  // by the address of the client
	late     sync.WaitGroup    // for connections that end by themselves
	held     bool              // bodies are held until they are whole
	mayCut   int               // requests that the backend may still get in part
}

// A fate is what the records must say of the connections from one address,
// apart from the requests that were answered.
type fate struct {
	name    string
	broken  int // connections that were ended for what came on them
	unheard int // requests without an answer
}

// corpusConfig is what the statuses of the corpus suppose. The rules see every
// request and refuse none: what they hold back of a body shows that a broken
// one reaches the backend with no byte.
const corpusConfig = `
listeners:
  - {address: "127.0.0.1:0", protocols: [h2c]}
  - {address: "localhost:0", protocols: [http2], tls: {certificates: [{cert: site.pem, key: site.key}]}}
limits: []
policies: {default: {inbound_threshold: 1000}}
http: {header_timeout: 5s, max_body: 1MiB}
pools: {app: {backends: [{name: one, url: "http://$BACKEND"}], eject: {errors: 0}}}
routes: [{name: site, pool: app}]
audit: {path: audit.jsonl}
admin: {address: ""}
`

func newPlayer(t *testing.T, text string) *player {
	t.Helper()
	cert, key := testkit.CertificatePEM(t, time.Now().Add(time.Hour), "a.example")
	p := &player{backend: testkit.NewRecorder(t), roots: x509.NewCertPool(), answered: map[string]string{}, played: map[string]*fate{}}
	p.roots.AppendCertsFromPEM(cert)
	p.edge = openTo(t, p.backend.Addr(), text, "site.pem", string(cert), "site.key", string(key))
	p.plain, p.secure = p.edge.Addresses()["127.0.0.1:0"].String(), p.edge.Addresses()["localhost:0"].String()
	return p
}

func (p *player) dial(t *testing.T, secure bool) net.Conn {
	t.Helper()
	address := p.plain
	if secure {
		address = p.secure
	}
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	if secure {
		c = tls.Client(c, &tls.Config{RootCAs: p.roots, ServerName: "a.example", NextProtos: []string{"h2"}})
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(8 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestWireCorpusHTTP2 sends every HTTP/2 case to the whole gateway, in one
// piece and cut at random places, and a sample over TLS. With the rules off
// nobody holds the bodies but the gateway itself.
func TestWireCorpusHTTP2(t *testing.T) {
	t.Run("rules", func(t *testing.T) { testWireHTTP2(t, corpusConfig, true) })
	t.Run("no rules", func(t *testing.T) {
		testWireHTTP2(t, strings.Replace(corpusConfig, "inbound_threshold: 1000", `mode: "off"`, 1), false)
	})
}

func testWireHTTP2(t *testing.T, text string, held bool) {
	cases, err := wire.In(wire.HTTP2)
	if err != nil {
		t.Fatal(err)
	}
	if len(cases) < 220 {
		t.Errorf("%d HTTP/2 cases, want at least 220", len(cases))
	}
	p := newPlayer(t, text)
	p.held = held
	rnd := rand.New(rand.NewPCG(9113, 7541))
	for i, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			t.Run("whole", func(t *testing.T) { p.play(t, c, false, nil) })
			if !c.Whole {
				t.Run("cut", func(t *testing.T) { p.play(t, c, false, cuts(rnd, len(c.Raw))) })
			}
			// The certificate is for one name; cases about others are about
			// something else here.
			if i%3 == 0 && !strings.HasPrefix(c.Name, "http.host_") {
				t.Run("tls", func(t *testing.T) { p.play(t, c, true, cuts(rnd, len(c.Raw))) })
			}
		})
	}
	p.late.Wait()
	p.account(t)
}

// cuts are twenty places in n bytes, in order.
func cuts(rnd *rand.Rand, n int) []int {
	at := make([]int, 20)
	for i := range at {
		at[i] = rnd.IntN(n + 1)
	}
	slices.Sort(at)
	return at
}

// play sends one case and compares.
func (p *player) play(t *testing.T, c wire.Case, secure bool, cuts []int) {
	conn := p.dial(t, secure)
	var x wire.Exchange
	if err := x.Play(conn, &c, cuts); err != nil && !x.Ended() {
		t.Errorf("%s: reading the answers: %v", c.About, err)
	}
	want := p.judge(t, &c, &x, conn.LocalAddr().String())
	if gone := x.Ending(0); gone.Kind == wire.GoneAway {
		p.late.Go(func() { // a connection error ends the connection (RFC 9113 section 5.4.1)
			for x.Next(conn) == nil {
			}
			if !x.Ended() {
				t.Errorf("%s: %s, but the connection stays open", c.About, gone)
			}
			conn.Close()
		})
	} else {
		conn.Close()
	}
	p.compare(t, &c, want)
}

// judge compares the endings of the streams, and returns what the backend must
// have got.
func (p *player) judge(t *testing.T, c *wire.Case, x *wire.Exchange, client string) (want []wire.Outcome) {
	t.Helper()
	if p.played[client] == nil { // else another connection had the port before
		p.played[client] = &fate{name: c.Name}
	}
	fate := p.played[client]
	opened, bodies := c.Opens()
	fate.unheard += opened
	if !p.held && x.Ending(0).Kind == wire.GoneAway {
		p.mayCut += bodies // what was accepted and is under way when the connection ends
	}
	if end := x.Ending(0); end.Kind == wire.GoneAway || end.Kind == wire.Closed {
		fate.broken++
	}
	for i, o := range c.Outcomes {
		got := x.Ending(o.Stream)
		detail := ""
		if got.Kind == wire.Answered {
			id := x.Stream(o.Stream).Get("x-request-id")
			if id == "" {
				t.Errorf("%s: outcome %d, on stream %d, is %s, and not of the gateway's making", c.About, i+1, o.Stream, got)
				continue
			}
			r := p.edge.notes.find(t, id)
			if other := p.answered[id]; other != "" {
				t.Errorf("%s: the record %s answers %s too", c.About, id, other)
			}
			p.answered[id] = c.Name
			fate.unheard--
			got.Reason, detail = r.Reason, r.Detail
		} else if o.EndsConnection(got) {
			got.Reason, detail = p.edge.notes.ofConnection(t, client, fate.broken)
		}
		if !o.Right(got, got.Reason) {
			t.Errorf("%s: outcome %d, on stream %d, is %s (%s), want %s", c.About, i+1, o.Stream, got, detail, o.Expected())
		}
		if got.Kind == wire.Answered && got.Reason == "" {
			want = append(want, o)
		}
	}
	for _, stray := range c.Stray(x) {
		t.Errorf("%s: %s", c.About, stray)
	}
	return want
}

// compare holds what reached the backend against the accepted requests.
func (p *player) compare(t *testing.T, c *wire.Case, want []wire.Outcome) {
	t.Helper()
	var whole []wire.Arrival
	for _, stream := range p.backend.Take() {
		all, err := arrivalsOf(stream)
		whole = append(whole, all...)
		if err == nil {
			agreed(t, c, stream, all)
		} else if p.mayCut--; p.mayCut < 0 {
			t.Errorf("%s: the backend got %.200q, which is no whole request: %v", c.About, stream, err)
		}
	}
	p.mayCut = max(p.mayCut, 0)
	for _, differs := range wire.Compare(want, whole) {
		t.Errorf("%s: %s", c.About, differs)
	}
}

// agreed holds that careless backends read the same requests: nothing of what
// came in frames may turn into framing on the way down.
func agreed(t *testing.T, c *wire.Case, stream []byte, all []wire.Arrival) {
	t.Helper()
	for _, reader := range testkit.Readers() {
		got, err := reader.Read(stream)
		same := err == nil && slices.EqualFunc(got, all, func(m testkit.Message, a wire.Arrival) bool { return m.Target == a.Target && m.Body == a.Body })
		if !same {
			t.Errorf("%s: a backend (%s) reads %.200q as %.200q, %v", c.About, reader.Name, stream, got, err)
		}
	}
	for _, flaw := range testkit.OutgoingFlaws(stream) {
		t.Errorf("%s: the backend got %s", c.About, flaw)
	}
}

// ofConnection returns why a connection was ended: the nth from this address,
// for the port of an earlier one may have come round again.
func (n *notes) ofConnection(t *testing.T, client string, nth int) (reason gate.Reason, detail string) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		found := 0
		n.mu.Lock()
		for i := range n.list {
			if r := &n.list[i]; r.Client.Peer == client && endsConnection(r) {
				found++
				reason, detail = r.Reason, r.Detail
			}
		}
		n.mu.Unlock()
		if found >= nth {
			return reason, detail
		}
	}
	t.Errorf("no record of the end of the connection from %s, number %d from there", client, nth)
	return "", ""
}

// endsConnection reports whether a record tells of a connection that was ended
// for what came on it, and not of one request.
func endsConnection(r *gate.Record) bool {
	return r.Request.Method == "" && (r.Reason == gate.HTTPH2Frame || r.Reason == gate.HTTPNoHead)
}

// account holds all records of a run against what the clients saw: a request
// that was answered has exactly one, a connection that was ended has exactly
// one, and a request without an answer has one at most.
func (p *player) account(t *testing.T) {
	t.Helper()
	p.edge.close(t)()
	count := map[string]int{}
	for _, r := range p.edge.notes.list {
		fate := p.played[r.Client.Peer]
		switch {
		case fate == nil:
			t.Errorf("a record of %s, which sent nothing: %q (%s)", r.Client.Peer, r.Reason, r.Detail)
		case p.answered[r.ID] != "":
			count[r.ID]++
		case endsConnection(&r):
			fate.broken--
		default:
			fate.unheard--
			t.Logf("%s: without an answer: %q (%s, %q)", fate.name, r.Reason, r.Detail, r.Request.Target)
		}
	}
	for id, name := range p.answered {
		if count[id] != 1 {
			t.Errorf("%s: %d records with id %s, want 1", name, count[id], id)
		}
	}
	for client, fate := range p.played {
		if fate.broken != 0 || fate.unheard < 0 {
			t.Errorf("%s, from %s: %d connections more were ended than recorded, %d requests more unanswered than recorded", fate.name, client, fate.broken, fate.unheard)
		}
	}
	t.Logf("%d answers, %d records", len(p.answered), len(p.edge.notes.list))
}

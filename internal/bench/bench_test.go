package main

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/internal/traffic"
)

// TestSmallRun measures the servers that need nothing but Go with a few
// requests, so that the bench works when somebody needs it.
func TestSmallRun(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the gateway and the stock proxies")
	}
	mixes, err := choose("tiny, attack")
	if err != nil {
		t.Fatal(err)
	}
	var out, progress bytes.Buffer
	if err := run(t.Context(), options{rounds: 1, mixes: mixes, share: 1}, &out, &progress); err != nil {
		t.Fatalf("%v\n%s", err, progress.String())
	}
	text := out.String()
	for want, times := range map[string]int{"\n| tiny |": 4, "\n| attack |": 4, "| Sallyport, fast |": 5, "nginx is not": 0, "not expected": 0, "No figures of nginx": 2} {
		if got := strings.Count(text, want); got != times {
			t.Errorf("%q is printed %d times, want %d", want, got, times)
		}
	}
	if lines := strings.Count(progress.String(), "round 1 of 1"); lines != 4 {
		t.Errorf("%d lines of progress, want 4", lines)
	}
	if t.Failed() {
		t.Logf("%s\n%s", text, progress.String())
	}
}

func TestChoose(t *testing.T) {
	if all, err := choose(" "); err != nil || len(all) != len(traffic.Mixes()) {
		t.Errorf("%d mixes and %v, want all", len(all), err)
	}
	for _, m := range traffic.Mixes() {
		if n := perRound[m.Name]; n == 0 || n%traffic.RepeatedRequests != 0 {
			t.Errorf("%d requests of %s in a round", n, m.Name)
		}
	}
	if _, err := choose("tiny,tinier"); err == nil || !strings.Contains(err.Error(), `"tinier"`) {
		t.Errorf("a mix that is none: %v", err)
	}
}

// TestExpects holds what each answer is taken for: a proxy that refuses
// everything, or nothing, must not look fast.
func TestExpects(t *testing.T) {
	passed, refused := answer{http.StatusOK, len(page)}, answer{http.StatusForbidden, 10}
	for _, c := range []struct {
		mix            string
		benign, judges bool
		answer         answer
		fine           bool
	}{
		{traffic.Tiny, true, true, passed, true},
		{traffic.Tiny, true, true, refused, false},
		{traffic.Tiny, true, true, answer{http.StatusOK, 0}, false},
		{traffic.Attack, false, true, refused, true},
		{traffic.Attack, false, true, passed, false},
		{traffic.Attack, false, true, answer{http.StatusBadGateway, 10}, false},
		{traffic.Attack, false, false, passed, true},
		{traffic.Attack, false, false, refused, false},
		{traffic.Hostile, false, true, passed, true},
		{traffic.Hostile, false, true, answer{http.StatusBadRequest, 10}, true},
		{traffic.Hostile, false, true, answer{http.StatusServiceUnavailable, 10}, false},
	} {
		s := &server{judges: c.judges}
		if want := s.expects(&traffic.Request{Mix: c.mix, Benign: c.benign}, c.answer); (want == "") != c.fine {
			t.Errorf("%+v: wants %q", c, want)
		}
	}
}

func TestJudge(t *testing.T) {
	r := report{servers: []*server{{name: "one", tolerated: 0.01}}}
	for _, c := range []struct {
		requests, others int
		fine             bool
	}{{16, 0, true}, {16, 2, true}, {16, 3, false}, {1000, 10, true}, {1000, 11, false}} {
		r.rows = []*row{{mix: "tiny", samples: [][]sample{{{requests: c.requests}}}, others: []others{{count: c.others}}}}
		if err := r.judge(); (err == nil) != c.fine {
			t.Errorf("%d of %d: %v", c.others, c.requests, err)
		}
	}
}

func TestReadEngine(t *testing.T) {
	text := `goos: linux
BenchmarkEngine/json-1k/coraza-2         	      48	   9900000 ns/op	   9800000 cpu-ns/op	  800000 B/op	    9054 allocs/op
BenchmarkEngine/json-1k/stock-2          	      48	   9900000 ns/op	   9700000 cpu-ns/op	         0 proven	  800000 B/op	    9129 allocs/op
BenchmarkEngine/json-1k/fast             	      48	   9900000 ns/op	    980000 cpu-ns/op	         0.75 proven	  800000 B/op	     107 allocs/op
BenchmarkEngine/json-1k/coraza-2         	      48	   9900000 ns/op	   9600000 cpu-ns/op	  800000 B/op	    9054 allocs/op
PASS
`
	row, err := readEngine("json-1k", text)
	if err != nil || row.ns != [3]float64{9.6e6, 9.7e6, 9.8e5} || row.proven != 0.75 || row.allocs[2] != 107 {
		t.Errorf("%+v, %v", row, err)
	}
	if _, err := readEngine("tiny", text); err == nil {
		t.Error("figures of another mix were accepted")
	}
}

func TestRatio(t *testing.T) {
	at := func(requests int, cpu ...time.Duration) (all []sample) {
		for _, c := range cpu {
			all = append(all, sample{requests: requests, cpu: c})
		}
		return all
	}
	r := row{samples: [][]sample{at(10, 100, 300), at(20, 200, 200)}} // twice as many, at the same price
	if all, smallest, largest := r.ratio(0, 1); all != 2 || smallest != 1 || largest != 3 {
		t.Errorf("%v (%v–%v), want 2 (1–3)", all, smallest, largest)
	}
}

// TestSupply holds that each request is made once, whoever asks for it first, and
// that there is an end to them.
func TestSupply(t *testing.T) {
	u := &supply{generator: traffic.New(traffic.Multipart, traffic.Fresh, 1), first: 32}
	all := slices.Clone(u.take(0, 32))
	if again := u.take(16, 16); &again[0] != &u.made[16] || string(again[0].Body) != string(all[16].Body) || string(all[0].Body) == string(all[16].Body) {
		t.Error("the second server gets other requests")
	}
	u.bytes += maxSupply
	if more := u.take(32, 16); more != nil {
		t.Errorf("%d more requests where there is no room", len(more))
	}
	if known := u.take(16, 16); len(known) != 16 {
		t.Errorf("%d requests of those that are there", len(known))
	}
}

func TestFigure(t *testing.T) {
	for v, want := range map[float64]string{0: "0.0", 9.94: "9.9", 12.3: "12", 999.4: "999", 1234: "1,234", 1234567: "1,234,567"} {
		if got := figure(v); got != want {
			t.Errorf("%v is %s, want %s", v, got, want)
		}
	}
}

// TestKeptConnection holds that a client survives a server that closes a
// connection between two requests, and tells of one that never answers.
func TestKeptConnection(t *testing.T) {
	l, err := listenBackend()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := &client{address: l.Addr().String()}
	defer c.close()
	raw := fmt.Appendf(nil, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", traffic.Host)
	for range 2 {
		if a, err := c.ask(raw); err != nil || a != (answer{http.StatusOK, len(page)}) {
			t.Fatalf("%+v, %v", a, err)
		}
		if err := c.conn.Close(); err != nil { // as if the server had
			t.Fatal(err)
		}
	}
	dead := &client{address: freeAddress()}
	if _, err := dead.ask(raw); err == nil {
		t.Error("an answer of nobody")
	}
}

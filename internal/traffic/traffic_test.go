package traffic_test

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"testing"

	"go.uber.org/zap"

	"sallyport/internal/gate"
	"sallyport/internal/strict"
	"sallyport/internal/traffic"
	"sallyport/waf"
)

// judge has the stock engine judge a request at level 1, as the strict reader
// hands it over.
func judge(t *testing.T, e *waf.Engine, r *traffic.Request) (gate.Verdict, gate.Inspection) {
	t.Helper()
	raw := r.Raw()
	head, n, err := strict.ParseHead(raw, strict.Limits{})
	if err != nil || head.Rejection != nil || len(head.Hygiene) > 0 {
		t.Fatalf("%s: the strict reader refuses it: %v, %+v, %+v\n%.2000s", r.Mix, err, head.Rejection, head.Hygiene, raw)
	}
	if body := raw[n:]; head.Length != int64(len(body)) {
		t.Fatalf("%s: a length of %d for a body of %d bytes", r.Mix, head.Length, len(body))
	}
	h := &http.Request{Method: head.Method, Header: http.Header{}, Body: http.NoBody, Proto: head.Proto}
	if len(r.Body) > 0 {
		h.Body = io.NopCloser(bytes.NewReader(raw[n:]))
	}
	tx := e.Begin(&gate.Request{HTTP: h, Head: head, ID: "test", Client: netip.MustParseAddr("203.0.113.7"),
		Peer: netip.MustParseAddrPort("203.0.113.7:4321"), Route: &gate.Route{Name: "test", Policy: "default"}})
	v := tx.Request()
	if v.Passed() {
		if _, err := io.Copy(io.Discard, h.Body); err != nil {
			if late, ok := err.(*gate.VerdictError); ok {
				v = late.Verdict
			} else {
				t.Fatalf("%s: %v", r.Mix, err)
			}
		}
	}
	return v, tx.Close()
}

func engine(t *testing.T) *waf.Engine {
	t.Helper()
	p := waf.Policy{Mode: gate.Enforce, Engine: waf.StockEngine, Paranoia: 1, InboundThreshold: 5, OutboundThreshold: 4, Inspect: 1 << 20, ResponseBody: "errors", ResponseLimit: 512 << 10}
	e, err := waf.New(waf.Config{Memory: 64 << 20, Policies: map[string]waf.Policy{"default": p}}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// TestVerdicts holds that the benign requests pass the Core Rule Set at level 1
// and that the attacks do not, and that the strict reader takes all of them.
// TRAFFIC_TIMES=10 holds them to it for ten times as many.
func TestVerdicts(t *testing.T) {
	e := engine(t)
	times, err := strconv.Atoi(cmp.Or(os.Getenv("TRAFFIC_TIMES"), "1"))
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{traffic.JSONFields: 16, traffic.JSONText: 60, traffic.JSON1K: 150, traffic.Multipart: 16, traffic.Hostile: 18}
	for _, m := range traffic.Mixes() {
		count, ok := counts[m.Name]
		if !ok {
			count = 500
		}
		if count *= times; testing.Short() {
			count /= 10 // stock engine and race detector: a second each
		}
		for _, series := range []traffic.Series{traffic.Fresh, traffic.Repeated} {
			g := traffic.New(m.Name, series, 78)
			if series == traffic.Repeated {
				count = min(count, traffic.RepeatedRequests)
			}
			for n := range count {
				r := g.Request(n)
				v, in := judge(t, e, &r)
				if r.Benign != m.Benign || r.Mix != m.Name {
					t.Fatalf("%s %d: benign %t of the mix %s", m.Name, n, r.Benign, r.Mix)
				}
				switch {
				case m.Name == traffic.Hostile: // whatever the rules say
				case v.Passed() != r.Benign:
					t.Errorf("%s %s %d: passed %t, want %t: %s %s, hits %s\n\n%.2000s", m.Name, series, n, v.Passed(), r.Benign, v.Reason, v.Detail, hits(in), r.Raw())
				case !r.Benign && v.Status != http.StatusForbidden:
					t.Errorf("%s %s %d: %d %s, want 403\n%.3000s", m.Name, series, n, v.Status, v.Reason, r.Raw())
				}
			}
		}
	}
}

func hits(in gate.Inspection) (out string) {
	for _, h := range in.Hits {
		out += fmt.Sprintf("\n%d %s: %.200s", h.Rule, h.Variable, h.Data)
	}
	return out
}

// TestFresh holds that requests can be made again from their seed and number,
// that those of the fresh series differ, and that those of the repeated one
// come back.
func TestFresh(t *testing.T) {
	for _, m := range traffic.Mixes() {
		count := 400
		if m.Name == traffic.Multipart {
			count = 40
		}
		g, other := traffic.New(m.Name, traffic.Fresh, 1), traffic.New(m.Name, traffic.Fresh, 2)
		again, repeated := traffic.New(m.Name, traffic.Fresh, 1), traffic.New(m.Name, traffic.Repeated, 1)
		seen := map[string]int{}
		for n := range count {
			r := g.Request(n)
			raw := r.Raw()
			if at, ok := seen[string(raw)]; ok {
				t.Errorf("%s: request %d is request %d again", m.Name, n, at)
			}
			seen[string(raw)] = n
			if same := again.Request(n); !bytes.Equal(raw, same.Raw()) {
				t.Errorf("%s: request %d is another one the second time", m.Name, n)
			}
			if another := other.Request(n); bytes.Equal(raw, another.Raw()) {
				t.Errorf("%s: request %d does not depend on the seed", m.Name, n)
			}
			first, r := repeated.Request(n%traffic.RepeatedRequests), repeated.Request(n)
			if !bytes.Equal(first.Raw(), r.Raw()) {
				t.Errorf("%s: the repeated request %d is none of the first", m.Name, n)
			}
		}
	}
}

// TestSizes holds what the descriptions of the mixes promise.
func TestSizes(t *testing.T) {
	for mix, want := range map[string][2]int{
		traffic.Tiny: {0, 0}, traffic.Browser: {0, 0}, traffic.Form: {300, 2500}, traffic.JSON1K: {800, 1300},
		traffic.JSONFields: {9 << 10, 12 << 10}, traffic.JSONText: {9 << 10, 12 << 10}, traffic.Multipart: {195 << 10, 205 << 10},
	} {
		g := traffic.New(mix, traffic.Fresh, 1)
		for n := range 100 {
			if r := g.Request(n); len(r.Body) < want[0] || len(r.Body) > want[1] {
				t.Errorf("%s: a body of %d bytes, want %d to %d", mix, len(r.Body), want[0], want[1])
				break
			}
		}
	}
}

// TestSetBody holds that a request whose body was replaced is one still.
func TestSetBody(t *testing.T) {
	r := traffic.New(traffic.Form, traffic.Fresh, 1).Request(0)
	r.SetBody([]byte("a=b"))
	if got := r.Get("content-length"); got != "3" {
		t.Errorf("Content-Length %q, want 3", got)
	}
	r.Fields = r.Fields[:1]
	r.SetBody([]byte("a=bc"))
	if got := r.Get("Content-Length"); got != "4" || len(r.Fields) != 2 {
		t.Errorf("Content-Length %q in %v, want 4", got, r.Fields)
	}
}

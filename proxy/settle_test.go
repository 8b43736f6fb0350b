package proxy_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/internal/gate"
	"sallyport/proxy"
)

// settler notes how requests ended.
type settler struct {
	mu    sync.Mutex
	ended []string // id and status
}

func (s *settler) Settle(req *gate.Request, status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = append(s.ended, fmt.Sprint(req.ID, " ", status))
}

func (s *settler) snapshot() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.ended...)
}

// TestSettle ends requests in every way there is. Each is settled once, with
// the status that the client got, before its record is written.
func TestSettle(t *testing.T) {
	long := "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("x", 100000)
	refuse := func(r gate.Reason) checker {
		return func(*gate.Request) gate.Verdict { return gate.Refusal(r, gate.Enforce, "") }
	}
	for _, tc := range []struct {
		rule   string
		answer string
		set    func(*rig)
		status int
	}{
		{"an answer", ok, func(*rig) {}, 200},
		{"a backend's own refusal", "HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n", func(*rig) {}, 401},
		{"a masked error", "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", func(*rig) {}, 500},
		{"a refused head", ok, func(g *rig) {
			g.in.change = func(_ *http.Request, h *gate.Head) { h.Rejection = &gate.Rejection{Reason: gate.HTTPBareLF} }
		}, 400},
		{"a refusal before the limits", ok, func(g *rig) { g.stages.Geo = refuse(gate.GeoPrefix) }, 403},
		{"the limits' own", ok, func(g *rig) { g.stages.Limit = refuse(gate.LimitOverBudget) }, 429},
		{"a refusal after the limits", ok, func(g *rig) {
			g.waf.request = func(*gate.Request) gate.Verdict { return gate.Refusal(gate.WAFRule, gate.Enforce, "") }
		}, 403},
		{"no route", ok, func(g *rig) { g.route().Hosts = []string{"other.example.org"} }, 421},
		{"no backend", ok, func(g *rig) { g.pool().Backends[0].URL.Host = "127.0.0.1:1" }, 502},
		{"a stage that panics", ok, func(g *rig) { g.stages.Geo = checker(func(*gate.Request) gate.Verdict { panic("boom") }) }, 500},
		{"rules that panic at their end", ok, func(g *rig) { g.waf.close = func() gate.Inspection { panic("boom") } }, 200},
		{"a panic in the middle of the answer", long, func(g *rig) {
			g.waf.response = func(r *http.Response) gate.Verdict {
				r.Body = &explosive{r.Body}
				return gate.Passes(gate.StageWAF)
			}
		}, 200},
		{"an answer that breaks off", long[:len(long)-10], func(g *rig) { g.pool().Timeout.Idle = 50 * time.Millisecond }, 200},
	} {
		t.Run(tc.rule, func(t *testing.T) {
			b := saying(t, tc.answer)
			g := newRig(b.addr)
			s := &settler{}
			broken := settlerFunc(func(*gate.Request, int) { panic("boom") })
			g.stages.Settlers = []proxy.Settler{broken, s}
			tc.set(g)
			g.start(t)
			g.raw(t, strings.ReplaceAll(get, "\n", "\r\n")+"\r\n\r\n")
			rec := g.records.last(t, 1)
			if got, want := s.snapshot(), fmt.Sprint(rec.ID, " ", tc.status); len(got) != 1 || got[0] != want {
				t.Errorf("settled: %v, want once %q", got, want)
			}
		})
	}
}

type settlerFunc func(*gate.Request, int)

func (f settlerFunc) Settle(req *gate.Request, status int) { f(req, status) }

func TestSettleOfAClientThatIsGone(t *testing.T) {
	asked := make(chan struct{})
	b := script(t, func(b *backend, _ net.Conn, br *bufio.Reader) {
		if b.take(br) {
			close(asked)
			_, _ = br.ReadByte() // says nothing until the gateway hangs up
		}
	})
	g := newRig(b.addr)
	s := &settler{}
	g.stages.Settlers = []proxy.Settler{s}
	g.start(t)
	c := g.dial(t)
	_, _ = io.WriteString(c, strings.ReplaceAll(get, "\n", "\r\n")+"\r\n\r\n")
	<-asked
	_ = c.Close()
	rec := g.records.last(t, 1)
	if got := s.snapshot(); rec.Reason != gate.PoolClientGone || len(got) != 1 || got[0] != rec.ID+" 0" {
		t.Errorf("%s, settled: %v, want once, without a status", rec.Reason, got)
	}
}

// TestSettleOfATunnel: an upgraded connection is in flight until it ends.
func TestSettleOfATunnel(t *testing.T) {
	b := script(t, func(b *backend, c net.Conn, br *bufio.Reader) {
		if b.take(br) {
			_, _ = io.WriteString(c, switching+"\r\n")
			_, _ = io.Copy(c, br)
		}
	})
	g := newRig(b.addr)
	s := &settler{}
	g.stages.Settlers = []proxy.Settler{s}
	g.start(t)
	c := g.dial(t)
	_, _ = io.WriteString(c, handshake)
	br := bufio.NewReader(c)
	if _, err := http.ReadResponse(br, nil); err != nil {
		t.Fatal(err)
	}
	rec := g.records.last(t, 1)
	if got := s.snapshot(); len(got) != 0 {
		t.Errorf("settled %v while the tunnel is open", got)
	}
	_ = c.Close()
	g.records.last(t, 2)
	if got := s.snapshot(); len(got) != 1 || got[0] != rec.ID+" 101" {
		t.Errorf("settled: %v, want once with 101", got)
	}
}

// TestBudgetIsTold adds what the limits want to be told to whatever is
// answered, and to nothing that they have not seen.
func TestBudgetIsTold(t *testing.T) {
	hit := &gate.LimitHit{Name: "l", Quota: 10, Window: 20 * time.Second, Remaining: 7, Reset: 1500 * time.Millisecond}
	told := checker(func(req *gate.Request) gate.Verdict {
		req.Budget = hit
		return gate.Passes(gate.StageLimit)
	})
	foreign := "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nRateLimit: \"theirs\";r=1\r\nRateLimit-Policy: \"theirs\";q=1\r\n\r\nhi"
	for _, tc := range []struct {
		rule, answer, limit, policy string
		set                         func(*rig)
	}{
		{"an answer", ok, `"l";r=7;t=2`, `"l";q=10;w=20`, func(g *rig) { g.stages.Limit = told }},
		{"instead of the backend's own", foreign, `"l";r=7;t=2`, `"l";q=10;w=20`, func(g *rig) { g.stages.Limit = told }},
		{"the backend's own stays where nothing is told", foreign, `"theirs";r=1`, `"theirs";q=1`, func(*rig) {}},
		{"a refusal by a later stage", ok, `"l";r=7;t=2`, `"l";q=10;w=20`, func(g *rig) {
			g.stages.Limit = told
			g.waf.request = func(*gate.Request) gate.Verdict { return gate.Refusal(gate.WAFRule, gate.Enforce, "") }
		}},
		{"requests at once have no window", ok, `"l";r=0;t=1`, `"l";q=3;qu="concurrent-requests"`, func(g *rig) {
			g.stages.Limit = checker(func(*gate.Request) gate.Verdict {
				v := gate.Refusal(gate.LimitOverBudget, gate.Enforce, "")
				v.Limit = &gate.LimitHit{Name: "l", Quota: 3, Concurrent: true, Reset: time.Second}
				return v
			})
		}},
		{"nothing", ok, "", "", func(*rig) {}},
	} {
		g := newRig(saying(t, tc.answer).addr)
		tc.set(g)
		a := g.start(t).ask(t, get, "")
		if got, policy := a.header.Values("RateLimit"), a.header.Values("RateLimit-Policy"); strings.Join(got, "|") != tc.limit || strings.Join(policy, "|") != tc.policy {
			t.Errorf("%s: RateLimit %q, policy %q, want %q, %q", tc.rule, got, policy, tc.limit, tc.policy)
		}
	}
}

package waf

import (
	"bytes"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	coreruleset "github.com/corazawaf/coraza-coreruleset/v4"
	"github.com/corazawaf/coraza/v3"
	"github.com/corazawaf/coraza/v3/types"

	"sallyport/internal/gate"
	"sallyport/internal/testkit"
	"sallyport/internal/traffic"
	"sallyport/waf/prover"
)

// BenchmarkEngine measures what the rules cost by themselves, for each mix of
// requests: Coraza with the Core Rule Set at level 1 and nothing of ours, and
// our adapter around it with each of its engines. Every request is a new one,
// in the short runs as well in which the length of the long one is found out.
// Of ours it also tells the share of requests of which was proven that no rule
// can match. Fast remembers nothing of the values of earlier requests; recalling
// does, as the gateway does.
func BenchmarkEngine(b *testing.B) {
	coraza := stockWAF(b)
	stock := engineWith(b, func(p *Policy) { p.Engine = StockEngine })
	fast := engineWith(b, func(p *Policy) { p.Engine = FastEngine })
	verdicts, err := prover.NewVerdicts()
	if err != nil {
		b.Fatal(err)
	}
	recalling := engineOf(b, standard(), verdicts)
	for _, mix := range traffic.Mixes() {
		for _, way := range []struct {
			name  string
			judge func(*testing.B, *gate.Request, []byte) (passed, proven bool)
		}{
			{"coraza", func(b *testing.B, r *gate.Request, body []byte) (bool, bool) {
				return judgeStock(b, coraza, r.Head, body), false
			}},
			{"stock", func(b *testing.B, r *gate.Request, _ []byte) (bool, bool) { return judgeOurs(b, stock, r) }},
			{"fast", func(b *testing.B, r *gate.Request, _ []byte) (bool, bool) { return judgeOurs(b, fast, r) }},
			{"recalling", func(b *testing.B, r *gate.Request, _ []byte) (bool, bool) { return judgeOurs(b, recalling, r) }},
		} {
			generator, next := traffic.New(mix.Name, traffic.Fresh, 1), 0
			b.Run(mix.Name+"/"+way.name, func(b *testing.B) {
				b.ReportAllocs()
				var cpu int64
				proven, wrong := 0, 0
				for done := 0; done < b.N; {
					b.StopTimer()
					batch := make([]traffic.Request, min(32, b.N-done))
					asked := make([]*gate.Request, len(batch))
					for i := range batch {
						batch[i] = generator.Request(next)
						asked[i] = received(&batch[i])
						next++
					}
					done += len(batch)
					began := testkit.CPU(b)
					b.StartTimer()
					for i, r := range asked {
						passed, clean := way.judge(b, r, batch[i].Body)
						// Of thousands of made-up texts one may look like an attack.
						if passed != batch[i].Benign && mix.Name != traffic.Hostile {
							if wrong++; wrong > 1+next/500 {
								b.Fatalf("passed: %t, want %t, %d times\n%.2000s", passed, batch[i].Benign, wrong, batch[i].Raw())
							}
						}
						if clean {
							proven++
						}
					}
					cpu += testkit.CPU(b) - began
				}
				b.ReportMetric(float64(cpu)/float64(b.N), "cpu-ns/op")
				if way.name != "coraza" {
					b.ReportMetric(float64(proven)/float64(b.N), "proven")
				}
			})
		}
	}
}

// stockWAF is the Core Rule Set at level 1 as Coraza documents it, with the
// bodies of responses left alone.
func stockWAF(tb testing.TB) coraza.WAF {
	tb.Helper()
	w, err := coraza.NewWAF(coraza.NewWAFConfig().WithRootFS(coreruleset.FS).WithDirectives(strings.Join([]string{
		"Include @coraza.conf-recommended",
		"SecRuleEngine On",
		"SecAuditEngine Off",
		"SecResponseBodyAccess Off",
		"Include @crs-setup.conf.example",
		"Include @owasp_crs/*.conf",
	}, "\n")))
	if err != nil {
		tb.Fatal(err)
	}
	return w
}

// received is a request as the strict reader hands it over.
func received(r *traffic.Request) *gate.Request {
	h := &http.Request{Method: r.Method, Header: http.Header{}, Body: http.NoBody, Proto: "HTTP/1.1"}
	if r.Body != nil {
		h.Body = io.NopCloser(bytes.NewReader(r.Body))
	}
	raw := r.Raw()
	head := &gate.Head{Method: r.Method, Target: r.Target, Received: r.Target, Proto: "HTTP/1.1", Host: traffic.Host, Fields: r.Fields,
		Length: int64(len(r.Body)), Bytes: len(raw) - len(r.Body)}
	return &gate.Request{HTTP: h, Head: head, ID: "test", Client: netip.MustParseAddr("203.0.113.7"),
		Peer: netip.MustParseAddrPort("203.0.113.7:4321"), Route: &gate.Route{Name: "test", Policy: "default"}}
}

// judgeStock runs phases 1, 2 and 5 as the engine's own middleware does.
func judgeStock(b *testing.B, w coraza.WAF, head *gate.Head, body []byte) bool {
	b.Helper()
	tx := w.NewTransaction()
	defer func() {
		tx.ProcessLogging()
		if err := tx.Close(); err != nil {
			b.Fatal(err)
		}
	}()
	tx.ProcessConnection("203.0.113.7", 4321, "", 0)
	tx.ProcessURI(head.Target, head.Method, head.Proto)
	for _, f := range head.Fields {
		tx.AddRequestHeader(f.Name, f.Value)
	}
	tx.SetServerName(head.Host)
	var it *types.Interruption
	var err error
	if it = tx.ProcessRequestHeaders(); it != nil {
		return false
	}
	if len(body) > 0 {
		if it, _, err = tx.WriteRequestBody(body); it != nil || err != nil {
			b.Fatal(it, err)
		}
	}
	if it, err = tx.ProcessRequestBody(); err != nil {
		b.Fatal(err)
	}
	return it == nil
}

// judgeOurs does the same with the adapter.
func judgeOurs(b *testing.B, e *Engine, r *gate.Request) (passed, proven bool) {
	b.Helper()
	t := e.Begin(r)
	passed = t.Request().Passed()
	if passed {
		if _, err := io.Copy(io.Discard, r.HTTP.Body); err != nil {
			passed = false // a verdict that waited for the end of an upload
		}
	}
	return passed, t.Close().Run == gate.RunProven
}

// BenchmarkFloor measures what a request costs at least that is not proven: a rule
// of the policy looks at what is not known before it runs, and nothing matches.
// Proven is the same where it is.
func BenchmarkFloor(b *testing.B) {
	for _, way := range []struct{ name, rule, run string }{
		{"proven", `SecRule ARGS:never "@streq there" "id:1,phase:2,pass,log"`, gate.RunProven},
		{"guided", `SecRule DURATION "@lt 0" "id:1,phase:2,pass,log"`, gate.RunGuided},
	} {
		b.Run(way.name, func(b *testing.B) {
			e := engineWith(b, nil, way.rule)
			request := traffic.New(traffic.Tiny, traffic.Fresh, 1).Request(1)
			r := received(&request)
			b.ReportAllocs()
			began := testkit.CPU(b)
			for b.Loop() {
				t := e.Begin(r)
				if v := t.Request(); v.Action != gate.Pass {
					b.Fatal(v)
				}
				if in := t.Close(); in.Run != way.run || len(in.Hits) > 0 {
					b.Fatalf("%+v", in)
				}
			}
			b.ReportMetric(float64(testkit.CPU(b)-began)/float64(b.N), "cpu-ns/op")
		})
	}
}

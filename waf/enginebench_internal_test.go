package waf

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"runtime"
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
				proven, wrong := 0, 0
				var batch []traffic.Request
				var asked []*gate.Request
				inBatches(b, func(most int) int {
					batch, asked = nil, nil
					for bytes := 0; len(batch) < min(4096, most) && bytes < 32<<20; next++ {
						batch = append(batch, generator.Request(next))
						last := &batch[len(batch)-1]
						asked = append(asked, received(last))
						bytes += len(last.Body)
					}
					runtime.GC() // what it took to make them is not theirs
					return len(batch)
				}, func() {
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
				})
				if way.name != "coraza" {
					b.ReportMetric(float64(proven)/float64(b.N), "proven")
				}
			})
		}
	}
}

// inBatches measures b.N requests, some at a time: to stop the clock takes longer than
// to judge one. prepare makes at least one of them and no more than most, and returns
// how many; judge, which is what is measured, judges these. The CPU time is a metric.
func inBatches(b *testing.B, prepare func(most int) int, judge func()) {
	b.Helper()
	var cpu int64
	for done := 0; done < b.N; {
		b.StopTimer()
		done += prepare(b.N - done)
		began := testkit.CPU(b)
		b.StartTimer()
		judge()
		cpu += testkit.CPU(b) - began
	}
	b.ReportMetric(float64(cpu)/float64(b.N), "cpu-ns/op")
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

// BenchmarkFloor measures what benign requests cost that are not proven, because a
// rule of the policy looks at what is not known before it runs: with all rules, and
// guided. Nothing matches. Proven is the same without that rule.
func BenchmarkFloor(b *testing.B) {
	const open = `SecRule DURATION "@lt 0" "id:1,phase:2,pass,log"`
	for _, mix := range []string{traffic.Tiny, traffic.Browsing, traffic.Form} {
		for _, way := range []struct {
			name, rule string
			kind       EngineKind
			run        string
		}{
			{"stock", open, StockEngine, gate.RunFull}, {"guided", open, FastEngine, gate.RunGuided},
			{"proven", `SecRule ARGS:never "@streq there" "id:1,phase:2,pass,log"`, FastEngine, gate.RunProven},
		} {
			b.Run(mix+"/"+way.name, func(b *testing.B) {
				e := engineWith(b, func(p *Policy) { p.Engine = way.kind }, way.rule)
				requests := make([]traffic.Request, 64)
				for i := range requests {
					requests[i] = traffic.New(mix, traffic.Fresh, 1).Request(i)
				}
				b.ReportAllocs()
				var asked []*gate.Request
				inBatches(b, func(most int) int {
					asked = make([]*gate.Request, min(len(requests), most))
					for i := range asked {
						asked[i] = received(&requests[i])
					}
					return len(asked)
				}, func() {
					for _, r := range asked {
						t := e.Begin(r)
						v := t.Request()
						if in := t.Close(); v.Action != gate.Pass || in.Run != way.run || len(in.Hits) > 0 {
							b.Fatalf("%s, %+v", v.Reason, in)
						}
					}
				})
			})
		}
	}
}

// BenchmarkLevels measures the same at each level of paranoia, for a few mixes: all
// rules run by Coraza, and fast. Of higher levels the requests are no longer benign.
func BenchmarkLevels(b *testing.B) {
	for level := 1; level <= 4; level++ {
		for _, kind := range []EngineKind{StockEngine, FastEngine} {
			e := engineWith(b, func(p *Policy) {
				p.Paranoia, p.Engine, p.InboundThreshold = level, kind, 1_000_000
			})
			for _, mix := range []string{traffic.Tiny, traffic.Browsing, traffic.Form, traffic.JSON1K} {
				generator, next := traffic.New(mix, traffic.Fresh, 1), 0
				b.Run(fmt.Sprintf("level-%d/%s/%s", level, mix, kind), func(b *testing.B) {
					proven := 0
					var batch []*gate.Request
					inBatches(b, func(most int) int {
						batch = make([]*gate.Request, min(32, most))
						for i := range batch {
							r := generator.Request(next)
							batch[i], next = received(&r), next+1
						}
						return len(batch)
					}, func() {
						for _, r := range batch {
							if _, clean := judgeOurs(b, e, r); clean {
								proven++
							}
						}
					})
					b.ReportMetric(float64(proven)/float64(b.N), "proven")
				})
			}
		}
	}
}

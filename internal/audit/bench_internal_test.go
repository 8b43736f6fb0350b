package audit

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"

	"sallyport/internal/gate"
)

// BenchmarkRecord is what a request pays: the queue, not the writing.
func BenchmarkRecord(b *testing.B) {
	for name, action := range map[string]string{"relevant": "refuse", "pass": "pass"} {
		b.Run(name, func(b *testing.B) {
			l, err := New(Config{Path: filepath.Join(b.TempDir(), "audit.jsonl"), Queue: 1 << 20}, zap.NewNop())
			if err != nil {
				b.Fatal(err)
			}
			r := sample()
			r.Action = action
			b.ReportAllocs()
			for b.Loop() {
				l.Record(r)
			}
			b.StopTimer()
			if err := l.Close(); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(l.Dropped())/float64(b.N), "dropped/op")
		})
	}
}

// BenchmarkEncode is what the writer pays for one line.
func BenchmarkEncode(b *testing.B) {
	plain := sample()
	plain.WAF = nil
	many := sample()
	many.Request.Headers[8].Value = "sid=8f14e45fceea167a5a36dedd4bea2543" + strings.Repeat("; consent_a1=eyJhIjoxLCJiIjoyfQ%3D%3D", 20)
	many.WAF.Matches = nil
	for range 30 {
		many.WAF.Matches = append(many.WAF.Matches, sample().WAF.Matches...)
	}
	for name, r := range map[string]gate.Record{"refused by waf": sample(), "refused early": plain, "many cookies and matches": many, "hostile": hostile()} {
		b.Run(name, func(b *testing.B) {
			e := newTestEncoder(nil, nil)
			b.ReportAllocs()
			for b.Loop() {
				line, err := e.encode(&r)
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(int64(len(line)))
			}
		})
	}
}

// BenchmarkRedact is the redaction in it.
func BenchmarkRedact(b *testing.B) {
	e := newTestEncoder(nil, nil)
	r := sample()
	b.ReportAllocs()
	for b.Loop() {
		e.redactor.record(&r)
	}
}

// hostile is a record that makes the redactor work as hard as a client can.
func hostile() gate.Record {
	r := sample()
	var cookies strings.Builder
	for i := range maxSecrets {
		fmt.Fprintf(&cookies, "c%d=aaaa%d%%2B+%%26aaaaaaaaaaaaaaaa; ", i, i)
	}
	r.Request.Headers = append(r.Request.Headers, gate.RecordField{Name: "Cookie", Value: cookies.String()})
	for i, s := range []string{":", "=", "<a>", "eyJ-", "name=\"a", "a\":", "://a:", "aaaa", "%25", "\\u0061", "-----begin ", "4111-"} {
		r.Request.Headers = append(r.Request.Headers, gate.RecordField{Name: "X", Value: strings.Repeat(s, 4000/len(s))})
		for range 16 {
			m := r.WAF.Matches[0]
			m.Variable = [...]string{"ARGS:a", "TX:1"}[i%2]
			m.Value, m.Data, m.Message = strings.Repeat(s, 4000/len(s)), strings.Repeat(s, 4000/len(s)), strings.Repeat(s, 4000/len(s))
			r.WAF.Matches = append(r.WAF.Matches, m)
		}
	}
	return r
}

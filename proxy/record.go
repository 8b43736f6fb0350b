package proxy

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"sallyport/internal/gate"
)

// record sums up a request. Its action, stage and reason are those of the
// verdict that ended it; else of the first one that would have ended it, had
// its stage not only observed; else it is a plain pass, which names no reason
// and the stage that answered: the pool, or the route for a redirect.
func (h *Handler) record(v *visit, verdict gate.Verdict) gate.Record {
	req, head := v.req, v.asked()
	rec := gate.Record{
		V: gate.RecordVersion, Time: req.Arrived, ID: req.ID,
		Mode: h.mode, Status: v.rw.status,
		Gateway:  gate.RecordGateway{Host: h.id.Host, Version: h.id.Version, Generation: h.id.Generation},
		Listener: req.Listener,
		Client: gate.RecordClient{
			IP: req.ClientText(), ChosenBy: req.ChosenBy,
			Country: req.Place.Country, ASN: req.Place.ASN,
		},
		Request: gate.RecordRequest{
			Protocol: head.Proto, Method: head.Method, Host: head.Host, Target: head.Received,
			Headers: head.Fields, ClientID: req.ClientID,
		},
		Response: gate.RecordResponse{Status: v.rw.status, Bytes: v.rw.bytes},
	}
	if rec.Request.Target == "" {
		rec.Request.Target = head.Target
	}
	if v.original != nil {
		rec.Request.Rewritten = req.Head.Target
	}
	if len(v.leaks.found) > 0 {
		rec.Mask = &gate.RecordMask{Leaks: v.leaks.found, More: v.leaks.more}
	}
	if v.in != nil {
		rec.Client.Peer = req.Origin.SocketText()
	}
	if v.body != nil {
		rec.Request.Bytes = v.body.received()
	}
	if req.Route != nil {
		rec.Route = req.Route.Name
	}
	if v.pool.Name != "" {
		p := v.pool
		rec.Pool = &p
	}
	rec.TLS = recordTLS(req.HTTP.TLS)
	decide(&rec, verdict, req.Trail)
	inspection(&rec, &v.inspected)
	// The total starts before the request reached the handler, when its head
	// began to be read, waiting not included.
	v.took(gate.Total, v.clock()+req.Head.Took)
	rec.Spent = req.Spent
	return rec
}

// decide fills in what was decided and what was only observed.
func decide(rec *gate.Record, verdict gate.Verdict, trail []gate.Verdict) {
	named := verdict
	if verdict.Passed() {
		i := slices.IndexFunc(trail, func(t gate.Verdict) bool { return t.Action == gate.Observe })
		if i < 0 {
			rec.Action, rec.Stage = gate.Pass.String(), verdict.Stage
			return
		}
		named = trail[i]
		trail = trail[i+1:]
		rec.Mode = gate.Watch
	} else {
		rec.Mode = gate.Enforce
		rec.Status = named.Status
	}
	rec.Action, rec.Stage, rec.Reason, rec.Detail = named.Action.String(), named.Stage, named.Reason, named.Detail
	if named.Offset >= 0 {
		offset, mark := named.Offset, named.Mark
		rec.Offset, rec.Excerpt = &offset, named.Excerpt
		if named.Excerpt != "" {
			rec.Mark = &mark
		}
	}
	if named.Limit != nil {
		rec.Limit = &gate.RecordLimit{Name: named.Limit.Name, RetryAfter: seconds(named.Limit.RetryAfter)}
	}
	for _, t := range trail {
		if t.Action == gate.Observe {
			rec.Observed = append(rec.Observed, gate.RecordObserved{Stage: t.Stage, Reason: t.Reason, Detail: t.Detail})
		}
	}
}

// inspection fills in what the rules found.
func inspection(rec *gate.Record, sum *gate.Inspection) {
	if sum.Policy == "" {
		return
	}
	rec.Policy, rec.Ruleset = sum.Policy, sum.Ruleset
	w := &gate.RecordWAF{
		Score: sum.Score, Threshold: sum.Threshold,
		Inspected: sum.Inspected, ResponseInspected: sum.ResponseInspected,
		Run: sum.Run, Compared: sum.Compared, Differs: sum.Differs,
		Matches: make([]gate.RecordMatch, len(sum.Hits)), Excluded: sum.Excluded,
	}
	if w.Excluded == nil {
		w.Excluded = []int{}
	}
	for i, m := range sum.Hits {
		w.Matches[i] = gate.RecordMatch{
			Rule: m.Rule, Severity: m.Severity, Paranoia: m.Paranoia, Score: m.Score,
			Message: m.Message, Data: m.Data, Variable: m.Variable, Value: m.Value,
			File: m.File, Line: m.Line, Tags: m.Tags, LogLine: m.LogLine,
		}
	}
	rec.WAF = w
}

func recordTLS(state *tls.ConnectionState) *gate.RecordTLS {
	if state == nil {
		return nil
	}
	return &gate.RecordTLS{Version: strings.TrimPrefix(tls.VersionName(state.Version), "TLS "), SNI: state.ServerName}
}

// closing is the second record of a tunnel, written when it ends.
func closing(rec gate.Record, t *tunnel) gate.Record {
	took := time.Since(t.opened)
	rec.Event = "closed"
	if why := t.reason(); why != "" {
		rec.Detail = why
	}
	rec.Time = t.opened.Add(took)
	rec.Tunnel = &gate.RecordTunnel{Received: t.received.Load(), Sent: t.sent.Load(), Seconds: int64(took.Seconds())}
	rec.Spent = []gate.Span{{Stage: gate.Total, Took: took}}
	return rec
}

// emit hands the record to everyone who wants it. One recorder that panics
// does not keep it from the others.
func (h *Handler) emit(id string, rec gate.Record) {
	for _, r := range h.stages.Recorders {
		func() {
			defer func() {
				if p := recover(); p != nil {
					h.log.Error("a recorder panicked", zap.String("id", id), zap.String("panic", clip(fmt.Sprint(p))), zap.Stack("stack"))
				}
			}()
			r.Record(rec)
		}()
	}
}

// seconds rounds up, so that a client that comes back after them finds what
// it was promised.
func seconds(d time.Duration) int {
	return int((d + time.Second - 1) / time.Second)
}

package proxy

import (
	"context"
	"net/http"
	"time"

	"sallyport/internal/gate"
)

// A visit is what the handler knows about one request while it serves it,
// beside what the stages are told. It belongs to the goroutine that serves.
type visit struct {
	req *gate.Request
	rw  response
	in  gate.Inbound // nil: the request did not come through the guard
	// verdict is that of the stages. As long as they have not all returned,
	// nobody has decided.
	verdict gate.Verdict
	body    *clientBody // nil: the request has none
	upload  *upload     // what the stages left of it; nil: not sent yet
	// way ends with the request, and when it has taken too long to be answered.
	way   context.Context
	began time.Duration // when the stage began that is timed, after the arrival

	pages map[int]page // the gateway's own answers, where somebody has written one
	found found
	site  *site // nil: no route takes host and path
	arm   *pool // the one of the site's pools that serves the request
	// original is the head as the client sent it, where the route rewrites it;
	// nil: that is req.Head.
	original *gate.Head

	tx        Inspection      // nil: the rules were not asked, or are done
	inspected gate.Inspection // what they found, once they are done

	ask   ask  // what the choice of a backend depends on
	renew bool // the sticky cookie is past the middle of its time

	fields   fieldList // what backends are sent
	pool     gate.RecordPool
	limit    *deadline // nil: not asked yet, or nothing is bounded
	got      *attempt  // the one that was answered; nil: none was
	leaks    leakLog
	tunnel   *tunnel
	settled  bool // the settlers know how it ended
	resumed  bool // the connection goes on after an upgrade that was not made
	answered bool // the client has a complete answer
	gathered bool // the connection keeps the answer until send
}

func newVisit(w http.ResponseWriter, r *http.Request) *visit {
	now := time.Now()
	all := new(struct { // one allocation instead of four
		visit visit
		req   gate.Request
		head  gate.Head
		spent [10]gate.Span
	})
	all.head = gate.Head{Method: r.Method, Target: r.RequestURI, Received: r.RequestURI, Proto: r.Proto, Host: r.Host}
	all.req = gate.Request{HTTP: r, ID: gate.NewID(now), Arrived: now, ChosenBy: gate.ByPeer, Spent: all.spent[:0], Head: &all.head}
	v := &all.visit
	v.verdict = gate.Failure(gate.GatewayUndecided, nil)
	v.req, v.in = &all.req, gate.InboundOf(r.Context())
	v.rw = response{ResponseWriter: w, control: *http.NewResponseController(w)}
	if v.in != nil {
		v.req.Listener, v.req.Origin = v.in.Listener(), v.in.Origin()
		v.req.Peer, v.req.ChosenBy = v.req.Origin.Peer, v.req.Origin.ChosenBy
		v.req.Client = v.req.Peer.Addr().Unmap().WithZone("")
	}
	return v
}

// note keeps every verdict that was not a plain pass. A verdict that decides
// nothing is a defect, and becomes the failure that it is.
func (v *visit) note(verdict gate.Verdict) gate.Verdict {
	v.keep(&verdict)
	return verdict
}

// keep is note where the stack is to stay low. It reports whether the request
// goes on.
func (v *visit) keep(verdict *gate.Verdict) bool {
	switch verdict.Action {
	case gate.Pass:
		return true
	case gate.Observe, gate.Refuse, gate.Fail:
	case gate.Undecided:
		fallthrough
	default:
		*verdict = gate.Failure(gate.GatewayUndecided, nil)
	}
	v.req.Trail = append(v.req.Trail, *verdict)
	return verdict.Action == gate.Observe
}

// goesOn reports whether the request passes a question within a stage, and
// keeps what was only observed. What it reports false for is the verdict of
// the stage.
func (v *visit) goesOn(verdict gate.Verdict) bool {
	if verdict.Action == gate.Observe {
		v.note(verdict)
	}
	return verdict.Passed()
}

// clock is how long ago the request arrived.
func (v *visit) clock() time.Duration { return time.Since(v.req.Arrived) }

// lap begins the time of the next stage that is timed.
func (v *visit) lap() { v.began = v.clock() }

// spent notes how long a stage took since the last one that was timed, or since
// lap. It is deferred, so that a stage that panics is timed too. The clock is
// read once: that takes as long as some of the stages.
func (v *visit) spent(stage string) {
	now := v.clock()
	v.took(stage, now-v.began)
	v.began = now
}

// took adds to the time of a stage, which may have its say several times.
func (v *visit) took(stage string, d time.Duration) {
	for i := range v.req.Spent {
		if s := &v.req.Spent[i]; s.Stage == stage {
			s.Took += d
			return
		}
	}
	v.req.Spent = append(v.req.Spent, gate.Span{Stage: stage, Took: d})
}

// settle ends what the request held: the transport's hold on its body, and
// the rules' transaction. Calling it again does nothing.
func (v *visit) settle() {
	if v.body != nil {
		v.body.stop()
	}
	if v.upload != nil {
		v.upload.stop()
	}
	v.endRules()
}

// endRules closes the rules' transaction, if it is open. It holds tens of
// kilobytes, which must not depend on how slowly a client reads.
func (v *visit) endRules() {
	if v.tx == nil {
		return
	}
	tx := v.tx
	v.tx = nil
	v.inspected = tx.Close()
}

// resume lets the connection read HTTP again when an upgrade that the client
// asked for is not made.
func (v *visit) resume() {
	if v.req.Head.Upgrade && v.tunnel == nil && !v.resumed {
		v.resumed = true
		v.in.Resume()
	}
}

// http1 reports whether the connection carries one request at a time.
func (v *visit) http1() bool { return v.req.HTTP.ProtoMajor == 1 }

// unread reports whether the client may still be sending the body, so that
// the connection cannot be used for another request.
func (v *visit) unread() bool { return v.body != nil && !v.body.complete() }

// linger reads a little of what the client is still sending after its answer
// was sent. Closing with bytes unread would reset the connection, and the
// client would lose the answer (RFC 9112 section 9.6).
func (v *visit) linger() {
	if !v.http1() || !v.unread() {
		return
	}
	if v.rw.control.Flush() == nil {
		v.body.drain()
	}
}

// asked is the head as the client sent it: what it knows the site by.
func (v *visit) asked() *gate.Head {
	if v.original != nil {
		return v.original
	}
	return v.req.Head
}

// lens is how the client sees what a pool of its site answers.
func (v *visit) lens(p *pool) lens {
	return lens{origin: v.site.origin(p), as: v.public(), paths: v.site.paths, cookies: v.site.mask.Cookies}
}

// secure reports whether the client's connection to us is encrypted.
func (v *visit) secure() bool { return v.req.HTTP.TLS != nil }

// A response counts what is written to the client and knows whether its head
// is gone.
type response struct {
	http.ResponseWriter
	control http.ResponseController
	status  int // 0: the head is not written yet
	bytes   int64
}

func (w *response) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (w *response) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	return n, err
}

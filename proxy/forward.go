package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"sync"
	"sync/atomic"
	"time"

	"sallyport/internal/gate"
)

// maxHints bounds the interim answers that one request may get.
const maxHints = 16

var (
	errNoBackend  = errors.New("no backend is up")
	errSilentTry  = errors.New("the transport wanted to send the request again by itself")
	errAnswerOver = errors.New("the answer is over")
	errManyHints  = errors.New("more interim answers than any client needs")
)

// forward sends the request to a backend of the route's pool, to another one
// where that is safe, and the answer to the client.
func (h *Handler) forward(v *visit) gate.Verdict {
	p := v.arm
	v.pool.Name = p.name
	out, ok := h.outgoing(v)
	if !ok {
		return gate.Refusal(gate.HTTPTargetByte, gate.Enforce, "it cannot be forwarded as it was judged")
	}
	p.budget.earn()
	p.balance.describe(v, &v.ask)
	began := time.Now()
	a, resp, fail := p.send(h, v, out)
	v.spent("pool", began)
	if fail != nil {
		return fail.verdict
	}
	defer func() {
		if v.tunnel == nil { // else the tunnel does it
			a.done()
		}
	}()
	return h.answer(v, a, resp)
}

// send makes attempts until one is answered. A retry goes to a backend that
// was not tried yet; only a connection that was stale speaks for the same one.
func (p *pool) send(h *Handler, v *visit, out *http.Request) (*attempt, *http.Response, *failure) {
	var last *failure
	for {
		b, fail := p.place(v, last)
		switch {
		case fail != nil:
			return nil, nil, fail
		case b == nil && last == nil:
			verdict := gate.Failure(gate.PoolNone, errNoBackend)
			verdict.RetryAfter = retryLater
			return nil, nil, &failure{verdict: verdict}
		case b == nil:
			return nil, nil, last
		case last != nil:
			if !p.budget.spend() {
				p.release(b)
				return nil, nil, last
			}
			p.roster.retries.Add(1)
		}
		v.pool.Backend = b.name
		v.pool.Attempts++
		a := newAttempt(h, v, p, b)
		resp, took, fail := a.try(out)
		if fail == nil {
			if v.upload == nil || v.upload.whole { // else the client was waited for too
				p.answered(b, resp.StatusCode, took, time.Now())
			}
			return a, resp, nil
		}
		if !fail.final && !fail.stale { // a backend may close idle connections
			p.slowed(b, took, time.Now())
			p.failed(b)
		}
		if v.pool.Attempts >= p.attempts || !fail.retryable(out.Method, v.upload) {
			return nil, nil, fail
		}
		last = fail
		v.ask.tried = append(v.ask.tried, b)
	}
}

// place finds a backend with room for the next attempt. Where the last one met
// a stale connection, and there is nobody else, it is the same one again.
func (p *pool) place(v *visit, last *failure) (*backend, *failure) {
	ctx := v.req.HTTP.Context()
	b, fail := p.acquire(ctx, &v.ask)
	if b == nil && fail == nil && last != nil && last.stale {
		v.ask.tried = nil
		b, fail = p.acquire(ctx, &v.ask)
	}
	if v.ask.waited > 0 {
		v.pool.Waited = max(1, v.ask.waited.Milliseconds())
	}
	if fail != nil && last != nil && fail.verdict.Reason != gate.PoolClientGone {
		fail = last // what went wrong, not what could not be tried
	}
	return b, fail
}

// An attempt is one request to one backend.
type attempt struct {
	h      *Handler
	v      *visit
	pool   *pool
	b      *backend
	ctx    context.Context
	cancel context.CancelCauseFunc

	// Written by the transport in the goroutine of RoundTrip.
	tries  int
	sent   bool
	reused bool

	heard atomic.Bool // written by the goroutine that reads the answer

	ended atomic.Bool

	mu    sync.Mutex // interim answers are written by that goroutine too
	over  bool
	hints int
}

func newAttempt(h *Handler, v *visit, p *pool, b *backend) *attempt {
	a := &attempt{h: h, v: v, pool: p, b: b}
	a.ctx, a.cancel = context.WithCancelCause(v.req.HTTP.Context())
	a.ctx = httptrace.WithClientTrace(a.ctx, &httptrace.ClientTrace{
		GetConn:              a.getConn,
		GotConn:              a.gotConn,
		GotFirstResponseByte: func() { a.heard.Store(true) },
		Got1xxResponse:       a.interim,
	})
	b.requests.Add(1)
	return a
}

// done releases the attempt and, if its answer is not read to the end, the
// connection that it came by. Calling it again does nothing.
func (a *attempt) done() {
	if a.ended.Swap(true) {
		return
	}
	a.cancel(errAnswerOver)
	a.pool.release(a.b)
}

// getConn runs before each sending. The transport would send some requests
// again by itself when an idle connection turns out to be closed; such a retry
// would be in nobody's count and budget, so it is made by us or not at all.
func (a *attempt) getConn(string) {
	if a.tries++; a.tries > 1 {
		a.cancel(errSilentTry)
	}
}

// gotConn runs when a connection is there and nothing is written yet.
func (a *attempt) gotConn(info httptrace.GotConnInfo) {
	a.reused, a.sent = info.Reused, true
	if !info.Reused {
		a.pool.origin.leaks.learn(info.Conn.RemoteAddr())
	}
}

// interim passes on the hints of a backend (RFC 8297), and no other interim
// answer: the client's 100 is ours to send (RFC 9110 section 10.1.1). It runs
// on a goroutine of the transport, where a panic would end the process.
func (a *attempt) interim(status int, fields textproto.MIMEHeader) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic in an interim answer: %v", p)
		}
	}()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.hints++; a.hints > maxHints {
		return errManyHints
	}
	if a.over {
		return errAnswerOver
	}
	if status != http.StatusEarlyHints || !a.v.req.HTTP.ProtoAtLeast(1, 1) {
		return nil
	}
	header := a.v.rw.Header()
	if a.h.show(a.v, a.pool, inInterim, header, http.Header(fields)).Passed() {
		a.v.rw.ResponseWriter.WriteHeader(status) // not the last head: it does not count
	}
	clear(header)
	return nil
}

// try makes the attempt, and tells how long it took to the head of an answer.
// One that does not end with an answer is released, even by a panic: a place
// that nobody gives back would be lost for ever.
func (a *attempt) try(template *http.Request) (resp *http.Response, took time.Duration, fail *failure) {
	defer func() {
		if resp == nil {
			a.done()
		}
	}()
	began := time.Now()
	resp, fail = a.send(template)
	return resp, time.Since(began), fail
}

// send makes the attempt.
func (a *attempt) send(template *http.Request) (*http.Response, *failure) {
	out := template.WithContext(a.ctx)
	u := *template.URL
	u.Scheme, u.Host = a.b.url.Scheme, a.b.url.Host
	out.URL = &u
	if out.Host == "" { // HTTP/1.0
		out.Host = a.b.host
	}
	if u := a.v.upload; u != nil && u.length != 0 {
		out.Body = u.attempt()
	}
	resp, err := a.pool.transport.RoundTrip(out)
	a.mu.Lock()
	a.over = true
	a.mu.Unlock()
	if err != nil {
		return nil, a.explain(err)
	}
	return resp, nil
}

// explain finds out whose fault it was. The client's comes first: a body that
// broke ends the backend's connection too, and a connection to the client that
// broke cancels everything.
func (a *attempt) explain(err error) *failure {
	if verdict, ok := a.v.clientFault(); ok {
		return &failure{verdict: verdict, sent: a.sent, final: true}
	}
	if a.tries == 0 { // what the transport itself would not send is no backend's fault
		return &failure{verdict: gate.Refusal(gate.HTTPFieldValue, gate.Enforce, err.Error()), final: true}
	}
	f := &failure{sent: a.sent, heard: a.heard.Load()}
	f.stale = a.reused && !f.heard && !isTimeout(err)
	if errors.Is(err, errSilentTry) {
		f.sent = false // the transport knows that sending again is safe
	}
	reason := gate.PoolBadAnswer
	switch {
	case !a.sent:
		reason = gate.PoolConnect
	case isTimeout(err):
		reason = gate.PoolTimeout
	}
	f.verdict = gate.Failure(reason, fmt.Errorf("backend %s: %w", a.b.name, err))
	return f
}

// clientFault reports whether the request failed because of the client: its
// body broke, or it went away. What the body says counts first, since net/http
// takes every broken connection for a client that left.
func (v *visit) clientFault() (gate.Verdict, bool) {
	if v.upload != nil && v.upload.spent() {
		gone := v.req.HTTP.Context().Err() != nil
		v.body.stop()
		if ve := v.upload.failure(); ve != nil {
			return ve.Verdict, true
		}
		if !gone {
			return gate.Verdict{}, false
		}
	}
	if err := v.req.HTTP.Context().Err(); err != nil {
		return gate.Failure(gate.PoolClientGone, err), true
	}
	return gate.Verdict{}, false
}

func isTimeout(err error) bool {
	timeout, ok := errors.AsType[net.Error](err)
	return ok && timeout.Timeout()
}

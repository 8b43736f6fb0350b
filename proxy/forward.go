package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"sallyport/internal/gate"
	"sallyport/proxy/http1"
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
// where that is safe, and asks the rules about the answer.
func (h *Handler) forward(v *visit) gate.Verdict {
	if fail := h.ask(v); fail != nil {
		return fail.verdict
	}
	return h.vet(v)
}

// ask gets the head of an answer.
func (h *Handler) ask(v *visit) *failure {
	p := v.arm
	v.pool.Name = p.name
	var out http.Request
	if !h.outgoing(v, &out) {
		return &failure{verdict: gate.Refusal(gate.HTTPTargetByte, gate.Enforce, "it cannot be forwarded as it was judged")}
	}
	p.budget.earn()
	p.balance.describe(v, &v.ask)
	v.limit = newDeadline(v)
	v.lap()
	a, resp, fail := p.send(h, v, &out)
	v.spent("pool")
	v.limit.met()
	if fail != nil {
		return fail
	}
	a.resp, v.got = resp, a
	return nil
}

// leave is called once, when nothing more is asked or told: it ends what is
// still to come of an answer, and gives the backend's place back.
func (v *visit) leave() {
	defer v.limit.end()
	a := v.got
	if a == nil {
		return
	}
	defer func() {
		if v.tunnel == nil { // else the tunnel does it
			a.done()
		}
	}()
	if a.body.src != nil {
		_ = a.resp.Body.Close() // may be the rules' by now; what is left is nobody's business
		_ = a.body.Close()
	}
}

// send makes attempts until one is answered. A retry goes to a backend that
// was not tried yet; only a connection that was stale speaks for the same one.
func (p *pool) send(h *Handler, v *visit, out *http.Request) (*attempt, *http.Response, *failure) {
	var last *failure
	for {
		b, fail := p.place(v, out.Method, last)
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
				p.giveUp(b, &v.ask)
				return nil, nil, last
			}
			p.roster.retries.Add(1)
		}
		v.pool.Backend = b.name
		v.pool.Attempts++
		a := newAttempt(h, v, p, b)
		resp, took, fail := a.try(out)
		if fail == nil {
			if v.upload == nil || v.upload.here() { // else the client was waited for too
				p.answered(b, resp.StatusCode, took, time.Now())
			}
			a.served(resp.StatusCode)
			return a, resp, nil
		}
		if !fail.final && !fail.stale { // a backend may close idle connections
			p.slowed(b, took, time.Now())
			a.failed()
		}
		if v.pool.Attempts >= p.attempts || v.late() || !fail.retryable(out.Method, v.upload) {
			return nil, nil, fail
		}
		last = fail
		v.ask.tried = append(v.ask.tried, b)
	}
}

// place finds a backend with room for the next attempt. Where the last one met
// a stale connection, and there is nobody else, it is the same one again.
func (p *pool) place(v *visit, method string, last *failure) (*backend, *failure) {
	v.ask.errand = unsafe
	if v.pool.Attempts+1 < p.attempts && idempotent(method) && (v.upload == nil || v.upload.whole) {
		v.ask.errand = safe // whatever becomes of it, another backend can be asked
	}
	b, fail := p.acquire(v.way, &v.ask)
	if b == nil && fail == nil && last != nil && last.stale {
		v.ask.tried = nil
		b, fail = p.acquire(v.way, &v.ask)
	}
	if v.ask.waited > 0 {
		v.pool.Waited = max(1, v.ask.waited.Milliseconds())
	}
	if fail != nil && last != nil && fail.verdict.Reason != gate.PoolClientGone {
		fail = last // what went wrong, not what could not be tried
	}
	return b, fail
}

// An attempt is one request to one backend. It is the context of that request,
// which carries it to the transport, and watches how it fares there.
type attempt struct {
	context.Context
	cancel context.CancelCauseFunc // nil: the context is that of the visit
	h      *Handler
	v      *visit
	pool   *pool
	b      *backend
	began  time.Time
	// request is what is sent, to url.
	request http.Request
	url     url.URL
	// resp is the answer, and body what the backend sends of its body. Neither
	// is there before it was answered.
	resp *http.Response
	body download
	// trial is set when it is to decide whether the backend comes back from an
	// ejection, decided when it has.
	trial, decided bool

	// Written by the transport in the goroutine of RoundTrip.
	asked  bool // for a connection
	tries  int  // connections that it was given
	shared bool // the last one carries many requests at a time
	sent   bool
	reused bool // the connection had been idle

	heard atomic.Bool // written by the goroutine that reads the answer

	ended atomic.Bool

	mu    sync.Mutex // interim answers are written by that goroutine too
	over  bool
	hints int
}

func newAttempt(h *Handler, v *visit, p *pool, b *backend) *attempt {
	a := &attempt{h: h, v: v, pool: p, b: b, trial: v.ask.trial, began: time.Now()}
	a.Context = v.way
	if b.url.Scheme != "http" { // else the end of its answer ends it, and nothing else has to
		a.Context, a.cancel = context.WithCancelCause(v.way)
	}
	b.requests.Add(1)
	return a
}

// Value implements context.Context.
func (a *attempt) Value(key any) any {
	if _, ok := key.(http1.WatcherKey); ok {
		return a
	}
	return a.Context.Value(key)
}

// done releases the attempt and, if its answer is not read to the end, the
// connection that it came by. Calling it again does nothing.
func (a *attempt) done() {
	if a.ended.Swap(true) {
		return
	}
	if a.cancel != nil {
		a.cancel(errAnswerOver)
	}
	a.pool.release(a.b)
	if a.trial && !a.decided {
		a.pool.undecided(a.b)
	}
}

// served notes that the backend has answered the attempt.
func (a *attempt) served(status int) {
	if a.trial {
		a.decided = true
		a.pool.decide(a.b, status < http.StatusInternalServerError || a.pool.eject.Ratio <= 0)
		return
	}
	a.pool.served(a.b, status)
}

// failed notes that the backend has failed the attempt.
func (a *attempt) failed() {
	if a.trial && !a.decided {
		a.decided = true
		a.b.failures.Add(1)
		a.pool.decide(a.b, false)
		return
	}
	a.pool.failed(a.b)
}

// GetConn implements http1.Watcher. What the transport refuses to send at all
// never gets so far.
func (a *attempt) GetConn() { a.asked = true }

// GotConn implements http1.Watcher.
func (a *attempt) GotConn(c net.Conn, reused bool) { a.gotConn(c, reused, reused) }

// gotConn runs when a connection is there and nothing is written yet.
func (a *attempt) gotConn(c net.Conn, reused, idle bool) {
	a.tries++
	a.shared = shared(c)
	if a.tries > 1 && !a.again() { // http1 never tries again
		a.cancel(errSilentTry)
		return
	}
	a.reused = reused && !a.shared || idle // one that is shared breaks with requests on it, too
	a.sent = true
	if !reused {
		a.pool.origin.leaks.learn(c.RemoteAddr())
	}
}

// Fields implements http1.Lister.
func (a *attempt) Fields() []http1.Field { return a.v.fields }

// FirstByte implements http1.Watcher.
func (a *attempt) FirstByte() { a.heard.Store(true) }

// traced makes the request one for net/http's client, which speaks HTTP/2, and
// has that tell the attempt the same.
func (a *attempt) traced(r *http.Request) *http.Request {
	r = r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
		GetConn:              func(string) { a.GetConn() },
		GotConn:              func(info httptrace.GotConnInfo) { a.gotConn(info.Conn, info.Reused, info.WasIdle) },
		GotFirstResponseByte: a.FirstByte,
		Got1xxResponse:       a.Interim,
	}))
	r.Header = a.v.fields.header()
	return r
}

// again counts a request that the transport sends once more by itself over
// HTTP/2: the backend has said that it did nothing about it (RFC 9113 section
// 8.7). It reports whether one more is allowed.
func (a *attempt) again() bool {
	if a.v.pool.Attempts >= a.pool.attempts || !a.pool.budget.spend() {
		return false
	}
	a.v.pool.Attempts++
	a.pool.roster.retries.Add(1)
	a.b.requests.Add(1)
	return true
}

// Interim implements http1.Watcher. It passes on the hints of a backend (RFC
// 8297), and no other interim answer: the client's 100 is ours to send (RFC 9110
// section 10.1.1). Over HTTP/2 it runs on a goroutine of the transport, where a
// panic would end the process.
func (a *attempt) Interim(status int, fields textproto.MIMEHeader) (err error) {
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
	out := &a.request
	*out = *template.WithContext(a)
	a.url = *template.URL
	a.url.Scheme, a.url.Host = a.b.url.Scheme, a.b.authority()
	out.URL = &a.url
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
	if err == nil {
		if err = malformed(resp); err == nil {
			return resp, nil
		}
		_ = resp.Body.Close()
		a.heard.Store(true)
	}
	return nil, a.explain(err)
}

// explain finds out whose fault it was. The client's comes first: a body that
// broke ends the backend's connection too, and a connection to the client that
// broke cancels everything.
func (a *attempt) explain(err error) *failure {
	if verdict, ok := a.v.clientFault(); ok {
		return &failure{verdict: verdict, sent: a.sent, final: true}
	}
	if !a.asked { // what the transport itself would not send is no backend's fault
		return &failure{verdict: gate.Refusal(gate.HTTPFieldValue, gate.Enforce, err.Error()), final: true}
	}
	f := &failure{sent: a.sent, heard: a.heard.Load()}
	late := isTimeout(err) || errors.Is(context.Cause(a), os.ErrDeadlineExceeded)
	if a.v.late() { // no time is left for another backend
		late, f.final = true, !a.hadTime()
	}
	switch reset := resetCode(err); {
	case reset == resetRefused: // it did nothing about it
		f.sent = false
	case reset == resetCancel && a.v.expires(): // the time that the client gives is over, and the backend says so
		late, f.final = true, true
	}
	f.stale = a.reused && !f.heard && !late
	if errors.Is(context.Cause(a), errSilentTry) {
		f.sent = false // the transport knows that sending again is safe
	}
	reason := gate.PoolBadAnswer
	switch {
	case late && a.v.late():
		reason = gate.PoolTimeout
	case !a.sent:
		reason = gate.PoolConnect
	case late:
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

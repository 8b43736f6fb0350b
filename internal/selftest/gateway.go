package selftest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sallyport/internal/gate"
	"sallyport/internal/wire"
)

// Options are what a run is told.
type Options struct {
	To Endpoint
	// HTTP2 is where the cases in HTTP/2 are sent; nil: nowhere, for the reason
	// in NoHTTP2.
	HTTP2   *Endpoint
	NoHTTP2 string
	Cases   []wire.Case
	// Host stands in the requests in place of the corpus' own; empty: that.
	Host string
	// Timeout bounds one case; 0: 10 s at a gateway, 2 s at a backend, where it
	// is the price of every case that hangs.
	Timeout time.Duration
	// Parallel is how many cases are under way at a time; 0: 4 at a gateway, 8
	// at a backend. With a Capture it is 1, so that what arrives there belongs
	// to the case that was sent.
	Parallel int
	// Capture is the backend behind the gateway; nil: there is another one, and
	// only answers are judged.
	Capture *Capture
	// Own tells that the gateway is one of this process, set up for the corpus:
	// everything must be as the cases say. Reason then tells why it refused, and
	// Ended why it ended a connection from the address, made since a time.
	Own    bool
	Reason func(ctx context.Context, id string) (gate.Reason, bool)
	Ended  func(ctx context.Context, peer string, since time.Time) (gate.Reason, bool)
	// Progress is told how far the run has come; nil: nobody is.
	Progress func(done, total int)
}

// settle is how long a refused case's bytes have to reach the capture after the
// answer, beside the time that a harmless request took.
const settle = 5 * time.Millisecond

// Gateway sends the cases to a gateway and compares. The error tells that the
// run could not begin or was not finished.
func Gateway(ctx context.Context, o Options) (*Report, error) {
	began := time.Now()
	o.Timeout, o.Parallel = cmp.Or(o.Timeout, 10*time.Second), cmp.Or(o.Parallel, 4)
	if o.Capture != nil {
		o.Parallel = 1
	}
	g := &gateway{Options: o, leaving: make(chan struct{}, maxLeaving)}
	if err := g.probe(ctx); err != nil {
		return nil, err
	}
	results, err := each(ctx, o, g.run)
	g.late.Wait()
	if err != nil {
		return nil, err
	}
	g.complain(results)
	if o.Capture != nil {
		results = append(results, g.stragglers(ctx)...)
	}
	mode := "target"
	if o.Own {
		mode = "own"
	}
	rep := newReport(mode, o.To, began, results)
	rep.Bytes = o.Capture != nil
	if rep.NoHTTP2 = o.NoHTTP2; o.HTTP2 != nil {
		rep.HTTP2, rep.NoHTTP2 = o.HTTP2.Address, ""
	}
	return rep, nil
}

// each runs a function over the cases, in their order but for those that are
// under way together.
func each(ctx context.Context, o Options, run func(context.Context, *wire.Case) (Result, error)) ([]Result, error) {
	results, errs := make([]Result, len(o.Cases)), make([]error, len(o.Cases))
	var next, done atomic.Int64
	var workers sync.WaitGroup
	var telling sync.Mutex
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	for range o.Parallel {
		workers.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(o.Cases) && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				if results[i], errs[i] = one(ctx, o, &o.Cases[i], run); errs[i] != nil {
					stop()
				}
				if n := int(done.Add(1)); o.Progress != nil {
					telling.Lock()
					o.Progress(n, len(o.Cases))
					telling.Unlock()
				}
			}
		})
	}
	workers.Wait()
	if n := int(done.Load()); n < len(o.Cases) {
		return nil, errors.Join(fmt.Errorf("not finished: %d of %d cases were sent", n, len(o.Cases)), errors.Join(errs...))
	}
	return results, errors.Join(errs...)
}

// one sends a case, unless it cannot be sent here.
func one(ctx context.Context, o Options, c *wire.Case, run func(context.Context, *wire.Case) (Result, error)) (Result, error) {
	switch {
	case c.Protocol == wire.HTTP2 && o.HTTP2 == nil:
		return skip(c, o.NoHTTP2), nil
	case c.Refused() && strings.Contains(c.Name, ".preface/") && !o.Own && o.HTTP2 != nil && o.HTTP2.TLS == nil:
		return skip(c, "it is about the preface, which chooses the protocol where both are spoken without TLS"), nil
	case len(c.Refuse) > 0 && o.Own:
		return skip(c, "it asks for hygiene that is off by default"), nil
	}
	changed, why := withHost(*c, o.Host)
	if why != "" {
		return skip(c, why), nil
	}
	return run(ctx, &changed)
}

// Methods returns the methods that a gateway must allow for the cases to be
// judged: the ordinary ones, and those of accepted requests as far as a
// configuration can name them. The cases in HTTP/2 need no others.
func Methods(cases []wire.Case) []string {
	methods := []string{"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"}
	for i := range cases {
		if m := firstWord(cases[i].Raw); cases[i].Protocol == wire.HTTP1 && !cases[i].Refused() && m == strings.ToUpper(m) {
			methods = append(methods, m)
		}
	}
	slices.Sort(methods)
	return slices.Compact(methods)
}

// gateway is one run.
type gateway struct {
	Options
	pause   time.Duration // after a refused case, before the capture is looked at
	late    sync.WaitGroup
	leaving chan struct{} // a slot for each connection in late
	mu      sync.Mutex
	stayed  map[string]bool // the cases whose connection outlived its GOAWAY
}

// probe sends a harmless request in each protocol, to tell a set-up that cannot
// be judged from one that fails.
func (g *gateway) probe(ctx context.Context) error {
	in := func(protocol string) bool {
		return slices.ContainsFunc(g.Cases, func(c wire.Case) bool { return c.Protocol == protocol })
	}
	if g.HTTP2 != nil && in(wire.HTTP2) {
		if err := g.try(ctx, *g.HTTP2, "harmless request in HTTP/2", func() (int, error) { return askHTTP2(ctx, g.Options) }); err != nil {
			return err
		}
		if !in(wire.HTTP1) {
			return nil
		}
	}
	return g.try(ctx, g.To, "harmless request", func() (int, error) { return ask(ctx, g.Options, "GET", "/", "") })
}

// try sends a harmless request and explains what is in the way.
func (g *gateway) try(ctx context.Context, to Endpoint, what string, send func() (int, error)) error {
	began := time.Now()
	status, err := send()
	if err != nil {
		hint := ""
		if to.TLS == nil && !errors.Is(err, errTimeout) {
			hint = "; is it https that is spoken there?"
		}
		return fmt.Errorf("no answer to a %s at %s: %w%s", what, to.Address, err, hint)
	}
	g.pause = settle + time.Since(began)
	if why := obstacle(status, host(g.Host)); why != "" {
		return fmt.Errorf("%s answers %d to a %s: %s", to.Address, status, what, why)
	}
	if g.Capture == nil {
		return nil
	}
	for _, s := range g.take(ctx) {
		if slices.ContainsFunc(s.Messages, func(m Message) bool { return m.Target == "/" }) {
			return nil
		}
	}
	return fmt.Errorf("%s answers %d to a %s, but that did not reach the capture backend at %s: point the pool of the route at it, and nothing else", to.Address, status, what, g.Capture.Address())
}

// obstacle explains an answer that keeps the corpus from being judged.
func obstacle(status int, host string) string {
	switch status {
	case http.StatusMisdirectedRequest:
		return fmt.Sprintf("no route takes the host %s; name one of the gateway's hosts with --host", host)
	case http.StatusForbidden:
		return "a rule or a geo rule refuses it; use a route with a policy whose mode is observe or off, and allow this address"
	case http.StatusTooManyRequests:
		return "a limit or a ban refuses it; wait, or take this address out of the limits for the run"
	case http.StatusServiceUnavailable, http.StatusBadGateway, http.StatusGatewayTimeout:
		return "no backend of the pool answers; start one, or use --listen and point the pool at it"
	case http.StatusBadRequest:
		return "nothing can be judged where an ordinary request is malformed; is it https that was asked in http?"
	}
	return ""
}

// host is the name that requests carry.
func host(name string) string {
	if name == "" {
		return corpusHost
	}
	return name
}

// ask sends one well-formed request and returns the status of its answer.
func ask(ctx context.Context, o Options, method, target, body string) (int, error) {
	l, err := open(ctx, o.To, o.Timeout)
	if err != nil {
		return 0, err
	}
	defer l.close()
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: sallyport-selftest\r\nAccept: */*\r\nConnection: close\r\n", method, target, host(o.Host))
	if body != "" {
		fmt.Fprintf(&b, "Content-Type: text/plain\r\nContent-Length: %d\r\n", len(body))
	}
	l.send([]byte(b.String()+"\r\n"+body), false)
	a, err := l.answer(method)
	return a.Status, err
}

// run sends one case and judges it.
func (g *gateway) run(ctx context.Context, c *wire.Case) (Result, error) {
	if c.Protocol == wire.HTTP2 {
		return g.play(ctx, c)
	}
	r := newResult(c)
	heard, ended, err := g.converse(ctx, c)
	if err != nil {
		return r, err
	}
	r.Ended = ended.Error()
	j := judgement{c: c, own: g.Own, bytes: g.Capture != nil}
	for _, a := range heard {
		j.answers = append(j.answers, answered{status: a.Status, reason: g.reason(ctx, a.ID), last: a.Close})
		r.Answered = append(r.Answered, said(a.Status, j.answers[len(j.answers)-1].reason))
	}
	j.closed = !errors.Is(ended, errTimeout)
	j.seen = g.seen(ctx, c, &r)
	r.Outcome, r.Why, r.CutOff = j.outcome()
	return r, nil
}

// converse sends the bytes and hears what comes: one answer for each that is
// expected, and then the end, which is asked for where the gateway would keep
// the connection open. ended says how it came.
func (g *gateway) converse(ctx context.Context, c *wire.Case) (heard []reply, ended, failed error) {
	l, err := open(ctx, g.To, g.Timeout)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", c.Name, err)
	}
	defer l.close()
	l.send(c.Raw, c.HalfClose)
	for i := range len(c.Answers) + 4 {
		if i == len(c.Answers) && c.Answers[i-1].Reason == "" {
			l.finish()
		}
		method := http.MethodGet
		if i < len(c.Answers) {
			method = c.Answers[i].Method
		}
		a, err := l.answer(method)
		if err != nil {
			return heard, err, nil
		}
		heard = append(heard, a)
	}
	return heard, errBroken, nil // answers without end
}

// reason is why the gateway of this process refused; empty where nobody knows.
func (g *gateway) reason(ctx context.Context, id string) gate.Reason {
	if g.Reason == nil {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, g.Timeout)
	defer cancel()
	reason, known := g.Reason(ctx, id)
	if !known {
		return "(no record)"
	}
	return reason
}

// seen is what reached the capture of a case, and notes it in the result.
func (g *gateway) seen(ctx context.Context, c *wire.Case, r *Result) []Stream {
	if g.Capture == nil {
		return nil
	}
	if c.Refused() {
		wait(ctx, g.pause)
	}
	streams := g.take(ctx)
	for _, s := range streams {
		r.Backend = append(r.Backend, escape(s.Bytes))
	}
	return streams
}

// take looks at the capture, which has as long as a case to finish.
func (g *gateway) take(ctx context.Context) []Stream {
	ctx, cancel := context.WithTimeout(ctx, g.Timeout)
	defer cancel()
	return g.Capture.Take(ctx)
}

// stragglers looks at the capture a last time: what arrives only now belongs to
// no case, and is a difference all the same.
func (g *gateway) stragglers(ctx context.Context) []Result {
	wait(ctx, 200*time.Millisecond)
	late := g.take(ctx)
	if len(late) == 0 {
		return nil
	}
	r := Result{
		Name: "after-the-last-case", Group: "connection", About: "nothing arrives any more", Outcome: Different,
		Expected: []string{}, Answered: []string{}, Why: []string{"bytes reached the backend that belong to no case"},
	}
	for _, s := range late {
		r.Backend = append(r.Backend, escape(s.Bytes))
	}
	return []Result{r}
}

// wait lets time pass, unless ctx ends.
func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

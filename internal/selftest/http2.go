package selftest

import (
	"context"
	"fmt"
	"time"

	"sallyport/internal/gate"
	"sallyport/internal/wire"
)

// maxLeaving is how many connections may be on their way out after a GOAWAY,
// which servers linger behind for a while.
const maxLeaving = 32

// stayedOpen is said of a connection that outlives its GOAWAY.
const stayedOpen = "the connection stayed open after its GOAWAY"

// frames is a line as HTTP/2 is played over it: no more is read than maxHeard.
type frames struct{ *line }

func (f frames) Read(p []byte) (int, error)  { return f.r.Read(p) }
func (f frames) Write(p []byte) (int, error) { return f.conn.Write(p) }
func (f frames) CloseWrite() error           { f.finish(); return nil }

// askHTTP2 sends one well-formed request and returns the status of its answer.
func askHTTP2(ctx context.Context, o Options) (int, error) {
	harmless, err := wire.Parse([]byte("protocol: h2\nexpect: 200\n--\nHEADERS 1 END_HEADERS END_STREAM\n  :method: GET\n  :scheme: http\n" +
		"  :authority: " + corpusHost + "\n  :path: /\n  user-agent: sallyport-selftest\n  accept: */*\n"))
	if err != nil {
		return 0, err
	}
	if harmless, _, err = harmless.Rename(corpusHost, host(o.Host)); err != nil {
		return 0, err
	}
	l, err := open(ctx, *o.HTTP2, o.Timeout)
	if err != nil {
		return 0, err
	}
	defer l.close()
	var x wire.Exchange
	if err := x.Play(frames{l}, &harmless, nil); err != nil {
		return 0, ending(err)
	}
	if end := x.Ending(1); end.Kind != wire.Answered {
		return 0, fmt.Errorf("%s", end)
	}
	return x.Stream(1).Status, nil
}

// play sends one case in HTTP/2 and judges it.
func (g *gateway) play(ctx context.Context, c *wire.Case) (Result, error) {
	r := newResult(c)
	began := time.Now()
	l, err := open(ctx, *g.HTTP2, g.Timeout)
	if err != nil {
		return r, fmt.Errorf("%s: %w", c.Name, err)
	}
	var x wire.Exchange
	err = x.Play(frames{l}, c, nil)
	j := judgementHTTP2{c: c, own: g.Own, bytes: g.Capture != nil, stray: c.Stray(&x)}
	if err != nil && !x.Ended() {
		j.stray = append(j.stray, "what came cannot be read further: "+escape([]byte(err.Error())))
	}
	for i := range c.Outcomes {
		o := &c.Outcomes[i]
		got := x.Ending(o.Stream)
		switch {
		case got.Kind == wire.Answered:
			got.Reason = g.reason(ctx, x.Stream(o.Stream).Get("x-request-id"))
		case o.EndsConnection(got):
			got.Reason = g.ended(ctx, l.conn.LocalAddr().String(), began)
		}
		j.endings = append(j.endings, got)
		r.Answered = append(r.Answered, got.String())
	}
	if r.Ended = "open"; x.Ending(0).Kind != wire.Unfinished {
		r.Ended = x.Ending(0).String()
	}
	gone := x.Ending(0).Kind == wire.GoneAway
	if _, bodies := c.Opens(); gone && g.Capture != nil {
		j.underWay = bodies
	}
	switch {
	case j.underWay > 0: // what becomes of them is not known before the end
		if l.within(g.Timeout); !outlast(l, &x) {
			j.stray = append(j.stray, stayedOpen)
		}
		l.close()
	case gone:
		g.leave(c.Name, l, &x)
	default:
		l.close()
	}
	j.seen = g.seen(ctx, c, &r)
	r.Outcome, r.Why, r.CutOff = j.outcome()
	return r, nil
}

// ended is why the gateway of this process ended a connection; empty where
// nobody knows.
func (g *gateway) ended(ctx context.Context, peer string, since time.Time) gate.Reason {
	if g.Ended == nil {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, g.Timeout)
	defer cancel()
	reason, known := g.Ended(ctx, peer, since)
	if !known {
		return "(no record)"
	}
	return reason
}

// leave waits, beside the cases that follow, for the end of a connection that
// a GOAWAY with an error has announced (RFC 9113 section 5.4.1).
func (g *gateway) leave(name string, l *line, x *wire.Exchange) {
	g.leaving <- struct{}{}
	l.within(g.Timeout)
	g.late.Go(func() {
		defer func() { <-g.leaving }()
		defer l.close()
		if outlast(l, x) {
			return
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.stayed == nil {
			g.stayed = map[string]bool{}
		}
		g.stayed[name] = true
	})
}

// outlast reads until the line ends, and reports whether the server ended it.
func outlast(l *line, x *wire.Exchange) bool {
	for x.Next(l.r) == nil {
	}
	return x.Ended()
}

// complain makes differences of the cases whose connection stayed open.
func (g *gateway) complain(results []Result) {
	for i := range results {
		if r := &results[i]; g.stayed[r.Name] {
			r.Outcome, r.Why = Different, append(r.Why, stayedOpen)
		}
	}
}

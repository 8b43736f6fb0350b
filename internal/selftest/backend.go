package selftest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"sallyport/internal/wire"
)

// markerPath begins the target of the request that is sent behind a case.
const markerPath = "/sallyport-selftest-marker-"

const (
	// manyAnswers is where counting the answers to a case stops.
	manyAnswers = 16
	// linger is how long more answers are waited for once the marker has its own.
	linger = 300 * time.Millisecond
)

// Backend sends every case in HTTP/1 that the gateway refuses straight to a
// backend and tells what that made of it. The error tells that the backend could not be
// reached, or the run not be finished.
//
// A case alone does not show where the backend saw its end. So a second,
// well-formed request follows it, the marker, and the answers are counted. A
// backend that reads both as what they are gives an answer to each. One answer
// more means that bytes of the case became a request of their own; no answer to
// the marker, that it was taken for a part of the case. Either is what request
// smuggling is made of: behind a gateway that reads the case in another way,
// the request behind it is somebody else's.
func Backend(ctx context.Context, o Options) (*Report, error) {
	began := time.Now()
	o.Timeout, o.Parallel = cmp.Or(o.Timeout, 2*time.Second), cmp.Or(o.Parallel, 8)
	refused := o
	refused.Cases = slices.DeleteFunc(slices.Clone(o.Cases), func(c wire.Case) bool { return c.Protocol != wire.HTTP1 || !c.Refused() })
	b := &backend{Options: refused}
	if err := b.learn(ctx); err != nil {
		return nil, err
	}
	results, err := each(ctx, refused, b.run)
	if err != nil {
		return nil, err
	}
	rep := newReport("backend", o.To, began, results)
	rep.Plain = b.plain
	rep.Plain["GET "+markerPath+"N"] = b.marker
	return rep, nil
}

// backend is one run.
type backend struct {
	Options
	plain  map[string]int // what well-formed requests are answered, by method and target
	marker int            // and the marker, whose target exists nowhere
}

// learn sends well-formed requests like those of the corpus, to know later
// whether an answer is one to the way in which a request is written.
func (b *backend) learn(ctx context.Context) error {
	b.plain = map[string]int{}
	for _, r := range []struct{ method, target, body string }{{"GET", "/", ""}, {"HEAD", "/", ""}, {"POST", "/in", "hello"}} {
		status, err := ask(ctx, b.Options, r.method, r.target, r.body)
		if err != nil && r.method == http.MethodGet {
			return fmt.Errorf("%s does not answer a harmless request: %w", b.To.Address, err)
		}
		b.plain[r.method+" "+r.target] = status // 0: it answers no such request
	}
	var err error
	if b.marker, err = ask(ctx, b.Options, http.MethodGet, markerPath+"0", ""); err != nil {
		return fmt.Errorf("%s does not answer a harmless request: %w", b.To.Address, err)
	}
	return nil
}

// run sends one case, with the marker where it makes sense, and judges. What
// the counting leaves open is decided by the case alone, whose own bytes are
// then all that could be a request.
func (b *backend) run(ctx context.Context, c *wire.Case) (Result, error) {
	r := newResult(c)
	v := hearing{b: b, meant: len(c.Answers), method: firstWord(c.Raw)}
	v.marked, _ = emptyLine(c.Raw)
	v.marked = v.marked && !c.HalfClose
	raw := c.Raw
	if v.marked {
		v.meant++
		raw = append(slices.Clip(slices.Clone(raw)), b.markerRequest(c.Name)...)
	}
	var err error
	if v.heard, v.ended, err = b.hear(ctx, c, raw, !v.marked, v.meant); err != nil {
		return r, err
	}
	if v.doubtful() {
		if v.alone, _, err = b.hear(ctx, c, c.Raw, false, len(c.Answers)); err != nil {
			return r, err
		}
		r.Alone = statuses(v.alone)
	}
	r.Answered, r.Ended, r.Marker, r.Meant = statuses(v.heard), v.ended.Error(), v.marked, v.meant
	var why string
	if r.Outcome, why = v.outcome(); why != "" {
		r.Why = []string{why}
	}
	return r, nil
}

// markerRequest is the second request. It asks for the end of the connection,
// so that nobody has to wait to know that no more answers come.
func (b *backend) markerRequest(name string) []byte {
	name = strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' || '0' <= r && r <= '9' {
			return r
		}
		return '-'
	}, name)
	return fmt.Appendf(nil, "GET %s%s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", markerPath, name, host(b.Host))
}

// hear sends bytes and reads answers until the line ends. Once as many came as
// were meant it waits only a little longer. The sending direction stays open
// where it can: some servers give up a request whose client has closed it.
func (b *backend) hear(ctx context.Context, c *wire.Case, raw []byte, halfClose bool, meant int) (heard []reply, ended, failed error) {
	l, err := open(ctx, b.To, b.Timeout)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", c.Name, err)
	}
	defer l.close()
	l.send(raw, halfClose)
	for len(heard) < manyAnswers {
		method := http.MethodGet
		if len(heard) < len(c.Answers) {
			method = firstWord(c.Raw)
		}
		if len(heard) == meant {
			l.within(min(linger, b.Timeout))
		}
		a, err := l.answer(method)
		if err != nil {
			return heard, err, nil
		}
		heard = append(heard, a)
		if a.Status == http.StatusSwitchingProtocols || method == http.MethodConnect && a.Status < 300 {
			return heard, errTunnel, nil
		}
	}
	return heard, errBroken, nil
}

// errTunnel ends a line on which HTTP/1 is no longer spoken.
var errTunnel = errors.New("another protocol from there on")

// A hearing is what came back for one case.
type hearing struct {
	b      *backend
	method string
	marked bool // the marker was sent
	meant  int  // how many requests were sent, with the marker
	heard  []reply
	ended  error
	alone  []reply // to the case without the marker; nil: not asked
}

// doubtful reports whether the answers leave open where the case ended for the
// backend: something came behind the answer to the case that is not, or not
// only, the marker's.
func (v *hearing) doubtful() bool {
	own := v.own()
	return v.marked && len(v.heard) > own && len(v.heard) <= v.meant && !v.inOrder()
}

// own is how many of the requests are the case's.
func (v *hearing) own() int {
	if v.marked {
		return v.meant - 1
	}
	return v.meant
}

// inOrder reports whether the case and the marker were answered, and nothing
// else. The marker asks for the end of the connection, so that a backend that
// has read it closes (RFC 9112 section 9.6).
func (v *hearing) inOrder() bool {
	if len(v.heard) != v.meant {
		return false
	}
	last := v.heard[v.meant-1]
	return last.Status == v.b.marker && (last.Close || errors.Is(v.ended, errClosed))
}

// outcome decides, from the count of the answers first.
func (v *hearing) outcome() (Outcome, string) {
	own := v.own()
	switch {
	case len(v.heard) > v.meant:
		return Several, fmt.Sprintf("%d answers to %d requests: bytes of the case were taken for a request", len(v.heard), v.meant)
	case len(v.alone) > own:
		return Several, fmt.Sprintf("%d answers to %d requests when the case is sent alone: bytes of it were taken for a request", len(v.alone), own)
	case len(v.heard) == 0 && errors.Is(v.ended, errNotHTTP):
		return Unclear, "answered in HTTP/0.9 or in another protocol, where nothing tells a success from a failure"
	case len(v.heard) < own && errors.Is(v.ended, errTimeout):
		return Hangs, "no answer within the time"
	case len(v.heard) < own:
		return Refused, "closed instead of an answer"
	}
	last := v.heard[own-1]
	switch {
	case !v.accepts(last.Status):
		return Refused, ""
	case !v.marked || errors.Is(v.ended, errTunnel) || v.inOrder():
		return v.plainly(last.Status)
	case len(v.heard) == own && (last.Close || errors.Is(v.ended, errClosed)):
		o, why := v.plainly(last.Status)
		return o, strings.TrimPrefix(why+"; closed the connection behind it", "; ")
	case len(v.heard) == own:
		return Misread, "the request behind the case was not answered: it was taken for a part of it"
	}
	return Misread, fmt.Sprintf("the request behind the case was answered %d, alone it is %d: its beginning was taken for a part of the case", v.heard[own].Status, v.b.marker)
}

// accepts reports whether an answer is to what a request asks for, and not to
// how it is written: a success, a redirection, or what a well-formed request is
// answered too.
func (v *hearing) accepts(status int) bool {
	return status < http.StatusBadRequest || status != http.StatusBadRequest && (status == v.b.marker || v.likePlain(status))
}

// likePlain reports whether a well-formed request of the method got the status.
func (v *hearing) likePlain(status int) bool {
	for request, got := range v.b.plain {
		if method, _, _ := strings.Cut(request, " "); method == v.method && got == status {
			return true
		}
	}
	return false
}

// plainly is the outcome where the case was read as one request. Where a
// well-formed request of the method is refused with the same status, only the
// answer to the marker shows that the backend read the case to its end.
func (v *hearing) plainly(status int) (Outcome, string) {
	if refusal(status) || status == http.StatusMethodNotAllowed {
		if !v.inOrder() {
			return Unclear, fmt.Sprintf("answered %d, as a plain %s is", status, v.method)
		}
	}
	return Accepted, ""
}

// firstWord is the method of the first request; GET where there is none.
func firstWord(raw []byte) string {
	word, _, ok := strings.Cut(strings.TrimLeft(string(raw[:min(len(raw), 64)]), "\r\n"), " ")
	if !ok || !isToken(word) {
		return http.MethodGet
	}
	return word
}

func statuses(heard []reply) []string {
	out := []string{}
	for _, a := range heard {
		out = append(out, said(a.Status, ""))
	}
	return out
}

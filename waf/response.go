package waf

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"

	vars "github.com/corazawaf/coraza/v3/types/variables"

	"sallyport/internal/gate"
	"sallyport/waf/coding"
)

// Response judges the answer of the backend (phases 3 and 4), before any of it
// has gone to the client. It holds as much of the body as the policy asks for
// and replaces it by one that reads the same bytes. When the request's body is
// still streaming, what was seen of it is judged first. A verdict on the
// request that could not be given before is given here.
func (t *Transaction) Response(resp *http.Response) gate.Verdict {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.rules == nil || t.facts == nil {
		return gate.Passes(gate.StageWAF)
	}
	if !t.verdict.Passed() {
		return t.verdict
	}
	defer t.endTurn()
	t.protect(t.judgeEarly)
	if !t.verdict.Passed() {
		return t.verdict
	}
	request := t.verdict
	t.verdict = gate.Passes(gate.StageWAF)
	t.protect(func() { t.response(resp) })
	switch answer := t.verdict; {
	case answer.Action != gate.Pass:
		return answer
	case request.Action != gate.Pass && !t.told:
		t.verdict = request
		return request
	default:
		t.verdict = request
		return answer
	}
}

func (t *Transaction) response(resp *http.Response) {
	t.readResponseHead(resp)
	if t.phase(phaseResponseHead) {
		return
	}
	if t.holdResponse(resp) {
		return
	}
	t.phase(phaseResponse)
}

// readResponseHead adds what the rules get to see of the head of a response to
// the facts; it needs no engine.
func (t *Transaction) readResponseHead(resp *http.Response) {
	f := t.facts
	f.Set(vars.ResponseStatus, strconv.Itoa(resp.StatusCode))
	f.Set(vars.ResponseProtocol, resp.Proto)
	for name, values := range resp.Header {
		for _, value := range values {
			if name == "" {
				continue
			}
			f.Add(vars.ResponseHeaders, name, value)
			if strings.EqualFold(name, "Content-Type") {
				mediaType, _, _ := strings.Cut(value, ";")
				f.Set(vars.ResponseContentType, mediaType)
			}
		}
	}
}

// holdResponse adds the body of the response to the facts, if it is one to be
// judged. It reports whether the response ends here.
func (t *Transaction) holdResponse(resp *http.Response) bool {
	if noBody(resp.Body) || resp.ContentLength == 0 || resp.StatusCode == http.StatusSwitchingProtocols || t.req.Head.Method == http.MethodHead {
		return false
	}
	if !t.judgesBody(resp) {
		t.responseInspected = "none"
		return false
	}
	limit := t.policy.ResponseLimit
	held, more, err := readUpTo(t.req.HTTP.Context(), &t.lease, resp.Body, limit, resp.ContentLength)
	if errors.Is(err, errMemory) {
		t.unread(err)
		return true
	}
	body := resp.Body
	resp.Body = restored(held, more, body)
	if err != nil {
		// The backend broke off. What came is judged, and the reader learns
		// of the break where it happened.
		resp.Body = restored(held, true, struct {
			io.Reader
			io.Closer
		}{failing{err}, body})
	}
	cut := more || err != nil
	held = held[:min(int64(len(held)), limit)]
	if c, err := codingOf(resp.Header.Values("Content-Encoding"), coding.All); c != "" && err == nil {
		return t.judgeDecoded(c, held, cut)
	}
	return t.judgeBody(held, cut)
}

// judgeDecoded adds the content of a coded body to the facts. What cannot be
// decoded is judged as far as it can be; the client gets it as it came. It
// reports whether the response ends here.
func (t *Transaction) judgeDecoded(c coding.Coding, held []byte, cut bool) bool {
	content, cut, err := t.decodeHeld(c, held, cut, t.policy.ResponseLimit)
	_, bad := errors.AsType[*coding.Error](err)
	switch {
	case errors.Is(err, errBusy):
		return true
	case err != nil && !bad:
		t.unread(err)
		return true
	case (cut || bad) && len(content) == 0:
		t.responseInspected = "none"
		return false
	}
	// The Core Rule Set looks away from bodies that it takes for coded ones.
	t.facts.Remove(vars.ResponseHeaders, "content-encoding")
	return t.judgeBody(content[:min(int64(len(content)), t.policy.ResponseLimit)], cut || bad)
}

// judgeBody adds the body to the facts, of which there may be more. It
// reports whether the response ends here.
func (t *Transaction) judgeBody(body []byte, cut bool) bool {
	t.responseInspected = "full"
	if cut {
		t.responseInspected = "head"
		t.facts.Set(vars.OutboundDataError, "1")
	}
	if !t.turn(int64(len(body))) {
		return true
	}
	t.facts.Set(vars.ResponseBody, view(body))
	t.facts.Set(vars.ResponseContentLength, strconv.Itoa(len(body)))
	return false
}

// judgesBody decides from the response itself whether its body is held: by
// policy, and only text that comes as a whole. Streams, calls, ranges and
// downloads are never held.
func (t *Transaction) judgesBody(resp *http.Response) bool {
	switch t.policy.ResponseBody {
	case "all":
	case "errors":
		if resp.StatusCode < 400 {
			return false
		}
	default:
		return false
	}
	h := resp.Header
	if resp.StatusCode == http.StatusPartialContent || h.Get("Content-Range") != "" {
		return false
	}
	for _, disposition := range h.Values("Content-Disposition") {
		if strings.HasPrefix(strings.ToLower(strings.TrimSpace(disposition)), "attachment") {
			return false
		}
	}
	if _, err := codingOf(h.Values("Content-Encoding"), coding.All); err != nil {
		return false
	}
	e := essence(h.Get("Content-Type"))
	if e == "text/event-stream" || strings.HasPrefix(e, "application/grpc") {
		return false
	}
	kind, _ := typeKind(e)
	return strings.HasPrefix(e, "text/") || kind == kindJSON || kind == kindXML
}

// failing is a reader that has nothing but its error.
type failing struct{ err error }

// Read returns the error.
func (f failing) Read([]byte) (int, error) { return 0, f.err }

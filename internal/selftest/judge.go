package selftest

import (
	"fmt"
	"net/http"
	"strconv"

	"sallyport/internal/gate"
	"sallyport/internal/wire"
)

// answered is one answer, and why it is a refusal where that is known.
type answered struct {
	status int
	reason gate.Reason
	last   bool // the gateway said that it will close
}

// judgement compares what a gateway did with what a case expects.
type judgement struct {
	c       *wire.Case
	own     bool // reasons are known, and every status must be the expected one
	bytes   bool // seen is all that reached the backend
	answers []answered
	closed  bool // the gateway closed after the last answer
	seen    []Stream
}

// outcome decides, with what differs.
func (j *judgement) outcome() (o Outcome, why []string, cutOff bool) {
	why, blocked := j.compareAnswers()
	if j.bytes {
		var differs []string
		differs, cutOff = j.compareBytes(blocked != "")
		why = append(why, differs...)
	}
	o, why = decide(j.c, why, blocked)
	return o, why, cutOff
}

// decide names the outcome of a case from what differs (why) and from who else
// refused (blocked, empty for nobody), and returns what is to be said of it. A
// difference outweighs the other's refusal.
func decide(c *wire.Case, why []string, blocked string) (Outcome, []string) {
	switch {
	case len(why) > 0:
		return Different, why
	case blocked != "":
		return NotJudged, []string{blocked}
	case c.Refused():
		return Refused, nil
	}
	return Forwarded, nil
}

// compareAnswers returns what differs in the answers. blocked is not empty
// when another stage refused what the strict stage is expected to accept: then
// the rest of the connection cannot be judged.
func (j *judgement) compareAnswers() (why []string, blocked string) {
	for i, want := range j.c.Answers {
		if i >= len(j.answers) {
			end := "and the connection stayed open"
			if j.closed {
				end = "the connection was closed"
			}
			return append(why, fmt.Sprintf("answer %d is missing, %s; want %s", i+1, end, said(want.Status, want.Reason))), ""
		}
		got := j.answers[i]
		if where := j.elsewhere(got); want.Reason == "" && where != "" {
			return why, fmt.Sprintf("answer %d is %s: %s", i+1, said(got.status, got.reason), where)
		}
		if !j.agrees(got, want) {
			why = append(why, fmt.Sprintf("answer %d is %s, want %s", i+1, said(got.status, got.reason), said(want.Status, want.Reason)))
		}
	}
	for i := len(j.c.Answers); i < len(j.answers); i++ {
		why = append(why, fmt.Sprintf("answer %d is %s, want none", i+1, said(j.answers[i].status, j.answers[i].reason)))
	}
	if !j.closed {
		why = append(why, "the connection stayed open after the last answer")
	}
	return why, ""
}

// elsewhere tells who, behind the strict stage, refused: another stage, because
// the method is not allowed there or, at a gateway that is not ours, its rules,
// limits, hosts or backends are in the way; or the backend, where that is
// somebody else's. The strict stage closes whenever it refuses.
func (j *judgement) elsewhere(got answered) string {
	switch got.status {
	case http.StatusMethodNotAllowed:
		if j.own && got.reason != gate.HTTPMethodNotAllowed {
			return ""
		}
		return "another stage refused it"
	case http.StatusForbidden, http.StatusMisdirectedRequest, http.StatusTooManyRequests,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		if j.own {
			return ""
		}
		return "another stage refused it"
	}
	if !j.own && !j.bytes && !got.last && refusal(got.status) {
		return "the backend refused it, since the connection was kept"
	}
	return ""
}

// agrees reports whether an answer is the expected one. With a backend of
// somebody else's, an accepted request may be answered whatever that likes, but
// for what only a strict reader says.
func (j *judgement) agrees(got answered, want wire.Answer) bool {
	switch {
	case want.Reason != "" || j.bytes:
		return got.status == want.Status && (!j.own || got.reason == want.Reason)
	default:
		return !refusal(got.status)
	}
}

// refusal reports whether a status is one with which readers of HTTP refuse.
func refusal(status int) bool {
	switch status {
	case http.StatusBadRequest, http.StatusRequestTimeout, http.StatusLengthRequired, http.StatusRequestEntityTooLarge,
		http.StatusRequestURITooLong, http.StatusExpectationFailed, http.StatusUpgradeRequired,
		http.StatusRequestHeaderFieldsTooLarge, http.StatusNotImplemented, http.StatusHTTPVersionNotSupported:
		return true
	}
	return false
}

// What is said of bytes at the backend that are no whole request.
const (
	notPlain = "what reached the backend is not one plain request after the other: "
	cutShort = "a request reached the backend without its end"
)

// compareBytes returns what differs at the backend: every accepted request, in
// order, whole and plain, and nothing else. At a gateway that is not ours, a
// request that is refused for its body may have begun to arrive, if it was then
// cut off: a backend throws away what is incomplete (RFC 9112 section 8). Ours
// reads bodies ahead, so that nothing of it may come.
func (j *judgement) compareBytes(blocked bool) (why []string, cutOff bool) {
	var got []Message
	for _, s := range j.seen {
		if s.Odd != "" {
			why = append(why, notPlain+s.Odd)
		}
		for _, m := range s.Messages {
			switch {
			case !m.Cut:
				got = append(got, m)
			case j.own || !j.c.Refused() || cutOff:
				why = append(why, cutShort)
			default:
				cutOff = true
			}
		}
	}
	var want []wire.Answer
	for _, a := range j.c.Answers {
		if a.Reason == "" {
			want = append(want, a)
		}
	}
	if len(got) > len(want) || len(got) < len(want) && !blocked {
		return append(why, fmt.Sprintf("%d whole requests reached the backend, want %d", len(got), len(want))), cutOff
	}
	if blocked {
		return why, cutOff // which of them came is not known
	}
	for i, m := range got {
		if want[i].Target != "" && m.Target != want[i].Target {
			why = append(why, fmt.Sprintf("the backend got the target %s, want %s", escape([]byte(m.Target)), escape([]byte(want[i].Target))))
		}
		if want[i].HasBody && m.Body != want[i].Body {
			why = append(why, fmt.Sprintf("the backend got the body %q, want %q", escape([]byte(m.Body)), escape([]byte(want[i].Body))))
		}
	}
	return why, cutOff
}

// said writes an answer as the corpus does.
func said(status int, reason gate.Reason) string {
	if reason == "" {
		return strconv.Itoa(status)
	}
	return strconv.Itoa(status) + " " + string(reason)
}

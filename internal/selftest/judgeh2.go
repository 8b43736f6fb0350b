package selftest

import (
	"fmt"
	"net/http"

	"sallyport/internal/wire"
)

// judgementHTTP2 compares what a gateway did with what a case in HTTP/2
// expects.
type judgementHTTP2 struct {
	c       *wire.Case
	own     bool          // reasons are known, and every ending must be an expected one
	bytes   bool          // seen is all that reached the backend
	endings []wire.Ending // one for each outcome, with the reason where it is known
	stray   []string      // what no outcome speaks of
	// underWay is how many requests had no end yet when the connection was ended
	// for something else that came on it. They were not refused, and break off.
	underWay int
	seen     []Stream
}

// outcome decides, with what differs.
func (j *judgementHTTP2) outcome() (o Outcome, why []string, cutOff bool) {
	differs, blocked, accepted := j.compareEndings()
	why = append(differs, j.stray...)
	if j.bytes {
		differs, cutOff = j.compareBytes(blocked != "", accepted)
		why = append(why, differs...)
	}
	o, why = decide(j.c, why, blocked)
	return o, why, cutOff
}

// compareEndings returns what differs in how the streams ended, and the
// requests that were accepted. blocked is not empty when somebody behind the
// strict stage refused what that is expected to accept. Streams do not depend
// on each other, so the others are judged all the same.
func (j *judgementHTTP2) compareEndings() (why []string, blocked string, accepted []wire.Outcome) {
	for i, o := range j.c.Outcomes {
		got := j.endings[i]
		switch {
		case j.accepts(&o, got):
			accepted = append(accepted, o)
		case j.right(&o, got):
		case !o.Refused() && got.Kind == wire.Answered && j.elsewhere(got.Status):
			blocked = fmt.Sprintf("stream %d is answered %s: somebody behind the strict stage may have refused it", o.Stream, got)
		default:
			what := "the connection"
			if o.Stream != 0 {
				what = fmt.Sprintf("stream %d", o.Stream)
			}
			why = append(why, fmt.Sprintf("%s ends with %s, want %s", what, got, o.Expected()))
		}
	}
	return why, blocked, accepted
}

// accepts reports whether a request was accepted, and rightly so. With a
// backend of somebody else's it may be answered whatever that likes, but for
// what readers of HTTP refuse with.
func (j *judgementHTTP2) accepts(o *wire.Outcome, got wire.Ending) bool {
	switch {
	case o.Refused() || got.Kind != wire.Answered || got.Reason != "":
		return false
	case j.own || j.bytes:
		return o.Right(got, "")
	}
	return !refusal(got.Status) && !j.elsewhere(got.Status)
}

// right reports whether an ending is one of those that are expected.
func (j *judgementHTTP2) right(o *wire.Outcome, got wire.Ending) bool {
	if j.own {
		return o.Right(got, got.Reason)
	}
	return o.Looks(got)
}

// elsewhere reports whether an answer may be that of another stage or of
// somebody else's backend. A refusal ends the stream alone, so that nothing
// tells whose it is.
func (j *judgementHTTP2) elsewhere(status int) bool {
	if j.own {
		return false
	}
	switch status {
	case http.StatusMethodNotAllowed, http.StatusForbidden, http.StatusMisdirectedRequest, http.StatusTooManyRequests,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return !j.bytes && refusal(status)
}

// compareBytes returns what differs at the backend: every accepted request,
// whole and plain, and nothing else. One that was under way when its connection
// was ended may have begun to arrive, and so may, at a gateway that is not ours,
// one that is refused for its body.
func (j *judgementHTTP2) compareBytes(blocked bool, accepted []wire.Outcome) (why []string, cutOff bool) {
	whole, cut, why := arrivals(j.seen)
	if cut > 0 {
		most := j.underWay
		if !j.own {
			most = max(most, len(j.c.Outcomes)-len(accepted))
		}
		if cutOff = cut <= most; !cutOff {
			why = append(why, cutShort)
		}
	}
	if blocked { // which of them came is not known
		if most := len(j.c.Outcomes); len(whole) > most {
			why = append(why, fmt.Sprintf("%d whole requests reached the backend, want no more than %d", len(whole), most))
		}
		return why, cutOff
	}
	return append(why, wire.Compare(accepted, whole)...), cutOff
}

// arrivals takes apart what came: the whole requests, how many were cut, and
// what is odd.
func arrivals(seen []Stream) (whole []wire.Arrival, cut int, odd []string) {
	for _, s := range seen {
		if s.Odd != "" {
			odd = append(odd, notPlain+s.Odd)
		}
		for _, m := range s.Messages {
			if m.Cut {
				cut++
				continue
			}
			whole = append(whole, wire.Arrival{Target: m.Target, Body: m.Body, Fields: m.Fields})
		}
	}
	return whole, cut, odd
}

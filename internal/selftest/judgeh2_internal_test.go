package selftest

import (
	"strings"
	"testing"

	"sallyport/internal/gate"
	"sallyport/internal/wire"
)

func TestJudgementHTTP2(t *testing.T) {
	t.Parallel()
	answer := func(status int, reason gate.Reason) wire.Ending {
		return wire.Ending{Kind: wire.Answered, Status: status, Reason: reason}
	}
	gone := wire.Ending{Kind: wire.GoneAway, Code: 1, Reason: gate.HTTPH2Frame}
	refused := &wire.Case{Outcomes: []wire.Outcome{{Stream: 1, Any: []wire.Ending{answer(400, gate.HTTPH2Field), {Kind: wire.Reset, Code: 1}}}}}
	accepted := &wire.Case{Outcomes: []wire.Outcome{{Stream: 1, Any: []wire.Ending{answer(200, "")}, Target: "/a", Body: "hello", HasBody: true, Fields: []gate.Field{{Name: "x-a", Value: "1"}}}}}
	broken := &wire.Case{Outcomes: []wire.Outcome{{Any: []wire.Ending{gone}}}}
	whole := Message{Target: "/a", Body: "hello", Fields: map[string]string{"x-a": "1"}}
	got := func(m ...Message) []Stream { return []Stream{{Total: 1, Messages: m}} }
	is := func(all ...wire.Ending) []wire.Ending { return all }
	for _, tc := range []struct {
		rule   string
		j      judgementHTTP2
		want   Outcome
		why    string // in what differs; empty: nothing does
		cutOff bool
	}{
		{"a refusal with its reason", judgementHTTP2{c: refused, own: true, bytes: true, endings: is(answer(400, gate.HTTPH2Field))}, Refused, "", false},
		{"another way to refuse that is right", judgementHTTP2{c: refused, own: true, bytes: true, endings: is(wire.Ending{Kind: wire.Reset, Code: 1})}, Refused, "", false},
		{"another reason", judgementHTTP2{c: refused, own: true, bytes: true, endings: is(answer(400, gate.HTTPH2Pseudo))}, Different, "stream 1 ends with 400 http.h2_pseudo, want 400 http.h2_field | reset PROTOCOL_ERROR", false},
		{"a refusal whose reason nobody knows", judgementHTTP2{c: refused, endings: is(answer(400, ""))}, Refused, "", false},
		{"nothing within the time", judgementHTTP2{c: refused, endings: is(wire.Ending{})}, Different, "unfinished", false},
		{"an accepted request that should not be", judgementHTTP2{c: refused, endings: is(answer(200, ""))}, Different, "ends with 200", false},
		{"refused, but the backend got it", judgementHTTP2{c: refused, bytes: true, endings: is(answer(400, "")), seen: got(whole)}, Different, "1 requests reached the backend, want 0", false},
		{"refused, but the backend of our own gateway got a part", judgementHTTP2{c: refused, own: true, bytes: true, endings: is(answer(400, gate.HTTPH2Field)), seen: got(Message{Cut: true})}, Different, "without its end", false},
		{"which another gateway may do", judgementHTTP2{c: refused, bytes: true, endings: is(answer(400, "")), seen: got(Message{Cut: true})}, Refused, "", true},
		{"but once only", judgementHTTP2{c: refused, bytes: true, endings: is(answer(400, "")), seen: got(Message{Cut: true}, Message{Cut: true})}, Different, "without its end", false},
		{"the connection is ended", judgementHTTP2{c: broken, own: true, bytes: true, endings: is(gone)}, Refused, "", false},
		{"with a request under way", judgementHTTP2{c: broken, own: true, bytes: true, underWay: 1, endings: is(gone), seen: got(Message{Cut: true})}, Refused, "", true},
		{"that came whole all the same", judgementHTTP2{c: broken, own: true, bytes: true, underWay: 1, endings: is(gone), seen: got(whole)}, Different, "1 requests", false},
		{"another code", judgementHTTP2{c: broken, endings: is(wire.Ending{Kind: wire.GoneAway, Code: 2})}, Different, "the connection ends with goaway INTERNAL_ERROR", false},
		{"something stray", judgementHTTP2{c: broken, endings: is(gone), stray: []string{"stream 3 was answered"}}, Different, "stream 3", false},
		{"accepted and forwarded", judgementHTTP2{c: accepted, own: true, bytes: true, endings: is(answer(200, "")), seen: got(whole)}, Forwarded, "", false},
		{"accepted and not forwarded", judgementHTTP2{c: accepted, bytes: true, endings: is(answer(200, ""))}, Different, "0 requests", false},
		{"another body", judgementHTTP2{c: accepted, bytes: true, endings: is(answer(200, "")), seen: got(Message{Target: "/a", Body: "hell", Fields: whole.Fields})}, Different, `the body "hell"`, false},
		{"a field that is missing", judgementHTTP2{c: accepted, bytes: true, endings: is(answer(200, "")), seen: got(Message{Target: "/a", Body: "hello"})}, Different, "x-a", false},
		{"bytes that are odd", judgementHTTP2{c: accepted, bytes: true, endings: is(answer(200, "")), seen: []Stream{{Odd: "an LF without CR", Messages: []Message{whole}}}}, Different, "an LF without CR", false},
		{"the backend's own answer counts as forwarded", judgementHTTP2{c: accepted, endings: is(answer(404, ""))}, Forwarded, "", false},
		{"a refusal that may be the backend's", judgementHTTP2{c: accepted, endings: is(answer(400, ""))}, NotJudged, "somebody behind the strict stage", false},
		{"which the capture never gives", judgementHTTP2{c: accepted, bytes: true, endings: is(answer(400, ""))}, Different, "ends with 400", false},
		{"another stage refused", judgementHTTP2{c: accepted, bytes: true, endings: is(answer(429, ""))}, NotJudged, "somebody", false},
		{"of our own gateway none may", judgementHTTP2{c: accepted, own: true, bytes: true, endings: is(answer(429, gate.LimitOverBudget))}, Different, "429 limit.over_budget", false},
	} {
		o, why, cutOff := tc.j.outcome()
		if text := strings.Join(why, "; "); o != tc.want || cutOff != tc.cutOff || !strings.Contains(text, tc.why) || (tc.why == "") != (text == "") {
			t.Errorf("%s: %s %q, cut off %v, want %s %q, %v", tc.rule, o, text, cutOff, tc.want, tc.why, tc.cutOff)
		}
	}
}

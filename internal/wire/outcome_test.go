package wire

import (
	"slices"
	"strings"
	"testing"

	"sallyport/internal/gate"
)

func TestParseHTTP2(t *testing.T) {
	t.Parallel()
	c, err := Parse([]byte("# a rule\nprotocol: h2\nexpect: 200\ntarget: /x\nbody: a\\r\nfield: cookie: a=1; b=2\nabsent: te\nexpect: 400 http.h2_field | reset PROTOCOL_ERROR\nexpect: goaway 0x1 http.h2_frame | closed\nexpect: 200\nstream: 9\n--\nPREFACE\nPING \"12345678\"\n"))
	if err != nil {
		t.Fatal(err)
	}
	if c.Protocol != HTTP2 || len(c.Answers) != 0 || len(c.Outcomes) != 4 || !c.Refused() {
		t.Fatalf("Parse = %+v", c)
	}
	first := c.Outcomes[0]
	if first.Stream != 1 || first.Refused() || first.Target != "/x" || first.Body != "a\r" || !first.HasBody ||
		!slices.Equal(first.Fields, []gate.Field{{Name: "cookie", Value: "a=1; b=2"}}) || !slices.Equal(first.Absent, []string{"te"}) {
		t.Errorf("first outcome = %+v", first)
	}
	for i, want := range []struct {
		stream uint32
		words  string
	}{{1, "200"}, {3, "400 http.h2_field | reset PROTOCOL_ERROR"}, {0, "goaway PROTOCOL_ERROR http.h2_frame | closed"}, {9, "200"}} {
		if o := c.Outcomes[i]; o.Stream != want.stream || o.Expected() != want.words {
			t.Errorf("outcome %d is about stream %d and expects %q, want %d %q", i, o.Stream, o.Expected(), want.stream, want.words)
		}
	}
}

func TestRight(t *testing.T) {
	t.Parallel()
	o := Outcome{Any: []Ending{{Kind: Answered, Status: 400, Reason: gate.HTTPH2Field}, {Kind: Reset, Code: 1}, {Kind: GoneAway, Code: 9, Reason: gate.HTTPH2Frame}}}
	for _, tc := range []struct {
		rule   string
		seen   Ending
		reason gate.Reason
		want   bool
	}{
		{"status and reason agree", Ending{Kind: Answered, Status: 400}, gate.HTTPH2Field, true},
		{"another reason", Ending{Kind: Answered, Status: 400}, gate.HTTPH2Pseudo, false},
		{"a refusal without a record", Ending{Kind: Answered, Status: 400}, "", false},
		{"another status", Ending{Kind: Answered, Status: 431}, gate.HTTPH2Field, false},
		{"a reset needs no reason where none is written", Ending{Kind: Reset, Code: 1}, gate.PoolClientGone, true},
		{"another code", Ending{Kind: Reset, Code: 2}, "", false},
		{"a reason that is written for the connection", Ending{Kind: GoneAway, Code: 9}, gate.HTTPH2Frame, true},
		{"and is missing", Ending{Kind: GoneAway, Code: 9}, "", false},
		{"nothing has happened", Ending{}, "", false},
	} {
		if got := o.Right(tc.seen, tc.reason); got != tc.want {
			t.Errorf("%s: Right(%s, %q) = %t, want %t", tc.rule, tc.seen, tc.reason, got, tc.want)
		}
	}
}

func TestParseHTTP2RefusesWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	for rule, src := range map[string]string{
		"nothing expected":             "protocol: h2\n--\n",
		"another protocol":             "protocol: h3\nexpect: 200\n--\n",
		"a protocol that comes late":   "expect: 200\nprotocol: h2\n--\n",
		"no code":                      "protocol: h2\nexpect: reset\n--\n",
		"unknown code":                 "protocol: h2\nexpect: reset OOPS\n--\n",
		"unknown reason":               "protocol: h2\nexpect: 400 http.nonsense\n--\n",
		"too many words":               "protocol: h2\nexpect: 400 http.h2_field http.h2_field\n--\n",
		"an empty alternative":         "protocol: h2\nexpect: 200 |\n--\n",
		"a status that is none":        "protocol: h2\nexpect: fine\n--\n",
		"a key of HTTP/1":              "protocol: h2\nexpect: 200\nmethod: HEAD\n--\n",
		"a key before what it is of":   "protocol: h2\ntarget: /\nexpect: 200\n--\n",
		"a field without a value":      "protocol: h2\nexpect: 200\nfield: x\n--\n",
		"a stream that is none":        "protocol: h2\nexpect: 200\nstream: x\n--\n",
		"an unknown frame":             "protocol: h2\nexpect: 200\n--\nHELLO 1",
		"a stream is missing":          "protocol: h2\nexpect: 200\n--\nDATA",
		"an error code is missing":     "protocol: h2\nexpect: 200\n--\nRST_STREAM 1",
		"an unknown option":            "protocol: h2\nexpect: 200\n--\nDATA 1 colour=red",
		"a field without a frame":      "protocol: h2\nexpect: 200\n--\n  a: b",
		"octets that are none":         "protocol: h2\nexpect: 200\n--\nDATA 1 xyz",
		"an odd digit":                 "protocol: h2\nexpect: 200\n--\nRAW 123",
		"an open quote":                "protocol: h2\nexpect: 200\n--\nDATA 1 \"x",
		"octets on the line of a head": "protocol: h2\nexpect: 200\n--\nHEADERS 1 \"x\"",
		"a field without a colon":      "protocol: h2\nexpect: 200\n--\nHEADERS 1\n  abc",
		"a way to write that is none":  "protocol: h2\nexpect: 200\n--\nHEADERS 1\n  @loud a: b",
		"a setting without a value":    "protocol: h2\nexpect: 200\n--\nSETTINGS ENABLE_PUSH",
		"a weight that is none":        "protocol: h2\nexpect: 200\n--\nPRIORITY 1 priority=0,257",
		"a PRIORITY without one":       "protocol: h2\nexpect: 200\n--\nPRIORITY 1",
		"a late preface":               "protocol: h2\nexpect: 200\n--\nPING\nPREFACE",
		"too much padding":             "protocol: h2\nexpect: 200\n--\nDATA 1 pad=256",
		"an escape that is none":       "protocol: h2\nexpect: 200\n--\nHEADERS 1\n  a: \\q",
	} {
		if c, err := Parse([]byte(src)); err == nil {
			t.Errorf("%s: Parse(%q) = %+v, want an error", rule, src, c)
		} else if strings.ToLower(err.Error()[:1]) != err.Error()[:1] && !strings.HasPrefix(err.Error(), "FRAME") && !strings.HasPrefix(err.Error(), "PREFACE") {
			t.Errorf("%s: %q begins in upper case", rule, err)
		}
	}
}

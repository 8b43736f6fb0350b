package selftest

import (
	"strings"
	"testing"

	"sallyport/internal/wire"
)

func TestWithHost(t *testing.T) {
	t.Parallel()
	accepted, refused := wire.Answer{Status: 200}, wire.Answer{Status: 400, Reason: "http.bare_lf"}
	for _, tc := range []struct {
		rule string
		c    wire.Case
		want string // the bytes; empty: it cannot be sent
	}{
		{"the host of the head", wire.Case{Name: "http.bare_lf/x", Answers: []wire.Answer{refused}, Raw: []byte("GET / HTTP/1.1\nHost: a.example\n\n")}, "GET / HTTP/1.1\nHost: b.test\n\n"},
		{"the host of an absolute target", wire.Case{Name: "http.target_form/x", Answers: []wire.Answer{accepted}, Raw: []byte("GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n")}, "GET http://b.test/ HTTP/1.1\r\nHost: b.test\r\n\r\n"},
		{"nothing that a length counts", wire.Case{Name: "http.te_and_cl/x", Answers: []wire.Answer{refused}, Raw: []byte("POST / HTTP/1.1\r\nHost: a.example\r\n\r\nHost: a.example")}, "POST / HTTP/1.1\r\nHost: b.test\r\n\r\nHost: a.example"},
		{"an empty line first ends no head", wire.Case{Name: "http.request_line/x", Answers: []wire.Answer{accepted}, Raw: []byte("\r\nGET / HTTP/1.1\r\nHost: a.example\r\n\r\n")}, "\r\nGET / HTTP/1.1\r\nHost: b.test\r\n\r\n"},
		{"all heads of several requests", wire.Case{Name: "connection/x", Answers: []wire.Answer{accepted, accepted}, Raw: []byte("GET / HTTP/1.1\r\nHost: a.example\r\n\r\nGET / HTTP/1.1\r\nHost: a.example\r\n\r\n")}, "GET / HTTP/1.1\r\nHost: b.test\r\n\r\nGET / HTTP/1.1\r\nHost: b.test\r\n\r\n"},
		{"not when a body holds the name", wire.Case{Name: "connection/x", Answers: []wire.Answer{{Status: 200, Body: "a.example"}, accepted}, Raw: []byte("POST / HTTP/1.1\r\nHost: a.example\r\n\r\na.example")}, ""},
		{"a refused case about the host as it is", wire.Case{Name: "http.host_duplicate/x", Answers: []wire.Answer{{Status: 400, Reason: "http.host_duplicate"}}, Raw: []byte("GET / HTTP/1.1\r\nHost: a.example\r\nHost: a.example\r\n\r\n")}, "GET / HTTP/1.1\r\nHost: a.example\r\nHost: a.example\r\n\r\n"},
		{"its twin would miss every route", wire.Case{Name: "http.host_invalid/ok-x", Answers: []wire.Answer{accepted}, Raw: []byte("GET / HTTP/1.1\r\nHost: a.example:80\r\n\r\n")}, ""},
		{"nor one that is spelt in another way", wire.Case{Name: "http.target_form/ok-x", Answers: []wire.Answer{accepted}, Raw: []byte("GET HTTP://A.Example/ HTTP/1.1\r\nHost: a.example\r\n\r\n")}, ""},
		{"and so would a request without a host", wire.Case{Name: "http.version/ok-x", Answers: []wire.Answer{accepted}, Raw: []byte("GET / HTTP/1.0\r\n\r\n")}, ""},
	} {
		before := string(tc.c.Raw)
		got, why := withHost(tc.c, "b.test")
		if why == "" && string(got.Raw) != tc.want || (why == "") != (tc.want != "") {
			t.Errorf("%s: %q, %q, want %q", tc.rule, got.Raw, why, tc.want)
		}
		if string(tc.c.Raw) != before {
			t.Errorf("%s: the case itself was changed", tc.rule)
		}
	}
}

// TestWithHostOnTheCorpus holds the rule against what it is for: with another
// host, whatever can be sent names it wherever it named the old one in a head
// that is routed.
func TestWithHostOnTheCorpus(t *testing.T) {
	t.Parallel()
	cases, err := wire.All()
	if err != nil {
		t.Fatal(err)
	}
	skipped := 0
	for _, c := range cases {
		got, why := withHost(c, "gateway.test")
		switch {
		case why != "":
			skipped++
			if c.Refused() {
				t.Errorf("%s: a refused case is skipped: %s", c.Name, why)
			}
		case !c.Refused() && len(c.Raw) > 0 && !strings.Contains(string(got.Raw)+got.Frames, "gateway.test"):
			t.Errorf("%s: an accepted case goes without the host: %.80q", c.Name, got.Raw)
		}
		if same, why := withHost(c, ""); why != "" || string(same.Raw) != string(c.Raw) {
			t.Errorf("%s: without --host the case is changed or skipped: %s", c.Name, why)
		}
	}
	if skipped == 0 || skipped > len(cases)/10 {
		t.Errorf("%d of %d cases are skipped, want a few", skipped, len(cases))
	}
}

package wire

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	t.Parallel()
	c, err := Parse([]byte("# a rule\n# more\nend: half-close\nsend: whole\nexpect: 200\nmethod: HEAD\ntarget: /x\nbody: a\\r\\n\nexpect: 400 http.bare_lf\n--\nA\\r\\n\n\\\\\\0\\t\\x7f\\{3:ab\\}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if want := "A\r\n\\\x00\t\x7fababab"; string(c.Raw) != want {
		t.Errorf("Raw = %q, want %q", c.Raw, want)
	}
	want := []Answer{{Status: 200, Target: "/x", Body: "a\r\n", HasBody: true, Method: "HEAD"}, {Status: 400, Reason: "http.bare_lf", Method: "GET"}}
	if c.About != "a rule" || !c.HalfClose || !c.Whole || !c.Refused() || len(c.Answers) != 2 || c.Answers[0] != want[0] || c.Answers[1] != want[1] {
		t.Errorf("Parse = %+v, want answers %+v", c, want)
	}
}

func TestParseReadsWhatIsAskedFor(t *testing.T) {
	t.Parallel()
	c, err := Parse([]byte("refuse: http.path_slash\nrefuse: http.query_percent\nexpect: 200\n--\nA"))
	if err != nil || len(c.Refuse) != 2 || c.Refuse[0] != "http.path_slash" || c.Refuse[1] != "http.query_percent" {
		t.Errorf("Parse = %+v, %v", c, err)
	}
}

func TestParseRefusesWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	for rule, src := range map[string]string{
		"no separator":            "expect: 200\nA",
		"nothing expected":        "# x\n--\nA",
		"unknown key":             "expect: 200\ncolour: red\n--\nA",
		"refused without asking":  "refuse: http.path_dots\nexpect: 200\n--\nA",
		"unknown reason":          "expect: 400 http.nonsense\n--\nA",
		"status that is none":     "expect: ok\n--\nA",
		"body before an expect":   "body: x\nexpect: 200\n--\nA",
		"line without colon":      "expect: 200\nfoo\n--\nA",
		"unknown escape":          "expect: 200\n--\n\\q",
		"short escape":            "expect: 200\n--\n\\x4",
		"open repetition":         "expect: 200\n--\n\\{3:a",
		"repetition of too much":  "expect: 200\n--\n\\{9999999:a\\}",
		"repetition without text": "expect: 200\n--\n\\{3\\}",
		"backslash at the end":    "expect: 200\n--\n\\",
	} {
		if c, err := Parse([]byte(src)); err == nil {
			t.Errorf("%s: Parse(%q) = %+v, want an error", rule, src, c)
		} else if strings.ToLower(err.Error()[:1]) != err.Error()[:1] {
			t.Errorf("%s: %q begins in upper case", rule, err)
		}
	}
}

package ftw_test

import (
	"bytes"
	"strings"
	"testing"

	"sallyport/internal/ftw"
	"sallyport/internal/gate"
)

const list = `exceptions:
  - kind: refused_earlier
    by: http.version
    reason: the parser answers
    tests: [1-1, 1-2]
  - kind: fail
    reason: "an engine \"difference\""
    tests:
      - 2-1
`

func results(rs ...ftw.Result) *ftw.Summary { return &ftw.Summary{Results: rs} }

func TestExceptionsReview(t *testing.T) {
	refused := func(id string) ftw.Result {
		return ftw.Result{Test: id, Kind: ftw.Refused, By: gate.HTTPVersion, File: "t.yaml", Line: 7}
	}
	failed := func(id string) ftw.Result {
		return ftw.Result{Test: id, Kind: ftw.Failed, File: "t.yaml", Line: 7, Details: []string{"expected\x1b rule 9"}}
	}
	passed := func(id string) ftw.Result { return ftw.Result{Test: id, Kind: ftw.Passed} }
	other := refused("1-1")
	other.By = gate.HTTPMethod
	for _, tc := range []struct {
		rule string
		run  *ftw.Summary
		want string
	}{
		{"a run that comes out as listed", results(refused("1-1"), refused("1-2"), failed("2-1"), passed("3-1")), ""},
		{"a failure that is not listed", results(refused("1-1"), refused("1-2"), failed("2-1"), failed("3-1")),
			`t.yaml:7: 3-1: fail: expected\x1b rule 9; mend it, or list it with a reason in x.yaml`},
		{"a refusal that is not listed", results(refused("1-1"), refused("1-2"), failed("2-1"), refused("3-1")),
			"t.yaml:7: 3-1: refused_earlier by http.version: ; mend it"},
		{"an unexpected pass", results(refused("1-1"), refused("1-2"), passed("2-1")), "x.yaml:9: 2-1: passes although it is listed"},
		{"a changed kind", results(refused("1-1"), failed("1-2"), failed("2-1")), "x.yaml:5: 1-2: listed as refused_earlier by http.version, came out as fail"},
		{"a changed reason", results(other, refused("1-2"), failed("2-1")), "1-1: listed as refused_earlier by http.version, came out as refused_earlier by http.method"},
		{"a test that is gone", results(refused("1-1"), refused("1-2")), "x.yaml:9: 2-1: no such test was run"},
		{"a test that was skipped", results(refused("1-1"), refused("1-2"), ftw.Result{Test: "2-1", Kind: ftw.Skipped}), "2-1: no such test was run"},
	} {
		e, diags := ftw.ParseExceptions("x.yaml", []byte(list))
		if len(diags) > 0 {
			t.Fatal(diags)
		}
		got := e.Review(tc.run).Error()
		if (got == "") != (tc.want == "") || !strings.Contains(got, tc.want) || strings.Count(got, "\n") > 0 {
			t.Errorf("%s: Review = %q, want %q", tc.rule, got, tc.want)
		}
	}
}

func TestParseExceptionsRefuses(t *testing.T) {
	for _, tc := range []struct{ rule, src, want string }{
		{"no reason", "exceptions: [{kind: fail, reason: ' ', tests: [1-1]}]", "no reason given"},
		{"no tests", "exceptions: [{kind: fail, reason: x, tests: []}]", "no tests"},
		{"an unknown kind", "exceptions: [{kind: pass, reason: x, tests: [1-1]}]", `"pass" is not a kind; write refused_earlier or fail`},
		{"an unknown reason", "exceptions: [{kind: refused_earlier, by: http.odd, reason: x, tests: [1-1]}]", `"http.odd" is not a reason`},
		{"a failure with a refusal", "exceptions: [{kind: fail, by: http.version, reason: x, tests: [1-1]}]", "refused by nothing"},
		{"a test listed twice", "exceptions: [{kind: fail, reason: x, tests: [1-1, 1-1]}]", "x.yaml:1:51: exceptions[0].tests[1]: test 1-1 is listed twice"},
		{"an unknown key", "exceptions: [{id: 1-1}]", "exceptions[0].id: unknown key"},
	} {
		if _, diags := ftw.ParseExceptions("x.yaml", []byte(tc.src)); !strings.Contains(diags.Error(), tc.want) {
			t.Errorf("%s: ParseExceptions = %q, want %q in it", tc.rule, diags.Error(), tc.want)
		}
	}
	for _, src := range []string{"", "exceptions: []", "exceptions:\n  []\n", "# nothing\n"} {
		if _, diags := ftw.ParseExceptions("x.yaml", []byte(src)); len(diags) > 0 {
			t.Errorf("ParseExceptions(%q) = %v, want an empty list", src, diags)
		}
	}
}

func TestExceptionsOfTheWireOnly(t *testing.T) {
	const src = "exceptions: [{kind: fail, wire: true, reason: redacted on disk, tests: [1-1]}]"
	failed := results(ftw.Result{Test: "1-1", Kind: ftw.Failed})
	passed := results(ftw.Result{Test: "1-1", Kind: ftw.Passed})
	for _, inProcess := range []bool{false, true} {
		e, diags := ftw.ParseExceptions("x.yaml", []byte(src))
		if len(diags) > 0 {
			t.Fatal(diags)
		}
		if inProcess {
			e.InProcess()
		}
		if got := len(e.Review(failed)) > 0; got != inProcess {
			t.Errorf("in process %t: a failure is reported %t", inProcess, got)
		}
		if got := len(e.Review(passed)) > 0; got == inProcess {
			t.Errorf("in process %t: a pass is reported %t", inProcess, got)
		}
	}
}

// What Write prints is the list itself once a person has given the reasons
// that are missing.
func TestExceptionsWrite(t *testing.T) {
	e, diags := ftw.ParseExceptions("x.yaml", []byte(list))
	if len(diags) > 0 {
		t.Fatal(diags)
	}
	run := results(
		ftw.Result{Test: "1-10", Kind: ftw.Refused, By: gate.HTTPVersion, Details: []string{"one\ntwo"}},
		ftw.Result{Test: "1-2", Kind: ftw.Refused, By: gate.HTTPVersion, Details: []string{"no"}},
		ftw.Result{Test: "2-1", Kind: ftw.Failed},
		ftw.Result{Test: "2-2", Kind: ftw.Passed},
	)
	var b bytes.Buffer
	if err := e.Write(&b, run); err != nil {
		t.Fatal(err)
	}
	if _, diags := ftw.ParseExceptions("new.yaml", b.Bytes()); len(diags) != 1 || !strings.Contains(diags.Error(), "no reason given") {
		t.Errorf("the printed list yields %v, want one missing reason", diags)
	}
	reviewed := strings.Replace(b.String(), `reason: ""`, `reason: "reviewed: \"yes\""`, 1)
	again, diags := ftw.ParseExceptions("new.yaml", []byte(reviewed))
	if len(diags) > 0 {
		t.Fatalf("the reviewed list yields %v:\n%s", diags, reviewed)
	}
	if diags := again.Review(run); len(diags) > 0 {
		t.Errorf("the run does not agree with its own list: %v", diags)
	}
	var c bytes.Buffer
	if err := again.Write(&c, run); err != nil || !strings.Contains(c.String(), `reason: "an engine \"difference\""`) {
		t.Errorf("Write lost a reason: %v\n%s", err, c.String())
	}
	empty, _ := ftw.ParseExceptions("x.yaml", nil)
	b.Reset()
	if err := empty.Write(&b, results()); err != nil {
		t.Fatal(err)
	}
	if _, diags := ftw.ParseExceptions("x.yaml", b.Bytes()); len(diags) > 0 {
		t.Errorf("the empty list %q yields %v", b.String(), diags)
	}
}

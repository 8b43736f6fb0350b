package ftw_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/internal/ftw"
	"sallyport/internal/gate"
)

// A fake is a gateway behind pipes: it answers each request with what its
// target names, and records it with an id.
type fake struct {
	ftw.Collector
	n atomic.Int64
}

func (f *fake) Dial(context.Context) (net.Conn, error) {
	near, far := net.Pipe()
	go f.serve(far)
	return near, nil
}

// serve answers one request. The target says how: /pass, /rule logs rule 1
// and 2, /strict is refused by the grammar, /body by the body adapter, /score
// by the rules, /drop closes, /mute never answers, /bare has no id, /lost no
// record, /interim sends a 103 first, /move redirects to /landed with a cookie.
func (f *fake) serve(c net.Conn) {
	defer c.Close()
	r, err := http.ReadRequest(bufio.NewReader(c))
	if err != nil {
		return
	}
	id := fmt.Sprintf("id-%d", f.n.Add(1))
	rec := gate.Record{ID: id, Action: "pass"}
	status, extra := 200, ""
	switch r.URL.Path {
	case "/rule":
		rec.WAF = &gate.RecordWAF{Matches: []gate.RecordMatch{
			{Rule: 1, LogLine: `[id "1"] [msg "first"]`}, {Rule: 2, LogLine: `[id "2"] [msg "second"]`}, {Rule: 1, LogLine: `[id "1"] again`}, {Rule: 3}}}
	case "/strict":
		status, rec.Action, rec.Stage, rec.Reason = 505, "refuse", gate.StageHTTP, gate.HTTPVersion
	case "/body":
		status, rec.Action, rec.Stage, rec.Reason = 413, "refuse", gate.StageWAF, gate.WAFBodyTooLarge
	case "/score":
		status, rec.Action, rec.Stage, rec.Reason = 403, "refuse", gate.StageWAF, gate.WAFInboundScore
	case "/drop":
		return
	case "/mute":
		c.Read(make([]byte, 1)) // until the other end is closed
		return
	case "/bare":
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		return
	case "/interim":
		io.WriteString(c, "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n")
	case "/move":
		status, extra = 302, "Location: /landed?a=1\r\nSet-Cookie: s=1; Path=/\r\n"
	case "/landed":
		if r.Header.Get("Cookie") != "s=1" || r.URL.RawQuery != "a=1" {
			status = 400
		}
	}
	if r.URL.Path != "/lost" {
		defer f.Record(rec) // after the answer, as a gateway may
	}
	fmt.Fprintf(c, "HTTP/1.1 %d X\r\nX-Request-Id: %s\r\n%sContent-Length: 5\r\n\r\nhello", status, id, extra)
}

func TestRun(t *testing.T) {
	stages := func(pairs ...string) string {
		var b strings.Builder
		b.WriteString("rule_id: 1\ntests:\n  - test_id: 1\n    stages:\n")
		for i := 0; i < len(pairs); i += 2 {
			b.WriteString("      - input: {" + pairs[i] + "}\n        output: {" + pairs[i+1] + "}\n")
		}
		return b.String()
	}
	for _, tc := range []struct {
		rule, src string
		kind      ftw.Kind
		detail    string
	}{
		{"expected rules were logged", stages("uri: /rule", "log: {expect_ids: [2, 1]}"), ftw.Passed, ""},
		{"an expected rule is missing", stages("uri: /rule", "log: {expect_ids: [1, 4]}"), ftw.Failed, "expected rule 4, logged 1, 2"},
		{"a rule that does not log does not count", stages("uri: /rule", "log: {expect_ids: [3]}"), ftw.Failed, "expected rule 3, logged 1, 2"},
		{"a forbidden rule is silent", stages("uri: /pass", "log: {no_expect_ids: [1]}"), ftw.Passed, ""},
		{"a forbidden rule was logged", stages("uri: /rule", "log: {no_expect_ids: [2, 9]}"), ftw.Failed, "rule 2 must not be logged"},
		{"a line matches", stages("uri: /rule", "log: {match_regex: 'msg \"sec'}"), ftw.Passed, ""},
		{"no line matches", stages("uri: /rule", "log: {match_regex: third}"), ftw.Failed, "no log line matches"},
		{"no line matches what must not be there", stages("uri: /rule", "log: {no_match_regex: third}"), ftw.Passed, ""},
		{"a line matches what must not be there", stages("uri: /rule", "log: {no_match_regex: sec.nd}"), ftw.Failed, "a log line matches"},
		{"the status is one of those expected", stages("uri: /pass", "status: [403, 200]"), ftw.Passed, ""},
		{"the status is another", stages("uri: /pass", "status: 403"), ftw.Failed, "expected status 403, got 200"},
		{"the answer holds the text", stages("uri: /pass", "response_contains: 'h.llo'"), ftw.Passed, ""},
		{"the answer does not hold the text", stages("uri: /pass", "response_contains: bye"), ftw.Failed, "does not match"},
		{"one rule alone, and there are two", stages("uri: /rule", "isolated: true, log: {expect_ids: [1]}"), ftw.Failed, "expected one rule alone"},
		{"an error was expected and the connection closed", stages("uri: /drop", "expect_error: true"), ftw.Passed, ""},
		{"an error was expected and the grammar refused", stages("uri: /strict", "expect_error: true"), ftw.Passed, ""},
		{"an error was expected and there is none", stages("uri: /pass", "expect_error: true"), ftw.Failed, "expected an error, got status 200"},
		{"the connection closed", stages("uri: /drop", "status: 200"), ftw.Failed, "closed without an answer"},
		{"the grammar refused before the rules", stages("uri: /strict", "log: {expect_ids: [1]}"), ftw.Refused, "refused by http.version"},
		{"the grammar refused with another status", stages("uri: /strict", "status: 400"), ftw.Refused, "expected status 400, got 505"},
		{"the grammar refused as expected", stages("uri: /strict", "status: 505"), ftw.Passed, ""},
		{"silence of rules that never ran is no pass", stages("uri: /strict", "log: {no_expect_ids: [1]}"), ftw.Refused, "refused by http.version"},
		{"the body adapter refused before the rules", stages("uri: /body", "log: {expect_ids: [1]}"), ftw.Refused, "refused by waf.body_too_large"},
		{"a refusal by the rules is not an early one", stages("uri: /score", "log: {expect_ids: [1]}"), ftw.Failed, "waf.inbound_score"},
		{"an answer without an id", stages("uri: /bare", "status: 200"), ftw.Failed, "names no X-Request-Id"},
		{"an answer without a record", stages("uri: /lost", "status: 200"), ftw.Failed, "find the record"},
		{"no answer in time", stages("uri: /mute", "status: 200"), ftw.Failed, "no answer in time"},
		{"an interim answer is not the answer", stages("uri: /interim", "status: 200, response_contains: '103'"), ftw.Passed, ""},
		{"the second stage decides", stages("uri: /pass", "status: 200", "uri: /rule", "log: {no_expect_ids: [1]}"), ftw.Failed, "rule 1 must not be logged"},
		{"the first failing stage decides", stages("uri: /pass", "status: 403", "uri: /drop", "status: 200"), ftw.Failed, "expected status 403"},
		{"a redirect is followed with its cookie", stages("uri: /move, save_cookie: true", "status: 302", "follow_redirect: true", "status: 200"), ftw.Passed, ""},
		{"a redirect that was none", stages("uri: /pass", "status: 200", "follow_redirect: true", "status: 200"), ftw.Failed, "was not redirected"},
		{"a disabled file", "meta: {enabled: false}\n" + stages("uri: /drop", "status: 200"), ftw.Skipped, ""},
	} {
		t.Run(tc.rule, func(t *testing.T) {
			tests, diags := ftw.Parse("t.yaml", []byte(tc.src))
			if len(diags) > 0 {
				t.Fatal(diags)
			}
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				s := (&ftw.Runner{Target: new(fake)}).Run(t.Context(), tests)
				r := s.Results[0]
				if r.Kind != tc.kind || !strings.Contains(strings.Join(r.Details, "\n"), tc.detail) {
					t.Errorf("result = %s %q, want %s with %q", r.Kind, r.Details, tc.kind, tc.detail)
				}
				if (r.By != "") != (r.Kind == ftw.Refused) {
					t.Errorf("result %s names the reason %q", r.Kind, r.By)
				}
				if took := time.Since(began); took > 10*time.Second {
					t.Errorf("the test took %v, want at most the 10 s of its stage", took)
				}
			})
		})
	}
}

func TestRunGivesASecondChance(t *testing.T) {
	tests, diags := ftw.Parse("t.yaml", []byte(one("{uri: /drop}", "{status: 200, retry_once: true}")))
	if len(diags) > 0 {
		t.Fatal(diags)
	}
	f := new(fake)
	f.n.Store(0)
	counting := &counter{Target: f}
	s := (&ftw.Runner{Target: counting}).Run(t.Context(), tests)
	if counting.dials.Load() != 2 || s.Failed != 1 {
		t.Errorf("dialled %d times with %d failed, want 2 and 1", counting.dials.Load(), s.Failed)
	}
}

type counter struct {
	ftw.Target
	dials atomic.Int64
}

func (c *counter) Dial(ctx context.Context) (net.Conn, error) {
	c.dials.Add(1)
	return c.Target.Dial(ctx)
}

func TestRunInParallelKeepsTheOrder(t *testing.T) {
	var src strings.Builder
	src.WriteString("rule_id: 1\ntests:\n")
	for i := range 200 {
		path := "/pass"
		if i%3 == 0 {
			path = "/rule"
		}
		fmt.Fprintf(&src, "  - {test_id: %d, stages: [{input: {uri: %s}, output: {log: {no_expect_ids: [1]}}}]}\n", i+1, path)
	}
	tests, diags := ftw.Parse("t.yaml", []byte(src.String()))
	if len(diags) > 0 {
		t.Fatal(diags)
	}
	calls := 0
	s := (&ftw.Runner{Target: new(fake), Parallel: 8, Progress: func(done, total int) {
		if calls++; done != calls || total != 200 {
			t.Errorf("progress %d of %d at call %d", done, total, calls)
		}
	}}).Run(t.Context(), tests)
	if calls != 200 || s.Total != 200 || s.Failed != 67 || s.Passed != 133 {
		t.Errorf("%d calls, %d tests, %d failed, %d passed; want 200, 200, 67, 133", calls, s.Total, s.Failed, s.Passed)
	}
	for i, r := range s.Results {
		if r.Test != fmt.Sprintf("1-%d", i+1) || (r.Kind == ftw.Failed) != (i%3 == 0) {
			t.Fatalf("result %d is %s %s", i, r.Test, r.Kind)
		}
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	tests, _ := ftw.Parse("t.yaml", []byte(one("{uri: /mute}", "{status: 200}")))
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		s := (&ftw.Runner{Target: new(fake), Timeout: time.Hour}).Run(ctx, tests)
		if took := time.Since(began); s.Failed != 1 || took != time.Second {
			t.Errorf("%d failed after %v, want 1 after 1s", s.Failed, took)
		}
	})
}

func TestCollectorWaitsForTheRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c ftw.Collector
		go func() {
			time.Sleep(time.Second)
			c.Record(gate.Record{ID: "b", Event: "closed"})
			c.Record(gate.Record{ID: "a", Action: "pass"})
			c.Record(gate.Record{ID: "b", Action: "refuse"})
		}()
		for _, tc := range []struct{ id, want string }{{"b", "refuse"}, {"a", "pass"}} {
			if o, err := c.Outcome(t.Context(), tc.id); err != nil || o.Action != tc.want {
				t.Errorf("Outcome(%s) = %q, %v, want %q", tc.id, o.Action, err, tc.want)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := c.Outcome(ctx, "c"); err == nil {
			t.Error("Outcome of an id that is never recorded did not fail")
		}
	})
}

func TestCollectorIsBounded(t *testing.T) {
	var c ftw.Collector
	for i := range 10000 {
		c.Record(gate.Record{ID: fmt.Sprint(i), Action: "pass"})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Outcome(ctx, "0"); err == nil {
		t.Error("the oldest of 10000 records is still held")
	}
	if _, err := c.Outcome(ctx, "9999"); err != nil {
		t.Errorf("the newest of 10000 records is gone: %v", err)
	}
}

func TestSummaryPrint(t *testing.T) {
	tests, diags := ftw.Parse("t.yaml", []byte("rule_id: 1\ntests:\n"+
		"  - {test_id: 1, stages: [{input: {uri: /pass}, output: {status: 200}}]}\n"+
		"  - {test_id: 2, desc: \"a \\e[31m trick\\u202e\", stages: [{input: {uri: /rule}, output: {log: {expect_ids: [9]}}}]}\n"+
		"  - {test_id: 3, stages: [{input: {uri: /strict}, output: {log: {expect_ids: [9]}}}]}\n"))
	if len(diags) > 0 {
		t.Fatal(diags)
	}
	s := (&ftw.Runner{Target: new(fake)}).Run(t.Context(), tests)
	s.Took = 1500 * time.Millisecond
	var b bytes.Buffer
	if err := s.Print(&b, false); err != nil {
		t.Fatal(err)
	}
	const want = `fail             1-2          t.yaml:4  a \x1b[31m trick\u202e
    expected rule 9, logged 1, 2
refused_earlier  1-3          t.yaml:5
    expected rule 9, logged none
    refused by http.version: 
failed: 3 tests, 1 passed, 1 refused earlier by name, 1 failed, 0 skipped, 66.7 % in order, 1.5s
`
	if b.String() != want {
		t.Errorf("Print =\n%s\nwant\n%s", b.String(), want)
	}
	b.Reset()
	if err := s.Print(&b, true); err != nil || strings.Count(b.String(), "\x1b[0m") != 3 {
		t.Errorf("Print in colour = %q, %v, want three coloured words", b.String(), err)
	}
	var back struct {
		Total   int `json:"total"`
		Results []struct{ Test, Kind, By string }
	}
	if j, err := json.Marshal(s); err != nil || json.Unmarshal(j, &back) != nil || back.Total != 3 || back.Results[2].By != "http.version" {
		t.Errorf("the JSON form does not read back: %+v, %v", back, err)
	}
}

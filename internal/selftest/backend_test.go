package selftest_test

import (
	"net"
	"strings"
	"testing"
	"time"

	"sallyport/internal/selftest"
	"sallyport/internal/wire"
)

// The cases that tell scripted backends apart.
const (
	bothSmuggled = "expect: 400 http.te_and_cl\n--\nPOST /in HTTP/1.1\\r\\nHost: a.example\\r\\nContent-Length: 6\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n0\\r\\n\\r\\nGET /smuggled HTTP/1.1\\r\\nHost: a.example\\r\\n\\r\\n"
	bothShort    = "expect: 400 http.te_and_cl\n--\nPOST /in HTTP/1.1\\r\\nHost: a.example\\r\\nContent-Length: 6\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n0\\r\\n\\r\\nX"
	bothLong     = "expect: 400 http.te_and_cl\n--\nPOST /in HTTP/1.1\\r\\nHost: a.example\\r\\nContent-Length: 12\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n0\\r\\n\\r\\n"
	bothHuge     = "expect: 400 http.te_and_cl\n--\nPOST /in HTTP/1.1\\r\\nHost: a.example\\r\\nContent-Length: 900\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n0\\r\\n\\r\\n"
	feeds        = "expect: 400 http.bare_lf\n--\nGET / HTTP/1.1\\nHost: a.example\\n\\n"
	hiddenCoding = "expect: 400 http.bare_lf\n--\nPOST /in HTTP/1.1\\r\\nHost: a.example\\r\\nX: a\\nContent-Length: 5\\r\\n\\r\\n"
	badBody      = "expect: 400 http.chunk_size\n--\nPOST /in HTTP/1.1\\r\\nHost: a.example\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\nx\\r\\nGET /smuggled HTTP/1.1\\r\\nHost: a.example\\r\\n\\r\\n"
	cutBody      = "end: half-close\nexpect: 400 http.body_cut\n--\nPOST /in HTTP/1.1\\r\\nHost: a.example\\r\\nContent-Length: 10\\r\\n\\r\\nhello"
)

// TestBackendClassifies asks scripted backends, each bad in one way, about
// cases that show it, beside a strict one that refuses all of them.
func TestBackendClassifies(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		rule  string
		flaws flaws
		src   string
		want  selftest.Outcome
		why   string
	}{
		{"strict: both framings", flaws{}, bothSmuggled, selftest.Refused, ""},
		{"strict: bare LF", flaws{}, feeds, selftest.Refused, ""},
		{"strict: a broken body", flaws{}, badBody, selftest.Refused, ""},
		{"strict: a body that was cut", flaws{}, cutBody, selftest.Refused, "closed instead"},
		{"by the coding, a request hides behind the length", flaws{codingFirst: true}, bothSmuggled, selftest.Several, "3 answers to 2 requests"},
		{"by the coding, the byte behind runs into the next request", flaws{codingFirst: true}, bothShort, selftest.Misread, "answered 400, alone it is 404"},
		{"by the coding, a length that is too long is as good as none", flaws{codingFirst: true}, bothLong, selftest.Accepted, ""},
		{"by the length, what is left of the hidden request is one", flaws{lengthFirst: true}, bothSmuggled, selftest.Several, "2 answers to 1 requests when the case is sent alone"},
		{"by the length, one that fits", flaws{lengthFirst: true}, bothShort, selftest.Accepted, ""},
		{"by the length, one that takes the beginning of the next request", flaws{lengthFirst: true}, bothLong, selftest.Misread, "its beginning was taken"},
		{"by the length, one that nothing satisfies", flaws{lengthFirst: true}, bothHuge, selftest.Hangs, "no answer"},
		{"by the length, one that nothing satisfies, answered early", flaws{lengthFirst: true, early: true}, bothHuge, selftest.Misread, "was not answered"},
		{"at LF, a head", flaws{bareLF: true}, feeds, selftest.Accepted, ""},
		{"at LF, a length that hides behind one", flaws{bareLF: true}, hiddenCoding, selftest.Misread, "its beginning was taken"},
		{"no answer at all", flaws{mute: true}, feeds, selftest.Hangs, "no answer"},
		{"an answer without a status line", flaws{old: true}, feeds, selftest.Unclear, "HTTP/0.9"},
		{"a method that is refused anyway", flaws{noPost: true}, bothSmuggled, selftest.Unclear, "as a plain POST is"},
		{"refused, but what follows is read as a request", flaws{goesOn: true}, badBody, selftest.Several, "3 answers to 2 requests"},
		{"accepted, and closed", flaws{codingFirst: true, goesAway: true}, bothSmuggled, selftest.Accepted, "closed the connection"},
	} {
		t.Run(tc.rule, func(t *testing.T) {
			t.Parallel()
			rep, err := selftest.Backend(t.Context(), selftest.Options{
				To:    selftest.Endpoint{Address: serve(t, tc.flaws.handle)},
				Cases: []wire.Case{parse(t, "http.x/case", tc.src), parse(t, "http.x/ok-case", "expect: 200\n--\nGET / HTTP/1.1\\r\\nHost: a.example\\r\\n\\r\\n")},
				// What hangs does so for all of it; the others need a fraction.
				Timeout: time.Second,
			})
			if err != nil {
				t.Fatal(err)
			}
			if len(rep.Results) != 1 {
				t.Fatalf("%d results, want that of the refused case alone", len(rep.Results))
			}
			if r := rep.Results[0]; r.Outcome != tc.want || !strings.Contains(strings.Join(r.Why, "; "), tc.why) {
				t.Errorf("%s %q (answered %v, %s; alone %v), want %s %q", r.Outcome, r.Why, r.Answered, r.Ended, r.Alone, tc.want, tc.why)
			}
		})
	}
}

func TestBackendThatIsNotThere(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	o := selftest.Options{To: selftest.Endpoint{Address: l.Addr().String()}, Cases: []wire.Case{parse(t, "http.x/case", feeds)}}
	if _, err := selftest.Backend(t.Context(), o); err == nil || !strings.Contains(err.Error(), "harmless request") {
		t.Errorf("Backend = %v, want an error that says that nobody answers", err)
	}
}

// TestBackendPrints shows what a reader sees: the loud cases in full, escaped,
// and a count that was measured.
func TestBackendPrints(t *testing.T) {
	t.Parallel()
	rep, err := selftest.Backend(t.Context(), selftest.Options{
		To: selftest.Endpoint{Address: serve(t, flaws{codingFirst: true, old: true}.handle)},
		Cases: []wire.Case{
			find(t, "http.te_and_cl/length-first"), find(t, "http.te_and_cl/coding-first"),
			find(t, "http.te_and_cl/length-zero"), find(t, "http.bare_lf/every"),
		},
		Timeout: time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	rep.Gateway = map[selftest.Outcome]int{selftest.Refused: 4}
	var b strings.Builder
	if err := rep.Print(&b, true); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"The classic of request smuggling",
		"!! several  http.te_and_cl/length-first",
		`sent      POST /in HTTP/1.1\r\nHost: a.example\r\nContent-Length: 6\r\n`,
		"answered  200, 404, 404, closed",
		"!! misread  http.te_and_cl/coding-first",
		"   accepted http.te_and_cl/length-zero",
		`<h1>Bad\x1b[31m request</h1>`,
		"your backend accepts 3 of 4 requests that the gateway refuses",
		"3 of 4 of the class framing",
		"!! 1 as several requests",
		"!! 1 so that the request behind",
		"refuses 4 of 4",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}

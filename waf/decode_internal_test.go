package waf

import (
	"compress/gzip"
	"compress/zlib"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"

	"sallyport/internal/gate"
	"sallyport/waf/coding"
)

// encoder writes in a coding, as fast as it can.
func encoder(tb testing.TB, c coding.Coding, w io.Writer) io.WriteCloser {
	tb.Helper()
	var e io.WriteCloser
	var err error
	switch c {
	case coding.Gzip:
		e, err = gzip.NewWriterLevel(w, gzip.BestSpeed)
	case coding.Deflate:
		e, err = zlib.NewWriterLevel(w, zlib.BestSpeed)
	case coding.Brotli:
		e = brotli.NewWriterLevel(w, 2)
	case coding.Zstd:
		e, err = zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest))
	}
	if err != nil {
		tb.Fatal(err)
	}
	return e
}

// encoded is content in a coding.
func encoded(tb testing.TB, c coding.Coding, content string) string {
	tb.Helper()
	var b strings.Builder
	e := encoder(tb, c, &b)
	if _, err := io.WriteString(e, content); err != nil {
		tb.Fatal(err)
	}
	if err := e.Close(); err != nil {
		tb.Fatal(err)
	}
	return b.String()
}

// in puts the body of a call in a coding.
func (c call) in(tb testing.TB, as coding.Coding) call {
	tb.Helper()
	return c.as(string(as), encoded(tb, as, c.body))
}

// as replaces the body of a call by one that is said to be coded.
func (c call) as(name, body string) call {
	c.fields = append([]gate.Field{{Name: "Content-Encoding", Value: name}}, c.fields...)
	for i, f := range c.fields {
		if f.Name == "Content-Length" {
			c.fields[i].Value = strconv.Itoa(len(body))
		}
	}
	c.body = body
	return c
}

// given checks that a transaction has given everything back.
func given(tb testing.TB, e *Engine) {
	tb.Helper()
	if n, m := e.memory.held.Load(), e.decoders.held.Load(); n != 0 || m != 0 {
		tb.Errorf("%d bytes are still held, %d of them by decoders", n, m)
	}
}

const plainSQLi = "1' UNION SELECT password FROM users--"

// TestDecodedBodies judges the content of coded bodies of every kind, and lets
// the backend have them as they came.
func TestDecodedBodies(t *testing.T) {
	e := sharedEngine(t)
	kinds := map[string]func(value string) call{
		"form":      func(v string) call { return post(formType, "q="+strings.ReplaceAll(v, " ", "+")) },
		"json":      func(v string) call { return post("application/json", `{"q":"`+v+`"}`) },
		"xml":       func(v string) call { return post("text/xml", "<a><q>"+v+"</q></a>") },
		"multipart": func(v string) call { return multi(field("q", v) + file("f", "a.txt", "text") + last) },
		"a file":    func(v string) call { return multi(file("f", "a.txt", big) + field("q", v) + last) },
	}
	for _, c := range coding.All {
		for name, kind := range kinds {
			for value, action := range map[string]gate.Action{plainSQLi: gate.Refuse, "a blue bicycle": gate.Pass} {
				for _, chunked := range []bool{false, true} {
					call := kind(value).in(t, c)
					call.chunked = chunked
					what := fmt.Sprintf("%s in %s, chunked %v, %q", name, c, chunked, value)
					o := run(e, call)
					if action == gate.Refuse {
						o.expect(t, what, action, gate.WAFInboundScore)
						continue
					}
					o.expect(t, what, action, "")
					if o.passed != call.body || o.result.Inspected != "full" {
						t.Errorf("%s: the backend read %d bytes, want the %d that were sent; inspected %q", what, len(o.passed), len(call.body), o.result.Inspected)
					}
				}
			}
		}
	}
	given(t, e)
	// Bodies of unknown type are judged as text.
	m := miniature(t, gate.Enforce, hiding)
	for _, c := range coding.All {
		run(m, post("text/plain", "evil").in(t, c)).expect(t, "text in "+string(c), gate.Refuse, gate.WAFRule)
		o := run(m, post("", "good").in(t, c))
		o.expect(t, "no type in "+string(c), gate.Pass, "")
		if o.result.Inspected != "full" {
			t.Errorf("no type in %s: inspected %q", c, o.result.Inspected)
		}
	}
	given(t, m)
}

// TestCodingNames covers what Content-Encoding may say of a body to be judged.
func TestCodingNames(t *testing.T) {
	e := miniature(t, gate.Enforce, hiding)
	gz := encoded(t, coding.Gzip, "a=good")
	two := post(formType, "").as("gzip", gz)
	two.fields = append(two.fields, gate.Field{Name: "content-encoding", Value: "identity"})
	twice := post(formType, "").as("gzip", gz)
	twice.fields = append(twice.fields, gate.Field{Name: "content-encoding", Value: "gzip"})
	for _, tc := range []struct {
		name   string
		call   call
		detail string // empty: it passes
	}{
		{"gzip", post(formType, "").as("gzip", gz), ""},
		{"capitals", post(formType, "").as("GZip", gz), ""},
		{"x-gzip", post(formType, "").as("x-gzip", gz), ""},
		{"spaces and empty members", post(formType, "").as(" , gzip ,", gz), ""},
		{"identity beside it", two, ""},
		{"identity", post(formType, "a=good").as("identity", "a=good"), ""},
		{"empty", post(formType, "a=good").as("", "a=good"), ""},
		{"no body", get("/", "Content-Encoding", "compress"), ""},
		{"an opaque body", post("image/png", "x").as("compress", "x"), ""},
		{"two in one field", post(formType, "").as("gzip, gzip", gz), "more than one coding"},
		{"two fields", twice, "more than one coding"},
		{"another one behind", post(formType, "").as("gzip, compress", gz), "more than one coding"},
		{"unknown", post(formType, "").as("compress", gz), `the coding "compress"`},
		{"a name that begins well", post(formType, "").as("gzip;q=1", gz), `the coding "gzip;q=1"`},
		{"wrong", post(formType, "").as("deflate", gz), "deflate: not zlib"},
		{"not coded at all", post(formType, "").as("br", "a=good&b=good"), "br: "},
	} {
		o := run(e, tc.call)
		if tc.detail == "" {
			o.expect(t, tc.name, gate.Pass, "")
			continue
		}
		o.expect(t, tc.name, gate.Refuse, gate.WAFEncoding)
		if !strings.HasPrefix(o.verdict.Detail, tc.detail) || o.passed != "" || o.verdict.Status != http.StatusUnsupportedMediaType {
			t.Errorf("%s: %d %q, %d bytes passed, want 415 and %q", tc.name, o.verdict.Status, o.verdict.Detail, len(o.passed), tc.detail)
		}
	}
	e.policies["default"].Decode = []coding.Coding{coding.Zstd}
	run(e, post(formType, "a=good").in(t, coding.Zstd)).expect(t, "in the list", gate.Pass, "")
	run(e, post(formType, "a=good").in(t, coding.Gzip)).expect(t, "not in the list", gate.Refuse, gate.WAFEncoding)
	e.policies["default"].Decode = nil
	for _, c := range coding.All {
		run(e, post(formType, "a=good").in(t, c)).expect(t, "no list, "+string(c), gate.Refuse, gate.WAFEncoding)
	}
	given(t, e)
}

// TestCodedToTheEnd refuses what is cut off or goes on, wherever that is, and
// lets the backend have none of it.
func TestCodedToTheEnd(t *testing.T) {
	e := miniature(t, gate.Enforce, hiding)
	for _, c := range coding.All {
		for _, make := range []func() call{
			func() call { return post(formType, "a=good&b=good&c=good") },
			func() call { return multi(field("a", "good") + file("f", "a.txt", "text") + last) },
		} {
			whole := make().in(t, c)
			run(e, whole).expect(t, string(c), gate.Pass, "")
			bodies := []string{whole.body + "\x00", whole.body + "\n", whole.body + whole.body, whole.body + encoded(t, c, "")}
			for at := 1; at < len(whole.body); at++ {
				bodies = append(bodies, whole.body[:at])
			}
			for _, body := range bodies {
				o := run(e, make().as(string(c), body))
				o.expect(t, fmt.Sprintf("%s, %d bytes instead of %d", c, len(body), len(whole.body)), gate.Refuse, gate.WAFEncoding)
				if o.passed != "" || o.late {
					t.Errorf("%s: the backend read %d bytes", c, len(o.passed))
				}
			}
		}
	}
	given(t, e)
}

// TestCodedLimits counts the content of a coded body, and stops at bombs.
func TestCodedLimits(t *testing.T) {
	e := sharedEngine(t)
	long := strings.Repeat("lorem ipsum ", 1000)
	fill := strings.Repeat("a", 4<<10-2)
	zero := strings.Repeat("\x00", 16<<20)
	attack := "<script>alert(1)</script>"
	var empty strings.Builder // a member of mostly empty blocks
	empty.WriteString("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03")
	plain := encoded(t, coding.Gzip, "a=good")
	empty.WriteString(strings.Repeat("\x00\x00\x00\xff\xff", 300<<10) + plain[10:])
	// zstd leaves short text as it is, where it is seen.
	behind := map[coding.Coding]gate.Action{coding.Gzip: gate.Pass, coding.Deflate: gate.Pass, coding.Brotli: gate.Pass, coding.Zstd: gate.Refuse}
	for _, c := range coding.All {
		for _, tc := range []struct {
			name      string
			call      call
			action    gate.Action
			reason    gate.Reason
			inspected string
		}{
			{"exactly", post(formType, "a="+fill).under("small"), gate.Pass, "", "full"},
			{"one more", post(formType, "a="+fill+"a").under("small"), gate.Refuse, gate.WAFBodyTooLarge, ""},
			{"one more, head", post(formType, "a="+fill+"a").under("head"), gate.Pass, "", "head"},
			{"one more, observed", post(formType, "a="+fill+"a").under("observe-small"), gate.Observe, gate.WAFBodyTooLarge, "head"},
			{"attack in the head", post(formType, "c="+attack+"&b="+long).under("head"), gate.Refuse, gate.WAFInboundScore, "head"},
			{"attack behind it", post(formType, "b="+long+"&c="+attack).under("head"), behind[c], map[bool]gate.Reason{true: gate.WAFInboundScore}[c == coding.Zstd], "head"},
			{"json, cut in the middle", post("application/json", `{"a":"`+long+`"}`).under("head"), gate.Pass, "", "head"},
			{"fields of a form", multi(field("a", long) + last).under("small"), gate.Refuse, gate.WAFBodyTooLarge, ""},
			{"fields of a form, head", multi(field("a", long) + last).under("head"), gate.Pass, "", "head"},
			{"fields of a form, observed", multi(field("a", long) + last).under("observe-small"), gate.Observe, gate.WAFBodyTooLarge, "head"},
			{"a file does not count", multi(file("f", "a.txt", big) + last).under("small"), gate.Pass, "", "full"},
			{"a bomb of a form", post(formType, "a="+zero), gate.Refuse, gate.WAFBodyTooLarge, ""},
			{"a bomb of a file", multi(file("f", "a.txt", zero) + last), gate.Refuse, gate.WAFEncoding, "none"},
			{"a bomb of a file, observed", multi(file("f", "a.txt", zero) + last).under("observe"), gate.Observe, gate.WAFEncoding, "head"},
			{"a file that shrinks as well", multi(file("f", "a.txt", zero[:1<<20-512]) + last), gate.Pass, "", "full"},
		} {
			coded := tc.call.in(t, c)
			o := run(e, coded)
			o.expect(t, tc.name+" in "+string(c), tc.action, tc.reason)
			if tc.inspected != "" && o.result.Inspected != tc.inspected {
				t.Errorf("%s in %s: inspected %q, want %q", tc.name, c, o.result.Inspected, tc.inspected)
			}
			if tc.action != gate.Refuse && o.passed != coded.body {
				t.Errorf("%s in %s: the backend read %d bytes, want %d", tc.name, c, len(o.passed), len(coded.body))
			}
		}
		// One bomb in another is content, once.
		inner := encoded(t, c, zero)
		run(e, multi(file("f", "a.bin", inner)+last).in(t, c)).expect(t, "nested "+string(c), gate.Pass, "")
	}
	// What has no content is held like content, and no longer.
	run(e, post(formType, "").as("gzip", empty.String())).expect(t, "empty blocks", gate.Refuse, gate.WAFBodyTooLarge)
	o := run(e, post("multipart/form-data; boundary=b0undary", "").as("gzip", empty.String()).under("small"))
	o.expect(t, "empty blocks of a form", gate.Refuse, gate.WAFBodyTooLarge)
	o = run(e, post("multipart/form-data; boundary=b0undary", "").as("gzip", empty.String()).under("head"))
	o.expect(t, "empty blocks of a form, head", gate.Pass, "")
	if o.passed != empty.String() || o.result.Inspected != "head" {
		t.Errorf("empty blocks, head: the backend read %d bytes, inspected %q", len(o.passed), o.result.Inspected)
	}
	given(t, e)
}

// TestCodedObserved lets a body that cannot be decoded pass where nothing is
// refused, as it came, and says how much of it was judged.
func TestCodedObserved(t *testing.T) {
	e := miniature(t, gate.Watch, hiding)
	for _, c := range coding.All {
		for name, call := range map[string]call{"form": post(formType, "a=good"), "files": multi(file("f", "a.txt", "good") + last)} {
			coded := encoded(t, c, call.body)
			for _, tc := range []struct{ body, inspected string }{{"\xff\xff nothing of it can be read", "none"}, {coded + coded, "head"}} {
				o := run(e, call.as(string(c), tc.body))
				o.expect(t, name+" in "+string(c), gate.Observe, gate.WAFEncoding)
				if o.passed != tc.body || o.result.Inspected != tc.inspected && c != coding.Brotli {
					t.Errorf("%s in %s: the backend read %q, inspected %q, want %q", name, c, o.passed, o.result.Inspected, tc.inspected)
				}
			}
		}
	}
	given(t, e)
}

// TestDecoderMemory bounds what decoders take together, and keeps it from
// bodies that need none.
func TestDecoderMemory(t *testing.T) {
	e := miniature(t, gate.Enforce, hiding)
	large := noise(1 << 20)
	upload := multi(file("f", "a.bin", large)+last).in(t, coding.Gzip)
	synctest.Test(t, func(t *testing.T) {
		e.memory, e.decoders = newBudget(2<<20), decoders{newBudget(200 << 10), 200 << 10}
		_, first, v := begin(e, upload)
		if !v.Passed() {
			t.Fatalf("the first: %v", v)
		}
		start := time.Now()
		_, second, v := begin(e, upload)
		if v.Reason != gate.WAFMemory || time.Since(start) != memoryWait {
			t.Errorf("the second: %v after %v, want %s after %v", v, time.Since(start), gate.WAFMemory, memoryWait)
		}
		second.Close()
		if _, plain, v := begin(e, post(formType, "a=good")); !v.Passed() {
			t.Errorf("a plain form meanwhile: %v", v)
		} else {
			plain.Close()
		}
		first.Close()
		_, third, v := begin(e, upload)
		if !v.Passed() {
			t.Errorf("the third, after the first gave back: %v", v)
		}
		third.Close()
		given(t, e)
	})
	// A window that can never fit is refused for what it is.
	e.decoders = newDecoders(2 << 20)
	var b strings.Builder
	w := brotli.NewWriterOptions(&b, brotli.WriterOptions{Quality: 5, LGWin: 24})
	io.WriteString(w, "a=good")
	w.Close()
	run(e, post(formType, "").as("br", b.String())).expect(t, "a large window", gate.Refuse, gate.WAFEncoding)
	run(e, post(formType, "a=good").in(t, coding.Gzip)).expect(t, "a small one", gate.Pass, "")
	given(t, e)
}

// TestDecodingTurns lets what grows large wait for its turn, however small it
// came.
func TestDecodingTurns(t *testing.T) {
	e := miniature(t, gate.Enforce, hiding)
	grown := post(formType, "a="+strings.Repeat("x", 2*heavy)).in(t, coding.Gzip)
	if len(grown.body) >= heavy {
		t.Fatal("it does not come small")
	}
	synctest.Test(t, func(t *testing.T) {
		e.turns = newTurns()
		all := int64(runtime.GOMAXPROCS(0))
		if !e.turns.free.TryAcquire(all) {
			t.Fatal("somebody else has a turn")
		}
		if _, tx, v := begin(e, grown); v.Reason != gate.WAFBusy {
			t.Errorf("no turn: %v, want %s", v, gate.WAFBusy)
		} else {
			tx.Close()
		}
		// Nor is a bomb decoded to see that it is one.
		if _, tx, v := begin(e, post(formType, "a="+strings.Repeat("x", 2<<20)).in(t, coding.Gzip)); v.Reason != gate.WAFBusy {
			t.Errorf("no turn for a bomb: %v, want %s", v, gate.WAFBusy)
		} else {
			tx.Close()
		}
		e.turns.free.Release(all)
		if _, tx, v := begin(e, grown); !v.Passed() {
			t.Errorf("a turn: %v", v)
		} else {
			tx.Close()
		}
		if !e.turns.free.TryAcquire(all) {
			t.Error("not every turn was given back")
		}
		given(t, e)
	})
}

// TestCodedResponses judges the content of coded answers, as far as it can be
// decoded, and lets the client have what the backend sent.
func TestCodedResponses(t *testing.T) {
	e := sharedEngine(t)
	long := strings.Repeat("x", 20<<10)
	for _, c := range coding.All {
		plain, part := encoded(t, c, leak), "head"
		if c == coding.Zstd { // its blocks are decoded whole
			part = "none"
		}
		for _, tc := range []struct {
			name, policy string
			status       int
			body         string
			action       gate.Action
			inspected    string
		}{
			{"a leak in an error", "default", 500, plain, gate.Refuse, "full"},
			{"a harmless error", "default", 500, encoded(t, c, "sorry"), gate.Pass, "full"},
			{"a leak in an error, observed", "observe", 500, plain, gate.Observe, "full"},
			{"a leak in a success, errors only", "default", 200, plain, gate.Pass, "none"},
			{"a leak in a success, all", "all", 200, plain, gate.Refuse, "full"},
			{"a leak, and something behind it", "all", 200, plain + "x", gate.Refuse, "head"},
			{"no leak, and something behind it", "all", 200, encoded(t, c, "sorry") + "x", gate.Pass, "head"},
			{"nothing that can be decoded", "all", 200, "\xff\xff\xff", gate.Pass, "none"},
			{"nothing in it", "all", 200, encoded(t, c, ""), gate.Pass, "full"},
			{"beyond the limit", "short", 200, encoded(t, c, long+leak), gate.Pass, "head"},
			{"a leak before the limit", "short", 200, encoded(t, c, leak+long), gate.Refuse, "head"},
			{"beyond the limit in its coding too", "short", 200, encoded(t, c, noise(20<<10)), gate.Pass, part},
			{"a bomb", "short", 200, encoded(t, c, strings.Repeat("\x00", 8<<20)), gate.Pass, "head"},
		} {
			what := tc.name + " in " + string(c)
			_, tx, v := begin(e, get("/").under(tc.policy))
			if !v.Passed() {
				t.Fatalf("%s: %v", what, v)
			}
			resp := answer(tc.status, tc.body, "Content-Type", "text/html; charset=utf-8", "Content-Encoding", string(c))
			if v = tx.Response(resp); v.Action != tc.action || v.Action != gate.Pass && v.Reason != gate.WAFOutboundScore {
				t.Errorf("%s: %v %q %q, want %v", what, v.Action, v.Reason, v.Detail, tc.action)
			}
			if body, err := io.ReadAll(resp.Body); err != nil || string(body) != tc.body || resp.Header.Get("Content-Encoding") != string(c) {
				t.Errorf("%s: the client reads %d bytes (%v) in %q, want the %d of the backend", what, len(body), err, resp.Header.Get("Content-Encoding"), len(tc.body))
			}
			if in := tx.Close(); in.ResponseInspected != tc.inspected {
				t.Errorf("%s: inspected %q, want %q", what, in.ResponseInspected, tc.inspected)
			}
		}
	}
	given(t, e)
	// Rules of phase 3 see the field as the backend sent it.
	m := miniature(t, gate.Enforce, `SecRule RESPONSE_HEADERS:Content-Encoding "@streq br" "id:1,phase:3,deny"`)
	for c, refused := range map[coding.Coding]bool{coding.Brotli: true, coding.Gzip: false} {
		_, tx, _ := begin(m, get("/"))
		if v := tx.Response(answer(500, encoded(t, c, "x"), "Content-Type", "text/html", "Content-Encoding", string(c))); v.Passed() == refused {
			t.Errorf("a rule of phase 3 about %s: %v", c, v)
		}
		tx.Close()
	}
}

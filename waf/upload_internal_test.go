package waf

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/internal/gate"
)

// big is the content of a file that is too large to be held.
var big = strings.Repeat("0123456789abcde\n", 2*smallUpload/16)

// begin starts a request and returns its transaction and verdict.
func begin(e *Engine, c call) (*gate.Request, *Transaction, gate.Verdict) {
	req := c.request()
	t := e.Begin(req)
	return req, t, t.Request()
}

// TestUploadStreams holds what the backend gets to see of a body with files,
// and when.
func TestUploadStreams(t *testing.T) {
	e := sharedEngine(t)
	const attack = "<script>alert(1)</script>"
	for _, tc := range []struct {
		name   string
		body   string
		reason gate.Reason
		late   bool
		unseen string // must not have reached the backend
	}{
		{"a large file", file("f", "a.txt", big) + last, "", true, ""},
		{"a field before a large file is judged at the end", field("c", attack) + file("f", "a.txt", big) + last, gate.WAFInboundScore, true, "--b0undary--"},
		{"a field after a large file is withheld", file("f", "a.txt", big) + field("c", attack) + last, gate.WAFInboundScore, true, "script"},
		{"a harmless field after a large file", file("f", "a.txt", big) + field("c", "fine") + last, "", true, ""},
		{"a field between large files", file("f", "a.txt", big) + field("c", attack) + file("g", "b.txt", big) + last, gate.WAFInboundScore, true, "--b0undary--"},
		{"the name of the last file", file("f", "a.txt", big) + file("g", "shell.php", "x") + last, gate.WAFInboundScore, true, "--b0undary--"},
		{"a small file is judged before", file("f", "shell.php", "x") + last, gate.WAFInboundScore, false, "b0undary"},
		{"the end is missing", file("f", "a.txt", big) + "--b0undary", gate.WAFBodyUnreadable, true, ""},
		{"something after the end", file("f", "a.txt", big) + last + "x", gate.WAFBodyUnreadable, true, "--b0undary--"},
		{"the end is missing, small", field("c", "x") + "--b0undary", gate.WAFBodyUnreadable, false, "b0undary"},
	} {
		for _, policy := range []string{"default", "observe"} {
			c := multi(tc.body).under(policy)
			o := run(e, c)
			want := gate.Pass
			switch {
			case tc.reason != "" && policy == "observe":
				want = gate.Observe
			case tc.reason != "":
				want = gate.Refuse
			}
			o.expect(t, tc.name+", "+policy, want, tc.reason)
			if want != gate.Refuse {
				if o.passed != tc.body {
					t.Errorf("%s, %s: the backend read %d bytes, want the %d that were sent", tc.name, policy, len(o.passed), len(tc.body))
				}
				continue
			}
			if o.late != tc.late {
				t.Errorf("%s: the verdict came late: %v, want %v", tc.name, o.late, tc.late)
			}
			if !strings.HasPrefix(tc.body, o.passed) || o.passed == tc.body || tc.unseen != "" && strings.Contains(o.passed, tc.unseen) {
				t.Errorf("%s: the backend read %d bytes, complete or with %q", tc.name, len(o.passed), tc.unseen)
			}
		}
	}
}

// generated is a body with one file of size bytes that exists nowhere.
type generated struct {
	head, tail string
	size       int64
}

// Read makes the next bytes.
func (g *generated) Read(p []byte) (int, error) {
	switch {
	case g.head != "":
		n := copy(p, g.head)
		g.head = g.head[n:]
		return n, nil
	case g.size > 0:
		n := int(min(int64(len(p)), g.size))
		for i := range p[:n] {
			p[i] = byte(i)
		}
		g.size -= int64(n)
		return n, nil
	case g.tail != "":
		n := copy(p, g.tail)
		g.tail = g.tail[n:]
		return n, nil
	}
	return 0, io.EOF
}

// TestLargeUploads passes a quarter of a gigabyte at constant memory and
// without a file, as a part of a form and as an opaque body.
func TestLargeUploads(t *testing.T) {
	e := sharedEngine(t)
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	size := int64(256 << 20)
	if testing.Short() {
		size = 32 << 20
	}
	// Sizes are allowed here; the Core Rule Set refuses opaque types by default.
	opaque := miniature(t, gate.Enforce, hiding)
	for _, tc := range []struct {
		name, contentType, inspected string
		engine                       *Engine
		body                         *generated
	}{
		{"form", "multipart/form-data; boundary=b0undary", "full", e, &generated{head: strings.TrimSuffix(file("f", "film.mp4", ""), "\r\n"), size: size, tail: "\r\n" + field("title", "holiday") + last}},
		{"opaque", "application/octet-stream", "none", opaque, &generated{size: size}},
	} {
		c := call{method: "POST", target: "/", fields: browser("Content-Type", tc.contentType, "Transfer-Encoding", "chunked"), source: tc.body}
		sent := int64(len(tc.body.head)) + size + int64(len(tc.body.tail))
		req, tx, v := begin(tc.engine, c)
		if !v.Passed() {
			t.Fatalf("%s: %v %s", tc.name, v.Reason, v.Detail)
		}
		var before, during runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		buf := make([]byte, 64<<10)
		got, peak := int64(0), uint64(0)
		for step := 0; ; step++ {
			n, err := req.HTTP.Body.Read(buf)
			got += int64(n)
			if step%1000 == 0 {
				runtime.ReadMemStats(&during)
				peak = max(peak, during.HeapAlloc)
			}
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", tc.name, err)
			}
		}
		if grown := int64(peak) - int64(before.HeapAlloc); grown > 4<<20 {
			t.Errorf("%s: the heap grew by %d bytes while %d passed", tc.name, grown, got)
		}
		if got != sent {
			t.Errorf("%s: %d bytes passed, want %d", tc.name, got, sent)
		}
		if v := tx.Response(&http.Response{StatusCode: 200, Header: http.Header{}, Body: http.NoBody}); v.Action != gate.Pass {
			t.Errorf("%s: %v", tc.name, v)
		}
		if in := tx.Close(); in.Inspected != tc.inspected {
			t.Errorf("%s: inspected %q, want %q", tc.name, in.Inspected, tc.inspected)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("files in the temporary directory: %v, %v", left, err)
	}
}

// TestEarlyAnswer judges what was seen when the backend answers before the
// body is complete, and lets nothing unjudged follow.
func TestEarlyAnswer(t *testing.T) {
	e := sharedEngine(t)
	ok := &http.Response{StatusCode: 200, Header: http.Header{}, Body: http.NoBody}
	half := func(tx *gate.Request) {
		if _, err := io.CopyN(io.Discard, tx.HTTP.Body, smallUpload/2); err != nil {
			t.Error(err)
		}
	}
	req, tx, v := begin(e, multi(field("c", "<script>alert(1)</script>")+file("f", "a.txt", big)+last))
	half(req)
	if early := tx.Response(ok); v.Action != gate.Pass || early.Reason != gate.WAFInboundScore || early.Passed() {
		t.Errorf("an attack before the file: %v, then %v, want a pass, then a refusal", v.Action, early)
	}
	if _, err := io.ReadAll(req.HTTP.Body); !isVerdict(err) {
		t.Errorf("reading on: %v, want the verdict", err)
	}
	tx.Close()

	req, tx, _ = begin(e, multi(file("f", "a.txt", big)+last))
	half(req)
	if early := tx.Response(ok); early.Action != gate.Pass {
		t.Errorf("only a file: %v, want a pass", early)
	}
	if rest, err := io.ReadAll(req.HTTP.Body); err != nil || len(rest) < smallUpload {
		t.Errorf("the rest of the file: %d bytes, %v", len(rest), err)
	}
	tx.Close()

	req, tx, _ = begin(e, multi(file("f", "a.txt", big)+field("c", "x")+last))
	half(req)
	if early := tx.Response(ok); early.Action != gate.Pass {
		t.Errorf("a field that is still to come: %v, want a pass", early)
	}
	if _, err := io.ReadAll(req.HTTP.Body); !isVerdict(err) {
		t.Errorf("a field after the answer: %v, want the body refused", err)
	}
	tx.Close()
	if _, err := io.ReadAll(req.HTTP.Body); err == nil {
		t.Error("the body can be read to its end after the transaction was closed")
	}
}

func isVerdict(err error) bool {
	_, ok := errors.AsType[*gate.VerdictError](err)
	return ok
}

// TestUploadWhileAnswering reads the body, answers and closes at the same
// time, as a transport does; it is for the race detector.
func TestUploadWhileAnswering(t *testing.T) {
	e := sharedEngine(t)
	for range 20 {
		req, tx, _ := begin(e, multi(file("f", "a.txt", big+big)+field("c", "x")+last))
		var both sync.WaitGroup
		both.Go(func() {
			io.Copy(io.Discard, req.HTTP.Body)
			req.HTTP.Body.Close()
		})
		both.Go(func() { tx.Response(&http.Response{StatusCode: 200, Header: http.Header{}, Body: http.NoBody}) })
		both.Go(func() { tx.Close() })
		both.Wait()
		if a, b := tx.Close(), tx.Close(); a.Ruleset != b.Ruleset || len(a.Hits) != len(b.Hits) {
			t.Errorf("Close returned %+v, then %+v", a, b)
		}
	}
}

// TestLimits holds what must be held to the policy's bound: over it, a body is
// refused before it is read when it says so, judged in part where the policy
// or its type says so, and never waved through in silence.
func TestLimits(t *testing.T) {
	e := sharedEngine(t)
	long := strings.Repeat("lorem ipsum ", 1000)
	attack := "<script>alert(1)</script>"
	form := func(pre, post string) string { return "a=" + pre + "&b=" + long + "&c=" + post }
	chunked := func(contentType, body string) call {
		return call{method: "POST", target: "/", fields: browser("Content-Type", contentType, "Transfer-Encoding", "chunked"), body: body, chunked: true}
	}
	for _, tc := range []struct {
		name      string
		call      call
		action    gate.Action
		reason    gate.Reason
		inspected string
	}{
		{"declared", post(formType, form("x", "x")).under("small"), gate.Refuse, gate.WAFBodyTooLarge, "none"},
		{"undeclared", chunked(formType, form("x", "x")).under("small"), gate.Refuse, gate.WAFBodyTooLarge, "none"},
		{"within", post(formType, "a=x").under("small"), gate.Pass, "", "full"},
		{"exactly", post(formType, "a="+strings.Repeat("x", 4<<10-2)).under("small"), gate.Pass, "", "full"},
		{"one more", post(formType, "a="+strings.Repeat("x", 4<<10-1)).under("small"), gate.Refuse, gate.WAFBodyTooLarge, ""},
		{"exactly, undeclared", chunked(formType, "a="+strings.Repeat("x", 4<<10-2)).under("small"), gate.Pass, "", "full"},
		{"one more, undeclared", chunked(formType, "a="+strings.Repeat("x", 4<<10-1)).under("small"), gate.Refuse, gate.WAFBodyTooLarge, ""},
		{"head", post(formType, form("x", attack)).under("head"), gate.Pass, "", "head"},
		{"head, attack in it", post(formType, form(attack, "x")).under("head"), gate.Refuse, gate.WAFInboundScore, "head"},
		{"head, json cut in the middle", post("application/json", `{"a":"`+long+`"}`).under("head"), gate.Pass, "", "head"},
		{"head, json attack before the cut", post("application/json", `{"a":"`+attack+long+`"}`).under("head"), gate.Refuse, gate.WAFInboundScore, "head"},
		{"observe", post(formType, form("x", "x")).under("observe-small"), gate.Observe, gate.WAFBodyTooLarge, "head"},
		{"fields of a form", multi(field("a", long) + last).under("small"), gate.Refuse, gate.WAFBodyTooLarge, ""},
		{"fields of a form, head", multi(field("a", long) + last).under("head"), gate.Pass, "", "head"},
		{"fields of a form, observe", multi(field("a", long) + last).under("observe-small"), gate.Observe, gate.WAFBodyTooLarge, "head"},
		{"a file does not count", multi(file("f", "a.txt", big) + last).under("small"), gate.Pass, "", "full"},
		{"fields after a file count", multi(file("f", "a.txt", big) + field("a", long) + last).under("small"), gate.Refuse, gate.WAFBodyTooLarge, ""},
	} {
		o := run(e, tc.call)
		o.expect(t, tc.name, tc.action, tc.reason)
		if tc.inspected != "" && o.result.Inspected != tc.inspected {
			t.Errorf("%s: inspected %q, want %q", tc.name, o.result.Inspected, tc.inspected)
		}
		if tc.action != gate.Refuse && o.passed != tc.call.body {
			t.Errorf("%s: the backend read %d bytes, want %d", tc.name, len(o.passed), len(tc.call.body))
		}
	}
	// Types that no rule reads are never refused for their size.
	m := miniature(t, gate.Enforce, hiding)
	m.policies["default"].Inspect = 4 << 10
	for contentType, inspected := range map[string]string{"text/plain": "head", "application/octet-stream": "none", "image/png": "none", "application/grpc+proto": "none", "": "head"} {
		o := run(m, post(contentType, long))
		o.expect(t, contentType, gate.Pass, "")
		if o.result.Inspected != inspected || o.passed != long {
			t.Errorf("%q: inspected %q, %d bytes passed, want %q and %d", contentType, o.result.Inspected, len(o.passed), inspected, len(long))
		}
	}
	// A declared length is refused before a byte is read.
	c := post(formType, form("x", "x")).under("small")
	req := c.request()
	req.HTTP.Body = io.NopCloser(failing{errors.New("read")})
	tx := e.Begin(req)
	if v := tx.Request(); v.Reason != gate.WAFBodyTooLarge {
		t.Errorf("declared: %v, want it refused before it is read", v)
	}
	tx.Close()
}

// TestMemory bounds the held bodies of all requests together, waits for
// memory to come back, and gives all of it back at the end.
func TestMemory(t *testing.T) {
	e := miniature(t, gate.Enforce, hiding)
	body := "a=" + strings.Repeat("x", 30<<10)
	synctest.Test(t, func(t *testing.T) {
		e.memory = newBudget(64 << 10)
		_, first, v := begin(e, post(formType, body))
		if !v.Passed() {
			t.Fatalf("the first: %v", v)
		}
		start := time.Now()
		_, second, v := begin(e, post(formType, body+body))
		if v.Reason != gate.WAFMemory || v.Status != 503 || time.Since(start) != memoryWait {
			t.Errorf("the second: %v after %v, want %s after %v", v, time.Since(start), gate.WAFMemory, memoryWait)
		}
		second.Close()
		var waited gate.Verdict
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, third, v := begin(e, post(formType, body+body))
			waited = v
			third.Close()
		}()
		time.Sleep(memoryWait / 2)
		first.Close()
		<-done
		if !waited.Passed() {
			t.Errorf("the third, after the first gave back: %v, want a pass", waited)
		}
		if !e.memory.free.TryAcquire(64 << 10) {
			t.Error("not all memory was given back")
		}
	})
}

// TestTurns lets heavy bodies wait for those that are being judged, sheds them
// when that takes too long, and never keeps a light one waiting.
func TestTurns(t *testing.T) {
	e := miniature(t, gate.Enforce, hiding)
	light, large := post(formType, "a=x"), post(formType, "a="+strings.Repeat("x", heavy))
	files := post("multipart/form-data; boundary=B", "--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n"+strings.Repeat("x", heavy)+"\r\n--B--\r\n")
	synctest.Test(t, func(t *testing.T) {
		e.turns = newTurns()
		all := int64(runtime.GOMAXPROCS(0))
		if !e.turns.free.TryAcquire(all) {
			t.Fatal("somebody else has a turn")
		}
		for _, c := range []call{large, files} {
			start := time.Now()
			_, tx, v := begin(e, c)
			if v.Reason != gate.WAFBusy || v.Status != 503 || v.RetryAfter == 0 || time.Since(start) != turnWait {
				t.Errorf("a heavy one: %v, again in %v, after %v, want %s after %v", v, v.RetryAfter, time.Since(start), gate.WAFBusy, turnWait)
			}
			tx.Close()
		}
		start := time.Now()
		if _, tx, v := begin(e, light); !v.Passed() || time.Since(start) != 0 {
			t.Errorf("a light one: %v after %v", v, time.Since(start))
		} else {
			tx.Close()
		}
		time.AfterFunc(turnWait/2, func() { e.turns.free.Release(all) })
		for _, c := range []call{large, files} {
			_, tx, v := begin(e, c)
			if !v.Passed() {
				t.Errorf("a heavy one, once there is room: %v", v)
			}
			tx.Close()
		}
		if !e.turns.free.TryAcquire(all) {
			t.Error("not every turn was given back")
		}
	})
}

// TestReadUpTo takes memory as bytes come, and sees whether there is more.
func TestReadUpTo(t *testing.T) {
	for _, tc := range []struct {
		size, limit, length int64
		held                int64
		more                bool
	}{
		{0, 10, -1, 0, false}, {10, 10, -1, 10, false}, {11, 10, -1, 11, true}, {10, 10, 10, 10, false},
		{5, 1 << 20, 5, 5, false}, {100 << 10, 1 << 20, -1, 100 << 10, false}, {100 << 10, 64 << 10, 100 << 10, 64<<10 + 1, true},
	} {
		l := lease{from: newBudget(1 << 20)}
		held, more, err := readUpTo(context.Background(), &l, bytes.NewReader(make([]byte, tc.size)), tc.limit, tc.length)
		if err != nil || int64(len(held)) != tc.held || more != tc.more || l.held > 2*tc.held+firstHold {
			t.Errorf("%+v: %d bytes, more %v, %v, leased %d", tc, len(held), more, err, l.held)
		}
	}
	// What is held is nobody else's: not even of those who outgrew the same
	// buffers.
	held := make([][]byte, 40)
	var all sync.WaitGroup
	for i := range held {
		all.Go(func() {
			l := lease{from: newBudget(1 << 20)}
			held[i], _, _ = readUpTo(context.Background(), &l, bytes.NewReader(bytes.Repeat([]byte{byte(i)}, 900*i)), 1<<20, -1)
		})
	}
	all.Wait()
	for i, b := range held {
		if len(b) != 900*i || bytes.Count(b, []byte{byte(i)}) != len(b) {
			t.Errorf("the %d bytes that were held as %d are others now", len(b), i)
		}
	}
}

package proxy

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/internal/gate"
)

// held is an upload of a body that comes by a line, without a limit of size
// and with ten seconds of patience.
func held(t *testing.T) (*line, *clientBody, *upload) {
	l := newLine()
	b := newClientBody(t.Context(), l, http.NewResponseController(l), -1, 100, 10*time.Second)
	b.limit(1 << 30)
	u := &upload{src: b, length: -1}
	t.Cleanup(func() {
		b.stop()
		u.stop()
	})
	return l, b, u
}

// parts sends parts of a body, each after a pause, and ends it.
func (l *line) parts(pause time.Duration, parts ...string) {
	for _, part := range parts {
		time.Sleep(pause)
		l.bytes <- part
	}
	time.Sleep(pause)
	close(l.bytes)
}

func TestHold(t *testing.T) {
	large := strings.Repeat("0123456789abcdef", holdBytes/16)
	for _, tc := range []struct {
		rule    string
		pause   time.Duration // before each part, and before the end
		parts   []string
		expects bool
		took    time.Duration
		whole   bool
	}{
		{"what comes at once is whole at once", 0, []string{"a", "b"}, false, 0, true},
		{"an empty body is whole", 0, nil, false, 0, true},
		{"a body in parts is waited for", 150 * time.Millisecond, []string{"a", "b", "c"}, false, 600 * time.Millisecond, true},
		{"a client that says nothing is not waited for longer than a pause", 4 * time.Second, []string{"a"}, false, holdPause, false},
		{"a client that never pauses is not waited for longer than in all", 190 * time.Millisecond, strings.Split("abcdefgh", ""), false, holdTime, false},
		{"a client that waits for our 100 may take the whole time to begin", 900 * time.Millisecond, []string{"a"}, true, holdTime, false},
		{"but then it begins and ends", 450 * time.Millisecond, nil, true, 450 * time.Millisecond, true},
		{"what is larger than the bound streams at once", 0, []string{large, "more"}, false, 0, false},
		{"one byte less than the bound is whole", 0, []string{large[1:]}, false, 0, true},
		{"parts that do not fit the buffers", 0, []string{large[:4095], large[4095:9000], large[9000:9001], large[9001:60000]}, false, 0, true},
	} {
		t.Run(tc.rule, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, b, u := held(t)
				go l.parts(tc.pause, tc.parts...)
				began := time.Now()
				if err := u.hold(tc.expects); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(began); took != tc.took || u.whole != tc.whole {
					t.Errorf("after %v, whole %v; want %v, %v", took, u.whole, tc.took, tc.whole)
				}
				want := strings.Join(tc.parts, "")
				times := 1
				if tc.whole {
					times = 2 // it can be sent again
				}
				for range times {
					got, err := io.ReadAll(u.attempt())
					if string(got) != want || err != nil {
						t.Errorf("read %d bytes, %v, want %d", len(got), err, len(want))
					}
				}
				if u.spent() == tc.whole || !b.complete() {
					t.Errorf("spent %v, complete %v", u.spent(), b.complete())
				}
			})
		})
	}
}

// A client that sends a part, and the rest only when the backend has begun to
// answer, must not hang.
func TestHoldLetsATwoPartBodyStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _, u := held(t)
		go func() { l.bytes <- "first" }()
		if err := u.hold(false); err != nil || u.whole {
			t.Fatal(err, u.whole)
		}
		a := u.attempt()
		buf := make([]byte, 100)
		if n, err := a.Read(buf); string(buf[:n]) != "first" || err != nil {
			t.Fatalf("%q, %v", buf[:n], err)
		}
		go func() { // the backend's word is there
			time.Sleep(5 * time.Second)
			l.bytes <- "second"
			l.bytes <- "third"
			close(l.bytes)
		}()
		began := time.Now()
		if n, err := a.Read(buf); string(buf[:n]) != "second" || err != nil || time.Since(began) != 5*time.Second {
			t.Fatalf("%q, %v after %v", buf[:n], err, time.Since(began))
		}
		if rest, err := io.ReadAll(a); string(rest) != "third" || err != nil {
			t.Errorf("%q, %v", rest, err)
		}
	})
}

func TestHoldOfABodyThatFails(t *testing.T) {
	broken := &gate.VerdictError{Verdict: gate.Refusal(gate.HTTPChunkSize, gate.Enforce, "")}
	breaking := func(after int) *upload {
		return &upload{src: io.MultiReader(strings.NewReader(strings.Repeat("x", after)), &bad{broken})}
	}
	t.Run("within the bound it is known before anything is sent", func(t *testing.T) {
		for _, after := range []int{0, 1, holdTail - 1, holdTail, holdTail + 1, holdBytes - 1} {
			u := breaking(after)
			if err := u.hold(false); !errors.Is(err, broken) || u.touched.Load() {
				t.Errorf("after %d bytes: %v", after, err)
			}
		}
	})
	t.Run("beyond it, it ends the attempt", func(t *testing.T) {
		u := breaking(holdBytes + 1)
		if err := u.hold(false); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(u.attempt())
		if len(got) != holdBytes+1 || !errors.Is(err, broken) || u.failure() != broken {
			t.Errorf("%d bytes, %v, failure %v", len(got), err, u.failure())
		}
	})
	t.Run("a stage that panics", func(t *testing.T) {
		u := &upload{src: &bad{nil}}
		if err := u.hold(false); reason(err) != gate.GatewayPanic {
			t.Errorf("%v", err)
		}
	})
	t.Run("a client that is too slow while it is held is no different", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l, b, u := held(t)
			go func() { l.bytes <- "x" }()
			began := time.Now()
			if err := u.hold(false); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute) // nobody reads; but the Read of the hold waits for the client
			got, err := io.ReadAll(u.attempt())
			if string(got) != "x" || reason(err) != gate.HTTPBodyTooSlow {
				t.Errorf("%q, %v after %v", got, err, time.Since(began))
			}
			b.stop()
		})
	})
	t.Run("the end of the request ends the Read that is left", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l, b, u := held(t)
			go func() { l.bytes <- "x" }()
			if err := u.hold(false); err != nil {
				t.Fatal(err)
			}
			b.stop()
			u.stop() // returns
			if _, err := u.attempt().Read(make([]byte, 1)); !errors.Is(err, errBodyStopped) || u.failure() != nil {
				t.Errorf("%v, %v", err, u.failure())
			}
		})
	})
}

func TestConverses(t *testing.T) {
	for _, tc := range []struct {
		rule, kind string
		length     int64
		want       bool
	}{
		{"a stream of messages", "application/grpc", -1, true},
		{"however they are written", "Application/gRPC+proto", -1, true},
		{"a length has an end", "application/grpc", 7, false},
		{"another type", "application/json", -1, false},
		{"no type", "", -1, false},
	} {
		h := &gate.Head{Length: tc.length}
		if tc.kind != "" {
			h.Fields = []gate.Field{{Name: "content-type", Value: tc.kind}}
		}
		if got := converses(h); got != tc.want {
			t.Errorf("%s: converses = %v, want %v", tc.rule, got, tc.want)
		}
	}
}

// bad is a body that fails, or panics for want of an error.
type bad struct{ err error }

func (b *bad) Read([]byte) (int, error) {
	if b.err == nil {
		panic("no error")
	}
	return 0, b.err
}

// What the rules have read of a body, all of it, is sent without waiting.
func TestWhatTheRulesHaveReadIsHere(t *testing.T) {
	for _, tc := range []struct {
		rule string
		read int // of 70000 bytes
		send int
		here bool
	}{
		{"all of a short body", 5, 5, true},
		{"all of a long body", 70000, 70000, false},
		{"a part", 70000, 80000, false},
	} {
		text := strings.Repeat("x", tc.send)
		req := &http.Request{ProtoMajor: 2}
		v := &visit{req: &gate.Request{HTTP: req, Head: &gate.Head{Length: int64(tc.send)}}}
		v.body = newClientBody(t.Context(), io.NopCloser(strings.NewReader(text)), &v.rw.control, int64(tc.send), 0, time.Second)
		v.body.limit(1 << 20)
		seen := make([]byte, tc.read)
		if _, err := io.ReadFull(v.body, seen); err != nil {
			t.Fatal(err)
		}
		req.Body = io.NopCloser(io.MultiReader(strings.NewReader(string(seen)), v.body))
		if verdict := new(Handler).hold(v); !verdict.Passed() {
			t.Fatal(verdict)
		}
		a := v.upload.attempt()
		if a.Held() != tc.here || v.upload.whole {
			t.Errorf("%s: held %v, whole %v", tc.rule, a.Held(), v.upload.whole)
		}
		if got, err := io.ReadAll(a); string(got) != text || err != nil {
			t.Errorf("%s: %d bytes, %v", tc.rule, len(got), err)
		}
		v.body.stop()
		v.upload.stop()
	}
}

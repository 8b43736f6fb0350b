package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"sallyport/internal/gate"
)

// line is a connection that a client sends bytes on when it likes. A deadline
// in the past ends the Read that waits.
type line struct {
	http.ResponseWriter
	bytes chan string
	late  chan struct{}
	rest  string
}

func newLine() *line { return &line{bytes: make(chan string), late: make(chan struct{}, 8)} }

func (l *line) SetReadDeadline(t time.Time) error {
	if t.Before(time.Now()) {
		l.late <- struct{}{}
	}
	return nil
}

func (l *line) Read(p []byte) (int, error) {
	if l.rest == "" {
		select {
		case s, ok := <-l.bytes:
			if !ok {
				return 0, io.EOF
			}
			l.rest = s
		case <-l.late:
			return 0, os.ErrDeadlineExceeded
		}
	}
	n := copy(p, l.rest)
	l.rest = l.rest[n:]
	return n, nil
}

func (l *line) Close() error { return nil }

func reason(err error) gate.Reason {
	if ve, ok := errors.AsType[*gate.VerdictError](err); ok {
		return ve.Verdict.Reason
	}
	return ""
}

func TestBodyRate(t *testing.T) {
	const grace = 10 * time.Second
	start := func() (*line, *clientBody) {
		l := newLine()
		b := newClientBody(t.Context(), l, http.NewResponseController(l), -1, 100, grace)
		b.limit(1 << 20)
		return l, b
	}
	buf := make([]byte, 4096)
	t.Run("a client that says nothing has its grace and no more", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			_, b := start()
			began := time.Now()
			_, err := b.Read(buf)
			if reason(err) != gate.HTTPBodyTooSlow || time.Since(began) != grace {
				t.Errorf("%v after %v", err, time.Since(began))
			}
			if _, again := b.Read(buf); again != err {
				t.Errorf("then %v", again)
			}
		})
	})
	t.Run("bytes earn time", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l, b := start()
			go func() {
				for range 30 { // 100 bytes a second, exactly as demanded
					time.Sleep(time.Second)
					l.bytes <- strings.Repeat("x", 100)
				}
				close(l.bytes)
			}()
			if n, err := io.Copy(io.Discard, b); n != 3000 || err != nil {
				t.Errorf("%d bytes, %v", n, err)
			}
			if !b.complete() || b.received() != 3000 {
				t.Errorf("complete %v, %d", b.complete(), b.received())
			}
		})
	})
	t.Run("a client below the rate runs out of time", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l, b := start()
			began := time.Now()
			go func() {
				for range 40 { // half of it
					time.Sleep(time.Second)
					select {
					case l.bytes <- strings.Repeat("x", 50):
					case <-time.After(time.Hour):
						return
					}
				}
			}()
			_, err := io.Copy(io.Discard, b)
			if took := time.Since(began); reason(err) != gate.HTTPBodyTooSlow || took < 19*time.Second || took > 21*time.Second {
				t.Errorf("%v after %v, want about 20s", err, took)
			}
			time.Sleep(2 * time.Hour)
		})
	})
	t.Run("time in which nobody reads does not count", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l, b := start()
			for range 20 {
				go func() { l.bytes <- "x" }()
				if _, err := b.Read(buf); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Minute) // the backend is slow
			}
		})
	})
	t.Run("what is saved up is bounded", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l, b := start()
			go func() { l.bytes <- strings.Repeat("x", 1<<20) }()
			for b.received() < 1<<20 {
				if _, err := b.Read(buf); err != nil {
					t.Fatal(err)
				}
			}
			began := time.Now()
			_, err := b.Read(buf)
			if took := time.Since(began); reason(err) != gate.HTTPBodyTooSlow || took != maxPatience {
				t.Errorf("%v after %v, want %v", err, took, maxPatience)
			}
		})
	})
	t.Run("without a rate nobody is too slow", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := newLine()
			b := newClientBody(t.Context(), l, http.NewResponseController(l), -1, 0, grace)
			b.limit(10)
			go func() { time.Sleep(24 * time.Hour); l.bytes <- "x" }()
			if n, err := b.Read(buf); n != 1 || err != nil {
				t.Errorf("%d, %v", n, err)
			}
		})
	})
	t.Run("stop ends a Read that waits, and says nothing about the client", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			_, b := start()
			u := &upload{src: b}
			a := u.attempt()
			done := make(chan error)
			go func() { _, err := a.Read(buf); done <- err }()
			synctest.Wait()
			b.stop()
			u.stop()
			if err := <-done; !errors.Is(err, errBodyStopped) || u.failure() != nil {
				t.Errorf("%v, %v", err, u.failure())
			}
			if _, err := u.attempt().Read(buf); !errors.Is(err, errBodyStopped) {
				t.Errorf("afterwards: %v", err)
			}
		})
	})
}

func TestBodyLimit(t *testing.T) {
	for _, tc := range []struct {
		rule   string
		length int64
		body   string
		want   int
		reason gate.Reason
	}{
		{"shorter", -1, "123", 3, ""},
		{"as long as allowed", -1, "12345", 5, ""},
		{"one byte more", -1, "123456", 5, gate.HTTPBodyTooLarge},
		{"much more", -1, strings.Repeat("x", 100000), 5, gate.HTTPBodyTooLarge},
	} {
		b := newClientBody(t.Context(), io.NopCloser(strings.NewReader(tc.body)), http.NewResponseController(newLine()), tc.length, 0, 0)
		b.limit(5)
		got, err := io.ReadAll(b)
		if len(got) != tc.want || reason(err) != tc.reason {
			t.Errorf("%s: %d bytes, %v", tc.rule, len(got), err)
		}
	}
}

func TestBodyThatFails(t *testing.T) {
	broken := errors.New("the stream has ended")
	for _, tc := range []struct {
		rule   string
		length int64
		leaves time.Duration // after that the context ends; 0: it does not
		want   gate.Reason
	}{
		{"shorter than declared, by a client that is still there", 5, 0, gate.HTTPLengthInvalid},
		{"by a client that leaves", 5, time.Millisecond, gate.PoolClientGone},
		{"no length is declared", -1, 0, gate.PoolClientGone},
	} {
		t.Run(tc.rule, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, leave := context.WithCancel(t.Context())
				defer leave()
				b := newClientBody(ctx, io.NopCloser(iotest.ErrReader(broken)), http.NewResponseController(newLine()), tc.length, 0, 0)
				b.limit(100)
				if tc.leaves > 0 {
					time.AfterFunc(tc.leaves, leave)
				}
				if _, err := b.Read(make([]byte, 10)); reason(err) != tc.want {
					t.Errorf("%v, want %s", err, tc.want)
				}
			})
		})
	}
}

func TestAttemptsShareOneBody(t *testing.T) {
	u := &upload{src: strings.NewReader("12345")}
	first := u.attempt()
	_ = first.Close()
	if _, err := first.Read(make([]byte, 1)); err == nil || u.touched.Load() {
		t.Error("an attempt that is over reads on")
	}
	second := u.attempt()
	if got, err := io.ReadAll(second); string(got) != "12345" || err != nil || !u.touched.Load() {
		t.Errorf("the second attempt reads %q, %v", got, err)
	}
}

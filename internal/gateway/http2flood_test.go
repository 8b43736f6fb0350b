package gateway_test

import (
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"sallyport/internal/gate"
)

// A flood is what a client does over and over on one connection. once sends
// round n of it.
type flood struct {
	rule   string
	most   int // rounds after which it must have been cut
	begin  func(k *talker) error
	once   func(k *talker, n int) error
	reason gate.Reason
}

// stream is the stream of round n.
func stream(n int) uint32 { return uint32(2*n + 1) }

// provoked opens a stream and makes the server reset it.
func provoked(fault func(k *talker, id uint32) error) func(*talker, int) error {
	return func(k *talker, n int) error {
		if err := k.ask(stream(n), "POST", "/", false); err != nil {
			return err
		}
		return fault(k, stream(n))
	}
}

// begun opens a stream whose body does not end, or whose field block does not.
func begun(block bool) func(*talker) error {
	return func(k *talker) error {
		if !block {
			return k.ask(1, "POST", "/", false)
		}
		return k.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: k.fields(":method", "GET"), EndStream: true})
	}
}

var floods = []flood{
	{"rapid reset", 1000, nil, func(k *talker, n int) error {
		if err := k.ask(stream(n), "GET", "/", true); err != nil {
			return err
		}
		return k.WriteRSTStream(stream(n), http2.ErrCodeCancel)
	}, gate.HTTPH2Flood},
	{"rapid reset of requests with content", 1000, nil, provoked(func(k *talker, id uint32) error {
		return k.WriteRSTStream(id, http2.ErrCodeCancel)
	}), gate.HTTPH2Flood},
	{"resets provoked by an increment of nothing", 1000, nil, provoked(func(k *talker, id uint32) error {
		return k.WriteWindowUpdate(id, 0)
	}), gate.HTTPH2Flood},
	{"resets provoked by a window beyond its limit", 1000, nil, provoked(func(k *talker, id uint32) error {
		return k.WriteWindowUpdate(id, 1<<31-1)
	}), gate.HTTPH2Flood},
	{"resets provoked by a stream that depends on itself", 1000, nil, provoked(func(k *talker, id uint32) error {
		return k.WritePriority(id, http2.PriorityParam{StreamDep: id})
	}), gate.HTTPH2Flood},
	{"resets provoked by DATA behind the end", 1000, nil, func(k *talker, n int) error {
		if err := k.ask(stream(n), "GET", "/hold/end", true); err != nil {
			return err
		}
		return k.WriteData(stream(n), true, []byte("more"))
	}, gate.HTTPH2Flood},
	{"resets provoked by HEADERS behind the end", 1000, nil, func(k *talker, n int) error {
		if n%32 == 31 {
			// The resets have to keep up: a stream beyond the limit is refused and
			// over, and HEADERS on one that is over end the connection at once.
			time.Sleep(5 * time.Millisecond)
		}
		if err := k.ask(stream(n), "GET", "/hold/end", true); err != nil {
			return err
		}
		return k.ask(stream(n), "GET", "/hold/end", true)
	}, gate.HTTPH2Flood},
	{"a field block in frames of one octet", 1000, begun(true), func(k *talker, _ int) error {
		return k.WriteContinuation(1, false, []byte{0x90})
	}, gate.HTTPH2Flood},
	{"empty CONTINUATION frames", 100, begun(true), func(k *talker, _ int) error {
		return k.WriteContinuation(1, false, nil)
	}, gate.HTTPH2Flood},
	{"a field block without end", 100, begun(true), func(k *talker, _ int) error {
		return k.WriteContinuation(1, false, []byte("\x00\x03x-a\x7f\x81\x7c"+strings.Repeat("a", 16_000)))
	}, gate.HTTPHeadTooLarge},
	{"SETTINGS", 5000, nil, func(k *talker, _ int) error { return k.WriteSettings() }, gate.HTTPH2Flood},
	{"SETTINGS with values", 5000, nil, func(k *talker, n int) error {
		return k.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(n)})
	}, gate.HTTPH2Flood},
	{"PING", 5000, nil, func(k *talker, _ int) error { return k.WritePing(false, [8]byte{}) }, gate.HTTPH2Flood},
	{"answers to PING that nobody sent", 5000, nil, func(k *talker, _ int) error { return k.WritePing(true, [8]byte{}) }, gate.HTTPH2Flood},
	{"PRIORITY", 5000, nil, func(k *talker, n int) error {
		return k.WritePriority(stream(n), http2.PriorityParam{Weight: 1})
	}, gate.HTTPH2Flood},
	{"WINDOW_UPDATE", 5000, nil, func(k *talker, _ int) error { return k.WriteWindowUpdate(0, 1) }, gate.HTTPH2Flood},
	{"empty DATA", 5000, begun(false), func(k *talker, _ int) error { return k.WriteData(1, false, nil) }, gate.HTTPH2Flood},
	{"DATA that is padding", 5000, begun(false), func(k *talker, _ int) error {
		return k.WriteDataPadded(1, false, nil, make([]byte, 20))
	}, gate.HTTPH2Flood},
	{"unknown frames", 5000, nil, func(k *talker, _ int) error { return k.WriteRawFrame(0x42, 0, 0, nil) }, gate.HTTPH2Flood},
	{"RST_STREAM for a stream that has ended", 5000, func(k *talker) error { return k.ask(1, "GET", "/", true) }, func(k *talker, _ int) error {
		return k.WriteRSTStream(1, http2.ErrCodeCancel)
	}, gate.HTTPH2Flood},
	{"streams beyond the limit", 1000, nil, func(k *talker, n int) error { return k.ask(stream(n), "GET", "/hold/limit", true) }, gate.HTTPH2Flood},
}

// drain reads whatever comes until the connection ends, and reports whether it
// did in time, and with what GOAWAY.
func (k *talker) drain(within time.Duration) (ended bool, code http2.ErrCode) {
	_ = k.conn.SetReadDeadline(time.Now().Add(within))
	for {
		f, err := k.ReadFrame()
		if ne, ok := err.(interface{ Timeout() bool }); ok && ne.Timeout() {
			return false, code
		}
		switch g := f.(type) {
		case *http2.GoAwayFrame:
			code = g.ErrCode
		}
		if _, broken := err.(http2.StreamError); err != nil && !broken {
			return true, code
		}
	}
}

// TestHTTP2Floods holds that a connection that costs more than it asks for is
// cut after so many frames, with one record, and that nothing is left of it.
func TestHTTP2Floods(t *testing.T) {
	e, b := open2(t)
	quiet := talk(t, e.address) // somebody else, who goes on
	quiet.get(1, "/")
	quiet.answered(1, "200")
	for _, f := range floods {
		t.Run(f.rule, func(t *testing.T) {
			base, before := runtime.NumGoroutine(), b.count()
			k := talk(t, e.address)
			sent := make(chan int, 1)
			go func() {
				var err error
				if f.begin != nil {
					err = f.begin(k)
				}
				n := 0
				for ; err == nil && n < f.most; n++ {
					err = f.once(k, n)
				}
				sent <- n
			}()
			ended, code := k.drain(10 * time.Second)
			if !ended {
				t.Errorf("after %d rounds the connection goes on", f.most)
			}
			k.conn.Close()
			n := <-sent
			if asked := b.count() - before; asked > 500 {
				t.Errorf("%d requests reached the backend", asked)
			}
			requests, connection := k.settled(e)
			if len(connection) != 1 || connection[0].Reason != f.reason {
				t.Errorf("%d records of the connection, want one of %s: %+v", len(connection), f.reason, connection)
			}
			if len(requests) > 1000 {
				t.Errorf("%d records of requests", len(requests))
			}
			t.Logf("cut after at most %d rounds with %s; %d requests reached the backend", n, code, b.count()-before)
			settle(t, e, base+5)
		})
	}
	quiet = talk(t, e.address)
	quiet.get(1, "/")
	quiet.answered(1, "200")
}

// settled waits for the record of the connection.
func (k *talker) settled(e *edge) (requests, connection []gate.Record) {
	for end := time.Now().Add(5 * time.Second); len(connection) == 0 && time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		_, connection = k.records(e)
	}
	for n := -1; n != len(requests)+len(connection); time.Sleep(20 * time.Millisecond) { // no more come
		n = len(requests) + len(connection)
		requests, connection = k.records(e)
	}
	return requests, connection
}

// settle waits until no more goroutines are left than there may be.
func settle(t *testing.T, e *edge, most int) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > most && time.Now().Before(end); {
		e.backend.CloseClientConnections() // those that lie idle for the next request are no leak
		time.Sleep(5 * time.Millisecond)
	}
	if n := runtime.NumGoroutine(); n > most {
		stacks := make([]byte, 1<<17)
		t.Errorf("%d goroutines are left, want at most %d:\n%s", n, most, stacks[:runtime.Stack(stacks, true)])
	}
}

// TestHTTP2Bomb sends a field list that is small on the wire and huge once it
// is decoded (RFC 7541 section 7.3).
func TestHTTP2Bomb(t *testing.T) {
	e, b := open2(t, "idle_timeout: 2s", "idle_timeout: 1m")
	k := talk(t, e.address)
	const size = 3968
	block := k.fields(":method", "GET", ":scheme", "http", ":authority", "a.example", ":path", "/", "x-a", strings.Repeat("a", size)) // into the table
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	k.must(k.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block, EndStream: true}))
	refs := []byte(strings.Repeat("\xbe", 16_000)) // the field again, in an octet each
	for n := range 3 {
		k.must(k.WriteContinuation(1, n == 2, refs))
	}
	k.answered(1, "431")
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 8<<20 {
		t.Errorf("48,000 fields of %d octets took %d", size, grown)
	}
	k.get(3, "/") // the table is what it was
	k.answered(3, "200")
	requests, connection := k.records(e)
	for end := time.Now().Add(5 * time.Second); len(requests) < 2 && time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		requests, connection = k.records(e)
	}
	if len(requests) != 2 || requests[0].Reason != gate.HTTPHeadTooLarge || requests[1].Reason != "" || len(connection) != 0 || b.count() != 1 {
		t.Errorf("records %+v and %+v, %d requests reached the backend, want one of http.head_too_large and one that passed", requests, connection, b.count())
	}
}

// TestHTTP2SlowBlock holds that a frame or a field block that has begun must
// end in time, however it trickles in.
func TestHTTP2SlowBlock(t *testing.T) {
	e, b := open2(t, "idle_timeout: 2s", "idle_timeout: 1m")
	for _, tc := range []struct {
		rule    string
		begin   func(k *talker) error
		trickle func(k *talker) error
	}{
		{"a field block that never ends", begun(true), nil},
		{"a field block that goes on octet by octet", begun(true), func(k *talker) error { return k.WriteContinuation(1, false, []byte{0x90}) }},
		{"half a frame header", func(k *talker) error { _, err := k.conn.Write([]byte{0, 0, 4}); return err }, nil},
		{"a SETTINGS frame octet by octet", func(k *talker) error { _, err := k.conn.Write([]byte{0, 0, 60, 4, 0, 0, 0, 0, 0}); return err },
			func(k *talker) error { _, err := k.conn.Write([]byte{0}); return err }},
	} {
		t.Run(tc.rule, func(t *testing.T) {
			k := talk(t, e.address)
			k.must(tc.begin(k))
			done := make(chan struct{})
			defer func() { <-done }()
			go func() {
				defer close(done)
				for range 50 {
					if tc.trickle == nil || tc.trickle(k) != nil {
						return
					}
					time.Sleep(100 * time.Millisecond) // the client is slow; header_timeout is a second
				}
			}()
			began := time.Now()
			ended, _ := k.drain(4 * time.Second)
			if took := time.Since(began); !ended || took < 500*time.Millisecond {
				t.Errorf("the connection ended: %t, after %s", ended, took)
			}
			k.conn.Close()
			if requests, connection := k.settled(e); len(requests) != 0 || len(connection) != 1 || connection[0].Reason != gate.HTTPHeadTimeout {
				t.Errorf("records %+v and %+v, want one of http.head_timeout", requests, connection)
			}
		})
	}
	if b.count() != 0 {
		t.Errorf("%d requests reached the backend", b.count())
	}
}

// TestHTTP2NoFloods does what browsers and other honest clients do, which must
// not be taken for a flood.
func TestHTTP2NoFloods(t *testing.T) {
	e, b := open2(t, "idle_timeout: 2s", "idle_timeout: 1m")
	for _, tc := range []struct {
		rule string
		do   func(k *talker) (next uint32)
	}{
		{"a page of a hundred pictures is left", func(k *talker) uint32 {
			for n := range 100 {
				k.must(k.ask(stream(n), "GET", "/hold/picture", true))
			}
			for n := range 100 {
				k.must(k.WriteRSTStream(stream(n), http2.ErrCodeCancel))
			}
			return 201
		}},
		{"a PING a second, for five minutes", func(k *talker) uint32 {
			for n := range 300 {
				k.must(k.WritePing(false, [8]byte{byte(n)}))
			}
			return 1
		}},
		{"every piece of a download is acknowledged twice", func(k *talker) uint32 {
			k.must(k.ask(1, "GET", "/size/5000000", true))
			pieces := 0
			k.await("the end of the download", func(f http2.Frame) bool {
				d, ok := f.(*http2.DataFrame)
				if ok && len(d.Data()) > 0 {
					pieces++
					n := uint32(len(d.Data()))
					k.must(k.WriteWindowUpdate(0, n))
					if !d.StreamEnded() {
						k.must(k.WriteWindowUpdate(1, n))
					}
				}
				return ok && d.StreamEnded()
			})
			if pieces < 300 {
				k.t.Errorf("%d pieces, want at least 300", pieces)
			}
			return 3
		}},
		{"a thousand requests", func(k *talker) uint32 {
			for n := range 1000 {
				k.get(stream(n), "/"+strconv.Itoa(n))
				k.answered(stream(n), "200")
			}
			return stream(1000)
		}},
		{"uploads that are refused at once, in small pieces", func(k *talker) uint32 {
			for n := range 10 {
				k.must(k.ask(stream(n), "POST", "/", false, "te", "gzip"))
				for range 100 {
					k.must(k.WriteData(stream(n), false, []byte("piece")))
				}
				k.must(k.WriteData(stream(n), true, []byte("piece")))
				k.answered(stream(n), "400")
			}
			return stream(10)
		}},
		{"an upload in pieces of one octet", func(k *talker) uint32 {
			k.must(k.ask(1, "POST", "/", false))
			for range 3000 {
				k.must(k.WriteData(1, false, []byte{'a'}))
			}
			k.must(k.WriteData(1, true, nil))
			k.answered(1, "200")
			return 3
		}},
		{"two hundred refused requests", func(k *talker) uint32 {
			for n := range 200 {
				k.must(k.ask(stream(n), "GET", "/", true, "te", "gzip"))
				k.answered(stream(n), "400")
			}
			return stream(200)
		}},
	} {
		t.Run(tc.rule, func(t *testing.T) {
			k := talk(t, e.address)
			next := tc.do(k)
			k.get(next, fmt.Sprintf("/size/%d", next))
			k.answered(next, "200")
			if _, connection := k.records(e); len(connection) != 0 {
				t.Errorf("recorded: %+v", connection)
			}
		})
	}
	b.release()
}

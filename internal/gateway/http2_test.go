package gateway_test

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// A stage2 is a backend that does what a test of HTTP/2 needs.
type stage2 struct {
	mu      sync.Mutex
	asked   int
	gone    chan string   // targets of held requests that were given up
	release func()        // ends held requests
	held    chan struct{} // closed by it
}

func newStage2() *stage2 {
	b := &stage2{gone: make(chan string, 1000), held: make(chan struct{})}
	b.release = sync.OnceFunc(func() { close(b.held) })
	return b
}

func (b *stage2) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	b.asked++
	b.mu.Unlock()
	kind, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	switch kind {
	case "size": // so many octets
		n, _ := strconv.Atoi(rest)
		w.Header().Set("Content-Length", rest)
		_, _ = w.Write(make([]byte, n))
	case "hold": // until it is released, or given up
		select {
		case <-b.held:
			_, _ = io.WriteString(w, "held")
		case <-r.Context().Done():
			b.gone <- r.URL.Path
		}
	case "hop": // fields that belong to HTTP/1
		w.Header().Set("Connection", "X-Hop")
		w.Header().Set("X-Hop", "1")
		w.Header().Set("Keep-Alive", "timeout=5")
		w.Header().Set("Proxy-Connection", "keep-alive")
		w.(http.Flusher).Flush() // chunked
		_, _ = io.WriteString(w, "hop")
	default:
		n, _ := io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, strconv.FormatInt(n, 10))
	}
}

func (b *stage2) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.asked
}

// plain2 is a gateway with one listener for HTTP/2 without TLS.
const plain2 = `
listeners: [{address: "127.0.0.1:0", protocols: [h2c]}]
limits: []
policies: {default: {inbound_threshold: 1000, rules_before: [types.conf]}}
http: {header_timeout: 1s, idle_timeout: 2s}
http2: {max_streams: 100, window: 256KiB, stream_window: 128KiB}
pools: {app: {backends: [{name: one, url: "http://$BACKEND"}], eject: {errors: 0}}}
routes: [{name: site, pool: app}]
audit: {path: audit.jsonl}
admin: {address: ""}
`

// open2 starts such a gateway. Content of the type image/png is not held.
func open2(t testing.TB, changes ...string) (*edge, *stage2) {
	t.Helper()
	b := newStage2()
	e := open(t, b, strings.NewReplacer(changes...).Replace(plain2), "types.conf",
		`SecAction "id:1001,phase:1,pass,nolog,setvar:'tx.allowed_request_content_type=|image/png|'"`)
	t.Cleanup(b.release)
	return e, b
}

// TestHTTP2 asks of a gateway what RFC 9113 and RFC 7541 ask and a case of the
// corpus cannot say, by section.
func TestHTTP2(t *testing.T) {
	e, b := open2(t)
	for _, tc := range []struct {
		section string
		test    func(t *testing.T, e *edge, b *stage2)
	}{
		{"RFC 9113 section 3.4: the server begins with SETTINGS", serverPreface},
		{"RFC 9113 section 4.2: frames stay within what the client takes", frameSize},
		{"RFC 9113 section 5.1: frames behind END_STREAM", halfClosed},
		{"RFC 9113 section 5.1: frames on a stream that has ended", closedStream},
		{"RFC 9113 section 5.1: a stream that the client reset", resetStream},
		{"RFC 9113 section 5.4.1: the last stream that was served", lastStream},
		{"RFC 9113 section 5.4.2: no RST_STREAM for an RST_STREAM", noResetForReset},
		{"RFC 9113 section 6.5.3: every SETTINGS has its ACK", acknowledged},
		{"RFC 9113 section 6.7: PING comes back as it was", pingEcho},
		{"RFC 9113 section 6.9: nothing is sent into a window of 0", windowOfZero},
		{"RFC 9113 section 6.9: the window of the connection", connectionWindow},
		{"RFC 9113 section 6.9.1: a client that sends too much", overrun},
		{"RFC 9113 section 6.9.2: a new initial window opens streams", windowGrows},
		{"RFC 9113 section 6.9.2: a window may become negative", negativeWindow},
		{"RFC 9113 section 8.1: an answer to HEAD has no content", headAnswer},
		{"RFC 9113 section 8.1: 100 (Continue) comes before the content", continued},
		{"RFC 9113 section 8.2.2: answers have no fields of the connection", cleanAnswer},
		{"RFC 9113 section 9.1: an idle connection is left in good order", idle},
		{"RFC 7541 section 4.2: a client that keeps no table", noTable},
	} {
		t.Run(tc.section, func(t *testing.T) { tc.test(t, e, b) })
	}
}

func serverPreface(t *testing.T, e *edge, _ *stage2) {
	k := talk(t, e.address)
	f, err := k.ReadFrame()
	if err != nil {
		t.Fatal(err)
	}
	s, ok := f.(*http2.SettingsFrame)
	if !ok || s.IsAck() {
		t.Fatalf("the first frame is %v", f)
	}
	if n, ok := s.Value(http2.SettingMaxConcurrentStreams); !ok || n != 100 {
		t.Errorf("MAX_CONCURRENT_STREAMS is %d, want http2.max_streams", n)
	}
	if n, ok := s.Value(http2.SettingInitialWindowSize); !ok || n != 128<<10 {
		t.Errorf("INITIAL_WINDOW_SIZE is %d, want http2.stream_window", n)
	}
	if n, ok := s.Value(http2.SettingEnablePush); ok && n != 0 {
		t.Errorf("a server says ENABLE_PUSH %d", n)
	}
	if n, ok := s.Value(http2.SettingEnableConnectProtocol); ok && n != 0 {
		t.Error("extended CONNECT is announced, and is not served")
	}
}

func frameSize(t *testing.T, e *edge, _ *stage2) {
	k := talk(t, e.address, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20})
	k.must(k.WriteWindowUpdate(0, 1<<20))
	k.SetMaxReadFrameSize(16 << 10) // ReadFrame fails for a larger one
	k.get(1, "/size/500000")
	if _, n := k.answer(1); n != 500_000 {
		t.Errorf("%d octets came, want 500000", n)
	}
}

func halfClosed(t *testing.T, e *edge, _ *stage2) {
	for name, send := range map[string]func(k *talker) error{
		"DATA":    func(k *talker) error { return k.WriteData(1, true, []byte("more")) },
		"HEADERS": func(k *talker) error { return k.ask(1, "GET", "/", true) },
	} {
		t.Run(name, func(t *testing.T) {
			k := talk(t, e.address)
			k.get(1, "/hold/half")
			k.must(send(k))
			k.failed(1, http2.ErrCodeStreamClosed)
		})
	}
	t.Run("WINDOW_UPDATE and PRIORITY may come", func(t *testing.T) {
		k := talk(t, e.address)
		k.get(1, "/hold/half")
		k.must(k.WriteWindowUpdate(1, 100), k.WritePriority(1, http2.PriorityParam{Weight: 3}))
		k.silent()
	})
}

func closedStream(t *testing.T, e *edge, _ *stage2) {
	k := talk(t, e.address)
	k.get(1, "/")
	k.answered(1, "200")
	k.must(k.WriteData(1, true, []byte("more")))
	k.failed(1, http2.ErrCodeStreamClosed)
}

func resetStream(t *testing.T, e *edge, b *stage2) {
	k := talk(t, e.address)
	before := b.count()
	k.get(1, "/hold/reset")
	for b.count() == before { // it has reached the backend
		k.quiet(unseen)
	}
	k.must(k.WriteRSTStream(1, http2.ErrCodeCancel))
	late := time.After(5 * time.Second)
	for gone := ""; gone != "/hold/reset"; {
		select {
		case gone = <-b.gone: // those of other tests, too
		case <-late:
			t.Fatal("the backend was not told that the request is given up")
		}
	}
	k.get(3, "/")
	k.answered(3, "200")
}

func lastStream(t *testing.T, e *edge, _ *stage2) {
	k := talk(t, e.address)
	k.get(1, "/")
	k.answered(1, "200")
	k.get(5, "/")
	k.answered(5, "200")
	k.must(k.WriteWindowUpdate(0, 0))
	f := k.await("GOAWAY", func(f http2.Frame) bool { _, ok := f.(*http2.GoAwayFrame); return ok }).(*http2.GoAwayFrame)
	if f.ErrCode != http2.ErrCodeProtocol || f.LastStreamID != 5 {
		t.Errorf("GOAWAY with %s and stream %d, want PROTOCOL_ERROR and 5", f.ErrCode, f.LastStreamID)
	}
	for {
		if _, err := k.ReadFrame(); err != nil {
			break // the connection has ended, or the deadline of the talker passes
		}
	}
	if _, connection := k.records(e); len(connection) != 1 {
		t.Errorf("%d records of the connection, want 1: %+v", len(connection), connection)
	}
}

func noResetForReset(t *testing.T, e *edge, _ *stage2) {
	k := talk(t, e.address)
	k.get(1, "/")
	k.answered(1, "200")
	for range 5 {
		k.must(k.WriteRSTStream(1, http2.ErrCodeStreamClosed))
	}
	k.silent()
}

func acknowledged(t *testing.T, e *edge, _ *stage2) {
	k := talk(t, e.address)
	for range 3 { // net/http makes one of several that come together
		k.await("an ACK", func(f http2.Frame) bool { s, ok := f.(*http2.SettingsFrame); return ok && s.IsAck() })
		k.must(k.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1}))
	}
	k.await("an ACK", func(f http2.Frame) bool { s, ok := f.(*http2.SettingsFrame); return ok && s.IsAck() })
	k.must(k.WriteSettingsAck())
	k.quiet(func(f http2.Frame) {
		if _, ok := f.(*http2.SettingsFrame); ok {
			t.Errorf("an ACK too many, or one for an ACK: %v", f)
		}
	})
}

func pingEcho(t *testing.T, e *edge, _ *stage2) {
	k := talk(t, e.address)
	k.get(1, "/hold/ping") // a request that is under way does not matter
	want := [8]byte{0, 1, 2, 0xff, 0xfe, 5, 6, 7}
	k.must(k.WritePing(true, [8]byte{9}), k.WritePing(false, want))
	f := k.await("the answer to a PING", func(f http2.Frame) bool { _, ok := f.(*http2.PingFrame); return ok }).(*http2.PingFrame)
	if !f.IsAck() || f.Data != want {
		t.Errorf("PING came back as %v with %x", f, f.Data)
	}
}

// collect reads DATA of any stream until so many octets have come, and proves
// that no more come.
func (k *talker) collect(want int) {
	k.t.Helper()
	got := 0
	count := func(f http2.Frame) {
		if d, ok := f.(*http2.DataFrame); ok {
			got += len(d.Data())
		}
	}
	for got < want {
		k.await("DATA", func(f http2.Frame) bool { count(f); return true })
	}
	if k.quiet(count); got != want {
		k.t.Errorf("%d octets came, want %d and no more", got, want)
	}
}

func windowOfZero(t *testing.T, e *edge, _ *stage2) {
	k := talk(t, e.address, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	k.get(1, "/size/5000")
	k.await("the head of the answer", func(f http2.Frame) bool { _, ok := f.(*http2.MetaHeadersFrame); return ok })
	k.collect(0)
	k.must(k.WriteWindowUpdate(1, 1))
	k.collect(1)
	k.must(k.WriteWindowUpdate(1, 999))
	k.collect(999)
	k.must(k.WriteWindowUpdate(1, 5000))
	k.collect(4000)
}

func connectionWindow(t *testing.T, e *edge, _ *stage2) {
	const initial = 65535 // RFC 9113 section 6.9.2; SETTINGS do not change it
	k := talk(t, e.address, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20})
	k.get(1, "/size/50000")
	k.get(3, "/size/50000")
	k.collect(initial)
	k.must(k.WriteWindowUpdate(1, 10_000))
	k.collect(0)
	k.must(k.WriteWindowUpdate(0, 10_000))
	k.collect(10_000)
	k.must(k.WriteWindowUpdate(0, 1<<20))
	k.collect(100_000 - initial - 10_000)
}

func windowGrows(t *testing.T, e *edge, _ *stage2) {
	k := talk(t, e.address, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	k.get(1, "/size/5000")
	k.collect(0)
	k.must(k.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 3000}))
	k.collect(3000)
	k.must(k.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 4000}))
	k.collect(1000)
	k.get(3, "/size/4001")
	k.collect(4000)
}

func negativeWindow(t *testing.T, e *edge, _ *stage2) {
	k := talk(t, e.address, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1000})
	k.get(1, "/size/5000")
	k.collect(1000)
	k.must(k.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 400})) // the window is -600
	k.must(k.WriteWindowUpdate(1, 600))
	k.collect(0)
	k.must(k.WriteWindowUpdate(1, 10))
	k.collect(10)
	k.must(k.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 500}))
	k.collect(100)
}

// overrun sends content that nobody takes until the windows are used up, and
// one octet more.
func overrun(t *testing.T, e *edge, _ *stage2) {
	k := talk(t, e.address)
	k.must(k.ask(1, "POST", "/hold/overrun", false, "content-type", "image/png"))
	stream, conn := 0, 65535
	account := func(f http2.Frame) {
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if n, ok := f.Value(http2.SettingInitialWindowSize); ok {
				stream = int(n)
			}
		case *http2.WindowUpdateFrame:
			if f.StreamID == 0 {
				conn += int(f.Increment)
			} else {
				stream += int(f.Increment)
			}
		}
	}
	k.quiet(account)
	// Sockets take some of it too; nothing has moved for a while at the end.
	for still := 0; still < 50; still++ {
		for n := min(stream, conn, 16<<10); n > 0; n = min(stream, conn, 16<<10) {
			k.must(k.WriteData(1, false, make([]byte, n)))
			stream, conn, still = stream-n, conn-n, 0
		}
		k.quiet(account)
		time.Sleep(2 * time.Millisecond)
	}
	if stream > 0 {
		t.Fatalf("the window of the connection is used up before that of the stream: %d and %d", stream, conn)
	}
	k.must(k.WriteData(1, false, []byte{0}))
	k.failed(1, http2.ErrCodeFlowControl)
}

func headAnswer(t *testing.T, e *edge, _ *stage2) {
	k := talk(t, e.address)
	k.must(k.ask(1, "HEAD", "/size/500", true))
	head, n := k.answer(1)
	if n != 0 || head.PseudoValue("status") != "200" {
		t.Errorf("%d octets, head %v", n, head)
	}
	for _, f := range head.RegularFields() {
		if f.Name == "content-length" && f.Value != "500" {
			t.Errorf("content-length is %q, want that of GET", f.Value)
		}
	}
}

func continued(t *testing.T, e *edge, _ *stage2) {
	k := talk(t, e.address)
	k.must(k.ask(1, "POST", "/", false, "expect", "100-continue", "content-length", "5"))
	f := k.await("an interim response", func(f http2.Frame) bool { _, ok := f.(*http2.MetaHeadersFrame); return ok }).(*http2.MetaHeadersFrame)
	if f.PseudoValue("status") != "100" || f.StreamEnded() {
		t.Fatalf("%v, want 100", f)
	}
	k.must(k.WriteData(1, true, []byte("hello")))
	k.answered(1, "200")
}

func cleanAnswer(t *testing.T, e *edge, _ *stage2) {
	k := talk(t, e.address)
	k.get(1, "/hop/")
	for _, f := range k.answered(1, "200").Fields {
		switch f.Name {
		case "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "x-hop":
			t.Errorf("%s: %q came up from the backend", f.Name, f.Value)
		}
		if strings.ToLower(f.Name) != f.Name {
			t.Errorf("%s is not in lower case", f.Name)
		}
	}
}

func idle(t *testing.T, e *edge, _ *stage2) {
	k := talk(t, e.address)
	k.get(1, "/")
	k.answered(1, "200")
	f := k.await("GOAWAY", func(f http2.Frame) bool { _, ok := f.(*http2.GoAwayFrame); return ok }).(*http2.GoAwayFrame)
	if f.ErrCode != http2.ErrCodeNo {
		t.Errorf("GOAWAY with %s", f.ErrCode)
	}
	if _, connection := k.records(e); len(connection) != 0 {
		t.Errorf("recorded: %+v", connection)
	}
}

func noTable(t *testing.T, e *edge, _ *stage2) {
	k := talk(t, e.address, http2.Setting{ID: http2.SettingHeaderTableSize, Val: 0})
	k.await("an ACK", func(f http2.Frame) bool { s, ok := f.(*http2.SettingsFrame); return ok && s.IsAck() })
	k.ReadMetaHeaders = hpack.NewDecoder(0, nil) // any index beyond the static table is an error
	for stream := uint32(1); stream < 9; stream += 2 {
		k.get(stream, "/")
		k.answered(stream, "200")
	}
}

// TestHTTP2Streams holds that no more streams are served at once than were
// announced (RFC 9113 section 5.1.2), and that others go on.
func TestHTTP2Streams(t *testing.T) {
	e, b := open2(t, "max_streams: 100", "max_streams: 3", "idle_timeout: 2s", "idle_timeout: 1m")
	k := talk(t, e.address)
	for stream := uint32(1); stream < 7; stream += 2 {
		k.get(stream, "/hold/"+strconv.Itoa(int(stream)))
	}
	k.get(7, "/")
	k.failed(7, http2.ErrCodeRefusedStream, http2.ErrCodeProtocol)
	if n := b.count(); n > 3 {
		t.Errorf("%d requests reached the backend", n)
	}
	b.release()
	for stream := uint32(1); stream < 7; stream += 2 {
		k.await("an answer", func(f http2.Frame) bool { d, ok := f.(*http2.DataFrame); return ok && d.StreamEnded() })
	}
	k.get(9, "/")
	k.answered(9, "200")
}

// TestHTTP2Shutdown holds that a gateway that stops says so, answers what is
// under way, and takes no more (RFC 9113 section 6.8).
func TestHTTP2Shutdown(t *testing.T) {
	e, b := open2(t, "idle_timeout: 2s", "idle_timeout: 1m")
	k := talk(t, e.address)
	k.get(1, "/hold/last")
	for b.count() == 0 {
		k.quiet(unseen)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		e.close(t)()
	}()
	f := k.await("GOAWAY", func(f http2.Frame) bool { _, ok := f.(*http2.GoAwayFrame); return ok }).(*http2.GoAwayFrame)
	if f.ErrCode != http2.ErrCodeNo || f.LastStreamID < 1 {
		t.Errorf("GOAWAY with %s and stream %d", f.ErrCode, f.LastStreamID)
	}
	b.release()
	k.answered(1, "200")
	<-done
	for {
		if _, err := k.ReadFrame(); err != nil {
			break
		}
	}
	if requests, connection := k.records(e); len(requests) != 1 || len(connection) != 0 {
		t.Errorf("%d records of requests and %d of the connection, want 1 and 0", len(requests), len(connection))
	}
}

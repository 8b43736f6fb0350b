package gateway_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"sallyport/internal/gate"
	"sallyport/internal/wire"
)

// A talker speaks HTTP/2 with a gateway frame by frame, and is told of each
// frame that comes.
type talker struct {
	*http2.Framer
	t     testing.TB
	conn  net.Conn
	began time.Time // the port may have been another connection's before
	block bytes.Buffer
	enc   *hpack.Encoder
}

// talk opens a connection and begins it.
func talk(t testing.TB, address string, settings ...http2.Setting) *talker {
	t.Helper()
	began := time.Now()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	k := &talker{Framer: http2.NewFramer(c, c), t: t, conn: c, began: began}
	k.enc = hpack.NewEncoder(&k.block)
	k.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	k.AllowIllegalWrites = true
	if _, err := io.WriteString(c, wire.Preface); err != nil {
		t.Fatal(err)
	}
	k.must(k.WriteSettings(settings...))
	return k
}

func (k *talker) must(errs ...error) {
	k.t.Helper()
	if err := errors.Join(errs...); err != nil {
		k.t.Fatalf("writing: %v", err)
	}
}

// fields encodes pairs of names and values.
func (k *talker) fields(pairs ...string) []byte {
	k.block.Reset()
	for i := 0; i < len(pairs); i += 2 {
		_ = k.enc.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]}) // a Buffer takes everything
	}
	return k.block.Bytes()
}

// ask opens a stream with a request that may have content, and more fields.
func (k *talker) ask(stream uint32, method, target string, ends bool, more ...string) error {
	block := k.fields(append([]string{":method", method, ":scheme", "http", ":authority", "a.example", ":path", target}, more...)...)
	return k.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block, EndStream: ends, EndHeaders: true})
}

// get asks for a page.
func (k *talker) get(stream uint32, target string) {
	k.t.Helper()
	k.must(k.ask(stream, "GET", target, true))
}

// await reads frames until one satisfies.
func (k *talker) await(what string, satisfies func(http2.Frame) bool) http2.Frame {
	k.t.Helper()
	for {
		f, err := k.ReadFrame()
		if err != nil {
			k.t.Fatalf("waiting for %s: %v", what, err)
		}
		if p, ok := f.(*http2.PingFrame); ok && !p.IsAck() {
			k.must(k.WritePing(true, p.Data)) // is the client still there?
		}
		if satisfies(f) {
			return f
		}
	}
}

// quiet proves by a PING that nothing more comes by itself. The frames that
// come before its answer are shown to see, one at a time.
func (k *talker) quiet(see func(http2.Frame)) {
	k.t.Helper()
	data := [8]byte{'q', 'u', 'i', 'e', 't'}
	k.must(k.WritePing(false, data))
	k.await("the answer to a PING", func(f http2.Frame) bool {
		if p, ok := f.(*http2.PingFrame); ok && p.IsAck() && p.Data == data {
			return true
		}
		see(f)
		return false
	})
}

// unseen passes over frames.
func unseen(http2.Frame) {}

// silent proves that the connection goes on, and that no stream was reset.
func (k *talker) silent() {
	k.t.Helper()
	k.quiet(func(f http2.Frame) {
		switch f.(type) {
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			k.t.Errorf("answered with %v", f)
		}
	})
}

// answer reads the answer on a stream: its status, its fields, and how many
// octets it has. Frames of other streams are passed over.
func (k *talker) answer(stream uint32) (head *http2.MetaHeadersFrame, octets int) {
	k.t.Helper()
	k.await("an answer", func(f http2.Frame) bool {
		if f.Header().StreamID != stream {
			return false
		}
		switch f := f.(type) {
		case *http2.MetaHeadersFrame:
			if head == nil || head.PseudoValue("status")[0] == '1' {
				head = f
			}
			return f.StreamEnded()
		case *http2.DataFrame:
			octets += len(f.Data())
			return f.StreamEnded()
		case *http2.RSTStreamFrame:
			k.t.Fatalf("stream %d was reset with %s", stream, f.ErrCode)
		}
		return false
	})
	return head, octets
}

// answered reads an answer and holds its status against what is wanted.
func (k *talker) answered(stream uint32, status string) *http2.MetaHeadersFrame {
	k.t.Helper()
	head, _ := k.answer(stream)
	if got := head.PseudoValue("status"); got != status {
		k.t.Fatalf("stream %d was answered %s, want %s", stream, got, status)
	}
	return head
}

// failed reads until a stream is reset or the connection ends for it, and
// holds the code against what is wanted: a stream error may be made one of the
// connection (RFC 9113 section 5.4.1).
func (k *talker) failed(stream uint32, codes ...http2.ErrCode) {
	k.t.Helper()
	var got http2.ErrCode
	k.await("a reset or GOAWAY", func(f http2.Frame) bool {
		switch f := f.(type) {
		case *http2.RSTStreamFrame:
			got = f.ErrCode
			return f.StreamID == stream
		case *http2.GoAwayFrame:
			got = f.ErrCode
			return got != http2.ErrCodeNo
		}
		return false
	})
	for _, c := range codes {
		if c == got {
			return
		}
	}
	k.t.Errorf("stream %d ended with %s, want %v", stream, got, codes)
}

// records returns the records of this connection: of its requests, and of the
// connection itself.
func (k *talker) records(e *edge) (requests, connection []gate.Record) {
	peer := k.conn.LocalAddr().String()
	e.notes.mu.Lock()
	defer e.notes.mu.Unlock()
	for _, r := range e.notes.list {
		switch {
		case r.Client.Peer != peer, r.Time.Before(k.began):
		case r.Request.Method == "":
			connection = append(connection, r)
		default:
			requests = append(requests, r)
		}
	}
	return requests, connection
}

package strict

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"sallyport/internal/gate"
)

// A script2 yields what a function says, then the end.
type script2 struct{ scriptConn }

func (c *script2) SetWriteDeadline(time.Time) error { return nil }
func (c *script2) Write(p []byte) (int, error)      { return len(p), nil }
func (c *script2) RemoteAddr() net.Addr             { return &net.TCPAddr{} }

// handedOnInFrames reads all that the guard hands on of raw, cut by seed, and what it
// kept for the handlers, in words.
func handedOnInFrames(t *testing.T, raw []byte, seed uint32) (out []byte, heads []string) {
	c := NewHTTP2Conn(&script2{scriptConn{next: cutter(raw, seed)}}, Limits{}, Hooks{})
	defer c.Close()
	p := make([]byte, 1+seed%3000)
	for {
		n, err := c.Read(p)
		out = append(out, p[:n]...)
		if err != nil {
			break
		}
		if n == 0 {
			t.Fatal("nothing was read, and no error")
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.streams) > 2*c.lim.MaxStreams+maxLate+1 {
		t.Fatalf("%d streams are kept", len(c.streams))
	}
	for id, st := range c.streams {
		h := st.head
		why := ""
		if h.Rejection != nil {
			why = string(h.Rejection.Reason)
		}
		broken := gate.Reason("")
		if st.broken != nil {
			broken = st.broken.Verdict.Reason
		}
		heads = append(heads, fmt.Sprintf("%d %s %s %s %q %d %s, %d of %d, %v, %s", id, h.Method, h.Received, h.Host, h.Fields, h.Length, why, st.received, st.declared, st.ended, broken))
	}
	slices.Sort(heads)
	return out, heads
}

// seeds2 are connections as clients open them, and some that nobody should.
func seeds2() [][]byte {
	var seeds [][]byte
	for _, list := range [][]gate.Field{
		get("user-agent", "x", "cookie", "a=b", "cookie", "c=d"), request("POST", "a", "/", "content-length", "5"), get("te", "gzip"),
		sent(":method", "GET"), get("x", "a\r\nb"), request("OPTIONS", "a", "*", "expect", "100-continue"),
	} {
		for _, ended := range []bool{true, false} {
			var b, block bytes.Buffer
			b.WriteString(http2.ClientPreface)
			fr := http2.NewFramer(&b, nil)
			fr.AllowIllegalWrites = true
			enc := hpack.NewEncoder(&block)
			_ = fr.WriteSettings()
			for id := uint32(1); id < 8; id += 2 {
				block.Reset()
				for _, f := range list {
					_ = enc.WriteField(hpack.HeaderField{Name: f.Name, Value: f.Value})
				}
				half := block.Len() / 2
				_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block.Bytes()[:half], EndStream: ended, PadLength: uint8(id), Priority: http2.PriorityParam{Weight: uint8(id)}})
				_ = fr.WriteContinuation(id, true, block.Bytes()[half:])
				if !ended {
					_ = fr.WriteDataPadded(id, id == 3, []byte("hel"), make([]byte, id))
					_ = fr.WriteData(id, id == 5, []byte("lo"))
					block.Reset()
					_ = enc.WriteField(hpack.HeaderField{Name: "x-sum", Value: "1"})
					_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block.Bytes(), EndStream: true, EndHeaders: true})
				}
				_ = fr.WriteWindowUpdate(id, 10)
				_ = fr.WritePing(id == 1, [8]byte{})
			}
			_ = fr.WriteRSTStream(1, http2.ErrCodeCancel)
			_ = fr.WritePriority(9, http2.PriorityParam{})
			_ = fr.WriteGoAway(0, 0, nil)
			seeds = append(seeds, b.Bytes())
		}
	}
	return seeds
}

// FuzzHTTP2Conn holds that the guard hands on the same frames and keeps the
// same heads however a connection is cut; that all of it are frames; and that
// the field lists among them say nothing but the method and the number of the
// stream, under which a head waits.
func FuzzHTTP2Conn(f *testing.F) {
	for i, raw := range seeds2() {
		f.Add(raw[prefaceLength:], uint32(i))
	}
	f.Fuzz(func(t *testing.T, raw []byte, seed uint32) {
		if len(raw) > 4<<10 { // no flood
			return
		}
		raw = append([]byte(http2.ClientPreface), raw...)
		out, heads := handedOnInFrames(t, raw, 0)
		cut, headsCut := handedOnInFrames(t, raw, seed|1)
		if !bytes.Equal(out, cut) || !slices.Equal(heads, headsCut) {
			t.Fatalf("%q is handed on as\n%q %q, and in pieces as\n%q %q", raw, out, heads, cut, headsCut)
		}
		if len(out) < prefaceLength {
			return
		}
		dec := hpack.NewDecoder(tableSize, nil)
		for b := out[prefaceLength:]; len(b) >= frameHeaderLength; {
			h := parseFrameHeader(b)
			if h.length > maxFrame || len(b) < frameHeaderLength+h.length {
				return // net/http ends the connection, or the client has
			}
			payload := b[frameHeaderLength : frameHeaderLength+h.length]
			b = b[frameHeaderLength+h.length:]
			if h.kind != frameHeaders {
				continue
			}
			block, _, ok := fragment(h, payload)
			if !ok || !h.has(flagEndHeaders) || h.stream == 0 {
				return // likewise
			}
			fields, err := dec.DecodeFull(block)
			if err != nil {
				return // likewise
			}
			if len(fields) < 3 || len(fields) > 4 || fields[0].Name != ":method" || fields[1].Name != ":scheme" ||
				fields[2].Name != ":path" || fields[2].Value != string(appendTicket(nil, h.stream)) ||
				len(fields) == 4 && fields[3] != (hpack.HeaderField{Name: "expect", Value: "100-continue"}) {
				t.Fatalf("net/http is told %v", fields)
			}
		}
	})
}

// TestHTTP2Heads takes the heads of a connection as handlers do.
func TestHTTP2Heads(t *testing.T) {
	t.Parallel()
	for i, raw := range seeds2() {
		c := NewHTTP2Conn(&script2{scriptConn{next: cutter(raw, 0)}}, Limits{}, Hooks{})
		_, _ = io.Copy(io.Discard, c)
		for id := uint32(3); id < 8; id += 2 { // the first was reset
			c.mu.Lock()
			method := c.streams[id].method
			c.mu.Unlock()
			r := &http.Request{Method: method, RequestURI: string(appendTicket(nil, id)), Body: http.NoBody}
			if h := c.Head(r); h.Rejection != nil && h.Rejection.Reason == gate.GatewayUnpaired || h.Proto != "HTTP/2.0" {
				t.Errorf("%d: head %+v, %+v", i, h, h.Rejection)
			}
			if h := c.Head(r); h.Rejection == nil || h.Rejection.Reason != gate.GatewayUnpaired {
				t.Errorf("%d: a head was handed out twice: %+v", i, h)
			}
		}
		for target, want := range map[string]gate.Reason{
			"/1": gate.PoolClientGone, "/2": gate.GatewayUnpaired, "/9": gate.GatewayUnpaired, "/x": gate.GatewayUnpaired, "": gate.GatewayUnpaired,
		} {
			if h := c.Head(&http.Request{Method: "GET", RequestURI: target}); h.Rejection == nil || h.Rejection.Reason != want {
				t.Errorf("%d: %q has the head %+v, want %s", i, target, h.Rejection, want)
			}
		}
		_ = c.Close()
	}
}

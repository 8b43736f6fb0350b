package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// TestCompile holds the octets of every kind of line against those that
// RFC 9113 section 6 and RFC 7541 section 6 give them.
func TestCompile(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ rule, src, want string }{
		{"data", `DATA 1 END_STREAM "hi" 00ff`, "000004 00 01 00000001 6869 00ff"},
		{"padded data", `DATA 3 pad=2 "a"`, "000004 00 08 00000003 02 61 0000"},
		{"a pad length that is wrong", `DATA 3 pad=0 claim=9 "a"`, "000002 00 08 00000003 09 61"},
		{"more flags", `DATA 3 flags=0xf6 END_STREAM`, "000000 00 f7 00000003"},
		{"a reset", `RST_STREAM 5 CANCEL`, "000004 03 00 00000005 00000008"},
		{"a reset with a number", `RST_STREAM 5 0x1234`, "000004 03 00 00000005 00001234"},
		{"a window update", `WINDOW_UPDATE 0 1000`, "000004 08 00 00000000 000003e8"},
		{"a priority", `PRIORITY 3 priority=1,16`, "000005 02 00 00000003 00000001 0f"},
		{"an exclusive priority", `PRIORITY 3 priority=1,256,exclusive`, "000005 02 00 00000003 80000001 ff"},
		{"settings", `SETTINGS MAX_FRAME_SIZE=16384 0x9=1`, "00000c 04 00 00000000 000500004000 000900000001"},
		{"an ack", `SETTINGS ACK`, "000000 04 01 00000000"},
		{"a ping", `PING ACK "12345678"`, "000008 06 01 00000000 3132333435363738"},
		{"goaway", `GOAWAY last=3 NO_ERROR "x"`, "000009 07 00 00000000 00000003 00000000 78"},
		{"any frame", `FRAME 0x42 0xff 0x80000001 "x"`, "000001 42 ff 80000001 78"},
		{"a frame by its name", `FRAME SETTINGS 0 1`, "000000 04 00 00000001"},
		{"no frame", `RAW ff "\r\n"`, "ff0d0a"},
		{"a field", "HEADERS 1 END_HEADERS\n  a: b c", "000007 01 04 00000001 00 0161 03622063"},
		{"fields of the tables", "HEADERS 1\n  @indexed 2\n  @name=1 : x\n  @indexed 62", "000005 01 00 00000001 82 01 0178 be"},
		{"ways to write a literal", "HEADERS 1\n  @index a: b\n  @never a: b", "00000a 01 00 00000001 40 01610162 10 01610162"},
		{"Huffman code", "HEADERS 1\n  @huffman :path: /index.html", huffman(":path", "/index.html")},
		{"several times", "HEADERS 1\n  @index,times=2 a: b", "00000a 01 00 00000001 40 01610162 40 01610162"},
		{"a size update", "HEADERS 1\n  @size 4097", "000003 01 00 00000001 3fe21f"},
		{"anything", "HEADERS 1\n  @raw 80 \"a\"", "000002 01 00 00000001 8061"},
		{"no name", "HEADERS 1\n  : a", "000004 01 00 00000001 00 00 0161"},
		{"a colon in a name", "HEADERS 1\n  a\\x3a: b", "000006 01 00 00000001 00 02613a 0162"},
		{"a long name", "HEADERS 1\n  \\{3:x:\\}: b", "00000a 01 00 00000001 00 06783a783a783a 0162"},
		{"padding and priority", "HEADERS 1 END_HEADERS pad=1 priority=0,1\n  @indexed 2", "000008 01 2c 00000001 01 00000000 00 82 00"},
		{"a promise", "PUSH_PROMISE 1 promise=2\n  @indexed 2", "000005 05 00 00000001 00000002 82"},
		{"a block that is split", "HEADERS 1 END_HEADERS END_STREAM split=2\n  @raw 8284868788", "000002 01 01 00000001 8284 000002 09 00 00000001 8687 000001 09 04 00000001 88"},
		{"a block that is not worth it", "HEADERS 1 END_HEADERS split=9\n  @raw 82", "000001 01 04 00000001 82"},
		{"remarks", "# nothing\n\nRAW 01\n# more", "01"},
	} {
		want, err := hex.DecodeString(strings.ReplaceAll(tc.want, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		got, _, err := compile("PREFACE\n" + tc.src)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %x, %v, want %x", tc.rule, got, err, want)
		}
	}
}

// huffman is a HEADERS frame on stream 1 with one literal in Huffman code.
func huffman(name, value string) string {
	b := []byte{0}
	for _, s := range []string{name, value} {
		b = append(b, 0x80|byte(hpack.HuffmanEncodeLength(s)))
		b = hpack.AppendHuffmanString(b, s)
	}
	return hex.EncodeToString(append([]byte{0, 0, byte(len(b)), 1, 0, 0, 0, 0, 1}, b...))
}

func TestPrefaceAndWaits(t *testing.T) {
	t.Parallel()
	raw, waits, err := compile("RAW 01\nWAIT 3\nRAW 02\n")
	if want := Preface + "\x00\x00\x00\x04\x00\x00\x00\x00\x00\x01\x02"; err != nil || string(raw) != want || !slices.Equal(waits, []Wait{{len(want) - 1, 3}}) {
		t.Errorf("compile = %q, %v, %v, want %q", raw, waits, err, want)
	}
	if raw, _, err := compile("PREFACE \"hello\"\nRAW 01"); err != nil || string(raw) != "hello\x01" {
		t.Errorf("with a preface of its own: %q, %v", raw, err)
	}
}

// TestExchange reads what another implementation writes.
func TestExchange(t *testing.T) {
	t.Parallel()
	var b, block bytes.Buffer
	fr := http2.NewFramer(&b, nil)
	enc := hpack.NewEncoder(&block)
	head := func(fields ...string) []byte {
		block.Reset()
		for i := 0; i < len(fields); i += 2 {
			if err := enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}); err != nil {
				t.Fatal(err)
			}
		}
		return bytes.Clone(block.Bytes())
	}
	interim, final, trailer := head(":status", "100"), head(":status", "200", "x-request-id", "abc"), head("x-sum", "1")
	if err := errors.Join(
		fr.WriteSettings(),
		fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: interim, EndHeaders: true}),
		fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: final[:3], PadLength: 4, Priority: http2.PriorityParam{Weight: 1}}),
		fr.WriteContinuation(1, true, final[3:]),
		fr.WriteDataPadded(1, false, []byte("hel"), []byte{0, 0}),
		fr.WriteData(1, false, []byte("lo")),
		fr.WriteRSTStream(3, http2.ErrCodeStreamClosed),
		fr.WriteRSTStream(3, http2.ErrCodeProtocol),
		fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: trailer, EndHeaders: true, EndStream: true}),
		fr.WriteGoAway(3, http2.ErrCodeNo, nil),
	); err != nil {
		t.Fatal(err)
	}
	var x Exchange
	for b.Len() > 0 {
		if e := x.Ending(1); e.Kind != Unfinished {
			t.Fatalf("stream 1 has ended early: %s", e)
		}
		if err := x.Next(&b); err != nil {
			t.Fatal(err)
		}
		if s := x.Stream(1); s != nil && s.Ended {
			break
		}
	}
	if s := x.Stream(1); s.Status != 200 || string(s.Body) != "hello" || s.Get("x-request-id") != "abc" || s.Get("nothing") != "" {
		t.Errorf("stream 1 = %+v", s)
	}
	if e := x.Ending(1); e != (Ending{Kind: Answered, Status: 200}) {
		t.Errorf("Ending(1) = %s", e)
	}
	if e := x.Ending(3); e != (Ending{Kind: Reset, Code: 5}) {
		t.Errorf("Ending(3) = %s, want the first reset", e)
	}
	if err := x.Next(&b); err != nil {
		t.Fatal(err)
	}
	if e := x.Ending(0); e.Kind != Unfinished || !slices.Equal(x.Streams(), []uint32{1, 3}) {
		t.Errorf("a GOAWAY without an error: Ending(0) = %s, streams %v", e, x.Streams())
	}
	if err := x.Next(&b); err != io.EOF || !x.Ended() || x.Ending(0).Kind != Closed || x.Ending(5).Kind != Closed {
		t.Errorf("at the end: %v, Ending(0) = %s", err, x.Ending(0))
	}
	if err := fr.WriteGoAway(3, http2.ErrCodeProtocol, nil); err != nil {
		t.Fatal(err)
	}
	if err := x.Next(&b); err != nil || x.Ending(5) != (Ending{Kind: GoneAway, Code: 1}) {
		t.Errorf("after GOAWAY: %v, Ending(5) = %s", err, x.Ending(5))
	}
}

func TestExchangeRefusesWhatItCannotRead(t *testing.T) {
	t.Parallel()
	for rule, raw := range map[string]string{
		"a frame that is too large":           "HTTP/1.1 400 Bad Request\r\n\r\n",
		"padding longer than the frame":       "\x00\x00\x01\x00\x08\x00\x00\x00\x01\x01",
		"CONTINUATION without a block":        "\x00\x00\x00\x09\x04\x00\x00\x00\x01",
		"RST_STREAM that is too short":        "\x00\x00\x01\x03\x00\x00\x00\x00\x01\x00",
		"GOAWAY that is too short":            "\x00\x00\x01\x07\x00\x00\x00\x00\x00\x00",
		"a block that cannot be decoded":      "\x00\x00\x01\x01\x04\x00\x00\x00\x01\x80",
		"a frame that ends before its length": "\x00\x00\x09\x00\x00\x00\x00\x00\x01\x80",
	} {
		var x Exchange
		if err := x.Next(strings.NewReader(raw)); err == nil {
			t.Errorf("%s: no error, %v", rule, x.Streams())
		}
	}
}

// TestExchangeTellsSilenceFromTheEnd: a deadline is no end of the connection.
func TestExchangeTellsSilenceFromTheEnd(t *testing.T) {
	t.Parallel()
	client, server := net.Pipe()
	defer server.Close()
	_ = client.SetReadDeadline(time.Unix(1, 0))
	var x Exchange
	if err := x.Next(client); !errors.Is(err, os.ErrDeadlineExceeded) || x.Ended() {
		t.Errorf("Next = %v, Ended = %t", err, x.Ended())
	}
}

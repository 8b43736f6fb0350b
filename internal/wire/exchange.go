package wire

import (
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strconv"

	"golang.org/x/net/http2/hpack"
)

// An Exchange is what a server has sent on one HTTP/2 connection. The zero
// value is ready for use.
type Exchange struct {
	streams map[uint32]*Response
	goAway  []uint32 // the codes, in order
	ended   bool
	decoder *hpack.Decoder
	block   *heads // the field block that is being read
}

// A Response is what a server has sent on one stream.
type Response struct {
	Status int // 0: no head, or interim ones only
	Fields []hpack.HeaderField
	Body   []byte
	Ended  bool
	Reset  bool
	Code   uint32 // of the reset
}

type heads struct {
	stream   uint32
	ends     bool // the stream
	fragment []byte
}

// Get returns the first value of a field of the response.
func (r *Response) Get(name string) string {
	i := slices.IndexFunc(r.Fields, func(f hpack.HeaderField) bool { return f.Name == name })
	if i < 0 {
		return ""
	}
	return r.Fields[i].Value
}

// Stream returns what came on a stream, nil when nothing has.
func (x *Exchange) Stream(id uint32) *Response { return x.streams[id] }

// Streams lists the streams on which something came, in order.
func (x *Exchange) Streams() []uint32 {
	ids := make([]uint32, 0, len(x.streams))
	for id := range x.streams {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// Ended reports whether the server has closed the connection.
func (x *Exchange) Ended() bool { return x.ended }

// Ending tells how a stream has ended, or with 0 the connection. The end of
// the connection ends the streams that are open, and a GOAWAY with an error
// announces it.
func (x *Exchange) Ending(stream uint32) Ending {
	if r := x.streams[stream]; r != nil {
		switch {
		case r.Ended:
			return Ending{Kind: Answered, Status: r.Status}
		case r.Reset:
			return Ending{Kind: Reset, Code: r.Code}
		}
	}
	for _, code := range x.goAway {
		if code != 0 {
			return Ending{Kind: GoneAway, Code: code}
		}
	}
	if x.ended {
		return Ending{Kind: Closed}
	}
	return Ending{}
}

// maxAnswer is the longest frame that is read: what a server may send to a
// client that has not asked for more (RFC 9113 section 4.2).
const maxAnswer = 16 << 10

// Next reads one frame. At the end of the connection it returns an error, and
// Ended reports true unless the error was a deadline or no HTTP/2.
func (x *Exchange) Next(r io.Reader) error {
	var head [9]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		x.ended = !isTimeout(err)
		return err
	}
	n := int(head[0])<<16 | int(head[1])<<8 | int(head[2])
	if n > maxAnswer {
		return fmt.Errorf("a frame of %d octets, or no HTTP/2: %q", n, head)
	}
	payload := make([]byte, n)
	if _, err := io.ReadFull(r, payload); err != nil {
		x.ended = !isTimeout(err)
		return err
	}
	return x.frame(uint32(head[3]), head[4], binary.BigEndian.Uint32(head[5:])&^(1<<31), payload)
}

func isTimeout(err error) bool {
	t, ok := err.(interface{ Timeout() bool })
	return ok && t.Timeout()
}

// frame takes in one frame.
func (x *Exchange) frame(kind uint32, flags byte, stream uint32, payload []byte) error {
	switch kind {
	case frameData, frameHeaders:
		if flags&flagNames["PADDED"] != 0 {
			if len(payload) == 0 || int(payload[0]) >= len(payload) {
				return fmt.Errorf("padding longer than the frame on stream %d", stream)
			}
			payload = payload[1 : len(payload)-int(payload[0])]
		}
		if kind == frameHeaders {
			if flags&flagNames["PRIORITY"] != 0 {
				payload = payload[min(5, len(payload)):]
			}
			x.block = &heads{stream: stream, ends: flags&flagNames["END_STREAM"] != 0}
			return x.fragment(flags, payload)
		}
		s := x.open(stream)
		s.Body = append(s.Body, payload...)
		s.Ended = s.Ended || flags&flagNames["END_STREAM"] != 0
	case frameContinuation:
		if x.block == nil || x.block.stream != stream {
			return fmt.Errorf("a CONTINUATION that continues nothing, on stream %d", stream)
		}
		return x.fragment(flags, payload)
	case frameReset:
		if len(payload) != 4 {
			return fmt.Errorf("RST_STREAM of %d octets", len(payload))
		}
		if s := x.open(stream); !s.Reset { // what comes behind it answers frames that were under way
			s.Reset, s.Code = true, binary.BigEndian.Uint32(payload)
		}
	case frameGoAway:
		if len(payload) < 8 {
			return fmt.Errorf("GOAWAY of %d octets", len(payload))
		}
		x.goAway = append(x.goAway, binary.BigEndian.Uint32(payload[4:]))
	}
	return nil
}

func (x *Exchange) open(stream uint32) *Response {
	if x.streams == nil {
		x.streams = map[uint32]*Response{}
	}
	if x.streams[stream] == nil {
		x.streams[stream] = &Response{}
	}
	return x.streams[stream]
}

// fragment takes in a part of a field block, and decodes it at its end.
func (x *Exchange) fragment(flags byte, b []byte) error {
	x.block.fragment = append(x.block.fragment, b...)
	if flags&flagNames["END_HEADERS"] == 0 {
		return nil
	}
	if x.decoder == nil {
		x.decoder = hpack.NewDecoder(4096, nil)
	}
	fields, err := x.decoder.DecodeFull(x.block.fragment)
	if err != nil {
		return err
	}
	s := x.open(x.block.stream)
	status := 0
	for _, f := range fields {
		if f.Name == ":status" {
			if status, err = strconv.Atoi(f.Value); err != nil {
				return fmt.Errorf("status %q", f.Value)
			}
		}
	}
	if status >= 200 { // interim responses are not what is waited for, and trailers have no status
		s.Status, s.Fields = status, fields
	}
	s.Ended = s.Ended || x.block.ends
	x.block = nil
	return nil
}

package strict

import "encoding/binary"

// A frameHeader is the fixed part of a frame (RFC 9113 section 4.1).
type frameHeader struct {
	length int
	kind   byte
	flags  byte
	stream uint32
}

const (
	frameHeaderLength = 9
	// maxFrame is the largest payload; net/http is told not to announce more
	// than the protocol starts with (RFC 9113 section 4.2).
	maxFrame = 16 << 10
)

// The frame types (RFC 9113 section 6).
const (
	frameData         = 0x0
	frameHeaders      = 0x1
	framePriority     = 0x2
	frameReset        = 0x3
	frameSettings     = 0x4
	framePush         = 0x5
	framePing         = 0x6
	frameGoAway       = 0x7
	frameWindowUpdate = 0x8
	frameContinuation = 0x9
)

// The flags that matter here. What they mean depends on the type.
const (
	flagEndStream  = 0x1
	flagEndHeaders = 0x4
	flagPadded     = 0x8
	flagPriority   = 0x20
)

// The error codes that are written or looked for (RFC 9113 section 7).
const (
	codeNone     = 0x0
	codeInternal = 0x2
	codeCalm     = 0xb // ENHANCE_YOUR_CALM
)

const priorityLen = 5 // bytes of what a HEADERS frame says of priority

func (f frameHeader) has(flag byte) bool { return f.flags&flag != 0 }

func parseFrameHeader(b []byte) frameHeader {
	return frameHeader{
		length: int(b[0])<<16 | int(b[1])<<8 | int(b[2]), kind: b[3], flags: b[4],
		stream: binary.BigEndian.Uint32(b[5:]) &^ (1 << 31),
	}
}

func (f frameHeader) append(b []byte) []byte {
	b = append(b, byte(f.length>>16), byte(f.length>>8), byte(f.length), f.kind, f.flags)
	return binary.BigEndian.AppendUint32(b, f.stream)
}

// fragment cuts padding and priority off the payload of a HEADERS frame
// (RFC 9113 section 6.2). It returns false when they do not fit into it.
func fragment(f frameHeader, payload []byte) (block, priority []byte, ok bool) {
	padding := 0
	if f.has(flagPadded) {
		if len(payload) == 0 {
			return nil, nil, false
		}
		padding, payload = int(payload[0]), payload[1:]
	}
	if f.has(flagPriority) {
		if len(payload) < priorityLen {
			return nil, nil, false
		}
		priority, payload = payload[:priorityLen], payload[priorityLen:]
	}
	if padding > len(payload) {
		return nil, nil, false
	}
	return payload[:len(payload)-padding], priority, true
}

// appendOpening appends the HEADERS frame that net/http is given for a stream:
// the method, a scheme, and the stream's number in place of the target. What
// the client sent as priority stays. It is written without any of HPACK's
// state (RFC 7541 section 6), so that it means the same whenever it is read.
func appendOpening(b []byte, id uint32, flags byte, priority []byte, method string, expects bool) []byte {
	start := len(b)
	b = frameHeader{kind: frameHeaders, flags: flags&(flagEndStream|flagPriority) | flagEndHeaders, stream: id}.append(b)
	if flags&flagPriority != 0 {
		b = append(b, priority...)
	}
	switch method {
	case "GET":
		b = append(b, 0x80|2)
	case "POST":
		b = append(b, 0x80|3)
	default:
		b = appendLiteral(append(b, 2), method)
	}
	b = append(b, 0x80|6) // :scheme http
	var ticket [16]byte
	b = appendLiteral(append(b, 4), appendTicket(ticket[:0], id))
	if expects {
		b = appendLiteral(append(b, 0x0f, 35-0x0f), "100-continue") // expect
	}
	length := len(b) - start - frameHeaderLength
	b[start], b[start+1], b[start+2] = byte(length>>16), byte(length>>8), byte(length)
	return b
}

// appendLiteral appends a string that is shorter than 127 bytes (RFC 7541
// section 5.2).
func appendLiteral[T string | []byte](b []byte, s T) []byte {
	return append(append(b, byte(len(s))), s...)
}

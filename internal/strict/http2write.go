package strict

import (
	"encoding/binary"
	"slices"
	"strconv"
	"sync"
	"time"

	"sallyport/internal/gate"
)

// A frameWriter follows the frames that net/http writes, to know which streams
// have been answered or reset. It changes nothing.
type frameWriter struct {
	mu     sync.Mutex // held while the socket is written
	head   [frameHeaderLength + 8]byte
	have   int // bytes in head
	want   int // bytes that head needs; 0: those of a frame header
	skip   int // bytes of the frame that are still to come and do not matter
	failed bool
}

// between reports whether the last byte written was the last of a frame.
func (w *frameWriter) between() bool { return !w.failed && w.have == 0 && w.skip == 0 }

// Write passes frames on as they are.
func (c *HTTP2Conn) Write(p []byte) (int, error) {
	w := &c.write
	w.mu.Lock()
	defer w.mu.Unlock()
	c.follow(p)
	n, err := c.nc.Write(p)
	w.failed = w.failed || err != nil
	return n, err
}

// follow walks over the frames in p.
func (c *HTTP2Conn) follow(p []byte) {
	w := &c.write
	for len(p) > 0 {
		if w.skip > 0 {
			n := min(w.skip, len(p))
			w.skip, p = w.skip-n, p[n:]
			continue
		}
		want := max(w.want, frameHeaderLength)
		n := copy(w.head[w.have:want], p)
		w.have, p = w.have+n, p[n:]
		if w.have < want {
			return
		}
		f := parseFrameHeader(w.head[:])
		if w.want == 0 {
			if w.want = frameHeaderLength + interesting(f); w.want > w.have {
				continue
			}
		}
		c.wrote(f, w.head[frameHeaderLength:w.have])
		w.skip = f.length - (w.have - frameHeaderLength)
		w.have, w.want = 0, 0
	}
}

// interesting is how many bytes of the payload tell something: the error codes.
func interesting(f frameHeader) int {
	switch {
	case f.kind == frameReset && f.length == 4:
		return 4
	case f.kind == frameGoAway && f.length >= 8:
		return 8
	}
	return 0
}

// wrote notes what a frame that net/http writes says of its stream.
func (c *HTTP2Conn) wrote(f frameHeader, payload []byte) {
	switch f.kind {
	case frameData, frameHeaders:
		c.mu.Lock()
		defer c.mu.Unlock()
		c.idle.earn(updatesPerPiece)
		st := c.streams[f.stream]
		if st == nil || !f.has(flagEndStream) {
			return
		}
		st.answered = true
		c.resets.earn(1)
		if st.ended {
			delete(c.streams, f.stream)
		}
	case frameReset:
		c.serverReset(f.stream, binary.BigEndian.Uint32(payload))
	case frameGoAway:
		c.mu.Lock()
		c.last = binary.BigEndian.Uint32(payload) &^ (1 << 31)
		c.mu.Unlock()
		if code := binary.BigEndian.Uint32(payload[4:]); code != codeNone {
			c.tell(gate.HTTPH2Frame, "ended with "+codeName(code))
		}
	}
}

// serverReset ends a stream that net/http resets. Where it had no answer yet
// and the fault is not ours, the client provoked it, and could go on doing so
// for ever at our cost (MadeYouReset, CVE-2025-8671). A stream that was answered
// before its content had all come is reset for every piece that was under way.
func (c *HTTP2Conn) serverReset(id, code uint32) {
	c.mu.Lock()
	st := c.streams[id]
	delete(c.streams, id)
	if st != nil && !st.ended {
		c.late.add(id)
	}
	provoked := st != nil && !st.answered && code != codeNone && code != codeInternal
	over := provoked && !c.resets.spend(time.Now(), 1)
	cut := c.cut
	c.cut = c.cut || over
	c.mu.Unlock()
	if over && !cut {
		c.tell(gate.HTTPH2Flood, "streams that had to be reset, the last with "+codeName(code))
		_ = c.SetReadDeadline(time.Unix(1, 0)) // the reader ends the connection
	}
}

// lateStreams are the last streams that net/http reset while the client's side
// was open. What of them was under way then comes nevertheless, and is dropped
// (RFC 9113 section 5.1): net/http would end the connection for trailers.
type lateStreams struct {
	ids  [64]uint32
	next int
}

func (l *lateStreams) add(id uint32) {
	l.ids[l.next%len(l.ids)] = id
	l.next++
}

func (l *lateStreams) has(id uint32) bool { return slices.Contains(l.ids[:], id) && id != 0 }

// codeName is an error code in words (RFC 9113 section 7).
func codeName(code uint32) string {
	names := [...]string{
		"NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
		"FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM",
		"INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
	}
	if int(code) < len(names) {
		return names[code]
	}
	return strconv.FormatUint(uint64(code), 10)
}

// goodbyeTime bounds the last frame of a connection that is cut.
const goodbyeTime = 100 * time.Millisecond

// Close ends the connection. A client whose connection is cut is told so, if
// that does not land inside another frame.
func (c *HTTP2Conn) Close() error {
	c.mu.Lock()
	cut, last := c.cut, c.highest
	c.mu.Unlock()
	if w := &c.write; cut && w.mu.TryLock() {
		if w.between() && c.nc.SetWriteDeadline(time.Now().Add(goodbyeTime)) == nil {
			b := frameHeader{length: 8, kind: frameGoAway}.append(nil)
			b = binary.BigEndian.AppendUint32(b, last)
			b = binary.BigEndian.AppendUint32(b, codeCalm)
			_, _ = c.nc.Write(b) // the connection is over either way
			w.failed = true
		}
		w.mu.Unlock()
	}
	return c.nc.Close()
}

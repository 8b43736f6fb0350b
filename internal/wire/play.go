package wire

import (
	"bytes"
	"encoding/binary"
	"io"
	"slices"
)

// Play sends the bytes of an HTTP/2 case, in pieces where cuts tell so, and
// reads what comes: where the client waits, and then until every outcome of the
// case is known. cuts are indexes into the bytes, in order. The error is that
// of reading; after one, Ended tells whether the server closed.
func (x *Exchange) Play(conn io.ReadWriter, c *Case, cuts []int) error {
	if err := x.send(conn, c, cuts); err != nil {
		return err
	}
	for x.unfinished(c.Outcomes) {
		if err := x.Next(conn); err != nil {
			return err
		}
	}
	return nil
}

// send writes the bytes of a case, and reads where it waits.
func (x *Exchange) send(conn io.ReadWriter, c *Case, cuts []int) error {
	from := 0
	write := func(to int) {
		for ; len(cuts) > 0 && cuts[0] < to; cuts = cuts[1:] {
			if cuts[0] > from {
				_, _ = conn.Write(c.Raw[from:cuts[0]]) // a server that has closed by then has refused what came before
				from = cuts[0]
			}
		}
		_, _ = conn.Write(c.Raw[from:to])
		from = to
	}
	for _, w := range c.Waits {
		write(w.At)
		for x.Ending(w.Stream).Kind == Unfinished {
			if err := x.Next(conn); err != nil {
				return err
			}
		}
	}
	write(len(c.Raw))
	if half, ok := conn.(interface{ CloseWrite() error }); ok && c.HalfClose {
		return half.CloseWrite()
	}
	return nil
}

// unfinished reports whether any outcome is still open.
func (x *Exchange) unfinished(outcomes []Outcome) bool {
	return slices.ContainsFunc(outcomes, func(o Outcome) bool { return x.Ending(o.Stream).Kind == Unfinished })
}

// Opens counts the streams that the bytes of an HTTP/2 case open, as far as they
// are frames, and those among them whose head is not yet the end: their body may
// still be under way when the connection is ended.
func (c *Case) Opens() (opened, bodies int) {
	seen := map[uint32]bool{}
	for raw := bytes.TrimPrefix(c.Raw, []byte(Preface)); len(raw) >= 9; {
		stream := binary.BigEndian.Uint32(raw[5:])
		if uint32(raw[3]) == frameHeaders && !seen[stream] {
			seen[stream] = true
			if raw[4]&flagNames["END_STREAM"] == 0 {
				bodies++
			}
		}
		raw = raw[min(9+int(raw[0])<<16+int(raw[1])<<8+int(raw[2]), len(raw)):]
	}
	return len(seen), bodies
}

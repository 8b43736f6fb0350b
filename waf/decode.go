package waf

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"sallyport/internal/gate"
	"sallyport/waf/coding"
)

// errMore ends what was held of a coded body of which there is more.
var errMore = errors.New("the rest was not held")

// errBusy ends decoding for a transaction that did not get its turn.
var errBusy = errors.New("no turn to be judged")

// codingOf is the coding that Content-Encoding fields name; none when they name
// nothing but identity. The error says why a body with them cannot be decoded:
// several codings are more than any client uses, and backends differ in how
// many of them they undo (RFC 9110 section 8.4).
func codingOf(fields []string, allowed []coding.Coding) (c coding.Coding, err error) {
	for _, value := range fields {
		for name := range strings.SplitSeq(value, ",") {
			name = strings.Trim(name, " \t")
			if name == "" || strings.EqualFold(name, "identity") {
				continue
			}
			if c != "" {
				return "", errors.New("more than one coding")
			}
			known := false
			if c, known = coding.Named(name); !known {
				return "", fmt.Errorf("the coding %.40q", name)
			}
		}
	}
	for _, a := range allowed {
		if c == a {
			return c, nil
		}
	}
	if c != "" {
		return "", fmt.Errorf("the coding %q, which request_body.decode leaves out", c)
	}
	return "", nil
}

// valuesOf returns the value of every field line with the name.
func valuesOf(fields []gate.Field, name string) (values []string) {
	for i := range fields {
		if strings.EqualFold(fields[i].Name, name) {
			values = append(values, fields[i].Value)
		}
	}
	return values
}

// A decoding decodes one body for the rules. What its decoder takes counts as
// held memory, of which all decoders together get no more than half: a few
// bytes of a body can demand a window of many megabytes, and bodies that are
// not coded must not pay for that.
type decoding struct {
	*coding.Reader
	ctx           context.Context
	memory, share lease
}

// decode begins to decode src.
func (t *Transaction) decode(c coding.Coding, src io.Reader) *decoding {
	e := t.engine
	d := &decoding{ctx: t.req.HTTP.Context(), memory: lease{from: e.memory}, share: lease{from: e.decoders.budget}}
	d.Reader = coding.NewReader(c, src, coding.Limits{Most: e.decoders.most, Memory: d.take})
	return d
}

func (d *decoding) take(n int64) error {
	if err := d.share.take(d.ctx, n); err != nil {
		return err
	}
	return d.memory.take(d.ctx, n)
}

// giveBack returns the memory to the budgets.
func (d *decoding) giveBack() {
	d.memory.release()
	d.share.release()
}

// close ends the decoding. It may be called more than once.
func (d *decoding) close() {
	d.Close()
	d.giveBack()
}

// decoders is the part of the memory for held bodies that decoders may take.
type decoders struct {
	*budget
	most int64
}

func newDecoders(memory int64) decoders {
	return decoders{newBudget(memory / 2), memory / 2}
}

// decodeHeld decodes what was held of a body, of which there may be more, up
// to a limit and one byte more, as readUpTo reads. It waits for nothing but its
// turn: all that is decoded is there. An error that is a *coding.Error comes
// with what could be decoded before it.
func (t *Transaction) decodeHeld(c coding.Coding, held []byte, more bool, limit int64) (content []byte, over bool, err error) {
	var src io.Reader = bytes.NewReader(held)
	if more {
		src = io.MultiReader(src, failing{errMore})
	}
	d := t.decode(c, src)
	defer d.close()
	content, over, err = readUpTo(d.ctx, &t.lease, &turning{t: t, src: d}, limit, -1)
	if errors.Is(err, errMore) {
		return content, true, nil
	}
	return content, over || more, err
}

// turning takes a transaction's turn as soon as its content is large: how large
// it is shows only while it is decoded.
type turning struct {
	t   *Transaction
	src io.Reader
	n   int64
}

// Read implements io.Reader.
func (r *turning) Read(p []byte) (int, error) {
	if r.n >= heavy && !r.t.turn(r.n) {
		return 0, errBusy
	}
	n, err := r.src.Read(p)
	r.n += int64(n)
	return n, err
}

// decodeBody decodes what was held of the body. It reports whether the request
// ends here.
func (t *Transaction) decodeBody(held []byte, more, reject bool) (content []byte, over, stop bool) {
	limit := t.policy.Inspect
	if readable(t.kind, held[0]) {
		t.undecoded = held
	}
	content, over, err := t.decodeHeld(t.coding, held[:min(int64(len(held)), limit)], more, limit)
	bad, stop := t.undecodable(err)
	switch {
	case stop, errors.Is(err, errBusy):
		return nil, false, true
	case bad: // only observed: what could be decoded is judged
		return content, true, false
	case err != nil:
		t.unread(err)
		return nil, false, true
	}
	return content, over, reject && over && t.tooLarge()
}

// undecodable takes the refusal of a body that its coding cannot be undone of,
// if that is what err says. It reports whether the request ends here.
func (t *Transaction) undecodable(err error) (undecodable, stop bool) {
	if _, ok := errors.AsType[*coding.Error](err); !ok {
		return false, false
	}
	return true, t.find(gate.WAFEncoding, string(t.coding)+": "+err.Error())
}

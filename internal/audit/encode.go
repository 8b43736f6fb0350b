package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
	"unicode/utf8"

	"sallyport/internal/gate"
)

// An encoder turns records into lines. It reuses its buffers and belongs to one
// goroutine.
type encoder struct {
	redactor *redactor
	raw      bytes.Buffer
	json     *json.Encoder
	line     []byte
}

func newEncoder(r *redactor) *encoder {
	e := &encoder{redactor: r}
	e.json = json.NewEncoder(&e.raw)
	e.json.SetEscapeHTML(false)
	return e
}

// encode returns the record as one line of JSON that ends in LF. The line is
// valid until the next call. A panic, which would be a defect, costs the record
// and not the process.
func (e *encoder) encode(r *gate.Record) (line []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			line, err = nil, fmt.Errorf("encode audit record: panic: %v", p)
		}
	}()
	clean := e.redactor.record(r)
	clean.Time = clean.Time.UTC().Truncate(time.Microsecond)
	if clean.Micros == nil {
		clean.Micros = map[string]int64{}
	}
	e.raw.Reset()
	if err := e.json.Encode(clean); err != nil {
		return nil, fmt.Errorf("encode audit record: %w", err)
	}
	e.line = appendVisible(e.line[:0], e.raw.Bytes())
	return e.line, nil
}

// appendVisible appends JSON in which every character that a terminal obeys or
// hides is written \uXXXX. Such characters stand in strings only, so that the
// JSON stays the same value (RFC 8259 section 7).
func appendVisible(dst, src []byte) []byte {
	const hex = "0123456789abcdef"
	start := 0
	for i := 0; i < len(src); {
		if c := src[i]; c < utf8.RuneSelf && c != 0x7f {
			i++
			continue
		}
		r, n := utf8.DecodeRune(src[i:])
		if !hidden(r) {
			i += n
			continue
		}
		dst = append(dst, src[start:i]...)
		if r > 0xffff {
			hi := 0xd800 + (r-0x10000)>>10
			dst = append(dst, '\\', 'u', hex[hi>>12], hex[hi>>8&15], hex[hi>>4&15], hex[hi&15])
			r = 0xdc00 + (r-0x10000)&0x3ff
		}
		dst = append(dst, '\\', 'u', hex[r>>12], hex[r>>8&15], hex[r>>4&15], hex[r&15])
		i += n
		start = i
	}
	return append(dst, src[start:]...)
}

package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/net/http2/hpack"
)

// A block is a frame that is being put together, with the fields below it.
type block struct {
	kind     uint32
	flags    byte
	stream   uint32
	pad      int // octets of padding; -1: none
	claim    int // what the pad length says instead; 0: the truth
	priority []byte
	promise  []byte
	last     uint32 // of GOAWAY
	pieces   int    // octets of a field block in each frame; 0: all in one
	fragment []byte
}

// option reads one word of a frame's line and reports whether it is one.
func (b *block) option(word string) (bool, error) {
	if bit, ok := flagNames[word]; ok {
		b.flags |= bit
		return true, nil
	}
	key, value, ok := strings.Cut(word, "=")
	if !ok || word[0] == '"' {
		return false, nil
	}
	n, err := strconv.ParseUint(value, 0, 32)
	switch key {
	case "flags":
		b.flags |= byte(n)
	case "pad":
		b.pad = int(n)
		b.flags |= flagNames["PADDED"]
	case "claim":
		b.claim = int(n)
	case "split":
		b.pieces = int(n)
	case "last":
		b.last = uint32(n)
	case "promise":
		b.promise = binary.BigEndian.AppendUint32(nil, uint32(n))
	case "priority":
		err = b.prioritise(value)
	default:
		return false, fmt.Errorf("unknown option %q", key)
	}
	if err != nil {
		return false, fmt.Errorf("%s: %w", key, err)
	}
	return true, nil
}

// prioritise reads STREAM,WEIGHT[,exclusive] (RFC 9113 section 6.3).
func (b *block) prioritise(value string) error {
	parts := strings.Split(value, ",")
	if len(parts) < 2 {
		return errors.New("written STREAM,WEIGHT[,exclusive]")
	}
	parent, err := strconv.ParseUint(parts[0], 0, 31)
	if err != nil {
		return err
	}
	weight, err := strconv.ParseUint(parts[1], 0, 16)
	if err != nil || weight < 1 || weight > 256 {
		return errors.New("a weight is between 1 and 256")
	}
	if len(parts) > 2 {
		parent |= 1 << 31
	}
	b.priority = append(binary.BigEndian.AppendUint32(nil, uint32(parent)), byte(weight-1))
	b.flags |= flagNames["PRIORITY"]
	return nil
}

// appendTo writes the frame, and the CONTINUATION frames that it is split into.
func (b *block) appendTo(raw []byte) ([]byte, error) {
	first, rest := b.fragment, []byte(nil)
	flags, ends := b.flags, flagNames["END_HEADERS"]
	if b.pieces > 0 && len(first) > b.pieces {
		first, rest = first[:b.pieces], first[b.pieces:]
		flags &^= ends
	}
	var payload []byte
	if b.pad >= 0 {
		claim := b.pad
		if b.claim > 0 {
			claim = b.claim
		}
		if claim > 255 {
			return nil, errors.New("padding of more than 255 octets")
		}
		payload = append(payload, byte(claim))
	}
	payload = append(payload, b.priority...)
	payload = append(payload, b.promise...)
	payload = append(payload, first...)
	payload = append(payload, make([]byte, max(b.pad, 0))...)
	raw = appendFrame(raw, b.kind, flags, b.stream, payload)
	for len(rest) > 0 {
		piece := rest[:min(b.pieces, len(rest))]
		rest = rest[len(piece):]
		flags = 0
		if len(rest) == 0 {
			flags = b.flags & ends
		}
		raw = appendFrame(raw, frameContinuation, flags, b.stream, piece)
	}
	return raw, nil
}

// line adds what one line below the frame stands for: a field, or with @ in
// front something else of RFC 7541 section 6.
func (b *block) line(text string) error {
	form := fieldForm{times: 1}
	if option, ok := strings.CutPrefix(text, "@"); ok {
		word, rest, _ := strings.Cut(option, " ")
		switch word {
		case "raw":
			words, err := split(rest)
			if err != nil {
				return err
			}
			more, err := octets(words)
			b.fragment = append(b.fragment, more...)
			return err
		case "indexed", "size":
			n, err := strconv.ParseUint(strings.TrimSpace(rest), 0, 32)
			if err != nil {
				return fmt.Errorf("%s: %w", word, err)
			}
			if word == "size" {
				b.fragment = appendInt(b.fragment, 0x20, 5, n)
			} else {
				b.fragment = appendInt(b.fragment, 0x80, 7, n)
			}
			return nil
		}
		if err := form.read(word); err != nil {
			return err
		}
		text = rest
	}
	name, value, err := fieldLine(text)
	if err != nil {
		return err
	}
	for range form.times {
		b.fragment = form.appendTo(b.fragment, name, value)
	}
	return nil
}

// fieldLine takes NAME: VALUE apart. The colon of a pseudo-field's name does
// not count, nor do those of repetitions; another one in a name is written
// \x3a. A line that begins with a colon and a space has no name.
func fieldLine(text string) (name, value []byte, err error) {
	i := 0
	if len(text) > 1 && text[0] == ':' && text[1] != ' ' {
		i = 1
	}
	for ; i < len(text) && text[i] != ':'; i++ {
		if strings.HasPrefix(text[i:], `\{`) {
			i += strings.Index(text[i:], `\}`) + 1 // without an end: no colon is found, or Unescape complains
		}
	}
	if i >= len(text) {
		return nil, nil, fmt.Errorf("no colon in %q", text)
	}
	if name, err = Unescape(text[:i]); err != nil {
		return nil, nil, err
	}
	value, err = Unescape(strings.TrimSpace(text[i+1:]))
	return name, value, err
}

// A fieldForm is how a field is represented. The zero form is a literal that
// is not indexed, its name and value plain.
type fieldForm struct {
	index, never, huffman bool
	name                  uint64 // index of the name; 0: written out
	times                 int
}

func (f *fieldForm) read(options string) error {
	for option := range strings.SplitSeq(options, ",") {
		key, value, _ := strings.Cut(option, "=")
		switch key {
		case "index":
			f.index = true
		case "never":
			f.never = true
		case "huffman":
			f.huffman = true
		case "name", "times":
			n, err := strconv.ParseUint(value, 0, 16)
			if err != nil {
				return fmt.Errorf("%s: %w", key, err)
			}
			if key == "name" {
				f.name = n
			} else {
				f.times = int(n)
			}
		default:
			return fmt.Errorf("unknown way to write a field: %q", option)
		}
	}
	return nil
}

// appendTo writes a literal (RFC 7541 section 6.2).
func (f fieldForm) appendTo(b, name, value []byte) []byte {
	switch {
	case f.index:
		b = appendInt(b, 0x40, 6, f.name)
	case f.never:
		b = appendInt(b, 0x10, 4, f.name)
	default:
		b = appendInt(b, 0, 4, f.name)
	}
	if f.name == 0 {
		b = f.appendText(b, name)
	}
	return f.appendText(b, value)
}

// appendText writes a string literal (RFC 7541 section 5.2).
func (f fieldForm) appendText(b, s []byte) []byte {
	if f.huffman {
		b = appendInt(b, 0x80, 7, hpack.HuffmanEncodeLength(string(s)))
		return hpack.AppendHuffmanString(b, string(s))
	}
	return append(appendInt(b, 0, 7, uint64(len(s))), s...)
}

// appendInt writes an integer with a prefix of n bits (RFC 7541 section 5.1).
func appendInt(b []byte, first byte, n int, v uint64) []byte {
	limit := uint64(1)<<n - 1
	if v < limit {
		return append(b, first|byte(v))
	}
	b = append(b, first|byte(limit))
	for v -= limit; v >= 0x80; v >>= 7 {
		b = append(b, 0x80|byte(v))
	}
	return append(b, byte(v))
}

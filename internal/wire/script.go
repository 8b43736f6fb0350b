package wire

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Preface is how an HTTP/2 client begins (RFC 9113 section 3.4).
const Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// A Wait is a place in the bytes where the client waits for the end of a
// stream before it sends more.
type Wait struct {
	At     int // index into Raw
	Stream uint32
}

// What RFC 9113 sections 6 and 7 number: frame types, error codes, settings.
var (
	frameNames   = names("DATA", "HEADERS", "PRIORITY", "RST_STREAM", "SETTINGS", "PUSH_PROMISE", "PING", "GOAWAY", "WINDOW_UPDATE", "CONTINUATION")
	errorNames   = names("NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED", "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM", "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED")
	settingNames = names("", "HEADER_TABLE_SIZE", "ENABLE_PUSH", "MAX_CONCURRENT_STREAMS", "INITIAL_WINDOW_SIZE", "MAX_FRAME_SIZE", "MAX_HEADER_LIST_SIZE")
	flagNames    = map[string]byte{"END_STREAM": 0x1, "ACK": 0x1, "END_HEADERS": 0x4, "PADDED": 0x8, "PRIORITY": 0x20}
)

// The frame types that the scripts and the reader treat by themselves.
const (
	frameData uint32 = iota
	frameHeaders
	framePriority
	frameReset
	frameSettings
	framePromise
	framePing
	frameGoAway
	frameWindow
	frameContinuation
)

func names(list ...string) []string { return list }

// numbered returns the number of a name, or the number that is written.
func numbered(names []string, s string) (uint32, error) {
	if i := slices.Index(names, s); i >= 0 && s != "" {
		return uint32(i), nil
	}
	n, err := strconv.ParseUint(s, 0, 32)
	if err != nil {
		return 0, fmt.Errorf("%q is neither a name nor a number", s)
	}
	return uint32(n), nil
}

// errorName is the name of an error code.
func errorName(code uint32) string {
	if int(code) < len(errorNames) {
		return errorNames[code]
	}
	return "0x" + strconv.FormatUint(uint64(code), 16)
}

// A script turns the frames of a case into bytes.
type script struct {
	raw   []byte
	waits []Wait
	begun bool
	block *block // the frame whose field lines are being read
}

// compile reads the part of an HTTP/2 case below the line.
func compile(src string) ([]byte, []Wait, error) {
	var s script
	number := 0
	for line := range strings.Lines(src) {
		number++
		if err := s.line(strings.TrimRight(line, "\n")); err != nil {
			return nil, nil, fmt.Errorf("line %d of the frames: %w", number, err)
		}
	}
	s.begin()
	return s.raw, s.waits, s.flush()
}

// line reads one line: a frame, or a field of the frame above it.
func (s *script) line(line string) error {
	text := strings.TrimLeft(line, " ")
	switch {
	case text == "" || text[0] == '#':
		return nil
	case text != line:
		if s.block == nil {
			return errors.New("a field line without a frame above it")
		}
		return s.block.line(text)
	}
	if err := s.flush(); err != nil {
		return err
	}
	words, err := split(text)
	if err != nil {
		return err
	}
	name, words := words[0], words[1:]
	if name == "PREFACE" {
		if s.begun {
			return errors.New("PREFACE stands first")
		}
		s.begun = true
		return s.payload(words)
	}
	s.begin()
	switch name {
	case "RAW":
		return s.payload(words)
	case "WAIT":
		n, _, err := number(words, "a stream")
		s.waits = append(s.waits, Wait{len(s.raw), n})
		return err
	case "FRAME":
		return s.frame(words)
	case "SETTINGS":
		return s.settings(words)
	case "PING":
		words = append([]string{"0"}, words...)
	case "GOAWAY":
		words = append([]string{"0"}, words...)
	}
	kind, err := numbered(frameNames, name)
	if err != nil {
		return err
	}
	return s.typed(kind, words)
}

// begin writes the preface and the SETTINGS that belong to it, unless the
// script has begun in its own way.
func (s *script) begin() {
	if !s.begun {
		s.begun = true
		s.raw = append(s.raw, Preface...)
		s.raw = appendFrame(s.raw, frameSettings, 0, 0, nil)
	}
}

// flush writes the frame whose field lines have been read.
func (s *script) flush() error {
	b := s.block
	if b == nil {
		return nil
	}
	s.block = nil
	var err error
	s.raw, err = b.appendTo(s.raw)
	return err
}

// typed reads a frame that is written by its name.
func (s *script) typed(kind uint32, words []string) error {
	stream, words, err := number(words, "a stream")
	if err != nil {
		return err
	}
	b := &block{kind: kind, stream: stream, pad: -1}
	var rest []string
	for _, w := range words {
		taken, err := b.option(w)
		if err != nil {
			return err
		}
		if !taken {
			rest = append(rest, w)
		}
	}
	switch kind {
	case frameHeaders, frameContinuation, framePromise:
		if len(rest) > 0 {
			return fmt.Errorf("%q belongs on a line below", rest[0])
		}
		s.block = b
		return nil
	case frameReset, frameGoAway:
		if len(rest) == 0 {
			return errors.New("an error code is missing")
		}
		code, err := numbered(errorNames, rest[0])
		if err != nil {
			return err
		}
		if kind == frameGoAway {
			b.fragment = binary.BigEndian.AppendUint32(b.fragment, b.last)
		}
		b.fragment = binary.BigEndian.AppendUint32(b.fragment, code)
		rest = rest[1:]
	case frameWindow:
		var n uint32
		if n, rest, err = number(rest, "an increment"); err != nil {
			return err
		}
		b.fragment = binary.BigEndian.AppendUint32(b.fragment, n)
	case framePriority:
		if b.flags&flagNames["PRIORITY"] == 0 {
			return errors.New("priority=STREAM,WEIGHT is missing")
		}
		b.flags &^= flagNames["PRIORITY"]
	}
	more, err := octets(rest)
	if err != nil {
		return err
	}
	b.fragment = append(b.fragment, more...)
	s.raw, err = b.appendTo(s.raw)
	return err
}

// settings reads SETTINGS [ACK] [NAME=VALUE …].
func (s *script) settings(words []string) error {
	var payload []byte
	flags := byte(0)
	for _, w := range words {
		if w == "ACK" {
			flags |= flagNames["ACK"]
			continue
		}
		name, value, _ := strings.Cut(w, "=")
		id, err := numbered(settingNames, name)
		if err != nil {
			return err
		}
		n, err := strconv.ParseUint(value, 0, 32)
		if err != nil || id > 0xffff {
			return fmt.Errorf("a setting is written NAME=NUMBER, not %q", w)
		}
		payload = binary.BigEndian.AppendUint16(payload, uint16(id))
		payload = binary.BigEndian.AppendUint32(payload, uint32(n))
	}
	s.raw = appendFrame(s.raw, frameSettings, flags, 0, payload)
	return nil
}

// frame reads FRAME TYPE FLAGS STREAM and the payload: any frame at all.
func (s *script) frame(words []string) error {
	if len(words) < 3 {
		return errors.New("FRAME TYPE FLAGS STREAM")
	}
	kind, err := numbered(frameNames, words[0])
	if err != nil || kind > 0xff {
		return fmt.Errorf("frame type %q", words[0])
	}
	flags, err := strconv.ParseUint(words[1], 0, 8)
	if err != nil {
		return fmt.Errorf("flags: %w", err)
	}
	stream, rest, err := number(words[2:], "a stream")
	if err != nil {
		return err
	}
	payload, err := octets(rest)
	s.raw = appendFrame(s.raw, kind, byte(flags), stream, payload)
	return err
}

// payload writes octets as they are.
func (s *script) payload(words []string) error {
	b, err := octets(words)
	s.raw = append(s.raw, b...)
	return err
}

// appendFrame writes a frame (RFC 9113 section 4.1).
func appendFrame(b []byte, kind uint32, flags byte, stream uint32, payload []byte) []byte {
	n := len(payload)
	b = append(b, byte(n>>16), byte(n>>8), byte(n), byte(kind), flags)
	b = binary.BigEndian.AppendUint32(b, stream)
	return append(b, payload...)
}

// number takes the first word, which must be a number.
func number(words []string, what string) (uint32, []string, error) {
	if len(words) == 0 {
		return 0, nil, fmt.Errorf("%s is missing", what)
	}
	n, err := strconv.ParseUint(words[0], 0, 32)
	if err != nil {
		return 0, nil, fmt.Errorf("%s: %w", what, err)
	}
	return uint32(n), words[1:], nil
}

// octets joins words that are each a quoted text with escapes or hexadecimal
// digits.
func octets(words []string) ([]byte, error) {
	var out []byte
	for _, w := range words {
		b, err := []byte(nil), error(nil)
		if text, ok := strings.CutPrefix(w, `"`); ok {
			b, err = Unescape(strings.TrimSuffix(text, `"`))
		} else {
			b, err = hex.DecodeString(w)
		}
		if err != nil {
			return nil, fmt.Errorf("%q: %w", w, err)
		}
		out = append(out, b...)
	}
	return out, nil
}

// split cuts a line into words. A quoted text is one word, its quotes kept.
func split(line string) ([]string, error) {
	var words []string
	for line = strings.TrimLeft(line, " "); line != ""; line = strings.TrimLeft(line, " ") {
		end := strings.IndexByte(line, ' ')
		if line[0] == '"' {
			if end = strings.IndexByte(line[1:], '"'); end < 0 {
				return nil, errors.New("a quote without its end")
			}
			end += 2
		} else if end < 0 {
			end = len(line)
		}
		words, line = append(words, line[:end]), line[end:]
	}
	return words, nil
}

package strict

// A sizeWatch walks over a field block in search of a size update behind a
// field. RFC 7541 section 4.2 has it at the beginning, and the decoder only
// minds while its table holds something; readers that differ there differ about
// every field after it. It sees a fragment when the decoder has accepted it, so
// what is malformed in other ways does not matter. The zero value begins a
// block.
type sizeWatch struct {
	state   sizeState
	fields  bool // one has come
	literal bool // the index in hand is that of a name
	texts   int  // string literals of the field that are still to come
	value   int  // the integer in hand; in a text, octets that are still to come
	shift   int  // of its next seven bits
}

type sizeState uint8

const (
	atField  sizeState = iota // the first octet of a representation
	inIndex                   // a further octet of its integer
	atText                    // the first octet of a string literal
	inLength                  // a further octet of its length
	inText                    // its octets
)

// late reports whether a fragment holds such an update.
func (w *sizeWatch) late(part []byte) bool {
	for len(part) > 0 {
		if w.state == inText {
			n := min(w.value, len(part))
			part = part[n:]
			if w.value -= n; w.value == 0 {
				w.next()
			}
			continue
		}
		c := part[0]
		part = part[1:]
		switch w.state {
		case atField:
			if c&0xe0 == 0x20 && w.fields {
				return true
			}
			w.field(c)
		case atText:
			w.begin(c, 7, inLength)
		default:
			w.value += int(c&0x7f) << w.shift
			w.shift = min(w.shift+7, 28) // the decoder takes no larger one
			if c < 0x80 {
				w.integer()
			}
		}
	}
	return false
}

// field takes the first octet of a representation (RFC 7541 section 6).
func (w *sizeWatch) field(c byte) {
	bits := 4 // a literal that is not indexed
	switch {
	case c&0x80 != 0: // a field of the tables
		bits = 7
	case c&0x40 != 0: // a literal that is indexed
		bits = 6
	case c&0x20 != 0: // a size update
		bits = 5
	}
	w.literal = bits == 4 || bits == 6
	w.fields = w.fields || bits != 5
	w.begin(c, bits, inIndex)
}

// begin takes the prefix of an integer (RFC 7541 section 5.1).
func (w *sizeWatch) begin(c byte, bits int, more sizeState) {
	limit := 1<<bits - 1
	w.value, w.shift, w.state = int(c)&limit, 0, more
	if w.value < limit {
		w.integer()
	}
}

// integer goes on behind an integer.
func (w *sizeWatch) integer() {
	switch {
	case w.state == inLength && w.value > 0:
		w.state = inText
		return
	case w.state == inLength: // an empty text
	case w.literal && w.value == 0: // a name is written out, then a value
		w.texts = 3
	case w.literal:
		w.texts = 2
	default:
		w.texts = 1
	}
	w.next()
}

// next goes on behind a part of a representation.
func (w *sizeWatch) next() {
	w.state = atField
	if w.texts--; w.texts > 0 {
		w.state = atText
	}
}

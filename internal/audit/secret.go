package audit

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strings"
)

const (
	// minNamed and minShaped are how long a secret must be, in bytes, to be
	// looked for in the rest of the record: shorter ones would turn up by
	// chance. minShaped also holds for cookies without a secret's name, whose
	// values are words like "dark" and "en-US".
	minNamed  = 4
	minShaped = 8
	// minBase64 is how long it must be for its base64 forms to be looked for.
	minBase64 = 6
	// maxSecrets bounds the work for one record. A record with more is written
	// without its free text.
	maxSecrets = 128
	// maxForms is in how many encodings one secret is followed as it was found.
	maxForms = 6
)

// A secret is a value that must not be written.
type secret struct {
	plain  string   // decoded
	forms  []string // as it was found, less decoded than plain
	marker string   // what stands in for it; made when first needed
	sought bool     // to be looked for in the rest of the record
	open   bool     // only its beginning is known
}

// A needle is one form of a secret that is looked for.
type needle struct {
	text   string // folded; at least four bytes
	secret int
	base64 bool
	key    uint32 // the first four bytes
	next   int32  // index of the next one with the same hash, plus one
}

// common are values that are no secret under any name, and that would be found
// all over a record.
var common = []string{"true", "false", "null", "none", "undefined", "empty", "default"}

// learn remembers a secret and returns its index, or -1 when there are too
// many.
func (r *redactor) learn(v []byte, shortest int) int {
	plain := string(r.plain(v))
	once := string(bytes.Trim(r.peeled[1].text, blanks))
	forms := [...]string{string(bytes.Trim(v, blanks)), once, "", ""}
	if bytes.IndexByte(v, '+') >= 0 { // a space, if this comes from a form
		forms[2] = string(r.plain(bytes.ReplaceAll(v, []byte("+"), []byte(" "))))
		forms[3] = string(bytes.Trim(r.peeled[1].text, blanks))
	}
	sought := len(plain) >= shortest && !slices.Contains(common, strings.ToLower(plain))
	i := slices.IndexFunc(r.secrets, func(s secret) bool { return s.plain == plain })
	if i < 0 {
		if len(r.secrets) == maxSecrets {
			r.blind = true
			return -1
		}
		i = len(r.secrets)
		r.secrets = append(r.secrets, secret{plain: plain})
	}
	s := &r.secrets[i]
	s.sought = s.sought || sought
	for _, form := range forms {
		if form != "" && form != plain && len(s.forms) < maxForms && !slices.Contains(s.forms, form) {
			s.forms = append(s.forms, form)
		}
	}
	return i
}

// blanks may stand around a secret without being part of it.
const blanks = " \t\r\n\"'"

// plain returns v without the encodings, white space and quotes around it. The
// result is valid until the next call.
func (r *redactor) plain(v []byte) []byte {
	r.peeled[0].text, r.peeled[0].from = append(r.peeled[0].text[:0], v...), nil
	r.peeled[1].text = r.peeled[1].text[:0]
	in := &r.peeled[0]
	for i := 1; i <= layers; i++ {
		if !r.peeled[i].peel(in) {
			break
		}
		in = &r.peeled[i]
	}
	return bytes.Trim(in.text, blanks)
}

// marker returns what stands in for a secret: equal secrets have equal markers,
// and without the key nothing of the secret can be had from it.
func (r *redactor) marker(i int) string {
	if i < 0 {
		return "[redacted]"
	}
	s := &r.secrets[i]
	if s.marker == "" {
		r.mac.Reset()
		r.mac.Write([]byte(s.plain))
		r.sum = r.mac.Sum(r.sum[:0])
		s.marker = "[redacted:" + hex.EncodeToString(r.sum[:4]) + "]"
	}
	return s.marker
}

// seek prepares the search for the secrets that were learnt.
func (r *redactor) seek() {
	r.needles = r.needles[:0]
	clear(r.heads[:])
	for i := range r.secrets {
		s := &r.secrets[i]
		if !s.sought {
			continue
		}
		r.addForm(s.plain, i)
		for _, form := range s.forms {
			r.addForm(form, i)
		}
	}
}

// addForm adds the needles for one form of a secret: itself, and what base64
// makes of it. Which characters that is depends on how many bytes stand before
// the secret; those at its ends depend on what surrounds it.
func (r *redactor) addForm(form string, secret int) {
	r.addNeedle(form, secret, false)
	if len(form) < minBase64 {
		return
	}
	r.padded = append(append(r.padded[:0], 0, 0), form...)
	for before, skip := range [...]int{0, 2, 3} {
		src := r.padded[2-before:]
		end := len(src) * 8 / 6
		r.coded = base64.RawStdEncoding.AppendEncode(r.coded[:0], src)
		stable := r.coded[skip:end]
		r.addNeedle(string(stable), secret, true)
		if bytes.ContainsAny(stable, "+/") {
			r.coded = base64.RawURLEncoding.AppendEncode(r.coded[:0], src)
			r.addNeedle(string(r.coded[skip:end]), secret, true)
		}
	}
}

func (r *redactor) addNeedle(text string, secret int, coded bool) {
	folded := make([]byte, 0, len(text))
	folded = appendLower(folded, text)
	if len(folded) < minNamed {
		return
	}
	key := binary.BigEndian.Uint32(folded)
	h := bucket(key)
	r.needles = append(r.needles, needle{text: string(folded), secret: secret, base64: coded, key: key, next: r.heads[h]})
	r.heads[h] = int32(len(r.needles))
}

// buckets is the size of the table of needles.
const buckets = 4096

// bucket hashes the first four bytes of a needle.
func bucket(key uint32) int { return int(key * 2654435761 >> 20) }

// search finds the secrets that were learnt in a text, without regard to letter
// case. One that the end of a cut text cuts is found too.
func (r *redactor) search(l *level) {
	t := l.text
	if len(r.needles) == 0 || len(t) < minNamed {
		return
	}
	key := uint32(folds[t[0]])<<16 | uint32(folds[t[1]])<<8 | uint32(folds[t[2]])
	for i := 3; i < len(t); i++ {
		key = key<<8 | uint32(folds[t[i]])
		for n := r.heads[bucket(key)]; n > 0; n = r.needles[n-1].next {
			nd := &r.needles[n-1]
			if nd.key != key {
				continue
			}
			at := i - 3
			size := r.length(t[at:], nd.text)
			if size == 0 {
				continue
			}
			end := at + size
			if r.secrets[nd.secret].open {
				end = until(t, end, "&;\"'<> \t\r\n")
			}
			if nd.base64 {
				for at > 0 && token68(t[at-1]) {
					at--
				}
				for end < len(t) && token68(t[end]) {
					end++
				}
			}
			r.spans = append(r.spans, span{l.origin(at), l.origin(end), nd.secret})
		}
	}
}

// length returns how many bytes of t are the needle, 0 for none.
func (r *redactor) length(t []byte, text string) int {
	if len(t) < len(text) && !r.cut {
		return 0
	}
	n := min(len(t), len(text))
	for j := range n {
		if folds[t[j]] != text[j] {
			return 0
		}
	}
	return n
}

// within reports whether v, of at least four bytes, is part of a secret that
// was learnt: what a rule captured of a secret is one too.
func (r *redactor) within(v []byte) int {
	v = r.plain(v)
	if len(v) < minNamed {
		return -1
	}
	r.low = appendLower(r.low[:0], v)
	part := string(r.low)
	for i := range r.needles {
		if n := &r.needles[i]; !n.base64 && strings.Contains(n.text, part) {
			return n.secret
		}
	}
	return -1
}

// folds is fold as a table.
var folds = foldTable()

func foldTable() (t [256]byte) {
	for c := range t {
		t[c] = fold(byte(c))
	}
	return t
}

package traffic

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A source draws what the fields of one request hold.
type source struct{ *rand.Rand }

// pick is one of several.
func pick[T any](s *source, from []T) T { return from[s.IntN(len(from))] }

// chance is true in percent of the cases.
func (s *source) chance(percent int) bool { return s.IntN(100) < percent }

// between is a number from a to b.
func (s *source) between(a, b int) int { return a + s.IntN(b-a+1) }

// words are several of the vocabulary.
func (s *source) words(n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(pick(s, pick(s, vocabulary)))
	}
	return b.String()
}

// noun is a noun with what stands before one.
func (s *source) noun() string {
	n := pick(s, nouns)
	if s.chance(45) {
		n = pick(s, adjectives) + " " + n
	}
	return pick(s, determiners) + " " + n
}

// clause says that somebody does something.
func (s *source) clause() string {
	c := s.noun() + " " + pick(s, verbs) + " " + s.noun()
	if s.chance(50) {
		c += " " + pick(s, prepositions) + " " + s.noun()
	}
	if s.chance(15) {
		c += " " + pick(s, adverbs)
	}
	return c
}

// sentence is English as shops, forums and tickets hold it, with the marks
// that prose has: apostrophes, commas, dashes, brackets, quotes and numbers.
func (s *source) sentence() string {
	c := s.clause()
	switch s.IntN(10) {
	case 0:
		c = pick(s, adverbs) + ", " + c
	case 1:
		c += ", " + pick(s, conjunctions) + " " + s.clause()
	case 2:
		c += " " + pick(s, adverbs) + " (" + s.words(s.between(1, 3)) + ")"
	case 3:
		c += " - " + pick(s, sayings)
	case 4:
		c = pick(s, sayings) + " " + pick(s, conjunctions) + " " + c
	case 5:
		c += " " + strconv.Itoa(s.between(2, 4000)) + " " + pick(s, units)
	case 6:
		c = pick(s, determiners) + ` "` + s.words(s.between(2, 4)) + `" ` + pick(s, verbs) + " " + s.noun()
	}
	return capital(c) + pick(s, []string{".", ".", ".", ".", "!", "?"})
}

// capital begins a text with a capital letter.
func capital(t string) string {
	r, n := utf8.DecodeRuneInString(t)
	return string(unicode.ToUpper(r)) + t[n:]
}

// english is prose of about n bytes, in sentences and paragraphs where breaks
// are allowed.
func (s *source) english(n int, breaks bool) string { return s.prose(n, breaks, s.sentence) }

// foreign is text of about n bytes in one of several languages.
func (s *source) foreign(n int, breaks bool) string {
	l := pick(s, languages)
	return s.prose(n, breaks, func() string { return s.phrase(l) })
}

// phrase is a sentence of another language; nobody is meant to understand it.
func (s *source) phrase(l language) string {
	var b strings.Builder
	for i := range s.between(4, 9) {
		if i > 0 {
			b.WriteString(l.space)
		}
		b.WriteString(pick(s, l.words))
	}
	return capital(b.String()) + l.stop
}

func (s *source) prose(n int, breaks bool, sentence func() string) string {
	var b strings.Builder
	for {
		next := sentence()
		if b.Len() > 0 && b.Len()+len(next) > n {
			return b.String()
		}
		switch {
		case b.Len() == 0:
		case breaks && s.chance(15):
			b.WriteString("\n\n")
		default:
			b.WriteByte(' ')
		}
		b.WriteString(next)
	}
}

// bytes are n random ones.
func (s *source) bytes(n int) []byte {
	b := make([]byte, n+8)
	for i := 0; i < n; i += 8 {
		v := s.Uint64()
		for j := range 8 {
			b[i+j] = byte(v >> (8 * j))
		}
	}
	return b[:n]
}

// base64 is a text of n characters.
func (s *source) base64(n int) string { return base64.StdEncoding.EncodeToString(s.bytes(n))[:n] }

// base64url is the same in the alphabet for URLs.
func (s *source) base64url(n int) string { return base64.RawURLEncoding.EncodeToString(s.bytes(n))[:n] }

// hex is a number of n digits.
func (s *source) hex(n int) string { return hex.EncodeToString(s.bytes(n))[:n] }

// digits is a decimal number of n digits.
func (s *source) digits(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = '0' + byte(s.IntN(10))
	}
	if n > 0 && b[0] == '0' {
		b[0] = '1'
	}
	return string(b)
}

// uuid is a random one (RFC 9562 section 5.4).
func (s *source) uuid() string {
	h := []byte(s.hex(32))
	h[12], h[16] = '4', "89ab"[s.IntN(4)]
	return fmt.Sprintf("%s-%s-%s-%s-%s", h[:8], h[8:12], h[12:16], h[16:20], h[20:])
}

// jwt is a signed token as applications keep it in cookies and send it along.
func (s *source) jwt() string {
	enc := base64.RawURLEncoding.EncodeToString
	head := enc([]byte(`{"alg":"HS256","typ":"JWT"}`))
	claims := enc(fmt.Appendf(nil, `{"sub":"%s","name":"%s","iat":%d,"exp":%d,"scope":"read write"}`, s.uuid(), s.name(), s.unix(), s.unix()))
	signature := s.bytes(32)
	signature[0] = 0xd0 | signature[0]&0x0f // begins with a digit: the rules know files such as .nsr
	return head + "." + claims + "." + enc(signature)
}

// unix is a time of the last years, in seconds.
func (s *source) unix() int { return s.between(1_700_000_000, 1_798_000_000) }

// date is a day, or a moment (RFC 3339).
func (s *source) date() string {
	d := fmt.Sprintf("%d-%02d-%02d", s.between(2019, 2027), s.between(1, 12), s.between(1, 28))
	if s.chance(50) {
		d += fmt.Sprintf("T%02d:%02d:%02d.%sZ", s.between(0, 23), s.between(0, 59), s.between(0, 59), s.digits(3))
	}
	return d
}

// name is that of a person.
func (s *source) name() string {
	n := pick(s, firstNames) + " "
	if s.chance(25) {
		n += string(rune('A'+s.IntN(26))) + ". "
	}
	n += pick(s, lastNames)
	if s.chance(15) {
		n += "-" + pick(s, lastNames)
	}
	return n
}

// email is an address of a person.
func (s *source) email() string {
	return strings.ToLower(pick(s, firstNames)) + pick(s, []string{".", "_", ""}) + pick(s, nouns) + s.digits(s.between(1, 4)) + "@" + pick(s, mailHosts)
}

// address is where somebody lives.
func (s *source) address() string {
	return fmt.Sprintf("%d %s %s, %s %s", s.between(1, 300), capital(pick(s, nouns)), pick(s, streets), s.digits(5), pick(s, cities))
}

// phone is a number to call.
func (s *source) phone() string {
	return fmt.Sprintf("+%d %s %s-%s", s.between(1, 99), s.digits(3), s.digits(3), s.digits(4))
}

// price is an amount.
func (s *source) price() string { return fmt.Sprintf("%d.%02d", s.between(0, 2000), s.IntN(100)) }

// slug is what stands in the path of an article.
func (s *source) slug() string {
	return strings.ReplaceAll(s.words(s.between(2, 5)), " ", "-") + "-" + s.digits(s.between(3, 7))
}

// query is what people type into a search box.
func (s *source) query() string {
	switch s.IntN(10) {
	case 0, 1:
		l := pick(s, languages)
		return pick(s, l.words) + l.space + pick(s, l.words) + l.space + pick(s, l.words)
	case 2:
		return pick(s, nouns) + " " + s.hex(6)
	case 3:
		return s.name()
	case 4:
		return `"` + s.words(2) + `" ` + pick(s, nouns)
	}
	return s.words(s.between(2, 5))
}

// free is a free-text value of up to about n bytes: half English, the rest in
// other languages, tokens, names, addresses and numbers.
func (s *source) free(n int) string {
	switch s.IntN(20) {
	case 0, 1, 2, 3:
		return s.foreign(n, false)
	case 4, 5:
		return s.base64(min(n, s.between(16, 64)))
	case 6:
		return s.hex(min(n, 40))
	case 7:
		return s.name()
	case 8:
		return s.address()
	case 9:
		return s.digits(s.between(6, 12))
	}
	return s.english(n, false)
}

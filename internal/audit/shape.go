package audit

import (
	"bytes"
	"encoding/base64"
)

// A shape is how a kind of secret begins, in lower case, and what follows.
type shape struct {
	prefix string
	min    int // bytes after the prefix at least
	alpha  func(byte) bool
}

// shapes are secrets that can be told from the text alone: credentials of
// RFC 9110 section 11.4, tokens of RFC 7519 section 3, and keys that their
// issuers gave a prefix so that they can be found.
var shapes = []shape{
	{"bearer ", 8, token68},
	{"eyj", 16, tokenDot}, // a JSON Web Token: {" in base64
	{"akia", 16, alnum}, {"asia", 16, alnum}, {"abia", 16, alnum}, {"acca", 16, alnum},
	{"aiza", 30, token68}, {"ya29.", 20, tokenDot},
	{"ghp_", 30, token68}, {"gho_", 30, token68}, {"ghu_", 30, token68}, {"ghs_", 30, token68}, {"ghr_", 30, token68},
	{"github_pat_", 30, token68}, {"glpat-", 16, token68},
	{"xoxb-", 10, token68}, {"xoxp-", 10, token68}, {"xoxa-", 10, token68}, {"xoxs-", 10, token68},
	{"sk_live_", 10, token68}, {"rk_live_", 10, token68}, {"sk_test_", 10, token68},
	{"npm_", 30, alnum}, {"sg.", 40, tokenDot}, {"age-secret-key-", 20, alnum},
}

// token68 tells the bytes of credentials (RFC 9110 section 11.2).
func token68(c byte) bool {
	return alnum(c) || c == '-' || c == '.' || c == '_' || c == '~' || c == '+' || c == '/' || c == '='
}

// tokenDot tells the bytes of tokens made of base64url and dots.
func tokenDot(c byte) bool { return alnum(c) || c == '-' || c == '_' || c == '.' }

// shape looks for a secret that begins at i and returns its end, or 0.
func (r *redactor) shape(l *level, i int) int {
	t := l.text
	if digit(t[i]) {
		end := card(t, i)
		if end > 0 {
			r.found(l, i, end, minShaped)
		}
		return end
	}
	if hasFold(t[i:], "basic ") {
		return r.basic(l, i+len("basic "))
	}
	first := fold(t[i])
	for _, s := range shapes {
		if s.prefix[0] != first || !hasFold(t[i:], s.prefix) {
			continue
		}
		jwt := s.prefix == "eyj"
		if jwt && i < r.dotless {
			continue
		}
		start := i + len(s.prefix)
		end := start
		for end < len(t) && s.alpha(t[end]) {
			end++
		}
		if end-start < s.min {
			continue
		}
		if jwt && bytes.IndexByte(t[i:end], '.') < 0 && !(r.cut && end == len(t)) {
			r.dotless = end // some other JSON in base64; not to be read again
			continue
		}
		if s.prefix[len(s.prefix)-1] != ' ' {
			start = i
		}
		r.found(l, start, end, minShaped)
		return end
	}
	return 0
}

// basic finds the credentials after "Basic " (RFC 7617 section 2) and learns
// the password in them.
func (r *redactor) basic(l *level, i int) int {
	t := l.text
	end := i
	for end < len(t) && token68(t[end]) {
		end++
	}
	if end-i < 4 {
		return 0
	}
	if !r.learnBasic(t[i:end]) && end-i < 16 {
		return 0 // a word of a sentence
	}
	r.found(l, i, end, minShaped)
	return end
}

// learnBasic learns the password of Basic credentials, and reports whether
// there was one.
func (r *redactor) learnBasic(b64 []byte) bool {
	raw := bytes.TrimRight(b64, "=")
	plain := make([]byte, base64.RawStdEncoding.DecodedLen(len(raw)))
	n, err := base64.RawStdEncoding.Decode(plain, raw)
	if err != nil {
		return false
	}
	_, password, ok := bytes.Cut(plain[:n], []byte(":"))
	if ok {
		r.learn(password, minNamed)
	}
	return ok
}

// keyBlock finds a private key in PEM (RFC 7468 section 10).
func (r *redactor) keyBlock(l *level, i int) int {
	t := l.text
	if !hasFold(t[i:], "-----begin ") {
		return 0
	}
	head := bytes.ToLower(t[i:min(i+64, len(t))])
	if !bytes.Contains(head, []byte("private key")) {
		return 0
	}
	end := len(t)
	if n := bytes.Index(bytes.ToLower(t[i:]), []byte("-----end ")); n >= 0 {
		end = until(t, i+n+len("-----end "), "-")
		for end < len(t) && t[end] == '-' {
			end++
		}
	}
	for line := range bytes.Lines(t[i:end]) {
		if !bytes.HasPrefix(line, []byte("-----")) {
			r.learn(line, minShaped)
		}
	}
	r.found(l, i, end, minShaped)
	return end
}

// card returns the end of the payment card number that begins at i, or 0: 13 to
// 19 digits, plain or in the groups that are embossed, with a valid check digit
// (ISO/IEC 7812-1 annex B) and a first digit that card issuers use.
func card(t []byte, i int) int {
	if i > 1 && t[i-1] == '.' && digit(t[i-2]) {
		return 0 // a fraction
	}
	var digits [20]byte
	n, group, groups, end := 0, 0, 0, 0
	var sep byte
	for j := i; j < len(t) && n < len(digits); j++ {
		c := t[j]
		if digit(c) {
			digits[n] = c - '0'
			n, group, end = n+1, group+1, j+1
			continue
		}
		if c != ' ' && c != '-' && c != '+' || sep != 0 && c != sep || group < 4 || group > 6 || j+1 == len(t) || !digit(t[j+1]) {
			break
		}
		sep, group, groups = c, 0, groups+1
	}
	if n < 13 || n > 19 || groups > 4 || groups > 0 && group > 7 || !luhn(digits[:n]) {
		return 0
	}
	return end
}

// luhn reports whether the last digit is the check digit of the others.
func luhn(d []byte) bool {
	sum := 0
	for i := range d {
		v := int(d[len(d)-1-i])
		if i%2 == 1 {
			if v *= 2; v > 9 {
				v -= 9
			}
		}
		sum += v
	}
	return sum%10 == 0
}

// hasFold reports whether t begins with the prefix, which is in lower case.
func hasFold(t []byte, prefix string) bool {
	if len(t) < len(prefix) {
		return false
	}
	for i := range len(prefix) {
		if fold(t[i]) != prefix[i] {
			return false
		}
	}
	return true
}

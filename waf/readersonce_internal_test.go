package waf

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	vars "github.com/corazawaf/coraza/v3/types/variables"

	"sallyport/waf/prover"
)

// What follows is how parts of bodies were read once: byte by byte and with what
// the standard library has, plain enough to compare with.

// onceUnescape is unescape.
func onceUnescape(s string) string {
	hex := func(c byte) int {
		at := strings.IndexByte("0123456789abcdefABCDEF", c)
		if at > 15 {
			at -= 6
		}
		return at
	}
	var b []byte
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '+':
			b = append(b, ' ')
		case s[i] == '%' && i+2 < len(s) && hex(s[i+1]) >= 0 && hex(s[i+2]) >= 0:
			b = append(b, byte(hex(s[i+1])<<4|hex(s[i+2])))
			i += 2
		default:
			b = append(b, s[i])
		}
	}
	return string(b)
}

// onceOtherPairs is otherPairs.
func onceOtherPairs(s string, to *sink) {
	for pair := range strings.SplitSeq(s, "&") {
		if bracketed := brackets.Replace(pair); strings.IndexByte(bracketed, '=') < strings.Index(bracketed, "]=") {
			at := strings.Index(bracketed, "]=")
			to.add(onceUnescape(bracketed[:at+1]), onceUnescape(bracketed[at+2:]))
		}
		if !strings.Contains(pair, ";") {
			continue
		}
		for piece := range strings.SplitSeq(pair, ";") {
			if name, value, assigned := strings.Cut(piece, "="); assigned {
				to.add(onceUnescape(name), onceUnescape(value))
			}
		}
	}
}

// onceFormLike is formLike.
var onceFormLike = regexp.MustCompile(`^[A-Za-z0-9_.~%+*\[\]-]{1,256}=`)

// onceAlias is alias.
func onceAlias(r *ruleset, name string) string {
	if other := renamed(name); other != name && r.named.known[strings.ToLower(other)] {
		return other
	}
	return ""
}

// onceTypeCharset is typeCharset.
func onceTypeCharset(contentType string) string {
	var found []string
	for rest := strings.ToLower(contentType); ; {
		_, after, more := strings.Cut(rest, "charset")
		if !more {
			break
		}
		rest = after
		value, assigned := strings.CutPrefix(strings.TrimLeft(after, " \t"), "=")
		if strings.HasPrefix(after, "*") {
			return "an encoded charset, which not everybody decodes"
		}
		if !assigned {
			continue
		}
		value = strings.TrimLeft(value, " \t\"'")
		if end := strings.IndexAny(value, ";, \t\"'"); end >= 0 {
			value = value[:end]
		}
		if !readableCharset(value) {
			return fmt.Sprintf("charset %.40q", value)
		}
		found = append(found, value)
	}
	if slices.Sort(found); len(slices.Compact(found)) > 1 {
		return "two charsets"
	}
	return ""
}

// onceText is the text of a jsonReader.
func onceText(j *jsonReader) (string, error) {
	j.i++
	var b []byte
	escaped := false
	for j.i < len(j.s) {
		c := j.s[j.i]
		if c < ' ' && !j.loose && c != j.quote {
			if escaped { // then the reader stood behind the byte
				j.i++
			}
			return "", errors.New("a control in a string")
		}
		j.i++
		if c == j.quote {
			return string(b), nil
		}
		if c != '\\' {
			b = append(b, c)
			continue
		}
		escaped = true
		if j.i >= len(j.s) {
			break
		}
		c = j.s[j.i]
		j.i++
		if at := strings.IndexByte(`"\/bfnrt`, c); at >= 0 {
			b = append(b, "\"\\/\b\f\n\r\t"[at])
			continue
		}
		if c != 'u' {
			if !j.loose {
				return "", fmt.Errorf("unknown escape \\%c", c)
			}
			b = append(b, c)
			continue
		}
		start := j.i
		r, err := j.unicode()
		switch {
		case err == nil:
			b = utf8.AppendRune(b, r)
		case j.loose:
			b, j.i = append(b, 'u'), start
		default:
			return string(b), err
		}
	}
	return string(b), errCut
}

// holdReadersOnce fails where a string is read otherwise than once.
func holdReadersOnce(tb testing.TB, r *ruleset, s string) {
	tb.Helper()
	if got, want := unescape(s), onceUnescape(s); got != want {
		tb.Errorf("unescape(%q) = %q, want %q", s, got, want)
	}
	if got, want := formLike(s), onceFormLike.MatchString(s); got != want {
		tb.Errorf("formLike(%q) = %v, want %v", s, got, want)
	}
	if got, want := r.alias(s), onceAlias(r, s); got != want {
		tb.Errorf("alias(%q) = %q, want %q", s, got, want)
	}
	if got, want := typeCharset(s), onceTypeCharset(s); got != want {
		tb.Errorf("typeCharset(%q) = %q, want %q", s, got, want)
	}
	var now, once [][2]string
	pairs(s, func(_ int, name, value string) bool { now = append(now, [2]string{name, value}); return true })
	for pair := range strings.SplitSeq(s, "&") {
		if name, value, _ := strings.Cut(pair, "="); pair != "" {
			once = append(once, [2]string{onceUnescape(name), onceUnescape(value)})
		}
	}
	if !slices.Equal(now, once) {
		tb.Errorf("pairs(%q): %q, want %q", s, now, once)
	}
	p := bounds
	p.rules = r
	var facts [2]prover.Facts
	otherPairs(s, newSink(&facts[0], &p))
	onceOtherPairs(s, newSink(&facts[1], &p))
	if got, want := facts[0].All(vars.ArgsPost), facts[1].All(vars.ArgsPost); !slices.Equal(got, want) {
		tb.Errorf("otherPairs(%q) = %q, want %q", s, got, want)
	}
	for _, quote := range []byte{'"', '\''} {
		for _, loose := range []bool{false, true} {
			for at := range min(len(s), 20) {
				now, once := jsonReader{s: s, i: at, quote: quote, loose: loose}, jsonReader{s: s[at:], quote: quote, loose: loose}
				got, err := now.text()
				want, wanted := onceText(&once)
				if got != want || fmt.Sprint(err) != fmt.Sprint(wanted) || now.i != at+once.i || now.lone != once.lone {
					tb.Errorf("the text at %d of %q, quote %q, loose %v: %q, %v, up to %d, want %q, %v, %d", at, s, quote, loose, got, err, now.i, want, wanted, at+once.i)
				}
			}
		}
	}
}

// naming is a rule set that names a few arguments.
func naming() *ruleset {
	r := new(ruleset)
	for _, name := range []string{"a", "a_b", "_method", "user_id", "a[b_c]", strings.Repeat("a_", 40), "é_b", "k_b"} {
		r.named.add(name)
	}
	return r
}

// TestReadersOnce compares with how bodies were read once, for strings made of
// what means something to one of the readers.
func TestReadersOnce(t *testing.T) {
	pieces := strings.Split(`%|%4|%41|%e9|%5D=|%5d=|%5B|]=|[|]|+|=|&|;|a|b|A_B|a.b|user id|_method|user.ID|\|\"|\\|\/|\n|\q|\u|\u0041|\u00e|\ud83d|\ude00|\ud83d\ude00|\u0022|"|'|charset|charset*|charset=|utf-8|latin1|utf-7|, |a quick brown fox|É|é.b|K.b|`, "|")
	pieces = append(pieces, "\x00", "\x1f", "\n", "\x80", "\xff", " ", "|", strings.Repeat("a.", 40), strings.Repeat("A", 255), strings.Repeat("%4", 90), strings.Repeat("+", 200))
	r := rand.New(rand.NewPCG(3, 4))
	rounds := 20000
	if testing.Short() {
		rounds = 5000
	}
	rules := naming()
	aliases := 0
	for range rounds {
		var b strings.Builder
		for range r.IntN(12) {
			b.WriteString(pieces[r.IntN(len(pieces))])
		}
		if holdReadersOnce(t, rules, b.String()); rules.alias(b.String()) != "" {
			aliases++
		}
		if t.Failed() {
			return
		}
	}
	if aliases == 0 {
		t.Error("no name was filed under another")
	}
}

// FuzzReadersOnce does it with any string.
func FuzzReadersOnce(f *testing.F) {
	for _, s := range slices.Concat(forms, texts, []string{"charset=utf-8; charset=latin1", "text/html; charset*=x", " user.id", "É.b", "a.b\x00c", strings.Repeat("a", 256) + "=", strings.Repeat("a", 257) + "=", "\"\\u00e9\x01\"", `'"\'"'`}) {
		f.Add(s)
	}
	rules := naming()
	f.Fuzz(func(t *testing.T, s string) { holdReadersOnce(t, rules, s) })
}

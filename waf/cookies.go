package waf

import (
	"slices"
	"strings"
)

// Applications take the Cookie field apart in ways of their own (RFC 6265
// section 5.4 leaves it to them), and so do the rules: they are shown what any
// of them may read. The first reading is the lenient one that nearly all share.
// Many decode percent signs in what they find, some a plus too (PHP, Rails,
// Node's cookie); some take quotes off and resolve escapes within (Python, Go,
// Java); and some end a cookie at a comma or at white space (RFC 2109, Python),
// which to some a tab is not.

// cookies calls f with every cookie of a Cookie field, under each of the names
// and values that it may have. It returns how many cookies there are, and hands
// on no more than most of them.
func cookies(field string, most int, f func(name, value string)) int {
	count, odd := 0, false
	add := func(name, value, raw string) {
		if count++; count <= most {
			cookieForms(name, value, raw, f)
		}
	}
	newCookies(field, func(name, value, raw string) {
		odd = odd || has(name, separates) || has(value, separates)
		add(name, value, raw)
	})
	if !odd {
		return count // every reader finds the same
	}
	seen := map[[2]string]bool{}
	newCookies(field, func(name, value, _ string) { seen[[2]string{name, value}] = true })
	for _, as := range [...]struct {
		stop string
		lone bool
	}{{";,", false}, {"; \t", false}, {"; \t", true}, {";, \t", false}, {";, ", false}} {
		oldCookies(field, as.stop, as.lone, func(name, value string) {
			if key := [2]string{name, value}; !seen[key] {
				seen[key] = true
				add(name, value, value)
			}
		})
	}
	return count
}

// What bytes do to a cookie that has them.
const (
	separates = 1 << iota // it may end there, or be kept from ending
	varies                // some find another value in it
)

// effects are those of each byte.
var effects = func() (e [256]uint8) {
	for c, effect := range map[byte]uint8{',': separates, ' ': separates, '\t': separates, '"': separates | varies, '%': varies, '+': varies, '=': varies, 0xA0: varies} {
		e[c] = effect
	}
	return e
}()

// has reports whether a byte of s has the effect.
func has(s string, effect uint8) bool {
	for i := range len(s) {
		if effects[s[i]]&effect != 0 {
			return true
		}
	}
	return false
}

// newCookies calls f with what stands between two semicolons, controls and
// spaces around names and values dropped, and with the value as it stands, which
// some take. A cookie may lack its name.
func newCookies(s string, f func(name, value, raw string)) {
	for pair := range strings.SplitSeq(s, ";") {
		name, raw, _ := strings.Cut(pair, "=")
		name, value := trimControls(name), trimControls(raw)
		if name != "" || value != "" {
			f(name, value, raw)
		}
	}
}

// cookieForms calls f with a cookie as it is and as others decode it. raw is the
// value with the white space around it.
func cookieForms(name, value, raw string, f func(name, value string)) {
	if raw == value && !has(name, varies) && !has(value, varies) {
		f(name, value)
		return
	}
	var few [8][2]string
	forms := few[:0]
	add := func(name, value string) {
		if form := [2]string{name, value}; !slices.Contains(forms, form) {
			forms = append(forms, form)
			f(name, value)
		}
	}
	decoded := func(value string) {
		add(name, value)
		add(unescape(name), unescape(value))
		if strings.Contains(value, "+") || strings.Contains(name, "+") {
			add(percentDecoded(name), percentDecoded(value))
		}
	}
	quoted := func(value string) {
		if decoded(value); len(value) > 1 && value[0] == '"' {
			inner := value[1 : len(value)-1] // whatever its last byte is
			decoded(inner)
			add(name, unquotedCookie(inner))
		}
	}
	if quoted(value); value != "" {
		decoded(raw)
	}
	// To Python, equals signs that nothing else ends a name at belong to it.
	if _, after, more := strings.Cut(value, "="); more && (name == "" || value[0] == '=') {
		quoted(strings.TrimLeft(after, "= \t"))
	}
	if later := lateQuote(value); later != "" {
		quoted(later[:closingQuote(later)])
	}
	// To those who take the field for ISO 8859-1, this byte is white space.
	if v := trim(value, func(c byte) bool { return c <= ' ' || c == 0xA0 }); len(v) < len(value) {
		quoted(v)
	}
}

// unquotedCookie resolves escapes as Python does: a backslash before three octal
// digits, or before the character itself.
func unquotedCookie(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	b := make([]byte, 0, len(s))
	octal := func(c byte) bool { return '0' <= c && c <= '7' }
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] != '\\' || i+1 == len(s):
			b = append(b, s[i])
		case i+3 < len(s) && s[i+1] <= '3' && octal(s[i+1]) && octal(s[i+2]) && octal(s[i+3]):
			b = append(b, (s[i+1]-'0')<<6|(s[i+2]-'0')<<3|(s[i+3]-'0'))
			i += 3
		default:
			i++
			b = append(b, s[i])
		}
	}
	return string(b)
}

// oldCookies calls f with the cookies of a field as older specifications have
// them: ended by one of the bytes in stop, unless in quotes. With lone, an equals
// sign that stands alone assigns nothing, as to Python.
func oldCookies(s, stop string, lone bool, f func(name, value string)) {
	word := func(stop string) string {
		end := strings.IndexAny(s, stop)
		if end < 0 {
			end = len(s)
		}
		found := s[:end]
		s = s[end:]
		return found
	}
	for {
		s = strings.TrimLeft(s, stop)
		if s == "" {
			return
		}
		name := word("=" + stop)
		rest, assigned := strings.CutPrefix(strings.TrimLeft(s, " \t"), "=")
		if !assigned {
			continue
		}
		s = strings.TrimLeft(rest, " \t")
		if lone && name == "" && len(s) < len(rest) {
			continue
		}
		if later := lateQuote(s); later != "" && !strings.ContainsAny(strings.TrimRight(s[:len(s)-len(later)], "= \t"), stop) {
			f(trimControls(name), later[:closingQuote(later)])
		}
		value := ""
		if end := closingQuote(s); end > 0 {
			value, s = s[:end], s[end:]
		} else {
			value = word(stop)
		}
		f(trimControls(name), trimControls(value))
	}
}

// lateQuote returns what begins with the first quote of a value that is not its
// first byte, if an equals sign stands before it and another quote ends it.
func lateQuote(s string) string {
	at := strings.IndexByte(s, '"')
	if at <= 0 || !strings.HasSuffix(strings.TrimRight(s[:at], " \t"), "=") || closingQuote(s[at:]) == 0 {
		return ""
	}
	return s[at:]
}

// closingQuote returns where a quoted string ends that s begins with, behind
// its quote; 0 when it does not.
func closingQuote(s string) int {
	if s == "" || s[0] != '"' {
		return 0
	}
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return 0
}

// trimControls cuts ASCII controls and spaces off both ends.
func trimControls(s string) string {
	return trim(s, func(c byte) bool { return c <= ' ' || c == 0x7F })
}

// trim cuts bytes off both ends.
func trim(s string, outside func(c byte) bool) string {
	for s != "" && outside(s[0]) {
		s = s[1:]
	}
	for s != "" && outside(s[len(s)-1]) {
		s = s[:len(s)-1]
	}
	return s
}

package waf

import "strings"

// Applications take the Cookie field apart in ways of their own (RFC 6265
// section 5.4 leaves it to them), and so do the rules: they are shown what any
// of them may read. The first reading is the lenient one that nearly all share.
// Many decode percent signs in what they find, some a plus too (PHP, Rails,
// Node's cookie); some take quotes off and resolve escapes within (Python, Go,
// Java); and some end a cookie at a comma or at white space (RFC 2109, Python).

// cookies calls f with every cookie of a Cookie field, under each of the names
// and values that it may have. It returns how many cookies there are, and hands
// on no more than most of them.
func cookies(field string, most int, f func(name, value string)) int {
	count, odd := 0, false
	add := func(name, value string) {
		if count++; count <= most {
			cookieForms(name, value, f)
		}
	}
	newCookies(field, func(name, value string) {
		odd = odd || strings.ContainsAny(name, separators) || strings.ContainsAny(value, separators)
		add(name, value)
	})
	if !odd {
		return count // every reader finds the same
	}
	seen := map[[2]string]bool{}
	newCookies(field, func(name, value string) { seen[[2]string{name, value}] = true })
	oldCookies(field, func(name, value string) {
		if !seen[[2]string{name, value}] {
			add(name, value)
		}
	})
	return count
}

// separators are what else than a semicolon may end a cookie, or keep it from
// ending.
const separators = ", \t\""

// newCookies calls f with what stands between two semicolons, controls and
// spaces around names and values dropped. A cookie may lack its name.
func newCookies(s string, f func(name, value string)) {
	for pair := range strings.SplitSeq(s, ";") {
		name, value, _ := strings.Cut(pair, "=")
		name, value = trimControls(name), trimControls(value)
		if name != "" || value != "" {
			f(name, value)
		}
	}
}

// cookieForms calls f with a cookie as it is and as others decode it.
func cookieForms(name, value string, f func(name, value string)) {
	f(name, value)
	formName, formValue := unescape(name), unescape(value)
	if formName != name || formValue != value {
		f(formName, formValue)
	}
	if strings.Contains(value, "+") || strings.Contains(name, "+") {
		if n, v := percentDecoded(name), percentDecoded(value); n != name || v != value {
			f(n, v)
		}
	}
	if len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"' {
		f(name, unquotedCookie(value[1:len(value)-1]))
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
// them: ended by a semicolon, a comma or white space, unless in quotes.
func oldCookies(s string, f func(name, value string)) {
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
		s = strings.TrimLeft(s, ";, \t")
		if s == "" {
			return
		}
		name := word("=;, \t")
		rest, assigned := strings.CutPrefix(strings.TrimLeft(s, " \t"), "=")
		if !assigned {
			continue
		}
		s = strings.TrimLeft(rest, " \t")
		value := ""
		if end := closingQuote(s); end > 0 {
			value, s = s[:end], s[end:]
		} else {
			value = word(";, \t")
		}
		if name != "" {
			f(trimControls(name), trimControls(value))
		}
	}
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
	outside := func(c byte) bool { return c <= ' ' || c == 0x7F }
	for s != "" && outside(s[0]) {
		s = s[1:]
	}
	for s != "" && outside(s[len(s)-1]) {
		s = s[:len(s)-1]
	}
	return s
}

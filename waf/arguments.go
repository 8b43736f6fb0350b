package waf

import (
	"strconv"
	"strings"
	"unsafe"

	vars "github.com/corazawaf/coraza/v3/types/variables"

	"sallyport/waf/prover"
)

// view returns the bytes as a string without copying them. The bytes must not
// change any more.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// pairs cuts the form in s at each & and hands the decoded names and values
// to f, with the offset of the pair, until f returns false. Empty pairs are
// left out. It decodes leniently, as the engine does for queries: what is not
// a valid escape stays as it is.
func pairs(s string, f func(offset int, name, value string) bool) {
	for start := 0; start < len(s); {
		end := strings.IndexByte(s[start:], '&')
		if end < 0 {
			end = len(s)
		} else {
			end += start
		}
		if pair := s[start:end]; pair != "" {
			name, value, _ := strings.Cut(pair, "=")
			if !f(start, unescape(name), unescape(value)) {
				return
			}
		}
		start = end + 1
	}
}

// otherPairs hands on what some applications find in a query or form beside
// what pairs finds: those that end a parameter at a semicolon too, as HTML 4.01
// appendix B.2.2 recommends (browsers encode one that belongs to a value), and
// those that end a name at a bracket before an equals sign (Node's qs).
func otherPairs(s string, to *sink) {
	if !strings.Contains(s, ";") && !strings.Contains(s, "]=") && !strings.Contains(s, "%5") {
		return
	}
	for pair := range strings.SplitSeq(s, "&") {
		if bracketed := brackets.Replace(pair); strings.IndexByte(bracketed, '=') < strings.Index(bracketed, "]=") {
			at := strings.Index(bracketed, "]=")
			to.add(unescape(bracketed[:at+1]), unescape(bracketed[at+2:]))
		}
		if !strings.Contains(pair, ";") {
			continue
		}
		for piece := range strings.SplitSeq(pair, ";") {
			if name, value, assigned := strings.Cut(piece, "="); assigned {
				to.add(unescape(name), unescape(value))
			}
		}
	}
}

// brackets decodes brackets and nothing else.
var brackets = strings.NewReplacer("%5B", "[", "%5b", "[", "%5D", "]", "%5d", "]")

// unescape decodes %XX and +. It returns a part of s when there is nothing to
// decode.
func unescape(s string) string {
	i := strings.IndexAny(s, "%+")
	if i < 0 {
		return s
	}
	b := make([]byte, i, len(s))
	copy(b, s)
	for ; i < len(s); i++ {
		switch {
		case s[i] == '+':
			b = append(b, ' ')
		case s[i] == '%' && i+2 < len(s) && hexValue(s[i+1]) >= 0 && hexValue(s[i+2]) >= 0:
			b = append(b, byte(hexValue(s[i+1])<<4|hexValue(s[i+2])))
			i += 2
		default:
			b = append(b, s[i])
		}
	}
	return view(b)
}

func hexValue(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// readForm takes an application/x-www-form-urlencoded body apart. Clients that
// send JSON and forget to say so send one pair, which is the whole text: it is
// a value then and no name, for which line ends are an attack.
func readForm(body string, to *sink, json bool) {
	pairs(body, func(offset int, name, value string) bool {
		if json && offset == 0 {
			if value != "" {
				to.add("", value)
			}
			name, value = "", upToNext(body)
		}
		to.add(name, value)
		return !to.full
	})
	if !json {
		otherPairs(body, to)
	}
	putBody(to.facts, body)
}

// readRaw takes a body of unknown type apart as if it were a form, as the
// Core Rule Set asks for, so that rules on arguments look at it. Ampersands
// mean nothing in such a body: what follows the last argument that the engine
// takes is judged as one value.
func readRaw(body string, to *sink) {
	pairs(body, func(offset int, name, value string) bool {
		if to.count == to.arguments-1 {
			to.add("", body[offset:])
			return false
		}
		if strings.ContainsAny(name, "\r\n") {
			// Lines of a text, where a name would not be one.
			name, value = "", upToNext(body[offset:])
		}
		to.add(name, value)
		return true
	})
	putBody(to.facts, body)
}

// upToNext returns the decoded text up to the next ampersand.
func upToNext(s string) string {
	pair, _, _ := strings.Cut(s, "&")
	return unescape(pair)
}

// putBody shows the body as it is.
func putBody(facts *prover.Facts, body string) {
	facts.Set(vars.RequestBody, body)
	facts.Set(vars.RequestBodyLength, strconv.Itoa(len(body)))
}

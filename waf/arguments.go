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
	var r room
	for start := 0; start < len(s); {
		end := strings.IndexByte(s[start:], '&')
		if end < 0 {
			end = len(s)
		} else {
			end += start
		}
		if pair := s[start:end]; pair != "" {
			name, value, _ := strings.Cut(pair, "=")
			name = r.unescape(name, len(s)-start)
			if !f(start, name, r.unescape(value, len(s)-start)) {
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
	if strings.IndexByte(s, ';') < 0 && !bracketEnds(s) {
		return
	}
	for pair := range strings.SplitSeq(s, "&") {
		if bracketEnds(pair) {
			bracketed := brackets.Replace(pair)
			if at := strings.Index(bracketed, "]="); strings.IndexByte(bracketed, '=') < at {
				to.add(unescape(bracketed[:at+1]), unescape(bracketed[at+2:]))
			}
		}
		if strings.IndexByte(pair, ';') < 0 {
			continue
		}
		for piece := range strings.SplitSeq(pair, ";") {
			if name, value, assigned := strings.Cut(piece, "="); assigned {
				to.add(unescape(name), unescape(value))
			}
		}
	}
}

// bracketEnds reports whether a bracket, encoded or not, stands right before an
// equals sign.
func bracketEnds(s string) bool {
	return strings.Contains(s, "]=") || strings.Contains(s, "%5") && (strings.Contains(s, "%5D=") || strings.Contains(s, "%5d="))
}

// brackets decodes brackets and nothing else.
var brackets = strings.NewReplacer("%5B", "[", "%5b", "[", "%5D", "]", "%5d", "]")

// unescape decodes %XX and +. It returns a part of s when there is nothing to
// decode.
func unescape(s string) string {
	i := escapeIn(s)
	if i == len(s) {
		return s
	}
	return view(appendUnescaped(make([]byte, 0, len(s)), s, i))
}

// escapeIn is where the first byte stands in s that may be decoded; behind its
// end when there is none.
func escapeIn(s string) int {
	end := len(s)
	if at := strings.IndexByte(s, '%'); at >= 0 {
		end = at
	}
	if at := strings.IndexByte(s[:end], '+'); at >= 0 {
		end = at
	}
	return end
}

// appendUnescaped appends what s decodes to, in which i is the first byte that
// may be decoded.
func appendUnescaped(b []byte, s string, i int) []byte {
	b = append(b, s[:i]...)
	for ; i < len(s); i++ {
		c := s[i]
		switch c {
		case '+':
			c = ' '
		case '%':
			if i+2 < len(s) {
				if high, low := hexValue(s[i+1]), hexValue(s[i+2]); high|low >= 0 {
					c = byte(high<<4 | low)
					i += 2
				}
			}
		}
		b = append(b, c)
	}
	return b
}

// A room is memory that the names and values of one form share.
type room []byte

// Bounds of a room, and of what it is shared for.
const (
	maxRoom   = 1 << 10
	maxShared = maxRoom / 4
)

// unescape does what the function does. Up to rest bytes are still to come, s
// among them.
func (r *room) unescape(s string, rest int) string {
	i := escapeIn(s)
	if i == len(s) || len(s) > maxShared {
		return unescape(s)
	}
	b := *r
	if cap(b)-len(b) < len(s) {
		b = make([]byte, 0, min(rest, maxRoom))
	}
	from := len(b)
	*r = appendUnescaped(b, s, i)
	return view((*r)[from:])
}

// hexValue is what a hexadecimal digit stands for; negative for another byte.
func hexValue(c byte) int { return int(hexValues[c]) }

var hexValues = func() (values [256]int8) {
	for c := range values {
		values[c] = -1
	}
	for value, c := range "0123456789abcdef" {
		values[c] = int8(value)
	}
	for value, c := range "ABCDEF" {
		values[c] = int8(10 + value)
	}
	return values
}()

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

package prover

import (
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"sallyport/waf/injection"
	"sallyport/waf/rx"
)

// A test is an operator with its argument, for those that the matcher of package
// rx does not take, or that cost less than it does.
type test func(value string) bool

// scanned are the operators that package rx looks for, all of a value at once.
// None of them expands macros.
var scanned = map[string]rx.Kind{"rx": rx.Pattern, "pm": rx.Phrases, "pmfromfile": rx.Phrases, "pmf": rx.Phrases, "validatebyterange": rx.ByteRange}

// pure are the operators of which only the answer matters, and what they capture,
// and which are not known here. All others do something besides: @restpath fills a
// collection, @rbl asks a name server and keeps what it says in TX:httpbl_msg, and
// @inspectFile runs a program.
var pure = map[string]bool{"pmfromdataset": true, "ipmatchfromfile": true, "ipmatchf": true, "ipmatchfromdataset": true, "validatenid": true, "validateschema": true}

// inspects are the TX variables that an operator looks at by itself, whatever its
// targets are.
var inspects = map[string][]string{"validateschema": {"json_request_body", "json_response_body"}}

// expands are the operators whose argument is a macro.
var expands = map[string]bool{
	"eq": true, "lt": true, "le": true, "gt": true, "ge": true, "within": true, "streq": true, "strmatch": true, "contains": true, "beginswith": true, "endswith": true,
}

// matcher is the operator as package rx has it.
func (o *Operator) matcher() rx.Operator {
	m := rx.Operator{Kind: scanned[o.Name], Text: o.Argument, List: o.List, Not: o.Not}
	if m.Kind == rx.Phrases {
		m.Text = ""
	}
	return m
}

// searchable reports whether package rx takes the operator.
func (o *Operator) searchable() bool {
	switch scanned[o.Name] {
	case 0:
		return false
	case rx.Phrases:
		return len(o.List) > 0 && !slices.Contains(o.List, "")
	case rx.ByteRange:
		return o.Argument != ""
	}
	return true
}

// single returns the operator, with its argument expanded, for values that come
// one at a time. It reports false where it is not known.
func (o *Operator) single(argument string) (test, bool) {
	if scanned[o.Name] == 0 {
		return testOf(o.Name, argument, o.Not)
	}
	if !o.searchable() {
		return nil, false
	}
	set := sync.OnceValues(func() (*rx.Class, error) {
		s, err := sharedSet([]rx.Operator{o.matcher()})
		if err != nil {
			return nil, err
		}
		return s.Class(0)
	})
	return func(value string) bool {
		class, err := set()
		if err != nil {
			return true // it may match
		}
		sc := class.Set().Acquire()
		defer class.Set().Release(sc)
		return class.Match(sc, value).Hits.Any()
	}, true
}

// testOf returns the test of an operator, negation included. The argument is
// expanded. It reports false for an operator that is none.
func testOf(name, argument string, not bool) (test, bool) {
	t := plainTest(name, argument)
	if t != nil && not {
		return func(value string) bool { return !t(value) }, true
	}
	return t, t != nil
}

func plainTest(name, argument string) test {
	number, _ := strconv.Atoi(argument)
	switch name {
	case "eq":
		return func(v string) bool { return atoi(v) == number }
	case "lt":
		return func(v string) bool { return atoi(v) < number }
	case "le":
		return func(v string) bool { return atoi(v) <= number }
	case "gt":
		return func(v string) bool { return atoi(v) > number }
	case "ge":
		return func(v string) bool { return atoi(v) >= number }
	case "within":
		return func(v string) bool { return strings.Contains(argument, v) }
	case "streq":
		return func(v string) bool { return v == argument }
	case "contains", "strmatch":
		return func(v string) bool { return strings.Contains(v, argument) }
	case "beginswith":
		return func(v string) bool { return strings.HasPrefix(v, argument) }
	case "endswith":
		return func(v string) bool { return strings.HasSuffix(v, argument) }
	case "detectsqli":
		return injection.SQLi
	case "detectxss":
		return injection.XSS
	case "unconditionalmatch":
		return func(string) bool { return true }
	case "nomatch":
		return func(string) bool { return false }
	case "validateutf8encoding":
		return func(v string) bool { return !utf8.ValidString(v) }
	case "validateurlencoding":
		return brokenEscape
	case "ipmatch":
		return addressTest(argument)
	}
	return nil
}

// atoi reads a number as the engine's operators do: what is none is 0, what is
// too large the largest.
func atoi(s string) int {
	if s == "" || s[0] > '9' {
		return 0
	}
	n, _ := strconv.Atoi(s)
	return n
}

// brokenEscape reports whether a percent sign is not followed by two hex digits.
func brokenEscape(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			continue
		}
		if i+2 >= len(s) || !hex(s[i+1]) || !hex(s[i+2]) {
			return true
		}
		i += 2
	}
	return false
}

func hex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'f'
}

// addressTest is @ipMatch: a list of addresses and prefixes. What is none is left
// out, as the engine does.
func addressTest(list string) test {
	var nets []*net.IPNet
	for item := range strings.SplitSeq(list, ",") {
		item = strings.TrimSpace(item)
		if !strings.Contains(item, "/") {
			if strings.Contains(item, ":") {
				item += "/128"
			} else if strings.Contains(item, ".") {
				item += "/32"
			}
		}
		if _, n, err := net.ParseCIDR(item); err == nil {
			nets = append(nets, n)
		}
	}
	return func(v string) bool {
		ip := net.ParseIP(v)
		for _, n := range nets {
			if n.Contains(ip) {
				return true
			}
		}
		return false
	}
}

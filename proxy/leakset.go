package proxy

import (
	"bytes"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// What stands around a token decides whether it is one, and that depends on
// what it is.
type leakKind uint8

const (
	leakName leakKind = iota // a host name with a dot
	leakIPv4
	leakIPv6
	leakPort // any of them with a port
	leakSocket
)

// A leakToken is one text that would reveal a backend, in lower case.
type leakToken struct {
	text string
	// shown is the token as records name it: one form for all spellings.
	shown string
	kind  leakKind
	host  leakKind // of what it begins with
}

// A leakSet finds the tokens of a pool in a stream of bytes, all in one pass:
// an automaton of Aho and Corasick (Communications of the ACM, 1975). It is
// built once and never changed. What it costs does not depend on what it reads.
type leakSet struct {
	tokens  []leakToken
	class   [256]uint8 // 0: the byte is in no token
	classes int
	next    []uint32 // by state and class
	depth   []uint16 // by state: how many bytes of a token have been read
	output  []int32  // by state: the token that ends here; -1: none
	shorter []uint32 // by state: the next state whose token ends here too; 0: none
	longest int
	rare    rareByte
}

// newLeakSet collects what reveals the backends: host names with a dot,
// addresses, and both with their ports. A name without a dot is an ordinary
// word and never one of them. Further names and addresses that belong to them
// come without a port.
func newLeakSet(backends []*url.URL, also ...string) *leakSet {
	s := &leakSet{}
	for _, host := range also {
		if addr, err := netip.ParseAddr(host); err == nil {
			s.addAddr(addr, host, "")
		} else {
			s.addHost(asciiLower(host), asciiLower(host), "", leakName)
		}
	}
	for _, u := range backends {
		if isSocket(u) {
			s.add("unix:"+u.Opaque, "unix:"+u.Opaque, leakSocket, leakSocket)
			continue
		}
		host, port := splitAuthority(strings.ToLower(u.Host))
		host = strings.TrimSuffix(strings.Trim(host, "[]"), ".")
		addr, err := netip.ParseAddr(host)
		switch {
		case err == nil:
			s.addAddr(addr, host, port)
		case strings.Contains(host, "."):
			s.addHost(host, host, port, leakName)
		}
	}
	s.build()
	s.rare = rarest(s.tokens)
	return s
}

// addAddr adds an address in the forms that programs write it in.
func (s *leakSet) addAddr(addr netip.Addr, written, port string) {
	addr = addr.Unmap().WithZone("")
	shown := addr.String()
	if addr.Is4() {
		s.addHost(shown, shown, port, leakIPv4)
		return
	}
	for _, form := range []string{shown, addr.StringExpanded(), written} {
		s.addHost(form, shown, port, leakIPv6)
	}
}

func (s *leakSet) addHost(host, shown, port string, kind leakKind) {
	s.add(host, shown, kind, kind)
	if port == "" {
		return
	}
	s.add(host+":"+port, shown+":"+port, leakPort, kind)
	if kind == leakIPv6 {
		s.add("["+host+"]:"+port, shown+":"+port, leakPort, kind)
	}
}

// add adds a token, and again with its colons percent-encoded.
func (s *leakSet) add(text, shown string, kind, host leakKind) {
	text = asciiLower(text)
	for _, form := range []string{text, strings.ReplaceAll(text, ":", "%3a")} {
		if !slices.ContainsFunc(s.tokens, func(t leakToken) bool { return t.text == form }) {
			s.tokens = append(s.tokens, leakToken{form, shown, kind, host})
			s.longest = max(s.longest, len(form))
		}
	}
}

// build makes the automaton. Letter case does not count.
func (s *leakSet) build() {
	for _, t := range s.tokens {
		for i := 0; i < len(t.text); i++ {
			if c := t.text[i]; s.class[c] == 0 {
				s.classes++
				s.class[c] = uint8(s.classes) //nolint:gosec // at most 256-26 classes: upper case is never in a token
				if 'a' <= c && c <= 'z' {
					s.class[c-'a'+'A'] = s.class[c]
				}
			}
		}
	}
	s.classes++
	s.grow(0)
	for i, t := range s.tokens {
		state := uint32(0)
		for j := 0; j < len(t.text); j++ {
			at := int(state)*s.classes + int(s.class[t.text[j]])
			if s.next[at] == 0 {
				s.next[at] = s.grow(s.depth[state] + 1)
			}
			state = s.next[at]
		}
		s.output[state] = int32(i) //nolint:gosec // a configuration of 1 MiB has fewer
	}
	s.link()
}

// grow adds a state.
func (s *leakSet) grow(depth uint16) uint32 {
	s.next = append(s.next, make([]uint32, s.classes)...)
	s.depth = append(s.depth, depth)
	s.output = append(s.output, -1)
	s.shorter = append(s.shorter, 0)
	return uint32(len(s.depth) - 1) //nolint:gosec // as above
}

// link fills in where each state goes on with a byte that no longer token has
// there: the longest ending of what was read that begins a token.
func (s *leakSet) link() {
	fail := make([]uint32, len(s.depth))
	queue := make([]uint32, 0, len(s.depth))
	for _, child := range s.next[:s.classes] {
		if child != 0 {
			queue = append(queue, child)
		}
	}
	for len(queue) > 0 {
		state := queue[0]
		queue = queue[1:]
		f := fail[state]
		if s.output[f] >= 0 {
			s.shorter[state] = f
		} else {
			s.shorter[state] = s.shorter[f]
		}
		for c := range s.classes {
			at, other := int(state)*s.classes+c, s.next[int(f)*s.classes+c]
			if child := s.next[at]; child != 0 {
				fail[child] = other
				queue = append(queue, child)
			} else {
				s.next[at] = other
			}
		}
	}
}

// empty reports whether there is nothing to find.
func (s *leakSet) empty() bool { return len(s.tokens) == 0 }

// A rareByte is a byte that is in every token of a set: most of a text is passed
// over by looking for it.
type rareByte struct {
	c     byte // 0: there is none
	reach int  // how many bytes a token may have before it
}

// common are bytes of tokens that texts are full of, the most common last.
// Letters, which come in two cases besides, are no way to find anything.
const common = "%_9876543-210:/."

// rarest finds the byte for the tokens.
func rarest(tokens []leakToken) rareByte {
	for i := range len(common) {
		r, all := rareByte{c: common[i]}, len(tokens) > 0
		for _, t := range tokens {
			at := strings.IndexByte(t.text, r.c)
			all, r.reach = all && at >= 0, max(r.reach, at)
		}
		if all {
			return r
		}
	}
	return rareByte{}
}

// leakStride is how far is searched byte by byte at least: where the rare byte
// is not rare, looking for it costs more than it spares.
const leakStride = 16

// next returns the first place from from on where a token may begin, and up to
// where each byte is to be looked at.
func (r rareByte) next(piece []byte, from int) (at, upTo int) {
	if r.c == 0 {
		return from, len(piece)
	}
	upTo = len(piece) // if there is none: it may come yet
	if i := bytes.IndexByte(piece[from:], r.c); i >= 0 {
		upTo = from + i
	}
	at = max(from, upTo-r.reach)
	return at, max(upTo, at+leakStride)
}

// suspects reports whether a text may hold a token: whether it does, but for
// what stands around it.
func (s *leakSet) suspects(text string) bool {
	state := uint32(0)
	for i := 0; i < len(text); i++ {
		state = s.next[int(state)*s.classes+int(s.class[text[i]])]
		if state != 0 && (s.output[state] >= 0 || s.shorter[state] != 0) {
			return true
		}
	}
	return false
}

// bordered reports whether a token stands for itself between what is around
// it, so that 10.0.0.1 is not found in 10.0.0.11, nor app.internal in
// my-app.internal. before are the last bytes in front of it, after the next
// ones; known is false when the answer hangs on bytes that have not come.
func (s *leakSet) bordered(t leakToken, before, after []byte, last bool) (yes, known bool) {
	if !t.host.begins(before) {
		return false, true
	}
	if len(after) == 0 {
		return true, last
	}
	c := after[0]
	switch t.kind {
	case leakPort:
		return !isDigit(c), true
	case leakIPv6:
		switch {
		case c != ':' && c != '.':
			return !isAlnum(c), true
		case len(after) < 2:
			return true, last
		case !isHex(after[1]) && after[1] != ':':
			return true, true
		}
		return s.opens(after[1:], last) // no address goes on with a whole other one
	case leakName, leakSocket:
		if c == '-' || c == '_' {
			return false, true
		}
		fallthrough
	case leakIPv4:
		if c == '.' {
			return len(after) < 2 || !isAlnum(after[1]), last || len(after) > 1
		}
	}
	return !isAlnum(c), true
}

// opens reports whether a text begins with an IPv6 address of the set.
func (s *leakSet) opens(text []byte, last bool) (yes, known bool) {
	known = true
	for _, t := range s.tokens {
		n := min(len(text), len(t.text))
		switch {
		case t.kind != leakIPv6 || !strings.EqualFold(string(text[:n]), t.text[:n]):
		case n == len(t.text):
			return true, true
		default:
			known = last
		}
	}
	return false, known
}

// leakBefore is how many bytes in front of a token are looked at.
const leakBefore = 6

// begins reports whether nothing in front of a token makes it the end of a
// longer one. A letter that ends an escape (%2F, \n, \u003e) is none.
func (k leakKind) begins(before []byte) bool {
	if len(before) == 0 {
		return true
	}
	n := len(before)
	switch c := before[n-1]; {
	case isAlnum(c):
		return escaped(before)
	case c == '-' || c == '_':
		return k == leakIPv4 || k == leakIPv6
	case c == '.':
		return k == leakIPv6 || n < 2 || !isAlnum(before[n-2]) && before[n-2] != '-' && before[n-2] != '_' || escaped(before[:n-1])
	}
	return true
}

// escaped reports whether the text ends in an escape of URLs, JSON or
// JavaScript.
func escaped(s []byte) bool {
	n := len(s)
	hex := func(digits int, lead string) bool {
		at := n - digits - len(lead)
		return at >= 0 && strings.EqualFold(string(s[at:at+len(lead)]), lead) && !slices.ContainsFunc(s[n-digits:], func(c byte) bool { return !isHex(c) })
	}
	return n >= 2 && s[n-2] == '\\' && strings.IndexByte("bfnrtv", s[n-1]) >= 0 || hex(2, "%") || hex(4, `\u`) || hex(2, `\x`)
}

package proxy

// A leakScanner looks for the tokens of a set in bytes that come in pieces. It
// holds back what may be the beginning of a token, which is never more than
// the longest token and two bytes (of an IPv6 address that another one seems
// to follow, both), and nothing at the end of a piece that begins none: an
// event of a stream is not kept waiting.
type leakScanner struct {
	set *leakSet
	// edit is asked about each token found, and returns what takes its place;
	// false: it stays.
	edit func(leakToken) (string, bool)
	// mute is set where nobody wants what is released.
	mute bool

	held   []byte           // not released yet
	passed [leakBefore]byte // the last bytes before them
	passes int              // how many of those there are
	fresh  int              // where in the piece in hand the last edit ended: nothing before it counts
}

// A leakSpan is where a token stands in a piece.
type leakSpan struct {
	start, end int
	token      int32 // -1: none
}

// feed takes a piece and appends to out what is released of it and of what was
// held. With last everything is.
func (s *leakScanner) feed(out, piece []byte, last bool) []byte {
	if len(s.held) > 0 {
		piece = append(s.held, piece...)
	}
	s.fresh = 0
	done, from := 0, 0 // released, and searched
	for {
		found, hold := s.find(piece, from, last)
		if found.token < 0 {
			if !s.mute {
				out = append(out, piece[done:hold]...)
			}
			s.keep(piece, hold)
			return out
		}
		from = found.end
		if text, ok := s.edit(s.set.tokens[found.token]); ok {
			out = append(append(out, piece[done:found.start]...), text...)
			done, s.fresh = found.end, found.end
		}
	}
}

// keep remembers what is not released, and what stood before it.
func (s *leakScanner) keep(piece []byte, hold int) {
	if s.fresh > 0 {
		s.passes = 0
	}
	before := piece[max(s.fresh, hold-leakBefore):hold]
	if old := min(s.passes, leakBefore-len(before)); old >= 0 {
		copy(s.passed[:], s.passed[s.passes-old:s.passes])
		s.passes = old + copy(s.passed[old:], before)
	}
	s.held = append(s.held[:0:0], piece[hold:]...) // the piece may begin with what was held
}

// before returns the bytes in front of a place in a piece. What has taken the
// place of a token is a border.
func (s *leakScanner) before(piece []byte, at int) []byte {
	if from := max(s.fresh, at-leakBefore); s.fresh > 0 || at >= leakBefore {
		return piece[from:at]
	}
	return append(append(make([]byte, 0, 2*leakBefore), s.passed[:s.passes]...), piece[:at]...)
}

// find returns the first token at or after from, the longest of those that
// begin at one place. Without one it returns from where on the piece has to be
// held: a token may begin there.
func (s *leakScanner) find(piece []byte, from int, last bool) (found leakSpan, hold int) {
	set, state := s.set, uint32(0)
	found.token = -1
	upTo := from // where the rare byte has to be looked for again
	for i := from; i < len(piece); i++ {
		if state == 0 && i >= upTo {
			if i, upTo = set.rare.next(piece, i); i == len(piece) {
				break
			}
		}
		c := set.class[piece[i]]
		if state == 0 && set.next[c] == 0 {
			continue
		}
		state = set.next[int(state)*set.classes+int(c)]
		if found.token >= 0 && i+1-int(set.depth[state]) > found.start {
			return found, 0 // whatever may still come begins after it
		}
		for at := state; at != 0; at = set.shorter[at] {
			token := set.output[at]
			if token < 0 {
				continue
			}
			start := i + 1 - len(set.tokens[token].text)
			if start < from || found.token >= 0 && start > found.start {
				continue
			}
			yes, known := set.bordered(set.tokens[token], s.before(piece, start), piece[i+1:], last)
			if !known {
				return leakSpan{token: -1}, min(start, i+1-int(set.depth[state]))
			}
			if yes {
				found = leakSpan{start, i + 1, token}
				break // the longest that ends here; one that begins earlier would be longer
			}
		}
	}
	hold = len(piece) - int(set.depth[state])
	switch {
	case last:
		return found, len(piece)
	case found.token >= 0: // a longer one may begin where it does
		return leakSpan{token: -1}, min(hold, found.start)
	}
	return found, max(hold, from)
}

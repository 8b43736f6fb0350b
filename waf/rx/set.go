package rx

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"rsc.io/binaryregexp"
	binary "rsc.io/binaryregexp/syntax"
)

// A Set is a compiled list of operators. It never changes, but for the scratches
// that wait to be used again, and is safe for concurrent use.
type Set struct {
	operators []compiled
	trails    []trail
	groups    []group
	automaton *automaton
	literals  [][]literal // of each operator
	classes   classes
	programs  int
	insts     int // of the largest program
	stats     Stats
	limits    limits
	alphabets []*alphabet
	needs     []uint64 // of each operator, as Set.Needs has it; nothing: it needs none
	fold      func(dst []byte, value string) ([]byte, bool)
	idle      idleScratches
}

// A trail is a way of an operator, as it is looked for.
type trail struct {
	operator uint32
	need     uint8 // factors of which a literal must be seen
}

// A compiled operator is one that is ready to be verified.
type compiled struct {
	Operator
	gated  bool           // verified only if one of its trails was seen
	ranges *ByteSet       // of ByteRange
	prog   *program       // of Pattern; nil: too large for a dfa
	loose  *program       // of Pattern: it matches all that prog does, and more; nil: not needed
	group  int            // of Pattern: index into the set's groups; -1: none
	engine func() matcher // of Pattern: the engine's own, made when first needed
}

// A matcher is what the engine runs a pattern with.
type matcher interface{ MatchString(string) bool }

// limits bound what the verification of patterns costs.
type limits struct {
	states  int // new states a value may add to a dfa,
	perByte int // and one more for each so many bytes of it
	memory  int // bytes of all dfas of a Scratch
}

// budget is how many states value may add to a dfa.
func (l *limits) budget(value string) int { return l.states + len(value)/l.perByte }

// defaultLimits keep the growth in proportion to the value, and let a Scratch
// hold what ordinary traffic needs.
var defaultLimits = limits{states: 256, perByte: 16, memory: 4 << 20}

// Stats tell what a set is made of.
type Stats struct {
	Operators int
	Ungated   int           // operators that no literal rules out: verified for each value of their classes
	Ways      int           // that matches of the others can go
	Literals  int           // distinct
	States    int           // of the automaton
	Table     int           // bytes of the automaton
	Build     time.Duration // wall time of Compile
}

// A tool takes patterns apart; tests put a broken one in.
type tool struct {
	ways    func(extractor, *syntax.Regexp) []way
	program func(*syntax.Prog, bool) *program
	loosen  func(*syntax.Regexp) (*syntax.Regexp, bool)
	fold    func(dst []byte, value string) ([]byte, bool)
	allows  func(*alphabet, *syntax.Regexp, bool) bool
}

var tools = tool{extractor.ways, newProgram, loosen, foldLetters, (*alphabet).allows}

// Compile makes a set. An operator is known by its index. The error names the first
// operator that the engine would not take either, or that cannot be answered exactly.
func Compile(operators []Operator, by Bytes) (*Set, error) { return compile(operators, by, tools) }

func compile(operators []Operator, by Bytes, with tool) (*Set, error) {
	began := time.Now()
	s := &Set{operators: make([]compiled, len(operators)), limits: defaultLimits, fold: with.fold, idle: idleScratches{most: runtime.GOMAXPROCS(0)}}
	s.literals = make([][]literal, len(operators))
	for _, bytes := range by.Alphabets {
		a := newAlphabet(bytes)
		a.possible = s.newBits()
		s.alphabets = append(s.alphabets, a)
	}
	var candidates []candidate
	for i, op := range operators {
		c, tree, ways, err := prepare(op, with)
		if err != nil {
			return nil, fmt.Errorf("operator %d: %w", i, err)
		}
		for _, w := range ways {
			own := owner{operator: uint32(i), trail: uint32(len(s.trails))}
			for n, f := range w {
				if own.bit = 1 << n; op.Kind == Phrases {
					own.bit = wholeMatch
				}
				for _, text := range f {
					s.literals[i] = append(s.literals[i], literal{text, own})
				}
			}
			s.trails = append(s.trails, trail{uint32(i), 1<<len(w) - 1})
		}
		if c.gated = len(ways) > 0; !c.gated {
			s.stats.Ungated++
		}
		s.number(c.prog)
		s.number(c.loose)
		s.operators[i] = c
		for _, a := range s.alphabets {
			if a.leaves(s, i, tree, with) {
				a.possible.set(i)
			}
		}
		s.needs = append(s.needs, s.need(i, tree, by.Kinds, with))
		if c, ok := consider(i, c.prog, tree, ways); ok {
			candidates = append(candidates, c)
		}
	}
	s.form(candidates, with)
	every := s.newBits()
	for i := range s.operators {
		every.set(i)
	}
	s.automaton = s.automatonOf(every)
	s.stats.Operators, s.stats.Ways, s.stats.Literals = len(operators), len(s.trails), len(s.automaton.outs)-1
	s.stats.States, s.stats.Table = len(s.automaton.output), s.automaton.size()
	s.stats.Build = time.Since(began)
	return s, nil
}

// number gives a program its place among the dfas of a Scratch.
func (s *Set) number(p *program) {
	if p != nil {
		p.id = s.programs
		s.programs++
		s.insts = max(s.insts, len(p.insts))
	}
}

// Stats returns the figures of the set.
func (s *Set) Stats() Stats { return s.stats }

// prepare compiles one operator and finds the ways in which it can match, and,
// of a pattern, a tree that matches whatever it does.
func prepare(op Operator, with tool) (compiled, *syntax.Regexp, []way, error) {
	c := compiled{Operator: op, group: -1}
	switch op.Kind {
	case Pattern:
		tree, ways, err := c.pattern(with)
		return c, tree, ways, err
	case Phrases:
		if len(op.List) == 0 || slices.Contains(op.List, "") {
			// The engine's search is not consistent about the empty phrase.
			return c, nil, nil, errors.New("an empty phrase, or none")
		}
		f := make(factor, len(op.List))
		for i, phrase := range op.List {
			f[i] = lower(phrase)
		}
		c.List = nil
		return c, nil, []way{{f}}, nil
	case Contains, BeginsWith, EndsWith, Equal:
		if op.Text == "" {
			return c, nil, nil, nil
		}
		return c, nil, []way{{{lower(op.Text)}}}, nil
	case Within:
		return c, nil, nil, nil
	case ByteRange:
		var err error
		c.ranges, err = parseRanges(op.Text)
		return c, nil, nil, err
	}
	return c, nil, nil, fmt.Errorf("kind %d is not known", op.Kind)
}

// pattern compiles @rx as the engine does: with (?sm) in front, or byte by byte
// where the pattern names bytes that are no UTF-8, and then without.
func (c *compiled) pattern(with tool) (*syntax.Regexp, []way, error) {
	var (
		text    = c.Text
		onBytes = namesBytes(text)
		tree    *syntax.Regexp
	)
	if onBytes {
		parsed, err := binary.Parse(text, binary.Perl)
		if err != nil {
			return nil, nil, err
		}
		tree = treeOf(parsed)
		c.engine = sync.OnceValue(func() matcher { return binaryregexp.MustCompile(text) })
	} else {
		text = "(?sm)" + text
		var err error
		if tree, err = syntax.Parse(text, syntax.Perl); err != nil {
			return nil, nil, err
		}
		c.engine = sync.OnceValue(func() matcher { return regexp.MustCompile(text) })
	}
	prog, err := syntax.Compile(tree.Simplify())
	if err != nil {
		return nil, nil, err
	}
	c.prog = with.program(prog, onBytes)
	loose, changed := with.loosen(tree)
	if changed && c.prog != nil {
		if prog, err = syntax.Compile(loose.Simplify()); err != nil {
			return nil, nil, err
		}
		c.loose = with.program(prog, onBytes)
	}
	return loose, with.ways(extractor{onBytes, map[*syntax.Regexp]shape{}}, tree), nil
}

// loosen replaces repetitions that count far by such that do not: the states of
// a dfa multiply with each number that they have to tell apart. The new tree
// matches whatever the old one does.
func loosen(re *syntax.Regexp) (*syntax.Regexp, bool) {
	const far = 5
	out := *re
	out.Sub = make([]*syntax.Regexp, len(re.Sub))
	changed := false
	for i, sub := range re.Sub {
		var c bool
		out.Sub[i], c = loosen(sub)
		changed = changed || c
	}
	if re.Op == syntax.OpRepeat && max(re.Min, re.Max) > far {
		out.Min, out.Max, changed = min(re.Min, 1), -1, true
	}
	return &out, changed
}

// namesBytes reports whether the engine hands the pattern to its matcher of
// bytes: when, with \xhh and \x{hh...} read as the byte of the first two digits,
// it is not UTF-8. A backslash that is itself escaped begins an escape there.
func namesBytes(pattern string) bool {
	text := make([]byte, 0, len(pattern))
	for i := 0; i < len(pattern); {
		b, width := byteEscape(pattern[i:])
		text = append(text, b)
		i += width
	}
	return !utf8.Valid(text)
}

// byteEscape reads one byte or one escape from the start of s.
func byteEscape(s string) (b byte, width int) {
	if len(s) < 4 || !strings.HasPrefix(s, `\x`) {
		return s[0], 1
	}
	digits, width := s[2:4], 4
	if end := strings.IndexByte(s, '}'); s[2] == '{' && len(s) >= 6 && end >= 5 {
		digits, width = s[3:5], end+1
	}
	high, low := hex(digits[0]), hex(digits[1])
	if high < 0 || low < 0 {
		return s[0], 1
	}
	return byte(high<<4 | low), width
}

func hex(c byte) int { return strings.IndexByte("0123456789abcdef", c|0x20) }

// treeOf makes of binaryregexp's tree the one that it was forked from; the
// numbers are the same.
func treeOf(re *binary.Regexp) *syntax.Regexp {
	out := &syntax.Regexp{Op: syntax.Op(re.Op), Flags: syntax.Flags(re.Flags), Rune: re.Rune, Min: re.Min, Max: re.Max, Cap: re.Cap, Name: re.Name}
	for _, sub := range re.Sub {
		out.Sub = append(out.Sub, treeOf(sub))
	}
	return out
}

// It does not compile if a number differs.
var (
	_ = [1]struct{}{}[binary.OpNoMatch-binary.Op(syntax.OpNoMatch)]
	_ = [1]struct{}{}[binary.OpAlternate-binary.Op(syntax.OpAlternate)]
	_ = [1]struct{}{}[binary.FoldCase-binary.Flags(syntax.FoldCase)]
	_ = [1]struct{}{}[binary.NonGreedy-binary.Flags(syntax.NonGreedy)]
	_ = [1]struct{}{}[binary.WasDollar-binary.Flags(syntax.WasDollar)]
)

// lower folds ASCII letters and leaves all other bytes alone.
func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// Screens reports whether Class.Screen can rule the operator out: not where any
// value may match it, nor where it matches what it does not find.
func (s *Set) Screens(operator int) bool {
	op := &s.operators[operator]
	return op.gated && !op.Not
}

// Package rx decides for one value at a time which of a set of SecLang
// operators match it: patterns, phrase lists, comparisons and byte ranges.
//
// A set is compiled once. Each operator is reduced to literals of which every
// match contains at least one; one Aho-Corasick automaton over the literals of
// all operators reads the value once and leaves the few operators that can
// match. Patterns among those are verified by lazy DFAs whose growth is
// budgeted, and by the engine's own regexp packages when a budget ends. Nothing
// is learned about values: a set answers the first one as it answers the last.
//
// The answers are those of the engine's operators, byte for byte. An operator
// may be reported as undecided, and only to a caller who asks for that; a match
// is never missed. The package knows no rules, variables or transformations.
package rx

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// A Kind is the comparison that an operator makes.
type Kind uint8

// The kinds, by their SecLang names. All but Phrases compare case-sensitively.
const (
	Pattern    Kind = iota + 1 // @rx: Text is the pattern as the rule has it
	Phrases                    // @pm, @pmFromFile: one of List occurs, ASCII letters in either case
	Contains                   // @contains: Text occurs in the value
	BeginsWith                 // @beginsWith: the value begins with Text
	EndsWith                   // @endsWith: the value ends with Text
	Equal                      // @streq: the value is Text
	Within                     // @within: the value occurs in Text
	ByteRange                  // @validateByteRange: a byte is outside the ranges of Text
)

// An Operator is what a rule compares values with. Macros (%{tx.a}) are not
// expanded here: who compiles a set puts the expanded text in, or leaves the
// rule to the engine.
type Operator struct {
	Kind Kind
	Text string
	List []string // of Phrases, as SplitPhrases or ReadPhrases returns it
	Not  bool     // the operator matches when the comparison does not (!@rx)
}

// SplitPhrases cuts the argument of @pm into phrases as the engine does: at
// each space, in lower case.
func SplitPhrases(argument string) []string {
	return strings.Split(strings.ToLower(argument), " ")
}

// ReadPhrases takes the phrases out of a file for @pmFromFile as the engine
// does: one a line, in lower case, without empty lines and those that begin
// with #. The engine's reader stops without a word at a line of 64 KiB or more;
// here that is an error.
func ReadPhrases(file []byte) ([]string, error) {
	var list []string
	lines := bufio.NewScanner(bytes.NewReader(file))
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line != "" && line[0] != '#' {
			list = append(list, strings.ToLower(line))
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read phrases: %w", err)
	}
	return list, nil
}

// parseRanges reads the argument of @validateByteRange: numbers and ranges of
// numbers, separated by commas.
func parseRanges(text string) (*ByteSet, error) {
	if text == "" {
		return nil, errors.New("no byte ranges")
	}
	var set ByteSet
	for item := range strings.SplitSeq(text, ",") {
		first, last, ranged := strings.Cut(strings.TrimSpace(item), "-")
		if !ranged {
			last = first
		}
		from, err := parseByte(first)
		if err != nil {
			return nil, err
		}
		to, err := parseByte(last)
		if err != nil {
			return nil, err
		}
		for b := from; b <= to; b++ {
			set.Add(byte(b))
		}
	}
	return &set, nil
}

func parseByte(text string) (int, error) {
	b, err := strconv.Atoi(text)
	if err != nil || b < 0 || b > 255 {
		return 0, fmt.Errorf("%q is not a byte", text)
	}
	return b, nil
}

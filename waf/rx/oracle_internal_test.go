package rx

import (
	"bufio"
	"bytes"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	coreruleset "github.com/corazawaf/coraza-coreruleset/v4"
	"rsc.io/binaryregexp"
)

// An oracle answers for one operator by the packages that the engine uses, with
// nothing of ours but the names.
type oracle func(value string) bool

func newOracle(tb testing.TB, op Operator) oracle {
	tb.Helper()
	plain := func() oracle {
		switch op.Kind {
		case Pattern:
			if namesBytes(op.Text) {
				return binaryregexp.MustCompile(op.Text).MatchString
			}
			return regexp.MustCompile("(?sm)" + op.Text).MatchString
		case Phrases:
			return func(value string) bool {
				folded := lower(value)
				return slices.ContainsFunc(op.List, func(p string) bool { return strings.Contains(folded, lower(p)) })
			}
		case Contains:
			return func(value string) bool { return strings.Contains(value, op.Text) }
		case BeginsWith:
			return func(value string) bool { return strings.HasPrefix(value, op.Text) }
		case EndsWith:
			return func(value string) bool { return strings.HasSuffix(value, op.Text) }
		case Equal:
			return func(value string) bool { return value == op.Text }
		case Within:
			return func(value string) bool { return strings.Contains(op.Text, value) }
		case ByteRange:
			set, err := parseRanges(op.Text)
			if err != nil {
				tb.Fatal(err)
			}
			return func(value string) bool {
				for i := range len(value) {
					with := *set
					if with.Add(value[i]); with != *set {
						return true
					}
				}
				return false
			}
		}
		tb.Fatalf("no oracle for kind %d", op.Kind)
		return nil
	}()
	if op.Not {
		return func(value string) bool { return !plain(value) }
	}
	return plain
}

// A named operator is one of a rule file.
type named struct {
	Operator
	rule  string // the start of its line
	args  bool   // it looks at the values of arguments
	level int    // paranoia level
	file  bool   // its phrases are in a file
}

// coreRules reads the operators of the embedded Core Rule Set, of every level
// and phase, with a reader of its own. Operators with macros and those that rx
// does not know are left out.
func coreRules(tb testing.TB) []named {
	tb.Helper()
	var all []named
	names, err := fs.Glob(coreruleset.FS, "@owasp_crs/*.conf")
	if err != nil || len(names) == 0 {
		tb.Fatalf("no rule files: %v", err)
	}
	for _, name := range names {
		text, err := fs.ReadFile(coreruleset.FS, name)
		if err != nil {
			tb.Fatal(err)
		}
		lines := bufio.NewScanner(bytes.NewReader(text))
		lines.Buffer(nil, 1<<20)
		for joined := ""; lines.Scan(); {
			line := strings.TrimSpace(lines.Text())
			if strings.HasPrefix(line, "#") {
				continue
			}
			if head, more := strings.CutSuffix(line, `\`); more {
				joined += head
				continue
			}
			joined += line
			if rest, ok := strings.CutPrefix(joined, "SecRule "); ok {
				all = append(all, readRule(tb, rest)...)
			}
			joined = ""
		}
	}
	return all
}

var ruleOperator = regexp.MustCompile(`^\S+\s+"((?:[^"\\]|\\.)*)"`)

var ruleLevel = regexp.MustCompile(`paranoia-level/([1-4])`)

func readRule(tb testing.TB, text string) []named {
	m := ruleOperator.FindStringSubmatch(text)
	if m == nil {
		tb.Fatalf("no operator in %.80s", text)
	}
	written := strings.ReplaceAll(m[1], `\"`, `"`)
	written, not := strings.CutPrefix(written, "!")
	name, argument, _ := strings.Cut(written, " ")
	argument = strings.TrimSpace(argument)
	op := Operator{Text: argument, Not: not}
	switch name {
	case "@rx":
		op.Kind = Pattern
	case "@pm":
		op.Kind, op.List = Phrases, SplitPhrases(argument)
	case "@pmFromFile":
		file, err := fs.ReadFile(coreruleset.FS, path.Join("@owasp_crs", argument))
		if err != nil {
			tb.Fatal(err)
		}
		if op.List, err = ReadPhrases(file); err != nil {
			tb.Fatal(err)
		}
		op.Kind = Phrases
	case "@contains":
		op.Kind = Contains
	case "@beginsWith":
		op.Kind = BeginsWith
	case "@endsWith":
		op.Kind = EndsWith
	case "@streq":
		op.Kind = Equal
	case "@within":
		op.Kind = Within
	case "@validateByteRange":
		op.Kind = ByteRange
	default:
		return nil
	}
	if op.Kind != Pattern && strings.Contains(argument, "%{") {
		return nil
	}
	variables, _, _ := strings.Cut(text, " ")
	args := slices.Contains(strings.Split(variables, "|"), "ARGS")
	level := 1
	if m := ruleLevel.FindStringSubmatch(text); m != nil {
		level = int(m[1][0] - '0')
	}
	return []named{{op, text[:min(len(text), 60)], args, level, name == "@pmFromFile"}}
}

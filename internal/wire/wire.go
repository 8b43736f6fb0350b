// Package wire reads the wire corpus: connections written down in bytes or in
// HTTP/2 frames, and what must be answered to each. It opens no connection:
// for HTTP/2 it plays a case over the one that it is given, and compares what
// it is told. The format is described in testdata/wire/README.md.
package wire

import (
	"bytes"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"sallyport/internal/gate"
	"sallyport/testdata"
)

// The protocols that a case may be in.
const (
	HTTP1 = "http1"
	HTTP2 = "h2"
)

// A Case is one file of testdata/wire: bytes for the socket, and what must
// be answered. The format is described in testdata/wire/README.md.
type Case struct {
	Name     string // folder/file without extension
	About    string // the rule that the case shows, from its first line
	Protocol string // HTTP1 or HTTP2
	// Answers is what is expected in HTTP/1, in order, one for each request.
	Answers []Answer
	// Outcomes is what is expected in HTTP/2, in place of Answers.
	Outcomes []Outcome
	// Waits are the places where an HTTP/2 client waits, in order.
	Waits []Wait
	// HalfClose tells to end the sending direction after the bytes.
	HalfClose bool
	// Whole tells that the bytes must come together for the case to mean
	// anything.
	Whole bool
	// Refuse are hygiene reasons that are off by default and asked for in this
	// case.
	Refuse []gate.Reason
	// Raw is what is sent.
	Raw []byte
	// Frames is, in HTTP/2, the text that Raw was compiled from.
	Frames string
}

// A Answer is one answer that is expected.
type Answer struct {
	Status int
	Reason gate.Reason // empty: the request is accepted
	// Target and Body are what an accepted request must arrive with; Target is
	// empty where the case does not say.
	Target  string
	Body    string
	HasBody bool   // whether the case says anything about the body
	Method  string // what kind of answer to read; GET where the case does not say
}

// Refused reports whether any request of the case is refused.
func (c *Case) Refused() bool {
	return slices.ContainsFunc(c.Answers, func(a Answer) bool { return a.Reason != "" }) ||
		slices.ContainsFunc(c.Outcomes, func(o Outcome) bool { return o.Refused() })
}

// All reads the corpus that is part of the binary, in the order of the names.
func All() ([]Case, error) { return Load(testdata.Wire, "wire") }

// In reads the part of the corpus that is in one protocol.
func In(protocol string) ([]Case, error) {
	cases, err := All()
	return slices.DeleteFunc(cases, func(c Case) bool { return c.Protocol != protocol }), err
}

// Load reads every case below dir, in the order of the names. A directory
// without any is an error.
func Load(in fs.FS, dir string) ([]Case, error) {
	var cases []Case
	err := fs.WalkDir(in, dir, func(name string, _ fs.DirEntry, err error) error {
		if err != nil || path.Ext(name) != ".req" {
			return err
		}
		src, err := fs.ReadFile(in, name)
		if err != nil {
			return err
		}
		c, err := Parse(src)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		c.Name = strings.TrimPrefix(strings.TrimSuffix(name, ".req"), dir+"/")
		cases = append(cases, c)
		return nil
	})
	if err == nil && len(cases) == 0 {
		err = fmt.Errorf("no wire cases in %s", dir)
	}
	return cases, err
}

// Parse reads one case.
func Parse(src []byte) (Case, error) {
	head, raw, ok := bytes.Cut(src, []byte("\n--\n"))
	if !ok {
		return Case{}, fmt.Errorf("no line \"--\" between what is expected and the bytes")
	}
	c := Case{Protocol: HTTP1}
	for line := range strings.Lines(string(head)) {
		if err := c.key(strings.TrimSpace(line)); err != nil {
			return c, err
		}
	}
	if len(c.Answers)+len(c.Outcomes) == 0 {
		return c, fmt.Errorf("nothing is expected")
	}
	var err error
	if c.Protocol == HTTP2 {
		c.Frames = string(raw)
		c.Raw, c.Waits, err = compile(c.Frames)
		return c, err
	}
	c.Raw, err = Unescape(string(raw))
	return c, err
}

// key reads one line above the bytes.
func (c *Case) key(line string) error {
	key, value, ok := strings.Cut(line, ":")
	value = strings.TrimSpace(value)
	switch {
	case line == "":
	case strings.HasPrefix(line, "#"):
		if c.About == "" {
			c.About = strings.TrimSpace(line[1:])
		}
	case !ok:
		return fmt.Errorf("no colon in %q", line)
	case key == "end" && value == "half-close":
		c.HalfClose = true
	case key == "send" && value == "whole":
		c.Whole = true
	case key == "protocol":
		if value != HTTP2 || len(c.Answers)+len(c.Outcomes)+len(c.Refuse) > 0 {
			return fmt.Errorf("protocol: h2 stands before other keys, and there is no other")
		}
		c.Protocol = HTTP2
	case c.Protocol == HTTP2:
		return c.outcomeKey(key, value)
	case key == "refuse" && gate.Reason(value).Optional():
		c.Refuse = append(c.Refuse, gate.Reason(value))
	case key == "expect":
		status, reason, _ := strings.Cut(value, " ")
		n, err := strconv.Atoi(status)
		if err != nil {
			return fmt.Errorf("status: %w", err)
		}
		a := Answer{Status: n, Reason: gate.Reason(reason), Method: "GET"}
		if reason != "" && a.Reason.Info().Title == "" {
			return fmt.Errorf("unknown reason %q", reason)
		}
		c.Answers = append(c.Answers, a)
	case len(c.Answers) == 0:
		return fmt.Errorf("%q before the first expect", key)
	case key == "target":
		c.Answers[len(c.Answers)-1].Target = value
	case key == "method":
		c.Answers[len(c.Answers)-1].Method = value
	case key == "body":
		b, err := Unescape(value)
		if err != nil {
			return err
		}
		a := &c.Answers[len(c.Answers)-1]
		a.Body, a.HasBody = string(b), true
	default:
		return fmt.Errorf("unknown key %q", key)
	}
	return nil
}

// Unescape makes bytes of the visible form: line ends of the file do not
// count, \r \n \t \0 \\ and \xNN stand for one byte, and \{N:TEXT} for N times
// TEXT.
func Unescape(s string) ([]byte, error) {
	var b []byte
	for i := 0; i < len(s); i++ {
		if s[i] == '\n' {
			continue
		}
		if s[i] != '\\' {
			b = append(b, s[i])
			continue
		}
		if i++; i == len(s) {
			return nil, fmt.Errorf("a backslash at the end")
		}
		switch s[i] {
		case 'r':
			b = append(b, '\r')
		case 'n':
			b = append(b, '\n')
		case 't':
			b = append(b, '\t')
		case '0':
			b = append(b, 0)
		case '\\':
			b = append(b, '\\')
		case '{':
			part, used, err := repetition(s[i+1:])
			if err != nil {
				return nil, err
			}
			b = append(b, part...)
			i += used
		case 'x':
			if i+2 >= len(s) {
				return nil, fmt.Errorf("\\x needs two digits")
			}
			n, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
			if err != nil {
				return nil, fmt.Errorf("\\x: %w", err)
			}
			b = append(b, byte(n))
			i += 2
		default:
			return nil, fmt.Errorf("unknown escape \\%c", s[i])
		}
	}
	return b, nil
}

// repetition reads N:TEXT\} and returns the bytes and how much it read.
func repetition(s string) ([]byte, int, error) {
	count, rest, ok := strings.Cut(s, ":")
	text, _, closed := strings.Cut(rest, "\\}")
	n, err := strconv.Atoi(count)
	if !ok || !closed || err != nil || n < 0 || n > 1<<20 {
		return nil, 0, fmt.Errorf("a repetition is written \\{N:TEXT\\}")
	}
	part, err := Unescape(text)
	return bytes.Repeat(part, n), len(count) + len(":") + len(text) + len("\\}"), err
}

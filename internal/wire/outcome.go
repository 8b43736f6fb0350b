package wire

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"sallyport/internal/gate"
)

// An Outcome is how one stream of an HTTP/2 connection must end, or the
// connection itself.
type Outcome struct {
	Stream uint32   // 0: the connection
	Any    []Ending // the endings that are right, at least one
	// Target, Body, Fields and Absent are what an accepted request must arrive
	// with. Target is empty where the case does not say. Fields have names in
	// lower case; the values of one name are joined with ", ".
	Target  string
	Body    string
	HasBody bool
	Fields  []gate.Field
	Absent  []string
}

// A Kind is a way for a stream to end.
type Kind uint8

// The kinds. An unfinished stream is never expected.
const (
	Unfinished Kind = iota
	Answered        // a response that is complete
	Reset           // RST_STREAM instead, or in the middle of one
	GoneAway        // GOAWAY with an error, and the end of the connection
	Closed          // the end of the connection, and no word
)

// An Ending is one way to end.
type Ending struct {
	Kind   Kind
	Status int         // of an answer
	Reason gate.Reason // of the record; for an answer, empty means that the request is accepted
	Code   uint32      // of a reset or GOAWAY (RFC 9113 section 7)
}

// String writes the ending as a case does.
func (e Ending) String() string {
	s := ""
	switch e.Kind {
	case Answered:
		s = strconv.Itoa(e.Status)
	case Reset:
		s = "reset " + errorName(e.Code)
	case GoneAway:
		s = "goaway " + errorName(e.Code)
	case Closed:
		s = "closed"
	case Unfinished:
		s = "unfinished"
	}
	return strings.TrimSuffix(s+" "+string(e.Reason), " ")
}

// accepts reports whether the ending is the answer to an accepted request.
func (e Ending) accepts() bool { return e.Kind == Answered && e.Reason == "" }

// Refused reports whether no right ending accepts the request.
func (o *Outcome) Refused() bool { return !slices.ContainsFunc(o.Any, Ending.accepts) }

// Right returns the expected ending that is the same as what was seen, apart
// from the reason, which only the record tells.
func (o *Outcome) Right(seen Ending, reason gate.Reason) bool {
	return slices.ContainsFunc(o.Any, func(e Ending) bool {
		return e.Kind == seen.Kind && e.Status == seen.Status && e.Code == seen.Code && (e.Reason == reason || e.Kind != Answered && e.Reason == "")
	})
}

// Looks reports whether what was seen is a right ending to somebody who has no
// records.
func (o *Outcome) Looks(seen Ending) bool {
	return slices.ContainsFunc(o.Any, func(e Ending) bool {
		return e.Kind == seen.Kind && e.Status == seen.Status && e.Code == seen.Code
	})
}

// Expected lists the right endings in words.
func (o *Outcome) Expected() string {
	words := make([]string, len(o.Any))
	for i, e := range o.Any {
		words[i] = e.String()
	}
	return strings.Join(words, " | ")
}

// outcomeKey reads one line above the frames of an HTTP/2 case.
func (c *Case) outcomeKey(key, value string) error {
	if key == "expect" {
		o := Outcome{}
		for words := range strings.SplitSeq(value, "|") {
			e, err := parseEnding(strings.Fields(words))
			if err != nil {
				return err
			}
			o.Any = append(o.Any, e)
		}
		if slices.ContainsFunc(o.Any, func(e Ending) bool { return e.Kind == Answered || e.Kind == Reset }) {
			o.Stream = c.nextStream()
		}
		c.Outcomes = append(c.Outcomes, o)
		return nil
	}
	if len(c.Outcomes) == 0 {
		return fmt.Errorf("%q before the first expect", key)
	}
	o := &c.Outcomes[len(c.Outcomes)-1]
	switch key {
	case "stream":
		n, err := strconv.ParseUint(value, 10, 31)
		if err != nil {
			return fmt.Errorf("stream: %w", err)
		}
		o.Stream = uint32(n)
	case "target":
		o.Target = value
	case "body":
		b, err := Unescape(value)
		if err != nil {
			return err
		}
		o.Body, o.HasBody = string(b), true
	case "field":
		name, v, ok := strings.Cut(value, ":")
		if !ok {
			return fmt.Errorf("a field is written NAME: VALUE")
		}
		b, err := Unescape(strings.TrimSpace(v))
		if err != nil {
			return err
		}
		o.Fields = append(o.Fields, gate.Field{Name: name, Value: string(b)})
	case "absent":
		o.Absent = append(o.Absent, value)
	default:
		return fmt.Errorf("unknown key %q", key)
	}
	return nil
}

// nextStream is the stream that an expect without a number is about: the next
// one that a client would open.
func (c *Case) nextStream() uint32 {
	next := uint32(1)
	for i := range c.Outcomes {
		if s := c.Outcomes[i].Stream; s >= next {
			next = s + 1 + s%2
		}
	}
	return next
}

// parseEnding reads STATUS [REASON], reset CODE [REASON], goaway CODE [REASON]
// or closed [REASON].
func parseEnding(words []string) (e Ending, err error) {
	if len(words) == 0 {
		return e, errors.New("an empty alternative")
	}
	first, rest := words[0], words[1:]
	switch first {
	case "closed":
		e.Kind = Closed
	case "reset", "goaway":
		e.Kind = Reset
		if first == "goaway" {
			e.Kind = GoneAway
		}
		if len(rest) == 0 {
			return e, fmt.Errorf("%s without a code", first)
		}
		if e.Code, err = numbered(errorNames, rest[0]); err != nil {
			return e, err
		}
		rest = rest[1:]
	default:
		e.Kind = Answered
		if e.Status, err = strconv.Atoi(first); err != nil {
			return e, fmt.Errorf("status: %w", err)
		}
	}
	switch len(rest) {
	case 0:
		return e, nil
	case 1:
		if e.Reason = gate.Reason(rest[0]); e.Reason.Info().Title == "" {
			return e, fmt.Errorf("unknown reason %q", rest[0])
		}
		return e, nil
	}
	return e, fmt.Errorf("%q is too much", strings.Join(rest[1:], " "))
}

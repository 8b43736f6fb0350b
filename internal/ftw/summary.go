package ftw

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// A Summary is the outcome of a run. Its JSON form is what scripts read.
type Summary struct {
	Total   int           `json:"total"`
	Passed  int           `json:"passed"`
	Refused int           `json:"refused_earlier"`
	Failed  int           `json:"failed"`
	Skipped int           `json:"skipped"`
	Took    time.Duration `json:"took_ns"`
	Results []Result      `json:"results"`
}

// summarize counts results by kind.
func summarize(results []Result, took time.Duration) *Summary {
	s := &Summary{Total: len(results), Took: took, Results: results}
	for i := range results {
		switch results[i].Kind {
		case Passed:
			s.Passed++
		case Refused:
			s.Refused++
		case Skipped:
			s.Skipped++
		default:
			s.Failed++
		}
	}
	return s
}

// Share is the part of the tests that ran and passed or were refused earlier
// by name, 0 to 1.
func (s *Summary) Share() float64 {
	ran := s.Total - s.Skipped
	if ran == 0 {
		return 0
	}
	return float64(s.Passed+s.Refused) / float64(ran)
}

// NotPassed returns the results that are neither a pass nor skipped.
func (s *Summary) NotPassed() []Result {
	var rs []Result
	for i := range s.Results {
		if k := s.Results[i].Kind; k != Passed && k != Skipped {
			rs = append(rs, s.Results[i])
		}
	}
	return rs
}

// The colours of a terminal.
const (
	red    = "\x1b[31m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	plain  = "\x1b[0m"
)

// Print writes every test that did not pass with the reasons, and the totals.
// Text from test files and from traffic is escaped, so that nothing in it
// steers the terminal.
func (s *Summary) Print(w io.Writer, colour bool) error {
	b := bufio.NewWriter(w)
	paint := func(c, text string) string {
		if !colour {
			return text
		}
		return c + text + plain
	}
	for _, r := range s.NotPassed() {
		c := red
		if r.Kind == Refused {
			c = yellow
		}
		fmt.Fprintf(b, "%s  %-12s %s:%d", paint(c, fmt.Sprintf("%-15s", r.Kind)), r.Test, visible(r.File), r.Line)
		if r.Desc != "" {
			fmt.Fprintf(b, "  %s", visible(firstLine(r.Desc)))
		}
		b.WriteByte('\n')
		for _, d := range r.Details {
			prefix := ""
			if r.Stage > 1 {
				prefix = fmt.Sprintf("stage %d: ", r.Stage)
			}
			fmt.Fprintf(b, "    %s%s\n", prefix, visible(d))
		}
	}
	verdict := paint(green, "ok")
	if s.Failed > 0 {
		verdict = paint(red, "failed")
	}
	fmt.Fprintf(b, "%s: %d tests, %d passed, %d refused earlier by name, %d failed, %d skipped, %.1f %% in order, %s\n",
		verdict, s.Total, s.Passed, s.Refused, s.Failed, s.Skipped, 100*s.Share(), s.Took.Round(time.Millisecond))
	return b.Flush()
}

// firstLine cuts a text at its first line end.
func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}

// visible escapes what a terminal would act on or what cannot be seen, the
// marks of bidirectional text included, and leaves the rest as it is.
func visible(s string) string {
	var b strings.Builder
	for _, c := range s {
		if strconv.IsPrint(c) {
			b.WriteRune(c)
			continue
		}
		q := strconv.QuoteRune(c)
		b.WriteString(q[1 : len(q)-1])
	}
	return b.String()
}

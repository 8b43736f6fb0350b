package gate

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// A Diagnostic is one problem in a file that an operator wrote. It names the
// place and the remedy.
type Diagnostic struct {
	File   string
	Line   int    // from 1; 0: the file as a whole
	Column int    // from 1, in bytes; 0: the line as a whole
	Path   string // of the key, as limits[0].rate; empty where there is none
	What   string // what is wrong, lower case, no period
	Hint   string // what to do about it; empty when What says it all
	// Warning marks what should be known but does not keep the gateway from
	// starting.
	Warning bool
}

// String renders the diagnostic as file:line:col: path: what; hint.
func (d Diagnostic) String() string {
	var b strings.Builder
	b.WriteString(d.File)
	if d.Line > 0 {
		fmt.Fprintf(&b, ":%d", d.Line)
		if d.Column > 0 {
			fmt.Fprintf(&b, ":%d", d.Column)
		}
	}
	b.WriteString(": ")
	if d.Warning {
		b.WriteString("warning: ")
	}
	if d.Path != "" {
		b.WriteString(d.Path + ": ")
	}
	b.WriteString(d.What)
	if d.Hint != "" {
		b.WriteString("; " + d.Hint)
	}
	return b.String()
}

// Diagnostics is every problem of one run. As an error it prints one line each.
type Diagnostics []Diagnostic

// Error joins the lines.
func (ds Diagnostics) Error() string {
	lines := make([]string, len(ds))
	for i, d := range ds {
		lines[i] = d.String()
	}
	return strings.Join(lines, "\n")
}

// Sort orders by file, line, column, path and text, and drops repetitions.
func (ds *Diagnostics) Sort() {
	slices.SortStableFunc(*ds, func(a, b Diagnostic) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column),
			cmp.Compare(a.Path, b.Path), cmp.Compare(a.What, b.What))
	})
	*ds = slices.Compact(*ds)
}

// Fatal reports whether any of them keeps the gateway from starting.
func (ds Diagnostics) Fatal() bool {
	return slices.ContainsFunc(ds, func(d Diagnostic) bool { return !d.Warning })
}

package audit

import (
	"fmt"
	"strconv"
	"strings"

	"sallyport/internal/gate"
)

// The colours of a terminal (ECMA-48 section 8.3.117).
const (
	plain   = "\x1b[0m"
	bold    = "\x1b[1m"
	dim     = "\x1b[2m"
	reverse = "\x1b[7m"
	red     = "\x1b[31m"
	green   = "\x1b[32m"
	yellow  = "\x1b[33m"
	magenta = "\x1b[35m"
	cyan    = "\x1b[36m"
)

// paint is text in a colour, or plain where colour is not wanted.
func paint(colour bool, code, s string) string {
	if !colour || s == "" {
		return s
	}
	return code + s + plain
}

// actionColour is the colour of what was done.
func actionColour(action string) string {
	switch action {
	case gate.Pass.String():
		return green
	case gate.Observe.String():
		return yellow
	case gate.Refuse.String():
		return red
	}
	return magenta
}

// maxShown is how many rule ids a line names, and how long a target may be in
// it.
const (
	maxShownRules  = 4
	maxShownTarget = 160
)

// address is that of the client. Who came by a Unix socket and is named by
// nobody has none.
func address(r *gate.Record) string {
	if r.Client.IP == "" && r.Client.Peer != "" {
		return "unknown"
	}
	return Printable(r.Client.IP)
}

// Line renders a record as one line for a person who watches: when, what was
// done, for whom, what was asked, and why. It is safe to print.
func Line(r *gate.Record, colour bool) string {
	var b strings.Builder
	b.WriteString(paint(colour, dim, r.Time.Local().Format("15:04:05.000")))
	word := r.Action
	if r.Event != "" {
		word = r.Event
	}
	b.WriteString(" " + paint(colour, actionColour(r.Action)+bold, fmt.Sprintf("%-7s", Printable(word))))
	if r.Event == "dropped" {
		fmt.Fprintf(&b, " %d records were not written", r.Lost)
		return b.String()
	}
	if r.Event == gate.EventBackend && r.Pool != nil {
		fmt.Fprintf(&b, " %s is %s: %s", paint(colour, bold, Printable(r.Pool.Name+"/"+r.Pool.Backend)), Printable(becomes(r.Pool.State)), Printable(r.Detail))
		return b.String()
	}
	fmt.Fprintf(&b, " %s", statusText(r.Status))
	who := address(r)
	if r.Client.Country != "" {
		who += " " + Printable(r.Client.Country)
	}
	b.WriteString(" " + paint(colour, cyan, who))
	fmt.Fprintf(&b, " %s %s", Printable(r.Request.Method), paint(colour, bold, Printable(cut(r.Request.Host+r.Request.Target, maxShownTarget))))
	if why := because(r); why != "" {
		b.WriteString(" " + paint(colour, actionColour(r.Action), why))
	}
	if r.WAF != nil && r.WAF.Differs {
		b.WriteString(" " + paint(colour, magenta, "engines differ"))
	}
	if r.Pool != nil && r.Pool.Backend != "" {
		b.WriteString(paint(colour, dim, " from "+Printable(r.Pool.Name+"/"+r.Pool.Backend)))
	}
	if r.Tunnel != nil {
		fmt.Fprintf(&b, " in %d B out %d B %d s", r.Tunnel.Received, r.Tunnel.Sent, r.Tunnel.Seconds)
	}
	if total, ok := r.Micros["total"]; ok {
		b.WriteString(paint(colour, dim, " "+microseconds(total)))
	}
	b.WriteString(paint(colour, dim, " "+Printable(r.ID)))
	return b.String()
}

// becomes puts the new state of a backend into words.
func becomes(state string) string {
	if state == gate.BackendWeight {
		return "weighed anew"
	}
	return state
}

// because says why in few words: the reason, and what is peculiar to it.
func because(r *gate.Record) string {
	if r.Reason == "" {
		return ""
	}
	why := Printable(string(r.Reason))
	switch {
	case r.WAF != nil && len(r.WAF.Matches) > 0 && r.Stage == gate.StageWAF:
		why += fmt.Sprintf(" %d/%d", r.WAF.Score, r.WAF.Threshold)
		ids, shown := map[int]bool{}, 0
		for _, m := range r.WAF.Matches {
			if ids[m.Rule] {
				continue
			}
			ids[m.Rule] = true
			if shown++; shown > maxShownRules {
				continue
			}
			why += " " + strconv.Itoa(m.Rule)
			if m.Variable != "" {
				why += "@" + Printable(m.Variable)
			}
		}
		if shown > maxShownRules {
			why += fmt.Sprintf(" +%d", shown-maxShownRules)
		}
	case r.Limit != nil:
		why += fmt.Sprintf(" %s, again in %d s", Printable(r.Limit.Name), r.Limit.RetryAfter)
	case r.Detail != "":
		why += " (" + Printable(cut(r.Detail, maxShownTarget)) + ")"
	}
	return why
}

func statusText(status int) string {
	if status == 0 {
		return "---"
	}
	return strconv.Itoa(status)
}

// microseconds renders a duration so that it can be read at a glance.
func microseconds(us int64) string {
	switch {
	case us < 1000:
		return strconv.FormatInt(us, 10) + "µs"
	case us < 1_000_000:
		return strconv.FormatFloat(float64(us)/1000, 'f', 1, 64) + "ms"
	}
	return strconv.FormatFloat(float64(us)/1_000_000, 'f', 2, 64) + "s"
}

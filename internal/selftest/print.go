package selftest

import (
	"fmt"
	"io"
	"net/http"
	"strings"

	"sallyport/internal/gate"
	"sallyport/internal/wire"
)

// Print writes a report for people: a line for each group, what did not hold
// in detail, and a summary; with verbose every case.
func (r *Report) Print(w io.Writer, verbose bool) error {
	p := &printer{Report: r, verbose: verbose}
	if r.Mode == "backend" {
		p.backend()
	} else {
		p.gateway()
	}
	_, err := io.WriteString(w, p.b.String())
	return err
}

// Held reports whether everything was as expected.
func (r *Report) Held() bool { return r.Counts[Different] == 0 }

type printer struct {
	*Report
	verbose bool
	b       strings.Builder
}

func (p *printer) line(format string, args ...any) { fmt.Fprintf(&p.b, format+"\n", args...) }

func (p *printer) gateway() {
	switch {
	case p.Mode == "own":
		p.line("A gateway of its own at %s, strict stage as by default, no rules, no limits; a capture backend behind it.", p.Target)
	case p.Bytes:
		p.line("The gateway at %s, a capture backend behind it.", p.Target)
	default:
		p.line("The gateway at %s. Only its answers are judged; what a backend would have seen needs --listen.", p.Target)
	}
	if p.HTTP2 != "" {
		p.line("HTTP/2 is spoken at %s.", p.HTTP2)
	}
	p.line("\n%-24s %6s %8s %10s %7s %11s %8s", "group", "cases", "refused", "forwarded", "differ", "not judged", "skipped")
	for _, g := range p.Groups {
		c := g.Counts
		p.line("%-24s %6d %8d %10d %7d %11d %8d", g.Name, g.Cases, c[Refused], c[Forwarded], c[Different], c[NotJudged], c[Skipped])
	}
	p.b.WriteByte('\n')
	for i := range p.Results {
		if c := &p.Results[i]; p.verbose || c.Outcome == Different {
			p.detail(c)
		}
	}
	if !p.verbose {
		p.notJudged()
	}
	p.advice()
	if n := p.unspoken(); n > 0 {
		p.line("%d cases in HTTP/2 were not sent: %s", n, p.NoHTTP2)
	}
	p.line("%d cases in HTTP/1, %d in HTTP/2", sum(p.Protocols[wire.HTTP1]), sum(p.Protocols[wire.HTTP2]))
	p.line("%d cases, %d refused as expected, %d forwarded exactly, %d not judged, %d skipped, %d ms", p.Cases, p.Counts[Refused], p.Counts[Forwarded], p.Counts[NotJudged], p.Counts[Skipped], p.Millis)
	if p.CutOff > 0 {
		p.line("%d of those refused broke off in the body, or with their connection, when the backend had the head: it saw a request that was cut off, and no whole one", p.CutOff)
	}
	p.line("differences: %d", p.Counts[Different])
}

// detail prints one case: in full where it differs or everything is asked for.
func (p *printer) detail(c *Result) {
	if c.Outcome == Different {
		p.line("DIFFERENT  %s: %s", c.Name, c.About)
	} else {
		p.line("%-10s %s: %s", word(c.Outcome), c.Name, c.About)
	}
	p.line("  sent      %s", strings.ReplaceAll(c.Sent, "\n", "\n            "))
	p.line("  expected  %s", strings.Join(c.Expected, ", "))
	if c.Outcome != Skipped {
		p.line("  answered  %s", strings.Join(append(c.Answered, c.Ended), ", "))
	}
	for _, s := range c.Backend {
		p.line("  backend   %s", s)
	}
	if p.Bytes && len(c.Backend) == 0 && c.Outcome != Skipped {
		p.line("  backend   nothing")
	}
	for _, w := range c.Why {
		p.line("  because   %s", w)
	}
}

// notJudged lists the cases of which nothing is known, by why that is so.
func (p *printer) notJudged() {
	var ways []string
	names := map[string][]string{}
	for i := range p.Results {
		if c := &p.Results[i]; c.Outcome == NotJudged || c.Outcome == Skipped && !p.untold(c) {
			way := word(c.Outcome) + ", " + strings.Join(c.Why, "; ")
			if names[way] == nil {
				ways = append(ways, way)
			}
			names[way] = append(names[way], c.Name)
		}
	}
	for _, way := range ways {
		p.line("%s:\n  %s", way, strings.Join(names[way], " "))
	}
}

// untold reports whether a case was not sent because HTTP/2 is not spoken.
// Those are counted, and not listed.
func (p *printer) untold(c *Result) bool { return c.Protocol == wire.HTTP2 && p.HTTP2 == "" }

// unspoken counts the cases that were not sent for that.
func (p *printer) unspoken() int {
	if p.HTTP2 != "" {
		return 0
	}
	return p.Protocols[wire.HTTP2][Skipped]
}

// sum is how many cases were counted.
func sum(counts map[Outcome]int) (n int) {
	for _, c := range counts {
		n += c
	}
	return n
}

// word is an outcome as it stands in a sentence.
func word(o Outcome) string { return strings.ReplaceAll(string(o), "_", " ") }

// advice explains what is often no defect but a set-up.
func (p *printer) advice() {
	var hygiene, size int
	for _, g := range p.Groups {
		switch g.Class {
		case "hygiene":
			hygiene += g.Counts[Different]
		case "size":
			size += g.Counts[Different]
		}
	}
	if p.Mode == "own" {
		return
	}
	if hygiene > 0 {
		p.line("%d differences are of the class hygiene: http.hygiene: observe and waive let such requests pass. --skip leaves them out.", hygiene)
	}
	if size > 0 {
		p.line("%d differences are of the class size: the gateway may have other limits than the default. --skip leaves them out.", size)
	}
	if p.Counts[NotJudged] > 0 {
		p.line("%d cases were refused behind the strict stage (403 rules or geo, 405 methods, 421 hosts, 429 limits, 5xx pool), which should let them pass: whether it does is not known.", p.Counts[NotJudged])
	}
}

func (p *printer) backend() {
	p.line("The backend at %s, asked directly. Well-formed requests are answered:", p.Target)
	for _, request := range []string{"GET /", "HEAD /", "POST /in", "GET " + markerPath + "N"} {
		p.line("  %-40s %d", request, p.Plain[request])
	}
	p.line("Only HTTP/1 is sent: the cases in HTTP/2 are for gateways.")
	for i := range p.Groups {
		p.group(&p.Groups[i])
	}
	c := p.Counts
	p.line("\nyour backend accepts %d of %d requests that the gateway refuses", c[Accepted]+c[Several]+c[Misread], p.Cases-c[Skipped])
	for _, class := range []gate.Class{gate.ClassFraming, gate.ClassHygiene, gate.ClassSize} {
		if taken, all := p.accepted(class.String()); all > 0 {
			p.line("   %d of %d of the class %s", taken, all, class)
		}
	}
	for _, l := range []struct {
		o    Outcome
		what string
	}{
		{Several, "as several requests: bytes of the case became a request of their own"},
		{Misread, "so that the request behind was taken for a part of it"},
		{Hangs, "left without an answer within the time"},
		{Unclear, "cannot be told from the answer; -v tells why"},
		{Skipped, "not sent"},
	} {
		if c[l.o] > 0 {
			p.line("%s %d %s", loud(l.o), c[l.o], l.what)
		}
	}
	if got := p.Plain["POST /in"]; c[Unclear] > 0 && (got == 0 || refusal(got) || got == http.StatusMethodNotAllowed) {
		p.line("   A plain POST /in is refused with %d: let the backend answer it otherwise, and more can be told.", got)
	}
	if g := p.Gateway; g != nil {
		p.line("the gateway of this binary, sent the same, refuses %d of %d", g[Refused], sum(g)-g[Skipped])
	}
}

// accepted counts the cases of a class that were sent, and those among them
// that the backend accepted.
func (p *printer) accepted(class string) (taken, all int) {
	for i := range p.Results {
		r := &p.Results[i]
		if r.Class != class || r.Outcome == Skipped {
			continue
		}
		all++
		if r.Outcome == Accepted || r.Outcome == Several || r.Outcome == Misread {
			taken++
		}
	}
	return taken, all
}

// group prints a reason: what it stops, and what the backend made of it.
func (p *printer) group(g *Group) {
	p.line("\n%s: %s", g.Name, g.Title)
	if g.Attack != "" {
		p.line("   %s (%s)", g.Attack, g.Source)
	}
	for _, o := range []Outcome{Several, Misread, Accepted, Hangs, Unclear, Refused, Skipped} {
		if g.Counts[o] == 0 {
			continue
		}
		if p.verbose || o == Several || o == Misread {
			p.cases(g, o)
			continue
		}
		p.line("   %-8s %3d%s", o, g.Counts[o], p.names(g, o))
	}
}

// names lists the cases of an outcome; those that are refused are as they
// should be.
func (p *printer) names(g *Group, o Outcome) string {
	if o == Refused {
		return ""
	}
	var names []string
	for i := range p.Results {
		if r := &p.Results[i]; r.Group == g.Name && r.Outcome == o {
			names = append(names, strings.TrimPrefix(r.Name, g.Name+"/"))
		}
	}
	return "  " + strings.Join(names, " ")
}

// cases prints the cases of an outcome in full.
func (p *printer) cases(g *Group, o Outcome) {
	for i := range p.Results {
		r := &p.Results[i]
		if r.Group != g.Name || r.Outcome != o {
			continue
		}
		p.line("%s %-8s %s: %s", loud(o), o, r.Name, r.About)
		p.line("     sent      %s", r.Sent)
		if o != Skipped {
			p.line("     answered  %s", strings.Join(append(r.Answered, r.Ended), ", "))
		}
		for _, w := range r.Why {
			p.line("     because   %s", w)
		}
	}
}

// loud marks what smuggling is made of.
func loud(o Outcome) string {
	if o == Several || o == Misread {
		return "!!"
	}
	return "  "
}

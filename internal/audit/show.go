package audit

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"sallyport/internal/gate"
)

// Show writes one record as a page for a person: what was done and why, who
// asked for what with the matched bytes marked, which rules matched and where
// they stand, and what to do next. It is safe to print.
func Show(w io.Writer, r *gate.Record, colour bool) error {
	p := &page{colour: colour}
	p.head(r)
	if r.Event == gate.EventBackend && r.Pool != nil {
		p.row("backend", Printable(r.Pool.Name+"/"+r.Pool.Backend)+" is "+Printable(becomes(r.Pool.State)))
		p.row("why", Printable(r.Detail))
	} else if r.Event != "dropped" {
		p.request(r)
		p.rules(r)
		p.leaks(r)
		p.answer(r)
		p.next(r)
	}
	_, err := io.WriteString(w, p.b.String())
	return err
}

// A page is what Show writes, line by line.
type page struct {
	b      strings.Builder
	colour bool
}

// row writes a line with a heading at the left; an empty heading continues the
// one before. Empty text is left out.
func (p *page) row(heading, text string) {
	if text == "" {
		return
	}
	if heading != "" {
		heading = paint(p.colour, dim, fmt.Sprintf("%-9s ", heading))
	} else {
		heading = strings.Repeat(" ", 10)
	}
	p.b.WriteString(heading + text + "\n")
}

func (p *page) head(r *gate.Record) {
	info := r.Reason.Info()
	what := map[string]string{
		gate.Pass.String():    "passed",
		gate.Observe.String(): "passed, but only because of observe mode",
		gate.Refuse.String():  "refused",
		gate.Fail.String():    "failed",
	}[r.Action]
	switch {
	case what == "":
		what = Printable(r.Action)
	case r.Action == gate.Observe.String() && r.Stage == gate.StageMask:
		what = "passed" // edited, or as the route says it may
	}
	switch {
	case r.Event == "dropped":
		what = fmt.Sprintf("%d records were not written before this one", r.Lost)
	case r.Event != "":
		what = Printable(r.Event) + ", " + what
	case r.Status != 0:
		what += " with " + strconv.Itoa(r.Status)
	}
	p.b.WriteString(paint(p.colour, bold+actionColour(r.Action), what))
	if r.Reason != "" {
		p.b.WriteString(": " + Printable(string(r.Reason)))
		if info.Title != "" {
			p.b.WriteString(", " + info.Title)
		}
	}
	p.b.WriteString("\n")
	p.row("id", Printable(r.ID))
	p.row("time", r.Time.UTC().Format("2006-01-02 15:04:05.000000 UTC"))
	p.row("detail", Printable(r.Detail))
	if r.Excerpt != "" {
		at := ""
		if r.Offset != nil {
			at = fmt.Sprintf(" (byte %d)", *r.Offset)
		}
		p.row("near", p.near(r)+at)
	} else if r.Offset != nil {
		p.row("at", fmt.Sprintf("byte %d", *r.Offset))
	}
}

// near writes the excerpt with the refused byte marked, or what stands in for
// it, in reverse colours or between » and «.
func (p *page) near(r *gate.Record) string {
	s := r.Excerpt
	if r.Mark == nil || *r.Mark < 0 || *r.Mark > len(s) {
		return paint(p.colour, reverse, Printable(s))
	}
	from := *r.Mark
	_, size := utf8.DecodeRuneInString(s[from:])
	switch rest := s[from:]; {
	case r.Escaped && strings.HasPrefix(rest, `\x`):
		size = min(len(rest), len(`\xff`))
	case strings.HasPrefix(rest, "[redacted"):
		size = strings.IndexByte(rest+"]", ']') + 1
	}
	to := min(len(s), from+size)
	marked := Printable(s[from:to])
	if p.colour && to > from {
		marked = reverse + marked + plain
	} else {
		marked = "»" + marked + "«"
	}
	return Printable(s[:from]) + marked + Printable(s[to:])
}

func (p *page) request(r *gate.Record) {
	who := address(r)
	if r.Client.Country != "" {
		who += " " + Printable(r.Client.Country)
	}
	if r.Client.ASN != 0 {
		who += fmt.Sprintf(" AS%d", r.Client.ASN)
	}
	if r.Client.ChosenBy != "" && r.Client.ChosenBy != gate.ByPeer {
		who += ", named by " + Printable(r.Client.ChosenBy) + " from " + Printable(r.Client.Peer)
	}
	p.row("client", who)
	if r.TLS != nil {
		p.row("tls", strings.TrimSpace(Printable(r.TLS.Version+" "+r.TLS.SNI)))
	}
	p.row("listener", Printable(r.Listener))
	marks := wanted(r)
	p.row("request", Printable(r.Request.Method+" "+r.Request.Host+" "+r.Request.Protocol)+fmt.Sprintf(", %d bytes of body", r.Request.Bytes))
	p.row("target", mark(r.Request.Target, marks, p.colour))
	if r.Request.Rewritten != "" {
		p.row("judged as", mark(r.Request.Rewritten, marks, p.colour))
	}
	heading := "headers"
	for _, f := range r.Request.Headers {
		p.row(heading, paint(p.colour, dim, Printable(f.Name)+":")+" "+mark(f.Value, marks, p.colour))
		heading = ""
	}
	if r.Request.ClientID != "" {
		p.row("their id", Printable(r.Request.ClientID))
	}
	where := Printable(r.Route)
	if r.Policy != "" {
		where += ", policy " + Printable(r.Policy)
	}
	if r.Ruleset != "" {
		where += " (" + Printable(r.Ruleset) + ")"
	}
	p.row("route", strings.TrimPrefix(where, ", "))
	p.row("mode", Printable(string(r.Mode)))
	for _, o := range r.Observed {
		p.row("observed", strings.TrimSuffix(Printable(string(o.Reason)+", "+o.Detail), ", "))
	}
}

// leaks tells what the leak detector found.
func (p *page) leaks(r *gate.Record) {
	if r.Mask == nil {
		return
	}
	for _, l := range r.Mask.Leaks {
		p.row("leak", Printable(fmt.Sprintf("%s in the %s, %d times: %s", l.Token, strings.TrimSuffix(l.Where+" "+l.Name, " "), l.Count, l.Action)))
	}
}

func (p *page) rules(r *gate.Record) {
	if r.WAF == nil {
		return
	}
	sum := fmt.Sprintf("score %d of %d", r.WAF.Score, r.WAF.Threshold)
	if r.WAF.Inspected != "" {
		sum += ", request body judged: " + Printable(r.WAF.Inspected)
	}
	if r.WAF.ResponseInspected != "" {
		sum += ", response body judged: " + Printable(r.WAF.ResponseInspected)
	}
	if r.WAF.Run != "" {
		sum += ", run: " + Printable(r.WAF.Run)
	}
	p.row("rules", sum)
	for i := range r.WAF.Matches {
		m := &r.WAF.Matches[i]
		line := paint(p.colour, bold, strconv.Itoa(m.Rule))
		for _, s := range []string{m.Severity, m.Message} {
			if s != "" {
				line += " " + Printable(s)
			}
		}
		if m.Score != 0 {
			line += fmt.Sprintf(" (+%d)", m.Score)
		}
		if m.Paranoia != 0 {
			line += paint(p.colour, dim, fmt.Sprintf(" PL%d", m.Paranoia))
		}
		p.row("", line)
		if m.Variable != "" {
			p.row("", "  "+paint(p.colour, cyan, Printable(m.Variable))+" = "+mark(m.Value, fragments(m), p.colour))
		}
		if m.File != "" {
			p.row("", paint(p.colour, dim, fmt.Sprintf("  %s:%d  %s", Printable(m.File), m.Line, Printable(strings.Join(m.Tags, " ")))))
		}
	}
	switch {
	case r.WAF.Differs:
		p.row("engines", "all rules found something else than the fast engine; the gateway's log tells what")
	case r.WAF.Compared:
		p.row("engines", "all rules found the same as the fast engine")
	}
	if len(r.WAF.Excluded) > 0 {
		p.row("excluded", strings.Trim(fmt.Sprint(r.WAF.Excluded), "[]"))
	}
}

func (p *page) answer(r *gate.Record) {
	if l := r.Limit; l != nil {
		p.row("limit", fmt.Sprintf("%s, again in %d s", Printable(l.Name), l.RetryAfter))
	}
	if b := r.Pool; b != nil {
		line := Printable(strings.TrimSuffix(b.Name+"/"+b.Backend, "/"))
		if b.Status != 0 {
			line += fmt.Sprintf(" answered %d", b.Status)
		}
		if b.Attempts > 1 {
			line += fmt.Sprintf(", %d attempts", b.Attempts)
		}
		p.row("backend", line)
	}
	p.row("answer", fmt.Sprintf("%s, %d bytes", statusText(r.Response.Status), r.Response.Bytes))
	if t := r.Tunnel; t != nil {
		p.row("tunnel", fmt.Sprintf("%d bytes in, %d bytes out, %d s", t.Received, t.Sent, t.Seconds))
	}
	p.row("took", spent(r.Micros))
	p.row("gateway", fmt.Sprintf("%s, version %s, generation %d", Printable(r.Gateway.Host), Printable(r.Gateway.Version), r.Gateway.Generation))
}

// order is that in which a request meets the stages.
var order = append([]gate.Stage{"strict"}, stages...)

// spent lists how long the stages took, in their order, and the sum at the end.
func spent(micros map[string]int64) string {
	names := slices.Collect(maps.Keys(micros))
	place := func(name string) int {
		if name == "total" {
			return len(order) + 1
		}
		if i := slices.Index(order, gate.Stage(name)); i >= 0 {
			return i
		}
		return len(order)
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(place(a)-place(b), strings.Compare(a, b)) })
	for i, name := range names {
		names[i] = Printable(name) + " " + microseconds(micros[name])
	}
	return strings.Join(names, ", ")
}

// next writes what the reason table knows, and the next commands to type.
func (p *page) next(r *gate.Record) {
	if r.Reason == "" {
		return
	}
	info := r.Reason.Info()
	p.row("follows", info.Source)
	p.row("stops", info.Attack)
	p.row("next", info.Remedy)
	if r.WAF == nil {
		return
	}
	var told []string
	for i := range r.WAF.Matches {
		m := &r.WAF.Matches[i]
		if m.Score == 0 || !targetable(m.Variable) {
			continue
		}
		line := fmt.Sprintf("SecRuleUpdateTargetById %d \"!%s\"", m.Rule, m.Variable)
		if !slices.Contains(told, line) && len(told) < 5 {
			told = append(told, line)
		}
	}
	if len(told) > 0 {
		p.row("", "If it is a false positive, in a file of policies."+Printable(r.Policy)+".rules_after:")
		for _, line := range told {
			p.row("", "  "+line)
		}
	}
}

// targetable reports whether a variable names one field and can be written into
// a rule file as it is.
func targetable(v string) bool {
	collection, key, ok := strings.Cut(v, ":")
	if !ok || key == "" || strings.HasPrefix(collection, "TX") || strings.HasPrefix(collection, "MATCHED_VAR") {
		return false
	}
	for i := range len(v) {
		if c := v[i]; !alnum(c) && c != '_' && c != '-' && c != '.' && c != ':' {
			return false
		}
	}
	return true
}

// wanted lists what the rules of a record matched.
func wanted(r *gate.Record) []string {
	var all []string
	if r.WAF != nil {
		for i := range r.WAF.Matches {
			m := &r.WAF.Matches[i]
			if f := fragments(m); f != nil {
				all = append(all, f...)
			} else {
				all = append(all, m.Value)
			}
		}
	}
	return all
}

// fragments returns the part of a value that a rule says it matched, in the
// words of the Core Rule Set.
func fragments(m *gate.RecordMatch) []string {
	after, ok := strings.CutPrefix(m.Data, "Matched Data: ")
	if !ok {
		return nil
	}
	if part, _, ok := strings.Cut(after, " found within "); ok && part != "" {
		return []string{part}
	}
	return nil
}

// mark returns s, safe to print, with the wanted parts marked, also where they
// stand encoded in it: in reverse colours, or between » and «.
func mark(s string, parts []string, colour bool) string {
	r := redactor{secrets: make([]secret, 1)} // for its search
	for _, part := range parts {
		part = strings.TrimSuffix(part, ellipsis)
		if len(part) < minNamed || strings.Contains(part, "[redacted") {
			continue
		}
		r.addNeedle(part, 0, false)
		r.addNeedle(string(r.plain([]byte(part))), 0, false)
	}
	r.levels[0].text = []byte(s)
	r.seekIn(&r.levels[0])
	short(&r, s, parts)
	slices.SortFunc(r.spans, func(a, b span) int { return a.from - b.from })
	var b strings.Builder
	at := 0
	for i := 0; i < len(r.spans); {
		from, to := r.spans[i].from, r.spans[i].to
		for i++; i < len(r.spans) && r.spans[i].from <= to; i++ {
			to = max(to, r.spans[i].to)
		}
		b.WriteString(Printable(s[at:from]))
		if colour {
			b.WriteString(reverse + Printable(s[from:to]) + plain)
		} else {
			b.WriteString("»" + Printable(s[from:to]) + "«")
		}
		at = to
	}
	b.WriteString(Printable(s[at:]))
	return b.String()
}

// short marks the first occurrence of parts that are too short for the search.
func short(r *redactor, s string, parts []string) {
	for _, part := range parts {
		if len(part) == 0 || len(part) >= minNamed {
			continue
		}
		if i := strings.Index(s, part); i >= 0 {
			r.spans = append(r.spans, span{i, i + len(part), 0})
		}
	}
}

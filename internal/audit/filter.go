package audit

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"sallyport/internal/gate"
)

// A Query says which records are wanted, in the words of a command line. The
// values of one field are alternatives; the fields all have to hold. The zero
// Query wants every record.
type Query struct {
	Action []string // pass, observe, refuse, fail
	Stage  []string
	Reason []string // whole, as waf.inbound_score, or the words after the dot
	Client []string // addresses, prefixes, or country codes
	Route  []string
	Status []string // as 403, or 4xx, or 400-403
	Rule   []string // ids or ranges of ids
}

// A Filter tells which records a query wants.
type Filter struct {
	actions, stages, reasons, routes, countries []string
	clients                                     []netip.Prefix
	statuses, rules                             []numbers
}

// numbers is an inclusive range.
type numbers struct{ from, to int }

// Filter reads the query. Words that can match nothing are errors.
func (q Query) Filter() (*Filter, error) {
	f := &Filter{stages: q.Stage, routes: q.Route}
	for _, s := range q.Stage {
		if !slices.Contains(stages, gate.Stage(s)) {
			return nil, fmt.Errorf("stage %q: want one of %v", s, stages)
		}
	}
	for _, a := range q.Action {
		if !slices.Contains(actions, a) {
			return nil, fmt.Errorf("action %q: want one of %s", a, strings.Join(actions, ", "))
		}
		f.actions = append(f.actions, a)
	}
	for _, r := range q.Reason {
		known := slices.ContainsFunc(gate.Reasons(), func(i gate.ReasonInfo) bool { return isReason(i.Reason, r) })
		if !known {
			return nil, fmt.Errorf("reason %q: there is no such reason", r)
		}
		f.reasons = append(f.reasons, r)
	}
	for _, c := range q.Client {
		if len(c) == 2 && upper(c[0]&^0x20) && upper(c[1]&^0x20) {
			f.countries = append(f.countries, strings.ToUpper(c))
			continue
		}
		p, err := netip.ParsePrefix(c)
		if err != nil {
			a, err := netip.ParseAddr(c)
			if err != nil {
				return nil, fmt.Errorf("client %q: want an address, a prefix or a country code", c)
			}
			a = a.Unmap().WithZone("")
			p = netip.PrefixFrom(a, a.BitLen())
		}
		f.clients = append(f.clients, p.Masked())
	}
	for _, s := range q.Status {
		n, err := parseNumbers(s)
		if len(s) == 3 && strings.EqualFold(s[1:], "xx") && '1' <= s[0] && s[0] <= '5' {
			n, err = numbers{int(s[0]-'0') * 100, int(s[0]-'0')*100 + 99}, nil
		}
		if err != nil {
			return nil, fmt.Errorf("status %q: want a number, as 403, a class, as 4xx, or a range", s)
		}
		f.statuses = append(f.statuses, n)
	}
	for _, s := range q.Rule {
		n, err := parseNumbers(s)
		if err != nil {
			return nil, fmt.Errorf("rule %q: want an id or a range of ids", s)
		}
		f.rules = append(f.rules, n)
	}
	return f, nil
}

var actions = []string{gate.Pass.String(), gate.Observe.String(), gate.Refuse.String(), gate.Fail.String()}

var stages = []gate.Stage{gate.StageHTTP, gate.StageClient, gate.StageBan, gate.StageRoute, gate.StageGeo, gate.StageLimit,
	gate.StageWAF, gate.StagePool, gate.StageMask, gate.StageGateway}

// isReason reports whether a reason is named by the word.
func isReason(r gate.Reason, word string) bool {
	_, words, _ := strings.Cut(string(r), ".")
	return string(r) == word || words == word
}

func parseNumbers(s string) (numbers, error) {
	a, b, ok := strings.Cut(s, "-")
	if !ok {
		b = a
	}
	from, err := strconv.Atoi(a)
	if err != nil {
		return numbers{}, err
	}
	to, err := strconv.Atoi(b)
	if err != nil {
		return numbers{}, err
	}
	return numbers{from, to}, nil
}

// Wants reports whether the record is one that was asked for.
func (f *Filter) Wants(r *gate.Record) bool {
	return (f.actions == nil || slices.Contains(f.actions, r.Action)) &&
		(f.stages == nil || slices.Contains(f.stages, string(r.Stage))) &&
		(f.reasons == nil || slices.ContainsFunc(f.reasons, func(w string) bool { return isReason(r.Reason, w) })) &&
		(f.routes == nil || slices.Contains(f.routes, r.Route)) &&
		(f.statuses == nil || within(f.statuses, r.Status)) &&
		(f.clients == nil && f.countries == nil || f.wantsClient(r)) &&
		(f.rules == nil || f.wantsRule(r))
}

func (f *Filter) wantsClient(r *gate.Record) bool {
	if slices.Contains(f.countries, r.Client.Country) {
		return true
	}
	a, err := netip.ParseAddr(r.Client.IP)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(f.clients, func(p netip.Prefix) bool { return p.Contains(a) })
}

func (f *Filter) wantsRule(r *gate.Record) bool {
	return r.WAF != nil && slices.ContainsFunc(r.WAF.Matches, func(m gate.RecordMatch) bool { return within(f.rules, m.Rule) })
}

func within(in []numbers, n int) bool {
	return slices.ContainsFunc(in, func(r numbers) bool { return r.from <= n && n <= r.to })
}

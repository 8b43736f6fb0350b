package selftest

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"sallyport/internal/gate"
	"sallyport/internal/wire"
)

// An Outcome is what became of one case.
type Outcome string

// The outcomes at a gateway.
const (
	Refused   Outcome = "refused"    // as expected, and no whole request reached the backend
	Forwarded Outcome = "forwarded"  // as expected, to the byte where the case says
	Different Outcome = "different"  // not as expected
	NotJudged Outcome = "not_judged" // another stage refused a case that the strict stage accepts
	Skipped   Outcome = "skipped"    // not sent
)

// The outcomes at a backend that is asked directly; Refused and Skipped are
// shared.
const (
	Accepted Outcome = "accepted" // as one request
	Several  Outcome = "several"  // as more requests than were sent
	Misread  Outcome = "misread"  // and the request behind it was not read as what it is
	Hangs    Outcome = "hangs"    // no answer within the time
	Unclear  Outcome = "unclear"  // answered as a plain request is, which is no success either
)

// A Report is what a run found. Its JSON form is described in
// docs/selftest.md.
type Report struct {
	V       int             `json:"v"`
	Mode    string          `json:"mode"`                   // own, target or backend
	Target  string          `json:"target"`                 // host:port that was asked
	HTTP2   string          `json:"http2_target,omitempty"` // and that was asked in HTTP/2
	NoHTTP2 string          `json:"no_http2,omitempty"`     // why it was not
	Bytes   bool            `json:"bytes_judged"`
	Plain   map[string]int  `json:"plain_requests,omitempty"` // what well-formed requests were answered, by request line
	Cases   int             `json:"cases"`
	Counts  map[Outcome]int `json:"counts"`
	// Protocols counts by the protocol of the case, http1 or h2.
	Protocols map[string]map[Outcome]int `json:"protocols"`
	CutOff    int                        `json:"cut_off"` // broken off when the backend had the head already
	Millis    int64                      `json:"ms"`
	Groups    []Group                    `json:"groups"`
	Results   []Result                   `json:"results"`
	// Gateway is, in a report about a backend, what the gateway of this binary
	// made of the same cases; absent when it was not asked.
	Gateway map[Outcome]int `json:"gateway,omitempty"`
}

// A Group is a folder of the corpus: a reason, "connection" for the cases about
// more than one request, or "h2." and more for those about HTTP/2 itself.
type Group struct {
	Name   string          `json:"name"`
	Title  string          `json:"title"`
	Class  string          `json:"class,omitempty"`
	Source string          `json:"source,omitempty"`
	Attack string          `json:"attack,omitempty"`
	Cases  int             `json:"cases"`
	Counts map[Outcome]int `json:"counts"`
}

// A Result is what became of one case. What stems from the wire is escaped,
// and cut.
type Result struct {
	Name     string   `json:"name"`
	Group    string   `json:"group"`
	Protocol string   `json:"protocol,omitempty"` // http1 or h2
	About    string   `json:"about"`
	Class    string   `json:"class,omitempty"` // of the reason that it is refused for
	Outcome  Outcome  `json:"outcome"`
	Expected []string `json:"expected"`          // each answer as STATUS [REASON], or the endings that the case allows
	Answered []string `json:"answered"`          // each answer as STATUS [REASON]
	Ended    string   `json:"ended,omitempty"`   // how the connection ended
	Why      []string `json:"why,omitempty"`     // what differs, or why there is nothing to judge
	Sent     string   `json:"sent"`              // the bytes of the case, or its frames as the corpus writes them
	Backend  []string `json:"backend,omitempty"` // what the capture got, by connection
	CutOff   bool     `json:"cut_off,omitempty"` // the capture got a head, and not the whole body
	Marker   bool     `json:"marker,omitempty"`  // a second request was sent behind the case
	Meant    int      `json:"meant,omitempty"`   // how many requests were sent, the marker included
	Alone    []string `json:"alone,omitempty"`   // what the case was answered when sent without the marker
}

// newResult begins the result of a case.
func newResult(c *wire.Case) Result {
	r := Result{Name: c.Name, Group: groupOf(c), Protocol: c.Protocol, About: c.About, Sent: escape(c.Raw), Expected: []string{}, Answered: []string{}}
	if c.Protocol == wire.HTTP2 {
		r.Sent = strings.TrimSpace(c.Frames)
	}
	for _, a := range c.Answers {
		r.Expected = append(r.Expected, said(a.Status, a.Reason))
		r.classify(a.Reason)
	}
	for i := range c.Outcomes {
		r.Expected = append(r.Expected, c.Outcomes[i].Expected())
		if c.Outcomes[i].Refused() {
			r.classify(c.Outcomes[i].Any[0].Reason)
		}
	}
	return r
}

// classify notes the class of a reason that the case is refused for.
func (r *Result) classify(reason gate.Reason) {
	if reason != "" {
		r.Class = reason.Info().Class.String()
	}
}

// skip is the result of a case that is not sent.
func skip(c *wire.Case, why string) Result {
	r := newResult(c)
	r.Outcome, r.Why = Skipped, []string{why}
	return r
}

// groupOf is the folder of a case.
func groupOf(c *wire.Case) string {
	folder, _, _ := strings.Cut(c.Name, "/")
	return folder
}

// newReport sums up. The groups stand in the order of the corpus.
func newReport(mode string, to Endpoint, began time.Time, results []Result) *Report {
	rep := &Report{
		V: 1, Mode: mode, Target: to.Address, Cases: len(results), Counts: map[Outcome]int{}, Protocols: map[string]map[Outcome]int{},
		Millis: time.Since(began).Milliseconds(), Groups: []Group{}, Results: results,
	}
	slices.SortStableFunc(results, func(a, b Result) int { return cmp.Compare(a.Group, b.Group) })
	for i := range results {
		r := &results[i]
		if n := len(rep.Groups); n == 0 || rep.Groups[n-1].Name != r.Group {
			rep.Groups = append(rep.Groups, newGroup(r.Group))
		}
		g := &rep.Groups[len(rep.Groups)-1]
		g.Cases++
		g.Counts[r.Outcome]++
		rep.Counts[r.Outcome]++
		rep.count(r)
		if r.CutOff {
			rep.CutOff++
		}
	}
	return rep
}

// count counts a result by its protocol, if it is that of a case.
func (r *Report) count(result *Result) {
	if result.Protocol == "" {
		return
	}
	if r.Protocols[result.Protocol] == nil {
		r.Protocols[result.Protocol] = map[Outcome]int{}
	}
	r.Protocols[result.Protocol][result.Outcome]++
}

func newGroup(name string) Group {
	g := Group{Name: name, Title: "more than one request on a connection", Counts: map[Outcome]int{}}
	if strings.HasPrefix(name, "h2.") {
		g.Title = "HTTP/2 itself"
	}
	if info := gate.Reason(name).Info(); info.Title != "" {
		g.Title, g.Class, g.Source, g.Attack = info.Title, info.Class.String(), info.Source, info.Attack
	}
	return g
}

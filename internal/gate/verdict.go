package gate

import "time"

// An Action says what a verdict does with a request. The zero Action is
// Undecided, and an undecided request is refused: whoever forgets to decide
// fails closed.
type Action uint8

// The actions, in rising order of severity after Undecided.
const (
	Undecided Action = iota // nobody decided; answered as an internal failure
	Pass                    // go on
	Observe                 // would have been refused, but the stage only observes
	Refuse                  // the request's fault: answered with a status of our own
	Fail                    // our fault or the backend's
)

// String returns the word that records and metrics use.
func (a Action) String() string {
	switch a {
	case Pass:
		return "pass"
	case Observe:
		return "observe"
	case Refuse:
		return "refuse"
	case Fail:
		return "fail"
	case Undecided:
	}
	return "undecided"
}

// A Mode says what a stage does with what it finds.
type Mode string

// The modes. The zero Mode is not valid in a running stage; configuration
// always fills it in.
const (
	Enforce Mode = "enforce" // refuse
	Watch   Mode = "observe" // record what would have been refused, and pass
	Off     Mode = "off"     // do not look
)

// A Stage is one station on the path of a request.
type Stage string

// The stages, in the order in which a request meets them.
const (
	StageHTTP    Stage = "http"
	StageClient  Stage = "client"
	StageBan     Stage = "ban"
	StageRoute   Stage = "route"
	StageGeo     Stage = "geo"
	StageLimit   Stage = "limit"
	StageWAF     Stage = "waf"
	StagePool    Stage = "pool"
	StageMask    Stage = "mask"
	StageGateway Stage = "gateway"
)

// A Verdict is one stage's answer about one request. It is never modified
// once returned.
type Verdict struct {
	Action Action
	Stage  Stage
	Reason Reason // empty for a plain pass
	// Status is what the client is answered. Zero takes the status that the
	// table of reasons gives. The body never depends on anything else.
	Status int
	// Close ends the connection after the answer. Refusals of broken framing
	// always close.
	Close bool
	// RetryAfter is told to the client with 429 and 503. Zero: not told.
	RetryAfter time.Duration
	// Location is where a redirecting rule sends the client. Empty for all
	// other verdicts.
	Location string
	// Limit tells which budget decided; nil outside the limit stage.
	Limit *LimitHit
	// Offset, Excerpt and Mark tell where in the head or body a refused byte
	// stood, what stood around it, and where in that it stands. Offset is -1 where there is no such place. The
	// excerpt is raw client data: it is redacted and escaped before any writer.
	Offset  int
	Excerpt string
	Mark    int
	// Detail is one line for the operator's record. It never reaches a client.
	Detail string
	// Err is the internal failure that led here, for the operational log. A
	// client is told nothing of it.
	Err error
}

// Passed reports whether the request goes on: it was passed or only observed.
func (v Verdict) Passed() bool { return v.Action == Pass || v.Action == Observe }

// Passes is the plain pass of a stage.
func Passes(s Stage) Verdict { return Verdict{Action: Pass, Stage: s, Offset: -1} }

// Refusal is the verdict that refuses for a reason, under a mode: Watch turns
// the refusal into an Observe, unless the reason's class is one that is always
// enforced (broken framing, limits of size and time).
func Refusal(r Reason, under Mode, detail string) Verdict {
	info := r.Info()
	v := Verdict{Action: Refuse, Stage: r.Stage(), Reason: r, Status: info.Status, Close: info.Close, Offset: -1, Detail: detail}
	if under == Watch && !info.Class.Enforced() {
		v.Action = Observe
	}
	return v
}

// Failure is the verdict of something that broke on our side or behind us.
func Failure(r Reason, err error) Verdict {
	info := r.Info()
	v := Verdict{Action: Fail, Stage: r.Stage(), Reason: r, Status: info.Status, Close: info.Close, Offset: -1, Err: err}
	if err != nil {
		v.Detail = err.Error()
	}
	return v
}

// A VerdictError carries a verdict through an io.Reader: a request body whose
// framing breaks, comes too slowly, grows past a limit, or is refused by the
// rules while it streams returns one from Read, and the handler answers with
// the verdict inside.
type VerdictError struct{ Verdict Verdict }

// Error names the reason; it is for logs, never for clients.
func (e *VerdictError) Error() string { return string(e.Verdict.Reason) + ": " + e.Verdict.Detail }

// A LimitHit tells which limit decided and when to come back. Quota and Window
// are what the RateLimit-Policy field says of the limit, Remaining and Reset
// what the RateLimit field says of the client's bucket.
type LimitHit struct {
	Name       string
	RetryAfter time.Duration // until the bucket holds a token again; to be told in whole seconds, rounded up
	Quota      int           // requests that a full bucket holds
	Window     time.Duration // in which an empty bucket fills
	Remaining  int           // whole tokens in the bucket
	Reset      time.Duration // until more than Remaining is available
	Concurrent bool          // Quota counts requests at once; there is no Window
}

// A RuleHit is one rule of the WAF that matched with an effect.
type RuleHit struct {
	Rule     int
	Phase    int    // 1 to 5
	Severity string // critical, error, warning, notice …; empty: none given
	Paranoia int    // 1 to 4; 0: the rule has no paranoia level
	Score    int    // what the match added to the anomaly score
	Message  string // expanded; holds client data
	Data     string // the rule's logdata, expanded; holds client data
	Variable string // ARGS:user
	Value    string // the value that matched, after transformations; client data
	File     string
	Line     int
	Tags     []string
	// Disruptive is set on the rule that interrupted, or that would have.
	Disruptive bool
	// LogLine is the ModSecurity error-log form for rules whose actions
	// include log, where somebody reads it; empty for the others. It holds
	// client data.
	LogLine string
}

// How the rules of a policy were run for a request.
const (
	RunProven = "proven" // not at all: none that has an effect can match
	RunGuided = "guided" // those that can match
	RunFull   = "full"   // all
)

// Inspection sums up what the WAF saw and found of one request.
type Inspection struct {
	Policy  string
	Ruleset string // "sha256:…" of everything the policy was built from
	// Score and Threshold are those of the direction that decided; of the
	// request when none did.
	Score, Threshold int
	// Run tells how the rules were run: RunProven, RunGuided or RunFull; empty
	// where the policy is off. A request counts as what the dearest of its
	// phases took.
	Run string
	// Compared says that all rules were run beside those that were chosen, and
	// Differs that they found something else.
	Compared, Differs bool
	// Inspected tells how much of the request body was judged: "full",
	// "head" (what was held; the rest streamed on), or "none" (an opaque type,
	// or no rules). Empty: there was no body.
	Inspected string
	// ResponseInspected is the same of the response body.
	ResponseInspected string
	Hits              []RuleHit
	// Excluded lists rules that an exclusion kept from judging.
	Excluded []int
}

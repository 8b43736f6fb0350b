package gate

import "time"

// RecordVersion is the number that every record carries as "v". Fields that
// exist stay; new ones may come without a new number.
const RecordVersion = 1

// EventBanned marks the record of a ban that begins. Its ID is that of the
// request that was one refusal too many.
const EventBanned = "banned"

// EventBackend marks the record of a change of a backend, which Pool names. It
// belongs to no request.
const EventBackend = "backend"

// What has become of a backend, in RecordPool.State.
const (
	BackendUp       = "up"       // it gets requests
	BackendDown     = "down"     // the health checks say so
	BackendEjected  = "ejected"  // out for a while after errors
	BackendDraining = "draining" // an operator keeps new clients from it
	BackendWeight   = "weight"   // an operator has set its weight
)

// A Record is what is written down about one decision: one line of JSON. The
// handler fills it with what the client sent as it was sent; the audit log
// redacts and escapes it before anything is written.
type Record struct {
	V        int           `json:"v"`
	Time     time.Time     `json:"time"`
	ID       string        `json:"id"`
	Event    string        `json:"event,omitempty"` // "closed" for the end of a tunnel, "banned" for the begin of a ban, "backend" for a change of one, "dropped" for lines lost by the writer
	Action   string        `json:"action"`
	Stage    Stage         `json:"stage"`
	Reason   Reason        `json:"reason"`
	Mode     Mode          `json:"mode"`
	Status   int           `json:"status"`
	Detail   string        `json:"detail,omitempty"`
	Offset   *int          `json:"offset,omitempty"`
	Excerpt  string        `json:"excerpt,omitempty"`
	Mark     *int          `json:"mark,omitempty"` // where in Excerpt the byte at Offset stands; nil without an excerpt
	Gateway  RecordGateway `json:"gateway"`
	Listener string        `json:"listener"`

	Client   RecordClient   `json:"client"`
	TLS      *RecordTLS     `json:"tls,omitempty"`
	Request  RecordRequest  `json:"request"`
	Route    string         `json:"route,omitempty"`
	Policy   string         `json:"policy,omitempty"`
	Ruleset  string         `json:"ruleset,omitempty"`
	WAF      *RecordWAF     `json:"waf,omitempty"`
	Limit    *RecordLimit   `json:"limit,omitempty"`
	Pool     *RecordPool    `json:"pool,omitempty"`
	Mask     *RecordMask    `json:"mask,omitempty"`
	Response RecordResponse `json:"response"`
	// Observed lists what stages in observe mode would have refused, beyond
	// the one that Stage and Reason name.
	Observed []RecordObserved `json:"observed,omitempty"`
	// Tunnel tells what passed through an upgraded connection, in the record
	// of its end.
	Tunnel *RecordTunnel `json:"tunnel,omitempty"`
	// Spent is how long each stage took; total is from the arrival of the
	// request to the end of its answer. Measure makes Micros of it.
	Spent []Span `json:"-"`
	// Micros is the same in microseconds, as it is written.
	Micros map[string]int64 `json:"micros"`
	// Lost counts records that were not written before this one; only in
	// records with event "dropped".
	Lost uint64 `json:"lost,omitempty"`
	// Escaped is set when a value held bytes that are not UTF-8, written \xNN.
	Escaped bool `json:"escaped,omitempty"`
}

// Total is the span of a request as a whole.
const Total = "total"

// Measure makes Micros of Spent, which most records are never asked for.
func (r *Record) Measure() {
	if r.Spent == nil {
		return
	}
	r.Micros = make(map[string]int64, len(r.Spent))
	for _, s := range r.Spent {
		r.Micros[s.Stage] += s.Took.Microseconds()
	}
	r.Spent = nil
}

// RecordGateway names the gateway that decided.
type RecordGateway struct {
	Host       string `json:"host"`
	Version    string `json:"version"`
	Generation uint64 `json:"generation"`
}

// RecordClient is who asked, and how that is known.
type RecordClient struct {
	IP       string `json:"ip"`
	Peer     string `json:"peer"`
	ChosenBy string `json:"chosen_by"`
	Country  string `json:"country,omitempty"`
	ASN      uint32 `json:"asn,omitempty"`
}

// RecordTLS is how the connection was secured.
type RecordTLS struct {
	Version string `json:"version"`
	SNI     string `json:"sni,omitempty"`
}

// RecordRequest is what was asked.
type RecordRequest struct {
	Protocol string        `json:"protocol"`
	Method   string        `json:"method"`
	Host     string        `json:"host"`
	Target   string        `json:"target"`
	Headers  []RecordField `json:"headers"`
	Bytes    int64         `json:"bytes"` // of body that were read
	ClientID string        `json:"client_id"`
	// Rewritten is the target that was judged and forwarded, where the route
	// rewrites it. Raw client data, as Target.
	Rewritten string `json:"rewritten,omitempty"`
}

// RecordField is one header field line.
type RecordField = Field

// RecordWAF is what the rules found.
type RecordWAF struct {
	Score             int    `json:"score"`
	Threshold         int    `json:"threshold"`
	Inspected         string `json:"inspected,omitempty"`
	ResponseInspected string `json:"response_inspected,omitempty"`
	// Run tells how the rules were run: RunProven, RunGuided or RunFull; empty
	// where the policy is off. Compared says that all of them were run as well,
	// and Differs that they found something else.
	Run      string        `json:"run,omitempty"`
	Compared bool          `json:"compared,omitempty"`
	Differs  bool          `json:"differs,omitempty"`
	Matches  []RecordMatch `json:"matches"`
	Excluded []int         `json:"excluded"`
}

// RecordMatch is one rule that matched with an effect.
type RecordMatch struct {
	Rule     int      `json:"rule"`
	Severity string   `json:"severity,omitempty"`
	Paranoia int      `json:"paranoia,omitempty"`
	Score    int      `json:"score"`
	Message  string   `json:"message"`
	Data     string   `json:"data,omitempty"`
	Variable string   `json:"variable"`
	Value    string   `json:"value"`
	File     string   `json:"file,omitempty"`
	Line     int      `json:"line,omitempty"`
	Tags     []string `json:"tags,omitempty"`
	// LogLine goes to audit.rules_log, never into the record.
	LogLine string `json:"-"`
}

// RecordLimit is the budget that decided.
type RecordLimit struct {
	Name       string `json:"name"`
	RetryAfter int    `json:"retry_after_s"`
}

// RecordPool is which backend answered, by its configured name.
type RecordPool struct {
	Name     string `json:"name"`
	Backend  string `json:"backend,omitempty"`
	Status   int    `json:"status,omitempty"`
	Attempts int    `json:"attempts"`
	Waited   int64  `json:"waited_ms,omitempty"` // for a backend with room
	State    string `json:"state,omitempty"`     // what has become of the backend; only in records with event "backend"
}

// RecordMask is what the leak detector found in the answer.
type RecordMask struct {
	Leaks []RecordLeak `json:"leaks"`          // at most 8
	More  int          `json:"more,omitempty"` // further finds that are not listed
}

// RecordLeak is one address of a backend that an answer held.
type RecordLeak struct {
	Where  string `json:"where"`          // "header", "interim", "trailer" or "body"
	Name   string `json:"name,omitempty"` // of the field
	Token  string `json:"token"`          // from the configuration, not from the answer
	Action string `json:"action"`         // what was done about it: "redact", "block" or "observe"
	Count  int    `json:"count"`
}

// RecordResponse is what the client got.
type RecordResponse struct {
	Status int   `json:"status"`
	Bytes  int64 `json:"bytes"` // of body
	// Cut says that the answer was begun and broken off. A refusal that came
	// before has replaced the answer, and Status is that of the refusal.
	Cut bool `json:"cut,omitempty"`
}

// RecordObserved is one thing that was found and let pass.
type RecordObserved struct {
	Stage  Stage  `json:"stage"`
	Reason Reason `json:"reason"`
	Detail string `json:"detail,omitempty"`
}

// RecordTunnel is the traffic of an upgraded connection.
type RecordTunnel struct {
	Received int64 `json:"received"` // bytes from the client
	Sent     int64 `json:"sent"`     // bytes to the client
	Seconds  int64 `json:"seconds"`
}

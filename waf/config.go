package waf

import (
	"cmp"
	"time"

	"sallyport/internal/gate"
	"sallyport/waf/coding"
)

// Config holds the policies and what they share.
type Config struct {
	// Memory bounds the held bodies of the process in bytes, of requests and
	// of responses (waf.memory). Default 512 MiB.
	Memory int64
	// Policies by name (policies). There is always one called default.
	Policies map[string]Policy
	// LogLines asks for RuleHit.LogLine, which nobody reads but the rules log.
	LogLines bool
}

// Codings are the content codings that Policy.Decode may name.
var Codings = coding.All

// The bounds of a policy that sets none.
const (
	defaultArguments = 1000
	defaultJSONDepth = 64
	defaultDepth     = 16
	defaultAliases   = 30
	defaultBatch     = 10
)

// A Policy is one way to judge requests: the Core Rule Set, how strict, and
// the rule files around it.
type Policy struct {
	// Mode is enforce (default), observe (every rule runs, nothing is refused)
	// or off (no transaction is made).
	Mode gate.Mode
	// CPUBudget is how much CPU time the rules may take over one request
	// (cpu_budget), by an estimate from the rules that can match it and the length
	// of its values; 0: any. What would take more is refused. It counts where the
	// engine runs some of the rules. The configuration's default is 5 s.
	CPUBudget time.Duration
	// CRS says which Core Rule Set is run (crs): "builtin" (default, and what
	// empty means) for the embedded one, "off" for none, which leaves the rule
	// files of the operator, or the directory that holds one: its rules, in it
	// or in a directory rules below it, and its crs-setup.conf when there is
	// one. What the policy sets is set after that file, and counts more.
	CRS string
	// Engine says how the rules are run (engine): FastEngine (default, and what
	// empty means), StockEngine or CompareEngine.
	Engine EngineKind
	// CompareShare is the share of requests that CompareEngine runs both ways
	// (compare_share), 0 to 1. The configuration's default is 0.01.
	CompareShare float64
	// Paranoia is the CRS paranoia level, 1 (default) to 4: what its rules
	// find adds to the score.
	Paranoia int
	// DetectionParanoia is the level up to which rules run
	// (detection_paranoia): what those above Paranoia find is recorded and
	// scores nothing. At least Paranoia, at most 4; 0, the default: the same.
	DetectionParanoia int
	// InboundThreshold is the anomaly score from which a request is refused;
	// at least 1, default 5.
	InboundThreshold int
	// OutboundThreshold is the same for responses; default 4.
	OutboundThreshold int
	// EarlyBlocking refuses on the score of the head alone, before the body is
	// read (early_blocking). Default: the whole request is judged first, so
	// that the record names everything that was found in it.
	EarlyBlocking bool
	// PassOnError lets requests pass when the engine fails (on_error: pass).
	// Default: they are refused.
	PassOnError bool
	// Inspect is how many bytes of a request body are held at most to be
	// judged (request_body.inspect). Default 1 MiB. Files in multipart bodies
	// and opaque types do not count.
	Inspect int64
	// OverHead judges what was held and streams the rest when a body is larger
	// than Inspect (request_body.over: head). Default: such bodies are refused
	// with 413 (over: reject).
	OverHead bool
	// Decode are the content codings that request bodies may have
	// (request_body.decode): they are decoded for the rules and forwarded as
	// they came. A body to be judged that has another one is refused. Empty: so
	// is every coded one. The configuration's default is all of Codings.
	Decode []coding.Coding
	// Arguments is how many arguments of the query, how many of the body and
	// how many cookies the rules look at (request_body.arguments): 1 to 10000,
	// 0 means 1000. More are refused, because no rule would see them.
	Arguments int
	// JSONDepth is how deep a JSON body may nest (request_body.json_depth): 1
	// to 1000, 0 means 64. Deeper ones are refused as unreadable.
	JSONDepth int
	// GraphQL bounds the GraphQL documents of one request
	// (request_body.graphql).
	GraphQL GraphQL
	// ResponseBody is "off", "errors" (4xx and 5xx; default) or "all".
	ResponseBody string
	// ResponseLimit is how many bytes of a response body are held at most to
	// be judged (response_body.limit). Default 512 KiB.
	ResponseLimit int64
	// RulesBefore and RulesAfter are file name patterns of SecLang files that
	// are loaded before and after the CRS (rules_before, rules_after), absolute
	// or relative to the working directory. A pattern that matches no file is
	// an error.
	RulesBefore, RulesAfter []string
	// ExclusionFiles are the file name patterns of exclusions, absolute, and
	// Exclusions what they say for this policy, in order.
	ExclusionFiles []string
	Exclusions     []Exclusion
	// Routes are the names of the routes that use the policy.
	Routes []string
	// Methods are the allowed methods of the CRS (tx.allowed_methods): those
	// of http.methods and of the routes that use the policy.
	Methods []string
	// ContentTypes are the media types that the CRS allows for request bodies
	// (content_types), as in "application/json". Empty: the default of the
	// CRS, which is forms, JSON, XML and SOAP.
	ContentTypes []string
	// Versions are the HTTP versions that the CRS allows, as in "HTTP/1.1":
	// those that the listeners speak. Empty: the default of the CRS.
	Versions []string
}

// An EngineKind is a way to run the rules of a policy. All come to the same
// verdicts and the same records.
type EngineKind string

// The ways. The fast one proves of most requests that no rule with an effect
// can match them, and has Coraza run only those rules of the others that can.
// The stock one has Coraza run every rule. To compare is to be fast, and to run
// the stock one beside it for a share of the requests: a difference is logged
// and counted, and the stricter verdict holds.
const (
	FastEngine    EngineKind = "fast"
	StockEngine   EngineKind = "stock"
	CompareEngine EngineKind = "compare"
)

// GraphQL bounds what the server behind may be asked to do in one request. What
// exceeds it is refused.
type GraphQL struct {
	// Depth is how deep fields may nest, through fragments too: 1 to 1000, 0
	// means 16. The usual query for a whole schema needs 15.
	Depth int
	// Aliases is how many fields may be given another name, each fragment
	// counted as often as it is used: 1 to 10000, 0 means 30. With an alias, one
	// request can call a field, such as a login, any number of times.
	Aliases int
	// Batch is how many operations a JSON array may hold: 1 to 10000, 0 means 10.
	Batch int
}

// bounded returns the policy with the defaults of the bounds that are not set, and
// of the engine.
func (p Policy) bounded() Policy {
	p.Engine = cmp.Or(p.Engine, FastEngine)
	p.Arguments = cmp.Or(p.Arguments, defaultArguments)
	p.JSONDepth = cmp.Or(p.JSONDepth, defaultJSONDepth)
	p.GraphQL.Depth = cmp.Or(p.GraphQL.Depth, defaultDepth)
	p.GraphQL.Aliases = cmp.Or(p.GraphQL.Aliases, defaultAliases)
	p.GraphQL.Batch = cmp.Or(p.GraphQL.Batch, defaultBatch)
	return p
}

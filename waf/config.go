package waf

import "sallyport/internal/gate"

// Config holds the policies and what they share.
type Config struct {
	// Memory bounds the held bodies of the process in bytes, of requests and
	// of responses (waf.memory). Default 512 MiB.
	Memory int64
	// Policies by name (policies). There is always one called default.
	Policies map[string]Policy
}

// A Policy is one way to judge requests: the Core Rule Set, how strict, and
// the rule files around it.
type Policy struct {
	// Mode is enforce (default), observe (every rule runs, nothing is refused)
	// or off (no transaction is made).
	Mode gate.Mode
	// CRS says which Core Rule Set is run (crs): "builtin" (default, and what
	// empty means) for the embedded one, "off" for none, which leaves the rule
	// files of the operator, or the directory that holds one: its rules, in it
	// or in a directory rules below it, and its crs-setup.conf when there is
	// one. What the policy sets is set after that file, and counts more.
	CRS string
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

// Package ftw runs rule tests in the FTW YAML format, the format in which the
// OWASP Core Rule Set keeps its regression tests: it reads the files strictly,
// builds the very bytes that a test describes, sends them to a gateway, and
// judges the answer and the record of it against what the test expects.
//
// It never decides about traffic and never speaks for the gateway: what was
// found comes from the gateway's own record of the request. A request that the
// gateway refused before any rule saw it is told apart from one that the rules
// judged, so that a refusal by the parser is never counted as a detection.
package ftw

import (
	"fmt"
	"regexp"

	"sallyport/internal/gate"
)

// A Test is one numbered test of a rule: its stages are run in order, and the
// first that does not come out as expected ends it.
type Test struct {
	Rule   int
	Number int
	Desc   string
	File   string
	Line   int // where the test begins in File
	// Disabled is set by meta.enabled: false. The test is counted as skipped.
	Disabled bool
	Stages   []Stage
}

// ID is the name that exceptions and reports use: rule and number, as 942100-3.
func (t *Test) ID() string { return fmt.Sprintf("%d-%d", t.Rule, t.Number) }

// A Stage is one request and what is expected of it.
type Stage struct {
	Input  Input
	Output Output
}

// An Input describes a request. Its fields hold what is sent as it stands:
// tests are there to send what no client would.
type Input struct {
	Method  string // default GET
	URI     string // default /
	Version string // default HTTP/1.1
	// Headers are the field lines, in the order in which they are sent: that
	// of ordered_headers, or headers sorted by name.
	Headers []gate.Field
	// Data is the body, with its templates filled in or its base64 decoded.
	Data []byte
	// Raw is the whole request (encoded_request). When it is not empty
	// everything above is ignored and nothing is completed.
	Raw []byte
	// Complete adds the fields that a request needs to be understood
	// (autocomplete_headers, default true): Content-Type and Content-Length for
	// a body, and Connection: close.
	Complete bool
	// FollowRedirect takes the target and Host from the Location that the
	// stage before was answered.
	FollowRedirect bool
	// SaveCookie sends the cookies that this stage is answered with on the
	// stages after it.
	SaveCookie bool
}

// An Output is what a stage is expected to come to. Everything that is set has
// to hold.
type Output struct {
	Status []int // any of them; empty: whatever it is
	// Expect are rules that must have been logged, Forbid rules that must not.
	Expect, Forbid []int
	// Match must be found in at least one log line, NoMatch in none.
	Match, NoMatch *regexp.Regexp
	// Response must be found in the raw answer, its head included.
	Response *regexp.Regexp
	// Error expects the request to be refused as broken: the connection ends
	// without an answer, or with a refusal of the HTTP grammar. Nothing else is
	// looked at then.
	Error bool
	// RetryOnce gives the stage a second chance.
	RetryOnce bool
	// Isolated allows no logged rule but the one in Expect.
	Isolated bool
}

// negative reports whether the output expects nothing but the absence of
// rules, which a request that no rule saw fulfils without proving anything.
func (o *Output) negative() bool {
	return len(o.Status) == 0 && len(o.Expect) == 0 && o.Match == nil && o.Response == nil && !o.Error && !o.Isolated
}

// CRSSetup is the SecLang that the regression tests of the Core Rule Set take
// for granted beside paranoia level 4: limits low enough to be met by a small
// request, the check of UTF-8, and the rule set's own short list of methods. It
// belongs in front of the rule set.
const CRSSetup = `# What the Core Rule Set's own tests expect to find configured.
SecAction "id:19005,phase:1,nolog,pass,t:none,\
    setvar:'tx.allowed_methods=GET HEAD POST OPTIONS',\
    setvar:tx.crs_validate_utf8_encoding=1,\
    setvar:tx.arg_name_length=100,\
    setvar:tx.arg_length=400,\
    setvar:tx.total_arg_length=64000,\
    setvar:tx.max_num_args=255,\
    setvar:tx.max_file_size=64100,\
    setvar:tx.combined_file_sizes=65535,\
    setvar:'tx.restricted_headers_basic=/content-encoding/ /proxy/ /lock-token/ /content-range/ /if/ /x-http-method-override/ /x-http-method/ /x-method-override/ /x-middleware-subrequest/ /expect/'"
`

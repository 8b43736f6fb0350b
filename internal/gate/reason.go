package gate

import "strings"

// A Reason says why, in one word that records, metrics and documents share.
// The set is closed: every reason is declared here, and docs/reasons.md is
// made from this table.
type Reason string

// The reasons, by stage.
const (
	HTTPRequestLine        Reason = "http.request_line"
	HTTPMethod             Reason = "http.method"
	HTTPVersion            Reason = "http.version"
	HTTPPreface            Reason = "http.preface"
	HTTPConnect            Reason = "http.connect"
	HTTPTrace              Reason = "http.trace"
	HTTPTargetForm         Reason = "http.target_form"
	HTTPTargetByte         Reason = "http.target_byte"
	HTTPFieldLine          Reason = "http.field_line"
	HTTPFieldName          Reason = "http.field_name"
	HTTPFieldValue         Reason = "http.field_value"
	HTTPObsFold            Reason = "http.obs_fold"
	HTTPBareCR             Reason = "http.bare_cr"
	HTTPBareLF             Reason = "http.bare_lf"
	HTTPHostMissing        Reason = "http.host_missing"
	HTTPHostDuplicate      Reason = "http.host_duplicate"
	HTTPHostInvalid        Reason = "http.host_invalid"
	HTTPHostMismatch       Reason = "http.host_mismatch"
	HTTPLengthInvalid      Reason = "http.length_invalid"
	HTTPLengthDuplicate    Reason = "http.length_duplicate"
	HTTPTEAndCL            Reason = "http.te_and_cl"
	HTTPTEUnknown          Reason = "http.te_unknown"
	HTTPTEDuplicate        Reason = "http.te_duplicate"
	HTTPTEVersion          Reason = "http.te_version"
	HTTPChunkSize          Reason = "http.chunk_size"
	HTTPChunkExtension     Reason = "http.chunk_extension"
	HTTPChunkEnd           Reason = "http.chunk_end"
	HTTPTrailer            Reason = "http.trailer"
	HTTPBodyCut            Reason = "http.body_cut"
	HTTPExpectation        Reason = "http.expectation"
	HTTPConnection         Reason = "http.connection"
	HTTPUpgrade            Reason = "http.upgrade"
	HTTPEarlyBytes         Reason = "http.early_bytes"
	HTTPH2Pseudo           Reason = "http.h2_pseudo"
	HTTPH2Field            Reason = "http.h2_field"
	HTTPH2Frame            Reason = "http.h2_frame"
	HTTPH2Flood            Reason = "http.h2_flood"
	HTTPPathPercent        Reason = "http.path_percent"
	HTTPPathNul            Reason = "http.path_nul"
	HTTPPathDots           Reason = "http.path_dots"
	HTTPPathBackslash      Reason = "http.path_backslash"
	HTTPPathOverlong       Reason = "http.path_overlong"
	HTTPHeaderUnderscore   Reason = "http.header_underscore"
	HTTPBodyUnexpected     Reason = "http.body_unexpected"
	HTTPPathSlash          Reason = "http.path_slash"
	HTTPPathParameter      Reason = "http.path_parameter"
	HTTPPathEmptySegment   Reason = "http.path_empty_segment"
	HTTPPathDoubleEncoding Reason = "http.path_double_encoding"
	HTTPQueryPercent       Reason = "http.query_percent"
	HTTPFieldUnderscore    Reason = "http.field_underscore"
	HTTPBodyOnDelete       Reason = "http.body_on_delete"
	HTTPTargetTooLong      Reason = "http.target_too_long"
	HTTPHeadTooLarge       Reason = "http.head_too_large"
	HTTPTooManyFields      Reason = "http.too_many_fields"
	HTTPHeadTimeout        Reason = "http.head_timeout"
	HTTPBodyTooLarge       Reason = "http.body_too_large"
	HTTPBodyTooSlow        Reason = "http.body_too_slow"
	HTTPReaderTooSlow      Reason = "http.reader_too_slow"
	HTTPNoHead             Reason = "http.no_head"
	HTTPProxyProtocol      Reason = "http.proxy_protocol"
	HTTPTLSHandshake       Reason = "http.tls_handshake"
	HTTPTooManyConnections Reason = "http.too_many_connections"
	HTTPMethodNotAllowed   Reason = "http.method_not_allowed"
	BanActive              Reason = "ban.active"
	RouteUnknownHost       Reason = "route.unknown_host"
	RouteUnknownPath       Reason = "route.unknown_path"
	RouteSNIMismatch       Reason = "route.sni_mismatch"
	GeoPrefix              Reason = "geo.prefix"
	GeoASN                 Reason = "geo.asn"
	GeoCountry             Reason = "geo.country"
	GeoContinent           Reason = "geo.continent"
	GeoPrivate             Reason = "geo.private"
	GeoNotAllowed          Reason = "geo.not_allowed"
	GeoUnknown             Reason = "geo.unknown"
	GeoUnavailable         Reason = "geo.unavailable"
	LimitOverBudget        Reason = "limit.over_budget"
	LimitTableFull         Reason = "limit.table_full"
	LimitStoreDown         Reason = "limit.store_down"
	WAFInboundScore        Reason = "waf.inbound_score"
	WAFOutboundScore       Reason = "waf.outbound_score"
	WAFRule                Reason = "waf.rule"
	WAFRedirect            Reason = "waf.redirect"
	WAFDuplicateName       Reason = "waf.duplicate_name"
	WAFTooManyArguments    Reason = "waf.too_many_arguments"
	WAFBodyTooLarge        Reason = "waf.body_too_large"
	WAFBodyUnreadable      Reason = "waf.body_unreadable"
	WAFBodyType            Reason = "waf.body_type"
	WAFCharset             Reason = "waf.charset"
	WAFGraphQLLimit        Reason = "waf.graphql_limit"
	WAFEncoding            Reason = "waf.encoding"
	WAFTooCostly           Reason = "waf.too_costly"
	WAFMemory              Reason = "waf.memory"
	WAFBusy                Reason = "waf.busy"
	WAFEngine              Reason = "waf.engine"
	PoolNone               Reason = "pool.no_backend"
	PoolQueueFull          Reason = "pool.queue_full"
	PoolQueueTimeout       Reason = "pool.queue_timeout"
	PoolConnect            Reason = "pool.connect"
	PoolBadAnswer          Reason = "pool.bad_answer"
	PoolTimeout            Reason = "pool.timeout"
	PoolBroken             Reason = "pool.broken"
	PoolClientGone         Reason = "pool.client_gone"
	MaskLeak               Reason = "mask.leak"
	MaskRange              Reason = "mask.range"
	MaskUnreadable         Reason = "mask.unreadable"
	GatewayPanic           Reason = "gateway.panic"
	GatewayUndecided       Reason = "gateway.undecided"
	GatewayUnpaired        Reason = "gateway.unpaired"
)

// A Class says what may be done about a reason.
type Class uint8

// The classes.
const (
	ClassFailure Class = iota // nothing else can be answered: nothing is there, or something broke
	ClassFraming              // ambiguous or malformed HTTP: always refused, never waived, never observed
	ClassSize                 // over a limit of size or time: always refused, the limit can be raised
	ClassHygiene              // well framed but suspicious: refused unless observed or waived, or only when asked for
	ClassPolicy               // what a stage was told to refuse: refused unless observed
)

// Enforced reports whether reasons of the class are refused in observe mode too.
func (c Class) Enforced() bool { return c == ClassFailure || c == ClassFraming || c == ClassSize }

// String returns the word that documents use.
func (c Class) String() string {
	switch c {
	case ClassFraming:
		return "framing"
	case ClassSize:
		return "size"
	case ClassHygiene:
		return "hygiene"
	case ClassPolicy:
		return "policy"
	case ClassFailure:
	}
	return "failure"
}

// ReasonInfo is what is known about a reason.
type ReasonInfo struct {
	Reason Reason
	Class  Class
	Status int    // what the client is answered unless the verdict says otherwise
	Close  bool   // whether the connection ends after the answer
	Title  string // what was found
	Source string // the section or rule that it follows from
	Attack string // what it stops
	Remedy string // what an operator or client does about it
}

// Stage is the part of the reason before the dot.
func (r Reason) Stage() Stage {
	stage, _, _ := strings.Cut(string(r), ".")
	return Stage(stage)
}

// Optional reports whether the reason is one of the hygiene class that is let
// pass unless the configuration asks for its refusal: applications that are in
// order send such requests too.
func (r Reason) Optional() bool {
	switch r {
	case HTTPPathSlash, HTTPPathParameter, HTTPPathEmptySegment, HTTPPathDoubleEncoding,
		HTTPQueryPercent, HTTPFieldUnderscore, HTTPBodyOnDelete:
		return true
	}
	return false
}

// Info returns what is known about the reason. An undeclared reason is a
// defect and answered as one.
func (r Reason) Info() ReasonInfo {
	for i := range reasons {
		if reasons[i].Reason == r {
			return reasons[i]
		}
	}
	return ReasonInfo{Reason: r, Class: ClassFailure, Status: 500, Close: true}
}

// Reasons returns the whole table, in the order of the stages.
func Reasons() []ReasonInfo { return append([]ReasonInfo(nil), reasons...) }

var reasons = []ReasonInfo{
	{HTTPRequestLine, ClassFraming, 400, true, "the request line is not \"method SP target SP version CRLF\"", "RFC 9112 section 3",
		"A line that two readers split at different places names two different requests.",
		"Fix the client; nothing that speaks HTTP sends this."},
	{HTTPMethod, ClassFraming, 400, true, "the method is not a token, or longer than 32 bytes", "RFC 9110 section 9.1",
		"Readers disagree about methods with separators or controls in them.",
		"Fix the client."},
	{HTTPVersion, ClassFraming, 505, true, "the version is not HTTP/1.0 or HTTP/1.1", "RFC 9112 section 2.3",
		"A version that a backend treats differently changes its framing rules.",
		"Use HTTP/1.1 or negotiate HTTP/2."},
	{HTTPPreface, ClassFraming, 400, true, "an HTTP/2 preface on an HTTP/1 connection", "RFC 9113 section 3.4",
		"A backend that switches protocol reads the rest as requests that nobody judged.",
		"Negotiate HTTP/2 by ALPN, or allow h2c on the listener."},
	{HTTPConnect, ClassFraming, 405, true, "CONNECT is for forward proxies", "RFC 9110 section 9.3.6",
		"A tunnel through the gateway carries requests that nobody judges.",
		"Do not use the gateway as a forward proxy."},
	{HTTPTrace, ClassFraming, 405, true, "TRACE is never forwarded", "RFC 9110 section 9.3.8",
		"TRACE echoes credentials and internal fields back to scripts.",
		"Use another method."},
	{HTTPTargetForm, ClassFraming, 400, true, "the target is not in origin-form, absolute-form with http or https, or \"*\" with OPTIONS", "RFC 9112 section 3.2",
		"Gateways and backends resolve other forms to different paths and hosts.",
		"Send the path that begins with a slash."},
	{HTTPTargetByte, ClassFraming, 400, true, "a control, space, non-ASCII byte, backslash, quote or fragment in the target", "RFC 3986 section 2",
		"Such bytes are cut, decoded or rewritten differently by every server.",
		"Percent-encode the byte."},
	{HTTPFieldLine, ClassFraming, 400, true, "a field line without a colon, or an empty field name", "RFC 9112 section 5",
		"Some readers skip the line, some end the head there.",
		"Fix the client."},
	{HTTPFieldName, ClassFraming, 400, true, "a field name that is not a token, or white space before the colon", "RFC 9112 section 5.1",
		"\"Content-Length :\" is a length to one reader and an unknown field to another.",
		"Fix the client."},
	{HTTPFieldValue, ClassFraming, 400, true, "a NUL, a control or a stray CR in a field value", "RFC 9110 section 5.5",
		"A control ends the field for one reader and not for another.",
		"Fix the client."},
	{HTTPObsFold, ClassFraming, 400, true, "a field value continued on the next line", "RFC 9112 section 5.2",
		"A folded Transfer-Encoding is seen by one reader and missed by another.",
		"Send the field on one line."},
	{HTTPBareCR, ClassFraming, 400, true, "a CR that is not followed by LF", "RFC 9112 section 2.2",
		"Some readers take a lone CR as the end of a line.",
		"End lines with CRLF."},
	{HTTPBareLF, ClassFraming, 400, true, "a line that ends in LF without CR", "RFC 9112 section 2.2",
		"Some readers take a lone LF as the end of a line, some as data.",
		"End lines with CRLF."},
	{HTTPHostMissing, ClassFraming, 400, true, "no Host field in HTTP/1.1", "RFC 9112 section 3.2",
		"Without a host the backend picks a site by itself.",
		"Send Host."},
	{HTTPHostDuplicate, ClassFraming, 400, true, "more than one Host field", "RFC 9112 section 3.2",
		"The gateway routes by one and the backend by the other.",
		"Send Host once."},
	{HTTPHostInvalid, ClassFraming, 400, true, "Host is not a valid host with an optional port", "RFC 9110 section 7.2",
		"User names, paths, lists and odd ports in Host poison links and caches.",
		"Send the plain host name."},
	{HTTPHostMismatch, ClassFraming, 400, true, "Host differs from the authority of the target", "RFC 9112 section 3.2.2",
		"The gateway routes by one and the backend by the other.",
		"Send the same host in both."},
	{HTTPLengthInvalid, ClassFraming, 400, true, "Content-Length is not one plain decimal number", "RFC 9110 section 8.6",
		"Signs, lists, hex and overflow are read as different lengths: what follows becomes a request.",
		"Send one decimal number."},
	{HTTPLengthDuplicate, ClassFraming, 400, true, "more than one Content-Length field", "RFC 9110 section 8.6",
		"The first counts for one reader, the last for another.",
		"Send it once."},
	{HTTPTEAndCL, ClassFraming, 400, true, "Transfer-Encoding together with Content-Length", "RFC 9112 section 6.1",
		"The classic of request smuggling: each reader believes another one of the two.",
		"Send one of them."},
	{HTTPTEUnknown, ClassFraming, 501, true, "a Transfer-Encoding other than a single \"chunked\"", "RFC 9112 section 6.1",
		"A coding that one side does not know leaves the length of the body open.",
		"Send \"chunked\" or a Content-Length."},
	{HTTPTEDuplicate, ClassFraming, 400, true, "more than one Transfer-Encoding field or member", "RFC 9112 section 6.1",
		"Readers differ in which of several codings they believe.",
		"Send \"chunked\" once."},
	{HTTPTEVersion, ClassFraming, 400, true, "Transfer-Encoding in HTTP/1.0", "RFC 9112 section 6.1",
		"HTTP/1.0 readers ignore the field and take the chunks for the next request.",
		"Use HTTP/1.1."},
	{HTTPChunkSize, ClassFraming, 400, true, "a chunk size that is not plain hexadecimal, or too large", "RFC 9112 section 7.1",
		"Prefixes, signs, spaces and overflow are read as different sizes.",
		"Fix the client."},
	{HTTPChunkExtension, ClassFraming, 400, true, "a malformed or overlong chunk extension", "RFC 9112 section 7.1.1",
		"A bare CR or LF in an extension ends the line for one reader only.",
		"Do not send chunk extensions."},
	{HTTPChunkEnd, ClassFraming, 400, true, "chunk data or the last chunk not followed by CRLF", "RFC 9112 section 7.1",
		"Bytes after a chunk that one reader skips are a request to another.",
		"Fix the client."},
	{HTTPTrailer, ClassFraming, 400, true, "a malformed or forbidden trailer field", "RFC 9110 section 6.5.1",
		"Framing, routing or credentials in trailers are merged into the head by some servers.",
		"Send the field in the head."},
	{HTTPBodyCut, ClassFraming, 400, true, "the connection ended before the body was complete", "RFC 9112 section 8",
		"A cut body that is completed on the way down is a different request.",
		"Send the whole body."},
	{HTTPExpectation, ClassFraming, 417, true, "an Expect other than a single 100-continue", "RFC 9110 section 10.1.1",
		"Expectations in lists make one side wait for what the other never sends.",
		"Send \"100-continue\" or nothing."},
	{HTTPConnection, ClassFraming, 400, true, "Connection names a field that must not be removed", "RFC 9110 section 7.6.1",
		"Naming Host, Cookie or X-Forwarded-For makes a proxy delete what the backend trusts.",
		"Name hop-by-hop fields only."},
	{HTTPUpgrade, ClassFraming, 400, true, "an upgrade that is not a complete WebSocket handshake (h2c never is)", "RFC 9110 section 7.8",
		"A backend that switches protocol reads requests that nobody judged.",
		"Send a whole WebSocket handshake, or no Upgrade."},
	{HTTPEarlyBytes, ClassFraming, 400, true, "bytes after a WebSocket handshake that was not accepted", "RFC 6455 section 4.1",
		"Bytes sent before the switch are frames to one side and a request to the other.",
		"Wait for the 101."},
	{HTTPH2Pseudo, ClassFraming, 400, false, "a pseudo-field that is missing, repeated, unknown, or behind a regular field", "RFC 9113 section 8.3",
		"Readers that pick different ones of two paths or authorities see two different requests.",
		"Fix the client."},
	{HTTPH2Field, ClassFraming, 400, false, "a field that HTTP/2 forbids, or a value that does not survive HTTP/1.1", "RFC 9113 section 8.2",
		"Connection-specific fields and odd values become framing on the way down.",
		"Fix the client."},
	{HTTPH2Frame, ClassFraming, 400, true, "HTTP/2 frames or field compression that break the protocol; the connection was ended (in the record only)", "RFC 9113 section 5.4.1",
		"Readers that go on after a broken frame lose step with each other.",
		"Fix the client; the detail names the error code that it was told."},
	{HTTPH2Flood, ClassSize, 503, true, "an HTTP/2 connection with more resets, control frames or empty frames than requests need; it was cut (in the record only)", "RFC 9113 section 10.5",
		"Rapid reset, MadeYouReset and floods of frames that cost the sender nothing.",
		"Fix the client; no browser comes near the limit."},
	{HTTPPathPercent, ClassHygiene, 400, true, "a percent sign in the path without two hex digits", "RFC 3986 section 2.1",
		"Decoders keep, drop or misread it, so the rules judge another path than the backend opens.",
		"Encode the percent sign as %25, or waive the reason for the route."},
	{HTTPPathNul, ClassHygiene, 400, true, "%00 in the path", "RFC 3986 section 7.3",
		"A NUL ends the file name for some backends.",
		"Waive the reason for the route if the application needs it."},
	{HTTPPathDots, ClassHygiene, 400, true, "dot segments in the path, plain or encoded", "RFC 3986 section 5.2.4",
		"Resolved after the rules have looked, they lead out of the allowed tree.",
		"Send the resolved path."},
	{HTTPPathBackslash, ClassHygiene, 400, true, "%5C in the path", "RFC 3986 section 2.2",
		"Some backends take a backslash for a slash.",
		"Waive the reason for the route if the application needs it."},
	{HTTPPathOverlong, ClassHygiene, 400, true, "overlong UTF-8 in the path", "RFC 3629 section 3",
		"Overlong forms hide slashes and dots from the rules.",
		"Send the shortest form."},
	{HTTPHeaderUnderscore, ClassHygiene, 400, true, "a field name that shadows a framing, routing or forwarding field with an underscore, or a like mark, for a dash", "RFC 3875 section 4.1.18",
		"CGI-style servers take X_Forwarded_For for X-Forwarded-For.",
		"Send the name with dashes, or waive the reason."},
	{HTTPBodyUnexpected, ClassHygiene, 400, true, "a body on GET or HEAD", "RFC 9110 section 9.3.1",
		"A backend that ignores the body reads it as the next request.",
		"Use POST, or waive the reason for the route."},
	{HTTPPathSlash, ClassHygiene, 400, true, "%2F in the path", "RFC 3986 section 2.2",
		"A backend that decodes it before it splits the path sees another tree than the routes and rules did.",
		"Send a plain slash; do not refuse the reason where names with slashes are encoded, as for npm, GitLab and Matrix."},
	{HTTPPathParameter, ClassHygiene, 400, true, "a semicolon in the path", "RFC 3986 section 3.3",
		"Servlet containers cut parameters off each segment before they match it, so that /admin;x reaches what /admin guards.",
		"Send no path parameters; do not refuse the reason where session ids or matrix parameters stand in the path."},
	{HTTPPathEmptySegment, ClassHygiene, 400, true, "two slashes in a row in the path", "RFC 3986 section 3.3",
		"Servers that merge slashes open another path than those that do not, past rules that are written for one of them.",
		"Send one slash; do not refuse the reason where whole URLs are put into the path."},
	{HTTPPathDoubleEncoding, ClassHygiene, 400, true, "a percent sign that is encoded itself and begins another encoding in the path", "RFC 3986 section 2.4",
		"A backend that decodes twice sees slashes and dots that the rules have not seen.",
		"Encode once."},
	{HTTPQueryPercent, ClassHygiene, 400, true, "a percent sign in the query without two hex digits", "RFC 3986 section 2.1",
		"Decoders keep, drop or misread it, or give up the whole query, so the rules judge other values than the backend uses.",
		"Encode the percent sign as %25."},
	{HTTPFieldUnderscore, ClassHygiene, 400, true, "a field name with an underscore", "RFC 3875 section 4.1.18",
		"CGI-style servers take it for the field with dashes, which two fields can then be.",
		"Send the name with dashes."},
	{HTTPBodyOnDelete, ClassHygiene, 400, true, "a body on DELETE", "RFC 9110 section 9.3.5",
		"A backend that ignores the body reads it as the next request.",
		"Use POST; do not refuse the reason where the interface is made so, as for Elasticsearch."},
	{HTTPTargetTooLong, ClassSize, 414, true, "the target is longer than http.max_target", "RFC 9110 section 15.5.15",
		"Unbounded reads cost memory.",
		"Raise http.max_target."},
	{HTTPHeadTooLarge, ClassSize, 431, true, "the head is larger than http.max_header", "RFC 6585 section 5",
		"Unbounded reads cost memory.",
		"Raise http.max_header."},
	{HTTPTooManyFields, ClassSize, 431, true, "the head has more fields than http.max_fields", "RFC 6585 section 5",
		"Every field costs memory and rule time.",
		"Raise http.max_fields."},
	{HTTPHeadTimeout, ClassSize, 408, true, "the head did not arrive within http.header_timeout", "RFC 9110 section 15.5.9",
		"Slow heads hold connections open (slowloris).",
		"Raise http.header_timeout."},
	{HTTPBodyTooLarge, ClassSize, 413, true, "the body is larger than max_body", "RFC 9110 section 15.5.14",
		"Unbounded bodies cost time and space behind the gateway.",
		"Raise http.max_body, or max_body of the route."},
	{HTTPBodyTooSlow, ClassSize, 408, true, "the body arrived slower than http.body_rate", "RFC 9110 section 15.5.9",
		"Slow bodies hold connections and backends.",
		"Lower http.body_rate."},
	{HTTPReaderTooSlow, ClassSize, 408, true, "the client read its answer slower than http.write_rate (in the record only)", "RFC 9110 section 15.5.9",
		"Slow readers hold connections and backends.",
		"Lower http.write_rate."},
	{HTTPNoHead, ClassSize, 408, true, "a connection on which nothing readable arrived in time (in the record only)", "RFC 9112 section 9.5",
		"Idle connections use up the connection limit.",
		"Nothing; browsers open spare connections."},
	{HTTPProxyProtocol, ClassFraming, 400, true, "no valid PROXY header from a peer that has to send one (in the record only)", "the PROXY protocol specification, section 2",
		"Without its header a balancer's connection would be taken for the balancer itself.",
		"Let the balancer send PROXY version 1 or 2, or take it out of proxy_protocol of the listener; the detail names what was wrong."},
	{HTTPTLSHandshake, ClassFraming, 400, true, "the TLS handshake failed (in the record only)", "RFC 8446 section 6",
		"Scanners and plain HTTP on a TLS port.",
		"Check the client; the detail names the failure."},
	{HTTPTooManyConnections, ClassSize, 503, true, "more connections than http.max_connections or max_connections_per_client (in the record only)", "RFC 9112 section 9.4",
		"Connections are the first thing that a flood uses up.",
		"Raise the limit, or list the proxy in clients.trusted_proxies."},
	{HTTPMethodNotAllowed, ClassPolicy, 405, false, "the method is neither in http.methods nor in the methods of the route", "RFC 9110 section 15.5.6",
		"Methods that the application does not expect are a way around its checks.",
		"Add the method to http.methods or to the route."},
	{BanActive, ClassPolicy, 429, true, "the client is banned for a while", "RFC 6585 section 4",
		"Scanners and guessers that go on after every refusal.",
		"Wait, or end the ban with sallyport bans remove; the detail names the refusals that led to it."},
	{RouteUnknownHost, ClassFailure, 421, false, "no route takes the host", "RFC 9110 section 15.5.20",
		"Requests by address or by a foreign name are scans or DNS rebinding.",
		"Add the host to a route."},
	{RouteUnknownPath, ClassFailure, 404, false, "routes take the host but not the path", "RFC 9110 section 15.5.5",
		"",
		"Add the path to a route, or a catch-all route."},
	{RouteSNIMismatch, ClassFailure, 421, false, "the host is not covered by the certificate that SNI chose", "RFC 9110 section 7.4",
		"A connection that was opened for one site is used to reach another.",
		"Open a connection for each host, or use one certificate for both."},
	{GeoPrefix, ClassPolicy, 403, false, "the address is in a denied prefix", "",
		"",
		"Remove the prefix from geo.deny or from the list that the record names: nothing overrides it."},
	{GeoASN, ClassPolicy, 403, false, "the address belongs to a denied network", "",
		"",
		"Remove the network from geo.deny or from the list that the record names, or allow the prefix."},
	{GeoCountry, ClassPolicy, 403, false, "the address belongs to a denied country", "",
		"",
		"Remove the country from geo.deny, or allow the prefix."},
	{GeoContinent, ClassPolicy, 403, false, "the address belongs to a denied continent", "",
		"",
		"Remove the continent from geo.deny, or allow the prefix; an allowed country is no exception to it."},
	{GeoPrivate, ClassPolicy, 403, false, "the address is private, and geo.deny names private ones", "RFC 1918, RFC 4193",
		"",
		"Remove private from geo.deny, or allow the prefix. If clients come through a proxy of yours, list it in clients.trusted_proxies."},
	{GeoNotAllowed, ClassPolicy, 403, false, "geo.allow or geo.allow_files is given and does not name the address", "",
		"",
		"Add the country, network or prefix to geo.allow or to a list."},
	{GeoUnknown, ClassPolicy, 403, false, "the country of the address is not known", "",
		"",
		"Set geo.unknown: allow, or allow the prefix."},
	{GeoUnavailable, ClassPolicy, 403, false, "the geo database could not be read", "",
		"",
		"Look at the operational log and the database file."},
	{LimitOverBudget, ClassPolicy, 429, false, "the client is over its budget", "RFC 6585 section 4",
		"Floods, scraping and password guessing.",
		"Raise rate or burst of the limit that the record names."},
	{LimitTableFull, ClassPolicy, 429, false, "more clients at once than limiter.max_clients", "RFC 6585 section 4",
		"A flood from many addresses that tries to push others out of the table.",
		"Raise limiter.max_clients."},
	{LimitStoreDown, ClassPolicy, 503, false, "the store of the limits does not answer, and the limit says closed", "",
		"",
		"Look at limiter.store in /status; failure: local goes on without it."},
	{WAFInboundScore, ClassPolicy, 403, false, "the anomaly score of the request reached the threshold", "OWASP CRS rule 949110",
		"What the matches in the record name.",
		"Look at the matches; exclude the parameter from the rule if it is a false positive."},
	{WAFOutboundScore, ClassPolicy, 403, false, "the anomaly score of the response reached the threshold", "OWASP CRS rule 959100",
		"Leaks of source, errors and data.",
		"Look at the matches; exclude the rule if it is a false positive."},
	{WAFRule, ClassPolicy, 403, false, "a rule with a disruptive action of its own matched", "SecLang deny, drop",
		"What the matches in the record name.",
		"Look at the rule; it decides by itself."},
	{WAFRedirect, ClassPolicy, 302, false, "a rule sends the client elsewhere", "SecLang redirect",
		"",
		"Look at the rule; it decides by itself."},
	{WAFDuplicateName, ClassPolicy, 400, false, "a JSON object that names a key twice", "RFC 8259 section 4",
		"One reader takes the first of the values, the application the last.",
		"Send each key once."},
	{WAFTooManyArguments, ClassPolicy, 403, false, "more arguments than the engine judges", "",
		"An attack in the argument after the last one that is looked at.",
		"Send fewer arguments."},
	{WAFBodyTooLarge, ClassPolicy, 413, true, "more of the body must be held to be judged than request_body.inspect allows", "RFC 9110 section 15.5.14",
		"An attack behind the part that is looked at.",
		"Raise request_body.inspect of the policy."},
	{WAFBodyUnreadable, ClassPolicy, 400, true, "the body is not what its Content-Type says", "",
		"Bodies that the rules cannot read but the application can.",
		"Fix the client, or the Content-Type."},
	{WAFBodyType, ClassPolicy, 415, true, "the body is plainly of another type than its Content-Type says", "RFC 9110 section 8.3",
		"A body that the rules read as one thing and an application, which looks for itself, as another: a form with files that is called text, XML that is called JSON.",
		"Send the Content-Type that the body has. JSON and XML that are called text or a form need no change: they are judged as both."},
	{WAFCharset, ClassPolicy, 415, true, "text in a charset in which the rules would not see what the application sees", "RFC 9110 section 8.3.2",
		"In UTF-7, UTF-16 or EBCDIC an attack has no byte that a rule looks for.",
		"Send UTF-8. Charsets of one byte that hold ASCII, such as ISO-8859-1 and windows-1252, are read too."},
	{WAFGraphQLLimit, ClassPolicy, 403, false, "a GraphQL request that nests deeper, or has more aliases or operations, than the policy allows", "",
		"A small request that keeps a server busy for minutes, or that tries a thousand passwords at once.",
		"Ask for less at a time, or raise request_body.graphql of the policy."},
	{WAFEncoding, ClassPolicy, 415, true, "a compressed body that the rules cannot read: its Content-Encoding is unknown, not in request_body.decode or one of several, it is not one complete member with nothing behind it, it grows to more than 100 times its size, or it holds much text that is not in its content", "RFC 9110 section 8.4",
		"Attacks that hide from the rules in compressed bodies, and small bodies that fill memory.",
		"Look at detail; send one of the codings of request_body.decode, or no Content-Encoding. A backend that expects another one needs a route of its own, with a policy whose mode is off."},
	{WAFTooCostly, ClassPolicy, 413, true, "the rules that may match the request would take more CPU time than cpu_budget of the policy allows", "",
		"A large body made of what rules look for, which keeps a processor busy for seconds.",
		"Look at detail for how many rules and bytes there were. Raise cpu_budget of the policy, or lower request_body.inspect, which refuses such bodies for their size."},
	{WAFMemory, ClassFailure, 503, true, "the memory for held bodies (waf.memory) is spent", "",
		"Many large bodies at once.",
		"Raise waf.memory."},
	{WAFBusy, ClassFailure, 503, true, "a large head or body waited too long for its turn to be judged", "",
		"Many large bodies at once: what the rules cost grows with what they look at.",
		"Lower request_body.inspect of the policy, give the route a tighter limit, or add processors."},
	{WAFEngine, ClassFailure, 500, true, "the rule engine failed; the policy says refuse", "",
		"",
		"Look at the operational log."},
	{PoolNone, ClassFailure, 503, false, "no backend is healthy", "",
		"",
		"Look at the backends and at /pools."},
	{PoolQueueFull, ClassFailure, 503, false, "every backend has as many requests as it may, and no more may wait", "",
		"More requests at once than the backends were said to bear.",
		"Add backends, or raise max_connections or queue.length of the pool."},
	{PoolQueueTimeout, ClassFailure, 503, false, "the request waited for a backend with room for as long as it may", "",
		"More requests at once than the backends were said to bear.",
		"Add backends, or raise max_connections or queue.wait of the pool."},
	{PoolConnect, ClassFailure, 502, false, "no backend could be reached", "",
		"",
		"Look at the backend; the record names it."},
	{PoolBadAnswer, ClassFailure, 502, false, "the backend did not answer in HTTP", "",
		"",
		"Look at the backend; the record names it."},
	{PoolTimeout, ClassFailure, 504, false, "the backend did not answer in time", "",
		"",
		"Raise timeout.header of the pool, or timeout of the route."},
	{PoolBroken, ClassFailure, 502, true, "the backend broke off its answer; the client connection was cut (in the record only)", "",
		"",
		"Look at the backend; the record names it."},
	{PoolClientGone, ClassFailure, 499, true, "the client went away before the answer was complete (in the record only)", "",
		"",
		"Nothing."},
	{MaskLeak, ClassPolicy, 502, false, "the answer holds the address of a backend", "",
		"Whoever learns where a backend is goes past the gateway.",
		"Look at mask in the record, and keep the application from telling; mask.leaks says what is done about it."},
	{MaskRange, ClassPolicy, 416, false, "a part of a text that has to be searched as a whole", "RFC 9110 section 15.5.17",
		"An address of a backend, asked for half by half.",
		"Ask for the whole, or set mask.leaks.bodies of the route to observe."},
	{MaskUnreadable, ClassPolicy, 502, false, "the answer has a content coding that the leak detector cannot search", "RFC 9110 section 8.4",
		"An address of a backend in a body that nobody has looked into.",
		"Let the backend respect Accept-Encoding, or set mask.leaks.bodies of the route to observe."},
	{GatewayPanic, ClassFailure, 500, true, "a defect in the gateway", "",
		"",
		"Report it with the operational log."},
	{GatewayUndecided, ClassFailure, 500, true, "no stage decided: a defect in the gateway", "",
		"",
		"Report it."},
	{GatewayUnpaired, ClassFailure, 500, true, "a request that does not belong to the head that was judged: a defect in the gateway", "",
		"",
		"Report it."},
}

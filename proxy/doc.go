// Package proxy is the straight line that every request takes, and its end:
// the handler that asks each stage in order, the routes, the pools of
// backends, and the mask over what they answer. It decides which site a
// request is for, which backend serves it and what of the answer may be seen,
// and it alone writes to clients: stages return verdicts, and one place turns
// a verdict into an answer, another the end of a request into its record.
//
// It never changes what was judged: a target is forwarded byte for byte, and
// the head that a backend gets is written from the one that the strict reader
// understood (RFC 9110 section 7.6, RFC 9112); what a route rewrites, it
// rewrites before that. It never tells a client anything about a backend or an
// error.
package proxy

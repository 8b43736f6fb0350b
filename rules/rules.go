// Package rules holds the SecLang files that Sallyport ships, embedded in the
// binary: what the engine is set to, what the Core Rule Set is told about the
// policy, and the few rules of our own. It decides nothing and holds no code;
// package waf renders and loads the files, in the order in which they are
// named here, around the Core Rule Set.
//
//	base.conf     what the engine does before any rule (rendered from the policy)
//	setup.conf    what the Core Rule Set is told (rendered from the policy)
//	…             the rule files of rules_before, then the Core Rule Set, and
//	request.conf  inside it, after its last request rule and before its scoring
//	response.conf inside it too, before its scoring of responses
//	after.conf    what of the Core Rule Set does not fit behind this gateway
//	…             the rule files of rules_after
//
// Rules of our own have ids from 88000000 to 88000999; rule files of operators
// may not use that range. The ids 200002 and 200003 are those of the engine's
// recommended settings and mean what they mean there.
package rules

import "embed"

// FS holds every shipped file. Files whose first line says so are templates
// of text/template.
//
//go:embed *.conf
var FS embed.FS

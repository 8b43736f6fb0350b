package rules

import "embed"

// Profiles holds one file for each application that is known to send what the
// Core Rule Set takes for attacks. They are not loaded by themselves: an
// operator names a copy in rules_before, and may edit it. Their ids are from
// 88001000 to 88001999. `make app` proves what they promise.
//
//go:embed profiles/*.conf
var Profiles embed.FS

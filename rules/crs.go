package rules

import _ "embed"

// CRSExceptions lists every regression test of the embedded Core Rule Set
// that does not simply pass behind this gateway, each reviewed and with the
// reason. rules test --crs compares a run with it.
//
//go:embed crs/exceptions.yaml
var CRSExceptions []byte

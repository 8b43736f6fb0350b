// Package testdata embeds the wire corpus, which the tests send to the guard
// and `sallyport selftest smuggling` to a running gateway. It is the same
// corpus: what the tests prove, an operator can ask of their own set-up.
package testdata

import "embed"

// Wire holds testdata/wire; its README tells the format.
//
//go:embed wire
var Wire embed.FS

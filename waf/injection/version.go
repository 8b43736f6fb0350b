package injection

import (
	"runtime/debug"
	"strings"
)

// The readers do what this version of the library does.
const (
	library = "github.com/corazawaf/libinjection-go"
	version = "v0.3.3"
)

// followed tells whether a program has the library that the readers follow. With
// any other, or if that cannot be told, everything is left to the library. The
// programs that go test makes say nothing of their modules; a test holds go.mod
// against version.
func followed(program *debug.BuildInfo, ok bool) bool {
	if !ok {
		return false
	}
	for _, module := range program.Deps {
		if module.Path == library {
			return module.Version == version && module.Replace == nil
		}
	}
	return strings.HasSuffix(program.Path, ".test")
}

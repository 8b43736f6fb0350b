package config

import (
	"strings"

	"sallyport/internal/gate"
)

// places tells where in a file the values of its keys stand.
type places struct {
	file string
	at   map[string]position // by the path of the key
}

// of is where a path stands, or the nearest level above it.
func (p places) of(path string) position {
	for path != "" {
		if at, ok := p.at[path]; ok {
			return at
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
	return p.at[""]
}

// At returns a diagnostic about the value of a path, with its place filled in,
// for problems that only show when a stage is built. Where the file does not
// mention the path, the place is that of the nearest level above it.
func (c *Config) At(path string) gate.Diagnostic {
	at := c.places.of(path)
	return gate.Diagnostic{File: c.places.file, Line: at.line, Column: at.column, Path: path}
}

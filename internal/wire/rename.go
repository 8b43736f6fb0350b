package wire

import (
	"fmt"
	"slices"
	"strings"

	"sallyport/internal/gate"
)

// Rename returns an HTTP/2 case whose fields hold another name in place of one,
// as does the Host that the backend is to get. Octets that are not written as
// fields stay as they are. renamed tells whether anything was changed.
func (c *Case) Rename(old, name string) (changed Case, renamed bool, err error) {
	var b strings.Builder
	written := strings.ReplaceAll(name, `\`, `\\`)
	for line := range strings.Lines(c.Frames) {
		if strings.HasPrefix(line, " ") && strings.Contains(line, old) {
			line, renamed = strings.ReplaceAll(line, old, written), true
		}
		b.WriteString(line)
	}
	changed = *c
	changed.Frames = b.String()
	if changed.Raw, changed.Waits, err = compile(changed.Frames); err != nil {
		return *c, false, fmt.Errorf("with the name %q: %w", name, err)
	}
	changed.Outcomes = slices.Clone(c.Outcomes)
	for i := range changed.Outcomes {
		o := &changed.Outcomes[i]
		o.Fields = slices.Clone(o.Fields)
		for j, f := range o.Fields {
			if f.Name == "host" {
				o.Fields[j] = gate.Field{Name: f.Name, Value: strings.ReplaceAll(f.Value, old, name)}
			}
		}
	}
	return changed, renamed, nil
}

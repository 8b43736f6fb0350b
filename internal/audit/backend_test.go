package audit_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sallyport/internal/audit"
	"sallyport/internal/gate"
)

// TestChangeOfBackend writes the record of a change whatever is relevant, in
// the form that is documented, and shows it without a request that never was.
func TestChangeOfBackend(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "audit.jsonl")
	l := open(t, audit.Config{Path: name})
	for _, state := range []string{gate.BackendUp, gate.BackendDown, gate.BackendEjected, gate.BackendDraining, gate.BackendWeight} {
		l.Record(gate.Record{
			V: gate.RecordVersion, Time: time.Now(), Event: gate.EventBackend, Action: gate.Pass.String(), Stage: gate.StagePool, Mode: gate.Enforce,
			Detail: "weight 3, was 1", Request: gate.RecordRequest{Headers: []gate.RecordField{}}, Micros: map[string]int64{},
			Pool: &gate.RecordPool{Name: "app", Backend: "app-2", State: state},
		})
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	schema, all := compileSchema(t), entries(t, name)
	if len(all) != 5 {
		t.Fatalf("%d records, want 5", len(all))
	}
	for _, e := range all {
		if result := schema.Validate(e.Raw); !result.IsValid() {
			t.Errorf("%s does not hold to the schema: %v", e.Raw, result.Errors)
		}
	}
	if line := audit.Line(&all[4].Record, false); !strings.HasSuffix(line, "backend app/app-2 is weighed anew: weight 3, was 1") {
		t.Errorf("line %q", line)
	}
	var page strings.Builder
	if err := audit.Show(&page, &all[1].Record, false); err != nil {
		t.Fatal(err)
	}
	if text := page.String(); !strings.Contains(text, "app/app-2 is down") || !strings.Contains(text, "weight 3, was 1") || strings.Contains(text, "asked") {
		t.Errorf("page %q", text)
	}
}

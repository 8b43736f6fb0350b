package rules

import (
	"io/fs"
	"strings"
	"testing"
)

// TestProfilesAreCommented holds that a person can edit a profile: it begins
// with how it is used, and each of its rules has its reason right above it.
func TestProfilesAreCommented(t *testing.T) {
	names, err := fs.Glob(Profiles, "profiles/*.conf")
	if err != nil || len(names) == 0 {
		t.Fatalf("Glob = %v, %v, want profiles", names, err)
	}
	for _, name := range names {
		src, err := fs.ReadFile(Profiles, name)
		if err != nil {
			t.Fatal(err)
		}
		for block := range strings.SplitSeq(string(src), "\n\n") {
			if block = strings.TrimSpace(block); !strings.HasPrefix(block, "# ") {
				t.Errorf("%s: no comment above %q", name, strings.SplitN(block, "\n", 2)[0])
			}
		}
	}
}

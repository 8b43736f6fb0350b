package rules

import (
	"io/fs"
	"strings"
	"testing"
)

// TestShippedFilesAreCommented holds the promise that a person can edit these
// files: each begins with a comment, and each rule has one right above it.
func TestShippedFilesAreCommented(t *testing.T) {
	names, err := fs.Glob(FS, "*.conf")
	if err != nil || len(names) == 0 {
		t.Fatalf("Glob(*.conf) = %v, %v, want the shipped files", names, err)
	}
	for _, name := range names {
		src, err := fs.ReadFile(FS, name)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(string(src), "# ") {
			t.Errorf("%s does not begin with a comment", name)
		}
		for block := range strings.SplitSeq(string(src), "\n\n") {
			if strings.Contains(block, "\nSecRule ") || strings.Contains(block, "\nSecAction ") {
				continue
			}
			if strings.HasPrefix(block, "SecAction ") {
				t.Errorf("%s: no comment above %q", name, strings.SplitN(block, "\n", 2)[0])
			}
		}
	}
}

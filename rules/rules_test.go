package rules

import (
	"io/fs"
	"os"
	"regexp"
	"strings"
	"testing"
)

// shippedFiles returns the shipped files and their text.
func shippedFiles(t *testing.T) map[string]string {
	t.Helper()
	names, err := fs.Glob(FS, "*.conf")
	if err != nil || len(names) < 5 {
		t.Fatalf("Glob(*.conf) = %v, %v, want the shipped files", names, err)
	}
	out := map[string]string{}
	for _, name := range names {
		src, err := fs.ReadFile(FS, name)
		if err != nil {
			t.Fatal(err)
		}
		out[name] = string(src)
	}
	return out
}

// TestShippedFilesAreCommented holds the promise that a person can edit these
// files: each begins with a comment, and so does each paragraph of directives.
func TestShippedFilesAreCommented(t *testing.T) {
	template := regexp.MustCompile(`(?m)^(?:\{\{[^}]*\}\})+$\n?`)
	for name, src := range shippedFiles(t) {
		if !strings.HasPrefix(src, "# ") {
			t.Errorf("%s does not begin with a comment", name)
		}
		for block := range strings.SplitSeq(template.ReplaceAllString(src, "\n"), "\n\n") {
			block = strings.TrimSpace(block)
			if strings.Contains(block, "SecRule ") && !strings.HasPrefix(block, "# ") || strings.HasPrefix(block, "SecAction ") {
				t.Errorf("%s: no comment above %q", name, strings.SplitN(block, "\n", 2)[0])
			}
		}
	}
}

// TestShippedRulesAreTested wants a file of tests for each rule of ours that
// scores. A test of the command runs them.
func TestShippedRulesAreTested(t *testing.T) {
	scores := regexp.MustCompile(`(?s)"id:(88\d{6}),[^"]*anomaly_score_pl`)
	found := 0
	for name, src := range shippedFiles(t) {
		for _, m := range scores.FindAllStringSubmatch(src, -1) {
			found++
			text, err := os.ReadFile("tests/" + m[1] + ".yaml")
			if err != nil {
				t.Errorf("rule %s of %s: %v", m[1], name, err)
			} else if !strings.Contains(string(text), " expect_ids: ["+m[1]+"]") || !strings.Contains(string(text), "no_expect_ids: ["+m[1]+"]") {
				t.Errorf("rule %s has no test that it matches, or none that it does not", m[1])
			}
		}
	}
	if found < 8 {
		t.Errorf("%d rules of ours score", found)
	}
}

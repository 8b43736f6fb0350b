package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestProfiles holds that every shipped profile loads without a problem or a
// warning, where and as its own comment says.
func TestProfiles(t *testing.T) {
	code, out, _ := sallyport(t, "rules", "profile")
	names := strings.Fields(out)
	if code != 0 || len(names) == 0 {
		t.Fatalf("rules profile = %d %q, want names", code, out)
	}
	for _, name := range names {
		code, text, err := sallyport(t, "rules", "profile", name)
		if code != 0 {
			t.Fatalf("rules profile %s = %d %s", name, code, err)
		}
		file := write(t, "sallyport.yaml", good+"policies: {default: {rules_before: ["+name+".conf]}}\n")
		if err := os.WriteFile(filepath.Join(filepath.Dir(file), name+".conf"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if code, out, err := sallyport(t, "check", "-c", file); code != 0 || strings.Contains(out+err, name+".conf") {
			t.Errorf("%s: check = %d %s%s, want no word about the file", name, code, out, err)
		}
		if !strings.Contains(text, "rules profile "+name+" > rules/"+name+".conf") {
			t.Errorf("%s does not tell how it is used", name)
		}
	}
	if code, _, err := sallyport(t, "rules", "profile", "none"); code != 1 || !strings.Contains(err, "wordpress") {
		t.Errorf("an unknown profile: %d %q, want the names of those that there are", code, err)
	}
}

package config_test

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"sallyport/internal/config"
)

var blockRE = regexp.MustCompile("(?ms)^```yaml config( defaults)?\n(.*?)^```$")

// Every whole configuration in a document loads without a warning.
func TestDocumentedConfigurations(t *testing.T) {
	dir := fixtures(t)
	names, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, name := range append(names, "../../README.md") {
		text, err := os.ReadFile(name)
		if os.IsNotExist(err) {
			continue
		} else if err != nil {
			t.Fatal(err)
		}
		for _, m := range blockRE.FindAllSubmatchIndex(text, -1) {
			found++
			line := 1 + strings.Count(string(text[:m[4]]), "\n")
			if _, ds := loadText(t, dir, string(text[m[4]:m[5]])); len(ds) > 0 {
				t.Errorf("%s: the block in line %d is refused or warned of:\n%s", name, line, ds.Error())
			}
		}
	}
	if found < 2 {
		t.Errorf("found %d configurations in the documents, want 2 at least", found)
	}
}

// What the documentation calls the defaults are the defaults.
func TestDocumentedDefaults(t *testing.T) {
	dir := fixtures(t)
	text, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := blockRE.FindAllStringSubmatch(string(text), -1)
	if len(blocks) < 2 || blocks[0][1] != "" || blocks[1][1] == "" {
		t.Fatalf("configuration.md has %d blocks, want the shortest configuration and the same with every default first", len(blocks))
	}
	short, ds := loadText(t, dir, blocks[0][2])
	if short == nil {
		t.Fatal(ds)
	}
	long, ds := loadText(t, dir, blocks[1][2])
	if long == nil {
		t.Fatal(ds)
	}
	if !config.Same(short, long) {
		var a, b strings.Builder
		if err := short.Print(&a); err != nil {
			t.Fatal(err)
		}
		if err := long.Print(&b); err != nil {
			t.Fatal(err)
		}
		t.Errorf("the defaults are:\n%s\nthe documentation says:\n%s", a.String(), b.String())
	}
}

// The starter is accepted as it is, and nothing of it is overwritten.
func TestWriteStarter(t *testing.T) {
	t.Setenv("STATE_DIRECTORY", "")
	dir := filepath.Join(t.TempDir(), "new")
	names, err := config.WriteStarter(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"rules/after.conf", "rules/before.conf", "rules/exclusions.yaml", "sallyport.yaml"}
	for i := range want {
		want[i] = filepath.Join(dir, want[i])
	}
	if !reflect.DeepEqual(names, want) {
		t.Errorf("WriteStarter wrote %q, want %q", names, want)
	}
	c, ds := config.Load(filepath.Join(dir, "sallyport.yaml"))
	if len(ds) > 0 {
		t.Errorf("the starter is refused or warned of:\n%s", ds.Error())
	}
	if c != nil {
		roundTrip(t, c)
	}
	if err := os.Remove(filepath.Join(dir, "sallyport.yaml")); err != nil {
		t.Fatal(err)
	}
	names, err = config.WriteStarter(dir)
	if err == nil || !strings.Contains(err.Error(), filepath.Join(dir, "rules/after.conf")) || len(names) > 0 {
		t.Errorf("WriteStarter over a file = %q, %v; want an error that names the file", names, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "sallyport.yaml")); err == nil {
		t.Error("WriteStarter wrote a part although it had to refuse")
	}
}

package config_test

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"sallyport/internal/config"
	"sallyport/internal/gate"
)

const cases = "../../testdata/config/"

var wantRE = regexp.MustCompile(`(?m)^# want (".*")$`)

// wants returns what a case expects: one quoted text for each diagnostic, as
// it is printed, without the name of the file and with $DIR for its directory.
func wants(t *testing.T, src []byte) []string {
	t.Helper()
	var out []string
	for _, m := range wantRE.FindAllSubmatch(src, -1) {
		text, err := strconv.Unquote(string(m[1]))
		if err != nil {
			t.Fatalf("%s: %v", m[0], err)
		}
		out = append(out, text)
	}
	return out
}

// load copies a file to the directory of the fixtures and loads it there.
func load(t *testing.T, dir, name string) (*config.Config, gate.Diagnostics, []byte) {
	t.Helper()
	src, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	c, ds := loadText(t, dir, string(src))
	return c, ds, src
}

// loadText loads a text as if it stood in a file in the directory.
func loadText(t *testing.T, dir, src string) (*config.Config, gate.Diagnostics) {
	t.Helper()
	name := filepath.Join(dir, "case.yaml")
	if err := os.WriteFile(name, []byte(src), 0o600); err != nil {
		t.Fatal(err)
	}
	return config.Load(name)
}

// plain renders diagnostics as the cases write them.
func plain(ds gate.Diagnostics, dir string) []string {
	var out []string
	for _, d := range ds {
		out = append(out, strings.ReplaceAll(strings.TrimPrefix(strings.TrimPrefix(d.String(), filepath.Join(dir, "case.yaml")+":"), " "), dir, "$DIR"))
	}
	return out
}

func files(t *testing.T, pattern string, atLeast int) []string {
	t.Helper()
	names, err := filepath.Glob(cases + pattern)
	if err != nil || len(names) < atLeast {
		t.Fatalf("%d cases match %s, want at least %d (%v)", len(names), pattern, atLeast, err)
	}
	return names
}

// Each file of bad holds one mistake and what is said about it, all of it.
func TestBad(t *testing.T) {
	dir := fixtures(t)
	for _, name := range files(t, "bad/*.yaml", 60) {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".yaml"), func(t *testing.T) {
			c, ds, src := load(t, dir, name)
			got, want := plain(ds, dir), wants(t, src)
			if !reflect.DeepEqual(got, want) {
				t.Errorf("said:\n%s\nwant:\n%s", quoted(got), quoted(want))
			}
			if len(want) == 0 {
				t.Error("the case expects nothing")
			}
			if (c == nil) != ds.Fatal() {
				t.Errorf("Load gave a configuration: %t, with fatal diagnostics: %t", c != nil, ds.Fatal())
			}
			judgePlaces(t, src, ds)
		})
	}
}

func quoted(lines []string) string {
	var b strings.Builder
	for _, l := range lines {
		b.WriteString("# want " + strconv.Quote(l) + "\n")
	}
	return b.String()
}

// judgePlaces holds every diagnostic to a place that exists.
func judgePlaces(t *testing.T, src []byte, ds gate.Diagnostics) {
	t.Helper()
	lines := bytes.Split(src, []byte("\n"))
	for _, d := range ds {
		if d.Line < 0 || d.Line > len(lines) || d.Column < 0 || d.Line > 0 && d.Column > len(lines[d.Line-1])+1 {
			t.Errorf("diagnostic outside the file: %s", d)
		}
		if d.What == "" || strings.ContainsAny(d.String(), "\n\r\x00\x1b") {
			t.Errorf("diagnostic is not one clear line: %q", d.String())
		}
	}
}

// Each file of good loads, with the warnings that it names and no others, and
// what Print writes of it loads to the same.
func TestGood(t *testing.T) {
	dir := fixtures(t)
	for _, name := range files(t, "good/*.yaml", 5) {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".yaml"), func(t *testing.T) {
			c, ds, src := load(t, dir, name)
			if c == nil {
				t.Fatalf("refused:\n%s", ds.Error())
			}
			if got, want := plain(ds, dir), wants(t, src); !reflect.DeepEqual(got, want) {
				t.Errorf("said:\n%s\nwant:\n%s", quoted(got), quoted(want))
			}
			roundTrip(t, c)
		})
	}
}

// roundTrip prints a configuration and loads it from another directory.
func roundTrip(t *testing.T, c *config.Config) {
	t.Helper()
	var out bytes.Buffer
	if err := c.Print(&out); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "printed.yaml")
	if err := os.WriteFile(name, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	again, ds := config.Load(name)
	if again == nil {
		t.Fatalf("what was printed is refused:\n%s\n%s", ds.Error(), out.Bytes())
	}
	if !config.Same(again, c) {
		var second bytes.Buffer
		if err := again.Print(&second); err != nil {
			t.Fatal(err)
		}
		t.Errorf("what was printed loads to something else:\n%s\nand that prints:\n%s", out.Bytes(), second.Bytes())
	}
}

// A block's own word counts more than the one around it, in both directions.
func TestHygieneOfARoute(t *testing.T) {
	c, ds := loadText(t, fixtures(t), `
http: {waive: [http.header_underscore, http.path_nul], refuse: [http.path_slash, http.query_percent]}
pools: {app: {backends: [{url: "http://10.0.0.11:8080"}]}}
routes:
  - {name: own, pool: app, hosts: [a.example], waive: [http.path_slash, http.path_dots], refuse: [http.path_nul, http.body_on_delete]}
  - {name: none, pool: app}
`)
	if len(ds) > 0 {
		t.Fatal(ds)
	}
	for i, want := range []string{
		"header_underscore path_dots path_slash / body_on_delete path_nul query_percent",
		"header_underscore path_nul / path_slash query_percent",
	} {
		rt := &c.Proxy.Routes[i].Route
		got := fmt.Sprint(slices.Sorted(maps.Keys(rt.Waive))) + " / " + fmt.Sprint(slices.Sorted(maps.Keys(rt.Refuse)))
		if got = strings.NewReplacer("http.", "", "[", "", "]", "").Replace(got); got != want {
			t.Errorf("route %s lets pass / refuses %s, want %s", rt.Name, got, want)
		}
		for reason, tolerated := range map[gate.Reason]bool{
			gate.HTTPPathSlash: i == 0, gate.HTTPPathNul: i == 1, gate.HTTPBodyOnDelete: i == 1,
			gate.HTTPPathParameter: true, gate.HTTPPathOverlong: false, gate.HTTPHeaderUnderscore: true, gate.HTTPQueryPercent: false,
		} {
			if rt.Tolerates(reason) != tolerated {
				t.Errorf("route %s: Tolerates(%s) = %t, want %t", rt.Name, reason, !tolerated, tolerated)
			}
		}
	}
}

// Values that may be credentials are not printed.
func TestPrintHidesCredentials(t *testing.T) {
	c, ds := loadText(t, t.TempDir(), `pools:
  app:
    backends: [{url: "http://10.0.0.11:8080"}]
    health: {path: /, headers: {Authorization: Bearer hunter2, X-Api-Key: hunter2, X-Plain: seen}}
routes: [{name: all, pool: app}]
`)
	if ds.Fatal() {
		t.Fatal(ds)
	}
	var out bytes.Buffer
	if err := c.Print(&out); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "hunter2") || !strings.Contains(out.String(), "X-Plain: seen") {
		t.Errorf("printed:\n%s", out.String())
	}
}

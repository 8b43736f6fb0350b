package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPoolsCommands sees and changes the backends of a gateway that runs.
func TestPoolsCommands(t *testing.T) {
	file := filepath.Join(t.TempDir(), "sallyport.yaml")
	text := "listeners: [{address: \"127.0.0.1:0\"}]\n" +
		"pools: {app: {backends: [{name: one, url: \"http://127.0.0.1:9\", weight: 2}, {name: two, url: \"http://127.0.0.1:10\", backup: true}]}}\n" +
		"routes: [{name: site, pool: app}]\npolicies: {default: {mode: \"off\"}}\n" +
		"audit: {path: audit.jsonl}\nadmin: {address: \"unix:admin.sock\"}\nstate: {dir: state}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	g := startServe(t, file)
	defer g.stop(t)
	for _, tc := range []struct {
		rule string
		args []string
		code int
		want string
	}{
		{"the list", []string{"list"}, 0, "http://127.0.0.1:9"},
		{"a backup", []string{"list"}, 0, "up, backup"},
		{"a drain", []string{"drain", "app", "one"}, 0, "one gets no new clients; in flight: 0"},
		{"the list with it", []string{"list"}, 0, "up, draining"},
		{"its end", []string{"undrain", "app", "one"}, 0, "one gets new clients again; state: up"},
		{"a weight", []string{"set-weight", "app", "one", "7"}, 0, "one has the weight 7 (file: 2)"},
		{"out", []string{"set-weight", "app", "one", "0"}, 0, "one has the weight 0 (file: 2)"},
		{"as JSON", []string{"list", "--json"}, 0, `"configured_weight": 2`},
		{"a backend that there is not", []string{"drain", "app", "three"}, 1, `pool app has no backend "three"`},
		{"a pool that there is not", []string{"undrain", "web", "one"}, 1, `there is no pool "web"`},
		{"too large a weight", []string{"set-weight", "app", "one", "1001"}, 1, "write 0 to 1000"},
		{"what is no weight", []string{"set-weight", "app", "one", "heavy"}, 2, "not a weight"},
		{"no backend", []string{"drain", "app"}, 2, "needs a pool and a backend"},
	} {
		code, out, stderr := sallyport(t, append(append([]string{"pools"}, tc.args...), "-c", file)...)
		if code != tc.code || !strings.Contains(out+stderr, tc.want) {
			t.Errorf("%s: %d %q %q, want %d %q", tc.rule, code, out, stderr, tc.code, tc.want)
		}
	}
}

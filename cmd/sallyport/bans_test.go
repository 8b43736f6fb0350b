package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestBansCommands changes and lists the bans of a gateway that runs.
func TestBansCommands(t *testing.T) {
	file := filepath.Join(t.TempDir(), "sallyport.yaml")
	text := "listeners: [{address: \"127.0.0.1:0\"}]\npools: {app: {backends: [{url: \"http://127.0.0.1:9\"}]}}\n" +
		"routes: [{name: site, pool: app}]\nbans: {mode: enforce, exempt: [192.0.2.0/24]}\npolicies: {default: {mode: \"off\"}}\n" +
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
		{"nobody at first", []string{"list"}, 0, "nobody is banned"},
		{"an address", []string{"add", "203.0.113.7", "--for", "2h", "--reason", "scans\x1b[31m"}, 0, "203.0.113.7 is banned until "},
		{"an IPv6 client is its /64", []string{"add", "2001:db8::1"}, 0, "2001:db8::/64 is banned until "},
		{"the list, escaped", []string{"list"}, 0, `manual: scans\x1b[31m`},
		{"as JSON", []string{"list", "--json"}, 0, `"client": "2001:db8::/64"`},
		{"as it is listed", []string{"remove", "2001:db8::/64"}, 0, "2001:db8:: is no longer banned"},
		{"who is not banned", []string{"remove", "203.0.113.9"}, 1, "not banned"},
		{"who is exempt", []string{"add", "192.0.2.1"}, 1, "exempt"},
		{"too long a time", []string{"add", "203.0.113.8", "--for", "9999h"}, 1, "2160h"},
		{"what is no address", []string{"add", "example.org"}, 2, "not the address of a client"},
		{"a network", []string{"add", "203.0.113.0/24"}, 2, "not the address of a client"},
		{"no address", []string{"add"}, 2, "needs one address"},
	} {
		code, out, stderr := sallyport(t, append(append([]string{"bans"}, tc.args...), "-c", file)...)
		if code != tc.code || !strings.Contains(out+stderr, tc.want) {
			t.Errorf("%s: %d %q %q, want %d %q", tc.rule, code, out, stderr, tc.code, tc.want)
		}
	}
	if code, _, stderr := sallyport(t, "bans", "list", "-c", filepath.Join(t.TempDir(), "none.yaml")); code != 1 || !strings.Contains(stderr, "none.yaml") {
		t.Errorf("without a file: %d %s", code, stderr)
	}
}

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// sallyport runs one command line.
func sallyport(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	code = run(t.Context(), args, &out, &err)
	return code, out.String(), err.String()
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const good = "pools: {app: {backends: [{url: \"http://127.0.0.1:3000\"}]}}\nroutes: [{name: site, pool: app}]\n"

func TestExitCodes(t *testing.T) {
	fine := write(t, "fine.yaml", good)
	bad := write(t, "bad.yaml", good+"limits: [{name: a, rtae: 10/s}]\n")
	for _, tc := range []struct {
		rule string
		args []string
		code int
		out  string // in standard output
		err  string // in standard error
	}{
		{"help is fine", []string{"--help"}, 0, "sallyport serve --upstream", ""},
		{"nothing prints the help", nil, 0, "Available Commands", ""},
		{"version", []string{"version"}, 0, "coraza", ""},
		{"an unknown command", []string{"srve"}, 2, "", `did you mean "serve"?`},
		{"an unknown flag", []string{"check", "--confg", "x"}, 2, "", "unknown flag: --confg"},
		{"an argument too many", []string{"version", "x"}, 2, "", "takes no arguments"},
		{"no configuration named", []string{"check"}, 2, "", "-c FILE"},
		{"two configurations named", []string{"check", "-c", fine, "--upstream", "http://a:1"}, 2, "", "exclude each other"},
		{"a good file", []string{"check", "-c", fine}, 0, "policy default: enforce", ""},
		{"it tells how rules are run", []string{"check", "-c", fine}, 0, "policy default: engine fast; requests that no rule can match are proven\n", ""},
		{"a bad file", []string{"check", "-c", bad}, 1, ":3:", ""},
		{"a bad file names key and remedy", []string{"check", "-c", bad}, 1, `did you mean "rate"?`, ""},
		{"a missing file", []string{"check", "-c", fine + ".no"}, 1, "no such file", ""},
		{"a good upstream", []string{"check", "--upstream", "http://127.0.0.1:3000"}, 0, "ok", ""},
		{"a bad upstream", []string{"check", "--upstream", "127.0.0.1"}, 1, "--upstream", ""},
		{"serve with a bad file starts nothing", []string{"serve", "-c", bad}, 1, "", "rtae"},
		{"config prints defaults", []string{"config", "-c", fine}, 0, "header_timeout: 10s", ""},
		{"config with a bad file", []string{"config", "-c", bad}, 1, "", "rtae"},
		{"a record that is not there", []string{"audit", "show", "01a20768-cad7-7996-9dad-6c1e3ed6752b", "--file", bad}, 1, "", "no record with this id"},
		{"a filter that means nothing", []string{"audit", "tail", bad, "--action", "refused"}, 2, "", "want one of"},
		{"two files to follow", []string{"audit", "tail", bad, fine}, 2, "", "takes one file"},
		{"two directories to fill", []string{"init", "a", "b"}, 2, "", "takes one directory"},
		{"show without an id", []string{"audit", "show"}, 2, "", "X-Request-Id"},
		{"the demo stays on loopback", []string{"demo", "--listen", "0.0.0.0:8080"}, 2, "", "loopback"},
		{"tests that are not there", []string{"rules", "test", "-c", fine}, 1, "", "rules/tests"},
		{"a wire test needs the logs", []string{"rules", "test", "--crs", "--wire", "127.0.0.1:1"}, 2, "", "--rules-log"},
	} {
		code, out, err := sallyport(t, tc.args...)
		if code != tc.code || !strings.Contains(out, tc.out) || !strings.Contains(err, tc.err) {
			t.Errorf("%s: %q = %d\n%s%s\nwant %d with %q and %q", tc.rule, tc.args, code, out, err, tc.code, tc.out, tc.err)
		}
	}
}

// TestEveryCommandHasAnExample holds the promise of --help.
func TestEveryCommandHasAnExample(t *testing.T) {
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Example == "" || c.Short == "" {
			t.Errorf("%s has no example or no summary", c.CommandPath())
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(rootCommand())
}

func TestCheckAsJSON(t *testing.T) {
	code, out, _ := sallyport(t, "check", "--json", "-c", write(t, "bad.yaml", good+"limits: [{name: a, rtae: 10/s}]\n"))
	var ds []struct {
		Line, Column int
		What         string
	}
	if err := json.Unmarshal([]byte(out), &ds); err != nil || code != 1 || len(ds) == 0 || ds[0].Line != 3 || ds[0].Column == 0 {
		t.Errorf("check --json = %d %s, %v", code, out, err)
	}
	if code, out, _ := sallyport(t, "check", "--json", "-c", write(t, "good.yaml", good)); code != 0 || strings.TrimSpace(out) != "[]" {
		t.Errorf("check --json of a good file = %d %q, want an empty list", code, out)
	}
}

func TestInitIsAcceptedAsItIs(t *testing.T) {
	dir := t.TempDir()
	if code, out, err := sallyport(t, "init", dir); code != 0 || !strings.Contains(out, "sallyport.yaml") {
		t.Fatalf("init = %d %s%s", code, out, err)
	}
	if code, out, err := sallyport(t, "check", "-c", filepath.Join(dir, "sallyport.yaml")); code != 0 {
		t.Errorf("check of the starter = %d %s%s", code, out, err)
	}
	if code, _, err := sallyport(t, "init", dir); code != 1 || !strings.Contains(err, "already exists") {
		t.Errorf("init over files that are there = %d %s, want a refusal that names one", code, err)
	}
}

func TestCheckJudgesRules(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "sallyport.yaml")
	for name, text := range map[string]string{
		"sallyport.yaml": good + "policies: {default: {rules_after: [after.conf]}}\n",
		"after.conf":     "# switches the WAF off\nSecRuleEngine DetectionOnly\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if code, out, _ := sallyport(t, "check", "-c", file); code != 1 || !strings.Contains(out, "after.conf:2") || !strings.Contains(out, "mode") {
		t.Errorf("check = %d %s, want the file, the line and the key to use instead", code, out)
	}
}

func TestRulesTest(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "sallyport.yaml")
	test := func(status int) string {
		return `meta: {author: us}
rule_id: 942100
tests:
  - test_id: 1
    desc: an injection is refused
    stages:
      - input: {method: GET, uri: "/?id=1%27%20UNION%20SELECT%20password%20FROM%20users--", headers: {Host: localhost, User-Agent: test, Accept: "*/*"}}
        output: {status: ` + map[int]string{403: "403", 200: "200"}[status] + `, log: {expect_ids: [942100]}}
`
	}
	if err := os.WriteFile(file, []byte(good), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		status, code int
		out          string
	}{{403, 0, "1 passed"}, {200, 1, "1 failed"}} {
		name := write(t, "942100.yaml", test(tc.status))
		if code, out, err := sallyport(t, "rules", "test", "-c", file, name); code != tc.code || !strings.Contains(out, tc.out) {
			t.Errorf("rules test that expects %d = %d %s%s, want %d and %q", tc.status, code, out, err, tc.code, tc.out)
		}
	}
}

// TestRulesTestExclusions lets the exclusions of a policy hold in rule tests, for
// their route and path.
func TestRulesTestExclusions(t *testing.T) {
	dir := t.TempDir()
	ask := func(id int, host, path, ids string) string {
		return fmt.Sprintf(`  - test_id: %d
    stages:
      - input: {method: GET, uri: "%s?q=1%%27%%20UNION%%20SELECT%%20password%%20FROM%%20users--", headers: {Host: %s, User-Agent: test, Accept: "*/*"}}
        output: {log: {%s: [942100]}}
`, id, path, host, ids)
	}
	for name, text := range map[string]string{
		"sallyport.yaml": "pools: {app: {backends: [{url: \"http://127.0.0.1:3000\"}]}}\nroutes: [{name: shop, hosts: [shop.example], pool: app, policy: own}, {name: all, pool: app, policy: own}]\n" +
			"policies: {own: {exclusions: [ex.yaml]}}\n",
		"ex.yaml": "exclusions: [{rule: 942100-942999, target: ARGS:q, route: shop, path: /search, reason: a test}]\n",
		"t.yaml": "meta: {author: us}\nrule_id: 942100\ntests:\n" + ask(1, "shop.example", "/search", "no_expect_ids") + ask(2, "shop.example", "/other", "expect_ids") +
			ask(3, "localhost", "/search", "expect_ids"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if code, out, err := sallyport(t, "rules", "test", "-c", filepath.Join(dir, "sallyport.yaml"), "--policy", "own", filepath.Join(dir, "t.yaml")); code != 0 || !strings.Contains(out, "3 passed") {
		t.Errorf("rules test = %d %s%s", code, out, err)
	}
	if code, _, err := sallyport(t, "rules", "test", "-c", filepath.Join(dir, "sallyport.yaml"), "--policy", "none", filepath.Join(dir, "t.yaml")); code != 2 || !strings.Contains(err, "only default, own") {
		t.Errorf("rules test with an unknown policy = %d %s", code, err)
	}
}

// TestServe runs the whole binary's path but for the process: a file, a
// backend, a request, a record read back, and an orderly end.
func TestServe(t *testing.T) {
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte("hello " + r.URL.Path))
	}))
	defer backend.Close()
	dir := t.TempDir()
	file := filepath.Join(dir, "sallyport.yaml")
	log := filepath.Join(dir, "audit.jsonl")
	text := "listeners: [{address: \"127.0.0.1:0\"}]\npools: {app: {backends: [{url: \"" + backend.URL + "\"}]}}\n" +
		"routes: [{name: site, pool: app}]\naudit: {path: audit.jsonl}\nadmin: {address: \"\"}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	g := startServe(t, file)
	if status, body, _ := g.get(t, "/x?q=a+book"); status != 200 || body != "hello /x" {
		t.Errorf("a harmless request got %d %q", status, body)
	}
	status, _, id := g.get(t, "/x?q=%3Cscript%3Ealert(1)%3C/script%3E")
	if status != 403 || id == "" {
		t.Errorf("an attack got %d with id %q", status, id)
	}
	g.stop(t)
	if code, out, err := sallyport(t, "audit", "show", id, "--file", log); code != 0 || !strings.Contains(out, "941100") || !strings.Contains(out, "waf.inbound_score") {
		t.Errorf("audit show = %d\n%s%s", code, out, err)
	}
	if code, out, _ := sallyport(t, "audit", "tail", log, "--follow=false", "--stage", "waf"); code != 0 || strings.Count(out, "\n") != 1 {
		t.Errorf("audit tail = %d %q, want the one record", code, out)
	}
	if code, out, _ := sallyport(t, "audit", "tail", log, "--follow=false", "--stage", "geo"); code != 0 || out != "" {
		t.Errorf("audit tail of another stage = %d %q, want nothing", code, out)
	}
}

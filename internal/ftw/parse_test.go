package ftw_test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	crs "github.com/corazawaf/coraza-coreruleset/v4/tests"

	"sallyport/internal/ftw"
)

// one wraps the input and output of a stage into a file.
func one(input, output string) string {
	return "rule_id: 942100\ntests:\n  - test_id: 1\n    stages:\n      - input: " + input + "\n        output: " + output + "\n"
}

func TestParseRefuses(t *testing.T) {
	const ok = "{status: 200}"
	for _, tc := range []struct{ rule, src, want string }{
		{"unknown key of the file", "rule_id: 1\ntest: []\n", "t.yaml:2:1: test: unknown key; known here: author, meta, rule_id, tests"},
		{"unknown key of an input", one("{metod: GET}", ok), "t.yaml:5:17: tests[0].stages[0].input.metod: unknown key"},
		{"unknown key of an output", one("{method: GET}", "{log: {expect: [1]}}"), "tests[0].stages[0].output.log.expect: unknown key"},
		{"duplicate key", one("{uri: /, uri: /b}", ok), "t.yaml:5:25: mapping key"},
		{"rule id that is no number", "rule_id: abc\ntests: []\n", `t.yaml:1:10: rule_id: "abc" is not a number`},
		{"no rule id anywhere", "tests:\n  - stages:\n      - input: {}\n        output: {status: 200}\n", "t.yaml:1:1: rule_id is missing"},
		{"test without stages", "rule_id: 1\ntests:\n  - test_id: 1\n", "t.yaml:3:5: tests[0]: a test without stages"},
		{"status out of range", one("{}", "{status: 99}"), "output.status: \"99\" is not a number from 100 to 599"},
		{"nothing expected", one("{}", "{retry_once: true}"), "nothing is expected, so nothing can fail"},
		{"bad regular expression", one("{}", "{log: {match_regex: '('}}"), "output.log.match_regex: bad regular expression"},
		{"isolated without a rule", one("{}", "{isolated: true}"), "isolated needs exactly one rule"},
		{"bad base64", one("{encoded_request: '%%'}", ok), "input.encoded_request: illegal base64"},
		{"data beside a whole request", one("{data: a, encoded_request: YQ==}", ok), "a whole request beside data"},
		{"data twice", one("{data: a, encoded_data: YQ==}", ok), "data and encoded_data in one input"},
		{"unknown template function", one("{data: '{{ launch }}'}", ok), `function "launch" not defined`},
		{"template without an end", one("{data: '{{7*7'}", ok), "input.data: parse template"},
		{"template that explodes", one("{data: '{{ \"aaaa\" | repeat 100000000 }}'}", ok), "grows beyond 16 MiB"},
		{"neither true nor false", one("{autocomplete_headers: maybe}", ok), `"maybe" is neither true nor false`},
		{"alias", "rule_id: &a 1\ntests: *a\n", "anchors, aliases and tags are not read here"},
		{"two documents", "rule_id: 1\n---\nrule_id: 2\n", "a second document"},
		{"list where a mapping belongs", "- 1\n", "not a mapping"},
		{"mapping where a list belongs", "rule_id: 1\ntests: {}\n", "t.yaml:2:8: tests: not a list"},
		{"broken YAML", "rule_id: [1\n", "t.yaml:1:"},
	} {
		_, diags := ftw.Parse("t.yaml", []byte(tc.src))
		if !diags.Fatal() || !strings.Contains(diags.Error(), tc.want) {
			t.Errorf("%s: Parse(%q) = %q, want %q in it", tc.rule, tc.src, diags.Error(), tc.want)
		}
	}
}

func TestParseAccepts(t *testing.T) {
	for _, tc := range []struct{ rule, src, id, request string }{
		{"defaults", one("{}", "{status: 200}"), "942100-1", "GET / HTTP/1.1\r\nConnection: close\r\n\r\n"},
		{"the stage of the old format", "rule_id: 7\ntests:\n  - test_title: old\n    stages:\n      - stage: {input: {stop_magic: true}, output: {log_contains: id}}\n",
			"7-1", "GET / HTTP/1.1\r\n\r\n"},
		{"numbers keep their digits", one("{headers: {Content-Length: 007}}", "{status: [200, 403]}"), "942100-1",
			"GET / HTTP/1.1\r\nContent-Length: 007\r\nConnection: close\r\n\r\n"},
		{"null is empty", one("{headers: {Host: }}", "{status: 200}"), "942100-1", "GET / HTTP/1.1\r\nHost: \r\nConnection: close\r\n\r\n"},
		{"an empty version stays empty", one("{version: ''}", "{status: 200}"), "942100-1", "GET / \r\nConnection: close\r\n\r\n"},
		{"base64 over several lines", one("{encoded_request: \"R0VU\\nIC8=\"}", "{status: 200}"), "942100-1", "GET /"},
	} {
		tests, diags := ftw.Parse("t.yaml", []byte(tc.src))
		if len(diags) > 0 || len(tests) != 1 {
			t.Errorf("%s: Parse = %d tests, %q, want one and nothing to say", tc.rule, len(tests), diags.Error())
			continue
		}
		if got := tests[0].ID(); got != tc.id {
			t.Errorf("%s: ID = %s, want %s", tc.rule, got, tc.id)
		}
		if got := string(tests[0].Stages[0].Input.Bytes()); got != tc.request {
			t.Errorf("%s: request = %q, want %q", tc.rule, got, tc.request)
		}
	}
}

func TestParseTakesTheRuleFromTheFileName(t *testing.T) {
	tests, diags := ftw.Parse("rules/942100.yaml", []byte("tests:\n  - stages: [{input: {}, output: {status: 200}}]\n"))
	if diags.Fatal() || len(tests) != 1 || tests[0].ID() != "942100-1" {
		t.Errorf("Parse = %v, %v, want test 942100-1", tests, diags)
	}
}

func TestParseMakesAStageOfEachTarget(t *testing.T) {
	tests, diags := ftw.Parse("t.yaml", []byte(one("{uri: /, uris: [/a, /b]}", "{status: 200}")))
	if len(diags) > 0 || len(tests[0].Stages) != 2 || tests[0].Stages[0].Input.URI != "/a" || tests[0].Stages[1].Input.URI != "/b" {
		t.Errorf("Parse = %+v, %v, want stages for /a and /b", tests, diags)
	}
}

// The Core Rule Set's own files are read without an error, and the requests
// built from them are those that the reference runner builds: the digest was
// taken from its code over the same files.
func TestCoreRuleSet(t *testing.T) {
	tests, diags := ftw.LoadFS(crs.FS)
	if diags.Fatal() {
		t.Fatalf("LoadFS: %v", diags)
	}
	if len(diags) != 1 || !strings.HasSuffix(diags[0].File, "/920539.yaml") {
		t.Errorf("LoadFS warns of %v, want of the one file without tests", diags)
	}
	if len(tests) != 4674 {
		t.Errorf("LoadFS = %d tests, want 4674", len(tests))
	}
	stages, sum := 0, sha256.New()
	for _, test := range tests {
		for i := range test.Stages {
			stages++
			request := test.Stages[i].Input.Bytes()
			fmt.Fprintf(sum, "%s/%d %d %x\n", test.ID(), i, len(request), sha256.Sum256(request))
		}
	}
	if stages != 4680 {
		t.Errorf("LoadFS = %d stages, want 4680", stages)
	}
	const want = "4431c60268d55916cef51ca90ce1f9ed0bd63f6c4a7b2763a23c2fa23cc703b4"
	if got := fmt.Sprintf("%x", sum.Sum(nil)); got != want {
		t.Errorf("digest of all requests = %s, want %s", got, want)
	}
}

func TestLoadFindsFiles(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a/1.yaml", "a/b/2.yaml", "3.yml", "a/notes.txt"} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte("tests:\n  - stages: [{input: {}, output: {status: 200}}]\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct{ rule, name, want string }{
		{"a file", "a/1.yaml", "1-1"},
		{"a directory", "", "3-1 1-1 2-1"},
		{"any number of directories", "**/*.yaml", "1-1 2-1"},
		{"directories below a fixed one", "a/**/*.y*ml", "1-1 2-1"},
		{"one directory", "*/*.yaml", "1-1"},
	} {
		tests, diags := ftw.Load([]string{filepath.Join(dir, tc.name)})
		var ids []string
		for _, test := range tests {
			ids = append(ids, test.ID())
		}
		if got := strings.Join(ids, " "); got != tc.want || len(diags) > 0 {
			t.Errorf("%s: Load(%q) = %q, %v, want %q", tc.rule, tc.name, got, diags, tc.want)
		}
	}
	for _, tc := range []struct{ rule, name, want string }{
		{"a missing file", "none.yaml", "no such file"},
		{"a pattern that matches nothing", "**/*.conf", "no test file matches"},
		{"a broken pattern", "[", "syntax error in pattern"},
	} {
		if _, diags := ftw.Load([]string{filepath.Join(dir, tc.name)}); !strings.Contains(diags.Error(), tc.want) {
			t.Errorf("%s: Load(%q) = %q, want %q in it", tc.rule, tc.name, diags.Error(), tc.want)
		}
	}
}

func TestLoadRefusesATestThatIsThereTwice(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a.yaml", "b.yaml"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(one("{}", "{status: 200}")), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, diags := ftw.Load([]string{dir}); !strings.Contains(diags.Error(), "test 942100-1 is there twice") {
		t.Errorf("Load = %q, want the second 942100-1 refused", diags.Error())
	}
	// The same file by two names of the command line is one file.
	if tests, diags := ftw.Load([]string{filepath.Join(dir, "a.yaml"), filepath.Join(dir, "a*.yaml")}); len(tests) != 1 || len(diags) > 0 {
		t.Errorf("Load of one file twice = %d tests, %v, want 1", len(tests), diags)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(one("{method: POST, headers: {A: b}, data: 'a={{ \"1\" | repeat 3 }}'}", "{log: {expect_ids: [1]}}")))
	f.Add([]byte(one("{encoded_request: R0VUIC8=}", "{status: [200, 403], expect_error: true}")))
	f.Add([]byte("meta: {enabled: false}\ntests: [{stages: [{stage: {input: {uris: [/a]}, output: {no_log_contains: x}}}]}]"))
	f.Fuzz(func(t *testing.T, src []byte) {
		tests, diags := ftw.Parse("1.yaml", src)
		lines := strings.Count(string(src), "\n") + strings.Count(string(src), "\r") + 1 // YAML ends lines with either
		for _, d := range diags {
			if d.Line > lines {
				t.Errorf("diagnostic %q lies outside of the file", d)
			}
		}
		for _, test := range tests {
			for i := range test.Stages {
				test.Stages[i].Input.Bytes()
			}
		}
	})
}

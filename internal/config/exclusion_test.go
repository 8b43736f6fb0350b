package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"sallyport/internal/config"
	"sallyport/waf"
)

const excluding = `
pools: {app: {backends: [{url: "http://10.0.0.11:8080"}]}}
routes:
  - {name: shop, pool: app, paths: [/shop]}
  - {name: api, pool: app, paths: [/api], policy: strict}
  - {name: all, pool: app}
policies:
  default: {exclusions: [rules/one.yaml]}
  strict: {exclusions: ["rules/[ot]*.yaml"]}
`

// excludingFrom loads a configuration with two files of exclusions and returns what
// is said about them, and the policies.
func excludingFrom(t *testing.T, one, two string) ([]string, map[string]waf.Policy) {
	t.Helper()
	dir := fixtures(t)
	for name, text := range map[string]string{"one": one, "two": two} {
		if err := os.WriteFile(filepath.Join(dir, "rules", name+".yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(filepath.Join(dir, "rules", "own.conf")); err != nil {
		t.Fatal(err)
	}
	c, ds := loadText(t, dir, excluding)
	var said []string
	for _, d := range ds {
		said = append(said, strings.ReplaceAll(d.String(), dir+"/rules/", ""))
	}
	if c == nil {
		return said, nil
	}
	return said, c.WAF.Policies
}

// TestExclusions reads every field, each with its place, for the policies that
// load the file.
func TestExclusions(t *testing.T) {
	said, policies := excludingFrom(t, `
exclusions:
  - rule: 942100
    target: ARGS:/^items\.\d+\.name$/
    route: shop
    path: =/shop/search
    methods: [GET, POST]
    reason: names of items hold quotes
    owner: web team
    expires: 2027-01-31
  - {rule: 941100-941199, target: "REQUEST_COOKIES:theme", reason: a test}
`, "exclusions: [{tag: attack-sqli, target: xml:/*, route: api, reason: a test}]\n")
	if len(said) > 0 {
		t.Fatal(said)
	}
	shop, strict := policies["default"], policies["strict"]
	if len(shop.Exclusions) != 2 || len(strict.Exclusions) != 2 || !reflect.DeepEqual(shop.Routes, []string{"shop", "all"}) || !reflect.DeepEqual(strict.Routes, []string{"api"}) {
		t.Fatalf("default has %+v\nstrict has %+v", shop.Exclusions, strict.Exclusions)
	}
	x := shop.Exclusions[0]
	if d := x.At["target"]; d.Line != 4 || d.Column != 13 || filepath.Base(d.File) != "one.yaml" || d.Path != "exclusions[0].target" {
		t.Errorf("the target stands at %+v", d)
	}
	x.At = nil
	if want := (waf.Exclusion{
		First: 942100, Last: 942100, Target: waf.Target{Variable: "ARGS", Pattern: `^items\.\d+\.name$`}, Route: "shop", Path: "=/shop/search", Methods: []string{"GET", "POST"},
		Reason: "names of items hold quotes", Owner: "web team", Ends: time.Date(2027, 2, 1, 0, 0, 0, 0, time.UTC),
	}); !reflect.DeepEqual(x, want) {
		t.Errorf("read %+v, want %+v", x, want)
	}
	if x := strict.Exclusions[0]; x.First != 941100 || x.Last != 941199 || x.Target.String() != "REQUEST_COOKIES:theme" {
		t.Errorf("read %+v", x)
	}
	if x := strict.Exclusions[1]; x.Tag != "attack-sqli" || x.Target.String() != "XML" || x.First != 0 {
		t.Errorf("read %+v", x)
	}
}

// TestBadExclusions holds every mistake to its place and its words.
func TestBadExclusions(t *testing.T) {
	const fine = "exclusions: []\n"
	for _, tc := range []struct{ field, want string }{
		{`rule: 0942`, `one.yaml:2:5: exclusions[0].rule: bad rule "0942"; write an id such as 942100, or a range such as 942100-942199`},
		{`rule: 942199-942100`, `one.yaml:2:5: exclusions[0].rule: bad rule "942199-942100"; write an id such as 942100, or a range such as 942100-942199`},
		{`rule: "942100 SecRuleEngine Off"`, `one.yaml:2:5: exclusions[0].rule: bad rule "942100 SecRuleEngine Off"; write an id such as 942100, or a range such as 942100-942199`},
		{`tag: "a b"`, `one.yaml:2:5: exclusions[0].tag: bad tag "a b"; write one as rules have it, such as attack-sqli`},
		{`owner: me`, `one.yaml:2:5: exclusions[0]: no rule; write rule: 942100, a range of them, or tag: attack-sqli`},
		{`rule: 1, tag: a`, `one.yaml:2:5: exclusions[0].tag: rule and tag in one exclusion; write one for each`},
		{`rule: 1, target: "TX:score"`, `one.yaml:2:5: exclusions[0].target: "TX" is no variable that an exclusion can name; write one as a record shows it, such as ARGS:comment, REQUEST_COOKIES:id or REQUEST_HEADERS:Referer`},
		{`rule: 1, target: "ARGS:"`, `one.yaml:2:5: exclusions[0].target: no name after the colon; write one, or remove the colon`},
		{`rule: 1, target: "ARGS:/a(/"`, "one.yaml:2:5: exclusions[0].target: a pattern that does not compile: error parsing regexp: missing closing ): `(?i)a(`"},
		{`rule: 1, target: "REQUEST_URI:a"`, `one.yaml:2:5: exclusions[0].target: REQUEST_URI has no values by name; remove what follows the colon`},
		{`rule: 1, route: shp`, `one.yaml:2:5: exclusions[0].route: no such route "shp"; did you mean "shop"?`},
		{`rule: 1, path: search`, `one.yaml:2:5: exclusions[0].path: bad path "search"; write a path that begins with /`},
		{`rule: 1, methods: [get]`, `one.yaml:2:5: exclusions[0].methods[0]: bad method "get"; methods are upper case; did you mean GET?`},
		{`rule: 1, expires: 31.1.2027`, `one.yaml:2:5: exclusions[0].expires: bad day "31.1.2027"; write year, month and day, as in 2027-01-31`},
		{`rule: 1, expire: 2027-01-31`, `one.yaml:2:5: exclusions[0].expire: unknown key; did you mean "expires"?`},
	} {
		said, _ := excludingFrom(t, "exclusions:\n  - {"+tc.field+", reason: a test}\n", fine)
		for i := range said { // the column is the value's: each has its own
			if at := strings.Index(said[i], "one.yaml:2:"); at == 0 {
				said[i] = "one.yaml:2:5" + said[i][strings.Index(said[i][len("one.yaml:2:"):], ":")+len("one.yaml:2:"):]
			}
		}
		if !reflect.DeepEqual(said, []string{tc.want}) {
			t.Errorf("%s:\nsaid %q\nwant %q", tc.field, said, tc.want)
		}
	}
	if said, _ := excludingFrom(t, "exclusions:\n#  - rule: 1\n", fine); len(said) > 0 {
		t.Errorf("a list that is commented out: %q", said)
	}
	for text, want := range map[string]string{
		"exclusions:\n  - {rule: 1}\n":             "one.yaml:2:5: warning: exclusions[0]: no reason; say why, for whoever wonders later whether it can go",
		"exclusion: []\n":                          `one.yaml:1:1: exclusion: unknown key; did you mean "exclusions"?`,
		"- rule: 1\n":                              `one.yaml:1:1: a mapping is needed here; write "key: value" lines below it`,
		"exclusions: {rule: 1}\n":                  "one.yaml:1:13: exclusions: a list is needed here; write one \"- \" for each entry",
		"exclusions:\n  - &a {rule: 1}\n  - *a\n":  "one.yaml:2:5: anchors are not used here; quote a value that begins with \"&\"",
		"exclusions:\n  - {rule: 1, reason: \"\"}": "one.yaml:2:23: exclusions[0].reason: an empty value",
	} {
		said, _ := excludingFrom(t, text, fine)
		if len(said) == 0 || said[0] != want {
			t.Errorf("%q:\nsaid %q\nwant %q", text, said, want)
		}
	}
}

// A route that the policy of the file does not serve is a warning, and one that
// another policy's does is none.
func TestExclusionOfAnotherPolicy(t *testing.T) {
	const one = "exclusions: [{rule: 942100, target: ARGS:a, route: shop, reason: a test}]\n"
	said, policies := excludingFrom(t, "exclusions: []\n", one)
	want := []string{"two.yaml:1:52: warning: exclusions[0].route: without effect: route shop uses policy default, which does not load this file; name the file in policies.default.exclusions"}
	if !reflect.DeepEqual(said, want) || policies == nil || len(policies["strict"].Exclusions) != 0 {
		t.Errorf("said %q, want %q", said, want)
	}
	said, policies = excludingFrom(t, one, "exclusions: []\n")
	if len(said) > 0 || len(policies["default"].Exclusions) != 1 || len(policies["strict"].Exclusions) != 0 {
		t.Errorf("said %q about a file that both load", said)
	}
	if _, ds := config.Parse("x.yaml", []byte(excluding), func(string) (string, bool) { return "", false }); ds.Fatal() {
		t.Errorf("Parse touches the files: %v", ds)
	}
}

// The exclusions in the documents and, uncommented, those of the starter load
// without a warning.
func TestDocumentedExclusions(t *testing.T) {
	texts := map[string]string{}
	names, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		doc, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for i, m := range regexp.MustCompile("(?ms)^```yaml\n(exclusions:\n.*?)^```$").FindAllSubmatch(doc, -1) {
			texts[fmt.Sprintf("%s, block %d", name, i+1)] = string(m[1])
		}
	}
	starter, err := os.ReadFile("starter/rules/exclusions.yaml")
	if err != nil {
		t.Fatal(err)
	}
	texts["starter"] = regexp.MustCompile(`(?m)^#  `).ReplaceAllString(string(starter), "  ")
	if len(texts) < 2 {
		t.Fatal("the documents have no exclusions")
	}
	for name, text := range texts {
		said, policies := excludingFrom(t, text, "exclusions: []\n")
		if len(said) > 0 || len(policies["default"].Exclusions) == 0 {
			t.Errorf("%s: %q, %d exclusions", name, said, len(policies["default"].Exclusions))
		}
	}
}

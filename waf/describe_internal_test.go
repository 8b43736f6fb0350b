package waf

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestLooks takes the variables of rules apart as the engine does.
func TestLooks(t *testing.T) {
	for variables, want := range map[string]string{
		"ARGS":                              "ARGS",
		"ARGS|!ARGS:a|&args_names":          "ARGS !ARGS:a &ARGS_NAMES",
		`REQUEST_HEADERS:/^X-|a\/b/|ARGS`:   `REQUEST_HEADERS:/^X-|a\/b/ ARGS`,
		"XML:/*|ARGS:a":                     "XML:/* ARGS:a",
		"XML://@*|REQUEST_COOKIES":          "XML://@* REQUEST_COOKIES",
		"!REQUEST_COOKIES:/__utm/|ARGS:'a'": "!REQUEST_COOKIES:/__utm/ ARGS:a",
	} {
		var got []string
		for _, l := range (rule{variables: variables}).looks() {
			got = append(got, l.String())
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %q, want %s", variables, got, want)
		}
	}
}

// TestEveryRuleCanBeExplained explains each rule that is shipped, and knows
// every variable and operator of them.
func TestEveryRuleCanBeExplained(t *testing.T) {
	p := standard()
	list, ds, err := Rules("default", p)
	if err != nil || len(ds) > 0 {
		t.Fatal(ds, err)
	}
	for _, r := range list {
		text := r.Explain("default", p)
		if !strings.HasPrefix(text, fmt.Sprintf("rule %d: ", r.ID)) || strings.Contains(text, "see the manual") || strings.Contains(text, "matches @") {
			t.Errorf("rule %d is not explained:\n%.600s", r.ID, text)
		}
	}
	engine := sharedEngine(t).policies["default"].rules
	removed := 0
	for _, r := range list {
		if r.Removed != "" {
			removed++
		}
	}
	if len(list) != len(engine.rules) || removed != 2 {
		t.Errorf("%d rules are listed, %d of them removed; the engine has %d", len(list), removed, len(engine.rules))
	}
	if i := slices.IndexFunc(list, func(r RuleInfo) bool { return r.ID == 88000001 }); i < 0 || list[i].File != "request.conf" {
		t.Error("a rule of ours is missing")
	}
}

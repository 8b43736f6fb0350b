//go:build sabotage

package injection

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/corazawaf/libinjection-go"
)

// TestMutants makes each change in turn and writes down which of them no value
// shows. With INJECTION_VALUES it looks for values that show more of them, and
// adds these to the telling ones.
func TestMutants(t *testing.T) {
	mutant = -1
	n, err := strconv.Atoi(os.Getenv("INJECTION_MUTANTS"))
	if err != nil {
		t.Fatal(err)
	}
	known := telling(t)
	all := known
	if text := os.Getenv("INJECTION_VALUES"); text != "" {
		seed, _ := strconv.ParseUint(os.Getenv("INJECTION_SEED"), 10, 64)
		g := newGenerator(t, seed)
		all = append(all, g.payloads...)
		for range values(t) {
			all = append(all, g.value())
		}
	}
	want := wanted(t, all)
	var report strings.Builder
	shows := make([]int, 0, len(all)) // places of values, those first that have shown something
	for i := range known {
		shows = append(shows, i)
	}
next:
	for id := range n {
		mutant = id
		for _, i := range shows {
			if shown(all[i], want[i]) {
				continue next
			}
		}
		for i := len(known); i < len(all); i++ {
			if shown(all[i], want[i]) {
				shows = append(shows, i)
				continue next
			}
		}
		fmt.Fprintln(&report, id)
	}
	mutant = -1
	if err := os.WriteFile(os.Getenv("INJECTION_REPORT"), []byte(report.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if len(shows) > len(known) {
		var text strings.Builder
		for _, i := range shows {
			fmt.Fprintln(&text, strconv.QuoteToASCII(all[i]))
		}
		if err := os.WriteFile(tellingFile, []byte(text.String()), 0o644); err != nil { //nolint:gosec // part of the repository
			t.Fatal(err)
		}
	}
}

// wanted returns what the library says of values; ours says the same as long as
// nothing is changed.
func wanted(t *testing.T, all []string) [][2]answer {
	want := make([][2]answer, len(all))
	for i, value := range all {
		want[i] = [2]answer{ask(librarySQLi, value), ask(libinjection.IsXSS, value)}
		if shown(value, want[i]) {
			t.Fatalf("%q differs with nothing changed", value)
		}
	}
	return want
}

func shown(value string, want [2]answer) bool {
	steps = 0
	return ask(SQLi, value) != want[0] || ask(XSS, value) != want[1]
}

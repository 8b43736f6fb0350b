package injection

import (
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/corazawaf/libinjection-go"
)

// An answer is what a reader or the library says. A panic is one, too: the
// engine refuses a request then, so that ours must not say that all is well.
type answer struct{ found, panicked bool }

func ask(reader func(string) bool, value string) (a answer) {
	defer func() { a.panicked = recover() != nil }()
	a.found = reader(value)
	return a
}

func librarySQLi(value string) bool {
	found, _ := libinjection.IsSQLi(value)
	return found
}

// FuzzSQLi compares the reader of SQL with the library.
func FuzzSQLi(f *testing.F) {
	for _, value := range telling(f) {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		if got, want := ask(SQLi, value), ask(librarySQLi, value); got != want {
			t.Errorf("SQLi(%q) is %+v; the library has %+v", value, got, want)
		}
	})
}

// FuzzXSS compares the reader of HTML with the library.
func FuzzXSS(f *testing.F) {
	for _, value := range telling(f) {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		if got, want := ask(XSS, value), ask(libinjection.IsXSS, value); got != want {
			t.Errorf("XSS(%q) is %+v; the library has %+v", value, got, want)
		}
	})
}

// values is how many are generated; INJECTION_VALUES says it for longer runs.
func values(tb testing.TB) int {
	tb.Helper()
	if text := os.Getenv("INJECTION_VALUES"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			tb.Fatal(err)
		}
		return n
	}
	if testing.Short() {
		return 100_000
	}
	return 2_000_000
}

// TestGenerated compares about values of many kinds.
func TestGenerated(t *testing.T) {
	t.Parallel()
	n, workers := values(t), runtime.GOMAXPROCS(0)
	seed, _ := strconv.ParseUint(os.Getenv("INJECTION_SEED"), 10, 64)
	var sqli, xss, wrong atomic.Int64
	var wait sync.WaitGroup
	for worker := range workers {
		g := newGenerator(t, seed*1000+uint64(worker))
		wait.Go(func() {
			for range n / workers {
				value := g.value()
				wantSQL, print := libinjection.IsSQLi(value)
				wantHTML := libinjection.IsXSS(value)
				if wantSQL {
					sqli.Add(1)
				}
				if wantHTML {
					xss.Add(1)
				}
				if got := SQLi(value); got != wantSQL {
					if wrong.Add(1) < 20 {
						t.Errorf("SQLi(%q) is %t; the library has %t, %s", value, got, wantSQL, print)
					}
				}
				if got := XSS(value); got != wantHTML {
					if wrong.Add(1) < 20 {
						t.Errorf("XSS(%q) is %t; the library has %t", value, got, wantHTML)
					}
				}
			}
		})
	}
	wait.Wait()
	t.Logf("%d values, %d SQL, %d HTML, %d wrong answers", n, sqli.Load(), xss.Load(), wrong.Load())
	if sqli.Load() < int64(n/20) || xss.Load() < int64(n/20) {
		t.Errorf("of %d values only %d are SQL and %d HTML", n, sqli.Load(), xss.Load())
	}
}

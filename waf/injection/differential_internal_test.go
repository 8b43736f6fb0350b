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

// differs names the reader that answers otherwise than the library.
func (t *tables) differs(value string) string {
	if want, _ := libinjection.IsSQLi(value); t.sqli(value) != want {
		return "SQLi"
	}
	if want := libinjection.IsXSS(value); t.xss(value) != want {
		return "XSS"
	}
	return ""
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

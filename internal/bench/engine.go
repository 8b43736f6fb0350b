package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// ways are what BenchmarkEngine compares.
var ways = []string{"coraza", "stock", "fast"}

// An engineRow is what the rules alone cost for a mix, in the order of ways.
type engineRow struct {
	mix     string
	ns      [3]float64
	allocs  [3]float64
	proven  float64 // the share, by the fast way
	counted int
}

// leastEngine is how long a way is measured at least: the fast one would be through
// with the requests of the slow ones before its memory is warm.
const leastEngine = 300 * time.Millisecond

// measureEngine runs BenchmarkEngine for each mix up to three times, and keeps the
// smallest figures. The slow ways get as many requests as a round of a server has,
// the fast one those and others.
func measureEngine(ctx context.Context, dir string, o options, say func(string, ...any)) ([]engineRow, error) {
	say("building the benchmark of the rules alone")
	program := filepath.Join(dir, "waf.test")
	if err := o.compile(ctx, program, "sallyport/waf", "test", "-c"); err != nil {
		return nil, err
	}
	var rows []engineRow
	for _, m := range o.mixes {
		count := max(16, perRound[m.Name]*o.share/100)
		var text strings.Builder
		for _, some := range []struct{ ways, time string }{
			{"(coraza|stock)", strconv.Itoa(count) + "x"},
			{"fast", max(time.Millisecond, leastEngine*time.Duration(o.share)/100).String()},
		} {
			cmd := exec.CommandContext(ctx, program, "-test.run", "^$", "-test.bench", "^BenchmarkEngine$/^"+m.Name+"$/^"+some.ways+"$", "-test.benchmem",
				"-test.benchtime", some.time, "-test.count", strconv.Itoa(min(o.rounds, 3)))
			cmd.Dir = dir
			printed, err := cmd.CombinedOutput()
			if err != nil {
				return nil, fmt.Errorf("BenchmarkEngine: %w\n%s", err, printed)
			}
			text.Write(printed)
		}
		row, err := readEngine(m.Name, text.String())
		if err != nil {
			return nil, err
		}
		row.counted = count
		rows = append(rows, row)
		say("rules alone, %s, µs a request: coraza %s, stock %s, fast %s, proven %.0f %%", m.Name,
			figure(row.ns[0]/1e3), figure(row.ns[1]/1e3), figure(row.ns[2]/1e3), 100*row.proven)
	}
	return rows, nil
}

var benchmarkLine = regexp.MustCompile(`(?m)^BenchmarkEngine/([a-z0-9-]+?)/([a-z]+)(?:-\d+)?\s+\d+\s+(.*)$`)

// readEngine reads the lines of a benchmark.
func readEngine(mix, text string) (engineRow, error) {
	row := engineRow{mix: mix}
	for _, m := range benchmarkLine.FindAllStringSubmatch(text, -1) {
		values := map[string]float64{}
		fields := strings.Fields(m[3])
		for i := 0; i+1 < len(fields); i += 2 {
			v, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				return row, fmt.Errorf("BenchmarkEngine: %q: %w", m[0], err)
			}
			values[fields[i+1]] = v
		}
		for i, way := range ways {
			if m[1] != mix || m[2] != way {
				continue
			}
			if cpu := values["cpu-ns/op"]; row.ns[i] == 0 || cpu < row.ns[i] {
				row.ns[i] = cpu
			}
			row.allocs[i] = values["allocs/op"]
			if way == "fast" {
				row.proven = values["proven"]
			}
		}
	}
	for i, ns := range row.ns {
		if ns == 0 {
			return row, fmt.Errorf("BenchmarkEngine printed no figure of %s/%s\n%s", mix, ways[i], text)
		}
	}
	return row, nil
}

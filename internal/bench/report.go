package main

import (
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"sallyport/internal/traffic"
)

// A row is what one mix and series cost each server, round by round.
type row struct {
	mix     string
	series  traffic.Series
	samples [][]sample
	others  []others
}

// total adds the rounds of a server up.
func (r *row) total(server int) (t sample) {
	for _, s := range r.samples[server] {
		t.requests, t.cpu, t.mallocs = t.requests+s.requests, t.cpu+s.cpu, t.mallocs+s.mallocs
	}
	return t
}

// least is how many requests the server got that got the fewest.
func (r *row) least() int {
	n := math.MaxInt
	for i := range r.samples {
		n = min(n, r.total(i).requests)
	}
	return n
}

// ratio is what a server's request costs beside another one's: over all rounds, and
// in the rounds where it is smallest and largest.
func (r *row) ratio(a, b int) (all, smallest, largest float64) {
	smallest = math.Inf(1)
	for i := range r.samples[a] {
		q := float64(r.samples[a][i].cpuPer()) / float64(r.samples[b][i].cpuPer())
		smallest, largest = min(smallest, q), max(largest, q)
	}
	return float64(r.total(a).cpuPer()) / float64(r.total(b).cpuPer()), smallest, largest
}

// memory is what a process holds, in KiB.
type memory struct{ now, most int }

// A report is all that was measured.
type report struct {
	machine string
	rounds  int
	servers []*server
	absent  string // why nginx is not among them
	rows    []*row
	memory  []memory
	engine  []engineRow
}

// at finds a server by its short name.
func (r *report) at(short string) int {
	for i, s := range r.servers {
		if s.short == short {
			return i
		}
	}
	return -1
}

func (r *report) print(out io.Writer) {
	fmt.Fprintf(out, "%s. CPU of the server's process, %d connections, %d rounds.\n", r.machine, connections, r.rounds)
	for _, s := range r.servers {
		if s.version != "" {
			fmt.Fprintf(out, "%s: %s.\n", s.name, s.version)
		}
	}
	for _, series := range bothSeries {
		fmt.Fprintf(out, "\n### µs a request, %s\n\n", series)
		r.printCPU(out, series)
	}
	for _, series := range bothSeries {
		fmt.Fprintf(out, "\n### Allocations a request, %s\n\n", series)
		r.printAllocations(out, series)
	}
	fmt.Fprintf(out, "\n### Memory after the benign mixes\n\n")
	r.printMemory(out)
	if len(r.engine) > 0 {
		fmt.Fprintf(out, "\n### The rules alone\n\n")
		r.printEngine(out)
	}
	r.printOthers(out)
}

// table prints a table; the first line is its head.
func table(out io.Writer, lines [][]string) {
	for i, l := range lines {
		fmt.Fprintf(out, "| %s |\n", strings.Join(l, " | "))
		if i == 0 {
			fmt.Fprintf(out, "|%s\n", strings.Repeat(" --- |", len(l)))
		}
	}
}

// names begins the head of a table with a column for each server.
func (r *report) names(first ...string) []string {
	for _, s := range r.servers {
		first = append(first, s.name)
	}
	if r.at("nginx") < 0 {
		first = append(first, "nginx, libmodsecurity")
	}
	return first
}

func (r *report) printCPU(out io.Writer, series traffic.Series) {
	lines := [][]string{append(r.names("mix", "requests, at least"), "stock : middleware", "fast : middleware", "stock : nginx", "fast : nginx")}
	ratio := func(row *row, a, b string) string {
		if r.at(b) < 0 {
			return "–"
		}
		all, smallest, largest := row.ratio(r.at(a), r.at(b))
		return fmt.Sprintf("%.2f (%.2f–%.2f)", all, smallest, largest)
	}
	for _, row := range r.rows {
		if row.series != series {
			continue
		}
		line := []string{row.mix, figure(float64(row.least()))}
		for i := range r.servers {
			line = append(line, micros(row.total(i).cpuPer()))
		}
		if r.at("nginx") < 0 {
			line = append(line, "–")
		}
		lines = append(lines, append(line, ratio(row, "stock", "middleware"), ratio(row, "fast", "middleware"), ratio(row, "stock", "nginx"), ratio(row, "fast", "nginx")))
	}
	table(out, lines)
	if r.at("nginx") < 0 {
		fmt.Fprintf(out, "\nNo figures of nginx: %s.\n", r.absent)
	}
}

func (r *report) printAllocations(out io.Writer, series traffic.Series) {
	head := []string{"mix"}
	for _, s := range r.servers {
		if s.control != "" {
			head = append(head, s.name)
		}
	}
	lines := [][]string{head}
	for _, row := range r.rows {
		if row.series != series {
			continue
		}
		line := []string{row.mix}
		for i, s := range r.servers {
			if s.control != "" {
				t := row.total(i)
				line = append(line, figure(t.mallocs/float64(t.requests)))
			}
		}
		lines = append(lines, line)
	}
	table(out, lines)
}

func (r *report) printMemory(out io.Writer) {
	lines := [][]string{{"", "resident, MiB", "largest so far, MiB"}}
	for i, s := range r.servers {
		lines = append(lines, []string{s.name, figure(float64(r.memory[i].now) / 1024), figure(float64(r.memory[i].most) / 1024)})
	}
	if r.at("nginx") < 0 {
		lines = append(lines, []string{"nginx, libmodsecurity", "–", "–"})
	}
	table(out, lines)
}

func (r *report) printEngine(out io.Writer) {
	lines := [][]string{{"mix", "requests, at least", "Coraza, µs", "adapter, stock, µs", "adapter, fast, µs", "stock : Coraza", "fast : Coraza", "proven", "allocations"}}
	for _, e := range r.engine {
		lines = append(lines, []string{e.mix, figure(float64(e.counted)), figure(e.ns[0] / 1e3), figure(e.ns[1] / 1e3), figure(e.ns[2] / 1e3),
			fmt.Sprintf("%.2f", e.ns[1]/e.ns[0]), fmt.Sprintf("%.2f", e.ns[2]/e.ns[0]), fmt.Sprintf("%.0f %%", 100*e.proven),
			figure(e.allocs[0]) + " : " + figure(e.allocs[1]) + " : " + figure(e.allocs[2])})
	}
	table(out, lines)
}

// printOthers tells which answers were not expected.
func (r *report) printOthers(out io.Writer) {
	head := "\nAnswers that were not expected:\n\n"
	for _, row := range r.rows {
		for i := range row.others {
			if o := &row.others[i]; o.count > 0 {
				fmt.Fprintf(out, "%s- %s, %s, %s: %d of %d; first: %s\n", head, r.servers[i].name, row.mix, row.series, o.count, row.total(i).requests, o.first)
				head = ""
			}
		}
	}
}

// judge is an error where a server has given more unexpected answers than it
// may: one that refuses everything, or nothing, would look fast.
func (r *report) judge() error {
	for _, row := range r.rows {
		for i, s := range r.servers {
			if o := &row.others[i]; float64(o.count) > max(2, s.tolerated*float64(row.total(i).requests)) {
				return fmt.Errorf("%s gave %d unexpected answers to %d requests of %s, %s; the first: %s", s.name, o.count, row.total(i).requests, row.mix, row.series, o.first)
			}
		}
	}
	return nil
}

// micros is a time in microseconds.
func micros(d time.Duration) string { return figure(float64(d) / float64(time.Microsecond)) }

// figure is a number with two or three digits that count, and commas.
func figure(v float64) string {
	switch {
	case v < 10:
		return fmt.Sprintf("%.1f", v)
	case v < 1000:
		return fmt.Sprintf("%.0f", v)
	}
	text := fmt.Sprintf("%.0f", v)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

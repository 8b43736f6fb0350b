// Command bench measures what a request costs: the gateway's process and those
// of its alternatives, on the same requests, through sockets on loopback. It
// prints tables in Markdown. With the argument siege it measures how long ordinary
// visitors wait while others send the worst that is known, and with soak whether
// memory stays flat. It is no part of the gateway; make bench, siege and soak run it.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"sallyport/internal/traffic"
)

// options are the size of a run.
type options struct {
	rounds int
	mixes  []traffic.Mix
	// share of the usual number of requests in a round, in percent.
	share int
	nginx bool // measure it too, where it is installed
	rules bool // measure the rules by themselves too
	// release builds the programs as make build does; otherwise as go test
	// does, which has most of them in its cache.
	release bool
}

// perRound is how many requests of a mix each server gets in each round at least:
// about half a second of work for those that run all rules. All are multiples of
// sixteen, so that the requests of the repeated series come equally often.
var perRound = map[string]int{
	traffic.Tiny: 800, traffic.Browser: 256, traffic.Browsing: 320, traffic.Form: 128, traffic.JSON1K: 48, traffic.JSONFields: 16,
	traffic.JSONText: 16, traffic.Multipart: 64, traffic.Attack: 192, traffic.Hostile: 16,
}

// leastWindow is how long a server is at work in each round at least. The fast ones
// would be through with the requests of the slow ones in a few ticks of the system's
// clock, and what was measured would be how they begin.
const leastWindow = 500 * time.Millisecond

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	o, err := fromEnvironment()
	switch {
	case err != nil:
	case slices.Contains(os.Args[1:], "siege"):
		err = besiege(ctx, o, os.Stdout, os.Stderr)
	case slices.Contains(os.Args[1:], "soak"):
		err = soak(ctx, o, os.Stdout, os.Stderr)
	default:
		err = run(ctx, o, os.Stdout, os.Stderr)
	}
	if ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// fromEnvironment reads BENCH_ROUNDS and BENCH_MIXES.
func fromEnvironment() (options, error) {
	o := options{share: 100, nginx: true, rules: true, release: true}
	var err error
	if o.rounds, err = strconv.Atoi(cmp.Or(os.Getenv("BENCH_ROUNDS"), "4")); err != nil || o.rounds < 1 {
		return o, fmt.Errorf("BENCH_ROUNDS is %q, want a number from 1 on", os.Getenv("BENCH_ROUNDS"))
	}
	o.mixes, err = choose(os.Getenv("BENCH_MIXES"))
	return o, err
}

// choose finds mixes by their names; an empty text means all of them.
func choose(names string) ([]traffic.Mix, error) {
	all := traffic.Mixes()
	if strings.TrimSpace(names) == "" {
		return all, nil
	}
	var chosen []traffic.Mix
	for _, name := range strings.FieldsFunc(names, func(r rune) bool { return r == ' ' || r == ',' }) {
		i := slices.IndexFunc(all, func(m traffic.Mix) bool { return m.Name == name })
		if i < 0 {
			var known []string
			for _, m := range all {
				known = append(known, m.Name)
			}
			return nil, fmt.Errorf("BENCH_MIXES names %q, which is none of %s", name, strings.Join(known, ", "))
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

// warming is how many requests come before the first round, in percent of one, and
// warmingAgain how many before each other: what is measured is a server at work, and
// not one whose caches the others have had meanwhile.
const (
	warming      = 200
	warmingAgain = 25
)

var bothSeries = []traffic.Series{traffic.Fresh, traffic.Repeated}

// run measures all and prints the tables. What it does meanwhile goes to progress.
func run(ctx context.Context, o options, out, progress io.Writer) (err error) {
	began := time.Now()
	say := func(format string, args ...any) {
		fmt.Fprintf(progress, "[%4.0f s] %s\n", time.Since(began).Seconds(), fmt.Sprintf(format, args...))
	}
	dir, err := os.MkdirTemp("", "sallyport-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	say("building the gateway and the stock proxies")
	for _, program := range []string{"sallyport/cmd/sallyport", "sallyport/internal/bench/stock"} {
		if err := o.compile(ctx, filepath.Join(dir, "bin", filepath.Base(program)), program, "build"); err != nil {
			return err
		}
	}
	backend, err := listenBackend()
	if err != nil {
		return err
	}
	defer backend.Close()

	servers := candidates(dir, backend.Addr().String())
	absent := "it was not asked for"
	if o.nginx {
		var n *server
		if n, absent = findNginx(ctx, dir, backend.Addr().String()); n != nil {
			servers = append(servers, n)
		}
	}
	defer func() {
		for _, s := range servers {
			s.stop()
		}
	}()
	for _, s := range servers {
		say("starting %s", s.name)
		if err := s.start(ctx, dir); err != nil {
			return err
		}
	}

	r := &report{servers: servers, absent: absent, rounds: o.rounds}
	for _, benign := range []bool{true, false} {
		for _, m := range o.mixes {
			if m.Benign != benign {
				continue
			}
			for _, series := range bothSeries {
				row, err := measure(ctx, servers, m, series, o, say)
				if err != nil {
					return err
				}
				r.rows = append(r.rows, row)
			}
		}
		// Memory is looked at between the benign mixes and those that are not.
		if benign {
			for _, s := range servers {
				m, err := residentMemory(s.cmd.Process.Pid)
				if err != nil {
					return fmt.Errorf("%s: %w", s.name, err)
				}
				r.memory = append(r.memory, m)
			}
		}
	}
	for _, s := range servers {
		s.stop()
	}
	if o.rules {
		if r.engine, err = measureEngine(ctx, dir, o, say); err != nil {
			return err
		}
	}
	say("done")
	r.machine = machine(ctx)
	r.print(out)
	return r.judge()
}

// measure sends the requests of one mix and series to all servers in turns.
func measure(ctx context.Context, servers []*server, m traffic.Mix, series traffic.Series, o options, say func(string, ...any)) (*row, error) {
	count := max(traffic.RepeatedRequests, perRound[m.Name]*o.share/100)
	// The requests that come before the measured ones are others in the fresh
	// series, and all of them in the repeated one. Of the seed 2 the Core Rule Set
	// takes none of the repeated ones for attacks by chance.
	before, measured := traffic.New(m.Name, series, 3), traffic.New(m.Name, series, 2)
	if series == traffic.Repeated {
		before = measured
	}
	r := &row{mix: m.Name, series: series, samples: make([][]sample, len(servers)), others: make([]others, len(servers))}
	for round := range o.rounds {
		share := warmingAgain
		if round == 0 { // a server that has just started is not what is measured
			share = warming
		}
		warm := make([]traffic.Request, max(traffic.RepeatedRequests, count*share/100))
		for i := range warm {
			warm[i] = before.Request(round*count*warming/100 + i)
		}
		requests := &supply{generator: measured, first: round << 20}
		costs := make([]string, len(servers))
		for turn := range servers {
			i := (turn + round) % len(servers)
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			got, err := servers[i].window(warm, requests, count, leastWindow*time.Duration(o.share)/100, &r.others[i])
			if err != nil {
				return nil, fmt.Errorf("%s, %s %s: %w", servers[i].name, m.Name, series, err)
			}
			r.samples[i] = append(r.samples[i], got)
			costs[i] = servers[i].short + " " + micros(got.cpuPer())
		}
		say("%s, %s, round %d of %d, µs a request: %s", m.Name, series, round+1, o.rounds, strings.Join(costs, ", "))
	}
	return r, nil
}

// compile has the go command make a program of a package.
func (o options) compile(ctx context.Context, program, from string, command ...string) error {
	cmd := exec.CommandContext(ctx, "go", append(command, "-o", program)...)
	if o.release {
		cmd.Args = append(cmd.Args, "-trimpath")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	}
	cmd.Args = append(cmd.Args, from)
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, text)
	}
	return nil
}

// machine says where it was measured.
func machine(ctx context.Context) string {
	model := runtime.GOARCH
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for l := range strings.Lines(string(text)) {
			if name, value, _ := strings.Cut(l, ":"); strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	commit := "unknown"
	if text, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty").Output(); err == nil {
		commit = strings.TrimSpace(string(text))
	}
	return fmt.Sprintf("%d cores (%s), %s, commit %s, %s", runtime.NumCPU(), model, runtime.Version(), commit, time.Now().UTC().Format(time.DateOnly))
}

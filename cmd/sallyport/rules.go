package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/corazawaf/coraza-coreruleset/v4/tests"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"sallyport/internal/cores"
	"sallyport/internal/ftw"
	"sallyport/internal/gate"
	"sallyport/internal/gateway"
	"sallyport/rules"
)

func rulesCommand() *cobra.Command {
	return group("rules", "Work with rules: list them, explain one, test them",
		"  sallyport rules explain 942100\n  sallyport rules test -c sallyport.yaml rules/tests\n  sallyport rules test --crs",
		rulesListCommand(), rulesExplainCommand(), rulesTestCommand(), rulesProfileCommand(), rulesBackendCommand())
}

// rulesTest is what rules test was told.
type rulesTest struct {
	src        source
	policy     string
	crs        bool
	asJSON     bool
	exceptions string
	propose    bool
	wire       string
	auditLog   string
	rulesLog   string
}

func rulesTestCommand() *cobra.Command {
	var t rulesTest
	cmd := &cobra.Command{
		Use:   "test [PATH…]",
		Short: "Run rule tests in the FTW YAML format against a policy",
		Long: "Run rule tests against a policy of the configuration, in this process: each request goes through the\n" +
			"strict reader, the rules and a proxy hop, and its record is compared with what the test expects. PATH is\n" +
			"a file or a directory; by default rules/tests beside the configuration.\n\n" +
			"--crs runs the regression suite of the embedded Core Rule Set instead, at paranoia level 4, and compares\n" +
			"the outcome with a reviewed list of exceptions: an unexpected pass is an error too. With --wire the tests\n" +
			"are sent to a gateway that is running already.",
		Example: "  sallyport rules test -c sallyport.yaml --policy default rules/tests\n" +
			"  sallyport rules test --crs --json > crs.json\n" +
			"  sallyport rules test --crs --wire 127.0.0.1:8080 --audit audit.jsonl --rules-log rules.log",
		RunE: t.run,
	}
	t.src.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&t.policy, "policy", "default", "policy to test")
	f.BoolVar(&t.crs, "crs", false, "the regression suite of the embedded Core Rule Set")
	f.BoolVar(&t.asJSON, "json", false, "every result as JSON")
	f.StringVar(&t.exceptions, "exceptions", "", "reviewed list of tests that do not pass (default with --crs: the shipped one)")
	f.BoolVar(&t.propose, "propose-exceptions", false, "print the list as this run would have it")
	f.StringVar(&t.wire, "wire", "", "address of a running gateway; needs --audit and --rules-log")
	f.StringVar(&t.auditLog, "audit", "", "with --wire: the gateway's audit log, written with audit.log: all")
	f.StringVar(&t.rulesLog, "rules-log", "", "with --wire: the gateway's audit.rules_log")
	return cmd
}

func (t *rulesTest) run(cmd *cobra.Command, args []string) error {
	list, ds := t.tests(args)
	if ds.Fatal() {
		return ds
	}
	if len(list) == 0 {
		return errors.New("no tests were found")
	}
	expected, err := t.expected()
	if err != nil {
		return err
	}
	target, err := t.target()
	if err != nil {
		return err
	}
	runner := ftw.Runner{Target: target, Parallel: cores.Number(), Progress: progress(cmd.ErrOrStderr())}
	sum := runner.Run(cmd.Context(), list)
	if err := target.Close(); err != nil {
		fmt.Fprintln(cmd.ErrOrStderr(), "the test gateway was not closed cleanly:", err)
	}
	out := cmd.OutOrStdout()
	switch {
	case t.propose:
		return expected.Write(out, sum)
	case t.asJSON:
		err = printJSON(cmd, sum)
	case !t.crs:
		err = sum.Print(out, isTerminal(out))
	}
	if err != nil {
		return err
	}
	review := expected.Review(sum)
	if !t.asJSON && t.crs {
		for _, d := range review {
			fmt.Fprintln(out, d)
		}
		fmt.Fprintf(out, "%d tests, %d passed, %d refused earlier by name, %d failed, %d skipped, %.2f %% in order; %d differ from the reviewed list; %s\n",
			sum.Total, sum.Passed, sum.Refused, sum.Failed, sum.Skipped, 100*sum.Share(), len(review), sum.Took.Round(time.Millisecond))
	}
	if len(review) > 0 {
		return errFound
	}
	return nil
}

// tests loads what is to be run.
func (t *rulesTest) tests(args []string) ([]*ftw.Test, gate.Diagnostics) {
	if t.crs {
		return ftw.LoadFS(tests.FS)
	}
	if len(args) == 0 {
		args = []string{filepath.Join(filepath.Dir(t.src.file), "rules", "tests")}
	}
	return ftw.Load(args)
}

// expected loads the reviewed list; without one every test has to pass.
func (t *rulesTest) expected() (*ftw.Exceptions, error) {
	name, src := t.exceptions, []byte("exceptions: []\n")
	var err error
	switch {
	case name != "":
		src, err = os.ReadFile(name) //nolint:gosec // the operator names the file
	case t.crs:
		name, src = "rules/crs/exceptions.yaml", rules.CRSExceptions
	}
	if err != nil {
		return nil, err
	}
	e, ds := ftw.ParseExceptions(name, src)
	if ds.Fatal() && !t.propose {
		return nil, ds
	}
	if t.wire == "" {
		e.InProcess()
	}
	return e, nil
}

// closer is a target that is to be closed after the run.
type closer interface {
	ftw.Target
	Close() error
}

// target opens what the tests are sent to.
func (t *rulesTest) target() (closer, error) {
	switch {
	case t.wire != "":
		if t.auditLog == "" || t.rulesLog == "" {
			return nil, usagef("--wire needs --audit and --rules-log")
		}
		return ftw.OpenWire(t.wire, t.auditLog, t.rulesLog)
	case t.crs:
		return gateway.RehearseCRS(ftw.CRSSetup, ftw.Backend())
	}
	if err := t.src.judge(); err != nil {
		return nil, err
	}
	cfg, ds := t.src.load()
	if ds.Fatal() {
		return nil, ds
	}
	if _, err := policyNamed(cfg, t.policy); err != nil {
		return nil, err
	}
	return gateway.Rehearse(cfg, t.policy, ftw.Backend())
}

// rulesBackendCommand runs the server that the Core Rule Set's tests expect
// behind the gateway, for --wire.
func rulesBackendCommand() *cobra.Command {
	var listen string
	cmd := &cobra.Command{
		Use:     "backend",
		Short:   "Run the backend that rule tests expect, for rules test --wire",
		Example: "  sallyport rules backend --listen 127.0.0.1:8081",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			socket, err := (&net.ListenConfig{}).Listen(cmd.Context(), "tcp", listen)
			if err != nil {
				return err
			}
			srv := &http.Server{Handler: ftw.Backend(), ReadHeaderTimeout: 10 * time.Second}
			fmt.Fprintln(cmd.OutOrStdout(), "listening on", socket.Addr())
			failed := make(chan error, 1)
			go func() { failed <- srv.Serve(socket) }()
			select {
			case err := <-failed:
				return err
			case <-cmd.Context().Done():
				return srv.Close()
			}
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:8081", "where to listen")
	return cmd
}

// progress shows how far a long run has come, on a terminal only.
func progress(w io.Writer) func(done, total int) {
	if !isTerminal(w) {
		return nil
	}
	return func(done, total int) {
		if done%50 == 0 || done == total {
			fmt.Fprintf(w, "\r%d of %d", done, total)
		}
		if done == total {
			fmt.Fprint(w, "\r\x1b[K")
		}
	}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Command sallyport is a gateway that stands in front of web applications:
// strict HTTP, geo rules, budgets per client, the OWASP Core Rule Set, a pool
// of backends that nobody outside can see, and one audit record per decision.
// This package holds the commands, their flags and exit codes, and no logic.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"sallyport/internal/gate"
)

// Exit codes.
const (
	exitFine     = 0
	exitProblems = 1 // the command ran and found problems, or failed
	exitUsage    = 2 // the command line was wrong
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run executes one command line and returns its exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := rootCommand()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	switch {
	case err == nil:
		return exitFine
	case errors.Is(err, errFound):
		return exitProblems // what was found has been printed
	}
	if ds, ok := errors.AsType[gate.Diagnostics](err); ok {
		fmt.Fprintln(stderr, ds.Error())
		return exitProblems
	}
	fmt.Fprintf(stderr, "sallyport: %v\n", err)
	if _, ok := errors.AsType[usageError](err); ok || !cmd.HasParent() {
		fmt.Fprintf(stderr, "See '%s --help'.\n", cmd.CommandPath())
		return exitUsage
	}
	return exitProblems
}

// errFound ends a command that found problems and has printed them.
var errFound = errors.New("problems were found")

// usageError is a mistake on the command line.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "sallyport",
		Short: "A gateway that protects web applications",
		Long: "Sallyport stands in front of web applications: it reads HTTP strictly, knows who is calling and from\n" +
			"where, holds every caller to a budget, runs the OWASP Core Rule Set, hides the backends, and writes down\n" +
			"each decision.",
		Example: "  sallyport demo                                        # see it at work on loopback\n" +
			"  sallyport serve --upstream http://127.0.0.1:3000      # protect one application, no file needed\n" +
			"  sallyport init gateway && sallyport serve -c gateway/sallyport.yaml",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          noArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(serveCommand(), checkCommand(), configCommand(), initCommand(), rulesCommand(), auditCommand(), selftestCommand(),
		bansCommand(), poolsCommand(), geoCommand(), maskCommand(), demoCommand(), versionCommand())
	return root
}

// noArgs refuses arguments of a command that takes none; an unknown
// sub-command is one.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if cmd.HasSubCommands() {
		cmd.SuggestionsMinimumDistance = 2
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			return usagef("unknown command %q; did you mean %q?", args[0], near[0])
		}
		return usagef("unknown command %q", args[0])
	}
	return usagef("%s takes no arguments, got %q", cmd.CommandPath(), args[0])
}

// exactArgs wants n arguments, named in the message.
func exactArgs(n int, names string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != n {
			return usagef("%s needs %s", cmd.CommandPath(), names)
		}
		return nil
	}
}

// atMostOne allows one argument, named in the message.
func atMostOne(name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > 1 {
			return usagef("%s takes %s, got %q too", cmd.CommandPath(), name, args[1])
		}
		return nil
	}
}

// group is a command that only holds others.
func group(use, short, example string, subs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Example: example, Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(subs...)
	return cmd
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"

	"github.com/spf13/cobra"

	"sallyport/internal/config"
	"sallyport/internal/demo"
	"sallyport/internal/gate"
	"sallyport/internal/server"
)

func demoCommand() *cobra.Command {
	var listen, admin string
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "See the gateway at work: a small leaky web app behind it, on loopback",
		Long: "Start a small web app that is worth attacking, with two instances, and the gateway in front of it. Prints\n" +
			"things to try with what each should show, and each decision as a line. Everything listens on loopback,\n" +
			"nothing outlives the demo.",
		Example: "  sallyport demo\n  sallyport demo --listen 127.0.0.1:9000",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runDemo(cmd.Context(), listen, admin, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:8080", "where the gateway listens; loopback only")
	cmd.Flags().StringVar(&admin, "admin", "127.0.0.1:9090", "where the admin endpoint listens")
	return cmd
}

func runDemo(ctx context.Context, listen, admin string, out, stderr io.Writer) (err error) {
	for flag, address := range map[string]string{"--listen": listen, "--admin": admin} {
		if !onLoopback(address) {
			return usagef("%s %s is not on loopback; the demo is worth attacking and stays on this machine", flag, address)
		}
	}
	dir, err := os.MkdirTemp("", "sallyport-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	app, err := demo.Start(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, app.Close()) }()
	country, asn, err := demo.WriteDatabases(dir)
	if err != nil {
		return err
	}
	auditLog := filepath.Join(dir, "audit.jsonl")
	file := filepath.Join(dir, "sallyport.yaml")
	text := demo.Config(demo.Settings{
		Listen: listen, Admin: admin, Backends: app.Backends(), Country: country, ASN: asn,
		Audit: auditLog, State: filepath.Join(dir, "state"),
	})
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	var records sync.WaitGroup
	records.Go(func() {
		if err := printRecords(ctx, out, auditLog); err != nil {
			fmt.Fprintln(stderr, "the records cannot be shown:", err)
		}
	})
	defer func() { stop(); records.Wait() }()
	load := func() (*config.Config, gate.Diagnostics) {
		cfg, ds := config.Load(file)
		if cfg != nil {
			cfg.Log.Level = "warn" // the records tell the story
		}
		return cfg, ds
	}
	return serve(ctx, load, stderr, func(*server.Server) {
		introduce(out, listen, admin, app.Backends()[0], auditLog)
	})
}

// onLoopback reports whether an address can be reached from this machine only.
func onLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	ip := net.ParseIP(host)
	return err == nil && (host == "localhost" || ip != nil && ip.IsLoopback())
}

// named writes an address of this machine by its name: the rules take a Host
// that is an address for the work of a scanner, which it mostly is.
func named(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "::1" {
		return address
	}
	return net.JoinHostPort("localhost", port)
}

// introduce prints what to try.
func introduce(out io.Writer, listen, admin, backend, auditLog string) {
	bold, plain := "", ""
	if isTerminal(out) && os.Getenv("NO_COLOR") == "" {
		bold, plain = "\x1b[1m", "\x1b[0m"
	}
	fmt.Fprintf(out, "%sSallyport stands in front of a small shop: http://%s%s\n\nIn another terminal, try:\n", bold, named(listen), plain)
	tries := demo.Tries(demo.Addresses{Gateway: "http://" + named(listen), Admin: "http://" + admin, Backend: backend})
	for i, t := range tries {
		fmt.Fprintf(out, "\n%s%2d. %s%s\n    %s\n    → %s\n", bold, i+1, t.Title, plain, t.Command, t.Expect)
	}
	fmt.Fprintf(out, "\nThe audit log is %s; one request in full: sallyport audit show ID --file %s\nEnd with Ctrl-C. Decisions as they happen:\n\n", auditLog, auditLog)
}

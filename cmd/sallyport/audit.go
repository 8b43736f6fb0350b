package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"sallyport/internal/audit"
	"sallyport/internal/gate"
)

func auditCommand() *cobra.Command {
	return group("audit", "Read the audit log",
		"  sallyport audit tail audit.jsonl --action refuse\n  sallyport audit show 019a3b1c-5b7e-7d3e-9c55-0b5c8f7f2a10 --file audit.jsonl",
		auditTailCommand(), auditShowCommand())
}

// colours says whether to colour what goes to w.
type colours struct{ when string }

func (c *colours) flag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&c.when, "color", "auto", "auto, always or never")
}

func (c *colours) on(w io.Writer) (bool, error) {
	switch c.when {
	case "always":
		return true, nil
	case "never":
		return false, nil
	case "auto":
		return isTerminal(w) && os.Getenv("NO_COLOR") == "", nil
	}
	return false, usagef("--color is auto, always or never, not %q", c.when)
}

func auditTailCommand() *cobra.Command {
	var q audit.Query
	var col colours
	var last int
	var follow, asJSON bool
	cmd := &cobra.Command{
		Use:   "tail [FILE]",
		Short: "Follow the audit log, one readable line per record",
		Long: "Follow an audit log through rotations, one readable line per record. FILE is audit.jsonl by default; - reads\n" +
			"standard input to its end. Values of one flag are alternatives, different flags must all hold.",
		Example: "  sallyport audit tail /var/log/sallyport/audit.jsonl\n" +
			"  sallyport audit tail audit.jsonl --action refuse,observe --stage waf --client 203.0.113.0/24\n" +
			"  sallyport serve -c sallyport.yaml | sallyport audit tail -",
		Args: atMostOne("one file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			name := "audit.jsonl"
			if len(args) == 1 {
				name = args[0]
			}
			filter, err := q.Filter()
			if err != nil {
				return usageError{err}
			}
			out, stderr := cmd.OutOrStdout(), cmd.ErrOrStderr()
			colour, err := col.on(out)
			if err != nil {
				return err
			}
			print := func(e audit.Entry) error {
				switch {
				case e.Err != nil:
					_, err := fmt.Fprintln(stderr, e.Err)
					return err
				case !filter.Wants(&e.Record):
					return nil
				case asJSON:
					_, err := fmt.Fprintf(out, "%s\n", e.Raw)
					return err
				}
				_, err := fmt.Fprintln(out, audit.Line(&e.Record, colour))
				return err
			}
			switch {
			case name == "-":
				return audit.Read(cmd.InOrStdin(), print)
			case follow:
				return audit.Follow(cmd.Context(), name, last, print)
			}
			return audit.Last(name, last, print)
		},
	}
	f := cmd.Flags()
	f.IntVarP(&last, "lines", "n", 20, "how many of the last lines to begin with, before filtering")
	f.BoolVarP(&follow, "follow", "f", true, "go on with what is added; --follow=false ends after the last line")
	f.BoolVar(&asJSON, "json", false, "the records as they are in the file")
	f.StringSliceVar(&q.Action, "action", nil, "pass, observe, refuse or fail")
	f.StringSliceVar(&q.Stage, "stage", nil, "http, client, route, geo, limit, waf, pool, mask or gateway")
	f.StringSliceVar(&q.Reason, "reason", nil, "reason, as waf.inbound_score")
	f.StringSliceVar(&q.Client, "client", nil, "address, prefix or country")
	f.StringSliceVar(&q.Route, "route", nil, "name of the route")
	f.StringSliceVar(&q.Status, "status", nil, "status, as 403, 4xx or 400-403")
	f.StringSliceVar(&q.Rule, "rule", nil, "id of a rule that matched, or a range")
	col.flag(cmd)
	return cmd
}

func auditShowCommand() *cobra.Command {
	var file string
	var asJSON bool
	var col colours
	cmd := &cobra.Command{
		Use:     "show ID",
		Short:   "Show one request with the matched bytes marked",
		Long:    "Show everything that was recorded about one request, by the id that its answer carried as X-Request-Id.",
		Example: "  sallyport audit show 019a3b1c-5b7e-7d3e-9c55-0b5c8f7f2a10 --file audit.jsonl",
		Args:    exactArgs(1, "the id of a request, the X-Request-Id of its answer"),
		RunE: func(cmd *cobra.Command, args []string) error {
			found, err := audit.Find(file, args[0])
			if errors.Is(err, audit.ErrNotFound) {
				return fmt.Errorf("%s: %w %s; a rotated file is named with --file", file, err, args[0])
			}
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			colour, err := col.on(out)
			if err != nil {
				return err
			}
			for _, e := range found {
				if asJSON {
					if _, err := fmt.Fprintf(out, "%s\n", e.Raw); err != nil {
						return err
					}
					continue
				}
				if err := audit.Show(out, &e.Record, colour); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&file, "file", "audit.jsonl", "audit log to look in")
	cmd.Flags().BoolVar(&asJSON, "json", false, "the record as it is in the file")
	col.flag(cmd)
	return cmd
}

// printRecords prints the audit log, as it grows, of a gateway that this process runs.
func printRecords(ctx context.Context, out io.Writer, file string) error {
	colour := isTerminal(out) && os.Getenv("NO_COLOR") == ""
	return audit.Follow(ctx, file, 0, func(e audit.Entry) error {
		if e.Err != nil || quiet(&e.Record) {
			return nil
		}
		_, err := fmt.Fprintln(out, audit.Line(&e.Record, colour))
		return err
	})
}

// quiet leaves out connections that a browser opened and never used.
func quiet(r *gate.Record) bool { return r.Reason == gate.HTTPNoHead }

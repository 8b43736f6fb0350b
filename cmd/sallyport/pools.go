package main

import (
	"context"
	"fmt"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"sallyport/internal/audit"
	"sallyport/proxy"
)

func poolsCommand() *cobra.Command {
	return group("pools", "See the backends, and change what they get while the gateway runs",
		"  sallyport pools list -c sallyport.yaml\n"+
			"  sallyport pools drain app app-2 -c sallyport.yaml\n"+
			"  sallyport pools set-weight app app-1 5 -c sallyport.yaml",
		poolsListCommand(), poolsWeightCommand(), poolsDrainCommand(), poolsUndrainCommand())
}

func poolsListCommand() *cobra.Command {
	var gw live
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "Every backend: its state, its weight, and what it has to do",
		Example: "  sallyport pools list -c sallyport.yaml",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := gw.client()
			if err != nil {
				return err
			}
			var pools []proxy.PoolStatus
			if err := c.Get(cmd.Context(), "/pools", &pools); err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd, pools)
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "POOL\tBACKEND\tSTATE\tFOR\tWEIGHT\tIN FLIGHT\tLATENCY\tREQUESTS\tFAILURES\tURL")
			for _, p := range pools {
				for _, b := range p.Backends {
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\t%s\t%d\t%d\t%s\n", audit.Printable(p.Name), audit.Printable(b.Name), backendState(b),
						time.Since(b.Since).Round(time.Second), backendWeight(b), b.InFlight, backendLatency(b), b.Requests, b.Failures, audit.Printable(b.URL))
				}
			}
			if err := w.Flush(); err != nil {
				return err
			}
			for _, p := range pools {
				if p.Queue.Waiting > 0 {
					fmt.Fprintf(cmd.OutOrStdout(), "%s: %d of at most %d requests wait for a backend with room\n", audit.Printable(p.Name), p.Queue.Waiting, p.Queue.Length)
				}
			}
			return nil
		},
	}
	gw.flag(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "a JSON array")
	return cmd
}

// backendState puts what a backend gets into words.
func backendState(b proxy.BackendStatus) string {
	words := audit.Printable(b.State)
	switch {
	case b.Draining:
		words += ", draining"
	case b.SlowStart > 0:
		words += fmt.Sprintf(", starting (%d%%)", b.SlowStart)
	}
	if b.Backup {
		words += ", backup"
	}
	return words
}

func backendWeight(b proxy.BackendStatus) string {
	if b.Configured > 0 {
		return fmt.Sprintf("%d (file: %d)", b.Weight, b.Configured)
	}
	return strconv.Itoa(b.Weight)
}

func backendLatency(b proxy.BackendStatus) string {
	if b.Latency == 0 {
		return "-"
	}
	return strconv.FormatFloat(b.Latency, 'f', 1, 64) + "ms"
}

// changePool asks for a change of one backend and returns its state after it.
func (g *live) changePool(ctx context.Context, what string, args []string, more map[string]any) (proxy.BackendStatus, error) {
	c, err := g.client()
	if err != nil {
		return proxy.BackendStatus{}, err
	}
	change := map[string]any{"pool": args[0], "backend": args[1]}
	for key, value := range more {
		change[key] = value
	}
	var answer struct{ Backend proxy.BackendStatus }
	err = c.Post(ctx, "/pools", map[string]any{what: change}, &answer)
	return answer.Backend, err
}

func poolsWeightCommand() *cobra.Command {
	var gw live
	cmd := &cobra.Command{
		Use:     "set-weight POOL BACKEND WEIGHT",
		Short:   "Give a backend another weight, until the configuration does; 0 takes it out",
		Example: "  sallyport pools set-weight app app-1 5 -c sallyport.yaml",
		Args:    exactArgs(3, "a pool, a backend and a weight"),
		RunE: func(cmd *cobra.Command, args []string) error {
			weight, err := strconv.Atoi(args[2])
			if err != nil {
				return usagef("%q is not a weight", args[2])
			}
			b, err := gw.changePool(cmd.Context(), "set_weight", args, map[string]any{"weight": weight})
			if err == nil {
				fmt.Fprintf(cmd.OutOrStdout(), "%s has the weight %s\n", audit.Printable(b.Name), backendWeight(b))
			}
			return err
		},
	}
	gw.flag(cmd)
	return cmd
}

func poolsDrainCommand() *cobra.Command {
	var gw live
	cmd := &cobra.Command{
		Use:     "drain POOL BACKEND",
		Short:   "Keep new clients from a backend; what it has goes on, and so do clients with a sticky cookie",
		Example: "  sallyport pools drain app app-2 -c sallyport.yaml",
		Args:    exactArgs(2, "a pool and a backend"),
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := gw.changePool(cmd.Context(), "drain", args, nil)
			if err == nil {
				fmt.Fprintf(cmd.OutOrStdout(), "%s gets no new clients; in flight: %d\n", audit.Printable(b.Name), b.InFlight)
			}
			return err
		},
	}
	gw.flag(cmd)
	return cmd
}

func poolsUndrainCommand() *cobra.Command {
	var gw live
	cmd := &cobra.Command{
		Use:     "undrain POOL BACKEND",
		Short:   "Let new clients go to a backend again",
		Example: "  sallyport pools undrain app app-2 -c sallyport.yaml",
		Args:    exactArgs(2, "a pool and a backend"),
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := gw.changePool(cmd.Context(), "undrain", args, nil)
			if err == nil {
				fmt.Fprintf(cmd.OutOrStdout(), "%s gets new clients again; state: %s\n", audit.Printable(b.Name), backendState(b))
			}
			return err
		},
	}
	gw.flag(cmd)
	return cmd
}

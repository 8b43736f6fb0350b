package main

import (
	"context"
	"fmt"
	"net/netip"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"sallyport/internal/audit"
	"sallyport/internal/config"
	"sallyport/internal/server"
	"sallyport/limiter"
)

func bansCommand() *cobra.Command {
	return group("bans", "See and change who is kept out",
		"  sallyport bans list -c sallyport.yaml\n"+
			"  sallyport bans add 203.0.113.7 --for 2h --reason \"scans for backups\" -c sallyport.yaml\n"+
			"  sallyport bans remove 203.0.113.7 -c sallyport.yaml",
		bansListCommand(), bansAddCommand(), bansRemoveCommand())
}

// live is a gateway that runs, as its configuration names it.
type live struct{ file string }

func (g *live) flag(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&g.file, "config", "c", "sallyport.yaml", "configuration file of the gateway, for its admin endpoint and token")
}

// client reads the configuration for the admin endpoint and its token.
func (g *live) client() (*server.AdminClient, error) {
	cfg, ds := config.Load(g.file)
	if ds.Fatal() {
		return nil, ds
	}
	return server.NewAdminClient(cfg.Server.Admin.Address, cfg.Server.Admin.TokenFile)
}

// change asks for a change about one client, which what words.
func (g *live) change(ctx context.Context, who string, what func(netip.Addr) any, answer any) error {
	addr, err := clientAddr(who)
	if err != nil {
		return err
	}
	c, err := g.client()
	if err != nil {
		return err
	}
	return c.Post(ctx, "/bans", what(addr), answer)
}

func bansListCommand() *cobra.Command {
	var gw live
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "Who is kept out, until when, and why",
		Example: "  sallyport bans list -c sallyport.yaml",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := gw.client()
			if err != nil {
				return err
			}
			var bans []limiter.Ban
			if err := c.Get(cmd.Context(), "/bans", &bans); err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd, bans)
			}
			if len(bans) == 0 {
				fmt.Fprintln(cmd.OutOrStdout(), "nobody is banned")
				return nil
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "CLIENT\tUNTIL\tLEFT\tBEFORE\tREASON")
			for _, b := range bans {
				fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\n", banned(b), b.Until.Local().Format(time.DateTime),
					time.Until(b.Until).Round(time.Second), b.Repeats, audit.Printable(b.Reason))
			}
			return w.Flush()
		},
	}
	gw.flag(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "a JSON array")
	return cmd
}

// banned names the client of a ban: an address, or the network that counts as
// one client.
func banned(b limiter.Ban) string {
	if b.Client.IsSingleIP() {
		return b.Client.Addr().String()
	}
	return b.Client.String()
}

func bansAddCommand() *cobra.Command {
	var gw live
	var length time.Duration
	var reason string
	cmd := &cobra.Command{
		Use:     "add ADDR",
		Short:   "Keep a client out for a while; an IPv6 client is its /64",
		Example: "  sallyport bans add 203.0.113.7 --for 2h --reason \"scans for backups\" -c sallyport.yaml",
		Args:    exactArgs(1, "one address"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var answer struct{ Added limiter.Ban }
			err := gw.change(cmd.Context(), args[0], func(addr netip.Addr) any {
				return map[string]any{"add": map[string]any{"client": addr, "for": length.String(), "reason": reason}}
			}, &answer)
			if err == nil {
				fmt.Fprintf(cmd.OutOrStdout(), "%s is banned until %s\n", banned(answer.Added), answer.Added.Until.Local().Format(time.DateTime))
			}
			return err
		},
	}
	gw.flag(cmd)
	cmd.Flags().DurationVar(&length, "for", time.Hour, "how long, 1s to 2160h")
	cmd.Flags().StringVar(&reason, "reason", "", "why, for those who see the list")
	return cmd
}

func bansRemoveCommand() *cobra.Command {
	var gw live
	cmd := &cobra.Command{
		Use:     "remove ADDR",
		Short:   "Let a client in again, and forget what led to its ban",
		Example: "  sallyport bans remove 203.0.113.7 -c sallyport.yaml",
		Args:    exactArgs(1, "one address"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var answer struct{ Removed netip.Addr }
			err := gw.change(cmd.Context(), args[0], func(addr netip.Addr) any {
				return map[string]any{"remove": map[string]any{"client": addr}}
			}, &answer)
			if err == nil {
				fmt.Fprintf(cmd.OutOrStdout(), "%s is no longer banned\n", answer.Removed)
			}
			return err
		},
	}
	gw.flag(cmd)
	return cmd
}

// clientAddr reads the address of a client; a prefix as bans list prints it
// will do.
func clientAddr(s string) (netip.Addr, error) {
	if p, err := netip.ParsePrefix(s); err == nil && limiter.Key(p.Addr()) == p {
		return p.Addr(), nil
	}
	addr, err := netip.ParseAddr(s)
	if err != nil {
		return addr, usagef("%q is not the address of a client", s)
	}
	return addr, nil
}

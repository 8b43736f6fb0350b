package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"sallyport/internal/config"
	"sallyport/internal/gate"
	"sallyport/internal/gateway"
)

func checkCommand() *cobra.Command {
	var src source
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Judge a configuration and everything that it names",
		Long: "Judge everything that serve would open: the file, rules, databases and certificates. All problems are\n" +
			"printed in one run as file:line:col: path: what; hint. Exit code 1 when serve would not start.",
		Example: "  sallyport check -c sallyport.yaml && systemctl reload sallyport",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := src.judge(); err != nil {
				return err
			}
			cfg, ds := src.load()
			var found gateway.Findings
			if !ds.Fatal() {
				found = gateway.Check(cfg)
				ds = append(ds, found.Problems...)
				ds.Sort()
			}
			if asJSON {
				if ds == nil {
					ds = gate.Diagnostics{}
				}
				if err := printJSON(cmd, ds); err != nil {
					return err
				}
			} else {
				for _, d := range ds {
					fmt.Fprintln(cmd.OutOrStdout(), d)
				}
			}
			if ds.Fatal() {
				return errFound
			}
			if !asJSON {
				fmt.Fprintln(cmd.OutOrStdout(), found.Summary)
			}
			return nil
		},
	}
	src.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "the problems as a JSON array")
	return cmd
}

func configCommand() *cobra.Command {
	var src source
	cmd := &cobra.Command{
		Use:     "config",
		Short:   "Print the effective configuration, defaults filled in, secrets out",
		Example: "  sallyport config -c sallyport.yaml\n  sallyport config --upstream http://127.0.0.1:3000 > sallyport.yaml",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := src.judge(); err != nil {
				return err
			}
			cfg, ds := src.load()
			if ds.Fatal() {
				return ds
			}
			return cfg.Print(cmd.OutOrStdout())
		},
	}
	src.flags(cmd)
	return cmd
}

func initCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "init [DIR]",
		Short:   "Write a commented starter configuration and rule files",
		Example: "  sallyport init gateway\n  sallyport check -c gateway/sallyport.yaml",
		Args:    atMostOne("one directory"),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := "."
			if len(args) == 1 {
				dir = args[0]
			}
			files, err := config.WriteStarter(dir)
			for _, f := range files {
				fmt.Fprintln(cmd.OutOrStdout(), "wrote", f)
			}
			return err
		},
	}
}

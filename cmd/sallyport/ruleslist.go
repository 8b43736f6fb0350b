package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"sallyport/internal/audit"
	"sallyport/internal/config"
	"sallyport/internal/gate"
	"sallyport/waf"
)

// ruleSource is the policy whose rules are asked for.
type ruleSource struct {
	src    source
	policy string
	asJSON bool
}

func (s *ruleSource) flags(cmd *cobra.Command) {
	s.src.flags(cmd)
	cmd.Flags().StringVar(&s.policy, "policy", "default", "the policy whose rules they are")
	cmd.Flags().BoolVar(&s.asJSON, "json", false, "as JSON")
}

// load reads the rules of the policy; without a configuration, those that every
// installation begins with.
func (s *ruleSource) load(cmd *cobra.Command) ([]waf.RuleInfo, waf.Policy, error) {
	if s.src.file == "" && s.src.upstream == "" {
		s.src.upstream = "http://127.0.0.1:1" // nobody is asked
	}
	if err := s.src.judge(); err != nil {
		return nil, waf.Policy{}, err
	}
	cfg, ds := s.src.load()
	if ds.Fatal() {
		return nil, waf.Policy{}, ds
	}
	p, err := policyNamed(cfg, s.policy)
	if err != nil {
		return nil, p, err
	}
	if p.Mode == gate.Off {
		return nil, p, fmt.Errorf("policy %s is off and has no rules", s.policy)
	}
	list, found, err := waf.Rules(s.policy, p)
	if err != nil {
		return nil, p, err
	}
	if found.Fatal() {
		return nil, p, found
	}
	for _, d := range append(ds, found...) {
		fmt.Fprintln(cmd.ErrOrStderr(), audit.Printable(d.String()))
	}
	return list, p, nil
}

// policyNamed refuses the name of a policy that is not there.
func policyNamed(cfg *config.Config, name string) (waf.Policy, error) {
	p, ok := cfg.WAF.Policies[name]
	if ok {
		return p, nil
	}
	var names []string
	for n := range cfg.WAF.Policies {
		names = append(names, n)
	}
	slices.Sort(names)
	return p, usagef("there is no policy %q, only %s", name, strings.Join(names, ", "))
}

func rulesListCommand() *cobra.Command {
	var s ruleSource
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the rules of a policy and where they come from",
		Long: "List the rules of a policy in the order in which they are loaded: id, phase, paranoia level, severity,\n" +
			"file and line, message. A rule that something removes, changes or excludes, or that keeps\n" +
			"requests from being proven, says so below. Without a\n" +
			"configuration, the rules are those that every installation begins with.",
		Example: "  sallyport rules list -c sallyport.yaml --policy strict | less\n" +
			"  sallyport rules list --json | jq -r '.[] | select(.phase == 4) | .id'",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, p, err := s.load(cmd)
			if err != nil {
				return err
			}
			if s.asJSON {
				return printJSON(cmd, list)
			}
			return printRules(cmd, list, p)
		},
	}
	s.flags(cmd)
	return cmd
}

func printRules(cmd *cobra.Command, list []waf.RuleInfo, p waf.Policy) error {
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tPHASE\tLEVEL\tSEVERITY\tWHERE\tMESSAGE")
	for _, r := range list {
		level := "-"
		if r.Paranoia > 0 {
			level = strconv.Itoa(r.Paranoia)
			if r.Paranoia > max(p.Paranoia, p.DetectionParanoia) {
				level += " off"
			}
		}
		severity := r.Severity
		if severity == "" {
			severity = "-"
		}
		row := func(cells ...string) {
			for i := range cells {
				cells[i] = audit.Printable(cells[i])
			}
			fmt.Fprintln(w, strings.Join(cells, "\t"))
		}
		row(strconv.Itoa(r.ID), strconv.Itoa(r.Phase), level, severity, fmt.Sprintf("%s:%d", r.File, r.Line), r.Message)
		if r.Removed != "" {
			row("", "", "", "", "", "removed by "+r.Removed)
		}
		for _, at := range r.Changed {
			row("", "", "", "", "", "changed by "+at)
		}
		for _, x := range r.Excluded {
			row("", "", "", "", "", "excluded by "+x)
		}
		if r.Unproven != "" {
			row("", "", "", "", "", "keeps requests from being proven: "+r.Unproven)
		}
	}
	return w.Flush()
}

func rulesExplainCommand() *cobra.Command {
	var s ruleSource
	cmd := &cobra.Command{
		Use:   "explain ID",
		Short: "Tell in words what one rule does, and how to let one thing past it",
		Long: "Tell what a rule looks at, how it decodes it, when it matches and what comes of it under a policy, with an\n" +
			"exclusion to begin with and the text of the rule. Without a configuration, the rules are those that every\n" +
			"installation begins with.",
		Example: "  sallyport rules explain 942100\n" +
			"  sallyport rules explain 920420 -c sallyport.yaml --policy strict --json",
		Args: exactArgs(1, "the id of a rule"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := strconv.Atoi(args[0])
			if err != nil {
				return usagef("%q is not the id of a rule, as 942100", args[0])
			}
			list, p, err := s.load(cmd)
			if err != nil {
				return err
			}
			i := slices.IndexFunc(list, func(r waf.RuleInfo) bool { return r.ID == id })
			if i < 0 {
				return fmt.Errorf("policy %s has no rule %d; sallyport rules list shows those that it has", s.policy, id)
			}
			if s.asJSON {
				return printJSON(cmd, list[i])
			}
			for line := range strings.Lines(list[i].Explain(s.policy, p)) {
				fmt.Fprintln(cmd.OutOrStdout(), audit.Printable(strings.TrimSuffix(line, "\n")))
			}
			return nil
		},
	}
	s.flags(cmd)
	return cmd
}

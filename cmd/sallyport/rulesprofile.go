package main

import (
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/spf13/cobra"

	"sallyport/rules"
)

func rulesProfileCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "profile [NAME]",
		Short: "Print the exclusions that an application needs",
		Long: "Print the rule file of an application that sends what the Core Rule Set takes for attacks: narrow\n" +
			"exclusions, each with its reason. Write it beside your rules, name it in rules_before of the policy that\n" +
			"the application's route has, and edit it. Without a name, the profiles are listed.",
		Example: "  sallyport rules profile\n  sallyport rules profile wordpress > rules/wordpress.conf",
		Args:    atMostOne("one profile"),
		RunE: func(cmd *cobra.Command, args []string) error {
			names, err := profiles()
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			if len(args) == 0 {
				for _, name := range names {
					fmt.Fprintln(out, name)
				}
				return nil
			}
			src, err := fs.ReadFile(rules.Profiles, "profiles/"+args[0]+".conf")
			if err != nil {
				return fmt.Errorf("no profile %q; there are: %s", args[0], strings.Join(names, ", "))
			}
			_, err = out.Write(src)
			return err
		},
	}
}

// profiles lists the shipped profiles.
func profiles() ([]string, error) {
	files, err := fs.Glob(rules.Profiles, "profiles/*.conf")
	for i, f := range files {
		files[i] = strings.TrimSuffix(path.Base(f), ".conf")
	}
	return files, err
}

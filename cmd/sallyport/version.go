package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is the release; a build may set it with -ldflags "-X main.version=…".
var version = "0.1.0"

// build is what version prints.
type build struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
	Go      string `json:"go"`
	Coraza  string `json:"coraza"`
	CRS     string `json:"crs"`
}

func buildFacts() build {
	b := build{Version: version, Commit: "unknown", Go: runtime.Version(), Coraza: "unknown", CRS: "unknown"}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	dirty := false
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value
		case "vcs.modified":
			dirty = s.Value == "true"
		}
	}
	if dirty {
		b.Commit += "+changes"
	}
	for _, m := range info.Deps {
		switch m.Path {
		case "github.com/corazawaf/coraza/v3":
			b.Coraza = m.Version
		case "github.com/corazawaf/coraza-coreruleset/v4":
			b.CRS = m.Version
		}
	}
	return b
}

func versionCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print the versions of the gateway and of what is inside it",
		Example: "  sallyport version --json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			b := buildFacts()
			if asJSON {
				return printJSON(cmd, b)
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "sallyport %s\ncommit    %s\ngo        %s\ncoraza    %s\ncrs       %s\n", b.Version, b.Commit, b.Go, b.Coraza, b.CRS)
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return cmd
}

func printJSON(cmd *cobra.Command, v any) error {
	enc := json.NewEncoder(cmd.OutOrStdout())
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

package main

import (
	"fmt"
	"io"
	"net"
	"net/url"

	"github.com/spf13/cobra"

	"sallyport/internal/audit"
	"sallyport/internal/config"
	"sallyport/internal/unmask"
	"sallyport/proxy"
)

func maskCommand() *cobra.Command {
	return group("mask", "Find out what answers tell about the backends",
		"  sallyport mask check https://shop.example.org/ -c sallyport.yaml", maskCheckCommand())
}

// maskCheck is what mask check was told.
type maskCheck struct {
	file, connect    string
	insecure, asJSON bool
}

func maskCheckCommand() *cobra.Command {
	var m maskCheck
	cmd := &cobra.Command{
		Use:   "check URL",
		Short: "Ask a running site and tell what would reveal its origin",
		Long: "Ask a running site eight or nine harmless questions (the page, one that is not there, a malformed path, an\n" +
			"unknown host, no host at all …) and tell what the answers give away: fields that name software and machines,\n" +
			"cookies of load balancers, private addresses, internal names, versions under error pages. With -c, also the\n" +
			"names and addresses of the configuration's backends. No redirect is followed.\n\n" +
			"Ask the gateway to see what outsiders see; with --connect, ask a backend past it under the same name to see\n" +
			"what the gateway hides. Exit code 1: something was found, or the site does not answer.",
		Example: "  sallyport mask check https://shop.example.org/ -c sallyport.yaml      # through the gateway\n" +
			"  sallyport mask check http://shop.example.org/ --connect 10.0.0.11:8080 # past it\n" +
			"  sallyport mask check https://localhost:8443/ --insecure --json",
		Args: exactArgs(1, "a URL"),
		RunE: m.run,
	}
	f := cmd.Flags()
	f.StringVarP(&m.file, "config", "c", "", "configuration whose backends are looked for")
	f.StringVar(&m.connect, "connect", "", "host:port to connect to in place of the URL's")
	f.BoolVar(&m.insecure, "insecure", false, "do not verify the certificate")
	f.BoolVar(&m.asJSON, "json", false, "as JSON")
	return cmd
}

func (m *maskCheck) run(cmd *cobra.Command, args []string) error {
	site, err := url.Parse(args[0])
	if err != nil || site.Scheme != "http" && site.Scheme != "https" || site.Hostname() == "" || site.User != nil {
		return usagef("%q is not a URL as https://shop.example.org/", args[0])
	}
	if _, _, err := net.SplitHostPort(m.connect); m.connect != "" && err != nil {
		return usagef("--connect %q is not host:port", m.connect)
	}
	opt := unmask.Options{Connect: m.connect, Insecure: m.insecure}
	if m.file != "" {
		cfg, ds := config.Load(m.file)
		if ds.Fatal() {
			return ds
		}
		opt.Backends = proxy.NewSearcher(cfg.Proxy)
	}
	rep, err := unmask.Ask(cmd.Context(), site, opt)
	if err != nil {
		return err
	}
	if m.asJSON {
		err = printJSON(cmd, rep)
	} else {
		printReport(cmd.OutOrStdout(), rep)
	}
	if err == nil && rep.Found > 0 {
		return errFound
	}
	return err
}

// printReport prints each thing where it is found first.
func printReport(w io.Writer, rep *unmask.Report) {
	seen := map[unmask.Thing]bool{}
	for _, q := range rep.Questions {
		status := fmt.Sprint(q.Status)
		if q.Status == 0 {
			status = "---"
		}
		fmt.Fprintf(w, "%s  %-30s %s\n", status, q.Name, audit.Printable(q.Request))
		if q.Problem != "" {
			fmt.Fprintf(w, "       no whole answer: %s\n", audit.Printable(q.Problem))
		}
		again := 0
		for _, t := range q.Found {
			if seen[t] {
				again++
				continue
			}
			seen[t] = true
			fmt.Fprintf(w, "       %-9s %s: %s\n", t.Kind, audit.Printable(t.Where), audit.Printable(t.What))
		}
		if again > 0 {
			fmt.Fprintf(w, "       and %d of the above\n", again)
		}
	}
	switch len(seen) {
	case 0:
		fmt.Fprintln(w, "nothing found")
	case 1:
		fmt.Fprintln(w, "1 thing found")
	default:
		fmt.Fprintf(w, "%d things found\n", len(seen))
	}
}

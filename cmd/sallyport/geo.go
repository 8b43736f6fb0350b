package main

import (
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"sallyport/internal/config"
	"sallyport/internal/gate"
	"sallyport/internal/geo"
	"sallyport/proxy"
)

func geoCommand() *cobra.Command {
	return group("geo", "Ask what the geo rules make of addresses",
		"  sallyport geo lookup 203.0.113.7 -c sallyport.yaml", geoLookupCommand())
}

// geoLookup is what geo lookup was told.
type geoLookup struct {
	src    source
	route  string
	asJSON bool
}

func geoLookupCommand() *cobra.Command {
	var g geoLookup
	cmd := &cobra.Command{
		Use:   "lookup ADDR…",
		Short: "Tell what the databases and rules say about an address, and why",
		Long: "Tell where the databases put each address, and what the geo rules and lists of the configuration decide\n" +
			"about it: which entry of which key or file, at which level. The files are read as they are now; a gateway\n" +
			"that runs may still hold an older version, which GET /status tells. Exempt paths are not looked at.\n" +
			"The exit code is 0 whatever is decided.",
		Example: "  sallyport geo lookup 203.0.113.7 2001:db8::1 -c sallyport.yaml\n" +
			"  sallyport geo lookup 203.0.113.7 -c sallyport.yaml --route shop --json",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("%s needs an address", cmd.CommandPath())
			}
			return nil
		},
		RunE: g.run,
	}
	g.src.flags(cmd)
	cmd.Flags().StringVar(&g.route, "route", "", "ask the rules of this route too")
	cmd.Flags().BoolVar(&g.asJSON, "json", false, "as JSON")
	return cmd
}

func (g *geoLookup) run(cmd *cobra.Command, args []string) error {
	addrs := make([]netip.Addr, len(args))
	for i, text := range args {
		var err error
		if addrs[i], err = netip.ParseAddr(text); err != nil {
			return usagef("%q is not an address, as 203.0.113.7 or 2001:db8::1", text)
		}
	}
	if err := g.src.judge(); err != nil {
		return err
	}
	cfg, ds := g.src.load()
	if ds.Fatal() {
		return ds
	}
	if err := hasRoute(cfg, g.route); err != nil {
		return err
	}
	if cfg.Geo.Mode == gate.Off {
		return usagef("geo.mode is off: nobody looks")
	}
	filter, err := geo.Open(cfg.Geo, zap.NewNop())
	if err != nil {
		return err
	}
	found := make([]located, len(addrs))
	for i, addr := range addrs {
		found[i] = newLocated(filter.Explain(addr, g.route), cfg.Geo.Mode)
	}
	if err := filter.Close(); err != nil {
		return err
	}
	if g.asJSON {
		return printJSON(cmd, found)
	}
	for i, l := range found {
		if i > 0 {
			fmt.Fprintln(cmd.OutOrStdout())
		}
		l.print(cmd.OutOrStdout(), filter.Databases())
	}
	return nil
}

// hasRoute refuses the name of a route that is not there.
func hasRoute(cfg *config.Config, name string) error {
	if name == "" || slices.ContainsFunc(cfg.Proxy.Routes, func(r proxy.RouteConfig) bool { return r.Route.Name == name }) {
		return nil
	}
	names := make([]string, len(cfg.Proxy.Routes))
	for i, r := range cfg.Proxy.Routes {
		names[i] = r.Route.Name
	}
	return usagef("there is no route %q, only %s", name, strings.Join(names, ", "))
}

// located is what geo lookup prints of one address.
type located struct {
	Address   string         `json:"address"`
	Class     string         `json:"class"` // private, unknown or known
	Country   string         `json:"country,omitempty"`
	Continent string         `json:"continent,omitempty"`
	ASN       uint32         `json:"asn,omitempty"`
	Problem   string         `json:"problem,omitempty"`
	Mode      gate.Mode      `json:"mode"`
	Action    string         `json:"action"` // pass, observe or refuse
	Reason    gate.Reason    `json:"reason"`
	Rules     []locatedRules `json:"rules"`
}

// locatedRules is what one set of rules says.
type locatedRules struct {
	Rules  string      `json:"rules"`
	Action string      `json:"action"` // pass or refuse
	Reason gate.Reason `json:"reason"`
	Why    string      `json:"why"`
}

func newLocated(a geo.Answer, mode gate.Mode) located {
	l := located{
		Address: a.Address.String(), Class: "known", Country: a.Place.Country, Continent: a.Place.Continent, ASN: a.Place.ASN,
		Problem: a.Problem, Mode: mode, Action: gate.Pass.String(), Reason: a.Refused(),
	}
	switch {
	case a.Private:
		l.Class = string(geo.Private)
	case l.Country == "":
		l.Class = string(geo.Unknown)
	}
	if l.Reason != "" {
		l.Action = gate.Refusal(l.Reason, mode, "").Action.String()
	}
	for _, f := range a.Findings {
		action := gate.Pass
		if f.Reason != "" {
			action = gate.Refuse
		}
		l.Rules = append(l.Rules, locatedRules{f.Rules, action.String(), f.Reason, f.Why})
	}
	return l
}

func (l located) print(w io.Writer, databases []geo.Database) {
	fmt.Fprintln(w, l.Address)
	row := func(name, text string) { fmt.Fprintf(w, "  %-10s %s\n", name, text) }
	row("class", l.Class)
	row("country", orUnknown(l.Country))
	row("continent", orUnknown(l.Continent))
	asn := ""
	if l.ASN != 0 {
		asn = geo.Rule{ASN: l.ASN}.String()
	}
	row("network", orUnknown(asn))
	for _, d := range databases {
		old := ""
		if d.Old {
			old = ", which is old"
		}
		row("by", fmt.Sprintf("%s, %s of %s%s", d.Path, d.Type, d.Built.UTC().Format("2006-01-02"), old))
	}
	if l.Problem != "" {
		row("problem", l.Problem)
	}
	for _, r := range l.Rules {
		row(r.Action, fmt.Sprintf("by %s: %s", r.Rules, withReason(r.Why, r.Reason)))
	}
	row("verdict", withReason(l.Action, l.Reason))
}

func withReason(text string, r gate.Reason) string {
	if r == "" {
		return text
	}
	return fmt.Sprintf("%s (%s)", text, r)
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

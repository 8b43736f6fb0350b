package gateway

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"sallyport/internal/client"
	"sallyport/internal/config"
	"sallyport/internal/gate"
	"sallyport/internal/geo"
	"sallyport/proxy"
	"sallyport/waf"
)

// Findings is what Check has to say.
type Findings struct {
	Problems gate.Diagnostics
	// Summary is a few lines about what would run, for people.
	Summary string
}

// Check opens everything that a generation would open, but for sockets and
// backends, and closes it again. It leaves nothing behind.
func Check(cfg *config.Config) Findings {
	var f Findings
	log := zap.NewNop()
	if _, err := client.New(cfg.Client); err != nil {
		f.add(cfg, "clients", err)
	}
	if filter, err := geo.Open(cfg.Geo, log); err != nil {
		f.add(cfg, "geo", err)
	} else {
		f.ages(cfg, filter.Databases())
		f.add(cfg, "geo", filter.Close())
	}
	if err := proxy.Check(cfg.Proxy); err != nil {
		f.add(cfg, "pools", err)
	}
	var policies map[string]waf.PolicyInfo
	if engine, err := waf.New(cfg.WAF, log); err != nil {
		f.add(cfg, "policies", err)
	} else {
		policies = engine.Policies()
		f.Problems = append(f.Problems, engine.Warnings()...)
		f.add(cfg, "policies", engine.Close())
	}
	f.Summary = summary(cfg, policies)
	return f
}

// ages warns of databases that are old.
func (f *Findings) ages(cfg *config.Config, databases []geo.Database) {
	for _, b := range databases {
		if b.Old {
			d := cfg.At("geo." + b.Kind)
			d.What, d.Warning = "the database was built on "+b.Built.UTC().Format(time.DateOnly)+", longer ago than geo.max_age", true
			d.Hint = "fetch a newer one"
			f.Problems = append(f.Problems, d)
		}
	}
}

// add notes an error: as the diagnostics that it holds, or as one about the
// part of the file that it belongs to.
func (f *Findings) add(cfg *config.Config, path string, err error) {
	if err == nil {
		return
	}
	if ds, ok := errors.AsType[gate.Diagnostics](err); ok {
		f.Problems = append(f.Problems, ds...)
		return
	}
	d := cfg.At(path)
	d.What = err.Error()
	f.Problems = append(f.Problems, d)
}

func summary(cfg *config.Config, policies map[string]waf.PolicyInfo) string {
	var b strings.Builder
	fmt.Fprintf(&b, "ok: mode %s, %s, %s, %s, %s", cfg.Mode, count(len(cfg.Server.Listeners), "listener"),
		count(len(cfg.Proxy.Routes), "route"), count(len(cfg.Proxy.Pools), "pool"), count(len(cfg.WAF.Policies), "policy"))
	for _, name := range slices.Sorted(maps.Keys(policies)) {
		p := cfg.WAF.Policies[name]
		if p.Mode == gate.Off {
			fmt.Fprintf(&b, "\npolicy %s: off", name)
			continue
		}
		fmt.Fprintf(&b, "\npolicy %s: %s, paranoia %d, threshold %d, %s, %d rules, %s", name, p.Mode, p.Paranoia, p.InboundThreshold,
			cmp.Or(policies[name].CRS, "no Core Rule Set"), policies[name].Rules, policies[name].Ruleset)
		fmt.Fprintf(&b, "\npolicy %s: %s", name, policies[name].Runs())
		switch why := policies[name].First(); len(why) {
		case 0:
		case 1:
			b.WriteString(": " + why[0])
		default:
			b.WriteString(":\n  " + strings.Join(why, "\n  "))
		}
	}
	if cfg.Audit.RulesLog != "" {
		b.WriteString("\naudit.rules_log is meant for test runs: it is written while the request waits")
	}
	return b.String()
}

// count writes a number with its noun.
func count(n int, noun string) string {
	switch {
	case n == 1:
		return "1 " + noun
	case strings.HasSuffix(noun, "y"):
		noun = noun[:len(noun)-1] + "ie"
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

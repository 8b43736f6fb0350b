package config

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"sallyport/internal/gate"
	"sallyport/waf"
)

// newPolicy is a policy with every default. A policy inherits nothing from
// another one.
func newPolicy() waf.Policy {
	return waf.Policy{
		Mode: gate.Enforce, Engine: waf.FastEngine, CompareShare: 0.01, CPUBudget: 5 * time.Second, Paranoia: 1, InboundThreshold: 5, OutboundThreshold: 4,
		CRS: crsBuiltin, DetectionParanoia: 1, Inspect: mib, Decode: waf.Codings,
		Arguments: 1000, JSONDepth: 64, GraphQL: waf.GraphQL{Depth: 16, Aliases: 30, Batch: 10},
		ResponseBody: "errors", ResponseLimit: 512 * kib,
	}
}

func (r *reader) policy(o *object) waf.Policy {
	p := newPolicy()
	set(o, "mode", &p.Mode, choice(gate.Enforce, gate.Watch, gate.Off))
	set(o, "engine", &p.Engine, choice(waf.FastEngine, waf.StockEngine, waf.CompareEngine))
	set(o, "compare_share", &p.CompareShare, percent)
	set(o, "cpu_budget", &p.CPUBudget, duration(0, time.Minute))
	set(o, "crs", &p.CRS, r.core)
	set(o, "paranoia", &p.Paranoia, integer(1, 4))
	p.DetectionParanoia = p.Paranoia
	if set(o, "detection_paranoia", &p.DetectionParanoia, integer(1, 4)) && p.DetectionParanoia < p.Paranoia {
		r.fail(o.join("detection_paranoia"), fmt.Sprintf("less than paranoia, %d", p.Paranoia), "rules that add to the score have to run: write paranoia or more")
		p.DetectionParanoia = p.Paranoia
	}
	set(o, "inbound_threshold", &p.InboundThreshold, integer(1, 1_000_000))
	set(o, "outbound_threshold", &p.OutboundThreshold, integer(1, 1_000_000))
	set(o, "early_blocking", &p.EarlyBlocking, flag("false", "true"))
	setList(o, "content_types", &p.ContentTypes, parseMediaType)
	set(o, "on_error", &p.PassOnError, flag("refuse", "pass"))
	o.section("request_body", func(o *object) {
		set(o, "inspect", &p.Inspect, size[int64](kib, gib))
		set(o, "over", &p.OverHead, flag("reject", "head"))
		setList(o, "decode", &p.Decode, choice(waf.Codings...))
		set(o, "arguments", &p.Arguments, integer(1, 10_000))
		set(o, "json_depth", &p.JSONDepth, integer(1, 1000))
		o.section("graphql", func(o *object) {
			set(o, "depth", &p.GraphQL.Depth, integer(1, 1000))
			set(o, "aliases", &p.GraphQL.Aliases, integer(1, 10_000))
			set(o, "batch", &p.GraphQL.Batch, integer(1, 10_000))
		})
	})
	o.section("response_body", func(o *object) {
		set(o, "inspect", &p.ResponseBody, choice("off", "errors", "all"))
		set(o, "limit", &p.ResponseLimit, size[int64](kib, gib))
	})
	setList(o, "rules_before", &p.RulesBefore, r.pattern)
	setList(o, "rules_after", &p.RulesAfter, r.pattern)
	setList(o, "exclusions", &p.ExclusionFiles, r.pattern)
	if p.CRS == crsOff && p.Mode != gate.Off && len(p.RulesBefore)+len(p.RulesAfter) == 0 && !r.within(o.join("rules_before")) && !r.within(o.join("rules_after")) {
		r.fail(o.join("crs"), "no Core Rule Set and no rule files: nothing would be judged", "name files in rules_after, or write mode: off")
	}
	return p
}

// The words of crs that are no directory.
const (
	crsBuiltin = "builtin"
	crsOff     = "off"
)

// core accepts where the Core Rule Set comes from.
func (r *reader) core(s string) (string, error) {
	switch s {
	case crsBuiltin, crsOff:
		return s, nil
	case "":
		return "", &problem{"no directory", "write builtin, off or a directory"}
	}
	return r.file(s)
}

// mediaType is a type and a subtype (RFC 6838 section 4.2), without parameters.
var mediaType = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}$`)

// parseMediaType accepts a media type that request bodies may have.
func parseMediaType(s string) (string, error) {
	if !mediaType.MatchString(s) {
		return "", &problem{fmt.Sprintf("bad media type %q", s), "write a type such as application/json, without parameters"}
	}
	return strings.ToLower(s), nil
}

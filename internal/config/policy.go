package config

import (
	"sallyport/internal/gate"
	"sallyport/waf"
)

// newPolicy is a policy with every default. A policy inherits nothing from
// another one.
func newPolicy() waf.Policy {
	return waf.Policy{
		Mode: gate.Enforce, Paranoia: 1, InboundThreshold: 5, OutboundThreshold: 4,
		Inspect: mib, Decode: waf.Codings, Arguments: 1000, JSONDepth: 64, GraphQL: waf.GraphQL{Depth: 16, Aliases: 30, Batch: 10},
		ResponseBody: "errors", ResponseLimit: 512 * kib,
	}
}

func (r *reader) policy(o *object) waf.Policy {
	p := newPolicy()
	set(o, "mode", &p.Mode, choice(gate.Enforce, gate.Watch, gate.Off))
	set(o, "paranoia", &p.Paranoia, integer(1, 4))
	set(o, "inbound_threshold", &p.InboundThreshold, integer(1, 1_000_000))
	set(o, "outbound_threshold", &p.OutboundThreshold, integer(1, 1_000_000))
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
	return p
}

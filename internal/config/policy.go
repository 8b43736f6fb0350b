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
		Inspect: mib, Decode: waf.Codings, ResponseBody: "errors", ResponseLimit: 512 * kib,
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
	})
	o.section("response_body", func(o *object) {
		set(o, "inspect", &p.ResponseBody, choice("off", "errors", "all"))
		set(o, "limit", &p.ResponseLimit, size[int64](kib, gib))
	})
	setList(o, "rules_before", &p.RulesBefore, r.pattern)
	setList(o, "rules_after", &p.RulesAfter, r.pattern)
	return p
}

package limiter

import "slices"

// defaultMaxClients is what MaxClients is when it is not positive.
const defaultMaxClients = 200_000

// A plan is what a table is made for. It is never modified.
type plan struct {
	limits []Limit
	tiers  []tier // of IPv6, the widest prefix first
	single []tier // of everything else
	max    int    // rows
}

// A tier is a prefix length and the multiple of every budget that a prefix of
// that length carries.
type tier struct{ bits, multiple int }

// newPlan reads the configuration and fills in the defaults.
func newPlan(cfg Config) plan {
	p := plan{limits: slices.Clone(cfg.Limits), max: cfg.MaxClients, single: []tier{{multiple: 1}}}
	if p.max <= 0 {
		p.max = defaultMaxClients
	}
	for bits, multiple := range cfg.IPv6Tiers {
		if bits >= 0 && bits <= 128 && multiple >= 1 {
			p.tiers = append(p.tiers, tier{bits, multiple})
		}
	}
	if len(p.tiers) == 0 {
		p.tiers = []tier{{64, 1}, {56, 4}, {48, 16}}
	}
	slices.SortFunc(p.tiers, func(a, b tier) int { return a.bits - b.bits })
	return p
}

// equal reports whether a table made for p serves q as it is.
func (p plan) equal(q plan) bool {
	return p.max == q.max && slices.Equal(p.limits, q.limits) && slices.Equal(p.tiers, q.tiers)
}

// tiersOf returns the tiers that an address draws from. What is not IPv6 is
// one client by itself.
func (p plan) tiersOf(k key) []tier {
	if k.bits > 128 {
		return p.single
	}
	return p.tiers
}

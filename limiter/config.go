package limiter

import "sallyport/internal/gate"

// Config holds the budgets of clients.
type Config struct {
	// Mode is enforce, or observe when the whole gateway observes.
	Mode gate.Mode
	// Limits are the budgets (limits). Empty: no limit.
	Limits []Limit
	// IPv6Tiers maps a prefix length to the multiple of the budget that the
	// prefix carries (limiter.ipv6_tiers). Default {64: 1, 56: 4, 48: 16}. The
	// longest prefix is the client itself; a request draws from every tier.
	IPv6Tiers map[int]int
	// MaxClients bounds the number of prefixes that are remembered
	// (limiter.max_clients), over all tiers; each has one bucket for every
	// limit. Default 200000.
	MaxClients int
}

// A Limit is one token bucket per client.
type Limit struct {
	// Name is what routes and records call it; unique.
	Name string
	// Rate is how many requests a second refill the bucket; greater than 0.
	Rate float64
	// Burst is how many requests a full bucket holds; at least 1.
	Burst int
}

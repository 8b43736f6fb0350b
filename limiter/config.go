package limiter

import (
	"net/netip"
	"time"

	"sallyport/internal/gate"
)

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
	// MaxClients bounds how many keys each limit remembers
	// (limiter.max_clients): addresses and prefixes over all tiers, or values
	// of a field. Default 200000.
	MaxClients int
	// AllHeaders tells the RateLimit fields on answers that pass as well
	// (limiter.headers: all). Default: on refusals only.
	AllHeaders bool
	// Secret keys the hashes that stand for the values of fields and cookies in
	// records and in the store. Gateways that share a store need the same one.
	// Empty: values are not told apart in records.
	Secret []byte
	// Store shares the budgets with other gateways (limiter.store). A zero
	// Store, without URL: each gateway holds its own.
	Store Store
}

// A Limit is one budget for each key. It has a rate, or a rate that only
// answers with certain statuses draw from, or a number of requests at once.
type Limit struct {
	// Name is what routes and records call it; unique.
	Name string
	// Match narrows the requests that draw from it. Zero: all.
	Match Match
	// Key says who shares one budget. Zero: each client has its own.
	Key By
	// Rate is how many tokens a second refill the bucket; greater than 0, but
	// for a limit with Concurrent, which has neither Rate nor Burst.
	Rate float64
	// Burst is how many tokens a full bucket holds; at least 1.
	Burst int
	// Concurrent is how many requests may be in flight at once; 0: the limit
	// has a rate. A tunnel is in flight until it ends.
	Concurrent int
	// OnStatus lists the statuses of answers that take a token. Empty: every
	// request takes its tokens when it comes. A request is refused while the
	// tokens, less one for each request in flight, are under one.
	OnStatus []StatusRange
	// Cost is how many tokens a request takes; 0 is 1, at most Burst. An answer
	// listed in OnStatus takes one.
	Cost int
	// Exempt lists the addresses of clients that do not draw from it.
	Exempt []netip.Prefix
	// Mode is enforce (also when empty), or observe: what would have been
	// refused is recorded, and passes.
	Mode gate.Mode
	// Failure is what happens while the store does not answer; empty:
	// Store.Failure.
	Failure Failure
}

// A Match narrows the requests that a limit is for; an empty list takes all.
type Match struct {
	Paths   []string // prefixes on segment borders, or "=/path" for one path; canonical
	Methods []string
	Hosts   []string // lower case, without port; "*.example.org" for all below it
	Routes  []string // names
}

// By says who shares a budget.
type By struct {
	Kind Kind   // empty: ByClient
	Name string // of the field or cookie
}

// A Kind is one way to tell requests apart.
type Kind string

// The kinds of keys. Where a request has no value, or several, for ByHeader or
// ByCookie, it is counted by its client's address instead: leaving the field
// out must neither escape the limit nor draw from what others leave out.
// Addresses whose country or network is not known share one budget.
const (
	ByClient      Kind = "client"
	ByClientRoute Kind = "client+route"
	ByCountry     Kind = "country"
	ByASN         Kind = "asn"
	ByHeader      Kind = "header"
	ByCookie      Kind = "cookie"
	ByPath        Kind = "path"
)

// A StatusRange holds the statuses from From to To.
type StatusRange struct{ From, To int }

// Store is a Redis or Valkey server that gateways share budgets by.
type Store struct {
	// URL names server, database and user: redis://user@host:6379/0, rediss://
	// for TLS, unix:///path?db=0. It holds no password. Empty: no store.
	URL string
	// PasswordFile holds the password; it is read for each connection. Empty:
	// none.
	PasswordFile string
	// CA is a PEM file of the authorities that may have signed the server's
	// certificate. Empty: those of the system.
	CA string
	// Timeout is the longest that a request waits for the store. Default 5ms.
	Timeout time.Duration
	// Failure is what happens when it does not answer in that time.
	Failure Failure
}

// A Failure says what a limit does without the store.
type Failure string

// What may happen while the store does not answer.
const (
	FailLocal  Failure = "local"  // each gateway holds the client to the whole budget by itself
	FailOpen   Failure = "open"   // the limit does not apply
	FailClosed Failure = "closed" // requests are refused
)

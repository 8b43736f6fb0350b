package client

import "net/netip"

// Config says who may speak for a client.
type Config struct {
	// Trusted lists the proxies whose forwarding fields are believed
	// (clients.trusted_proxies). Empty: nobody's; the peer is the client.
	Trusted []netip.Prefix
	// TrustUnix believes the forwarding fields of whoever connects by a Unix
	// socket (the word unix in clients.trusted_proxies). Default: such a client
	// is not known, and shares one budget with all others that are not.
	TrustUnix bool
	// Header names the field that carries the client's address
	// (clients.header): X-Forwarded-For and Forwarded are read from the right
	// to the first untrusted hop, any other field holds one address. Default
	// X-Forwarded-For.
	Header string
	// TrustRequestID takes X-Request-Id from trusted proxies
	// (clients.request_id: trusted). Default: every request gets a new one.
	TrustRequestID bool
}

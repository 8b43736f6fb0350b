package proxy

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"math/bits"
	"net/netip"
	"strings"

	"sallyport/internal/gate"
)

// What a pool hashes on (hash_on), beside header:NAME and cookie:NAME.
const (
	HashClient = "client" // the address, of IPv6 the /64
	HashPath   = "path"
	HashHeader = "header:"
	HashCookie = "cookie:"
)

const (
	// hashBound is how far above the average of its weight a backend may be
	// loaded before it passes requests on (consistent hashing with bounded
	// loads).
	hashBound = 1.25
	// hashSlack is what a backend may have in any case: a page that is loaded
	// in ten pieces is no load.
	hashSlack = 16
)

// hashing sends what is alike to the same backend, by rendezvous hashing:
// every pair of a key and a backend has a score, and the best one that may be
// asked is chosen. When one leaves, only its keys move, each to its second
// best, and they return with it; one that gains weight only takes keys over.
// There is no table that would have to be built anew. (Thaler and Ravishankar,
// Using Name-Based Mappings to Increase Hit Rates, 1998.)
type hashing struct {
	on   string
	seed uint64 // from the secret: a client cannot choose a key for a backend
}

func newHashing(cfg PoolConfig, secret []byte) hashing {
	on := cfg.HashOn
	if on == "" {
		on = HashClient
	}
	return hashing{on: on, seed: seedOf(string(secret), cfg.Name)}
}

// seedOf hashes words. Gateways with the same secret agree on it.
func seedOf(words ...string) uint64 {
	sum := sha256.Sum256([]byte(strings.Join(words, "\x00")))
	return binary.BigEndian.Uint64(sum[:])
}

func (hashing) name() string { return Hash }

// describe takes the key out of the request. One that lacks what is hashed on
// is told apart by its client.
func (h hashing) describe(v *visit, a *ask) {
	switch {
	case h.on == HashPath:
		a.key = h.text(v.req.Path)
		return
	case strings.HasPrefix(h.on, HashHeader):
		if value, ok := v.req.Head.Get(h.on[len(HashHeader):]); ok && value != "" {
			a.key = h.text(value)
			return
		}
	case strings.HasPrefix(h.on, HashCookie):
		if value := cookieValue(v.req.Head, h.on[len(HashCookie):]); value != "" {
			a.key = h.text(value)
			return
		}
	}
	a.key = h.client(v.req.Client)
}

// client is the key of an address: that of limits, so that a client of IPv6
// stays where it is when it takes another address.
func (h hashing) client(addr netip.Addr) uint64 {
	raw := addr.As16()
	high, low := binary.BigEndian.Uint64(raw[:8]), uint64(0)
	if addr.Is4() || addr.Is4In6() {
		low = binary.BigEndian.Uint64(raw[8:])
	}
	return mix(mix(h.seed^high) ^ low)
}

// text is the FNV-1a hash of a text, begun with the seed.
func (h hashing) text(s string) uint64 {
	const prime = 1099511628211
	sum := h.seed
	for i := range len(s) {
		sum = (sum ^ uint64(s[i])) * prime
	}
	return mix(sum)
}

// mix spreads every bit over all others (the finalizer of SplitMix64).
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func (hashing) choose(from []candidate, a *ask) *backend {
	limit := math.Inf(1) // requests of a backend, for each thousandth of its weight
	for i := range from {
		if from[i].busy >= hashSlack {
			limit = fairLoad(from)
			break
		}
	}
	var best *candidate
	var far float64 // of the best one's hash
	for i := range from {
		c := &from[i]
		if c.busy >= hashSlack && float64(c.busy) >= limit*float64(c.share) {
			continue // whatever its score: somebody is below the average
		}
		// The score is share/distance.
		if d := distance(mix(a.key ^ c.seed)); best == nil || float64(c.share)*far > float64(best.share)*d {
			best, far = c, d
		}
	}
	return best.backend
}

// fairLoad is what a backend may have of all requests and one more.
func fairLoad(from []candidate) float64 {
	busy, total := 1, 0
	for i := range from {
		busy += from[i].busy
		total += from[i].share
	}
	return hashBound * float64(busy) / float64(total)
}

// logs holds the logarithms to base 2 of 1 to 2, in steps of 1/256.
var logs = func() (table [257]float64) {
	for i := range table {
		table[i] = math.Log2(1 + float64(i)/256)
	}
	return table
}()

// distance is how far a hash, as a fraction of one, is from one: minus its
// logarithm to base 2. It takes a third of the time of math.Log, and goes down
// as the hash goes up.
func distance(h uint64) float64 {
	h |= 1
	zeros := bits.LeadingZeros64(h)
	h <<= zeros + 1
	at, rest := h>>56, float64(h<<8>>11)*(1.0/(1<<53))
	return float64(zeros+1) - logs[at] - rest*(logs[at+1]-logs[at])
}

// cookieValue is the value of the first cookie with the name, or nothing.
func cookieValue(head *gate.Head, name string) string {
	for i := range head.Fields {
		f := &head.Fields[i]
		if !strings.EqualFold(f.Name, "Cookie") {
			continue
		}
		for pair := range strings.SplitSeq(f.Value, ";") {
			if value, ok := strings.CutPrefix(strings.TrimLeft(pair, " \t"), name); ok && strings.HasPrefix(value, "=") {
				return value[1:]
			}
		}
	}
	return ""
}

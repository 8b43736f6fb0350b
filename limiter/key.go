package limiter

import (
	"encoding/binary"
	"net/netip"
)

// A key says who draws from a bucket, in a form that is quick to hash.
type key struct {
	hi, lo uint64
	bits   uint64 // of an IPv6 prefix, or one of those below
}

// The keys that are not IPv6 prefixes.
const (
	bitsIPv4    = 256 + iota // lo is an IPv4 address
	bitsNone                 // the address is not known
	bitsCountry              // lo is a country's code; 0: not known
	bitsASN                  // lo is a network's number; 0: not known
	bitsText                 // lo is the hash of a text from the client
)

// newKey returns the key of one address.
func newKey(addr netip.Addr) key {
	addr = addr.Unmap()
	switch {
	case addr.Is4():
		b := addr.As4()
		return key{lo: uint64(binary.BigEndian.Uint32(b[:])), bits: bitsIPv4}
	case addr.Is6():
		b := addr.As16()
		return key{hi: binary.BigEndian.Uint64(b[:8]), lo: binary.BigEndian.Uint64(b[8:]), bits: 128}
	}
	return key{bits: bitsNone}
}

// in returns the prefix of the tier that the key lies in.
func (k key) in(t tier) key {
	switch {
	case k.bits > 128:
		return k
	case t.bits <= 64:
		return key{hi: k.hi &^ (^uint64(0) >> t.bits), bits: uint64(t.bits)}
	}
	return key{hi: k.hi, lo: k.lo &^ (^uint64(0) >> (t.bits - 64)), bits: uint64(t.bits)}
}

// String names the prefix for an operator.
func (k key) String() string {
	switch k.bits {
	case bitsNone:
		return "an unknown address"
	case bitsIPv4:
		return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, uint32(k.lo)))).String()
	}
	b := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, k.hi), k.lo)
	return netip.PrefixFrom(netip.AddrFrom16([16]byte(b)), int(k.bits)).String()
}

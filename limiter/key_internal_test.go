package limiter

import (
	"math/rand/v2"
	"net/netip"
	"testing"
)

// TestKeyIsThePrefix compares keys with what net/netip makes of an address, at
// every length of a prefix.
func TestKeyIsThePrefix(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	for bits := range 129 {
		var a [16]byte
		for i := range a {
			a[i] = byte(rnd.Uint32())
		}
		addr := netip.AddrFrom16(a)
		want, err := addr.Prefix(bits)
		if err != nil {
			t.Fatal(err)
		}
		if got := newKey(addr).in(tier{bits: bits}).String(); got != want.String() {
			t.Errorf("key of %s at /%d = %s, want %s", addr, bits, got, want)
		}
		if again := newKey(addr).in(tier{bits: 128}).in(tier{bits: bits}); again != newKey(addr).in(tier{bits: bits}) {
			t.Errorf("key of %s at /%d depends on the way there", addr, bits)
		}
	}
	for addr, want := range map[string]string{"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1", "": "an unknown address"} {
		var a netip.Addr
		if addr != "" {
			a = netip.MustParseAddr(addr)
		}
		if got := newKey(a).in(tier{bits: 8}).String(); got != want {
			t.Errorf("key of %q = %s, want %s", addr, got, want)
		}
	}
}

package strict

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"golang.org/x/net/http2/hpack"
)

// someBlock is a field block of every kind of representation, with size updates in
// front of it.
func someBlock(t *testing.T, rnd *rand.Rand, updates int) []byte {
	t.Helper()
	var b bytes.Buffer
	enc := hpack.NewEncoder(&b)
	for i := range updates {
		enc.SetMaxDynamicTableSize(uint32(i) * 100)
	}
	for i := range 1 + rnd.IntN(8) {
		f := hpack.HeaderField{Name: "x-" + strings.Repeat("n", rnd.IntN(200)), Value: strings.Repeat("é", rnd.IntN(200)), Sensitive: rnd.IntN(3) == 0}
		switch rnd.IntN(4) {
		case 0:
			f = hpack.HeaderField{Name: ":method", Value: "GET"}
		case 1:
			f.Name = "cookie"
		case 2:
			f.Value = ""
		}
		if err := enc.WriteField(f); err != nil {
			t.Fatalf("field %d: %v", i, err)
		}
	}
	return b.Bytes()
}

// TestSizeUpdates holds that a size update is found behind a field, and
// nowhere else, however the block is cut.
func TestSizeUpdates(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(7541, 42))
	late := func(b []byte) bool {
		var w sizeWatch
		for len(b) > 0 {
			n := 1 + rnd.IntN(len(b))
			if w.late(b[:n]) {
				return true
			}
			b = b[n:]
		}
		return false
	}
	for range 2000 {
		b := someBlock(t, rnd, rnd.IntN(3))
		if late(b) {
			t.Fatalf("a size update was found behind a field in %x", b)
		}
		for _, update := range [][]byte{{0x20}, {0x3f, 0xe1, 0x1f}} {
			bad := fmt.Appendf(nil, "%s%s%s", b, update, someBlock(t, rnd, 0))
			if !late(bad) {
				t.Fatalf("the size update behind a field was not found in %x", bad)
			}
		}
	}
}

// TestSizeUpdatesOnAnything: what no decoder would accept does no harm.
func TestSizeUpdatesOnAnything(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(7541, 43))
	for range 2000 {
		b := make([]byte, rnd.IntN(60))
		for i := range b {
			b[i] = byte(rnd.Uint32() | rnd.Uint32()) // continuations are frequent
		}
		var w sizeWatch
		if w.late(b); w.value < 0 || w.texts < 0 {
			t.Fatalf("after %x: %+v", b, w)
		}
	}
}

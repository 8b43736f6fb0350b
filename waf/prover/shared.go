package prover

import (
	"crypto/sha256"
	"fmt"
	"runtime"
	"sync"
	"weak"

	"sallyport/waf/rx"
)

// sets are the compiled sets of operators that are in use, by a hash of what they
// are compiled from. Policies of one level share one, and so do the generations
// before and after a reload.
var sets struct {
	sync.Mutex
	known map[[sha256.Size]byte]weak.Pointer[rx.Set]
}

// sharedSet compiles operators, or returns the set that has them already.
func sharedSet(operators []rx.Operator) (*rx.Set, error) {
	h := sha256.New()
	for _, o := range operators {
		fmt.Fprintf(h, "%d %t %q %q\n", o.Kind, o.Not, o.Text, o.List)
	}
	key := [sha256.Size]byte(h.Sum(nil))
	sets.Lock()
	defer sets.Unlock()
	if set := sets.known[key].Value(); set != nil {
		return set, nil
	}
	set, err := rx.Compile(operators, bytesOf())
	if err != nil {
		return nil, err
	}
	if sets.known == nil {
		sets.known = map[[sha256.Size]byte]weak.Pointer[rx.Set]{}
	}
	sets.known[key] = weak.Make(set)
	runtime.AddCleanup(set, func(key [sha256.Size]byte) {
		sets.Lock()
		defer sets.Unlock()
		if sets.known[key].Value() == nil {
			delete(sets.known, key)
		}
	}, key)
	return set, nil
}

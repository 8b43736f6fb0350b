package prover

import (
	"hash/maphash"
	"sync/atomic"

	"github.com/maypok86/otter/v2"
)

// Verdicts remember what was found in values, so that those that come again, as the
// fields of a browser do with each of its requests, need not be looked at again.
// Nothing of a value is kept: it is known by 128 bits of hashes whose seeds are
// secrets of the process. Only what comes twice is remembered, and what comes often
// stays when others come once. They may be used by several goroutines and by several
// provers, and take no more than about five megabytes.
type Verdicts struct {
	cache *otter.Cache[verdictKey, []atom]
	seeds [2]maphash.Seed
	once  [1 << 16]atomic.Uint32 // parts of the hashes of values that came once
}

// A verdictKey is a value at a state.
type verdictKey struct {
	state, a, b uint64
}

// Bounds of what is remembered. Shorter values cost no more to be looked at where
// there are few looks, and of longer ones few come twice.
const (
	maxVerdicts  = 1 << 15
	shortVerdict = 8
	fewLooks     = 16
	longVerdict  = 1 << 10
)

// NewVerdicts makes an empty memory.
func NewVerdicts() (*Verdicts, error) {
	cache, err := otter.New(&otter.Options[verdictKey, []atom]{MaximumSize: maxVerdicts})
	if err != nil {
		return nil, err
	}
	return &Verdicts{cache: cache, seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}}, nil
}

// key returns the key of a value; false for one that is not remembered.
func (v *Verdicts) key(s *state, value string) (verdictKey, bool) {
	if v == nil || len(value) > longVerdict || len(value) < shortVerdict && (value == "" || len(s.at) <= fewLooks) {
		return verdictKey{}, false
	}
	return verdictKey{s.id, maphash.String(v.seeds[0], value), maphash.String(v.seeds[1], value)}, true
}

// again reports whether the value was asked about before, and notes that it was
// now. It forgets.
func (v *Verdicts) again(k verdictKey) bool {
	h := k.a ^ k.state*0x9e3779b97f4a7c15
	slot, mark := &v.once[h&(1<<16-1)], uint32(h>>32)|1
	if slot.Load() == mark {
		return true
	}
	slot.Store(mark)
	return false
}

// look is read for a whole value, and remembers what came of it.
func (r *reader) look(v *Verdicts, s *state, value string) {
	key, ok := v.key(s, value)
	if !ok {
		r.read(s, value, 0)
		return
	}
	if atoms, known := v.cache.GetIfPresent(key); known {
		r.note(atoms)
		return
	}
	if !v.again(key) {
		r.read(s, value, 0)
		return
	}
	atoms, sure := r.apart(s, value)
	if r.note(atoms); sure {
		v.cache.Set(key, atoms)
	}
}

// apart returns what a value matches, and whether that is sure.
func (r *reader) apart(s *state, value string) (atoms []atom, sure bool) {
	into := r.fired
	r.fired, r.unsure = r.alone, false
	r.read(s, value, 0)
	r.fired = into
	for w, word := range r.alone {
		for a := atom(w << 6); word != 0; a, word = a+1, word>>1 {
			if word&1 != 0 {
				atoms = append(atoms, a)
			}
		}
	}
	clear(r.alone)
	return atoms, !r.unsure && !r.spent
}

// Len returns how many verdicts are remembered, about.
func (v *Verdicts) Len() int {
	v.cache.CleanUp()
	return v.cache.EstimatedSize()
}

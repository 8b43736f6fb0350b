package metrics

import (
	"maps"
	"sync"
	"sync/atomic"
)

// A memo keeps the series of a vector by their labels. The vector hashes,
// locks and compares each time that it is asked; a request counts in a dozen
// series. The labels come from closed sets, so the memo is bounded.
type memo[K comparable, S any] struct {
	find  func(K) S
	known atomic.Pointer[map[K]S] // never changed, but replaced
	mu    sync.Mutex              // held while it is
}

func newMemo[K comparable, S any](find func(K) S) *memo[K, S] {
	m := &memo[K, S]{find: find}
	m.known.Store(&map[K]S{})
	return m
}

// of returns the series of the labels.
func (m *memo[K, S]) of(labels K) S {
	if s, ok := (*m.known.Load())[labels]; ok {
		return s
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	known := maps.Clone(*m.known.Load())
	s, ok := known[labels]
	if !ok {
		s = m.find(labels)
		known[labels] = s
		m.known.Store(&known)
	}
	return s
}

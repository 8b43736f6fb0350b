package proxy

// smooth picks by smooth weighted round robin among the backends that may be
// used: each gains its weight, the richest is picked and pays what all gained.
// Over any run of picks as long as the sum of the weights, with the same
// backends in use, each is picked exactly as often as its weight says, and the
// picks of a heavy backend are spread out. It returns nil when there is none.
//
// The caller holds the lock of the pool.
func smooth(backends []*backend, usable func(*backend) bool) *backend {
	var best *backend
	total := 0
	for _, b := range backends {
		if !usable(b) {
			continue
		}
		b.current += b.weight
		total += b.weight
		if best == nil || b.current > best.current {
			best = b
		}
	}
	if best != nil {
		best.current -= total
	}
	return best
}

// level makes smooth start anew. It is called when the set of backends in use
// changes, so that the next picks follow the weights exactly.
func level(backends []*backend) {
	for _, b := range backends {
		b.current = 0
	}
}

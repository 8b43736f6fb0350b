package limiter

import "context"

// RenewNow renews the leases as the store does when they have aged.
func RenewNow(l *Limiter) error {
	s := l.store
	s.mu.Lock()
	for lease := range s.live {
		lease.since = lease.since.Add(-renewEvery)
	}
	s.mu.Unlock()
	return s.renew(context.Background())
}

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

// JournalOf is how many words about bans wait to be told.
func JournalOf(b *Bans) int {
	b.book.mu.Lock()
	defer b.book.mu.Unlock()
	return len(b.book.journal)
}

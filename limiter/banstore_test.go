package limiter_test

import (
	"context"
	"fmt"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"sallyport/internal/gate"
	"sallyport/limiter"
)

// A sharer is the bans of one gateway and its place in the store.
type sharer struct {
	*limiter.Bans
	store *limiter.BanStore
}

func sharing(t *testing.T, r *redisServer, cfg limiter.BanConfig) *sharer {
	t.Helper()
	s, err := limiter.OpenBanStore(limiter.Store{URL: r.url()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	b := newBans(cfg)
	b.Share(true)
	return &sharer{b, s}
}

func (s *sharer) exchange(t *testing.T) {
	t.Helper()
	if err := s.store.Exchange(t.Context(), s.Bans); err != nil {
		t.Fatal(err)
	}
}

// TestBansAreShared follows bans and removals from one gateway to the others,
// also to one that starts later.
func TestBansAreShared(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	cfg := banning()
	cfg.For, cfg.Max = time.Hour, 2*time.Hour
	one, two := sharing(t, r, cfg), sharing(t, r, cfg)
	offend(one.Bans, "192.0.2.1", 5, gate.WAFRule)
	one.Add(netip.MustParseAddr("2001:db8::1"), time.Hour, "manual")
	one.exchange(t)
	two.exchange(t)
	if !isBanned(two.Bans, "192.0.2.1") || !isBanned(two.Bans, "2001:db8::2") {
		t.Errorf("the other gateway bans %v", two.List())
	}
	if got, want := two.List()[0], one.List()[0]; got.Client != want.Client || !got.Until.Equal(want.Until) || !got.Since.Equal(want.Since) || got.Reason != want.Reason || got.Repeats != want.Repeats {
		t.Errorf("told %+v, want %+v", got, want)
	}
	if ban, ok := two.Add(netip.MustParseAddr("192.0.2.1"), 3*time.Hour, "manual"); !ok || ban.Repeats != 0 {
		t.Errorf("%+v, %v", ban, ok)
	}
	two.Remove(netip.MustParseAddr("2001:db8::1"))
	two.exchange(t)
	one.exchange(t)
	if isBanned(one.Bans, "2001:db8::1") || time.Until(one.List()[0].Until) < 2*time.Hour {
		t.Errorf("after a removal and a longer ban elsewhere: %v", one.List())
	}
	late := sharing(t, r, cfg)
	late.exchange(t)
	if len(late.List()) != 1 || !isBanned(late.Bans, "192.0.2.1") {
		t.Errorf("a gateway that starts later bans %v", late.List())
	}
	// What was told once is not told again: a ban that is lifted stays so.
	late.Remove(netip.MustParseAddr("192.0.2.1"))
	for range 3 {
		late.exchange(t)
		one.exchange(t)
	}
	if isBanned(late.Bans, "192.0.2.1") || isBanned(one.Bans, "192.0.2.1") {
		t.Error("a ban that was lifted came back")
	}
}

// TestWhoIsSparedHereStaysSo: another gateway may know other proxies.
func TestWhoIsSparedHereStaysSo(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	other := sharing(t, r, banning())
	other.Bans = limiter.NewBans(banning(), nil, nil)
	other.Share(true)
	offend(other.Bans, "10.1.2.3", 5, gate.WAFRule)
	other.exchange(t)
	here := sharing(t, r, banning())
	here.exchange(t)
	if len(here.List()) != 0 {
		t.Errorf("banned by hearsay: %v", here.List())
	}
}

// TestBansWaitForTheStore pauses the server, and shows that nothing is lost
// and that many words arrive.
func TestBansWaitForTheStore(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	cfg := banning()
	cfg.For, cfg.Max = time.Hour, time.Hour
	one, two := sharing(t, r, cfg), sharing(t, r, cfg)
	one.exchange(t)
	r.signal(syscall.SIGSTOP)
	for i := range 1200 {
		one.Add(numbered(uint64(i)+1<<24), time.Hour, "manual")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := one.store.Exchange(ctx, one.Bans); err == nil {
		t.Error("a server that is paused has answered")
	}
	r.signal(syscall.SIGCONT)
	eventually(t, "every ban arrives", func() bool {
		for _, s := range []*sharer{one, two} {
			if err := s.store.Exchange(t.Context(), s.Bans); err != nil {
				t.Log(err)
			}
		}
		return len(two.List()) == 1200
	})
}

// TestUnsharedBansKeepNoJournal: without a store nobody reads it.
func TestUnsharedBansKeepNoJournal(t *testing.T) {
	b := newBans(banning())
	for i := range 20_000 {
		b.Add(numbered(uint64(i)+1<<24), time.Hour, "manual")
	}
	if n := limiter.JournalOf(b); n != 0 {
		t.Errorf("%d words wait for nobody", n)
	}
	b.Share(true)
	for i := range 20_000 {
		b.Add(numbered(uint64(i)+1<<24), time.Hour, "manual")
	}
	if n := limiter.JournalOf(b); n != 10_000 {
		t.Errorf("%d words wait, want 10,000", n)
	}
}

func ExampleBanStore() {
	s, err := limiter.OpenBanStore(limiter.Store{URL: "http://redis"})
	fmt.Println(s == nil, err)
	// Output: true limiter.store: redis: invalid URL scheme: http
}

package limiter

import (
	"math/rand/v2"
	"testing"
	"time"
)

// TestShardIsAMap compares the rows of a shard with a map, while keys come, go
// idle and are forgotten, in an index whose places collide as often as can be.
func TestShardIsAMap(t *testing.T) {
	for _, spread := range []uint64{1 << 62, 8, 1} {
		rnd := rand.New(rand.NewPCG(9, spread))
		s := shard{usage: counts, capacity: 250}
		now := time.Now()
		rows := map[uint64]int{}
		ids := map[int]uint64{}
		for range 20_000 {
			id := rnd.Uint64N(400)<<40 | rnd.Uint64N(400)%spread
			row := s.find(id)
			if want, known := rows[id]; known != (row != none) || known && row != want {
				t.Fatalf("find(%x) = %d, want %d, %t", id, row, want, known)
			}
			if row == none {
				if row, _ = s.place(id, size{burst: 1}, nil, instant{now: now}); row == none {
					busy := 0
					for i := range s.used {
						if b, j := s.at(i); b.flying[j] > 0 {
							busy++
						}
					}
					if busy != s.capacity {
						t.Fatalf("no row for a newcomer, with %d of %d busy", busy, s.capacity)
					}
				} else {
					delete(rows, ids[row])
					rows[id], ids[row] = row, id
				}
			}
			if row != none {
				b, i := s.at(row)
				b.flying[i] = 1
			}
			if over := rnd.IntN(s.used); rnd.IntN(3) > 0 {
				b, i := s.at(over)
				s.landed(b, i)
			}
			if s.used > s.capacity || len(rows) != s.used {
				t.Fatalf("%d rows, %d keys, room for %d", s.used, len(rows), s.capacity)
			}
		}
		s.resize(100, instant{now: now})
		found := 0
		for id, row := range rows {
			if r := s.find(id); r != none {
				if b, i := s.at(r); b.flying[i] != 1 {
					t.Fatalf("an idle key (row %d, now %d) took the place of a busy one", row, r)
				}
				found++
			}
		}
		if found != s.used || found > 100 || found == 0 {
			t.Errorf("%d of %d rows are found in a smaller table", found, s.used)
		}
	}
}

// TestRefund gives back what was taken, and no more than there is room for.
func TestRefund(t *testing.T) {
	now := time.Now()
	sz := size{rate: 2, burst: 10}
	l := newLimit(newRoot(1000), Limit{Name: "l", Rate: 2, Burst: 10}, "", nil)
	b := &l.table.shared
	fill(b, sz, 5, now)
	for _, tc := range []struct{ n, want int }{{3, 8}, {1, 9}, {7, 10}} {
		refund(b, tc.n, now)
		if got := b.TokensAt(now); got < float64(tc.want)-1e-6 || got > float64(tc.want)+1e-6 || sizeOf(b) != sz {
			t.Errorf("after %d more: %g tokens of %+v, want %d", tc.n, got, sizeOf(b), tc.want)
		}
	}
	fill(b, sz, 2.5, now)
	if drain(b, 3, now); b.TokensAt(now) > 0.51 || b.TokensAt(now) < 0 {
		t.Errorf("3 of 2.5 tokens leave %g, want what is less than one", b.TokensAt(now))
	}
}

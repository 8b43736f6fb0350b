package limiter

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// banKey holds what was said of bans, by the server's time in milliseconds.
	// No two words have the same time: what was said later counts.
	banKey = keyPrefix + "bans"
	// banBatch is how many words about bans are sent or read at a time.
	banBatch = 500
	// maxJournal bounds the words that wait for a store that does not answer.
	// Beyond it the oldest are not told: those bans hold on this gateway only.
	maxJournal = 10_000
	// exchangeTimeout bounds one exchange, for which no request waits.
	exchangeTimeout = 3 * time.Second
)

// sayScript adds words to the list, and forgets those that say nothing any
// more. KEYS: the list; ARGV: how long a word counts, in milliseconds, then the
// words.
var sayScript = redis.NewScript(`
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local newest = redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2]
local at = math.max(now, (tonumber(newest) or 0) + 1 / 1024)
for i = 2, #ARGV do
  redis.call('ZADD', KEYS[1], at, ARGV[i])
  at = at + 1 / 1024
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return now
`)

// A banWord is what one gateway tells the others about a client.
type banWord struct {
	Gateway string `json:"gateway"`
	Ban     Ban    `json:"ban"`
	Removed bool   `json:"removed,omitempty"`
}

// A BanStore tells bans to the gateways that share a store, and learns theirs.
// It is used by one goroutine.
type BanStore struct {
	cfg     Store
	client  *redis.Client
	gateway string
	last    float64         // score of the newest word that was read
	read    map[string]bool // the words with that score
}

// OpenBanStore returns the store of a configuration. The server need not
// answer yet.
func OpenBanStore(cfg Store) (*BanStore, error) {
	opt, err := options(cfg)
	if err != nil {
		return nil, fmt.Errorf("limiter.store: %w", err)
	}
	return &BanStore{cfg: cfg, client: redis.NewClient(opt), gateway: rand.Text()[:13], read: map[string]bool{}}, nil
}

// For reports whether the store is the one of the configuration.
func (s *BanStore) For(cfg Store) bool { return s.cfg == cfg }

// Close ends the connection.
func (s *BanStore) Close() error { return s.client.Close() }

// Exchange tells what has changed about bans since the last time, and takes
// over what others have told. After an error nothing is lost: it is told the
// next time.
func (s *BanStore) Exchange(ctx context.Context, b *Bans) error {
	ctx, cancel := context.WithTimeout(ctx, exchangeTimeout)
	defer cancel()
	words := b.book.takeJournal()
	if err := s.say(ctx, words, b.cfg.Max); err != nil {
		b.book.putBack(words)
		return fmt.Errorf("share the bans: %w", err)
	}
	for {
		n, err := s.listen(ctx, b)
		if err != nil {
			return fmt.Errorf("learn the bans of other gateways: %w", err)
		}
		if n < banBatch {
			return nil
		}
	}
}

// say tells words; a word counts for as long as a ban can, and is remembered
// for as long again, for the length of the next one.
func (s *BanStore) say(ctx context.Context, words []banWord, longest time.Duration) error {
	if len(words) == 0 {
		return nil
	}
	args := []any{2 * longest.Milliseconds()}
	for _, w := range words {
		w.Gateway = s.gateway
		text, err := json.Marshal(w)
		if err != nil {
			return err
		}
		args = append(args, text)
	}
	return sayScript.Run(ctx, s.client, []string{banKey}, args...).Err()
}

// listen reads words that are new, and returns how many came.
func (s *BanStore) listen(ctx context.Context, b *Bans) (int, error) {
	found, err := s.client.ZRangeByScoreWithScores(ctx, banKey, &redis.ZRangeBy{
		Min: strconv.FormatFloat(s.last, 'f', -1, 64), Max: "+inf", Count: banBatch + int64(len(s.read)),
	}).Result()
	if err != nil {
		return 0, err
	}
	n := 0
	for _, z := range found {
		text, ok := z.Member.(string)
		if !ok || z.Score == s.last && s.read[text] {
			continue
		}
		if z.Score > s.last {
			s.last = z.Score
			clear(s.read)
		}
		s.read[text] = true
		n++
		var w banWord
		if json.Unmarshal([]byte(text), &w) == nil && w.Gateway != s.gateway { // what nobody can read bans nobody
			b.adopt(w)
		}
	}
	return n, nil
}

// Share makes the bans note what changes, for an Exchange to tell.
func (b *Bans) Share(on bool) {
	b.book.mu.Lock()
	defer b.book.mu.Unlock()
	if b.book.shared = on; !on {
		b.book.journal = nil
	}
}

// note keeps a word for the next exchange. Called with the lock.
func (k *banBook) note(w banWord) {
	if !k.shared {
		return
	}
	if len(k.journal) >= maxJournal {
		k.journal = k.journal[1:]
	}
	k.journal = append(k.journal, w)
}

func (k *banBook) takeJournal() []banWord {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := min(len(k.journal), banBatch)
	words := k.journal[:n:n]
	k.journal = k.journal[n:]
	return words
}

func (k *banBook) putBack(words []banWord) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.shared && len(words)+len(k.journal) <= maxJournal {
		k.journal = append(words, k.journal...)
	}
}

// adopt takes over what another gateway says. Of two bans the one that ends
// later holds. Who is never banned here stays so.
func (b *Bans) adopt(w banWord) {
	addr := w.Ban.Client.Addr()
	key := Key(addr)
	if key != w.Ban.Client || b.spared(addr) {
		return
	}
	now := time.Now()
	k := b.book
	k.mu.Lock()
	defer k.mu.Unlock()
	o := k.pages[key]
	if w.Removed {
		if o != nil {
			k.drop(key, o)
		}
		return
	}
	if now.Sub(w.Ban.Until) > b.cfg.Max {
		return
	}
	if o == nil {
		if o = k.page(key, b.cfg, now); o == nil {
			return
		}
	}
	if w.Ban.Until.After(o.until) {
		k.put(o, now, w.Ban.Until, w.Ban.Reason)
		o.since = w.Ban.Since
	}
	o.bans = max(o.bans, w.Ban.Repeats+1)
}

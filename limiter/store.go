package limiter

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"
	"go.uber.org/zap"
)

const (
	// keyPrefix begins every key in the store.
	keyPrefix = "sallyport:"
	// defaultTimeout is what Store.Timeout is when it is 0.
	defaultTimeout = 5 * time.Millisecond
	// maxQueue bounds the calls that wait for their turn, maxBatch those that
	// are sent together.
	maxQueue, maxBatch = 1024, 128
	// connectTimeout bounds making a connection, for which no request waits.
	connectTimeout = 2 * time.Second
	// The store is tried again after firstRetry, then less and less often. One
	// that has answered for steady counts as recovered.
	firstRetry, lastRetry, steady = 50 * time.Millisecond, 2 * time.Second, 10 * time.Second
)

var (
	errTimeout = errors.New("no answer within limiter.store.timeout")
	errReply   = errors.New("a reply that does not fit the question")
)

// A store speaks with the server that gateways share. One goroutine does, over
// one connection, and sends what has gathered in the meantime together.
//
// After a failure the store is down: nobody asks it, so that a dead one costs
// nothing, until the goroutine has tried it again and found it as quick as it
// has to be.
type store struct {
	cfg     Store
	client  *redis.Client
	log     *zap.Logger
	gateway string // makes the ids of this process unlike those of others
	number  atomic.Uint64
	queue   chan *call
	wake    chan struct{} // the store was found down
	stop    context.CancelFunc
	stopped chan struct{}
	users   atomic.Int32

	alive   atomic.Bool
	asked   atomic.Uint64
	failed  atomic.Uint64
	changes atomic.Uint64

	mu      sync.Mutex
	live    map[*lease]struct{}
	orphans []*call
	problem string
	changed time.Time
}

// StoreStats is how the store is.
type StoreStats struct {
	Up      bool
	Since   time.Time // of the last change
	Problem string    // why it is down
	Asked   uint64    // requests that it was asked about
	Failed  uint64    // those that it did not answer in time
	Changes uint64    // how often it went down or came back
}

// A call is one script to run. Nobody waits for one without done.
type call struct {
	script *redis.Script
	keys   []string
	args   []any
	state  atomic.Int32
	done   chan struct{}
	reply  []int64
	err    error
}

// The states of a call that somebody waits for.
const (
	waiting int32 = iota
	answered
	abandoned
)

// openStore returns the store of the configuration: that of old when nothing
// about it has changed.
func openStore(cfg Store, old *Limiter, log *zap.Logger) (*store, error) {
	if cfg.Timeout <= 0 {
		cfg.Timeout = defaultTimeout
	}
	if old != nil && old.store != nil && old.store.cfg == cfg && old.store.retain() {
		return old.store, nil
	}
	opt, err := options(cfg)
	if err != nil {
		return nil, fmt.Errorf("limiter.store: %w", err)
	}
	logging.Disable() // what goes wrong is told here, once
	ctx, cancel := context.WithCancel(context.Background())
	s := &store{
		cfg: cfg, client: redis.NewClient(opt), log: log, gateway: rand.Text()[:13],
		queue: make(chan *call, maxQueue), wake: make(chan struct{}, 1), stop: cancel, stopped: make(chan struct{}),
		live: map[*lease]struct{}{}, problem: "not tried yet", changed: time.Now(),
	}
	s.users.Store(1)
	go s.run(ctx)
	return s, nil
}

// options makes one connection of what the client library would pool.
func options(cfg Store) (*redis.Options, error) {
	opt, err := redis.ParseURL(cfg.URL)
	if err != nil {
		return nil, err
	}
	opt.Protocol = 2
	opt.MaxRetries, opt.DialerRetries = -1, 1
	opt.PoolSize, opt.PipelinePoolSize, opt.MaxActiveConns = 1, -1, 2
	opt.DialTimeout, opt.ReadTimeout, opt.WriteTimeout = connectTimeout, connectTimeout, connectTimeout
	opt.ContextTimeoutEnabled = true
	opt.DisableIdentity = true
	opt.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	if cfg.PasswordFile != "" {
		user := opt.Username
		opt.CredentialsProviderContext = func(context.Context) (string, string, error) {
			text, err := os.ReadFile(cfg.PasswordFile)
			return user, strings.TrimRight(string(text), "\r\n"), err
		}
	}
	if cfg.CA == "" {
		return opt, nil
	}
	text, err := os.ReadFile(cfg.CA)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("no certificate in %s", cfg.CA)
	}
	if opt.TLSConfig == nil {
		return nil, errors.New("ca is for rediss:// only")
	}
	opt.TLSConfig = opt.TLSConfig.Clone()
	opt.TLSConfig.RootCAs, opt.TLSConfig.MinVersion = roots, tls.VersionTLS12
	return opt, nil
}

// retain counts one user more, unless there is none left.
func (s *store) retain() bool {
	for {
		n := s.users.Load()
		if n == 0 {
			return false
		}
		if s.users.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// release ends the store with its last user.
func (s *store) release() error {
	if s.users.Add(-1) > 0 {
		return nil
	}
	s.stop()
	<-s.stopped
	return s.client.Close()
}

// up reports whether the store is worth asking.
func (s *store) up() bool { return s.alive.Load() }

// ask lets the store decide about a draw, and reports whether it did, in time.
func (s *store) ask(l *Limiter, d *draw) bool {
	s.asked.Add(1)
	c := s.question(l, d)
	select {
	case s.queue <- c:
	default:
		s.failed.Add(1)
		return false
	}
	timer := time.NewTimer(s.cfg.Timeout)
	defer timer.Stop()
	select {
	case <-c.done:
	case <-timer.C:
		if c.state.CompareAndSwap(waiting, abandoned) {
			s.failed.Add(1)
			s.fail(errTimeout)
			return false
		}
		<-c.done
	}
	if c.err != nil {
		s.failed.Add(1)
		return false
	}
	if refused := d.believe(c.reply); refused && d.lease != nil {
		s.forget(d.lease) // nothing was granted
		d.lease = nil
	}
	return true
}

// question writes down what a draw would take, and takes out a lease where the
// request will have to be settled.
func (s *store) question(l *Limiter, d *draw) *call {
	id := s.gateway + strconv.FormatUint(s.number.Add(1), 36)
	c := &call{script: askScript, args: []any{id, leaseTime.Milliseconds()}, done: make(chan struct{})}
	var held *lease
	for i := range d.uses {
		u := &d.uses[i]
		for j := u.first; j < u.last; j++ {
			sub := &d.subs[j]
			sz := u.limit.size.times(sub.tier.multiple)
			usage, cost, watch := "s", u.limit.cost, 0
			if u.limit.watch {
				watch = 1
			}
			name := l.storeKey(d, u.limit, sub)
			e := entry{limit: u.limit, size: sz}
			if u.limit.usage != counts {
				c.keys = append(c.keys, name)
				e.bucket = name
			}
			if u.limit.usage != spends {
				usage, cost, e.flying = "c", 1, name+"|flying"
				if u.limit.usage == charges {
					usage = "a"
				}
				c.keys = append(c.keys, e.flying)
				if held == nil {
					held = &lease{store: s, id: id, since: time.Now()}
				}
				held.entries = append(held.entries, e)
			}
			c.args = append(c.args, usage, interval(sz), sz.burst, cost, watch)
		}
	}
	if held != nil {
		s.mu.Lock()
		s.live[held] = struct{}{}
		s.mu.Unlock()
	}
	d.lease = held
	return c
}

// storeKey is the name of a key in the store. What a client chose is hashed,
// with the key that gateways share, also to bound its length.
func (l *Limiter) storeKey(d *draw, lim *limit, sub *subject) string {
	name := keyPrefix + lim.Name + ":"
	if sub.key.bits != bitsText {
		return name + strings.ReplaceAll(d.name(lim, sub), " ", "_")
	}
	value := d.req.Path
	if lim.Key.Kind != ByPath {
		value = lim.Key.only(d.req.Head)
	}
	return name + "#" + l.digest(value)
}

// believe takes over what the store said of each key, and reports whether the
// request is refused.
func (d *draw) believe(reply []int64) bool {
	n := 0
	for i := range d.uses {
		u := &d.uses[i]
		u.worst = bucket{}
		for j := u.first; j < u.last; j++ {
			k := bucket{sub: j, size: u.limit.size.times(d.subs[j].tier.multiple)}
			if r := reply[n]; r < 0 {
				k.wait = time.Duration(-1-r) * time.Microsecond
			} else {
				k.left = float64(r) / 1000
			}
			u.keep(k)
			n++
		}
	}
	return d.refused() != nil
}

// ended takes a lease out of those that are renewed, and sends the call that
// ends it, now or when the store is back.
func (s *store) ended(l *lease, c *call) {
	s.forget(l)
	if s.up() {
		select {
		case s.queue <- c:
			return
		default:
		}
	}
	s.orphan(c)
}

func (s *store) forget(l *lease) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.live, l)
}

func (s *store) orphan(c *call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.orphans) < maxOrphans {
		s.orphans = append(s.orphans, c)
	}
}

func (s *store) stats() StoreStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return StoreStats{
		Up: s.up(), Since: s.changed, Problem: s.problem,
		Asked: s.asked.Load(), Failed: s.failed.Load(), Changes: s.changes.Load(),
	}
}

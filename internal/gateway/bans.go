package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"sync"
	"time"

	"go.uber.org/zap"

	"sallyport/internal/config"
	"sallyport/internal/gate"
	"sallyport/limiter"
)

const (
	// saveInterval is how often bans that have changed are written down, and
	// shareInterval how often they are told to gateways that share a store.
	saveInterval  = 5 * time.Second
	shareInterval = time.Second
)

// bans keeps who is banned over generations, in a file over restarts, and
// where there is a store together with other gateways.
type bans struct {
	mu      sync.Mutex
	current *limiter.Bans
	file    string
	store   *limiter.BanStore // nil: bans are not shared
	apart   bool              // the store did not answer the last time
	stop    func()            // ends the saving and waits for its end; nil: nothing is saved yet
}

// banFile is where the bans of a configuration outlive a restart.
func banFile(cfg *config.Config) string { return filepath.Join(cfg.State.Dir, "bans.json") }

// openBans returns the bans of the next generation. The first one that bans
// anybody reads the file.
func (g *Gateway) openBans(cfg *config.Config, trusted func(netip.Addr) bool) (*limiter.Bans, error) {
	g.bans.mu.Lock()
	old := g.bans.current
	g.bans.mu.Unlock()
	b := limiter.NewBans(cfg.Bans, trusted, old)
	if cfg.Bans.Mode == gate.Off {
		return b, nil
	}
	return b, b.Restore(banFile(cfg))
}

// use makes the bans of a generation those that are saved and shared.
func (b *bans) use(next *limiter.Bans, cfg *config.Config, log *zap.Logger) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.current, b.file = next, banFile(cfg)
	b.share(cfg, log)
	if b.stop != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { b.keep(ctx, log) })
	b.stop = func() { cancel(); wg.Wait() }
}

// share opens the store of a configuration, or leaves it. Called with the lock.
func (b *bans) share(cfg *config.Config, log *zap.Logger) {
	wanted := cfg.Limiter.Store.URL != "" && cfg.Bans.Mode != gate.Off
	if b.store != nil && wanted && b.store.For(cfg.Limiter.Store) {
		return
	}
	if b.store != nil {
		_ = b.store.Close() // nothing is lost with it
		b.store = nil
	}
	if wanted {
		var err error
		if b.store, err = limiter.OpenBanStore(cfg.Limiter.Store); err != nil { // the limiter has opened it a moment ago
			log.Error("bans are not shared", zap.Error(err))
		}
	}
	b.current.Share(b.store != nil)
}

// keep saves and shares until ctx ends.
func (b *bans) keep(ctx context.Context, log *zap.Logger) {
	save, share := time.NewTicker(saveInterval), time.NewTicker(shareInterval)
	defer save.Stop()
	defer share.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-save.C:
			if err := b.save(); err != nil {
				log.Error("bans are not saved", zap.Error(err))
			}
		case <-share.C:
			b.exchange(ctx, log)
		}
	}
}

// exchange tells and learns bans, and logs when that begins or ceases to work.
func (b *bans) exchange(ctx context.Context, log *zap.Logger) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.store == nil {
		return
	}
	err := b.store.Exchange(ctx, b.current)
	switch {
	case ctx.Err() != nil:
	case err != nil && !b.apart:
		log.Warn("bans are not shared until the store answers again", zap.Error(err))
	case err == nil && b.apart:
		log.Info("bans are shared again")
	}
	b.apart = err != nil
}

func (b *bans) save() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.current == nil {
		return nil
	}
	return b.current.Save(b.file)
}

// close saves for the last time.
func (b *bans) close() error {
	b.mu.Lock()
	stop := b.stop
	b.stop = nil
	b.mu.Unlock()
	if stop != nil {
		stop()
	}
	err := b.save()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.store != nil {
		err = errors.Join(err, b.store.Close())
		b.store = nil
	}
	return err
}

// banning counts refusals towards bans, and tells when one begins.
type banning struct{ *Generation }

// Settle implements proxy.Settler.
func (b banning) Settle(req *gate.Request, _ int) {
	ban := b.bans.Settle(req)
	if ban == nil {
		return
	}
	length := ban.Until.Sub(ban.Since)
	b.gateway.opt.Log.Info("a client is banned", zap.Stringer("client", ban.Client), zap.Duration("for", length),
		zap.Int("bans_before", ban.Repeats), zap.String("reason", ban.Reason))
	v := gate.Refusal(gate.BanActive, b.cfg.Bans.Mode, fmt.Sprintf("%s for %s after %s, bans before: %d", ban.Client, length, ban.Reason, ban.Repeats))
	b.gateway.Record(gate.Record{
		V: gate.RecordVersion, Time: ban.Since, ID: req.ID, Event: gate.EventBanned,
		Action: v.Action.String(), Stage: v.Stage, Reason: v.Reason, Mode: b.cfg.Bans.Mode, Detail: v.Detail,
		Gateway:  gate.RecordGateway{Host: b.gateway.host, Version: b.gateway.opt.Version, Generation: b.number},
		Listener: req.Listener,
		Client: gate.RecordClient{
			IP: req.Client.String(), Peer: req.Origin.SocketText(), ChosenBy: req.ChosenBy, Country: req.Place.Country, ASN: req.Place.ASN,
		},
		Request: gate.RecordRequest{Headers: []gate.RecordField{}},
		Micros:  map[string]int64{},
	})
}

// Turn implements server.Generation.
func (g *Generation) Turn(peer netip.Addr) (away, record bool) { return g.bans.Turn(peer) }

var (
	errBansOff = errors.New("bans.mode is off")
	errNoBan   = errors.New("this client is not banned")
)

// Bans implements server.Generation.
func (g *Generation) Bans() any { return g.bans.List() }

// Ban implements server.Generation.
func (g *Generation) Ban(client netip.Addr, length time.Duration, reason string) (any, error) {
	if g.cfg.Bans.Mode == gate.Off {
		return nil, errBansOff
	}
	if reason = "manual: " + reason; reason == "manual: " {
		reason = "manual"
	}
	ban, ok := g.bans.Add(client, length, reason)
	if !ok {
		return nil, fmt.Errorf("%s cannot be banned: it is a trusted proxy or exempt, or the table is full", client)
	}
	g.gateway.opt.Log.Info("banned by hand", zap.Stringer("client", ban.Client), zap.Time("until", ban.Until), zap.String("reason", reason))
	g.handler.Review(g.cfg.Server.ShutdownTimeout)
	return ban, nil
}

// Unban implements server.Generation.
func (g *Generation) Unban(client netip.Addr) error {
	if !g.bans.Remove(client) {
		return errNoBan
	}
	g.gateway.opt.Log.Info("ban removed by hand", zap.Stringer("client", limiter.Key(client)))
	return nil
}

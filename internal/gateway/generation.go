package gateway

import (
	"context"
	"errors"
	"net/http"
	"net/netip"

	"go.uber.org/zap"

	"sallyport/internal/audit"
	"sallyport/internal/client"
	"sallyport/internal/config"
	"sallyport/internal/gate"
	"sallyport/internal/geo"
	"sallyport/internal/server"
	"sallyport/limiter"
	"sallyport/proxy"
	"sallyport/waf"
)

// A Generation is one configuration at work.
type Generation struct {
	gateway *Gateway
	number  uint64
	cfg     *config.Config

	client  *client.Resolver
	geo     *geo.Filter
	limiter *limiter.Limiter
	bans    *limiter.Bans
	waf     *waf.Engine
	audit   *audit.Log
	handler *proxy.Handler
	active  bool
	cool    func() // ends the warming up of the rules; nil: there was none
}

// open builds the stages in the order of the path. On an error the caller
// closes what was opened so far.
func (g *Generation) open() (err error) {
	log, cfg := g.gateway.opt.Log, g.cfg
	if g.client, err = client.New(cfg.Client); err != nil {
		return err
	}
	if g.geo, err = geo.Open(cfg.Geo, log.Named("geo")); err != nil {
		return err
	}
	if g.limiter, err = limiter.New(cfg.Limiter, g.gateway.limiter.Load(), log.Named("limiter")); err != nil {
		return err
	}
	if g.bans, err = g.gateway.openBans(cfg, g.trusted); err != nil {
		return err
	}
	rules := cfg.WAF
	rules.LogLines = rules.LogLines || cfg.Audit.RulesLog != ""
	if g.waf, err = waf.New(rules, log.Named("waf")); err != nil {
		return err
	}
	if g.audit, err = g.gateway.openAudit(cfg.Audit); err != nil {
		return err
	}
	handling := cfg.Proxy
	handling.ClientHeader = cfg.Client.Header
	g.handler, err = proxy.New(handling, proxy.Stages{
		Client:    g.client,
		Ban:       g.bans,
		Geo:       g.geo,
		Limit:     g.limiter,
		WAF:       inspector{g.waf},
		Settlers:  []proxy.Settler{g.limiter, banning{g}},
		Recorders: []proxy.Recorder{g.gateway},
		Fleet:     g.gateway.fleet,
		Tunnels:   &g.gateway.tunnels,
	}, proxy.Identity{Host: g.gateway.host, Version: g.gateway.opt.Version, Generation: g.number}, log.Named("proxy"))
	return err
}

// trusted reports whether an address is a trusted proxy's.
func (g *Generation) trusted(a netip.Addr) bool { return g.client.TrustedPeer(a, false) }

// Activate is called once, when the generation starts to serve.
func (g *Generation) Activate() {
	g.active = true
	g.gateway.activate(g)
	if g.gateway.opt.Warm {
		g.warm()
	}
}

// warm begins to warm up the rules, which takes some tenths of a second.
func (g *Generation) warm() {
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		g.waf.Warm(ctx)
	}()
	g.cool = func() {
		stop()
		<-done
	}
}

// Close takes the stages down. It is called when no request uses them any
// more, or when the generation never served.
func (g *Generation) Close() error {
	var errs []error
	if g.cool != nil {
		g.cool()
	}
	if g.handler != nil {
		errs = append(errs, g.handler.Close())
	}
	if g.waf != nil {
		errs = append(errs, g.waf.Close())
	}
	if g.limiter != nil {
		errs = append(errs, g.limiter.Close())
	}
	if g.geo != nil {
		errs = append(errs, g.geo.Close())
	}
	if g.audit != nil && !g.active && g.audit != g.gateway.audit.Load() {
		errs = append(errs, g.audit.Close())
	}
	err := errors.Join(errs...)
	if err != nil {
		g.gateway.opt.Log.Error("a generation was not closed cleanly", zap.Uint64("generation", g.number), zap.Error(err))
	}
	return err
}

// ServeHTTP implements server.Generation.
func (g *Generation) ServeHTTP(w http.ResponseWriter, r *http.Request) { g.handler.ServeHTTP(w, r) }

// Server implements server.Generation.
func (g *Generation) Server() server.Config { return g.cfg.Server }

// TrustedPeer implements server.Generation.
func (g *Generation) TrustedPeer(peer netip.Addr, unix bool) bool {
	return g.client.TrustedPeer(peer, unix)
}

// inspector lets the handler drive the engine without knowing its package.
type inspector struct{ engine *waf.Engine }

// Begin implements proxy.Inspector.
func (i inspector) Begin(req *gate.Request) proxy.Inspection { return i.engine.Begin(req) }

// Package gateway turns a configuration into a running generation: it builds
// every stage, introduces them to the handler, and takes them down again. It
// does the same offline, without sockets, for check and for rule tests. It
// decides nothing about requests.
package gateway

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"reflect"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"sallyport/internal/audit"
	"sallyport/internal/config"
	"sallyport/internal/gate"
	"sallyport/internal/metrics"
	"sallyport/limiter"
	"sallyport/proxy"
	"sallyport/waf"
)

// Options are what a gateway is given from outside.
type Options struct {
	// Load reads the configuration anew for every generation. Fatal
	// diagnostics keep the running one.
	Load    func() (*config.Config, gate.Diagnostics)
	Version string
	// Also gets every record beside the audit log; nil: nobody.
	Also proxy.Recorder
	// Warm has the rules of each generation look at made-up requests while it
	// begins to serve: see waf.Engine.Warm.
	Warm bool
	Log  *zap.Logger
}

// A Gateway makes one generation after the other and keeps what outlives
// them: the audit log, the budgets of clients, what is known of backends, the
// tunnels, the metrics. Its methods may be called from any goroutine.
type Gateway struct {
	opt     Options
	host    string
	metrics *metrics.Metrics

	build   sync.Mutex // one generation is built at a time
	audit   atomic.Pointer[audit.Log]
	limiter atomic.Pointer[limiter.Limiter]
	fleet   *proxy.Fleet
	bans    bans
	tunnels proxy.Tunnels
	current atomic.Pointer[Generation]
	reloads reloads
}

// reloads counts how often the configuration was read.
type reloads struct {
	good, bad atomic.Uint64
	lastOK    atomic.Bool
	lastGood  atomic.Int64 // Unix seconds
}

// New returns a gateway that has not built anything.
func New(opt Options) *Gateway {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return &Gateway{opt: opt, host: host, metrics: metrics.New(opt.Version), fleet: proxy.NewFleet()}
}

// Metrics serves what was counted, for Prometheus.
func (g *Gateway) Metrics() http.Handler { return g.metrics.Handler() }

// Record implements proxy.Recorder for every generation and for the server.
func (g *Gateway) Record(r gate.Record) {
	if r.Gateway.Host == "" {
		r.Gateway.Host = g.host
	}
	g.metrics.Record(r)
	if g.opt.Also != nil {
		g.opt.Also.Record(r)
	}
	if log := g.audit.Load(); log != nil {
		log.Record(r)
	}
}

// Reopen closes and opens the audit log's files, for an external rotation.
func (g *Gateway) Reopen() error {
	if log := g.audit.Load(); log != nil {
		return log.Reopen()
	}
	return nil
}

// Close writes out who is banned, and what the audit log still holds. It comes after the last
// generation was closed.
func (g *Gateway) Close() error {
	err := g.bans.close()
	if log := g.audit.Swap(nil); log != nil {
		err = errors.Join(err, log.Close())
	}
	return err
}

// Build makes the next generation, whole or not at all. Nothing that is running
// changes before the generation is activated.
func (g *Gateway) Build(number uint64) (*Generation, error) {
	g.build.Lock()
	defer g.build.Unlock()

	gen, err := g.next(number)
	g.reloads.lastOK.Store(err == nil)
	if err != nil {
		g.reloads.bad.Add(1)
	}
	return gen, err
}

func (g *Gateway) next(number uint64) (*Generation, error) {
	cfg, ds := g.opt.Load()
	for _, d := range ds {
		if d.Warning {
			g.opt.Log.Warn("configuration", zap.String("problem", d.String()))
		}
	}
	if ds.Fatal() {
		return nil, ds
	}
	secret, err := config.Secret(cfg.State)
	if err != nil {
		return nil, err
	}
	cfg.Audit.Key, err = config.DeriveKey(secret, "redaction")
	if err != nil {
		return nil, err
	}
	cfg.Limiter.Secret, err = config.DeriveKey(secret, "limiter")
	if err != nil {
		return nil, err
	}
	cfg.Proxy.Secret, err = config.DeriveKey(secret, "pools")
	if err != nil {
		return nil, err
	}
	cfg.Proxy.SplitKey, err = config.DeriveKey(secret, "split")
	if err != nil {
		return nil, err
	}
	gen := &Generation{gateway: g, number: number, cfg: cfg}
	if err := gen.open(); err != nil {
		return nil, errors.Join(err, gen.Close())
	}
	// Compiling rules leaves several times the memory behind that they keep.
	debug.FreeOSMemory()
	return gen, nil
}

// openAudit returns the log that a configuration asks for: the running one
// when nothing about it has changed.
func (g *Gateway) openAudit(cfg audit.Config) (*audit.Log, error) {
	if cur := g.current.Load(); cur != nil && reflect.DeepEqual(cur.cfg.Audit, cfg) {
		return g.audit.Load(), nil
	}
	log, err := audit.New(cfg, g.opt.Log)
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	return log, nil
}

// activate makes the generation the one whose log, budgets and numbers count.
func (g *Gateway) activate(next *Generation) {
	g.reloads.good.Add(1)
	g.reloads.lastGood.Store(time.Now().Unix())
	g.current.Store(next)
	for _, rc := range next.cfg.Proxy.Routes {
		if rc.Route.Pool != "" {
			g.metrics.Route(rc.Route.Name, rc.Route.Pool)
		}
		for _, arm := range rc.Split {
			g.metrics.Route(rc.Route.Name, arm.Pool)
		}
	}
	for name, p := range next.cfg.WAF.Policies {
		g.metrics.Policy(name, p.Mode != gate.Off && p.Engine == waf.CompareEngine)
	}
	g.limiter.Store(next.limiter)
	next.handler.Activate()
	g.bans.use(next.bans, next.cfg, g.opt.Log)
	next.handler.Review(next.cfg.Server.ShutdownTimeout)
	if old := g.audit.Swap(next.audit); old != nil && old != next.audit {
		if err := old.Close(); err != nil {
			g.opt.Log.Error("the old audit log was not closed cleanly", zap.Error(err))
		}
	}
}

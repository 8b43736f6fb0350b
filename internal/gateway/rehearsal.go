package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"go.uber.org/zap"

	"sallyport/internal/audit"
	"sallyport/internal/config"
	"sallyport/internal/ftw"
	"sallyport/internal/gate"
	"sallyport/internal/geo"
	"sallyport/internal/server"
	"sallyport/limiter"
	"sallyport/proxy"
)

// A Rehearsal is a whole gateway in this process, on loopback ports of its
// own, in front of a backend that tests bring: what a rule test meets is what
// a client would meet. It implements ftw.Target.
type Rehearsal struct {
	gateway *Gateway
	server  *server.Server
	backend *http.Server
	records ftw.Collector
	address string
	state   string
}

var _ ftw.Target = (*Rehearsal)(nil)

// Rehearse starts a gateway for one policy of a configuration. Limits, geo
// rules, pools and the routes of other policies are left out: everything goes
// to the backend through the policy, by the routes that use it where one of
// them takes the request. Hygiene is observed, so that rules see
// what the strict reader would otherwise refuse before them.
func Rehearse(cfg *config.Config, policy string, backend http.Handler) (*Rehearsal, error) {
	rules, ok := cfg.WAF.Policies[policy]
	if !ok {
		return nil, fmt.Errorf("there is no policy %q", policy)
	}
	r := &Rehearsal{}
	if err := r.start(cfg, policy, rules.Methods, backend); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

func (r *Rehearsal) start(base *config.Config, policy string, methods []string, backend http.Handler) error {
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("rehearsal backend: %w", err)
	}
	r.backend = &http.Server{Handler: backend, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = r.backend.Serve(socket) }() // ends with Close
	if r.state, err = os.MkdirTemp("", "sallyport-rehearsal-"); err != nil {
		return err
	}
	const name = "rehearsal"
	cfg := *base
	cfg.Server.Listeners = []server.Listener{{Address: "127.0.0.1:0", HTTP1: true}}
	cfg.Server.Admin = server.Admin{}
	cfg.Server.ShutdownTimeout = time.Second
	cfg.Server.MaxPerClient = cfg.Server.MaxConnections
	cfg.Client.Trusted = nil
	cfg.Geo = geo.Config{Mode: gate.Off}
	cfg.Limiter = limiter.Config{Mode: base.Limiter.Mode, IPv6Tiers: base.Limiter.IPv6Tiers, MaxClients: base.Limiter.MaxClients}
	cfg.Audit = audit.Config{Path: os.DevNull}
	cfg.WAF.LogLines = true // tests look into them
	cfg.State = config.StateConfig{Dir: filepath.Join(r.state, "state")}
	cfg.Proxy.Hygiene = gate.Watch
	unmasked := proxy.MaskConfig{Leaks: proxy.LeakConfig{Headers: proxy.LeakOff, Bodies: proxy.LeakOff}} // tests ask about the rules alone
	cfg.Proxy.Routes = nil
	for _, rc := range base.Proxy.Routes {
		if rc.Route.Policy == policy { // an exclusion may be for one of them
			rc.Route.Pool, rc.Route.MaskErrors, rc.Route.Limits = name, "pass", []string{}
			rc.Mask, rc.Headers, rc.Split, rc.Override, rc.Rewrite.Redirect = unmasked, proxy.HeaderConfig{}, nil, proxy.OverrideConfig{}, proxy.RedirectConfig{}
			cfg.Proxy.Routes = append(cfg.Proxy.Routes, rc)
		}
	}
	cfg.Proxy.Routes = append(cfg.Proxy.Routes, proxy.RouteConfig{Mask: unmasked, Route: gate.Route{
		Name: name, Pool: name, Policy: policy, Methods: methods, MaxBody: cfg.Proxy.MaxBody, MaskErrors: "pass", Limits: []string{},
	}})
	cfg.Proxy.Pools = []proxy.PoolConfig{{
		Name:     name,
		Backends: []proxy.BackendConfig{{Name: name, URL: &url.URL{Scheme: "http", Host: socket.Addr().String()}, Weight: 1}},
		Balance:  "round_robin",
		Retry:    proxy.RetryConfig{Attempts: 1},
		Timeout:  proxy.TimeoutConfig{Connect: 5 * time.Second, Header: 10 * time.Second, Idle: 10 * time.Second},
	}}
	log := zap.NewNop()
	r.gateway = New(Options{
		Load:    func() (*config.Config, gate.Diagnostics) { c := cfg; return &c, nil },
		Version: "rehearsal", Also: &r.records, Log: log,
	})
	r.server = server.New(server.Options{
		Build:  func(n uint64) (server.Generation, error) { return r.gateway.Build(n) },
		Record: r.gateway.Record,
		Log:    log,
	})
	if err := r.server.Start(); err != nil {
		return err
	}
	for _, addr := range r.server.Addresses() {
		r.address = addr.String()
	}
	return nil
}

// Dial implements ftw.Target.
func (r *Rehearsal) Dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", r.address)
}

// Outcome implements ftw.Target.
func (r *Rehearsal) Outcome(ctx context.Context, id string) (ftw.Outcome, error) {
	return r.records.Outcome(ctx, id)
}

// Close stops the gateway and its backend.
func (r *Rehearsal) Close() error {
	var errs []error
	if r.server != nil {
		errs = append(errs, r.server.Shutdown())
	}
	if r.gateway != nil {
		errs = append(errs, r.gateway.Close())
	}
	if r.backend != nil {
		errs = append(errs, r.backend.Close())
	}
	if r.state != "" {
		errs = append(errs, os.RemoveAll(r.state))
	}
	return errors.Join(errs...)
}

// RehearseCRS starts a gateway as the regression suite of the Core Rule Set
// expects it: paranoia level 4, the suite's own set-up in front of the rules,
// every method allowed, response bodies judged.
func RehearseCRS(setup string, backend http.Handler) (*Rehearsal, error) {
	cfg, ds := config.Quick("http://127.0.0.1:1", "127.0.0.1:0")
	if ds.Fatal() {
		return nil, ds
	}
	dir, err := os.MkdirTemp("", "sallyport-crs-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }() // the rules have been read by then
	file := filepath.Join(dir, "setup.conf")
	if err := os.WriteFile(file, []byte(setup), 0o600); err != nil {
		return nil, err
	}
	const name = "default"
	p := cfg.WAF.Policies[name]
	p.Paranoia, p.DetectionParanoia = 4, 4
	p.Mode = gate.Watch
	p.ResponseBody = "all"
	p.RulesBefore = []string{file}
	cfg.WAF.Policies[name] = p
	// The methods of the suite pass the gateway; the set-up tells the rules
	// which of them are allowed.
	cfg.Proxy.Methods = append(cfg.Proxy.Methods, "PROPFIND", "SUBSCRIBE", "TEST", "FOO", "REALLYLONGUNREALMETHOD")
	return Rehearse(cfg, name, backend)
}

// Package server owns the sockets: it accepts connections and bounds them,
// opens TLS, chooses HTTP/1 or HTTP/2, puts the strict guard in front of
// net/http, swaps generations on reload, drains on shutdown and serves the
// admin endpoint. It decides nothing about requests: each goes to the handler
// of the generation that is current when it begins.
package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"sallyport/internal/gate"
)

// Options are what the server is given from outside.
type Options struct {
	// Build makes the next generation; number counts from 1. An error leaves
	// nothing behind.
	Build func(number uint64) (Generation, error)
	// Listen opens a socket; nil: net.Listen.
	Listen func(network, address string) (net.Listener, error)
	// Record takes the records of connections that never became a request.
	Record func(gate.Record)
	// Metrics is served at /metrics; nil: not found.
	Metrics http.Handler
	// Version is shown by /status.
	Version string
	Log     *zap.Logger
}

// A Server runs one generation after the other on one set of sockets. Its
// methods may be called from any goroutine.
type Server struct {
	opt     Options
	log     *zap.Logger
	started time.Time

	reload    sync.Mutex // held while a generation is built and swapped
	number    uint64     // of the newest generation that was tried
	current   atomic.Pointer[running]
	listeners map[string]*listener
	engines   atomic.Pointer[engines]
	admin     *admin

	conns    connTable
	inFlight atomic.Int64
	draining atomic.Bool
	accepts  sync.WaitGroup
	retiring sync.WaitGroup
}

// New returns a server that is not running yet.
func New(opt Options) *Server {
	if opt.Listen == nil {
		opt.Listen = net.Listen
	}
	if opt.Record == nil {
		opt.Record = func(gate.Record) {}
	}
	return &Server{opt: opt, log: opt.Log, started: time.Now(), listeners: map[string]*listener{}}
}

// Start builds the first generation and opens every socket, or returns an
// error and leaves nothing open.
func (s *Server) Start() error {
	s.reload.Lock()
	defer s.reload.Unlock()
	if err := s.swap(); err != nil {
		return err
	}
	s.notifyReady()
	return nil
}

// Reload builds the next generation and swaps to it, or keeps the running one
// and returns why.
func (s *Server) Reload() error {
	s.reload.Lock()
	defer s.reload.Unlock()
	if s.draining.Load() {
		return errors.New("the gateway is shutting down")
	}
	s.notifyReloading()
	defer s.notifyReady()
	if err := s.swap(); err != nil {
		s.log.Error("reload failed, the running configuration stays", zap.Uint64("generation", s.Generation()))
		return err
	}
	s.log.Info("reloaded", zap.Uint64("generation", s.Generation()))
	return nil
}

// swap is Start and Reload: everything that can fail happens before anything
// that is running is touched.
func (s *Server) swap() error {
	number := s.number + 1
	next, err := s.opt.Build(number)
	if err != nil {
		return err
	}
	cfg := next.Server()
	settings := make([]*settings, len(cfg.Listeners))
	for i, l := range cfg.Listeners {
		settings[i] = newSettings(l, cfg)
	}
	opened, err := s.openMissing(cfg)
	if err != nil {
		return errors.Join(err, next.Close())
	}
	adm, admSettings, err := s.nextAdmin(cfg.Admin)
	if err != nil {
		for _, l := range opened {
			err = errors.Join(err, l.Close())
		}
		return errors.Join(err, next.Close())
	}

	// From here on nothing fails.
	s.number = number
	next.Activate()
	old := s.current.Swap(newRunning(next, number, &s.retiring))
	s.conns.limit(cfg.MaxConnections, cfg.MaxPerClient)
	s.useEngines(cfg)
	s.useListeners(cfg, settings, opened)
	s.useAdmin(adm, admSettings)
	if old != nil {
		old.release()
	}
	return nil
}

// openMissing opens the sockets of cfg that are not open yet.
func (s *Server) openMissing(cfg Config) (map[string]net.Listener, error) {
	opened := map[string]net.Listener{}
	for _, l := range cfg.Listeners {
		if s.listeners[l.Address] != nil {
			continue
		}
		socket, err := s.listen(l.Address, cmp.Or(l.Mode, defaultMode))
		if err != nil {
			err = fmt.Errorf("listen on %s: %w", l.Address, err)
			for _, o := range opened {
				err = errors.Join(err, o.Close())
			}
			return nil, err
		}
		opened[l.Address] = socket
	}
	return opened, nil
}

// useListeners hands the new settings to the sockets that stay, starts those
// that were opened, and closes the rest.
func (s *Server) useListeners(cfg Config, settings []*settings, opened map[string]net.Listener) {
	keep := map[string]bool{}
	for i, l := range cfg.Listeners {
		keep[l.Address] = true
		if have := s.listeners[l.Address]; have != nil {
			have.settings.Store(settings[i])
			s.permit(have, cmp.Or(l.Mode, defaultMode))
			continue
		}
		ln := &listener{address: l.Address, socket: opened[l.Address], server: s}
		ln.settings.Store(settings[i])
		s.listeners[l.Address] = ln
		s.accepts.Go(ln.accept)
		s.log.Info("listening", zap.String("address", ln.socket.Addr().String()), zap.Bool("tls", settings[i].tls != nil))
	}
	for address, ln := range s.listeners {
		if !keep[address] {
			delete(s.listeners, address)
			ln.close()
			s.log.Info("no longer listening", zap.String("address", address))
		}
	}
}

// permit gives a Unix socket that stays open the permissions that it is to
// have now.
func (s *Server) permit(ln *listener, mode fs.FileMode) {
	if f, ok := ln.socket.(*fileSocket); ok {
		if err := f.permit(mode); err != nil {
			s.log.Warn("the permissions of a socket stay as they were", zap.String("address", ln.address), zap.Error(err))
		}
	}
}

// useAdmin puts the settings to work, and starts and ends endpoints as needed.
func (s *Server) useAdmin(next *admin, set *adminSettings) {
	if next != nil {
		next.settings.Store(set)
	}
	if next == s.admin {
		return
	}
	if s.admin != nil {
		s.admin.close()
	}
	if s.admin = next; next != nil {
		next.serve()
	}
}

// Addresses returns the addresses that the server listens on, as opened, by
// their configured name.
func (s *Server) Addresses() map[string]net.Addr {
	s.reload.Lock()
	defer s.reload.Unlock()
	out := make(map[string]net.Addr, len(s.listeners))
	for name, l := range s.listeners {
		out[name] = l.socket.Addr()
	}
	return out
}

// Shutdown stops accepting, lets requests in flight finish for as long as the
// configuration allows, ends tunnels, and closes the generation. It returns an
// error when requests had to be cut off.
func (s *Server) Shutdown() error {
	s.draining.Store(true)
	s.notifyStopping()
	s.reload.Lock()
	defer s.reload.Unlock()
	run := s.current.Load()
	if run == nil {
		return nil
	}
	for _, l := range s.listeners {
		l.close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), run.Server().ShutdownTimeout)
	defer cancel()
	err := s.engines.Load().shutdown(ctx)
	s.conns.closeAll()
	s.useAdmin(nil, nil)
	s.accepts.Wait()
	s.current.Swap(nil).release()
	if !waitFor(&s.retiring, 5*time.Second) {
		err = errors.Join(err, errors.New("a request did not end after its connection was closed"))
	}
	if err != nil {
		return fmt.Errorf("requests in flight were cut off: %w", err)
	}
	return nil
}

// waitFor waits for the group, but not longer than d.
func waitFor(wg *sync.WaitGroup, d time.Duration) bool {
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	select {
	case <-done:
		return true
	case <-time.After(d):
		return false
	}
}

// Connections returns how many client connections are open.
func (s *Server) Connections() int { return s.conns.total() }

// InFlight returns how many requests are being served.
func (s *Server) InFlight() int64 { return s.inFlight.Load() }

// Generation returns the number of the generation that is serving; 0 before
// the first and after the last.
func (s *Server) Generation() uint64 {
	if run := s.current.Load(); run != nil {
		return run.number
	}
	return 0
}

// ServeHTTP hands the request to the current generation and keeps that alive
// until the request has ended, or has become a tunnel.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	run := s.acquire()
	if run == nil {
		w.Header().Set("Connection", "close")
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	hold := lease{run: run}
	s.inFlight.Add(1)
	defer func() {
		s.inFlight.Add(-1)
		hold.release()
	}()
	switch in := gate.InboundOf(r.Context()).(type) {
	case interface{ hold(*lease) }: // HTTP/1, plain or behind TLS
		in.hold(&hold)
		defer in.hold(nil)
	case *conn2:
		r.TLS = in.state
		var end func()
		w, end = newPaced(w, in.set.limits)
		defer end()
	}
	run.ServeHTTP(w, r)
}

// acquire returns the current generation, held; nil when there is none.
func (s *Server) acquire() *running {
	for {
		run := s.current.Load()
		if run == nil || run.acquire() {
			return run
		}
	}
}

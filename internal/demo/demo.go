// Package demo is a small web application worth attacking, and what is needed
// to watch the gateway protect it: two instances that give themselves away,
// a configuration, made-up databases of countries and networks, and a list of
// things to try.
//
// It listens on loopback only, runs nothing, touches no file and holds no real
// data; whatever a visitor can make it remember is bounded. It is deliberately
// careless about everything else and must never be used for anything real.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"
)

// An instance is one of the servers that the application pretends to run on.
type instance struct {
	name    string
	server  string // Server field
	powered string // X-Powered-By field
	host    string // what it calls itself in traces and errors
}

// instances are the two that Start runs.
func instances() []instance {
	return []instance{
		{name: "one", server: "nginx/1.18.0 (Ubuntu)", powered: "PHP/7.4.3", host: "shop-one.internal"},
		{name: "two", server: "Apache/2.4.41 (Win64) OpenSSL/1.1.1c", powered: "ASP.NET", host: "shop-two.internal"},
	}
}

// An App is the running application.
type App struct {
	servers []*http.Server
	urls    []string
	stop    context.CancelFunc
	done    sync.WaitGroup

	mu     sync.Mutex
	failed error // of a server that ended by itself
}

// Start starts both instances on free ports of 127.0.0.1. They end with ctx or
// with Close, whichever comes first.
func Start(ctx context.Context) (*App, error) {
	ctx, stop := context.WithCancel(ctx)
	a := &App{stop: stop}
	shared := newShop()
	for _, in := range instances() {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, errors.Join(fmt.Errorf("start demo instance %s: %w", in.name, err), a.Close())
		}
		srv := &http.Server{
			Handler:           shared.handler(in),
			ReadHeaderTimeout: 10 * time.Second,
			IdleTimeout:       time.Minute,
			MaxHeaderBytes:    128 << 10,
			ErrorLog:          log.New(io.Discard, "", 0),
			BaseContext:       func(net.Listener) context.Context { return ctx },
		}
		a.servers = append(a.servers, srv)
		a.urls = append(a.urls, "http://"+l.Addr().String())
		a.done.Go(func() {
			if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				a.mu.Lock()
				a.failed = errors.Join(a.failed, err)
				a.mu.Unlock()
			}
		})
	}
	a.done.Go(func() {
		<-ctx.Done()
		for _, srv := range a.servers {
			srv.Close()
		}
	})
	return a, nil
}

// Backends returns the URLs of the instances.
func (a *App) Backends() []string { return append([]string(nil), a.urls...) }

// Close ends both instances and waits until they have ended.
func (a *App) Close() error {
	a.stop()
	for _, srv := range a.servers {
		srv.Close()
	}
	a.done.Wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.failed
}

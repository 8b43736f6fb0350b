package server

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"go.uber.org/zap"

	"sallyport/internal/gate"
)

// engines are the two net/http servers that serve guarded connections.
type engines struct {
	kept     kept
	one, two *http.Server
	queue1   *queue
	queue2   *queue
}

// kept is what net/http itself keeps of a configuration, for HTTP/2.
type kept struct {
	HTTP2
	maxHeader           int
	idle, header, grace time.Duration
}

// useEngines starts the pair of servers, or a new pair when what they were
// given has changed; the old pair then finishes what it has.
func (s *Server) useEngines(cfg Config) {
	old := s.engines.Load()
	keep := kept{cfg.HTTP2, cfg.Limits.MaxHeader, cfg.Limits.IdleTimeout, cfg.Limits.HeaderTimeout, cfg.Limits.WriteGrace}
	if old != nil && old.kept == keep {
		return
	}
	e := &engines{kept: keep, queue1: newQueue(), queue2: newQueue()}
	engine := func() *http.Server {
		return &http.Server{
			Handler: s,
			// The guard has already bounded the head; what it hands on may be
			// longer only by what it writes itself.
			MaxHeaderBytes:               maxHandedOn,
			DisableGeneralOptionsHandler: true,
			ErrorLog:                     zap.NewStdLog(s.log.WithOptions(zap.IncreaseLevel(zap.ErrorLevel))),
			Protocols:                    new(http.Protocols),
			ConnContext: func(ctx context.Context, c net.Conn) context.Context {
				return gate.WithInbound(ctx, c.(gate.Inbound))
			},
		}
	}
	e.one, e.two = engine(), engine()
	e.one.Protocols.SetHTTP1(true)
	e.two.Protocols.SetUnencryptedHTTP2(true)
	e.two.MaxHeaderBytes = cfg.Limits.MaxHeader
	e.two.IdleTimeout = cfg.Limits.IdleTimeout
	e.two.HTTP2 = &http.HTTP2Config{
		MaxConcurrentStreams:          cfg.HTTP2.MaxStreams,
		MaxReadFrameSize:              maxFrame,
		MaxReceiveBufferPerConnection: cfg.HTTP2.Window,
		MaxReceiveBufferPerStream:     cfg.HTTP2.StreamWindow,
		WriteByteTimeout:              cfg.Limits.WriteGrace,
		SendPingTimeout:               cfg.Limits.IdleTimeout / 2,
		PingTimeout:                   cfg.Limits.HeaderTimeout,
	}
	s.accepts.Go(func() { _ = e.one.Serve(e.queue1) }) // ends with ErrServerClosed only
	s.accepts.Go(func() { _ = e.two.Serve(e.queue2) })
	s.engines.Store(e)
	if old != nil {
		s.accepts.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), cfg.ShutdownTimeout)
			defer cancel()
			_ = old.shutdown(ctx) // what is left after that ends with the process
		})
	}
}

// maxFrame is the largest HTTP/2 frame: what the protocol starts with (RFC 9113
// section 6.5.2), and what the guard holds at most.
const maxFrame = 16 << 10

// maxHandedOn bounds what net/http itself reads of a head. It only has to be
// larger than any http.max_header that makes sense.
const maxHandedOn = 16 << 20

// shutdown waits for the requests in flight, then closes what is left.
func (e *engines) shutdown(ctx context.Context) error {
	errs := make(chan error, 2)
	for _, srv := range []*http.Server{e.one, e.two} {
		go func() {
			err := srv.Shutdown(ctx)
			if err != nil {
				err = errors.Join(err, srv.Close())
			}
			errs <- err
		}()
	}
	return errors.Join(<-errs, <-errs)
}

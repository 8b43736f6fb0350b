package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"sallyport/internal/config"
	"sallyport/internal/cores"
	"sallyport/internal/gate"
	"sallyport/internal/gateway"
	"sallyport/internal/heap"
	"sallyport/internal/server"
)

// source is where a command takes its configuration from.
type source struct {
	file     string
	upstream string
	listen   string
	observe  bool
}

// flags adds what serve, check and config have in common.
func (s *source) flags(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&s.file, "config", "c", "", "configuration file")
	cmd.Flags().StringVar(&s.upstream, "upstream", "", "protect this one application with safe defaults, without a file")
	cmd.Flags().StringVar(&s.listen, "listen", ":8080", "with --upstream: where to listen")
	cmd.Flags().BoolVar(&s.observe, "observe", false, "decide and record everything, refuse only broken framing and what exceeds a limit of size or time")
}

// judge tells whether the flags name one configuration.
func (s *source) judge() error {
	switch {
	case s.file == "" && s.upstream == "":
		return usagef("say -c FILE, or --upstream URL for one application")
	case s.file != "" && s.upstream != "":
		return usagef("-c and --upstream exclude each other")
	}
	return nil
}

// load reads the configuration that the flags name.
func (s *source) load() (*config.Config, gate.Diagnostics) {
	var cfg *config.Config
	var ds gate.Diagnostics
	if s.upstream != "" {
		cfg, ds = config.Quick(s.upstream, s.listen)
	} else {
		cfg, ds = config.Load(s.file)
	}
	if cfg != nil && s.observe {
		cfg.Observe()
	}
	return cfg, ds
}

func serveCommand() *cobra.Command {
	var src source
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the gateway",
		Long: "Run the gateway until SIGTERM or SIGINT, which let requests in flight finish within shutdown.timeout.\n" +
			"SIGHUP reads the configuration again: the gateway swaps to it, or keeps the running one and prints why.",
		Example: "  sallyport serve -c /etc/sallyport/sallyport.yaml\n" +
			"  sallyport serve --upstream http://127.0.0.1:3000 --listen :8080\n" +
			"  sallyport serve -c sallyport.yaml --observe     # refuse nothing yet, see what would have been",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := src.judge(); err != nil {
				return err
			}
			return serve(cmd.Context(), src.load, cmd.ErrOrStderr(), nil)
		},
	}
	src.flags(cmd)
	return cmd
}

// serve runs the gateway until ctx ends. started, when not nil, is told once
// the listeners are open.
func serve(ctx context.Context, load func() (*config.Config, gate.Diagnostics), stderr io.Writer, started func(*server.Server)) error {
	first, ds := load()
	if ds.Fatal() {
		return ds
	}
	log := newLogger(first.Log, stderr)
	defer func() { _ = log.Sync() }() // standard error cannot always be synced

	defer zap.RedirectStdLog(log)() // libraries that log by themselves

	// The first generation is built from what was read for the log.
	next := func() (*config.Config, gate.Diagnostics) {
		if cfg := first; cfg != nil {
			first = nil
			return cfg, ds
		}
		return load()
	}
	cores.Spare()
	if limit := heap.Bound(); limit > 0 {
		log.Info("memory is bounded by the control group", zap.Int64("bytes", limit))
	}
	gw := gateway.New(gateway.Options{Load: next, Version: version, Warm: true, Log: log})
	srv := server.New(server.Options{
		Build:   func(n uint64) (server.Generation, error) { return gw.Build(n) },
		Record:  gw.Record,
		Metrics: gw.Metrics(),
		Version: version,
		Log:     log,
	})
	gw.Watch(srv)
	if err := srv.Start(); err != nil {
		return errors.Join(err, gw.Close())
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	go srv.Watchdog(running)
	go heap.Govern(running)
	if started != nil {
		started(srv)
	}
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	for {
		select {
		case <-ctx.Done():
			log.Info("draining")
			err := srv.Shutdown()
			log.Info("stopped")
			return errors.Join(err, gw.Close())
		case <-hangups:
			reload(srv, gw, log, stderr)
		}
	}
}

// reload swaps to what the file says now, or tells why not. The audit log is
// opened anew either way, so that a rotation needs no more than the signal.
func reload(srv *server.Server, gw *gateway.Gateway, log *zap.Logger, stderr io.Writer) {
	if err := gw.Reopen(); err != nil {
		log.Error("the audit log could not be reopened", zap.Error(err))
	}
	if err := srv.Reload(); err != nil {
		fmt.Fprintln(stderr, err) // a line for each problem
	}
}

// newLogger returns the operational log, on standard error.
func newLogger(cfg config.LogConfig, w io.Writer) *zap.Logger {
	level, err := zapcore.ParseLevel(cfg.Level)
	if err != nil { // the configuration has been judged already
		level = zapcore.InfoLevel
	}
	form := zap.NewProductionEncoderConfig()
	form.EncodeTime = zapcore.ISO8601TimeEncoder
	var enc zapcore.Encoder
	if cfg.JSON {
		enc = zapcore.NewJSONEncoder(form)
	} else {
		form.EncodeLevel = zapcore.CapitalLevelEncoder
		enc = zapcore.NewConsoleEncoder(form)
	}
	return zap.New(zapcore.NewCore(enc, zapcore.Lock(zapcore.AddSync(w)), level))
}

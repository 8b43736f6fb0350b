package server

import (
	"context"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"go.uber.org/zap"
)

// notify tells systemd how we are, where it listens (sd_notify(3)). Elsewhere
// it does nothing.
func (s *Server) notify(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		s.log.Warn("systemd was not told", zap.String("state", state), zap.Error(err))
	}
}

func (s *Server) notifyReady() { s.notify(daemon.SdNotifyReady) }

// notifyReloading carries the clock that Type=notify-reload asks for.
func (s *Server) notifyReloading() {
	s.notify(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec())
}

func (s *Server) notifyStopping() { s.notify(daemon.SdNotifyStopping) }

// Watchdog tells systemd that we are alive, at half the interval that it asks
// for, until ctx ends. It returns at once where no watchdog is set.
func (s *Server) Watchdog(ctx context.Context) {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil || interval <= 0 {
		return
	}
	tick := time.NewTicker(interval / 2)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.notify(daemon.SdNotifyWatchdog)
		}
	}
}

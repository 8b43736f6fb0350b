package limiter

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

// run is the one goroutine that speaks with the server.
func (s *store) run(ctx context.Context) {
	defer close(s.stopped)
	defer func() {
		s.alive.Store(false)
		s.drop(context.Canceled)
	}()
	wait := time.Duration(0)
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		if err := s.connect(ctx); err != nil {
			s.fail(err)
			s.drop(err)
			wait = min(max(firstRetry, 2*wait), lastRetry)
			continue
		}
		s.recovered()
		since := time.Now()
		s.serve(ctx)
		if wait = min(max(firstRetry, 2*wait), lastRetry); time.Since(since) >= steady {
			wait = firstRetry
		}
	}
}

// connect finds out whether the server knows the scripts, and answers as
// quickly as requests need it to. Then it is told of what ended meanwhile.
func (s *store) connect(ctx context.Context) error {
	slow, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	for _, script := range []*redis.Script{askScript, endScript, renewScript} {
		if err := script.Load(slow, s.client).Err(); err != nil {
			return err
		}
	}
	quick, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	if err := s.client.Ping(quick).Err(); err != nil {
		return err
	}
	s.mu.Lock()
	orphans := s.orphans
	s.orphans = nil
	s.mu.Unlock()
	for len(orphans) > 0 {
		n := min(len(orphans), maxBatch)
		if err := s.send(ctx, orphans[:n], connectTimeout); err != nil {
			return err // the leases run out by themselves
		}
		orphans = orphans[n:]
	}
	return nil
}

// serve sends calls, and renews leases, until the store is down.
func (s *store) serve(ctx context.Context) {
	renew := time.NewTicker(renewEvery)
	defer renew.Stop()
	batch := make([]*call, 0, maxBatch)
	for s.up() {
		batch = batch[:0]
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
			continue
		case <-renew.C:
			if err := s.renew(ctx); err != nil {
				s.fail(err)
			}
			continue
		case c := <-s.queue:
			batch = append(batch, c)
		}
	more:
		for len(batch) < maxBatch {
			select {
			case c := <-s.queue:
				batch = append(batch, c)
			default:
				break more
			}
		}
		if err := s.send(ctx, batch, s.cfg.Timeout); err != nil {
			s.fail(err)
		}
	}
	s.drop(errTimeout)
}

// send runs the calls in one round trip. One whose request does not wait any
// more is left out: it is decided without the store.
func (s *store) send(ctx context.Context, batch []*call, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	pipe := s.client.Pipeline()
	cmds := make([]*redis.Cmd, len(batch))
	for i, c := range batch {
		if c.state.Load() != abandoned {
			cmds[i] = c.script.EvalSha(ctx, pipe, c.keys, c.args...)
		}
	}
	if pipe.Len() == 0 {
		return nil
	}
	_, err := pipe.Exec(ctx)
	for i, c := range batch {
		if c.done == nil && err != nil && within == s.cfg.Timeout {
			s.orphan(c)
		}
		if cmds[i] == nil || c.done == nil {
			continue
		}
		reply, cmdErr := cmds[i].Int64Slice()
		if cmdErr == nil && 5*len(reply) != len(c.args)-2 {
			cmdErr, err = errReply, errReply
		}
		c.finish(reply, cmdErr)
	}
	return err
}

// finish hands out the answer, if it is still waited for.
func (c *call) finish(reply []int64, err error) {
	if c.done != nil && c.state.CompareAndSwap(waiting, answered) {
		c.reply, c.err = reply, err
		close(c.done)
	}
}

// renew tells the store which requests are still in flight.
func (s *store) renew(ctx context.Context) error {
	var calls []*call
	s.mu.Lock()
	for l := range s.live {
		if time.Since(l.since) >= renewEvery/2 {
			calls = append(calls, l.renewal())
		}
	}
	s.mu.Unlock()
	for len(calls) > 0 {
		n := min(len(calls), maxBatch)
		if err := s.send(ctx, calls[:n], s.cfg.Timeout); err != nil {
			return err
		}
		calls = calls[n:]
	}
	return nil
}

// drop answers the calls that wait for a store that is down. What ends a lease
// is kept for later.
func (s *store) drop(err error) {
	for {
		select {
		case c := <-s.queue:
			if c.done == nil {
				s.orphan(c)
			}
			c.finish(nil, err)
		default:
			return
		}
	}
}

// fail notes that the store is down. The first who finds it so says it.
func (s *store) fail(err error) {
	s.mu.Lock()
	s.problem = err.Error()
	first := s.alive.Swap(false) || s.changes.Load() == 0
	if first {
		s.changed = time.Now()
		s.changes.Add(1)
	}
	s.mu.Unlock()
	if !first {
		return
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
	s.log.Warn("the store of the limits does not answer", zap.String("failure", string(s.cfg.Failure)), zap.Error(err))
}

// recovered notes that the store is up.
func (s *store) recovered() {
	s.mu.Lock()
	s.problem, s.changed = "", time.Now()
	s.changes.Add(1)
	s.alive.Store(true)
	s.mu.Unlock()
	s.log.Info("the store of the limits answers")
}

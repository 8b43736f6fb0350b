package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"time"
)

// maxProbeBody is how much of a health answer is read: for the text that it is
// to hold, and so that its connection can be used again.
const maxProbeBody = 64 << 10

var (
	errProbeSwitch = errors.New("status 101")
	errProbeBody   = errors.New("the body does not hold what it should")
)

// watch checks a backend until ctx ends: at once, and then after every
// interval, give or take a tenth, so that gateways that were started together
// do not ask together.
func (p *pool) watch(ctx context.Context, b *backend) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		err := p.probe(ctx, b)
		if ctx.Err() != nil {
			return
		}
		p.judge(b, err)
		timer.Reset(time.Duration(float64(p.health.Interval) * (0.9 + 0.2*rand.Float64())))
	}
}

// checks reports whether the backends are checked at all.
func (h HealthConfig) checks() bool { return h.Path != "" || h.TCP }

// probe asks a backend once; nil means that it is well.
func (p *pool) probe(ctx context.Context, b *backend) error {
	ctx, cancel := context.WithTimeout(ctx, p.health.Timeout)
	defer cancel()
	if p.health.TCP {
		return p.reach(ctx, b)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, b.url.Scheme+"://"+b.authority()+p.health.Path, nil)
	if err != nil {
		return err
	}
	r.Host = b.host
	r.Header.Set("User-Agent", "sallyport-health")
	for _, f := range p.health.Headers {
		if strings.EqualFold(f.Name, "Host") {
			r.Host = f.Value
			continue
		}
		r.Header.Set(f.Name, f.Value)
	}
	resp, err := p.transport.RoundTrip(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusSwitchingProtocols { // its body is a connection, which no context ends
		return errProbeSwitch
	}
	good := slices.ContainsFunc(p.health.Status, func(s StatusRange) bool {
		return s.From <= resp.StatusCode && resp.StatusCode <= s.To
	})
	if !good {
		_, _ = io.CopyN(io.Discard, resp.Body, maxProbeBody) // the status has decided
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxProbeBody))
	switch {
	case p.health.Body == "":
		return nil // the status has decided
	case p.expect != nil && p.expect.Match(body), p.expect == nil && bytes.Contains(body, []byte(p.health.Body)):
		return nil
	case err != nil:
		return fmt.Errorf("read the body: %w", err)
	}
	return errProbeBody
}

// judge counts the answers that speak against the present state, and changes
// it when there are enough of them in a row.
func (p *pool) judge(b *backend, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if (err != nil) == b.down {
		b.streak = 0
		return
	}
	b.streak++
	need := p.health.Unhealthy
	if b.down {
		need = p.health.Healthy
	}
	if b.streak < need {
		return
	}
	now := time.Now()
	b.down, b.streak, b.since = !b.down, 0, now
	level(p.backends)
	if b.down {
		p.changed(b, now, b.state(), fmt.Sprintf("%d bad checks, the last one: %v", need, err))
		return
	}
	b.began = now
	p.changed(b, now, b.state(), fmt.Sprintf("%d good checks", need))
	p.serve(now)
}

package proxy

import (
	"fmt"
	"time"

	"go.uber.org/zap"

	"sallyport/internal/gate"
)

// A change is what has become of a backend.
type change struct {
	pool, backend string
	at            time.Time
	state         string // one of the states of gate.RecordPool
	detail        string // in words
}

// changed notes a change, to be told when the lock of the roster is given back.
func (p *pool) changed(b *backend, at time.Time, state, detail string) {
	p.roster.pending = append(p.roster.pending, change{p.name, b.name, at, state, detail})
}

// tell logs a change of a backend and writes its record.
func (h *Handler) tell(c change) {
	action, log := gate.Pass, h.log.Info
	if c.state == gate.BackendDown || c.state == gate.BackendEjected {
		action, log = gate.Fail, h.log.Warn
	}
	log("a backend changed", zap.String("pool", c.pool), zap.String("backend", c.backend), zap.String("state", c.state), zap.String("detail", c.detail))
	h.emit("", gate.Record{
		V: gate.RecordVersion, Time: c.at, Event: gate.EventBackend,
		Action: action.String(), Stage: gate.StagePool, Mode: gate.Enforce, Detail: c.detail,
		Gateway: gate.RecordGateway{Host: h.id.Host, Version: h.id.Version, Generation: h.id.Generation},
		Request: gate.RecordRequest{Headers: []gate.RecordField{}},
		Pool:    &gate.RecordPool{Name: c.pool, Backend: c.backend, State: c.state},
		Micros:  map[string]int64{},
	})
}

// SetWeight changes the weight of a backend until the configuration changes it;
// 0 takes the backend out. The error names what there is not.
func (h *Handler) SetWeight(inPool, name string, weight int) (BackendStatus, error) {
	return h.operate(inPool, name, func(p *pool, b *backend, now time.Time) {
		if b.weight != weight {
			if b.weight == 0 {
				b.began = now // it was out
			}
			p.changed(b, now, gate.BackendWeight, fmt.Sprintf("weight %d, was %d", weight, b.weight))
			b.weight = weight
		}
	})
}

// Drain keeps new clients from a backend, or no longer. Clients whose sticky
// cookie names the backend go on to it, and so does what it has already.
func (h *Handler) Drain(inPool, name string, drain bool) (BackendStatus, error) {
	return h.operate(inPool, name, func(p *pool, b *backend, now time.Time) {
		if b.draining == drain {
			return
		}
		b.draining = drain
		if drain {
			p.changed(b, now, gate.BackendDraining, "gets no new clients")
		} else {
			b.began = now
			p.changed(b, now, b.state(), "gets new clients again")
		}
	})
}

func (h *Handler) operate(inPool, name string, do func(*pool, *backend, time.Time)) (BackendStatus, error) {
	for _, p := range h.pools {
		if p.name != inPool {
			continue
		}
		for _, b := range p.backends {
			if b.name == name {
				return p.operate(b, do), nil
			}
		}
		return BackendStatus{}, fmt.Errorf("pool %s has no backend %q", inPool, name)
	}
	return BackendStatus{}, fmt.Errorf("there is no pool %q", inPool)
}

func (p *pool) operate(b *backend, do func(*pool, *backend, time.Time)) BackendStatus {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	do(p, b, now)
	level(p.backends)
	p.serve(now)
	return p.show(b, now)
}

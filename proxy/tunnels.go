package proxy

import (
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"
)

// Tunnels are those that are open, whichever handler has opened them. The zero
// Tunnels is ready for use, by any number of handlers and goroutines.
type Tunnels struct {
	mu      sync.Mutex
	open    map[*tunnel]struct{}
	current *Handler // that judges what is opened by others; nil: nobody does
	grace   time.Duration
}

// add takes a tunnel in. One that an old handler has opened after another had
// taken over is judged at once.
func (ts *Tunnels) add(t *tunnel, by *Handler) {
	ts.mu.Lock()
	if ts.open == nil {
		ts.open = map[*tunnel]struct{}{}
	}
	ts.open[t] = struct{}{}
	current, grace := ts.current, ts.grace
	ts.mu.Unlock()
	if current != nil && current != by {
		current.review(t, grace)
	}
}

func (ts *Tunnels) remove(t *tunnel) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	delete(ts.open, t)
}

// Review makes the handler the one that says which tunnels may go on, those of
// handlers before it included. One whose client it would not let in ends at
// once. One whose route is gone, or is not the same any more, has the grace to
// end by itself. All others live on.
func (h *Handler) Review(grace time.Duration) {
	ts := h.tunnels
	ts.mu.Lock()
	ts.current, ts.grace = h, grace
	all := slices.Collect(maps.Keys(ts.open))
	ts.mu.Unlock()
	for _, t := range all {
		h.review(t, grace)
	}
}

func (h *Handler) review(t *tunnel, grace time.Duration) {
	req := t.asked
	req.Route, req.Trail, req.Spent, req.Held = nil, nil, nil, nil
	site, found := h.router.find(req.Host, req.Path, req.Head.Method)
	if found == taken {
		req.Route = site.route
	}
	for _, stage := range [...]Checker{h.stages.Ban, h.stages.Geo} {
		if verdict := stage.Check(&req); !verdict.Passed() {
			t.end("the client is not let in any more: " + string(verdict.Reason))
			return
		}
	}
	if found == taken && reflect.DeepEqual(*site.config, *t.route) && h.serves(t) {
		t.spare()
		return
	}
	t.warn(grace, "the route has changed, or is gone")
}

// serves reports whether the server at the end of the tunnel is still one of its
// pool's.
func (h *Handler) serves(t *tunnel) bool {
	return slices.ContainsFunc(h.pools, func(p *pool) bool {
		return p.name == t.pool && slices.ContainsFunc(p.backends, func(b *backend) bool { return b.shown == t.server })
	})
}

// watched runs the tunnel while it is among those that are judged.
func (h *Handler) watched(t *tunnel) {
	h.tunnels.add(t, h)
	defer h.tunnels.remove(t)
	t.run()
}

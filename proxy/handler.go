package proxy

import (
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"slices"
	"time"

	"go.uber.org/zap"

	"sallyport/internal/gate"
)

// A Checker decides about one request. It never writes to the client.
type Checker interface {
	Check(*gate.Request) gate.Verdict
}

// An Inspector opens an inspection for each request.
type Inspector interface {
	Begin(*gate.Request) Inspection
}

// An Inspection judges one request and its response. Close is called once on
// every path and ends it.
type Inspection interface {
	Request() gate.Verdict
	Response(*http.Response) gate.Verdict
	Close() gate.Inspection
}

// A Settler learns how a request ended, once on every path: answered, refused
// by whichever stage, broken off, or after its tunnel ended. The status is what
// the client got; 0: nothing. It must not block.
type Settler interface {
	Settle(req *gate.Request, status int)
}

// A Recorder takes the record of a decision. It must not block.
type Recorder interface {
	Record(gate.Record)
}

// Stages are the stations before the pool, in the order of the path, and
// those who are told how it ended. None of the stages may be nil.
type Stages struct {
	Client, Ban, Geo, Limit Checker
	WAF                     Inspector
	Settlers                []Settler
	Recorders               []Recorder
	// Fleet is what is known of the backends beyond this handler. With one,
	// Activate has to be called; without one nothing is known.
	Fleet *Fleet
	// Tunnels outlives the handler, where one comes after it; nil: of its own.
	Tunnels *Tunnels
}

// Identity is what every record says about the gateway that wrote it.
type Identity struct {
	Host, Version string
	Generation    uint64
}

// A Handler takes requests through the stages to a backend and back. It may
// be used by any number of goroutines.
type Handler struct {
	mode     gate.Mode
	hygiene  gate.Mode
	methods  []string
	bodyRate int64
	grace    time.Duration
	// clientHeader is Config.ClientHeader in canonical form.
	clientHeader string
	// geoHeaders is Config.GeoHeaders.
	geoHeaders []string

	stages Stages
	id     Identity
	log    *zap.Logger
	router *router
	pools  []*pool
	mask   *mask
	pages  map[int]page // for requests that no route takes
	// cookies are the names of all sticky cookies.
	cookies []string

	tunnels *Tunnels
}

// defaultGrace stands in for a BodyGrace of zero.
const defaultGrace = 10 * time.Second

// New builds the routes and pools of a configuration. Activate, which New calls
// when the handler has its backends for itself, starts the health checks, and
// Close ends them.
func New(cfg Config, st Stages, id Identity, log *zap.Logger) (*Handler, error) {
	if st.Client == nil || st.Ban == nil || st.Geo == nil || st.Limit == nil || st.WAF == nil {
		return nil, errors.New("a stage is missing")
	}
	h := &Handler{
		mode: cfg.Mode, hygiene: cfg.Hygiene, methods: cfg.Methods, bodyRate: cfg.BodyRate, grace: cfg.BodyGrace, geoHeaders: cfg.GeoHeaders,
		stages: st, id: id, log: log, mask: newMask(cfg.MaskRemove),
	}
	h.clientHeader = textproto.CanonicalMIMEHeaderKey(cfg.ClientHeader)
	if dashed, ok := gate.Dashed(h.clientHeader); ok {
		h.clientHeader = textproto.CanonicalMIMEHeaderKey(dashed)
	}
	if h.mode != gate.Watch {
		h.mode = gate.Enforce
	}
	if h.mode == gate.Watch || h.hygiene == "" {
		h.hygiene = h.mode
	}
	if h.grace <= 0 {
		h.grace = defaultGrace
	}
	if h.tunnels = st.Tunnels; h.tunnels == nil {
		h.tunnels = new(Tunnels)
	}
	var err error
	if h.pages, err = readPages(cfg.Pages); err != nil {
		return nil, err
	}
	if h.pools, h.router, err = build(cfg, log); err != nil {
		return nil, err
	}
	for _, p := range h.pools {
		if p.sticky != nil {
			h.cookies = append(h.cookies, p.sticky.name)
		}
	}
	if st.Fleet == nil {
		h.stages.Fleet = NewFleet()
		h.Activate()
	} else {
		st.Fleet.adopt(h.pools)
	}
	return h, nil
}

// Activate is called once, when the handler is to serve: from now on its health
// checks run, in place of those of the handler that had the Fleet before, and
// its weights count.
func (h *Handler) Activate() { h.stages.Fleet.use(h.pools, h.tell) }

// Check builds the routes and pools of a configuration as New does, and
// starts nothing: no health check runs and no backend is spoken to.
func Check(cfg Config) error {
	if _, err := readPages(cfg.Pages); err != nil {
		return err
	}
	_, _, err := build(cfg, zap.NewNop())
	return err
}

func build(cfg Config, log *zap.Logger) ([]*pool, *router, error) {
	pools := make([]*pool, 0, len(cfg.Pools))
	byName := make(map[string]*pool, len(cfg.Pools))
	for _, pc := range cfg.Pools {
		if byName[pc.Name] != nil {
			return nil, nil, fmt.Errorf("two pools are called %q", pc.Name)
		}
		p, err := newPool(pc, cfg.Secret, log)
		if err != nil {
			return nil, nil, fmt.Errorf("pool %s: %w", pc.Name, err)
		}
		p.origin.leaks = newLookout(backendURLs(pc.Backends), cfg.MaskAlso)
		byName[pc.Name] = p
		pools = append(pools, p)
	}
	r, err := newRouter(cfg, byName)
	return pools, r, err
}

// Close ends the health checks and closes idle connections to backends. It is
// called when no request uses the handler any more; tunnels outlive it.
func (h *Handler) Close() error {
	for _, p := range h.pools {
		p.close()
	}
	return nil
}

// ServeHTTP takes one request through every stage, in the order written in
// path, and ends it in one place, whatever happened on the way.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v := newVisit(w, r)
	v.pages = h.pages
	defer func() { h.finish(v, v.verdict, recover()) }()
	h.serve(v)
}

// path is what a request goes through.
var path = [...]func(*Handler, *visit) gate.Verdict{
	(*Handler).head,     // is it unambiguous HTTP?
	(*Handler).client,   // who is asking?
	(*Handler).ban,      // is it kept out?
	(*Handler).route,    // which site?
	(*Handler).geo,      // from where?
	(*Handler).limit,    // how often?
	(*Handler).admit,    // may this be asked here at all?
	(*Handler).redirect, // is this where to ask for it?
	(*Handler).split,    // which pool?
	(*Handler).recall,   // which backend does it know already?
	(*Handler).rewrite,  // what is it called there?
	(*Handler).inspect,  // what do the rules say?
	(*Handler).hold,     // is its body what it seems to be?
	(*Handler).forward,  // the pool, the rules about its answer
	(*Handler).relay,    // the mask, the client
}

// serve takes a request along its path. The first verdict that does not pass
// ends it, and so does the first answer; nothing of a request reaches a backend
// before every stage has passed.
//
// It is on the stack for as long as a client takes, and so is what calls it:
// there is room for one verdict, and no more.
func (h *Handler) serve(v *visit) {
	for i := range path {
		verdict := path[i](h, v)
		if !v.keep(&verdict) || v.rw.status != 0 {
			v.verdict = verdict
			return
		}
	}
}

// head takes the head from the connection and refuses what the strict reader
// refused. A request that did not come through a guarded connection was judged
// by nobody.
func (h *Handler) head(v *visit) gate.Verdict {
	if v.in == nil {
		return gate.Failure(gate.GatewayUnpaired, errNoConnection)
	}
	head := v.in.Head(v.req.HTTP)
	if head == nil {
		return gate.Failure(gate.GatewayUnpaired, errNoHead)
	}
	v.req.Head = head
	v.took("strict", head.Took)
	defer v.lap()
	if r := head.Rejection; r != nil {
		return r.Verdict(h.mode)
	}
	if b := v.req.HTTP.Body; b != nil && b != http.NoBody {
		v.body = newClientBody(v.req.HTTP.Context(), b, &v.rw.control, head.Length, h.bodyRate, h.grace)
		v.req.HTTP = v.req.HTTP.WithContext(v.req.HTTP.Context()) // net/http looks at the body of its own
		v.req.HTTP.Body = v.body
	}
	return gate.Passes(gate.StageHTTP)
}

var (
	errNoConnection = errors.New("the request did not come by a guarded connection")
	errNoHead       = errors.New("the connection has no head for the request")
)

func (h *Handler) client(v *visit) gate.Verdict {
	defer v.spent("client")
	return h.stages.Client.Check(v.req)
}

// ban refuses who was refused too often, before anything else is done for it.
func (h *Handler) ban(v *visit) gate.Verdict {
	defer v.spent("ban")
	return h.stages.Ban.Check(v.req)
}

// route finds the route and refuses nothing: a request that no route takes
// still meets the geo rules and limits before admit answers it, so that a
// scan of unknown names is not for free.
func (h *Handler) route(v *visit) gate.Verdict {
	defer v.spent("route")
	head := v.req.Head
	v.req.Path = canonicalPath(head.Target)
	v.req.Host = hostName(head.Host)
	v.site, v.found = h.router.find(v.req.Host, v.req.Path, head.Method)
	if v.found == taken {
		v.req.Route = v.site.route
	}
	if v.site != nil {
		v.pages = v.site.pages
	}
	return gate.Passes(gate.StageRoute)
}

func (h *Handler) geo(v *visit) gate.Verdict {
	defer v.spent("geo")
	return h.stages.Geo.Check(v.req)
}

func (h *Handler) limit(v *visit) gate.Verdict {
	defer v.spent("limit")
	return h.stages.Limit.Check(v.req)
}

// admit answers what no route takes, and refuses what the route does not
// want: foreign names on a connection, methods, suspicious forms, bodies that
// are declared too large.
func (h *Handler) admit(v *visit) gate.Verdict {
	head := v.req.Head
	switch v.found {
	case noHost:
		return gate.Refusal(gate.RouteUnknownHost, h.mode, "")
	case noPath:
		return gate.Refusal(gate.RouteUnknownPath, h.mode, "")
	case noMethod, taken:
	}
	if !v.in.Covers(v.req.Host) {
		return gate.Refusal(gate.RouteSNIMismatch, h.mode, "")
	}
	if hasPrefixFold(head.Received, "https:") && !v.secure() && !v.req.Trusted { // RFC 9110 section 7.4
		return gate.Refusal(gate.HTTPTargetForm, h.mode, "an https target over a connection that is not encrypted")
	}
	if head.Method == http.MethodOptions && lastHop(head) {
		return gate.Refusal(gate.HTTPMethodNotAllowed, gate.Enforce, "Max-Forwards is 0")
	}
	if v.found == noMethod { // the route does not take it even in observe mode: there is no other
		return gate.Refusal(gate.HTTPMethodNotAllowed, gate.Enforce, "")
	}
	if !h.allows(v.site.route, head.Method) {
		if verdict := gate.Refusal(gate.HTTPMethodNotAllowed, h.mode, ""); !v.goesOn(verdict) {
			return verdict
		}
	}
	for _, found := range [...][]gate.Rejection{head.Hygiene, head.Optional} {
		for i := range found {
			if v.site.route.Tolerates(found[i].Reason) {
				continue
			}
			if verdict := found[i].Verdict(h.hygiene); !v.goesOn(verdict) {
				return verdict
			}
		}
	}
	if v.body == nil {
		return gate.Passes(gate.StageHTTP)
	}
	v.body.limit(v.site.maxBody)
	if head.Length > v.site.maxBody {
		return gate.Refusal(gate.HTTPBodyTooLarge, h.mode, "declared by Content-Length")
	}
	return gate.Passes(gate.StageHTTP)
}

// allows reports whether the method is one of http.methods or of the route.
func (h *Handler) allows(route *gate.Route, method string) bool {
	return slices.Contains(h.methods, method) || route != nil && slices.Contains(route.Methods, method)
}

// inspect asks the rules about the request.
func (h *Handler) inspect(v *visit) gate.Verdict {
	v.lap()
	defer v.spent("waf")
	v.tx = h.stages.WAF.Begin(v.req)
	return v.tx.Request()
}

// finish ends every request: it answers what was not passed, releases what
// was held, writes the one record, and runs the tunnel if there is one. What
// was already begun and cannot be completed is cut off, which the client sees
// as what it is.
func (h *Handler) finish(v *visit, verdict gate.Verdict, panicked any) {
	defer h.settle(v) // whatever happens below
	h.guard(v, v.leave)
	switch {
	case panicked != nil:
		h.log.Error("a stage panicked", zap.String("id", v.req.ID), zap.String("panic", clip(fmt.Sprint(panicked))), zap.Stack("stack"))
		verdict = v.note(gate.Failure(gate.GatewayPanic, fmt.Errorf("panic: %v", panicked)))
	case verdict.Action == gate.Fail && verdict.Err != nil && verdict.Stage != gate.StagePool: // the pool's are in the records, and in its state
		h.log.Error("a stage failed", zap.String("id", v.req.ID), zap.String("reason", string(verdict.Reason)), zap.String("error", clip(verdict.Err.Error())))
	}
	if !verdict.Passed() {
		h.guard(v, func() { h.refuse(v, verdict) })
	}
	cut := !verdict.Passed() && !v.answered
	h.guard(v, v.settle)
	if v.tunnel == nil { // which is in flight until it ends
		h.settle(v)
	}
	rec := h.record(v, verdict)
	rec.Response.Cut = cut && v.rw.status != 0
	h.emit(v.req.ID, rec)
	switch {
	case cut:
		panic(http.ErrAbortHandler)
	case v.tunnel != nil:
		h.watched(v.tunnel)
		h.settle(v)
		h.emit(v.req.ID, closing(rec, v.tunnel))
	default:
		v.send()
		v.linger()
	}
}

// settle tells the settlers how the request ended; only the first call does.
func (h *Handler) settle(v *visit) {
	if v.settled {
		return
	}
	v.settled = true
	for _, s := range h.stages.Settlers {
		h.guard(v, func() { s.Settle(v.req, v.rw.status) })
	}
}

// guard runs one step of finish. A panic in it must not keep the others from
// running.
func (h *Handler) guard(v *visit, step func()) {
	defer func() {
		if p := recover(); p != nil {
			h.log.Error("the end of a request panicked", zap.String("id", v.req.ID), zap.String("panic", clip(fmt.Sprint(p))), zap.Stack("stack"))
		}
	}()
	step()
}

// clip bounds a text for the operational log, which may hold what a client
// sent.
func clip(s string) string {
	const longest = 500
	return s[:min(len(s), longest)]
}

package gate

import (
	"context"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// A Field is one header field line as it was received: the name's letter case
// and the order among the fields are kept, the white space around the value is
// not part of it (RFC 9112 section 5.1).
type Field struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// A Head is a request's start line and field lines as the strict reader
// understood them. Everything that later stages judge or forward comes from
// here, not from what net/http made of it.
type Head struct {
	Method string
	// Target is what is judged and what the backend receives, byte for byte:
	// origin-form (path and query) or "*". An absolute-form target has lost its
	// scheme and authority (RFC 9112 section 3.2.2).
	Target string
	// Received is the target as it stood in the request line; it differs from
	// Target only for the absolute form.
	Received string
	Proto    string // "HTTP/1.0", "HTTP/1.1" or "HTTP/2.0"
	// Host is the authority that the request names, as received (the Host
	// field or :authority); empty only in HTTP/1.0.
	Host string
	// Fields holds every field line in order, framing and hop-by-hop fields
	// included. In HTTP/2 the pseudo-fields are left out and Host stands first.
	Fields []Field
	// Length is the declared length of the body in bytes; 0: none; -1: not
	// declared (chunked, or HTTP/2 without content-length).
	Length int64
	// Upgrade is set for a complete and valid WebSocket handshake (RFC 6455
	// section 4.2.1) and never otherwise.
	Upgrade bool
	// Rejection is why the head was refused; nil when it was accepted. The
	// other fields then hold what could be read before the refusal.
	Rejection *Rejection
	// Hygiene lists what is well-framed but suspicious; whether it is refused
	// depends on the configuration and the route.
	Hygiene []Rejection
	// Optional lists findings of the reasons that are let pass unless the
	// configuration asks for their refusal, each reason once.
	Optional []Rejection
	// Bytes is the size of the head on the wire.
	Bytes int
	// Took is how long reading and judging it took, waiting not included.
	Took time.Duration
}

// Get returns the value of the first field line with the name, compared
// without regard to letter case, and whether there is one.
func (h *Head) Get(name string) (string, bool) {
	for i := range h.Fields {
		if strings.EqualFold(h.Fields[i].Name, name) {
			return h.Fields[i].Value, true
		}
	}
	return "", false
}

// A Rejection is one reason that the strict reader found against a request.
type Rejection struct {
	Reason Reason
	// Offset is where in the head (or in the body's framing) the offending
	// byte stood, counted from its first byte; -1: nowhere in particular.
	Offset int
	// Excerpt holds the bytes around it, at most 64. Raw client data.
	Excerpt string
	// Mark is where in Excerpt the byte at Offset stands.
	Mark   int
	Detail string
}

// Verdict is the refusal that the rejection amounts to under a mode.
func (r *Rejection) Verdict(under Mode) Verdict {
	v := Refusal(r.Reason, under, r.Detail)
	v.Offset, v.Excerpt, v.Mark = r.Offset, r.Excerpt, r.Mark
	return v
}

// A Place is where an address is, as far as the databases know. The zero
// Place is unknown.
type Place struct {
	Country   string // ISO 3166-1 alpha-2, upper case; empty: unknown
	Continent string // AF, AN, AS, EU, NA, OC or SA; empty: unknown
	ASN       uint32 // 0: unknown
	// Located tells that Latitude and Longitude are known, in degrees. They are
	// only asked for where something depends on them.
	Located             bool
	Latitude, Longitude float64
}

// A Route is one site or part of a site, as configured. It is never modified
// while requests use it.
type Route struct {
	Name   string
	Pool   string
	Policy string // name of the WAF policy; empty: no WAF
	// Limits names the budgets that a request on this route draws from; nil:
	// all of them; empty: none.
	Limits []string
	// Methods are the methods allowed here beyond http.methods; a route that
	// names methods also matches only those and the globally allowed ones.
	Methods []string
	// Waive holds the hygiene reasons that are let pass, the global ones
	// included but for those that the route refuses.
	Waive map[Reason]bool
	// Refuse holds the hygiene reasons that are asked for, the global ones
	// included but for those that the route waives.
	Refuse map[Reason]bool
	// MaxBody is the largest request body in bytes; never 0 in a running
	// gateway.
	MaxBody int64
	// MaskErrors is "uniform" (5xx bodies are replaced by ours) or "pass".
	MaskErrors string
}

// Tolerates reports whether the route lets pass what is found for a hygiene
// reason.
func (r *Route) Tolerates(reason Reason) bool {
	return r.Waive[reason] || reason.Optional() && !r.Refuse[reason]
}

// A Request is one request on its way through the stages. It belongs to the
// goroutine that serves it; each field is written once, by the stage named.
type Request struct {
	HTTP     *http.Request  // its Body may be replaced by a stage that held part of it
	Head     *Head          // from the connection; never nil
	ID       string         // ours: a UUID version 7 (RFC 9562 section 5.7)
	ClientID string         // the client's own X-Request-Id, for the record only
	Listener string         // address of the listener, as configured
	Peer     netip.AddrPort // who connected: the Peer of Origin, for all that is judged
	Origin   Origin
	Arrived  time.Time

	Client   netip.Addr // client: unmapped, without zone; the peer until then; the zero Addr: not known
	ChosenBy string     // client: that of Origin until then, or the name of the field that named the client
	Trusted  bool       // client: the peer is a trusted proxy
	Route    *Route     // route: nil when none took it
	Path     string     // route: canonical, for matching only; never forwarded
	Host     string     // route: lower case, without port, for matching only
	Place    Place      // geo
	Budget   *LimitHit  // limit: what the client is told of its budget with an answer that passes; nil: nothing
	Held     any        // limit: what the request holds of its budgets until it is settled; opaque to everybody else

	Trail []Verdict // every verdict so far that was not a plain pass
	Spent []Span    // how long each stage took

	named netip.Addr // by text
	text  string
}

// ClientText is the client's address as text, which is made once; empty where
// it is not known.
func (r *Request) ClientText() string {
	switch {
	case !r.Client.IsValid():
		return ""
	case r.named != r.Client:
		r.named, r.text = r.Client, r.Client.String()
	}
	return r.text
}

// A Span is how long one stage took for one request.
type Span struct {
	Stage string
	Took  time.Duration
}

// How a client is found where no field names it.
const (
	ByPeer  = "peer"           // it is the other end of the connection
	ByPROXY = "PROXY protocol" // a balancer named it when it connected
)

// An Origin is where a connection came from. It is not modified once HTTP
// begins on the connection.
type Origin struct {
	Socket netip.AddrPort // the other end; the zero AddrPort where it has no address
	Unix   bool           // the other end is a process of this machine, on a Unix socket
	// Peer is who connected: Socket, or the source that a PROXY header named.
	// Unmapped, without zone; the zero AddrPort: not known.
	Peer     netip.AddrPort
	ChosenBy string // ByPeer or ByPROXY
	// Unnamed is set where a balancer's PROXY header names nobody: its own
	// connections, and those of clients that it cannot name. Peer is then the
	// balancer, and what is held against Peer is held against all behind it.
	Unnamed bool
}

// SocketText names the other end of the connection for a person.
func (o Origin) SocketText() string {
	switch {
	case o.Unix:
		return "unix"
	case o.Socket.IsValid():
		return o.Socket.String()
	}
	return ""
}

// Inbound is what the handler asks of the connection that a request came by.
type Inbound interface {
	// Head takes the head that belongs to r. It never returns nil: a request
	// that does not agree with the next head waiting gets one whose Rejection
	// is gateway.unpaired.
	Head(r *http.Request) *Head
	// Origin is where the connection came from.
	Origin() Origin
	// Listener is the configured address that accepted the connection.
	Listener() string
	// Covers reports whether the certificate that the connection was opened
	// with is valid for host (without port). True where there is no choice of
	// certificates to be confused about.
	Covers(host string) bool
	// Tunnel ends HTTP on the connection: from now on its bytes pass as they
	// are. Called after a 101 was decided and before the hijack.
	Tunnel()
	// Resume goes on reading HTTP after an upgrade was answered with
	// something other than 101.
	Resume()
	// Congested reports whether the client has yet to take so much of what was
	// written to it that a write would wait. False where that cannot be told.
	Congested() bool
	// Gather keeps what is written from now on, if it is not much, until Send
	// sends it at once. Where that spares nothing both do nothing.
	Gather()
	Send() error
}

type inboundKey struct{}

// WithInbound returns a context that carries the connection; the server calls
// it once a connection.
func WithInbound(ctx context.Context, in Inbound) context.Context {
	return context.WithValue(ctx, inboundKey{}, in)
}

// InboundOf returns the connection that the context carries, or nil.
func InboundOf(ctx context.Context) Inbound {
	in, _ := ctx.Value(inboundKey{}).(Inbound)
	return in
}

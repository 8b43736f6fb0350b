package proxy

import (
	"net/url"
	"time"

	"sallyport/internal/gate"
)

// Config is what the handler needs to know beside its stages.
type Config struct {
	// Mode is enforce, or observe when the whole gateway observes.
	Mode gate.Mode
	// Hygiene is http.hygiene: enforce (default) or observe.
	Hygiene gate.Mode
	// Waive holds http.waive. Each route carries its own set, which includes
	// it; requests that no route takes are refused anyway.
	Waive map[gate.Reason]bool
	// Refuse holds http.refuse, likewise.
	Refuse map[gate.Reason]bool
	// Methods is http.methods, upper case.
	Methods []string
	// MaxBody is http.max_body in bytes, for routes that carry none of their
	// own.
	MaxBody int64
	// BodyRate is http.body_rate: how many bytes a second a client has to send
	// of a body, counted only while the gateway waits for it and after
	// BodyGrace. 0: no limit.
	BodyRate int64
	// BodyGrace is how long a client may make the gateway wait for nothing.
	// Default 10 s.
	BodyGrace time.Duration
	// ClientHeader is clients.header: only a trusted proxy may send a backend
	// the field. Empty: one of those that are known anyway.
	ClientHeader string
	Routes       []RouteConfig
	Pools        []PoolConfig
	// GeoHeaders is geo.headers: what backends are told of where the client is,
	// out of GeoCountry, GeoContinent and GeoASN. Default: nothing.
	GeoHeaders []string
	// SplitKey makes splits unpredictable; gateways that share it put a client
	// into the same arm.
	SplitKey []byte
	// Pages are MaskConfig.Pages for requests that no route takes.
	Pages map[int]string
	// MaskAlso are further names with a dot and addresses that the leak detector
	// looks for (mask.leaks.also).
	MaskAlso []string
	// MaskRemove are further response fields to drop (mask.remove).
	MaskRemove []string
	// Secret is what sticky cookies are sealed with and hashes begin with; at
	// least 32 bytes, derived from that of the gateway, and the same in gateways
	// that share work. Empty: cookies are no good after the next reload.
	Secret []byte
}

// What backends may be told of a client's place.
const (
	GeoCountry   = "country"   // X-Geo-Country: NL
	GeoContinent = "continent" // X-Geo-Continent: EU
	GeoASN       = "asn"       // X-Geo-Asn: 64496
)

// RouteConfig is one entry of routes: what it takes, and the route itself.
type RouteConfig struct {
	// Hosts are host names, lower case, without port; "*.name" takes one or
	// more labels in front. Empty: every host.
	Hosts []string
	// Paths are prefixes on segment borders; "=/exact" takes one path. Empty:
	// every path.
	Paths []string
	// Methods, when not empty, restricts the route to the globally allowed
	// methods and these.
	Route gate.Route
	// Timeout is how long a request may take to the head of its answer, retries
	// and waiting for a backend included. It does not run while the client's
	// body is on its way. Default 0: no limit but those of the pool.
	Timeout time.Duration
	// Tunnel is what a WebSocket may do.
	Tunnel TunnelConfig
	// Split names the pools instead of Route.Pool; empty: there is one.
	Split    []SplitConfig
	Override OverrideConfig
	Rewrite  RewriteConfig
	Headers  HeaderConfig
	Mask     MaskConfig
}

// MaskConfig is what the mask does on a route beside Route.MaskErrors; the
// global keys are in it already.
type MaskConfig struct {
	Leaks   LeakConfig
	Cookies CookieConfig
	// Pages are files with the HTML of the gateway's own answers, by status.
	// They are read when the handler is built.
	Pages map[int]string
}

// TunnelConfig bounds upgraded connections.
type TunnelConfig struct {
	Idle time.Duration // how long a tunnel may carry nothing in either direction; default 10 m; 0: no limit
	Max  time.Duration // how long a tunnel may live; default 0: no limit
}

// PoolConfig is one entry of pools.
type PoolConfig struct {
	Name     string
	Backends []BackendConfig
	// Balance is how a backend is chosen: RoundRobin (default), LeastRequests,
	// P2C, Hash, Random or Nearest.
	Balance string
	// HashOn is what Hash goes by: HashClient (default), HashPath, HashHeader or
	// HashCookie with a name behind it.
	HashOn string
	Sticky StickyConfig
	// SlowStart is the time in which the share of a backend that has come back,
	// or was added by a reload, grows to the whole. 0 (default): at once.
	SlowStart time.Duration
	// MaxConnections is how many requests and tunnels each backend may have at
	// once. 0 (default): any number. Health checks do not count.
	MaxConnections int
	Queue          QueueConfig
	Health         HealthConfig
	Eject          EjectConfig
	Retry          RetryConfig
	TLS            TLSConfig
	Timeout        TimeoutConfig
}

// BackendConfig is one server of a pool.
type BackendConfig struct {
	Name   string
	URL    *url.URL // http, https or h2c, host and port, no path; or unix, with the path of a socket as its opaque part
	Weight int      // at least 1; default 1
	Zone   Zone     // where it is, for Nearest; zero: anywhere
	Backup bool     // asked only when no other one is up
}

// StickyConfig keeps a client with the backend that it went to first.
type StickyConfig struct {
	Cookie string        // its name; empty (default): none
	For    time.Duration // how long a cookie is good after it was given; it is renewed half way; default 24 h
}

// QueueConfig is the line of those who wait when every backend has as many
// requests as MaxConnections allows.
type QueueConfig struct {
	Length int           // how many may wait; 0: nobody; default 100
	Wait   time.Duration // how long; default 2 s
}

// HealthConfig is the active health check of every backend of a pool: a request,
// or a connection alone.
type HealthConfig struct {
	Path      string        // asked for with GET; empty (default): nothing is
	TCP       bool          // without Path: a connection is opened, and closed; default false
	Interval  time.Duration // default 5 s
	Timeout   time.Duration // default 2 s
	Healthy   int           // good answers in a row that bring a backend back; default 2
	Unhealthy int           // bad answers in a row that take it out; default 3
	Status    []StatusRange // good statuses; default 200-399
	// Body has to be found in the first 64 KiB of the body: a text, or a regular
	// expression between slashes. Empty (default): any body is good.
	Body string
	// Headers are sent with the request, in place of ours; Host too.
	Headers []gate.Field
}

// BodyPattern returns the regular expression that a HealthConfig.Body is, if it
// is one.
func BodyPattern(body string) (string, bool) {
	if len(body) < 2 || body[0] != '/' || body[len(body)-1] != '/' {
		return "", false
	}
	return body[1 : len(body)-1], true
}

// StatusRange is an inclusive range of status codes.
type StatusRange struct{ From, To int }

// EjectConfig takes a backend out after what requests met with it. When For is
// over, one request at a time tries it; a backend that fails again stays out for
// twice as long, up to ten times For.
type EjectConfig struct {
	Errors int           // failures within Within: not reached, too late, broken off; 0: never; default 5
	Within time.Duration // default 10 s
	For    time.Duration // how long it stays out; default 30 s
	AtMost float64       // share of the pool that may be out by ejection, 0 to 1, rounded down; default 0.5
	// Ratio is the share of answers within Within that are 5xx, failures
	// included, 0 to 1; 0 (default): 5xx do not count. A request that makes every
	// backend answer so would take AtMost of the pool out.
	Ratio float64
	// MinRequests is how many answers within Within Ratio needs; default 20.
	MinRequests int
}

// RetryConfig is how a request is tried again on another backend.
type RetryConfig struct {
	Attempts int     // in all, the first included; default 2
	Budget   float64 // retries per request, over all requests, 0 to 1; default 0.2
}

// TLSConfig is how https backends are spoken to. File names are checked and
// read when the pool is built.
type TLSConfig struct {
	CA, Cert, Key string // PEM files; empty: the system's authorities, no client certificate
	ServerName    string // empty: the host of the URL
	SkipVerify    bool   // verify: false
	// HTTP1 is http2: false. By default backends are offered HTTP/2 and
	// HTTP/1.1 (RFC 7301), and choose.
	HTTP1 bool
}

// TimeoutConfig is how long a backend may take.
type TimeoutConfig struct {
	Connect time.Duration // TCP and TLS; default 2 s
	Header  time.Duration // to the response head; default 60 s; 0: no limit
	Idle    time.Duration // between bytes of the response body; default 60 s; 0: no limit
}

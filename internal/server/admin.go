package server

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"sallyport/internal/gate"
)

// admin is the endpoint for operators on a socket of its own. What is said
// about it may change while the socket stays.
type admin struct {
	address  string // as configured
	socket   net.Listener
	local    bool // loopback or a Unix socket: reading needs no token
	settings atomic.Pointer[adminSettings]
	http     *http.Server
	server   *Server
}

// adminSettings is what a generation says of the endpoint. Never modified.
type adminSettings struct {
	Admin
	token string
}

// nextAdmin returns the endpoint that cfg asks for, with its socket open, and
// the settings that it is to have; nil for none. The running endpoint is
// returned when the address has not changed.
func (s *Server) nextAdmin(cfg Admin) (*admin, *adminSettings, error) {
	if cfg.Address == "" {
		return nil, nil, nil
	}
	token, err := readToken(cfg.TokenFile)
	if err != nil {
		return nil, nil, err
	}
	set := &adminSettings{cfg, token}
	if s.admin != nil && s.admin.address == cfg.Address {
		return s.admin, set, nil
	}
	socket, err := s.listenAdmin(cfg.Address)
	if err != nil {
		return nil, nil, err
	}
	tcp, isTCP := socket.Addr().(*net.TCPAddr)
	return &admin{address: cfg.Address, socket: socket, local: !isTCP || tcp.IP.IsLoopback(), server: s}, set, nil
}

// readToken returns the token of the file, made now when there is none. A
// token that others could read is refused.
func readToken(name string) (string, error) {
	info, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return makeToken(name)
	case err != nil:
		return "", fmt.Errorf("admin token: %w", err)
	case info.Mode().Perm()&0o077 != 0:
		return "", fmt.Errorf("admin token: %s can be read by others; chmod 600 it, or remove it to get a new one", name)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return "", fmt.Errorf("admin token: %w", err)
	}
	token := strings.TrimSpace(string(text))
	if len(token) < 32 {
		return "", fmt.Errorf("admin token: %s holds fewer than 32 characters; remove it to get a new one", name)
	}
	return token, nil
}

func makeToken(name string) (string, error) {
	var random [24]byte
	rand.Read(random[:])
	token := hex.EncodeToString(random[:])
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return "", fmt.Errorf("admin token: %w", err)
	}
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", fmt.Errorf("admin token: %w", err)
	}
	if _, err := file.WriteString(token + "\n"); err != nil {
		return "", errors.Join(fmt.Errorf("admin token: %w", err), file.Close())
	}
	return token, file.Close()
}

// listenAdmin opens the endpoint's socket.
func (s *Server) listenAdmin(configured string) (net.Listener, error) {
	socket, err := s.listen(configured, 0o600)
	if err != nil {
		return nil, fmt.Errorf("admin: listen on %s: %w", configured, err)
	}
	return socket, nil
}

func (a *admin) serve() {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { word(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", a.readyz)
	mux.HandleFunc("GET /status", a.reads(func() any { return a.server.status() }))
	mux.HandleFunc("GET /pools", a.reads(func() any {
		if run := a.server.current.Load(); run != nil {
			return run.Pools()
		}
		return []any{}
	}))
	mux.HandleFunc("POST /pools", a.changes(a.pools))
	mux.HandleFunc("GET /bans", a.reads(func() any {
		if run := a.server.current.Load(); run != nil {
			return run.Bans()
		}
		return []any{}
	}))
	mux.HandleFunc("POST /bans", a.changes(a.bans))
	if a.server.opt.Metrics != nil {
		mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
			if a.settings.Load().MetricsOpen || a.mayRead(w, r) {
				a.server.opt.Metrics.ServeHTTP(w, r)
			}
		})
	}
	mux.HandleFunc("POST /reload", a.changes(a.reload))
	a.http = &http.Server{
		Handler:           a.guard(mux),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      60 * time.Second,
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          zap.NewStdLog(a.server.log.WithOptions(zap.IncreaseLevel(zap.ErrorLevel))),
	}
	a.server.accepts.Go(func() { _ = a.http.Serve(a.socket) }) // ends with ErrServerClosed only
	a.server.log.Info("admin endpoint", zap.String("address", a.socket.Addr().String()))
}

// close lets what is under way finish, briefly: a reload that swaps the
// endpoint is itself a request on it.
func (a *admin) close() {
	a.server.retiring.Add(1)
	go func() {
		defer a.server.retiring.Done()
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		if a.http.Shutdown(ctx) != nil {
			_ = a.http.Close() // nothing more can be done for them
		}
	}()
}

// guard answers only those who address the endpoint by a name that is its own,
// which keeps web pages from reaching it through a name that they control
// (DNS rebinding), and refuses what a browser says comes from elsewhere.
func (a *admin) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if !a.ownHost(r.Host) {
			problem(w, http.StatusMisdirectedRequest, "this name is not the admin endpoint's; add it to admin.hosts if it should be")
			return
		}
		if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" && site != "none" {
			problem(w, http.StatusForbidden, "requests from other sites are refused")
			return
		}
		if origin := r.Header.Get("Origin"); origin != "" {
			if u, err := url.Parse(origin); err != nil || u.Host != r.Host {
				problem(w, http.StatusForbidden, "requests from other origins are refused")
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// ownHost reports whether a Host value names this endpoint.
func (a *admin) ownHost(host string) bool {
	if strings.HasPrefix(a.address, "unix:") {
		return true // no browser gets here
	}
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.Trim(strings.ToLower(name), "[]")
	if name == "localhost" {
		return true
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return true // an address is no name that somebody else could make point here
	}
	configured, _, _ := net.SplitHostPort(a.address)
	isIt := func(h string) bool { return h != "" && (strings.EqualFold(h, name) || strings.EqualFold(h, host)) }
	return isIt(configured) || slices.ContainsFunc(a.settings.Load().Hosts, isIt)
}

// mayRead reports whether the request may see what is only shown to
// operators, and answers it when it may not.
func (a *admin) mayRead(w http.ResponseWriter, r *http.Request) bool {
	if a.local || a.authorized(r) {
		return true
	}
	w.Header().Set("WWW-Authenticate", `Bearer realm="sallyport"`)
	problem(w, http.StatusUnauthorized, "off loopback this needs the token of the file "+tokenHint)
	return false
}

// tokenHint tells an operator where to look, and others nothing.
const tokenHint = "admin-token in state.dir"

func (a *admin) authorized(r *http.Request) bool {
	got, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return ok && subtle.ConstantTimeCompare([]byte(got), []byte(a.settings.Load().token)) == 1
}

func (a *admin) reads(show func() any) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if a.mayRead(w, r) {
			answerJSON(w, http.StatusOK, show())
		}
	}
}

// changes guards what changes state: always the token, and a content type that
// no plain form of a web page can send.
func (a *admin) changes(do http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !a.authorized(r) {
			w.Header().Set("WWW-Authenticate", `Bearer realm="sallyport"`)
			problem(w, http.StatusUnauthorized, "this needs the token of the file "+tokenHint)
			return
		}
		if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
			problem(w, http.StatusUnsupportedMediaType, "send Content-Type: application/json")
			return
		}
		do(w, r)
	}
}

func (a *admin) readyz(w http.ResponseWriter, _ *http.Request) {
	switch {
	case a.server.draining.Load():
		word(w, http.StatusServiceUnavailable, "draining")
	case a.server.current.Load() == nil:
		word(w, http.StatusServiceUnavailable, "starting")
	default:
		word(w, http.StatusOK, "ready")
	}
}

func (a *admin) reload(w http.ResponseWriter, _ *http.Request) {
	if err := a.server.Reload(); err != nil {
		answerJSON(w, http.StatusUnprocessableEntity, reloadAnswer{Generation: a.server.Generation(), Problems: problems(err)})
		return
	}
	answerJSON(w, http.StatusOK, reloadAnswer{Reloaded: true, Generation: a.server.Generation(), Problems: []string{}})
}

// reloadAnswer is what POST /reload says.
type reloadAnswer struct {
	Reloaded   bool     `json:"reloaded"`
	Generation uint64   `json:"generation"`
	Problems   []string `json:"problems"`
}

// problems is one line for each thing that is wrong.
func problems(err error) []string {
	if ds, ok := errors.AsType[gate.Diagnostics](err); ok {
		lines := make([]string, len(ds))
		for i, d := range ds {
			lines[i] = d.String()
		}
		return lines
	}
	return strings.Split(err.Error(), "\n")
}

// statusAnswer is what GET /status says.
type statusAnswer struct {
	Version     string   `json:"version"`
	Generation  uint64   `json:"generation"`
	Ready       bool     `json:"ready"`
	UptimeS     int64    `json:"uptime_s"`
	Connections int      `json:"connections"`
	Listeners   []string `json:"listeners"`
	Running     any      `json:"running"`
}

func (s *Server) status() statusAnswer {
	a := statusAnswer{
		Version: s.opt.Version, Generation: s.Generation(), UptimeS: int64(time.Since(s.started).Seconds()),
		Connections: s.Connections(), Listeners: []string{},
	}
	if run := s.current.Load(); run != nil {
		a.Ready = !s.draining.Load()
		a.Running = run.Status()
		for _, l := range run.Server().Listeners {
			a.Listeners = append(a.Listeners, l.Address)
		}
	}
	return a
}

func answerJSON(w http.ResponseWriter, status int, v any) {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		problem(w, http.StatusInternalServerError, "cannot be shown")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n')) // a reader that went away is no matter
}

func word(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text + "\n"))
}

func problem(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	text, _ := json.Marshal(map[string]any{"status": status, "title": http.StatusText(status), "detail": detail})
	_, _ = w.Write(append(text, '\n'))
}

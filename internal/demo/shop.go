package demo

import (
	"net/http"
	"slices"
	"sync"
)

const (
	maxComments = 50      // kept; the oldest goes first
	maxComment  = 2 << 10 // bytes of one
	maxForm     = 64 << 10
)

// A shop is the state that the instances share.
type shop struct {
	tables map[string]table

	mu       sync.Mutex
	comments []string // oldest first
}

// newShop fills the tables.
func newShop() *shop {
	return &shop{
		tables: map[string]table{
			"products": {columns: []string{"id", "name", "price"}, rows: [][]string{
				{"1", "Portcullis, oak", "1200"},
				{"2", "Portcullis, iron", "2900"},
				{"3", "Drawbridge chain", "340"},
				{"4", "Sentry lantern", "25"},
				{"5", "Arrow slit cover", "60"},
			}},
			"users": {columns: []string{"id", "name", "password", "email"}, rows: [][]string{
				{"1", "alice", "correct-horse", "alice@example.org"},
				{"2", "bob", "letmein", "bob@example.org"},
				{"3", "admin", "s3cr3t-of-the-keep", "admin@example.org"},
			}},
		},
		comments: []string{"The portcullis fits perfectly.", "Delivery took a fortnight by ox cart."},
	}
}

// add keeps a comment.
func (s *shop) add(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.comments) == maxComments {
		s.comments = slices.Delete(s.comments, 0, 1)
	}
	s.comments = append(s.comments, text[:min(len(text), maxComment)])
}

// all returns the comments.
func (s *shop) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.comments)
}

// handler serves the application as one instance, which tells about itself in
// every answer.
func (s *shop) handler(in instance) http.Handler {
	mux := http.NewServeMux()
	for path, h := range map[string]http.HandlerFunc{
		"/{$}":      s.home,
		"/search":   in.with(s.search),
		"/login":    in.with(s.login),
		"/comments": s.commentsPage,
		"/upload":   upload,
		"/boom":     in.boom,
		"/leak":     in.leak,
		"/about":    in.about,
		"/redirect": redirect,
		"/landing":  landing,
		"/stream":   stream,
		"/slow":     slow,
		"/download": download,
		"/echo":     echo,
		"/healthz":  healthz,
		"/ws":       websocketEcho,
	} {
		mux.HandleFunc(path, h)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Server", in.server)
		h.Set("X-Powered-By", in.powered)
		h.Set("X-Backend-Server", in.host)
		mux.ServeHTTP(w, r)
	})
}

// with gives a page the instance that serves it.
func (in instance) with(page func(instance, http.ResponseWriter, *http.Request)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { page(in, w, r) }
}

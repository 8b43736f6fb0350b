// Package geo decides whether requests may come from where they come from, by
// the address itself, the autonomous system it belongs to, and the country it
// is in, as far as two mmdb files know.
//
// It never asks the network, never believes what a request says of its own
// origin, and refuses when a rule depends on a database that cannot be read.
// The files are read into memory and replaced there when they change; one that
// is not sound leaves the old one in place.
package geo

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"sallyport/internal/gate"
)

// pollInterval is how often the database files are looked at. A change is
// taken up at the second look that finds the file the same, so that a file
// that is still being written is left alone.
const pollInterval = 10 * time.Second

// A Filter holds the rules and the databases. It is safe for concurrent use.
type Filter struct {
	mode      gate.Mode
	global    *ruleset
	routes    map[string]*ruleset
	exempt    []string
	databases []*database // those that are configured
	stop      func()      // ends the watch and waits for its end
}

// Open reads the databases, compiles the rules, and begins to watch the files.
// The error is gate.Diagnostics where a database file is to blame. In mode off
// nothing is opened.
func Open(cfg Config, log *zap.Logger) (*Filter, error) {
	f := &Filter{mode: cfg.Mode, stop: func() {}}
	if cfg.Mode == gate.Off {
		return f, nil
	}
	if err := f.compile(cfg); err != nil {
		return nil, err
	}
	var problems gate.Diagnostics
	for _, d := range []*database{newDatabase(countryKind, cfg.Country), newDatabase(asnKind, cfg.ASN)} {
		if d.path == "" {
			continue
		}
		f.databases = append(f.databases, d)
		s, err := d.kind.load(d.path)
		if err != nil {
			problems = append(problems, gate.Diagnostic{File: d.path, Path: d.kind.key, What: err.Error(), Hint: d.kind.remedy})
			continue
		}
		d.take(s)
	}
	if len(problems) > 0 {
		return nil, problems
	}
	if len(f.databases) > 0 {
		f.watch(log)
	}
	return f, nil
}

// compile turns the configured rules into sets.
func (f *Filter) compile(cfg Config) error {
	var errs []error
	add := func(name string, r Rules) *ruleset {
		s, err := newRuleset(name, r)
		if err == nil {
			err = s.answerable(cfg)
		}
		if err != nil {
			errs = append(errs, err)
		}
		return s
	}
	f.global = add("geo", cfg.Global)
	f.routes = make(map[string]*ruleset, len(cfg.Routes))
	for name, r := range cfg.Routes {
		f.routes[name] = add("geo of route "+name, r)
	}
	for _, p := range cfg.ExemptPaths {
		if !strings.HasPrefix(p, "/") {
			errs = append(errs, fmt.Errorf("geo.exempt_paths: %q does not begin with a slash", p))
		}
		f.exempt = append(f.exempt, p)
	}
	return errors.Join(errs...)
}

// watch starts the one goroutine that looks at the files. Close ends it.
func (f *Filter) watch(log *zap.Logger) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(pollInterval)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				for _, d := range f.databases {
					d.poll(log)
				}
			}
		}
	})
	f.stop = sync.OnceFunc(func() {
		close(done)
		wg.Wait()
	})
}

// Check sets the request's Place, and refuses it when the global rules or
// those of its route do.
func (f *Filter) Check(req *gate.Request) gate.Verdict {
	if f.mode == gate.Off {
		return gate.Passes(gate.StageGeo)
	}
	place, err := f.lookup(req.Client)
	req.Place = place
	if f.exempted(req.Path) {
		return gate.Passes(gate.StageGeo)
	}
	reason, detail := f.global.judge(req.Client, place, err)
	if reason == "" && req.Route != nil {
		if r := f.routes[req.Route.Name]; r != nil {
			reason, detail = r.judge(req.Client, place, err)
		}
	}
	if reason == "" {
		return gate.Passes(gate.StageGeo)
	}
	v := gate.Refusal(reason, f.mode, detail)
	if reason == gate.GeoUnavailable {
		v.Err = err
	}
	return v
}

// Lookup tells where an address is. What cannot be read is unknown.
func (f *Filter) Lookup(addr netip.Addr) gate.Place {
	place, _ := f.lookup(addr) // the error stands in a verdict where it matters
	return place
}

func (f *Filter) lookup(addr netip.Addr) (gate.Place, error) {
	addr = addr.Unmap().WithZone("")
	var place gate.Place
	var err, errs error
	for _, d := range f.databases {
		if place, err = d.lookup(addr, place); err != nil {
			errs = errors.Join(errs, fmt.Errorf("look up in %s: %w", d.path, err))
		}
	}
	return place, errs
}

// exempted reports whether path lies at or under one of the exempt paths. A
// prefix with a slash at its end covers only what lies under it.
func (f *Filter) exempted(path string) bool {
	for _, p := range f.exempt {
		if rest, ok := strings.CutPrefix(path, p); ok && (rest == "" || rest[0] == '/' || strings.HasSuffix(p, "/")) {
			return true
		}
	}
	return false
}

// A Database is what is known about one database in use.
type Database struct {
	Kind    string // "country" or "asn"
	Path    string
	Type    string    // as the file says, such as GeoLite2-City
	Built   time.Time // when its maker made it
	Loaded  time.Time // when it was read
	Problem string    // why a newer file, or none, is not in use; empty: all is well
}

// Databases describes the databases in use, the country's first.
func (f *Filter) Databases() []Database {
	list := make([]Database, len(f.databases))
	for i, d := range f.databases {
		list[i] = d.describe()
	}
	return list
}

// Close ends the watch. Requests that are under way may still be checked. It
// never fails, and may be called more than once.
func (f *Filter) Close() error {
	f.stop()
	return nil
}

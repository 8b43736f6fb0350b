// Package geo decides whether requests may come from where they come from, by
// the address itself, the autonomous system it belongs to, and the country and
// continent it is in, as far as two mmdb files know, and by lists of networks.
//
// It never asks the network, never believes what a request says of its own
// origin, and refuses when a rule depends on a database that cannot be read.
// The files are read into memory and replaced there when they change; one that
// is not sound leaves the old one in place.
package geo

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"sallyport/internal/gate"
)

// pollInterval is how often the files are looked at. A change is taken up at
// the second look that finds the file the same, so that a file that is still
// being written is left alone.
const pollInterval = 10 * time.Second

// A Filter holds the rules, the databases and the lists. It is safe for
// concurrent use.
type Filter struct {
	mode      gate.Mode
	global    *ruleset
	routes    map[string]*ruleset
	exempt    []string
	databases []*database // those that are configured
	lists     []*list     // each file once, in the order of the configuration
	stop      func()      // ends the watch and waits for its end
}

// Open reads the databases and lists, compiles the rules, and begins to watch
// the files. The error is gate.Diagnostics where a file is to blame. In mode
// off nothing is opened.
func Open(cfg Config, log *zap.Logger) (*Filter, error) {
	f := &Filter{mode: cfg.Mode, stop: func() {}}
	if cfg.Mode == gate.Off {
		return f, nil
	}
	if err := f.compile(cfg); err != nil {
		return nil, err
	}
	now := time.Now()
	var problems gate.Diagnostics
	for _, d := range f.databases {
		if err := d.load(); err != nil {
			problems = append(problems, gate.Diagnostic{File: d.path, Path: d.kind.key, What: err.Error(), Hint: d.kind.remedy})
		}
	}
	for _, l := range f.lists {
		if err := l.load(now); err != nil {
			ds, _ := errors.AsType[gate.Diagnostics](err) // a list fails with nothing else
			problems = append(problems, ds...)
		}
	}
	if len(problems) > 0 {
		return nil, problems
	}
	for _, d := range f.databases {
		d.judgeAge(log, now)
	}
	if len(f.databases)+len(f.lists) > 0 {
		f.watch(log)
	}
	return f, nil
}

// compile turns the configured rules into sets, and names the files that they
// depend on.
func (f *Filter) compile(cfg Config) error {
	var errs []error
	lists := f.nameLists(cfg)
	need := demands{coordinates: cfg.Locate}
	add := func(name string, r Rules) *ruleset {
		s, err := newRuleset(name, r, lists)
		if err == nil {
			err = s.answerable(cfg)
		}
		if err != nil {
			errs = append(errs, err)
			return nil
		}
		need.continents = need.continents || len(s.deny.key.continents)+len(s.allow.key.continents) > 0
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
	if cfg.Country != "" {
		f.databases = append(f.databases, newDatabase(countryKind, cfg.Country, need, cfg.MaxAge))
	}
	if cfg.ASN != "" {
		f.databases = append(f.databases, newDatabase(asnKind, cfg.ASN, demands{}, cfg.MaxAge))
	}
	return errors.Join(errs...)
}

// nameLists gathers the files of all rules, each once: a list that many routes
// name is held once.
func (f *Filter) nameLists(cfg Config) map[string]*list {
	byPath := map[string]*list{}
	add := func(key string, paths []string) {
		for _, path := range paths {
			if byPath[path] == nil {
				byPath[path] = &list{watched: watched{what: "network list", path: path}, key: key, hasASN: cfg.ASN != ""}
				f.lists = append(f.lists, byPath[path])
			}
		}
	}
	add("geo.deny_files", cfg.Global.DenyFiles)
	add("geo.allow_files", cfg.Global.AllowFiles)
	for _, name := range slices.Sorted(maps.Keys(cfg.Routes)) {
		add("geo.deny_files of route "+name, cfg.Routes[name].DenyFiles)
		add("geo.allow_files of route "+name, cfg.Routes[name].AllowFiles)
	}
	return byPath
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
				now := time.Now()
				for _, d := range f.databases {
					d.tick(log, now)
				}
				for _, l := range f.lists {
					l.tick(log, now)
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
	x := f.subject(req.Client)
	req.Place = x.place
	if f.exempted(req.Path) {
		return gate.Passes(gate.StageGeo)
	}
	by := f.global
	d := by.judge(&x)
	if d.reason() == "" && req.Route != nil {
		if r := f.routes[req.Route.Name]; r != nil {
			by = r
			d = by.judge(&x)
		}
	}
	reason := d.reason()
	if reason == "" {
		return gate.Passes(gate.StageGeo)
	}
	v := gate.Refusal(reason, f.mode, by.words(d, &x))
	if reason == gate.GeoUnavailable {
		v.Err = x.err
	}
	return v
}

// Lookup tells where an address is. What cannot be read is unknown.
func (f *Filter) Lookup(addr netip.Addr) gate.Place {
	return f.subject(addr).place // the error stands in a verdict where it matters
}

// subject asks the databases about an address.
func (f *Filter) subject(addr netip.Addr) subject {
	x := subject{addr: addr.Unmap().WithZone("")}
	x.private = isPrivate(x.addr)
	for _, d := range f.databases {
		place, err := d.lookup(x.addr, x.place)
		if err != nil {
			x.err = errors.Join(x.err, fmt.Errorf("look up in %s: %w", d.path, err))
			continue
		}
		x.place = place
	}
	return x
}

// exempted reports whether path lies at or under one of the exempt paths. A
// prefix with a slash at its end covers only what lies under it.
func (f *Filter) exempted(path string) bool {
	for _, p := range f.exempt {
		rest, ok := strings.CutPrefix(path, p)
		if ok && (rest == "" || rest[0] == '/' || strings.HasSuffix(p, "/")) && !leads(rest) {
			return true
		}
	}
	return false
}

// leads reports whether what follows an exempt prefix may lead a server out of
// it: one that decodes %2F or %5C before it resolves dot segments, or decodes
// twice, finds /admin in /.well-known/..%2Fadmin. Dot segments in the open have
// been resolved in the canonical path.
func leads(rest string) bool {
	for _, escape := range [...]string{"%2F", "%5C", "%25", "\\"} {
		if strings.Contains(rest, escape) {
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
	Old     bool      // built longer ago than Config.MaxAge
	Problem string    // why a newer file, or none, is not in use; empty: all is well
}

// Databases describes the databases in use, the country's first.
func (f *Filter) Databases() []Database {
	now := time.Now()
	list := make([]Database, len(f.databases))
	for i, d := range f.databases {
		list[i] = d.describe(now)
	}
	return list
}

// A List is what is known about one list in use.
type List struct {
	Path    string
	Entries int       // that count: different networks, without those that have ended
	Written int       // that the file holds
	Loaded  time.Time // when it was read
	Problem string    // why a newer file, or none, is not in use; empty: all is well
}

// Lists describes the lists in use, each once.
func (f *Filter) Lists() []List {
	out := make([]List, len(f.lists))
	for i, l := range f.lists {
		out[i] = l.describe()
	}
	return out
}

// Close ends the watch. Requests that are under way may still be checked. It
// never fails, and may be called more than once.
func (f *Filter) Close() error {
	f.stop()
	return nil
}

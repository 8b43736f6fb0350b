package config

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"sallyport/internal/gate"
	"sallyport/proxy"
)

// balancing reads how a pool chooses among its backends.
func (r *reader) balancing(o *object, p *proxy.PoolConfig) {
	set(o, "balance", &p.Balance, choice(proxy.RoundRobin, proxy.LeastRequests, proxy.P2C, proxy.Hash, proxy.Random, proxy.Nearest))
	set(o, "hash_on", &p.HashOn, parseHashOn)
	o.section("sticky", func(o *object) {
		set(o, "cookie", &p.Sticky.Cookie, func(s string) (string, error) {
			if s != "" && !isToken(s) {
				return "", &problem{fmt.Sprintf("bad cookie name %q", s), "write a short name such as sp"}
			}
			return s, nil
		})
		set(o, "for", &p.Sticky.For, duration(time.Minute, 365*24*time.Hour))
	})
	set(o, "slow_start", &p.SlowStart, duration(0, time.Hour))
	set(o, "max_connections", &p.MaxConnections, integer(0, 1_000_000))
	o.section("queue", func(o *object) {
		set(o, "length", &p.Queue.Length, integer(0, 10_000))
		set(o, "wait", &p.Queue.Wait, duration(time.Millisecond, 10*time.Minute))
	})
}

// parseHashOn accepts what requests are told apart by.
func parseHashOn(s string) (string, error) {
	switch kind, name, named := strings.Cut(s, ":"); {
	case s == proxy.HashClient || s == proxy.HashPath:
		return s, nil
	case kind+":" == proxy.HashHeader || kind+":" == proxy.HashCookie:
		if isToken(name) {
			return s, nil
		}
		return "", &problem{fmt.Sprintf("bad value %q", s), fmt.Sprintf("write a name, as in %q", kind+":session")}
	case named && (kind == proxy.HashClient || kind == proxy.HashPath):
		return "", &problem{fmt.Sprintf("bad value %q", s), "did you mean " + kind + "?"}
	}
	words := []string{proxy.HashClient, proxy.HashHeader + "NAME", proxy.HashCookie + "NAME", proxy.HashPath}
	hint := didYouMean(s, words)
	if hint == "" {
		hint = "write " + strings.Join(words, ", ")
	}
	return "", &problem{fmt.Sprintf("bad value %q", s), hint}
}

// parseZone accepts where a backend is: a continent, a country, or coordinates.
// A code that is both has to say which.
func parseZone(s string) (proxy.Zone, error) {
	if s == "" {
		return proxy.Zone{}, nil
	}
	if latitude, longitude, ok := strings.Cut(s, ","); ok {
		return parseCoordinates(s, latitude, longitude)
	}
	upper := strings.ToUpper(s)
	if code, ok := strings.CutPrefix(upper, strings.ToUpper(continentWord)); ok && isContinent(code) {
		return proxy.Zone{Continent: code}, nil
	}
	code, said := strings.CutPrefix(upper, strings.ToUpper(proxy.CountryWord))
	switch {
	case isCountry(code) && isContinent(code) && !said:
		return proxy.Zone{}, &problem{fmt.Sprintf("%s is a country and a continent", code),
			fmt.Sprintf("write %s%s or %s%s", continentWord, code, proxy.CountryWord, code)}
	case isCountry(code):
		return proxy.Zone{Country: code, Continent: continentOf(code)}, nil
	case isContinent(code) && !said:
		return proxy.Zone{Continent: code}, nil
	case mistakenCountry(code) != "":
		return proxy.Zone{}, &problem{fmt.Sprintf("no such place %q", s), fmt.Sprintf("did you mean %s?", mistakenCountry(code))}
	}
	return proxy.Zone{}, &problem{fmt.Sprintf("no such place %q", s), `write a country as NL, a continent as continent-EU, or latitude and longitude as "52.4,4.9"`}
}

func parseCoordinates(s, latitude, longitude string) (proxy.Zone, error) {
	degrees := func(s string, most float64) (float64, bool) {
		v, err := strconv.ParseFloat(strings.Trim(s, " "), 64)
		return v, err == nil && math.Abs(v) <= most // not so for NaN
	}
	z := proxy.Zone{Located: true}
	var north, east bool
	z.Latitude, north = degrees(latitude, 90)
	z.Longitude, east = degrees(longitude, 180)
	if !north || !east {
		return proxy.Zone{}, &problem{fmt.Sprintf("bad coordinates %q", s), `write degrees north (-90 to 90) and east (-180 to 180), as in "52.4,4.9"`}
	}
	return z, nil
}

// checkBalance judges how a pool chooses, and what its backends say to that.
func (r *reader) checkBalance(c *Config, p proxy.PoolConfig) {
	path := "pools." + p.Name
	if len(p.Backends) > 0 && !slices.ContainsFunc(p.Backends, func(b proxy.BackendConfig) bool { return !b.Backup }) {
		r.fail(path+".backends", "every backend is a backup", "a backup stands in for others: remove backup from those that are to be asked first")
	}
	if p.Balance != proxy.Hash && p.HashOn != proxy.HashClient {
		r.warn(path+".hash_on", "without effect: balance is "+p.Balance, "write balance: hash")
	}
	if p.MaxConnections == 0 && p.Queue != newPool(p.Name).Queue {
		r.warn(path+".queue", "without effect: no backend is ever full", "write max_connections too")
	}
	if p.Sticky.Cookie != "" && p.Balance == proxy.Hash && p.HashOn == proxy.HashCookie+p.Sticky.Cookie {
		r.fail(path+".hash_on", "the sticky cookie, which is never the same twice", "name a cookie of the application")
	}
	r.checkCookie(c, p)
	r.checkZones(c, p)
}

// checkCookie refuses a sticky cookie that another pool has: a browser would
// keep one of the two, and lose its place in the other pool with every request.
func (r *reader) checkCookie(c *Config, p proxy.PoolConfig) {
	for _, q := range c.Proxy.Pools {
		if q.Name == p.Name {
			return
		}
		if q.Sticky.Cookie != "" && q.Sticky.Cookie == p.Sticky.Cookie {
			r.fail("pools."+p.Name+".sticky.cookie", fmt.Sprintf("pool %s has a cookie of this name: a browser would keep only one of them", q.Name), "choose another name")
			return
		}
	}
}

func (r *reader) checkZones(c *Config, p proxy.PoolConfig) {
	path := "pools." + p.Name
	points, codes := 0, 0
	for i, b := range p.Backends {
		at := fmt.Sprintf("%s.backends[%d].zone", path, i)
		switch {
		case b.Zone == proxy.Zone{}:
			continue
		case p.Balance != proxy.Nearest:
			r.warn(at, "without effect: balance is "+p.Balance, "write balance: nearest")
			continue
		case b.Zone.Located:
			points++
		default:
			codes++
		}
		if points > 0 && codes > 0 {
			r.fail(at, "coordinates and codes in one pool: a country is not so and so many degrees away", "write coordinates for all backends, or for none")
			return
		}
	}
	switch {
	case p.Balance != proxy.Nearest:
	case points+codes == 0:
		if !r.within(path + ".backends") {
			r.fail(path+".balance", "no backend has a zone", "write zone: NL, or another balance")
		}
	case c.Geo.Mode == gate.Off:
		r.fail(path+".balance", "nobody knows where clients are: geo.mode is off", "write geo: {mode: enforce}, or another balance")
	case c.Geo.Country == "":
		r.fail(path+".balance", "nobody knows where clients are: there is no database", "name one in geo.country, or write another balance")
	}
	c.Geo.Locate = c.Geo.Locate || points > 0
}

package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"sallyport/internal/gate"
	"sallyport/internal/geo"
	"sallyport/proxy"
)

// continents holds the codes that geo databases use. They are written with a
// word in front: AF, AS, NA and SA are countries too, and EU looks like one. A
// dash joins the two, since YAML gives a colon a meaning of its own.
const continents = " AF AN AS EU NA OC SA "

const continentWord = "continent-"

func isContinent(code string) bool {
	return len(code) == 2 && strings.Contains(continents, " "+code+" ")
}

// parseGeoRule accepts a country, a continent, a network number, a prefix or a
// class.
func parseGeoRule(s string) (geo.Rule, error) {
	switch class := geo.Class(strings.ToLower(s)); class {
	case geo.Private, geo.Unknown:
		return geo.Rule{Class: class}, nil
	}
	upper := strings.ToUpper(s)
	if code, ok := strings.CutPrefix(upper, strings.ToUpper(continentWord)); ok {
		if !isContinent(code) {
			return geo.Rule{}, &problem{fmt.Sprintf("no such continent %q", s[len(continentWord):]), "write continent- and one of" + strings.TrimRight(continents, " ")}
		}
		return geo.Rule{Continent: code}, nil
	}
	if code, ok := strings.CutPrefix(upper, "CONTINENT:"); ok && isContinent(code) {
		return geo.Rule{}, &problem{fmt.Sprintf("no such country or network %q", s), fmt.Sprintf("did you mean %s%s?", continentWord, code)}
	}
	if strings.ContainsAny(s, ".:/") {
		p, err := parsePrefix(s)
		return geo.Rule{Prefix: p}, err
	}
	if digits, ok := strings.CutPrefix(upper, "AS"); ok && isDigits(digits) {
		n, err := strconv.ParseUint(digits, 10, 32)
		if err != nil || n == 0 || digits[0] == '0' {
			return geo.Rule{}, &problem{fmt.Sprintf("bad network number %q", s), "write AS1 to AS4294967295"}
		}
		return geo.Rule{ASN: uint32(n)}, nil
	}
	if isCountry(upper) {
		return geo.Rule{Country: upper}, nil
	}
	return geo.Rule{}, &problem{fmt.Sprintf("no such country or network %q", s), geoHint(s)}
}

// geoHint says what may have been meant by a word that is no rule.
func geoHint(s string) string {
	upper := strings.ToUpper(s)
	classes := []string{string(geo.Private), string(geo.Unknown)}
	switch {
	case isDigits(s):
		return fmt.Sprintf("did you mean AS%s?", s)
	case mistakenCountry(upper) != "":
		return fmt.Sprintf("did you mean %s?", mistakenCountry(upper))
	case isContinent(upper): // and not a country
		return fmt.Sprintf("did you mean %s%s?", continentWord, upper)
	case len(s) == 2:
		return "write a code of ISO 3166-1 alpha-2"
	case didYouMean(s, classes) != "":
		return didYouMean(s, classes)
	}
	return "write a country as NL, a continent as continent-EU, a network as AS64496, an address as 203.0.113.0/24, private or unknown"
}

// days accepts a whole number of days.
func days(lo, hi int) func(string) (time.Duration, error) {
	return func(s string) (time.Duration, error) {
		digits := strings.TrimSuffix(s, "d")
		n, err := strconv.Atoi(digits)
		if err != nil || !isDigits(digits) || digits == s && s != "0" {
			return 0, &problem{fmt.Sprintf("bad number of days %q", s), "write a whole number of days, as in 45d"}
		}
		return time.Duration(n) * 24 * time.Hour, within(n, lo, hi, func(n int) string { return itoa(n) + "d" })
	}
}

// writeDays is how a number of days is written.
func writeDays(d time.Duration) string { return itoa(int(d/(24*time.Hour))) + "d" }

func (r *reader) checkGeoRules(c *Config, path string, g geo.Rules) {
	for key, rules := range map[string][]geo.Rule{"deny": g.Deny, "allow": g.Allow} {
		at, tell, so := path+"."+key, r.fail, ""
		if key == "allow" && g.DenyUnknown {
			tell, so = r.warn, ": all public addresses are refused whom no prefix allows"
		}
		if i := slices.IndexFunc(rules, namesArea); c.Geo.Country == "" && i >= 0 {
			what := "a country, but no database that knows countries"
			if rules[i].Continent != "" {
				what = "a continent, but no database that knows continents"
			}
			tell(at, what+so, "name one in geo.country")
		}
		if c.Geo.ASN == "" && slices.ContainsFunc(rules, namesNetwork) {
			tell(at, "a network number, but no database that knows networks"+so, "name one in geo.asn")
		}
	}
	r.checkUnknown(c, path, g)
	r.checkOverlap(path, g)
	for i, name := range g.AllowFiles {
		if j := slices.Index(g.DenyFiles, name); j >= 0 {
			r.fail(fmt.Sprintf("%s.allow_files[%d]", path, i), fmt.Sprintf("the same file as deny_files[%d]", j), "what is denied cannot be allowed")
		}
	}
}

// checkUnknown judges what is said of unknown addresses, by the key and by the
// word in the lists.
func (r *reader) checkUnknown(c *Config, path string, g geo.Rules) {
	denied, allowed := namesUnknown(g.Deny), namesUnknown(g.Allow)
	switch {
	case allowed && denied:
		return // told of as an overlap
	case allowed && g.DenyUnknown:
		r.fail(path+".unknown", "unknown addresses are denied here and allowed in "+path+".allow", "say one of the two")
		return
	case denied && !g.DenyUnknown:
		r.fail(path+".unknown", "unknown addresses are allowed here and denied in "+path+".deny", "say one of the two")
		return
	}
	if c.Geo.Country != "" {
		return
	}
	if allowed {
		r.fail(path+".allow", "every country is unknown without a database: all would be let pass", "name one in geo.country")
	}
	// Where networks alone are allowed, unknown is about these; an allow list
	// has been told of already.
	listed := slices.ContainsFunc(g.Allow, namesNetwork) || slices.ContainsFunc(g.Allow, namesArea) || len(g.AllowFiles) > 0
	if key := path + ".unknown"; g.DenyUnknown && !listed {
		if denied {
			key = path + ".deny"
		} else if !r.written(key) {
			return
		}
		r.fail(key, "every country is unknown without a database: all would be refused", "name one in geo.country")
	}
}

// checkOverlap reports entries that are allowed without effect, since what is
// denied decides first.
func (r *reader) checkOverlap(path string, g geo.Rules) {
	for i, a := range g.Allow {
		at := fmt.Sprintf("%s.allow[%d]", path, i)
		for j, d := range g.Deny {
			if a == d && a.Class == geo.Unknown {
				r.fail(at, fmt.Sprintf("%s is denied too, by %s.deny[%d]", a, path, j), "say one of the two")
				break
			}
			if a == d {
				r.warn(at, fmt.Sprintf("without effect: %s is denied too, by %s.deny[%d]", a, path, j), "say one of the two; what is denied decides")
				break
			}
			if a.Prefix.IsValid() && d.Prefix.IsValid() && d.Prefix.Bits() <= a.Prefix.Bits() && d.Prefix.Contains(a.Prefix.Addr()) {
				r.warn(at, fmt.Sprintf("without effect: %s lies in %s, which %s.deny[%d] denies", a, d, path, j), "deny the rest of the prefix only")
				break
			}
		}
	}
}

// checkGeoHeaders refuses fields that could never be sent.
func (r *reader) checkGeoHeaders(c *Config) {
	if c.Geo.Mode == gate.Off && len(c.Proxy.GeoHeaders) > 0 {
		r.warn("geo.headers", "without effect: geo.mode is off, so that nobody looks", "")
		return
	}
	for i, name := range c.Proxy.GeoHeaders {
		database, key := c.Geo.Country, "geo.country"
		if name == proxy.GeoASN {
			database, key = c.Geo.ASN, "geo.asn"
		}
		if database == "" {
			r.fail(fmt.Sprintf("geo.headers[%d]", i), "no database knows it", "name one in "+key)
		}
	}
}

// checkFieldValues refuses fields of routes that could never be sent.
func (r *reader) checkFieldValues(c *Config) {
	if c.Geo.Country != "" && c.Geo.Mode != gate.Off || r.within("geo") {
		return
	}
	for i, rc := range c.Proxy.Routes {
		for part, e := range map[string]proxy.FieldEdits{"request": rc.Headers.Request, "response": rc.Headers.Response} {
			for key, fields := range map[string][]proxy.FieldValue{"set": e.Set, "add": e.Add} {
				for _, f := range fields {
					if strings.Contains(f.Value, "{geo.country}") {
						r.fail(fmt.Sprintf("routes[%d].headers.%s.%s.%s", i, part, key, f.Name), "no database knows {geo.country}", "name one in geo.country, and leave geo.mode on")
					}
				}
			}
		}
	}
}

// listFiles reports lists that cannot be opened; what is in them is left to
// the stage.
func (r *reader) listFiles(c *Config) {
	report := func(path string, g geo.Rules) {
		for i, name := range g.DenyFiles {
			r.readable(fmt.Sprintf("%s.deny_files[%d]", path, i), name)
		}
		for i, name := range g.AllowFiles {
			r.readable(fmt.Sprintf("%s.allow_files[%d]", path, i), name)
		}
	}
	report("geo", c.Geo.Global)
	for i, rc := range c.Proxy.Routes {
		report(fmt.Sprintf("routes[%d].geo", i), c.Geo.Routes[rc.Route.Name])
	}
}

func namesArea(x geo.Rule) bool { return x.Country != "" || x.Continent != "" }

func namesNetwork(x geo.Rule) bool { return x.ASN != 0 }

func namesUnknown(rules []geo.Rule) bool {
	return slices.Contains(rules, geo.Rule{Class: geo.Unknown})
}

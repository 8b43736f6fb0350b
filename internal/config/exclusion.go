package config

import (
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"sallyport/internal/gate"
	"sallyport/waf"
)

// maxReason is how long a reason or an owner may be, in bytes.
const maxReason = 500

// exclusions reads the files of exclusions that the policies name, each once,
// and gives every policy those that hold for it.
func (r *reader) exclusions(c *Config) {
	read := map[string][]waf.Exclusion{}
	users := map[string][]string{} // the policies that load a file
	for _, name := range policyNames(c) {
		p := c.WAF.Policies[name]
		path := "policies." + name + ".exclusions"
		r.matches(path, p.ExclusionFiles)
		for _, pattern := range p.ExclusionFiles {
			files, err := filepath.Glob(pattern)
			if err != nil {
				continue // reported
			}
			for _, file := range files {
				if _, done := read[file]; !done {
					read[file] = r.exclusionFile(file, c)
				}
				users[file] = append(users[file], name)
				for _, x := range read[file] {
					if x.Route == "" || policyOf(c, x.Route) == name {
						p.Exclusions = append(p.Exclusions, x)
					}
				}
			}
		}
		c.WAF.Policies[name] = p
	}
	for file, list := range read {
		for _, x := range list {
			if policy := policyOf(c, x.Route); x.Route != "" && !slices.Contains(users[file], policy) {
				d := x.At["route"]
				d.What, d.Hint, d.Warning = fmt.Sprintf("without effect: route %s uses policy %s, which does not load this file", x.Route, policy), "name the file in policies."+policy+".exclusions", true
				r.diags = append(r.diags, d)
			}
		}
	}
}

// policyOf is the policy of the route with the name.
func policyOf(c *Config, route string) string {
	for _, rc := range c.Proxy.Routes {
		if rc.Route.Name == route {
			return rc.Route.Policy
		}
	}
	return ""
}

// exclusionFile reads one file. What is wrong with it joins the diagnostics of
// the configuration.
func (r *reader) exclusionFile(name string, c *Config) []waf.Exclusion {
	src, err := readFile(name)
	if err != nil {
		return nil // reported
	}
	f := newReader(name, r.env)
	defer func() { r.diags = append(r.diags, f.diags...) }()
	root := f.parse(src)
	if root == nil {
		return nil
	}
	var out []waf.Exclusion
	o := f.object(root, "", "")
	if n := o.get("exclusions"); n == nil || n.kind != empty { // all of them may be commented out
		o.each("exclusions", func(o *object, _ int) { out = append(out, f.exclusion(o, c)) })
	}
	o.done()
	f.reportUnknown()
	return out
}

func (r *reader) exclusion(o *object, c *Config) waf.Exclusion {
	var x waf.Exclusion
	type ids struct{ first, last int }
	var rules ids
	set(o, "rule", &rules, func(s string) (ids, error) {
		first, last, err := waf.ParseRules(s)
		return ids{first, last}, err
	})
	x.First, x.Last = rules.first, rules.last
	set(o, "tag", &x.Tag, waf.ParseTag)
	switch byID, byTag := r.written(o.join("rule")), r.written(o.join("tag")); {
	case byID && byTag:
		r.fail(o.join("tag"), "rule and tag in one exclusion", "write one for each")
	case !byID && !byTag:
		r.fail(o.path, "no rule", "write rule: 942100, a range of them, or tag: attack-sqli")
	}
	set(o, "target", &x.Target, waf.ParseTarget)
	set(o, "route", &x.Route, reference("route", "routes", routeNames(c)))
	set(o, "path", &x.Path, parseRoutePath)
	setList(o, "methods", &x.Methods, parseMethod)
	set(o, "reason", &x.Reason, parseNote)
	set(o, "owner", &x.Owner, parseNote)
	set(o, "expires", &x.Ends, parseLastDay)
	if !r.written(o.join("reason")) {
		r.warn(o.path, "no reason", "say why, for whoever wonders later whether it can go")
	}
	x.At = map[string]gate.Diagnostic{"": r.at(o.path)}
	for _, field := range []string{"rule", "tag", "target", "route", "expires"} {
		if path := o.join(field); r.written(path) {
			x.At[field] = r.at(path)
		}
	}
	return x
}

// at is a diagnostic about the value of a path, yet without words.
func (r *reader) at(path string) gate.Diagnostic {
	p := r.places.of(path)
	return gate.Diagnostic{File: r.places.file, Line: p.line, Column: p.column, Path: path}
}

func routeNames(c *Config) []string {
	names := make([]string, len(c.Proxy.Routes))
	for i, rc := range c.Proxy.Routes {
		names[i] = rc.Route.Name
	}
	return names
}

// parseNote accepts text for people.
func parseNote(s string) (string, error) {
	if len(s) > maxReason {
		return "", &problem{fmt.Sprintf("more than %d bytes", maxReason), ""}
	}
	return parseText(s)
}

// parseLastDay accepts a day and returns its end.
func parseLastDay(s string) (time.Time, error) {
	day, err := time.Parse(time.DateOnly, s)
	if err != nil {
		return time.Time{}, &problem{fmt.Sprintf("bad day %q", s), "write year, month and day, as in 2027-01-31"}
	}
	return day.AddDate(0, 0, 1), nil
}

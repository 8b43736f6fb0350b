package config

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"sallyport/proxy"
)

// maxPages is how many pages a configuration may have: more statuses do not
// exist.
const maxPages = 64

// newMask is a mask with every default.
func newMask() proxy.MaskConfig {
	return proxy.MaskConfig{Leaks: proxy.LeakConfig{Headers: proxy.LeakRedact, Bodies: proxy.LeakObserve}, Pages: map[int]string{}}
}

// mask reads what mask and each route's mask share; what is not written stays
// as it is. Only mask has also.
func (r *reader) mask(o *object, errors *string, m *proxy.MaskConfig, also *[]string) {
	set(o, "errors", errors, choice("uniform", "pass"))
	o.section("leaks", func(o *object) {
		action := choice(proxy.LeakRedact, proxy.LeakBlock, proxy.LeakObserve, proxy.LeakOff)
		set(o, "headers", &m.Leaks.Headers, action)
		set(o, "bodies", &m.Leaks.Bodies, action)
		if also != nil {
			setList(o, "also", also, parseLeakName)
		}
	})
	o.section("cookies", func(o *object) {
		c := &m.Cookies
		set(o, "secure", &c.Secure, flag("false", "true"))
		set(o, "http_only", &c.HTTPOnly, flag("false", "true"))
		set(o, "same_site", &c.SameSite, func(s string) (string, error) {
			word, err := choice("keep", "lax", "strict")(s)
			if word == "keep" {
				word = ""
			}
			return word, err
		})
		setList(o, "except", &c.Except, parseCookieName)
	})
	pages := maps.Clone(m.Pages)
	o.pairs("pages", func(key, path string, n *node) {
		status, err := strconv.Atoi(key)
		if err != nil || len(key) != 3 || status < 400 || status > 599 {
			r.fail(path, fmt.Sprintf("bad status %q", key), "write a status from 400 to 599")
			return
		}
		name := ""
		if value(r, n, path, &name, r.namedFile) {
			pages[status] = name
		}
	})
	if len(pages) > maxPages {
		r.fail(o.join("pages"), fmt.Sprintf("more than %d pages", maxPages), "")
	}
	m.Pages = pages
}

// parseLeakName accepts a name or an address that is looked for in answers. A
// name without a dot is an ordinary word.
func parseLeakName(s string) (string, error) {
	if addr, err := netip.ParseAddr(s); err == nil && addr.Zone() == "" {
		return s, nil
	}
	if !isHost(s) || !strings.Contains(s, ".") {
		return "", &problem{fmt.Sprintf("bad name %q", s), "write an address, or a host name with a dot in it, without a port"}
	}
	return strings.ToLower(s), nil
}

// parseCookieName accepts the name of a cookie (RFC 6265 section 4.1.1).
func parseCookieName(s string) (string, error) {
	if !isToken(s) {
		return "", &problem{fmt.Sprintf("bad cookie name %q", s), "write the name alone"}
	}
	return s, nil
}

// pairs reads a mapping from any names to plain values with f, in the order of
// the file.
func (o *object) pairs(key string, f func(key, path string, n *node)) {
	o.section(key, func(o *object) {
		if o.node == nil {
			return
		}
		for _, fd := range o.node.fields {
			if slices.Contains(o.asked, fd.name) {
				continue // reported as a duplicate
			}
			o.asked = append(o.asked, fd.name)
			o.r.places.at[o.join(fd.name)] = fd.at
			f(fd.name, o.join(fd.name), fd.value)
		}
	})
}

// pageFiles judges the files of pages.
func (r *reader) pageFiles(path string, m proxy.MaskConfig) {
	for _, status := range slices.Sorted(maps.Keys(m.Pages)) {
		at := path + ".pages." + strconv.Itoa(status)
		if !r.written(at) {
			continue // a global one, which is judged there
		}
		text, err := proxy.ReadPage(m.Pages[status])
		if err != nil {
			r.cannotRead(at, m.Pages[status], err)
			continue
		}
		if strings.Contains(string(text), "{client.ip}") || strings.Contains(string(text), "{geo.country}") {
			r.fail(at, "the page names the client", "a page may hold {request.id} and no other named value")
		}
	}
}

// mask prints a mask; also is what only the global one has.
func (p *printer) mask(depth int, errors string, m proxy.MaskConfig, also string) {
	p.line(depth, "errors: %s", errors)
	p.line(depth, "leaks: {headers: %s, bodies: %s%s}", m.Leaks.Headers, m.Leaks.Bodies, also)
	c := m.Cookies
	sameSite := c.SameSite
	if sameSite == "" {
		sameSite = "keep"
	}
	p.line(depth, "cookies: {secure: %t, http_only: %t, same_site: %s, except: %s}", c.Secure, c.HTTPOnly, sameSite, texts(c.Except, same))
	var pages []string
	for _, status := range slices.Sorted(maps.Keys(m.Pages)) {
		pages = append(pages, fmt.Sprintf("%d: %s", status, text(m.Pages[status])))
	}
	p.line(depth, "pages: {%s}", strings.Join(pages, ", "))
}

package config

import (
	"fmt"
	"net/textproto"
	"net/url"
	"regexp"
	"strings"
	"time"

	"sallyport/internal/gate"
	"sallyport/proxy"
)

func (r *reader) health(o *object, h *proxy.HealthConfig) {
	set(o, "path", &h.Path, parseHealthPath)
	set(o, "tcp", &h.TCP, flag("false", "true"))
	set(o, "interval", &h.Interval, duration(10*time.Millisecond, 24*time.Hour))
	set(o, "timeout", &h.Timeout, duration(time.Millisecond, time.Hour))
	set(o, "healthy", &h.Healthy, integer(1, 1000))
	set(o, "unhealthy", &h.Unhealthy, integer(1, 1000))
	if setList(o, "status", &h.Status, parseStatus) && len(h.Status) == 0 && !r.within(o.join("status")) {
		r.fail(o.join("status"), "no status: no backend could ever be healthy", "remove the key for the default")
	}
	set(o, "body", &h.Body, parseHealthBody)
	o.section("headers", func(o *object) { r.healthHeaders(o, h) })
	if h.TCP && h.Path != "" {
		r.fail(o.join("tcp"), "a check is either a connection or a request for path", "remove one of the two keys")
	}
	if h.Path != "" || r.within(o.join("path")) {
		return
	}
	if h.Body != "" {
		r.warn(o.join("body"), "without effect: nothing is asked for", "write path too")
	}
	if len(h.Headers) > 0 {
		r.warn(o.join("headers"), "without effect: nothing is asked for", "write path too")
	}
}

// healthHeaders reads the fields that a check sends.
func (r *reader) healthHeaders(o *object, h *proxy.HealthConfig) {
	if o.node == nil {
		return
	}
	for _, f := range o.node.fields {
		path := o.join(f.name)
		o.asked = append(o.asked, f.name)
		var text string
		good := value(r, f.value, path, &text, parseHealthField)
		r.places.at[path] = f.at
		if _, err := parseField(f.name); err != nil {
			r.reject(path, err)
			continue
		}
		switch textproto.CanonicalMIMEHeaderKey(f.name) {
		case "Connection", "Content-Length", "Expect", "Te", "Trailer", "Transfer-Encoding", "Upgrade":
			r.fail(path, "a check has no body and keeps its connection: this field would say otherwise", "remove it")
			continue
		}
		for i := range h.Headers {
			if good && strings.EqualFold(h.Headers[i].Name, f.name) && h.Headers[i].Name != f.name {
				r.fail(path, "the same field as "+h.Headers[i].Name, "write it once")
			}
		}
		if good {
			h.Headers = append(h.Headers, gate.Field{Name: f.name, Value: text})
		}
	}
}

// credential matches the names of fields that may hold one.
var credential = regexp.MustCompile("(?i)auth|cookie|token|key|secret|passw")

// shownValue is the value of a field for those who look at the configuration.
func shownValue(f gate.Field) string {
	if credential.MatchString(f.Name) {
		return "[not shown]"
	}
	return f.Value
}

// parseHealthField accepts the value of a field that health checks send (RFC 9110
// section 5.5).
func parseHealthField(s string) (string, error) {
	if strings.TrimSpace(s) != s {
		return "", &problem{fmt.Sprintf("bad value %q", s), "remove the space at its ends"}
	}
	return s, nil
}

// parseHealthBody accepts a text, or a regular expression between slashes.
func parseHealthBody(s string) (string, error) {
	if expr, ok := proxy.BodyPattern(s); ok {
		if _, err := regexp.Compile(expr); err != nil {
			return "", &problem{fmt.Sprintf("bad regular expression %q: %s", expr, strings.TrimPrefix(err.Error(), "error parsing regexp: ")), "write RE2, as in /^ok$/"}
		}
	}
	return s, nil
}

// parseHealthPath accepts the target of a health check, or nothing.
func parseHealthPath(s string) (string, error) {
	if s == "" {
		return s, nil
	}
	u, err := url.ParseRequestURI(s)
	if err != nil || s[0] != '/' || strings.ContainsAny(s, "# ") || u.RequestURI() != s {
		return "", &problem{fmt.Sprintf("bad path %q", s), "write a path that begins with /, as in /health"}
	}
	return s, nil
}

package waf

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"text/template"

	"sallyport/internal/gate"
	"sallyport/rules"
)

// defaultMethods are the methods of a policy that names none.
var defaultMethods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

// tokenForm is what a method, a version or a media type may look like, so that
// none can leave the quotes of the set-up that it is rendered into.
var tokenForm = regexp.MustCompile(`^[A-Za-z0-9!#$&^_.+-]+(/[A-Za-z0-9!#$&^_.+-]+)?$`)

// render fills in one of the shipped templates. ownSetup says that the Core
// Rule Set brings a set-up file, whose ids ours must leave alone.
func render(name string, p Policy, ownSetup bool) (source, error) {
	src, err := rules.FS.ReadFile(name)
	if err != nil {
		return source{}, fmt.Errorf("read shipped rules: %w", err)
	}
	id := func(n int) int {
		if ownSetup { // 900000 to 900990 become 88000900 to 88000999
			return firstOwnID + 900 + (n-900000)/10
		}
		return n
	}
	tmpl, err := template.New(name).Option("missingkey=error").Funcs(template.FuncMap{"id": id}).Parse(string(src))
	if err != nil {
		return source{}, fmt.Errorf("parse shipped rules: %w", err)
	}
	methods := p.Methods
	if len(methods) == 0 {
		methods = defaultMethods
	}
	types := ""
	for _, t := range p.ContentTypes {
		types += "|" + strings.ToLower(t) + "| "
	}
	for _, token := range slices.Concat(methods, p.ContentTypes, p.Versions) {
		if !tokenForm.MatchString(token) {
			return source{}, fmt.Errorf("%q is neither a method nor a media type", token)
		}
	}
	engine := "On"
	if p.Mode == gate.Watch {
		engine = "DetectionOnly"
	}
	var b bytes.Buffer
	if err := tmpl.Execute(&b, map[string]any{
		"Engine": engine, "Arguments": p.Arguments, "Paranoia": p.Paranoia, "DetectionParanoia": max(p.DetectionParanoia, p.Paranoia),
		"InboundThreshold": p.InboundThreshold, "OutboundThreshold": p.OutboundThreshold, "EarlyBlocking": p.EarlyBlocking,
		"Methods": strings.Join(methods, " "), "ContentTypes": strings.TrimSpace(types), "Versions": strings.Join(p.Versions, " "), "Decodes": len(p.Decode) > 0,
	}); err != nil {
		return source{}, fmt.Errorf("render shipped rules: %w", err)
	}
	return parse("@sallyport/"+name, b.String())
}

// A setting is a TX variable and its value, as the engine takes it.
type setting struct {
	name  string
	value []string
}

// settings are what setup.conf sets. They are set for each transaction instead
// of by rules, so that policies that differ in nothing else share their rules:
// what the engine makes of the Core Rule Set takes some three megabytes.
func (p plan) settings() []setting {
	var out []setting
	for _, s := range p.sources {
		if !s.set {
			continue
		}
		for _, d := range s.directives {
			for _, a := range parseRule(d).actions {
				name, value, ok := strings.Cut(a.value, "=")
				if key, tx := strings.CutPrefix(name, "tx."); a.name == "setvar" && ok && tx {
					out = append(out, setting{key, []string{value}})
				}
			}
		}
	}
	return out
}

// shipped reads one of the shipped files that are no templates.
func shipped(name string) (source, error) {
	src, err := rules.FS.ReadFile(name)
	if err != nil {
		return source{}, fmt.Errorf("read shipped rules: %w", err)
	}
	return parse("@sallyport/"+name, string(src))
}

// parse takes a shipped file apart. Records show it without its directory.
func parse(name, src string) (source, error) {
	shown := name[strings.LastIndexByte(name, '/')+1:]
	directives, diags := split(shown, src)
	if len(diags) > 0 {
		return source{}, diags
	}
	return source{name: name, shown: shown, directives: directives}, nil
}

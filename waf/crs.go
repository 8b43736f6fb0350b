package waf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"weak"

	coreruleset "github.com/corazawaf/coraza-coreruleset/v4"

	"sallyport/internal/gate"
)

// The words of Policy.CRS that are no directory.
const (
	crsBuiltin = "builtin"
	crsOff     = "off"
)

// scoringFile begins the name of the file that adds up what the request rules
// found. Without it nothing that they find is refused.
const scoringFile = "REQUEST-949-"

// outboundFile begins the name of the file that does the same for responses.
const outboundFile = "RESPONSE-959-"

// A core is the Core Rule Set of a policy: what is loaded before the rule
// files of rules_before, and what between them and those of rules_after.
type core struct {
	setup, rules []source
	shared       *[]source // what of it all policies share
}

// coreRules reads the Core Rule Set that the policy names, with what the
// policy tells it before, our own request rules ahead of its scoring, and our
// adjustments at the end.
func (l *loader) coreRules(key string, p Policy) (core, error) {
	var c core
	var err error
	switch p.CRS {
	case crsOff:
		return core{}, nil
	case crsBuiltin, "":
		if c.shared, err = embeddedRules(); err != nil {
			return core{}, err
		}
		c.rules = slices.Clone(*c.shared)
	default:
		if c = l.ownRules(key, p.CRS); len(c.rules) == 0 {
			return core{}, nil // reported
		}
	}
	setup, err := render("setup.conf", p, len(c.setup) > 0)
	if err != nil {
		return core{}, err
	}
	// What runs after a set-up file of theirs has to be rules as well.
	setup.set = len(c.setup) == 0
	c.setup = append(c.setup, setup)
	if err := c.insert("request.conf", scoringFile); err != nil {
		return core{}, err
	}
	if err := c.insert("response.conf", outboundFile); err != nil {
		return core{}, err
	}
	after, err := shipped("after.conf")
	c.rules = append(c.rules, after)
	return c, err
}

// insert puts one of our files in front of the one whose name begins so.
func (c *core) insert(name, before string) error {
	at := slices.IndexFunc(c.rules, func(s source) bool { return strings.HasPrefix(filepath.Base(s.shown), before) })
	if at < 0 {
		return errors.New("the Core Rule Set has no scoring file " + before + "…")
	}
	s, err := shipped(name)
	c.rules = slices.Insert(c.rules, at, s)
	return err
}

// embedded are the files of the embedded Core Rule Set for as long as anybody holds
// them: they are megabytes, and nothing once the policies are made.
var embedded struct {
	sync.Mutex
	files weak.Pointer[[]source]
}

// embeddedRules returns the files of the embedded Core Rule Set, which the policies
// that are made at one time share. They must not be changed.
func embeddedRules() (*[]source, error) {
	embedded.Lock()
	defer embedded.Unlock()
	if files := embedded.files.Value(); files != nil {
		return files, nil
	}
	files, err := readEmbedded()
	if err != nil {
		return nil, err
	}
	embedded.files = weak.Make(&files)
	return &files, nil
}

func readEmbedded() ([]source, error) {
	names, err := fs.Glob(coreruleset.FS, "@owasp_crs/*.conf")
	if err != nil || len(names) == 0 {
		return nil, errors.Join(errors.New("the embedded Core Rule Set is empty"), err)
	}
	slices.Sort(names)
	var out []source
	for _, name := range names {
		src, err := fs.ReadFile(coreruleset.FS, name)
		if err != nil {
			return nil, fmt.Errorf("read embedded rules: %w", err)
		}
		s, err := parse(name, string(src))
		if err != nil {
			return nil, err
		}
		for i, d := range s.directives {
			if d.name == "secrule" || d.name == "secaction" {
				r := parseRule(d)
				s.directives[i].rule = &r
			}
		}
		s.text = s.join()
		out = append(out, s)
	}
	return out, nil
}

// ownRules reads a Core Rule Set of the operator from a directory: as it is
// unpacked from a release, with its rules in a directory rules, or the
// directory of the rules itself. A crs-setup.conf in the directory is read
// too.
func (l *loader) ownRules(key, dir string) core {
	fail := func(what, hint string) core {
		l.diags = append(l.diags, gate.Diagnostic{File: dir, Path: key, What: what, Hint: hint})
		return core{}
	}
	var names []string
	for _, d := range []string{dir, filepath.Join(dir, "rules")} {
		entries, err := os.ReadDir(d)
		if err != nil && d == dir {
			return fail(fmt.Sprintf("cannot read the directory: %v", reason(err)), "")
		}
		for _, e := range entries { // sorted by name
			if strings.HasSuffix(e.Name(), ".conf") && e.Name() != setupFile {
				names = append(names, filepath.Join(d, e.Name()))
			}
		}
		if len(names) > 0 {
			break
		}
	}
	for _, needed := range []string{scoringFile, outboundFile} {
		if !slices.ContainsFunc(names, func(name string) bool { return strings.HasPrefix(filepath.Base(name), needed) }) {
			return fail("no Core Rule Set: neither the directory nor its directory rules has a file "+needed+"….conf",
				"name the directory that a release was unpacked to, or the one that holds its rules")
		}
	}
	l.core = true
	defer func() { l.core = false }()
	var c core
	if setup := filepath.Join(dir, setupFile); exists(setup) {
		c.setup = l.file(setup, gate.Diagnostic{File: setup})
	}
	for _, name := range names {
		c.rules = append(c.rules, l.file(name, gate.Diagnostic{File: name})...)
	}
	return c
}

// setupFile is the name that the Core Rule Set gives to its settings.
const setupFile = "crs-setup.conf"

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// needless reports whether a directive of a Core Rule Set's files can be left
// out, although no other file may hold it: what base.conf says as well, which
// the engine does not take twice, and a setting of collections.
func needless(d directive) bool {
	if d.name == "secdefaultaction" {
		list := unquote(strings.TrimSpace(d.args))
		return strings.HasSuffix(list, ",log,auditlog,pass") && len(list) == len("phase:1,log,auditlog,pass")
	}
	return d.name == "seccollectiontimeout"
}

// harmless reports whether an action is one that a Core Rule Set comes with
// and that does nothing here: rule 901320 sets up collections, which the engine
// has none of, and 905100 keeps out of an audit log, which is never written.
func harmless(a action) bool {
	return a.name == "initcol" || a.name == "ctl" && a.value == "auditEngine=Off"
}

// version is the name that a Core Rule Set gives itself, as "OWASP_CRS/4.25.0".
func (p plan) version() string {
	for _, s := range p.sources {
		for _, d := range s.directives {
			if name := unquote(strings.TrimSpace(d.args)); d.name == "seccomponentsignature" && strings.HasPrefix(name, "OWASP_CRS/") {
				return name
			}
		}
	}
	return ""
}

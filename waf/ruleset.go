package waf

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"regexp"
	"slices"
	"sort"
	"strings"
	"text/template"

	coreruleset "github.com/corazawaf/coraza-coreruleset/v4"
	"github.com/corazawaf/coraza/v3"
	"github.com/corazawaf/coraza/v3/experimental"

	"sallyport/internal/gate"
	"sallyport/rules"
)

// maxBroken bounds how many rules that do not compile one run reports.
const maxBroken = 10

// defaultMethods are the methods of a policy that names none.
var defaultMethods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

// tokenForm is what a method or media type may look like, so that neither can
// leave the quotes of the set-up that it is rendered into.
var tokenForm = regexp.MustCompile(`^[A-Za-z0-9!#$&^_.+-]+(/[A-Za-z0-9!#$&^_.+-]+)?$`)

// A ruleset is one compiled set of rules. Policies that come to the same
// rules share one.
type ruleset struct {
	waf   coraza.WAF
	hash  string
	rules index
}

// close gives back what the engine remembers for the set.
func (r *ruleset) close() error {
	if c, ok := r.waf.(experimental.WAFCloser); ok {
		return c.Close()
	}
	return nil
}

// A plan is everything that a ruleset is compiled from, in order.
type plan struct {
	sources []source
	data    map[string][]byte
}

// planFor reads and renders what the policy consists of.
func planFor(name string, p Policy) (plan, gate.Diagnostics, error) {
	base, err := render("base.conf", p)
	if err != nil {
		return plan{}, nil, err
	}
	setup, err := render("setup.conf", p)
	if err != nil {
		return plan{}, nil, err
	}
	l := &loader{data: map[string][]byte{}, sets: map[string]string{}}
	key := "policies." + name
	before := l.patterns(key+".rules_before", p.RulesBefore)
	crs, err := coreRules()
	if err != nil {
		return plan{}, nil, err
	}
	after := l.patterns(key+".rules_after", p.RulesAfter)

	sources := slices.Concat([]source{base, setup}, before, crs, after)
	l.diags = append(l.diags, duplicates(sources)...)
	l.diags = append(l.diags, idle(sources)...)
	l.diags.Sort()
	return plan{sources: sources, data: l.data}, l.diags, nil
}

// render fills in one of the shipped templates.
func render(name string, p Policy) (source, error) {
	src, err := rules.FS.ReadFile(name)
	if err != nil {
		return source{}, fmt.Errorf("read shipped rules: %w", err)
	}
	tmpl, err := template.New(name).Option("missingkey=error").Parse(string(src))
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
	for _, token := range slices.Concat(methods, p.ContentTypes) {
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
		"Engine": engine, "Arguments": maxArguments, "Paranoia": p.Paranoia,
		"InboundThreshold": p.InboundThreshold, "OutboundThreshold": p.OutboundThreshold,
		"Methods": strings.Join(methods, " "), "ContentTypes": strings.TrimSpace(types),
	}); err != nil {
		return source{}, fmt.Errorf("render shipped rules: %w", err)
	}
	return parse("@sallyport/"+name, b.String())
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

// coreRules are the files of the embedded Core Rule Set, with our own request
// rules before its scoring and our adjustments after it.
func coreRules() ([]source, error) {
	names, err := fs.Glob(coreruleset.FS, "@owasp_crs/*.conf")
	if err != nil || len(names) == 0 {
		return nil, errors.Join(errors.New("the embedded Core Rule Set is empty"), err)
	}
	slices.Sort(names)
	var out []source
	add := func(fsys fs.FS, dir, name string) error {
		src, err := fs.ReadFile(fsys, name)
		if err != nil {
			return fmt.Errorf("read embedded rules: %w", err)
		}
		s, err := parse(dir+name, string(src))
		out = append(out, s)
		return err
	}
	placed := false
	for _, name := range names {
		if strings.Contains(name, "/REQUEST-949-") {
			placed = true
			if err := add(rules.FS, "@sallyport/", "request.conf"); err != nil {
				return nil, err
			}
		}
		if err := add(coreruleset.FS, "", name); err != nil {
			return nil, err
		}
	}
	if !placed {
		return nil, errors.New("the embedded Core Rule Set has no scoring file REQUEST-949")
	}
	return out, add(rules.FS, "@sallyport/", "after.conf")
}

// duplicates reports rules of operators without an id, with one that is
// taken, or with one of ours.
func duplicates(sources []source) gate.Diagnostics {
	var diags gate.Diagnostics
	type place struct {
		directive
		foreign bool
	}
	seen := map[int]place{}
	for _, s := range sources {
		chained := false
		for _, d := range s.directives {
			if d.name != "secrule" && d.name != "secaction" {
				continue
			}
			r := parseRule(d)
			head := !chained
			_, chained = r.action("chain")
			if !head {
				continue
			}
			id := r.id()
			first, taken := seen[id]
			switch {
			case id == 0:
				if s.foreign {
					diags = append(diags, d.at("a rule without an id", "give it one below 100000, which are free for local use"))
				}
			case s.foreign && id >= firstOwnID && id <= lastOwnID:
				diags = append(diags, d.at(fmt.Sprintf("id %d is in the range of the shipped rules", id), "use one below 100000"))
			case taken && s.foreign:
				diags = append(diags, d.at(fmt.Sprintf("id %d is taken by %s:%d", id, first.file, first.line), "use one below 100000"))
			case taken && first.foreign:
				diags = append(diags, first.at(fmt.Sprintf("id %d is taken by %s:%d", id, d.file, d.line), "use one below 100000"))
			default:
				seen[id] = place{d, s.foreign}
			}
		}
	}
	return diags
}

// idle warns of a SecRuleRemoveById that removes nothing, because no rule above
// it has such an id: the engine takes it without a word, and the exclusion that
// somebody relies on is none.
func idle(sources []source) gate.Diagnostics {
	var diags gate.Diagnostics
	loaded := map[int]bool{}
	for _, s := range sources {
		for _, d := range s.directives {
			switch {
			case d.name == "secrule" || d.name == "secaction":
				loaded[parseRule(d).id()] = true
			case d.name == "secruleremovebyid" && s.foreign:
				for _, which := range strings.Fields(unquote(strings.TrimSpace(d.args))) {
					first, end, ok := idRange(which)
					if !ok || removes(loaded, first, end) {
						continue
					}
					w := d.at("no rule above it has the id "+which, "a rule can be removed only below it: those of the Core Rule Set in rules_after")
					w.Warning = true
					diags = append(diags, w)
				}
			}
		}
	}
	return diags
}

// removes reports whether one of the ids lies in the range.
func removes(loaded map[int]bool, first, end int) bool {
	for id := range loaded {
		if id > 0 && first <= id && id <= end {
			return true
		}
	}
	return false
}

// sum names what the plan consists of: the text of all rules, the word lists,
// and nothing else.
func (p plan) sum() string {
	h := sha256.New()
	for _, s := range p.sources {
		part(h, s.name)
		for _, d := range s.directives {
			part(h, d.raw)
		}
	}
	// A word list's name holds a hash of its content and stands in the rule.
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// part adds one string to a hash so that its end cannot be mistaken.
func part(h hash.Hash, s string) {
	fmt.Fprintf(h, "%d:", len(s))
	io.WriteString(h, s) //nolint:errcheck // a hash never fails
}

// build compiles the plan. When a rule of an operator does not compile, the
// error is gate.Diagnostics that name it.
func (p plan) build() (*ruleset, error) {
	w, err := compile(p.sources, p.data)
	if err != nil {
		if diags := p.locate(); len(diags) > 0 {
			return nil, diags
		}
		return nil, fmt.Errorf("compile rules: %w", cause(err))
	}
	r := &ruleset{waf: w, hash: p.sum(), rules: indexOf(p.sources)}
	if len(r.rules) == 0 {
		return nil, errors.Join(errors.New("no rules"), r.close())
	}
	if err := probe(w); err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

// compile hands the sources to the engine. The engine sees no file system but
// the one made of them.
func compile(sources []source, data map[string][]byte) (coraza.WAF, error) {
	registerTransformations()
	sources = withoutSkips(sources)
	cfg := coraza.NewWAFConfig()
	files := virtualFS{}
	for name, content := range data {
		files[name] = content
	}
	for i, s := range sources {
		// Every source has a directory of its own, so that the parts of a file
		// around an Include do not overwrite each other.
		name := fmt.Sprintf("/rules/%d/%s", i, s.shown[strings.LastIndexByte(s.shown, '/')+1:])
		if strings.HasPrefix(s.name, "@owasp_crs/") {
			name = s.name
		}
		var b strings.Builder
		for _, d := range s.directives {
			b.WriteString(d.raw + "\n")
		}
		files[name] = []byte(b.String())
		cfg = cfg.WithDirectivesFromFile(name)
	}
	return coraza.NewWAF(cfg.WithRootFS(files))
}

// locate finds the directives that the engine does not accept. The engine
// does not say where it failed, but it reads in order: the longest prefix that
// compiles ends right before the culprit.
func (p plan) locate() gate.Diagnostics {
	var diags gate.Diagnostics
	sources := slices.Clone(p.sources)
	for len(diags) < maxBroken {
		type position struct{ source, directive int }
		var foreign []position
		for i, s := range sources {
			for j := range s.directives {
				if s.foreign {
					foreign = append(foreign, position{i, j})
				}
			}
		}
		try := func(n int) error {
			at := foreign[n]
			prefix := slices.Clone(sources[:at.source+1])
			prefix[at.source].directives = prefix[at.source].directives[:at.directive+1]
			w, err := compile(prefix, p.data)
			if err != nil {
				return err
			}
			return (&ruleset{waf: w}).close()
		}
		n := sort.Search(len(foreign), func(n int) bool { return try(n) != nil })
		if n == len(foreign) {
			break
		}
		at := foreign[n]
		s := &sources[at.source]
		culprit, hint := s.directives[at.directive], ""
		if strings.HasPrefix(culprit.name, "secruleupdate") {
			hint = "a rule can be changed only below it: those of the Core Rule Set in rules_after"
		}
		diags = append(diags, culprit.at(cause(try(n)).Error(), hint))
		s.directives = withoutRule(s.directives, at.directive)
	}
	return diags
}

// withoutRule removes a directive, and with it the rest of the chain that it
// is a part of.
func withoutRule(directives []directive, i int) []directive {
	chained := func(i int) bool {
		_, ok := parseRule(directives[i]).action("chain")
		return ok
	}
	first, last := i, i
	for first > 0 && chained(first-1) {
		first--
	}
	for last < len(directives)-1 && chained(last) {
		last++
	}
	return slices.Concat(directives[:first], directives[last+1:])
}

// cause strips what the engine wraps around the message of a broken rule.
func cause(err error) error {
	what := err.Error()
	for _, prefix := range []string{"invalid WAF config from file: ", "failed to parse string: ", "failed to compile the directive "} {
		what = strings.TrimPrefix(what, prefix)
	}
	if directive, message, ok := strings.Cut(what, `": `); ok && strings.HasPrefix(directive, `"sec`) {
		what = message
	}
	return errors.New(what)
}

// A virtualFS is the only file system that the engine gets to see: the
// sources and word lists of one plan, and the files of the Core Rule Set.
type virtualFS map[string][]byte

// ReadFile returns a file of the plan, or of the Core Rule Set.
func (v virtualFS) ReadFile(name string) ([]byte, error) {
	if content, ok := v[name]; ok {
		return content, nil
	}
	if strings.HasPrefix(name, "@owasp_crs/") {
		return fs.ReadFile(coreruleset.FS, name)
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

// Open is not needed by the engine, which reads whole files.
func (v virtualFS) Open(name string) (fs.File, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

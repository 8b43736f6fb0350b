package waf

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"runtime"
	"slices"
	"sort"
	"strings"
	"time"

	coreruleset "github.com/corazawaf/coraza-coreruleset/v4"
	"github.com/corazawaf/coraza/v3"
	"github.com/corazawaf/coraza/v3/experimental"

	"sallyport/internal/gate"
)

// maxBroken bounds how many rules that do not compile one run reports.
const maxBroken = 10

// A ruleset is one compiled set of rules. Policies that come to the same
// rules share one, whatever they set.
type ruleset struct {
	waf   coraza.WAF
	crs   string // its version
	rules index
	named argumentNames // parameters and cookies that rules name
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
	shared  *[]source // keeps what of them all policies share, while others are made
	data    map[string][]byte
	// exclusions are what is left out, when the rules are built and when they
	// run.
	exclusions []*exclusion
}

// planFor reads and renders what the policy consists of.
func planFor(name string, p Policy) (plan, gate.Diagnostics, error) {
	base, err := render("base.conf", p, false)
	if err != nil {
		return plan{}, nil, err
	}
	l := &loader{data: map[string][]byte{}, sets: map[string]string{}}
	key := "policies." + name
	before := l.patterns(key+".rules_before", p.RulesBefore)
	crs, err := l.coreRules(key+".crs", p)
	if err != nil {
		return plan{}, nil, err
	}
	after := l.patterns(key+".rules_after", p.RulesAfter)

	sources := slices.Concat([]source{base}, crs.setup, before, crs.rules, after)
	if p.CRS == crsOff && !slices.ContainsFunc(sources, foreignRules) {
		l.diags = append(l.diags, gate.Diagnostic{File: strings.Join(slices.Concat(p.RulesBefore, p.RulesAfter), ", "), Path: key + ".crs",
			What: "no Core Rule Set, and no rule in these files: nothing would be judged", Hint: "write a rule, or mode: off"})
	}
	l.diags = append(l.diags, duplicates(sources)...)
	rules := catalogue(sources)
	l.diags = append(l.diags, idle(sources, rules)...)
	l.diags = append(l.diags, misplaced(sources, rules)...)
	out := plan{sources: sources, shared: crs.shared, data: l.data}
	if !l.diags.Fatal() { // else ids may be missing for another reason
		l.diags = append(l.diags, out.exclude(p, rules, time.Now())...)
	}
	l.diags.Sort()
	return out, l.diags, nil
}

// foreignRules reports whether the source holds rules of the operator.
func foreignRules(s source) bool {
	return s.foreign && slices.ContainsFunc(s.directives, func(d directive) bool { return d.name == "secrule" || d.name == "secaction" })
}

// sum names what the plan consists of: the text of all rules, the word lists,
// and nothing else.
func (p plan) sum() string { return p.digest(false) }

// key names what has to be compiled for the plan: all of it but what is only
// set for each request.
func (p plan) key() string { return p.digest(true) }

func (p plan) digest(compiled bool) string {
	h := sha256.New()
	for _, s := range p.sources {
		if compiled && s.set {
			continue
		}
		part(h, s.name)
		for _, d := range s.directives {
			part(h, d.raw)
		}
	}
	for _, x := range p.exclusions {
		if !compiled { // what is compiled of it stands in the sources
			part(h, x.describe())
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
	r := &ruleset{waf: w, crs: p.version(), rules: indexOf(p.sources), named: namedArguments(p.sources)}
	if len(r.rules) == 0 {
		return nil, errors.Join(errors.New("no rules"), r.close())
	}
	if err := probe(w); err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

// errMistaken is what becomes of rules over which the engine's memory of compiled
// texts, which belongs to the process, has mixed up two kinds of them.
var errMistaken = errors.New("the engine has compiled the same text as something else, for this policy or another one")

// compile hands the sources to the engine. The engine sees no file system but
// the one made of them. A panic of the engine is an error: it must not take
// the running gateway down when its rules are reloaded.
func compile(sources []source, data map[string][]byte) (w coraza.WAF, err error) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case *runtime.TypeAssertionError:
			w, err = nil, errMistaken
		default:
			w, err = nil, fmt.Errorf("the engine panicked: %v", p)
		}
	}()
	registerTransformations()
	sources = withoutSkips(sources)
	cfg := coraza.NewWAFConfig()
	files := virtualFS{}
	for name, content := range data {
		files[name] = content
	}
	for i, s := range sources {
		if s.set {
			continue
		}
		// Every source has a directory of its own, so that the parts of a file
		// around an Include do not overwrite each other.
		name := fmt.Sprintf("/rules/%d/%s", i, s.shown[strings.LastIndexByte(s.shown, '/')+1:])
		if strings.HasPrefix(s.name, "@owasp_crs/") {
			name = s.name
		}
		files[name] = s.join()
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
		err := try(n)
		switch {
		case errors.Is(err, errMistaken):
			hint = "write the pattern with (?:) around it"
		case strings.HasPrefix(culprit.name, "secruleupdate"):
			hint = "a rule can be changed only below it: those of the Core Rule Set in rules_after"
		}
		diags = append(diags, culprit.at(cause(err).Error(), hint))
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

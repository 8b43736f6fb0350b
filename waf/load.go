package waf

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"unicode"

	"github.com/corazawaf/coraza/v3/experimental/plugins"

	"sallyport/internal/gate"
)

const (
	// maxInclude bounds how deep rule files may include each other.
	maxInclude = 10
	// maxChanging bounds how many rules of a policy may transform variables
	// whose value changes from rule to rule.
	maxChanging = 256
)

// A source is one rule file, read and taken apart.
type source struct {
	name       string // as an operator knows it; the engine is told the same
	shown      string // what records show; name unless it is a shipped file
	directives []directive
	foreign    bool   // on the operator's disk, so problems are theirs to fix
	core       bool   // a file of a Core Rule Set
	set        bool   // it only sets variables: settings are made of it, and it is not compiled
	text       []byte // what the engine reads; empty: join makes it
}

// join is what the engine reads of the source.
func (s source) join() []byte {
	if s.text != nil {
		return s.text
	}
	var b bytes.Buffer
	for _, d := range s.directives {
		b.WriteString(d.raw)
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// A loader reads the rule files of operators and collects what is wrong.
type loader struct {
	diags gate.Diagnostics
	// data holds the word lists that rules refer to, under the names that the
	// rules were rewritten to. A name holds a hash of the content, because the
	// engine remembers word lists by name for as long as any rule set lives,
	// and would go on with the old list after a reload.
	data map[string][]byte
	open []string // the files being read, to find files that include themselves
	// sets are the names of SecDataset, each with the name that holds a hash
	// of its content, for the same reason.
	sets     map[string]string
	changing int  // transformations given out by fresh
	core     bool // what is being read is a Core Rule Set of the operator
}

// patterns reads every file that the patterns match, sorted by name within a
// pattern. A pattern that matches nothing is an error.
func (l *loader) patterns(key string, patterns []string) []source {
	var out []source
	for i, pattern := range patterns {
		names, err := filepath.Glob(pattern)
		switch {
		case err != nil:
			l.diags = append(l.diags, gate.Diagnostic{File: pattern, Path: fmt.Sprintf("%s[%d]", key, i), What: "not a valid file name pattern"})
		case len(names) == 0:
			l.diags = append(l.diags, gate.Diagnostic{File: pattern, Path: fmt.Sprintf("%s[%d]", key, i), What: "no file matches", Hint: "check the path; it is relative to the configuration file"})
		}
		slices.Sort(names)
		for _, name := range names {
			out = append(out, l.file(name, gate.Diagnostic{File: name})...)
		}
	}
	return out
}

// file reads one rule file and the files that it includes, in the order in
// which their directives take effect. from is where the file was named.
func (l *loader) file(name string, from gate.Diagnostic) []source {
	fail := func(what, hint string) []source {
		from.What, from.Hint = what, hint
		l.diags = append(l.diags, from)
		return nil
	}
	if len(l.open) == maxInclude || slices.Contains(l.open, name) {
		return fail(fmt.Sprintf("%s is included in a circle, or more than %d files deep", name, maxInclude), "")
	}
	if strings.Contains(name, "*") {
		return fail("the engine cannot open a file with a star in its name", "rename it")
	}
	src, err := os.ReadFile(name)
	if err != nil {
		return fail(fmt.Sprintf("cannot read %s: %v", name, reason(err)), "")
	}
	l.open = append(l.open, name)
	defer func() { l.open = l.open[:len(l.open)-1] }()

	directives, diags := split(name, string(src))
	l.diags = append(l.diags, diags...)
	l.checkChains(directives)
	out := []source{{name: name, shown: name, foreign: true, core: l.core}}
	for _, d := range directives {
		if d.name == "include" {
			out = append(out, l.include(d)...)
			out = append(out, source{name: name, shown: name, foreign: true, core: l.core})
			continue
		}
		if l.core && needless(d) {
			continue
		}
		l.diags = append(l.diags, check(d, l.core)...)
		part := &out[len(out)-1]
		part.directives = append(part.directives, l.rewrite(d))
	}
	return slices.DeleteFunc(out, func(s source) bool { return len(s.directives) == 0 })
}

// include reads the files that an Include directive names, relative to the
// file that it stands in.
func (l *loader) include(d directive) []source {
	pattern := unquote(strings.TrimSpace(d.args))
	if !filepath.IsAbs(pattern) {
		pattern = filepath.Join(filepath.Dir(d.file), pattern)
	}
	names, err := filepath.Glob(pattern)
	if err != nil || len(names) == 0 {
		l.diags = append(l.diags, d.at("no file matches "+pattern, "the path is relative to the file that includes it"))
		return nil
	}
	var out []source
	for _, name := range names {
		out = append(out, l.file(name, d.at("", ""))...)
	}
	return out
}

// checkChains refuses a chain that its file does not finish: the engine would
// take the first rule of the next file as its continuation.
func (l *loader) checkChains(directives []directive) {
	var waiting *directive
	for i, d := range directives {
		if d.name != "secrule" && d.name != "secaction" {
			if waiting != nil {
				break
			}
			continue
		}
		r := parseRule(d)
		if _, chained := r.action("chain"); chained {
			waiting = &directives[i]
		} else {
			waiting = nil
		}
	}
	if waiting != nil {
		l.diags = append(l.diags, waiting.at("a chain without its next rule", "write the next SecRule right below, in the same file"))
	}
}

// rewrite makes of a directive what the engine is to read instead: the name of a
// word list or data set becomes one that holds a hash of its content, which is
// remembered; a list of phrases gets a text that no pattern has; a setvar action
// gets its value; and a rule that looks at what another one matched is kept from
// seeing an older value.
func (l *loader) rewrite(d directive) directive {
	out := valued(d)
	switch d.name {
	case "secdataset":
		name, content, _ := strings.Cut(d.args, " ")
		hashed := name + "_" + digest([]byte(content))
		l.sets[name] = hashed
		out = d.with(hashed + " " + content)
	case "secrule":
		out = l.rule(out)
	}
	if out.args == d.args {
		return d
	}
	out.was = &d
	if len(out.raw) > maxLine {
		l.diags = append(l.diags, d.at("a rule that is too long to be completed", "use fewer variables or a shorter message"))
	}
	return out
}

// with returns the directive with other arguments, on one line.
func (d directive) with(args string) directive {
	name, _, _ := strings.Cut(d.raw, " ")
	d.args, d.raw = args, name+" "+args
	return d
}

// rule rewrites a SecRule.
func (l *loader) rule(d directive) directive {
	r := parseRule(d)
	args := l.fresh(d, r)
	var to string
	switch strings.ToLower(r.operator) {
	case "pmfromfile", "pmf", "ipmatchfromfile", "ipmatchf", "validateschema":
		to = l.list(d, r.argument)
	case "pmfromdataset", "ipmatchfromdataset":
		if to = l.sets[r.argument]; to == "" {
			l.diags = append(l.diags, d.at(fmt.Sprintf("no SecDataset %q above this rule", r.argument), ""))
		}
	}
	if to != "" {
		named := strings.Replace(args, "@"+r.operator+" "+r.argument, "@"+r.operator+" "+to, 1)
		if named == args {
			l.diags = append(l.diags, d.at("cannot tell where the file name of @"+r.operator+" ends", "write one space between the operator and the name"))
		}
		args = named
	}
	if r.operator == "pm" {
		args = twice(args)
	}
	if args == d.args {
		return d
	}
	return d.with(args)
}

// twice returns the arguments of a rule with the last phrase of its @pm written
// twice, which means the same. The engine remembers what it has compiled by the
// text alone, for all policies together, and panics where a list of phrases
// has the text of a pattern, as @pm foo beside ARGS:/foo/. A pattern for names has
// no spaces.
func twice(args string) string {
	begin := strings.IndexByte(args, '"') + 1
	_, rest := cutQuoted(args[begin-1:])
	end := len(strings.TrimRightFunc(args[:len(args)-len(rest)-1], unicode.IsSpace))
	last := args[begin+strings.LastIndexByte(args[begin:end], ' ')+1 : end]
	if last == "@pm" || last == "!@pm" {
		return args // nothing to look for
	}
	return args[:end] + " " + last + args[end:]
}

// valued writes out the value of each setvar action that has none, over which
// the engine panics when the rule matches: setvar:tx.a means 1, and
// setvar:!tx.a, which removes a variable, may have any.
func valued(d directive) directive {
	list := ""
	switch d.name {
	case "secrule", "secaction":
		list = parseRule(d).list
	case "secruleupdateactionbyid":
		_, list = lastField(d.args)
	}
	at := len(d.args) - len(list)
	if at > 0 && strings.HasSuffix(d.args, `"`) {
		at--
	}
	var b strings.Builder
	b.WriteString(d.args[:at])
	written := 0
	for _, a := range engineActions(list) {
		if a.name != "setvar" || a.value == "" || strings.Contains(a.value, "=") {
			continue
		}
		end := len(strings.TrimRightFunc(list[:a.end], unicode.IsSpace))
		if !strings.HasSuffix(list[:end], a.value) { // it stands in quotes
			end--
		}
		b.WriteString(list[written:end] + "=1")
		written = end
	}
	if written == 0 {
		return d
	}
	b.WriteString(list[written:] + d.args[at+len(list):])
	return d.with(b.String())
}

// fresh returns the arguments of a rule, with a transformation of its own
// before its others when it looks at a variable whose value changes from rule
// to rule, or counts: what it counts may be another part of the same variable.
// The engine remembers transformed values under the variable and the
// names of the transformations, and would let the rule see what the last rule
// with the same ones saw.
func (l *loader) fresh(d directive, r rule) string {
	changing := false
	for variable := range strings.SplitSeq(strings.ToUpper(r.variables), "|") {
		changing = changing || strings.HasPrefix(variable, "&")
		variable = strings.TrimLeft(variable, "!&")
		changing = changing || strings.HasPrefix(variable, "MATCHED_VAR") || strings.HasPrefix(variable, "RULE:") || variable == "RULE" || variable == "HIGHEST_SEVERITY"
	}
	at, transforms := 0, false
	for _, a := range r.actions {
		if a.name == "t" {
			if transforms = a.value != "none"; !transforms { // in another case it is a transformation
				at = a.end
			}
		}
	}
	if !changing || !transforms {
		return d.args
	}
	if l.changing == maxChanging {
		l.diags = append(l.diags, d.at(fmt.Sprintf("more than %d rules that transform what other rules matched, or numbers of values", maxChanging), "match without a transformation, as with t:none"))
		return d.args
	}
	insert := transformationName(l.changing) + ","
	if l.changing++; at > 0 {
		insert = "," + transformationName(l.changing-1)
	}
	at += len(d.args) - 1 - len(r.list)
	return d.args[:at] + insert + d.args[at:]
}

// transformationName is the name of the n-th transformation that changes
// nothing.
func transformationName(n int) string { return fmt.Sprintf("t:sallyport%d", n) }

// registerTransformations makes them known to the engine, whose register
// belongs to the process and must not be written to twice at a time.
var registerTransformations = sync.OnceFunc(func() {
	for n := range maxChanging {
		plugins.RegisterTransformation(strings.TrimPrefix(transformationName(n), "t:"), func(s string) (string, bool, error) { return s, false, nil })
	}
})

// list reads a word list that a rule refers to and returns the name under
// which the engine finds it. Empty: it cannot be read.
func (l *loader) list(d directive, name string) string {
	path := name
	if !filepath.IsAbs(path) {
		path = filepath.Join(filepath.Dir(d.file), path)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		l.diags = append(l.diags, d.at(fmt.Sprintf("cannot read %s: %v", path, reason(err)), "the path is relative to the rule file"))
		return ""
	}
	virtual := "/lists/" + digest(content) + "/" + strings.Map(func(r rune) rune {
		if r <= ' ' || r == '"' || r == '*' || r == '\'' || r == '\\' {
			return '_'
		}
		return r
	}, filepath.Base(path))
	l.data[virtual] = content
	return virtual
}

// digest is a short name for content.
func digest(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:12])
}

// reason strips the path from a file error; the diagnostic has it already.
func reason(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	return err
}

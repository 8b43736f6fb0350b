package ftw

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"sallyport/internal/gate"
)

// maxFile bounds the size of one test file.
const maxFile = 8 << 20

var errNoFile = errors.New("no test file matches")

// LoadFS reads every .yaml and .yml file of a file system, in the order of
// their names.
func LoadFS(fsys fs.FS) ([]*Test, gate.Diagnostics) {
	var l loader
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && isYAML(name) {
			l.add(name, func() (fs.File, error) { return fsys.Open(name) })
		}
		return err
	})
	if err != nil {
		l.diags = append(l.diags, gate.Diagnostic{File: ".", What: err.Error()})
	}
	return l.done()
}

// Load reads test files by name. A directory stands for every .yaml and .yml
// file below it, and a pattern for the files that match it, where ** takes any
// number of directories. A name that stands for no file is an error.
func Load(names []string) ([]*Test, gate.Diagnostics) {
	var l loader
	for _, name := range names {
		files, err := resolve(name)
		if err == nil && len(files) == 0 {
			err = errNoFile
		}
		if err != nil {
			l.diags = append(l.diags, gate.Diagnostic{File: name, What: err.Error(), Hint: "name a file, a directory, or a pattern such as rules/tests/**/*.yaml"})
			continue
		}
		for _, file := range files {
			l.add(file, func() (fs.File, error) { return os.Open(file) })
		}
	}
	return l.done()
}

// A loader gathers the tests of several files.
type loader struct {
	tests []*Test
	diags gate.Diagnostics
	seen  map[string]bool  // files
	ids   map[string]*Test // by ID
}

// add reads one file, unless it was read already.
func (l *loader) add(name string, open func() (fs.File, error)) {
	if l.seen == nil {
		l.seen, l.ids = make(map[string]bool), make(map[string]*Test)
	}
	if l.seen[name] {
		return
	}
	l.seen[name] = true
	src, err := readAll(open)
	if err != nil {
		l.diags = append(l.diags, gate.Diagnostic{File: name, What: err.Error()})
		return
	}
	tests, diags := Parse(name, src)
	l.diags = append(l.diags, diags...)
	for _, t := range tests {
		if first, ok := l.ids[t.ID()]; ok {
			l.diags = append(l.diags, gate.Diagnostic{File: name, Line: t.Line, What: fmt.Sprintf("test %s is there twice", t.ID()),
				Hint: fmt.Sprintf("the first is in %s:%d; give this one a test_id of its own", first.File, first.Line)})
			continue
		}
		l.ids[t.ID()] = t
		l.tests = append(l.tests, t)
	}
}

// readAll reads a file of at most maxFile bytes.
func readAll(open func() (fs.File, error)) ([]byte, error) {
	f, err := open()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	src, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(src) > maxFile {
		return nil, fmt.Errorf("larger than %d MiB", maxFile>>20)
	}
	return src, err
}

func (l *loader) done() ([]*Test, gate.Diagnostics) {
	l.diags.Sort()
	return l.tests, l.diags
}

// resolve finds the files that a name stands for, in order.
func resolve(name string) ([]string, error) {
	if info, err := os.Stat(name); err == nil {
		if !info.IsDir() {
			return []string{name}, nil
		}
		return walk(name, func(rel string) bool { return isYAML(rel) })
	}
	if !strings.ContainsAny(name, "*?[") {
		_, err := os.Stat(name)
		return nil, err
	}
	root, rest := splitPattern(filepath.ToSlash(name))
	if _, err := path.Match(strings.ReplaceAll(rest, "**", "*"), ""); err != nil {
		return nil, err
	}
	if _, err := os.Stat(root); err != nil {
		return nil, err
	}
	pattern := strings.Split(rest, "/")
	return walk(root, func(rel string) bool { return matches(pattern, strings.Split(rel, "/")) })
}

// splitPattern cuts a pattern before its first segment with a wildcard.
func splitPattern(name string) (root, rest string) {
	segments := strings.Split(name, "/")
	i := slices.IndexFunc(segments, func(s string) bool { return strings.ContainsAny(s, "*?[") })
	root = strings.Join(segments[:i], "/")
	switch {
	case root == "" && strings.HasPrefix(name, "/"):
		root = "/"
	case root == "":
		root = "."
	}
	return root, strings.Join(segments[i:], "/")
}

// walk lists the files below root that are taken, by their slashed path from
// root, in order.
func walk(root string, take func(rel string) bool) ([]string, error) {
	var files []string
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err == nil && take(filepath.ToSlash(rel)) {
			files = append(files, name)
		}
		return err
	})
	return files, err
}

// matches compares a path with a pattern, segment by segment.
func matches(pattern, segments []string) bool {
	if len(pattern) == 0 {
		return len(segments) == 0
	}
	if pattern[0] == "**" {
		for i := range len(segments) + 1 {
			if matches(pattern[1:], segments[i:]) {
				return true
			}
		}
		return false
	}
	if len(segments) == 0 {
		return false
	}
	ok, err := path.Match(pattern[0], segments[0])
	return err == nil && ok && matches(pattern[1:], segments[1:])
}

func isYAML(name string) bool {
	ext := strings.ToLower(path.Ext(name))
	return ext == ".yaml" || ext == ".yml"
}

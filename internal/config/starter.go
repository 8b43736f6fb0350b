package config

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// starter holds what WriteStarter writes.
//
//go:embed starter/sallyport.yaml starter/rules/before.conf starter/rules/after.conf starter/rules/exclusions.yaml
var starter embed.FS

// WriteStarter writes a commented configuration, two rule files and one of exclusions into a
// directory, which it makes when it is not there, and returns their names. It
// overwrites nothing: when one of the files exists, it writes none and the
// error names it.
func WriteStarter(dir string) ([]string, error) {
	files, err := fs.Sub(starter, "starter")
	if err != nil {
		return nil, err
	}
	var names []string
	err = fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			return nil, fmt.Errorf("%s: %w; nothing was written", filepath.Join(dir, name), fs.ErrExist)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	var written []string
	for _, name := range names {
		src, err := fs.ReadFile(files, name)
		if err != nil {
			return written, err
		}
		to := filepath.Join(dir, name)
		if err := writeNew(to, src); err != nil {
			return written, err
		}
		written = append(written, to)
	}
	return written, nil
}

// writeNew writes a file that must not exist yet.
func writeNew(name string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil { //nolint:gosec // the rules are no secret
		return err
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644) //nolint:gosec // nor is the configuration
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Close())
}

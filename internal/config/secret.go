package config

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	secretName = "secret" // in the state directory
	secretSize = 32       // bytes
	maxSecret  = 4096     // bytes of a key file
)

// Secret returns the secret that every key of the gateway is derived from: the
// content of the key file where one is named, else of the file secret in the
// state directory, which is made (32 random bytes, mode 0600, in a directory
// of mode 0700) when it is not there. A secret that group or world can read is
// refused: it is none. Only what serves calls it; a check creates nothing.
func Secret(s StateConfig) ([]byte, error) {
	if s.KeyFile != "" {
		return readSecret(s.KeyFile)
	}
	if err := checkStateDir(s.Dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the state directory: %w", err)
	}
	name := filepath.Join(s.Dir, secretName)
	secret, err := readSecret(name)
	if !errors.Is(err, fs.ErrNotExist) {
		return secret, err
	}
	if err := makeSecret(name); err != nil {
		return nil, fmt.Errorf("make the secret: %w", err)
	}
	return readSecret(name) // which may be that of another gateway that was faster
}

// DeriveKey returns the key for one purpose, 32 bytes (RFC 5869). Different
// purposes have unrelated keys.
func DeriveKey(secret []byte, purpose string) ([]byte, error) {
	key, err := hkdf.Key(sha256.New, secret, nil, "sallyport "+purpose, sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("derive the key for %s: %w", purpose, err)
	}
	return key, nil
}

// makeSecret writes a new secret under a name of its own and then links it, so
// that neither a crash nor a second gateway leaves half a secret behind.
func makeSecret(name string) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".secret-") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	secret := make([]byte, secretSize)
	rand.Read(secret) //nolint:errcheck // never fails: it ends the program instead
	_, err = f.Write(secret)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), name); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// readSecret returns the content of a file that only its owner can read.
func readSecret(name string) ([]byte, error) {
	f, err := openRegular(name)
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", name, cause(err))
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", name, cause(err))
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, &problem{fmt.Sprintf("%s has mode %04o: others than its owner can get at the secret", name, mode),
			"make it 0600 if nobody has read it, else put a new secret in its place"}
	}
	secret, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", name, cause(err))
	}
	if len(secret) < secretSize || len(secret) > maxSecret {
		return nil, &problem{fmt.Sprintf("%s is not a secret: it has to hold %d to %d bytes", name, secretSize, maxSecret),
			"take 32 random bytes"}
	}
	return secret, nil
}

// checkStateDir judges the state directory, or the place where it will be
// made.
func checkStateDir(dir string) error {
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		for up := filepath.Dir(dir); ; up = filepath.Dir(up) {
			info, err := os.Stat(up)
			if errors.Is(err, fs.ErrNotExist) && up != filepath.Dir(up) {
				continue
			}
			if err == nil && !info.IsDir() {
				err = errors.New("not a directory")
			}
			if err != nil {
				return &problem{fmt.Sprintf("cannot make %s: %s: %v", dir, up, cause(err)), ""}
			}
			return nil
		}
	}
	switch {
	case err != nil:
		return fmt.Errorf("cannot use %s: %w", dir, cause(err))
	case !info.IsDir():
		return &problem{dir + " is not a directory", ""}
	case info.Mode().Perm()&0o022 != 0:
		return &problem{fmt.Sprintf("%s has mode %04o: others than its owner could put a secret of their own into it", dir, info.Mode().Perm()), "make it 0700"}
	}
	return nil
}

package config_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"sallyport/internal/config"
)

func mode(t *testing.T, name string) fs.FileMode {
	t.Helper()
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode().Perm()
}

func TestSecretIsMadeOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "var", "state")
	first, err := config.Secret(config.StateConfig{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if len(first) != 32 || bytes.Equal(first, make([]byte, 32)) {
		t.Errorf("Secret = %x, want 32 random bytes", first)
	}
	if got := mode(t, dir); got != 0o700 {
		t.Errorf("mode of the directory = %o, want 700", got)
	}
	if got := mode(t, filepath.Join(dir, "secret")); got != 0o600 {
		t.Errorf("mode of the secret = %o, want 600", got)
	}
	again, err := config.Secret(config.StateConfig{Dir: dir})
	if err != nil || !bytes.Equal(first, again) {
		t.Errorf("the second Secret = %x, %v; want %x", again, err, first)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("the directory holds %v, want the secret only", left)
	}
}

// Gateways that start at the same time have one secret.
func TestSecretIsShared(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	secrets := make([][]byte, 8)
	var wg sync.WaitGroup
	for i := range secrets {
		wg.Go(func() {
			s, err := config.Secret(config.StateConfig{Dir: dir})
			if err != nil {
				t.Error(err)
			}
			secrets[i] = s
		})
	}
	wg.Wait()
	for _, s := range secrets {
		if !bytes.Equal(s, secrets[0]) {
			t.Errorf("secrets differ: %x and %x", s, secrets[0])
		}
	}
}

func TestSecretIsRefused(t *testing.T) {
	dir := fixtures(t)
	in := func(name string) string { return filepath.Join(dir, name) }
	for _, tc := range []struct {
		rule  string
		state config.StateConfig
		want  string // in the error; empty: accepted
	}{
		{"a key file of the owner alone is taken", config.StateConfig{KeyFile: in("share.secret")}, ""},
		{"a key file that others read is refused", config.StateConfig{KeyFile: in("open.secret")}, "mode 0644"},
		{"a key file that is too short is refused", config.StateConfig{KeyFile: in("short.secret")}, "32 to 4096 bytes"},
		{"a key file is never made", config.StateConfig{KeyFile: in("none.secret")}, "no such file"},
		{"a key file that is a directory is refused", config.StateConfig{KeyFile: in("adir")}, "not a regular file"},
		{"a secret that the group reads is refused", config.StateConfig{Dir: in("opened")}, "mode 0640"},
		{"a directory that others write to is refused", config.StateConfig{Dir: in("shared")}, "mode 0777"},
		{"a directory that is a file is refused", config.StateConfig{Dir: in("site.pem")}, "not a directory"},
		{"a directory below a file is refused", config.StateConfig{Dir: in("site.pem/state/deep")}, "not a directory"},
		{"an empty directory of the owner is taken", config.StateConfig{Dir: in("adir")}, ""},
	} {
		secret, err := config.Secret(tc.state)
		if tc.want == "" {
			if err != nil || len(secret) != 32 {
				t.Errorf("%s: Secret = %x, %v", tc.rule, secret, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), tc.want) || secret != nil {
			t.Errorf("%s: Secret = %x, %v; want an error with %q", tc.rule, secret, err, tc.want)
		}
	}
}

func TestDeriveKey(t *testing.T) {
	secret := bytes.Repeat([]byte{7}, 32)
	derive := func(secret []byte, purpose string) string {
		key, err := config.DeriveKey(secret, purpose)
		if err != nil || len(key) != 32 {
			t.Fatalf("DeriveKey(%q) = %x, %v; want 32 bytes", purpose, key, err)
		}
		return string(key)
	}
	one := derive(secret, "redaction")
	if again := derive(secret, "redaction"); again != one {
		t.Error("the same purpose has two keys")
	}
	if derive(secret, "cookies") == one || derive(bytes.Repeat([]byte{8}, 32), "redaction") == one {
		t.Error("another purpose or another secret has the same key")
	}
}

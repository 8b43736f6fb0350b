package config_test

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"sallyport/internal/testkit"
)

// fixtures makes a directory with the files that the cases name.
func fixtures(t *testing.T) string {
	t.Helper()
	t.Setenv("STATE_DIRECTORY", "")
	t.Setenv("SALLYPORT_TEST_FIELDS", "50")
	t.Setenv("SALLYPORT_TEST_HOST", "10.0.0.11")
	dir := t.TempDir()
	for _, sub := range []string{"rules", "crs", "pages", "adir", "shared", "opened", "logs", "run"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "shared"), 0o777); err != nil {
		t.Fatal(err)
	}
	cert, key := testkit.CertificatePEM(t, time.Now().Add(24*time.Hour), "shop.example.org")
	old, oldKey := testkit.CertificatePEM(t, time.Date(2024, 3, 1, 0, 0, 0, 0, time.UTC), "shop.example.org")
	secret := make([]byte, 32)
	for name, f := range map[string]struct {
		mode    os.FileMode
		content []byte
	}{
		"site.pem":          {0o644, cert},
		"site.key":          {0o600, key},
		"ca.pem":            {0o644, cert},
		"client.pem":        {0o644, cert},
		"client.key":        {0o600, key},
		"other.key":         {0o600, oldKey},
		"expired.pem":       {0o644, old},
		"expired.key":       {0o600, oldKey},
		"broken.pem":        {0o644, []byte("-----BEGIN NOTHING-----\n")},
		"blank.pem":         {0o644, []byte("\n")},
		"country.mmdb":      {0o644, []byte("made up")},
		"asn.mmdb":          {0o644, []byte("made up")},
		"deny.txt":          {0o644, []byte("203.0.113.0/24\n")},
		"allow.txt":         {0o644, []byte("192.0.2.0/24\n")},
		"rules/before.conf": {0o644, []byte("# nothing yet\n")},
		"rules/after.conf":  {0o644, []byte("# nothing yet\n")},
		"rules/own.conf":    {0o644, []byte("# nothing yet\n")},
		"rules/shop.yaml":   {0o644, []byte("exclusions:\n  - {rule: 942100, target: \"ARGS:q\", route: shop, path: /a, methods: [GET], reason: a test, owner: me, expires: 2999-12-31}\n")},
		"pages/403.html":    {0o644, []byte("<!doctype html><title>No</title><p>{request.id}\n")},
		"pages/404.html":    {0o644, []byte("<!doctype html><title>Not here</title>\n")},
		"pages/who.html":    {0o644, []byte("<p>Good bye, {client.ip}\n")},
		"pages/large.html":  {0o644, bytes.Repeat([]byte("large\n"), 64<<10)},
		"rules/grpc.conf":   {0o644, []byte("# nothing yet\n")},
		"share.secret":      {0o600, secret},
		"redis.password":    {0o600, []byte("made up\n")},
		"open.secret":       {0o644, secret},
		"short.secret":      {0o600, secret[:31]},
		"opened/secret":     {0o640, secret},

		"rules/wordpress.conf": {0o644, []byte("# nothing yet\n")},
	} {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, f.content, f.mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(name, f.mode); err != nil { // whatever the umask is
			t.Fatal(err)
		}
	}
	socket, err := net.Listen("unix", filepath.Join(dir, "run", "app.sock"))
	if err != nil {
		t.Fatal(err)
	}
	socket.(*net.UnixListener).SetUnlinkOnClose(false) // a name is all that the cases need
	if err := socket.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

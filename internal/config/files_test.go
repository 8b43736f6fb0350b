package config_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// fixtures makes a directory with the files that the cases name.
func fixtures(t *testing.T) string {
	t.Helper()
	t.Setenv("STATE_DIRECTORY", "")
	t.Setenv("SALLYPORT_TEST_FIELDS", "50")
	t.Setenv("SALLYPORT_TEST_HOST", "10.0.0.11")
	dir := t.TempDir()
	for _, sub := range []string{"rules", "adir", "shared", "opened", "logs", "run"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "shared"), 0o777); err != nil {
		t.Fatal(err)
	}
	cert, key := certificate(t, time.Now().Add(24*time.Hour))
	old, oldKey := certificate(t, time.Date(2024, 3, 1, 0, 0, 0, 0, time.UTC))
	secret := make([]byte, 32)
	for name, f := range map[string]struct {
		mode    os.FileMode
		content []byte
	}{
		"site.pem":          {0o644, cert},
		"site.key":          {0o600, key},
		"other.key":         {0o600, oldKey},
		"expired.pem":       {0o644, old},
		"expired.key":       {0o600, oldKey},
		"broken.pem":        {0o644, []byte("-----BEGIN NOTHING-----\n")},
		"blank.pem":         {0o644, []byte("\n")},
		"country.mmdb":      {0o644, []byte("made up")},
		"asn.mmdb":          {0o644, []byte("made up")},
		"rules/before.conf": {0o644, []byte("# nothing yet\n")},
		"rules/after.conf":  {0o644, []byte("# nothing yet\n")},
		"rules/own.conf":    {0o644, []byte("# nothing yet\n")},
		"share.secret":      {0o600, secret},
		"open.secret":       {0o644, secret},
		"short.secret":      {0o600, secret[:31]},
		"opened/secret":     {0o640, secret},
	} {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, f.content, f.mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(name, f.mode); err != nil { // whatever the umask is
			t.Fatal(err)
		}
	}
	return dir
}

// certificate makes a self-signed certificate and its key, in PEM.
func certificate(t *testing.T, until time.Time) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "shop.example.org"},
		DNSNames: []string{"shop.example.org"}, NotBefore: until.Add(-48 * time.Hour), NotAfter: until,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
}

package demo

import (
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// databases holds the made-up databases.
//
//go:embed data/country.mmdb data/asn.mmdb
var databases embed.FS

// Settings is what the demo's configuration is told.
type Settings struct {
	Listen   string   // host:port of the gateway
	Admin    string   // host:port of the admin endpoint
	Backends []string // URLs, from App.Backends
	// Country and ASN are the paths of the databases, from WriteDatabases.
	Country, ASN string
	Audit        string // file of the audit log
	State        string // directory for the secret and the admin token
}

// WriteDatabases writes the databases of countries and networks into a
// directory and returns their paths.
func WriteDatabases(dir string) (country, asn string, err error) {
	paths := make([]string, 2)
	for i, name := range []string{"country.mmdb", "asn.mmdb"} {
		b, err := databases.ReadFile("data/" + name)
		if err != nil {
			return "", "", fmt.Errorf("read the demo's database: %w", err)
		}
		paths[i] = filepath.Join(dir, name)
		if err := os.WriteFile(paths[i], b, 0o600); err != nil {
			return "", "", fmt.Errorf("write the demo's database: %w", err)
		}
	}
	return paths[0], paths[1], nil
}

// Config returns the configuration of the gateway in front of the demo.
func Config(s Settings) string {
	var backends strings.Builder
	for i, url := range s.Backends {
		fmt.Fprintf(&backends, "      - {name: demo-%d, url: %s}\n", i+1, strconv.Quote(url))
	}
	return fmt.Sprintf(`# What "sallyport demo" runs with.
listeners:
  - address: %s

clients:
  # Loopback may speak for others here, so that one machine can play many
  # clients: curl -H 'X-Forwarded-For: 198.51.100.7'.
  trusted_proxies: [127.0.0.0/8, "::1/128"]

geo:
  country: %s
  asn: %s
  max_age: 0d                           # the databases are made up, and stay as they are
  deny: [KP, AS64501]                   # 198.51.100.0/24 by country, 203.0.113.0/24 by network

limits:
  - {name: per-client, rate: 20/s, burst: 60}

policies:
  default:
    paranoia: 1
  sealed:                               # judges the bodies of all answers, not of errors only
    response_body: {inspect: all, limit: 512KiB}

pools:
  demo:
    backends:
%s    balance: round_robin
    health: {path: /healthz, interval: 2s, timeout: 1s}

routes:
  - {name: leaks, paths: [/leak], pool: demo, policy: sealed}
  - {name: about, paths: [/about], pool: demo, mask: {leaks: {bodies: redact}}}
  - {name: demo, pool: demo, policy: default}

mask:
  # Beside the addresses of the pool, what the machines call themselves.
  leaks: {also: [shop-one.internal, shop-two.internal, db.shop.internal]}

audit:
  path: %s
  log: all

admin:
  address: %s

state:
  dir: %s
`, strconv.Quote(s.Listen), strconv.Quote(s.Country), strconv.Quote(s.ASN), backends.String(),
		strconv.Quote(s.Audit), strconv.Quote(s.Admin), strconv.Quote(s.State))
}

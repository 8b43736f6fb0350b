// Package config reads the one file that an operator writes, judges it, and
// turns it into the Config structs of the stages. It reports every problem of
// a file in one run, each with its line, its column, the path of the key and
// what to do about it.
//
// It is strict: an unknown or repeated key, a missing unit, an anchor, a tag
// or a second document is an error, and nothing is guessed or repaired. It
// never starts anything, and only Secret and WriteStarter leave anything on
// disk. The file is YAML 1.2, of which only mappings, lists and plain values
// are used.
package config

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"sallyport/internal/audit"
	"sallyport/internal/client"
	"sallyport/internal/gate"
	"sallyport/internal/geo"
	"sallyport/internal/server"
	"sallyport/limiter"
	"sallyport/proxy"
	"sallyport/waf"
)

// maxFile is how large a configuration may be, in bytes.
const maxFile = 1 << 20

// Config is a whole configuration, judged and with its defaults filled in. All
// file names in it are absolute.
type Config struct {
	// Mode is mode: enforce (default), or observe, which has already been
	// passed on to every stage that is not off.
	Mode    gate.Mode
	Server  server.Config
	Client  client.Config
	Geo     geo.Config
	Limiter limiter.Config
	Bans    limiter.BanConfig
	WAF     waf.Config
	Proxy   proxy.Config
	// MaskErrors is mask.errors, "uniform" (default) or "pass"; every route
	// carries its own value.
	MaskErrors string
	// Mask is the rest of mask; likewise.
	Mask proxy.MaskConfig
	// Audit lacks its Key: whoever starts the log derives it (DeriveKey) from
	// the Secret.
	Audit audit.Config
	Log   LogConfig
	State StateConfig

	places places
}

// LogConfig says how the operational log is written, to standard error.
type LogConfig struct {
	Level string // debug, info (default), warn or error
	JSON  bool   // log.format: json; default: for people
}

// StateConfig says where what outlives a restart is kept.
type StateConfig struct {
	// Dir holds the secret, the admin token and the like (state.dir). Default
	// $STATE_DIRECTORY, else the directory state beside the file.
	Dir string
	// KeyFile holds the secret instead of Dir (state.key_file), for gateways
	// that share one. Empty: the secret is made in Dir at first start.
	KeyFile string
}

// Load reads and judges the named file, and what it names: certificates, rule
// file patterns, databases, directories. The Config is nil when a diagnostic
// is fatal; warnings come beside a Config. Load creates nothing that lasts.
func Load(name string) (*Config, gate.Diagnostics) {
	src, err := readFile(name)
	if err != nil {
		return nil, gate.Diagnostics{{File: name, What: err.Error()}}
	}
	r := newReader(name, os.LookupEnv)
	r.local = localAddresses()
	c := r.read(src)
	r.files(c)
	return r.result(c)
}

// Parse judges what the text alone can tell, and touches no file. The name
// stands in diagnostics, and relative paths begin in its directory; env looks
// up environment variables, as os.LookupEnv does.
func Parse(name string, src []byte, env func(string) (string, bool)) (*Config, gate.Diagnostics) {
	r := newReader(name, env)
	return r.result(r.read(src))
}

// Observe turns every stage that is not off to observe, as --observe and
// mode: observe do: everything is decided and recorded, and only broken
// framing and what exceeds a limit of size or time is refused.
func (c *Config) Observe() {
	c.Mode = gate.Watch
	c.Proxy.Mode = gate.Watch
	c.Proxy.Hygiene = gate.Watch
	c.Limiter.Mode = gate.Watch
	if c.Bans.Mode != gate.Off {
		c.Bans.Mode = gate.Watch
	}
	if c.Geo.Mode != gate.Off {
		c.Geo.Mode = gate.Watch
	}
	for name, p := range c.WAF.Policies {
		if p.Mode != gate.Off {
			p.Mode = gate.Watch
			c.WAF.Policies[name] = p
		}
	}
}

// readFile returns the content of a configuration file, or what keeps it from
// being one.
func readFile(name string) ([]byte, error) {
	f, err := os.Open(name) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, cause(err)
	}
	defer f.Close()
	src, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, cause(err)
	}
	return src, nil
}

// cause strips the operation and the file name, which a diagnostic tells in a
// place of their own.
func cause(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err
	}
	return err
}

// directory is where the relative paths of a file begin.
func directory(name string) string {
	dir, err := filepath.Abs(filepath.Dir(name))
	if err != nil { // the working directory is gone: stay relative to it
		return filepath.Dir(name)
	}
	return dir
}

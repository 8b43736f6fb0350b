package config

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"sallyport/internal/server"
	"sallyport/proxy"
)

// maxPEM is how large a PEM file may be, in bytes: the system's bundle of
// authorities is a quarter of it.
const maxPEM = 1 << 20

// files judges what the configuration names on disk. What the stages judge
// better themselves (the content of rule files and databases) is left to them.
func (r *reader) files(c *Config) {
	if c == nil {
		return
	}
	for i := range c.Server.Listeners {
		r.socketPlace(fmt.Sprintf("listeners[%d].address", i), c.Server.Listeners[i].Address)
		for j := range c.Server.Listeners[i].Certificates {
			r.certificate(fmt.Sprintf("listeners[%d].tls.certificates[%d]", i, j), &c.Server.Listeners[i].Certificates[j])
		}
	}
	r.readable("geo.country", c.Geo.Country)
	r.readable("geo.asn", c.Geo.ASN)
	r.listFiles(c)
	r.readable("limiter.store.password_file", c.Limiter.Store.PasswordFile)
	if text, ok := r.readPEM("limiter.store.ca", c.Limiter.Store.CA); ok && !x509.NewCertPool().AppendCertsFromPEM(text) {
		r.fail("limiter.store.ca", "no certificate in the file", "")
	}
	for _, name := range policyNames(c) {
		p := c.WAF.Policies[name]
		if p.CRS != crsBuiltin && p.CRS != crsOff {
			r.directoryThere("policies."+name+".crs", p.CRS)
		}
		r.matches("policies."+name+".rules_before", p.RulesBefore)
		r.matches("policies."+name+".rules_after", p.RulesAfter)
	}
	r.exclusions(c)
	for _, p := range c.Proxy.Pools {
		r.poolFiles("pools."+p.Name+".tls", p.TLS)
		for i, b := range p.Backends {
			at := fmt.Sprintf("pools.%s.backends[%d].url", p.Name, i)
			if b.URL != nil && b.URL.Opaque != "" && !r.wrong[at] {
				r.socketThere(at, b.URL.Opaque)
			}
		}
	}
	r.pageFiles("mask", c.Mask)
	for i, rc := range c.Proxy.Routes {
		r.pageFiles(fmt.Sprintf("routes[%d].mask", i), rc.Mask)
	}
	if c.Audit.Path != "-" {
		r.appendable("audit.path", c.Audit.Path)
	}
	if c.Audit.RulesLog != "" {
		r.appendable("audit.rules_log", c.Audit.RulesLog)
	}
	r.socketPlace("admin.address", c.Server.Admin.Address)
	r.stateFiles(c.State)
}

// certificate loads a pair of PEM files.
func (r *reader) certificate(path string, pair *server.Certificate) {
	chain, okCert := r.readPEM(path+".cert", pair.Cert)
	key, okKey := r.readPEM(path+".key", pair.Key)
	if okCert && r.chain(path+".cert", chain) && okKey {
		r.pair(path, chain, key, &pair.Loaded)
	}
}

// chain tells whether a PEM file holds certificates, and warns of a first one
// that is not valid now.
func (r *reader) chain(path string, chain []byte) bool {
	leaf, err := firstCertificate(chain)
	if err != nil {
		r.fail(path, "not a certificate: "+err.Error(), "")
		return false
	}
	switch now := time.Now(); {
	case now.After(leaf.NotAfter):
		r.warn(path, "the certificate expired on "+leaf.NotAfter.UTC().Format(time.DateOnly), "renew it")
	case now.Before(leaf.NotBefore):
		r.warn(path, "the certificate is not valid before "+leaf.NotBefore.UTC().Format(time.DateOnly), "")
	}
	return true
}

// pair joins a certificate and its key.
func (r *reader) pair(path string, chain, key []byte, into *tls.Certificate) {
	loaded, err := tls.X509KeyPair(chain, key)
	if err != nil { // the certificate alone was fine
		r.fail(path+".key", "not the key of the certificate: "+err.Error(), "")
		return
	}
	*into = loaded
}

func firstCertificate(text []byte) (*x509.Certificate, error) {
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			return nil, errors.New("no PEM block of type CERTIFICATE")
		}
		if block.Type == "CERTIFICATE" {
			return x509.ParseCertificate(block.Bytes)
		}
		text = rest
	}
}

// poolFiles judges the PEM files that a pool speaks TLS with.
func (r *reader) poolFiles(path string, t proxy.TLSConfig) {
	if t.CA != "" {
		if text, ok := r.readPEM(path+".ca", t.CA); ok {
			if !x509.NewCertPool().AppendCertsFromPEM(text) {
				r.fail(path+".ca", "no certificate in the file", "")
			}
		}
	}
	if t.Cert != "" && t.Key != "" {
		pair := server.Certificate{Cert: t.Cert, Key: t.Key}
		r.certificate(path, &pair)
	}
}

// readPEM reads a small file. A path that was refused before is not read.
func (r *reader) readPEM(path, name string) ([]byte, bool) {
	if name == "" {
		return nil, false
	}
	f, err := openRegular(name)
	if err != nil {
		r.cannotRead(path, name, err)
		return nil, false
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxPEM+1))
	if err == nil && len(text) > maxPEM {
		err = errors.New("larger than 1MiB")
	}
	if err == nil && len(bytes.TrimSpace(text)) == 0 {
		err = errors.New("the file is empty")
	}
	if err != nil {
		r.cannotRead(path, name, err)
		return nil, false
	}
	return text, true
}

// readable reports a named file that cannot be opened.
func (r *reader) readable(path, name string) {
	if name == "" {
		return
	}
	f, err := openRegular(name)
	if err != nil {
		r.cannotRead(path, name, err)
		return
	}
	f.Close() // only read from
}

func (r *reader) cannotRead(path, name string, err error) {
	hint := ""
	if errors.Is(err, fs.ErrNotExist) && !r.exists(filepath.Dir(name)) {
		hint = "there is no directory " + filepath.Dir(name) + "; relative paths begin in the directory of the configuration"
	}
	r.fail(path, fmt.Sprintf("cannot read %s: %v", name, cause(err)), hint)
}

func (r *reader) exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// directoryThere reports a named directory that is none.
func (r *reader) directoryThere(path, name string) {
	switch info, err := os.Stat(name); {
	case err != nil:
		r.cannotRead(path, name, err)
	case !info.IsDir():
		r.fail(path, name+" is not a directory", "")
	}
}

// openRegular opens a file that has content: not a directory, and nothing that
// could make the reader wait.
func openRegular(name string) (*os.File, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	return os.Open(name) //nolint:gosec // the operator names the file
}

// matches reports patterns of rule files that match nothing that can be read:
// a rule set that quietly lacks its rules would let attacks pass.
func (r *reader) matches(path string, patterns []string) {
	for i, pattern := range patterns {
		at := fmt.Sprintf("%s[%d]", path, i)
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			r.fail(at, "no file matches "+pattern, "a pattern that matches nothing would leave rules out unnoticed")
		}
		for _, name := range names {
			r.readable(at, name)
		}
	}
}

// appendable reports a log file that could not be written. A file that is not
// there yet is not made; that a temporary one can be is proof enough.
func (r *reader) appendable(path, name string) {
	info, err := os.Stat(name)
	switch {
	case err == nil && info.IsDir():
		err = errors.New("it is a directory")
	case err == nil && info.Mode().IsRegular():
		var f *os.File
		if f, err = os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0); err == nil { //nolint:gosec // the operator names the file
			err = f.Close()
		}
	case err == nil: // a device or a pipe: writing to it is its reader's matter
	case errors.Is(err, fs.ErrNotExist):
		var f *os.File
		if f, err = os.CreateTemp(filepath.Dir(name), ".sallyport-check-"); err == nil {
			err = errors.Join(f.Close(), os.Remove(f.Name()))
		}
	}
	if err != nil {
		hint := ""
		if !r.exists(filepath.Dir(name)) {
			hint = "create the directory " + filepath.Dir(name)
		}
		r.fail(path, fmt.Sprintf("cannot write %s: %v", name, cause(err)), hint)
	}
}

// stateFiles judges the state directory and the secret as serve will find
// them. What is not there yet will be made by serve.
func (r *reader) stateFiles(s StateConfig) {
	if s.KeyFile != "" {
		if _, err := readSecret(s.KeyFile); err != nil {
			r.reject("state.key_file", err)
		}
	}
	if err := checkStateDir(s.Dir); err != nil {
		r.reject("state.dir", err)
		return
	}
	if s.KeyFile != "" {
		return
	}
	if _, err := readSecret(filepath.Join(s.Dir, secretName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.reject("state.dir", err)
	}
}

// localAddresses returns the addresses of this machine, as far as they can be
// told.
func localAddresses() []netip.Addr {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var out []netip.Addr
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			out = append(out, p.Addr().Unmap())
		}
	}
	return out
}

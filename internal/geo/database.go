package geo

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"github.com/oschwald/geoip2-golang/v2"
	"github.com/oschwald/maxminddb-golang/v2"
	"go.uber.org/zap"

	"sallyport/internal/gate"
)

// maxDatabase bounds what is read into memory. The largest City database in
// circulation has an eighth of it.
const maxDatabase = 1 << 30

// A kind is what a database is asked for.
type kind struct {
	name   string // as Database.Kind
	key    string // of the configuration
	remedy string
	// read looks the address up and adds what it finds to what is known.
	read func(*geoip2.Reader, netip.Addr, gate.Place) (gate.Place, error)
}

var (
	countryKind = kind{"country", "geo.country", "give a sound Country or City database in mmdb form, or leave geo.country empty", readCountry}
	asnKind     = kind{"asn", "geo.asn", "give a sound ASN or ISP database in mmdb form, or leave geo.asn empty", readASN}
)

func readCountry(r *geoip2.Reader, addr netip.Addr, at gate.Place) (gate.Place, error) {
	c, err := r.Country(addr)
	if err == nil {
		at.Country = c.Country.ISOCode
	}
	return at, err
}

func readASN(r *geoip2.Reader, addr netip.Addr, at gate.Place) (gate.Place, error) {
	a, err := r.ASN(addr)
	if err == nil {
		at.ASN = uint32(a.AutonomousSystemNumber)
	}
	return at, err
}

// A snapshot is one version of a database, held in memory: nothing is mapped,
// so nothing can be unmapped under a reader, and the garbage collector takes
// it when the last one is done.
type snapshot struct {
	reader *geoip2.Reader
	file   fs.FileInfo
	loaded time.Time
}

// load reads a database and makes sure that it can answer.
func (k kind) load(path string) (*snapshot, error) {
	data, info, err := readFile(path)
	if err != nil {
		return nil, err
	}
	r, err := geoip2.OpenBytes(data)
	if _, ok := errors.AsType[geoip2.UnknownDatabaseTypeError](err); ok {
		return nil, fmt.Errorf("is a database of the unknown type %q", r.Metadata().DatabaseType)
	}
	if err != nil {
		return nil, fmt.Errorf("is not a readable mmdb file: %w", err)
	}
	if err := k.probe(r); err != nil {
		return nil, err
	}
	if err := notEmpty(data); err != nil {
		return nil, err
	}
	return &snapshot{reader: r, file: info, loaded: time.Now()}, nil
}

// readFile reads a regular file of bounded size.
func readFile(path string) ([]byte, fs.FileInfo, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot be opened: %w", cause(err))
	}
	defer f.Close() //nolint:errcheck // only read
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, nil, fmt.Errorf("cannot be read: %w", cause(err))
	case !info.Mode().IsRegular():
		return nil, nil, errors.New("is not a regular file")
	case info.Size() > maxDatabase:
		return nil, nil, fmt.Errorf("is larger than %d bytes", maxDatabase)
	}
	data := make([]byte, info.Size())
	if _, err := io.ReadFull(f, data); err != nil {
		return nil, nil, fmt.Errorf("cannot be read: %w", cause(err))
	}
	return data, info, nil
}

// cause drops the path that os puts before an error: the message has it.
func cause(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err
	}
	return err
}

// probe asks for addresses all over both families. It finds a database of the
// wrong type, and most of those that were cut or overwritten.
func (k kind) probe(r *geoip2.Reader) error {
	for i := range 256 {
		for _, addr := range [...]netip.Addr{
			netip.AddrFrom4([4]byte{byte(i), byte(i), 2, 1}),
			netip.AddrFrom16([16]byte{byte(0x20 | i&0x1f), byte(i), 0x0d, 0xb8, 0, byte(i)}),
		} {
			_, err := k.ask(r, addr, gate.Place{})
			if _, ok := errors.AsType[geoip2.InvalidMethodError](err); ok {
				return fmt.Errorf("is a database of the type %s", r.Metadata().DatabaseType)
			}
			if err != nil {
				return fmt.Errorf("is not sound: look up %s: %w", addr, err)
			}
		}
	}
	return nil
}

// notEmpty refuses a database that knows no network at all: every rule about
// countries would quietly stop to apply.
func notEmpty(data []byte) error {
	r, err := maxminddb.OpenBytes(data)
	if err != nil {
		return fmt.Errorf("is not a readable mmdb file: %w", err)
	}
	for network := range r.Networks() {
		if err := network.Err(); err != nil {
			return fmt.Errorf("is not sound: %w", err)
		}
		return nil
	}
	return errors.New("is empty")
}

// ask looks an address up. A database of IPv4 addresses only does not know
// where an IPv6 address is, and nobody knows where no address is; neither is
// an error.
func (k kind) ask(r *geoip2.Reader, addr netip.Addr, at gate.Place) (gate.Place, error) {
	if !addr.IsValid() || addr.Is6() && r.Metadata().IPVersion == 4 {
		return at, nil
	}
	return k.read(r, addr, at)
}

// A database is one file and the newest sound version of it. poll belongs to
// one goroutine, everything else may be called by many.
type database struct {
	kind    kind
	path    string
	current atomic.Pointer[snapshot]
	problem atomic.Pointer[string] // why current is not what the file holds; nil: it is
	seen    fs.FileInfo            // at the last poll, when it was not what current was read from
	refused fs.FileInfo            // what could not be loaded, so as not to try it again
	missing bool                   // the last poll could not find the file
}

func newDatabase(k kind, path string) *database { return &database{kind: k, path: path} }

// take puts a version into use.
func (d *database) take(s *snapshot) {
	d.current.Store(s)
	d.problem.Store(nil)
	d.seen, d.refused = nil, nil
}

func (d *database) lookup(addr netip.Addr, at gate.Place) (gate.Place, error) {
	return d.kind.ask(d.current.Load().reader, addr, at)
}

func (d *database) describe() Database {
	s := d.current.Load()
	meta := s.reader.Metadata()
	desc := Database{Kind: d.kind.name, Path: d.path, Type: meta.DatabaseType, Built: meta.BuildTime(), Loaded: s.loaded}
	if p := d.problem.Load(); p != nil {
		desc.Problem = *p
	}
	return desc
}

// poll looks at the file and takes up a new version that has settled.
func (d *database) poll(log *zap.Logger) {
	info, err := os.Stat(d.path)
	if err != nil {
		if !d.missing {
			d.complain(log, fmt.Errorf("cannot be found: %w", cause(err)))
		}
		d.missing = true
		return
	}
	d.missing = false
	switch {
	case same(info, d.current.Load().file):
		d.take(d.current.Load())
		return
	case same(info, d.refused):
		return
	case !same(info, d.seen):
		d.seen = info
		return
	}
	s, err := d.kind.load(d.path)
	if err != nil {
		d.refused = info
		d.complain(log, err)
		return
	}
	d.take(s)
	log.Info("geo database reloaded", zap.String("path", d.path), zap.Time("built", s.reader.Metadata().BuildTime()))
}

// complain notes and logs why the old version stays in use.
func (d *database) complain(log *zap.Logger, err error) {
	text := err.Error()
	d.problem.Store(&text)
	log.Warn("geo database not reloaded, the old one stays in use", zap.String("path", d.path), zap.Error(err))
}

// same reports whether a file is, by all that its directory tells, unchanged.
func same(a, b fs.FileInfo) bool {
	return a != nil && b != nil && os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

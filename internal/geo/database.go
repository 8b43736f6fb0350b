package geo

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
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
		at.Country, at.Continent = c.Country.ISOCode, c.Continent.Code
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
	raw    *maxminddb.Reader // the same database, field by field
	file   fs.FileInfo
	loaded time.Time
}

// demands is what the rules ask of a database beyond what its kind tells.
type demands struct {
	continents  bool
	coordinates bool
}

// load reads a database and makes sure that it can answer.
func (k kind) load(path string, d demands) (*snapshot, error) {
	data, info, err := readFile(path, maxDatabase)
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
	raw, err := maxminddb.OpenBytes(data)
	if err != nil {
		return nil, fmt.Errorf("is not a readable mmdb file: %w", err)
	}
	if err := inhabited(raw, d); err != nil {
		return nil, err
	}
	return &snapshot{reader: r, raw: raw, file: info, loaded: time.Now()}, nil
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

// fieldSample is how many networks are looked at for one that has a field:
// makers of databases fill it in for all, for many, or for none.
const fieldSample = 10_000

// inhabited refuses a database that knows no network at all, no continent where
// rules name one, or no coordinates where pools do: they would quietly stop to
// apply.
func inhabited(r *maxminddb.Reader, d demands) error {
	seen := 0
	for network := range r.Networks() {
		if err := network.Err(); err != nil {
			return fmt.Errorf("is not sound: %w", err)
		}
		if d.continents {
			var continent string
			if err := network.DecodePath(&continent, "continent", "code"); err != nil {
				return fmt.Errorf("is not sound: %w", err)
			}
			d.continents = continent == ""
		}
		if d.coordinates {
			at, err := locate(network, gate.Place{})
			if err != nil {
				return fmt.Errorf("is not sound: %w", err)
			}
			d.coordinates = !at.Located
		}
		if d == (demands{}) {
			return nil
		}
		if seen++; seen == fieldSample {
			break
		}
	}
	switch {
	case seen == 0:
		return errors.New("is empty")
	case d.continents:
		return errors.New("knows no continents, and rules name some")
	}
	return errors.New("knows no coordinates, and backends have some; a City database does")
}

// locate adds the coordinates of what was looked up, where it has them.
func locate(found maxminddb.Result, at gate.Place) (gate.Place, error) {
	var latitude, longitude *float64
	err := errors.Join(found.DecodePath(&latitude, "location", "latitude"), found.DecodePath(&longitude, "location", "longitude"))
	if err == nil && latitude != nil && longitude != nil {
		at.Located, at.Latitude, at.Longitude = true, *latitude, *longitude
	}
	return at, err
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

// A database is one file and the newest sound version of it. tick belongs to
// one goroutine, lookup and describe may be called by many.
type database struct {
	watched
	kind    kind
	demands demands
	maxAge  time.Duration // 0: none
	current atomic.Pointer[snapshot]
	warned  time.Time // when its age was last told
}

func newDatabase(k kind, path string, d demands, maxAge time.Duration) *database {
	return &database{watched: watched{what: "geo database", path: path}, kind: k, demands: d, maxAge: maxAge}
}

// load puts the version that the file holds into use, if it is sound.
func (d *database) load() error {
	s, err := d.kind.load(d.path, d.demands)
	if err != nil {
		return err
	}
	d.current.Store(s)
	d.take(s.file)
	return nil
}

func (d *database) lookup(addr netip.Addr, at gate.Place) (gate.Place, error) {
	s := d.current.Load()
	at, err := d.kind.ask(s.reader, addr, at)
	if err != nil || !d.demands.coordinates || !addr.IsValid() || addr.Is6() && s.reader.Metadata().IPVersion == 4 {
		return at, err
	}
	return locate(s.raw.Lookup(addr), at)
}

func (d *database) describe(now time.Time) Database {
	s := d.current.Load()
	meta := s.reader.Metadata()
	desc := Database{Kind: d.kind.name, Path: d.path, Type: meta.DatabaseType, Built: meta.BuildTime(), Loaded: s.loaded, Problem: d.trouble()}
	desc.Old = d.maxAge > 0 && now.Sub(desc.Built) > d.maxAge
	return desc
}

// tick takes up a new version of the file, and tells of one that has grown
// old: whoever fetches it may have stopped to.
func (d *database) tick(log *zap.Logger, now time.Time) {
	d.poll(log, func() error {
		err := d.load()
		if err == nil {
			log.Info("geo database reloaded", zap.String("path", d.path), zap.Time("built", d.current.Load().reader.Metadata().BuildTime()))
		}
		return err
	})
	d.judgeAge(log, now)
}

// judgeAge warns of a database that is too old, once a day.
func (d *database) judgeAge(log *zap.Logger, now time.Time) {
	desc := d.describe(now)
	if !desc.Old || now.Sub(d.warned) < 24*time.Hour {
		return
	}
	d.warned = now
	log.Warn("geo database is old", zap.String("path", d.path), zap.Time("built", desc.Built), zap.Int("days", int(now.Sub(desc.Built).Hours()/24)))
}

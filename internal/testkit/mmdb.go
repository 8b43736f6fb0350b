// Package testkit holds what tests need to face the gateway as the world does:
// raw sockets, scripted backends, made-up databases. It decides nothing, and
// only tests import it.
package testkit

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"

	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"
)

// mmdbEpoch is the build time of every made-up database (2026-01-01), so that
// the same entries give the same bytes.
const mmdbEpoch = 1767225600

// WriteCountryDB writes an mmdb file that puts each prefix into a country (ISO
// 3166-1 alpha-2). Reserved and documentation networks are allowed; that is
// what it is for.
func WriteCountryDB(path string, entries map[string]string) error {
	areas := make(map[string]Area, len(entries))
	for prefix, country := range entries {
		areas[prefix] = Area{Country: country}
	}
	return WriteAreaDB(path, areas)
}

// An Area is where a prefix is; an empty field is left out.
type Area struct {
	Country   string // ISO 3166-1 alpha-2
	Continent string // EU and so on
	// Point holds latitude and longitude; nil: not known.
	Point *[2]float64
}

// WriteAreaDB is WriteCountryDB with continents.
func WriteAreaDB(path string, entries map[string]Area) error {
	return writeDB(path, "GeoLite2-Country", entries, func(a Area) mmdbtype.DataType {
		record := mmdbtype.Map{}
		if a.Country != "" {
			record["country"] = mmdbtype.Map{"iso_code": mmdbtype.String(a.Country)}
		}
		if a.Continent != "" {
			record["continent"] = mmdbtype.Map{"code": mmdbtype.String(a.Continent)}
		}
		if a.Point != nil {
			record["location"] = mmdbtype.Map{"latitude": mmdbtype.Float64(a.Point[0]), "longitude": mmdbtype.Float64(a.Point[1])}
		}
		return record
	})
}

// WriteASNDB writes an mmdb file that puts each prefix into an autonomous
// system.
func WriteASNDB(path string, entries map[string]uint32) error {
	return writeDB(path, "GeoLite2-ASN", entries, func(asn uint32) mmdbtype.DataType {
		return mmdbtype.Map{
			"autonomous_system_number":       mmdbtype.Uint32(asn),
			"autonomous_system_organization": mmdbtype.String(fmt.Sprintf("Example Network %d", asn)),
		}
	})
}

// writeDB writes the entries in the order of their prefixes; of two that
// overlap, the longer one is inserted later and wins.
func writeDB[V any](path, kind string, entries map[string]V, record func(V) mmdbtype.DataType) error {
	tree, err := mmdbwriter.New(mmdbwriter.Options{
		BuildEpoch:              mmdbEpoch,
		DatabaseType:            kind,
		Description:             map[string]string{"en": "Made up for tests and demonstrations; says nothing about real networks"},
		IncludeReservedNetworks: true,
		RecordSize:              24,
	})
	if err != nil {
		return fmt.Errorf("make a database of type %s: %w", kind, err)
	}
	prefixes := make(map[netip.Prefix]V, len(entries))
	for text, value := range entries {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return fmt.Errorf("make a database of type %s: %w", kind, err)
		}
		prefixes[p.Masked()] = value
	}
	for _, p := range slices.SortedFunc(maps.Keys(prefixes), netip.Prefix.Compare) {
		addr := p.Addr()
		network := &net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(p.Bits(), addr.BitLen())}
		if err := tree.Insert(network, record(prefixes[p])); err != nil {
			return fmt.Errorf("insert %s: %w", p, err)
		}
	}
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("create database: %w", err)
	}
	if _, err := tree.WriteTo(f); err != nil {
		return fmt.Errorf("write database %s: %w", path, errors.Join(err, f.Close()))
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("write database %s: %w", path, err)
	}
	return nil
}

package proxy

import (
	"math"
	"strconv"

	"sallyport/internal/gate"
)

// A Zone is where a backend is, or a client: a country, a continent, or a point
// on the globe. The zero Zone is anywhere.
type Zone struct {
	Country   string // ISO 3166-1 alpha-2, upper case; empty: not said
	Continent string // AF, AN, AS, EU, NA, OC or SA; that of the country too
	// Located tells that Latitude and Longitude are known, in degrees.
	Located             bool
	Latitude, Longitude float64

	point vector // of these two
}

// CountryWord stands before the code of a country that is a continent's too.
const CountryWord = "country-"

// String writes the zone as it stands in a configuration: NL, country-NA,
// continent-EU, 52.4,4.9.
func (z Zone) String() string {
	switch {
	case z.Located:
		return strconv.FormatFloat(z.Latitude, 'f', -1, 64) + "," + strconv.FormatFloat(z.Longitude, 'f', -1, 64)
	case z.Country == "AF" || z.Country == "AS" || z.Country == "NA" || z.Country == "SA":
		return CountryWord + z.Country
	case z.Country != "":
		return z.Country
	case z.Continent != "":
		return "continent-" + z.Continent
	}
	return ""
}

// fix computes the point.
func (z Zone) fix() Zone {
	if z.Located {
		z.point = pointAt(z.Latitude, z.Longitude)
	}
	return z
}

// A vector is a point on the unit sphere, with its centre at the origin.
type vector struct{ x, y, z float64 }

func pointAt(latitude, longitude float64) vector {
	const degree = math.Pi / 180
	up, out := math.Sincos(latitude * degree)
	y, x := math.Sincos(longitude * degree)
	return vector{out * x, out * y, up}
}

// nearest asks the backends that are nearest to the client, in turn by weight,
// and the next nearest when those are full, down or ejected. A client whose
// place is not known is as near to all.
type nearest struct{}

func (nearest) name() string { return Nearest }

func (nearest) describe(v *visit, a *ask) { a.from = zoneOf(v.req.Place) }

func zoneOf(p gate.Place) Zone {
	return Zone{Country: p.Country, Continent: p.Continent, Located: p.Located, Latitude: p.Latitude, Longitude: p.Longitude}.fix()
}

func (nearest) choose(from []candidate, a *ask) *backend {
	best := math.Inf(-1)
	near := from[:0]
	for _, c := range from {
		n := a.from.nearness(&c.zone)
		if n > best {
			best, near = n, near[:0]
		}
		if n == best {
			near = append(near, c)
		}
	}
	return smooth(near)
}

// nearness is larger for what is nearer. Two points are compared by the angle
// between them; else the same country is nearer than the same continent, and
// that nearer than anything else. The coordinates of two backends at one place
// have to be equal.
func (z *Zone) nearness(of *Zone) float64 {
	const elsewhere = -2.0 // less than the cosine of any angle
	switch {
	case of.Located:
		if !z.Located {
			return elsewhere
		}
		return z.point.x*of.point.x + z.point.y*of.point.y + z.point.z*of.point.z
	case of.Country != "" && of.Country == z.Country:
		return 2
	case of.Continent != "" && of.Continent == z.Continent:
		return 1
	}
	return elsewhere
}

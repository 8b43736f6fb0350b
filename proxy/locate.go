package proxy

import (
	"strconv"

	"sallyport/internal/gate"
)

// locate tells the backend where the client is, as far as geo.headers asks for
// it and the databases know. A field that the gateway speaks for is never
// somebody else's: what a trusted proxy says in it goes, whatever the spelling
// and also where the place is not known.
func (h *Handler) locate(at gate.Place, out *fieldList) {
	for _, what := range h.geoHeaders {
		name, value := placeField(what, at)
		out.remove(name)
		if value != "" {
			out.add(name, value)
		}
	}
}

// placeField is the field that tells one thing about a place, and its value;
// empty: it is not known.
func placeField(what string, at gate.Place) (name, value string) {
	switch what {
	case GeoCountry:
		return "X-Geo-Country", at.Country
	case GeoContinent:
		return "X-Geo-Continent", at.Continent
	}
	if at.ASN == 0 {
		return "X-Geo-Asn", ""
	}
	return "X-Geo-Asn", strconv.FormatUint(uint64(at.ASN), 10)
}

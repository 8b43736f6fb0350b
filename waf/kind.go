package waf

import "strings"

// A kind is how a request body is judged.
type kind uint8

const (
	kindNone      kind = iota // there is no body
	kindOpaque                // nothing reads it: it streams, and rules judge the rest of the request
	kindRaw                   // unknown: held, and judged as text
	kindForm                  // application/x-www-form-urlencoded
	kindJSON                  // application/json, +json
	kindGraphQL               // application/graphql
	kindXML                   // application/xml, text/xml, +xml
	kindMultipart             // multipart/form-data: fields and names held, files stream
)

// kinds are the names that rules use for the kinds (REQBODY_PROCESSOR).
var kinds = map[string]kind{
	"": kindNone, "URLENCODED": kindForm, "MULTIPART": kindMultipart, "JSON": kindJSON, "XML": kindXML, "RAW": kindRaw,
}

// opaque holds the media types that no rule could read. An entry that ends in
// a slash stands for all types under it.
var opaque = map[string]bool{
	"image/": true, "video/": true, "audio/": true, "font/": true,
	"application/octet-stream": true, "application/zip": true, "application/gzip": true, "application/x-gzip": true,
	"application/x-tar": true, "application/x-7z-compressed": true, "application/x-bzip2": true, "application/x-xz": true,
	"application/zstd": true, "application/vnd.rar": true, "application/x-rar-compressed": true, "application/pdf": true,
	"application/wasm": true, "application/java-archive": true, "application/msword": true, "application/ogg": true,
	"application/epub+zip": true, "application/vnd.android.package-archive": true,
}

// opaqueFamilies are the beginnings of further such types. Calls of gRPC are
// messages in both directions; holding one for the other would stop the call.
var opaqueFamilies = [...]string{
	"application/vnd.openxmlformats-officedocument.", "application/vnd.oasis.opendocument.", "application/vnd.ms-",
	"application/grpc",
}

// essence returns the media type of a Content-Type in lower case, without
// parameters (RFC 9110 section 8.3.1).
func essence(contentType string) string {
	e, _, _ := strings.Cut(contentType, ";")
	return strings.ToLower(strings.TrimSpace(e))
}

// typeKind is what a body of the type is judged as unless a rule says
// otherwise, and the engine's name for it.
func typeKind(contentType string) (kind, string) {
	e := essence(contentType)
	top, sub, _ := strings.Cut(e, "/")
	switch {
	// The engine looks at beginnings, and so do some applications.
	case strings.HasPrefix(e, "application/x-www-form-urlencoded"):
		return kindForm, "URLENCODED"
	case strings.HasPrefix(e, "multipart/form-data"):
		return kindMultipart, "MULTIPART"
	case sub == "json" || strings.HasSuffix(sub, "+json") || manyTexts(e):
		return kindJSON, "JSON"
	case e == "application/graphql":
		return kindGraphQL, ""
	case sub == "xml" || strings.HasSuffix(sub, "+xml"):
		return kindXML, "XML"
	case opaque[top+"/"] || opaque[e]:
		return kindOpaque, ""
	}
	for _, family := range opaqueFamilies {
		if strings.HasPrefix(e, family) {
			return kindOpaque, ""
		}
	}
	return kindRaw, ""
}

// manyTexts reports whether a body of the type is a sequence of JSON texts.
func manyTexts(contentType string) bool {
	_, sub, _ := strings.Cut(essence(contentType), "/")
	return textSequences[strings.TrimPrefix(sub, "x-")] || strings.HasSuffix(sub, "+json-seq")
}

// textSequences are the names of such types, without application/ and x-.
var textSequences = map[string]bool{"ndjson": true, "jsonlines": true, "jsonl": true, "json-seq": true, "json-stream": true}

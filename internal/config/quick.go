package config

import (
	"fmt"
	"os"
	"strings"

	"sallyport/internal/gate"
)

// Quick is the configuration of serve --upstream URL: one application behind
// one listener, every request to it, all else as in an empty file. An empty
// listen is ":8080". Diagnostics name the flags.
func Quick(upstream, listen string) (*Config, gate.Diagnostics) {
	if listen == "" {
		listen = ":8080"
	}
	src := fmt.Sprintf("listeners: [{address: %s}]\npools: {app: {backends: [{url: %s}]}}\nroutes: [{name: all, pool: app}]\n",
		text(strings.ToValidUTF8(listen, "?")), text(strings.ToValidUTF8(upstream, "?")))
	r := newReader("command line", os.LookupEnv)
	r.local = localAddresses()
	c := r.read([]byte(src))
	r.files(c)
	for i, d := range r.diags {
		d.Line, d.Column = 0, 0
		switch {
		case strings.HasPrefix(d.Path, "pools"):
			d.Path = "--upstream"
		case strings.HasPrefix(d.Path, "listeners"), strings.HasPrefix(d.Path, "admin"):
			d.Path = "--listen"
		}
		r.diags[i] = d
	}
	r.places.at = nil
	return r.result(c)
}

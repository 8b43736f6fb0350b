// Command stock is what the gateway is measured beside: the proxy of the
// standard library, by itself or behind Coraza's own middleware with the Core
// Rule Set at level 1. Only the bench runs it.
package main

import (
	"flag"
	"fmt"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"runtime"
	"strings"

	coreruleset "github.com/corazawaf/coraza-coreruleset/v4"
	"github.com/corazawaf/coraza/v3"
	corazahttp "github.com/corazawaf/coraza/v3/http"
)

func main() {
	listen := flag.String("listen", "", "address of the proxy")
	control := flag.String("control", "", "address that tells how much was allocated")
	backend := flag.String("backend", "", "address of the backend")
	rules := flag.Bool("rules", false, "judge requests")
	flag.Parse()

	var h http.Handler = proxy(*backend)
	if *rules {
		waf, err := coraza.NewWAF(coraza.NewWAFConfig().WithRootFS(coreruleset.FS).WithDirectives(directives))
		if err != nil {
			log.Fatal(err)
		}
		h = corazahttp.WrapHandler(waf, h)
	}
	go func() { log.Fatal(http.ListenAndServe(*control, http.HandlerFunc(allocated))) }()
	log.Fatal(http.ListenAndServe(*listen, h))
}

// directives are the Core Rule Set as Coraza documents it. The bodies of
// responses are left alone, as the gateway leaves those that are no errors, and
// nothing is logged.
var directives = strings.Join([]string{
	"Include @coraza.conf-recommended",
	"SecRuleEngine On",
	"SecAuditEngine Off",
	"SecResponseBodyAccess Off",
	"Include @crs-setup.conf.example",
	"Include @owasp_crs/*.conf",
}, "\n")

func proxy(backend string) http.Handler {
	target := &url.URL{Scheme: "http", Host: backend}
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.SetXForwarded()
			r.Out.Host = r.In.Host
		},
		Transport: &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true},
	}
}

// allocated tells it in the words of the gateway's metrics.
func allocated(w http.ResponseWriter, _ *http.Request) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	fmt.Fprintf(w, "go_memstats_mallocs_total %d\n", m.Mallocs)
}

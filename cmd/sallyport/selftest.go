package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"sallyport/internal/config"
	"sallyport/internal/gate"
	"sallyport/internal/gateway"
	"sallyport/internal/selftest"
	"sallyport/internal/server"
	"sallyport/internal/wire"
)

func selftestCommand() *cobra.Command {
	return group("selftest", "Prove on your own set-up what the gateway claims",
		"  sallyport selftest smuggling\n  sallyport selftest smuggling --backend http://127.0.0.1:3000",
		smugglingCommand())
}

// longestSelftest bounds a whole run.
const longestSelftest = 15 * time.Minute

// smuggling is what selftest smuggling was told.
type smuggling struct {
	target, backend string
	insecure, yes   bool
	h2c             bool
	host, listen    string
	run, skip       string
	timeout         time.Duration
	parallel        int
	verbose, asJSON bool
}

func smugglingCommand() *cobra.Command {
	var s smuggling
	cmd := &cobra.Command{
		Use:   "smuggling",
		Short: "Fire ambiguous requests at the gateway, or at your backend, and show what a backend would have seen",
		Long: "Fire the wire corpus, raw connections with what each must be answered, over real sockets: malformed and\n" +
			"ambiguous requests in HTTP/1 and HTTP/2, each with an accepted twin.\n\n" +
			"Without flags: at a gateway in this process, with the strict stage as by default and a capture backend\n" +
			"behind it that writes down every byte. With --target: at a gateway that runs already; with --listen too,\n" +
			"the capture backend is opened there for its pool to point at, otherwise only answers are judged; HTTP/2 is\n" +
			"spoken to https targets that offer it, and to http ones with --h2c. With --backend: everything in HTTP/1\n" +
			"that the gateway refuses, straight at a backend of yours, to learn what it would\n" +
			"have accepted. Exit code 1 tells that something did not hold; with --backend, that it could not be asked.",
		Example: "  sallyport selftest smuggling                                     # this binary\n" +
			"  sallyport selftest smuggling --target https://127.0.0.1:8443 --insecure --host shop.example.org\n" +
			"  sallyport selftest smuggling --target http://127.0.0.1:8080 --listen 127.0.0.1:9099\n" +
			"  sallyport selftest smuggling --backend http://127.0.0.1:3000     # what it would accept\n" +
			"  sallyport selftest smuggling --run '^http.te_|^http.chunk_' -v",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), longestSelftest)
			defer cancel()
			return s.start(ctx, cmd)
		},
	}
	f := cmd.Flags()
	f.StringVar(&s.target, "target", "", "URL of a gateway that runs already")
	f.StringVar(&s.listen, "listen", "", "with --target: where the capture backend listens, for the gateway's pool to point at")
	f.StringVar(&s.backend, "backend", "", "URL of a backend to ask directly")
	f.BoolVar(&s.insecure, "insecure", false, "do not verify the certificate")
	f.BoolVar(&s.yes, "yes", false, "go on although the target is not on loopback: it gets hundreds of malformed requests, so name only what is yours")
	f.BoolVar(&s.h2c, "h2c", false, "with --target http://…: it speaks HTTP/2 without TLS too")
	f.StringVar(&s.host, "host", "", "Host to send in place of the corpus' a.example")
	f.StringVar(&s.run, "run", "", "only cases whose name matches this regular expression")
	f.StringVar(&s.skip, "skip", "", "no cases whose name matches this regular expression")
	f.DurationVar(&s.timeout, "timeout", 0, "how long one case may take (default 10s, with --backend 2s)")
	f.IntVar(&s.parallel, "parallel", 0, "cases under way at a time (default 4, with --backend 8; one where bytes are captured)")
	f.BoolVarP(&s.verbose, "verbose", "v", false, "every case")
	f.BoolVar(&s.asJSON, "json", false, "one JSON document, described in docs/selftest.md")
	return cmd
}

// start judges the flags, runs, and prints.
func (s *smuggling) start(ctx context.Context, cmd *cobra.Command) error {
	switch {
	case s.target != "" && s.backend != "":
		return usagef("--target and --backend exclude each other")
	case s.listen != "" && s.target == "":
		return usagef("--listen needs --target: it is where the pool of that gateway is pointed at")
	case s.h2c && !strings.HasPrefix(s.target, "http://"):
		return usagef("--h2c needs --target http://…: over https, HTTP/2 is negotiated")
	case s.host != "" && s.target+s.backend == "":
		return usagef("--host needs --target or --backend")
	case strings.ContainsFunc(s.host, func(r rune) bool { return r <= ' ' || r >= 0x7f }):
		return usagef("--host %q is not a host name", s.host)
	case s.timeout < 0 || s.parallel < 0 || s.parallel > 64:
		return usagef("--timeout is a duration, and --parallel a number up to 64")
	}
	cases, err := s.cases()
	if err != nil {
		return err
	}
	o := selftest.Options{Cases: cases, Host: s.host, Timeout: s.timeout, Parallel: s.parallel, Progress: progress(cmd.ErrOrStderr())}
	var rep *selftest.Report
	switch {
	case s.target != "":
		rep, err = s.atTarget(ctx, cmd.ErrOrStderr(), o)
	case s.backend != "":
		rep, err = s.atBackend(ctx, o)
	default:
		rep, err = atOwn(ctx, o)
	}
	if err != nil {
		return err
	}
	if s.asJSON {
		err = printJSON(cmd, rep)
	} else {
		err = rep.Print(cmd.OutOrStdout(), s.verbose)
	}
	if err == nil && !rep.Held() {
		err = errFound
	}
	return err
}

// cases are those that --run and --skip leave.
func (s *smuggling) cases() ([]wire.Case, error) {
	run, err := regexp.Compile(s.run)
	if err != nil {
		return nil, usagef("--run: %w", err)
	}
	skip, err := regexp.Compile(s.skip)
	if err != nil {
		return nil, usagef("--skip: %w", err)
	}
	cases, err := wire.All()
	if err != nil {
		return nil, err
	}
	cases = slices.DeleteFunc(cases, func(c wire.Case) bool {
		return s.backend != "" && c.Protocol != wire.HTTP1 || !run.MatchString(c.Name) || s.skip != "" && skip.MatchString(c.Name)
	})
	if len(cases) == 0 {
		return nil, usagef("no case has such a name")
	}
	return cases, nil
}

// endpoint reads a URL and refuses what is not on this machine, unless told.
func (s *smuggling) endpoint(ctx context.Context, flag, url string) (selftest.Endpoint, error) {
	to, err := selftest.ParseURL(url, s.host, s.insecure)
	if err != nil {
		return to, usagef("%s: %w", flag, err)
	}
	near, err := to.Loopback(ctx)
	if err == nil && !near && !s.yes {
		err = usagef("%s %s is not on loopback: this sends hundreds of malformed requests, so aim only at what is yours, and say --yes", flag, url)
	}
	return to, err
}

func (s *smuggling) atTarget(ctx context.Context, stderr io.Writer, o selftest.Options) (rep *selftest.Report, err error) {
	if o.To, err = s.endpoint(ctx, "--target", s.target); err != nil {
		return nil, err
	}
	if o.HTTP2, o.NoHTTP2, err = s.http2(ctx, o.To); err != nil {
		return nil, err
	}
	if s.listen != "" {
		if o.Capture, err = selftest.Listen(ctx, s.listen); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, o.Capture.Close()) }()
		fmt.Fprintf(stderr, "The capture backend listens on %s. The gateway's pool: {backends: [{url: \"http://%[1]s\"}]}, without health checks.\n", o.Capture.Address())
	}
	return selftest.Gateway(ctx, o)
}

// http2 is where the cases in HTTP/2 go, or why they go nowhere.
func (s *smuggling) http2(ctx context.Context, to selftest.Endpoint) (at *selftest.Endpoint, why string, err error) {
	switch {
	case s.h2c:
		return &to, "", nil
	case to.TLS == nil:
		return nil, "without TLS it takes --h2c", nil
	}
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(s.timeout, 10*time.Second))
	defer cancel()
	if at, err = to.OffersHTTP2(ctx); err != nil {
		return nil, "", fmt.Errorf("%s: %w", to.Address, err)
	}
	return at, "the target does not offer h2 by ALPN", nil
}

// atBackend asks the backend, and this binary's gateway about the same cases,
// so that what is said of both was measured.
func (s *smuggling) atBackend(ctx context.Context, o selftest.Options) (*selftest.Report, error) {
	to, err := s.endpoint(ctx, "--backend", s.backend)
	if err != nil {
		return nil, err
	}
	own := selftest.Options{Cases: slices.DeleteFunc(slices.Clone(o.Cases), func(c wire.Case) bool { return !c.Refused() })}
	o.To = to
	rep, err := selftest.Backend(ctx, o)
	if err != nil {
		return nil, err
	}
	gw, err := atOwn(ctx, own)
	if err != nil {
		return nil, err
	}
	rep.Gateway = gw.Counts
	return rep, nil
}

// ownHTTP2 is where the gateway that is tested without --target speaks HTTP/2.
const ownHTTP2 = "[::ffff:127.0.0.1]:0"

// ownConfig is the gateway that is tested without --target: the strict stage as
// by default, and no other that could refuse. Listeners are told apart by their
// addresses, so that the second has the same one in another spelling.
const ownConfig = `listeners: [{address: "127.0.0.1:0"}, {address: "` + ownHTTP2 + `", protocols: [h2c]}]
http: {methods: [%s]}
limits: []
policies: {default: {mode: off}}
pools: {capture: {backends: [{url: "http://%s"}], eject: {errors: 0}}}
routes: [{name: all, pool: capture}]
audit: {path: audit.jsonl}
admin: {address: ""}
`

// atOwn runs the corpus against a gateway in this process.
func atOwn(ctx context.Context, o selftest.Options) (rep *selftest.Report, err error) {
	if o.Capture, err = selftest.Listen(ctx, "127.0.0.1:0"); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, o.Capture.Close()) }()
	dir, err := os.MkdirTemp("", "sallyport-selftest-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	var methods []string
	for _, m := range selftest.Methods(o.Cases) {
		methods = append(methods, strconv.Quote(m))
	}
	text := fmt.Sprintf(ownConfig, strings.Join(methods, ", "), o.Capture.Address())
	records := selftest.NewRecords()
	gw := gateway.New(gateway.Options{
		Load: func() (*config.Config, gate.Diagnostics) {
			return config.Parse(filepath.Join(dir, "sallyport.yaml"), []byte(text), os.LookupEnv)
		},
		Version: version, Also: records, Log: zap.NewNop(),
	})
	srv := server.New(server.Options{
		Build:  func(n uint64) (server.Generation, error) { return gw.Build(n) },
		Record: gw.Record, Metrics: gw.Metrics(), Version: version, Log: zap.NewNop(),
	})
	gw.Watch(srv)
	if err := srv.Start(); err != nil {
		return nil, errors.Join(err, gw.Close())
	}
	defer func() { err = errors.Join(err, srv.Shutdown(), gw.Close()) }()
	for name, a := range srv.Addresses() {
		if name == ownHTTP2 {
			o.HTTP2 = &selftest.Endpoint{Address: a.String()}
		} else {
			o.To = selftest.Endpoint{Address: a.String()}
		}
	}
	o.Own, o.Reason, o.Ended = true, records.Reason, records.Ended
	return selftest.Gateway(ctx, o)
}

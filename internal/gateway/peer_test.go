//go:build integration

package gateway_test

import (
	"bytes"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A peer is a server from Debian's packages that runs behind the gateway, as a
// proxy in front of an origin, without touching any system path.
type peer struct {
	name    string
	binary  string   // in PATH, or where Debian has it
	ask     string   // the flag that makes it tell its version
	args    []string // with the directory and the file in place of $DIR and $FILE
	config  string   // with $PORT, $ORIGIN, $DIR and $USER
	stdout  bool     // the access log is standard output; otherwise $DIR/access.log
	decode  func(string) string
	user    string // what $USER becomes when root runs the test
	goodbye syscall.Signal
}

var nginx = peer{
	name: "nginx", binary: "/usr/sbin/nginx", ask: "-v",
	args: []string{"-p", "$DIR", "-e", "$DIR/error.log", "-c", "$FILE"},
	config: `
daemon off;
master_process off;
pid $DIR/nginx.pid;
events { worker_connections 256; }
http {
  log_format sight escape=none '$http_x_request_id $status $request';
  access_log $DIR/access.log sight;
  large_client_header_buffers 8 128k;
  client_max_body_size 0;
  client_body_temp_path $DIR/body;
  proxy_temp_path $DIR/proxy;
  fastcgi_temp_path $DIR/fastcgi;
  uwsgi_temp_path $DIR/uwsgi;
  scgi_temp_path $DIR/scgi;
  upstream origin { server $ORIGIN; keepalive 4; }
  server {
    listen 127.0.0.1:$PORT;
    location / {
      proxy_pass http://origin;
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header Connection "";
    }
  }
}
`,
	decode:  func(s string) string { return s },
	goodbye: syscall.SIGTERM,
}

var haproxy = peer{
	name: "haproxy", binary: "/usr/sbin/haproxy", ask: "-v", stdout: true,
	args: []string{"-db", "-f", "$FILE"},
	config: `
global
  log stdout len 65535 format raw local0
  tune.bufsize 131072
  tune.http.logurilen 65535
  tune.http.maxhdr 512
defaults
  mode http
  log global
  option dontlognull
  timeout client 30s
  timeout server 30s
  timeout connect 5s
frontend gateway
  bind 127.0.0.1:$PORT
  http-request capture req.hdr(X-Request-Id) len 64
  log-format "%[capture.req.hdr(0)] %ST %r"
  default_backend origin
backend origin
  server origin $ORIGIN
`,
	decode:  func(s string) string { return unescape(s, "#", "") },
	goodbye: syscall.SIGTERM,
}

var apache = peer{
	name: "apache", binary: "/usr/sbin/apache2", ask: "-v",
	args: []string{"-d", "$DIR", "-f", "$FILE", "-DFOREGROUND"},
	config: `
ServerRoot $DIR
ServerName localhost
DefaultRuntimeDir $DIR
PidFile $DIR/apache.pid
Listen 127.0.0.1:$PORT
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule proxy_module /usr/lib/apache2/modules/mod_proxy.so
LoadModule proxy_http_module /usr/lib/apache2/modules/mod_proxy_http.so
$USER
ErrorLog $DIR/error.log
LogFormat "%{X-Request-Id}i %>s %r" sight
CustomLog $DIR/access.log sight
StartServers 1
ServerLimit 1
ThreadsPerChild 16
MaxRequestWorkers 16
LimitRequestLine 65536
LimitRequestFieldSize 131072
LimitRequestFields 512
AllowEncodedSlashes NoDecode
MergeSlashes Off
ProxyPreserveHost On
ProxyPassMatch ^(/.*)$ http://$ORIGIN$1 nocanon
`,
	decode:  func(s string) string { return unescape(s, `\x`, `\`) },
	user:    "User nobody\nGroup nogroup",
	goodbye: syscall.SIGTERM,
}

// unescape undoes the escapes of an access log: a mark and two hexadecimal
// digits for one byte, and another mark in front of what stands for itself.
func unescape(s, hex, plain string) string {
	var b strings.Builder
	for s != "" {
		if digits, ok := strings.CutPrefix(s, hex); ok && len(digits) >= 2 {
			if n, err := strconv.ParseUint(digits[:2], 16, 8); err == nil {
				b.WriteByte(byte(n))
				s = digits[2:]
				continue
			}
		}
		if rest, ok := strings.CutPrefix(s, plain); ok && plain != "" && rest != "" {
			s = rest
		}
		b.WriteByte(s[0])
		s = s[1:]
	}
	return b.String()
}

// demand skips the test where the peer is not installed, or fails it where
// SALLYPORT_PEERS says that all of them must be.
func (p peer) demand(t *testing.T) {
	t.Helper()
	_, err := os.Stat(p.binary)
	switch {
	case err == nil:
	case os.Getenv("SALLYPORT_PEERS") == "required":
		t.Fatalf("%s is required and not installed: %v", p.name, err)
	default:
		t.Skipf("%s is not installed (%v); make peers installs it", p.name, err)
	}
}

// version is the first line that the peer tells about itself.
func (p peer) version(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), p.binary, p.ask).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v", p.name, err)
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return line
}

// A runningPeer is a peer as a process of this test.
type runningPeer struct {
	address string
	log     *accessLog
	cmd     *exec.Cmd
	signal  syscall.Signal
	ended   chan error
	stderr  bytes.Buffer
	dir     string
}

// start runs the peer in the foreground until the test ends.
func (p peer) start(t *testing.T, origin string) *runningPeer {
	t.Helper()
	run := &runningPeer{dir: t.TempDir(), signal: p.goodbye, ended: make(chan error, 1)}
	run.address = freeAddress(t)
	as := ""
	if me, err := user.Current(); err == nil && me.Uid == "0" {
		as = p.user
	}
	file := filepath.Join(run.dir, p.name+".conf")
	fill := strings.NewReplacer("$DIR", run.dir, "$FILE", file, "$ORIGIN", origin, "$PORT", run.address[strings.LastIndexByte(run.address, ':')+1:], "$USER", as)
	if err := os.WriteFile(file, []byte(fill.Replace(p.config)), 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := os.OpenFile(filepath.Join(run.dir, "access.log"), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	at := int64(0)
	run.log = &accessLog{decode: p.decode, read: func() ([]byte, error) {
		b, err := io.ReadAll(io.NewSectionReader(log, at, 1<<30))
		at += int64(len(b))
		return b, err
	}}
	args := make([]string, len(p.args))
	for i, a := range p.args {
		args[i] = fill.Replace(a)
	}
	run.cmd = exec.Command(p.binary, args...)
	run.cmd.Dir, run.cmd.Stderr = run.dir, &run.stderr
	if p.stdout {
		run.cmd.Stdout = log
	}
	if err := run.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { run.ended <- run.cmd.Wait() }()
	t.Cleanup(func() { run.stop(t) })
	run.await(t)
	return run
}

// await returns when the peer takes connections.
func (r *runningPeer) await(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		select {
		case err := <-r.ended:
			r.ended = nil
			t.Fatalf("%s ended: %v: %s%s", r.cmd.Path, err, r.stderr.Bytes(), r.errors())
		default:
		}
		if c, err := net.Dial("tcp", r.address); err == nil {
			c.Close()
			return
		}
	}
	t.Fatalf("%s does not listen on %s", r.cmd.Path, r.address)
}

// stop ends the peer, after which its log is complete.
func (r *runningPeer) stop(t *testing.T) {
	t.Helper()
	if r.ended == nil {
		return
	}
	_ = r.cmd.Process.Signal(r.signal) // one that has ended by itself shows below
	select {
	case <-r.ended:
	case <-time.After(10 * time.Second):
		_ = r.cmd.Process.Kill()
		t.Errorf("%s did not end: %s", r.cmd.Path, r.stderr.Bytes())
	}
	r.ended = nil
}

func (r *runningPeer) errors() []byte {
	b, _ := os.ReadFile(filepath.Join(r.dir, "error.log")) // where it has one
	return b
}

// freeAddress is an address that nobody listens on right now.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

package main

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	coreruleset "github.com/corazawaf/coraza-coreruleset/v4"
)

// notInstalled is what to do about it.
const notInstalled = "nginx with ModSecurity is not installed (`apt-get install nginx libnginx-mod-http-modsecurity`)"

// findNginx is nginx with libmodsecurity as Debian packages them, and the same
// Core Rule Set as the others have. Where it is missing, the text says why.
func findNginx(ctx context.Context, dir, backend string) (*server, string) {
	program, err := exec.LookPath("nginx")
	if err != nil {
		if program, err = exec.LookPath("/usr/sbin/nginx"); err != nil {
			return nil, notInstalled
		}
	}
	built, err := exec.CommandContext(ctx, program, "-V").CombinedOutput()
	if err != nil {
		return nil, fmt.Sprintf("nginx -V: %v", err)
	}
	argument := func(name string) string {
		if m := regexp.MustCompile(`--` + name + `=(\S+)`).FindSubmatch(built); m != nil {
			return string(m[1])
		}
		return ""
	}
	module := filepath.Join(argument("modules-path"), "ngx_http_modsecurity_module.so")
	recommended := filepath.Join(filepath.Dir(argument("conf-path")), "modsecurity.conf")
	for _, name := range []string{module, recommended} {
		if _, err := os.Stat(name); err != nil {
			return nil, notInstalled
		}
	}
	home := filepath.Join(dir, "nginx")
	if err := writeRules(home); err != nil {
		return nil, err.Error()
	}
	s := &server{name: "nginx, libmodsecurity", short: "nginx", judges: true, tolerated: 0.05, address: freeAddress()}
	s.command = []string{program, "-p", home, "-c", filepath.Join(home, "nginx.conf")}
	for name, text := range map[string]string{
		"nginx.conf":       fmt.Sprintf(nginxConf, module, s.address, home, backend),
		"modsecurity.conf": fmt.Sprintf(modsecurityConf, recommended, home),
	} {
		if err := os.WriteFile(filepath.Join(home, name), []byte(text), 0o600); err != nil {
			return nil, err.Error()
		}
	}
	if text, err := exec.CommandContext(ctx, program, "-t", "-p", home, "-c", filepath.Join(home, "nginx.conf")).CombinedOutput(); err != nil {
		return nil, fmt.Sprintf("nginx does not take its configuration: %s", text)
	}
	if m := regexp.MustCompile(`nginx/\S+`).Find(built); m != nil {
		s.version = string(m)
	}
	return s, ""
}

// writeRules writes the embedded rules as files that libmodsecurity reads: it
// includes no name with an at sign, and takes what follows a rule without
// actions for its actions unless an empty line comes first.
func writeRules(dir string) error {
	return fs.WalkDir(coreruleset.FS, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to := filepath.Join(dir, filepath.FromSlash(strings.ReplaceAll(name, "@", "")))
		if d.IsDir() {
			return os.MkdirAll(to, 0o700)
		}
		text, err := fs.ReadFile(coreruleset.FS, name)
		if err != nil {
			return err
		}
		if strings.HasSuffix(name, ".conf") {
			text = bytes.ReplaceAll(text, []byte("\nSecRule "), []byte("\n\nSecRule "))
		}
		return os.WriteFile(to, text, 0o600)
	})
}

// nginxConf takes the module, the address, the directory and the backend. A
// single process does all the work. Bodies stay in memory, connections are
// kept, and nothing but warnings is logged.
const nginxConf = `load_module %[1]s;
daemon off;
master_process off;
pid nginx.pid;
error_log %[3]s/error.log warn;
events { worker_connections 1024; }
http {
	access_log off;
	client_max_body_size 16m;
	client_body_buffer_size 256k;
	large_client_header_buffers 4 16k;
	client_body_temp_path %[3]s/client;
	proxy_temp_path %[3]s/proxy;
	fastcgi_temp_path %[3]s/fastcgi;
	uwsgi_temp_path %[3]s/uwsgi;
	scgi_temp_path %[3]s/scgi;
	keepalive_requests 1000000;
	upstream app { server %[4]s; keepalive 32; keepalive_requests 1000000; }
	server {
		listen %[2]s;
		modsecurity on;
		modsecurity_rules_file %[3]s/modsecurity.conf;
		location / {
			proxy_pass http://app;
			proxy_http_version 1.1;
			proxy_set_header Connection "";
			proxy_set_header Host $host;
			proxy_set_header X-Forwarded-For $remote_addr;
		}
	}
}
`

// modsecurityConf takes the settings that the package recommends and the
// directory with the rules.
const modsecurityConf = `Include %[1]s
SecRuleEngine On
SecStatusEngine Off
SecAuditEngine Off
SecAuditLog %[2]s/audit.log
SecResponseBodyAccess Off
Include %[2]s/crs-setup.conf.example
Include %[2]s/owasp_crs/*.conf
`

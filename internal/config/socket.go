package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"sallyport/internal/server"
)

const (
	// unixPrefix begins the address of a Unix socket, before its path.
	unixPrefix = "unix:"
	// unixPeers is the word for those who connect by one, where peers are
	// listed: they have no address.
	unixPeers = "unix"
	// maxSocketPath is how long the path of a socket may be, in bytes: what
	// every system takes, less what the gateway adds while it makes one.
	maxSocketPath = 100
	// defaultSocketMode lets a proxy of the same group connect.
	defaultSocketMode fs.FileMode = 0o660
)

// socketFile resolves the path of a Unix socket.
func (r *reader) socketFile(text string) (string, error) {
	if text == "" {
		return "", &problem{"no path", "write unix:/path/of/socket"}
	}
	path, err := r.file(text)
	if err == nil && len(path) > maxSocketPath {
		err = &problem{fmt.Sprintf("the path of a Unix socket is at most %d bytes long, and this is %d", maxSocketPath, len(path)), "choose a shorter directory"}
	}
	return path, err
}

// socket reads what belongs to a listener because of the kind of its socket.
func (r *reader) socket(o *object, l *server.Listener) {
	path, unix := strings.CutPrefix(l.Address, unixPrefix)
	if unix && path != "" {
		l.Mode = defaultSocketMode
	}
	mode := l.Mode
	if set(o, "mode", &mode, parseMode) {
		if l.Mode = mode; !unix && l.Address != "" {
			r.fail(o.join("mode"), "only a Unix socket has permissions", "remove the key, or write the address as unix:/path/of/socket")
		}
	}
	at := o.join("proxy_protocol")
	l.ProxyProtocol, l.ProxyProtocolUnix = r.peers(o, "proxy_protocol")
	switch {
	case l.Address == "" || r.within(at):
	case unix && len(l.ProxyProtocol) > 0:
		r.fail(at, "who connects by a Unix socket has no address", "write [unix]")
	case !unix && l.ProxyProtocolUnix:
		r.fail(at, "nobody connects to an address by a Unix socket", "write the addresses of the balancers")
	}
}

// parseMode accepts permissions in octal. The gateway's own user must be able
// to connect, or nobody could tell that the socket is in use.
func parseMode(s string) (fs.FileMode, error) {
	n, err := strconv.ParseUint(s, 8, 32)
	if err != nil || len(s) < 3 || len(s) > 4 || n > 0o777 || n&0o600 != 0o600 {
		return 0, &problem{fmt.Sprintf("bad permissions %q", s), `write them in octal, from 0600 to 0777: "0660" lets the group connect`}
	}
	return fs.FileMode(n), nil
}

// A peer is an entry of a list of those who connect.
type peer struct {
	prefix netip.Prefix
	unix   bool
}

// peers reads a list of those who are trusted to say who is calling: addresses,
// prefixes, and the word unix. It warns of prefixes that are wider than
// anybody's own network.
func (r *reader) peers(o *object, key string) (prefixes []netip.Prefix, unix bool) {
	var list []peer
	setList(o, key, &list, func(s string) (peer, error) {
		if s == unixPeers {
			return peer{unix: true}, nil
		}
		p, err := parsePrefix(s)
		return peer{prefix: p}, err
	})
	path := o.join(key)
	told := r.within(path) // then the indexes are not those of the file
	for i, p := range list {
		if p.unix {
			unix = true
			continue
		}
		prefixes = append(prefixes, p.prefix)
		if !told && wide(p.prefix) {
			who := "whoever is in " + p.prefix.String()
			if p.prefix.Bits() == 0 {
				who = "everybody"
			}
			r.warn(fmt.Sprintf("%s[%d]", path, i), who+" is trusted to say who is calling: limits, geo rules and records believe any address that they name",
				"list your own proxies only")
		}
	}
	return prefixes, unix
}

// wide tells whether a prefix is wider than any network of one's own: the
// largest private one of IPv4 is a /8. All of IPv6's private and link-local
// addresses may be meant.
func wide(p netip.Prefix) bool {
	if p.Addr().Is4() {
		return p.Bits() < 8
	}
	own := p.Bits() >= 7 && p.Addr().IsPrivate() || p.Bits() >= 10 && p.Addr().IsLinkLocalUnicast()
	return p.Bits() < 16 && !own
}

// socketBackend accepts the path of the Unix socket that a backend listens on.
func (r *reader) socketBackend(path string) (*url.URL, error) {
	path, err := r.socketFile(path)
	if err != nil {
		return nil, err
	}
	return &url.URL{Scheme: "unix", Opaque: path}, nil
}

// checkSockets judges what Unix sockets mean for who is calling.
func (r *reader) checkSockets(c *Config) {
	sockets := false
	for i, l := range c.Server.Listeners {
		if !strings.HasPrefix(l.Address, unixPrefix) {
			continue
		}
		sockets = true
		at := fmt.Sprintf("listeners[%d]", i)
		switch {
		case c.Client.TrustUnix && l.Mode&0o002 != 0:
			r.warn(at+".mode", "everybody on this machine may connect, and is believed: clients.trusted_proxies lists unix", "write 0660")
		case !c.Client.TrustUnix && !l.ProxyProtocolUnix && !r.within("clients.trusted_proxies"):
			r.warn(at+".address", "nobody who connects here has an address: all of them share one budget",
				"list unix in clients.trusted_proxies, or in proxy_protocol of the listener")
		}
	}
	if c.Client.TrustUnix && !sockets && !r.within("listeners") {
		r.warn("clients.trusted_proxies", "unix is without effect: no listener is a Unix socket", "")
	}
}

// socketPlace judges whether a socket can be made where it is to be.
func (r *reader) socketPlace(at, address string) {
	path, ok := strings.CutPrefix(address, unixPrefix)
	if !ok || path == "" {
		return
	}
	dir := filepath.Dir(path)
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		r.fail(at, "there is no directory "+dir, "create it")
		return
	}
	if info, err := os.Lstat(path); err == nil && info.Mode()&fs.ModeSocket == 0 {
		r.fail(at, path+" is there, and no socket", "choose another name, or remove it")
		return
	}
	f, err := os.CreateTemp(dir, ".sallyport-check-")
	if err == nil {
		err = errors.Join(f.Close(), os.Remove(f.Name()))
	}
	if err != nil {
		r.fail(at, fmt.Sprintf("no socket can be made in %s: %v", dir, cause(err)), "")
	}
}

// socketThere warns of a backend that does not listen: it may start later.
func (r *reader) socketThere(at, path string) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		r.warn(at, fmt.Sprintf("cannot find the socket %s: %v", path, cause(err)), "the backend fails until the application has made it")
	case info.Mode()&fs.ModeSocket == 0:
		r.warn(at, path+" is no socket", "name the one that the application listens on")
	}
}

package server

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// header2 builds a version 2 header: command, family, addresses and
// extensions, with the right length.
func header2(command, family byte, payload ...[]byte) []byte {
	all := bytes.Join(payload, nil)
	b := append([]byte(proxySignature), command, family)
	return append(binary.BigEndian.AppendUint16(b, uint16(len(all))), all...)
}

// addresses4 and addresses6 are source and destination with ports.
func addresses4(source string, port uint16) []byte {
	from, to := netip.MustParseAddr(source).As4(), netip.MustParseAddr("10.0.0.1").As4()
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(append(from[:], to[:]...), port), 443)
}

func addresses6(source string, port uint16) []byte {
	from, to := netip.MustParseAddr(source).As16(), netip.MustParseAddr("2001:db8::1").As16()
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(append(from[:], to[:]...), port), 443)
}

// extension is one type-length-value of version 2.
func extension(kind byte, value string) []byte {
	return append(binary.BigEndian.AppendUint16([]byte{kind}, uint16(len(value))), value...)
}

// summed fills in the checksum of a header that ends in an empty one.
func summed(b []byte) []byte {
	sum := crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))
	return binary.BigEndian.AppendUint32(b[:len(b)-4:len(b)-4], sum)
}

const (
	local = 0x20
	proxy = 0x21
	tcp4  = 0x11
	tcp6  = 0x21
	unix  = 0x31
)

// accepted are headers with the source that they name; "": none.
func accepted() map[string]struct {
	header []byte
	source string
} {
	type header = struct {
		header []byte
		source string
	}
	return map[string]header{
		"version 1, IPv4":                           {[]byte("PROXY TCP4 203.0.113.9 10.0.0.1 40000 443\r\n"), "203.0.113.9:40000"},
		"version 1, IPv6":                           {[]byte("PROXY TCP6 2001:db8::9 2001:db8::1 40000 443\r\n"), "[2001:db8::9]:40000"},
		"version 1, IPv6 at its longest":            {[]byte("PROXY TCP6 2001:dbff:ffff:ffff:ffff:ffff:ffff:fff0 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"), "[2001:dbff:ffff:ffff:ffff:ffff:ffff:fff0]:65535"},
		"version 1, mapped":                         {[]byte("PROXY TCP6 ::ffff:203.0.113.9 ::ffff:10.0.0.1 40000 443\r\n"), "203.0.113.9:40000"},
		"version 1, port 0":                         {[]byte("PROXY TCP4 203.0.113.9 10.0.0.1 0 443\r\n"), "203.0.113.9:0"},
		"version 1, unknown":                        {[]byte("PROXY UNKNOWN\r\n"), ""},
		"version 1, unknown with what is no matter": {[]byte("PROXY UNKNOWN ffff::1 ::1 65535 65535\r\n"), ""},
		"version 1, unknown at its longest":         {[]byte("PROXY UNKNOWN " + strings.Repeat("x", 107-len("PROXY UNKNOWN \r\n")) + "\r\n"), ""},
		"version 2, IPv4":                           {header2(proxy, tcp4, addresses4("203.0.113.9", 40000)), "203.0.113.9:40000"},
		"version 2, IPv6":                           {header2(proxy, tcp6, addresses6("2001:db8::9", 40000)), "[2001:db8::9]:40000"},
		"version 2, mapped":                         {header2(proxy, tcp6, addresses6("::ffff:203.0.113.9", 1)), "203.0.113.9:1"},
		"version 2, with extensions":                {header2(proxy, tcp4, addresses4("203.0.113.9", 1), extension(1, "h2"), extension(0xea, "vpce-1"), extension(4, "\x00\x00\x00")), "203.0.113.9:1"},
		"version 2, with a checksum":                {summed(header2(proxy, tcp4, addresses4("203.0.113.9", 1), extension(3, "\x00\x00\x00\x00"))), "203.0.113.9:1"},
		"version 2, with padding before a checksum": {summed(header2(proxy, tcp6, addresses6("2001:db8::9", 1), extension(4, "pad"), extension(3, "\x00\x00\x00\x00"))), "[2001:db8::9]:1"},
		"version 2, as large as it may be":          {header2(proxy, tcp4, addresses4("203.0.113.9", 1), extension(0x28, strings.Repeat("c", maxProxyHeader-16-12-3))), "203.0.113.9:1"},
		"version 2, local":                          {header2(local, 0), ""},
		"version 2, local with addresses":           {header2(local, tcp4, addresses4("203.0.113.9", 1)), ""},
		"version 2, local with what is no matter":   {header2(local, 0, []byte("\xff\xff\xff")), ""},
		"version 2, an unknown kind of client":      {header2(proxy, 0), ""},
		"version 2, a client on a Unix socket":      {header2(proxy, unix, make([]byte, 216)), ""},
	}
}

func TestProxyHeader(t *testing.T) {
	const body = "GET / HTTP/1.1\r\n"
	for rule, tc := range accepted() {
		for _, rest := range []string{body, ""} {
			for _, chunk := range []int{1, 7, 1 << 20} {
				c := &slowConn{text: append(bytes.Clone(tc.header), rest...), chunk: chunk}
				source, after, err := readProxyHeader(c)
				if err != nil {
					t.Errorf("%s, %d bytes at a time: %v", rule, chunk, err)
					continue
				}
				got := ""
				if source.IsValid() {
					got = source.String()
				}
				if got != tc.source {
					t.Errorf("%s, %d bytes at a time: source %q, want %q", rule, chunk, got, tc.source)
				}
				if left, err := io.ReadAll(after); string(left) != rest || err != nil {
					t.Errorf("%s, %d bytes at a time: %q follows (%v), want %q", rule, chunk, left, err, rest)
				}
			}
		}
	}
}

// A header that ends anywhere before its end names nobody, and one whose bytes
// are changed never names somebody else by accident where a checksum is there.
func TestProxyHeaderCut(t *testing.T) {
	for rule, tc := range accepted() {
		for cut := range len(tc.header) {
			_, _, err := readProxyHeader(&slowConn{text: tc.header[:cut], chunk: 1 << 20})
			if err == nil {
				t.Errorf("%s: accepted after %d of %d bytes", rule, cut, len(tc.header))
			}
			if got, want := errors.Is(err, io.EOF), cut == 0; got != want {
				t.Errorf("%s: after %d bytes: %v; io.EOF is for a connection without a byte", rule, cut, err)
			}
		}
	}
	good := accepted()["version 2, with a checksum"].header
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 0x40
		if source, _, err := readProxyHeader(&slowConn{text: bad, chunk: 1 << 20}); err == nil && source.IsValid() && source.String() != accepted()["version 2, with a checksum"].source {
			t.Errorf("with byte %d changed the header names %s", i, source)
		}
	}
}

func TestProxyHeaderRefused(t *testing.T) {
	line := func(s string) []byte { return []byte(s + "\r\n") }
	two := func(command, family byte, payload ...[]byte) []byte { return header2(command, family, payload...) }
	whole := addresses4("203.0.113.9", 1)
	for rule, header := range map[string][]byte{
		"HTTP":                               []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
		"TLS":                                []byte("\x16\x03\x01\x02\x00\x01"),
		"the HTTP/2 preface":                 []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
		"another word":                       line("PROXIED TCP4 203.0.113.9 10.0.0.1 1 2"),
		"lower case":                         line("proxy TCP4 203.0.113.9 10.0.0.1 1 2"),
		"a space in front":                   line(" PROXY TCP4 203.0.113.9 10.0.0.1 1 2"),
		"two spaces":                         line("PROXY  TCP4 203.0.113.9 10.0.0.1 1 2"),
		"a tab":                              line("PROXY TCP4\t203.0.113.9 10.0.0.1 1 2"),
		"a space at the end":                 line("PROXY TCP4 203.0.113.9 10.0.0.1 1 2 "),
		"a bare LF":                          []byte("PROXY TCP4 203.0.113.9 10.0.0.1 1 2\n"),
		"no protocol":                        line("PROXY "),
		"another protocol":                   line("PROXY UDP4 203.0.113.9 10.0.0.1 1 2"),
		"too few words":                      line("PROXY TCP4 203.0.113.9 10.0.0.1 1"),
		"too many words":                     line("PROXY TCP4 203.0.113.9 10.0.0.1 1 2 3"),
		"IPv6 where IPv4 is announced":       line("PROXY TCP4 2001:db8::9 2001:db8::1 1 2"),
		"IPv4 where IPv6 is announced":       line("PROXY TCP6 203.0.113.9 10.0.0.1 1 2"),
		"a host name":                        line("PROXY TCP4 client.example 10.0.0.1 1 2"),
		"leading zeroes":                     line("PROXY TCP4 203.0.113.009 10.0.0.1 1 2"),
		"a zone":                             line("PROXY TCP6 fe80::9%eth0 fe80::1 1 2"),
		"a port with a sign":                 line("PROXY TCP4 203.0.113.9 10.0.0.1 +1 2"),
		"a port with zeroes in front":        line("PROXY TCP4 203.0.113.9 10.0.0.1 01 2"),
		"a port beyond all ports":            line("PROXY TCP4 203.0.113.9 10.0.0.1 65536 2"),
		"no port":                            line("PROXY TCP4 203.0.113.9 10.0.0.1  2"),
		"the unspecified address":            line("PROXY TCP4 0.0.0.0 10.0.0.1 1 2"),
		"the unspecified address, mapped":    line("PROXY TCP6 ::ffff:0.0.0.0 ::1 1 2"),
		"a multicast address":                line("PROXY TCP4 224.0.0.1 10.0.0.1 1 2"),
		"a line longer than any":             line("PROXY UNKNOWN " + strings.Repeat("x", 107-len("PROXY UNKNOWN \r\n")+1)),
		"a line without end":                 []byte("PROXY UNKNOWN " + strings.Repeat("x", 10000)),
		"a NUL in the line":                  line("PROXY TCP4 203.0.113.9\x00 10.0.0.1 1 2"),
		"version 3":                          two(0x31, tcp4, whole),
		"version 1 in binary":                two(0x11, tcp4, whole),
		"another command":                    two(0x22, tcp4, whole),
		"another family":                     two(proxy, 0x41, whole),
		"another transport":                  two(proxy, 0x13, whole),
		"datagrams":                          two(proxy, 0x12, whole),
		"datagrams of IPv6":                  two(proxy, 0x22, addresses6("2001:db8::9", 1)),
		"datagrams of Unix sockets":          two(proxy, 0x32, make([]byte, 216)),
		"fewer bytes than its addresses":     two(proxy, tcp4, whole[:11]),
		"IPv6 with the bytes of IPv4":        two(proxy, tcp6, whole),
		"no addresses":                       two(proxy, tcp4),
		"the unspecified address in binary":  two(proxy, tcp4, addresses4("0.0.0.0", 1)),
		"an extension that is cut off":       two(proxy, tcp4, whole, []byte{1, 0, 9, 'h'}),
		"half an extension":                  two(proxy, tcp4, whole, []byte{1, 0}),
		"larger than it may be":              two(proxy, tcp4, whole, extension(0x28, strings.Repeat("c", maxProxyHeader-16-12-3+1))),
		"as large as it can say":             append([]byte(proxySignature), proxy, tcp4, 0xff, 0xff),
		"a wrong checksum":                   two(proxy, tcp4, whole, extension(3, "\x01\x02\x03\x04")),
		"a short checksum":                   two(proxy, tcp4, whole, extension(3, "\x01\x02\x03")),
		"two checksums":                      two(proxy, tcp4, whole, extension(3, "\x00\x00\x00\x00"), extension(3, "\x00\x00\x00\x00")),
		"a signature with a wrong last byte": append([]byte(proxySignature[:11]+"\r"), two(proxy, tcp4, whole)[12:]...),
	} {
		for _, chunk := range []int{1, 1 << 20} {
			c := &slowConn{text: header, chunk: chunk}
			if source, _, err := readProxyHeader(c); err == nil || errors.Is(err, io.EOF) {
				t.Errorf("%s, %d bytes at a time: source %v, %v, want a refusal", rule, chunk, source, err)
			}
			if c.read > maxProxyHeader+512 {
				t.Errorf("%s: %d bytes were read", rule, c.read)
			}
		}
	}
}

// What does not come is waited for no longer than the deadline.
func TestProxyHeaderLate(t *testing.T) {
	for rule, sent := range map[string]string{"nothing": "", "half a line": "PROXY TCP4 203", "half a signature": proxySignature[:6]} {
		synctest.Test(t, func(t *testing.T) {
			here, there := net.Pipe()
			defer there.Close()
			go func() { _, _ = io.WriteString(there, sent) }()
			began := time.Now()
			if err := here.SetReadDeadline(began.Add(10 * time.Second)); err != nil {
				t.Fatal(err)
			}
			_, _, err := readProxyHeader(here)
			if !errors.Is(err, errProxyHeaderLate) || time.Since(began) != 10*time.Second {
				t.Errorf("%s: %v after %s", rule, err, time.Since(began))
			}
		})
	}
}

// FuzzProxyHeader: never more than the bound is read, and what is accepted is
// a header and the bytes after it, in whatever pieces they come.
func FuzzProxyHeader(f *testing.F) {
	for _, tc := range accepted() {
		f.Add(tc.header)
	}
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		whole, after, err := readProxyHeader(&slowConn{text: text, chunk: 1 << 20})
		pieces, after1, err1 := readProxyHeader(&slowConn{text: text, chunk: 1})
		if whole != pieces || (err == nil) != (err1 == nil) {
			t.Fatalf("%q: %v, %v in one piece, %v, %v in many", text, whole, err, pieces, err1)
		}
		if err != nil {
			return
		}
		if a := whole.Addr(); whole.IsValid() && (a.Is4In6() || a.Zone() != "" || a.IsUnspecified()) {
			t.Errorf("%q: source %v is not canonical", text, whole)
		}
		rest, _ := io.ReadAll(after)
		rest1, _ := io.ReadAll(after1)
		if !bytes.Equal(rest, rest1) || !bytes.HasSuffix(text, rest) || len(text)-len(rest) > maxProxyHeader || len(text) == len(rest) {
			t.Errorf("%q: %q and %q follow", text, rest, rest1)
		}
	})
}

// A slowConn yields a text in pieces of at most chunk bytes, and then its end.
type slowConn struct {
	net.Conn
	text  []byte
	chunk int
	read  int
}

func (c *slowConn) Read(p []byte) (int, error) {
	if len(c.text) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.text[:min(len(c.text), c.chunk)])
	c.text = c.text[n:]
	c.read += n
	return n, nil
}

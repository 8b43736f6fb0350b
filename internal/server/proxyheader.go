package server

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/pires/go-proxyproto"
)

// What a PROXY header may take. The specification bounds version 1 at 107
// bytes; version 2 could announce 64 KiB, of which real ones use a few hundred,
// and a client certificate among their extensions two thousand.
const (
	maxProxyLine   = 107
	maxProxyHeader = 4 << 10
)

// How the two versions begin.
const (
	proxyLine      = "PROXY "
	proxySignature = "\r\n\r\n\x00\r\nQUIT\n"
)

var (
	errNoProxyHeader   = errors.New("the connection does not begin with a PROXY header")
	errProxyHeaderLong = errors.New("the PROXY header is longer than any real one")
	errProxyHeaderEnd  = errors.New("the PROXY header is cut off")
	errProxyHeaderLate = errors.New("the PROXY header did not arrive in time")
	errProxyAddress    = errors.New("the PROXY header names an address that nobody has")
	errProxyDatagram   = errors.New("the PROXY header is about datagrams")
	errProxyExtension  = errors.New("an extension of the PROXY header is cut off")
	errProxyChecksum   = errors.New("the checksum of the PROXY header is wrong")
)

// readProxyHeader reads the PROXY header that a connection begins with,
// version 1 or 2, within the connection's deadline. It returns who connected
// to the sender, or the zero AddrPort where the sender does not say (LOCAL,
// UNKNOWN), and a connection that yields what came after the header. The error
// is io.EOF when the connection ended before its first byte.
func readProxyHeader(c net.Conn) (netip.AddrPort, net.Conn, error) {
	buf := make([]byte, 0, 512)
	for {
		size, err := proxyHeaderSize(buf)
		if err != nil {
			return netip.AddrPort{}, nil, err
		}
		if size > 0 && size <= len(buf) {
			source, err := parseProxyHeader(buf[:size])
			if err != nil {
				return netip.AddrPort{}, nil, err
			}
			if len(buf) > size {
				c = &replayed{Conn: c, head: buf[size:]}
			}
			return source, c, nil
		}
		if size > cap(buf) {
			buf = append(make([]byte, 0, size), buf...)
		}
		n, err := c.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		switch {
		case n > 0: // an error will come again
		case err == nil:
		case errors.Is(err, os.ErrDeadlineExceeded):
			return netip.AddrPort{}, nil, errProxyHeaderLate
		case len(buf) > 0:
			return netip.AddrPort{}, nil, errProxyHeaderEnd
		default:
			return netip.AddrPort{}, nil, io.EOF
		}
	}
}

// proxyHeaderSize tells how long the header is that b begins with; 0 when that
// needs more bytes to tell. It refuses as soon as no header can come of it.
func proxyHeaderSize(b []byte) (int, error) {
	text := string(b[:min(len(b), len(proxySignature))])
	switch {
	case text == proxySignature:
		if len(b) < 16 {
			return 0, nil
		}
		size := 16 + int(binary.BigEndian.Uint16(b[14:]))
		if size > maxProxyHeader {
			return 0, errProxyHeaderLong
		}
		return size, nil
	case strings.HasPrefix(text, proxyLine):
		if i := bytes.IndexByte(b[:min(len(b), maxProxyLine)], '\n'); i >= 0 {
			return i + 1, nil
		}
		if len(b) >= maxProxyLine {
			return 0, errProxyHeaderLong
		}
		return 0, nil
	case strings.HasPrefix(proxySignature, text), strings.HasPrefix(proxyLine, text):
		return 0, nil
	}
	return 0, errNoProxyHeader
}

// parseProxyHeader reads a whole header.
func parseProxyHeader(b []byte) (netip.AddrPort, error) {
	two := b[0] == proxySignature[0]
	if two && b[12] == byte(proxyproto.PROXY) && b[13] == byte(proxyproto.UNSPEC) {
		// A client of a kind that the sender has no word for, as UNKNOWN in
		// version 1; the library refuses it, which the specification leaves open.
		return netip.AddrPort{}, nil
	}
	h, err := proxyproto.Read(bufio.NewReaderSize(bytes.NewReader(b), len(b)))
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("PROXY header: %w", err)
	}
	if h.Command.IsLocal() {
		return netip.AddrPort{}, nil // whatever else it says is to be ignored
	}
	source, _, ok := h.TCPAddrs()
	addresses := 0 // of source and destination, after which the extensions of version 2 begin
	switch h.TransportProtocol {
	case proxyproto.TCPv4:
		addresses = 12
	case proxyproto.TCPv6:
		addresses = 36
	case proxyproto.UnixStream:
		addresses = 216
	default:
		return netip.AddrPort{}, errProxyDatagram
	}
	if two {
		if err := checkExtensions(b, 16+addresses); err != nil {
			return netip.AddrPort{}, err
		}
	}
	if !ok { // of a Unix socket
		return netip.AddrPort{}, nil
	}
	ap := source.AddrPort()
	addr := ap.Addr().Unmap().WithZone("")
	if !addr.IsValid() || addr.IsUnspecified() || addr.IsMulticast() {
		return netip.AddrPort{}, errProxyAddress
	}
	return netip.AddrPortFrom(addr, ap.Port()), nil
}

// checkExtensions walks the extensions of a version 2 header, which begin at
// an offset. None of them is used; they have to be whole, and a checksum among
// them has to be right.
func checkExtensions(b []byte, at int) error {
	for at < len(b) {
		value := at + 3 // a type, and two bytes of length
		if value > len(b) || value+int(binary.BigEndian.Uint16(b[at+1:])) > len(b) {
			return errProxyExtension
		}
		end := value + int(binary.BigEndian.Uint16(b[at+1:]))
		if b[at] == byte(proxyproto.PP2_TYPE_CRC32C) && !rightChecksum(b, value, end) {
			return errProxyChecksum
		}
		at = end
	}
	return nil
}

// rightChecksum tells whether the CRC32c that stands in b from value to end is
// that of all of b, counted with zeroes in its place.
func rightChecksum(b []byte, value, end int) bool {
	if end-value != 4 {
		return false
	}
	zeroed := bytes.Clone(b)
	clear(zeroed[value:end])
	return crc32.Checksum(zeroed, crc32.MakeTable(crc32.Castagnoli)) == binary.BigEndian.Uint32(b[value:])
}

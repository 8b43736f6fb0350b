//go:build soak

package main

import (
	"bytes"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// A slow2 is an HTTP/2 connection with prior knowledge and one stream. The
// gateway's settings and pings are answered as a patient client would.
type slow2 struct {
	net.Conn
	framer *http2.Framer
	ended  chan error // why the stream or the connection is over
}

// dial2 connects and opens the connection. The windows of what the gateway
// sends begin with a size.
func (a *attacker) dial2(n int, window uint32) (*slow2, error) {
	raw, err := a.dialRaw(n, a.H2C)
	if err != nil {
		return nil, err
	}
	c := &slow2{Conn: raw, framer: http2.NewFramer(raw, raw), ended: make(chan error, 1)}
	if _, err = io.WriteString(raw, http2.ClientPreface); err == nil {
		err = c.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: window})
	}
	if err == nil {
		// The acknowledgement is due for any settings, so it is sent before
		// they come: this keeps writing in one goroutine.
		err = c.framer.WriteSettingsAck()
	}
	if err != nil {
		raw.Close()
		return nil, err
	}
	go c.read()
	return c, nil
}

// read waits for the end.
func (c *slow2) read() {
	for {
		f, err := c.framer.ReadFrame()
		switch f := f.(type) {
		case *http2.RSTStreamFrame:
			err = errReset
		case *http2.GoAwayFrame:
			err = io.EOF
		case *http2.HeadersFrame:
			if status := statusOf(f.HeaderBlockFragment()); status != 200 {
				err = statusError(status)
			}
		}
		if err != nil {
			c.ended <- err
			return
		}
	}
}

func statusOf(block []byte) (status int) {
	fields, _ := hpack.NewDecoder(4096, nil).DecodeFull(block) // one head a connection: the table is empty
	for _, f := range fields {
		if f.Name == ":status" {
			for _, d := range f.Value {
				status = 10*status + int(d-'0')
			}
		}
	}
	return status
}

// block encodes a request and further fields.
func block(method, path string, fields ...string) []byte {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	fields = append([]string{":method", method, ":scheme", "http", ":path", path, ":authority", "shop.example"}, fields...)
	for i := 0; i < len(fields); i += 2 {
		_ = e.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}) // a buffer takes everything
	}
	return b.Bytes()
}

// each calls f at a pace until it fails or the stream ends.
func (c *slow2) each(open *atomic.Int64, p pace, f func() error) error {
	open.Add(1)
	defer open.Add(-1)
	tick := time.NewTicker(p.every)
	defer tick.Stop()
	for {
		select {
		case err := <-c.ended:
			return err
		case <-tick.C:
			if err := f(); err != nil {
				return err
			}
		}
	}
}

func (a *attacker) slowHead2(n int) error {
	c, err := a.dial2(n, 65535)
	if err != nil {
		return err
	}
	defer c.Close()
	b := block("GET", "/", "x-filler", strings.Repeat("\x7f", 1000))
	const first = 40
	if err := c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndStream: true, BlockFragment: b[:first]}); err != nil {
		return err
	}
	at := first
	return c.each(&a.head, trickle, func() error {
		at++
		return c.framer.WriteContinuation(1, at == len(b), b[at-1:at])
	})
}

func (a *attacker) slowBody2(n int) error {
	c, err := a.dial2(n, 65535)
	if err != nil {
		return err
	}
	defer c.Close()
	b := block("POST", "/", "content-type", "application/x-www-form-urlencoded", "content-length", "1000000")
	if err := c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndHeaders: true, BlockFragment: b}); err != nil {
		return err
	}
	p := paceOf(n / 8)
	piece := bytes.Repeat([]byte("a"), p.bytes)
	return c.each(&a.body, p, func() error { return c.framer.WriteData(1, false, piece) })
}

func (a *attacker) slowRead2(n int) error {
	p := paceOf(n / 8)
	c, err := a.dial2(n, uint32(p.bytes))
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndHeaders: true, EndStream: true, BlockFragment: block("GET", "/big")}); err != nil {
		return err
	}
	return c.each(&a.read, p, func() error { return c.framer.WriteWindowUpdate(1, uint32(p.bytes)) })
}

//go:build soak

package main

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// attackEnv holds the order of the attacking process as JSON.
const attackEnv = "SALLYPORT_TEST_ATTACK"

// An order is what the attacking process is to do until its input ends.
type order struct {
	Plain, TLS, H2C string   // addresses of the gateway
	Kinds           []string // head, body, read
	Each            int      // connections of each kind
	Sources         int      // client addresses that they come from, 127.1.0.1 and up
	Ramp            time.Duration
}

// A tally is what the attacking process tells every second.
type tally struct {
	Head, Body, Read int64            // open now, by kind
	Opened           int64            // so far
	Ends             map[string]int64 // so far, by how the gateway ended them
	CPU              time.Duration    // of the process, so far
}

// The two paces of an attacker: below the rates that are asked for, so that it
// is cut, and just above them, so that it may stay.
var (
	trickle = pace{bytes: 1, every: 3 * time.Second}
	toll    = pace{bytes: 3000, every: 5 * time.Second}
)

// giveUp is when an attacker that cannot see that it was cut comes again.
const giveUp = 13 * time.Second

type pace struct {
	bytes int
	every time.Duration
}

// attacker keeps connections of three kinds open to the gateway.
type attacker struct {
	order
	head, body, read, opened atomic.Int64

	mu   sync.Mutex
	ends map[string]int64
}

// TestAttack is the other process of the tests below: their attackers shall
// not share a scheduler with the clients whose waiting is measured.
func TestAttack(t *testing.T) {
	text := os.Getenv(attackEnv)
	if text == "" {
		t.Skip("started by the other tests, as a process of its own")
	}
	a := &attacker{ends: map[string]int64{}}
	if err := json.Unmarshal([]byte(text), &a.order); err != nil {
		t.Fatal(err)
	}
	kinds := map[string]func(int) error{"head": a.slowHead, "body": a.slowBody, "read": a.slowRead}
	for _, name := range a.Kinds {
		for i := range a.Each {
			go a.keep(func() error { return kinds[name](i) })
		}
	}
	tick := time.NewTicker(time.Second)
	go func() {
		for range tick.C {
			a.tell()
		}
	}()
	_, _ = io.Copy(io.Discard, os.Stdin) // ends with the process that gave the order
}

func (a *attacker) tell() {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // cannot fail for oneself
	a.mu.Lock()
	defer a.mu.Unlock()
	_ = json.NewEncoder(os.Stdout).Encode(tally{
		Head: a.head.Load(), Body: a.body.Load(), Read: a.read.Load(), Opened: a.opened.Load(), Ends: a.ends,
		CPU: time.Duration(u.Utime.Nano() + u.Stime.Nano()),
	})
}

// keep runs one attack after the other.
func (a *attacker) keep(attack func() error) {
	time.Sleep(time.Duration(rand.Int64N(int64(a.Ramp) + 1)))
	for {
		begun := time.Now()
		err := attack()
		a.mu.Lock()
		a.ends[ending(err)]++
		a.mu.Unlock()
		if time.Since(begun) < time.Second { // refused at once: do not spin
			time.Sleep(time.Second)
		}
	}
}

// ending is how an attack ended, in a word.
func ending(err error) string {
	var status statusError
	switch {
	case errors.As(err, &status):
		return fmt.Sprint(int(status))
	case errors.Is(err, errReset):
		return "stream reset"
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.ErrUnexpectedEOF):
		return "closed"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "given up"
	case err == nil:
		return "served"
	}
	return err.Error()
}

var errReset = errors.New("the stream was reset")

// A statusError is an answer where the attacker wanted to go on.
type statusError int

func (s statusError) Error() string { return fmt.Sprintf("status %d", int(s)) }

// dial connects from the address of the nth attacker. One in eight speaks TLS.
func (a *attacker) dial(n int) (net.Conn, *throttle, error) {
	address := a.Plain
	if n%8 == 1 {
		address = a.TLS
	}
	raw, err := a.dialRaw(n, address)
	if err != nil {
		return nil, nil, err
	}
	slow := &throttle{Conn: raw}
	if n%8 != 1 {
		return slow, slow, nil
	}
	c := tls.Client(slow, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	_ = raw.SetDeadline(time.Now().Add(30 * time.Second))
	if err := c.Handshake(); err != nil {
		raw.Close()
		return nil, nil, err
	}
	_ = raw.SetDeadline(time.Time{})
	return c, slow, nil
}

func (a *attacker) dialRaw(n int, address string) (net.Conn, error) {
	source := n % a.Sources
	d := net.Dialer{
		LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 1, byte(source>>8), byte(source)+1)},
		Timeout:   10 * time.Second,
		Control: func(_, _ string, c syscall.RawConn) error {
			return c.Control(func(fd uintptr) {
				// A small window: the gateway is to feel how little is read.
				_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096)
			})
		},
	}
	c, err := d.Dial("tcp", address)
	if err == nil {
		a.opened.Add(1)
	}
	return c, err
}

// A throttle reads only so much at a time once it has a pace.
type throttle struct {
	net.Conn
	pace
}

func (c *throttle) Read(p []byte) (int, error) {
	if c.bytes == 0 {
		return c.Conn.Read(p)
	}
	time.Sleep(c.every)
	return c.Conn.Read(p[:min(len(p), c.bytes)])
}

// paceOf lets every other attacker pay the toll.
func paceOf(n int) pace {
	if n%2 == 0 {
		return trickle
	}
	return toll
}

func (a *attacker) slowHead(n int) error {
	if n%8 == 2 {
		return a.slowHead2(n)
	}
	return a.drip(n, &a.head, trickle, "GET / HTTP/1.1\r\nHost: shop.example\r\nX-Filler: ")
}

func (a *attacker) slowBody(n int) error {
	if n%8 == 2 {
		return a.slowBody2(n)
	}
	return a.drip(n, &a.body, paceOf(n), "POST / HTTP/1.1\r\nHost: shop.example\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 1000000\r\n\r\na=")
}

// drip begins a request and goes on with it at a pace, until something is
// answered.
func (a *attacker) drip(n int, open *atomic.Int64, p pace, begin string) error {
	c, _, err := a.dial(n)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := io.WriteString(c, begin); err != nil {
		return err
	}
	open.Add(1)
	defer open.Add(-1)
	piece := bytes.Repeat([]byte("a"), p.bytes)
	answer := make([]byte, 64)
	for {
		_ = c.SetReadDeadline(time.Now().Add(p.every)) // a pause that an answer ends
		m, err := c.Read(answer)
		switch {
		case m > 0:
			var status statusError
			_, _ = fmt.Sscanf(string(answer[:m]), "HTTP/1.1 %d", &status)
			return status
		case errors.Is(err, os.ErrDeadlineExceeded):
		default:
			return err
		}
		if _, err := c.Write(piece); err != nil {
			return err
		}
	}
}

func (a *attacker) slowRead(n int) error {
	if n%8 == 2 {
		return a.slowRead2(n)
	}
	c, slow, err := a.dial(n)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET /big HTTP/1.1\r\nHost: shop.example\r\n\r\n"); err != nil {
		return err
	}
	a.read.Add(1)
	defer a.read.Add(-1)
	if slow.pace = paceOf(n); slow.pace == trickle {
		// What the kernel still holds of the answer hides from the client that
		// it has been cut: it gives up by itself.
		_ = c.SetReadDeadline(time.Now().Add(giveUp))
	}
	_, err = io.Copy(io.Discard, c)
	return err
}

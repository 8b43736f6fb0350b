package strict_test

import (
	"errors"
	"net"
	"strings"
	"testing"

	"sallyport/internal/strict"
)

// pieces is a connection that keeps each Write apart.
type pieces struct {
	net.Conn
	all  []string
	fail error
}

func (p *pieces) Write(b []byte) (int, error) {
	if p.fail != nil {
		return 0, p.fail
	}
	p.all = append(p.all, string(b))
	return len(b), nil
}

func TestGather(t *testing.T) {
	long := strings.Repeat("x", 40<<10)
	for _, tc := range []struct {
		rule   string
		limits strict.Limits
		play   func(c *strict.Conn)
		want   []string
	}{
		{"what is not gathered goes at once", strict.Limits{}, func(c *strict.Conn) { write(t, c, "a", "b") }, []string{"a", "b"}},
		{"what is gathered goes as one", strict.Limits{}, func(c *strict.Conn) { c.Gather(); write(t, c, "a", "b"); sendAll(t, c); write(t, c, "c") }, []string{"ab", "c"}},
		{"to gather again changes nothing", strict.Limits{}, func(c *strict.Conn) {
			c.Gather()
			write(t, c, "a")
			c.Gather()
			write(t, c, "b")
			sendAll(t, c)
			sendAll(t, c)
		}, []string{"ab"}},
		{"nothing was written", strict.Limits{}, func(c *strict.Conn) { c.Gather(); sendAll(t, c); write(t, c, "a") }, []string{"a"}},
		{"too much to gather", strict.Limits{}, func(c *strict.Conn) { c.Gather(); write(t, c, "a", long, "b"); sendAll(t, c) }, []string{"a", long[:16<<10], long[:16<<10], long[:8<<10], "b"}},
		{"without a limit of time", strict.Limits{WriteRate: -1}, func(c *strict.Conn) { c.Gather(); write(t, c, "a", "b"); sendAll(t, c) }, []string{"ab"}},
	} {
		t.Run(tc.rule, func(t *testing.T) {
			client, served := net.Pipe()
			defer client.Close()
			p := &pieces{Conn: served}
			c := strict.NewConn(p, tc.limits, strict.Hooks{})
			defer c.Close()
			tc.play(c)
			if strings.Join(p.all, "|") != strings.Join(tc.want, "|") {
				t.Errorf("%d writes: %.60q, want %d", len(p.all), p.all, len(tc.want))
			}
		})
	}
}

// What cannot be sent is an error of Send, or of the Write that sends it.
func TestGatherFails(t *testing.T) {
	broken := errors.New("broken")
	client, served := net.Pipe()
	defer client.Close()
	c := strict.NewConn(&pieces{Conn: served, fail: broken}, strict.Limits{}, strict.Hooks{})
	defer c.Close()
	c.Gather()
	write(t, c, "a")
	if err := c.Send(); !errors.Is(err, broken) {
		t.Errorf("Send: %v", err)
	}
	c.Gather()
	write(t, c, "a")
	if _, err := c.Write(make([]byte, 40<<10)); !errors.Is(err, broken) {
		t.Errorf("Write: %v", err)
	}
}

func write(t *testing.T, c *strict.Conn, texts ...string) {
	t.Helper()
	for _, s := range texts {
		if n, err := c.Write([]byte(s)); n != len(s) || err != nil {
			t.Fatalf("Write of %d bytes: %d, %v", len(s), n, err)
		}
	}
}

func sendAll(t *testing.T, c *strict.Conn) {
	t.Helper()
	if err := c.Send(); err != nil {
		t.Fatal(err)
	}
}

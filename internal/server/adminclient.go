package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

// An AdminClient asks the admin endpoint of a gateway that runs.
type AdminClient struct {
	address string
	token   string
	http    *http.Client
}

// maxAnswer bounds what is read of an answer of the admin endpoint.
const maxAnswer = 64 << 20

// NewAdminClient returns a client of the endpoint at an address as
// admin.address has it. The file holds the token; without one only what needs
// no token can be asked.
func NewAdminClient(address, tokenFile string) (*AdminClient, error) {
	if address == "" {
		return nil, errors.New("the gateway has no admin endpoint: admin.address is empty")
	}
	c := &AdminClient{address: address, http: &http.Client{Timeout: 30 * time.Second}}
	switch text, err := os.ReadFile(tokenFile); {
	case err == nil:
		c.token = strings.TrimSpace(string(text))
	case !errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("admin token: %w", err)
	}
	path, unix := strings.CutPrefix(address, "unix:")
	if unix {
		c.address = "localhost"
	} else if host, port, err := net.SplitHostPort(address); err == nil && (host == "" || host == "0.0.0.0" || host == "::") {
		c.address = net.JoinHostPort("localhost", port)
	}
	c.http.Transport = &http.Transport{Proxy: nil, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		if unix {
			network, addr = "unix", path
		}
		return new(net.Dialer).DialContext(ctx, network, addr)
	}}
	return c, nil
}

// Get reads what a path shows into out.
func (c *AdminClient) Get(ctx context.Context, path string, out any) error {
	return c.do(ctx, http.MethodGet, path, nil, out)
}

// Post sends in as JSON and reads the answer into out.
func (c *AdminClient) Post(ctx context.Context, path string, in, out any) error {
	text, err := json.Marshal(in)
	if err != nil {
		return err
	}
	return c.do(ctx, http.MethodPost, path, text, out)
}

func (c *AdminClient) do(ctx context.Context, method, path string, body []byte, out any) error {
	r, err := http.NewRequestWithContext(ctx, method, "http://"+c.address+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return fmt.Errorf("ask the admin endpoint: %w; does the gateway run with this configuration?", err)
	}
	defer resp.Body.Close() //nolint:errcheck // it was read
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("ask the admin endpoint: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		var said struct {
			Detail string `json:"detail"`
		}
		if json.Unmarshal(text, &said) != nil || said.Detail == "" {
			said.Detail = resp.Status
		}
		return errors.New(said.Detail)
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("ask the admin endpoint: %w", err)
	}
	return nil
}

package server

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"time"
)

// maxBanRequest bounds the body of POST /bans.
const maxBanRequest = 4 << 10

// A banRequest is what POST /bans takes: one of the two.
type banRequest struct {
	Add *struct {
		Client netip.Addr `json:"client"`
		For    string     `json:"for"` // 1h30m; empty: one hour
		Reason string     `json:"reason"`
	} `json:"add"`
	Remove *struct {
		Client netip.Addr `json:"client"`
	} `json:"remove"`
}

const (
	defaultBan = time.Hour
	longestBan = 90 * 24 * time.Hour
	maxReason  = 200 // bytes
)

// bans changes who is kept out.
func (a *admin) bans(w http.ResponseWriter, r *http.Request) {
	run := a.server.current.Load()
	if run == nil {
		problem(w, http.StatusServiceUnavailable, "nothing is running yet")
		return
	}
	req, err := readBanRequest(r.Body)
	if err != nil {
		problem(w, http.StatusBadRequest, err.Error())
		return
	}
	if req.Remove != nil {
		if err := run.Unban(req.Remove.Client); err != nil {
			problem(w, http.StatusNotFound, err.Error())
			return
		}
		answerJSON(w, http.StatusOK, map[string]any{"removed": req.Remove.Client})
		return
	}
	length := defaultBan
	if req.Add.For != "" {
		length, err = time.ParseDuration(req.Add.For)
	}
	if err != nil || length < time.Second || length > longestBan {
		problem(w, http.StatusBadRequest, "for: write a time from 1s to 2160h, as in 1h30m")
		return
	}
	ban, err := run.Ban(req.Add.Client, length, req.Add.Reason)
	if err != nil {
		problem(w, http.StatusUnprocessableEntity, err.Error())
		return
	}
	answerJSON(w, http.StatusOK, map[string]any{"added": ban})
}

func readBanRequest(body io.Reader) (banRequest, error) {
	var req banRequest
	d := json.NewDecoder(io.LimitReader(body, maxBanRequest))
	d.DisallowUnknownFields()
	if err := d.Decode(&req); err != nil {
		return req, fmt.Errorf(`send {"add": {"client": "203.0.113.7", "for": "1h", "reason": "..."}} or {"remove": {"client": "203.0.113.7"}}: %w`, err)
	}
	switch {
	case (req.Add == nil) == (req.Remove == nil):
		return req, fmt.Errorf("send either add or remove")
	case req.Add != nil && !req.Add.Client.IsValid() || req.Remove != nil && !req.Remove.Client.IsValid():
		return req, fmt.Errorf("client: write an IP address")
	case req.Add != nil && len(req.Add.Reason) > maxReason:
		return req, fmt.Errorf("reason: at most %d bytes", maxReason)
	}
	return req, nil
}

package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
)

const (
	// maxPoolRequest bounds the body of POST /pools.
	maxPoolRequest = 4 << 10
	maxWeight      = 1000
)

// A poolRequest is what POST /pools takes: one of the three.
type poolRequest struct {
	SetWeight *struct {
		backendName
		Weight *int `json:"weight"` // 0: the backend gets nothing
	} `json:"set_weight"`
	Drain   *backendName `json:"drain"`
	Undrain *backendName `json:"undrain"`
}

type backendName struct {
	Pool    string `json:"pool"`
	Backend string `json:"backend"`
}

// pools changes how much a backend gets, until the configuration says otherwise.
func (a *admin) pools(w http.ResponseWriter, r *http.Request) {
	run := a.server.current.Load()
	if run == nil {
		problem(w, http.StatusServiceUnavailable, "nothing is running yet")
		return
	}
	req, err := readPoolRequest(r.Body)
	if err != nil {
		problem(w, http.StatusBadRequest, err.Error())
		return
	}
	var now any
	switch {
	case req.SetWeight != nil:
		now, err = run.SetWeight(req.SetWeight.Pool, req.SetWeight.Backend, *req.SetWeight.Weight)
	case req.Drain != nil:
		now, err = run.Drain(req.Drain.Pool, req.Drain.Backend, true)
	default:
		now, err = run.Drain(req.Undrain.Pool, req.Undrain.Backend, false)
	}
	if err != nil {
		problem(w, http.StatusNotFound, err.Error())
		return
	}
	answerJSON(w, http.StatusOK, map[string]any{"backend": now})
}

func readPoolRequest(body io.Reader) (poolRequest, error) {
	var req poolRequest
	d := json.NewDecoder(io.LimitReader(body, maxPoolRequest))
	d.DisallowUnknownFields()
	if err := d.Decode(&req); err != nil {
		return req, fmt.Errorf(`send {"drain": {"pool": "app", "backend": "app-1"}}, {"undrain": ...} or {"set_weight": {..., "weight": 3}}: %w`, err)
	}
	var names []*backendName
	if req.SetWeight != nil {
		if w := req.SetWeight.Weight; w == nil || *w < 0 || *w > maxWeight {
			return req, fmt.Errorf("weight: write 0 to %d; 0 takes the backend out", maxWeight)
		}
		names = append(names, &req.SetWeight.backendName)
	}
	for _, n := range []*backendName{req.Drain, req.Undrain} {
		if n != nil {
			names = append(names, n)
		}
	}
	switch {
	case len(names) != 1:
		return req, errors.New("send one of set_weight, drain and undrain")
	case names[0].Pool == "" || names[0].Backend == "":
		return req, errors.New("name both pool and backend")
	}
	return req, nil
}

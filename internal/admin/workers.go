package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// Workers are the inference servers behind the gateway, as operators see and
// change them. The errors are for the operator to read.
type Workers struct {
	// List returns them in their order.
	List func() []Worker
	// Add adds one. No models are all.
	Add func(url string, weight int, models []string) error
	// Drain gives one no new requests.
	Drain func(url string) error
	// Remove drains one and forgets it when its last request has ended.
	Remove func(url string) error
}

// Worker is one inference server at one moment.
type Worker struct {
	URL         string   `json:"url"`
	Weight      int      `json:"weight"`
	Models      []string `json:"models"` // empty: all
	State       string   `json:"state"`
	Why         string   `json:"why,omitempty"` // it is not up
	Breaker     string   `json:"breaker"`
	Resting     float64  `json:"resting_seconds"`
	Outstanding int      `json:"outstanding"`
	Tokens      int64    `json:"outstanding_tokens"`
	Sent        uint64   `json:"sent"`
	Failed      uint64   `json:"failed"`
	Retries     uint64   `json:"retries"`
}

// list answers with the workers.
func (w *Workers) list(out http.ResponseWriter, _ *http.Request) {
	workers := w.List()
	for i := range workers {
		if workers[i].Models == nil {
			workers[i].Models = []string{}
		}
	}
	if workers == nil {
		workers = []Worker{}
	}
	out.Header().Set("Content-Type", "application/json")
	out.Header().Set("X-Content-Type-Options", "nosniff")
	_ = json.NewEncoder(out).Encode(map[string][]Worker{"workers": workers})
}

// change is what a body asks for: one of the three.
type change struct {
	Add *struct {
		URL    string   `json:"url"`
		Weight *int     `json:"weight"` // nil: 1
		Models []string `json:"models"`
	} `json:"add"`
	Drain  *string `json:"drain"`
	Remove *string `json:"remove"`
}

const (
	mostChange = 64 << 10
	changeForm = `{"add": {"url": "http://10.0.0.7:8000", "weight": 1, "models": ["*"]}}, {"drain": URL} or {"remove": URL}`
)

// change does what the body says.
func (w *Workers) change(out http.ResponseWriter, r *http.Request) {
	c, err := parseChange(http.MaxBytesReader(out, r.Body, mostChange))
	did := ""
	switch {
	case err != nil:
	case c.Add != nil:
		weight := 1
		if c.Add.Weight != nil {
			weight = *c.Add.Weight
		}
		did, err = "added", w.Add(c.Add.URL, weight, c.Add.Models)
	case c.Drain != nil:
		did, err = "draining", w.Drain(*c.Drain)
	default:
		did, err = "removed", w.Remove(*c.Remove)
	}
	if err != nil {
		answer(out, http.StatusBadRequest, err.Error())
		return
	}
	answer(out, http.StatusOK, did)
}

// parseChange reads a body, which holds one change and nothing else.
func parseChange(body io.Reader) (change, error) {
	var c change
	d := json.NewDecoder(body)
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		// Of a wrong type the error names ours, which say nothing to who reads it.
		if wrong := (*json.UnmarshalTypeError)(nil); errors.As(err, &wrong) {
			err = fmt.Errorf("no %s belongs at byte %d", wrong.Value, wrong.Offset)
		}
		return change{}, fmt.Errorf("%w: write %s", err, changeForm)
	}
	if _, err := d.Token(); err != io.EOF {
		return change{}, errors.New("one change at a time: write " + changeForm)
	}
	n := 0
	for _, is := range []bool{c.Add != nil, c.Drain != nil, c.Remove != nil} {
		if is {
			n++
		}
	}
	if n != 1 {
		return change{}, errors.New("one change at a time: write " + changeForm)
	}
	return c, nil
}

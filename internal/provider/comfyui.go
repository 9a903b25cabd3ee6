package provider

import (
	"bytes"
	"fmt"

	"github.com/penstock-dev/penstock/internal/provider/jsonpeek"
	"github.com/penstock-dev/penstock/internal/traffic"
)

var (
	comfyTop    = [...]string{"prompt", "prompt_id"}
	comfyInputs = [...]string{"ckpt_name", "unet_name"}
)

var (
	comfyFields      = jsonpeek.NewFields(comfyTop[:]...)
	comfyNodeFields  = jsonpeek.NewFields("inputs")
	comfyInputFields = jsonpeek.NewFields(comfyInputs[:]...)
)

// comfyTree is what is wanted of an answer, which says only that a job was taken:
// its id.
var comfyTree = newTree([]wanted{{"prompt_id", wantType}})

// Job returns the id under which a worker has taken a job; empty where the answer
// is of no job, or has no id that can be told.
func (m *Meter) Job() string {
	if m.kind != traffic.ComfyPrompt || m.format != jsonBody || !m.doc.whole() {
		return ""
	}
	return string(m.doc.found.eventType())
}

// comfyUI reads a body in ComfyUI's dialect: a graph of nodes, which has no
// tokens. Its model is what the first node that loads one loads.
func (r *reading) comfyUI() {
	for top := r.c.Object(comfyFields); top.Next(); {
		if top.Field == jsonpeek.Unknown {
			continue
		}
		if comfyTop[top.Field] == "prompt_id" {
			r.jobID()
			continue
		}
		if r.c.Kind() != jsonpeek.ObjectKind {
			continue
		}
		for graph := r.c.Object(nil); graph.Next(); {
			r.comfyNode()
		}
	}
}

// mostID is how long a job's id may be, so that it can be told from the answer and
// found in the worker's queue. ComfyUI's own have 36 bytes.
const mostID = captureBytes

// jobID reads the id that a client wants its job to have.
func (r *reading) jobID() {
	switch raw := r.c.Raw(); {
	case len(raw) == 0 || raw[0] == 'n': // none is said, or it is no JSON
	case raw[0] != '"' || len(raw) > mostID+2 || bytes.IndexByte(raw, '\\') >= 0:
		r.refuse("prompt_id", fmt.Sprintf("be a string of at most %d bytes without escapes", mostID), raw)
	}
}

func (r *reading) comfyNode() {
	if r.c.Kind() != jsonpeek.ObjectKind {
		return
	}
	for node := r.c.Object(comfyNodeFields); node.Next(); {
		if node.Field == jsonpeek.Unknown || r.c.Kind() != jsonpeek.ObjectKind {
			continue
		}
		for inputs := r.c.Object(comfyInputFields); inputs.Next(); {
			// A link to another node's output is an array.
			if inputs.Field != jsonpeek.Unknown && r.c.Kind() == jsonpeek.String && r.ask.Model == "" {
				r.model(comfyInputs[inputs.Field])
			}
		}
	}
}

package provider

import "github.com/penstock-dev/penstock/internal/provider/jsonpeek"

var comfyInputs = [...]string{"ckpt_name", "unet_name"}

var (
	comfyFields      = jsonpeek.NewFields("prompt")
	comfyNodeFields  = jsonpeek.NewFields("inputs")
	comfyInputFields = jsonpeek.NewFields(comfyInputs[:]...)
)

// comfyTree is what is wanted of an answer, which says only that a job was
// taken: nothing.
var comfyTree = newTree()

// comfyUI reads a body in ComfyUI's dialect: a graph of nodes, which has no
// tokens. Its model is what the first node that loads one loads.
func (r *reading) comfyUI() {
	for top := r.c.Object(comfyFields); top.Next(); {
		if top.Field == jsonpeek.Unknown || r.c.Kind() != jsonpeek.ObjectKind {
			continue
		}
		for graph := r.c.Object(nil); graph.Next(); {
			r.comfyNode()
		}
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

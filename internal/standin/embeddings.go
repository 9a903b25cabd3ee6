package standin

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"math"
	"net/http"
)

// embeddings serves /v1/embeddings: vectors of length 1 that mean nothing, but
// differ.
func (w *Worker) embeddings(a *answer, _ *http.Request) {
	c, err := w.newCall(a, "")
	if err != nil {
		a.refuseFor(err)
		return
	}
	n, err := c.askPrompts("input")
	if err != nil {
		a.refuseFor(err)
		return
	}
	dimensions, err := c.fields.count("dimensions", defaultDimensions, maxDimensions)
	if err != nil {
		a.refuseFor(err)
		return
	}
	encoding, err := c.fields.text("encoding_format")
	if err == nil && encoding != "" && encoding != "float" && encoding != "base64" {
		err = badRequest("encoding_format", "encoding_format must be float or base64.")
	}
	if err != nil {
		a.refuseFor(err)
		return
	}
	c.run(func(*run) error {
		return a.json(http.StatusOK, c.embeddingList(n, dimensions, encoding == "base64"))
	})
}

type embedding struct {
	Object    string `json:"object"`
	Index     int64  `json:"index"`
	Embedding any    `json:"embedding"`
}

type embeddingList struct {
	Object string          `json:"object"`
	Data   []embedding     `json:"data"`
	Model  string          `json:"model"`
	Usage  json.RawMessage `json:"usage,omitempty"`
}

func (c *call) embeddingList(n, dimensions int64, asBase64 bool) embeddingList {
	list := embeddingList{Object: "list", Model: c.model, Data: make([]embedding, n)}
	for i := range n {
		list.Data[i] = embedding{Object: "embedding", Index: i}
		vector := c.vector(dimensions)
		if !asBase64 {
			list.Data[i].Embedding = vector
			continue
		}
		raw := make([]byte, 0, 4*dimensions)
		for _, x := range vector {
			raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(x))
		}
		list.Data[i].Embedding = base64.StdEncoding.EncodeToString(raw)
	}
	list.Usage = c.report(struct {
		PromptTokens figure `json:"prompt_tokens"`
		TotalTokens  figure `json:"total_tokens"`
	}{c.figure(c.input), c.figure(c.input)})
	return list
}

func (c *call) vector(dimensions int64) []float32 {
	wide, sum := make([]float64, dimensions), 0.0
	for i := range wide {
		wide[i] = c.rng.NormFloat64()
		sum += wide[i] * wide[i]
	}
	vector := make([]float32, dimensions)
	for i := range wide {
		vector[i] = float32(wide[i] / math.Sqrt(sum))
	}
	return vector
}

package provider

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/penstock-dev/penstock/internal/traffic"
)

// blocks counts messages and content blocks in Anthropic's dialect.
func (r *modelReading) blocks(v any) {
	switch v := v.(type) {
	case string:
		r.text(v)
	case []any:
		for _, element := range v {
			r.blocks(element)
		}
	case map[string]any:
		for name, field := range v {
			switch name {
			case "type", "role", "id", "tool_use_id", "signature", "data", "cache_control", "citations", "encrypted_content":
			case "content":
				r.blocks(field)
			case "source":
				source, ok := field.(map[string]any)
				if !ok {
					r.anything(field)
					continue
				}
				r.blocks(source["content"])
				if source["type"] == "text" {
					text, _ := source["data"].(string)
					r.text(text)
				} else if source["content"] == nil {
					r.media++
				}
			default:
				r.anything(field)
			}
		}
	}
}

// either returns the value of a field in either spelling; the body is invalid
// when it has both.
func (r *modelReading) either(fields map[string]any, camel string) any {
	snake := ""
	for _, c := range camel {
		if lower := strings.ToLower(string(c)); lower != string(c) {
			snake += "_" + lower
		} else {
			snake += string(c)
		}
	}
	v, ok := fields[camel]
	other, twin := fields[snake]
	if !ok || camel == snake {
		return other
	}
	r.valid = r.valid && !twin
	return v
}

// google counts a body in Google's dialect.
func (r *modelReading) google(all map[string]any, raw map[string]json.RawMessage, most func(any, int64), count func(any)) {
	for _, name := range []string{"contents", "content", "systemInstruction"} {
		r.parts(r.either(all, name))
	}
	r.anything(all["title"])
	for _, item := range list(all["requests"]) {
		if item, ok := item.(map[string]any); ok {
			r.parts(item["content"])
			r.anything(item["title"])
			for _, name := range []string{"systemInstruction", "generationConfig"} {
				r.either(item, name)
			}
		}
	}
	schema := func(raw json.RawMessage) {
		if raw != nil && string(raw) != "null" {
			r.text(string(raw))
		}
	}
	schema(raw["tools"])
	config := r.either(all, "generationConfig")
	fields, ok := config.(map[string]any)
	r.valid = r.valid && (ok || config == nil)
	most(r.either(fields, "maxOutputTokens"), 0)
	count(r.either(fields, "candidateCount"))
	for _, name := range []string{"generationConfig", "generation_config"} {
		var inside map[string]json.RawMessage
		if json.Unmarshal(raw[name], &inside) == nil {
			for _, name := range []string{"responseSchema", "response_schema", "responseJsonSchema", "response_json_schema"} {
				schema(inside[name])
			}
			r.either(fields, "responseSchema")
			r.either(fields, "responseJsonSchema")
		}
	}
}

func (r *modelReading) parts(v any) {
	switch v := v.(type) {
	case string:
		r.text(v)
	case []any:
		for _, element := range v {
			r.parts(element)
		}
	case map[string]any:
		known := []string{"parts", "functionResponse", "functionCall", "inlineData", "fileData", "role", "thoughtSignature", "mediaResolution", "videoMetadata", "id"}
		var spelled []string
		for i, name := range known {
			field := r.either(v, name)
			switch {
			case i < 3:
				r.parts(field)
			case i < 5 && field != nil:
				r.media++
			}
			spelled = append(spelled, name, strings.ToLower(strings.NewReplacer("R", "_r", "C", "_c", "D", "_d", "S", "_s", "M", "_m").Replace(name)))
		}
		for name, field := range v {
			if !slices.Contains(spelled, name) {
				r.anything(field)
			}
		}
	}
}

// ollama counts a body in Ollama's dialect.
func (r *modelReading) ollama(k traffic.Kind, value func(string) any, schemas func(...string)) {
	if _, ok := value("format").(map[string]any); ok && k != traffic.OllamaEmbed {
		schemas("format")
	}
	switch k {
	case traffic.OllamaChat:
		schemas("tools")
		messages, ok := value("messages").([]any)
		if !ok {
			r.prose(value("messages"))
		}
		for _, message := range messages {
			fields, ok := message.(map[string]any)
			if !ok {
				r.prose(message)
			}
			for name, field := range fields {
				switch name {
				case "role":
				case "content":
					r.prose(field)
				case "images":
					r.mediaParts(field)
				default:
					r.anything(field)
				}
			}
		}
	case traffic.OllamaGenerate:
		for _, name := range []string{"prompt", "suffix", "system", "template"} {
			r.prose(value(name))
		}
		r.mediaParts(value("images"))
		for _, id := range list(value("context")) {
			if _, ok := id.(json.Number); ok {
				r.ids++
			} else {
				r.prose(id)
			}
		}
	case traffic.OllamaEmbed:
		r.batch(value("input"))
		r.batch(value("prompt"))
	}
}

// mediaParts counts each element of an array, or the value that stands in the
// place of one.
func (r *modelReading) mediaParts(v any) {
	elements, ok := v.([]any)
	if !ok {
		elements = []any{v}
	}
	for _, element := range elements {
		if element != nil {
			r.media++
		}
	}
}

// loaded returns what the first node of a graph loads that loads a model. It
// goes by the order of the document, which a map does not have.
func (r *modelReading) loaded(body []byte) (model string) {
	var top struct {
		Prompt json.RawMessage `json:"prompt"`
	}
	_ = json.Unmarshal(body, &top)
	first := len(top.Prompt)
	var graph map[string]struct{ Inputs json.RawMessage }
	var nodes map[string]json.RawMessage
	if json.Unmarshal(top.Prompt, &nodes) != nil {
		return ""
	}
	graph = map[string]struct{ Inputs json.RawMessage }{}
	for name, node := range nodes {
		var n struct{ Inputs json.RawMessage }
		if json.Unmarshal(node, &n) == nil {
			graph[name] = n
		}
	}
	for _, node := range graph {
		var inputs map[string]any
		if json.Unmarshal(node.Inputs, &inputs) != nil {
			continue
		}
		for _, name := range []string{"ckpt_name", "unet_name"} {
			loads, ok := inputs[name].(string)
			if !ok {
				continue
			}
			r.valid = r.valid && !strings.ContainsRune(loads, '\ufffd')
			if at := strings.Index(string(top.Prompt), `"`+name+`"`); loads != "" && at < first {
				model, first = loads, at
			}
		}
	}
	return model
}

package accuracy

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
)

// shape is one form of requests and answers on the wire.
type shape struct {
	name   string
	path   string // with MODEL where it names the model
	stream framing
	body   func(a *ask) object
}

// ask is what a request asks for.
type ask struct {
	model   string
	texts   []string // of the prompt: the system's, then the turns'
	most    int64    // tokens of output; 0: not said
	answers int      // 0: not said
}

type (
	object = map[string]any
	list   = []any
)

// framing is how the chunks of a stream are told apart.
type framing int

const (
	whole framing = iota // no stream
	events
	lines
	array
)

func shapes() []shape {
	return []shape{
		{"openai chat", "/v1/chat/completions", whole, chat(nil)},
		{"openai chat stream", "/v1/chat/completions", events, chat(object{"stream": true})},
		{"openai chat stream, asks for usage", "/v1/chat/completions", events, chat(object{"stream": true, "stream_options": object{"include_usage": true}})},
		{"openai completions", "/v1/completions", whole, completions(false)},
		{"openai completions stream", "/v1/completions", events, completions(true)},
		{"openai responses", "/v1/responses", whole, responses(false)},
		{"openai responses stream", "/v1/responses", events, responses(true)},
		{"openai embeddings", "/v1/embeddings", whole, func(a *ask) object { return object{"model": a.model, "input": a.texts, "dimensions": 8} }},
		{"anthropic messages", "/v1/messages", whole, messages(false)},
		{"anthropic messages stream", "/v1/messages", events, messages(true)},
		{"google generateContent", "/v1beta/models/MODEL:generateContent", whole, contents},
		{"google streamGenerateContent, events", "/v1beta/models/MODEL:streamGenerateContent?alt=sse", events, contents},
		{"google streamGenerateContent, array", "/v1beta/models/MODEL:streamGenerateContent", array, contents},
		{"ollama chat", "/api/chat", whole, ollamaChat(false)},
		{"ollama chat stream", "/api/chat", lines, ollamaChat(true)},
		{"ollama generate", "/api/generate", whole, ollamaGenerate(false)},
		{"ollama generate stream", "/api/generate", lines, ollamaGenerate(true)},
	}
}

// with returns the object with the maximum and the number of answers by these
// names, as far as they are asked for.
func (a *ask) with(o object, most, answers string) object {
	if a.most > 0 && most != "" {
		o[most] = a.most
	}
	if a.answers > 0 && answers != "" {
		o[answers] = a.answers
	}
	return o
}

// turns are the prompt's texts as messages of these roles, the first of all the
// system's where that has a role.
func (a *ask) turns(system, assistant string, message func(role, text string) object) (all list) {
	for i, text := range a.texts {
		role := "user"
		switch {
		case i == 0:
			role = system
		case i%2 == 0:
			role = assistant
		}
		if role != "" {
			all = append(all, message(role, text))
		}
	}
	return all
}

func simple(role, text string) object { return object{"role": role, "content": text} }

func chat(more object) func(*ask) object {
	return func(a *ask) object {
		o := object{"model": a.model, "messages": a.turns("system", "assistant", simple)}
		for name, v := range more {
			o[name] = v
		}
		return a.with(o, "max_completion_tokens", "n")
	}
}

func completions(stream bool) func(*ask) object {
	return func(a *ask) object {
		return a.with(object{"model": a.model, "prompt": strings.Join(a.texts, "\n"), "stream": stream}, "max_tokens", "n")
	}
}

func responses(stream bool) func(*ask) object {
	return func(a *ask) object {
		input := a.turns("", "assistant", func(role, text string) object {
			return object{"role": role, "content": list{object{"type": "input_text", "text": text}}}
		})
		return a.with(object{"model": a.model, "instructions": a.texts[0], "input": input, "stream": stream}, "max_output_tokens", "")
	}
}

func messages(stream bool) func(*ask) object {
	return func(a *ask) object {
		most := a.most
		if most == 0 {
			most = 4096 // it must be said
		}
		return object{
			"model": a.model, "max_tokens": most, "stream": stream,
			"system":   list{object{"type": "text", "text": a.texts[0], "cache_control": object{"type": "ephemeral"}}},
			"messages": a.turns("", "assistant", simple),
		}
	}
}

func contents(a *ask) object {
	part := func(text string) list { return list{object{"text": text}} }
	return object{
		"systemInstruction": object{"parts": part(a.texts[0])},
		"contents":          a.turns("", "model", func(role, text string) object { return object{"role": role, "parts": part(text)} }),
		"generationConfig":  a.with(object{}, "maxOutputTokens", "candidateCount"),
	}
}

func ollamaChat(stream bool) func(*ask) object {
	return func(a *ask) object {
		return object{"model": a.model, "messages": a.turns("system", "assistant", simple), "stream": stream, "options": a.with(object{}, "num_predict", "")}
	}
}

func ollamaGenerate(stream bool) func(*ask) object {
	return func(a *ask) object {
		prompt := strings.Join(a.texts[1:], "\n")
		return object{"model": a.model, "system": a.texts[0], "prompt": prompt, "stream": stream, "options": a.with(object{}, "num_predict", "")}
	}
}

// prompt draws texts of so many tokens in all, at four bytes each.
func prompt(rng *rand.Rand, tokens int64) []string {
	text := make([]byte, 4*tokens-int64(rng.IntN(4)))
	const letters = "etaoinshrdlucmfwypvbgk    "
	for i := range text {
		text[i] = letters[rng.IntN(len(letters))]
	}
	var texts []string
	for n := 2 + 2*rng.IntN(3); n > 1 && len(text) > 1; n-- { // the last turn is the user's
		cut := 1 + rng.IntN(len(text)-1)
		texts, text = append(texts, string(text[:cut])), text[cut:]
	}
	texts = append(texts, string(text))
	if len(texts) == 1 {
		texts = append(texts, "x")
	}
	return texts
}

// readChunks reads so many chunks of a stream, fewer where it ends before. An
// OpenAI stream ends with its answers' reasons for that, since what comes behind
// may be hidden. Of an answer that is no stream it reads the first byte.
func (a *ask) readChunks(body io.Reader, f framing, n int64) error {
	switch f {
	case whole:
		_, err := io.ReadFull(body, make([]byte, 1))
		return err
	case array:
		return readElements(body, n)
	}
	r := bufio.NewReader(body)
	for open := max(a.answers, 1); n > 0; {
		line, err := r.ReadString('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if strings.Contains(line, `"finish_reason":"`) {
			open--
		}
		if f == lines || line == "\n" {
			n--
			if open == 0 {
				return nil
			}
		}
	}
	return nil
}

func readElements(body io.Reader, n int64) error {
	d := json.NewDecoder(body)
	if _, err := d.Token(); err != nil {
		return err
	}
	for ; n > 0; n-- {
		var end *json.SyntaxError
		switch err := d.Decode(new(any)); {
		case errors.As(err, &end): // no comma follows
			return nil
		case err != nil:
			return err
		}
	}
	return nil
}

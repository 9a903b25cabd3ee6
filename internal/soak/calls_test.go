package soak

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"mime/multipart"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// call is one request that a client is going to send.
type call struct {
	kind   string // for the table
	method string
	path   string
	header http.Header
	body   []byte
	ends   string // what a whole answer holds at its end; empty: nothing is known, json: it is JSON
	fault  string
	leave  time.Duration // after which the client leaves; 0: it does not
	slow   bool          // it reads slowly
	h2     bool
	piece  bool // the body is sent without its length
	free   bool // no limit is charged
	most   int64
	caller *caller // nil: nobody who is listed
}

// free is what the header X-Soak of a request says that no limit is charged for.
const free = "free"

const isJSON = "json"

// shape is one form of requests and answers on the wire.
type shape struct {
	kind, path string // with MODEL where it names the model
	body       string // with MODEL, MOST and TEXT
	ends       string
}

func shapes() []shape {
	const chat = `"model":"MODEL","messages":[{"role":"system","content":"TEXT"},{"role":"user","content":"TEXT"}]`
	const contents = `{"contents":[{"role":"user","parts":[{"text":"TEXT"}]}],"generationConfig":{"maxOutputTokens":MOST}}`
	return []shape{
		{"openai", "/v1/chat/completions", `{` + chat + `,"max_tokens":MOST}`, isJSON},
		{"openai", "/v1/chat/completions", `{` + chat + `,"max_tokens":MOST,"stream":true}`, "data: [DONE]\n\n"},
		{"openai", "/v1/chat/completions", `{` + chat + `,"max_completion_tokens":MOST,"stream":true,"n":2,"stream_options":{"include_usage":true}}`, "data: [DONE]\n\n"},
		{"openai", "/v1/completions", `{"model":"MODEL","prompt":"TEXT","max_tokens":MOST,"stream":true}`, "data: [DONE]\n\n"},
		{"openai", "/v1/responses", `{"model":"MODEL","input":"TEXT","max_output_tokens":MOST}`, isJSON},
		{"openai", "/v1/responses", `{"model":"MODEL","input":"TEXT","max_output_tokens":MOST,"stream":true}`, "event: response.completed|event: response.incomplete"},
		{"openai", "/v1/embeddings", `{"model":"MODEL","input":["TEXT","TEXT"],"dimensions":8}`, isJSON},
		{"openai", "/v1/moderations", `{"model":"MODEL","input":"TEXT"}`, isJSON},
		{"openai", "/v1/rerank", `{"model":"MODEL","query":"TEXT","documents":["TEXT"]}`, isJSON},
		{"anthropic", "/v1/messages", `{` + chat[:strings.Index(chat, `,"messages"`)] + `,"messages":[{"role":"user","content":"TEXT"}],"max_tokens":MOST}`, isJSON},
		{"anthropic", "/v1/messages", `{"model":"MODEL","messages":[{"role":"user","content":"TEXT"}],"max_tokens":MOST,"stream":true}`, "message_stop\"}\n\n"},
		{"google", "/v1beta/models/MODEL:generateContent", contents, isJSON},
		{"google", "/v1beta/models/MODEL:streamGenerateContent?alt=sse", contents, "\n\n"},
		{"google", "/v1beta/models/MODEL:streamGenerateContent", contents, isJSON},
		{"ollama", "/api/chat", `{` + chat + `,"stream":false,"options":{"num_predict":MOST}}`, isJSON},
		{"ollama", "/api/chat", `{` + chat + `,"options":{"num_predict":MOST}}`, `"done":true`},
		{"ollama", "/api/generate", `{"model":"MODEL","prompt":"TEXT","options":{"num_predict":MOST}}`, `"done":true`},
		{"comfyui", "/prompt", `{"prompt":{"4":{"class_type":"Loader","inputs":{}},"7":{"class_type":"KSampler","inputs":{"steps":3,"model":["4",0]}},` +
			`"9":{"class_type":"SaveImage","inputs":{"images":["7",0]}}}}`, isJSON},
	}
}

// metered draws a request of a shape, for at most so many tokens.
func metered(rng *rand.Rand, s shape, most int) *call {
	model := []string{"small-a", "small-b", "large", "plain"}[rng.IntN(4)]
	text := strings.Repeat("word ", 1+rng.IntN(200))
	if rng.IntN(50) == 0 {
		text = strings.Repeat("word ", rng.IntN(maxBody/15)) // at most two of them in a body
	}
	fill := strings.NewReplacer("MODEL", model, "MOST", fmt.Sprint(most), "TEXT", text)
	c := post(s.kind, strings.Replace(s.path, "MODEL", model, 1), []byte(fill.Replace(s.body)))
	c.ends, c.most = s.ends, int64(most)
	return c
}

func get(kind, path string) *call {
	return &call{kind: kind, method: http.MethodGet, path: path, header: http.Header{}}
}

func post(kind, path string, body []byte) *call {
	c := get(kind, path)
	c.method, c.body = http.MethodPost, body
	c.header.Set("Content-Type", "application/json")
	return c
}

// faults is all that the stand-in can do wrong.
func faults(rng *rand.Rand) string {
	all := []string{
		"status=400", "status=404", "status=429", "status=500", "status=502", "status=204",
		"die-before-headers", "die-within-headers", "die-after=" + fmt.Sprint(rng.IntN(20)), "hang", "hang-after=" + fmt.Sprint(rng.IntN(20)),
		"slow-headers=50ms", "trickle=100us", "no-done", "garbage", "huge-line", "early-answer", "trailers", "informational=3", "wrong-length", "gzip",
		"usage=withhold", "usage=garbage:negative", "usage=garbage:huge", "usage=garbage:string", "usage=garbage:float", "usage=garbage:null",
	}
	if rng.IntN(200) == 0 {
		return "status=503" // which asks for a second without requests
	}
	return all[rng.IntN(len(all))]
}

// calm draws what goes wrong only where a worker dies: the usage stands in every
// answer.
func calm(rng *rand.Rand, by *caller) *call {
	c := metered(rng, shapes()[2*rng.IntN(2)], 1+rng.IntN(60))
	c.kind = "calm"
	return by.sign(c)
}

// wild draws anything.
func wild(rng *rand.Rand, by *caller) *call {
	var c *call
	switch p := rng.IntN(100); {
	case p < 62:
		c = metered(rng, shapes()[rng.IntN(len(shapes()))], 1+rng.IntN(200))
		switch {
		case rng.IntN(4) == 0:
			c.fault = faults(rng)
			if strings.HasPrefix(c.fault, "hang") && rng.IntN(20) > 0 { // it holds its slot
				c.leave = time.Duration(1+rng.IntN(300)) * time.Millisecond
			}
		case rng.IntN(4) == 0:
			c.leave = time.Duration(1+rng.IntN(80_000)) * time.Microsecond
		case rng.IntN(10) == 0:
			c.slow = true
		}
	case p < 68:
		c = get("lists", []string{"/v1/models", "/v1beta/models", "/api/tags"}[rng.IntN(3)])
		c.ends = isJSON
	case p < 71:
		c = post("counts", "/v1/messages/count_tokens", []byte(`{"model":"small-a","messages":[{"role":"user","content":"word"}]}`))
		c.ends = isJSON
	case p < 76:
		c = upload(rng)
	case p < 80:
		c = post("plain", "/echo", bytes.Repeat([]byte("x"), rng.IntN(200_000)))
		c.ends, c.piece = isJSON, rng.IntN(2) == 0
	case p < 82:
		c = get("plain", fmt.Sprintf("/bytes?n=%d", rng.IntN(4<<20)))
		c.slow = rng.IntN(2) == 0
	case p < 84:
		c = get("plain", fmt.Sprintf("/chunks?n=%d&every=5ms", rng.IntN(30)))
		c.leave = time.Duration(rng.IntN(100)) * time.Millisecond
	case p < 86:
		c = get("comfyui", []string{"/queue", "/history", "/api/history"}[rng.IntN(3)])
	case p < 90:
		c = oversized(rng)
	case p < 95:
		c = garbage(rng)
	case p < 96:
		c = get("closed", "/metrics")
	case p < 98:
		c = post("bypass", "/echo/free", []byte("x"))
		c.header.Set("X-Soak", free)
		c.free, c.ends = true, isJSON
	case p < 99:
		c = metered(rng, shapes()[0], 5)
		c.kind = "bypass"
		c.header.Set("X-Soak", free)
		c.header.Set("Authorization", "Bearer "+freeKey)
		c.free = true
		return c
	default:
		c = get("options", "/v1/chat/completions")
		c.method, c.free = http.MethodOptions, true
		c.header.Set("X-Soak", free)
	}
	if rng.IntN(5) == 0 {
		c.header.Set("X-Priority", []string{"interactive", "bulk", "nonsense"}[rng.IntN(3)])
	}
	c.h2 = rng.IntN(5) == 0
	return by.sign(c)
}

// upload draws a form, which passes unread.
func upload(rng *rand.Rand) *call {
	var b bytes.Buffer
	m := multipart.NewWriter(&b)
	_ = m.WriteField("model", "plain") // to a buffer, which takes everything
	f, _ := m.CreateFormFile("file", "speech.wav")
	_, _ = f.Write(make([]byte, rng.IntN(maxBody-1000)))
	_ = m.Close()
	c := post("uploads", "/v1/audio/transcriptions", b.Bytes())
	c.header.Set("Content-Type", m.FormDataContentType())
	c.ends, c.piece = isJSON, rng.IntN(2) == 0
	if rng.IntN(4) == 0 {
		c.leave = time.Duration(1+rng.IntN(20_000)) * time.Microsecond
	}
	return c
}

// oversized draws a body that is larger than one may be.
func oversized(rng *rand.Rand) *call {
	path := []string{"/v1/chat/completions", "/v1/messages", "/echo", "/api/chat"}[rng.IntN(4)]
	c := post("oversized", path, bytes.Repeat([]byte(" "), maxBody+1+rng.IntN(maxBody)))
	c.piece = rng.IntN(2) == 0
	return c
}

// garbage draws what no metered path takes.
func garbage(rng *rand.Rand) *call {
	path := []string{"/v1/chat/completions", "/v1/messages", "/api/chat", "/v1beta/models/m:generateContent", "/v1/embeddings"}[rng.IntN(5)]
	noise := make([]byte, rng.IntN(4000))
	for i := range noise {
		noise[i] = byte(rng.Uint32())
	}
	bodies := [][]byte{noise, nil, []byte("{"), []byte("[]"), []byte(`{"model":"m","model":"n"}`), []byte(`{"model":"m"} x`), []byte(`{"a":` + strings.Repeat("[", 5000))}
	c := post("garbage", path, bodies[rng.IntN(len(bodies))])
	if rng.IntN(5) == 0 {
		c.header.Set("Content-Encoding", "gzip")
	}
	return c
}

// flood draws a request of somebody who was never seen and never will be again.
func flood(rng *rand.Rand) *call {
	var c *call
	switch rng.IntN(20) {
	case 0:
		c = metered(rng, shapes()[6], 1)
	case 1:
		c = garbage(rng)
	default:
		c = get("", "/v1/models")
	}
	c.kind = "flood"
	var a [16]byte
	for i := range a {
		a[i] = byte(rng.Uint32())
	}
	address := netip.AddrFrom16(a)
	if rng.IntN(2) == 0 {
		address = netip.AddrFrom4([4]byte(a[:4]))
	}
	c.header.Set("X-Forwarded-For", address.WithZone("").Unmap().String())
	if rng.IntN(3) > 0 {
		c.header.Set("Authorization", fmt.Sprintf("Bearer %x", a))
	}
	return c
}

// lasting draws a stream that takes long enough for others to come and wait.
func lasting(rng *rand.Rand, by *caller) *call {
	c := metered(rng, shape{"lasting", "/v1/completions", `{"model":"plain","prompt":"word","max_tokens":MOST,"stream":true}`, "data: [DONE]\n\n"}, 10)
	c.fault = "trickle=100us"
	return by.sign(c)
}

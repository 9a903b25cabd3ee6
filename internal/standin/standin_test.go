package standin

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixed is lengths that are always n.
func fixed(n float64) Lengths { return Lengths{Mean: n} }

// post sends a POST straight to the handler. It is for answers that no fault
// cuts.
func post(w *Worker, path, body string) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	w.ServeHTTP(rec, httptest.NewRequest("POST", path, strings.NewReader(body)))
	return rec
}

// chatBody is a chat completion of one message with so many bytes of text.
func chatBody(textBytes int, more string) string {
	return fmt.Sprintf(`{"model":"m","messages":[{"role":"user","content":%q}]%s}`, strings.Repeat("x", textBytes), more)
}

// graph is a job of three nodes, of which the middle one has three steps.
func graph(more string) string {
	return `{"prompt":{"4":{"class_type":"Loader","inputs":{}},"7":{"class_type":"KSampler","inputs":{"steps":3,"model":["4",0]}},` +
		`"10":{"class_type":"SaveImage","inputs":{"images":["7",0]}}}` + more + `}`
}

// events returns the data lines of a stream.
func events(body string) []string {
	var all []string
	for line := range strings.Lines(body) {
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			all = append(all, strings.TrimSuffix(data, "\n"))
		}
	}
	return all
}

func decode[T any](t *testing.T, body []byte) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(body, &v); err != nil {
		t.Fatalf("%v in %.200q", err, body)
	}
	return v
}

// TestGolden pins what goes over the wire, byte by byte, at a fixed time.
func TestGolden(t *testing.T) {
	three := Options{Output: fixed(3), Seed: 7}
	chatWith := func(more string) string { return chatBody(10, more) }
	messageWith := func(more string) string {
		return `{"model":"m","max_tokens":99,"messages":[{"role":"user","content":"hello"}]` + more + `}`
	}
	contentWith := func(more string) string {
		return `{"systemInstruction":{"parts":[{"text":"be brief"}]},"contents":[{"role":"user","parts":[{"text":"hello"}]}]` + more + `}`
	}
	tests := []struct {
		name   string
		o      Options
		method string
		path   string
		body   string
	}{
		{"chat", three, "POST", "/v1/chat/completions", chatWith(``)},
		{"chat_n2", three, "POST", "/v1/chat/completions", chatWith(`,"n":2,"max_tokens":2`)},
		{"chat_stream", three, "POST", "/v1/chat/completions", chatWith(`,"stream":true`)},
		{"chat_stream_usage", three, "POST", "/v1/chat/completions", chatWith(`,"stream":true,"stream_options":{"include_usage":true}`)},
		{"chat_stream_usage_vllm", Options{Output: fixed(3), Seed: 7, OmitNullUsage: true}, "POST", "/v1/chat/completions", chatWith(`,"stream":true,"stream_options":{"include_usage":true}`)},
		{"chat_stream_n2_length", three, "POST", "/v1/chat/completions", chatWith(`,"stream":true,"n":2,"max_completion_tokens":1`)},
		{"chat_cached", Options{Output: fixed(1), CachedShare: 0.5}, "POST", "/v1/chat/completions", chatBody(40, "")},
		{"completion", three, "POST", "/v1/completions", `{"model":"m","prompt":["one","two"],"max_tokens":2}`},
		{"completion_stream_usage", three, "POST", "/v1/completions", `{"model":"m","prompt":[1,2,3],"stream":true,"stream_options":{"include_usage":true}}`},
		{"response", three, "POST", "/v1/responses", `{"model":"m","input":"say something","instructions":"be brief"}`},
		{"response_incomplete", three, "POST", "/v1/responses", `{"model":"m","input":[{"role":"user","content":[{"type":"input_text","text":"say"}]}],"max_output_tokens":2}`},
		{"response_stream", three, "POST", "/v1/responses", `{"model":"m","input":"say something","stream":true}`},
		{"response_stream_incomplete", three, "POST", "/v1/responses", `{"model":"m","input":"say something","stream":true,"max_output_tokens":1}`},
		{"embeddings", three, "POST", "/v1/embeddings", `{"model":"m","input":["one","two"],"dimensions":3}`},
		{"embeddings_base64", three, "POST", "/v1/embeddings", `{"model":"m","input":"one","dimensions":3,"encoding_format":"base64"}`},
		{"speech", three, "POST", "/v1/audio/speech", `{"model":"m","voice":"alloy","input":"say something"}`},
		{"images", three, "POST", "/v1/images/generations", `{"model":"m","prompt":"a weir","n":2}`},
		{"moderation", three, "POST", "/v1/moderations", `{"input":["one","two"]}`},
		{"rerank", three, "POST", "/v1/rerank", `{"model":"m","query":"weir","documents":["one",{"text":"two"},"three"],"top_n":2}`},
		{"azure_chat", three, "POST", "/openai/deployments/m/chat/completions?api-version=2024-10-21", `{"messages":[{"role":"user","content":"hello"}]}`},
		{"azure_embeddings", three, "POST", "/openai/deployments/m/embeddings?api-version=2024-10-21", `{"model":"other","input":"one","dimensions":3}`},

		{"message", three, "POST", "/v1/messages", messageWith(``)},
		{"message_cut", three, "POST", "/v1/messages", messageWith(`,"max_tokens":2`)},
		{"message_cache", Options{Output: fixed(1), CachedShare: 0.5}, "POST", "/v1/messages", messageWith(`,"system":[{"type":"text","text":"twelve bytes","cache_control":{"type":"ephemeral"}}]`)},
		{"message_stream", three, "POST", "/v1/messages", messageWith(`,"stream":true`)},
		{"message_tokens", three, "POST", "/v1/messages/count_tokens", `{"model":"m","messages":[{"role":"user","content":"hello"}]}`},
		{"message_bad", three, "POST", "/v1/messages", `{"model":"m","messages":[{"role":"user","content":"hello"}]}`},
		{"message_no_key", Options{APIKeys: []string{"k"}}, "POST", "/v1/messages", ``},
		{"message_no_model", Options{Models: []string{"small"}}, "POST", "/v1/messages", messageWith(``)},
		{"message_529", Options{Fault: mustFault("status=529")}, "POST", "/v1/messages", ``},

		{"content", three, "POST", "/v1beta/models/m:generateContent", contentWith(`,"generationConfig":{"maxOutputTokens":2}`)},
		{"content_cached", Options{Output: fixed(1), CachedShare: 0.5}, "POST", "/v1beta/models/m:generateContent", contentWith(``)},
		{"content_sse", three, "POST", "/v1beta/models/m:streamGenerateContent?alt=sse", contentWith(`,"generationConfig":{"candidateCount":2,"maxOutputTokens":2}`)},
		{"content_array", three, "POST", "/v1beta/models/m:streamGenerateContent", contentWith(``)},
		{"content_tokens", three, "POST", "/v1beta/models/m:countTokens", contentWith(``)},
		{"content_embed", three, "POST", "/v1beta/models/m:embedContent", `{"content":{"parts":[{"text":"one"}]},"outputDimensionality":3}`},
		{"content_embed_batch", three, "POST", "/v1beta/models/m:batchEmbedContents", `{"requests":[{"model":"models/m","content":{"parts":[{"text":"one"}]},"output_dimensionality":2},{"content":{"parts":[{"text":"two"}]},"outputDimensionality":3}]}`},
		{"content_models", Options{Models: []string{"small"}}, "GET", "/v1beta/models", ""},
		{"content_bad", three, "POST", "/v1beta/models/m:generateContent", `{}`},
		{"content_429", three, "POST", "/v1beta/models/m!status=429:generateContent", `{}`},
		{"content_no_such_path", three, "POST", "/v1beta/models/m:dance", ``},
		{"content_wrong_method", three, "GET", "/v1beta/models/m:generateContent", ``},

		{"ollama_chat", three, "POST", "/api/chat", `{"model":"m","stream":false,"messages":[{"role":"user","content":"hello"}],"options":{"num_predict":2}}`},
		{"ollama_chat_stream", three, "POST", "/api/chat", `{"model":"m","messages":[{"role":"user","content":"hello"}]}`},
		{"ollama_generate", three, "POST", "/api/generate", `{"model":"m","prompt":"hello","stream":false}`},
		{"ollama_generate_stream", three, "POST", "/api/generate", `{"model":"m","prompt":"hello","stream":true}`},
		{"ollama_embed", Options{}, "POST", "/api/embed", `{"model":"m","input":["one","two"],"dimensions":3}`},
		{"ollama_embedding", Options{}, "POST", "/api/embeddings", `{"model":"m","prompt":"one"}`},
		{"ollama_tags", Options{Models: []string{"small"}}, "GET", "/api/tags", ""},
		{"ollama_show", Options{}, "POST", "/api/show", `{"model":"m"}`},
		{"ollama_no_such_model", Options{Models: []string{"small"}}, "POST", "/api/chat", `{"model":"m"}`},

		{"comfy_prompt", three, "POST", "/prompt", graph(``)},
		{"comfy_no_prompt", three, "POST", "/api/prompt", `{}`},
		{"comfy_bad_graph", three, "POST", "/prompt", `{"prompt":{"9":{"class_type":"SaveImage","inputs":{"images":["8",0]}}}}`},
		{"comfy_remaining", three, "GET", "/prompt", ``},
		{"comfy_queue", three, "GET", "/queue", ``},
		{"comfy_wrong_method", three, "POST", "/view", ``},

		{"models", Options{Models: []string{"small", "large"}}, "GET", "/v1/models", ""},
		{"models_default", Options{}, "GET", "/v1/models", ""},
		{"health", Options{}, "GET", "/health", ""},
		{"metrics", Options{Models: []string{"small"}}, "GET", "/metrics", ""},
		{"metrics_default", Options{Models: []string{}}, "GET", "/metrics", ""},
		{"bad_json", three, "POST", "/v1/chat/completions", `{"model":`},
		{"bad_field", three, "POST", "/v1/chat/completions", chatWith(`,"max_tokens":"many"`)},
		{"no_such_model", Options{Models: []string{"small"}}, "POST", "/v1/chat/completions", chatWith(``)},
		{"no_such_path", Options{}, "POST", "/v1/nothing", ""},
		{"wrong_method", Options{}, "GET", "/v1/chat/completions", ""},
		{"no_key", Options{APIKeys: []string{"k"}}, "GET", "/v1/models", ""},
		{"fault_429", three, "POST", "/v1/chat/completions", `{"model":"m!status=429"}`},
		{"fault_503", Options{Fault: mustFault("status=503")}, "POST", "/v1/completions", ``},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rec := httptest.NewRecorder()
				New(tc.o).ServeHTTP(rec, httptest.NewRequest(tc.method, tc.path, strings.NewReader(tc.body)))
				golden(t, tc.name, fmt.Sprintf("%s %s\n%s\n\n%s", tc.method, tc.path, tc.body, dump(rec)))
			})
		})
	}
}

func dump(rec *httptest.ResponseRecorder) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d\n", rec.Code)
	for _, name := range slices.Sorted(maps.Keys(rec.Header())) {
		fmt.Fprintf(&b, "%s: %s\n", name, strings.Join(rec.Header()[name], ", "))
	}
	fmt.Fprintf(&b, "\n%s\n", rec.Body)
	return b.String()
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", "golden", name+".txt")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

func mustFault(s string) Fault {
	f, err := ParseFault(s)
	if err != nil {
		panic(err)
	}
	return f
}

func TestAuthorization(t *testing.T) {
	w := New(Options{APIKeys: []string{"good", "better"}, Output: fixed(1)})
	tests := []struct {
		path, name, value string
		want              int
	}{
		{"/v1/models", "Authorization", "", 401},
		{"/v1/models", "Authorization", "Bearer bad", 401},
		{"/v1/models", "Authorization", "good", 401},
		{"/v1/models", "Authorization", "Bearer good", 200},
		{"/v1/models", "Authorization", "Bearer better", 200},
		{"/v1/models", "X-Api-Key", "good", 200},
		{"/v1/models", "X-Api-Key", "bad", 401},
		{"/v1/unknown", "Authorization", "", 401},
		{"/v1beta/models", "X-Goog-Api-Key", "better", 200},
		{"/v1beta/models", "X-Goog-Api-Key", "Bearer better", 401},
		{"/openai/deployments/m/embeddings", "Api-Key", "good", 405},
		{"/openai/deployments/m/embeddings", "Api-Key", "", 401},
		{"/health", "Authorization", "", 200},
		{"/metrics", "Authorization", "", 200},
		{"/api/tags", "Authorization", "", 200},
		{"/queue", "Authorization", "", 200},
	}
	for _, tc := range tests {
		r := httptest.NewRequest("GET", tc.path, nil)
		r.Header.Set(tc.name, tc.value)
		rec := httptest.NewRecorder()
		w.ServeHTTP(rec, r)
		if rec.Code != tc.want {
			t.Errorf("%s with %s: %q: %d, want %d", tc.path, tc.name, tc.value, rec.Code, tc.want)
		}
	}
}

func TestHead(t *testing.T) {
	srv := serve(t, Options{})
	for path, want := range map[string]int{
		"/v1/models": 200, "/health": 200, "/metrics": 200, "/echo": 200, "/bytes?n=9": 200, "/chunks?n=9&every=1h": 200,
		"/v1beta/models": 200, "/api/tags": 200, "/prompt": 200, "/api/history": 200, "/view?filename=ComfyUI_00001_.png": 200, "/interrupt": 405,
		"/gzip": 200, "/status/204": 204, "/status/418": 418, "/nothing": 404, "/v1/responses": 405,
	} {
		res, err := srv.Client().Head(srv.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		if res.StatusCode != want || len(body) != 0 || err != nil {
			t.Errorf("HEAD %s: %d with %d bytes, %v; want %d", path, res.StatusCode, len(body), err, want)
		}
		_ = res.Body.Close()
	}
}

// TestRepeatable asks for the same twice, in another order and beside others.
func TestRepeatable(t *testing.T) {
	texts := func(w *Worker, bodies ...string) map[string]string {
		all := map[string]string{}
		for _, body := range bodies {
			answer := decode[struct {
				Choices []struct{ Message struct{ Content string } }
			}](t, post(w, "/v1/chat/completions", body).Body.Bytes())
			for i, choice := range answer.Choices {
				all[fmt.Sprint(body, i)] = choice.Message.Content
			}
		}
		return all
	}
	a, b := chatBody(5, `,"n":2`), chatBody(5, `,"n":2,"seed":2`)
	first := texts(New(Options{Seed: 1}), a, b)
	if diff := gocmp.Diff(first, texts(New(Options{Seed: 1}), b, a)); diff != "" {
		t.Errorf("another order, another answer:\n%s", diff)
	}
	different := map[string]bool{}
	for _, text := range first {
		different[text] = true
	}
	for _, text := range texts(New(Options{Seed: 2}), a, b) {
		different[text] = true
	}
	if len(different) != 8 {
		t.Errorf("%d different answers to 8 different asks", len(different))
	}
}

// TestManyClients lets clients come and go in a crowd, and counts to the last
// token.
func TestManyClients(t *testing.T) {
	const clients, tokens = 200, 5
	w := New(Options{Output: fixed(tokens), Capacity: 3, MaxRunning: 7, PerOutputToken: time.Microsecond})
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			body := strings.Replace(chatBody(8, `,"stream":true`), `"m"`, fmt.Sprintf(`"m%d"`, i%2), 1)
			r := httptest.NewRequestWithContext(ctx, "POST", "/v1/chat/completions", strings.NewReader(body))
			rec := &leaver{ResponseRecorder: httptest.NewRecorder(), cancel: cancel, after: i % 9}
			defer func() {
				if p := recover(); p != nil && p != http.ErrAbortHandler {
					panic(p)
				}
			}()
			w.ServeHTTP(rec, r)
		})
		if s := w.Stats(); s.Started != s.Finished+s.Cancelled+s.Faulted+s.Running+s.Waiting {
			t.Errorf("the sum is not right: %+v", s)
		}
	}
	wg.Wait()
	s := w.Stats()
	perModel := s.PerModel["m0"].Finished + s.PerModel["m1"].Finished
	// Writes: the role, 5 tokens, the reason, [DONE]. Whoever leaves at the first
	// to seventh is missed at the next look; at the eighth all is done.
	finished := int64(0)
	for i := range clients {
		if i%9 == 0 || i%9 == 8 {
			finished++
		}
	}
	if s.Started != clients || s.Running != 0 || s.Waiting != 0 || s.MaxRunning > 7 || perModel != s.Finished ||
		s.Finished < finished || s.Finished+s.Cancelled != clients || s.InputTokens != 2*clients {
		t.Errorf("%+v; want at least %d finished", s, finished)
	}
}

// leaver is a client that leaves after so many writes; 0: never.
type leaver struct {
	*httptest.ResponseRecorder
	cancel context.CancelFunc
	after  int
	writes int
}

func (l *leaver) Write(p []byte) (int, error) {
	if l.writes++; l.writes == l.after {
		l.cancel()
	}
	return l.ResponseRecorder.Write(p)
}

// TestModelNamesAreBounded floods the worker with names.
func TestModelNamesAreBounded(t *testing.T) {
	w := New(Options{Output: fixed(1)})
	for i := range 3 * maxModels {
		post(w, "/v1/completions", fmt.Sprintf(`{"model":"m%d","prompt":"x"}`, i))
	}
	s := w.Stats()
	if len(s.PerModel) != maxModels+1 || s.PerModel["other"].Finished != 2*maxModels || s.PerModel["m0"].Finished != 1 {
		t.Errorf("%d names, %d others", len(s.PerModel), s.PerModel["other"].Finished)
	}
}

// serve runs a worker on a real server until the test's end.
func serve(t *testing.T, o Options) *testServer {
	w := New(o)
	srv := &testServer{httptest.NewServer(w), w}
	t.Cleanup(srv.Close)
	return srv
}

type testServer struct {
	*httptest.Server
	worker *Worker
}

// do sends a request with a fault; the error is that of the request or of the
// answer's body.
func (s *testServer) do(t *testing.T, method, path, body, fault string) (*http.Response, []byte, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, bytes.NewReader([]byte(body)))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Standin-Fault", fault)
	res, err := s.Client().Do(r)
	if err != nil {
		return nil, nil, err
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	return res, got, err
}

// TestCountedBeforeRead holds that whoever has read an answer to its end finds it
// counted, long ones too.
func TestCountedBeforeRead(t *testing.T) {
	for _, tokens := range []float64{1, 600, 20000} {
		srv := serve(t, Options{Output: fixed(tokens)})
		for i := range 30 {
			if _, _, err := srv.do(t, "POST", "/v1/chat/completions", chatBody(1, ""), ""); err != nil {
				t.Fatal(err)
			}
			if s := srv.worker.Stats(); s.Finished != int64(i+1) {
				t.Fatalf("%v tokens: %d answers read, %d finished", tokens, i+1, s.Finished)
			}
		}
	}
}

package provider

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"github.com/penstock-dev/penstock/internal/traffic"
)

const (
	streamType = "text/event-stream"
	jsonType   = "application/json"
)

// request returns a request of this kind, estimated at 7 tokens.
func request(k traffic.Kind, hide bool) *Request {
	r := &Request{Ask: traffic.Ask{Endpoint: openAIEndpoint(k), Input: 7}}
	if hide {
		r.edit.insert = "x"
	}
	return r
}

// checkMeter holds a meter against the model, and an answer in pieces against
// the whole one.
func checkMeter(t interface{ Fatalf(string, ...any) }, r *Request, mediaType string, answer []byte, at ...int) {
	var m Meter
	whole := meter(t, &m, r, mediaType, answer)
	if want, sure := modelOutcome(r, mediaType, answer); sure && !whole.agrees(want) {
		t.Fatalf("%q: %+v\nthe model: %+v", answer, whole, want)
	}
	if !r.HideUsage() && whole.seen != string(answer) {
		t.Fatalf("%q passed as %q", answer, whole.seen)
	}
	slices.Sort(at)
	if parts := meter(t, &m, r, mediaType, cut(answer, at...)...); parts != whole {
		t.Fatalf("%q cut at %v: %+v\nwhole: %+v", answer, at, parts, whole)
	}
	if u := whole.usage; u.Input < 0 || u.Output < 0 || u.CachedInput < 0 || u.Source == traffic.Reported && u.CachedInput > u.Input {
		t.Fatalf("%q: usage %+v", answer, u)
	}
}

// documentGenerator draws documents that look like parts of answers.
func documentGenerator() *rapid.Generator[string] {
	number := rapid.SampledFrom([]string{"0", "1", "12", "12.0", "1e2", "-1", "0.5", "100000000", "100000001", "9223372036854775807", `"5"`, "null", "[]", "{}", "true"})
	text := rapid.SampledFrom([]string{`""`, `"word"`, `"\u00e9\n\ud83d\ude00"`, `"字\"x"`, "null", "5", `["a"]`, `{"content":"a"}`})
	usage := rapid.Custom(func(t *rapid.T) string {
		return rapid.OneOf(
			rapid.SampledFrom([]string{"null", "{}", "[]", `"x"`, "0", `{"prompt_tokens":3,"completion_tokens":4}`}),
			rapid.Custom(func(t *rapid.T) string {
				var fields []string
				for _, name := range []string{"prompt_tokens", "input_tokens", "completion_tokens", "output_tokens", "total_tokens", "cached_tokens", "prompt_cache_hit_tokens"} {
					if rapid.Bool().Draw(t, name) {
						fields = append(fields, fmt.Sprintf("%q:%s", name, number.Draw(t, "number")))
					}
				}
				for _, name := range []string{"prompt_tokens_details", "input_tokens_details"} {
					if rapid.Bool().Draw(t, name) {
						fields = append(fields, fmt.Sprintf(`%q: {"cached_tokens" : %s, "cache_write_tokens":%s}`, name, number.Draw(t, "number"), number.Draw(t, "number")))
					}
				}
				return "{" + strings.Join(fields, ",") + "}"
			}),
		).Draw(t, "usage")
	})
	object := func(t *rapid.T, fields map[string]*rapid.Generator[string]) string {
		var b strings.Builder
		for _, name := range slices.Sorted(mapKeys(fields)) {
			if rapid.Bool().Draw(t, name) {
				if b.Len() > 0 {
					b.WriteString(rapid.SampledFrom([]string{",", " , ", ",\n"}).Draw(t, "comma"))
				}
				fmt.Fprintf(&b, "%q:%s", name, fields[name].Draw(t, "value"))
			}
		}
		return "{" + b.String() + "}"
	}
	content := rapid.OneOf(text, text, rapid.Map(text, func(s string) string {
		return `[{"type":"thinking","thinking":[{"type":"text","text":` + s + `}]},{"type":"text","text":` + s + `}]`
	}))
	message := rapid.Custom(func(t *rapid.T) string {
		return object(t, map[string]*rapid.Generator[string]{
			"content": content, "refusal": text, "reasoning": text, "reasoning_content": text, "role": text,
			"tool_calls":    rapid.Map(text, func(s string) string { return `[{"function":{"name":"f","arguments":` + s + `}}]` }),
			"function_call": rapid.Map(text, func(s string) string { return `{"arguments":` + s + `}` }),
		})
	})
	choices := rapid.OneOf(
		rapid.SampledFrom([]string{"[]", "[ ]", "null", "{}", "[null]"}),
		rapid.Custom(func(t *rapid.T) string {
			choice := rapid.Custom(func(t *rapid.T) string {
				return object(t, map[string]*rapid.Generator[string]{"delta": message, "message": message, "text": text, "index": number})
			})
			return "[" + strings.Join(rapid.SliceOfN(choice, 0, 2).Draw(t, "choices"), ",") + "]"
		}),
	)
	return rapid.Custom(func(t *rapid.T) string {
		return object(t, map[string]*rapid.Generator[string]{
			"id": text, "usage": usage, "choices": choices, "delta": text, "sequence_number": number,
			"error":    rapid.SampledFrom([]string{"null", `{"message":"x"}`}),
			"type":     rapid.SampledFrom([]string{`"response.output_text.delta"`, `"response.audio.delta"`, `"response.completed"`, `"response.failed"`, `"error"`, `"x"`, "1"}),
			"response": rapid.Map(usage, func(s string) string { return `{"usage":` + s + `}` }),
			"output": rapid.Map(text, func(s string) string {
				return `[{"content":[{"text":` + s + `}],"summary":[{"text":` + s + `}],"arguments":` + s + `}]`
			}),
		})
	})
}

func mapKeys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for key := range m {
			if !yield(key) {
				return
			}
		}
	}
}

// TestMeterModel draws answers of every kind.
func TestMeterModel(t *testing.T) {
	document := documentGenerator()
	kinds := rapid.SampledFrom([]traffic.Kind{chatKind, textKind, vectorKind, respKind})
	rapid.Check(t, func(t *rapid.T) {
		r := request(kinds.Draw(t, "kind"), rapid.Bool().Draw(t, "hide"))
		mediaType := rapid.SampledFrom([]string{streamType, streamType, jsonType}).Draw(t, "type")
		answer := document.Draw(t, "body")
		if mediaType == streamType {
			answer = rapid.SampledFrom([]string{"", "\ufeff", "\n"}).Draw(t, "begin")
			for range rapid.IntRange(0, 5).Draw(t, "events") {
				data := rapid.OneOf(document, document, rapid.SampledFrom([]string{"[DONE]", "[DONE] ", " [DONE]", "[DON", "5", "x", "", "{"})).Draw(t, "data")
				data = strings.ReplaceAll(data, "\n", "\ndata: ")
				event := rapid.SampledFrom([]string{"", ": comment\n", "event: x\n", ": ping\n\n"}).Draw(t, "before") + "data: " + data
				answer += event + rapid.SampledFrom([]string{"\n\n", "\n\n", "\n", "", "\nid: 1\n\n"}).Draw(t, "after")
			}
			answer = strings.ReplaceAll(answer, "\n", rapid.SampledFrom([]string{"\n", "\r\n", "\r"}).Draw(t, "ends"))
		}
		if len(answer) > 0 && rapid.IntRange(0, 3).Draw(t, "damaged") == 0 {
			answer = answer[:rapid.IntRange(0, len(answer)-1).Draw(t, "length")]
		}
		at := rapid.SliceOfN(rapid.IntRange(0, len(answer)), 0, 6).Draw(t, "cuts")
		checkMeter(t, r, mediaType, []byte(answer), at...)
	})
}

func FuzzMeter(f *testing.F) {
	for _, seed := range []string{
		"data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\r\n\r\ndata: [DONE]\n\n",
		"event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"usage\":{\"input_tokens\":1}}}\n\n",
		`{"usage":{"prompt_tokens":1},"choices":[{"message":{"content":"a"}}],"output":[{"content":[{"text":"b"}]}]}`,
		"event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":5,\"cache_read_input_tokens\":2}}}\n\ndata: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":7}}\n\ndata: {\"type\":\"message_stop\"}\n\n",
	} {
		for kind := range byte(4 + len(dialectPaths)) {
			f.Add([]byte(seed), kind, byte(0), 5, 50)
			f.Add([]byte(seed), kind, byte(1), 5, 50)
		}
	}
	for kind := range byte(len(dialectPaths)) {
		f.Add([]byte(`{"message":{"content":"a"},"response":"b","done":false}`+"\n"+`{"done":true,"prompt_eval_count":3,"eval_count":4}`), kind+4, byte(2), 9, 60)
		f.Add([]byte(`[{"candidates":[{"content":{"parts":[{"text":"a"}]}}]},{"usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":4}}]`), kind+4, byte(1), 9, 60)
	}
	f.Fuzz(func(t *testing.T, answer []byte, kind, form byte, i, j int) {
		if len(answer) > 1<<14 {
			return
		}
		mediaType := []string{streamType, jsonType, linesType}[form%3]
		r := request(traffic.ChatCompletions+traffic.Kind(kind&3), form&4 == 0)
		if kind >= 4 {
			d := dialectPaths[int(kind-4)%len(dialectPaths)]
			r = &Request{Ask: traffic.Ask{Endpoint: d.endpoint(), Input: 7, Stream: d.stream}}
		}
		within := func(i int) int { return int(uint(i) % uint(len(answer)+1)) }
		checkMeter(t, r, mediaType, answer, within(i), within(j))
	})
}

func TestUnreadAnswers(t *testing.T) {
	body := `{"usage":{"prompt_tokens":1,"completion_tokens":2}}`
	for _, tt := range []struct {
		header http.Header
		want   traffic.Usage
	}{
		{http.Header{"Content-Type": {"application/json"}}, traffic.Usage{Input: 1, Output: 2, Source: traffic.Reported}},
		{http.Header{"Content-Type": {"Application/JSON ; charset=utf-8"}, "Content-Encoding": {"Identity"}}, traffic.Usage{Input: 1, Output: 2, Source: traffic.Reported}},
		{http.Header{"Content-Type": {"application/json"}, "Content-Encoding": {"gzip"}}, traffic.Usage{Input: 7, Source: traffic.Reserved}},
		{http.Header{"Content-Type": {"text/plain"}}, traffic.Usage{Input: 7, Source: traffic.Reserved}},
		{http.Header{"Content-Type": {"text/event-streams"}}, traffic.Usage{Input: 7, Source: traffic.Reserved}},
		{http.Header{}, traffic.Usage{Input: 7, Source: traffic.Reserved}},
	} {
		var m Meter
		m.Start(request(chatKind, true), tt.header, io.NopCloser(strings.NewReader(body)))
		if seen, err := io.ReadAll(&m); string(seen) != body || err != nil {
			t.Errorf("%v: the client sees %q, error %v", tt.header, seen, err)
		}
		if got := m.Usage(); got != tt.want || m.Ended() != (tt.want.Source == traffic.Reported) || m.AtEventBoundary() {
			t.Errorf("%v: usage %+v, want %+v; ended %v, at a boundary %v", tt.header, got, tt.want, m.Ended(), m.AtEventBoundary())
		}
	}
}

// TestUnreadableBodies checks that what is said to be JSON and is none is not
// taken for an answer of nothing. A usage that came before is one all the same,
// and a body that ends too early has what came of it.
func TestUnreadableBodies(t *testing.T) {
	const text, usage = `"choices":[{"message":{"content":"abcdefgh"}}]`, `"usage":{"prompt_tokens":1,"completion_tokens":2}`
	reserved, reported := traffic.Usage{Input: 7, Source: traffic.Reserved}, traffic.Usage{Input: 1, Output: 2, Source: traffic.Reported}
	written := reserved
	written.Output = 2 // and counts for nothing
	for body, want := range map[string]traffic.Usage{
		"\ufeff{" + text + "," + usage + "}":                                  reserved,
		`{"x":NaN,` + text + "," + usage + "}":                                reserved,
		`{"x":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + "}": reserved,
		"data: {" + text + "}\n\n":                                            reserved,
		"{" + text + `,"x":NaN,` + usage + "}":                                written,
		"{" + usage + "," + text + `,"x":NaN}`:                                {Input: 1, Output: 2, Source: traffic.Reported},
		"{" + usage + "} x":                                                   reported,
		"{" + text + `,"x":[`:                                                 {Input: 7, Output: 2, Source: traffic.Counted},
		"":                                                                    {Input: 7, Source: traffic.Counted},
		"null":                                                                {Input: 7, Source: traffic.Counted},
	} {
		var m Meter
		m.Start(request(chatKind, false), http.Header{"Content-Type": {"application/json"}}, io.NopCloser(strings.NewReader(body)))
		if seen, err := io.ReadAll(&m); string(seen) != body || err != nil {
			t.Errorf("%.60q: the client sees %q, error %v", body, seen, err)
		}
		if got := m.Usage(); got != want {
			t.Errorf("%.60q: usage %+v, want %+v", body, got, want)
		}
	}
}

// TestLive follows a stream piece by piece.
func TestLive(t *testing.T) {
	type step struct {
		piece    string
		seen     string // with hiding; without it is the piece
		output   int64
		boundary [2]bool // without and with hiding
		ended    bool
	}
	const whole, half = `data: {"choices":[{"delta":{"content":"eight by"}}]}`, `data: {"choices":[{"delta":{"content":"four`
	usage := `data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":9}}`
	steps := []step{
		{"", "", 0, [2]bool{true, true}, false},
		{whole + "\n\n", whole + "\n\n", 2, [2]bool{true, true}, false},
		{whole + "\n\n" + half, whole + "\n\n", 4, [2]bool{false, true}, false},
		{`"}}]}`, "", 5, [2]bool{false, true}, false},
		{"\r", "", 5, [2]bool{false, true}, false},
		{"\r", half + `"}}]}` + "\r\r", 5, [2]bool{true, true}, false},
		{"\n", "\n", 5, [2]bool{true, true}, false},
		{": ping", "", 5, [2]bool{false, true}, false},
		{"\n\n", ": ping\n\n", 5, [2]bool{true, true}, false},
		{"\n", "\n", 5, [2]bool{true, true}, false},
		{usage + "\n\r", "", 9, [2]bool{true, true}, false},
		{"\n" + whole, "", 11, [2]bool{false, true}, false}, // the usage does not cover what comes after it
		{"\n\ndata: [DO", whole + "\n\n", 11, [2]bool{false, true}, false},
		{"NE]", "", 11, [2]bool{false, true}, true},
		{"\n\n", "data: [DONE]\n\n", 11, [2]bool{true, true}, true},
	}
	for i, hide := range []bool{false, true} {
		var m Meter
		source := &pieces{}
		m.Start(request(chatKind, hide), http.Header{"Content-Type": {streamType}}, source)
		buf := make([]byte, 4096)
		for n, s := range steps {
			source.all = append(source.all, []byte(s.piece))
			want := s.piece
			if hide {
				want = s.seen
			}
			var seen []byte
			if want != "" { // what is there must come with the one read that there is
				k, err := m.Read(buf)
				seen = buf[:k]
				if err != nil {
					t.Fatal(err)
				}
			} else if s.piece != "" { // a Read would wait for more
				m.filter.ready = m.filter.pass(&m, nil, []byte(s.piece))
				source.next++
				seen = m.filter.ready
			} else {
				source.next++
			}
			if string(seen) != want {
				t.Fatalf("hiding %v, step %d: the client sees %q, want %q", hide, n, seen, want)
			}
			if m.OutputSoFar() != s.output || m.AtEventBoundary() != s.boundary[i] || m.Ended() != s.ended {
				t.Errorf("hiding %v, step %d: output %d, at a boundary %v, ended %v; want %+v", hide, n, m.OutputSoFar(), m.AtEventBoundary(), m.Ended(), s)
			}
		}
	}
}

// TestClosingOfWhoSaysItAlways: there are workers whose every event has a reason why
// the answer ends. Once text has come behind one, it says nothing beside text.
func TestClosingOfWhoSaysItAlways(t *testing.T) {
	for name, tt := range map[string]struct {
		endpoint    traffic.Endpoint
		event, last string
	}{
		"nothing is the reason": {
			openAIEndpoint(chatKind),
			`{"choices":[{"delta":{"content":"text"},"finish_reason":""}]}`,
			`{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":9}}`,
		},
		"the same all along": {
			traffic.Endpoint{Dialect: traffic.Google, Kind: traffic.GenerateContent, Stream: true},
			`{"candidates":[{"content":{"parts":[{"text":"text"}]},"finishReason":"STOP"}]}`,
			`{"candidates":[{"content":{"parts":[]},"finishReason":"STOP"}]}`,
		},
	} {
		var m Meter
		m.Start(&Request{Ask: traffic.Ask{Endpoint: tt.endpoint}}, http.Header{"Content-Type": {streamType}}, http.NoBody)
		for n, s := range []struct {
			piece   string
			closing bool
		}{
			{"data: " + tt.event, true},
			{"\n\n", true},
			{"data: " + tt.event, false},
			{"\n\n", false},
			{"data: " + tt.event + "\n\n", false},
			{"data: " + tt.last, true},
			{"\n\n", true},
		} {
			m.feed([]byte(s.piece))
			if m.Closing() != s.closing {
				t.Errorf("%s, step %d: closing is %v behind %q", name, n, m.Closing(), s.piece)
			}
		}
	}
}

// TestClosing follows a stream of two choices, byte by byte: it closes with what
// says that a choice has ended, and goes on with the text of the other one.
func TestClosing(t *testing.T) {
	const text = `data: {"choices":[{"delta":{"content":"text"},"finish_reason":null}],"usage":null}`
	var m Meter
	m.Start(request(chatKind, false), http.Header{"Content-Type": {streamType}}, http.NoBody)
	for n, s := range []struct {
		piece   string
		closing bool
	}{
		{text + "\n\n", false},
		{`data: {"choices":[{"delta":{},"finish_reason":"stop"}],"usage":null}`, true},
		{"\n\n: a comment\n\ndata: {}\n\ndata: {\"cho\n\n", true},
		{text, false},
		{"\n\n" + text + "\n\n", false},
		{`data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":9}}`, true},
		{"\n\n", true},
		{text + "\n\n", false},
		{"data: [DONE]", true},
		{"\n\n", true},
	} {
		for _, b := range []byte(s.piece) {
			m.feed([]byte{b})
		}
		if m.Closing() != s.closing {
			t.Errorf("step %d: closing is %v behind %q", n, m.Closing(), s.piece)
		}
	}
}

// TestSmallReads has small buffers, and bodies that end in each of the ways there
// are.
func TestSmallReads(t *testing.T) {
	const stream = "data: {\"choices\":[]}\n\ndata: {\"choices\":[],\"usage\":{}}\n\n: held back"
	const want = "data: {\"choices\":[]}\n\n: held back"
	broken := errors.New("broken")
	for name, tt := range map[string]struct {
		source func() io.Reader
		err    error
	}{
		"by a byte":         {func() io.Reader { return iotest.OneByteReader(strings.NewReader(stream)) }, nil},
		"the end with data": {func() io.Reader { return iotest.DataErrReader(strings.NewReader(stream)) }, nil},
		"an error":          {func() io.Reader { return io.MultiReader(strings.NewReader(stream), iotest.ErrReader(broken)) }, broken},
	} {
		for _, size := range []int{1, 7, 4096} {
			var m Meter
			m.Start(request(chatKind, true), http.Header{"Content-Type": {streamType}}, io.NopCloser(tt.source()))
			if n, err := m.Read(nil); n != 0 || err != nil {
				t.Errorf("%s: an empty read gives %d bytes, error %v", name, n, err)
			}
			var seen []byte
			var err error
			for buf := make([]byte, size); err == nil; {
				var n int
				n, err = m.Read(buf)
				if seen = append(seen, buf[:n]...); n == 0 && err == nil {
					t.Fatalf("%s: nothing was read, and there is no error", name)
				}
			}
			if err == io.EOF {
				err = nil
			}
			if string(seen) != want || err != tt.err || m.AtEventBoundary() {
				t.Errorf("%s, %d at a time: the client sees %q, want %q; error %v, want %v; at a boundary %v",
					name, size, seen, want, err, tt.err, m.AtEventBoundary())
			}
		}
	}
}

// idler is a body that reads nothing, and is closed.
type idler struct{ closed bool }

func (i *idler) Read([]byte) (int, error) { return 0, nil }
func (i *idler) Close() error             { i.closed = true; return errors.New("closed") }

func TestIdleBody(t *testing.T) {
	for _, hide := range []bool{false, true} {
		var m Meter
		body := &idler{}
		m.Start(request(chatKind, hide), http.Header{"Content-Type": {streamType}}, body)
		n, err := m.Read(make([]byte, 10))
		if want := map[bool]error{true: io.ErrNoProgress}[hide]; n != 0 || err != want {
			t.Errorf("hiding %v: read %d bytes, error %v, want %v", hide, n, err, want)
		}
		if err := m.Close(); !body.closed || err == nil {
			t.Errorf("the body is closed: %v, error %v", body.closed, err)
		}
	}
}

// TestLargeEvent: an event too large to hold back is passed on, and the events
// after it are as ever.
func TestLargeEvent(t *testing.T) {
	usage := "data: {\"choices\":[],\"usage\":{}}\n\n"
	large := "data: {\"choices\":[],\"usage\":{},\"x\":\"" + strings.Repeat("x", maxHeld+8<<10) + "\"}\n\n"
	var m Meter
	var parts [][]byte
	for part := range slices.Chunk([]byte(usage+large+usage+"data: {}\n\n"), 4<<10) {
		parts = append(parts, part)
	}
	got := meter(t, &m, request(chatKind, true), streamType, parts...)
	if got.seen != large+"data: {}\n\n" || !got.boundary {
		t.Errorf("the client sees %d bytes, want %d; at a boundary %v", len(got.seen), len(large)+10, got.boundary)
	}
	if c := cap(m.filter.held); c > 2*maxHeld {
		t.Errorf("%d bytes are held", c)
	}
	m.Start(request(chatKind, true), http.Header{}, nil)
	if c := cap(m.filter.held) + cap(m.filter.passed); c > 2*keepHeld {
		t.Errorf("%d bytes are kept for the next answer", c)
	}
}

func TestErrorEvent(t *testing.T) {
	const sent = "data: {\"type\":\"x\",\"sequence_number\":41}\n\ndata: {\"type\":\"y\"}\n\n"
	const chunk = `{"candidates":[]}`
	google := Route("POST", "/v1beta/models/m:streamGenerateContent")
	messages, lines := Route("POST", "/v1/messages"), Route("POST", "/api/chat")
	for _, tt := range []struct {
		endpoint                       traffic.Endpoint
		mediaType, sent, code, message string
		want                           string
	}{
		{openAIEndpoint(chatKind), streamType, sent, "rate_limit_exceeded", "Rate <limit> \"x\"\n", `data: {"error":{"message":"Rate <limit> \"x\"\n","type":"rate_limit_error","param":null,"code":"rate_limit_exceeded"}}` + "\n\n"},
		{openAIEndpoint(textKind), streamType, sent, "upstream_error", "a\xff", `data: {"error":{"message":"a\ufffd","type":"server_error","param":null,"code":"upstream_error"}}` + "\n\n"},
		{openAIEndpoint(chatKind), streamType, "", "request_too_large_for_limit", "", `data: {"error":{"message":"","type":"rate_limit_error","param":null,"code":"request_too_large_for_limit"}}` + "\n\n"},
		{openAIEndpoint(respKind), streamType, sent, "rate_limit_exceeded", "Enough.", "event: error\n" + `data: {"type":"error","code":"rate_limit_exceeded","message":"Enough.","param":null,"sequence_number":42}` + "\n\n"},
		{openAIEndpoint(respKind), streamType, "", "upstream_timeout", "x", "event: error\n" + `data: {"type":"error","code":"upstream_timeout","message":"x","param":null,"sequence_number":0}` + "\n\n"},
		{Route("POST", "/v1/audio/transcriptions"), streamType, "", "upstream_error", "x", `data: {"error":{"message":"x","type":"server_error","param":null,"code":"upstream_error"}}` + "\n\n"},
		{messages, streamType, "", "rate_limit_exceeded", "Enough.", "event: error\n" + `data: {"type":"error","error":{"type":"rate_limit_error","message":"Enough."}}` + "\n\n"},
		{messages, streamType, "event: ping\ndata: {}\n\n", "upstream_error", "<x>", "event: error\n" + `data: {"type":"error","error":{"type":"api_error","message":"<x>"}}` + "\n\n"},
		{google, streamType, "", "rate_limit_exceeded", "Enough.", `data: {"error":{"code":429,"message":"Enough.","status":"RESOURCE_EXHAUSTED"}}` + "\n\n"},
		{google, streamType, "", "upstream_timeout", "x", `data: {"error":{"code":504,"message":"x","status":"DEADLINE_EXCEEDED"}}` + "\n\n"},
		{google, jsonType, "", "upstream_error", "x", `[{"error":{"code":503,"message":"x","status":"UNAVAILABLE"}}` + "\n]"},
		{google, jsonType, "[", "upstream_error", "x", `{"error":{"code":503,"message":"x","status":"UNAVAILABLE"}}` + "\n]"},
		{google, jsonType, "[" + chunk, "upstream_error", "x", ",\n" + `{"error":{"code":503,"message":"x","status":"UNAVAILABLE"}}` + "\n]"},
		{google, jsonType, "[" + chunk + ",\r\n", "upstream_error", "x", `{"error":{"code":503,"message":"x","status":"UNAVAILABLE"}}` + "\n]"},
		{lines, linesType, "{}\n", "rate_limit_exceeded", "Enough.\n", `{"error":"Enough.\n"}` + "\n"},
		{lines, streamType, "", "upstream_error", "x", `data: {"error":{"message":"x","type":"server_error","param":null,"code":"upstream_error"}}` + "\n\n"},
	} {
		var m Meter
		r := &Request{Ask: traffic.Ask{Endpoint: tt.endpoint, Stream: true}}
		if before := meter(t, &m, r, tt.mediaType, []byte(tt.sent)); !before.boundary || before.ended {
			t.Errorf("after %q: %+v", tt.sent, before)
		}
		got := m.ErrorEvent(tt.code, tt.message)
		if string(got) != tt.want {
			t.Errorf("got  %s\nwant %s", got, tt.want)
		}
		_, data, _ := bytes.Cut(got, []byte("data: "))
		switch tt.mediaType {
		case linesType:
			data = got
		case jsonType:
			data = append([]byte(tt.sent), got...)
		}
		if !json.Valid(data) {
			t.Errorf("%s is not valid", data)
		}
		// It is what a meter takes for the end of a stream.
		all := tt.sent + string(got)
		if o := meter(t, &m, r, tt.mediaType, []byte(all)); !o.ended || o.seen != all {
			t.Errorf("a meter makes of %q %+v", all, o)
		}
	}
}

// TestBoundaries follows answers that are no event streams byte by byte: where an
// error may come is said of every one.
func TestBoundaries(t *testing.T) {
	for _, tt := range []struct {
		path, mediaType string
		answer          string
		boundaries      string // a + under each byte behind which an error may come, from before the first on
	}{
		{"/api/chat", linesType, "{}\n\r\n{}", "+--+-+--"},
		{"/api/chat", jsonType, "{}\n", "+--+"}, // it asked for a stream
		{"/api/embed", jsonType, "{}\n", "----"},
		{"/v1beta/models/m:streamGenerateContent", jsonType, " [ {} , {}\n]\n", "++++-++++-++--"},
		{"/v1beta/models/m:streamGenerateContent", jsonType, "[{}x]", "++-+--"},
		{"/v1beta/models/m:streamGenerateContent", jsonType, `[{"]":1]}]`, "++--------" + "-"},
		{"/v1beta/models/m:streamGenerateContent", jsonType, "[[]]", "++---"},
		{"/v1beta/models/m:streamGenerateContent", jsonType, "[{},]", "++-++-"},
		{"/v1beta/models/m:streamGenerateContent", jsonType, "[]]", "++--"},
		{"/v1beta/models/m:streamGenerateContent", jsonType, "{}", "+--"},
		{"/v1beta/models/m:generateContent", jsonType, "[]", "---"},
	} {
		var m Meter
		endpoint := Route("POST", tt.path)
		source := &pieces{all: slices.Collect(slices.Chunk([]byte(tt.answer), 1))}
		m.Start(&Request{Ask: traffic.Ask{Endpoint: endpoint, Stream: endpoint.Kind != traffic.OllamaEmbed && !strings.HasSuffix(tt.path, ":generateContent")}},
			http.Header{"Content-Type": {tt.mediaType}}, source)
		got := ""
		for err, buf := error(nil), make([]byte, 1); err == nil; _, err = m.Read(buf) {
			got += map[bool]string{true: "+", false: "-"}[m.AtEventBoundary()]
		}
		if got != tt.boundaries {
			t.Errorf("%s %q: %s, want %s", tt.path, tt.answer, got, tt.boundaries)
		}
	}
}

// TestLongLines: what is kept of a line or an element does not grow with it.
func TestLongLines(t *testing.T) {
	long := strings.Repeat("x", 8<<20)
	for _, tt := range []struct{ path, mediaType, answer string }{
		{"/api/generate", linesType, `{"response":"` + long + `"}`},
		{"/api/generate", linesType, long},
		{"/v1beta/models/m:streamGenerateContent", jsonType, `[{"candidates":[{"content":{"parts":[{"text":"` + long + `"}]}}]}]`},
		{"/v1beta/models/m:streamGenerateContent", jsonType, "[" + long},
		{"/v1/messages", streamType, `data: {"delta":{"text":"` + long + `"}}` + "\n\n"},
	} {
		var m Meter
		r := &Request{Ask: traffic.Ask{Endpoint: Route("POST", tt.path), Stream: true}}
		source, buf := &pieces{all: slices.Collect(slices.Chunk([]byte(tt.answer), 32<<10))}, make([]byte, 32<<10)
		header := http.Header{"Content-Type": {tt.mediaType}}
		if n := testing.AllocsPerRun(1, func() {
			source.next = 0
			m.Start(r, header, source)
			for err := error(nil); err == nil; _, err = m.Read(buf) {
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations, want none", tt.path, n)
		}
		want := int64(0)
		if strings.HasPrefix(tt.answer, "data") || tt.mediaType == jsonType && len(tt.answer) > len(long)+1 {
			want = int64(len(long)) / 4
		}
		if strings.HasPrefix(tt.answer, `{"response`) {
			want = int64(len(long)) / 4 // a whole line, though without its end
		}
		if got := m.Usage().Output; got != want {
			t.Errorf("%s %.20s: %d tokens, want %d", tt.path, tt.answer, got, want)
		}
	}
}

func TestMeterAllocation(t *testing.T) {
	for name, b := range benchAnswers() {
		var m Meter
		buf := make([]byte, 4096)
		if n := testing.AllocsPerRun(10, func() {
			b.stream.next = 0
			m.Start(b.request, b.header, b.stream)
			for {
				if _, err := m.Read(buf); err != nil {
					break
				}
			}
			if m.Usage().Output != 50 || !m.Ended() {
				t.Fatal(m.Usage(), m.Ended())
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations a stream, want none", name, n)
		}
	}
}

package gateway

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/penstock-dev/penstock/internal/provider"
)

// trick is what a hostile client writes on a connection, and what comes of it.
// Behind it the client asks for penstock's own health on the same connection,
// which it gets as long as nothing was taken for what it is not.
type trick struct {
	name string
	send string // as it stands on the wire
	// gets is the statuses of the answers, then "next" where the connection
	// serves the request behind them, "cut" where it has ended.
	gets string
	// costs is what the client is charged: requests/input/output tokens. The
	// worker reports 7 and 5 tokens for what is metered: 1/7/5 is a metered
	// request, 1/0/0 one that is not. Empty: nothing.
	costs string
	// reached is what came to the worker: method, target and body of each
	// request, as seen by told. What is part may have begun to come.
	reached string
	free    bool // it bypasses the limits
	// tells and hides are what must and must not stand in what came to it.
	tells, hides []string
}

// hostileLimits are wide, so that every charge shows.
const hostileLimits = `rate_limiting:
  default: {requests_per_hour: 1000, input_tokens_per_hour: 1000000, output_tokens_per_hour: 1000000, concurrent_requests: 9}
  global: {requests_per_day: 1000}
`

// TestHostileClients plays every trick against a gateway of its own. Whatever
// it is, it gets no free pass: the worker sees no more requests than were
// charged, none that is metered without its tokens, and nothing that was hidden
// in another; nobody else is charged, and nothing stays held.
func TestHostileClients(t *testing.T) {
	total := 0
	for _, group := range []struct {
		name, yaml string
		before     string // a request that uses up what there is
		tricks     []trick
	}{
		{"framing", hostileLimits, "", framingTricks()},
		{"heads", hostileLimits, "", headTricks()},
		{"bodies", hostileLimits + "max_body_bytes: 16MiB\n", "", bodyTricks()},
		{"large bodies", hostileLimits + "max_body_bytes: 1MiB\n", "", largeTricks()},
		{"headers", hostileLimits, "", headerTricks()},
		{"metered paths", hostileLimits, "", meteredPathTricks()},
		{"closed routes", hostileLimits, "", closedPathTricks()},
		{"a path's limit", hostileLimits + "  per_endpoint: [{path: /prompt, limits: {requests_per_hour: 1}}, {path: /jobs, methods: [POST], limits: {requests_per_hour: 1}}]\n", post("/jobs", "") + post("/prompt", comfyPrompt), limitPathTricks()},
		{"bypass", "rate_limiting: {default: {requests_per_hour: 1, input_tokens_per_hour: 100, output_tokens_per_hour: 100}, global: {requests_per_day: 1}, bypass: {paths: [/free], keys: [\"free-key-0123456789\"]}}", get("/a"), bypassTricks()},
		{"callers", "rate_limiting: {default: {requests_per_hour: 1, input_tokens_per_hour: 100, output_tokens_per_hour: 100}, bypass: {ips: [10.0.0.0/8]}}", get("/a"), callerTricks()},
		{"callers behind a proxy", "trusted_proxies: [loopback]\nrate_limiting: {default: {requests_per_hour: 1, input_tokens_per_hour: 100, output_tokens_per_hour: 100}, bypass: {ips: [10.0.0.0/8]}}", get("/a", "X-Forwarded-For: 192.0.2.1"), proxiedTricks()},
	} {
		names := map[string]bool{}
		for _, c := range group.tricks {
			if names[c.name] {
				t.Errorf("two tricks have the name %q", c.name)
			}
			names[c.name] = true
			total++
			t.Run(group.name+"/"+c.name, func(t *testing.T) { c.play(t, group.yaml, group.before) })
		}
	}
	if total < 200 {
		t.Errorf("%d tricks, want at least 200", total)
	}
}

// part is a request that the worker has not seen whole.
const part = "in part"

// sentinel is the request behind a trick, and the last one.
const sentinel = "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

// play plays the trick once a request has used up what there is.
func (c *trick) play(t *testing.T, yaml, before string) {
	worker := newWitness(t)
	r := newRigFor(t, yaml, worker.url)
	if before != "" {
		r.dial().converse(before + sentinel)
		r.idle()
		worker.forget()
	}
	was := r.tally()
	got := strings.Join(r.dial().converse(c.send+sentinel), " ")
	r.idle()
	is := r.tally()
	costs, requests := is.since(was), is.requests-was.requests
	reached := worker.forget()

	if got != c.gets {
		t.Errorf("gets: %s, want: %s", got, c.gets)
	}
	if costs != c.costs {
		t.Errorf("costs: %q, want %q", costs, c.costs)
	}
	if all := told(reached); all != c.reached && (c.reached != part || len(reached) > 1) {
		t.Errorf("the worker got: %s\n        want: %s", all, c.reached)
	}
	metered, counted := false, int64(0)
	for _, q := range reached {
		text := q.head + "\n" + q.body
		for _, line := range c.tells {
			if !strings.Contains(text, line) {
				t.Errorf("%q does not reach the worker:\n%s", line, text)
			}
		}
		for _, line := range c.hides {
			if strings.Contains(strings.ToLower(text), strings.ToLower(line)) {
				t.Errorf("%q reaches the worker:\n%s", line, text)
			}
		}
		if strings.Contains(q.head, "/smuggled") {
			t.Errorf("a hidden request reaches the worker:\n%s", text)
		}
		method, target, _ := strings.Cut(q.head, " ")
		target, _, _ = strings.Cut(target, " ")
		path, _, _ := strings.Cut(target, "?")
		if method != http.MethodOptions && !c.free {
			counted++
		}
		for _, p := range readings(path) {
			metered = metered || provider.Route(strings.ToUpper(method), p).Metered()
		}
	}
	if counted > requests {
		t.Errorf("%d requests reached the worker and %d were charged", counted, requests)
	}
	if metered && is.input == was.input {
		t.Error("a metered request reached the worker, and no tokens were charged")
	}
	if n := is.others - was.others; n != requests && strings.Contains(yaml, "global") {
		t.Errorf("all are charged %d requests and the client %d", n, requests)
	}
}

// tally is what the client is charged, and what all are together.
type tally struct{ requests, input, output, others int64 }

func (r *rig) tally() tally {
	u := r.usedBy(r.caller(""), "")
	return tally{u["requests_per_hour"], u["input_tokens_per_hour"], u["output_tokens_per_hour"], u["global.requests_per_day"]}
}

func (t tally) since(was tally) string {
	if t == was {
		return ""
	}
	return fmt.Sprintf("%d/%d/%d", t.requests-was.requests, t.input-was.input, t.output-was.output)
}

// converse writes all of text, whether it is read or not, and returns what
// trick.gets describes.
func (w *wire) converse(text string) []string {
	w.t.Helper()
	_ = w.SetDeadline(time.Now().Add(patience))
	go func() { _, _ = io.WriteString(w.Conn, text) }()
	var got []string
	for {
		resp, err := http.ReadResponse(w.r, nil)
		if err != nil {
			return append(got, "cut")
		}
		body, err := io.ReadAll(resp.Body)
		switch {
		case resp.StatusCode == http.StatusContinue:
			continue
		case err != nil:
			return append(got, strconv.Itoa(resp.StatusCode), "cut")
		case string(body) == `{"status":"ok"}`+"\n":
			return append(got, "next")
		}
		got = append(got, strconv.Itoa(resp.StatusCode))
	}
}

// witness is a worker that keeps the requests as they came, and answers with a
// usage.
type witness struct {
	url  string
	mu   sync.Mutex
	seen []testimony
}

type testimony struct{ head, body string }

const witnessed = `{"usage":{"prompt_tokens":7,"completion_tokens":5,"total_tokens":12,"input_tokens":7,"output_tokens":5},"prompt_eval_count":7,"eval_count":5,"done":true,` +
	`"usageMetadata":{"promptTokenCount":7,"candidatesTokenCount":5,"totalTokenCount":12}}`

func newWitness(t testing.TB) *witness {
	s := &witness{}
	s.url = rawWorker(t, func(c net.Conn, r *bufio.Reader) {
		for {
			head, body, err := readRequest(r)
			if head == "" {
				return
			}
			s.mu.Lock()
			s.seen = append(s.seen, testimony{head, body})
			s.mu.Unlock()
			if err != nil {
				return
			}
			answer := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", len(witnessed))
			if !strings.HasPrefix(head, "HEAD ") {
				answer += witnessed
			}
			if _, err := io.WriteString(c, answer); err != nil {
				return
			}
		}
	})
	return s
}

// forget returns what the worker has seen, and begins anew.
func (s *witness) forget() []testimony {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := s.seen
	s.seen = nil
	return seen
}

// told is method, target and body of each request; of a long body its length.
func told(seen []testimony) string {
	var all []string
	for _, q := range seen {
		line, _, _ := strings.Cut(q.head, " HTTP/1.1\n")
		switch {
		case q.body == "":
		case len(q.body) > 100:
			line += fmt.Sprintf(" (%d bytes)", len(q.body))
		default:
			line += " " + q.body
		}
		all = append(all, line)
	}
	return strings.Join(all, ", ")
}

// get is a GET of the target, with these header lines.
func get(target string, headers ...string) string { return ask("GET", target, headers...) }

func ask(method, target string, headers ...string) string {
	text := method + " " + target + " HTTP/1.1\r\nHost: x\r\n"
	for _, h := range headers {
		text += h + "\r\n"
	}
	return text + "\r\n"
}

// post is a POST of the body to the target, with these header lines.
func post(target, body string, headers ...string) string {
	return ask("POST", target, append([]string{"Content-Length: " + strconv.Itoa(len(body))}, headers...)...) + body
}

// chunks is the body in one chunk, and its end.
func chunks(body string) string { return fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body), body) }

const (
	complete    = "/v1/completions"
	question    = `{"model":"m","prompt":"hello"}`
	comfyPrompt = `{"prompt":{"1":{"class_type":"A","inputs":{}}}}`
)

package gateway

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// misdeed is what a hostile worker answers, and what comes of it.
type misdeed struct {
	name   string
	asks   string // the request as it stands on the wire; empty: a plain GET
	answer string // as it stands on the wire
	then   func(c net.Conn)
	// gets is the status of the answer, and "cut" where it does not come to its
	// end. A second one after a | is as good.
	gets  string
	costs string // requests/input/output tokens
	// says is the answer's body where it is not empty; has and lacks are what
	// must and must not stand in the answer as it comes to the client.
	says       string
	has, lacks []string
}

// TestHostileWorkers has a worker do its worst. Its client gets an answer that
// is whole or is cut, is charged what flowed, and the next client has an answer
// of its own.
func TestHostileWorkers(t *testing.T) {
	all := append(brokenAnswers(), oddAnswers()...)
	all = append(all, falseUsages()...)
	if len(all) < 40 {
		t.Errorf("%d misdeeds, want at least 40", len(all))
	}
	names := map[string]bool{}
	for _, c := range all {
		if names[c.name] {
			t.Errorf("two misdeeds have the name %q", c.name)
		}
		names[c.name] = true
		t.Run(c.name, c.play)
	}
}

func (c *misdeed) play(t *testing.T) {
	const fine = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Type: text/plain\r\n\r\nfine"
	r := newRigFor(t, hostileLimits, rawWorker(t, func(conn net.Conn, from *bufio.Reader) {
		for {
			head, _, err := readRequest(from)
			if err != nil {
				return
			}
			if strings.HasPrefix(head, "GET /well ") {
				_, _ = io.WriteString(conn, fine)
				continue
			}
			if _, err := io.WriteString(conn, c.answer); err != nil {
				return
			}
			if c.then != nil {
				c.then(conn)
				return
			}
		}
	}))
	ask := c.asks
	if ask == "" {
		ask = get("/a")
	}
	w := r.dial()
	_ = w.SetDeadline(time.Now().Add(patience))
	w.write(strings.Replace(ask, "Host: x\r\n", "Host: x\r\nConnection: close\r\nX-Request-Id: own-1\r\n", 1))
	raw, _ := io.ReadAll(w.r)
	method, _, _ := strings.Cut(ask, " ")
	status, body := parsed(raw, method)
	r.idle()
	costs := r.tally().since(tally{})

	wanted := false
	for want := range strings.SplitSeq(c.gets, "|") {
		wanted = wanted || status == want
	}
	if !wanted {
		t.Errorf("gets: %s, want: %s\n%.1000s", status, c.gets, raw)
	}
	if c.says != "" && body != c.says {
		t.Errorf("the body is %.1000q, want %q", body, c.says)
	}
	if costs != c.costs {
		t.Errorf("costs: %s, want: %s", costs, c.costs)
	}
	for _, part := range c.has {
		if !strings.Contains(string(raw), part) {
			t.Errorf("%q is not in the answer:\n%.1000s", part, raw)
		}
	}
	for _, part := range c.lacks {
		if strings.Contains(string(raw), part) {
			t.Errorf("%q is in the answer:\n%.1000s", part, raw)
		}
	}
	for range 2 {
		if a := r.send("GET", "/well", ""); a.status != 200 || a.body != "fine" || a.err != nil {
			t.Errorf("the next client gets %d %.100q and %v", a.status, a.body, a.err)
		}
	}
}

// parsed is the last answer in raw: its status, "cut" behind it where it has no
// end, and its body.
func parsed(raw []byte, method string) (status, body string) {
	from := bufio.NewReader(bytes.NewReader(raw))
	for {
		resp, err := http.ReadResponse(from, &http.Request{Method: method})
		if err != nil {
			return strings.TrimSpace(status + " cut"), body
		}
		b, err := io.ReadAll(resp.Body)
		status, body = fmt.Sprint(resp.StatusCode), string(b)
		switch {
		case err != nil:
			return status + " cut", body
		case resp.StatusCode >= 200:
			return status, body
		}
	}
}

// repeats writes text until the gateway has enough of it, or n times.
func repeats(text string, n int) func(net.Conn) {
	return func(c net.Conn) {
		for range n {
			if _, err := io.WriteString(c, text); err != nil {
				return
			}
		}
	}
}

// ends ends the connection.
func ends(net.Conn) {}

// resets ends it without a farewell.
func resets(c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0) }

// waits leaves it open until the gateway ends it.
func waits(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

// halfCloses ends one direction, and waits for the other.
func halfCloses(c net.Conn) {
	_ = c.(*net.TCPConn).CloseWrite()
	waits(c)
}

// brokenAnswers are no answers, or have no end.
func brokenAnswers() []misdeed {
	const (
		ok    = "HTTP/1.1 200 OK\r\n"
		typed = ok + "Content-Type: text/plain\r\n"
	)
	var all []misdeed
	for _, c := range []struct{ name, answer string }{
		{"nothing", ""},
		{"an empty line", "\r\n\r\n"},
		{"HTML alone", "<html></html>\r\n\r\n"},
		{"another protocol", "SSH-2.0-OpenSSH_9.9\r\n"},
		{"TLS", "\x15\x03\x01\x00\x02\x02\x0a"},
		{"HTTP/2", "\x00\x00\x12\x04\x00\x00\x00\x00\x00"},
		{"a lower-case version", "http/1.1 200 OK\r\n\r\n"},
		{"no status", "HTTP/1.1\r\n\r\n"},
		{"a status of letters", "HTTP/1.1 abc OK\r\n\r\n"},
		{"a status of two digits", "HTTP/1.1 20 OK\r\n\r\n"},
		{"a status of four digits", "HTTP/1.1 2000 OK\r\n\r\n"},
		{"a status below 100", "HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n"},
		{"status 0", "HTTP/1.1 000 OK\r\nContent-Length: 0\r\n\r\n"},
		{"a status below 0", "HTTP/1.1 -20 OK\r\nContent-Length: 0\r\n\r\n"},
		{"a header without a colon", ok + "nonsense\r\n\r\n"},
		{"a header without a name", ok + ": x\r\n\r\n"},
		{"a name with a NUL", ok + "X\x00: z\r\n\r\n"},
		{"a length of letters", ok + "Content-Length: x\r\n\r\n"},
		{"a length with a plus", ok + "Content-Length: +2\r\n\r\nab"},
		{"a length below 0", ok + "Content-Length: -2\r\n\r\nab"},
		{"a length over 2^63", ok + "Content-Length: 9223372036854775808\r\n\r\nab"},
		{"a list of lengths", ok + "Content-Length: 2, 3\r\n\r\nab"},
		{"two lengths, the second larger", ok + "Content-Length: 2\r\nContent-Length: 3\r\n\r\nabc"},
		{"an unknown encoding of the transfer", ok + "Transfer-Encoding: x\r\n\r\nab"},
		{"two encodings of the transfer", ok + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"},
		{"a switch unasked", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"},
	} {
		all = append(all, misdeed{name: c.name, answer: c.answer, then: ends, gets: "502", costs: "1/0/0"})
	}
	return append(all,
		misdeed{name: "a name with a space", answer: ok + "X Y: z\r\nContent-Length: 0\r\n\r\n", gets: "200|502", costs: "1/0/0", lacks: []string{"X Y"}},
		misdeed{name: "a reset", then: resets, gets: "502", costs: "1/0/0"},
		misdeed{name: "half closed", then: halfCloses, gets: "502", costs: "1/0/0"},
		misdeed{name: "half closed within the head", answer: ok + "X: y\r\n", then: halfCloses, gets: "502", costs: "1/0/0"},
		misdeed{name: "a head without end", answer: ok, then: repeats("X-A: "+strings.Repeat("x", 1000)+"\r\n", 1<<20), gets: "502", costs: "1/0/0"},
		misdeed{name: "a line without end", answer: ok + "X: ", then: repeats(strings.Repeat("x", 1000), 1<<20), gets: "502", costs: "1/0/0"},
		misdeed{name: "a status line without end", answer: "HTTP/1.1 200 ", then: repeats(strings.Repeat("x", 1000), 1<<20), gets: "502", costs: "1/0/0"},
		misdeed{name: "half closed within the body", answer: typed + "Content-Length: 9\r\n\r\nabc", then: halfCloses, gets: "200 cut", says: "abc", costs: "1/0/0"},
		misdeed{name: "a reset within the body", answer: typed + "Content-Length: 9\r\n\r\nabc", then: resets, gets: "200 cut|cut", costs: "1/0/0"},
		misdeed{name: "half closed at the end", answer: typed + "\r\nabc", then: halfCloses, gets: "200", says: "abc", costs: "1/0/0"},
		misdeed{name: "a chunk that is none", answer: typed + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n", then: waits, gets: "200 cut", says: "abc", costs: "1/0/0"},
		misdeed{name: "a chunk without its end", answer: typed + "Transfer-Encoding: chunked\r\n\r\n3\r\nabcdef\r\n0\r\n\r\n", then: waits, gets: "200 cut", costs: "1/0/0"},
		misdeed{name: "a chunk below 0", answer: typed + "Transfer-Encoding: chunked\r\n\r\n-1\r\nabc\r\n0\r\n\r\n", then: waits, gets: "200 cut|cut", costs: "1/0/0"},
		misdeed{name: "a chunk over 2^64", answer: typed + "Transfer-Encoding: chunked\r\n\r\n10000000000000003\r\nabc\r\n0\r\n\r\n", then: waits, gets: "200 cut|cut", costs: "1/0/0"},
		misdeed{name: "an extension without end", answer: typed + "Transfer-Encoding: chunked\r\n\r\n3;", then: repeats(strings.Repeat("x", 1000), 1<<20), gets: "200 cut|cut", costs: "1/0/0"},
		misdeed{name: "trailers without end", answer: typed + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n", then: repeats("X-A: "+strings.Repeat("x", 1000)+"\r\n", 1<<20), gets: "200 cut|cut", costs: "1/0/0"},
		misdeed{name: "a flood of 103", answer: strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", 1000) + okAnswer, gets: "200|502", costs: "1/0/0"},
		misdeed{name: "100 unasked", answer: "HTTP/1.1 100 Continue\r\n\r\n" + okAnswer, gets: "200", says: "ok", costs: "1/0/0"},
		misdeed{name: "102 and 199", answer: "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 199 Odd\r\n\r\n" + okAnswer, gets: "200", says: "ok", costs: "1/0/0"},
		misdeed{name: "103 and no more", answer: "HTTP/1.1 103 Early Hints\r\n\r\n", then: ends, gets: "502", costs: "1/0/0"},
	)
}

// oddAnswers are answers that say too much, or of others.
func oddAnswers() []misdeed {
	const ok = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
	var (
		asked = post(complete, question)
		json  = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
		sized = func(head, body string) string {
			return fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", head, len(body), body)
		}
	)
	return []misdeed{
		{name: "a second answer behind", answer: okAnswer + "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad", gets: "200", says: "ok", costs: "1/0/0", lacks: []string{"bad"}},
		{name: "bytes behind", answer: okAnswer + "\r\n\r\nbad", gets: "200", says: "ok", costs: "1/0/0", lacks: []string{"bad"}},
		{name: "a second answer behind chunks", answer: ok + "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad", gets: "200", says: "ok", costs: "1/0/0"},
		{name: "a body behind 204", answer: "HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\nbad", gets: "204", costs: "1/0/0", lacks: []string{"bad"}},
		{name: "a body behind 304", answer: "HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\nbad", gets: "304", costs: "1/0/0", lacks: []string{"bad"}},
		{name: "a body behind HEAD", asks: ask("HEAD", "/a"), answer: ok + "Content-Length: 3\r\n\r\nbad", gets: "200", costs: "1/0/0", lacks: []string{"bad"}},
		{name: "the end of the connection unsaid", answer: okAnswer, then: ends, gets: "200", says: "ok", costs: "1/0/0"},
		{name: "a reset behind the answer", answer: okAnswer, then: resets, gets: "200|200 cut|cut|502", costs: "1/0/0"},
		{name: "a length and chunks", answer: ok + "Content-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", gets: "200", says: "ok", costs: "1/0/0", lacks: []string{"Content-Length"}},
		{name: "line feeds alone", answer: "HTTP/1.1 200 OK\nContent-Length: 2\n\nok", gets: "200", says: "ok", costs: "1/0/0"},
		{name: "a folded header", answer: "HTTP/1.1 200 OK\r\nX-A: 1\r\n X-B: 2\r\nContent-Length: 2\r\n\r\nok", gets: "200", says: "ok", costs: "1/0/0", lacks: []string{"\nX-B", "\n X-B"}},
		{name: "a carriage return in a value", answer: "HTTP/1.1 200 OK\r\nX-A: 1\rX-B: 2\r\nContent-Length: 2\r\n\r\nok", gets: "200|502", costs: "1/0/0", lacks: []string{"\rX-B"}},
		{name: "a redirect", answer: "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:1/well\r\nContent-Length: 0\r\n\r\n", gets: "307", costs: "1/0/0", has: []string{"Location: http://127.0.0.1:1/well\r\n"}},
		{name: "cookies", answer: ok + "Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 2\r\n\r\nok", gets: "200", says: "ok", costs: "1/0/0", has: []string{"Set-Cookie: a=1\r\nSet-Cookie: b=2\r\n"}},
		{
			name:   "headers between neighbours",
			answer: ok + "Connection: X-Mine, X-RateLimit-Limit, X-Request-Id\r\nX-Mine: 1\r\nKeep-Alive: timeout=9\r\nProxy-Authenticate: Basic\r\nProxy-Connection: x\r\nUpgrade: h2c\r\nTe: x\r\nContent-Length: 2\r\n\r\nok",
			gets:   "200", says: "ok", costs: "1/0/0", has: []string{"X-Request-Id: own-1\r\n", "X-Ratelimit-Limit: 1000\r\n"}, lacks: []string{"X-Mine", "Keep-Alive", "Proxy-", "h2c", "Te:"},
		},
		{
			name: "headers that we set, thrice",
			answer: ok + strings.Repeat("X-RateLimit-Limit: 7\r\nx-ratelimit-remaining: 7\r\nX-RATELIMIT-RESET: 7\r\nX-RateLimit-Reset-After: 7\r\nX-Request-Id: bad\r\n", 3) +
				"Content-Length: 2\r\n\r\nok",
			gets: "200", says: "ok", costs: "1/0/0", has: []string{"X-Request-Id: own-1\r\n", "X-Ratelimit-Limit: 1000\r\n", "X-Ratelimit-Remaining: 999\r\n"}, lacks: []string{": 7\r\n", "bad"},
		},
		{
			name: "headers that we set, as trailers",
			answer: ok + "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-RateLimit-Limit: 7\r\nX-Request-Id: bad\r\nSet-Cookie: bad\r\n" +
				"Content-Length: 7\r\nTransfer-Encoding: bad\r\nConnection: bad\r\nX-Sum: 1\r\n\r\n",
			gets: "200", says: "ok", costs: "1/0/0", has: []string{"X-Sum: 1\r\n"}, lacks: []string{": 7\r\n", "bad"},
		},
		{
			name: "headers that we set, as trailers announced",
			answer: ok + "Trailer: X-RateLimit-Limit, X-Request-Id, X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n" +
				"X-RateLimit-Limit: 7\r\nX-Request-Id: bad\r\nX-Sum: 1\r\n\r\n",
			gets: "200", says: "ok", costs: "1/0/0", has: []string{"X-Sum: 1\r\n"}, lacks: []string{": 7\r\n", "bad"},
		},
		{name: "metered: HTML", asks: asked, answer: sized("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n", "<html>"), gets: "200", says: "<html>", costs: "1/2/1024"},
		{name: "metered: no type", asks: asked, answer: sized("HTTP/1.1 200 OK\r\n", witnessed), gets: "200", says: witnessed, costs: "1/2/1024"},
		{name: "metered: nothing", asks: asked, answer: sized(json, ""), gets: "200", costs: "1/2/0"},
		{name: "metered: null", asks: asked, answer: sized(json, "null"), gets: "200", says: "null", costs: "1/2/0"},
		{name: "metered: an array", asks: asked, answer: sized(json, "["+witnessed+"]"), gets: "200", costs: "1/2/0"},
		{name: "metered: gzip that nobody asked for", asks: asked, answer: sized(json+"Content-Encoding: gzip\r\n", "\x1f\x8b\x08"), gets: "200", says: "\x1f\x8b\x08", costs: "1/2/1024"},
		{name: "metered: gzip by its name", asks: asked, answer: sized(json+"Content-Encoding: gzip\r\n", witnessed), gets: "200", says: witnessed, costs: "1/2/1024"},
		{name: "metered: 500 with a usage", asks: asked, answer: sized("HTTP/1.1 500 Oops\r\nContent-Type: application/json\r\n", witnessed), gets: "500", says: witnessed, costs: "1/0/0"},
		{name: "metered: a redirect with a usage", asks: asked, answer: sized("HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Type: application/json\r\n", witnessed), gets: "302", costs: "1/0/0"},
		{name: "metered: 206 with a usage", asks: asked, answer: sized("HTTP/1.1 206 Partial Content\r\nContent-Type: application/json\r\n", witnessed), gets: "206", costs: "1/7/5"},
		{name: "metered: a length within the JSON", asks: asked, answer: json + "Content-Length: 10\r\n\r\n" + witnessed, gets: "200", says: witnessed[:10], costs: "1/2/0"},
		{name: "metered: events by another name", asks: asked, answer: sized(json, event(3)+usageEvent), gets: "200", says: event(3) + usageEvent, costs: "1/2/1024"},
		{name: "metered: a byte order mark", asks: asked, answer: sized(json, "\ufeff"+witnessed), gets: "200", says: "\ufeff" + witnessed, costs: "1/2/1024"},
		{name: "metered: NaN in front of all", asks: asked, answer: sized(json, `{"x":NaN,`+witnessed[1:]), gets: "200", costs: "1/2/1024"},
		{name: "metered: NaN behind the usage", asks: asked, answer: sized(json, witnessed[:len(witnessed)-1]+`,"x":NaN}`), gets: "200", costs: "1/7/5"},
		{name: "metered: nesting without sense", asks: asked, answer: sized(json, `{"x":`+strings.Repeat("[", 5000)+strings.Repeat("]", 5000)+","+witnessed[1:]), gets: "200", costs: "1/2/1024"},
		{name: "metered: events that end in CR", asks: asked, answer: sized("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n", strings.ReplaceAll(event(3)+usageEvent+lastEvent, "\n", "\r")), gets: "200", costs: "1/30/70"},
		{name: "metered: events behind a byte order mark", asks: asked, answer: sized("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n", "\ufeff"+event(3)+usageEvent+lastEvent), gets: "200", costs: "1/30/70"},
		{name: "metered: an event of NULs", asks: asked, answer: sized("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n", "data: "+strings.Repeat("\x00", 1000)+"\n\n"+usageEvent), gets: "200", costs: "1/30/70"},
		{name: "metered: an event that is no JSON", asks: asked, answer: sized("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n", "data: {{{{\n\n"+usageEvent), gets: "200", costs: "1/30/70"},
	}
}

// falseUsages are usages that no sane worker reports, in each dialect: what
// flowed is counted in their place.
func falseUsages() []misdeed {
	var all []misdeed
	for _, d := range []struct{ name, path, ask, answer string }{
		{"openai", "/v1/chat/completions", prompt(8, ""), `{"choices":[{"message":{"content":"abcdabcd"}}],"usage":%s}`},
		{"anthropic", "/v1/messages", `{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"xxxxxxxx"}]}`, `{"content":[{"type":"text","text":"abcdabcd"}],"usage":%s}`},
		{"google", "/v1beta/models/m:generateContent", `{"contents":[{"parts":[{"text":"xxxxxxxx"}]}]}`, `{"candidates":[{"content":{"parts":[{"text":"abcdabcd"}]}}],"usageMetadata":%s}`},
		{"ollama", "/api/chat", `{"model":"m","stream":false,"messages":[{"role":"user","content":"xxxxxxxx"}]}`, `{"message":{"content":"abcdabcd"},"done":true,"x":%s}`},
	} {
		for _, u := range []struct{ name, value string }{
			{"null", "null"},
			{"a string", `"many"`},
			{"true", "true"},
			{"an array", "[7,5]"},
			{"a number", "1e999"},
			{"nothing in it", "{}"},
			{"negative", `N(-7,-5)`},
			{"strings", `N("7","5")`},
			{"halves", `N(7.5,5.5)`},
			{"huge", `N(1e999,1e999)`},
			{"2^63", `N(9223372036854775808,9223372036854775808)`},
			{"nulls", `N(null,null)`},
			{"objects", `N({},[])`},
		} {
			value := u.value
			if pair, ok := strings.CutPrefix(value, "N("); ok {
				in, out, _ := strings.Cut(strings.TrimSuffix(pair, ")"), ",")
				switch d.name {
				case "openai":
					value = fmt.Sprintf(`{"prompt_tokens":%s,"completion_tokens":%s,"total_tokens":%[1]s}`, in, out)
				case "anthropic":
					value = fmt.Sprintf(`{"input_tokens":%s,"output_tokens":%s}`, in, out)
				case "google":
					value = fmt.Sprintf(`{"promptTokenCount":%s,"candidatesTokenCount":%s,"totalTokenCount":%[1]s}`, in, out)
				case "ollama":
					value = fmt.Sprintf(`0,"prompt_eval_count":%s,"eval_count":%s`, in, out)
				}
			}
			body := fmt.Sprintf(d.answer, value)
			all = append(all, misdeed{
				name: "usage of " + d.name + ": " + u.name, asks: post(d.path, d.ask), gets: "200", says: body, costs: "1/2/2",
				answer: fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body),
			})
		}
	}
	return all
}

// TestEndlessLines has workers stream 32 MB without a line's end: they pass, and
// are not kept.
func TestEndlessLines(t *testing.T) {
	const pieces = 32
	piece := strings.Repeat("abcd", 1<<18)
	for name, c := range map[string]struct{ kind, path, begin string }{
		"events": {sse, "/v1/chat/completions", "data: {\"choices\":[{\"delta\":{\"content\":\""},
		"lines":  {"application/x-ndjson", "/api/chat", `{"message":{"content":"`},
		"JSON":   {"application/json", "/v1/chat/completions", `{"choices":[{"message":{"content":"`},
		"a name": {sse, "/v1/chat/completions", ""},
	} {
		t.Run(name, func(t *testing.T) {
			var once sync.Mutex
			most, before := int64(0), heap()
			r := newRig(t, tokenLimits, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				w.Header().Set("Content-Type", c.kind)
				_, _ = io.WriteString(w, c.begin)
				for i := range pieces {
					_, _ = io.WriteString(w, piece)
					if i == pieces/2 {
						once.Lock()
						most = heap()
						once.Unlock()
					}
				}
			}))
			resp, err := r.client.Do(r.request("POST", c.path, prompt(8, `"stream":true,`)))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			n, err := io.Copy(io.Discard, resp.Body)
			if want := int64(len(c.begin) + pieces*len(piece)); n != want || err != nil {
				t.Errorf("%d bytes came and %v, want %d", n, err, want)
			}
			once.Lock()
			defer once.Unlock()
			if grown := most - before; grown > 8<<20 {
				t.Errorf("%d bytes are held in the middle of %d", grown, n)
			}
		})
	}
}

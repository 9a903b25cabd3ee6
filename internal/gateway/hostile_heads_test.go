package gateway

import (
	"fmt"
	"strings"
)

// headTricks are request lines and heads that are none, or odd ones.
func headTricks() []trick {
	lines := func(n int, line string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, line+"\r\n", i)
		}
		return b.String()
	}
	tricks := []trick{}
	for _, c := range []struct{ name, send, gets string }{
		{"HTTP/0.9", "GET /a\r\n", "400 cut"},
		{"HTTP/0.9 with a version", "GET /a HTTP/0.9\r\nHost: x\r\n\r\n", "505 cut"},
		{"HTTP/2.0", "GET /a HTTP/2.0\r\nHost: x\r\n\r\n", "505 cut"},
		{"HTTP/9.9", "GET /a HTTP/9.9\r\nHost: x\r\n\r\n", "505 cut"},
		{"HTTP/1.10", "GET /a HTTP/1.10\r\nHost: x\r\n\r\n", "400 cut"},
		{"HTTP/1", "GET /a HTTP/1\r\nHost: x\r\n\r\n", "400 cut"},
		{"http/1.1", "GET /a http/1.1\r\nHost: x\r\n\r\n", "400 cut"},
		{"XTTP/1.1", "GET /a XTTP/1.1\r\nHost: x\r\n\r\n", "400 cut"},
		{"two spaces", "GET  /a HTTP/1.1\r\nHost: x\r\n\r\n", "400 cut"},
		{"a space in the target", "GET /a /b HTTP/1.1\r\nHost: x\r\n\r\n", "400 cut"},
		{"a tab in the target", "GET /a\tb HTTP/1.1\r\nHost: x\r\n\r\n", "400 cut"},
		{"tabs for spaces", "GET\t/a\tHTTP/1.1\r\nHost: x\r\n\r\n", "400 cut"},
		{"a NUL in the target", "GET /a\x00 HTTP/1.1\r\nHost: x\r\n\r\n", "400 cut"},
		{"a carriage return in the target", "GET /a\rb HTTP/1.1\r\nHost: x\r\n\r\n", "400 cut"},
		{"no target", "GET  HTTP/1.1\r\nHost: x\r\n\r\n", "400 cut"},
		{"no method", " /a HTTP/1.1\r\nHost: x\r\n\r\n", "400 cut"},
		{"a method that is no word", "G(T /a HTTP/1.1\r\nHost: x\r\n\r\n", "400 cut"},
		{"a NUL in the method", "GET\x00 /a HTTP/1.1\r\nHost: x\r\n\r\n", "400 cut"},
		{"a space before the method", " GET /a HTTP/1.1\r\nHost: x\r\n\r\n", "400 cut"},
		{"no Host", "GET /a HTTP/1.1\r\n\r\n", "400 cut"},
		{"two Hosts", "GET /a HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", "400 cut"},
		{"two Hosts alike", "GET /a HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", "400 cut"},
		{"a Host that is none", "GET /a HTTP/1.1\r\nHost: x y\r\n\r\n", "400 cut"},
		{"a Host with a NUL", "GET /a HTTP/1.1\r\nHost: x\x00y\r\n\r\n", "400 cut"},
		{"a line without a colon", "GET /a HTTP/1.1\r\nHost: x\r\nnonsense\r\n\r\n", "400 cut"},
		{"a header without a name", "GET /a HTTP/1.1\r\nHost: x\r\n: y\r\n\r\n", "400 cut"},
		{"a name with a space", "GET /a HTTP/1.1\r\nHost: x\r\nX Y: z\r\n\r\n", "400 cut"},
		{"a name with a byte above ASCII", "GET /a HTTP/1.1\r\nHost: x\r\nX\xff: z\r\n\r\n", "400 cut"},
		{"a name in brackets", "GET /a HTTP/1.1\r\nHost: x\r\n(X): z\r\n\r\n", "400 cut"},
		{"a NUL in a value", "GET /a HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n", "400 cut"},
		{"an escape in a value", "GET /a HTTP/1.1\r\nHost: x\r\nX: \x1b[2J\r\n\r\n", "400 cut"},
		{"a carriage return in a value", "GET /a HTTP/1.1\r\nHost: x\r\nX: a\rY: b\r\n\r\n", "400 cut"},
		{"a DEL in a value", "GET /a HTTP/1.1\r\nHost: x\r\nX: \x7f\r\n\r\n", "400 cut"},
		{"one long line", "GET /a HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 80<<10) + "\r\n\r\n", "431 cut"},
		{"a line without end", "GET /a HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 1<<20), "431 cut"},
		{"a long target", "GET /" + strings.Repeat("a", 80<<10) + " HTTP/1.1\r\nHost: x\r\n\r\n", "431 cut"},
		{"10,000 headers", "GET /a HTTP/1.1\r\nHost: x\r\n" + lines(10_000, "X-%d: y") + "\r\n", "431 cut"},
		{"a fold without end", "GET /a HTTP/1.1\r\nHost: x\r\nX: y\r\n" + strings.Repeat(" y\r\n", 30_000) + "\r\n", "431 cut"},
		{"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("\x00", 100) + "\r\n\r\n", "400 cut"},
		{"a request to a proxy", "CONNECT other.example:443 HTTP/1.1\r\nHost: other.example:443\r\n\r\n", "404 next"},
		{"a CONNECT to a path", "CONNECT /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "404 next"},
		{"a CONNECT in lower case", ask("connect", "/a"), "404 next"},
		{"a TRACE", ask("TRACE", "/a"), "404 next"},
		{"a TRACE in another case", ask("Trace", "/v1/completions"), "404 next"},
		{"a TRACK", ask("TRACK", "/a"), "404 next"},
		{"a CONNECT to a metered path", "CONNECT /v1/completions HTTP/1.1\r\nHost: x\r\n\r\n", "404 next"},
	} {
		tricks = append(tricks, trick{name: c.name, send: c.send, gets: c.gets})
	}
	return append(tricks,
		trick{name: "HTTP/1.2", send: "GET /a HTTP/1.2\r\nHost: x\r\n\r\n", gets: "200 next", costs: "1/0/0", reached: "GET /a"},
		trick{name: "PRI, without HTTP/2", send: ask("PRI", "*"), gets: "200 next", costs: "1/0/0", reached: "PRI *"},
		trick{name: "line feeds alone", send: "GET /a HTTP/1.1\nHost: x\nX-A: 1\n\n", gets: "200 next", costs: "1/0/0", reached: "GET /a", tells: []string{"X-A: 1\n"}},
		trick{name: "a folded value", send: get("/a", "X-A: 1\r\n  2"), gets: "200 next", costs: "1/0/0", reached: "GET /a", tells: []string{"X-A: 1 2\n"}},
		trick{name: "a folded header in a value", send: get("/a", "X-A: 1\r\n X-Api-Key: k"), gets: "200 next", costs: "1/0/0", reached: "GET /a", tells: []string{"X-A: 1 X-Api-Key: k\n"}},
		trick{name: "400 headers", send: "GET /a HTTP/1.1\r\nHost: x\r\n" + lines(400, "X-%d: y") + "\r\n", gets: "200 next", costs: "1/0/0", reached: "GET /a"},
		trick{name: "an empty Host", send: "GET /a HTTP/1.1\r\nHost:\r\n\r\n", gets: "200 next", costs: "1/0/0", reached: "GET /a"},
		trick{name: "HTTP/1.0 without a Host", send: "GET /a HTTP/1.0\r\n\r\n", gets: "200 cut", costs: "1/0/0", reached: "GET /a"},
		trick{name: "lower-case method", send: ask("get", "/a"), gets: "200 next", costs: "1/0/0", reached: "get /a"},
		trick{name: "lower-case method, metered", send: strings.Replace(post(complete, question), "POST", "post", 1), gets: "200 next", costs: "1/7/5", reached: "post " + complete + " " + question},
		trick{name: "mixed-case method, metered, invalid", send: strings.Replace(post(complete, "no"), "POST", "PosT", 1), gets: "400 next"},
		trick{name: "a method of 1,000 letters", send: ask(strings.Repeat("A", 1000), "/a"), gets: "200 next", costs: "1/0/0", reached: strings.Repeat("A", 1000) + " /a"},
		trick{name: "an unknown method on a metered path", send: ask("BREW", complete), gets: "200 next", costs: "1/0/0", reached: "BREW " + complete},
		trick{name: "HEAD on a metered path", send: ask("HEAD", complete) + get("/health", "Connection: close"), gets: "200 cut", costs: "1/0/0", reached: "HEAD " + complete},
		trick{name: "GET with a body on a metered path", send: strings.Replace(post(complete, question), "POST", "GET", 1), gets: "200 next", costs: "1/0/0", reached: "GET " + complete + " " + question},
		trick{name: "PUT on a metered path", send: strings.Replace(post(complete, question), "POST", "PUT", 1), gets: "200 next", costs: "1/7/5", reached: "PUT " + complete + " " + question},
		trick{name: "lower-case PUT on a metered path, invalid", send: strings.Replace(post(complete, "no"), "POST", "put", 1), gets: "400 next"},
		trick{name: "PATCH on a metered path", send: strings.Replace(post(complete, question), "POST", "PATCH", 1), gets: "200 next", costs: "1/0/0", reached: "PATCH " + complete + " " + question},
		trick{name: "DELETE with a request for a body", send: strings.Replace(post("/a", smuggled), "POST", "DELETE", 1), gets: "200 next", costs: "1/0/0", reached: "DELETE /a " + smuggled, tells: []string{"Connection: close"}},
		trick{name: "OPTIONS takes nothing", send: ask("OPTIONS", complete), gets: "200 next", reached: "OPTIONS " + complete},
		trick{name: "OPTIONS of all", send: ask("OPTIONS", "*"), gets: "200 next", reached: ""},
		trick{name: "OPTIONS with a body", send: strings.Replace(post("/a", smuggled), "POST", "OPTIONS", 1), gets: "200 next", reached: "OPTIONS /a " + smuggled, tells: []string{"Connection: close"}},
		trick{name: "lower-case OPTIONS", send: ask("options", "/a"), gets: "200 next", costs: "1/0/0", reached: "options /a"},
		trick{name: "a method to override", send: ask("GET", complete, "X-HTTP-Method-Override: POST"), gets: "200 next", costs: "1/0/0", reached: "GET " + complete, hides: []string{"Override"}},
		trick{name: "a method to override what takes nothing", send: ask("OPTIONS", complete, "X-HTTP-Method-Override: POST"), gets: "200 next", reached: "OPTIONS " + complete, hides: []string{"Override"}},
	)
}

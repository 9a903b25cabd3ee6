package gateway

import "strings"

// headerTricks are headers that lie about the body, about who speaks to whom,
// or about what the gateway itself says.
func headerTricks() []trick {
	tricks := []trick{}
	for _, c := range []struct{ name, line string }{
		{"gzip", "Content-Encoding: gzip"},
		{"x-gzip", "Content-Encoding: x-gzip"},
		{"deflate", "Content-Encoding: deflate"},
		{"br", "Content-Encoding: br"},
		{"zstd", "Content-Encoding: zstd"},
		{"upper case", "CONTENT-ENCODING: GZIP"},
		{"behind identity", "Content-Encoding: identity, gzip"},
		{"before identity", "Content-Encoding: gzip, identity"},
		{"a line behind identity", "Content-Encoding: identity\r\nContent-Encoding: gzip"},
		{"a line behind nothing", "Content-Encoding:\r\nContent-Encoding: gzip"},
		{"named for one hop", "Connection: Content-Encoding\r\nContent-Encoding: gzip"},
		{"a list of nothing", "Content-Encoding: ,"},
		{"in quotes", `Content-Encoding: "identity"`},
	} {
		tricks = append(tricks, trick{name: "encoded: " + c.name, send: post(complete, "\x1f\x8b\x08"+strings.Repeat("\x00", 50), c.line), gets: "415 cut"})
	}
	for _, c := range []struct{ name, line string }{
		{"UTF-7", "Content-Type: application/json; charset=utf-7"},
		{"UTF-16", "Content-Type: application/json; charset=utf-16"},
		{"escapes of Python's", "Content-Type: application/json; charset=unicode_escape"},
		{"upper case, in quotes", "Content-Type: application/json;CHARSET=\"UTF-7\""},
		{"escaped in quotes", "Content-Type: application/json; charset=\"ut\\f-7\""},
		{"two, UTF-8 first", "Content-Type: application/json; charset=utf-8; charset=utf-7"},
		{"two lines, UTF-8 first", "Content-Type: application/json; charset=utf-8\r\nContent-Type: application/json; charset=utf-7"},
		{"in pieces", "Content-Type: application/json; charset*0=utf; charset*1=-7"},
		{"of another language", "Content-Type: application/json; charset*=us-ascii'en'utf-7"},
		{"spaces around", "Content-Type: application/json ; charset = utf-7"},
		{"a comma before", "Content-Type: application/json, x; charset=utf-7"},
		{"of text", "Content-Type: text/plain; charset=utf-7"},
		{"no type", "Content-Type: charset=utf-7"},
		{"nothing", "Content-Type: application/json; charset="},
		{"spaces in it", "Content-Type: application/json; charset=\" utf-7\""},
	} {
		// A maximum of 1, and in UTF-7 one of 100,000 behind it.
		odd := `{"model":"m","max_tokens":1,"prompt":"+ACI-,+ACI-max_tokens+ACI-:100000,+ACI-x+ACI-:+ACI-y"}`
		tricks = append(tricks, trick{name: "charset: " + c.name, send: post(complete, odd, c.line), gets: "415 cut"})
	}
	tricks = append(tricks, trick{
		name: "charset: not metered", gets: "200 next", costs: "1/0/0", reached: "POST /a abc", tells: []string{"charset=utf-7"},
		send: post("/a", "abc", "Content-Type: application/json; charset=utf-7"),
	})
	metered := func(name string, tells, hides []string, headers ...string) {
		tricks = append(tricks, trick{name: name, send: post(complete, question, headers...), gets: "200 next", costs: "1/7/5", reached: "POST " + complete + " " + question, tells: tells, hides: hides})
	}
	plain := func(name string, tells, hides []string, headers ...string) {
		tricks = append(tricks, trick{name: name, send: post("/a", "abc", headers...), gets: "200 next", costs: "1/0/0", reached: "POST /a abc", tells: tells, hides: hides})
	}
	metered("type: a form", nil, nil, "Content-Type: multipart/form-data; boundary=x")
	metered("type: urlencoded", nil, nil, "Content-Type: application/x-www-form-urlencoded")
	metered("type: text", nil, nil, "Content-Type: text/plain")
	metered("type: UTF-8", nil, nil, "Content-Type: application/json; charset=utf-8")
	metered("type: UTF-8, upper case, in quotes", nil, nil, "Content-Type: application/json;CHARSET=\"UTF-8\"; x=y")
	metered("type: ASCII", nil, nil, "Content-Type: application/json; charset=US-ASCII")
	metered("type: a parameter that is none", nil, nil, "Content-Type: application/json; x")
	metered("type: nothing", nil, nil, "Content-Type:")
	metered("type: two", nil, nil, "Content-Type: multipart/form-data", "Content-Type: application/json")
	metered("hop by hop: our own headers", []string{"X-Request-Id: a1", "X-Forwarded-For: 127.0.0.1"}, nil,
		"X-Request-Id: a1", "Connection: X-Request-Id, X-Forwarded-For, X-Forwarded-Host, Content-Length, Host")
	metered("hop by hop: the key", nil, []string{"secret"}, "Authorization: Bearer secret", "Connection: Authorization")
	metered("hop by hop: the type", nil, []string{"Content-Type"}, "Content-Type: application/json", "Connection: Content-Type")
	metered("hop by hop: keep-alive of many", nil, []string{"X-A", "X-B"}, "Connection: X-A", "Connection: ,, x-b ,", "X-A: 1", "X-B: 2")
	metered("hop by hop: no name", nil, []string{"Keep-Alive"}, "Connection: (x), \"y\", keep-alive", "Keep-Alive: timeout=1000")
	metered("accepts gzip", nil, []string{"Accept-Encoding"}, "Accept-Encoding: gzip, br")
	metered("asks to go on twice", nil, []string{"Expect"}, "Expect: 100-continue, 100-continue")
	metered("asks to go on", nil, []string{"Expect"}, "Expect: 100-continue")
	metered("TE", []string{"Te: trailers\n"}, []string{"chunked"}, "TE: trailers, chunked")
	metered("a websocket by POST", nil, []string{"Upgrade", "Connection"}, "Connection: Upgrade", "Upgrade: websocket")
	plain("h2c", nil, []string{"Upgrade", "Connection:", "HTTP2-Settings"}, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__")
	plain("h2c, not named for one hop", nil, []string{"Upgrade", "Connection:"}, "Connection: Upgrade", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__")
	plain("h2c beside a websocket", nil, []string{"h2c", "Connection:"}, "Connection: Upgrade", "Upgrade: websocket, h2c")
	plain("h2c in a second line", nil, []string{"h2c"}, "Connection: Upgrade", "Upgrade: websocket", "Upgrade: h2c")
	plain("TLS", nil, []string{"Upgrade", "Connection:"}, "Connection: Upgrade", "Upgrade: TLS/1.0")
	plain("an unknown protocol", nil, []string{"Upgrade", "Connection:"}, "Connection: Upgrade", "Upgrade: x")
	plain("an upgrade without Connection", nil, []string{"Upgrade"}, "Upgrade: websocket")
	plain("a websocket by POST, not metered", nil, []string{"Upgrade"}, "Connection: Upgrade", "Upgrade: websocket")
	plain("Proxy headers", nil, []string{"Proxy-"}, "Proxy-Authorization: Basic x", "Proxy-Connection: keep-alive", "Proxy-Authenticate: x")
	plain("rate limits of its own", nil, nil, "X-RateLimit-Limit: 999999", "X-RateLimit-Remaining: 999999", "RateLimit: \"a\";r=9", "Retry-After: 0")
	plain("a request id of emoji", nil, []string{"\U0001f600"}, "X-Request-Id: \U0001f600")
	plain("a request id of 129 letters", nil, []string{"zzzz"}, "X-Request-Id: "+strings.Repeat("z", 129))
	plain("a request id of 128 letters", []string{"X-Request-Id: " + strings.Repeat("a", 128) + "\n"}, nil, "X-Request-Id: "+strings.Repeat("a", 128))
	plain("a request id with spaces", nil, []string{"a b"}, "X-Request-Id: a b")
	plain("a request id in markup", nil, []string{"<b>"}, "X-Request-Id: <b>")
	plain("two request ids", []string{"X-Request-Id: a1\n"}, []string{"z2"}, "X-Request-Id: a1", "X-Request-Id: z2")
	plain("a folded request id", nil, []string{"z2"}, "X-Request-Id: a1\r\n z2")
	plain("a tenant", nil, nil, "X-Tenant: acme", "X-Tenant-Id: acme")
	plain("who forwards", []string{"X-Forwarded-For: 127.0.0.1\n"}, []string{"10.0.0.1", "evil"},
		"X-Forwarded-For: 10.0.0.1", "X-Forwarded-Host: evil", "X-Forwarded-Proto: evil", "X-Forwarded-Port: 10.0.0.1", "X-Forwarded-Server: evil", "X-Forwarded-Prefix: /evil",
		"X-Real-IP: 10.0.0.1", "Forwarded: for=10.0.0.1")
	plain("who forwards, in underscores", []string{"X-Forwarded-For: 127.0.0.1\n", "Session_id: a1"}, []string{"10.0.0.1", "evil"},
		"X_Forwarded_For: 10.0.0.1", "X-Forwarded_Host: evil", "x_forwarded-proto: evil", "X_FORWARDED_PREFIX: /evil", "X_Real_IP: 10.0.0.1", "_Forwarded: a1", "X_Request_Id: evil", "session_id: a1")
	plain("a key in underscores", []string{"Authorization: Bearer a1"}, []string{"other"}, "Authorization: Bearer a1", "X_Api_Key: other", "API_KEY: other", "X_Goog-Api_Key: other")
	plain("a second key that is looked at by nobody", []string{"Authorization: Basic a1"}, []string{"other"}, "Authorization: Basic a1", "Authorization: Bearer other", "X-Api-Key:", "X-Api-Key: other")
	plain("a length in underscores", []string{"Content-Length: 3"}, []string{"_", "999"}, "Content_Length: 999", "Transfer_Encoding: chunked", "Content_Encoding: gzip", "Proxy_Connection: 999", "Keep_Alive: 999")
	plain("another request by headers", nil, []string{"override", "completions"}, "X-HTTP-Method-Override: POST", "X-HTTP-Method: POST", "X-Method-Override: POST", "X_Http_Method_Override: POST",
		"X-Original-URL: "+complete, "X-Rewrite-URL: "+complete, "X_Rewrite_URL: "+complete)
	tricks = append(tricks, trick{
		name: "type: two, where a form passes unread", gets: "400 next",
		send: post("/v1/audio/transcriptions", "--x", "Content-Type: multipart/form-data; boundary=x", "Content-Type: application/json"),
	})
	for _, c := range []struct{ name, value string }{{"200-ok", "200-ok"}, {"emptied", "x=y"}} {
		tricks = append(tricks, trick{name: "expects " + c.name, send: post(complete, question, "Expect: "+c.value), gets: "417 cut"})
	}
	// Trailers are no headers: what the gateway vouches for is not in them.
	chunked := func(name, gets, costs, reached string, tells, hides []string, announced, trailer string) {
		headers := []string{"Transfer-Encoding: chunked"}
		if announced != "" {
			headers = append(headers, "Trailer: "+announced)
		}
		tricks = append(tricks, trick{
			name: "trailers: " + name, gets: gets, costs: costs, reached: reached, tells: tells, hides: hides,
			send: ask("POST", "/a", headers...) + "3\r\nabc\r\n0\r\n" + trailer + "\r\n",
		})
	}
	chunked("announced", "200 next", "1/0/0", "POST /a abcX-Sum: 1\n", []string{"X-Sum: 1"}, nil, "X-Sum", "X-Sum: 1\r\n")
	chunked("announced, no names", "200 next", "1/0/0", "POST /a abcX-Sum: 1\n", []string{"X-Sum: 1"}, []string{"a b", "\xff"}, "a b, X-Sum, \xff, \"", "X-Sum: 1\r\n")
	chunked("announced, framing", "400 cut", "", "", nil, nil, "Content-Length", "Content-Length: 9\r\n")
	chunked("announced, Transfer-Encoding", "400 cut", "", "", nil, nil, "transfer-encoding", "Transfer-Encoding: x\r\n")
	forged := "Content-Length: 9\r\nTransfer-Encoding: x\r\nConnection: x\r\nAuthorization: Bearer other\r\nX-Api-Key: other\r\nX-Forwarded-For: 10.0.0.1\r\nX-Real-Ip: 10.0.0.1\r\nX-Request-Id: other\r\nHost: other\r\nX_Forwarded_For: 10.0.0.1\r\nX-HTTP-Method-Override: other\r\n"
	hidden := []string{"other", "10.0.0.1", "Content-Length", "Transfer-Encoding: x", "Connection"}
	chunked("not announced, forged", "200 next", "1/0/0", "POST /a abcX-Sum: 1\n", nil, hidden, "", forged+"X-Sum: 1\r\n")
	chunked("announced, forged", "200 next", "1/0/0", "POST /a abcX-Sum: 1\n", nil, hidden, "X-Api-Key, Authorization, X-Forwarded-For, X-Request-Id, X-Sum",
		"Authorization: Bearer other\r\nX-Api-Key: other\r\nX-Forwarded-For: 10.0.0.1\r\nX-Request-Id: other\r\nX-Sum: 1\r\n")
	chunked("a request in them", "400 cut", "1/0/0", part, nil, nil, "", "GET /smuggled HTTP/1.1\r\n")
	chunked("without end", "400 cut", "1/0/0", part, nil, nil, "", "X: "+strings.Repeat("x", 1<<20)+"\r\n")
	tricks = append(tricks, trick{
		name: "trailers: metered", gets: "200 next", costs: "1/7/5", reached: "POST " + complete + " " + question, hides: []string{"other", "X-Sum"},
		send: ask("POST", complete, "Transfer-Encoding: chunked", "Trailer: X-Sum") + strings.TrimSuffix(chunks(question), "\r\n") + "X-Sum: 1\r\nX-Api-Key: other\r\n\r\n",
	})
	return tricks
}

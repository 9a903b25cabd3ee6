package gateway

// meteredPathTricks are other ways to write a path whose body is read. What a
// worker may read as one is one.
func meteredPathTricks() []trick {
	var tricks []trick
	for _, c := range []struct{ name, target string }{
		{"slashes", "//v1//completions"},
		{"a slash at the end", "/v1/completions/"},
		{"a dot", "/./v1/./completions/."},
		{"two dots", "/v1/x/../completions"},
		{"two dots at the root", "/../../v1/completions"},
		{"encoded dots", "/v1/x/%2e%2E/completions"},
		{"an encoded dot", "/v1/%2e/completions"},
		{"encoded letters", "/v1/%63ompletions"},
		{"an encoded slash", "/v1%2fcompletions"},
		{"encoded slashes at the end", "/v1/completions%2F%2f"},
		{"encoded slashes and dots", "/x%2F..%2Fv1%2Fcompletions"},
		{"parameters", "/v1/completions;x=y"},
		{"parameters before", "/v1;x/completions"},
		{"encoded parameters", "/v1/completions%3Bx"},
		{"parameters of dots", "/v1/x/..;/completions"},
		{"a bare ?", "/v1/completions?"},
		{"a query with another path", "/v1/completions?/../../a"},
		{"a query of nothing", "/v1/completions?&&=&"},
		{"a key in the query", "/v1/completions?key=free-key-0123456789"},
		{"a fragment", "/v1/completions#x"},
		{"a fragment of nothing", "/v1/completions#"},
		{"a fragment with a path", "/v1/completions#/../../a"},
		{"a fragment before a query", "/v1/completions#?x"},
		{"a fragment behind a slash", "/v1/completions/#x"},
		{"a fragment behind parameters", "/v1/completions;x#y"},
		{"upper case", "/V1/COMPLETIONS"},
		{"upper case, encoded", "/V1/%43ompletions"},
		{"a backslash", `/v1\completions`},
		{"a backslash at the end", `/v1/completions\`},
		{"backslashes and dots", `/x\..\v1\completions`},
		{"an encoded backslash", "/v1%5ccompletions"},
		{"in front of it another path", "/a/b/v1/completions"},
		{"a host", "//other.example/v1/completions"},
	} {
		tricks = append(tricks, trick{name: c.name, send: post(c.target, question), gets: "200 next", costs: "1/7/5", reached: "POST " + c.target + " " + question})
	}
	for _, c := range []struct{ name, target, want string }{
		{"absolute form", "http://other.example/v1/completions", "/v1/completions"},
		{"absolute form of https", "https://other.example:1/v1/completions", "/v1/completions"},
		{"absolute form with a user", "http://a:b@other.example/v1/completions", "/v1/completions"},
		{"absolute form, upper case", "HTTP://OTHER/v1/completions", "/v1/completions"},
		{"a scheme and no host", "http:/v1/completions", "/v1/completions"},
		{"a scheme and three slashes", "http:///v1/completions", "/v1/completions"},
		{"an unknown scheme", "x:/v1/completions", "/v1/completions"},
		{"absolute form with a query", "http://other.example/v1/completions?http://a", "/v1/completions?http://a"},
	} {
		tricks = append(tricks, trick{name: c.name, send: post(c.target, question), gets: "200 next", costs: "1/7/5", reached: "POST " + c.want + " " + question})
	}
	twin := func(name, target, body string) {
		tricks = append(tricks, trick{name: name, send: post(target, body), gets: "200 next", costs: "1/7/5", reached: "POST " + target + " " + body})
	}
	tricks = append(tricks, trick{name: "authority form", send: post("other.example:443", "abc"), gets: "200 next", costs: "1/0/0", reached: "POST / abc"})
	twin("another model in the path", "/v1beta/models/a%2F..%2Fb:generateContent", `{"contents":[]}`)
	twin("an encoded colon", "/v1beta/models/b%3AgenerateContent", `{"contents":[]}`)
	twin("a deployment", "/openai/deployments/GPT/chat/completions", `{"messages":[]}`)
	twin("Ollama's, upper case", "/API/Chat", `{"model":"m","messages":[]}`)
	twin("Google's, upper case", "/V1beta/models/b:GENERATECONTENT", `{"contents":[]}`)
	const ranks = `{"model":"m","query":"a","documents":["b"]}`
	tricks = append(tricks,
		trick{name: "a twin of ComfyUI's, upper case", send: post("/API/Prompt", "no"), gets: "400 next"},
		trick{
			name: "several conversations at a time", send: post("/v1/chat/completions/batch", `{"messages":[[],[]],"max_tokens":9}`), gets: "200 next", costs: "1/7/5",
			reached: `POST /v1/chat/completions/batch {"messages":[[],[]],"max_tokens":9}`,
		},
		trick{name: "another word for a rerank", send: post("/v1/reranking", ranks), gets: "200 next", costs: "1/12/5", reached: "POST /v1/reranking " + ranks},
	)
	twin("parameters behind an encoded slash", "/x%2f..;/v1%3Bx%2Fcompletions;", question)
	twin("Anthropic's, dots", "/x/../v1/messages", `{"model":"m","messages":[]}`)
	for _, c := range []struct{ name, target, gets string }{
		{"a broken encoding", "/v1/%zzcompletions", "400 cut"},
		{"half an encoding", "/v1/completions%", "400 cut"},
		{"half an encoding, one digit", "/v1/completions%2", "400 cut"},
		{"no slash before", "v1/completions", "400 cut"},
		{"a control byte", "/v1/completions\x01", "400 cut"},
		{"a DEL", "/v1/completions\x7f", "400 cut"},
		{"a host with a fragment", "http://other#/v1/completions", "400 cut"},
		{"a host of no letters", "http://xn--\xc3\xa9/v1/completions", "400 next"},
		{"a host of other letters", "http://\xc3\xa9\xff/v1/completions", "400 next"},
	} {
		tricks = append(tricks, trick{name: c.name, send: post(c.target, question), gets: c.gets})
	}
	// What no worker reads as one is a plain request.
	for _, c := range []struct{ name, target string }{
		{"an encoded NUL", "/v1/completions%00"},
		{"an encoded ?", "/v1/completions%3Fx"},
		{"encoded twice", "/v1/%2563ompletions"},
		{"overlong dots", "/v1/x/%c0%ae%c0%ae/completions"},
		{"bytes above ASCII", "/v1/completions\xff"},
		{"a letter of another script", "/v1/\u0441ompletions"},
		{"a longer word", "/v1/completionsx"},
	} {
		tricks = append(tricks, trick{name: c.name, send: post(c.target, question), gets: "200 next", costs: "1/0/0", reached: "POST " + c.target + " " + question})
	}
	return tricks
}

// closedPathTricks are other ways to write a closed route.
func closedPathTricks() []trick {
	var tricks []trick
	for _, target := range []string{
		"/metrics", "//metrics", "/metrics/", "/./metrics", "/x/../metrics", "/%6detrics", "/%2e/metrics", "/metrics%2F", "/x%2f..%2fmetrics",
		"/metrics;x", "/;/metrics", "/..;/metrics", "/metrics?x", "/metrics#x", "/metrics#", "/x/..#/../metrics", "/METRICS", "/Metrics/", `/\metrics`, `/metrics\`, "/%5cmetrics",
		"http://other/metrics", "http:/metrics", "/api/internal/logs", "/api/../internal/logs", "/INTERNAL/logs", "/API/internal/logs", "/Api/%49nternal/logs", "/internal/logs#", "/v1/load_lora_adapter#x", "/internal%3bx%2flogs", "/a%2f../x/..%3b/metrics", "/metrics/%2e%2e/metrics", "/metrics/..", "/metrics/%2e%2e", "/metrics/x/../..", "/internal/..#",
	} {
		c := trick{name: target, send: get(target), gets: "404 next"}
		if target == "/x/..#/../metrics" { // the end of it is the fragment
			c.gets, c.costs, c.reached = "200 next", "1/0/0", "GET "+target
		}
		tricks = append(tricks, c)
	}
	return tricks
}

// limitPathTricks are other ways to write paths whose limits are used up.
func limitPathTricks() []trick {
	var tricks []trick
	for _, target := range []string{
		"/jobs", "//jobs", "/jobs/", "/./jobs", "/x/../jobs", "/%6aobs", "/jobs;x", "/jobs?x", "/jobs#x", "/jobs#/../x", "/%2e/jobs", "http://other/jobs", "http:/jobs", "/jobs/.", "/jobs/x/..", "/;x/jobs", "/a%2f../jobs%3bx", "/x%2f../x/..%3b/jobs",
	} {
		tricks = append(tricks, trick{name: target, send: post(target, ""), gets: "429 next"})
	}
	for _, target := range []string{"/prompt", "/api/prompt", "/api//prompt", "/api/./prompt", "/api/%70rompt", "/api/prompt/", "/api/prompt;x", "/api/prompt#x", "/x/../api/prompt", "/api;x/prompt", "http://other/api/prompt"} {
		tricks = append(tricks, trick{name: target, send: post(target, comfyPrompt), gets: "429 next"})
	}
	return append(tricks,
		trick{name: "lower-case method", send: ask("post", "/jobs"), gets: "429 next"},
		trick{name: "another path", send: post("/job", ""), gets: "200 next", costs: "1/0/0", reached: "POST /job"},
		trick{name: "another case", send: post("/Jobs", ""), gets: "200 next", costs: "1/0/0", reached: "POST /Jobs"},
		trick{name: "another method", send: get("/jobs"), gets: "200 next", costs: "1/0/0", reached: "GET /jobs"},
	)
}

// bypassTricks come when every limit is used up: what is no free path and shows
// no free key is denied.
func bypassTricks() []trick {
	free := func(target string) trick {
		return trick{name: target, send: get(target), gets: "200 next", reached: "GET " + target, free: true}
	}
	tricks := []trick{free("/free")}
	for _, target := range []string{
		"//free", "/free/", "/./free", "/x/../free", "/%66ree", "/free;x", "/;/free", "/free%2F", "/free%2F..%2Fa", "/free/../a", "/free/..%2fa", "/free;/../a", "/free#", "/free#/../a",
		"/FREE", "/free%00", "/freex", `/free\..\a`, "/free%3Fa", "/api/free", "/a?/free", "/a#/free", "/%2e/free", "/free%20", "/free/.",
	} {
		tricks = append(tricks, trick{name: target, send: get(target), gets: "429 next"})
	}
	tricks = append(tricks,
		trick{name: "a query", send: get("/free?x=/a"), gets: "200 next", reached: "GET /free?x=/a", free: true},
		trick{name: "absolute form", send: get("http://other/free"), gets: "200 next", reached: "GET /free", free: true},
		trick{name: "the key", send: get("/a", "Authorization: Bearer free-key-0123456789"), gets: "200 next", reached: "GET /a", free: true},
		trick{name: "the key opens no closed route", send: get("/metrics", "Authorization: Bearer free-key-0123456789"), gets: "404 next"},
	)
	const key = "free-key-0123456789"
	for _, c := range []struct{ name, lines string }{
		{"behind another key", "Authorization: Bearer other\r\nX-Api-Key: " + key},
		{"in a second line", "Authorization: Bearer other\r\nAuthorization: Bearer " + key},
		{"in a second line of its own header", "X-Api-Key: other\r\nX-Api-Key: " + key},
		{"in another scheme", "Authorization: Basic " + key},
		{"in no scheme", "Authorization: " + key},
		{"in a longer scheme", "Authorization: BearerX " + key},
		{"with a word behind", "Authorization: Bearer " + key + " x"},
		{"with a word before", "Authorization: Bearer x " + key},
		{"in a list", "Authorization: Bearer " + key + ", Bearer other"},
		{"in quotes", `Authorization: Bearer "` + key + `"`},
		{"in upper case", "Authorization: Bearer FREE-KEY-0123456789"},
		{"with a NUL's escape", "Authorization: Bearer " + key + "%00"},
		{"a part of it", "Authorization: Bearer free-key-012345678"},
		{"its digest", "Authorization: Bearer sha256:4f2cbfbf5d1b6f8e8f63b3a3ea7c0fbff1c4b0a0a9d0b6ee8dd0a1b2c3d4e5f6"},
		{"in a header nobody reads", "X-Key: " + key},
		{"in a name with an underscore", "X_Api_Key: " + key},
		{"in a cookie", "Cookie: Authorization=Bearer " + key},
		{"nothing before another", "X-Api-Key:\r\nX-Key: " + key},
		{"folded", "Authorization: Bearer free-key-\r\n 0123456789"},
		{"as a proxy's", "Proxy-Authorization: Bearer " + key},
	} {
		tricks = append(tricks, trick{name: "the key " + c.name, send: get("/a", c.lines), gets: "429 next"})
	}
	return append(tricks,
		trick{name: "the key in the query", send: get("/a?key=" + key), gets: "429 next"},
		trick{name: "the key in the path", send: get("/a;key=" + key), gets: "429 next"},
		trick{name: "the key in a trailer", send: ask("POST", "/a", "Transfer-Encoding: chunked", "Trailer: X-Api-Key") + "0\r\nX-Api-Key: " + key + "\r\n\r\n", gets: "429 cut"},
	)
}

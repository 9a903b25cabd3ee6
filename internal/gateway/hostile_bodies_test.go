package gateway

import (
	"strings"
	"unicode/utf16"
)

// bodyTricks are bodies that two readers may take for different asks, and
// bodies that cost much to read.
func bodyTricks() []trick {
	utf16le := func(s string) string {
		var b strings.Builder
		for _, u := range utf16.Encode([]rune(s)) {
			b.WriteByte(byte(u))
			b.WriteByte(byte(u >> 8))
		}
		return b.String()
	}
	const chat = "/v1/chat/completions"
	tricks := []trick{}
	refused := func(name, path, body string) {
		tricks = append(tricks, trick{name: name, send: post(path, body), gets: "400 next"})
	}
	for _, c := range []struct{ name, body string }{
		{"empty", ""},
		{"a space", " "},
		{"null", "null"},
		{"an array", "[" + question + "]"},
		{"a string", `"` + strings.Repeat("x", 100) + `"`},
		{"a number", "1e999"},
		{"two objects", question + question},
		{"two lines of objects", question + "\n" + question},
		{"a NUL behind", question + "\x00"},
		{"a NUL before", "\x00" + question},
		{"a byte order mark", "\ufeff" + question},
		{"UTF-16", utf16le(question)},
		{"UTF-16 with a byte order mark", "\xff\xfe" + utf16le(question)},
		{"a comment", `{"model":"m"/*,"prompt":"x"*/}`},
		{"a comment of a line", "{\"model\":\"m\"//\n}"},
		{"single quotes", `{'model':'m'}`},
		{"names without quotes", `{model:"m"}`},
		{"a comma at the end", `{"model":"m",}`},
		{"NaN", `{"model":"m","max_tokens":NaN}`},
		{"Infinity", `{"model":"m","max_tokens":Infinity}`},
		{"NaN where nobody reads", `{"model":"m","temperature":NaN}`},
		{"a plus", `{"max_tokens":+1}`},
		{"hexadecimal", `{"max_tokens":0x10}`},
		{"zeros before", `{"max_tokens":0010}`},
		{"a bare control byte", "{\"model\":\"a\nb\"}"},
		{"a form feed for a space", "{\f\"model\":\"m\"}"},
		{"a no-break space", "{\u00a0\"model\":\"m\"}"},
		{"an escape that is none", `{"model":"\x41"}`},
		{"half a surrogate in the model", `{"model":"\ud800"}`},
		{"invalid UTF-8 in the model", "{\"model\":\"\xc0\xae\"}"},
		{"invalid UTF-8 in a key", "{\"model\xff\":\"m\"}"},
		{"a key twice", `{"model":"m","model":"n"}`},
		{"a key twice, alike", `{"model":"m","model":"m"}`},
		{"a key twice, escaped", `{"model":"m","\u006dodel":"n"}`},
		{"a key twice, folded", `{"max_tokens":1,"Max_Tokens":100000}`},
		{"a key twice, folded by a long s", "{\"stream\":false,\"\u017ftream\":true}"},
		{"a key twice, folded by a Kelvin sign", "{\"max_tokens\":1,\"max_to\u212aens\":100000}"},
		{"a key twice, the first null", `{"max_tokens":null,"max_tokens":100000}`},
		{"a model that is a number", `{"model":1}`},
		{"a model that is an object", `{"model":{"a":"m"}}`},
		{"a maximum below 0", `{"max_tokens":-1}`},
		{"a maximum of minus nothing much", `{"max_tokens":-0.5}`},
		{"a maximum of a half", `{"max_tokens":0.5}`},
		{"a maximum of 1e999", `{"max_tokens":1e999}`},
		{"a maximum of 2^63", `{"max_tokens":9223372036854775808}`},
		{"a maximum of 10^400", `{"max_tokens":1` + strings.Repeat("0", 400) + `}`},
		{"a maximum in an array", `{"max_tokens":[1]}`},
		{"a maximum in words", `{"max_tokens":"many"}`},
		{"a maximum in a string, below 0", `{"max_tokens":"-1"}`},
		{"a maximum in a string, with spaces", `{"max_tokens":" 1 "}`},
		{"a maximum in a string, in other digits", "{\"max_tokens\":\"\u0661\"}"},
		{"a maximum that is true", `{"max_tokens":true}`},
		{"stream as a string", `{"stream":"true"}`},
		{"stream as a number", `{"stream":1}`},
		{"no answers", `{"n":0}`},
		{"less than no answers", `{"n":-1}`},
		{"half an answer", `{"n":0.5}`},
		{"2^64 answers", `{"n":18446744073709551616}`},
		{"usage as a string", `{"stream":true,"stream_options":"no"}`},
		{"arrays without end", strings.Repeat("[", 10<<20)},
		{"objects without end", strings.Repeat(`{"a":`, 2<<20)},
		{"a string without end", `{"prompt":"` + strings.Repeat("x", 1<<20)},
		{"escapes without end", `{"prompt":"` + strings.Repeat(`\u0041`, 1<<18)},
	} {
		refused(c.name, chat, c.body)
	}
	refused("another dialect's, null", "/v1/messages", "null")
	refused("another dialect's, a key twice", "/v1beta/models/m:generateContent", `{"generationConfig":{"maxOutputTokens":1,"maxOutputTokens":99}}`)
	refused("another dialect's, two namings of a key", "/v1beta/models/m:generateContent", `{"generationConfig":{"maxOutputTokens":1},"generation_config":{"max_output_tokens":99999}}`)
	refused("Ollama's, a model in two fields", "/api/chat", `{"model":"a","name":"b","MODEL":"c"}`)
	passes := func(name, path, body string) {
		tricks = append(tricks, trick{name: name, send: post(path, body), gets: "200 next", costs: "1/7/5", reached: told([]testimony{{"POST " + path + " HTTP/1.1\n", body}})})
	}
	for _, c := range []struct{ name, body string }{
		{"digits in a string", `{"max_tokens":"1"}`},
		{"a model of 1 MB", `{"model":"` + strings.Repeat("m", 1<<20) + `","prompt":"a"}`},
		{"a NUL in the model, escaped", `{"model":"a\u0000b","prompt":"a"}`},
		{"a model of newlines", `{"model":"a\r\nX-Api-Key: b","prompt":"a"}`},
		{"a key with a NUL", `{"model\u0000":1,"model":"m"}`},
		{"an own field that is huge", `{"x":1e999999999,"model":"m"}`},
		{"an own field twice", `{"x":1,"x":2,"model":"m"}`},
		{"2^53 answers", `{"n":9007199254740992}`},
		{"as many as there are, of as many", `{"n":9223372036854775807,"best_of":9223372036854775807,"max_tokens":9223372036854775807}`},
		{"a maximum written with an exponent", `{"max_tokens":1e2}`},
		{"another dialect's maximum", `{"max_output_tokens":5,"num_predict":7}`},
		{"a prompt of token ids without sense", `{"prompt":[-1,1e999,0.5]}`},
		{"100,000 prompts", `{"prompt":[` + strings.Repeat(`"",`, 100_000) + `""]}`},
		{"100,000 fields", `{` + strings.Repeat(`"a":1,`, 100_000) + `"model":"m"}`},
		{"spaces", strings.Repeat(" ", 1<<20) + `{"model":"m"}` + strings.Repeat("\n", 1<<20)},
	} {
		passes(c.name, complete, c.body)
	}
	deep := `{"x":` + strings.Repeat("[", 50_000) + strings.Repeat("]", 50_000) + `}`
	return append(tricks,
		trick{name: "deep nesting where nobody reads", send: post(complete, deep), gets: "400 next"},
		trick{name: "a length that is too long", send: ask("POST", complete, "Content-Length: 5") + `{}`, gets: "400 400 cut"},
		trick{name: "a length that is too short", send: ask("POST", complete, "Content-Length: 2") + question, gets: "400 400 cut"},
	)
}

// largeTricks are bodies over a max_body_bytes of 1 MiB.
func largeTricks() []trick {
	large := chunks(strings.Repeat(" ", 2<<20))
	return []trick{
		{name: "a length", send: ask("POST", complete, "Content-Length: 1048577"), gets: "413 cut"},
		{name: "a length of 2^63 less 1", send: ask("POST", complete, "Content-Length: 9223372036854775807"), gets: "413 cut"},
		{name: "a length, not metered", send: ask("POST", "/a", "Content-Length: 1048577"), gets: "413 cut"},
		{name: "a length that is to be asked for", send: ask("POST", "/a", "Content-Length: 1048577", "Expect: 100-continue"), gets: "413 cut"},
		{name: "chunks", send: ask("POST", complete, "Transfer-Encoding: chunked") + large, gets: "413 cut"},
		{name: "chunks, not metered", send: ask("POST", "/a", "Transfer-Encoding: chunked") + large, gets: "413 cut", costs: "1/0/0", reached: part},
		{name: "one large chunk of which little comes", send: ask("POST", complete, "Transfer-Encoding: chunked") + "7fffffffffffffff\r\n" + strings.Repeat(" ", 1<<20+1), gets: "413 cut"},
	}
}

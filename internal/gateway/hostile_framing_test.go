package gateway

import (
	"fmt"
	"strings"
)

// framingTricks are requests of which two servers may see different ends.
func framingTricks() []trick {
	const (
		head  = "POST /a HTTP/1.1\r\nHost: x\r\n"
		ai    = "POST " + complete + " HTTP/1.1\r\nHost: x\r\n"
		te    = "Transfer-Encoding: chunked\r\n"
		empty = "0\r\n\r\n"
	)
	length := fmt.Sprintf("Content-Length: %d\r\n", len(smuggled))
	tricks := []trick{
		{name: "a length, nothing odd", send: head + "Content-Length: 3\r\n\r\nabc", gets: "200 next", costs: "1/0/0", reached: "POST /a abc"},
		{name: "CL.TE", send: head + length + te + "\r\n" + empty + get("/b"), gets: "200 200 next", costs: "2/0/0", reached: "POST /a, GET /b"},
		{name: "CL.TE, metered", send: ai + "Content-Length: 5\r\n" + te + "\r\n" + chunks(question), gets: "200 next", costs: "1/7/5", reached: "POST " + complete + " " + question},
		{name: "TE.CL", send: head + te + "Content-Length: 3\r\n\r\n" + chunks(smuggled), gets: "200 next", costs: "1/0/0", reached: "POST /a " + smuggled, hides: []string{"Content-Length"}},
		{name: "TE.CL, length 0", send: head + te + "Content-Length: 0\r\n\r\n" + chunks(smuggled), gets: "200 next", costs: "1/0/0", reached: "POST /a " + smuggled, hides: []string{"Content-Length"}},
		{name: "TE and a length that is none", send: head + te + "Content-Length: x\r\n\r\n" + chunks("abc"), gets: "400 cut"},
	}
	// Nothing but "chunked" alone is taken for chunked.
	for _, c := range []struct{ name, line, gets string }{
		{"another word", "Transfer-Encoding: xchunked", "501 cut"},
		{"a word behind", "Transfer-Encoding: chunked, x", "501 cut"},
		{"a word before", "Transfer-Encoding: x, chunked", "501 cut"},
		{"identity", "Transfer-Encoding: identity", "501 cut"},
		{"gzip, chunked", "Transfer-Encoding: gzip, chunked", "501 cut"},
		{"chunked twice", "Transfer-Encoding: chunked, chunked", "501 cut"},
		{"two lines", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "501 cut"},
		{"two lines, identity first", "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked", "501 cut"},
		{"two lines, identity last", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", "501 cut"},
		{"two lines of two cases", "Transfer-Encoding: chunked\r\ntransfer-encoding: x", "501 cut"},
		{"nothing", "Transfer-Encoding:", "501 cut"},
		{"in quotes", `Transfer-Encoding: "chunked"`, "501 cut"},
		{"a parameter", "Transfer-Encoding: chunked;q=1", "501 cut"},
		{"a comma behind", "Transfer-Encoding: chunked,", "501 cut"},
		{"a NUL behind", "Transfer-Encoding: chunked\x00", "400 cut"},
		{"a vertical tab before", "Transfer-Encoding: \x0bchunked", "400 cut"},
		{"a byte above ASCII behind", "Transfer-Encoding: chunked\xff", "501 cut"},
		{"a long s", "Transfer-Encoding: chun\u212aed", "501 cut"},
		{"a space before the colon", "Transfer-Encoding : chunked", "400 cut"},
		{"a tab before the colon", "Transfer-Encoding\t: chunked", "400 cut"},
		{"a space before the name", " Transfer-Encoding: chunked", "400 cut"},
		{"a NUL in the name", "Transfer-Encoding\x00: chunked", "400 cut"},
		{"a carriage return alone before", "X: y\rTransfer-Encoding: chunked", "400 cut"},
		{"no colon", "Transfer-Encoding chunked", "400 cut"},
	} {
		tricks = append(tricks, trick{name: "TE.TE, " + c.name, send: head + c.line + "\r\n" + length + "\r\n" + smuggled, gets: c.gets})
	}
	for _, c := range []struct{ name, line string }{
		{"upper case", "TRANSFER-ENCODING: CHUNKED"},
		{"a tab before the value", "Transfer-Encoding:\tchunked"},
		{"no space", "Transfer-Encoding:chunked"},
		{"spaces behind", "Transfer-Encoding: chunked \t"},
		{"folded", "Transfer-Encoding:\r\n chunked"},
		{"a line feed alone", "X: y\nTransfer-Encoding: chunked"},
	} {
		tricks = append(tricks, trick{name: "TE, " + c.name, send: head + c.line + "\r\n\r\n" + chunks(smuggled), gets: "200 next", costs: "1/0/0", reached: "POST /a " + smuggled})
	}
	for _, c := range []struct{ name, line string }{
		{"a plus", "Content-Length: +3"},
		{"a minus", "Content-Length: -3"},
		{"hexadecimal", "Content-Length: 0x3"},
		{"a point", "Content-Length: 3.0"},
		{"an exponent", "Content-Length: 3e0"},
		{"a space within", "Content-Length: 3 3"},
		{"a list", "Content-Length: 3, 3"},
		{"a list of two", "Content-Length: 3, 4"},
		{"nothing", "Content-Length:"},
		{"spaces alone", "Content-Length:  "},
		{"a word", "Content-Length: three"},
		{"an underscore", "Content-Length: 1_0"},
		{"other digits", "Content-Length: \u0663"},
		{"over 2^63", "Content-Length: 9223372036854775808"},
		{"over 2^64", "Content-Length: 18446744073709551619"},
		{"two that differ", "Content-Length: 3\r\nContent-Length: 0"},
		{"two of two cases", "content-length: 3\r\nCONTENT-LENGTH: 4"},
		{"a space before the colon", "Content-Length : 3"},
		{"a carriage return alone", "X: y\rContent-Length: 3"},
		{"a NUL behind", "Content-Length: 3\x00"},
	} {
		tricks = append(tricks, trick{name: "CL, " + c.name, send: head + c.line + "\r\n\r\nabc", gets: "400 cut"})
	}
	for _, c := range []struct{ name, line string }{
		{"two alike", "Content-Length: 3\r\nContent-Length: 3"},
		{"zeros before", "Content-Length: 0003"},
		{"spaces around", "Content-Length: \t 3 \t"},
		{"folded", "Content-Length:\r\n 3"},
	} {
		tricks = append(tricks, trick{name: "CL, " + c.name, send: head + c.line + "\r\n\r\nabc", gets: "200 next", costs: "1/0/0", reached: "POST /a abc", tells: []string{"Content-Length: 3\n"}})
	}
	// Chunks whose size is no size: what a worker had seen begin is charged.
	for _, c := range []struct{ name, body string }{
		{"0x before the size", "0x3\r\nabc\r\n" + empty},
		{"a plus before the size", "+3\r\nabc\r\n" + empty},
		{"a minus before the size", "-3\r\nabc\r\n" + empty},
		{"no size", "\r\nabc\r\n" + empty},
		{"a space before the size", " 3\r\nabc\r\n" + empty},
		{"a size over 2^64", "10000000000000003\r\nabc\r\n" + empty},
		{"a size of many zeros", strings.Repeat("0", 40) + "3\r\nabc\r\n" + empty},
		{"a size too small", "2\r\nabc\r\n" + empty},
		{"a size too large", "4\r\nabc\r\n" + empty},
		{"a line feed alone behind the size", "3\nabc\r\n" + empty},
		{"a line feed alone behind the chunk", "3\r\nabc\n" + empty},
		{"a carriage return alone behind the size", "3\rabc\r\n" + empty},
		{"a huge extension", "3;x=" + strings.Repeat("y", 1<<20) + "\r\nabc\r\n" + empty},
		{"a line feed in an extension", "3;x\nabc\r\n" + empty},
	} {
		tricks = append(tricks,
			trick{name: "chunks, metered, " + c.name, send: ai + te + "\r\n" + c.body + smuggled, gets: "400 cut"},
			trick{name: "chunks, " + c.name, send: head + te + "\r\n" + c.body + smuggled, gets: "400 cut", costs: "1/0/0", reached: part},
		)
	}
	return append(tricks,
		trick{name: "chunks, an extension", send: head + te + "\r\n3;a=b\r\nabc\r\n0;c\r\n\r\n", gets: "200 next", costs: "1/0/0", reached: "POST /a abc", hides: []string{"a=b"}},
		trick{name: "chunks, a quoted extension", send: head + te + "\r\n3;a=\"\r\nabc\r\n0\r\n\r\n", gets: "200 next", costs: "1/0/0", reached: "POST /a abc"},
		trick{name: "chunks, zeros before the size", send: head + te + "\r\n0003\r\nabc\r\n000\r\n\r\n", gets: "200 next", costs: "1/0/0", reached: "POST /a abc"},
		trick{name: "chunks, of one byte, with extensions", send: head + te + "\r\n" + strings.Repeat("1;"+strings.Repeat("x", 50)+"\r\na\r\n", 20_000) + empty, gets: "400 cut", costs: "1/0/0", reached: part},
		trick{name: "chunks in HTTP/1.0", send: "POST /a HTTP/1.0\r\nConnection: keep-alive\r\n" + te + "\r\n" + chunks(smuggled), gets: "200 400 cut", costs: "1/0/0", reached: "POST /a"},
		trick{name: "chunks, metered, in HTTP/1.0", send: "POST " + complete + " HTTP/1.0\r\n" + te + "\r\n" + chunks(question), gets: "400 cut"},
		trick{name: "a body behind a GET without a length", send: get("/a") + "abc\r\n\r\n", gets: "200 400 cut", costs: "1/0/0", reached: "GET /a"},
		trick{name: "two in one segment", send: get("/a") + get("/b"), gets: "200 200 next", costs: "2/0/0", reached: "GET /a, GET /b"},
		trick{name: "empty lines before", send: "\r\n\r\n" + get("/a"), gets: "400 cut"},
		trick{name: "behind a 400", send: post(complete, "no") + get("/b"), gets: "400 200 next", costs: "1/0/0", reached: "GET /b"},
		trick{name: "behind a 404", send: post("/metrics", smuggled) + get("/b"), gets: "404 200 next", costs: "1/0/0", reached: "GET /b"},
		trick{name: "behind a 415", send: post(complete, smuggled, "Content-Encoding: gzip") + get("/b"), gets: "415 cut"},
		trick{name: "behind a 501", send: head + "Transfer-Encoding: x\r\n\r\n" + smuggled, gets: "501 cut"},
		trick{name: "behind a 413", send: head + "Content-Length: 1000000000\r\n\r\n" + smuggled, gets: "413 cut"},
		trick{name: "behind a 417", send: post("/a", smuggled, "Expect: x") + get("/b"), gets: "417 cut"},
		trick{name: "a hundred in one segment", send: strings.Repeat(get("/a"), 100), gets: strings.Repeat("200 ", 100) + "next", costs: "100/0/0", reached: strings.TrimSuffix(strings.Repeat("GET /a, ", 100), ", ")},
	)
}

package gateway

import "strings"

// callerTricks come from an address whose limit is used up, and which nobody
// trusts: it is itself whatever it says, and no free one.
func callerTricks() []trick {
	var tricks []trick
	for _, c := range []struct{ name, lines string }{
		{"an address", "X-Forwarded-For: 10.0.0.1"},
		{"a list", "X-Forwarded-For: 10.0.0.1, 10.0.0.2"},
		{"two lines", "X-Forwarded-For: 10.0.0.1\r\nX-Forwarded-For: 10.0.0.2"},
		{"a port", "X-Forwarded-For: 10.0.0.1:80"},
		{"a mapped address", "X-Forwarded-For: ::ffff:10.0.0.1"},
		{"an IPv6 address", "X-Forwarded-For: [2001:db8::1]:80"},
		{"upper case", "X-FORWARDED-FOR: 10.0.0.1"},
		{"an underscore", "X_Forwarded_For: 10.0.0.1"},
		{"nothing", "X-Forwarded-For:"},
		{"Forwarded", "Forwarded: for=10.0.0.1"},
		{"Forwarded, quoted", `Forwarded: for="[2001:db8::1]:80";by=10.0.0.1`},
		{"X-Real-IP", "X-Real-IP: 10.0.0.1"},
		{"True-Client-IP", "True-Client-IP: 10.0.0.1"},
		{"CF-Connecting-IP", "CF-Connecting-IP: 10.0.0.1"},
		{"X-Client-IP", "X-Client-IP: 10.0.0.1"},
		{"X-Original-Forwarded-For", "X-Original-Forwarded-For: 10.0.0.1"},
		{"Via", "Via: 1.1 10.0.0.1"},
		{"From", "From: 10.0.0.1"},
		{"a Host", "X-Forwarded-Host: 10.0.0.1"},
		{"a fresh key", "Authorization: Bearer fresh-1"},
		{"another fresh key", "X-Api-Key: fresh-2"},
		{"a JWT of none", "Authorization: Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9."},
		{"a tenant", "X-Tenant: acme\r\nX-Tenant-Id: acme"},
		{"a role", "X-Role: admin\r\nX-User: admin"},
		{"a request id", "X-Request-Id: fresh"},
		{"a cookie", "Cookie: session=fresh"},
		{"an agent", "User-Agent: Googlebot"},
		{"an origin", "Origin: http://10.0.0.1"},
		{"loopback by name", "X-Forwarded-For: localhost\r\nHost-Override: localhost"},
		{"what is left", "X-RateLimit-Remaining: 99\r\nRetry-After: 0"},
	} {
		tricks = append(tricks, trick{name: c.name, send: get("/a", c.lines), gets: "429 next"})
	}
	return tricks
}

// proxiedTricks come through a proxy that is trusted, from 192.0.2.1, whose
// limit is used up: what it says itself stands before what the proxy adds.
func proxiedTricks() []trick {
	var tricks []trick
	for _, c := range []struct{ name, lines string }{
		{"nothing more", "X-Forwarded-For: 192.0.2.1"},
		{"a free address before", "X-Forwarded-For: 10.0.0.1, 192.0.2.1"},
		{"a free address in a line before", "X-Forwarded-For: 10.0.0.1\r\nX-Forwarded-For: 192.0.2.1"},
		{"loopback before", "X-Forwarded-For: 127.0.0.1, 192.0.2.1"},
		{"loopback behind", "X-Forwarded-For: 192.0.2.1, 127.0.0.1"},
		{"a port", "X-Forwarded-For: 192.0.2.1:4711"},
		{"mapped", "X-Forwarded-For: ::ffff:192.0.2.1"},
		{"mapped, in brackets, with a port", "X-Forwarded-For: [::ffff:192.0.2.1]:80"},
		{"mapped, in hexadecimal", "X-Forwarded-For: ::ffff:c000:201"},
		{"spaces and tabs", "X-Forwarded-For: \t 192.0.2.1 \t"},
		{"nonsense before", "X-Forwarded-For: (x), ;;, 192.0.2.1"},
		{"nothing before", "X-Forwarded-For: ,,, 192.0.2.1"},
		{"Forwarded beside it", "Forwarded: for=10.0.0.1\r\nX-Forwarded-For: 192.0.2.1"},
		{"X-Real-IP beside it", "X-Real-IP: 10.0.0.1\r\nX-Forwarded-For: 192.0.2.1"},
		{"a fresh key beside it", "Authorization: Bearer fresh\r\nX-Forwarded-For: 192.0.2.1"},
		{"a hundred before", "X-Forwarded-For: " + strings.Repeat("10.0.0.1, ", 100) + "192.0.2.1"},
		{"named for one hop", "Connection: X-Forwarded-For\r\nX-Forwarded-For: 192.0.2.1"},
	} {
		tricks = append(tricks, trick{name: c.name, send: get("/a", c.lines), gets: "429 next"})
	}
	// Whom it cannot tell it takes for the proxy, and for nobody who is free.
	for _, c := range []struct{ name, lines string }{
		{"nonsense behind a free address", "X-Forwarded-For: 10.0.0.1, nonsense"},
		{"nothing behind a free address", "X-Forwarded-For: 10.0.0.1,"},
		{"a number for an address", "X-Forwarded-For: 10.0.0.1, 3221225985"},
		{"octal", "X-Forwarded-For: 10.0.0.1, 0300.0.02.01"},
		{"a name", "X-Forwarded-For: 10.0.0.1, localhost"},
		{"a hundred proxies behind a free address", "X-Forwarded-For: 10.0.0.1" + strings.Repeat(", 127.0.0.1", 100)},
	} {
		tricks = append(tricks, trick{name: c.name, send: get("/a", c.lines) + get("/a", c.lines), gets: "200 429 next", costs: "1/0/0", reached: "GET /a"})
	}
	return append(tricks, trick{name: "a free address", send: get("/a", "X-Forwarded-For: 10.0.0.1"), gets: "200 next", reached: "GET /a", free: true})
}

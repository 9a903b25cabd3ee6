package admin

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

const (
	token = "the-admin-token"
	here  = "127.0.0.1:50000"
	there = "192.0.2.7:50000"
)

// request is one that somebody makes of the port.
type request struct {
	method, path string
	peer, host   string
	headers      []string // name: value
}

// port is the admin port as it is under test.
type port struct {
	http.Handler
	reloads  int
	notReady error
	bad      error
}

func newPort(token string) *port {
	p := &port{}
	p.Handler = New(Options{
		Token: token,
		Ready: func() error { return p.notReady },
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, "figures")
		}),
		Reload: func() error {
			p.reloads++
			return p.bad
		},
		Workers: (&fleet{}).workers(),
	})
	return p
}

func (p *port) ask(q request) *httptest.ResponseRecorder {
	r := httptest.NewRequest(q.method, q.path, nil)
	r.RemoteAddr, r.Host = q.peer, q.host
	for _, h := range q.headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Add(name, value)
	}
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	return w
}

// The answers that there are.
const (
	noToken     = `401 {"error":"show admin.token as a bearer"}`
	notFromHere = `403 {"error":"without admin.token only this machine may ask, by a loopback name"}`
	noHeader    = `403 {"error":"a change without the admin token needs the header X-Penstock: 1"}`
	nothing     = `404 {"error":"there is GET /healthz, /readyz, /metrics and /workers, and POST /-/reload and /workers"}`
	reloaded    = `200 {"status":"reloaded"}`
)

func TestWhoMayDoWhat(t *testing.T) {
	bearer := "Authorization: Bearer " + token
	const ours = "X-Penstock: 1"
	tests := []struct {
		token string
		request
		want string
	}{
		// Open to all, with or without a token.
		{"", request{"GET", "/healthz", there, "anything", nil}, `200 {"status":"ok"}`},
		{token, request{"GET", "/healthz", there, "anything", nil}, `200 {"status":"ok"}`},
		{token, request{"HEAD", "/healthz", there, "anything", nil}, `200 {"status":"ok"}`},
		{token, request{"GET", "/readyz", there, "anything", nil}, `200 {"status":"ready"}`},
		{token, request{"GET", "/metrics", there, "anything", nil}, "200 figures"},
		{"", request{"GET", "/metrics", there, "anything", nil}, "200 figures"},

		// With a token: who shows it, from anywhere, by any name.
		{token, request{"POST", "/-/reload", there, "gateway.example", []string{bearer}}, reloaded},
		{token, request{"POST", "/-/reload", here, "localhost:3001", []string{bearer}}, reloaded},
		{token, request{"POST", "/-/reload", there, "gateway.example", []string{"Authorization: bearer " + token}}, reloaded},
		{token, request{"POST", "/-/reload", there, "gateway.example", []string{"Authorization: BEARER " + token}}, reloaded},
		{token, request{"GET", "/whatever", there, "gateway.example", []string{bearer}}, nothing},
		{token, request{"GET", "/workers", there, "gateway.example", []string{bearer}}, `200 {"workers":[]}`},
		// And nobody else.
		{token, request{"GET", "/workers", here, "localhost:3001", []string{ours}}, noToken},
		{token, request{"POST", "/workers", here, "localhost:3001", []string{ours}}, noToken},
		{token, request{"POST", "/-/reload", here, "localhost:3001", []string{ours}}, noToken},
		{token, request{"POST", "/-/reload", here, "localhost:3001", nil}, noToken},
		{token, request{"GET", "/whatever", here, "localhost:3001", nil}, noToken},
		{token, request{"POST", "/-/reload", there, "x", []string{"Authorization: Bearer " + token + "x"}}, noToken},
		{token, request{"POST", "/-/reload", there, "x", []string{"Authorization: Bearer " + token[1:]}}, noToken},
		{token, request{"POST", "/-/reload", there, "x", []string{"Authorization: Bearer "}}, noToken},
		{token, request{"POST", "/-/reload", there, "x", []string{"Authorization: Bearer"}}, noToken},
		{token, request{"POST", "/-/reload", there, "x", []string{"Authorization: " + token}}, noToken},
		{token, request{"POST", "/-/reload", there, "x", []string{"Authorization: Basic " + token}}, noToken},
		{token, request{"POST", "/-/reload", there, "x", []string{"X-Api-Key: " + token}}, noToken},
		{token, request{"POST", "/-/reload?token=" + token, there, "x", nil}, noToken},
		{token, request{"POST", "/-/reload", there, "x", []string{"Authorization: Bearer x", bearer}}, noToken}, // the first counts

		// Without one: this machine, by a loopback name.
		{"", request{"POST", "/-/reload", here, "localhost:3001", []string{ours}}, reloaded},
		{"", request{"POST", "/-/reload", here, "LOCALHOST", []string{ours}}, reloaded},
		{"", request{"POST", "/-/reload", here, "127.0.0.1:3001", []string{ours}}, reloaded},
		{"", request{"POST", "/-/reload", here, "127.9.9.9", []string{ours}}, reloaded},
		{"", request{"POST", "/-/reload", "[::1]:50000", "[::1]:3001", []string{ours}}, reloaded},
		{"", request{"POST", "/-/reload", "[::1]:50000", "[::1]", []string{ours}}, reloaded},
		{"", request{"POST", "/-/reload", "[::ffff:127.0.0.1]:50000", "[::ffff:127.0.0.1]:3001", []string{ours}}, reloaded},
		{"", request{"GET", "/", here, "localhost:3001", nil}, nothing},
		{"", request{"GET", "/workers", here, "localhost:3001", nil}, `200 {"workers":[]}`},
		{"", request{"POST", "/workers", here, "localhost:3001", nil}, noHeader},
		{"", request{"POST", "/workers", there, "localhost:3001", []string{ours}}, notFromHere},
		{"", request{"GET", "/-/reload", here, "localhost:3001", []string{ours}}, nothing}, // to change takes POST
		{"", request{"PUT", "/-/reload", here, "localhost:3001", []string{ours}}, nothing},
		{"", request{"POST", "/healthz", here, "localhost:3001", []string{ours}}, nothing},
		{"", request{"POST", "/-/reload/x", here, "localhost:3001", []string{ours}}, nothing},
		// A page in the operator's browser can post, but not with a header of
		// its own.
		{"", request{"POST", "/-/reload", here, "localhost:3001", nil}, noHeader},
		{"", request{"POST", "/-/reload", here, "localhost:3001", []string{"X-Penstock: "}}, noHeader},
		{"", request{"POST", "/-/reload", here, "localhost:3001", []string{"Origin: http://localhost:3001", "Content-Type: text/plain"}}, noHeader},
		// A site whose name resolves to this machine.
		{"", request{"POST", "/-/reload", here, "evil.example:3001", []string{ours}}, notFromHere},
		{"", request{"GET", "/", here, "evil.example", nil}, notFromHere},
		{"", request{"GET", "/", here, "localhost.evil.example", nil}, notFromHere},
		{"", request{"GET", "/", here, "127.0.0.1.evil.example", nil}, notFromHere},
		{"", request{"GET", "/", here, "evil.example:127.0.0.1", nil}, notFromHere},
		{"", request{"GET", "/", here, "localhost:3001:3001", nil}, notFromHere},
		{"", request{"GET", "/", here, "localhost.", nil}, notFromHere},
		{"", request{"GET", "/", here, "0.0.0.0:3001", nil}, notFromHere},
		{"", request{"GET", "/", here, "192.0.2.7", nil}, notFromHere},
		{"", request{"GET", "/", here, "2130706433", nil}, notFromHere},
		{"", request{"GET", "/", here, "", nil}, notFromHere},
		// Another machine, whatever it calls itself.
		{"", request{"POST", "/-/reload", there, "localhost:3001", []string{ours}}, notFromHere},
		{"", request{"POST", "/-/reload", there, "localhost:3001", []string{ours, "X-Forwarded-For: 127.0.0.1"}}, notFromHere},
		{"", request{"POST", "/-/reload", "[2001:db8::1]:50000", "[::1]:3001", []string{ours}}, notFromHere},
		{"", request{"POST", "/-/reload", "[::ffff:192.0.2.7]:50000", "localhost", []string{ours}}, notFromHere},
		{"", request{"GET", "/", "@", "localhost", nil}, notFromHere},
		// There is no token that an empty one equals.
		{"", request{"POST", "/-/reload", there, "x", []string{"Authorization: Bearer "}}, notFromHere},
		{"", request{"POST", "/-/reload", there, "x", []string{"Authorization: Bearer"}}, notFromHere},
	}
	for _, tt := range tests {
		p := newPort(tt.token)
		w := p.ask(tt.request)
		if got := fmt.Sprintf("%d %s", w.Code, strings.TrimSpace(w.Body.String())); got != tt.want {
			t.Errorf("token %q, %+v:\n got %s\nwant %s", tt.token, tt.request, got, tt.want)
		}
		if changed := p.reloads > 0; changed != (tt.want == reloaded) {
			t.Errorf("token %q, %+v: reloaded: %v", tt.token, tt.request, changed)
		}
		if w.Code == http.StatusUnauthorized && w.Header().Get("Www-Authenticate") != "Bearer" {
			t.Errorf("%+v: a 401 that does not say how", tt.request)
		}
		if strings.Contains(w.Body.String(), token) {
			t.Errorf("%+v: the answer shows the token", tt.request)
		}
	}
}

func TestNotReady(t *testing.T) {
	p := newPort("")
	p.notReady = errors.New("no worker can be reached")
	w := p.ask(request{"GET", "/readyz", there, "x", nil})
	if got := fmt.Sprintf("%d %s", w.Code, strings.TrimSpace(w.Body.String())); got != `503 {"error":"no worker can be reached"}` {
		t.Errorf("got %s", got)
	}
	if w := p.ask(request{"GET", "/healthz", there, "x", nil}); w.Code != http.StatusOK {
		t.Errorf("not ready is not dead: %d", w.Code)
	}
}

// TestBadReload: what is wrong with the configuration is said as it is.
func TestBadReload(t *testing.T) {
	p := newPort("")
	p.bad = errors.New("penstock.yaml:3:5: listne: unknown key; did you mean \"listen\"?\npenstock.yaml:9:1: <more>")
	w := p.ask(request{"POST", "/-/reload", here, "localhost", []string{"X-Penstock: 1"}})
	const want = `400 {"error":"penstock.yaml:3:5: listne: unknown key; did you mean \"listen\"?\npenstock.yaml:9:1: \u003cmore\u003e"}`
	if got := fmt.Sprintf("%d %s", w.Code, strings.TrimSpace(w.Body.String())); got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	for name, want := range map[string]string{"Content-Type": "application/json", "X-Content-Type-Options": "nosniff"} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

package admin

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// fleet is workers that note what is done to them.
type fleet struct {
	list []Worker
	did  []string
	bad  error
}

func (f *fleet) note(what string, args ...any) error {
	f.did = append(f.did, fmt.Sprintf(what, args...))
	return f.bad
}

func (f *fleet) workers() Workers {
	return Workers{
		List: func() []Worker { return f.list },
		Add: func(url string, weight int, models []string) error {
			return f.note("add %s %d %q", url, weight, models)
		},
		Drain:  func(url string) error { return f.note("drain %s", url) },
		Remove: func(url string) error { return f.note("remove %s", url) },
	}
}

func TestListOfWorkers(t *testing.T) {
	f := &fleet{}
	h := New(Options{Token: token, Metrics: http.NotFoundHandler(), Workers: f.workers()})
	get := func() string {
		r := httptest.NewRequest("GET", "/workers", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return fmt.Sprint(w.Code, " ", w.Header().Get("Content-Type"), " ", strings.TrimSpace(w.Body.String()))
	}
	if got, want := get(), `200 application/json {"workers":[]}`; got != want {
		t.Errorf("none: %s, want %s", got, want)
	}
	f.list = []Worker{
		{URL: "http://a", Weight: 1, State: "up", Breaker: "closed"},
		{URL: "http://b", Weight: 2, Models: []string{"m*"}, State: "down", Why: "refused", Breaker: "half-open", Resting: 1.5, Outstanding: 3, Tokens: 400, Sent: 5, Failed: 6, Retries: 7},
	}
	want := `200 application/json {"workers":[` +
		`{"url":"http://a","weight":1,"models":[],"state":"up","breaker":"closed","resting_seconds":0,"outstanding":0,"outstanding_tokens":0,"sent":0,"failed":0,"retries":0},` +
		`{"url":"http://b","weight":2,"models":["m*"],"state":"down","why":"refused","breaker":"half-open","resting_seconds":1.5,"outstanding":3,"outstanding_tokens":400,"sent":5,"failed":6,"retries":7}]}`
	if got := get(); got != want {
		t.Errorf("two: %s\nwant %s", got, want)
	}
}

func TestChangeOfWorkers(t *testing.T) {
	const one = `400 {"error":"one change at a time: write {\"add\": {\"url\": \"http://10.0.0.7:8000\", \"weight\": 1, \"models\": [\"*\"]}}, {\"drain\": URL} or {\"remove\": URL}"}`
	form := strings.TrimPrefix(one, `400 {"error":"one change at a time`)
	for _, tt := range []struct{ body, did, want string }{
		{`{"add":{"url":"http://a","weight":2,"models":["m"]}}`, `add http://a 2 ["m"]`, `200 {"status":"added"}`},
		{` {"add":{"url":"http://a"}} `, `add http://a 1 []`, `200 {"status":"added"}`},
		{`{"add":{"url":"http://a","weight":0}}`, `add http://a 0 []`, `200 {"status":"added"}`},
		{`{"drain":"http://a"}`, `drain http://a`, `200 {"status":"draining"}`},
		{`{"remove":"http://a"}`, `remove http://a`, `200 {"status":"removed"}`},
		{`{"remove":""}`, `remove `, `200 {"status":"removed"}`},
		{``, ``, `400 {"error":"EOF` + form},
		{`{}`, ``, one},
		{`null`, ``, one},
		{`{"drain":"a","remove":"b"}`, ``, one},
		{`{"drain":"a"}{"drain":"b"}`, ``, one},
		{`{"drain":"a"}]`, ``, one},
		{`{"drop":"a"}`, ``, `400 {"error":"json: unknown field \"drop\"` + form},
		{`{"add":{"url":"a","key":"b"}}`, ``, `400 {"error":"json: unknown field \"key\"` + form},
		{`{"drain":1}`, ``, `400 {"error":"no number belongs at byte 10` + form},
		{`[]`, ``, `400 {"error":"no array belongs at byte 1` + form},
		{`{"add":"http://a"}`, ``, `400 {"error":"no string belongs at byte 17` + form},
		{`{"add":{"url":"http://a","weight":1.5}}`, ``, `400 {"error":"no number 1.5 belongs at byte 37` + form},
		{`{"drain":"` + strings.Repeat("a", mostChange) + `"}`, ``, `400 {"error":"http: request body too large` + form},
	} {
		f := &fleet{}
		h := New(Options{Token: token, Metrics: http.NotFoundHandler(), Workers: f.workers()})
		post := func() string {
			r := httptest.NewRequest("POST", "/workers", strings.NewReader(tt.body))
			r.Header.Set("Authorization", "Bearer "+token)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			return fmt.Sprint(w.Code, " ", strings.TrimSpace(w.Body.String()))
		}
		if got := post(); got != tt.want || strings.Join(f.did, "; ") != tt.did {
			t.Errorf("%.60s: %s and did %q, want %s and %q", tt.body, got, f.did, tt.want, tt.did)
		}
		f.bad = errors.New("no worker has this URL")
		if got, want := post(), `400 {"error":"no worker has this URL"}`; tt.did != "" && got != want {
			t.Errorf("%.60s: %s, want %s", tt.body, got, want)
		}
	}
}

func FuzzParseChange(f *testing.F) {
	for _, s := range []string{`{"add":{"url":"a"}}`, `{"drain":"a"}`, `{"remove":"a"} `, `{}`, `[`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := parseChange(strings.NewReader(s))
		n := 0
		for _, is := range []bool{c.Add != nil, c.Drain != nil, c.Remove != nil} {
			if is {
				n++
			}
		}
		if err == nil && n != 1 || err != nil && n != 0 {
			t.Errorf("%q: %d changes and %v", s, n, err)
		}
	})
}

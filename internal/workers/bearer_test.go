package workers

import (
	"crypto/x509"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// TestKeyOfItsOwn: a worker with a key sees that one and none of the client's; one
// without sees what the client shows.
func TestKeyOfItsOwn(t *testing.T) {
	bothWays(t, func(t *testing.T, newPool newPoolFunc) {
		w := newWorker(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = fmt.Fprint(w, r.Header["Authorization"], r.Header["X-Api-Key"], r.Header["Api-Key"], r.Header["X-Goog-Api-Key"], r.Header["X-Other"], r.RequestURI, " ", r.Host)
		})
		host := " " + w.URL.Host // a client must not send our key to another that answers there
		for _, tt := range []struct{ key, want string }{
			{"", "[Basic abc Bearer client] [c1] [c2] [c3] [other]/v1?a=1&key=c4&%6bey=c5 gateway.test"},
			{"own", "[Bearer own] [] [] [] [other]/v1?a=1" + host},
			{"another", "[Bearer another] [] [] [] [other]/v1?a=1" + host},
		} {
			w.Key = tt.key
			p := newPool(t, w)
			if tt.key == "another" { // in the place of one that it had
				w.Key = "own"
				p = newPool(t, w)
				w.Key = tt.key
				p.Update([]Worker{w}, Policy{})
			}
			req := newRequest(t, http.MethodPost, strings.NewReader("prompt"))
			req.RequestURI = "/v1?a=1&key=c4&%6bey=c5"
			req.Header = http.Header{
				"Authorization": {"Basic abc", "Bearer client"}, "X-Api-Key": {"c1"}, "Api-Key": {"c2"}, "X-Goog-Api-Key": {"c3"}, "X-Other": {"other"},
			}
			if got := send(t, p, req); got != tt.want {
				t.Errorf("key %q: the worker saw %s, want %s", tt.key, got, tt.want)
			}
			if req.Host != "gateway.test" || len(req.Header) != 5 || req.Header.Get("X-Api-Key") != "c1" {
				t.Errorf("the request was changed: %s %v", req.Host, req.Header)
			}
			if tt.key == "" {
				continue
			}
			req = newRequest(t, http.MethodGet, nil)
			req.Header = nil
			if got := send(t, p, req); !strings.HasPrefix(got, "[Bearer "+tt.key+"]") {
				t.Errorf("key %q, no headers: the worker saw %s", tt.key, got)
			}
		}
	})
}

func TestWithoutKey(t *testing.T) {
	for target, want := range map[string]string{
		"/":                        "/",
		"/?":                       "/?",
		"/?key":                    "/",
		"/?key=":                   "/",
		"/?key=a&key=b":            "/",
		"/?a=1&key=x&b=%zz":        "/?a=1&b=%zz",
		"/?%6B%65y=x&c":            "/?c",
		"/?keys=1&xkey=2&Key=3":    "/?keys=1&xkey=2&Key=3",
		"/key=1?a=key":             "/key=1?a=key",
		"/?&&key=1&&":              "/?&&&",
		"/?a?key=1&key=2?":         "/?a?key=1",
		"http://a.test/x?key=1&b=": "http://a.test/x?b=",
		"*":                        "*",
	} {
		if got := withoutKey(target); got != want {
			t.Errorf("%q: %q, want %q", target, got, want)
		}
	}
}

func FuzzWithoutKey(f *testing.F) {
	for _, s := range []string{"/", "/?key=1&a=2", "/?%6bey=x", "/?a&&key"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, target string) {
		got := withoutKey(target)
		_, query, _ := strings.Cut(got, "?")
		if values, _ := url.ParseQuery(query); values.Has("key") {
			t.Errorf("%q: %q still has a key", target, got)
		}
		if withoutKey(got) != got {
			t.Errorf("%q: %q changes again", target, got)
		}
		if !strings.Contains(target, "key") && !strings.Contains(target, "%") && got != target {
			t.Errorf("%q has no key and became %q", target, got)
		}
	})
}

// TestCA: the worker's certificate is checked by the roots that were given, and
// others count from the next connection on.
func TestCA(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(echo))
	var watch connWatch
	srv.Config.ConnState = watch.see
	srv.StartTLS()
	t.Cleanup(srv.Close)
	w := Worker{URL: mustParse(t, srv.URL)}
	roots := func() *x509.CertPool {
		pool := x509.NewCertPool()
		pool.AddCert(srv.Certificate())
		return pool
	}
	p := newPool(t, w)
	_, err := p.RoundTrip(newRequest(t, http.MethodGet, nil))
	wantUnsent(t, err)
	w.CA = roots()
	p.Update([]Worker{w}, Policy{})
	get(t, p)
	made, _ := watch.counts()
	w.CA = roots() // read again
	p.Update([]Worker{w}, Policy{})
	get(t, p)
	if again, _ := watch.counts(); again != made {
		t.Error("the same roots cost the connection")
	}
	w.CA = x509.NewCertPool()
	p.Update([]Worker{w}, Policy{})
	_, err = p.RoundTrip(newRequest(t, http.MethodGet, nil))
	wantUnsent(t, err)
	wantCounts(t, p, counts{Sent: 2, Failed: 2})
}

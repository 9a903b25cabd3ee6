package workers

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// TestOwn: a request of penstock's own goes to the worker that its URL is of, with
// that worker's key and no other's, though the URL of one may begin as another's, and
// counts nowhere.
func TestOwn(t *testing.T) {
	seen := newWorker(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprint(w, r.URL.Path, " ", r.Header.Get("Authorization"))
	})
	at := func(path, key string) Worker {
		u := *seen.URL
		u.Path = path
		return Worker{URL: &u, Key: key}
	}
	p := New(Options{})
	defer p.Update(nil, Policy{})
	orders := [][]Worker{
		{at("/a", "key-a"), at("/a/b", "key-ab"), at("/c/", "")},
		{at("/c/", ""), at("/a/b", "key-ab"), at("/a", "key-a")},
	}
	for _, order := range orders {
		p.Update(order, Policy{})
		for path, want := range map[string]string{
			"/a/metrics":   "/a/metrics Bearer key-a",
			"/a/b/metrics": "/a/b/metrics Bearer key-ab",
			"/a/bc":        "/a/bc Bearer key-a",
			"/c/queue":     "/c/queue ",
			"/d/queue":     "",
			"/ab/queue":    "",
			"/c":           "",
		} {
			u := *seen.URL
			u.Path, u.User = path, nil
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, u.String(), nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := p.Own().RoundTrip(r)
			if want == "" {
				if err == nil || !strings.Contains(err.Error(), "add it to workers") {
					t.Errorf("%s: %v; want an error that says what to do", path, err)
				}
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if string(body) != want || r.Header.Get("Authorization") != "" {
				t.Errorf("%s: the worker saw %q, want %q", path, body, want)
			}
		}
	}
	for _, s := range p.Stats() {
		if s.Sent != 0 || s.Outstanding != 0 {
			t.Errorf("%s: %d were sent and %d are outstanding, want none", s.URL, s.Sent, s.Outstanding)
		}
	}
}

// TestURLs are those of workers that get new requests.
func TestURLs(t *testing.T) {
	a, b := &url.URL{Scheme: "http", Host: "a"}, &url.URL{Scheme: "http", Host: "b"}
	p := New(Options{})
	p.Update([]Worker{{URL: a}, {URL: b}}, Policy{})
	if got := fmt.Sprint(p.URLs()); got != "[http://a http://b]" {
		t.Errorf("%s", got)
	}
	if err := p.Drain(a.String()); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(p.URLs()); got != "[http://b]" {
		t.Errorf("when a is drained: %s", got)
	}
	for _, tt := range []struct {
		breaker Breaker
		want    string
	}{{Open, "[]"}, {HalfOpen, "[]"}, {Closed, "[http://b]"}} {
		p.workers[1].breaker = tt.breaker
		if got := fmt.Sprint(p.URLs()); got != tt.want {
			t.Errorf("when the breaker of b is %v: %s, want %s", tt.breaker, got, tt.want)
		}
	}
}

// TestReady: what is asked before a request waits agrees with what Send says after.
func TestReady(t *testing.T) {
	u := &url.URL{Scheme: "http", Host: "a"}
	p := New(Options{})
	if err := p.Ready("m"); err != nil {
		t.Errorf("without workers: %v", err)
	}
	for _, tt := range []struct {
		models []string
		want   string // of the models below, those that are served
	}{
		{nil, "[ m mx other]"},
		{[]string{"*"}, "[ m mx other]"},
		{[]string{"m"}, "[ m]"},
		{[]string{"m*"}, "[ m mx]"},
	} {
		p.Update([]Worker{{URL: &url.URL{Scheme: "http", Host: "b"}, Models: []string{"none"}}, {URL: u, Models: tt.models}}, Policy{})
		var got []string
		for _, m := range []string{"", "m", "mx", "other"} {
			if p.Ready(m) == nil {
				got = append(got, m)
			}
		}
		if fmt.Sprint(got) != tt.want {
			t.Errorf("%v serves %q, want %s", tt.models, got, tt.want)
		}
	}
	if err := p.Drain(u.String()); err != nil {
		t.Fatal(err)
	}
	var away *UnavailableError
	if err := p.Ready("m"); !errors.As(err, &away) || away.Draining != 1 {
		t.Errorf("drained: %v", err)
	}
	if err := p.Ready("other"); !errors.Is(err, ErrNoModel) {
		t.Errorf("a model that none serves: %v", err)
	}
}

func getOf(t *testing.T, path string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://x"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

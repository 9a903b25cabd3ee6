package gateway

import (
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/penstock-dev/penstock/internal/standin"
	"github.com/penstock-dev/penstock/internal/workers"
)

// TestKeysAreLearned has unknown keys become callers of their own when a worker
// accepts them that refuses requests without one.
func TestKeysAreLearned(t *testing.T) {
	const yaml = "auth: {unknown_keys: learn}\n" + tokenLimits
	worker := standin.New(standin.Options{Output: standin.Lengths{Mean: 5}, APIKeys: []string{"sk-one", "sk-two"}})
	r := newRig(t, yaml, worker)
	known := func(key string) bool { return r.caller(key).Verified }
	send := func(key string, status int) {
		t.Helper()
		if a := r.send("POST", "/v1/chat/completions", prompt(40, ""), "Authorization", "Bearer "+key); a.status != status {
			t.Errorf("with %s the answer is %d, want %d", key, a.status, status)
		}
		r.idle()
	}
	if known("sk-one") {
		t.Fatal("a key is known that nobody has shown")
	}
	send("sk-wrong", 401)
	send("sk-one", 200)
	// The worker is asked without a key, beside the way of requests.
	eventually(t, "the key is learned", func() bool { return known("sk-one") })
	if known("sk-wrong") || known("sk-two") {
		t.Error("a key is known that the worker has not accepted")
	}
	r.wantUsed(charged(2, 10, 5)) // the address, so far
	send("sk-one", 200)
	if got, want := usedText(r.usedBy(r.caller("sk-one"), "")), charged(1, 10, 5); got != want {
		t.Errorf("charged to the key: %s, want %s", got, want)
	}
	send("sk-two", 200) // the worker is known to ask for keys by now
	if !known("sk-two") {
		t.Error("the second key is not known")
	}
	r.wantUsed(charged(3, 20, 10))
	requests := worker.Stats().Requests
	if want := int64(5); requests != want { // four of clients and one of our own
		t.Errorf("the worker got %d requests, want %d", requests, want)
	}
}

// TestLearnedKeysAreForgotten has a worker refuse a key that it had accepted.
func TestLearnedKeysAreForgotten(t *testing.T) {
	var mu sync.Mutex
	accepted := "Bearer sk-one"
	worker := standin.New(standin.Options{Output: standin.Lengths{Mean: 5}})
	r := newRig(t, "auth: {unknown_keys: learn}\n"+tokenLimits, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if r.Header.Get("Authorization") != accepted {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		worker.ServeHTTP(w, r)
	}))
	r.send("POST", "/v1/chat/completions", prompt(40, ""), "Authorization", "Bearer sk-one")
	eventually(t, "the key is learned", func() bool { return r.caller("sk-one").Verified })
	mu.Lock()
	accepted = ""
	mu.Unlock()
	if a := r.send("POST", "/v1/chat/completions", prompt(40, ""), "Authorization", "Bearer sk-one"); a.status != 401 {
		t.Errorf("answer %d, want 401", a.status)
	}
	r.idle()
	if r.caller("sk-one").Verified {
		t.Error("the key is known still")
	}
}

// TestOpenWorkersTeachNoKeys has a worker that accepts whatever key: then that
// it does says nothing.
func TestOpenWorkersTeachNoKeys(t *testing.T) {
	worker := standin.New(standin.Options{Output: standin.Lengths{Mean: 5}})
	r := newRig(t, "auth: {unknown_keys: learn}\n"+tokenLimits, worker)
	for _, key := range []string{"sk-one", "sk-two"} {
		r.send("POST", "/v1/chat/completions", prompt(40, ""), "Authorization", "Bearer "+key)
		eventually(t, "the worker was asked", func() bool { return strings.Contains(r.log.String(), "unknown keys are not learned here") })
		r.idle()
		if r.caller(key).Verified {
			t.Errorf("%s is known", key)
		}
	}
	r.wantUsed(charged(2, 20, 10))
	if n := worker.Stats().Requests; n != 3 {
		t.Errorf("the worker got %d requests, want 3: it is asked once", n)
	}
}

// TestWhatElseIsShownTeachesNoKeys: the worker has taken what is beside the key, and
// says nothing of that; fresh random keys would buy fresh limits.
func TestWhatElseIsShownTeachesNoKeys(t *testing.T) {
	worker := standin.New(standin.Options{Output: standin.Lengths{Mean: 5}})
	r := newRig(t, "auth: {unknown_keys: learn}\n"+tokenLimits, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, password, _ := r.BasicAuth()
		if password != "valid" && r.URL.Query().Get("key") != "valid" && r.Header.Get("X-Api-Key") != "valid" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		worker.ServeHTTP(w, r)
	}))
	send := func(query, key, authorization string) {
		t.Helper()
		if a := r.send("POST", "/v1/chat/completions"+query, prompt(40, ""), "X-Api-Key", key, "Authorization", authorization); a.status != 200 {
			t.Errorf("answer %d, want 200", a.status)
		}
		r.idle()
	}
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("me:valid"))
	send("", "valid", "")
	learned := func(key string) bool { return r.caller(key).Verified }
	eventually(t, "the key is learned", func() bool { return learned("valid") })
	send("", "random-1", basic)
	send("?key=valid", "random-2", "")
	send("?a=b&%6bey=valid", "", "Bearer random-3")
	for _, key := range []string{"random-1", "random-2", "random-3"} {
		if learned(key) {
			t.Errorf("%s is known, which the worker has not looked at", key)
		}
	}
}

// TestKeysAreLearnedByWorker: that one worker asks for a key says nothing of what
// another answers 2xx to.
func TestKeysAreLearnedByWorker(t *testing.T) {
	var urls []string
	var guarded, open *standin.Worker
	for _, w := range []struct {
		to **standin.Worker
		o  standin.Options
	}{
		{&guarded, standin.Options{Output: standin.Lengths{Mean: 5}, APIKeys: []string{"valid"}, Models: []string{"small"}}},
		{&open, standin.Options{Output: standin.Lengths{Mean: 5}, Models: []string{"large"}}},
	} {
		*w.to = standin.New(w.o)
		s := httptest.NewServer(*w.to)
		t.Cleanup(s.Close)
		urls = append(urls, s.URL)
	}
	r := newRigFor(t, "auth: {unknown_keys: learn}\n"+tokenLimits, urls...)
	var pool []workers.Worker
	for i, model := range []string{"small", "large"} {
		u, err := url.Parse(urls[i])
		if err != nil {
			t.Fatal(err)
		}
		pool = append(pool, workers.Worker{URL: u, Models: []string{model}})
	}
	r.Workers.Update(pool, workers.Policy{})
	send := func(model, key string) {
		t.Helper()
		body := `{"model":"` + model + `","messages":[{"role":"user","content":"hello"}]}`
		if a := r.send("POST", "/v1/chat/completions", body, "Authorization", "Bearer "+key); a.status != 200 {
			t.Errorf("%s: answer %d %s, want 200", model, a.status, a.body)
		}
		r.idle()
	}
	for range 2 { // whichever is asked first without a key
		send("large", "random")
		send("small", "valid")
		eventually(t, "the key is learned", func() bool { return r.caller("valid").Verified })
	}
	eventually(t, "the other worker was asked", func() bool { return strings.Contains(r.log.String(), "unknown keys are not learned here") })
	send("large", "random")
	if r.caller("random").Verified {
		t.Error("a key is known that no worker has looked at")
	}
}

// TestLearningAsksForTheSamePath: a worker is asked for the path that it answered 2xx,
// whatever its letters.
func TestLearningAsksForTheSamePath(t *testing.T) {
	asked := make(chan string, 2) // of the client and of the gateway
	r := newRig(t, "auth: {unknown_keys: learn}\n"+tokenLimits, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.RequestURI
		if !strings.HasPrefix(r.URL.Path, "/v1beta/") {
			w.WriteHeader(http.StatusUnauthorized)
		}
		_, _ = io.WriteString(w, "{}")
	}))
	const path = "/v1beta/models/a%2Fb%25:generateContent"
	r.send("POST", path, `{"contents":[{"parts":[{"text":"hello"}]}]}`, "X-Goog-Api-Key", "random")
	eventually(t, "it is seen what the worker says", func() bool {
		return r.caller("random").Verified || strings.Contains(r.log.String(), "unknown keys are not learned here")
	})
	if r.caller("random").Verified {
		t.Error("a key is known that no worker has looked at")
	}
	for range cap(asked) {
		select {
		case got := <-asked:
			if got != path {
				t.Errorf("the worker was asked for %s, want %s", got, path)
			}
		default:
			t.Errorf("the worker was not asked for %s without a key", path)
		}
	}
}

// TestLearningLogsNoLongPaths: a path with a model in it is the client's own words.
func TestLearningLogsNoLongPaths(t *testing.T) {
	r := newRig(t, "auth: {unknown_keys: learn}\n"+tokenLimits, standin.New(standin.Options{Output: standin.Lengths{Mean: 5}}))
	path := "/v1beta/models/" + strings.Repeat("m", 500) + "%C2%9B:generateContent"
	r.send("POST", path, `{"contents":[{"parts":[{"text":"hello"}]}]}`, "X-Goog-Api-Key", "sk-one")
	eventually(t, "the worker was asked", func() bool { return strings.Contains(r.log.String(), "unknown keys are not learned here") })
	if text := r.log.String(); strings.Contains(text, strings.Repeat("m", 200)) {
		t.Errorf("a path in all its length: %s", text)
	}
}

// TestListedKeysAreNotLearned checks that a worker's 401 takes nothing from a
// key that the configuration lists.
func TestListedKeysAreNotLearned(t *testing.T) {
	worker := standin.New(standin.Options{APIKeys: []string{"sk-other"}})
	r := newRig(t, "auth: {unknown_keys: learn, keys: [{id: alice, key: sk-alice}]}\n"+tokenLimits, worker)
	if a := r.send("POST", "/v1/chat/completions", prompt(40, ""), "Authorization", "Bearer sk-alice"); a.status != 401 {
		t.Errorf("answer %d, want the worker's 401", a.status)
	}
	r.idle()
	if c := r.caller("sk-alice"); !c.Verified || !c.Listed {
		t.Errorf("the caller is %+v", c)
	}
	if got := usedText(r.usedBy(r.caller("sk-alice"), "")); got != charged(1, 0, 0) {
		t.Errorf("charged: %s", got)
	}
}

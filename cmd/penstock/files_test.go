//go:build unix

package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestFilesForWorkers: of the files that may be open the connections to workers take
// no more than their part, however much one client asks for; who finds none is told
// so, and penstock is still there for others.
func TestFilesForWorkers(t *testing.T) {
	t.Parallel()
	const files, part, asked = "64", 16, 40
	held, letGo := make(chan struct{}), make(chan struct{})
	worker := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/models" {
			held <- struct{}{}
			<-letGo
		}
		_, _ = io.WriteString(w, "{}")
	}))
	defer worker.Close()
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "penstock")
	if err := os.Symlink(self, program); err != nil {
		t.Fatal(err)
	}
	p := serveBy(t, exec.Command("sh", "-c", "ulimit -n "+files+` && exec "$0" "$@"`, program), dir, worker.URL, "metrics: {prefix: penstock}\n")

	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	client := &http.Client{Transport: &http.Transport{Protocols: &protocols}, Timeout: patience}
	defer client.CloseIdleConnections()
	answers := make(chan int, asked) // the status of each
	ask := func(path string) {
		resp, err := client.Get(p.url + path)
		if err != nil {
			t.Error(err)
			answers <- 0
			return
		}
		_ = resp.Body.Close()
		answers <- resp.StatusCode
	}
	for range asked {
		go ask("/v1/models")
	}
	late := time.After(patience)
	reached, refused := 0, 0
	for reached+refused < asked {
		select {
		case <-held:
			reached++
		case status := <-answers:
			if refused++; status != http.StatusServiceUnavailable {
				t.Errorf("one that finds no connection is answered with %d", status)
			}
		case <-late:
			t.Fatalf("%d reached the worker and %d were answered, of %d", reached, refused, asked)
		}
	}
	if reached == 0 || reached > part {
		t.Errorf("%d connections to the worker, want at most %d", reached, part)
	}
	ask("/health")
	if status := <-answers; status != http.StatusOK {
		t.Errorf("/health is answered with %d", status)
	}
	close(letGo)
	for range reached {
		if status := <-answers; status != http.StatusOK {
			t.Errorf("one that reached the worker is answered with %d", status)
		}
	}
}

//go:build unix

package main

import (
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestReloadThatHangs: while the configuration cannot be read to its end, as on a
// disk that does not answer, the program ends when it is told to.
func TestReloadThatHangs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := serveWith(t, dir, "http://127.0.0.1:1", "rate_limiting: {default: {requests_per_day: 1}}\n")
	config := filepath.Join(dir, "penstock.yaml")
	if err := os.Remove(config); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(config, 0o600); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(patience, p.kill)
	defer late.Stop()
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	pipe, err := os.OpenFile(config, os.O_WRONLY, 0) // when it is being read
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	resp, err := http.Get(p.url + "/health")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	state, err := p.cmd.Process.Wait()
	if err != nil || state.ExitCode() != 0 {
		t.Errorf("it ended with %v, %v", state, err)
	}
}

package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// TestLogWriter: lines are passed on whole and in order; where nobody reads,
// nobody who writes waits, a bounded number is kept, and the rest is counted.
func TestLogWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := io.Pipe()
		l := newLogWriter(w)
		line := strings.Repeat("x", 1023) + "\n"
		fmt.Fprintln(l, "first")
		synctest.Wait() // it is being written, and nobody reads
		const most = mostUnwritten / 1024
		for range most + 3 {
			_, _ = io.WriteString(l, line)
		}
		fmt.Fprintln(l, "short") // there would be room, but not in its place
		began := time.Now()
		l.Close()
		if took := time.Since(began); took != lastLines {
			t.Errorf("closed after %v with lines that nobody reads, want %v", took, lastLines)
		}
		go func() {
			<-l.done
			_ = w.Close()
		}()
		got, _ := io.ReadAll(r)
		want := "first\n" + strings.Repeat(line, most) + "penstock: 4 lines of the log are missing here: whoever reads it was too slow\n"
		if string(got) != want {
			t.Errorf("%d bytes came, ending in %q, want %d", len(got), got[max(0, len(got)-100):], len(want))
		}
	})
	var all strings.Builder
	l := newLogWriter(&all)
	want := ""
	for i := range 1000 {
		fmt.Fprintln(l, i)
		want += fmt.Sprintln(i)
	}
	l.Close()
	if all.String() != want {
		t.Errorf("the log is %q", all.String())
	}
}

// TestFullLog: while whoever reads the log hangs, requests are answered, the
// configuration is reloaded, and the program ends when it is told to.
func TestFullLog(t *testing.T) {
	t.Parallel()
	worker := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") }))
	defer worker.Close()
	p := serveWith(t, t.TempDir(), worker.URL, "log: {decisions: all}\nrate_limiting: {default: {requests_per_day: 1000000}}\n")
	client := &http.Client{Timeout: patience}
	for range 1000 { // a pipe holds 64 KiB, and a line has more than 128 bytes
		resp, err := client.Get(p.url + "/v1/models")
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("answered with %s", resp.Status)
		}
	}
	for _, s := range []os.Signal{syscall.SIGHUP, syscall.SIGTERM} {
		if err := p.cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
	}
	late := time.AfterFunc(patience, p.kill)
	defer late.Stop()
	state, err := p.cmd.Process.Wait()
	if err != nil || state.ExitCode() != 0 {
		t.Errorf("it ended with %v, %v", state, err)
	}
}

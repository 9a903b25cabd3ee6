package main

import (
	"bufio"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/penstock-dev/penstock/internal/statefile"
)

var kills = flag.Int("kills", 3, "how often TestKill kills the program")

// TestKill kills the program at random moments, while callers ask, and starts
// it again on the same state file. It always starts; it goes on from exactly
// what the file says; the file has everything that was answered up to its own
// moment, and nothing that nobody asked for; and that moment lies no more than
// a few seconds before the end.
func TestKill(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	worker := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") }))
	defer worker.Close()
	dir := t.TempDir()
	state := filepath.Join(dir, "state")
	const plenty = 1_000_000_000
	used := int64(0)      // at the start of a life
	admitted := int64(0)  // over all lives
	forgotten := int64(0) // of what was admitted
	midWrite := 0
	p := serveUntilKilled(t, dir, worker.URL, plenty)
	p.use(t)
	for round := range *kills {
		admitted++ // that use
		begun := time.Now()
		var lives [4]life
		stop := make(chan struct{})
		var wg sync.WaitGroup
		for i := range lives {
			wg.Go(func() { lives[i].ask(p.url, stop) })
		}
		midWrite += untilTheEnd(t, state, round, rnd)
		p.kill()
		close(stop)
		wg.Wait()

		at := writtenAt(t, state)
		answered, asked, early := int64(1), int64(1), int64(0)
		if at.After(begun) {
			early = 1 // the first one
		}
		for i := range lives {
			l := &lives[i]
			answered += int64(len(l.answered))
			asked += l.asked
			for _, t := range l.answered {
				// The clock of the store counts whole microseconds, and may differ
				// from ours by what ours was slewed meanwhile.
				if t.Before(at.Add(-50 * time.Millisecond)) {
					early++
				}
			}
		}
		admitted += answered - 1
		p = serveUntilKilled(t, dir, worker.URL, plenty)
		written := plenty - p.use(t) - 1
		took := written - used
		switch {
		case took < early || took > asked:
			t.Errorf("life %d: the file has %d more than before, want %d (answered until it was written) to %d (asked)", round, took, early, asked)
		case round%3 == 0 && (!at.After(begun) || at.Sub(begun) > 10*time.Second):
			t.Errorf("life %d: the file says how it was %v after the start", round, at.Sub(begun))
		}
		forgotten += max(0, answered-took)
		used = written
	}
	// The last life shows what is left of the limit, and nothing passes it.
	p.kill()
	const left = 50
	limit := used + left
	p = serveUntilKilled(t, dir, worker.URL, limit)
	for n := 0; ; n++ {
		resp, err := http.Get(p.url + "/v1/models")
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode == http.StatusTooManyRequests {
			if n != left {
				t.Errorf("%d were admitted of %d that were left", n, left)
			}
			break
		}
		admitted++
	}
	if admitted > limit+forgotten {
		t.Errorf("%d were admitted of %d and %d that were forgotten", admitted, limit, forgotten)
	}
	t.Logf("%d kills, %d of them in a write: %d admitted, %d forgotten", *kills, midWrite, admitted, forgotten)
}

// untilTheEnd returns when the life is over: soon after a write, at any moment,
// or in the middle of a write, of which it returns 1 if it met one.
func untilTheEnd(t *testing.T, state string, round int, rnd *rand.Rand) (midWrite int) {
	t.Helper()
	before, _ := os.Stat(state)
	wait := func(what string, so func() bool) {
		for late := time.Now().Add(patience); !so(); time.Sleep(100 * time.Microsecond) {
			if time.Now().After(late) {
				t.Fatalf("%s: not within %v", what, patience)
			}
		}
	}
	span := 7 * time.Second
	switch round % 3 {
	case 0:
		wait("a write", func() bool {
			now, err := os.Stat(state)
			return err == nil && (before == nil || !os.SameFile(before, now))
		})
		span = 500 * time.Millisecond
	case 2:
		last, writes := before, 0
		wait("the middle of a write", func() bool {
			if _, err := os.Stat(state + ".new"); err == nil {
				midWrite = 1
				return true
			}
			if now, err := os.Stat(state); err == nil && (last == nil || !os.SameFile(last, now)) {
				last = now
				writes++
			}
			return writes == 3 // each was over too soon to be met, as on a busy machine
		})
		return midWrite
	}
	time.Sleep(time.Duration(rnd.Int64N(int64(span))))
	return 0
}

// TestLogNobodyReads: the program goes on when whoever read its log has ended.
func TestLogNobodyReads(t *testing.T) {
	t.Parallel()
	worker := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") }))
	defer worker.Close()
	p := serveUntilKilled(t, t.TempDir(), worker.URL, 1)
	if left := p.use(t); left != 0 {
		t.Fatalf("%d requests left, want 0", left)
	}
	if err := p.log.Close(); err != nil {
		t.Fatal(err)
	}
	for range 3 { // each of which the log tells of
		resp, err := http.Get(p.url + "/v1/models")
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusTooManyRequests {
			t.Errorf("answered with %s, want 429", resp.Status)
		}
	}
}

// mortal is a penstock that will be killed.
type mortal struct {
	cmd *exec.Cmd
	url string
	log io.ReadCloser
}

// serveUntilKilled starts penstock with a limit of so many requests a day, and
// returns when it serves. Its log is read to the end, if nobody closes it.
func serveUntilKilled(t *testing.T, dir, worker string, limit int64) *mortal {
	t.Helper()
	p := serveWith(t, dir, worker, fmt.Sprintf("rate_limiting: {state_file: state, default: {requests_per_day: %d}}\n", limit))
	go func() { _, _ = io.Copy(io.Discard, p.log) }()
	return p
}

// serveWith starts penstock with this configuration, and returns when it serves. Of
// its log no more is read.
func serveWith(t *testing.T, dir, worker, text string) *mortal {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Args = []string{"penstock"}
	return serveBy(t, cmd, dir, worker, text)
}

// serveBy is serveWith by a command that the arguments are added to.
func serveBy(t *testing.T, cmd *exec.Cmd, dir, worker, text string) *mortal {
	t.Helper()
	config := filepath.Join(dir, "penstock.yaml")
	err := os.WriteFile(config, []byte(text), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	p := &mortal{cmd: cmd}
	p.cmd.Args = append(p.cmd.Args, "serve", "--config", config, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--worker-urls", worker)
	p.cmd.Dir, p.cmd.Env = dir, append(os.Environ(), "GORACE="+race)
	if p.log, err = p.cmd.StderrPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	late := time.AfterFunc(patience, func() { _ = p.cmd.Process.Kill() })
	defer late.Stop()
	for lines := bufio.NewScanner(p.log); lines.Scan(); {
		line := lines.Text()
		if strings.Contains(line, `"level":"ERROR"`) {
			t.Errorf("the log says %s", line)
		}
		if m := servedBy.FindStringSubmatch(line); m != nil {
			p.url = "http://" + m[1]
			return p
		}
	}
	t.Fatal("it does not start")
	return nil
}

func (p *mortal) kill() {
	_ = p.cmd.Process.Kill() // if it still runs
	_ = p.cmd.Wait()
}

// use asks once, and returns what is left afterwards.
func (p *mortal) use(t *testing.T) int64 {
	t.Helper()
	resp, err := http.Get(p.url + "/v1/models")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	n, err := strconv.ParseInt(resp.Header.Get("X-RateLimit-Remaining"), 10, 64)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s, %v", resp.Status, err)
	}
	return n
}

// life is what one caller saw of one life.
type life struct {
	asked    int64
	answered []time.Time
}

// ask asks one request after the other until it cannot.
func (l *life) ask(url string, stop <-chan struct{}) {
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	pace := time.NewTicker(5 * time.Millisecond)
	defer pace.Stop()
	for {
		select {
		case <-stop:
			return
		case <-pace.C:
		}
		l.asked++
		resp, err := client.Get(url + "/v1/models")
		if err != nil {
			return // it was killed
		}
		_ = resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			l.answered = append(l.answered, time.Now())
		}
	}
}

// writtenAt returns the moment of the counters in the state file; the zero time
// when there is none.
func writtenAt(t *testing.T, path string) (at time.Time) {
	t.Helper()
	f, err := statefile.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	err = f.Read(map[string]func(io.Reader) error{"counters": func(r io.Reader) error {
		b := bufio.NewReader(r)
		if _, err := b.ReadString('\n'); err != nil {
			return err
		}
		moment, err := binary.ReadVarint(b)
		at = time.UnixMicro(moment)
		return err
	}})
	if err != nil {
		t.Fatalf("after a kill: %v", err)
	}
	return at
}

package server

import (
	"errors"
	"io"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-dev/penstock"
	"github.com/penstock-dev/penstock/internal/config"
	"github.com/penstock-dev/penstock/internal/statefile"
)

// daily is a configuration with a limit that outlasts every test.
func daily(stateFile string) string {
	return "auth: {unknown_keys: trust}\nrate_limiting:\n  default: {requests_per_day: 25}\n  state_file: " + stateFile + "\n"
}

// end stops the server as SIGTERM does.
func (r *rig) end() {
	r.t.Helper()
	r.stop()
	if err := r.over(); err != nil {
		r.t.Fatal(err)
	}
}

const aKey = "Authorization: Bearer s3cret"

func TestStateSurvivesARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	r := start(t, daily(path))
	for range 25 { // enough to be learned
		r.want("a chat", r.chat("model", 300, 3, aKey), 200)
	}
	r.settled()
	for _, when := range []string{"before", "after"} {
		if when == "after" {
			r.end()
			r = start(t, daily(path))
			if line := r.log.line(t, "counters are kept in the state file"); !strings.Contains(line, `"keys":1`) {
				t.Errorf("the log says %s", line)
			}
		}
		r.want(when+" the restart", r.chat("model", 300, 3, aKey), 429, "X-RateLimit-Remaining: 0")
		if p99, known := r.answers.P99(r.callerID(), "model"); p99 != 3 || !known {
			t.Errorf("%s the restart an answer has %d tokens, %v", when, p99, known)
		}
		if state := string(r.peeker.AppendState(nil)); !strings.Contains(state, "model") {
			t.Errorf("%s the restart the bytes per token are %q", when, state)
		}
	}
	if text, err := os.ReadFile(path); err != nil || strings.Contains(string(text), secret) {
		t.Errorf("a key stands in the state file, or %v", err)
	}
}

// callerID is the ID of who shows aKey, as what was learned has it.
func (r *rig) callerID() string {
	state := string(r.answers.AppendState(nil))
	_, id, _ := strings.Cut(state, "key-sha256:")
	return "key-sha256:" + id[:min(64, len(id))]
}

// TestStateThatCannotBeUsed: the gateway starts, says where the file is now,
// and counts from nothing; and the next state is read again.
func TestStateThatCannotBeUsed(t *testing.T) {
	write := func(t *testing.T, path string, sections ...statefile.Section) {
		f, err := statefile.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(f.Write(sections...), f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	of := func(name, text string) statefile.Section {
		return statefile.Section{Name: name, Write: func(w io.Writer) error {
			_, err := io.WriteString(w, text)
			return err
		}}
	}
	for name, test := range map[string]struct {
		write func(t *testing.T, path string)
		want  string // in the log
		aside bool
	}{
		"a foreign file": {func(t *testing.T, path string) {
			if err := os.WriteFile(path, []byte("listen: here"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "it is no state file of penstock; everything is counted from nothing", true},
		"counters of another version": {func(t *testing.T, path string) {
			write(t, path, of("answer lengths", "\x01\x00"), of("counters", "penstock counters 9\n"))
		}, "counters: penstock: restore: this is no snapshot, or one of another version of penstock", true},
		"lengths of another version": {func(t *testing.T, path string) {
			write(t, path, of("answer lengths", "\x09"))
		}, `"section":"answer lengths","error":"these are no lengths`, false},
		"weights of another version": {func(t *testing.T, path string) {
			write(t, path, of("bytes per token", "peek0"))
		}, `"section":"bytes per token","error":"provider: the learned weights`, false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "state")
			test.write(t, path)
			r := start(t, daily(path))
			r.log.line(t, test.want)
			r.want("the first request", r.chat("m", 1, 1), 200, "X-RateLimit-Remaining: 24")
			r.end()
			r = start(t, daily(path))
			r.want("after another restart", r.chat("m", 1, 1), 200, "X-RateLimit-Remaining: 23")
			bad, err := filepath.Glob(path + ".bad-*")
			if err != nil || (len(bad) == 1) != test.aside {
				t.Errorf("set aside: %v, %v", bad, err)
			}
		})
	}
}

func TestStateFindsNoRoom(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	s := penstock.NewMemoryStore(penstock.MemoryOptions{})
	limits := penstock.MustLimits(penstock.PerDay(penstock.Requests, 5))
	for i := range 30_000 {
		if _, err := s.Take(t.Context(), time.Time{}, limits.Charges(strconv.Itoa(i), penstock.Amounts{penstock.Requests: 1})); err != nil {
			t.Fatal(err)
		}
	}
	f, err := statefile.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Write(statefile.Section{Name: "counters", Write: func(w io.Writer) error { return s.Snapshot(w, time.Time{}) }}), f.Close()); err != nil {
		t.Fatal(err)
	}
	r := start(t, daily(path)+"  max_memory: 1MiB\n")
	r.log.line(t, "some counters found no room and begin with nothing: raise rate_limiting.max_memory")
	if st := r.store.Stats(); st.Bytes > 1<<20 || st.Keys < 1000 {
		t.Errorf("%+v", st)
	}
}

// TestStateFileOfAnother: a gateway does not start on the file of one that
// runs, and one that could not start gives the file up.
func TestStateFileOfAnother(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	r := start(t, daily(path))
	another := func(text string) error {
		flags := config.Flags{WorkerURLs: r.flags.WorkerURLs}
		_, err := New(Options{Log: io.Discard, Load: func() (*config.Config, []config.Warning, error) {
			return config.Parse("penstock.yaml", []byte(text), flags, func(string) (string, bool) { return "", false })
		}})
		return err
	}
	want := "rate_limiting.state_file: " + path + ".lock is locked: another process has this state file: give each gateway a file of its own"
	if err := another(daily(path)); err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	if err := another(daily(filepath.Join(path, "in a file"))); err == nil || !strings.HasPrefix(err.Error(), "rate_limiting.state_file: ") {
		t.Errorf("a file in a file: %v", err)
	}
	taken := filepath.Join(t.TempDir(), "state")
	if err := another(daily(taken) + "listen: " + r.Addr().String()); err == nil || !strings.HasPrefix(err.Error(), "listen: ") {
		t.Errorf("an address that is taken: %v", err)
	}
	f, err := statefile.Open(taken)
	if err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
}

// TestStateThatCannotBeWritten: requests are served all the same.
func TestStateThatCannotBeWritten(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dir")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	r := start(t, daily(filepath.Join(dir, "state")))
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	r.want("a request", r.chat("m", 1, 1), 200)
	r.end()
	r.log.line(t, `"level":"ERROR","msg":"the state file cannot be written: a restart forgets what is used, unless it can be by then"`)
	w := httptest.NewRecorder()
	r.metrics.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if !strings.Contains(w.Body.String(), "\npenstock_state_write_errors_total 1\n") {
		t.Error("it is not counted")
	}
}

// TestKeeper: it writes every five seconds when something may have changed, and
// at its end; what fails is said once until it works again, and tried again.
func TestKeeper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		file, err := statefile.Open(filepath.Join(dir, "state"))
		if err != nil {
			t.Fatal(err)
		}
		var (
			mu             sync.Mutex // guards what follows, for the race detector
			began, ended   int64
			writes, failed int
			broken         error
			log            journal
		)
		k := &keeper{
			file: file,
			sections: []statefile.Section{{Name: "x", Write: func(io.Writer) error {
				mu.Lock()
				defer mu.Unlock()
				writes++
				return broken
			}}},
			requests: func() (int64, int64) {
				mu.Lock()
				defer mu.Unlock()
				return began, ended
			},
			failed: func() {
				mu.Lock()
				defer mu.Unlock()
				failed++
			},
			log: slog.New(slog.NewTextHandler(&log, nil)),
		}
		k.start()
		for i, step := range []struct {
			begin, end int64
			broken     error
			writes     int // so far
			failed     int
			lines      int // of the log
		}{
			{0, 0, nil, 1, 0, 0}, // the first time always
			{0, 0, nil, 1, 0, 0}, // nothing has happened
			{1, 1, nil, 2, 0, 0},
			{0, 0, nil, 2, 0, 0},
			{1, 0, nil, 3, 0, 0}, // in flight
			{0, 0, nil, 4, 0, 0},
			{0, 1, nil, 5, 0, 0}, // its end may have changed something
			{0, 0, nil, 5, 0, 0},
			{1, 1, io.ErrShortWrite, 6, 1, 1},
			{0, 0, io.ErrShortWrite, 7, 2, 1}, // what was not written is tried again
			{0, 0, nil, 8, 2, 2},
			{0, 0, nil, 8, 2, 2},
			{1, 1, io.ErrShortWrite, 9, 3, 3},
		} {
			mu.Lock()
			began, ended, broken = began+step.begin, ended+step.end, step.broken
			mu.Unlock()
			time.Sleep(keepEvery)
			synctest.Wait()
			mu.Lock()
			if lines := strings.Count(log.String(), "\n"); writes != step.writes || failed != step.failed || lines != step.lines {
				t.Fatalf("step %d %+v: %d writes, %d failed, %d lines", i, step, writes, failed, lines)
			}
			mu.Unlock()
		}
		mu.Lock()
		broken = nil
		mu.Unlock()
		k.stop()
		if writes != 10 || !strings.HasSuffix(log.String(), "the state file is written again\"\n") {
			t.Errorf("%d writes at the end, and the log says %s", writes, log.String())
		}
		again, err := statefile.Open(filepath.Join(dir, "state"))
		if err != nil {
			t.Fatalf("it was not given up: %v", err)
		}
		_ = again.Close()
	})
}

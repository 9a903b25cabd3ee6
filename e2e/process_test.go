package e2e

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long an event is waited for that must come: long enough for
// a machine that is busy with other things. No test passes by waiting it out.
const patience = 30 * time.Second

// process is a running penstock.
type process struct {
	cmd      *exec.Cmd
	out, log journal // its standard output and error
	ended    chan struct{}
	err      error // how it ended, once ended is closed
	killed   bool  // by the test
}

// start runs penstock. When the test ends it is told to stop, and must then exit
// with 0.
func start(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{ended: make(chan struct{})}
	p.cmd = exec.Command(penstock, args...)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.log
	p.cmd.Env = []string{"HOME=" + t.TempDir()}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() { p.stop(t) })
	return p
}

// signal sends the process a signal.
func (p *process) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("signal %v: %v", s, err)
	}
}

// stop ends the process by SIGTERM.
func (p *process) stop(t *testing.T) {
	t.Helper()
	p.signal(t, syscall.SIGTERM)
	p.wait(t)
	if p.err != nil && !p.killed {
		t.Errorf("penstock %s: %v\n%s", strings.Join(p.cmd.Args[1:], " "), p.err, p.log.text())
	}
}

// kill ends the process as a crash does.
func (p *process) kill(t *testing.T) {
	t.Helper()
	p.killed = true
	p.signal(t, syscall.SIGKILL)
	p.wait(t)
}

// wait returns when the process has ended.
func (p *process) wait(t *testing.T) {
	t.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		<-p.ended
		t.Errorf("penstock %s did not stop within %v", strings.Join(p.cmd.Args[1:], " "), patience)
	}
}

// line returns the first line at from or later of the journal that holds text.
// It fails the test when the process ends without one.
func (p *process) line(t *testing.T, j *journal, from int, text string) string {
	t.Helper()
	late := time.After(patience)
	for {
		line, at, more := j.find(from, text)
		if at >= 0 {
			return line
		}
		select {
		case <-more:
		case <-late:
			t.Fatalf("no line with %q; there is\n%s", text, j.text())
		case <-p.ended:
			if line, at, _ := j.find(from, text); at >= 0 {
				return line
			}
			t.Fatalf("penstock %s has ended: %v\n%s", strings.Join(p.cmd.Args[1:], " "), p.err, p.log.text())
		}
	}
}

// journal is what a process has written, line by line.
type journal struct {
	mu    sync.Mutex
	buf   []byte
	lines []string
	more  chan struct{} // closed when there is more
}

var _ io.Writer = (*journal)(nil)

// Write takes in what the process writes.
func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.buf = append(j.buf, p...)
	for {
		line, rest, found := bytes.Cut(j.buf, []byte("\n"))
		if !found {
			break
		}
		j.lines, j.buf = append(j.lines, string(line)), rest
	}
	if j.more != nil {
		close(j.more)
		j.more = nil
	}
	return len(p), nil
}

// find returns the first line at from or later that holds text, with its
// number; when there is none that is negative, and more is closed once there are
// further lines.
func (j *journal) find(from int, text string) (line string, at int, more <-chan struct{}) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for i := from; i < len(j.lines); i++ {
		if strings.Contains(j.lines[i], text) {
			return j.lines[i], i, nil
		}
	}
	if j.more == nil {
		j.more = make(chan struct{})
	}
	return "", -1, j.more
}

// all returns the lines so far, the last one perhaps not whole.
func (j *journal) all() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	lines := slices.Clone(j.lines)
	if len(j.buf) > 0 {
		lines = append(lines, string(j.buf))
	}
	return lines
}

func (j *journal) text() string { return strings.Join(j.all(), "\n") }

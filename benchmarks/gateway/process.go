//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A process is one that was started, and has said where it listens.
type process struct {
	announcement
	cmd  *exec.Cmd
	said *said
}

// said keeps the end of what a process prints, for when it fails, and hands
// out the first line that announces where it listens.
type said struct {
	announced chan announcement
	done      chan struct{} // closed when the process has ended

	mu   sync.Mutex // guards last
	last []byte
}

// tail is the end of what the process has printed.
func (s *said) tail() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.last)
}

// start starts a process, in the environment of this one but for the
// collector's settings, of which it has those given, and waits until it
// listens.
func start(ctx context.Context, settings []string, name string, args ...string) (*process, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "GOGC=") || strings.HasPrefix(v, "GOMEMLIMIT=")
	}), settings...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	read, write := io.Pipe()
	cmd.Stdout, cmd.Stderr = write, write
	p := &process{cmd: cmd, said: &said{announced: make(chan announcement, 1), done: make(chan struct{})}}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go p.said.listen(read)
	go func() {
		_ = cmd.Wait()
		_ = write.Close()
	}()
	timeout := time.NewTimer(30 * time.Second)
	defer timeout.Stop()
	select {
	case p.announcement = <-p.said.announced:
		return p, nil
	case <-p.said.done:
		return nil, fmt.Errorf("%s %s ended: %s", name, strings.Join(args, " "), p.said.tail())
	case <-timeout.C:
		return nil, errors.Join(errors.New("nothing listens after 30 s"), p.stop())
	}
}

// listen reads lines until the process has ended.
func (s *said) listen(from io.Reader) {
	defer close(s.done)
	lines := bufio.NewScanner(from)
	for lines.Scan() {
		var a announcement
		if json.Unmarshal(lines.Bytes(), &a) == nil && a.Listen != "" {
			select {
			case s.announced <- a:
			default: // known
			}
		}
		s.mu.Lock()
		s.last = append(s.last, lines.Bytes()...)
		s.last = append(s.last, '\n')
		s.last = s.last[max(0, len(s.last)-2000):]
		s.mu.Unlock()
	}
}

// stop ends the process and waits for that.
func (p *process) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.said.done:
	case <-time.After(10 * time.Second):
		return p.cmd.Process.Kill()
	}
	return nil
}

// cpu is how much processor time the process has used, in user and kernel
// mode, to a hundredth of a second.
func (p *process) cpu() (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	// The second field is the program's name in parentheses. utime and stime
	// are the 14th and 15th, in hundredths of a second on every Linux.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	const utime, stime = 14 - 3, 15 - 3
	var ticks [2]int64
	for i, at := range []int{utime, stime} {
		if ticks[i], err = strconv.ParseInt(fields[at], 10, 64); err != nil {
			return 0, fmt.Errorf("/proc/PID/stat: %w", err)
		}
	}
	return time.Duration(ticks[0]+ticks[1]) * 10 * time.Millisecond, nil
}

// resident is how much memory the process has, in bytes.
func (p *process) resident() (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	pages, err := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	return pages * int64(os.Getpagesize()), err
}

// mallocs is how many objects the process has allocated, and how many bytes.
func (p *process) mallocs(ctx context.Context) (objects, size float64, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.Admin+"/metrics", nil)
	if err != nil {
		return 0, 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, 0, err
	}
	defer resp.Body.Close()
	found := 0
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		var to *float64
		switch name {
		case mallocsMetric:
			to = &objects
		case mallocBytesMetric:
			to = &size
		default:
			continue
		}
		if *to, err = strconv.ParseFloat(value, 64); err != nil {
			return 0, 0, err
		}
		found++
	}
	if found != 2 {
		return 0, 0, fmt.Errorf("%s lacks %s or %s", req.URL, mallocsMetric, mallocBytesMetric)
	}
	return objects, size, lines.Err()
}

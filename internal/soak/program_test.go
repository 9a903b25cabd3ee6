package soak

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/penstock-dev/penstock"
	"github.com/penstock-dev/penstock/internal/config"
	"github.com/penstock-dev/penstock/internal/server"
)

// program is the whole of penstock in this process.
type program struct {
	t      *testing.T
	server *server.Server
	ledger *ledger
	log    *journal
	admin  *http.Client
	ended  chan error

	mu    sync.Mutex
	text  string // of the configuration
	loads int    // how often it was read
}

// boot starts penstock with this configuration.
func boot(t *testing.T, text string, l *ledger) *program {
	t.Helper()
	p := &program{t: t, ledger: l, text: text, log: &journal{t: t, serving: make(chan struct{})}, ended: make(chan error, 1)}
	transport := &http.Transport{MaxIdleConnsPerHost: 8}
	p.admin = &http.Client{Transport: transport, Timeout: patience}
	var err error
	p.server, err = server.New(server.Options{Load: p.load, Log: p.log, Wrap: func(s penstock.Store) penstock.Store {
		l.MemoryStore = s.(*penstock.MemoryStore)
		return l
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	go func() { p.ended <- p.server.Run(ctx) }()
	<-p.log.serving // from here on it takes signals
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		stop()
		if err := <-p.ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return p
}

func (p *program) load() (*config.Config, []config.Warning, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.loads++
	anyPort := "127.0.0.1:0"
	flags := config.Flags{Listen: &anyPort, AdminListen: &anyPort}
	return config.Parse("penstock.yaml", []byte(p.text), flags, func(string) (string, bool) { return "", false })
}

// read is how often the configuration was read.
func (p *program) read() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.loads
}

// configure changes the configuration, and has it read again by whatever way.
func (p *program) configure(rng *rand.Rand, text string) error {
	p.mu.Lock()
	p.text = text
	p.mu.Unlock()
	switch rng.IntN(4) {
	case 0:
		before := p.read()
		if err := syscall.Kill(syscall.Getpid(), syscall.SIGHUP); err != nil {
			return err
		}
		for end := time.Now().Add(patience); p.read() == before; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				return errors.New("SIGHUP has it read nothing")
			}
		}
		return p.server.Reload() // after that of the signal
	case 1:
		r, err := http.NewRequest(http.MethodPost, "http://"+p.server.AdminAddr().String()+"/-/reload", nil)
		if err != nil {
			return err
		}
		r.Header.Set("X-Penstock", "1")
		resp, err := p.admin.Do(r)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		said, err := io.ReadAll(resp.Body)
		if err == nil && resp.StatusCode != http.StatusOK {
			err = fmt.Errorf("%s: %s", resp.Status, said)
		}
		return err
	default:
		return p.server.Reload()
	}
}

// metrics are the series of the admin port.
func (p *program) metrics() (map[string]float64, error) {
	resp, err := p.admin.Get("http://" + p.server.AdminAddr().String() + "/metrics")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	all := map[string]float64{}
	for line := range strings.Lines(string(text)) {
		if i := strings.LastIndexByte(line, ' '); i > 0 && line[0] != '#' {
			all[line[:i]], err = strconv.ParseFloat(strings.TrimSpace(line[i+1:]), 64)
			if err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

// journal is the log. What must not be in it fails the test.
type journal struct {
	t       *testing.T
	serving chan struct{}

	mu     sync.Mutex
	lines  int
	serves bool
}

// Write implements io.Writer, a line at a time.
func (j *journal) Write(line []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines++
	if !j.serves && bytes.Contains(line, []byte(`"msg":"serving"`)) {
		j.serves = true
		close(j.serving)
	}
	for _, bad := range []string{`"a request failed by a fault of penstock"`, `"the store failed"`, `"requests were cut off`, "s3cret"} {
		if bytes.Contains(line, []byte(bad)) {
			j.t.Errorf("the log says %s", line)
		}
	}
	return len(line), nil
}

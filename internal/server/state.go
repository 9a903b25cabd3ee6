package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/penstock-dev/penstock"
	"github.com/penstock-dev/penstock/internal/policy"
	"github.com/penstock-dev/penstock/internal/provider"
	"github.com/penstock-dev/penstock/internal/statefile"
)

// What survives a restart, in rate_limiting.state_file: the counters, and what
// was learned for estimates.

// The names of the file's sections.
const (
	countersSection = "counters"
	answersSection  = "answer lengths"
	tokensSection   = "bytes per token"
)

// mostLearned bounds the memory that a section of what was learned may take.
const mostLearned = 64 << 20

// openState takes the state file for this process, and what is in it. A file
// that cannot be used is set aside, and everything begins with nothing.
func (s *Server) openState(path string) error {
	file, err := statefile.Open(path)
	if err != nil {
		return fmt.Errorf("rate_limiting.state_file: %w", err)
	}
	left := 0
	learned := func(name string, restore func([]byte) error) func(io.Reader) error {
		return func(r io.Reader) error {
			b, err := io.ReadAll(io.LimitReader(r, mostLearned))
			if err != nil {
				return err
			}
			if err := restore(b); err != nil { // no reason to give the counters up
				s.log.Warn("what was learned is learned anew", "section", name, "error", err)
			}
			return nil
		}
	}
	err = file.Read(map[string]func(io.Reader) error{
		countersSection: func(r io.Reader) (err error) {
			left, err = s.store.Restore(r, time.Time{})
			return err
		},
		answersSection: learned(answersSection, s.answers.RestoreState),
		tokensSection:  learned(tokensSection, s.peeker.RestoreState),
	})
	var aside *statefile.SetAside
	switch {
	case errors.As(err, &aside):
		s.log.Error("the state file was set aside", "error", err)
		s.answers, s.peeker = policy.NewLearned(), provider.NewPeeker()
		s.store = penstock.NewMemoryStore(penstock.MemoryOptions{})
	case err != nil:
		_ = file.Close()
		return fmt.Errorf("rate_limiting.state_file: %w", err)
	default:
		s.log.Info("counters are kept in the state file", "state_file", path, "keys", s.store.Stats().Keys)
	}
	if left > 0 {
		s.log.Warn("some counters found no room and begin with nothing: raise rate_limiting.max_memory", "keys", left)
	}
	learnedBy := func(appendState func([]byte) []byte) func(io.Writer) error {
		return func(w io.Writer) error {
			_, err := w.Write(appendState(nil))
			return err
		}
	}
	store := s.store
	s.state = &keeper{
		file: file,
		sections: []statefile.Section{
			{Name: countersSection, Write: func(w io.Writer) error { return store.Snapshot(w, time.Time{}) }},
			{Name: answersSection, Write: learnedBy(s.answers.AppendState)},
			{Name: tokensSection, Write: learnedBy(s.peeker.AppendState)},
		},
		requests: func() (began, ended int64) { return s.metrics.Requests() },
		failed:   func() { s.metrics.StateWriteFailed() },
		log:      s.log,
	}
	return nil
}

// keeper writes a state file every few seconds, and a last time when it is
// stopped.
type keeper struct {
	file     *statefile.File
	sections []statefile.Section
	requests func() (began, ended int64) // so far
	failed   func()                      // counts a write that failed
	log      *slog.Logger

	cancel context.CancelFunc
	done   chan struct{} // closed when it has stopped

	// Of the goroutine that writes.
	still   int64 // requests at the last write, if none was in flight; else -1
	failing bool
}

// keepEvery is how much use a crash makes forgotten at the most, and a little
// more: the time that a write takes.
const keepEvery = 5 * time.Second

// start begins to write. A nil keeper does nothing.
func (k *keeper) start() {
	if k == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	k.cancel, k.done, k.still = cancel, make(chan struct{}), -1
	go k.run(ctx)
}

// stop writes a last time, and gives the file up. It must have been started.
func (k *keeper) stop() {
	if k == nil {
		return
	}
	k.cancel()
	<-k.done
}

func (k *keeper) run(ctx context.Context) {
	defer close(k.done)
	tick := time.NewTicker(keepEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			k.write(false)
		case <-ctx.Done():
			k.write(true)
			_ = k.file.Close()
			return
		}
	}
}

// write writes the file, unless nothing can have changed since it was written. A
// failure is told the first time, and the last.
func (k *keeper) write(last bool) {
	began, ended := k.requests()
	if began == k.still {
		return
	}
	if k.still = -1; began == ended {
		k.still = began
	}
	if err := k.file.Write(k.sections...); err != nil {
		k.still = -1
		k.failed()
		if !k.failing || last {
			k.log.Error("the state file cannot be written: a restart forgets what is used, unless it can be by then", "error", err)
		}
		k.failing = true
		return
	}
	if k.failing {
		k.log.Info("the state file is written again")
	}
	k.failing = false
}

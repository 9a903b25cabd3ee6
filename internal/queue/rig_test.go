package queue

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-dev/penstock/internal/traffic"
)

// outcome is what became of one Enter. Error is empty for a slot.
type outcome struct {
	Error    string
	Position int
	Waited   time.Duration // as the slot or the TimeoutError says
	After    time.Duration // how long Enter took by the bubble's clock
	Retry    time.Duration // of a FullError
}

// fataler is what testing.T and rapid.T have in common here.
type fataler interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Context() context.Context
}

// rig drives a queue in a synctest bubble. Requests are named by letters and
// every step returns when the queue has come to rest.
type rig struct {
	t      fataler
	q      *Queue
	mu     sync.Mutex
	slots  map[string]Slot
	leave  map[string]context.CancelFunc
	ended  map[string]outcome
	wanted map[string]outcome
}

func newRig(t fataler, o Options) *rig {
	t.Helper()
	q, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return &rig{
		t: t, q: q,
		slots: map[string]Slot{}, leave: map[string]context.CancelFunc{},
		ended: map[string]outcome{}, wanted: map[string]outcome{},
	}
}

// start begins an Enter for each name, in this order, all of one caller.
func (r *rig) start(names string) { r.ask(Ask{}, names) }

// ask is start with an Ask.
func (r *rig) ask(a Ask, names string) {
	for _, name := range strings.Split(names, "") {
		ctx, cancel := context.WithCancel(r.t.Context())
		r.leave[name] = cancel
		go r.enter(ctx, a, name)
		synctest.Wait()
	}
}

func (r *rig) enter(ctx context.Context, a Ask, name string) {
	began := time.Now()
	s, err := r.q.Enter(ctx, a)
	o := outcome{After: time.Since(began)}
	var full *FullError
	var late *TimeoutError
	switch {
	case errors.As(err, &full):
		o.Error, o.Retry = string(full.Reason), full.RetryAfter
	case errors.As(err, &late):
		o.Error, o.Waited = "timeout", late.Waited
	case errors.Is(err, ErrStopped):
		o.Error = "stopped"
	case err != nil:
		o.Error = err.Error()
	default:
		o.Position, o.Waited = s.Position(), s.Waited()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended[name] = o
	if err == nil {
		r.slots[name] = s
	}
}

// release gives back the slots of those named, in this order.
func (r *rig) release(names string) {
	r.t.Helper()
	for _, name := range strings.Split(names, "") {
		r.mu.Lock()
		s, ok := r.slots[name]
		r.mu.Unlock()
		if !ok {
			r.t.Fatalf("%s holds no slot", name)
		}
		s.Release()
		synctest.Wait()
	}
}

// cancel ends the clients of those named, in this order.
func (r *rig) cancel(names string) {
	for _, name := range strings.Split(names, "") {
		r.leave[name]()
		synctest.Wait()
	}
}

func (r *rig) sleep(d time.Duration) {
	time.Sleep(d) // the bubble's clock
	synctest.Wait()
}

// want says that by now, besides what was wanted before, those of names came to
// this, and nobody else to anything.
func (r *rig) want(more map[string]outcome) {
	r.t.Helper()
	for names, o := range more {
		for _, name := range strings.Split(names, "") {
			r.wanted[name] = o
		}
	}
	r.check()
}

func (r *rig) check() {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if d := cmp.Diff(r.wanted, r.ended); d != "" {
		r.t.Fatalf("outcomes (-want +got):\n%s", d)
	}
}

// stats checks the whole of Stats; without Classes, all is of the default class.
func (r *rig) stats(want Stats) {
	r.t.Helper()
	if want.Classes == [3]ClassStats{} {
		want.Classes[traffic.ClassDefault] = ClassStats{want.InFlight, want.Waiting}
	}
	if d := cmp.Diff(want, r.q.Stats()); d != "" {
		r.t.Fatalf("stats (-want +got):\n%s", d)
	}
}

// alarm returns the queue's, as it is set now, and how long until it rings.
func (r *rig) alarm() (set bool, in time.Duration) {
	r.q.mu.Lock()
	defer r.q.mu.Unlock()
	return r.q.alarm.set, r.q.alarm.at - r.q.now()
}

package workers

import (
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// TestOwnLack: that this side has no file, memory or port left is no failure of the
// worker. It stays as it was, and serves as soon as there is one.
func TestOwnLack(t *testing.T) {
	for _, tt := range []struct {
		err     error
		state   State
		breaker Breaker
	}{
		{syscall.EMFILE, Up, Closed},
		{syscall.ENFILE, Up, Closed},
		{syscall.ENOBUFS, Up, Closed},
		{syscall.ENOMEM, Up, Closed},
		{syscall.EADDRNOTAVAIL, Up, Closed},
		{syscall.EHOSTUNREACH, Down, Open}, // of the way to it
	} {
		t.Run(tt.err.Error(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				policy := breaking
				policy.HealthInterval = 10 * seconds
				f := newFarm(t, policy, "a")
				synctest.Wait()
				f.wantState("at first", "a", Up, Closed)
				f.workers[0].transport.CloseIdleConnections() // that of the check
				f.set("a", func(h *host) {
					h.dead = &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("socket", tt.err)}
				})
				for range policy.Failures {
					f.ask(Want{})
				}
				f.wantState("after requests", "a", Up, tt.breaker)
				time.Sleep(25 * seconds)
				f.wantState("after checks", "a", tt.state, tt.breaker)
				if tt.state == Up {
					f.set("a", func(h *host) { h.dead = nil })
					f.wantAsk("again", Want{}, "200 OK a")
				}
			})
		})
	}
}

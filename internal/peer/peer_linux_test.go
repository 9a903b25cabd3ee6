//go:build linux && (amd64 || arm64)

package peer

import (
	"net"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

func TestIsGone(t *testing.T) {
	for _, tt := range []struct {
		name string
		info syscall.TCPInfo
		want bool
	}{
		{"nothing was asked", syscall.TCPInfo{Last_ack_recv: 3_600_000}, false},
		{"it was sent something just now", syscall.TCPInfo{Unacked: 1, Last_ack_recv: 3_600_000}, false},
		{"some of it got lost", syscall.TCPInfo{Unacked: 1, Retransmits: 9, Last_ack_recv: 59_999}, false},
		{"all of it", syscall.TCPInfo{Unacked: 1, Retransmits: 3, Last_ack_recv: 60_000}, true},
		{"sent again twice", syscall.TCPInfo{Unacked: 1, Retransmits: 2, Last_ack_recv: 60_000}, false},
		{"it does not answer probes", syscall.TCPInfo{Probes: 3, Last_ack_recv: 60_000}, true},
	} {
		if got := isGone(&tt.info, Silence); got != tt.want {
			t.Errorf("%s: %t, want %t", tt.name, got, tt.want)
		}
	}
}

// TestGone has a peer vanish: a filter on its socket drops all that comes.
func TestGone(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	dialled, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	near := dialled.(*net.TCPConn)
	defer func() { _ = near.Close() }()
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = far.Close() }()

	if _, err := near.Write([]byte("it is there")); err != nil || silent(near, 0) {
		t.Fatalf("gone at the start, or %v", err)
	}
	raw, err := far.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	drop := []syscall.SockFilter{{Code: syscall.BPF_RET}}
	program := syscall.SockFprog{Len: 1, Filter: &drop[0]}
	var failed syscall.Errno
	err = raw.Control(func(fd uintptr) {
		_, _, failed = syscall.Syscall6(syscall.SYS_SETSOCKOPT, fd, syscall.SOL_SOCKET, syscall.SO_ATTACH_FILTER,
			uintptr(unsafe.Pointer(&program)), unsafe.Sizeof(program), 0)
	})
	if err != nil || failed != 0 {
		t.Fatal(err, failed)
	}
	if _, err := near.Write([]byte("it is not")); err != nil {
		t.Fatal(err)
	}
	for late := time.Now().Add(time.Minute); !silent(near, 0); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(late) {
			t.Fatal("it is still there")
		}
	}
	if silent(near, time.Hour) || Gone(near) {
		t.Error("gone before its time")
	}
	if _ = near.Close(); silent(near, 0) {
		t.Error("a connection that is closed has no peer to be gone")
	}
}

//go:build linux && (amd64 || arm64)

package peer

import (
	"net"
	"syscall"
	"time"
	"unsafe"
)

// fewest is how often what is unacknowledged was sent again, or the peer asked
// whether it is there, before it is taken for gone.
const fewest = 3

// Gone reports whether the peer has acknowledged nothing for Silence, though it was
// asked to. One that merely does not read does acknowledge: its system answers, not
// its process. Where the system here cannot say, or c is closed, it is not gone.
//
// The connection must be kept alive, as those of package net are unless they are
// told otherwise; else one on which nothing is sent is never gone.
func Gone(c *net.TCPConn) bool { return silent(c, Silence) }

func silent(c *net.TCPConn, silence time.Duration) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	var info syscall.TCPInfo
	size := uint32(unsafe.Sizeof(info))
	var failed syscall.Errno
	err = raw.Control(func(fd uintptr) {
		_, _, failed = syscall.Syscall6(syscall.SYS_GETSOCKOPT, fd, syscall.IPPROTO_TCP, syscall.TCP_INFO,
			uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	})
	return err == nil && failed == 0 && isGone(&info, silence)
}

func isGone(i *syscall.TCPInfo, silence time.Duration) bool {
	return max(i.Retransmits, i.Probes) >= fewest && time.Duration(i.Last_ack_recv)*time.Millisecond >= silence
}

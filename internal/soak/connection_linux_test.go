package soak

import (
	"net"
	"syscall"
)

// canTell says whether stands can tell anything.
const canTell = true

// stands reports whether neither side has closed a connection. Who was closed by
// its peer a moment ago does not stand, whoever has read how much of it.
func stands(c net.Conn) bool {
	const established = 1 // tcpi_state, the first byte of TCP_INFO
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		return false
	}
	state := 0
	err = raw.Control(func(fd uintptr) {
		state, _ = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_INFO)
	})
	return err == nil && state&0xff == established
}

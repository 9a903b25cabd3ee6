//go:build unix

package workers

import (
	"net"
	"syscall"
)

// canLook says that looker makes something.
const canLook = true

// looker returns what tells whether c is open and nothing has come on it: what
// came while nobody asked must not be taken for the next answer. It is nil where
// that cannot be told.
func looker(c net.Conn) (quiet func() bool) {
	s, ok := c.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return nil
	}
	var one [1]byte
	var came error
	read := func(fd uintptr) bool {
		_, came = syscall.Read(int(fd), one[:])
		return true
	}
	return func() bool {
		return raw.Read(read) == nil && (came == syscall.EAGAIN || came == syscall.EWOULDBLOCK)
	}
}

//go:build !linux

package soak

import "net"

// canTell says whether stands can tell anything.
const canTell = false

func stands(net.Conn) bool { return true }

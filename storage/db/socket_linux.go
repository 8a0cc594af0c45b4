package db

import (
	"errors"
	"strings"
	"syscall"
	"time"
)

const (
	tcpUserTimeout = 0x12 // TCP_USER_TIMEOUT of linux/tcp.h, which package syscall lacks
	// sendTimeout limits how long sent data stays unacknowledged, which keep-alive does not detect.
	sendTimeout = 30 * time.Second
)

// controlSocket sets a timeout after which a connection to an unreachable host fails.
func controlSocket(network, _ string, conn syscall.RawConn) (err error) {
	if !strings.HasPrefix(network, "tcp") {
		return nil
	}
	failed := conn.Control(func(fd uintptr) {
		err = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, int(sendTimeout.Milliseconds()))
	})
	return errors.Join(failed, err)
}

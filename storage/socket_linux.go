package storage

import (
	"errors"
	"strings"
	"syscall"
	"time"
)

const (
	tcpUserTimeout = 0x12 // TCP_USER_TIMEOUT of linux/tcp.h, which package syscall lacks
	// sendTimeout is how long sent data may stay without an acknowledgement: keep-alive does not watch for that.
	sendTimeout = 30 * time.Second
)

// controlSocket makes a connection fail when the host at the other end is gone.
func controlSocket(network, _ string, conn syscall.RawConn) (err error) {
	if !strings.HasPrefix(network, "tcp") {
		return nil
	}
	failed := conn.Control(func(fd uintptr) {
		err = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, int(sendTimeout.Milliseconds()))
	})
	return errors.Join(failed, err)
}

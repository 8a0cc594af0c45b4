package db

import (
	"net"
	"syscall"
	"testing"
)

func TestUnreachableHostsAreDetected(t *testing.T) {
	t.Parallel()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	p, err := parsePostgresURL("postgres://gatehouse@" + listener.Addr().String() + "/gatehouse")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := p.config.DialFunc(t.Context(), "tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[[2]int]int{
		{syscall.SOL_SOCKET, syscall.SO_KEEPALIVE}:   1,
		{syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE}:  15,
		{syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL}: 5,
		{syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT}:   3,
		{syscall.IPPROTO_TCP, tcpUserTimeout}:        30_000,
	} {
		var got int
		controlErr := raw.Control(func(fd uintptr) { got, err = syscall.GetsockoptInt(int(fd), name[0], name[1]) })
		if controlErr != nil || err != nil || got != want {
			t.Errorf("socket option %v = %d, %v, %v, want %d", name, got, controlErr, err, want)
		}
	}
}

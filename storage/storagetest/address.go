package storagetest

import (
	"math/rand/v2"
	"net"
	"strconv"
	"testing"
)

// FreeAddress returns a loopback address without a listener, for a server in another process. Its port is below those
// that the system assigns to connections and listeners (32768 and up on Linux, 49152 and up elsewhere), so that none of
// them uses it before the server listens, or between two of its listeners. A UDP socket on the same port reserves it
// until the end of the test: no other call returns it, in this process or in that of another package's tests.
func FreeAddress(t testing.TB) string {
	t.Helper()
	for range 1000 {
		address := "127.0.0.1:" + strconv.Itoa(11000+rand.IntN(20000))
		reservation, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", address)
		if err != nil {
			continue
		}
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", address)
		if err != nil {
			_ = reservation.Close()
			continue
		}
		t.Cleanup(func() { _ = reservation.Close() })
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		return address
	}
	t.Fatal("no free port from 11000 to 30999")
	return ""
}

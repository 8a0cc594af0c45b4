package storagetest

import (
	"context"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"testing"
)

// chosen has the ports that FreeAddress has returned in this process.
var chosen sync.Map

// FreeAddress returns a loopback address without a listener. Its port is below those that the system assigns to
// connections and listeners (32768 and up on Linux, 49152 and up elsewhere), so that none of them takes it before the
// caller listens, or between two of its listeners.
func FreeAddress(t testing.TB) string {
	t.Helper()
	for range 1000 {
		port := 11000 + rand.IntN(20000)
		address := "127.0.0.1:" + strconv.Itoa(port)
		l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", address)
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if _, taken := chosen.LoadOrStore(port, true); !taken {
			return address
		}
	}
	t.Fatal("no free port from 11000 to 30999")
	return ""
}

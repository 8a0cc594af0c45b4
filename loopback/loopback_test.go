package loopback_test

import (
	"testing"

	"gatehouse/loopback"
)

func TestOnlyLoopbackHostsAreAccepted(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]bool{
		"localhost": true, "127.0.0.1": true, "127.9.9.9": true, "::1": true,
		"": false, "localhost.example": false, "LOCALHOST": false, "127.1": false, "0.0.0.0": false, "::": false,
		"::1%eth0": false, "192.0.2.1": false, "[::1]": false, "127.0.0.1:80": false,
	} {
		if got := loopback.IsHost(host); got != want {
			t.Errorf("IsHost(%q) = %v, want %v", host, got, want)
		}
	}
}

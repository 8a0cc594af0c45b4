package storagetest_test

import (
	"net"
	"testing"

	"gatehouse/storage/storagetest"
)

func TestFreeAddressIsReservedUntilTestEnds(t *testing.T) {
	t.Parallel()
	address := ""
	t.Run("in the test", func(t *testing.T) {
		address = storagetest.FreeAddress(t)
		reservation, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", address)
		if err == nil {
			t.Errorf("ListenPacket(%q) of a reserved address succeeded", address)
			storagetest.Must(t, reservation.Close())
		}
		listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", address)
		if err != nil {
			t.Fatalf("Listen(%q) = %v, want no error", address, err)
		}
		storagetest.Must(t, listener.Close())
	})
	reservation, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", address)
	if err != nil {
		t.Fatalf("ListenPacket(%q) after the test = %v, want no error", address, err)
	}
	storagetest.Must(t, reservation.Close())
}

package identity_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"gatehouse/identity"
	"gatehouse/storage"
	"gatehouse/storage/reqevent"
	"gatehouse/storage/storagetest"
)

// requestFrom returns the context of a request from an address.
func requestFrom(t *testing.T, address string) context.Context {
	t.Helper()
	return reqevent.NewContext(t.Context(), &reqevent.Event{Address: address})
}

// knownDevice returns the device cookie of a browser in which the user has just signed in.
func knownDevice(t *testing.T, p *identity.Users, u storage.User) identity.Device {
	t.Helper()
	w, r := httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/login", nil)
	_, err := p.StartSession(w, r, u, identity.Authentication{ACR: identity.ACRPassword, AMR: []string{"pwd"}})
	storagetest.Must(t, err)
	next := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/login", nil)
	for _, c := range w.Result().Cookies() {
		next.AddCookie(c)
	}
	return p.Device(next)
}

// waitForQueue waits until n attempts wait for a slot.
func waitForQueue(t *testing.T, p *identity.Users, n int) {
	t.Helper()
	storagetest.Eventually(t, fmt.Sprintf("%d attempts wait for a slot", n), func() bool { return p.QueueLength() >= n })
}

// TestKnownBrowserSignsInDuringFlood fills the queue with attempts from many subnets. Another unknown browser is
// refused immediately; a browser known to the account gets the next slot.
func TestKnownBrowserSignsInDuringFlood(t *testing.T) {
	t.Parallel()
	p, _, _ := newUsers(t, storagetest.URL(t, storage.SQLite))
	device := knownDevice(t, p, user(t, p, "alice"))
	release := p.AcquireAllSlots()
	flood, stop := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	const subnets, each = 8, 64
	for i := range subnets * each {
		ctx := reqevent.NewContext(flood, &reqevent.Event{Address: fmt.Sprintf("192.0.%d.1", i%subnets)})
		wait.Go(func() {
			_, _ = p.SignIn(ctx, fmt.Sprint("unknown ", i), "an incorrect password", identity.Device{})
		})
	}
	waitForQueue(t, p, subnets*each)
	_, err := p.SignIn(requestFrom(t, "198.51.100.1"), "alice", password, identity.Device{})
	if !errors.Is(err, identity.ErrBusy) {
		t.Errorf("SignIn in an unknown browser with a full queue = %v, want ErrBusy", err)
	}
	signedIn := make(chan error, 1)
	go func() {
		_, err := p.SignIn(requestFrom(t, "192.0.1.1"), "alice", password, device)
		signedIn <- err
	}()
	waitForQueue(t, p, subnets*each+1)
	release()
	if err := <-signedIn; err != nil {
		t.Errorf("SignIn in a known browser with the correct password = %v, want no error", err)
	}
	stop()
	wait.Wait()
}

// TestThrottledSignInDoesNotQueue releases no slot: an attempt that queued would not return.
func TestThrottledSignInDoesNotQueue(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		p, _, _ := newUsers(t, url)
		user(t, p, "alice")
		signIn := func() error {
			_, err := p.SignIn(requestFrom(t, "192.0.2.1"), "alice", "an incorrect password", identity.Device{})
			return err
		}
		for range 5 {
			if err := signIn(); !errors.Is(err, identity.ErrInvalidCredentials) {
				t.Fatalf("SignIn with an incorrect password = %v, want ErrInvalidCredentials", err)
			}
		}
		p.AcquireAllSlots()
		var throttled *identity.ThrottledError
		if err := signIn(); !errors.As(err, &throttled) {
			t.Errorf("SignIn after 5 failures = %v, want *ThrottledError", err)
		}
	})
}

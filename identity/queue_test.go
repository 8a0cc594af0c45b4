package identity_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
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
	_, err := p.StartSession(w, r, u, "pwd")
	storagetest.Must(t, err)
	next := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/login", nil)
	for _, c := range w.Result().Cookies() {
		next.AddCookie(c)
	}
	return p.Device(next)
}

// waitFor returns as soon as n attempts wait for a slot.
func waitFor(p *identity.Users, n int) {
	for p.QueueLength() < n {
		runtime.Gosched()
	}
}

// TestKnownBrowserSignsInDuringFlood fills the queue with attempts from many networks. Another unknown browser is
// refused immediately; a browser known to the account gets the next slot.
func TestKnownBrowserSignsInDuringFlood(t *testing.T) {
	t.Parallel()
	p, _, _ := newUsers(t, storagetest.URL(t, storage.SQLite))
	u, err := p.Create(t.Context(), identity.NewUser{Username: "alice", Email: "alice@example.com", Password: "correct horse"})
	storagetest.Must(t, err)
	device := knownDevice(t, p, u)
	release := p.AcquireAllSlots()
	flood, stop := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	const networks, each = 8, 64
	for i := range networks * each {
		ctx := reqevent.NewContext(flood, &reqevent.Event{Address: fmt.Sprintf("192.0.%d.1", i%networks)})
		wait.Go(func() {
			_, _ = p.SignIn(ctx, fmt.Sprint("unknown ", i), "wrong password", identity.Device{})
		})
	}
	waitFor(p, networks*each)
	if _, err := p.SignIn(requestFrom(t, "198.51.100.1"), "alice", "correct horse", identity.Device{}); !errors.Is(err, identity.ErrBusy) {
		t.Errorf("an unknown browser with a full queue: %v, want ErrBusy", err)
	}
	signedIn := make(chan error, 1)
	go func() {
		_, err := p.SignIn(requestFrom(t, "192.0.1.1"), "alice", "correct horse", device)
		signedIn <- err
	}()
	waitFor(p, networks*each+1)
	release()
	if err := <-signedIn; err != nil {
		t.Errorf("known browser with the correct password: %v", err)
	}
	stop()
	wait.Wait()
}

// TestThrottledSignInDoesNotQueue releases no slot: an attempt that queued would not return.
func TestThrottledSignInDoesNotQueue(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		p, _, _ := newUsers(t, url)
		_, err := p.Create(t.Context(), identity.NewUser{Username: "alice", Email: "alice@example.com", Password: "correct horse"})
		storagetest.Must(t, err)
		for range 5 {
			if _, err := p.SignIn(requestFrom(t, "192.0.2.1"), "alice", "wrong password", identity.Device{}); !errors.Is(err, identity.ErrInvalidCredentials) {
				t.Fatalf("sign-in with a wrong password: %v, want ErrInvalidCredentials", err)
			}
		}
		p.AcquireAllSlots()
		var throttled *identity.ThrottledError
		if _, err := p.SignIn(requestFrom(t, "192.0.2.1"), "alice", "wrong password", identity.Device{}); !errors.As(err, &throttled) {
			t.Errorf("throttled sign-in: %v, want *ThrottledError", err)
		}
	})
}

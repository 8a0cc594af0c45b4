package identity

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"time"

	"gatehouse/storage"
)

// The limits on failed sign-ins: strict per account and network, so that nobody on another network is locked out by
// them; and, against guessing from many networks, a wide one on the account as a whole, which only browsers that never
// signed in to that account feel.
var (
	networkLimit = storage.SignInLimit{Free: 5, Longest: 15 * time.Minute, Forget: time.Hour}
	accountLimit = storage.SignInLimit{Free: 100, Longest: time.Minute, Forget: time.Hour}
)

// ErrWrong is returned for a wrong name or password, without saying which.
var ErrWrong = errors.New("wrong name or password")

// Throttled is returned when an account is guessed at too often from the person's network.
type Throttled struct{ RetryAt time.Time }

func (t *Throttled) Error() string { return "too many failed sign-ins" }

// SignIn checks a name and password and returns the person. device is what DeviceOf found in the browser. It returns
// ErrWrong, a *Throttled, or ErrBusy.
//
// Whoever the name belongs to, or whether to anyone, the same work is done and the same answers given.
func (p *People) SignIn(ctx context.Context, name, password string, device Device) (storage.User, error) {
	k, err := key(name)
	if err != nil {
		k = strings.ToLower(strings.TrimSpace(name))
	}
	user, hash := storage.User{}, ""
	account := "name\x00" + k
	if err == nil {
		if user, err = p.store.UserByKey(ctx, k); err != nil && !errors.Is(err, storage.ErrNotFound) {
			return storage.User{}, err
		}
	}
	if user.ID != "" {
		account = "user\x00" + user.ID // one count for the username and the e-mail address
		stored, err := p.store.PasswordOf(ctx, user.ID)
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			return storage.User{}, err
		}
		hash = stored.Hash
	}
	counts, err := p.attempt(ctx, account, user.ID, device)
	if err != nil {
		return storage.User{}, err
	}
	ok, err := p.hasher.verify(ctx, hash, password)
	if err != nil {
		return storage.User{}, err
	}
	if !ok || user.DisabledAt != nil {
		event := storage.Event{Type: storage.UserSignInFailed, UserID: user.ID}
		if err := p.store.Record(ctx, event); err != nil {
			return storage.User{}, err
		}
		return storage.User{}, ErrWrong
	}
	for _, c := range counts {
		if err := p.store.ForgetSignInFailures(ctx, c.account, c.network); err != nil {
			return storage.User{}, err
		}
	}
	return user, nil
}

type count struct {
	account []byte
	network string
}

// attempt takes an attempt from every limit that applies, before the password is looked at.
func (p *People) attempt(ctx context.Context, account, userID string, device Device) ([]count, error) {
	mac := p.store.Root().MAC("sign-in", []byte(account))
	own := count{mac, network(storage.OriginOf(ctx).Address)}
	if userID != "" && device.Knows(userID) {
		own.network = "device " + device.id()
	} else {
		at, err := p.store.AttemptSignIn(ctx, mac, "*", accountLimit)
		if err != nil {
			return nil, throttled(at, err)
		}
	}
	at, err := p.store.AttemptSignIn(ctx, mac, own.network, networkLimit)
	if err != nil {
		return nil, throttled(at, err)
	}
	return []count{own}, nil
}

func throttled(at time.Time, err error) error {
	if errors.Is(err, storage.ErrBusy) {
		return &Throttled{RetryAt: at}
	}
	return err
}

// network is the part of an address that one attacker is taken to hold: /24 of IPv4, /64 of IPv6.
func network(address string) string {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return "unknown"
	}
	a = a.Unmap()
	bits := 64
	if a.Is4() {
		bits = 24
	}
	prefix, err := a.WithZone("").Prefix(bits)
	if err != nil {
		return "unknown"
	}
	return prefix.String()
}

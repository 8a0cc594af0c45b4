package identity

import (
	"context"
	"encoding/base64"
	"errors"
	"net/netip"
	"strings"
	"time"

	"gatehouse/config"
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
	counts := p.counts(ctx, account, user, device)
	queued := caller{name: network(storage.OriginOf(ctx).Address)}
	if device.Knows(user) {
		queued = caller{name: user.ID, known: true}
	}
	// First, so that an attempt that is refused in any case takes no place in the queue.
	if err := p.checkLimits(ctx, counts); err != nil {
		return storage.User{}, err
	}
	right := false
	// The limits are asked again and the failure is counted while this attempt has its turn, so that of many guesses that
	// come together no more slip through than passwords are checked at once.
	err = p.hasher.inTurn(ctx, queued, func() error {
		if err := p.checkLimits(ctx, counts); err != nil {
			return err
		}
		matches, err := p.hasher.verify(hash, password)
		if right = matches && user.DisabledAt == nil; err != nil || right {
			return err
		}
		for _, c := range counts {
			if err := p.store.CountSignInFailure(ctx, c.account, c.network, c.limit); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return storage.User{}, err
	}
	if !right {
		if err := p.recordFailure(ctx, user.ID); err != nil {
			return storage.User{}, err
		}
		return storage.User{}, ErrWrong
	}
	return user, p.store.ForgetSignInFailures(ctx, counts[0].account, counts[0].network)
}

// checkLimits returns a *Throttled when one of the counts refuses the attempt.
func (p *People) checkLimits(ctx context.Context, counts []count) error {
	for _, c := range counts {
		until, err := p.store.SignInBlocked(ctx, c.account, c.network)
		if err != nil {
			return err
		}
		if until != nil {
			return &Throttled{RetryAt: *until}
		}
	}
	return nil
}

// recordFailure writes the audit row of a failed sign-in, of so many: each account has a number of its own, and names that are
// nobody's share those of all failures, or whoever makes names up would fill the disk.
func (p *People) recordFailure(ctx context.Context, userID string) error {
	e := storage.Event{Type: storage.UserSignInFailed, UserID: userID}
	counts := []config.Count{{Limit: config.LimitRecordedFailure, Key: e.Type + " " + userID}}
	if userID == "" {
		counts = []config.Count{{Limit: config.LimitRecordedFailure, Key: e.Type + " " + storage.OriginOf(ctx).Network()}, {Limit: config.LimitAllRecorded}}
	}
	if p.options.Limits != nil && p.options.Limits.Take(ctx, counts...).Refused {
		p.store.Seen(e)
		return nil
	}
	return p.store.Record(ctx, e)
}

// count is one limit that an attempt falls under.
type count struct {
	account []byte
	network string
	limit   storage.SignInLimit
}

// counts are the limits that apply: that of the browser, where the person has signed in before, or those of its network
// and of the account as a whole.
func (p *People) counts(ctx context.Context, account string, user storage.User, device Device) []count {
	key := p.store.Key(storage.SignInKey)
	name := mac(key, account)
	from := func(place string) string { // as the account it is compared only
		return base64.RawURLEncoding.EncodeToString(mac(key, "network\x00"+account+"\x00"+place)[:16])
	}
	if device.Knows(user) {
		return []count{{name, from("device " + device.id()), networkLimit}}
	}
	return []count{{name, from(network(storage.OriginOf(ctx).Address)), networkLimit}, {name, "*", accountLimit}}
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

package identity

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"gatehouse/config"
	"gatehouse/storage"
)

// The limits on failed sign-ins: strict per name or account and network, so that no other network is locked out;
// and, against guessing from many networks, a wide one on the name and account as a whole.
var (
	networkLimit = storage.SignInLimit{Free: 5, Longest: 15 * time.Minute, Forget: time.Hour}
	accountLimit = storage.SignInLimit{Free: 100, Longest: time.Minute, Forget: time.Hour}
)

const (
	longestNames = 15 * time.Minute // that a network in which many names failed has to wait
	signInCredit = 2                // names that an account which signs in offsets
)

// ErrWrong is returned for a wrong name or password, without saying which.
var ErrWrong = errors.New("wrong name or password")

// errUnderPressure is ErrWrong for an attempt whose password was not checked. An outsider cannot tell the two apart.
var errUnderPressure = fmt.Errorf("%w: not checked, for too many sign-ins failed on the account", ErrWrong)

// Throttled is returned when too many sign-ins failed, with that name or, with Network, of many names from the network.
type Throttled struct {
	RetryAt time.Time
	Network bool
}

func (t *Throttled) Error() string {
	if t.Network {
		return "too many names failed to sign in from this network"
	}
	return "too many failed sign-ins"
}

// SignIn checks a name and password and returns the person. device is what DeviceOf found in the browser. It returns
// ErrWrong, a *Throttled, or ErrBusy.
//
// Whoever the name belongs to, or whether to anyone, the same work is done and the same answers given. What makes a
// *Throttled of an attempt from an unknown browser depends on the name as it was typed and on the network alone, so that
// it does not reveal which names belong to one account.
func (p *People) SignIn(ctx context.Context, name, password string, device Device) (storage.User, error) {
	k, err := key(name)
	if err != nil {
		k = strings.ToLower(strings.TrimSpace(name))
	}
	user, hash := storage.User{}, ""
	if err == nil {
		if user, err = p.store.UserByKey(ctx, k); err != nil && !errors.Is(err, storage.ErrNotFound) {
			return storage.User{}, err
		}
	}
	if user.ID != "" {
		stored, err := p.store.PasswordOf(ctx, user.ID)
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			return storage.User{}, err
		}
		hash = stored.Hash
	}
	a := p.attempt(ctx, k, user, device)
	// First, so that an attempt that is refused in any case is not queued.
	if err := p.checkLimits(ctx, a); err != nil {
		return storage.User{}, err
	}
	right, pressed, names := false, false, storage.SignInNames{}
	// The limits are checked again and the failure is counted while this attempt has its slot, so that of many concurrent
	// guesses no more pass the limits than there are slots.
	err = p.hasher.inTurn(ctx, a.caller, func() error {
		if err := p.checkLimits(ctx, a); err != nil {
			return err
		}
		if pressed, err = p.underPressure(ctx, a); err != nil {
			return err
		}
		counts := slices.Concat(a.visible, a.hidden)
		if pressed {
			// The response is that to a wrong password, for the right one too: any other would reveal that it is right.
			hash, counts = "", a.visible
		}
		matches, err := p.hasher.verify(hash, password)
		if right = matches && user.DisabledAt == nil; err != nil || right {
			return err
		}
		names, err = p.store.CountSignInFailures(ctx, counts, a.names)
		return err
	})
	if err != nil {
		return storage.User{}, err
	}
	if !right {
		return storage.User{}, p.failed(ctx, user, hash, pressed, names)
	}
	if a.names != nil {
		if err := p.store.CreditSignIn(ctx, *a.names, a.success, signInCredit); err != nil {
			return storage.User{}, err
		}
	}
	return user, p.store.ForgetSignInFailures(ctx, a.forget...)
}

// attempt is what a sign-in is queued and counted by.
type attempt struct {
	caller  caller
	visible []storage.SignInCount // each refuses the attempt with a *Throttled
	hidden  []storage.SignInCount // each makes of the attempt one with a wrong password
	forget  []storage.SignInCount // cleared when it succeeds
	names   *storage.SignInCount  // names that failed from the network; nil when that is not limited
	refused bool                  // by names: not in a browser that is known to the account
	success storage.SignInCount   // the row of a successful sign-in, for CreditSignIn
}

// attempt returns by what an attempt is counted. A browser in which the user has signed in before has a count of its own,
// so that failures of other browsers do not lock it out. Any other is counted by the name as it was typed, which decides
// what its sender sees, and by the account, so that alternating between its names gains nothing.
func (p *People) attempt(ctx context.Context, typed string, user storage.User, device Device) attempt {
	key := p.store.Key(storage.SignInKey)
	place := network(storage.OriginOf(ctx).Address)
	count := func(account, from string, limit storage.SignInLimit) storage.SignInCount {
		c := storage.SignInCount{Account: mac(key, account), Network: "*", Limit: limit}
		if from != "*" { // only ever compared, as the account
			c.Network = base64.RawURLEncoding.EncodeToString(mac(key, "network\x00"+account+"\x00"+from)[:16])
		}
		return c
	}
	account := "user\x00" + user.ID
	if user.ID == "" {
		account = "unknown\x00" + typed // for the same work
	}
	a := attempt{caller: caller{name: place}, success: count(account, "success "+place, networkLimit)}
	if r := p.options.NamesLimit; r.Count > 0 {
		names := count("names", place, storage.SignInLimit{Free: int64(r.Count), Longest: longestNames, Forget: r.Period})
		a.names = &names
	}
	if device.Knows(user) {
		a.caller = caller{name: user.ID, known: true}
		a.visible = []storage.SignInCount{count(account, "device "+device.id(), networkLimit)}
		a.forget = a.visible
		return a
	}
	a.refused = a.names != nil
	a.visible = []storage.SignInCount{count("typed\x00"+typed, place, networkLimit), count("typed\x00"+typed, "*", accountLimit)}
	a.hidden = []storage.SignInCount{count(account, place, networkLimit), count(account, "*", accountLimit)}
	a.forget = []storage.SignInCount{a.visible[0], a.hidden[0]}
	return a
}

// checkLimits returns a *Throttled when a limit refuses the attempt.
func (p *People) checkLimits(ctx context.Context, a attempt) error {
	until, err := p.store.SignInBlocked(ctx, a.visible...)
	if err != nil {
		return err
	}
	if until != nil {
		return &Throttled{RetryAt: *until}
	}
	if !a.refused {
		return nil
	}
	if until, err = p.store.SignInBlocked(ctx, *a.names); err != nil || until == nil {
		return err
	}
	return &Throttled{RetryAt: *until, Network: true}
}

// underPressure reports whether too many sign-ins on the account failed for one of an unknown browser to be checked.
func (p *People) underPressure(ctx context.Context, a attempt) (bool, error) {
	if len(a.hidden) == 0 {
		return false, nil
	}
	until, err := p.store.SignInBlocked(ctx, a.hidden...)
	return until != nil, err
}

// failed records a sign-in that failed, and the network when that made it wait, and returns the error of the sign-in.
func (p *People) failed(ctx context.Context, user storage.User, hash string, pressed bool, names storage.SignInNames) error {
	reason, result := "wrong password", ErrWrong
	switch {
	case pressed:
		reason, result = "too many failed sign-ins on the account", errUnderPressure
	case user.ID == "":
		reason = "unknown user"
	case user.DisabledAt != nil:
		reason = "the user is disabled"
	case hash == "":
		reason = "the user has no password"
	}
	e := storage.Event{Type: storage.UserSignInFailed, UserID: user.ID, Detail: map[string]any{"reason": reason}}
	if err := p.record(ctx, e); err != nil {
		return err
	}
	if names.BlockedUntil != nil {
		e := storage.Event{Type: storage.SignInLimited, Detail: map[string]any{"names": names.Failed, "until": names.BlockedUntil.UTC().Format(time.RFC3339)}}
		if err := p.record(ctx, e); err != nil {
			return err
		}
	}
	return result
}

// record writes the audit row of a failure, of so many: each account has a number of its own, and names that are
// nobody's share those of all failures, or whoever makes names up would fill the disk.
func (p *People) record(ctx context.Context, e storage.Event) error {
	counts := []config.Count{{Limit: config.LimitRecordedFailure, Key: e.Type + " " + e.UserID}}
	if e.UserID == "" {
		counts = []config.Count{{Limit: config.LimitRecordedFailure, Key: e.Type + " " + storage.OriginOf(ctx).Network()}, {Limit: config.LimitAllRecorded}}
	}
	if p.options.Limits != nil && p.options.Limits.Take(ctx, counts...).Refused {
		p.store.Seen(e)
		return nil
	}
	return p.store.Record(ctx, e)
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

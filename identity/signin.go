package identity

import (
	"context"
	"encoding/base64"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"

	"gatehouse/keyed"
	"gatehouse/storage"
	"gatehouse/storage/audit"
	"gatehouse/storage/reqevent"
)

// The limits on failed sign-ins: strict per name or account and subnet, so that no other subnet is locked out;
// and a wide one per name and account over all subnets, against brute force from many of them.
var (
	subnetLimit  = storage.SignInLimit{FreeFailures: 5, MaxWait: 15 * time.Minute, Period: time.Hour}
	accountLimit = storage.SignInLimit{FreeFailures: 100, MaxWait: time.Minute, Period: time.Hour}
)

const (
	maxNamesWait = 15 * time.Minute // maximum wait of a subnet from which many names failed
	signInCredit = 2                // failed names that one successful account offsets
)

// ErrInvalidCredentials is returned for an unknown name and for an incorrect password alike.
var ErrInvalidCredentials = errors.New("incorrect name or password")

// failedSignIn is ErrInvalidCredentials with the reason for the log. The response does not show the difference.
type failedSignIn string

// Error returns the reason, which the audit log has too.
func (f failedSignIn) Error() string { return string(f) }

// Unwrap returns ErrInvalidCredentials.
func (f failedSignIn) Unwrap() error { return ErrInvalidCredentials }

// ThrottledError is returned when too many sign-ins failed: with the same name or, if Subnet is set, with many names
// from the subnet.
type ThrottledError struct {
	RetryAt time.Time
	Subnet  bool
}

// Error returns the reason, for the log.
func (t *ThrottledError) Error() string {
	if t.Subnet {
		return "too many names failed to sign in from this subnet"
	}
	return "too many failed sign-ins"
}

// SignIn verifies a name and password and returns the user. device is the result of Device for the browser. It
// returns ErrInvalidCredentials, a *ThrottledError, ErrBusy or ErrOldServer.
//
// The work and the results are the same for registered and unregistered names. Whether an attempt from an unknown
// browser returns a *ThrottledError depends only on the name as typed and on the subnet, so that it does not reveal
// which names belong to one account.
func (u *Users) SignIn(ctx context.Context, name, password string, device Device) (storage.User, error) {
	k, err := key(name)
	if err != nil {
		k = strings.ToLower(strings.TrimSpace(name))
	}
	user, stored := storage.User{}, storage.Password{}
	if err == nil {
		if user, err = u.store.UserByKey(ctx, k); err != nil && !errors.Is(err, storage.ErrNotFound) {
			return storage.User{}, err
		}
	}
	if user.ID != "" {
		if stored, err = u.password(ctx, user.ID); err != nil {
			return storage.User{}, err
		}
	}
	a := u.attempt(ctx, k, user, device)
	// Checked before queueing, so that an attempt that would be refused occupies no queue slot.
	if err := u.checkLimits(ctx, a); err != nil {
		return storage.User{}, err
	}
	result, err := u.verifyHere(ctx, a, user, stored, password)
	if err == nil && !result.correct && a.callsOldServer {
		result, err = u.verifyThere(ctx, a, user, name, password)
	}
	if err != nil {
		return storage.User{}, err
	}
	if !result.correct {
		return storage.User{}, u.recordFailed(ctx, user, stored, result)
	}
	if a.names != nil {
		if err := u.store.CreditSignIn(ctx, *a.names, a.success, signInCredit); err != nil {
			return storage.User{}, err
		}
	}
	return result.user, u.store.ClearSignInFailures(ctx, a.clear...)
}

// verification is the result of a check of a password.
type verification struct {
	user    storage.User // if correct
	correct bool
	blocked bool   // the password was not checked, because too many sign-ins to the account failed
	reason  string // why the old server's user cannot sign in; empty for the usual reasons
	names   storage.SubnetFailures
}

// verifyHere checks a password of a user of this server. The limits are checked again and the failure is counted while
// the attempt has its slot, so that no more concurrent attempts pass the limits than there are slots.
func (u *Users) verifyHere(
	ctx context.Context, a attempt, user storage.User, stored storage.Password, password string,
) (result verification, err error) {
	result.user = user
	err = u.hasher.runInSlot(ctx, a.caller, func() error {
		err := u.checkLimits(ctx, a)
		if err != nil {
			return err
		}
		if result.blocked, err = u.accountBlocked(ctx, a); err != nil {
			return err
		}
		if result.blocked {
			// The response is the one to an incorrect password even if the password is correct; another would confirm it.
			stored = storage.Password{}
		}
		if result.correct, err = u.verifyPassword(ctx, user, stored, password); err != nil || result.correct {
			return err
		}
		if a.callsOldServer {
			return u.countBefore(ctx, a, result.blocked)
		}
		result.names, err = u.store.CountSignInFailures(ctx, a.counts(result.blocked), a.names)
		return err
	})
	return result, err
}

// attempt contains the keys by which a sign-in is queued and counted.
type attempt struct {
	caller      caller
	visible     []storage.SignInCount // each refuses the attempt with a *ThrottledError
	hidden      []storage.SignInCount // each makes the attempt fail like one with an incorrect password
	clear       []storage.SignInCount // deleted when the sign-in succeeds
	names       *storage.SignInCount  // names that failed from the subnet; nil when that is not limited
	checksNames bool                  // names refuses the attempt: false in a browser known to the account
	success     storage.SignInCount   // the row of a successful sign-in, for CreditSignIn

	callsOldServer bool                  // when the password is not correct here
	before, after  []storage.SignInCount // of hidden: counted before and after the response of the old server
}

// counts returns what a failure counts. It does not extend the time for which an account is blocked.
func (a attempt) counts(blocked bool) []storage.SignInCount {
	if blocked {
		return a.visible
	}
	return slices.Concat(a.visible, a.hidden)
}

// attempt returns the counts of a sign-in. A browser in which the user signed in before has a separate count, so that
// failures in other browsers do not lock it out. Other browsers are counted by the name as typed, which decides what
// the response shows, and by the account, so that alternating between its names gains nothing.
func (u *Users) attempt(ctx context.Context, typed string, user storage.User, device Device) attempt {
	key := u.options.SignInKey
	subnet := signInSubnet(reqevent.FromContext(ctx).Address)
	count := func(account, from string, limit storage.SignInLimit) storage.SignInCount {
		c := storage.SignInCount{Account: keyed.MAC(key, account), Subnet: "*", Limit: limit}
		if from != "*" { // hashed, because it is only compared, like the account
			c.Subnet = base64.RawURLEncoding.EncodeToString(keyed.MAC(key, "network", account, from)[:16])
		}
		return c
	}
	account := "user\x00" + user.ID
	if user.ID == "" {
		account = "unknown\x00" + typed // so that the work is the same
	}
	a := attempt{caller: caller{name: subnet}, success: count(account, "success "+subnet, subnetLimit)}
	if r := u.options.NamesLimit; r.Count > 0 {
		limit := storage.SignInLimit{FreeFailures: int64(r.Count), MaxWait: maxNamesWait, Period: r.Period}
		names := count("names", subnet, limit)
		a.names = &names
	}
	if device.hasSignedIn(user) {
		a.caller = caller{name: user.ID, known: true}
		a.visible = []storage.SignInCount{count(account, "device "+device.id(), subnetLimit)}
		a.clear = a.visible
		return a
	}
	a.checksNames = a.names != nil
	a.visible = []storage.SignInCount{
		count("typed\x00"+typed, subnet, subnetLimit),
		count("typed\x00"+typed, "*", accountLimit),
	}
	a.hidden = []storage.SignInCount{count(account, subnet, subnetLimit), count(account, "*", accountLimit)}
	a.clear = []storage.SignInCount{a.visible[0], a.hidden[0]}
	if a.callsOldServer = u.migrates(); a.callsOldServer {
		// A failure of a user here is counted even if the old server does not respond. For other names the work is the
		// same, with counts that nothing checks.
		unused := []storage.SignInCount{
			count("unused\x00"+account, subnet, subnetLimit), count("unused\x00"+account, "*", accountLimit),
		}
		if a.before, a.after = a.hidden, unused; user.ID == "" {
			a.before, a.after = unused, a.hidden
		}
	}
	return a
}

// checkLimits returns a *ThrottledError when a limit refuses the attempt.
func (u *Users) checkLimits(ctx context.Context, a attempt) error {
	until, err := u.store.SignInBlockedUntil(ctx, a.visible...)
	if err != nil {
		return err
	}
	if until != nil {
		return &ThrottledError{RetryAt: *until}
	}
	if !a.checksNames {
		return nil
	}
	if until, err = u.store.SignInBlockedUntil(ctx, *a.names); err != nil || until == nil {
		return err
	}
	return &ThrottledError{RetryAt: *until, Subnet: true}
}

// accountBlocked reports whether so many sign-ins to the account failed that the password from an unknown browser is
// not checked.
func (u *Users) accountBlocked(ctx context.Context, a attempt) (bool, error) {
	if len(a.hidden) == 0 {
		return false, nil
	}
	until, err := u.store.SignInBlockedUntil(ctx, a.hidden...)
	return until != nil, err
}

// recordFailed writes the audit row of a failed sign-in, and one for the subnet if it now has to wait. It returns the
// error of the sign-in.
func (u *Users) recordFailed(
	ctx context.Context, user storage.User, stored storage.Password, result verification,
) error {
	reason, names := "incorrect password", result.names
	switch {
	case result.reason != "":
		reason = result.reason
	case result.blocked:
		reason = "too many failed sign-ins on the account"
	case user.ID == "":
		reason = "unknown user"
	case user.DisabledAt != nil:
		reason = "the user is disabled"
	case stored.Hash == "":
		reason = "the user has no password"
	}
	e := audit.Event{Type: audit.UserSignInFailed, UserID: user.ID, Detail: map[string]any{"reason": reason}}
	if err := u.store.Audit.RecordSignInFailure(ctx, u.options.Limiter, e); err != nil {
		return err
	}
	if names.BlockedUntil != nil {
		e := audit.Event{
			Type:   audit.SignInLimited,
			Detail: map[string]any{"names": names.Names, "until": names.BlockedUntil.UTC().Format(time.RFC3339)},
		}
		if err := u.store.Audit.RecordSignInFailure(ctx, u.options.Limiter, e); err != nil {
			return err
		}
	}
	return failedSignIn(reason)
}

// signInSubnet returns the subnet of an address by which failed sign-ins are counted: an IPv4 /24 or IPv6 /64.
func signInSubnet(address string) string {
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

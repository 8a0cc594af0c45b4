package identity

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	"gatehouse/oauth/credential"
	"gatehouse/storage"
	"gatehouse/storage/audit"
)

// SelfService are the settings of what users do without the operator.
type SelfService struct {
	Environment       string   // of the tokens in links, "live" or "test"
	CodeKey           []byte   // of the HMACs of sign-in codes and proofs of work
	SignUp            string   // one of the constants SignUp…
	SignUpDomains     []string // of SignUpDomains
	SignInCodes       bool     // whether users can sign in with a code in an email
	DeletionGrace     time.Duration
	UsernameRetention time.Duration
	TermsVersion      string // that users must accept; empty: none
}

// Who can create an account.
const (
	SignUpOff     = "off"     // only the operator
	SignUpInvite  = "invite"  // also users with an invitation
	SignUpDomains = "domains" // also users with an address of one of the domains
	SignUpOpen    = "open"    // also users with any other address
)

// The lifetimes of links and codes in emails.
const (
	resetTTL  = time.Hour
	changeTTL = time.Hour
	verifyTTL = 24 * time.Hour
	signUpTTL = 24 * time.Hour
	undoTTL   = storage.UndoWindow
	codeTTL   = 10 * time.Minute
	codeTries = 5
)

// ErrNoMail is returned when a flow needs an email and this installation sends none.
var ErrNoMail = errors.New("no mail server is configured")

// ErrLinkRefused is returned for a link that is unknown, expired, used or replaced, or whose user is disabled. The
// reason is in the log and the audit log only.
var ErrLinkRefused = errors.New("the link cannot be used")

// linkError is ErrLinkRefused with the reason.
type linkError string

// Error returns the reason.
func (l linkError) Error() string { return string(l) }

// Unwrap returns ErrLinkRefused.
func (l linkError) Unwrap() error { return ErrLinkRefused }

// The purposes of links without a user, in addition to those of storage.EmailToken.
const (
	LinkSignUp     = storage.SignUpRequest
	LinkInvitation = "invitation"
)

// Link is what a link in an email is for. Showing it uses nothing: mail scanners open links.
type Link struct {
	Purpose string       // of storage.EmailToken, LinkSignUp or LinkInvitation
	User    storage.User // of a storage.EmailToken
	Email   string       // that it confirms; empty: an invitation for any address
	Request string       // the authorization request in which it was requested; empty: none
	// Language is that of the invitation, BCP 47: the pages have it unless the user chose another.
	Language string
	// Unproven reports that the link does not prove the address: of an invitation for any address, and of one that the
	// operator passed on although this installation sends emails. It is then proven by an email, as in a sign-up.
	Unproven bool
}

// Link returns what the link with a token is for. It returns ErrLinkRefused when it cannot be used, and then at most
// its purpose.
func (u *Users) Link(ctx context.Context, token string) (Link, error) {
	format, hash := u.tokenFormat(), credential.Hash(token)
	switch {
	case format.Valid(credential.Invitation, token):
		i, err := u.store.Invitation(ctx, hash)
		unproven := i.Email == "" || !i.Mailed && u.store.MailEnabled()
		link := Link{Purpose: LinkInvitation, Email: i.Email, Language: i.Language, Unproven: unproven}
		return link, u.linkRefused(ctx, hash, LinkInvitation, err)
	case !format.Valid(credential.EmailToken, token):
		return Link{}, u.linkRefused(ctx, hash, "", &storage.RefusalError{Reason: "no token of a link"})
	}
	t, err := u.store.EmailToken(ctx, hash)
	if refusal := (*storage.RefusalError)(nil); errors.As(err, &refusal) && refusal.UserID == "" {
		s, err := u.store.SignUp(ctx, hash)
		return Link{Purpose: LinkSignUp, Email: s.Email, Request: s.RequestID}, u.linkRefused(ctx, hash, LinkSignUp, err)
	}
	if refusal := (*storage.RefusalError)(nil); errors.As(err, &refusal) {
		return Link{Purpose: refusal.Purpose}, u.linkRefused(ctx, hash, refusal.Purpose, err)
	}
	if err != nil {
		return Link{}, err
	}
	user, err := u.store.User(ctx, t.UserID)
	return Link{Purpose: t.Purpose, User: user, Email: t.Email, Request: t.RequestID}, err
}

// RefuseLink records that a valid link cannot be used where it was opened, and returns ErrLinkRefused.
func (u *Users) RefuseLink(ctx context.Context, token string, link Link, reason string) error {
	return u.linkRefused(ctx, credential.Hash(token), link.Purpose,
		&storage.RefusalError{UserID: link.User.ID, Reason: reason})
}

func (u *Users) tokenFormat() credential.Format {
	return credential.Format{Env: u.options.SelfService.Environment}
}

// linkRefused returns ErrLinkRefused for a refusal, after recording it, and any other error as it is.
func (u *Users) linkRefused(ctx context.Context, hash []byte, purpose string, err error) error {
	var refusal *storage.RefusalError
	if !errors.As(err, &refusal) {
		return err
	}
	e := audit.Event{
		Type: audit.LinkRefused, UserID: refusal.UserID, Token: audit.HashReference(hash),
		Detail: map[string]any{"reason": refusal.Reason},
	}
	if purpose != "" {
		e.Detail["purpose"] = purpose
	}
	// Only an address without an account gets this link: in the export of the user, the row would disclose that.
	if purpose == storage.ChangeEmail && e.UserID != "" {
		e.Detail["requester"], e.UserID = e.UserID, ""
	}
	if err := u.store.Audit.RecordFailure(ctx, u.options.Limiter, e); err != nil {
		return err
	}
	return linkError(refusal.Reason)
}

// newLink returns the token of a new link and the path with it.
func (u *Users) newLink(kind credential.Kind, path string) (token, link string) {
	token = u.tokenFormat().New(kind)
	return token, path + "?" + url.Values{"token": {token}}.Encode()
}

// userByTypedName returns the user with a username or address that was typed, or an empty one.
func (u *Users) userByTypedName(ctx context.Context, name string) (storage.User, error) {
	k, err := key(name)
	if err != nil {
		return storage.User{}, nil //nolint:nilerr // no user has such a name
	}
	user, err := u.store.UserByKey(ctx, k)
	if errors.Is(err, storage.ErrNotFound) {
		return storage.User{}, nil
	}
	return user, err
}

// Origin is where a user requests an email.
type Origin struct {
	Language string // BCP 47, of the email
	Request  string // of RequestOf; the email does not contain it
	Device   Device // of the browser
}

// RequestOf returns the id of an authorization request if a browser has claimed it and it is waiting for a user, and ""
// otherwise. A link in an email can be opened in any browser, which must not continue the request of another one.
func (u *Users) RequestOf(ctx context.Context, id string, browser []byte) (string, error) {
	if id == "" || len(id) > 64 || browser == nil {
		return "", nil
	}
	r, err := u.store.ClaimedRequest(ctx, id, browser)
	switch {
	case errors.Is(err, storage.ErrNotFound), errors.Is(err, storage.ErrOtherBrowser):
		return "", nil
	case err != nil:
		return "", err
	case r.DecidedAt != nil || !u.store.Now().Before(r.ExpiresAt):
		return "", nil
	}
	return r.ID, nil
}

// MailAvailable reports whether flows that send an email work.
func (u *Users) MailAvailable() bool { return u.store.MailEnabled() }

// MailDelayed reports whether emails are queued but cannot be sent now.
func (u *Users) MailDelayed() bool { return u.store.MailDelayed() }

// SignUpPolicy returns who can create an account, one of the constants SignUp….
func (u *Users) SignUpPolicy() string { return u.options.SelfService.SignUp }

// SignInCodesAllowed reports whether users can sign in with a code in an email.
func (u *Users) SignInCodesAllowed() bool {
	return u.options.SelfService.SignInCodes && u.store.MailEnabled()
}

// mayUseDomain reports whether the policy lets an address sign up without an invitation.
func (s SelfService) mayUseDomain(email string) bool {
	_, domain, _ := strings.Cut(email, "@")
	return s.SignUp == SignUpOpen || s.SignUp == SignUpDomains && slices.ContainsFunc(s.SignUpDomains,
		func(d string) bool { return strings.EqualFold(d, domain) })
}

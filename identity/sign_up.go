package identity

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/google/uuid"

	"gatehouse/oauth/credential"
	"gatehouse/storage"
)

// ErrSignUpClosed is returned when the policy lets the address create no account.
var ErrSignUpClosed = errors.New("sign-up is not open to this address")

// RequestSignUp sends an address a link to create an account with. Until it is used, nothing is reserved. An address
// with an account gets an email about that instead, and the result and the work are the same. invitation is the token
// of an invitation, or empty. It returns ErrSignUpClosed, ErrNoMail, ErrLinkRefused for the invitation, or an
// *InputError for an invalid address.
func (u *Users) RequestSignUp(ctx context.Context, email, invitation string, from Origin) error {
	policy, email := u.options.SelfService, strings.TrimSpace(email)
	emailKey, err := checkEmail(email)
	if err != nil {
		return err
	}
	invitationID := ""
	if invitation != "" && policy.SignUp != SignUpOff {
		if _, err := u.linkFor(ctx, invitation, LinkInvitation); err != nil {
			return err
		}
		i, err := u.store.Invitation(ctx, credential.Hash(invitation))
		if err != nil {
			return u.linkRefused(ctx, credential.Hash(invitation), LinkInvitation, err)
		}
		if i.Email != "" && i.Email != email && i.EmailKey != emailKey {
			return ErrSignUpClosed
		}
		invitationID = i.ID
	} else if !policy.mayUseDomain(email) {
		return ErrSignUpClosed
	}
	if !u.store.MailEnabled() {
		return ErrNoMail
	}
	user, err := u.userByTypedName(ctx, email)
	if err != nil {
		return err
	}
	if !u.countRequestedMail(ctx, mailCounts(LinkSignUp, storage.User{}, emailKey, u.mailBudget(user, user.Email, from))) {
		return u.sendNone(ctx, LinkSignUp, tooManyMails, storage.AccountSession{})
	}
	u.store.Audit.CheckFailure(ctx, u.options.Limiter, storage.UnsentMail(LinkSignUp, "")) // as sendNone counts
	now := u.store.Now()
	token, link := u.newLink(credential.EmailToken, "/verify")
	m := storage.Mail{To: email, Language: from.Language, ExpiresAt: now.Add(signUpTTL)}
	if user.ID != "" {
		m.Kind, m.UserID, m.To = storage.MailAccountExists, user.ID, user.Email
		m.Values = map[string]string{storage.MailLink: "/login?to=account"}
		return u.store.CreateSignUp(ctx, nil, m)
	}
	m.Kind, m.Values = storage.MailVerifyEmail, map[string]string{storage.MailLink: link}
	return u.store.CreateSignUp(ctx, &storage.SignUp{
		EmailKey: emailKey, Email: email, Hash: credential.Hash(token), InvitationID: invitationID,
		RequestID: from.Request, CreatedAt: now, ExpiresAt: m.ExpiresAt,
	}, m)
}

// NewAccount is what a user enters to create an account.
type NewAccount struct {
	Username, Name, Password string
	AcceptsTerms             bool   // of SelfService.TermsVersion
	Language                 string // BCP 47, of the page: the account has it from then on
}

// ErrTermsNotAccepted is returned when a user must accept the terms first.
var ErrTermsNotAccepted = &InputError{"the terms must be accepted"}

// CompleteSignUp creates the account for which a link of RequestSignUp, or an invitation for one address, was sent. It
// returns ErrLinkRefused, or an *InputError when a value is not accepted or already taken; the link can then be used
// again.
func (u *Users) CompleteSignUp(ctx context.Context, token string, n NewAccount) (storage.User, error) {
	hash := credential.Hash(token)
	link, err := u.linkFor(ctx, token, LinkSignUp, LinkInvitation)
	if err != nil {
		return storage.User{}, err
	}
	verified, create := true, u.store.CompleteSignUp
	if link.Purpose == LinkInvitation {
		i, err := u.store.Invitation(ctx, hash)
		if err != nil {
			return storage.User{}, u.linkRefused(ctx, hash, link.Purpose, err)
		}
		if link.Unproven {
			return storage.User{}, ErrSignUpClosed // RequestSignUp
		}
		verified, create = i.Mailed, u.store.AcceptInvitation
	}
	if policy := u.options.SelfService; policy.SignUp == SignUpOff {
		return storage.User{}, ErrSignUpClosed
	} else if policy.TermsVersion != "" && !n.AcceptsTerms {
		return storage.User{}, ErrTermsNotAccepted
	}
	user, passwordHash, err := u.prepare(ctx, NewUser{
		Username: n.Username, Name: n.Name, Email: link.Email, EmailVerified: verified, Password: n.Password,
		Profile: storage.Profile{Locale: n.Language},
	})
	if err != nil {
		return storage.User{}, err
	}
	user.TermsVersion = u.options.SelfService.TermsVersion
	err = create(ctx, hash, &user, passwordHash)
	if errors.Is(err, storage.ErrConflict) {
		return storage.User{}, ErrTaken
	}
	return user, u.linkRefused(ctx, hash, link.Purpose, err)
}

// NewInvitation is an invitation to create.
type NewInvitation struct {
	Email    string   // the only address that may use it; empty: any
	Groups   []string // of the account
	Lifetime time.Duration
	Mail     bool   // only an email to Email gets the link, which then proves the address
	Language string // BCP 47, of the email and of the pages that the link opens
}

// Invite creates an invitation and returns the path of its link; it is empty when the link is only in the email. It
// returns an *InputError for an invalid address or one with an account, ErrNoMail when no email can be sent, and
// storage.ErrNotFound when one of the groups does not exist.
func (u *Users) Invite(ctx context.Context, n NewInvitation) (i storage.Invitation, link string, err error) {
	emailKey := ""
	if n.Email != "" {
		if emailKey, err = checkEmail(n.Email); err != nil {
			return i, "", err
		}
		user, err := u.userByTypedName(ctx, n.Email)
		if err != nil {
			return i, "", err
		}
		if user.ID != "" {
			return i, "", &InputError{"a user with this email address already exists"}
		}
	}
	if n.Mail && !u.store.MailEnabled() {
		return i, "", ErrNoMail
	}
	token, link := u.newLink(credential.Invitation, "/invite")
	now := u.store.Now()
	i = storage.Invitation{
		ID: uuid.NewString(), Hash: credential.Hash(token), Email: n.Email, EmailKey: emailKey,
		Groups: n.Groups, Mailed: n.Mail, Language: n.Language, CreatedAt: now, ExpiresAt: now.Add(n.Lifetime),
	}
	err = u.store.CreateInvitation(ctx, &i, storage.Mail{
		Kind: storage.MailInvitation, To: n.Email, Language: n.Language, ExpiresAt: i.ExpiresAt,
		Values: map[string]string{storage.MailLink: link},
	})
	if n.Mail {
		link = ""
	}
	return i, link, err
}

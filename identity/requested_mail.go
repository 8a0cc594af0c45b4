package identity

import (
	"context"
	"log/slog"
	"strings"
	"sync"

	"gatehouse/lograte"
	"gatehouse/ratelimit"
	"gatehouse/storage"
)

// sendLink stores a token for a user and queues the email with its link. Without a user, or when the user may get no
// email now, it does the same work and sends none.
func (u *Users) sendLink(
	ctx context.Context, user storage.User, t storage.EmailToken, m storage.Mail, from Origin,
) error {
	if !u.store.MailEnabled() {
		return ErrNoMail
	}
	counts := mailCounts(t.Purpose, user, m.To, u.mailBudget(user, m.To, from))
	reason := ""
	switch {
	case user.ID == "":
		reason = "no account has this name"
	case user.DisabledAt != nil:
		reason = "the user is disabled"
	case !u.countRequestedMail(ctx, counts):
		reason = tooManyMails
	}
	if reason != "" && reason != tooManyMails {
		u.options.Limiter.Check(ctx, counts...) // as countRequestedMail counts
	}
	if reason != "" {
		return u.sendNone(ctx, t.Purpose, reason, t.By)
	}
	u.store.Audit.CheckFailure(ctx, u.options.Limiter, storage.UnsentMail(t.Purpose, reason)) // as sendNone counts
	m.UserID, m.ExpiresAt = user.ID, t.ExpiresAt
	if t.Purpose == storage.ChangeEmail { // whether the email is sent must not depend, for the user, on the new address
		m.UserID, m.Requester = "", user.ID
	}
	return u.store.CreateEmailToken(ctx, user, t, m)
}

// tooManyMails is the reason of a request that a limit on emails refused.
const tooManyMails = "too many emails"

// sendNone does the work of an email that is not sent. by is the session of a change of the address, otherwise empty.
// Its audit row is limited, because an attacker can cause it.
func (u *Users) sendNone(ctx context.Context, purpose, reason string, by storage.AccountSession) error {
	e := storage.UnsentMail(purpose, reason)
	return u.store.RecordDecoyEmailToken(ctx, e, u.store.Audit.CountFailure(ctx, u.options.Limiter, e), by)
}

// mailBudget returns the limit of the server that a requested email counts against. There are three, so that emails to
// addresses of an attacker, without an account, use up none of those to users, and emails that an attacker requests for
// users none of those that users request in their own browsers.
func (u *Users) mailBudget(user storage.User, address string, from Origin) string {
	switch {
	case user.ID == "" || address != user.Email:
		return ratelimit.NewAddressMails
	case from.Device.hasSignedIn(user):
		return ratelimit.KnownBrowserMails
	}
	return ratelimit.AllMails
}

// mailCounts returns what a requested email counts against. The zero User is for an address without an account. Emails
// to the address of a user, and of these the ones that are requested in a browser in which the user signed in before,
// are counted on their own, so that what others request for the same mailbox cannot use them up.
func mailCounts(purpose string, user storage.User, address, budget string) []ratelimit.Count {
	recipient, to := user.ID, mailbox(address)
	if user.ID == "" {
		recipient = address
	} else if address == user.Email {
		to = user.ID
	}
	if budget == ratelimit.KnownBrowserMails {
		recipient, to = recipient+" known browser", to+" known browser"
	}
	return []ratelimit.Count{
		{Limit: ratelimit.AccountMail, Key: purpose + " " + recipient}, {Limit: ratelimit.MailAddress, Key: to},
		{Limit: budget},
	}
}

// mailbox returns the key of an address in limits: in any spelling, and without what follows a plus sign, because most
// servers deliver that to the same mailbox.
func mailbox(address string) string {
	k, err := key(address)
	if err != nil {
		k = strings.ToLower(address) // as an operator may have imported it
	}
	at := strings.LastIndexByte(k, '@')
	if plus := strings.IndexByte(k, '+'); plus > 0 && plus < at {
		k = k[:plus] + k[at:]
	}
	return k
}

// countRequestedMail counts a requested email and reports whether it may be sent. The caller responds alike in both
// cases. What is refused to one recipient does not count against the limit of the server.
func (u *Users) countRequestedMail(ctx context.Context, counts []ratelimit.Count) bool {
	d := u.options.Limiter.Count(ctx, counts...)
	if d.Refused && d.Limit == counts[len(counts)-1].Limit {
		u.mailRefusals.warn(ctx, u.options.Log, d)
	}
	return !d.Refused
}

// mailRefusals warns the operator that users get no emails that they requested: nothing else shows that.
type mailRefusals struct {
	mu    sync.Mutex
	lines lograte.Limiter
}

func (m *mailRefusals) warn(ctx context.Context, log *slog.Logger, d ratelimit.Decision) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if log != nil && m.lines.Allow() {
		log.WarnContext(ctx, "requested emails not sent, server-wide rate limit reached",
			slog.String("limit", d.Limit), slog.String("rate", d.Rate.String()))
	}
}

package storage

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"gatehouse/keyed"
	"gatehouse/storage/db"
)

// noticeLimit is how many notices of a kind a user gets immediately. Later ones wait for noticeDelay and are merged, so
// that a user who signs in or changes something in a loop cannot fill the queue. None is dropped: otherwise an attacker
// could suppress the one that matters.
var noticeLimit = SignInLimit{FreeFailures: 10, Period: time.Hour}

const noticeDelay = time.Hour

// noticeRank is how long a notice comes after emails with a link or code, for which a user waits. After that it has
// waited as long as they: requests of others for links must not keep notices waiting.
const noticeRank = 5 * time.Minute

// noticesLast orders emails: notices that were queued after a time are last, except those with a link to undo a change.
var noticesLast = func() string {
	var notices []string
	for kind, isNotice := range mailKinds {
		if isNotice && kind != MailEmailChanged && kind != MailFactorAdded {
			notices = append(notices, "'"+kind+"'")
		}
	}
	slices.Sort(notices)
	return "CASE WHEN mail IN (" + strings.Join(notices, ", ") + ") AND created_at > ? THEN 1 ELSE 0 END"
}()

// isNoticeDelayed counts a notice and reports whether its user got too many of its kind. One with a link of its own is
// neither delayed nor merged.
func (s *Store) isNoticeDelayed(ctx context.Context, m Mail) (bool, error) {
	if !mailKinds[m.Kind] || m.UserID == "" || m.Values[MailLink] != "" {
		return false, nil
	}
	account := keyed.MAC(s.Vault.Key(mailPurpose), "notices", m.UserID, m.Kind)
	err := s.countComparison(ctx, SignInCount{Account: account, Subnet: "*", Limit: noticeLimit})
	if errors.Is(err, ErrNotFound) {
		return true, nil
	}
	return false, err
}

// mergeNotice queues a notice for later, or counts it in an equal one that waits: of the same user, kind, recipient and
// change. The others of its values are not compared, because who signs in, or registers a client, chooses them.
func (s *Store) mergeNotice(ctx context.Context, m Mail, d Delivery) error {
	d.NextAt = d.NextAt.Add(noticeDelay)
	d.Digest = keyed.MAC(s.Vault.Key(mailPurpose), "notice", m.UserID, m.Kind, m.To, m.Values[MailValueChange])
	values := deliveryRow.Values(&d, nil)
	return db.Wrap("merge notice", db.Exec(ctx, s.Write, "INSERT INTO deliveries ("+deliveryRow.Columns()+") VALUES (?"+
		strings.Repeat(", ?", len(values)-1)+`) ON CONFLICT (digest) WHERE digest IS NOT NULL
		DO UPDATE SET merged = deliveries.merged + 1`, values...))
}

package storage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"gatehouse/oauth/granttype"
	"gatehouse/storage/audit"
	"gatehouse/storage/db"
)

const (
	// neverUsedTTL is the lifetime of a dynamically registered client that never got an authorization.
	neverUsedTTL = 24 * time.Hour
	// useInterval is the precision of the last use: a frequently used client is written once a day.
	useInterval = 24 * time.Hour

	unusedBatch = 50
)

// unusedClients returns which clients expire, of those that registered dynamically or were made from a document: those
// that never got an authorization after a day, others after unusedTTL since the last use if they have no valid refresh
// token. Clients that the operator registered in advance, disabled or allowed a grant type that only the operator can
// allow, or that introspect for a resource, do not.
func unusedClients(unusedTTL time.Duration) []expiry {
	return append(
		unusedClientsWith("registration_hash IS NOT NULL", unusedTTL),
		unusedClientsWith("document_hash IS NOT NULL AND "+unchanged, unusedTTL)...,
	)
}

// unchanged is the condition that the operator has neither restricted, trusted nor changed a client. Other clients with
// a document do not expire: the next request would create them again without what the operator set.
const unchanged = "required_groups = '' AND claim_groups = '' AND allowed_networks = '' AND resources IS NULL " +
	"AND default_scopes IS NULL AND NOT skip_consent AND NOT vouched AND NOT preregistered AND operator_members = ''"

// unusedClientsWith returns which of the clients that meet the condition expire.
func unusedClientsWith(condition string, unusedTTL time.Duration) []expiry {
	unverified := condition + " AND disabled_at IS NULL AND "
	notExempt := " AND NOT EXISTS (SELECT 1 FROM resources WHERE resources.introspectors LIKE '%' || clients.id || '%')"
	for _, g := range granttype.OperatorOnly() {
		notExempt += " AND grant_types NOT LIKE '%" + g + "%'"
	}
	return []expiry{
		{
			"clients",
			unverified + "last_used_at IS NULL AND created_at < ? " +
				"AND NOT EXISTS (SELECT 1 FROM consents WHERE consents.client_id = clients.id)" + notExempt,
			neverUsedTTL,
		},
		{
			"clients",
			unverified + fmt.Sprintf(
				`last_used_at < ? AND NOT EXISTS (SELECT 1 FROM consents JOIN grants ON grants.consent_id = consents.id
			WHERE consents.client_id = clients.id AND (coalesce(rotated_at, grants.created_at) >= ?
				OR grants.revoked_at IS NULL AND coalesce(refresh_expires_at, expires_at) >= ? + CAST(%d AS BIGINT)))`,
				unusedTTL.Milliseconds(),
			) + notExempt,
			unusedTTL,
		},
	}
}

// ShouldRecordUse reports whether a use of the client at now must be stored with RecordClientUse: the client
// is unverified and would expire without it.
func (c *Client) ShouldRecordUse(now time.Time) bool {
	return c.IsUnverified() && !c.Preregistered && (c.LastUsedAt == nil || now.Sub(*c.LastUsedAt) >= useInterval)
}

// RecordClientUse stores that a dynamically registered client is used now. Call it before the client gets an
// authorization, so that deleteUnusedClients, which decides by the same row, does not delete it in the meantime. It
// does nothing for a client that does not exist, or whose use is not due.
func (s *Store) RecordClientUse(ctx context.Context, id string) error {
	now := s.Now()
	return db.Wrap("store the use of a client", s.Tx(ctx, func(tx *Store) error {
		err := db.ExecOne(
			ctx, tx.Write, "UPDATE clients SET last_used_at = ? WHERE id = ? AND (last_used_at IS NULL OR last_used_at <= ?)",
			db.Millis(now), id, db.Millis(now.Add(-useInterval)),
		)
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err == nil {
			tx.recordClientChange(id)
		}
		return err
	}))
}

// deleteUnusedClients deletes the dynamically registered clients that expired unused at now, each with its audit row
// in a separate transaction, and returns how many.
func (s *Store) deleteUnusedClients(
	ctx context.Context, now time.Time, unusedTTL time.Duration,
) (total int64, err error) {
	for _, x := range unusedClients(unusedTTL) {
		due := slices.Repeat([]any{db.Millis(now.Add(-x.after))}, strings.Count(x.where, "?"))
		if err := s.warnOfLargeDeletion(ctx, x.table, x.where, due...); err != nil {
			return total, db.Wrap("count unused clients", err)
		}
		for more := true; more; {
			began := time.Now()
			ids, err := s.unusedIDs(ctx, x, due)
			if err != nil {
				return total, db.Wrap("find unused clients", err)
			}
			deleted := int64(0)
			for _, id := range ids {
				n, err := s.deleteUnusedClient(ctx, x, id, due)
				if err != nil {
					return total + deleted, err
				}
				deleted += n
			}
			total += deleted
			// None was deleted: other processes are deleting the same clients.
			if more = len(ids) == unusedBatch && deleted > 0; more {
				if err := db.Throttle(ctx, began); err != nil {
					return total, err
				}
			}
		}
	}
	return total, nil
}

func (s *Store) unusedIDs(ctx context.Context, x expiry, due []any) (ids []string, err error) {
	return db.Select[string](
		ctx, s.Write, "SELECT id FROM "+x.table+" WHERE "+x.where+" LIMIT ?", append(slices.Clone(due), unusedBatch)...)
}

// deleteUnusedClient deletes the client if it is still unused, and returns how many it deleted.
func (s *Store) deleteUnusedClient(ctx context.Context, x expiry, id string, due []any) (n int64, err error) {
	err = s.Tx(ctx, func(tx *Store) error {
		n = 0
		if err := tx.recordDeletedClient(ctx, id); err != nil {
			return err
		}
		err := db.ExecOne(ctx, tx.Write, "DELETE FROM clients WHERE id = ? AND "+x.where, append([]any{id}, due...)...)
		if err != nil { // ErrNotFound: it was used in the meantime
			return err
		}
		n = 1
		tx.recordClientChange(id)
		detail := map[string]any{"reason": "unused", "unused_hours": int64(x.after / time.Hour)}
		return tx.Audit.Record(ctx, audit.Event{Type: audit.ClientDeleted, ClientID: id, Detail: detail})
	})
	if errors.Is(err, ErrNotFound) {
		return 0, nil
	}
	return n, db.Wrap("delete unused client", err)
}

package storage

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"gatehouse/storage/db"
)

// exported are the tables with rows of a user, other than the user's own row, sessions and audit events, and their
// columns in an export. Hashes, keys and sealed secrets are not in it. The placeholder of the condition is the id of
// the user.
var exported = []struct{ table, columns, condition string }{
	{"passwords", "changed_at, expires_at", "user_id = ?"},
	{"group_members", "group_name, created_at", "user_id = ?"},
	{"role_users", "resource, role, created_at", "user_id = ?"},
	{"user_attributes", "attribute, value", "user_id = ?"},
	{
		"passkeys", `id, name, aaguid, attestation, transports, discoverable, second_factor, second_factor_since,
		user_verified, backup_eligible, backed_up, sign_count, created_at, last_used_at`, "user_id = ?",
	},
	{"external_ids", "source, external_id, created_at", "user_id = ?"},
	{"totp_secrets", "algorithm, digits, period, confirmed_at, second_factor_since", "id = ?"},
	{"recovery_codes", "created_at, used_at", "user_id = ?"},
	{"remembered_devices", "created_at, expires_at", "user_id = ?"},
	{"pending_sign_ins", "session_id, acr, amr, auth_time, created_at, expires_at, finished_at", "user_id = ?"},
	{
		"consents", "id, client_id, redirect_uri, scopes, resource_scopes, refused, created_at, updated_at, ended_at",
		"user_id = ?",
	},
	{
		"grants", `id, consent_id, client_id, scopes, resources, claims, session_id, offline, auth_time, acr, amr,
		created_at, rotated_at, refresh_expires_at, expires_at, revoked_at, revoke_reason`, "user_id = ?",
	},
	{
		"authorization_requests", `client_id, parameters, session_id, created_at, expires_at, signed_in_at,
		approved_at, confirmed_at, decided_at`, "session_id IN (SELECT id FROM browser_sessions WHERE user_id = ?)",
	},
	{
		"authorization_codes", `grant_id, consent_id, client_id, redirect_uri, scopes, resources, claims, session_id, offline,
		auth_time, acr, amr, created_at, expires_at, consumed_at`, "user_id = ?",
	},
	{"email_tokens", "purpose, email, created_at, expires_at, used_at", "user_id = ?"},
	{"deliveries", "kind, mail, client_id, session_id, attempts, merged, created_at, next_at", "user_id = ?"},
	{"invitations", "id, email, groups, mailed, language, created_at, expires_at, used_at", "user_id = ?"},
	{
		"sign_ups", "email, invitation_id, created_at, expires_at, used_at",
		"email_key = (SELECT email_key FROM users WHERE id = ? AND email_verified_at IS NOT NULL)",
	},
	{"retired_names", "until", "user_id = ?"},
}

// ExportRows returns the rows of a user in every table of exported, by the name of the table, as JSON objects with
// times in RFC 3339. A table without rows is left out.
func (s *Store) ExportRows(ctx context.Context, userID string) (map[string][]json.RawMessage, error) {
	out := map[string][]json.RawMessage{}
	for _, e := range exported {
		rows, err := db.Select[map[string]any](ctx, s.Read,
			"SELECT "+e.columns+" FROM "+e.table+" WHERE "+e.condition, userID)
		if err != nil {
			return nil, db.Wrap("export "+e.table, err)
		}
		for _, row := range rows {
			for column, value := range row {
				isTime := strings.HasSuffix(column, "_at") || slices.Contains(
					[]string{"auth_time", "until", "second_factor_since"}, column)
				if millis, ok := value.(int64); ok && isTime {
					row[column] = db.FromMillis(millis).UTC().Format(time.RFC3339)
				}
			}
			b, err := json.Marshal(row)
			if err != nil {
				return nil, err
			}
			out[e.table] = append(out[e.table], b)
		}
	}
	return out, nil
}

// AllSessions returns the sessions of a user that are still stored, ended ones too, the newest first.
func (s *Store) AllSessions(ctx context.Context, userID string) ([]BrowserSession, error) {
	out, err := db.List[BrowserSession](ctx, s.Read, "created_at DESC", "user_id = ?", userID)
	for i := range out {
		out[i].open(s)
	}
	return out, db.Wrap("list sessions", err)
}

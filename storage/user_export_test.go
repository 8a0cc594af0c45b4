package storage_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"gatehouse/identity"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// withoutUsers are the tables that state nothing about a user, or only under keyed hashes, which cannot be read.
var withoutUsers = []string{
	"installation", "changes", "liveness", "outages", "signing_keys", "secrets", "audit_seals", "revoked_tokens",
	"clients", "client_secrets", "client_documents", "deleted_clients", "registration_tokens", "scopes", "resources",
	"groups", "roles", "role_groups", "role_clients", "attributes",
	"used_assertions", "used_once", "sign_in_attempts", "mail_pauses",
}

// internalColumns are keys, secrets, and data of the server that states nothing about the user.
var internalColumns = []string{
	"user_id", "client_epoch", "digest", "user_epoch", "slot", "tries_left", "request_id", "email_key", "name_mac",
	"nonce", "challenge", "redirect_sent", "hash", "token_hash", "browser_hash", "current_hash", "previous_hash",
	"sealed", "successor_sealed", "credential_id", "public_key", "username_key", "epoch", "sign_in_epoch",
	"passkey_handle", "personal", "personal_key", "passwords.kind", "deliveries.id", "pending_sign_ins.id",
	"totp_secrets.id", "authorization_requests.id",
	"hint_subject", // may be another user of the browser
}

// membersOf returns the JSON members of a field of identity.Export, with the names of their columns.
func membersOf(t *testing.T, field string) (out []string) {
	t.Helper()
	f, ok := reflect.TypeFor[identity.Export]().FieldByName(field)
	if !ok {
		t.Fatalf("identity.Export has no field %s", field)
	}
	record := f.Type
	if record.Kind() == reflect.Slice {
		record = record.Elem()
	}
	renamed := map[string]string{
		"sub": "id", "preferred_username": "username", "phone_number_verified_at": "phone_verified_at",
	}
	for i := range record.NumField() {
		name, _, _ := strings.Cut(record.Field(i).Tag.Get("json"), ",")
		if column := renamed[name]; column != "" {
			name = column
		}
		out = append(out, name)
	}
	return out
}

// TestExportHasEveryColumn covers PE31: a new table, or a new column of one with rows of users, must be in the export
// or in the lists above.
func TestExportHasEveryColumn(t *testing.T) {
	t.Parallel()
	s := openMigrated(t, storage.Options{URL: storagetest.URL(t, storage.SQLite)})
	rows, err := s.ExportRows(t.Context(), "unknown")
	if err != nil || len(rows) != 0 {
		t.Errorf("ExportRows of an unknown user = %v, %v, want none", rows, err)
	}
	members := map[string][]string{
		"users": membersOf(t, "User"), "browser_sessions": membersOf(t, "Sessions"), "audit_events": membersOf(t, "Events"),
	}
	for table, columns := range sqliteSchema(t, s) {
		exported := append(storage.ExportedColumns(table), members[table]...)
		if _, ok := columns["user_id"]; exported == nil && (ok || !slices.Contains(withoutUsers, table)) {
			t.Errorf("the export of a user has no table %s", table)
		}
		for column := range columns {
			if exported != nil && !slices.Contains(exported, column) && !slices.Contains(internalColumns, column) &&
				!slices.Contains(internalColumns, table+"."+column) {
				t.Errorf("the export of a user has no column %s of the table %s", column, table)
			}
		}
	}
}

package storage_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse/storage"
	"gatehouse/storage/db"
	"gatehouse/storage/storagetest"
)

// fill sets every column of a record to a different value.
func fill(v reflect.Value) {
	at := time.UnixMilli(1_790_000_000_123).UTC()
	for i := range v.NumField() {
		f, field := v.Field(i), v.Type().Field(i)
		if field.Tag.Get("gorm") == "-" {
			continue
		}
		name := field.Name
		switch p := f.Addr().Interface().(type) {
		case *string:
			*p = name
		case **string:
			*p = &name
		case *int64:
			*p = int64(i) + 1
		case **int64:
			*p = new(int64)
		case *bool:
			*p = true
		case **bool:
			*p = new(bool)
		case *[]byte:
			*p = []byte(name)
		case *storage.Strings:
			*p = storage.Strings{name, "b"}
		case **storage.Strings:
			*p = &storage.Strings{name}
		case *time.Time:
			*p = at
		case **time.Time:
			*p = &at
		case **time.Duration:
			d := time.Duration(i+1) * time.Second
			*p = &d
		default:
			fill(f) // a profile, or a struct that several records have
		}
	}
}

// roundTrip stores a filled record with gorm and reads it with the mapping that the statements of the hot paths use.
func roundTrip[T any](table, id string) func(t *testing.T, s *storage.Store) {
	return func(t *testing.T, s *storage.Store) {
		t.Helper()
		var want T
		fill(reflect.ValueOf(&want).Elem())
		if id != "" { // as the foreign keys of other records have it
			reflect.ValueOf(&want).Elem().FieldByName("ID").SetString(id)
		}
		if err := db.Insert(t.Context(), s.Write, &want); err != nil {
			t.Fatalf("insert into %s: %v", table, err)
		}
		var got []T
		err := db.NewRecord[T](table).Query(t.Context(), s.Read, func(v *T) error {
			if !reflect.ValueOf(v).Elem().Field(0).IsZero() {
				got = append(got, *v)
			}
			return nil
		}, "")
		if err != nil {
			t.Fatalf("read %s: %v", table, err)
		}
		for _, v := range got {
			if cmp.Equal(want, v) {
				return
			}
		}
		t.Errorf("%s does not have the record that was stored (-want +got):\n%s", table, cmp.Diff([]T{want}, got))
	}
}

// TestEveryRecordIsReadAsStored fails when the mapping does not support the type of a field, or reads or writes a
// column in another form than gorm.
func TestEveryRecordIsReadAsStored(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		s := openMigrated(t, storage.Options{URL: url})
		for _, check := range []func(t *testing.T, s *storage.Store){
			roundTrip[storage.Client]("clients", "ClientID"),
			roundTrip[storage.ClientSecret]("client_secrets", ""),
			roundTrip[storage.User]("users", "UserID"),
			roundTrip[storage.Password]("passwords", ""),
			roundTrip[storage.BrowserSession]("browser_sessions", ""),
			roundTrip[storage.SignInAttempt]("sign_in_attempts", ""),
			roundTrip[storage.Scope]("scopes", ""),
			roundTrip[storage.Resource]("resources", ""),
			roundTrip[storage.Consent]("consents", ""),
			roundTrip[storage.Grant]("grants", ""),
			roundTrip[storage.AuthorizationRequest]("authorization_requests", ""),
			roundTrip[storage.AuthorizationCode]("authorization_codes", ""),
			roundTrip[storage.RevokedToken]("revoked_tokens", ""),
			roundTrip[storage.SigningKey]("signing_keys", ""),
			roundTrip[storage.UsedOnce]("used_once", ""),
			roundTrip[storage.RegistrationToken]("registration_tokens", ""),
			roundTrip[storage.Delivery]("deliveries", ""),
			roundTrip[storage.MailPause]("mail_pauses", ""),
			roundTrip[storage.ExternalID]("external_ids", ""),
			roundTrip[storage.EmailToken]("email_tokens", ""),
			roundTrip[storage.SignUp]("sign_ups", ""),
			roundTrip[storage.Invitation]("invitations", ""),
			roundTrip[storage.RetiredName]("retired_names", ""),
			roundTrip[storage.Group]("groups", ""),
			func(t *testing.T, s *storage.Store) {
				t.Helper()
				storagetest.Must(t, s.CreateGroup(t.Context(), storage.Group{Name: "GroupName"})) // for its member
				// For the records of its holders.
				storagetest.Must(t, s.CreateResource(t.Context(), storage.Resource{Identifier: "Resource"}))
				storagetest.Must(t, s.CreateRole(t.Context(), storage.Role{Resource: "Resource", Name: "Role"}))
			},
			roundTrip[storage.GroupMember]("group_members", ""),
			roundTrip[storage.Role]("roles", ""),
			roundTrip[storage.RoleUser]("role_users", ""),
			roundTrip[storage.RoleGroup]("role_groups", ""),
			roundTrip[storage.RoleClient]("role_clients", ""),
			roundTrip[storage.Attribute]("attributes", ""),
			func(t *testing.T, s *storage.Store) { // for its value
				t.Helper()
				storagetest.Must(t, s.CreateAttribute(t.Context(), storage.Attribute{Name: "Attribute"}))
			},
			roundTrip[storage.UserAttribute]("user_attributes", ""),
			roundTrip[storage.Passkey]("passkeys", ""),
			roundTrip[storage.TOTPSecret]("totp_secrets", "UserID"),
			roundTrip[storage.RecoveryCode]("recovery_codes", ""),
			roundTrip[storage.RememberedBrowser]("remembered_devices", ""),
			roundTrip[storage.PendingSignIn]("pending_sign_ins", ""),
		} {
			check(t, s)
		}
	})
}

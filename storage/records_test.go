package storage

import (
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse/storage/db"
)

// fill sets every column of a record to a value of its own.
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
		case *Strings:
			*p = Strings{name, "b"}
		case **Strings:
			*p = &Strings{name}
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
func roundTrip[T any](table, id string) func(t *testing.T, s *Store) {
	return func(t *testing.T, s *Store) {
		t.Helper()
		var want T
		fill(reflect.ValueOf(&want).Elem())
		if id != "" { // as the foreign keys of other records have it
			reflect.ValueOf(&want).Elem().FieldByName("ID").SetString(id)
		}
		if err := db.Insert(t.Context(), s.Write, &want); err != nil {
			t.Fatalf("%s: %v", table, err)
		}
		var got []T
		err := db.NewRecord[T](table).Query(t.Context(), s.Read, func(v *T) error {
			if !reflect.ValueOf(v).Elem().Field(0).IsZero() {
				got = append(got, *v)
			}
			return nil
		}, "")
		if err != nil {
			t.Fatalf("%s: %v", table, err)
		}
		for _, v := range got {
			if cmp.Equal(want, v) {
				return
			}
		}
		t.Errorf("%s does not have the record that was stored (-want +got):\n%s", table, cmp.Diff([]T{want}, got))
	}
}

// TestEveryRecordIsReadAsStored fails when a field has a type that the mapping does not support, or a column that the
// mapping reads or writes in another form than gorm.
func TestEveryRecordIsReadAsStored(t *testing.T) {
	t.Parallel()
	for _, engine := range engines(t) {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			s := migrated(t, engine)
			for _, check := range []func(t *testing.T, s *Store){
				roundTrip[Client]("clients", "ClientID"), roundTrip[ClientSecret]("client_secrets", ""),
				roundTrip[User]("users", "UserID"), roundTrip[Password]("passwords", ""),
				roundTrip[BrowserSession]("browser_sessions", ""), roundTrip[SignInAttempt]("sign_in_attempts", ""),
				roundTrip[Scope]("scopes", ""), roundTrip[Resource]("resources", ""), roundTrip[Consent]("consents", ""),
				roundTrip[Grant]("grants", ""), roundTrip[AuthorizationRequest]("authorization_requests", ""),
				roundTrip[AuthorizationCode]("authorization_codes", ""), roundTrip[RevokedToken]("revoked_tokens", ""),
				roundTrip[SigningKey]("signing_keys", ""), roundTrip[UsedAssertion]("used_assertions", ""),
				roundTrip[RegistrationToken]("registration_tokens", ""), roundTrip[Delivery]("deliveries", ""),
			} {
				check(t, s)
			}
		})
	}
}

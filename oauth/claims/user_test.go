package claims

import (
	"testing"

	"gatehouse/storage"
)

// TestEveryProfileClaimIsDisclosed fails when a field is added to the profile and no claim has its value.
func TestEveryProfileClaimIsDisclosed(t *testing.T) {
	t.Parallel()
	for _, name := range storage.ProfileClaims() {
		u := userData{User: &storage.User{}}
		*u.Profile.Field(name) = "the value"
		found := false
		for _, c := range standardClaims {
			switch v := c.value(&u).(type) {
			case string:
				found = found || v == "the value"
			case addressClaim:
				found = found || v.Address != (storage.Address{})
			}
		}
		if !found {
			t.Errorf("no claim has the value of the profile field %s, want one", name)
		}
	}
}

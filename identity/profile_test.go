package identity

import (
	"errors"
	"testing"

	"gatehouse/storage"
)

// TestEveryProfileClaimIsChecked fails when a field is added to the profile without a check of its form.
func TestEveryProfileClaimIsChecked(t *testing.T) {
	t.Parallel()
	if err := checkProfile("Alice", &storage.Profile{}); err != nil {
		t.Errorf("an empty profile: %v", err)
	}
	for _, claim := range storage.ProfileClaims() {
		var p storage.Profile
		*p.Field(claim) = "\x1b[2J"
		var problem *InputError
		if err := checkProfile("Alice", &p); !errors.As(err, &problem) {
			t.Errorf("%s with a control character: %v, want an *InputError", claim, err)
		}
	}
	for _, c := range ProfileClaims() {
		if (&storage.Profile{}).Field(c.Name) == nil {
			t.Errorf("the profile has no field for the claim %s", c.Name)
		}
	}
	if (&storage.Profile{}).Field("no_such_claim") != nil {
		t.Error("the profile has a field for a claim that it does not have")
	}
}

func TestProfileValuesHaveTheirForm(t *testing.T) {
	t.Parallel()
	for claim, values := range map[string]struct{ valid, invalid []string }{
		"birthdate":    {[]string{"1990-12-31", "1990", "0000-02-29"}, []string{"0000", "1990-02-30", "31.12.1990"}},
		"zoneinfo":     {[]string{"Europe/Paris", "UTC"}, []string{"Local", "Europe/Nowhere"}},
		"locale":       {[]string{"en", "de-CH", "pt-BR"}, []string{"english language"}},
		"phone_number": {[]string{"+1 604 555 1234", "+49 30 1234;ext=12"}, []string{"604 555 1234", "+1"}},
		"website":      {[]string{"https://example.com/me"}, []string{"ftp://example.com", "example.com", "https://"}},
	} {
		check := func(value string, want bool) {
			t.Helper()
			var p storage.Profile
			*p.Field(claim) = value
			if err := checkProfile("Alice", &p); (err == nil) != want {
				t.Errorf("%s %q: %v, want accepted = %t", claim, value, err, want)
			}
		}
		for _, v := range values.valid {
			check(v, true)
		}
		for _, v := range values.invalid {
			check(v, false)
		}
	}
}
